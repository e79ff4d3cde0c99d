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
 * P6      oracle_roles          two writers of one lineage
 * P8, P9  oracle_directions     who may become a target, and who may be promoted
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
        oracle->acked_in_tenure[i] = oracle->forced[i] = false;
        oracle->tenure_generation[i] = 0;
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
    oracle->write[stamp] = (struct sim_write){
        .first = first, .count = count, .op = (uint8_t)op, .host = host->index, .fua = fua};
    return stamp;
}

/* Whatever the peer does on its own now, it cannot pass for what we have. */
static bool loss_recorded(struct sim_host *host)
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

    if (!loss_recorded(host)) {
        sim_violation(world, "P7",
                      "%c: write %u completes without the peer, and no new generation is on disk",
                      'A' + host->index, stamp);
        return;
    }
    for (uint32_t i = 0; i < write->count; i++) {
        if (!meta_marked(host, write->first + i)) {
            sim_violation(world, "P3",
                          "%c: write %u completes without the peer, sector %u has no mark on disk",
                          'A' + host->index, stamp, write->first + i);
            return;
        }
    }
}

static void floor_raise(struct sim_oracle *oracle, unsigned host, uint32_t sector, uint32_t stamp)
{
    if (oracle->floor[host][sector] < stamp)
        oracle->floor[host][sector] = stamp;
}

static void oracle_write_done(struct sim_host *host, const struct sim_request *request)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    struct sim_write *write = &oracle->write[request->stamp];
    bool local = host->status.disk == REPLICA_DISK_UPTODATE;
    bool there = write->peer_acked; /* unless a power cut has taken it since */

    if (!write->peer_acked)
        oracle_alone(host, request->stamp);
    for (uint32_t i = write->first; i < write->first + write->count; i++) {
        if (local && host->disk.visible[i] < request->stamp)
            sim_violation(world, "P1", "%c: write %u completes, its disk has %u in sector %u",
                          'A' + host->index, request->stamp, host->disk.visible[i], i);
        if (local && write->fua && host->disk.durable[i] < request->stamp)
            sim_violation(world, "P2", "%c: write %u (fua) completes, sector %u is not durable",
                          'A' + host->index, request->stamp, i);
        floor_raise(oracle, host->index, i, request->stamp);
        if (write->peer_acked && host_peer(host)->disk.visible[i] >= request->stamp)
            floor_raise(oracle, 1 - host->index, i, request->stamp);
        else
            there = false;
    }
    write->acked = write->on[host->index] = true;
    write->on[1 - host->index] = there;
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
    bool alone = loss_recorded(host);

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *node = &world->host[i];
        uint32_t sector = 0;

        if (i != host->index && alone)
            continue;
        if (i == host->index && host->status.disk != REPLICA_DISK_UPTODATE)
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

    for (uint32_t i = 0; i < request->count; i++) {
        uint32_t floor = oracle->floor[host->index][request->first + i];
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
        if (oracle->seen[host->index][sector] < stamp)
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
    for (uint32_t i = write->first; i < write->first + write->count; i++)
        if (host->disk.visible[i] < owed.stamp ||
            (write->fua && host->disk.durable[i] < owed.stamp))
            sim_violation(world, "P1", "%c: acknowledges write %u, sector %u has %u",
                          'A' + host->index, owed.stamp, i, host->disk.visible[i]);
    oracle->node_acked[host->index][oracle->node_acked_count[host->index]++] = owed.stamp;
    flight->stamp = owed.stamp;
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
        uint32_t stamp = oracle->node_acked[host->index][*verified];
        const struct sim_write *write = &oracle->write[stamp];

        for (uint32_t i = write->first; i < write->first + write->count; i++)
            if (host->disk.durable[i] < stamp) {
                sim_violation(world, "P2", "%c: acknowledges a flush, write %u is not durable",
                              'A' + host->index, stamp);
                return;
            }
    }
}

void oracle_sent(struct sim_host *host, const struct wire_message *message,
                 struct sim_flight *flight)
{
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
    default: /* the other messages promise nothing that is judged here */
        break;
    }
}

