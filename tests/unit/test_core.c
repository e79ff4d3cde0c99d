/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core.c - two cores over a queue: what must be durable before what, on the exact trace.
 * The promises P1..P12 are those of libreplica/README.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static struct pair *fresh(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    return pair;
}

static struct pair *primary(void)
{
    struct pair *pair = fresh();

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    return pair;
}

static void assert_equal(const struct pair *pair)
{
    ck_assert_int_eq(
        memcmp(pair->node[0].data, pair->node[1].data, (size_t)pair->node[0].data_bytes), 0);
}

START_TEST(test_clear_bitmap)
{
    struct pair *pair = fresh();
    struct core_status a = pair_status(pair, PAIR_A), b = pair_status(pair, PAIR_B);

    ck_assert_int_eq(a.connection, REPLICA_CONNECTION_CONNECTED);
    ck_assert_int_eq(a.replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_uint_eq(a.generation.current & ~(uint64_t)1, b.generation.current & ~(uint64_t)1);
    ck_assert_uint_eq(a.out_of_sync_bytes, 0);
    pair_free(pair);
}
END_TEST

/* P6: the peer has the epoch on disk before it grants, we before we are Primary. */
START_TEST(test_promote_order)
{
    struct pair *pair = fresh();
    int from = (int)pair->traced;

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    PAIR_ORDER(pair, from, "a: send PROMOTE", "b: write superblock", "b: done superblock",
               "b: send PROMOTE_ACK", "a: write superblock", "a: done superblock", "a: answer ok");
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_PRIMARY);
    ck_assert_int_eq(pair_status(pair, PAIR_B).peer_role, REPLICA_ROLE_PRIMARY);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).epoch, pair_status(pair, PAIR_B).epoch);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), REPLICA_E_PEER_PRIMARY);
    ck_assert_ptr_nonnull(strstr(pair->node[PAIR_B].answer_text, "alpha is Primary"));
    pair_free(pair);
}
END_TEST

/* P1, P3: a cold extent's transaction first; then disk and peer; the answer after both. */
START_TEST(test_write)
{
    struct pair *pair = primary();
    int from = (int)pair->traced;
    unsigned id;

    pair->node[PAIR_A].hold = HOLD_META;
    id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 8192, 0x5a);
    pair_run(pair);
    ck_assert_int_eq(pair_find(pair, from, "a: disk write*"), -1);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_WRITE;
    pair_run(pair);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(!pair->request[id].done);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    PAIR_ORDER(pair, from, "a: write activity-log", "a: done activity-log",
               "a: disk write 4096+8192", "a: send WRITE", "b: disk write 4096+8192",
               "b: done write", "b: send WRITE_ACK", "a: complete 0 ok");
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 0x5a);
    assert_equal(pair);
    pair_free(pair);
}
END_TEST

/* P5: overlapping writes run one after the other on both nodes. */
START_TEST(test_overlap)
{
    struct pair *pair = primary();
    unsigned first, second, other;
    int from;

    pair->node[PAIR_B].hold = HOLD_WRITE;
    first = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 8192, 1);
    second = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 8192, 2);
    other = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 65536, 512, 3);
    from = (int)pair->traced;
    pair_run(pair);
    ck_assert_int_ge(pair_find(pair, from, "a: disk write 65536+512"), 0);
    ck_assert_int_eq(pair_find(pair, from, "a: disk write 4096+8192"), -1);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[first].done && pair->request[second].done && pair->request[other].done);
    ck_assert_uint_eq(pair->node[PAIR_A].data[4096], 2);
    assert_equal(pair);
    pair_free(pair);
}
END_TEST

/* P2: a flush is answered when both have flushed what was complete before. */
START_TEST(test_flush)
{
    struct pair *pair = primary();
    unsigned id;
    int from;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 7);
    pair_run(pair);
    from = (int)pair->traced;
    id = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_FLUSH;
    pair_run(pair);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(!pair->request[id].done);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[id].done);
    PAIR_ORDER(pair, from, "a: disk flush*", "a: send FLUSH", "b: disk flush*", "b: done flush",
               "b: send FLUSH_ACK", "a: complete 1 ok");
    pair_free(pair);
}
END_TEST

