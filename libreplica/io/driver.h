/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h - runs one core: carries out its actions and reports what became of them as events.
 * It decides nothing. Events are taken in the order in which they happen; what a client submits
 * waits for the end of the turn, so that nobody is called back from inside his own call.
 */
#ifndef IO_DRIVER_H
#define IO_DRIVER_H

#include "buffer.h"
#include "config.h"
#include "disk.h"
#include "link.h"
#include "metastore.h"

struct driver; /* heap object */

/* Everything is borrowed and outlives the driver. */
struct driver_setup {
    struct replica_loop *loop;
    const struct log *log;
    const struct config_resource *resource;
    struct disk *disk;
    struct metastore *store;
    struct buffer_pool *link_pool;   /* for what the peer sends */
    struct buffer_pool *read_pool;   /* for reads that the core gives no buffer */
    const char *state_dir;           /* what must outlive a reboot of the host; see place.h */
    void (*changed)(void *argument); /* the core's status has changed; at most once a turn */
    /* As in struct replica_callbacks. */
    void (*handover_asked)(void *argument, uint32_t number, bool take_back);
    void (*handover_ended)(void *argument, uint32_t number, bool gone);
    void *argument;
};

/* Errors: those of core_new and link_new. Ownership: *driver is freed with driver_close. */
int driver_new(struct driver **driver, const struct driver_setup *setup,
               struct replica_error *error);

/* For the next attach, while the core is Diskless and nothing is under way. Errors: those of
 * metadata_slots. */
int driver_set_disk(struct driver *driver, struct disk *disk, struct metastore *store,
                    struct replica_error *error);

/* Waits for the metadata to be read. Errors: as the core says. */
int driver_attach(struct driver *driver, struct replica_error *error);

/* Closes the link at once, waits for the disk, completes every request and command that is open
 * with REPLICA_E_SHUTDOWN, frees. */
void driver_close(struct driver *driver);

void driver_submit(struct driver *driver, struct replica_request *request);

/* Commands run one after the other, in order. `done` may be NULL; it comes from the loop. */
void driver_command(struct driver *driver, enum command_kind kind, uint32_t flags,
                    replica_done *done, void *argument);

/* The same, ahead of what waits; only for a command that the core never makes wait. */
void driver_command_now(struct driver *driver, enum command_kind kind, replica_done *done,
                        void *argument);

/* As replica_handover_answer. */
void driver_handover_answer(struct driver *driver, uint32_t number, int code, const char *text);
/* COMMAND_VERIFY, from byte `start` to `stop`; 0: to the end. */
void driver_verify(struct driver *driver, uint64_t start, uint64_t stop, replica_done *done,
                   void *argument);

/* COMMAND_RESIZE, to `bytes`; 0: to all there is. */
void driver_resize(struct driver *driver, uint64_t bytes, uint32_t flags, replica_done *done,
                   void *argument);

/* One of the two pools has memory again: to be called from their `room`. */
void driver_room(struct driver *driver);

const struct core *driver_core(const struct driver *driver);
const struct link *driver_link(const struct driver *driver);

/* Why the core ended the last session with the peer; empty: it did not. */
const char *driver_farewell(const struct driver *driver);

#endif
