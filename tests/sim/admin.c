/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * admin.c - what somebody types at any moment, and what the handlers' scripts do.
 *
 * Data are given up only where the other host's disk holds all of it: what the guest was told
 * must be there after any of this. Outdating a host is done only while the other one is not.
 */
#include "sim.h"

enum { STATUS_SHIFT = 24 }; /* in the argument of SIM_HANDLER */

static bool is_typable(const struct sim_host *host)
{
    return host->up && host->attached && !host->frozen;
}

/* Somebody is giving this host's data up at this very moment. */
static bool is_given_up(struct sim_host *host)
{
    return host_commanded(host, COMMAND_INVALIDATE) || host_commanded(host, COMMAND_OUTDATE) ||
           host_commanded(host_peer(host), COMMAND_INVALIDATE_REMOTE);
}

/* The peer's disk has what counts of this one's. */
static bool peer_has_all(struct sim_host *host)
{
    const struct sim_oracle *oracle = &host->world->oracle;
    struct sim_host *peer = host_peer(host);
    const struct metadata_superblock *truth = meta_truth(peer);
    uint32_t good = METADATA_CONSISTENT | METADATA_WAS_UPTODATE;

    if (!truth || (truth->flags & good) != good || peer->status.disk != REPLICA_DISK_UPTODATE ||
        is_given_up(peer))
        return false;
    if (peer->stream && !host->stream) /* it still hears that it is the older one, maybe */
        return false;
    for (uint32_t i = 0; i < host->world->profile.sectors; i++)
        if (oracle->floor[host->index][i] > oracle->floor[peer->index][i])
            return false;
    return true;
}

/* Nothing that counts is lost when `host` is overwritten with what its peer has. */
static bool is_spare(struct sim_host *host)
{
    return host->status.role != REPLICA_ROLE_PRIMARY && peer_has_all(host);
}

void admin_replace(struct sim_host *host)
{
    const struct metadata_superblock *theirs = meta_truth(host_peer(host));

    if (!peer_has_all(host) || theirs->layout.data_bytes < host->status.data_bytes)
        return;
    TRACE(host->world, "%c: a new disk", 'A' + host->index);
    disk_reset(host, 1 + host->index);
    world_create_metadata(host, 0);
    oracle_abandoned(host);
}

void admin_invalidate(struct sim_host *host)
{
    if (is_typable(host) && is_spare(host))
        host_command(host, COMMAND_INVALIDATE, 0);
}

void admin_invalidate_remote(struct sim_host *host)
{
    if (is_typable(host) && is_spare(host_peer(host)))
        host_command(host, COMMAND_INVALIDATE_REMOTE, 0);
}

/* By its disk; and by its status, while it has one: the end of a resync may be on the disk of a
 * target that was cut off, and does not count on it. */
static bool is_good(struct sim_host *host)
{
    const struct metadata_superblock *truth = meta_truth(host);

    if ((host->attached && host->status.disk < REPLICA_DISK_CONSISTENT) || is_given_up(host))
        return false;
    return truth && (truth->flags & METADATA_CONSISTENT) && (truth->flags & METADATA_WAS_UPTODATE);
}

bool admin_outdate(struct sim_host *host)
{
    return is_typable(host) && is_good(host_peer(host)) && host_command(host, COMMAND_OUTDATE, 0);
}

void admin_pause(struct sim_host *host)
{
    if (is_typable(host))
        host_command(host, host->status.paused_here ? COMMAND_RESUME_SYNC : COMMAND_PAUSE_SYNC, 0);
}

/* All of it, or any stretch, past the end too. */
void admin_verify(struct sim_host *host)
{
    struct sim_world *world = host->world;
    uint64_t start = 0, stop = 0;

    if (sim_chance(world, 2)) {
        start = sim_below(world, grow_sectors(host) + 16) * (uint64_t)REPLICA_SECTOR_BYTES;
        stop = start + sim_below(world, 512) * (uint64_t)REPLICA_SECTOR_BYTES;
    }
    if (is_typable(host))
        host_command_at(host, COMMAND_VERIFY, 0, start, stop);
}

