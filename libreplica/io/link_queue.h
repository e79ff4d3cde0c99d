/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * link_queue.h - messages that wait for the network, in order: encoded headers and bodies in one
 * ring of bytes, references to the buffers that hold the data. All memory is taken at the start.
 */
#ifndef IO_LINK_QUEUE_H
#define IO_LINK_QUEUE_H

#include "buffer.h"
#include "libreplica/core/wire.h"

struct link_slot {
    uint32_t at, bytes; /* the encoded part, in the ring */
    uint32_t data_bytes;
    uint32_t sent;                 /* of both parts together */
    struct replica_buffer *buffer; /* a reference; NULL without data */
};

struct link_queue {
    uint8_t *bytes;
    struct link_slot *slots;
    uint32_t bytes_size, slots_size;
    uint32_t first, count; /* slots in use */
    uint32_t data_bytes;   /* of all slots */
    uint32_t next;         /* where the next encoded part goes */
};

/* Errors: REPLICA_E_MEMORY. */
int link_queue_init(struct link_queue *queue, uint32_t messages, uint32_t bytes);
void link_queue_close(struct link_queue *queue);

/* Errors: REPLICA_E_NO_SPACE. Takes a reference to `buffer`. */
int link_queue_push(struct link_queue *queue, const struct wire_message *message,
                    struct replica_buffer *buffer);
struct link_slot *link_queue_first(struct link_queue *queue); /* NULL: empty */
void link_queue_pop(struct link_queue *queue);                /* lets its buffer go */
void link_queue_clear(struct link_queue *queue);

#endif
