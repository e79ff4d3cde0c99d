/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_crash.c - scenarios in which a process dies or power goes.
 */
#include "scenario.h"

static void crash(struct sim_world *world, unsigned host, bool power, uint64_t back_after)
{
    host_crash(&world->host[host], power);
    world->host[host].boot_at = back_after == UINT64_MAX ? UINT64_MAX : world->now + back_after;
}

/* The Primary dies under load; its guest starts on the other host and finds every write. */
static void run_failover(struct sim_world *world, bool power)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 40, 0, world->profile.sectors);
    write_more(world, 0, 6, 0, 64);
    world_run(world, sim_below(world, 600) * US);
    world->prefer = 1;
    crash(world, 0, power, UINT64_MAX);
    if (!expect(world, b_primary, 5 * SECOND, "the guest on B"))
        return;
    for (uint32_t at = 0; at < world->profile.sectors && !world->failed; at += 256) {
        guest_issue(&world->host[1], REPLICA_OP_READ, false, at, 256);
        expect(world, guests_idle, SECOND, "the answer to a read");
    }
    write_some(world, 1, 12, 0, 64);
}

static void run_failover_kill(struct sim_world *world)
{
    run_failover(world, false);
}

static void run_failover_power(struct sim_world *world)
{
    run_failover(world, true);
}

/* Unflushed writes are lost on a Secondary that acknowledged them; it must get them again. */
static void run_secondary_power(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        write_some(world, 0, 20, 0, world->profile.sectors);
        crash(world, 1, true, sim_below(world, 100) * MS);
        if (sim_chance(world, 2))
            write_some(world, 0, 8, 0, 128);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* Both lose power with different unflushed writes, more extents than the activity log holds. */
static void run_power_of_both(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        write_some(world, 0, 24, 0, world->profile.sectors);
        write_more(world, 0, 8, 0, world->profile.sectors);
        world_run(world, sim_below(world, 400) * US);
        crash(world, 0, true, sim_below(world, 20) * MS);
        world_run(world, sim_below(world, 2) * sim_below(world, 10) * MS);
        crash(world, 1, true, sim_below(world, 20) * MS);
        expect(world, established, 10 * SECOND, "Established after both lost power");
        world->prefer = 0;
        expect(world, a_primary, 10 * SECOND, "the guest on A");
    }
}

/* B hands out what it has never flushed, as a Secondary, and loses it when A has it already. */
static void run_source_never_flushed(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    world->prefer = 1;
    crash(world, 0, true, 5 * MS);
    if (!expect(world, b_primary, 5 * SECOND, "the guest on B") ||
        !expect(world, established, 10 * SECOND, "Established again"))
        return;
    crash(world, 1, true, 5 * MS);
}

/* The old Primary comes back to one that has gone on: it gives up what nobody was told. */
static void run_rejoin(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 16, 0, 128);
    net_block(world, 1, 30 * MS);
    write_more(world, 0, 8, 0, 128);
    world_run(world, MS);
    world->prefer = 1;
    crash(world, 0, sim_chance(world, 2), 200 * MS);
    if (!expect(world, b_primary, 5 * SECOND, "the guest on B"))
        return;
    write_some(world, 1, 16, 0, 128);
    expect(world, established, 10 * SECOND, "the old Primary is back");
    write_some(world, 1, 8, 0, 128);
}

/* The Primary goes on alone, dies, and comes back before or after its stale peer. */
static void run_stale_peer(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    crash(world, 1, sim_chance(world, 2), UINT64_MAX);
    write_some(world, 0, 16, 0, 128);
    crash(world, 0, sim_chance(world, 2), sim_below(world, 100) * MS);
    world->host[1].boot_at = world->now + sim_below(world, 100) * MS;
    expect(world, established, 10 * SECOND, "Established, with the newer data");
}

/* The first sync meets a crash of either host. The target is never promoted in between. */
static void run_first_sync(struct sim_world *world)
{
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        unsigned victim = sim_below(world, 2);

        if (i == 0 && !pair_start(world, START_FIRST_SYNC))
            return;
        world_run(world, sim_below(world, 2000) * US);
        if (world->host[0].guest.running)
            write_more(world, 0, 3, 0, world->profile.sectors);
        crash(world, victim, sim_chance(world, 2), sim_below(world, 40) * MS);
        world->prefer = sim_chance(world, 2);
        world_until(world, syncing, SECOND);
    }
    world->prefer = 0;
}

/* A target in mid-resync is the last one left: it stays a Secondary. */
static void run_target_left_alone(struct sim_world *world)
{
    if (!pair_start(world, START_FIRST_SYNC))
        return;
    crash(world, 0, true, UINT64_MAX);
    if (!syncing(world) && world->host[1].status.disk >= REPLICA_DISK_CONSISTENT)
        return; /* it was just through */
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    world_run(world, 200 * MS);
    if (world->host[1].status.role == REPLICA_ROLE_PRIMARY)
        sim_violation(world, "P9", "an Inconsistent disk was promoted without force");
}

static void run_down_up(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        write_some(world, 0, 8, 0, world->profile.sectors);
        host_command(&world->host[1], COMMAND_DOWN, 0);
        write_some(world, 0, 8, 0, world->profile.sectors);
        expect(world, established, 10 * SECOND, "Established after down and up");
    }
}

const struct scenario scenarios_crash[] = {
    {"failover-kill", "the Primary's process dies, the peer takes over", run_failover_kill},
    {"failover-power", "the Primary's host loses power, the peer takes over", run_failover_power},
    {"secondary-power", "a Secondary loses what it had in its cache", run_secondary_power},
    {"source-never-flushed", "a source loses what it had only in its cache",
     run_source_never_flushed},
    {"power-of-both", "both lose different unflushed writes", run_power_of_both},
    {"rejoin", "an old Primary with unacknowledged writes comes back", run_rejoin},
    {"stale-peer", "the stale host comes back, and does not win", run_stale_peer},
    {"first-sync-crash", "crashes in the middle of the first sync", run_first_sync},
    {"target-left-alone", "an Inconsistent disk is not promoted", run_target_left_alone},
    {"down-up", "down and up of the Secondary", run_down_up},
};
const unsigned scenario_crash_count = sizeof scenarios_crash / sizeof scenarios_crash[0];
