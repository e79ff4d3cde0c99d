/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_bitmap.c - against a naive model, one byte a bit. */
#include "libreplica/core/bitmap.h"

#include <string.h>

#include "libreplica/core/metadata.h"
#include "unit.h"

enum { BLOCK = REPLICA_BLOCK_BYTES, PER_BLOCK = METADATA_BITS_PER_BLOCK };

/* Three on-disk blocks, the last one in part, and not a whole number of words. */
enum { BITS = 2 * PER_BLOCK + 1000 + 13, BLOCKS = 3 };

struct model {
    uint8_t bit[BITS];
    bool dirty[BLOCKS];
};

static uint64_t model_change(struct model *model, uint64_t first, uint64_t end, uint8_t to)
{
    uint64_t changed = 0;

    for (uint64_t i = first; i < end && i < BITS; i++) {
        if (model->bit[i] == to)
            continue;
        model->bit[i] = to;
        model->dirty[i / PER_BLOCK] = true;
        changed++;
    }
    return changed;
}

static void compare(const struct bitmap *bitmap, const struct model *model)
{
    uint64_t set = 0, dirty = 0, index;

    for (uint64_t i = 0; i < BITS; i++) {
        REQUIRE((bitmap->words[i / 64] >> (i % 64) & 1) == model->bit[i]);
        set += model->bit[i];
    }
    REQUIRE(bitmap->set == set);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        bool found = bitmap_next_dirty(bitmap, i, &index) && index == i;

        REQUIRE(found == model->dirty[i]);
        dirty += model->dirty[i];
    }
    REQUIRE(bitmap->dirty_count == dirty);
}

/* A range of any alignment inside the device: mostly short, sometimes over whole blocks. */
static struct range some_range(uint64_t *seed)
{
    static const uint32_t longest[] = {1, BLOCK, 9 * BLOCK, 300 * BLOCK, 40000u * BLOCK};
    struct range range;

    range.offset = unit_random(seed) % ((uint64_t)BITS * BLOCK);
    range.length = 1 + unit_below(seed, longest[unit_below(seed, 5)]);
    if (unit_below(seed, 2))
        range.offset &= ~(uint64_t)(BLOCK - 1);
    if (range.length > (uint64_t)BITS * BLOCK - range.offset)
        range.length = (uint32_t)((uint64_t)BITS * BLOCK - range.offset);
    return range;
}

static uint64_t up(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK;
}

static void check_next(const struct bitmap *bitmap, const struct model *model, uint64_t *seed)
{
    uint64_t from = unit_random(seed) % ((uint64_t)BITS * BLOCK);
    uint32_t step = 1u << unit_below(seed, 7);
    uint64_t first = up(from), end;
    struct range run;

    while (first < BITS && !model->bit[first])
        first++;
    if (first >= BITS) {
        REQUIRE(!bitmap_next(bitmap, from, step * BLOCK, &run));
        return;
    }
    end = first + 1;
    while (end < BITS && model->bit[end] && end % step)
        end++;
    REQUIRE(bitmap_next(bitmap, from, step * BLOCK, &run));
    REQUIRE(run.offset == first * BLOCK);
    REQUIRE(run.length == (end - first) * BLOCK);
}

static void random_blocks(struct bitmap *bitmap, struct model *model, uint64_t *seed)
{
    uint64_t index = unit_below(seed, BLOCKS);
    uint64_t first = index * PER_BLOCK, changed = 0;
    uint8_t block[METADATA_BLOCK_BYTES];
    bool merge = unit_below(seed, 2);

    memset(block, 0, sizeof block);
    for (unsigned n = unit_below(seed, 200); n > 0; n--)
        block[unit_below(seed, sizeof block)] = (uint8_t)unit_random(seed);
    for (uint64_t i = first; i < first + PER_BLOCK && i < BITS; i++) {
        uint8_t bit = block[(i - first) / 8] >> (i % 8) & 1;

        if (merge && bit)
            changed += model_change(model, i, i + 1, 1);
        else if (!merge)
            model->bit[i] = bit;
    }
    if (merge) {
        REQUIRE(bitmap_merge(bitmap, index, block) == changed);
    } else {
        bitmap_decode(bitmap, index, block);
        model->dirty[index] = false;
    }
}

