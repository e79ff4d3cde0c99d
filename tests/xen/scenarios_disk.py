# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: a guest uses its replicated disk, and nothing fails.

Every write is on both hosts; all guest types; all that xl does with a disk on
an ordinary day, with counts that must not grow.
"""

import re

from journal import Contents
from lab import scenario
from scenarios_harness import expect_clean

SCRATCH = "phy:/dev/test/scratch,xvdb,w"


def disk_size(guest, device="xvda"):
    """Bytes of the guest's disk, as the guest sees it."""
    _, lines = guest.run(f"blockdev --getsize64 /dev/{device}")
    return int(next(line for line in lines if line.isdigit()))


def expect_same(lab, resource, size):
    place = resource.difference(size)
    lab.check(place is None, f"the replicas differ at byte {place}")
    lab.say(f"both replicas are identical over {size >> 20} MiB")


def expect_on_both(lab, resource, guest, **options):
    """The journal holds on each disk by itself, read from outside."""
    for host in resource.pair.hosts:
        contents = Contents.read_file(lab.stamper(), host.data_path, **options)
        expect_clean(lab, guest.journal, contents)


def write_and_compare(lab, kind="pv", suite_line=None, **pair_settings):
    """The main job while all is well; shared by several scenarios."""
    pair = lab.pair(**pair_settings)
    resource = lab.resource(pair)
    resource.create()
    resource.ready(pair.alpha)
    line = suite_line(resource) if suite_line else resource.disk_line()
    guest = lab.guest("vm1", [line], kind=kind)
    guest.start(pair.alpha, timeout=150)
    size = disk_size(guest)
    guest.stamp(blocks=8192, depth=8, max=16, count=600).wait(120)
    guest.stamp(blocks=8192, depth=1, order="seq", count=100).wait(60)
    contents = guest.verify(blocks=8192)
    expect_clean(lab, guest.journal, contents)
    expect_same(lab, resource, size)
    expect_on_both(lab, resource, guest, blocks=8192)
    facts = resource.facts(pair.alpha)
    lab.check(facts[0] == "Primary", f"alpha's role is {facts[0]}")
    guest.run("poweroff -f &", check=False)
    pair.alpha.wait_for("! xl domid vm1", 30, "the guest has gone")
    expect_same(lab, resource, size)


@scenario("write-compare", product=True, seconds=180)
def write_compare(lab):
    """Every acknowledged write is on both disks, byte for byte."""
    write_and_compare(lab)


@scenario("write-compare-pvh", product=True, seconds=240)
def write_compare_pvh(lab):
    """The same with a PVH guest."""
    write_and_compare(lab, kind="pvh", svm=True)


@scenario("write-compare-vbd3", product=True, only_ours=True,
          suites=("trixie",), seconds=180)
def write_compare_vbd3(lab):
    """The same through Xen 4.20's backendtype=tap."""
    write_and_compare(lab, suite_line=lambda r: r.disk_line_vbd3())


@scenario("first-sync", product=True, late=True, seconds=240)
def first_sync(lab):
    """A full first sync makes the peer's disk identical, under writes."""
    pair = lab.pair(data_mib=192)
    pair.alpha.run("dd if=/dev/urandom of=/dev/test/data bs=1M count=64 "
                   "conv=fsync")
    resource = lab.resource(pair)
    resource.create(sync=True)
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(pair.alpha)
    guest.stamp(blocks=4096, depth=4, count=200).wait(60)
    expect_same(lab, resource, disk_size(guest))


@scenario("rewriter", product=True, seconds=180)
def rewriter(lab):
    """P5: a guest changes pages while they are written; replicas stay equal."""
    pair = lab.pair()
    resource = lab.resource(pair)
    resource.create()
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line()], vcpus=2)
    guest.start(pair.alpha)
    size = disk_size(guest)
    _, lines = guest.run("stamper rewrite /dev/xvda blocks=512 depth=8 "
                         "unit=65536 seconds=15", timeout=60)
    writes = int(re.match(r"E (\d+)", next(
        line for line in lines if line.startswith("E "))).group(1))
    lab.check(writes > 100, f"only {writes} writes: too few to show anything")
    lab.say(f"{writes} writes of changing pages")
    expect_same(lab, resource, size)


