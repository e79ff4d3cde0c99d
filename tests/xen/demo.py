#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: what tapdisk-drbd is for, step by step, in plain words.

Started by tests/demo, which installs what is missing. Steps are functions in
the list STEPS; each gets the Demo and tells what it does and what it saw. The
last word is a verdict, and the exit code agrees with it.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import image
from agent import CommandFailed, HostGone
from guest import GuestFailed
from journal import Contents, compare
from lab import Failure, Lab, build_product
from resource_kinds import KINDS

BLOCKS = 8192


class Demo:
    """What the steps hand on to each other."""

    def __init__(self, options):
        self.suite = options.suite
        self.kind = options.kind
        base = os.path.join(image.cache_dir(), "runs")
        os.makedirs(base, exist_ok=True)
        self.directory = tempfile.mkdtemp(prefix="demo-", dir=base)
        self.begin = time.monotonic()
        self.lab = Lab(self.suite, self.directory, kind=self.kind)
        self.pair = self.resource = self.guest = None
        self.image_maker = None

    def say(self, text=""):
        print(f"  {text}" if text else "", flush=True)

    def show(self, host, command, check=True):
        """Run a command as a person would, and show what it answers."""
        print(f"\n  {host.name}# {command}", flush=True)
        result = host.run(command, check=check, timeout=120)
        for line in (result.out + result.err).rstrip().splitlines():
            print(f"    {line}", flush=True)

    def close(self, failed):
        if self.image_maker and self.image_maker.poll() is None:
            self.image_maker.send_signal(signal.SIGINT)  # it cleans up
            self.image_maker.wait()
        self.lab.close(keep_disks=False)
        if failed:
            self.say(f"The logs of hosts and guest: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)


def build(demo):
    """Compile the program"""
    # The images need the network more than the processor: made meanwhile.
    demo.image_maker = subprocess.Popen(
        [sys.executable, image.__file__, "--suite", demo.suite],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    if demo.kind != "tapdrbd":
        return
    demo.say("About two minutes the first time; seconds later on.")
    product = build_product(demo.suite, demo.directory)
    if product is None:
        raise Failure("this checkout does not build the program yet")
    demo.lab.product = product


def make_images(demo):
    """Make the images of the two hosts, if they are not there yet"""
    demo.say("They were begun in step 1: a Debian with Xen, about two minutes "
             "the first time.")
    demo.image_maker.wait()
    image.boot_files(demo.suite)  # what failed there is told here


def boot(demo):
    """Boot two Xen hosts, alpha and beta, joined by a cable"""
    demo.say("They are emulated to the last instruction, so all of this is "
             "slower than in life.")
    # A PVH guest: Debian 12's Xen is built without what PV needs to move live.
    demo.pair = demo.lab.pair(svm=True)
    demo.show(demo.pair.alpha, "xl info | grep -E '^(host|release|xen_version)'")


def configure(demo):
    """Create and start the resource vm1 on both hosts"""
    demo.resource = demo.lab.resource(demo.pair)
    demo.say("The same file on both hosts, and one key:\n")
    for line in demo.resource.config().splitlines():
        demo.say(f"  | {line}")
    demo.say()
    tool = demo.resource.tool
    demo.say(f"Then, on both: {tool} create-md vm1; {tool} up vm1.")
    demo.say("The disks are new and empty, so the first copy is skipped: "
             f"{tool} new-current-uuid --clear-bitmap vm1.")
    demo.resource.create()
    demo.show(demo.pair.alpha, f"{tool} status vm1")


def start_guest(demo):
    """Start a guest on alpha"""
    alpha = demo.pair.alpha
    line = demo.resource.disk_line()
    demo.guest = demo.lab.guest("vm1", [line], kind="pvh")
    demo.say(f"Its configuration holds the line  disk = ['{line}']")
    demo.resource.ready(alpha)
    demo.guest.start(alpha)
    demo.show(alpha, "xl list")


def written_mib(host):
    """MiB written to the host's data disk since its start."""
    text = host.run("cat /sys/block/$(basename $(readlink "
                    "/dev/test/data))/stat").out
    return int(text.split()[6]) / 2048


def watch_writes(demo):
    """The guest writes; watch it arrive on both hosts"""
    demo.say("It stamps blocks with number, sequence and checksum, at random "
             "places, eight at a time,\n  and reports each one that it is told "
             "is written. The reports are kept outside of both hosts.\n")
    guest, hosts = demo.guest, demo.pair.hosts
    guest.stamp(blocks=BLOCKS, depth=8, max=8, flush=16)
    start = [written_mib(host) for host in hosts]
    for _ in range(4):
        guest.wait_writes(60, 60)
        alpha, beta = (written_mib(host) - before
                       for host, before in zip(hosts, start))
        demo.say(f"{guest.journal.acknowledged:6} writes acknowledged, "
                 f"{alpha:6.1f} MiB on alpha's disk, {beta:6.1f} MiB on beta's")
    for host in hosts:
        demo.show(host, f"{demo.resource.tool} status vm1")


def migrate(demo):
    """Migrate the guest to beta while it writes"""
    guest, beta, tool = demo.guest, demo.pair.beta, demo.resource.tool
    if demo.kind != "tapdrbd":
        demo.say("Left out: the kernel's DRBD needs dual-primary for it.")
        return
    demo.say("xl migrate vm1 beta. The disk is handed over while the guest "
             "stands still: at no time\n  are there two hosts that may write.")
    begin, before = time.monotonic(), guest.journal.acknowledged
    guest.migrate(beta)
    demo.say(f"It runs on beta, {time.monotonic() - begin:.0f} s after the "
             f"command; {guest.journal.acknowledged - before} writes were "
             "acknowledged on its way.")
    guest.wait_writes(30, 60)
    demo.say(f"{guest.journal.acknowledged:6} writes acknowledged by now: it "
             "goes on writing.")
    for host in demo.pair.hosts:
        demo.show(host, f"xl list; {tool} status vm1")


def kill_host(demo):
    """Kill the guest's host, the whole machine, in the middle of it"""
    demo.guest.wait_writes(30, 60)
    dead = demo.guest.host
    survivor = demo.pair.other(dead)
    dead.kill()
    journal = demo.guest.journal
    demo.say(f"{dead.name} is dead. {journal.acknowledged} writes to "
             f"{len(journal.newest)} blocks were acknowledged, "
             f"{journal.flushes} flushes.")
    demo.show(survivor, f"{demo.resource.tool} status vm1", check=False)


def start_on_survivor(demo):
    """Start the same guest on the other host"""
    survivor = demo.pair.other(demo.guest.host)
    begin = time.monotonic()
    demo.resource.ready(survivor)
    demo.guest.start(survivor, timeout=120)
    demo.say(f"It runs on {survivor.name}, {time.monotonic() - begin:.0f} s "
             "after the command.")
    demo.show(survivor, f"{demo.resource.tool} status vm1")


def check_writes(demo):
    """Check every acknowledged write"""
    contents = demo.guest.verify(blocks=BLOCKS)
    wrong = compare(demo.guest.journal, contents)
    if wrong:
        raise Failure(f"{len(wrong)} blocks are not as acknowledged: "
                      + "; ".join(wrong[:5]))
    demo.say("The guest reads all blocks: each holds the write that was "
             "acknowledged last, or a later one.")
    must_notice_damage(demo)


def must_notice_damage(demo):
    """A check that cannot fail shows nothing: hide one write from it."""
    contents = demo.guest.verify(blocks=BLOCKS)
    block = max(demo.guest.journal.newest)
    contents.sequence[block] = 0
    if not compare(demo.guest.journal, contents):
        raise Failure("the check does not notice a lost write")
    demo.say("(The same check, with one write hidden from it, complains.)")


def go_on(demo):
    """And the guest goes on writing there"""
    host = demo.guest.host
    demo.guest.stamp(blocks=BLOCKS, depth=8, count=100).wait(60)
    contents = Contents.read_file(demo.lab.stamper(), host.data_path,
                                  blocks=BLOCKS)
    if compare(demo.guest.journal, contents):
        raise Failure(f"what it wrote last is not on {host.name}'s disk")
    demo.say(f"100 more writes, all of them on {host.name}'s disk.")


STEPS = [build, make_images, boot, configure, start_guest, watch_writes,
         migrate, kill_host, start_on_survivor, check_writes, go_on]


def run_steps(demo):
    for number, step in enumerate(STEPS, 1):
        clock = time.monotonic() - demo.begin
        print(f"\n[{int(clock) // 60}:{int(clock) % 60:02}] Step {number} of "
              f"{len(STEPS)}: {step.__doc__}.", flush=True)
        step(demo)


def main():
    parser = argparse.ArgumentParser(prog="tests/demo",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="bookworm",
                        choices=sorted(image.SUITES),
                        help="bookworm: Xen 4.17; trixie: Xen 4.20")
    parser.add_argument("--kind", default="tapdrbd", choices=sorted(KINDS),
                        help="drbd shows the kernel's DRBD instead")
    demo = Demo(parser.parse_args())
    failed = True
    try:
        run_steps(demo)
        failed = False
    except (Failure, CommandFailed, HostGone, GuestFailed,
            image.ImageError) as error:
        print(f"\nFAILED: {error}", flush=True)
        demo.lab.collect()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    finally:
        demo.close(failed)
    seconds = int(time.monotonic() - demo.begin)
    if not failed:
        print(f"\nVERDICT: good. The guest moved and its host died, "
              f"and not one acknowledged write was lost ({seconds // 60} min "
              f"{seconds % 60} s).", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
