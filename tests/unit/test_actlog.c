/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_actlog.c - golden bytes, eviction, damage; and random histories over a simulated ring that
 * loses, tears or keeps the transaction under way at a power cut: every extent with a write that
 * is not confirmed must be found again (P3, P4).
 */
#include "libreplica/core/actlog.h"

#include <string.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "libreplica/core/metadata.h"
#include "unit.h"

enum { BLOCK = METADATA_BLOCK_BYTES, RING = METADATA_AL_BLOCKS, MIN = METADATA_AL_EXTENTS_MIN };

static struct actlog *new_log(uint32_t extents)
{
    struct actlog *log;

    ck_assert_int_eq(actlog_new(&log, extents, NULL), 0);
    return log;
}

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

static void use(struct actlog *log, uint32_t extent)
{
    REQUIRE(actlog_get(log, extent) != ACTLOG_FULL);
    actlog_put(log, extent);
}

static void confirm(struct actlog *log)
{
    actlog_confirm_begin(log);
    actlog_confirm_end(log);
}

static int scan(struct actlog *log, uint8_t (*ring)[BLOCK], struct replica_error *error)
{
    actlog_scan_begin(log);
    for (unsigned i = 0; i < RING; i++)
        actlog_scan_block(log, ring[i]);
    return actlog_scan_finish(log, error);
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

/* ---- random histories ------------------------------------------------------------------------ */

enum { UNIVERSE = 3000, HELD_MAX = 40 };

/* What the test knows of an extent. It must be found after a crash while `started` or `unsafe`. */
struct known {
    uint32_t started; /* writes that were let go and are not over */
    bool unsafe;      /* a write is over since the last confirmation that covers it */
    bool covered;     /* ... and all of them before the one under way began */
    bool seen;        /* was ever asked for */
};

struct world {
    uint64_t seed;
    struct actlog *log;
    uint32_t universe;
    struct known known[UNIVERSE];
    uint32_t held[HELD_MAX]; /* references, as extents */
    bool let_go[HELD_MAX];
    uint32_t held_count;
    bool confirming, writing;
    uint32_t block_index;
    uint8_t block[BLOCK];
    uint8_t ring[RING][BLOCK];
    unsigned crashes, full;
};

static void world_get(struct world *world)
{
    uint32_t extent = unit_below(&world->seed, world->universe);
    enum actlog_verdict verdict;

    if (world->held_count == HELD_MAX)
        return;
    if (unit_below(&world->seed, 3))
        extent %= 1 + world->universe / 10; /* some are hotter than others */
    verdict = actlog_get(world->log, extent);
    REQUIRE((verdict == ACTLOG_HOT) == actlog_hot(world->log, extent));
    if (verdict == ACTLOG_FULL) {
        world->full++;
        return;
    }
    world->known[extent].seen = true;
    world->held[world->held_count] = extent;
    world->let_go[world->held_count++] = verdict == ACTLOG_HOT;
    if (verdict == ACTLOG_HOT)
        world->known[extent].started++;
}

static void world_put(struct world *world)
{
    uint32_t index, extent;

    if (world->held_count == 0)
        return;
    index = unit_below(&world->seed, world->held_count);
    extent = world->held[index];
    actlog_put(world->log, extent);
    if (world->let_go[index]) {
        world->known[extent].started--;
        world->known[extent].unsafe = true;
        world->known[extent].covered = false;
    }
    world->held_count--;
    world->held[index] = world->held[world->held_count];
    world->let_go[index] = world->let_go[world->held_count];
}

/* Lets those go that waited for a transaction. */
static void world_release(struct world *world)
{
    for (uint32_t i = 0; i < world->held_count; i++) {
        if (world->let_go[i] || !actlog_hot(world->log, world->held[i]))
            continue;
        world->let_go[i] = true;
        world->known[world->held[i]].started++;
    }
}

static void world_confirm(struct world *world)
{
    bool good = unit_below(&world->seed, 8) > 0;

    if (!world->confirming) {
        world->confirming = true;
        actlog_confirm_begin(world->log);
        for (uint32_t i = 0; i < world->universe; i++)
            world->known[i].covered = world->known[i].unsafe;
        return;
    }
    world->confirming = false;
    if (good)
        actlog_confirm_end(world->log);
    else
        actlog_confirm_abort(world->log);
    for (uint32_t i = 0; i < world->universe; i++) {
        if (good && world->known[i].covered)
            world->known[i].unsafe = false;
        world->known[i].covered = false;
    }
}

/* The block under way reaches the disk in full, in part (sectors of 512 in any mix), or not. */
static void world_tear(struct world *world)
{
    uint8_t *place = world->ring[world->block_index];
    unsigned how = unit_below(&world->seed, 4);

    for (unsigned sector = 0; sector < BLOCK / 512; sector++)
        if (how == 0 || (how < 3 && unit_below(&world->seed, 2)))
            memcpy(place + 512 * sector, world->block + 512 * sector, 512);
}

static void world_write(struct world *world)
{
    if (!world->writing) {
        if (!actlog_needs_write(world->log) && unit_below(&world->seed, 50))
            return;
        actlog_encode(world->log, world->block, &world->block_index);
        world->writing = true;
    } else if (unit_below(&world->seed, 12) == 0) {
        world_tear(world);
        actlog_failed(world->log);
        world->writing = false;
    } else {
        memcpy(world->ring[world->block_index], world->block, BLOCK);
        actlog_written(world->log);
        world->writing = false;
        world_release(world);
    }
}

static void world_check_recovered(const struct world *world, const struct actlog *log)
{
    static bool found[UNIVERSE];

    memset(found, 0, sizeof found);
    for (uint32_t i = 0; i < actlog_count(log); i++) {
        uint32_t extent = actlog_extent_at(log, i);

        REQUIRE(extent < world->universe && world->known[extent].seen);
        found[extent] = true;
    }
    for (uint32_t i = 0; i < world->universe; i++)
        REQUIRE(found[i] || !(world->known[i].started || world->known[i].unsafe));
}

/* Power cut: the ring is read in any order by a log that may have another size; then on from
 * there, with everything that was found turned into bits. */
static void world_crash(struct world *world, uint32_t extents)
{
    uint32_t start = unit_below(&world->seed, RING), step = 1 + 2 * unit_below(&world->seed, 64);

    if (world->writing)
        world_tear(world);
    actlog_free(world->log);
    world->log = new_log(extents);
    actlog_scan_begin(world->log);
    for (uint32_t i = 0; i < RING; i++)
        actlog_scan_block(world->log, world->ring[(start + i * step) % RING]);
    REQUIRE(actlog_scan_finish(world->log, NULL) == 0);
    world_check_recovered(world, world->log);
    actlog_reset(world->log);
    world->writing = world->confirming = false;
    world->held_count = 0;
    for (uint32_t i = 0; i < world->universe; i++)
        world->known[i] = (struct known){.seen = world->known[i].seen};
    world->crashes++;
}

static void random_history(uint64_t seed, uint32_t extents, uint32_t universe, unsigned steps,
                           unsigned crash_every)
{
    static struct world world;

    memset(&world, 0, sizeof world);
    world.seed = seed;
    world.universe = universe;
    world.log = new_log(extents);
    for (unsigned step = 0; step < steps; step++) {
        switch (unit_below(&world.seed, 8)) {
        case 0:
        case 1:
        case 2:
            world_get(&world);
            break;
        case 3:
        case 4:
            world_put(&world);
            break;
        case 5:
        case 6:
            world_write(&world);
            break;
        case 7:
            if (unit_below(&world.seed, 12) == 0)
                world_confirm(&world);
            break;
        }
        if (unit_below(&world.seed, crash_every) == 0)
            world_crash(&world, unit_below(&world.seed, 4) ? extents : extents + 100);
    }
    world_crash(&world, extents);
    REQUIRE(world.crashes > 1);
    REQUIRE(universe != 200 || world.full > 0); /* the small table does run full */
    actlog_free(world.log);
}

START_TEST(test_random_histories)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        random_history(seed, MIN, 200, 20000, 1500);
        random_history(seed, MIN, 75, 10000, 100);
        random_history(seed, 1000, UNIVERSE, 20000, 5000);
    }
}
END_TEST

