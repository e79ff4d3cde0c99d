/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plane.c - the process's end of all event channels, the grant-copy batch, and the turn.
 *
 * In a turn: events come in and their queues take requests; completions come in and answer
 * requests; at the end of the turn the data of all reads goes out in one batch, each queue that
 * was kicked shows its answers with one notification and takes what it can take now.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/err.h"
#include "plane_private.h"

enum { EVENTS_A_TURN = 1024 };

/* ---- kicked queues ------------------------------------------------------------------------------
 */

void plane_kick(struct plane *plane, struct queue *queue)
{
    if (queue->kicked || !queue->bound)
        return;
    queue->kicked = true;
    queue->next_kicked = NULL;
    *plane->kicked_tail = queue;
    plane->kicked_tail = &queue->next_kicked;
}

void plane_unkick(struct plane *plane, struct queue *queue)
{
    struct queue **place = &plane->kicked;

    if (!queue->kicked)
        return;
    while (*place != queue)
        place = &(*place)->next_kicked;
    *place = queue->next_kicked;
    if (!*place)
        plane->kicked_tail = place;
    queue->kicked = false;
}

void plane_wake_at(struct plane *plane, uint64_t at)
{
    if (at < plane->wake_at) {
        plane->wake_at = at;
        replica_timer_set(plane->timer, at);
    }
}

/* ---- copies -------------------------------------------------------------------------------------
 */

void plane_add_copy_in(struct plane *plane, struct part *part)
{
    part->next = NULL;
    *plane->copies_in_tail = part;
    plane->copies_in_tail = &part->next;
}

void plane_add_copy_out(struct plane *plane, struct part *part)
{
    part->next = NULL;
    *plane->copies_out_tail = part;
    plane->copies_out_tail = &part->next;
}

void plane_copy_in(struct plane *plane)
{
    struct part *part = plane->copies_in, *next;

    plane->copies_in = NULL;
    plane->copies_in_tail = &plane->copies_in;
    grant_run(&plane->batch);
    for (; part; part = next) {
        next = part->next;
        if (part->failed)
            part_over(part, REPLICA_E_IO);
        else
            replica_submit(plane->replica, &part->order);
    }
}

/* The batch was run: everything from `from` up to, not including, `to` has been copied. */
static void copies_out_over(struct part *from, struct part *to)
{
    while (from != to) {
        struct part *next = from->next;

        part_over(from, from->failed ? REPLICA_E_IO : 0);
        from = next;
    }
}

static void add_segments_out(struct plane *plane, struct part *part)
{
    struct request *request = part->request;
    const uint8_t *descriptors =
        request->command.indirect ? request->indirect : request->command.descriptors;
    uint8_t *from = replica_buffer_data(part->buffer);

    for (unsigned i = 0; i < part->count; i++) {
        struct blkif_segment segment = blkif_segment(descriptors, part->first + i);

        grant_add_to_guest(&plane->batch, request->queue->vbd->domain, segment.gref,
                           segment.first_sector * 512u, blkif_segment_bytes(segment), from,
                           &part->failed);
        from += blkif_segment_bytes(segment);
    }
}

static void copy_out(struct plane *plane)
{
    struct part *part = plane->copies_out, *from = part;

    plane->copies_out = NULL;
    plane->copies_out_tail = &plane->copies_out;
    for (; part; part = part->next) {
        if (part->request->queue->vbd->gone)
            continue;
        if (grant_room(&plane->batch) < part->count) {
            grant_run(&plane->batch);
            copies_out_over(from, part);
            from = part;
        }
        add_segments_out(plane, part);
    }
    grant_run(&plane->batch);
    copies_out_over(from, NULL);
}

/* ---- the turn -----------------------------------------------------------------------------------
 */

static struct queue *queue_of_port(struct plane *plane, evtchn_port_t port)
{
    for (struct vbd *vbd = plane->vbds; vbd; vbd = vbd->next)
        for (unsigned i = 0; i < vbd->queue_count; i++)
            if (vbd->queues[i].port == port)
                return &vbd->queues[i];
    return NULL;
}

static void pass_kicked(struct plane *plane)
{
    struct queue *queue = plane->kicked;
    uint64_t now = replica_loop_now(plane->loop);

    /* Those kicked from here on belong to the next round. */
    plane->kicked = NULL;
    plane->kicked_tail = &plane->kicked;
    while (queue) {
        struct queue *next = queue->next_kicked;

        queue->kicked = false;
        queue_push(queue);
        queue_pass(queue, now);
        queue_push(queue);
        queue = next;
    }
}

/* Takes what waits on the event channels; the requests are taken at once, not at the turn's end,
 * so that their I/O begins in this turn. */
static void events_ready(void *argument, uint32_t events)
{
    struct plane *plane = argument;

    (void)events;
    for (unsigned i = 0; i < EVENTS_A_TURN; i++) {
        int port = xenevtchn_pending(plane->events);
        struct queue *queue;

        if (port < 0)
            break;
        queue = queue_of_port(plane, (evtchn_port_t)port);
        if (!queue)
            continue; /* of a vbd that was disconnected since */
        queue->event = true;
        queue->masked = true;
        plane_kick(plane, queue);
    }
    pass_kicked(plane);
}

