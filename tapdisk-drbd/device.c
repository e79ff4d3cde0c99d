/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device.c - the state machine of one vbd; see device.h.
 *
 *   NEW        the node names us; xen-blkback, if there is one, has to let go first
 *   OFFERED    features published, state InitWait; hotplug add and the frontend come in any order
 *   CONNECTED  rings mapped, state Connected
 *   CLOSING    state Closing; still served while the frontend writes back what it has
 *   DRAINING   nothing is taken any more; what is under way gets CLOSE_DRAIN to end
 *   CLOSED     nothing of the guest's is held, state Closed; a frontend may come again
 *   HELD       another process served it and is gone; its ring is left alone
 *
 * A HELD ring may have requests that were taken and not answered, in slots that later responses
 * have overwritten. Without a record of them it cannot be taken up: the guest waits, which loses
 * nothing, and a toolstack can still close it.
 */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "libreplica/core/err.h"
#include "nodes.h"
#include "takeover.h"

#define MILLISECONDS UINT64_C(1000000)

/* The toolstack waits 10 s for state Closed. */
static const uint64_t CLOSE_GRACE = 5000 * MILLISECONDS; /* for the frontend to close */
static const uint64_t CLOSE_DRAIN = 2000 * MILLISECONDS; /* for requests under way */
static const uint64_t DRAIN_LOOK = 5 * MILLISECONDS;
static const uint64_t PROBE_WAIT = 2000 * MILLISECONDS; /* for xen-blkback to see the node */
static const uint64_t RETRY = 50 * MILLISECONDS;
static const uint64_t BIND_WAIT = 3000 * MILLISECONDS; /* for an event channel to come free */
static const uint64_t ADD_WAIT = 20000 * MILLISECONDS; /* for xen-blkback to let go */
static const uint64_t CLAIM_RETRY = 5000 * MILLISECONDS;

enum device_state {
    DEVICE_NEW,
    DEVICE_OFFERED,
    DEVICE_CONNECTED,
    DEVICE_CLOSING,
    DEVICE_DRAINING,
    DEVICE_CLOSED,
    DEVICE_HELD,
    DEVICE_STATE_COUNT
};

static const char *const state_names[DEVICE_STATE_COUNT] = {
    "New", "InitWait", "Connected", "Closing", "Draining", "Closed", "Held"};

enum device_act { STAY, OFFER, CONNECT, CLOSE, FINISH };

/* What the frontend's state asks of us, in each state of ours. A frontend that is ahead of us
 * (Initialised before our InitWait), skips states, comes again after Closed, or vanishes
 * (UNKNOWN) is an ordinary column. */
static const enum device_act table[DEVICE_STATE_COUNT][XENBUS_STATE_COUNT] = {
    /*                   UNKNOWN INITING INITWAIT INITED   CONNECTED CLOSING CLOSED  RECONF RECONFD
     */
    [DEVICE_NEW] = {OFFER, OFFER, OFFER, OFFER, OFFER, FINISH, FINISH, OFFER, OFFER},
    [DEVICE_OFFERED] = {STAY, STAY, STAY, CONNECT, CONNECT, CLOSE, FINISH, STAY, STAY},
    [DEVICE_CONNECTED] = {FINISH, FINISH, STAY, STAY, STAY, CLOSE, FINISH, STAY, STAY},
    [DEVICE_CLOSING] = {FINISH, FINISH, STAY, STAY, STAY, STAY, FINISH, STAY, STAY},
    [DEVICE_DRAINING] = {STAY, STAY, STAY, STAY, STAY, STAY, STAY, STAY, STAY},
    [DEVICE_CLOSED] = {STAY, OFFER, OFFER, OFFER, STAY, STAY, STAY, STAY, STAY},
    [DEVICE_HELD] = {FINISH, FINISH, STAY, STAY, STAY, CLOSE, FINISH, STAY, STAY},
};

