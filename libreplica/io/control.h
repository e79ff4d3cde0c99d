/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control.h - the control socket RUN_DIR/RESOURCE.ctl: one JSON object a line, both ways.
 *
 * Request   {"command": "primary", "force": true}
 * Answer    {"ok": true, ...}   or   {"ok": false, "code": "peer-primary", "error": "one line of
 * text"}
 *
 * Commands of the library:
 *   status                                  -> "status": the object `drbdsetup status --json` has
 *                                              for one resource, plus ours
 *   watch                                   -> a line {"ok": true, "status": {...}} now and at each
 *                                              change, at most ten a second, until the client
 * leaves primary {force}  secondary  connect {discard-my-data}  disconnect {force} new-current-uuid
 * {clear-bitmap}  down wait-connect {timeout}  wait-sync {timeout}   seconds, 0 or absent: no limit
 *   show-gi                                 -> "gi": text as `drbdadm show-gi` words it
 * Any other command is handed to the client (replica_callbacks.control): tapdisk-drbd knows
 *   vbd-add {path}  vbd-remove {path}       xl's hotplug script; path: the backend's XenStore node
 *
 * A line is at most CONTROL_LINE_MAX bytes; at most CONTROL_CLIENTS_MAX clients: the next one takes
 * the place of the oldest that asks for nothing, then of a watcher, then of one that waits. A
 * client that breaks the rules is told why and closed, nothing else happens (P11). The socket's
 * mode is 0600.
 */
#ifndef IO_CONTROL_H
#define IO_CONTROL_H

#include "libreplica/replica.h"

enum control_limits { CONTROL_LINE_MAX = 65536, CONTROL_CLIENTS_MAX = 32 };

struct control;

/* Errors: REPLICA_E_BUSY (another process serves the resource), REPLICA_E_SYSTEM,
 * REPLICA_E_MEMORY. A stale socket file of a dead process is replaced. */
int control_open(struct control **control, struct replica_loop *loop, struct replica *replica,
                 const char *path, struct replica_error *error);
void control_close(struct control *control);

/* Something in the status changed: tell watchers and waiters, at the end of this turn. */
void control_changed(struct control *control);

/* Somebody has typed `secondary` or `down`, and has no answer yet. */
bool control_demotes(const struct control *control);

#endif
