/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_users.c - who is at the other end of a client's socket, and what follows from it when the
 * disk is handed over.
 *
 * The kernel says which process has connected. Is that process the device model of a guest, then
 * the client stands and falls with the guest: it is held while the guest stands still, also while
 * the node is Secondary, so that a migration that fails costs it a pause and no error. Any other
 * client is a program of dom0, which nobody can ask to stand still.
 */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "nbd_private.h"

int32_t nbd_process_of(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return 0;
    return (int32_t)peer.pid;
}

static bool uses(const struct nbd_client *client)
{
    return client->state == NBD_CLIENT_SERVING || client->in_library > 0;
}

/* Asked afresh each time: a device model outlives its guest for a moment. */
static uint32_t guest_of(const struct nbd *nbd, const struct nbd_client *client)
{
    return nbd->guest_of ? nbd->guest_of(nbd->guest_argument, client->process)
                         : (uint32_t)NBD_NO_GUEST;
}

void nbd_set_guests(struct nbd *nbd, nbd_guest_of *guest, void *argument)
{
    nbd->guest_of = guest;
    nbd->guest_argument = argument;
}

/* "qemu-img, process 4711" */
static void name_client(const struct nbd_client *client, char *text, size_t bytes)
{
    char path[64], name[32] = "";
    FILE *file;

    (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)client->process);
    file = fopen(path, "re");
    if (file) {
        if (!fgets(name, sizeof name, file))
            name[0] = '\0';
        (void)fclose(file);
    }
    name[strcspn(name, "\n")] = '\0';
    /* A process may call itself what it likes. */
    for (char *at = name; *at; at++)
        if ((unsigned char)*at < ' ' || (unsigned char)*at > '~')
            *at = '?';
    (void)snprintf(text, bytes, "%s, process %d", name[0] ? name : "a program",
                   (int)client->process);
}

static unsigned count(const struct nbd *nbd, bool strangers, char *who, size_t who_bytes)
{
    unsigned found = 0;

    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++) {
        const struct nbd_client *client = nbd->clients[i];

        if (!client || client->held || !uses(client) ||
            (strangers && guest_of(nbd, client) != NBD_NO_GUEST))
            continue;
        if (found++ == 0 && who_bytes)
            name_client(client, who, who_bytes);
    }
    return found;
}

unsigned nbd_writers(const struct nbd *nbd, char *who, size_t who_bytes)
{
    return count(nbd, false, who, who_bytes);
}

unsigned nbd_strangers(const struct nbd *nbd, char *who, size_t who_bytes)
{
    return count(nbd, true, who, who_bytes);
}

bool nbd_hold(struct nbd *nbd, uint32_t domain)
{
    bool idle = true;

    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++) {
        struct nbd_client *client = nbd->clients[i];

        if (!client || !uses(client) || guest_of(nbd, client) != domain)
            continue;
        if (client->state == NBD_CLIENT_SERVING) {
            client->guest = domain;
            client->held = true;
        }
        idle &= client->in_library == 0;
    }
    return idle;
}

void nbd_go_on(struct nbd *nbd, uint32_t domain)
{
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++) {
        struct nbd_client *client = nbd->clients[i];

        if (!client || !client->held || client->guest != domain)
            continue;
        client->held = false;
        nbd_client_resume(client);
    }
}

void nbd_drop(struct nbd *nbd, uint32_t domain)
{
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++) {
        struct nbd_client *client = nbd->clients[i];

        if (client && client->held && client->guest == domain)
            nbd_client_break(client);
    }
}

bool nbd_wrote(const struct nbd *nbd, uint32_t domain)
{
    for (unsigned i = 0; i < NBD_CLIENTS_MAX; i++)
        if (nbd->clients[i] && nbd->clients[i]->wrote && guest_of(nbd, nbd->clients[i]) == domain)
            return true;
    return false;
}

void nbd_pause(struct nbd *nbd, bool paused)
{
    nbd->paused = paused;
}
