/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.c - see ring.h.
 *
 * The shared header (xen/io/ring.h), 32-bit little-endian indices that run freely:
 *   0 req_prod   written by the guest       4 req_event   written by us
 *   8 rsp_prod   written by us             12 rsp_event   written by the guest
 *  64 the entries; a request and the response to some request share a slot
 *
 * Invariants
 *  1. response_next <= request_next <= response_next + entries (modulo 2^32): a slot gets a
 *     response only after the request in it was taken.
 *  2. response_pushed is what stands in rsp_prod; the guest's copy of it is never read back.
 */
#include "ring.h"

#include <string.h>

#include "libreplica/words.h"

enum { REQ_PROD = 0, REQ_EVENT = 4, RSP_PROD = 8, RSP_EVENT = 12 };

static uint32_t load(const struct ring *ring, unsigned offset)
{
    return __atomic_load_n((const uint32_t *)(const void *)(ring->shared + offset),
                           __ATOMIC_ACQUIRE);
}

static void store(struct ring *ring, unsigned offset, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(ring->shared + offset), value, __ATOMIC_RELEASE);
}

static uint8_t *slot(struct ring *ring, uint32_t index)
{
    size_t at = (size_t)(index & (ring->entries - 1)) * blkif_entry_bytes(ring->abi);

    return ring->shared + BLKIF_RING_HEADER_BYTES + at;
}

int ring_attach(struct ring *ring, enum blkif_abi abi, void *shared, unsigned pages)
{
    uint32_t produced, answered;

    memset(ring, 0, sizeof *ring);
    ring->shared = shared;
    ring->abi = abi;
    ring->entries = blkif_ring_entries(abi, pages);
    answered = load(ring, RSP_PROD);
    produced = load(ring, REQ_PROD);
    if (produced - answered > ring->entries) {
        ring->shared = NULL;
        return REPLICA_E_PROTOCOL;
    }
    ring->request_next = answered;
    ring->response_next = answered;
    ring->response_pushed = answered;
    return 0;
}

int ring_resume(struct ring *ring, enum blkif_abi abi, void *shared, unsigned pages, uint32_t taken,
                uint32_t answered, uint32_t shown)
{
    uint32_t produced, stands;

    memset(ring, 0, sizeof *ring);
    ring->shared = shared;
    ring->abi = abi;
    ring->entries = blkif_ring_entries(abi, pages);
    stands = load(ring, RSP_PROD);
    produced = load(ring, REQ_PROD);
    if ((stands != shown && stands != answered) || produced - answered > ring->entries ||
        produced - taken > ring->entries) {
        ring->shared = NULL;
        return REPLICA_E_PROTOCOL;
    }
    ring->request_next = taken;
    ring->response_next = answered;
    ring->response_pushed = answered;
    store(ring, RSP_PROD, answered);
    return 0;
}

void ring_detach(struct ring *ring)
{
    ring->shared = NULL;
}

/* Requests that wait to be taken. Sets `broken` when the guest claims more than there can be. */
static uint32_t waiting(struct ring *ring)
{
    uint32_t produced;

    if (ring->broken || !ring->shared)
        return 0;
    produced = load(ring, REQ_PROD);
    if (produced - ring->response_next > ring->entries ||
        produced - ring->request_next > ring->entries) {
        ring->broken = true;
        return 0;
    }
    return produced - ring->request_next;
}

int ring_take(struct ring *ring, uint8_t *entry)
{
    if (waiting(ring) == 0)
        return ring->broken ? REPLICA_E_PROTOCOL : 0;
    memcpy(entry, slot(ring, ring->request_next), blkif_entry_bytes(ring->abi));
    /* The compiler may not fetch anything of it a second time from shared memory. */
    __asm__ __volatile__("" : : "r"(entry) : "memory");
    ring->request_next++;
    return 1;
}

bool ring_final_check(struct ring *ring)
{
    if (ring->broken || !ring->shared)
        return false;
    if (waiting(ring) != 0)
        return true;
    if (ring->broken)
        return true;
    store(ring, REQ_EVENT, ring->request_next + 1);
    /* The guest must see the wish before we look the last time, or both would sleep. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return waiting(ring) != 0 || ring->broken;
}

void ring_respond(struct ring *ring, uint64_t id, uint8_t operation, enum blkif_status status)
{
    uint8_t response[BLKIF_RESPONSE_BYTES_MAX];

    if (ring->broken || !ring->shared)
        return;
    blkif_encode_response(ring->abi, id, operation, status, response);
    memcpy(slot(ring, ring->response_next), response, blkif_response_bytes(ring->abi));
    ring->response_next++;
}

bool ring_has_news(const struct ring *ring)
{
    return !ring->broken && ring->shared && ring->response_pushed != ring->response_next;
}

bool ring_push(struct ring *ring)
{
    uint32_t before = ring->response_pushed, after = ring->response_next, event;

    if (!ring_has_news(ring))
        return false;
    store(ring, RSP_PROD, after);
    ring->response_pushed = after;
    /* The guest must see the responses before we read when it wants to be woken. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = load(ring, RSP_EVENT);
    return after - event < after - before;
}
