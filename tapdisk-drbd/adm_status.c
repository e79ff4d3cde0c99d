/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_status.c - tapdrbdadm status: once, as JSON, or again at each change. See adm.h. */
#include <config.h>

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adm.h"
#include "adm_client.h"
#include "adm_render.h"
#include "libreplica/core/err.h"

enum {
    ANSWER_MS = 10000,
    RETRY_MS = 1000, /* a resource that is down is looked for this often */
    SHOWN_MAX = 1024
};

/* One resource on the screen. */
struct shown {
    char name[REPLICA_NAME_MAX + 1];
    struct adm_client *client; /* while watching; NULL: not up */
    json_t *status;            /* NULL: not up */
    bool silent;               /* up, but it gave no answer */
};

struct screen {
    struct shown *list;
    unsigned count;
    int exit_status;
    char *last; /* what was printed last */
};

/* ---- which resources ---------------------------------------------------------------------------
 */

static void screen_add(struct screen *screen, const char *name, size_t length)
{
    if (screen->count == SHOWN_MAX || length > REPLICA_NAME_MAX)
        return;
    for (unsigned i = 0; i < screen->count; i++)
        if (strlen(screen->list[i].name) == length &&
            strncmp(screen->list[i].name, name, length) == 0)
            return;
    screen->list[screen->count] = (struct shown){0};
    memcpy(screen->list[screen->count++].name, name, length);
}

static int shown_order(const void *a, const void *b)
{
    return strcmp(((const struct shown *)a)->name, ((const struct shown *)b)->name);
}

/* Whatever has a control socket is shown, also when the configuration cannot be read just now. */
static void screen_add_running(struct screen *screen, const char *run_dir)
{
    DIR *directory = opendir(run_dir);
    const struct dirent *entry;

    if (!directory)
        return;
    while ((entry = readdir(directory))) {
        size_t length = strlen(entry->d_name);

        if (length > 4 && strcmp(entry->d_name + length - 4, ".ctl") == 0)
            screen_add(screen, entry->d_name, length - 4);
    }
    closedir(directory);
}

static void screen_add_configured(struct screen *screen, const struct adm *adm)
{
    struct replica_error error;
    struct config config;

    if (config_load(adm->config_dir, adm->node, &config, &error)) {
        screen->exit_status = adm_fail_error(&error);
        return;
    }
    for (unsigned i = 0; i < config.count; i++)
        screen_add(screen, config.resources[i].name, strlen(config.resources[i].name));
    if (config.count == 0)
        fprintf(stderr,
                "%s has no resource for this host, '%s': the name behind `on` must be this one\n",
                adm->config_dir, adm->node);
    config_free(&config);
}

static void screen_fill(struct screen *screen, const struct adm *adm)
{
    if (adm->operand_count && strcmp(adm->operands[0], "all") != 0) {
        for (unsigned i = 0; i < adm->operand_count; i++)
            screen_add(screen, adm->operands[i], strlen(adm->operands[i]));
        return;
    }
    screen_add_running(screen, adm->run_dir);
    screen_add_configured(screen, adm);
    qsort(screen->list, screen->count, sizeof *screen->list, shown_order);
}

static void shown_close(struct shown *shown)
{
    json_decref(shown->status);
    shown->status = NULL;
    if (shown->client)
        adm_client_close(shown->client);
    free(shown->client);
    shown->client = NULL;
}

/* ---- printing ----------------------------------------------------------------------------------
 */

static bool use_color(const struct adm *adm)
{
    if (strcmp(adm->color, "auto") != 0)
        return strcmp(adm->color, "always") == 0;
    return isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

static void render_json(const struct screen *screen, FILE *out)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < screen->count; i++)
        if (screen->list[i].status)
            json_array_append(list, screen->list[i].status);
    json_dumpf(list, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(list);
}

static char *render(const struct screen *screen, const struct adm *adm)
{
    bool color = use_color(adm);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (!out)
        return NULL;
    if (adm->options & ADM_OPTION_JSON) {
        render_json(screen, out);
    } else {
        for (unsigned i = 0; i < screen->count; i++) {
            if (i)
                fputc('\n', out);
            if (screen->list[i].status)
                adm_render_status(screen->list[i].status, color, out);
            else if (screen->list[i].silent)
                adm_render_silent(screen->list[i].name, color, out);
            else
                adm_render_down(screen->list[i].name, color, out);
        }
    }
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}

