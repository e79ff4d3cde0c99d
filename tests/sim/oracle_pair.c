/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle_pair.c - what must hold between the two hosts: who may be Primary, who may overwrite whom,
 * and when both must be equal. The floors that it judges by are explained in oracle.c.
 *
 * P6      oracle_roles          two writers of one lineage
 * P8      oracle_target         who may become a target
 * P9      oracle_promoted       who may be promoted
 * P4      oracle_compare        equality
 * pause   oracle_paused         a pause is known to both, and asks for nothing
 * verify  oracle_stepped        finds a difference only where a bit was flipped
 * P6      oracle_answered       a demotion is on disk when it is answered
 * detach  oracle_answered       nothing is under way any more
 * attach  oracle_acted          a disk that has failed can be attached when it has answered all
 */
#include <string.h>

#include "sim.h"

/* ---- events of the world
 * -------------------------------------------------------------------------------------------- */

/* From now on the guest of `host` can only see what is left here. */
static void oracle_unsee(struct sim_host *host, const uint32_t *left)
{
    uint32_t *seen = host->world->oracle.seen[host->index];

    for (uint32_t i = 0; i < host->world->profile.sectors; i++)
        if (seen[i] > left[i])
            seen[i] = left[i];
}

/* The peer had the only copy, and its power may be gone: what was read from it may be gone too, and
 * a read that waits for it finds what is left. */
static void oracle_robbed(struct sim_host *host)
{
    const uint32_t *left = host_peer(host)->disk.visible;

    oracle_unsee(host, left);
    for (uint32_t i = 0; i < SIM_GUEST_DEPTH; i++) {
        struct sim_request *request = &host->guest.request[i];

        if (!request->used || request->op != REPLICA_OP_READ)
            continue;
        for (uint32_t k = 0; k < request->count; k++)
            if (request->floor[k] > left[request->first + k])
                request->floor[k] = left[request->first + k];
    }
}

/* A Primary whose own disk was still a target: its guest's writes counted as the peer's alone. It
 * has crashed as any other, and should the end of that resync be on its disk, it comes back as the
 * one that goes on: without what neither had flushed. */
static void oracle_target_crashed(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;
    uint32_t *lost = oracle->lost[host->index];

    if (host->status.role != REPLICA_ROLE_PRIMARY || host->status.disk != REPLICA_DISK_INCONSISTENT)
        return;
    for (uint32_t i = oracle->verified[host->index]; i < oracle->acked_count; i++) {
        const struct sim_write *write = &oracle->write[oracle->acked[i]];

        for (uint32_t k = write->first; k < write->first + write->count; k++)
            if (lost[k] < oracle->acked[i])
                lost[k] = oracle->acked[i];
    }
}

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
    oracle_target_crashed(host);
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
    oracle->verified[host->index] = oracle->acked_count;
    if (host_peer(host)->status.disk < REPLICA_DISK_CONSISTENT)
        oracle_robbed(host_peer(host));
}

void oracle_guest_started(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;

    memset(oracle->seen[host->index], 0, host->world->profile.sectors * sizeof oracle->seen[0][0]);
    oracle->acked_in_tenure[host->index] = oracle->robbed[host->index] = false;
}

/* What it has seen there it may not unsee here. */
void oracle_guest_moved(const struct sim_host *from, struct sim_host *to)
{
    struct sim_oracle *oracle = &to->world->oracle;

    memcpy(oracle->seen[to->index], oracle->seen[from->index],
           to->world->profile.sectors * sizeof oracle->seen[0][0]);
    oracle->robbed[to->index] = oracle->robbed[from->index]; /* nor is it told any other way */
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
    /* One whose disk is worth nothing has written through the other, and cannot write now. */
    if (host->status.disk >= REPLICA_DISK_CONSISTENT &&
        peer->status.disk >= REPLICA_DISK_CONSISTENT && oracle->acked_in_tenure[0] &&
        oracle->acked_in_tenure[1] &&
        lineage_same(oracle->tenure_generation[0], oracle->tenure_generation[1]))
        sim_violation(world, "P6", "two writers of one lineage, generation %016llx",
                      (unsigned long long)oracle->tenure_generation[0]);
}

/* P6, at the moment in which a host becomes Primary: under an epoch that it has not had before, and
 * that stands on its disk, and on its peer's if that one was asked and has a disk. */
