/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loss.c - what becomes durable when a Primary loses its peer.
 *
 *   1. Nothing is completed and nothing is started (core_suspended).
 *   2. Every write that the peer has not confirmed durable, and every write in flight, becomes
 *      out-of-sync bits; the bitmap is written (P3).
 *   3. Then the superblock with a new current generation is written (P7).
 *   4. Then what was held goes out, and guest I/O runs on alone (P1).
 *
 * A Primary that loses its peer with nothing unconfirmed does this at its first write. One that
 * took the role over without the peer does it at its first flush too: the peer may have lost
 * what it had not flushed, and this node has it (P2).
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

    if (core->mode != MODE_REPLICATE)
        return;
    core->mode = MODE_UNRECORDED;
    core->inherited = core->role != REPLICA_ROLE_PRIMARY;
    if (core->role != REPLICA_ROLE_PRIMARY)
        return;
    core->loss.phase = LOSS_BITMAP; /* holds the answers of what is now over */
    marked = confirm_peer_lost(core) + request_peer_lost(core);
    if (marked > 0 && core_has_disk(core)) {
        core_log(core, LOG_LEVEL_WARNING,
                 "the peer is lost: recording %" PRIu32 " unconfirmed writes before going on alone",
                 marked);
        loss_record(core);
    } else {
        core->loss.phase = LOSS_NONE;
    }
}

bool loss_pump(struct core *core)
{
    struct loss *loss = &core->loss;

    switch (loss->phase) {
    case LOSS_NONE:
        return false;
    case LOSS_BITMAP:
        if (!persist_bitmap_due(core, loss->ticket))
            return false;
        lineage_new_current(&core->super.generation, core_random(core), true);
        core->super.flags &= ~(uint32_t)METADATA_CONNECTED;
        loss->phase = LOSS_GENERATION;
        loss->ticket = persist_super(core);
        return true;
    case LOSS_GENERATION:
        if (!persist_super_due(core, loss->ticket))
            return false;
        loss->phase = LOSS_NONE;
        core->mode = MODE_ALONE;
        core_log(core, LOG_LEVEL_WARNING,
                 "going on without the peer; new generation %016" PRIx64 ", %" PRIu64
                 " KiB out of sync",
                 core->super.generation.current, core->bitmap.set * (REPLICA_BLOCK_BYTES / 1024));
        return true;
    }
    return false;
}
