#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare with QEMU's quorum: both replicas on files, O_DIRECT, TLS, an NBD front.

Usage: run.py --bin DIR [options]
  --bin DIR          where tapdisk-drbd and tapdrbdadm are; without it only QEMU's side runs
  --pairs N          measurements of each side for each load, in turn (default 5)
  --seconds S        length of one measurement (default 3)
  --size MIB         size of the disks (default 1024)
  --directory DIR    where the disks lie (default: a new one in the temporary directory)

For each load it prints the median ratio ours/QEMU of the pairs and the microseconds of CPU per
write of both (all processes of a side, client not counted). A load passes when the median is at
least 1. The last line is "N passed, N failed, N skipped".
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "pair")]

from qemu_quorum import QemuQuorum  # noqa: E402
from nodes import MIB, Pair  # noqa: E402

LOADS = {
    "4 KiB random writes, depth 1": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "4 KiB random writes, depth 32": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
    "64 KiB sequential writes, depth 8": ["--rw=write", "--bs=64k", "--iodepth=8"],
}
NEEDED = {"fio": "fio", "qemu-storage-daemon": "qemu-system-common", "cc": "gcc"}


class Ours:
    """A pair of nodes with preallocated disks."""

    def __init__(self, directory, bin_directory, size):
        self.pair = Pair(directory, bin_directory, size=size)
        for node in self.pair.nodes:
            with open(node.disk, "r+b") as disk:
                os.posix_fallocate(disk.fileno(), 0, size)

    def start(self):
        self.pair.up_to_date()

    @property
    def uri(self):
        return self.pair.alpha.uri

    def pids(self):
        return [node.process.pid for node in self.pair.nodes]

    def stop(self):
        self.pair.close()


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def measure(side, load, seconds, size):
    """(writes a second, microseconds of CPU per write, mean latency in microseconds)"""
    before = cpu_seconds(side.pids())
    done = subprocess.run(["fio", "--name=bench", "--ioengine=nbd", f"--uri={side.uri}", *load,
                           f"--runtime={seconds}", "--time_based", f"--size={size - 8 * MIB}",
                           "--randrepeat=0", "--output-format=json"],
                          capture_output=True, text=True, timeout=seconds + 60, check=True)
    busy = cpu_seconds(side.pids()) - before
    write = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["write"]
    return write["iops"], busy * 1e6 / write["total_ios"], write["lat_ns"]["mean"] / 1000


def show(name, results):
    print(f"  {name:6} {statistics.median(r[0] for r in results):9.0f} writes/s  "
          f"{statistics.median(r[1] for r in results):7.1f} us CPU/write  "
          f"{statistics.median(r[2] for r in results):8.0f} us latency", flush=True)


def run_load(name, load, sides, options):
    """Measures the sides in turn; True when ours is at least as fast, None without ours."""
    results = {side: [] for side in sides}
    for side in sides.values():  # files and caches get warm
        measure(side, load, 1, options.size * MIB)
    for _ in range(options.pairs):
        for side, object_ in sides.items():
            results[side].append(measure(object_, load, options.seconds, options.size * MIB))
    print(f"{name}:", flush=True)
    for side, values in results.items():
        show(side, values)
    if "ours" not in results:
        print(f"SKIP {name}: no program to compare with", flush=True)
        return None
    ratios = [ours[0] / qemu[0] for ours, qemu in zip(results["ours"], results["QEMU"])]
    median = statistics.median(ratios)
    print(f"  ratio  {median:.2f} (median of {len(ratios)}: "
          f"{', '.join(f'{ratio:.2f}' for ratio in ratios)})", flush=True)
    print(f"{'PASS' if median >= 1 else 'FAIL'} {name}", flush=True)
    return median >= 1


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--directory")
    options = parser.parse_args()
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        print(f"SKIP bench: apt-get install {' '.join(missing)}")
        print(f"0 passed, 0 failed, {len(LOADS)} skipped")
        return 0
    directory = options.directory or tempfile.mkdtemp(prefix="tapdrbd-bench-")
    sides = {}
    try:
        if options.bin:
            os.makedirs(f"{directory}/ours")
            sides["ours"] = Ours(f"{directory}/ours", os.path.abspath(options.bin),
                                 options.size * MIB)
        os.makedirs(f"{directory}/qemu")
        sides["QEMU"] = QemuQuorum(f"{directory}/qemu", options.size * MIB)
        for side in sides.values():
            side.start()
        results = [run_load(name, load, sides, options) for name, load in LOADS.items()]
    finally:
        for side in sides.values():
            side.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{results.count(True)} passed, {results.count(False)} failed, "
          f"{results.count(None)} skipped")
    return 1 if False in results else 0


if __name__ == "__main__":
    sys.exit(main())
