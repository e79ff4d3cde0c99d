/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report.c - what a person sees of a core: connection, replication, status.
 */
#include "core_private.h"

#include <string.h>

enum replica_connection core_connection(const struct core *core)
{
    switch (core->session.link) {
    case LINK_IDLE:
        return REPLICA_CONNECTION_STANDALONE;
    case LINK_WAITING:
    case LINK_OPENING:
        return REPLICA_CONNECTION_CONNECTING;
    case LINK_UP:
        return session_live(core) || core->session.phase >= SESSION_PREPARE_MAP
                   ? REPLICA_CONNECTION_CONNECTED
                   : REPLICA_CONNECTION_CONNECTING;
    case LINK_CLOSING:
        break;
    }
    switch (core->session.last_code) {
    case REPLICA_E_TIMEOUT:
        return REPLICA_CONNECTION_TIMEOUT;
    case REPLICA_E_PROTOCOL:
        return REPLICA_CONNECTION_PROTOCOL_ERROR;
    case REPLICA_E_SHUTDOWN:
        return REPLICA_CONNECTION_DISCONNECTING;
    default: /* a code, not an enum of ours */
        return REPLICA_CONNECTION_NETWORK_FAILURE;
    }
}

enum replica_replication core_replication(const struct core *core)
{
    const struct session *session = &core->session;

    if (session->phase < SESSION_PREPARE_MAP)
        return REPLICA_REPLICATION_OFF;
    switch (session->side) {
    case SYNC_NONE:
        if (!session_live(core))
            return REPLICA_REPLICATION_OFF;
        return core->verify.running   ? REPLICA_REPLICATION_VERIFY_S
               : core->verify.serving ? REPLICA_REPLICATION_VERIFY_T
                                      : REPLICA_REPLICATION_ESTABLISHED;
    case SYNC_SOURCE:
        return !session_live(core) ? REPLICA_REPLICATION_WF_BITMAP_S
               : pause_holds(core) ? REPLICA_REPLICATION_PAUSED_SYNC_S
                                   : REPLICA_REPLICATION_SYNC_SOURCE;
    case SYNC_TARGET:
        return !session_live(core) ? REPLICA_REPLICATION_WF_BITMAP_T
               : pause_holds(core) ? REPLICA_REPLICATION_PAUSED_SYNC_T
                                   : REPLICA_REPLICATION_SYNC_TARGET;
    }
    return REPLICA_REPLICATION_OFF;
}

bool core_suspended(const struct core *core)
{
    return core->loss.phase != LOSS_NONE;
}

/* Only who asks knows how fast it may. */
static void pace_status(const struct core *core, struct core_status *status, bool asks)
{
    status->resync_rate = asks ? pace_rate(core) : core->config.resync_rate_max;
    status->resync_throttled = asks && pace_throttled(core);
}

static void verify_status(const struct core *core, struct core_status *status)
{
    const struct verify *verify = &core->verify;

    status->verify_differs_bytes = verify->differs_bytes;
    if (!verify->running && !verify->serving)
        return;
    status->resync_total_bytes =
        verify->running ? verify->stop - verify->start : verify->served_total;
    status->resync_done_bytes = verify->running ? verify->done_bytes : verify->served_done;
    status->resync_started = verify->started;
    pace_status(core, status, verify->running);
}

static void resync_status(const struct core *core, struct core_status *status)
{
    uint64_t total = core->resync.total_blocks * REPLICA_BLOCK_BYTES;

    if (!session_live(core) || core->session.side == SYNC_NONE)
        return;
    status->resync_total_bytes = total;
    status->resync_done_bytes =
        total > status->out_of_sync_bytes ? total - status->out_of_sync_bytes : 0;
    status->resync_started = core->resync.started;
    pace_status(core, status, core->session.side == SYNC_TARGET);
    status->resync_same_bytes = core->resync.same_bytes;
    status->resync_paused = core->pause.total;
    status->resync_paused_since = core->pause.since;
}

void core_status(const struct core *core, struct core_status *status)
{
    *status = (struct core_status){
        .role = core->role,
        .peer_role = core->peer_role,
        .disk = core->disk,
        .peer_disk = core->peer_disk,
        .connection = core_connection(core),
        .replication = core_replication(core),
        .io_suspended = core_suspended(core),
        .frozen = core->loss.phase == LOSS_FROZEN,
        .fencing = core->fence.phase == FENCE_RUNS,
        .paused_here = core->pause.ours,
        .paused_peer = core->pause.peers,
        .alone_since = core->role == REPLICA_ROLE_PRIMARY ? core->loss.since : 0,
        .data_bytes = core->size,
        .epoch = core->super.epoch,
        .generation = core->super.generation,
        .flags = core->super.flags,
        .out_of_sync_bytes = core->bitmap.set * REPLICA_BLOCK_BYTES,
        .requests_pending = core->requests_used,
        .peer_pending = core->session.owed_requests + core->resync.asked,
        .local_pending = core->local_pending,
        .read_bytes = core->counters.read_bytes,
        .written_bytes = core->counters.written_bytes,
        .sent_bytes = core->counters.sent_bytes,
        .received_bytes = core->counters.received_bytes,
        .al_writes = core->counters.al_writes,
        .bitmap_writes = core->counters.bitmap_writes,
        .last_link_code = core->session.last_code,
    };
    status->handover = handover_status(core, &status->handover_since);
    resync_status(core, status);
    verify_status(core, status);
}
