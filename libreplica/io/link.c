/* SPDX-License-Identifier: GPL-2.0-or-later */
/* link.c - see link.h. */
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libreplica/core/err.h"
#include "libreplica/core/framer.h"
#include "link_queue.h"
#include "stream.h"

static const uint64_t second = 1000000000;

struct accept_op {
    struct loop_op ring; /* first: leads back */
    struct link *link;
    bool under_way;
    union sock_address peer;
    socklen_t peer_bytes;
};

struct link {
    struct replica_loop *loop;
    const struct log *log;
    const struct config_resource *resource;
    struct buffer_pool *pool;
    const struct link_events *events;
    void *argument;
    struct tls_context *tls;
    union sock_address local, remote;
    bool dialer;

    bool wanted; /* between link_connect and link_hang_up */
    bool shut;
    int listener; /* -1: not listening */
    struct accept_op accept;
    struct replica_timer *listen_again;
    struct stream *current; /* the link itself */
    struct stream_list streams;
    struct stream *dialing;              /* not yet proved */
    struct stream *half[LINK_HALF_OPEN]; /* accepted, not yet proved; oldest first */
    bool down_pending;                   /* `down` is owed, from the next link_flush */
    bool closing;                        /* and `current` is to be closed before it */
    int down_code;

    struct framer framer;
    struct replica_buffer *incoming; /* where the data part goes: our reference */
    bool starved;                    /* reading waits for the pool */
    struct link_queue queue;

    struct log_limit strangers, failures;
    char trouble[REPLICA_ERROR_TEXT_MAX];
};

static const struct stream_owner owner;

static void listen_start(struct link *link);

/* ---- what the log and the status say -------------------------------------------------------- */

/* Someone who is not our peer: at most a few lines a minute. */
static void log_stranger(struct link *link, const union sock_address *peer, const char *text)
{
    char address[SOCK_TEXT_MAX];
    uint32_t dropped;

    sock_text(peer, address);
    (void)snprintf(link->trouble, sizeof link->trouble, "%s %s", address, text);
    if (!log_may(&link->strangers, replica_loop_now(link->loop), &dropped))
        return;
    if (dropped > 0)
        log_line(link->log, LOG_WARNING, "%u more connection attempts failed meanwhile", dropped);
    log_line(link->log, LOG_WARNING, "%s", link->trouble);
}

/* Our own attempt: repeated every few seconds for as long as the peer is away, so a line only when
 * the reason is a new one. */
static void log_attempt(struct link *link, const char *text)
{
    uint32_t dropped;

    if (strcmp(link->trouble, text) == 0)
        return;
    (void)snprintf(link->trouble, sizeof link->trouble, "%s", text);
    if (log_may(&link->failures, replica_loop_now(link->loop), &dropped))
        log_line(link->log, LOG_WARNING, "no link to %s yet: %s", link->resource->peer.name, text);
}

void link_facts(const struct link *link, struct link_facts *facts)
{
    *facts = (struct link_facts){.queued = link->queue.count, .congested = link->queue.count > 0};
    memcpy(facts->trouble, link->trouble, sizeof facts->trouble);
    facts->awaits_call = link->wanted && !link->dialer && !link->current;
    if (!link->current)
        return;
    sock_text(stream_peer(link->current), facts->peer);
    (void)snprintf(facts->cipher, sizeof facts->cipher, "%s",
                   tls_cipher(stream_tls(link->current)));
    facts->key_updates = tls_key_updates(stream_tls(link->current));
}

/* ---- streams come and go -------------------------------------------------------------------- */

static void half_remove(struct link *link, const struct stream *stream)
{
    size_t kept = 0;

    for (size_t i = 0; i < LINK_HALF_OPEN; i++)
        if (link->half[i] != stream)
            link->half[kept++] = link->half[i];
    while (kept < LINK_HALF_OPEN)
        link->half[kept++] = NULL;
}

static void session_reset(struct link *link)
{
    replica_buffer_put(link->incoming);
    link->incoming = NULL;
    link->starved = false;
    framer_init(&link->framer);
    link_queue_clear(&link->queue);
}

static void current_lost(struct link *link, int code)
{
    link->current = NULL;
    session_reset(link);
    link->events->down(link->argument, code);
}

