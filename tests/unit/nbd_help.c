/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nbd_help.c - see nbd_help.h. */
#include "nbd_help.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tapdisk-drbd/nbd_wire.h"

enum { TURNS_MAX = 20000 };

struct replica_loop *loop;
struct replica *replica;
struct nbd *nbd;
char directory[64], path[96];

void nbd_help_start(void)
{
    struct fake_settings settings = {"vm1", NBD_HELP_DISK_BYTES, NBD_HELP_POOL_BYTES};
    struct replica_error error;

    (void)snprintf(directory, sizeof directory, "/tmp/test_nbd.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/vm1.nbd", directory);
    ck_assert_int_eq(replica_loop_new(&loop, &error), 0);
    replica = fake_replica_new(&settings);
    ck_assert_ptr_nonnull(replica);
    fake_replica_attach(replica, loop);
    ck_assert_int_eq(nbd_open(&nbd, loop, replica, path, &error), 0);
}

void nbd_help_stop(void)
{
    nbd_stop(nbd);
    replica_close(replica);
    nbd_close(nbd);
    replica_loop_free(loop);
    ck_assert_int_eq(rmdir(directory), 0);
}

int client_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void client_send(int fd, const void *data, size_t length)
{
    const uint8_t *next = data;

    for (unsigned turn = 0; length && turn < TURNS_MAX; turn++) {
        ssize_t sent = send(fd, next, length, MSG_NOSIGNAL);

        if (sent > 0) {
            next += sent;
            length -= (size_t)sent;
        } else {
            ck_assert_int_eq(errno, EAGAIN);
        }
        fake_loop_turn(loop, 0);
    }
    ck_assert_uint_eq(length, 0);
}

size_t client_receive(int fd, void *data, size_t length)
{
    uint8_t *next = data;
    size_t left = length;

    for (unsigned turn = 0; left && turn < TURNS_MAX; turn++) {
        ssize_t got = recv(fd, next, left, 0);

        if (got == 0 || (got < 0 && errno != EAGAIN))
            break;
        if (got > 0) {
            next += got;
            left -= (size_t)got;
        } else {
            fake_loop_turn(loop, 0);
        }
    }
    return length - left;
}

bool client_at_end(int fd)
{
    uint8_t byte;

    for (unsigned turn = 0; turn < 100; turn++) {
        ssize_t got = recv(fd, &byte, 1, 0);

        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return true;
        if (got > 0)
            return false;
        fake_loop_turn(loop, 0);
    }
    return false;
}

void put(uint8_t *at, uint64_t value, unsigned width)
{
    while (width--)
        *at++ = (uint8_t)(value >> (8 * width));
}

uint64_t get(const uint8_t *at, unsigned width)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value = value << 8 | at[i];
    return value;
}

void send_option(int fd, uint32_t option, const void *data, uint32_t length)
{
    uint8_t head[16];

    put(head, UINT64_C(0x49484156454f5054), 8);
    put(head + 8, option, 4);
    put(head + 12, length, 4);
    client_send(fd, head, sizeof head);
    client_send(fd, data, length);
}

uint32_t receive_answer(int fd, uint8_t *data, size_t bytes)
{
    uint8_t head[20], rest[1024];
    size_t length;

    ck_assert_uint_eq(client_receive(fd, head, sizeof head), sizeof head);
    length = (size_t)get(head + 16, 4);
    ck_assert_uint_le(length, sizeof rest);
    ck_assert_uint_eq(client_receive(fd, rest, length), length);
    memset(data, 0, bytes);
    memcpy(data, rest, length < bytes ? length : bytes - 1);
    return (uint32_t)get(head + 12, 4);
}

int client_greeted(void)
{
    uint8_t greeting[18];
    int fd = client_connect();

    ck_assert_uint_eq(client_receive(fd, greeting, sizeof greeting), sizeof greeting);
    client_send(fd, "\0\0\0\3", 4);
    return fd;
}

int client_go(bool structured)
{
    uint8_t data[64];
    int fd = client_greeted();

    if (structured) {
        send_option(fd, 8, "", 0);
        ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 1);
    }
    send_option(fd, 7, "\0\0\0\3vm1\0\0", 9);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 3);
    ck_assert_uint_eq(get(data + 2, 8), NBD_HELP_DISK_BYTES);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 3);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 1);
    return fd;
}

void send_request(int fd, uint16_t type, uint16_t flags, uint64_t handle, uint64_t offset,
                  uint32_t length)
{
    uint8_t bytes[NBD_REQUEST_BYTES];

    put(bytes, 0x25609513, 4);
    put(bytes + 4, flags, 2);
    put(bytes + 6, type, 2);
    put(bytes + 8, handle, 8);
    put(bytes + 16, offset, 8);
    put(bytes + 24, length, 4);
    client_send(fd, bytes, sizeof bytes);
}

uint32_t receive_simple(int fd, uint64_t handle)
{
    uint8_t bytes[16];

    ck_assert_uint_eq(client_receive(fd, bytes, sizeof bytes), sizeof bytes);
    ck_assert_uint_eq(get(bytes, 4), 0x67446698);
    ck_assert_uint_eq(get(bytes + 8, 8), handle);
    return (uint32_t)get(bytes + 4, 4);
}

struct chunk receive_chunk(int fd)
{
    uint8_t bytes[20];

    ck_assert_uint_eq(client_receive(fd, bytes, sizeof bytes), sizeof bytes);
    ck_assert_uint_eq(get(bytes, 4), 0x668e33ef);
    return (struct chunk){(uint16_t)get(bytes + 4, 2), (uint16_t)get(bytes + 6, 2),
                          get(bytes + 8, 8), (uint32_t)get(bytes + 16, 4)};
}

uint32_t receive_chunks(int fd, uint64_t handle, uint64_t offset, uint8_t *data)
{
    struct chunk chunk;

    do {
        uint8_t head[8];

        chunk = receive_chunk(fd);
        ck_assert_uint_eq(chunk.handle, handle);
        if (chunk.type != 1) {
            uint8_t error[256];

            ck_assert_uint_eq(chunk.type, 0x8001);
            ck_assert_uint_eq(client_receive(fd, error, chunk.length), chunk.length);
            ck_assert_uint_gt(get(error + 4, 2), 0);
            ck_assert_uint_eq(get(error + 4, 2), chunk.length - 6);
            return (uint32_t)get(error, 4);
        }
        ck_assert_uint_eq(client_receive(fd, head, 8), 8);
        ck_assert_uint_eq(client_receive(fd, data + (get(head, 8) - offset), chunk.length - 8),
                          chunk.length - 8);
    } while (!(chunk.flags & 1));
    return 0;
}
