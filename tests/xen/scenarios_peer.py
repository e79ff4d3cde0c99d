# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios that hold our disk against what people use today.

They print figures and states for the documentation; what they check is only
that nothing was lost on the way.
"""

import concurrent.futures
import statistics
import threading

from lab import scenario
from scenarios_disk import expect_same
from scenarios_harness import expect_clean
from scenarios_migrate import (expect_one_primary, expect_roles, runs_on,
                               start_writing)

MOVES = 6


@scenario("migrate-pause", product=True, only_ours=True, long=True,
          seconds=1200)
def migrate_pause(lab):
    """The longest pause of a guest that moves: our disk, and a shared phy: one."""
    pair = lab.pair(svm=True, shared_scratch=True)
    resource = lab.resource(pair)
    resource.create()
    lines = {"replicated": resource.disk_line(),
             "shared phy:": "phy:/dev/test/scratch,xvda,w"}
    guests = {kind: lab.guest(f"vm{number}", [line], kind="pvh")
              for number, (kind, line) in enumerate(lines.items(), 1)}
    waits = {kind: [] for kind in guests}
    for guest in guests.values():
        guest.start(pair.alpha)
    for _ in range(MOVES):
        for kind, guest in guests.items():
            waits[kind].append(longest_wait(guest, pair.other(guest.host)))
            lab.say(f"{kind}: {waits[kind][-1] * 1000:.0f} ms")
    for guest in guests.values():
        expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_one_primary(lab, pair)
    ours, theirs = (statistics.median(waits[kind]) * 1000 for kind in lines)
    lab.say(f"median of {MOVES} moves: replicated {ours:.0f} ms, shared phy: "
            f"{theirs:.0f} ms; difference {ours - theirs:.0f} ms, ratio "
            f"{ours / theirs:.2f}")


def longest_wait(guest, target):
    """Seconds between two acknowledged writes while the guest moves."""
    load = guest.stamp(blocks=4096, depth=8, max=8)
    guest.wait_writes(50, 60)
    guest.journal.watch_waits()
    guest.migrate(target)
    guest.wait_writes(50, 60)
    longest = guest.journal.longest_wait
    guest.stop_stamping(load)
    return longest


@scenario("cut-in-migration", product=True, long=True, seconds=900)
def cut_in_migration(lab):
    """The cable is cut once the migration's target may write; then it is mended."""
    dual = {"net": {"protocol": "C", "allow-two-primaries": "yes"}}
    pair, resource, guest, size, load = start_writing(
        lab, **(dual if lab.kind == "drbd" else {}))
    beta = pair.beta
    role = f"{resource.tool} status vm1 | head -n 1 | grep -q role:Primary"
    if lab.kind == "drbd":
        role = "drbdadm role vm1 | grep -q ^Primary"
    cut = threading.Event()

    def cut_the_cable(_line):
        pair.cut_link()
        cut.set()

    beta.start(f"until {role}; do :; done; echo primary",
               on_line=cut_the_cable)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        moving = pool.submit(guest.migrate, beta, check=False)
        # The guest's memory is copied first.
        lab.check(cut.wait(240), "beta did not become Primary")
        for host in pair.hosts:
            resource.wait_facts(host, 60, link="(?!Connected$).*")
        tell(lab, pair, resource, "the cable is cut")
        # xl's own connection goes on where it was; nobody types anything.
        pair.restore_link()
        lab.say(f"xl migrate ended with {moving.result().code}")
    if lab.kind == "drbd":
        tell_split_brain(lab, pair, resource)
        return
    resource.wait_healthy()
    tell(lab, pair, resource, "the cable is mended, nobody did anything")
    primary = [host for host in pair.hosts if runs_on(host)]
    lab.check(len(primary) == 1, f"the guest is on {len(primary)} hosts")
    guest.host = primary[0]
    expect_roles(lab, resource, guest.host)
    guest.wait_writes(50, 60)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


def tell(lab, pair, resource, when):
    """Each host's state, as a person would look at it."""
    lab.say(f"{when}:")
    for host in pair.hosts:
        role, disk, link, _ = resource.facts(host)
        guest = "the guest is here" if runs_on(host) else "no guest"
        lab.say(f"  {host.name}: {role} {disk} {link}, {guest}")


def tell_split_brain(lab, pair, resource):
    """What kernel DRBD makes of it when the cable is back."""
    alpha = pair.alpha
    alpha.wait_for("dmesg | grep -iq 'split-brain detected' || "
                   "drbdadm cstate vm1 | grep -q Connected", 60,
                   "the two find each other again", pause=1)
    tell(lab, pair, resource, "the cable is mended, nobody did anything")
    for line in alpha.run("dmesg | grep -i split-brain | tail -n 2",
                          check=False).out.splitlines():
        lab.say(f"  alpha's kernel: {line.split('] ')[-1]}")
