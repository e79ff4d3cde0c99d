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

/* Data of the write that is held: 3. */
static void expect_read(const struct pair *pair, unsigned read)
{
    ck_assert(pair->request[read].done);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair->request[read].buffer->data[0], 3);
}

static unsigned read_waits(struct pair *pair)
{
    unsigned read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);

    pair_run(pair);
    ck_assert(!pair->request[read].done);
    return read;
}

static void end_held(struct pair *pair, unsigned write, unsigned read)
{
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    expect_read(pair, read);
    pair_free(pair);
}

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
    expect_read(pair, read);

    pair->node[PAIR_A].hold = HOLD_WRITE;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    read = read_waits(pair);
    pair_cut(pair, REPLICA_E_LINK); /* and no more when the peer is lost */
    pair_run(pair);
    ck_assert(!pair->request[read].done);
    end_held(pair, write, read);
}
END_TEST

/* The same where a read goes through the peer because the disk could not read, and stays. */
START_TEST(test_read_after_error)
{
    struct pair *pair = pair_new(DATA_BYTES);
    unsigned write, read;

    pair_clear(pair);
    pair->policies.on_io_error = CORE_IO_ERROR_PASS_ON;
    pair_restart(pair);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair->node[PAIR_A].hold = HOLD_READ | HOLD_WRITE;
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_run(pair);
    ck_assert(!pair->request[write].done);
    pair->node[PAIR_A].hold = HOLD_WRITE;
    pair->node[PAIR_A].fail_read = REPLICA_E_IO;
    pair_run(pair);
    expect_read(pair, read);
    pair->node[PAIR_A].fail_read = 0;
    read = read_waits(pair);
    end_held(pair, write, read);
}
END_TEST

/* ---- P2 ---------------------------------------------------------------------------------------
 */

/* The guest's writes went to the peer alone, and the link broke: whether the peer still has them
 * nobody knows. One flush says so, and until it has the guest does not move: over there nobody
 * would tell it. */
START_TEST(test_no_handover_before_the_flush)
{
    struct pair *pair = diskless();
    unsigned flush;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_run(pair);
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(pair->node[PAIR_B].answer_text, "flush"));
    flush = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->request[flush].code, REPLICA_E_IO);
    /* From now on the shell is asked; here it says that the guest runs. */
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_PEER_PRIMARY);
    pair_free(pair);
}
END_TEST

/* ---- the old disk, and the new one -------------------------------------------------------------
 */

/* Of the reads of an attach that fails the others fail after it: they say nothing about the bitmap,
 * and the next attach writes none of its blocks that do not exist. */
START_TEST(test_attach_fails_in_the_log)
{
    struct pair *pair = diskless();
    struct pair_node *a = &pair->node[PAIR_A];
    uint64_t end = a->layout.bitmap_offset + a->layout.bitmap_bytes;

    memset(a->meta + end, 0x5a, a->meta_bytes - end);
    pair_ask(pair, PAIR_A, COMMAND_ATTACH, 0);
    pair_run_to(pair, "a: read activity-log");
    a->fail_meta = REPLICA_E_IO;
    pair_run(pair);
    ck_assert_int_eq(a->answer_code, REPLICA_E_IO);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    a->fail_meta = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DOWN, 0), 0); /* writes what is marked */
    for (uint64_t i = end; i < a->meta_bytes; i++)
        ck_assert_msg(a->meta[i] == 0x5a, "byte %lu is written", (unsigned long)i);
    pair_free(pair);
}
END_TEST

/* A write that was logged on the old disk is still with the peer when the new disk's log begins:
 * it has no reference there to give back. */
START_TEST(test_logged_on_the_old_disk)
{
    struct pair *pair = pair_new(DATA_BYTES);
    unsigned write;

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair->node[PAIR_B].hold = HOLD_WRITE;
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = 0;
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    pair_ask(pair, PAIR_A, COMMAND_ATTACH, 0);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered && !pair->request[write].done); /* it drains */
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert(pair->node[PAIR_A].answered && pair->request[write].done);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, 0);
    ck_assert_int_eq(pair->request[write].code, REPLICA_E_IO);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

/* P1: the peer, which alone has the guest's data, is lost in the last step of a resync, with a
 * write under way. When our disk has that write, the peer is back and our disk counts: the write
 * has failed all the same, for nobody had recorded that loss. */
