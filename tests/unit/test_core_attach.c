/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core_attach.c - a Primary gets its disk back while its guest goes on: what the old disk, the
 * peer and the new disk are asked for at that time; two cores over a queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

/* A is Primary and has lost its disk; the guest goes on through B. */
static struct pair *diskless(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = 0;
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    return pair;
}

/* ---- reads ------------------------------------------------------------------------------------
 */

/* P1: the resync of a Primary ends while a write is on the peer's disk and not yet on its own. A
 * read through the peer has shown that write already; one from its own disk must not go back
 * behind it. */
START_TEST(test_read_after_sync)
{
    struct pair *pair = diskless();
    unsigned write, read;

    pair->node[PAIR_A].hold = HOLD_FLUSH; /* the resync comes to its last flush, and not past it */
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 10ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_INCONSISTENT);
    pair->node[PAIR_A].hold = HOLD_FLUSH | HOLD_WRITE;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_run(pair);
    ck_assert(!pair->request[write].done);
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair->request[read].buffer->data[0], 3);

    pair->node[PAIR_A].hold = HOLD_WRITE;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);
    pair_run(pair);
    ck_assert(!pair->request[read].done);
    pair_cut(pair, REPLICA_E_LINK); /* and no more when the peer is lost */
    pair_run(pair);
    ck_assert(!pair->request[read].done);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done && pair->request[read].done);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair->request[read].buffer->data[0], 3);
    pair_free(pair);
}
END_TEST

UNIT_MAIN("core attach", test_read_after_sync)
