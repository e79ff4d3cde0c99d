/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_control.c - the control socket as its clients see it, well-behaved and not. */
#include "pair_help.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libreplica/io/control.h"
#include "libreplica/io/tls.h"

struct client {
    int fd;
    struct replica_watch *watch;
    char *text;
    size_t used;
    bool over;
};

static void readable(void *argument, uint32_t events)
{
    struct client *client = argument;
    ssize_t got;

    (void)events;
    client->text = realloc(client->text, client->used + 65537);
    got = recv(client->fd, client->text + client->used, 65536, MSG_DONTWAIT);
    if (got <= 0) {
        client->over = true;
        replica_loop_unwatch(client->watch);
        client->watch = NULL;
        return;
    }
    client->used += (size_t)got;
    client->text[client->used] = '\0';
}

static int connect_to(const struct node *node)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/vm1.ctl", node->run_dir);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void client_open(struct client *client, const struct node *node)
{
    *client = (struct client){.fd = connect_to(node)};
    ck_assert_int_eq(
        replica_loop_watch(help.loop, client->fd, false, readable, client, &client->watch), 0);
}

static void client_close(struct client *client)
{
    replica_loop_unwatch(client->watch);
    close(client->fd);
    free(client->text);
}

static void say(struct client *client, const char *text)
{
    ck_assert_int_eq(send(client->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool has_line(void *argument)
{
    struct client *client = argument;

    return client->over || (client->used > 0 && memchr(client->text, '\n', client->used));
}

static bool is_over(void *argument)
{
    return ((struct client *)argument)->over;
}

/* The next line as JSON; a new reference. */
static json_t *hear(struct client *client)
{
    json_t *object;
    char *end;

    io_help_run(&help, has_line, client);
    ck_assert(client->used > 0);
    end = memchr(client->text, '\n', client->used);
    ck_assert_ptr_nonnull(end);
    *end = '\0';
    object = json_loads(client->text, 0, NULL);
    ck_assert_ptr_nonnull(object);
    client->used -= (size_t)(end + 1 - client->text);
    memmove(client->text, end + 1, client->used);
    return object;
}

static void expect(struct client *client, const char *code, const char *part)
{
    json_t *answer = hear(client);
    const char *got = json_string_value(json_object_get(answer, "code"));
    const char *text = json_string_value(json_object_get(answer, "error"));

    if (!code) {
        ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s", text);
    } else {
        ck_assert(json_is_false(json_object_get(answer, "ok")));
        ck_assert_str_eq(got, code);
        ck_assert_msg(strstr(text, part), "%s", text);
    }
    json_decref(answer);
}

static void ask(struct client *client, const char *text, const char *code, const char *part)
{
    say(client, text);
    expect(client, code, part);
}

static const json_t *first(const json_t *object, const char *name)
{
    const json_t *list = json_object_get(object, name);

    ck_assert_uint_eq(json_array_size(list), 1);
    return json_array_get(list, 0);
}

static void is_text(const json_t *object, const char *name, const char *text)
{
    ck_assert_str_eq(json_string_value(json_object_get(object, name)), text);
}

static bool all_held(void *argument)
{
    return ((struct node *)argument)->held_count == CONTROL_CLIENTS_MAX;
}

/* Every field that drbdsetup status --json has for a resource, with its type. */
START_TEST(test_status)
{
    static const char *const device_numbers[] = {"volume",    "minor",         "size",
                                                 "read",      "written",       "al-writes",
                                                 "bm-writes", "upper-pending", "lower-pending"};
    static const char *const never[] = {"suspended",         "suspended-user",
                                        "suspended-no-data", "suspended-fencing",
                                        "suspended-quorum",  "force-io-failures"};
    static const char *const peer_numbers[] = {
        "volume", "received", "sent", "out-of-sync", "pending", "unacked", "percent-in-sync"};
    struct client client;
    json_t *answer;
    const json_t *status, *device, *connection, *path, *peer;

    start_pair();
    client_open(&client, &nodes[0]);
    say(&client, "{\"command\":\"status\"}\n");
    answer = hear(&client);
    status = json_object_get(answer, "status");
    is_text(status, "name", "vm1");
    is_text(status, "role", "Primary");
    is_text(status, "write-ordering", "flush");
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        ck_assert_msg(json_is_false(json_object_get(status, never[i])), "%s", never[i]);
    ck_assert_int_eq(json_integer_value(json_object_get(status, "node-id")), 0);
    device = first(status, "devices");
    is_text(device, "disk-state", "UpToDate");
    ck_assert(json_is_true(json_object_get(device, "quorum")));
    ck_assert(json_is_false(json_object_get(device, "client")));
    ck_assert_int_eq(json_integer_value(json_object_get(device, "size")),
                     (json_int_t)(replica_size(nodes[0].replica) / 1024));
    for (size_t i = 0; i < sizeof device_numbers / sizeof *device_numbers; i++)
        ck_assert(json_is_integer(json_object_get(device, device_numbers[i])));
    connection = first(status, "connections");
    is_text(connection, "name", "beta");
    is_text(connection, "connection-state", "Connected");
    is_text(connection, "peer-role", "Secondary");
    ck_assert(json_is_boolean(json_object_get(connection, "congested")));
    path = first(connection, "paths");
    is_text(json_object_get(path, "this_host"), "family", "ipv4");
    is_text(json_object_get(path, "remote_host"), "address", "127.0.0.1");
    ck_assert(json_is_integer(json_object_get(json_object_get(path, "remote_host"), "port")));
    ck_assert(json_is_true(json_object_get(path, "established")));
    peer = first(connection, "peer_devices");
    is_text(peer, "replication-state", "Established");
    is_text(peer, "peer-disk-state", "UpToDate");
    is_text(peer, "resync-suspended", "no");
    ck_assert(json_is_false(json_object_get(peer, "has-sync-details")));
    ck_assert(json_is_false(json_object_get(peer, "has-online-verify-details")));
    for (size_t i = 0; i < sizeof peer_numbers / sizeof *peer_numbers; i++)
        ck_assert(json_is_number(json_object_get(peer, peer_numbers[i])));
    ck_assert(json_real_value(json_object_get(peer, "percent-in-sync")) > 99.99);
    ck_assert(json_is_object(json_object_get(status, "tapdrbd")));
    json_decref(answer);
    client_close(&client);
}
END_TEST

static bool was_told_off(void *argument)
{
    struct client *client = argument;
    char byte;

    return recv(client->fd, &byte, 1, MSG_DONTWAIT) >= 0;
}

/* A stranger without the key, whose name is no text: `status` goes on to answer (P11). */
START_TEST(test_strange_name)
{
    struct config_resource resource = nodes[1].resource;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client stranger = {.fd = socket(AF_INET, SOCK_STREAM, 0)}, admin;
    uint8_t bytes[4096];
    struct tls_output output = {.data = bytes, .size = sizeof bytes};
    struct tls_context *context;
    struct replica_error error;
    struct tls *tls;
    json_t *answer;
    bool done;

    node_start(&nodes[1]);
    client_open(&admin, &nodes[1]);
    ask(&admin, "{\"command\":\"status\"}\n", NULL, NULL);
    strcpy(resource.name, "\xff\xfe");
    ck_assert_int_eq(tls_context_new(&context, &resource, &error), 0);
    ck_assert_int_eq(tls_new(&tls, context, true, &output), 0);
    ck_assert_int_eq(tls_handshake(tls, &done, &error), 0);
    address.sin_port = htons(resource.local.port);
    ck_assert_int_eq(connect(stranger.fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(write(stranger.fd, bytes, output.used), (ssize_t)output.used);
    io_help_run(&help, was_told_off, &stranger);
    say(&admin, "{\"command\":\"status\"}\n");
    answer = hear(&admin);
    ck_assert(json_is_object(json_object_get(answer, "status")));
    json_decref(answer);
    tls_free(tls);
    tls_context_free(context);
    close(stranger.fd);
    client_close(&admin);
}
END_TEST

START_TEST(test_commands)
{
    struct client client;
    json_t *answer;

    node_start(&nodes[0]);
    client_open(&client, &nodes[0]);
    ask(&client, "{\"command\":\"wait-connect\",\"timeout\":0.05}\n", "timeout", "still not");
    node_start(&nodes[1]);
    ask(&client, "{\"command\":\"wait-connect\"}\n", NULL, NULL);
    ask(&client, "{\"command\":\"primary\"}\n", "not-uptodate", "");
    ask(&client, "{\"command\":\"new-current-uuid\",\"clear-bitmap\":true}\n", NULL, NULL);
    ask(&client, "{\"command\":\"wait-sync\",\"timeout\":9}\n", NULL, NULL);
    ask(&client, "{\"command\":\"primary\"}\n", NULL, NULL);
    nodes[0].users = 1;
    ask(&client, "{\"command\":\"secondary\"}\n", "busy", "domain 7 (vm1)");
    ask(&client, "{\"command\":\"down\"}\n", "busy", "domain 7 (vm1)");
    nodes[0].users = 0;
    ask(&client, "{\"command\":\"secondary\"}\n", NULL, NULL);
    say(&client, "{\"command\":\"show-gi\"}\n");
    answer = hear(&client);
    ck_assert_ptr_nonnull(
        strstr(json_string_value(json_object_get(answer, "gi")), "current data generation UUID"));
    json_decref(answer);
    ask(&client, "{\"command\":\"disconnect\"}\n", NULL, NULL);
    ask(&client, "{\"command\":\"wait-connect\"}\n", "wrong-state", "StandAlone");
    ask(&client, "{\"command\":\"connect\"}\n", NULL, NULL);
    ask(&client, "{\"command\":\"wait-connect\"}\n", NULL, NULL);
    client_close(&client);
}
END_TEST

/* A command of the client's own, and one that nobody knows. */
START_TEST(test_other_commands)
{
    struct client client;
    json_t *answer;

    node_start(&nodes[0]);
    client_open(&client, &nodes[0]);
    say(&client, "{\"command\":\"vbd-add\",\"path\":\"backend/vbd/1/51712\"}\n");
    answer = hear(&client);
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "vbd")), 51712);
    json_decref(answer);
    ask(&client, "{\"command\":\"make-coffee\"}\n", "unsupported", "make-coffee");
    client_close(&client);
}
END_TEST

static bool is_demoting(void *argument)
{
    return status_of(argument).demoting;
}

/* `down` is answered, then the client of the library is told to end, and may close from there. */
START_TEST(test_down)
{
    struct client client;

    start_pair();
    client_open(&client, &nodes[0]);
    say(&client, "{\"command\":\"down\"}\n");
    io_help_run(&help, is_demoting, &nodes[0]);
    expect(&client, NULL, NULL);
    io_help_run(&help, is_over, &client);
    ck_assert_uint_eq(nodes[0].shutdowns, 1);
    ck_assert_ptr_null(nodes[0].replica);
    client_close(&client);
}
END_TEST

/* Lines sent ahead are answered one by one, in order, even when the sender says no more. */
START_TEST(test_pipelined)
{
    struct client client;

    start_pair();
    client_open(&client, &nodes[0]);
    say(&client, "{\"command\":\"secondary\"}\n{\"command\":\"primary\"}\n"
                 "{\"command\":\"nonsense\"}\n{\"command\":\"status\"}\n");
    shutdown(client.fd, SHUT_WR);
    expect(&client, NULL, NULL);
    expect(&client, NULL, NULL);
    expect(&client, "unsupported", "nonsense");
    expect(&client, NULL, NULL);
    io_help_run(&help, is_over, &client);
    client_close(&client);
}
END_TEST

START_TEST(test_watch)
{
    struct client watcher;
    json_t *answer;

    start_pair();
    client_open(&watcher, &nodes[0]);
    say(&watcher, "{\"command\":\"watch\"}\n");
    answer = hear(&watcher);
    is_text(json_object_get(answer, "status"), "role", "Primary");
    json_decref(answer);
    ck_assert_int_eq(demote(&nodes[0]), 0);
    answer = hear(&watcher);
    is_text(json_object_get(answer, "status"), "role", "Secondary");
    json_decref(answer);
    client_close(&watcher);
}
END_TEST

/* The second of two attaches must not take the disk away that the first one is about to read. */
START_TEST(test_attach_twice)
{
    struct client clients[2];

    start_pair();
    for (int i = 0; i < 2; i++)
        client_open(&clients[i], &nodes[1]);
    ask(&clients[0], "{\"command\":\"detach\"}\n", NULL, NULL);
    ck_assert_int_eq(truncate(nodes[1].disk, 0), 0);
    ck_assert_int_eq(truncate(nodes[1].disk, DISK_BYTES), 0);
    for (int i = 0; i < 2; i++)
        say(&clients[i], "{\"command\":\"attach\"}\n");
    expect(&clients[0], "no-metadata", "create-md");
    expect(&clients[1], "busy", "another attach");
    ask(&clients[1], "{\"command\":\"attach\"}\n", "no-metadata", "create-md");
    for (int i = 0; i < 2; i++)
        client_close(&clients[i]);
}
END_TEST

/* A disk that somebody else holds is refused at once: the peer would take us for dead. */
START_TEST(test_attach_busy)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct client client;
    uint64_t before;
    int fd = open(nodes[1].disk, O_RDWR);

    start_pair();
    client_open(&client, &nodes[1]);
    ask(&client, "{\"command\":\"detach\"}\n", NULL, NULL);
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    before = replica_loop_now(help.loop);
    ask(&client, "{\"command\":\"attach\"}\n", "busy", "in use");
    ck_assert_uint_lt(replica_loop_now(help.loop) - before, 500000000);
    client_close(&client);
    close(fd);
}
END_TEST

/* Clients that leave while they wait or watch, in any order, leave nothing behind. */
START_TEST(test_leaving)
{
    struct client clients[8];
    struct client last;

    node_start(&nodes[0]);
    for (int i = 0; i < 8; i++) {
        client_open(&clients[i], &nodes[0]);
        say(&clients[i], i % 2 ? "{\"command\":\"watch\"}\n" : "{\"command\":\"wait-connect\"}\n");
    }
    for (int i = 1; i < 8; i += 2)
        json_decref(hear(&clients[i]));
    for (int i = 0; i < 8; i++)
        client_close(&clients[(i * 5) % 8]);
    node_start(&nodes[1]);
    client_open(&last, &nodes[0]);
    ask(&last, "{\"command\":\"wait-connect\"}\n", NULL, NULL);
    client_close(&last);
}
END_TEST

START_TEST(test_bad_lines)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"hello\n", "not a JSON object"},
        {"[1]\n", "not a JSON object"},
        {"{}\n", "no \"command\""},
        {"{\"command\":7}\n", "no \"command\""},
        {"{\"command\":\"status\",\"command\":\"down\"}\n", "not a JSON object"},
        {"\n", "not a JSON object"},
    };
    struct client client;

    node_start(&nodes[0]);
    client_open(&client, &nodes[0]);
    ask(&client, cases[_i].line, "invalid", cases[_i].part);
    io_help_run(&help, is_over, &client);
    client_close(&client);
}
END_TEST

