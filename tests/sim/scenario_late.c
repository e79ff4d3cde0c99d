/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_late.c - scenarios in which one request to a disk takes much longer than those after it:
 * what has to wait for it must wait, however well the rest gets on.
 */
#include <string.h>

#include "scenario.h"

static void power(struct sim_world *world, unsigned host, uint64_t back_after)
{
    host_crash(&world->host[host], true);
    world->host[host].boot_at = world->now + back_after;
}

static bool b_works(const struct sim_world *world)
{
    return world->host[1].disk.in_flight > 0;
}

/* A's guest writes the first blocks; on B's disk that takes so long, and only that. */
static bool write_late_on_b(struct sim_world *world, uint64_t time)
{
    world->host[1].disk.one_until = world->now + time;
    guest_issue(&world->host[0], REPLICA_OP_WRITE, false, 0, SIM_BLOCK_SECTORS);
    return expect(world, b_works, SECOND, "a write on the disk of B");
}

/* A dies and forgets a write that is still on its way to B's disk. Compared by checksums the two
 * are equal, until that write is there. */
static void run_late_write_csums(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.csums = true;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    write_some(world, 0, 12, 0, 64);
    flush(world, 0);
    world->host[0].disk.one_until = world->now + 100 * MS;
    if (!write_late_on_b(world, 100 * MS))
        return;
    power(world, 0, MS);
    expect(world, established, 10 * SECOND, "Established again");
}

/* And so both have noted. */
static bool a_has_all(const struct sim_world *world)
{
    return both_live(world) && world->host[0].status.disk == REPLICA_DISK_UPTODATE &&
           world->host[1].meta.in_flight == 0;
}

