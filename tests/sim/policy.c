/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy.c - see policy.h. The rules are written out of drbd.conf(5)'s words as tapdrbd.conf(5) has
 * them, and judged by disks, messages and what was typed.
 *
 *   fencing      policy_alone, policy_promoted: nobody goes on without a peer that may go on too
 *   freeze       policy_alone: nobody goes on without the peer at all
 *   after-sb     policy_gives_up: whose changes go after a split brain; policy_target: nobody else
 *                becomes the target of one; policy_sent: nobody refuses what is decided
 *   invalidate, outdate   policy_answered: what was answered is on disk
 */
#include <string.h>

#include "sim.h"

enum { STATE_DISCARD = 1 }; /* in the flags of a STATE: its operator gives its data up */

static struct sim_policy *policy(struct sim_host *host)
{
    return &host->world->oracle.policy[host->index];
}

void policy_draw(struct sim_world *world)
{
    struct sim_profile *profile = &world->profile;

    profile->after_sb.none = (enum split_0pri)sim_below(world, SPLIT_0PRI_COUNT);
    profile->after_sb.one = (enum split_1pri)sim_below(world, SPLIT_1PRI_COUNT);
    profile->after_sb.two = (enum split_2pri)sim_below(world, SPLIT_2PRI_COUNT);
    profile->after_sb_differs = sim_chance(world, 4);
    profile->rr_conflict =
        sim_chance(world, 2) ? CORE_RR_CONFLICT_CALL_PRI_LOST : CORE_RR_CONFLICT_DISCONNECT;
}

/* ---- fencing, on-peer-loss ----------------------------------------------------------------- */

/* 3 Inconsistent, 4 Outdated, 7 shot; 5, not to be reached, for a disk that is UpToDate. */
void policy_fenced(struct sim_host *host, int status)
{
    policy(host)->fenced |= status == 3 || status == 4 || status == 7 ||
                            (status == 5 && host->status.disk == REPLICA_DISK_UPTODATE);
}

static bool has_met(const struct core_status *status)
{
    return status->replication > REPLICA_REPLICATION_OFF &&
           status->replication != REPLICA_REPLICATION_WF_BITMAP_S &&
           status->replication != REPLICA_REPLICATION_WF_BITMAP_T;
}

void policy_stepped(struct sim_host *host, const struct core_status *before)
{
    if (has_met(&host->status) && !has_met(before))
        policy(host)->fenced = policy(host)->resumed = false;
    if (policy(host)->gives && host->status.disk >= REPLICA_DISK_INCONSISTENT)
        policy(host)->by_disk = true;
}

void policy_alone(struct sim_host *host, uint32_t stamp)
{
    const struct sim_profile *profile = &host->world->profile;
    const struct sim_policy *mine = policy(host);

    if (mine->resumed || has_met(&host->status)) /* the peer is back, and gets it by the resync */
        return;
    if (profile->freeze)
        sim_violation(host->world, "freeze", "%c: write %u completes without the peer",
                      'A' + host->index, stamp);
    else if (profile->fencing == CORE_FENCING_RESOURCE_AND_STONITH && !mine->fenced)
        sim_violation(host->world, "fencing",
                      "%c: write %u completes without the peer, which is not fenced",
                      'A' + host->index, stamp);
}

static bool is_new(const struct metadata_superblock *superblock)
{
    return lineage_same(superblock->generation.current, GENERATION_JUST_CREATED);
}

/* Its peer may die as soon as it has granted the role, and before our new epoch is on disk. That it
 * was granted stands on the peer's disk. A process without one cannot go on, nor one with a new
 * one: it need not say so. */
static bool is_granted(struct sim_host *host)
{
    const struct metadata_superblock *theirs = meta_truth(host_peer(host));
    const struct sim_policy *mine = policy(host);
    uint64_t epoch = host->status.epoch;

    return mine->granted == epoch && (!policy(host_peer(host))->by_disk ||
                                      (theirs && (theirs->epoch >= epoch || is_new(theirs))));
}

void policy_forgotten(struct sim_host *host)
{
    policy(host)->asked = policy(host)->granted = 0;
    policy(host)->gives = false;
}

/* Without the peer: who is not fenced, nor has granted the role (and then went), may go on too. */
void policy_promoted(struct sim_host *host)
{
    struct sim_world *world = host->world;

    if (world->oracle.forced[host->index]) {
        policy(host)->resumed = true;
        return;
    }
    if (world->profile.fencing == CORE_FENCING_DONT_CARE || policy(host)->fenced ||
        has_met(&host->status) || is_granted(host))
        return;
    sim_violation(world, "fencing", "%c: is promoted without its peer, which is not fenced",
                  'A' + host->index);
}

/* ---- after a split brain ------------------------------------------------------------------- */

