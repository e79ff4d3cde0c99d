/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_replica.c - see fake_replica.h. */
#include "fake_replica.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct replica {
    struct fake_settings settings;
    uint8_t *data;
    enum replica_role role;
    bool demoting;
    enum replica_connection connection;
    enum replica_disk disk;
    uint64_t shuffle;
    bool hold, no_discard;
    unsigned fail_after;
    int fail_code;
    uint32_t pool_used;
    unsigned requests, flushes, durable_writes;
    struct replica_request *queue_head, **queue_tail;
    void (*room)(void *argument);
    void *room_argument;
    void (*submitted)(const struct replica_request *request);
};

struct replica_buffer {
    struct replica *replica;
    uint32_t length;
    uint8_t *data;
};

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
    replica->disk = REPLICA_DISK_UPTODATE;
    if (replica->data == MAP_FAILED) {
        free(replica);
        return NULL;
    }
    return replica;
}

static void requests_complete(void *argument);

static bool work_is_waiting(void *argument)
{
    const struct replica *replica = argument;

    return (replica->queue_head && !replica->hold) || replica->room;
}

void fake_replica_attach(struct replica *replica, struct replica_loop *loop)
{
    struct fake_loop_work work = {work_is_waiting, requests_complete, replica};

    fake_loop_work(loop, &work);
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

bool replica_discards(const struct replica *replica)
{
    return !replica->no_discard;
}

void fake_replica_no_discard(struct replica *replica)
{
    replica->no_discard = true;
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    *status = (struct replica_status){.role = replica->role,
                                      .demoting = replica->demoting,
                                      .connection = replica->connection,
                                      .disk = replica->disk,
                                      .size = replica->settings.size};
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

void fake_replica_observe(struct replica *replica,
                          void (*submitted)(const struct replica_request *request))
{
    replica->submitted = submitted;
}

void replica_submit(struct replica *replica, struct replica_request *request)
{
    if (replica->submitted)
        replica->submitted(request);
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

static void request_end(struct replica *replica, struct replica_request *request, int code)
{
    if (code == 0)
        code = request_code(replica, request);
    if (code == 0)
        request_carry_out(replica, request);
    request->done(request, code);
}

bool fake_replica_end_one(struct replica *replica, unsigned index, int code)
{
    struct replica_request **place = &replica->queue_head, *request;

    while (*place && index--)
        place = &(*place)->next;
    request = *place;
    if (!request)
        return false;
    *place = request->next;
    if (!*place)
        replica->queue_tail = place;
    request_end(replica, request, code);
    return true;
}

static void requests_complete(void *argument)
{
    struct replica *replica = argument;
    struct replica_request *request = replica->queue_head, *next;
    void (*room)(void *argument) = replica->room;

    if (!replica->hold) {
        replica->queue_head = NULL;
        replica->queue_tail = &replica->queue_head;
        for (; request; request = next) {
            next = request->next;
            if (stays(replica))
                replica_submit(replica, request);
            else
                request_end(replica, request, 0);
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

void fake_replica_demoting(struct replica *replica, bool demoting)
{
    replica->demoting = demoting;
}

void fake_replica_disk(struct replica *replica, enum replica_disk disk)
{
    replica->disk = disk;
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

void fake_replica_pool(struct replica *replica, uint32_t bytes)
{
    replica->settings.pool_bytes = bytes;
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
