/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adm_evacuate.c - tapdrbdadm evacuate: every guest that has a replicated disk here moves to the
 * peer, one after the other, with `xl migrate`.
 *
 * First it looks whether all of them can move, and moves none when one cannot. It stops at the
 * first that does not move. xl and the handover keep each guest whole; what is left to say is which
 * guest is where.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adm.h"
#include "adm_client.h"
#include "adm_run.h"
#include "libreplica/core/err.h"

enum {
    ANSWER_MS = 10000,
    GUESTS_MAX = 1024,
    NAME_BYTES = 128,
    WHY_BYTES = 256,
    GONE_LOOKS = 50, /* of LOOK_NS: xl has destroyed the old copy before it ends */
    LOOK_NS = 200000000
};

struct guest {
    unsigned domain;
    char name[NAME_BYTES];
    char peer[REPLICA_NAME_MAX + 1];
    char disks[NAME_BYTES]; /* "vm1 vm1-data" */
    char why[WHY_BYTES];    /* it cannot move; empty: it can */
};

struct plan {
    struct guest *guests;
    unsigned count;
    bool programs; /* a resource is in use by something that xl cannot move */
};

/* ---- what is here ------------------------------------------------------------------------------
 */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The resource's status; NULL: not up here, or (with *status) no answer. */
static json_t *ask_status(const struct adm *adm, const char *resource, int *status)
{
    struct replica_error error = {0};
    json_t *answer = NULL, *found = NULL;
    int code = adm_client_ask(adm->run_dir, resource, json_pack("{s:s}", "command", "status"),
                              ANSWER_MS, &answer, &error);

    if (code == 0)
        found = json_incref(json_object_get(answer, "status"));
    else if (code != REPLICA_E_NOT_FOUND)
        *status = adm_fail_error(&error);
    json_decref(answer);
    return found;
}

/* A vbd of a guest that is here: neither closed, nor one whose guest has moved away just now. */
static bool is_used(const json_t *vbd)
{
    return json_integer_value(json_object_get(vbd, "domain")) > 0 &&
           strcmp(text_of(vbd, "state"), "Closed") != 0 &&
           !json_is_true(json_object_get(vbd, "handed-over"));
}

static void name_guest(struct guest *guest)
{
    char command[64], *end;
    FILE *names;

    (void)snprintf(guest->name, sizeof guest->name, "%u", guest->domain);
    (void)snprintf(command, sizeof command, "xl domname %u 2>/dev/null", guest->domain);
    names = popen(command, "re");
    if (!names)
        return;
    if (!fgets(guest->name, sizeof guest->name, names))
        (void)snprintf(guest->name, sizeof guest->name, "%u", guest->domain);
    (void)pclose(names);
    end = strchr(guest->name, '\n');
    if (end)
        *end = '\0';
}

static struct guest *guest_get(struct plan *plan, unsigned domain)
{
    struct guest *guest;

    for (unsigned i = 0; i < plan->count; i++)
        if (plan->guests[i].domain == domain)
            return &plan->guests[i];
    if (plan->count == GUESTS_MAX)
        return NULL;
    guest = &plan->guests[plan->count++];
    guest->domain = domain;
    name_guest(guest);
    return guest;
}

/* Why the disk cannot be handed over as things are; "" when it can. */
static void judge(const struct config_resource *resource, const json_t *status, char *why)
{
    const json_t *link = json_array_get(json_object_get(status, "connections"), 0);
    const json_t *device = json_array_get(json_object_get(link, "peer_devices"), 0);
    const char *state = text_of(link, "connection-state");
    const char *disk = text_of(device, "peer-disk-state");

    if (strcmp(state, "Connected") != 0)
        (void)snprintf(why, WHY_BYTES, "%s: not connected to %s (%s); see tapdrbdadm status %s",
                       resource->name, resource->peer.name, state, resource->name);
    else if (strcmp(disk, "UpToDate") != 0)
        (void)snprintf(why, WHY_BYTES,
                       "%s: the disk of %s is %s; wait for it with tapdrbdadm wait-sync %s",
                       resource->name, resource->peer.name, disk, resource->name);
}

static void guest_take(struct plan *plan, const struct config_resource *resource,
                       const json_t *status, unsigned domain)
{
    struct guest *guest = guest_get(plan, domain);
    size_t used;

    if (!guest)
        return;
    used = strlen(guest->disks);
    (void)snprintf(guest->disks + used, sizeof guest->disks - used, "%s%s", used ? " " : "",
                   resource->name);
    if (guest->peer[0] && strcmp(guest->peer, resource->peer.name) != 0)
        (void)snprintf(guest->why, sizeof guest->why,
                       "its disks are replicated to different hosts, %s and %s", guest->peer,
                       resource->peer.name);
    (void)snprintf(guest->peer, sizeof guest->peer, "%s", resource->peer.name);
    if (!guest->why[0])
        judge(resource, status, guest->why);
}

/* A Primary without a guest: a person, or a program of dom0, wanted it so. */
static void program_tell(struct plan *plan, const char *resource, const json_t *status)
{
    if (strcmp(text_of(status, "role"), "Primary") != 0)
        return;
    plan->programs = true;
    printf("%s: Primary here without a guest: when nobody uses it, tapdrbdadm secondary %s\n",
           resource, resource);
}

