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
        return theirs > ours ? theirs + !MUTANT(epoch_not_raised) : ours;
    if (core->peer_role == REPLICA_ROLE_PRIMARY)
        return ours > theirs ? ours + 1 : theirs;
    return (ours > theirs) != MUTANT(lower_epoch) ? ours : theirs;
}

void verdict_prepare(struct core *core)
{
    core->super.epoch = common_epoch(core);
    core->super.flags |= METADATA_CONNECTED;
    fence_peer_met(core);
    core->super.peer_bytes = core->session.state.data_bytes;
    core->session.ticket = persist_super(core);
    core->session.phase = SESSION_PREPARE;
}

/* When the other node's part of the verdict is durable, and not before: see fence_peer_met. */
void verdict_become_uptodate(struct core *core)
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
    core->session.same =
        core->disk >= REPLICA_DISK_CONSISTENT || core->peer_disk >= REPLICA_DISK_CONSISTENT;
    verdict_prepare(core);
}

static void target_prepares(struct core *core)
{
    core->disk = REPLICA_DISK_INCONSISTENT;
    if (core->session.full && !MUTANT(full_sync_unmarked))
        bitmap_set_all(&core->bitmap);
    core->session.ticket = persist_bitmap(core);
    core->session.phase = SESSION_PREPARE_MAP;
}

