/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * csums.c - a resync that does not send what the target has already (csums-alg).
 *
 *   target  reads its own range, RESYNC_SUM -> source reads and sums up too
 *           equal: RESYNC_SAME; the range then counts as written, and is flushed before its bits
 *           are cleared, as any other. Different: RESYNC_DATA, as without a checksum.
 *
 * Why the target may read without holding the range against the guest's writes: whatever such a
 * write has changed in what it read, the source has too when it compares, because it sends no write
 * after it has answered that is not in the ordered stream behind the answer, and holds the range
 * from before it reads (resync.c). A byte that the target has read and that is not the newest one
 * belongs to a write that is still to come here, and that brings the byte that the source compared.
 *
 * It rests on no two contents having one checksum: crc32c is no algorithm for this. Where a
 * checksum cannot be had (a disk that cannot be read may still be written, and md5 may be
 * forbidden on a host) the data are asked for as ever.
 */
#include "core_private.h"

#include <string.h>

static void send_ask(struct core *core, struct sync_slot *slot, const uint8_t *digest)
{
    struct wire_message *message =
        core_send(core, digest ? WIRE_RESYNC_SUM : WIRE_RESYNC_READ, NULL);

    slot->phase = SYNC_SLOT_ASKED;
    slot->asked_at = core->now;
    message->tag = tag_make(TAG_RESYNC_ASK, slot->index, slot->generation);
    message->range = slot->range;
    if (!digest) {
        slot->algorithm = CORE_DIGEST_NONE;
        message->flags = slot->held ? CORE_RESYNC_HELD : 0;
        return;
    }
    message->flags = slot->algorithm;
    memcpy(message->digest, digest, sizeof message->digest);
}

void csums_ask(struct core *core, struct sync_slot *slot)
{
    /* A Primary that is the target keeps its guest waiting meanwhile: no second question. */
    slot->algorithm = slot->held ? CORE_DIGEST_NONE : core->config.csums_digest;
    if (slot->algorithm == CORE_DIGEST_NONE) {
        send_ask(core, slot, NULL);
        return;
    }
    slot->phase = SYNC_SLOT_SUM;
    core_disk_sum(core, slot->range, slot->algorithm,
                  tag_make(TAG_RESYNC_ASK, slot->index, slot->generation));
}

void csums_summed(struct core *core, struct sync_slot *slot, int code, const uint8_t *digest)
{
    send_ask(core, slot, code ? NULL : digest);
}

bool csums_asked(struct sync_slot *slot, const struct wire_message *message)
{
    slot->algorithm = CORE_DIGEST_NONE;
    if (message->type != WIRE_RESYNC_SUM)
        return true;
    if (message->flags <= CORE_DIGEST_NONE || message->flags >= CORE_DIGEST_COUNT)
        return false;
    slot->algorithm = (enum core_digest)message->flags;
    memcpy(slot->theirs, message->digest, sizeof slot->theirs);
    return true;
}

bool csums_equal(struct core *core, const struct sync_slot *slot, const uint8_t *digest)
{
    struct wire_message *message;

    if (slot->algorithm == CORE_DIGEST_NONE || !digest ||
        (memcmp(slot->theirs, digest, sizeof slot->theirs) != 0 && !MUTANT(same_unchecked)))
        return false;
    message = core_send(core, WIRE_RESYNC_SAME, NULL);
    message->tag = slot->tag;
    message->range = slot->range;
    message->flags = pace_tell(core);
    core->resync.same_bytes += slot->range.length;
    return true;
}
