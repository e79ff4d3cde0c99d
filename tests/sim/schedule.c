/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * schedule.c - one random schedule: a profile, guests and faults until both are used up, then no
 * more faults, and the pair has to come back: Connected, UpToDate, identical.
 */
#include "sim.h"

static void profile_draw(struct sim_world *world)
{
    struct sim_profile *profile = &world->profile;
    uint32_t start = sim_below(world, 10);
    uint32_t extents = 4 + sim_below(world, 12), more = sim_chance(world, 4) ? 12 : 0;

    *profile = (struct sim_profile){
        .start = start < 6   ? START_IN_SYNC
                 : start < 8 ? START_NEW_UUID
                             : START_FIRST_SYNC,
        .reckless = sim_chance(world, 8),
        .fencing =
            sim_chance(world, 3) ? (enum core_fencing)sim_below(world, 3) : CORE_FENCING_DONT_CARE,
        .freeze = sim_chance(world, 8),
        .disk_timeout = sim_chance(world, 2) ? 600 * MS : 0,
        .pass_on = sim_chance(world, 4),
        .handlers = sim_chance(world, 4),
        .wire = sim_chance(world, 4),
        .shuffle = sim_chance(world, 2),
        .sectors = (extents + more) * ((uint32_t)METADATA_AL_EXTENT_BYTES / REPLICA_SECTOR_BYTES),
        .first_sectors = extents * ((uint32_t)METADATA_AL_EXTENT_BYTES / REPLICA_SECTOR_BYTES),
        .internal = more && sim_chance(world, 2) ? 1 + sim_below(world, 3) : 0,
        .clean = sim_chance(world, 2),
        .al_extents = METADATA_AL_EXTENTS_MIN + sim_below(world, 6),
        .requests_max = 4 + sim_below(world, 20),
        .depth = 1 + sim_below(world, SIM_GUEST_DEPTH),
        .spots = 1 + sim_below(world, extents),
        .spot_sectors = 8 + sim_below(world, 56),
        .writes_wanted = 200 + sim_below(world, 20),
        .faults_wanted = 5 + sim_below(world, 6),
        .disk_base = 20 * US,
        .disk_spread = sim_chance(world, 4) ? 2 * MS : 150 * US,
        .link_base = 20 * US,
        .link_spread = sim_chance(world, 4) ? 3 * MS : 100 * US,
        .think = sim_chance(world, 2) ? 20 * US : 300 * US,
    };
    if (sim_chance(world, 2))
        policy_draw(world);
    profile->csums = sim_chance(world, 3);
    profile->paced = sim_chance(world, 3);
    profile->rate_min = (uint64_t)(1 + sim_below(world, 8)) << 20;
    profile->rate_max = profile->rate_min << sim_below(world, 5);
    if (profile->internal)
        profile->sectors += SIM_META_SECTORS;
    if (profile->spot_sectors > profile->first_sectors / profile->spots)
        profile->spot_sectors = profile->first_sectors / profile->spots;
}

static bool schedule_used_up(const struct sim_world *world)
{
    return world->writes_issued >= world->profile.writes_wanted &&
           world->faults_done >= world->profile.faults_wanted;
}

static bool host_quiet(const struct sim_host *host)
{
    return host->up && host->attached && host->commands == 0 && host->disk.in_flight == 0 &&
           host->meta.in_flight == 0 && host->guest.in_flight == 0 && !host->ending;
}

bool schedule_settled(const struct sim_world *world)
{
    unsigned primaries = 0;

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        const struct core_status *status = &world->host[i].status;

        if (!host_quiet(&world->host[i]) || status->connection != REPLICA_CONNECTION_CONNECTED ||
            status->replication != REPLICA_REPLICATION_ESTABLISHED ||
            status->disk != REPLICA_DISK_UPTODATE || status->peer_disk != REPLICA_DISK_UPTODATE ||
            status->requests_pending || status->peer_pending || status->local_pending ||
            status->out_of_sync_bytes)
            return false;
        primaries += status->role == REPLICA_ROLE_PRIMARY;
    }
    return primaries == 1 && world->migration.phase == MIGRATE_NONE && world->promoting < 0 &&
           world->demoting < 0 && world->writes_issued >= world->profile.writes_wanted &&
           world->host[0].guest.running != world->host[1].guest.running;
}

static void host_describe(const struct sim_host *host, char *text, size_t bytes)
{
    const struct core_status *status = &host->status;

    if (!host->up)
        snprintf(text, bytes, "down");
    else
        snprintf(text, bytes, "%s %s %s %s/%s pending %u peer %u local %u oos %llu%s%s guest %u",
                 replica_role_name(status->role), replica_connection_name(status->connection),
                 replica_replication_name(status->replication), replica_disk_name(status->disk),
                 replica_disk_name(status->peer_disk), status->requests_pending,
                 status->peer_pending, status->local_pending,
                 (unsigned long long)status->out_of_sync_bytes,
                 status->io_suspended ? " suspended" : "", host->commands ? " command" : "",
                 host->guest.in_flight);
}

