/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * write.c - the life of a guest's request on the Primary.
 *
 *   write, discard, write-zeroes
 *     OVERLAP   an earlier request touches the same bytes (P5)
 *     ADMIT     a place in the transfer log, references on the activity log's extents
 *     COLD      an extent's activity-log transaction is on its way to the disk (P3)
 *     START     room in the peer's window; nothing is started while a loss is being recorded
 *     FLIGHT    local disk and peer at once
 *     HELD      over, while the loss of the peer is being recorded (P1)
 *   read        START, FLIGHT
 *   flush       FLUSHING: the next confirm is its answer (P2)
 *
 * A discard longer than CORE_PIECE_BYTES goes through ADMIT..FLIGHT once a piece.
 */
#include "core_private.h"

#include <string.h>

/* ---- queues and slots ---------------------------------------------------------------------- */

static void queue_push(struct request_queue *queue, struct request *request,
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

static struct request *queue_pop(struct request_queue *queue)
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
        queue_push(&core->free, &core->requests[i], REQUEST_FREE);
    }
}

static uint64_t request_tag(const struct request *request)
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

static bool is_write(const struct request *request)
{
    return request->op != REPLICA_OP_READ && request->op != REPLICA_OP_FLUSH;
}

static void complete(struct core *core, struct request *request, int code)
{
    struct action *action = core_emit(core, ACTION_COMPLETE);

    action->complete.cookie = request->cookie;
    action->complete.code = code;
    request->buffer = NULL;
    queue_push(&core->free, request, REQUEST_FREE);
    core->requests_used--;
}

bool request_drained(const struct core *core)
{
    return core->requests_used == core->parked_count;
}

/* What the peer owes, oldest first, for ko-count. */
static void owed_add(struct core *core, struct request *request, uint32_t bytes)
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

static uint32_t wire_bytes(const struct request *request)
{
    return request->buffer ? request->piece.length : 0;
}

static void owed_remove(struct core *core, struct request *request)
{
    if (request->older)
        request->older->newer = request->newer;
    else
        core->owed_first = request->newer;
    if (request->newer)
        request->newer->older = request->older;
    else
        core->owed_last = request->older;
    session_paid(core, wire_bytes(request));
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
    if (!range_inside(range, core->size) || !range_aligned(range, REPLICA_SECTOR_BYTES) ||
        range.length >
            (uint32_t)(payload ? (int)REPLICA_REQUEST_BYTES_MAX : (int)CORE_DISCARD_BYTES_MAX))
        return REPLICA_E_RANGE;
    return 0;
}

static int check(const struct core *core, const struct request *request)
{
    if ((unsigned)request->op >= REPLICA_OP_COUNT)
        return REPLICA_E_INVALID;
    if (core->down)
        return REPLICA_E_SHUTDOWN;
    if (core->role != REPLICA_ROLE_PRIMARY)
        return is_write(request) ? REPLICA_E_READ_ONLY : REPLICA_E_STATE;
    if (!core_reachable(core))
        return REPLICA_E_IO;
    return check_range(core, request);
}

static void set_piece(struct request *request, uint64_t offset)
{
    uint64_t left = range_end(request->range) - offset;

    request->piece.offset = offset;
    request->piece.length = (uint32_t)(left < CORE_PIECE_BYTES ? left : CORE_PIECE_BYTES);
}

static void begin(struct core *core, struct request *request)
{
    switch (request->op) {
    case REPLICA_OP_FLUSH:
        request->ticket = confirm_ticket(core);
        queue_push(&core->flushes, request, REQUEST_FLUSHING);
        break;
    case REPLICA_OP_READ:
        core->counters.read_bytes += request->range.length;
        queue_push(&core->reads, request, REQUEST_START);
        break;
    case REPLICA_OP_WRITE:
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        core->counters.written_bytes += request->range.length;
        request->owner.interval.range = request->range;
        if (interval_enter(&core->intervals, &request->owner.interval))
            queue_push(&core->admit, request, REQUEST_ADMIT);
        else
            request->phase = REQUEST_OVERLAP;
        break;
    case REPLICA_OP_COUNT:
        break;
    }
}

