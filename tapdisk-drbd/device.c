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
 *   RESUMING   another process served it and is gone; its rings are taken up where that one left
 *              them (journal.h) as soon as the role is ours again: the guest sees a pause
 *   HELD       the same, but without a record of what that process took and did not answer
 *
 * A HELD ring may have requests in slots that later responses have overwritten. It is not guessed
 * at: the guest waits, which loses nothing, and a toolstack can still close it.
 *
 * Before a vbd of another process's time asks for the role it gives the peer PEER_WAIT to connect:
 * an operator may have started the guest there, and then only the peer knows (P6). That one has no
 * ring is no difference: its guest may use it through the device model. So does a new vbd while the
 * process is young: the host may have been away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "device_private.h"
#include "takeover.h"

#define MILLISECONDS UINT64_C(1000000)

/* The toolstack waits 10 s for state Closed. */
static const uint64_t CLOSE_GRACE = 5000 * MILLISECONDS; /* for the frontend to close */
static const uint64_t CLOSE_DRAIN = 2000 * MILLISECONDS; /* for requests under way */
static const uint64_t DRAIN_LOOK = 5 * MILLISECONDS;
static const uint64_t PROBE_WAIT = 2000 * MILLISECONDS; /* for xen-blkback to see the node */
static const uint64_t RETRY = 50 * MILLISECONDS;
static const uint64_t BIND_WAIT = 3000 * MILLISECONDS; /* for an event channel to come free */

static const char *const state_names[DEVICE_STATE_COUNT] = {
    "New", "InitWait", "Connected", "Closing", "Draining", "Closed", "Held", "Resuming"};

enum device_act { STAY, OFFER, CONNECT, RESUME, CLOSE, FINISH };

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
    [DEVICE_RESUMING] = {FINISH, FINISH, STAY, RESUME, RESUME, CLOSE, FINISH, STAY, STAY},
};

/* ---- small things ---------------------------------------------------------------------------- */

const struct device_place *device_place(const struct device *device)
{
    return &device->place;
}

uint32_t device_frontend_domain(const struct device *device)
{
    return device->nodes.frontend_domain;
}

const char *device_frontend_state(const struct device *device)
{
    return device->frontend_state;
}

static void enter(struct device *device, enum device_state state)
{
    device->state = state;
    device->since = device_now(device);
    device->deadline = UINT64_MAX;
}

static void write_state(struct device *device, enum xenbus_state state)
{
    if (nodes_write_state(device->host->xenbus, device->place.path, state) == 0)
        device->written = state;
    else
        device_look_by(device, device_now(device) + RETRY);
}

/* Said once: a guest may make it happen as often as it likes. */
void device_problem(struct device *device, const char *text)
{
    if (strcmp(device->problem, text) == 0)
        return;
    (void)snprintf(device->problem, sizeof device->problem, "%s", text);
    replica_log(device->host->replica, LOG_WARNING, "vbd %s: %s", device->name, text);
}

/* ---- offering -------------------------------------------------------------------------------- */

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
        if (device->nodes.state > XENBUS_INITIALISING ||
            device_now(device) >= device->since + PROBE_WAIT)
            return true;
        device_look_by(device, device->since + PROBE_WAIT);
        return false;
    case TAKEOVER_HELD:
        device_look_by(device, device_now(device) + RETRY);
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
        device_problem(device, "cannot write to XenStore");
        device_look_by(device, device_now(device) + RETRY);
        return;
    }
    device->written = XENBUS_INIT_WAIT;
    enter(device, DEVICE_OFFERED);
}

/* ---- connecting ------------------------------------------------------------------------------ */

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
    device_problem(device, text);
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_CLOSING);
}

