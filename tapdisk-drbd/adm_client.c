/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_client.c - see adm_client.h. */
#include <config.h>

#include "adm_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "libreplica/core/err.h"

enum { PATIENCE_MS = 3000 }; /* then a person is told why nothing happens, when that is known */

static int connect_fail(const char *resource, const char *path, struct replica_error *error)
{
    if (errno == ENOENT || errno == ECONNREFUSED)
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "%s: not up on this host: start it with `tapdrbdadm up %s`", resource,
                       resource);
    if (errno == EACCES)
        return err_set(error, REPLICA_E_PERMISSION, "%s: %s: not allowed: run this as root",
                       resource, path);
    return err_set(error, REPLICA_E_SYSTEM, "%s: %s: %s", resource, path, strerror(errno));
}

int adm_client_open(struct adm_client *client, const char *run_dir, const char *resource,
                    struct replica_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred who = {0};
    socklen_t length = sizeof who;
    int fd, code;

    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.ctl", run_dir, resource) >=
        (int)sizeof address.sun_path)
        return err_set(error, REPLICA_E_INVALID, "%s/%s.ctl: the name is too long", run_dir,
                       resource);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address)) {
        code = connect_fail(resource, address.sun_path, error);
        close(fd);
        return code;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length)) {
        code = err_set(error, REPLICA_E_SYSTEM, "%s: %s", address.sun_path, strerror(errno));
        close(fd);
        return code;
    }
    client->fd = fd;
    client->pid = who.pid;
    client->used = 0;
    client->told = false;
    return 0;
}

void adm_client_close(struct adm_client *client)
{
    close(client->fd);
}

static int send_all(int fd, const char *text, size_t length, struct replica_error *error)
{
    while (length) {
        ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return err_set(error, REPLICA_E_SHUTDOWN,
                           "tapdisk-drbd closed the control connection: %s", strerror(errno));
        text += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int adm_client_send(struct adm_client *client, json_t *request, struct replica_error *error)
{
    char *text = json_dumps(request, JSON_COMPACT);
    int code;

    json_decref(request);
    if (!text)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    code = send_all(client->fd, text, strlen(text), error);
    if (code == 0)
        code = send_all(client->fd, "\n", 1, error);
    free(text);
    return code;
}

int64_t adm_client_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* By a signal or a debugger: it answers nothing until it is let go on. */
static bool is_stopped(pid_t pid)
{
    char path[32], line[256];
    const char *name_end;
    FILE *file;
    size_t got;

    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    got = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file);
    line[got] = '\0';
    name_end = strrchr(line, ')'); /* the name may hold anything, and the state follows it */
    return name_end && (strncmp(name_end, ") T", 3) == 0 || strncmp(name_end, ") t", 3) == 0);
}

static int time_out(const struct adm_client *client, struct replica_error *error)
{
    if (is_stopped(client->pid))
        return err_set(error, REPLICA_E_TIMEOUT,
                       "no answer: process %ld is stopped; `kill -CONT %ld` lets it go on, and it "
                       "will then do what it was asked for",
                       (long)client->pid, (long)client->pid);
    return err_set(error, REPLICA_E_TIMEOUT,
                   "no answer from tapdisk-drbd (process %ld): its disk hangs, or it waits for a "
                   "handler; see `tapdrbdadm status` and the log",
                   (long)client->pid);
}

/* Once a request, while it is waited for. */
static void tell_of_stop(struct adm_client *client)
{
    if (client->told || !is_stopped(client->pid))
        return;
    client->told = true;
    fprintf(stderr,
            "tapdrbdadm: waiting: tapdisk-drbd (process %ld) is stopped; `kill -CONT %ld` lets it "
            "go on\n",
            (long)client->pid, (long)client->pid);
}

/* Waits for bytes and appends them. */
static int fill(struct adm_client *client, int64_t deadline, struct replica_error *error)
{
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    int64_t left = deadline < 0 ? -1 : deadline - adm_client_now_ms();
    bool patient = !client->told && (left < 0 || left > PATIENCE_MS);
    ssize_t got;
    int ready;

    if (client->used == CONTROL_LINE_MAX)
        return err_set(error, REPLICA_E_PROTOCOL, "tapdisk-drbd sent a line that is too long");
    ready = poll(&wait, 1, patient ? PATIENCE_MS : left < 0 && deadline >= 0 ? 0 : (int)left);
    if (ready < 0 && errno == EINTR)
        return 0;
    if (ready == 0 && patient) {
        tell_of_stop(client);
        return 0;
    }
    if (ready == 0)
        return time_out(client, error);
    got = recv(client->fd, client->line + client->used, CONTROL_LINE_MAX - client->used, 0);
    if (got < 0 && errno == EINTR)
        return 0;
    if (got <= 0)
        return err_set(error, REPLICA_E_SHUTDOWN, "tapdisk-drbd (process %ld) has ended",
                       (long)client->pid);
    client->used += (size_t)got;
    return 0;
}

bool adm_client_pending(const struct adm_client *client)
{
    return memchr(client->line, '\n', client->used);
}

int adm_client_receive(struct adm_client *client, int timeout_ms, json_t **answer,
                       struct replica_error *error)
{
    int64_t deadline = timeout_ms < 0 ? -1 : adm_client_now_ms() + timeout_ms;
    json_error_t why;
    json_t *object;
    char *end;

    while (!(end = memchr(client->line, '\n', client->used))) {
        int code = fill(client, deadline, error);

        if (code)
            return code;
    }
    object = json_loadb(client->line, (size_t)(end - client->line), 0, &why);
    client->used -= (size_t)(end + 1 - client->line);
    memmove(client->line, end + 1, client->used);
    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(error, REPLICA_E_PROTOCOL, "tapdisk-drbd's answer makes no sense: %s",
                       why.text);
    }
    *answer = object;
    return 0;
}

int adm_client_answer_code(const json_t *answer, struct replica_error *error)
{
    const char *name = json_string_value(json_object_get(answer, "code"));
    const char *text = json_string_value(json_object_get(answer, "error"));
    int code = REPLICA_E_SYSTEM;

    if (json_is_true(json_object_get(answer, "ok")))
        return 0;
    for (int i = REPLICA_E_INVALID; name && i >= REPLICA_E_SYSTEM; i--)
        if (strcmp(replica_code_name(i), name) == 0)
            code = i;
    return err_set(error, code, "%s",
                   text && *text ? text : (name ? name : "refused without a reason"));
}

int adm_client_ask(const char *run_dir, const char *resource, json_t *request, int timeout_ms,
                   json_t **answer, struct replica_error *error)
{
    struct adm_client client;
    json_t *object = NULL;
    int code = adm_client_open(&client, run_dir, resource, error);

    if (code) {
        json_decref(request);
        return code;
    }
    code = adm_client_send(&client, request, error);
    if (code == 0)
        code = adm_client_receive(&client, timeout_ms, &object, error);
    if (code == 0)
        code = adm_client_answer_code(object, error);
    if (code && !strstr(error->text, resource))
        err_wrap(error, "%s", resource);
    if (code == 0 && answer)
        *answer = json_incref(object);
    json_decref(object);
    adm_client_close(&client);
    return code;
}
