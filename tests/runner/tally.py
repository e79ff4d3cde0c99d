# SPDX-License-Identifier: GPL-2.0-or-later
"""What was run and what came of it."""
import os
import signal
import subprocess
import time


class Tally:
    """Counts; prints each failure when it happens and all of them at the end."""

    def __init__(self):
        self.began = time.monotonic()
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.totals = {}  # what -> how many: schedules, fuzz executions, ...
        self.failures = []

    def say(self, text):
        print(f"[{time.monotonic() - self.began:6.0f}] {text}", flush=True)

    def passed(self, name, count=1, quiet=False):
        self.counts["passed"] += count
        if not quiet:
            self.say(f"PASS {name}" + (f" ({count} cases)" if count != 1 else ""))

    def failed(self, name, why="", count=1):
        self.counts["failed"] += count
        self.failures.append(name)
        self.say(f"FAIL {name}" + (f": {why}" if why else ""))

    def skipped(self, name, why, count=1):
        self.counts["skipped"] += count
        self.say(f"SKIP {name}: {why}")

    def total(self, what, count):
        self.totals[what] = self.totals.get(what, 0) + count

    def finish(self):
        for name in self.failures:
            self.say(f"failed: {name}")
        if self.totals:
            self.say("in all: " + ", ".join(f"{count} {what}"
                                            for what, count in self.totals.items()))
        print(f"{self.counts['passed']} passed, {self.counts['failed']} failed, "
              f"{self.counts['skipped']} skipped", flush=True)
        return 1 if self.counts["failed"] else 0


class Command:
    """A program with a time bound, in a session of its own; its output goes to a file."""

    def __init__(self, arguments, log, seconds, directory=None, environment=None, echo=None):
        os.makedirs(os.path.dirname(log), exist_ok=True)
        self.log = log
        self.timed_out = False
        began = time.monotonic()
        with open(log, "wb") as file:
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE if echo else file,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       cwd=directory, env=environment, start_new_session=True)
            try:
                if echo:
                    self.copy(process, file, echo, began + seconds)
                self.code = process.wait(max(1.0, began + seconds - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
                self.timed_out = True
                self.end(process)
                self.code = -1
                if isinstance(error, KeyboardInterrupt):
                    raise
        self.seconds = time.monotonic() - began

    @staticmethod
    def copy(process, file, echo, end):
        """Shows the lines as they come, for those who watch."""
        os.set_blocking(process.stdout.fileno(), False)
        partial = b""
        while time.monotonic() < end:
            data = process.stdout.read()
            if data == b"":
                return
            if data is None:
                time.sleep(0.1)
                continue
            file.write(data)
            lines = (partial + data).split(b"\n")
            partial = lines.pop()
            for line in lines:
                echo(line.decode(errors="replace"))
        raise subprocess.TimeoutExpired(process.args, 0)

    @staticmethod
    def end(process):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def tail(self, lines=30):
        return "\n".join(self.output().splitlines()[-lines:])

    def why(self):
        reason = f"not done in time ({self.seconds:.0f} s)" if self.timed_out else f"exit {self.code}"
        return f"{reason}; {self.log} ends:\n{self.tail()}"
