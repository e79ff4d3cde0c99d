/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hammer.c - see hammer.h. */
#include "hammer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>

static struct hammer {
    pthread_t thread;
    bool started, busy;
    sem_t order, done;
    uint8_t *place;
    size_t length;
    uint32_t state;
    unsigned count;
} hammer;

static uint32_t draw(void)
{
    hammer.state ^= hammer.state << 13;
    hammer.state ^= hammer.state >> 17;
    hammer.state ^= hammer.state << 5;
    return hammer.state;
}

/* Bytes and whole words: small numbers and huge ones, such as indices and descriptors hold. */
static void strike(void)
{
    uint32_t where = draw(), value = draw();
    size_t at = where % hammer.length;

    if (where & 1u << 31) {
        at &= ~(size_t)3;
        __atomic_store_n((uint32_t *)(void *)(hammer.place + at),
                         value & 1u << 31 ? value : value % 64, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(hammer.place + at, (uint8_t)value, __ATOMIC_RELAXED);
    }
}

static void *work(void *argument)
{
    (void)argument;
    for (;;) {
        while (sem_wait(&hammer.order) != 0)
            ;
        for (unsigned i = 0; i < hammer.count; i++)
            strike();
        (void)sem_post(&hammer.done);
    }
    return NULL;
}

static void start(void)
{
    if (sem_init(&hammer.order, 0, 0) != 0 || sem_init(&hammer.done, 0, 0) != 0 ||
        pthread_create(&hammer.thread, NULL, work, NULL) != 0 || pthread_detach(hammer.thread) != 0)
        abort();
    hammer.started = true;
}

void hammer_begin(uint8_t *place, size_t length, uint32_t seed, unsigned count)
{
    if (!hammer.started)
        start();
    hammer_wait();
    hammer.place = place;
    hammer.length = length;
    hammer.state = seed ? seed : 1;
    hammer.count = count;
    hammer.busy = true;
    (void)sem_post(&hammer.order);
}

void hammer_wait(void)
{
    if (!hammer.busy)
        return;
    while (sem_wait(&hammer.done) != 0)
        ;
    hammer.busy = false;
}
