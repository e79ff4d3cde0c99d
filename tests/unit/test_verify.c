/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_verify.c - comparing replicas: what is found, where it is marked, and that nothing is ever
 * copied or found by mistake. Two cores over a queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static struct pair *primary(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    for (unsigned i = 0; i < 64; i++)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, i * 65536, 8192, (uint8_t)(i + 1));
    pair_run(pair);
    return pair;
}

static void reconnect(struct pair *pair)
{
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_status(pair, i).replication, REPLICA_REPLICATION_ESTABLISHED);
        ck_assert_int_eq(pair_status(pair, i).disk, REPLICA_DISK_UPTODATE);
        ck_assert_uint_eq(pair_status(pair, i).out_of_sync_bytes, 0);
    }
}

/* One bit, on either side, asked for on either side: found to the block, marked on both and on
 * their disks, not touched; then the Primary's data are the ones that stay. */
START_TEST(test_flipped_bit)
{
    unsigned flipped = (unsigned)_i & 1, asker = (unsigned)_i >> 1;
    struct pair *pair = primary();
    int from = (int)pair->traced;
    uint8_t before;

    pair->node[flipped].data[5000001] ^= 4;
    before = pair->node[flipped].data[5000001];
    ck_assert_int_eq(pair_verify(pair, asker, 0, 0), 0);
    ck_assert_int_eq(pair_status(pair, asker).replication, REPLICA_REPLICATION_VERIFY_S);
    pair_run(pair);
    ck_assert_int_ge(
        pair_find(pair, from,
                  asker ? "b: log verify: the data of beta and alpha differ: 4096 bytes at offset "
                          "4997120 (sector 9760); marked out of sync"
                        : "a: log verify: the data of alpha and beta differ: 4096 bytes at offset "
                          "4997120 (sector 9760); marked out of sync"),
        0);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_status(pair, i).replication, REPLICA_REPLICATION_ESTABLISHED);
        ck_assert_uint_eq(pair_status(pair, i).out_of_sync_bytes, 4096);
        ck_assert_uint_eq(pair_status(pair, i).verify_differs_bytes, 4096);
    }
    ck_assert_uint_eq(pair->node[flipped].data[5000001], before);

    /* the marks outlive both processes; only the Primary may be the source */
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, 4096);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    reconnect(pair);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    ck_assert_uint_eq(pair->node[0].data[5000001], flipped == PAIR_A ? before : 0);
    pair_free(pair);
}
END_TEST

/* Blocks side by side are one line; the first and the last of the device are compared too. */
START_TEST(test_runs_and_ends)
{
    struct pair *pair = primary();
    int from = (int)pair->traced;

    pair->node[PAIR_B].data[0] ^= 1;
    pair->node[PAIR_B].data[DATA_BYTES - 1] ^= 0x80;
    memset(pair->node[PAIR_B].data + (1 << 20) + 4096, 0x55, 3 * 4096);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), 0);
    pair_run(pair);
    PAIR_ORDER(pair, from,
               "a: log verify: the data of alpha and beta differ: 4096 bytes at offset 0*",
               "a: log verify: the data of alpha and beta differ: 12288 bytes at offset 1052672*",
               "a: log verify: the data of alpha and beta differ: 4096 bytes at offset 16773120*",
               "a: log verify done: 20 KiB differ*");
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 5 * 4096);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, 5 * 4096);
    reconnect(pair);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

START_TEST(test_part_of_the_device)
{
    struct pair *pair = primary();

    pair->node[PAIR_B].data[4095] ^= 1;
    pair->node[PAIR_B].data[100 * 4096] ^= 1;
    pair->node[PAIR_B].data[200 * 4096] ^= 1;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 4096, 200 * 4096), 0);
    pair_run(pair);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 4096);
    /* a sector inside a block stands for the whole of it */
    ck_assert_int_eq(pair_verify(pair, PAIR_B, 200 * 4096 + 512, 200 * 4096 + 1024), 0);
    pair_run(pair);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 2 * 4096);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, DATA_BYTES, 0), REPLICA_E_RANGE);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 8192, 4096), REPLICA_E_RANGE);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, DATA_BYTES + 512), REPLICA_E_RANGE);
    pair_free(pair);
}
END_TEST

/* A write into a range that is being compared waits, on whichever side the question came from; one
 * that is under way when the question comes is waited for. */
START_TEST(test_overlapping_write)
{
    struct pair *pair = primary();
    unsigned asker = (unsigned)_i, write, later;

    pair->node[PAIR_B].hold = HOLD_WRITE;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 77);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_READ; /* the comparison stands in the middle */
    ck_assert_int_eq(pair_verify(pair, asker, 0, 65536), 0);
    pair_run(pair);
    ck_assert(!pair->request[write].done);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    later = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 78);
    pair_run(pair);
    ck_assert(!pair->request[later].done);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[later].done);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).verify_differs_bytes, 0);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_int_eq(pair_status(pair, asker).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 78);
    pair_free(pair);
}
END_TEST

/* The role moves while a question is under way: asked by a Secondary that is Primary and has
 * written when the answer comes, it is asked again. */
