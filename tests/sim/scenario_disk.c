/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_disk.c - what is wrong on a disk, and what an operator does about it.
 */
#include <string.h>

#include "scenario.h"

/* ---- verify --------------------------------------------------------------------------------- */

static bool verifying(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_VERIFY_S ||
           world->host[1].status.replication == REPLICA_REPLICATION_VERIFY_S;
}

/* The disk has, from now on, something else in this sector; nobody answers for it any more. */
static void flip(struct sim_host *host, uint32_t sector)
{
    struct sim_oracle *oracle = &host->world->oracle;

    host->world->flipped = true;
    host->disk.visible[sector] = host->disk.durable[sector] = 1;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        oracle->floor[i][sector] = oracle->seen[i][sector] = 0;
        oracle->node_verified[i] = oracle->node_acked_count[i];
        oracle->verified[i] = oracle->acked_count;
    }
}

static void verify_on(struct sim_world *world, unsigned host)
{
    host_command(&world->host[host], COMMAND_VERIFY, 0);
    if (!verifying(world))
        sim_violation(world, "scenario", "the verification does not begin");
}

/* A flipped bit on either side is found while the guest writes elsewhere, marked on both, and
 * repaired from the Primary once the pair connects anew; never before. */
static void run_verify_flip(struct sim_world *world)
{
    unsigned victim = sim_below(world, 2), asker = sim_below(world, 2), here = sim_below(world, 2);
    uint32_t sector[2], bytes = 2 * REPLICA_BLOCK_BYTES;

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 40, 0, world->profile.sectors);
    world->prefer = (int32_t)here;
    if (!expect(world, here ? b_primary : a_primary, SECOND, "the guest there"))
        return;
    flush(world, here);
    sector[0] = 256 + sim_below(world, 128);
    sector[1] = 384 + sim_below(world, 128); /* of the same block of the bitmap, and later */
    for (unsigned i = 0; i < 2; i++) {
        guest_issue(&world->host[here], REPLICA_OP_WRITE, true, sector[i], 1);
        if (!expect(world, guests_idle, SECOND, "the answer to a write"))
            return;
    }
    for (unsigned i = 0; i < 2; i++)
        flip(&world->host[victim], sector[i]);
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        world->host[i].meta.map_until = world->now + sim_below(world, 2) * 20 * MS;
    verify_on(world, asker);
    for (unsigned i = 0; i < 20 && !world->failed && verifying(world); i++) {
        write_more(world, here, 2, 0, 256);
        world_run(world, 100 * US);
    }
    if (!expect(world, both_live, 5 * SECOND, "the end of the verification"))
        return;
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (world->host[i].status.out_of_sync_bytes != bytes ||
            !meta_marked(&world->host[i], sector[0]) || !meta_marked(&world->host[i], sector[1]))
            sim_violation(world, "verify", "%c: %llu bytes are marked, two blocks differ",
                          'A' + (int)i,
                          (unsigned long long)world->host[i].status.out_of_sync_bytes);
    if (world->host[victim].disk.visible[sector[0]] != 1)
        sim_violation(world, "verify", "a difference was copied without being asked");
    expect(world, guests_idle, SECOND, "answers to the writes");
    host_command(&world->host[sim_below(world, 2)], COMMAND_DISCONNECT, 0);
    expect(world, established, 5 * SECOND, "Established after the resync");
    world->flipped = false;
    if ((world->host[1 - here].disk.visible[sector[0]] == 1) != (victim == here))
        sim_violation(world, "verify", "the resync went the wrong way");
}

static bool a_reads(const struct sim_world *world)
{
    return world->host[0].disk.in_flight > 0;
}

/* B asks for one block, A is slow to read it, and meanwhile the guest goes to B and writes there:
 * what A has read is not what B compares it with. */
static void run_verify_moved(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 12, 0, 64);
    world_run(world, 50 * MS);
    world->host[0].disk.one_until = world->now + 60 * MS;
    host_command_at(&world->host[1], COMMAND_VERIFY, 0, 0, REPLICA_BLOCK_BYTES);
    if (!expect(world, a_reads, SECOND, "a question to A"))
        return;
    world->prefer = 1;
    if (!expect(world, b_primary, SECOND, "the guest on B"))
        return;
    write_some(world, 1, 4, 0, SIM_BLOCK_SECTORS);
    expect(world, both_live, 5 * SECOND, "the end of the verification");
}

