# SPDX-License-Identifier: GPL-2.0-or-later
"""Two real Xen hosts under QEMU: alpha and beta, linked by a cable.

    pair = Pair("bookworm", work_dir, product=destdir_image)
    pair.boot()
    pair.alpha.run("xl info").out
    pair.alpha.kill()          # the machine dies at once
    pair.alpha.boot()          # and comes back with its disks
    pair.close()

Each host has a read-only root under a tmpfs, our program as a further
read-only layer, and disks that survive the machine: `state` (mounted, holds
/etc/tapdrbd.d and /var/lib/tapdrbd), `data` (/dev/test/data, what is
replicated) and `scratch` (/dev/test/scratch, for disks beside ours). They are files that QEMU writes through the page cache of the test machine:
killing QEMU kills a machine, not its disks. For losing what was not flushed
see powercut.py, which the hosts of Pair(volatile=True) use.
"""

import json
import os
import signal
import socket
import subprocess
import time

import image
from agent import Agent, CommandFailed, HostGone, Listener
from powercut import VolatileDisk

ADDRESSES = {"alpha": "10.1.1.31", "beta": "10.1.1.32"}
XEN_ARGUMENTS = ("console=com1 com1=115200,8n1 dom0_mem={dom0}M,max:{dom0}M "
                 "dom0_max_vcpus=1 dom0_vcpus_pin loglvl=warning "
                 "guest_loglvl=warning noreboot {extra}")
KERNEL_ARGUMENTS = ("console=hvc0 panic=1 quiet loglevel=4 net.ifnames=0 "
                    "host={name} address={address} agent={port}")
# qemu64 knows no AES; these are emulated faster than TLS without them.
CPU_PV = ("qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+movbe,"
          "+rdrand")
# PVH and HVM guests need SVM, which comes with the largest model. Under nested
# emulation AVX sometimes faults in a guest that was told it has it.
CPU_SVM = "max,-smap,-smep,-rdtscp,-xsave,-avx,-avx2"


def say(text):
    print(f"[hosts] {text}", flush=True)


