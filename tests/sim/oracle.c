/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle.c - what must hold, judged by what the disks hold and what the guests were told; never by
 * what a core believes.
 *
 * floor[host][sector] is the oldest stamp that this host's data may show. An acknowledged write
 * raises it on the host of the guest, and on the peer when the peer acknowledged too. It falls
 * only where that is nobody's fault but the world's: a power cut took writes that no flush covered
 * (lost[] then remembers what was known), or the operator gave the data up. Stamps grow in the
 * order of issue and overlapping writes run in that order, so "at least the floor" says it all.
 *
 * P1, P7  oracle_write_done     at each acknowledged write
 * P2      oracle_flush_done     at each acknowledged flush; oracle_sent at each FLUSH_ACK
 * P3, P4  oracle_alone          marks on disk; and equality after every recovery
 * P5      disk.c                no two overlapping writes at once; oracle_landed: none goes back
 * The rest, which is about the two hosts as a pair, is in oracle_pair.c.
 */
#include <string.h>

#include "sim.h"

/* ---- the list of guest writes
 * -------------------------------------------------------------------- */

void oracle_reset(struct sim_world *world)
{
    struct sim_oracle *oracle = &world->oracle;
    size_t bytes = world->profile.sectors * sizeof oracle->floor[0][0];

    oracle->writes = SIM_STAMP_FIRST;
    oracle->acked_count = 0;
    oracle->established = false;
    oracle->steps_at_now = 0;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        memset(oracle->floor[i], 0, bytes);
        memset(oracle->lost[i], 0, bytes);
        memset(oracle->seen[i], 0, bytes);
        oracle->verified[i] = 0;
        oracle->node_acked_count[i] = oracle->node_verified[i] = 0;
        oracle->acked_in_tenure[i] = oracle->forced[i] = oracle->robbed[i] = false;
        oracle->tenure_generation[i] = oracle->epoch[i] = 0;
        oracle->pace[i] = (struct sim_pace){0};
        oracle->policy[i] = (struct sim_policy){0};
    }
}

uint32_t oracle_write(struct sim_host *host, enum replica_op op, bool fua, uint32_t first,
                      uint32_t count)
{
    struct sim_oracle *oracle = &host->world->oracle;
    uint32_t stamp = oracle->writes;

    if (stamp >= SIM_WRITES) {
        sim_violation(host->world, "set-up", "more than %d writes in one schedule", SIM_WRITES);
        return SIM_STAMP_NONE;
    }
    oracle->writes++;
    oracle->write[stamp] = (struct sim_write){.first = first,
                                              .count = count,
                                              .op = (uint8_t)op,
                                              .host = host->index,
                                              .fua = fua,
                                              .peer_from = first,
                                              .peer_next = first};
    return stamp;
}

/* Whatever the peer does on its own now, it cannot pass for what we have. */
bool oracle_loss_recorded(struct sim_host *host)
{
    const struct metadata_superblock *ours = meta_truth(host);
    const struct metadata_superblock *peers = meta_truth(host_peer(host));

    return ours && (!peers || !(peers->flags & METADATA_CONSISTENT) ||
                    !lineage_same(ours->generation.current, peers->generation.current));
}

/* ---- P1, P3, P7: an acknowledged write
 * ---------------------------------------------------------------- */

/* Completed without the peer: its loss is on our disk, and so is a mark for every block. */
static void oracle_alone(struct sim_host *host, uint32_t stamp)
{
    struct sim_world *world = host->world;
    const struct sim_write *write = &world->oracle.write[stamp];

    if (!oracle_loss_recorded(host)) {
        sim_violation(world, "P7",
                      "%c: write %u completes without the peer, and no new generation is on disk",
                      'A' + host->index, stamp);
        return;
    }
    policy_alone(host, stamp);
    for (uint32_t i = write->peer_next; i < write->first + write->count; i++) {
        if (!meta_marked(host, i)) {
            sim_violation(world, "P3",
                          "%c: write %u completes without the peer, sector %u has no mark on disk",
                          'A' + host->index, stamp, i);
            return;
        }
    }
}

void oracle_floor_raise(struct sim_oracle *oracle, unsigned host, uint32_t sector, uint32_t stamp)
{
    if (oracle->floor[host][sector] < stamp)
        oracle->floor[host][sector] = stamp;
}

/* Completed without our disk: on the peer's it stands that ours is behind (P7), or on ours that it
 * is no good. */