NBD_LOAD = """
set -e
uri='nbd+unix:///{name}?socket=/run/tapdrbd/{name}.nbd'
nbdinfo "$uri"
dd if=/dev/urandom of=/tmp/source bs=1M count=24 status=none
nbdcopy --flush /tmp/source "$uri"
nbdcopy "$uri" /tmp/back
cmp -n $((24 << 20)) /tmp/source /tmp/back
fio --name=verify --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k \\
    --iodepth=16 --size=16M --offset=32M --verify=crc32c --do_verify=1 \\
    --verify_fatal=1 --verify_state_save=0 --output-format=terse
"""


@scenario("dom0-nbd", product=True, only_ours=True, long=True, seconds=180)
def dom0_nbd(lab):
    """The dom0's own tools use the disk through NBD; replicas stay equal."""
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    resource.create()
    resource.adm(alpha, "primary")
    alpha.run(NBD_LOAD.format(name=resource.name), timeout=120)
    refused = beta.run(f"nbdinfo 'nbd+unix:///{resource.name}?socket="
                       f"/run/tapdrbd/{resource.name}.nbd'", check=False)
    lab.check(refused.code != 0, "the Secondary serves its disk over NBD")
    size = int(alpha.run("nbdinfo --size 'nbd+unix:///vm1?socket="
                         "/run/tapdrbd/vm1.nbd'").out)
    resource.adm(alpha, "secondary")
    expect_same(lab, resource, size)


@scenario("beside-phy", product=True, long=True, seconds=180)
def beside_phy(lab):
    """Another disk of the same guest, plain phy:, works beside ours."""
    pair = lab.pair()
    resource = lab.resource(pair)
    resource.create()
    resource.ready(pair.alpha)
    guest = lab.guest("vm1", [resource.disk_line(), SCRATCH])
    other = lab.guest("vm2", ["phy:/dev/test/root,xvda,r"], memory=128)
    guest.start(pair.alpha)
    other.start(pair.alpha)
    ours = guest.send("stamper write /dev/xvda blocks=4096 depth=4 seconds=8")
    guest.run("dd if=/dev/urandom of=/dev/xvdb bs=64k count=200 conv=fsync && "
              "sync && dd if=/dev/xvdb of=/dev/null bs=64k", timeout=90)
    other.run("dd if=/dev/xvda of=/dev/null bs=1M count=32", timeout=60)
    ours.wait(60)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, disk_size(guest))


@scenario("xl-day", product=True, seconds=300)
def xl_day(lab):
    """Reboot, destroy, block-attach and block-detach under load."""
    pair = lab.pair()
    alpha = pair.alpha
    resource = lab.resource(pair)
    resource.create()
    resource.ready(alpha)
    guest = lab.guest("vm1", [resource.disk_line()])
    guest.start(alpha)
    guest.stamp(blocks=4096, depth=8)
    guest.wait_writes(150, 60)
    for command in (lambda: guest.send("reboot -f"),
                    lambda: alpha.run("xl reboot vm1")):
        since = len(guest.lines)
        command()
        guest.wait_line("GUEST READY", 60, since)
        expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    guest.stamp(blocks=4096, depth=8)
    guest.wait_writes(150, 60)
    expect_quick(lab, alpha, "xl destroy vm1")
    alpha.wait_for("! xl domid vm1", 20)
    attach_and_detach(lab, pair, resource)


def attach(lab, guest, line):
    """A disk comes to a running guest, as /dev/xvda."""
    expect_quick(lab, guest.host, f"xl block-attach {guest.name} '{line}'")
    guest.run("n=0; until [ -b /dev/xvda ] || [ $n -ge 100 ]; do "
              "sleep 0.1; n=$((n+1)); done; [ -b /dev/xvda ]")


