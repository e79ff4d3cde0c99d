/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_commands.c - verbs that are one question to the resource's daemon. See adm.h. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adm.h"
#include "adm_client.h"

enum {
    ANSWER_MS = 10000,   /* status and the like: known at once */
    COMMAND_MS = 120000, /* role changes drain, flush, and may wait for the peer */
    WAIT_SLACK_MS = 5000 /* the daemon counts the time of a wait itself */
};

/* Whoever is not up may also be unknown, or written wrong: the configuration tells. */
static int fail_not_up(struct adm *adm, const char *resource, const struct replica_error *error)
{
    struct config_resource found;
    int status;

    if (error->code != REPLICA_E_NOT_FOUND)
        return adm_fail_error(error);
    status = adm_find(adm, resource, &found);
    return status ? status : adm_fail_error(error);
}

static int ask(struct adm *adm, const char *resource, json_t *request, int timeout_ms,
               json_t **answer)
{
    struct replica_error error = {0};

    if (!request)
        return adm_fail(ADM_FAILED, "out of memory");
    if (adm_client_ask(adm->run_dir, resource, request, timeout_ms, answer, &error))
        return fail_not_up(adm, resource, &error);
    return ADM_OK;
}

static bool has(const struct adm *adm, enum adm_option option)
{
    return adm->options & (unsigned)option;
}

int adm_primary(struct adm *adm, const char *resource)
{
    return ask(adm, resource,
               json_pack("{s:s, s:b}", "command", "primary", "force", has(adm, ADM_OPTION_FORCE)),
               COMMAND_MS, NULL);
}

int adm_secondary(struct adm *adm, const char *resource)
{
    return ask(adm, resource, json_pack("{s:s}", "command", "secondary"), COMMAND_MS, NULL);
}

int adm_connect(struct adm *adm, const char *resource)
{
    return ask(adm, resource,
               json_pack("{s:s, s:b}", "command", "connect", "discard-my-data",
                         has(adm, ADM_OPTION_DISCARD_MY_DATA)),
               COMMAND_MS, NULL);
}

int adm_disconnect(struct adm *adm, const char *resource)
{
    return ask(
        adm, resource,
        json_pack("{s:s, s:b}", "command", "disconnect", "force", has(adm, ADM_OPTION_FORCE)),
        COMMAND_MS, NULL);
}

int adm_new_current_uuid(struct adm *adm, const char *resource)
{
    return ask(adm, resource,
               json_pack("{s:s, s:b}", "command", "new-current-uuid", "clear-bitmap",
                         has(adm, ADM_OPTION_CLEAR_BITMAP)),
               COMMAND_MS, NULL);
}

static int ask_command(struct adm *adm, const char *resource, const char *command)
{
    return ask(adm, resource, json_pack("{s:s}", "command", command), COMMAND_MS, NULL);
}

int adm_invalidate(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "invalidate");
}

int adm_invalidate_remote(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "invalidate-remote");
}

int adm_outdate(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "outdate");
}

int adm_resume_io(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "resume-io");
}

int adm_pause_sync(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "pause-sync");
}

int adm_resume_sync(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "resume-sync");
}

int adm_attach(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "attach");
}

int adm_detach(struct adm *adm, const char *resource)
{
    return ask_command(adm, resource, "detach");
}

int adm_verify(struct adm *adm, const char *resource)
{
    return ask(adm, resource,
               json_pack("{s:s, s:I, s:I}", "command", "verify", "start", (json_int_t)adm->start,
                         "stop", (json_int_t)adm->stop),
               COMMAND_MS, NULL);
}

int adm_resize(struct adm *adm, const char *resource)
{
    return ask(adm, resource,
               json_pack("{s:s, s:I, s:b}", "command", "resize", "size", (json_int_t)adm->size,
                         "assume-clean", has(adm, ADM_OPTION_ASSUME_CLEAN)),
               COMMAND_MS, NULL);
}

/* What is left of --timeout, in ms; 0: no limit. One that comes after its end is looked at too. */
static int64_t time_left(struct adm *adm)
{
    int64_t now = adm_client_now_ms();

    if (adm->timeout == 0)
        return 0;
    if (adm->deadline == 0)
        adm->deadline = now + (int64_t)adm->timeout * 1000;
    return adm->deadline > now ? adm->deadline - now : 1;
}