void oracle_received(struct sim_host *host, const struct sim_flight *flight)
{
    const struct wire_message *message = &flight->message;

    switch (message->type) {
    case WIRE_WRITE:
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
    case WIRE_FLUSH:
        owed_add(host, message, flight->stamp);
        break;
    case WIRE_WRITE_ACK:
        if (message->code == 0 && flight->stamp != SIM_STAMP_NONE)
            host->world->oracle.write[flight->stamp].peer_acked = true;
        break;
    default:
        break;
    }
}

/* ---- events of the world
 * -------------------------------------------------------------------------------------------- */

/* Unflushed writes may be gone; what a completed flush covered may not (it was checked then). */
void oracle_power_cut(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;
    uint32_t *floor = oracle->floor[host->index], *lost = oracle->lost[host->index];

    for (uint32_t i = 0; i < host->world->profile.sectors; i++) {
        if (floor[i] <= host->disk.visible[i])
            continue;
        if (lost[i] < floor[i])
            lost[i] = floor[i];
        floor[i] = host->disk.visible[i];
    }
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
    oracle->verified[host->index] = oracle->acked_count;
}

void oracle_guest_started(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;

    memset(oracle->seen[host->index], 0, host->world->profile.sectors * sizeof oracle->seen[0][0]);
    oracle->acked_in_tenure[host->index] = false;
}

/* ---- roles and directions
 * --------------------------------------------------------------------------------------------- */

static void oracle_roles(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_host *peer = host_peer(host);
    struct sim_oracle *oracle = &world->oracle;

    if (host->status.role != REPLICA_ROLE_PRIMARY || !peer->up ||
        peer->status.role != REPLICA_ROLE_PRIMARY)
        return;
    if (!world->profile.reckless)
        sim_violation(world, "P6", "both hosts are Primary");
    if (host->status.replication == REPLICA_REPLICATION_ESTABLISHED &&
        peer->status.replication == REPLICA_REPLICATION_ESTABLISHED)
        sim_violation(world, "P6", "both hosts are Primary and connected");
    if (oracle->acked_in_tenure[0] && oracle->acked_in_tenure[1] &&
        lineage_same(oracle->tenure_generation[0], oracle->tenure_generation[1]))
        sim_violation(world, "P6", "two writers of one lineage, generation %016llx",
                      (unsigned long long)oracle->tenure_generation[0]);
}

/* P9, at the moment in which a host becomes Primary. */
static void oracle_promoted(struct sim_host *host, const struct core_status *before)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;

    world->counts.promotions++;
    if (before->disk >= REPLICA_DISK_CONSISTENT)
        return;
    if (!oracle->forced[host->index]) {
        sim_violation(world, "P9", "%c: is promoted while %s", 'A' + host->index,
                      replica_disk_name(before->disk));
        return;
    }
    memcpy(oracle->floor[host->index], host->disk.visible,
           world->profile.sectors * sizeof oracle->floor[0][0]);
}

/* The host becomes a target: nothing that only it has may be overwritten. */
static void oracle_target(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    unsigned source = 1 - host->index;
    bool primary = host->status.role == REPLICA_ROLE_PRIMARY;

    world->counts.resyncs++;
    oracle->verified[host->index] = oracle->acked_count; /* equality judges what it gets now */
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
    TRACE(world, "%c: becomes a target", 'A' + host->index);
    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        uint32_t *floor = &oracle->floor[host->index][i];
        uint32_t has = oracle->floor[source][i];

        if (!primary && has < oracle->lost[source][i])
            has = oracle->lost[source][i];
        if (*floor > has)
            sim_violation(world, "P8",
                          "%c: becomes the target, and its sector %u has %u, acknowledged, over %u",
                          'A' + host->index, i, *floor, has);
        if (*floor > oracle->floor[source][i])
            *floor = oracle->floor[source][i];
    }
}

/* The target calls itself UpToDate: it has all that the source answers for, and so it answers for
 * it too - but for what the source went on with alone, which then is on record. */
static void oracle_target_done(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    unsigned source = 1 - host->index;
    bool alone = loss_recorded(host_peer(host));

    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        uint32_t has = oracle->floor[source][i];

        if (host->disk.visible[i] >= has) {
            floor_raise(oracle, host->index, i, has);
        } else if (!alone) {
            sim_violation(world, "P4", "%c: ends its resync, sector %u has %u, not %u",
                          'A' + host->index, i, host->disk.visible[i], has);
            return;
        }
    }
}

