/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_wound.c - wounds that others have had: disks that answer one write with an error and the
 * next one well, a resync that is cut, paused, turned round or outrun, and nodes that are lost or
 * forced at the wrong moment. wounds.c says which wound is which scenario's.
 */
#include "scenario.h"

static void power(struct sim_world *world, unsigned host, uint64_t back_after)
{
    host_crash(&world->host[host], true);
    world->host[host].boot_at = back_after == UINT64_MAX ? UINT64_MAX : world->now + back_after;
}

static void no_answer_failed(struct sim_world *world, unsigned host)
{
    if (world->host[host].guest.failed)
        sim_violation(world, "P1", "%c: %u requests fail, and the other disk is well", 'A' + host,
                      world->host[host].guest.failed);
}

/* ---- disks ------------------------------------------------------------------------------------
 */

/* The disk of `host` fails some of what it is asked, for a moment, and is well again. */
static void run_errors(struct sim_world *world, unsigned host, bool pass_on)
{
    world->profile = quiet_profile;
    world->profile.pass_on = pass_on;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        write_some(world, 0, 8, 0, 64);
        world->host[host].disk.fails_until = world->now + MS;
        write_more(world, 0, 6, 0, 64);
        if (!expect(world, guests_idle, 5 * SECOND, "answers to the writes"))
            return;
        world_run(world, MS);
        write_some(world, 0, 8, 0, 64); /* over what was refused */
        guest_issue(&world->host[0], REPLICA_OP_READ, false, 0, 64);
        flush(world, 0);
        no_answer_failed(world, 0);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* The local disk refuses what the peer's takes: the guest is told of success, and truly. */
static void run_local_error(struct sim_world *world)
{
    run_errors(world, 0, sim_chance(world, 2));
}

static void run_rejected_then_good(struct sim_world *world)
{
    run_errors(world, 1, sim_chance(world, 2));
}

/* Either disk, while all kinds of requests are under way and the role moves. */
static void run_io_errors(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 6 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        write_some(world, here, 4, 0, world->profile.sectors);
        world->host[sim_below(world, 2)].disk.fails_until =
            world->now + sim_below(world, 3000) * US;
        for (unsigned k = 0; k < 6 && !world->failed; k++) {
            write_more(world, here, 1, 0, 128);
            guest_issue(&world->host[here], REPLICA_OP_READ, false, 8 * k, 24);
            guest_issue(&world->host[here], REPLICA_OP_DISCARD, false, 128 + 8 * k, 8);
            world_run(world, 200 * US);
        }
        if (!expect(world, guests_idle, 5 * SECOND, "answers to the requests"))
            return;
        flush(world, here);
        if (sim_chance(world, 3))
            world->prefer = 1 - world->prefer;
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* A new disk in place of one that was let go of, on either side, under load. */
static void run_disk_replaced(struct sim_world *world)
{
    unsigned host = sim_below(world, 2);
    struct sim_host *node = &world->host[host];

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 24, 0, world->profile.sectors);
    world->operator_off = true;
    host_command(node, COMMAND_DETACH, 0);
    write_more(world, 0, 4, 0, 64);
    world_run(world, 30 * MS);
    if (node->status.disk != REPLICA_DISK_DISKLESS) {
        sim_violation(world, "scenario", "%c: its disk is not let go of", 'A' + host);
        return;
    }
    world_create_metadata(node, 0);
    disk_reset(node, 1);
    oracle_abandoned(node);
    write_some(world, 0, 8, 0, 64);
    no_answer_failed(world, 0);
    operator_is_back(world);
    if (expect(world, syncing, 5 * SECOND, "the full sync of the new disk"))
        write_more(world, 0, 4, 0, 64);
}

/* ---- the activity log -------------------------------------------------------------------------
 */

/* All over the disk, with the smallest activity log, and power goes again and again. */
static void run_stress_al(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.sectors = SIM_SECTORS;
    world->profile.al_extents = METADATA_AL_EXTENTS_MIN;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    for (unsigned i = 0; i < 5 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        write_some(world, here, 32, 0, SIM_SECTORS);
        write_more(world, here, 8, 0, SIM_SECTORS);
        world_run(world, sim_below(world, 1500) * US);
        power(world, sim_below(world, 2), sim_below(world, 20) * MS);
        world->prefer = sim_chance(world, 2);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* ---- resync ------------------------------------------------------------------------------------
 */

static bool resync_starts(struct sim_world *world)
{
    net_block(world, 3, 150 * MS);
    write_some(world, 0, 48, 0, world->profile.sectors);
    return expect(world, syncing, 5 * SECOND, "a resync");
}

/* The source dies in the middle: the target waits for it, and nobody makes it Primary. */
static void run_resync_source_lost(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC) || !resync_starts(world))
        return;
    write_more(world, 0, 4, 0, 64);
    power(world, 0, UINT64_MAX);
    world_run(world, 100 * MS);
    if (world->host[1].status.disk == REPLICA_DISK_INCONSISTENT) {
        host_command(&world->host[1], COMMAND_PROMOTE, 0);
        world_run(world, 50 * MS);
        if (world->host[1].status.role == REPLICA_ROLE_PRIMARY)
            sim_violation(world, "P9", "B: a target without its source is promoted");
    }
    world->host[0].boot_at = world->now;
}

/* Held back by one or both, the link is lost meanwhile, and it goes on when both let it. */
static void run_resync_pause(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        unsigned first = sim_below(world, 2);

        if (!resync_starts(world))
            return;
        admin_pause(&world->host[first]);
        write_some(world, 0, 8, 0, world->profile.sectors);
        if (sim_chance(world, 2))
            admin_pause(&world->host[1 - first]);
        if (sim_chance(world, 2))
            net_cut(world);
        world_run(world, 50 * MS);
        for (unsigned k = 0; k < SIM_HOSTS; k++)
            if (world->host[k].status.paused_here)
                admin_pause(&world->host[k]);
        expect(world, established, 10 * SECOND, "Established when both let it go on");
    }
}

