/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_replica.h - replica.h over a piece of memory and poll(2): what the client side (NBD) is
 * tested against, alone. A test turns the loop by hand and decides when and how requests end.
 */
#ifndef FAKE_REPLICA_H
#define FAKE_REPLICA_H

#include "fake_loop.h"

struct fake_settings {
    const char *resource;
    uint64_t size;
    uint32_t pool_bytes; /* what replica_buffer_get gives out at most */
};

struct replica *fake_replica_new(const struct fake_settings *settings);
void fake_replica_attach(struct replica *replica, struct replica_loop *loop);

void fake_replica_disk(struct replica *replica, enum replica_disk disk); /* UpToDate at first */
void fake_replica_connection(struct replica *replica, enum replica_connection connection);
void fake_replica_role(struct replica *replica, enum replica_role role);
/* A person has typed `secondary`, and it is not done yet. */
void fake_replica_demoting(struct replica *replica, bool demoting);
/* A turn completes some requests only, in an order of its own; 0: all, in theirs. */
void fake_replica_shuffle(struct replica *replica, uint64_t seed);
/* Requests wait until released. */
void fake_replica_hold(struct replica *replica, bool hold);
/* Ends the `index`th of the requests that wait, out of turn; code 0: as it deserves. False: there
 * is none. */
bool fake_replica_end_one(struct replica *replica, unsigned index, int code);
/* Sees each request as it is submitted. */
void fake_replica_observe(struct replica *replica,
                          void (*submitted)(const struct replica_request *request));
/* The `after`th request from now on, and all later ones, end with this code; 0: none. */
void fake_replica_fail(struct replica *replica, unsigned after, int code);

/* A discard frees nothing on this disk. */
void fake_replica_no_discard(struct replica *replica);

/* Another limit for what replica_buffer_get gives out. */
void fake_replica_pool(struct replica *replica, uint32_t bytes);

/* The disk; a forked process shares it. */
uint8_t *fake_replica_data(struct replica *replica);
uint32_t fake_replica_pool_used(const struct replica *replica);
/* Counts since the start. */
unsigned fake_replica_requests(const struct replica *replica);
unsigned fake_replica_flushes(const struct replica *replica);
unsigned fake_replica_durable_writes(const struct replica *replica);

#endif
