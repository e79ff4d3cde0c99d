/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_lineage.c - scenarios about whose data are the newer ones: two that have one generation
 * and may differ all the same, and an old copy of a disk that comes back from a snapshot.
 */
#include <string.h>

#include "scenario.h"

static void power(struct sim_world *world, unsigned host, uint64_t back_after)
{
    host_crash(&world->host[host], true);
    world->host[host].boot_at = back_after == UINT64_MAX ? UINT64_MAX : world->now + back_after;
}

/* ---- one generation ------------------------------------------------------------------------ */

static bool a_attached(const struct sim_world *world)
{
    return world->host[0].attached;
}

static bool b_attached(const struct sim_world *world)
{
    return world->host[1].attached;
}

static bool a_answered(const struct sim_world *world)
{
    return world->host[0].commands == 0;
}

static bool b_answered(const struct sim_world *world)
{
    return world->host[1].commands == 0;
}

static bool b_secondary(const struct sim_world *world)
{
    return world->host[1].status.role == REPLICA_ROLE_SECONDARY && world->demoting < 0;
}

/* A dies with what its guest has written and not flushed. B has it. */
static bool a_dies(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return false;
    write_some(world, 0, 4, 0, 64);
    flush(world, 0);
    world->operator_off = true;
    write_some(world, 0, 12, 0, world->profile.sectors);
    power(world, 0, UINT64_MAX);
    return !world->failed;
}

static uint32_t had[SIM_SECTORS]; /* by one of them, before the two met */

static void check_won(struct sim_world *world, unsigned host)
{
    if (memcmp(world->host[host].disk.visible, had, world->profile.sectors * sizeof had[0]) != 0)
        sim_violation(world, "P8", "%c: its data give way to older ones", 'A' + (int)host);
}

static bool equal_and_idle(const struct sim_world *world)
{
    return both_live(world) && guests_idle(world);
}

static void meet_again(struct sim_world *world)
{
    memcpy(had, world->host[1].disk.visible, sizeof had);
    host_boot(&world->host[0]);
    if (!expect(world, a_attached, SECOND, "an attach of A"))
        return;
    host_command(&world->host[0], COMMAND_CONNECT, 0);
    if (expect(world, equal_and_idle, 10 * SECOND, "that they meet"))
        check_won(world, 1);
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

/* A guest starts on B, sees what A's had written, and writes nothing: there is no new generation.
 * But what it has seen stays, although A calls itself a crashed Primary. */
static void run_promoted_later(struct sim_world *world)
{
    if (!a_dies(world))
        return;
    world->promoting = 1;
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    if (!expect(world, b_primary, SECOND, "the guest on B"))
        return;
    for (uint32_t at = 0; at < world->profile.sectors && !world->failed; at += 256) {
        guest_issue(&world->host[1], REPLICA_OP_READ, false, at, 256);
        expect(world, guests_idle, SECOND, "the answer to a read");
    }
    world->demoting = 1;
    host_command(&world->host[1], COMMAND_DEMOTE, 0);
    if (expect(world, b_secondary, SECOND, "a demotion"))
        meet_again(world);
}

/* A's disk was outdated before the two meet: it is not the one that is believed. */
static void run_outdated_crashed(struct sim_world *world)
{
    if (!a_dies(world))
        return;
    host_boot(&world->host[0]);
    if (!expect(world, a_attached, SECOND, "an attach of A"))
        return;
    host_command(&world->host[0], COMMAND_OUTDATE, 0);
    if (!expect(world, a_answered, SECOND, "that A is outdated"))
        return;
    host_crash(&world->host[0], false);
    meet_again(world);
}

/* A's process dies, B loses its cache: what A's guest was told is on A's disk alone. */
static void run_crashed_wins(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 12, 0, world->profile.sectors);
    world->operator_off = true;
    host_crash(&world->host[0], false);
    memcpy(had, world->host[0].disk.visible, sizeof had);
    power(world, 1, UINT64_MAX);
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        host_boot(&world->host[i]);
    if (!expect(world, a_attached, SECOND, "an attach of A") ||
        !expect(world, b_attached, SECOND, "an attach of B"))
        return;
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        host_command(&world->host[i], COMMAND_CONNECT, 0);
    if (expect(world, both_live, 10 * SECOND, "that they meet"))
        check_won(world, 0);
    operator_is_back(world);
}

/* A Primary dies before its guest has written anything: its activity log is empty. */
static void run_killed_unwritten(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    host_crash(&world->host[0], sim_chance(world, 2));
    world_run(world, MS);
    meet_again(world);
}

