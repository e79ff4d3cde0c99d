# SPDX-License-Identifier: GPL-2.0-or-later
"""What every scenario is given: hosts, guests, our program, a place for logs.

A scenario is a function with the decorator @scenario; it gets a Lab, builds
what it needs and raises Failure (or lets any error through) when a promise is
broken. Skip says that something it needs is missing; that is shown, counted
and never taken for success.
"""

import os
import random
import shutil
import subprocess
import traceback

import image
from guest import Guest
from hosts import Pair
from resource_kinds import KINDS

HERE = os.path.dirname(os.path.abspath(__file__))


DISKS = ("data.img", "data.img.stable", "state.img", "scratch.img")


class Failure(Exception):
    """A promise is broken; the text says which and how it shows."""


class Skip(Exception):
    """The scenario cannot run here; the text says what is missing."""


class Scenario:
    """One named scenario and what it needs."""

    def __init__(self, function, name, options):
        self.function = function
        self.name = name
        self.product = options.get("product", False)
        self.only_ours = options.get("only_ours", False)
        self.suites = options.get("suites", tuple(image.SUITES))
        self.suite = options.get("suite", self.suites[0])
        self.late = options.get("late", False)
        self.long = options.get("long", False)
        self.seconds = options.get("seconds", 180)
        self.about = (function.__doc__ or "").strip().splitlines()[0]


SCENARIOS = {}


def scenario(name, **options):
    """Register a scenario. Options: product (needs our program), only_ours
    (senseless with another kind of resource), suites (where it can run),
    suite (where it does in an ordinary run; the first of them), late (after
    the others), long (only with --long), seconds (its time bound; half of it
    is what it takes on a slow machine)."""
    def register(function):
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are named {name}")
        SCENARIOS[name] = Scenario(function, name, options)
        return function
    return register


class Lab:
    """The surroundings of one run of one scenario on one suite."""

    def __init__(self, suite, directory, product=None, long=False,
                 kind="tapdrbd"):
        self.suite = suite
        self.directory = directory
        self.product = product
        self.long = long
        self.kind = kind
        self._pairs = []
        self._guests = []
        os.makedirs(directory, exist_ok=True)

    def say(self, text):
        print(f"    {text}", flush=True)

    def check(self, condition, text):
        if not condition:
            raise Failure(text)

    def pair(self, boot=True, **settings):
        """Two fresh hosts with our program installed, if there is one."""
        settings.setdefault("product", self.product)
        place = os.path.join(self.directory, f"pair{len(self._pairs)}")
        pair = Pair(self.suite, place, **settings)
        self._pairs.append(pair)
        if boot:
            pair.boot()
        return pair

    def guest(self, name, disks, **settings):
        guest = Guest(name, disks, self.directory, **settings)
        self._guests.append(guest)
        return guest

    def resource(self, pair, name="vm1", **settings):
        """A replicated resource on the pair, configured but not yet up."""
        return KINDS[self.kind](pair, name, **settings)

    def chance(self):
        """A random.Random; its seed is told."""
        seed = random.randrange(1 << 30)
        self.say(f"seed {seed}")
        return random.Random(seed)

    def stamper(self):
        """The stamper as a program of this machine, to read disk files."""
        return os.path.join(image.boot_files(self.suite), "stamper")

    # ---------------------------------------------------------- the end ---

    def collect(self):
        """Keep what a person needs to understand a failure."""
        with open(os.path.join(self.directory, "failure.txt"), "w",
                  encoding="utf-8") as stream:
            stream.write(traceback.format_exc())
        for pair in self._pairs:
            for host in pair.hosts:
                if host.running:
                    self._collect_host(host)

    def _collect_host(self, host):
        questions = ("xl list; xl dmesg | tail -40", "xenstore-ls -f",
                     "ps -ef", "dmesg | tail -100",
                     "tail -n 200 /var/log/xen/*.log",
                     "tapdrbdadm status; tapdrbdadm status --json",
                     "tail -n 500 /var/log/messages /run/tapdrbd/*.log")
        try:
            with open(host.file("state.txt"), "w", encoding="utf-8") as stream:
                for question in questions:
                    result = host.run(question, timeout=15, check=False)
                    stream.write(f"{result!r}\n\n")
        except Exception as error:  # a broken host must not hide the failure
            self.say(f"{host.name}: cannot be asked any more: {error}")

    def close(self, keep_disks):
        for guest in self._guests:
            guest.close()
        for pair in self._pairs:
            pair.close()
            if not keep_disks:
                for host in pair.hosts:
                    for name in DISKS:
                        if os.path.exists(host.file(name)):
                            os.unlink(host.file(name))


def build_product(suite, directory):
    """Compile the checkout for a suite: an image that hosts can mount.

    None when the checkout cannot be built yet."""
    dest = os.path.join(directory, f"dest-{suite}")
    done = subprocess.run([os.path.join(HERE, "build"), suite, dest],
                          check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        raise image.ImageError(f"the program does not build for {suite}")
    if not os.path.exists(os.path.join(dest, "usr/sbin/tapdisk-drbd")):
        return None
    return pack_product(dest, os.path.join(directory, f"product-{suite}.ext4"))


def pack_product(dest, path):
    """Make an installed tree a layer for the hosts."""
    if os.path.exists(path):
        os.unlink(path)
    image.make_ext4(dest, path)
    shutil.rmtree(dest)
    return path
