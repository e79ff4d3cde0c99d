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
 *   cut                         the link is lost before a message: neither it nor any after it
 * comes cut-inside                  the link is lost in the middle of a message's data, some of
 * which is in its place already
 *
 * What a script waits for need not come after a fault; the oracle, and convergence, judge the rest.
 */
#include <string.h>

#include "script.h"

static const struct {
    const char *name;
    bool link; /* it strikes at a message */
} kinds[SINGLE_COUNT] = {
    [SINGLE_NONE] = {"none", false},
    [SINGLE_KILL] = {"kill", false},
    [SINGLE_POWER] = {"power", false},
    [SINGLE_KILL_PEER] = {"kill-peer", false},
    [SINGLE_POWER_PEER] = {"power-peer", false},
    [SINGLE_POWER_BOTH] = {"power-both", false},
    [SINGLE_CUT] = {"cut", true},
    [SINGLE_CUT_INSIDE] = {"cut-inside", true},
};

/* ---- the points, as they are passed --------------------------------------------------------- */

static void die(struct sim_host *host, bool power)
{
    host_crash(host, power);
    host->boot_at = host->world->now + 5 * MS;
}

static bool strikes(struct sim_single *single, bool link, uint32_t number)
{
    if (single->struck || single->kind == SINGLE_NONE || kinds[single->kind].link != link ||
        number != single->at)
        return false;
    single->struck = true;
    return true;
}

bool single_io(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_single *single = &world->single;

    if (world->healing || !strikes(single, false, single->ios++))
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
    bool inside = single->kind == SINGLE_CUT_INSIDE, payload = flight->message.data_bytes > 0;
    uint32_t number = inside ? single->payloads : single->messages;

    if (world->healing)
        return false;
    single->messages++;
    single->payloads += payload;
    if ((inside && !payload) || !strikes(single, true, number))
        return false;
    TRACE(world, "%c: single fault %s in %s", 'A' + host->index, kinds[single->kind].name,
          wire_type_name(flight->message.type));
    if (inside)
        net_arrive_in_part(host, flight);
    net_cut(world);
    return true;
}

/* ---- one case after the other --------------------------------------------------------------- */

static int run_case(struct sim_world *world, const struct script *script, uint64_t seed,
                    enum sim_single_kind kind, uint32_t at)
{
    world_reset(world, seed);
    world->single = (struct sim_single){.kind = kind, .at = at};
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
                     kind == SINGLE_CUT_INSIDE ? seen.payloads
                     : kinds[kind].link        ? seen.messages
                                               : seen.ios,
                     violations_max);
    }
}
