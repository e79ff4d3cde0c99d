/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * attach.c - from nothing to a disk state: superblock, activity log, bitmap.
 *
 * The order is what makes a crash during attach harmless: the extents of a crashed Primary's
 * activity log become bits, the bits become durable, and only then does the superblock lose its
 * PRIMARY flag (P3). The log is read even when nobody crashed: new transactions must be newer than
 * what stands in the ring. While core->reading, the staging slots belong to attach.
 *
 * A disk may come back, or another one in its place, while the resource is up. On a Secondary that
 * is an attach like the first. A Primary goes on through its peer meanwhile; its disk is a target
 * in full, whatever it holds:
 *
 *   MEET     after the set bitmap is durable: STATE to the peer, which answers with its own; its
 *            generation, and Inconsistent, are made durable
 *   DRAIN    new requests wait until what went to the peer alone is finished there,
 *   CONFIRM  and durable: the peer may hand it out now (handshake.c has the same in FLUSH)
 *
 * Then STATE again: "I am your target"; from here on writes go to both.
 */
#include "core_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

static void read_meta(struct core *core, uint32_t index, uint64_t offset, uint32_t blocks)
{
    core->command.reads++;
    persist_transfer(core, index, STAGING_ATTACH, ACTION_META_READ, offset, blocks);
}

static void read_slots(struct core *core)
{
    for (uint32_t i = 0; i < METADATA_SLOTS; i++)
        read_meta(core, i, core->slots[i], 1);
}

/* A Primary's disk comes back as a target of its peer: not one that nobody else could fill. */
void attach_begin(struct core *core)
{
    if ((!core_disk_idle(core) && !MUTANT(attach_over_old)) || core->loss.phase != LOSS_NONE ||
        (core->confirm.running && core->confirm.logged)) {
        command_answer(core, REPLICA_E_BUSY, "%s: the old disk has not answered everything yet",
                       core->config.resource);
        return;
    }
    if (core->loss.last_copy && core->role == REPLICA_ROLE_PRIMARY) {
        command_answer(core, REPLICA_E_STATE,
                       "%s: the guest runs here, and the disk that failed may have the only good "
                       "copy: stop the guest, `tapdrbdadm secondary %s`, then attach",
                       core->config.resource, core->config.resource);
        return;
    }
    core->reading = true;
    core->persist.dead = false;
    core->disk = REPLICA_DISK_ATTACHING;
    core->command.phase = COMMAND_ATTACH_SLOTS;
    core->command.reads = 0;
    core->command.elsewhere = false;
    read_slots(core);
}

static void attach_fail(struct core *core, int code, const char *text)
{
    bool none = code == REPLICA_E_NO_METADATA;

    core->disk = REPLICA_DISK_DISKLESS;
    core->reading = core->size == 0;
    core->persist.dead = core->size != 0; /* nothing more is written there */
    command_answer(core, code, "%s: cannot attach: %s%s%s", core->config.resource, text,
                   none ? ": if the disk is new, type: tapdrbdadm create-md " : "",
                   none ? core->config.resource : "");
}

/* Reads the next stretches of `blocks` blocks that start at `offset`. */
static void read_on(struct core *core, uint64_t offset, uint64_t blocks)
{
    struct command *command = &core->command;

    for (uint32_t i = 0; i < CORE_STAGING_SLOTS && command->cursor < blocks; i++) {
        struct staging *staging = &core->persist.staging[i];
        uint64_t left = blocks - command->cursor;

        if (staging->busy)
            continue;
        staging->first = command->cursor;
        read_meta(core, i, offset + command->cursor * METADATA_BLOCK_BYTES,
                  (uint32_t)(left < CORE_STAGING_BLOCKS ? left : CORE_STAGING_BLOCKS));
        command->cursor += staging->count;
    }
}

static void start_bitmap(struct core *core)
{
    core->command.phase = COMMAND_ATTACH_BITMAP;
    core->command.cursor = 0;
    bitmap_resize(&core->bitmap, core->super.layout.data_bytes);
    read_on(core, core->super.layout.bitmap_offset, core->bitmap.blocks);
}

