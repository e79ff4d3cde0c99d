/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fence.c - is it sure that the lost peer stands still? The handlers, and what fence-peer's answer
 * means.
 *
 *   fencing dont-care             nobody asks
 *   fencing resource-only         a Primary that loses its peer goes on at once; the handler runs
 *                                 meanwhile, and that the peer is outdated is written down
 *   fencing resource-and-stonith  it goes on only after the handler has said so (LOSS_FROZEN)
 *   on-peer-loss freeze           it goes on only with the peer, or when an operator says so
 *
 * With either kind of fencing a node becomes Primary without its peer only when the peer is known
 * to be outdated; else the handler is asked first. That the peer is outdated is on disk
 * (METADATA_PEER_OUTDATED) before anything follows from it, until the two have met again. When they
 * part before they were connected, the handler is run anew.
 *
 * The handler's exit status is DRBD's; drbd.conf(5), fence-peer.
 */
#include "core_private.h"

/* ---- handlers ------------------------------------------------------------------------------ */

bool handler_there_is(const struct core *core, enum core_handler handler)
{
    return core->config.handlers >> handler & 1;
}

static void handler_emit(struct core *core, enum core_handler handler, uint32_t serial)
{
    struct action *action = core_emit(core, ACTION_HANDLER);

    action->handler.handler = handler;
    action->handler.serial = serial;
}

void handler_run(struct core *core, enum core_handler handler)
{
    if (handler_there_is(core, handler))
        handler_emit(core, handler, (uint32_t)core->session.number);
}

/* ---- fence-peer ---------------------------------------------------------------------------- */

static bool is_wanted(const struct core *core)
{
    return core->config.fencing != CORE_FENCING_DONT_CARE;
}

static bool is_outdated(const struct core *core)
{
    return core->super.flags & METADATA_PEER_OUTDATED;
}

static void ask(struct core *core, bool promoting)
{
    struct fence *fence = &core->fence;

    fence->promoting = promoting;
    if (fence->phase == FENCE_RUNS || fence->phase == FENCE_ANSWERED)
        return;
    if (!handler_there_is(core, HANDLER_FENCE_PEER)) {
        core_log(core, LOG_LEVEL_ERROR, "there is no fence-peer handler: %s cannot be fenced",
                 core->config.peer_node);
        fence->status = -1;
        fence->phase = FENCE_FAILED;
        return;
    }
    fence->phase = FENCE_RUNS;
    fence->serial++;
    handler_emit(core, HANDLER_FENCE_PEER, fence->serial);
}

void fence_peer_lost(struct core *core)
{
    core->fence.phase = FENCE_NONE;
    if (is_wanted(core) && !is_outdated(core))
        ask(core, false);
}

void fence_peer_lost_again(struct core *core)
{
    if (core->role == REPLICA_ROLE_PRIMARY && core_has_data(core) &&
        core->fence.phase == FENCE_NONE && !MUTANT(fenced_once))
        fence_peer_lost(core);
}

/* What a handler has found, or may still find, is of a time before. The peer's disk counts again
 * only after this is durable here (session_go_live): else a node that dies now would come back,
 * take the peer for outdated, and be promoted beside it. */
void fence_peer_met(struct core *core)
{
    if (!MUTANT(fence_outlives))
        core->super.flags &= ~(uint32_t)METADATA_PEER_OUTDATED;
    core->fence.phase = FENCE_NONE;
}

void fence_peer_back(struct core *core)
{
    core->fence.phase = FENCE_NONE;
}

void fence_handler_done(struct core *core, const struct event *event)
{
    struct fence *fence = &core->fence;

    if (event->handler_done.handler != HANDLER_FENCE_PEER || fence->phase != FENCE_RUNS ||
        (event->handler_done.serial != fence->serial && !MUTANT(fence_any_answer)))
        return;
    fence->status = event->handler_done.status;
    fence->phase = FENCE_ANSWERED;
}

