/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * operator.c - the person and the cluster manager: brings hosts up, prepares the first data set,
 * keeps one guest running somewhere, and resolves what only a person may resolve.
 *
 * A prudent operator makes a host Primary only when no acknowledged write can be lost by it
 * (operator_safe) and never while the other one may be Primary. A reckless one (profile.reckless)
 * does, and must then find a split brain and no silent loss. He resolves it in the end, and as soon
 * as it has kept the guest from running anywhere for a while.
 */
#include "sim.h"

enum { LOOK_EVERY_MS = 2, STALLED_MS = 500 };

static bool ready(const struct sim_host *host)
{
    return host->up && host->attached && !host->frozen;
}

static bool is_standalone(const struct sim_host *host)
{
    return host->status.connection == REPLICA_CONNECTION_STANDALONE;
}

static bool is_diskless(const struct sim_host *host)
{
    return host->status.disk == REPLICA_DISK_DISKLESS;
}

/* StandAlone for a reason that only a person can remove. */
static bool has_refused(const struct sim_host *host)
{
    int code = host->status.last_link_code;

    return is_standalone(host) && (code == REPLICA_E_SPLIT_BRAIN || code == REPLICA_E_UNRELATED ||
                                   code == REPLICA_E_PEER_PRIMARY);
}

static bool operator_idle(const struct sim_world *world)
{
    return world->promoting < 0 && world->demoting < 0;
}

/* A prudent operator has nothing to resolve: a split brain is then a violation. But for one that he
 * could not see: a Primary asks the peer to take its data over, dies, and has been promoted again
 * when the peer hears of it. */
static bool shall_resolve(const struct sim_world *world)
{
    return (world->profile.reckless || world->crossed) && world->prepared && operator_idle(world) &&
           (world->healing || world->now - world->stalled_since > STALLED_MS * MS);
}

/* ---- may it be promoted? ----------------------------------------------------------------------
 */

/* True when `ours` descends from, or is, `theirs`; or those data are no good. */
static bool lineage_covers(const struct metadata_superblock *ours, uint32_t flags, uint64_t theirs)
{
    const struct generation *generation = &ours->generation;

    return !(flags & METADATA_CONSISTENT) || lineage_same(generation->current, theirs) ||
           lineage_same(generation->bitmap, theirs) ||
           lineage_same(generation->history[0], theirs) ||
           lineage_same(generation->history[1], theirs);
}

/* `there` answers for a sector that `here` does not have, nor had. No way out in mid-loop, so that
 * it is done for many sectors at once. */
static bool has_more(const struct sim_oracle *oracle, unsigned there, unsigned here,
                     uint32_t sectors)
{
    const uint32_t *theirs = oracle->floor[there];
    const uint32_t *ours = oracle->floor[here], *lost = oracle->lost[here];
    uint32_t more = 0;

    for (uint32_t i = 0; i < sectors; i++)
        more |= (uint32_t)(theirs[i] > ours[i]) & (uint32_t)(theirs[i] > lost[i]);
    return more;
}

bool operator_safe(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_host *peer = host_peer(host);
    const struct sim_oracle *oracle = &world->oracle;
    const struct metadata_superblock *ours = meta_truth(host), *peers = meta_truth(peer);

    if (!ours || (peer->up && peer->status.role == REPLICA_ROLE_PRIMARY) || peer->guest.running ||
        world->promoting == peer->index)
        return false;
    if (!(ours->flags & METADATA_CONSISTENT) || !(ours->flags & METADATA_WAS_UPTODATE))
        return false;
    if (peers && !lineage_covers(ours, peers->flags, peers->generation.current))
        return false;
    if (peer->up && !lineage_covers(ours, peer->status.flags, peer->status.generation.current))
        return false; /* what it says of itself may be newer than what is on its disk */
    return !has_more(oracle, peer->index, host->index, world->profile.sectors);
}

/* ---- answers ------------------------------------------------------------------------------------
 */

static void promoted(struct sim_host *host, int code)
{
    struct sim_world *world = host->world;

    if (world->promoting == host->index)
        world->promoting = -1;
    world->oracle.forced[host->index] = false;
    if (migrate_promoted(host, code))
        return;
    if (code) {
        if (!world->pinned && sim_chance(world, 3))
            world->prefer = 1 - world->prefer;
        return;
    }
    if (host->status.role != REPLICA_ROLE_PRIMARY)
        sim_violation(world, "P6", "%c: promote is answered with success, it is %s",
                      'A' + host->index, replica_role_name(host->status.role));
    world->prepared = true;
    host->discarding = false;
    if (!host->guest.running)
        guest_start(host);
}

static void demoted(struct sim_host *host, int code)
{
    struct sim_world *world = host->world;

    if (world->demoting == host->index)
        world->demoting = -1;
    host->guest.paused = false;
    if (code) {
        guest_wake(host);
        return;
    }
    host->drained = true;
    if (host->status.role == REPLICA_ROLE_PRIMARY)
        sim_violation(world, "P6", "%c: demote is answered with success, it is Primary",
                      'A' + host->index);
}

