# SPDX-License-Identifier: GPL-2.0-or-later
"""A pair at work: NBD clients of all kinds, and equal replicas after them."""
import json
import os
import shutil

from nbd_client import FUA, NbdClient, NbdRefused
from nodes import MIB, RESOURCE, Failure, Skip, check, run, wait_until
from run import scenario


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")


def make_image(path, size, seed=1):
    """Random data in the first half, holes and a stamp in the second."""
    with open(path, "wb") as image:
        image.write(os.urandom(size // 2))
        image.truncate(size)
        image.seek(size - 4096)
        image.write(bytes([seed]) * 4096)


def quiet_compare(pair, length):
    """Ends every client's work, then compares; the promise P5."""
    pair.alpha.adm("secondary", RESOURCE)
    pair.compare(length)


@scenario("the README's first steps: create-md, up, new-current-uuid, primary, status, down")
def first_steps(lab):
    pair = lab.pair()
    for node in pair.nodes:
        node.adm("create-md", RESOURCE)
    for node in pair.nodes:
        node.adm("up", RESOURCE)
        lab.daemons.append(int(open(f"{node.run_dir}/{RESOURCE}.pid", encoding="ascii").read()))
    pair.alpha.adm("wait-connect", RESOURCE)
    pair.wait_connected()
    check(pair.alpha.disk_state() == "Inconsistent", "a fresh disk is Inconsistent")
    pair.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
    for node in pair.nodes:
        node.wait_disk("UpToDate")
    pair.alpha.adm("primary", RESOURCE)
    text = pair.alpha.adm("status", RESOURCE).stdout
    check("role:Primary" in text and "UpToDate" in text, f"status says: {text}")
    check(pair.beta.status()["connections"][0]["peer-role"] == "Primary", "beta sees the Primary")
    refused = pair.beta.adm("primary", RESOURCE, expect=None)
    check(refused.returncode != 0 and "Primary" in refused.stderr,
          f"a second Primary must be refused in words: {refused.stderr}")
    pair.alpha.adm("secondary", RESOURCE)
    for node in pair.nodes:
        node.adm("down", RESOURCE)
        check(not os.path.exists(f"{node.run_dir}/{RESOURCE}.pid"), "down removes the pid file")


@scenario("qemu-img, nbdinfo and nbdcopy on the NBD socket; replicas equal afterwards")
def nbd_tools(lab):
    need("qemu-img", "nbdinfo", "nbdcopy")
    pair = lab.pair(size=80 * MIB).up_to_date()
    size = pair.data_bytes()
    info = json.loads(run(["nbdinfo", "--json", pair.alpha.uri]).stdout)
    export = info["exports"][0]
    check(export["export-size"] == size, f"nbdinfo: {export['export-size']}, status: {size}")
    check(export["can_flush"] and export["can_fua"] and export["can_trim"] and
          export["can_zero"] and export["can_multi_conn"], f"nbdinfo: {export}")
    image, back = f"{pair.directory}/image", f"{pair.directory}/back"
    make_image(image, size)
    run(["nbdcopy", "--flush", image, pair.alpha.uri])
    run(["nbdcopy", pair.alpha.uri, back])
    run(["cmp", image, back])
    run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, pair.alpha.uri])
    make_image(image, size, 2)
    run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, pair.alpha.uri])
    run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, pair.alpha.uri])
    quiet_compare(pair, size)
    run(["cmp", "-n", str(size), image, pair.beta.disk])


@scenario("fio with checksums on the NBD socket, 1 and 32 deep; replicas equal afterwards")
def fio_verify(lab):
    need("fio")
    pair = lab.pair(size=128 * MIB).up_to_date()
    size = pair.data_bytes()
    for name, options in (("deep", ["--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=48m"]),
                          ("mixed", ["--rw=randrw", "--bsrange=512-128k", "--iodepth=16",
                                     "--size=32m", "--offset=48m"]),
                          ("single", ["--rw=write", "--bs=64k", "--iodepth=1", "--size=16m",
                                      "--offset=96m", "--fsync=16"])):
        run(["fio", f"--name={name}", "--ioengine=nbd", f"--uri={pair.alpha.uri}",
             "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--end_fsync=1", *options], 120)
    quiet_compare(pair, size)


