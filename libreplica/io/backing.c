/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backing.c - the resource's disk and metadata: opened, let go of while the resource stays up
 * (`detach`, or a disk that failed), and opened again (`attach`).
 */
#include <stdlib.h>
#include <time.h>

#include "replica_private.h"

enum {
    BUSY_ATTEMPTS = 40, /* two seconds in all */
    BUSY_PAUSE_MS = 50
};

int backing_open(struct replica *replica, struct replica_error *error)
{
    const struct config_host *local = &replica->resource.local;
    int code = disk_open(&replica->disk, replica->loop, &replica->log, local->disk, error);

    if (code == 0)
        code = metastore_open(&replica->store, replica->loop, &replica->log, local->meta_disk,
                              replica->disk, error);
    if (code == 0 && !disk_is_direct(replica->disk))
        log_line(&replica->log, LOG_WARNING,
                 "%s is on a file system without direct I/O: slower, and its writes pass "
                 "through this host's page cache",
                 local->disk);
    return code;
}

int backing_open_at_start(struct replica *replica, struct replica_error *error)
{
    static const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000};
    int code = backing_open(replica, error);

    for (unsigned i = 0; code == REPLICA_E_BUSY && i < BUSY_ATTEMPTS; i++) {
        backing_close(replica);
        (void)nanosleep(&pause, NULL);
        code = backing_open(replica, error);
    }
    return code;
}

void backing_close(struct replica *replica)
{
    metastore_close(replica->store);
    disk_close(replica->disk);
    replica->store = NULL;
    replica->disk = NULL;
}

struct backing_command {
    struct replica *replica;
    enum command_kind kind;
    replica_done *done;
    void *argument;
};

/* Whatever is not attached is not held open: it may be taken out. What a later `attach` in the
 * queue has opened is not for a `detach` before it to close. */
static void over(void *argument, int code, const char *text)
{
    struct backing_command command = *(struct backing_command *)argument;
    struct core_status status;

    free(argument);
    if (command.kind == COMMAND_ATTACH)
        command.replica->attaching = false;
    core_status(driver_core(command.replica->driver), &status);
    if (status.disk == REPLICA_DISK_DISKLESS && !command.replica->attaching &&
        core_disk_idle(driver_core(command.replica->driver)))
        backing_close(command.replica);
    command.done(command.argument, code, text);
}

static void run(struct replica *replica, enum command_kind kind, replica_done *done, void *argument)
{
    struct backing_command *command = calloc(1, sizeof *command);

    if (!command) {
        done(argument, REPLICA_E_MEMORY, "out of memory");
        return;
    }
    replica->attaching |= kind == COMMAND_ATTACH;
    *command = (struct backing_command){replica, kind, done, argument};
    driver_command(replica->driver, kind, 0, over, command);
}

void backing_detach(struct replica *replica, replica_done *done, void *argument)
{
    run(replica, COMMAND_DETACH, done, argument);
}

void backing_attach(struct replica *replica, replica_done *done, void *argument)
{
    struct replica_error error;
    struct core_status status;
    int code;

    if (replica->attaching) { /* it may wait in the queue still */
        done(argument, REPLICA_E_BUSY, "another attach has no answer yet");
        return;
    }
    core_status(driver_core(replica->driver), &status);
    if (status.disk != REPLICA_DISK_DISKLESS) {
        done(argument, REPLICA_E_STATE, "a disk is attached already: detach it first");
        return;
    }
    if (!core_disk_idle(driver_core(replica->driver))) {
        done(argument, REPLICA_E_BUSY, "the old disk has not answered everything yet");
        return;
    }
    backing_close(replica);
    code = backing_open(replica, &error);
    if (code == 0)
        code = driver_set_disk(replica->driver, replica->disk, replica->store, &error);
    if (code == 0) {
        run(replica, COMMAND_ATTACH, done, argument);
        return;
    }
    backing_close(replica);
    done(argument, code, error.text);
}
