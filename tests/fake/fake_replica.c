/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_replica.c - see fake_replica.h. */
#include "fake_replica.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { WATCHES_MAX = 64, TIMERS_MAX = 8, TURN_ENDS_MAX = 4 };

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
    struct replica *replica;
    uint64_t now, ahead;
    bool stop;
};

struct replica {
    struct fake_settings settings;
    uint8_t *data;
    enum replica_role role;
    enum replica_connection connection;
    uint64_t shuffle;
    bool hold;
    unsigned fail_after;
    int fail_code;
    uint32_t pool_used;
    unsigned requests, flushes, durable_writes;
    struct replica_request *queue_head, **queue_tail;
    void (*room)(void *argument);
    void *room_argument;
};

struct replica_buffer {
    struct replica *replica;
    uint32_t length;
    uint8_t *data;
};

/* ---- loop ----------------------------------------------------------------------------------- */

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

static void requests_complete(struct replica *replica);

static bool work_is_waiting(const struct replica *replica)
{
    return replica && ((replica->queue_head && !replica->hold) || replica->room);
}

void fake_loop_turn(struct replica_loop *loop, int milliseconds)
{
    watches_poll(loop, work_is_waiting(loop->replica) ? 0 : milliseconds);
    clock_take(loop);
    timers_run(loop);
    if (loop->replica)
        requests_complete(loop->replica);
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

/* ---- the disk ---------------------------------------------------------------------------------
 */

struct replica *fake_replica_new(const struct fake_settings *settings)
{
    struct replica *replica = calloc(1, sizeof *replica);

    if (!replica)
        return NULL;
    replica->settings = *settings;
    replica->data =
        mmap(NULL, settings->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    replica->role = REPLICA_ROLE_PRIMARY;
    replica->queue_tail = &replica->queue_head;
    replica->connection = REPLICA_CONNECTION_CONNECTED;
    if (replica->data == MAP_FAILED) {
        free(replica);
        return NULL;
    }
    return replica;
}

void fake_replica_attach(struct replica *replica, struct replica_loop *loop)
{
    loop->replica = replica;
}

void replica_close(struct replica *replica)
{
    replica->hold = false;
    replica->shuffle = 0;
    if (!replica->fail_code)
        fake_replica_fail(replica, 0, REPLICA_E_SHUTDOWN);
    replica->room = NULL;
    while (replica->queue_head)
        requests_complete(replica);
    (void)munmap(replica->data, replica->settings.size);
    free(replica);
}

const char *replica_resource(const struct replica *replica)
{
    return replica->settings.resource;
}

uint64_t replica_size(const struct replica *replica)
{
    return replica->settings.size;
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    *status = (struct replica_status){
        .role = replica->role, .connection = replica->connection, .size = replica->settings.size};
}

struct replica_buffer *replica_buffer_get(struct replica *replica, uint32_t length)
{
    struct replica_buffer *buffer;

    if (length > REPLICA_REQUEST_BYTES_MAX)
        abort();
    if (replica->pool_used + length > replica->settings.pool_bytes)
        return NULL;
    buffer = malloc(sizeof *buffer);
    if (!buffer)
        return NULL;
    *buffer =
        (struct replica_buffer){replica, length, aligned_alloc(4096, (length + 4095u) & ~4095u)};
    if (!buffer->data) {
        free(buffer);
        return NULL;
    }
    memset(buffer->data, 0xee, length);
    replica->pool_used += length;
    return buffer;
}

void replica_buffer_put(struct replica_buffer *buffer)
{
    buffer->replica->pool_used -= buffer->length;
    free(buffer->data);
    free(buffer);
}

void *replica_buffer_data(struct replica_buffer *buffer)
{
    return buffer->data;
}

void replica_on_room(struct replica *replica, void (*callback)(void *argument), void *argument)
{
    replica->room = callback;
    replica->room_argument = argument;
}

void replica_submit(struct replica *replica, struct replica_request *request)
{
    request->next = NULL;
    *replica->queue_tail = request;
    replica->queue_tail = &request->next;
}

static int request_code(struct replica *replica, const struct replica_request *request)
{
    replica->requests++;
    if (replica->fail_code && replica->fail_after == 0)
        return replica->fail_code;
    if (replica->fail_after)
        replica->fail_after--;
    if (replica->role != REPLICA_ROLE_PRIMARY)
        return REPLICA_E_READ_ONLY;
    if (request->op == REPLICA_OP_FLUSH)
        return request->length || request->offset ? REPLICA_E_INVALID : 0;
    if (request->length == 0 || request->offset % 512 || request->length % 512 ||
        request->offset > replica->settings.size ||
        request->length > replica->settings.size - request->offset)
        return REPLICA_E_RANGE;
    return 0;
}

static void request_carry_out(struct replica *replica, struct replica_request *request)
{
    uint8_t *place = replica->data + request->offset;

    replica->durable_writes += request->fua && request->op != REPLICA_OP_FLUSH;
    switch (request->op) {
    case REPLICA_OP_READ:
        memcpy(request->buffer->data, place, request->length);
        break;
    case REPLICA_OP_WRITE:
        memcpy(place, request->buffer->data, request->length);
        break;
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        memset(place, 0, request->length);
        break;
    case REPLICA_OP_FLUSH:
        replica->flushes++;
        break;
    case REPLICA_OP_COUNT:
        abort();
    }
}

/* Xorshift: a test's own dice. */
static uint64_t roll(struct replica *replica)
{
    replica->shuffle ^= replica->shuffle << 13;
    replica->shuffle ^= replica->shuffle >> 7;
    replica->shuffle ^= replica->shuffle << 17;
    return replica->shuffle;
}

/* Some stay where they are, and so fall behind later ones. */
static bool stays(struct replica *replica)
{
    return replica->shuffle && roll(replica) % 3 == 0;
}

static void requests_complete(struct replica *replica)
{
    struct replica_request *request = replica->queue_head, *next;
    void (*room)(void *argument) = replica->room;

    if (!replica->hold) {
        replica->queue_head = NULL;
        replica->queue_tail = &replica->queue_head;
        for (; request; request = next) {
            int code;

            next = request->next;
            if (stays(replica)) {
                replica_submit(replica, request);
                continue;
            }
            code = request_code(replica, request);
            if (code == 0)
                request_carry_out(replica, request);
            request->done(request, code);
        }
    }
    if (room && replica->pool_used < replica->settings.pool_bytes) {
        replica->room = NULL;
        room(replica->room_argument);
    }
}

void fake_replica_role(struct replica *replica, enum replica_role role)
{
    replica->role = role;
}

void fake_replica_connection(struct replica *replica, enum replica_connection connection)
{
    replica->connection = connection;
}

void fake_replica_shuffle(struct replica *replica, uint64_t seed)
{
    replica->shuffle = seed;
}

void fake_replica_hold(struct replica *replica, bool hold)
{
    replica->hold = hold;
}

void fake_replica_fail(struct replica *replica, unsigned after, int code)
{
    replica->fail_after = after;
    replica->fail_code = code;
}

uint8_t *fake_replica_data(struct replica *replica)
{
    return replica->data;
}

uint32_t fake_replica_pool_used(const struct replica *replica)
{
    return replica->pool_used;
}

unsigned fake_replica_requests(const struct replica *replica)
{
    return replica->requests;
}

unsigned fake_replica_flushes(const struct replica *replica)
{
    return replica->flushes;
}

unsigned fake_replica_durable_writes(const struct replica *replica)
{
    return replica->durable_writes;
}

void replica_log(const struct replica *replica, int priority, const char *format, ...)
{
    va_list arguments;

    if (!getenv("FAKE_REPLICA_LOG"))
        return;
    va_start(arguments, format);
    (void)fprintf(stderr, "%s <%d> ", replica->settings.resource, priority);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}
