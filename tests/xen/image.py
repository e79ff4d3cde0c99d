#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build and cache what a real Xen host needs to boot under QEMU.

For each Debian suite this makes, outside the checkout:

  root-SUITE-HASH/   root.ext4 (the dom0's root, read-only), xen, vmlinux,
                     kernel-release, modules/ (what the two initramfs need)
  boot-SUITE-HASH/   dom0.cpio, guest.cpio and tools.ext4, from the small
                     programs in dom0/ and guest/; quick to make again
  build-SUITE-HASH/  a chroot with compilers and the -dev packages

A directory's name carries the hash of its recipe, so a changed recipe makes
it again; it is built under a temporary name and renamed when complete, so a
half-made one is never used.

Usage: image.py [--suite bookworm|trixie] [--build-root] [--list]
"""

import argparse
import fcntl
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))

COMMON_PACKAGES = [
    "linux-image-amd64", "busybox-static", "drbd-utils", "liburing2",
    "libjansson4", "qemu-utils", "fio", "libnbd-bin", "iproute2", "tcpdump",
    "procps", "kmod", "strace", "openssl", "xenstore-utils", "e2fsprogs",
    "netcat-openbsd", "iputils-ping", "zstd", "util-linux",
]
BUILD_PACKAGES = [
    "build-essential", "autoconf", "automake", "libtool", "pkg-config",
    "flex", "bison", "check", "libxen-dev", "liburing-dev", "libssl-dev",
    "libjansson-dev", "libblkid-dev", "libsystemd-dev", "ca-certificates",
]
# hvm is what --hvm adds: QEMU as the device model of a guest.
SUITES = {
    "bookworm": {
        "release": "12", "xen": "4.17",
        "packages": ["xen-utils-4.17", "xen-hypervisor-4.17-amd64", "libssl3"],
        "hvm": ["qemu-system-xen"],
    },
    "trixie": {
        "release": "13", "xen": "4.20",
        "packages": ["xen-utils-4.20", "xen-hypervisor-4.20-amd64",
                     "libssl3t64"],
        "hvm": ["qemu-system-xen"],
    },
}
DOM0_MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "ext4", "overlay"]
GUEST_MODULES = ["xen-blkfront", "ext4"]
# For the emulated disk of an HVM guest.
HVM_GUEST_MODULES = ["ata_piix", "sd_mod"]
# Where drbd-utils' own script goes, so that ours can take its name.
DRBD_SCRIPT = "/etc/xen/scripts/block-drbd"
DRBD_SCRIPT_DIVERTED = DRBD_SCRIPT + ".drbd-utils"
E2FSPROGS = ["/sbin/mke2fs", "/sbin/e2fsck"]


class ImageError(Exception):
    """An image could not be made; the text says what and what to do."""


def say(text):
    print(f"[images] {text}", flush=True)


def cache_dir():
    path = os.environ.get("TAPDRBD_CACHE", "/var/cache/tapdrbd-tests")
    os.makedirs(path, exist_ok=True)
    return path


def run(command, **options):
    """Run a command; on failure show the end of what it said."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise ImageError(f"{' '.join(command)[:300]}\nexited with "
                         f"{done.returncode}:\n{tail}")
    return done.stdout


