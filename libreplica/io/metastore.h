/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metastore.h - where the core's metadata is kept: at the end of the data device, or on a device
 * or file of its own. Every write is durable before it is reported.
 */
#ifndef IO_METASTORE_H
#define IO_METASTORE_H

#include "libreplica/core/metadata.h"
#include "disk.h"

struct metastore; /* heap object */

/* Embedded in its owner; untouched by others until `done`. */
struct metastore_io {
    bool write;
    uint64_t offset; /* bytes from the start of the metadata device, multiple of 4 KiB */
    uint32_t length; /* multiple of METADATA_BLOCK_BYTES */
    uint8_t *data;   /* need not be aligned */
    void (*done)(struct metastore_io *io, int code); /* from the loop */

    /* metastore.c's */
    uint32_t started, finished;
    int code;
    struct metastore_io *next;
};

/* `path`: "internal" shares `data` (which stays the caller's and must live longer), anything else
 * is opened. Errors: as disk_open. Ownership: *store is freed with metastore_close, when nothing
 * is under way. */
int metastore_open(struct metastore **store, struct replica_loop *loop, const struct log *log,
                   const char *path, struct disk *data, struct replica_error *error);
void metastore_close(struct metastore *store);

/* As disk_measure, of the device that the metadata are on. */
int metastore_measure(struct metastore *store, struct replica_error *error);
uint64_t metastore_bytes(const struct metastore *store);
bool metastore_internal(const struct metastore *store);
unsigned metastore_in_flight(const struct metastore *store);

void metastore_submit(struct metastore *store, struct metastore_io *io);

#endif
