/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resync.c - copying what is out of sync, pulled by the target; here the target's half and what
 * both need, in resync_source.c the source's.
 *
 *   target  RESYNC_READ -> source reads -> RESYNC_DATA -> target writes
 *           ... some hundred of those, then the target flushes, clears the bits, and only now says
 *           RESYNC_ACK for each; so a cleared bit, in memory or on disk, on either node, always
 *           means "durable on the target" (P3).
 *   end     target: bitmap, then Consistent and UpToDate, durable; RESYNC_DONE
 *           source: notes that durably; RESYNC_DONE
 *
 * Guest writes and resync of one range do not overlap (P5): the source holds the range in the
 * interval set from before it reads until the data are in the ordered stream, and the target
 * carries out what comes in order of arrival where it overlaps.
 */
#include "resync_private.h"

#include <inttypes.h>
#include <string.h>

void resync_init(struct core *core)
{
    for (uint32_t i = 0; i < CORE_RESYNC_ASKS; i++) {
        core->resync.asks[i].index = i;
        core->resync.asks[i].owner.kind = OWNER_RESYNC_ASK;
    }
    for (uint32_t i = 0; i < CORE_RESYNC_READS; i++) {
        core->resync.reads[i].index = i;
        core->resync.reads[i].owner.kind = OWNER_RESYNC_READ;
    }
}

bool resync_idle(const struct core *core)
{
    const struct resync *resync = &core->resync;

    for (uint32_t i = 0; i < CORE_RESYNC_ASKS; i++)
        if (resync->asks[i].phase != SYNC_SLOT_FREE)
            return false;
    for (uint32_t i = 0; i < CORE_RESYNC_READS; i++)
        if (resync->reads[i].phase != SYNC_SLOT_FREE)
            return false;
    /* a superblock that calls this disk UpToDate and is on its way: until it is there a power cut
     * takes it back, and a peer that believed it would have become the target */
    return !resync->flushing &&
           !(core_has_disk(core) && !MUTANT(uptodate_in_flight) &&
             resync->finish == SYNC_ENDS_SUPER && !persist_super_due(core, resync->ticket));
}

uint64_t resync_oldest(const struct core *core)
{
    uint64_t oldest = UINT64_MAX;

    for (uint32_t i = 0; core->resync.asked && i < CORE_RESYNC_ASKS; i++) {
        const struct sync_slot *slot = &core->resync.asks[i];

        if (slot->phase == SYNC_SLOT_ASKED && slot->asked_at < oldest)
            oldest = slot->asked_at;
    }
    return oldest;
}

void resync_begin(struct core *core)
{
    struct resync *resync = &core->resync;

    if (!MUTANT(old_unflushed_counts))
        resync->unflushed_count = resync->flush_covers = 0;
    resync->asked = resync->asked_bytes = 0;
    resync->cursor = resync->acked_bytes = resync->same_bytes = 0;
    resync->scanned = false;
    resync->finish = SYNC_RUNS;
    resync->total_blocks = core->bitmap.set;
    resync->started = core->now;
    resync->flush_due = core->now + CORE_RESYNC_FLUSH_NS;
    pause_begin(core);
    pace_begin(core);
    core_log(core, LOG_LEVEL_NOTICE, "resync begins as %s: %" PRIu64 " KiB",
             core->session.side == SYNC_SOURCE ? "SyncSource" : "SyncTarget",
             resync->total_blocks * (REPLICA_BLOCK_BYTES / 1024));
}

void resync_log_done(struct core *core, const char *target)
{
    if (core->resync.same_bytes == 0)
        core_log(core, LOG_LEVEL_NOTICE, "resync done: %s is UpToDate", target);
    else
        core_log(core, LOG_LEVEL_NOTICE,
                 "resync done: %s is UpToDate; %" PRIu64
                 " KiB had equal checksums and were not sent",
                 target, core->resync.same_bytes / 1024);
}

void resync_slot_free(struct core *core, struct sync_slot *slot)
{
    core_release(core, slot->buffer);
    slot->buffer = NULL;
    slot->phase = SYNC_SLOT_FREE;
}

struct sync_slot *resync_slot_find(struct sync_slot *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (slots[i].phase == SYNC_SLOT_FREE)
            return &slots[i];
    return NULL;
}

/* ---- target ------------------------------------------------------------------------------------
 */

static void target_free(struct core *core, struct sync_slot *slot)
{
    core->resync.asked--;
    core->resync.asked_bytes -= slot->range.length;
    resync_slot_free(core, slot);
}