static void oracle_epoch(struct sim_host *host)
{
    struct sim_host *peer = host_peer(host);
    const struct metadata_superblock *ours = meta_truth(host), *theirs = meta_truth(peer);
    uint64_t *last = &host->world->oracle.epoch[host->index], epoch = host->status.epoch;

    if (!ours || ours->epoch != epoch || epoch <= *last)
        sim_violation(host->world, "P6", "%c: Primary under epoch %llu, %llu is on disk, %llu was",
                      'A' + host->index, (unsigned long long)epoch,
                      (unsigned long long)(ours ? ours->epoch : 0), (unsigned long long)*last);
    if (host->status.replication != REPLICA_REPLICATION_OFF && peer->up &&
        peer->status.replication != REPLICA_REPLICATION_OFF &&
        peer->status.disk >= REPLICA_DISK_INCONSISTENT && (!theirs || theirs->epoch < epoch))
        sim_violation(host->world, "P6", "%c: Primary under epoch %llu, its peer has %llu on disk",
                      'A' + host->index, (unsigned long long)epoch,
                      (unsigned long long)(theirs ? theirs->epoch : 0));
    *last = epoch;
}

/* P9, likewise: its disk says that it is good, or its operator has. */
static void oracle_promoted(struct sim_host *host, const struct core_status *before)
{
    const uint32_t good = METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
    const struct metadata_superblock *truth = meta_truth(host);

    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;

    world->counts.promotions++;
    oracle_epoch(host);
    policy_promoted(host);
    if (world->profile.reckless) /* a guest may go on above a disk that its node had lost */
        oracle_unsee(host, host->disk.visible);
    if (before->disk >= REPLICA_DISK_CONSISTENT && truth && (truth->flags & good) == good)
        return;
    if (!oracle->forced[host->index]) {
        sim_violation(world, "P9", "%c: is promoted while %s", 'A' + host->index,
                      replica_disk_name(before->disk));
        return;
    }
    memcpy(oracle->floor[host->index], host->disk.visible,
           world->profile.first_sectors * sizeof oracle->floor[0][0]);
}

/* The host becomes a target: nothing that only it has may be overwritten, unless its operator gave
 * just that up, or the policy after a split brain does: what it has marked since the two parted. */
static void oracle_target(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    unsigned source = 1 - host->index;
    bool by_policy = policy_gives_up(host);

    world->counts.resyncs++;
    oracle->verified[host->index] = oracle->acked_count; /* equality judges what it gets now */
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
    TRACE(world, "%c: becomes a target", 'A' + host->index);
    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        uint32_t *floor = &oracle->floor[host->index][i];
        uint32_t has = oracle->floor[source][i];

        if (has < world->host[source].disk.visible[i])
            has = world->host[source].disk.visible[i]; /* a resync whose end it has not told */
        if (has < oracle->lost[source][i])
            has = oracle->lost[source][i];
        if (*floor > has && !host->discarding && !(by_policy && meta_marked(host, i)))
            sim_violation(world, "P8",
                          "%c: becomes the target, and its sector %u has %u, acknowledged, over %u",
                          'A' + host->index, i, *floor, has);
        if (*floor > oracle->floor[source][i])
            *floor = oracle->floor[source][i];
    }
    host->discarding = false;
}

/* The target calls itself UpToDate: it has all that the source answers for, and so it answers for
 * it too - but for what the source went on with alone, which then is on record. */
static void oracle_target_done(struct sim_host *host)
{
    struct sim_world *world = host->world;
    struct sim_oracle *oracle = &world->oracle;
    unsigned source = 1 - host->index;
    bool alone = oracle_loss_recorded(host_peer(host));

    for (uint32_t i = 0; i < world->profile.sectors; i++) {
        uint32_t has = oracle->floor[source][i];

        if (host->disk.visible[i] >= has) {
            oracle_floor_raise(oracle, host->index, i, has);
        } else if (!alone) {
            sim_violation(world, "P4", "%c: ends its resync, sector %u has %u, not %u",
                          'A' + host->index, i, host->disk.visible[i], has);
            return;
        }
    }
}

/* A process ends whose resync may have come to its end on disk, though it has not counted it: the
 * next one does, and answers for what its source answers for and it has. (A resync whose beginning
 * is not on disk yet looks the same; what such a one has not, it will get.) */
