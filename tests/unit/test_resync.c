/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_resync.c - a resync that is held back, and how one ends. Two cores over a queue, see
 * core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static enum replica_replication replication(const struct pair *pair, unsigned index)
{
    return pair_status(pair, index).replication;
}

/* A is Primary and the source of a full sync to B, which is under way; 1 MiB/s. */
static struct pair *syncing(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair->resync_rate = 1 << 20;
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

static void ends_well(struct pair *pair)
{
    for (unsigned i = 0; i < 40; i++)
        pair_advance(pair, PAIR_SECOND);
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

/* The operator gives up the target's data while its last superblock is being written: what this
 * resync brought is not UpToDate any more, and the next session copies everything. */
START_TEST(test_given_up_at_the_end)
{
    struct pair *pair = syncing();

    pair->node[PAIR_B].hold = HOLD_META;
    for (unsigned i = 0; i < 40; i++)
        pair_advance(pair, PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, 0);
    pair_ask(pair, PAIR_A, COMMAND_INVALIDATE_REMOTE, 0);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair->node[PAIR_B].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    pair->node[PAIR_A].hold = 0;
    pair->node[PAIR_B].hold = 0;
    ends_well(pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resync");
    TCase *pause = tcase_create("pause");
    TCase *ends = tcase_create("ends");
    SRunner *runner;
    int failed;

    tcase_set_timeout(pause, 60);
    tcase_add_loop_test(pause, test_pause, 0, 2);
    tcase_add_test(pause, test_pause_of_both);
    tcase_add_loop_test(pause, test_pause_outlives_the_link, 0, 2);
    tcase_add_test(pause, test_pause_is_urgent);
    suite_add_tcase(suite, pause);
    tcase_set_timeout(ends, 60);
    tcase_add_test(ends, test_given_up_at_the_end);
    suite_add_tcase(suite, ends);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
