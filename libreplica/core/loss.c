/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loss.c - what becomes durable when a Primary loses its peer.
 *
 *   1. Nothing is completed and nothing is started (core_suspended).
 *   2. Every write that the peer has not confirmed durable, and every write in flight, becomes
 *      out-of-sync bits; the bitmap is written (P3).
 *      Where nobody may go on alone before the peer is fenced, or at all (fence.c), guest I/O
 *      freezes here. The generation stays: should this node die frozen, it has completed nothing
 *      that the peer does not have, and comes back as a resync target and no split brain.
 *   3. Then the superblock with a new current generation is written (P7). If the peer was behind
 *      already and cannot know the current one, that one serves: a newer one would only push the
 *      peer's out of the history.
 *   4. Then what was held goes out, and guest I/O runs on alone (P1).
 *
 * A Primary that loses its peer with nothing unconfirmed does this at its first write. One that
 * took the role over without the peer does it at its first flush too: the peer may have lost
 * what it had not flushed, and this node has it (P2).
 *
 * A Primary whose guest lives from the peer alone and loses it answers with errors. When the peer
 * comes back, nobody knows whether it still has what it had not flushed: so one flush fails (P2).
 * Without any disk it goes on through that peer again, and through no other copy: see
 * verdict_lives_on.
 *
 * A Primary that loses its own disk goes on through an UpToDate peer: that one makes a new
 * generation durable in which every block counts as out of sync, so that whatever the lost disk
 * still holds can only ever be a target. Until it says so nothing is completed.
 */
#include "core_private.h"

#include <inttypes.h>

void loss_record(struct core *core)
{
    core->loss.phase = LOSS_BITMAP;
    core->loss.ticket = persist_bitmap(core);
}

void loss_peer(struct core *core)
{
    uint32_t marked;

    if (core->mode != MODE_REPLICATE) { /* it was lost before, and is again before it was back */
        fence_peer_lost_again(core);
        return;
    }
    core->mode = MODE_UNRECORDED;
    core->inherited = core->role != REPLICA_ROLE_PRIMARY && !MUTANT(not_inherited);
    if (core->role != REPLICA_ROLE_PRIMARY)
        return;
    core->loss.since = core->now;
    if (!core_has_data(core)) { /* what went to the peer is marked: a target gets it again */
        core->loss.phase = LOSS_NONE;
        core->loss.unflushed = true;
        confirm_peer_lost(core);
        request_peer_lost(core);
        request_fail_waiting(core, REPLICA_E_IO);
        return;
    }
    fence_peer_lost(core);
    if (core->loss.phase == LOSS_DISK) {
        /* A detach: the peer may have taken over. What it then calls its generation becomes an
         * ancestor of ours. */
        if (!MUTANT(unheard_takeover_one))
            lineage_new_current(&core->super.generation, core->loss.uuid, true);
        lineage_new_current(&core->super.generation, core_random(core), true);
        confirm_peer_lost(core);
        request_peer_lost(core);
        loss_record(core);
        return;
    }
    core->loss.phase = LOSS_BITMAP; /* holds the answers of what is now over */
    marked = confirm_peer_lost(core) + request_peer_lost(core);
    if (marked > 0 && !MUTANT(loss_not_recorded)) {
        core_log(core, LOG_LEVEL_WARNING,
                 "the peer is lost: recording %" PRIu32 " unconfirmed writes before going on alone",
                 marked);
        loss_record(core);
    } else if (fence_holds(core)) {
        loss_record(core);
    } else {
        core->loss.phase = LOSS_NONE;
    }
}

void loss_disk(struct core *core)
{
    struct wire_message *message = core_send(core, WIRE_NEW_UUID, NULL);

    core->loss.phase = MUTANT(takeover_unasked) ? LOSS_NONE : LOSS_DISK;
    core->loss.generation++;
    core->loss.asked_at = core->now;
    message->tag = tag_make(TAG_LOSS, 0, core->loss.generation);
    core->loss.uuid = core_random(core) & ~(uint64_t)1;
    core->loss.refused = false;
    message->value = core->loss.uuid;
    message->flags = CORE_UUID_DISK_LOST;
}