/* Whatever happens while it runs: a write in the middle of a range is no difference. */
static void run_verify_busy(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 6 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        host_command(&world->host[sim_below(world, 2)], COMMAND_VERIFY, 0);
        for (unsigned k = 0; k < 30 && !world->failed; k++) {
            write_more(world, here, 2, 0, 64);
            world_run(world, 50 * US);
        }
        if (i % 3 == 1) {
            world->prefer = 1 - (int32_t)here;
            expect(world, here ? a_primary : b_primary, 5 * SECOND, "the handover");
        } else if (i % 3 == 2) {
            net_cut(world);
            expect(world, established, 5 * SECOND, "Established again");
        }
    }
}

/* ---- resize --------------------------------------------------------------------------------- */

static bool both_larger(const struct sim_world *world)
{
    return grow_common(world) > world->profile.first_sectors && schedule_settled(world);
}

/* Writes that keep the activity log busy, then both devices grow and somebody types resize; with
 * --assume-clean no old metadata are in the new area, so nothing of it is to be copied. */
static bool begin_resize(struct sim_world *world, uint32_t flags)
{
    uint32_t span = quiet_profile.first_sectors;

    world->profile = quiet_profile;
    world->profile.sectors = SIM_SECTORS;
    world->profile.clean = flags & COMMAND_ASSUME_CLEAN;
    world->profile.internal = world->profile.clean ? 0 : sim_below(world, 4);
    world->profile.al_extents = METADATA_AL_EXTENTS_MIN;
    world->profile.wire = sim_chance(world, 2);
    world->profile.shuffle = sim_chance(world, 2);
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return false;
    write_some(world, 0, 20, 0, span);
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        grow_device(&world->host[i], 2);
    write_more(world, 0, 4, 0, span);
    if (!world->failed)
        host_command(&world->host[sim_below(world, SIM_HOSTS)], COMMAND_RESIZE, flags);
    return !world->failed;
}

static void lose_power(struct sim_world *world, uint32_t mask)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        if (!(mask >> i & 1))
            continue;
        host_crash(&world->host[i], true);
        world->host[i].boot_at = world->now + 5 * MS;
    }
}

static unsigned switched(const struct sim_world *world)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct metadata_superblock found;
        uint64_t slot[METADATA_SLOTS];

        count +=
            grow_find(&world->host[i], slot, &found) &&
            found.layout.data_bytes > (uint64_t)world->profile.first_sectors * REPLICA_SECTOR_BYTES;
    }
    return count;
}

static bool one_switched(const struct sim_world *world)
{
    return switched(world) > 0;
}

static bool both_switched(const struct sim_world *world)
{
    return switched(world) == SIM_HOSTS;
}

static bool one_tells(const struct sim_world *world)
{
    return grow_sectors(&world->host[0]) > world->profile.first_sectors ||
           grow_sectors(&world->host[1]) > world->profile.first_sectors;
}

/* The guest goes on writing up to that very moment. */
static bool busy_until(struct sim_world *world, predicate *done)
{
    for (unsigned i = 0; i < 10000 && !world->failed; i++) {
        if (world_until(world, done, 50 * US))
            return !world->failed;
        write_more(world, 0, 1, 0, quiet_profile.first_sectors);
    }
    sim_violation(world, "scenario", "the resize does not get on");
    return false;
}

/* Both hosts lose power as the second superblock with the new size is durable, or as the first host
 * tells the new size: what says that the new part may differ was durable before. */
static void run_resize_power(struct sim_world *world)
{
    predicate *moment = sim_chance(world, 2) ? both_switched : one_tells;

    if (!begin_resize(world, 0) || !busy_until(world, moment))
        return;
    lose_power(world, 3);
    expect(world, both_larger, 10 * SECOND, "the pair with its new size");
}

/* One has the new size, the other one has not, and they lose each other; perhaps a host as well. */
static void run_resize_cut(struct sim_world *world)
{
    if (!begin_resize(world, 0) || !busy_until(world, one_switched))
        return;
    world_run(world, sim_below(world, 100) * US);
    lose_power(world, sim_below(world, 4));
    net_cut(world);
    expect(world, both_larger, 10 * SECOND, "the pair with its new size");
}

