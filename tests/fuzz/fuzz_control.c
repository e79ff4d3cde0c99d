/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_control.c - hostile clients of the control socket: the real lines, parser and commands
 * (control.c, control_commands.c) above a core that does nothing but answer when it is told to.
 *
 * The input is operations, a byte and its operands: clients come, send whole lines, parts of lines,
 * far too long ones, stop sending, stop reading, leave; commands end early, late or after their
 * clients. At the end an admin must still get in and have an answer, and nothing may be left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz_input.h"
#include "libreplica/io/control_private.h"
#include "libreplica/io/loop.h"
#include "tests/fake/fake_loop.h"

enum {
    CLIENTS = CONTROL_CLIENTS_MAX + 8,
    HELD_MAX = 64,
    OPERATIONS_MAX = 120,
    RAW_MAX = 64,
    PADDING = 4000, /* makes a status line long enough to fill a socket that is not read */
    ADMIN_TURNS = 200
};

static struct world {
    struct replica replica;
    struct sockaddr_un address;
    int clients[CLIENTS];
    struct {
        replica_done *done;
        void *argument;
    } commands[HELD_MAX]; /* the core's, under way */
    unsigned command_count;
    struct replica_control_request *requests[HELD_MAX]; /* the Xen side's, under way */
    unsigned request_count;
    struct core_status status;
    bool in_use, hold, ending;
} world;

/* ---- the library behind control.c ----------------------------------------------------------- */

void driver_command(struct driver *driver, enum command_kind kind, uint32_t flags,
                    replica_done *done, void *argument)
{
    (void)driver;
    (void)flags;
    fuzz_require(kind < COMMAND_KIND_COUNT);
    if (!world.hold || world.command_count == HELD_MAX) {
        done(argument, kind == COMMAND_NEW_UUID ? REPLICA_E_STATE : 0, "as the core says");
        return;
    }
    world.commands[world.command_count].done = done;
    world.commands[world.command_count++].argument = argument;
}

void driver_command_now(struct driver *driver, enum command_kind kind, replica_done *done,
                        void *argument)
{
    (void)driver;
    fuzz_require(kind == COMMAND_RESUME_IO || kind == COMMAND_PAUSE_SYNC ||
                 kind == COMMAND_RESUME_SYNC);
    done(argument, 0, "as the core says");
}

void driver_verify(struct driver *driver, uint64_t start, uint64_t stop, replica_done *done,
                   void *argument)
{
    fuzz_require(start <= METADATA_DATA_BYTES_MAX && stop <= METADATA_DATA_BYTES_MAX);
    driver_command(driver, COMMAND_VERIFY, 0, done, argument);
}

void driver_resize(struct driver *driver, uint64_t bytes, uint32_t flags, replica_done *done,
                   void *argument)
{
    fuzz_require(bytes <= METADATA_DATA_BYTES_MAX &&
                 (flags & ~(uint32_t)COMMAND_ASSUME_CLEAN) == 0);
    driver_command(driver, COMMAND_RESIZE, flags, done, argument);
}

void backing_detach(struct replica *replica, replica_done *done, void *argument)
{
    (void)replica;
    driver_command(NULL, COMMAND_DETACH, 0, done, argument);
}

void backing_attach(struct replica *replica, replica_done *done, void *argument)
{
    (void)replica;
    driver_command(NULL, COMMAND_ATTACH, 0, done, argument);
}

const struct core *driver_core(const struct driver *driver)
{
    (void)driver;
    return NULL;
}

void core_status(const struct core *core, struct core_status *status)
{
    (void)core;
    *status = world.status;
}

void loop_kick(struct replica_loop *loop)
{
    (void)loop;
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    (void)replica;
    *status = (struct replica_status){.replication = world.status.replication};
}

json_t *status_json(struct replica *replica)
{
    char padding[PADDING + 1];

    (void)replica;
    memset(padding, 'x', PADDING);
    padding[PADDING] = '\0';
    return json_pack("{s:s}", "name", padding);
}

void status_generations(const struct replica *replica, char *text, size_t room)
{
    (void)replica;
    (void)snprintf(text, room, "0:0:0:0");
}

void replica_log(const struct replica *replica, int priority, const char *format, ...)
{
    (void)replica;
    (void)priority;
    fuzz_require(format != NULL);
}

