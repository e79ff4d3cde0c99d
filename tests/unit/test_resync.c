/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_resync.c - a resync that is held back, how fast it goes, what it need not send, and how it
 * ends. Two cores over a queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static enum replica_replication replication(const struct pair *pair, unsigned index)
{
    return pair_status(pair, index).replication;
}

/* A is Primary and the source of a full sync to B, which is under way. */
static struct pair *syncing_at(uint64_t rate, uint64_t rate_min)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair->resync_rate = rate;
    pair->resync_rate_min = rate_min;
    for (unsigned i = 0; i < 2; i++) {
        pair_crash(pair, i);
        pair_attach(pair, i);
    }
    memset(pair->node[PAIR_A].data, 7, DATA_BYTES);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair_advance(pair, PAIR_SECOND / 4);
    ck_assert_int_eq(replication(pair, PAIR_B), REPLICA_REPLICATION_SYNC_TARGET);
    return pair;
}

static struct pair *syncing(void)
{
    return syncing_at(1 << 20, 0);
}

static void ends_well(struct pair *pair)
{
    for (unsigned i = 0; i < 400; i++)
        pair_advance(pair, PAIR_SECOND / 10);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(replication(pair, i), REPLICA_REPLICATION_ESTABLISHED);
        ck_assert_int_eq(pair_status(pair, i).disk, REPLICA_DISK_UPTODATE);
        ck_assert_uint_eq(pair_status(pair, i).out_of_sync_bytes, 0);
    }
    ck_assert_int_eq(memcmp(pair->node[PAIR_A].data, pair->node[PAIR_B].data, DATA_BYTES), 0);
    pair_free(pair);
}

/* Typed on either node: nothing more is asked for, both show it, and the guest goes on. */
START_TEST(test_pause)
{
    unsigned typed = (unsigned)_i;
    struct pair *pair = syncing();
    uint64_t left;
    unsigned write;
    int from;

    ck_assert_int_eq(pair_command(pair, typed, COMMAND_PAUSE_SYNC, 0), 0);
    ck_assert_int_eq(replication(pair, PAIR_A), REPLICA_REPLICATION_PAUSED_SYNC_S);
    ck_assert_int_eq(replication(pair, PAIR_B), REPLICA_REPLICATION_PAUSED_SYNC_T);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_status(pair, i).paused_here, i == typed);
        ck_assert_int_eq(pair_status(pair, i).paused_peer, i != typed);
    }
    left = pair_status(pair, PAIR_A).out_of_sync_bytes;
    from = (int)pair->traced;
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(pair_find(pair, from, "b: send RESYNC_READ"), -1);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, left);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, left);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, DATA_BYTES - 4096, 4096, 9);
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_uint_eq(pair->node[PAIR_B].data[DATA_BYTES - 1], 9);
    ck_assert_int_eq(pair_command(pair, typed, COMMAND_RESUME_SYNC, 0), 0);
    ck_assert_int_eq(replication(pair, PAIR_B), REPLICA_REPLICATION_SYNC_TARGET);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).resync_paused_since, 0);
    ck_assert_uint_ge(pair_status(pair, PAIR_B).resync_paused, 60ull * PAIR_SECOND);
    ends_well(pair);
}
END_TEST

/* Each node has its own: one resume is not enough, and neither ends the other's. */
START_TEST(test_pause_of_both)
{
    struct pair *pair = syncing();

    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_command(pair, i, COMMAND_PAUSE_SYNC, 0), 0);
        ck_assert_int_eq(pair_command(pair, i, COMMAND_PAUSE_SYNC, 0), REPLICA_E_STATE);
    }
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_SYNC, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_SYNC, 0), REPLICA_E_STATE);
    ck_assert_int_eq(replication(pair, PAIR_A), REPLICA_REPLICATION_PAUSED_SYNC_S);
    ck_assert_int_eq(replication(pair, PAIR_B), REPLICA_REPLICATION_PAUSED_SYNC_T);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_RESUME_SYNC, 0), 0);
    ends_well(pair);
}
END_TEST