/* Who the guest is: a domain's number may be used again, its name in XenStore is not. */
static void read_instance(const struct device *device, char *instance, size_t bytes)
{
    char domain[XENBUS_PATH_MAX], vm[XENBUS_PATH_MAX] = "";

    (void)snprintf(domain, sizeof domain, "/local/domain/%u", device->nodes.frontend_domain);
    (void)xenbus_read(device->host->xenbus, XENBUS_NO_TRANSACTION, domain, "vm", vm, sizeof vm);
    (void)snprintf(instance, bytes, "%s %s", device->place.path, vm);
}

static int map_and_bind(struct device *device, bool resume, struct replica_error *error)
{
    struct vbd_parameters parameters = {0};
    char instance[2 * XENBUS_PATH_MAX + 2];
    int code =
        nodes_read_frontend(device->host->xenbus, device->nodes.frontend, &parameters, error);

    if (code)
        return code;
    read_instance(device, instance, sizeof instance);
    parameters.domain = device->nodes.frontend_domain;
    parameters.name = device->name;
    parameters.journal = device->journal;
    parameters.instance = instance;
    parameters.resume = resume;
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
    if (device->host->in_the_way(device->host->wake_argument, device)) {
        device_look_by(device, device_now(device) + DRAIN_LOOK);
        return;
    }
    if (!plane_has_room(device->host->plane)) {
        device_look_by(device, device_now(device) + RETRY);
        return;
    }
    code = map_and_bind(device, false, &error);
    if (code == REPLICA_E_BUSY && device_now(device) < device->since + BIND_WAIT) {
        device_look_by(device, device_now(device) + RETRY);
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
        device_problem(device, "cannot write to XenStore");
        device_look_by(device, device_now(device) + RETRY);
        return;
    }
    device->problem[0] = '\0';
    device->connected = true;
    if (device->held)
        vbd_stop(device->vbd);
    device->written = XENBUS_CONNECTED;
    enter(device, DEVICE_CONNECTED);
}

/* ---- taking up what another process left ----------------------------------------------------- */

static void hold(struct device *device, const char *text)
{
    char line[REPLICA_ERROR_TEXT_MAX];

    (void)snprintf(line, sizeof line,
                   "was served by a process that is gone and cannot be taken up: %.300s; the "
                   "guest's I/O waits until the guest is destroyed (xl destroy) and started again",
                   text);
    device_problem(device, line);
    enter(device, DEVICE_HELD);
}

/* The dead process's event channels come free when the kernel has ended it; memory, descriptors
 * and XenStore may be there again too. */
static bool may_pass(int code)
{
    return code == REPLICA_E_BUSY || code == REPLICA_E_MEMORY || code == REPLICA_E_SYSTEM;
}

static void resume(struct device *device)
{
    struct replica_error error = {0};
    int code;

    if (!device->claimed || device->leaving || !is_ours_now(device))
        return;
    if (device->held) {
        device_look_by(device, device_now(device) + RETRY);
        return;
    }
    code = map_and_bind(device, true, &error);
    if (may_pass(code)) {
        if (device_now(device) >= device->since + BIND_WAIT)
            device_problem(device, error.text);
        device_look_by(device, device_now(device) + RETRY);
        return;
    }
    if (code) {
        hold(device, error.text);
        return;
    }
    if (nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                      replica_size(device->host->replica) / REPLICA_SECTOR_BYTES))
        device_problem(device, "cannot write to XenStore");
    else
        device->problem[0] = '\0';
    enter(device, DEVICE_CONNECTED);
}

/* ---- closing --------------------------------------------------------------------------------- */

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
    /* The guest is done with these rings: nobody may take them up. */
    (void)unlink(device->journal);
    enter(device, DEVICE_CLOSED);
    write_state(device, XENBUS_CLOSED);
}

static void begin_close(struct device *device)
{
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_CLOSING);
}

/* A frontend that has closed its end may have asked for something just before, and Linux's waits
 * for the answer for ever, with the detachment of its disk. So its rings are served until they are
 * quiet. One that has gone, or whose role has, is owed nothing more. */
