/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * actlog.c - the activity log: which extents may differ after a crash. See actlog.h.
 *
 * The log is a table of slots, each naming an extent or none. Memory holds the table as it shall
 * be; the ring on disk holds transactions from which the table can be built again. A transaction
 * names the slots that have changed and, so that old blocks may be overwritten, a window of the
 * table that moves on with each transaction.
 *
 * Invariants
 *   1. A write starts only while its extent is HOT: a durable transaction names it, and no later
 *      transaction gives its slot away. (P3)
 *   2. A slot is given to another extent only while nobody holds a reference to the old one and
 *      a confirmation that began after the last put has ended. (P4)
 *   3. Transaction S stands in block S % METADATA_AL_BLOCKS. It names the base B: the first
 *      transaction after the table was last empty. Its window starts where the one of S - 1
 *      ended, so any COVER(slots) consecutive transactions from B on name every slot that has
 *      ever been used since B: as part of a window, or as a change after it.
 *   4. Only one transaction is under way, so a power cut tears at most one block, and that block
 *      held the oldest transaction. METADATA_AL_BLOCKS - 1 >= COVER(METADATA_AL_EXTENTS_MAX).
 *   5. A transaction that failed is written again with its number and in its place.
 *   So the blocks max(B, S - COVER + 1) .. S of the newest readable S give the table of S, in which
 *   every extent is that was HOT at the crash; one more or less transaction at the end makes no
 *   difference to those. A hole among these blocks is damage.
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
#include "actlog.h"

#include <assert.h>
#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"
#include "metadata.h"

enum {
    MAGIC = 0x4c414474, /* "tDAL" */
    VERSION = 1,
    CRC_AT = 4,
    CHANGES_MAX = 64,
    WINDOW_MAX = 918,
    CHANGE_SLOTS_AT = 40,
    CHANGE_EXTENTS_AT = CHANGE_SLOTS_AT + 2 * CHANGES_MAX,
    WINDOW_AT = CHANGE_EXTENTS_AT + 4 * CHANGES_MAX
};

#define NONE UINT32_MAX /* no slot, no extent */
#define COVER(slots) (((slots) + WINDOW_MAX - 1) / WINDOW_MAX)

_Static_assert(WINDOW_AT + 4 * WINDOW_MAX == METADATA_BLOCK_BYTES, "a block is filled");
_Static_assert(METADATA_AL_BLOCKS - 1 >= COVER(METADATA_AL_EXTENTS_MAX), "invariant 4");

enum slot_state {
    SLOT_FREE,    /* names no extent */
    SLOT_CHANGED, /* queued for a transaction */
    SLOT_WRITING, /* in the transaction under way */
    SLOT_ON_DISK
};

struct slot {
    uint32_t extent;
    uint32_t references;
    uint32_t chain;          /* next slot with the same hash */
    uint32_t previous, next; /* in one of the rings below, while there is no reference */
    uint32_t next_changed;   /* queue of changed slots */
    enum slot_state state;
};

/* Slots without a reference stand in one of three rings, oldest put first. A ring is closed by a
 * slot of its own behind the table, so that leaving it needs no knowledge of which one it is. */
enum ring {
    RING_UNCONFIRMED, /* put after the last confirmation began */
    RING_COVERED,     /* put before; the confirmation has not ended */
    RING_EVICTABLE,
    RING_COUNT
};

/* What the scan has found for a slot: the newest word on it. */
struct scanned {
    uint64_t sequence; /* 0: nothing */
    uint32_t extent;
};

/* A readable block; sequence 0: none. */
struct found {
    uint64_t sequence, base;
    uint32_t slots;
};

struct actlog {
    struct core_allocator allocator;
    struct slot *slots; /* slot_count, then RING_COUNT that close the rings */
    uint32_t slot_count, slots_used;
    uint32_t *heads; /* of the hash chains */
    uint32_t head_mask;
    bool confirming;
    uint32_t changed_first, changed_last;

    uint64_t sequence, base; /* of the next transaction */
    uint32_t window;         /* where its window starts */
    bool writing;
    uint32_t written_count;
    uint32_t written_slots[CHANGES_MAX]; /* of the transaction under way */

    struct scanned *scan; /* METADATA_AL_EXTENTS_MAX; after the scan, packed: the recovered set */
    uint32_t scan_used;   /* slots that the scan has learned of, at most */
    uint32_t recovered;
    uint32_t damaged; /* blocks that are neither readable nor never written */
    uint32_t foreign; /* blocks with a good checksum and impossible contents */
    struct found newest;
    struct found found[METADATA_AL_BLOCKS]; /* by place */
};

/* ---- memory -------------------------------------------------------------------------------- */

