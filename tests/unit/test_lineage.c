/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_lineage.c - every row of the table by name, what holds for every pair of sides, and how
 * identifiers go on (P8, P9).
 */
#include <string.h>

#include "lineage_help.h"
#include "unit.h"

static enum lineage_verdict mirror_of(enum lineage_verdict verdict)
{
    static const enum lineage_verdict mirrors[LINEAGE_VERDICT_COUNT] = {
        [LINEAGE_NOTHING] = LINEAGE_NOTHING,
        [LINEAGE_BOTH_NEW] = LINEAGE_BOTH_NEW,
        [LINEAGE_SOURCE_BITMAP] = LINEAGE_TARGET_BITMAP,
        [LINEAGE_TARGET_BITMAP] = LINEAGE_SOURCE_BITMAP,
        [LINEAGE_SOURCE_FULL] = LINEAGE_TARGET_FULL,
        [LINEAGE_TARGET_FULL] = LINEAGE_SOURCE_FULL,
        [LINEAGE_SPLIT_BRAIN] = LINEAGE_SPLIT_BRAIN,
        [LINEAGE_SPLIT_BRAIN_FULL] = LINEAGE_SPLIT_BRAIN_FULL,
        [LINEAGE_UNRELATED] = LINEAGE_UNRELATED,
    };
    return mirrors[verdict];
}

/* ---- every row ----------------------------------------------------------------------------- */

struct example {
    const char *self, *peer; /* the rule's name, seen from ours and from the peer's side */
    struct lineage_side ours, theirs;
    enum lineage_verdict verdict;
};