static void turn_end(void *argument)
{
    struct plane *plane = argument;

    if (plane->stopped)
        return;
    copy_out(plane);
    pass_kicked(plane);
    if (plane->kicked)
        plane_wake_at(plane, replica_loop_now(plane->loop));
}

/* Some queue's delayed unmasking is due, or a pass was cut short. */
static void timer_expired(void *argument)
{
    struct plane *plane = argument;
    uint64_t now = replica_loop_now(plane->loop);

    plane->wake_at = UINT64_MAX;
    for (struct vbd *vbd = plane->vbds; vbd; vbd = vbd->next) {
        for (unsigned i = 0; i < vbd->queue_count; i++) {
            struct queue *queue = &vbd->queues[i];

            if (queue->unmask_at == UINT64_MAX || queue->unmask_at <= now)
                plane_kick(plane, queue);
            else
                plane_wake_at(plane, queue->unmask_at);
        }
    }
}

static void room(void *argument)
{
    struct plane *plane = argument;

    plane->room_asked = false;
    for (struct vbd *vbd = plane->vbds; vbd; vbd = vbd->next)
        for (unsigned i = 0; i < vbd->queue_count; i++)
            if (vbd->queues[i].pending)
                plane_kick(plane, &vbd->queues[i]);
}

void plane_ask_room(struct plane *plane)
{
    if (plane->room_asked)
        return;
    plane->room_asked = true;
    replica_on_room(plane->replica, room, plane);
}

/* ---- beginning and end
 * ---------------------------------------------------------------------------- */

static int handles_open(struct plane *plane, struct replica_error *error)
{
    int flags;

    plane->grants = xengnttab_open(NULL, 0);
    if (!plane->grants)
        return err_set(error, REPLICA_E_SYSTEM,
                       "cannot open /dev/xen/gntdev: %s; modprobe xen-gntdev", strerror(errno));
    plane->events = xenevtchn_open(NULL, 0);
    if (!plane->events)
        return err_set(error, REPLICA_E_SYSTEM,
                       "cannot open /dev/xen/evtchn: %s; modprobe xen-evtchn", strerror(errno));
    flags = fcntl(xenevtchn_fd(plane->events), F_GETFL);
    if (flags < 0 || fcntl(xenevtchn_fd(plane->events), F_SETFL, flags | O_NONBLOCK) < 0)
        return err_set(error, REPLICA_E_SYSTEM, "fcntl on /dev/xen/evtchn: %s", strerror(errno));
    grant_batch_init(&plane->batch, plane->grants);
    return 0;
}

static int loop_open(struct plane *plane, struct replica_error *error)
{
    int code = replica_timer_new(plane->loop, timer_expired, plane, &plane->timer);

    if (code == 0)
        code = replica_loop_watch(plane->loop, xenevtchn_fd(plane->events), false, events_ready,
                                  plane, &plane->watch);
    if (code == 0)
        code = replica_loop_at_turn_end(plane->loop, turn_end, plane);
    return code ? err_set(error, code, "no memory for the event channels") : 0;
}

int plane_open(struct plane **plane, struct replica_loop *loop, struct replica *replica,
               struct replica_error *error)
{
    struct plane *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "no memory for the Xen side");
    made->loop = loop;
    made->replica = replica;
    made->wake_at = UINT64_MAX;
    made->copies_in_tail = &made->copies_in;
    made->copies_out_tail = &made->copies_out;
    made->kicked_tail = &made->kicked;
    code = handles_open(made, error);
    if (code == 0)
        code = loop_open(made, error);
    if (code) {
        plane_stop(made);
        plane_free(made);
        return code;
    }
    *plane = made;
    return 0;
}

void plane_stop(struct plane *plane)
{
    while (plane->vbds)
        vbd_disconnect(plane->vbds);
    plane->stopped = true;
    /* Reads whose guests are gone: nothing is copied any more. */
    copy_out(plane);
    if (plane->watch)
        replica_loop_unwatch(plane->watch);
    if (plane->timer)
        replica_timer_free(plane->timer);
    if (plane->events)
        (void)xenevtchn_close(plane->events);
    if (plane->grants)
        (void)xengnttab_close(plane->grants);
    plane->watch = NULL;
    plane->timer = NULL;
    plane->events = NULL;
    plane->grants = NULL;
}

void plane_free(struct plane *plane)
{
    free(plane);
}

bool plane_has_room(const struct plane *plane)
{
    return plane->vbds_gone < VBDS_GONE_MAX;
}

void plane_usage(const struct plane *plane, struct plane_usage *usage)
{
    *usage = (struct plane_usage){.vbds = plane->vbds_gone};
    for (const struct vbd *vbd = plane->vbds; vbd; vbd = vbd->next) {
        usage->vbds++;
        usage->requests += vbd->active;
        for (unsigned i = 0; i < vbd->queue_count; i++) {
            usage->queues++;
            usage->ports += vbd->queues[i].bound;
            usage->mapped_pages += vbd->queues[i].map.address ? vbd->queues[i].map.pages : 0;
        }
    }
}
