/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * detach.c - letting go of the disk while the resource stays up.
 *
 *   Primary    new requests wait; those under way end; the peer makes a new generation durable in
 *              which every block counts as out of sync (loss.c); the guest goes on through it
 *   Secondary  the link closes, and clean metadata are written; an attach connects again
 *
 * Until the peer has answered, a Primary can still go back: if it refuses, nothing has happened. If
 * the link is lost, nobody knows whether it has taken over, and loss_peer makes sure that this
 * node's data count as the newer ones.
 */
#include "core_private.h"

#include <stdio.h>

void detach_begin(struct core *core)
{
    if (core->role == REPLICA_ROLE_PRIMARY) {
        core->command.phase = COMMAND_DETACH_DRAIN;
        return;
    }
    core->detached |= core->session.link != LINK_IDLE;
    if (core->session.link == LINK_UP)
        session_close(core, REPLICA_E_SHUTDOWN, true, "%s: the disk of %s is being detached",
                      core->config.resource, core->config.node);
    else
        session_disconnect(core);
    core->command.phase = COMMAND_DETACH_BITMAP;
    core->command.ticket = 0;
}

/* The answer of the peer is in loss_disk_answered, the loss of the link in loss_peer. */
static bool pump_loss(struct core *core)
{
    if (core->loss.phase != LOSS_NONE)
        return false;
    if (!session_live(core) || core->peer_disk != REPLICA_DISK_UPTODATE || core->loss.refused) {
        request_unpark(core, 0);
        command_answer(core, REPLICA_E_NOT_UPTODATE,
                       "%s: %s does not take over: its disk stays attached here; see the log",
                       core->config.resource, core->config.peer_node);
        return true;
    }
    core->disk = REPLICA_DISK_DETACHING;
    if (!MUTANT(detach_flags_stay))
        core->super.flags &= ~(uint32_t)(METADATA_CONSISTENT | METADATA_WAS_UPTODATE);
    core->command.ticket = persist_super(core);
    core->command.phase = COMMAND_DETACH_IDLE;
    request_unpark(core, 0);
    return true;
}

static bool pump_bitmap(struct core *core)
{
    if (core->session.link != LINK_IDLE || core->peer_used > 0 || !resync_idle(core) ||
        !verify_idle(core))
        return false;
    if (core->command.ticket == 0) {
        core->command.ticket = persist_bitmap(core);
        return true;
    }
    if (!persist_bitmap_due(core, core->command.ticket))
        return false;
    core->super.flags |= METADATA_AL_CLEAN;
    core->super.flags &= ~(uint32_t)METADATA_CONNECTED;
    core->command.phase = COMMAND_DETACH_SUPER;
    core->command.ticket = persist_super(core);
    return true;
}

static bool pump_idle(struct core *core)
{
    if (core->disk == REPLICA_DISK_DETACHING && !core->persist.dead &&
        !persist_super_due(core, core->command.ticket))
        return false;
    if ((core->local_pending > 0 || !persist_idle(core)) && !MUTANT(detach_early))
        return false;
    core->disk = REPLICA_DISK_DISKLESS;
    core->persist.dead = true; /* there is nothing to write to */
    core_log(core, LOG_LEVEL_NOTICE, "the disk is detached");
    command_answer(core, 0, "%s", "");
    return true;
}

/* It failed while it was being let go: so it is gone. */
static bool has_failed(const struct core *core)
{
    return core->disk == REPLICA_DISK_FAILED || core->disk == REPLICA_DISK_DISKLESS;
}

bool detach_pump(struct core *core)
{
    struct command *command = &core->command;

    switch (command->phase) {
    case COMMAND_DETACH_DRAIN:
        if (!has_failed(core) && session_live(core)) {
            if (!request_drained(core) || core->loss.phase != LOSS_NONE)
                return false;
            loss_disk(core);
            command->phase = COMMAND_DETACH_LOSS;
            return true;
        }
        break;
    case COMMAND_DETACH_LOSS:
        if (!has_failed(core))
            return pump_loss(core);
        break;
    case COMMAND_DETACH_BITMAP:
        if (!has_failed(core))
            return pump_bitmap(core);
        break;
    case COMMAND_DETACH_SUPER:
        if (!has_failed(core) && !persist_super_due(core, command->ticket))
            return false;
        core->disk = has_failed(core) ? core->disk : REPLICA_DISK_DETACHING;
        command->phase = COMMAND_DETACH_IDLE;
        return true;
    case COMMAND_DETACH_IDLE:
        return pump_idle(core);
    default: /* the phases of other commands */
        return false;
    }
    request_unpark(core, 0);
    if (has_failed(core))
        command->phase = COMMAND_DETACH_IDLE;
    else
        command_answer(core, REPLICA_E_LINK, "%s: the link to %s was lost: the disk stays attached",
                       core->config.resource, core->config.peer_node);
    return true;
}
