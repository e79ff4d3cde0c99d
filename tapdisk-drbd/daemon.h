/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * daemon.h - what a process does to become and to be a daemon: fork and report readiness, find a
 * place for its log, write its pid file, keep memory pressure from stopping it. Knows nothing of
 * replicas.
 */
#ifndef TAPDISK_DAEMON_H
#define TAPDISK_DAEMON_H

#include <stdbool.h>

#include <libreplica/replica.h>

/* Who waits for us to be ready. */
struct daemon {
    int ready_fd; /* the parent reads here; -1: in the foreground */
    const char *pid_path;
};

/* Forks into the background, unless `foreground`. In the child stderr leads to the journal or, on a
 * host without one, to `log_path`. The parent stays until daemon_ready or daemon_failed, hands the
 * text of the latter on to its stderr, and exits: it does not come back.
 * Errors: REPLICA_E_SYSTEM. `daemon` must outlive the process's service. */
int daemon_start(struct daemon *daemon, bool foreground, const char *name, const char *log_path,
                 struct replica_error *error);

/* Writes the pid file (`pid_path` is borrowed; daemon_end removes it) and lets the parent and
 * systemd know. Errors: REPLICA_E_SYSTEM. */
int daemon_ready(struct daemon *daemon, const char *pid_path, struct replica_error *error);

/* One line for the person who waits. */
void daemon_failed(struct daemon *daemon, const char *text);

/* Tells systemd that the end has begun; removes the pid file. */
void daemon_end(struct daemon *daemon);

/* A process that serves disks must go on when memory is short: others may be waiting for its
 * writes to get memory back. Takes it out of the reach of the OOM killer, keeps what it has
 * touched in memory, and tells the kernel not to wait for I/O on its behalf. Each is a privilege:
 * returns the weightiest one that was not granted, with what may follow, or NULL. */
const char *daemon_protect(void);

#endif
