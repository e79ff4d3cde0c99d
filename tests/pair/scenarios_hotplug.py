# SPDX-License-Identifier: GPL-2.0-or-later
"""What tapdrbd-vbd, xl's way to the daemon, asks for. The daemon is played by the test: without Xen
the real one knows no vbds."""
import json
import os
import socket
import subprocess
import threading

from nodes import RESOURCE, Skip, check, run
from run import scenario

BACKEND = "/local/domain/0/backend/vbd/7/51712"


class FakeDaemon:
    """Takes one command on the resource's control socket, and says yes."""

    def __init__(self, node):
        self.command = None
        self.path = f"{node.run_dir}/{RESOURCE}.ctl"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(20)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        client, _ = self.listener.accept()
        with client, client.makefile("rw") as stream:
            self.command = json.loads(stream.readline())
            stream.write('{"ok":true}\n')
            stream.flush()

    def close(self):
        self.thread.join(20)
        self.listener.close()
        os.unlink(self.path)


def vbd_program(node):
    program = os.path.join(os.path.dirname(node.pair.bin), "libexec", "tapdrbd-vbd")
    if not os.path.exists(program):
        raise Skip("tapdrbd-vbd is not beside the programs")
    return program


def added_by(node, words, stdin):
    """The command that reaches the daemon when a process with these words in its command line has
    the disk added."""
    program = vbd_program(node)
    daemon = FakeDaemon(node)
    script = (f'"{program}" --config-dir "{node.config_dir}" --run-dir "{node.run_dir}" '
              f'add {RESOURCE} {BACKEND}; exit $?')
    done = subprocess.run(["sh", "-c", script, *words], stdin=stdin, timeout=30, check=False,
                          capture_output=True, text=True)
    daemon.close()
    check(done.returncode == 0, f"add by {words} failed: {done.stdout}{done.stderr}")
    return daemon.command


@scenario("a disk that migrates in is asked for over the link; one of a guest that reboots is not")
def migrated_guest_reboots(lab):
    node = lab.pair().alpha
    command = added_by(node, ["xl", "create"], subprocess.PIPE)
    check(command == {"command": "vbd-add", "path": BACKEND, "incoming": False},
          f"xl create asks for {command}")
    command = added_by(node, ["xl", "migrate-receive"], subprocess.PIPE)
    check(command["incoming"], "a disk that migrates in is not asked for over the link")
    # The same process goes into the background, stays to watch the guest, and starts it again when
    # it reboots. The host it came from may be dead by then.
    command = added_by(node, ["xl", "migrate-receive"], subprocess.DEVNULL)
    check(not command["incoming"], "a guest that once migrated in cannot reboot without the peer")


@scenario("a disk of kernel DRBD goes to drbd-utils' script, also while a file of ours is wrong")
def disk_of_kernel_drbd(lab):
    node = lab.pair().alpha
    program = [vbd_program(node), "--config-dir", node.config_dir, "--run-dir", node.run_dir]
    run([*program, "add", "r0", BACKEND], expect=2)
    run([*program, "remove", "r0", BACKEND], expect=2)
    with open(f"{node.config_dir}/other.res", "w", encoding="ascii") as file:
        file.write("resource other {\n")
    text = run([*program, "add", RESOURCE, BACKEND], expect=1).stdout
    check("other.res:" in text, f"it says {text}")
    run([*program, "remove", "r0", BACKEND], expect=2)  # else r0 stays Primary for ever
