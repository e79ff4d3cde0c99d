# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: the guest moves, and its disk is handed over.

One node is Primary at any time; a guest that moves while it writes loses
nothing and notices a pause at most; a migration that fails leaves the guest
where it was, and says why where `xl migrate` was typed.
"""

import concurrent.futures
import re
import time

from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean

LOG = "/run/tapdrbd/vm1.log"


def log_of(host):
    return host.run(f"cat {LOG} 2>/dev/null; journalctl -u tapdisk-drbd@vm1 "
                    "2>/dev/null || true", check=False).out


def epochs(host):
    """The epochs under which this node became Primary, in order."""
    return [int(number) for number in
            re.findall(r"Primary under epoch (\d+)", log_of(host))]


def start_writing(lab, **resource_settings):
    """A guest on alpha that stamps its blocks without end. A PVH one: Debian's Xen
    is built without shadow paging, and does not migrate PV guests live."""
    pair = lab.pair(svm=True)
    resource = lab.resource(pair, **resource_settings)
    resource.create()
    guest = lab.guest("vm1", [resource.migratable_line()], kind="pvh")
    guest.start(pair.alpha)
    size = disk_size(guest)
    load = guest.stamp(blocks=4096, depth=8, max=8, flush=16)
    guest.wait_writes(50, 60)
    return pair, resource, guest, size, load


def expect_roles(lab, resource, primary):
    other = resource.pair.other(primary)
    resource.wait_facts(primary, 20, role="Primary")
    resource.wait_facts(other, 20, role="Secondary")
    lab.say(f"{primary.name} is Primary, {other.name} Secondary")


def move_over(lab, resource, guest, seconds=60):
    """To the other host, with the role and the load; the host it came from."""
    source = guest.host
    target = resource.pair.other(source)
    guest.migrate(target)
    expect_roles(lab, resource, target)
    guest.wait_writes(50, seconds)
    lab.check("handed over" in log_of(source),
              f"{source.name}'s log does not tell of the handover")
    return source


@scenario("migrate", product=True, only_ours=True, seconds=400)
def migrate(lab):
    """A guest that writes without end moves to the other host and back."""
    pair, resource, guest, size, load = start_writing(lab)
    for _ in range(50 if lab.long else 2):
        move_over(lab, resource, guest)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)
    expect_one_primary(lab, pair)


def expect_one_primary(lab, pair, moved=True):
    """No epoch was taken by both nodes, and each is higher than the last. Where
    the guest has moved, both were Primary."""
    taken = [epochs(host) for host in pair.hosts]
    lab.say(f"epochs taken by alpha {taken[0]}, by beta {taken[1]}")
    lab.check(not set(taken[0]) & set(taken[1]), f"an epoch of both: {taken}")
    for numbers in taken:
        lab.check(numbers == sorted(set(numbers)), f"epochs went back: {numbers}")
    lab.check(not moved or all(taken), f"not both nodes have been Primary: {taken}")


@scenario("migrate-refused", product=True, only_ours=True, seconds=300)
def migrate_refused(lab):
    """A running guest is not taken from; refusals say why, and cost nothing."""
    pair, resource, guest, size, load = start_writing(lab)
    alpha, beta = pair.hosts
    domain = guest.domain_id()
    words = f"the peer alpha is Primary and its guest (domain {domain}) runs there"

    result = beta.run(f"{resource.tool} primary vm1", check=False)
    lab.check(result.code != 0 and words in result.err + result.out,
              f"primary on beta: {result!r}")
    beta.push(guest.config, "/tmp/vm1.cfg")
    result = beta.run("xl create /tmp/vm1.cfg", timeout=90, check=False)
    lab.check(result.code != 0 and words in result.err + result.out,
              f"xl create on beta: {result!r}")
    lab.say(f"refused: {words}")
    guest.wait_writes(50, 60)

    alpha.run(f"{resource.tool} disconnect vm1")
    expect_stays(lab, guest, beta, "are not connected")
    alpha.run(f"{resource.tool} connect vm1")
    resource.wait_healthy()

    expect_roles(lab, resource, alpha)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


def expect_stays(lab, guest, target, words):
    """The migration fails with these words; the guest goes on writing."""
    source = guest.host
    result = guest.migrate(target, check=False)
    lab.check(result.code != 0, f"xl migrate succeeded: {result!r}")
    said = result.err + result.out
    lab.check(words in said, f"xl migrate did not say {words!r}: {said[-1500:]}")
    lab.say(f"xl migrate failed and said: ... {words} ...")
    source.wait_for(f"xl domid {guest.name}", 20)
    guest.wait_writes(50, 60)


@scenario("migrate-fault", product=True, only_ours=True, seconds=400)
def migrate_fault(lab):
    """The target's process dies in mid-handover: the guest goes on."""
    pair, resource, guest, size, load = start_writing(lab)
    alpha, beta = pair.hosts
    for _ in range(10 if lab.long else 1):
        pid = resource.pid(beta)
        killer = beta.start(
            "until xenstore-ls /local/domain/0/backend/vbd 2>/dev/null | "
            f"grep -q 'state = \"2\"'; do :; done; kill -9 {pid}")
        result = guest.migrate(beta, check=False)
        killer.wait(30)
        lab.check(result.code != 0, "the target's process was killed, and the "
                  f"migration succeeded: {result!r}")
        resource.up(beta)
        resource.wait_healthy()
        guest.wait_writes(50, 60)
        expect_roles(lab, resource, alpha)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


