/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handlers.c - see handlers.h. A pidfd in the loop tells when a script is over. */
#include "handlers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VARIABLES_MAX = 32, VARIABLE_BYTES = 640 };

struct handler_run {
    struct handlers *handlers;
    enum core_handler handler;
    uint32_t serial;
    pid_t pid;
    int fd;
    struct replica_watch *watch;
    struct handler_run *next;
};

struct handlers {
    struct replica_loop *loop;
    const struct log *log;
    const struct config_resource *resource;
    handlers_done *done;
    void *argument;
    struct handler_run *running;
};

const char *handler_name(enum core_handler handler)
{
    static const char *const names[HANDLER_COUNT] = {
        [HANDLER_FENCE_PEER] = "fence-peer",
        [HANDLER_UNFENCE_PEER] = "unfence-peer",
        [HANDLER_BEFORE_RESYNC_TARGET] = "before-resync-target",
        [HANDLER_AFTER_RESYNC_TARGET] = "after-resync-target",
        [HANDLER_INITIAL_SPLIT_BRAIN] = "initial-split-brain",
        [HANDLER_SPLIT_BRAIN] = "split-brain",
        [HANDLER_PRI_LOST] = "pri-lost",
        [HANDLER_PRI_LOST_AFTER_SB] = "pri-lost-after-sb",
        [HANDLER_LOCAL_IO_ERROR] = "local-io-error",
    };

    return (unsigned)handler < HANDLER_COUNT ? names[handler] : NULL;
}

const char *handler_script(const struct config_resource *resource, enum core_handler handler)
{
    return (unsigned)handler < HANDLER_COUNT ? resource->handler[handler] : "";
}

/* ---- the environment ------------------------------------------------------------------------ */

struct variables {
    char *list[VARIABLES_MAX + 1]; /* ours first, then the process's own; NULL-terminated */
    char text[VARIABLES_MAX][VARIABLE_BYTES];
    unsigned count;
};

static void put(struct variables *variables, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct variables *variables, const char *format, ...)
{
    char *text = variables->text[variables->count];
    va_list arguments;

    if (variables->count == VARIABLES_MAX)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, VARIABLE_BYTES, format, arguments);
    va_end(arguments);
    variables->list[variables->count++] = text;
}

static void put_host(struct variables *variables, const char *prefix,
                     const struct config_host *host, int id)
{
    put(variables, "DRBD_%s_ADDRESS=%s", prefix, host->address);
    put(variables, "DRBD_%s_AF=%s", prefix, strchr(host->address, ':') ? "ipv6" : "ipv4");
    put(variables, "DRBD_%s_NODE_ID=%d", prefix, id);
    put(variables, "DRBD_NODE_ID_%d=%s", id, host->name);
}

static void describe(struct variables *variables, const struct config_resource *resource,
                     unsigned up_to_date)
{
    int local = strcmp(resource->local.name, resource->peer.name) < 0 ? 0 : 1;
    const char *path = getenv("PATH");

    put(variables, "PATH=%s", path ? path : "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    put(variables, "DRBD_RESOURCE=%s", resource->name);
    put(variables, "DRBD_VOLUME=0");
    put(variables, "DRBD_MINOR=0");
    put(variables, "DRBD_MINOR_0=0");
    put(variables, "DRBD_CONF=%s", resource->file);
    put(variables, "DRBD_LL_DISK=%s", resource->local.disk);
    put(variables, "DRBD_BACKING_DEV=%s", resource->local.disk);
    put(variables, "DRBD_PEER=%s", resource->peer.name);
    put(variables, "DRBD_PEERS=%s", resource->peer.name);
    put_host(variables, "MY", &resource->local, local);
    put_host(variables, "PEER", &resource->peer, !local);
    put(variables, "UP_TO_DATE_NODES=0x%08x", up_to_date);
}

/* ---- a script's life ------------------------------------------------------------------------ */

static void run_free(struct handler_run *run)
{
    struct handler_run **place = &run->handlers->running;

    while (*place != run)
        place = &(*place)->next;
    *place = run->next;
    if (run->watch)
        replica_loop_unwatch(run->watch);
    if (run->fd >= 0)
        (void)close(run->fd);
    free(run);
}

static void run_over(void *argument, uint32_t events)
{
    struct handler_run *run = argument;
    struct handlers *handlers = run->handlers;
    enum core_handler handler = run->handler;
    uint32_t serial = run->serial;
    int state, status;
    pid_t ended = waitpid(run->pid, &state, WNOHANG);

    (void)events;
    if (ended == 0)
        return;
    status = ended == run->pid && WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    run_free(run);
    log_line(handlers->log, status == 0 || handler == HANDLER_FENCE_PEER ? LOG_NOTICE : LOG_WARNING,
             "handler %s has ended with status %d", handler_name(handler), status);
    handlers->done(handlers->argument, handler, serial, status);
}

/* The child gets no signal mask and no descriptor of ours but the log's (standard error), and is
 * not spared by the OOM killer as this process is. */
static int spawn(const char *script, char **environment, pid_t *pid)
{
    char *const arguments[] = {"sh",
                               "-c",
                               "{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; eval \"$1\"",
                               "sh",
                               (char *)(uintptr_t)script,
                               NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int code = posix_spawn_file_actions_init(&files);

    if (code != 0)
        return code;
    code = posix_spawnattr_init(&attributes);
    if (code == 0) {
        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETPGROUP);
        code = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (code == 0)
            code = posix_spawn(pid, "/bin/sh", &files, &attributes, arguments, environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return code;
}

static int run_start(struct handler_run *run, unsigned up_to_date)
{
    const struct config_resource *resource = run->handlers->resource;
    struct variables *variables = calloc(1, sizeof *variables);
    int code = ENOMEM;

    if (variables) {
        describe(variables, resource, up_to_date);
        code = spawn(handler_script(resource, run->handler), variables->list, &run->pid);
        free(variables);
    }
    if (code != 0)
        return code;
    run->fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
    if (run->fd < 0)
        return errno;
    return replica_loop_watch(run->handlers->loop, run->fd, false, run_over, run, &run->watch) != 0
               ? ENOMEM
               : 0;
}

void handlers_run(struct handlers *handlers, enum core_handler handler, uint32_t serial,
                  unsigned up_to_date)
{
    struct handler_run *run = calloc(1, sizeof *run);
    int code = ENOMEM;

    if (run) {
        *run = (struct handler_run){.handlers = handlers,
                                    .handler = handler,
                                    .serial = serial,
                                    .fd = -1,
                                    .next = handlers->running};
        handlers->running = run;
        code = run_start(run, up_to_date);
    }
    if (code == 0) {
        log_line(handlers->log, LOG_NOTICE, "handler %s runs: %s", handler_name(handler),
                 handler_script(handlers->resource, handler));
        return;
    }
    log_line(handlers->log, LOG_ERR, "handler %s cannot be run: %s", handler_name(handler),
             strerror(code));
    if (run)
        run_free(run);
    handlers->done(handlers->argument, handler, serial, -1);
}

int handlers_new(struct handlers **handlers, struct replica_loop *loop, const struct log *log,
                 const struct config_resource *resource, handlers_done *done, void *argument)
{
    struct handlers *made = calloc(1, sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    *made = (struct handlers){
        .loop = loop, .log = log, .resource = resource, .done = done, .argument = argument};
    *handlers = made;
    return 0;
}

void handlers_free(struct handlers *handlers)
{
    if (!handlers)
        return;
    while (handlers->running)
        run_free(handlers->running);
    free(handlers);
}
