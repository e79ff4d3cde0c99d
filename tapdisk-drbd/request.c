/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * request.c - the life of one guest request, from the copied ring entry to the response.
 *
 *   DESCRIPTORS  indirect only: the descriptor page is on a grant-copy batch
 *   START        judged; waits while a barrier of its vbd is under way
 *   DRAIN        barrier: waits until everything begun before it is over
 *   FLUSHING     barrier, or flush with data: what came before becomes durable first
 *   DATA         cut into parts of one buffer each; a part goes to the replica as soon as it has
 *                its buffer, so requests that share a scarce pool cannot block each other
 *   WAIT         the replica has all of it; the last part's end answers it
 *
 * The data of a write is copied once, into a buffer of the replica's, and not looked at in guest
 * memory again (P5). A read's data goes back by grant copy, also once.
 */
#include <string.h>

#include "plane_private.h"

enum { DISCARD_PART_SECTORS = 1 << 20 }; /* 512 MiB, within what replica_submit takes */

_Static_assert((int)BLKIF_INDIRECT_SEGMENTS_MAX <= (int)BLKIF_DESCRIPTORS_PER_PAGE,
               "all indirect descriptors of a request stand in its first page");

static const uint8_t *descriptors(const struct request *request)
{
    return request->command.indirect ? request->indirect : request->command.descriptors;
}

static bool is_write(const struct request *request)
{
    return request->command.operation == BLKIF_WRITE ||
           request->command.operation == BLKIF_BARRIER || request->command.operation == BLKIF_FLUSH;
}

/* A flush that carries data keeps the order flush, then data. */
static bool flushes_first(const struct request *request)
{
    return request->command.operation == BLKIF_BARRIER ||
           (request->command.operation == BLKIF_FLUSH && request->command.segments != 0);
}

void request_prepare(struct request *request, struct queue *queue, const uint8_t *entry)
{
    struct request *next = request->next;
    struct journal_record *record = request->record;

    memset(request, 0, sizeof *request);
    request->next = next;
    request->record = record;
    request->queue = queue;
    blkif_decode(queue->ring.abi, entry, &request->command);
    request->status = blkif_check(&request->command, &queue->vbd->limits);
    request->step = REQUEST_START;
    if (request->status != BLKIF_OKAY)
        request->step = REQUEST_WAIT;
    else if (request->command.indirect)
        request->step = REQUEST_DESCRIPTORS;
    request->next_sector = request->command.sector;
    request->discard_left = request->command.discard_count;
}

void request_restore(struct request *request, struct queue *queue)
{
    const struct journal_record *record = request->record;

    request_prepare(request, queue, record->entry);
    if (!record->block)
        return;
    queue->blocks_used |= UINT32_C(1) << (record->block - 1);
    request->indirect = queue->journal.blocks + (size_t)(record->block - 1) * JOURNAL_BLOCK_BYTES;
    if (request->step == REQUEST_DESCRIPTORS)
        request_judge_descriptors(request);
}

bool request_fetch_descriptors(struct request *request)
{
    struct queue *queue = request->queue;
    struct plane *plane = queue->vbd->plane;

    request->indirect = queue_block_get(queue, request);
    if (!request->indirect)
        return false;
    if (grant_room(&plane->batch) == 0)
        plane_copy_in(plane);
    grant_add_from_guest(&plane->batch, queue->vbd->domain, request->command.indirect_grefs[0], 0,
                         request->command.segments * (unsigned)BLKIF_DESCRIPTOR_BYTES,
                         request->indirect, &request->copy_failed);
    return true;
}

/* ---- its end -----------------------------------------------------------------------------------
 */

static void count(struct vbd_counters *counters, const struct request *request)
{
    uint64_t sectors = request->next_sector - request->command.sector;

    counters->errors += request->status != BLKIF_OKAY;
    switch (request->command.operation) {
    case BLKIF_READ:
        counters->reads++;
        counters->read_sectors += sectors;
        break;
    case BLKIF_WRITE:
    case BLKIF_BARRIER:
        counters->writes++;
        counters->written_sectors += sectors;
        break;
    case BLKIF_FLUSH:
        counters->flushes++;
        break;
    case BLKIF_DISCARD:
        counters->discards++;
        break;
    default: /* a byte of the guest's, not an enum of ours */
        break;
    }
}

/* Answers the guest and gives the request back to its queue. */
static void finish(struct request *request)
{
    struct vbd *vbd = request->queue->vbd;
    bool begun = request->begun;

    request->begun = false;
    count(&vbd->counters, request);
    if (vbd->barrier == request) {
        vbd->barrier = NULL;
        vbd_kick_all(vbd);
    }
    queue_answer(request->queue, request);
    if (begun)
        vbd_released(vbd);
}

