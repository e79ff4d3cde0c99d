# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: HVM guests, which have QEMU for a device model.

An HVM guest reaches its disk by two ways: the emulated disk, which QEMU
serves as a client of our NBD socket, and the PV disk on the ring. Linux takes
the first away when it has the second; `xen_emul_unplug=never` keeps it with
the first. Both ways follow the same rules when the guest moves.
"""

import re

from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean
from scenarios_migrate import (expect_one_primary, expect_roles, log_of,
                               move_over)

# How the guest sees its disk, by what its kernel is told.
EMULATED = ("sda", "xen_emul_unplug=never")
PV = ("xvda", "")


def hvm_pair(lab):
    pair = lab.pair(hvm=True, memory_mib=1664)
    for host in pair.hosts:
        host.run("ln -sf vmlinuz-$(uname -r) /boot/vmlinuz")
    return pair


def device_model(host, guest):
    return int(host.run("xenstore-read /local/domain/$(xl domid "
                        f"{guest.name})/image/device-model-pid").out)


def nbd_clients(resource, host):
    return resource.status(host)["tapdrbd"]["nbd"]["clients"]


def start_hvm(lab, pair, resource, way):
    """An HVM guest on alpha that stamps its blocks on this disk of its."""
    name, cmdline = way
    guest = lab.guest("vm1", [resource.disk_line()], kind="hvm", memory=192,
                      cmdline=cmdline)
    guest.start(pair.alpha, timeout=400)
    load = guest.stamp(f"/dev/{name}", blocks=4096, depth=4, max=8, flush=16)
    guest.wait_writes(50, 90)
    clients = nbd_clients(resource, pair.alpha)
    lab.say(f"QEMU is process {device_model(pair.alpha, guest)}; NBD clients: "
            f"{clients}")
    lab.check(clients == (1 if way is EMULATED else 0),
              f"{clients} NBD clients while the guest writes to {name}")
    return guest, load


def stop_hvm(lab, resource, guest, load, way):
    guest.stop_stamping(load)
    size = disk_size(guest, way[0])
    expect_clean(lab, guest.journal, guest.verify(f"/dev/{way[0]}", blocks=4096))
    expect_same(lab, resource, size)


@scenario("hvm", product=True, only_ours=True, long=True,
          seconds=900)
def hvm(lab):
    """An HVM guest writes by its emulated disk, and another by its PV disk."""
    pair = hvm_pair(lab)
    resource = lab.resource(pair)
    resource.create()
    for way in (EMULATED, PV):
        guest, load = start_hvm(lab, pair, resource, way)
        stop_hvm(lab, resource, guest, load, way)
        guest.destroy()
        resource.wait_facts(pair.alpha, 30, role="Secondary")
        pair.alpha.wait_for("! pgrep -f '[q]emu-system'", 30, "QEMU has ended")
        guest.close()


def migrate_there_and_back(lab, way):
    pair = hvm_pair(lab)
    resource = lab.resource(pair)
    resource.create()
    guest, load = start_hvm(lab, pair, resource, way)
    for _ in range(10 if lab.long else 2):
        source = move_over(lab, resource, guest, seconds=90)
        source.wait_for("! pgrep -f '[q]emu-system'", 30, "QEMU has ended")
    stop_hvm(lab, resource, guest, load, way)
    expect_one_primary(lab, pair)


@scenario("migrate-hvm", product=True, only_ours=True,
          long=True, seconds=900)
def migrate_hvm(lab):
    """An HVM guest moves and comes back while it writes to its PV disk."""
    migrate_there_and_back(lab, PV)


@scenario("migrate-emulated", product=True, only_ours=True,
          long=True, seconds=900)
def migrate_emulated(lab):
    """The same while it writes to the disk that QEMU emulates."""
    migrate_there_and_back(lab, EMULATED)


@scenario("migrate-hvm-fault", product=True, only_ours=True,
          long=True, seconds=900)
def migrate_hvm_fault(lab):
    """The target cannot run it: the guest goes on by its emulated disk.

    And a program of dom0 that has the disk open keeps the guest here."""
    pair = hvm_pair(lab)
    alpha, beta = pair.hosts
    resource = lab.resource(pair)
    resource.create()
    guest, load = start_hvm(lab, pair, resource, EMULATED)
    # Beta's QEMU does not start, long after beta has been given the role.
    beta.run("mkdir -p /run/nothing; for name in /usr/libexec/xen-qemu-system-i386 "
             "/usr/lib/xen-4.17/bin/qemu-system-i386; do [ -e $name ] && "
             "mount --bind /bin/false $name; done; true")
    result = guest.migrate(beta, check=False)
    lab.check(result.code != 0, f"it migrated without a QEMU: {result!r}")
    guest.wait_writes(50, 90)
    expect_roles(lab, resource, alpha)
    lab.check("Primary under epoch" in log_of(beta), "beta never had the role")
    beta.run("umount /usr/libexec/xen-qemu-system-i386 "
             "/usr/lib/xen-4.17/bin/qemu-system-i386 2>/dev/null", check=False)
    expect_kept_by_a_program(lab, guest, beta)
    guest.wait_writes(50, 90)
    expect_roles(lab, resource, alpha)
    guest.migrate(beta)
    expect_roles(lab, resource, beta)
    guest.wait_writes(50, 90)
    stop_hvm(lab, resource, guest, load, EMULATED)


def expect_kept_by_a_program(lab, guest, target):
    source = guest.host
    program = source.start("sleep 300 | qemu-io -f raw "
                           "'nbd+unix:///?socket=/run/tapdrbd/vm1.nbd'")
    source.wait_for("tapdrbdadm status vm1 --json | grep -q '\"clients\": *2'",
                    30, "the program has the disk open")
    result = guest.migrate(target, check=False)
    said = result.err + result.out
    program.close()
    source.run("pkill -x qemu-io", check=False)
    found = re.search(r"the peer alpha is Primary and 1 NBD client \(.*process "
                      r"\d+\) has its disk open for writing there", said)
    lab.check(result.code != 0 and found, f"xl migrate said: {said[-1500:]}")
    lab.say(f"refused: {found.group(0)}")
