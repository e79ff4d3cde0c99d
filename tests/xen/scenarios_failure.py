# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: a host, a process or the power fails under load.

What the guest was told is written must be there afterwards, on whichever
host the guest is started next.
"""

import random
import time

from journal import Contents, compare
from lab import Failure, scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean
from guest import GuestFailed

PEER_TIMEOUT = 10
# The loads under which hosts are killed, from one write at a time to many.
LOADS = (
    {"depth": 1, "flush": 4}, {"depth": 8, "flush": 16, "max": 8},
    {"depth": 32, "flush": 0}, {"depth": 16, "max": 32, "flush": 64},
    {"depth": 4, "order": "seq", "max": 16, "flush": 8},
)


def delay_link(pair, milliseconds):
    """A slow cable: an acknowledgement that does not wait for the peer is
    then far ahead of the data, and a kill shows it."""
    for host in pair.hosts:
        host.run("modprobe sch_netem; tc qdisc replace dev link0 root netem "
                 f"delay {milliseconds}ms limit 10000")


@scenario("kill-primary", product=True, seconds=400)
def kill_primary(lab):
    """The guest's host is killed under load; the guest goes on at the peer."""
    chance = lab.chance()
    pair = lab.pair()
    resource = lab.resource(pair)
    for attempt in range(20 if lab.long else 3):
        load = LOADS[attempt % len(LOADS)]
        delay = (0, 40)[attempt % 2]
        kill_once(lab, pair, resource, chance, load, delay)
        pair.alpha.boot()
        pair.beta.run("xl destroy vm1", check=False)
        resource.released(pair.beta)
        pair.beta.run(f"{resource.tool} down {resource.name}")


def kill_once(lab, pair, resource, chance, load, delay):
    resource.create()
    delay_link(pair, delay)
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    guest.stamp(blocks=4096, **load)
    guest.wait_writes(chance.randrange(30, 400), 90)
    time.sleep(chance.random() / 5)  # the moment of death, not a wait
    pair.alpha.kill()
    lab.say(f"killed after {guest.journal.acknowledged} writes, link delay "
            f"{delay} ms, load {load}")
    begin = time.monotonic()
    resource.ready(pair.beta)
    guest.start(pair.beta)
    lab.say(f"the guest runs on beta after {time.monotonic() - begin:.0f} s")
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    guest.stamp(blocks=4096, depth=4, count=50).wait(60)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    guest.close()


def make_ext4(guest):
    # By path: busybox's shell would take its own applet.
    guest.run("/bin/mke2fs -q -t ext4 -F /dev/xvda 65536k && mkdir -p /mnt/d && "
              "mount -t ext4 /dev/xvda /mnt/d", timeout=90)


def load_ext4(guest):
    """Files without end, over and over the same two hundred."""
    return guest.send("n=0; while dd if=/dev/urandom of=/mnt/d/f$((n%200)) "
                      "bs=16k count=4; do n=$((n+1)); echo made $n; done "
                      "2>/dev/null")


def fail_under_ext4(guest, load, name, chance):
    """Until the moment of the failure: one file is synced, others are not."""
    guest.run(f"dd if=/dev/urandom of=/mnt/d/{name} bs=64k count=32 && "
              f"md5sum /mnt/d/{name} >>/mnt/d/sums && sync", timeout=90)
    made = [line for line in guest.lines[load.since:]
            if line.startswith("made ")]
    goal = int(made[-1].split()[1]) if made else 0
    goal += chance.randrange(10, 60)
    guest.wait_line(rf"^made {goal}$", 90, load.since)
    time.sleep(chance.random() / 5)  # the moment of death, not a wait


def expect_ext4(lab, guest, count):
    """fsck finds nothing that the journal does not explain, and each synced
    file is as it was. The file system is mounted afterwards."""
    code, lines = guest.run("/bin/e2fsck -p /dev/xvda", timeout=90, check=False)
    lab.check(code in (0, 1), f"/bin/e2fsck -p: {code} {lines[-5:]}")
    guest.run("/bin/e2fsck -f -n /dev/xvda", timeout=90)
    _, lines = guest.run("mkdir -p /mnt/d && mount -t ext4 /dev/xvda /mnt/d && "
                         "md5sum -c /mnt/d/sums", timeout=90)
    right = sum(line.endswith(": OK") for line in lines)
    lab.check(right == count, f"{right} of {count} synced files are right")


@scenario("ext4-failover", product=True, late=True, seconds=240)
def ext4_failover(lab):
    """ext4 in the guest passes fsck each time that its host is killed."""
    chance = lab.chance()
    pair = lab.pair()
    resource = lab.resource(pair)
    resource.create()
    here = pair.alpha
    resource.ready(here)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(here)
    make_ext4(guest)
    load = load_ext4(guest)
    kills = 10 if lab.long else 1
    for kill in range(1, kills + 1):
        fail_under_ext4(guest, load, f"kept{kill}", chance)
        here.kill()
        killed, here = here, pair.other(here)
        resource.ready(here)
        guest.start(here)
        expect_ext4(lab, guest, kill)
        lab.say(f"{killed.name} killed ({kill} of {kills}): ext4 is clean on "
                f"{here.name}, {kill} synced files are right")
        if kill < kills:
            load = load_ext4(guest)
            killed.boot()
            resource.up(killed)
            resource.wait_healthy()


