/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * single.c - exhaustive single faults. Each script of script.c is run once without a fault, which
 * counts the points at which one may strike; then again for each kind of fault and each point, with
 * exactly that fault. The seed is the same, so all is the same up to that point.
 *
 *   kill, power                 the process (the host) ends as an I/O of its own completes: the I/O
 *                               happens wholly, in part or not at all
 *   kill-peer, power-peer       the other one does
 *   power-both                  both hosts
 *   cut                         the link is lost before a message; it and all after it never come
 *   cut-inside                  the link is lost in the middle of a message's data, some of which
 *                               is in its place already
 *   error                       an I/O, of data or metadata, fails; a write may have happened in
 * part
 *
 * An error strikes where the other disk has all that counts, or in an attach: a Primary that is
 * alone and loses its disk has lost what only that disk had, whatever the core does.
 *
 * There is no fault "this allocation fails". The core takes all its memory in core_new
 * (test_core_new.c fails each of those); what comes later is a buffer that the shell owes it, for a
 * read without one or for a message's data, and a shell that has none free waits for one
 * (driver_disk.c, link.c): to the core that is a slow disk or a slow link.
 *
 * What a script waits for need not come after a fault; the oracle, and convergence, judge the rest.
 */
#include <string.h>

#include "script.h"

static const struct {
    const char *name;
    enum sim_single_point point;
} kinds[SINGLE_COUNT] = {
    [SINGLE_NONE] = {"none", POINT_COUNT},
    [SINGLE_KILL] = {"kill", POINT_IO},
    [SINGLE_POWER] = {"power", POINT_IO},
    [SINGLE_KILL_PEER] = {"kill-peer", POINT_IO},
    [SINGLE_POWER_PEER] = {"power-peer", POINT_IO},
    [SINGLE_POWER_BOTH] = {"power-both", POINT_IO},
    [SINGLE_CUT] = {"cut", POINT_MESSAGE},
    [SINGLE_CUT_INSIDE] = {"cut-inside", POINT_PAYLOAD},
    [SINGLE_ERROR] = {"error", POINT_MAY_FAIL},
};

/* ---- the points, as they are passed --------------------------------------------------------- */

static void die(struct sim_host *host, bool power)
{
    host_crash(host, power);
    host->boot_at = host->world->now + 5 * MS;
}

static bool strikes(struct sim_single *single, enum sim_single_point point)
{
    uint32_t number = single->passed[point]++;

    if (single->struck || kinds[single->kind].point != point || number != single->at)
        return false;
    single->struck = true;
    return true;
}

bool single_io(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_single *single = &world->single;

    if (world->healing || !strikes(single, POINT_IO))
        return false;
    TRACE(world, "%c: single fault %s", 'A' + host->index, kinds[single->kind].name);
    if (single->kind == SINGLE_KILL || single->kind == SINGLE_POWER ||
        single->kind == SINGLE_POWER_BOTH)
        die(host, single->kind != SINGLE_KILL);
    if (single->kind == SINGLE_KILL_PEER || single->kind == SINGLE_POWER_PEER ||
        single->kind == SINGLE_POWER_BOTH)
        die(host_peer(host), single->kind != SINGLE_KILL_PEER);
    return !host->up;
}

bool single_message(struct sim_host *host, const struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    struct sim_single *single = &world->single;
    bool inside;

    if (world->healing)
        return false;
    inside = flight->message.data_bytes > 0 && strikes(single, POINT_PAYLOAD);
    if (!strikes(single, POINT_MESSAGE) && !inside)
        return false;
    TRACE(world, "%c: single fault %s in %s", 'A' + host->index, kinds[single->kind].name,
          wire_type_name(flight->message.type));
    if (inside)
        net_arrive_in_part(host, flight);
    net_cut_after(host);
    return true;
}

