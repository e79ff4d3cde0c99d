/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * script.c - the canonical courses of events, and what runs one. A step that a fault has made
 * impossible is left out; what is waited for may then fail to come.
 */
#include "script.h"

#include <string.h>

/* ---- what is waited for --------------------------------------------------------------------- */

static bool b_target(const struct sim_world *world)
{
    return world->host[1].status.replication == REPLICA_REPLICATION_SYNC_TARGET;
}

static bool verify_over(const struct sim_world *world)
{
    return world->host[0].status.replication == REPLICA_REPLICATION_ESTABLISHED &&
           world->host[1].status.replication == REPLICA_REPLICATION_ESTABLISHED;
}

static bool a_frozen(const struct sim_world *world)
{
    return world->host[0].status.frozen;
}

static bool a_goes_on(const struct sim_world *world)
{
    return !world->host[0].status.io_suspended && guests_idle(world);
}

static bool migrated(const struct sim_world *world)
{
    return world->migration.phase == MIGRATE_NONE && world->promoting < 0;
}

/* Both have more data than in the beginning, and the new part is in sync. */
static bool both_larger(const struct sim_world *world)
{
    return grow_common(world) > world->profile.first_sectors && schedule_settled(world);
}

/* ---- the scripts ------------------------------------------------------------------------------
 */

#define WAIT(done)             \
    {                          \
        DO_WAIT, .until = done \
    }
#define SETTLED WAIT(established)

/* Devices that may grow, twice. */
#define GROWS .sectors = (8 + 12) * 65536 / REPLICA_SECTOR_BYTES + SIM_META_SECTORS
#define BOTH_GROW(windows)    \
    {DO_GROW, (windows), 0},  \
    {                         \
        DO_GROW, (windows), 1 \
    }

