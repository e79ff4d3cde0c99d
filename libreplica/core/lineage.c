/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lineage.c - which replica is newer (P8). See lineage.h.
 *
 * The decision is one table of rows, read from the top. Each row is a relation between "the
 * better side" and "the other side" and says what it means for the better one; it is tried with
 * each of the two nodes as the better side, and the first row that holds decides. So the mirror
 * image of a verdict is the verdict of the mirror image by construction, and each fact is written
 * down once. A row that names a direction and holds both ways is decided by `tie`.
 *
 * The order of the rows
 *   1. A disk that was never written has nothing to say.
 *   2. No common generation: refuse. (P8)
 *   3. An Inconsistent disk is never a source, whatever its generations say: it is what it is
 *      because a resync was begun onto it, or because an operator invalidated it. (P9)
 *   4. Equal generations: nothing was completed by one alone. What may differ is what was in
 *      flight at a crash, or a resync whose end only one of the two has recorded. The source is
 *      the side whose data a guest may have read last.
 *   5. One is the ancestor of the other: the descendant is the source, by bitmap when that tracks
 *      the very generation of the other, else in full.
 *   6. Both have gone on from a common ancestor: split brain.
 *
 * DRBD's rule for each row is named beside it, as its 8.4 and 9 modules name them in their logs.
 */
#include "lineage.h"

#include <stddef.h>

#include "mutant.h"

/* The lowest bit of an identifier tells the role at the time of writing. */
#define ROLE_BIT ((uint64_t)1)

enum { HISTORY = 2 };

bool lineage_same(uint64_t a, uint64_t b)
{
    return (a & ~ROLE_BIT) == (b & ~ROLE_BIT) && (a & ~ROLE_BIT) != 0;
}

/* ---- questions about one side ---------------------------------------------------------------- */

static bool is_new(const struct lineage_side *side)
{
    uint64_t current = side->generation.current & ~ROLE_BIT;

    return current == 0 || current == GENERATION_JUST_CREATED;
}

static bool is_consistent(const struct lineage_side *side)
{
    return side->flags & METADATA_CONSISTENT;
}

static bool is_crashed(const struct lineage_side *side)
{
    return side->flags & METADATA_CRASHED_PRIMARY;
}

static bool has_bits(const struct lineage_side *side)
{
    return side->out_of_sync > 0 || (side->flags & METADATA_FULL_SYNC);
}

/* Has a bitmap generation: by its own account the peer is not in sync. */
static bool is_tracking(const struct lineage_side *side)
{
    return lineage_is_ahead(&side->generation);
}

/* ---- questions about two sides --------------------------------------------------------------- */

/* Generations that a disk can have in common with another by descent. Every new disk is "just
 * created", which proves nothing. */
static bool same_ancestor(uint64_t a, uint64_t b)
{
    return lineage_same(a, b) && !lineage_same(a, GENERATION_JUST_CREATED);
}

static bool is_equal(const struct lineage_side *a, const struct lineage_side *b)
{
    return lineage_same(a->generation.current, b->generation.current);
}

/* a's bitmap tracks what has changed since b's current generation. */
static bool tracks(const struct lineage_side *a, const struct lineage_side *b)
{
    return same_ancestor(a->generation.bitmap, b->generation.current);
}

static bool remembers(const struct lineage_side *a, const struct lineage_side *b)
{
    for (unsigned i = 0; i < HISTORY; i++)
        if (same_ancestor(a->generation.history[i], b->generation.current))
            return true;
    return false;
}

static bool descends(const struct lineage_side *a, const struct lineage_side *b)
{
    return tracks(a, b) || remembers(a, b);
}

static bool have_one_bitmap(const struct lineage_side *a, const struct lineage_side *b)
{
    return same_ancestor(a->generation.bitmap, b->generation.bitmap) && !MUTANT(one_bitmap_ignored);
}