static void finish(struct device *device, enum xenbus_state frontend)
{
    bool serve = device->vbd && frontend == XENBUS_CLOSED && !device->held;

    if (!device->vbd || (!serve && vbd_idle(device->vbd))) {
        close_now(device);
        return;
    }
    if (!serve)
        vbd_stop(device->vbd);
    write_state(device, XENBUS_CLOSING);
    enter(device, DEVICE_DRAINING);
    device_look_by(device, device_now(device) + DRAIN_LOOK);
}

/* Time alone moves these. */
static void wait_out(struct device *device)
{
    uint64_t passed = device_now(device) - device->since;

    if (device->state == DEVICE_CLOSING && device->leaving) {
        if (!device->vbd || passed >= CLOSE_GRACE)
            finish(device, XENBUS_UNKNOWN);
        else
            device_look_by(device, device->since + CLOSE_GRACE);
    }
    if (device->state == DEVICE_DRAINING) {
        passed = device_now(device) - device->since;
        if (!device->vbd || passed >= CLOSE_DRAIN ||
            (passed >= DRAIN_LOOK && vbd_quiet(device->vbd)))
            close_now(device);
        else
            device_look_by(device, device_now(device) + DRAIN_LOOK);
    }
}

/* The toolstack wants it gone. */
void device_leave(struct device *device)
{
    if (device->leaving)
        return;
    device->leaving = true;
    switch (device->state) {
    case DEVICE_NEW:
    case DEVICE_OFFERED:
    case DEVICE_HELD:
    case DEVICE_RESUMING:
        finish(device, XENBUS_UNKNOWN);
        break;
    case DEVICE_CONNECTED:
        begin_close(device);
        break;
    case DEVICE_CLOSING:
        device->since = device_now(device);
        break;
    case DEVICE_DRAINING:
    case DEVICE_CLOSED:
    case DEVICE_STATE_COUNT:
        break;
    }
}
bool device_is_added(const struct device *device)
{
    return device->added;
}

bool device_lacks_role(const struct device *device)
{
    return (device->added || device->add_done) && !device->claimed && !device->away &&
           device->state != DEVICE_HELD;
}

bool device_wants_role(const struct device *device)
{
    return (device->added && !device->away) || device->add_done;
}

bool device_is_writable(const struct device *device)
{
    return !device->nodes.read_only;
}
/* ---- the look -------------------------------------------------------------------------------- */

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
    case RESUME:
        resume(device);
        break;
    case CLOSE:
        begin_close(device);
        break;
    case FINISH:
        finish(device, frontend);
        break;
    }
}

/* Somebody else wrote our state: the toolstack, or xen-blkback that was loaded behind our back. */
static void judge_state_node(struct device *device)
{
    enum xenbus_state state = device->nodes.state;

    if (!device->nodes.online || (state == XENBUS_CLOSING && device->written != XENBUS_CLOSING))
        device_leave(device);
    if (state == device->written || device->written == XENBUS_UNKNOWN)
        return;
    if (device->state == DEVICE_CLOSED)
        write_state(device, XENBUS_CLOSED);
    else if (device->state == DEVICE_CONNECTED && is_ours_now(device) &&
             nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                           replica_size(device->host->replica) / REPLICA_SECTOR_BYTES) == 0)
        device_problem(device, "xen-blkback was loaded and took the vbd; it is taken back");
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

bool device_look(struct device *device)
{
    struct nodes_backend nodes;
    int code = device_read_nodes(device->host, device->place.path, &nodes);

    device->deadline = UINT64_MAX;
    if (code == REPLICA_E_SYSTEM) {
        device_look_by(device, device_now(device) + RETRY);
        return true;
    }
    if (code || strcmp(nodes.frontend, device->nodes.frontend) != 0 ||
        /* made anew at the same place */
        (nodes.state == XENBUS_INITIALISING && device->written != XENBUS_UNKNOWN)) {
        (void)unlink(device->journal);
        return false;
    }
    device->nodes = nodes;
    judge_state_node(device);
    device_watch_guest(device);
    device_claim(device);
    act_until_settled(device);
    device_finish_add(device);
    if (device->added && (device->state == DEVICE_OFFERED || device->state == DEVICE_RESUMING))
        act_until_settled(device);
    if (device->state == DEVICE_CLOSED && device->remove_done && !device->wait.done)
        device_give_back(device);
    return true;
}