START_TEST(test_long_line)
{
    char *line = malloc(CONTROL_LINE_MAX + 1);
    struct client client;

    node_start(&nodes[0]);
    client_open(&client, &nodes[0]);
    memset(line, ' ', CONTROL_LINE_MAX);
    line[CONTROL_LINE_MAX] = '\0';
    ask(&client, line, "invalid", "too long");
    io_help_run(&help, is_over, &client);
    client_close(&client);
    free(line);
}
END_TEST

/* Clients that keep their places and ask for nothing give way, the oldest first. */
START_TEST(test_too_many_clients)
{
    struct client clients[CONTROL_CLIENTS_MAX], extra;

    node_start(&nodes[0]);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        client_open(&clients[i], &nodes[0]);
        ask(&clients[i], "{\"command\":\"status\"}\n", NULL, NULL);
    }
    ask(&clients[0], "{\"command\":\"watch\"}\n", NULL, NULL);
    client_open(&extra, &nodes[0]);
    ask(&extra, "{\"command\":\"status\"}\n", NULL, NULL);
    expect(&clients[1], "busy", "give way");
    io_help_run(&help, is_over, &clients[1]);
    ask(&clients[2], "{\"command\":\"status\"}\n", NULL, NULL);
    ck_assert(!clients[0].over);
    client_close(&extra);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        client_close(&clients[i]);
}
END_TEST

