/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_handover.c - a vbd whose guest stands still while another copy of it has the disk.
 *
 *   held     nothing is taken from the ring; what was taken goes on to its end
 *   yielded  held, because another vbd of this host has the disk (xl migrate localhost)
 *   away     held, because the Primary role was handed over to the peer
 *
 * The device model of an HVM guest, an NBD client, is held with it.
 *
 * The guest runs again when a migration has failed: on the same ring, without a word in XenStore.
 * So its domain is looked at every GUEST_LOOK while the vbd is held, and only then. What the guest
 * asks in the meantime stays in its ring.
 */
#include <inttypes.h>
#include <stdio.h>
#include <syslog.h>

#include "device_private.h"

#define MILLISECONDS UINT64_C(1000000)

static const uint64_t GUEST_LOOK = 100 * MILLISECONDS;

static enum domain_state guest_of(const struct device *device)
{
    return domains_look(device->host->domains, device->nodes.frontend_domain);
}

/* A domain that has never connected, and whose device model has changed nothing, has never run: its
 * first requests are still to come. */
static bool has_never_run(const struct device *device)
{
    const struct clients *clients = device->host->clients;

    return !device->connected &&
           !(clients && clients->wrote(clients->argument, device->nodes.frontend_domain));
}

bool device_may_yield(struct device *device, bool take_back, char *why, size_t why_bytes)
{
    uint32_t domain = device->nodes.frontend_domain;

    switch (guest_of(device)) {
    case DOMAIN_GONE:
    case DOMAIN_SUSPENDED:
        return true;
    case DOMAIN_SHUTDOWN:
        (void)snprintf(why, why_bytes,
                       "its guest (domain %" PRIu32
                       ") is still there, shut down; xl destroy %" PRIu32 " there",
                       domain, domain);
        return take_back;
    case DOMAIN_PAUSED:
        (void)snprintf(why, why_bytes, "its guest (domain %" PRIu32 ") is there, paused", domain);
        return take_back && has_never_run(device);
    case DOMAIN_RUNNING:
        (void)snprintf(why, why_bytes,
                       "its guest (domain %" PRIu32
                       ") runs there; shut that guest down, or move it with xl migrate",
                       domain);
        return false;
    case DOMAIN_UNKNOWN:
    case DOMAIN_STATE_COUNT:
        break;
    }
    (void)snprintf(why, why_bytes, "nobody can say whether its guest (domain %" PRIu32 ") runs",
                   domain);
    return false;
}

bool device_hold(struct device *device)
{
    const struct clients *clients = device->host->clients;
    bool idle = !clients || clients->hold(clients->argument, device->nodes.frontend_domain);

    device->held = true;
    if (!device->vbd)
        return idle;
    vbd_stop(device->vbd);
    return vbd_idle(device->vbd) && idle;
}

void device_go_on(struct device *device)
{
    const struct clients *clients = device->host->clients;

    device->held = device->yielded = false;
    if (clients)
        clients->go_on(clients->argument, device->nodes.frontend_domain);
    if (device->vbd && device->state != DEVICE_DRAINING)
        vbd_go_on(device->vbd);
}

void device_let_go_on(struct device *device)
{
    if (!device->yielded)
        device_go_on(device);
}

bool device_is_held(const struct device *device)
{
    return device->held;
}

void device_yield(struct device *device)
{
    if (!device->yielded)
        replica_log(device->host->replica, LOG_NOTICE,
                    "vbd %s: its guest stands still; another vbd of this host has the disk now",
                    device->name);
    device->yielded = true;
    (void)device_hold(device);
    device_look_by(device, device_now(device) + GUEST_LOOK);
}

void device_gave_away(struct device *device)
{
    if (!device->claimed && !device->add_done) {
        /* It has no ring yet, and asks for the role by itself when it needs it. */
        if (!device->away && !device->yielded)
            device->held = false;
        return;
    }
    device->claimed = false;
    device->away = true;
    device->away_since = device_now(device);
    device->claim_again = 0;
    device_answer(&device->add_done, device->add_argument, REPLICA_E_PEER_PRIMARY,
                  "the peer has taken the Primary role back: its guest runs again");
    device_look_by(device, device_now(device) + GUEST_LOOK);
}

/* Another copy of it may have the disk, here or on the peer, by the word of the process before this
 * one. What its ring still holds that copy has asked for again, and has written over since. */
bool device_guest_stands_still(struct device *device)
{
    enum domain_state guest = guest_of(device);

    if (guest != DOMAIN_SUSPENDED && guest != DOMAIN_GONE)
        return false;
    device->stood_still = true;
    device_look_by(device, device_now(device) + GUEST_LOOK);
    return true;
}

static bool runs(enum domain_state guest)
{
    return guest == DOMAIN_RUNNING || guest == DOMAIN_PAUSED;
}

bool device_wants_back(struct device *device)
{
    return device->yielded && guest_of(device) == DOMAIN_RUNNING;
}

/* On the way back: said once, and asked again and again. */
static void ask_back(struct device *device)
{
    if (device->claim_again == 0)
        replica_log(device->host->replica, LOG_NOTICE,
                    "vbd %s: its guest runs again here, and the peer has the Primary role: asking "
                    "for it back",
                    device->name);
    device->claim_again = 1; /* at once, from now on; a refusal puts it off */
    claim_take(device->host->claim, &device->wait, REPLICA_PROMOTE_TAKE_BACK, device_claimed,
               device);
}

void device_watch_guest(struct device *device)
{
    if (!device->away && !device->yielded)
        return;
    device_look_by(device, device_now(device) + GUEST_LOOK);
    if (!device->away || device->leaving || device->wait.done || !device->added)
        return;
    if (device_now(device) >= device->claim_again && runs(guest_of(device)) &&
        !(has_never_run(device) && guest_of(device) == DOMAIN_PAUSED))
        ask_back(device);
}
