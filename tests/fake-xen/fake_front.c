/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_front.c - see fake_front.h. Layouts as the head of blkif.c has them. */
#include "fake_front.h"

#include <string.h>

static bool narrow(const struct front *front)
{
    return front->abi == BLKIF_ABI_X86_32;
}

void front_open(struct front *front, uint32_t domain, enum blkif_abi abi, unsigned first_page,
                unsigned pages)
{
    *front = (struct front){.domain = domain, .abi = abi, .first_page = first_page, .pages = pages};
    for (unsigned i = 0; i < pages; i++)
        fake_grant(first_page + i, domain, true);
    memset(fake_page(first_page), 0, (size_t)pages * FAKE_PAGE_BYTES);
    *front_index(front, 4) = 1;
    *front_index(front, 12) = 1;
    front->port = fake_port_new(domain);
}

void front_describe(const struct front *front, struct vbd_parameters *parameters, unsigned index)
{
    parameters->domain = front->domain;
    parameters->abi = front->abi;
    parameters->ring_pages = front->pages;
    for (unsigned i = 0; i < front->pages; i++)
        parameters->queue[index].grefs[i] = front->first_page + i;
    parameters->queue[index].port = front->port;
}

uint32_t *front_index(const struct front *front, unsigned offset)
{
    return (uint32_t *)(void *)(fake_page(front->first_page) + offset);
}

uint8_t *front_slot(struct front *front, uint32_t index)
{
    uint32_t entries = blkif_ring_entries(front->abi, front->pages);

    return fake_page(front->first_page) + 64 +
           (index & (entries - 1)) * blkif_entry_bytes(front->abi);
}

static void put_number(uint8_t *place, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        place[i] = (uint8_t)(value >> (8 * i));
}

static void put_segment(uint8_t *place, const struct front_segment *segment)
{
    memset(place, 0xaa, 8); /* the padding is not for the backend */
    put_number(place, segment->page, 4);
    place[4] = segment->first;
    place[5] = segment->last;
}

static uint8_t *put_head(struct front *front, uint8_t operation, uint64_t id, uint64_t sector)
{
    uint8_t *slot = front_slot(front, front->produced++);

    memset(slot, 0xaa, blkif_entry_bytes(front->abi));
    slot[0] = operation;
    put_number(slot + (narrow(front) ? 4 : 8), id, 8);
    put_number(slot + (narrow(front) ? 12 : 16), sector, 8);
    return slot;
}

void front_put(struct front *front, uint8_t operation, uint64_t id, uint64_t sector,
               const struct front_segment *segments, unsigned count)
{
    uint8_t *slot = put_head(front, operation, id, sector);

    slot[1] = (uint8_t)count;
    for (unsigned i = 0; i < count && i < BLKIF_DIRECT_SEGMENTS_MAX; i++)
        put_segment(slot + (narrow(front) ? 20 : 24) + (size_t)i * 8, &segments[i]);
}

void front_put_indirect(struct front *front, uint8_t operation, uint64_t id, uint64_t sector,
                        const struct front_segment *segments, unsigned count, unsigned page)
{
    uint8_t *slot = put_head(front, BLKIF_INDIRECT, id, sector);

    slot[1] = operation;
    put_number(slot + 2, count, 2);
    put_number(slot + (narrow(front) ? 24 : 28), page, 4);
    for (unsigned i = 0; i < count && i < 512; i++)
        put_segment(fake_page(page) + (size_t)i * 8, &segments[i]);
    fake_grant(page, front->domain, false);
}

void front_put_discard(struct front *front, uint64_t id, uint64_t sector, uint64_t sectors,
                       uint8_t flag)
{
    uint8_t *slot = put_head(front, BLKIF_DISCARD, id, sector);

    slot[1] = flag;
    put_number(slot + (narrow(front) ? 20 : 24), sectors, 8);
}

void front_push(struct front *front, bool always)
{
    uint32_t before = *front_index(front, 0), event;

    __atomic_store_n(front_index(front, 0), front->produced, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = __atomic_load_n(front_index(front, 4), __ATOMIC_ACQUIRE);
    if (always || front->produced - event < front->produced - before)
        fake_event(front->port);
}

bool front_take(struct front *front, struct front_response *response)
{
    uint8_t *slot;

    if (__atomic_load_n(front_index(front, 8), __ATOMIC_ACQUIRE) == front->consumed)
        return false;
    slot = front_slot(front, front->consumed++);
    *front_index(front, 12) = front->consumed + 1;
    memcpy(&response->id, slot, 8);
    response->operation = slot[8];
    memcpy(&response->status, slot + 10, 2);
    return true;
}
