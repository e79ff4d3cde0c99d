/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control.c - see control.h. Clients and their lines; what the commands mean is in
 * control_commands.c.
 *
 * A client has one request at a time; its next line waits for the answer. A client that hangs up
 * while a request is under way leaves the request behind: the answer then goes nowhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control_private.h"
#include "libreplica/core/err.h"

enum {
    OUTPUT_MAX = 1 << 20,
    LOCK_ATTEMPTS = 100, /* a second in all */
    /* Fewer than there are places: whoever has just come is heard before a flood of others can
     * make it the one that was quiet the longest. */
    NEWCOMERS_A_TURN = 8
};

static const uint64_t watch_interval = 100000000; /* between two lines to watchers: ten a second */
static const uint64_t progress_interval = 1000000000;

/* ---- the socket ----------------------------------------------------------------------------- */

static int socket_address(const char *path, struct sockaddr_un *address,
                          struct replica_error *error)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path)
        return err_set(error, REPLICA_E_INVALID, "%s is too long for a socket's name", path);
    memcpy(address->sun_path, path, strlen(path));
    return 0;
}

/* A socket file that nobody answers on is what a killed process left. */
static int remove_stale(const struct sockaddr_un *address, struct replica_error *error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), result, reason;

    if (fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "socket: %s", strerror(errno));
    result = connect(fd, (const struct sockaddr *)address, sizeof *address);
    reason = result == 0 ? 0 : errno;
    close(fd);
    if (reason == ENOENT)
        return 0;
    if (reason == 0 || reason == EAGAIN)
        return err_set(error, REPLICA_E_BUSY,
                       "is up already: another process answers on %s (tapdrbdadm status shows it)",
                       address->sun_path);
    if (reason == ECONNREFUSED && unlink(address->sun_path) == 0)
        return 0;
    return err_set(error, REPLICA_E_SYSTEM, "%s: %s", address->sun_path, strerror(reason));
}

/* Of two that start at a time the second must not find a stale file, and then remove the fresh one
 * that the first has put in its place. Let go of by close. Anybody may lock what he can read, so
 * this waits for a moment only. */
static int lock_directory(const char *path)
{
    static const struct timespec pause = {.tv_nsec = 10000000};
    char directory[512];
    int fd;

    (void)snprintf(directory, sizeof directory, "%s", path);
    fd = open(dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && i < LOCK_ATTEMPTS; i++)
        (void)nanosleep(&pause, NULL);
    return fd;
}

static int bind_socket(struct control *control, const char *path, const struct sockaddr_un *address,
                       struct replica_error *error)
{
    struct stat status;
    mode_t mask;
    int result, code = remove_stale(address, error);

    if (code != 0)
        return code;
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "socket: %s", strerror(errno));
    mask = umask(0177);
    result = bind(control->fd, (const struct sockaddr *)address, sizeof *address);
    umask(mask);
    if (result != 0 || listen(control->fd, SOMAXCONN) != 0 || stat(path, &status) != 0)
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    (void)snprintf(control->path, sizeof control->path, "%s", path);
    control->device = status.st_dev;
    control->inode = status.st_ino;
    return 0;
}

static int open_socket(struct control *control, const char *path, struct replica_error *error)
{
    struct sockaddr_un address;
    int code = socket_address(path, &address, error), lock;

    if (code != 0)
        return code;
    lock = lock_directory(path);
    code = bind_socket(control, path, &address, error);
    if (lock >= 0)
        close(lock);
    return code;
}

/* Only our own file: it may be another process's by now. */
static void remove_socket(const struct control *control)
{
    struct stat status;

    if (control->path[0] && stat(control->path, &status) == 0 && status.st_dev == control->device &&
        status.st_ino == control->inode)
        unlink(control->path);
}

/* ---- clients -------------------------------------------------------------------------------- */

/* The client goes; what it asked for is cancelled or loses its way back. Its memory stays until
 * sweep, because this may be called from inside anything that the client does. */
static void client_leave(struct control_client *client)
{
    struct replica_control_request *request = client->request;

    if (client->gone)
        return;
    client->gone = true;
    client->request = NULL;
    if (request) {
        request->client = NULL;
        control_request_orphaned(request);
    }
    client->control->client_count--;
    replica_loop_unwatch(client->readable);
    replica_loop_unwatch(client->writable);
    close(client->fd);
    replica_timer_set(client->control->again, 0);
}

static void sweep(struct control *control)
{
    struct control_client **link = &control->clients;

    while (*link) {
        struct control_client *client = *link;
        if (client->gone) {
            *link = client->next;
            free(client->output);
            free(client);
        } else {
            link = &client->next;
        }
    }
}

static void client_writable(void *argument, uint32_t events);