class Monitor:
    """QEMU's control socket (QMP)."""

    def __init__(self, path, timeout=20):
        deadline = time.monotonic() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.socket.settimeout(timeout)
        self.stream = self.socket.makefile("rw", encoding="utf-8")
        self.stream.readline()
        self.command("qmp_capabilities")

    def command(self, verb, /, **arguments):
        request = {"execute": verb}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for
                                    key, value in arguments.items()}
        self.stream.write(json.dumps(request) + "\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise HostGone(f"QEMU went away during {verb}")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise CommandFailed(f"QMP {verb}: {answer['error']}")

    def close(self):
        self.socket.close()


def make_disk(path, size_mib):
    """A sparse disk file, empty."""
    with open(path, "wb") as stream:
        stream.truncate(size_mib << 20)


class Host(Agent):
    """One machine. Its directory holds disks, sockets and console logs."""

    def __init__(self, name, directory, images, settings):
        self.name = name
        self.peer_name = "beta" if name == "alpha" else "alpha"
        self.address = ADDRESSES[name]
        self.directory = os.path.join(directory, name)
        self.images = images
        self.settings = settings
        self.boots = 0
        self.process = None
        self.monitor = None
        os.makedirs(self.directory, exist_ok=True)
        self.data_path = self.file("data.img")
        make_disk(self.data_path, settings["data_mib"])
        self.volatile = None
        if settings["volatile"]:
            self.volatile = VolatileDisk(self.data_path, self.file("nbd"))
        make_disk(self.file("state.img"), 256)
        self.scratch_path = (os.path.join(directory, "scratch.img")
                             if settings["shared_scratch"]
                             else self.file("scratch.img"))
        make_disk(self.scratch_path, 256)
        image.run(["mke2fs", "-q", "-t", "ext4", "-F", self.file("state.img")])

    def file(self, name):
        return os.path.join(self.directory, name)

    # ------------------------------------------------------ the machine ---

    def _disk(self, serial, path, readonly=False):
        options = f"if=none,id={serial},format=raw,file={path}"
        # Locks would keep a killed machine's successor waiting.
        options += "" if path.startswith("nbd") else ",file.locking=off"
        options += ",readonly=on" if readonly else ",cache=writeback"
        return ["-drive", options, "-device",
                f"virtio-blk-pci,drive={serial},serial={serial}"]

    def _data_source(self):
        if self.volatile:
            return f"nbd+unix:///?socket={self.volatile.socket_path}"
        return self.data_path

    def _network(self):
        mac = "31" if self.name == "alpha" else "32"
        link = os.path.dirname(self.directory)
        ends = {name: os.path.join(link, f"link-{name}") for name in ADDRESSES}
        return [
            "-netdev", f"dgram,id=link,local.type=unix,local.path="
            f"{ends[self.name]},remote.type=unix,remote.path="
            f"{ends[self.peer_name]}",
            "-device", f"virtio-net-pci,id=link0,netdev=link,host_mtu=9000,"
            f"mac=52:54:00:01:00:{mac}",
            "-netdev", "user,id=control,ipv6=off",
            "-device", f"virtio-net-pci,netdev=control,"
            f"mac=52:54:00:02:00:{mac}",
        ]

    def _command(self):
        settings = self.settings
        root, boot = self.images
        kernel = KERNEL_ARGUMENTS.format(name=self.name, port=self.listener.port,
                                         address=self.address)
        xen = XEN_ARGUMENTS.format(dom0=settings["dom0_mib"],
                                   extra="" if settings["svm"] else "smap=0")
        command = [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc", "-accel", "tcg,thread=multi",
            "-cpu", CPU_SVM if settings["svm"] else CPU_PV,
            "-smp", "2", "-m", str(settings["memory_mib"]),
            "-qmp", f"unix:{self.file('qmp')},server=on,wait=off",
            "-serial", f"file:{self.file(f'console-{self.boots}.log')}",
            "-kernel", f"{root}/xen", "-append", xen,
            "-initrd", f"{root}/vmlinux {kernel},{boot}/dom0.cpio",
        ]
        command += self._disk("root", f"{root}/root.ext4", readonly=True)
        command += self._disk("tools", f"{boot}/tools.ext4", readonly=True)
        if settings["product"]:
            command += self._disk("product", settings["product"], readonly=True)
        command += self._disk("state", self.file("state.img"))
        command += self._disk("data", self._data_source())
        command += self._disk("scratch", self.scratch_path)
        return command + self._network()

    def power_on(self):
        """Start the machine; boot() waits for it as well."""
        if self.process is not None:
            raise CommandFailed(f"{self.name} is already running")
        self.boots += 1
        self.listener = Listener(self.name)
        for name in ("qmp", f"../link-{self.name}"):
            if os.path.exists(self.file(name)):
                os.unlink(self.file(name))
        if self.volatile:
            self.volatile.start()
        with open(self.file("qemu.log"), "ab") as log:
            self.process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True)
        self.monitor = Monitor(self.file("qmp"))

    def wait_up(self, timeout=120):
        """Until commands can run."""
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise HostGone(f"{self.name}: QEMU ended; see {self.directory}")
            try:
                job = self.start("true", connect_timeout=2)
                job.wait(20)
                return
            except (HostGone, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise HostGone(f"{self.name} did not come up in {timeout} "
                                   f"s; see {self.directory}") from error

    def boot(self, timeout=120):
        self.power_on()
        self.wait_up(timeout)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """The machine dies at once; its disks keep all they were given."""
        if self._end_machine() and self.volatile:
            self.volatile.settle()

    def power_cut(self, seed):
        """The power goes: the data disk loses what was not flushed.

        Returns the number of sectors lost."""
        if self.volatile is None:
            raise CommandFailed("power_cut() needs Pair(volatile=True)")
        self._end_machine()
        return self.volatile.cut(seed)

    def _end_machine(self):
        if self.process is None:
            return False
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._forget()
        if self.volatile:
            self.volatile.stop()
        return True

    def _forget(self):
        self.listener.close()
        self.monitor.close()
        self.process = self.monitor = self.listener = None

    def shutdown(self, timeout=60):
        """An orderly stop: file systems are synced."""
        self.run("sync; umount -l /etc/tapdrbd.d /var/lib/tapdrbd "
                 "/var/lib/tapdrbd-test", check=False)
        self.run("sync", check=False, timeout=timeout)
        self.kill()

    def pause(self):
        """Freeze the whole machine (and resume() it): a hang, not a death."""
        self.monitor.command("stop")

    def resume(self):
        self.monitor.command("cont")

    # --------------------------------------------------------- the cable ---

    def set_link(self, up):
        """Pull or plug this end's cable; the card sees no carrier."""
        self.monitor.command("set_link", name="link0", up=up)

    def capture_start(self, path):
        """Write all that crosses the link to a pcap file."""
        self.monitor.command("object-add", qom_type="filter-dump", id="dump0",
                             netdev="link", file=path, maxlen=65536)

    def capture_stop(self):
        self.monitor.command("object-del", id="dump0")

    # -------------------------------------------------------------- facts ---

    def console_log(self):
        path = self.file(f"console-{self.boots}.log")
        with open(path, "r", encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def data_bytes(self, size, offset=0):
        """A piece of the data disk, read from outside."""
        with open(self.data_path, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)


class Pair:
    """alpha and beta with the cable between them.

    shared_scratch: both see one scratch disk, as on a storage network."""

    def __init__(self, suite, directory, product=None, svm=False,
                 memory_mib=1408, dom0_mib=704, data_mib=1024, hvm=False,
                 volatile=False, shared_scratch=False):
        self.suite = suite
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        images = image.root_image(suite, hvm), image.boot_files(suite, hvm)
        settings = {"product": product, "svm": svm or hvm,
                    "memory_mib": memory_mib, "dom0_mib": dom0_mib,
                    "data_mib": data_mib, "volatile": volatile,
                    "shared_scratch": shared_scratch}
        self.settings = settings
        self.alpha = Host("alpha", directory, images, settings)
        self.beta = Host("beta", directory, images, settings)
        self.hosts = (self.alpha, self.beta)

    def boot(self, timeout=150):
        begin = time.monotonic()
        say(f"booting two hosts ({self.suite}, "
            f"Xen {image.SUITES[self.suite]['xen']})")
        for host in self.hosts:
            host.power_on()
        for host in self.hosts:
            host.wait_up(timeout)
        say(f"both are up after {time.monotonic() - begin:.0f} s")

    def other(self, host):
        return self.beta if host is self.alpha else self.alpha

    def cut_link(self):
        """The cable breaks silently: neither end sees its carrier go."""
        self._rewire(False)

    def restore_link(self):
        self._rewire(True)

    def _rewire(self, up):
        for host in self.hosts:
            if host.running:
                host.set_link(up)

    def close(self):
        for host in self.hosts:
            host.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def same_bytes(first, second, size):
    """None when the first size bytes of two files are equal, else where not."""
    step = 1 << 20
    with open(first, "rb") as one, open(second, "rb") as two:
        for offset in range(0, size, step):
            length = min(step, size - offset)
            left, right = one.read(length), two.read(length)
            if left != right:
                for place, (a, b) in enumerate(zip(left, right)):
                    if a != b:
                        return offset + place
                return offset + min(len(left), len(right))
    return None