/* Places full of watchers, and of those that wait for what never comes. */
START_TEST(test_places_kept)
{
    static const char *const keep[] = {"{\"command\":\"watch\"}\n",
                                       "{\"command\":\"wait-connect\"}\n"};
    struct client clients[CONTROL_CLIENTS_MAX], admin;

    node_start(&nodes[0]);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        client_open(&clients[i], &nodes[0]);
        say(&clients[i], keep[_i]);
    }
    client_open(&admin, &nodes[0]);
    ask(&admin, "{\"command\":\"status\"}\n", NULL, NULL);
    io_help_run(&help, is_over, &clients[0]);
    client_close(&admin);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        client_close(&clients[i]);
}
END_TEST

/* Those who gave up while their command is still being carried out keep no place (P11). */
START_TEST(test_given_up)
{
    struct client clients[CONTROL_CLIENTS_MAX], admin;

    node_start(&nodes[0]);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        client_open(&clients[i], &nodes[0]);
        ask(&clients[i], "{\"command\":\"status\"}\n", NULL, NULL);
        say(&clients[i], "{\"command\":\"vbd-add\",\"later\":true}\n");
    }
    io_help_run(&help, all_held, &nodes[0]);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        client_close(&clients[i]);
    client_open(&admin, &nodes[0]);
    ask(&admin, "{\"command\":\"status\"}\n", NULL, NULL);
    for (unsigned i = 0; i < nodes[0].held_count; i++)
        replica_control_reply(nodes[0].held[i], 0, NULL, NULL);
    ask(&admin, "{\"command\":\"status\"}\n", NULL, NULL);
    client_close(&admin);
}
END_TEST