/* An Outdated disk is promoted no more after a restart than before it. */
static void run_outdated_restart(struct sim_world *world)
{
    struct sim_host *b = &world->host[1];

    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    host_command(b, COMMAND_DISCONNECT, 0);
    if (!expect(world, b_answered, SECOND, "a disconnect"))
        return;
    write_some(world, 0, 8, 0, 64);
    host_command(b, COMMAND_OUTDATE, 0);
    if (!expect(world, b_answered, SECOND, "that B is outdated"))
        return;
    host_crash(b, sim_chance(world, 2));
    host_boot(b);
    if (!expect(world, b_attached, SECOND, "an attach of B"))
        return;
    host_command(b, COMMAND_PROMOTE, 0);
    if (expect(world, b_answered, SECOND, "the answer to a promotion") &&
        b->status.role == REPLICA_ROLE_PRIMARY)
        sim_violation(world, "P9", "B: is promoted, and its disk was outdated");
    operator_is_back(world);
}

static bool a_paused(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_PAUSED_SYNC_T;
}

/* A Primary's new disk is being filled from B, under B's generation, when B dies. It is the one
 * that has the data, whatever the other one's role. */
static void run_target_primary(struct sim_world *world)
{
    struct sim_host *a = &world->host[0], *b = &world->host[1];

    if (!start_and_detach(world))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    flush(world, 0);
    host_command(a, COMMAND_PAUSE_SYNC, 0);
    host_command(a, COMMAND_ATTACH, 0);
    if (!expect(world, a_paused, 5 * SECOND, "a resync to A"))
        return;
    host_crash(b, sim_chance(world, 2));
    world_run(world, 10 * MS);
    b->boot_at = world->now;
    operator_is_back(world);
    host_command(a, COMMAND_RESUME_SYNC, 0);
    expect(world, established, 10 * SECOND, "Established again");
}

/* ---- frozen, and given up ------------------------------------------------------------------ */

static bool a_frozen(const struct sim_world *world)
{
    return world->host[0].status.frozen;
}

static bool a_secondary(const struct sim_world *world)
{
    return world->host[0].status.role == REPLICA_ROLE_SECONDARY && world->demoting < 0;
}

/* What A's guest has written last B has too, in its cache. Then the link is lost, A stands still
 * and is demoted: its guest is told of errors. */
static bool frozen_and_demoted(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.freeze = true;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return false;
    world->operator_off = true;
    write_some(world, 0, 12, 0, world->profile.sectors);
    net_block(world, 3, SECOND);
    write_more(world, 0, 2, 0, 64);
    if (!expect(world, a_frozen, SECOND, "that A stands still"))
        return false;
    world->demoting = 0;
    host_command(&world->host[0], COMMAND_DEMOTE, 0);
    return expect(world, a_secondary, SECOND, "a demotion");
}

/* B loses its cache. A, which knows what that may have been, is the source of it. */
static void run_frozen_demoted(struct sim_world *world)
{
    if (!frozen_and_demoted(world))
        return;
    memcpy(had, world->host[0].disk.visible, sizeof had);
    power(world, 1, UINT64_MAX);
    net_unblock(world, 3);
    host_boot(&world->host[1]);
    if (!expect(world, b_attached, SECOND, "an attach of B"))
        return;
    host_command(&world->host[1], COMMAND_CONNECT, 0);
    if (expect(world, both_live, 10 * SECOND, "that they meet"))
        check_won(world, 0);
    operator_is_back(world);
}

/* A is promoted again, and its guest flushes: nobody knows whether B has, so that waits too. */
static void run_frozen_flush(struct sim_world *world)
{
    if (!frozen_and_demoted(world))
        return;
    world->promoting = 0;
    host_command(&world->host[0], COMMAND_PROMOTE, 0);
    if (!expect(world, a_primary, 500 * MS, "the guest on A"))
        return;
    guest_issue(&world->host[0], REPLICA_OP_FLUSH, false, 0, 0);
    world_run(world, 20 * MS);
    if (guests_idle(world))
        sim_violation(world, "P2", "A: a flush ends alone, and no loss is recorded");
    net_unblock(world, 3);
    operator_is_back(world);
    expect(world, guests_idle, 5 * SECOND, "the answer to a flush");
}

/* ---- snapshots ----------------------------------------------------------------------------- */

static uint32_t copy_of_data[SIM_SECTORS];
static uint8_t copy_of_meta[SIM_META_BYTES];

static void take_copy(const struct sim_host *host)
{
    memcpy(copy_of_data, host->disk.durable, sizeof copy_of_data);
    memcpy(copy_of_meta, host->meta.bytes, sizeof copy_of_meta);
}

