#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the model of ownership, handover, fencing and epochs with spin; ownership.pml says what it
covers.

Usage: run.py [options]
  --long         also the state spaces of minutes and gigabytes
  --only TEXT    the configurations and planted bugs whose name holds TEXT
  --keep DIR     work there and leave what spin writes; `spin -t -p` with the bounds that are
                 printed, and this directory's ownership.pml, shows how an assertion was violated
  --jobs N       searches at once (2)

A configuration passes when the search came to its end without an error: every state within the
bounds was seen. A planted bug passes when an assertion catches it. The last line is "N passed,
N failed, N skipped".
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DEPTH = 100000
NEEDED = {"spin": "spin", "gcc": "gcc"}
BOUNDS = ("XL", "RECKLESS", "MIGRATIONS", "CRASHES", "CUTS", "COMMANDS", "LATES", "FENCING",
          "PROMISED", "FREEZE", "SHOTS", "FAILS", "FORCES", "PARTS")
RESOURCE_ONLY, STONITH = 1, 2


def bounds(**given):
    """Every bound by name, so that nothing rests on the defaults of the model."""
    chosen = dict.fromkeys(BOUNDS, 0)
    chosen.update(LATES=1, MIGRATIONS=given.get("XL", 0))
    chosen.update(given)
    return chosen


def fencing(policy, **given):
    """Whoever types promotes whenever the core lets him, and the link stays away for a while."""
    return bounds(FENCING=policy, PROMISED=given.pop("PROMISED", policy), RECKLESS=1, PARTS=1,
                  **given)


SHORT = {
    "migration, two cuts": bounds(XL=1, CUTS=2),
    "migration, a crash": bounds(XL=1, CRASHES=1),
    "careful operator, a crash, a cut, a command": bounds(CRASHES=1, CUTS=1, COMMANDS=1),
    "careful operator, a crash, two commands": bounds(CRASHES=1, COMMANDS=2),
    "reckless operator, a cut, two commands": bounds(RECKLESS=1, CUTS=1, COMMANDS=2),
    "resource-only, two cuts": fencing(RESOURCE_ONLY, CUTS=2),
    "resource-only, a cut, a command, a failure": fencing(RESOURCE_ONLY, CUTS=1, COMMANDS=1,
                                                          FAILS=1),
    "stonith, two cuts": fencing(STONITH, CUTS=2),
    "stonith, a crash, a cut, a failure": fencing(STONITH, CRASHES=1, CUTS=1, FAILS=1),
    "stonith, a cut, --force or resume-io, a failure": fencing(STONITH, CUTS=1, COMMANDS=1,
                                                               FAILS=1, FORCES=1),
    "stonith and freeze, two cuts": fencing(STONITH, CUTS=2, FREEZE=1),
}
LONG = {
    "migration, a cut, a command": bounds(XL=1, CUTS=1, COMMANDS=1),
    "two migrations, a cut": bounds(XL=1, MIGRATIONS=2, CUTS=1),
    "migration, a crash, a cut": bounds(XL=1, CRASHES=1, CUTS=1),
    "migration, a crash, a command": bounds(XL=1, CRASHES=1, COMMANDS=1),
    "careful operator, two crashes, a command": bounds(CRASHES=2, COMMANDS=1),
    "reckless operator, a crash, two commands": bounds(RECKLESS=1, CRASHES=1, COMMANDS=2),
    "reckless operator, a crash, a cut, a command": bounds(RECKLESS=1, CRASHES=1, CUTS=1,
                                                           COMMANDS=1),
    "resource-only, a crash, a cut, a command": fencing(RESOURCE_ONLY, CRASHES=1, CUTS=1,
                                                        COMMANDS=1),
    "resource-only, a shot, a cut, a command": fencing(RESOURCE_ONLY, SHOTS=1, CUTS=1,
                                                       COMMANDS=1),
    "stonith, a crash, a cut, a command": fencing(STONITH, CRASHES=1, CUTS=1, COMMANDS=1),
    "stonith, a shot, a cut, a command, a failure": fencing(STONITH, SHOTS=1, CUTS=1, COMMANDS=1,
                                                            FAILS=1),
    "stonith, a cut, two commands": fencing(STONITH, CUTS=1, COMMANDS=2),
}
PLANTED = {
    "GRANT_FIRST": ("the giver grants, then demotes", bounds(XL=1, CUTS=1)),
    "TAKER_ALONE": ("the taker goes on alone", bounds(XL=1, CUTS=1)),
    "BACK_ALONE": ("TAKE_BACK goes on alone", bounds(XL=1, CUTS=1)),
    "NO_ASK": ("a promotion asks nobody", bounds(XL=1)),
    "GRANT_UNSAVED": ("an epoch is granted, not saved", bounds(CRASHES=1, COMMANDS=2)),
    "ROLE_UNSAVED": ("Primary before it is saved", bounds(XL=1)),
    "NO_GENERATION": ("alone without a new generation", bounds(RECKLESS=1, CUTS=1, COMMANDS=1)),
    "PROMOTE_UNFENCED": ("a promotion alone asks no handler",
                         fencing(RESOURCE_ONLY, CUTS=1, COMMANDS=1)),
    "NOT_FROZEN": ("nothing waits for the handler",
                   fencing(STONITH, CRASHES=1, CUTS=1, COMMANDS=1)),
    "UPTODATE_EARLY": ("UpToDate before the peer has forgotten that it is not",
                       fencing(RESOURCE_ONLY, CUTS=1)),
    "FENCE_OUTLIVES": ("what a handler found outlives the next meeting", fencing(STONITH, CUTS=2)),
    "FENCE_LIES": ("a running peer is called dead", fencing(STONITH, CUTS=1, COMMANDS=1)),
    "POLICY": ("resource-only keeps the promise of stonith",
               fencing(RESOURCE_ONLY, PROMISED=STONITH, CRASHES=1, CUTS=1, COMMANDS=1)),
}