static const struct script scripts[] = {
    {"first-sync",
     "primary --force on new disks, writes meanwhile",
     {.start = START_FIRST_SYNC},
     {WAIT(a_primary), {DO_START, 4}, {DO_RUN, 1}, {DO_START, 4}, SETTLED, {DO_WRITE, 4}}},
    {"new-current-uuid",
     "new disks without a sync",
     {.start = START_NEW_UUID},
     {SETTLED, {DO_WRITE, 8}, {DO_FLUSH}}},
    {"writes-and-flush",
     "writes, some forced, and flushes",
     {0},
     {SETTLED, {DO_WRITE, 8}, {DO_FLUSH}, {DO_FUA, 4}, {DO_START, 8}, {DO_FLUSH}, {DO_READ, 4}}},
    {"discard",
     "discards and write-zeroes between writes",
     {0},
     {SETTLED, {DO_WRITE, 8}, {DO_DISCARD, 8}, {DO_WRITE, 4}, {DO_DISCARD, 4}, {DO_FLUSH}}},
    {"eviction",
     "more extents than the activity log holds",
     {.al_extents = 2},
     {SETTLED, {DO_WRITE, 24}, {DO_START, 8}, {DO_FLUSH}}},
    {"demote-promote",
     "secondary, and primary again",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_DEMOTE, .host = 0},
      WAIT(both_secondary),
      WAIT(a_primary),
      {DO_WRITE, 4}}},
    {"switch",
     "secondary here, primary there",
     {0},
     {SETTLED, {DO_START, 4}, {DO_PREFER, .host = 1}, WAIT(b_primary), {DO_WRITE, 4}}},
    {"handover",
     "a guest migrates",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_START, 4},
      {DO_MIGRATE},
      WAIT(migrated),
      WAIT(b_primary),
      {DO_WRITE, 4}}},
    {"take-back",
     "a migration fails after the role was handed over",
     {0},
     {SETTLED, {DO_START, 4}, {DO_MIGRATE, 1}, WAIT(migrated), {DO_WRITE, 4}}},
    {"reconnect",
     "the link is cut, writes alone, a resync",
     {0},
     {SETTLED, {DO_WRITE, 4}, {DO_BLOCK, 150}, {DO_WRITE, 12}, SETTLED, {DO_WRITE, 4}}},
    {"resync-and-writes",
     "writes while the resync runs",
     {0},
     {SETTLED,
      {DO_BLOCK, 150},
      {DO_WRITE, 16},
      WAIT(b_target),
      {DO_START, 4},
      {DO_RUN, 1},
      {DO_START, 4},
      SETTLED}},
    {"disconnect",
     "disconnect and connect on the Secondary",
     {0},
     {SETTLED, {DO_HOLD, 20, 1}, {DO_WRITE, 8}, SETTLED}},
    {"verify",
     "a verification under load",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_COMMAND, COMMAND_VERIFY, 0},
      {DO_START, 4},
      WAIT(verify_over),
      {DO_WRITE, 4}}},
    {"new-uuid",
     "new-current-uuid on the Primary, under load",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_START, 4},
      {DO_COMMAND, COMMAND_NEW_UUID, 0},
      {DO_WRITE, 8},
      SETTLED}},
    {"invalidate",
     "the Secondary's data are given up",
     {0},
     {SETTLED, {DO_WRITE, 8}, {DO_INVALIDATE, .host = 1}, WAIT(syncing), {DO_START, 4}, SETTLED}},
    {"invalidate-remote",
     "the same, typed on the Primary",
     {0},
     {SETTLED,
      {DO_WRITE, 8},
      {DO_INVALIDATE_REMOTE, .host = 0},
      WAIT(syncing),
      {DO_START, 4},
      SETTLED}},
    {"outdate",
     "the Secondary is outdated while it is disconnected",
     {0},
     {SETTLED, {DO_HOLD, 30, 1}, {DO_RUN, 5}, {DO_OUTDATE, .host = 1}, {DO_WRITE, 4}, SETTLED}},
    {"split-brain",
     "both go on alone; a person resolves it",
     {.reckless = true},
     {SETTLED,
      {DO_BLOCK, 300},
      {DO_WRITE, 4},
      {DO_PROMOTE, .host = 1},
      WAIT(b_primary),
      {DO_WRITE, 4},
      WAIT(one_standalone)}},
    {"after-sb",
     "both go on alone; a policy resolves it",
     {.reckless = true, .after_sb = {.none = SPLIT_0PRI_DISCARD_YOUNGER_PRIMARY}},
     {SETTLED,
      {DO_BLOCK, 300},
      {DO_WRITE, 4},
      {DO_PROMOTE, .host = 1},
      WAIT(b_primary),
      {DO_WRITE, 4},
      {DO_DEMOTE, .host = 0},
      {DO_DEMOTE, .host = 1},
      WAIT(both_secondary),
      SETTLED}},
    {"detach",
     "a Primary lets go of its disk, and gets it back",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_COMMAND, COMMAND_DETACH, 0},
      {DO_START, 4},
      {DO_RUN, 1},
      {DO_START, 4},
      SETTLED,
      {DO_WRITE, 4}}},
    {"detach-cut",
     "a Primary that has let go of its disk loses its peer, and goes on through it",
     {0},
     {SETTLED,
      {DO_WRITE, 4},
      {DO_COMMAND, COMMAND_DETACH, 0},
      {DO_RUN, 1},
      {DO_CUT},
      {DO_START, 4},
      SETTLED,
      {DO_WRITE, 4}}},
    {"detach-secondary",
     "a Secondary does",
     {0},
     {SETTLED, {DO_WRITE, 4}, {DO_COMMAND, COMMAND_DETACH, 1}, {DO_WRITE, 4}, SETTLED}},
    {"pass-on",
     "on-io-error pass_on: reads and writes, some forced",
     {.pass_on = true},
     {SETTLED, {DO_WRITE, 4}, {DO_READ, 4}, {DO_FUA, 4}, {DO_START, 4}, {DO_READ, 4}, {DO_FLUSH}}},
    {"fencing",
     "resource-only: the peer is fenced, writes go on meanwhile",
     {.fencing = CORE_FENCING_RESOURCE_ONLY},
     {SETTLED, {DO_BLOCK, 150}, {DO_START, 4}, WAIT(a_goes_on), {DO_WRITE, 4}, SETTLED}},
    {"stonith",
     "resource-and-stonith: frozen until the peer is fenced",
     {.fencing = CORE_FENCING_RESOURCE_AND_STONITH},
     {SETTLED,
      {DO_BLOCK, 150},
      {DO_START, 4}, /* frozen for as long as the handler runs, which may be no time at all */
      WAIT(a_goes_on),
      {DO_WRITE, 4},
      SETTLED}},
    {"freeze",
     "on-peer-loss freeze: until the peer is back",
     {.freeze = true},
     {SETTLED, {DO_BLOCK, 100}, {DO_START, 4}, WAIT(a_frozen), SETTLED, {DO_WRITE, 4}}},
    {"resize",
     "both devices grow, the Primary's operator types resize, writes meanwhile",
     {GROWS},
     {SETTLED,
      {DO_WRITE, 8},
      BOTH_GROW(1),
      {DO_START, 4},
      {DO_RESIZE, .host = 0},
      {DO_START, 4},
      WAIT(both_larger),
      {DO_WRITE, 8},
      {DO_FLUSH}}},
    {"resize-internal",
     "the same with internal metadata, which move; typed on the Secondary",
     {GROWS, .internal = 3},
     {SETTLED,
      {DO_WRITE, 8},
      BOTH_GROW(2),
      {DO_START, 4},
      {DO_RESIZE, .host = 1},
      {DO_START, 4},
      WAIT(both_larger),
      {DO_WRITE, 8},
      {DO_FLUSH}}},
    {"resize-clean",
     "internal metadata here, external there, --assume-clean",
     {GROWS, .internal = 1, .clean = true},
     {SETTLED,
      {DO_WRITE, 4},
      BOTH_GROW(1),
      {DO_START, 4},
      {DO_RESIZE, 1, .host = 0},
      {DO_START, 4},
      WAIT(both_larger),
      {DO_WRITE, 8}}},
    {"resize-one-side",
     "one device grows and resize is refused; then the other one does",
     {GROWS, .internal = 2},
     {SETTLED,
      {DO_GROW, 1, .host = 0},
      {DO_RESIZE, .host = 0},
      {DO_WRITE, 4},
      {DO_GROW, 1, .host = 1},
      {DO_RESIZE, .host = 0},
      WAIT(both_larger),
      {DO_WRITE, 8}}},
    {"down-up",
     "down and up of the Secondary",
     {0},
     {SETTLED, {DO_WRITE, 4}, {DO_COMMAND, COMMAND_DOWN, 1}, {DO_RUN, 5}, {DO_WRITE, 4}, SETTLED}},
    {"secondary-power",
     "the Secondary loses power and comes back",
     {0},
     {SETTLED, {DO_WRITE, 8}, {DO_POWER, 10, 1}, {DO_WRITE, 8}, SETTLED, {DO_WRITE, 4}}},
    {"primary-power",
     "the Primary loses power and comes back",
     {0},
     {SETTLED,
      {DO_WRITE, 8},
      {DO_START, 4},
      {DO_POWER, 10, 0},
      WAIT(a_primary),
      SETTLED,
      {DO_WRITE, 4}}},
};