static void one_step(struct bitmap *bitmap, struct model *model, uint64_t *seed)
{
    struct range range = some_range(seed);
    uint64_t first = range.offset / BLOCK, end = up(range_end(range));
    uint8_t block[METADATA_BLOCK_BYTES], copy[METADATA_BLOCK_BYTES];
    uint64_t index = unit_below(seed, BLOCKS);
    bool any = false, empty = true;

    switch (unit_below(seed, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        REQUIRE(bitmap_set(bitmap, range) == model_change(model, first, end, 1));
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        REQUIRE(bitmap_clear(bitmap, range) ==
                model_change(model, up(range.offset), range_end(range) / BLOCK, 0));
        break;
    case 8:
        for (uint64_t i = first; i < end; i++)
            any |= model->bit[i];
        REQUIRE(bitmap_any(bitmap, range) == any);
        break;
    case 9:
    case 10:
        check_next(bitmap, model, seed);
        break;
    case 11:
        random_blocks(bitmap, model, seed);
        break;
    case 12:
        bitmap_mark_dirty(bitmap, index);
        model->dirty[index] = true;
        break;
    case 13:
        bitmap_copy(bitmap, index, copy);
        REQUIRE(model->dirty[index] ==
                (bool)(bitmap->dirty[0] >> index & 1)); /* copy leaves the mark */
        bitmap_encode(bitmap, index, block);
        REQUIRE(memcmp(block, copy, sizeof block) == 0);
        model->dirty[index] = false;
        for (uint64_t i = index * PER_BLOCK; i < (index + 1) * PER_BLOCK; i++) {
            uint8_t bit = i < BITS ? model->bit[i] : 0;

            REQUIRE((block[i % PER_BLOCK / 8] >> (i % 8) & 1) == bit);
            empty &= !bit;
        }
        REQUIRE(bitmap_block_empty(bitmap, index) == empty);
        break;
    case 14:
        if (unit_below(seed, 8) == 0) {
            bitmap_set_all(bitmap);
            (void)model_change(model, 0, BITS, 1);
        }
        break;
    case 15:
        if (unit_below(seed, 8) == 0) {
            bitmap_clear_all(bitmap);
            (void)model_change(model, 0, BITS, 0);
        }
        break;
    }
}

START_TEST(test_against_the_model)
{
    static struct model model;
    struct bitmap bitmap;
    uint64_t seed = 7;

    ck_assert_int_eq(bitmap_init(&bitmap, (uint64_t)BITS * BLOCK, NULL), 0);
    ck_assert_uint_eq(bitmap.bits, BITS);
    ck_assert_uint_eq(bitmap.blocks, BLOCKS);
    for (unsigned step = 0; step < 20000; step++) {
        one_step(&bitmap, &model, &seed);
        if (step % 64 == 0)
            compare(&bitmap, &model);
    }
    compare(&bitmap, &model);
    bitmap_close(&bitmap);
}
END_TEST

START_TEST(test_edges)
{
    struct bitmap bitmap;
    struct range run;
    uint64_t index;

    ck_assert_int_eq(bitmap_init(&bitmap, 100 * BLOCK, NULL), 0);
    ck_assert(!bitmap_next(&bitmap, 0, 128 * BLOCK, &run));
    ck_assert(!bitmap_next_dirty(&bitmap, 0, &index));
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){BLOCK - 1, 2}), 2); /* touches two */
    ck_assert_uint_eq(bitmap_clear(&bitmap, (struct range){1, 2 * BLOCK - 2}), 0);
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){5, 0}), 0);
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){99 * BLOCK, BLOCK}), 1);
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){99 * BLOCK, 50 * BLOCK}), 0); /* past it */
    ck_assert(!bitmap_any(&bitmap, (struct range){2 * BLOCK, 97 * BLOCK}));
    ck_assert(!bitmap_any(&bitmap, (struct range){0, 0}));
    ck_assert(!bitmap_any(&bitmap, (struct range){100 * BLOCK, 50 * BLOCK}));
    ck_assert(bitmap_next(&bitmap, 2 * BLOCK, 128 * BLOCK, &run));
    ck_assert_uint_eq(run.offset, 99 * BLOCK);
    ck_assert_uint_eq(run.length, BLOCK);
    ck_assert(!bitmap_next(&bitmap, 99 * BLOCK + 1, 128 * BLOCK, &run));
    ck_assert(!bitmap_next(&bitmap, 0, BLOCK - 1, &run));
    ck_assert(!bitmap_next(&bitmap, UINT64_MAX, 128 * BLOCK, &run));
    bitmap_close(&bitmap);
}
END_TEST

