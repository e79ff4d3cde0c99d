/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sock.c - see sock.h. */
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libreplica/core/err.h"

enum { BACKLOG = 8 };

int sock_address(const char *host, uint16_t port, union sock_address *address,
                 struct replica_error *error)
{
    union sock_address made = {0};

    if (inet_pton(AF_INET, host, &made.v4.sin_addr) == 1) {
        made.v4.sin_family = AF_INET;
        made.v4.sin_port = htons(port);
    } else if (inet_pton(AF_INET6, host, &made.v6.sin6_addr) == 1) {
        made.v6.sin6_family = AF_INET6;
        made.v6.sin6_port = htons(port);
    } else {
        return err_set(error, REPLICA_E_INVALID, "%s is not a numeric IPv4 or IPv6 address", host);
    }
    *address = made;
    return 0;
}

socklen_t sock_address_bytes(const union sock_address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

bool sock_same_host(const union sock_address *a, const union sock_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET6)
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

void sock_text(const union sock_address *address, char text[SOCK_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        (void)snprintf(text, SOCK_TEXT_MAX, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        (void)snprintf(text, SOCK_TEXT_MAX, "%s:%u", host, ntohs(address->v4.sin_port));
    }
}

static int bind_error(const union sock_address *address, int reason, struct replica_error *error)
{
    char text[SOCK_TEXT_MAX];

    sock_text(address, text);
    if (reason == EADDRINUSE)
        return err_set(error, REPLICA_E_BUSY,
                       "port of %s is in use by another program (see ss -ltnp)", text);
    if (reason == EADDRNOTAVAIL)
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "no interface of this host has the address of %s; correct `address` in "
                       "this host's `on` section, or bring the interface up",
                       text);
    return err_set(error, REPLICA_E_SYSTEM, "%s: %s", text, strerror(reason));
}

static int open_bound(const union sock_address *address, bool any_port, struct replica_error *error)
{
    union sock_address local = *address;
    int on = 1, fd = socket(local.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_set(error, REPLICA_E_SYSTEM, "socket: %s", strerror(errno));
    if (any_port) {
        if (local.any.sa_family == AF_INET6)
            local.v6.sin6_port = 0;
        else
            local.v4.sin_port = 0;
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    } else {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (local.any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &local.any, sock_address_bytes(&local)) != 0) {
        int reason = errno;
        close(fd);
        return bind_error(address, reason, error);
    }
    return fd;
}

int sock_listen(const union sock_address *address, struct replica_error *error)
{
    int fd = open_bound(address, false, error);

    if (fd >= 0 && listen(fd, BACKLOG) != 0) {
        int reason = errno;
        close(fd);
        return bind_error(address, reason, error);
    }
    return fd;
}

int sock_dialer(const union sock_address *local, struct replica_error *error)
{
    return open_bound(local, true, error);
}

void sock_no_delay(int fd)
{
    int on = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
