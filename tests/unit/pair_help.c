/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pair_help.c - see pair_help.h. */
#include "pair_help.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libreplica/io/create_md.h"

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"

struct io_help help;
struct node nodes[NODES];

static const char *const names[NODES] = {"alpha", "beta"};

/* ---- fixture -------------------------------------------------------------------------------- */

static void node_changed(void *argument)
{
    ((struct node *)argument)->changes++;
}

static void node_resized(void *argument, uint64_t size)
{
    ((struct node *)argument)->resized = size;
}

static void node_shutdown(void *argument)
{
    struct node *node = argument;

    node->shutdowns++;
    replica_close(node->replica); /* allowed from here */
    node->replica = NULL;
}

static unsigned node_in_use(void *argument, char *why, size_t why_bytes)
{
    struct node *node = argument;

    (void)snprintf(why, why_bytes, "domain 7 (vm1)");
    return node->users;
}

static bool node_control(void *argument, struct replica_control_request *request, const char *json)
{
    struct node *node = argument;

    if (!strstr(json, "vbd-add"))
        return false;
    if (strstr(json, "later")) {
        node->held[node->held_count++] = request;
        return true;
    }
    replica_control_reply(request, 0, NULL, "{\"vbd\":51712}");
    return true;
}

static const struct replica_callbacks callbacks = {.changed = node_changed,
                                                   .resized = node_resized,
                                                   .shutdown = node_shutdown,
                                                   .in_use = node_in_use,
                                                   .control = node_control};

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void write_configuration(void)
{
    char text[1024], here[256];
    uint16_t a = free_port(), b = free_port();

    ck_assert_ptr_nonnull(realpath(help.directory, here));
    (void)snprintf(text, sizeof text,
                   "resource vm1 {\n"
                   "  net { timeout 20; ping-timeout 5; connect-int 1; }\n"
                   "  on alpha { disk %s/alpha.disk; meta-disk internal;\n"
                   "    address 127.0.0.1:%u; }\n"
                   "  on beta { disk %s/beta.disk; meta-disk internal;\n"
                   "    address 127.0.0.1:%u; }\n"
                   "}\n",
                   here, a, here, b);
    (void)io_help_text(&help, "vm1.res", text, 0644);
    (void)io_help_text(&help, "vm1.key", KEY, 0600);
}

static void node_prepare(struct node *node, const char *name)
{
    struct metadata_superblock made;
    struct replica_error error = {0};
    char file[32];

    node->name = name;
    (void)snprintf(node->config_dir, sizeof node->config_dir, "%s", help.directory);
    (void)snprintf(node->run_dir, sizeof node->run_dir, "%s/%s.run", help.directory, name);
    (void)snprintf(file, sizeof file, "%s.disk", name);
    (void)snprintf(node->disk, sizeof node->disk, "%s", io_help_file(&help, file, DISK_BYTES));
    ck_assert_msg(config_find(node->config_dir, name, "vm1", &node->resource, &error) == 0, "%s",
                  error.text);
    ck_assert_msg(
        create_md(node->disk, "internal", METADATA_AL_EXTENTS_DEFAULT, false, &made, &error) == 0,
        "%s", error.text);
}

int node_open(struct node *node, struct replica_error *error)
{
    struct replica_options options = {.resource = "vm1",
                                      .config_dir = node->config_dir,
                                      .run_dir = node->run_dir,
                                      .node = node->name};

    return replica_open(help.loop, &options, &callbacks, node, &node->replica, error);
}

void node_start(struct node *node)
{
    struct replica_error error = {0};
    int code = node_open(node, &error);

    ck_assert_msg(code == 0, "%s", error.text);
}

void pair_setup(void)
{
    io_help_open(&help);
    memset(nodes, 0, sizeof nodes);
    write_configuration();
    for (int i = 0; i < NODES; i++)
        node_prepare(&nodes[i], names[i]);
}

void pair_teardown(void)
{
    for (int i = 0; i < NODES; i++) {
        replica_close(nodes[i].replica);
        nodes[i].replica = NULL;
        rmdir(nodes[i].run_dir);
    }
    io_help_close(&help);
}

/* ---- waiting -------------------------------------------------------------------------------- */

struct replica_status status_of(const struct node *node)
{
    struct replica_status status;

    replica_status(node->replica, &status);
    return status;
}

bool established(void *argument)
{
    (void)argument;
    for (int i = 0; i < NODES; i++)
        if (status_of(&nodes[i]).replication != REPLICA_REPLICATION_ESTABLISHED)
            return false;
    return true;
}

bool in_sync(void *argument)
{
    for (int i = 0; i < NODES; i++)
        if (status_of(&nodes[i]).disk != REPLICA_DISK_UPTODATE ||
            status_of(&nodes[i]).peer_disk != REPLICA_DISK_UPTODATE)
            return false;
    return established(argument);
}

struct answer {
    bool over;
    int code;
    char text[256];
};

static void answered(void *argument, int code, const char *text)
{
    struct answer *answer = argument;

    answer->over = true;
    answer->code = code;
    (void)snprintf(answer->text, sizeof answer->text, "%s", text);
}

int promote(struct node *node, bool force)
{
    struct answer answer = {0};

    replica_promote(node->replica, force ? REPLICA_PROMOTE_FORCE : 0, answered, &answer);
    ck_assert(!answer.over); /* never from inside the call */
    io_help_run(&help, io_help_flag, &answer.over);
    return answer.code;
}

int demote(struct node *node)
{
    struct answer answer = {0};

    replica_demote(node->replica, answered, &answer);
    io_help_run(&help, io_help_flag, &answer.over);
    return answer.code;
}

/* Both up, in sync, alpha Primary. */
void start_pair(void)
{
    node_start(&nodes[0]);
    node_start(&nodes[1]);
    io_help_run(&help, established, NULL);
    ck_assert_int_eq(promote(&nodes[0], true), 0);
    io_help_run(&help, in_sync, NULL);
}
