/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario.c - runs the schedules that were written by hand, each for one known wound, and holds
 * those about the link and the operator; scenario_crash.c has those about crashes,
 * scenario_disk.c those about verify, scenario_late.c those about what is slow, scenario_lineage.c
 * those about whose data are the newer ones, scenario_role.c those about the Primary role,
 * scenario_wound.c what else has hurt others.
 *
 * Each is run with several seeds: latencies, and with them the interleaving, differ. All end as a
 * random schedule does: no more faults, and the pair must converge.
 */
#include <string.h>

#include "scenario.h"

/* ---- what is waited for --------------------------------------------------------------------- */

bool guests_idle(const struct sim_world *world)
{
    return world->host[0].guest.in_flight == 0 && world->host[1].guest.in_flight == 0;
}

bool established(const struct sim_world *world)
{
    return schedule_settled(world);
}

bool syncing(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_SYNC_TARGET ||
           world->host[1].status.replication == REPLICA_REPLICATION_SYNC_TARGET;
}

bool a_alone(const struct sim_world *world)
{
    const struct core_status *status = &world->host[0].status;

    return status->role == REPLICA_ROLE_PRIMARY && !status->io_suspended &&
           status->connection != REPLICA_CONNECTION_CONNECTED;
}

bool a_primary(const struct sim_world *world)
{
    return world->host[0].guest.running;
}

bool b_primary(const struct sim_world *world)
{
    return world->host[1].guest.running;
}

bool both_secondary(const struct sim_world *world)
{
    return world->host[0].status.role == REPLICA_ROLE_SECONDARY &&
           world->host[1].status.role == REPLICA_ROLE_SECONDARY && world->demoting < 0;
}

/* Its last word to the other one may be lost: that one goes on trying. */
bool one_standalone(const struct sim_world *world)
{
    return world->host[0].status.connection == REPLICA_CONNECTION_STANDALONE ||
           world->host[1].status.connection == REPLICA_CONNECTION_STANDALONE;
}

bool both_live(const struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (world->host[i].status.replication != REPLICA_REPLICATION_ESTABLISHED)
            return false;
    return true;
}

bool expect(struct sim_world *world, predicate *done, uint64_t most, const char *what)
{
    if (world_until(world, done, most))
        return true;
    sim_violation(world, "scenario", "never came: %s", what);
    return false;
}

void operator_is_back(struct sim_world *world)
{
    world->operator_off = false;
    world_at(world, SIM_OPERATOR, 0, world->now, 0, 0);
}

/* ---- what is done ------------------------------------------------------------------------------
 */

const struct sim_profile quiet_profile = {.sectors = 8 * 65536 / REPLICA_SECTOR_BYTES,
                                          .first_sectors = 8 * 65536 / REPLICA_SECTOR_BYTES,
                                          .al_extents = METADATA_AL_EXTENTS_MIN + 2,
                                          .requests_max = 16,
                                          .depth = 8,
                                          .spots = 4,
                                          .spot_sectors = 32,
                                          .disk_base = 20 * US,
                                          .disk_spread = 150 * US,
                                          .link_base = 20 * US,
                                          .link_spread = 100 * US,
                                          .think = 100 * US};

bool pair_boot(struct sim_world *world)
{
    world->pinned = true;
    world_create(world);
    for (unsigned i = 0; i < SIM_HOSTS && !world->failed; i++)
        host_boot(&world->host[i]);
    world_at(world, SIM_OPERATOR, 0, world->now, 0, 0);
    return !world->failed;
}

bool pair_start(struct sim_world *world, enum sim_start start)
{
    world->profile = quiet_profile;
    world->profile.start = start;
    world->profile.wire = sim_chance(world, 2);
    world->profile.shuffle = sim_chance(world, 2);
    if (!pair_boot(world))
        return false;
    if (start == START_FIRST_SYNC)
        return expect(world, syncing, 5 * SECOND, "the first sync");
    return expect(world, established, 5 * SECOND, "a pair that is Established");
}

