#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run scenarios on two real Xen hosts under QEMU.

Usage: run.py [options] [name ...]      names may be prefixes; none: all
  --list             names and what they show
  --suite S          bookworm (Xen 4.17), trixie (4.20) or all; without it each
                     scenario runs on one of them, and both get their share
  --long             also what does not fit an ordinary run
  --product IMAGE    use this packed program instead of building the checkout
  --kind KIND        tapdrbd (ours), or drbd: the kernel's, for comparison
  --artefacts DIR    where logs go (kept when a scenario fails)
  --keep             keep disks and logs of all scenarios
  --limit SECONDS    no scenario is begun that would probably end after that
                     time; it counts as skipped

The last line is "N passed, N failed, N skipped"; the exit code is 0 when
nothing failed.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

import image
from agent import CommandFailed, HostGone
from guest import GuestFailed
from lab import SCENARIOS, Failure, Lab, Skip, build_product

from resource_kinds import KINDS

# Importing registers the scenarios.
import scenarios_harness  # noqa: F401
import scenarios_disk  # noqa: F401
import scenarios_failure  # noqa: F401
import scenarios_bad_disk  # noqa: F401
import scenarios_link  # noqa: F401
import scenarios_migrate  # noqa: F401
import scenarios_hvm  # noqa: F401
import scenarios_moves  # noqa: F401
import scenarios_peer  # noqa: F401
import scenarios_process  # noqa: F401
import scenarios_hotplug  # noqa: F401

EXPECTED = (Failure, CommandFailed, HostGone, GuestFailed, image.ImageError)
NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap",
          "mke2fs": "e2fsprogs", "cpio": "cpio", "gcc": "gcc libc6-dev",
          "xz": "xz-utils", "zstd": "zstd", "unshare": "util-linux"}


class TooLong(Exception):
    """A scenario ran into its time bound."""


def on_alarm(_signal, _frame):
    raise TooLong()


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--suite", choices=sorted(image.SUITES) + ["all"])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--product")
    parser.add_argument("--kind", default="tapdrbd", choices=sorted(KINDS))
    parser.add_argument("--artefacts")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--limit", type=int, default=3600)
    return parser.parse_args()


def chosen(names, long):
    """The scenarios asked for, in the order of their registration."""
    for name in names:
        if not any(known.startswith(name) for known in SCENARIOS):
            sys.exit(f"run.py: no scenario {name}; --list shows them")
    for known, entry in SCENARIOS.items():
        if names and not any(known.startswith(name) for name in names):
            continue
        if entry.long and not long and known not in names:
            continue
        yield entry


def plan(options):
    """(scenario, suite) in order. The suites take turns, so that a run that
    is cut short has seen both."""
    entries = list(chosen(options.names, options.long))
    if options.suite:
        suites = (sorted(image.SUITES) if options.suite == "all"
                  else [options.suite])
        return [(entry, suite) for suite in suites for entry in entries]
    return [(entry, entry.suite) for entry in sorted(
        entries, key=lambda entry: entry.late)]


def missing_programs():
    return sorted({package for program, package in NEEDED.items()
                   if shutil.which(program) is None})


def time_bound(entry, long):
    """More for a long run, and more when the machine is busy with others."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return int(entry.seconds * (6 if long else 1) * min(max(busy, 1), 4))


class Runner:
    """Counts results and keeps the run's directory."""

    def __init__(self, options):
        self.options = options
        self.passed = self.failed = self.skipped = 0
        self.products = {}
        base = os.path.join(image.cache_dir(), "runs")
        os.makedirs(base, exist_ok=True)
        self.directory = options.artefacts or tempfile.mkdtemp(
            prefix=time.strftime("%m%d-%H%M%S-"), dir=base)
        os.makedirs(self.directory, exist_ok=True)
        self.end = time.monotonic() + options.limit

    def product(self, suite):
        if self.options.product:
            return self.options.product
        if suite not in self.products:
            self.products[suite] = build_product(suite, self.directory)
        return self.products[suite]

    def _needed_product(self, entry, suite):
        if not entry.product:
            return None
        if self.options.kind != "tapdrbd":
            if entry.only_ours:
                raise Skip(f"{self.options.kind} has nothing like it")
            return None
        product = self.product(suite)
        if product is None:
            raise Skip("this checkout does not build the program yet")
        return product

    def run(self, entry, suite):
        title = f"{entry.name} on {suite}"
        if suite not in entry.suites:
            return
        left = self.end - time.monotonic()
        if left < entry.seconds / 2:
            self._skip(title, f"not begun: {max(0, left):.0f} s are left of the "
                              f"run's {self.options.limit}")
            return
        print(f"RUN  {title}: {entry.about}", flush=True)
        begin = time.monotonic()
        directory = os.path.join(self.directory, f"{entry.name}-{suite}")
        lab, failed = None, True
        try:
            image.boot_files(suite)  # made when missing; not on this bound
            product = self._needed_product(entry, suite)
            lab = Lab(suite, directory, product, self.options.long,
                      self.options.kind)
            signal.alarm(time_bound(entry, self.options.long))
            entry.function(lab)
            failed = False
            self.passed += 1
            print(f"PASS {title} ({time.monotonic() - begin:.0f} s)",
                  flush=True)
        except Skip as reason:
            failed = False
            self._skip(title, reason)
        except TooLong:
            self._fail(title, lab, "not done within "
                       f"{time_bound(entry, self.options.long)} s")
        except EXPECTED as error:
            self._fail(title, lab, error)
        except Exception as error:  # a defect of the scenario is a failure too
            self._fail(title, lab, f"{type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
            if lab:
                lab.close(keep_disks=self.options.keep or failed)
                if not failed and not self.options.keep:
                    shutil.rmtree(directory, ignore_errors=True)

    def _skip(self, title, reason):
        self.skipped += 1
        print(f"SKIP {title}: {reason}", flush=True)

    def _fail(self, title, lab, error):
        signal.alarm(0)
        self.failed += 1
        print(f"FAIL {title}: {error}", flush=True)
        if lab:
            lab.collect()
            print(f"     logs and disks: {lab.directory}", flush=True)


def main():
    options = parse_arguments()
    if options.list:
        for entry in SCENARIOS.values():
            mark = " [--long]" if entry.long else ""
            print(f"{entry.name:24} {entry.about}{mark}")
        return 0
    runner = Runner(options)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missing = missing_programs()
    for entry, suite in plan(options):
        if missing:
            runner._skip(entry.name, "apt install " + " ".join(missing))
        else:
            runner.run(entry, suite)
    if not os.listdir(runner.directory):
        os.rmdir(runner.directory)
    print(f"{runner.passed} passed, {runner.failed} failed, "
          f"{runner.skipped} skipped", flush=True)
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
