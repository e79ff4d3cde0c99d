/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replica_private.h - struct replica, shared by api.c, status.c and control.c. */
#ifndef IO_REPLICA_PRIVATE_H
#define IO_REPLICA_PRIVATE_H

#include <jansson.h>

#include "config.h"
#include "control.h"
#include "driver.h"

/* A client that found the pool empty. */
struct room_waiter {
    void (*room)(void *argument);
    void *argument;
};

/* Where a resync stood at some moment, for its present speed. */
struct resync_mark {
    uint64_t at; /* ns */
    uint64_t done;
};

struct replica {
    struct replica_loop *loop;
    struct replica_callbacks callbacks;
    void *argument;
    struct log log;
    struct config_resource resource;
    char run_dir[512];
    struct disk *disk;
    struct metastore *store;
    bool attaching; /* they were opened for an `attach` that has no answer yet */
    struct buffer_pool *guest_pool, *link_pool, *read_pool;
    struct driver *driver;
    struct control *control;
    struct room_waiter *waiters;
    size_t waiter_count, waiter_capacity;
    bool guest_room;    /* the guests' pool has memory again */
    bool shutdown;      /* `down` is done: the client is to be told at the end of the turn */
    uint64_t told_size; /* what `resized` last said */
    struct resync_mark marks[2]; /* older, newer */
    char *(*extra)(void *argument);
    void *extra_argument;
};

/* replica_open behind the configuration: `resource` is copied. Errors: as replica_open. */
int replica_open_resource(struct replica_loop *loop, const struct config_resource *resource,
                          const char *run_dir, const struct replica_callbacks *callbacks,
                          void *argument, struct replica **replica, struct replica_error *error);

/* ---- backing.c ------------------------------------------------------------------------------ */

/* Errors: those of disk_open and metastore_open. */
int backing_open(struct replica *replica, struct replica_error *error);
/* A killed process lets go of its disk only when the kernel has finished its last I/O, a moment
 * after the process is gone: who starts again at once waits for that, two seconds at most. The loop
 * does not run meanwhile, so this is for a resource without a link. */
int backing_open_at_start(struct replica *replica, struct replica_error *error);
void backing_close(struct replica *replica); /* nothing is under way on it */
void backing_detach(struct replica *replica, replica_done *done, void *argument);
void backing_attach(struct replica *replica, replica_done *done, void *argument);

/* ---- status.c ------------------------------------------------------------------------------- */

/* One resource as `drbdsetup status --json` has it, and ours under "tapdrbd". New reference, NULL
 * when out of memory. */
json_t *status_json(struct replica *replica);

/* The generation identifiers in drbdadm's words, several lines. */
void status_generations(const struct replica *replica, char *text, size_t room);

#endif