/* What the exit status says of the peer's disk; REPLICA_DISK_UNKNOWN: nothing to build on. */
static enum replica_disk peer_disk_by(const struct core *core, int status)
{
    switch (status) {
    case 3: /* was Inconsistent already */
        return REPLICA_DISK_INCONSISTENT;
    case 4: /* is Outdated now, or was already */
    case 7: /* was shot */
        return REPLICA_DISK_OUTDATED;
    case 5: /* cannot be reached, assumed dead: enough for a disk that is UpToDate. That was so when
               the handler answered: a handshake that changes it forgets the answer */
        return core->disk == REPLICA_DISK_UPTODATE || MUTANT(fence_dead_is_enough)
                   ? REPLICA_DISK_OUTDATED
                   : REPLICA_DISK_UNKNOWN;
    default: /* 6: is Primary; all else: the handler is broken */
        return MUTANT(fence_failure_counts) ? REPLICA_DISK_OUTDATED : REPLICA_DISK_UNKNOWN;
    }
}

/* The peer is Primary, says the handler: a node that is not is the outdated one. */
static void outdate_self(struct core *core)
{
    if (core->role == REPLICA_ROLE_PRIMARY || core->disk <= REPLICA_DISK_OUTDATED)
        return;
    core->disk = REPLICA_DISK_OUTDATED;
    core->super.flags &= ~(uint32_t)METADATA_WAS_UPTODATE;
    persist_super(core);
}

bool fence_pump(struct core *core)
{
    struct fence *fence = &core->fence;
    enum replica_disk peer_disk;

    if (fence->phase != FENCE_ANSWERED || session_handshaking(core) || session_live(core))
        return false;
    peer_disk = peer_disk_by(core, fence->status);
    if (peer_disk == REPLICA_DISK_UNKNOWN) {
        fence->phase = FENCE_FAILED;
        core_log(core, LOG_LEVEL_ERROR, "fence-peer: %s (exit status %d)",
                 fence->status == 6 ? "the peer is Primary" : "the peer is not fenced",
                 fence->status);
        if (fence->status == 6)
            outdate_self(core);
        return true;
    }
    fence->phase = FENCE_GOOD;
    core->peer_disk = peer_disk;
    core->super.flags |= METADATA_PEER_OUTDATED;
    persist_super(core);
    core_log(core, LOG_LEVEL_NOTICE, "fence-peer: %s is %s (exit status %d)",
             core->config.peer_node, fence->status == 5 ? "assumed dead" : "out", fence->status);
    return true;
}

bool fence_holds(const struct core *core)
{
    if (core->loss.resumed)
        return false;
    if (core->config.on_peer_loss == CORE_PEER_LOSS_FREEZE && !MUTANT(freeze_ignored))
        return true;
    return core->config.fencing == CORE_FENCING_RESOURCE_AND_STONITH && !is_outdated(core) &&
           !MUTANT(fence_not_awaited);
}

/* ---- promotion without the peer ------------------------------------------------------------ */

bool fence_judges(const struct core *core)
{
    return is_wanted(core) && !session_live(core) && core->disk >= REPLICA_DISK_CONSISTENT;
}

static bool refuse(struct core *core)
{
    core->fence.phase = FENCE_NONE;
    command_answer(core, REPLICA_E_NOT_UPTODATE,
                   "%s: %s is not connected and could not be fenced (fence-peer: exit status %d); "
                   "connect it, or `primary --force %s` if it is dead for sure",
                   core->config.resource, core->config.peer_node, core->fence.status,
                   core->config.resource);
    return false;
}

bool fence_promotes(struct core *core)
{
    struct fence *fence = &core->fence;
    bool forced = core->command.flags & COMMAND_FORCE;

    if (!fence_judges(core) || (MUTANT(promoted_unfenced) && core->disk == REPLICA_DISK_UPTODATE))
        return true;
    if (!is_outdated(core) && (fence->phase == FENCE_NONE || !fence->promoting))
        ask(core, true);
    if (is_outdated(core)) {
        core->disk = REPLICA_DISK_UPTODATE;
        fence->phase = FENCE_NONE;
        return true;
    }
    if (fence->phase != FENCE_FAILED)
        return false;
    fence->promoting = false;
    if (!forced && !MUTANT(forced_through_fence))
        return refuse(core);
    core_log(core, LOG_LEVEL_WARNING, "forced: %s may go on too, and then there is a split brain",
             core->config.peer_node);
    return true;
}
