# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: xl refuses a disk in words, and several disks are served at once.

The words are hotplug-error's, which xl prints: what a person sees who typed
`xl create`. None of the refusals may last until one of xl's time-outs.
"""

import os

from hosts import same_bytes
from journal import Contents
from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean

THEIRS = "/etc/xen/scripts/block-drbd.drbd-utils"


def expect_refused(lab, host, guest, *words, busy=False):
    """`xl create` fails soon, says all the words, and leaves nothing behind. On a busy emulated
    host xl itself takes its time, and "soon" is not looked at."""
    host.push(guest.config, f"/tmp/{guest.name}.cfg")
    before = host.run("xl list").out.count("\n")
    result = host.run("TIMEFORMAT=%R; time xl create "
                      f"/tmp/{guest.name}.cfg", check=False, timeout=90)
    lines = (result.out + result.err).strip().splitlines()
    text = "\n".join(line for line in lines if "script" in line)
    lab.check(result.code != 0, f"{guest.name} was created on {host.name}")
    for word in words:
        lab.check(word in text, f"'{word}' is not in what xl says: {lines}")
    lab.say(f"{lines[-1]} s: " + text.splitlines()[0].split("script: ")[-1])
    lab.check(busy or float(lines[-1]) < 20, f"the refusal took {lines[-1]} s")
    host.wait_for(f"[ $(xl list | wc -l) -eq {before} ]", 20,
                  "the refused guest has gone")
    left = host.run("xenstore-ls -f /local/domain/0/backend | grep -c "
                    f"'domain = \"{guest.name}\"'", check=False).out
    lab.check(int(left or 0) == 0, f"backend nodes of {guest.name} stay")


@scenario("hotplug-errors", product=True, only_ours=True, seconds=300)
def hotplug_errors(lab):
    """What xl says when a disk cannot be had: the reason and the cure."""
    pair = lab.pair()
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    guest = lab.guest("vm1", [resource.disk_line()], memory=128)
    unknown = lab.guest("vm9", ["tap:drbd:vm9,xvda,w"], memory=128)
    resource.write_config()
    # drbd-utils' script is asked about names that are not ours, where it is.
    expect_refused(lab, alpha, unknown)
    alpha.run(f"mv {THEIRS} {THEIRS}.away", check=False)
    expect_refused(lab, alpha, unknown, "vm9", "/etc/tapdrbd.d")
    expect_refused(lab, alpha, guest, "not up", "tapdrbdadm up vm1")
    resource.both("create-md --force")
    resource.both("up")
    resource.both("wait-connect", timeout=60)
    expect_refused(lab, alpha, guest, "UpToDate", "new-current-uuid")
    resource.adm(alpha, "new-current-uuid --clear-bitmap")
    resource.wait_healthy()
    guest.start(alpha)
    load = guest.stamp(blocks=4096, depth=4)
    guest.wait_writes(20, 60)
    second = lab.guest("vm2", [resource.disk_line()], memory=128)
    attached = f"vm1 is attached for writing to domain {guest.domain_id()} already"
    expect_refused(lab, alpha, second, attached, "xl block-detach", busy=True)
    guest.wait_writes(50, 60)
    guest.stop_stamping(load)
    expect_refused(lab, alpha, second, attached)
    expect_refused(lab, beta, second, "alpha is Primary and its guest", "shut that guest down")
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, disk_size(guest))


def three_resources(lab, pair):
    """On a disk, on another disk, and on a file of a file system."""
    image = "/var/lib/tapdrbd-test/vm3.img"
    for host in pair.hosts:
        host.run(f"truncate -s 16M {image}")
    disks = ("/dev/test/data", "/dev/test/scratch", image)
    return [lab.resource(pair, f"vm{number}", port=7788 + number, disk=disk)
            for number, disk in enumerate(disks, 1)]


@scenario("several-guests", product=True, only_ours=True,
          seconds=300)
def several_guests(lab):
    """Three guests on three resources at once, on both hosts, and a phy: disk."""
    pair = lab.pair(memory_mib=1664)
    alpha, beta = pair.hosts
    resources = three_resources(lab, pair)
    guests = []
    for resource, host in zip(resources, (alpha, beta, alpha)):
        resource.create()
        lines = [resource.disk_line()]
        if resource is resources[0]:
            lines.append("phy:/dev/test/root,xvdb,r")
        guests.append(lab.guest(resource.name, lines, memory=128))
        guests[-1].start(host)
    loads = [guest.stamp(blocks=2048, depth=4) for guest in guests]
    guests[0].run("dd if=/dev/xvdb of=/dev/null bs=1M count=32", timeout=90)
    for guest in guests:
        guest.wait_writes(100, 90)
    # One of them ends; the others do not notice. With all three at work that
    # takes its time; xl-day looks that it waits for no time-out.
    alpha.run("xl destroy vm3", timeout=60)
    for guest, load in list(zip(guests, loads))[:2]:
        guest.wait_writes(20, 60)
        guest.stop_stamping(load)
        expect_clean(lab, guest.journal, guest.verify(blocks=2048))
    expect_same(lab, resources[0], disk_size(guests[0]))
    place = same_bytes(alpha.file("scratch.img"), beta.file("scratch.img"),
                       disk_size(guests[1]))
    lab.check(place is None, f"the replicas of vm2 differ at byte {place}")
    resources[2].wait_facts(alpha, 30, role="Secondary")
    expect_file_replicas(lab, resources[2], guests[2])


def expect_file_replicas(lab, resource, guest):
    """The data areas of both files: equal, and as the guest was told."""
    kib = resource.status(resource.pair.alpha)["devices"][0]["size"]
    copies = []
    for host in resource.pair.hosts:
        copy = os.path.join(lab.directory, f"{resource.name}-{host.name}")
        with open(copy, "wb") as stream:
            stream.write(host.pull(resource.disk))
        expect_clean(lab, guest.journal, Contents.read_file(
            lab.stamper(), copy, blocks=2048))
        copies.append(copy)
    place = same_bytes(copies[0], copies[1], kib * 1024)
    lab.check(place is None, f"the replicas of {resource.name} differ at "
                             f"byte {place}")
