/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * split.h - after a split brain: whose data are given up without asking a person, if anybody's.
 * Pure tables of after-sb-0pri, -1pri and -2pri; DRBD's words. Both nodes compute the mirrored
 * answer out of the same facts and of policies that they have found to be the same.
 */
#ifndef CORE_SPLIT_H
#define CORE_SPLIT_H

#include "lineage.h"

enum split_0pri {
    SPLIT_0PRI_DISCONNECT,
    SPLIT_0PRI_DISCARD_YOUNGER_PRIMARY,
    SPLIT_0PRI_DISCARD_OLDER_PRIMARY,
    SPLIT_0PRI_DISCARD_ZERO_CHANGES,
    SPLIT_0PRI_DISCARD_LEAST_CHANGES,
    SPLIT_0PRI_DISCARD_LOCAL,
    SPLIT_0PRI_DISCARD_REMOTE,
    SPLIT_0PRI_COUNT
};
enum split_1pri {
    SPLIT_1PRI_DISCONNECT,
    SPLIT_1PRI_CONSENSUS,
    SPLIT_1PRI_DISCARD_SECONDARY,
    SPLIT_1PRI_CALL_PRI_LOST,
    SPLIT_1PRI_COUNT
};
enum split_2pri { SPLIT_2PRI_DISCONNECT, SPLIT_2PRI_CALL_PRI_LOST, SPLIT_2PRI_COUNT };

struct split_policies {
    enum split_0pri none; /* by how many of the two are Primary when they meet */
    enum split_1pri one;
    enum split_2pri two;
};

enum split_answer {
    SPLIT_ASK,          /* a person */
    SPLIT_DISCARD_OURS, /* we become the target */
    SPLIT_DISCARD_PEER,
    SPLIT_PRI_LOST, /* we are Primary and have lost: ask, and call pri-lost-after-sb */
    SPLIT_ANSWER_COUNT
};

/* `tie` decides between equals; true on one of the two nodes. */
enum split_answer split_resolve(const struct split_policies *policies,
                                const struct lineage_side *ours, const struct lineage_side *peer,
                                bool tie);

/* The policies in one number, for the peer; 0: always ask. */
uint32_t split_encode(const struct split_policies *policies);

/* Do the peer's, in that number, say the same as ours? discard-local here is discard-remote there.
 */
bool split_agree(const struct split_policies *ours, uint32_t peers);

#endif
