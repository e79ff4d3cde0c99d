/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metadata.h - what a node keeps on disk about a resource: two superblock slots, the activity-log
 * ring, the bitmap. Pure: encodes and decodes; the core says when to write, the shell writes.
 * The byte layout stands on top of metadata.c.
 */
#ifndef CORE_METADATA_H
#define CORE_METADATA_H

#include <stdbool.h>
#include <stdint.h>

#include "libreplica/words.h"

enum metadata_limits {
    METADATA_VERSION = 1,
    METADATA_BLOCK_BYTES = 4096, /* the unit of every metadata write */
    METADATA_SLOTS = 2,
#ifdef METADATA_SMALL /* tests/sim: a log that is full, evicts and wraps within one short run */
    METADATA_AL_BLOCKS = 8,
    METADATA_AL_EXTENT_BYTES = 65536,
    METADATA_AL_EXTENTS_DEFAULT = 16,
    METADATA_AL_EXTENTS_MIN = 2,
    METADATA_AL_EXTENTS_MAX = 16,
    METADATA_BITS_PER_BLOCK = 64 /* and a bitmap of several blocks, of which the rest is 0 */
#else
    METADATA_AL_BLOCKS = 128, /* activity-log ring: 512 KiB; actlog.c says why so many */
    METADATA_AL_EXTENT_BYTES = 4194304,
    METADATA_AL_EXTENTS_DEFAULT = 6433,
    METADATA_AL_EXTENTS_MIN = 67,
    METADATA_AL_EXTENTS_MAX = 65534,
    METADATA_BITS_PER_BLOCK = METADATA_BLOCK_BYTES * 8 /* one bitmap block covers 128 MiB */
#endif
};

/* 1 PiB: keeps every byte offset far from wrapping. */
#define METADATA_DATA_BYTES_MAX ((uint64_t)1 << 50)

/* The generation identifiers, DRBD's order. The lowest bit of `current` tells whether the node was
 * Primary when it last wrote; compare with lineage_same(). */
struct generation {
    uint64_t current;
    uint64_t bitmap;     /* the generation the peer is thought to have, 0 when in sync */
    uint64_t history[2]; /* newest first */
};

#define GENERATION_JUST_CREATED ((uint64_t)4) /* as in DRBD: a disk that was never written */

/* Persistent facts; DRBD's names. */
enum metadata_flags {
    METADATA_CONSISTENT = 1 << 0, /* not in the middle of a resync */
    METADATA_WAS_UPTODATE = 1 << 1,
    METADATA_PRIMARY = 1 << 2,   /* Primary now; found at attach it means: crashed primary */
    METADATA_CONNECTED = 1 << 3, /* had the peer when this was written */
    METADATA_FULL_SYNC = 1 << 4, /* the whole bitmap counts as set */
    METADATA_PEER_OUTDATED = 1 << 5,
    METADATA_CRASHED_PRIMARY = 1 << 6, /* crashed as Primary; cleared after the next resync */
    METADATA_AL_CLEAN = 1 << 7,        /* written at a clean down: the activity log is empty */
    METADATA_FLAGS_ALL = (1 << 8) - 1  /* any other bit is refused */
};

/* Where things stand on the metadata device, in bytes from its start. */
struct metadata_layout {
    uint64_t slot[METADATA_SLOTS];
    uint64_t al_offset;
    uint64_t bitmap_offset;
    uint64_t bitmap_bytes; /* multiple of METADATA_BLOCK_BYTES */
    uint64_t data_bytes;   /* what the guest sees; multiple of REPLICA_BLOCK_BYTES */
};

struct metadata_superblock {
    uint64_t sequence; /* the newer valid slot wins */
    uint64_t device_uuid;
    struct metadata_layout layout;
    struct generation generation;
    uint64_t epoch; /* ownership epoch (P6): the highest this node has granted or taken */
    uint32_t flags; /* enum metadata_flags */
    uint32_t al_extents;
    uint64_t peer_bytes; /* size the peer last agreed to, 0 before the first connection */
    uint64_t asked_uuid; /* a generation that the peer was asked to take, and may have; or 0 */
    uint64_t stale_end;  /* metadata have left their old place, behind the data, up to here; or 0 */
};

/* Plans a layout. `device_bytes` is the size of the metadata device. With `internal` the data
 * and the metadata share the device and the superblock slots are its last two whole 4 KiB blocks
 * (found again from the size alone); otherwise the slots come first and `data_bytes_wanted` is the
 * data device's size, rounded down to whole blocks.
 * Errors: REPLICA_E_NO_SPACE when it does not fit, REPLICA_E_INVALID when data would be 0 or over
 * METADATA_DATA_BYTES_MAX. */
int metadata_plan(uint64_t device_bytes, bool internal, uint64_t data_bytes_wanted,
                  struct metadata_layout *layout, struct replica_error *error);

/* For a disk that has metadata of `layout` already, on a metadata device that has `device_bytes`
 * now. Internal metadata stand at the device's end, so they move when it has grown; never to a
 * place that overlaps the old one, because a crash in mid-copy must leave the old ones whole.
 *
 * The most data that it could hold; `data_device_bytes` counts for external metadata.
 * Errors: REPLICA_E_NO_SPACE when internal metadata have no room to move. */
int metadata_most(const struct metadata_layout *layout, uint64_t device_bytes,
                  uint64_t data_device_bytes, uint64_t *data_bytes, struct replica_error *error);
/* The layout for `data_bytes`, which metadata_most allows. Errors: as metadata_most. */
int metadata_grow(const struct metadata_layout *layout, uint64_t device_bytes, uint64_t data_bytes,
                  struct metadata_layout *grown, struct replica_error *error);
/* External metadata have slot 0 at the start, where internal ones have data. */
bool metadata_is_internal(const struct metadata_layout *layout);
/* Do slots and activity log of the two stand at different places? */
bool metadata_moves(const struct metadata_layout *from, const struct metadata_layout *to);

/* Where the two slots are, before anything was read. Errors: REPLICA_E_NO_SPACE. */
int metadata_slots(uint64_t device_bytes, bool internal, uint64_t slot[METADATA_SLOTS],
                   struct replica_error *error);

/* A fresh superblock as `create-md` writes it: just created, Inconsistent. Whoever writes it has
 * zeroed the activity-log ring and the bitmap before: old blocks there would be believed. */
void metadata_fresh(const struct metadata_layout *layout, uint64_t device_uuid, uint32_t al_extents,
                    struct metadata_superblock *superblock);

/* Encodes into exactly METADATA_BLOCK_BYTES bytes, checksum included. */
void metadata_encode(const struct metadata_superblock *superblock, uint8_t *block);

/* Decodes one slot, checking magic, version, crc32c, and every offset against `device_bytes`.
 * Errors: REPLICA_E_NO_METADATA (no magic), REPLICA_E_METADATA (damaged, other version, or
 * impossible numbers). */
int metadata_decode(const uint8_t *block, uint64_t device_bytes,
                    struct metadata_superblock *superblock, struct replica_error *error);

/* Decodes both slots and gives the newer valid one, and its index. One damaged slot is normal
 * after a crash. Errors: as metadata_decode, of the better slot. */
int metadata_choose(const uint8_t *block[METADATA_SLOTS], uint64_t device_bytes,
                    struct metadata_superblock *superblock, unsigned *slot,
                    struct replica_error *error);

#endif