bool pair_start_reckless(struct sim_world *world)
{
    world->profile = quiet_profile;
    world->profile.reckless = true;
    return pair_boot(world) && expect(world, established, 5 * SECOND, "Established");
}

void write_more(struct sim_world *world, unsigned host, uint32_t count, uint32_t first,
                uint32_t span)
{
    struct sim_host *node = &world->host[host];

    for (uint32_t i = 0; i < count && !world->failed; i++) {
        uint32_t length = 1 + sim_below(world, span < 16 ? span : 16);
        uint32_t at = first + sim_below(world, span - length + 1);

        guest_issue(node, REPLICA_OP_WRITE, false, at, length);
    }
}

void write_some(struct sim_world *world, unsigned host, uint32_t count, uint32_t first,
                uint32_t span)
{
    for (uint32_t done = 0; done < count && !world->failed; done += 4) {
        write_more(world, host, 4, first, span);
        expect(world, guests_idle, 5 * SECOND, "the answer to a write");
    }
}

void flush(struct sim_world *world, unsigned host)
{
    guest_issue(&world->host[host], REPLICA_OP_FLUSH, false, 0, 0);
    expect(world, guests_idle, 5 * SECOND, "the answer to a flush");
}

/* ---- the link
 * ------------------------------------------------------------------------------------ */

static void run_steady(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 100, 0, world->profile.sectors);
    flush(world, 0);
    write_some(world, 0, 40, 0, 64);
}

static void run_new_disks(struct sim_world *world)
{
    if (pair_start(world, START_NEW_UUID))
        write_some(world, 0, 20, 0, world->profile.sectors);
    if (world->counts.resyncs && !world->failed)
        sim_violation(world, "scenario", "new-current-uuid --clear-bitmap, and still a resync");
}

static void run_idle(struct sim_world *world)
{
    uint64_t steps;

    if (!pair_start(world, START_IN_SYNC))
        return;
    write_some(world, 0, 8, 0, 64);
    world_run(world, SECOND);
    world->operator_off = true;
    steps = world->counts.steps;
    world_run(world, 20 * SECOND);
    if (world->counts.steps - steps > 20 * 10 * 12)
        sim_violation(world, "liveness", "an idle pair takes %llu steps in 20 s",
                      (unsigned long long)(world->counts.steps - steps));
    operator_is_back(world);
}

/* A write of the old session is slow on the peer's disk; meanwhile newer data is written alone. */
static void run_stale_write(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->host[1].disk.stalled_until = world->now + 400 * MS;
    write_more(world, 0, 4, 0, 16);
    world_run(world, MS);
    net_cut(world);
    if (!expect(world, guests_idle, 5 * SECOND, "writes end after the loss of the peer"))
        return;
    write_some(world, 0, 16, 0, 16);
    expect(world, established, 10 * SECOND, "Established again");
    write_some(world, 0, 8, 0, 16);
}

static void run_resync_and_writes(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    net_block(world, 3, 300 * MS);
    write_some(world, 0, 60, 0, world->profile.sectors);
    if (!expect(world, syncing, 5 * SECOND, "a resync"))
        return;
    net_slow(world, sim_below(world, 2), 2 * MS);
    for (unsigned i = 0; i < 40 && !world->failed && syncing(world); i++) {
        write_more(world, 0, 2, 0, world->profile.sectors);
        world_run(world, 100 * US);
    }
}

/* The link is lost again and again while the resync runs; what is done stays done. */
static void run_resync_cut(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    net_block(world, 3, 200 * MS);
    write_some(world, 0, 60, 0, world->profile.sectors);
    for (unsigned i = 0; i < 5 && !world->failed; i++) {
        if (!world_until(world, syncing, SECOND))
            break;
        world_run(world, sim_below(world, 3000) * US);
        net_cut(world);
        write_some(world, 0, 4, 0, world->profile.sectors);
    }
}

