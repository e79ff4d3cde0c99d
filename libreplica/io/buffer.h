/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buffer.h - pools of page-aligned memory for guest data, taken once at attach. A pool hands out
 * blocks of 4 KiB to 256 KiB (a buddy allocator) and never grows: what does not fit waits. Guests,
 * what the peer sends, and what is read for the peer or for a checksum have a pool each, so that
 * none can starve another: a write of the peer may wait for such a read.
 */
#ifndef IO_BUFFER_H
#define IO_BUFFER_H

#include "libreplica/replica.h"

enum buffer_limits {
    BUFFER_UNIT_BYTES = 4096,
    BUFFER_ORDERS = 7, /* 4 KiB << 6 = 256 KiB = REPLICA_REQUEST_BYTES_MAX */
    BUFFER_GUEST_BYTES = 6 << 20,
    BUFFER_LINK_BYTES = 6 << 20,
    BUFFER_READ_BYTES = 4 << 20
};

struct buffer_pool; /* heap object */

/* `bytes`: a multiple of REPLICA_REQUEST_BYTES_MAX. `room` is called from replica_buffer_put when
 * memory came back after a failed buffer_take; it should only take a note.
 * Errors: REPLICA_E_MEMORY. Ownership: *pool is let go with buffer_pool_free, which frees it at
 * once or with its last buffer. */
int buffer_pool_new(struct buffer_pool **pool, size_t bytes, void (*room)(void *argument),
                    void *argument);
void buffer_pool_free(struct buffer_pool *pool);

/* One reference for the caller; NULL when the pool has no room or the length is over the limit. */
struct replica_buffer *buffer_take(struct buffer_pool *pool, uint32_t length);
void buffer_hold(struct replica_buffer *buffer);
uint32_t buffer_bytes(const struct replica_buffer *buffer); /* what it can hold */

struct buffer_pool *buffer_pool_of(const struct replica_buffer *buffer);

/* Bytes handed out now, whole blocks. */
size_t buffer_pool_used(const struct buffer_pool *pool);

/* Where the pool's memory is, for registering it. */
void buffer_pool_memory(const struct buffer_pool *pool, void **start, size_t *bytes);

#endif
