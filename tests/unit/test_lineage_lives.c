/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_lineage_lives.c - lives of two nodes, told with the functions that move generations on
 * (P8, P9).
 */
#include <string.h>

#include "lineage_help.h"
#include "unit.h"

static enum lineage_verdict meet(const struct lineage_side *a, const struct lineage_side *b)
{
    return lineage_compare(a, b, true, NULL);
}

static void finish_sync(struct lineage_side *source, struct lineage_side *target)
{
    lineage_adopt(&target->generation, &source->generation);
    lineage_synced(&source->generation);
    source->flags = target->flags = GOOD;
    source->out_of_sync = target->out_of_sync = 0;
}

static void in_sync_pair(struct lineage_side *a, struct lineage_side *b)
{
    memset(a, 0, sizeof *a);
    memset(b, 0, sizeof *b);
    a->generation.current = b->generation.current = NEW;
    ck_assert_int_eq(meet(a, b), LINEAGE_BOTH_NEW);
    lineage_new_current(&a->generation, 0x1000, true); /* primary --force */
    a->flags = GOOD;
    ck_assert_int_eq(meet(a, b), LINEAGE_SOURCE_FULL);
    finish_sync(a, b);
    ck_assert_int_eq(meet(a, b), LINEAGE_NOTHING);
}

/* The node writes alone: P7. */
static void write_alone(struct lineage_side *side, uint64_t fresh)
{
    lineage_new_current(&side->generation, fresh, true);
    side->out_of_sync++;
}

START_TEST(test_primary_goes_on_alone_and_peer_comes_back)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    write_alone(&a, 0x2000);
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP);
    b.flags = 0; /* the resync begins, and is cut */
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP);
    write_alone(&a, 0x3000); /* and a goes on writing */
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP);
    finish_sync(&a, &b);
    ck_assert_int_eq(meet(&a, &b), LINEAGE_NOTHING);
}
END_TEST

START_TEST(test_both_write_alone)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    write_alone(&a, 0x2000);
    write_alone(&b, 0x3000);
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SPLIT_BRAIN);
    b.flags = 0; /* the operator discards b's data; the resync is cut */
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP);
    finish_sync(&a, &b);
    ck_assert_int_eq(meet(&a, &b), LINEAGE_NOTHING);
}
END_TEST

/* A stale host that comes back never wins over a newer one, however often the newer has moved on.
 */
START_TEST(test_stale_host_never_wins)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    a.flags |= CRASHED; /* a crashes as Primary, with writes in flight */
    a.out_of_sync = 50;
    for (unsigned i = 0; i < 6; i++) {
        write_alone(&b, 0x2000 + 0x1000 * i);
        ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_BITMAP);
    }
}
END_TEST

/* Promoted after the crash of the other, but nothing was written: its guest has read its data. */
START_TEST(test_promoted_without_a_write)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    a.epoch = b.epoch = 5;
    a.flags |= CRASHED;
    a.out_of_sync = 50;
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP); /* nobody was promoted since */
    b.epoch = 6;
    b.primary = true;
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_BITMAP);
    b.primary = false; /* demoted again */
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_BITMAP);
    b.flags |= CRASHED; /* or crashed itself */
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_BITMAP);
}
END_TEST

/* The target has recorded the end of the resync, the source has not. */
START_TEST(test_source_missed_the_finish)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    write_alone(&a, 0x2000);
    lineage_adopt(&b.generation, &a.generation);
    ck_assert_int_eq(meet(&a, &b), LINEAGE_SOURCE_BITMAP);
    write_alone(&b, 0x3000); /* b is promoted and writes; a stays behind */
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_BITMAP);
    write_alone(&a, 0x4000); /* a was Primary all the time */
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SPLIT_BRAIN_FULL);
}
END_TEST

/* The target is Inconsistent under the source's generation from the start: wherever the resync is
 * cut, it goes on by bitmap. */
START_TEST(test_resync_is_resumed)
{
    struct lineage_side source, target;

    in_sync_pair(&source, &target);
    target.generation = (struct generation){NEW, 0, {0, 0}}; /* the disk was replaced */
    target.flags = 0;
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_FULL);
    lineage_adopt(&target.generation, &source.generation);
    target.out_of_sync = source.out_of_sync = 1000;
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_BITMAP); /* cut */
    write_alone(&source, 0x2000);
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_BITMAP);
    lineage_adopt(&target.generation, &source.generation);
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_BITMAP); /* cut before the source's */
    lineage_synced(&source.generation);
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_BITMAP);
    write_alone(&source, 0x3000);
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SOURCE_BITMAP);

    target.flags = GOOD; /* forced to be Primary in the middle of it */
    write_alone(&target, 0x4000);
    ck_assert_int_eq(meet(&source, &target), LINEAGE_SPLIT_BRAIN);
}
END_TEST

/* An invalidated disk gets everything from the other, whichever is newer. */
START_TEST(test_invalidate)
{
    struct lineage_side a, b;

    in_sync_pair(&a, &b);
    a.flags = FULL;
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_FULL);
    in_sync_pair(&a, &b);
    write_alone(&a, 0x2000);
    a.flags = FULL;
    ck_assert_int_eq(meet(&b, &a), LINEAGE_SOURCE_FULL);
    b.flags = FULL;
    ck_assert_int_eq(meet(&a, &b), LINEAGE_BOTH_NEW);
}
END_TEST

UNIT_MAIN("lineage lives", test_primary_goes_on_alone_and_peer_comes_back, test_both_write_alone,
          test_stale_host_never_wins, test_promoted_without_a_write, test_source_missed_the_finish,
          test_resync_is_resumed, test_invalidate)