/* Sends what fits; false: the client cannot be served any more. */
static bool output_push(struct control_client *client)
{
    struct control *control = client->control;

    while (client->output_used > 0) {
        ssize_t sent =
            send(client->fd, client->output, client->output_used, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent < 0)
            break;
        memmove(client->output, client->output + sent, client->output_used - (size_t)sent);
        client->output_used -= (size_t)sent;
    }
    if (client->output_used > 0 && !client->writable)
        return replica_loop_watch(control->loop, client->fd, true, client_writable, client,
                                  &client->writable) == 0;
    if (client->output_used == 0 && client->writable) {
        replica_loop_unwatch(client->writable);
        client->writable = NULL;
    }
    return true;
}

static void client_writable(void *argument, uint32_t events)
{
    struct control_client *client = argument;

    (void)events;
    if (!output_push(client) || (client->closing && client->output_used == 0))
        client_leave(client);
}

/* One line to the client. False: it cannot be served any more. */
static bool client_send(struct control_client *client, const json_t *line)
{
    size_t length = json_dumpb(line, NULL, 0, JSON_COMPACT), used = client->output_used;
    char *output;

    if (length == 0 || used + length + 1 > OUTPUT_MAX)
        return false;
    output = realloc(client->output, used + length + 1);
    if (!output)
        return false;
    client->output = output;
    json_dumpb(line, output + used, length, JSON_COMPACT);
    output[used + length] = '\n';
    client->output_used = used + length + 1;
    return output_push(client);
}

/* Tells what is wrong, then closes. */
static void client_reject(struct control_client *client, const char *text)
{
    json_t *line = control_error_json(REPLICA_E_INVALID, text);

    client->closing = true;
    if (!line || !client_send(client, line) || client->output_used == 0)
        client_leave(client);
    json_decref(line);
}

/* The answer to the client's request, and its next line. */
void control_answer(struct replica_control_request *request, json_t *line)
{
    struct control_client *client = request->client;
    struct control *control = request->control;

    control_request_free(request);
    if (client) {
        client->request = NULL;
        if (!line || !client_send(client, line))
            client_leave(client);
        else if (client->input_used > 0 || client->ended)
            replica_timer_set(control->again, 0); /* not from here: the answer may be immediate */
    }
    json_decref(line);
}

static void client_line(struct control_client *client, char *line)
{
    json_error_t where;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &where);
    char text[256];

    if (!json_is_object(object)) {
        (void)snprintf(text, sizeof text, "not a JSON object: %s",
                       object ? "another kind of value" : where.text);
        client_reject(client, text);
    } else if (!json_is_string(json_object_get(object, "command"))) {
        client_reject(client, "the object has no \"command\"");
    } else {
        control_command(client, object, line);
    }
    json_decref(object);
}

/* A whole line, when no request is under way. */
static void client_take_lines(struct control_client *client)
{
    struct control *control = client->control;
    char line[CONTROL_LINE_MAX + 1], *end;

    if (client->request || client->closing || client->gone)
        return;
    end = memchr(client->input, '\n', client->input_used);
    if (end) {
        size_t length = (size_t)(end - client->input);
        memcpy(line, client->input, length);
        line[length] = '\0';
        client->input_used -= length + 1;
        memmove(client->input, end + 1, client->input_used);
        if (client->input_used > 0)
            replica_timer_set(control->again, 0);
        if (strlen(line) != length)
            client_reject(client, "a NUL byte in a line");
        else
            client_line(client, line);
    } else if (client->ended) {
        client->closing = true;
        if (client->output_used == 0)
            client_leave(client);
    } else if (client->input_used == sizeof client->input) {
        client_reject(client, "the line is too long");
    }
}

/* Lines that came while a request was under way, and ends of input. */
static void take_again(void *argument)
{
    struct control *control = argument;

    for (struct control_client *client = control->clients; client; client = client->next)
        client_take_lines(client);
    sweep(control);
}

/* At the end of its input: is there nobody to take the answer to the last line? One who only says
 * no more, but listens, is not hung up. */
static bool has_given_up(const struct control_client *client, uint32_t events)
{
    if (control_request_waits(client->request))
        return true;
    return client->request && (events & POLLHUP) && client->input_used == 0;
}

static void client_readable(void *argument, uint32_t events)
{
    struct control_client *client = argument;
    size_t room = sizeof client->input - client->input_used;
    ssize_t got;

    if (room == 0) { /* it goes on sending while its request is under way */
        client_leave(client);
        return;
    }
    got = recv(client->fd, client->input + client->input_used, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0 || (got == 0 && (client->watching || has_given_up(client, events)))) {
        client_leave(client);
        return;
    }
    if (got == 0) {
        client->ended = true;
        replica_loop_unwatch(client->readable);
        client->readable = NULL;
    }
    client->input_used += (size_t)got;
    client_take_lines(client);
}