static bool is_demoting(const struct core *core)
{
    return core->command.phase == COMMAND_DEMOTE_DRAIN ||
           core->command.phase == COMMAND_DEMOTE_CONFIRM ||
           core->command.phase == COMMAND_DEMOTE_PERSIST;
}

void request_take(struct core *core, const struct event *event)
{
    struct request *request = queue_pop(&core->free);
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
    request->logged = request->hot = request->marked = false;
    request->code = 0;
    code = check(core, request);
    if (code) {
        complete(core, request, code);
        return;
    }
    set_piece(request, request->range.offset);
    if (is_demoting(core)) {
        core->parked_count++;
        queue_push(&core->parked, request, REQUEST_PARKED);
        return;
    }
    begin(core, request);
}

void request_unpark(struct core *core, int code)
{
    struct request *request;

    while ((request = queue_pop(&core->parked))) {
        core->parked_count--;
        if (code)
            complete(core, request, code);
        else
            begin(core, request);
    }
}

void request_resume(struct core *core, struct request *request)
{
    queue_push(&core->admit, request, REQUEST_ADMIT);
}

/* ---- a piece is over ----------------------------------------------------------------------- */

static uint32_t first_extent(const struct request *request)
{
    return (uint32_t)(request->piece.offset / METADATA_AL_EXTENT_BYTES);
}

static uint32_t last_extent(const struct request *request)
{
    return (uint32_t)((range_end(request->piece) - 1) / METADATA_AL_EXTENT_BYTES);
}

static void cool(struct core *core, struct request *request)
{
    if (request->hot) {
        for (uint32_t e = first_extent(request); e <= last_extent(request); e++)
            actlog_put(core->actlog, e);
        request->hot = false;
        confirm_touched(core);
    }
    if (request->logged) {
        request->logged = false;
        if (request->local == LEG_DONE && request->peer == LEG_DONE)
            confirm_add(core, request->piece);
        else
            confirm_unreserve(core);
    }
}

/* The whole request is over. Its answer may have to wait. */
static void finish(struct core *core, struct request *request)
{
    core_resume(core, interval_leave(&core->intervals, &request->owner.interval));
    if (core->loss.phase != LOSS_NONE)
        queue_push(&core->held, request, REQUEST_HELD);
    else
        complete(core, request, request->code);
}

static void piece_over(struct core *core, struct request *request)
{
    uint64_t end = range_end(request->piece);

    cool(core, request);
    if (request->local != LEG_DONE && !(request->peer == LEG_DONE && core_reachable(core)))
        request->code = REPLICA_E_IO;
    if (request->code || end == range_end(request->range)) {
        finish(core, request);
        return;
    }
    set_piece(request, end);
    request->generation++;
    request->marked = false;
    request->local = request->peer = LEG_NONE;
    queue_push(&core->admit, request, REQUEST_ADMIT);
}

static void legs_checked(struct core *core, struct request *request)
{
    if (request->local != LEG_PENDING && request->peer != LEG_PENDING)
        piece_over(core, request);
}

/* ---- ADMIT and COLD -------------------------------------------------------------------------- */

/* Takes references on every extent, or on none. */
static enum actlog_verdict warm(struct core *core, const struct request *request)
{
    enum actlog_verdict all = ACTLOG_HOT;

    for (uint32_t e = first_extent(request); e <= last_extent(request); e++) {
        enum actlog_verdict one = actlog_get(core->actlog, e);

        if (one == ACTLOG_FULL) {
            while (e > first_extent(request))
                actlog_put(core->actlog, --e);
            return ACTLOG_FULL;
        }
        if (one == ACTLOG_PENDING)
            all = ACTLOG_PENDING;
    }
    return all;
}

static bool admit(struct core *core, struct request *request)
{
    enum actlog_verdict verdict;

    if (!core_has_disk(core)) { /* nothing to log; START knows where it can go */
        queue_pop(&core->admit);
        queue_push(&core->start, request, REQUEST_START);
        return true;
    }
    if (!request->logged && !(request->logged = confirm_reserve(core))) {
        core->admit_ticket = confirm_ticket(core);
        return false;
    }
    verdict = warm(core, request);
    if (verdict == ACTLOG_FULL) {
        core->admit_ticket = confirm_ticket(core);
        return false;
    }
    request->hot = true;
    queue_pop(&core->admit);
    if (verdict == ACTLOG_HOT)
        queue_push(&core->start, request, REQUEST_START);
    else
        queue_push(&core->cold, request, REQUEST_COLD);
    return true;
}