void oracle_ended(struct sim_host *host)
{
    const struct metadata_superblock *truth = meta_truth(host);
    struct sim_oracle *oracle = &host->world->oracle;

    if (host->status.disk != REPLICA_DISK_INCONSISTENT || !truth ||
        !(truth->flags & METADATA_CONSISTENT) || !(truth->flags & METADATA_WAS_UPTODATE))
        return;
    for (uint32_t i = 0; i < host->world->profile.sectors; i++)
        if (host->disk.visible[i] >= oracle->floor[1 - host->index][i])
            oracle_floor_raise(oracle, host->index, i, oracle->floor[1 - host->index][i]);
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
        uint32_t a = oracle->floor[0][i], b = oracle->floor[1][i];

        oracle->floor[0][i] = oracle->floor[1][i] = a > b ? a : b;
        oracle->lost[0][i] = oracle->lost[1][i] = 0;
    }
}

static bool calls_itself_whole(struct sim_host *host)
{
    const struct metadata_superblock *truth = meta_truth(host);

    return !truth || truth->flags & METADATA_CONSISTENT;
}

static bool gets_data(const struct core_status *status)
{
    return status->replication == REPLICA_REPLICATION_SYNC_TARGET ||
           status->replication == REPLICA_REPLICATION_PAUSED_SYNC_T;
}

/* P3, P9: data of another moment land on a disk only after it says that it has them, and it counts
 * as whole only after it says that. */
static void oracle_says_so(struct sim_host *host, const struct core_status *before)
{
    const uint32_t whole = METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
    const struct core_status *now = &host->status;
    const struct metadata_superblock *truth = meta_truth(host);

    if (gets_data(now) && !gets_data(before) && calls_itself_whole(host))
        sim_violation(host->world, "P9", "%c: a resync begins on a disk that calls itself whole",
                      'A' + host->index);
    if (is_target(before) && now->disk == REPLICA_DISK_UPTODATE &&
        before->disk == REPLICA_DISK_INCONSISTENT && (!truth || (truth->flags & whole) != whole))
        sim_violation(host->world, "P9", "%c: is UpToDate, and its disk does not say so",
                      'A' + host->index);
}

/* Its peer had paused before this stream was there: so it was told before any resync. */
static void oracle_paused(struct sim_host *host)
{
    const struct sim_host *peer = host_peer(host);
    const struct core_status *status = &host->status;

    if (peer->up && peer->status.paused_here && host->stream > peer->paused_at &&
        (status->replication == REPLICA_REPLICATION_SYNC_SOURCE ||
         status->replication == REPLICA_REPLICATION_SYNC_TARGET))
        sim_violation(host->world, "pause", "%c: its peer has paused the resync, and it is %s",
                      'A' + host->index, replica_replication_name(status->replication));
}

/* A Primary whose lost disk has been replaced by the peer's. */
static bool lives_from_peer(const struct core_status *status)
{
    return status->role == REPLICA_ROLE_PRIMARY && status->disk < REPLICA_DISK_INCONSISTENT &&
           !status->io_suspended && status->connection == REPLICA_CONNECTION_CONNECTED;
}

/* A Primary without data of its own has lost the link to the only copy. */
static bool is_robbed(const struct core_status *before, const struct core_status *now)
{
    return now->role == REPLICA_ROLE_PRIMARY && before->role == REPLICA_ROLE_PRIMARY &&
           before->disk < REPLICA_DISK_CONSISTENT &&
           before->connection == REPLICA_CONNECTION_CONNECTED &&
           before->replication != REPLICA_REPLICATION_OFF && /* a handshake: nothing went over */
           before->replication != REPLICA_REPLICATION_WF_BITMAP_T &&
           before->replication != REPLICA_REPLICATION_WF_BITMAP_S &&
           now->connection != REPLICA_CONNECTION_CONNECTED;
}

