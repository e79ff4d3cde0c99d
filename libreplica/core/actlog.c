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
 */
#include "actlog_private.h"

#include <assert.h>

/* ---- memory -------------------------------------------------------------------------------- */

static uint32_t line_end(const struct actlog *log, enum line line)
{
    return log->slot_count + (uint32_t)line;
}

static void empty_table(struct actlog *log)
{
    log->slots_used = 0;
    for (uint32_t i = 0; i <= log->head_mask; i++)
        log->heads[i] = ACTLOG_NONE;
    for (uint32_t i = log->slot_count; i < log->slot_count + LINE_COUNT; i++)
        log->slots[i].previous = log->slots[i].next = i;
    log->confirming = log->writing = false;
    log->changed_first = log->changed_last = ACTLOG_NONE;
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
    fresh->slots = alloc_zeroed(allocator, extents + LINE_COUNT, sizeof *fresh->slots);
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

    while (index != ACTLOG_NONE && log->slots[index].extent != extent)
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

static void line_remove(struct actlog *log, uint32_t index)
{
    struct slot *slot = &log->slots[index];

    log->slots[slot->previous].next = slot->next;
    log->slots[slot->next].previous = slot->previous;
}

static void line_append(struct actlog *log, enum line line, uint32_t index)
{
    struct slot *end = &log->slots[line_end(log, line)];
    struct slot *slot = &log->slots[index];

    slot->previous = end->previous;
    slot->next = line_end(log, line);
    log->slots[end->previous].next = index;
    end->previous = index;
}

/* Moves everything in `from` behind `place` (a slot, or the end of a line) in another line. */
static void line_move(struct actlog *log, enum line from, uint32_t place)
{
    uint32_t end = line_end(log, from);
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

void actlog_queue_change(struct actlog *log, uint32_t index)
{
    log->slots[index].state = SLOT_CHANGED;
    log->slots[index].next_changed = ACTLOG_NONE;
    if (log->changed_first == ACTLOG_NONE)
        log->changed_first = index;
    else
        log->slots[log->changed_last].next_changed = index;
    log->changed_last = index;
}

/* A slot for a new extent: one never used since the table was empty, or the evictable one that
 * was put first (invariant 2). ACTLOG_NONE when there is neither. */
static uint32_t take_slot(struct actlog *log)
{
    uint32_t end = line_end(log, LINE_EVICTABLE);
    uint32_t index = log->slots[end].next;

    if (log->slots_used < log->slot_count) {
        index = log->slots_used++;
        log->slots[index].state = SLOT_FREE;
        return index;
    }
    if (index == end)
        return ACTLOG_NONE;
    line_remove(log, index);
    chain_remove(log, index);
    return index;
}

enum actlog_verdict actlog_get(struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);
    struct slot *slot;

    if (index != ACTLOG_NONE) {
        slot = &log->slots[index];
        if (slot->references++ == 0)
            line_remove(log, index);
        return slot->state == SLOT_ON_DISK || MUTANT(pending_is_hot) ? ACTLOG_HOT : ACTLOG_PENDING;
    }
    index = take_slot(log);
    if (index == ACTLOG_NONE)
        return ACTLOG_FULL;
    slot = &log->slots[index];
    slot->extent = extent;
    slot->references = 1;
    slot->chain = *head_of(log, extent);
    *head_of(log, extent) = index;
    if (slot->state != SLOT_CHANGED) /* else it stands in the queue already */
        actlog_queue_change(log, index);
    return ACTLOG_PENDING;
}

bool actlog_hot(const struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);

    return index != ACTLOG_NONE && log->slots[index].state == SLOT_ON_DISK;
}

void actlog_put(struct actlog *log, uint32_t extent)
{
    uint32_t index = find(log, extent);

    assert(index != ACTLOG_NONE && log->slots[index].references > 0);
    if (--log->slots[index].references == 0)
        line_append(log, MUTANT(evicts_unconfirmed) ? LINE_EVICTABLE : LINE_UNCONFIRMED, index);
}

void actlog_confirm_begin(struct actlog *log)
{
    if (log->confirming)
        return;
    log->confirming = true;
    line_move(log, LINE_UNCONFIRMED, line_end(log, LINE_COVERED));
}

void actlog_confirm_end(struct actlog *log)
{
    uint32_t last = log->slots[line_end(log, LINE_EVICTABLE)].previous;

    if (!log->confirming)
        return;
    log->confirming = false;
    line_move(log, LINE_COVERED, last);
    if (MUTANT(confirm_frees_late))
        line_move(log, LINE_UNCONFIRMED, log->slots[line_end(log, LINE_EVICTABLE)].previous);
}

void actlog_confirm_abort(struct actlog *log)
{
    if (!log->confirming)
        return;
    log->confirming = false;
    line_move(log, LINE_COVERED, line_end(log, LINE_UNCONFIRMED));
}

void actlog_reset(struct actlog *log)
{
    log->recovered = 0;
    empty_table(log);
}
