/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core_discard.c - `connect --discard-my-data` gives up what the node had when it was said,
 * once, and nothing that came later (P8): two cores over a queue, see core_pair.h.
 */
#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

/* A is Primary, B has left. */
static struct pair *apart(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    return pair;
}

/* Both write, while no stream comes up; then one does. */
static void diverge(struct pair *pair)
{
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_submit(pair, PAIR_B, REPLICA_OP_WRITE, 8192, 4096, 3);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DEMOTE, 0), 0);
    pair->node[PAIR_A].hold = 0;
    pair_advance(pair, 30ull * PAIR_SECOND);
}

static void assert_split(struct pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pair_status(pair, i).connection, REPLICA_CONNECTION_STANDALONE);
        ck_assert_int_eq(pair_status(pair, i).last_link_code, REPLICA_E_SPLIT_BRAIN);
    }
    ck_assert_uint_eq(pair->node[PAIR_B].data[8192], 3);
    pair_free(pair);
}

START_TEST(a_connection_without_a_difference_spends_the_wish)
{
    struct pair *pair = apart();

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, COMMAND_DISCARD_MY_DATA), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).replication, REPLICA_REPLICATION_ESTABLISHED);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    diverge(pair);
    assert_split(pair);
}
END_TEST

START_TEST(a_promotion_withdraws_the_wish)
{
    struct pair *pair = apart();

    pair->node[PAIR_A].hold = HOLD_LINK;
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, COMMAND_DISCARD_MY_DATA), 0);
    diverge(pair);
    assert_split(pair);
}
END_TEST

UNIT_MAIN("core discard", a_connection_without_a_difference_spends_the_wish,
          a_promotion_withdraws_the_wish)
