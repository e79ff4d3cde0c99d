/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resize_follow.c - the follower's part of a resize, and the smaller of two nodes that meet. The
 * whole stands on top of resize.c.
 */
#include "resize_private.h"

#include <inttypes.h>

#include "err.h"

/* ---- following ----------------------------------------------------------------------------- */

static int may_follow(const struct core *core)
{
    bool forwards = core->command.phase == COMMAND_RESIZE_RUNS;

    if (core->command.phase != COMMAND_IDLE && !forwards)
        return REPLICA_E_BUSY;
    return core->role == REPLICA_ROLE_PRIMARY ? REPLICA_E_PEER_PRIMARY : resize_may_begin(core);
}

void follow_prepare(struct core *core, const struct wire_message *message)
{
    int code = may_follow(core);

    if (code) {
        resize_answer(core, message->tag, CORE_RESIZE_PREPARE, code,
                      "it is busy with something else; try again in a moment");
        return;
    }
    core->resize.peer_tag = message->tag;
    resize_measure(core, RESIZE_MEASURING);
}

void follow_measured(struct core *core, const struct event *event)
{
    struct replica_error error = {0};
    int code = resize_weigh(core, event, &error);

    core->resize.phase = code ? RESIZE_NONE : RESIZE_OFFERED;
    resize_answer(core, core->resize.peer_tag, CORE_RESIZE_PREPARE, code, code ? error.text : "");
}

void follow_copy(struct core *core, const struct wire_message *message)
{
    struct resize *resize = &core->resize;
    struct replica_error error;
    int code;

    resize->bytes = message->resize.data_bytes;
    resize->marked_end = message->resize.marked_end;
    if (resize->phase != RESIZE_OFFERED || resize->bytes <= core->size ||
        resize->bytes > resize->most || resize->bytes % REPLICA_BLOCK_BYTES ||
        resize->marked_end > resize->bytes || resize->marked_end % REPLICA_BLOCK_BYTES) {
        session_violation(core, "an impossible new size");
        return;
    }
    resize->phase = RESIZE_PEER_COPIES;
    code = resize_start_growing(core, &error);
    if (code == 0)
        return;
    resize->phase = RESIZE_NONE;
    resize_answer(core, resize->peer_tag, CORE_RESIZE_COPY, code, error.text);
}

void follow_commit(struct core *core)
{
    struct resize *resize = &core->resize;

    if (resize->phase != RESIZE_COPIED) {
        session_violation(core, "a new size out of turn");
        return;
    }
    resize->phase = RESIZE_SWITCHING;
    if (resize->marked_end > core->size && !MUTANT(follower_uptodate)) {
        core->disk = REPLICA_DISK_INCONSISTENT;
        core->super.flags &= ~(uint32_t)(METADATA_CONSISTENT | METADATA_WAS_UPTODATE);
    }
    grow_switch(core);
}

void follow_abort(struct core *core)
{
    struct resize *resize = &core->resize;

    if (resize->phase != RESIZE_OFFERED && resize->phase != RESIZE_PEER_COPIES &&
        resize->phase != RESIZE_COPIED)
        return;
    resize->phase = RESIZE_NONE;
    grow_abandon(core);
}

/* ---- a peer that is larger ----------------------------------------------------------------- */

void resize_differs(struct core *core, uint64_t theirs)
{
    struct resize *resize = &core->resize;

    if (theirs > core->size && !resize_busy(core)) {
        resize->bytes = resize->marked_end = theirs;
        resize_measure(core, RESIZE_CATCH_UP);
    }
    session_close(core, REPLICA_E_MISMATCH, false,
                  "%s: %s has %" PRIu64 " bytes of data, %s has %" PRIu64
                  "; the smaller one grows if its device has room",
                  core->config.resource, core->config.node, core->size, core->config.peer_node,
                  theirs);
}

void catch_up_fails(struct core *core, const char *text)
{
    struct resize *resize = &core->resize;

    resize->phase = RESIZE_NONE;
    core_log(core, LOG_LEVEL_ERROR,
             "%s has %" PRIu64 " bytes of data, %s needs as many and cannot: %.120s; grow the "
             "device (or make new disks equal, create-md), then connect",
             core->config.peer_node, resize->bytes, core->config.node, text);
    if (core->session.link == LINK_UP)
        session_close(core, REPLICA_E_MISMATCH, true, NULL);
    else
        session_disconnect(core);
}

void catch_up_measured(struct core *core, const struct event *event)
{
    struct replica_error error;
    int code = resize_weigh(core, event, &error);

    if (code == 0 && core->resize.most < core->resize.bytes)
        code = err_set(&error, REPLICA_E_NO_SPACE, "its device holds %" PRIu64 " bytes",
                       core->resize.most);
    if (code == 0)
        code = resize_start_growing(core, &error);
    if (code)
        catch_up_fails(core, error.text);
}
