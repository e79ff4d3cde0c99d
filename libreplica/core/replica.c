/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replica.c - the one door: replica_step gives the event to its module, then lets everybody go on
 * who can. See core.h for the contract and core_private.h for how a step runs.
 */
#include "core_private.h"

#include <string.h>

#include "err.h"

/* ---- making and freeing ------------------------------------------------------------------------
 */

static int check_config(const struct core_config *config, struct replica_error *error)
{
    if (!memchr(config->resource, 0, sizeof config->resource) || !config->resource[0] ||
        !memchr(config->node, 0, sizeof config->node) || !config->node[0] ||
        !memchr(config->peer_node, 0, sizeof config->peer_node) || !config->peer_node[0])
        return err_set(error, REPLICA_E_INVALID, "a name is missing or too long");
    if (strcmp(config->node, config->peer_node) == 0)
        return err_set(error, REPLICA_E_INVALID, "%s: both nodes are called %s", config->resource,
                       config->node);
    if (config->requests_max == 0 || config->requests_max > 65536)
        return err_set(error, REPLICA_E_INVALID, "%s: 1 to 65536 requests at once, not %u",
                       config->resource, config->requests_max);
    return 0;
}

static void *take(struct core *core, size_t count, size_t size)
{
    return alloc_zeroed(&core->allocator, count, size);
}

static int take_memory(struct core *core, struct replica_error *error)
{
    struct persist *persist = &core->persist;
    bool good;
    int code;

    core->requests = take(core, core->config.requests_max, sizeof *core->requests);
    core->peer_slots = take(core, CORE_PEER_SLOTS, sizeof *core->peer_slots);
    core->session.map_scratch = take(core, CORE_BITMAP_BURST, METADATA_BLOCK_BYTES);
    persist->super_block = take(core, 1, METADATA_BLOCK_BYTES);
    persist->al_block = take(core, 1, METADATA_BLOCK_BYTES);
    core->disk_io.list = take(core, disk_io_places(core), sizeof *core->disk_io.list);
    good = core->requests && core->peer_slots && core->session.map_scratch &&
           persist->super_block && persist->al_block && core->disk_io.list;
    for (unsigned i = 0; i < CORE_STAGING_SLOTS; i++) {
        persist->staging[i].data = take(core, CORE_STAGING_BLOCKS, METADATA_BLOCK_BYTES);
        good = good && persist->staging[i].data;
    }
    if (!good || bitmap_init(&core->bitmap, core->device_bytes, &core->allocator))
        return err_set(error, REPLICA_E_MEMORY, "%s: not enough memory", core->config.resource);
    code = actlog_new(&core->actlog, core->config.al_extents, &core->allocator);
    if (code)
        return err_set(error, code, "%s: an activity log of %u extents cannot be made (%d to %d)",
                       core->config.resource, core->config.al_extents, METADATA_AL_EXTENTS_MIN,
                       METADATA_AL_EXTENTS_MAX);
    return 0;
}

int core_new(struct core **core, const struct core_config *config,
             const uint64_t layout_slots[METADATA_SLOTS], uint64_t meta_bytes, uint64_t data_bytes,
             const struct core_allocator *allocator, struct replica_error *error)
{
    struct core *fresh;
    int code = check_config(config, error);

    if (code)
        return code;
    fresh = alloc_zeroed(allocator, 1, sizeof *fresh);
    if (!fresh)
        return err_set(error, REPLICA_E_MEMORY, "%s: not enough memory", config->resource);
    fresh->config = *config;
    if (allocator)
        fresh->allocator = *allocator;
    if (fresh->config.al_extents == 0)
        fresh->config.al_extents = METADATA_AL_EXTENTS_DEFAULT;
    memcpy(fresh->slots, layout_slots, sizeof fresh->slots);
    fresh->meta_bytes = meta_bytes;
    fresh->device_bytes = data_bytes / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
    code = take_memory(fresh, error);
    if (code) {
        core_free(fresh);
        return code;
    }
    fresh->role = REPLICA_ROLE_SECONDARY;
    fresh->disk = REPLICA_DISK_DISKLESS;
    fresh->peer_disk = REPLICA_DISK_UNKNOWN;
    fresh->confirm.due = UINT64_MAX;
    fresh->disk_io.look_at = UINT64_MAX;
    fresh->reading = true;
    interval_init(&fresh->intervals);
    request_init(fresh);
    peer_init(fresh);
    resync_init(fresh);
    verify_init(fresh);
    *core = fresh;
    return 0;
}

int core_make_room(struct core *core, uint64_t data_bytes)
{
    return bitmap_reserve(&core->bitmap, data_bytes);
}