static bool have_one_ancestor(const struct lineage_side *a, const struct lineage_side *b)
{
    const struct generation *x = &a->generation, *y = &b->generation;
    const uint64_t of_a[] = {x->bitmap, x->history[0], x->history[1]};
    const uint64_t of_b[] = {y->bitmap, y->history[0], y->history[1]};

    for (unsigned i = 0; i < 1 + HISTORY; i++)
        for (unsigned j = 0; j < 1 + HISTORY; j++)
            if (same_ancestor(of_a[i], of_b[j]))
                return true;
    return false;
}

/* ---- the rows: `a` is the better side -------------------------------------------------------- */

static bool both_new(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_new(a) && is_new(b);
}

static bool other_new(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_new(b) && !is_new(a) && is_consistent(a);
}

static bool other_new_none_usable(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_new(b) && !is_new(a);
}

static bool unrelated(const struct lineage_side *a, const struct lineage_side *b)
{
    return !is_equal(a, b) && !descends(a, b) && !descends(b, a) && !have_one_ancestor(a, b);
}

static bool both_inconsistent(const struct lineage_side *a, const struct lineage_side *b)
{
    return !is_consistent(a) && !is_consistent(b);
}

static bool crossed(const struct lineage_side *a, const struct lineage_side *b)
{
    return !is_equal(a, b) && descends(a, b) && descends(b, a);
}

static bool other_inconsistent(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_consistent(a) && !is_consistent(b) && !MUTANT(inconsistent_wins);
}

static bool other_inconsistent_bitmap(const struct lineage_side *a, const struct lineage_side *b)
{
    return other_inconsistent(a, b) && !crossed(a, b) &&
           (is_equal(a, b) || tracks(a, b) || tracks(b, a) || have_one_bitmap(a, b));
}

static bool equal_in_sync(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) &&
           (MUTANT(equal_is_in_sync) || (!has_bits(a) && !has_bits(b) && !is_crashed(a) &&
                                         !is_crashed(b) && !is_tracking(a) && !is_tracking(b)));
}

static bool equal_primary(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && a->primary && !MUTANT(equal_primary_ignored);
}

static bool equal_later_epoch(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && a->epoch > b->epoch && !MUTANT(later_epoch_ignored);
}

static bool equal_other_outdated(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && (a->flags & METADATA_WAS_UPTODATE) &&
           !(b->flags & METADATA_WAS_UPTODATE) && !MUTANT(outdated_ignored);
}

static bool equal_crashed(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && is_crashed(MUTANT(crashed_loses) ? b : a) && !MUTANT(crashed_ignored);
}

static bool equal_tracking(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && is_tracking(a);
}

static bool equal_bits(const struct lineage_side *a, const struct lineage_side *b)
{
    return is_equal(a, b) && has_bits(MUTANT(marked_loses) ? b : a);
}

static bool always(const struct lineage_side *a, const struct lineage_side *b)
{
    (void)a;
    (void)b;
    return true;
}

struct row {
    const char *self, *peer; /* the rule's name when we, or the peer, are the better side */
    bool (*holds)(const struct lineage_side *a, const struct lineage_side *b);
    enum lineage_verdict verdict; /* for the better side */
};