/* A disk that failed at the last step of a resize has its metadata where they were. */
static bool look_elsewhere(struct core *core)
{
    if (core->command.elsewhere || core->grow.former.meta_bytes == 0)
        return false;
    core->command.elsewhere = true;
    grow_look_elsewhere(core);
    read_slots(core);
    return true;
}

static void choose_superblock(struct core *core)
{
    struct metadata_superblock found;
    uint64_t epoch = core->super.epoch;
    const uint8_t *blocks[METADATA_SLOTS];
    struct replica_error error;
    unsigned slot;

    for (unsigned i = 0; i < METADATA_SLOTS; i++) {
        if (core->command.slot_code[i]) /* what could not be read is not valid */
            memset(core->persist.staging[i].data, 0, METADATA_BLOCK_BYTES);
        blocks[i] = core->persist.staging[i].data;
    }
    if (core->command.slot_code[0] && core->command.slot_code[1]) {
        attach_fail(core, REPLICA_E_IO, "both superblocks are unreadable; check the disk");
        return;
    }
    if (metadata_choose(blocks, core->meta_bytes, &found, &slot, &error)) {
        if (look_elsewhere(core))
            return;
        attach_fail(core, error.code, error.text);
        return;
    }
    if (core->size > 0 && found.layout.data_bytes != core->size) {
        char text[ACTION_TEXT_MAX];

        snprintf(text, sizeof text,
                 "its metadata is for %" PRIu64 " bytes of data, the resource has %" PRIu64 "; %s",
                 found.layout.data_bytes, core->size,
                 found.layout.data_bytes > core->size
                     ? "a resize was cut short: move the guest to the peer, then down and up"
                     : "use a disk of the same size and `create-md`");
        attach_fail(core, REPLICA_E_MISMATCH, text);
        return;
    }
    if (found.layout.data_bytes > core->device_bytes) {
        attach_fail(core, REPLICA_E_METADATA,
                    "the data device is smaller than its metadata says; give it its old size back, "
                    "or make new metadata (create-md) and sync from the peer");
        return;
    }
    core->grow.former.meta_bytes = 0;
    core->super = found;
    if (core->super.epoch < epoch && !MUTANT(attach_epoch_lost))
        core->super.epoch = epoch;
    core->persist.slot = slot;
    core->command.phase = COMMAND_ATTACH_ACTLOG;
    core->command.cursor = 0;
    actlog_scan_begin(core->actlog);
    read_on(core, core->super.layout.al_offset, METADATA_AL_BLOCKS);
}

/* Crashed as Primary: whatever the log names may differ. A log that cannot be read (`damage` says
 * why) says that everything may. */
static void mark_actlog(struct core *core, const char *damage)
{
    uint64_t size = core->super.layout.data_bytes;

    if (damage) {
        core_log(core, LOG_LEVEL_ERROR, "activity log: %s; the whole disk counts as out of sync",
                 damage);
        bitmap_set_all(&core->bitmap);
        return;
    }
    for (uint32_t i = 0; i < actlog_count(core->actlog); i++) {
        struct range range = {.offset = (uint64_t)actlog_extent_at(core->actlog, i) *
                                        METADATA_AL_EXTENT_BYTES,
                              .length = METADATA_AL_EXTENT_BYTES};

        if (range.offset >= size)
            continue;
        if (range.length > size - range.offset)
            range.length = (uint32_t)(size - range.offset);
        if (MUTANT(half_extent_marked))
            range.length /= 2;
        bitmap_set(&core->bitmap, range);
    }
    core_log(core, LOG_LEVEL_NOTICE,
             "was Primary when it stopped: %" PRIu32 " extents of 4 MiB "
             "from the activity log count as out of sync",
             actlog_count(core->actlog));
}

static enum replica_disk disk_by_flags(const struct core *core)
{
    uint32_t flags = core->super.flags;

    if (!(flags & METADATA_CONSISTENT) && !MUTANT(inconsistent_attached))
        return REPLICA_DISK_INCONSISTENT;
    if (!(flags & METADATA_WAS_UPTODATE) && !MUTANT(outdated_attached))
        return REPLICA_DISK_OUTDATED;
    return core->config.fencing == CORE_FENCING_DONT_CARE || (flags & METADATA_PEER_OUTDATED)
               ? REPLICA_DISK_UPTODATE
               : REPLICA_DISK_CONSISTENT;
}

