/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_catch_up.c - two nodes meet, and one has grown while the other was away: that one grows by
 * itself, or says why it cannot. Two cores over a queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DEVICE_BYTES ((uint64_t)8 << 20)
#define GROWTH ((uint64_t)1 << 20)

/* A node whose device is too small says so and stays away. */
START_TEST(test_cannot_catch_up)
{
    struct pair *pair = pair_new(DEVICE_BYTES), *large = pair_new(DEVICE_BYTES + GROWTH);
    int from;

    memcpy(pair->node[1].meta, large->node[1].meta, large->node[1].meta_bytes);
    pair_crash(pair, PAIR_B);
    pair_grow(pair, PAIR_B, GROWTH);
    pair_attach(pair, PAIR_B);
    from = (int)pair->traced;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_STANDALONE);
    ck_assert_int_ge(
        pair_find(pair, from,
                  "a: log beta has 9437184 bytes of data, alpha needs as many and cannot: its "
                  "device holds 8388608 bytes; grow the device (or make new disks equal, "
                  "create-md), then connect"),
        0);
    pair_grow(pair, PAIR_A, GROWTH);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).data_bytes, DEVICE_BYTES + GROWTH);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    pair_free(pair);
    pair_free(large);
}
END_TEST

/* B has grown, and so has the device of A. */
static struct pair *behind(void)
{
    struct pair *pair = pair_new_internal(DEVICE_BYTES, 1),
                *large = pair_new(DEVICE_BYTES + GROWTH);

    memcpy(pair->node[1].meta, large->node[1].meta, large->node[1].meta_bytes);
    pair_crash(pair, PAIR_B);
    pair_grow(pair, PAIR_B, GROWTH);
    pair_grow(pair, PAIR_A, 3 * GROWTH);
    pair_attach(pair, PAIR_B);
    pair_free(large);
    return pair;
}

/* `down` at its beginning: when that is answered nothing is under way any more. */
static void down_before(unsigned actions)
{
    struct pair *pair = behind();
    struct pair_node *a = &pair->node[PAIR_A];

    a->hold = HOLD_MEASURE;
    for (unsigned i = 0; i < 2; i++)
        REQUIRE(pair_command(pair, i, COMMAND_CONNECT, 0) == 0);
    pair_advance(pair,
                 12ull * PAIR_SECOND); /* they have met, and A looks how large its device is */
    a->answered = false;
    pair_ask(pair, PAIR_A, COMMAND_DOWN, 0);
    pair_run_some(pair, actions);
    a->hold = 0;
    for (unsigned i = 0; i < 1000 && !a->answered; i++)
        pair_run_some(pair, 1);
    REQUIRE(a->answered && a->answer_code == 0);
    REQUIRE(core_disk_idle(a->core));
    pair_free(pair);
}

START_TEST(test_down)
{
    for (unsigned actions = 0; actions < 20; actions++)
        down_before(actions);
}
END_TEST

/* A size that no disk can have is not taken over: a superblock with it is not found again, and an
 * older one, in the place that the metadata have left, would be. */
START_TEST(test_impossible_size)
{
    struct pair *pair = pair_new_internal(DEVICE_BYTES, 1);
    uint64_t size = pair_status(pair, PAIR_A).data_bytes;
    struct wire_message hello = {.type = WIRE_HELLO, .hello = {1, 1, "vm1", "beta", 0, 0}};
    struct wire_message state = {.type = WIRE_STATE,
                                 .state = {.data_bytes = size + GROWTH + REPLICA_SECTOR_BYTES,
                                           .role = REPLICA_ROLE_SECONDARY,
                                           .disk = REPLICA_DISK_INCONSISTENT,
                                           .window_bytes = WIRE_WINDOW_BYTES,
                                           .window_requests = WIRE_WINDOW_REQUESTS}};

    pair_grow(pair, PAIR_A, 3 * GROWTH);
    pair->node[PAIR_B].hold = HOLD_SEND;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    pair_forge(pair, PAIR_A, &hello);
    pair_forge(pair, PAIR_A, &state);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).last_link_code, REPLICA_E_PROTOCOL);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).data_bytes, size);
    pair_free(pair);
}
END_TEST

UNIT_MAIN("catch up", test_cannot_catch_up, test_down, test_impossible_size)
