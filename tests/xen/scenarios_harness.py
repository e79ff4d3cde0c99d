# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios that prove the harness itself, on plain `phy:` disks.

A check that cannot fail shows nothing: each of these also damages something
behind the program's back and demands that the checks notice.
"""

import os

from agent import HostGone
from journal import Contents, compare
from lab import Failure, scenario
from powercut import SECTOR

PHY = "phy:/dev/test/data,xvda,w"
BLOCK = 4096


def expect_clean(lab, journal, contents, **options):
    wrong = compare(journal, contents, **options)
    if wrong:
        raise Failure(f"{len(wrong)} blocks are wrong: " + "; ".join(wrong[:5]))
    lab.say(f"{len(journal.newest)} stamped blocks are right")


def expect_noticed(lab, journal, path, damage, text, blocks):
    """Damage a copy of a block in the file; the checks must see it."""
    block = sorted(journal.newest)[len(journal.newest) // 2]
    with open(path, "r+b") as stream:
        stream.seek(block * BLOCK)
        before = stream.read(BLOCK)
        stream.seek(block * BLOCK)
        stream.write(damage(before))
        stream.flush()
        contents = Contents.read_file(lab.stamper(), path, blocks=blocks)
        stream.seek(block * BLOCK)
        stream.write(before)
    wrong = compare(journal, contents)
    lab.check(len(wrong) == 1, f"{text}: the check should name one block, "
                               f"it says {wrong[:3]}")


def flip_bit(data):
    return data[:700] + bytes([data[700] ^ 4]) + data[701:]


@scenario("harness-phy", seconds=150)
def harness_phy(lab):
    """A PV guest stamps a phy: disk; the checks see every kind of damage."""
    pair = lab.pair(product=None)
    pair.alpha.run("ping -c 2 -M do -s 8900 beta")
    guest = lab.guest("vm1", [PHY])
    guest.start(pair.alpha)
    guest.stamp(blocks=2048, depth=8, max=8, count=1500).wait(60)
    lab.check(guest.journal.flushes > 10, "the guest reported no flushes")
    expect_clean(lab, guest.journal, guest.verify(blocks=2048))

    path, journal = pair.alpha.data_path, guest.journal
    expect_clean(lab, journal, Contents.read_file(lab.stamper(), path,
                                                  blocks=2048))
    expect_noticed(lab, journal, path, flip_bit, "a flipped bit", 2048)
    expect_noticed(lab, journal, path, lambda data: bytes(BLOCK),
                   "a block that was lost", 2048)
    expect_noticed(lab, journal, path, lambda data: data[:2048] + bytes(2048),
                   "a torn block", 2048)
    stale_block(lab, guest, path)


def stale_block(lab, guest, path):
    """An older, valid stamp in place of the acknowledged one."""
    with open(path, "rb") as stream:
        before = stream.read(2048 * BLOCK)
    guest.stamp(blocks=2048, depth=4, count=300).wait(60)
    block = next(block for block, sequence in guest.journal.newest.items()
                 if sequence == guest.journal.highest)
    old = before[block * BLOCK:][:BLOCK]
    with open(path, "r+b") as stream:
        stream.seek(block * BLOCK)
        stream.write(old)
    wrong = compare(guest.journal, Contents.read_file(lab.stamper(), path,
                                                      blocks=2048))
    lab.check(len(wrong) == 1, f"a stale block went unnoticed: {wrong[:3]}")


@scenario("harness-kill", long=True, seconds=180)
def harness_kill(lab):
    """A host killed under load keeps its disk; the journal outlives it."""
    pair = lab.pair(product=None)
    alpha = pair.alpha
    guest = lab.guest("vm1", [PHY])
    guest.start(alpha)
    guest.stamp(blocks=4096, depth=16, max=4)
    guest.wait_writes(800, 60)
    alpha.kill()
    try:
        alpha.run("true", timeout=5)
        raise Failure("a killed host still answers")
    except HostGone:
        pass
    contents = Contents.read_file(lab.stamper(), alpha.data_path, blocks=4096)
    expect_clean(lab, guest.journal, contents)
    alpha.boot()
    guest.start(alpha)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))


@scenario("harness-link", long=True, seconds=120)
def harness_link(lab):
    """The cable can be cut, restored and listened to."""
    pair = lab.pair(product=None)
    path = os.path.join(lab.directory, "link.pcap")
    pair.alpha.capture_start(path)
    pair.alpha.run("ping -c 1 -p 7a5ec0de beta")
    pair.alpha.capture_stop()
    with open(path, "rb") as stream:
        lab.check(b"\x7a\x5e\xc0\xde" * 4 in stream.read(),
                  "the capture lacks what crossed the link")
    pair.cut_link()
    result = pair.alpha.run("ping -c 2 -W 1 beta", check=False)
    lab.check(result.code != 0, "a cut link still carries packets")
    pair.restore_link()
    pair.alpha.wait_for("ping -c 1 -W 1 beta", 20, "the link is back")
    pair.beta.kill()
    lab.check(pair.alpha.run("ping -c 1 -W 1 beta", check=False).code != 0,
              "a dead host answers")
    pair.beta.boot()
    pair.alpha.wait_for("ping -c 1 -W 1 beta", 20, "beta is back")


@scenario("harness-power", long=True, seconds=180)
def harness_power(lab):
    """A power cut loses what was not flushed, and nothing else."""
    pair = lab.pair(product=None, volatile=True)
    alpha = pair.alpha
    guest = lab.guest("vm1", [PHY])
    guest.start(alpha)
    load = {"unit": SECTOR, "blocks": 8192, "max": 16, "depth": 8}
    guest.stamp(count=500, flush=64, **load).wait(60)
    guest.stamp(flush=0, **load)
    guest.wait_writes(200, 60)
    lost = alpha.power_cut(seed=1)
    lab.say(f"{lost * SECTOR // 1024} KiB of unflushed data were lost")
    lab.check(lost > 0, "the power cut lost nothing: it proves nothing")
    contents = Contents.read_file(lab.stamper(), alpha.data_path, unit=SECTOR,
                                  blocks=8192)
    expect_clean(lab, guest.journal, contents, flushed_only=True)
    lab.check(compare(guest.journal, contents),
              "writes without a flush should have been lost")
    alpha.boot()


@scenario("harness-pvh", long=True, seconds=240)
def harness_pvh(lab):
    """A PVH guest (hardware virtualization emulated) stamps a phy: disk."""
    pair = lab.pair(product=None, svm=True)
    guest = lab.guest("vm1", [PHY], kind="pvh")
    guest.start(pair.alpha, timeout=150)
    guest.stamp(blocks=1024, depth=4, count=400).wait(90)
    expect_clean(lab, guest.journal, guest.verify(blocks=1024))
