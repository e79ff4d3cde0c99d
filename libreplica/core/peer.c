/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer.c - the Secondary's side of writes, flushes and reads.
 *
 * A write is carried out only under the epoch that this node has persisted, and only from a peer
 * that holds the Primary role (P6); anything else is answered with a code and never touches the
 * disk. A request that outlives its session goes on until the disk has finished it, and is then
 * forgotten: the next session's HELLO waits for that, so that a stalled write can never land on
 * newer data.
 */
#include "core_private.h"

#include <inttypes.h>

void peer_init(struct core *core)
{
    for (uint32_t i = CORE_PEER_SLOTS; i-- > 0;) {
        core->peer_slots[i].index = i;
        core->peer_slots[i].owner.kind = OWNER_PEER;
        core->peer_slots[i].next = core->peer_free;
        core->peer_free = &core->peer_slots[i];
    }
}

static struct peer_slot *slot_take(struct core *core, const struct wire_message *message,
                                   struct replica_buffer *buffer)
{
    struct peer_slot *slot = core->peer_free;

    core->peer_free = slot->next;
    core->peer_used++;
    slot->generation++;
    slot->type = message->type;
    slot->fua = message->fua;
    slot->tag = message->tag;
    slot->session = core->session.number;
    slot->range = message->range;
    slot->buffer = buffer;
    return slot;
}

static void slot_free(struct core *core, struct peer_slot *slot)
{
    core_release(core, slot->buffer);
    slot->buffer = NULL;
    slot->phase = PEER_FREE;
    slot->next = core->peer_free;
    core->peer_free = slot;
    core->peer_used--;
}

static bool is_write(uint8_t type)
{
    return type == WIRE_WRITE || type == WIRE_DISCARD || type == WIRE_WRITE_ZEROES;
}

static void answer(struct core *core, uint8_t type, uint64_t tag, int code)
{
    enum wire_type ack = is_write(type)       ? WIRE_WRITE_ACK
                         : type == WIRE_FLUSH ? WIRE_FLUSH_ACK
                                              : WIRE_READ_REPLY;
    struct wire_message *message = core_send(core, ack, NULL);

    message->tag = tag;
    message->code = code;
}

/* 0, or the code to answer with. */
static int check(struct core *core, const struct wire_message *message)
{
    if (!core_has_disk(core))
        return REPLICA_E_IO;
    if (message->type == WIRE_READ)
        return core->disk == REPLICA_DISK_UPTODATE ? 0 : REPLICA_E_NOT_UPTODATE;
    if (message->type == WIRE_FLUSH)
        return 0;
    if (core->role != REPLICA_ROLE_SECONDARY ||
        (core->peer_role != REPLICA_ROLE_PRIMARY && !MUTANT(anyone_writes)) ||
        (message->epoch != core->super.epoch && !MUTANT(any_epoch_taken) &&
         !(MUTANT(later_epoch_taken) && message->epoch > core->super.epoch))) {
        core_log(core, LOG_LEVEL_ERROR, "refused a write under epoch %" PRIu64 "; ours is %" PRIu64,
                 message->epoch, core->super.epoch);
        return REPLICA_E_READ_ONLY;
    }
    return 0;
}

static bool range_possible(const struct core *core, const struct wire_message *message)
{
    uint32_t most = message->type == WIRE_WRITE || message->type == WIRE_READ
                        ? (uint32_t)REPLICA_REQUEST_BYTES_MAX
                        : (uint32_t)CORE_PIECE_BYTES;

    if (message->type == WIRE_FLUSH)
        return true;
    return range_inside(message->range, core->size) &&
           range_aligned(message->range, REPLICA_SECTOR_BYTES) && message->range.length <= most;
}

static enum replica_op op_of(uint8_t type)
{
    switch (type) {
    case WIRE_WRITE:
        return REPLICA_OP_WRITE;
    case WIRE_DISCARD:
        return REPLICA_OP_DISCARD;
    case WIRE_WRITE_ZEROES:
        return REPLICA_OP_WRITE_ZEROES;
    case WIRE_READ:
        return REPLICA_OP_READ;
    default: /* the only other type that comes here */
        return REPLICA_OP_FLUSH;
    }
}

static void start(struct core *core, struct peer_slot *slot)
{
    slot->phase = PEER_FLIGHT;
    if (MUTANT(peer_acks_early) && is_write(slot->type))
        answer(core, slot->type, slot->tag, 0);
    core_disk(core, op_of(slot->type), slot->range, slot->fua && !MUTANT(peer_fua_lost),
              slot->buffer, tag_make(TAG_PEER, slot->index, slot->generation));
}

void peer_take(struct core *core, const struct wire_message *message, struct replica_buffer *buffer)
{
    struct peer_slot *slot;
    int code;

    if (!range_possible(core, message) || (message->type == WIRE_WRITE && !buffer)) {
        core_release(core, buffer);
        session_violation(core, "a request outside the device");
        return;
    }
    if (!core->peer_free) {
        core_release(core, buffer);
        session_violation(core, "more requests than its window allows");
        return;
    }
    code = check(core, message);
    if (code || (MUTANT(peer_flush_faked) && message->type == WIRE_FLUSH)) {
        core_release(core, buffer);
        answer(core, message->type, message->tag, code);
        return;
    }
    slot = slot_take(core, message, buffer);
    core->counters.received_bytes += message->data_bytes;
    if (slot->type == WIRE_FLUSH) {
        start(core, slot);
        return;
    }
    /* A read too: its guest may have seen a write before it, on the disk that it has lost since. */
    slot->owner.interval.range = slot->range;
    if (MUTANT(peer_overlap) || (MUTANT(peer_read_overtakes) && slot->type == WIRE_READ))
        slot->owner.interval.range.length = 0;
    if (interval_enter(&core->intervals, &slot->owner.interval))
        start(core, slot);
    else
        slot->phase = PEER_OVERLAP;
}

void peer_resume(struct core *core, struct peer_slot *slot)
{
    start(core, slot);
}

static void answer_read(struct core *core, const struct peer_slot *slot, int code)
{
    struct wire_message *message = core_send(core, WIRE_READ_REPLY, code ? NULL : slot->buffer);

    message->tag = slot->tag;
    message->code = code;
    message->range = slot->range;
    if (code == 0) {
        message->data_bytes = slot->range.length;
        core->counters.sent_bytes += slot->range.length;
    }
}

void peer_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer)
{
    uint32_t index = tag_index(tag);
    struct peer_slot *slot = index < CORE_PEER_SLOTS ? &core->peer_slots[index] : NULL;
    bool current;

    if (!slot || slot->phase != PEER_FLIGHT || tag != tag_make(TAG_PEER, index, slot->generation)) {
        core_release(core, buffer);
        return;
    }
    current = session_live(core) && slot->session == core->session.number;
    if (slot->type == WIRE_READ)
        slot->buffer = buffer;
    else
        core_release(core, buffer);
    if (current && slot->type == WIRE_READ)
        answer_read(core, slot, code || !buffer ? REPLICA_E_IO : 0);
    else if (current)
        answer(core, slot->type, slot->tag, MUTANT(peer_error_unsaid) ? 0 : code);
    if (slot->type != WIRE_FLUSH)
        core_resume(core, interval_leave(&core->intervals, &slot->owner.interval));
    slot_free(core, slot);
    if (code)
        core_disk_failed(core, code, "doing a request of the peer");
}
