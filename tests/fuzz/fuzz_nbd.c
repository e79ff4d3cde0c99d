/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_nbd.c - the whole NBD server against a hostile client, over a disk in memory.
 *
 * The first byte: bit 0 structured replies, bit 1 the stream is raw from its first byte (else the
 * negotiation is done properly), bit 2 the role is lost at the end, bit 3 requests are held for a
 * while, bit 4 they fail. Then either raw bytes, or records of four bytes that become requests:
 * type and flags, offset, length, and what follows of the payload. After each input the server
 * must have given everything back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tapdisk-drbd/nbd.h"
#include "tapdisk-drbd/nbd_wire.h"
#include "tests/fake/fake_replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MODE_STRUCTURED = 1 << 0,
    MODE_RAW = 1 << 1,
    MODE_DEMOTE = 1 << 2,
    MODE_HOLD = 1 << 3,
    MODE_FAIL = 1 << 4,
    DISK_BYTES = 256 << 10,
    POOL_BYTES = 320 << 10, /* the largest request fits, and no two of them */
    LARGE = 1 << 18,
    INPUT_MAX = 256
};

struct server {
    struct replica_loop *loop;
    struct replica *replica;
    struct nbd *nbd;
    struct sockaddr_un address;
};

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void server_open(struct server *server)
{
    struct fake_settings settings = {"vm1", DISK_BYTES, POOL_BYTES};
    struct replica_error error;

    server->address.sun_family = AF_UNIX;
    (void)snprintf(server->address.sun_path, sizeof server->address.sun_path, "/tmp/fuzz_nbd.%d",
                   (int)getpid());
    must(replica_loop_new(&server->loop, &error) == 0);
    server->replica = fake_replica_new(&settings);
    must(server->replica != NULL);
    fake_replica_attach(server->replica, server->loop);
    must(nbd_open(&server->nbd, server->loop, server->replica, server->address.sun_path, &error) ==
         0);
}

static void turns(struct server *server, unsigned count)
{
    while (count--)
        fake_loop_turn(server->loop, 0);
}

/* Throws away what the server says. */
static void swallow(int fd)
{
    static uint8_t bytes[65536];

    while (recv(fd, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes)
        ;
}

static bool give(struct server *server, int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
        turns(server, 1);
        swallow(fd);
        fake_replica_hold(server->replica, false);
    }
    return true;
}

static void put(uint8_t *at, uint64_t value, unsigned width)
{
    while (width--)
        *at++ = (uint8_t)(value >> (8 * width));
}

static void negotiate(struct server *server, int fd, bool structured)
{
    static const uint8_t go[] = "\0\0\0\3"
                                "IHAVEOPT\0\0\0\x7\0\0\0\x9\0\0\0\3vm1\0\0";
    static const uint8_t ask[] = "\0\0\0\3"
                                 "IHAVEOPT\0\0\0\x8\0\0\0\0"
                                 "IHAVEOPT\0\0\0\x7\0\0\0\x9\0\0\0\3vm1\0\0";

    (void)give(server, fd, structured ? ask : go, (structured ? sizeof ask : sizeof go) - 1);
}

static void request_give(struct server *server, int fd, const uint8_t record[4])
{
    static uint8_t payload[LARGE + 512];
    uint8_t bytes[NBD_REQUEST_BYTES];
    uint32_t length = (uint32_t)(record[2] & 0x3f) << 8 | (record[0] & 0x80 ? 512u : 0u);

    if (record[2] == 0xff)
        length = LARGE;
    put(bytes, 0x25609513, 4);
    put(bytes + 4, record[0] >> 4 & 7, 2);
    put(bytes + 6, record[0] & 7, 2);
    put(bytes + 8, record[1], 8);
    put(bytes + 16, (uint64_t)record[1] << 10, 8);
    put(bytes + 24, length, 4);
    if (give(server, fd, bytes, sizeof bytes) && (record[0] & 7) == NBD_CMD_WRITE)
        (void)give(server, fd, payload, record[3] & 1 ? length : length / 256 * record[3]);
}

static void stream_give(struct server *server, int fd, const uint8_t *data, size_t size)
{
    unsigned mode = data[0];

    data++;
    size--;
    if (mode & MODE_RAW) {
        (void)give(server, fd, data, size);
        return;
    }
    negotiate(server, fd, mode & MODE_STRUCTURED);
    for (; size >= 4; size -= 4, data += 4) {
        fake_replica_hold(server->replica, mode & MODE_HOLD);
        request_give(server, fd, data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server server;
    int fd;

    if (!server.loop)
        server_open(&server);
    if (size < 2 || size > INPUT_MAX)
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&server.address, sizeof server.address) == 0);
    fake_replica_fail(server.replica, 2, data[0] & MODE_FAIL ? REPLICA_E_IO : 0);
    stream_give(&server, fd, data, size);
    if (data[0] & MODE_DEMOTE) {
        fake_replica_role(server.replica, REPLICA_ROLE_SECONDARY);
        nbd_changed(server.nbd);
        turns(&server, 2);
        fake_replica_role(server.replica, REPLICA_ROLE_PRIMARY);
        nbd_changed(server.nbd);
    }
    (void)close(fd);
    fake_replica_hold(server.replica, false);
    turns(&server, 6);
    must(nbd_writers(server.nbd, NULL, 0) == 0);
    must(fake_replica_pool_used(server.replica) == 0);
    return 0;
}
