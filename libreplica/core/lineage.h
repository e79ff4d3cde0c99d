/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lineage.h - generation identifiers and the one decision table (P8): given both nodes'
 * generations and flags, who has to resync from whom. Pure. The table stands in lineage.c, every
 * row with DRBD's rule it follows and a test.
 */
#ifndef CORE_LINEAGE_H
#define CORE_LINEAGE_H

#include <stdbool.h>

#include "metadata.h"

enum lineage_verdict {
    LINEAGE_NOTHING,       /* equal, in sync: nothing to do */
    LINEAGE_BOTH_NEW,      /* neither side has usable data (both just created, or both
                              Inconsistent): no sync, wait for an operator's word */
    LINEAGE_SOURCE_BITMAP, /* we are the source, by bitmap */
    LINEAGE_TARGET_BITMAP,
    LINEAGE_SOURCE_FULL,
    LINEAGE_TARGET_FULL,
    LINEAGE_SPLIT_BRAIN,      /* a common ancestor with usable bitmaps on both sides */
    LINEAGE_SPLIT_BRAIN_FULL, /* a common ancestor in history only: any resync is a full one */
    LINEAGE_UNRELATED,
    LINEAGE_VERDICT_COUNT
};

/* One node's part in the comparison, as it stands in STATE messages. */
struct lineage_side {
    struct generation generation;
    uint32_t flags;       /* enum metadata_flags */
    uint64_t out_of_sync; /* set bits in its bitmap */
    uint64_t epoch;       /* ownership epoch (P6) */
    bool primary;         /* holds the Primary role now */
};

/* Compares ours with the peer's. Symmetric: swapping the sides gives the mirrored verdict.
 * *rule (may be NULL) receives the row's name for the log. `tie` breaks a symmetric crash (both
 * crashed primaries with equal generations): true when this node wins. */
enum lineage_verdict lineage_compare(const struct lineage_side *ours,
                                     const struct lineage_side *peer, bool tie, const char **rule);

const char *lineage_verdict_name(enum lineage_verdict verdict);

/* True when the two identifiers name the same generation (the lowest bit does not count). 0 names
 * none and is the same as nothing. */
bool lineage_same(uint64_t a, uint64_t b);

/* New current generation (P7): the old current becomes the bitmap generation, unless one is set
 * already (then the old current goes into history). `fresh` is random; what is taken already, 0 and
 * JUST_CREATED are never used. */
void lineage_new_current(struct generation *generation, uint64_t fresh, bool primary);

/* `id` becomes the newest in history, unless it names nothing. */
void lineage_remember(struct generation *generation, uint64_t id);

/* The peer is known not to have our current generation in sync. */
bool lineage_is_ahead(const struct generation *generation);

/* The same, and the peer cannot know the current generation: going on without it needs no newer
 * one. It does know a generation that it asked for itself when it lost its disk (its bit says that
 * no Primary began it here): it may have made that one an ancestor of its own. */
bool lineage_is_ours_alone(const struct generation *generation);

/* The bitmap generation moves into history: the peer has the current one now. */
void lineage_synced(struct generation *generation);

/* A resync target takes over the source's generations; its own old current, if it differs, moves
 * into history. While it is Inconsistent its being equal says only that the bitmaps of both know
 * what is missing: a resync that is cut, in full or not, goes on by bitmap. */
void lineage_adopt(struct generation *generation, const struct generation *source);

#endif