/* A has got all, while it was Primary, and no flush of B is behind that: B loses its cache. */
static void attached_then_power(struct sim_world *world)
{
    if (!expect(world, a_has_all, 5 * SECOND, "an UpToDate disk of A"))
        return;
    world_run(world, MS);
    power(world, 1, 5 * MS);
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

/* A's guest lives from B, and A gets a disk again while a write is on its way to B's. */
static void run_late_write_attach(struct sim_world *world)
{
    if (!start_and_detach(world))
        return;
    write_some(world, 0, 4, 0, 64);
    flush(world, 0);
    if (!write_late_on_b(world, 30 * MS))
        return;
    host_command(&world->host[0], COMMAND_ATTACH, 0);
    attached_then_power(world);
}

static bool a_diskless(const struct sim_world *world)
{
    return world->host[0].status.disk == REPLICA_DISK_DISKLESS;
}

/* A disk is let go of while it still reads for a verification. */
static void run_late_sum_detach(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    write_some(world, 0, 4, 0, 64);
    world->host[0].disk.one_until = world->now + 20 * MS;
    host_command(&world->host[0], COMMAND_VERIFY, 0);
    world_run(world, MS);
    host_command(&world->host[0], COMMAND_DETACH, 0);
    if (expect(world, a_diskless, SECOND, "the end of a detach"))
        operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

/* The same, and what is on its way is the flush of what B has been sent alone. */
static void run_late_flush_attach(struct sim_world *world)
{
    if (!start_and_detach(world))
        return;
    write_some(world, 0, 8, 0, 64);
    world->host[1].disk.one_until = world->now + 30 * MS;
    host_command(&world->host[0], COMMAND_ATTACH, 0);
    attached_then_power(world);
}

static bool b_diskless(const struct sim_world *world)
{
    return world->host[1].status.disk == REPLICA_DISK_DISKLESS;
}

/* B's disk calls itself a target of A's data. */
static bool b_adopts(const struct sim_world *world)
{
    struct sim_host *a = (struct sim_host *)&world->host[0], *b = a + 1;
    const struct metadata_superblock *ours = meta_truth(a), *theirs = meta_truth(b);

    return ours && theirs && !(theirs->flags & METADATA_CONSISTENT) &&
           lineage_same(ours->generation.current, theirs->generation.current);
}

/* A new disk in B is to get everything, and both lose power as it says whose data it gets: by then
 * its bitmap says that it lacks them all. */
static void run_late_bitmap(struct sim_world *world)
{
    struct sim_host *b = &world->host[1];

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 24, 0, world->profile.sectors);
    world->operator_off = true;
    world->demoting = 0;
    host_command(&world->host[0], COMMAND_DEMOTE, 0);
    if (!expect(world, both_secondary, SECOND, "a demotion"))
        return;
    host_command(b, COMMAND_DETACH, 0);
    if (!expect(world, b_diskless, SECOND, "the end of a detach"))
        return;
    world_create_metadata(b, 0);
    disk_reset(b, 1);
    oracle_abandoned(b);
    b->meta.map_until = world->now + 50 * MS;
    host_command(b, COMMAND_ATTACH, 0);
    host_command(&world->host[0], COMMAND_CONNECT, 0);
    if (!expect(world, b_adopts, SECOND, "a target in full"))
        return;
    power(world, 0, 5 * MS);
    power(world, 1, 5 * MS);
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

static bool boot_with_small_log(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.al_extents = METADATA_AL_EXTENTS_MIN;
    return pair_boot(world) && expect(world, established, 5 * SECOND, "Established");
}

/* A writes alone, in more extents than its activity log holds, and loses power: what has left the
 * log is in the bitmap on disk, however long that takes. */
static void run_late_bitmap_evict(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];
    uint32_t extent = (uint32_t)METADATA_AL_EXTENT_BYTES / REPLICA_SECTOR_BYTES;

    if (!boot_with_small_log(world))
        return;
    host_crash(&world->host[1], false);
    world->host[1].boot_at = UINT64_MAX;
    write_some(world, 0, 4, 0, 16);
    a->meta.map_until = world->now + 300 * MS;
    for (uint32_t at = 0; at < world->profile.sectors && !world->failed; at += extent)
        guest_issue(a, REPLICA_OP_WRITE, true, at, SIM_BLOCK_SECTORS);
    world_run(world, 20 * MS);
    power(world, 0, 5 * MS);
    a->meta.map_until = 0;
    world->host[1].boot_at = world->now + 10 * MS;
    expect(world, established, 10 * SECOND, "Established again");
}

/* A flush is cut by the loss of the peer, which so has nothing on its platter of what was written
 * before it; and the bits that say so are slow. Till then the extents of those writes stay in the
 * activity log, whoever else wants a place there. */
static void run_late_bitmap_abort(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];
    uint32_t extent = (uint32_t)METADATA_AL_EXTENT_BYTES / REPLICA_SECTOR_BYTES;

    if (!boot_with_small_log(world))
        return;
    write_some(world, 0, 12, 0, METADATA_AL_EXTENTS_MIN * extent);
    net_block(world, 3, 100 * MS);
    guest_issue(a, REPLICA_OP_FLUSH, false, 0, 0);
    world_run(world, 2 * MS);
    a->meta.map_until = world->now + 300 * MS;
    net_cut(world);
    world_run(world, MS);
    for (uint32_t i = 0; i < METADATA_AL_EXTENTS_MIN; i++)
        guest_issue(a, REPLICA_OP_WRITE, false, (4 + i) * extent, SIM_BLOCK_SECTORS);
    world_run(world, 5 * MS);
    power(world, 0, 5 * MS);
    power(world, 1, 5 * MS);
    a->meta.map_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

/* A flush is slow on B, and the guest goes on: it is held back before it has written more than the
 * transfer log remembers. Then B loses all that it has not flushed. */
static void run_late_flush_records(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.al_extents = METADATA_AL_EXTENTS_MAX;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    world->host[1].disk.one_until = world->now + 200 * MS;
    guest_issue(&world->host[0], REPLICA_OP_FLUSH, false, 0, 0);
    if (!expect(world, b_works, SECOND, "a flush of B"))
        return;
    for (uint32_t i = 0; i < 128 && !world->failed; i++) {
        guest_issue(&world->host[0], REPLICA_OP_WRITE, false, i * SIM_BLOCK_SECTORS, 1);
        world_run(world, MS);
    }
    power(world, 1, 5 * MS);
    expect(world, established, 10 * SECOND, "Established again");
}

/* Nobody flushes, but in a while all is durable on both, and a loss finds nothing to copy. */
static void run_confirm_timer(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        write_some(world, 0, 4, 0, 64);
        world_run(world, 50 * MS);
    }
    power(world, 1, UINT64_MAX - world->now);
    if (memcmp(world->host[0].disk.visible, world->host[1].disk.visible,
               world->profile.sectors * sizeof world->host[0].disk.visible[0]) != 0)
        sim_violation(world, "P3", "B: what nobody has flushed is not durable after a while");
    world->host[1].boot_at = world->now;
    expect(world, established, 10 * SECOND, "Established again");
}

