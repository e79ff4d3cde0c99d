/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * invalidate.c - an operator says what a disk is worth: invalidate, invalidate-remote, outdate.
 *
 *   invalidate         hang up (a peer that is Primary stops counting on this disk),
 *                      Inconsistent and FULL_SYNC durable, answer; the next handshake finds a
 *                      target in full
 *   invalidate-remote  INVALIDATE -> the peer makes the same durable -> ACK; we hang up and meet
 *                      anew
 *   outdate            not WAS_UPTODATE, durable; then Outdated, then the answer
 *
 * FULL_SYNC in the superblock counts for the whole bitmap, so that one write is all it takes.
 */
#include "core_private.h"

static void give_up_data(struct core *core)
{
    core->super.flags &=
        ~(uint32_t)(METADATA_CONSISTENT | METADATA_WAS_UPTODATE | METADATA_CRASHED_PRIMARY);
    if (!MUTANT(invalidate_unmarked)) {
        core->super.flags |= METADATA_FULL_SYNC;
        bitmap_set_all(&core->bitmap);
    }
    core->disk = REPLICA_DISK_INCONSISTENT;
    core_log(core, LOG_LEVEL_WARNING, "the data of %s are given up: a full sync from %s",
             core->config.node, core->config.peer_node);
}

void invalidate_begin(struct core *core)
{
    if (core->session.link == LINK_UP && !MUTANT(invalidate_stays))
        session_reconnect(core);
    give_up_data(core);
    core->command.phase = COMMAND_INVALIDATE_PERSIST;
    core->command.ticket = persist_super(core);
}

void outdate_begin(struct core *core)
{
    core->super.flags &= ~(uint32_t)METADATA_WAS_UPTODATE;
    core->command.phase = COMMAND_OUTDATE_PERSIST;
    core->command.ticket = persist_super(core);
}

/* A planted bug answers before what it answers for is durable. */
static bool is_early(const struct core *core)
{
    return core->command.phase == COMMAND_OUTDATE_PERSIST ? MUTANT(outdate_not_durable)
                                                          : MUTANT(invalidate_not_durable);
}

bool invalidate_pump(struct core *core)
{
    struct command *command = &core->command;

    if ((command->phase != COMMAND_INVALIDATE_PERSIST &&
         command->phase != COMMAND_OUTDATE_PERSIST) ||
        (!persist_super_due(core, command->ticket) && !is_early(core)))
        return false;
    if (command->phase == COMMAND_OUTDATE_PERSIST)
        core->disk = REPLICA_DISK_OUTDATED;
    command_answer(core, 0, "%s", "");
    return true;
}

/* ---- the peer's data ----------------------------------------------------------------------- */

void invalidate_remote_begin(struct core *core)
{
    struct command *command = &core->command;

    command->phase = COMMAND_INVALIDATE_ASK;
    command->generation++;
    core_send(core, WIRE_INVALIDATE, NULL)->tag = tag_make(TAG_COMMAND, 0, command->generation);
    liveness_ping_now(core);
}

static int may_give_up(const struct core *core)
{
    if (core->role == REPLICA_ROLE_PRIMARY && !MUTANT(invalidate_of_primary))
        return REPLICA_E_PEER_PRIMARY;
    if (!core_has_disk(core) || core->peer_disk != REPLICA_DISK_UPTODATE ||
        core->session.side == SYNC_SOURCE)
        return REPLICA_E_NOT_UPTODATE;
    return core->grant.type || core->command.phase != COMMAND_IDLE ? REPLICA_E_BUSY : 0;
}

void invalidate_asked(struct core *core, const struct wire_message *message)
{
    int code = may_give_up(core);
    struct wire_message *answer;

    if (code) {
        answer = core_send(core, WIRE_INVALIDATE_ACK, NULL);
        answer->tag = message->tag;
        answer->code = code;
        return;
    }
    give_up_data(core);
    core->grant =
        (struct grant){.type = WIRE_INVALIDATE, .tag = message->tag, .ticket = persist_super(core)};
}

void invalidate_granted(struct core *core)
{
    core_send(core, WIRE_INVALIDATE_ACK, NULL)->tag = core->grant.tag;
}

void invalidate_answered(struct core *core, const struct wire_message *message)
{
    struct command *command = &core->command;

    if (command->phase != COMMAND_INVALIDATE_ASK ||
        message->tag != tag_make(TAG_COMMAND, 0, command->generation)) {
        session_violation(core, "an answer to no question");
        return;
    }
    if (message->code == REPLICA_E_PEER_PRIMARY)
        command_answer(core, REPLICA_E_PEER_PRIMARY,
                       "%s: %s is Primary and its data are in use; make it Secondary first",
                       core->config.resource, core->config.peer_node);
    else if (message->code)
        command_answer(core, message->code, "%s: %s does not give its data up: %s",
                       core->config.resource, core->config.peer_node,
                       replica_code_name(message->code));
    else
        command_answer(core, 0, "%s", "");
    if (message->code == 0 && !MUTANT(invalidate_remote_stays))
        session_reconnect(core);
}
