/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handover.c - a Primary gives its role to the peer, without a moment in which both have it (P6).
 *
 * `xl migrate` attaches the disk on the target while the guest still exists, suspended, on the
 * source. So a PROMOTE that finds a Primary is a question to that Primary's shell: do all that use
 * the disk here stand still, and will they stay so? Only the shell can know (a guest shut down for
 * suspend does; a running one never). Roles and epochs on the way, E being the present epoch:
 *
 *   the giver's phase   what it waits for            giver on disk    taker on disk   may write
 *   ------------------  ---------------------------  ---------------  --------------  ---------
 *   NONE                                             Primary, E       E               giver
 *   ASK                 the shell's answer           Primary, E       E               giver
 *   DRAIN               requests under way           Primary, E       E               (parked)
 *   CONFIRM             a flush of both nodes        Primary, E       E               (parked)
 *   PERSIST             its superblock               either           E               nobody
 *   NONE, then Secondary; PROMOTE_ACK is out         Secondary, E+1   E               nobody
 *                       the taker's superblock       Secondary, E+1   either          nobody
 *                                                    Secondary, E+1   Primary, E+1    taker
 *   REVERT              its superblock               either           E               (parked)
 *
 * What goes wrong, and where that leads:
 *
 *   the shell says no, or not in time    HANDOVER with code and reason; the giver stays Primary
 *   the link ends before PROMOTE_ACK     nobody was granted anything: REVERT, the giver stays
 *                                        Primary; the taker's command fails: it does not go
 *                                        on alone
 *   the giver's disk fails               the same, and its loss is handled as ever
 *   drain or flush takes too long        the same, by the giver's clock
 *   the giver dies before it is durable  it comes back as a crashed Primary
 *   the giver dies after it              both are Secondary, or the taker is Primary
 *   PROMOTE_ACK is lost with the link    both are Secondary: nobody writes until one asks again;
 *                                        the giver's shell does when its guest runs again, and
 *                                        then only over a link (TAKE_BACK), for the taker may
 *                                        have it
 *   the taker waits too long             it hangs up, which is the link's end for the giver
 *
 * TAKE_BACK is the same question the other way: the guest runs again where the role was given
 * away, because the migration has failed. The shell that is asked says yes when nothing that runs
 * uses the disk there; see core.h.
 */
#include "core_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* In units of the configured timeout: when the giver, and then the taker, gives up. */
enum { GIVER_TIMEOUTS = 3, TAKER_TIMEOUTS = 5 };

static uint64_t patience(const struct core *core, uint64_t since, unsigned timeouts)
{
    if (core->config.timeout > (UINT64_MAX - since) / timeouts)
        return UINT64_MAX;
    return since + core->config.timeout * timeouts;
}

/* ---- giver ----------------------------------------------------------------------------------- */

static void tell_taker(struct core *core, uint64_t tag, int code, const char *text)
{
    struct wire_message *message = core_send(core, WIRE_HANDOVER, NULL);

    message->tag = tag;
    message->refuse.code = code;
    snprintf(message->refuse.reason, sizeof message->refuse.reason, "%s", text);
}

static void tell_shell(struct core *core, bool gone)
{
    struct action *action = core_emit(core, ACTION_HANDOVER_END);

    action->handover_end.number = core->handover.number;
    action->handover_end.gone = gone;
}

bool handover_parks(const struct core *core)
{
    return core->handover.phase >= HANDOVER_DRAIN;
}

bool handover_half_durable(const struct core *core)
{
    return core->handover.phase == HANDOVER_PERSIST || core->handover.phase == HANDOVER_REVERT;
}

/* The role stays. What was parked goes on once PRIMARY is on disk again, if it ever was not. */
static void keep(struct core *core)
{
    struct handover *handover = &core->handover;
    enum handover_phase phase = handover->phase;

    if (phase == HANDOVER_PERSIST && !MUTANT(handover_back_unwritten)) {
        core->super.flags |= METADATA_PRIMARY;
        /* the peer has not heard of the new epoch, and goes on */
        if (session_live(core) && !MUTANT(handover_back_epoch))
            core->super.epoch = handover->epoch - 1;
        handover->ticket = persist_super(core);
    } else {
        handover->ticket = 0;
    }
    handover->phase = HANDOVER_REVERT;
}

