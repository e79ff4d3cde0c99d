/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * actlog_private.h - the activity log from inside: actlog.c keeps the table, actlog_ring.c writes
 * and reads the ring on disk.
 */
#ifndef CORE_ACTLOG_PRIVATE_H
#define CORE_ACTLOG_PRIVATE_H

#include "actlog.h"
#include "metadata.h"
#include "mutant.h"

enum {
#ifdef METADATA_SMALL /* tests/sim: the changes of one moment need several transactions, and the \
                         table several windows */
    ACTLOG_CHANGES_MAX = 2,
    ACTLOG_WINDOW_MAX = 3
#else
    ACTLOG_CHANGES_MAX = 64, /* in one transaction */
    ACTLOG_WINDOW_MAX = 918  /* slots of its window */
#endif
};

#define ACTLOG_NONE UINT32_MAX /* no slot, no extent */

enum slot_state {
    SLOT_FREE,    /* names no extent */
    SLOT_CHANGED, /* queued for a transaction */
    SLOT_WRITING, /* in the transaction under way */
    SLOT_ON_DISK
};

struct slot {
    uint32_t extent;
    uint32_t references;
    uint32_t chain;          /* next slot with the same hash */
    uint32_t previous, next; /* in one of the lines below, while there is no reference */
    uint32_t next_changed;   /* queue of changed slots */
    enum slot_state state;
};

/* Slots without a reference stand in one of three lines, oldest put first. A line is a ring closed
 * by a slot of its own behind the table, so that leaving it needs no knowledge of which it is. */
enum line {
    LINE_UNCONFIRMED, /* put after the last confirmation began */
    LINE_COVERED,     /* put before; the confirmation has not ended */
    LINE_EVICTABLE,
    LINE_COUNT
};

/* What the scan has found for a slot: the newest word on it. */
struct scanned {
    uint64_t sequence; /* 0: nothing */
    uint32_t extent;
};

/* A readable block; sequence 0: none. */
struct found {
    uint64_t sequence, base;
    uint32_t slots;
};

struct actlog {
    struct core_allocator allocator;
    struct slot *slots; /* slot_count, then LINE_COUNT that close the lines */
    uint32_t slot_count, slots_used;
    uint32_t *heads; /* of the hash chains */
    uint32_t head_mask;
    bool confirming;
    uint32_t changed_first, changed_last;

    uint64_t sequence, base; /* of the next transaction */
    uint32_t window;         /* where its window starts */
    bool writing;
    uint32_t written_count;
    uint32_t written_slots[ACTLOG_CHANGES_MAX]; /* of the transaction under way */

    struct scanned *scan; /* METADATA_AL_EXTENTS_MAX; after the scan, packed: the recovered set */
    uint32_t scan_used;   /* slots that the scan has learned of, at most */
    uint32_t recovered;
    uint32_t damaged; /* blocks that are neither readable nor never written */
    uint32_t foreign; /* blocks with a good checksum and impossible contents */
    struct found newest;
    struct found found[METADATA_AL_BLOCKS]; /* by place */
};

/* Puts a slot into the queue for the next transaction. It must not stand there already. */
void actlog_queue_change(struct actlog *log, uint32_t index);

#endif