static void oracle_diskless(struct sim_host *host, uint32_t stamp)
{
    const struct metadata_superblock *ours = meta_truth(host);
    const struct metadata_superblock *theirs = meta_truth(host_peer(host));

    if (ours && theirs && (ours->flags & METADATA_CONSISTENT) &&
        lineage_same(ours->generation.current, theirs->generation.current))
        sim_violation(host->world, "P7",
                      "%c: write %u completes without its disk, and the peer has not taken over",
                      'A' + host->index, stamp);
}

static void oracle_write_done(struct sim_host *host, const struct sim_request *request)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    struct sim_write *write = &oracle->write[request->stamp];
    bool local = host->status.disk == REPLICA_DISK_UPTODATE;
    bool peer_acked = !write->peer_gap && write->peer_next == write->first + write->count;
    bool peer_has = peer_acked; /* still: its power may be gone since it said so */

    if (!peer_acked && !write->peer_gap) /* else the resync that covers the gap may be over */
        oracle_alone(host, request->stamp);
    else if (host->status.disk < REPLICA_DISK_INCONSISTENT)
        oracle_diskless(host, request->stamp);
    for (uint32_t i = write->first; i < write->first + write->count; i++) {
        bool acked = i >= write->peer_from && i < write->peer_next;

        if (local && host->disk.visible[i] < request->stamp)
            sim_violation(world, "P1", "%c: write %u completes, its disk has %u in sector %u",
                          'A' + host->index, request->stamp, host->disk.visible[i], i);
        if (local && write->fua && host->disk.durable[i] < request->stamp)
            sim_violation(world, "P2", "%c: write %u (fua) completes, sector %u is not durable",
                          'A' + host->index, request->stamp, i);
        if (local)
            oracle_floor_raise(oracle, host->index, i, request->stamp);
        if (acked && host_peer(host)->disk.visible[i] >= request->stamp) {
            oracle_floor_raise(oracle, 1 - host->index, i, request->stamp);
            continue;
        }
        peer_has = false;
        if (acked && oracle->lost[1 - host->index][i] < request->stamp)
            oracle->lost[1 - host->index][i] = request->stamp;
    }
    write->acked = true;
    write->on[host->index] = local;
    write->on[1 - host->index] = peer_has;
    oracle->acked[oracle->acked_count++] = request->stamp;
    oracle->acked_in_tenure[host->index] = true;
    oracle->tenure_generation[host->index] = host->status.generation.current;
}

/* ---- P2: an acknowledged flush
 * ---------------------------------------------------------------------------- */

/* Is every sector of the write durable, as far as this host still answers for it? */
static bool write_durable(struct sim_host *host, uint32_t stamp, uint32_t *sector)
{
    const struct sim_oracle *oracle = &host->world->oracle;
    const struct sim_write *write = &oracle->write[stamp];

    for (uint32_t i = write->first; i < write->first + write->count; i++) {
        if (write->on[host->index] && oracle->floor[host->index][i] >= stamp &&
            host->disk.durable[i] < stamp) {
            *sector = i;
            return false;
        }
    }
    return true;
}

static void oracle_flush_done(struct sim_host *host, const struct sim_request *request)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    bool alone = oracle_loss_recorded(host);

    if (oracle->robbed[host->index])
        sim_violation(world, "P2", "%c: a flush completes over writes that its peer may have lost",
                      'A' + host->index);
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *node = &world->host[i];
        uint32_t sector = 0;

        if (i != host->index && alone)
            continue;
        /* until the peer has taken over, a disk that has failed may come back and pass for good */
        if (i == host->index && host->status.disk != REPLICA_DISK_UPTODATE &&
            oracle_loss_recorded(host_peer(host)))
            continue;
        for (; oracle->verified[i] < request->acked; oracle->verified[i]++) {
            uint32_t stamp = oracle->acked[oracle->verified[i]];

            if (!write_durable(node, stamp, &sector)) {
                sim_violation(world, "P2",
                              "%c: a flush completes, write %u is not durable on %c "
                              "(sector %u)",
                              'A' + host->index, stamp, 'A' + (int)i, sector);
                return;
            }
        }
    }
}

/* ---- P5: a guest's read
 * ------------------------------------------------------------------------------------- */

void oracle_read_issued(struct sim_host *host, struct sim_request *request)
{
    const struct sim_oracle *oracle = &host->world->oracle;

    unsigned from = host->status.disk == REPLICA_DISK_UPTODATE ? host->index : 1u - host->index;

    for (uint32_t i = 0; i < request->count; i++) {
        uint32_t floor = oracle->floor[from][request->first + i];
        uint32_t seen = oracle->seen[host->index][request->first + i];

        request->floor[i] = floor > seen ? floor : seen;
    }
}