START_TEST(test_promoted_while_asking)
{
    struct pair *pair = pair_new(DATA_BYTES);
    unsigned write;

    pair_clear(pair);
    pair->node[PAIR_B].hold = HOLD_READ;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 65536), 0);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 9);
    pair_run(pair);
    ck_assert(!pair->request[write].done); /* waits behind the read on the peer */
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    pair_free(pair);
}
END_TEST

START_TEST(test_stopped_by_disconnect)
{
    struct pair *pair = primary();
    int from = (int)pair->traced;
    unsigned write;

    pair->node[PAIR_B].data[4096] ^= 1;
    pair->node[PAIR_B].data[8 << 20] ^= 1;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 1 << 20), 0);
    pair_run(pair);
    pair->node[PAIR_B].hold = HOLD_READ;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 1 << 20, 0), 0);
    pair_run(pair);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), REPLICA_E_BUSY);
    ck_assert_int_eq(pair_verify(pair, PAIR_B, 0, 0), REPLICA_E_BUSY);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 1 << 20, 4096, 9);
    pair_run(pair);
    ck_assert(!pair->request[write].done);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DISCONNECT, 0), 0);
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_int_ge(pair_find(pair, from,
                               "a: log verify stopped: the link is lost; all before "
                               "sector 2048 is compared*"),
                     0);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), REPLICA_E_STATE);
    pair->node[PAIR_B].hold = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, 8 << 20), 0);
    ck_assert_int_ne(pair->node[0].data[8 << 20], pair->node[1].data[8 << 20]); /* never seen */
    pair_free(pair);
}
END_TEST

/* What cannot be read is a failed disk, and no difference. */
START_TEST(test_read_error)
{
    struct pair *pair = primary();
    unsigned bad = (unsigned)_i;

    pair->node[bad].fail_read = REPLICA_E_IO;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), 0);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, bad).disk, REPLICA_DISK_DISKLESS);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).verify_differs_bytes, 0);
    ck_assert_int_ne(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_VERIFY_S);
    pair_free(pair);
}
END_TEST

/* The Primary's disk fails and comes back before the peer, which compares, asks again: it is a
 * target then, and its guest lives from that peer. */
START_TEST(test_attached_meanwhile)
{
    struct pair *pair = primary();
    unsigned write;

    pair->node[PAIR_B].hold = HOLD_READ;
    ck_assert_int_eq(pair_verify(pair, PAIR_B, 0, 0), 0);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, DATA_BYTES - 4096, 4096, 99);
    pair_run(pair);
    ck_assert(pair->request[write].done);
    pair->node[PAIR_A].fail_write = 0;
    ck_assert_int_eq(pair->request[write].code, 0);
    pair_ask(pair, PAIR_A, COMMAND_ATTACH, 0);
    pair_run_to(pair, "b: log resync begins as SyncSource*");
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_lt(pair_find(pair, 0, "a: close"), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_status(pair, i).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), 0); /* the other one is over on both */
    pair_run(pair);
    pair_free(pair);
}
END_TEST

/* On both nodes in the same moment, before either hears of the other's: each counts its own. */
START_TEST(test_both_ask)
{
    struct pair *pair = primary();
    int from = (int)pair->traced;

    pair->node[PAIR_B].data[100] ^= 1;
    for (unsigned i = 0; i < 2; i++)
        pair->node[i].hold = HOLD_SEND;
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), 0);
    ck_assert_int_eq(pair_verify(pair, PAIR_B, DATA_BYTES - (4 << 20), 0), 0);
    for (unsigned i = 0; i < 2; i++)
        pair->node[i].hold = 0;
    pair_run(pair);
    ck_assert_int_ge(pair_find(pair, from, "a: log verify done: 4 KiB differ*"), 0);
    ck_assert_int_ge(pair_find(pair, from, "a: log verify of beta is over: 0 KiB differ"), 0);
    ck_assert_int_ge(pair_find(pair, from, "b: log verify done: both replicas are equal"), 0);
    ck_assert_int_ge(pair_find(pair, from, "b: log verify of alpha is over: 4 KiB differ"), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(pair_status(pair, i).verify_differs_bytes, 4096);
    pair_free(pair);
}
END_TEST

START_TEST(test_not_now)
{
    struct pair *pair = pair_new(DATA_BYTES);
    struct wire_message mark = {.type = WIRE_VERIFY_MARK, .range = {0, 4096}};

    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), REPLICA_E_STATE);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_verify(pair, PAIR_A, 0, 0), REPLICA_E_NOT_UPTODATE);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_NEW_UUID, COMMAND_CLEAR_BITMAP), 0);
    pair_forge(pair, PAIR_A, &mark); /* nobody is verifying */
    pair_run(pair);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    pair_free(pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verify");
    TCase *tests = tcase_create("verify");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_flipped_bit, 0, 4);
    tcase_add_test(tests, test_runs_and_ends);
    tcase_add_test(tests, test_part_of_the_device);
    tcase_add_loop_test(tests, test_overlapping_write, 0, 2);
    tcase_add_test(tests, test_promoted_while_asking);
    tcase_add_test(tests, test_stopped_by_disconnect);
    tcase_add_loop_test(tests, test_read_error, 0, 2);
    tcase_add_test(tests, test_attached_meanwhile);
    tcase_add_test(tests, test_both_ask);
    tcase_add_test(tests, test_not_now);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