static int resource_look(struct adm *adm, struct plan *plan, const struct config_resource *resource)
{
    int failed = ADM_OK;
    json_t *status = ask_status(adm, resource->name, &failed);
    const json_t *vbds = json_object_get(json_object_get(status, "tapdrbd"), "vbds"), *vbd;
    bool used = false;
    size_t i;

    json_array_foreach(vbds, i, vbd)
    {
        if (!is_used(vbd))
            continue;
        used = true;
        guest_take(plan, resource, status,
                   (unsigned)json_integer_value(json_object_get(vbd, "domain")));
    }
    if (status && !used)
        program_tell(plan, resource->name, status);
    json_decref(status);
    return failed;
}

static int plan_make(struct adm *adm, struct plan *plan)
{
    struct replica_error error;
    struct config config;
    int status = ADM_OK;

    if (config_load(adm->config_dir, adm->node, &config, &error))
        return adm_fail_error(&error);
    for (unsigned i = 0; i < config.count && status == ADM_OK; i++)
        status = resource_look(adm, plan, &config.resources[i]);
    config_free(&config);
    return status;
}

/* Nothing moves when something cannot. */
static int plan_check(const struct adm *adm, const struct plan *plan)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < plan->count; i++) {
        const struct guest *guest = &plan->guests[i];

        if (adm->to && strcmp(guest->peer, plan->guests[0].peer) != 0)
            return adm_fail(ADM_USAGE,
                            "--to: the guests have different peers, %s and %s; without "
                            "--to each goes to its own",
                            plan->guests[0].peer, guest->peer);
        if (!guest->why[0])
            continue;
        (void)adm_fail(ADM_REFUSED, "%s cannot move: %s", guest->name, guest->why);
        bad++;
    }
    return bad ? adm_fail(ADM_REFUSED, "no guest was moved") : ADM_OK;
}

/* ---- the move ----------------------------------------------------------------------------------
 */

static bool is_gone(const struct adm *adm, const struct guest *guest)
{
    char disks[NAME_BYTES], *rest = NULL;
    bool here = false;

    memcpy(disks, guest->disks, sizeof disks);
    for (char *disk = strtok_r(disks, " ", &rest); disk; disk = strtok_r(NULL, " ", &rest)) {
        int failed = ADM_OK;
        json_t *status = ask_status(adm, disk, &failed);
        const json_t *vbds = json_object_get(json_object_get(status, "tapdrbd"), "vbds"), *vbd;
        size_t i;

        here |= failed != ADM_OK;
        json_array_foreach(vbds, i, vbd) here |=
            is_used(vbd) &&
            json_integer_value(json_object_get(vbd, "domain")) == (json_int_t)guest->domain;
        json_decref(status);
    }
    return !here;
}

static int guest_move(const struct adm *adm, struct guest *guest)
{
    const struct timespec look = {.tv_nsec = LOOK_NS};
    const char *host = adm->to ? adm->to : guest->peer;
    char *words[7];
    int count = 0, status;

    words[count++] = (char *)"xl";
    words[count++] = (char *)"migrate";
    if (adm->options & ADM_OPTION_SSH) {
        words[count++] = (char *)"-s";
        words[count++] = (char *)adm->ssh;
    }
    words[count++] = guest->name;
    words[count++] = (char *)host;
    words[count] = NULL;
    printf("%s (%s): xl migrate %s %s\n", guest->name, guest->disks, guest->name, host);
    if (adm->options & ADM_OPTION_DRY_RUN)
        return ADM_OK;
    status = adm_run(words, NULL, 0);
    if (status < 0)
        return ADM_EXEC;
    if (status)
        return adm_fail(ADM_FAILED, "%s did not move (xl migrate: status %d; why is above)",
                        guest->name, status);
    for (unsigned i = 0; i < GONE_LOOKS; i++) {
        if (is_gone(adm, guest)) {
            printf("%s runs on %s now\n", guest->name, guest->peer);
            return ADM_OK;
        }
        (void)nanosleep(&look, NULL);
    }
    return adm_fail(ADM_FAILED,
                    "%s: xl migrate has succeeded, but its disks (%s) are still in use "
                    "here; see tapdrbdadm status",
                    guest->name, guest->disks);
}

/* Who is where, after a failure. */
static void tell_rest(const struct plan *plan, unsigned failed)
{
    for (unsigned i = 0; i < plan->count; i++)
        (void)adm_fail(ADM_FAILED, "  %s: %s", plan->guests[i].name,
                       i < failed    ? "moved"
                       : i == failed ? "not moved; xl list says where it is"
                                     : "not tried, it is here");
}

static int plan_run(const struct adm *adm, struct plan *plan)
{
    for (unsigned i = 0; i < plan->count; i++) {
        int status = guest_move(adm, &plan->guests[i]);

        if (status == ADM_OK)
            continue;
        tell_rest(plan, i);
        return status;
    }
    if (adm->options & ADM_OPTION_DRY_RUN)
        return ADM_OK;
    if (plan->programs)
        return adm_fail(ADM_REFUSED, "%u guests moved; a resource is still Primary here, see above",
                        plan->count);
    printf("%u guest%s moved; no guest uses a replicated disk of this host: tapdrbdadm down all\n",
           plan->count, plan->count == 1 ? "" : "s");
    return ADM_OK;
}

int adm_evacuate(struct adm *adm)
{
    struct plan plan = {.guests = calloc(GUESTS_MAX, sizeof *plan.guests)};
    int status;

    if (!plan.guests)
        return adm_fail(ADM_FAILED, "out of memory");
    status = plan_make(adm, &plan);
    if (status == ADM_OK)
        status = plan_check(adm, &plan);
    if (status == ADM_OK)
        status = plan_run(adm, &plan);
    free(plan.guests);
    return status;
}
