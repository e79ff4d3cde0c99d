/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * session.c - the link, and which message may come when.
 *
 * The link is wanted (not LINK_IDLE) from COMMAND_CONNECT on, until a disconnect or a verdict that
 * only a person can change. handshake.c leads a new stream to SESSION_LIVE; everything that ends
 * a stream goes through session_end, which is where the loss of the peer begins (P1).
 */
#include "core_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool session_live(const struct core *core)
{
    return core->session.phase == SESSION_LIVE;
}

bool session_handshaking(const struct core *core)
{
    return core->session.phase != SESSION_NONE && core->session.phase != SESSION_LIVE;
}

/* One place stays free for a flush. */
bool session_window(const struct core *core, uint32_t bytes)
{
    const struct session *session = &core->session;

    return MUTANT(window_overrun) || (session->owed_requests + 1 < session->window_requests &&
                                      bytes <= session->window_bytes - session->owed_bytes);
}

void session_owe(struct core *core, uint32_t bytes)
{
    core->session.owed_requests++;
    core->session.owed_bytes += bytes;
}

void session_paid(struct core *core, uint32_t bytes)
{
    core->session.owed_requests--;
    core->session.owed_bytes -= bytes;
}

/* A Primary whose disk is lost is where its peer is: that took its data over (loss.c). */
struct generation session_generation(const struct core *core)
{
    struct generation generation = core->super.generation;

    if (core->role == REPLICA_ROLE_PRIMARY && core->disk == REPLICA_DISK_DISKLESS)
        generation.current = core->loss.uuid;
    return generation;
}

void session_send_state(struct core *core)
{
    struct wire_message *message = core_send(core, WIRE_STATE, NULL);

    message->flags = core->session.discard ? CORE_STATE_DISCARD : 0;
    if (core->pause.ours && !MUTANT(pause_untold))
        message->flags |= CORE_STATE_PAUSED;
    if (!MUTANT(split_untold))
        message->flags |= split_encode(&core->config.after_sb) << CORE_STATE_SPLIT_SHIFT;
    message->state = (struct wire_state){
        .data_bytes = core->size,
        .epoch = core->super.epoch,
        .role = (uint8_t)core->role,
        .disk = (uint8_t)core->disk,
        .flags = core->super.flags,
        .generation = session_generation(core),
        .out_of_sync = core->bitmap.set,
        .window_bytes = WIRE_WINDOW_BYTES,
        .window_requests = CORE_PEER_SLOTS,
    };
}

/* ---- up and down --------------------------------------------------------------------------- */

static bool is_dialer(const struct core *core)
{
    return strcmp(core->config.node, core->config.peer_node) < 0;
}

static void open_link(struct core *core)
{
    core->session.link = LINK_OPENING;
    core_emit(core, ACTION_LINK_CONNECT);
}

static void open_later(struct core *core)
{
    core->session.link = LINK_WAITING;
    core->session.connect_at =
        MUTANT(dial_not_rearmed) ? UINT64_MAX : core->now + core->config.connect_interval;
}

void session_connect(struct core *core, bool discard_my_data)
{
    core->session.discard = discard_my_data;
    if (core->session.link == LINK_IDLE)
        open_link(core);
    else if (core->session.link == LINK_CLOSING)
        core->session.closing_for_good = false;
}

/* The stream is over, or about to be: nothing that was said on it counts any more. */
static void session_end(struct core *core, int code)
{
    struct session *session = &core->session;

    session->last_code = code;
    session->phase = SESSION_NONE;
    session->side = SYNC_NONE;
    core->peer_role = REPLICA_ROLE_UNKNOWN;
    core->peer_disk = REPLICA_DISK_UNKNOWN;
    core->grant.type = 0;
    core->pause.peers = false;
    resync_link_lost(core);
    verify_link_lost(core);
    role_link_lost(core);
    resize_link_lost(core);
    attach_link_lost(core);
    loss_peer(core);
    session->owed_bytes = session->owed_requests = 0;
}