/* The peer's disk has everything: this one may go. */
static bool is_spare(struct sim_host *host)
{
    const struct sim_oracle *oracle = &host->world->oracle;
    struct sim_host *peer = host_peer(host);

    if (!host->attached)
        return true; /* it is tried again */
    if (!peer->up || peer->status.disk != REPLICA_DISK_UPTODATE)
        return false;
    /* A Primary that has lost it makes it a target when they meet, whatever it holds. */
    if (host->status.role == REPLICA_ROLE_PRIMARY &&
        (host->status.peer_disk != REPLICA_DISK_UPTODATE ||
         host->status.replication != REPLICA_REPLICATION_ESTABLISHED))
        return false;
    for (uint32_t i = 0; i < host->world->profile.sectors; i++)
        if (oracle->floor[host->index][i] > oracle->floor[peer->index][i])
            return false;
    return true;
}

bool single_error(struct sim_host *host)
{
    struct sim_world *world = host->world;

    if (world->single.kind > SINGLE_NONE && world->single.kind != SINGLE_ERROR)
        return false;
    if (world->healing || !world->single.counts || !is_spare(host) ||
        !strikes(&world->single, POINT_MAY_FAIL))
        return false;
    TRACE(world, "%c: single fault error", 'A' + host->index);
    return true;
}

/* ---- one case after the other --------------------------------------------------------------- */

static int run_case(struct sim_world *world, const struct script *script, uint64_t seed,
                    enum sim_single_kind kind, uint32_t at)
{
    world_reset(world, seed);
    world->single = (struct sim_single){.kind = kind, .at = at, .counts = true};
    TRACE(world, "script %s, %s at %u", script->name, kinds[kind].name, at);
    script_run(world, script);
    if (!world->failed)
        schedule_converge(world);
    if (!world->failed && kind != SINGLE_NONE && !world->single.struck)
        sim_violation(world, "single", "the point was passed without the fault, and now is not");
    world->counts.singles++;
    if (!world->failed)
        return 0;
    world->counts.violations++;
    printf("sim: single %s:%s:%u seed %llu: %s\n", script->name, kinds[kind].name, at,
           (unsigned long long)seed, world->failure);
    fflush(stdout);
    return REPLICA_E_STATE;
}

static void run_kind(struct sim_world *world, const struct script *script, uint64_t seed,
                     enum sim_single_kind kind, uint32_t points, uint64_t violations_max)
{
    for (uint32_t at = 0; at < points && world->counts.violations < violations_max; at++)
        (void)run_case(world, script, seed, kind, at);
}

static bool is_chosen(const char *name, const char *chosen, size_t length)
{
    return length == 0 || (strlen(name) == length && memcmp(name, chosen, length) == 0);
}

/* One case by name, to be looked at. */
static void run_named(struct sim_world *world, const struct script *script, uint64_t seed,
                      const char *text)
{
    size_t length = strcspn(text, ":");
    unsigned at = 0;

    if (text[length] == ':' && sscanf(text + length + 1, "%u", &at) != 1)
        return;
    for (unsigned kind = 0; kind < SINGLE_COUNT; kind++)
        if (is_chosen(kinds[kind].name, text, length))
            (void)run_case(world, script, seed, (enum sim_single_kind)kind, at);
}

void single_run(struct sim_world *world, const char *chosen, uint64_t seed, uint64_t violations_max)
{
    size_t length = strcspn(chosen, ":");
    const struct script *script;
    struct sim_single seen;

    for (unsigned i = 0; (script = script_at(i)); i++) {
        if (world->counts.violations >= violations_max)
            return;
        if (!is_chosen(script->name, chosen, length))
            continue;
        if (chosen[length] == ':') {
            run_named(world, script, seed, chosen + length + 1);
            continue;
        }
        if (run_case(world, script, seed, SINGLE_NONE, 0))
            continue;
        seen = world->single;
        for (unsigned kind = SINGLE_NONE + 1; kind < SINGLE_COUNT; kind++)
            run_kind(world, script, seed, (enum sim_single_kind)kind,
                     seen.passed[kinds[kind].point], violations_max);
    }
}
