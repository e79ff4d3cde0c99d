/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.h - one backing device or file, opened exclusively and without the page cache, read and
 * written through the loop. Offsets and lengths are multiples of REPLICA_SECTOR_BYTES whatever
 * the device wants; see disk.c for how.
 *
 * The caller never has two operations under way whose ranges overlap and of which one writes.
 */
#ifndef IO_DISK_H
#define IO_DISK_H

#include "log.h"
#include "loop.h"

struct disk; /* heap object */

/* Embedded in its owner, which fills in the first part. Untouched by others until `done`. */
struct disk_io {
    struct loop_op ring; /* disk.c's; first, so that it leads back to the whole */
    enum replica_op op;
    bool durable;    /* a write: on stable storage before `done` */
    uint64_t offset; /* flush: 0 */
    uint32_t length; /* DISCARD, WRITE_ZEROES: up to 1 GiB; flush: 0 */
    uint8_t *data;   /* READ, WRITE: page-aligned */
    /* code: 0, REPLICA_E_IO or REPLICA_E_NO_SPACE. Called from the loop, never from disk_submit. */
    void (*done)(struct disk_io *io, int code);

    /* disk.c's */
    struct disk *disk;
    struct disk_io *next;
    uint8_t *at; /* the transfer under way: memory, place, rest */
    uint64_t place;
    uint32_t rest;
    uint32_t finished; /* bytes of a DISCARD or WRITE_ZEROES that are over */
    uint8_t stage;
    bool writing, patient;
};

/* Opens `path` for this process alone. `log` is borrowed.
 * Errors: REPLICA_E_NOT_FOUND, REPLICA_E_BUSY (mounted, or held by another process),
 * REPLICA_E_PERMISSION, REPLICA_E_INVALID (neither block device nor file, or empty),
 * REPLICA_E_SYSTEM, REPLICA_E_MEMORY. Ownership: *disk is freed with disk_close, when nothing is
 * under way. */
int disk_open(struct disk **disk, struct replica_loop *loop, const struct log *log,
              const char *path, struct replica_error *error);
void disk_close(struct disk *disk);

/* Asks the device or file for its size again; disk_bytes tells it from then on.
 * Errors: REPLICA_E_SYSTEM. */
int disk_measure(struct disk *disk, struct replica_error *error);
uint64_t disk_bytes(const struct disk *disk);
uint32_t disk_alignment(const struct disk *disk); /* what the device wants, bytes */
bool disk_is_direct(const struct disk *disk);
/* A discard frees room; else it is written as zeroes. A file counts as such until it refuses. */
bool disk_frees(const struct disk *disk);
int disk_descriptor(const struct disk *disk); /* for create-md, which needs no loop */
unsigned disk_in_flight(const struct disk *disk);

/* A discard leaves zeroes, so that both replicas read the same afterwards. */
void disk_submit(struct disk *disk, struct disk_io *io);

/* For tests: pretend that the device wants `bytes`, or that it cannot zero a range by itself. */
void disk_pretend(struct disk *disk, uint32_t bytes, bool no_fallocate);

#endif