void oracle_stepped(struct sim_host *host, const struct core_status *before)
{
    struct sim_world *world = host->world;
    const struct core_status *now = &host->status;
    struct sim_oracle *oracle = &world->oracle;
    bool met;

    if (now->role == REPLICA_ROLE_PRIMARY && before->role != REPLICA_ROLE_PRIMARY)
        oracle_promoted(host, before);
    if (is_robbed(before, now)) {
        oracle_robbed(host);
        oracle->robbed[host->index] = true;
    }
    if (now->peer_disk == REPLICA_DISK_DISKLESS && before->peer_disk > REPLICA_DISK_DISKLESS &&
        host_peer(host)->status.disk >= REPLICA_DISK_CONSISTENT)
        world->crossed = true;
    if (now->epoch + 1 < before->epoch) /* one of which the peer was not told may be taken back */
        sim_violation(world, "P6", "%c: its epoch falls from %llu to %llu", 'A' + host->index,
                      (unsigned long long)before->epoch, (unsigned long long)now->epoch);
    if (now->role != before->role)
        oracle->acked_in_tenure[host->index] = false;
    if (lives_from_peer(now) && !lives_from_peer(before))
        oracle_abandoned(host); /* what it held is the other one's now */
    if (is_target(now) && !is_target(before)) {
        if (before->replication == REPLICA_REPLICATION_OFF)
            policy_target(host);
        oracle_target(host);
    } else if (now->replication > REPLICA_REPLICATION_OFF) {
        host->discarding = false; /* there was nothing to give up; the next time is another one */
    }
    if (is_target(before) && now->disk == REPLICA_DISK_UPTODATE &&
        before->disk < REPLICA_DISK_CONSISTENT)
        oracle_target_done(host);
    if (now->verify_differs_bytes > before->verify_differs_bytes && !world->flipped)
        sim_violation(world, "verify", "%c: finds a difference of %llu bytes that is none",
                      'A' + host->index, (unsigned long long)now->verify_differs_bytes);
    oracle_roles(host);
    oracle_says_so(host, before);
    oracle_paused(host);
    policy_stepped(host, before);
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

    uint32_t size = grow_common(world);

    if (memcmp(a, b, size * sizeof *a) == 0 || (world->flipped && !strict))
        return;
    for (uint32_t i = 0; i < size; i++) {
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

/* A disk that fails while it is let go of is let go of all the same, and nothing is written to it.
 */
static bool may_have_failed(const struct sim_host *host)
{
    return host->disk.fails_until || host->disk.hangs_until ||
           host->world->single.kind == SINGLE_ERROR;
}

/* Whoever takes the role next, or takes the disk out, builds on the answer. (A disk that hangs is
 * given up with what it owes.) */
void oracle_answered(struct sim_host *host, enum command_kind kind)
{
    struct sim_world *world = host->world;
    const struct metadata_superblock *truth = meta_truth(host);

    if (kind == COMMAND_DEMOTE && host->status.disk >= REPLICA_DISK_CONSISTENT && truth &&
        (truth->flags & METADATA_PRIMARY))
        sim_violation(world, "P6", "%c: demote is answered, its disk calls it Primary",
                      'A' + host->index);
    if (kind == COMMAND_DETACH && host->status.role == REPLICA_ROLE_PRIMARY &&
        !may_have_failed(host) && calls_itself_whole(host))
        sim_violation(world, "detach", "%c: what it has let go of calls itself whole",
                      'A' + host->index);
    if (kind == COMMAND_DETACH && !world->profile.disk_timeout &&
        (host->disk.in_flight || host->meta.in_flight))
        sim_violation(world, "detach", "%c: detach is answered while I/O is under way",
                      'A' + host->index);
}

void oracle_acted(const struct sim_host *host)
{
    if (host->status.disk == REPLICA_DISK_FAILED && host->status.local_pending == 0 &&
        host->meta.in_flight == 0)
        sim_violation(host->world, "attach",
                      "%c: its disk has failed and owes nothing, and is not gone",
                      'A' + host->index);
}

/* The operator gives this host's data up for good: it answers for nothing. */
void oracle_abandoned(struct sim_host *host)
{
    struct sim_oracle *oracle = &host->world->oracle;
    size_t bytes = host->world->profile.sectors * sizeof oracle->floor[0][0];

    memset(oracle->floor[host->index], 0, bytes);
    memset(oracle->lost[host->index], 0, bytes);
    oracle->epoch[host->index] = 0;
    oracle->verified[host->index] = oracle->acked_count;
    oracle->node_verified[host->index] = oracle->node_acked_count[host->index];
}
