/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metastore.c - see metastore.h. The core's memory is not aligned as direct I/O wants it, so all
 * metadata goes through a few page-aligned pieces; a long read or write is cut into them and
 * several are under way at once. What finds no piece free waits in order.
 */
#include "metastore.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "libreplica/core/err.h"

enum { PIECES = 8, PIECE_BYTES = 65536 };

struct piece {
    struct disk_io disk; /* first: leads back to the piece */
    struct metastore *store;
    struct metastore_io *io; /* NULL: free */
    uint32_t at;             /* where in the io's data */
};

struct metastore {
    struct disk *disk;
    bool internal;
    uint8_t *memory;
    struct piece pieces[PIECES];
    struct metastore_io *waiting, **waiting_last; /* not wholly started */
    unsigned in_flight;
};

static void start_pieces(struct metastore *store);

int metastore_open(struct metastore **store, struct replica_loop *loop, const struct log *log,
                   const char *path, struct disk *data, struct replica_error *error)
{
    struct metastore *made = calloc(1, sizeof *made);
    int code = REPLICA_E_MEMORY;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->waiting_last = &made->waiting;
    made->internal = strcmp(path, "internal") == 0;
    made->memory = mmap(NULL, (size_t)PIECES * PIECE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made->memory == MAP_FAILED) {
        err_set(error, REPLICA_E_MEMORY, "out of memory");
        goto fail;
    }
    made->disk = data;
    if (!made->internal) {
        code = disk_open(&made->disk, loop, log, path, error);
        if (code != 0)
            goto fail_memory;
    }
    *store = made;
    return 0;
fail_memory:
    munmap(made->memory, (size_t)PIECES * PIECE_BYTES);
fail:
    free(made);
    return code;
}

void metastore_close(struct metastore *store)
{
    if (!store)
        return;
    if (!store->internal)
        disk_close(store->disk);
    munmap(store->memory, (size_t)PIECES * PIECE_BYTES);
    free(store);
}

int metastore_measure(struct metastore *store, struct replica_error *error)
{
    return disk_measure(store->disk, error);
}

uint64_t metastore_bytes(const struct metastore *store)
{
    return disk_bytes(store->disk);
}

bool metastore_internal(const struct metastore *store)
{
    return store->internal;
}

unsigned metastore_in_flight(const struct metastore *store)
{
    return store->in_flight;
}

static void piece_done(struct disk_io *disk, int code)
{
    struct piece *piece = (struct piece *)disk;
    struct metastore *store = piece->store;
    struct metastore_io *io = piece->io;

    piece->io = NULL;
    if (code != 0)
        io->code = code;
    else if (!io->write)
        memcpy(io->data + piece->at, disk->data, disk->length);
    io->finished += disk->length;
    start_pieces(store);
    if (io->finished == io->length) {
        store->in_flight--;
        io->done(io, io->code);
    }
}

static void piece_start(struct metastore *store, struct piece *piece, struct metastore_io *io)
{
    uint32_t left = io->length - io->started;

    piece->store = store;
    piece->io = io;
    piece->at = io->started;
    piece->disk = (struct disk_io){
        .op = io->write ? REPLICA_OP_WRITE : REPLICA_OP_READ,
        .durable = io->write,
        .offset = io->offset + io->started,
        .length = left < PIECE_BYTES ? left : PIECE_BYTES,
        .data = store->memory + (size_t)(piece - store->pieces) * PIECE_BYTES,
        .done = piece_done,
    };
    if (io->write)
        memcpy(piece->disk.data, io->data + io->started, piece->disk.length);
    io->started += piece->disk.length;
    disk_submit(store->disk, &piece->disk);
}

static void start_pieces(struct metastore *store)
{
    for (struct piece *piece = store->pieces; piece < store->pieces + PIECES; piece++) {
        struct metastore_io *io = store->waiting;
        if (!io)
            return;
        if (piece->io)
            continue;
        piece_start(store, piece, io);
        if (io->started == io->length) {
            store->waiting = io->next;
            if (!store->waiting)
                store->waiting_last = &store->waiting;
        }
    }
}

void metastore_submit(struct metastore *store, struct metastore_io *io)
{
    io->started = io->finished = 0;
    io->code = 0;
    io->next = NULL;
    store->in_flight++;
    *store->waiting_last = io;
    store->waiting_last = &io->next;
    start_pieces(store);
}