/* The host is down; whoever does that gives up what it has. */
static void put_copy(struct sim_host *host)
{
    memcpy(host->disk.durable, copy_of_data, sizeof copy_of_data);
    memcpy(host->disk.visible, copy_of_data, sizeof copy_of_data);
    memcpy(host->meta.bytes, copy_of_meta, sizeof copy_of_meta);
    host->meta.truth_stale = host->meta.log_stale = true;
    oracle_abandoned(host);
}

/* B's disk is what it was before the last resync and the last writes. A is alone, and what it has
 * changed since then is not all in its bitmap. */
static bool copy_comes_back(struct sim_world *world, bool of_target)
{
    struct sim_host *b = &world->host[1];

    write_some(world, 0, 8, 0, 128);
    flush(world, 0);
    if (of_target) { /* with a small part of what it lacks */
        net_block(world, 3, 150 * MS);
        write_some(world, 0, 16, 0, 128);
        if (!expect(world, syncing, 5 * SECOND, "a resync"))
            return false;
    }
    power(world, 1, UINT64_MAX);
    take_copy(b);
    write_some(world, 0, 16, 0, world->profile.sectors);
    b->boot_at = world->now;
    if (!expect(world, established, 5 * SECOND, "Established again"))
        return false;
    write_some(world, 0, 16, 0, world->profile.sectors);
    flush(world, 0);
    power(world, 1, UINT64_MAX);
    write_some(world, 0, 4, 0, 64);
    put_copy(b);
    return !world->failed;
}

static void run_old_copy(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC) || !copy_comes_back(world, false))
        return;
    world->host[1].boot_at = world->now;
    expect(world, established, 10 * SECOND, "Established again");
}

static void run_old_copy_target(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC) || !copy_comes_back(world, true))
        return;
    world->host[1].boot_at = world->now;
    expect(world, established, 10 * SECOND, "Established again");
}

/* And a guest is started on it before the two meet. */
static void run_old_copy_split(struct sim_world *world)
{
    struct sim_host *b = &world->host[1];

    if (!pair_start_reckless(world) || !copy_comes_back(world, false))
        return;
    world->operator_off = true;
    net_block(world, 3, SECOND);
    host_boot(b);
    if (!expect(world, b_attached, SECOND, "an attach of B"))
        return;
    world->promoting = 1;
    host_command(b, COMMAND_PROMOTE, 0);
    if (!expect(world, b_primary, SECOND, "the guest on B"))
        return;
    write_some(world, 1, 4, 0, 64);
    net_unblock(world, 3);
    if (expect(world, one_standalone, 5 * SECOND, "StandAlone after the split brain"))
        operator_is_back(world);
}

static bool a_diskless(const struct sim_world *world)
{
    return world->host[0].status.disk == REPLICA_DISK_DISKLESS;
}

/* A's disk fails, and somebody gives B's data up before B has heard that it is to take over. */
static void run_invalidated_takeover(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    write_some(world, 0, 8, 0, 64);
    flush(world, 0);
    net_block(world, 3, 100 * MS);
    a->disk.fails_until = UINT64_MAX;
    a->disk.not_spared = true;
    guest_issue(a, REPLICA_OP_WRITE, false, 0, SIM_BLOCK_SECTORS);
    if (!expect(world, a_diskless, SECOND, "a disk that has failed"))
        return;
    a->disk.fails_until = 0;
    a->disk.not_spared = false;
    host_command(&world->host[1], COMMAND_INVALIDATE, 0);
    if (!expect(world, b_answered, SECOND, "an answer to invalidate"))
        return;
    net_unblock(world, 3);
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

const struct scenario scenarios_lineage[] = {
    {"promoted-later", "a crashed Primary meets one that was Primary after it", run_promoted_later},
    {"outdated-crashed", "a crashed Primary that was outdated is not believed",
     run_outdated_crashed},
    {"crashed-wins", "a Primary is killed, and its peer loses its cache", run_crashed_wins},
    {"killed-unwritten", "a Primary dies before anything was written", run_killed_unwritten},
    {"outdated-restart", "an Outdated disk stays so over a restart", run_outdated_restart},
    {"target-primary", "a Primary is a target when its source dies", run_target_primary},
    {"frozen-demoted", "a frozen Primary is demoted; its peer has lost its cache",
     run_frozen_demoted},
    {"frozen-flush", "it is promoted again, and what it flushes waits", run_frozen_flush},
    {"old-copy", "the Secondary's disk comes back from a snapshot", run_old_copy},
    {"old-copy-target", "which was taken in the middle of a resync", run_old_copy_target},
    {"old-copy-split", "and a guest has written to it", run_old_copy_split},
    {"invalidated-takeover", "the peer's data are given up as the Primary's disk fails",
     run_invalidated_takeover},
};
const unsigned scenario_lineage_count = sizeof scenarios_lineage / sizeof scenarios_lineage[0];
