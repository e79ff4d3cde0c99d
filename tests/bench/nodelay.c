/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nodelay.c - preloaded under QEMU's NBD server: accepted TCP connections get TCP_NODELAY.
 *
 * The server of QEMU 7.2 leaves Nagle's algorithm on and stalls as soon as two requests are under
 * way; without this the comparison would be with a defect and not with a design.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

static int without_delay(int fd)
{
    int on = 1;

    if (fd >= 0) /* fails on a Unix socket, which has no such delay */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int (*next)(int, struct sockaddr *, socklen_t *, int) =
        (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");

    return without_delay(next(fd, address, length, flags));
}

int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    int (*next)(int, struct sockaddr *, socklen_t *) =
        (int (*)(int, struct sockaddr *, socklen_t *))dlsym(RTLD_NEXT, "accept");

    return without_delay(next(fd, address, length));
}