static const struct example examples[] = {
    {"just-created-both",
     "just-created-both",
     {.generation = {NEW, 0, {0, 0}}},
     {.generation = {NEW, 0, {0, 0}}},
     LINEAGE_BOTH_NEW},
    {"just-created-both",
     "just-created-both",
     {.generation = {NEW, 0, {0, 0}}, .flags = GOOD},
     {.generation = {0, 0, {0, 0}}},
     LINEAGE_BOTH_NEW},
    {"just-created-peer",
     "just-created-self",
     {.generation = {A, NEW, {0, 0}}, .flags = GOOD},
     {.generation = {NEW, 0, {0, 0}}},
     LINEAGE_SOURCE_FULL},
    {"just-created-peer",
     "just-created-self",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     {.generation = {0, 0, {0, 0}}, .flags = GOOD, .primary = true},
     LINEAGE_SOURCE_FULL},
    {"just-created-inconsistent",
     "just-created-inconsistent",
     {.generation = {A, 0, {0, 0}}},
     {.generation = {NEW, 0, {0, 0}}},
     LINEAGE_BOTH_NEW},

    {"unrelated",
     "unrelated",
     {.generation = {A, 0, {C, 0}}, .flags = GOOD},
     {.generation = {B, 0, {D, 0}}, .flags = GOOD},
     LINEAGE_UNRELATED},
    {"unrelated",
     "unrelated",
     {.generation = {A, NEW, {NEW, 0}}, .flags = GOOD},
     {.generation = {B, NEW, {NEW, 0}}, .flags = GOOD},
     LINEAGE_UNRELATED},
    {"unrelated",
     "unrelated",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     {.generation = {B, 0, {0, 0}}},
     LINEAGE_UNRELATED},

    {"both-inconsistent",
     "both-inconsistent",
     {.generation = {A, B, {0, 0}}},
     {.generation = {B, 0, {0, 0}}},
     LINEAGE_BOTH_NEW},
    {"inconsistent-peer",
     "inconsistent-self",
     {.generation = {A, B, {0, 0}}, .flags = GOOD},
     {.generation = {B, 0, {0, 0}}},
     LINEAGE_SOURCE_BITMAP},
    {"inconsistent-peer",
     "inconsistent-self",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     {.generation = {A, 0, {0, 0}}, .out_of_sync = 9, .epoch = 5},
     LINEAGE_SOURCE_BITMAP},
    {"inconsistent-peer",
     "inconsistent-self",
     {.generation = {B, 0, {0, 0}}, .flags = GOOD},
     {.generation = {A, B, {0, 0}}},
     LINEAGE_SOURCE_BITMAP}, /* its owner gave up the newer one */
    {"inconsistent-peer",
     "inconsistent-self",
     {.generation = {A, C, {0, 0}}, .flags = GOOD},
     {.generation = {B, C, {0, 0}}},
     LINEAGE_SOURCE_BITMAP}, /* a split brain being resolved */
    {"inconsistent-peer",
     "inconsistent-self",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     {.generation = {A, 0, {0, 0}}, .flags = FULL},
     LINEAGE_SOURCE_FULL}, /* invalidated */
    {"inconsistent-peer-full",
     "inconsistent-self-full",
     {.generation = {A, 0, {C, 0}}, .flags = GOOD},
     {.generation = {B, 0, {0, C}}},
     LINEAGE_SOURCE_FULL},
    {"inconsistent-peer-full",
     "inconsistent-self-full",
     {.generation = {A, 0, {B, 0}}, .flags = GOOD},
     {.generation = {B, 0, {0, 0}}},
     LINEAGE_SOURCE_FULL},
    {"inconsistent-peer-full",
     "inconsistent-self-full",
     {.generation = {A, B, {0, 0}}, .flags = GOOD},
     {.generation = {B, A, {0, 0}}},
     LINEAGE_SOURCE_FULL}, /* contradicting bitmaps are not used */

    {"no-sync",
     "no-sync",
     {.generation = {A, 0, {B, C}}, .flags = GOOD},
     {.generation = {A | 1, 0, {D, 0}}, .flags = OUTDATED, .primary = true, .epoch = 9},
     LINEAGE_NOTHING},
    {"primary-self",
     "primary-peer",
     {.generation = {A, 0, {0, 0}}, .flags = OUTDATED, .primary = true},
     {.generation = {A, 0, {0, 0}}, .flags = GOOD | CRASHED, .out_of_sync = 4, .epoch = 9},
     LINEAGE_SOURCE_BITMAP},
    {"promoted-later-self",
     "promoted-later-peer",
     {.generation = {A, 0, {0, 0}}, .flags = OUTDATED, .epoch = 6},
     {.generation = {A, 0, {0, 0}}, .flags = GOOD | CRASHED, .epoch = 5},
     LINEAGE_SOURCE_BITMAP},
    {"outdated-peer",
     "outdated-self",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD, .epoch = 5},
     {.generation = {A, 0, {0, 0}}, .flags = OUTDATED | CRASHED, .epoch = 5},
     LINEAGE_SOURCE_BITMAP},
    {"crashed-primary-self",
     "crashed-primary-peer",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD | CRASHED},
     {.generation = {A, B, {0, 0}}, .flags = GOOD, .out_of_sync = 4},
     LINEAGE_SOURCE_BITMAP},
    {"source-missed-finish-self",
     "source-missed-finish-peer",
     {.generation = {A, B, {0, 0}}, .flags = GOOD},
     {.generation = {A, 0, {B, 0}}, .flags = GOOD, .out_of_sync = 4},
     LINEAGE_SOURCE_BITMAP},
    {"source-missed-finish-self",
     "source-missed-finish-peer",
     {.generation = {A, NEW, {0, 0}}, .flags = GOOD},
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_BITMAP},
    {"out-of-sync-self",
     "out-of-sync-peer",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD, .out_of_sync = 1},
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_BITMAP},
    {"out-of-sync-self",
     "out-of-sync-peer",
     {.generation = {A, 0, {0, 0}}, .flags = GOOD | FULL},
     {.generation = {A, 0, {0, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_FULL},

    {"crossed",
     "crossed",
     {.generation = {A, B, {0, 0}}, .flags = GOOD},
     {.generation = {B, A, {0, 0}}, .flags = GOOD},
     LINEAGE_SPLIT_BRAIN_FULL},
    {"crossed",
     "crossed",
     {.generation = {A, B, {0, 0}}, .flags = GOOD},
     {.generation = {B, 0, {A, 0}}, .flags = GOOD, .primary = true},
     LINEAGE_SPLIT_BRAIN_FULL},
    {"bitmap-self",
     "bitmap-peer",
     {.generation = {A, B, {C, 0}}, .flags = GOOD},
     {.generation = {B | 1, 0, {C, 0}}, .flags = GOOD | CRASHED, .epoch = 9},
     LINEAGE_SOURCE_BITMAP},
    {"bitmap-self",
     "bitmap-peer",
     {.generation = {A, B, {C, 0}}, .flags = GOOD | FULL},
     {.generation = {B, 0, {C, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_FULL},
    {"history-self",
     "history-peer",
     {.generation = {A, 0, {B, C}}, .flags = GOOD},
     {.generation = {B, 0, {C, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_FULL},
    {"history-self",
     "history-peer",
     {.generation = {A, B, {D, C}}, .flags = GOOD},
     {.generation = {C, 0, {0, 0}}, .flags = GOOD},
     LINEAGE_SOURCE_FULL},
    {"bitmap-both",
     "bitmap-both",
     {.generation = {A, C, {0, 0}}, .flags = GOOD},
     {.generation = {B, C | 1, {0, 0}}, .flags = GOOD, .primary = true},
     LINEAGE_SPLIT_BRAIN},
    {"bitmap-both",
     "bitmap-both",
     {.generation = {A, C, {0, 0}}, .flags = GOOD},
     {.generation = {B, C, {0, 0}}, .flags = GOOD | FULL},
     LINEAGE_SPLIT_BRAIN_FULL},
    {"history-both",
     "history-both",
     {.generation = {A, C, {0, 0}}, .flags = GOOD},
     {.generation = {B, D, {0, C}}, .flags = GOOD},
     LINEAGE_SPLIT_BRAIN_FULL},
    {"history-both",
     "history-both",
     {.generation = {A, 0, {D, C}}, .flags = GOOD},
     {.generation = {B, 0, {C, 0}}, .flags = GOOD},
     LINEAGE_SPLIT_BRAIN_FULL},
};

START_TEST(test_every_row)
{
    for (unsigned i = 0; i < sizeof examples / sizeof *examples; i++) {
        const struct example *example = &examples[i];

        for (int tie = 0; tie < 2; tie++) {
            const char *rule = NULL;
            enum lineage_verdict verdict =
                lineage_compare(&example->ours, &example->theirs, tie, &rule);

            ck_assert_msg(verdict == example->verdict, "example %u: %s (%s)", i,
                          lineage_verdict_name(verdict), rule);
            ck_assert_str_eq(rule, example->self);
            verdict = lineage_compare(&example->theirs, &example->ours, tie, &rule);
            ck_assert_int_eq(verdict, mirror_of(example->verdict));
            ck_assert_str_eq(rule, example->peer);
        }
    }
}
END_TEST

/* Rows that hold both ways are decided by the tie. */
START_TEST(test_ties)
{
    static const struct {
        struct lineage_side side;
        const char *self, *peer;
    } ties[] = {
        {{.generation = {A, 0, {0, 0}}, .flags = GOOD | CRASHED},
         "crashed-primary-self",
         "crashed-primary-peer"},
        {{.generation = {A, 0, {0, 0}}, .flags = GOOD, .out_of_sync = 3, .primary = true},
         "primary-self",
         "primary-peer"},
        {{.generation = {A, B, {0, 0}}, .flags = GOOD},
         "source-missed-finish-self",
         "source-missed-finish-peer"},
        {{.generation = {A, 0, {0, 0}}, .flags = GOOD, .out_of_sync = 3},
         "out-of-sync-self",
         "out-of-sync-peer"},
    };

    for (unsigned i = 0; i < sizeof ties / sizeof *ties; i++) {
        const struct lineage_side *side = &ties[i].side;
        const char *rule;

        ck_assert_int_eq(lineage_compare(side, side, true, &rule), LINEAGE_SOURCE_BITMAP);
        ck_assert_str_eq(rule, ties[i].self);
        ck_assert_int_eq(lineage_compare(side, side, false, &rule), LINEAGE_TARGET_BITMAP);
        ck_assert_str_eq(rule, ties[i].peer);
    }
}
END_TEST

/* ---- every pair of sides --------------------------------------------------------------------- */

static bool is_source(enum lineage_verdict verdict)
{
    return verdict == LINEAGE_SOURCE_BITMAP || verdict == LINEAGE_SOURCE_FULL;
}

static bool by_bitmap(enum lineage_verdict verdict)
{
    return verdict == LINEAGE_SOURCE_BITMAP || verdict == LINEAGE_TARGET_BITMAP ||
           verdict == LINEAGE_SPLIT_BRAIN;
}

static bool related_by_bitmap(const struct generation *a, const struct generation *b)
{
    return lineage_same(a->current, b->current) || lineage_same(a->bitmap, b->current) ||
           lineage_same(a->current, b->bitmap) || lineage_same(a->bitmap, b->bitmap);
}

static bool needs_nothing(const struct lineage_side *side)
{
    return side->out_of_sync == 0 && !(side->flags & (CRASHED | FULL)) &&
           side->generation.bitmap <= 1 && (side->flags & METADATA_CONSISTENT);
}

/* What must hold whatever the table says. */
static void check_pair(const struct lineage_side *a, const struct lineage_side *b, bool tie)
{
    const char *rule = NULL;
    enum lineage_verdict verdict = lineage_compare(a, b, tie, &rule);
    bool equal = lineage_same(a->generation.current, b->generation.current);
    bool usable = (a->flags & METADATA_CONSISTENT) && (b->flags & METADATA_CONSISTENT);

    REQUIRE(rule && *rule);
    REQUIRE(lineage_compare(b, a, !tie, NULL) == mirror_of(verdict));
    if (is_source(verdict)) { /* the mirror image checks the target */
        REQUIRE(a->flags & METADATA_CONSISTENT);
        REQUIRE(a->generation.current > 1 && !lineage_same(a->generation.current, NEW));
        REQUIRE(!(equal && usable && b->primary && !a->primary));
    }
    if (verdict == LINEAGE_NOTHING)
        REQUIRE(equal && needs_nothing(a) && needs_nothing(b));
    if (by_bitmap(verdict)) {
        REQUIRE(related_by_bitmap(&a->generation, &b->generation));
        REQUIRE(!((a->flags | b->flags) & FULL));
    }
    if (verdict == LINEAGE_UNRELATED || verdict == LINEAGE_SPLIT_BRAIN ||
        verdict == LINEAGE_SPLIT_BRAIN_FULL)
        REQUIRE(!equal);
    if (verdict == LINEAGE_SPLIT_BRAIN || verdict == LINEAGE_SPLIT_BRAIN_FULL)
        REQUIRE(usable);
}

/* Everything about a side but its generations, as a number below SIDE_STATES. */
enum { SIDE_STATES = 128 };

static void set_state(struct lineage_side *side, unsigned state)
{
    side->flags =
        (state & 1 ? METADATA_CONSISTENT : 0u) | (state & 2 ? METADATA_WAS_UPTODATE : 0u) |
        (state & 4 ? METADATA_CRASHED_PRIMARY : 0u) | (state & 8 ? METADATA_FULL_SYNC : 0u);
    side->out_of_sync = state >> 4 & 1;
    side->primary = state >> 5 & 1;
    side->epoch = state >> 6 & 1;
}

/* The same for the generations, each out of five. */
enum { GENERATIONS = 5 * 5 * 5 * 5 };

static void set_generation(struct lineage_side *side, unsigned number, uint64_t role)
{
    static const uint64_t ids[] = {0, NEW, A, B, C};

    side->generation = (struct generation){
        ids[number % 5] | role, ids[number / 5 % 5], {ids[number / 25 % 5], ids[number / 125]}};
}

START_TEST(test_all_generations)
{
    uint64_t seed = 8;

    for (unsigned i = 0; i < GENERATIONS; i++)
        for (unsigned j = 0; j < GENERATIONS; j++)
            for (unsigned n = 0; n < 4; n++) {
                struct lineage_side a, b;

                set_generation(&a, i, n & 1);
                set_generation(&b, j, 0);
                set_state(&a, unit_below(&seed, SIDE_STATES) | (n & 1));
                set_state(&b, unit_below(&seed, SIDE_STATES) | (n & 1));
                check_pair(&a, &b, n & 2);
            }
}
END_TEST

START_TEST(test_all_states)
{
    for (unsigned e = 0; e < sizeof examples / sizeof *examples; e++)
        for (unsigned i = 0; i < SIDE_STATES; i++)
            for (unsigned j = 0; j < SIDE_STATES; j++) {
                struct lineage_side a = examples[e].ours, b = examples[e].theirs;

                set_state(&a, i);
                set_state(&b, j);
                check_pair(&a, &b, i & 1);
            }
}
END_TEST

/* ---- identifiers ----------------------------------------------------------------------------- */

START_TEST(test_same)
{
    ck_assert(lineage_same(A, A));
    ck_assert(lineage_same(A, A | 1));
    ck_assert(!lineage_same(A, B));
    ck_assert(!lineage_same(0, 0));
    ck_assert(!lineage_same(0, 1));
    ck_assert(lineage_same(NEW, NEW));
}
END_TEST

START_TEST(test_new_current)
{
    struct generation generation = {A, 0, {C, D}};

    lineage_new_current(&generation, B, true);
    ck_assert_uint_eq(generation.current, B | 1);
    ck_assert_uint_eq(generation.bitmap, A);
    ck_assert_uint_eq(generation.history[0], C);
    /* The peer is still at A: the bitmap goes on tracking it. */
    lineage_new_current(&generation, 0x200, false);
    ck_assert_uint_eq(generation.current, 0x200);
    ck_assert_uint_eq(generation.bitmap, A);
    ck_assert_uint_eq(generation.history[0], B | 1);
    ck_assert_uint_eq(generation.history[1], C);
}
END_TEST

/* One that no Primary began is known to the peer that asked for it. */
START_TEST(test_ours_alone)
{
    struct generation generation = {A, 0, {C, D}};

    ck_assert(!lineage_is_ours_alone(&generation));
    lineage_new_current(&generation, B, false);
    ck_assert(lineage_is_ahead(&generation));
    ck_assert(!lineage_is_ours_alone(&generation));
    lineage_new_current(&generation, 0x200, true);
    ck_assert(lineage_is_ours_alone(&generation));
}
END_TEST

START_TEST(test_fresh_identifiers_are_never_taken)
{
    const uint64_t poor[] = {0, 1, NEW, NEW | 1, A, A | 1, B, C, D};

    for (unsigned i = 0; i < sizeof poor / sizeof *poor; i++) {
        struct generation generation = {A, B, {C, D}};

        lineage_new_current(&generation, poor[i], false);
        ck_assert_uint_gt(generation.current, 1);
        ck_assert(!lineage_same(generation.current, NEW));
        ck_assert(!lineage_same(generation.current, A));
        ck_assert(!lineage_same(generation.current, B));
        ck_assert(!lineage_same(generation.current, C));
        ck_assert(!lineage_same(generation.current, D));
    }
}
END_TEST

START_TEST(test_synced_and_adopt)
{
    struct generation source = {A | 1, B, {C, D}}, target = {B, 0, {C, D}};

    lineage_adopt(&target, &source);
    lineage_synced(&source);
    ck_assert_uint_eq(source.bitmap, 0);
    ck_assert_uint_eq(source.history[0], B);
    ck_assert_uint_eq(source.history[1], C);
    ck_assert_uint_eq(target.current, A); /* without the source's role */
    ck_assert_mem_eq(target.history, source.history, sizeof source.history);
    ck_assert_uint_eq(target.bitmap, 0);
    lineage_synced(&source); /* again changes nothing */
    ck_assert_uint_eq(source.history[0], B);
}
END_TEST

/* After a crash both have one generation; it does not become its own ancestor. */
START_TEST(test_adopt_of_the_same_generation)
{
    struct generation source = {A | 1, 0, {C, D}}, target = {A, 0, {C, D}};

    lineage_adopt(&target, &source);
    ck_assert_uint_eq(target.current, A);
    ck_assert_uint_eq(target.history[0], C);
    ck_assert_uint_eq(target.history[1], D);
}
END_TEST

/* The loser of a split brain remembers the generation that it gave up. */
START_TEST(test_adopt_after_split_brain)
{
    struct generation source = {A, C, {0, 0}}, target = {B, C, {0, 0}};

    lineage_adopt(&target, &source);
    ck_assert_uint_eq(target.current, A);
    ck_assert_uint_eq(target.history[0], B);
    ck_assert_uint_eq(target.history[1], C);
}
END_TEST

START_TEST(test_just_created_is_not_remembered)
{
    struct generation source = {NEW, 0, {0, 0}}, target = {NEW, 0, {0, 0}};

    lineage_new_current(&source, A, true);
    ck_assert_uint_eq(source.bitmap, NEW);
    lineage_adopt(&target, &source);
    lineage_synced(&source);
    ck_assert_uint_eq(target.history[0], 0);
    ck_assert_uint_eq(source.history[0], 0);
    ck_assert(lineage_same(source.current, target.current));
}
END_TEST

START_TEST(test_names)
{
    for (int i = 0; i < LINEAGE_VERDICT_COUNT; i++)
        ck_assert_str_ne(lineage_verdict_name((enum lineage_verdict)i), "?");
    ck_assert_str_eq(lineage_verdict_name(LINEAGE_VERDICT_COUNT), "?");
}
END_TEST

UNIT_MAIN("lineage", test_every_row, test_ties, test_all_generations, test_all_states, test_same,
          test_new_current, test_ours_alone, test_fresh_identifiers_are_never_taken,
          test_synced_and_adopt, test_adopt_of_the_same_generation, test_adopt_after_split_brain,
          test_just_created_is_not_remembered, test_names)
