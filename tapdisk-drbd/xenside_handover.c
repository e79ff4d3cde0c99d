/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenside_handover.c - which copy of a guest has the disk: on this host, and between this host and
 * the peer.
 *
 * `xl migrate` has two copies of one guest for a while: one suspended, the other about to run. The
 * disk is handed from one to the other only while the first stands still (device_may_yield); it is
 * held before it is handed on, and nothing of its requests is under way then. Domains are told
 * apart by their numbers; what xl calls them meanwhile does not matter.
 */
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "libreplica/core/err.h"
#include "xenside_private.h"

static const uint64_t DRAIN_LOOK = 2 * UINT64_C(1000000);

/* ---- on this host ---------------------------------------------------------------------------- */

/* Has the disk, for writing. */
static bool is_writer(const struct device *device)
{
    return device_wants_role(device) && device_is_writable(device) && !device_is_held(device);
}

bool xenside_make_room(struct xenside *xen, struct device *newcomer, char *why, size_t why_bytes,
                       bool *local)
{
    char text[128];

    if (!device_is_writable(newcomer))
        return true;
    for (struct entry *entry = xen->entries; entry; entry = entry->next) {
        const struct device_place *place = device_place(entry->device);

        if (entry->device == newcomer || !is_writer(entry->device))
            continue;
        if (device_may_yield(entry->device, false, text, sizeof text)) {
            *local = true;
            continue;
        }
        (void)snprintf(why, why_bytes,
                       "%s is attached for writing to domain %u already; detach it there first (xl "
                       "block-detach %u %u), or attach it read-only here",
                       replica_resource(xen->host.replica), place->domain, place->domain,
                       place->device);
        return false;
    }
    for (struct entry *entry = xen->entries; entry && *local; entry = entry->next)
        if (entry->device != newcomer && is_writer(entry->device))
            device_yield(entry->device);
    return true;
}

bool xenside_in_the_way(void *argument, const struct device *device)
{
    struct xenside *xen = argument;

    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        if (entry->device != device && device_is_held(entry->device) && !device_hold(entry->device))
            return true;
    return false;
}

/* The migration within this host has failed: the first copy runs again. The second one, if it is
 * still there, has never run. */
static void settle_local(struct xenside *xen)
{
    char text[128];

    for (struct entry *entry = xen->entries; entry; entry = entry->next) {
        bool free = true;

        if (!device_wants_back(entry->device))
            continue;
        for (struct entry *other = xen->entries; other; other = other->next) {
            if (other == entry || !is_writer(other->device))
                continue;
            if (device_may_yield(other->device, true, text, sizeof text))
                device_yield(other->device);
            else
                free = false;
        }
        if (free)
            device_go_on(entry->device);
    }
}

/* ---- device models ----------------------------------------------------------------------------
 */

void xenside_set_clients(struct xenside *xen, const struct clients *clients)
{
    xen->host.clients = clients;
}

uint32_t xenside_guest_of(const struct xenside *xen, int32_t process, uint32_t none)
{
    for (const struct entry *entry = xen->entries; entry; entry = entry->next) {
        uint32_t domain = device_frontend_domain(entry->device);
        char image[64];
        uint64_t model;

        (void)snprintf(image, sizeof image, "/local/domain/%u/image", domain);
        /* libxl writes it before the device model begins. */
        if (domain != 0 && process > 0 &&
            xenbus_read_number(xen->host.xenbus, XENBUS_NO_TRANSACTION, image, "device-model-pid",
                               INT32_MAX, &model) == 0 &&
            model == (uint64_t)process)
            return domain;
    }
    return none;
}

/* ---- to the peer ----------------------------------------------------------------------------- */

static void answer(struct xenside *xen, int code, const char *text)
{
    xen->handover.answered = true;
    replica_handover_answer(xen->host.replica, xen->handover.number, code, text);
}

static void release_all(struct xenside *xen)
{
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        if (device_wants_role(entry->device))
            device_let_go_on(entry->device);
}

/* Every user must stand still; *users says how many there are. */
static bool all_stand_still(struct xenside *xen, unsigned *users, char *why, size_t why_bytes)
{
    *users = 0;
    for (struct entry *entry = xen->entries; entry; entry = entry->next) {
        if (!device_wants_role(entry->device))
            continue;
        ++*users;
        if (!device_may_yield(entry->device, xen->handover.take_back, why, why_bytes))
            return false;
    }
    return true;
}

static bool hold_all(struct xenside *xen)
{
    bool idle = true;

    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        if (device_wants_role(entry->device))
            idle &= device_hold(entry->device);
    return idle;
}

uint64_t xenside_handover_pump(struct xenside *xen)
{
    char why[REPLICA_ERROR_TEXT_MAX] = "";
    unsigned users;

    settle_local(xen);
    if (!xen->handover.asked || xen->handover.answered)
        return UINT64_MAX;
    if (!all_stand_still(xen, &users, why, sizeof why)) {
        release_all(xen);
        answer(xen, REPLICA_E_PEER_PRIMARY, why);
        return UINT64_MAX;
    }
    /* A person wanted it so; or the last guest is gone, and giving the role back has to wait. */
    if (users == 0 && !xen->handover.take_back && !claim_is_unused(xen->host.claim)) {
        (void)snprintf(why, sizeof why,
                       "keeps the role; make it Secondary first (tapdrbdadm secondary %s there)",
                       replica_resource(xen->host.replica));
        answer(xen, REPLICA_E_PEER_PRIMARY, why);
        return UINT64_MAX;
    }
    if (!hold_all(xen))
        return replica_loop_now(xen->host.loop) + DRAIN_LOOK;
    answer(xen, 0, "");
    return UINT64_MAX;
}

void xenside_handover_asked(struct xenside *xen, uint32_t number, bool take_back)
{
    xen->handover.asked = true;
    xen->handover.answered = false;
    xen->handover.number = number;
    xen->handover.take_back = take_back;
    xen->host.wake(xen);
}

void xenside_handover_ended(struct xenside *xen, uint32_t number, bool gone)
{
    if (!xen->handover.asked || xen->handover.number != number)
        return;
    xen->handover.asked = false;
    if (!gone) {
        release_all(xen);
        return;
    }
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        device_gave_away(entry->device);
    claim_gone(xen->host.claim);
    xen->host.wake(xen);
}