struct device {
    const struct device_host *host;
    struct device_place place;
    char name[32]; /* "5/51712" */
    char frontend_state[XENBUS_PATH_MAX];
    struct nodes_backend nodes; /* as read last */
    enum device_state state;
    enum xenbus_state written; /* what we wrote into our `state`, UNKNOWN: nothing yet */
    struct vbd *vbd;           /* CONNECTED, CLOSING, DRAINING; may be NULL in the last two */
    bool added, claimed, leaving, removed;
    uint64_t since; /* when this state began */
    uint64_t add_since, claim_again;
    uint64_t deadline; /* when to look again, UINT64_MAX: on a change */
    char problem[REPLICA_ERROR_TEXT_MAX];
    struct claim_wait wait;
    replica_done *add_done, *remove_done;
    void *add_argument, *remove_argument;
};

/* ---- where it is
 * ---------------------------------------------------------------------------------- */

static bool take_number(const char **text, uint32_t *value)
{
    uint64_t number = 0;
    unsigned digits = 0;

    for (; **text >= '0' && **text <= '9' && digits < 10; (*text)++, digits++)
        number = number * 10 + (uint64_t)(**text - '0');
    if (digits == 0 || number > UINT32_MAX || (**text != '/' && **text != '\0'))
        return false;
    *value = (uint32_t)number;
    return true;
}

int device_place_parse(const char *base, const char *path, struct device_place *place,
                       const char **leaf)
{
    size_t length = strlen(base);
    int written;

    if (strncmp(path, base, length) == 0 && path[length] == '/')
        path += length + 1;
    if (strncmp(path, "backend/", 8) != 0)
        return REPLICA_E_INVALID;
    path += 8;
    length = strcspn(path, "/");
    if (strncmp(path, "vbd/", 4) != 0 && strncmp(path, "vbd3/", 5) != 0)
        return REPLICA_E_INVALID;
    memcpy(place->kind, path, length);
    place->kind[length] = '\0';
    path += length + 1;
    if (!take_number(&path, &place->domain) || *path++ != '/' ||
        !take_number(&path, &place->device))
        return REPLICA_E_INVALID;
    *leaf = *path == '/' ? path + 1 : path;
    written = snprintf(place->path, sizeof place->path, "%s/backend/%s/%u/%u", base, place->kind,
                       place->domain, place->device);
    return written > 0 && (size_t)written < sizeof place->path ? 0 : REPLICA_E_INVALID;
}

/* "vm1" from "tap:drbd:vm1", "drbd:vm1", "aio:vm1" or "vm1". */
static const char *resource_of(const char *params)
{
    static const char *const prefixes[] = {"tap:", "drbd:", "aio:", "raw:"};

    for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(params, prefixes[i], strlen(prefixes[i])) == 0)
            params += strlen(prefixes[i]);
    return params;
}

bool device_matches(struct xenbus *xenbus, const struct device_place *place, const char *resource)
{
    char params[XENBUS_PATH_MAX], script[XENBUS_PATH_MAX], online[4];
    const char *name;

    if (xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "params", params, sizeof params))
        return false;
    if (strcmp(resource_of(params), resource) != 0)
        return false;
    /* The same name may mean something else to another script. */
    if (xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "script", script, sizeof script))
        return false;
    name = strrchr(script, '/');
    if (strcmp(name ? name + 1 : script, "block-drbd") != 0)
        return false;
    return xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "online", online,
                       sizeof online) != 0 ||
           strcmp(online, "0") != 0;
}

const struct device_place *device_place(const struct device *device)
{
    return &device->place;
}

const char *device_frontend_state(const struct device *device)
{
    return device->frontend_state;
}

/* ---- small things
 * --------------------------------------------------------------------------------- */

static uint64_t now(const struct device *device)
{
    return replica_loop_now(device->host->loop);
}

static void enter(struct device *device, enum device_state state)
{
    device->state = state;
    device->since = now(device);
    device->deadline = UINT64_MAX;
}

static void look_by(struct device *device, uint64_t at)
{
    if (at < device->deadline)
        device->deadline = at;
}

static void write_state(struct device *device, enum xenbus_state state)
{
    if (nodes_write_state(device->host->xenbus, device->place.path, state) == 0)
        device->written = state;
    else
        look_by(device, now(device) + RETRY);
}