# Whose process is killed, or what happens to the cable, in the middle.
FAULTS = ("source's process", "target's process", "both processes",
          "target's xl", "cable")
# A migration takes so long under load, in seconds.
MIGRATION = 40


@scenario("migrate-struck", product=True, only_ours=True, seconds=600)
def migrate_struck(lab):
    """A fault at any point of a migration: one guest, nowhere an error, no loss."""
    chance = lab.chance()
    pair, resource, guest, size, load = start_writing(lab)
    for _ in range(20 if lab.long else 2):
        source, target = guest.host, pair.other(guest.host)
        kind = chance.choice(FAULTS)
        # An xl that dies after its last word leaves it to a person which of the
        # two guests is to go on.
        late = kind != "target's xl" and chance.random() < 0.7
        moment = chance.random() * (1 if late else MIGRATION)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            moving = pool.submit(guest.migrate, target, check=False)
            if late:
                wait_for_handover(target)
            concurrent.futures.wait([moving], moment)
            strike(resource, kind, source, target, chance.random() * 8)
            result = moving.result()
        for host in pair.hosts:
            resource.up(host)
        clear_incoming(target)
        resource.wait_healthy()
        homes = [host for host in pair.hosts if runs_on(host)]
        lab.check(len(homes) == 1, f"the guest is on {len(homes)} hosts")
        guest.host = homes[0]
        lab.say(f"{kind}, {moment:.1f} s into the "
                f"{'handover' if late else 'migration'}: xl migrate ended "
                f"with {result.code}, the guest is on {guest.host.name}")
        expect_roles(lab, resource, guest.host)
        guest.wait_writes(50, 90)
        lab.check(not guest.journal.errors,
                  f"the guest saw errors: {guest.journal.errors[:5]}")
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)
    expect_one_primary(lab, pair, moved=False)


def strike(resource, kind, source, target, seconds):
    """One of FAULTS; the cable is cut for so long."""
    if kind == "cable":
        resource.pair.cut_link()
        time.sleep(seconds)  # the length of the fault, not a wait
        resource.pair.restore_link()
        return
    if kind == "target's xl":
        # By its path: the word stands in the shell's command line, too.
        target.run("pkill -9 -f '^/[^ ]*/xl migrate-receive'", check=False)
        return
    for host, kinds in ((source, ("source's process", "both processes")),
                        (target, ("target's process", "both processes"))):
        if kind in kinds:
            host.run(f"kill -9 {resource.pid(host)}")
    for host in (source, target):
        resource.up(host)


def wait_for_handover(target):
    """Until the guest's disk is asked for; that is when its memory is there."""
    target.run("timeout 200 sh -c 'until xenstore-ls "
               "/local/domain/0/backend/vbd 2>/dev/null | grep -q state; "
               "do :; done'", 240)


def clear_incoming(host):
    """What an xl that was killed leaves behind, as an admin removes it."""
    host.run("xl destroy vm1--incoming 2>/dev/null || true")


def runs_on(host):
    return host.run("xl domid vm1", check=False).code == 0


@scenario("save-restore", product=True, only_ours=True, seconds=300)
def save_restore(lab):
    """xl save and restore, and xl migrate within one host, while it writes."""
    pair, resource, guest, size, load = start_writing(lab)
    alpha = pair.alpha
    alpha.run("xl save vm1 /var/lib/tapdrbd/vm1.save", timeout=150)
    alpha.run("xl restore /var/lib/tapdrbd/vm1.save && rm "
              "/var/lib/tapdrbd/vm1.save", timeout=150)
    guest.wait_writes(50, 60)
    lab.say("saved, restored, and writing again")
    guest.migrate(alpha)
    guest.wait_writes(50, 60)
    lab.say("moved within alpha, and writing again")
    expect_roles(lab, resource, alpha)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)