/* The head waits for room; nobody overtakes it, so that a discard that needs many extents gets
 * them in the end. */
static bool pump_admit(struct core *core)
{
    bool moved = false;

    if (core->admit_ticket && !confirm_due(core, core->admit_ticket) && core_has_disk(core))
        return false;
    core->admit_ticket = 0;
    while (core->admit.first && admit(core, core->admit.first))
        moved = true;
    return moved;
}

static bool is_hot(const struct core *core, const struct request *request)
{
    for (uint32_t e = first_extent(request); e <= last_extent(request); e++)
        if (!actlog_hot(core->actlog, e))
            return false;
    return true;
}

static bool pump_cold(struct core *core)
{
    struct request_queue waiting = core->cold;
    struct request *request;
    bool moved = false;

    core->cold = (struct request_queue){0};
    while ((request = queue_pop(&waiting))) {
        if (is_hot(core, request) || !core_has_disk(core)) {
            queue_push(&core->start, request, REQUEST_START);
            moved = true;
        } else {
            queue_push(&core->cold, request, REQUEST_COLD);
        }
    }
    return moved;
}

/* ---- START -------------------------------------------------------------------------------------
 */

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

static void send_to_peer(struct core *core, struct request *request)
{
    bool payload = request->op == REPLICA_OP_WRITE;
    struct wire_message *message =
        core_send(core, wire_type_of(request->op), payload ? request->buffer : NULL);

    message->tag = request_tag(request);
    message->range = request->piece;
    if (is_write(request)) {
        message->fua = request->fua;
        message->epoch = core->super.epoch;
    }
    if (payload) {
        message->data_bytes = request->piece.length;
        core->counters.sent_bytes += request->piece.length;
    }
    owed_add(core, request, wire_bytes(request));
}

static void start_write(struct core *core, struct request *request)
{
    queue_pop(&core->start);
    request->phase = REQUEST_FLIGHT;
    if (core_has_disk(core)) {
        request->local = LEG_PENDING;
        core_disk(core, request->op, request->piece, request->fua, request->buffer,
                  request_tag(request));
    }
    if (core->mode == MODE_REPLICATE) {
        send_to_peer(core, request);
    } else {
        bitmap_set(&core->bitmap, request->piece);
        request->marked = true;
    }
}

/* A write without a peer needs the loss on disk first (P7); while a session is being made, wait
 * for what it says. */
static bool may_start(struct core *core, const struct request *request)
{
    if (core->loss.phase != LOSS_NONE || core->session.phase == SESSION_COMMIT ||
        core->session.phase == SESSION_MAP_SEND)
        return false;
    switch (core->mode) {
    case MODE_ALONE:
        return true;
    case MODE_REPLICATE:
        return session_window(core, wire_bytes(request));
    case MODE_UNRECORDED:
        if (!session_handshaking(core))
            loss_record(core);
        break;
    }
    return false;
}

static bool pump_start(struct core *core)
{
    bool moved = false;

    while (core->start.first) {
        struct request *request = core->start.first;

        if (!core_reachable(core)) {
            queue_pop(&core->start);
            piece_over(core, request);
        } else if (may_start(core, request)) {
            start_write(core, request);
        } else {
            break;
        }
        moved = true;
    }
    return moved;
}

/* ---- reads
 * --------------------------------------------------------------------------------------- */

static bool start_read(struct core *core, struct request *request)
{
    if (core->disk == REPLICA_DISK_UPTODATE) {
        queue_pop(&core->reads);
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
        queue_pop(&core->reads);
        request->phase = REQUEST_FLIGHT;
        send_to_peer(core, request);
        return true;
    }
    queue_pop(&core->reads);
    complete(core, request, REPLICA_E_IO);
    return true;
}

static bool pump_reads(struct core *core)
{
    bool moved = false;

    while (core->reads.first && start_read(core, core->reads.first))
        moved = true;
    return moved;
}