def attach_and_detach(lab, pair, resource):
    alpha = pair.alpha
    guest = lab.guest("vm2", [SCRATCH])
    guest.start(alpha)
    size = 0
    for busy in (False, True, True, True, False):
        attach(lab, guest, resource.disk_line())
        size = disk_size(guest)
        # After a detachment under load: all that was acknowledged is there.
        expect_clean(lab, guest.journal, guest.verify(blocks=4096))
        guest.stamp(blocks=4096, depth=4, count=100).wait(60)
        load = guest.stamp(blocks=4096, depth=4)
        guest.wait_writes(50, 60)
        if not busy:
            guest.stop_stamping(load)
        expect_quick(lab, alpha, "xl block-detach vm2 xvda")
        if busy:  # the disk went away under it
            code, _ = load.wait(60, check=False)
            lab.check(code != 0, "the load ended well without its disk")
            lab.say("detached under load: the guest's program got an error")
    expect_same(lab, resource, size)
    expect_quick(lab, alpha, "xl destroy vm2")


def expect_quick(lab, host, command, limit=8):
    """xl's own time-outs are 10 s: reaching them means a stuck backend."""
    result = host.run(f"TIMEFORMAT=%R; time {command}", timeout=60)
    seconds = float(result.err.strip().splitlines()[-1])
    lab.say(f"`{command}` took {seconds} s")
    lab.check(seconds < limit, f"`{command}` took {seconds} s")


# ------------------------------------------------------------- no leaks ---

COUNTS = """
pid={pid}
echo "descriptors $(ls /proc/$pid/fd | wc -l)"
echo "resident_kib $(awk '/VmRSS/ {{print $2}}' /proc/$pid/status)"
echo "event_channels $($(/usr/lib/xen-common/bin/xen-dir)/bin/lsevtchn 0 | wc -l)"
echo "backends $(xenstore-ls -f /local/domain/0/backend | grep -c '/state ')"
echo "domains $(xl list | tail -n +2 | wc -l)"
xl dmesg -c >/dev/null
xl debug-keys g
echo "grants $(xl dmesg | grep -c '\[0x')"
"""


def counts(resource, host):
    text = host.run(COUNTS.format(pid=resource.pid(host)), timeout=30).out
    return {key: int(value) for key, value in
            (line.split() for line in text.splitlines())}


@scenario("cycles", product=True, only_ours=True, seconds=420)
def cycles(lab):
    """Create and destroy guests over and over: nothing may leak."""
    rounds = 100 if lab.long else 5
    pair = lab.pair()
    alpha = pair.alpha
    resource = lab.resource(pair)
    resource.create()
    guest = lab.guest("vm1", [resource.disk_line()], memory=128)
    start = None
    for index in range(rounds + 2):
        guest.start(alpha)
        guest.stamp(blocks=4096, depth=8)
        guest.wait_writes(20, 60)
        if index == 0:  # what is counted is there while it is in use
            lab.check(counts(resource, alpha)["grants"] > 0,
                      "Xen shows no grant of a running guest")
        expect_quick(lab, alpha, "xl destroy vm1")
        alpha.wait_for("[ $(xl list | wc -l) -eq 2 ]", 20, "no zombie domain")
        guest.close()
        if index == 1:
            start = counts(resource, alpha)
    end = counts(resource, alpha)
    lab.say(f"after 2 cycles:  {start}")
    lab.say(f"after {rounds + 2} cycles: {end}")
    for key in ("descriptors", "event_channels", "backends", "domains",
                "grants"):
        lab.check(end[key] <= start[key],
                  f"{key} grew from {start[key]} to {end[key]}")
    grown = end["resident_kib"] - start["resident_kib"]
    lab.check(grown < 512, f"resident memory grew by {grown} KiB")