void core_free(struct core *core)
{
    struct core_allocator allocator;

    if (!core)
        return;
    allocator = core->allocator;
    actlog_free(core->actlog);
    bitmap_close(&core->bitmap);
    for (unsigned i = 0; i < CORE_STAGING_SLOTS; i++)
        alloc_release(&allocator, core->persist.staging[i].data);
    alloc_release(&allocator, core->persist.al_block);
    alloc_release(&allocator, core->persist.super_block);
    alloc_release(&allocator, core->session.map_scratch);
    alloc_release(&allocator, core->peer_slots);
    alloc_release(&allocator, core->disk_io.list);
    alloc_release(&allocator, core->requests);
    alloc_release(&allocator, core);
}

void core_set_device(struct core *core, const uint64_t layout_slots[METADATA_SLOTS],
                     uint64_t meta_bytes, uint64_t data_bytes)
{
    memcpy(core->slots, layout_slots, sizeof core->slots);
    core->meta_bytes = meta_bytes;
    core->device_bytes = data_bytes / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES;
}

bool core_disk_idle(const struct core *core)
{
    return core->local_pending == 0 && persist_idle(core) && core->disk_io.late == 0;
}

/* ---- what concerns several modules
 * --------------------------------------------------------------- */

/* The list may be relinked while its members start: the next is read first. */
void core_resume(struct core *core, struct interval *list)
{
    while (list) {
        struct interval *next = list->next_waiting;
        struct owner *owner = (struct owner *)list;

        switch (owner->kind) {
        case OWNER_REQUEST:
            request_resume(core, (struct request *)owner);
            break;
        case OWNER_PEER:
            peer_resume(core, (struct peer_slot *)owner);
            break;
        case OWNER_RESYNC_ASK:
        case OWNER_RESYNC_READ:
            resync_resume(core, (struct sync_slot *)owner);
            break;
        case OWNER_VERIFY_ASK:
        case OWNER_VERIFY_SERVE:
            verify_resume(core, (struct verify_slot *)owner);
            break;
        }
        list = next;
    }
}

bool core_reachable(const struct core *core)
{
    return core_has_data(core) || (core->mode == MODE_REPLICATE && session_live(core) &&
                                   core->peer_disk == REPLICA_DISK_UPTODATE);
}

static void abandon_command(struct core *core)
{
    switch (core->command.phase) {
    case COMMAND_PROMOTE_PERSIST:
    case COMMAND_UUID_NOTE:
    case COMMAND_UUID_PERSIST:
    case COMMAND_INVALIDATE_PERSIST:
    case COMMAND_OUTDATE_PERSIST:
    case COMMAND_ATTACH_SAVE_BITMAP:
    case COMMAND_ATTACH_SAVE:
    case COMMAND_ATTACH_MEET:
    case COMMAND_ATTACH_DRAIN:
    case COMMAND_ATTACH_CONFIRM:
    case COMMAND_DOWN_BITMAP:
    case COMMAND_DOWN_SUPER:
    case COMMAND_RESIZE_RUNS:
        request_unpark(core, 0);
        command_answer(core, REPLICA_E_IO, "%s: the disk of %s has failed; see the log",
                       core->config.resource, core->config.node);
        break;
    case COMMAND_IDLE:
    case COMMAND_ATTACH_SLOTS:
    case COMMAND_ATTACH_ACTLOG:
    case COMMAND_ATTACH_BITMAP:
    case COMMAND_PROMOTE_WAIT:
    case COMMAND_PROMOTE_ASK:
    case COMMAND_PROMOTE_HANDOVER:
    case COMMAND_DEMOTE_DRAIN:
    case COMMAND_DEMOTE_CONFIRM:
    case COMMAND_DEMOTE_PERSIST:
    case COMMAND_UUID_ASK:
    case COMMAND_INVALIDATE_ASK:
    case COMMAND_UNLINK:
    case COMMAND_DETACH_DRAIN:
    case COMMAND_DETACH_LOSS:
    case COMMAND_DETACH_BITMAP:
    case COMMAND_DETACH_SUPER:
    case COMMAND_DETACH_IDLE:
        break; /* these notice by themselves */
    }
}

/* Its disk is what this node's is. */
static bool peer_has_it_all(const struct core *core)
{
    return session_live(core) && core->peer_disk == REPLICA_DISK_UPTODATE;
}

/* A disk that has failed is not to be trusted when it comes back, unless nothing better is known:
 * an older copy elsewhere must not win over it. A Primary's peer may give its own data up in this
 * very moment (invalidate.c): until it says that it has taken over, the disk is Outdated here. That
 * loses against all but a copy that nobody calls good. */
