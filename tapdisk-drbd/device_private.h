/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_private.h - one vbd's state, shared by device.c (its state machine) and device_hotplug.c
 * (the commands of the hotplug script). Nobody else includes this.
 */
#ifndef TAPDISK_DEVICE_PRIVATE_H
#define TAPDISK_DEVICE_PRIVATE_H

#include "device.h"
#include "journal.h"
#include "nodes.h"

enum device_state {
    DEVICE_NEW,
    DEVICE_OFFERED,
    DEVICE_CONNECTED,
    DEVICE_CLOSING,
    DEVICE_DRAINING,
    DEVICE_CLOSED,
    DEVICE_HELD,
    DEVICE_RESUMING,
    DEVICE_STATE_COUNT
};

struct device {
    const struct device_host *host;
    struct device_place place;
    char name[32]; /* "5/51712" */
    char frontend_state[XENBUS_PATH_MAX];
    char journal[JOURNAL_PATH_MAX]; /* the file of its rings' requests */
    struct nodes_backend nodes;     /* as read last */
    enum device_state state;
    enum xenbus_state written; /* what we wrote into our `state`, UNKNOWN: nothing yet */
    struct vbd *vbd;           /* CONNECTED, CLOSING, DRAINING; may be NULL in the last two */
    bool added, claimed, leaving, removed;
    bool connected;   /* its guest has, now or before, also in another process's time */
    bool inherited;   /* added in another process's time, and not claimed since */
    bool stood_still; /* its guest, while it was inherited */
    bool held;        /* nothing is taken from the ring */
    bool away;        /* the role was handed over to the peer while this one used it */
    bool yielded;     /* another vbd of this host has the disk */
    uint64_t away_since;
    uint64_t since; /* when this state began */
    uint64_t add_since, claim_again;
    unsigned add_flags;
    uint64_t deadline; /* when to look again, UINT64_MAX: on a change */
    char problem[REPLICA_ERROR_TEXT_MAX];
    struct claim_wait wait;
    replica_done *add_done, *remove_done;
    void *add_argument, *remove_argument;
};

static inline uint64_t device_now(const struct device *device)
{
    return replica_loop_now(device->host->loop);
}

static inline void device_look_by(struct device *device, uint64_t at)
{
    if (at < device->deadline)
        device->deadline = at;
}

/* A discard that the disk has not is written as zeroes: the toolstack may allow it, we do not.
 * Errors: as nodes_read_backend. */
static inline int device_read_nodes(const struct device_host *host, const char *path,
                                    struct nodes_backend *nodes)
{
    int code = nodes_read_backend(host->xenbus, path, nodes);

    if (code == 0)
        nodes->discard &= replica_discards(host->replica);
    return code;
}

/* Said once: a guest may make it happen as often as it likes. */
void device_problem(struct device *device, const char *text);
/* The toolstack wants it gone. */
void device_leave(struct device *device);

/* device_hotplug.c */
void device_answer(replica_done **done, void *argument, int code, const char *text);
/* Answers a hotplug add once the role is ours and xen-blkback is out of the way. */
void device_finish_add(struct device *device);
/* Gives the role back, and answers a hotplug remove. */
void device_give_back(struct device *device);
/* A vbd that was added in another process's time needs the role again, and may have to wait for
 * it; a held one does not: nothing is served there. */
void device_claim(struct device *device);
void device_claimed(void *argument, int code, const char *text);

/* device_handover.c: looks whether the guest of a held device runs again. */
void device_watch_guest(struct device *device);
/* Then it is looked at again soon. */
bool device_guest_stands_still(struct device *device);

#endif
