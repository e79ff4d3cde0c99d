/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_late.c - scenarios in which one request to a disk takes much longer than those after it:
 * what has to wait for it must wait, however well the rest gets on.
 */
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

const struct scenario scenarios_late[] = {
    {"late-write-csums", "a write of the old session lands after the checksums are compared",
     run_late_write_csums},
    {"late-write-attach", "a write is on its way to the peer when a Primary gets a disk",
     run_late_write_attach},
    {"late-flush-attach", "and what that peer has got alone is being flushed",
     run_late_flush_attach},
    {"late-bitmap", "both lose power as a target begins", run_late_bitmap},
};
const unsigned scenario_late_count = sizeof scenarios_late / sizeof scenarios_late[0];
