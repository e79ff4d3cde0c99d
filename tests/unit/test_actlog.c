/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_actlog.c - golden bytes, eviction, damage. test_actlog_history.c has the random histories.
 */
#include <string.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "actlog_help.h"

/* Writes transactions until nothing is pending. */
static void write_all(struct actlog *log, uint8_t (*ring)[BLOCK])
{
    uint8_t block[BLOCK];
    uint32_t index;

    while (actlog_needs_write(log)) {
        actlog_encode(log, block, &index);
        if (ring)
            memcpy(ring[index], block, BLOCK);
        actlog_written(log);
    }
}

static bool recovered(const struct actlog *log, uint32_t extent)
{
    for (uint32_t i = 0; i < actlog_count(log); i++)
        if (actlog_extent_at(log, i) == extent)
            return true;
    return false;
}

static void repair_crc(uint8_t *block)
{
    struct bytes_writer crc = bytes_writer(block + 4, 4);

    bytes_put32(&crc, 0);
    crc = bytes_writer(block + 4, 4);
    bytes_put32(&crc, crc32c_update(0, block, BLOCK));
}

/* ---- bytes --------------------------------------------------------------------------------- */

START_TEST(test_golden_block)
{
    struct actlog *log = new_log(MIN);
    uint8_t block[BLOCK], golden[BLOCK] = {0};
    uint32_t index;

    (void)unit_hex("7444414c3a9de572010002004300000001000000000000000100000000000000"
                   "430000000000000000000100",
                   golden, BLOCK);
    (void)unit_hex("0500000040420f00", golden + 168, 8);
    (void)unit_hex("0500000040420f00", golden + 424, 8);
    memset(golden + 432, 0xff, 4 * (MIN - 2));
    ck_assert_int_eq(actlog_get(log, 5), ACTLOG_PENDING);
    ck_assert_int_eq(actlog_get(log, 1000000), ACTLOG_PENDING);
    actlog_encode(log, block, &index);
    ck_assert_uint_eq(index, 1);
    ck_assert_mem_eq(block, golden, BLOCK);
    actlog_free(log);
}
END_TEST

/* ---- the table ----------------------------------------------------------------------------- */

START_TEST(test_pending_until_written)
{
    struct actlog *log = new_log(MIN);
    uint8_t block[BLOCK];
    uint32_t index;

    ck_assert(!actlog_needs_write(log));
    ck_assert_int_eq(actlog_get(log, 7), ACTLOG_PENDING);
    ck_assert(actlog_needs_write(log));
    actlog_encode(log, block, &index);
    ck_assert(!actlog_needs_write(log));
    ck_assert_int_eq(actlog_get(log, 7), ACTLOG_PENDING); /* under way is not durable */
    ck_assert_int_eq(actlog_get(log, 8), ACTLOG_PENDING); /* for the next one */
    ck_assert(!actlog_hot(log, 7));
    actlog_written(log);
    ck_assert(actlog_hot(log, 7));
    ck_assert(!actlog_hot(log, 8));
    ck_assert(!actlog_hot(log, 9));
    ck_assert_int_eq(actlog_get(log, 7), ACTLOG_HOT);
    ck_assert_int_eq(actlog_get(log, 8), ACTLOG_PENDING);
    ck_assert(actlog_needs_write(log));
    actlog_free(log);
}
END_TEST

START_TEST(test_failed_transaction_is_written_again)
{
    struct actlog *log = new_log(MIN);
    uint8_t first[BLOCK], second[BLOCK];
    uint32_t index, again;

    ck_assert_int_eq(actlog_get(log, 7), ACTLOG_PENDING);
    actlog_encode(log, first, &index);
    actlog_failed(log);
    ck_assert(!actlog_hot(log, 7));
    ck_assert(actlog_needs_write(log));
    actlog_encode(log, second, &again);
    ck_assert_uint_eq(again, index);
    ck_assert_mem_eq(first, second, BLOCK);
    actlog_written(log);
    ck_assert(actlog_hot(log, 7));
    actlog_free(log);
}
END_TEST

