/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrate.c - `xl migrate` as the disk sees it: the guest is suspended here, its disk is attached
 * over there, which asks for the Primary role; then it runs there, or, when anything has failed, it
 * runs here again on the same ring. Also the two shells' part in a handover: who stands still.
 *
 *   SUSPENDED  the memory stream is ending; then the target asks for the role
 *   ASKED      until it is answered, or the target is gone
 *   BACK       it has failed: the guest runs here again, as soon as the role is here
 */
#include <string.h>

#include "sim.h"

static bool ready(const struct sim_host *host)
{
    return host->up && host->attached && !host->frozen;
}

void migrate_begin(struct sim_world *world)
{
    struct sim_migration *migration = &world->migration;

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *host = &world->host[i];

        if (migration->phase != MIGRATE_NONE || !host->guest.running || host->guest.paused ||
            !host->up || host_peer(host)->guest.running || world->promoting >= 0 ||
            world->demoting >= 0)
            continue;
        *migration = (struct sim_migration){.phase = MIGRATE_SUSPENDED,
                                            .from = (uint8_t)i,
                                            .due = world->now + sim_below(world, 3000) * US,
                                            .fails = sim_chance(world, 3)};
        host->guest.suspended = true;
        TRACE(world, "%c: the guest is suspended, to move to %c", 'A' + (int)i, 'B' - (int)i);
        return;
    }
}

static void fail(struct sim_world *world)
{
    TRACE(world, "%c: the migration has failed, the guest runs here again",
          'A' + world->migration.from);
    world->migration.phase = MIGRATE_BACK;
    world->host[world->migration.from].guest.suspended = false;
}

static void arrive(struct sim_world *world)
{
    struct sim_host *from = &world->host[world->migration.from], *to = host_peer(from);

    if (from->guest.in_flight)
        sim_violation(world, "P6", "%c: %u requests are open after the role was handed over",
                      'A' + from->index, from->guest.in_flight);
    guest_start(to);
    oracle_guest_moved(from, to);
    guest_stop(from);
    world->prefer = to->index;
    world->migration.phase = MIGRATE_NONE;
    world->counts.migrations++;
}

bool migrate_promoted(struct sim_host *host, int code)
{
    struct sim_world *world = host->world;
    struct sim_migration *migration = &world->migration;
    bool target = host->index != migration->from;

    if (migration->phase == MIGRATE_NONE)
        return false;
    if (migration->phase == MIGRATE_ASKED && target && (code || migration->fails))
        fail(world);
    else if (migration->phase == MIGRATE_ASKED && target)
        arrive(world);
    return true;
}

static void ask(struct sim_world *world, struct sim_host *host, uint32_t flags)
{
    world->promoting = host->index;
    if (!host_command(host, COMMAND_PROMOTE, flags) && world->promoting == host->index)
        world->promoting = -1;
}

/* The target's shell gives back what it took for a guest that never ran. */
static void give_back(struct sim_world *world, struct sim_host *to)
{
    if (!ready(to) || to->commands || to->status.role != REPLICA_ROLE_PRIMARY ||
        world->demoting >= 0 || sim_chance(world, 2))
        return;
    world->demoting = to->index;
    host_command(to, COMMAND_DEMOTE, 0);
}

/* Over the link only; but a reckless operator does not wait for one. */
static uint32_t back_flags(struct sim_world *world)
{
    return world->profile.reckless && sim_chance(world, 8) ? 0 : COMMAND_TAKE_BACK;
}

static void look_back(struct sim_world *world, struct sim_host *from)
{
    if (from->status.role == REPLICA_ROLE_PRIMARY && from->commands == 0 && !from->asked) {
        from->guest.held = false;
        world->migration.phase = MIGRATE_NONE;
        world->prefer = from->index;
        guest_wake(from);
        return;
    }
    if (world->promoting >= 0)
        return;
    if (sim_chance(world, 2))
        give_back(world, host_peer(from));
    else if (ready(from) && from->commands == 0 && from->status.role != REPLICA_ROLE_PRIMARY)
        ask(world, from, back_flags(world));
}

bool migrate_look(struct sim_world *world)
{
    struct sim_migration *migration = &world->migration;
    struct sim_host *from = &world->host[migration->from], *to = host_peer(from);

    if (migration->phase == MIGRATE_NONE)
        return false;
    if (!from->guest.running) { /* died with its host; so does the half-made copy */
        migration->phase = MIGRATE_NONE;
        return false;
    }
    switch (migration->phase) {
    case MIGRATE_SUSPENDED:
        if (world->now < migration->due || world->promoting >= 0)
            break;
        if (!ready(to) || to->commands) {
            fail(world);
            break;
        }
        migration->phase = MIGRATE_ASKED;
        ask(world, to, COMMAND_CONNECTED);
        break;
    case MIGRATE_ASKED:
        if (world->promoting != to->index) /* it died */
            fail(world);
        else if (sim_chance(world, 200)) /* xl was killed, or its script took too long */
            migration->fails = true;
        break;
    case MIGRATE_BACK:
        look_back(world, from);
        break;
    case MIGRATE_NONE:
        break;
    }
    return true;
}

/* ---- the shells ------------------------------------------------------------------------------ */

void migrate_asked(struct sim_host *host, uint32_t number, bool take_back)
{
    host->asked = number;
    host->asked_back = take_back;
    world_at(host->world, SIM_HANDOVER, host->index,
             host->world->now + sim_below(host->world, 500) * US, number, host->process);
}

void migrate_answer(struct sim_host *host, uint32_t number)
{
    struct sim_guest *guest = &host->guest;
    bool still = host->asked_back ? !guest->running : guest->running && guest->suspended;
    struct event event = {.kind = EVENT_HANDOVER_ANSWER,
                          .handover_answer = {.number = number, .text = "its guest runs there"}};

    if (host->asked != number)
        return;
    /* What it asked for is still under way: some shells wait for it, the core does in any case. */
    if (still && guest->in_flight && sim_chance(host->world, 2)) {
        guest->held = true;
        world_at(host->world, SIM_HANDOVER, host->index, host->world->now + 200 * US, number,
                 host->process);
        return;
    }
    guest->held = still;
    event.handover_answer.code = still ? 0 : REPLICA_E_PEER_PRIMARY;
    host_event(host, &event);
}

void migrate_ended(struct sim_host *host, uint32_t number, bool gone)
{
    if (host->asked != number)
        sim_violation(host->world, "core.h", "%c: the end of no question", 'A' + host->index);
    host->asked = 0;
    if (gone && host->guest.running && !host->guest.held)
        sim_violation(host->world, "P6", "%c: hands the role over, and its guest runs",
                      'A' + host->index);
    if (!gone)
        host->guest.held = false;
    guest_wake(host);
}
