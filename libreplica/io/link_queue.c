/* SPDX-License-Identifier: GPL-2.0-or-later */
/* link_queue.c - see link_queue.h. */
#include "link_queue.h"

#include <stdlib.h>
#include <string.h>

int link_queue_init(struct link_queue *queue, uint32_t messages, uint32_t bytes)
{
    *queue = (struct link_queue){.bytes_size = bytes, .slots_size = messages};
    queue->bytes = malloc(bytes);
    queue->slots = malloc(messages * sizeof *queue->slots);
    if (queue->bytes && queue->slots)
        return 0;
    link_queue_close(queue);
    return REPLICA_E_MEMORY;
}

void link_queue_close(struct link_queue *queue)
{
    link_queue_clear(queue);
    free(queue->bytes);
    free(queue->slots);
    *queue = (struct link_queue){0};
}

/* A contiguous place of `length` bytes behind the newest part; it never touches the oldest one,
 * so that equal positions can only mean an empty ring. */
static bool find_place(struct link_queue *queue, uint32_t length, uint32_t *place)
{
    uint32_t oldest;

    if (queue->count == 0)
        queue->next = 0;
    oldest = queue->count == 0 ? queue->bytes_size : queue->slots[queue->first].at;
    if (queue->count > 0 && queue->next <= oldest) {
        *place = queue->next;
        return oldest - queue->next > length;
    }
    *place = queue->next;
    if (queue->bytes_size - queue->next >= length)
        return true;
    *place = 0;
    return queue->count > 0 && oldest > length;
}

int link_queue_push(struct link_queue *queue, const struct wire_message *message,
                    struct replica_buffer *buffer)
{
    uint8_t encoded[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX];
    uint32_t length = (uint32_t)wire_encode(message, encoded), place;

    if (queue->count == queue->slots_size || !find_place(queue, length, &place))
        return REPLICA_E_NO_SPACE;
    memcpy(queue->bytes + place, encoded, length);
    queue->next = place + length;
    if (buffer)
        buffer_hold(buffer);
    queue->slots[(queue->first + queue->count) % queue->slots_size] =
        (struct link_slot){.at = place,
                           .bytes = length,
                           .data_bytes = buffer ? message->data_bytes : 0,
                           .buffer = buffer};
    queue->count++;
    queue->data_bytes += buffer ? message->data_bytes : 0;
    return 0;
}

struct link_slot *link_queue_first(struct link_queue *queue)
{
    return queue->count > 0 ? &queue->slots[queue->first] : NULL;
}

void link_queue_pop(struct link_queue *queue)
{
    queue->data_bytes -= queue->slots[queue->first].data_bytes;
    replica_buffer_put(queue->slots[queue->first].buffer);
    queue->first = (queue->first + 1) % queue->slots_size;
    queue->count--;
}

void link_queue_clear(struct link_queue *queue)
{
    while (queue->count > 0)
        link_queue_pop(queue);
}
