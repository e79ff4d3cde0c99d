/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * net.c - the link as the shell shows it to the core: authenticated streams of whole messages.
 *
 * Host 0 sorts first and is the one who dials. A stream has two ends; each host knows the number of
 * its present stream. In each direction messages keep their order. What a host has sent may still
 * arrive after it has closed; it is dropped once the receiver has let go of the stream. A black
 * hole (blocked lane) delays, as TCP does, until it is healed or an end gives up. An end that is
 * gone answers with a reset.
 */
#include <string.h>

#include "sim.h"

enum { HANDSHAKE_TIMEOUT_MS = 50 };

static struct sim_lane *lane_of(struct sim_host *host)
{
    return &host->world->net.lane[host->index];
}

static uint64_t net_latency(struct sim_world *world)
{
    return world->profile.link_base + sim_below(world, (uint32_t)world->profile.link_spread);
}

void net_reset(struct sim_world *world)
{
    struct sim_net *net = &world->net;

    for (unsigned i = 0; i < SIM_HOSTS; i++)
        net->lane[i] = (struct sim_lane){0};
    net->free = NULL;
    for (uint32_t i = SIM_FLIGHTS; i-- > 0;) {
        net->flights[i].next = net->free;
        net->free = &net->flights[i];
    }
    for (uint32_t i = 0; i < SIM_BLOCKS; i++)
        net->free_block[i] = net->blocks[SIM_BLOCKS - 1 - i];
    net->free_blocks = SIM_BLOCKS;
    net->streams = 0;
    net->half_open_next = false;
}

/* ---- messages under way --------------------------------------------------------------------- */

static struct sim_flight *flight_new(struct sim_host *host, enum sim_flight_kind kind,
                                     uint32_t stream)
{
    struct sim_net *net = &host->world->net;
    struct sim_flight *flight = net->free;

    if (!flight) {
        sim_violation(host->world, "bounded memory", "%u messages on the link at once",
                      SIM_FLIGHTS);
        return NULL;
    }
    net->free = flight->next;
    flight->kind = (uint8_t)kind;
    flight->stream = stream;
    flight->stamp = SIM_STAMP_NONE;
    flight->block = NULL;
    flight->buffer = NULL;
    flight->next = NULL;
    return flight;
}

static void flight_free(struct sim_world *world, struct sim_flight *flight)
{
    struct sim_net *net = &world->net;

    if (flight->block)
        net->free_block[net->free_blocks++] = flight->block;
    buffer_put(world, flight->buffer);
    flight->next = net->free;
    net->free = flight;
}

static void lane_schedule(struct sim_world *world, unsigned sender)
{
    struct sim_lane *lane = &world->net.lane[sender];

    if (lane->scheduled || lane->blocked || !lane->first)
        return;
    lane->scheduled = true;
    world_at(world, SIM_DELIVER, sender, lane->first->at, 0, 0);
}

static void lane_add(struct sim_host *host, struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    struct sim_lane *lane = lane_of(host);

    flight->at = world->now + net_latency(world);
    if (lane->slow_until > world->now && !world->healing)
        flight->at += lane->slow_until - world->now;
    if (flight->at < lane->last_at)
        flight->at = lane->last_at;
    lane->last_at = flight->at;
    if (lane->last)
        lane->last->next = flight;
    else
        lane->first = flight;
    lane->last = flight;
    lane_schedule(world, host->index);
}

static struct sim_flight *lane_take(struct sim_lane *lane)
{
    struct sim_flight *flight = lane->first;

    lane->first = flight->next;
    if (!lane->first)
        lane->last = NULL;
    return flight;
}

/* The bytes of a bitmap block are the core's only until the step's end. */
static bool flight_copy_block(struct sim_host *host, struct sim_flight *flight)
{
    struct sim_net *net = &host->world->net;

    if (flight->message.type != WIRE_BITMAP)
        return true;
    if (net->free_blocks == 0) {
        sim_violation(host->world, "bounded memory", "%u bitmap blocks on the link", SIM_BLOCKS);
        return false;
    }
    flight->block = net->free_block[--net->free_blocks];
    memcpy(flight->block, flight->message.bitmap_block, METADATA_BLOCK_BYTES);
    flight->message.bitmap_block = flight->block;
    return true;
}