def definitions(chosen, planted):
    found = [f"-D{name}={value}" for name, value in chosen.items()]
    return found + ([f"-DMUTANT_{planted}=1"] if planted else [])


def search(chosen, planted, directory, megabytes, seconds):
    """What the three programs say, up to the one that fails."""
    optimize = "-O1" if seconds > 1000 else "-O0"  # a short search ends before -O1 would be repaid
    steps = (
        (["spin", "-a", *definitions(chosen, planted), f"{HERE}/ownership.pml"], 120),
        (["gcc", optimize, "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048",
          f"-DMEMLIM={megabytes}", "-o", "pan", "pan.c"], 300),
        (["./pan", f"-m{DEPTH}", "-n"], seconds),
    )
    text = ""
    for command, limit in steps:
        try:
            done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return f"{text}{command[0]}: not at an end after {limit} s\n"
        text = done.stdout
        if done.returncode:
            return f"{text}{command[0]}: exit code {done.returncode}\n"
    return text


def judge(text, planted):
    """A word for the line, and whether it is as it must be."""
    violated = re.search(r"^pan:\d+: assertion violated +(.*) \(at depth \d+\)$", text, re.M)
    counted = re.search(r"^State-vector .* errors: (\d+)$", text, re.M)
    errors = int(counted.group(1)) if counted else -1
    whole = errors >= 0 and "Search not completed" not in text and "too small" not in text and \
        "truncated" not in text and "MEMLIM" not in text and "out of memory" not in text
    if planted:
        good = bool(violated) and errors == 1
        return (f"caught: {violated.group(1)[:60]}" if good else "not caught"), good
    if errors == 0 and whole:
        return "searched to the end", True
    return (violated.group(1)[:200] if violated else "not searched to the end"), False


def check(name, chosen, planted, options):
    directory = options.keep and f"{options.keep}/{re.sub('[^A-Za-z]+', '-', name)}"
    work = directory or tempfile.mkdtemp(prefix="model-")
    os.makedirs(work, exist_ok=True)
    began = time.monotonic()
    try:
        text = search(chosen, planted, work, 6000 if options.long else 1500,
                      3600 if options.long else 300)
    finally:
        if not directory:
            shutil.rmtree(work)
    word, good = judge(text, planted)
    states = re.search(r"^ *([0-9.e+]+) states, stored", text, re.M)
    errors = re.search(r"errors: (\d+)", text)
    lines = [f"{'PASS' if good else 'FAIL'} {name}: {states.group(1) if states else 'no'} states, "
             f"{errors.group(1) if errors else 'no'} errors, {word} "
             f"({time.monotonic() - began:.0f} s)"]
    if not good:
        lines += [" ".join(definitions(chosen, planted)), *text.splitlines()[-15:]]
    print("\n  ".join(lines), flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.keep = options.keep and os.path.abspath(options.keep)
    chosen = [(name, limits, None) for name, limits in
              {**SHORT, **(LONG if options.long else {})}.items()]
    chosen += [(f"planted {bug}, {what}", limits, bug) for bug, (what, limits) in PLANTED.items()]
    chosen = [row for row in chosen if options.only in row[0]]
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        print(f"SKIP model: not installed: {' '.join(missing)}")
        print(f"0 passed, 0 failed, {len(chosen)} skipped")
        return 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as jobs:
        good = list(jobs.map(lambda row: check(*row, options), chosen))
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed, 0 skipped")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
