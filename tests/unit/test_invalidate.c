/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_invalidate.c - what an operator says of a disk: invalidate, invalidate-remote, outdate,
 * new-current-uuid (P1, P8, P9). */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static void connect_both(struct pair *pair)
{
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
}

static struct pair *plain(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 0x77);
    pair_run(pair);
    return pair;
}

static void assert_in_sync(struct pair *pair)
{
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
}

START_TEST(test_invalidate)
{
    struct pair *pair = plain();
    unsigned from = pair->traced;

    memset(pair->node[PAIR_B].data + 8192, 0x13, 4096); /* a difference that no bitmap knows */
    pair->node[PAIR_B].hold = HOLD_META;
    pair_ask(pair, PAIR_B, COMMAND_INVALIDATE, 0);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_B].answered); /* durable, then the answer */
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    PAIR_ORDER(pair, (int)from, "b: close", "b: done superblock", "b: answer ok");
    assert_in_sync(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_INVALIDATE, 0), REPLICA_E_STATE);
    pair_free(pair);
}
END_TEST

/* Alone, and over a crash: still Inconsistent, and nothing may be promoted. */
START_TEST(test_invalidate_is_durable)
{
    struct pair *pair = plain();

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_INVALIDATE, 0), 0);
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), REPLICA_E_NOT_UPTODATE);
    memset(pair->node[PAIR_B].data + 8192, 0x13, 4096);
    connect_both(pair);
    assert_in_sync(pair);
    pair_free(pair);
}
END_TEST

START_TEST(test_invalidate_remote)
{
    struct pair *pair = plain();
    unsigned from = pair->traced;

    memset(pair->node[PAIR_B].data + 8192, 0x13, 4096);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_INVALIDATE_REMOTE, 0), 0);
    PAIR_ORDER(pair, (int)from, "a: send INVALIDATE", "b: done superblock",
               "b: send INVALIDATE_ACK", "a: answer ok", "a: close");
    assert_in_sync(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_INVALIDATE_REMOTE, 0),
                     REPLICA_E_PEER_PRIMARY);
    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_LINK;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_INVALIDATE_REMOTE, 0), REPLICA_E_STATE);
    pair_free(pair);
}
END_TEST

START_TEST(test_outdate)
{
    struct pair *pair = plain();

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_OUTDATE, 0), REPLICA_E_STATE);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_OUTDATE, 0), REPLICA_E_STATE);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_OUTDATE, 0), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_OUTDATED);
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_OUTDATED);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), REPLICA_E_NOT_UPTODATE);
    connect_both(pair);
    assert_in_sync(pair);
    pair_free(pair);
}
END_TEST

/* The handshake has made the peer a target of this node's data: they are not given up now. */
START_TEST(test_invalidate_in_a_handshake)
{
    struct pair *pair = plain();

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 0x78);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    connect_both(pair);
    pair->node[PAIR_B].hold = HOLD_META;
    pair_advance(pair, 12ull * PAIR_SECOND); /* B is Inconsistent, and writes that down */
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_INVALIDATE, 0), REPLICA_E_BUSY);
    pair->node[PAIR_B].hold = 0;
    assert_in_sync(pair);
    ck_assert_uint_eq(pair->node[PAIR_B].data[8192], 0x78);
    pair_free(pair);
}
END_TEST

/* The link is lost with the peer's answer: it may bear the generation that it was asked for, and
 * has begun nothing in it. The Primary's own comes after both that and the one before. */
static void lost_in_new_uuid(const char *until)
{
    struct pair *pair = plain();

    pair_ask(pair, PAIR_A, COMMAND_NEW_UUID, 0);
    if (until)
        pair_run_to(pair, until);
    pair_cut(pair, REPLICA_E_LINK);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 0x79);
    pair_run(pair);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_LINK);
    assert_in_sync(pair);
    ck_assert_uint_eq(pair->node[PAIR_B].data[8192], 0x79);
    pair_free(pair);
}

START_TEST(test_lost_in_new_uuid)
{
    lost_in_new_uuid(NULL);
    lost_in_new_uuid("b: send NEW_UUID_ACK");
}
END_TEST

/* The Primary's disk fails meanwhile: the peer takes its data over, whatever it was writing. */
static void disk_lost_in_new_uuid(unsigned writing)
{
    struct pair *pair = plain();
    unsigned lost, later;

    pair->node[writing].hold = HOLD_META;
    pair_ask(pair, PAIR_A, COMMAND_NEW_UUID, 0);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    lost = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 0x79);
    pair_run(pair);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    later = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 16384, 4096, 0x7a);
    pair_run(pair);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_IO);
    ck_assert_int_eq(pair->request[lost].code, 0);
    ck_assert_int_eq(pair->request[later].code, 0);
    ck_assert_uint_eq(pair->node[PAIR_B].data[8192], 0x79);
    ck_assert_uint_eq(pair->node[PAIR_B].data[16384], 0x7a);
    pair->node[PAIR_A].fail_write = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    assert_in_sync(pair);
    pair_free(pair);
}

START_TEST(test_disk_lost_in_new_uuid)
{
    disk_lost_in_new_uuid(PAIR_A);
    disk_lost_in_new_uuid(PAIR_B);
}
END_TEST

UNIT_MAIN("invalidate", test_invalidate, test_invalidate_is_durable, test_invalidate_remote,
          test_outdate, test_invalidate_in_a_handshake, test_lost_in_new_uuid,
          test_disk_lost_in_new_uuid)