struct split_policies policy_of(const struct sim_host *host)
{
    const struct sim_profile *profile = &host->world->profile;
    struct split_policies mine = profile->after_sb;

    if (host->index == 0)
        return mine;
    if (mine.none == SPLIT_0PRI_DISCARD_LOCAL)
        mine.none = SPLIT_0PRI_DISCARD_REMOTE;
    else if (mine.none == SPLIT_0PRI_DISCARD_REMOTE)
        mine.none = SPLIT_0PRI_DISCARD_LOCAL;
    if (profile->after_sb_differs)
        mine.one = (enum split_1pri)((mine.one + 1) % SPLIT_1PRI_COUNT);
    return mine;
}

enum loser { NOBODY, LOSER_A, LOSER_B };

static enum loser fewer_changes(const struct wire_state *a, const struct wire_state *b)
{
    return b->out_of_sync > a->out_of_sync ? LOSER_A : LOSER_B; /* of equals A's data stay */
}

static bool was_primary(const struct wire_state *state)
{
    return state->generation.bitmap & 1;
}

static enum loser by_0pri(enum split_0pri word, const struct wire_state *a,
                          const struct wire_state *b)
{
    bool a_older = was_primary(a) && !was_primary(b), b_older = was_primary(b) && !was_primary(a);

    switch (word) {
    case SPLIT_0PRI_DISCARD_YOUNGER_PRIMARY:
        return a_older ? LOSER_B : b_older ? LOSER_A : fewer_changes(a, b);
    case SPLIT_0PRI_DISCARD_OLDER_PRIMARY:
        return a_older ? LOSER_A : b_older ? LOSER_B : fewer_changes(a, b);
    case SPLIT_0PRI_DISCARD_ZERO_CHANGES:
        return a->out_of_sync && b->out_of_sync ? NOBODY : fewer_changes(a, b);
    case SPLIT_0PRI_DISCARD_LEAST_CHANGES:
        return fewer_changes(a, b);
    case SPLIT_0PRI_DISCARD_LOCAL:
        return LOSER_A;
    case SPLIT_0PRI_DISCARD_REMOTE:
        return LOSER_B;
    case SPLIT_0PRI_DISCONNECT:
    case SPLIT_0PRI_COUNT:
        break;
    }
    return NOBODY;
}

static enum loser by_1pri(enum split_1pri word, enum loser as_0pri, enum loser secondary)
{
    switch (word) {
    case SPLIT_1PRI_CONSENSUS:
    case SPLIT_1PRI_CALL_PRI_LOST: /* of a Primary that has lost its handler takes care */
        return as_0pri == secondary ? secondary : NOBODY;
    case SPLIT_1PRI_DISCARD_SECONDARY:
        return secondary;
    case SPLIT_1PRI_DISCONNECT:
    case SPLIT_1PRI_COUNT:
        break;
    }
    return NOBODY;
}

static bool knows(const struct generation *generation, uint64_t id)
{
    return lineage_same(generation->bitmap, id) || lineage_same(generation->history[0], id) ||
           lineage_same(generation->history[1], id);
}

/* Each has gone on from one and the same generation, and knows what it has changed since. */
static bool is_split(const struct wire_state *a, const struct wire_state *b)
{
    const struct generation *x = &a->generation, *y = &b->generation;
    uint32_t flags = a->flags & b->flags, any = a->flags | b->flags;

    return (flags & METADATA_CONSISTENT) && !(any & METADATA_FULL_SYNC) &&
           lineage_same(x->bitmap, y->bitmap) && !lineage_same(x->current, y->current) &&
           !lineage_same(x->bitmap, GENERATION_JUST_CREATED) && !knows(x, y->current) &&
           !knows(y, x->current);
}

/* What both have told on the stream that `host` has now. */
static bool both_told(struct sim_host *host, const struct sim_policy **a,
                      const struct sim_policy **b)
{
    *a = &host->world->oracle.policy[0];
    *b = &host->world->oracle.policy[1];
    return host->stream && (*a)->told_on == host->stream && (*b)->told_on == host->stream;
}

static enum loser after_split(struct sim_host *host)
{
    struct split_policies words = host->world->profile.after_sb;
    const struct sim_policy *a, *b;
    bool a_primary, b_primary;
    enum loser as_0pri;

    if (!both_told(host, &a, &b) || !is_split(&a->told, &b->told) ||
        host->world->profile.after_sb_differs)
        return NOBODY;
    a_primary = a->told.role == REPLICA_ROLE_PRIMARY;
    b_primary = b->told.role == REPLICA_ROLE_PRIMARY;
    as_0pri = by_0pri(words.none, &a->told, &b->told);
    if (a_primary && b_primary)
        return NOBODY;
    if (a_primary || b_primary)
        return by_1pri(words.one, as_0pri, a_primary ? LOSER_B : LOSER_A);
    return as_0pri;
}

