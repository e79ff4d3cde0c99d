/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenside.c - the registry of this resource's vbds: finds them by watching the backend directories,
 * lets each look at XenStore when something of it changed, and carries out the hotplug commands.
 *
 * A guest can make its own watch fire as often as it likes. Events only mark a device; it looks
 * once after all events that came together, and at most LOOKS_A_WINDOW times in a window.
 */
#include <config.h>

#include "xenside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "device.h"
#include "libreplica/core/err.h"
#include "takeover.h"
#include "xenside_private.h"

#define MILLISECONDS UINT64_C(1000000)

enum { DOMAINS_MAX = 4096, DEVICES_MAX = 1024, LOOKS_A_WINDOW = 20 };
static const uint64_t LOOK_WINDOW = 100 * MILLISECONDS;
static const uint64_t SETTLE_RETRY = 1000 * MILLISECONDS;

/* ---- the registry
 * --------------------------------------------------------------------------------- */

static bool same_place(const struct device_place *a, const struct device_place *b)
{
    return strcmp(a->path, b->path) == 0;
}

static struct entry *find(struct xenside *xen, const struct device_place *place)
{
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        if (same_place(device_place(entry->device), place))
            return entry;
    return NULL;
}

/* Takes a node up if it is one of ours. */
static struct entry *examine(struct xenside *xen, const struct device_place *place)
{
    struct entry *entry = find(xen, place);

    if (entry || xen->entry_count == DEVICES_MAX ||
        !device_matches(xen->host.xenbus, place, replica_resource(xen->host.replica)))
        return entry;
    entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    if (device_new(&entry->device, &xen->host, place)) {
        free(entry);
        return NULL;
    }
    entry->dirty = true;
    entry->next = xen->entries;
    xen->entries = entry;
    xen->entry_count++;
    return entry;
}

static void forget(struct xenside *xen, struct entry *entry)
{
    struct entry **place = &xen->entries;

    while (*place != entry)
        place = &(*place)->next;
    *place = entry->next;
    xen->entry_count--;
    device_free(entry->device);
    free(entry);
}

struct scan {
    struct xenside *xen;
    char directory[XENBUS_PATH_MAX]; /* relative to base: "backend/vbd/5" */
};

static void scan_device(void *argument, const char *name)
{
    struct scan *scan = argument;
    struct device_place place;
    char path[XENBUS_PATH_MAX];
    const char *leaf;
    int length = snprintf(path, sizeof path, "%s/%s", scan->directory, name);

    if (length > 0 && (size_t)length < sizeof path &&
        device_place_parse(scan->xen->base, path, &place, &leaf) == 0)
        (void)examine(scan->xen, &place);
}

static void scan_domain(void *argument, const char *name)
{
    const struct scan *scan = argument;
    struct scan inner = {.xen = scan->xen};
    char path[XENBUS_PATH_MAX];
    int length = snprintf(inner.directory, sizeof inner.directory, "%s/%s", scan->directory, name);

    if (length < 0 || (size_t)length >= sizeof inner.directory)
        return;
    length = snprintf(path, sizeof path, "%s/%s", scan->xen->base, inner.directory);
    if (length > 0 && (size_t)length < sizeof path)
        xenbus_each(scan->xen->host.xenbus, path, DEVICES_MAX, scan_device, &inner);
}

static void scan_all(struct xenside *xen)
{
    static const char *const kinds[] = {"backend/vbd", "backend/vbd3"};

    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct scan scan = {.xen = xen};
        char path[XENBUS_PATH_MAX];

        (void)snprintf(scan.directory, sizeof scan.directory, "%s", kinds[i]);
        (void)snprintf(path, sizeof path, "%s/%s", xen->base, kinds[i]);
        xenbus_each(xen->host.xenbus, path, DOMAINS_MAX, scan_domain, &scan);
    }
}

/* ---- looking
 * -------------------------------------------------------------------------------------- */

/* False: it has looked too often; *again is when it may. */
static bool may_look(struct entry *entry, uint64_t now, uint64_t *again)
{
    if (now >= entry->window + LOOK_WINDOW) {
        entry->window = now;
        entry->looks = 0;
    }
    *again = entry->window + LOOK_WINDOW;
    return entry->looks++ < LOOKS_A_WINDOW;
}

