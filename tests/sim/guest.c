/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest.c - the guest of a Primary: random reads, writes, flushes, discards and write-zeroes on a
 * few hot spots, so that requests overlap, with a bounded number under way.
 *
 * A guest dies with its host; what it had under way then has no known end. Everything it learns
 * goes to the oracle.
 */
#include "sim.h"

static struct sim_request *request_free(struct sim_guest *guest)
{
    for (unsigned i = 0; i < SIM_GUEST_DEPTH; i++)
        if (!guest->request[i].used)
            return &guest->request[i];
    return NULL;
}

static bool op_writes(enum replica_op op)
{
    return op == REPLICA_OP_WRITE || op == REPLICA_OP_DISCARD || op == REPLICA_OP_WRITE_ZEROES;
}

static void request_fill(struct sim_host *host, struct sim_request *request)
{
    struct sim_world *world = host->world;

    if (request->op == REPLICA_OP_READ || request->op == REPLICA_OP_WRITE)
        request->buffer = buffer_get(world, host->index, request->count);
    if (op_writes((enum replica_op)request->op)) {
        request->stamp = oracle_write(host, (enum replica_op)request->op, request->fua,
                                      request->first, request->count);
        world->writes_issued++;
        world->counts.writes++;
    }
    for (uint32_t i = 0; request->buffer && i < request->count; i++)
        buffer_stamps(world, request->buffer)[i] = request->stamp;
    if (request->op == REPLICA_OP_READ)
        oracle_read_issued(host, request);
    request->acked = world->oracle.acked_count;
}

bool guest_issue(struct sim_host *host, enum replica_op op, bool fua, uint32_t first,
                 uint32_t count)
{
    struct sim_world *world = host->world;
    struct sim_request *request = request_free(&host->guest);
    struct event event = {.kind = EVENT_REQUEST};

    if (!host->up || !request || core_room(host->core) == 0)
        return false;
    request->used = true;
    request->op = (uint8_t)op;
    request->host = host->index;
    request->fua = fua;
    request->serial++;
    request->first = first;
    request->count = count;
    request->stamp = SIM_STAMP_NONE;
    request->disk_next = request->link_next = first;
    request->buffer = NULL;
    request_fill(host, request);
    host->guest.in_flight++;
    TRACE(world, "%c: guest %s%s %u+%u stamp %u", 'A' + host->index, replica_op_name(op),
          fua ? " fua" : "", first, count, request->stamp);
    event.request.op = op;
    event.request.fua = fua;
    event.request.range.offset = (uint64_t)first * REPLICA_SECTOR_BYTES;
    event.request.range.length = count * REPLICA_SECTOR_BYTES;
    event.request.buffer = request->buffer;
    event.request.cookie = request;
    host_event(host, &event);
    return true;
}

/* ---- what must be refused ---------------------------------------------------------------------
 */

static void trespass_over(struct sim_host *host, int code)
{
    struct sim_request *request = &host->guest.trespass;

    request->used = false;
    if (code == 0 && request->host != SIM_HOSTS)
        sim_violation(host->world, "P6", "%c: is not Primary, and a guest's %s succeeds",
                      'A' + host->index, replica_op_name((enum replica_op)request->op));
    else if (code == 0)
        sim_violation(host->world, "P11", "%c: a %s of sectors %u+%u succeeds", 'A' + host->index,
                      replica_op_name((enum replica_op)request->op), request->first,
                      request->count);
}

/* Past the end, over the end by one, larger than any request, or in the middle of a sector. */
static struct range range_impossible(struct sim_host *host)
{
    uint64_t end = host->status.data_bytes;
    uint32_t length = (1 + sim_below(host->world, 8)) * REPLICA_SECTOR_BYTES;

    switch (sim_below(host->world, 5)) {
    case 0:
        return (struct range){.offset = end, .length = length};
    case 1:
        return (struct range){.offset = end + REPLICA_SECTOR_BYTES - length, .length = length};
    case 2:
        return (struct range){.offset = UINT64_MAX - REPLICA_SECTOR_BYTES + 1, .length = length};
    case 3:
        return (struct range){.offset = 1, .length = length};
    default:
        return (struct range){.length = length + 1};
    }
}

void guest_trespass(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_request *request = &host->guest.trespass;
    bool primary = host->status.role == REPLICA_ROLE_PRIMARY;
    struct event event = {.kind = EVENT_REQUEST};
    struct range range = {.length = REPLICA_SECTOR_BYTES * (1 + sim_below(world, 8))};
    struct replica_buffer *buffer = NULL;

    if (!host->up || !host->attached || host->frozen || core_room(host->core) == 0)
        return;
    if (primary)
        range = range_impossible(host);
    event.request.op = (enum replica_op)sim_below(world, REPLICA_OP_COUNT);
    if (primary && event.request.op == REPLICA_OP_FLUSH)
        return; /* has no range */
    if (event.request.op == REPLICA_OP_READ || event.request.op == REPLICA_OP_WRITE)
        buffer = buffer_get(world, host->index, range.length / REPLICA_SECTOR_BYTES + 1);
    *request = (struct sim_request){.used = true,
                                    .op = (uint8_t)event.request.op,
                                    .host = primary ? SIM_HOSTS : host->index,
                                    .first = (uint32_t)(range.offset / REPLICA_SECTOR_BYTES),
                                    .count = range.length / REPLICA_SECTOR_BYTES};
    event.request.range = range;
    event.request.buffer = buffer;
    event.request.cookie = request;
    host_event(host, &event);
    if (host->up && request->used)
        sim_violation(world, "P11", "%c: what cannot be is not refused at once", 'A' + host->index);
    request->used = false;
    buffer_put(world, buffer);
}

