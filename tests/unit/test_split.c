/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_split.c - every row of the after-sb policies, from both sides (P8). */
#include "libreplica/core/split.h"

#include "unit.h"

struct row {
    struct split_policies policies;
    bool was_primary[2], primary[2];
    uint64_t changes[2];
    enum split_answer ours, peers;
};

#define ZERO(name)                \
    {                             \
        .none = SPLIT_0PRI_##name \
    }
#define ONE(zero, name)                                     \
    {                                                       \
        .none = SPLIT_0PRI_##zero, .one = SPLIT_1PRI_##name \
    }
#define TWO(zero, name)                                     \
    {                                                       \
        .none = SPLIT_0PRI_##zero, .two = SPLIT_2PRI_##name \
    }
#define OURS_LOSE SPLIT_DISCARD_OURS, SPLIT_DISCARD_PEER
#define PEER_LOSES SPLIT_DISCARD_PEER, SPLIT_DISCARD_OURS
#define BOTH_ASK SPLIT_ASK, SPLIT_ASK

/* was Primary, is Primary, changed blocks: ours, the peer's. Ties are won by ours. */
static const struct row rows[] = {
    {ZERO(DISCONNECT), {1, 0}, {0, 0}, {5, 0}, BOTH_ASK},
    {ZERO(DISCARD_YOUNGER_PRIMARY), {1, 0}, {0, 0}, {1, 9}, PEER_LOSES},
    {ZERO(DISCARD_YOUNGER_PRIMARY), {0, 1}, {0, 0}, {9, 1}, OURS_LOSE},
    {ZERO(DISCARD_YOUNGER_PRIMARY), {1, 1}, {0, 0}, {1, 9}, OURS_LOSE},
    {ZERO(DISCARD_YOUNGER_PRIMARY), {0, 0}, {0, 0}, {9, 1}, PEER_LOSES},
    {ZERO(DISCARD_OLDER_PRIMARY), {1, 0}, {0, 0}, {9, 1}, OURS_LOSE},
    {ZERO(DISCARD_OLDER_PRIMARY), {0, 1}, {0, 0}, {1, 9}, PEER_LOSES},
    {ZERO(DISCARD_OLDER_PRIMARY), {0, 0}, {0, 0}, {1, 9}, OURS_LOSE},
    {ZERO(DISCARD_ZERO_CHANGES), {1, 0}, {0, 0}, {0, 4}, OURS_LOSE},
    {ZERO(DISCARD_ZERO_CHANGES), {1, 0}, {0, 0}, {4, 0}, PEER_LOSES},
    {ZERO(DISCARD_ZERO_CHANGES), {1, 0}, {0, 0}, {0, 0}, PEER_LOSES},
    {ZERO(DISCARD_ZERO_CHANGES), {1, 0}, {0, 0}, {1, 9}, BOTH_ASK},
    {ZERO(DISCARD_LEAST_CHANGES), {1, 0}, {0, 0}, {3, 4}, OURS_LOSE},
    {ZERO(DISCARD_LEAST_CHANGES), {1, 0}, {0, 0}, {4, 3}, PEER_LOSES},
    {ZERO(DISCARD_LEAST_CHANGES), {1, 0}, {0, 0}, {4, 4}, PEER_LOSES},

    {ONE(DISCARD_LEAST_CHANGES, DISCONNECT), {1, 0}, {1, 0}, {9, 1}, BOTH_ASK},
    {ONE(DISCARD_LEAST_CHANGES, CONSENSUS), {1, 0}, {1, 0}, {9, 1}, PEER_LOSES},
    {ONE(DISCARD_LEAST_CHANGES, CONSENSUS), {1, 0}, {0, 1}, {1, 9}, OURS_LOSE},
    {ONE(DISCARD_LEAST_CHANGES, CONSENSUS), {1, 0}, {1, 0}, {1, 9}, BOTH_ASK},
    {ONE(DISCONNECT, CONSENSUS), {1, 0}, {1, 0}, {9, 1}, BOTH_ASK},
    {ONE(DISCONNECT, DISCARD_SECONDARY), {0, 1}, {1, 0}, {1, 9}, PEER_LOSES},
    {ONE(DISCONNECT, DISCARD_SECONDARY), {1, 0}, {0, 1}, {9, 1}, OURS_LOSE},
    {ONE(DISCARD_LEAST_CHANGES, CALL_PRI_LOST), {0, 0}, {1, 0}, {9, 1}, PEER_LOSES},
    {ONE(DISCARD_LEAST_CHANGES, CALL_PRI_LOST), {0, 0}, {1, 0}, {1, 9}, SPLIT_PRI_LOST, SPLIT_ASK},
    {ONE(DISCARD_LEAST_CHANGES, CALL_PRI_LOST), {0, 0}, {0, 1}, {9, 1}, SPLIT_ASK, SPLIT_PRI_LOST},
    {ONE(DISCONNECT, CALL_PRI_LOST), {0, 0}, {1, 0}, {1, 9}, BOTH_ASK},

    {TWO(DISCARD_LEAST_CHANGES, DISCONNECT), {1, 0}, {1, 1}, {1, 9}, BOTH_ASK},
    {TWO(DISCARD_LEAST_CHANGES, CALL_PRI_LOST), {1, 0}, {1, 1}, {1, 9}, SPLIT_PRI_LOST, SPLIT_ASK},
    {TWO(DISCARD_LEAST_CHANGES, CALL_PRI_LOST), {1, 0}, {1, 1}, {9, 1}, SPLIT_ASK, SPLIT_PRI_LOST},
};