static bool all_submitted(const struct request *request)
{
    if (request->status != BLKIF_OKAY)
        return true;
    if (request->command.operation == BLKIF_DISCARD)
        return request->discard_left == 0;
    return request->next_segment == request->command.segments;
}

static enum blkif_status status_of(const struct request *request, int code)
{
    if (code == REPLICA_E_UNSUPPORTED && request->command.operation == BLKIF_DISCARD)
        return BLKIF_UNSUPPORTED;
    return BLKIF_ERROR;
}

/* The request goes on where it stands: on its queue, back to its queue, or to its end. */
void part_over(struct part *part, int code)
{
    struct request *request = part->request;

    if (part->buffer)
        replica_buffer_put(part->buffer);
    part->buffer = NULL;
    part->out = false;
    request->parts_out--;
    if (request->queue->vbd->gone) {
        if (request->parts_out == 0)
            vbd_released(request->queue->vbd);
        return;
    }
    if (code != 0 && request->status == BLKIF_OKAY)
        request->status = status_of(request, code);
    if (request->step == REQUEST_FLUSHING && request->command.segments != 0) {
        /* It stands at the head of its queue and goes on from there. */
        request->step = REQUEST_DATA;
        plane_kick(request->queue->vbd->plane, request->queue);
    } else if (request->pending) {
        plane_kick(request->queue->vbd->plane, request->queue);
    } else if (!all_submitted(request)) {
        queue_wait_again(request->queue, request);
    } else if (request->parts_out == 0) {
        finish(request);
    }
}

/* From the replica: the order is carried out. */
static void part_done(struct replica_request *order, int code)
{
    struct part *part = order->owner;
    struct request *request = part->request;

    if (code == 0 && order->op == REPLICA_OP_READ && !request->queue->vbd->gone)
        plane_add_copy_out(request->queue->vbd->plane, part);
    else
        part_over(part, code);
}

/* ---- its parts ---------------------------------------------------------------------------------
 */

static struct part *part_take(struct request *request)
{
    for (unsigned i = 0; i < REQUEST_PARTS; i++) {
        struct part *part = &request->parts[i];

        if (part->out)
            continue;
        memset(part, 0, sizeof *part);
        part->request = request;
        part->out = true;
        part->order.owner = part;
        part->order.done = part_done;
        request->parts_out++;
        return part;
    }
    return NULL;
}

static void part_give_back(struct part *part)
{
    part->out = false;
    part->request->parts_out--;
}

static void submit_flush(struct request *request)
{
    struct part *part = part_take(request);

    part->order.op = REPLICA_OP_FLUSH;
    replica_submit(request->queue->vbd->plane->replica, &part->order);
}

/* As many whole segments from the next one on as one replica request takes. */
static uint32_t part_measure(const struct request *request, struct part *part)
{
    uint32_t bytes = 0;
    unsigned at = request->next_segment;

    while (at < request->command.segments) {
        uint32_t more = blkif_segment_bytes(blkif_segment(descriptors(request), at));

        if (bytes + more > REPLICA_REQUEST_BYTES_MAX)
            break;
        bytes += more;
        at++;
    }
    part->first = request->next_segment;
    part->count = (uint16_t)(at - request->next_segment);
    return bytes;
}

/* Puts the copies of a write's part on the batch; plane_copy_in submits it. */
static void part_copy_in(struct part *part)
{
    struct request *request = part->request;
    struct vbd *vbd = request->queue->vbd;
    uint8_t *to = replica_buffer_data(part->buffer);

    if (grant_room(&vbd->plane->batch) < part->count)
        plane_copy_in(vbd->plane);
    for (unsigned i = 0; i < part->count; i++) {
        struct blkif_segment segment = blkif_segment(descriptors(request), part->first + i);

        grant_add_from_guest(&vbd->plane->batch, vbd->domain, segment.gref,
                             segment.first_sector * 512u, blkif_segment_bytes(segment), to,
                             &part->failed);
        to += blkif_segment_bytes(segment);
    }
    plane_add_copy_in(vbd->plane, part);
}