/* Everything is in memory: make what was found at the crash durable. */
static void finish_reading(struct core *core)
{
    bool crashed = core->super.flags & METADATA_PRIMARY;
    struct replica_error error;
    int scan = actlog_scan_finish(core->actlog, &error);

    core->size = core->super.layout.data_bytes;
    core->reading = false;
    core->super.al_extents = core->config.al_extents;
    if (core->super.flags & METADATA_FULL_SYNC)
        bitmap_set_all(&core->bitmap);
    if (core->role == REPLICA_ROLE_PRIMARY) {
        bitmap_set_all(&core->bitmap);
        core->super.flags |= METADATA_PRIMARY;
        core->super.flags &= ~(uint32_t)(METADATA_CONSISTENT | METADATA_WAS_UPTODATE |
                                         METADATA_AL_CLEAN | METADATA_CRASHED_PRIMARY);
    } else if (crashed && !MUTANT(crash_unnoticed)) {
        mark_actlog(core, scan ? error.text : NULL);
        core->super.flags |= METADATA_CRASHED_PRIMARY;
        core->super.flags &= ~(uint32_t)METADATA_PRIMARY;
    }
    core->command.ticket = persist_bitmap(core);
    core->command.phase = COMMAND_ATTACH_SAVE_BITMAP;
}

void attach_read_done(struct core *core, uint32_t index, int code)
{
    struct command *command = &core->command;
    struct staging *staging = &core->persist.staging[index];

    command->reads--;
    if (command->phase == COMMAND_ATTACH_SLOTS) {
        command->slot_code[index] = code;
        if (command->reads == 0)
            choose_superblock(core);
        return;
    }
    if (command->phase != COMMAND_ATTACH_ACTLOG && command->phase != COMMAND_ATTACH_BITMAP)
        return; /* an attach that has failed; its other reads come in */
    if (code) {
        attach_fail(core, code, "its metadata cannot be read; check the disk");
        return;
    }
    for (uint32_t i = 0; i < staging->count; i++) {
        const uint8_t *block = staging->data + (size_t)i * METADATA_BLOCK_BYTES;

        if (command->phase == COMMAND_ATTACH_ACTLOG)
            actlog_scan_block(core->actlog, block);
        else if (!MUTANT(bitmap_not_read) &&
                 !(MUTANT(last_map_block_unread) && staging->first + i + 1 == core->bitmap.blocks))
            bitmap_decode(&core->bitmap, staging->first + i, block);
    }
    if (command->phase == COMMAND_ATTACH_ACTLOG)
        read_on(core, core->super.layout.al_offset, METADATA_AL_BLOCKS);
    else
        read_on(core, core->super.layout.bitmap_offset, core->bitmap.blocks);
    if (command->reads > 0)
        return;
    if (command->phase == COMMAND_ATTACH_ACTLOG)
        start_bitmap(core);
    else
        finish_reading(core);
}

/* What the guest still has under way was logged for the old disk. */
static void fresh_actlog(struct core *core)
{
    if (MUTANT(old_log_stays))
        return;
    request_forget_extents(core);
    actlog_reset(core->actlog);
}

/* A Primary's disk is readable and durably Inconsistent; there is no peer to be a target of. */
static void attached_alone(struct core *core)
{
    fresh_actlog(core);
    core->disk = MUTANT(attached_uptodate) ? REPLICA_DISK_UPTODATE : REPLICA_DISK_INCONSISTENT;
    request_unpark(core, 0);
    command_answer(core, 0, "%s", "");
}

static void attached_secondary(struct core *core)
{
    fresh_actlog(core);
    core->disk = disk_by_flags(core);
    core->inherited = true;
    command_answer(core, 0, "%s", "");
}

static void attached_target(struct core *core)
{
    fresh_actlog(core);
    core->disk = MUTANT(attached_uptodate) ? REPLICA_DISK_UPTODATE : REPLICA_DISK_INCONSISTENT;
    core->session.side = SYNC_TARGET;
    core->session.full = true;
    session_send_state(core);
    resync_begin(core);
    request_unpark(core, 0);
    command_answer(core, 0, "%s", "");
}