static bool failed(const struct sim_world *world)
{
    return world->host[0].status.disk < REPLICA_DISK_INCONSISTENT;
}

/* A read of A's guest meets a bad sector; the rest of the disk is well. */
static bool read_badly(struct sim_world *world)
{
    struct sim_disk *disk = &world->host[0].disk;
    uint32_t at = sim_below(world, quiet_profile.first_sectors - 8);

    disk->not_spared = true;
    disk->fails_until = UINT64_MAX;
    guest_issue(&world->host[0], REPLICA_OP_READ, false, at, 8);
    if (!expect(world, failed, SECOND, "a disk that has failed"))
        return false;
    disk->not_spared = false;
    disk->fails_until = 0;
    world_run(world, MS);
    return !world->failed;
}

/* The leader's disk fails when it has the new size, and its follower is about to take it. */
static void run_resize_disk(struct sim_world *world)
{
    if (begin_resize(world, 0) && busy_until(world, one_switched) && read_badly(world))
        expect(world, both_larger, 10 * SECOND, "the pair with its new size");
}

/* There may be no memory for it. */
static bool switched_or_refused(const struct sim_world *world)
{
    return one_switched(world) || (world->host[0].commands == 0 && world->host[1].commands == 0);
}

/* The same at any step of one that has nothing to copy: the follower has everything all the time,
 * and the guest goes on through it. */
static void run_resize_disk_clean(struct sim_world *world)
{
    uint32_t streams;

    if (!begin_resize(world, COMMAND_ASSUME_CLEAN))
        return;
    world->operator_off = true;
    streams = world->net.streams;
    if (sim_chance(world, 2))
        world_run(world, sim_below(world, 3000) * US);
    else if (!busy_until(world, switched_or_refused))
        return;
    if (!read_badly(world) || !expect(world, guests_idle, SECOND, "answers to the guest"))
        return;
    world_run(world, 10 * MS);
    if (world->net.streams != streams ||
        world->host[0].status.connection != REPLICA_CONNECTION_CONNECTED)
        sim_violation(world, "resize", "A hung up on the peer that has everything");
    operator_is_back(world);
    expect(world, both_larger, 10 * SECOND, "the pair with its new size");
}

/* ---- a disk comes back ----------------------------------------------------------------------- */

static bool reads_locally(const struct sim_world *world)
{
    return world->host[0].status.disk == REPLICA_DISK_UPTODATE;
}

static bool diskless(const struct sim_world *world)
{
    return world->host[0].status.disk == REPLICA_DISK_DISKLESS;
}

static bool paused(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_PAUSED_SYNC_T;
}

static bool nothing_left_to_sync(const struct sim_world *world)
{
    return syncing(world) && world->host[0].status.out_of_sync_bytes == 0;
}

bool start_and_detach(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return false;
    world->operator_off = true;
    host_command(&world->host[0], COMMAND_DETACH, 0);
    return expect(world, diskless, SECOND, "the end of a detach");
}

/* A Primary's disk becomes UpToDate while it is slow with a write that the guest has read through
 * the peer already: what was seen once is seen ever after. */
static void run_read_after_sync(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0];

    if (!start_and_detach(world))
        return;
    host_command(primary, COMMAND_PAUSE_SYNC, 0);
    host_command(primary, COMMAND_ATTACH, 0);
    if (!expect(world, paused, 5 * SECOND, "the resync of the disk that was let go"))
        return;
    write_some(world, 0, 4, 0, 8); /* so that the next write need not wait for the activity log */
    host_command(primary, COMMAND_RESUME_SYNC, 0);
    if (!expect(world, nothing_left_to_sync, 5 * SECOND, "the end of the resync"))
        return;
    primary->disk.stalled_until = world->now + 5 * MS;
    guest_issue(primary, REPLICA_OP_WRITE, false, 0, 8);
    primary->disk.stalled_until = 0;
    guest_issue(primary, REPLICA_OP_READ, false, 0, 8);
    expect(world, reads_locally, SECOND, "an UpToDate disk");
    for (unsigned i = 0; i < 20 && !world->failed; i++) {
        guest_issue(primary, REPLICA_OP_READ, false, 0, 8);
        world_run(world, 100 * US);
    }
    expect(world, guests_idle, SECOND, "answers to the reads and the write");
    operator_is_back(world);
}