START_TEST(test_more_changes_than_a_transaction_holds)
{
    struct actlog *log = new_log(200);
    uint8_t block[BLOCK];
    uint32_t index, hot = 0;

    for (uint32_t i = 0; i < 100; i++)
        ck_assert_int_eq(actlog_get(log, i), ACTLOG_PENDING);
    actlog_encode(log, block, &index);
    actlog_written(log);
    for (uint32_t i = 0; i < 100; i++)
        hot += actlog_hot(log, i);
    ck_assert_uint_eq(hot, 64);
    ck_assert(actlog_needs_write(log));
    actlog_encode(log, block, &index);
    actlog_written(log);
    ck_assert(!actlog_needs_write(log));
    for (uint32_t i = 0; i < 100; i++)
        ck_assert(actlog_hot(log, i));
    actlog_free(log);
}
END_TEST

/* Only what was put before the confirmation began, and not touched since, may be evicted. */
START_TEST(test_eviction_needs_a_confirmation)
{
    struct actlog *log = new_log(MIN);

    for (uint32_t i = 0; i < MIN; i++)
        (void)actlog_get(log, i);
    write_all(log, NULL);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_FULL);
    for (uint32_t i = 0; i < MIN; i++)
        if (i != 3)
            actlog_put(log, i);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_FULL); /* put, not confirmed */
    actlog_confirm_begin(log);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_FULL); /* not yet */
    actlog_put(log, 3);                                   /* too late for this one */
    use(log, 4);                                          /* touched meanwhile */
    actlog_confirm_end(log);
    for (uint32_t i = 0; i < MIN - 2; i++)
        ck_assert_int_eq(actlog_get(log, 1000 + i), ACTLOG_PENDING);
    ck_assert_int_eq(actlog_get(log, 2000), ACTLOG_FULL);
    ck_assert_int_eq(actlog_get(log, 3), ACTLOG_HOT);
    ck_assert_int_eq(actlog_get(log, 4), ACTLOG_HOT);
    actlog_free(log);
}
END_TEST

/* A slot may be given away while the transaction that names it is queued or under way. */
START_TEST(test_slot_given_away_before_it_is_written)
{
    struct actlog *log = new_log(MIN);
    uint8_t block[BLOCK];
    uint32_t index;

    for (uint32_t i = 0; i < MIN; i++)
        (void)actlog_get(log, i);
    actlog_put(log, 0); /* its write was given up; it is still queued */
    confirm(log);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_PENDING);
    actlog_encode(log, block, &index); /* with 1000 */
    actlog_put(log, 1);
    actlog_put(log, 1000);
    confirm(log);
    ck_assert_int_eq(actlog_get(log, 1001), ACTLOG_PENDING); /* takes the slot of 1 */
    actlog_written(log);
    ck_assert(actlog_hot(log, 1000));
    ck_assert(!actlog_hot(log, 1001));
    ck_assert(!actlog_hot(log, 0));
    ck_assert(actlog_needs_write(log));
    write_all(log, NULL);
    ck_assert(actlog_hot(log, 1001));
    for (uint32_t i = 2; i < MIN; i++)
        ck_assert(actlog_hot(log, i));
    actlog_free(log);
}
END_TEST

START_TEST(test_least_recently_put_goes_first)
{
    struct actlog *log = new_log(MIN);

    for (uint32_t i = 0; i < MIN; i++)
        use(log, i);
    write_all(log, NULL);
    confirm(log);
    use(log, 0); /* in use again: last in line */
    confirm(log);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_PENDING);
    ck_assert(!actlog_hot(log, 1));
    ck_assert(actlog_hot(log, 0));
    ck_assert(actlog_hot(log, 2));
    actlog_free(log);
}
END_TEST

START_TEST(test_aborted_and_nested_confirmations)
{
    struct actlog *log = new_log(MIN);

    for (uint32_t i = 0; i < MIN; i++)
        use(log, i);
    write_all(log, NULL);
    actlog_confirm_begin(log);
    actlog_confirm_abort(log);
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_FULL);
    actlog_confirm_end(log); /* there is none */
    ck_assert_int_eq(actlog_get(log, 1000), ACTLOG_FULL);
    actlog_confirm_begin(log);
    use(log, 5);
    actlog_confirm_begin(log); /* does not cover 5: its flush may have begun before */
    actlog_confirm_end(log);
    for (uint32_t i = 0; i < MIN - 1; i++)
        ck_assert_int_eq(actlog_get(log, 1000 + i), ACTLOG_PENDING);
    ck_assert_int_eq(actlog_get(log, 2000), ACTLOG_FULL);
    ck_assert(actlog_hot(log, 5));
    actlog_free(log);
}
END_TEST