static void run_half_open(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 6 && !world->failed; i++) {
        write_more(world, 0, 3, 0, 64);
        net_half_open(&world->host[sim_below(world, 2)]);
        world->net.half_open_next = sim_chance(world, 2);
        world_run(world, sim_below(world, 60) * MS);
    }
}

/* A stopped peer: nothing completes before it is declared lost, and then the loss is on disk. */
static void run_peer_stopped(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->host[1].frozen = true;
    write_more(world, 0, 4, 0, 64);
    world_run(world, 40 * MS);
    if (world->host[0].guest.in_flight == 0)
        sim_violation(world, "P1", "a write completes while the peer is stopped");
    expect(world, guests_idle, SECOND, "the peer is declared lost");
    write_some(world, 0, 12, 0, 128);
}

/* ---- the operator
 * ----------------------------------------------------------------------------------- */

static void run_handover(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    for (unsigned i = 0; i < 4 && !world->failed; i++) {
        unsigned here = i % 2;

        write_some(world, here, 8, 0, 64);
        write_more(world, here, 4, 0, 64);
        world->prefer = 1 - (int32_t)here;
        expect(world, here ? a_primary : b_primary, 5 * SECOND, "the handover");
    }
}

static void run_promote_during_connect(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    world->demoting = 0;
    host_command(&world->host[0], COMMAND_DEMOTE, 0);
    if (!expect(world, both_secondary, SECOND, "the demotion"))
        return;
    net_cut(world);
    world_run(world, (29 * 1000 + sim_below(world, 2000)) * US);
    world->promoting = 1;
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    world_run(world, 100 * MS);
    if (b_primary(world))
        write_some(world, 1, 12, 0, 64);
    world->operator_off = false;
    world->prefer = 1;
    world_at(world, SIM_OPERATOR, 0, world->now, 0, 0);
}

static bool promotions_answered(const struct sim_world *world)
{
    return world->host[0].commands == 0 && world->host[1].commands == 0;
}

/* Both are asked at the same time over a good link: one becomes Primary at most. */
static void run_promote_both(struct sim_world *world)
{
    if (!pair_start(world, START_IN_SYNC))
        return;
    world->operator_off = true;
    world->demoting = 0;
    host_command(&world->host[0], COMMAND_DEMOTE, 0);
    if (!expect(world, both_secondary, SECOND, "the demotion"))
        return;
    world_run(world, 5 * MS);
    host_command(&world->host[0], COMMAND_PROMOTE, 0);
    world_run(world, sim_below(world, 400) * US);
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    if (!expect(world, promotions_answered, SECOND, "answers to both promotions"))
        return;
    write_some(world, b_primary(world) ? 1 : 0, 4, 0, 64);
    operator_is_back(world);
}

/* They do not see each other: A's guest writes, B is promoted, and its guest writes too. */
static bool both_write(struct sim_world *world)
{
    write_some(world, 0, 12, 0, 128);
    world->promoting = 1;
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    if (!expect(world, b_primary, SECOND, "the promotion of B"))
        return false;
    write_some(world, 1, 12, 0, 128);
    return !world->failed;
}

static bool refuse_each_other(struct sim_world *world)
{
    world->operator_off = true;
    return expect(world, one_standalone, 5 * SECOND, "StandAlone after the split brain");
}

/* Both have gone on alone and refuse each other. False: it failed. */
static bool split_brain(struct sim_world *world)
{
    if (!pair_start_reckless(world))
        return false;
    net_block(world, 3, 400 * MS);
    return both_write(world) && refuse_each_other(world);
}

/* Nobody merges them; one side gives up, and only what differs is copied. */
static void run_split_brain(struct sim_world *world)
{
    if (split_brain(world))
        operator_is_back(world);
}

