/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.h - the backend's end of one blkif ring in shared memory.
 *
 * The memory is the guest's to change at any moment, also between two of our reads. Every index is
 * read once into a private variable and checked there; every entry is copied once and never looked
 * at again in place. A guest that claims more requests than the ring holds has lost it for good:
 * the ring is `broken` and nothing is taken from it or put into it any more.
 *
 * No Xen call: mapping and notification are the caller's.
 */
#ifndef TAPDISK_RING_H
#define TAPDISK_RING_H

#include "blkif.h"

enum { RING_PAGES_MAX = 16 };

struct ring {
    uint8_t *shared; /* borrowed; NULL when detached */
    enum blkif_abi abi;
    uint32_t entries;      /* a power of two */
    uint32_t request_next; /* index of the next request to take */
    uint32_t response_next;
    uint32_t response_pushed; /* what the guest has been shown */
    bool broken;
};

/* Starts at the ring's own rsp_prod: on a fresh ring 0. `pages` pages at `shared`.
 * Errors: REPLICA_E_PROTOCOL when the indices in it make no sense. */
int ring_attach(struct ring *ring, enum blkif_abi abi, void *shared, unsigned pages);
/* Takes up a ring of which a former process took `taken` requests and gave `answered` responses,
 * and shows the latter. rsp_prod stands at `shown` or at `answered`.
 * Errors: REPLICA_E_PROTOCOL when what is in the ring cannot be that. */
int ring_resume(struct ring *ring, enum blkif_abi abi, void *shared, unsigned pages, uint32_t taken,
                uint32_t answered, uint32_t shown);
void ring_detach(struct ring *ring);

/* Copies the next request to `entry` (BLKIF_ENTRY_BYTES_MAX bytes). 1: taken, 0: none there.
 * Errors: REPLICA_E_PROTOCOL, from then on. */
int ring_take(struct ring *ring, uint8_t *entry);

/* Before going to sleep: asks for an event at the next request, then looks once more. True: a
 * request is there after all (or the indices turned bad), call ring_take again. */
bool ring_final_check(struct ring *ring);

/* Puts a whole response into the next slot. The caller answers each taken request once, so there
 * is always a slot. */
void ring_respond(struct ring *ring, uint64_t id, uint8_t operation, enum blkif_status status);

/* Responses were put that the guest has not been shown. */
bool ring_has_news(const struct ring *ring);
/* Shows the guest the responses put since the last push. True: it asked to be notified. */
bool ring_push(struct ring *ring);

#endif