/* A Primary may be the target only while its guest lives from the peer anyway. */
static void verdict_target(struct core *core, bool full)
{
    if (core->role == REPLICA_ROLE_PRIMARY && core_has_data(core) && !MUTANT(primary_overwritten)) {
        if (core->config.rr_conflict == CORE_RR_CONFLICT_CALL_PRI_LOST)
            handler_run(core, HANDLER_PRI_LOST);
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
    if (core->peer_role == REPLICA_ROLE_PRIMARY && core->peer_disk >= REPLICA_DISK_CONSISTENT &&
        !MUTANT(primary_overwritten)) {
        session_close(core, REPLICA_E_PEER_PRIMARY, true,
                      "%s: %s has newer data, but %s is Primary; make it Secondary first "
                      "(tapdrbdadm secondary %s on %s), then connect",
                      core->config.resource, core->config.node, core->config.peer_node,
                      core->config.resource, core->config.peer_node);
        return;
    }
    core->session.side = SYNC_SOURCE;
    core->session.full = full;
    if (full && !MUTANT(full_sync_unmarked))
        bitmap_set_all(&core->bitmap);
    verdict_prepare(core);
}

/* An operator has named the loser of a divergence. False: nobody did, or both. */
static bool is_given_up(struct core *core, bool full)
{
    const struct session *session = &core->session;

    if (session->discard == session->peer_discards && !(MUTANT(both_discard) && session->discard))
        return false;
    core_log(core, LOG_LEVEL_WARNING, "the data of %s are given up, as its operator wishes",
             session->discard ? core->config.node : core->config.peer_node);
    if (session->discard)
        verdict_target(core, full);
    else
        verdict_source(core, full);
    return true;
}

/* The two halves of the comparison, as they were told in the STATEs. */
static void both_sides(const struct core *core, struct lineage_side *self,
                       struct lineage_side *peer)
{
    const struct wire_state *ours = &core->session.ours, *theirs = &core->session.state;

    *self = (struct lineage_side){.generation = ours->generation,
                                  .flags = ours->flags,
                                  .out_of_sync = ours->out_of_sync,
                                  .epoch = ours->epoch,
                                  .primary = core->role == REPLICA_ROLE_PRIMARY};
    *peer = (struct lineage_side){.generation = theirs->generation,
                                  .flags = theirs->flags,
                                  .out_of_sync = theirs->out_of_sync,
                                  .epoch = theirs->epoch,
                                  .primary = theirs->role == REPLICA_ROLE_PRIMARY};
}

static bool wins_ties(const struct core *core)
{
    return strcmp(core->config.node, core->config.peer_node) < 0;
}

/* What the policies say; they count only where both nodes have the same. */
static enum split_answer by_policy(struct core *core)
{
    struct lineage_side self, peer;

    if (!split_agree(&core->config.after_sb, core->session.peer_split) && !MUTANT(split_unagreed)) {
        core_log(core, LOG_LEVEL_WARNING,
                 "the after-sb policies of %s and %s differ, so none of them counts",
                 core->config.node, core->config.peer_node);
        return SPLIT_ASK;
    }
    both_sides(core, &self, &peer);
    return split_resolve(&core->config.after_sb, &self, &peer, wins_ties(core));
}

void verdict_two_primaries(struct core *core)
{
    handler_run(core, HANDLER_INITIAL_SPLIT_BRAIN);
    if (by_policy(core) == SPLIT_PRI_LOST)
        handler_run(core, HANDLER_PRI_LOST_AFTER_SB);
    handler_run(core, HANDLER_SPLIT_BRAIN);
}

/* Without a bitmap that both can use nobody knows who changed what: then no policy counts. */
static bool is_resolved(struct core *core)
{
    enum split_answer answer = by_policy(core);

    if (answer == SPLIT_PRI_LOST)
        handler_run(core, HANDLER_PRI_LOST_AFTER_SB);
    if (answer != SPLIT_DISCARD_OURS && answer != SPLIT_DISCARD_PEER)
        return false;
    core_log(core, LOG_LEVEL_WARNING,
             "split brain: the after-sb policy gives the data of %s up: %" PRIu64 " KiB",
             answer == SPLIT_DISCARD_OURS ? core->config.node : core->config.peer_node,
             (answer == SPLIT_DISCARD_OURS ? core->session.ours.out_of_sync
                                           : core->session.state.out_of_sync) *
                 (REPLICA_BLOCK_BYTES / 1024));
    if (answer == SPLIT_DISCARD_OURS)
        verdict_target(core, false);
    else
        verdict_source(core, false);
    return true;
}

static void verdict_split(struct core *core, bool full)
{
    if (is_given_up(core, full))
        return;
    handler_run(core, HANDLER_INITIAL_SPLIT_BRAIN);
    if (!full && is_resolved(core))
        return;
    handler_run(core, HANDLER_SPLIT_BRAIN);
    session_close(core, REPLICA_E_SPLIT_BRAIN, true,
                  "%s: split brain: %s and %s have both gone on without the other; decide "
                  "whose data are lost, and there: tapdrbdadm connect --discard-my-data %s; "
                  "on the other host: connect",
                  core->config.resource, core->config.node, core->config.peer_node,
                  core->config.resource);
}

static void verdict_unrelated(struct core *core)
{
    if (!is_given_up(core, true))
        session_close(core, REPLICA_E_UNRELATED, true,
                      "%s: the data of %s and %s have no common ancestor; decide whose data are "
                      "lost, and there: tapdrbdadm connect --discard-my-data %s; on the other "
                      "host: connect",
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

static bool is_usable(unsigned disk)
{
    return disk == REPLICA_DISK_UPTODATE || disk == REPLICA_DISK_CONSISTENT;
}

/* The two are a Primary without a disk and the node that has taken its data over, as they were
 * when they lost each other: the guest lives on from there. Both must say the generation that was
 * made for this (loss.c): an older copy has another one, and so has one that went on alone. */
bool verdict_lives_on(const struct core *core)
{
    const struct wire_state *ours = &core->session.ours, *theirs = &core->session.state;
    bool here = core->role == REPLICA_ROLE_PRIMARY && core->disk == REPLICA_DISK_DISKLESS;
    bool there = theirs->role == REPLICA_ROLE_PRIMARY && theirs->disk == REPLICA_DISK_DISKLESS;

    if (here == there || theirs->data_bytes != core->size)
        return false;
    if (!lineage_same(ours->generation.current, theirs->generation.current) &&
        !MUTANT(lives_on_anywhere))
        return false;
    return here ? theirs->role == REPLICA_ROLE_SECONDARY && is_usable(theirs->disk)
                : core->role == REPLICA_ROLE_SECONDARY && is_usable(core->disk);
}

static void verdict_live_on(struct core *core)
{
    core->session.same = true;
    if (core_has_disk(core)) {
        verdict_prepare(core);
        return;
    }
    core->loss.last_copy = false; /* the answer may have been lost with the link */
    core->super.epoch = common_epoch(core);
    core->session.ticket = 0; /* nowhere to write it; the peer does */
    core->session.phase = SESSION_PREPARE;
}

void verdict_decide(struct core *core)
{
    struct lineage_side self, peer;
    enum lineage_verdict verdict;
    const char *rule;

    if (verdict_lives_on(core)) {
        verdict_live_on(core);
        return;
    }
    both_sides(core, &self, &peer);
    verdict = lineage_compare(&self, &peer, wins_ties(core), &rule);
    core_log(core, LOG_LEVEL_INFO,
             "compared with %s: %s (rule %s); ours %016" PRIx64 ", theirs %016" PRIx64,
             core->config.peer_node, lineage_verdict_name(verdict), rule, self.generation.current,
             peer.generation.current);
    follow(core, verdict);
}