static bool taken_over(const struct sim_world *world)
{
    return !lineage_same(world->host[0].status.generation.current,
                         world->host[1].status.generation.current);
}

/* A lets go of its disk and never hears that B has taken the data over. So it keeps the disk and
 * goes on, and so does B, under a generation that A has given it. */
static void run_takeover_unheard(struct sim_world *world)
{
    if (!pair_start_reckless(world))
        return;
    net_block(world, 2, 800 * MS);
    host_command(&world->host[0], COMMAND_DETACH, 0);
    if (!expect(world, taken_over, SECOND, "the new generation on B"))
        return;
    net_block(world, 1, 800 * MS);
    if (!expect(world, a_alone, SECOND, "A alone, with its disk"))
        return;
    if (both_write(world) && refuse_each_other(world))
        operator_is_back(world);
}

/* The same, and B does nothing with what it has taken over: A's data are the newer ones, and that
 * is for nobody to decide. */
static void run_takeover_unused(struct sim_world *world)
{
    if (!pair_start_reckless(world))
        return;
    net_block(world, 2, 300 * MS);
    host_command(&world->host[0], COMMAND_DETACH, 0);
    if (!expect(world, taken_over, SECOND, "the new generation on B"))
        return;
    net_block(world, 1, 300 * MS);
    if (!expect(world, a_alone, SECOND, "A alone, with its disk"))
        return;
    write_some(world, 0, 12, 0, 128);
    world->operator_off = true;
    expect(world, both_live, 5 * SECOND, "Established without a person");
    operator_is_back(world);
}

static bool no_demotion(const struct sim_world *world)
{
    return world->demoting < 0;
}

static bool both_standalone(const struct sim_world *world)
{
    return world->host[0].status.connection == REPLICA_CONNECTION_STANDALONE &&
           world->host[1].status.connection == REPLICA_CONNECTION_STANDALONE;
}

/* Both operators give their data up: then nobody has named a loser, and a person must. */
static void run_discard_both(struct sim_world *world)
{
    if (!split_brain(world))
        return;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        world->demoting = (int32_t)i;
        host_command(&world->host[i], COMMAND_DEMOTE, 0);
        expect(world, no_demotion, SECOND, "a demotion");
    }
    for (unsigned i = 0; i < SIM_HOSTS; i++) /* the last word of the other may be lost */
        host_command(&world->host[i], COMMAND_DISCONNECT, 0);
    if (!expect(world, both_standalone, SECOND, "two that are StandAlone"))
        return;
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        host_command(&world->host[i], COMMAND_CONNECT, COMMAND_DISCARD_MY_DATA);
    world_run(world, 100 * MS);
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (world->host[i].status.disk != REPLICA_DISK_UPTODATE)
            sim_violation(world, "P8", "%c: gives its data up to one that does too", 'A' + (int)i);
    operator_is_back(world);
}

static bool b_secondary(const struct sim_world *world)
{
    return world->host[1].status.role == REPLICA_ROLE_SECONDARY && world->demoting < 0;
}

static bool b_diskless(const struct sim_world *world)
{
    return world->host[1].status.disk == REPLICA_DISK_DISKLESS;
}

/* The same, and the disk of the side that shall give up is detached: it is attached first. */
static void run_split_brain_diskless(struct sim_world *world)
{
    if (!split_brain(world))
        return;
    world->demoting = 1;
    host_command(&world->host[1], COMMAND_DEMOTE, 0);
    if (!expect(world, b_secondary, SECOND, "the demotion of B"))
        return;
    host_command(&world->host[1], COMMAND_DETACH, 0);
    if (expect(world, b_diskless, SECOND, "the end of the detach"))
        operator_is_back(world);
}

