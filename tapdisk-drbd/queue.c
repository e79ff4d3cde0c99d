/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue.c - one ring of a vbd: taking requests, answering them, and the event channel.
 *
 * An event masks its channel until we unmask it. We do so only when the ring is empty and the
 * final check has found nothing (drain before unmasking), so a guest cannot storm us; one that
 * sends events without requests gets its channel unmasked later and later. While requests wait for
 * a buffer or a barrier the channel stays masked: what they wait for kicks the queue.
 *
 * One pass takes at most twice what the ring holds; a guest that keeps it full has to wait for the
 * next turn of the loop like everybody else.
 */
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "libreplica/core/err.h"
#include "plane_private.h"

enum {
    TAKE_AT_ONCE = 32,      /* requests whose indirect descriptors share a batch */
    SPURIOUS_FREE = 16,     /* empty events in a row that cost nothing */
    SPURIOUS_SHIFT_MAX = 7, /* the longest delay is 2^7 ms */
    MILLISECOND = 1000000
};

/* ---- beginning and end ------------------------------------------------------------------------
 */

/* In the order in which they were taken: what they did to each other is done the same again. */
static void pending_insert(struct queue *queue, struct request *request)
{
    struct request **place = &queue->pending;

    while (*place && (*place)->record->order < request->record->order)
        place = &(*place)->next;
    request->next = *place;
    request->pending = true;
    *place = request;
    if (!request->next)
        queue->pending_tail = &request->next;
}

static int requests_open(struct queue *queue)
{
    queue->requests = calloc(queue->ring.entries, sizeof *queue->requests);
    if (!queue->requests)
        return REPLICA_E_MEMORY;
    for (uint32_t i = 0; i < queue->ring.entries; i++) {
        struct request *request = &queue->requests[i];

        request->record = &queue->journal.records[i];
        if (request->record->order) {
            request_restore(request, queue);
            pending_insert(queue, request);
        } else {
            request->next = queue->free;
            queue->free = request;
        }
    }
    return 0;
}

/* The ring begins where a former process left it, or where it stands. */
static int ring_open(struct queue *queue, const struct vbd_parameters *parameters, unsigned index,
                     struct replica_error *error)
{
    struct journal_ring *journal = &queue->journal;
    void *shared = queue->map.address;
    int code;

    *journal = journal_ring(&queue->vbd->journal, index);
    if (!parameters->resume) {
        code = ring_attach(&queue->ring, parameters->abi, shared, parameters->ring_pages);
        if (code)
            return err_set(error, code, "queue %u: the indices in its ring make no sense", index);
        journal->mark->taken = journal->mark->answered = journal->mark->shown =
            queue->ring.request_next;
        journal->responses = journal->mark->answered;
        return 0;
    }
    if (journal_settle(journal))
        return err_set(error, REPLICA_E_INVALID,
                       "queue %u: the records of its requests contradict each other", index);
    code = ring_resume(&queue->ring, parameters->abi, shared, parameters->ring_pages,
                       (uint32_t)journal->mark->taken, (uint32_t)journal->mark->answered,
                       (uint32_t)journal->mark->shown);
    if (code)
        return err_set(error, REPLICA_E_INVALID,
                       "queue %u: its ring and the records of its requests do not belong together",
                       index);
    journal_shown(journal);
    return 0;
}

static int bind_event_channel(struct queue *queue, uint32_t domain, uint32_t remote)
{
    struct plane *plane = queue->vbd->plane;
    int port = xenevtchn_bind_interdomain(plane->events, domain, remote);

    if (port < 0)
        return REPLICA_E_BUSY;
    queue->port = (evtchn_port_t)port;
    queue->bound = true;
    return 0;
}

int queue_open(struct queue *queue, struct vbd *vbd, const struct vbd_parameters *parameters,
               unsigned index, struct replica_error *error)
{
    uint32_t grefs[RING_PAGES_MAX];
    int code;

    queue->vbd = vbd;
    queue->pending_tail = &queue->pending;
    queue->unmask_at = UINT64_MAX;
    memcpy(grefs, parameters->queue[index].grefs, sizeof grefs);
    code = grant_map(&queue->map, vbd->plane->grants, parameters->domain, parameters->ring_pages,
                     grefs);
    if (code)
        return err_set(error, code, "queue %u: ring-ref %u cannot be mapped", index, grefs[0]);
    code = ring_open(queue, parameters, index, error);
    if (code)
        return code;
    code = requests_open(queue);
    if (code)
        return err_set(error, code, "no memory for a ring of %u requests", queue->ring.entries);
    code = bind_event_channel(queue, parameters->domain, parameters->queue[index].port);
    if (code)
        return err_set(error, code, "queue %u: event-channel %u cannot be bound", index,
                       parameters->queue[index].port);
    /* The former process may have died between showing its responses and telling of them. */
    if (parameters->resume)
        (void)xenevtchn_notify(vbd->plane->events, queue->port);
    return 0;
}

