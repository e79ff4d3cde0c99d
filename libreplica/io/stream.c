/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.c - see stream.h.
 *
 *   CONNECTING -> SHAKING -> OPEN -> LINGERING -> DEAD
 *
 * CONNECTING waits for TCP. SHAKING exchanges the TLS handshake under a deadline. OPEN moves
 * data. LINGERING sends what is left (a refusal, a TLS alert) and waits for the peer to hang up,
 * because closing with unread input would make TCP throw the last words away. DEAD waits for the
 * operations under way and is freed.
 */
#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libreplica/core/err.h"

enum state { STATE_CONNECTING, STATE_SHAKING, STATE_OPEN, STATE_LINGERING, STATE_DEAD };
enum way { WAY_CONNECT, WAY_RECEIVE, WAY_SEND, WAYS };

static const uint64_t second = 1000000000;

struct stream_op {
    struct loop_op ring; /* first: leads back */
    struct stream *stream;
    bool under_way;
};

struct stream {
    struct stream *next, **link; /* in the owner's list */
    struct replica_loop *loop;
    struct tls *tls;
    const struct stream_owner *owner;
    void *argument;
    int fd;
    bool dialed, shut;
    unsigned entered; /* calls of ours on the stack: not to be freed under them */
    enum state state;
    union sock_address peer;
    struct replica_timer *deadline;
    struct stream_op ops[WAYS];
    bool poll_first; /* the last receive emptied the socket: wait before trying again */
    struct tls_output outputs[2];
    unsigned filling; /* which of the two is being filled */
    size_t sent;      /* of the other one */
    uint32_t staged;  /* plain bytes gathered for the next record */
    uint8_t stage[TLS_RECORD_BYTES];
    uint8_t input[STREAM_INPUT_BYTES];
    uint8_t output[2][STREAM_OUTPUT_BYTES];
};

static void receive_start(struct stream *stream);
static void send_start(struct stream *stream);

static struct tls_output *fill(struct stream *stream)
{
    return &stream->outputs[stream->filling];
}

/* ---- reasons, to continue "ADDRESS ..." ----------------------------------------------------- */

static void connect_text(int reason, char *text, size_t room)
{
    if (reason == ECONNREFUSED)
        (void)snprintf(text, room,
                       "refuses connections; is the resource up there, and not StandAlone?");
    else if (reason == ETIMEDOUT)
        (void)snprintf(text, room, "did not answer; is that host up?");
    else
        (void)snprintf(text, room, "cannot be reached: %s", strerror(reason));
}

static void lost_text(int reason, char *text, size_t room)
{
    if (reason == ECONNRESET || reason == EPIPE)
        (void)snprintf(text, room, "reset the connection");
    else
        (void)snprintf(text, room, "cannot be reached any more: %s", strerror(reason));
}

/* ---- the end -------------------------------------------------------------------------------- */

static void release_if_idle(struct stream *stream)
{
    if (stream->entered > 0)
        return;
    for (int way = 0; way < WAYS; way++)
        if (stream->ops[way].under_way)
            return;
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    replica_timer_free(stream->deadline);
    tls_free(stream->tls);
    close(stream->fd);
    free(stream);
}

void stream_kill(struct stream *stream)
{
    stream->state = STATE_DEAD;
    for (int way = 0; way < WAYS; way++)
        if (stream->ops[way].under_way)
            io_uring_prep_cancel(loop_sqe(stream->loop, NULL), &stream->ops[way].ring, 0);
    shutdown(stream->fd, SHUT_RDWR);
    replica_timer_set(stream->deadline, UINT64_MAX);
    release_if_idle(stream);
}

void stream_kill_all(struct stream_list *list)
{
    struct stream *next;

    for (struct stream *stream = list->first; stream; stream = next) {
        next = stream->next;
        if (stream->state != STATE_DEAD)
            stream_kill(stream);
    }
}

/* Everything is sent: says so to the peer and waits for its end. */
static void linger_on(struct stream *stream)
{
    if (stream->ops[WAY_SEND].under_way || fill(stream)->used > 0)
        return;
    if (!stream->shut) {
        stream->shut = true;
        shutdown(stream->fd, SHUT_WR);
    }
    receive_start(stream);
}

