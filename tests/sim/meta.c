/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * meta.c - the metadata device: real bytes, every write durable at its completion, torn at 512
 * bytes by a crash before it, and where there are checksums at any byte. And the oracle's view of
 * it: superblock, activity log and bitmap decoded from what is durable now, kept until the bytes
 * change.
 */
#include <string.h>

#include "sim.h"

void meta_reset(struct sim_host *host, const struct metadata_superblock *superblock)
{
    struct sim_meta *meta = &host->meta;

    memset(meta->bytes, 0, SIM_WINDOW_BYTES);
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        metadata_encode(superblock, meta->bytes + meta_at(host, superblock->layout.slot[i]));
    meta->in_flight = 0;
    meta->map_until = meta->super_until = 0;
    meta->truth_stale = meta->log_stale = true;
    for (uint32_t i = 0; i < SIM_META_OPS; i++)
        meta->ops[i].used = false;
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static struct sim_meta_op *meta_op_new(struct sim_host *host, uint32_t *index)
{
    for (uint32_t i = 0; i < SIM_META_OPS; i++) {
        struct sim_meta_op *op = &host->meta.ops[i];

        if (op->used)
            continue;
        *index = i;
        op->used = true;
        op->serial++;
        return op;
    }
    sim_violation(host->world, "bounded memory", "%c: %u metadata requests at once",
                  'A' + host->index, SIM_META_OPS);
    return NULL;
}

/* Two at once on the same bytes, one of them a write: nobody knows what stands there after. */
static void meta_check_overlap(struct sim_host *host, const struct sim_meta_op *new)
{
    for (uint32_t i = 0, left = host->meta.in_flight; left; i++) {
        const struct sim_meta_op *op = &host->meta.ops[i];

        if (!op->used || op == new)
            continue;
        left--;
        if ((op->write || new->write) &&
            op->offset < new->offset + new->length &&new->offset < op->offset + op->length)
            sim_violation(host->world, "metadata", "%c: requests at %u and %u overlap",
                          'A' + host->index, op->offset, new->offset);
    }
}

/* So that what must not be durable before the other has all the time to be. */
static uint64_t meta_more_latency(struct sim_host *host, const struct action *action)
{
    const struct metadata_superblock *truth = meta_truth(host);
    uint64_t until = 0, now = host->world->now, offset = action->meta.offset;

    if (host->world->healing || action->kind != ACTION_META_WRITE || !truth)
        return 0;
    if (offset == truth->layout.slot[0] || offset == truth->layout.slot[1])
        until = host->meta.super_until;
    else if (offset >= truth->layout.bitmap_offset &&
             offset < truth->layout.bitmap_offset + truth->layout.bitmap_bytes)
        until = host->meta.map_until;
    return until > now ? until - now : 0;
}

void meta_submit(struct sim_host *host, const struct action *action)
{
    struct sim_world *world = host->world;
    struct sim_meta_op *op;
    uint64_t latency =
        world->profile.disk_base + sim_below(world, (uint32_t)world->profile.disk_spread);
    uint32_t index;

    if (action->meta.length == 0 || action->meta.length % METADATA_BLOCK_BYTES ||
        action->meta.offset % METADATA_BLOCK_BYTES ||
        meta_at(host, action->meta.offset) == UINT32_MAX ||
        meta_at(host, action->meta.offset + action->meta.length - 1) !=
            meta_at(host, action->meta.offset) + action->meta.length - 1) {
        sim_violation(world, "core.h", "%c: metadata request outside the device",
                      'A' + host->index);
        return;
    }
    op = meta_op_new(host, &index);
    if (!op)
        return;
    op->write = action->kind == ACTION_META_WRITE;
    op->offset = meta_at(host, action->meta.offset);
    op->length = action->meta.length;
    op->data = action->meta.data;
    op->tag = action->meta.tag;
    if (op->write)
        memcpy(op->copy, op->data, op->length);
    meta_check_overlap(host, op);
    host->meta.in_flight++;
    if (host->disk.stalled_until > world->now && !world->healing)
        latency += host->disk.stalled_until - world->now;
    latency += meta_more_latency(host, action);
    world_at(world, SIM_META, host->index, world->now + latency, index, op->serial);
}

/* With external metadata the superblock slots come first, then the activity log. */
static void meta_changed(struct sim_host *host, const struct sim_meta_op *op)
{
    const uint32_t log_at = METADATA_SLOTS * METADATA_BLOCK_BYTES;
    struct sim_meta *meta = &host->meta;
    bool internal = host->world->profile.internal >> host->index & 1;

    if (op->write && (internal || op->offset < log_at))
        meta->truth_stale = true;
    if (op->write && (internal || op->offset + op->length > log_at))
        meta->log_stale = true;
}

void meta_done(struct sim_host *host, uint32_t operation, uint32_t serial)
{
    struct sim_meta *meta = &host->meta;
    struct sim_meta_op *op = &meta->ops[operation];
    struct event event = {.kind = EVENT_META_DONE};

    if (!op->used || op->serial != serial)
        return;
    if (host->frozen || disk_hangs(host)) {
        world_at(host->world, SIM_META, host->index, host->world->now + MS, operation, serial);
        return;
    }
    if (single_io(host))
        return;
    if (disk_fails(host) || single_error(host)) {
        event.meta_done.code = REPLICA_E_IO;
    } else if (op->write) {
        if (memcmp(op->copy, op->data, op->length) != 0)
            sim_violation(host->world, "core.h", "%c: metadata changed while it was written",
                          'A' + host->index);
        memcpy(meta->bytes + op->offset, op->copy, op->length);
        meta_changed(host, op);
    } else {
        memcpy(op->data, meta->bytes + op->offset, op->length);
    }
    TRACE(host->world, "%c: metadata %s %u+%u done", 'A' + host->index,
          op->write ? "write" : "read", op->offset, op->length);
    op->used = false;
    meta->in_flight--;
    event.meta_done.tag = op->tag;
    host_event(host, &event);
}

/* How much of a sector of a write under way there is: what has a checksum of its own (superblocks,
 * activity log) may be torn in mid-sector. */
static uint32_t meta_torn(const struct sim_host *host, uint32_t offset, uint32_t mood)
{
    struct sim_world *world = host->world;

    if (mood == 0 || (mood == 2 && sim_chance(world, 2)))
        return 0;
    if (mood == 3 && meta_has_sums(host, offset))
        return sim_below(world, REPLICA_SECTOR_BYTES);
    return REPLICA_SECTOR_BYTES;
}

/* A write under way leaves each of its sectors old or new, or torn. */
void meta_crash(struct sim_host *host)
{
    struct sim_meta *meta = &host->meta;

    for (uint32_t i = 0; i < SIM_META_OPS && meta->in_flight; i++) {
        struct sim_meta_op *op = &meta->ops[i];
        uint32_t mood = sim_below(host->world, 4);

        if (!op->used)
            continue;
        for (uint32_t at = 0; op->write && at < op->length; at += REPLICA_SECTOR_BYTES)
            memcpy(meta->bytes + op->offset + at, op->copy + at,
                   meta_torn(host, op->offset + at, mood));
        op->used = false;
        meta->in_flight--;
        meta_changed(host, op);
    }
}

/* ---- the truth
 * ------------------------------------------------------------------------------------- */

const struct metadata_superblock *meta_truth(struct sim_host *host)
{
    struct sim_meta *meta = &host->meta;
    uint64_t slot[METADATA_SLOTS];

    if (meta->truth_stale) {
        meta->truth_stale = false;
        meta->truth_valid = grow_find(host, slot, &meta->truth);
    }
    return meta->truth_valid ? &meta->truth : NULL;
}

static const struct actlog *meta_log(struct sim_host *host, const struct metadata_superblock *truth)
{
    struct sim_meta *meta = &host->meta;
    struct replica_error error;

    if (!meta->log_stale)
        return meta->log;
    meta->log_stale = false;
    actlog_free(meta->log);
    meta->log = NULL;
    if (actlog_new(&meta->log, truth->al_extents, NULL))
        return NULL;
    actlog_scan_begin(meta->log);
    for (uint32_t i = 0; i < METADATA_AL_BLOCKS; i++)
        actlog_scan_block(meta->log,
                          meta->bytes + meta_at(host, truth->layout.al_offset +
                                                          (uint64_t)i * METADATA_BLOCK_BYTES));
    if (actlog_scan_finish(meta->log, &error)) {
        TRACE(host->world, "%c: activity log on disk: %s", 'A' + host->index, error.text);
        actlog_free(meta->log);
        meta->log = NULL;
        return NULL;
    }
    return meta->log;
}

bool meta_marked(struct sim_host *host, uint32_t sector)
{
    const struct metadata_superblock *truth = meta_truth(host);
    uint32_t bit = sector / SIM_BLOCK_SECTORS;
    uint32_t byte =
        bit / METADATA_BITS_PER_BLOCK * METADATA_BLOCK_BYTES + bit % METADATA_BITS_PER_BLOCK / 8;
    uint32_t extent =
        (uint32_t)((uint64_t)sector * REPLICA_SECTOR_BYTES / METADATA_AL_EXTENT_BYTES);
    const struct actlog *log;

    if (!truth)
        return false;
    if (truth->flags & METADATA_FULL_SYNC)
        return true;
    if (host->meta.bytes[meta_at(host, truth->layout.bitmap_offset + byte)] >> (bit % 8) & 1)
        return true;
    log = meta_log(host, truth);
    for (uint32_t i = 0; log && i < actlog_count(log); i++)
        if (actlog_extent_at(log, i) == extent)
            return true;
    return false;
}
