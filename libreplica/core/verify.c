/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify.c - comparing both replicas while the guest goes on (`tapdrbdadm verify`).
 *
 *   asker  VERIFY_READ -> peer reads, sums up -> VERIFY_SUM -> asker reads, sums up, compares
 *          a range that differs is compared again block by block; the blocks that differ become
 *          out-of-sync bits here and, by VERIFY_MARK, there. Nothing is ever copied.
 *   end    the asker's bits are durable; VERIFY_DONE; the other's too; VERIFY_DONE
 *
 * No false alarm: both nodes must read the range between the same two guest writes. All writes are
 * the Primary's, and one leaves its interval set only when both nodes have it. So whoever is
 * Primary holds the range in that set for as long as it takes:
 *   asked by the Primary   from before it asks until it has compared
 *   asked of the Primary   from before it reads until its answer is in the ordered stream; what
 *                          it writes after that comes to the asker behind the answer, and so waits
 *                          in the asker's set until that has read too
 * When the role moves meanwhile, a comparison that can no longer be trusted is made again, and
 * nobody who holds a range waits for one who waits for it (CORE_VERIFY_HELD: such a question is
 * answered with BUSY).
 */
#include "core_private.h"

#include <inttypes.h>
#include <string.h>

void verify_init(struct core *core)
{
    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++) {
        core->verify.asks[i].index = core->verify.serves[i].index = i;
        core->verify.asks[i].owner.kind = OWNER_VERIFY_ASK;
        core->verify.serves[i].owner.kind = OWNER_VERIFY_SERVE;
    }
}

static bool slots_free(const struct verify_slot *slots)
{
    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++)
        if (slots[i].phase != VERIFY_FREE)
            return false;
    return true;
}

bool verify_idle(const struct core *core)
{
    return slots_free(core->verify.asks) && slots_free(core->verify.serves);
}

uint64_t verify_oldest(const struct core *core)
{
    uint64_t oldest = UINT64_MAX;

    if (core->verify.running && core->verify.end == VERIFY_ENDS_PEER)
        return core->verify.ended_at;
    for (uint32_t i = 0; core->verify.running && i < CORE_VERIFY_SLOTS; i++) {
        const struct verify_slot *slot = &core->verify.asks[i];

        if (slot->phase == VERIFY_ASKED && slot->asked_at < oldest)
            oldest = slot->asked_at;
    }
    return oldest;
}

static struct verify_slot *slot_find(struct verify_slot *slots)
{
    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++)
        if (slots[i].phase == VERIFY_FREE)
            return &slots[i];
    return NULL;
}

static uint64_t slot_tag(const struct verify_slot *slot)
{
    return tag_make(slot->owner.kind == OWNER_VERIFY_ASK ? TAG_VERIFY_ASK : TAG_VERIFY_SERVE,
                    slot->index, slot->generation);
}

static struct verify_slot *slot_by_tag(struct core *core, uint64_t tag)
{
    uint32_t index = tag_index(tag);
    struct verify_slot *slot = NULL;

    if (index < CORE_VERIFY_SLOTS && tag_kind(tag) == TAG_VERIFY_ASK)
        slot = &core->verify.asks[index];
    else if (index < CORE_VERIFY_SLOTS && tag_kind(tag) == TAG_VERIFY_SERVE)
        slot = &core->verify.serves[index];
    return slot && tag == slot_tag(slot) ? slot : NULL;
}

static bool slot_enter(struct core *core, struct verify_slot *slot)
{
    slot->owner.interval.range = slot->piece;
    return interval_enter(&core->intervals, &slot->owner.interval);
}

static void slot_leave(struct core *core, struct verify_slot *slot)
{
    core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
}

