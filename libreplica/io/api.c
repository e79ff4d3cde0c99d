/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * api.c - replica.h's functions on a resource: opens and closes its parts in order, hands requests
 * and commands to the driver, pushes facts to the client.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "libreplica/core/err.h"
#include "libreplica/io/place_note.h"
#include "replica_private.h"

#define DEFAULT_CONFIG_DIR SYSCONFDIR "/tapdrbd.d"
#define DEFAULT_RUN_DIR RUNSTATEDIR "/tapdrbd"

/* ---- facts pushed to the client ------------------------------------------------------------- */

static void guest_room(void *argument)
{
    struct replica *replica = argument;

    replica->guest_room = true;
    loop_kick(replica->loop);
}

static void driver_room_note(void *argument)
{
    struct replica *replica = argument;

    if (replica->driver)
        driver_room(replica->driver);
}

/* Without anybody who knows its users the disk counts as in use. */
static void handover_asked(void *argument, uint32_t number, bool take_back)
{
    struct replica *replica = argument;
    char text[256];

    if (replica->callbacks.handover_asked) {
        replica->callbacks.handover_asked(replica->argument, number, take_back);
        return;
    }
    (void)snprintf(text, sizeof text,
                   "keeps the role; make it Secondary first (tapdrbdadm secondary %s there)",
                   replica->resource.name);
    driver_handover_answer(replica->driver, number, REPLICA_E_PEER_PRIMARY, text);
}

static void handover_ended(void *argument, uint32_t number, bool gone)
{
    struct replica *replica = argument;

    if (replica->callbacks.handover_ended)
        replica->callbacks.handover_ended(replica->argument, number, gone);
}

/* Each waiter is called once; one that still finds no room registers again. */
static void call_waiters(struct replica *replica)
{
    size_t count = replica->waiter_count;
    struct room_waiter *waiters = replica->waiters;

    replica->guest_room = false;
    replica->waiters = NULL;
    replica->waiter_count = replica->waiter_capacity = 0;
    for (size_t i = 0; i < count; i++)
        waiters[i].room(waiters[i].argument);
    free(waiters);
}

static void driver_changed(void *argument)
{
    struct replica *replica = argument;
    uint64_t size = replica_size(replica);

    if (replica->control)
        control_changed(replica->control);
    if (size != replica->told_size) {
        replica->told_size = size;
        if (replica->callbacks.resized)
            replica->callbacks.resized(replica->argument, size);
    }
    if (replica->callbacks.changed)
        replica->callbacks.changed(replica->argument);
}

/* The last of the library's hooks. The client may close the replica from `shutdown`: nothing of it
 * is touched after that call. */
static void turn_end(void *argument)
{
    struct replica *replica = argument;

    if (replica->guest_room)
        call_waiters(replica);
    if (replica->shutdown) {
        replica->shutdown = false;
        if (replica->callbacks.shutdown)
            replica->callbacks.shutdown(replica->argument);
    }
}

/* ---- opening -------------------------------------------------------------------------------- */

static int open_run_dir(const char *run_dir, struct replica_error *error)
{
    if (mkdir(run_dir, 0755) == 0 || errno == EEXIST)
        return 0;
    return err_set(error, REPLICA_E_SYSTEM, "cannot make the directory %s: %s", run_dir,
                   strerror(errno));
}

static int open_pools(struct replica *replica, struct replica_error *error)
{
    if (buffer_pool_new(&replica->guest_pool, BUFFER_GUEST_BYTES, guest_room, replica) == 0 &&
        buffer_pool_new(&replica->link_pool, BUFFER_LINK_BYTES, driver_room_note, replica) == 0 &&
        buffer_pool_new(&replica->read_pool, BUFFER_READ_BYTES, driver_room_note, replica) == 0)
        return 0;
    return err_set(error, REPLICA_E_MEMORY, "out of memory for the buffers");
}

