# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk gets larger while it is used."""
import os
import subprocess

from nodes import MIB, RESOURCE, check, wait_until
from run import scenario
from scenarios_failure import BLOCK, Stamper, finish_equal, nbd


def enlarge(node, size):
    os.truncate(node.disk, size)


def size_of(node):
    return node.status()["devices"][0]["size"] * 1024


def refused(typed, alphas, betas):
    """Typed before both devices have grown: says how large which one is, and what to do."""
    text = typed.adm("resize", RESOURCE, expect=1).stderr
    for needed in (f"device of alpha holds {alphas}", f"of beta {betas}",
                   "grow both devices first"):
        check(needed in text, f"{needed!r} is missing in {text!r}")


@scenario("resize under load: both grow, old clients keep their size, restarts find the metadata")
def resize(lab):
    pair = lab.pair(size=64 * MIB).up_to_date()
    old = pair.data_bytes()
    stamper = Stamper(pair.alpha, 21)
    stamper.run(200)
    refused(pair.alpha, old, old)
    enlarge(pair.alpha, 96 * MIB)
    refused(pair.beta, old + 32 * MIB, old)
    check(size_of(pair.alpha) == old, "one side has grown without the other")
    enlarge(pair.beta, 96 * MIB)
    stamper.run(100)
    pair.beta.adm("resize", RESOURCE)
    stamper.run(200)
    pair.wait_in_sync()
    for node in pair.nodes:
        check(size_of(node) == old + 32 * MIB, f"{node.name} has {size_of(node)} bytes")
    client = nbd(pair.alpha)
    check(client.size == old + 32 * MIB, f"a new client is told {client.size}")
    last = client.size - BLOCK
    check(client.write(last, b"n" * BLOCK) == 0, "a write at the new end")
    check(client.write(old - BLOCK, b"o" * BLOCK * 2) == 0, "a write across the old end")
    stamper.drain()
    check(stamper.client.write(last, b"x" * BLOCK) != 0, "a client writes past what it was told")
    text = pair.alpha.adm("resize", "--size=32M", RESOURCE, expect=10).stderr
    check("would lose what is past" in text and "never made smaller" in text, text)
    check(size_of(pair.alpha) == old + 32 * MIB, "the disk has another size after a refusal")
    client.close()
    pair.beta.kill()  # the metadata are at the new end
    pair.beta.start()
    pair.wait_in_sync()
    stamper.verify(pair.alpha)
    stamper.client.close()
    pair.alpha.wait_no_clients()
    finish_equal(pair, pair.alpha)


@scenario("devices that grew while the resources were down: up finds the metadata, then resize")
def resize_after_down(lab):
    pair = lab.pair(size=64 * MIB).up_to_date()
    old = pair.data_bytes()
    client = nbd(pair.alpha)
    check(client.write(0, b"k" * BLOCK) == 0, "a write before")
    client.close()
    pair.alpha.wait_no_clients()
    pair.alpha.adm("secondary", RESOURCE)
    for node in pair.nodes:
        node.adm("down", RESOURCE)
        wait_until(node.ended, 20, f"{node.name} to end")
        enlarge(node, 128 * MIB)
    pair.start()
    check(size_of(pair.alpha) == old, "the size changed by itself")
    pair.alpha.adm("primary", RESOURCE)
    pair.alpha.adm("resize", "--assume-clean", "--size", str(100 * 1024), RESOURCE)
    pair.wait_in_sync()
    check(size_of(pair.beta) == 100 * MIB, f"beta has {size_of(pair.beta)} bytes")
    pair.alpha.adm("resize", RESOURCE)
    pair.wait_in_sync()
    check(size_of(pair.alpha) == old + 64 * MIB, f"alpha has {size_of(pair.alpha)} bytes")
    client = nbd(pair.alpha)
    check(client.read(0, BLOCK) == b"k" * BLOCK, "what was written before")
    client.close()
    finish_equal(pair, pair.alpha)


@scenario("create-md on a device that has grown: the new metadata count, not those before its end")
def create_on_grown(lab):
    pair = lab.pair(size=64 * MIB).up_to_date()
    pair.alpha.adm("secondary", RESOURCE)
    for node in pair.nodes:
        node.adm("down", RESOURCE)
        wait_until(node.ended, 20, f"{node.name} to end")
        enlarge(node, 128 * MIB)
    text = pair.beta.adm("create-md", "--force", RESOURCE).stdout
    pair.beta.start()
    check(f"({size_of(pair.beta)} bytes)" in text, f"{size_of(pair.beta)} bytes, but {text}")
    check(pair.beta.disk_state() == "Inconsistent", "fresh metadata are not what counts")


@scenario("kill -9 in mid-resize, either node, again and again: no write is lost, both agree")
def resize_killed(lab):
    pair = lab.pair(size=64 * MIB, net="timeout 20; ping-timeout 10;").up_to_date()
    stamper = Stamper(pair.alpha, 22)
    for turn in range(12 if lab.long else 4):
        stamper.run(50)
        for node in pair.nodes:
            enlarge(node, (72 + 8 * turn) * MIB)
        victim = pair.nodes[turn % 2]
        asked = subprocess.Popen([f"{pair.bin}/tapdrbdadm", *pair.beta.places(), "resize", RESOURCE],
                                 env=pair.environment, stderr=subprocess.DEVNULL)
        stamper.run(1 + turn)
        victim.kill()
        if victim is pair.alpha:
            stamper.run_until_gone()
        victim.start()
        asked.wait(60)
        pair.wait_in_sync()
        check(size_of(pair.alpha) == size_of(pair.beta), "the nodes have different sizes")
        if victim is pair.alpha:
            pair.alpha.adm("primary", RESOURCE)
            stamper.verify(pair.alpha)
            stamper.move(pair.alpha)
    stamper.drain()
    for node in pair.nodes:
        enlarge(node, 256 * MIB)
    pair.alpha.adm("resize", RESOURCE)
    pair.wait_in_sync()
    stamper.verify(pair.alpha)
    stamper.client.close()
    finish_equal(pair, pair.alpha)
