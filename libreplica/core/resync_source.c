/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resync_source.c - the source of a resync: reads what the target asks for, sends it (or that it is
 * equal, csums.c), and notes the end. What both halves promise stands in resync.c.
 */
#include "resync_private.h"

void resync_source_read(struct core *core, struct sync_slot *slot)
{
    uint64_t tag = tag_make(TAG_RESYNC_READ, slot->index, slot->generation);

    slot->phase = SYNC_SLOT_FLIGHT;
    if (slot->algorithm == CORE_DIGEST_NONE)
        core_disk(core, REPLICA_OP_READ, slot->range, false, NULL, tag);
    else
        core_disk_sum(core, slot->range, slot->algorithm, tag);
}

static bool range_possible(const struct core *core, struct range range, uint32_t most)
{
    return range_inside(range, core->size) && range_aligned(range, REPLICA_BLOCK_BYTES) &&
           range.length <= most;
}

static void read_asked(struct core *core, const struct wire_message *message)
{
    struct sync_slot *slot = resync_slot_find(core->resync.reads, CORE_RESYNC_READS);

    if (!slot || !range_possible(core, message->range, CORE_RESYNC_BYTES) ||
        !csums_asked(slot, message)) {
        session_violation(core, "an impossible resync request");
        return;
    }
    if ((message->flags & CORE_RESYNC_HELD) &&
        interval_busy(&core->intervals, message->range)) { /* the role has moved */
        struct wire_message *busy = core_send(core, WIRE_RESYNC_DATA, NULL);

        busy->tag = message->tag;
        busy->range = message->range;
        busy->code = REPLICA_E_BUSY;
        return;
    }
    slot->generation++;
    slot->range = message->range;
    slot->tag = message->tag;
    slot->session = core->session.number;
    slot->phase = SYNC_SLOT_OVERLAP;
    slot->owner.interval.range = slot->range;
    if (MUTANT(resync_reads_past))
        slot->owner.interval.range.length = 0;
    if (interval_enter(&core->intervals, &slot->owner.interval))
        resync_source_read(core, slot);
}

static void source_answer(struct core *core, struct sync_slot *slot, bool zero)
{
    struct wire_message *message = core_send(core, WIRE_RESYNC_DATA, zero ? NULL : slot->buffer);

    message->tag = slot->tag;
    message->range = slot->range;
    message->zero = zero;
    message->flags = pace_tell(core);
    message->data_bytes = zero ? 0 : slot->range.length;
    if (MUTANT(source_clears_early))
        bitmap_clear(&core->bitmap, slot->range);
    core->counters.sent_bytes += message->data_bytes;
}

void resync_source_done(struct core *core, struct sync_slot *slot, int code,
                        struct replica_buffer *buffer, bool zero, const uint8_t *digest)
{
    bool current = slot->session == core->session.number && session_live(core);

    slot->buffer = buffer;
    if (current && code == 0 && (zero || buffer) && !csums_equal(core, slot, digest))
        source_answer(core, slot, zero);
    core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
    resync_slot_free(core, slot);
    if (code)
        core_disk_failed(core, code, "reading for the resync");
}

static void acknowledged(struct core *core, const struct wire_message *message)
{
    struct resync *resync = &core->resync;

    if (!range_possible(core, message->range, CORE_RESYNC_BYTES)) {
        session_violation(core, "an impossible resync acknowledgement");
        return;
    }
    bitmap_clear(&core->bitmap, message->range);
    resync->acked_bytes += message->range.length;
    if (resync->acked_bytes >= (64u << 20)) { /* so that a crash does not start over */
        resync->acked_bytes = 0;
        persist_bitmap(core);
    }
}

static void target_says_done(struct core *core)
{
    struct resync *resync = &core->resync;

    if (core->bitmap.set > 0 || resync->finish != SYNC_RUNS) {
        session_violation(core, "an end of the resync while blocks are out of sync");
        return;
    }
    core->peer_disk = REPLICA_DISK_UPTODATE;
    core->super.flags &= ~(uint32_t)METADATA_CRASHED_PRIMARY;
    persist_bitmap(core);
    resync->finish = SYNC_ENDS_SUPER;
    resync->ticket = persist_super(core);
}

bool resync_source_pump(struct core *core)
{
    struct resync *resync = &core->resync;

    if (resync->finish != SYNC_ENDS_SUPER || !persist_super_due(core, resync->ticket))
        return false;
    core_send(core, WIRE_RESYNC_DONE, NULL);
    core->session.side = SYNC_NONE;
    resync_log_done(core, core->config.peer_node);
    return true;
}

void resync_source_message(struct core *core, const struct wire_message *message)
{
    switch (message->type) {
    case WIRE_RESYNC_READ:
    case WIRE_RESYNC_SUM:
        read_asked(core, message);
        break;
    case WIRE_RESYNC_ACK:
        acknowledged(core, message);
        break;
    case WIRE_RESYNC_DONE:
        target_says_done(core);
        break;
    default: /* RESYNC_DATA and RESYNC_SAME go the other way */
        session_violation(core, "resync data to the source");
        break;
    }
}