void queue_detach(struct queue *queue)
{
    plane_unkick(queue->vbd->plane, queue);
    if (queue->bound && xenevtchn_unbind(queue->vbd->plane->events, queue->port) != 0)
        replica_log(queue->vbd->plane->replica, LOG_WARNING, "vbd %s: cannot unbind event channel",
                    queue->vbd->name);
    queue->bound = false;
    ring_detach(&queue->ring);
    grant_unmap(&queue->map);
    queue->pending = NULL;
    queue->pending_tail = &queue->pending;
}

void queue_free(struct queue *queue)
{
    free(queue->requests);
}

/* ---- lists --------------------------------------------------------------------------------------
 */

uint8_t *queue_block_get(struct queue *queue, struct request *request)
{
    uint32_t block = 0;

    while (block < JOURNAL_BLOCKS && queue->blocks_used & UINT32_C(1) << block)
        block++;
    if (block == JOURNAL_BLOCKS)
        return NULL;
    queue->blocks_used |= UINT32_C(1) << block;
    journal_set_block(request->record, block);
    return queue->journal.blocks + (size_t)block * JOURNAL_BLOCK_BYTES;
}

static void pending_append(struct queue *queue, struct request *request)
{
    request->next = NULL;
    request->pending = true;
    *queue->pending_tail = request;
    queue->pending_tail = &request->next;
}

static void pending_put_first(struct queue *queue, struct request *request)
{
    request->next = queue->pending;
    request->pending = true;
    queue->pending = request;
    if (!request->next)
        queue->pending_tail = &request->next;
}

static struct request *pending_take_first(struct queue *queue)
{
    struct request *request = queue->pending;

    queue->pending = request->next;
    if (!queue->pending)
        queue->pending_tail = &queue->pending;
    return request;
}

/* A request that had all its parts out has more to hand over. */
void queue_wait_again(struct queue *queue, struct request *request)
{
    pending_put_first(queue, request);
    plane_kick(queue->vbd->plane, queue);
}

/* ---- answers ------------------------------------------------------------------------------------
 */

void queue_answer(struct queue *queue, struct request *request)
{
    ring_respond(&queue->ring, request->command.id, request->command.answered_operation,
                 request->status);
    journal_answer(&queue->journal, request->record);
    request->next = queue->answered;
    queue->answered = request;
    /* The push is done once for all answers of a turn. */
    plane_kick(queue->vbd->plane, queue);
}

/* The guest has their responses: their records and blocks are free for others. */
static void release_answered(struct queue *queue)
{
    while (queue->answered) {
        struct request *request = queue->answered;

        queue->answered = request->next;
        journal_clear(request->record);
        if (request->record->block)
            queue->blocks_used &= ~(UINT32_C(1) << (request->record->block - 1));
        request->indirect = NULL;
        request->next = queue->free;
        queue->free = request;
    }
}

void queue_push(struct queue *queue)
{
    bool notify;

    if (!ring_has_news(&queue->ring))
        return;
    journal_commit(&queue->journal);
    notify = ring_push(&queue->ring);
    journal_shown(&queue->journal);
    release_answered(queue);
    /* A guest that closed its end in this moment does not want to be woken. */
    if (notify)
        (void)xenevtchn_notify(queue->vbd->plane->events, queue->port);
}

/* ---- a pass -------------------------------------------------------------------------------------
 */

/* True: every pending request has been handed over. */
static bool move_pending(struct queue *queue)
{
    while (queue->pending) {
        struct request *request = pending_take_first(queue);

        if (request_advance(request) == REQUEST_STUCK) {
            pending_put_first(queue, request);
            return false;
        }
    }
    return true;
}