static uint32_t ring_end(const struct actlog *log, enum ring ring)
{
    return log->slot_count + (uint32_t)ring;
}

static void empty_table(struct actlog *log)
{
    log->slots_used = 0;
    for (uint32_t i = 0; i <= log->head_mask; i++)
        log->heads[i] = NONE;
    for (uint32_t i = log->slot_count; i < log->slot_count + RING_COUNT; i++)
        log->slots[i].previous = log->slots[i].next = i;
    log->confirming = log->writing = false;
    log->changed_first = log->changed_last = NONE;
    log->written_count = 0;
    log->window = 0;
    log->base = log->sequence;
}

int actlog_new(struct actlog **log, uint32_t extents, const struct core_allocator *allocator)
{
    struct actlog *fresh;
    uint32_t heads = 64;

    if (extents < METADATA_AL_EXTENTS_MIN || extents > METADATA_AL_EXTENTS_MAX)
        return REPLICA_E_INVALID;
    fresh = alloc_zeroed(allocator, 1, sizeof *fresh);
    if (!fresh)
        return REPLICA_E_MEMORY;
    if (allocator)
        fresh->allocator = *allocator;
    while (heads < extents)
        heads *= 2;
    fresh->slots = alloc_zeroed(allocator, extents + RING_COUNT, sizeof *fresh->slots);
    fresh->heads = alloc_zeroed(allocator, heads, sizeof *fresh->heads);
    fresh->scan = alloc_zeroed(allocator, METADATA_AL_EXTENTS_MAX, sizeof *fresh->scan);
    if (!fresh->slots || !fresh->heads || !fresh->scan) {
        actlog_free(fresh);
        return REPLICA_E_MEMORY;
    }
    fresh->slot_count = extents;
    fresh->head_mask = heads - 1;
    fresh->sequence = 1;
    empty_table(fresh);
    *log = fresh;
    return 0;
}

void actlog_free(struct actlog *log)
{
    struct core_allocator allocator;

    if (!log)
        return;
    allocator = log->allocator;
    alloc_release(&allocator, log->scan);
    alloc_release(&allocator, log->heads);
    alloc_release(&allocator, log->slots);
    alloc_release(&allocator, log);
}

/* ---- the table ----------------------------------------------------------------------------- */

static uint32_t *head_of(const struct actlog *log, uint32_t extent)
{
    return &log->heads[(extent * 2654435761u >> 8) & log->head_mask];
}

static uint32_t find(const struct actlog *log, uint32_t extent)
{
    uint32_t index = *head_of(log, extent);

    while (index != NONE && log->slots[index].extent != extent)
        index = log->slots[index].chain;
    return index;
}

static void chain_remove(struct actlog *log, uint32_t index)
{
    uint32_t *link = head_of(log, log->slots[index].extent);

    while (*link != index)
        link = &log->slots[*link].chain;
    *link = log->slots[index].chain;
}

static void ring_remove(struct actlog *log, uint32_t index)
{
    struct slot *slot = &log->slots[index];

    log->slots[slot->previous].next = slot->next;
    log->slots[slot->next].previous = slot->previous;
}

static void ring_append(struct actlog *log, enum ring ring, uint32_t index)
{
    struct slot *end = &log->slots[ring_end(log, ring)];
    struct slot *slot = &log->slots[index];

    slot->previous = end->previous;
    slot->next = ring_end(log, ring);
    log->slots[end->previous].next = index;
    end->previous = index;
}

/* Moves everything in `from` behind `place` (a slot, or the end of a ring) in another ring. */
static void ring_move(struct actlog *log, enum ring from, uint32_t place)
{
    uint32_t end = ring_end(log, from);
    uint32_t first = log->slots[end].next, last = log->slots[end].previous;
    uint32_t after = log->slots[place].next;

    if (first == end)
        return;
    log->slots[place].next = first;
    log->slots[first].previous = place;
    log->slots[last].next = after;
    log->slots[after].previous = last;
    log->slots[end].next = log->slots[end].previous = end;
}

static void queue_change(struct actlog *log, uint32_t index)
{
    log->slots[index].state = SLOT_CHANGED;
    log->slots[index].next_changed = NONE;
    if (log->changed_first == NONE)
        log->changed_first = index;
    else
        log->slots[log->changed_last].next_changed = index;
    log->changed_last = index;
}

/* A slot for a new extent: one never used since the table was empty, or the evictable one that
 * was put first (invariant 2). NONE when there is neither. */
static uint32_t take_slot(struct actlog *log)
{
    uint32_t end = ring_end(log, RING_EVICTABLE);
    uint32_t index = log->slots[end].next;

    if (log->slots_used < log->slot_count) {
        index = log->slots_used++;
        log->slots[index].state = SLOT_FREE;
        return index;
    }
    if (index == end)
        return NONE;
    ring_remove(log, index);
    chain_remove(log, index);
    return index;
}

