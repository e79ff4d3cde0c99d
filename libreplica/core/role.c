/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * role.c - who may write: promotion, demotion and the ownership epoch (P6); new generations that
 * an operator asks for.
 *
 *   promote, connected    PROMOTE with the next epoch -> the peer persists it and grants -> we
 *                         persist epoch and PRIMARY -> Primary
 *                         when the peer is Primary: handover.c
 *   promote, alone        what the peer left on our disk is finished -> persist -> Primary
 *   demote                hold new requests, drain, confirm (flush both) -> persist -> DEMOTED
 *
 * A promotion that waits for the peer is asked again from the start when the link is lost: the
 * peer may be dead, and that is when its role is needed. Not so one that wants the role over the
 * link only (CONNECTED, TAKE_BACK): the peer of a migration lives.
 */
#include "core_private.h"

#include <inttypes.h>
#include <string.h>

/* ---- promote --------------------------------------------------------------------------------- */

/* Only the peer can say whether it has the role, and it cannot be asked. */
static void refuse_alone(struct core *core)
{
    if (core->command.flags & COMMAND_TAKE_BACK)
        command_answer(core, REPLICA_E_LINK,
                       "%s: the Primary role was handed over to %s, which is not connected. If it "
                       "is dead, or runs no copy of the guest: tapdrbdadm primary %s",
                       core->config.resource, core->config.peer_node, core->config.resource);
    else
        command_answer(core, REPLICA_E_LINK,
                       "%s: %s and %s are not connected, so the disk cannot be handed over; see "
                       "tapdrbdadm status %s, migrate when they are",
                       core->config.resource, core->config.node, core->config.peer_node,
                       core->config.resource);
}

/* We have the role. That is no good to a migration from a peer that may have newer data: the link
 * may be dead, and only the peer have noticed. */
static bool answer_primary(struct core *core)
{
    bool over_link = core->command.flags & COMMAND_CONNECTED;

    if (over_link && !session_live(core))
        refuse_alone(core);
    else if (over_link && core->liveness.pinged)
        return false;
    else
        command_answer(core, 0, "%s", "");
    return true;
}

void role_promote(struct core *core)
{
    core->command.phase = COMMAND_PROMOTE_WAIT;
    if (core->role != REPLICA_ROLE_PRIMARY || core->handover.phase != HANDOVER_NONE)
        return;
    if ((core->command.flags & COMMAND_CONNECTED) && session_live(core))
        liveness_ping_now(core);
    (void)answer_primary(core);
}

static bool is_forced(const struct core *core)
{
    return core->disk != REPLICA_DISK_UPTODATE;
}

/* Data that an operator declares good. Without the peer's agreement they are related to nothing
 * any more (P8): whoever has better data refuses them, and asks. */
static void force_uptodate(struct core *core)
{
    struct generation *generation = &core->super.generation;

    if (core->disk == REPLICA_DISK_INCONSISTENT) {
        bitmap_set_all(&core->bitmap);
        core->super.flags |= METADATA_FULL_SYNC;
        if (!session_live(core))
            memset(generation, 0, sizeof *generation);
    }
    lineage_new_current(generation, core_random(core), true);
    core->super.flags |= METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
    core_log(core, LOG_LEVEL_WARNING, "forced: %s data count as UpToDate from now on",
             replica_disk_name(core->disk));
}

static void take_role(struct core *core, uint64_t epoch)
{
    core->super.epoch = epoch;
    if (!MUTANT(primary_flag_forgotten))
        core->super.flags |= METADATA_PRIMARY;
    core->super.flags &= ~(uint32_t)METADATA_AL_CLEAN;
    core->session.discard &=
        MUTANT(discard_outlives); /* what is written from now on was not given up */
    if (is_forced(core))
        force_uptodate(core);
    core->command.phase = COMMAND_PROMOTE_PERSIST;
    core->command.ticket = persist_super(core);
}

static uint32_t promote_flags(const struct core *core)
{
    uint32_t flags = core->command.flags;

    return (flags & COMMAND_FORCE ? CORE_PROMOTE_FORCE : 0u) |
           (flags & COMMAND_TAKE_BACK ? CORE_PROMOTE_TAKE_BACK : 0u);
}

/* The peer of a migration lives, so it is neither done without nor fenced. */
static bool only_over_link(const struct core *core)
{
    return core->command.flags & (COMMAND_CONNECTED | COMMAND_TAKE_BACK);
}

