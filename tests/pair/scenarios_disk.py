# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong on a disk, and what an admin does about it."""
from nodes import MIB, RESOURCE, check, wait_until
from run import scenario
from scenarios_failure import BLOCK, Stamper, finish_equal, nbd


def flip(node, offset):
    """One bit on the platter, past everybody: the daemons read their disks without the cache."""
    with open(node.disk, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def out_of_sync(node):
    return node.connection()["peer_devices"][0]["out-of-sync"]


def verify(pair, node, *options):
    """Runs to its end; what the asker's log has on it."""
    since = node.log_size()
    node.adm("verify", *options, RESOURCE)
    for each in pair.nodes:
        wait_until(lambda n=each: n.replication() == "Established", 60,
                   lambda n=each: f"the end of the verification: {n.summary()}")
    return node.log(since)


@scenario("verify finds one flipped bit on either side, locates and marks it; the resync is right")
def verify_flip(lab):
    pair = lab.pair(size=96 * MIB).up_to_date()
    stamper = Stamper(pair.alpha, 11)
    stamper.run(400)
    stamper.drain()
    text = verify(pair, pair.alpha)
    check("both replicas are equal" in text, f"equal replicas are found to be: {text}")
    for turn, (victim, asker) in enumerate((v, a) for v in pair.nodes for a in pair.nodes):
        offset = (20 + 13 * turn) * MIB + 4097 * turn  # where the guest has nothing
        flip(victim, offset)
        text = verify(pair, asker)
        check(f"4096 bytes at offset {offset // BLOCK * BLOCK} " in text,
              f"{victim.name} has a flipped bit at {offset}, {asker.name} says {text}")
        for node in pair.nodes:
            check(out_of_sync(node) == 4, f"one block is to be marked: {node.summary()}")
        with open(victim.disk, "rb") as file:
            file.seek(offset)
            check(file.read(1) == b"\x10", "a difference was copied without being asked")
        pair.beta.adm("disconnect", RESOURCE)
        pair.beta.adm("connect", RESOURCE)
        pair.wait_in_sync()
        for node in pair.nodes:
            check(out_of_sync(node) == 0, f"nothing is left: {node.summary()}")
            with open(node.disk, "rb") as file:
                file.seek(offset)
                want = b"\x10" if victim is pair.alpha else b"\0"
                check(file.read(1) == want, f"{node.name}: the resync went the wrong way")
        stamper.run(50)
    stamper.drain()
    stamper.verify(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("verify under load finds nothing; --start and --stop; disconnect ends it")
def verify_load(lab):
    pair = lab.pair(size=96 * MIB, net="verify-alg crc32c;").up_to_date()
    stamper = Stamper(pair.alpha, 12)
    stamper.run(100)
    for asker in (pair.alpha, pair.beta, pair.alpha):
        since = asker.log_size()
        asker.adm("verify", RESOURCE)
        while "verify done" not in asker.log(since):
            stamper.run(100)
        check("are equal" in asker.log(since), f"a false alarm: {asker.log(since)}")
    stamper.drain()
    flip(pair.beta, 40 * MIB)
    sector = 40 * MIB // 512
    check("are equal" in verify(pair, pair.beta, "--stop", str(sector)), "it looked too far")
    check("are equal" in verify(pair, pair.beta, f"--start={sector + 8}"), "it looked too early")
    text = verify(pair, pair.beta, f"--start={sector}s", f"--stop={sector + 1}s")
    check(f"(sector {sector})" in text, f"the one sector is not found: {text}")
    pair.alpha.adm("verify", f"--start={1 << 40}", RESOURCE, expect=1)
    pair.beta.adm("disconnect", RESOURCE)
    pair.beta.adm("verify", RESOURCE, expect=11)
    pair.beta.adm("connect", RESOURCE)
    pair.wait_in_sync()
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("detach under load, another disk in its place, attach: the guest never sees an error")
def detach_and_replace(lab):
    pair = lab.pair(size=96 * MIB).up_to_date()
    stamper = Stamper(pair.alpha, 13)
    stamper.run(300)
    pair.alpha.adm("detach", RESOURCE)
    pair.alpha.wait_disk("Diskless")
    stamper.run(300)
    pair.alpha.make_disk(pair.size)  # what was there is gone
    done = pair.alpha.adm("attach", RESOURCE, expect=None)
    check(done.returncode != 0, "a disk without metadata is attached")
    stamper.run(50)
    pair.alpha.adm("create-md", RESOURCE)
    pair.alpha.adm("attach", RESOURCE)
    stamper.run(300)
    pair.wait_in_sync()
    stamper.run(100)
    pair.beta.adm("detach", RESOURCE)
    stamper.run(300)
    pair.beta.adm("attach", RESOURCE)
    stamper.run(300)
    pair.wait_in_sync()
    stamper.drain()
    stamper.verify(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)


@scenario("detach is refused where it would leave the guest without a disk")
def detach_refused(lab):
    pair = lab.pair(size=32 * MIB).up_to_date()
    pair.beta.adm("disconnect", RESOURCE)
    wait_until(lambda: pair.alpha.connection()["connection-state"] != "Connected", 20,
               "alpha to notice")
    pair.alpha.adm("detach", RESOURCE, expect=17)
    client = nbd(pair.alpha)
    check(client.write(0, b"a" * BLOCK) == 0, "the guest goes on")
    client.close()
    pair.beta.adm("connect", RESOURCE)
    pair.wait_in_sync()
    finish_equal(pair, pair.alpha)


@scenario("a guest whose host has no disk loses the other host, and goes on when that is back")
def lives_on(lab):
    pair = lab.pair(size=32 * MIB).up_to_date()
    client = nbd(pair.alpha)
    pair.alpha.adm("detach", RESOURCE)
    pair.alpha.wait_disk("Diskless")
    check(client.write(0, b"a" * BLOCK) == 0, "the guest goes on through beta")
    for verb in ("disconnect", "down"):  # with beta the guest would lose its only disk
        pair.beta.adm(verb, RESOURCE, expect=17)
    pair.beta.kill()
    wait_until(lambda: pair.alpha.connection()["connection-state"] != "Connected", 20,
               "alpha to notice")
    check(client.write(BLOCK, b"b" * BLOCK) != 0, "a write nobody has is acknowledged")
    pair.beta.start()
    pair.alpha.wait_connected()
    check(client.write(BLOCK, b"c" * BLOCK) == 0, "the guest does not go on")
    check(client.flush() != 0, "a flush covers what beta may have lost")
    check(client.flush() == 0, "the flush after it")
    check(client.read(0, BLOCK) == b"a" * BLOCK, "what was there before")
    pair.alpha.adm("attach", RESOURCE)
    pair.wait_in_sync()
    check(client.read(BLOCK, BLOCK) == b"c" * BLOCK, "what was written since")
    client.close()
    finish_equal(pair, pair.alpha)