uint64_t device_deadline(const struct device *device)
{
    return device->deadline;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

/* A vbd that another process has served: its hotplug script will not run another time. */
static void take_over_from_the_dead(struct device *device)
{
    enum xenbus_state frontend = nodes_read_state(device->host->xenbus, device->nodes.frontend);

    if (!device->nodes.added)
        return;
    device->added = device->inherited = true;
    device->connected = device->nodes.state > XENBUS_INIT_WAIT;
    if (device->nodes.state == XENBUS_CONNECTED &&
        (frontend == XENBUS_INITIALISED || frontend == XENBUS_CONNECTED)) {
        device->written = XENBUS_CONNECTED;
        if (access(device->journal, F_OK) == 0)
            enter(device, DEVICE_RESUMING);
        else
            hold(device, "there is no record of the requests that it had not answered");
    }
    /* The guest closed it, and may come again: a toolstack that is done with it says so. */
    if (device->nodes.state == XENBUS_CLOSING &&
        (frontend == XENBUS_INITIALISING || frontend >= XENBUS_CLOSING))
        device->written = XENBUS_CLOSING;
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
    code = device_read_nodes(host, place->path, &made->nodes);
    if (code)
        goto fail;
    length = snprintf(made->frontend_state, sizeof made->frontend_state, "%s/state",
                      made->nodes.frontend);
    code = REPLICA_E_INVALID;
    if (length < 0 || (size_t)length >= sizeof made->frontend_state)
        goto fail;
    length = snprintf(made->journal, sizeof made->journal, "%s/%s.ring-%s-%u-%u", host->run_dir,
                      replica_resource(host->replica), place->kind, place->domain, place->device);
    if (length < 0 || (size_t)length >= sizeof made->journal)
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
    const struct clients *clients = device->host->clients;

    xenbus_unwatch(device->host->xenbus, device->frontend_state, "frontend");
    let_go(device);
    /* What a device model still wanted has no guest any more; it cannot end while it waits. */
    if (device->held && clients)
        clients->drop(clients->argument, device->nodes.frontend_domain);
    claim_cancel(device->host->claim, &device->wait);
    device_answer(&device->add_done, device->add_argument, REPLICA_E_STATE, "the vbd is gone");
    if (device->claimed)
        claim_drop(device->host->claim);
    device_answer(&device->remove_done, device->remove_argument, 0, "");
    free(device);
}

void device_resize(struct device *device, uint64_t size)
{
    if (device->state != DEVICE_CONNECTED)
        return;
    vbd_resize(device->vbd, size / REPLICA_SECTOR_BYTES);
    if (nodes_connect(device->host->xenbus, device->place.path, &device->nodes,
                      size / REPLICA_SECTOR_BYTES))
        device_problem(device, "cannot tell the guest its disk's new size: XenStore");
}

json_t *device_status(const struct device *device)
{
    struct vbd_counters counters = {0};

    if (device->vbd)
        vbd_counters(device->vbd, &counters);
    return json_pack(
        "{s:I, s:I, s:s, s:s, s:b, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "domain", (json_int_t)device->place.domain, "device", (json_int_t)device->place.device,
        "kind", device->place.kind, "state", state_names[device->state], "writable",
        !device->nodes.read_only, "held", device->held, "handed-over", device->away, "problem",
        device->problem, "requests-active", (json_int_t)counters.active, "reads",
        (json_int_t)counters.reads, "writes", (json_int_t)counters.writes, "flushes",
        (json_int_t)counters.flushes, "discards", (json_int_t)counters.discards, "read-sectors",
        (json_int_t)counters.read_sectors, "written-sectors", (json_int_t)counters.written_sectors,
        "errors", (json_int_t)counters.errors);
}
