/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario_role.c - scenarios about the Primary role: handing it over, fencing the peer, and what
 * an operator may not do to a disk in use.
 */
#include "scenario.h"

static bool migration_over(const struct sim_world *world)
{
    return world->migration.phase == MIGRATE_NONE && world->promoting < 0;
}

static void power(struct sim_world *world, unsigned host, uint64_t back_after)
{
    host_crash(&world->host[host], true);
    world->host[host].boot_at = world->now + back_after;
}

/* Suspends the guest and lets the handover go on until its question is out; then a little more. */
static void migrate_into(struct sim_world *world, uint32_t most_us)
{
    migrate_begin(world);
    world_run(world, world->migration.due > world->now ? world->migration.due - world->now : 0);
    world_run(world, 2 * MS + sim_below(world, most_us) * US);
}

/* So that whatever a handover waits for takes its time. */
static bool pair_start_slow(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.disk_spread = 2 * MS;
    return pair_boot(world) && expect(world, established, 5 * SECOND, "Established");
}

/* The link is lost at any moment of a handover, and later the host that has the role loses power:
 * nobody takes the role alone, and whoever keeps it is still known as the one that had it. */
static void run_handover_cut(struct sim_world *world)
{
    if (!pair_start_slow(world))
        return;
    for (unsigned i = 0; i < 6 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        write_some(world, here, 4, 0, world->profile.sectors);
        migrate_into(world, 6000);
        net_cut(world);
        if (!expect(world, migration_over, 5 * SECOND, "the end of the migration"))
            return;
        here = a_primary(world) ? 0 : 1;
        world->prefer = (int32_t)here;
        if (!expect(world, established, 10 * SECOND, "Established again"))
            return;
        write_some(world, here, 8, 0, world->profile.sectors);
        write_more(world, here, 4, 0, world->profile.sectors);
        world_run(world, sim_below(world, 3) * MS);
        power(world, here, sim_below(world, 20) * MS);
        expect(world, established, 10 * SECOND, "Established after the loss of power");
    }
}

/* The giver loses power as soon as the role is the other one's: nothing that it had not flushed may
 * be missing unmarked. */
static void run_handover_power(struct sim_world *world)
{
    if (!pair_start_slow(world))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        unsigned here = a_primary(world) ? 0 : 1;

        write_some(world, here, 12, 0, world->profile.sectors);
        migrate_begin(world);
        world->migration.fails = false;
        if (!expect(world, migration_over, 5 * SECOND, "the end of the migration"))
            return;
        if (world->host[1 - here].guest.running) /* xl may have been killed */
            power(world, here, sim_below(world, 20) * MS);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

static void refused(struct sim_world *world, unsigned host, enum command_kind kind)
{
    struct sim_host *node = &world->host[host];

    host_command(node, kind, 0);
    world_run(world, 20 * MS);
    if (host_commanded(node, kind))
        sim_violation(world, "liveness", "command %d is not answered", (int)kind);
}

/* The data of a Primary are in use: neither it nor its peer gives them up, nor outdates them. */
static void run_invalidate_refused(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    world->counts.resyncs = 0;
    write_more(world, 0, 4, 0, 64);
    refused(world, 0, COMMAND_INVALIDATE);
    refused(world, 1, COMMAND_INVALIDATE_REMOTE);
    refused(world, 0, COMMAND_OUTDATE);
    refused(world, 1, COMMAND_OUTDATE);
    if (world->counts.resyncs || world->host[0].status.disk != REPLICA_DISK_UPTODATE)
        sim_violation(world, "P9", "the data of a Primary were given up");
    write_some(world, 0, 8, 0, 64);
}

/* The Secondary's data are given up, there or from here, under load: it gets all of them anew. */
static void run_invalidate(struct sim_world *world)
{
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        if (i == 0 && !pair_start(world, START_IN_SYNC))
            return;
        write_some(world, 0, 8, 0, world->profile.sectors);
        if (i % 2)
            admin_invalidate_remote(&world->host[0]);
        else
            admin_invalidate(&world->host[1]);
        write_more(world, 0, 4, 0, 64);
        expect(world, syncing, 5 * SECOND, "the full sync");
        if (i == 2)
            net_cut(world);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

static bool shaking_hands(const struct sim_world *world)
{
    const struct sim_host *host = &world->host[0];

    return host->stream && host->status.connection != REPLICA_CONNECTION_CONNECTED;
}

/* Somebody types invalidate on the node with the newer data while a handshake makes the other one
 * its target: one of the two has to stay good. */
static void run_invalidate_meeting(struct sim_world *world)
{
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        if (i == 0 && !pair_start(world, START_IN_SYNC))
            return;
        net_block(world, 3, 200 * MS);
        write_some(world, 0, 8, 0, world->profile.sectors);
        world->operator_off = true;
        world->demoting = 0;
        host_command(&world->host[0], COMMAND_DEMOTE, 0);
        if (!expect(world, both_secondary, SECOND, "the demotion") ||
            !expect(world, shaking_hands, 5 * SECOND, "a handshake"))
            return;
        world_run(world, sim_below(world, 1000) * US);
        if (shaking_hands(world))
            host_command(&world->host[0], COMMAND_INVALIDATE, 0);
        world->prefer = 0;
        operator_is_back(world);
        expect(world, established, 10 * SECOND, "Established with the data of A");
    }
}

/* ---- fencing ------------------------------------------------------------------------------- */

static bool pair_start_fenced(struct sim_world *world, enum core_fencing fencing)
{
    world->profile = quiet_profile;
    world->profile.fencing = fencing;
    return pair_boot(world) && expect(world, established, 5 * SECOND, "Established");
}

static bool a_answers(const struct sim_world *world)
{
    return guests_idle(world) && !world->host[0].status.io_suspended;
}

/* The link is lost again and again: each time the peer is fenced anew before writes go on alone. */
static void run_fencing(struct sim_world *world, enum core_fencing fencing)
{
    if (!pair_start_fenced(world, fencing))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        write_some(world, 0, 4, 0, world->profile.sectors);
        net_block(world, 3, 150 * MS);
        write_more(world, 0, 4, 0, 64);
        world_until(world, a_answers, 2 * SECOND);
        write_more(world, 0, 4, 0, 128);
        expect(world, established, 10 * SECOND, "Established again");
    }
}