static void look_at(struct xenside *xen, struct entry *entry)
{
    struct device_place place = *device_place(entry->device);

    entry->dirty = false;
    if (device_look(entry->device))
        return;
    forget(xen, entry);
    /* The toolstack may have made a new vbd at the same place. */
    (void)examine(xen, &place);
}

static struct entry *next_due(struct xenside *xen, uint64_t now, uint64_t *again)
{
    for (struct entry *entry = xen->entries; entry; entry = entry->next) {
        uint64_t later;

        if (!entry->dirty && device_deadline(entry->device) > now)
            continue;
        if (may_look(entry, now, &later))
            return entry;
        if (later < *again)
            *again = later;
    }
    return NULL;
}

/* Every device that has a reason looks. A look can change the list, so it is searched afresh; the
 * limit of looks ends it. */
static void look_all(struct xenside *xen)
{
    uint64_t now = replica_loop_now(xen->host.loop), wake = UINT64_MAX, handover;
    struct entry *entry;

    while ((entry = next_due(xen, now, &wake)) != NULL)
        look_at(xen, entry);
    for (entry = xen->entries; entry; entry = entry->next)
        if (device_deadline(entry->device) > now && device_deadline(entry->device) < wake)
            wake = device_deadline(entry->device);
    handover = xenside_handover_pump(xen);
    if (handover < wake)
        wake = handover;
    if (claim_is_unused(xen->host.claim) && now + SETTLE_RETRY < wake)
        wake = now + SETTLE_RETRY;
    replica_timer_set(xen->timer, wake);
}

static void timer_expired(void *argument)
{
    struct xenside *xen = argument;

    claim_settle(xen->host.claim);
    look_all(xen);
}

static void wake(void *argument)
{
    struct xenside *xen = argument;

    if (!xen->stopped)
        replica_timer_set(xen->timer, replica_loop_now(xen->host.loop));
}

/* ---- watches
 * -------------------------------------------------------------------------------------- */

static void mark_all(struct xenside *xen)
{
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        entry->dirty = true;
}

/* Only these make a node interesting that is not ours yet: the rest is other people's traffic. */
static bool may_be_new(const char *leaf)
{
    return *leaf == '\0' || strcmp(leaf, "params") == 0 || strcmp(leaf, "state") == 0;
}

static void backend_fired(struct xenside *xen, const char *path)
{
    struct device_place place;
    struct entry *entry;
    const char *leaf;

    if (device_place_parse(xen->base, path, &place, &leaf)) {
        xen->rescan = true;
        return;
    }
    entry = find(xen, &place);
    if (entry) {
        entry->dirty = true;
        return;
    }
    if (!may_be_new(leaf))
        return;
    for (unsigned i = 0; i < xen->candidate_count; i++)
        if (same_place(&xen->candidates[i], &place))
            return;
    if (xen->candidate_count == CANDIDATES_MAX)
        xen->rescan = true;
    else
        xen->candidates[xen->candidate_count++] = place;
}

static void fired(void *argument, const char *path, const char *token)
{
    struct xenside *xen = argument;

    if (strcmp(token, "backend") == 0) {
        backend_fired(xen, path);
        return;
    }
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        if (strcmp(device_frontend_state(entry->device), path) == 0)
            entry->dirty = true;
}

static void drained(void *argument)
{
    struct xenside *xen = argument;

    if (xen->rescan) {
        xen->rescan = false;
        mark_all(xen);
        scan_all(xen);
    }
    for (unsigned i = 0; i < xen->candidate_count; i++)
        (void)examine(xen, &xen->candidates[i]);
    xen->candidate_count = 0;
    look_all(xen);
}

/* ---- hotplug commands
 * ------------------------------------------------------------------------------ */

struct command {
    struct xenside *xen;
    struct replica_control_request *request;
};

static void reply(void *argument, int code, const char *text)
{
    struct command *command = argument;

    replica_control_reply(command->request, code, text, NULL);
    free(command);
}

/* A disk that migrates in is with the peer, unless the guest moves within this host. */
static unsigned promote_flags(bool incoming, bool local)
{
    return incoming && !local ? REPLICA_PROMOTE_CONNECTED : 0;
}