/* The flag is the node's that set it, not the session's: a new one begins paused. */
START_TEST(test_pause_outlives_the_link)
{
    unsigned typed = (unsigned)_i;
    struct pair *pair = syncing();
    int from;

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, typed, COMMAND_PAUSE_SYNC, 0), 0); /* nobody hears it */
    from = (int)pair->traced;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(replication(pair, PAIR_A), REPLICA_REPLICATION_PAUSED_SYNC_S);
    ck_assert_int_eq(replication(pair, PAIR_B), REPLICA_REPLICATION_PAUSED_SYNC_T);
    ck_assert_int_eq(pair_find(pair, from, "b: send RESYNC_READ"), -1);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert(!pair_status(pair, 1 - typed).paused_peer);
    ck_assert(pair_status(pair, typed).paused_here);
    ck_assert_int_eq(pair_command(pair, typed, COMMAND_RESUME_SYNC, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    ends_well(pair);
}
END_TEST

/* The target has everything, and the superblock that says so is on its way when the link goes:
 * until it is there the peer hears nothing of it, for a power cut would take it back. */
START_TEST(test_end_is_durable_before_it_is_told)
{
    struct pair *pair = syncing();
    int from;

    pair->node[PAIR_B].hold = HOLD_META;
    pair_advance(pair, 40ull * PAIR_SECOND);
    pair->node[PAIR_B].hold = 0;
    pair_run_to(pair, "b: write superblock");
    pair->node[PAIR_B].hold = HOLD_META;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    from = (int)pair->traced;
    pair_cut(pair, REPLICA_E_LINK);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_ge(pair_find(pair, from, "a: send HELLO"), 0);
    ck_assert_int_eq(pair_find(pair, from, "b: send HELLO"), -1);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    PAIR_ORDER(pair, from, "b: done superblock", "b: send HELLO");
    ends_well(pair);
}
END_TEST

/* It does not wait for a command that waits. */
START_TEST(test_pause_is_urgent)
{
    struct pair *pair = syncing();

    pair->node[PAIR_A].hold = HOLD_META;
    pair_ask(pair, PAIR_A, COMMAND_DEMOTE, 0);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered);
    pair_ask(pair, PAIR_A, COMMAND_PAUSE_SYNC, 0);
    ck_assert(pair_status(pair, PAIR_A).paused_here);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_SECONDARY);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_SYNC, 0), 0);
    ends_well(pair);
}
END_TEST

/* The operator gives up the target's data while its last bits are being written: what this
 * resync brought is not UpToDate any more, and the next session copies everything. */
START_TEST(test_given_up_at_the_end)
{
    struct pair *pair = syncing();
    int from;

    pair->node[PAIR_B].hold = HOLD_META;
    for (unsigned i = 0; i < 40; i++)
        pair_advance(pair, PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, 0);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair->node[PAIR_B].hold = HOLD_LINK;
    from = (int)pair->traced;
    pair_ask(pair, PAIR_A, COMMAND_INVALIDATE_REMOTE, 0);
    pair_run(pair);
    PAIR_ORDER(pair, from, "b: write superblock", "b: send INVALIDATE_ACK", "b: link down");
    from = pair_find(pair, from, "b: send INVALIDATE_ACK");
    ck_assert_int_eq(pair_find(pair, from, "b: write superblock"), -1);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    pair->node[PAIR_A].hold = 0;
    pair->node[PAIR_B].hold = 0;
    ends_well(pair);
}
END_TEST

/* ---- pacing ------------------------------------------------------------------------------------
 */

/* What the target has got in so many tenths of a second, in each of which the guest of A has asked
 * for something. */
static uint64_t copied(struct pair *pair, unsigned tenths, bool busy, enum replica_op op)
{
    uint64_t before = pair_status(pair, PAIR_B).received_bytes;

    for (unsigned i = 0; i < 2 * tenths; i++) {
        if (busy)
            pair_submit(pair, PAIR_A, op, 0, 4096, 1);
        pair_advance(pair, PAIR_SECOND / 20);
    }
    return pair_status(pair, PAIR_B).received_bytes - before;
}

/* c-min-rate while the guest reads (which only the source sees) or writes, c-max-rate before and
 * after. */
START_TEST(test_gives_way)
{
    enum replica_op op = _i ? REPLICA_OP_WRITE : REPLICA_OP_READ;
    struct pair *pair = syncing_at(4 << 20, 512 << 10);
    uint64_t bytes = copied(pair, 8, false, op);

    ck_assert_uint_ge(bytes, 3 << 20);
    ck_assert_uint_le(bytes, 4 << 20);
    copied(pair, 2, true, op);
    ck_assert(pair_status(pair, PAIR_B).resync_throttled);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).resync_rate, 512 << 10);
    bytes = copied(pair, 20, true, op);
    ck_assert_uint_ge(bytes, 768 << 10); /* it goes on, */
    ck_assert_uint_le(bytes, 1536 << 10);
    copied(pair, 5, false, op);
    ck_assert(!pair_status(pair, PAIR_B).resync_throttled);
    bytes = copied(pair, 10, false, op);
    ck_assert_uint_ge(bytes, 2 << 20); /* and fast again in the end */
    ends_well(pair);
}
END_TEST

/* Whatever the rate, so much is under way at once. */
START_TEST(test_fill_target)
{
    struct pair *pair = pair_new(DATA_BYTES);
    unsigned asks = 0;
    int at;

    pair->resync_fill = 300 << 10;
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    pair->node[PAIR_A].hold = HOLD_READ;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair_run(pair);
    for (at = 0; (at = pair_find(pair, at, "b: send RESYNC_READ*")) >= 0; at++)
        asks++;
    ck_assert_uint_eq(asks, 2);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ends_well(pair);
}
END_TEST