static void read_over(struct core *core, struct request *request, int code)
{
    request->local = request->peer = LEG_NONE;
    if (code == 0) {
        complete(core, request, 0);
        return;
    }
    request->generation++;
    queue_push(&core->reads, request, REQUEST_START); /* through the other way, or an error */
}

/* ---- answers -----------------------------------------------------------------------------------
 */

void request_disk_done(struct core *core, uint64_t tag, int code)
{
    struct request *request = request_by_tag(core, tag);

    if (!request || request->local != LEG_PENDING)
        return;
    core->local_pending--;
    if (code) /* ends the session too; as long as this leg is pending, that completes nothing */
        core_disk_failed(core, code, request->op == REPLICA_OP_READ ? "reading" : "writing");
    request->local = code ? LEG_FAILED : LEG_DONE;
    if (request->op == REPLICA_OP_READ)
        read_over(core, request, code);
    else
        legs_checked(core, request);
}

static bool read_answered(struct core *core, struct request *request,
                          const struct wire_message *message, struct replica_buffer *buffer)
{
    if (message->code == 0 &&
        (buffer != request->buffer || message->data_bytes != request->piece.length))
        return false;
    owed_remove(core, request);
    core->counters.received_bytes += message->data_bytes;
    request->peer = LEG_DONE;
    if (message->code)
        complete(core, request, REPLICA_E_IO);
    else
        read_over(core, request, 0);
    return true;
}

bool request_answered(struct core *core, const struct wire_message *message,
                      struct replica_buffer *buffer)
{
    struct request *request = request_by_tag(core, message->tag);

    if (!request || request->peer != LEG_PENDING ||
        (request->op == REPLICA_OP_READ) != (message->type == WIRE_READ_REPLY))
        return false;
    if (request->op == REPLICA_OP_READ)
        return read_answered(core, request, message, buffer);
    if (message->code) { /* never a success: the peer's disk is not what it was */
        session_close(core, message->code, false, "%s: the peer could not write: %s",
                      core->config.resource, replica_code_name(message->code));
        return true;
    }
    owed_remove(core, request);
    request->peer = LEG_DONE;
    legs_checked(core, request);
    return true;
}

void request_flushed(struct core *core)
{
    struct request_queue waiting = core->flushes;
    struct request *request;

    core->flushes = (struct request_queue){0};
    while ((request = queue_pop(&waiting))) {
        if (!confirm_due(core, request->ticket))
            queue_push(&core->flushes, request, REQUEST_FLUSHING);
        else
            complete(core, request, 0);
    }
}

/* ---- losses
 * -------------------------------------------------------------------------------------- */

static void lose_peer_leg(struct core *core, struct request *request)
{
    bool owed = request->peer == LEG_PENDING;

    if (owed)
        owed_remove(core, request);
    if (request->op == REPLICA_OP_READ) {
        if (owed)
            read_over(core, request, REPLICA_E_LINK);
        return;
    }
    request->peer = LEG_LOST;
    if (owed)
        legs_checked(core, request);
}

uint32_t request_peer_lost(struct core *core)
{
    uint32_t marked = 0;

    for (uint32_t i = 0; i < core->config.requests_max; i++) {
        struct request *request = &core->requests[i];

        if (request->phase != REQUEST_FLIGHT)
            continue;
        if (is_write(request) && !request->marked) {
            bitmap_set(&core->bitmap, request->piece);
            request->marked = true;
            marked++;
        }
        lose_peer_leg(core, request);
    }
    return marked;
}

void request_fail_waiting(struct core *core, int code)
{
    struct request *request;

    while ((request = queue_pop(&core->cold))) {
        request->code = code;
        piece_over(core, request);
    }
    while ((request = queue_pop(&core->flushes)))
        complete(core, request, code);
    while ((request = queue_pop(&core->held)))
        complete(core, request, code);
}

static bool pump_held(struct core *core)
{
    struct request *request;
    bool moved = false;

    if (core->loss.phase != LOSS_NONE)
        return false;
    while ((request = queue_pop(&core->held))) {
        complete(core, request, request->code);
        moved = true;
    }
    return moved;
}

bool request_pump(struct core *core)
{
    bool moved = pump_held(core);

    moved |= pump_reads(core);
    moved |= pump_admit(core);
    moved |= pump_cold(core);
    moved |= pump_start(core);
    return moved;
}