static void oracle_read_done(struct sim_host *host, const struct sim_request *request)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    const uint32_t *stamps = buffer_stamps(world, request->buffer);

    world->counts.reads++;
    for (uint32_t i = 0; i < request->count; i++) {
        uint32_t sector = request->first + i, stamp = stamps[i];
        const struct sim_write *write = &oracle->write[stamp < SIM_WRITES ? stamp : 0];

        if (stamp < request->floor[i]) {
            sim_violation(world, "P1", "%c: a read of sector %u returns %u, it must be %u at least",
                          'A' + host->index, sector, stamp, request->floor[i]);
            return;
        }
        if (stamp == 0 || stamp >= oracle->writes ||
            (stamp >= SIM_STAMP_FIRST &&
             (sector < write->first || sector >= write->first + write->count))) {
            sim_violation(world, "P5", "%c: a read of sector %u returns %u, never written there",
                          'A' + host->index, sector, stamp);
            return;
        }
        if (stamp < SIM_STAMP_FIRST && sector >= world->profile.first_sectors)
            continue; /* what nobody ever wrote may change */
        if (oracle->seen[host->index][sector] < stamp && !write->failed)
            oracle->seen[host->index][sector] = stamp;
    }
}

void oracle_completed(struct sim_host *host, const struct sim_request *request)
{
    switch ((enum replica_op)request->op) {
    case REPLICA_OP_READ:
        oracle_read_done(host, request);
        break;
    case REPLICA_OP_FLUSH:
        host->world->counts.flushes++;
        oracle_flush_done(host, request);
        break;
    case REPLICA_OP_WRITE:
    case REPLICA_OP_DISCARD:
    case REPLICA_OP_WRITE_ZEROES:
        oracle_write_done(host, request);
        break;
    case REPLICA_OP_COUNT:
        break;
    }
    if (host->status.role != REPLICA_ROLE_PRIMARY && host->world->demoting != host->index)
        sim_violation(host->world, "P6", "%c: completes a guest's request and is not Primary",
                      'A' + host->index);
}

/* What a guest has read of a write that then fails may be there or not. */
void oracle_failed(struct sim_host *host, const struct sim_request *request)
{
    struct sim_oracle *oracle = &host->world->oracle;
    uint32_t *seen = oracle->seen[host->index];

    if (request->op == REPLICA_OP_FLUSH)
        oracle->robbed[host->index] = false;
    if (request->stamp == SIM_STAMP_NONE)
        return;
    oracle->write[request->stamp].failed = true;
    for (uint32_t i = request->first; i < request->first + request->count; i++)
        if (seen[i] == request->stamp)
            seen[i] = 0;
}

/* ---- what lands on a disk
 * --------------------------------------------------------------------------------------- */

void oracle_landed(struct sim_host *host, uint32_t sector, uint32_t stamp)
{
    struct sim_oracle *oracle = &host->world->oracle;

    if (stamp < oracle->floor[host->index][sector])
        sim_violation(host->world, "P5",
                      "%c: stale data lands on sector %u: %u over %u, and %u "
                      "was acknowledged",
                      'A' + host->index, sector, stamp, host->disk.visible[sector],
                      oracle->floor[host->index][sector]);
}

/* ---- what a Secondary says
 * -------------------------------------------------------------------------------------- */

static void owed_add(struct sim_host *host, const struct wire_message *message, uint32_t stamp)
{
    if (host->owes == OWED_MAX) {
        sim_violation(host->world, "bounded memory", "%c owes %d answers", 'A' + host->index,
                      OWED_MAX);
        return;
    }
    host->owed[host->owes++] =
        (struct sim_owed){.tag = message->tag,
                          .stamp = stamp,
                          .first = (uint32_t)(message->range.offset / REPLICA_SECTOR_BYTES),
                          .count = message->range.length / REPLICA_SECTOR_BYTES,
                          .type = message->type,
                          .acked = host->world->oracle.node_acked_count[host->index]};
}

static bool owed_take(struct sim_host *host, uint64_t tag, bool flush, struct sim_owed *owed)
{
    for (uint32_t i = 0; i < host->owes; i++) {
        if (host->owed[i].stale || host->owed[i].tag != tag ||
            (host->owed[i].type == WIRE_FLUSH) != flush)
            continue;
        *owed = host->owed[i];
        memmove(&host->owed[i], &host->owed[i + 1], (--host->owes - i) * sizeof host->owed[0]);
        return true;
    }
    sim_violation(host->world, "protocol", "%c: answers %s tag %llx that was not asked",
                  'A' + host->index, flush ? "a flush" : "a write", (unsigned long long)tag);
    return false;
}