static unsigned in_use(void *argument, char *why, size_t room)
{
    (void)argument;
    (void)snprintf(why, room, "domain 7");
    return world.in_use;
}

/* As tapdisk-drbd: a command that it knows is answered later. */
static bool control(void *argument, struct replica_control_request *request, const char *json)
{
    (void)argument;
    fuzz_require(strchr(json, '\n') == NULL);
    if (world.ending || !strstr(json, "vbd-") || world.request_count == HELD_MAX)
        return false;
    world.requests[world.request_count++] = request;
    return true;
}

/* ---- operations ----------------------------------------------------------------------------- */

static void swallow(int fd)
{
    static uint8_t bytes[65536];

    while (fd >= 0 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void turns(unsigned count)
{
    while (count--)
        fake_loop_turn(world.replica.loop, 0);
}

static int client_connect(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    fuzz_require(fd >= 0);
    fuzz_require(connect(fd, (struct sockaddr *)&world.address, sizeof world.address) == 0);
    return fd;
}

static void client_leave(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void give(int fd, const void *bytes, size_t length)
{
    if (fd >= 0 && send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        fuzz_require(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

static void give_line(int fd, uint8_t choice)
{
    static const char *const lines[] = {
        "{\"command\":\"status\"}\n",
        "{\"command\":\"watch\"}\n",
        "{\"command\":\"primary\",\"force\":true}\n",
        "{\"command\":\"secondary\"}\n",
        "{\"command\":\"connect\",\"discard-my-data\":1}\n",
        "{\"command\":\"disconnect\"}\n",
        "{\"command\":\"new-current-uuid\",\"clear-bitmap\":true}\n",
        "{\"command\":\"down\"}\n",
        "{\"command\":\"wait-connect\"}\n",
        "{\"command\":\"wait-connect\",\"timeout\":0.5}\n",
        "{\"command\":\"wait-sync\",\"timeout\":1e300}\n",
        "{\"command\":\"wait-sync\",\"timeout\":-1}\n",
        "{\"command\":\"show-gi\"}\n",
        "{\"command\":\"vbd-add\",\"path\":\"backend/vbd/7/51712\"}\n",
        "{\"command\":\"status\"}\n{\"command\":\"status\"}\n{\"command\":\"vbd-remove\"}\n",
        "{\"command\":\"status\",\"command\":\"down\"}\n",
        "{\"command\":\"\\u0000\\ud800\"}\n",
        "{\"command\":\"s",
        "tatus\"}",
        "\n",
        "[[[[[[[[[[[[[[[[\n",
        "{\"command\":{}}\n",
        "{\"command\":\"resize\",\"size\":8192,\"assume-clean\":true}\n",
        "{\"command\":\"resize\",\"size\":-1}\n"};
    const char *line = lines[choice % (sizeof lines / sizeof *lines)];

    give(fd, line, strlen(line));
}

static void give_many(int fd, uint8_t what, uint8_t kilobytes)
{
    uint8_t bytes[1024];

    memset(bytes, what, sizeof bytes);
    for (unsigned i = 0; i < kilobytes % 72u; i++) {
        give(fd, bytes, sizeof bytes);
        if (i % 24 == 23)
            turns(1);
    }
}

static void give_raw(struct fuzz_input *input, int fd)
{
    uint8_t bytes[RAW_MAX];
    size_t length = fuzz_byte(input) % RAW_MAX;

    for (size_t i = 0; i < length; i++)
        bytes[i] = fuzz_byte(input);
    give(fd, bytes, length);
}

static void end_command(unsigned choice, int code)
{
    unsigned index;
    replica_done *done;
    void *argument;

    if (world.command_count == 0)
        return;
    index = choice % world.command_count;
    done = world.commands[index].done;
    argument = world.commands[index].argument;
    world.commands[index] = world.commands[--world.command_count];
    done(argument, code, "because\n\xff");
}

static void end_request(unsigned choice)
{
    static const char *const answers[] = {NULL,  "{}", "{\"ok\":false}",
                                          "[1]", "{",  "{\"a\":[1,2]}"};
    struct replica_control_request *request;
    unsigned index;

    if (world.request_count == 0)
        return;
    index = choice % world.request_count;
    request = world.requests[index];
    world.requests[index] = world.requests[--world.request_count];
    replica_control_reply(request, choice & 0x80 ? REPLICA_E_BUSY : 0, NULL, answers[choice % 6]);
}

static void state_change(uint8_t choice)
{
    world.status.connection = choice & 1   ? REPLICA_CONNECTION_CONNECTED
                              : choice & 2 ? REPLICA_CONNECTION_STANDALONE
                                           : REPLICA_CONNECTION_CONNECTING;
    world.status.replication =
        choice & 4 ? REPLICA_REPLICATION_ESTABLISHED : REPLICA_REPLICATION_OFF;
    world.in_use = choice & 8;
    world.hold = choice & 16;
    control_changed(world.replica.control);
}

static void reopen(void)
{
    control_close(world.replica.control);
    fuzz_require(control_open(&world.replica.control, world.replica.loop, &world.replica,
                              world.address.sun_path, NULL) == 0);
}

static void operation(struct fuzz_input *input)
{
    unsigned kind = fuzz_byte(input) % 13;
    uint8_t operand = fuzz_byte(input);
    int *client = &world.clients[operand % CLIENTS];

    switch (kind) {
    case 0:
        if (*client < 0)
            *client = client_connect();
        break;
    case 1:
        give_raw(input, *client);
        break;
    case 2:
    case 3:
        give_line(*client, fuzz_byte(input));
        break;
    case 4:
        give_many(*client, fuzz_byte(input), fuzz_byte(input));
        break;
    case 5:
        client_leave(client);
        break;
    case 6:
        if (*client >= 0)
            (void)shutdown(*client, operand & 0x80 ? SHUT_RD : SHUT_WR);
        break;
    case 7:
        swallow(*client);
        break;
    case 8:
        turns(1 + operand % 4);
        break;
    case 9:
        end_command(operand, operand & 0x80 ? REPLICA_E_TIMEOUT : 0);
        break;
    case 10:
        end_request(operand);
        break;
    case 11:
        state_change(operand);
        break;
    case 12:
        if (operand == 0xff)
            reopen();
        fake_loop_advance(world.replica.loop, operand * UINT64_C(20000000));
        break;
    }
}

/* ---- a life --------------------------------------------------------------------------------- */

static void begin(void)
{
    memset(&world.replica, 0, sizeof world.replica);
    world.replica.callbacks.in_use = in_use;
    world.replica.callbacks.control = control;
    (void)snprintf(world.replica.resource.name, sizeof world.replica.resource.name, "vm1");
    world.address.sun_family = AF_UNIX;
    (void)snprintf(world.address.sun_path, sizeof world.address.sun_path, "/tmp/fuzz_control.%d",
                   (int)getpid());
    world.status = (struct core_status){.connection = REPLICA_CONNECTION_CONNECTING};
    world.in_use = world.hold = world.ending = false;
    for (unsigned i = 0; i < CLIENTS; i++)
        world.clients[i] = -1;
    fuzz_require(replica_loop_new(&world.replica.loop, NULL) == 0);
    fuzz_require(control_open(&world.replica.control, world.replica.loop, &world.replica,
                              world.address.sun_path, NULL) == 0);
}

/* Whatever the others do with their places, the admin has an answer (P11). */
static void admin_is_heard(void)
{
    char answer[PADDING + 64] = "";
    int fd = client_connect();
    size_t used = 0;

    give_line(fd, 0);
    for (unsigned i = 0; i < ADMIN_TURNS && !memchr(answer, '\n', used); i++) {
        ssize_t got;

        turns(1);
        got = recv(fd, answer + used, sizeof answer - 1 - used, MSG_DONTWAIT);
        used += got > 0 ? (size_t)got : 0;
    }
    fuzz_require(strstr(answer, "\"ok\": true") || strstr(answer, "\"ok\":true"));
    (void)close(fd);
}

static void end(void)
{
    world.hold = false;
    world.ending = true;
    while (world.command_count)
        end_command(0, 0);
    while (world.request_count > 1)
        end_request(0);
    admin_is_heard();
    for (unsigned i = 0; i < CLIENTS; i++)
        client_leave(&world.clients[i]);
    control_close(world.replica.control);
    while (world.request_count) /* its socket is closed by now */
        end_request(0);
    replica_loop_free(world.replica.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};

    if (size < 2)
        return 0;
    begin();
    for (unsigned i = 0; i < OPERATIONS_MAX && fuzz_more(&input); i++)
        operation(&input);
    end();
    return 0;
}