static bool is_target(const struct core_status *status)
{
    return status->replication == REPLICA_REPLICATION_WF_BITMAP_T ||
           status->replication == REPLICA_REPLICATION_SYNC_TARGET ||
           status->replication == REPLICA_REPLICATION_PAUSED_SYNC_T;
}

static bool in_sync(const struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        const struct core_status *status = &world->host[i].status;

        if (!world->host[i].up || status->replication != REPLICA_REPLICATION_ESTABLISHED ||
            status->disk != REPLICA_DISK_UPTODATE || status->out_of_sync_bytes)
            return false;
    }
    return true;
}

/* Both say that nothing differs: so it must be, and each answers for all that was acknowledged. */
static void oracle_met(struct sim_world *world)
{
    struct sim_oracle *oracle = &world->oracle;

    oracle_compare(world, false);
    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        if (oracle->floor[0][i] != oracle->floor[1][i]) {
            floor_raise(oracle, 0, i, oracle->floor[1][i]);
            floor_raise(oracle, 1, i, oracle->floor[0][i]);
        }
        oracle->lost[0][i] = oracle->lost[1][i] = 0;
    }
}

void oracle_stepped(struct sim_host *host, const struct core_status *before)
{
    struct sim_world *world = host->world;
    const struct core_status *now = &host->status;
    struct sim_oracle *oracle = &world->oracle;
    bool met;

    if (now->role == REPLICA_ROLE_PRIMARY && before->role != REPLICA_ROLE_PRIMARY)
        oracle_promoted(host, before);
    if (now->role != before->role)
        oracle->acked_in_tenure[host->index] = false;
    if (is_target(now) && !is_target(before))
        oracle_target(host);
    if (is_target(before) && now->disk == REPLICA_DISK_UPTODATE &&
        before->disk < REPLICA_DISK_CONSISTENT)
        oracle_target_done(host);
    oracle_roles(host);
    met = in_sync(world);
    if (met && (!oracle->established || sim_chance(world, 64)))
        oracle_met(world);
    oracle->established = met;
}

/* ---- equality
 * ------------------------------------------------------------------------------------------------------------
 */

/* A guest write of this sector is not completed yet, so the two may differ. */
static bool sector_open(const struct sim_world *world, uint32_t sector)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        const struct sim_guest *guest = &world->host[i].guest;

        if (disk_busy(&world->host[i].disk, sector))
            return true;
        for (unsigned k = 0; k < SIM_GUEST_DEPTH && guest->in_flight; k++) {
            const struct sim_request *request = &guest->request[k];

            if (request->used && request->stamp != SIM_STAMP_NONE && sector >= request->first &&
                sector < request->first + request->count)
                return true;
        }
    }
    return false;
}

void oracle_compare(struct sim_world *world, bool strict)
{
    const uint32_t *a = world->host[0].disk.visible, *b = world->host[1].disk.visible;

    if (memcmp(a, b, world->profile.sectors * sizeof *a) == 0)
        return;
    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        if (a[i] == b[i] || (!strict && sector_open(world, i)))
            continue;
        sim_violation(world, "P4", "Established and UpToDate, and sector %u is %u on A, %u on B", i,
                      a[i], b[i]);
        return;
    }
}

void oracle_finish(struct sim_world *world)
{
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        const struct sim_host *host = &world->host[i];

        for (uint32_t k = 0; k < world->profile.sectors; k++)
            if (host->disk.visible[k] < world->oracle.floor[i][k])
                sim_violation(world, "P1", "%c: sector %u ends as %u, %u was acknowledged",
                              'A' + (int)i, k, host->disk.visible[k], world->oracle.floor[i][k]);
        if (host->commands)
            sim_violation(world, "liveness", "%c: a command was never answered", 'A' + (int)i);
    }
    if (world->buffers.used)
        sim_violation(world, "buffers", "%u buffers are left over", world->buffers.used);
}

/* The operator gives this host's data up for good: it answers for nothing. */
void oracle_abandoned(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;
    size_t bytes = host->world->profile.sectors * sizeof oracle->floor[0][0];

    memset(oracle->floor[host->index], 0, bytes);
    memset(oracle->lost[host->index], 0, bytes);
    oracle->verified[host->index] = oracle->acked_count;
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
}
