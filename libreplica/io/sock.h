/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sock.h - TCP addresses and sockets for the link. Nothing here waits: connecting, accepting and
 * moving bytes is link.c's, through the loop.
 */
#ifndef IO_SOCK_H
#define IO_SOCK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libreplica/words.h"

union sock_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

enum { SOCK_TEXT_MAX = 64 };

/* `host` is numeric. Errors: REPLICA_E_INVALID. */
int sock_address(const char *host, uint16_t port, union sock_address *address,
                 struct replica_error *error);
socklen_t sock_address_bytes(const union sock_address *address);
bool sock_same_host(const union sock_address *a, const union sock_address *b);
/* "10.1.1.31:7789" or "[fd00::31]:7789". */
void sock_text(const union sock_address *address, char text[SOCK_TEXT_MAX]);

/* A listening descriptor. Errors: REPLICA_E_BUSY (port in use), REPLICA_E_NOT_FOUND (no interface
 * has the address), REPLICA_E_SYSTEM. */
int sock_listen(const union sock_address *address, struct replica_error *error);

/* A descriptor that will connect from `local`'s host. Errors: as sock_listen. */
int sock_dialer(const union sock_address *local, struct replica_error *error);

/* Small messages leave at once. */
void sock_no_delay(int fd);

#endif