/* Once through the bytes of the wire: what they do not carry must not be relied on. */
static bool flight_encode(struct sim_host *host, struct sim_flight *flight)
{
    uint8_t *bytes = host->world->net.wire;
    size_t length = wire_encode(&flight->message, bytes);
    struct wire_message decoded = {0};
    struct replica_error error = {0};
    uint32_t body = 0;
    int code = wire_decode_header(bytes, &decoded, &body, &error);

    if (code == 0)
        code = wire_decode_body(bytes + WIRE_HEADER_BYTES, body, &decoded, &error);
    if (code || length != WIRE_HEADER_BYTES + body ||
        decoded.data_bytes != flight->message.data_bytes) {
        sim_violation(host->world, "protocol", "%c: sends %s that cannot be read: %s",
                      'A' + host->index, wire_type_name(flight->message.type), error.text);
        return false;
    }
    flight->message = decoded;
    return true;
}

void net_send(struct sim_host *host, const struct action *action)
{
    const struct wire_message *message = &action->send.message;
    struct sim_flight *flight;

    TRACE(host->world, "%c: sends %s tag %llx %llu+%u epoch %llu code %d stream %u",
          'A' + host->index, wire_type_name(message->type), (unsigned long long)message->tag,
          (unsigned long long)message->range.offset / REPLICA_SECTOR_BYTES,
          message->range.length / REPLICA_SECTOR_BYTES, (unsigned long long)message->epoch,
          message->code, host->stream);
    if (host->stream == 0 || host->world->net.lane[host->index].cut == host->stream)
        return;
    if (message->data_bytes &&
        (!action->send.buffer ||
         action->send.buffer->sectors * REPLICA_SECTOR_BYTES < message->data_bytes)) {
        sim_violation(host->world, "core.h", "%c: a message without its data", 'A' + host->index);
        return;
    }
    flight = flight_new(host, FLIGHT_MESSAGE, host->stream);
    if (!flight)
        return;
    flight->message = *message;
    if (message->data_bytes) {
        flight->buffer = action->send.buffer;
        buffer_hold(flight->buffer);
    }
    oracle_sent(host, message, flight);
    if (host->world->profile.wire && !flight_encode(host, flight))
        return;
    if (flight_copy_block(host, flight))
        lane_add(host, flight);
}

void net_forge(struct sim_host *host, const struct wire_message *message)
{
    struct sim_flight *flight =
        host->stream ? flight_new(host, FLIGHT_MESSAGE, host->stream) : NULL;

    if (!flight)
        return;
    flight->message = *message;
    lane_add(host, flight);
}

/* ---- delivery -----------------------------------------------------------------------------------
 */

static void net_reset_peer(struct sim_host *host, uint32_t stream)
{
    struct sim_flight *flight = flight_new(host, FLIGHT_RESET, stream);

    if (flight)
        lane_add(host, flight);
}

void net_forget_owed(struct sim_host *host)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < host->owes; i++) {
        struct sim_owed owed = host->owed[i];

        if (owed.on_disk || (owed.type != WIRE_DISCARD && owed.type != WIRE_WRITE_ZEROES))
            continue;
        owed.stale = true;
        host->owed[kept++] = owed;
    }
    host->owes = kept;
}

static void stream_down(struct sim_host *host, int code)
{
    struct event event = {.kind = EVENT_LINK_DOWN};

    TRACE(host->world, "%c: link down, %s", 'A' + host->index, replica_code_name(code));
    host->stream = 0;
    net_forget_owed(host);
    event.link_down.code = code;
    host_event(host, &event);
}

/* Where the data part goes: the buffer that the core names, or one of the pool. */
static struct replica_buffer *data_place(struct sim_host *host, const struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    uint32_t sectors = flight->message.data_bytes / REPLICA_SECTOR_BYTES;
    struct replica_buffer *place = core_data_target(host->core, &flight->message);

    if (place && place->sectors < sectors) {
        sim_violation(world, "core.h", "%c: the data target is too small", 'A' + host->index);
        return NULL;
    }
    if (!place) {
        place = buffer_get(world, host->index, sectors);
        if (place)
            place->handed = true;
    }
    if (place)
        memcpy(buffer_stamps(world, place), buffer_stamps(world, flight->buffer),
               sectors * sizeof(uint32_t));
    return place;
}

/* The shell reads a message's data to where they belong: into the buffer of the guest's own read
 * that it answers. What is there when the stream ends stays there. */
