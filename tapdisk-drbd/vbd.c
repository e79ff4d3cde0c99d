/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vbd.c - a connected vbd: its queues together; see plane.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/err.h"
#include "plane_private.h"

static void free_memory(struct vbd *vbd)
{
    for (unsigned i = 0; i < vbd->queue_count; i++)
        queue_free(&vbd->queues[i]);
    journal_close(&vbd->journal);
    free(vbd->queues);
    free(vbd);
}

static void let_go(struct vbd *vbd)
{
    for (unsigned i = 0; i < vbd->queue_count; i++)
        queue_detach(&vbd->queues[i]);
}

static int check_parameters(const struct vbd_parameters *parameters, struct replica_error *error)
{
    unsigned pages = parameters->ring_pages;

    if (parameters->queues == 0 || parameters->queues > VBD_QUEUES_MAX)
        return err_set(error, REPLICA_E_PROTOCOL, "%u queues asked for", parameters->queues);
    if (pages == 0 || pages > RING_PAGES_MAX || (pages & (pages - 1)) != 0)
        return err_set(error, REPLICA_E_PROTOCOL, "a ring of %u pages asked for", pages);
    return 0;
}

static struct vbd *vbd_new(struct plane *plane, const struct vbd_parameters *parameters)
{
    struct vbd *vbd = calloc(1, sizeof *vbd);

    if (!vbd)
        return NULL;
    vbd->queues = calloc(parameters->queues, sizeof *vbd->queues);
    if (!vbd->queues) {
        free(vbd);
        return NULL;
    }
    vbd->plane = plane;
    vbd->domain = parameters->domain;
    vbd->limits = parameters->limits;
    (void)snprintf(vbd->name, sizeof vbd->name, "%s", parameters->name);
    return vbd;
}

int vbd_connect(struct plane *plane, const struct vbd_parameters *parameters, struct vbd **vbd,
                struct replica_error *error)
{
    struct vbd *made;
    int code = check_parameters(parameters, error);

    if (code)
        return code;
    made = vbd_new(plane, parameters);
    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "no memory for a vbd");
    if (parameters->resume)
        code = journal_open(&made->journal, parameters->journal, parameters, error);
    else
        code = journal_create(&made->journal, parameters->journal, parameters, error);
    if (code) {
        free_memory(made);
        return code;
    }
    while (made->queue_count < parameters->queues) {
        struct queue *queue = &made->queues[made->queue_count];

        made->queue_count++;
        code = queue_open(queue, made, parameters, made->queue_count - 1, error);
        if (code) {
            let_go(made);
            free_memory(made);
            return code;
        }
    }
    made->next = plane->vbds;
    plane->vbds = made;
    /* What the guest put into the rings before the event channels were bound. */
    vbd_kick_all(made);
    plane_wake_at(plane, replica_loop_now(plane->loop));
    *vbd = made;
    return 0;
}

void vbd_kick_all(struct vbd *vbd)
{
    for (unsigned i = 0; i < vbd->queue_count; i++)
        plane_kick(vbd->plane, &vbd->queues[i]);
}

void vbd_stop(struct vbd *vbd)
{
    vbd->stopped = true;
}

void vbd_go_on(struct vbd *vbd)
{
    vbd->stopped = false;
    vbd_kick_all(vbd);
    plane_wake_at(vbd->plane, replica_loop_now(vbd->plane->loop));
}

/* One that waits for a barrier or for memory begins by itself, also in a vbd that is stopped. */
bool vbd_idle(const struct vbd *vbd)
{
    if (vbd->active != 0)
        return false;
    for (unsigned i = 0; i < vbd->queue_count; i++)
        if (vbd->queues[i].pending && !vbd->queues[i].ring.broken)
            return false;
    return true;
}

bool vbd_quiet(struct vbd *vbd)
{
    if (vbd->active != 0)
        return false;
    for (unsigned i = 0; i < vbd->queue_count; i++)
        if (!queue_quiet(&vbd->queues[i]))
            return false;
    return true;
}

void vbd_released(struct vbd *vbd)
{
    vbd->active--;
    if (vbd->active != 0)
        return;
    if (vbd->gone) {
        vbd->plane->vbds_gone--;
        free_memory(vbd);
    } else if (vbd->barrier) {
        plane_kick(vbd->plane, vbd->barrier->queue);
    }
}

/* Begun requests that the replica has nothing of will get no more callbacks. */
static void forget_waiting(struct vbd *vbd)
{
    for (unsigned i = 0; i < vbd->queue_count; i++) {
        struct queue *queue = &vbd->queues[i];

        for (uint32_t j = 0; j < queue->ring.entries; j++) {
            struct request *request = &queue->requests[j];

            if (request->begun && request->parts_out == 0)
                vbd->active--;
        }
    }
}

void vbd_disconnect(struct vbd *vbd)
{
    struct plane *plane = vbd->plane;
    struct vbd **place = &plane->vbds;

    while (*place != vbd)
        place = &(*place)->next;
    *place = vbd->next;
    let_go(vbd);
    forget_waiting(vbd);
    vbd->gone = true;
    if (vbd->active == 0)
        free_memory(vbd);
    else
        plane->vbds_gone++;
}

void vbd_resize(struct vbd *vbd, uint64_t sectors)
{
    vbd->limits.sectors = sectors;
}

void vbd_counters(const struct vbd *vbd, struct vbd_counters *counters)
{
    *counters = vbd->counters;
    counters->active = vbd->active;
}