static const struct row rows[] = {
    /* DRBD: just-created-both, just-created-peer, just-created-self */
    {"just-created-both", "just-created-both", both_new, LINEAGE_BOTH_NEW},
    {"just-created-peer", "just-created-self", other_new, LINEAGE_SOURCE_FULL},
    {"just-created-inconsistent", "just-created-inconsistent", other_new_none_usable,
     LINEAGE_BOTH_NEW},

    /* DRBD: unrelated data */
    {"unrelated", "unrelated", unrelated, LINEAGE_UNRELATED},

    /* DRBD: "becoming sync source/target due to disk states" */
    {"both-inconsistent", "both-inconsistent", both_inconsistent, LINEAGE_BOTH_NEW},
    {"inconsistent-peer", "inconsistent-self", other_inconsistent_bitmap, LINEAGE_SOURCE_BITMAP},
    {"inconsistent-peer-full", "inconsistent-self-full", other_inconsistent, LINEAGE_SOURCE_FULL},

    /* DRBD: no-sync; then its common-power-failure rows (both-off, lost-quorum), to which we add
     * who is Primary now, who was promoted last and who is Outdated */
    {"no-sync", "no-sync", equal_in_sync, LINEAGE_NOTHING},
    {"primary-self", "primary-peer", equal_primary, LINEAGE_SOURCE_BITMAP},
    {"promoted-later-self", "promoted-later-peer", equal_later_epoch, LINEAGE_SOURCE_BITMAP},
    {"outdated-peer", "outdated-self", equal_other_outdated, LINEAGE_SOURCE_BITMAP},
    {"crashed-primary-self", "crashed-primary-peer", equal_crashed, LINEAGE_SOURCE_BITMAP},
    /* DRBD: sync-source-missed-finish, sync-target-missed-finish */
    {"source-missed-finish-self", "source-missed-finish-peer", equal_tracking,
     LINEAGE_SOURCE_BITMAP},
    {"out-of-sync-self", "out-of-sync-peer", equal_bits, LINEAGE_SOURCE_BITMAP},

    /* Each says that it comes after the other; DRBD would believe the first that it looks at */
    {"crossed", "crossed", crossed, LINEAGE_SPLIT_BRAIN_FULL},
    /* DRBD: bitmap-self, bitmap-peer, history-self, history-peer */
    {"bitmap-self", "bitmap-peer", tracks, LINEAGE_SOURCE_BITMAP},
    {"history-self", "history-peer", remembers, LINEAGE_SOURCE_FULL},
    /* DRBD: bitmap-both, history-both */
    {"bitmap-both", "bitmap-both", have_one_bitmap, LINEAGE_SPLIT_BRAIN},
    {"history-both", "history-both", always, LINEAGE_SPLIT_BRAIN_FULL},
};

/* ---- the comparison ------------------------------------------------------------------------ */

static enum lineage_verdict mirror(enum lineage_verdict verdict)
{
    switch (verdict) {
    case LINEAGE_SOURCE_BITMAP:
        return LINEAGE_TARGET_BITMAP;
    case LINEAGE_TARGET_BITMAP:
        return LINEAGE_SOURCE_BITMAP;
    case LINEAGE_SOURCE_FULL:
        return LINEAGE_TARGET_FULL;
    case LINEAGE_TARGET_FULL:
        return LINEAGE_SOURCE_FULL;
    case LINEAGE_NOTHING:
    case LINEAGE_BOTH_NEW:
    case LINEAGE_SPLIT_BRAIN:
    case LINEAGE_SPLIT_BRAIN_FULL:
    case LINEAGE_UNRELATED:
    case LINEAGE_VERDICT_COUNT:
        break;
    }
    return verdict;
}

/* The same verdict without the use of a bitmap. */
static enum lineage_verdict in_full(enum lineage_verdict verdict)
{
    switch (verdict) {
    case LINEAGE_SOURCE_BITMAP:
        return LINEAGE_SOURCE_FULL;
    case LINEAGE_TARGET_BITMAP:
        return LINEAGE_TARGET_FULL;
    case LINEAGE_SPLIT_BRAIN:
        return LINEAGE_SPLIT_BRAIN_FULL;
    case LINEAGE_SOURCE_FULL:
    case LINEAGE_TARGET_FULL:
    case LINEAGE_NOTHING:
    case LINEAGE_BOTH_NEW:
    case LINEAGE_SPLIT_BRAIN_FULL:
    case LINEAGE_UNRELATED:
    case LINEAGE_VERDICT_COUNT:
        break;
    }
    return verdict;
}

