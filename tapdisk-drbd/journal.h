/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * journal.h - what of a vbd's rings survives the process: the requests that were taken and not
 * answered, and how far each ring was answered. A file on tmpfs that is mapped; it outlives the
 * process, not the host, and needs no system call and no memory on the data path.
 *
 * The file, in the byte order of the host, which it never leaves:
 *
 *       0  8  "TDRBDRNG"
 *       8  4  version, JOURNAL_VERSION
 *      12  4  CRC-32C of bytes 16..8191
 *      16  .. whose rings these are: size of the file, domain, ABI, queues, pages and entries of a
 *             ring, this boot of the host, the guest's instance, of each queue event channel and
 *             grant references; then zeroes
 *    8192  .. of each queue, aligned to 4096: a struct journal_mark, a struct journal_record for
 *             each entry of its ring, JOURNAL_BLOCKS blocks of indirect descriptors
 *
 * Order. Every line is one store that a kill leaves done or not done; they happen in this order.
 *
 *   take      record: entry, block 0, judged 0, response 0
 *             record.order = taken + 1   the record lives; it does not count beyond `taken`
 *             mark.taken = taken + 1     now it does; before that the ring's slot is still whole
 *   judge     record.block; the descriptors into the block; then record.judged = 1
 *   answer    the response into the ring's slot; then record.response = its number + 1
 *   push      mark.answered = n          from here on these responses count as given
 *             rsp_prod = n               the guest sees them
 *             mark.shown = n
 *             record.order = 0           of each that was answered
 *
 * So at any instruction a record with order <= taken and without a response <= answered is a
 * request that the guest still waits for, and there are taken - answered of them. The next process
 * begins with rsp_prod = answered, which is new to the guest or what it saw already.
 */
#ifndef TAPDISK_JOURNAL_H
#define TAPDISK_JOURNAL_H

#include <libreplica/replica.h>

#include "blkif.h"

struct vbd_parameters;

enum {
    JOURNAL_VERSION = 1,
    JOURNAL_BLOCKS = 32, /* requests with indirect descriptors at once, a queue */
    JOURNAL_BLOCK_BYTES = BLKIF_INDIRECT_SEGMENTS_MAX * BLKIF_DESCRIPTOR_BYTES,
    JOURNAL_PATH_MAX = 4352
};

/* Counts since the ring was made; their low 32 bits are the ring's indices. */
struct journal_mark {
    uint64_t taken;    /* requests */
    uint64_t answered; /* responses that count as given */
    uint64_t shown;    /* responses of which rsp_prod is known to tell */
    uint64_t unused[5];
};

struct journal_record {
    uint64_t order;    /* 0: free; else the request's number in its ring, plus 1 */
    uint64_t response; /* 0: none yet; else the response's number in its ring, plus 1 */
    uint32_t block;    /* 0: none; else the block of its indirect descriptors, plus 1 */
    uint32_t judged;   /* 1: the block holds what was read from the guest, once and for all */
    uint64_t unused;
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX]; /* the copy of the ring's entry, in the ring's ABI */
};

struct journal {
    uint8_t *memory; /* NULL: closed */
    size_t bytes;
    uint32_t entries; /* a ring */
};

/* One queue's part. Points into the journal. */
struct journal_ring {
    struct journal_mark *mark;
    struct journal_record *records; /* `entries` of them */
    uint8_t *blocks;                /* JOURNAL_BLOCKS of JOURNAL_BLOCK_BYTES each */
    uint32_t entries;
    uint64_t responses; /* put into the ring, of which mark->answered count as given */
};

/* A new one at `path`, in place of any other; NULL: in memory that ends with the process.
 * Errors: REPLICA_E_SYSTEM (text names the file: no room on its file system). */
int journal_create(struct journal *journal, const char *path,
                   const struct vbd_parameters *parameters, struct replica_error *error);
/* The one that a former process left, for the same rings of the same guest in the same boot.
 * Errors: REPLICA_E_NOT_FOUND (no file), REPLICA_E_INVALID (not one of ours, damaged, of another
 * version, or of other rings; text says which), REPLICA_E_SYSTEM. */
int journal_open(struct journal *journal, const char *path, const struct vbd_parameters *parameters,
                 struct replica_error *error);
/* The file stays. */
void journal_close(struct journal *journal);

struct journal_ring journal_ring(const struct journal *journal, unsigned queue);

/* What a killed process may have left half done is put right: afterwards every living record is a
 * request without an answer. Idempotent.
 * Errors: REPLICA_E_INVALID: the records contradict each other; they are of no use. */
int journal_settle(struct journal_ring *ring);

void journal_take(struct journal_ring *ring, struct journal_record *record, const uint8_t *entry,
                  size_t bytes);
void journal_set_block(struct journal_record *record, uint32_t block);
void journal_judged(struct journal_record *record);
void journal_answer(struct journal_ring *ring, struct journal_record *record);
/* Before rsp_prod is moved, and after. */
void journal_commit(struct journal_ring *ring);
void journal_shown(struct journal_ring *ring);
void journal_clear(struct journal_record *record);

#endif