static bool pump_wait(struct core *core)
{
    char text[ACTION_TEXT_MAX];
    struct wire_message *message;
    int code;

    if ((session_handshaking(core) && !MUTANT(promote_in_handshake)) || core->grant.type ||
        core->handover.phase != HANDOVER_NONE)
        return false;
    if (core->role == REPLICA_ROLE_PRIMARY)
        return answer_primary(core);
    if (!only_over_link(core) && !fence_promotes(core))
        return core->command.phase == COMMAND_IDLE;
    code = state_allows(core, COMMAND_PROMOTE, core->command.flags, text);
    if (code) {
        command_answer(core, code, "%s", text);
        return true;
    }
    if (!session_live(core)) {
        if (only_over_link(core)) {
            refuse_alone(core);
            return true;
        }
        if ((core->peer_used > 0 || !resync_idle(core)) && !MUTANT(promote_over_old))
            return false;
        take_role(core, core->super.epoch + !MUTANT(epoch_reused));
        return true;
    }
    core->command.phase = COMMAND_PROMOTE_ASK;
    core->command.epoch = core->super.epoch + 1;
    core->command.generation++;
    message = core_send(core, WIRE_PROMOTE, NULL);
    message->tag = tag_make(TAG_COMMAND, 0, core->command.generation);
    message->epoch = core->command.epoch;
    message->flags = promote_flags(core);
    liveness_ping_now(core); /* a dead peer is found out now, not in ten seconds */
    return true;
}

/* The peer is lost already. When it went after it had granted the role, nobody has fenced it. Who
 * forces the role past a fence that has failed has answered for it: the guest is not frozen next.
 */
static void begin_alone(struct core *core)
{
    core->loss.since = core->now;
    if (core->fence.phase == FENCE_NONE)
        fence_peer_lost(core);
    else if (core->fence.phase == FENCE_FAILED && (core->command.flags & COMMAND_FORCE))
        loss_resume(core);
}

static bool pump_persisted(struct core *core)
{
    bool forced = is_forced(core);

    if (!persist_super_due(core, core->command.ticket) && !MUTANT(promote_not_durable))
        return false;
    core->role = REPLICA_ROLE_PRIMARY;
    core->disk = REPLICA_DISK_UPTODATE;
    if (!(core->command.flags & COMMAND_TAKE_BACK)) /* else it is the guest of before */
        core->loss.unflushed = false;
    if (!session_live(core))
        begin_alone(core);
    core_log(core, LOG_LEVEL_NOTICE, "Primary under epoch %" PRIu64, core->super.epoch);
    command_answer(core, 0, "%s", "");
    if (forced && session_live(core)) /* now there is somebody to sync from */
        session_reconnect(core);
    else if (forced)
        core->mode = MODE_ALONE;
    return true;
}

void role_promote_answered(struct core *core, const struct wire_message *message)
{
    struct command *command = &core->command;

    if ((command->phase != COMMAND_PROMOTE_ASK && command->phase != COMMAND_PROMOTE_HANDOVER) ||
        message->tag != tag_make(TAG_COMMAND, 0, command->generation)) {
        session_violation(core, "an answer to no question");
        return;
    }
    if (message->code == 0 || MUTANT(refusal_unheard)) {
        core->peer_role = REPLICA_ROLE_SECONDARY;
        take_role(core, command->epoch);
    } else if (message->code == REPLICA_E_PEER_PRIMARY) {
        command_answer(core, REPLICA_E_PEER_PRIMARY,
                       "%s: the peer %s is Primary; make it Secondary first (tapdrbdadm secondary "
                       "%s on %s)",
                       core->config.resource, core->config.peer_node, core->config.resource,
                       core->config.peer_node);
    } else {
        command_answer(core, message->code, "%s: the peer %s does not grant the Primary role: %s",
                       core->config.resource, core->config.peer_node,
                       replica_code_name(message->code));
    }
}

/* ---- the peer promotes
 * --------------------------------------------------------------------------- */

static int may_grant(const struct core *core, const struct wire_message *message)
{
    enum command_phase phase = core->command.phase;
    bool we_first = strcmp(core->config.node, core->config.peer_node) < 0;

    if (phase == COMMAND_PROMOTE_PERSIST || (phase == COMMAND_PROMOTE_ASK && we_first))
        return REPLICA_E_PEER_PRIMARY;
    if (core->grant.type || phase == COMMAND_UUID_PERSIST || phase == COMMAND_UUID_ASK ||
        phase == COMMAND_UUID_NOTE)
        return REPLICA_E_BUSY;
    /* The superblock that it is about to write has the old epoch, and counts from then on. */
    if (core->disk == REPLICA_DISK_ATTACHING)
        return REPLICA_E_BUSY;
    if (message->epoch != core->super.epoch + 1)
        return REPLICA_E_READ_ONLY;
    if (core->peer_disk != REPLICA_DISK_UPTODATE &&
        !((message->flags & CORE_PROMOTE_FORCE) && core->disk == REPLICA_DISK_INCONSISTENT))
        return REPLICA_E_NOT_UPTODATE;
    return 0;
}