/* All at once, before the loop has a turn: none is refused, and the last of them is heard (P11). */
START_TEST(test_burst_of_clients)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct client admin;
    int fds[100];

    node_start(&nodes[0]);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/vm1.ctl", nodes[0].run_dir);
    for (int i = 0; i < 100; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        ck_assert_msg(connect(fds[i], (struct sockaddr *)&address, sizeof address) == 0,
                      "client %d was refused", i);
    }
    client_open(&admin, &nodes[0]);
    ask(&admin, "{\"command\":\"status\"}\n", NULL, NULL);
    client_close(&admin);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
}
END_TEST

/* Only root's, and what a killed process left behind is replaced. */
START_TEST(test_socket_file)
{
    char path[192];
    struct stat status;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(path, sizeof path, "%s/vm1.ctl", nodes[0].run_dir);
    ck_assert_int_eq(mkdir(nodes[0].run_dir, 0755), 0);
    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* the file stays, nobody listens */
    node_start(&nodes[0]);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    replica_close(nodes[0].replica);
    nodes[0].replica = NULL;
    ck_assert_int_ne(stat(path, &status), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, pair_setup, pair_teardown);
    tcase_add_test(all, test_status);
    tcase_add_test(all, test_strange_name);
    tcase_add_test(all, test_commands);
    tcase_add_test(all, test_other_commands);
    tcase_add_test(all, test_down);
    tcase_add_test(all, test_pipelined);
    tcase_add_test(all, test_watch);
    tcase_add_test(all, test_attach_twice);
    tcase_add_test(all, test_attach_busy);
    tcase_add_test(all, test_leaving);
    tcase_add_loop_test(all, test_bad_lines, 0, 6);
    tcase_add_test(all, test_long_line);
    tcase_add_test(all, test_too_many_clients);
    tcase_add_loop_test(all, test_places_kept, 0, 2);
    tcase_add_test(all, test_given_up);
    tcase_add_test(all, test_burst_of_clients);
    tcase_add_test(all, test_socket_file);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
