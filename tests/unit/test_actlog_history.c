/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_actlog_history.c - random histories over a simulated ring that loses, tears or keeps the
 * transaction under way at a power cut: every extent with a write that is not confirmed must be
 * found again (P3, P4).
 */
#include <string.h>

#include "actlog_help.h"

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

UNIT_MAIN("actlog-history", test_random_histories, test_largest_table)
