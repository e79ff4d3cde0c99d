/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_last_copy.c - the disk of a Primary fails, and none other is known to have all that it had;
 * two cores over a queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

/* The peer is gone, and the disk with the only good copy has a bad sector: it stays the good copy,
 * and the older one of the peer does not win over it. It is not taken back under a guest. */
START_TEST(test_last_copy)
{
    struct pair *pair = pair_new(DATA_BYTES);
    struct pair_node *a = &pair->node[PAIR_A];
    unsigned write, read;

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_DISCONNECT, 0), 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_int_eq(pair->request[write].code, 0);
    a->fail_read = REPLICA_E_IO;
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 8192, 4096, 0);
    pair_run(pair);
    a->fail_read = 0;
    ck_assert_int_eq(pair->request[read].code, REPLICA_E_IO);
    ck_assert_int_lt(pair_status(pair, PAIR_A).disk, REPLICA_DISK_INCONSISTENT);

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_STATE);
    ck_assert_ptr_nonnull(strstr(a->answer_text, "stop the guest"));
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    for (unsigned i = 0; i < 2; i++)
        pair_command(pair, i, COMMAND_CONNECT, 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 2);
    pair_free(pair);
}
END_TEST

/* A is Primary, its disk fails, and the link is lost before B has heard that it is to take over. */
static struct pair *takeover_unheard(void)
{
    struct pair *pair = pair_new(DATA_BYTES);
    struct pair_node *a = &pair->node[PAIR_A];
    unsigned write;

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, 0);
    a->fail_read = REPLICA_E_IO;
    a->hold = HOLD_SEND;
    pair_submit(pair, PAIR_A, REPLICA_OP_READ, 8192, 4096, 0);
    pair_run(pair);
    a->fail_read = 0;
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    return pair;
}

static void attach_and_connect(struct pair *pair, enum replica_disk disk)
{
    struct pair_node *a = &pair->node[PAIR_A];

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_STATE);
    ck_assert_ptr_nonnull(strstr(a->answer_text, "stop the guest"));
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, disk);
    a->data[0] = 7; /* what only this copy has */
    for (unsigned i = 0; i < 2; i++)
        pair_command(pair, i, COMMAND_CONNECT, 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_status(pair, i).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 2);
}

/* Somebody gives up B's data in that moment: then the disk that failed is the best there is. */
START_TEST(test_invalidated_as_it_fails)
{
    struct pair *pair = takeover_unheard();

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_INVALIDATE, 0), 0);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    attach_and_connect(pair, REPLICA_DISK_OUTDATED);
    ck_assert_uint_eq(pair->node[PAIR_B].data[0], 7);
    pair_free(pair);
}
END_TEST

/* B's data are whole: they win over those of the disk that failed. */
START_TEST(test_unheard_takeover)
{
    struct pair *pair = takeover_unheard();

    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = 0;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_DISCONNECT, 0), 0);
    attach_and_connect(pair, REPLICA_DISK_OUTDATED);
    ck_assert_uint_eq(pair->node[PAIR_B].data[0], 0);
    ck_assert_uint_eq(pair->node[PAIR_A].data[0], 0);
    pair_free(pair);
}
END_TEST

UNIT_MAIN("last copy", test_last_copy, test_invalidated_as_it_fails, test_unheard_takeover)
