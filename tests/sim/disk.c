/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.c - a data disk with a volatile write cache that completes out of order.
 *
 * 1. A write becomes visible at some moment between its submission and its completion, sector by
 *    sector; it is durable at completion only if that was asked for.
 * 2. A completed flush made durable what was completed before it was submitted, and maybe more.
 * 3. Any cached sector may reach the platter at any time, in any order: a power cut keeps each
 *    unflushed sector or loses it.
 * 4. The death of the process leaves the cache alone; requests under way then happen wholly,
 *    in part or not at all.
 */
#include <string.h>

#include "sim.h"

static void dirty_set(struct sim_disk *disk, uint32_t sector)
{
    disk->dirty[sector / 64] |= UINT64_C(1) << (sector % 64);
}

static void dirty_clear(struct sim_disk *disk, uint32_t sector)
{
    disk->dirty[sector / 64] &= ~(UINT64_C(1) << (sector % 64));
}

static bool dirty_get(const struct sim_disk *disk, uint32_t sector)
{
    return disk->dirty[sector / 64] >> (sector % 64) & 1;
}

static void disk_destage(struct sim_disk *disk, uint32_t sector)
{
    disk->durable[sector] = disk->visible[sector];
    dirty_clear(disk, sector);
}

void disk_reset(struct sim_host *host, uint32_t content)
{
    struct sim_disk *disk = &host->disk;
    uint32_t sectors = host->world->profile.sectors;

    for (uint32_t i = 0; i < sectors; i++) {
        if (i == host->world->profile.first_sectors)
            content = host->world->profile.clean ? 1 : 1 + host->index;
        disk->visible[i] = disk->durable[i] = content;
    }
    memset(disk->dirty, 0, sizeof disk->dirty);
    disk->sequence = disk->flush_covers = 0;
    disk->in_flight = 0;
    disk->stalled_until = disk->one_until = disk->fails_until = disk->hangs_until = 0;
    for (uint32_t i = 0; i < SIM_DISK_OPS; i++)
        disk->ops[i].used = false;
}

/* ---- effects ----------------------------------------------------------------------------------
 */

static void disk_put(struct sim_host *host, uint32_t sector, uint32_t stamp)
{
    struct sim_disk *disk = &host->disk;

    if (dirty_get(disk, sector) &&
        (disk->sequence_of[sector] <= disk->flush_covers || (disk->visible[sector] ^ stamp) & 1))
        disk_destage(disk, sector);
    oracle_landed(host, sector, stamp);
    disk->visible[sector] = stamp;
    disk->sequence_of[sector] = ++disk->sequence;
    dirty_set(disk, sector);
}

static bool op_writes(const struct sim_disk_op *op)
{
    return op->op == REPLICA_OP_WRITE || op->op == REPLICA_OP_DISCARD ||
           op->op == REPLICA_OP_WRITE_ZEROES;
}

/* Puts some of the op's sectors; `one_in` 1 means all of them. */
static void op_apply(struct sim_host *host, const struct sim_disk_op *op, uint32_t one_in)
{
    const uint32_t *stamps = op->buffer ? buffer_stamps(host->world, op->buffer) : NULL;

    for (uint32_t i = 0; i < op->count; i++) {
        uint32_t stamp = stamps ? stamps[i] : op->stamp;

        if (one_in > 1 && !sim_chance(host->world, one_in))
            continue;
        if (host->disk.visible[op->first + i] != stamp || one_in == 1)
            disk_put(host, op->first + i, stamp);
    }
}

static void op_sample(struct sim_host *host, struct sim_disk_op *op)
{
    memcpy(buffer_stamps(host->world, op->buffer), &host->disk.visible[op->first],
           op->count * sizeof(uint32_t));
    op->sampled = true;
}

static void disk_flush_covers(struct sim_disk *disk)
{
    disk->flush_covers = 0;
    for (uint32_t i = 0, left = disk->in_flight; left; i++) {
        const struct sim_disk_op *op = &disk->ops[i];

        if (!op->used)
            continue;
        left--;
        if (op->op == REPLICA_OP_FLUSH && op->flush_sequence > disk->flush_covers)
            disk->flush_covers = op->flush_sequence;
    }
}