/* ---- after a crash ------------------------------------------------------------------------- */

START_TEST(test_empty_ring)
{
    static uint8_t ring[RING][BLOCK];
    struct actlog *log = new_log(MIN);

    ck_assert_int_eq(scan(log, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(log), 0);
    actlog_free(log);
}
END_TEST

/* After a reset, older transactions do not count, whatever stands in the ring; even where the
 * window of the first new one does not reach. */
START_TEST(test_reset_starts_a_new_base)
{
    static uint8_t ring[RING][BLOCK];
    struct actlog *log = new_log(2000), *after;

    for (uint32_t i = 0; i < 1500; i++) {
        use(log, i);
        if (i % 40 == 39 || i == 1499)
            write_all(log, ring);
    }
    actlog_reset(log);
    after = new_log(2000);
    ck_assert_int_eq(scan(after, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(after), 1500); /* nothing written since: still the old set */
    actlog_free(after);
    use(log, 500);
    write_all(log, ring);
    after = new_log(2000);
    ck_assert_int_eq(scan(after, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(after), 1);
    ck_assert(recovered(after, 500));
    actlog_reset(after);
    ck_assert_uint_eq(actlog_count(after), 0);
    actlog_free(after);
    actlog_free(log);
}
END_TEST

/* The number of extents in the configuration may change between two attaches. */
START_TEST(test_table_of_another_size)
{
    static uint8_t ring[RING][BLOCK];
    struct actlog *big = new_log(2000), *small = new_log(MIN);

    for (uint32_t i = 0; i < 2000; i++)
        use(big, i);
    write_all(big, ring);
    ck_assert_int_eq(scan(small, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(small), 2000);
    for (uint32_t i = 0; i < 2000; i++)
        ck_assert(recovered(small, i));
    actlog_reset(small);
    use(small, 77);
    write_all(small, ring);
    ck_assert_int_eq(scan(big, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(big), 1);
    ck_assert(recovered(big, 77));
    actlog_free(big);
    actlog_free(small);
}
END_TEST

static void fill_ring(uint8_t (*ring)[BLOCK], uint32_t extents, uint32_t transactions)
{
    struct actlog *log = new_log(extents);
    uint8_t block[BLOCK];
    uint32_t index;

    for (uint32_t i = 0; i < transactions; i++) {
        if (i < extents)
            use(log, i);
        actlog_encode(log, block, &index);
        memcpy(ring[index], block, BLOCK);
        actlog_written(log);
    }
    actlog_free(log);
}

START_TEST(test_damage)
{
    static uint8_t ring[RING][BLOCK];
    struct actlog *log = new_log(MIN);
    struct replica_error error;

    fill_ring(ring, 2000, 300); /* newest: 300, at 300 % 128 = 44; the window has 3 parts */
    ck_assert_int_eq(scan(log, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(log), 300);
    ring[45][9] ^= 1; /* torn where the next one goes: normal */
    ck_assert_int_eq(scan(log, ring, NULL), 0);
    ck_assert_uint_eq(actlog_count(log), 300);
    ring[46][9] ^= 1; /* and another: no crash does that */
    ck_assert_int_eq(scan(log, ring, &error), REPLICA_E_METADATA);
    ck_assert_int_eq(error.code, REPLICA_E_METADATA);
    ck_assert_uint_eq(actlog_count(log), 0);
    ring[45][9] ^= 1;
    ring[46][9] ^= 1;
    ring[43][9] ^= 1; /* a hole in the newest */
    ck_assert_int_eq(scan(log, ring, NULL), REPLICA_E_METADATA);
    memset(ring[43], 0, BLOCK);
    ck_assert_int_eq(scan(log, ring, NULL), REPLICA_E_METADATA);
    actlog_free(log);
}
END_TEST

/* Blocks with a good checksum that no version of this program writes. */
START_TEST(test_impossible_blocks)
{
    static const struct {
        unsigned at, width;
        uint64_t value;
    } patches[] = {
        {8, 2, 2},           /* version */
        {10, 2, 65},         /* more changes than fit */
        {12, 2, 66},         /* a window of another length */
        {14, 2, 1},          /* reserved */
        {16, 8, 0},          /* sequence 0 */
        {16, 8, UINT64_MAX}, /* the next would be 0 */
        {24, 8, 0},          /* base 0 */
        {24, 8, 2},          /* base after the sequence */
        {32, 4, MIN - 1},    /* slots */
        {32, 4, METADATA_AL_EXTENTS_MAX + 1},
        {36, 4, MIN}, /* window behind the table */
        {36, 4, 1},   /* window between two */
        {40, 2, MIN}, /* a change behind the table */
    };
    static uint8_t ring[RING][BLOCK];
    struct actlog *log = new_log(MIN);

    for (unsigned i = 0; i < sizeof patches / sizeof *patches; i++) {
        struct bytes_writer writer;

        memset(ring, 0, sizeof ring);
        fill_ring(ring, MIN, 1);
        ck_assert_int_eq(scan(log, ring, NULL), 0);
        writer = bytes_writer(ring[1] + patches[i].at, patches[i].width);
        bytes_put(&writer, patches[i].value, patches[i].width);
        repair_crc(ring[1]);
        ck_assert_msg(scan(log, ring, NULL) == REPLICA_E_METADATA, "patch %u", i);
    }
    actlog_free(log);
}
END_TEST

START_TEST(test_goes_on_after_a_failed_scan)
{
    static uint8_t ring[RING][BLOCK];
    struct actlog *log = new_log(MIN);

    fill_ring(ring, 2000, 300);
    memset(ring[43], 0, BLOCK);
    ck_assert_int_eq(scan(log, ring, NULL), REPLICA_E_METADATA);
    actlog_reset(log);
    use(log, 9);
    write_all(log, ring);
    ck_assert_int_eq(scan(log, ring, NULL), 0); /* newer than all that was there */
    ck_assert_uint_eq(actlog_count(log), 1);
    actlog_free(log);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------- */

struct counted {
    unsigned left;
    int held;
};

static void *counted_allocate(void *context, size_t count, size_t size)
{
    struct counted *counted = context;

    if (counted->left == 0)
        return NULL;
    counted->left--;
    counted->held++;
    return calloc(count, size);
}

static void counted_release(void *context, void *memory)
{
    ((struct counted *)context)->held--;
    free(memory);
}

START_TEST(test_memory)
{
    struct counted counted = {0, 0};
    struct core_allocator allocator = {counted_allocate, counted_release, &counted};
    struct actlog *log = NULL;
    int code = REPLICA_E_MEMORY;
    unsigned n;

    for (n = 0; code; n++) {
        counted.left = n;
        code = actlog_new(&log, MIN, &allocator);
        ck_assert(code == 0 || (code == REPLICA_E_MEMORY && counted.held == 0 && !log));
    }
    ck_assert_uint_ge(n, 4);
    actlog_free(log);
    ck_assert_int_eq(counted.held, 0);
    ck_assert_int_eq(actlog_new(&log, MIN - 1, NULL), REPLICA_E_INVALID);
    ck_assert_int_eq(actlog_new(&log, METADATA_AL_EXTENTS_MAX + 1, NULL), REPLICA_E_INVALID);
    actlog_free(NULL);
}
END_TEST

UNIT_MAIN("actlog", test_golden_block, test_pending_until_written,
          test_failed_transaction_is_written_again, test_more_changes_than_a_transaction_holds,
          test_eviction_needs_a_confirmation, test_slot_given_away_before_it_is_written,
          test_least_recently_put_goes_first, test_aborted_and_nested_confirmations,
          test_empty_ring, test_reset_starts_a_new_base, test_table_of_another_size, test_damage,
          test_impossible_blocks, test_goes_on_after_a_failed_scan, test_memory)