enum lineage_verdict lineage_compare(const struct lineage_side *ours,
                                     const struct lineage_side *peer, bool tie, const char **rule)
{
    const struct row *row = rows;
    bool self_better, peer_better;
    enum lineage_verdict verdict;

    for (;; row++) { /* the last row holds always */
        self_better = row->holds(ours, peer);
        peer_better = row->holds(peer, ours);
        if (self_better || peer_better)
            break;
    }
    if (self_better && peer_better)
        self_better = tie;
    verdict = self_better ? row->verdict : mirror(row->verdict);
    if ((ours->flags | peer->flags) & METADATA_FULL_SYNC)
        verdict = in_full(verdict);
    if ((MUTANT(history_by_bitmap) && row->holds == remembers) ||
        (MUTANT(new_by_bitmap) && row->holds == other_new) ||
        (MUTANT(inconsistent_by_bitmap) && row->holds == other_inconsistent))
        verdict = self_better ? LINEAGE_SOURCE_BITMAP : LINEAGE_TARGET_BITMAP;
    if (MUTANT(split_by_bitmap) && row->holds == always)
        verdict = LINEAGE_SPLIT_BRAIN;
    if (MUTANT(split_guessed) && verdict == LINEAGE_SPLIT_BRAIN)
        verdict = tie ? LINEAGE_SOURCE_BITMAP : LINEAGE_TARGET_BITMAP;
    if (rule)
        *rule = self_better ? row->self : row->peer;
    return verdict;
}

const char *lineage_verdict_name(enum lineage_verdict verdict)
{
    static const char *const names[LINEAGE_VERDICT_COUNT] = {
        [LINEAGE_NOTHING] = "nothing to do",
        [LINEAGE_BOTH_NEW] = "no usable data on either side",
        [LINEAGE_SOURCE_BITMAP] = "source by bitmap",
        [LINEAGE_TARGET_BITMAP] = "target by bitmap",
        [LINEAGE_SOURCE_FULL] = "source in full",
        [LINEAGE_TARGET_FULL] = "target in full",
        [LINEAGE_SPLIT_BRAIN] = "split brain",
        [LINEAGE_SPLIT_BRAIN_FULL] = "split brain without a usable bitmap",
        [LINEAGE_UNRELATED] = "unrelated data",
    };

    return (unsigned)verdict < LINEAGE_VERDICT_COUNT ? names[verdict] : "?";
}

/* ---- how generations go on ----------------------------------------------------------------- */

void lineage_remember(struct generation *generation, uint64_t id)
{
    if ((id & ~ROLE_BIT) == 0 || lineage_same(id, GENERATION_JUST_CREATED) ||
        lineage_same(id, generation->history[0]))
        return;
    generation->history[1] = generation->history[0];
    generation->history[0] = id;
}

static bool is_taken(const struct generation *generation, uint64_t id)
{
    return id == 0 || lineage_same(id, GENERATION_JUST_CREATED) ||
           lineage_same(id, generation->current) || lineage_same(id, generation->bitmap) ||
           lineage_same(id, generation->history[0]) || lineage_same(id, generation->history[1]);
}

void lineage_new_current(struct generation *generation, uint64_t fresh, bool primary)
{
    fresh &= ~ROLE_BIT;
    while (is_taken(generation, fresh))
        fresh += ROLE_BIT << 1;
    if ((generation->bitmap & ~ROLE_BIT) == 0 && !MUTANT(bitmap_generation_lost))
        generation->bitmap = generation->current;
    else
        lineage_remember(generation, generation->current);
    generation->current = fresh | (primary ? ROLE_BIT : 0);
}

bool lineage_is_ahead(const struct generation *generation)
{
    return (generation->bitmap & ~ROLE_BIT) != 0;
}

bool lineage_is_ours_alone(const struct generation *generation)
{
    return lineage_is_ahead(generation) &&
           ((generation->current & ROLE_BIT) || MUTANT(peers_generation_is_ours));
}

void lineage_synced(struct generation *generation)
{
    if (!MUTANT(synced_forgets))
        lineage_remember(generation, generation->bitmap);
    generation->bitmap = 0;
}

void lineage_adopt(struct generation *generation, const struct generation *source)
{
    uint64_t old = generation->current;

    *generation = *source;
    lineage_synced(generation);
    if (!lineage_same(old, source->current))
        lineage_remember(generation, old);
    generation->current =
        MUTANT(generation_not_adopted) ? old : (source->current & ~ROLE_BIT) | (old & ROLE_BIT);
}
