/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_handover.c - a Primary hands its role over (P6): each step, what must be durable before the
 * next, and a crash, a cut and a time-out at each.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core_pair.h"

#define DATA_BYTES ((uint64_t)16 << 20)

/* A is Primary and has written; its shell says yes. */
static struct pair *suspended(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 8192, 0x5a);
    pair_run(pair);
    pair->node[PAIR_A].handover_code = 0;
    return pair;
}

static bool is_primary(const struct pair *pair, unsigned index)
{
    return pair_status(pair, index).role == REPLICA_ROLE_PRIMARY;
}

/* A write is completed on this node, and so on both. */
static void assert_writes(struct pair *pair, unsigned index)
{
    unsigned id = pair_submit(pair, index, REPLICA_OP_WRITE, 65536, 4096, 0x77);

    pair_run(pair);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
}

static void assert_refuses(struct pair *pair, unsigned index)
{
    unsigned id = pair_submit(pair, index, REPLICA_OP_WRITE, 65536, 4096, 0x66);

    pair_run(pair);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, REPLICA_E_READ_ONLY);
}

START_TEST(every_step_in_its_order)
{
    struct pair *pair = suspended();
    int from = (int)pair->traced;
    uint64_t epoch = pair_status(pair, PAIR_A).epoch;

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED), 0);
    PAIR_ORDER(pair, from, "b: send PROMOTE", "a: send HANDOVER", "a: ask handover",
               "a: disk flush*", "a: send FLUSH", "b: done flush", "b: send FLUSH_ACK",
               "a: write superblock", "a: done superblock", "a: send PROMOTE_ACK",
               "a: handover gone", "b: write superblock", "b: done superblock", "b: answer ok");
    ck_assert(is_primary(pair, PAIR_B) && !is_primary(pair, PAIR_A));
    ck_assert_int_eq(pair_status(pair, PAIR_A).peer_role, REPLICA_ROLE_PRIMARY);
    ck_assert_int_eq(pair_status(pair, PAIR_B).peer_role, REPLICA_ROLE_SECONDARY);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).epoch, epoch + 1);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).epoch, epoch + 1);
    assert_writes(pair, PAIR_B);
    assert_refuses(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

START_TEST(running_guest_is_never_taken_from)
{
    struct pair *pair = suspended();
    int from = (int)pair->traced;

    pair->node[PAIR_A].handover_code = REPLICA_E_PEER_PRIMARY;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), REPLICA_E_PEER_PRIMARY);
    ck_assert_str_eq(pair->node[PAIR_B].answer_text,
                     "vm1: the peer alpha is Primary and its guest (domain 5) runs there");
    ck_assert_int_ge(pair_find(pair, from, "a: handover kept"), 0);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    ck_assert_int_eq(pair_find(pair, from, "a: write superblock"), -1);
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

/* Requests under way are waited for; those that come in the meantime wait, and are refused only
 * once the role has gone. */
START_TEST(drains_first)
{
    struct pair *pair = suspended();
    unsigned before, after;
    int from = (int)pair->traced;

    pair->node[PAIR_B].hold = HOLD_WRITE;
    before = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, 0);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).handover, REPLICA_HANDOVER_DRAINING);
    ck_assert_int_eq(pair_status(pair, PAIR_B).handover, REPLICA_HANDOVER_WAITING);
    after = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 2);
    pair_run(pair);
    ck_assert(!pair->request[before].done && !pair->request[after].done);
    ck_assert_int_eq(pair_find(pair, from, "a: write superblock"), -1);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair->request[before].code, 0);
    ck_assert_int_eq(pair->request[after].code, REPLICA_E_READ_ONLY);
    ck_assert(pair->request[after].done && is_primary(pair, PAIR_B));
    ck_assert_uint_eq(pair->node[PAIR_B].data[0], 1);
    pair_free(pair);
}
END_TEST

/* What is held back when the link is cut, on which node. */
static const struct {
    unsigned node, hold;
    bool late; /* the shell has not answered */
} cuts[] = {
    {PAIR_A, 0, true},           /* ASK */
    {PAIR_B, HOLD_WRITE, false}, /* DRAIN */
    {PAIR_B, HOLD_FLUSH, false}, /* CONFIRM */
    {PAIR_A, HOLD_META, false},  /* PERSIST */
};
enum { CUTS = sizeof cuts / sizeof *cuts };

static struct pair *stuck_at(int step)
{
    struct pair *pair = suspended();

    pair->node[PAIR_A].handover_late = cuts[step].late;
    pair->node[cuts[step].node].hold = cuts[step].hold;
    if (cuts[step].hold == HOLD_WRITE)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, 0);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_B].answered);
    return pair;
}