static void slot_read(struct core *core, struct verify_slot *slot)
{
    slot->phase = VERIFY_READ;
    core_disk_sum(core, slot->piece, slot->algorithm, slot_tag(slot));
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static void slot_send(struct core *core, struct verify_slot *slot)
{
    struct wire_message *message = core_send(core, WIRE_VERIFY_READ, NULL);

    slot->phase = VERIFY_ASKED;
    slot->asked_at = core->now;
    message->tag = slot_tag(slot);
    message->range = slot->piece;
    message->flags = (uint32_t)slot->algorithm;
    if (slot->held)
        message->flags |= CORE_VERIFY_HELD;
    if (slot->piece.length != slot->range.length)
        message->flags |= CORE_VERIFY_AGAIN;
    message->value = core->verify.stop - core->verify.start;
}

/* The piece, from the beginning. */
static void slot_ask(struct core *core, struct verify_slot *slot)
{
    slot->generation++;
    slot->held = core->role == REPLICA_ROLE_PRIMARY && !MUTANT(verify_unheld);
    if (slot->held && !slot_enter(core, slot))
        slot->phase = VERIFY_HOLD;
    else
        slot_send(core, slot);
}

static void log_bad(struct core *core, struct verify_slot *slot)
{
    struct verify *verify = &core->verify;

    if (slot->bad.length == 0)
        return;
    if (verify->lines++ < CORE_VERIFY_LINES)
        core_log(core, LOG_LEVEL_ERROR,
                 "verify: the data of %s and %s differ: %" PRIu32 " bytes at offset %" PRIu64
                 " (sector %" PRIu64 "); marked out of sync",
                 core->config.node, core->config.peer_node, slot->bad.length, slot->bad.offset,
                 slot->bad.offset / REPLICA_SECTOR_BYTES);
    else if (verify->lines == CORE_VERIFY_LINES + 1)
        core_log(core, LOG_LEVEL_ERROR, "verify: more differences, which get no lines");
    slot->bad.length = 0;
}

static void note_difference(struct core *core, struct verify_slot *slot)
{
    struct wire_message *message = core_send(core, WIRE_VERIFY_MARK, NULL);

    message->range = slot->piece;
    bitmap_set(&core->bitmap, slot->piece);
    persist_bitmap(core);
    core->verify.differs_bytes += slot->piece.length;
    if (slot->bad.length > 0 && range_end(slot->bad) == slot->piece.offset) {
        slot->bad.length += slot->piece.length;
        return;
    }
    log_bad(core, slot);
    slot->bad = slot->piece;
}

/* What comes after the piece: its first block, the next block, or the end of the range. */
static void slot_next(struct core *core, struct verify_slot *slot, bool equal)
{
    bool whole = slot->piece.length == slot->range.length;
    uint64_t next = range_end(slot->piece);

    if (!equal && slot->piece.length > REPLICA_BLOCK_BYTES)
        next = slot->range.offset;
    else if (!equal)
        note_difference(core, slot);
    if (next < range_end(slot->range) && (!whole || !equal)) {
        slot->piece = (struct range){.offset = next, .length = REPLICA_BLOCK_BYTES};
        slot_ask(core, slot);
        return;
    }
    log_bad(core, slot);
    core->verify.done_bytes += slot->range.length;
    slot->phase = VERIFY_FREE;
}

static bool is_current(const struct core *core, const struct verify_slot *slot)
{
    return core->verify.running && session_live(core) && slot->session == core->session.number;
}

static void ask_read(struct core *core, struct verify_slot *slot, const uint8_t *digest)
{
    bool equal = digest && memcmp(digest, slot->theirs, WIRE_DIGEST_BYTES) == 0;

    slot_leave(core, slot);
    if (is_current(core, slot))
        slot_next(core, slot, equal);
    else
        slot->phase = VERIFY_FREE;
}

/* Ends it before its time; what is on the disk comes back to nobody. */
static void stop(struct core *core, const char *why)
{
    struct verify *verify = &core->verify;
    uint64_t reached = verify->cursor;

    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++) {
        struct verify_slot *slot = &verify->asks[i];

        if (slot->phase == VERIFY_FREE)
            continue;
        if (slot->range.offset < reached)
            reached = slot->range.offset;
        log_bad(core, slot);
        slot->session = 0;
        if (slot->phase == VERIFY_READ)
            continue;
        slot->generation++;
        if (slot->phase != VERIFY_ASKED || slot->held)
            slot_leave(core, slot);
        slot->phase = VERIFY_FREE;
    }
    verify->running = false;
    core_log(core, LOG_LEVEL_WARNING,
             "verify stopped: %s; all before sector %" PRIu64 " is compared, %" PRIu64
             " KiB differ so far",
             why, reached / REPLICA_SECTOR_BYTES, verify->differs_bytes / 1024);
}

