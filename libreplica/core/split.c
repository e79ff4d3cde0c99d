/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * split.c - see split.h.
 *
 *   0pri  disconnect               ask
 *         discard-younger-primary  the one that was Primary when the two parted wins; where both or
 *                                  neither were, as discard-least-changes
 *         discard-older-primary    it loses; else the same
 *         discard-zero-changes     the one without a changed block loses; both changed: ask
 *         discard-least-changes    the one with fewer changed blocks loses
 *         discard-local, -remote   this one, the other one
 *   1pri  disconnect               ask
 *         consensus                as 0pri says, if that names the Secondary; else ask
 *         discard-secondary        the Secondary loses
 *         call-pri-lost-after-sb   as 0pri says; if that names the Primary: its handler, and ask
 *   2pri  disconnect               ask
 *         call-pri-lost-after-sb   the handler of the one that 0pri names, and ask
 *
 * A Primary is never made a target: its guest has seen the data that would go. Who was Primary when
 * the two parted is the lowest bit of the bitmap's generation (loss.c).
 */
#include "split.h"

#include "mutant.h"

static enum split_answer winner(bool ours)
{
    return ours ? SPLIT_DISCARD_PEER : SPLIT_DISCARD_OURS;
}

static bool was_primary(const struct lineage_side *side)
{
    return side->generation.bitmap & 1;
}

static enum split_answer least_changes(const struct lineage_side *ours,
                                       const struct lineage_side *peer, bool tie)
{
    if (ours->out_of_sync == peer->out_of_sync)
        return winner(tie);
    return winner((ours->out_of_sync > peer->out_of_sync) != MUTANT(split_least_is_most));
}

static enum split_answer without_primary(enum split_0pri policy, const struct lineage_side *ours,
                                         const struct lineage_side *peer, bool tie)
{
    switch (policy) {
    case SPLIT_0PRI_DISCARD_YOUNGER_PRIMARY:
    case SPLIT_0PRI_DISCARD_OLDER_PRIMARY:
        if (was_primary(ours) == was_primary(peer))
            return least_changes(ours, peer, tie);
        return winner(was_primary(ours) == (policy == SPLIT_0PRI_DISCARD_YOUNGER_PRIMARY &&
                                            !MUTANT(split_younger_is_older)));
    case SPLIT_0PRI_DISCARD_ZERO_CHANGES:
        if (ours->out_of_sync > 0 && peer->out_of_sync > 0 && !MUTANT(split_both_changed))
            return SPLIT_ASK;
        return least_changes(ours, peer, tie);
    case SPLIT_0PRI_DISCARD_LEAST_CHANGES:
        return least_changes(ours, peer, tie);
    case SPLIT_0PRI_DISCARD_LOCAL:
        return SPLIT_DISCARD_OURS;
    case SPLIT_0PRI_DISCARD_REMOTE:
        return SPLIT_DISCARD_PEER;
    case SPLIT_0PRI_DISCONNECT:
    case SPLIT_0PRI_COUNT:
        break;
    }
    return SPLIT_ASK;
}

/* What happens to a Primary that has lost is its handler's business. */
static enum split_answer call_pri_lost(enum split_answer answer, const struct lineage_side *ours,
                                       const struct lineage_side *peer)
{
    if ((answer == SPLIT_DISCARD_OURS || MUTANT(pri_lost_by_chance)) && ours->primary)
        return SPLIT_PRI_LOST;
    if (answer == SPLIT_DISCARD_PEER && peer->primary)
        return SPLIT_ASK;
    return answer;
}

static enum split_answer with_primary(const struct split_policies *policies,
                                      enum split_answer as_0pri, const struct lineage_side *ours,
                                      const struct lineage_side *peer)
{
    switch (policies->one) {
    case SPLIT_1PRI_CONSENSUS:
        if (as_0pri == (ours->primary ? SPLIT_DISCARD_PEER : SPLIT_DISCARD_OURS))
            return as_0pri;
        break;
    case SPLIT_1PRI_DISCARD_SECONDARY:
        return winner(ours->primary != MUTANT(split_secondary_stays));
    case SPLIT_1PRI_CALL_PRI_LOST:
        return call_pri_lost(as_0pri, ours, peer);
    case SPLIT_1PRI_DISCONNECT:
    case SPLIT_1PRI_COUNT:
        break;
    }
    return SPLIT_ASK;
}

enum split_answer split_resolve(const struct split_policies *policies,
                                const struct lineage_side *ours, const struct lineage_side *peer,
                                bool tie)
{
    enum split_answer as_0pri = without_primary(policies->none, ours, peer, tie);

    if (ours->primary && peer->primary)
        return policies->two == SPLIT_2PRI_CALL_PRI_LOST ? call_pri_lost(as_0pri, ours, peer)
                                                         : SPLIT_ASK;
    if (ours->primary || peer->primary)
        return with_primary(policies, as_0pri, ours, peer);
    return as_0pri;
}

uint32_t split_encode(const struct split_policies *policies)
{
    return (uint32_t)policies->none | (uint32_t)policies->one << 4 | (uint32_t)policies->two << 8;
}

bool split_agree(const struct split_policies *ours, uint32_t peers)
{
    struct split_policies mirrored = *ours;

    if (ours->none == SPLIT_0PRI_DISCARD_LOCAL)
        mirrored.none = SPLIT_0PRI_DISCARD_REMOTE;
    else if (ours->none == SPLIT_0PRI_DISCARD_REMOTE)
        mirrored.none = SPLIT_0PRI_DISCARD_LOCAL;
    return split_encode(&mirrored) == peers;
}
