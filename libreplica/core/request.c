/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * request.c - a guest's request: its slot and its queues, how it is taken and answered, and the
 * life of those that change nothing.
 *
 *   read        START, FLIGHT: from the local disk, or from the peer
 *   flush       FLUSHING: the next confirm is its answer (P2)
 *
 * write.c has the life of the others.
 */
#include "request_private.h"

#include <inttypes.h>

/* ---- queues and slots ---------------------------------------------------------------------- */

void request_queue_push(struct request_queue *queue, struct request *request,
                        enum request_phase phase)
{
    request->phase = phase;
    request->next = NULL;
    if (queue->last)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
}

struct request *request_queue_pop(struct request_queue *queue)
{
    struct request *request = queue->first;

    if (request) {
        queue->first = request->next;
        if (!queue->first)
            queue->last = NULL;
        request->next = NULL;
    }
    return request;
}

void request_init(struct core *core)
{
    for (uint32_t i = 0; i < core->config.requests_max; i++) {
        core->requests[i].index = i;
        core->requests[i].owner.kind = OWNER_REQUEST;
        request_queue_push(&core->free, &core->requests[i], REQUEST_FREE);
    }
}

uint64_t request_tag(const struct request *request)
{
    return tag_make(TAG_REQUEST, request->index, request->generation);
}

struct request *request_by_tag(const struct core *core, uint64_t tag)
{
    uint32_t index = tag_index(tag);

    if (tag_kind(tag) != TAG_REQUEST || index >= core->config.requests_max ||
        request_tag(&core->requests[index]) != tag || core->requests[index].phase != REQUEST_FLIGHT)
        return NULL;
    return &core->requests[index];
}

bool request_is_write(const struct request *request)
{
    return request->op != REPLICA_OP_READ && request->op != REPLICA_OP_FLUSH;
}

void request_complete(struct core *core, struct request *request, int code)
{
    struct action *action = core_emit(core, ACTION_COMPLETE);

    action->complete.cookie = request->cookie;
    action->complete.code = code;
    request->buffer = NULL;
    request_queue_push(&core->free, request, REQUEST_FREE);
    core->requests_used--;
}

bool request_drained(const struct core *core)
{
    return core->requests_used == core->parked_count;
}

/* What the peer owes, oldest first, for ko-count. */
static void request_owed_add(struct core *core, struct request *request, uint32_t bytes)
{
    request->sent_at = core->now;
    request->older = core->owed_last;
    request->newer = NULL;
    if (core->owed_last)
        core->owed_last->newer = request;
    else
        core->owed_first = request;
    core->owed_last = request;
    request->peer = LEG_PENDING;
    session_owe(core, bytes);
}

uint32_t request_wire_bytes(const struct request *request)
{
    return request->buffer ? request->piece.length : 0;
}

void request_owed_remove(struct core *core, struct request *request)
{
    if (request->older)
        request->older->newer = request->newer;
    else
        core->owed_first = request->newer;
    if (request->newer)
        request->newer->older = request->older;
    else
        core->owed_last = request->older;
    session_paid(core, request_wire_bytes(request));
}

/* ---- taking a request ---------------------------------------------------------------------- */

static int check_range(const struct core *core, const struct request *request)
{
    struct range range = request->range;
    bool payload = request->op == REPLICA_OP_READ || request->op == REPLICA_OP_WRITE;

    if (request->op == REPLICA_OP_FLUSH)
        return 0;
    if (payload && !request->buffer)
        return REPLICA_E_INVALID;
    if (!range_inside(range, core->size + (MUTANT(past_the_end) ? REPLICA_SECTOR_BYTES : 0)) ||
        !range_aligned(range, REPLICA_SECTOR_BYTES) ||
        range.length >
            (uint32_t)(payload ? (int)REPLICA_REQUEST_BYTES_MAX : (int)CORE_DISCARD_BYTES_MAX))
        return REPLICA_E_RANGE;
    return 0;
}

/* P2: it would cover writes that the peer, which alone had them, may have lost. */
static bool is_flush_in_vain(struct core *core, const struct request *request)
{
    if (request->op != REPLICA_OP_FLUSH || !core->loss.unflushed)
        return false;
    core->loss.unflushed = false;
    return !MUTANT(lost_flush_silent);
}