/* The Primary sends a write: remember which one it is. */
static void sent_write(struct sim_host *host, const struct wire_message *message,
                       struct sim_flight *flight)
{
    uint32_t first = (uint32_t)(message->range.offset / REPLICA_SECTOR_BYTES);
    uint32_t count = message->range.length / REPLICA_SECTOR_BYTES;

    if (message->type == WIRE_WRITE && flight->buffer)
        flight->stamp = buffer_stamps(host->world, flight->buffer)[0];
    else
        flight->stamp = guest_stamp_of(
            host, message->type == WIRE_DISCARD ? REPLICA_OP_DISCARD : REPLICA_OP_WRITE_ZEROES,
            first, count, true);
}

/* P1: "committed" is said of what is there. */
static void sent_write_ack(struct sim_host *host, const struct wire_message *message,
                           struct sim_flight *flight)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    const struct sim_write *write;
    struct sim_owed owed;

    if (!owed_take(host, message->tag, false, &owed) || message->code != 0)
        return;
    write = &oracle->write[owed.stamp];
    for (uint32_t i = owed.first; i < owed.first + owed.count; i++)
        if (host->disk.visible[i] < owed.stamp ||
            (write->fua && host->disk.durable[i] < owed.stamp))
            sim_violation(world, "P1", "%c: acknowledges write %u, sector %u has %u",
                          'A' + host->index, owed.stamp, i, host->disk.visible[i]);
    if (oracle->node_acked_count[host->index] == SIM_PIECES) {
        sim_violation(world, "set-up", "more than %d pieces in one schedule", SIM_PIECES);
        return;
    }
    oracle->node_acked[host->index][oracle->node_acked_count[host->index]++] =
        (struct sim_piece){owed.stamp, owed.first, owed.first + owed.count};
    flight->stamp = owed.stamp;
    flight->first = owed.first;
    flight->end = owed.first + owed.count;
}

/* P2: a FLUSH_ACK covers every write acknowledged before the FLUSH came. */
static void sent_flush_ack(struct sim_host *host, const struct wire_message *message)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    uint32_t *verified = &oracle->node_verified[host->index];
    struct sim_owed owed;

    if (!owed_take(host, message->tag, true, &owed) || message->code != 0)
        return;
    for (; *verified < owed.acked; (*verified)++) {
        const struct sim_piece *piece = &oracle->node_acked[host->index][*verified];

        for (uint32_t i = piece->first; i < piece->end; i++)
            if (host->disk.durable[i] < piece->stamp) {
                sim_violation(world, "P2", "%c: acknowledges a flush, write %u is not durable",
                              'A' + host->index, piece->stamp);
                return;
            }
    }
}

void oracle_sent(struct sim_host *host, const struct wire_message *message,
                 struct sim_flight *flight)
{
    policy_sent(host, message);
    switch (message->type) {
    case WIRE_WRITE:
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
        sent_write(host, message, flight);
        break;
    case WIRE_WRITE_ACK:
        sent_write_ack(host, message, flight);
        break;
    case WIRE_FLUSH_ACK:
        sent_flush_ack(host, message);
        break;
    case WIRE_RESYNC_READ:
        if (host->status.replication == REPLICA_REPLICATION_PAUSED_SYNC_T)
            sim_violation(host->world, "pause", "%c: asks for resync data while it is paused",
                          'A' + host->index);
        break;
    default: /* the other messages promise nothing that is judged here */
        break;
    }
}

static void received_write_ack(struct sim_write *write, const struct sim_flight *flight)
{
    if (flight->first != write->peer_next) {
        write->peer_gap = true;
        write->peer_from = flight->first;
    }
    write->peer_next = flight->end;
}

void oracle_received(struct sim_host *host, const struct sim_flight *flight)
{
    const struct wire_message *message = &flight->message;

    policy_received(host, message);
    switch (message->type) {
    case WIRE_WRITE:
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
    case WIRE_FLUSH:
        owed_add(host, message, flight->stamp);
        break;
    case WIRE_WRITE_ACK:
        if (message->code == 0 && flight->stamp != SIM_STAMP_NONE)
            received_write_ack(&host->world->oracle.write[flight->stamp], flight);
        break;
    default:
        break;
    }
}