static struct lineage_side side_of(const struct row *row, unsigned which)
{
    return (struct lineage_side){
        .generation = {.current = 0x100 + 0x10 * which, .bitmap = 0x200 | row->was_primary[which]},
        .out_of_sync = row->changes[which],
        .primary = row->primary[which]};
}

START_TEST(test_every_row)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lineage_side ours = side_of(&rows[i], 0), peer = side_of(&rows[i], 1);

        ck_assert_msg(split_resolve(&rows[i].policies, &ours, &peer, true) == rows[i].ours &&
                          split_resolve(&rows[i].policies, &peer, &ours, false) == rows[i].peers,
                      "row %zu", i);
    }
}
END_TEST

START_TEST(test_local_and_remote)
{
    struct split_policies local = ZERO(DISCARD_LOCAL), remote = ZERO(DISCARD_REMOTE);
    struct lineage_side ours = side_of(&rows[0], 0), peer = side_of(&rows[0], 1);

    ck_assert_int_eq(split_resolve(&local, &ours, &peer, true), SPLIT_DISCARD_OURS);
    ck_assert_int_eq(split_resolve(&remote, &peer, &ours, false), SPLIT_DISCARD_PEER);
    ck_assert(split_agree(&local, split_encode(&remote)));
    ck_assert(split_agree(&remote, split_encode(&local)));
    ck_assert(!split_agree(&local, split_encode(&local)));
}
END_TEST

/* Whatever the facts: never a Primary that is a target, never both or neither, if one is named. */
static void check_mirror(const struct split_policies *policies, const struct row *facts)
{
    struct lineage_side ours = side_of(facts, 0), peer = side_of(facts, 1);
    enum split_answer a = split_resolve(policies, &ours, &peer, true);
    enum split_answer b = split_resolve(policies, &peer, &ours, false);

    ck_assert_int_eq(a == SPLIT_DISCARD_OURS, b == SPLIT_DISCARD_PEER);
    ck_assert_int_eq(a == SPLIT_DISCARD_PEER, b == SPLIT_DISCARD_OURS);
    ck_assert(!(a == SPLIT_DISCARD_OURS && ours.primary));
    ck_assert(!(b == SPLIT_DISCARD_OURS && peer.primary));
    ck_assert(!(a == SPLIT_PRI_LOST && b == SPLIT_PRI_LOST));
    ck_assert(!(a == SPLIT_PRI_LOST && !ours.primary));
}

START_TEST(test_mirrored)
{
    for (unsigned n = 0;
         n < (unsigned)SPLIT_0PRI_DISCARD_LOCAL * SPLIT_1PRI_COUNT * SPLIT_2PRI_COUNT; n++) {
        struct split_policies policies = {
            .none = (enum split_0pri)(n % SPLIT_0PRI_DISCARD_LOCAL),
            .one = (enum split_1pri)(n / SPLIT_0PRI_DISCARD_LOCAL % SPLIT_1PRI_COUNT),
            .two = (enum split_2pri)(n / SPLIT_0PRI_DISCARD_LOCAL / SPLIT_1PRI_COUNT)};

        ck_assert(split_agree(&policies, split_encode(&policies)));
        for (unsigned f = 0; f < 16 * 9; f++) {
            struct row facts = {.was_primary = {f & 1, f >> 1 & 1},
                                .primary = {f >> 2 & 1, f >> 3 & 1},
                                .changes = {f / 16 % 3, f / 48}};

            check_mirror(&policies, &facts);
        }
    }
}
END_TEST

UNIT_MAIN("split", test_every_row, test_local_and_remote, test_mirrored)
