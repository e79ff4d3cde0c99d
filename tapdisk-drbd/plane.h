/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plane.h - the data path of the Xen side: connected vbds, their rings, their requests.
 *
 * The plane owns the event-channel and grant handles of the process and serves any number of
 * vbds of one replica. It knows no XenStore: device.c tells it what the frontend published. It
 * never blocks and allocates nothing after vbd_connect.
 *
 * A vbd that is disconnected lets go of rings, grants and event channels at once, even while the
 * replica still works on its requests; its memory goes when the last of them is over.
 */
#ifndef TAPDISK_PLANE_H
#define TAPDISK_PLANE_H

#include <libreplica/replica.h>

#include "blkif.h"
#include "ring.h"

enum {
    VBD_QUEUES_MAX = 64,      /* what a frontend may have negotiated with xen-blkback before us */
    VBD_QUEUES_PUBLISHED = 4, /* one thread serves them all: more buy depth, not speed */
    VBD_RING_ORDER_MAX = 4,
    VBDS_GONE_MAX = 8 /* disconnected with requests that the replica still works on */
};

struct plane;
struct vbd;

/* Errors: REPLICA_E_SYSTEM (a device of the kernel is missing; text says which module),
 * REPLICA_E_MEMORY. */
int plane_open(struct plane **plane, struct replica_loop *loop, struct replica *replica,
               struct replica_error *error);

/* Disconnects what is left and closes every descriptor. The memory stays for requests that the
 * replica still has, and for the loop, until plane_free. */
void plane_stop(struct plane *plane);
/* After replica_close. */
void plane_free(struct plane *plane);

/* What a frontend asks for: numbers out of XenStore, bounded by who read them. */
struct vbd_parameters {
    uint32_t domain;
    const char *name; /* for the log; copied */
    enum blkif_abi abi;
    struct blkif_limits limits;
    const char *journal;  /* file of its requests (journal.h); NULL: they end with the process */
    const char *instance; /* who the guest is, beyond its number; may be NULL */
    bool resume;          /* the rings are live: take them up where a former process left them */
    unsigned queues;      /* 1..VBD_QUEUES_MAX */
    unsigned ring_pages;  /* a power of two, 1..RING_PAGES_MAX */
    struct {
        uint32_t grefs[RING_PAGES_MAX];
        uint32_t port; /* the frontend's end of the event channel */
    } queue[VBD_QUEUES_MAX];
};

/* False: too many vbds are gone and not over. While the disk answers nothing, a guest that connects
 * and disconnects could make as many of them as it likes; wait before vbd_connect. */
bool plane_has_room(const struct plane *plane);

/* Maps the rings, binds the event channels, starts to serve. All or nothing. With `resume` the
 * requests that a former process took and did not answer come first, in their old order.
 * Errors: REPLICA_E_IO (a ring page cannot be mapped), REPLICA_E_BUSY (an event channel cannot be
 * bound: it is somebody else's still, or never was one), REPLICA_E_PROTOCOL (nonsense in a ring),
 * REPLICA_E_MEMORY, and those of journal_create or journal_open. Ownership: *vbd ends with
 * vbd_disconnect. */
int vbd_connect(struct plane *plane, const struct vbd_parameters *parameters, struct vbd **vbd,
                struct replica_error *error);

/* Takes no more requests; those under way go on. */
void vbd_stop(struct vbd *vbd);
/* Takes requests again. */
void vbd_go_on(struct vbd *vbd);
/* Nothing is under way. */
bool vbd_idle(const struct vbd *vbd);
/* Nothing is under way, every answer was shown, and a vbd that is not stopped has no request in its
 * rings. */
bool vbd_quiet(struct vbd *vbd);
/* Lets go of everything of the guest's; the journal's file stays. The pointer is invalid
 * afterwards. */
void vbd_disconnect(struct vbd *vbd);

void vbd_resize(struct vbd *vbd, uint64_t sectors);

struct vbd_counters {
    uint64_t reads, writes, flushes, discards; /* requests of the guest */
    uint64_t read_sectors, written_sectors;
    uint64_t errors;   /* answered with anything but okay */
    uint64_t spurious; /* events without a request */
    uint32_t active;   /* requests under way now */
    unsigned broken;   /* rings stopped for good */
};
void vbd_counters(const struct vbd *vbd, struct vbd_counters *counters);

/* What must be zero when no vbd is connected: for tests. */
struct plane_usage {
    unsigned vbds, queues, mapped_pages, ports, requests;
};
void plane_usage(const struct plane *plane, struct plane_usage *usage);

#endif
