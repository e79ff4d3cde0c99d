/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control_commands.c - what the commands of the control socket do. See control.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_private.h"

static const double timeout_max_seconds = 1000000;

static const uint64_t second = 1000000000;

/* ---- lines ---------------------------------------------------------------------------------- */

static json_t *ok_json(void)
{
    return json_pack("{s:b}", "ok", 1);
}

json_t *control_error_json(int code, const char *text)
{
    /* A text may quote what somebody sent: it need not be UTF-8. */
    json_t *line = json_pack("{s:b s:s s:s}", "ok", 0, "code", replica_code_name(code), "error",
                             text[0] ? text : replica_code_name(code));

    return line ? line
                : json_pack("{s:b s:s s:s}", "ok", 0, "code", replica_code_name(code), "error",
                            replica_code_name(code));
}

json_t *control_status_line(struct replica *replica)
{
    return json_pack("{s:b s:o}", "ok", 1, "status", status_json(replica));
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct replica_control_request *request_new(struct control_client *client)
{
    struct replica_control_request *request = calloc(1, sizeof *request);
    struct control *control = client->control;

    if (!request)
        return NULL;
    request->control = control;
    request->client = client;
    request->next = control->requests;
    request->link = &control->requests;
    if (request->next)
        request->next->link = &request->next;
    control->requests = request;
    client->request = request;
    return request;
}

void control_request_free(struct replica_control_request *request)
{
    if (request->control) {
        *request->link = request->next;
        if (request->next)
            request->next->link = request->link;
    }
    replica_timer_free(request->limit);
    free(request);
}

bool control_request_waits(const struct replica_control_request *request)
{
    return request && request->satisfied;
}

/* A waiter without its client is over; anything else still has an answer to come. */
void control_request_orphaned(struct replica_control_request *request)
{
    if (control_request_waits(request))
        control_request_free(request);
}

void control_abandon_requests(struct control *control)
{
    while (control->requests) {
        struct replica_control_request *request = control->requests;
        control->requests = request->next;
        if (request->next)
            request->next->link = &control->requests;
        request->control = NULL;
    }
}

static void answer(struct replica_control_request *request, int code, const char *text,
                   json_t *success)
{
    if (!request->control) {
        json_decref(success);
        control_request_free(request);
        return;
    }
    if (code == 0) {
        control_answer(request, success ? success : ok_json());
    } else {
        json_decref(success);
        control_answer(request, control_error_json(code, text));
    }
}

void replica_control_reply(struct replica_control_request *request, int code, const char *text,
                           const char *json)
{
    json_t *object = code == 0 && json ? json_loads(json, 0, NULL) : NULL;

    if (object && (!json_is_object(object) || json_object_set_new(object, "ok", json_true()))) {
        json_decref(object);
        object = NULL;
    }
    answer(request, code, text ? text : "", object);
}

/* ---- commands for the core ------------------------------------------------------------------ */

static void core_done(void *argument, int code, const char *text)
{
    struct replica_control_request *request = argument;
    struct replica *replica = request->control ? request->control->replica : NULL;
    bool down = request->down;

    answer(request, code, text, NULL);
    if (down && code == 0 && replica) {
        replica->shutdown = true;
        loop_kick(replica->loop);
    }
}

static bool flag(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* A device that is open for writing is not taken from its users. */
static bool in_use(struct replica *replica, struct replica_control_request *request)
{
    char why[256] = "", text[512];
    unsigned users = replica->callbacks.in_use
                         ? replica->callbacks.in_use(replica->argument, why, sizeof why)
                         : 0;

    if (users == 0)
        return false;
    (void)snprintf(text, sizeof text,
                   "%s is open for writing by %s; shut the guest down or end the program first",
                   replica->resource.name, why[0] ? why : "a client");
    answer(request, REPLICA_E_BUSY, text, NULL);
    return true;
}

bool control_demotes(const struct control *control)
{
    const struct replica_control_request *request = control->requests;

    while (request && !request->demotes)
        request = request->next;
    return request;
}

struct core_command {
    const char *name;
    enum command_kind kind;
    bool gives_up; /* the device: refused while it is in use */
    const char *option;
    uint32_t flag;
};

static const struct core_command core_commands[] = {
    {"primary", COMMAND_PROMOTE, false, "force", COMMAND_FORCE},
    {"secondary", COMMAND_DEMOTE, true, NULL, 0},
    {"connect", COMMAND_CONNECT, false, "discard-my-data", COMMAND_DISCARD_MY_DATA},
    {"disconnect", COMMAND_DISCONNECT, false, "force", COMMAND_FORCE},
    {"new-current-uuid", COMMAND_NEW_UUID, false, "clear-bitmap", COMMAND_CLEAR_BITMAP},
    {"invalidate", COMMAND_INVALIDATE, true, NULL, 0},
    {"invalidate-remote", COMMAND_INVALIDATE_REMOTE, false, NULL, 0},
    {"outdate", COMMAND_OUTDATE, false, NULL, 0},
    {"down", COMMAND_DOWN, true, "force", COMMAND_FORCE},
};

/* Not queued: another command may be waiting for the end of a freeze, and a resync is to stop now,
 * not when a promotion is through. */
static bool run_urgent(struct replica *replica, struct replica_control_request *request,
                       const char *name)
{
    static const struct {
        const char *name;
        enum command_kind kind;
    } urgent[] = {{"resume-io", COMMAND_RESUME_IO},
                  {"pause-sync", COMMAND_PAUSE_SYNC},
                  {"resume-sync", COMMAND_RESUME_SYNC}};

    for (size_t i = 0; i < sizeof urgent / sizeof *urgent; i++) {
        if (strcmp(name, urgent[i].name) != 0)
            continue;
        driver_command_now(replica->driver, urgent[i].kind, core_done, request);
        return true;
    }
    return false;
}

static bool run_backing(struct replica *replica, struct replica_control_request *request,
                        const char *name)
{
    if (strcmp(name, "detach") == 0)
        backing_detach(replica, core_done, request);
    else if (strcmp(name, "attach") == 0)
        backing_attach(replica, core_done, request);
    else
        return false;
    return true;
}

static bool run_core_command(struct replica *replica, struct replica_control_request *request,
                             const char *name, const json_t *object)
{
    for (size_t i = 0; i < sizeof core_commands / sizeof *core_commands; i++) {
        const struct core_command *command = &core_commands[i];
        if (strcmp(command->name, name) != 0)
            continue;
        if (command->gives_up && in_use(replica, request))
            return true;
        request->down = command->kind == COMMAND_DOWN;
        request->demotes = request->down || command->kind == COMMAND_DEMOTE;
        driver_command(replica->driver, command->kind,
                       command->option && flag(object, command->option) ? command->flag : 0,
                       core_done, request);
        return true;
    }
    return false;
}

/* Sectors, as with DRBD. */
static bool run_verify(struct replica *replica, struct replica_control_request *request,
                       const char *name, const json_t *object)
{
    json_int_t start = json_integer_value(json_object_get(object, "start"));
    json_int_t stop = json_integer_value(json_object_get(object, "stop"));
    json_int_t most = (json_int_t)(METADATA_DATA_BYTES_MAX / REPLICA_SECTOR_BYTES);

    if (strcmp(name, "verify") != 0)
        return false;
    if (start < 0 || start > most || stop < 0 || stop > most)
        answer(request, REPLICA_E_RANGE, "no such sectors", NULL);
    else
        driver_verify(replica->driver, (uint64_t)start * REPLICA_SECTOR_BYTES,
                      (uint64_t)stop * REPLICA_SECTOR_BYTES, core_done, request);
    return true;
}

/* Bytes. */
static bool run_resize(struct replica *replica, struct replica_control_request *request,
                       const char *name, const json_t *object)
{
    json_int_t size = json_integer_value(json_object_get(object, "size"));

    if (strcmp(name, "resize") != 0)
        return false;
    if (size < 0 || size > (json_int_t)METADATA_DATA_BYTES_MAX)
        answer(request, REPLICA_E_RANGE, "no such size", NULL);
    else
        driver_resize(replica->driver, (uint64_t)size,
                      flag(object, "assume-clean") ? COMMAND_ASSUME_CLEAN : 0, core_done, request);
    return true;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static bool stand_alone(const struct core_status *status, int *code, const char **text)
{
    if (status->connection != REPLICA_CONNECTION_STANDALONE)
        return false;
    *code = REPLICA_E_STATE;
    *text = "StandAlone: not connected and not trying to be; see the log for the reason, then "
            "tapdrbdadm connect";
    return true;
}

static bool is_connected(struct replica *replica, int *code, const char **text)
{
    struct core_status status;

    core_status(driver_core(replica->driver), &status);
    return stand_alone(&status, code, text) || (status.connection == REPLICA_CONNECTION_CONNECTED &&
                                                status.replication != REPLICA_REPLICATION_OFF);
}

static bool is_synced(struct replica *replica, int *code, const char **text)
{
    struct core_status status;

    core_status(driver_core(replica->driver), &status);
    return stand_alone(&status, code, text) ||
           (status.connection == REPLICA_CONNECTION_CONNECTED &&
            status.replication == REPLICA_REPLICATION_ESTABLISHED);
}

/* True when the waiter was answered. */
static bool check_waiter(struct replica_control_request *request)
{
    const char *text = "";
    int code = 0;

    if (!request->satisfied(request->control->replica, &code, &text))
        return false;
    answer(request, code, text, NULL);
    return true;
}

void control_check_waiters(struct control *control)
{
    struct replica_control_request *next;

    for (struct replica_control_request *request = control->requests; request; request = next) {
        next = request->next;
        if (control_request_waits(request))
            (void)check_waiter(request);
    }
}

static void wait_over(void *argument)
{
    answer(argument, REPLICA_E_TIMEOUT, "still not so after the time that was given", NULL);
}

static bool run_wait(struct replica *replica, struct replica_control_request *request,
                     const char *name, const json_t *object)
{
    double seconds = json_number_value(json_object_get(object, "timeout"));

    if (strcmp(name, "wait-connect") == 0)
        request->satisfied = is_connected;
    else if (strcmp(name, "wait-sync") == 0)
        request->satisfied = is_synced;
    else
        return false;
    if (check_waiter(request))
        return true;
    if (!(seconds > 0))
        return true;
    if (seconds > timeout_max_seconds)
        seconds = timeout_max_seconds;
    if (replica_timer_new(replica->loop, wait_over, request, &request->limit) != 0)
        answer(request, REPLICA_E_MEMORY, "out of memory", NULL);
    else
        replica_timer_set(request->limit,
                          replica_loop_now(replica->loop) + (uint64_t)(seconds * (double)second));
    return true;
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static void run_generations(struct replica *replica, struct replica_control_request *request)
{
    char text[1024];

    status_generations(replica, text, sizeof text);
    answer(request, 0, "", json_pack("{s:b s:s}", "ok", 1, "gi", text));
}

static void run_unknown(struct replica *replica, struct replica_control_request *request,
                        const char *name, const char *line)
{
    char text[128];

    if (replica->callbacks.control && replica->callbacks.control(replica->argument, request, line))
        return;
    (void)snprintf(text, sizeof text, "unknown command \"%.40s\"", name);
    answer(request, REPLICA_E_UNSUPPORTED, text, NULL);
}

void control_command(struct control_client *client, const json_t *object, const char *text)
{
    const char *name = json_string_value(json_object_get(object, "command"));
    struct replica *replica = client->control->replica;
    struct replica_control_request *request;

    if (strcmp(name, "watch") == 0) {
        control_watch(client);
        return;
    }
    request = request_new(client);
    if (!request)
        return;
    if (strcmp(name, "status") == 0)
        answer(request, 0, "", control_status_line(replica));
    else if (strcmp(name, "show-gi") == 0)
        run_generations(replica, request);
    else if (!run_core_command(replica, request, name, object) &&
             !run_urgent(replica, request, name) && !run_backing(replica, request, name) &&
             !run_verify(replica, request, name, object) &&
             !run_resize(replica, request, name, object) &&
             !run_wait(replica, request, name, object))
        run_unknown(replica, request, name, text);
}