static void look_demote(struct sim_host *host)
{
    host->world->demoting = host->index;
    host->world->reconnect = true;
    host->guest.paused = true;
    host_command(host, COMMAND_DEMOTE, 0);
}

void operator_answered(struct sim_host *host, enum command_kind kind, uint32_t flags, int code,
                       const char *text)
{
    (void)text;
    policy_answered(host, kind, code);
    switch (kind) {
    case COMMAND_PROMOTE:
        promoted(host, code);
        break;
    case COMMAND_DEMOTE:
        demoted(host, code);
        break;
    case COMMAND_NEW_UUID:
        if (code == 0 && (flags & COMMAND_CLEAR_BITMAP))
            host->world->prepared = true;
        break;
    case COMMAND_DOWN:
        if (code == 0) {
            host->ending = true;
            host->attached = false;
        }
        break;
    case COMMAND_CONNECT:
        if (code == 0)
            host->discarding = (flags & COMMAND_DISCARD_MY_DATA) != 0;
        break;
    case COMMAND_PAUSE_SYNC:
        host->paused_at = host->world->net.streams;
        break;
    case COMMAND_ATTACH:
        host->outgrown = code == REPLICA_E_MISMATCH;
        if (code == REPLICA_E_STATE && host->status.role == REPLICA_ROLE_PRIMARY &&
            operator_idle(host->world))
            look_demote(host);
        break;
    case COMMAND_RESUME_SYNC:
    case COMMAND_DISCONNECT:
    case COMMAND_INVALIDATE:
    case COMMAND_INVALIDATE_REMOTE:
    case COMMAND_OUTDATE:
    case COMMAND_RESUME_IO:
    case COMMAND_VERIFY:
    case COMMAND_RESIZE:
    case COMMAND_DETACH:
    case COMMAND_KIND_COUNT:
        break;
    }
}

/* ---- one look at the screen
 * ---------------------------------------------------------------------- */

static void look_after_host(struct sim_host *host)
{
    struct sim_world *world = host->world;

    if (host->ending) {
        host->ending = false;
        host_end(host);
        host->boot_at = world->now + sim_below(world, 50) * MS;
    }
    if (!host->up) {
        if (host->boot_at <= world->now)
            host_boot(host);
        return;
    }
    if (host->outgrown) {
        host->outgrown = false;
        host_crash(host, false);
        host->shown_bytes = 0; /* it is a new disk, made for the size that there was */
        host->boot_at = world->now;
        return;
    }
    if (!host->attached && !host->frozen && host->commands == 0)
        host_command(host, COMMAND_ATTACH, 0); /* it has failed; a disk may be well again */
    if (host->hold && host->hold_until <= world->now)
        host->hold = false;
    if (ready(host) && !host->hold && host->commands == 0 && is_standalone(host) &&
        !is_diskless(host) && !(shall_resolve(world) && has_refused(host)))
        host_command(host, COMMAND_CONNECT, 0);
    if (ready(host) && host->commands == 0 && is_diskless(host) &&
        host->disk.fails_until <= world->now && host->disk.hangs_until <= world->now &&
        host->meta.in_flight == 0 && core_disk_idle(host->core)) {
        if (sim_chance(world, 3))
            admin_replace(host);
        host_find_disk(host);
        host_command(host, COMMAND_ATTACH, 0);
    }
    if (ready(host) && host->status.frozen && sim_chance(world, 40) &&
        host_peer(host)->status.role != REPLICA_ROLE_PRIMARY)
        host_command(host, COMMAND_RESUME_IO, 0);
    if (ready(host) && operator_idle(world))
        grow_look(host);
    if (ready(host) && host->status.paused_here && (world->healing || sim_chance(world, 40)))
        admin_pause(host);
    if (host->guest.running)
        guest_wake(host);
}

static void ask_promote(struct sim_host *host, uint32_t flags)
{
    struct sim_world *world = host->world;

    world->promoting = host->index;
    world->oracle.forced[host->index] = (flags & COMMAND_FORCE) != 0;
    if (!host_command(host, COMMAND_PROMOTE, flags) && world->promoting == host->index)
        world->promoting = -1;
}

/* The first data set: without a sync for new disks, or by force on one of them. */
static void look_prepare(struct sim_world *world)
{
    struct sim_host *host = &world->host[world->prefer];

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        const struct metadata_superblock *truth = meta_truth(&world->host[i]);

        if (truth && (truth->flags & METADATA_WAS_UPTODATE))
            world->prepared = true; /* nobody forces the other one too */
    }
    if (world->prepared || !ready(host) || host->commands || !operator_idle(world))
        return;
    if (world->profile.start == START_NEW_UUID) {
        if (host->status.connection == REPLICA_CONNECTION_CONNECTED)
            host_command(host, COMMAND_NEW_UUID, COMMAND_CLEAR_BITMAP);
    } else if (host->status.connection == REPLICA_CONNECTION_CONNECTED || sim_chance(world, 20)) {
        ask_promote(host, COMMAND_FORCE);
    }
}

static struct sim_host *running_guest(struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (world->host[i].guest.running)
            return &world->host[i];
    return NULL;
}