static void linger(struct stream *stream)
{
    stream->state = STATE_LINGERING;
    replica_timer_set(stream->deadline,
                      replica_loop_now(stream->loop) + STREAM_LINGER_SECONDS * second);
    send_start(stream);
    linger_on(stream);
}

void stream_close(struct stream *stream)
{
    if (stream->state != STATE_OPEN) {
        stream_kill(stream);
        return;
    }
    /* What is staged has its room; whether it still gets through is not our concern now. */
    if (stream->staged == 0 || tls_write(stream->tls, stream->stage, stream->staged, NULL) == 0)
        tls_goodbye(stream->tls);
    linger(stream);
}

/* The newest come first in the list: all that linger are behind this one. */
static bool may_linger(const struct stream *stream)
{
    unsigned lingering = 0;

    for (const struct stream *older = stream->next; older; older = older->next)
        lingering += older->state == STATE_LINGERING;
    return lingering < STREAM_LINGERING_MAX;
}

/* Tells the owner, then lets the TLS alert that may be waiting go out. */
static void stream_fail(struct stream *stream, int code, const char *text)
{
    void (*over)(void *, struct stream *, int, const char *) = stream->owner->over;

    over(stream->argument, stream, code, text);
    if (code == REPLICA_E_TLS && may_linger(stream)) {
        linger(stream);
    } else {
        stream_kill(stream);
    }
}

static void deadline_passed(void *argument)
{
    struct stream *stream = argument;

    if (stream->state == STATE_LINGERING)
        stream_kill(stream);
    else if (stream->state == STATE_CONNECTING)
        stream_fail(stream, REPLICA_E_TIMEOUT,
                    "did not answer; is that host up, and is its firewall open for this port?");
    else
        stream_fail(stream, REPLICA_E_TIMEOUT, "did not finish the TLS handshake in time");
}

/* ---- input ---------------------------------------------------------------------------------- */