/* It is refused, or does what it should; no time is the wrong one. */
void admin_type(struct sim_host *host)
{
    static const struct {
        enum command_kind kind;
        uint32_t flags;
    } lines[] = {
        {COMMAND_NEW_UUID, 0}, {COMMAND_NEW_UUID, 0},    {COMMAND_NEW_UUID, COMMAND_CLEAR_BITMAP},
        {COMMAND_CONNECT, 0},  {COMMAND_RESUME_SYNC, 0}, {COMMAND_ATTACH, 0},
    };
    uint32_t i = sim_below(host->world, sizeof lines / sizeof *lines);

    if (is_typable(host) && (lines[i].kind != COMMAND_NEW_UUID || host->world->prepared))
        host_command(host, lines[i].kind, lines[i].flags);
}

/* ---- handlers ------------------------------------------------------------------------------ */

/* fence-peer by a path of its own: outdates a peer that runs, shoots it, or finds it dead. */
static int fence(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_host *peer = host_peer(host);

    if (is_typable(peer) && peer->status.role == REPLICA_ROLE_PRIMARY)
        return 6;
    if ((!peer->up || world->healing) && !world->fence_fails)
        return 5;
    if (world->fence_fails || sim_chance(world, 12))
        return 1;
    if (is_typable(peer) && sim_chance(world, 2) && admin_outdate(peer))
        return 4;
    host_crash(peer, true);
    peer->boot_at = world->now + sim_below(world, 200) * MS;
    return 7;
}

/* What the scripts of pri-lost and pri-lost-after-sb do to a Primary that has lost, if nobody was
 * faster. */
static void reboot(struct sim_host *host)
{
    if (host->status.role != REPLICA_ROLE_PRIMARY ||
        host->status.connection != REPLICA_CONNECTION_STANDALONE)
        return;
    host_crash(host, true);
    host->boot_at = host->world->now + sim_below(host->world, 50) * MS;
}

/* fence-peer has done what it could. True: it comes to its end later, with this status. */
static bool fence_ends_late(struct sim_host *host, uint32_t argument, int status)
{
    struct sim_world *world = host->world;
    uint64_t after = world->fence_ends_after;

    world->fence_ends_after = 0;
    if (after)
        world_at(world, SIM_HANDLER, host->index, world->now + after,
                 argument | (uint32_t)(status + 1) << STATUS_SHIFT, host->process);
    return after > 0;
}

static int run_handler(struct sim_host *host, enum core_handler handler)
{
    int status;

    if (handler != HANDLER_FENCE_PEER)
        return sim_chance(host->world, 16);
    status = fence(host);
    policy_fenced(host, status);
    return status;
}

void admin_handler(struct sim_host *host, uint32_t argument)
{
    struct event event = {.kind = EVENT_HANDLER_DONE};
    uint32_t status = argument >> STATUS_SHIFT; /* and 1: it has run already */

    event.handler_done.handler = (enum core_handler)(argument & 0xff);
    event.handler_done.serial = argument >> 8 & 0xffff;
    event.handler_done.status =
        status ? (int)status - 1 : run_handler(host, event.handler_done.handler);
    if (event.handler_done.handler == HANDLER_FENCE_PEER && !status &&
        fence_ends_late(host, argument, event.handler_done.status))
        return;
    TRACE(host->world, "%c: handler %d ends with %d", 'A' + host->index,
          (int)event.handler_done.handler, event.handler_done.status);
    if (host->up)
        host_event(host, &event);
    if (event.handler_done.handler == HANDLER_PRI_LOST ||
        event.handler_done.handler == HANDLER_PRI_LOST_AFTER_SB)
        reboot(host);
}