static void refuse(struct core *core, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void refuse(struct core *core, int code, const char *format, ...)
{
    char text[ACTION_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    core_log(core, LOG_LEVEL_NOTICE, "the Primary role stays on %s: %s", core->config.node, text);
    tell_taker(core, core->handover.tag, code, text);
    keep(core);
}

/* 0, or why the question does not even go to the shell. */
static int may_ask(const struct core *core, const struct wire_message *message, const char **why)
{
    *why = "it is busy with another command; try again";
    if (core->handover.phase != HANDOVER_NONE || core->command.phase != COMMAND_IDLE ||
        core->grant.type || core->loss.phase != LOSS_NONE)
        return REPLICA_E_BUSY;
    *why = "writes may be lost that only the peer had when the link broke, and the guest's next "
           "flush has to tell it so; let it write (sync) first";
    if (core->loss.unflushed && !MUTANT(handover_unflushed))
        return REPLICA_E_BUSY;
    *why = "it has another ownership epoch";
    if (message->epoch != core->super.epoch + 1)
        return REPLICA_E_READ_ONLY;
    *why = "the disk over there is not UpToDate yet; wait for the resync";
    return core->peer_disk == REPLICA_DISK_UPTODATE ? 0 : REPLICA_E_NOT_UPTODATE;
}

void handover_asked(struct core *core, const struct wire_message *message)
{
    struct handover *handover = &core->handover;
    const char *why;
    char text[ACTION_TEXT_MAX];
    struct action *action;
    int code = may_ask(core, message, &why);

    if (code) {
        snprintf(text, sizeof text, "the peer %s is Primary and keeps the role: %s",
                 core->config.node, why);
        tell_taker(core, message->tag, code, text);
        return;
    }
    handover->phase = HANDOVER_ASK;
    handover->number++;
    handover->tag = message->tag;
    handover->epoch = message->epoch;
    handover->since = core->now;
    tell_taker(core, message->tag, 0, "");
    action = core_emit(core, ACTION_HANDOVER_ASK);
    action->handover_ask.number = handover->number;
    action->handover_ask.take_back = message->flags & CORE_PROMOTE_TAKE_BACK;
    core_log(core, LOG_LEVEL_NOTICE, "%s asks for the Primary role%s", core->config.peer_node,
             message->flags & CORE_PROMOTE_TAKE_BACK ? " back: its guest runs again" : "");
}

void handover_answered(struct core *core, uint32_t number, int code, const char *text)
{
    struct handover *handover = &core->handover;

    if (handover->phase != HANDOVER_ASK || handover->number != number)
        return; /* the question was withdrawn */
    if (code && !MUTANT(handover_of_running)) {
        refuse(core, code, "the peer %s is Primary and %s", core->config.node,
               text && *text ? text : "its disk is in use");
        return;
    }
    core_log(core, LOG_LEVEL_NOTICE,
             "handing the Primary role over to %s: waiting for %" PRIu32
             " requests, then for a flush of both nodes",
             core->config.peer_node, core->requests_used);
    handover->phase = HANDOVER_DRAIN;
}

static bool pump_drain(struct core *core)
{
    if (!request_drained(core) && !MUTANT(handover_undrained))
        return false;
    core->handover.phase = HANDOVER_CONFIRM;
    core->handover.ticket = confirm_ticket(core);
    return true;
}

static bool pump_confirm(struct core *core)
{
    struct handover *handover = &core->handover;

    if ((!confirm_due(core, handover->ticket) && !MUTANT(handover_unconfirmed)) ||
        core->loss.phase != LOSS_NONE)
        return false;
    core->super.flags &= ~(uint32_t)METADATA_PRIMARY;
    if (!MUTANT(handover_keeps_epoch))
        core->super.epoch = handover->epoch;
    handover->phase = HANDOVER_PERSIST;
    handover->ticket = persist_super(core);
    return true;
}

/* From here on only the peer can say who is Primary. */
static bool pump_persist(struct core *core)
{
    struct handover *handover = &core->handover;
    struct wire_message *message;

    if (!persist_super_due(core, handover->ticket) && core_has_disk(core) &&
        !MUTANT(handover_not_durable))
        return false;
    if (!MUTANT(handover_keeps_role))
        core->role = REPLICA_ROLE_SECONDARY;
    core->peer_role = REPLICA_ROLE_PRIMARY;
    message = core_send(core, WIRE_PROMOTE_ACK, NULL);
    message->tag = handover->tag;
    message->epoch = handover->epoch;
    tell_shell(core, true);
    handover->phase = HANDOVER_NONE;
    core_log(core, LOG_LEVEL_NOTICE,
             "Secondary: the Primary role was handed over to %s, epoch %" PRIu64 ", after %" PRIu64
             " ms",
             core->config.peer_node, handover->epoch, (core->now - handover->since) / 1000000);
    request_unpark(core, REPLICA_E_READ_ONLY);
    return true;
}

static bool pump_revert(struct core *core)
{
    if (!persist_super_due(core, core->handover.ticket) && core_has_disk(core))
        return false;
    core->handover.phase = HANDOVER_NONE;
    tell_shell(core, false);
    request_unpark(core, 0);
    return true;
}

static bool pump_late(struct core *core)
{
    struct handover *handover = &core->handover;

    if (handover->phase == HANDOVER_NONE || handover->phase >= HANDOVER_PERSIST ||
        core->now < patience(core, handover->since, GIVER_TIMEOUTS))
        return false;
    refuse(core, REPLICA_E_TIMEOUT,
           "the peer %s is Primary and keeps the role: its requests do not come to an end",
           core->config.node);
    return true;
}

/* ---- taker ----------------------------------------------------------------------------------- */

static bool is_answer(const struct core *core, const struct wire_message *message)
{
    const struct command *command = &core->command;

    return (command->phase == COMMAND_PROMOTE_ASK || command->phase == COMMAND_PROMOTE_HANDOVER) &&
           message->tag == tag_make(TAG_COMMAND, 0, command->generation);
}

void handover_told(struct core *core, const struct wire_message *message)
{
    struct command *command = &core->command;

    if (!is_answer(core, message)) {
        session_violation(core, "an answer to no question");
        return;
    }
    if (message->refuse.code) {
        command_answer(core, message->refuse.code, "%s: %s", core->config.resource,
                       message->refuse.reason);
        return;
    }
    command->phase = COMMAND_PROMOTE_HANDOVER;
    command->since = core->now;
    core_log(core, LOG_LEVEL_NOTICE, "waiting for %s to hand the Primary role over",
             core->config.peer_node);
}

static bool pump_wait(struct core *core)
{
    if (core->command.phase != COMMAND_PROMOTE_HANDOVER ||
        core->now < patience(core, core->command.since, TAKER_TIMEOUTS))
        return false;
    command_answer(core, REPLICA_E_TIMEOUT,
                   "%s: %s began to hand the Primary role over and does not come to an end; look "
                   "at its disk and its log",
                   core->config.resource, core->config.peer_node);
    session_close(core, REPLICA_E_TIMEOUT, false,
                  "%s: %s does not wait for the Primary role any longer", core->config.resource,
                  core->config.node);
    return true;
}

/* ---- both ------------------------------------------------------------------------------------ */

void handover_link_lost(struct core *core)
{
    if (core->handover.phase != HANDOVER_NONE && core->handover.phase != HANDOVER_REVERT) {
        core_log(core, LOG_LEVEL_WARNING,
                 "the link was lost before the Primary role was handed over: it stays on %s",
                 core->config.node);
        keep(core);
    }
    if (MUTANT(handover_taken_alone) && core->command.phase == COMMAND_PROMOTE_HANDOVER) {
        core->command.phase = COMMAND_PROMOTE_WAIT;
        core->command.flags &= ~(uint32_t)(COMMAND_CONNECTED | COMMAND_TAKE_BACK);
    }
    if (core->command.phase == COMMAND_PROMOTE_HANDOVER)
        command_answer(core, REPLICA_E_LINK,
                       "%s: the link to %s was lost while it handed the Primary role over; nobody "
                       "can say from here who has it. Look at status there",
                       core->config.resource, core->config.peer_node);
}

void handover_disk_failed(struct core *core)
{
    if (core->handover.phase == HANDOVER_NONE || core->handover.phase == HANDOVER_REVERT)
        return;
    refuse(core, REPLICA_E_IO, "the disk of %s has failed just now", core->config.node);
}

bool handover_pump(struct core *core)
{
    bool moved = pump_late(core) || pump_wait(core);

    switch (core->handover.phase) {
    case HANDOVER_DRAIN:
        return pump_drain(core) || moved;
    case HANDOVER_CONFIRM:
        return pump_confirm(core) || moved;
    case HANDOVER_PERSIST:
        return pump_persist(core) || moved;
    case HANDOVER_REVERT:
        return pump_revert(core) || moved;
    case HANDOVER_NONE:
    case HANDOVER_ASK:
        break;
    }
    return moved;
}

uint64_t handover_deadline(const struct core *core)
{
    const struct handover *handover = &core->handover;

    if (handover->phase != HANDOVER_NONE && handover->phase < HANDOVER_PERSIST)
        return patience(core, handover->since, GIVER_TIMEOUTS);
    if (core->command.phase == COMMAND_PROMOTE_HANDOVER)
        return patience(core, core->command.since, TAKER_TIMEOUTS);
    return UINT64_MAX;
}

enum replica_handover handover_status(const struct core *core, uint64_t *since)
{
    *since = core->handover.since;
    switch (core->handover.phase) {
    case HANDOVER_ASK:
        return REPLICA_HANDOVER_ASKING;
    case HANDOVER_DRAIN:
    case HANDOVER_CONFIRM:
        return REPLICA_HANDOVER_DRAINING;
    case HANDOVER_PERSIST:
        return REPLICA_HANDOVER_PERSISTING;
    case HANDOVER_REVERT:
    case HANDOVER_NONE:
        break;
    }
    *since = core->command.since;
    return core->command.phase == COMMAND_PROMOTE_HANDOVER ? REPLICA_HANDOVER_WAITING
                                                           : REPLICA_HANDOVER_NONE;
}