static void say_done(struct core *core)
{
    core_send(core, WIRE_VERIFY_DONE, NULL)->value = core->verify.differs_bytes;
}

static void sum_came(struct core *core, const struct wire_message *message)
{
    struct verify_slot *slot = slot_by_tag(core, message->tag);

    if (!slot || slot->owner.kind != OWNER_VERIFY_ASK || slot->phase != VERIFY_ASKED)
        return; /* of a verification that was stopped */
    if (message->code && message->code != REPLICA_E_BUSY) {
        stop(core, "the peer cannot read");
        say_done(core);
        return;
    }
    if (message->code ||
        (!slot->held && core->role == REPLICA_ROLE_PRIMARY && !MUTANT(verify_role_moved))) {
        if (slot->held)
            slot_leave(core, slot);
        slot_ask(core, slot);
        return;
    }
    pace_told(core, message->flags);
    memcpy(slot->theirs, message->digest, sizeof slot->theirs);
    slot->phase = VERIFY_OVERLAP;
    if (slot->held || slot_enter(core, slot))
        slot_read(core, slot);
}

static const char *algorithm_name(const struct core *core)
{
    static const char *const names[CORE_DIGEST_COUNT] = {"none", "sha256", "sha1", "md5", "crc32c"};

    return names[core->config.verify_digest];
}

void verify_begin(struct core *core)
{
    struct verify *verify = &core->verify;
    uint64_t from = core->command.start, to = core->command.stop ? core->command.stop : core->size;

    if (core->config.verify_digest == CORE_DIGEST_NONE) {
        command_answer(core, REPLICA_E_STATE,
                       "%s: `verify-alg none` in the configuration forbids it",
                       core->config.resource);
        return;
    }
    if (verify->running || verify->serving) {
        command_answer(core, REPLICA_E_BUSY, "%s: a verification is under way already",
                       core->config.resource);
        return;
    }
    to = (to + REPLICA_BLOCK_BYTES - 1) / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
    if (from >= to || from >= core->size || to > core->size) {
        command_answer(core, REPLICA_E_RANGE,
                       "%s: nothing to verify from sector %" PRIu64 " to %" PRIu64
                       ": the device has %" PRIu64,
                       core->config.resource, from / REPLICA_SECTOR_BYTES,
                       to / REPLICA_SECTOR_BYTES, core->size / REPLICA_SECTOR_BYTES);
        return;
    }
    verify->start = verify->cursor = from / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
    verify->stop = to;
    verify->done_bytes = verify->differs_bytes = 0;
    verify->lines = 0;
    verify->started = core->now;
    verify->running = true;
    verify->end = VERIFY_RUNS;
    pace_begin(core);
    core_log(core, LOG_LEVEL_NOTICE, "verify begins, by %s: %" PRIu64 " KiB", algorithm_name(core),
             (verify->stop - verify->start) / 1024);
    command_answer(core, 0, "%s", "");
}

/* Ranges, each counted as a whole one, that are being compared. */
static uint32_t under_way(const struct core *core)
{
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++)
        if (core->verify.asks[i].phase != VERIFY_FREE)
            bytes += CORE_RESYNC_BYTES;
    return bytes;
}

uint64_t verify_deadline(const struct core *core)
{
    const struct verify *verify = &core->verify;

    return verify->running && verify->cursor < verify->stop ? pace_deadline(core) : UINT64_MAX;
}

static bool pump_asks(struct core *core)
{
    struct verify *verify = &core->verify;
    struct verify_slot *slot;
    bool moved = false;

    while (verify->cursor < verify->stop && (slot = slot_find(verify->asks)) &&
           pace_allows(core, under_way(core), CORE_RESYNC_BYTES)) {
        uint64_t room = CORE_RESYNC_BYTES - verify->cursor % CORE_RESYNC_BYTES;
        uint64_t left = verify->stop - verify->cursor;

        slot->range.offset = verify->cursor;
        slot->range.length = (uint32_t)(left < room ? left : room);
        slot->piece = slot->range;
        slot->bad.length = 0;
        slot->session = core->session.number;
        slot->algorithm = core->config.verify_digest;
        verify->cursor += slot->range.length;
        pace_took(core, slot->range.length);
        slot_ask(core, slot);
        moved = true;
    }
    return moved;
}