static void answer_promote(struct core *core, uint64_t tag, int code)
{
    struct wire_message *message = core_send(core, WIRE_PROMOTE_ACK, NULL);

    message->tag = tag;
    message->epoch = core->super.epoch;
    message->code = code;
}

void role_promote_asked(struct core *core, const struct wire_message *message)
{
    int code;

    if (core->role == REPLICA_ROLE_PRIMARY && !MUTANT(grant_while_primary)) {
        handover_asked(core, message);
        return;
    }
    code = may_grant(core, message);
    if (code) {
        answer_promote(core, message->tag, code);
        return;
    }
    core->super.epoch = message->epoch;
    if (!core_has_disk(core)) { /* nothing to write it on, and no Primary to become */
        core->peer_role = REPLICA_ROLE_PRIMARY;
        answer_promote(core, message->tag, 0);
        return;
    }
    core->grant =
        (struct grant){.type = WIRE_PROMOTE, .tag = message->tag, .ticket = persist_super(core)};
}

void role_peer_demoted(struct core *core, const struct wire_message *message)
{
    if (core->peer_role != REPLICA_ROLE_PRIMARY || message->epoch != core->super.epoch) {
        session_violation(core, "DEMOTED without being Primary");
        return;
    }
    core->peer_role = REPLICA_ROLE_SECONDARY;
}

/* ---- demote -------------------------------------------------------------------------------------
 */

void role_demote(struct core *core)
{
    core->command.phase = COMMAND_DEMOTE_DRAIN;
}

static bool pump_drain(struct core *core)
{
    loss_give_up(core); /* the peer may be lost, and I/O frozen, since the command began */
    if (!request_drained(core) && !MUTANT(demote_undrained))
        return false;
    if (!core_reachable(core)) {
        confirm_forget(core);
        core->role = REPLICA_ROLE_SECONDARY;
        request_unpark(core, REPLICA_E_READ_ONLY);
        command_demoted(core);
        return true;
    }
    core->command.phase = COMMAND_DEMOTE_CONFIRM;
    core->command.ticket = MUTANT(demote_unflushed) ? 0 : confirm_ticket(core);
    return true;
}

static bool pump_confirmed(struct core *core)
{
    loss_give_up(core);
    if (!core_reachable(core)) {
        core->command.phase = COMMAND_DEMOTE_DRAIN;
        return true;
    }
    if (!confirm_due(core, core->command.ticket) ||
        (session_handshaking(core) && !MUTANT(demote_in_handshake)) ||
        core->loss.phase != LOSS_NONE)
        return false;
    core->super.flags &= ~(uint32_t)METADATA_PRIMARY;
    core->command.phase = COMMAND_DEMOTE_PERSIST;
    core->command.ticket = persist_super(core);
    return true;
}

static bool pump_demoted(struct core *core)
{
    loss_give_up(core);
    if ((!persist_super_due(core, core->command.ticket) && core_has_disk(core) &&
         !MUTANT(demote_not_durable)) ||
        core->loss.phase != LOSS_NONE) /* else it would record the loss as a Secondary */
        return false;
    core->role = REPLICA_ROLE_SECONDARY;
    if (session_live(core))
        core_send(core, WIRE_DEMOTED, NULL)->epoch = core->super.epoch;
    core_log(core, LOG_LEVEL_NOTICE, "Secondary");
    request_unpark(core, REPLICA_E_READ_ONLY);
    command_demoted(core);
    return true;
}

/* ---- a new generation, by an operator
 * ------------------------------------------------------------ */

/* The peer may take it and the answer be lost, with this node too: so it is known here first. Else
 * what this node then goes on to alone would be no descendant of it. */
void role_new_uuid(struct core *core)
{
    struct command *command = &core->command;

    command->phase = COMMAND_UUID_NOTE;
    command->uuid = core_random(core) & ~(uint64_t)1;
    core->super.asked_uuid = MUTANT(asked_generation_forgotten) ? 0 : command->uuid;
    command->ticket = persist_super(core);
}

