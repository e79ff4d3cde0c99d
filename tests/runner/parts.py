# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of a run, one function each: part(options, builds, tally)."""
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

from tally import Command

CHECKS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)
LAST_LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


# ---- unit ------------------------------------------------------------------------------------

def count_log(name, path, tally):
    """One test program's log: Check's own count, or one case for a program without Check."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    with open(path[:-4] + ".trs", encoding="ascii") as file:
        result = re.search(r"^:test-result: (\w+)", file.read(), re.M)
    found = CHECKS.findall(text)
    checks, failures, errors = (sum(int(row[i]) for row in found) for i in range(3))
    bad = failures + errors
    good = result and result.group(1) == "PASS"
    tally.total("unit cases", checks)
    if good and not bad:
        tally.passed(name, checks or 1, quiet=True)
    elif result and result.group(1) == "SKIP":
        tally.skipped(name, text.strip().splitlines()[-1] if text.strip() else "by itself")
    else:
        tally.passed(name, checks - bad, quiet=True)
        tally.failed(name, f"{path} ends:\n" + "\n".join(text.splitlines()[-30:]), max(bad, 1))


def make_check(kind, builds, tally):
    directory = builds.get(kind)
    if not directory:
        return
    for old in glob.glob(f"{directory}/tests/**/*.trs", recursive=True):
        os.unlink(old)
    environment = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1")
    command = Command(["make", "-s", "check", f"-j{os.cpu_count()}"], builds.log(f"check-{kind}"),
                      900, directory, environment)
    before = dict(tally.counts)
    for trs in sorted(glob.glob(f"{directory}/tests/**/*.trs", recursive=True)):
        name = os.path.relpath(trs[:-4], f"{directory}/tests")
        count_log(f"{name} ({kind})", trs[:-4] + ".log", tally)
    told = tally.counts["failed"] > before["failed"]
    if (command.code and not told) or tally.counts == before:
        tally.failed(f"make check ({kind})", command.why())
    elif not told:
        cases = tally.counts["passed"] - before["passed"]
        tally.say(f"PASS make check ({kind}): {cases} cases, {command.seconds:.0f} s")


def unit(_options, builds, tally):
    make_check("gcc", builds, tally)
    builds.get("clang")
    make_check("sanitizers", builds, tally)


# ---- sim -------------------------------------------------------------------------------------

SIM_SCHEDULES = 100000
# The same ones in every ordinary run: it judges a change, and not the day's luck. --seed and --long
# look at others.
SIM_SEED = 1
SIM_SECONDS = 900  # a bound, for a machine that has other things to do
SINGLE_SEEDS = 8   # latencies, and with them the interleaving, differ


def sim_share(program, builds, tally, number, arguments, seconds):
    """One process of several: (what it counted, or None; why)."""
    command = Command([program, *arguments], builds.log(f"sim-{number}"), seconds,
                      echo=tally.say if number == 0 else None)
    found = re.search(r"^sim: (\d+) schedules", command.output(), re.M)
    single = re.search(r"^sim: (\d+) single faults", command.output(), re.M)
    if command.code or not found:
        return None, command.why()
    return int((single or found).group(1)), ""


def sim_shares(name, runs, tally):
    """Waits for all of them, and adds up."""
    results = [run.result() for run in runs]
    bad = [why for count, why in results if count is None]
    tally.total(name, sum(count for count, _ in results if count))
    if bad:
        tally.failed(f"sim, {name}", "\n".join(bad))
    else:
        tally.passed(f"sim: {sum(count for count, _ in results)} {name}")


def simulator(options, builds, tally):
    """Random schedules, shared out among the processors; then each fault alone at each point."""
    directory = builds.get("gcc")
    if not directory:
        return
    program = f"{directory}/tests/sim/sim"
    if not os.path.exists(program):
        tally.skipped("sim", "not built")
        return
    schedules = options.schedules or (1000000 if options.long else SIM_SCHEDULES)
    seconds = 36000 if options.long or options.schedules else SIM_SECONDS
    seed = options.seed
    if seed is None:
        seed = int(time.time()) if options.long else SIM_SEED
    shares = os.cpu_count()
    each = -(-schedules // shares)
    tally.say(f"{each * shares} schedules from seed {seed}")
    with concurrent.futures.ThreadPoolExecutor(shares) as pool:
        runs = [pool.submit(sim_share, program, builds, tally, i,
                            ["--schedules", str(each), "--seed", str(seed + i * each)], seconds)
                for i in range(shares)]
        sim_shares("schedules", runs, tally)
        runs = [pool.submit(sim_share, program, builds, tally, f"single-{i}",
                            ["--single", "--seed", str(seed + i)], seconds)
                for i in range(SINGLE_SEEDS * (10 if options.long else 1))]
        sim_shares("single faults", runs, tally)


# ---- mutants -----------------------------------------------------------------------------------

MUTANT_SCHEDULES = 20000  # of each, after the scenarios; what survives so many survives
MUTANT_SECONDS = 170      # of all in an ordinary run, shared out among those that are left


def mutant_run(program, name, seed, seconds):
    """The same, and every single fault for what survives that."""
    promise, schedules, why = mutant_try(program, name, seed, seconds,
                                         ["--schedules", str(MUTANT_SCHEDULES)])
    if not promise:
        promise = mutant_try(program, name, seed, seconds, ["--single"])[0]
    return promise, schedules, why


def mutant_try(program, name, seed, seconds, what):
    """What the simulator says of one planted bug: (promise or None, schedules, why)."""
    try:
        done = subprocess.run([program, "--mutant", name, "--seed", str(seed), "--violations", "1",
                               *what],
                              capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, 0, f"not caught within {seconds:.0f} s"
    count = re.search(r"^sim: (\d+) schedules", done.stdout, re.M)
    found = re.search(r"^sim: .+ seed \d+: (.+?) at [\d.]+ ms: ", done.stdout, re.M)
    if not count:
        return None, 0, f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
    schedules = int(count.group(1))
    return (found and found.group(1)), schedules, f"survives {schedules} schedules"


def mutants(options, builds, tally):
    """Each planted bug alone: the simulator must catch it. Prints the table."""
    directory = builds.get("gcc")
    if not directory:
        return
    program = f"{directory}/tests/sim/sim-mutants"
    listed = subprocess.run([program, "--list-mutants"], capture_output=True, text=True, check=False)
    names = [line.split(None, 1) for line in listed.stdout.splitlines()]
    if listed.returncode or len(names) < 50:
        tally.failed("mutants", f"{len(names)} planted bugs; there should be 50 at least")
        return
    end = time.monotonic() + (3600 if options.long else MUTANT_SECONDS)
    seed = options.seed if options.seed is not None else 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [pool.submit(lambda name: mutant_run(program, name, seed,
                                                    max(20, end - time.monotonic())), name)
                for name, _ in names]
        tally.say(f"{'mutant':24} {'caught by':10} {'after':>6}  what it does")
        for (name, what), run in zip(names, runs):
            promise, schedules, why = run.result()
            tally.say(f"{name:24} {promise or 'NOBODY':10} {schedules:6}  {what}")
            if promise:
                tally.passed(f"mutant {name}", quiet=True)
            else:
                tally.failed(f"mutant {name}", why)
    tally.total("mutants", len(names))


# ---- fuzz ------------------------------------------------------------------------------------

# Long enough for what a fuzzer's input can say, and no longer.
FUZZ_BYTES = {"ring": 400, "xenstore": 250, "control": 250, "nbd": 256, "nbd_wire": 1024, "wire": 512,
              "config": 2048, "metadata": 16384}


def fuzz_one(name, program, seconds, builds, root, tally):
    corpus = f"{root}/tests/fuzz/corpus/{name}"
    work = f"{builds.directory}/fuzz/{name}"
    os.makedirs(work, exist_ok=True)
    command = Command([program, f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=0",
                       "-timeout=20", "-rss_limit_mb=2048", "-len_control=0",
                       f"-max_len={FUZZ_BYTES.get(name, 4096)}", f"-artifact_prefix={work}/", work,
                       *([corpus] if os.path.isdir(corpus) else [])],
                      builds.log(f"fuzz-{name}"), seconds + 120, work)
    found = re.search(r"number_of_executed_units:\s+(\d+)", command.output())
    executions = int(found.group(1)) if found else 0
    tally.total("fuzz executions", executions)
    if command.code or not executions:
        tally.failed(f"fuzz {name}", command.why())
    else:
        tally.passed(f"fuzz {name}: {executions} executions in {command.seconds:.0f} s")


def fuzz(options, builds, tally):
    directory = builds.get("fuzzers")
    if not directory:
        return
    programs = sorted(path for path in glob.glob(f"{directory}/tests/fuzz/fuzz_*")
                      if os.access(path, os.X_OK) and not os.path.isdir(path))
    if not programs:
        tally.skipped("fuzz", "no fuzzer is built")
        return
    each = 600 if options.long else max(5, min(30, 200 // len(programs)))
    for path in programs:
        name = os.path.basename(path)[len("fuzz_"):]
        fuzz_one(name, path, each, builds, builds.root, tally)


# ---- what has a runner of its own ---------------------------------------------------------------

def last_line_counts(name, command, tally, what):
    """Takes over the counts of a runner that ends as this one does."""
    found = LAST_LINE.findall(command.output())
    if not found:
        tally.failed(name, command.why())
        return
    passed, failed, skipped = (int(count) for count in found[-1])
    tally.counts["passed"] += passed
    tally.counts["skipped"] += skipped
    tally.counts["failed"] += failed
    tally.total(what, passed + failed)
    tally.failures += [f"{name}: {line[5:90]}" for line in command.output().splitlines()
                       if line.startswith("FAIL ")]
    if command.code and not failed:
        tally.failed(name, command.why())


def programs_there(directory, name, tally):
    for program in ("tapdisk-drbd", "tapdrbdadm"):
        if not os.path.exists(f"{directory}/sbin/{program}"):
            tally.skipped(name, f"{program} is not built")
            return False
    return True


def pair(options, builds, tally):
    directory = builds.get("gcc")
    if not directory or not programs_there(directory, "pair", tally):
        return
    limit = 7200 if options.long else 840
    command = Command([sys.executable, f"{builds.root}/tests/pair/run.py", "--bin", f"{directory}/sbin",
                       "--limit", str(limit), *(["--long"] if options.long else []),
                       *(["--seed", str(options.seed)] if options.seed is not None else [])],
                      builds.log("pair"), limit + (3600 if options.long else 300), echo=tally.say)
    last_line_counts("pair", command, tally, "pair scenarios")


def model(options, builds, tally):
    command = Command([sys.executable, f"{builds.root}/tests/model/run.py",
                       *(["--long"] if options.long else [])],
                      builds.log("model"), 7200 if options.long else 900, echo=tally.say)
    last_line_counts("model", command, tally, "model configurations")


def bench(options, builds, tally):
    directory = builds.get("gcc")
    if not directory or not programs_there(directory, "bench", tally):
        return
    pairs = ["--pairs", "15", "--seconds", "10"] if options.long else ["--pairs", "5"]
    command = Command([sys.executable, f"{builds.root}/tests/bench/run.py", "--bin", f"{directory}/sbin",
                       *pairs], builds.log("bench"), 1800 if options.long else 300, echo=tally.say)
    last_line_counts("bench", command, tally, "loads measured")


def xen(options, builds, tally):
    runner = f"{builds.root}/tests/xen/run.py"
    if not os.path.exists(runner):
        tally.skipped("xen", "no scenarios here")
        return
    limit = 14400 if options.long else max(60, min(1500, int(options.end - time.monotonic())))
    command = Command([sys.executable, runner, "--limit", str(limit),
                       *(["--long", "--suite", "all"] if options.long else [])],
                      builds.log("xen"), limit + 600, echo=tally.say)
    last_line_counts("xen", command, tally, "Xen scenarios")
    if options.long:  # the other column of the table in tapdrbd-migrate(7)
        command = Command([sys.executable, runner, "--long", "--suite", "bookworm", "--kind", "drbd",
                           "cut-in-migration"], builds.log("xen-drbd"), 1800, echo=tally.say)
        last_line_counts("xen", command, tally, "Xen scenarios with kernel DRBD")