@scenario("ext4-power-cut", product=True, long=True, seconds=400)
def ext4_power_cut(lab):
    """ext4 in the guest passes fsck each time that both hosts lose power."""
    chance = lab.chance()
    pair = lab.pair(volatile=True)
    resource = lab.resource(pair)
    resource.create()
    here = pair.alpha
    resource.ready(here)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(here)
    size = disk_size(guest)
    make_ext4(guest)
    cuts = 10 if lab.long else 2
    for cut in range(1, cuts + 1):
        fail_under_ext4(guest, load_ext4(guest), f"kept{cut}", chance)
        lost = [host.power_cut(chance.random())
                for host in chance.sample(pair.hosts, 2)]
        for host in pair.hosts:
            host.power_on()
        for host in pair.hosts:
            host.wait_up()
            resource.up(host)
        resource.wait_healthy()
        expect_same(lab, resource, size)
        here = chance.choice(pair.hosts)
        resource.ready(here)
        guest.start(here)
        expect_ext4(lab, guest, cut)
        lab.say(f"power cut {cut} of {cuts}, unflushed sectors lost {lost}: "
                f"ext4 is clean on {here.name}, {cut} synced files are right")


def let_reports_through(guest, quiet=1, seconds=20):
    """Until no report of a write has arrived for `quiet` seconds: what was
    acknowledged before now is counted, and the next write is a new one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            guest.wait_writes(1, quiet)
        except GuestFailed:
            return
    raise Failure(f"writes are still acknowledged after {seconds} s")


def expect_no_writes(lab, guest, seconds, text):
    """No write is acknowledged for that long. Those that were reported but
    still on their way are let through first."""
    let_reports_through(guest)
    count = guest.journal.acknowledged
    try:
        guest.wait_writes(1, seconds)
    except GuestFailed:
        return
    raise Failure(f"{text}: {guest.journal.acknowledged - count} writes were "
                  "acknowledged")


@scenario("peer-stop", product=True, only_ours=True, seconds=240)
def peer_stop(lab):
    """P1: the peer's process hangs: writes wait, then the loss is recorded."""
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair, net={"timeout": PEER_TIMEOUT * 10})
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(alpha)
    load = guest.stamp(blocks=4096, depth=4)
    guest.wait_writes(50, 60)
    pid = resource.pid(beta)
    beta.run(f"kill -STOP {pid}")
    expect_no_writes(lab, guest, PEER_TIMEOUT / 2 - 1, "the peer hangs")
    beta.run(f"kill -CONT {pid}")
    guest.wait_writes(50, 30)
    lab.say("writes waited while the peer hung, and went on with it")

    before = alpha.run(f"tapdrbdadm dump-md {resource.name}", check=False).out
    beta.run(f"kill -STOP {pid}")
    let_reports_through(guest)
    guest.wait_writes(1, PEER_TIMEOUT * 4 + 20)
    facts = resource.facts(alpha)
    lab.check(facts[2] != "Connected", f"status still says {facts}")
    after = alpha.run(f"tapdrbdadm dump-md {resource.name}", check=False).out
    lab.check(before != after, "the metadata do not show the loss (P7)")
    lab.say(f"the guest went on alone; status: {facts}")
    beta.run(f"kill -CONT {pid}")
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))


@scenario("kill-secondary", product=True, late=True,
          seconds=240)
def kill_secondary(lab):
    """The peer's host dies: the guest goes on, and the pair heals."""
    pair = lab.pair()
    resource = lab.resource(pair, net={"timeout": PEER_TIMEOUT * 10})
    resource.create()
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    size = disk_size(guest)
    load = guest.stamp(blocks=4096, depth=4)
    guest.wait_writes(100, 60)
    pair.beta.kill()
    guest.wait_writes(200, 60)
    pair.beta.boot()
    resource.up(pair.beta)
    resource.wait_healthy()
    guest.wait_writes(50, 60)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


@scenario("power-cut-both", product=True, long=True, seconds=400)
def power_cut_both(lab):
    """Both hosts lose power: flushed writes are there, replicas equal."""
    pair = lab.pair(volatile=True)
    resource = lab.resource(pair)
    seed = random.randrange(1 << 30)
    lab.say(f"seed {seed}")
    for attempt in range(10 if lab.long else 2):
        power_cut_once(lab, pair, resource, seed + attempt)


def power_cut_once(lab, pair, resource, seed):
    resource.create()
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    size = disk_size(guest)
    guest.stamp(unit=512, blocks=16384, depth=8, max=16, flush=32)
    guest.wait_writes(300, 90)
    lost = [host.power_cut(seed) for host in pair.hosts]
    lab.say(f"unflushed sectors lost: {lost}")
    wrong = compare(guest.journal, Contents.read_file(
        lab.stamper(), pair.alpha.data_path, unit=512, blocks=16384),
        flushed_only=True)
    lab.check(not wrong, f"alpha's disk: {wrong[:5]}")
    for host in pair.hosts:
        host.power_on()
    for host in pair.hosts:
        host.wait_up()
        resource.up(host)
    resource.wait_healthy()
    expect_same(lab, resource, size)
    for host in pair.hosts:
        host.run(f"{resource.tool} down {resource.name}")
    guest.close()
