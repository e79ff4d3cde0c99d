/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resize.c - a disk gets larger on both nodes, while the guest goes on.
 *
 * Both devices have grown already. One node leads: the Primary, or where there is none the one on
 * which the command was typed. A command that is typed on the Secondary is handed on (ASK).
 *
 *   leader                                     follower
 *   MEASURE  how large is the device now?
 *   OFFER    PREPARE ->                        MEASURING
 *                           <- PREPARE, most   OFFERED     no command but disconnect and down
 *   COPYING  COPY, bytes ->                    COPYING     all but the superblock (grow.c)
 *                           <- COPY            COPIED
 *   OWN      the same here, and the superblock
 *   COMMIT   COMMIT ->                         SWITCHING   the superblock
 *                           <- COMMIT          the new size counts
 *   the new size counts; the new area is copied from leader to follower by an ordinary resync
 *
 * Either node has the old size or the new one on disk, at every moment (grow.c). Where they are
 * cut off from each other in between, or one crashes, the leader may have the new size and the
 * follower the old one: nobody ever gets smaller, so at the next handshake the smaller one grows by
 * itself (CATCH_UP) - that there is room it has said before. The follower is UpToDate in its old
 * size until it switches, so a guest whose host dies meanwhile can start there.
 *
 * core->size, what a guest may use, changes on the leader when the follower has switched, or when
 * the follower is lost and the leader goes on alone.
 *
 * A Primary whose disk fails while it leads goes on through the follower, so it has to end what it
 * began: it hears the answer to its last question first. Before COMMIT it then gives up (ABORT).
 * From COMMIT on its disk has the new size and the follower gets it or is lost, so the new size
 * will count.
 */
#include "resize_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

bool resize_busy(const struct core *core)
{
    return core->resize.phase != RESIZE_NONE || core->grow.phase != GROW_NONE;
}

bool resize_refuses(const struct core *core, enum command_kind kind)
{
    return resize_busy(core) && kind != COMMAND_DISCONNECT && kind != COMMAND_DOWN &&
           kind != COMMAND_RESUME_IO;
}

uint64_t resize_oldest(const struct core *core)
{
    const struct resize *resize = &core->resize;

    return resize->phase == RESIZE_OFFER || resize->phase == RESIZE_COMMIT ? resize->asked_at
                                                                           : UINT64_MAX;
}

/* ---- messages ------------------------------------------------------------------------------ */

static uint64_t tag_of(const struct core *core)
{
    return tag_make(TAG_RESIZE, 0, core->resize.generation);
}

static void ask(struct core *core, enum core_resize_step step)
{
    struct resize *resize = &core->resize;
    struct wire_message *message = core_send(core, WIRE_RESIZE, NULL);

    message->tag = tag_of(core);
    message->flags = step | resize->flags << CORE_RESIZE_FLAG_SHIFT;
    message->resize.data_bytes = resize->bytes;
    message->resize.marked_end = resize->marked_end;
    resize->asked_at = core->now;
    liveness_ping_now(core);
}

void resize_answer(struct core *core, uint64_t tag, enum core_resize_step step, int code,
                   const char *text)
{
    struct wire_message *message = core_send(core, WIRE_RESIZE_ACK, NULL);

    message->tag = tag;
    message->flags = step;
    message->code = code;
    message->resize.data_bytes = core->resize.most;
    message->resize.marked_end = core->resize.stale_end;
    snprintf(message->resize.reason, sizeof message->resize.reason, "%s", text);
}

/* ---- the leader's end ---------------------------------------------------------------------- */

/* Whoever typed the command hears how it ended. */
static void lead_ends(struct core *core, int code, const char *text)
{
    struct resize *resize = &core->resize;

    resize->phase = RESIZE_NONE;
    if (resize->forwarded && session_live(core) && resize->session == core->session.number)
        resize_answer(core, resize->peer_tag, CORE_RESIZE_ASK, code, text);
    else if (!resize->forwarded && core->command.phase == COMMAND_RESIZE_RUNS)
        command_answer(core, code, "%s", text);
}