/* The wish to discard is good for one connection: nothing that is written after it is given up. */
static void run_discard_once(struct sim_world *world)
{
    if (!pair_start_reckless(world))
        return;
    world->host[1].hold = true;
    world->host[1].hold_until = world->now + 200 * MS;
    host_command(&world->host[1], COMMAND_DISCONNECT, 0);
    if (!expect(world, one_standalone, SECOND, "StandAlone"))
        return;
    host_command(&world->host[1], COMMAND_CONNECT, COMMAND_DISCARD_MY_DATA);
    if (!expect(world, established, SECOND, "Established again"))
        return;
    net_block(world, 3, 400 * MS);
    if (!both_write(world))
        return;
    world->demoting = 1;
    host_command(&world->host[1], COMMAND_DEMOTE, 0);
    refuse_each_other(world);
    operator_is_back(world);
}

/* Promoted over there without having written: not a split brain. */
static void run_promoted_but_unwritten(struct sim_world *world)
{
    if (!pair_start_reckless(world))
        return;
    net_block(world, 3, 300 * MS);
    write_some(world, 0, 12, 0, 128);
    world->promoting = 1;
    host_command(&world->host[1], COMMAND_PROMOTE, 0);
    if (!expect(world, b_primary, SECOND, "the promotion of B"))
        return;
    world_run(world, 10 * MS);
    world->demoting = 1;
    host_command(&world->host[1], COMMAND_DEMOTE, 0);
}

static const struct scenario scenarios_link[] = {
    {"steady", "writes and flushes, nothing goes wrong", run_steady},
    {"new-disks", "new-current-uuid --clear-bitmap spares the first sync", run_new_disks},
    {"idle", "an idle pair wakes up for its pings only", run_idle},
    {"stale-write", "a stalled old write must not land over newer data", run_stale_write},
    {"resync-and-writes", "a resync ends while writes are in flight", run_resync_and_writes},
    {"resync-cut", "a resync is cut again and again", run_resync_cut},
    {"half-open", "one end of the link is lost", run_half_open},
    {"peer-stopped", "no write completes while the peer is stopped", run_peer_stopped},
    {"handover", "the Primary role goes to and fro under load", run_handover},
    {"promote-during-connect", "promote while the link comes up", run_promote_during_connect},
    {"promote-both", "promote on both at once", run_promote_both},
    {"split-brain", "both wrote alone: refused, then resolved by hand", run_split_brain},
    {"split-brain-diskless", "the same, and the loser has no disk", run_split_brain_diskless},
    {"takeover-unheard", "a detach whose answer is lost, then both write alone",
     run_takeover_unheard},
    {"takeover-unused", "the same, and A alone writes", run_takeover_unused},
    {"discard-both", "both are told to discard, and neither does", run_discard_both},
    {"discard-once", "connect --discard-my-data is good for one connection", run_discard_once},
    {"promoted-but-unwritten", "a second Primary that wrote nothing", run_promoted_but_unwritten},
};
const struct scenario *scenario_at(unsigned index)
{
    const struct {
        const struct scenario *list;
        unsigned count;
    } parts[] = {{scenarios_link, sizeof scenarios_link / sizeof scenarios_link[0]},
                 {scenarios_crash, scenario_crash_count},
                 {scenarios_disk, scenario_disk_count},
                 {scenarios_late, scenario_late_count},
                 {scenarios_lineage, scenario_lineage_count},
                 {scenarios_role, scenario_role_count},
                 {scenarios_wound, scenario_wound_count}};

    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (index < parts[i].count)
            return &parts[i].list[index];
        index -= parts[i].count;
    }
    return NULL;
}

int scenario_run(struct sim_world *world, const struct scenario *scenario, uint64_t seed)
{
    uint64_t resyncs = world->counts.resyncs;

    world_reset(world, seed);
    world->counts.resyncs = 0;
    TRACE(world, "scenario %s", scenario->name);
    scenario->run(world);
    if (!world->failed)
        schedule_converge(world);
    world->counts.resyncs += resyncs;
    world->counts.schedules++;
    if (world->failed)
        world->counts.violations++;
    return world->failed ? REPLICA_E_STATE : 0;
}