void core_disk_failed(struct core *core, int code, const char *what)
{
    bool peer_has = peer_has_it_all(core);

    if (core->disk == REPLICA_DISK_FAILED || core->disk == REPLICA_DISK_DISKLESS ||
        core->disk == REPLICA_DISK_DETACHING)
        return;
    core_log(core, LOG_LEVEL_ERROR, "%s: the disk of %s failed while %s: %s; detached%s",
             core->config.resource, core->config.node, what, replica_code_name(code),
             code == REPLICA_E_NO_SPACE ? " (its storage is full: free some space)" : "");
    core->disk = REPLICA_DISK_FAILED;
    if (core->config.on_io_error == CORE_IO_ERROR_CALL_HANDLER)
        handler_run(core, HANDLER_LOCAL_IO_ERROR);
    core->grant.type = 0;
    abandon_command(core);
    core->loss.last_copy = core->role == REPLICA_ROLE_PRIMARY && !MUTANT(last_copy_unasked);
    if (peer_has || MUTANT(last_copy_dropped)) {
        core->super.flags &= ~(uint32_t)METADATA_WAS_UPTODATE;
        if (!core->loss.last_copy || MUTANT(last_copy_dropped))
            core->super.flags &= ~(uint32_t)METADATA_CONSISTENT;
        persist_super(core); /* if that still works; nothing waits for it */
    }
    resize_disk_failed(core);
    handover_disk_failed(core);
    core_disk_gone(core);
}

void core_disk_gone(struct core *core)
{
    if (core->role == REPLICA_ROLE_PRIMARY && core_reachable(core) &&
        core->loss.phase == LOSS_NONE) {
        resync_abort(core);
        loss_disk(core);
        return;
    }
    if (!MUTANT(takeover_remembered))
        core->loss.uuid = 0; /* nobody has taken over */
    core->detached |= core->session.link != LINK_IDLE;
    session_close(core, REPLICA_E_IO, true,
                  "%s: the disk of %s has failed; repair or replace it, then tapdrbdadm attach %s",
                  core->config.resource, core->config.node, core->config.resource);
    core->loss.phase = LOSS_NONE;
    request_fail_waiting(core, REPLICA_E_IO);
}

/* ---- a step
 * ---------------------------------------------------------------------------------------- */

void core_disk_answered(struct core *core, const struct event *event)
{
    uint64_t tag = event->disk_done.tag;
    int code = event->disk_done.code;

    core->local_pending--;
    switch (tag_kind(tag)) {
    case TAG_REQUEST:
        request_disk_done(core, tag, code);
        break;
    case TAG_PEER:
        peer_disk_done(core, tag, code, event->disk_done.buffer);
        break;
    case TAG_CONFIRM:
        confirm_disk_done(core, tag, code);
        break;
    case TAG_SESSION_FLUSH:
        handshake_flushed(core, tag, code);
        break;
    case TAG_RESYNC_ASK:
    case TAG_RESYNC_READ:
    case TAG_RESYNC_FLUSH:
        resync_disk_done(core, tag, code, event->disk_done.buffer, event->disk_done.zero,
                         event->disk_done.digest);
        break;
    case TAG_VERIFY_ASK:
    case TAG_VERIFY_SERVE:
        verify_disk_done(core, tag, code, event->disk_done.buffer, event->disk_done.digest);
        break;
    case TAG_NONE:
    case TAG_SUPERBLOCK:
    case TAG_ACTLOG:
    case TAG_STAGING:
    case TAG_COMMAND:
    case TAG_LOSS:
    case TAG_RESIZE:
        break;
    }
}

static void disk_done(struct core *core, const struct event *event)
{
    if (disk_io_end(core, event->disk_done.tag))
        core_disk_answered(core, event);
    else
        core_release(core, event->disk_done.buffer);
}

static void meta_done(struct core *core, const struct event *event)
{
    if (disk_io_end(core, event->meta_done.tag))
        persist_done(core, event->meta_done.tag, event->meta_done.code);
}

static void dispatch(struct core *core, const struct event *event)
{
    switch (event->kind) {
    case EVENT_TIMER:
        break;
    case EVENT_REQUEST:
        request_take(core, event);
        break;
    case EVENT_DISK_DONE:
        disk_done(core, event);
        break;
    case EVENT_META_DONE:
        meta_done(core, event);
        break;
    case EVENT_LINK_UP:
        session_link_up(core);
        break;
    case EVENT_LINK_DOWN:
        session_link_down(core, event->link_down.code);
        break;
    case EVENT_MESSAGE:
        session_message(core, event->message.message, event->message.buffer);
        break;
    case EVENT_COMMAND:
        command_take(core, event);
        break;
    case EVENT_HANDOVER_ANSWER:
        handover_answered(core, event->handover_answer.number, event->handover_answer.code,
                          event->handover_answer.text);
        break;
    case EVENT_HANDLER_DONE:
        fence_handler_done(core, event);
        verdict_handler_done(core, event);
        break;
    case EVENT_MEASURED:
        resize_measured(core, event);
        break;
    case EVENT_KIND_COUNT:
        break;
    }
}

