/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * courier.c - one TCP connection as a transport for `xl migrate`, in large pieces.
 *
 *   courier listen PORT COMMAND...   one connection becomes COMMAND's stdin and stdout
 *   courier connect ADDRESS PORT     copies stdin to the connection, and the connection to stdout
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 256 << 10, LISTEN_SECONDS = 120 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in place(const char *address, const char *port)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, address, &place.sin_addr) != 1)
        die(address);
    return place;
}

static void do_listen(const char *port, char **command)
{
    struct sockaddr_in here = place("0.0.0.0", port);
    int one = 1, end, server = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&here, sizeof here) != 0 || listen(server, 1) != 0)
        die("listen");
    printf("LISTENING\n");
    fflush(stdout);
    alarm(LISTEN_SECONDS); /* nobody calls: do not stay */
    end = accept(server, NULL, NULL);
    if (end < 0)
        die("accept");
    alarm(0);
    close(server);
    dup2(end, 0);
    dup2(end, 1);
    close(end);
    execvp(command[0], command);
    die(command[0]);
}

/* False: the end of `from`, or of the connection. */
static int copy(int from, int to)
{
    static char piece[PIECE];
    ssize_t length = read(from, piece, sizeof piece), done = 0;

    while (length > 0 && done < length) {
        ssize_t sent = write(to, piece + done, (size_t)(length - done));

        if (sent <= 0)
            return 0;
        done += sent;
    }
    return length > 0;
}

static void do_connect(const char *address, const char *port)
{
    struct sockaddr_in there = place(address, port);
    int end = socket(AF_INET, SOCK_STREAM, 0);
    struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = end, .events = POLLIN}};

    if (connect(end, (struct sockaddr *)&there, sizeof there) != 0)
        die("connect");
    for (;;) {
        if (poll(ends, 2, -1) < 0)
            die("poll");
        if (ends[0].revents && !copy(0, end)) {
            shutdown(end, SHUT_WR);
            ends[0].fd = -1;
        }
        if (ends[1].revents && !copy(end, 1))
            return;
    }
}

int main(int count, char **words)
{
    if (count >= 4 && strcmp(words[1], "listen") == 0)
        do_listen(words[2], words + 3);
    else if (count == 4 && strcmp(words[1], "connect") == 0)
        do_connect(words[2], words[3]);
    else
        fprintf(stderr, "usage: courier listen PORT COMMAND... | connect ADDRESS PORT\n");
    return count >= 4 ? 0 : 2;
}
