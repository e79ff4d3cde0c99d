/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vbd_command.c - tapdrbd-vbd: what xl's hotplug script block-drbd calls.
 *
 *   tapdrbd-vbd [--config-dir DIR] [--run-dir DIR] add|remove PARAMS XENBUS_PATH
 *
 * PARAMS is the node `params` as it stands: vm1, drbd:vm1, aio:vm1. Asks the resource's
 * tapdisk-drbd, waits for its answer, and prints one line when it is no.
 * Exit status: 0 done, 1 no, 2 no resource of ours has this name, 3 in use on this host.
 */
#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "adm_client.h"
#include "libreplica/core/err.h"
#include "libreplica/io/config.h"

enum vbd_exit { VBD_DONE = 0, VBD_NO = 1, VBD_NOT_OURS = 2, VBD_BUSY = 3 };

/* xl kills the script after 40 s; an answer must come out before. */
enum { ANSWER_MS = 35000 };

enum { ANCESTORS_MAX = 8 };

struct vbd_command {
    const char *config_dir, *run_dir, *verb, *resource, *path;
};

static const char *resource_of(const char *params)
{
    static const char *const prefixes[] = {"tap:", "drbd:", "aio:", "raw:"};

    for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(params, prefixes[i], strlen(prefixes[i])) == 0)
            params += strlen(prefixes[i]);
    return params;
}

static enum vbd_exit say(enum vbd_exit status, const char *resource, const char *text)
{
    size_t length = strlen(resource);

    /* The library's words begin with the resource's name already. */
    if (strncmp(text, resource, length) == 0 && text[length] == ':')
        (void)printf("%s\n", text);
    else
        (void)printf("%s: %s\n", resource, text);
    return status;
}

/* Nobody serves it: is it one of ours at all? */
static enum vbd_exit not_served(const struct vbd_command *command)
{
    static struct config_resource found;
    struct replica_error error = {0};
    struct utsname host;
    int code;

    if (uname(&host) != 0)
        return say(VBD_NO, command->resource, "uname failed");
    code = config_find(command->config_dir, host.nodename, command->resource, &found, &error);
    /* A wrong file does not tell whose it is: if another's, its script has to give it back. */
    if (code == REPLICA_E_NOT_FOUND || (code && strcmp(command->verb, "remove") == 0))
        return say(VBD_NOT_OURS, command->resource, error.text);
    if (strcmp(command->verb, "remove") == 0)
        return VBD_DONE; /* whoever served it gave everything back when it ended */
    if (code)
        return say(VBD_NO, command->resource, error.text);
    (void)snprintf(error.text, sizeof error.text,
                   "the resource is not up on this host; run: tapdrbdadm up %s", command->resource);
    return say(VBD_NO, command->resource, error.text);
}

/* The parent of a process, and whether its command line has `word`. 0: no such process. */
static int parent_of(int process, const char *word, bool *found)
{
    char path[64], text[4096];
    int parent = 0;
    size_t length;
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", process);
    file = fopen(path, "re");
    length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = '\0';
    if (file)
        (void)fclose(file);
    for (size_t at = 0; at < length; at += strlen(text + at) + 1)
        *found |= strcmp(text + at, word) == 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", process);
    file = fopen(path, "re");
    length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = '\0';
    if (file)
        (void)fclose(file);
    /* The name in brackets may hold anything. */
    if (!strrchr(text, ')') || sscanf(strrchr(text, ')'), ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

/* xl gets a guest through its standard input. Once the guest is there, the same process goes into
 * the background, reads from /dev/null, and starts the guest again whenever it reboots. */
static bool reads_nothing(int process)
{
    char path[64];
    struct stat about;

    (void)snprintf(path, sizeof path, "/proc/%d/fd/0", process);
    return stat(path, &about) == 0 && S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3);
}

/* Are we run for `xl migrate-receive`? Then the guest still is on the other host, and the disk must
 * come from there, or not at all. */
static bool is_incoming(void)
{
    int process = (int)getppid();

    for (unsigned i = 0; i < ANCESTORS_MAX && process > 1; i++) {
        bool receives = false;
        int parent = parent_of(process, "migrate-receive", &receives);

        if (receives && !reads_nothing(process))
            return true;
        process = parent;
    }
    return false;
}

static enum vbd_exit ask(const struct vbd_command *command)
{
    struct replica_error error = {0};
    json_t *answer = NULL;
    char verb[16];
    int code;

    (void)snprintf(verb, sizeof verb, "vbd-%s", command->verb);
    code = adm_client_ask(command->run_dir, command->resource,
                          json_pack("{s:s, s:s, s:b}", "command", verb, "path", command->path,
                                    "incoming", is_incoming()),
                          ANSWER_MS, &answer, &error);
    if (code == REPLICA_E_NOT_FOUND && !answer)
        return not_served(command);
    if (code == 0 && answer)
        code = adm_client_answer_code(answer, &error);
    json_decref(answer);
    if (code == 0)
        return VBD_DONE;
    return say(code == REPLICA_E_BUSY ? VBD_BUSY : VBD_NO, command->resource, error.text);
}

static int usage(void)
{
    (void)fputs("usage: tapdrbd-vbd [--config-dir DIR] [--run-dir DIR] add|remove PARAMS "
                "XENBUS_PATH\n",
                stderr);
    return VBD_NO;
}

int main(int argc, char **argv)
{
    static const struct option table[] = {{"config-dir", required_argument, NULL, 'c'},
                                          {"run-dir", required_argument, NULL, 'r'},
                                          {0}};
    struct vbd_command command = {.config_dir = SYSCONFDIR "/tapdrbd.d",
                                  .run_dir = RUNSTATEDIR "/tapdrbd"};
    int option;

    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == 'c')
            command.config_dir = optarg;
        else if (option == 'r')
            command.run_dir = optarg;
        else
            return usage();
    }
    if (argc - optind != 3)
        return usage();
    command.verb = argv[optind];
    command.resource = resource_of(argv[optind + 1]);
    command.path = argv[optind + 2];
    if (strcmp(command.verb, "add") != 0 && strcmp(command.verb, "remove") != 0)
        return usage();
    if (!*command.resource || strlen(command.resource) > REPLICA_NAME_MAX ||
        strchr(command.resource, '/'))
        return (int)say(VBD_NOT_OURS, command.resource, "this is no name of a resource");
    return (int)ask(&command);
}
