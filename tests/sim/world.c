/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * world.c - virtual time, the queue of what will happen, the seeded generator, the pool of buffers.
 *
 * Everything random comes from one 64-bit state, so a seed replays exactly. The queue is a binary
 * heap by (time, order of entry). The two cores' deadlines are not in it: they are looked at each
 * time the next event is chosen.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { STEPS_AT_ONE_TIME_MAX = 20000 };

/* ---- generator ------------------------------------------------------------------------------- */

uint64_t sim_random(struct sim_world *world)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t sim_below(struct sim_world *world, uint32_t bound)
{
    return (uint32_t)(((sim_random(world) >> 32) * bound) >> 32);
}

bool sim_chance(struct sim_world *world, uint32_t one_in)
{
    return sim_below(world, one_in) == 0;
}

/* ---- words for people -------------------------------------------------------------------------
 */

void sim_trace(const struct sim_world *world, const char *format, ...)
{
    va_list arguments;

    printf("%10.3f ms  ", (double)world->now / 1e6);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void sim_violation(struct sim_world *world, const char *promise, const char *format, ...)
{
    va_list arguments;
    int length;

    if (world->failed)
        return;
    world->failed = true;
    length = snprintf(world->failure, sizeof world->failure, "%s at %.3f ms: ", promise,
                      (double)world->now / 1e6);
    va_start(arguments, format);
    vsnprintf(world->failure + length, sizeof world->failure - (size_t)length, format, arguments);
    va_end(arguments);
    TRACE(world, "VIOLATION %s", world->failure);
}

/* ---- buffers ------------------------------------------------------------------------------------
 */

static void buffers_reset(struct sim_buffers *buffers)
{
    uint32_t touched = buffers->free ? buffers->touched : SIM_BUFFERS;

    for (uint32_t i = touched; i-- > 0;) {
        struct replica_buffer *buffer = &buffers->list[i];

        *buffer = (struct replica_buffer){.index = (uint16_t)i};
        buffer->next_free = i + 1 < SIM_BUFFERS ? buffer + 1 : NULL;
    }
    buffers->free = &buffers->list[0];
    buffers->used = buffers->touched = 0;
}

struct replica_buffer *buffer_get(struct sim_world *world, unsigned host, uint32_t sectors)
{
    struct sim_buffers *buffers = &world->buffers;
    struct replica_buffer *buffer = buffers->free;

    if (!buffer || sectors > SIM_BUFFER_SECTORS) {
        sim_violation(world, "bounded memory", "no buffer of %u sectors, %u in use", sectors,
                      buffers->used);
        return NULL;
    }
    buffers->free = buffer->next_free;
    buffers->used++;
    if (buffer->index >= buffers->touched)
        buffers->touched = buffer->index + 1u;
    buffer->references = 1;
    buffer->sectors = sectors;
    buffer->host = (uint8_t)host;
    buffer->handed = false;
    return buffer;
}

void buffer_hold(struct replica_buffer *buffer)
{
    if (buffer)
        buffer->references++;
}

void buffer_put(struct sim_world *world, struct replica_buffer *buffer)
{
    if (!buffer)
        return;
    if (buffer->references == 0) {
        sim_violation(world, "buffers", "buffer %u is let go of twice", buffer->index);
        return;
    }
    if (--buffer->references)
        return;
    buffer->next_free = world->buffers.free;
    world->buffers.free = buffer;
    world->buffers.used--;
}

uint32_t *buffer_stamps(struct sim_world *world, const struct replica_buffer *buffer)
{
    return world->buffers.stamps[buffer->index];
}

/* ---- queue
 * ---------------------------------------------------------------------------------------- */

static bool entry_before(const struct sim_entry *a, const struct sim_entry *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void world_at(struct sim_world *world, enum sim_kind kind, unsigned host, uint64_t at,
              uint32_t argument, uint32_t serial)
{
    struct sim_queue *queue = &world->queue;
    struct sim_entry entry = {.at = at < world->now ? world->now : at,
                              .order = queue->order++,
                              .argument = argument,
                              .serial = serial,
                              .kind = (uint8_t)kind,
                              .host = (uint8_t)host};
    uint32_t place = queue->count;

    if (place == SIM_QUEUE) {
        sim_violation(world, "bounded memory", "the simulator's queue is full");
        return;
    }
    queue->count++;
    while (place > 0 && entry_before(&entry, &queue->heap[(place - 1) / 2])) {
        queue->heap[place] = queue->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    queue->heap[place] = entry;
}

static struct sim_entry queue_take(struct sim_queue *queue)
{
    struct sim_entry top = queue->heap[0];
    struct sim_entry last = queue->heap[--queue->count];
    uint32_t place = 0;

    for (;;) {
        uint32_t child = 2 * place + 1;

        if (child >= queue->count)
            break;
        if (child + 1 < queue->count && entry_before(&queue->heap[child + 1], &queue->heap[child]))
            child++;
        if (!entry_before(&queue->heap[child], &last))
            break;
        queue->heap[place] = queue->heap[child];
        place = child;
    }
    queue->heap[place] = last;
    return top;
}

/* ---- stepping
 * -------------------------------------------------------------------------------------- */

/* True for what must be forgotten when the process that it was meant for is gone. */
static bool entry_stale(const struct sim_world *world, const struct sim_entry *entry)
{
    const struct sim_host *host = &world->host[entry->host];

    switch ((enum sim_kind)entry->kind) {
    case SIM_DIAL:
    case SIM_LINK_DOWN:
    case SIM_CLOSED:
    case SIM_HANDLER:
    case SIM_MEASURE:
    case SIM_HANDOVER:
        return !host->up || entry->serial != host->process;
    case SIM_DISK:
    case SIM_META:
    case SIM_DELIVER:
    case SIM_GUEST:
    case SIM_OPERATOR:
    case SIM_FAULT:
    case SIM_HEAL_LINK:
    case SIM_THAW:
    case SIM_KIND_COUNT:
        break;
    }
    return false;
}

static void entry_run(struct sim_world *world, const struct sim_entry *entry)
{
    struct sim_host *host = &world->host[entry->host];

    switch ((enum sim_kind)entry->kind) {
    case SIM_DISK:
        disk_done(host, entry->argument, entry->serial);
        break;
    case SIM_META:
        meta_done(host, entry->argument, entry->serial);
        break;
    case SIM_DELIVER:
        net_deliver(world, entry->host);
        break;
    case SIM_DIAL:
        net_dialed(host, entry->argument);
        break;
    case SIM_LINK_DOWN:
        net_noticed(host, entry->argument);
        break;
    case SIM_CLOSED:
        net_closed(host);
        break;
    case SIM_GUEST:
        guest_think(host, entry->argument);
        break;
    case SIM_OPERATOR:
        operator_look(world);
        break;
    case SIM_FAULT:
        fault_next(world);
        break;
    case SIM_HEAL_LINK:
        net_unblock(world, entry->argument);
        break;
    case SIM_THAW:
        host->frozen = false;
        break;
    case SIM_HANDLER:
        admin_handler(host, entry->argument);
        break;
    case SIM_MEASURE:
        grow_measure(host, entry->argument);
        break;
    case SIM_HANDOVER:
        migrate_answer(host, entry->argument);
        break;
    case SIM_KIND_COUNT:
        break;
    }
}

/* The host whose deadline comes before everything else; NULL: the queue's top is next. */
static struct sim_host *world_deadline(struct sim_world *world, uint64_t *at)
{
    struct sim_host *first = NULL;

    *at = world->queue.count ? world->queue.heap[0].at : UINT64_MAX;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *host = &world->host[i];
        uint64_t deadline = host->up && !host->frozen ? host->deadline : UINT64_MAX;

        if (deadline < world->now)
            deadline = world->now;
        if (deadline < *at) {
            *at = deadline;
            first = host;
        }
    }
    return first;
}

bool world_step(struct sim_world *world)
{
    uint64_t at;
    struct sim_host *due = world_deadline(world, &at);

    if (at == UINT64_MAX || world->failed)
        return false;
    if (at > world->now) {
        world->now = at;
        world->oracle.steps_at_now = 0;
    } else if (++world->oracle.steps_at_now > STEPS_AT_ONE_TIME_MAX) {
        sim_violation(world, "liveness", "busy loop: virtual time stands still");
        return false;
    }
    world->counts.steps++;
    if (due) {
        struct event event = {.kind = EVENT_TIMER};

        host_event(due, &event);
    } else {
        struct sim_entry entry = queue_take(&world->queue);

        if (!entry_stale(world, &entry))
            entry_run(world, &entry);
    }
    return !world->failed;
}

bool world_until(struct sim_world *world, bool (*done)(const struct sim_world *world),
                 uint64_t most)
{
    uint64_t end = world->now + most;

    while (!done(world))
        if (world->now > end || !world_step(world))
            return false;
    return true;
}

void world_run(struct sim_world *world, uint64_t time)
{
    uint64_t end = world->now + time;
    uint64_t at;

    for (;;) {
        (void)world_deadline(world, &at);
        if (at > end || !world_step(world))
            break;
    }
    if (world->now < end)
        world->now = end;
}

/* ---- life of a world
 * -------------------------------------------------------------------------------- */

int world_new(struct sim_world **world)
{
    struct sim_world *made = calloc(1, sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    made->actions = calloc(SIM_ACTIONS, sizeof *made->actions);
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        made->host[i].arena = calloc(1, SIM_ARENA_BYTES);
        if (!made->host[i].arena || !made->actions) {
            world_free(made);
            return REPLICA_E_MEMORY;
        }
    }
    *world = made;
    return 0;
}

void world_free(struct sim_world *world)
{
    if (!world)
        return;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        actlog_free(world->host[i].meta.log);
        free(world->host[i].arena);
    }
    free(world->actions);
    free(world);
}

static void host_reset(struct sim_world *world, unsigned index)
{
    struct sim_host *host = &world->host[index];

    host->world = world;
    host->index = (uint8_t)index;
    if (host->core)
        core_free(host->core);
    host->core = NULL;
    host->up = host->attached = host->hold = host->frozen = host->ending = false;
    host->discarding = host->drained = false;
    host->hold_until = 0;
    host->accepting = host->dialing = false;
    host->dial = host->stream = 0;
    host->process++;
    host->boot_at = UINT64_MAX;
    host->deadline = UINT64_MAX;
    host->status = (struct core_status){0};
    host->commands = 0;
    memset(host->command, 0, sizeof host->command);
    host->owes = 0;
    host->arena_used = 0;
    host->arena_blocks = 0;
    host->guest.running = host->guest.paused = host->guest.thinking = false;
    host->guest.suspended = host->guest.held = false;
    host->asked = 0;
    host->guest.incarnation++;
    host->guest.in_flight = 0;
    for (unsigned i = 0; i < SIM_GUEST_DEPTH; i++)
        host->guest.request[i].used = false;
}

void world_reset(struct sim_world *world, uint64_t seed)
{
    world->seed = seed;
    world->random = seed * 0xd1342543de82ef95u + 0x632be59bd9b4e019u;
    world->now = SECOND;
    world->failed = world->healing = world->prepared = world->operator_off = world->pinned =
        world->flipped = world->crossed = world->fence_fails = false;
    world->fence_ends_after = 0;
    world->reconnect = false;
    world->queue.count = world->queue.order = 0;
    world->writes_issued = world->faults_done = 0;
    world->crash_host = world->promoting = world->demoting = -1;
    world->prefer = 0;
    world->healed_at = 0;
    world->stalled_since = world->now;
    world->migration = (struct sim_migration){0};
    world->single = (struct sim_single){0};
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        host_reset(world, i);
    buffers_reset(&world->buffers);
    net_reset(world);
}

/* The superblock of one host of a pair that is in sync already. */
static void superblock_in_sync(struct metadata_superblock *superblock, uint64_t generation)
{
    superblock->generation.current = generation;
    superblock->flags = METADATA_CONSISTENT | METADATA_WAS_UPTODATE | METADATA_AL_CLEAN;
    superblock->epoch = 1;
    superblock->peer_bytes = superblock->layout.data_bytes;
}

void world_create_metadata(struct sim_host *host, uint64_t generation)
{
    struct sim_world *world = host->world;
    const struct metadata_superblock *peers = meta_truth(host_peer(host));
    uint64_t data_bytes = (uint64_t)world->profile.first_sectors * REPLICA_SECTOR_BYTES;
    struct metadata_superblock superblock = {0};
    struct metadata_layout layout = {0};

    if (world->counts.steps != world->steps_at_start && peers) /* as create-md with `size` does */
        data_bytes = peers->layout.data_bytes;
    if (grow_plan(host, data_bytes, &layout)) {
        sim_violation(world, "set-up", "metadata_plan refuses");
        return;
    }
    metadata_fresh(&layout, sim_random(world), world->profile.al_extents, &superblock);
    if (generation)
        superblock_in_sync(&superblock, generation);
    meta_reset(host, &superblock);
}

void world_create(struct sim_world *world)
{
    uint64_t generation = (sim_random(world) | 16) & ~UINT64_C(1);
    enum sim_start start = world->profile.start;

    world->steps_at_start = world->counts.steps;
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        grow_reset(&world->host[i]);
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        world_create_metadata(&world->host[i], start == START_IN_SYNC ? generation : 0);
        disk_reset(&world->host[i], start == START_FIRST_SYNC ? 1 + i : 1);
    }
    world->prepared = start == START_IN_SYNC;
    oracle_reset(world);
}
