/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * actlog_ring.c - transactions of the activity log: their bytes, and the table from them after a
 * crash. The invariants stand on top of actlog.c.
 *
 * A block, 4096 bytes, integers little-endian
 *      0  u32  magic "tDAL"
 *      4  u32  crc32c of the 4096 bytes with this field 0
 *      8  u16  version
 *     10  u16  number of changes, 0 to 64
 *     12  u16  number of slots in the window, 0 to 918
 *     14  u16  0
 *     16  u64  sequence, from 1
 *     24  u64  base, at most the sequence
 *     32  u32  slots in the table
 *     36  u32  first slot of the window
 *     40  64 x u16  changes: slots (unused: 0)
 *    168  64 x u32  changes: extents (unused: 0)
 *    424  918 x u32 window: extents; 0xffffffff is none (unused: 0)
 */
#include "actlog_private.h"

#include <assert.h>
#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"

/* So many consecutive windows name every slot. */
#define COVER(slots) (((slots) + ACTLOG_WINDOW_MAX - 1) / ACTLOG_WINDOW_MAX)

enum {
    MAGIC = 0x4c414474, /* "tDAL" */
    VERSION = 1,
    CRC_AT = 4,
    CHANGE_SLOTS_AT = 40,
    CHANGE_EXTENTS_AT = CHANGE_SLOTS_AT + 2 * ACTLOG_CHANGES_MAX,
    WINDOW_AT = CHANGE_EXTENTS_AT + 4 * ACTLOG_CHANGES_MAX
};

#ifndef METADATA_SMALL
_Static_assert(WINDOW_AT + 4 * ACTLOG_WINDOW_MAX == METADATA_BLOCK_BYTES, "a block is filled");
#endif
_Static_assert(METADATA_AL_BLOCKS - 1 >= COVER(METADATA_AL_EXTENTS_MAX), "invariant 4");

/* ---- transactions -------------------------------------------------------------------------- */

bool actlog_needs_write(const struct actlog *log)
{
    return log->changed_first != ACTLOG_NONE;
}

static uint32_t window_length(uint32_t start, uint32_t slots)
{
    return slots - start < ACTLOG_WINDOW_MAX ? slots - start : ACTLOG_WINDOW_MAX;
}

/* Takes up to ACTLOG_CHANGES_MAX slots out of the queue; they are in the transaction under way. */
static void gather_changes(struct actlog *log)
{
    uint32_t count = 0;

    while (count < ACTLOG_CHANGES_MAX && log->changed_first != ACTLOG_NONE) {
        uint32_t index = log->changed_first;

        log->changed_first = log->slots[index].next_changed;
        log->slots[index].state = MUTANT(hot_before_written) ? SLOT_ON_DISK : SLOT_WRITING;
        log->written_slots[count++] = index;
    }
    log->written_count = count;
}

static uint32_t block_crc(const uint8_t *block)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_update(0, block, CRC_AT);

    crc = crc32c_update(crc, zero, sizeof zero);
    return crc32c_update(crc, block + CRC_AT + 4, METADATA_BLOCK_BYTES - CRC_AT - 4);
}

/* A slot of the window that is still queued is written with its new extent: the old one was
 * evictable, the new one merely gets to disk before anybody counts on it. */
static void put_window(const struct actlog *log, struct bytes_writer *writer, uint32_t count)
{
    for (uint32_t i = log->window; i < log->window + count; i++)
        bytes_put32(writer, i < log->slots_used ? log->slots[i].extent : ACTLOG_NONE);
}

