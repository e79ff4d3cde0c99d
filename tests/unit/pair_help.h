/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pair_help.h - alpha and beta: two replicas of "vm1" over loopback, on one loop. */
#ifndef TESTS_PAIR_HELP_H
#define TESTS_PAIR_HELP_H

#include "io_help.h"
#include "libreplica/io/config.h"

enum { DISK_BYTES = 32 << 20, NODES = 2, HELD_MAX = 64 };

struct node {
    const char *name;
    char config_dir[96], run_dir[96], disk[96];
    struct config_resource resource;
    struct replica *replica;
    unsigned changes, shutdowns;
    uint64_t resized;
    unsigned users;                                 /* what in_use answers */
    struct replica_control_request *held[HELD_MAX]; /* vbd-add, to be answered later */
    unsigned held_count;
};

extern struct io_help help;
extern struct node nodes[NODES];

/* Configuration, key, disks with fresh metadata; nothing is open yet. */
void pair_setup(void);
void pair_teardown(void);

int node_open(struct node *node, struct replica_error *error);
void node_start(struct node *node);

struct replica_status status_of(const struct node *node);
bool established(void *argument); /* for io_help_run: both connected */
bool in_sync(void *argument);     /* and UpToDate */

/* Wait for the answer, give its code. */
int promote(struct node *node, bool force);
int demote(struct node *node);

/* Both up, in sync, alpha Primary. */
void start_pair(void);

#endif
