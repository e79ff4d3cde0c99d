/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenside.h - everything that knows Xen: finds the resource's vbds in XenStore, takes them over
 * from xen-blkback, serves their rings. main.c, NBD and the library do not know Xen.
 */
#ifndef TAPDISK_XENSIDE_H
#define TAPDISK_XENSIDE_H

#include <jansson.h>
#include <libreplica/replica.h>

#include "clients.h"

struct xenside;

/* Opens libxenstore, libxengnttab, libxenevtchn, libxenctrl and watches backend/vbd and
 * backend/vbd3 for nodes whose `params` name this resource (a vbd3 node gets its state 2 at
 * once). Vbds that a former process of this resource served are taken up again: what it had taken
 * from their rings and not answered it has left in `run_dir`, which must be a tmpfs.
 * `nbd_path` is published as physical-device-path.
 * Errors: REPLICA_E_UNSUPPORTED (this is no dom0: the caller goes on without Xen),
 * REPLICA_E_SYSTEM, REPLICA_E_MEMORY. */
int xenside_open(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                 const char *run_dir, const char *nbd_path, struct replica_error *error);
/* Before replica_close: disconnects the vbds and closes every descriptor. Their nodes stay as they
 * are: the next process finds them. */
void xenside_stop(struct xenside *xen);
/* After replica_close, which gives back what the vbds had in flight: frees the memory. */
void xenside_close(struct xenside *xen);

/* Role, disk or size changed. */
void xenside_changed(struct xenside *xen);
void xenside_resized(struct xenside *xen, uint64_t size);

/* The library's question whether the Primary role may go to the peer; answered with
 * replica_handover_answer. And how it ended. */
void xenside_handover_asked(struct xenside *xen, uint32_t number, bool take_back);
void xenside_handover_ended(struct xenside *xen, uint32_t number, bool gone);

/* What holds the NBD clients of a guest together with its vbds; borrowed, NULL: none. */
void xenside_set_clients(struct xenside *xen, const struct clients *clients);
/* Whose device model the process is, among the guests that have a vbd here: a domain's number, or
 * `none`. */
uint32_t xenside_guest_of(const struct xenside *xen, int32_t process, uint32_t none);

/* Vbds that are open for writing; `why` names their domains. */
unsigned xenside_writers(const struct xenside *xen, char *why, size_t why_bytes);

/* Control commands vbd-add and vbd-remove (hotplug). False: not one of ours. */
bool xenside_control(struct xenside *xen, struct replica_control_request *request,
                     const char *json);

/* For status: an array, one object a vbd (domain id, device, state, queues, counters). New
 * reference. */
json_t *xenside_status(const struct xenside *xen);

#endif