/* A Primary that is the target holds its guest's writes of the range back until the data are here:
 * they would be older than such a write. */
static void enter_and_ask(struct core *core, struct sync_slot *slot)
{
    slot->generation++;
    slot->held = core->role == REPLICA_ROLE_PRIMARY;
    slot->owner.interval.range = slot->range;
    if (slot->held && !interval_enter(&core->intervals, &slot->owner.interval))
        slot->phase = SYNC_SLOT_HOLD;
    else
        csums_ask(core, slot);
}

static void ask(struct core *core, struct range run)
{
    struct resync *resync = &core->resync;
    struct sync_slot *slot = resync_slot_find(resync->asks, CORE_RESYNC_ASKS);

    slot->range = run;
    slot->zero = false;
    slot->session = core->session.number;
    resync->asked++;
    resync->asked_bytes += run.length;
    resync->cursor = range_end(run);
    pace_took(core, run.length);
    enter_and_ask(core, slot);
}

static bool may_ask(const struct core *core)
{
    const struct resync *resync = &core->resync;

    return !resync->scanned && (!pause_holds(core) || MUTANT(pause_ignored)) &&
           resync->asked < CORE_RESYNC_ASKS &&
           resync->unflushed_count + resync->asked < CORE_RESYNC_UNFLUSHED &&
           pace_allows(core, resync->asked_bytes, CORE_RESYNC_BYTES);
}

static bool pump_asks(struct core *core)
{
    struct resync *resync = &core->resync;
    struct range run;
    bool moved = false;

    while (may_ask(core)) {
        if (bitmap_next(&core->bitmap, resync->cursor, CORE_RESYNC_BYTES, &run))
            ask(core, run);
        else
            resync->scanned = true;
        moved = true;
    }
    return moved;
}

static uint64_t flush_tag(const struct core *core)
{
    return tag_make(TAG_RESYNC_FLUSH, 0, core->resync.flush_generation);
}

static bool pump_flush(struct core *core)
{
    struct resync *resync = &core->resync;
    bool last = (resync->scanned || pause_holds(core)) && resync->asked == 0;

    if (resync->flushing || resync->unflushed_count == 0 ||
        !(last || resync->unflushed_count >= CORE_RESYNC_UNFLUSHED / 2 ||
          core->now >= resync->flush_due))
        return false;
    resync->flushing = true;
    resync->flush_due = core->now + CORE_RESYNC_FLUSH_NS;
    resync->flush_covers = resync->unflushed_count;
    resync->flush_generation++;
    core_disk(core, REPLICA_OP_FLUSH, (struct range){0}, false, NULL, flush_tag(core));
    return true;
}

static void flushed(struct core *core, int code)
{
    struct resync *resync = &core->resync;
    uint32_t covers =
        MUTANT(sync_flush_covers_late) ? resync->unflushed_count : resync->flush_covers;

    resync->flushing = false;
    if (code) {
        core_disk_failed(core, code, "flushing");
        return;
    }
    if (!session_live(core) || core->session.side != SYNC_TARGET)
        return; /* the session is gone; the bits stay */
    for (uint32_t i = 0; i < covers; i++) {
        bitmap_clear(&core->bitmap, resync->unflushed[i]);
        core_send(core, WIRE_RESYNC_ACK, NULL)->range = resync->unflushed[i];
    }
    resync->unflushed_count -= covers;
    memmove(resync->unflushed, resync->unflushed + covers,
            resync->unflushed_count * sizeof *resync->unflushed);
    persist_bitmap(core);
}

/* An operator has given up the target's data meanwhile: this resync must not end with an UpToDate
 * disk; the next session makes it a target in full. */
static bool given_up(const struct core *core)
{
    return core->super.flags & METADATA_FULL_SYNC;
}

static void target_end(struct core *core)
{
    core->session.side = SYNC_NONE;
    if (given_up(core))
        return;
    handler_run(core, HANDLER_AFTER_RESYNC_TARGET);
    handler_run(core, HANDLER_UNFENCE_PEER);
    resync_log_done(core, core->config.node);
}