/* One resync after the other, each the other way round. */
static void run_resync_turned(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        write_some(world, here, 8, 0, world->profile.sectors);
        write_more(world, here, 4, 0, 64);
        world->prefer = 1 - (int32_t)here;
        power(world, here, 60 * MS);
        if (!expect(world, here ? a_primary : b_primary, 5 * SECOND, "the guest over there"))
            return;
        write_some(world, 1 - here, 16, 0, world->profile.sectors);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* The first data set is made, and used, while the other node has never been there. */
static void run_never_connected(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.start = START_FIRST_SYNC;
    world->pinned = true;
    world_create(world);
    host_boot(&world->host[0]);
    world_at(world, SIM_OPERATOR, 0, world->now, 0, 0);
    if (!expect(world, a_alone, 5 * SECOND, "a Primary that was forced alone"))
        return;
    write_some(world, 0, 24, 0, world->profile.sectors);
    world->host[1].boot_at = world->now;
    if (expect(world, syncing, 5 * SECOND, "the first sync"))
        write_more(world, 0, 4, 0, 64);
}

/* The last blocks come while a write of the same blocks is slow on the target's disk. */
static void run_write_at_resync_end(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        net_block(world, 3, 150 * MS);
        write_some(world, 0, 12, 0, 64);
        if (!expect(world, syncing, 5 * SECOND, "a resync"))
            return;
        while (syncing(world) && !world->failed) {
            write_more(world, 0, 1, 0, 64);
            if (sim_chance(world, 4))
                world->host[1].disk.stalled_until = world->now + 2 * MS;
            world_run(world, sim_below(world, 300) * US);
        }
        expect(world, established, 10 * SECOND, "Established after the resync");
    }
}

/* ---- lost, frozen, forced -----------------------------------------------------------------------
 */

/* A Primary that has written nothing since the two met is lost: no split brain when it is back,
 * whether the other one has written or not. */