static void receive_start(struct stream *stream)
{
    struct stream_op *op = &stream->ops[WAY_RECEIVE];
    struct io_uring_sqe *sqe;

    if (op->under_way)
        return;
    op->under_way = true;
    sqe = loop_sqe(stream->loop, &op->ring);
    io_uring_prep_recv(sqe, stream->fd, stream->input, sizeof stream->input, 0);
    if (stream->poll_first)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

/* The owner reads as long as it likes; when all input is taken, more may come. */
static void offer(struct stream *stream)
{
    stream->owner->readable(stream->argument, stream);
    if (stream->state == STATE_OPEN && tls_input_left(stream->tls) == 0)
        receive_start(stream);
}

static void shake(struct stream *stream)
{
    struct replica_error error;
    bool done = false;
    int code = tls_handshake(stream->tls, &done, &error);

    if (code != 0) {
        stream_fail(stream, code, error.text);
        return;
    }
    send_start(stream);
    if (!done) {
        receive_start(stream);
        return;
    }
    stream->state = STATE_OPEN;
    replica_timer_set(stream->deadline, UINT64_MAX);
    stream->owner->ready(stream->argument, stream);
    if (stream->state == STATE_OPEN)
        offer(stream);
}

static void receive_done(struct stream *stream, int result)
{
    char text[128];

    if (stream->state == STATE_LINGERING && result > 0) {
        linger_on(stream); /* thrown away */
        return;
    }
    if (stream->state == STATE_LINGERING) {
        stream_kill(stream);
        return;
    }
    if (result == -EINTR || result == -EAGAIN) {
        receive_start(stream);
        return;
    }
    if (result == 0) {
        stream_fail(stream, REPLICA_E_LINK,
                    stream->state == STATE_SHAKING ? "hung up during the TLS handshake"
                                                   : "closed the connection");
        return;
    }
    if (result < 0) {
        lost_text(-result, text, sizeof text);
        stream_fail(stream, REPLICA_E_LINK, text);
        return;
    }
    stream->poll_first = (size_t)result < sizeof stream->input;
    tls_input(stream->tls, stream->input, (size_t)result);
    if (stream->state == STATE_SHAKING)
        shake(stream);
    else
        offer(stream);
}

bool stream_read(struct stream *stream, void *place, uint32_t length, uint32_t *got)
{
    struct replica_error error;
    int code;

    if (stream->state != STATE_OPEN) {
        *got = 0;
        return false;
    }
    code = tls_read(stream->tls, place, length, got, &error);
    if (code == 0)
        return true;
    *got = 0;
    stream_fail(stream, code, error.text);
    return false;
}

void stream_resume(struct stream *stream)
{
    if (stream->state != STATE_OPEN)
        return;
    stream->entered++;
    offer(stream);
    stream->entered--;
    if (stream->state == STATE_DEAD)
        release_if_idle(stream);
}

/* ---- output --------------------------------------------------------------------------------- */

static bool record_fits(struct stream *stream)
{
    return fill(stream)->size - fill(stream)->used >= TLS_RECORD_ROOM;
}

static bool write_record(struct stream *stream, const uint8_t *data, uint32_t length)
{
    struct replica_error error;
    int code = tls_write(stream->tls, data, length, &error);

    if (code == 0)
        return true;
    stream_fail(stream, code, error.text);
    return false;
}

/* Room for it was made sure of before anything was staged. */
static bool seal(struct stream *stream)
{
    uint32_t staged = stream->staged;

    stream->staged = 0;
    return staged == 0 || write_record(stream, stream->stage, staged);
}

bool stream_put(struct stream *stream, const uint8_t *data, uint32_t length, uint32_t *taken)
{
    *taken = 0;
    if (stream->state != STATE_OPEN)
        return false;
    while (length > 0) {
        uint32_t piece = TLS_RECORD_BYTES;
        if (length >= TLS_RECORD_BYTES) { /* whole records go without a copy */
            if (!seal(stream))
                return false;
            if (!record_fits(stream))
                return true;
            if (!write_record(stream, data, piece))
                return false;
        } else {
            if (stream->staged == 0 && !record_fits(stream))
                return true;
            piece -= stream->staged;
            piece = length < piece ? length : piece;
            memcpy(stream->stage + stream->staged, data, piece);
            stream->staged += piece;
            if (stream->staged == TLS_RECORD_BYTES && !seal(stream))
                return false;
        }
        data += piece;
        length -= piece;
        *taken += piece;
    }
    return true;
}

static void send_go_on(struct stream *stream)
{
    struct tls_output *output = &stream->outputs[1 - stream->filling];
    struct stream_op *op = &stream->ops[WAY_SEND];

    op->under_way = true;
    io_uring_prep_send(loop_sqe(stream->loop, &op->ring), stream->fd, output->data + stream->sent,
                       output->used - stream->sent, MSG_NOSIGNAL | MSG_WAITALL);
}

/* Starts to send what is filled, and goes on filling the other. */
static void send_start(struct stream *stream)
{
    if (stream->ops[WAY_SEND].under_way || fill(stream)->used == 0)
        return;
    stream->filling = 1 - stream->filling;
    fill(stream)->used = 0;
    tls_set_output(stream->tls, fill(stream));
    stream->sent = 0;
    send_go_on(stream);
}

/* While a batch is on its way the next record stays open: more may come to fill it. */
bool stream_flush(struct stream *stream)
{
    if (stream->state != STATE_OPEN)
        return false;
    if (stream->ops[WAY_SEND].under_way)
        return true;
    if (!seal(stream))
        return false;
    send_start(stream);
    return true;
}

static void send_done(struct stream *stream, int result)
{
    struct tls_output *output = &stream->outputs[1 - stream->filling];
    char text[128];

    if (result == -EINTR || result == -EAGAIN)
        result = 0;
    if (result < 0) {
        lost_text(-result, text, sizeof text);
        if (stream->state == STATE_LINGERING)
            stream_kill(stream);
        else
            stream_fail(stream, REPLICA_E_LINK, text);
        return;
    }
    stream->sent += (size_t)result;
    if (stream->sent < output->used) {
        send_go_on(stream);
        return;
    }
    output->used = 0;
    if (stream->state == STATE_LINGERING) {
        send_start(stream);
        linger_on(stream);
    } else if (stream->state == STATE_OPEN) {
        stream->owner->writable(stream->argument, stream);
    } else {
        send_start(stream);
    }
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void connect_done(struct stream *stream, int result)
{
    char text[128];

    if (result == 0) {
        stream->state = STATE_SHAKING;
        sock_no_delay(stream->fd);
        shake(stream);
    } else {
        connect_text(-result, text, sizeof text);
        stream_fail(stream, REPLICA_E_LINK, text);
    }
}

static void op_done(struct loop_op *ring, int result)
{
    struct stream_op *op = (struct stream_op *)ring;
    struct stream *stream = op->stream;

    op->under_way = false;
    stream->entered++;
    if (stream->state == STATE_DEAD)
        ; /* only waiting for its operations */
    else if (op == &stream->ops[WAY_CONNECT])
        connect_done(stream, result);
    else if (op == &stream->ops[WAY_RECEIVE])
        receive_done(stream, result);
    else
        send_done(stream, result);
    stream->entered--;
    if (stream->state == STATE_DEAD)
        release_if_idle(stream);
}

static int stream_new(struct stream **stream, struct stream_list *list, struct replica_loop *loop,
                      struct tls_context *context, int fd, bool dialed,
                      const union sock_address *peer, const struct stream_owner *owner,
                      void *argument)
{
    struct stream *made = malloc(sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    memset(made, 0, offsetof(struct stream, stage)); /* the buffers become resident by use */
    made->loop = loop;
    made->owner = owner;
    made->argument = argument;
    made->fd = fd;
    made->dialed = dialed;
    made->peer = *peer;
    for (int way = 0; way < WAYS; way++)
        made->ops[way] = (struct stream_op){.ring = {.done = op_done}, .stream = made};
    for (int i = 0; i < 2; i++)
        made->outputs[i] =
            (struct tls_output){.data = made->output[i], .size = STREAM_OUTPUT_BYTES};
    if (tls_new(&made->tls, context, dialed, fill(made)) != 0)
        goto fail;
    if (replica_timer_new(loop, deadline_passed, made, &made->deadline) != 0)
        goto fail_tls;
    replica_timer_set(made->deadline, replica_loop_now(loop) + STREAM_HANDSHAKE_SECONDS * second);
    made->next = list->first;
    made->link = &list->first;
    if (made->next)
        made->next->link = &made->next;
    list->first = made;
    *stream = made;
    return 0;
fail_tls:
    tls_free(made->tls);
fail:
    free(made);
    return REPLICA_E_MEMORY;
}

int stream_accept(struct stream **stream, struct stream_list *list, struct replica_loop *loop,
                  struct tls_context *context, int fd, const union sock_address *peer,
                  const struct stream_owner *owner, void *argument)
{
    struct stream *made;

    if (stream_new(&made, list, loop, context, fd, false, peer, owner, argument) != 0) {
        close(fd);
        return REPLICA_E_MEMORY;
    }
    made->state = STATE_SHAKING;
    sock_no_delay(fd);
    receive_start(made);
    *stream = made;
    return 0;
}

int stream_dial(struct stream **stream, struct stream_list *list, struct replica_loop *loop,
                struct tls_context *context, const union sock_address *local,
                const union sock_address *peer, const struct stream_owner *owner, void *argument,
                struct replica_error *error)
{
    int fd = sock_dialer(local, error);
    struct stream *made;

    if (fd < 0)
        return fd;
    if (stream_new(&made, list, loop, context, fd, true, peer, owner, argument) != 0) {
        close(fd);
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    }
    made->state = STATE_CONNECTING;
    made->ops[WAY_CONNECT].under_way = true;
    io_uring_prep_connect(loop_sqe(loop, &made->ops[WAY_CONNECT].ring), fd, &made->peer.any,
                          sock_address_bytes(peer));
    *stream = made;
    return 0;
}

bool stream_dialed(const struct stream *stream)
{
    return stream->dialed;
}

const union sock_address *stream_peer(const struct stream *stream)
{
    return &stream->peer;
}

const struct tls *stream_tls(const struct stream *stream)
{
    return stream->tls;
}