const struct script *script_at(unsigned index)
{
    return index < sizeof scripts / sizeof scripts[0] ? &scripts[index] : NULL;
}

/* ---- running one --------------------------------------------------------------------------------
 */

static struct sim_host *guests_host(struct sim_world *world)
{
    for (unsigned i = SIM_HOSTS; i-- > 0;) {
        struct sim_guest *guest = &world->host[i].guest;

        if (guest->running && !guest->paused && !guest->suspended && !guest->held &&
            !world->host[i].frozen)
            return &world->host[i];
    }
    return NULL;
}

static enum replica_op step_op(const struct script_step *step, uint32_t i)
{
    if (step->what == DO_READ)
        return REPLICA_OP_READ;
    if (step->what == DO_FLUSH)
        return REPLICA_OP_FLUSH;
    if (step->what == DO_DISCARD)
        return i % 2 ? REPLICA_OP_WRITE_ZEROES : REPLICA_OP_DISCARD;
    return REPLICA_OP_WRITE;
}

static void ask_guest(struct sim_world *world, const struct script_step *step)
{
    struct sim_host *host = guests_host(world);
    uint32_t count = step->what == DO_FLUSH ? 1 : step->amount;

    for (uint32_t i = 0; i < count && host && host->up && !world->failed; i++) {
        uint32_t length = 1 + sim_below(world, 12);
        uint32_t at = sim_below(world, grow_sectors(host) - length);

        if (step->what == DO_FLUSH)
            at = length = 0;
        guest_issue(host, step_op(step, i), step->what == DO_FUA, at, length);
        if (step->what != DO_START && i % 4 == 3)
            world_until(world, guests_idle, SECOND);
    }
    if (step->what != DO_START)
        world_until(world, guests_idle, SECOND);
}