/* P1, P3, P7: bits, then the generation, then the answer. */
START_TEST(test_link_loss)
{
    struct pair *pair = primary();
    unsigned confirmed, unconfirmed, inflight, later;
    uint64_t before;
    int from;

    confirmed = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_run(pair);
    pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    unconfirmed = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 2);
    pair_run(pair);
    pair->node[PAIR_B].hold = HOLD_WRITE;
    inflight = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 16384, 4096, 3);
    pair_run(pair);
    ck_assert(pair->request[confirmed].done && pair->request[unconfirmed].done);
    ck_assert(!pair->request[inflight].done);
    before = pair_status(pair, PAIR_A).generation.current;
    from = (int)pair->traced;
    pair->node[PAIR_A].hold = HOLD_META | HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert(pair_status(pair, PAIR_A).io_suspended);
    ck_assert(!pair->request[inflight].done);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 8192);
    later = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 32768, 4096, 4);
    pair_run(pair);
    ck_assert_int_eq(pair_find(pair, from, "a: disk write 32768+4096"), -1);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert(pair->request[inflight].done && pair->request[later].done);
    ck_assert_int_eq(pair->request[inflight].code, 0);
    PAIR_ORDER(pair, from, "a: write bitmap", "a: done bitmap", "a: write superblock",
               "a: done superblock", "a: complete 3 ok");
    PAIR_ORDER(pair, from, "a: done superblock", "a: disk write 32768+4096", "a: complete 4 ok");
    ck_assert_uint_ne(pair_status(pair, PAIR_A).generation.current, before);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 12288);

    /* and back */
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    from = (int)pair->traced;
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, 0);
    PAIR_ORDER(pair, from, "b: write superblock", "b: done superblock", "b: send BITMAP_DONE",
               "a: write superblock", "a: done superblock", "a: send BITMAP_DONE",
               "b: send RESYNC_READ", "b: disk flush*", "b: done flush", "b: send RESYNC_ACK",
               "b: write bitmap", "b: done bitmap", "b: write superblock", "b: done superblock",
               "b: send RESYNC_DONE", "a: send RESYNC_DONE");
    assert_equal(pair);
    pair_free(pair);
}
END_TEST

/* A new pair where one side has the data: full sync, with guest writes meanwhile. */
START_TEST(test_first_sync)
{
    struct pair *pair = pair_new(DATA_BYTES);

    for (uint64_t i = 0; i < DATA_BYTES; i++)
        pair->node[PAIR_A].data[i] = (uint8_t)(i / 4096 * 7 + 1);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), REPLICA_E_NOT_UPTODATE);
    pair->node[PAIR_A].hold = HOLD_READ;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_SYNC_SOURCE);
    ck_assert_int_eq(pair_status(pair, PAIR_B).replication, REPLICA_REPLICATION_SYNC_TARGET);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).resync_total_bytes, DATA_BYTES);
    for (unsigned i = 0; i < 64; i++)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, i * 128 * 1024 + 512, 1024, (uint8_t)i);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_FORCE),
                     REPLICA_E_NOT_UPTODATE);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_status(pair, PAIR_A).peer_disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(pair_status(pair, PAIR_B).replication, REPLICA_REPLICATION_ESTABLISHED);
    assert_equal(pair);
    pair_free(pair);
}
END_TEST

/* Demote: drained and flushed on both before the role is given back; then the peer takes it. */
START_TEST(test_demote)
{
    struct pair *pair = primary();
    unsigned during, parked;
    int from = (int)pair->traced;

    pair->node[PAIR_B].hold = HOLD_WRITE;
    during = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_run(pair);
    pair_ask(pair, PAIR_A, COMMAND_DEMOTE, 0);
    parked = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 1);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair->request[during].code, 0);
    ck_assert_int_eq(pair->request[parked].code, REPLICA_E_READ_ONLY);
    PAIR_ORDER(pair, from, "a: complete 0 ok", "a: send FLUSH", "b: send FLUSH_ACK",
               "a: write superblock", "a: done superblock", "a: send DEMOTED", "a: answer ok");
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).peer_role, REPLICA_ROLE_PRIMARY);
    pair_free(pair);
}
END_TEST

/* A crashed Primary comes back: what its activity log names is resynced from the survivor that was
 * promoted meanwhile. */
START_TEST(test_failover)
{
    struct pair *pair = primary();

    for (unsigned i = 0; i < 8; i++)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, i * 65536, 65536, 9);
    pair_run(pair);
    memset(pair->node[PAIR_A].data, 0xee, 4096); /* a write that the peer never saw */
    pair_crash(pair, PAIR_A);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    pair_submit(pair, PAIR_B, REPLICA_OP_WRITE, 1 << 20, 4096, 4);
    pair_run(pair);
    pair_attach(pair, PAIR_A);
    ck_assert_uint_gt(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    assert_equal(pair);
    pair_free(pair);
}
END_TEST

/* P3: what a Secondary holds in its cache is durable before it can be a source: after the target
 * has it, nothing marks it any more. */
START_TEST(test_flush_before_hello)
{
    struct pair *pair = primary();
    int from;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_run(pair);
    pair_crash(pair, PAIR_A);
    pair->node[PAIR_B].hold = HOLD_FLUSH;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    pair_attach(pair, PAIR_A);
    from = (int)pair->traced;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, PAIR_SECOND);
    ck_assert_int_eq(pair_find(pair, from, "b: send HELLO"), -1);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    PAIR_ORDER(pair, from, "b: done flush", "b: send HELLO", "b: send RESYNC_DATA");
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    pair_free(pair);
}
END_TEST

UNIT_MAIN("core", test_clear_bitmap, test_promote_order, test_write, test_overlap, test_flush,
          test_link_loss, test_first_sync, test_demote, test_failover, test_flush_before_hello)