static bool pump_end(struct core *core)
{
    struct verify *verify = &core->verify;

    switch (verify->end) {
    case VERIFY_RUNS:
        if (verify->cursor < verify->stop || !slots_free(verify->asks))
            return false;
        verify->end = VERIFY_ENDS_MAP;
        verify->ticket = persist_bitmap(core);
        return true;
    case VERIFY_ENDS_MAP:
        if (!persist_bitmap_due(core, verify->ticket) && !MUTANT(verify_map_not_awaited))
            return false;
        verify->end = VERIFY_ENDS_PEER;
        verify->ended_at = core->now;
        say_done(core);
        return true;
    case VERIFY_ENDS_PEER:
        break;
    }
    return false;
}

static void peer_is_done(struct core *core)
{
    struct verify *verify = &core->verify;

    if (!verify->running || verify->end != VERIFY_ENDS_PEER)
        return; /* it was stopped */
    verify->running = false;
    if (verify->differs_bytes)
        core_log(core, LOG_LEVEL_ERROR,
                 "verify done: %" PRIu64 " KiB differ and are marked; `tapdrbdadm disconnect %s` "
                 "and `connect` copy them from the Primary",
                 verify->differs_bytes / 1024, core->config.resource);
    else
        core_log(core, LOG_LEVEL_NOTICE, "verify done: both replicas are equal");
}

/* The peer asks no more; what it had marked here is being written. */
static bool pump_served(struct core *core)
{
    struct verify *verify = &core->verify;

    if (verify->served_ticket == 0 || !session_live(core) ||
        !persist_bitmap_due(core, verify->served_ticket))
        return false;
    verify->served_ticket = 0;
    verify->serving = false;
    core_send(core, WIRE_VERIFY_DONE, NULL)->flags = CORE_VERIFY_ANSWER;
    core_log(core, verify->served_differs ? LOG_LEVEL_ERROR : LOG_LEVEL_NOTICE,
             "verify of %s is over: %" PRIu64 " KiB differ", core->config.peer_node,
             verify->served_differs / 1024);
    return true;
}

bool verify_pump(struct core *core)
{
    bool moved = pump_served(core);

    if (!core->verify.running)
        return moved;
    if (!core_has_disk(core)) {
        stop(core, "the disk failed");
        if (session_live(core))
            say_done(core);
        return true;
    }
    moved |= pump_asks(core);
    moved |= pump_end(core);
    return moved;
}

/* ---- being asked -------------------------------------------------------------------------------
 */

static void serve_answer(struct core *core, const struct verify_slot *slot, int code,
                         const uint8_t *digest)
{
    struct wire_message *message = core_send(core, WIRE_VERIFY_SUM, NULL);

    message->tag = slot->tag;
    message->code = code;
    message->flags = pace_tell(core);
    if (code == 0)
        memcpy(message->digest, digest, sizeof message->digest);
}

static bool is_possible(const struct core *core, const struct wire_message *message)
{
    unsigned algorithm = message->flags & 0xff;

    return range_inside(message->range, core->size) &&
           range_aligned(message->range, REPLICA_BLOCK_BYTES) &&
           message->range.length <= CORE_RESYNC_BYTES && algorithm > CORE_DIGEST_NONE &&
           algorithm < CORE_DIGEST_COUNT;
}

static void serve_begin(struct core *core, const struct wire_message *message)
{
    struct verify *verify = &core->verify;

    if (!verify->serving) {
        verify->serving = true;
        verify->served_ticket = 0;
        verify->started = core->now;
        verify->served_done = 0;
    }
    verify->served_total = message->value;
    if (!(message->flags & CORE_VERIFY_AGAIN) && verify->served_done < verify->served_total)
        verify->served_done += message->range.length;
}

