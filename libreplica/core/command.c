/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * command.c - an operator's wishes, one at a time. What may run when is state.c's table; promote,
 * demote and new-current-uuid are in role.c, attach in attach.c.
 *
 * COMMAND_DOWN is a demotion, then a disconnect, then clean metadata.
 */
#include "core_private.h"

#include <stdarg.h>
#include <stdio.h>

static void answer(struct core *core, void *cookie, int code, const char *text)
{
    struct action *action = core_emit(core, ACTION_ANSWER);

    action->answer.cookie = cookie;
    action->answer.code = code;
    snprintf(action->answer.text, sizeof action->answer.text, "%s", text);
}

void command_answer(struct core *core, int code, const char *format, ...)
{
    char text[ACTION_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    core->command.phase = COMMAND_IDLE;
    answer(core, core->command.cookie, code, text);
}

static void unlink_peer(struct core *core)
{
    core->command.phase = COMMAND_UNLINK;
    session_disconnect(core);
}

void command_demoted(struct core *core)
{
    if (core->command.kind == COMMAND_DOWN)
        unlink_peer(core);
    else
        command_answer(core, 0, "%s", "");
}

static void run(struct core *core)
{
    switch (core->command.kind) {
    case COMMAND_ATTACH:
        attach_begin(core);
        break;
    case COMMAND_CONNECT:
        session_connect(core, core->command.flags & COMMAND_DISCARD_MY_DATA);
        command_answer(core, 0, "%s", "");
        break;
    case COMMAND_DISCONNECT:
        unlink_peer(core);
        break;
    case COMMAND_PROMOTE:
        role_promote(core);
        break;
    case COMMAND_DEMOTE:
    case COMMAND_DOWN:
        if (core->role == REPLICA_ROLE_PRIMARY)
            role_demote(core);
        else
            command_demoted(core);
        break;
    case COMMAND_NEW_UUID:
        role_new_uuid(core);
        break;
    case COMMAND_INVALIDATE:
        invalidate_begin(core);
        break;
    case COMMAND_INVALIDATE_REMOTE:
        invalidate_remote_begin(core);
        break;
    case COMMAND_OUTDATE:
        outdate_begin(core);
        break;
    case COMMAND_DETACH:
        detach_begin(core);
        break;
    case COMMAND_VERIFY:
        verify_begin(core);
        break;
    case COMMAND_RESIZE:
        resize_begin(core);
        break;
    case COMMAND_PAUSE_SYNC: /* these are answered before anything else is looked at */
    case COMMAND_RESUME_SYNC:
    case COMMAND_RESUME_IO:
    case COMMAND_KIND_COUNT:
        break;
    }
}

/* Whatever waits for the freeze to end may be a command itself, and a pause does not wait for one:
 * these do not queue. */
static bool is_urgent(enum command_kind kind)
{
    return kind == COMMAND_RESUME_IO || kind == COMMAND_PAUSE_SYNC || kind == COMMAND_RESUME_SYNC;
}

static void run_urgent(struct core *core, enum command_kind kind, void *cookie)
{
    char text[ACTION_TEXT_MAX] = "";
    int code = state_allows(core, kind, 0, text);

    if (code == 0 && kind == COMMAND_RESUME_IO)
        loss_resume(core);
    else if (code == 0)
        code = pause_set(core, kind == COMMAND_PAUSE_SYNC, text);
    answer(core, cookie, code, text);
}

/* A promotion waits for the end of a handover instead, and a disconnect is one. What a disk's
 * coming and going means depends on the role. */
static bool touches_role(enum command_kind kind)
{
    return kind == COMMAND_DEMOTE || kind == COMMAND_DOWN || kind == COMMAND_NEW_UUID ||
           kind == COMMAND_ATTACH || kind == COMMAND_DETACH;
}

void command_take(struct core *core, const struct event *event)
{
    char text[ACTION_TEXT_MAX];
    int code;

    if ((unsigned)event->command.kind >= COMMAND_KIND_COUNT) {
        answer(core, event->command.cookie, REPLICA_E_INVALID, "no such command");
        return;
    }
    if (core->down) {
        answer(core, event->command.cookie, REPLICA_E_SHUTDOWN, "the resource is down");
        return;
    }
    if (is_urgent(event->command.kind)) {
        run_urgent(core, event->command.kind, event->command.cookie);
        return;
    }
    if (core->command.phase != COMMAND_IDLE) {
        snprintf(text, sizeof text, "%s: another command is under way; try again when it is done",
                 core->config.resource);
        answer(core, event->command.cookie, REPLICA_E_BUSY, text);
        return;
    }
    if (resize_refuses(core, event->command.kind)) {
        snprintf(text, sizeof text, "%s: it is being resized; try again when that is done",
                 core->config.resource);
        answer(core, event->command.cookie, REPLICA_E_BUSY, text);
        return;
    }
    if (core->handover.phase != HANDOVER_NONE && touches_role(event->command.kind)) {
        snprintf(text, sizeof text,
                 "%s: the Primary role is being handed over to %s; try again in a moment",
                 core->config.resource, core->config.peer_node);
        answer(core, event->command.cookie, REPLICA_E_BUSY, text);
        return;
    }
    /* A promotion is judged when no handshake is in the way any more, in role.c, and after the
     * peer was fenced, where that is to be. */
    code =
        event->command.kind == COMMAND_PROMOTE && (session_handshaking(core) || fence_judges(core))
            ? 0
            : state_allows(core, event->command.kind, event->command.flags, text);
    if (code) {
        answer(core, event->command.cookie, code, text);
        return;
    }
    core->command.kind = event->command.kind;
    core->command.flags = event->command.flags;
    core->command.start = event->command.start;
    core->command.stop = event->command.stop;
    core->command.cookie = event->command.cookie;
    run(core);
}

/* The link is closed; go on with `down`, or say so. */
static bool pump_unlinked(struct core *core)
{
    struct command *command = &core->command;

    if (core->session.link != LINK_IDLE)
        return false;
    if (command->kind == COMMAND_DISCONNECT) {
        command_answer(core, 0, "%s", "");
        return true;
    }
    if (!core_has_disk(core)) {
        if (!core_disk_idle(core)) /* a failed disk may still do what it was asked */
            return false;
        core->down = true;
        command_answer(core, 0, "%s", "");
        return true;
    }
    if (core->peer_used > 0 || !resync_idle(core) || !verify_idle(core) || resize_busy(core))
        return false;
    command->phase = COMMAND_DOWN_BITMAP;
    command->ticket = persist_bitmap(core);
    return true;
}

bool command_pump(struct core *core)
{
    struct command *command = &core->command;

    if (command->phase == COMMAND_UNLINK)
        return pump_unlinked(core);
    if (command->phase == COMMAND_DOWN_BITMAP && persist_bitmap_due(core, command->ticket)) {
        core->super.flags |= METADATA_AL_CLEAN;
        core->super.flags &= ~(uint32_t)METADATA_CONNECTED;
        command->phase = COMMAND_DOWN_SUPER;
        command->ticket = persist_super(core);
        return true;
    }
    if (command->phase == COMMAND_DOWN_SUPER && persist_super_due(core, command->ticket) &&
        core->local_pending == 0) {
        core->down = true;
        command_answer(core, 0, "%s", "");
        return true;
    }
    return false;
}
