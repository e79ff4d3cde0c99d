# SPDX-License-Identifier: GPL-2.0-or-later
"""A resync that is held back, gives way to the guest, or need not copy."""
import os
import time

from nbd_client import NbdClient
from nodes import MIB, RESOURCE, check, wait_until
from run import scenario
from scenarios_io import quiet_compare
from scenarios_peer_loss import with_handlers


def latencies(client, size, seconds):
    """Of 4 KiB writes, one after the other, in ms; sorted."""
    took, number, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        offset = number * 4096 * 7919 % (size - 4096) // 4096 * 4096
        check(client.write(offset, number.to_bytes(4, "big") * 1024) == 0, "a guest's write")
        took.append((time.monotonic() - begin) * 1000)
        number += 1
    return sorted(took)


def quantile(sorted_values, part):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * part))]


def out_of_sync(node):
    return node.connection()["peer_devices"][0]["out-of-sync"]


@scenario("the guest's write latency with a resync, as a ratio of that without", seconds=180)
def resync_latency(lab):
    pair = lab.pair(size=512 * MIB).create().start()
    pair.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
    pair.wait_in_sync()
    pair.alpha.adm("primary", RESOURCE)
    size = pair.data_bytes()
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    latencies(client, size, 2)
    alone = latencies(client, size, 5)
    pair.beta.adm("invalidate", RESOURCE)
    wait_until(lambda: pair.alpha.replication() == "SyncSource", 20, "the resync begins")
    left = out_of_sync(pair.alpha)
    during = latencies(client, size, 5)
    check(pair.alpha.replication() == "SyncSource", "the resync went on all the while")
    moved = left - out_of_sync(pair.alpha)
    for name, part in (("median", 0.5), ("99 %", 0.99)):
        before, after = quantile(alone, part), quantile(during, part)
        print(f"     write latency, {name}: {before:.2f} ms without, {after:.2f} ms with a resync: "
              f"ratio {after / before:.2f}", flush=True)
    print(f"     copied meanwhile: {moved / 1024 / 5:.1f} MiB/s", flush=True)
    check(1024 * 5 <= moved <= 10 * 1024 * 5, f"c-min-rate is 4 MiB/s, {moved} KiB in 5 s")
    check(quantile(during, 0.5) < 3 * quantile(alone, 0.5), "the guest's latency has collapsed")
    client.close()
    pair.wait_in_sync()
    pair.alpha.wait_no_clients()
    quiet_compare(pair, size)


@scenario("pause-sync and resume-sync, and a pause that outlives the link")
def paused_resync(lab):
    pair = lab.pair(size=64 * MIB, disk="c-max-rate 4M;").create().start()
    pair.alpha.adm("primary", "--force", RESOURCE)
    wait_until(lambda: pair.beta.replication() == "SyncTarget", 20, "the resync begins")
    pair.alpha.adm("pause-sync", RESOURCE)
    wait_until(lambda: pair.beta.replication() == "PausedSyncT", 20, "the target pauses")
    check(pair.alpha.replication() == "PausedSyncS", "the source pauses")
    again = pair.alpha.adm("pause-sync", RESOURCE, expect=None)
    check(again.returncode != 0 and "already" in again.stderr, f"a second pause: {again.stderr}")
    for node, whose, where in ((pair.alpha, "user", "on this host"), (pair.beta, "peer", "on the")):
        device = node.connection()["peer_devices"][0]
        check(device["resync-suspended"] == whose, f"{node.name}: {device['resync-suspended']}")
        text = node.adm("status", RESOURCE).stdout
        check(f"resync-suspended:{whose}" in text and f"paused {where}" in text, text)
    pair.beta.adm("disconnect", RESOURCE)
    pair.beta.adm("connect", RESOURCE)
    wait_until(lambda: pair.beta.replication() == "PausedSyncT", 30, "paused after a reconnect")
    check(pair.beta.disk_state() == "Inconsistent", "a paused target is no good copy")
    pair.alpha.adm("resume-sync", RESOURCE)
    pair.wait_in_sync()
    quiet_compare(pair, pair.data_bytes())


@scenario("csums-alg: a resync of what is equal sends almost nothing")
def resync_by_checksum(lab):
    pair = lab.pair(size=64 * MIB, net="csums-alg sha1;", disk="c-min-rate 0;").create().start()
    pair.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
    pair.wait_in_sync()
    pair.alpha.adm("primary", RESOURCE)
    client = NbdClient(f"{pair.alpha.run_dir}/{RESOURCE}.nbd")
    for number in range(64):
        check(client.write(number * MIB // 4, bytes([number]) * 65536) == 0, "a write")
    client.close()
    pair.alpha.wait_no_clients()
    before = pair.alpha.connection()["peer_devices"][0]["sent"]
    pair.beta.adm("invalidate", RESOURCE)
    wait_until(lambda: "resync done" in pair.alpha.log(), 60, "the full resync")
    pair.wait_in_sync()
    sent = pair.alpha.connection()["peer_devices"][0]["sent"] - before
    check(sent <= 1024, f"{sent} KiB were sent of disks that are equal")
    check("had equal checksums" in pair.beta.log(), pair.beta.log())
    quiet_compare(pair, pair.data_bytes())


@scenario("before-resync-target forbids a resync until it ends with 0; after-resync-target runs")
def resync_handlers(lab):
    told, may = f"{lab.directory}/told", f"{lab.directory}/may"
    handlers = with_handlers(
        before_resync_target=f"echo before $DRBD_RESOURCE >> {told}; test -e {may}",
        after_resync_target=f"echo after $DRBD_RESOURCE >> {told}")
    pair = lab.pair(size=16 * MIB, net=handlers).create().start()

    def lines():
        with open(told, encoding="ascii") as file:
            return file.read().splitlines()

    pair.alpha.adm("new-current-uuid", "--clear-bitmap", RESOURCE)
    pair.wait_in_sync()
    pair.alpha.adm("primary", RESOURCE)
    pair.beta.adm("invalidate", RESOURCE)
    wait_until(lambda: os.path.exists(told) and len(lines()) >= 2, 30, "the handler, twice")
    check(set(lines()) == {f"before {RESOURCE}"}, f"only before-resync-target: {lines()}")
    check("resync begins" not in pair.beta.log(), "no resync before the handler allows it")
    with open(may, "w", encoding="ascii"):
        pass
    wait_until(lambda: f"after {RESOURCE}" in lines(), 30, "after-resync-target")
    check(pair.beta.disk_state() == "UpToDate", "it runs when the disk is UpToDate")
    pair.wait_in_sync()
    quiet_compare(pair, pair.data_bytes())
    for path in (told, may):
        os.unlink(path)
