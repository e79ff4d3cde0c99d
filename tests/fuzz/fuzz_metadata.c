/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_metadata.c - what may stand on a damaged or foreign disk: superblock slots, activity-log
 * blocks, bitmap blocks.
 *
 * Input: a byte that says which; for superblocks the device's size in blocks (8 bytes); then the
 * contents, cut into blocks of 4096 bytes (the last one filled up with zeroes). Each block is tried
 * as it is and with the right checksum. What is accepted must encode to the very same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/actlog.h"
#include "libreplica/core/bitmap.h"
#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "libreplica/core/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int fact)
{
    if (!fact)
        abort();
}

static void repair_crc(uint8_t *block, unsigned at)
{
    struct bytes_writer crc = bytes_writer(block + at, 4);

    bytes_put32(&crc, 0);
    crc = bytes_writer(block + at, 4);
    bytes_put32(&crc, crc32c_update(0, block, METADATA_BLOCK_BYTES));
}

/* The next block of the input; false at its end. */
static int next_block(struct bytes_reader *input, uint8_t *block)
{
    size_t left = (size_t)(input->end - input->next);
    size_t length = left < METADATA_BLOCK_BYTES ? left : METADATA_BLOCK_BYTES;

    memset(block, 0, METADATA_BLOCK_BYTES);
    bytes_get_raw(input, block, length);
    return length > 0;
}

static void check_superblock(const uint8_t *block, uint64_t device_bytes)
{
    uint8_t again[METADATA_BLOCK_BYTES];
    struct metadata_superblock superblock;

    if (metadata_decode(block, device_bytes, &superblock, NULL))
        return;
    metadata_encode(&superblock, again);
    require(memcmp(again, block, sizeof again) == 0);
    require(superblock.layout.bitmap_offset + superblock.layout.bitmap_bytes <= device_bytes);
}

static void run_superblocks(struct bytes_reader *input)
{
    uint64_t device_bytes = bytes_get64(input) % (METADATA_DATA_BYTES_MAX * 2);
    uint8_t blocks[METADATA_SLOTS][METADATA_BLOCK_BYTES];
    const uint8_t *slots[METADATA_SLOTS] = {blocks[0], blocks[1]};
    struct metadata_superblock superblock;
    unsigned slot = METADATA_SLOTS;

    (void)next_block(input, blocks[0]);
    (void)next_block(input, blocks[1]);
    for (int repaired = 0; repaired < 2; repaired++) {
        check_superblock(blocks[0], device_bytes);
        check_superblock(blocks[1], device_bytes);
        if (metadata_choose(slots, device_bytes, &superblock, &slot, NULL) == 0)
            require(slot < METADATA_SLOTS);
        repair_crc(blocks[0], 12);
        repair_crc(blocks[1], 12);
    }
}

static void run_actlog(struct bytes_reader input, int repair)
{
    static struct actlog *log; /* one for all inputs: it is large, and scan and reset begin anew */
    uint8_t block[METADATA_BLOCK_BYTES];

    if (!log)
        require(actlog_new(&log, METADATA_AL_EXTENTS_MIN, NULL) == 0);
    actlog_scan_begin(log);
    while (next_block(&input, block)) {
        if (repair)
            repair_crc(block, 4);
        actlog_scan_block(log, block);
    }
    if (actlog_scan_finish(log, NULL))
        require(actlog_count(log) == 0);
    require(actlog_count(log) <= METADATA_AL_EXTENTS_MAX);
    for (uint32_t i = 0; i < actlog_count(log); i++)
        require(actlog_extent_at(log, i) != UINT32_MAX);
    actlog_reset(log);
    require(actlog_get(log, 1) == ACTLOG_PENDING);
    actlog_reset(log);
}

static void run_bitmap(struct bytes_reader *input)
{
    uint64_t data_bytes = (uint64_t)bytes_get16(input) * REPLICA_BLOCK_BYTES;
    uint8_t block[METADATA_BLOCK_BYTES], again[METADATA_BLOCK_BYTES];
    struct range run = {0, 0};
    struct bitmap bitmap;
    uint64_t bits = 0;

    require(bitmap_init(&bitmap, data_bytes, NULL) == 0);
    for (uint64_t i = 0; i < bitmap.blocks && next_block(input, block); i++) {
        bitmap_decode(&bitmap, i, block);
        bitmap_copy(&bitmap, i, again);
        require(bitmap_merge(&bitmap, i, again) == 0);
        bits = bitmap.set;
        require(bitmap_merge(&bitmap, i, block) == 0);
        require(bitmap.set == bits);
    }
    bits = 0;
    while (bitmap_next(&bitmap, range_end(run), 131072, &run)) {
        require(range_inside(run, data_bytes));
        bits += run.length / REPLICA_BLOCK_BYTES;
    }
    require(bits == bitmap.set);
    bitmap_close(&bitmap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes_reader input = bytes_reader(data, size);

    switch (bytes_get8(&input) % 3) {
    case 0:
        run_superblocks(&input);
        break;
    case 1:
        run_actlog(input, 0);
        run_actlog(input, 1);
        break;
    case 2:
        run_bitmap(&input);
        break;
    }
    return 0;
}
