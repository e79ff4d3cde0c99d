/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * write.c - the life of a guest's write, discard or write-zeroes on the Primary.
 *
 *     OVERLAP   an earlier request touches the same bytes (P5)
 *     ADMIT     a place in the transfer log, references on the activity log's extents
 *     COLD      an extent's activity-log transaction is on its way to the disk (P3)
 *     START     room in the peer's window; nothing is started while a loss is being recorded
 *     FLIGHT    local disk and peer at once
 *     HELD      over, while the loss of the peer is being recorded (P1)
 *
 * A discard longer than CORE_PIECE_BYTES goes through ADMIT..FLIGHT once a piece.
 */
#include "request_private.h"

/* ---- a piece begins ------------------------------------------------------------------------ */

void request_set_piece(struct request *request, uint64_t offset)
{
    uint64_t left = range_end(request->range) - offset;
    bool cut = !request->buffer && left > CORE_PIECE_BYTES; /* data are never cut */

    request->piece.offset = offset;
    request->piece.length = cut ? (uint32_t)CORE_PIECE_BYTES : (uint32_t)left;
}

void request_resume(struct core *core, struct request *request)
{
    request_queue_push(&core->admit, request, REQUEST_ADMIT);
}

/* ---- a piece is over ----------------------------------------------------------------------- */

static uint32_t first_extent(const struct request *request)
{
    return (uint32_t)(request->piece.offset / METADATA_AL_EXTENT_BYTES);
}

static uint32_t last_extent(const struct request *request)
{
    uint32_t less = MUTANT(next_extent_cold) && request->piece.length > REPLICA_BLOCK_BYTES
                        ? REPLICA_BLOCK_BYTES
                        : 1;

    return (uint32_t)((range_end(request->piece) - less) / METADATA_AL_EXTENT_BYTES);
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
        if (request->local == LEG_DONE && request->peer == LEG_DONE && !MUTANT(unflushed_forgotten))
            confirm_add(core, request->piece);
        else
            confirm_unreserve(core);
    }
}

/* The whole request is over. Its answer may have to wait. */
static void finish(struct core *core, struct request *request)
{
    core_resume(core, interval_leave(&core->intervals, &request->owner.interval));
    if (core->loss.phase != LOSS_NONE && !MUTANT(answer_during_loss))
        request_queue_push(&core->held, request, REQUEST_HELD);
    else
        request_complete(core, request, request->code);
}

static void piece_over(struct core *core, struct request *request)
{
    uint64_t end = range_end(request->piece);

    cool(core, request);
    if (!(request->local == LEG_DONE && core_has_data(core)) &&
        !(request->peer == LEG_DONE && core_reachable(core)))
        request->code = REPLICA_E_IO;
    if (request->code || end == range_end(request->range)) {
        finish(core, request);
        return;
    }
    request_set_piece(request, end);
    request->generation++;
    request->marked &= MUTANT(piece_unmarked);
    request->local = request->peer = LEG_NONE;
    request_queue_push(&core->admit, request, REQUEST_ADMIT);
}

static void legs_checked(struct core *core, struct request *request)
{
    if ((request->local != LEG_PENDING || MUTANT(ack_before_disk)) &&
        (request->peer != LEG_PENDING || MUTANT(ack_before_peer)))
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
            while (e > first_extent(request) + MUTANT(extent_leaks))
                actlog_put(core->actlog, --e);
            return ACTLOG_FULL;
        }
        if (one == ACTLOG_PENDING && !MUTANT(start_cold))
            all = ACTLOG_PENDING;
    }
    return all;
}