static void add(struct xenside *xen, struct entry *entry, struct command *command, bool incoming)
{
    char text[REPLICA_ERROR_TEXT_MAX];
    bool local = false;

    if (!xenside_make_room(xen, entry->device, text, sizeof text, &local)) {
        reply(command, REPLICA_E_BUSY, text);
        return;
    }
    device_add(entry->device, promote_flags(incoming, local), reply, command);
    entry->dirty = true;
    look_all(xen);
}

static void run(struct xenside *xen, struct command *command, const char *verb, const char *path,
                bool incoming)
{
    struct device_place place;
    struct entry *entry = NULL;
    char text[REPLICA_ERROR_TEXT_MAX];
    const char *leaf;

    if (device_place_parse(xen->base, path, &place, &leaf) || *leaf) {
        (void)snprintf(text, sizeof text, "%.200s is no path of a vbd's backend", path);
        reply(command, REPLICA_E_INVALID, text);
        return;
    }
    if (strcmp(verb, "vbd-add") == 0) {
        entry = examine(xen, &place);
        if (entry) {
            add(xen, entry, command, incoming);
            return;
        }
        (void)snprintf(text, sizeof text, "%s/params does not name %s for script=block-drbd",
                       place.path, replica_resource(xen->host.replica));
        reply(command, REPLICA_E_NOT_FOUND, text);
        return;
    }
    entry = find(xen, &place);
    if (!entry) {
        reply(command, 0, ""); /* it is gone already, which is what is wanted */
        return;
    }
    device_remove(entry->device, reply, command);
    entry->dirty = true;
    look_all(xen);
}

bool xenside_control(struct xenside *xen, struct replica_control_request *request, const char *json)
{
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    const char *verb = json_string_value(json_object_get(object, "command"));
    const char *path = json_string_value(json_object_get(object, "path"));
    bool ours = verb && (strcmp(verb, "vbd-add") == 0 || strcmp(verb, "vbd-remove") == 0);
    struct command *command;

    if (ours && (!path || xen->stopped)) {
        replica_control_reply(request, path ? REPLICA_E_SHUTDOWN : REPLICA_E_INVALID,
                              path ? "tapdisk-drbd is ending" : "\"path\" is missing", NULL);
    } else if (ours) {
        command = malloc(sizeof *command);
        if (!command) {
            replica_control_reply(request, REPLICA_E_MEMORY, "no memory", NULL);
        } else {
            *command = (struct command){.xen = xen, .request = request};
            run(xen, command, verb, path, json_is_true(json_object_get(object, "incoming")));
        }
    }
    json_decref(object);
    return ours;
}

/* ---- what the others ask
 * ---------------------------------------------------------------------------- */

/* Reading needs the Primary role as writing does, so a read-only vbd is in the way as well. */
unsigned xenside_writers(const struct xenside *xen, char *why, size_t why_bytes)
{
    unsigned count = 0;
    size_t used = 0;

    if (why_bytes)
        *why = '\0';
    for (const struct entry *entry = xen->entries; entry; entry = entry->next) {
        const struct device_place *place = device_place(entry->device);
        int length;

        if (!device_wants_role(entry->device))
            continue;
        count++;
        if (used >= why_bytes)
            continue;
        length = snprintf(why + used, why_bytes - used, "%sdomain %u (vbd %u)", used ? ", " : "",
                          place->domain, place->device);
        used += length > 0 ? (size_t)length : 0;
    }
    return count;
}

void xenside_changed(struct xenside *xen)
{
    /* Who waits for the role may get it now. Nobody else needs to look: this is called often. */
    for (struct entry *entry = xen->entries; entry; entry = entry->next) {
        if (!device_lacks_role(entry->device))
            continue;
        entry->dirty = true;
        wake(xen);
    }
}

void xenside_resized(struct xenside *xen, uint64_t size)
{
    for (struct entry *entry = xen->entries; entry; entry = entry->next)
        device_resize(entry->device, size);
}

json_t *xenside_status(const struct xenside *xen)
{
    json_t *array = json_array();

    for (const struct entry *entry = xen->entries; array && entry; entry = entry->next)
        (void)json_array_append_new(array, device_status(entry->device));
    return array;
}

/* ---- beginning and end
 * -------------------------------------------------------------------------------- */