void actlog_encode(struct actlog *log, uint8_t *block, uint32_t *block_index)
{
    struct bytes_writer writer = bytes_writer(block, METADATA_BLOCK_BYTES);
    struct bytes_writer crc = bytes_writer(block + CRC_AT, 4);
    uint32_t window_count = window_length(log->window, log->slot_count);

    assert(!log->writing);
    log->writing = true;
    gather_changes(log);
    memset(block, 0, METADATA_BLOCK_BYTES);
    bytes_put32(&writer, MAGIC);
    bytes_put32(&writer, 0);
    bytes_put16(&writer, VERSION);
    bytes_put16(&writer, (uint16_t)log->written_count);
    bytes_put16(&writer, (uint16_t)window_count);
    bytes_put16(&writer, 0);
    bytes_put64(&writer, log->sequence);
    bytes_put64(&writer, log->base);
    bytes_put32(&writer, log->slot_count);
    bytes_put32(&writer, log->window);
    for (uint32_t i = 0; i < log->written_count; i++)
        bytes_put16(&writer, (uint16_t)log->written_slots[i]);
    writer = bytes_writer(block + CHANGE_EXTENTS_AT, WINDOW_AT - CHANGE_EXTENTS_AT);
    for (uint32_t i = 0; i < log->written_count; i++)
        bytes_put32(&writer, log->slots[log->written_slots[i]].extent);
    writer = bytes_writer(block + WINDOW_AT, METADATA_BLOCK_BYTES - WINDOW_AT);
    put_window(log, &writer, window_count);
    bytes_put32(&crc, block_crc(block));
    *block_index = MUTANT(log_in_one_place) ? 0 : (uint32_t)(log->sequence % METADATA_AL_BLOCKS);
}

void actlog_written(struct actlog *log)
{
    assert(log->writing);
    log->writing = false;
    for (uint32_t i = 0; i < log->written_count; i++) {
        struct slot *slot = &log->slots[log->written_slots[i]];

        if (slot->state == SLOT_WRITING) /* else it was given away meanwhile */
            slot->state = SLOT_ON_DISK;
    }
    log->written_count = 0;
    if (!MUTANT(window_stuck))
        log->window += window_length(log->window, log->slot_count);
    if (log->window == log->slot_count)
        log->window = 0;
    log->sequence++;
}

void actlog_failed(struct actlog *log)
{
    assert(log->writing);
    log->writing = false;
    for (uint32_t i = 0; i < log->written_count; i++)
        if (log->slots[log->written_slots[i]].state == SLOT_WRITING)
            actlog_queue_change(log, log->written_slots[i]);
    log->written_count = 0;
}

/* ---- after a crash ------------------------------------------------------------------------- */

/* The head of a block. */
struct head {
    uint64_t sequence, base;
    uint32_t version, changes, window_count, reserved, slots, window;
};

static bool read_head(const uint8_t *block, struct head *head)
{
    struct bytes_reader reader = bytes_reader(block, METADATA_BLOCK_BYTES);

    if (bytes_get32(&reader) != MAGIC || bytes_get32(&reader) != block_crc(block))
        return false;
    head->version = bytes_get16(&reader);
    head->changes = bytes_get16(&reader);
    head->window_count = bytes_get16(&reader);
    head->reserved = bytes_get16(&reader);
    head->sequence = bytes_get64(&reader);
    head->base = bytes_get64(&reader);
    head->slots = bytes_get32(&reader);
    head->window = bytes_get32(&reader);
    return true;
}

static bool head_sound(const struct head *head)
{
    return head->version == VERSION && head->reserved == 0 && head->changes <= ACTLOG_CHANGES_MAX &&
           head->sequence > 0 && head->base > 0 && head->base <= head->sequence &&
           head->sequence < UINT64_MAX && head->slots >= METADATA_AL_EXTENTS_MIN &&
           head->slots <= METADATA_AL_EXTENTS_MAX && head->window < head->slots &&
           head->window % ACTLOG_WINDOW_MAX == 0 &&
           head->window_count == window_length(head->window, head->slots);
}

static void learn(struct actlog *log, uint64_t sequence, uint32_t index, uint32_t extent)
{
    struct scanned *known = &log->scan[index];

    if (index >= log->scan_used)
        log->scan_used = index + 1;
    if (known->sequence > sequence)
        return;
    known->sequence = sequence;
    known->extent = extent;
}