/* Before the grant a cut leaves the role where it was; the taker does not go on alone. */
START_TEST(cut_before_the_grant)
{
    struct pair *pair = stuck_at(_i);
    int from = (int)pair->traced;

    pair_cut(pair, REPLICA_E_LINK);
    ck_assert(pair->node[PAIR_B].answered);
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_ge(pair_find(pair, from, "a: handover kept"), 0);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    assert_writes(pair, PAIR_A);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    pair->node[PAIR_A].handover_late = false;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    assert_writes(pair, PAIR_B);
    pair_free(pair);
}
END_TEST

/* A parked request goes on when the role stays, but not before PRIMARY is on disk again. */
START_TEST(parked_until_primary_is_durable_again)
{
    struct pair *pair = stuck_at(3);
    unsigned id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 9);

    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_META | HOLD_LINK;
    pair_run(pair);
    ck_assert(!pair->request[id].done);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    ck_assert(pair_status(pair, PAIR_A).flags & METADATA_PRIMARY);
    pair_free(pair);
}
END_TEST

/* The giver's process dies at each step before the grant: it comes back, the pair agrees. */
START_TEST(giver_dies_before_the_grant)
{
    struct pair *pair = stuck_at(_i);

    pair_crash(pair, PAIR_A);
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_LINK);
    ck_assert(!is_primary(pair, PAIR_B));
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair->node[PAIR_A].handover_late = false;
    pair_run(pair);
    pair_attach(pair, PAIR_A);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert(!is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED), 0);
    assert_writes(pair, PAIR_B);
    pair_free(pair);
}
END_TEST

START_TEST(taker_dies_before_the_grant)
{
    struct pair *pair = stuck_at(_i);

    pair_crash(pair, PAIR_B);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(is_primary(pair, PAIR_A));
    assert_writes(pair, PAIR_A);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_ESTABLISHED);
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

/* The grant is lost with the link: nobody writes; over a new link the giver has it back, and
 * without one it does not take it. */
START_TEST(grant_is_lost)
{
    struct pair *pair = suspended();
    int from = (int)pair->traced;

    pair->node[PAIR_A].hold = HOLD_META;
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_SEND;
    pair_run(pair);
    ck_assert_int_ge(pair_find(pair, from, "a: send PROMOTE_ACK"), 0);
    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert(!is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_LINK);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK),
                     REPLICA_E_LINK);
    ck_assert_ptr_nonnull(strstr(pair->node[PAIR_A].answer_text, "tapdrbdadm primary vm1"));
    pair->node[PAIR_A].hold = 0;
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK), 0);
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

/* The taker dies after the grant, on either side of its own superblock. */
START_TEST(taker_dies_after_the_grant)
{
    struct pair *pair = suspended();

    if (_i == 0)
        pair->node[PAIR_B].hold = HOLD_META;
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED);
    pair_run(pair);
    ck_assert(!is_primary(pair, PAIR_A) && is_primary(pair, PAIR_B) == (_i == 1));
    pair_crash(pair, PAIR_B);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK),
                     REPLICA_E_LINK);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).replication, REPLICA_REPLICATION_ESTABLISHED);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK), 0);
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

/* The migration fails after the handover: the other shell is asked whether its guest runs. */
START_TEST(take_back)
{
    struct pair *pair = suspended();
    int from;

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED), 0);
    from = (int)pair->traced;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK),
                     REPLICA_E_PEER_PRIMARY);
    ck_assert_int_ge(pair_find(pair, from, "b: ask handover back"), 0);
    assert_writes(pair, PAIR_B);
    pair->node[PAIR_B].handover_code = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK), 0);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).epoch, pair_status(pair, PAIR_B).epoch);
    assert_writes(pair, PAIR_A);
    assert_refuses(pair, PAIR_B);
    pair_free(pair);
}
END_TEST

/* A shell or a disk that does not come to an end: the role stays, with a word about it. */
START_TEST(giver_gives_up)
{
    struct pair *pair = stuck_at(_i);
    int from = (int)pair->traced;

    pair_advance(pair, 19ull * PAIR_SECOND);
    ck_assert(pair->node[PAIR_B].answered);
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_TIMEOUT);
    ck_assert_int_ge(pair_find(pair, from, "a: handover kept"), 0);
    ck_assert(is_primary(pair, PAIR_A));
    pair_handover_answer(pair, PAIR_A, 0, ""); /* too late */
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

/* Its metadata do not answer: it cannot take a step back, so the taker hangs up. */
START_TEST(taker_gives_up)
{
    struct pair *pair = stuck_at(3);

    pair_advance(pair, 31ull * PAIR_SECOND);
    ck_assert(pair->node[PAIR_B].answered);
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_TIMEOUT);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    pair_advance(pair, 20ull * PAIR_SECOND);
    assert_writes(pair, PAIR_A);
    pair_free(pair);
}
END_TEST