/* One sector cannot be read on the disk that has the only good copy. The rest of it can, and must
 * not lose against the older copy of the peer. */
static void run_last_copy(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    host_crash(&world->host[1], sim_chance(world, 2));
    world->host[1].boot_at = world->now + SECOND;
    write_some(world, 0, 24, 0, world->profile.sectors);
    flush(world, 0);
    world->operator_off = true;
    if (!read_badly(world))
        return;
    if (sim_chance(world, 2)) { /* else a person stops the guest */
        host_crash(primary, sim_chance(world, 2));
        primary->boot_at = world->now + MS;
    }
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established without a person");
}

/* A Primary's disk fails, its peer is lost, and it is demoted before anybody has confirmed its last
 * writes. It asks for no flush when it is back as a Secondary: the answer to that may
 * be lost with the link, and then no later link would live. */
static void run_demoted_diskless(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    write_some(world, 0, 4, 0, 64);
    primary->disk.fails_until = UINT64_MAX;
    primary->disk.not_spared = true;
    write_more(world, 0, 4, 0, 64);
    if (!expect(world, diskless, SECOND, "a disk that has failed"))
        return;
    primary->disk.fails_until = 0;
    primary->disk.not_spared = false;
    net_block(world, 3, 100 * MS);
    net_cut(world);
    world_run(world, MS);
    world->demoting = 0;
    host_command(primary, COMMAND_DEMOTE, 0);
    if (!expect(world, both_secondary, SECOND, "the demotion"))
        return;
    if (sim_chance(world, 2)) { /* a new disk, which could not flush alone either */
        world_create_metadata(primary, 0);
        disk_reset(primary, 1);
        oracle_abandoned(primary);
    }
    host_command(primary, COMMAND_ATTACH, 0);
    if (!expect(world, syncing, 10 * SECOND, "the resync of the disk that failed"))
        return;
    world->host[1].frozen = true;
    world_at(world, SIM_THAW, 1, world->now + SECOND, 0, 0);
    world_run(world, SECOND + MS);
    expect(world, both_live, 10 * SECOND, "Established after the peer stood still");
    operator_is_back(world);
}

static bool lives_from_b(const struct sim_world *world)
{
    const struct core_status *status = &world->host[0].status;

    return diskless(world) && status->replication == REPLICA_REPLICATION_ESTABLISHED &&
           status->peer_disk == REPLICA_DISK_UPTODATE;
}

static bool lost_b(const struct sim_world *world)
{
    return world->host[0].status.connection != REPLICA_CONNECTION_CONNECTED;
}

/* A's guest lives from B, and they lose each other: it goes on when B is back, before A has a disk
 * again. */
static void run_lives_on(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0], *peer = &world->host[1];
    uint32_t acked;

    if (!pair_start(world, START_IN_SYNC))
        return;
    host_command(primary, COMMAND_DETACH, 0);
    primary->disk.fails_until = UINT64_MAX; /* so that nobody attaches it meanwhile */
    if (!expect(world, lives_from_b, SECOND, "the end of a detach"))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        write_some(world, 0, 8, 0, 128);
        write_more(world, 0, 4, 0, 128);
        if (sim_chance(world, 2)) {
            host_crash(peer, sim_chance(world, 2));
            peer->boot_at = world->now + 5 * MS;
        } else {
            net_cut(world);
        }
        if (!expect(world, lost_b, SECOND, "a Primary that notices the loss"))
            return;
        guest_issue(primary, REPLICA_OP_FLUSH, false, 0, 0); /* the one that fails */
        if (!expect(world, lives_from_b, 5 * SECOND, "a guest that lives on") ||
            !expect(world, guests_idle, SECOND, "answers to the guest"))
            return;
        acked = world->oracle.acked_count;
        write_some(world, 0, 8, 0, 128);
        if (world->oracle.acked_count != acked + 8)
            sim_violation(world, "scenario", "the guest lives on, and its writes fail");
    }
    primary->disk.fails_until = 0;
    expect(world, established, 10 * SECOND, "Established with a disk on both");
}

/* The guest lives on, but has not been told yet that B may have lost what it had not flushed; and
 * is to move. Its next flush fails, wherever that is. */
