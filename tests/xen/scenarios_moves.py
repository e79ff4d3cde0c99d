# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: other ways to move a guest, and a boot loader that reads its disk.

Several disks in one guest, a paused guest, xl's --debug, the evacuation of a
host; and pygrub, for which xl attaches the disk to dom0 itself.
"""

from hosts import same_bytes
from lab import scenario
from scenarios_disk import disk_size, expect_same
from scenarios_harness import expect_clean
from scenarios_migrate import (expect_roles, expect_stays, move_over,
                               start_writing)

DEBUG = 'xl migrate --debug -s "" {name} "{way}"'
EVACUATE = 'tapdrbdadm evacuate --ssh= --to "{way}"'
# Rewrites a second disk, flush by flush, until it is told to end.
SECOND = ("while [ ! -e /run/end ]; do dd if=/dev/urandom of=/dev/xvdb bs=64k "
          "count=16 conv=fsync 2>/dev/null || exit 1; done")


def expect_both_roles(lab, resources, primary):
    for resource in resources:
        expect_roles(lab, resource, primary)


@scenario("migrate-disks", product=True, only_ours=True, long=True,
          seconds=400)
def migrate_disks(lab):
    """A guest moves with two replicated disks, or with none of them."""
    pair = lab.pair(svm=True)
    alpha, beta = pair.hosts
    disks = ("/dev/test/data", "/dev/test/scratch")
    resources = [lab.resource(pair, f"vm{number}", port=7788 + number, disk=disk)
                 for number, disk in enumerate(disks, 1)]
    for resource in resources:
        resource.create()
    guest = lab.guest("vm1", [resources[0].disk_line("xvda"),
                              resources[1].disk_line("xvdb")], kind="pvh")
    guest.start(alpha)
    size, second = disk_size(guest), disk_size(guest, "xvdb")
    load = guest.stamp(blocks=4096, depth=8, max=8, flush=16)
    writer = guest.send(SECOND)
    guest.wait_writes(50, 60)
    guest.migrate(beta)
    expect_both_roles(lab, resources, beta)
    guest.wait_writes(50, 60)
    lab.say("moved with both disks")
    resources[1].adm(beta, "disconnect")
    expect_stays(lab, guest, alpha, "are not connected")
    resources[1].adm(beta, "connect")
    for resource in resources:
        resource.wait_healthy()
    expect_both_roles(lab, resources, beta)
    guest.run("touch /run/end")
    writer.wait(60)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resources[0], size)
    for host in pair.hosts:
        host.run("sync")
    place = same_bytes(alpha.file("scratch.img"), beta.file("scratch.img"), second)
    lab.check(place is None, f"the second disk differs at byte {place}")


@scenario("migrate-ways", product=True, only_ours=True, long=True, seconds=500)
def migrate_ways(lab):
    """xl migrate --debug, then tapdrbdadm evacuate, then a paused guest."""
    pair, resource, guest, size, load = start_writing(lab)
    alpha, beta = pair.hosts
    guest.migrate(beta, command=DEBUG)
    expect_roles(lab, resource, beta)
    guest.wait_writes(50, 60)
    lab.say("moved with --debug")
    said = beta.run("tapdrbdadm evacuate --dry-run").out
    lab.check("vm1 (vm1): xl migrate vm1 alpha" in said, f"--dry-run: {said}")
    result = guest.migrate(alpha, command=EVACUATE)
    lab.check("1 guest moved" in result.out, f"evacuate said {result!r}")
    expect_roles(lab, resource, alpha)
    guest.wait_writes(50, 60)
    lab.say("beta was evacuated")
    # A PVH guest takes part in its suspension, which a paused one cannot.
    alpha.run("xl pause vm1")
    result = guest.migrate(beta, check=False)
    lab.say(f"paused: xl migrate ended with {result.code}")
    guest.host.run("xl unpause vm1")
    guest.wait_writes(50, 60)
    expect_roles(lab, resource, guest.host)
    guest.stop_stamping(load)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    expect_same(lab, resource, size)


@scenario("migrate-reboot", product=True, only_ours=True, seconds=200)
def migrate_reboot(lab):
    """A guest has moved, the host it came from dies, and the guest reboots."""
    pair, resource, guest, _, load = start_writing(lab)
    move_over(lab, resource, guest)
    guest.stop_stamping(load)
    pair.alpha.kill()
    guest.follow(pair.beta)  # no longer by the name with which it came in
    since = len(guest.lines)
    guest.send("reboot -f")
    guest.wait_line("GUEST READY", 90, since)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))
    guest.stamp(blocks=4096, depth=4, count=50).wait(60)
    expect_clean(lab, guest.journal, guest.verify(blocks=4096))


PYGRUB = """set -e
modprobe xen-blkfront
mkdir -p /tmp/tree/boot/grub
cp /boot/vmlinuz-$(uname -r) /tmp/tree/boot/vmlinuz
cp /opt/harness/guest.cpio /tmp/tree/boot/initrd
printf 'default 0\\ntimeout 0\\ntitle guest\\nroot (hd0)\\nkernel /boot/vmlinuz \
console=hvc0 quiet\\ninitrd /boot/initrd\\n' >/tmp/tree/boot/grub/menu.lst
mke2fs -q -t ext4 -F -d /tmp/tree /tmp/vm1.img 64M
tapdrbdadm primary vm1
nbdcopy /tmp/vm1.img 'nbd+unix:///?socket=/run/tapdrbd/vm1.nbd'
tapdrbdadm secondary vm1
rm -r /tmp/tree /tmp/vm1.img
"""


@scenario("pygrub", product=True, only_ours=True, suites=("bookworm",),
          long=True, seconds=300)
def pygrub(lab):
    """A guest boots the kernel on its disk, which pygrub reads in dom0."""
    pair = lab.pair()
    alpha = pair.alpha
    resource = lab.resource(pair)
    resource.create()
    alpha.run(PYGRUB, timeout=120)
    guest = lab.guest("vm1", [resource.disk_line()], boot='bootloader = "pygrub"')
    for turn in (1, 2):
        guest.start(alpha, timeout=150)
        guest.run("mount -t ext4 /dev/xvda /mnt")
        if turn == 2:
            guest.run("cmp /mnt/one /mnt/two")
            lab.say("booted again from its disk, with what it had written")
        guest.run("dd if=/dev/urandom of=/mnt/one bs=64k count=64 && "
                  "cp /mnt/one /mnt/two && umount /mnt && sync")
        size = disk_size(guest)
        expect_same(lab, resource, size)
        guest.destroy()
        resource.wait_facts(alpha, 30, role="Secondary")
    left = alpha.run("xenstore-ls -f /local/domain/0/device/vbd 2>/dev/null",
                     check=False).out
    lab.check(not left.strip(), f"dom0 still has the disk: {left}")