/* How readily a client gives way to a newcomer: one that says nothing, a watcher, a waiter; never
 * (0) one whose command is being carried out. */
static unsigned readiness(const struct control_client *client)
{
    if (client->gone)
        return 0;
    if (client->request)
        return control_request_waits(client->request) ? 1 : 0;
    return client->watching ? 2 : 3;
}

/* Makes a place: clients that keep theirs and ask for nothing must not keep the admin out (P11).
 * The list has the newest first, so of equals the last one goes. */
static bool make_place(struct control *control)
{
    struct control_client *chosen = NULL;
    json_t *line;

    for (struct control_client *client = control->clients; client; client = client->next)
        if (readiness(client) > 0 && (!chosen || readiness(client) >= readiness(chosen)))
            chosen = client;
    if (!chosen)
        return false;
    line = control_error_json(REPLICA_E_BUSY, "too many control clients; this one had to give way");
    if (line)
        (void)client_send(chosen, line);
    json_decref(line);
    client_leave(chosen);
    return true;
}

static void turn_away(const struct control *control, int fd)
{
    static const char full[] = "{\"ok\":false,\"code\":\"busy\",\"error\":\"too many control "
                               "clients; try again later\"}\n";

    if (send(fd, full, sizeof full - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        replica_log(control->replica, LOG_NOTICE, "a control client was turned away");
    close(fd);
}

static void client_new(struct control *control, int fd)
{
    struct control_client *client = NULL;

    if (control->client_count < CONTROL_CLIENTS_MAX || make_place(control))
        client = malloc(sizeof *client);
    if (!client) {
        turn_away(control, fd);
        return;
    }
    memset(client, 0, offsetof(struct control_client, input));
    client->control = control;
    client->fd = fd;
    client->next = control->clients;
    control->clients = client;
    control->client_count++;
    if (replica_loop_watch(control->loop, fd, false, client_readable, client, &client->readable) !=
        0)
        client_leave(client);
}

/* A burst is taken in turns; the socket stays readable until all of it is in. */
static void newcomer(void *argument, uint32_t events)
{
    struct control *control = argument;

    (void)events;
    for (unsigned i = 0; i < NEWCOMERS_A_TURN; i++) {
        int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            return;
        client_new(control, fd);
    }
}

/* ---- watchers and waiters ------------------------------------------------------------------- */

static bool tell_watchers(struct control *control)
{
    json_t *line = NULL;
    bool any = false;

    for (struct control_client *client = control->clients; client; client = client->next) {
        if (!client->watching || client->gone)
            continue;
        any = true;
        if (client->output_used > 0) /* slow: it gets the next one */
            continue;
        if (!line)
            line = control_status_line(control->replica);
        if (!line || !client_send(client, line))
            client_leave(client);
    }
    json_decref(line);
    return any;
}

static void watch_due(void *argument)
{
    struct control *control = argument;
    struct replica_status status;
    uint64_t now = replica_loop_now(control->loop);

    control->told_at = now;
    replica_status(control->replica, &status);
    if (tell_watchers(control) && status.replication > REPLICA_REPLICATION_ESTABLISHED)
        replica_timer_set(control->tell, now + progress_interval);
}

void control_watch(struct control_client *client)
{
    client->watching = true;
    watch_due(client->control);
}

void control_changed(struct control *control)
{
    uint64_t now = replica_loop_now(control->loop);

    control_check_waiters(control);
    if (now - control->told_at >= watch_interval)
        watch_due(control);
    else
        replica_timer_set(control->tell, control->told_at + watch_interval);
}

/* ---- life ----------------------------------------------------------------------------------- */

int control_open(struct control **control, struct replica_loop *loop, struct replica *replica,
                 const char *path, struct replica_error *error)
{
    struct control *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->loop = loop;
    made->replica = replica;
    made->fd = -1;
    code = open_socket(made, path, error);
    if (code == 0 &&
        (replica_timer_new(loop, watch_due, made, &made->tell) != 0 ||
         replica_timer_new(loop, take_again, made, &made->again) != 0 ||
         replica_loop_watch(loop, made->fd, false, newcomer, made, &made->newcomers) != 0))
        code = err_set(error, REPLICA_E_MEMORY, "out of memory");
    if (code != 0) {
        control_close(made);
        return code;
    }
    *control = made;
    return 0;
}

void control_close(struct control *control)
{
    if (!control)
        return;
    for (struct control_client *client = control->clients; client; client = client->next)
        client_leave(client);
    sweep(control);
    control_abandon_requests(control);
    replica_loop_unwatch(control->newcomers);
    replica_timer_free(control->tell);
    replica_timer_free(control->again);
    remove_socket(control);
    if (control->fd >= 0)
        close(control->fd);
    free(control);
}
