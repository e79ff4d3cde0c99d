/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - lines for an admin at three in the morning: what, where, what to do. To stderr; with the
 * priority in front where stderr leads to the journal (sd-daemon(3)). One write a line, never
 * blocking on a socket.
 */
#ifndef IO_LOG_H
#define IO_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "libreplica/words.h"

struct log {
    char name[REPLICA_NAME_MAX + 1]; /* the resource: in front of every line */
    bool journal;
    int level; /* the least important priority that is written */
};

void log_open(struct log *log, const char *name);
void log_line(const struct log *log, int priority, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Keeps outsiders from filling the log: true when a line may be written now. After a silence
 * *dropped says how many were swallowed (else 0). */
struct log_limit {
    uint64_t window_start; /* ns */
    uint32_t written, dropped;
};
bool log_may(struct log_limit *limit, uint64_t now, uint32_t *dropped);

#endif