static void run_lost_after_no_writes(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, 64);
    flush(world, 0);
    host_command(&world->host[1], COMMAND_DISCONNECT, 0);
    if (!expect(world, established, 10 * SECOND, "Established anew"))
        return;
    world->prefer = 1;
    host_crash(&world->host[0], sim_chance(world, 2));
    world->host[0].boot_at = world->now + 100 * MS;
    if (!expect(world, b_primary, 5 * SECOND, "the guest on B"))
        return;
    if (sim_chance(world, 2))
        write_some(world, 1, 8, 0, 64);
    expect(world, established, 10 * SECOND, "Established without a person");
}

/* on-peer-loss freeze: what the guest asks stands still until the peer is back, or a person says
 * that it may go on. */
static void run_suspend_io(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.freeze = true;
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return;
    for (unsigned i = 0; i < 3 && !world->failed; i++) {
        bool resumed = sim_chance(world, 2);

        write_some(world, 0, 4, 0, 64);
        world->operator_off = true;
        net_block(world, 3, 300 * MS);
        write_more(world, 0, 4, 0, 64);
        world_run(world, 180 * MS);
        guest_issue(&world->host[0], REPLICA_OP_READ, false, 64, 8); /* nor is it shown anything */
        world_run(world, 20 * MS);
        if (!world->host[0].status.frozen || world->host[0].guest.in_flight != 5)
            sim_violation(world, "freeze", "A: goes on alone");
        if (resumed) {
            host_command(&world->host[0], COMMAND_RESUME_IO, 0);
            expect(world, guests_idle, 50 * MS, "answers after resume-io");
            write_some(world, 0, 8, 0, 64);
        }
        operator_is_back(world);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

/* A target that has lost its source is made Primary by force: what it has is related to nothing,
 * and the old source refuses it until a person has chosen. */
static void run_forced_inconsistent(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.start = START_FIRST_SYNC;
    world->profile.reckless = true;
    if (!pair_boot(world) || !expect(world, syncing, 5 * SECOND, "the first sync"))
        return;
    write_more(world, 0, 4, 0, 64);
    power(world, 0, UINT64_MAX);
    world_run(world, 150 * MS); /* while it is connected it waits for the resync */
    world->operator_off = true;
    if (world->host[1].status.disk == REPLICA_DISK_INCONSISTENT && !world->failed) {
        world->promoting = 1;
        world->oracle.forced[1] = true;
        host_command(&world->host[1], COMMAND_PROMOTE, COMMAND_FORCE);
        if (!expect(world, b_primary, SECOND, "the forced promotion"))
            return;
        write_some(world, 1, 8, 0, 64);
        host_boot(&world->host[0]);
        world_run(world, 20 * MS);
        host_command(&world->host[0], COMMAND_CONNECT, 0);
        expect(world, one_standalone, 5 * SECOND, "refused: unrelated data");
    }
    world->host[0].boot_at = world->now;
    operator_is_back(world);
}

const struct scenario scenarios_wound[] = {
    {"local-error", "the local disk fails what the peer's takes", run_local_error},
    {"rejected-then-good", "the peer's disk fails a write and takes the next one",
     run_rejected_then_good},
    {"io-errors", "errors on either disk under load", run_io_errors},
    {"disk-replaced", "a new disk in place of one that was let go of", run_disk_replaced},
    {"stress-al", "the smallest activity log, all over the disk, and power goes", run_stress_al},
    {"resync-source-lost", "the source of a resync loses power", run_resync_source_lost},
    {"resync-pause", "a resync is held back, cut, and let go on", run_resync_pause},
    {"resync-turned", "one resync after the other, each the other way round", run_resync_turned},
    {"resync-never-connected", "the other node comes for the first time", run_never_connected},
    {"write-at-resync-end", "a resync ends while a write of its last blocks is slow",
     run_write_at_resync_end},
    {"lost-primary-after-no-writes", "no split brain where nothing was written",
     run_lost_after_no_writes},
    {"suspend-io", "on-peer-loss freeze: until the peer is back, or resume-io", run_suspend_io},
    {"forced-inconsistent", "a target is made Primary by force, and its source refuses it",
     run_forced_inconsistent},
};
const unsigned scenario_wound_count = sizeof scenarios_wound / sizeof scenarios_wound[0];
