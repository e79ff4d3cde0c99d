#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run scenarios on two tapdisk-drbd processes on one machine.

Usage: run.py --bin DIR [options] [name ...]      names may be prefixes; none: all
  --bin DIR          where tapdisk-drbd and tapdrbdadm are
  --list             names and what they show
  --long             also what does not fit an ordinary run
  --seed N           of what is random (default: 1, and with --long the time)
  --keep             keep disks and logs of all scenarios (of failed ones they stay anyway)
  --limit SECONDS    no scenario is begun after that time

The last line is "N passed, N failed, N skipped"; the exit code is 0 when nothing failed.
"""
import argparse
import os
import signal
import sys
import tempfile
import time
import traceback

SCENARIOS = {}


def scenario(about, seconds=120, long=False, long_seconds=None):
    """Registers a function; its name is the scenario's. `seconds` bound it, `long_seconds` with
    --long."""
    def register(function):
        bounds = (seconds, long_seconds or seconds * (4 if long else 1))
        SCENARIOS[function.__name__] = (function, about, bounds, long)
        return function
    return register


class TooLong(Exception):
    """A scenario ran into its time bound."""


def on_alarm(_signal, _frame):
    raise TooLong()


class Lab:
    """What a scenario gets: pairs, closed when it is over."""

    def __init__(self, directory, options):
        self.directory = directory
        self.bin = options.bin
        self.long = options.long
        self.seed = options.seed
        self.pairs = []
        self.daemons = []  # process ids that went into the background

    def pair(self, **options):
        from nodes import Pair
        directory = f"{self.directory}/{len(self.pairs)}"
        os.makedirs(directory)
        self.pairs.append(Pair(directory, self.bin, **options))
        return self.pairs[-1]

    def say(self, text):
        print(f"     {text}", flush=True)

    def close(self):
        for pair in self.pairs:
            pair.close()
        for pid in self.daemons:
            if self.is_ours(pid):
                os.kill(pid, signal.SIGKILL)

    @staticmethod
    def is_ours(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return b"tapdisk-drbd" in file.read()
        except OSError:
            return False

    def remove(self):
        for pair in self.pairs:
            pair.remove()
        os.rmdir(self.directory)


class Runner:
    """Runs and counts."""

    def __init__(self, options):
        self.options = options
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
        self.base = tempfile.mkdtemp(prefix="tapdrbd-pair-")
        self.end = time.monotonic() + options.limit

    def tell(self, word, name, text):
        self.counts[word] += 1
        print(f"{word} {name}{text}", flush=True)

    def run(self, name):
        from nodes import Failure, Skip
        function, about, bounds, _ = SCENARIOS[name]
        seconds = bounds[self.options.long]
        if time.monotonic() > self.end:
            self.tell("SKIP", name, f": the run's {self.options.limit} s are over")
            return
        print(f"RUN  {name}: {about}", flush=True)
        begin, kept = time.monotonic(), True
        os.makedirs(f"{self.base}/{name}")
        lab = Lab(f"{self.base}/{name}", self.options)
        try:
            signal.alarm(seconds)
            function(lab)
            kept = self.options.keep
            signal.alarm(0)
            self.tell("PASS", name, f" ({time.monotonic() - begin:.1f} s)")
        except Skip as reason:
            kept = False
            self.tell("SKIP", name, f": {reason}")
        except TooLong:
            self.tell("FAIL", name, f": not done within {seconds} s")
        except Failure as error:
            self.tell("FAIL", name, f": {error}")
        except Exception:  # a defect of the scenario is a failure too
            self.tell("FAIL", name, ": " + traceback.format_exc())
        finally:
            signal.alarm(0)
            lab.close()
            if kept:
                print(f"     disks and logs: {lab.directory}", flush=True)
            else:
                lab.remove()


def chosen(options):
    for name in options.names:
        if not any(known.startswith(name) for known in SCENARIOS):
            sys.exit(f"run.py: no scenario {name}; --list shows them")
    for known, (_, _, _, long) in SCENARIOS.items():
        if options.names and not any(known.startswith(name) for name in options.names):
            continue
        if not long or options.long or known in options.names:
            yield known


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--bin", default="build/sbin")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--limit", type=int, default=3600)
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    if options.seed is None:
        options.seed = int(time.time()) if options.long else 1
    if options.list:
        for name, (_, about, _, long) in SCENARIOS.items():
            print(f"{name:28} {about}{' [--long]' if long else ''}")
        return 0
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    runner = Runner(options)
    for name in chosen(options):
        runner.run(name)
    if not os.listdir(runner.base):
        os.rmdir(runner.base)
    print(f"{runner.counts['PASS']} passed, {runner.counts['FAIL']} failed, "
          f"{runner.counts['SKIP']} skipped", flush=True)
    return 1 if runner.counts["FAIL"] else 0


if __name__ == "__main__":
    sys.modules["run"] = sys.modules["__main__"]  # what the scenarios import is this very module
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import scenarios_io  # noqa: F401
    import scenarios_link  # noqa: F401
    import scenarios_tls  # noqa: F401
    import scenarios_failure  # noqa: F401
    import scenarios_disk  # noqa: F401
    import scenarios_resize  # noqa: F401
    import scenarios_mistakes  # noqa: F401
    import scenarios_hotplug  # noqa: F401
    import scenarios_limits  # noqa: F401
    import scenarios_peer_loss  # noqa: F401
    import scenarios_resync  # noqa: F401
    import scenarios_library  # noqa: F401
    import scenarios_cycles  # noqa: F401
    sys.exit(main())