/* One part of a read or write. False: no buffer, or all places are out. */
static bool submit_data(struct request *request)
{
    struct plane *plane = request->queue->vbd->plane;
    struct part *part = part_take(request);
    uint32_t bytes;

    if (!part)
        return false;
    bytes = part_measure(request, part);
    part->buffer = replica_buffer_get(plane->replica, bytes);
    if (!part->buffer) {
        part_give_back(part);
        plane_ask_room(plane);
        return false;
    }
    part->order.op = is_write(request) ? REPLICA_OP_WRITE : REPLICA_OP_READ;
    part->order.fua = request->command.operation == BLKIF_BARRIER;
    part->order.offset = request->next_sector * 512;
    part->order.length = bytes;
    part->order.buffer = part->buffer;
    request->next_segment = (uint16_t)(request->next_segment + part->count);
    request->next_sector += bytes / 512;
    if (is_write(request))
        part_copy_in(part);
    else
        replica_submit(plane->replica, &part->order);
    return true;
}

static bool submit_discard(struct request *request)
{
    uint64_t sectors = request->discard_left;
    struct part *part = part_take(request);

    if (!part)
        return false;
    if (sectors > DISCARD_PART_SECTORS)
        sectors = DISCARD_PART_SECTORS;
    part->order.op = REPLICA_OP_DISCARD;
    part->order.offset = request->next_sector * 512;
    part->order.length = (uint32_t)(sectors * 512);
    request->next_sector += sectors;
    request->discard_left -= sectors;
    replica_submit(request->queue->vbd->plane->replica, &part->order);
    return true;
}

/* ---- its steps ----------------------------------------------------------------------------------
 */

void request_judge_descriptors(struct request *request)
{
    uint32_t bytes;

    if (request->copy_failed) {
        request->status = BLKIF_ERROR;
    } else {
        /* From here on they are what another process would go by, not the guest's page. */
        journal_judged(request->record);
        request->status =
            blkif_check_segments(request->indirect, request->command.segments,
                                 request->command.sector, &request->queue->vbd->limits, &bytes);
    }
    request->step = REQUEST_START;
}

static enum request_advance advance_descriptors(struct request *request)
{
    if (!request->indirect && !request_fetch_descriptors(request))
        return REQUEST_STUCK;
    plane_copy_in(request->queue->vbd->plane);
    request_judge_descriptors(request);
    return REQUEST_MOVED;
}

static enum request_advance advance_start(struct request *request)
{
    struct vbd *vbd = request->queue->vbd;

    if (request->status != BLKIF_OKAY) {
        request->step = REQUEST_WAIT;
        return REQUEST_MOVED;
    }
    if (vbd->barrier && vbd->barrier != request)
        return REQUEST_STUCK;
    if (request->command.operation == BLKIF_BARRIER) {
        vbd->barrier = request;
        request->step = REQUEST_DRAIN;
        return REQUEST_MOVED;
    }
    vbd->active++;
    request->begun = true;
    request->step = flushes_first(request) ? REQUEST_FLUSHING : REQUEST_DATA;
    if (request->command.operation == BLKIF_FLUSH)
        submit_flush(request);
    return REQUEST_MOVED;
}

static enum request_advance advance_drain(struct request *request)
{
    struct vbd *vbd = request->queue->vbd;

    if (vbd->active != 0)
        return REQUEST_STUCK;
    vbd->active++;
    request->begun = true;
    request->step = request->command.segments != 0 ? REQUEST_FLUSHING : REQUEST_WAIT;
    submit_flush(request);
    return REQUEST_MOVED;
}

static enum request_advance advance_data(struct request *request)
{
    while (!all_submitted(request)) {
        bool went = request->command.operation == BLKIF_DISCARD ? submit_discard(request)
                                                                : submit_data(request);
        if (went)
            continue;
        if (request->parts_out == REQUEST_PARTS)
            return REQUEST_MOVED; /* comes back when a part is over */
        return REQUEST_STUCK;
    }
    request->step = REQUEST_WAIT;
    return REQUEST_MOVED;
}

/* Loops over the steps; each either moves to a later one or is stuck. */
enum request_advance request_advance(struct request *request)
{
    enum request_advance advance = REQUEST_MOVED;

    while (advance == REQUEST_MOVED) {
        switch (request->step) {
        case REQUEST_DESCRIPTORS:
            advance = advance_descriptors(request);
            break;
        case REQUEST_START:
            advance = advance_start(request);
            break;
        case REQUEST_DRAIN:
            advance = advance_drain(request);
            break;
        case REQUEST_FLUSHING:
            return REQUEST_STUCK;
        case REQUEST_DATA:
            advance = advance_data(request);
            if (advance == REQUEST_MOVED && request->step == REQUEST_DATA) {
                request->pending = false;
                return REQUEST_MOVED;
            }
            break;
        case REQUEST_WAIT:
            request->pending = false;
            if (request->parts_out == 0)
                finish(request);
            return REQUEST_MOVED;
        }
    }
    return REQUEST_STUCK;
}