static void run_fencing_resource(struct sim_world *world)
{
    run_fencing(world, CORE_FENCING_RESOURCE_ONLY);
}

static void run_fencing_stonith(struct sim_world *world)
{
    run_fencing(world, CORE_FENCING_RESOURCE_AND_STONITH);
}

/* The Primary is gone: the other one takes the role over, after a restart of its own or without
 * one, only when the handler has said that it may. */
static void run_fencing_promote(struct sim_world *world)
{
    if (!pair_start_fenced(world, CORE_FENCING_RESOURCE_ONLY))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    world->operator_off = true;
    host_crash(&world->host[0], sim_chance(world, 2));
    world->host[0].boot_at = world->now + (50 + sim_below(world, 50)) * MS;
    if (sim_chance(world, 2)) {
        power(world, 1, 0);
        host_boot(&world->host[1]);
    }
    world_run(world, 40 * MS);
    if (world->host[1].attached) { /* else the old Primary has fenced it at the start */
        world->promoting = 1;
        host_command(&world->host[1], COMMAND_PROMOTE, 0);
        world_run(world, 100 * MS);
    }
    if (b_primary(world))
        write_some(world, 1, 8, 0, 64);
    world->operator_off = false;
    world->prefer = 1;
    world_at(world, SIM_OPERATOR, 0, world->now, 0, 0);
}

/* Nobody could fence the Primary that is gone: no promotion without a --force. */
static void run_fencing_refused(struct sim_world *world)
{
    if (!pair_start_fenced(world, CORE_FENCING_RESOURCE_ONLY))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    world->operator_off = world->fence_fails = true;
    host_crash(&world->host[0], sim_chance(world, 2));
    world->host[0].boot_at = UINT64_MAX;
    world_run(world, 150 * MS);
    world->promoting = 1;
    if (!host_command(&world->host[1], COMMAND_PROMOTE, 0)) {
        world->promoting = -1; /* A has shot it before */
    } else {
        world_run(world, 150 * MS);
        if (world->host[1].commands || world->host[1].status.role == REPLICA_ROLE_PRIMARY)
            sim_violation(world, "fencing", "B: is not told that A could not be fenced");
    }
    world->fence_fails = false;
    world->host[0].boot_at = world->now;
    operator_is_back(world);
}

static bool a_diskless(const struct sim_world *world)
{
    return world->host[0].status.disk == REPLICA_DISK_DISKLESS && world->host[0].commands == 0;
}

static bool a_has_granted(const struct sim_world *world)
{
    return world->oracle.policy[0].gives;
}

static bool b_has_heard(const struct sim_world *world)
{
    return world->oracle.policy[1].granted > 0;
}

/* A node without a disk, Primary or Secondary by then, grants the role and dies before the new
 * epoch is on the other one's disk: that one is Primary then, and fences as after any loss. */