void session_link_up(struct core *core)
{
    struct session *session = &core->session;

    if (session->link == LINK_UP && !MUTANT(half_open_kept))
        session_end(core, REPLICA_E_LINK);
    else if (session->link == LINK_IDLE || session->link == LINK_CLOSING) {
        session->closing_for_good |= session->link == LINK_IDLE;
        core_emit(core, ACTION_LINK_CLOSE)->link_close.code = REPLICA_E_LINK;
        session->link = LINK_CLOSING;
        return;
    }
    session->link = LINK_UP;
    session->progress_at = core->now;
    session->phase = SESSION_QUIESCE;
    session->number++;
    session->was_live = session->hello_seen = session->ready_seen = session->map_seen = false;
    session->map_blocks = session->map_cursor = session->map_pong = 0;
    session->full = session->same = false;
    liveness_start(core);
}

void session_link_down(struct core *core, int code)
{
    struct session *session = &core->session;

    switch (session->link) {
    case LINK_IDLE:
    case LINK_WAITING:
        break;
    case LINK_OPENING:
        session->last_code = code;
        open_later(core);
        break;
    case LINK_UP:
        core_log(core, LOG_LEVEL_WARNING, "the link to %s is down: %s", core->config.peer_node,
                 replica_code_name(code));
        session_end(core, code);
        if (!is_dialer(core) || session->was_live)
            open_link(core);
        else
            open_later(core);
        break;
    case LINK_CLOSING:
        if (session->closing_for_good)
            session->link = LINK_IDLE;
        else if (!is_dialer(core) || session->hurry)
            open_link(core);
        else
            open_later(core);
        session->hurry = false;
        break;
    }
}

static void refuse(struct core *core, int code, const char *text)
{
    struct wire_message *message = core_send(core, WIRE_REFUSE, NULL);

    message->refuse.code = code;
    snprintf(message->refuse.reason, sizeof message->refuse.reason, "%s", text);
}

void session_close(struct core *core, int code, bool for_good, const char *format, ...)
{
    struct session *session = &core->session;
    char text[ACTION_TEXT_MAX] = "";
    va_list arguments;

    if (session->link != LINK_UP)
        return;
    if (format) {
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        core_log(core, for_good && code != REPLICA_E_SHUTDOWN ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
                 "%s", text);
        refuse(core, code, text);
    }
    core_emit(core, ACTION_LINK_CLOSE)->link_close.code = code;
    session->link = LINK_CLOSING;
    session->closing_for_good = for_good;
    session_end(core, code);
}

void session_disconnect(struct core *core)
{
    struct session *session = &core->session;

    switch (session->link) {
    case LINK_IDLE:
        break;
    case LINK_WAITING:
        session->link = LINK_IDLE;
        break;
    case LINK_OPENING:
        core_emit(core, ACTION_LINK_CLOSE)->link_close.code = REPLICA_E_SHUTDOWN;
        session->link = LINK_CLOSING;
        session->closing_for_good = true;
        break;
    case LINK_UP:
        session_close(core, REPLICA_E_SHUTDOWN, true, "%s: disconnected by the operator of %s",
                      core->config.resource, core->config.node);
        break;
    case LINK_CLOSING:
        session->closing_for_good = true;
        break;
    }
}

void session_reconnect(struct core *core)
{
    session_close(core, REPLICA_OK, false, NULL);
    core->session.hurry = true;
}

void session_violation(struct core *core, const char *what)
{
    session_close(core, REPLICA_E_PROTOCOL, false,
                  "%s: %s sent %s, which the protocol forbids here; hanging up",
                  core->config.resource, core->config.peer_node, what);
}

/* What only a person can change on the other side is not tried again. */
static bool is_final(int code)
{
    return code == REPLICA_E_SPLIT_BRAIN || code == REPLICA_E_UNRELATED ||
           code == REPLICA_E_PEER_PRIMARY;
}

static void refused(struct core *core, const struct wire_refuse *why)
{
    core_log(core, LOG_LEVEL_ERROR, "%s hangs up: %s", core->config.peer_node, why->reason);
    session_close(core, why->code ? why->code : REPLICA_E_LINK, is_final(why->code), NULL);
}

/* ---- messages ------------------------------------------------------------------------------ */

