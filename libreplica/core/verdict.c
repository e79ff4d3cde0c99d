/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verdict.c - from two STATEs to what this node does about it: the lineage table's verdict, and
 * who may overrule it.
 *
 * Both nodes compute their half out of the same facts, so that one's source is the other's target.
 */
#include "core_private.h"

#include <inttypes.h>
#include <string.h>

/* Both nodes get the same number from the two states: the Primary's epoch, raised past the other's;
 * without a Primary the higher one. */
static uint64_t common_epoch(const struct core *core)
{
    uint64_t ours = core->session.ours.epoch, theirs = core->session.state.epoch;

    if (core->role == REPLICA_ROLE_PRIMARY)
        return theirs > ours ? theirs + 1 : ours;
    if (core->peer_role == REPLICA_ROLE_PRIMARY)
        return ours > theirs ? ours + 1 : theirs;
    return ours > theirs ? ours : theirs;
}

void verdict_prepare(struct core *core)
{
    core->super.epoch = common_epoch(core);
    core->super.flags |= METADATA_CONNECTED;
    core->super.flags &= ~(uint32_t)METADATA_PEER_OUTDATED;
    core->super.peer_bytes = core->session.state.data_bytes;
    core->session.ticket = persist_super(core);
    core->session.phase = SESSION_PREPARE;
}

static void become_uptodate(struct core *core)
{
    core->disk = REPLICA_DISK_UPTODATE;
    core->super.flags |= METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
}

static void verdict_nothing(struct core *core)
{
    if (core->mode == MODE_ALONE) {
        session_close(core, REPLICA_E_UNRELATED, true,
                      "%s: %s claims a generation that only %s can have; look at both (dump-md)",
                      core->config.resource, core->config.peer_node, core->config.node);
        return;
    }
    if (core->disk >= REPLICA_DISK_CONSISTENT || core->peer_disk >= REPLICA_DISK_CONSISTENT)
        become_uptodate(core);
    verdict_prepare(core);
}

static void target_prepares(struct core *core)
{
    core->disk = REPLICA_DISK_INCONSISTENT;
    if (core->session.full)
        bitmap_set_all(&core->bitmap);
    core->session.ticket = persist_bitmap(core);
    core->session.phase = SESSION_PREPARE_MAP;
}

static void verdict_target(struct core *core, bool full)
{
    if (core->role == REPLICA_ROLE_PRIMARY) {
        session_close(core, REPLICA_E_PEER_PRIMARY, true,
                      "%s: %s has newer data, but %s is Primary; make it Secondary first "
                      "(tapdrbdadm secondary %s on %s), then connect",
                      core->config.resource, core->config.peer_node, core->config.node,
                      core->config.resource, core->config.node);
        return;
    }
    core->session.side = SYNC_TARGET;
    core->session.full = full;
    if (handler_there_is(core, HANDLER_BEFORE_RESYNC_TARGET)) {
        handler_run(core, HANDLER_BEFORE_RESYNC_TARGET);
        core->session.phase = SESSION_HANDLER;
    } else {
        target_prepares(core);
    }
}

void verdict_handler_done(struct core *core, const struct event *event)
{
    if (event->handler_done.handler != HANDLER_BEFORE_RESYNC_TARGET ||
        core->session.phase != SESSION_HANDLER ||
        event->handler_done.serial != (uint32_t)core->session.number)
        return;
    if (event->handler_done.status == 0)
        target_prepares(core);
    else
        session_close(core, REPLICA_E_STATE, false,
                      "%s: before-resync-target on %s has failed with status %d: no resync",
                      core->config.resource, core->config.node, event->handler_done.status);
}

