/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grow.c - this node's metadata for a larger disk: written beside the old, then switched over by
 * one superblock.
 *
 *   HOLD    no other metadata write is begun any more; those under way end
 *   SLOTS   where the superblocks will stand there is nothing that could be taken for one
 *   RING    the activity log, as it is on disk, to its new place
 *   MAP     the bitmap, with the bits of the new blocks, to its new place
 *   READY   until resize.c says so: all but the superblock is durable
 *   SUPER   the superblock with the new layout is being written
 *   DONE    it is durable; the bitmap in memory has the new blocks too
 *
 * Invariants
 *   1. Up to SUPER nothing is written where the old layout has something that counts: metadata that
 *      move go to a place apart (metadata_grow); where they stay only blocks past the old bitmap's
 *      end, and bits past its last one, are new. So a crash before SUPER is durable finds the old
 *      size, whole, and one after it the new size, whole.
 *   2. While metadata are held nothing that waits for them goes on: a bit or an extent cannot
 *      become durable in the old place after it was copied. What changes in memory meanwhile keeps
 *      its dirty mark and is written to the new place afterwards.
 *   3. Guest writes that need no metadata go on all the time.
 */
#include "core_private.h"

#include <string.h>

#include "err.h"

bool grow_holds(const struct core *core)
{
    return core->grow.phase != GROW_NONE && core->grow.phase != GROW_DONE &&
           core->grow.phase != GROW_FAILED && !MUTANT(grow_not_held);
}

static bool staging_busy(const struct core *core)
{
    for (unsigned i = 0; i < CORE_STAGING_SLOTS; i++)
        if (core->persist.staging[i].busy)
            return true;
    return false;
}

int grow_begin(struct core *core, const struct grow_wish *wish, struct replica_error *error)
{
    struct grow *grow = &core->grow;
    int code = metadata_grow(&core->super.layout, wish->meta_bytes, wish->data_bytes, &grow->layout,
                             error);

    if (code)
        return code;
    grow->wish = *wish;
    grow->moves = metadata_moves(&core->super.layout, &grow->layout);
    grow->failed = 0;
    grow->cursor = 0;
    grow->phase = GROW_HOLD;
    return 0;
}

void grow_abandon(struct core *core)
{
    if (core->grow.phase != GROW_NONE && core->grow.phase != GROW_SUPER)
        core->grow.phase = staging_busy(core) ? GROW_ABANDONED : GROW_NONE;
}

/* ---- transfers ----------------------------------------------------------------------------- */

/* The next stretch of a region of `blocks` blocks. */
static uint32_t stretch(const struct grow *grow, uint64_t blocks)
{
    uint64_t left = blocks - grow->cursor;

    return (uint32_t)(left < CORE_STAGING_BLOCKS ? left : CORE_STAGING_BLOCKS);
}

static void clear_slots(struct core *core)
{
    memset(core->persist.staging[0].data, 0, (size_t)METADATA_SLOTS * METADATA_BLOCK_BYTES);
    persist_transfer(core, 0, STAGING_GROW, ACTION_META_WRITE, core->grow.layout.slot[0],
                     METADATA_SLOTS);
}

static void read_ring(struct core *core)
{
    struct grow *grow = &core->grow;

    grow->reading = true;
    persist_transfer(core, 0, STAGING_GROW, ACTION_META_READ,
                     core->super.layout.al_offset + grow->cursor * METADATA_BLOCK_BYTES,
                     stretch(grow, METADATA_AL_BLOCKS));
}

static void write_ring(struct core *core)
{
    struct grow *grow = &core->grow;
    uint32_t blocks = core->persist.staging[0].count;

    grow->reading = false;
    persist_transfer(core, 0, STAGING_GROW, ACTION_META_WRITE,
                     grow->layout.al_offset + grow->cursor * METADATA_BLOCK_BYTES, blocks);
    grow->cursor += blocks;
}

/* Bits [first, end) of block `index`, as on disk. */
static void set_bits(uint8_t *block, uint64_t index, uint64_t first, uint64_t end)
{
    uint64_t from = index * METADATA_BITS_PER_BLOCK, to = from + METADATA_BITS_PER_BLOCK;

    if (first < from)
        first = from;
    if (end > to)
        end = to;
    for (uint64_t bit = first; bit < end; bit++)
        block[(bit - from) / 8] |= (uint8_t)(1u << (bit % 8));
}

static void write_map(struct core *core, uint32_t slot)
{
    struct grow *grow = &core->grow;
    struct staging *staging = &core->persist.staging[slot];
    uint32_t blocks = stretch(grow, grow->layout.bitmap_bytes / METADATA_BLOCK_BYTES);

    for (uint32_t i = 0; i < blocks; i++) {
        uint64_t index = grow->cursor + i;
        uint8_t *block = staging->data + (size_t)i * METADATA_BLOCK_BYTES;

        if (index < core->bitmap.blocks)
            bitmap_copy(&core->bitmap, index, block);
        else
            memset(block, 0, METADATA_BLOCK_BYTES);
        if (!MUTANT(grow_unmarked))
            set_bits(block, index, core->bitmap.bits, grow->wish.marked_end / REPLICA_BLOCK_BYTES);
    }
    persist_transfer(core, slot, STAGING_GROW, ACTION_META_WRITE,
                     grow->layout.bitmap_offset + grow->cursor * METADATA_BLOCK_BYTES, blocks);
    grow->cursor += blocks;
}