static bool pump_note(struct core *core)
{
    struct command *command = &core->command;
    struct wire_message *message;

    if (!persist_super_due(core, command->ticket))
        return false;
    command->phase = COMMAND_UUID_ASK;
    command->generation++;
    message = core_send(core, WIRE_NEW_UUID, NULL);
    message->tag = tag_make(TAG_COMMAND, 0, command->generation);
    message->value = command->uuid;
    message->flags = command->flags & COMMAND_CLEAR_BITMAP ? CORE_UUID_CLEAR : 0;
    liveness_ping_now(core);
    return true;
}

/* On both nodes alike. */
static void apply_uuid(struct core *core, uint64_t uuid, bool clear)
{
    struct generation *generation = &core->super.generation;

    lineage_new_current(generation, uuid, core->role == REPLICA_ROLE_PRIMARY);
    lineage_synced(generation);
    if (!clear)
        return;
    bitmap_clear_all(&core->bitmap);
    core->super.flags |= METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
    core->super.flags &= ~(uint32_t)(METADATA_FULL_SYNC | METADATA_CRASHED_PRIMARY);
}

/* The Primary's disk is lost: ours is the only copy from now on. */
static void take_over(struct core *core, uint64_t uuid)
{
    resync_abort(core);
    lineage_new_current(&core->super.generation, uuid, false);
    core->super.flags |= METADATA_FULL_SYNC;
    bitmap_set_all(&core->bitmap);
    core->peer_disk = REPLICA_DISK_DISKLESS;
    core_log(core, LOG_LEVEL_WARNING, "%s has lost its disk: %s holds the only copy",
             core->config.peer_node, core->config.node);
}

static void answer_uuid(struct core *core, uint64_t tag, int code)
{
    struct wire_message *answer = core_send(core, WIRE_NEW_UUID_ACK, NULL);

    answer->tag = tag;
    answer->code = code;
}

/* Busy: the data are all here, and it is not the moment. */
static int may_take_over(const struct core *core)
{
    if (core->peer_role != REPLICA_ROLE_PRIMARY || core->disk != REPLICA_DISK_UPTODATE)
        return REPLICA_E_NOT_UPTODATE;
    return core->session.side == SYNC_TARGET || core->grant.type ? REPLICA_E_BUSY : 0;
}

static int may_take_uuid(const struct core *core, const struct wire_message *message)
{
    bool clear = message->flags & CORE_UUID_CLEAR;

    if (message->flags & CORE_UUID_DISK_LOST)
        return may_take_over(core);
    if (core->grant.type || core->command.phase == COMMAND_UUID_PERSIST ||
        core->command.phase == COMMAND_PROMOTE_ASK ||
        core->command.phase == COMMAND_PROMOTE_HANDOVER ||
        core->command.phase == COMMAND_PROMOTE_PERSIST ||
        ((core->command.phase == COMMAND_UUID_NOTE || core->command.phase == COMMAND_UUID_ASK) &&
         strcmp(core->config.node, core->config.peer_node) < 0))
        return REPLICA_E_BUSY;
    if (core->session.side != SYNC_NONE || core->disk != core->peer_disk || message->value == 0 ||
        core->role == REPLICA_ROLE_PRIMARY)
        return REPLICA_E_STATE;
    return clear == (core->disk == REPLICA_DISK_INCONSISTENT) ? 0 : REPLICA_E_STATE;
}

void role_new_uuid_asked(struct core *core, const struct wire_message *message)
{
    int code;

    if (message->flags & CORE_UUID_DISK_LOST && core->grant.type == WIRE_NEW_UUID) {
        answer_uuid(core, core->grant.tag, REPLICA_E_IO); /* that disk is no more */
        core->grant.type = 0;
    }
    code = may_take_uuid(core, message);
    if (code) {
        answer_uuid(core, message->tag, code);
        return;
    }
    if (message->flags & CORE_UUID_DISK_LOST)
        take_over(core, message->value);
    else
        apply_uuid(core, message->value, message->flags & CORE_UUID_CLEAR);
    core->grant = (struct grant){.type = WIRE_NEW_UUID,
                                 .tag = message->tag,
                                 .ticket = persist_super(core),
                                 .bitmap_ticket = persist_bitmap(core)};
}

void role_new_uuid_answered(struct core *core, const struct wire_message *message)
{
    struct command *command = &core->command;

    if (tag_kind(message->tag) == TAG_LOSS) {
        loss_disk_answered(core, message);
        return;
    }
    if (command->phase != COMMAND_UUID_ASK ||
        message->tag != tag_make(TAG_COMMAND, 0, command->generation)) {
        session_violation(core, "an answer to no question");
        return;
    }
    core->super.asked_uuid = 0; /* on disk with the next superblock */
    if (message->code) {
        command_answer(core, message->code, "%s: the peer %s does not take a new generation: %s",
                       core->config.resource, core->config.peer_node,
                       replica_code_name(message->code));
        return;
    }
    if (!core_has_disk(core) && !MUTANT(new_uuid_without_disk)) {
        command_answer(core, REPLICA_E_IO, "%s: the disk of %s has failed; see the log",
                       core->config.resource, core->config.node);
        return;
    }
    apply_uuid(core, command->uuid, command->flags & COMMAND_CLEAR_BITMAP);
    command->phase = COMMAND_UUID_PERSIST;
    command->ticket = persist_super(core);
    command->cursor = persist_bitmap(core);
}