/* The kernel says in one of two places that this is a host of Xen guests. */
static bool is_dom0(void)
{
    char text[64];
    int file = open("/proc/xen/capabilities", O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (file < 0)
        return access("/dev/xen/xenbus_backend", F_OK) == 0;
    length = read(file, text, sizeof text - 1);
    (void)close(file);
    if (length < 0)
        return false;
    text[length] = '\0';
    return strstr(text, "control_d") != NULL;
}

static int store_open(struct xenside *xen, struct replica_error *error)
{
    uint64_t domain = 0;
    char path[XENBUS_PATH_MAX];
    int code = xenbus_open(&xen->host.xenbus, xen->host.loop, fired, drained, xen, error);

    if (code == REPLICA_E_SYSTEM && !is_dom0())
        return err_set(error, REPLICA_E_UNSUPPORTED, "not a Xen dom0");
    if (code)
        return code;
    (void)xenbus_read_number(xen->host.xenbus, XENBUS_NO_TRANSACTION, "domid", "", 0x7fef, &domain);
    (void)snprintf(xen->base, sizeof xen->base, "/local/domain/%u", (unsigned)domain);
    (void)snprintf(path, sizeof path, "%s/backend/vbd", xen->base);
    code = xenbus_watch(xen->host.xenbus, path, "backend");
    (void)snprintf(path, sizeof path, "%s/backend/vbd3", xen->base);
    if (code == 0)
        code = xenbus_watch(xen->host.xenbus, path, "backend");
    return code ? err_set(error, code, "cannot watch XenStore: %s", strerror(errno)) : 0;
}

static int parts_open(struct xenside *xen, const char *run_dir, const char *nbd_path,
                      const char *sysfs, struct replica_error *error)
{
    int code;

    xen->run_dir = strdup(run_dir);
    xen->nbd_path = strdup(nbd_path);
    xen->sysfs = strdup(sysfs);
    if (!xen->run_dir || !xen->nbd_path || !xen->sysfs)
        return err_set(error, REPLICA_E_MEMORY, "no memory for the Xen side");
    xen->host.run_dir = xen->run_dir;
    xen->host.nbd_path = xen->nbd_path;
    xen->host.sysfs = xen->sysfs;
    code = claim_new(&xen->host.claim, xen->host.replica);
    if (code == 0)
        code = replica_timer_new(xen->host.loop, timer_expired, xen, &xen->timer);
    if (code)
        return err_set(error, code, "no memory for the Xen side");
    code = store_open(xen, error);
    if (code == 0)
        code = domains_open(&xen->host.domains, error);
    if (code == 0)
        code = plane_open(&xen->host.plane, xen->host.loop, xen->host.replica, error);
    return code;
}

int xenside_open_at(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                    const char *run_dir, const char *nbd_path, const char *sysfs,
                    struct replica_error *error)
{
    struct xenside *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "no memory for the Xen side");
    made->host.loop = loop;
    made->host.replica = replica;
    made->host.opened = replica_loop_now(loop);
    made->host.wake = wake;
    made->host.wake_argument = made;
    made->host.in_the_way = xenside_in_the_way;
    code = parts_open(made, run_dir, nbd_path, sysfs, error);
    if (code) {
        xenside_stop(made);
        xenside_close(made);
        return code;
    }
    takeover_load_driver(sysfs);
    scan_all(made);
    look_all(made);
    *xen = made;
    return 0;
}

int xenside_open(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                 const char *run_dir, const char *nbd_path, struct replica_error *error)
{
    return xenside_open_at(xen, loop, replica, run_dir, nbd_path, TAKEOVER_SYSFS, error);
}

void xenside_stop(struct xenside *xen)
{
    xen->stopped = true;
    if (xen->host.claim)
        claim_stop(xen->host.claim);
    while (xen->entries)
        forget(xen, xen->entries);
    if (xen->host.plane)
        plane_stop(xen->host.plane);
    if (xen->host.xenbus)
        xenbus_close(xen->host.xenbus);
    xen->host.xenbus = NULL;
    if (xen->host.domains)
        domains_close(xen->host.domains);
    xen->host.domains = NULL;
    if (xen->timer)
        replica_timer_free(xen->timer);
    xen->timer = NULL;
}

void xenside_close(struct xenside *xen)
{
    if (xen->host.plane)
        plane_free(xen->host.plane);
    if (xen->host.claim)
        claim_free(xen->host.claim);
    free(xen->run_dir);
    free(xen->nbd_path);
    free(xen->sysfs);
    free(xen);
}

struct plane *xenside_plane(struct xenside *xen)
{
    return xen->host.plane;
}