static int open_control(struct replica *replica, struct replica_error *error)
{
    char path[sizeof replica->run_dir + REPLICA_NAME_MAX + 8];

    (void)snprintf(path, sizeof path, "%s/%s.ctl", replica->run_dir, replica->resource.name);
    return control_open(&replica->control, replica->loop, replica, path, error);
}

/* The core knows what is wrong, but not on which device. */
static int attach_error(const struct replica *replica, int code, struct replica_error *error)
{
    const struct config_host *local = &replica->resource.local;
    bool internal = metastore_internal(replica->store);
    const char *path = internal ? local->disk : local->meta_disk;

    if (code == REPLICA_E_NO_METADATA)
        return err_set(error, code,
                       "%s holds no metadata of ours%s; if the disk is new, type: tapdrbdadm "
                       "create-md %s%s",
                       path, internal ? " at its end" : "", replica->resource.name,
                       internal ? ". If it has grown while the resource was down: give it its old "
                                  "size back, then up, then grow it, then resize"
                                : "");
    (void)err_wrap(error, "%s", path);
    return code;
}

static int open_driver(struct replica *replica, struct replica_error *error)
{
    struct driver_setup setup = {.loop = replica->loop,
                                 .log = &replica->log,
                                 .resource = &replica->resource,
                                 .disk = replica->disk,
                                 .store = replica->store,
                                 .link_pool = replica->link_pool,
                                 .read_pool = replica->read_pool,
                                 .state_dir = place_directory(replica->run_dir),
                                 .changed = driver_changed,
                                 .handover_asked = handover_asked,
                                 .handover_ended = handover_ended,
                                 .argument = replica};
    int code = driver_new(&replica->driver, &setup, error);

    if (code == 0) {
        code = driver_attach(replica->driver, error);
        if (code != 0)
            code = attach_error(replica, code, error);
    }
    if (code == 0 && loop_hook(replica->loop, turn_end, replica) != 0)
        code = err_set(error, REPLICA_E_MEMORY, "out of memory");
    return code;
}

static int open_parts(struct replica *replica, struct replica_error *error)
{
    int code = open_run_dir(replica->run_dir, error);

    if (code == 0)
        code = open_pools(replica, error);
    if (code == 0)
        code = open_control(replica, error);
    if (code == 0)
        code = backing_open_at_start(replica, error);
    if (code == 0)
        code = open_driver(replica, error);
    return code;
}

int replica_open_resource(struct replica_loop *loop, const struct config_resource *resource,
                          const char *run_dir, const struct replica_callbacks *callbacks,
                          void *argument, struct replica **replica, struct replica_error *error)
{
    struct replica *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->loop = loop;
    made->resource = *resource;
    if (callbacks)
        made->callbacks = *callbacks;
    made->argument = argument;
    (void)snprintf(made->run_dir, sizeof made->run_dir, "%s", run_dir);
    log_open(&made->log, resource->name);
    code = open_parts(made, error);
    if (code != 0) {
        replica_close(made);
        return code;
    }
    made->told_size = replica_size(made);
    driver_command(made->driver, COMMAND_CONNECT, 0, NULL, NULL);
    *replica = made;
    return 0;
}

int replica_open(struct replica_loop *loop, const struct replica_options *options,
                 const struct replica_callbacks *callbacks, void *argument,
                 struct replica **replica, struct replica_error *error)
{
    struct config_resource *resource;
    struct utsname host;
    const char *node = options->node;
    int code;

    if (!options->resource)
        return err_set(error, REPLICA_E_INVALID, "no resource named");
    if (!node && uname(&host) != 0)
        return err_set(error, REPLICA_E_SYSTEM, "uname: %s", strerror(errno));
    resource = malloc(sizeof *resource);
    if (!resource)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    code = config_find(options->config_dir ? options->config_dir : DEFAULT_CONFIG_DIR,
                       node ? node : host.nodename, options->resource, resource, error);
    if (code == 0)
        code = replica_open_resource(loop, resource,
                                     options->run_dir ? options->run_dir : DEFAULT_RUN_DIR,
                                     callbacks, argument, replica, error);
    free(resource);
    return code;
}

