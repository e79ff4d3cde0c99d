/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bitmap.h - the out-of-sync bitmap: one bit per REPLICA_BLOCK_BYTES of data, a dirty mark per
 * on-disk block of 4 KiB, and the count of set bits. Pure; all memory is taken in bitmap_init.
 */
#ifndef CORE_BITMAP_H
#define CORE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "alloc.h"
#include "range.h"

struct bitmap {
    uint64_t *words;  /* owned; allocated zeroed, so that clean parts need no resident memory */
    uint64_t *dirty;  /* owned; one bit per on-disk block whose copy on disk is older */
    uint32_t *counts; /* owned; set bits in each on-disk block */
    uint64_t bits;    /* number of bits in use */
    uint64_t blocks;  /* number of on-disk blocks */
    uint64_t room;    /* number of them that there is memory for */
    uint64_t set;     /* number of set bits */
    uint64_t dirty_count;
    struct core_allocator allocator;
};

/* `data_bytes` is a multiple of REPLICA_BLOCK_BYTES. `allocator` may be NULL; it is copied.
 * Errors: REPLICA_E_MEMORY. */
int bitmap_init(struct bitmap *bitmap, uint64_t data_bytes, const struct core_allocator *allocator);
void bitmap_close(struct bitmap *bitmap);

/* Takes memory for so many bytes of data; what the bitmap holds stays. Less than there is changes
 * nothing. Errors: REPLICA_E_MEMORY. */
int bitmap_reserve(struct bitmap *bitmap, uint64_t data_bytes);
/* From now on it stands for so many bytes of data, for which there is memory; no bit is set past
 * the smaller of both sizes. Allocates nothing. */
void bitmap_resize(struct bitmap *bitmap, uint64_t data_bytes);

/* Sets every block the range touches; returns the number of bits that were clear. */
uint64_t bitmap_set(struct bitmap *bitmap, struct range range);
/* Clears only blocks that lie wholly inside the range; returns how many were set. */
uint64_t bitmap_clear(struct bitmap *bitmap, struct range range);
void bitmap_set_all(struct bitmap *bitmap);
void bitmap_clear_all(struct bitmap *bitmap);
bool bitmap_any(const struct bitmap *bitmap, struct range range);

/* The next run of set bits in blocks that start at or after byte `from`, at most `most` bytes long
 * and never across a multiple of `most` (itself a multiple of REPLICA_BLOCK_BYTES). False when
 * there is none. */
bool bitmap_next(const struct bitmap *bitmap, uint64_t from, uint32_t most, struct range *run);

/* On-disk blocks: `index` < bitmap->blocks. Encode writes METADATA_BLOCK_BYTES little-endian bytes
 * and clears the dirty mark; if the write then fails, the owner calls bitmap_mark_dirty again.
 * Copy gives the same bytes and leaves the mark alone: it is the one for the link. Decode replaces
 * with what is on disk, and so clears the mark; merge ORs, marks dirty what changed and returns
 * how many bits were clear. Bits past `bits` are ignored. */
bool bitmap_next_dirty(const struct bitmap *bitmap, uint64_t from, uint64_t *index);
void bitmap_mark_dirty(struct bitmap *bitmap, uint64_t index);
void bitmap_encode(struct bitmap *bitmap, uint64_t index, uint8_t *block);
void bitmap_copy(const struct bitmap *bitmap, uint64_t index, uint8_t *block);
void bitmap_decode(struct bitmap *bitmap, uint64_t index, const uint8_t *block);
uint64_t bitmap_merge(struct bitmap *bitmap, uint64_t index, const uint8_t *block);
bool bitmap_block_empty(const struct bitmap *bitmap, uint64_t index);

#endif