static int check(struct core *core, const struct request *request)
{
    if ((unsigned)request->op >= REPLICA_OP_COUNT)
        return REPLICA_E_INVALID;
    if (core->down)
        return REPLICA_E_SHUTDOWN;
    if (core->role != REPLICA_ROLE_PRIMARY && !MUTANT(secondary_serves))
        return request_is_write(request) ? REPLICA_E_READ_ONLY : REPLICA_E_STATE;
    if (is_flush_in_vain(core, request) || !core_reachable(core))
        return REPLICA_E_IO;
    return check_range(core, request);
}

static void begin(struct core *core, struct request *request)
{
    switch (request->op) {
    case REPLICA_OP_FLUSH:
        request->ticket = confirm_ticket(core);
        request_queue_push(&core->flushes, request, REQUEST_FLUSHING);
        break;
    case REPLICA_OP_READ:
        core->counters.read_bytes += request->range.length;
        request_queue_push(&core->reads, request, REQUEST_START);
        break;
    case REPLICA_OP_WRITE:
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        core->counters.written_bytes += request->range.length;
        request->owner.interval.range = request->range;
        if (interval_enter(&core->intervals, &request->owner.interval))
            request_queue_push(&core->admit, request, REQUEST_ADMIT);
        else
            request->phase = REQUEST_OVERLAP;
        break;
    case REPLICA_OP_COUNT:
        break;
    }
}

/* New requests wait: the role, or the way to the data, is about to change. */
static bool is_parking(const struct core *core)
{
    return core->command.phase == COMMAND_ATTACH_DRAIN ||
           core->command.phase == COMMAND_ATTACH_CONFIRM ||
           core->command.phase == COMMAND_DETACH_DRAIN ||
           core->command.phase == COMMAND_DETACH_LOSS ||
           core->command.phase == COMMAND_DEMOTE_DRAIN ||
           core->command.phase == COMMAND_DEMOTE_CONFIRM ||
           core->command.phase == COMMAND_DEMOTE_PERSIST || handover_parks(core);
}

void request_take(struct core *core, const struct event *event)
{
    struct request *request = request_queue_pop(&core->free);
    struct action *action;
    int code;

    if (!request) { /* more than core_room said */
        action = core_emit(core, ACTION_COMPLETE);
        action->complete.cookie = event->request.cookie;
        action->complete.code = REPLICA_E_BUSY;
        return;
    }
    core->requests_used++;
    request->generation++;
    request->op = event->request.op;
    request->fua = event->request.fua;
    request->range = event->request.range;
    request->buffer = event->request.buffer;
    request->cookie = event->request.cookie;
    request->local = request->peer = LEG_NONE;
    request->logged = request->hot = request->marked = request->unreadable = false;
    request->code = 0;
    code = check(core, request);
    if (code) {
        request_complete(core, request, code);
        return;
    }
    request_set_piece(request, request->range.offset);
    if (is_parking(core) && !MUTANT(demoting_takes_more)) {
        core->parked_count++;
        request_queue_push(&core->parked, request, REQUEST_PARKED);
        return;
    }
    begin(core, request);
}

void request_unpark(struct core *core, int code)
{
    struct request *request;

    while ((request = request_queue_pop(&core->parked))) {
        core->parked_count--;
        if (code)
            request_complete(core, request, code);
        else
            begin(core, request);
    }
}

/* ---- to the peer -------------------------------------------------------------------------- */

static enum wire_type wire_type_of(enum replica_op op)
{
    switch (op) {
    case REPLICA_OP_READ:
        return WIRE_READ;
    case REPLICA_OP_WRITE:
        return WIRE_WRITE;
    case REPLICA_OP_DISCARD:
        return WIRE_DISCARD;
    case REPLICA_OP_WRITE_ZEROES:
        return WIRE_WRITE_ZEROES;
    case REPLICA_OP_FLUSH:
    case REPLICA_OP_COUNT:
        break;
    }
    return WIRE_FLUSH;
}

void request_send(struct core *core, struct request *request)
{
    bool payload = request->op == REPLICA_OP_WRITE;
    struct wire_message *message =
        core_send(core, wire_type_of(request->op), payload ? request->buffer : NULL);

    message->tag = request_tag(request);
    message->range = request->piece;
    if (request_is_write(request)) {
        message->fua = request->fua && !MUTANT(fua_not_sent);
        message->epoch = core->super.epoch;
    }
    if (payload) {
        message->data_bytes = request->piece.length;
        core->counters.sent_bytes += request->piece.length;
    }
    request_owed_add(core, request, request_wire_bytes(request));
}

