/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grant.h - guest memory: copying through grants in batches, and mapping of ring pages.
 *
 * Data is copied by the hypervisor (grant copy), never mapped: a guest that rewrites a page in
 * flight changes its own page and not what was copied (P5), and a guest that revokes a grant gets
 * an error for that one operation. Only ring pages are mapped.
 */
#ifndef TAPDISK_GRANT_H
#define TAPDISK_GRANT_H

#include <stdbool.h>
#include <stdint.h>
#include <xengnttab.h>

#include "blkif.h"

enum {
    GRANT_BATCH_OPS = 512, /* at least BLKIF_INDIRECT_SEGMENTS_MAX */
    GRANT_PAGE_BYTES = 4096
};

/* Operations that one call hands to the hypervisor. An owner is told of each of its failures;
 * nothing else tells them apart. */
struct grant_batch {
    xengnttab_handle *handle;
    unsigned count;
    xengnttab_grant_copy_segment_t ops[GRANT_BATCH_OPS];
    bool *failed[GRANT_BATCH_OPS]; /* borrowed until grant_run: the owner's flag */
};

void grant_batch_init(struct grant_batch *batch, xengnttab_handle *handle);

static inline unsigned grant_room(const struct grant_batch *batch)
{
    return GRANT_BATCH_OPS - batch->count;
}

/* Adds one copy within one granted page. The caller saw to it that there is room. `failed` is set
 * to true by grant_run when the hypervisor refuses this one, and is else left alone. */
void grant_add_from_guest(struct grant_batch *batch, uint32_t domain, uint32_t gref,
                          unsigned offset, unsigned length, void *to, bool *failed);
void grant_add_to_guest(struct grant_batch *batch, uint32_t domain, uint32_t gref, unsigned offset,
                        unsigned length, void *from, bool *failed);

/* Carries out the batch and empties it. */
void grant_run(struct grant_batch *batch);

/* Ring pages, mapped side by side. */
struct grant_map {
    xengnttab_handle *handle;
    void *address; /* NULL: nothing is mapped */
    unsigned pages;
};

/* All of them or none. Errors: REPLICA_E_IO. */
int grant_map(struct grant_map *map, xengnttab_handle *handle, uint32_t domain, unsigned pages,
              uint32_t *grefs);
void grant_unmap(struct grant_map *map);

#endif