static void op_flush(struct sim_host *host, const struct sim_disk_op *op)
{
    struct sim_disk *disk = &host->disk;
    uint32_t words = (host->world->profile.sectors + 63) / 64;

    for (uint32_t word = 0; word < words; word++) {
        uint64_t left = 0; /* one store for all of a word's bits: each waits for the one before */

        for (uint64_t bits = disk->dirty[word]; bits; bits &= bits - 1) {
            uint32_t sector = word * 64 + (uint32_t)__builtin_ctzll(bits);

            if (disk->sequence_of[sector] <= op->flush_sequence)
                disk->durable[sector] = disk->visible[sector];
            else
                left |= bits & -bits;
        }
        disk->dirty[word] = left;
    }
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

bool disk_busy(const struct sim_disk *disk, uint32_t sector)
{
    for (uint32_t i = 0, left = disk->in_flight; left; i++) {
        const struct sim_disk_op *op = &disk->ops[i];

        if (!op->used)
            continue;
        left--;
        if (op_writes(op) && sector >= op->first && sector < op->first + op->count)
            return true;
    }
    return false;
}

/* Two writes of one sector at once may end either way round: P5 forbids them. */
static void disk_check_overlap(struct sim_host *host, const struct sim_disk_op *new)
{
    const struct sim_disk *disk = &host->disk;

    for (uint32_t i = 0, left = disk->in_flight; left; i++) {
        const struct sim_disk_op *op = &disk->ops[i];

        if (!op->used || op == new)
            continue;
        left--;
        if (op_writes(op) && op_writes(new) &&
            op->first < new->first + new->count &&new->first < op->first + op->count)
            sim_violation(host->world, "P5", "%c: writes of sectors %u+%u and %u+%u at once",
                          'A' + host->index, op->first, op->count, new->first, new->count);
    }
}

static struct sim_disk_op *disk_op_new(struct sim_host *host, uint32_t *index)
{
    for (uint32_t i = 0; i < SIM_DISK_OPS; i++) {
        if (host->disk.ops[i].used)
            continue;
        *index = i;
        host->disk.ops[i] =
            (struct sim_disk_op){.used = true, .serial = host->disk.ops[i].serial + 1};
        return &host->disk.ops[i];
    }
    sim_violation(host->world, "bounded memory", "%c: %u disk requests at once", 'A' + host->index,
                  SIM_DISK_OPS);
    return NULL;
}

/* Which guest write a discard or write-zeroes on this host belongs to: on the Primary the guest's
 * own, on the peer what it was sent. */
static uint32_t stamp_without_data(struct sim_host *host, const struct sim_disk_op *op)
{
    uint32_t stamp = guest_stamp_of(host, (enum replica_op)op->op, op->first, op->count, false);

    for (uint32_t i = 0; i < host->owes && stamp == SIM_STAMP_NONE; i++) {
        struct sim_owed *owed = &host->owed[i];
        const struct sim_write *write = &host->world->oracle.write[owed->stamp];

        if (owed->stamp < SIM_STAMP_FIRST || owed->on_disk || write->op != op->op ||
            op->first != owed->first || op->count != owed->count)
            continue;
        owed->on_disk = true;
        stamp = owed->stamp;
    }
    if (stamp == SIM_STAMP_NONE)
        sim_violation(host->world, "P5", "%c: nobody asked for this %s of sectors %u+%u",
                      'A' + host->index, replica_op_name(op->op), op->first, op->count);
    return stamp;
}

static uint64_t disk_latency(struct sim_host *host)
{
    struct sim_world *world = host->world;
    const struct sim_profile *profile = &world->profile;
    uint64_t at =
        world->now + profile->disk_base + sim_below(world, (uint32_t)profile->disk_spread);

    if (host->disk.stalled_until > world->now && !world->healing)
        at += host->disk.stalled_until - world->now;
    if (host->disk.one_until > world->now && !world->healing)
        at += host->disk.one_until - world->now;
    host->disk.one_until = 0;
    return at;
}

static void disk_op_start(struct sim_host *host, struct sim_disk_op *op,
                          const struct action *action)
{
    struct sim_world *world = host->world;

    if (op->op == REPLICA_OP_READ) {
        op->handed = !op->buffer;
        if (op->handed)
            op->buffer = buffer_get(world, host->index, op->count);
        else
            buffer_hold(op->buffer);
        if (op->buffer && sim_chance(world, 2))
            op_sample(host, op);
    } else if (op->op == REPLICA_OP_WRITE) {
        buffer_hold(op->buffer);
        if (!op->buffer || op->buffer->sectors < op->count)
            sim_violation(world, "core.h", "%c: a write without its data", 'A' + host->index);
        else if (sim_chance(world, 4))
            op_apply(host, op, 2);
    } else if (op->op == REPLICA_OP_FLUSH) {
        op->flush_sequence = host->disk.sequence;
        disk_flush_covers(&host->disk);
    } else if (action->disk.range.length) {
        op->stamp = stamp_without_data(host, op);
    }
}

void disk_submit(struct sim_host *host, const struct action *action)
{
    struct sim_world *world = host->world;
    const struct range range = action->disk.range;
    uint64_t data_bytes = (uint64_t)host->device_sectors * REPLICA_SECTOR_BYTES;
    struct sim_disk_op *op;
    uint32_t index;

    if (action->disk.op != REPLICA_OP_FLUSH &&
        (!range_inside(range, data_bytes) || !range_aligned(range, REPLICA_SECTOR_BYTES))) {
        sim_violation(world, "core.h", "%c: disk request outside the device", 'A' + host->index);
        return;
    }
    op = disk_op_new(host, &index);
    if (!op)
        return;
    op->op = (uint8_t)action->disk.op;
    op->at = world->now;
    op->durable = action->disk.durable;
    op->first = (uint32_t)(range.offset / REPLICA_SECTOR_BYTES);
    op->count = range.length / REPLICA_SECTOR_BYTES;
    op->buffer = action->disk.buffer;
    op->tag = action->disk.tag;
    op->summed = action->disk.digest != CORE_DIGEST_NONE;
    disk_check_overlap(host, op);
    host->disk.in_flight++;
    disk_op_start(host, op, action);
    world_at(world, SIM_DISK, host->index, disk_latency(host), index, op->serial);
}

static void disk_op_end(struct sim_host *host, struct sim_disk_op *op)
{
    op->used = false;
    host->disk.in_flight--;
    if (op->op == REPLICA_OP_FLUSH)
        disk_flush_covers(&host->disk);
}

/* What the disk itself does when the request completes. */
static void disk_op_effect(struct sim_host *host, struct sim_disk_op *op)
{
    if (op_writes(op)) {
        op_apply(host, op, 1);
        for (uint32_t i = 0; op->durable && i < op->count; i++)
            disk_destage(&host->disk, op->first + i);
    } else if (op->op == REPLICA_OP_FLUSH) {
        op_flush(host, op);
    } else if (op->buffer && !op->sampled) {
        op_sample(host, op);
    }
}

/* No two contents that a schedule can hold have the same sum, for all that is known. */
static void op_sum(struct sim_host *host, const struct sim_disk_op *op, uint8_t *digest)
{
    const uint32_t *stamps = buffer_stamps(host->world, op->buffer);
    uint64_t sum[WIRE_DIGEST_BYTES / 8] = {0};

    for (uint32_t i = 0; i < op->count; i++) {
        sum[0] = (sum[0] ^ stamps[i]) * UINT64_C(0x9e3779b97f4a7c15);
        sum[0] ^= sum[0] >> 29;
        sum[1] = sum[1] * 31 + stamps[i];
    }
    memcpy(digest, sum, WIRE_DIGEST_BYTES);
}

/* Only while the other disk has everything: what only one disk has, a failure of that disk takes.
 */
static bool is_spared(const struct sim_host *host)
{
    const struct sim_world *world = host->world;
    const struct sim_host *peer = &world->host[1 - host->index];

    return world->healing || !peer->up || peer->disk.fails_until > world->now ||
           peer->disk.hangs_until > world->now || peer->status.disk != REPLICA_DISK_UPTODATE ||
           host->status.replication != REPLICA_REPLICATION_ESTABLISHED ||
           host_commanded(host, COMMAND_INVALIDATE_REMOTE) ||
           host_commanded(peer, COMMAND_INVALIDATE) ||
           peer->status.replication != REPLICA_REPLICATION_ESTABLISHED;
}

bool disk_fails(struct sim_host *host)
{
    if (host->disk.fails_until <= host->world->now)
        return false;
    return host->disk.not_spared || (!is_spared(host) && sim_chance(host->world, 2));
}

bool disk_hangs(const struct sim_host *host)
{
    return host->disk.hangs_until > host->world->now && (host->disk.not_spared || !is_spared(host));
}

/* disk-timeout, and again as much for a core that was itself asleep. */
static void check_given_up(struct sim_host *host, const struct sim_disk_op *op)
{
    uint64_t patience = 2 * host->world->profile.disk_timeout;

    if (patience && !host->frozen && host->world->now - op->at > patience &&
        host->status.disk >= REPLICA_DISK_INCONSISTENT)
        sim_violation(host->world, "liveness", "%c: its disk hangs, and is not given up",
                      'A' + host->index);
}

void disk_done(struct sim_host *host, uint32_t operation, uint32_t serial)
{
    struct sim_world *world = host->world;
    struct sim_disk_op *op = &host->disk.ops[operation];
    struct event event = {.kind = EVENT_DISK_DONE};
    uint8_t digest[WIRE_DIGEST_BYTES];

    if (!op->used || op->serial != serial)
        return;
    if (host->frozen || disk_hangs(host) ||
        (host->disk.stalled_until > world->now && !world->healing && sim_chance(world, 2))) {
        check_given_up(host, op);
        world_at(world, SIM_DISK, host->index, world->now + MS, operation, serial);
        return;
    }
    if (single_io(host))
        return;
    if (disk_fails(host) || single_error(host)) {
        event.disk_done.code = REPLICA_E_IO;
        if (op_writes(op) && sim_chance(world, 2))
            op_apply(host, op, 2);
    } else {
        disk_op_effect(host, op);
    }
    event.disk_done.tag = op->tag;
    if (op->summed && op->buffer && event.disk_done.code == 0) {
        op_sum(host, op, digest);
        event.disk_done.digest = digest;
    }
    TRACE(world, "%c: disk %s %u+%u done", 'A' + host->index, replica_op_name(op->op), op->first,
          op->count);
    disk_op_end(host, op);
    if (op->handed && op->buffer && event.disk_done.code == 0) {
        event.disk_done.buffer = op->buffer; /* the reference goes with it */
        op->buffer->handed = true;
    } else {
        buffer_put(world, op->buffer);
    }
    host_event(host, &event);
}

/* ---- the end of a process, or of power
 * --------------------------------------------------------------- */

static void disk_lose_cache(struct sim_host *host)
{
    struct sim_disk *disk = &host->disk;
    uint32_t words = (host->world->profile.sectors + 63) / 64;
    uint32_t mood = sim_below(host->world, 3); /* lose all, half, or most of what was not flushed */

    for (uint32_t word = 0; word < words; word++) {
        for (uint64_t bits = disk->dirty[word]; bits; bits &= bits - 1) {
            uint32_t sector = word * 64 + (uint32_t)__builtin_ctzll(bits);

            if (mood && sim_chance(host->world, mood == 1 ? 2 : 8))
                disk->durable[sector] = disk->visible[sector];
            disk->visible[sector] = disk->durable[sector];
        }
        disk->dirty[word] = 0;
    }
}

void disk_crash(struct sim_host *host, bool power)
{
    struct sim_disk *disk = &host->disk;

    for (uint32_t i = 0; i < SIM_DISK_OPS && disk->in_flight; i++) {
        struct sim_disk_op *op = &disk->ops[i];
        uint32_t part = sim_below(host->world, 4);

        if (!op->used)
            continue;
        if (op_writes(op) && part)
            op_apply(host, op, part == 1 ? 1 : part);
        disk_op_end(host, op);
        buffer_put(host->world, op->buffer);
    }
    disk->stalled_until = disk->one_until = 0;
    if (power)
        disk_lose_cache(host);
}