static bool a_is_target(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_SYNC_TARGET;
}

/* A Primary that is a target is to ask for what its guest is writing just now, and is paused before
 * it may: those blocks are asked for in another round. */
static void run_resync_held_pause(struct sim_world *world)
{
    struct sim_host *a = &world->host[0], *b = &world->host[1];

    if (!start_and_detach(world))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    b->disk.one_until = world->now + 20 * MS;
    host_command(a, COMMAND_ATTACH, 0);
    if (!expect(world, b_works, SECOND, "the flush of what B has got alone"))
        return;
    guest_issue(a, REPLICA_OP_WRITE, false, 0, SIM_BLOCK_SECTORS);
    if (!expect(world, a_is_target, SECOND, "a resync to A"))
        return;
    b->disk.one_until = world->now + 20 * MS;
    host_command(a, COMMAND_PAUSE_SYNC, 0);
    if (!expect(world, guests_idle, SECOND, "the answer to a write"))
        return;
    world_run(world, 5 * MS);
    host_command(a, COMMAND_RESUME_SYNC, 0);
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

static bool a_stopped_clean(const struct sim_world *world)
{
    const struct metadata_superblock *truth = meta_truth((struct sim_host *)&world->host[0]);

    return truth && !(truth->flags & METADATA_PRIMARY);
}

/* A has died as Primary, and dies again as its activity log is being turned into bits. */
static void run_late_bitmap_crash(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, 64);
    net_block(world, 1, 30 * MS);
    guest_issue(a, REPLICA_OP_WRITE, true, 0, SIM_BLOCK_SECTORS);
    world_run(world, 2 * MS);
    power(world, 0, 5 * MS);
    a->meta.map_until = world->now + 100 * MS;
    if (!expect(world, a_stopped_clean, SECOND, "an attach"))
        return;
    power(world, 0, 5 * MS);
    a->meta.map_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

/* ---- the superblock ------------------------------------------------------------------------- */

static bool a_syncs(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_SYNC_TARGET;
}

static bool a_has_synced(const struct sim_world *world)
{
    return a_syncs(world) && world->host[0].status.out_of_sync_bytes == 0;
}

static bool b_is_target(const struct sim_world *world)
{
    const struct metadata_superblock *truth = meta_truth((struct sim_host *)&world->host[1]);

    return truth && !(truth->flags & METADATA_CONSISTENT);
}

/* A Primary's disk has got all from B, and is about to say so, when they lose each other. Should B
 * become a target of it, what A says of itself is on its disk by then. */
static void run_late_uptodate(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!start_and_detach(world))
        return;
    write_some(world, 0, 8, 0, 64);
    host_command(a, COMMAND_ATTACH, 0);
    if (!expect(world, a_syncs, 5 * SECOND, "a resync to A"))
        return;
    a->meta.super_until = world->now + 150 * MS;
    if (!expect(world, a_has_synced, SECOND, "the end of it"))
        return;
    world_run(world, 2 * MS);
    write_more(world, 0, 4, 0, 64);
    net_cut(world);
    world_until(world, b_is_target, 100 * MS);
    power(world, 0, 5 * MS);
    a->meta.super_until = 0;
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

/* ---- roles and sessions ---------------------------------------------------------------------- */

static void check_b_over(struct sim_world *world)
{
    if (!world->failed && disk_busy(&world->host[1].disk, 0))
        sim_violation(world, "P5", "B: is Primary, and a write of the old one is on its way");
}

/* The guest of a dead A starts on B: its disk does not change under it any more. */
static void run_late_write_promote(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 4, 0, 64);
    if (!write_late_on_b(world, 100 * MS))
        return;
    world->prefer = 1;
    host_crash(&world->host[0], false);
    world->host[0].boot_at = UINT64_MAX;
    if (!expect(world, b_primary, 5 * SECOND, "the guest on B"))
        return;
    check_b_over(world);
    write_some(world, 1, 4, 0, 16);
    world->host[0].boot_at = world->now;
}

