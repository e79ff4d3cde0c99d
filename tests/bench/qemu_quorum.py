# SPDX-License-Identifier: GPL-2.0-or-later
"""The other side of the comparison: a mirror made of QEMU's parts.

Two qemu-storage-daemons. One exports a file over NBD on TCP with TLS-PSK; the other has a `quorum`
of a file of its own and that export, threshold 2, and serves it on a Unix socket. Both files are
opened with O_DIRECT.
"""
import os
import signal
import socket
import subprocess
import time


def wait_for(condition, seconds, what):
    """Polls `condition` until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def can_connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class QemuQuorum:
    """Starts both daemons; `socket` is where the client connects."""

    def __init__(self, directory, size, aio="native"):
        self.directory = directory
        self.socket = f"{directory}/quorum.nbd"
        self.port = free_port()
        self.processes = []
        self.aio = aio
        os.makedirs(f"{directory}/keys", exist_ok=True)
        with open(f"{directory}/keys/keys.psk", "w", encoding="ascii") as keys:
            keys.write("qemu:" + os.urandom(32).hex() + "\n")
        for name in ("local", "remote"):
            with open(f"{directory}/{name}.img", "wb") as image:
                os.posix_fallocate(image.fileno(), 0, size)
        self.preload = self.build_preload()

    def build_preload(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nodelay.c")
        library = f"{self.directory}/nodelay.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        return library

    def file(self, node, path):
        return ["--blockdev", f"driver=file,node-name={node},filename={path},cache.direct=on,"
                              f"aio={self.aio},discard=unmap"]

    def credentials(self, endpoint, user=""):
        return ["--object", f"tls-creds-psk,id=tls,dir={self.directory}/keys,"
                            f"endpoint={endpoint}{user}"]

    def daemon(self, arguments):
        environment = dict(os.environ, LD_PRELOAD=self.preload)
        log = open(f"{self.directory}/qemu.log", "ab")
        with log:
            self.processes.append(subprocess.Popen(["qemu-storage-daemon"] + arguments,
                                                   env=environment, stdout=log, stderr=log))

    def start(self):
        self.daemon(self.credentials("server") + self.file("disk", f"{self.directory}/remote.img") +
                    ["--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={self.port},"
                                     "tls-creds=tls",
                     "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"])
        wait_for(lambda: can_connect(socket.AF_INET, ("127.0.0.1", self.port)), 10, "QEMU's server")
        self.daemon(self.credentials("client", ",username=qemu") +
                    self.file("local", f"{self.directory}/local.img") +
                    ["--blockdev", f"driver=nbd,node-name=remote,server.type=inet,export=disk,"
                                   f"server.host=127.0.0.1,server.port={self.port},tls-creds=tls",
                     "--blockdev", "driver=quorum,node-name=both,vote-threshold=2,"
                                   "children.0=local,children.1=remote",
                     "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
                     "--export", "type=nbd,id=e,node-name=both,name=disk,writable=on"])
        wait_for(lambda: can_connect(socket.AF_UNIX, self.socket), 10, "QEMU's quorum")

    @property
    def uri(self):
        return f"nbd+unix:///disk?socket={self.socket}"

    def pids(self):
        return [process.pid for process in self.processes]

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        self.processes.clear()
