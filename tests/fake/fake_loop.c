/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_loop.c - see fake_loop.h. */
#include "fake_loop.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

enum { WATCHES_MAX = 96, TIMERS_MAX = 48, TURN_ENDS_MAX = 4 };

struct replica_watch {
    struct replica_loop *loop;
    int fd;
    short events;
    void (*ready)(void *argument, uint32_t events);
    void *argument;
};

struct replica_timer {
    struct replica_loop *loop;
    void (*expired)(void *argument);
    void *argument;
    uint64_t at;
};

struct turn_end {
    void (*function)(void *argument);
    void *argument;
};

struct replica_loop {
    struct replica_watch *watches[WATCHES_MAX];
    struct replica_timer *timers[TIMERS_MAX];
    struct turn_end turn_ends[TURN_ENDS_MAX];
    unsigned turn_end_count;
    struct fake_loop_work work;
    uint64_t now, ahead;
    bool stop;
};

static void clock_take(struct replica_loop *loop)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    loop->now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec + loop->ahead;
}

int replica_loop_new(struct replica_loop **loop, struct replica_error *error)
{
    (void)error;
    *loop = calloc(1, sizeof **loop);
    if (!*loop)
        return REPLICA_E_MEMORY;
    clock_take(*loop);
    return 0;
}

void replica_loop_free(struct replica_loop *loop)
{
    free(loop);
}

uint64_t replica_loop_now(const struct replica_loop *loop)
{
    return loop->now;
}

void fake_loop_advance(struct replica_loop *loop, uint64_t nanoseconds)
{
    loop->ahead += nanoseconds;
}

int replica_loop_watch(struct replica_loop *loop, int fd, bool write,
                       void (*ready)(void *argument, uint32_t events), void *argument,
                       struct replica_watch **watch)
{
    unsigned i = 0;

    while (i < WATCHES_MAX && loop->watches[i])
        i++;
    if (i == WATCHES_MAX)
        return REPLICA_E_MEMORY;
    *watch = loop->watches[i] = calloc(1, sizeof **watch);
    if (!*watch)
        return REPLICA_E_MEMORY;
    **watch = (struct replica_watch){loop, fd, write ? POLLOUT : POLLIN, ready, argument};
    return 0;
}

void replica_loop_unwatch(struct replica_watch *watch)
{
    if (!watch)
        return;
    for (unsigned i = 0; i < WATCHES_MAX; i++)
        if (watch->loop->watches[i] == watch)
            watch->loop->watches[i] = NULL;
    free(watch);
}

int replica_timer_new(struct replica_loop *loop, void (*expired)(void *argument), void *argument,
                      struct replica_timer **timer)
{
    unsigned i = 0;

    while (i < TIMERS_MAX && loop->timers[i])
        i++;
    if (i == TIMERS_MAX)
        return REPLICA_E_MEMORY;
    *timer = loop->timers[i] = calloc(1, sizeof **timer);
    if (!*timer)
        return REPLICA_E_MEMORY;
    **timer = (struct replica_timer){loop, expired, argument, UINT64_MAX};
    return 0;
}

void replica_timer_set(struct replica_timer *timer, uint64_t at)
{
    timer->at = at;
}

void replica_timer_free(struct replica_timer *timer)
{
    if (!timer)
        return;
    for (unsigned i = 0; i < TIMERS_MAX; i++)
        if (timer->loop->timers[i] == timer)
            timer->loop->timers[i] = NULL;
    free(timer);
}

int replica_loop_at_turn_end(struct replica_loop *loop, void (*turn_end)(void *argument),
                             void *argument)
{
    if (loop->turn_end_count == TURN_ENDS_MAX)
        return REPLICA_E_MEMORY;
    loop->turn_ends[loop->turn_end_count++] = (struct turn_end){turn_end, argument};
    return 0;
}

static void watches_poll(struct replica_loop *loop, int milliseconds)
{
    struct pollfd polls[WATCHES_MAX];
    struct replica_watch *watches[WATCHES_MAX];
    nfds_t count = 0;

    for (unsigned i = 0; i < WATCHES_MAX; i++)
        if (loop->watches[i]) {
            watches[count] = loop->watches[i];
            polls[count++] =
                (struct pollfd){.fd = loop->watches[i]->fd, .events = loop->watches[i]->events};
        }
    if (poll(polls, count, milliseconds) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++)
        for (unsigned j = 0; polls[i].revents && j < WATCHES_MAX; j++)
            if (loop->watches[j] == watches[i] && loop->watches[j]->fd == polls[i].fd) {
                watches[i]->ready(watches[i]->argument, (uint32_t)polls[i].revents);
                break;
            }
}

static void timers_run(struct replica_loop *loop)
{
    for (unsigned i = 0; i < TIMERS_MAX; i++)
        if (loop->timers[i] && loop->timers[i]->at <= loop->now) {
            loop->timers[i]->at = UINT64_MAX;
            loop->timers[i]->expired(loop->timers[i]->argument);
        }
}

void fake_loop_work(struct replica_loop *loop, const struct fake_loop_work *work)
{
    loop->work = *work;
}

void fake_loop_turn(struct replica_loop *loop, int milliseconds)
{
    bool busy = loop->work.waiting && loop->work.waiting(loop->work.argument);

    watches_poll(loop, busy ? 0 : milliseconds);
    clock_take(loop);
    timers_run(loop);
    if (loop->work.run)
        loop->work.run(loop->work.argument);
    for (unsigned i = 0; i < loop->turn_end_count; i++)
        loop->turn_ends[i].function(loop->turn_ends[i].argument);
}

int replica_loop_run(struct replica_loop *loop, struct replica_error *error)
{
    (void)error;
    loop->stop = false;
    while (!loop->stop)
        fake_loop_turn(loop, 1000);
    return 0;
}

void replica_loop_stop(struct replica_loop *loop)
{
    loop->stop = true;
}
