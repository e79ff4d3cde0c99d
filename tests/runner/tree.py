# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules that the sources themselves keep."""
import ast
import glob
import os
import re
import shutil
import subprocess

from tally import Command

FILE_LINES, FUNCTION_LINES = 600, 100
# The core's whole world: what it may include, and what it may call outside of itself.
PURE_HEADERS = {"assert.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "inttypes.h", "limits.h",
                "string.h", "stdio.h", "stdlib.h"}
PURE_CALLS = {"memcpy", "memset", "memcmp", "memmove", "strlen", "strnlen", "strcmp", "strncmp",
              "strchr", "snprintf", "vsnprintf", "calloc", "free", "qsort",
              "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_", "__snprintf_chk", "__vsnprintf_chk",
              "__memcpy_chk", "__memset_chk", "__assert_fail", "__cpu_model", "__popcountdi2", "memchr"}


def sources(root, *suffixes):
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root,
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        names = done.stdout.split("\n")
    else:  # an unpacked tarball
        names = [os.path.relpath(path, root) for path in glob.glob(f"{root}/**", recursive=True)]
    return sorted(name for name in names if name.endswith(suffixes)
                  and os.path.isfile(f"{root}/{name}") and not name.startswith("build"))


def lines_of(root, name):
    with open(f"{root}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


# ---- the core --------------------------------------------------------------------------------

def impure_includes(root):
    for name in sources(root, ".c", ".h"):
        if not name.startswith(("libreplica/core/", "libreplica/words")):
            continue
        for number, line in enumerate(lines_of(root, name), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not found:
                continue
            kind, header = found.groups()
            own = os.path.exists(f"{root}/libreplica/core/{header}") or \
                header in ("libreplica/words.h", "words.h") or \
                header.startswith("libreplica/core/")
            if (kind == "<" and header not in PURE_HEADERS) or (kind == '"' and not own):
                yield f"{name}:{number}: includes {header}"


def impure_calls(directory):
    """What the core's objects want from outside; names are the linker's, so nothing hides."""
    objects = glob.glob(f"{directory}/libreplica/core/*.o") + \
        glob.glob(f"{directory}/libreplica/core/.libs/*.o")
    defined, wanted = set(), {}
    for path in objects:
        if os.path.basename(path).startswith("tests_"):  # the simulator's, with planted bugs
            continue
        done = subprocess.run(["nm", path], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            kind, name = line.split()[-2:]
            if kind == "U":
                wanted[name] = os.path.basename(path)
            else:
                defined.add(name)
    for name, where in sorted(wanted.items()):
        if name not in defined and name not in PURE_CALLS and not name.startswith("replica_"):
            yield f"{where}: calls {name}"


# ---- sizes -----------------------------------------------------------------------------------

def long_files(root):
    for name in sources(root, ".c", ".h", ".py", ".l", ".y", ".sh"):
        count = len(lines_of(root, name))
        if count > FILE_LINES:
            yield f"{name}: {count} lines, at most {FILE_LINES}"


def long_functions(root):
    for name in sources(root, ".c"):
        start = None
        for number, line in enumerate(lines_of(root, name), 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start > FUNCTION_LINES:
                    yield f"{name}:{start}: {number - start} lines, at most {FUNCTION_LINES}"
                start = None
    for name in sources(root, ".py"):
        for node in ast.walk(ast.parse("\n".join(lines_of(root, name)))):
            if isinstance(node, ast.FunctionDef) and \
                    node.end_lineno - node.lineno > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} is too long"


def without_licence(root):
    for name in sources(root, ".c", ".h", ".py", ".l", ".y", ".am", ".ac"):
        if not any("SPDX-License-Identifier" in line for line in lines_of(root, name)[:5]):
            yield f"{name}: no SPDX line"


def unformatted(root):
    done = subprocess.run(["clang-format", "--version"], capture_output=True, text=True, check=False)
    if "version 14." not in done.stdout:
        return
    names = sources(root, ".c", ".h")
    done = subprocess.run(["clang-format", "--dry-run", *names], cwd=root, capture_output=True,
                          text=True, check=False)
    seen = {line.split(":")[0] for line in done.stderr.splitlines()
            if "-Wclang-format-violations" in line}
    yield from (f"{name}: clang-format would change it" for name in sorted(seen))


# ---- shell and man pages -------------------------------------------------------------------------

def shell_scripts(root):
    for name in sources(root, ""):
        try:
            with open(f"{root}/{name}", "rb") as file:
                first = file.readline(80)
        except OSError:
            continue
        if re.match(rb"#! ?(/usr)?/bin/(env )?(ba|da)?sh\b", first):
            yield name


def lint(root, program, arguments, names):
    if not shutil.which(program):
        return None
    names = list(names)
    if not names:
        return []
    done = subprocess.run([program, *arguments, *names], cwd=root, capture_output=True, text=True,
                          check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def report(tally, name, complaints):
    if complaints is None:
        tally.skipped(name, "its program is not installed")
        return
    complaints = list(complaints)
    if complaints:
        tally.failed(name, "\n  " + "\n  ".join(complaints[:40]))
    else:
        tally.passed(name)


# ---- the tarball -----------------------------------------------------------------------------------

def second_client(root, work):
    """The commands that compile the program in libreplica(3) against what was installed alone."""
    return (f"sed -n '/^.Bd -literal$/,/^.Ed$/p' {root}/man/libreplica.3 | "
            f"sed -e '1d;$d' -e 's/\\\\e/\\\\/g' >{work}/client.c "
            f"&& cd {work} && cc -std=c11 -Wall -Werror client.c -o client $("
            f"PKG_CONFIG_LIBDIR=root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR={work}/root "
            f"pkg-config --cflags --libs libreplica)")


def tarball(options, builds, tally):
    directory = builds.get("gcc")
    if not directory:
        return
    if options.long:
        command = Command(["make", "-s", "distcheck"], builds.log("distcheck"), 3600, directory)
        if command.code:
            tally.failed("make distcheck", command.why())
        else:
            tally.passed("make distcheck")
        return
    work = f"{builds.directory}/dist"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    script = (f"make -s -C {directory} dist && tar -xf {directory}/tapdisk-drbd-*.tar.xz -C {work} "
              f"&& mkdir {work}/b && cd {work}/b && ../tapdisk-drbd-*/configure --quiet "
              f"--libexecdir=/usr/lib && make -s -j{os.cpu_count()} "
              f"&& make -s install DESTDIR={work}/root && test -f {work}/root$(sed -n "
              f"'s/^vbd=.*:-\\(.*\\)}}$/\\1/p' "
              f"{work}/root/etc/xen/scripts/block-drbd) "
              f"&& ls -R {work}/root && {second_client(builds.root, work)}")
    command = Command(["sh", "-ec", script], builds.log("dist"), 600)
    if command.code:
        tally.failed("the tarball builds and installs", command.why())
    else:
        tally.passed(f"the tarball builds and installs, {command.seconds:.0f} s")
    shutil.rmtree(work, ignore_errors=True)


def run(options, builds, tally):
    root = builds.root
    report(tally, "the core includes nothing impure", impure_includes(root))
    report(tally, f"no file above {FILE_LINES} lines", long_files(root))
    report(tally, f"no function above {FUNCTION_LINES} lines", long_functions(root))
    report(tally, "every source names its licence", without_licence(root))
    report(tally, "clang-format agrees", unformatted(root))
    report(tally, "shellcheck", lint(root, "shellcheck", ["-x"], shell_scripts(root)))
    pages = [name for name in sources(root, ".1", ".3", ".5", ".7", ".8") if "/man" in "/" + name]
    report(tally, "mandoc -Tlint", lint(root, "mandoc", ["-Tlint", "-Wwarning"], pages))
    directory = builds.get("gcc")
    if directory:
        report(tally, "the core calls nothing impure", impure_calls(directory))
    tarball(options, builds, tally)
