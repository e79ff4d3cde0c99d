# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal of acknowledged writes, and what a disk must then hold.

A Journal is fed the guest's lines as they arrive outside of the host. A
write whose line has arrived was acknowledged; one that was in flight, or
whose line died with the host, may be there or not. Contents is what
`stamper verify` found. compare() holds the one against the other.
"""

import re
import subprocess
import time

_WRITE = re.compile(r"^W (\d+) (\d+) (\d+)$")
_FLUSH = re.compile(r"^F (\d+)$")
_END = re.compile(r"^E (\d+) (\d+)$")
_ERROR = re.compile(r"^X (\w+) (\d+) (\d+)$")
_VALUES = re.compile(r"^V (\d+)((?: \d+)+)$")
_BAD = re.compile(r"^B (\d+) (\w+)$")
_DONE = re.compile(r"^D (\d+) (\d+) (\d+) (\d+)$")
# A new run starts this far above the last number seen, so that writes whose
# lines were lost with a host can never be taken for later ones.
RUN_GAP = 1_000_000


class Journal:
    """Every acknowledged write: the newest sequence number of each block."""

    def __init__(self):
        self.newest = {}
        self.flushed = {}
        self.acknowledged = 0
        self.flushes = 0
        self.errors = []
        self.highest = 0
        self.longest_gap_us = 0
        self.longest_wait = 0
        self._arrival = None
        self.new_run()

    def watch_waits(self):
        """From here on, longest_wait is the longest time in seconds between
        two acknowledged writes, by the clock out here: a guest's own clock
        stands still while the guest is on its way."""
        self.longest_wait = 0
        self._arrival = time.monotonic()

    def take(self, line):
        match = _WRITE.match(line)
        if match:
            self._write(*map(int, match.groups()))
            return
        match = _FLUSH.match(line)
        if match:
            self._flush(int(match.group(1)))
            return
        match = _ERROR.match(line)
        if match:
            self.errors.append(line)
            return
        match = _END.match(line)
        if match:
            self.longest_gap_us = int(match.group(2))
            self.new_run()

    def _write(self, sequence, block, count):
        self.acknowledged += 1
        if self._arrival is not None:
            now = time.monotonic()
            self.longest_wait = max(self.longest_wait, now - self._arrival)
            self._arrival = now
        self.highest = max(self.highest, sequence)
        self._unflushed.append((sequence, block, count))
        for place in range(block, block + count):
            self.newest[place] = max(sequence, self.newest.get(place, 0))

    def _flush(self, covered):
        """The first `covered` writes of this run are flushed."""
        self.flushes += 1
        # Only the writes since the last flush are looked at: a run lasts for
        # hours, and a flush comes every few writes.
        fresh = max(covered - self._covered, 0)
        for sequence, block, count in self._unflushed[:fresh]:
            for place in range(block, block + count):
                self.flushed[place] = max(sequence,
                                          self.flushed.get(place, 0))
        del self._unflushed[:fresh]
        self._covered += fresh

    def new_run(self):
        """A stamper starts again, its flush counts with it."""
        self._unflushed = []
        self._covered = 0

    def next_sequence(self):
        self.new_run()
        return (self.highest // RUN_GAP + 1) * RUN_GAP + 1


class Contents:
    """What a verify run found: sequence by block, and the bad blocks."""

    def __init__(self):
        self.sequence = {}
        self.bad = {}
        self.complete = False

    @classmethod
    def parse(cls, lines):
        found = cls()
        for line in lines:
            match = _VALUES.match(line)
            if match:
                first = int(match.group(1))
                for offset, value in enumerate(match.group(2).split()):
                    found.sequence[first + offset] = int(value)
                continue
            match = _BAD.match(line)
            if match:
                found.bad[int(match.group(1))] = match.group(2)
            elif _DONE.match(line):
                found.complete = True
        stamped = sum(1 for value in found.sequence.values() if value)
        counted = [int(_DONE.match(line).group(2)) for line in lines
                   if _DONE.match(line)]
        if counted and counted[-1] != stamped:
            # Lines were lost on the way; half a listing proves nothing.
            found.complete = False
        return found

    @classmethod
    def read_file(cls, stamper, path, **options):
        """Verify an image file on the test machine itself."""
        words = [f"{key}={value}" for key, value in options.items()]
        done = subprocess.run([stamper, "verify", path] + words, text=True,
                              stdout=subprocess.PIPE, check=False, timeout=300)
        return cls.parse(done.stdout.splitlines())


def compare(journal, contents, flushed_only=False):
    """What is wrong, as lines of text; an empty list when nothing is.

    flushed_only: after a power cut only flushed writes must be there. A power
    cut may tear a write between sectors: stamp sectors (unit=512) for it.
    """
    if not contents.complete:
        return ["the listing of the disk is incomplete"]
    wrong = []
    for block, why in sorted(contents.bad.items()):
        wrong.append(f"block {block}: {why}")
    expected = journal.flushed if flushed_only else journal.newest
    for block, sequence in sorted(expected.items()):
        found = contents.sequence.get(block, 0)
        if found < sequence and block not in contents.bad:
            wrong.append(f"block {block}: write {sequence} was acknowledged, "
                         f"the disk has {found or 'nothing'}")
    return wrong
