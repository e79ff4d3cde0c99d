/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver_private.h - struct driver, which driver.c (stepping the core, requests, commands, the
 * link) and driver_disk.c (data and metadata I/O) share.
 */
#ifndef IO_DRIVER_PRIVATE_H
#define IO_DRIVER_PRIVATE_H

#include "digest.h"
#include "driver.h"
#include "handlers.h"
#include "place.h"

enum { ENTROPY_WORDS = 64 };

struct disk_job; /* a data I/O under way */
struct meta_job; /* a metadata I/O under way */

/* A request inside the core; its address is the core's cookie. */
struct open_request {
    struct replica_request *request; /* NULL: free */
    struct open_request *next;
};

struct queued_command {
    enum command_kind kind;
    uint32_t flags;
    uint64_t start, stop; /* COMMAND_VERIFY */
    replica_done *done;
    void *argument;
    struct queued_command *next;
};

/* How a script has ended; the core is told at the turn's end. */
struct handler_answer {
    bool there;
    uint32_t serial;
    int status;
};

struct driver {
    struct driver_setup setup;
    struct core *core;
    struct link *link;
    struct handlers *handlers;
    struct handler_answer answers[HANDLER_COUNT];
    struct replica_timer *timer;
    uint64_t deadline;
    struct actions actions;
    bool changed, closed;

    struct disk_job *disk_jobs, *free_disk_jobs;
    struct meta_job *meta_jobs, *free_meta_jobs;
    struct disk_job *starved, **starved_last; /* reads that wait for a buffer */
    unsigned under_way;                       /* disk and metadata operations */
    bool link_room; /* the link's pool, or that for reads, has memory again */
    struct digest *digest;

    struct open_request *open, *free_open;
    struct replica_request *waiting, **waiting_last;
    struct queued_command *commands, **commands_last;
    struct queued_command *command; /* the one inside the core */
    struct queued_command *urgent;  /* of driver_command_now; asked, and not answered yet */

    struct {
        bool due;
        uint32_t number;
        int code;
        char text[ACTION_TEXT_MAX];
    } handover; /* the client's answer, for the turn's end */

    struct {
        bool due;
        uint32_t serial;
        uint64_t size; /* of the disk, as it was then */
    } measure;         /* an ACTION_MEASURE, for the turn's end */

    struct place place; /* of internal metadata */

    char said[ACTION_TEXT_MAX];     /* in this step, at level warning or error */
    char farewell[ACTION_TEXT_MAX]; /* what was said in the step that closed the link */

    uint64_t entropy[ENTROPY_WORDS];
    unsigned entropy_left;
};

/* Gives the event to the core and carries out what it answers. */
void driver_step(struct driver *driver, struct event *event);

/* ---- driver_handler.c ---------------------------------------------------------------------- */

void driver_handler_run(struct driver *driver, const struct action *action);
/* A handlers_done; the core is told by driver_handlers_tell, in the turn's end. */
void driver_handler_done(void *argument, enum core_handler handler, uint32_t serial, int status);
void driver_handlers_tell(struct driver *driver);

/* ---- driver_resize.c ----------------------------------------------------------------------- */

/* Where the superblocks are. Errors: those of metadata_slots and place_find. */
int driver_find_metadata(struct driver *driver, uint64_t slots[METADATA_SLOTS],
                         struct replica_error *error);
/* Answers an ACTION_MEASURE, if there is one. */
void driver_measure(struct driver *driver);

/* ---- driver_disk.c ------------------------------------------------------------------------- */

/* `requests` is how many of the guest's may be under way. Errors: REPLICA_E_MEMORY. */
int driver_disk_init(struct driver *driver, uint32_t requests);
void driver_disk_close(struct driver *driver);
void driver_disk_run(struct driver *driver, const struct action *action);
void driver_meta_run(struct driver *driver, const struct action *action);

/* Reads for the peer may wait for memory: these go on with them, or end them. */
void driver_disk_feed(struct driver *driver);
void driver_disk_drop(struct driver *driver);

#endif