/* The guest moves to B: its last write over here has an answer by then. */
static void run_late_write_handover(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 4, 0, 64);
    if (!write_late_on_b(world, 40 * MS))
        return;
    migrate_begin(world);
    world->migration.fails = false;
    if (!world_until(world, b_primary, SECOND)) /* A's shell may say no */
        return;
    check_b_over(world);
    write_some(world, 1, 4, 0, 16);
}

/* A target is slow with one piece when the link is lost. The next resync counts its own. */
static void run_late_resync_write(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    net_block(world, 3, 100 * MS);
    write_some(world, 0, 24, 0, world->profile.sectors);
    if (!expect(world, syncing, 5 * SECOND, "a resync"))
        return;
    world->host[1].disk.one_until = world->now + 100 * MS;
    if (!expect(world, b_works, SECOND, "data for B"))
        return;
    net_cut(world);
    expect(world, established, 10 * SECOND, "Established again");
}

/* ---- a disk that answers too late, or with an error ------------------------------------------ */

/* A flush fails on one disk, and what it was to make durable is lost there. */
static void run_flush_error(struct sim_world *world)
{
    unsigned victim = sim_below(world, 2);
    struct sim_host *a = &world->host[0], *b = &world->host[1];
    struct sim_disk *disk = &world->host[victim].disk;

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 12, 0, 64);
    disk->not_spared = true;
    disk->fails_until = UINT64_MAX;
    b->meta.super_until = victim == 0 ? world->now + 100 * MS : 0;
    guest_issue(a, REPLICA_OP_FLUSH, false, 0, 0);
    world_until(world, guests_idle, 20 * MS);
    power(world, victim, 5 * MS);
    if (victim == 0)
        power(world, 1, 5 * MS);
    disk->not_spared = false;
    disk->fails_until = b->meta.super_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

/* A disk that hangs is let go of, and may still do what it was asked: nothing is attached over it.
 */
