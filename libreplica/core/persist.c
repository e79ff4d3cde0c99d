/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * persist.c - the one place that knows what is durable on the metadata device.
 *
 * Superblock: one write at a time, always into the slot that does not hold the newest durable one,
 * so that a torn write leaves the older. Activity log: one transaction at a time. Bitmap: passes; a
 * pass walks once over all blocks, writes those that are dirty when it comes by, and is done when
 * all of them are durable. One pass at a time, so no block is ever written twice at once.
 *
 * A ticket is the number of the write (pass) that will hold the state as it is now: if one is under
 * way already, that is the next one.
 */
#include "core_private.h"

#include <string.h>

uint64_t persist_super(struct core *core)
{
    core->persist.super_wanted =
        core->persist.super_writing + !(MUTANT(super_ticket_early) && core->persist.super_busy);
    return core->persist.super_wanted;
}

bool persist_super_due(const struct core *core, uint64_t ticket)
{
    return core->persist.super_done >= ticket;
}

bool persist_super_idle(const struct core *core)
{
    return !core->persist.super_busy && core->persist.super_wanted <= core->persist.super_writing;
}

uint64_t persist_bitmap(struct core *core)
{
    core->persist.pass_wanted =
        core->persist.pass_current + !(MUTANT(map_ticket_early) && core->persist.pass_running);
    return core->persist.pass_wanted;
}

bool persist_bitmap_due(const struct core *core, uint64_t ticket)
{
    return core->persist.pass_done >= ticket;
}

bool persist_idle(const struct core *core)
{
    const struct persist *persist = &core->persist;

    for (unsigned i = 0; i < CORE_STAGING_SLOTS; i++)
        if (persist->staging[i].busy)
            return false;
    return !persist->super_busy && !persist->al_busy;
}

static void begin_io(struct core *core, enum action_kind kind, uint64_t offset, uint8_t *data,
                     uint32_t blocks, uint64_t tag)
{
    struct action *action = core_emit(core, kind);

    action->meta.tag = tag;
    action->meta.offset = offset;
    action->meta.data = data;
    action->meta.length = blocks * METADATA_BLOCK_BYTES;
    disk_io_begin(core, tag);
}

void persist_transfer(struct core *core, uint32_t index, enum staging_use use,
                      enum action_kind kind, uint64_t offset, uint32_t blocks)
{
    struct staging *staging = &core->persist.staging[index];

    staging->busy = true;
    staging->use = use;
    staging->count = blocks;
    staging->generation++;
    begin_io(core, kind, offset, staging->data, blocks,
             tag_make(TAG_STAGING, index, staging->generation));
}

static bool pump_super(struct core *core)
{
    struct persist *persist = &core->persist;

    if (persist->super_busy || persist->super_wanted <= persist->super_writing)
        return false;
    core->super.sequence += !MUTANT(sequence_stuck);
    metadata_encode(&core->super, persist->super_block);
    persist->super_writing = persist->super_wanted;
    persist->super_busy = true;
    persist->super_generation++;
    begin_io(core, ACTION_META_WRITE, core->slots[1 - persist->slot], persist->super_block, 1,
             tag_make(TAG_SUPERBLOCK, 0, persist->super_generation));
    return true;
}

static bool pump_actlog(struct core *core)
{
    struct persist *persist = &core->persist;
    uint32_t index;

    if (persist->al_busy || !core_has_disk(core) || !actlog_needs_write(core->actlog))
        return false;
    actlog_encode(core->actlog, persist->al_block, &index);
    persist->al_busy = true;
    persist->al_generation++;
    core->counters.al_writes++;
    begin_io(core, ACTION_META_WRITE,
             core->super.layout.al_offset + (uint64_t)index * METADATA_BLOCK_BYTES,
             persist->al_block, 1, tag_make(TAG_ACTLOG, 0, persist->al_generation));
    return true;
}

/* Fills one staging slot with the next run of dirty blocks. */
static bool pump_run(struct core *core, uint32_t index)
{
    struct persist *persist = &core->persist;
    struct staging *staging = &persist->staging[index];
    uint64_t block, next;

    if (!bitmap_next_dirty(&core->bitmap, persist->pass_cursor, &block)) {
        persist->pass_cursor = core->bitmap.blocks;
        return false;
    }
    staging->first = block;
    staging->count = 0;
    do {
        bitmap_encode(&core->bitmap, block,
                      staging->data + (size_t)staging->count * METADATA_BLOCK_BYTES);
        staging->count++;
        block++;
    } while (staging->count < CORE_STAGING_BLOCKS &&
             bitmap_next_dirty(&core->bitmap, block, &next) && next == block);
    persist->pass_cursor = block + MUTANT(run_skips);
    core->counters.bitmap_writes++;
    persist_transfer(core, index, STAGING_BITMAP, ACTION_META_WRITE,
                     core->super.layout.bitmap_offset + staging->first * METADATA_BLOCK_BYTES,
                     staging->count);
    return true;
}