static int wait_for(struct adm *adm, const char *resource, const char *command, const char *what)
{
    int64_t left = time_left(adm);
    json_t *request = json_pack("{s:s, s:f}", "command", command, "timeout", (double)left / 1000);
    struct replica_error error = {0};
    int code, limit = -1;

    if (left && left < INT32_MAX - WAIT_SLACK_MS)
        limit = (int)left + WAIT_SLACK_MS;
    code = adm_client_ask(adm->run_dir, resource, request, limit, NULL, &error);
    if (code == REPLICA_E_TIMEOUT)
        return adm_fail(ADM_TIMEOUT, "%s: %s after %" PRIu32 " s: `tapdrbdadm status %s` tells why",
                        resource, what, adm->timeout, resource);
    return code ? fail_not_up(adm, resource, &error) : ADM_OK;
}

int adm_wait_connect(struct adm *adm, const char *resource)
{
    return wait_for(adm, resource, "wait-connect", "not connected");
}

int adm_wait_sync(struct adm *adm, const char *resource)
{
    return wait_for(adm, resource, "wait-sync", "not in sync");
}

/* ---- one word of the status --------------------------------------------------------------------
 */

static const char *word(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "Unknown";
}

static int ask_status(struct adm *adm, const char *resource, json_t **answer)
{
    return ask(adm, resource, json_pack("{s:s}", "command", "status"), ANSWER_MS, answer);
}

int adm_role(struct adm *adm, const char *resource)
{
    json_t *answer = NULL;
    int status = ask_status(adm, resource, &answer);

    if (status)
        return status;
    puts(word(json_object_get(answer, "status"), "role"));
    json_decref(answer);
    return ADM_OK;
}

static const json_t *first(const json_t *object, const char *key)
{
    return json_array_get(json_object_get(object, key), 0);
}

int adm_cstate(struct adm *adm, const char *resource)
{
    json_t *answer = NULL;
    int status = ask_status(adm, resource, &answer);

    if (status)
        return status;
    puts(word(first(json_object_get(answer, "status"), "connections"), "connection-state"));
    json_decref(answer);
    return ADM_OK;
}

bool adm_has_disk(struct adm *adm, const char *resource)
{
    json_t *answer = NULL;
    bool diskless;

    if (ask_status(adm, resource, &answer))
        return true;
    diskless = strcmp(word(first(json_object_get(answer, "status"), "devices"), "disk-state"),
                      "Diskless") == 0;
    json_decref(answer);
    return !diskless;
}

int adm_dstate(struct adm *adm, const char *resource)
{
    const json_t *about, *connection;
    json_t *answer = NULL;
    int status = ask_status(adm, resource, &answer);

    if (status)
        return status;
    about = json_object_get(answer, "status");
    connection = first(about, "connections");
    printf("%s/%s\n", word(first(about, "devices"), "disk-state"),
           word(first(connection, "peer_devices"), "peer-disk-state"));
    json_decref(answer);
    return ADM_OK;
}

static int ask_gi(struct adm *adm, const char *resource, json_t **answer)
{
    return ask(adm, resource, json_pack("{s:s}", "command", "show-gi"), ANSWER_MS, answer);
}

int adm_show_gi(struct adm *adm, const char *resource)
{
    json_t *answer = NULL;
    int status = ask_gi(adm, resource, &answer);

    if (status == ADM_OK)
        fputs(word(answer, "gi"), stdout);
    json_decref(answer);
    return status;
}

/* current:bitmap:younger:older, from the lines that end in an identifier. */
int adm_get_gi(struct adm *adm, const char *resource)
{
    const char *line, *separator = "";
    json_t *answer = NULL;
    int status = ask_gi(adm, resource, &answer);

    if (status)
        return status;
    for (line = word(answer, "gi"); *line; line += strspn(line, "\n")) {
        size_t length = strcspn(line, "\n");
        const char *uuid = memmem(line, length, " UUID ", 6);

        if (uuid) {
            uuid += 6 + strspn(uuid + 6, " ");
            printf("%s%.*s", separator, (int)(line + length - uuid), uuid);
            separator = ":";
        }
        line += length;
    }
    putchar('\n');
    json_decref(answer);
    return ADM_OK;
}