static void pump(struct core *core)
{
    bool moved;

    do {
        moved = attach_pump(core);
        moved |= detach_pump(core);
        moved |= fence_pump(core);
        moved |= loss_pump(core);
        moved |= session_pump(core);
        moved |= role_pump(core);
        moved |= invalidate_pump(core);
        moved |= handover_pump(core);
        moved |= command_pump(core);
        moved |= request_pump(core);
        moved |= confirm_pump(core);
        moved |= resync_pump(core);
        moved |= verify_pump(core);
        moved |= resize_pump(core);
        moved |= persist_pump(core);
    } while (moved);
    liveness_pump(core);
}

static struct seen look(const struct core *core)
{
    uint64_t since;

    return (struct seen){.role = core->role,
                         .peer_role = core->peer_role,
                         .disk = core->disk,
                         .peer_disk = core->peer_disk,
                         .connection = core_connection(core),
                         .replication = core_replication(core),
                         .handover = handover_status(core, &since),
                         .suspended = core_suspended(core),
                         .fencing = core->fence.phase == FENCE_RUNS,
                         .paused_here = core->pause.ours,
                         .paused_peer = core->pause.peers,
                         .epoch = core->super.epoch,
                         .current = core->super.generation.current,
                         .size = core->size};
}

static bool seen_same(const struct seen *a, const struct seen *b)
{
    return a->role == b->role && a->peer_role == b->peer_role && a->disk == b->disk &&
           a->peer_disk == b->peer_disk && a->connection == b->connection &&
           a->replication == b->replication && a->handover == b->handover &&
           a->suspended == b->suspended && a->fencing == b->fencing &&
           a->paused_here == b->paused_here && a->paused_peer == b->paused_peer &&
           a->epoch == b->epoch && a->current == b->current && a->size == b->size;
}

/* It has answered all, and has been marked if that works. Looked at in every step: an idle node may
 * not have another event, and `attach` waits. */
static bool failed_disk_is_over(const struct core *core)
{
    return core->disk == REPLICA_DISK_FAILED && core->local_pending == 0 &&
           (core->persist.dead || persist_super_idle(core)) && !MUTANT(failed_disk_stays);
}

void replica_step(struct core *core, const struct event *event, struct actions *actions)
{
    struct seen seen;

    core->now = event->now;
    core->entropy = event->entropy;
    core->out = actions;
    pace_look(core);
    liveness_look_at_disk(core);
    dispatch(core, event);
    pump(core);
    if (failed_disk_is_over(core)) {
        core->disk = REPLICA_DISK_DISKLESS;
        core->persist.dead = true; /* another disk may be there by now */
    }
    seen = look(core);
    if (!seen_same(&seen, &core->seen)) {
        core->seen = seen;
        core_emit(core, ACTION_STATE_CHANGED);
    }
    core->out = NULL;
}

/* A guest's request and a peer's need at most three actions in one step, each resync slot three, an
 * acknowledgement for each unflushed range, a bitmap burst, and some metadata and log lines. */
uint32_t core_actions_max(const struct core *core)
{
    return 3 * core->config.requests_max + 3 * CORE_PEER_SLOTS +
           3 * (CORE_RESYNC_ASKS + CORE_RESYNC_READS) + CORE_RESYNC_UNFLUSHED + CORE_BITMAP_BURST +
           10 * CORE_VERIFY_SLOTS + 128;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t core_deadline(const struct core *core)
{
    uint64_t at = min64(liveness_deadline(core), resync_deadline(core));

    at = min64(at, core->disk_io.look_at);

    at = min64(at, handover_deadline(core));
    at = min64(at, verify_deadline(core));

    if (core->session.link == LINK_WAITING)
        at = min64(at, core->session.connect_at);
    if (!core->confirm.running && core->confirm.wanted <= core->confirm.done)
        at = min64(at, core->confirm.due);
    return at;
}

uint32_t core_room(const struct core *core)
{
    return core->config.requests_max - core->requests_used;
}

struct replica_buffer *core_data_target(const struct core *core, const struct wire_message *message)
{
    struct request *request;

    if (message->type != WIRE_READ_REPLY || !session_live(core))
        return NULL;
    request = request_by_tag(core, message->tag);
    if (!request || request->op != REPLICA_OP_READ || request->peer != LEG_PENDING ||
        request->range.length != message->data_bytes)
        return NULL;
    return request->buffer;
}