/* On a terminal the text stays in place; elsewhere each change is printed below the last. */
static void redraw(struct screen *screen, const struct adm *adm)
{
    char *text = render(screen, adm);

    if (!text || (screen->last && strcmp(text, screen->last) == 0)) {
        free(text);
        return;
    }
    if (isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    else if (screen->last)
        putchar('\n');
    fputs(text, stdout);
    fflush(stdout);
    free(screen->last);
    screen->last = text;
}

/* ---- once --------------------------------------------------------------------------------------
 */

static void shown_ask(struct screen *screen, struct shown *shown, const struct adm *adm, bool named)
{
    struct replica_error error = {0};
    json_t *answer = NULL;
    int code = adm_client_ask(adm->run_dir, shown->name, json_pack("{s:s}", "command", "status"),
                              ANSWER_MS, &answer, &error);

    if (code == 0) {
        shown->status = json_incref(json_object_get(answer, "status"));
        json_decref(answer);
    } else if (code != REPLICA_E_NOT_FOUND) {
        shown->silent = true;
        screen->exit_status = adm_fail_error(&error);
    } else if (named) {
        screen->exit_status = ADM_CONFIG;
    }
}

/* A name that is neither up nor in the configuration is a mistake, and is said to be one. */
static int names_check(struct screen *screen, struct adm *adm)
{
    struct config_resource found;

    for (unsigned i = 0; i < screen->count; i++)
        if (!screen->list[i].status && !screen->list[i].silent) {
            int status = adm_find(adm, screen->list[i].name, &found);

            if (status)
                return status;
        }
    return ADM_OK;
}

static int show_once(struct screen *screen, struct adm *adm)
{
    bool named = adm->operand_count && strcmp(adm->operands[0], "all") != 0;
    char *text;
    int status;

    for (unsigned i = 0; i < screen->count; i++)
        shown_ask(screen, &screen->list[i], adm, named);
    status = named ? names_check(screen, adm) : ADM_OK;
    if (status)
        return status;
    text = render(screen, adm);
    if (!text)
        return adm_fail(ADM_FAILED, "out of memory");
    fputs(text, stdout);
    free(text);
    return screen->exit_status;
}

/* ---- watch -------------------------------------------------------------------------------------
 */

static void shown_update(struct shown *shown);

/* Opens and takes the first answer, which comes at once. */
static void shown_watch(struct shown *shown, const struct adm *adm)
{
    struct replica_error error;

    shown->client = malloc(sizeof *shown->client);
    if (!shown->client)
        return;
    if (adm_client_open(shown->client, adm->run_dir, shown->name, &error)) {
        free(shown->client);
        shown->client = NULL;
        return;
    }
    if (adm_client_send(shown->client, json_pack("{s:s}", "command", "watch"), &error))
        shown_close(shown);
    else
        shown_update(shown);
}

/* Takes everything that has come; the last one counts. */
static void shown_update(struct shown *shown)
{
    struct replica_error error;

    do {
        json_t *answer = NULL;

        int code = adm_client_receive(shown->client, ANSWER_MS, &answer, &error);

        if (code == 0)
            code = adm_client_answer_code(answer, &error);
        shown->silent = code == REPLICA_E_TIMEOUT;
        if (code) {
            json_decref(answer);
            shown_close(shown);
            return;
        }
        json_decref(shown->status);
        shown->status = json_incref(json_object_get(answer, "status"));
        json_decref(answer);
    } while (adm_client_pending(shown->client));
}

/* The descriptors to wait for; the last one tells that nobody reads what we write any more. */
static void polls_fill(const struct screen *screen, const struct adm *adm, struct pollfd *polls)
{
    for (unsigned i = 0; i < screen->count; i++) {
        struct shown *shown = &screen->list[i];

        if (!shown->client)
            shown_watch(shown, adm);
        polls[i] = (struct pollfd){.fd = shown->client ? shown->client->fd : -1, .events = POLLIN};
    }
    polls[screen->count] = (struct pollfd){.fd = STDOUT_FILENO};
}

static int show_changes(struct screen *screen, const struct adm *adm)
{
    struct pollfd *polls = calloc(screen->count + 1, sizeof *polls);

    if (!polls)
        return adm_fail(ADM_FAILED, "out of memory");
    do {
        int ready;

        polls_fill(screen, adm, polls);
        redraw(screen, adm);
        ready = poll(polls, screen->count + 1, RETRY_MS);
        for (unsigned i = 0; ready > 0 && i < screen->count; i++)
            if (polls[i].revents)
                shown_update(&screen->list[i]);
    } while (!ferror(stdout) && !(polls[screen->count].revents & POLLERR));
    free(polls);
    return ADM_OK;
}

int adm_status(struct adm *adm)
{
    struct screen screen = {.list = calloc(SHOWN_MAX, sizeof *screen.list)};
    int status;

    if (!screen.list)
        return adm_fail(ADM_FAILED, "out of memory");
    screen_fill(&screen, adm);
    if (adm->options & ADM_OPTION_WATCH)
        status = show_changes(&screen, adm);
    else
        status = show_once(&screen, adm);
    for (unsigned i = 0; i < screen.count; i++)
        shown_close(&screen.list[i]);
    free(screen.list);
    free(screen.last);
    return status;
}