static bool pump_pass(struct core *core)
{
    struct persist *persist = &core->persist;
    bool moved = false, busy = false;

    if (!persist->pass_running) {
        if (persist->pass_wanted <= persist->pass_done)
            return false;
        persist->pass_running = moved = true;
        persist->pass_current = persist->pass_wanted;
        persist->pass_cursor = 0;
    }
    for (uint32_t i = 0; i < CORE_STAGING_SLOTS; i++) {
        if (!persist->staging[i].busy && persist->pass_cursor < core->bitmap.blocks)
            moved |= pump_run(core, i);
        busy |= persist->staging[i].busy;
    }
    if ((!busy || MUTANT(pass_done_early)) && persist->pass_cursor >= core->bitmap.blocks) {
        persist->pass_done = persist->pass_current;
        persist->pass_running = false;
        moved = true;
    }
    return moved;
}

bool persist_pump(struct core *core)
{
    bool moved = false;

    if (core->persist.dead || core->size == 0 || core->reading)
        return false;
    if (grow_holds(core))
        return core->grow.phase == GROW_SUPER && pump_super(core);
    moved |= pump_super(core);
    moved |= pump_actlog(core);
    moved |= pump_pass(core);
    return moved;
}

static bool super_done(struct core *core, uint64_t tag, int code)
{
    struct persist *persist = &core->persist;

    if (!persist->super_busy || tag != tag_make(TAG_SUPERBLOCK, 0, persist->super_generation))
        return false;
    persist->super_busy = false;
    if (code == 0) {
        persist->slot = MUTANT(newest_overwritten) ? persist->slot : 1 - persist->slot;
        persist->super_done = persist->super_writing;
    }
    return true;
}

static bool al_done(struct core *core, uint64_t tag, int code)
{
    struct persist *persist = &core->persist;

    if (!persist->al_busy || tag != tag_make(TAG_ACTLOG, 0, persist->al_generation))
        return false;
    persist->al_busy = false;
    if (code == 0) {
        actlog_written(core->actlog);
        core->al_moved = true;
    } else {
        actlog_failed(core->actlog);
    }
    return true;
}

static bool staging_done(struct core *core, uint64_t tag, int code)
{
    struct staging *staging;
    uint32_t index = tag_index(tag);

    if (index >= CORE_STAGING_SLOTS)
        return false;
    staging = &core->persist.staging[index];
    if (!staging->busy || tag != tag_make(TAG_STAGING, index, staging->generation))
        return false;
    staging->busy = false;
    switch (staging->use) {
    case STAGING_GROW:
        grow_transferred(core, code);
        return false; /* the old metadata are whole */
    case STAGING_ATTACH:
        if (core->reading) /* else of an attach that has failed */
            attach_read_done(core, index, code);
        break;
    case STAGING_BITMAP:
        for (uint64_t i = 0; code && i < staging->count; i++)
            bitmap_mark_dirty(&core->bitmap, staging->first + i);
        break;
    }
    return true;
}

bool persist_done(struct core *core, uint64_t tag, int code)
{
    bool attaching = core->reading;
    bool known = false;

    switch (tag_kind(tag)) {
    case TAG_SUPERBLOCK:
        known = super_done(core, tag, code);
        break;
    case TAG_ACTLOG:
        known = al_done(core, tag, code);
        break;
    case TAG_STAGING:
        known = staging_done(core, tag, code);
        break;
    case TAG_NONE:
    case TAG_REQUEST:
    case TAG_PEER:
    case TAG_CONFIRM:
    case TAG_SESSION_FLUSH:
    case TAG_RESYNC_ASK:
    case TAG_RESYNC_READ:
    case TAG_RESYNC_FLUSH:
    case TAG_VERIFY_ASK:
    case TAG_VERIFY_SERVE:
    case TAG_COMMAND:
    case TAG_LOSS:
    case TAG_RESIZE:
        break;
    }
    if (known && code && !attaching) {
        core->persist.dead = true;
        core_disk_failed(core, code, "writing its metadata");
    }
    return known;
}