/* Answers to what we asked; the owner says whether it did. */
static bool answered(struct core *core, const struct wire_message *message,
                     struct replica_buffer *buffer)
{
    switch (message->type) {
    case WIRE_WRITE_ACK:
        return request_answered(core, message, NULL);
    case WIRE_READ_REPLY:
        return request_answered(core, message, buffer);
    case WIRE_FLUSH_ACK:
        return confirm_answered(core, message);
    default: /* called for these three only */
        return false;
    }
}

/* Messages of a live session. */
static void live_message(struct core *core, const struct wire_message *message,
                         struct replica_buffer *buffer)
{
    struct request *asker;

    switch (message->type) {
    case WIRE_WRITE:
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
    case WIRE_FLUSH:
    case WIRE_READ:
        peer_take(core, message, buffer);
        break;
    case WIRE_WRITE_ACK:
    case WIRE_FLUSH_ACK:
    case WIRE_READ_REPLY:
        asker = request_by_tag(core, message->tag);
        if (!asker || asker->buffer != buffer) /* else it is the guest's own, still in use */
            core_release(core, buffer);
        if (!answered(core, message, buffer))
            session_violation(core, "an answer to no question");
        break;
    case WIRE_PROMOTE:
        role_promote_asked(core, message);
        break;
    case WIRE_PROMOTE_ACK:
        role_promote_answered(core, message);
        break;
    case WIRE_HANDOVER:
        handover_told(core, message);
        break;
    case WIRE_DEMOTED:
        role_peer_demoted(core, message);
        break;
    case WIRE_NEW_UUID:
        role_new_uuid_asked(core, message);
        break;
    case WIRE_NEW_UUID_ACK:
        role_new_uuid_answered(core, message);
        break;
    case WIRE_INVALIDATE:
        invalidate_asked(core, message);
        break;
    case WIRE_INVALIDATE_ACK:
        invalidate_answered(core, message);
        break;
    case WIRE_RESIZE:
        resize_asked(core, message);
        break;
    case WIRE_RESIZE_ACK:
        resize_answered(core, message);
        break;
    case WIRE_RESYNC_READ:
    case WIRE_RESYNC_SUM:
    case WIRE_RESYNC_SAME:
    case WIRE_RESYNC_DATA:
    case WIRE_RESYNC_ACK:
    case WIRE_RESYNC_DONE:
        resync_message(core, message, buffer);
        break;
    case WIRE_VERIFY_READ:
    case WIRE_VERIFY_SUM:
    case WIRE_VERIFY_MARK:
    case WIRE_VERIFY_DONE:
        core_release(core, buffer);
        verify_message(core, message);
        break;
    default: /* the others never come here */
        break;
    }
}

void session_message(struct core *core, const struct wire_message *message,
                     struct replica_buffer *buffer)
{
    if (core->session.link != LINK_UP) { /* on its way when we hung up */
        core_release(core, buffer);
        return;
    }
    liveness_heard(core);
    if (message->type != WIRE_PING && message->type != WIRE_PONG && session_handshaking(core))
        core->session.progress_at = core->now;
    switch (message->type) {
    case WIRE_PING:
        core_send(core, WIRE_PONG, NULL)->value = message->value;
        break;
    case WIRE_PONG:
        handshake_pong(core, message->value);
        break;
    case WIRE_REFUSE:
        refused(core, &message->refuse);
        break;
    case WIRE_HELLO:
        handshake_hello(core, message);
        break;
    case WIRE_STATE:
        handshake_state(core, message);
        break;
    case WIRE_SYNC_PAUSE:
        pause_told(core, message);
        break;
    case WIRE_BITMAP:
        handshake_bitmap(core, message);
        break;
    case WIRE_BITMAP_DONE:
        handshake_bitmap_done(core, message);
        break;
    default: /* the others belong to a live session */
        if (session_live(core) && message->type < WIRE_TYPE_COUNT && message->type > 0) {
            live_message(core, message, buffer);
            return;
        }
        session_violation(core, wire_type_name(message->type));
        break;
    }
    core_release(core, buffer);
}

bool session_pump(struct core *core)
{
    struct session *session = &core->session;

    if (session->link == LINK_WAITING && core->now >= session->connect_at) {
        open_link(core);
        return true;
    }
    if (!handshake_pump(core))
        return false;
    session->progress_at = core->now;
    return true;
}