/* Said once: a guest may make it happen as often as it likes. */
static void problem(struct device *device, const char *text)
{
    if (strcmp(device->problem, text) == 0)
        return;
    (void)snprintf(device->problem, sizeof device->problem, "%s", text);
    replica_log(device->host->replica, LOG_WARNING, "vbd %s: %s", device->name, text);
}

static void answer(replica_done **done, void *argument, int code, const char *text)
{
    replica_done *call = *done;

    *done = NULL;
    if (call)
        call(argument, code, text);
}

/* ---- offering
 * ------------------------------------------------------------------------------------- */

/* True: xen-blkback does not have it, and will not get it behind our back. */
static bool is_ours_now(struct device *device)
{
    if (strcmp(device->place.kind, "vbd") != 0)
        return true;
    switch (takeover_vbd(device->host->sysfs, device->place.domain, device->place.device)) {
    case TAKEOVER_NO_DRIVER:
    case TAKEOVER_RELEASED:
        return true;
    case TAKEOVER_UNBOUND:
        /* It may be about to bind; once it did, it has written a state. */
        if (device->nodes.state > XENBUS_INITIALISING || now(device) >= device->since + PROBE_WAIT)
            return true;
        look_by(device, device->since + PROBE_WAIT);
        return false;
    case TAKEOVER_HELD:
        look_by(device, now(device) + RETRY);
        return false;
    }
    return false;
}

static void offer(struct device *device)
{
    if (device->state == DEVICE_CLOSED && (!device->nodes.online || device->leaving))
        return;
    if (!is_ours_now(device))
        return;
    if (nodes_offer(device->host->xenbus, device->place.path, &device->nodes)) {
        problem(device, "cannot write to XenStore");
        look_by(device, now(device) + RETRY);
        return;
    }
    device->written = XENBUS_INIT_WAIT;
    enter(device, DEVICE_OFFERED);
}

/* ---- connecting
 * ----------------------------------------------------------------------------------- */

static void log_connected(const struct device *device, const struct vbd_parameters *parameters)
{
    static const char *const abis[BLKIF_ABI_COUNT] = {"native", "x86_32", "x86_64"};

    replica_log(device->host->replica, LOG_NOTICE,
                "vbd %s: connected, %s, %u queue%s of %u page%s, %s", device->name,
                device->nodes.read_only ? "read-only" : "read-write", parameters->queues,
                parameters->queues == 1 ? "" : "s", parameters->ring_pages,
                parameters->ring_pages == 1 ? "" : "s", abis[parameters->abi]);
}

/* What cannot be connected is closed: the frontend may close too and try again. */
static void refuse(struct device *device, const char *text)
{
    problem(device, text);
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_CLOSING);
}

static int map_and_bind(struct device *device, struct replica_error *error)
{
    struct vbd_parameters parameters = {0};
    int code =
        nodes_read_frontend(device->host->xenbus, device->nodes.frontend, &parameters, error);

    if (code)
        return code;
    parameters.domain = device->nodes.frontend_domain;
    parameters.name = device->name;
    parameters.limits =
        (struct blkif_limits){.sectors = replica_size(device->host->replica) / REPLICA_SECTOR_BYTES,
                              .read_only = device->nodes.read_only,
                              .discard = device->nodes.discard};
    code = vbd_connect(device->host->plane, &parameters, &device->vbd, error);
    if (code == 0)
        log_connected(device, &parameters);
    return code;
}

static void connect_vbd(struct device *device)
{
    struct replica_error error = {0};
    int code;

    if (!device->added || !device->claimed || device->leaving)
        return;
    code = map_and_bind(device, &error);
    if (code == REPLICA_E_BUSY && now(device) < device->since + BIND_WAIT) {
        look_by(device, now(device) + RETRY);
        return;
    }
    if (code) {
        refuse(device, error.text);
        return;
    }
    if (nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                      replica_size(device->host->replica) / REPLICA_SECTOR_BYTES)) {
        vbd_disconnect(device->vbd);
        device->vbd = NULL;
        problem(device, "cannot write to XenStore");
        look_by(device, now(device) + RETRY);
        return;
    }
    device->problem[0] = '\0';
    device->written = XENBUS_CONNECTED;
    enter(device, DEVICE_CONNECTED);
}

