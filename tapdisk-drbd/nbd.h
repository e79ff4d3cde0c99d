/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd.h - a small NBD server on a Unix socket: what QEMU needs for HVM guests, and what any dom0
 * tool can open. Fixed newstyle, structured replies where asked for. Serves while the node is
 * Primary; at other times the export is refused with a reason. Sees only replica.h.
 */
#ifndef TAPDISK_NBD_H
#define TAPDISK_NBD_H

#include <jansson.h>
#include <libreplica/replica.h>

struct nbd;

/* Listens on `path` (mode 0600). A stale socket of a dead process is replaced.
 * Errors: REPLICA_E_BUSY (another process listens there), REPLICA_E_INVALID (the path is too long
 * for a socket), REPLICA_E_SYSTEM, REPLICA_E_MEMORY. */
int nbd_open(struct nbd **nbd, struct replica_loop *loop, struct replica *replica, const char *path,
             struct replica_error *error);

/* The end comes in two steps around replica_close, which is what answers the requests that are
 * still in the library: nbd_stop closes every socket and asks nothing more of the library;
 * nbd_close, after replica_close, frees the memory. */
void nbd_stop(struct nbd *nbd);
void nbd_close(struct nbd *nbd);

/* The role or the size changed: when no longer Primary, clients are drained and closed. */
void nbd_changed(struct nbd *nbd);

/* Clients that hold the export open for writing. */
unsigned nbd_writers(const struct nbd *nbd);

/* For status: {"socket": ..., "clients": N}. New reference; NULL: no memory. */
json_t *nbd_status(const struct nbd *nbd);

#endif
