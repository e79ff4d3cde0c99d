/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resize_types.h - what resize.c and grow.c keep in struct core; a part of core_types.h. */
#ifndef CORE_RESIZE_TYPES_H
#define CORE_RESIZE_TYPES_H

#include "metadata.h"

/* ---- resize (resize.c, grow.c)
 * ---------------------------------------------------------------------------- */

/* What the metadata shall be made fit for. */
struct grow_wish {
    uint64_t data_bytes, meta_bytes;
    uint64_t marked_end; /* the new blocks before this byte are out of sync */
};

struct grow {
    enum grow_phase {
        GROW_NONE,
        GROW_HOLD,
        GROW_SLOTS,
        GROW_RING,
        GROW_MAP,
        GROW_READY,
        GROW_SUPER,
        GROW_DONE,
        GROW_FAILED,   /* nothing is changed; `failed` says why */
        GROW_ABANDONED /* its last transfers come in */
    } phase;
    struct grow_wish wish;
    struct metadata_layout layout; /* the new one */
    bool moves, reading;
    uint64_t cursor, ticket;
    int failed;
    /* Where the superblocks were, until one is durable in their new place; else 0. */
    struct grow_place {
        uint64_t slots[METADATA_SLOTS], meta_bytes;
    } former;
};

struct resize {
    enum resize_phase {
        RESIZE_NONE,
        RESIZE_MEASURE, /* the leader's, in order */
        RESIZE_OFFER,
        RESIZE_COPYING,
        RESIZE_OWN,
        RESIZE_COMMIT,
        RESIZE_MEASURING, /* the follower's, in order */
        RESIZE_OFFERED,
        RESIZE_PEER_COPIES,
        RESIZE_COPIED,
        RESIZE_SWITCHING,
        RESIZE_CATCH_UP /* the peer is larger */
    } phase;
    uint64_t session;
    uint32_t generation; /* of our questions */
    uint64_t peer_tag;   /* of the peer's question */
    bool forwarded;      /* the leader's: the command was typed on the peer */
    uint32_t measuring;  /* serial of the last ACTION_MEASURE */
    uint32_t flags;      /* CORE_RESIZE_CLEAN */
    uint64_t wanted;     /* by the operator; 0: as much as there is */
    uint64_t bytes;      /* what it shall be */
    uint64_t marked_end; /* the new blocks before this byte count as out of sync */
    uint64_t most;       /* what this node's devices can hold */
    uint64_t meta_bytes; /* size of the metadata device */
    uint64_t stale_end;  /* old internal metadata lie in the new area up to here; 0: none do */
    uint64_t asked_at;
};

#endif