/* ---- reads
 * --------------------------------------------------------------------------------------- */

/* P1: a write that the peer has may have been shown by a read through it, before our disk became
 * UpToDate or after it could not read. A read of ours waits until our disk has that write too. */
static bool is_ahead_of_disk(const struct core *core, const struct request *read)
{
    struct interval *over = NULL;

    while ((over = interval_over(&core->intervals, read->piece, over))) {
        const struct owner *owner = (const struct owner *)over;
        const struct request *write = (const struct request *)owner;

        if (owner->kind == OWNER_REQUEST && write->phase == REQUEST_FLIGHT &&
            range_overlaps(write->piece, read->piece) && write->local == LEG_PENDING &&
            (write->peer == LEG_DONE || write->peer == LEG_LOST))
            return !MUTANT(read_goes_back);
    }
    return false;
}

static bool start_read(struct core *core, struct request *request)
{
    if (core->loss.phase == LOSS_FAILING) {
        request_queue_pop(&core->reads);
        request_complete(core, request, REPLICA_E_IO);
        return true;
    }
    if ((core->disk == REPLICA_DISK_UPTODATE ||
         (MUTANT(inconsistent_read) && core_has_disk(core))) &&
        !request->unreadable) {
        if (is_ahead_of_disk(core, request))
            return false;
        request_queue_pop(&core->reads);
        request->phase = REQUEST_FLIGHT;
        request->local = LEG_PENDING;
        core_disk(core, REPLICA_OP_READ, request->piece, false, request->buffer,
                  request_tag(request));
        return true;
    }
    if (session_handshaking(core))
        return false;
    if (session_live(core) && core->peer_disk == REPLICA_DISK_UPTODATE) {
        if (!session_window(core, request->piece.length))
            return false;
        request_queue_pop(&core->reads);
        request->phase = REQUEST_FLIGHT;
        request_send(core, request);
        return true;
    }
    request_queue_pop(&core->reads);
    request_complete(core, request, REPLICA_E_IO);
    return true;
}

bool request_pump_reads(struct core *core)
{
    bool moved = false;

    if (core->loss.phase == LOSS_FROZEN &&
        !MUTANT(frozen_serves_reads)) /* another node may be Primary by now */
        return false;
    while (core->reads.first && start_read(core, core->reads.first))
        moved = true;
    return moved;
}

/* on-io-error pass_on: the disk stays. A write that fails lets go of it all the same: else the
 * replicas would differ. */
void request_unreadable(struct core *core, struct request *request, int code)
{
    core_log(core, LOG_LEVEL_ERROR,
             "the disk of %s cannot read %" PRIu32 " bytes at %" PRIu64
             ": %s; it stays attached (on-io-error pass_on)",
             core->config.node, request->piece.length, request->piece.offset,
             replica_code_name(code));
    request->unreadable = true;
}

void request_read_over(struct core *core, struct request *request, int code)
{
    request->local = request->peer = LEG_NONE;
    if (code == 0) {
        request_complete(core, request, 0);
        return;
    }
    request->generation++;
    request_queue_push(&core->reads, request,
                       REQUEST_START); /* through the other way, or an error */
}

bool request_read_answered(struct core *core, struct request *request,
                           const struct wire_message *message, struct replica_buffer *buffer)
{
    if (message->code == 0 &&
        (buffer != request->buffer || message->data_bytes != request->piece.length))
        return false;
    request_owed_remove(core, request);
    core->counters.received_bytes += message->data_bytes;
    request->peer = LEG_DONE;
    if (message->code)
        request_complete(core, request, REPLICA_E_IO);
    else
        request_read_over(core, request, 0);
    return true;
}

/* ---- flushes -------------------------------------------------------------------------------- */

void request_fail_flushes(struct core *core, int code)
{
    struct request *request;

    while ((request = request_queue_pop(&core->flushes)))
        request_complete(core, request, code);
}

void request_flushed(struct core *core)
{
    struct request_queue waiting = core->flushes;
    struct request *request;

    core->flushes = (struct request_queue){0};
    while ((request = request_queue_pop(&waiting))) {
        if (!confirm_due(core, request->ticket))
            request_queue_push(&core->flushes, request, REQUEST_FLUSHING);
        else
            request_complete(core, request, 0);
    }
}
