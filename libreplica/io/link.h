/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * link.h - the replication link: listens and dials, lets nobody in who has not proved itself,
 * cuts the stream into messages, sends messages in order from a bounded queue.
 *
 * One stream is the link; at most LINK_HALF_OPEN others shake hands beside it. A newcomer that has
 * proved itself replaces it (the peer knows best that the old one is dead). Anyone else is turned
 * away and logged, and the good pair does not notice (P10, P11).
 */
#ifndef IO_LINK_H
#define IO_LINK_H

#include "buffer.h"
#include "config.h"
#include "log.h"
#include "loop.h"
#include "sock.h"

enum link_limits {
    LINK_HALF_OPEN = 4,
    LINK_QUEUE_MESSAGES = 8192,
    LINK_QUEUE_BYTES = 2 << 20 /* headers and bodies; data stays in its buffers */
};

struct link; /* heap object */

/* Facts for the driver, each from the loop or from link_flush, never from the other calls. */
struct link_events {
    void (*up)(void *argument, bool initiator);
    void (*down)(void *argument, int code);
    /* `buffer` holds the data part, else NULL. One of the pool comes with its reference, which is
     * now the receiver's; a target stays whose it is. */
    void (*message)(void *argument, const struct wire_message *message,
                    struct replica_buffer *buffer);
    /* Where the data part of `message` is to be put; NULL: into a buffer of the pool. */
    struct replica_buffer *(*target)(void *argument, const struct wire_message *message);
};

/* What a person may want to know. */
struct link_facts {
    char peer[SOCK_TEXT_MAX]; /* of the stream, "" when there is none */
    char cipher[64];
    char trouble[REPLICA_ERROR_TEXT_MAX]; /* why the last attempt failed, "" after a success */
    uint64_t key_updates;
    uint32_t queued; /* messages that wait for the network */
    bool congested;
    bool awaits_call; /* no stream, and it is the peer who calls */
};

/* Reads keys, makes addresses; does not listen yet. `resource`, `log`, `pool`, `events` are
 * borrowed. Errors: those of tls_context_new and sock_address, REPLICA_E_MEMORY.
 * Ownership: *link is freed with link_free, after link_shut and a drained loop. */
int link_new(struct link **link, struct replica_loop *loop, const struct log *log,
             const struct config_resource *resource, struct buffer_pool *pool,
             const struct link_events *events, void *argument, struct replica_error *error);
void link_free(struct link *link);

/* From now on listens; the host that dials (the one whose name sorts first) dials once. A dial that
 * fails is told by `down`; a newcomer may still come. */
void link_connect(struct link *link);

/* Sends what is queued as far as the stream has room, closes, stops listening; `down` with `code`
 * follows from link_flush. */
void link_hang_up(struct link *link, int code);

/* Queues one message. Holds its own reference to `buffer`. Without a stream it is dropped. */
void link_send(struct link *link, const struct wire_message *message,
               struct replica_buffer *buffer);

/* To be called at the end of each turn: encrypts, sends, tells what is pending. */
void link_flush(struct link *link);

/* Bytes that the next link_flush would encrypt. */
uint32_t link_queued_bytes(const struct link *link);

/* The pool has memory again. */
void link_room(struct link *link);

/* Everything is closed at once; no event comes any more. link_busy: operations are under way. */
void link_shut(struct link *link);
bool link_busy(const struct link *link);

void link_facts(const struct link *link, struct link_facts *facts);

#endif
