/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_metadata.c - layouts of every size, golden bytes, and damage of every kind. */
#include "libreplica/core/metadata.h"

#include <string.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "unit.h"

enum { BLOCK = METADATA_BLOCK_BYTES };

#define GIB ((uint64_t)1 << 30)

/* ---- layout -------------------------------------------------------------------------------- */

/* The data, bitmap, log and slots of an internal layout follow each other without a gap, except
 * the one block that may be too many for data and too few for a bitmap block more. */
static void check_internal(uint64_t device_bytes)
{
    struct metadata_layout layout;
    uint64_t blocks = device_bytes / BLOCK, data_blocks, bitmap_blocks;

    ck_assert_int_eq(metadata_plan(device_bytes, true, 0, &layout, NULL), 0);
    data_blocks = layout.data_bytes / BLOCK;
    bitmap_blocks = layout.bitmap_bytes / BLOCK;
    ck_assert_uint_eq(layout.data_bytes % BLOCK, 0);
    ck_assert_uint_ge(bitmap_blocks * METADATA_BITS_PER_BLOCK, data_blocks);
    ck_assert_uint_lt((bitmap_blocks - 1) * METADATA_BITS_PER_BLOCK, data_blocks);
    ck_assert_uint_eq(layout.slot[0], (blocks - 2) * BLOCK);
    ck_assert_uint_eq(layout.slot[1], (blocks - 1) * BLOCK);
    ck_assert_uint_eq(layout.al_offset + METADATA_AL_BLOCKS * BLOCK, layout.slot[0]);
    ck_assert_uint_eq(layout.bitmap_offset + layout.bitmap_bytes, layout.al_offset);
    ck_assert_uint_le(layout.data_bytes, layout.bitmap_offset);
    ck_assert_uint_le(layout.bitmap_offset - layout.data_bytes, BLOCK);
}

START_TEST(test_internal_layouts)
{
    const uint64_t fixed = METADATA_SLOTS + METADATA_AL_BLOCKS;
    struct metadata_layout layout;
    uint64_t seed = 6;

    ck_assert_int_eq(metadata_plan(fixed * BLOCK, true, 0, &layout, NULL), REPLICA_E_NO_SPACE);
    ck_assert_int_eq(metadata_plan(0, true, 0, &layout, NULL), REPLICA_E_NO_SPACE);
    ck_assert_int_eq(metadata_plan((fixed + 1) * BLOCK, true, 0, &layout, NULL), REPLICA_E_INVALID);
    for (uint64_t more = 2; more < 3 * (METADATA_BITS_PER_BLOCK + 1); more++)
        if (more < 100 || more % (METADATA_BITS_PER_BLOCK + 1) < 50 ||
            more % (METADATA_BITS_PER_BLOCK + 1) > METADATA_BITS_PER_BLOCK - 50)
            check_internal((fixed + more) * BLOCK);
    for (unsigned i = 0; i < 20000; i++)
        check_internal(GIB + unit_random(&seed) % ((uint64_t)1 << 49));
}
END_TEST

START_TEST(test_external_layouts)
{
    struct metadata_layout layout;
    uint64_t need = (2 + METADATA_AL_BLOCKS + 8) * BLOCK; /* 1 GiB: 8 bitmap blocks */

    ck_assert_int_eq(metadata_plan(need, false, GIB, &layout, NULL), 0);
    ck_assert_uint_eq(layout.slot[0], 0);
    ck_assert_uint_eq(layout.slot[1], BLOCK);
    ck_assert_uint_eq(layout.al_offset, 2 * BLOCK);
    ck_assert_uint_eq(layout.bitmap_offset, (2 + METADATA_AL_BLOCKS) * BLOCK);
    ck_assert_uint_eq(layout.bitmap_bytes, 8 * BLOCK);
    ck_assert_uint_eq(layout.data_bytes, GIB);
    ck_assert_int_eq(metadata_plan(need, false, GIB + BLOCK - 1, &layout, NULL), 0);
    ck_assert_uint_eq(layout.data_bytes, GIB);
    ck_assert_int_eq(metadata_plan(need, false, GIB + BLOCK, &layout, NULL), REPLICA_E_NO_SPACE);
    ck_assert_int_eq(metadata_plan(need - 1, false, GIB, &layout, NULL), REPLICA_E_NO_SPACE);
    ck_assert_int_eq(metadata_plan(need, false, BLOCK - 1, &layout, NULL), REPLICA_E_INVALID);
}
END_TEST

