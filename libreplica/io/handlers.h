/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handlers.h - runs the scripts of `handlers { ... }` beside the loop, which never waits for one.
 *
 * A script is given to /bin/sh -c, with DRBD's variables in its environment: DRBD_RESOURCE,
 * DRBD_VOLUME, DRBD_MINOR, DRBD_NODE_ID_*, DRBD_MY_*, DRBD_PEER*, DRBD_LL_DISK, UP_TO_DATE_NODES.
 */
#ifndef IO_HANDLERS_H
#define IO_HANDLERS_H

#include "config.h"
#include "libreplica/replica.h"
#include "log.h"

struct handlers; /* heap object */

/* Tells how a script ended: its exit status, or -1 when it could not be run or a signal ended it.
 * May be called from inside handlers_run. */
typedef void handlers_done(void *argument, enum core_handler handler, uint32_t serial, int status);

/* Everything is borrowed and outlives it. Errors: REPLICA_E_MEMORY. */
int handlers_new(struct handlers **handlers, struct replica_loop *loop, const struct log *log,
                 const struct config_resource *resource, handlers_done *done, void *argument);

/* Scripts that still run are left alone, and nobody hears of their end. */
void handlers_free(struct handlers *handlers);

/* `up_to_date` is a mask of node ids, as DRBD tells it in UP_TO_DATE_NODES. */
void handlers_run(struct handlers *handlers, enum core_handler handler, uint32_t serial,
                  unsigned up_to_date);

/* DRBD's name of a handler; NULL outside of the enum. Static storage. */
const char *handler_name(enum core_handler handler);

/* The script that the configuration names for it; empty: none. */
const char *handler_script(const struct config_resource *resource, enum core_handler handler);

#endif