START_TEST(test_write_over_a_reconnect)
{
    struct pair *pair = diskless();
    struct pair_node *a = &pair->node[PAIR_A];
    unsigned write;

    a->hold = HOLD_FLUSH;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_advance(pair, 10ull * PAIR_SECOND);
    ck_assert(pair->request[write].done);
    a->hold = HOLD_WRITE;
    pair_run_to(pair, "a: write superblock");
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_INCONSISTENT);
    a->hold = HOLD_WRITE | HOLD_META;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 4);
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    a->hold = HOLD_WRITE;
    pair_advance(pair, 30ull * PAIR_SECOND);
    a->hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_int_eq(pair->request[write].code, REPLICA_E_IO);
    pair_free(pair);
}
END_TEST

/* A new disk may be in the place of the one that failed: nothing is written to it until it is
 * attached. */
START_TEST(test_failed_disk_is_left_alone)
{
    struct pair *pair = diskless();
    struct pair_node *a = &pair->node[PAIR_A];

    memset(a->meta, 0x55, a->meta_bytes);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    for (uint64_t i = 0; i < a->meta_bytes; i++)
        ck_assert_uint_eq(a->meta[i], 0x55);
    pair_free(pair);
}
END_TEST

/* The disk of a Secondary fails, and the last that it was asked for ends after all else has: it is
 * gone then, and not with an event that may never come. */
START_TEST(test_failed_disk_is_gone)
{
    struct pair *pair = pair_new(DATA_BYTES);
    struct pair_node *b = &pair->node[PAIR_B];

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    b->hold = HOLD_WRITE;
    for (unsigned i = 0; i < 2; i++)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192 * i, 4096, 2);
    pair_run(pair);
    b->fail_write = REPLICA_E_IO;
    b->hold = 0;
    pair_run_to(pair, "b: done write");
    b->hold = HOLD_WRITE;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_FAILED);
    ck_assert_int_eq(pair_status(pair, PAIR_B).connection, REPLICA_CONNECTION_STANDALONE);
    b->hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_DISKLESS);
    b->fail_write = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    pair_free(pair);
}
END_TEST

/* ---- the role is given up, or asked for, without a disk ------------------------------------- */

/* The confirm of a Primary that has lost everything is nobody's business after its demotion: as a
 * Secondary it would ask the peer for a flush, and hold the loss of that answer against every
 * later session. */
START_TEST(test_no_confirm_after_the_demotion)
{
    struct pair *pair = diskless(); /* the write that failed is to be confirmed within a second */
    unsigned from;

    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    from = pair->traced;
    pair->node[PAIR_A].hold = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_lt(pair_find(pair, (int)from, "a: send FLUSH"), 0);
    pair_free(pair);
}
END_TEST

/* P6: an epoch that is granted while the superblock of an attach is on its way would be on no disk
 * when that one counts. */
START_TEST(test_no_grant_while_attaching)
{
    struct pair *pair = diskless();
    struct pair_node *a = &pair->node[PAIR_A];

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    a->hold = HOLD_META;
    pair_ask(pair, PAIR_A, COMMAND_ATTACH, 0);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_ATTACHING);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), REPLICA_E_BUSY);
    a->hold = 0;
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(a->answer_code, 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    pair_free(pair);
}
END_TEST

/* The host with the only good disk is not taken from the guest on the other one by mistake: not
 * while that has no disk, and not while its new one is still a target. */
START_TEST(test_the_only_disk_stays)
{
    static const enum command_kind kinds[] = {COMMAND_DISCONNECT, COMMAND_DOWN};
    struct pair *pair = diskless();

    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_command(pair, PAIR_B, kinds[i], 0), REPLICA_E_NOT_UPTODATE);
        ck_assert_ptr_nonnull(strstr(pair->node[PAIR_B].answer_text, "--force"));
    }
    pair->node[PAIR_A].hold = HOLD_WRITE;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_SYNC_TARGET);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, PAIR_B, kinds[i], 0), REPLICA_E_NOT_UPTODATE);
    pair->node[PAIR_A].hold = 0;
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    pair_free(pair);

    for (unsigned i = 0; i < 2; i++) {
        pair = diskless();
        ck_assert_int_eq(pair_command(pair, PAIR_B, kinds[i], COMMAND_FORCE), 0);
        pair_free(pair);
    }
}
END_TEST