static void sum_asked(struct core *core, const struct wire_message *message)
{
    struct verify_slot *slot = slot_find(core->verify.serves);
    bool waits = interval_busy(&core->intervals, message->range);
    /* the peer knows of it a little later */
    bool is_unfit = !core_has_disk(core) || core->session.side != SYNC_NONE;

    if (!slot || !is_possible(core, message)) {
        session_violation(core, "an impossible verify request");
        return;
    }
    serve_begin(core, message);
    slot->tag = message->tag;
    if (is_unfit || (waits && (message->flags & CORE_VERIFY_HELD))) {
        serve_answer(core, slot, is_unfit ? REPLICA_E_IO : REPLICA_E_BUSY, NULL);
        return;
    }
    slot->generation++;
    slot->range = slot->piece = message->range;
    slot->algorithm = (enum core_digest)(message->flags & 0xff);
    slot->session = core->session.number;
    slot->phase = VERIFY_OVERLAP;
    if (slot_enter(core, slot))
        slot_read(core, slot);
}

static void serve_read(struct core *core, struct verify_slot *slot, int code, const uint8_t *digest)
{
    if (session_live(core) && slot->session == core->session.number)
        serve_answer(core, slot, code || !digest ? REPLICA_E_IO : 0, digest);
    slot_leave(core, slot);
    slot->phase = VERIFY_FREE;
}

static void mark_asked(struct core *core, const struct wire_message *message)
{
    if (!range_inside(message->range, core->size) ||
        !range_aligned(message->range, REPLICA_BLOCK_BYTES) || !core->verify.serving) {
        session_violation(core, "an impossible verify mark");
        return;
    }
    bitmap_set(&core->bitmap, message->range);
    persist_bitmap(core);
}

/* Both nodes may have been told to verify in the same moment: then ours has its own count. */
static void serve_end(struct core *core, const struct wire_message *message)
{
    struct verify *verify = &core->verify;

    if (!verify->serving)
        return;
    verify->served_differs = message->value;
    if (!verify->running)
        verify->differs_bytes = message->value;
    verify->served_ticket = persist_bitmap(core);
}

/* ---- both --------------------------------------------------------------------------------------
 */

void verify_message(struct core *core, const struct wire_message *message)
{
    switch (message->type) {
    case WIRE_VERIFY_READ:
        sum_asked(core, message);
        break;
    case WIRE_VERIFY_SUM:
        sum_came(core, message);
        break;
    case WIRE_VERIFY_MARK:
        mark_asked(core, message);
        break;
    default: /* VERIFY_DONE, the only other one that comes here */
        if (message->flags & CORE_VERIFY_ANSWER)
            peer_is_done(core);
        else
            serve_end(core, message);
        break;
    }
}

void verify_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer,
                      const uint8_t *digest)
{
    struct verify_slot *slot = slot_by_tag(core, tag);

    core_release(core, buffer);
    if (!slot || slot->phase != VERIFY_READ)
        return;
    if (code && slot->owner.kind == OWNER_VERIFY_ASK)
        slot->session = 0; /* what cannot be read is no difference */
    if (code)
        core_disk_failed(core, code, "reading for the verification");
    if (slot->owner.kind == OWNER_VERIFY_ASK)
        ask_read(core, slot, digest);
    else
        serve_read(core, slot, code, digest);
}

void verify_resume(struct core *core, struct verify_slot *slot)
{
    if (slot->phase != VERIFY_HOLD) {
        slot_read(core, slot);
    } else if (is_current(core, slot)) {
        slot_send(core, slot);
    } else {
        slot_leave(core, slot);
        slot->phase = VERIFY_FREE;
    }
}

/* As for a resync: what is on the disk goes on, and the next session waits for it. */
void verify_link_lost(struct core *core)
{
    struct verify *verify = &core->verify;

    if (verify->running)
        stop(core, "the link is lost");
    verify->serving = false;
    verify->served_ticket = 0;
    for (uint32_t i = 0; i < CORE_VERIFY_SLOTS; i++) {
        struct verify_slot *slot = &verify->serves[i];

        if (slot->phase != VERIFY_OVERLAP)
            continue;
        slot_leave(core, slot);
        slot->phase = VERIFY_FREE;
    }
}
