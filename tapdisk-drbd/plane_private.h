/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plane_private.h - what plane.c, vbd.c, queue.c and request.c share. Not for others.
 */
#ifndef TAPDISK_PLANE_PRIVATE_H
#define TAPDISK_PLANE_PRIVATE_H

#include <xenevtchn.h>
#include <xengnttab.h>

#include "grant.h"
#include "journal.h"
#include "plane.h"

enum { REQUEST_PARTS = 4 }; /* replica requests that one guest request has out at once */

/* ---- request.c: the life of one guest request ------------------------------------------------ */

enum request_step {
    REQUEST_DESCRIPTORS, /* indirect descriptors are still the guest's */
    REQUEST_START,       /* may begin, unless a barrier is in the way */
    REQUEST_DRAIN,       /* a barrier: everything begun before it must end */
    REQUEST_FLUSHING,    /* what came before is being made durable */
    REQUEST_DATA,        /* parts are being handed to the replica */
    REQUEST_WAIT         /* all of it is with the replica */
};

struct part {
    struct replica_request order; /* order.owner is the part */
    struct request *request;
    struct replica_buffer *buffer;
    struct part *next;     /* in the plane's list of copies */
    uint16_t first, count; /* descriptors */
    bool out;              /* between being taken and being over */
    bool failed;           /* a grant copy was refused */
};

struct request {
    struct queue *queue;
    struct journal_record *record; /* its own for good */
    struct request *next;          /* free, pending in the order of the ring, or answered */
    struct blkif_command command;
    uint8_t *indirect; /* a block of the journal's, or NULL */
    enum request_step step;
    enum blkif_status status;
    bool pending;     /* the queue calls request_advance again by itself */
    bool begun;       /* counted in vbd->active */
    bool copy_failed; /* of the indirect descriptors */
    uint16_t next_segment;
    uint64_t next_sector; /* where the next part begins */
    uint64_t discard_left;
    unsigned parts_out;
    struct part parts[REQUEST_PARTS];
};

enum request_advance { REQUEST_MOVED, REQUEST_STUCK };

/* A fresh request out of a ring entry. */
void request_prepare(struct request *request, struct queue *queue, const uint8_t *entry);
/* One that a former process took, out of its record; what it had done of it counts for nothing. */
void request_restore(struct request *request, struct queue *queue);
/* Puts the copy of its indirect descriptors on the batch; false: no block is free. */
bool request_fetch_descriptors(struct request *request);
/* The batch was run: the descriptors are private now. */
void request_judge_descriptors(struct request *request);
/* As far as it goes now. MOVED: it left the pending list; it may be over and gone. */
enum request_advance request_advance(struct request *request);
/* The data of a read has been copied, or of a write refused. */
void part_over(struct part *part, int code);

/* ---- queue.c: one ring ------------------------------------------------------------------------
 */

struct queue {
    struct vbd *vbd;
    struct ring ring;
    struct grant_map map;
    evtchn_port_t port; /* our end */
    bool bound;
    bool masked;        /* an event came and was not unmasked yet */
    bool kicked;        /* in the plane's list of queues to look at */
    bool event;         /* an event came since the last pass */
    bool told_broken;   /* logged once */
    unsigned spurious;  /* events in a row that brought no request */
    uint64_t unmask_at; /* UINT64_MAX: not waiting */
    struct queue *next_kicked;
    struct journal_ring journal;
    struct request *requests, *free;
    struct request *pending, **pending_tail; /* taken, not all with the replica */
    struct request *answered;                /* the guest was not shown their responses yet */
    uint32_t blocks_used;                    /* a bit for each of the journal's blocks */
};

int queue_open(struct queue *queue, struct vbd *vbd, const struct vbd_parameters *parameters,
               unsigned index, struct replica_error *error);
/* Lets go of the guest: ring, grants, event channel. */
void queue_detach(struct queue *queue);
/* Frees the memory. */
void queue_free(struct queue *queue);

/* No request waits in the ring, none is half way, and the guest has been shown every answer. */
bool queue_quiet(struct queue *queue);
/* Takes requests and moves those that wait, as far as it goes; then unmasks. */
void queue_pass(struct queue *queue, uint64_t now);
void queue_push(struct queue *queue);
void queue_answer(struct queue *queue, struct request *request);
void queue_wait_again(struct queue *queue, struct request *request);
/* For the indirect descriptors of a request, until its response has been shown. NULL: none free. */
uint8_t *queue_block_get(struct queue *queue, struct request *request);

/* ---- vbd.c -------------------------------------------------------------------------------------
 */

struct vbd {
    struct plane *plane;
    struct vbd *next;
    char name[64];
    uint32_t domain;
    struct blkif_limits limits;
    bool stopped;
    bool gone;               /* disconnected; only requests keep it */
    struct request *barrier; /* nothing new begins while it is not over */
    uint32_t active;
    struct vbd_counters counters;
    struct journal journal;
    unsigned queue_count;
    struct queue *queues;
};

/* A request is over; may free the vbd. */
void vbd_released(struct vbd *vbd);
void vbd_kick_all(struct vbd *vbd);

/* ---- plane.c ------------------------------------------------------------------------------------
 */

struct plane {
    struct replica_loop *loop;
    struct replica *replica;
    xengnttab_handle *grants;
    xenevtchn_handle *events;
    struct replica_watch *watch;
    struct replica_timer *timer;
    struct grant_batch batch;
    struct part *copies_in, *copies_out; /* writes on the batch; reads that have their data */
    struct part **copies_in_tail, **copies_out_tail;
    struct queue *kicked, **kicked_tail;
    struct vbd *vbds;   /* connected */
    unsigned vbds_gone; /* disconnected, memory still there */
    uint64_t wake_at;   /* when the timer is set for */
    bool room_asked;
    bool stopped;
};

void plane_kick(struct plane *plane, struct queue *queue);
/* Takes a queue that goes away off the list. */
void plane_unkick(struct plane *plane, struct queue *queue);
/* Runs the batch and sends every write on it on its way. */
void plane_copy_in(struct plane *plane);
void plane_add_copy_in(struct plane *plane, struct part *part);
void plane_add_copy_out(struct plane *plane, struct part *part);
/* No buffer: kick everybody who waits when there is room again. */
void plane_ask_room(struct plane *plane);
/* Runs at `at` at the latest. */
void plane_wake_at(struct plane *plane, uint64_t at);

#endif