/* ---- closing
 * --------------------------------------------------------------------------------------- */

static void let_go(struct device *device)
{
    if (device->vbd)
        vbd_disconnect(device->vbd);
    device->vbd = NULL;
}

static void close_now(struct device *device)
{
    if (device->vbd && !vbd_idle(device->vbd))
        replica_log(device->host->replica, LOG_WARNING,
                    "vbd %s: closed with requests under way; none of them was acknowledged",
                    device->name);
    let_go(device);
    enter(device, DEVICE_CLOSED);
    write_state(device, XENBUS_CLOSED);
}

static void begin_close(struct device *device)
{
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_CLOSING);
}

static void finish(struct device *device)
{
    if (!device->vbd || vbd_idle(device->vbd)) {
        close_now(device);
        return;
    }
    vbd_stop(device->vbd);
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_DRAINING);
    look_by(device, now(device) + DRAIN_LOOK);
}

/* Time alone moves these. */
static void wait_out(struct device *device)
{
    uint64_t passed = now(device) - device->since;

    if (device->state == DEVICE_CLOSING && device->leaving) {
        if (!device->vbd || passed >= CLOSE_GRACE)
            finish(device);
        else
            look_by(device, device->since + CLOSE_GRACE);
    }
    if (device->state == DEVICE_DRAINING) {
        passed = now(device) - device->since;
        if (!device->vbd || vbd_idle(device->vbd) || passed >= CLOSE_DRAIN)
            close_now(device);
        else
            look_by(device, now(device) + DRAIN_LOOK);
    }
}

/* The toolstack wants it gone. */
static void leave(struct device *device)
{
    if (device->leaving)
        return;
    device->leaving = true;
    switch (device->state) {
    case DEVICE_NEW:
    case DEVICE_OFFERED:
    case DEVICE_HELD:
        finish(device);
        break;
    case DEVICE_CONNECTED:
        begin_close(device);
        break;
    case DEVICE_CLOSING:
        device->since = now(device);
        break;
    case DEVICE_DRAINING:
    case DEVICE_CLOSED:
    case DEVICE_STATE_COUNT:
        break;
    }
}

/* ---- hotplug
 * --------------------------------------------------------------------------------------- */

static void give_back_done(void *argument, int code, const char *text)
{
    struct device *device = argument;

    if (code)
        replica_log(device->host->replica, LOG_WARNING,
                    "vbd %s is gone, but the resource stays Primary: %s", device->name, text);
    answer(&device->remove_done, device->remove_argument, 0, "");
}

