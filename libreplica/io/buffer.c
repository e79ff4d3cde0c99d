/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buffer.c - see buffer.h. One header per unit of memory; the header of a block's first unit
 * speaks for the block. A block of order n starts at a multiple of 1 << n units, and its buddy is
 * the block whose index differs in that one bit.
 */
#include "buffer.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "libreplica/core/err.h"

struct replica_buffer {
    struct buffer_pool *pool;
    struct replica_buffer *next, *previous; /* in the free list of its order */
    uint32_t references;                    /* 0: free, or inside a larger block */
    uint8_t order;
    bool listed; /* the first unit of a free block */
};

struct buffer_pool {
    uint8_t *memory; /* mapped; a page is resident only once it was used */
    size_t units, used;
    struct replica_buffer *headers;
    struct replica_buffer *free[BUFFER_ORDERS];
    void (*room)(void *argument);
    void *argument;
    bool wanted; /* a take failed since the last `room` */
    bool closed;
};

static size_t index_of(const struct replica_buffer *buffer)
{
    return (size_t)(buffer - buffer->pool->headers);
}

static void list_push(struct replica_buffer *block, uint8_t order)
{
    struct replica_buffer **head = &block->pool->free[order];

    block->order = order;
    block->listed = true;
    block->previous = NULL;
    block->next = *head;
    if (*head)
        (*head)->previous = block;
    *head = block;
}

static void list_remove(struct replica_buffer *block)
{
    if (block->previous)
        block->previous->next = block->next;
    else
        block->pool->free[block->order] = block->next;
    if (block->next)
        block->next->previous = block->previous;
    block->listed = false;
}

int buffer_pool_new(struct buffer_pool **pool, size_t bytes, void (*room)(void *argument),
                    void *argument)
{
    struct buffer_pool *made = calloc(1, sizeof *made);
    const size_t top_units = 1u << (BUFFER_ORDERS - 1);

    if (!made)
        return REPLICA_E_MEMORY;
    made->units = bytes / BUFFER_UNIT_BYTES / top_units * top_units;
    made->room = room;
    made->argument = argument;
    made->headers = calloc(made->units, sizeof *made->headers);
    if (!made->headers)
        goto fail_pool;
    made->memory = mmap(NULL, made->units * BUFFER_UNIT_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made->memory == MAP_FAILED)
        goto fail_headers;
    for (size_t i = 0; i < made->units; i++)
        made->headers[i].pool = made;
    for (size_t i = made->units; i > 0; i -= top_units)
        list_push(&made->headers[i - top_units], BUFFER_ORDERS - 1);
    *pool = made;
    return 0;
fail_headers:
    free(made->headers);
fail_pool:
    free(made);
    return REPLICA_E_MEMORY;
}

static void pool_release(struct buffer_pool *pool)
{
    munmap(pool->memory, pool->units * BUFFER_UNIT_BYTES);
    free(pool->headers);
    free(pool);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (!pool)
        return;
    pool->closed = true;
    if (pool->used == 0)
        pool_release(pool);
}

static uint8_t order_for(uint32_t length)
{
    uint8_t order = 0;

    while (((uint32_t)BUFFER_UNIT_BYTES << order) < length)
        order++;
    return order;
}

struct replica_buffer *buffer_take(struct buffer_pool *pool, uint32_t length)
{
    struct replica_buffer *block;
    uint8_t order, found;

    if (length > REPLICA_REQUEST_BYTES_MAX)
        return NULL;
    order = order_for(length);
    for (found = order; found < BUFFER_ORDERS && !pool->free[found]; found++)
        ;
    if (found == BUFFER_ORDERS) {
        pool->wanted = true;
        return NULL;
    }
    block = pool->free[found];
    list_remove(block);
    while (found > order) {
        found--;
        list_push(block + ((size_t)1 << found), found);
    }
    block->order = order;
    block->references = 1;
    pool->used += (size_t)1 << order;
    return block;
}

void buffer_hold(struct replica_buffer *buffer)
{
    buffer->references++;
}

uint32_t buffer_bytes(const struct replica_buffer *buffer)
{
    return (uint32_t)BUFFER_UNIT_BYTES << buffer->order;
}

struct buffer_pool *buffer_pool_of(const struct replica_buffer *buffer)
{
    return buffer->pool;
}

/* Gives the block back, joined with every buddy that is free too. */
static void block_return(struct replica_buffer *block)
{
    struct buffer_pool *pool = block->pool;
    uint8_t order = block->order;
    size_t index = index_of(block);

    pool->used -= (size_t)1 << order;
    while (order < BUFFER_ORDERS - 1) {
        struct replica_buffer *buddy = &pool->headers[index ^ ((size_t)1 << order)];
        if (!buddy->listed || buddy->order != order)
            break;
        list_remove(buddy);
        index &= ~((size_t)1 << order);
        order++;
    }
    list_push(&pool->headers[index], order);
}

void replica_buffer_put(struct replica_buffer *buffer)
{
    struct buffer_pool *pool;

    if (!buffer || --buffer->references > 0)
        return;
    pool = buffer->pool;
    block_return(buffer);
    if (pool->closed) {
        if (pool->used == 0)
            pool_release(pool);
    } else if (pool->wanted) {
        pool->wanted = false;
        pool->room(pool->argument);
    }
}

void *replica_buffer_data(struct replica_buffer *buffer)
{
    return buffer->pool->memory + index_of(buffer) * BUFFER_UNIT_BYTES;
}

size_t buffer_pool_used(const struct buffer_pool *pool)
{
    return pool->used * BUFFER_UNIT_BYTES;
}

void buffer_pool_memory(const struct buffer_pool *pool, void **start, size_t *bytes)
{
    *start = pool->memory;
    *bytes = pool->units * BUFFER_UNIT_BYTES;
}