static void stream_ready(void *argument, struct stream *stream)
{
    struct link *link = argument;
    char address[SOCK_TEXT_MAX];

    half_remove(link, stream);
    if (link->dialing == stream)
        link->dialing = NULL;
    if (link->current) {
        struct stream *old = link->current;
        log_line(link->log, LOG_NOTICE, "%s opened a new link; the old one is closed",
                 link->resource->peer.name);
        stream_kill(old);
        current_lost(link, REPLICA_E_LINK);
    }
    if (!link->wanted) { /* the core hung up because of it */
        stream_close(stream);
        return;
    }
    link->current = stream;
    link->trouble[0] = '\0';
    sock_text(stream_peer(stream), address);
    log_line(link->log, LOG_INFO, "TLS link with %s (%s, %s)", link->resource->peer.name, address,
             tls_cipher(stream_tls(stream)));
    link->events->up(link->argument, stream_dialed(stream));
}

static void stream_over(void *argument, struct stream *stream, int code, const char *text)
{
    struct link *link = argument;
    char address[SOCK_TEXT_MAX], line[REPLICA_ERROR_TEXT_MAX];

    if (stream == link->current) {
        sock_text(stream_peer(stream), address);
        (void)snprintf(link->trouble, sizeof link->trouble, "%s %s", address, text);
        log_line(link->log, code == REPLICA_E_TLS ? LOG_ERR : LOG_WARNING, "link with %s lost: %s",
                 link->resource->peer.name, link->trouble);
        current_lost(link, code);
    } else if (stream == link->dialing) {
        link->dialing = NULL;
        sock_text(stream_peer(stream), address);
        (void)snprintf(line, sizeof line, "%s %s", address, text);
        log_attempt(link, line);
        link->events->down(link->argument, code);
    } else {
        half_remove(link, stream);
        log_stranger(link, stream_peer(stream), text);
    }
}

/* ---- accepting ------------------------------------------------------------------------------ */

/* Makes a place for a newcomer. One from the peer's address may push out one from elsewhere, and
 * nobody else can fill all places. False: no place. */
static bool half_make_room(struct link *link, bool from_peer)
{
    struct stream *oldest = NULL;
    unsigned used = 0;

    for (size_t i = 0; i < LINK_HALF_OPEN && link->half[i]; i++) {
        used++;
        if (!oldest && !sock_same_host(stream_peer(link->half[i]), &link->remote))
            oldest = link->half[i];
    }
    if (used < (from_peer ? LINK_HALF_OPEN : LINK_HALF_OPEN - 1))
        return true;
    if (!from_peer)
        return false;
    if (!oldest)
        oldest = link->half[0];
    half_remove(link, oldest);
    stream_kill(oldest);
    return true;
}

static void take_newcomer(struct link *link, int fd)
{
    bool from_peer = sock_same_host(&link->accept.peer, &link->remote);
    size_t place = 0;

    if (!half_make_room(link, from_peer)) {
        close(fd);
        log_stranger(link, &link->accept.peer, "was turned away: too many unproved connections");
        return;
    }
    while (link->half[place])
        place++;
    if (stream_accept(&link->half[place], &link->streams, link->loop, link->tls, fd,
                      &link->accept.peer, &owner, link) != 0)
        log_stranger(link, &link->accept.peer, "was turned away: out of memory");
}

