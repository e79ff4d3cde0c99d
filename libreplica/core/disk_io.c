/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk_io.c - what the local disk was asked and has not answered yet, data and metadata.
 *
 * When it hangs for too long (liveness.c says when), it is given up: every request under way gets
 * its answer here, REPLICA_E_TIMEOUT, and the modules go on as after an error. The real answers
 * come late, or never. Until the last of them is here the disk may still do what it was asked: so
 * nothing is attached in its place, and `down` waits.
 *
 * A guest's read that was given up is asked of the peer, into the same buffer. The late answer of
 * the disk does no harm there: it is what the disk held when it was UpToDate, at a moment at which
 * the guest was waiting for just that read.
 */
#include "core_private.h"

enum { PLACES_SINGLE = 5 };

uint32_t disk_io_places(const struct core *core)
{
    return PLACES_SINGLE + CORE_STAGING_SLOTS + CORE_RESYNC_ASKS + CORE_RESYNC_READS +
           2 * CORE_VERIFY_SLOTS + CORE_PEER_SLOTS + core->config.requests_max;
}

/* One for each tag that can be under way at a time. */
static uint32_t place_of(uint64_t tag)
{
    uint32_t at = PLACES_SINGLE, index = tag_index(tag);

    switch (tag_kind(tag)) {
    case TAG_SUPERBLOCK:
        return 0;
    case TAG_ACTLOG:
        return 1;
    case TAG_CONFIRM:
        return 2;
    case TAG_SESSION_FLUSH:
        return 3;
    case TAG_RESYNC_FLUSH:
        return 4;
    case TAG_REQUEST:
        at += CORE_PEER_SLOTS; /* fall through */
    case TAG_PEER:
        at += CORE_VERIFY_SLOTS; /* fall through */
    case TAG_VERIFY_SERVE:
        at += CORE_VERIFY_SLOTS; /* fall through */
    case TAG_VERIFY_ASK:
        at += CORE_RESYNC_READS; /* fall through */
    case TAG_RESYNC_READ:
        at += CORE_RESYNC_ASKS; /* fall through */
    case TAG_RESYNC_ASK:
        at += CORE_STAGING_SLOTS; /* fall through */
    case TAG_STAGING:
        return at + index;
    case TAG_NONE:
    case TAG_COMMAND:
    case TAG_LOSS:
    case TAG_RESIZE:
        break;
    }
    return UINT32_MAX;
}

void disk_io_begin(struct core *core, uint64_t tag)
{
    core->disk_io.list[place_of(tag)] = (struct disk_io_entry){.tag = tag, .at = core->now};
    liveness_disk_asked(core);
}

bool disk_io_end(struct core *core, uint64_t tag)
{
    struct disk_io *io = &core->disk_io;
    uint32_t place = place_of(tag);

    if (place < disk_io_places(core) && io->list[place].tag == tag) {
        io->list[place].tag = 0;
        return true;
    }
    if (io->late > 0)
        io->late--;
    return false;
}

uint64_t disk_io_oldest(const struct core *core)
{
    uint64_t at = UINT64_MAX;

    for (uint32_t i = 0; i < disk_io_places(core); i++)
        if (core->disk_io.list[i].tag && core->disk_io.list[i].at < at)
            at = core->disk_io.list[i].at;
    return at;
}

void disk_io_give_up(struct core *core)
{
    struct event event = {.kind = EVENT_DISK_DONE, .disk_done = {.code = REPLICA_E_TIMEOUT}};

    core->persist.dead = true;
    if (!core->reading)
        core_disk_failed(core, REPLICA_E_TIMEOUT, "hanging for longer than disk-timeout");
    for (uint32_t i = 0; i < disk_io_places(core); i++) {
        uint64_t tag = core->disk_io.list[i].tag;

        if (!tag)
            continue;
        core->disk_io.list[i].tag = 0;
        core->disk_io.late++;
        event.disk_done.tag = tag;
        if (tag_kind(tag) <= TAG_STAGING)
            persist_done(core, tag, REPLICA_E_TIMEOUT);
        else
            core_disk_answered(core, &event);
    }
}