/* Everything was asked for, written and flushed. */
static bool pump_finish(struct core *core)
{
    struct resync *resync = &core->resync;

    switch (resync->finish) {
    case SYNC_RUNS:
        if (!resync->scanned || resync->asked || resync->unflushed_count || resync->flushing)
            return false;
        resync->scanned = false;
        resync->cursor = 0;
        if (core->bitmap.set > 0 && !MUTANT(resync_one_round))
            return true; /* another round */
        resync->finish = SYNC_ENDS_MAP;
        resync->ticket = persist_bitmap(core);
        return true;
    case SYNC_ENDS_MAP:
        if (!persist_bitmap_due(core, resync->ticket))
            return false;
        core->super.flags |= METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
        resync->finish = SYNC_ENDS_SUPER;
        resync->ticket = persist_super(core);
        return true;
    case SYNC_ENDS_SUPER:
        if (!persist_super_due(core, resync->ticket) && !MUTANT(sync_super_not_awaited))
            return false;
        core->disk = REPLICA_DISK_UPTODATE;
        resync->finish = SYNC_ENDS_PEER;
        core_send(core, WIRE_RESYNC_DONE, NULL);
        return true;
    case SYNC_ENDS_PEER:
        break;
    }
    return false;
}

static void target_write(struct core *core, struct sync_slot *slot)
{
    slot->phase = SYNC_SLOT_FLIGHT;
    /* a discard leaves zeroes, and what is thin here stays thin */
    core_disk(core, slot->zero ? REPLICA_OP_DISCARD : REPLICA_OP_WRITE, slot->range, false,
              slot->buffer, tag_make(TAG_RESYNC_ASK, slot->index, slot->generation));
}

static struct sync_slot *slot_by_tag(struct core *core, uint64_t tag)
{
    struct resync *resync = &core->resync;
    uint32_t index = tag_index(tag);
    struct sync_slot *slot = NULL;

    if (tag_kind(tag) == TAG_RESYNC_ASK && index < CORE_RESYNC_ASKS)
        slot = &resync->asks[index];
    else if (tag_kind(tag) == TAG_RESYNC_READ && index < CORE_RESYNC_READS)
        slot = &resync->reads[index];
    if (slot && tag != tag_make(tag_kind(tag), index, slot->generation))
        slot = NULL;
    return slot;
}

static void data_came(struct core *core, const struct wire_message *message,
                      struct replica_buffer *buffer)
{
    struct sync_slot *slot = slot_by_tag(core, message->tag);

    if (slot && slot->owner.kind == OWNER_RESYNC_ASK && slot->phase == SYNC_SLOT_ASKED &&
        slot->held && message->code == REPLICA_E_BUSY) {
        core_release(core, buffer);
        core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
        if (pause_holds(core)) /* its bits are still set: another round asks for it */
            target_free(core, slot);
        else
            enter_and_ask(core, slot);
        return;
    }
    if (!slot || slot->owner.kind != OWNER_RESYNC_ASK || slot->phase != SYNC_SLOT_ASKED ||
        message->code || message->range.offset != slot->range.offset ||
        message->range.length != slot->range.length || (!message->zero && !buffer)) {
        core_release(core, buffer);
        session_violation(core, "resync data that was not asked for");
        return;
    }
    slot->buffer = buffer;
    pace_told(core, message->flags);
    slot->zero = message->zero;
    core->counters.received_bytes += message->data_bytes;
    slot->owner.interval.range = slot->range;
    if (MUTANT(resync_lands_late))
        slot->owner.interval.range.length = 0;
    slot->phase = SYNC_SLOT_OVERLAP;
    if (slot->held || interval_enter(&core->intervals, &slot->owner.interval))
        target_write(core, slot);
}

/* Nothing is written, but what is here already may not be durable. */
static void is_same(struct core *core, const struct wire_message *message)
{
    struct resync *resync = &core->resync;
    struct sync_slot *slot = slot_by_tag(core, message->tag);

    if (!slot || slot->owner.kind != OWNER_RESYNC_ASK || slot->phase != SYNC_SLOT_ASKED ||
        slot->algorithm == CORE_DIGEST_NONE || message->range.offset != slot->range.offset ||
        message->range.length != slot->range.length) {
        session_violation(core, "an answer to a checksum that was not asked for");
        return;
    }
    pace_told(core, message->flags);
    resync->unflushed[resync->unflushed_count++] = slot->range;
    resync->same_bytes += slot->range.length;
    target_free(core, slot);
}

static void target_summed(struct core *core, struct sync_slot *slot, int code,
                          const uint8_t *digest)
{
    if (slot->session == core->session.number && session_live(core) && core_has_disk(core))
        csums_summed(core, slot, code, digest);
    else
        target_free(core, slot);
}

static void target_written(struct core *core, struct sync_slot *slot, int code)
{
    struct resync *resync = &core->resync;

    core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
    if (code == 0 && slot->session == core->session.number && session_live(core))
        resync->unflushed[resync->unflushed_count++] = slot->range;
    target_free(core, slot);
    if (code)
        core_disk_failed(core, code, "writing resync data");
}

