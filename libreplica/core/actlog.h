/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * actlog.h - the activity log: the set of extents (METADATA_AL_EXTENT_BYTES each) that may differ
 * between the nodes after a crash (P3, P4). Least recently used eviction of extents that hold no
 * unconfirmed write; transactions in a ring of METADATA_AL_BLOCKS blocks on disk. Pure; all memory
 * is taken in actlog_new. The invariants stand on top of actlog.c, the bytes on top of
 * actlog_ring.c.
 */
#ifndef CORE_ACTLOG_H
#define CORE_ACTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "libreplica/words.h"
#include "alloc.h"

struct actlog; /* heap object */

enum actlog_verdict {
    ACTLOG_HOT,     /* extent is in the log on disk: the write may start */
    ACTLOG_PENDING, /* in the transaction being gathered or written: wait for it */
    ACTLOG_FULL     /* every extent holds unconfirmed writes: flush both nodes, then try again */
};

/* `extents` is METADATA_AL_EXTENTS_MIN to METADATA_AL_EXTENTS_MAX; it may differ from what the log
 * on disk was written with. `allocator` may be NULL; it is copied.
 * Errors: REPLICA_E_MEMORY, REPLICA_E_INVALID. Ownership: *log is freed with actlog_free. */
int actlog_new(struct actlog **log, uint32_t extents, const struct core_allocator *allocator);
void actlog_free(struct actlog *log);

/* Takes one reference on `extent` for a write about to start. Each successful HOT or PENDING
 * answer is paired with one actlog_put. */
enum actlog_verdict actlog_get(struct actlog *log, uint32_t extent);

/* Is `extent` in the log on disk? Takes no reference: it is how those that were told PENDING are
 * asked about again after actlog_written (a transaction has not always room for all of them). */
bool actlog_hot(const struct actlog *log, uint32_t extent);

/* The write is over on all living legs. The extent can be evicted only after a later
 * actlog_confirm: until then it is "unconfirmed". */
void actlog_put(struct actlog *log, uint32_t extent);

/* Two-step confirmation. begin: a flush of both nodes starts now; every extent whose writes are
 * all put before it is covered. end: that flush succeeded on both nodes (or out-of-sync bits are on
 * disk); extents untouched since begin become evictable. abort: it failed. One confirmation at a
 * time: a begin while one is under way, and an end or abort without one, change nothing. */
void actlog_confirm_begin(struct actlog *log);
void actlog_confirm_end(struct actlog *log);
void actlog_confirm_abort(struct actlog *log);

/* Is there a change that is not in a transaction on its way? Asked again after each
 * actlog_written: a transaction has room for 64 changes. */
bool actlog_needs_write(const struct actlog *log);

/* Encodes the next transaction into METADATA_BLOCK_BYTES; *block_index is its place in the ring.
 * Only one may be under way. written: it is durable, PENDING extents in it are HOT. failed: they
 * are to be written again. */
void actlog_encode(struct actlog *log, uint8_t *block, uint32_t *block_index);
void actlog_written(struct actlog *log);
void actlog_failed(struct actlog *log);

/* Attach: feed every block of the ring (any order), then finish. Always, even when nobody crashed:
 * the next transaction's number comes from here, and with a number that is older than the ring's
 * it would not be found again. Finish rebuilds the set that was hot at the crash. The one block
 * that a crash may tear is skipped, and so are stale ones. More damage, or a hole in the newest
 * sequence numbers, is REPLICA_E_METADATA: then nothing is known and every extent may differ. The
 * caller turns the set into out-of-sync bits with actlog_extent_at (an extent may come twice, or
 * lie past the end of a device that has shrunk), and calls actlog_reset when those bits are
 * durable, after a failure too. */
void actlog_scan_begin(struct actlog *log);
void actlog_scan_block(struct actlog *log, const uint8_t *block);
int actlog_scan_finish(struct actlog *log, struct replica_error *error);
uint32_t actlog_count(const struct actlog *log); /* of the rebuilt set; 0 after actlog_reset */
uint32_t actlog_extent_at(const struct actlog *log, uint32_t index); /* index < actlog_count */

/* Empties the set in memory; the next transactions overwrite the ring in order, and the first
 * of them says that older ones do not count. */
void actlog_reset(struct actlog *log);

#endif