static void save_super(struct core *core)
{
    core->command.phase = COMMAND_ATTACH_SAVE;
    core->command.ticket = persist_super(core);
}

static bool is_met(const struct core *core)
{
    return core->role == REPLICA_ROLE_PRIMARY && session_live(core);
}

static void pump_saved(struct core *core)
{
    if (is_met(core)) {
        core->command.phase = COMMAND_ATTACH_DRAIN;
        return;
    }
    if (core->role == REPLICA_ROLE_PRIMARY)
        attached_alone(core);
    else
        attached_secondary(core);
    if (core->session.link == LINK_UP) /* connected as a Secondary without a disk */
        session_reconnect(core);
    else if (core->detached)
        session_connect(core, false);
    core->detached = false;
}

bool attach_pump(struct core *core)
{
    struct command *command = &core->command;

    switch (command->phase) {
    case COMMAND_ATTACH_SAVE_BITMAP:
        if (!persist_bitmap_due(core, command->ticket) && !MUTANT(attach_map_not_awaited))
            return false;
        if (is_met(core)) {
            command->phase = COMMAND_ATTACH_MEET;
            session_send_state(core);
        } else {
            save_super(core);
        }
        return true;
    case COMMAND_ATTACH_SAVE:
        if (!persist_super_due(core, command->ticket) && !MUTANT(attach_super_not_awaited))
            return false;
        pump_saved(core);
        return true;
    case COMMAND_ATTACH_DRAIN:
        if (!request_drained(core) && !MUTANT(attach_undrained))
            return false;
        command->phase = COMMAND_ATTACH_CONFIRM;
        command->ticket = confirm_ticket(core);
        return true;
    case COMMAND_ATTACH_CONFIRM:
        if ((!confirm_due(core, command->ticket) || core->confirm.running) &&
            !MUTANT(attach_unconfirmed))
            return false;
        attached_target(core);
        return true;
    default: /* the phases of other commands, and those that wait for an event */
        return false;
    }
}

/* The Primary's disk is to be filled from ours. */
static void become_source(struct core *core)
{
    core->session.side = SYNC_SOURCE;
    core->session.full = true;
    core->peer_disk = REPLICA_DISK_INCONSISTENT;
    bitmap_set_all(&core->bitmap);
    lineage_synced(&core->super.generation);
    core->super.flags &= ~(uint32_t)METADATA_FULL_SYNC; /* the whole bitmap is set on its disk */
    persist_super(core);
    resync_begin(core);
}

static bool may_be_source(const struct core *core, const struct wire_state *state)
{
    return core->peer_role == REPLICA_ROLE_PRIMARY && state->role == REPLICA_ROLE_PRIMARY &&
           core->peer_disk == REPLICA_DISK_DISKLESS && core->disk == REPLICA_DISK_UPTODATE &&
           core->session.side == SYNC_NONE && state->data_bytes == core->size && !core->grant.type;
}

void attach_met(struct core *core, const struct wire_message *message)
{
    const struct wire_state *state = &message->state;

    if (core->role == REPLICA_ROLE_PRIMARY && !core_has_disk(core)) {
        if (core->command.phase != COMMAND_ATTACH_MEET)
            return; /* that attach has failed */
        lineage_adopt(&core->super.generation, &state->generation);
        save_super(core);
    } else if (may_be_source(core, state) && state->disk == REPLICA_DISK_ATTACHING) {
        session_send_state(core);
    } else if (may_be_source(core, state) && state->disk == REPLICA_DISK_INCONSISTENT) {
        become_source(core);
    } else {
        session_violation(core, "a STATE out of turn");
    }
}

void attach_link_lost(struct core *core)
{
    if (core->command.phase == COMMAND_ATTACH_MEET)
        save_super(core);
    else if (core->command.phase == COMMAND_ATTACH_DRAIN ||
             core->command.phase == COMMAND_ATTACH_CONFIRM)
        attached_alone(core);
}
