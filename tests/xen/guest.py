# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of a test host: its configuration, its console, its journal.

The guest runs the dom0's kernel with a small initramfs (guest/init). What it
prints goes through Xen's console to the dom0's log and is followed from
there, line by line, into a file on the test machine, which outlives host and
guest. A write counts as acknowledged only once its line has arrived there.
"""

import itertools
import os
import re
import threading
import time

from journal import Contents, Journal

CONFIG = """name = "{name}"
type = "{type}"
{boot}
memory = {memory}
vcpus = {vcpus}
cpus = "1"
disk = [ {disks} ]
on_reboot = "{on_reboot}"
on_crash = "{on_crash}"
"""

BOOT = """kernel = "{kernel}"
ramdisk = "/opt/harness/guest.cpio"
cmdline = "console=hvc0 quiet loglevel=4 panic=5 {cmdline}"
"""

# QEMU starts a kernel as a boot loader does, and wants it packed.
KERNELS = {"pv": "/boot/vmlinux", "pvh": "/boot/vmlinux", "hvm": "/boot/vmlinuz"}

# What a guest's kernel says when its disk is lost; waiting longer is useless.
_TROUBLE = re.compile(r"disabled for further use|I/O error, dev xvd|"
                      r"Kernel panic|response has wrong")

_tags = itertools.count(1)


PORT = 8002  # for xl migrate


class GuestFailed(Exception):
    """The guest did not do what the scenario needed."""


class Guest:
    """One guest, on whichever host start() was called with last."""

    def __init__(self, name, disks, directory, kind="pv", memory=160, vcpus=1,
                 cmdline="", on_reboot="restart", on_crash="preserve",
                 boot=None):
        self.name = name
        self.kind = kind
        quoted = ", ".join(f"'{disk}'" for disk in disks)
        self.config = CONFIG.format(
            name=name, type=kind, memory=memory, vcpus=vcpus,
            boot=boot or BOOT.format(kernel=KERNELS[kind], cmdline=cmdline),
            disks=quoted, on_reboot=on_reboot, on_crash=on_crash)
        self.host = None
        self.journal = Journal()
        self.lines = []
        self.trouble = None
        self.arrived = threading.Condition()
        self.log_path = os.path.join(directory, f"guest-{name}.log")
        self._followers = []

    # ------------------------------------------------------------- life ---

    def create(self, host, timeout=90):
        """`xl create` on a host; does not wait for the guest's own start."""
        self.host = host
        self.trouble = None
        host.push(self.config, f"/tmp/{self.name}.cfg")
        self.follow(host)
        return host.run(f"xl create /tmp/{self.name}.cfg", timeout=timeout)

    def start(self, host, timeout=90):
        """create() and wait until the guest takes commands."""
        since = len(self.lines)
        result = self.create(host, timeout)
        self.wait_line(r"GUEST READY", timeout, since)
        return result

    def migrate(self, target, timeout=240, check=True,
                command='xl migrate -s "" {name} "{way}"'):
        """`xl migrate` to the other host, through courier; xl's result.

        A guest that comes in is called NAME--incoming until it is there, and
        that is what xenconsoled calls its log."""
        self.follow(target, self.name + "--incoming")
        source = self.host
        receiver = target.start(f"exec /opt/harness/courier listen {PORT} "
                                "xl migrate-receive")
        target.wait_for(f"ss -ltn | grep -q ':{PORT} '", 20, "courier listens")
        try:
            way = f"/opt/harness/courier connect {target.address} {PORT}"
            result = source.run(command.format(name=self.name, way=way),
                                timeout, check=check)
            if result.code == 0:
                receiver.wait(60)
                self.host = target
        finally:
            receiver.close()
        # Over ssh this would be on the same terminal.
        result.out += receiver.output()
        result.err += receiver.err.decode(errors="replace")
        return result

    def follow(self, host, name=None):
        """Stream the console log of this guest on that host to us."""
        log = f"/var/log/xen/console/guest-{name or self.name}.log"
        host.run(f"mkdir -p /var/log/xen/console; >>{log}")
        # coreutils' tail waits on inotify: a line is here within milliseconds.
        job = host.start(f"exec tail -c 0 -F {log} 2>/dev/null",
                         on_line=self._take_line, out_path=self.log_path)
        self._followers.append(job)

    def _take_line(self, line):
        with self.arrived:
            self.lines.append(line)
            self.journal.take(line)
            if _TROUBLE.search(line) and self.trouble is None:
                self.trouble = line
            self.arrived.notify_all()

    def destroy(self, timeout=60):
        return self.host.run(f"xl destroy {self.name}", timeout)

    def domain_id(self):
        return int(self.host.run(f"xl domid {self.name}").out)

    def close(self):
        for job in self._followers:
            job.close()

    # ---------------------------------------------------------- talking ---

    def _wait(self, deadline, text):
        """Until another line has come; GuestFailed when it is too late."""
        left = deadline - time.monotonic()
        if self.trouble or left <= 0 or not self.arrived.wait(left):
            tail = "\n".join(self.lines[-15:])
            raise GuestFailed(f"guest {self.name}: {text}; "
                              f"{self.trouble or 'too late'}; last lines:\n"
                              f"{tail}")

    def wait_line(self, pattern, timeout, since=0):
        """The match of the first line (from index since) that fits."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        index = since
        with self.arrived:
            while True:
                while index < len(self.lines):
                    match = expression.search(self.lines[index])
                    index += 1
                    if match:
                        return match
                self._wait(deadline, f"no line /{pattern}/ in {timeout} s")

    def send(self, command):
        """Start a command in the guest; a Task to wait on."""
        tag = f"t{next(_tags)}"
        since = len(self.lines)
        # The console's input ring is small: one short line is one write.
        self.host.run(f"tty=$(xenstore-read /local/domain/$(xl domid "
                      f"{self.name})/console/tty) && cat >\"$tty\"",
                      stdin=f"{tag} {command}\n".encode())
        return Task(self, tag, command, since)

    def run(self, command, timeout=60, check=True):
        """Run a command in the guest: (exit code, its lines)."""
        return self.send(command).wait(timeout, check)

    def stamp(self, device="/dev/xvda", **options):
        """Start `stamper write`; sequence numbers go on from the journal."""
        options.setdefault("seq", self.journal.next_sequence())
        words = " ".join(f"{key}={value}" for key, value in options.items())
        return self.send(f"stamper write {device} {words}")

    def wait_writes(self, count, timeout):
        """Until count more writes have been acknowledged."""
        with self.arrived:
            goal = self.journal.acknowledged + count
            deadline = time.monotonic() + timeout
            while self.journal.acknowledged < goal:
                missing = goal - self.journal.acknowledged
                self._wait(deadline, f"{missing} of {count} writes missing "
                                     f"after {timeout} s")

    def stop_stamping(self, task, timeout=60):
        """End a stamper at its next write, flush, and wait for it."""
        self.run("killall -TERM stamper", check=False)
        return task.wait(timeout)

    def verify(self, device="/dev/xvda", timeout=120, **options):
        """What is on the disk, read by the guest: a Contents."""
        words = " ".join(f"{key}={value}" for key, value in options.items())
        code, lines = self.run(f"stamper verify {device} {words}", timeout,
                               check=False)
        contents = Contents.parse(lines)
        if not contents.complete:
            raise GuestFailed(f"guest {self.name}: verify ended with {code}: "
                              f"{lines[-5:]}")
        return contents


class Task:
    """A command that runs in a guest."""

    def __init__(self, guest, tag, command, since):
        self.guest = guest
        self.tag = tag
        self.command = command
        self.since = since

    def wait(self, timeout, check=True):
        match = self.guest.wait_line(rf"^R {self.tag} (\d+)$", timeout,
                                     self.since)
        code = int(match.group(1))
        lines = self.guest.lines[self.since:]
        if check and code != 0:
            raise GuestFailed(f"guest {self.guest.name}: {self.command!r} "
                              f"ended with {code}:\n" + "\n".join(lines[-15:]))
        return code, lines