void loss_disk_answered(struct core *core, const struct wire_message *message)
{
    if (core->loss.phase != LOSS_DISK ||
        message->tag != tag_make(TAG_LOSS, 0, core->loss.generation)) {
        session_violation(core, "an answer to no question");
        return;
    }
    core->loss.refused = message->code != 0;
    if (message->code == 0 || message->code == REPLICA_E_BUSY)
        core->loss.last_copy = false;
    if (message->code && core_has_data(core)) { /* a detach: nothing has happened */
        core->loss.phase = LOSS_NONE;
        return;
    }
    if (message->code) {
        session_close(core, message->code, true, "%s: %s cannot take over the data of %s: %s",
                      core->config.resource, core->config.peer_node, core->config.node,
                      replica_code_name(message->code));
        return;
    }
    core->loss.phase = LOSS_NONE;
    core_log(core, LOG_LEVEL_WARNING, "going on without a disk, through %s",
             core->config.peer_node);
}

void loss_give_up(struct core *core)
{
    if (core->loss.phase != LOSS_FROZEN || session_handshaking(core))
        return;
    core_log(core, LOG_LEVEL_WARNING, "demoted while frozen: what the guest waits for fails");
    core->loss.phase = LOSS_FAILING;
    request_fail_flushes(core, REPLICA_E_IO);
}

void loss_resume(struct core *core)
{
    core_log(core, LOG_LEVEL_WARNING, "the operator resumes I/O without %s",
             core->config.peer_node);
    core->loss.resumed = true;
}

void loss_over(struct core *core)
{
    if (core->loss.phase == LOSS_FROZEN)
        core->loss.phase = LOSS_NONE; /* what was marked is in the bitmap that the peer has seen */
    core->loss.resumed = false;
    core->loss.since = 0;
    core->super.asked_uuid = 0; /* the two have compared */
    fence_peer_back(core);
}

static void freeze(struct core *core)
{
    core->loss.phase = LOSS_FROZEN;
    core_log(core, LOG_LEVEL_ERROR,
             "I/O is frozen: %s is lost%s; it goes on when the peer is back%s, or with tapdrbdadm "
             "resume-io %s",
             core->config.peer_node,
             core->fence.phase == FENCE_RUNS ? " and is being fenced" : " and not known to be out",
             core->config.on_peer_loss == CORE_PEER_LOSS_FREEZE ? "" : " or fenced",
             core->config.resource);
}

/* A peer that took the generation it was last asked for has begun nothing: ours comes after it. */
static void start_after_asked(struct core *core)
{
    lineage_remember(&core->super.generation, core->super.asked_uuid);
    core->super.asked_uuid = 0;
}

/* The role that the old generation's bit tells is that of the moment at which the peer was lost:
 * it names the older Primary after a split brain. */
static void start_generation(struct core *core)
{
    struct generation *generation = &core->super.generation;

    if (!lineage_is_ours_alone(generation) && !MUTANT(no_new_generation)) {
        generation->current &= ~(uint64_t)1;
        generation->current |= core->inherited ? 0 : 1;
        lineage_new_current(generation, core_random(core), true);
        start_after_asked(core);
    }
    core->super.flags &= ~(uint32_t)METADATA_CONNECTED;
    core->loss.phase = LOSS_GENERATION;
    core->loss.ticket = persist_super(core);
}

bool loss_pump(struct core *core)
{
    struct loss *loss = &core->loss;

    switch (loss->phase) {
    case LOSS_NONE:
    case LOSS_DISK:
        return false;
    case LOSS_BITMAP:
        if (!persist_bitmap_due(core, loss->ticket))
            return false;
        if (fence_holds(core))
            freeze(core);
        else
            start_generation(core);
        return true;
    case LOSS_FROZEN: /* a session that is being made tells more */
        if (fence_holds(core) || session_handshaking(core))
            return false;
        start_generation(core);
        return true;
    case LOSS_FAILING:
        if (!request_drained(core))
            return false;
        loss->phase = LOSS_NONE;
        core->inherited =
            !MUTANT(failing_not_inherited); /* P2: who knows what the peer has flushed */
        return true;
    case LOSS_GENERATION:
        if (!persist_super_due(core, loss->ticket) && !MUTANT(generation_not_awaited))
            return false;
        loss->phase = LOSS_NONE;
        core->mode = MODE_ALONE;
        core_log(core, LOG_LEVEL_WARNING,
                 "going on without the peer; generation %016" PRIx64 ", %" PRIu64
                 " KiB out of sync",
                 core->super.generation.current, core->bitmap.set * (REPLICA_BLOCK_BYTES / 1024));
        return true;
    }
    return false;
}