static void schedule_stuck(struct sim_world *world, const char *what)
{
    char a[200], b[200];

    host_describe(&world->host[0], a, sizeof a);
    host_describe(&world->host[1], b, sizeof b);
    sim_violation(world, "liveness", "%s. A: %s; B: %s", what, a, b);
}

static bool guests_done(const struct sim_world *world)
{
    return world->host[0].guest.in_flight == 0 && world->host[1].guest.in_flight == 0;
}

/* A guest reads everything, and finds what it must find. */
static void schedule_read_all(struct sim_world *world)
{
    struct sim_host *host = &world->host[world->host[0].guest.running ? 0 : 1];
    uint32_t sectors = grow_sectors(host);

    for (uint32_t at = 0; at < sectors; at += SIM_BUFFER_SECTORS) {
        uint32_t count = sectors - at < SIM_BUFFER_SECTORS ? sectors - at : SIM_BUFFER_SECTORS;

        if (!guest_issue(host, REPLICA_OP_READ, false, at, count) ||
            !world_until(world, guests_done, SECOND)) {
            sim_violation(world, "liveness", "the last reads are not answered");
            return;
        }
    }
}

static bool all_down(const struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (!world->host[i].ending)
            return false;
    return true;
}

static bool none_primary(const struct sim_world *world)
{
    return world->host[0].status.role != REPLICA_ROLE_PRIMARY &&
           world->host[1].status.role != REPLICA_ROLE_PRIMARY && world->demoting < 0;
}

static void schedule_down(struct sim_world *world)
{
    unsigned first = sim_below(world, SIM_HOSTS);

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *host = &world->host[i];

        if (host->status.role != REPLICA_ROLE_PRIMARY)
            continue;
        host->guest.paused = true;
        world->demoting = (int32_t)i;
        host_command(host, COMMAND_DEMOTE, 0);
    }
    if (!world_until(world, none_primary, 5 * SECOND)) {
        sim_violation(world, "liveness", "demote is not answered");
        return;
    }
    host_command(&world->host[first], COMMAND_DOWN, 0);
    world_run(world, sim_below(world, 3) * MS);
    if (world->failed)
        return;
    host_command(&world->host[1 - first], COMMAND_DOWN, 0);
    if (!world_until(world, all_down, 5 * SECOND)) {
        sim_violation(world, "liveness", "down is not answered");
        return;
    }
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        host_end(&world->host[i]);
}

void schedule_converge(struct sim_world *world)
{
    fault_heal(world);
    world->pinned = false;
    world->profile.writes_wanted = world->writes_issued + 8;
    if (!world_until(world, schedule_settled, 30 * SECOND)) {
        schedule_stuck(world, "no convergence");
        return;
    }
    oracle_compare(world, true);
    grow_finish(world);
    world->operator_off = true; /* he would move the guest, and bring up again what goes down */
    schedule_read_all(world);
    if (!world->failed)
        schedule_down(world);
    if (!world->failed) {
        net_drain(world);
        oracle_finish(world);
    }
}

static void digest_add(struct sim_counts *counts, uint64_t end)
{
    counts->digest = (counts->digest ^ end) * UINT64_C(0x9e3779b97f4a7c15);
    counts->digest ^= counts->digest >> 32;
}

int schedule_run(struct sim_world *world, uint64_t seed)
{
    world_reset(world, seed);
    profile_draw(world);
    world_create(world);
    TRACE(world, "start %d%s, %u sectors, %u extents logged, %u requests, %u spots of %u",
          (int)world->profile.start, world->profile.reckless ? " reckless" : "",
          world->profile.sectors, world->profile.al_extents, world->profile.requests_max,
          world->profile.spots, world->profile.spot_sectors);
    for (unsigned i = 0; i < SIM_HOSTS && !world->failed; i++)
        host_boot(&world->host[i]);
    world_at(world, SIM_OPERATOR, 0, world->now + sim_below(world, 2000) * US, 0, 0);
    fault_plan(world);
    if (!world_until(world, schedule_used_up, 60 * SECOND))
        schedule_stuck(world, "no progress");
    if (!world->failed)
        schedule_converge(world);
    world->counts.schedules++;
    digest_add(&world->counts, world->random ^ world->now << 20 ^ world->counts.steps);
    if (world->failed)
        world->counts.violations++;
    return world->failed ? REPLICA_E_STATE : 0;
}