static bool admit(struct core *core, struct request *request)
{
    enum actlog_verdict verdict;

    if (!core_has_disk(core)) { /* nothing to log; START knows where it can go */
        request_queue_pop(&core->admit);
        request_queue_push(&core->start, request, REQUEST_START);
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
    request_queue_pop(&core->admit);
    if (verdict == ACTLOG_HOT)
        request_queue_push(&core->start, request, REQUEST_START);
    else
        request_queue_push(&core->cold, request, REQUEST_COLD);
    return true;
}

/* The head waits for room; nobody overtakes it, so that a discard that needs many extents gets
 * them in the end. */
static bool pump_admit(struct core *core)
{
    struct request *request;
    bool moved = false;

    /* Nobody is left to carry these out: no room is waited for. */
    bool fail = core->loss.phase == LOSS_FAILING || !core_reachable(core);

    while (fail && (request = request_queue_pop(&core->admit))) {
        piece_over(core, request);
        core->admit_ticket = 0;
        moved = true;
    }
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
        if (!actlog_hot(core->actlog, MUTANT(half_hot) ? first_extent(request) : e))
            return false;
    return true;
}

static bool pump_cold(struct core *core)
{
    struct request_queue waiting = core->cold;
    struct request *request;
    bool moved = false;

    if (!core->al_moved && core_has_disk(core))
        return false;
    core->al_moved = false;
    core->cold = (struct request_queue){0};
    while ((request = request_queue_pop(&waiting))) {
        if (is_hot(core, request) || !core_has_disk(core)) {
            request_queue_push(&core->start, request, REQUEST_START);
            moved = true;
        } else {
            request_queue_push(&core->cold, request, REQUEST_COLD);
        }
    }
    return moved;
}

/* ---- START -------------------------------------------------------------------------------------
 */

static void start_write(struct core *core, struct request *request)
{
    request_queue_pop(&core->start);
    request->phase = REQUEST_FLIGHT;
    if (core_has_disk(core)) {
        request->local = LEG_PENDING;
        core_disk(core, request->op, request->piece, request->fua && !MUTANT(fua_lost),
                  request->buffer, request_tag(request));
    }
    if (core->mode == MODE_REPLICATE) {
        request_send(core, request);
    } else {
        if (!MUTANT(alone_unmarked))
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
        return session_window(core, request_wire_bytes(request));
    case MODE_UNRECORDED:
        if (!session_handshaking(core))
            loss_record(core);
        break;
    }
    return MUTANT(alone_unrecorded);
}

static bool pump_start(struct core *core)
{
    bool moved = false;

    while (core->start.first) {
        struct request *request = core->start.first;

        if (!core_reachable(core) || (core->loss.phase == LOSS_FAILING && !MUTANT(failing_waits))) {
            request_queue_pop(&core->start);
            piece_over(core, request);
        } else if (core_has_disk(core) && !request->hot) { /* admitted before there was a disk */
            request_queue_pop(&core->start);
            request_queue_push(&core->admit, request, REQUEST_ADMIT);
        } else if (may_start(core, request)) {
            start_write(core, request);
        } else {
            break;
        }
        moved = true;
    }
    return moved;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static bool is_passed_on(const struct core *core, const struct request *request)
{
    return core->config.on_io_error == CORE_IO_ERROR_PASS_ON &&
           (request->op == REPLICA_OP_READ || MUTANT(failed_write_passed_on));
}

void request_disk_done(struct core *core, uint64_t tag, int code)
{
    struct request *request = request_by_tag(core, tag);

    if (!request || request->local != LEG_PENDING)
        return;
    if (code && is_passed_on(core, request))
        request_unreadable(core, request, code);
    else if (code) /* may end the session; as long as this leg is pending, that completes nothing */
        core_disk_failed(core, code, request->op == REPLICA_OP_READ ? "reading" : "writing");
    request->local = code ? LEG_FAILED : LEG_DONE;
    if (request->op == REPLICA_OP_READ)
        request_read_over(core, request, code);
    else
        legs_checked(core, request);
}

bool request_answered(struct core *core, const struct wire_message *message,
                      struct replica_buffer *buffer)
{
    struct request *request = request_by_tag(core, message->tag);

    if (!request || request->peer != LEG_PENDING ||
        (request->op == REPLICA_OP_READ) != (message->type == WIRE_READ_REPLY))
        return false;
    if (request->op == REPLICA_OP_READ)
        return request_read_answered(core, request, message, buffer);
    /* never a success: the peer's disk is not what it was */
    if (message->code && !MUTANT(refused_write_counts)) {
        session_close(core, message->code, false, "%s: the peer could not write: %s",
                      core->config.resource, replica_code_name(message->code));
        return true;
    }
    request_owed_remove(core, request);
    request->peer = LEG_DONE;
    legs_checked(core, request);
    return true;
}

/* ---- losses
 * -------------------------------------------------------------------------------------- */

static void lose_peer_leg(struct core *core, struct request *request)
{
    bool owed = request->peer == LEG_PENDING;

    if (owed)
        request_owed_remove(core, request);
    if (request->op == REPLICA_OP_READ) {
        if (owed)
            request_read_over(core, request, REPLICA_E_LINK);
        return;
    }
    request->peer = LEG_LOST;
    if (owed)
        legs_checked(core, request);
}

void request_forget_extents(struct core *core)
{
    for (uint32_t i = 0; i < core->config.requests_max; i++)
        core->requests[i].hot = false;
}

uint32_t request_peer_lost(struct core *core)
{
    uint32_t marked = 0;

    for (uint32_t i = 0; i < core->config.requests_max; i++) {
        struct request *request = &core->requests[i];

        if (request->phase != REQUEST_FLIGHT)
            continue;
        if (request_is_write(request) && !request->marked && !MUTANT(flight_unmarked)) {
            bitmap_set(&core->bitmap, request->piece);
            request->marked = true;
            marked++;
        }
        if (!core_has_data(core)) /* whatever our own disk says later, and is worth by then */
            request->code = REPLICA_E_IO;
        lose_peer_leg(core, request);
    }
    return marked;
}

void request_fail_waiting(struct core *core, int code)
{
    struct request *request;

    while ((request = request_queue_pop(&core->cold))) {
        request->code = code;
        piece_over(core, request);
    }
    request_fail_flushes(core, code);
    while ((request = request_queue_pop(&core->held)))
        request_complete(core, request, code);
}

static bool pump_held(struct core *core)
{
    struct request *request;
    bool moved = false;

    if (core->loss.phase != LOSS_NONE && core->loss.phase != LOSS_FAILING)
        return false;
    while ((request = request_queue_pop(&core->held))) {
        request_complete(core, request,
                         core->loss.phase == LOSS_FAILING && !MUTANT(failing_succeeds)
                             ? REPLICA_E_IO
                             : request->code);
        moved = true;
    }
    return moved;
}

bool request_pump(struct core *core)
{
    bool moved = pump_held(core);

    moved |= request_pump_reads(core);
    moved |= pump_admit(core);
    moved |= pump_cold(core);
    moved |= pump_start(core);
    return moved;
}