static int request_code(struct pair *pair, enum replica_op op, uint8_t fill)
{
    unsigned request = pair_submit(pair, PAIR_A, op, 4096, op == REPLICA_OP_FLUSH ? 0 : 4096, fill);

    pair_run(pair);
    ck_assert(pair->request[request].done);
    return pair->request[request].code;
}

/* The guest on A has errors while B is away, and goes on when it is back: B alone has the data, and
 * is known to have stood still. What it had not flushed it may have lost: one flush fails (P2). */
static void lives_on(struct pair *pair)
{
    ck_assert_int_eq(request_code(pair, REPLICA_OP_WRITE, 5), REPLICA_E_IO);
    pair->node[PAIR_A].hold = 0;
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    ck_assert_int_eq(pair_status(pair, PAIR_A).peer_disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_status(pair, PAIR_B).peer_disk, REPLICA_DISK_DISKLESS);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_WRITE, 6), 0);
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 6);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_FLUSH, 0), REPLICA_E_IO);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_FLUSH, 0), 0);

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[PAIR_A].data, pair->node[PAIR_B].data, DATA_BYTES), 0);
    pair_free(pair);
}

START_TEST(test_lives_on_after_the_link)
{
    struct pair *pair = diskless();

    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    lives_on(pair);
}
END_TEST

START_TEST(test_lives_on_after_the_process)
{
    struct pair *pair = diskless();

    pair->policies.fencing = CORE_FENCING_RESOURCE_ONLY; /* B comes back Consistent */
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_crash(pair, PAIR_B);
    pair_run(pair);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_CONSISTENT);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    lives_on(pair);
}
END_TEST

START_TEST(test_lives_on_after_the_operator)
{
    struct pair *pair = diskless();

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DISCONNECT, COMMAND_FORCE), 0);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_FLUSH, 0), REPLICA_E_IO);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_WRITE, 6), 0);
    pair_free(pair);
}
END_TEST

/* B has gone on without A, or is an older copy: the guest on A is not shown that. */
START_TEST(test_does_not_live_on_elsewhere)
{
    struct pair *pair = diskless();
    unsigned write;

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, COMMAND_FORCE), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    write = pair_submit(pair, PAIR_B, REPLICA_OP_WRITE, 4096, 4096, 8);
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_STANDALONE);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_READ, 0), REPLICA_E_IO);
    pair_free(pair);
}
END_TEST

/* An older detach has left a name behind that the peer still bears; since then this node has
 * written alone, and its disk has failed as the only one with that. */
START_TEST(test_does_not_live_on_in_the_past)
{
    struct pair *pair = diskless();
    struct pair_node *a = &pair->node[PAIR_A];

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_WRITE, 9), 0);
    a->fail_read = REPLICA_E_IO;
    ck_assert_int_eq(request_code(pair, REPLICA_OP_READ, 0), REPLICA_E_IO);
    a->fail_read = 0;
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_command(pair, PAIR_A, COMMAND_CONNECT, 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_ne(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    ck_assert_int_eq(request_code(pair, REPLICA_OP_READ, 0), REPLICA_E_IO);
    pair_free(pair);
}
END_TEST

/* What A says of its disk in a handshake stays true to its end: an attach that begins there would
 * never learn of the generation under which B has the data (P8). */
START_TEST(test_no_attach_while_connecting)
{
    struct pair *pair = diskless();

    pair->node[PAIR_B].hold = HOLD_FLUSH;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_BUSY);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[PAIR_A].data, pair->node[PAIR_B].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

UNIT_MAIN("core attach", test_read_after_sync, test_read_after_error,
          test_no_handover_before_the_flush, test_attach_fails_in_the_log,
          test_logged_on_the_old_disk, test_write_over_a_reconnect, test_failed_disk_is_left_alone,
          test_failed_disk_is_gone, test_no_confirm_after_the_demotion,
          test_no_grant_while_attaching, test_the_only_disk_stays, test_lives_on_after_the_link,
          test_lives_on_after_the_process, test_lives_on_after_the_operator,
          test_does_not_live_on_elsewhere, test_does_not_live_on_in_the_past,
          test_no_attach_while_connecting)