def recipe_hash(*parts):
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hashes(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            with open(path, "rb") as stream:
                found[name] = hashlib.sha256(stream.read()).hexdigest()
    return found


@contextmanager
def build_lock(name):
    """One builder at a time, also between processes."""
    path = os.path.join(cache_dir(), f".{name}.lock")
    with open(path, "w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def made_once(name, digest, build):
    """Return the cached directory, building it first when it is missing."""
    final = os.path.join(cache_dir(), f"{name}-{digest}")
    with build_lock(name):
        if os.path.isdir(final):
            os.utime(final)
            return final
        remove_stale(name)
        begin = time.monotonic()
        partial = tempfile.mkdtemp(prefix=f".{name}-", dir=cache_dir())
        os.chmod(partial, 0o755)
        try:
            build(partial)
            os.rename(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        say(f"{name}: ready after {time.monotonic() - begin:.0f} s")
    return final


def remove_stale(name):
    """Drop what nobody used for a day; other checkouts share the cache."""
    limit = time.time() - 24 * 3600
    for entry in os.listdir(cache_dir()):
        path = os.path.join(cache_dir(), entry)
        if entry.startswith((f"{name}-", f".{name}-")) and \
                os.stat(path).st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)


# ---------------------------------------------------------------- Debian ---

def machine_sites():
    """The Debian mirror this machine itself uses: (main, security)."""
    listing = run(["apt-get", "indextargets", "--format",
                   "$(SITE)|$(RELEASE)", "Created-By: Packages"])
    main = security = None
    for line in listing.splitlines():
        site, _, release = line.partition("|")
        if release.endswith("-security"):
            security = security or site
        elif release in SUITES or release in ("stable", "testing", "sid"):
            main = main or site
    if main is None:
        raise ImageError("no Debian mirror in this machine's apt sources; "
                         "add one and run 'apt-get update'")
    return main, security


def apt_sources(suite):
    main, security = machine_sites()
    sources = [f"deb {main} {suite} main"]
    if security:
        sources.append(f"deb {security} {suite}-security main")
    return sources


def debootstrap(suite, target, packages):
    """Fill target with a small Debian of that suite."""
    command = ["mmdebstrap", "--variant=minbase", "--mode=root",
               "--aptopt=APT::Install-Recommends \"false\""]
    for path in ("doc", "man", "locale", "info"):
        command.append(f"--dpkgopt=path-exclude=/usr/share/{path}/*")
    command += [f"--include={','.join(packages)}", suite, target]
    # The packages' own initramfs is never booted; making it costs a minute.
    environment = dict(os.environ, INITRD="No")
    run(command + apt_sources(suite), env=environment)


# ----------------------------------------------------------- the dom0 root ---

def root_packages(suite, hvm):
    wanted = COMMON_PACKAGES + SUITES[suite]["packages"]
    return wanted + (SUITES[suite]["hvm"] if hvm else [])


def root_image(suite, hvm=False):
    """The cached dom0 root of a suite."""
    packages = root_packages(suite, hvm)
    modules = GUEST_MODULES + (HVM_GUEST_MODULES if hvm else [])
    digest = recipe_hash("root", 4, suite, packages, DOM0_MODULES,
                         modules, E2FSPROGS, DRBD_SCRIPT_DIVERTED)
    name = f"root-{suite}" + ("-hvm" if hvm else "")
    return made_once(name, digest,
                     lambda d: build_root(suite, packages, modules, d))


def build_root(suite, packages, guest_modules, directory):
    say(f"Debian {SUITES[suite]['release']} with Xen {SUITES[suite]['xen']}: "
        "fetching and unpacking (about a minute)")
    root = os.path.join(directory, "root")
    debootstrap(suite, root, packages)
    run(["chroot", root, "dpkg-divert", "--local", "--rename", "--divert",
         DRBD_SCRIPT_DIVERTED, "--add", DRBD_SCRIPT])
    release = os.listdir(os.path.join(root, "usr/lib/modules"))[0]
    write_text(os.path.join(directory, "kernel-release"), release)
    expand_modules(root, release)
    with open(os.path.join(directory, "vmlinux"), "wb") as stream:
        stream.write(unpack_kernel(f"{root}/boot/vmlinuz-{release}"))
    shutil.copy(os.path.join(directory, "vmlinux"), f"{root}/boot/vmlinux")
    unpack_xen(root, directory)
    keep_modules(root, release, guest_modules, directory)
    keep_programs(root, directory)
    say(f"{suite}: packing the root")
    make_ext4(root, os.path.join(directory, "root.ext4"), spare_mib=64)
    shutil.rmtree(root)


def write_text(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def expand_modules(root, release):
    """Unpack compressed modules: emulated hosts pay dearly for xz."""
    for folder, _, names in os.walk(f"{root}/usr/lib/modules/{release}"):
        for name in names:
            if name.endswith(".ko.xz"):
                path = os.path.join(folder, name)
                with lzma.open(path) as packed, open(path[:-3], "wb") as out:
                    shutil.copyfileobj(packed, out)
                os.unlink(path)
    run(["chroot", root, "depmod", release])


def unpack_kernel(path):
    """The ELF image inside a bzImage, as Linux's extract-vmlinux finds it."""
    with open(path, "rb") as stream:
        image = stream.read()
    for magic, command in ((b"\xfd7zXZ\0", ["xz", "-dc"]),
                           (b"\x28\xb5\x2f\xfd", ["zstd", "-dc"])):
        start = image.find(magic)
        while start >= 0:
            # Bytes follow the packed kernel, so the tool's complaint about
            # trailing garbage is expected and the ELF magic decides.
            done = subprocess.run(command, input=image[start:], check=False,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
            if done.stdout.startswith(b"\x7fELF"):
                return done.stdout
            start = image.find(magic, start + 1)
    raise ImageError(f"cannot unpack the kernel {path}")


def unpack_xen(root, directory):
    packed = [name for name in os.listdir(f"{root}/boot")
              if name.startswith("xen-") and name.endswith(".gz")]
    if len(packed) != 1:
        raise ImageError(f"expected one hypervisor in /boot, found {packed}")
    text = subprocess.run(["gzip", "-dc", f"{root}/boot/{packed[0]}"],
                          stdout=subprocess.PIPE, check=True).stdout
    with open(os.path.join(directory, "xen"), "wb") as stream:
        stream.write(text)


def module_closure(root, release, wanted):
    """The named modules and what they need, dependencies first."""
    folder = f"{root}/usr/lib/modules/{release}"
    needs, by_name = {}, {}
    with open(f"{folder}/modules.dep", encoding="ascii") as stream:
        for line in stream:
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
            key = os.path.basename(path)[:-3].replace("-", "_")
            by_name[key] = path
    # crc32c's implementation is asked for by name at run time.
    extra = ["crc32c_generic", "libcrc32c"]
    ordered = []
    for name in extra + wanted:
        path = by_name.get(name.replace("-", "_"))
        if path is None:
            continue  # built into this kernel
        for item in list(reversed(needs[path])) + [path]:
            if item not in ordered:
                ordered.append(item)
    return ordered


def keep_modules(root, release, guest_modules, directory):
    for kind, wanted in (("dom0", DOM0_MODULES), ("guest", guest_modules)):
        target = os.path.join(directory, "modules", kind)
        os.makedirs(target)
        ordered = module_closure(root, release, wanted)
        for path in ordered:
            shutil.copy(f"{root}/usr/lib/modules/{release}/{path}", target)
        names = [os.path.basename(path) for path in ordered]
        write_text(os.path.join(target, "order"), "\n".join(names) + "\n")


def keep_programs(root, directory):
    """busybox and the ext4 tools with their libraries, for the guest."""
    target = os.path.join(directory, "programs")
    os.makedirs(os.path.join(target, "bin"))
    shutil.copy(f"{root}/bin/busybox", os.path.join(target, "bin"))
    for program in E2FSPROGS:
        shutil.copy(f"{root}{program}", os.path.join(target, "bin"))
        for word in run(["chroot", root, "ldd", program]).split():
            if word.startswith("/"):
                place = target + word
                os.makedirs(os.path.dirname(place), exist_ok=True)
                shutil.copy(root + word, place)


def make_ext4(folder, image, spare_mib=8, size_mib=None):
    """Pack a folder into an ext4 image file."""
    if size_mib is None:
        used = int(run(["du", "-sk", "--apparent-size", folder]).split()[0])
        entries = sum(len(d) + len(f) for _, d, f in os.walk(folder))
        size_mib = used // 1024 * 105 // 100 + entries * 5 // 1024 + spare_mib
    run(["mke2fs", "-q", "-t", "ext4", "-F", "-m", "0", "-O", "^has_journal",
         "-d", folder, image, f"{size_mib}M"])


# -------------------------------------------------- initramfs and tools ---

def boot_files(suite, hvm=False):
    """Directory with dom0.cpio, guest.cpio and tools.ext4 for a suite."""
    root = root_image(suite, hvm)
    digest = recipe_hash("boot", 3, os.path.basename(root),
                         file_hashes(os.path.join(HERE, "dom0")),
                         file_hashes(os.path.join(HERE, "guest")),
                         *(["small"] if hvm else []))
    name = f"boot-{suite}" + ("-hvm" if hvm else "")
    return made_once(name, digest, lambda d: build_boot(root, d, hvm))


def build_boot(root, directory, hvm=False):
    compile_static("dom0/agent.c", os.path.join(directory, "agent"))
    compile_static("dom0/courier.c", os.path.join(directory, "courier"))
    compile_static("guest/stamper.c", os.path.join(directory, "stamper"))
    with tempfile.TemporaryDirectory() as work:
        make_dom0_initramfs(root, work, directory)
        make_guest_initramfs(root, work, directory, small=hvm)
        make_tools(work, directory)


def compile_static(source, target):
    run(["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
         "-pthread", "-o", target, os.path.join(HERE, source)])


def initramfs_tree(root, kind, work):
    tree = os.path.join(work, kind)
    for name in ("bin", "dev", "proc", "sys", "mnt", "run", "etc"):
        os.makedirs(os.path.join(tree, name))
    shutil.copy(os.path.join(root, "programs/bin/busybox"), f"{tree}/bin")
    shutil.copytree(os.path.join(root, "modules", kind), f"{tree}/modules")
    return tree


def pack_cpio(tree, target):
    with open(target, "wb") as stream:
        names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=tree,
                               stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
                       cwd=tree, input=names, stdout=stream, check=True)


def make_dom0_initramfs(root, work, directory):
    tree = initramfs_tree(root, "dom0", work)
    install(os.path.join(HERE, "dom0/initramfs-init"), f"{tree}/init")
    pack_cpio(tree, os.path.join(directory, "dom0.cpio"))


def make_guest_initramfs(root, work, directory, small=False):
    """Small, without a file system's tools and module, and packed: an HVM
    guest's firmware reads it word by word."""
    tree = initramfs_tree(root, "guest", work)
    if small:
        drop_modules(os.path.join(tree, "modules"), ("ext4.ko", "jbd2.ko",
                                                     "mbcache.ko"))
    else:
        shutil.copytree(os.path.join(root, "programs"), tree,
                        dirs_exist_ok=True)
    install(os.path.join(HERE, "guest/init"), f"{tree}/init")
    install(os.path.join(directory, "stamper"), f"{tree}/bin/stamper")
    packed = os.path.join(directory, "guest.cpio")
    pack_cpio(tree, packed)
    if small:
        run(["gzip", "-9", packed])
        os.rename(packed + ".gz", packed)


def drop_modules(directory, names):
    for name in names:
        os.unlink(os.path.join(directory, name))
    path = os.path.join(directory, "order")
    with open(path, encoding="utf-8") as stream:
        kept = [line for line in stream if line.strip() not in names]
    write_text(path, "".join(kept))


def make_tools(work, directory):
    """What the harness adds to a dom0, as a layer below the root."""
    place = os.path.join(work, "tools", "opt", "harness")
    os.makedirs(place)
    install(os.path.join(HERE, "dom0/start"), f"{place}/start")
    for name in ("agent", "courier", "stamper"):
        install(os.path.join(directory, name), f"{place}/{name}")
    shutil.copy(os.path.join(directory, "guest.cpio"), place)
    make_ext4(os.path.join(work, "tools"),
              os.path.join(directory, "tools.ext4"))


def install(source, target):
    shutil.copy(source, target)
    os.chmod(target, 0o755)


# ------------------------------------------------------------ build root ---

def build_root_image(suite):
    """A chroot in which the project can be compiled for that suite."""
    digest = recipe_hash("build", 1, suite, BUILD_PACKAGES)

    def build(directory):
        say(f"compilers for Debian {SUITES[suite]['release']}: fetching and "
            "unpacking (about a minute)")
        debootstrap(suite, os.path.join(directory, "root"), BUILD_PACKAGES)

    return os.path.join(made_once(f"build-{suite}", digest, build), "root")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", choices=sorted(SUITES))
    parser.add_argument("--build-root", action="store_true",
                        help="also the chroot with compilers")
    parser.add_argument("--hvm", action="store_true",
                        help="with a device model for HVM guests")
    options = parser.parse_args()
    try:
        for suite in options.suite or sorted(SUITES):
            print(root_image(suite, options.hvm))
            print(boot_files(suite, options.hvm))
            if options.build_root:
                print(build_root_image(suite))
    except (ImageError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"image.py: {error}")


if __name__ == "__main__":
    main()