void net_arrive_in_part(struct sim_host *host, const struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    uint32_t sectors = flight->message.data_bytes / REPLICA_SECTOR_BYTES;
    struct replica_buffer *place;

    if (!sectors || !host->up || host->stream != flight->stream)
        return;
    place = core_data_target(host->core, &flight->message);
    if (place && place->sectors >= sectors)
        memcpy(buffer_stamps(world, place), buffer_stamps(world, flight->buffer),
               sim_below(world, sectors) * sizeof(uint32_t));
}

static void net_message(struct sim_host *host, const struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    struct event event = {.kind = EVENT_MESSAGE};

    TRACE(world, "%c: gets %s tag %llx", 'A' + host->index, wire_type_name(flight->message.type),
          (unsigned long long)flight->message.tag);
    event.message.message = &flight->message;
    if (flight->message.data_bytes) {
        event.message.buffer = data_place(host, flight);
        if (!event.message.buffer)
            return;
    }
    oracle_received(host, flight);
    host_event(host, &event);
}

static void stream_up(struct sim_host *host, uint32_t stream)
{
    struct event event = {.kind = EVENT_LINK_UP};

    if (host->stream && sim_chance(host->world, 2))
        net_forget_owed(host); /* the shell is told of the new one alone */
    else if (host->stream)
        stream_down(host, REPLICA_E_LINK);
    if (!host->up || host->world->failed)
        return;
    TRACE(host->world, "%c: link up, stream %u", 'A' + host->index, stream);
    host->stream = stream;
    event.link_up.initiator = host->index == 0;
    host_event(host, &event);
}

static void net_accepted(struct sim_host *host, const struct sim_flight *flight)
{
    if (!host->up || host->process != flight->stamp)
        return;
    if (!host->accepting)
        net_reset_peer(host, flight->stream);
    else if (flight->stream > host->stream)
        stream_up(host, flight->stream);
}

static void net_arrive(struct sim_host *host, const struct sim_flight *flight)
{
    bool present = host->up && host->stream == flight->stream;

    switch ((enum sim_flight_kind)flight->kind) {
    case FLIGHT_OPEN:
        net_accepted(host, flight);
        break;
    case FLIGHT_MESSAGE:
        if (!present && host->up)
            net_reset_peer(host, flight->stream);
        else if (present && !single_message(host, flight))
            net_message(host, flight);
        break;
    case FLIGHT_END:
    case FLIGHT_RESET:
        if (present)
            stream_down(host, REPLICA_E_LINK);
        break;
    }
}

void net_deliver(struct sim_world *world, unsigned sender)
{
    struct sim_lane *lane = &world->net.lane[sender];
    struct sim_host *host = &world->host[1 - sender];
    struct sim_flight *flight;

    lane->scheduled = false;
    if (lane->blocked || !lane->first)
        return;
    if (lane->first->at > world->now) {
        lane_schedule(world, sender);
        return;
    }
    if (host->frozen) {
        lane->scheduled = true;
        world_at(world, SIM_DELIVER, sender, world->now + MS, 0, 0);
        return;
    }
    flight = lane_take(lane);
    lane_schedule(world, sender);
    net_arrive(host, flight);
    flight_free(world, flight);
}

/* ---- making a stream
 * ------------------------------------------------------------------------------- */

void net_connect(struct sim_host *host)
{
    struct sim_world *world = host->world;
    uint64_t time = 2 * net_latency(world);

    host->accepting = true;
    if (host->index != 0 || host->dialing)
        return;
    host->dialing = true;
    host->dial++;
    if (lane_of(host)->blocked || lane_of(host_peer(host))->blocked)
        time = HANDSHAKE_TIMEOUT_MS * MS;
    world_at(world, SIM_DIAL, host->index, world->now + time, host->dial, host->process);
}

void net_dialed(struct sim_host *host, uint32_t dial)
{
    struct sim_world *world = host->world;
    struct sim_host *peer = host_peer(host);
    bool blocked = lane_of(host)->blocked || lane_of(peer)->blocked;
    bool dialer_only, acceptor_only;
    struct sim_flight *open;
    uint32_t stream;

    if (!host->dialing || dial != host->dial)
        return;
    if (host->frozen) {
        world_at(world, SIM_DIAL, host->index, world->now + MS, dial, host->process);
        return;
    }
    host->dialing = false;
    if (blocked || !peer->up || !peer->accepting || peer->frozen) {
        stream_down(host, blocked || peer->frozen ? REPLICA_E_TIMEOUT : REPLICA_E_LINK);
        return;
    }
    stream = ++world->net.streams;
    dialer_only = world->net.half_open_next && sim_chance(world, 2);
    acceptor_only = world->net.half_open_next && !dialer_only;
    world->net.half_open_next = false;
    open = dialer_only ? NULL : flight_new(host, FLIGHT_OPEN, stream);
    if (open) {
        open->stamp = peer->process;
        lane_add(host, open);
    }
    if (acceptor_only)
        stream_down(host, REPLICA_E_TIMEOUT); /* it never learns that it succeeded */
    else
        stream_up(host, stream);
}