static void run_fencing_grant(struct sim_world *world)
{
    struct sim_host *giver = &world->host[0], *taker = &world->host[1];

    world->profile = quiet_profile;
    world->profile.fencing =
        sim_chance(world, 2) ? CORE_FENCING_RESOURCE_ONLY : CORE_FENCING_RESOURCE_AND_STONITH;
    if (!pair_boot(world))
        return;
    world->promoting = 0; /* nobody is, before they have met: it would fence the other one */
    if (!expect(world, both_live, 5 * SECOND, "that they meet"))
        return;
    world->promoting = -1;
    if (!expect(world, established, 5 * SECOND, "Established"))
        return;
    write_some(world, 0, 8, 0, world->profile.sectors);
    giver->disk.fails_until = world->now + SECOND; /* so that nobody attaches it meanwhile */
    host_command(giver, COMMAND_DETACH, 0);
    if (!expect(world, a_diskless, SECOND, "a Primary without a disk"))
        return;
    world->prefer = 1;
    if (sim_chance(world, 2)) {
        migrate_begin(world);
        world->migration.fails = false;
    }
    if (!expect(world, a_has_granted, SECOND, "the grant"))
        return;
    taker->disk.stalled_until = world->now + 5 * MS;
    if (!expect(world, b_has_heard, SECOND, "that it is heard"))
        return;
    host_crash(giver, false);
    giver->boot_at = world->now + sim_below(world, 50) * MS;
    giver->disk.fails_until = 0;
    world_run(world, 6 * MS);
    if (taker->status.role != REPLICA_ROLE_PRIMARY)
        sim_violation(world, "scenario", "B: was granted the role, and is not Primary");
    expect(world, established, 10 * SECOND, "Established again");
}

/* A's fence-peer has fenced B and takes long to say so: B is back, and lost again, and cannot be
 * fenced. What is heard of the first time is no answer to the second. */
static void run_fencing_late(struct sim_world *world)
{
    struct sim_host *a = &world->host[0];

    if (!pair_start_fenced(world, CORE_FENCING_RESOURCE_AND_STONITH))
        return;
    write_some(world, 0, 4, 0, world->profile.sectors);
    world->fence_ends_after = 900 * MS;
    net_block(world, 3, 150 * MS);
    write_more(world, 0, 4, 0, 64);
    world_run(world, 150 * MS);
    if (!expect(world, both_live, 600 * MS, "that they meet"))
        return;
    world->operator_off = world->fence_fails = true; /* who might type resume-io */
    world->fence_ends_after = 2 * SECOND;
    net_block(world, 3, 1500 * MS);
    write_more(world, 0, 4, 0, 64);
    world_run(world, 1200 * MS);
    if (!a->status.frozen && !world->failed)
        sim_violation(world, "fencing", "A: does not stand still");
    world->fence_fails = false;
    operator_is_back(world);
    expect(world, established, 10 * SECOND, "Established again");
}

static bool a_goes_on_alone(const struct sim_world *world)
{
    return guests_idle(world) && a_alone(world);
}

/* It holds that B has its generation, and the two are not connected yet. */
static bool a_commits(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_WF_BITMAP_S &&
           !lineage_is_ahead(&world->host[0].status.generation);
}

/* B is lost, fenced, and back; before it counts again it is lost once more. It has not been fenced
 * since, so it is now, and then A goes on. */
static void run_fencing_again(struct sim_world *world)
{
    struct sim_host *b = &world->host[1];

    if (!pair_start_fenced(world, CORE_FENCING_RESOURCE_AND_STONITH))
        return;
    net_block(world, 3, 400 * MS);
    write_more(world, 0, 8, 0, world->profile.sectors);
    if (!world_until(world, a_goes_on_alone, 350 * MS)) /* its script may have failed */
        return;
    if (!expect(world, a_commits, 5 * SECOND, "a handshake"))
        return;
    world->operator_off = true;
    host_crash(b, true);
    b->boot_at = UINT64_MAX;
    write_more(world, 0, 4, 0, 64);
    if (expect(world, guests_idle, 5 * SECOND, "that B is fenced once more"))
        write_some(world, 0, 4, 0, 64);
    b->boot_at = world->now;
    operator_is_back(world);
}

/* ---- after a split brain ------------------------------------------------------------------- */

static bool answered(const struct sim_world *world)
{
    return world->host[0].commands == 0 && world->host[1].commands == 0;
}

/* Both went on alone; then both, one or neither is Primary when they meet. */
static bool split(struct sim_world *world)
{
    if (!pair_boot(world) || !expect(world, established, 5 * SECOND, "Established"))
        return false;
    write_some(world, 0, 8, 0, world->profile.sectors);
    net_block(world, 3, 400 * MS);
    write_some(world, 0, 4 + 4 * sim_below(world, 4), 0, 64u << sim_below(world, 5));
    world->promoting = 1;
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    if (!expect(world, b_primary, SECOND, "the promotion of B"))
        return false;
    write_some(world, 1, 4 * sim_below(world, 5), 0, 64u << sim_below(world, 5));
    world->operator_off = true;
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (sim_chance(world, 2)) {
            world->demoting = (int32_t)i;
            host_command(&world->host[i], COMMAND_DEMOTE, 0);
            expect(world, answered, SECOND, "the demotion");
        }
    return !world->failed;
}

