/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd.c - the NBD server: its socket, its clients, its deadlines. See nbd.h; what a client does
 * stands in nbd_client.c.
 *
 * A client is freed only at the end of a turn, so that nothing on the way up from a callback
 * meets one that is gone.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "libreplica/core/err.h"
#include "nbd_private.h"

#define SECOND UINT64_C(1000000000)

/* ---- what clients ask of the server -----------------------------------------------------------
 */

void nbd_export_describe(const struct nbd *nbd, struct nbd_export *export)
{
    *export = (struct nbd_export){.name = replica_resource(nbd->replica),
                                  .size = replica_size(nbd->replica),
                                  .discards = replica_discards(nbd->replica),
                                  .closing = nbd->stopped};
    if (nbd->stopped)
        export->refusal = "the resource is going down";
    else if (!nbd->serving)
        export->refusal = "this node is not Primary: tapdrbdadm primary on the host "
                          "that is to use the disk";
    else if (nbd->paused)
        export->refusal = "the Primary role is about to go to the peer; try again";
}

static void room(void *argument)
{
    struct nbd *nbd = argument;

    nbd->room_wanted = false; /* starved clients are resumed at the turn's end */
}

void nbd_want_room(struct nbd *nbd)
{
    if (!nbd->room_wanted)
        replica_on_room(nbd->replica, room, nbd);
    nbd->room_wanted = true;
}

/* ---- deadlines ----------------------------------------------------------------------------------
 */

static void timer_update(struct nbd *nbd)
{
    uint64_t next = UINT64_MAX;

    if (nbd->stopped)
        return;
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i] && nbd->clients[i]->deadline < next)
            next = nbd->clients[i]->deadline;
    replica_timer_set(nbd->timer, next);
}

void nbd_client_deadline(struct nbd_client *client, unsigned seconds)
{
    struct nbd *nbd = client->nbd;

    client->deadline = seconds ? replica_loop_now(nbd->loop) + seconds * SECOND : UINT64_MAX;
    timer_update(nbd);
}

static void deadline_expired(void *argument)
{
    struct nbd *nbd = argument;
    uint64_t now = replica_loop_now(nbd->loop);

    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++) {
        struct nbd_client *client = nbd->clients[i];

        if (!client || client->deadline > now)
            continue;
        replica_log(nbd->replica, LOG_NOTICE, "nbd: closed a client that %s",
                    client->state == NBD_CLIENT_NEGOTIATING ? "never finished its negotiation"
                                                            : "did not take its replies");
        nbd_client_break(client);
    }
    timer_update(nbd);
}

/* ---- clients ------------------------------------------------------------------------------------
 */

static struct nbd_client **free_place(struct nbd *nbd)
{
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (!nbd->clients[i])
            return &nbd->clients[i];
    return NULL;
}

static void accept_client(void *argument, uint32_t events)
{
    struct nbd *nbd = argument;
    struct nbd_client **place = free_place(nbd);
    int fd = accept4(nbd->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            replica_log(nbd->replica, LOG_WARNING, "nbd: accept: %s", strerror(errno));
        return;
    }
    if (!place) {
        replica_log(nbd->replica, LOG_WARNING, "nbd: turned a client away: %d are connected",
                    NBD_CLIENTS_MAX);
        (void)close(fd);
        return;
    }
    *place = nbd_client_new(nbd, fd);
    if (*place)
        nbd_client_deadline(*place, NBD_NEGOTIATION_SECONDS);
    else
        replica_log(nbd->replica, LOG_WARNING, "nbd: no memory for another client");
}

/* Replies of a whole turn leave together; then whoever waited may go on. */
static void client_turn(struct nbd *nbd, struct nbd_client **place)
{
    struct nbd_client *client = *place;

    if (client->starved && client->state <= NBD_CLIENT_SERVING)
        nbd_client_resume(client);
    /* What went makes room for requests that had come already, and some are refused at once. */
    while (nbd_reply_pending(client) && !client->writing)
        nbd_reply_send(client);
    if (client->state == NBD_CLIENT_DRAINING && client->in_library == 0 &&
        !nbd_reply_pending(client))
        nbd_client_break(client);
    if (nbd_client_over(client)) {
        *place = NULL;
        nbd_client_free(client);
        timer_update(nbd);
    }
}

static void turn_end(void *argument)
{
    struct nbd *nbd = argument;

    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i])
            client_turn(nbd, &nbd->clients[i]);
}