enum actlog_verdict actlog_get(struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);
    struct slot *slot;

    if (index != NONE) {
        slot = &log->slots[index];
        if (slot->references++ == 0)
            ring_remove(log, index);
        return slot->state == SLOT_ON_DISK ? ACTLOG_HOT : ACTLOG_PENDING;
    }
    index = take_slot(log);
    if (index == NONE)
        return ACTLOG_FULL;
    slot = &log->slots[index];
    slot->extent = extent;
    slot->references = 1;
    slot->chain = *head_of(log, extent);
    *head_of(log, extent) = index;
    if (slot->state != SLOT_CHANGED) /* else it stands in the queue already */
        queue_change(log, index);
    return ACTLOG_PENDING;
}

bool actlog_hot(const struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);

    return index != NONE && log->slots[index].state == SLOT_ON_DISK;
}

void actlog_put(struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);

    assert(index != NONE && log->slots[index].references > 0);
    if (--log->slots[index].references == 0)
        ring_append(log, RING_UNCONFIRMED, index);
}

void actlog_confirm_begin(struct actlog *log)
{
    if (log->confirming)
        return;
    log->confirming = true;
    ring_move(log, RING_UNCONFIRMED, ring_end(log, RING_COVERED));
}

void actlog_confirm_end(struct actlog *log)
{
    uint32_t last = log->slots[ring_end(log, RING_EVICTABLE)].previous;

    if (!log->confirming)
        return;
    log->confirming = false;
    ring_move(log, RING_COVERED, last);
}

void actlog_confirm_abort(struct actlog *log)
{
    if (!log->confirming)
        return;
    log->confirming = false;
    ring_move(log, RING_COVERED, ring_end(log, RING_UNCONFIRMED));
}

/* ---- transactions -------------------------------------------------------------------------- */

bool actlog_needs_write(const struct actlog *log)
{
    return log->changed_first != NONE;
}

static uint32_t window_length(uint32_t start, uint32_t slots)
{
    return slots - start < WINDOW_MAX ? slots - start : WINDOW_MAX;
}

/* Takes up to CHANGES_MAX slots out of the queue; they are in the transaction under way. */
static void gather_changes(struct actlog *log)
{
    uint32_t count = 0;

    while (count < CHANGES_MAX && log->changed_first != NONE) {
        uint32_t index = log->changed_first;

        log->changed_first = log->slots[index].next_changed;
        log->slots[index].state = SLOT_WRITING;
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
        bytes_put32(writer, i < log->slots_used ? log->slots[i].extent : NONE);
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
    *block_index = (uint32_t)(log->sequence % METADATA_AL_BLOCKS);
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
            queue_change(log, log->written_slots[i]);
    log->written_count = 0;
}

/* ---- after a crash ------------------------------------------------------------------------- */

/* The head of a block. */
struct head {
    uint64_t sequence, base;
    uint32_t version, changes, window_count, reserved, slots, window;
};

static bool block_unused(const uint8_t *block)
{
    for (unsigned i = 0; i < METADATA_BLOCK_BYTES; i++)
        if (block[i])
            return false;
    return true;
}

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
    return head->version == VERSION && head->reserved == 0 && head->changes <= CHANGES_MAX &&
           head->sequence > 0 && head->base > 0 && head->base <= head->sequence &&
           head->sequence < UINT64_MAX && head->slots >= METADATA_AL_EXTENTS_MIN &&
           head->slots <= METADATA_AL_EXTENTS_MAX && head->window < head->slots &&
           head->window % WINDOW_MAX == 0 &&
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
    struct bytes_reader reader = bytes_reader(block + CHANGE_SLOTS_AT, 2 * CHANGES_MAX);

    for (uint32_t i = 0; i < head->changes; i++)
        if (bytes_get16(&reader) >= head->slots)
            return false;
    return true;
}

static void learn_block(struct actlog *log, const struct head *head, const uint8_t *block)
{
    struct bytes_reader slots = bytes_reader(block + CHANGE_SLOTS_AT, 2 * CHANGES_MAX);
    struct bytes_reader extents = bytes_reader(block + CHANGE_EXTENTS_AT, 4 * CHANGES_MAX);
    struct bytes_reader window = bytes_reader(block + WINDOW_AT, 4 * WINDOW_MAX);

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

    if (block_unused(block))
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

        if (known->sequence >= log->newest.base && known->extent != NONE)
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

void actlog_reset(struct actlog *log)
{
    log->recovered = 0;
    empty_table(log);
}