static void verdict_source(struct core *core, bool full)
{
    if (core->peer_role == REPLICA_ROLE_PRIMARY) {
        session_close(core, REPLICA_E_PEER_PRIMARY, true,
                      "%s: %s has newer data, but %s is Primary; make it Secondary first "
                      "(tapdrbdadm secondary %s on %s), then connect",
                      core->config.resource, core->config.node, core->config.peer_node,
                      core->config.resource, core->config.peer_node);
        return;
    }
    core->session.side = SYNC_SOURCE;
    core->session.full = full;
    if (full)
        bitmap_set_all(&core->bitmap);
    become_uptodate(core);
    verdict_prepare(core);
}

/* An operator has named the loser of a divergence. False: nobody did, or both. */
static bool is_given_up(struct core *core, bool full)
{
    const struct session *session = &core->session;

    if (session->discard == session->peer_discards)
        return false;
    core_log(core, LOG_LEVEL_WARNING, "the data of %s are given up, as its operator wishes",
             session->discard ? core->config.node : core->config.peer_node);
    if (session->discard)
        verdict_target(core, full);
    else
        verdict_source(core, full);
    return true;
}

static void verdict_split(struct core *core, bool full)
{
    if (!is_given_up(core, full))
        session_close(core, REPLICA_E_SPLIT_BRAIN, true,
                      "%s: split brain: %s and %s have both gone on without the other; decide "
                      "whose data are lost, and there: tapdrbdadm connect --discard-my-data %s",
                      core->config.resource, core->config.node, core->config.peer_node,
                      core->config.resource);
}

static void verdict_unrelated(struct core *core)
{
    if (!is_given_up(core, true))
        session_close(core, REPLICA_E_UNRELATED, true,
                      "%s: the data of %s and %s have no common ancestor; decide whose data are "
                      "lost, and there: tapdrbdadm connect --discard-my-data %s",
                      core->config.resource, core->config.node, core->config.peer_node,
                      core->config.resource);
}

static void follow(struct core *core, enum lineage_verdict verdict)
{
    switch (verdict) {
    case LINEAGE_NOTHING:
        verdict_nothing(core);
        break;
    case LINEAGE_BOTH_NEW:
        verdict_prepare(core);
        break;
    case LINEAGE_SOURCE_BITMAP:
    case LINEAGE_SOURCE_FULL:
        verdict_source(core, verdict == LINEAGE_SOURCE_FULL);
        break;
    case LINEAGE_TARGET_BITMAP:
    case LINEAGE_TARGET_FULL:
        verdict_target(core, verdict == LINEAGE_TARGET_FULL);
        break;
    case LINEAGE_SPLIT_BRAIN:
    case LINEAGE_SPLIT_BRAIN_FULL:
        verdict_split(core, verdict == LINEAGE_SPLIT_BRAIN_FULL);
        break;
    case LINEAGE_UNRELATED:
    case LINEAGE_VERDICT_COUNT:
        verdict_unrelated(core);
        break;
    }
}

void verdict_decide(struct core *core)
{
    const struct wire_state *ours = &core->session.ours, *theirs = &core->session.state;
    bool tie = strcmp(core->config.node, core->config.peer_node) < 0;
    struct lineage_side self = {.generation = ours->generation,
                                .flags = ours->flags,
                                .out_of_sync = ours->out_of_sync,
                                .epoch = ours->epoch,
                                .primary = core->role == REPLICA_ROLE_PRIMARY};
    struct lineage_side peer = {.generation = theirs->generation,
                                .flags = theirs->flags,
                                .out_of_sync = theirs->out_of_sync,
                                .epoch = theirs->epoch,
                                .primary = theirs->role == REPLICA_ROLE_PRIMARY};
    enum lineage_verdict verdict;
    const char *rule;

    verdict = lineage_compare(&self, &peer, tie, &rule);
    core_log(core, LOG_LEVEL_INFO,
             "compared with %s: %s (rule %s); ours %016" PRIx64 ", theirs %016" PRIx64,
             core->config.peer_node, lineage_verdict_name(verdict), rule, self.generation.current,
             peer.generation.current);
    follow(core, verdict);
}