void nbd_changed(struct nbd *nbd)
{
    struct replica_status status;

    if (nbd->stopped)
        return;
    replica_status(nbd->replica, &status);
    nbd->serving = status.role == REPLICA_ROLE_PRIMARY;
    for (unsigned i = 0; i < NBD_CLIENTS_MAX && !nbd->serving; i++)
        if (nbd->clients[i] && nbd->clients[i]->state == NBD_CLIENT_SERVING &&
            !nbd->clients[i]->held)
            nbd_client_drain(nbd->clients[i]);
}

json_t *nbd_status(const struct nbd *nbd)
{
    int count = 0;

    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i] && nbd->clients[i]->state == NBD_CLIENT_SERVING)
            count++;
    return json_pack("{s:s, s:i}", "socket", nbd->path, "clients", count);
}

/* ---- beginning and end --------------------------------------------------------------------------
 */

/* A socket file that nobody listens on is the leftover of a killed process. */
static int stale_socket_remove(const struct sockaddr_un *address, struct replica_error *error)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int code = 0;

    if (probe < 0)
        return err_set(error, REPLICA_E_SYSTEM, "socket: %s", strerror(errno));
    if (connect(probe, (const struct sockaddr *)address, sizeof *address) == 0)
        code = err_set(error, REPLICA_E_BUSY, "%s: another process serves NBD here",
                       address->sun_path);
    else if (errno == ECONNREFUSED && unlink(address->sun_path) != 0)
        code = err_set(error, REPLICA_E_SYSTEM, "%s: %s", address->sun_path, strerror(errno));
    (void)close(probe);
    return code;
}

static int socket_listen(const char *path, int *listening, struct replica_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, code;

    if (strlen(path) >= sizeof address.sun_path)
        return err_set(error, REPLICA_E_INVALID, "%s: too long for a socket (%zu bytes at most)",
                       path, sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    code = stale_socket_remove(&address, error);
    if (code)
        return code;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of a socket file is the descriptor's at the time of bind. */
    if (fd < 0 || fchmod(fd, S_IRUSR | S_IWUSR) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, NBD_CLIENTS_MAX) != 0) {
        code = err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return code;
    }
    *listening = fd;
    return 0;
}

int nbd_open(struct nbd **out, struct replica_loop *loop, struct replica *replica, const char *path,
             struct replica_error *error)
{
    struct nbd *nbd = calloc(1, sizeof *nbd);
    int code;

    if (!nbd)
        return err_set(error, REPLICA_E_MEMORY, "no memory for the NBD server");
    nbd->loop = loop;
    nbd->replica = replica;
    nbd->path = strdup(path);
    if (!nbd->path) {
        code = err_set(error, REPLICA_E_MEMORY, "no memory for the NBD server");
        goto fail_memory;
    }
    code = socket_listen(path, &nbd->fd, error);
    if (code)
        goto fail_path;
    code = replica_timer_new(loop, deadline_expired, nbd, &nbd->timer);
    if (code)
        goto fail_socket;
    code = replica_loop_watch(loop, nbd->fd, false, accept_client, nbd, &nbd->accepting);
    if (code)
        goto fail_timer;
    code = replica_loop_at_turn_end(loop, turn_end, nbd);
    if (code)
        goto fail_watch;
    nbd_changed(nbd);
    *out = nbd;
    return 0;

fail_watch:
    replica_loop_unwatch(nbd->accepting);
fail_timer:
    replica_timer_free(nbd->timer);
fail_socket:
    (void)close(nbd->fd);
    (void)unlink(path);
    (void)err_set(error, code, "the NBD server: %s", replica_code_name(code));
fail_path:
    free(nbd->path);
fail_memory:
    free(nbd);
    return code;
}

void nbd_stop(struct nbd *nbd)
{
    if (nbd->stopped)
        return;
    nbd->stopped = true;
    replica_loop_unwatch(nbd->accepting);
    (void)close(nbd->fd);
    (void)unlink(nbd->path);
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i])
            nbd_client_break(nbd->clients[i]);
    replica_timer_free(nbd->timer);
    nbd->timer = NULL;
}

void nbd_close(struct nbd *nbd)
{
    nbd_stop(nbd);
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i])
            nbd_client_free(nbd->clients[i]);
    free(nbd->path);
    free(nbd);
}