static void run_attach_hanging(struct sim_world *world)
{
    unsigned victim = sim_below(world, 2);
    struct sim_host *host = &world->host[victim];

    world->profile = quiet_profile;
    world->profile.disk_timeout = 100 * MS;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    host->disk.not_spared = true;
    host->disk.hangs_until = world->now + SECOND;
    write_more(world, 0, 4, 0, 64);
    world_run(world, 300 * MS);
    if (host->disk.in_flight + host->meta.in_flight == 0 ||
        host->status.disk != REPLICA_DISK_DISKLESS) {
        sim_violation(world, "scenario", "%c: its disk is not let go of", 'A' + (int)victim);
        return;
    }
    host_command(host, COMMAND_ATTACH, 0);
    world_run(world, 20 * MS);
    if (host->commands || host->status.disk != REPLICA_DISK_DISKLESS)
        sim_violation(world, "attach", "%c: a disk is attached that still owes answers",
                      'A' + (int)victim);
    host->disk.not_spared = false;
    host->disk.hangs_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

/* B's disk hangs, and B is there and says so for ever: A goes on without it. */
static void run_peer_hanging(struct sim_world *world)
{
    struct sim_disk *disk = &world->host[1].disk;

    if (!pair_start(world, START_IN_SYNC))
        return;
    disk->not_spared = true;
    disk->hangs_until = world->now + 5 * SECOND;
    write_more(world, 0, 4, 0, 64);
    expect(world, guests_idle, SECOND, "answers without B");
    disk->not_spared = false;
    disk->hangs_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

static bool a_persists(const struct sim_world *world)
{
    return world->host[0].status.handover == REPLICA_HANDOVER_PERSISTING;
}

/* The giver's disk fails as it writes down that it gives: it keeps the role, and its guest goes on
 * through the taker that it has not told. */
static void run_handover_disk(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 4, 0, 64);
    migrate_begin(world);
    if (!expect(world, a_persists, 5 * SECOND, "a handover"))
        return;
    a->disk.not_spared = true;
    a->disk.fails_until = UINT64_MAX;
    world_run(world, 50 * MS);
    if (!a_primary(world) || a->guest.suspended) {
        sim_violation(world, "scenario", "A: its guest does not run again");
        return;
    }
    write_some(world, 0, 8, 0, 64);
    if (a->guest.failed)
        sim_violation(world, "P1", "A: %u requests fail, and B is well", a->guest.failed);
    a->disk.not_spared = false;
    a->disk.fails_until = 0;
    expect(world, established, 10 * SECOND, "Established again");
}

/* A new disk in a Primary: its activity log knows no extent of the old one's. */
static void run_new_disk_log(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, 64);
    world->operator_off = true;
    host_command(a, COMMAND_DETACH, 0);
    if (!expect(world, a_diskless, SECOND, "the end of a detach"))
        return;
    world_create_metadata(a, 0);
    disk_reset(a, 1);
    oracle_abandoned(a);
    operator_is_back(world);
    if (!expect(world, established, 10 * SECOND, "the end of the resync"))
        return;
    net_block(world, 1, 30 * MS);
    guest_issue(a, REPLICA_OP_WRITE, true, 0, SIM_BLOCK_SECTORS);
    world_run(world, 2 * MS);
    power(world, 0, 5 * MS);
    expect(world, established, 10 * SECOND, "Established again");
}

const struct scenario scenarios_late[] = {
    {"late-write-csums", "a write of the old session lands after the checksums are compared",
     run_late_write_csums},
    {"late-write-attach", "a write is on its way to the peer when a Primary gets a disk",
     run_late_write_attach},
    {"late-sum-detach", "a disk is detached while it reads for a verification",
     run_late_sum_detach},
    {"late-flush-attach", "and what that peer has got alone is being flushed",
     run_late_flush_attach},
    {"late-write-promote", "a write of a dead Primary is on its way when the guest starts here",
     run_late_write_promote},
    {"late-write-handover", "a write is on its way when the guest moves", run_late_write_handover},
    {"late-resync-write", "a piece of the old resync lands in the new one", run_late_resync_write},
    {"late-bitmap", "both lose power as a target begins", run_late_bitmap},
    {"late-bitmap-evict", "extents leave the activity log while their bits are being written",
     run_late_bitmap_evict},
    {"late-bitmap-abort", "they stay while the bits that a loss sets are being written",
     run_late_bitmap_abort},
    {"late-flush-records", "the guest outruns a flush of the peer", run_late_flush_records},
    {"confirm-timer", "what nobody flushes is durable after a while", run_confirm_timer},
    {"resync-held-pause", "a target is paused while its guest writes what it is to ask for",
     run_resync_held_pause},
    {"late-bitmap-crash", "a crashed Primary crashes again in its attach", run_late_bitmap_crash},
    {"late-uptodate", "the link is lost as a target is about to call itself UpToDate",
     run_late_uptodate},
    {"flush-error", "a flush fails on either disk, and power goes", run_flush_error},
    {"attach-hanging", "no attach before the hanging disk has answered all", run_attach_hanging},
    {"peer-hanging", "the peer's disk hangs, and the peer does not", run_peer_hanging},
    {"handover-disk", "the giver's disk fails in a handover", run_handover_disk},
    {"new-disk-log", "a new disk has none of the old one's hot extents", run_new_disk_log},
};
const unsigned scenario_late_count = sizeof scenarios_late / sizeof scenarios_late[0];
