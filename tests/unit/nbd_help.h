/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_help.h - an NBD client for tests, byte by byte: it turns the server's loop while it waits,
 * and fails the test when the server stays silent.
 */
#ifndef TESTS_NBD_HELP_H
#define TESTS_NBD_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tapdisk-drbd/nbd.h"
#include "tests/fake/fake_replica.h"

enum { NBD_HELP_DISK_BYTES = 64 << 20, NBD_HELP_POOL_BYTES = 1 << 20 };

/* The server under test, on a fake replica, with a directory of its own for its socket. */
extern struct replica_loop *loop;
extern struct replica *replica;
extern struct nbd *nbd;
extern char directory[64], path[96];

void nbd_help_start(void);
void nbd_help_stop(void);

struct chunk {
    uint16_t flags, type;
    uint64_t handle;
    uint32_t length;
};

int client_connect(void);
void client_send(int fd, const void *data, size_t length);
/* Returns the bytes that came before the end of the stream. */
size_t client_receive(int fd, void *data, size_t length);
bool client_at_end(int fd);
void put(uint8_t *at, uint64_t value, unsigned width);
uint64_t get(const uint8_t *at, unsigned width);
void send_option(int fd, uint32_t option, const void *data, uint32_t length);
/* Returns the answer's type; its data (cut) in `data`. */
uint32_t receive_answer(int fd, uint8_t *data, size_t bytes);
int client_greeted(void);
/* A connection in its transmission phase. */
int client_go(bool structured);
void send_request(int fd, uint16_t type, uint16_t flags, uint64_t handle, uint64_t offset,
                  uint32_t length);
/* Returns the error of a simple reply to `handle`. */
uint32_t receive_simple(int fd, uint64_t handle);
struct chunk receive_chunk(int fd);
/* A whole read by chunks into `data`; returns the error of its last one. */
uint32_t receive_chunks(int fd, uint64_t handle, uint64_t offset, uint8_t *data);

#endif
