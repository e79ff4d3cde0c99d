/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nodes.h - which XenStore nodes a block backend publishes and reads, as xen/io/blkif.h names them.
 */
#ifndef TAPDISK_NODES_H
#define TAPDISK_NODES_H

#include "plane.h"
#include "xenbus.h"

/* XenbusState of xen/io/xenbus.h. UNKNOWN also stands for a node that is not there. */
enum xenbus_state {
    XENBUS_UNKNOWN,
    XENBUS_INITIALISING,
    XENBUS_INIT_WAIT,
    XENBUS_INITIALISED,
    XENBUS_CONNECTED,
    XENBUS_CLOSING,
    XENBUS_CLOSED,
    XENBUS_RECONFIGURING,
    XENBUS_RECONFIGURED,
    XENBUS_STATE_COUNT
};

/* What the toolstack says about a vbd. */
struct nodes_backend {
    char frontend[XENBUS_PATH_MAX];
    uint32_t frontend_domain;
    bool read_only, cdrom, removable;
    bool discard; /* not forbidden */
    bool online;
    bool added; /* hotplug-status is connected */
    enum xenbus_state state;
};

/* Errors: REPLICA_E_NOT_FOUND (no node), REPLICA_E_INVALID (no frontend named). */
int nodes_read_backend(struct xenbus *xenbus, const char *backend, struct nodes_backend *nodes);

/* A `state` node; UNKNOWN when it is missing or makes no sense. */
enum xenbus_state nodes_read_state(struct xenbus *xenbus, const char *directory);

/* What a frontend may choose from, then state InitWait, in one transaction; removes what
 * xen-blkback offered and we do not. Errors: REPLICA_E_SYSTEM, REPLICA_E_BUSY. */
int nodes_offer(struct xenbus *xenbus, const char *backend, const struct nodes_backend *nodes);

/* The disk's properties, then state Connected, in one transaction. Errors: as nodes_offer. */
int nodes_connect(struct xenbus *xenbus, const char *backend, const struct nodes_backend *nodes,
                  uint64_t sectors);

int nodes_write_state(struct xenbus *xenbus, const char *backend, enum xenbus_state state);

/* What the frontend published; all of it is checked for size, none for sense.
 * Errors: REPLICA_E_INVALID, REPLICA_E_NOT_FOUND; text names the node. */
int nodes_read_frontend(struct xenbus *xenbus, const char *frontend,
                        struct vbd_parameters *parameters, struct replica_error *error);

#endif