void resync_message(struct core *core, const struct wire_message *message,
                    struct replica_buffer *buffer)
{
    if (core->session.side == SYNC_TARGET && message->type == WIRE_RESYNC_DATA &&
        core_has_disk(core)) {
        data_came(core, message, buffer);
        return;
    }
    core_release(core, buffer);
    if (!core_has_disk(core)) /* a target whose disk is gone: the answers come in */
        return;
    if (core->session.side == SYNC_SOURCE) {
        resync_source_message(core, message);
    } else if (core->session.side == SYNC_TARGET && message->type == WIRE_RESYNC_SAME) {
        is_same(core, message);
    } else if (core->session.side == SYNC_TARGET && message->type == WIRE_RESYNC_DONE &&
               core->resync.finish == SYNC_ENDS_PEER) {
        target_end(core);
    } else {
        session_violation(core, "a resync message without a resync");
    }
}

void resync_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer,
                      bool zero, const uint8_t *digest)
{
    struct sync_slot *slot;

    if (tag_kind(tag) == TAG_RESYNC_FLUSH) {
        core_release(core, buffer);
        if (core->resync.flushing && tag == flush_tag(core))
            flushed(core, code);
        return;
    }
    slot = slot_by_tag(core, tag);
    if (!slot || (slot->phase != SYNC_SLOT_FLIGHT && slot->phase != SYNC_SLOT_SUM)) {
        core_release(core, buffer);
        return;
    }
    if (slot->owner.kind == OWNER_RESYNC_READ) {
        resync_source_done(core, slot, code, buffer, zero, digest);
        return;
    }
    core_release(core, buffer);
    if (slot->phase == SYNC_SLOT_SUM)
        target_summed(core, slot, code, digest);
    else
        target_written(core, slot, code);
}

void resync_resume(struct core *core, struct sync_slot *slot)
{
    if (slot->owner.kind == OWNER_RESYNC_READ) {
        resync_source_read(core, slot);
    } else if (slot->phase != SYNC_SLOT_HOLD) {
        target_write(core, slot);
    } else if (session_live(core) && core->session.side == SYNC_TARGET && !pause_holds(core)) {
        csums_ask(core, slot);
    } else {
        core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
        target_free(core, slot);
    }
}

/* What waits for the peer is dropped; what waits for the disk goes on, and the next session waits
 * for it. A read that waits for a guest's write is dropped too: that write may wait for the next
 * session, and the session for this read. */
void resync_link_lost(struct core *core)
{
    for (uint32_t i = 0; i < CORE_RESYNC_ASKS; i++) {
        struct sync_slot *slot = &core->resync.asks[i];

        if (slot->phase != SYNC_SLOT_ASKED && slot->phase != SYNC_SLOT_HOLD)
            continue;
        if (slot->held)
            core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
        target_free(core, slot);
    }
    for (uint32_t i = 0; i < CORE_RESYNC_READS; i++) {
        struct sync_slot *slot = &core->resync.reads[i];

        if (slot->phase != SYNC_SLOT_OVERLAP)
            continue;
        core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
        resync_slot_free(core, slot);
    }
    if (!MUTANT(old_unflushed_counts))
        core->resync.unflushed_count = core->resync.flush_covers = 0;
}

void resync_abort(struct core *core)
{
    if (core->session.side == SYNC_NONE)
        return;
    core->session.side = SYNC_NONE;
    resync_link_lost(core);
    for (uint32_t i = 0; i < CORE_RESYNC_ASKS; i++)
        core->resync.asks[i].session = 0;
    for (uint32_t i = 0; i < CORE_RESYNC_READS; i++)
        core->resync.reads[i].session = 0;
    core_log(core, LOG_LEVEL_WARNING, "the resync ends: the disk of its target is gone");
}

bool resync_pump(struct core *core)
{
    bool moved = false;

    if (!session_live(core) || core->session.side == SYNC_NONE || !core_has_disk(core))
        return false;
    if (core->session.side == SYNC_SOURCE)
        return resync_source_pump(core);
    if (given_up(core))
        return false;
    if (core->resync.finish == SYNC_RUNS) {
        moved |= pump_asks(core);
        moved |= pump_flush(core);
    }
    moved |= pump_finish(core);
    return moved;
}

uint64_t resync_deadline(const struct core *core)
{
    const struct resync *resync = &core->resync;

    if (!session_live(core) || core->session.side != SYNC_TARGET || resync->scanned ||
        resync->finish != SYNC_RUNS || pause_holds(core))
        return UINT64_MAX;
    return pace_deadline(core);
}