static bool may_type(const struct sim_host *host)
{
    return host->up && host->attached && !host->frozen;
}

static void type(struct sim_host *host, const struct script_step *step)
{
    struct sim_world *world = host->world;
    bool idle = world->promoting < 0 && world->demoting < 0;

    if (!may_type(host))
        return;
    if (step->what == DO_PROMOTE && idle && !host->guest.running) {
        world->promoting = host->index;
        host_command(host, COMMAND_PROMOTE, 0);
    } else if (step->what == DO_DEMOTE && idle && host->guest.running) {
        world->demoting = host->index;
        host->guest.paused = true;
        host_command(host, COMMAND_DEMOTE, 0);
    } else if (step->what == DO_HOLD) {
        host->hold = true;
        host->hold_until = world->now + step->amount * MS;
        host_command(host, COMMAND_DISCONNECT, 0);
    } else if (step->what == DO_RESIZE) {
        host_command(host, COMMAND_RESIZE, step->amount ? COMMAND_ASSUME_CLEAN : 0);
    } else if (step->what == DO_COMMAND && (step->amount != COMMAND_DOWN || !host->guest.running)) {
        host_command(host, (enum command_kind)step->amount, 0);
    }
}

static void power(struct sim_host *host, uint64_t back_after)
{
    host_crash(host, true);
    host->boot_at = host->world->now + back_after;
}

static void await(struct sim_world *world, const struct script_step *step, unsigned number)
{
    if (!world_until(world, step->until, 2 * SECOND) && !world->single.struck)
        sim_violation(world, "script", "what step %u waits for never came", number);
}

static void run_step(struct sim_world *world, const struct script_step *step, unsigned number)
{
    struct sim_host *host = &world->host[step->host];

    switch (step->what) {
    case DO_END:
        break;
    case DO_WRITE:
    case DO_FUA:
    case DO_START:
    case DO_DISCARD:
    case DO_READ:
    case DO_FLUSH:
        ask_guest(world, step);
        break;
    case DO_WAIT:
        await(world, step, number);
        break;
    case DO_RUN:
        world_run(world, step->amount * MS);
        break;
    case DO_BLOCK:
        net_block(world, 3, step->amount * MS);
        break;
    case DO_CUT:
        net_cut(world);
        break;
    case DO_POWER:
        power(host, step->amount * MS);
        break;
    case DO_PREFER:
        world->prefer = step->host;
        break;
    case DO_PROMOTE:
    case DO_DEMOTE:
    case DO_COMMAND:
    case DO_HOLD:
    case DO_RESIZE:
        type(host, step);
        break;
    case DO_GROW:
        grow_device(host, step->amount);
        break;
    case DO_MIGRATE:
        migrate_begin(world);
        world->migration.fails = step->amount > 0;
        break;
    case DO_INVALIDATE:
        admin_invalidate(host);
        break;
    case DO_INVALIDATE_REMOTE:
        admin_invalidate_remote(host);
        break;
    case DO_OUTDATE:
        admin_outdate(host);
        break;
    }
}

static void profile_merge(struct sim_profile *profile, const struct sim_profile *differs)
{
    *profile = quiet_profile;
    profile->start = differs->start;
    profile->reckless = differs->reckless;
    profile->fencing = differs->fencing;
    profile->freeze = differs->freeze;
    profile->after_sb = differs->after_sb;
    profile->pass_on = differs->pass_on;
    profile->wire = true;
    profile->internal = differs->internal;
    profile->clean = differs->clean;
    if (differs->sectors)
        profile->sectors = differs->sectors;
    if (differs->al_extents)
        profile->al_extents = differs->al_extents;
}

void script_run(struct sim_world *world, const struct script *script)
{
    profile_merge(&world->profile, &script->profile);
    if (!pair_boot(world))
        return;
    for (unsigned i = 0; script->step[i].what != DO_END && !world->failed; i++)
        run_step(world, &script->step[i], i);
}