START_TEST(test_largest_data)
{
    struct metadata_layout layout;
    uint64_t huge = (uint64_t)1 << 60;

    ck_assert_int_eq(metadata_plan(huge, true, 0, &layout, NULL), REPLICA_E_INVALID);
    ck_assert_int_eq(metadata_plan(UINT64_MAX, true, 0, &layout, NULL), REPLICA_E_INVALID);
    ck_assert_int_eq(metadata_plan(huge, false, UINT64_MAX, &layout, NULL), REPLICA_E_INVALID);
    ck_assert_int_eq(metadata_plan(huge, false, METADATA_DATA_BYTES_MAX, &layout, NULL), 0);
    ck_assert_int_eq(metadata_plan(huge, false, METADATA_DATA_BYTES_MAX + BLOCK, &layout, NULL),
                     REPLICA_E_INVALID);
}
END_TEST

START_TEST(test_slots_are_found_from_the_size_alone)
{
    struct metadata_layout layout;
    uint64_t slot[METADATA_SLOTS];

    ck_assert_int_eq(metadata_plan(GIB + 777, true, 0, &layout, NULL), 0);
    ck_assert_int_eq(metadata_slots(GIB + 777, true, slot, NULL), 0);
    ck_assert_mem_eq(slot, layout.slot, sizeof slot);
    ck_assert_int_eq(metadata_slots(100, true, slot, NULL), REPLICA_E_NO_SPACE);
}
END_TEST

/* ---- superblock ---------------------------------------------------------------------------- */

enum { DEVICE_BLOCKS = 1024 };

static struct metadata_superblock sample(void)
{
    return (struct metadata_superblock){
        .sequence = 5,
        .device_uuid = 0x0123456789abcdef,
        .layout = {{0, BLOCK}, 2 * BLOCK, 130 * BLOCK, 4 * BLOCK, GIB / 2},
        .generation = {0xa1, 0xb2, {0xc3, 0xd4}},
        .epoch = 9,
        .flags = METADATA_CONSISTENT | METADATA_WAS_UPTODATE | METADATA_CRASHED_PRIMARY,
        .al_extents = METADATA_AL_EXTENTS_DEFAULT,
        .peer_bytes = GIB / 2,
        .stale_end = 64 * BLOCK,
        .asked_uuid = 0xe6,
    };
}

START_TEST(test_golden_superblock)
{
    const struct metadata_superblock superblock = sample();
    uint8_t block[BLOCK], golden[BLOCK] = {0};
    size_t used;

    used = unit_hex("544150445242440101000000c586297a0500000000000000efcdab8967452301"
                    "0000000000000000001000000000000000200000000000008000000021190000"
                    "0020080000000000004000000000000000000020000000000010000000004000"
                    "a100000000000000b200000000000000c300000000000000d400000000000000"
                    "0900000000000000430000000000000000000020000000000000040000000000"
                    "e600000000000000",
                    golden, sizeof golden);
    ck_assert_uint_eq(used, 168);
    metadata_encode(&superblock, block);
    ck_assert_mem_eq(block, golden, BLOCK);
}
END_TEST

START_TEST(test_round_trip)
{
    struct metadata_superblock superblock = sample(), found;
    uint8_t block[BLOCK], again[BLOCK];

    metadata_encode(&superblock, block);
    ck_assert_int_eq(metadata_decode(block, DEVICE_BLOCKS * BLOCK, &found, NULL), 0);
    ck_assert_uint_eq(found.sequence, superblock.sequence);
    ck_assert_uint_eq(found.device_uuid, superblock.device_uuid);
    ck_assert_uint_eq(found.epoch, superblock.epoch);
    ck_assert_uint_eq(found.flags, superblock.flags);
    ck_assert_uint_eq(found.al_extents, superblock.al_extents);
    ck_assert_uint_eq(found.peer_bytes, superblock.peer_bytes);
    ck_assert_uint_eq(found.stale_end, superblock.stale_end);
    ck_assert_uint_eq(found.asked_uuid, superblock.asked_uuid);
    ck_assert_mem_eq(&found.generation, &superblock.generation, sizeof found.generation);
    ck_assert_mem_eq(&found.layout, &superblock.layout, sizeof found.layout);
    metadata_encode(&found, again);
    ck_assert_mem_eq(block, again, BLOCK);
}
END_TEST

