/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adm_daemon.c - up and down: beginning and end of a resource's tapdisk-drbd. Under systemd `up`
 * starts the unit, so that the service manager knows the process; `down` asks the process itself,
 * because only it can refuse while a guest uses the disk.
 */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "adm.h"
#include "adm_client.h"
#include "adm_run.h"
#include "libreplica/core/err.h"

#define DAEMON "tapdisk-drbd"

enum {
    ANSWER_MS = 10000,
    DOWN_MS = 120000, /* the guest's last writes are flushed on both hosts first */
    END_MS = 60000    /* from the answer to the end of the process */
};

bool adm_is_up(const struct adm *adm, const char *resource)
{
    struct adm_client client;
    struct replica_error error;

    if (adm_client_open(&client, adm->run_dir, resource, &error))
        return false;
    adm_client_close(&client);
    return true;
}

static int wait_for_end(pid_t pid)
{
    struct pollfd wait = {.events = POLLIN};
    int ready;

    wait.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (wait.fd < 0)
        return errno == ESRCH ? 0 : -1;
    do
        ready = poll(&wait, 1, END_MS);
    while (ready < 0 && errno == EINTR);
    close(wait.fd);
    return ready == 1 ? 0 : -1;
}

/* ---- up ----------------------------------------------------------------------------------------
 */

/* The unit's own last words: systemctl only says that something failed. */
static void show_journal(const char *unit)
{
    char *sync[] = {"journalctl", "--sync", NULL};
    char *show[] = {"journalctl", "--quiet", "--no-pager", "-o", "cat",  "-n",
                    "3",          "-u",      (char *)unit, "-t", DAEMON, NULL};

    (void)adm_run(sync, NULL, 0);
    (void)adm_run(show, NULL, 0);
}

static int start_unit(const char *resource)
{
    char unit[REPLICA_NAME_MAX + sizeof DAEMON + 16];
    char *start[] = {"systemctl", "--quiet", "start", unit, NULL};
    char *failed[] = {"systemctl", "--quiet", "is-failed", unit, NULL};
    char *reset[] = {"systemctl", "--quiet", "reset-failed", unit, NULL};
    int status;

    (void)snprintf(unit, sizeof unit, DAEMON "@%s.service", resource);
    /* One that was killed too often is not started again by itself; a person's word counts. */
    if (adm_run(failed, NULL, 0) == 0)
        (void)adm_run(reset, NULL, 0);
    status = adm_run(start, NULL, 0);
    if (status < 0)
        return ADM_EXEC;
    if (status == 0)
        return ADM_OK;
    show_journal(unit);
    return adm_fail(ADM_FAILED,
                    "%s: the unit %s did not start; the reason is above, and in "
                    "`journalctl -u %s`",
                    resource, unit, unit);
}

static bool is_program(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

/* The daemon beside this program when there is one (a build tree), else the installed one. */
static void daemon_path(char *path, size_t capacity)
{
    ssize_t length = readlink("/proc/self/exe", path, capacity - sizeof DAEMON - 1);
    char *slash;

    path[length > 0 ? length : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash) {
        memcpy(slash + 1, DAEMON, sizeof DAEMON);
        if (is_program(path))
            return;
    }
    (void)snprintf(path, capacity, SBINDIR "/" DAEMON);
}

static int start_daemon(const struct adm *adm, const char *resource)
{
    char path[4096];
    char *argv[] = {
        path,     "--config-dir",    (char *)adm->config_dir, "--run-dir", (char *)adm->run_dir,
        "--node", (char *)adm->node, (char *)resource,        NULL};
    int status;

    daemon_path(path, sizeof path);
    status = adm_run(argv, NULL, 0);
    if (status < 0)
        return ADM_EXEC;
    if (status)
        return adm_fail(ADM_FAILED, "%s: did not start; the reason is above", resource);
    return ADM_OK;
}

/* One that was told to end says so, or hangs up: the kernel takes connections for it to the last.
 */
static bool is_ending(struct adm_client *client)
{
    struct replica_error error;
    json_t *answer = NULL;
    const json_t *ours;
    int code = adm_client_send(client, json_pack("{s:s}", "command", "status"), &error);
    bool ending;

    if (code == 0)
        code = adm_client_receive(client, ANSWER_MS, &answer, &error);
    ours = json_object_get(json_object_get(answer, "status"), "tapdrbd");
    ending = code == REPLICA_E_SHUTDOWN || json_is_true(json_object_get(ours, "ending"));
    json_decref(answer);
    return ending;
}

int adm_up(struct adm *adm, const char *resource)
{
    struct config_resource found;
    struct adm_client client;
    struct replica_error error;
    int status = adm_find(adm, resource, &found);
    bool ending;

    if (status)
        return status;
    if (adm_client_open(&client, adm->run_dir, resource, &error) == 0) {
        ending = is_ending(&client);
        adm_client_close(&client);
        if (!ending) {
            printf("%s: up already\n", resource);
            return ADM_OK;
        }
        if (wait_for_end(client.pid))
            return adm_fail(ADM_TIMEOUT,
                            "%s: process %ld is ending, but it is still there: it waits for its "
                            "disk, look into the log",
                            resource, (long)client.pid);
    }
    if (!adm->own_places && access("/run/systemd/system", F_OK) == 0)
        return start_unit(resource);
    return start_daemon(adm, resource);
}

/* ---- down --------------------------------------------------------------------------------------
 */

static int ask_down(struct adm_client *client, const char *resource, bool force,
                    struct replica_error *error)
{
    json_t *answer = NULL;
    int code = adm_client_send(
        client, json_pack("{s:s, s:b}", "command", "down", "force", (int)force), error);

    if (code == 0)
        code = adm_client_receive(client, DOWN_MS, &answer, error);
    if (code == 0)
        code = adm_client_answer_code(answer, error);
    json_decref(answer);
    if (code && !strstr(error->text, resource))
        (void)err_wrap(error, "%s", resource);
    return code == REPLICA_E_SHUTDOWN ? 0 : code; /* gone already: what was asked for */
}

int adm_down(struct adm *adm, const char *resource)
{
    struct config_resource found;
    struct adm_client client;
    struct replica_error error = {0};
    int status, code = adm_client_open(&client, adm->run_dir, resource, &error);

    if (code == REPLICA_E_NOT_FOUND) {
        status = adm_find(adm, resource, &found);
        if (status == ADM_OK)
            printf("%s: down already\n", resource);
        return status;
    }
    if (code)
        return adm_fail_error(&error);
    code = ask_down(&client, resource, adm->options & ADM_OPTION_FORCE, &error);
    adm_client_close(&client);
    if (code)
        return adm_fail_error(&error);
    if (wait_for_end(client.pid))
        return adm_fail(ADM_TIMEOUT,
                        "%s: it is shutting down, but process %ld is still there: it waits for "
                        "its disk, look into the log",
                        resource, (long)client.pid);
    return ADM_OK;
}