static bool met_or_refused(const struct sim_world *world)
{
    bool met = true;

    for (unsigned i = 0; i < SIM_HOSTS; i++)
        met = met && world->host[i].up &&
              world->host[i].status.replication == REPLICA_REPLICATION_ESTABLISHED;
    return met || one_standalone(world) || !world->host[0].up || !world->host[1].up;
}

static void run_after_sb(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.reckless = true;
    policy_draw(world);
    if (!split(world))
        return;
    expect(world, met_or_refused, 5 * SECOND, "what the policy says, or a person who decides");
    operator_is_back(world);
}

/* Each of the other words where nobody is Primary. */
static void run_after_sb_0pri(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.reckless = true;
    world->profile.after_sb.none = (enum split_0pri)(1 + world->seed % (SPLIT_0PRI_COUNT - 1));
    if (!split(world))
        return;
    for (unsigned i = 0; i < SIM_HOSTS && !world->failed; i++) {
        if (world->host[i].status.role != REPLICA_ROLE_PRIMARY)
            continue;
        world->demoting = (int32_t)i;
        host_command(&world->host[i], COMMAND_DEMOTE, 0);
        expect(world, answered, SECOND, "the demotion");
    }
    expect(world, met_or_refused, 5 * SECOND, "what the policy says, or a person who decides");
    if (one_standalone(world) && world->profile.after_sb.none != SPLIT_0PRI_DISCARD_ZERO_CHANGES)
        sim_violation(world, "after-sb", "a person is asked, and the policy decides");
    operator_is_back(world);
}

/* P6: the Secondary is sent what only the Primary under the present epoch may send. It refuses;
 * carried out it would be a request that nobody asked for. Its peer would hang up over the answer,
 * which does not get through. */
static void forge_write(struct sim_world *world, unsigned from, uint64_t epoch)
{
    struct wire_message message = {.type = sim_chance(world, 2) ? WIRE_DISCARD : WIRE_WRITE_ZEROES,
                                   .tag = UINT64_MAX,
                                   .epoch = epoch,
                                   .range = {.length = REPLICA_BLOCK_BYTES}};

    message.range.offset = (uint64_t)sim_below(world, 64) * REPLICA_BLOCK_BYTES;
    net_block(world, 1u << (1 - from), 5 * MS);
    net_forge(&world->host[from], &message);
    world_run(world, MS);
    net_cut(world);
    world_run(world, 5 * MS); /* both have noticed */
}

static void run_forged_writes(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 4, 0, world->profile.sectors);
    forge_write(world, 0, world->host[0].status.epoch - 1);
    if (!expect(world, established, 10 * SECOND, "Established again"))
        return;
    forge_write(world, 0, world->host[0].status.epoch + 1);
    if (!expect(world, established, 10 * SECOND, "Established again"))
        return;
    forge_write(world, 1, world->host[1].status.epoch); /* to the Primary */
    if (!expect(world, established, 10 * SECOND, "Established again"))
        return;
    world->operator_off = true;
    world->demoting = 0;
    host_command(&world->host[0], COMMAND_DEMOTE, 0);
    if (expect(world, both_secondary, SECOND, "a demotion"))
        forge_write(world, 0, world->host[0].status.epoch); /* nobody is Primary */
    operator_is_back(world);
}

const struct scenario scenarios_role[] = {
    {"forged-writes", "writes under another epoch, or of a Secondary", run_forged_writes},
    {"handover-cut", "the link is lost during a handover, then power", run_handover_cut},
    {"handover-power", "power is lost right after a handover", run_handover_power},
    {"invalidate", "the Secondary's data are given up, and come anew", run_invalidate},
    {"invalidate-refused", "the data of a Primary are not given up", run_invalidate_refused},
    {"invalidate-meeting", "nor those of the node that is about to fill the other one",
     run_invalidate_meeting},
    {"fencing", "resource-only: goes on, and fences meanwhile", run_fencing_resource},
    {"fencing-stonith", "resource-and-stonith: stands still until fenced", run_fencing_stonith},
    {"after-sb", "what the policies say after a split brain", run_after_sb},
    {"after-sb-0pri", "each of them where nobody is Primary", run_after_sb_0pri},
    {"fencing-grant", "a node without a disk grants the role, and dies", run_fencing_grant},
    {"fencing-refused", "nor when it could not be fenced", run_fencing_refused},
    {"fencing-late", "an answer of fence-peer to an earlier question", run_fencing_late},
    {"fencing-again", "a peer that was fenced comes back, and is lost before it counts",
     run_fencing_again},
    {"fencing-promote", "no promotion before the peer is fenced", run_fencing_promote},
};
const unsigned scenario_role_count = sizeof scenarios_role / sizeof scenarios_role[0];
