# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages that the tests need, and out-of-tree builds of every kind."""
import os
import shutil
import subprocess
import sys

from tally import Command

BUILD = ("autoconf automake libtool pkg-config make gcc flex bison libssl-dev liburing-dev "
         "libjansson-dev libblkid-dev libxen-dev libsystemd-dev check xz-utils").split()
PACKAGES = {
    "tree": BUILD + ["shellcheck", "mandoc", "clang-format", "binutils"],
    "unit": BUILD + ["clang"],
    "sim": BUILD,
    "mutants": BUILD,
    "fuzz": BUILD + ["clang"],
    "model": ["spin", "gcc"],
    "pair": BUILD + ["qemu-utils", "libnbd-bin", "fio", "e2fsprogs", "iproute2"],
    "bench": BUILD + ["qemu-system-common", "fio"],
    "xen": BUILD + ["qemu-system-x86", "mmdebstrap", "e2fsprogs", "cpio", "zstd", "util-linux"],
}
KINDS = {
    "gcc": (["CC=gcc", "--enable-werror", "SIM_CFLAGS=-flto=auto"], 600),
    "clang": (["CC=clang", "--enable-werror"], 600),
    "sanitizers": (["CC=gcc", "--enable-werror", "--enable-sanitizers", "CFLAGS=-O1 -g"], 900),
    "fuzzers": (["CC=clang", "--enable-fuzzers", "CFLAGS=-O1 -g"], 900),
}

# What is made beside `all`: the tests' own programs, for every part that runs one of them.
TARGETS = {"gcc": ["check", "TESTS="]}


def is_installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
                          capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def install_packages(parts, tally):
    """Quiet when everything is there; a machine that is no Debian is taken as it is."""
    if not shutil.which("dpkg-query"):
        return
    wanted = sorted({package for part in parts for package in PACKAGES[part]})
    missing = [package for package in wanted if not is_installed(package)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        tally.say("missing, and only root can install it: sudo " + " ".join(command))
        return
    tally.say("installing " + " ".join(missing))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for step in (["apt-get", "update", "-q"], command):
        done = subprocess.run(step, env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(step)}: {done.stderr.strip()}")


class Builds:
    """Each kind is built once a run; later runs build what changed."""

    def __init__(self, root, directory, tally):
        self.root = root
        self.directory = os.path.abspath(directory)
        self.tally = tally
        self.done = {}

    def log(self, name):
        return f"{self.directory}/log/{name}.log"

    def bootstrapped(self):
        if os.path.exists(f"{self.root}/configure"):
            return True
        command = Command([f"{self.root}/bootstrap"], self.log("bootstrap"), 300)
        if command.code:
            self.tally.failed("bootstrap", command.why())
        return command.code == 0

    def get(self, kind):
        """The build directory, or None (the failure has been told)."""
        if kind not in self.done:
            self.done[kind] = self.make(kind) if self.bootstrapped() else None
        return self.done[kind]

    def make(self, kind):
        arguments, seconds = KINDS[kind]
        directory = f"{self.directory}/{kind}"
        os.makedirs(directory, exist_ok=True)
        if not os.path.exists(f"{directory}/config.status"):
            self.tally.say(f"configuring for {kind}")
            command = Command([f"{self.root}/configure", "--quiet", *arguments],
                              self.log(f"configure-{kind}"), 300, directory)
            if command.code:
                self.tally.failed(f"configure for {kind}", command.why())
                return None
        self.tally.say(f"building with {kind}")
        command = Command(["make", "-s", f"-j{os.cpu_count()}", *TARGETS.get(kind, [])],
                          self.log(f"make-{kind}"), seconds, directory)
        if command.code or "warning:" in command.output():
            self.tally.failed(f"build with {kind}", command.why())
            return None
        self.tally.passed(f"build with {kind}, without a warning, {command.seconds:.0f} s")
        return directory