void grow_transferred(struct core *core, int code)
{
    if (code)
        core->grow.failed = code;
}

/* ---- one after the other --------------------------------------------------------------------
 */

static void start_map(struct core *core)
{
    struct grow *grow = &core->grow;

    grow->phase = GROW_MAP;
    /* where the bitmap stays only what is past its end is new */
    grow->cursor = grow->moves ? 0 : core->bitmap.bits / METADATA_BITS_PER_BLOCK;
    if (MUTANT(grow_map_lost))
        grow->cursor = grow->layout.bitmap_bytes / METADATA_BLOCK_BYTES;
}

static bool pump_ring(struct core *core)
{
    struct grow *grow = &core->grow;

    if (grow->reading)
        write_ring(core);
    else if (grow->cursor < METADATA_AL_BLOCKS && !MUTANT(grow_ring_lost))
        read_ring(core);
    else
        start_map(core);
    return true;
}

static bool pump_map(struct core *core)
{
    struct grow *grow = &core->grow;
    uint64_t blocks = grow->layout.bitmap_bytes / METADATA_BLOCK_BYTES;
    bool moved = false;

    for (uint32_t i = 0; i < CORE_STAGING_SLOTS && grow->cursor < blocks; i++) {
        if (core->persist.staging[i].busy)
            continue;
        write_map(core, i);
        moved = true;
    }
    if (grow->cursor >= blocks && !staging_busy(core)) {
        grow->phase = GROW_READY;
        moved = true;
    }
    return moved;
}

static void exchange_place(struct core *core, struct grow_place *place)
{
    struct grow_place present = {.meta_bytes = core->meta_bytes};

    memcpy(present.slots, core->slots, sizeof present.slots);
    memcpy(core->slots, place->slots, sizeof core->slots);
    core->meta_bytes = place->meta_bytes;
    *place = present;
}

void grow_look_elsewhere(struct core *core)
{
    exchange_place(core, &core->grow.former);
}

/* What metadata leave behind stays in the way of a later --assume-clean while it is not inside of
 * the data. Each place is farther out than the one before. */
static void note_stale(struct core *core)
{
    const struct grow *grow = &core->grow;
    uint64_t *end = &core->super.stale_end;

    if (grow->moves && !MUTANT(stale_forgotten))
        *end = core->super.layout.slot[METADATA_SLOTS - 1] + METADATA_BLOCK_BYTES;
    if (*end <= grow->layout.data_bytes)
        *end = 0;
}

void grow_switch(struct core *core)
{
    struct grow *grow = &core->grow;

    note_stale(core);
    core->super.layout = grow->layout;
    core->super.peer_bytes = grow->layout.data_bytes;
    grow->former.meta_bytes = 0;
    if (grow->moves) {
        struct grow_place place = {.meta_bytes = grow->wish.meta_bytes};

        memcpy(place.slots, grow->layout.slot, sizeof place.slots);
        exchange_place(core, &place);
        grow->former = place;
        core->persist.slot = 1; /* so that the first one is written next */
    }
    grow->ticket = persist_super(core);
    grow->phase = GROW_SUPER;
}

static bool pump_super(struct core *core)
{
    struct grow *grow = &core->grow;
    uint64_t from = core->bitmap.bits * REPLICA_BLOCK_BYTES, end = grow->wish.marked_end;

    if (!persist_super_due(core, grow->ticket) && !MUTANT(grow_not_durable))
        return false;
    bitmap_resize(&core->bitmap, grow->layout.data_bytes);
    while (from < end && !MUTANT(grow_unmarked)) {
        uint64_t left = end - from;
        uint32_t length = left < CORE_PIECE_BYTES ? (uint32_t)left : (uint32_t)CORE_PIECE_BYTES;

        bitmap_set(&core->bitmap, (struct range){.offset = from, .length = length});
        from += length;
    }
    grow->former.meta_bytes = 0;
    grow->phase = GROW_DONE;
    return true;
}

/* A read or write that failed ends it before anything was switched. */
static bool pump_failed(struct core *core)
{
    if (staging_busy(core))
        return false;
    core->grow.phase = GROW_FAILED;
    return true;
}

bool grow_pump(struct core *core)
{
    struct grow *grow = &core->grow;

    if (grow->failed && grow->phase > GROW_NONE && grow->phase < GROW_READY &&
        grow->phase != GROW_ABANDONED)
        return pump_failed(core);
    switch (grow->phase) {
    case GROW_HOLD:
        if (!persist_idle(core) && !MUTANT(grow_not_held))
            return false;
        grow->phase = grow->moves ? GROW_SLOTS : GROW_RING;
        if (grow->moves)
            clear_slots(core);
        else
            start_map(core);
        return true;
    case GROW_SLOTS:
        if (staging_busy(core))
            return false;
        grow->phase = GROW_RING;
        grow->reading = false;
        return true;
    case GROW_RING:
        return !staging_busy(core) && pump_ring(core);
    case GROW_MAP:
        return pump_map(core);
    case GROW_SUPER:
        return pump_super(core);
    case GROW_ABANDONED:
        if (staging_busy(core))
            return false;
        grow->phase = GROW_NONE;
        return true;
    case GROW_NONE:
    case GROW_READY:
    case GROW_DONE:
    case GROW_FAILED:
        break;
    }
    return false;
}
