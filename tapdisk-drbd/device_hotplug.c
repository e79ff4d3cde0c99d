/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_hotplug.c - hotplug add and remove of one vbd: it becomes a user of the Primary role, and
 * gives it back; see device.h.
 */
#include <string.h>
#include <syslog.h>

#include "device_private.h"

#define MILLISECONDS UINT64_C(1000000)

static const uint64_t ADD_WAIT = 20000 * MILLISECONDS; /* for xen-blkback to let go */
/* For the peer to connect: it may call only once in the default connect-int of 10 s. */
static const uint64_t PEER_WAIT = 12000 * MILLISECONDS;
static const uint64_t CLAIM_RETRY = 5000 * MILLISECONDS;
static const uint64_t BACK_RETRY = 500 * MILLISECONDS; /* a guest waits for it */

void device_answer(replica_done **done, void *argument, int code, const char *text)
{
    replica_done *call = *done;

    *done = NULL;
    if (call)
        call(argument, code, text);
}

static void give_back_done(void *argument, int code, const char *text)
{
    struct device *device = argument;

    if (code)
        replica_log(device->host->replica, LOG_WARNING,
                    "vbd %s is gone, but the resource stays Primary: %s", device->name, text);
    device_answer(&device->remove_done, device->remove_argument, 0, "");
}

void device_give_back(struct device *device)
{
    device->added = false;
    if (device->claimed) {
        device->claimed = false;
        claim_give_back(device->host->claim, &device->wait, give_back_done, device);
    } else {
        device_answer(&device->remove_done, device->remove_argument, 0, "");
    }
}

static int publish_added(struct device *device)
{
    struct xenbus *xenbus = device->host->xenbus;
    /* QEMU opens a vbd3's path as a socket by itself, and a vbd's as the name of a file. */
    const char *scheme = strcmp(device->place.kind, "vbd") == 0 ? "nbd+unix:///?socket=" : "";
    int code = xenbus_write(xenbus, XENBUS_NO_TRANSACTION, device->place.path,
                            "physical-device-path", "%s%s", scheme, device->host->nbd_path);

    if (code == 0)
        code = xenbus_write(xenbus, XENBUS_NO_TRANSACTION, device->place.path, "hotplug-status",
                            "connected");
    return code;
}

/* Once the role is ours and xen-blkback is out of the way. */
void device_finish_add(struct device *device)
{
    if (!device->add_done || !device->claimed)
        return;
    if (device->leaving) {
        device_answer(&device->add_done, device->add_argument, REPLICA_E_STATE,
                      "the toolstack took the vbd away meanwhile");
        return;
    }
    if (device->state != DEVICE_OFFERED && device->state != DEVICE_CLOSED &&
        device->state != DEVICE_CONNECTED) {
        if (device_now(device) >= device->add_since + ADD_WAIT)
            device_answer(&device->add_done, device->add_argument, REPLICA_E_TIMEOUT,
                          "xen-blkback does not let go of the vbd");
        else
            device_look_by(device, device->add_since + ADD_WAIT);
        return;
    }
    if (publish_added(device)) {
        device_answer(&device->add_done, device->add_argument, REPLICA_E_SYSTEM,
                      "cannot write to XenStore");
        return;
    }
    device->added = true;
    device_answer(&device->add_done, device->add_argument, 0, "");
}

void device_claimed(void *argument, int code, const char *text)
{
    struct device *device = argument;

    if (code) {
        device_problem(device, text);
        device->claim_again = device_now(device) + (device->away ? BACK_RETRY : CLAIM_RETRY);
        device_answer(&device->add_done, device->add_argument, code, text);
    } else {
        device->claimed = true;
        device->inherited = false;
        if (device->away) {
            device->away = false;
            device->problem[0] = '\0';
            device_go_on(device);
        }
        device_finish_add(device);
    }
    device_look_by(device, device_now(device));
    device->host->wake(device->host->wake_argument);
}

/* The peer may be Primary, and only it can say so. A link that was given up after a split brain, or
 * by a person, will not tell; and a new vbd whose disk nobody may write to alone need not wait to
 * hear that. */
static bool waits_for_peer(struct device *device)
{
    uint64_t since = device->inherited ? device->since : device->host->opened;
    struct replica_status status;

    replica_status(device->host->replica, &status);
    if (status.role == REPLICA_ROLE_PRIMARY || status.connection == REPLICA_CONNECTION_CONNECTED)
        return false;
    if (!device->inherited && (status.connection == REPLICA_CONNECTION_STANDALONE ||
                               status.disk < REPLICA_DISK_CONSISTENT))
        return false;
    if (device_now(device) < since + PEER_WAIT) {
        if (!device->inherited)
            device_problem(device, "waits for the peer to connect: the guest may run there");
        device_look_by(device, since + PEER_WAIT);
        return true;
    }
    if (status.connection != REPLICA_CONNECTION_STANDALONE)
        return false;
    device_problem(device, "the guest's I/O waits: the link is StandAlone, and the guest may have "
                           "been started on the peer; connect it, or make this node Primary by "
                           "hand");
    return true;
}

static void claim_to_add(struct device *device)
{
    if (!device->wait.done && !waits_for_peer(device))
        claim_take(device->host->claim, &device->wait, device->add_flags, device_claimed, device);
}

void device_add(struct device *device, unsigned flags, replica_done *done, void *argument)
{
    if (device->add_done || device->remove_done) {
        done(argument, REPLICA_E_BUSY, "another hotplug command for this vbd is under way");
        return;
    }
    device->add_done = done;
    device->add_argument = argument;
    device->add_since = device_now(device);
    device->removed = false;
    device->add_flags = flags;
    if (device->claimed)
        device_finish_add(device);
    else
        claim_to_add(device);
}

void device_remove(struct device *device, replica_done *done, void *argument)
{
    if (device->remove_done) {
        done(argument, REPLICA_E_BUSY, "another hotplug command for this vbd is under way");
        return;
    }
    device_answer(&device->add_done, device->add_argument, REPLICA_E_STATE, "removed meanwhile");
    device->remove_done = done;
    device->remove_argument = argument;
    device->removed = true;
    claim_cancel(device->host->claim, &device->wait);
    device_leave(device);
    device_look_by(device, device_now(device));
    if (device->state == DEVICE_CLOSED)
        device_give_back(device);
}

/* A guest that stood still and runs again has the disk before a copy of it that never ran. Without
 * the link there is nobody to take it back from. */
static unsigned claim_flags(const struct device *device)
{
    struct replica_status status;

    replica_status(device->host->replica, &status);
    return device->stood_still && status.connection == REPLICA_CONNECTION_CONNECTED
               ? REPLICA_PROMOTE_TAKE_BACK
               : 0;
}

void device_claim(struct device *device)
{
    if (device->add_done && !device->claimed && !device->leaving) {
        claim_to_add(device);
        return;
    }
    if (!device->added || device->claimed || device->wait.done || device->away || device->leaving ||
        device->state == DEVICE_HELD)
        return;
    if (device->inherited && device_guest_stands_still(device))
        return;
    if (waits_for_peer(device))
        return;
    if (device_now(device) < device->claim_again)
        device_look_by(device, device->claim_again);
    else
        claim_take(device->host->claim, &device->wait, claim_flags(device), device_claimed, device);
}