/* ---- losing it
 * ---------------------------------------------------------------------------------------- */

/* What is under way from this host is lost but for the first `keep` messages, with all that it
 * sends before it notices. The cut may go through one. */
static void lane_lose(struct sim_host *host, uint32_t stream, uint32_t keep, bool through)
{
    struct sim_world *world = host->world;
    struct sim_lane *lane = lane_of(host);
    struct sim_flight **link = &lane->first;
    bool first = through;

    lane->cut = stream;
    lane->last = NULL;
    while (*link) {
        struct sim_flight *flight = *link;

        if (flight->stream == stream && keep == 0) {
            *link = flight->next;
            if (first && flight->kind == FLIGHT_MESSAGE)
                net_arrive_in_part(host_peer(host), flight);
            first = false;
            flight_free(world, flight);
            continue;
        }
        if (flight->stream == stream)
            keep--;
        lane->last = flight;
        link = &flight->next;
    }
}

static void lane_cut(struct sim_host *host, uint32_t stream)
{
    lane_lose(host, stream, sim_below(host->world, 4), true);
}

void net_close(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_flight *flight;

    host->accepting = false;
    host->dialing = false;
    if (host->stream) {
        if (sim_chance(world, 4))
            lane_cut(host, host->stream);
        flight = flight_new(host, FLIGHT_END, host->stream);
        if (flight)
            lane_add(host, flight);
    }
    host->stream = 0;
    net_forget_owed(host);
    world_at(world, SIM_CLOSED, host->index, world->now + US, 0, host->process);
}

void net_closed(struct sim_host *host)
{
    if (host->frozen)
        world_at(host->world, SIM_CLOSED, host->index, host->world->now + MS, 0, host->process);
    else
        stream_down(host, 0);
}

void net_noticed(struct sim_host *host, uint32_t stream)
{
    if (host->frozen)
        world_at(host->world, SIM_LINK_DOWN, host->index, host->world->now + MS, stream,
                 host->process);
    else if (stream && host->stream == stream)
        stream_down(host, REPLICA_E_LINK);
}

void net_vanish(struct sim_host *host, bool silent)
{
    if (silent) {
        if (host->stream)
            lane_cut(host, host->stream);
    } else if (host->stream) {
        struct sim_flight *flight;

        if (sim_chance(host->world, 2))
            lane_cut(host, host->stream);
        flight = flight_new(host, FLIGHT_RESET, host->stream);
        if (flight)
            lane_add(host, flight);
    }
    host->stream = 0;
    host->accepting = host->dialing = false;
}

void net_drain(struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        while (world->net.lane[i].first)
            flight_free(world, lane_take(&world->net.lane[i]));
}

/* ---- faults
 * ---------------------------------------------------------------------------------------------- */

void net_cut_after(struct sim_host *host)
{
    lane_lose(host_peer(host), host->stream, 0, false);
    net_cut(host->world);
}

void net_cut(struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *host = &world->host[i];

        if (host->stream == 0)
            continue;
        lane_cut(host, host->stream);
        world_at(world, SIM_LINK_DOWN, i, world->now + net_latency(world), host->stream,
                 host->process);
    }
}

void net_half_open(struct sim_host *host)
{
    if (host->stream == 0)
        return;
    lane_cut(host, host->stream);
    world_at(host->world, SIM_LINK_DOWN, host->index, host->world->now, host->stream,
             host->process);
}

void net_block(struct sim_world *world, unsigned mask, uint64_t time)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (mask >> i & 1)
            world->net.lane[i].blocked = true;
    world_at(world, SIM_HEAL_LINK, 0, world->now + time, mask, 0);
}

void net_unblock(struct sim_world *world, unsigned mask)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        if (!(mask >> i & 1) || !world->net.lane[i].blocked)
            continue;
        world->net.lane[i].blocked = false;
        lane_schedule(world, i);
    }
}

void net_slow(struct sim_world *world, unsigned sender, uint64_t time)
{
    world->net.lane[sender].slow_until = world->now + time;
}