static void give_back(struct device *device)
{
    device->added = false;
    if (device->claimed) {
        device->claimed = false;
        claim_give_back(device->host->claim, &device->wait, give_back_done, device);
    } else {
        answer(&device->remove_done, device->remove_argument, 0, "");
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
static void finish_add(struct device *device)
{
    if (!device->add_done || !device->claimed)
        return;
    if (device->leaving) {
        answer(&device->add_done, device->add_argument, REPLICA_E_STATE,
               "the toolstack took the vbd away meanwhile");
        return;
    }
    if (device->state != DEVICE_OFFERED && device->state != DEVICE_CLOSED &&
        device->state != DEVICE_CONNECTED) {
        if (now(device) >= device->add_since + ADD_WAIT)
            answer(&device->add_done, device->add_argument, REPLICA_E_TIMEOUT,
                   "xen-blkback does not let go of the vbd");
        else
            look_by(device, device->add_since + ADD_WAIT);
        return;
    }
    if (publish_added(device)) {
        answer(&device->add_done, device->add_argument, REPLICA_E_SYSTEM,
               "cannot write to XenStore");
        return;
    }
    device->added = true;
    answer(&device->add_done, device->add_argument, 0, "");
}

static void claimed(void *argument, int code, const char *text)
{
    struct device *device = argument;

    if (code) {
        problem(device, text);
        device->claim_again = now(device) + CLAIM_RETRY;
        answer(&device->add_done, device->add_argument, code, text);
    } else {
        device->claimed = true;
        finish_add(device);
    }
    look_by(device, now(device));
    device->host->wake(device->host->wake_argument);
}

void device_add(struct device *device, replica_done *done, void *argument)
{
    if (device->add_done || device->remove_done) {
        done(argument, REPLICA_E_BUSY, "another hotplug command for this vbd is under way");
        return;
    }
    device->add_done = done;
    device->add_argument = argument;
    device->add_since = now(device);
    device->removed = false;
    if (device->claimed)
        finish_add(device);
    else if (!device->wait.done)
        claim_take(device->host->claim, &device->wait, claimed, device);
}

void device_remove(struct device *device, replica_done *done, void *argument)
{
    if (device->remove_done) {
        done(argument, REPLICA_E_BUSY, "another hotplug command for this vbd is under way");
        return;
    }
    answer(&device->add_done, device->add_argument, REPLICA_E_STATE, "removed meanwhile");
    device->remove_done = done;
    device->remove_argument = argument;
    device->removed = true;
    claim_cancel(device->host->claim, &device->wait);
    leave(device);
    look_by(device, now(device));
    if (device->state == DEVICE_CLOSED)
        give_back(device);
}

bool device_is_added(const struct device *device)
{
    return device->added;
}

bool device_lacks_role(const struct device *device)
{
    return device->added && !device->claimed && device->state != DEVICE_HELD;
}

bool device_wants_role(const struct device *device)
{
    return device->added || device->add_done;
}

bool device_is_writable(const struct device *device)
{
    return !device->nodes.read_only;
}

/* ---- the look
 * --------------------------------------------------------------------------------------- */

static void act(struct device *device, enum xenbus_state frontend)
{
    switch (table[device->state][frontend]) {
    case STAY:
        break;
    case OFFER:
        offer(device);
        break;
    case CONNECT:
        connect_vbd(device);
        break;
    case CLOSE:
        begin_close(device);
        break;
    case FINISH:
        finish(device);
        break;
    }
}

/* Somebody else wrote our state: the toolstack, or xen-blkback that was loaded behind our back. */
static void judge_state_node(struct device *device)
{
    enum xenbus_state state = device->nodes.state;

    if (!device->nodes.online || (state == XENBUS_CLOSING && device->written != XENBUS_CLOSING))
        leave(device);
    if (state == device->written || device->written == XENBUS_UNKNOWN)
        return;
    if (device->state == DEVICE_CLOSED)
        write_state(device, XENBUS_CLOSED);
    else if (device->state == DEVICE_CONNECTED && is_ours_now(device) &&
             nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                           replica_size(device->host->replica) / REPLICA_SECTOR_BYTES) == 0)
        problem(device, "xen-blkback was loaded and took the vbd; it is taken back");
    else if (device->state == DEVICE_OFFERED && is_ours_now(device))
        (void)nodes_offer(device->host->xenbus, device->place.path, &device->nodes);
}

/* One look can go through several states, each at most once. */
static void act_until_settled(struct device *device)
{
    for (unsigned i = 0; i < DEVICE_STATE_COUNT; i++) {
        enum device_state before = device->state;
        enum xenbus_state frontend = nodes_read_state(device->host->xenbus, device->nodes.frontend);

        act(device, frontend);
        wait_out(device);
        if (device->state == before)
            break;
    }
}

/* A vbd that was added in another process's time needs the role again, and may have to wait for
 * it; a held one does not: nothing is served there. */
static void claim_for_the_added(struct device *device)
{
    if (!device->added || device->claimed || device->wait.done || device->state == DEVICE_HELD)
        return;
    if (now(device) < device->claim_again)
        look_by(device, device->claim_again);
    else
        claim_take(device->host->claim, &device->wait, claimed, device);
}

bool device_look(struct device *device)
{
    struct nodes_backend nodes;
    int code = nodes_read_backend(device->host->xenbus, device->place.path, &nodes);

    device->deadline = UINT64_MAX;
    if (code == REPLICA_E_SYSTEM) {
        look_by(device, now(device) + RETRY);
        return true;
    }
    if (code || strcmp(nodes.frontend, device->nodes.frontend) != 0)
        return false;
    if (nodes.state == XENBUS_INITIALISING && device->written != XENBUS_UNKNOWN)
        return false; /* made anew at the same place */
    device->nodes = nodes;
    judge_state_node(device);
    claim_for_the_added(device);
    act_until_settled(device);
    finish_add(device);
    if (device->added && device->state == DEVICE_OFFERED)
        act_until_settled(device);
    if (device->state == DEVICE_CLOSED && device->remove_done && !device->wait.done)
        give_back(device);
    return true;
}

uint64_t device_deadline(const struct device *device)
{
    return device->deadline;
}

/* ---- beginning and end
 * -------------------------------------------------------------------------------- */

/* A vbd that another process has served: its hotplug script will not run another time. */
static void take_over_from_the_dead(struct device *device)
{
    enum xenbus_state frontend = nodes_read_state(device->host->xenbus, device->nodes.frontend);

    if (!device->nodes.added)
        return;
    device->added = true;
    if (device->nodes.state == XENBUS_CONNECTED &&
        (frontend == XENBUS_INITIALISED || frontend == XENBUS_CONNECTED)) {
        enter(device, DEVICE_HELD);
        device->written = XENBUS_CONNECTED;
        problem(device, "was served by a process that is gone; the guest's I/O waits until the "
                        "guest is destroyed (xl destroy) and started again");
    }
}

int device_new(struct device **device, const struct device_host *host,
               const struct device_place *place)
{
    struct device *made = calloc(1, sizeof *made);
    int code, length;

    if (!made)
        return REPLICA_E_MEMORY;
    made->host = host;
    made->place = *place;
    (void)snprintf(made->name, sizeof made->name, "%u/%u", place->domain, place->device);
    code = nodes_read_backend(host->xenbus, place->path, &made->nodes);
    if (code)
        goto fail;
    length = snprintf(made->frontend_state, sizeof made->frontend_state, "%s/state",
                      made->nodes.frontend);
    code = REPLICA_E_INVALID;
    if (length < 0 || (size_t)length >= sizeof made->frontend_state)
        goto fail;
    code = xenbus_watch(host->xenbus, made->frontend_state, "frontend");
    if (code)
        goto fail;
    enter(made, DEVICE_NEW);
    take_over_from_the_dead(made);
    *device = made;
    return 0;
fail:
    free(made);
    return code;
}

void device_free(struct device *device)
{
    xenbus_unwatch(device->host->xenbus, device->frontend_state, "frontend");
    let_go(device);
    claim_cancel(device->host->claim, &device->wait);
    answer(&device->add_done, device->add_argument, REPLICA_E_STATE, "the vbd is gone");
    if (device->claimed)
        claim_drop(device->host->claim);
    answer(&device->remove_done, device->remove_argument, 0, "");
    free(device);
}

void device_resize(struct device *device, uint64_t size)
{
    if (device->state != DEVICE_CONNECTED)
        return;
    vbd_resize(device->vbd, size / REPLICA_SECTOR_BYTES);
    if (nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                      size / REPLICA_SECTOR_BYTES))
        problem(device, "cannot tell the guest its disk's new size: XenStore");
}

json_t *device_status(const struct device *device)
{
    struct vbd_counters counters = {0};

    if (device->vbd)
        vbd_counters(device->vbd, &counters);
    return json_pack("{s:I, s:I, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "domain", (json_int_t)device->place.domain, "device",
                     (json_int_t)device->place.device, "kind", device->place.kind, "state",
                     state_names[device->state], "writable", !device->nodes.read_only, "problem",
                     device->problem, "requests-active", (json_int_t)counters.active, "reads",
                     (json_int_t)counters.reads, "writes", (json_int_t)counters.writes, "flushes",
                     (json_int_t)counters.flushes, "discards", (json_int_t)counters.discards,
                     "read-sectors", (json_int_t)counters.read_sectors, "written-sectors",
                     (json_int_t)counters.written_sectors, "errors", (json_int_t)counters.errors);
}