static void tell_broken(struct queue *queue)
{
    if (queue->told_broken)
        return;
    queue->told_broken = true;
    queue->vbd->counters.broken++;
    replica_log(queue->vbd->plane->replica, LOG_ERR,
                "vbd %s: the guest claims more requests than its ring holds; this ring is not "
                "served any more until the guest closes it",
                queue->vbd->name);
}

/* Fetches the descriptors of all new indirect requests with one call to the hypervisor. */
static void fetch_descriptors(struct queue *queue, struct request **taken, unsigned count)
{
    unsigned fetched = 0;

    for (unsigned i = 0; i < count; i++) {
        if (taken[i]->step != REQUEST_DESCRIPTORS)
            continue;
        if (!request_fetch_descriptors(taken[i]))
            break;
        fetched++;
    }
    if (fetched == 0)
        return;
    plane_copy_in(queue->vbd->plane);
    for (unsigned i = 0; i < count; i++)
        if (taken[i]->step == REQUEST_DESCRIPTORS && taken[i]->indirect)
            request_judge_descriptors(taken[i]);
}

/* Takes some requests off the ring; they are pending then. */
static unsigned take_some(struct queue *queue)
{
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];
    struct request *taken[TAKE_AT_ONCE];
    unsigned count = 0;

    if (!queue->free)
        queue_push(queue);
    while (count < TAKE_AT_ONCE && queue->free && ring_take(&queue->ring, entry) == 1) {
        struct request *request = queue->free;

        queue->free = request->next;
        journal_take(&queue->journal, request->record, entry, blkif_entry_bytes(queue->ring.abi));
        request_prepare(request, queue, entry);
        taken[count++] = request;
    }
    fetch_descriptors(queue, taken, count);
    for (unsigned i = 0; i < count; i++)
        pending_append(queue, taken[i]);
    return count;
}

static void unmask(struct queue *queue)
{
    queue->unmask_at = UINT64_MAX;
    queue->masked = false;
    (void)xenevtchn_unmask(queue->vbd->plane->events, queue->port);
}

/* The ring is empty. Unmasks now, or later when the guest sends events for nothing. */
static void unmask_in_time(struct queue *queue, uint64_t now)
{
    unsigned shift;

    if (queue->unmask_at <= now || queue->spurious <= SPURIOUS_FREE) {
        unmask(queue);
        return;
    }
    if (queue->unmask_at == UINT64_MAX) {
        shift = queue->spurious - SPURIOUS_FREE - 1;
        if (shift > SPURIOUS_SHIFT_MAX)
            shift = SPURIOUS_SHIFT_MAX;
        queue->unmask_at = now + ((uint64_t)MILLISECOND << shift);
    }
    plane_wake_at(queue->vbd->plane, queue->unmask_at);
}

static void count_spurious(struct queue *queue, unsigned taken)
{
    if (taken != 0) {
        queue->spurious = 0;
    } else if (queue->event) {
        queue->vbd->counters.spurious++;
        if (queue->spurious <= SPURIOUS_FREE + SPURIOUS_SHIFT_MAX)
            queue->spurious++;
    }
    queue->event = false;
}

/* Nothing waits for us. */
static void settle(struct queue *queue, unsigned taken, unsigned most, uint64_t now)
{
    count_spurious(queue, taken);
    if (taken >= most)
        plane_wake_at(queue->vbd->plane, now);
    else if (queue->masked)
        unmask_in_time(queue, now);
}

bool queue_quiet(struct queue *queue)
{
    if (queue->ring.broken)
        return true;
    return !queue->kicked && !queue->pending && !ring_has_news(&queue->ring) &&
           (queue->vbd->stopped || !ring_final_check(&queue->ring));
}

void queue_pass(struct queue *queue, uint64_t now)
{
    unsigned taken = 0, most = queue->ring.entries * 2, some = 0;
    bool moved, more = false;

    do {
        moved = move_pending(queue);
        if (!moved || queue->vbd->stopped || taken >= most)
            break;
        some = take_some(queue);
        taken += some;
        more = some == 0 && ring_final_check(&queue->ring);
    } while (some != 0 || (more && !queue->ring.broken));
    plane_copy_in(queue->vbd->plane);
    if (queue->ring.broken) {
        tell_broken(queue);
        return;
    }
    if (moved && !queue->vbd->stopped)
        settle(queue, taken, most, now);
}
