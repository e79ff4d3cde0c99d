/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * confirm.c - the transfer log, and how its records leave it.
 *
 * A write that both nodes have (in their caches, for all we know) stands in the ring until a
 * confirm: a flush of both nodes that began after it (P2, P3). A confirm also moves the activity
 * log's extents on (P4), and writes what is dirty in the bitmap, so that bits set while alone are
 * on disk before their extent leaves the log. A guest's flush is a confirm; several that wait
 * share one.
 *
 * confirm->current is the number of the last one begun. A confirm cut by the loss of the peer is
 * begun again, against the local disk alone, once the loss is recorded.
 */
#include "core_private.h"

bool confirm_reserve(struct core *core)
{
    struct confirm *confirm = &core->confirm;

    if (confirm->count + confirm->reserved >=
        CORE_TRANSFER_RECORDS * (1 + MUTANT(records_overwritten)))
        return false;
    confirm->reserved++;
    return true;
}

void confirm_unreserve(struct core *core)
{
    core->confirm.reserved--;
}

void confirm_add(struct core *core, struct range range)
{
    struct confirm *confirm = &core->confirm;

    confirm->reserved--;
    confirm->ring[(confirm->first + confirm->count) % CORE_TRANSFER_RECORDS] = range;
    confirm->count++;
    if (confirm->count - confirm->covered >= CORE_TRANSFER_RECORDS / 2)
        confirm_ticket(core);
}

void confirm_touched(struct core *core)
{
    struct confirm *confirm = &core->confirm;

    if (confirm->due == UINT64_MAX && !MUTANT(confirm_not_rearmed))
        confirm->due = core->now + core->config.confirm_interval;
}

uint64_t confirm_ticket(struct core *core)
{
    core->confirm.wanted = core->confirm.current + !(MUTANT(flush_joins) && core->confirm.running);
    return core->confirm.wanted;
}

bool confirm_due(const struct core *core, uint64_t ticket)
{
    return core->confirm.done >= ticket;
}

static uint64_t confirm_tag(const struct core *core)
{
    return tag_make(TAG_CONFIRM, 0, core->confirm.generation);
}

static void begin(struct core *core)
{
    struct confirm *confirm = &core->confirm;

    confirm->running = true;
    confirm->aborted = false;
    confirm->generation++;
    confirm->current = confirm->wanted;
    confirm->covered = confirm->count;
    confirm->due = UINT64_MAX;
    confirm->logged = core_has_disk(core);
    if (confirm->logged)
        actlog_confirm_begin(core->actlog);
    confirm->flush_pending = confirm->logged && !MUTANT(no_local_flush);
    if (confirm->flush_pending)
        core_disk(core, REPLICA_OP_FLUSH, (struct range){0}, false, NULL, confirm_tag(core));
    confirm->bitmap_ticket =
        confirm->flush_pending && core->bitmap.dirty_count > 0 && !MUTANT(no_bits_in_confirm)
            ? persist_bitmap(core)
            : 0;
    confirm->peer_pending = core->mode == MODE_REPLICATE && !MUTANT(no_peer_flush);
    if (confirm->peer_pending) {
        core_send(core, WIRE_FLUSH, NULL)->tag = confirm_tag(core);
        confirm->peer_since = core->now;
        session_owe(core, 0);
    }
}

static void finish(struct core *core)
{
    struct confirm *confirm = &core->confirm;

    confirm->running = false;
    if (confirm->aborted && !MUTANT(abort_ignored)) {
        if (confirm->logged && MUTANT(abort_frees))
            actlog_confirm_end(core->actlog);
        else if (confirm->logged)
            actlog_confirm_abort(core->actlog);
        return;
    }
    if (MUTANT(confirm_covers_late))
        confirm->covered = confirm->count;
    if (confirm->logged)
        actlog_confirm_end(core->actlog);
    confirm->first = (confirm->first + confirm->covered) % CORE_TRANSFER_RECORDS;
    confirm->count -= confirm->covered;
    confirm->covered = 0;
    confirm->done = confirm->current;
    request_flushed(core);
}

/* A guest's flush without the peer, and nobody knows what that has not flushed: the loss is
 * recorded first. */
static bool must_record(struct core *core)
{
    return core->flushes.first && core->mode == MODE_UNRECORDED && core->inherited &&
           !MUTANT(inherited_flush);
}

bool confirm_pump(struct core *core)
{
    struct confirm *confirm = &core->confirm;

    if (confirm->running) {
        bool awaited = !(MUTANT(flush_not_awaited) && core->flushes.first);

        if ((confirm->flush_pending && awaited) || confirm->peer_pending ||
            (confirm->bitmap_ticket && !confirm->aborted && core_has_disk(core) &&
             !MUTANT(bits_not_awaited) && !persist_bitmap_due(core, confirm->bitmap_ticket)))
            return false;
        finish(core);
        return true;
    }
    if (core->now >= confirm->due) {
        confirm->due = UINT64_MAX;
        confirm_ticket(core);
    }
    if (confirm->wanted <= confirm->done || core->loss.phase != LOSS_NONE || !core_reachable(core))
        return false;
    if (must_record(core)) {
        if (!session_handshaking(core))
            loss_record(core);
        return !session_handshaking(core);
    }
    begin(core);
    return true;
}

void confirm_disk_done(struct core *core, uint64_t tag, int code)
{
    struct confirm *confirm = &core->confirm;

    if (!confirm->running || !confirm->flush_pending || tag != confirm_tag(core))
        return;
    confirm->flush_pending = false;
    if (code) {
        confirm->aborted = !MUTANT(local_flush_error_counts);
        core_disk_failed(core, code, "flushing");
    }
}

bool confirm_answered(struct core *core, const struct wire_message *message)
{
    struct confirm *confirm = &core->confirm;

    if (!confirm->running || !confirm->peer_pending || message->tag != confirm_tag(core))
        return false;
    if (!MUTANT(flush_window_leaks))
        session_paid(core, 0);
    /* its disk no longer holds what it acknowledged: the leg is lost */
    if (message->code && !MUTANT(peer_flush_error_counts))
        session_close(core, message->code, false, "%s: flush failed on the peer: %s",
                      core->config.resource, replica_code_name(message->code));
    else
        confirm->peer_pending = false;
    return true;
}

void confirm_forget(struct core *core)
{
    if (MUTANT(confirm_outlives_role))
        return;
    core->confirm.wanted = core->confirm.done;
    core->confirm.due = UINT64_MAX;
}

uint32_t confirm_peer_lost(struct core *core)
{
    struct confirm *confirm = &core->confirm;
    uint32_t count = confirm->count;

    for (uint32_t i = MUTANT(first_record_lost); i < count && !MUTANT(unflushed_unmarked); i++)
        bitmap_set(&core->bitmap, confirm->ring[(confirm->first + i) % CORE_TRANSFER_RECORDS]);
    confirm->first = confirm->count = confirm->covered = 0;
    if (confirm->running && confirm->peer_pending) {
        confirm->peer_pending = false;
        confirm->aborted = true;
    }
    return count;
}