void guest_complete(struct sim_host *host, void *cookie, int code)
{
    struct sim_world *world = host->world;
    struct sim_request *request = cookie;
    struct sim_guest *guest = &host->guest;

    if (request == &guest->trespass && request->used) {
        trespass_over(host, code);
        return;
    }
    if (request < guest->request || request >= guest->request + SIM_GUEST_DEPTH || !request->used) {
        sim_violation(world, "core.h", "%c: ACTION_COMPLETE of no request", 'A' + host->index);
        return;
    }
    TRACE(world, "%c: guest %s %u+%u stamp %u completes: %s", 'A' + host->index,
          replica_op_name((enum replica_op)request->op), request->first, request->count,
          request->stamp, replica_code_name(code));
    if (code == 0)
        oracle_completed(host, request);
    else
        oracle_failed(host, request);
    guest->failed += code != 0;
    request->used = false;
    guest->in_flight--;
    buffer_put(world, request->buffer);
    guest_wake(host);
}

uint32_t guest_stamp_of(struct sim_host *host, enum replica_op op, uint32_t first, uint32_t count,
                        bool link)
{
    struct sim_request *oldest = NULL;

    for (unsigned i = 0; i < SIM_GUEST_DEPTH; i++) {
        struct sim_request *request = &host->guest.request[i];

        if (request->used && request->op == op &&
            first + count <= request->first + request->count &&
            first >= (link ? request->link_next : request->disk_next) &&
            (!oldest || request->stamp < oldest->stamp))
            oldest = request;
    }
    if (!oldest)
        return SIM_STAMP_NONE;
    if (link)
        oldest->link_next = first + count;
    else
        oldest->disk_next = first + count;
    return oldest->stamp;
}

/* ---- the random guest -------------------------------------------------------------------------
 */

static enum replica_op guest_draw_op(struct sim_world *world)
{
    uint32_t draw = sim_below(world, 100);

    if (draw < 72)
        return REPLICA_OP_WRITE;
    if (draw < 86)
        return REPLICA_OP_READ;
    if (draw < 92)
        return REPLICA_OP_FLUSH;
    return draw < 96 ? REPLICA_OP_DISCARD : REPLICA_OP_WRITE_ZEROES;
}

/* Some requests cover whole blocks, some begin or end in the middle of one. */
static void guest_draw_range(struct sim_host *host, uint32_t *first, uint32_t *count)
{
    struct sim_world *world = host->world;
    const struct sim_profile *profile = &world->profile;
    uint32_t size = grow_sectors(host);
    uint32_t stride = size / profile->spots;
    uint32_t spot = sim_below(world, profile->spots) * stride;

    *count = 1 + sim_below(world, sim_chance(world, 16) ? profile->spot_sectors : 12);
    *first = spot + sim_below(world, profile->spot_sectors);
    if (sim_chance(world, 2)) {
        *first -= *first % SIM_BLOCK_SECTORS;
        *count = (*count + SIM_BLOCK_SECTORS - 1) / SIM_BLOCK_SECTORS * SIM_BLOCK_SECTORS;
    }
    if (*first + *count > size)
        *first = size - *count;
}

/* It runs, and what it puts into its ring is taken. */
static bool guest_takes(const struct sim_guest *guest)
{
    return guest->running && !guest->paused && !guest->suspended && !guest->held;
}

void guest_wake(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_guest *guest = &host->guest;

    if (!guest_takes(guest) || guest->thinking || guest->in_flight >= guest->depth)
        return;
    if (world->writes_issued >= world->profile.writes_wanted)
        return;
    guest->thinking = true;
    world_at(world, SIM_GUEST, host->index,
             world->now + sim_below(world, (uint32_t)world->profile.think), guest->incarnation, 0);
}

void guest_think(struct sim_host *host, uint32_t incarnation)
{
    struct sim_world *world = host->world;
    struct sim_guest *guest = &host->guest;
    enum replica_op op = guest_draw_op(world);
    uint32_t first = 0, count = 0;

    if (guest->incarnation != incarnation)
        return;
    guest->thinking = false;
    if (!guest_takes(guest) || guest->in_flight >= guest->depth || host->frozen ||
        world->writes_issued >= world->profile.writes_wanted)
        return;
    if (op != REPLICA_OP_FLUSH)
        guest_draw_range(host, &first, &count);
    if (guest_issue(host, op,
                    op != REPLICA_OP_READ && op != REPLICA_OP_FLUSH && sim_chance(world, 12), first,
                    count))
        guest_wake(host);
}

void guest_start(struct sim_host *host)
{
    struct sim_guest *guest = &host->guest;

    guest->running = true;
    guest->paused = guest->suspended = guest->held = false;
    guest->thinking = false;
    guest->failed = 0;
    guest->incarnation++;
    guest->depth = 1 + sim_below(host->world, host->world->profile.depth);
    oracle_guest_started(host);
    guest_wake(host);
}

void guest_stop(struct sim_host *host)
{
    struct sim_guest *guest = &host->guest;

    guest->running = guest->paused = guest->thinking = false;
    guest->suspended = guest->held = false;
    guest->incarnation++;
    for (unsigned i = 0; i < SIM_GUEST_DEPTH; i++) {
        struct sim_request *request = &guest->request[i];

        if (!request->used)
            continue;
        request->used = false;
        buffer_put(host->world, request->buffer);
    }
    guest->in_flight = 0;
}