/* The largest table, filled and turned over, while the ring goes round many times: at any moment
 * the newest blocks give the whole of it, with the oldest block torn. */
START_TEST(test_largest_table)
{
    enum { SLOTS = METADATA_AL_EXTENTS_MAX };
    static uint8_t ring[RING][BLOCK], torn[BLOCK];
    static bool found[3 * SLOTS];
    struct actlog *log = new_log(SLOTS), *after = new_log(MIN);
    uint8_t block[BLOCK];
    uint32_t index, next = 0;

    for (unsigned turn = 0; turn < 2200; turn++) {
        for (unsigned i = 0; i < 64; i++, next++) {
            if (next + 16 >= SLOTS && next % 16 == 0)
                confirm(log);
            use(log, next);
        }
        actlog_encode(log, block, &index);
        if (turn % 100 == 99) {
            memset(found, 0, sizeof found);
            memcpy(torn, ring[index], BLOCK);
            memset(ring[index] + 512, 0xee, 512);
            ck_assert_int_eq(scan(after, ring, NULL), 0);
            for (uint32_t i = 0; i < actlog_count(after); i++)
                found[actlog_extent_at(after, i)] = true;
            for (uint32_t i = next < SLOTS ? 0 : next - SLOTS; i < next - 64; i++)
                REQUIRE(found[i]);
            memcpy(ring[index], torn, BLOCK);
        }
        memcpy(ring[index], block, BLOCK);
        actlog_written(log);
    }
    ck_assert_uint_gt(next, 2 * SLOTS);
    actlog_free(log);
    actlog_free(after);
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
          test_impossible_blocks, test_goes_on_after_a_failed_scan, test_random_histories,
          test_largest_table, test_memory)
