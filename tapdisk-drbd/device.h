/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device.h - one vbd as XenStore shows it: its state machine, from the toolstack's nodes to a
 * connected vbd (plane.h) and back.
 *
 * A device belongs to a node /local/domain/BACKEND/backend/{vbd,vbd3}/DOMAIN/DEVICE whose `params`
 * name this resource. It looks at XenStore when told that something changed, acts, and says when it
 * wants to be called again. Every path through it ends: closing takes CLOSE_* at most, whatever
 * guest and peer do.
 */
#ifndef TAPDISK_DEVICE_H
#define TAPDISK_DEVICE_H

#include <jansson.h>

#include "claim.h"
#include "clients.h"
#include "domain.h"
#include "plane.h"
#include "xenbus.h"

struct device;

/* What all devices of a process share. Borrowed. */
struct device_host {
    struct replica_loop *loop;
    struct replica *replica;
    struct plane *plane;
    struct xenbus *xenbus;
    struct claim *claim;
    struct domains *domains;
    const struct clients *clients; /* NULL: there is no NBD server */
    const char *nbd_path;
    const char *run_dir; /* a tmpfs: where what survives this process is kept */
    const char *sysfs;
    uint64_t opened; /* when this process began to look */
    /* Something came in from the side: call device_look soon. */
    void (*wake)(void *argument);
    void *wake_argument;
    /* Another vbd here still has requests of its own under way, or may begin some. */
    bool (*in_the_way)(void *argument, const struct device *device);
};

/* Where a backend node is. */
struct device_place {
    char kind[8]; /* "vbd" or "vbd3" */
    uint32_t domain, device;
    char path[XENBUS_PATH_MAX];
};

/* Splits PATH, absolute or relative ("backend/vbd/5/51712"), as `base` ("/local/domain/0") has it;
 * *leaf is what follows the device's directory, "" for the directory itself.
 * Errors: REPLICA_E_INVALID. */
int device_place_parse(const char *base, const char *path, struct device_place *place,
                       const char **leaf);

/* True: the node is there, online or still to be closed, and its `params` and `script` name
 * `resource` as ours. */
bool device_matches(struct xenbus *xenbus, const struct device_place *place, const char *resource);

/* Reads the node. Errors: REPLICA_E_INVALID (a node without a frontend), REPLICA_E_NOT_FOUND,
 * REPLICA_E_MEMORY. */
int device_new(struct device **device, const struct device_host *host,
               const struct device_place *place);
/* Lets go of everything; the nodes are left as they are. Whoever waits is answered. */
void device_free(struct device *device);

const struct device_place *device_place(const struct device *device);
uint32_t device_frontend_domain(const struct device *device);
/* The path whose watch tells of the frontend. */
const char *device_frontend_state(const struct device *device);

/* Reads both sides and acts. False: the node is gone, or was made anew: free the device. */
bool device_look(struct device *device);
/* When device_look wants to be called, UINT64_MAX: only on a change. */
uint64_t device_deadline(const struct device *device);

/* hotplug add: becomes a user of the Primary role, and serves. `flags` out of enum
 * replica_promote_flags. `done` once, also from inside. */
void device_add(struct device *device, unsigned flags, replica_done *done, void *argument);
/* hotplug remove: closes if that is still to be done, and gives the role back. */
void device_remove(struct device *device, replica_done *done, void *argument);

/* hotplug add was here, remove was not. */
bool device_is_added(const struct device *device);
bool device_is_writable(const struct device *device);
/* It was added and does not have the Primary role that it needs. */
bool device_lacks_role(const struct device *device);
/* hotplug add is under way or done. */
bool device_wants_role(const struct device *device);

/* ---- handover: device_handover.c ------------------------------------------------------------- */

/* Does its guest stand still, so that another copy of it may have the disk? Only one that is shut
 * down for suspend does, or is gone. `take_back`: also one that is shut down for good, and one that
 * has never run here. Else `why` goes on from "the peer is Primary and". */
bool device_may_yield(struct device *device, bool take_back, char *why, size_t why_bytes);
/* Takes no requests from now on, neither from the ring nor from the guest's device model; false:
 * some are still under way. */
bool device_hold(struct device *device);
/* Takes requests again. */
void device_go_on(struct device *device);
/* The same, unless another vbd of this host has the disk. */
void device_let_go_on(struct device *device);
/* The role is the peer's now. The device stays held, and asks for it when its guest runs again. */
void device_gave_away(struct device *device);
/* Another vbd here has the disk now: an ordinary hold, until its guest runs again. */
void device_yield(struct device *device);
bool device_is_held(const struct device *device);
/* Its guest runs, and another vbd of this host has the disk. */
bool device_wants_back(struct device *device);

void device_resize(struct device *device, uint64_t size);
/* New reference. */
json_t *device_status(const struct device *device);

#endif
