/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * liveness.c - every deadline of the link, and that of the disk. The others report facts; what
 * follows is decided here.
 *
 *   An answer is due and nothing was heard for `timeout`: ping.
 *   Nothing was heard for `ping_interval`: ping.
 *   A ping is out and nothing was heard for `ping_timeout`: the peer is lost.
 *   The oldest answer is overdue by timeout * ko_count although the peer pings: lost.
 *
 *   The local disk owes an answer for `disk_timeout`: it is given up.
 *
 * Any message counts as hearing the peer: a pong may stand behind megabytes of data.
 */
#include "core_private.h"

static uint64_t later(uint64_t from, uint64_t by)
{
    return from > UINT64_MAX - by ? UINT64_MAX : from + by;
}

static bool has_stream(const struct core *core)
{
    return core->session.link == LINK_UP;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Somebody on this node waits for what the session will say. */
static bool is_waited_for(const struct core *core)
{
    return core->command.phase != COMMAND_IDLE || core->start.first || core->held.first ||
           (core->flushes.first && core->mode == MODE_UNRECORDED && core->inherited);
}

/* In a handshake, while it is the peer's turn: pings may go on for ever between two nodes of which
 * one never gets to its HELLO. A target's before-resync-target may take as long as it likes: it
 * would only be run again. */
static bool is_peers_turn(const struct core *core)
{
    switch (core->session.phase) {
    case SESSION_HELLO:
    case SESSION_STATE:
    case SESSION_READY:
    case SESSION_MAP_SEND:
    case SESSION_MAP_FINISH:
        return true;
    case SESSION_MAP_AWAIT:
        return core->session.map_blocks > 0 || is_waited_for(core);
    case SESSION_NONE:
    case SESSION_QUIESCE:
    case SESSION_FLUSH:
    case SESSION_HANDLER:
    case SESSION_PREPARE_MAP:
    case SESSION_PREPARE:
    case SESSION_COMMIT:
    case SESSION_LIVE:
        break;
    }
    return false;
}

/* Since when the peer owes the oldest of its answers; UINT64_MAX: it owes none. */
static uint64_t oldest(const struct core *core)
{
    uint64_t at = core->owed_first ? core->owed_first->sent_at : UINT64_MAX;

    if (is_peers_turn(core))
        at = min64(at, core->session.progress_at);
    if (core->loss.phase == LOSS_DISK)
        at = min64(at, core->loss.asked_at);
    if (core->confirm.running && core->confirm.peer_pending)
        at = min64(at, core->confirm.peer_since);
    at = min64(at, resize_oldest(core));
    return min64(at, min64(resync_oldest(core), verify_oldest(core)));
}

static bool answer_due(const struct core *core)
{
    return oldest(core) != UINT64_MAX || session_handshaking(core) ||
           core->command.phase == COMMAND_PROMOTE_ASK ||
           core->command.phase == COMMAND_PROMOTE_HANDOVER ||
           core->command.phase == COMMAND_UUID_ASK || core->command.phase == COMMAND_INVALIDATE_ASK;
}

void liveness_start(struct core *core)
{
    core->liveness = (struct liveness){.heard = core->now, .ping_value = core->liveness.ping_value};
}

void liveness_heard(struct core *core)
{
    core->liveness.heard = core->now;
    core->liveness.pinged = 0;
}

void liveness_ping_now(struct core *core)
{
    struct liveness *liveness = &core->liveness;

    if (liveness->pinged)
        return;
    liveness->pinged = core->now ? core->now : 1;
    core_send(core, WIRE_PING, NULL)->value = ++liveness->ping_value;
}

/* The time at which a ping is due, if none is out. */
static uint64_t ping_at(const struct core *core)
{
    const struct liveness *liveness = &core->liveness;
    uint64_t idle = later(liveness->heard, core->config.ping_interval);
    uint64_t since = liveness->due_from > liveness->heard ? liveness->due_from : liveness->heard;

    return liveness->due_from ? min64(idle, later(since, core->config.timeout)) : idle;
}

static uint64_t ko_at(const struct core *core)
{
    uint64_t at = oldest(core);

    if (at == UINT64_MAX || MUTANT(ko_ignored) || core->config.ko_count == 0)
        return UINT64_MAX;
    if (core->config.timeout > UINT64_MAX / core->config.ko_count)
        return UINT64_MAX;
    return later(at, core->config.timeout * core->config.ko_count);
}

void liveness_pump(struct core *core)
{
    struct liveness *liveness = &core->liveness;

    if (!has_stream(core))
        return;
    if (!answer_due(core))
        liveness->due_from = 0;
    else if (!liveness->due_from)
        liveness->due_from = core->now ? core->now : 1;
    if (liveness->pinged && core->now >= later(liveness->pinged, core->config.ping_timeout) &&
        !MUTANT(dead_peer_waited_for)) {
        session_close(core, REPLICA_E_TIMEOUT, false,
                      "%s: %s has not answered a ping: the link is lost", core->config.resource,
                      core->config.peer_node);
        return;
    }
    if (core->now >= ko_at(core)) {
        session_close(core, REPLICA_E_TIMEOUT, false,
                      "%s: %s answers pings, but not a request for ko-count time-outs: "
                      "the link is lost",
                      core->config.resource, core->config.peer_node);
        return;
    }
    if (!liveness->pinged && core->now >= ping_at(core))
        liveness_ping_now(core);
}

uint64_t liveness_deadline(const struct core *core)
{
    const struct liveness *liveness = &core->liveness;

    if (!has_stream(core))
        return UINT64_MAX;
    return min64(ko_at(core), liveness->pinged ? later(liveness->pinged, core->config.ping_timeout)
                                               : ping_at(core));
}

/* ---- the local disk ------------------------------------------------------------------------ */

/* The oldest request is looked for when its time may have come, not each time one ends. */
void liveness_disk_asked(struct core *core)
{
    if (core->config.disk_timeout > 0 && core->disk_io.look_at == UINT64_MAX)
        core->disk_io.look_at = later(core->now, core->config.disk_timeout);
}

void liveness_look_at_disk(struct core *core)
{
    struct disk_io *io = &core->disk_io;
    uint64_t oldest;

    if (core->now < io->look_at)
        return;
    oldest = disk_io_oldest(core);
    io->look_at = oldest == UINT64_MAX ? oldest : later(oldest, core->config.disk_timeout);
    if (core->now < io->look_at) {
        io->suspected = false;
        return;
    }
    io->look_at = later(core->now, core->config.disk_timeout / 4);
    if (!io->suspected) {
        io->suspected = true; /* we may have slept ourselves: its answers would come in now */
        return;
    }
    io->suspected = false;
    if (!MUTANT(disk_hang_waited_for))
        disk_io_give_up(core);
}