/* pri-lost-after-sb is for a Primary that after-sb-0pri names, and for nobody else. */
void policy_handler(struct sim_host *host, enum core_handler handler)
{
    const struct sim_policy *a, *b;

    if (handler == HANDLER_PRI_LOST && host->status.role != REPLICA_ROLE_PRIMARY)
        sim_violation(host->world, "rr-conflict", "%c: pri-lost is run, and it is no Primary",
                      'A' + host->index);
    if (handler != HANDLER_PRI_LOST_AFTER_SB || !both_told(host, &a, &b))
        return;
    if (policy(host)->told.role != REPLICA_ROLE_PRIMARY || host->world->profile.after_sb_differs ||
        by_0pri(host->world->profile.after_sb.none, &a->told, &b->told) !=
            (host->index == 0 ? LOSER_A : LOSER_B))
        sim_violation(host->world, "after-sb", "%c: pri-lost-after-sb is run, and it has not lost",
                      'A' + host->index);
}

bool policy_gives_up(struct sim_host *host)
{
    return after_split(host) == (host->index == 0 ? LOSER_A : LOSER_B);
}

/* Exactly one operator has said whose data go. */
static bool is_decided(struct sim_host *host)
{
    const struct sim_policy *a, *b;

    return both_told(host, &a, &b) && a->discards != b->discards;
}

void policy_target(struct sim_host *host)
{
    const struct sim_policy *a, *b;

    if (!both_told(host, &a, &b))
        return;
    if (policy(host)->told.role == REPLICA_ROLE_PRIMARY &&
        policy(host)->told.disk >= REPLICA_DISK_CONSISTENT)
        sim_violation(host->world, "P8", "%c: becomes a target while its guest uses its data",
                      'A' + host->index);
    if (is_split(&a->told, &b->told) && !is_decided(host) && !policy_gives_up(host))
        sim_violation(
            host->world, "P8",
            "%c: becomes a target after a split brain; neither policy nor operator says so",
            'A' + host->index);
}

void policy_sent(struct sim_host *host, const struct wire_message *message)
{
    struct sim_policy *mine = policy(host);

    if (message->type == WIRE_STATE && mine->told_on != host->stream) {
        mine->told_on = host->stream;
        mine->told = message->state;
        mine->discards = message->flags & STATE_DISCARD;
    }
    if (message->type == WIRE_PROMOTE) {
        mine->asked = message->epoch;
        mine->granted = 0;
    }
    if (message->type == WIRE_PROMOTE_ACK && message->code == 0) {
        mine->gives = true;
        mine->by_disk = host->status.disk >= REPLICA_DISK_INCONSISTENT;
    }
    if (message->type == WIRE_REFUSE && !is_decided(host) && after_split(host) != NOBODY &&
        (message->refuse.code == REPLICA_E_SPLIT_BRAIN ||
         message->refuse.code == REPLICA_E_PEER_PRIMARY))
        sim_violation(host->world, "after-sb", "%c: refuses a split brain, which is decided",
                      'A' + host->index);
}

void policy_received(struct sim_host *host, const struct wire_message *message)
{
    struct sim_policy *mine = policy(host);

    if (message->type == WIRE_PROMOTE_ACK && message->code == 0 && message->epoch == mine->asked)
        mine->granted = mine->asked;
}

/* ---- what an operator was told ------------------------------------------------------------- */

static void answered_invalidate(struct sim_host *host)
{
    const struct metadata_superblock *truth = meta_truth(host);

    if (!truth || (truth->flags & METADATA_CONSISTENT)) {
        sim_violation(host->world, "P9", "%c: its data are given up, and not so on its disk",
                      'A' + host->index);
        return;
    }
    for (uint32_t i = 0; i < host->world->profile.sectors; i += SIM_BLOCK_SECTORS) {
        if (meta_marked(host, i))
            continue;
        sim_violation(host->world, "P4", "%c: its data are given up, sector %u has no mark on disk",
                      'A' + host->index, i);
        return;
    }
}

void policy_answered(struct sim_host *host, enum command_kind kind, int code)
{
    const struct metadata_superblock *truth = meta_truth(host);

    if (kind == COMMAND_PROMOTE)
        policy(host)->asked = policy(host)->granted = 0;
    if (code)
        return;
    if (kind == COMMAND_RESUME_IO)
        policy(host)->resumed = true;
    else if (kind == COMMAND_INVALIDATE)
        answered_invalidate(host);
    else if (kind == COMMAND_OUTDATE && (!truth || (truth->flags & METADATA_WAS_UPTODATE)))
        sim_violation(host->world, "P9", "%c: is outdated, and not so on its disk",
                      'A' + host->index);
}