static void lead_fails(struct core *core, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void lead_fails(struct core *core, int code, const char *format, ...)
{
    char text[ACTION_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (core->resize.phase > RESIZE_OFFER && session_live(core))
        ask(core, CORE_RESIZE_ABORT);
    grow_abandon(core);
    lead_ends(core, code, text);
}

static void lead_without_disk(struct core *core)
{
    lead_fails(core, REPLICA_E_IO, "%s: the disk of %s has failed; see the log",
               core->config.resource, core->config.node);
}

/* The new size counts from now on. */
static void take_size(struct core *core)
{
    core->size = core->super.layout.data_bytes;
    core_log(core, LOG_LEVEL_NOTICE, "resized: %" PRIu64 " bytes now", core->size);
}

/* Both have the new size. Where blocks of it may differ, an ordinary resync begins. */
static void both_grown(struct core *core, enum sync_side side)
{
    bool differs = core->resize.marked_end > core->size;

    take_size(core);
    if (!differs)
        return;
    core->session.side = side;
    resync_begin(core);
}

/* From here on the follower may switch, and then lacks what is in the new area. */
static void commit(struct core *core)
{
    core->resize.phase = RESIZE_COMMIT;
    if (core->resize.marked_end > core->size)
        core->peer_disk = REPLICA_DISK_INCONSISTENT;
    if (MUTANT(size_before_follower))
        take_size(core);
    ask(core, CORE_RESIZE_COMMIT);
}

/* ---- leading ------------------------------------------------------------------------------- */

void resize_measure(struct core *core, enum resize_phase phase)
{
    core->resize.phase = phase;
    core->resize.session = core->session.number;
    core->resize.measuring++;
    core_emit(core, ACTION_MEASURE)->measure.serial = core->resize.measuring;
}

int resize_may_begin(const struct core *core)
{
    if (core->disk != REPLICA_DISK_UPTODATE || core->peer_disk != REPLICA_DISK_UPTODATE ||
        core->session.side != SYNC_NONE)
        return REPLICA_E_NOT_UPTODATE;
    return core->verify.running || core->verify.serving || core->grant.type ||
                   core->handover.phase != HANDOVER_NONE || resize_busy(core)
               ? REPLICA_E_BUSY
               : 0;
}

static void lead(struct core *core, uint64_t wanted, uint32_t flags)
{
    struct resize *resize = &core->resize;

    resize->generation++;
    resize->wanted = wanted;
    resize->flags = flags;
    resize->bytes = resize->marked_end = 0;
    resize_measure(core, RESIZE_MEASURE);
}

void resize_begin(struct core *core)
{
    struct command *command = &core->command;
    struct resize *resize = &core->resize;
    uint32_t flags = command->flags & COMMAND_ASSUME_CLEAN ? CORE_RESIZE_CLEAN : 0;

    if (resize_may_begin(core)) {
        command_answer(core, REPLICA_E_BUSY,
                       "%s: a verification or another change is under way; try again when it is "
                       "done",
                       core->config.resource);
        return;
    }
    command->phase = COMMAND_RESIZE_RUNS;
    resize->forwarded = false;
    if (core->peer_role != REPLICA_ROLE_PRIMARY) {
        lead(core, command->start, flags);
        return;
    }
    resize->generation++;
    resize->flags = flags;
    resize->bytes = command->start;
    resize->marked_end = 0;
    ask(core, CORE_RESIZE_ASK);
}

static void asked(struct core *core, const struct wire_message *message)
{
    int code = resize_may_begin(core);

    if (code == 0 && core->command.phase != COMMAND_IDLE)
        code = REPLICA_E_BUSY;
    if (code) {
        resize_answer(core, message->tag, CORE_RESIZE_ASK, code,
                      "the peer is busy with something else; try again in a moment");
        return;
    }
    core->resize.forwarded = true;
    core->resize.peer_tag = message->tag;
    lead(core, message->resize.data_bytes, message->flags >> CORE_RESIZE_FLAG_SHIFT);
}

/* What this node could hold, and where its old metadata end up inside the data. */
int resize_weigh(struct core *core, const struct event *event, struct replica_error *error)
{
    struct resize *resize = &core->resize;
    const struct metadata_layout *layout = &core->super.layout;
    struct metadata_layout grown;
    uint64_t most = 0;
    int code = event->measured.code;

    if (code)
        return err_set(error, code, "%s", event->measured.text);
    code =
        metadata_most(layout, event->measured.meta_bytes, event->measured.data_bytes, &most, error);
    if (code)
        return code;
    core->device_bytes = event->measured.data_bytes / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
    resize->most = most;
    resize->meta_bytes = event->measured.meta_bytes;
    resize->stale_end = core->super.stale_end;
    if (metadata_is_internal(layout) && most > layout->data_bytes &&
        metadata_grow(layout, resize->meta_bytes, most, &grown, NULL) == 0 &&
        metadata_moves(layout, &grown))
        resize->stale_end = layout->slot[METADATA_SLOTS - 1] + METADATA_BLOCK_BYTES;
    return 0;
}

static void lead_measured(struct core *core, const struct event *event)
{
    struct replica_error error;
    int code = resize_weigh(core, event, &error);

    if (code) {
        lead_fails(core, code, "%s: on %s: %.160s", core->config.resource, core->config.node,
                   error.text);
        return;
    }
    ask(core, CORE_RESIZE_PREPARE);
    core->resize.phase = RESIZE_OFFER;
}

/* The size that it shall be; 0 and the command is over if there is none. */
static uint64_t choose(struct core *core, uint64_t theirs)
{
    struct resize *resize = &core->resize;
    uint64_t most = resize->most < theirs ? resize->most : theirs;
    uint64_t wanted = resize->wanted / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
    const char *name = core->config.resource;

    if (resize->wanted && wanted < core->size)
        lead_fails(core, REPLICA_E_INVALID,
                   "%s: it has %" PRIu64 " bytes, and would lose what is past %" PRIu64
                   ": a disk is never made smaller; make a new one and copy",
                   name, core->size, wanted);
    else if (resize->wanted && wanted > most)
        lead_fails(core, REPLICA_E_NO_SPACE,
                   "%s: %" PRIu64 " bytes are wanted, the device of %s holds %" PRIu64
                   ", that of %s %" PRIu64 "; grow the devices first",
                   name, wanted, core->config.node, resize->most, core->config.peer_node, theirs);
    else if (!resize->wanted && most <= core->size)
        lead_fails(core, REPLICA_E_NO_SPACE,
                   "%s: it has %" PRIu64 " bytes; the device of %s holds %" PRIu64
                   ", that of %s %" PRIu64 ": grow both devices first",
                   name, core->size, core->config.node, resize->most, core->config.peer_node,
                   theirs);
    else if (resize->wanted && wanted == core->size)
        lead_fails(core, 0, "%s", "");
    else
        return resize->wanted ? wanted : most;
    return 0;
}

static void offered(struct core *core, const struct wire_message *message)
{
    struct resize *resize = &core->resize;
    uint64_t stale = message->resize.marked_end > resize->stale_end ? message->resize.marked_end
                                                                    : resize->stale_end;

    if (message->code) {
        lead_fails(core, message->code, "%s: on %s: %.160s", core->config.resource,
                   core->config.peer_node, message->resize.reason);
        return;
    }
    if ((message->resize.data_bytes | message->resize.marked_end) % REPLICA_BLOCK_BYTES) {
        session_violation(core, "an impossible new size");
        return;
    }
    resize->phase = RESIZE_COPYING;
    if (!core_has_disk(core)) {
        lead_without_disk(core);
        return;
    }
    resize->bytes = choose(core, message->resize.data_bytes);
    if (resize->bytes == 0)
        return;
    resize->marked_end = resize->bytes;
    if (resize->flags & CORE_RESIZE_CLEAN)
        resize->marked_end = stale < resize->bytes ? stale : resize->bytes;
    if (resize->flags & CORE_RESIZE_CLEAN && MUTANT(stale_is_clean))
        resize->marked_end = 0;
    ask(core, CORE_RESIZE_COPY);
}

int resize_start_growing(struct core *core, struct replica_error *error)
{
    struct grow_wish wish = {.data_bytes = core->resize.bytes,
                             .meta_bytes = core->resize.meta_bytes,
                             .marked_end = core->resize.marked_end};

    return grow_begin(core, &wish, error);
}

/* The follower has copied: the same here. */
static void peer_copied(struct core *core, const struct wire_message *message)
{
    struct replica_error error;
    int code = message->code;

    if (code) {
        lead_fails(core, code, "%s: on %s: %.160s", core->config.resource, core->config.peer_node,
                   message->resize.reason);
        return;
    }
    if (!core_has_disk(core)) {
        lead_without_disk(core);
        return;
    }
    core->resize.phase = RESIZE_OWN;
    code = resize_start_growing(core, &error);
    if (code)
        lead_fails(core, code, "%s: on %s: %.160s", core->config.resource, core->config.node,
                   error.text);
}

static void committed(struct core *core, const struct wire_message *message)
{
    if (message->code) { /* it has the old size: meet anew, and it catches up */
        session_close(core, message->code, false, "%s: %s could not take the new size: %s",
                      core->config.resource, core->config.peer_node,
                      replica_code_name(message->code));
        return;
    }
    both_grown(core, SYNC_SOURCE);
    lead_ends(core, 0, "");
}

/* ---- both ---------------------------------------------------------------------------------- */

void resize_measured(struct core *core, const struct event *event)
{
    struct resize *resize = &core->resize;

    if (event->measured.serial != resize->measuring || !core_has_disk(core))
        return;
    if (resize->phase == RESIZE_CATCH_UP && core->grow.phase == GROW_NONE)
        catch_up_measured(core, event);
    else if (resize->phase == RESIZE_MEASURE)
        lead_measured(core, event);
    else if (resize->phase == RESIZE_MEASURING)
        follow_measured(core, event);
}

void resize_asked(struct core *core, const struct wire_message *message)
{
    enum core_resize_step step = message->flags & CORE_RESIZE_STEP_MASK;

    if (step > CORE_RESIZE_PREPARE && message->tag != core->resize.peer_tag) {
        session_violation(core, "a step of no resize");
        return;
    }
    switch (step) {
    case CORE_RESIZE_ASK:
        asked(core, message);
        break;
    case CORE_RESIZE_PREPARE:
        follow_prepare(core, message);
        break;
    case CORE_RESIZE_COPY:
        follow_copy(core, message);
        break;
    case CORE_RESIZE_COMMIT:
        follow_commit(core);
        break;
    case CORE_RESIZE_ABORT:
        follow_abort(core);
        break;
    case CORE_RESIZE_STEP_MASK:
        session_violation(core, "an unknown step of a resize");
        break;
    }
}

/* The leader may fail at any of its steps, so the command that was handed on may end at any. */
static bool is_following(const struct resize *resize)
{
    return resize->phase == RESIZE_NONE || resize->phase >= RESIZE_MEASURING;
}

void resize_answered(struct core *core, const struct wire_message *message)
{
    struct resize *resize = &core->resize;
    enum core_resize_step step = message->flags & CORE_RESIZE_STEP_MASK;
    bool ours = message->tag == tag_of(core);

    if (ours && step == CORE_RESIZE_ASK && core->command.phase == COMMAND_RESIZE_RUNS &&
        is_following(resize))
        command_answer(core, message->code, "%s", message->resize.reason);
    else if (ours && step == CORE_RESIZE_PREPARE && resize->phase == RESIZE_OFFER)
        offered(core, message);
    else if (ours && step == CORE_RESIZE_COPY && resize->phase == RESIZE_COPYING)
        peer_copied(core, message);
    else if (ours && step == CORE_RESIZE_COMMIT && resize->phase == RESIZE_COMMIT)
        committed(core, message);
    else
        session_violation(core, "an answer to no question");
}

/* The follower has the command that was handed on, and nobody will answer it any more. */
static void follow_ends(struct core *core)
{
    if (core->command.phase == COMMAND_RESIZE_RUNS)
        command_answer(core, REPLICA_E_LINK, "%s: %s was lost; see status, and try again",
                       core->config.resource, core->config.peer_node);
}

/* The leader has the new size, the follower is gone and may have the old one. */
static void grown_alone(struct core *core)
{
    char text[ACTION_TEXT_MAX];

    take_size(core);
    snprintf(text, sizeof text, "%.63s: %.63s was lost; it follows when it is connected again",
             core->config.resource, core->config.peer_node);
    lead_ends(core, REPLICA_E_LINK, text);
}

void resize_link_lost(struct core *core)
{
    struct resize *resize = &core->resize;
    const char *peer = core->config.peer_node;

    if (resize->phase == RESIZE_NONE)
        follow_ends(core);
    switch (resize->phase) {
    case RESIZE_MEASURE:
    case RESIZE_OFFER:
    case RESIZE_COPYING:
        lead_fails(core, REPLICA_E_LINK, "%s: %s was lost; the size is the old one",
                   core->config.resource, peer);
        break;
    case RESIZE_OWN:
        if (core->grow.phase != GROW_SUPER)
            lead_fails(core, REPLICA_E_LINK, "%s: %s was lost; the size is the old one",
                       core->config.resource, peer);
        break;
    case RESIZE_COMMIT:
        grown_alone(core);
        break;
    case RESIZE_MEASURING:
    case RESIZE_OFFERED:
    case RESIZE_PEER_COPIES:
    case RESIZE_COPIED:
        resize->phase = RESIZE_NONE;
        grow_abandon(core);
        follow_ends(core);
        break;
    case RESIZE_SWITCHING: /* goes on to its end */
    case RESIZE_CATCH_UP:
    case RESIZE_NONE:
        break;
    }
}

void resize_disk_failed(struct core *core)
{
    struct resize *resize = &core->resize;

    if (core->grow.phase == GROW_SUPER)
        core->grow.phase = GROW_NONE;
    grow_abandon(core);
    if (is_following(resize) || MUTANT(resize_forgotten))
        resize->phase = RESIZE_NONE;
    else if (resize->phase == RESIZE_MEASURE || resize->phase == RESIZE_OWN)
        lead_without_disk(core);
    /* else the follower's answer, or its loss, ends it */
}

/* ---- when grow.c has got somewhere --------------------------------------------------------- */

static bool growing_failed(struct core *core)
{
    struct resize *resize = &core->resize;
    int code = core->grow.failed;

    core->grow.phase = GROW_NONE;
    if (resize->phase == RESIZE_OWN) {
        lead_fails(core, code, "%s: on %s: the new metadata cannot be written: %s",
                   core->config.resource, core->config.node, replica_code_name(code));
    } else if (resize->phase == RESIZE_PEER_COPIES) {
        resize->phase = RESIZE_NONE;
        resize_answer(core, resize->peer_tag, CORE_RESIZE_COPY, code,
                      "the new metadata cannot be written");
    } else if (resize->phase == RESIZE_CATCH_UP) {
        catch_up_fails(core, "the new metadata cannot be written");
    }
    return true;
}

static bool growing_ready(struct core *core)
{
    struct resize *resize = &core->resize;

    if (resize->phase == RESIZE_PEER_COPIES) {
        resize->phase = RESIZE_COPIED;
        resize_answer(core, resize->peer_tag, CORE_RESIZE_COPY, 0, "");
        return true;
    }
    if (resize->phase != RESIZE_OWN && resize->phase != RESIZE_CATCH_UP)
        return false;
    grow_switch(core);
    return true;
}

static bool growing_done(struct core *core)
{
    struct resize *resize = &core->resize;
    bool together = session_live(core) && resize->session == core->session.number;

    core->grow.phase = GROW_NONE;
    if (resize->phase == RESIZE_OWN && together) {
        commit(core);
    } else if (resize->phase == RESIZE_OWN) {
        grown_alone(core);
    } else if (resize->phase == RESIZE_SWITCHING && together) {
        resize->phase = RESIZE_NONE;
        both_grown(core, SYNC_TARGET);
        resize_answer(core, resize->peer_tag, CORE_RESIZE_COMMIT, 0, "");
    } else {
        resize->phase = RESIZE_NONE;
        take_size(core);
        follow_ends(core);
    }
    return true;
}

bool resize_pump(struct core *core)
{
    bool moved = grow_pump(core);

    switch (core->grow.phase) {
    case GROW_FAILED:
        return growing_failed(core);
    case GROW_READY:
        return growing_ready(core) || moved;
    case GROW_DONE:
        return growing_done(core);
    case GROW_NONE:
    case GROW_HOLD:
    case GROW_SLOTS:
    case GROW_RING:
    case GROW_MAP:
    case GROW_SUPER:
    case GROW_ABANDONED:
        break;
    }
    return moved;
}
