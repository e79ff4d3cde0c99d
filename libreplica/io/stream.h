/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - one TLS connection on the loop: connects or takes an accepted socket, shakes hands
 * within a deadline, then moves bytes both ways through bounded buffers. What the bytes mean is
 * link.c's.
 */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include "loop.h"
#include "sock.h"
#include "tls.h"

enum stream_limits {
    STREAM_OUTPUT_BYTES = 262144, /* twice: one fills while the other is on its way */
    STREAM_INPUT_BYTES = 131072,
    STREAM_HANDSHAKE_SECONDS = 5,
    STREAM_LINGER_SECONDS = 1, /* for the last bytes of a stream that is being closed */
    STREAM_LINGERING_MAX = 16  /* strangers can make them faster than they go */
};

struct stream; /* heap object; frees itself once it is over and nothing is under way */

/* All streams of an owner, those that linger included. Zeroed at the start. */
struct stream_list {
    struct stream *first;
};

/* What a stream tells its owner, always from the loop or from the stream_* call named. */
struct stream_owner {
    void (*ready)(void *argument, struct stream *stream);    /* both sides have proved themselves */
    void (*readable)(void *argument, struct stream *stream); /* call stream_read until it gives 0 */
    void (*writable)(void *argument, struct stream *stream); /* there is room again */
    /* The stream has failed or was closed by the peer; the owner forgets it here. May come from
     * stream_read, stream_put and stream_flush. `text` continues a sentence that begins with the
     * peer's address. */
    void (*over)(void *argument, struct stream *stream, int code, const char *text);
};

/* Takes a connected socket; `fd` is the stream's from here on, on failure too. Errors:
 * REPLICA_E_MEMORY. */
int stream_accept(struct stream **stream, struct stream_list *list, struct replica_loop *loop,
                  struct tls_context *context, int fd, const union sock_address *peer,
                  const struct stream_owner *owner, void *argument);

/* Connects to `peer` from `local`. Errors: REPLICA_E_MEMORY, and those of sock_dialer. */
int stream_dial(struct stream **stream, struct stream_list *list, struct replica_loop *loop,
                struct tls_context *context, const union sock_address *local,
                const union sock_address *peer, const struct stream_owner *owner, void *argument,
                struct replica_error *error);

/* No callback comes after this. What was put is still sent, for STREAM_LINGER_SECONDS at most. */
void stream_close(struct stream *stream);

/* As stream_close, but at once. */
void stream_kill(struct stream *stream);
void stream_kill_all(struct stream_list *list);

/* *got: 0 when there is no more for now. False: the stream is over (and `over` was called). */
bool stream_read(struct stream *stream, void *place, uint32_t length, uint32_t *got);

/* The owner took a break from reading; `readable` comes again, from here if there is input. */
void stream_resume(struct stream *stream);

/* Takes as many bytes as there is room for; they are gathered into records and batches.
 * False: the stream is over. */
bool stream_put(struct stream *stream, const uint8_t *data, uint32_t length, uint32_t *taken);
bool stream_flush(struct stream *stream);

bool stream_dialed(const struct stream *stream);
const union sock_address *stream_peer(const struct stream *stream);
const struct tls *stream_tls(const struct stream *stream);

#endif