static bool changes_sound(const struct head *head, const uint8_t *block)
{
    struct bytes_reader reader = bytes_reader(block + CHANGE_SLOTS_AT, 2 * ACTLOG_CHANGES_MAX);

    for (uint32_t i = 0; i < head->changes; i++)
        if (bytes_get16(&reader) >= head->slots)
            return false;
    return true;
}

static void learn_block(struct actlog *log, const struct head *head, const uint8_t *block)
{
    struct bytes_reader slots = bytes_reader(block + CHANGE_SLOTS_AT, 2 * ACTLOG_CHANGES_MAX);
    struct bytes_reader extents = bytes_reader(block + CHANGE_EXTENTS_AT, 4 * ACTLOG_CHANGES_MAX);
    struct bytes_reader window = bytes_reader(block + WINDOW_AT, 4 * ACTLOG_WINDOW_MAX);

    for (uint32_t i = 0; i < head->window_count; i++)
        learn(log, head->sequence, head->window + i, bytes_get32(&window));
    for (uint32_t i = 0; i < head->changes; i++) {
        uint32_t index = bytes_get16(&slots);

        learn(log, head->sequence, index, bytes_get32(&extents));
    }
}

void actlog_scan_begin(struct actlog *log)
{
    for (uint32_t i = 0; i < log->scan_used; i++)
        log->scan[i].sequence = 0;
    log->scan_used = 0;
    memset(log->found, 0, sizeof log->found);
    memset(&log->newest, 0, sizeof log->newest);
    log->recovered = log->damaged = log->foreign = 0;
}

void actlog_scan_block(struct actlog *log, const uint8_t *block)
{
    struct found *place;
    struct head head;

    if (bytes_zero(block, METADATA_BLOCK_BYTES)) /* never used */
        return;
    if (!read_head(block, &head)) {
        log->damaged++;
        return;
    }
    if (!head_sound(&head) || !changes_sound(&head, block)) {
        log->foreign++;
        return;
    }
    place = &log->found[head.sequence % METADATA_AL_BLOCKS];
    *place = (struct found){head.sequence, head.base, head.slots};
    if (head.sequence > log->newest.sequence)
        log->newest = *place;
    learn_block(log, &head, block);
}

/* Are the blocks there that make up the table of the newest one? */
static bool chain_whole(const struct actlog *log)
{
    const struct found *newest = &log->newest;
    uint64_t needed = newest->sequence - newest->base + 1;

    if (needed > COVER(newest->slots))
        needed = COVER(newest->slots);
    for (uint64_t i = 0; i < needed; i++) {
        uint64_t sequence = newest->sequence - i;
        const struct found *found = &log->found[sequence % METADATA_AL_BLOCKS];

        if (found->sequence != sequence || found->base != newest->base ||
            found->slots != newest->slots)
            return false;
    }
    return true;
}

/* Packs the extents of the newest table to the front of the scan. */
static void pack_recovered(struct actlog *log)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < log->newest.slots; i++) {
        const struct scanned *known = &log->scan[i];

        if (known->sequence >= log->newest.base && known->extent != ACTLOG_NONE)
            log->scan[count++].extent = known->extent;
    }
    log->recovered = count;
}

int actlog_scan_finish(struct actlog *log, struct replica_error *error)
{
    log->sequence = log->newest.sequence + 1;
    if (log->foreign)
        return err_set(error, REPLICA_E_METADATA,
                       "activity log: %" PRIu32 " blocks are not of this program's making",
                       log->foreign);
    if (log->damaged > 1)
        return err_set(error, REPLICA_E_METADATA,
                       "activity log: %" PRIu32 " damaged blocks, a crash leaves one at most",
                       log->damaged);
    if (log->newest.sequence == 0)
        return 0;
    if (!chain_whole(log))
        return err_set(error, REPLICA_E_METADATA,
                       "activity log: transactions before %" PRIu64 " are missing",
                       log->newest.sequence);
    pack_recovered(log);
    return 0;
}

uint32_t actlog_count(const struct actlog *log)
{
    return log->recovered;
}

uint32_t actlog_extent_at(const struct actlog *log, uint32_t index)
{
    return log->scan[index].extent;
}
