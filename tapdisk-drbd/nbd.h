/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd.h - a small NBD server on a Unix socket: what QEMU needs for HVM guests, and what any dom0
 * tool can open. Fixed newstyle, structured replies where asked for. Serves while the node is
 * Primary; at other times the export is refused with a reason. Sees only replica.h.
 */
#ifndef TAPDISK_NBD_H
#define TAPDISK_NBD_H

#include <stdbool.h>
#include <stdint.h>

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

/* The role or the size changed: when no longer Primary, clients that are not held are drained and
 * closed. */
void nbd_changed(struct nbd *nbd);

/* ---- who the clients are: nbd_users.c -------------------------------------------------------- */

enum { NBD_NO_GUEST = 0x7ff4 }; /* no domain has this number: Xen's DOMID_INVALID */

/* Says whose device model this process is: a domain's number, or NBD_NO_GUEST. */
typedef uint32_t nbd_guest_of(void *argument, int32_t process);
/* Without it every client counts as a program of dom0. */
void nbd_set_guests(struct nbd *nbd, nbd_guest_of *guest, void *argument);

/* Clients that hold the export open for writing, without those that are held; `who` names the
 * first. */
unsigned nbd_writers(const struct nbd *nbd, char *who, size_t who_bytes);
/* Those among them that are no guest's device model. */
unsigned nbd_strangers(const struct nbd *nbd, char *who, size_t who_bytes);

/* The clients of a domain, see clients.h. A held client stays connected also while the node is
 * Secondary, and what it asks waits. */
bool nbd_hold(struct nbd *nbd, uint32_t domain);
void nbd_go_on(struct nbd *nbd, uint32_t domain);
void nbd_drop(struct nbd *nbd, uint32_t domain);
bool nbd_wrote(const struct nbd *nbd, uint32_t domain);

/* While paused nobody new is let in: the Primary role is about to go to the peer. */
void nbd_pause(struct nbd *nbd, bool paused);

/* For status: {"socket": ..., "clients": N}. New reference; NULL: no memory. */
json_t *nbd_status(const struct nbd *nbd);

#endif