static void accept_start(struct link *link)
{
    struct accept_op *op = &link->accept;

    op->under_way = true;
    op->peer_bytes = sizeof op->peer;
    io_uring_prep_accept(loop_sqe(link->loop, &op->ring), link->listener, &op->peer.any,
                         &op->peer_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void accept_done(struct loop_op *ring, int result)
{
    struct link *link = ((struct accept_op *)ring)->link;

    link->accept.under_way = false;
    if (link->shut || link->listener < 0) {
        if (result >= 0)
            close(result);
        if (!link->shut && link->wanted)
            listen_start(link);
        return;
    }
    if (result >= 0)
        take_newcomer(link, result);
    if (result >= 0 || result == -ECONNABORTED || result == -EINTR)
        accept_start(link);
    else /* out of descriptors or memory: not at once */
        replica_timer_set(link->listen_again, replica_loop_now(link->loop) + second);
}

static void listen_stop(struct link *link)
{
    if (link->listener < 0)
        return;
    if (link->accept.under_way) {
        io_uring_prep_cancel(loop_sqe(link->loop, NULL), &link->accept.ring, 0);
        loop_settle(link->loop);
    }
    close(link->listener);
    link->listener = -1;
    replica_timer_set(link->listen_again, UINT64_MAX);
}

static void listen_start(struct link *link)
{
    struct replica_error error;

    if (link->accept.under_way) /* a cancelled one: accept_done comes back here */
        return;
    if (link->listener < 0)
        link->listener = sock_listen(&link->local, &error);
    if (link->listener >= 0) {
        accept_start(link);
        return;
    }
    link->listener = -1;
    log_attempt(link, error.text);
    replica_timer_set(link->listen_again, replica_loop_now(link->loop) + 2 * second);
}

static void listen_again(void *argument)
{
    struct link *link = argument;

    if (link->wanted)
        listen_start(link);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void later_down(struct link *link, int code)
{
    link->down_pending = true;
    link->down_code = code;
    loop_kick(link->loop);
}

void link_connect(struct link *link)
{
    struct replica_error error;
    int code;

    link->wanted = true;
    if (link->listener < 0)
        listen_start(link);
    if (!link->dialer || link->dialing || link->current || link->shut)
        return;
    code = stream_dial(&link->dialing, &link->streams, link->loop, link->tls, &link->local,
                       &link->remote, &owner, link, &error);
    if (code != 0) {
        link->dialing = NULL;
        log_attempt(link, error.text);
        later_down(link, REPLICA_E_LINK);
    }
}

/* Moves queued messages into the stream as far as it has room. */
static void pump(struct link *link)
{
    struct stream *stream = link->current;
    struct link_slot *slot;

    while ((slot = link_queue_first(&link->queue))) {
        const uint8_t *from;
        uint32_t left, taken;
        if (slot->sent < slot->bytes) {
            from = link->queue.bytes + slot->at + slot->sent;
            left = slot->bytes - slot->sent;
        } else {
            from = slot->buffer ? replica_buffer_data(slot->buffer) : NULL;
            left = slot->data_bytes - (slot->sent - slot->bytes);
            if (left > 0)
                from += slot->sent - slot->bytes;
        }
        if (left == 0) {
            link_queue_pop(&link->queue);
            continue;
        }
        if (!stream_put(stream, from, left, &taken))
            return; /* stream_over has cleared the queue */
        slot->sent += taken;
        if (taken < left)
            break;
    }
    (void)stream_flush(stream); /* what fails is told by stream_over */
}

void link_hang_up(struct link *link, int code)
{
    link->wanted = false;
    listen_stop(link);
    for (size_t i = 0; i < LINK_HALF_OPEN; i++) {
        if (link->half[i])
            stream_kill(link->half[i]);
        link->half[i] = NULL;
    }
    if (link->dialing)
        stream_kill(link->dialing);
    link->dialing = NULL;
    link->closing = link->current != NULL;
    later_down(link, code);
}

/* The last words of a session that was hung up, then its end. */
static void finish_hang_up(struct link *link)
{
    bool closing = link->closing;

    link->down_pending = link->closing = false;
    if (!closing) {
        link->events->down(link->argument, link->down_code);
        return;
    }
    if (link->current)
        pump(link);
    if (link->current) { /* else it broke meanwhile, which was told */
        stream_close(link->current);
        current_lost(link, link->down_code);
    }
    if (link->wanted) /* wanted again since */
        link_connect(link);
}

void link_send(struct link *link, const struct wire_message *message, struct replica_buffer *buffer)
{
    if (!link->current)
        return;
    if (link_queue_push(&link->queue, message, buffer) != 0) {
        log_line(link->log, LOG_ERR, "the send queue is full; closing the link with %s",
                 link->resource->peer.name);
        link_hang_up(link, REPLICA_E_LINK);
    }
}

uint32_t link_queued_bytes(const struct link *link)
{
    return link->queue.data_bytes;
}

void link_flush(struct link *link)
{
    if (link->shut)
        return;
    if (link->down_pending)
        finish_hang_up(link);
    else if (link->current && link->queue.count > 0)
        pump(link);
}

static void stream_writable(void *argument, struct stream *stream)
{
    struct link *link = argument;

    (void)stream;
    pump(link);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void broken(struct link *link, const char *text)
{
    log_line(link->log, LOG_ERR, "%s sent what the protocol forbids: %s", link->resource->peer.name,
             text);
    stream_close(link->current);
    current_lost(link, REPLICA_E_PROTOCOL);
}

/* Finds the place for the data part of the message whose header has come. */
static bool choose_buffer(struct link *link)
{
    const struct wire_message *message = &link->framer.message;
    struct replica_buffer *target = link->events->target(link->argument, message);

    if (target && buffer_bytes(target) >= message->data_bytes) {
        buffer_hold(target);
    } else {
        target = buffer_take(link->pool, message->data_bytes);
        link->starved = target == NULL;
        if (!target)
            return false;
    }
    link->incoming = target;
    framer_buffer(&link->framer, replica_buffer_data(target));
    return true;
}

/* Reads to where the framer wants it. False: no more for now, or the stream is over. */
static bool read_some(struct link *link, struct stream *stream, uint8_t *place, uint32_t length)
{
    struct replica_error error = {0};
    uint32_t got;

    if (!stream_read(stream, place, length, &got) || got == 0)
        return false;
    if (framer_advance(&link->framer, got, &error) == 0)
        return true;
    broken(link, error.text);
    return false;
}

static void deliver(struct link *link)
{
    struct replica_buffer *buffer = link->incoming;

    link->incoming = NULL;
    link->events->message(link->argument, framer_take(&link->framer), buffer);
    if (buffer && buffer_pool_of(buffer) != link->pool)
        replica_buffer_put(buffer);
}

static void stream_readable(void *argument, struct stream *stream)
{
    struct link *link = argument;
    uint8_t *place;
    uint32_t length;

    link->starved = false;
    while (link->current == stream && !link->down_pending) {
        switch (framer_want(&link->framer, &place, &length)) {
        case FRAMER_BYTES:
            if (!read_some(link, stream, place, length))
                return;
            break;
        case FRAMER_BUFFER:
            if (!choose_buffer(link))
                return;
            break;
        case FRAMER_MESSAGE:
            deliver(link);
            break;
        }
    }
}

void link_room(struct link *link)
{
    if (link->starved && link->current)
        stream_resume(link->current);
}

/* ---- life ----------------------------------------------------------------------------------- */

static const struct stream_owner owner = {.ready = stream_ready,
                                          .readable = stream_readable,
                                          .writable = stream_writable,
                                          .over = stream_over};

int link_new(struct link **link, struct replica_loop *loop, const struct log *log,
             const struct config_resource *resource, struct buffer_pool *pool,
             const struct link_events *events, void *argument, struct replica_error *error)
{
    struct link *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->loop = loop;
    made->log = log;
    made->resource = resource;
    made->pool = pool;
    made->events = events;
    made->argument = argument;
    made->listener = -1;
    made->accept = (struct accept_op){.ring = {.done = accept_done}, .link = made};
    made->dialer = strcmp(resource->local.name, resource->peer.name) < 0;
    framer_init(&made->framer);
    code = sock_address(resource->local.address, resource->local.port, &made->local, error);
    if (code == 0)
        code = sock_address(resource->peer.address, resource->peer.port, &made->remote, error);
    if (code == 0)
        code = tls_context_new(&made->tls, resource, error);
    if (code == 0 && (link_queue_init(&made->queue, LINK_QUEUE_MESSAGES, LINK_QUEUE_BYTES) != 0 ||
                      replica_timer_new(loop, listen_again, made, &made->listen_again) != 0))
        code = err_set(error, REPLICA_E_MEMORY, "out of memory");
    if (code != 0) {
        link_free(made);
        return code;
    }
    *link = made;
    return 0;
}

void link_shut(struct link *link)
{
    link_hang_up(link, 0);
    stream_kill_all(&link->streams);
    link->current = NULL;
    session_reset(link);
    link->shut = true;
}

bool link_busy(const struct link *link)
{
    return link->accept.under_way || link->streams.first;
}

void link_free(struct link *link)
{
    if (!link)
        return;
    link_queue_close(&link->queue);
    replica_timer_free(link->listen_again);
    tls_context_free(link->tls);
    free(link);
}
