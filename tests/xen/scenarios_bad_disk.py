# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: a host's disk fails or hangs under the guest (P9).

The disk is the one of powercut.py: what the host's kernel reports of it are
real I/O errors, and requests that do not end.
"""

from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean

GONE = "Diskless|Failed"


def start_writing(lab, **settings):
    """A guest on alpha that stamps without end."""
    pair = lab.pair(volatile=True, data_mib=128)  # it is resynced in full
    resource = lab.resource(pair, **settings)
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    load = guest.stamp(blocks=4096, depth=4, flush=16)
    guest.wait_writes(50, 60)
    return pair, resource, guest, load


def expect_gone(lab, resource, host, guest):
    """The host is without a disk, its peer's is good, and the guest writes."""
    resource.wait_facts(host, 60, disk=GONE)
    guest.wait_writes(100, 60)
    facts = resource.facts(resource.pair.other(host))
    lab.check(facts[1] == "UpToDate", f"the other disk: {facts}")


def bring_back(resource, host, guest):
    """What a person types when the disk is well, with the guest running. It
    may first have to answer what it was asked before."""
    host.wait_for(f"{resource.tool} attach {resource.name}", 60,
                  "the disk is attached")
    resource.wait_healthy()
    guest.wait_writes(50, 60)


def finish(lab, resource, guest, load):
    size = disk_size(guest)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


@scenario("disk-fails", product=True, only_ours=True, long=True, seconds=300)
def disk_fails(lab):
    """The disk fails under the guest, then the peer's: no error, no loss."""
    pair, resource, guest, load = start_writing(lab)
    for host in pair.hosts:
        host.volatile.fails = True
        expect_gone(lab, resource, host, guest)
        lab.say(f"{host.name} has lost its disk, and the guest writes on: "
                f"{resource.facts(pair.alpha)}")
        host.volatile.fails = False
        bring_back(resource, host, guest)
        lab.say(f"{host.name} has it back, resynced under the guest")
    finish(lab, resource, guest, load)


@scenario("disk-hangs", product=True, only_ours=True, long=True, seconds=300)
def disk_hangs(lab):
    """The disk hangs: given up after disk-timeout; then the peer's does."""
    pair, resource, guest, load = start_writing(
        lab, disk_options="disk-timeout 50;")
    for host in pair.hosts:
        host.volatile.moves.clear()
        expect_gone(lab, resource, host, guest)
        lab.say(f"{host.name} has given its disk up, and the guest writes on: "
                f"{resource.facts(pair.alpha)}")
        host.volatile.moves.set()
        bring_back(resource, host, guest)
        lab.say(f"{host.name} has it back, resynced under the guest")
    finish(lab, resource, guest, load)