static void run_lives_on_untold(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0], *peer = &world->host[1];

    if (!pair_start(world, START_IN_SYNC))
        return;
    host_command(primary, COMMAND_DETACH, 0);
    primary->disk.fails_until = UINT64_MAX;
    if (!expect(world, lives_from_b, SECOND, "the end of a detach"))
        return;
    write_some(world, 0, 12, 0, 128);
    host_crash(peer, true);
    peer->boot_at = world->now + 5 * MS;
    if (!expect(world, lost_b, SECOND, "a Primary that notices the loss") ||
        !expect(world, lives_from_b, 5 * SECOND, "a guest that lives on"))
        return;
    migrate_begin(world);
    world->migration.fails = false;
    world_run(world, 50 * MS);
    flush(world, b_primary(world) ? 1 : 0);
    primary->disk.fails_until = 0;
    expect(world, established, 10 * SECOND, "Established with a disk on both");
}

/* B has once taken A's data over, and has been behind A since. When A's disk fails with the only
 * copy of what is new, its guest is not shown the older one. */
static void run_lives_on_in_the_past(struct sim_world *world)
{
    struct sim_host *primary = &world->host[0];

    if (!start_and_detach(world))
        return;
    host_command(primary, COMMAND_ATTACH, 0);
    if (!expect(world, established, 10 * SECOND, "the end of its resync"))
        return;
    net_block(world, 3, 50 * MS);
    net_cut(world);
    write_some(world, 0, 24, 0, world->profile.sectors);
    if (!read_badly(world))
        return;
    world_run(world, 200 * MS);
    guest_issue(primary, REPLICA_OP_READ, false, 0, 256);
    if (!expect(world, guests_idle, SECOND, "an answer to the read"))
        return;
    if (lives_from_b(world))
        sim_violation(world, "scenario", "the guest lives on through an older copy");
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established, with the newer data");
}

/* Discards of many pieces while the peer is lost, found and lost again, and then loses power:
 * what each piece has found counts for that piece alone. */
static void run_long_discards(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        net_block(world, 3, (100 + sim_below(world, 100)) * MS);
        for (uint32_t k = 0; k < 6; k++)
            guest_issue(&world->host[0], REPLICA_OP_DISCARD, false, 128 * k, 128);
        for (unsigned k = 0; k < 40 && !world->failed; k++) {
            world_run(world, sim_below(world, 10) * MS);
            if (guests_idle(world))
                guest_issue(&world->host[0], REPLICA_OP_DISCARD, false, 64, 512);
            if (sim_chance(world, 3))
                net_cut(world);
        }
        if (!expect(world, guests_idle, 10 * SECOND, "answers to the discards"))
            return;
        if (sim_chance(world, 2)) {
            host_crash(&world->host[1], true);
            world->host[1].boot_at = world->now + MS;
        }
        expect(world, established, 10 * SECOND, "Established again");
    }
}

const struct scenario scenarios_disk[] = {
    {"long-discards", "discards in many pieces, and a peer that comes and goes", run_long_discards},
    {"resize-power", "power is lost as both hosts have switched to the larger metadata",
     run_resize_power},
    {"resize-cut", "one host has the new size when the other one or the link is lost",
     run_resize_cut},
    {"resize-disk", "the leader's disk fails in the middle of its commit", run_resize_disk},
    {"resize-disk-clean", "the leader's disk fails when its follower has everything",
     run_resize_disk_clean},
    {"verify-flip", "a flipped bit is found, marked, and repaired from the Primary",
     run_verify_flip},
    {"verify-moved", "the role moves between the two halves of a comparison", run_verify_moved},
    {"verify-busy", "writes, handovers and cuts while it runs are no differences", run_verify_busy},
    {"read-after-sync", "a Primary's disk becomes UpToDate under reads and writes",
     run_read_after_sync},
    {"last-copy", "the only good copy has a bad sector; an older one does not win", run_last_copy},
    {"demoted-diskless", "a Primary that has lost its disk and its peer is demoted, and comes back",
     run_demoted_diskless},
    {"lives-on", "a Primary without a disk loses its peer, and goes on when that is back",
     run_lives_on},
    {"lives-on-untold", "and is to move before its flush has failed", run_lives_on_untold},
    {"lives-on-in-the-past", "but not through a copy that has become older meanwhile",
     run_lives_on_in_the_past},
};
const unsigned scenario_disk_count = sizeof scenarios_disk / sizeof scenarios_disk[0];