/* A verification is paced too. */
START_TEST(test_verify_is_paced)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair->resync_rate = 4 << 20;
    pair->resync_rate_min = 1 << 20;
    for (unsigned i = 0; i < 2; i++) {
        pair_crash(pair, i);
        pair_attach(pair, i);
    }
    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    ck_assert_int_eq(pair_verify(pair, PAIR_B, 0, 0), 0);
    copied(pair, 10, false, REPLICA_OP_READ);
    ck_assert_uint_ge(pair_status(pair, PAIR_B).resync_done_bytes, 3 << 20);
    ck_assert_uint_le(pair_status(pair, PAIR_B).resync_done_bytes, 5 << 20);
    copied(pair, 10, true, REPLICA_OP_READ);
    ck_assert_uint_le(pair_status(pair, PAIR_B).resync_done_bytes, 7 << 20);
    ends_well(pair);
}
END_TEST

/* ---- checksums ---------------------------------------------------------------------------------
 */

/* Two disks of which all but a little is equal, about to be synced in full from A to B. */
static struct pair *nearly_equal(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair->csums = CORE_DIGEST_SHA256;
    for (unsigned i = 0; i < 2; i++) {
        pair_crash(pair, i);
        pair_attach(pair, i);
        memset(pair->node[i].data, 7, DATA_BYTES);
    }
    memset(pair->node[PAIR_A].data + (5 << 20), 8, 4096);
    pair->node[PAIR_B].data[DATA_BYTES - 1] ^= 1;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    return pair;
}

/* Only the two ranges that differ go over the link, in a resync that ends as any other. */
START_TEST(test_equal_is_not_sent)
{
    struct pair *pair = nearly_equal();

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair_advance(pair, PAIR_SECOND);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).sent_bytes, 2 * 131072);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).received_bytes, 2 * 131072);
    ck_assert_int_ge(pair_find(pair, 0,
                               "b: log resync done: beta is UpToDate; 16128 KiB had equal "
                               "checksums and were not sent"),
                     0);
    ends_well(pair);
}
END_TEST

/* P3: what is equal is flushed, too, before any bit is cleared. */
START_TEST(test_equal_is_flushed)
{
    struct pair *pair = nearly_equal();

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair->node[PAIR_B].hold = HOLD_FLUSH;
    pair_run(pair);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    PAIR_ORDER(pair, 0, "b: send RESYNC_SUM*", "a: send RESYNC_SAME*", "b: disk flush*",
               "b: send RESYNC_ACK*");
    ends_well(pair);
}
END_TEST

/* A target that cannot read its own disk for the checksum asks without one. */
START_TEST(test_sum_unreadable)
{
    struct pair *pair = nearly_equal();

    pair->node[PAIR_B].fail_read = REPLICA_E_IO;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair_run(pair);
    ck_assert_int_eq(pair_find(pair, 0, "b: send RESYNC_SUM*"), -1);
    ck_assert_int_ge(pair_find(pair, 0, "b: send RESYNC_READ*"), 0);
    pair->node[PAIR_B].fail_read = 0;
    ends_well(pair);
}
END_TEST

/* A guest's write between the target's read and the source's comparison lands on both. */
START_TEST(test_write_while_comparing)
{
    struct pair *pair = nearly_equal();
    unsigned write;

    pair->node[PAIR_A].hold = HOLD_READ;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    pair_run(pair);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 65536, 8192, 9);
    pair_run(pair);
    ck_assert(!pair->request[write].done); /* the source holds the range */
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_uint_eq(pair->node[PAIR_B].data[65536], 9);
    ends_well(pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resync");
    TCase *pause = tcase_create("pause"), *ends = tcase_create("ends"),
          *pace = tcase_create("pace");
    TCase *csums = tcase_create("csums");
    SRunner *runner;
    int failed;

    tcase_set_timeout(pause, 60);
    tcase_add_loop_test(pause, test_pause, 0, 2);
    tcase_add_test(pause, test_pause_of_both);
    tcase_add_loop_test(pause, test_pause_outlives_the_link, 0, 2);
    tcase_add_test(pause, test_pause_is_urgent);
    tcase_set_timeout(pace, 60);
    tcase_add_loop_test(pace, test_gives_way, 0, 2);
    tcase_add_test(pace, test_fill_target);
    tcase_add_test(pace, test_verify_is_paced);
    suite_add_tcase(suite, pause);
    tcase_set_timeout(ends, 60);
    tcase_add_test(ends, test_given_up_at_the_end);
    tcase_add_test(ends, test_end_is_durable_before_it_is_told);
    suite_add_tcase(suite, ends);
    tcase_add_test(csums, test_equal_is_not_sent);
    tcase_add_test(csums, test_equal_is_flushed);
    tcase_add_test(csums, test_sum_unreadable);
    tcase_add_test(csums, test_write_while_comparing);
    suite_add_tcase(suite, pace);
    suite_add_tcase(suite, csums);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