static void uptodate_by_uuid(struct core *core)
{
    if (core->super.flags & METADATA_WAS_UPTODATE)
        core->disk = REPLICA_DISK_UPTODATE;
}

static bool pump_uuid(struct core *core)
{
    if (!persist_super_due(core, core->command.ticket) ||
        !persist_bitmap_due(core, core->command.cursor))
        return false;
    uptodate_by_uuid(core);
    if (session_live(core))
        core->peer_disk = core->disk;
    command_answer(core, 0, "%s", "");
    return true;
}

/* ---- both
 * ------------------------------------------------------------------------------------------ */

/* What the peer asked for is durable: tell it. */
static bool pump_grant(struct core *core)
{
    struct grant *grant = &core->grant;

    if (!grant->type || (!persist_super_due(core, grant->ticket) && !MUTANT(grant_not_durable)) ||
        !persist_bitmap_due(core, grant->bitmap_ticket))
        return false;
    if (grant->type == WIRE_PROMOTE) {
        core->peer_role = REPLICA_ROLE_PRIMARY;
        answer_promote(core, grant->tag, 0);
    } else if (grant->type == WIRE_INVALIDATE) {
        invalidate_granted(core);
    } else {
        uptodate_by_uuid(core);
        if (!(core->super.flags & METADATA_FULL_SYNC))
            core->peer_disk = core->disk;
        answer_uuid(core, grant->tag, 0);
    }
    grant->type = 0;
    return true;
}

void role_link_lost(struct core *core)
{
    handover_link_lost(core);
    if (core->command.phase == COMMAND_PROMOTE_ASK)
        core->command.phase = COMMAND_PROMOTE_WAIT;
    else if (core->command.phase == COMMAND_UUID_NOTE || core->command.phase == COMMAND_UUID_ASK ||
             core->command.phase == COMMAND_INVALIDATE_ASK)
        command_answer(core, REPLICA_E_LINK,
                       "%s: the link to %s was lost; look at status, then try again",
                       core->config.resource, core->config.peer_node);
}

bool role_pump(struct core *core)
{
    bool moved = pump_grant(core);

    switch (core->command.phase) {
    case COMMAND_PROMOTE_WAIT:
        return pump_wait(core) || moved;
    case COMMAND_PROMOTE_PERSIST:
        return pump_persisted(core) || moved;
    case COMMAND_DEMOTE_DRAIN:
        return pump_drain(core) || moved;
    case COMMAND_DEMOTE_CONFIRM:
        return pump_confirmed(core) || moved;
    case COMMAND_DEMOTE_PERSIST:
        return pump_demoted(core) || moved;
    case COMMAND_UUID_NOTE:
        return pump_note(core) || moved;
    case COMMAND_UUID_PERSIST:
        return pump_uuid(core) || moved;
    case COMMAND_IDLE:
    case COMMAND_ATTACH_SLOTS:
    case COMMAND_ATTACH_ACTLOG:
    case COMMAND_ATTACH_BITMAP:
    case COMMAND_ATTACH_SAVE_BITMAP:
    case COMMAND_ATTACH_SAVE:
    case COMMAND_PROMOTE_ASK:
    case COMMAND_PROMOTE_HANDOVER:
    case COMMAND_UUID_ASK:
    case COMMAND_INVALIDATE_ASK:
    case COMMAND_INVALIDATE_PERSIST:
    case COMMAND_OUTDATE_PERSIST:
    case COMMAND_RESIZE_RUNS:
    case COMMAND_UNLINK:
    case COMMAND_ATTACH_MEET:
    case COMMAND_ATTACH_DRAIN:
    case COMMAND_ATTACH_CONFIRM:
    case COMMAND_DETACH_DRAIN:
    case COMMAND_DETACH_LOSS:
    case COMMAND_DETACH_BITMAP:
    case COMMAND_DETACH_SUPER:
    case COMMAND_DETACH_IDLE:
    case COMMAND_DOWN_BITMAP:
    case COMMAND_DOWN_SUPER:
        break;
    }
    return moved;
}