@scenario("overlapping writes at depth from four connections: one order on both replicas (P5)")
def overlapping_writes(lab):
    need("fio")
    pair = lab.pair().up_to_date()
    size = pair.data_bytes()
    run(["fio", "--name=overlap", "--ioengine=nbd", f"--uri={pair.alpha.uri}", "--rw=randwrite",
         "--bsrange=512-32k", "--iodepth=32", "--numjobs=4", "--size=256k", "--io_size=16m",
         "--norandommap", "--randrepeat=0", "--thread"], 120)
    quiet_compare(pair, size)


@scenario("flush, FUA, trim and write-zeroes reach both nodes")
def flush_trim_zeroes(lab):
    need("qemu-io")
    pair = lab.pair().up_to_date()
    size = pair.data_bytes()
    run(["qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 16M", "-c", "write -z 4k 8k",
         "-c", "write -z -u 64k 256k", "-c", "discard 1M 1M", "-c", "write -f -P 0x33 8M 4k",
         "-c", "flush", "-c", "read -P 0x5a 0 4k", "-c", "read -P 0 4k 8k",
         "-c", "read -P 0 64k 256k", "-c", "read -P 0x33 8M 4k", pair.alpha.uri])
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    check(client.write(4096, b"F" * 4096, FUA) == 0, "a write with FUA")
    check(client.flush() == 0, "a flush")
    client.close()
    pair.alpha.wait_no_clients()
    quiet_compare(pair, size)


@scenario("NBD only while Primary; a client in use blocks demotion, with words")
def nbd_follows_the_role(lab):
    pair = lab.pair().up_to_date()
    path = f"{pair.alpha.run_dir}/{RESOURCE}.nbd"
    try:
        NbdClient(f"{pair.beta.run_dir}/{RESOURCE}.nbd").close()
        raise Failure("a Secondary served NBD")
    except NbdRefused as refusal:
        check("Primary" in str(refusal), f"the refusal says: {refusal}")
    client = NbdClient(path)
    refused = pair.alpha.adm("secondary", RESOURCE, expect=None)
    check(refused.returncode != 0 and "NBD" in refused.stderr,
          f"demotion while in use must say who: {refused.stderr}")
    check(client.write(0, b"x" * 4096) == 0, "the client goes on after the refusal")
    client.close()
    pair.alpha.wait_no_clients()
    pair.alpha.adm("secondary", RESOURCE)
    pair.beta.adm("primary", RESOURCE)
    check(NbdClient(f"{pair.beta.run_dir}/{RESOURCE}.nbd").read(0, 4096) == b"x" * 4096,
          "beta has what alpha wrote")


@scenario("first full sync with progress; the guest writes meanwhile")
def first_full_sync(lab):
    pair = lab.pair(size=192 * MIB, disk="c-max-rate 40M; c-min-rate 40M;").create().start()
    with open(pair.alpha.disk, "r+b") as disk:
        disk.write(os.urandom(8 * MIB))
    pair.alpha.adm("primary", "--force", RESOURCE)
    size = pair.data_bytes()
    seen = set()

    def synced():
        device = pair.beta.connection()["peer_devices"][0]
        seen.add(device["replication-state"])
        if "percent-resync-done" in device:
            seen.add(float(device["percent-resync-done"]))
        return pair.beta.disk_state() == "UpToDate"

    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    number = 0
    while not synced():
        offset = number * 4096 * 7919 % (size - 4096) // 4096 * 4096
        check(client.write(offset, number.to_bytes(4, "big") * 1024) == 0, "a write during sync")
        number += 1
        check(number < 200000, f"the sync does not end: {seen}")
    client.close()
    check("SyncTarget" in seen, f"states seen: {seen}")
    check(len([done for done in seen if isinstance(done, float)]) > 2, f"no progress: {seen}")
    pair.wait_in_sync()
    pair.alpha.wait_no_clients()
    quiet_compare(pair, size)
