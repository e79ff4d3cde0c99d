/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenbus.h - XenStore through libxenstore: bounded reads, transactions that try again, watches on
 * the loop.
 *
 * The calls are synchronous to xenstored. They are for setting up and taking down a vbd, never for
 * the data path. A node is named by a directory and a leaf; what a guest wrote is data of at most
 * the caller's size, or it is refused.
 */
#ifndef TAPDISK_XENBUS_H
#define TAPDISK_XENBUS_H

#include <libreplica/replica.h>
#include <stdbool.h>
#include <stdint.h>
#include <xenstore.h>

enum {
    XENBUS_PATH_MAX = 256,
    XENBUS_VALUE_MAX = 512,
    XENBUS_NO_TRANSACTION = 0 /* XBT_NULL of libxenstore */
};

struct xenbus;

/* `fired` is called for each event of a watch, `drained` after the events that came together: the
 * place to act, so that a storm of events costs one look.
 * Errors: REPLICA_E_SYSTEM (no xenstored; errno says more), REPLICA_E_MEMORY. */
int xenbus_open(struct xenbus **xenbus, struct replica_loop *loop,
                void (*fired)(void *argument, const char *path, const char *token),
                void (*drained)(void *argument), void *argument, struct replica_error *error);
void xenbus_close(struct xenbus *xenbus);

/* Text without control characters, shorter than `size`. An empty leaf reads the directory's own
 * value. Errors: REPLICA_E_NOT_FOUND, REPLICA_E_INVALID, REPLICA_E_SYSTEM. */
int xenbus_read(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                const char *leaf, char *text, size_t size);
/* A decimal number, digits only, at most `most`. Errors: as xenbus_read. */
int xenbus_read_number(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                       const char *leaf, uint64_t most, uint64_t *value);
/* Errors: REPLICA_E_SYSTEM. */
int xenbus_write(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                 const char *leaf, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* What is not there is no error. Errors: REPLICA_E_SYSTEM. */
int xenbus_remove(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                  const char *leaf);

/* Calls `body` in a transaction until it is committed without a conflict; a code from `body`
 * abandons it. Errors: those of `body`, REPLICA_E_SYSTEM, REPLICA_E_BUSY (too many conflicts). */
int xenbus_transaction(struct xenbus *xenbus,
                       int (*body)(struct xenbus *xenbus, xs_transaction_t transaction,
                                   void *argument),
                       void *argument);

/* Errors: REPLICA_E_SYSTEM. */
int xenbus_watch(struct xenbus *xenbus, const char *path, const char *token);
void xenbus_unwatch(struct xenbus *xenbus, const char *path, const char *token);

/* Calls `found` for each entry of a directory, at most `most` of them. */
void xenbus_each(struct xenbus *xenbus, const char *directory, unsigned most,
                 void (*found)(void *argument, const char *name), void *argument);

#endif
