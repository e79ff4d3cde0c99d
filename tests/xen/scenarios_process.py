# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: a process is killed, or replaced, under a running guest.

The next process takes up the live ring. The guest sees a pause: no error,
no write that was acknowledged and is gone, none that lands twice.
"""

import time

from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean

# One write at a time, and as many as the ring holds, in pieces that need
# indirect descriptors.
LOADS = ({"depth": 32, "max": 16, "flush": 32}, {"depth": 1, "flush": 4})


@scenario("kill-process", product=True, only_ours=True, seconds=400)
def kill_process(lab):
    """kill -9 of either tapdisk-drbd under load: a pause, and no error."""
    chance = lab.chance()
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(alpha)
    size = disk_size(guest)
    expect_down_refused(lab, resource, alpha, guest)
    for load in LOADS:
        task = guest.stamp(blocks=4096, **load)
        for kind in ("alpha", "beta", "alpha", "term", "both", "alpha") * (
                4 if lab.long else 1):
            guest.wait_writes(chance.randrange(20, 200), 90)
            time.sleep(chance.random() / 5)  # the moment of death, not a wait
            replace(lab, resource, guest, kind)
        guest.wait_writes(50, 90)
        guest.stop_stamping(task)
        lab.check(not guest.journal.errors,
                  f"the guest saw errors: {guest.journal.errors[:5]}")
        expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    resource.wait_healthy()
    expect_same(lab, resource, size)
    guest.destroy()
    lab.check(alpha.run("ls /run/tapdrbd | grep -c ring-", check=False)
              .out.strip() == "0", "a ring's record outlived its guest")


def expect_down_refused(lab, resource, host, guest):
    answer = host.run(f"tapdrbdadm down {resource.name}", check=False)
    lab.check(answer.code != 0, "down was not refused under a guest")
    said = answer.out + answer.err
    lab.check(f"domain {guest.domain_id()}" in said,
              f"down does not say who uses the disk: {said}")


def replace(lab, resource, guest, kind):
    """The process ends in that way, and the next one is started."""
    alpha, beta = resource.pair.hosts
    hosts = {"alpha": [alpha], "beta": [beta], "term": [alpha],
             "both": [alpha, beta]}[kind]
    for host in hosts:
        signal = "TERM" if kind == "term" else "KILL"
        pid = resource.pid(host)
        host.run(f"kill -{signal} {pid}; "
                 f"while kill -0 {pid} 2>/dev/null; do sleep 0.05; done")
    before = guest.journal.acknowledged
    begin = time.monotonic()
    for host in hosts:
        resource.up(host)
    guest.wait_writes(1, 90)
    lab.say(f"{kind}: killed after {before} writes; it went on "
            f"{time.monotonic() - begin:.1f} s after the restart began")