/* An allocator that fails from the n-th call on and counts what is held. */
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
    struct bitmap bitmap;
    unsigned n;
    int code = REPLICA_E_MEMORY;

    for (n = 0; code; n++) {
        counted.left = n;
        code = bitmap_init(&bitmap, 10 * BLOCK, &allocator);
        ck_assert(code == 0 || (code == REPLICA_E_MEMORY && counted.held == 0));
    }
    ck_assert_uint_ge(n, 2);
    bitmap_close(&bitmap);
    ck_assert_int_eq(counted.held, 0);
}
END_TEST

/* More memory: what was set and what is not on disk yet stays; without memory nothing changes. */
START_TEST(test_resize)
{
    struct counted counted = {.left = UINT32_MAX};
    struct core_allocator allocator = {counted_allocate, counted_release, &counted};
    const uint64_t block_bytes = (uint64_t)METADATA_BITS_PER_BLOCK * BLOCK;
    struct bitmap bitmap;
    uint64_t index;

    ck_assert_int_eq(bitmap_init(&bitmap, 10 * BLOCK, &allocator), 0);
    bitmap_set(&bitmap, (struct range){3 * BLOCK, BLOCK});
    bitmap_resize(&bitmap, 5 * BLOCK); /* less than there is memory for */
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){5 * BLOCK, BLOCK}), 0);
    for (uint32_t n = 0; n < 3; n++) {
        counted.left = n;
        ck_assert_int_eq(bitmap_reserve(&bitmap, 3 * block_bytes), REPLICA_E_MEMORY);
        ck_assert_uint_eq(bitmap.set, 1);
    }
    counted.left = UINT32_MAX;
    ck_assert_int_eq(bitmap_reserve(&bitmap, 3 * block_bytes), 0);
    ck_assert_uint_eq(bitmap.bits, 5);
    bitmap_resize(&bitmap, 3 * block_bytes);
    ck_assert_uint_eq(bitmap.blocks, 3);
    ck_assert_uint_eq(bitmap.set, 1);
    ck_assert(bitmap_any(&bitmap, (struct range){3 * BLOCK, BLOCK}));
    ck_assert(bitmap_next_dirty(&bitmap, 0, &index));
    ck_assert_uint_eq(index, 0);
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){3 * block_bytes - BLOCK, BLOCK}), 1);
    ck_assert(bitmap_next_dirty(&bitmap, 1, &index));
    ck_assert_uint_eq(index, 2);
    bitmap_close(&bitmap);
    ck_assert_int_eq(counted.held, 0);
}
END_TEST

/* Resident memory of a large bitmap that is clean, cleared, and set in one place. */
static long resident_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long size, resident;

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%ld %ld", &size, &resident), 2);
    fclose(file);
    return resident;
}

START_TEST(test_clean_parts_take_no_memory)
{
    const uint64_t tib = (uint64_t)1 << 40; /* 32 MiB of bits */
    struct bitmap bitmap;
    long before = resident_pages();

    ck_assert_int_eq(bitmap_init(&bitmap, 4 * tib, NULL), 0);
    ck_assert_uint_eq(bitmap_set(&bitmap, (struct range){tib, BLOCK}), 1);
    bitmap_clear_all(&bitmap);
    ck_assert_uint_eq(bitmap.set, 0);
    ck_assert_int_lt(resident_pages() - before, 256); /* 1 MiB, of 128 */
    bitmap_close(&bitmap);
}
END_TEST

UNIT_MAIN("bitmap", test_resize, test_against_the_model, test_edges, test_memory,
          test_clean_parts_take_no_memory)