START_TEST(test_fresh)
{
    struct metadata_superblock superblock, found;
    struct metadata_layout layout;
    uint8_t block[BLOCK];

    ck_assert_int_eq(metadata_plan(GIB, true, 0, &layout, NULL), 0);
    metadata_fresh(&layout, 77, METADATA_AL_EXTENTS_MIN, &superblock);
    metadata_encode(&superblock, block);
    ck_assert_int_eq(metadata_decode(block, GIB, &found, NULL), 0);
    ck_assert_uint_eq(found.generation.current, GENERATION_JUST_CREATED);
    ck_assert_uint_eq(found.generation.bitmap, 0);
    ck_assert_uint_eq(found.flags, 0); /* Inconsistent */
    ck_assert_uint_eq(found.device_uuid, 77);
    ck_assert_uint_eq(found.epoch, 0);
    ck_assert_uint_eq(found.layout.data_bytes, layout.data_bytes);
}
END_TEST

/* Damage anywhere in the block is seen, and leaves the out-parameter alone. */
START_TEST(test_every_flipped_bit_is_refused)
{
    const struct metadata_superblock superblock = sample();
    struct metadata_superblock found = {.sequence = 4711};
    uint8_t block[BLOCK];

    metadata_encode(&superblock, block);
    for (unsigned bit = 0; bit < BLOCK * 8; bit += bit < 2048 ? 1 : 61) {
        int expected = bit < 64 ? REPLICA_E_NO_METADATA : REPLICA_E_METADATA;

        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(metadata_decode(block, DEVICE_BLOCKS * BLOCK, &found, NULL), expected);
        ck_assert_uint_eq(found.sequence, 4711);
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}
END_TEST

/* The code for the sample with `width` bytes at `at` overwritten and the checksum made right. */
static int decode_patched(unsigned at, uint64_t value, unsigned width)
{
    const struct metadata_superblock superblock = sample();
    struct metadata_superblock found;
    struct bytes_writer writer;
    uint8_t block[BLOCK];

    metadata_encode(&superblock, block);
    writer = bytes_writer(block + at, width);
    bytes_put(&writer, value, width);
    writer = bytes_writer(block + 12, 4);
    bytes_put32(&writer, 0);
    writer = bytes_writer(block + 12, 4);
    bytes_put32(&writer, crc32c_update(0, block, BLOCK));
    return metadata_decode(block, DEVICE_BLOCKS * BLOCK, &found, NULL);
}

START_TEST(test_impossible_numbers)
{
    enum { VERSION = 8, SLOT0 = 32, SLOT1 = 40, AL = 48, AL_BLOCKS = 56, EXTENTS = 60 };
    enum { BITMAP = 64, BITMAP_BYTES = 72, DATA = 80, UNIT = 88, FLAGS = 136, RESERVED = 140 };
    enum { STALE = 152 };

    ck_assert_int_eq(decode_patched(VERSION, METADATA_VERSION, 4), 0);
    ck_assert_int_eq(decode_patched(VERSION, METADATA_VERSION + 1, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(SLOT1, DEVICE_BLOCKS * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(SLOT1, (DEVICE_BLOCKS - 1) * BLOCK, 8), 0);
    ck_assert_int_eq(decode_patched(SLOT1, UINT64_MAX - BLOCK + 1, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(SLOT1, 4095, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(SLOT1, 0, 8), REPLICA_E_METADATA); /* both at 0 */
    ck_assert_int_eq(decode_patched(AL, BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(AL, (DEVICE_BLOCKS - 127) * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(AL_BLOCKS, 64, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(EXTENTS, METADATA_AL_EXTENTS_MIN, 4), 0);
    ck_assert_int_eq(decode_patched(EXTENTS, METADATA_AL_EXTENTS_MIN - 1, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(EXTENTS, METADATA_AL_EXTENTS_MAX, 4), 0);
    ck_assert_int_eq(decode_patched(EXTENTS, METADATA_AL_EXTENTS_MAX + 1, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(BITMAP, 129 * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(BITMAP, (DEVICE_BLOCKS - 3) * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(BITMAP_BYTES, 5 * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(BITMAP_BYTES, 3 * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(STALE, 1, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(STALE, (DEVICE_BLOCKS + 1) * BLOCK, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(DATA, 0, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(DATA, GIB / 2 - 512, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(DATA, GIB / 2 - BLOCK, 8), 0);
    ck_assert_int_eq(decode_patched(DATA, METADATA_DATA_BYTES_MAX * 2, 8), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(UNIT, 512, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(FLAGS, METADATA_FLAGS_ALL, 4), 0);
    ck_assert_int_eq(decode_patched(FLAGS, METADATA_FLAGS_ALL + 1, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(RESERVED, 1, 4), REPLICA_E_METADATA);
    ck_assert_int_eq(decode_patched(BLOCK - 1, 1, 1), REPLICA_E_METADATA);
    /* internal, by its first slot: then the data may not reach into the metadata */
    ck_assert_int_eq(decode_patched(SLOT0, (DEVICE_BLOCKS - 1) * BLOCK, 8), REPLICA_E_METADATA);
}
END_TEST

/* ---- the two slots --------------------------------------------------------------------------- */

struct pair {
    uint8_t block[METADATA_SLOTS][BLOCK];
    const uint8_t *slots[METADATA_SLOTS];
};

static void make_pair(struct pair *pair, uint64_t first, uint64_t second)
{
    struct metadata_superblock superblock = sample();

    superblock.sequence = first;
    metadata_encode(&superblock, pair->block[0]);
    superblock.sequence = second;
    metadata_encode(&superblock, pair->block[1]);
    pair->slots[0] = pair->block[0];
    pair->slots[1] = pair->block[1];
}

static int choose(const struct pair *pair, uint64_t *sequence, unsigned *slot)
{
    struct metadata_superblock found;
    const uint8_t *slots[METADATA_SLOTS] = {pair->slots[0], pair->slots[1]};
    struct replica_error error;
    int code = metadata_choose(slots, DEVICE_BLOCKS * BLOCK, &found, slot, &error);

    if (code)
        ck_assert_int_eq(error.code, code);
    else
        *sequence = found.sequence;
    return code;
}

START_TEST(test_the_newer_valid_slot_wins)
{
    struct pair pair;
    uint64_t sequence = 0;
    unsigned slot = 9;

    make_pair(&pair, 8, 9);
    ck_assert_int_eq(choose(&pair, &sequence, &slot), 0);
    ck_assert_uint_eq(sequence, 9);
    ck_assert_uint_eq(slot, 1);
    make_pair(&pair, 10, 9);
    ck_assert_int_eq(choose(&pair, &sequence, &slot), 0);
    ck_assert_uint_eq(sequence, 10);
    ck_assert_uint_eq(slot, 0);

    pair.block[0][3000] ^= 1; /* the newer one is torn */
    ck_assert_int_eq(choose(&pair, &sequence, &slot), 0);
    ck_assert_uint_eq(sequence, 9);
    ck_assert_uint_eq(slot, 1);
}
END_TEST

START_TEST(test_no_valid_slot)
{
    struct pair pair;
    uint64_t sequence;
    unsigned slot;

    make_pair(&pair, 1, 2);
    pair.block[0][100] ^= 1;
    memset(pair.block[1], 0, BLOCK); /* one damaged, one never there: damaged says more */
    ck_assert_int_eq(choose(&pair, &sequence, &slot), REPLICA_E_METADATA);
    make_pair(&pair, 1, 2);
    pair.block[1][100] ^= 1;
    memset(pair.block[0], 0, BLOCK);
    ck_assert_int_eq(choose(&pair, &sequence, &slot), REPLICA_E_METADATA);
    memset(pair.block, 0, sizeof pair.block);
    ck_assert_int_eq(choose(&pair, &sequence, &slot), REPLICA_E_NO_METADATA);
}
END_TEST

/* A power cut during the write of the next superblock: any mix of old and new sectors in the slot
 * being written. Either the old state is found or the new one, never another. */
START_TEST(test_torn_write_leaves_old_or_new)
{
    struct metadata_superblock next = sample();
    struct pair pair;
    uint8_t new_block[BLOCK];
    unsigned found_new = 0;

    next.sequence = 9;
    next.generation.current = 0xffee;
    metadata_encode(&next, new_block);
    for (unsigned mask = 0; mask < 256; mask++) { /* which of the 8 sectors of 512 made it */
        uint64_t sequence = 0;
        unsigned slot;

        make_pair(&pair, 7, 8);
        for (unsigned sector = 0; sector < 8; sector++)
            if (mask >> sector & 1)
                memcpy(pair.block[0] + 512 * sector, new_block + 512 * sector, 512);
        ck_assert_int_eq(choose(&pair, &sequence, &slot), 0);
        ck_assert(sequence == 8 || sequence == 9);
        found_new += sequence == 9;
    }
    ck_assert_uint_eq(found_new, 128); /* the fields are all in the first sector */
}
END_TEST

UNIT_MAIN("metadata", test_internal_layouts, test_external_layouts, test_largest_data,
          test_slots_are_found_from_the_size_alone, test_golden_superblock, test_round_trip,
          test_fresh, test_every_flipped_bit_is_refused, test_impossible_numbers,
          test_the_newer_valid_slot_wins, test_no_valid_slot, test_torn_write_leaves_old_or_new)
