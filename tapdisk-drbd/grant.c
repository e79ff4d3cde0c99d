/* SPDX-License-Identifier: GPL-2.0-or-later */
/* grant.c - see grant.h. */
#include "grant.h"

#include <sys/mman.h>

#include "libreplica/words.h"

void grant_batch_init(struct grant_batch *batch, xengnttab_handle *handle)
{
    batch->handle = handle;
    batch->count = 0;
}

static xengnttab_grant_copy_segment_t *next_op(struct grant_batch *batch, unsigned length,
                                               unsigned flags, bool *failed)
{
    xengnttab_grant_copy_segment_t *op = &batch->ops[batch->count];

    batch->failed[batch->count] = failed;
    batch->count++;
    op->len = (uint16_t)length;
    op->flags = (uint16_t)flags;
    /* What a call that gave up half-way leaves behind must not look like success. */
    op->status = GNTST_general_error;
    return op;
}

void grant_add_from_guest(struct grant_batch *batch, uint32_t domain, uint32_t gref,
                          unsigned offset, unsigned length, void *to, bool *failed)
{
    xengnttab_grant_copy_segment_t *op = next_op(batch, length, GNTCOPY_source_gref, failed);

    op->source.foreign.ref = gref;
    op->source.foreign.offset = (uint16_t)offset;
    op->source.foreign.domid = (uint16_t)domain;
    op->dest.virt = to;
}

void grant_add_to_guest(struct grant_batch *batch, uint32_t domain, uint32_t gref, unsigned offset,
                        unsigned length, void *from, bool *failed)
{
    xengnttab_grant_copy_segment_t *op = next_op(batch, length, GNTCOPY_dest_gref, failed);

    op->source.virt = from;
    op->dest.foreign.ref = gref;
    op->dest.foreign.offset = (uint16_t)offset;
    op->dest.foreign.domid = (uint16_t)domain;
}

void grant_run(struct grant_batch *batch)
{
    bool refused;

    if (batch->count == 0)
        return;
    refused = xengnttab_grant_copy(batch->handle, batch->count, batch->ops) != 0;
    for (unsigned i = 0; i < batch->count; i++) {
        if (refused || batch->ops[i].status != GNTST_okay)
            *batch->failed[i] = true;
    }
    batch->count = 0;
}

int grant_map(struct grant_map *map, xengnttab_handle *handle, uint32_t domain, unsigned pages,
              uint32_t *grefs)
{
    void *address =
        xengnttab_map_domain_grant_refs(handle, pages, domain, grefs, PROT_READ | PROT_WRITE);

    if (!address)
        return REPLICA_E_IO;
    map->handle = handle;
    map->address = address;
    map->pages = pages;
    return 0;
}

void grant_unmap(struct grant_map *map)
{
    if (!map->address)
        return;
    /* A failure could only be answered by keeping the mapping, which the process cannot use. */
    (void)xengnttab_unmap(map->handle, map->address, map->pages);
    map->address = NULL;
}