void replica_close(struct replica *replica)
{
    if (!replica)
        return;
    loop_unhook(replica->loop, replica);
    control_close(replica->control);
    driver_close(replica->driver);
    metastore_close(replica->store);
    disk_close(replica->disk);
    buffer_pool_free(replica->read_pool);
    buffer_pool_free(replica->link_pool);
    buffer_pool_free(replica->guest_pool);
    free(replica->waiters);
    free(replica);
}

/* ---- questions ------------------------------------------------------------------------------ */

const char *replica_resource(const struct replica *replica)
{
    return replica->resource.name;
}

const char *replica_run_dir(const struct replica *replica)
{
    return replica->run_dir;
}

uint64_t replica_size(const struct replica *replica)
{
    struct core_status status;

    core_status(driver_core(replica->driver), &status);
    return status.data_bytes;
}

bool replica_discards(const struct replica *replica)
{
    return replica->disk && disk_frees(replica->disk);
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    struct core_status core;

    core_status(driver_core(replica->driver), &core);
    *status = (struct replica_status){
        .role = core.role,
        .peer_role = core.peer_role,
        .disk = core.disk,
        .peer_disk = core.peer_disk,
        .connection = core.connection,
        .replication = core.replication,
        .handover = core.handover,
        .demoting = replica->control && control_demotes(replica->control),
        .io_suspended = core.io_suspended,
        .size = core.data_bytes,
        .epoch = core.epoch,
        .current_uuid = core.generation.current,
        .out_of_sync = core.out_of_sync_bytes,
        .resync_done = core.resync_done_bytes,
        .resync_total = core.resync_total_bytes,
    };
}

const char *replica_version(void)
{
    return "libreplica 0.1";
}

void replica_set_status_extra(struct replica *replica, char *(*extra)(void *argument),
                              void *argument)
{
    replica->extra = extra;
    replica->extra_argument = argument;
}

void replica_log(const struct replica *replica, int syslog_priority, const char *format, ...)
{
    char text[896];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_line(&replica->log, syslog_priority, "%s", text);
}

/* ---- guest I/O ------------------------------------------------------------------------------ */

struct replica_buffer *replica_buffer_get(struct replica *replica, uint32_t length)
{
    return buffer_take(replica->guest_pool, length);
}

void replica_submit(struct replica *replica, struct replica_request *request)
{
    driver_submit(replica->driver, request);
}

void replica_on_room(struct replica *replica, void (*room)(void *argument), void *argument)
{
    if (replica->waiter_count == replica->waiter_capacity) {
        size_t capacity = replica->waiter_capacity ? 2 * replica->waiter_capacity : 8;
        struct room_waiter *waiters =
            realloc(replica->waiters, capacity * sizeof *replica->waiters);
        if (!waiters) { /* better too early than never */
            room(argument);
            return;
        }
        replica->waiters = waiters;
        replica->waiter_capacity = capacity;
    }
    replica->waiters[replica->waiter_count++] = (struct room_waiter){room, argument};
}

/* ---- role ----------------------------------------------------------------------------------- */

void replica_promote(struct replica *replica, unsigned flags, replica_done *done, void *argument)
{
    uint32_t wishes = (flags & REPLICA_PROMOTE_FORCE ? COMMAND_FORCE : 0u) |
                      (flags & REPLICA_PROMOTE_CONNECTED ? COMMAND_CONNECTED : 0u) |
                      (flags & REPLICA_PROMOTE_TAKE_BACK ? COMMAND_TAKE_BACK : 0u);

    driver_command(replica->driver, COMMAND_PROMOTE, wishes, done, argument);
}

void replica_handover_answer(struct replica *replica, uint32_t number, int code, const char *text)
{
    driver_handover_answer(replica->driver, number, code, text);
}

void replica_demote(struct replica *replica, replica_done *done, void *argument)
{
    driver_command(replica->driver, COMMAND_DEMOTE, 0, done, argument);
}