START_TEST(givers_disk_fails)
{
    struct pair *pair = stuck_at(_i);

    pair->node[PAIR_A].fail_meta = pair->node[PAIR_A].fail_flush = REPLICA_E_IO;
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    if (cuts[_i].late)
        pair_handover_answer(pair, PAIR_A, 0, "");
    pair->node[PAIR_A].handover_late = false;
    pair_run(pair);
    ck_assert(pair->node[PAIR_B].answered);
    ck_assert_int_ne(pair->node[PAIR_B].answer_code, 0);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    assert_writes(pair, PAIR_A); /* through B */
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED), 0);
    ck_assert(is_primary(pair, PAIR_B) && !is_primary(pair, PAIR_A));
    pair_free(pair);
}
END_TEST

START_TEST(only_over_the_link)
{
    struct pair *pair = suspended();

    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_LINK);
    ck_assert_ptr_nonnull(strstr(pair->node[PAIR_B].answer_text, "are not connected"));
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_LINK);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair_free(pair);
}
END_TEST

/* Towards a disk that is not UpToDate: no. */
/* Nor does a Primary that only believes that its peer is there: that one may have gone on. */
START_TEST(primary_hears_its_peer_first)
{
    struct pair *pair = suspended();

    pair->node[PAIR_B].hold = HOLD_SEND;
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_CONNECTED);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, 0);
    pair->node[PAIR_B].hold = HOLD_SEND;
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_CONNECTED);
    pair_run(pair);
    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_B].hold = pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_LINK);
    pair_free(pair);
}
END_TEST

START_TEST(inconsistent_taker)
{
    struct pair *pair = suspended();

    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    assert_writes(pair, PAIR_A);
    pair->node[PAIR_A].hold = HOLD_READ;
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_NOT_UPTODATE);
    ck_assert_ptr_nonnull(strstr(pair->node[PAIR_B].answer_text, "wait-sync"));
    ck_assert(is_primary(pair, PAIR_A));
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED), 0);
    pair_free(pair);
}
END_TEST

/* Commands on the giver while the role is on its way. */
START_TEST(commands_meanwhile)
{
    struct pair *pair = stuck_at(1);

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), REPLICA_E_BUSY);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DOWN, 0), REPLICA_E_BUSY);
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_TAKE_BACK);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered); /* it would be a lie in a moment */
    pair->node[PAIR_B].hold = 0;
    pair->node[PAIR_B].handover_code = 0;
    pair_run(pair);
    ck_assert(pair->node[PAIR_A].answered && pair->node[PAIR_B].answered);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, 0);
    ck_assert(is_primary(pair, PAIR_A) && !is_primary(pair, PAIR_B));
    pair_free(pair);
}
END_TEST

/* A peer that makes things up. */
START_TEST(answers_to_no_question)
{
    struct pair *pair = suspended();
    struct wire_message message = {.type = _i ? WIRE_HANDOVER : WIRE_PROMOTE_ACK, .epoch = 3};
    int from = (int)pair->traced;

    pair_forge(pair, PAIR_B, &message);
    pair_run(pair);
    ck_assert(!is_primary(pair, PAIR_B));
    ck_assert_int_ge(pair_find(pair, from, "b: send REFUSE"), 0);
    pair_free(pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handover");
    TCase *tcase = tcase_create("handover");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, every_step_in_its_order);
    tcase_add_test(tcase, running_guest_is_never_taken_from);
    tcase_add_test(tcase, drains_first);
    tcase_add_loop_test(tcase, cut_before_the_grant, 0, CUTS);
    tcase_add_test(tcase, parked_until_primary_is_durable_again);
    tcase_add_loop_test(tcase, giver_dies_before_the_grant, 0, CUTS);
    tcase_add_loop_test(tcase, taker_dies_before_the_grant, 0, CUTS);
    tcase_add_test(tcase, grant_is_lost);
    tcase_add_loop_test(tcase, taker_dies_after_the_grant, 0, 2);
    tcase_add_test(tcase, take_back);
    tcase_add_loop_test(tcase, giver_gives_up, 0, CUTS - 1);
    tcase_add_test(tcase, taker_gives_up);
    tcase_add_loop_test(tcase, givers_disk_fails, 0, CUTS);
    tcase_add_test(tcase, only_over_the_link);
    tcase_add_test(tcase, primary_hears_its_peer_first);
    tcase_add_test(tcase, inconsistent_taker);
    tcase_add_test(tcase, commands_meanwhile);
    tcase_add_loop_test(tcase, answers_to_no_question, 0, 2);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