static void look_after_guest(struct sim_world *world)
{
    struct sim_host *wanted = &world->host[world->prefer];
    struct sim_host *present = running_guest(world);

    if (!operator_idle(world))
        return;
    if (present) {
        if (present != wanted && ready(present) && ready(wanted) && present->commands == 0 &&
            !host_peer(present)->guest.running) {
            world->demoting = present->index;
            present->guest.paused = !sim_chance(world, 4);
            host_command(present, COMMAND_DEMOTE, 0);
        }
        return;
    }
    if (!world->pinned && !ready(wanted) && sim_chance(world, 4))
        wanted = host_peer(wanted);
    if (ready(wanted) && !host_commanded(wanted, COMMAND_DOWN) && operator_safe(wanted))
        ask_promote(wanted, 0);
    else if (!world->pinned && sim_chance(world, 4))
        world->prefer = 1 - world->prefer;
}

/* New metadata: what it has is nobody's any more, and it gets everything from the other one. */
static void look_abandon(struct sim_host *host)
{
    TRACE(host->world, "operator: %c gives its data up", 'A' + host->index);
    host_crash(host, false);
    host->shown_bytes = 0;
    world_create_metadata(host, 0);
    oracle_abandoned(host);
    host->boot_at = host->world->now;
    host->world->reconnect = true;
}

/* As the core asks for it: the loser's data give way, as far as they differ. */
static void look_discard(struct sim_host *loser)
{
    TRACE(loser->world, "operator: the data of %c are to be discarded", 'A' + loser->index);
    host_command(loser, COMMAND_CONNECT, COMMAND_DISCARD_MY_DATA);
    host_command(host_peer(loser), COMMAND_CONNECT, 0);
}

/* The one where the guest is not to run; but never the only one whose data are worth anything. */
static struct sim_host *look_for_loser(struct sim_world *world)
{
    struct sim_host *loser = &world->host[1 - world->prefer];
    struct sim_host *other = host_peer(loser);

    return other->status.disk <= REPLICA_DISK_INCONSISTENT &&
                   loser->status.disk > REPLICA_DISK_INCONSISTENT
               ? other
               : loser;
}

/* Both refuse each other, as they must after both went on alone. A person takes the role from
 * one, tries again, and if they still refuse gives the data of that one up. A disk that one of them
 * has lost meanwhile is attached first: `connect` refuses without it. True: nobody else shall touch
 * them now. */
static bool look_resolve(struct sim_world *world)
{
    struct sim_host *loser = look_for_loser(world);
    struct sim_host *other = host_peer(loser);
    bool peer_primary = loser->status.last_link_code == REPLICA_E_PEER_PRIMARY ||
                        other->status.last_link_code == REPLICA_E_PEER_PRIMARY;

    if (!ready(loser) || !ready(other) || loser->commands || other->commands ||
        is_diskless(loser) || is_diskless(other) || !(has_refused(loser) || has_refused(other)))
        return false;
    if (!is_standalone(loser) || !is_standalone(other)) {
        host_command(is_standalone(loser) ? loser : other, COMMAND_CONNECT, 0);
    } else if (loser->status.role == REPLICA_ROLE_PRIMARY) {
        look_demote(loser);
    } else if (other->status.role == REPLICA_ROLE_PRIMARY && peer_primary) {
        look_demote(other);
    } else if (world->reconnect) {
        world->reconnect = false;
        host_command(loser, COMMAND_CONNECT, 0);
        host_command(other, COMMAND_CONNECT, 0);
    } else if (sim_chance(world, 2)) {
        look_discard(loser);
    } else {
        look_abandon(loser);
    }
    return true;
}

/* No guest could be started here, or it runs and is frozen for good: nobody types resume-io while
 * the peer is Primary too. */
static bool is_stuck(struct sim_host *host)
{
    if (!ready(host))
        return false;
    if (host->guest.running)
        return host->status.frozen && host_peer(host)->status.role == REPLICA_ROLE_PRIMARY;
    return !operator_safe(host);
}

/* Since when has no guest got on, and could none be started? */
static void look_stalled(struct sim_world *world)
{
    bool stalled = world->prepared && operator_idle(world);

    for (unsigned i = 0; i < SIM_HOSTS && stalled; i++)
        stalled = is_stuck(&world->host[i]);
    if (!stalled)
        world->stalled_since = world->now;
}

void operator_look(struct sim_world *world)
{
    bool resolving;

    if (world->operator_off)
        return;
    look_stalled(world);
    resolving = shall_resolve(world) && look_resolve(world);
    for (unsigned i = 0; i < SIM_HOSTS && !resolving; i++)
        look_after_host(&world->host[i]);
    if (resolving)
        TRACE(world, "operator: resolves");
    else if (migrate_look(world))
        TRACE(world, "operator: lets the migration go on");
    else if (!world->prepared)
        look_prepare(world);
    else
        look_after_guest(world);
    world_at(world, SIM_OPERATOR, 0, world->now + LOOK_EVERY_MS * MS, 0, 0);
}
