/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_ring.c - the backend's end of a shared ring, good and hostile guests. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/words.h"
#include "tapdisk-drbd/ring.h"

static _Alignas(4096) uint8_t page[4096 * RING_PAGES_MAX];

static uint32_t *index_at(unsigned offset)
{
    return (uint32_t *)(void *)(page + offset);
}

static void guest_put(uint32_t at, uint64_t id)
{
    uint8_t *slot = page + 64 + (at % 32) * 112;

    memset(slot, 0, 112);
    memcpy(slot + 8, &id, 8);
}

static struct ring fresh(void)
{
    struct ring ring;

    memset(page, 0, sizeof page);
    *index_at(4) = *index_at(12) = 1;
    ck_assert_int_eq(ring_attach(&ring, BLKIF_ABI_X86_64, page, 1), 0);
    ck_assert_uint_eq(ring.entries, 32);
    return ring;
}

START_TEST(takes_in_order_and_answers)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];
    struct blkif_command command;
    uint64_t id;

    for (uint32_t i = 0; i < 3; i++)
        guest_put(i, 100 + i);
    *index_at(0) = 3;
    for (uint64_t i = 0; i < 3; i++) {
        ck_assert_int_eq(ring_take(&ring, entry), 1);
        blkif_decode(BLKIF_ABI_X86_64, entry, &command);
        ck_assert_uint_eq(command.id, 100 + i);
    }
    ck_assert_int_eq(ring_take(&ring, entry), 0);
    ring_respond(&ring, 101, BLKIF_READ, BLKIF_OKAY);
    ck_assert_uint_eq(*index_at(8), 0); /* nothing is shown before the push */
    ck_assert(ring_push(&ring));
    ck_assert_uint_eq(*index_at(8), 1);
    memcpy(&id, page + 64, 8);
    ck_assert_uint_eq(id, 101);
    ck_assert(!ring_push(&ring));
}
END_TEST

/* One notification a batch, and only when the guest asked to be woken in it. */
START_TEST(notifies_only_when_asked)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    *index_at(0) = 8;
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(ring_take(&ring, entry), 1);
    *index_at(12) = 5; /* wake me at the fifth */
    for (unsigned i = 0; i < 4; i++)
        ring_respond(&ring, i, 0, BLKIF_OKAY);
    ck_assert(!ring_push(&ring));
    ring_respond(&ring, 4, 0, BLKIF_OKAY);
    ring_respond(&ring, 5, 0, BLKIF_OKAY);
    ck_assert(ring_push(&ring));
    ring_respond(&ring, 6, 0, BLKIF_OKAY);
    ck_assert(!ring_push(&ring));
}
END_TEST

START_TEST(final_check_asks_for_the_next_event)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    ck_assert(!ring_final_check(&ring));
    ck_assert_uint_eq(*index_at(4), 1);
    *index_at(0) = 2;
    ck_assert(ring_final_check(&ring));
    ck_assert_int_eq(ring_take(&ring, entry), 1);
    ck_assert_int_eq(ring_take(&ring, entry), 1);
    ck_assert(!ring_final_check(&ring));
    ck_assert_uint_eq(*index_at(4), 3);
}
END_TEST

START_TEST(every_byte_of_a_response_is_written)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];
    static const uint8_t golden[16] = {7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xfe, 0xff};

    memset(page + 64, 0xee, 112);
    *index_at(0) = 1;
    ck_assert_int_eq(ring_take(&ring, entry), 1);
    ring_respond(&ring, 7, BLKIF_WRITE, BLKIF_UNSUPPORTED);
    ck_assert_int_eq(memcmp(page + 64, golden, sizeof golden), 0);
}
END_TEST

START_TEST(advisory_more_requests_than_the_ring_holds)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    *index_at(0) = 33;
    ck_assert_int_eq(ring_take(&ring, entry), REPLICA_E_PROTOCOL);
    ck_assert(ring.broken);
    *index_at(0) = 1; /* too late */
    ck_assert_int_eq(ring_take(&ring, entry), REPLICA_E_PROTOCOL);
    ck_assert(!ring_final_check(&ring));
    ring_respond(&ring, 1, 0, BLKIF_OKAY);
    ck_assert(!ring_push(&ring));
    ck_assert_uint_eq(*index_at(8), 0);
}
END_TEST

START_TEST(advisory_producer_runs_backwards)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    *index_at(0) = 4;
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(ring_take(&ring, entry), 1);
    *index_at(0) = 3;
    ck_assert_int_eq(ring_take(&ring, entry), REPLICA_E_PROTOCOL);
}
END_TEST

/* Unanswered requests count: the ring is full although all were taken. */
START_TEST(advisory_producer_passes_unanswered_requests)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    *index_at(0) = 32;
    for (unsigned i = 0; i < 32; i++)
        ck_assert_int_eq(ring_take(&ring, entry), 1);
    ck_assert_int_eq(ring_take(&ring, entry), 0);
    *index_at(0) = 33;
    ck_assert_int_eq(ring_take(&ring, entry), REPLICA_E_PROTOCOL);
}
END_TEST

/* The response index is ours: what the guest writes there changes nothing. */
START_TEST(advisory_guest_writes_our_index)
{
    struct ring ring = fresh();
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    *index_at(0) = 2;
    ck_assert_int_eq(ring_take(&ring, entry), 1);
    *index_at(8) = 0x80000000;
    ck_assert_int_eq(ring_take(&ring, entry), 1);
    ring_respond(&ring, 0, 0, BLKIF_OKAY);
    (void)ring_push(&ring);
    ck_assert_uint_eq(*index_at(8), 1);
}
END_TEST

START_TEST(indices_wrap_round)
{
    struct ring ring;
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];

    memset(page, 0, sizeof page);
    *index_at(0) = *index_at(8) = 0xfffffff0;
    *index_at(12) = 0xfffffff1;
    ck_assert_int_eq(ring_attach(&ring, BLKIF_ABI_X86_64, page, 1), 0);
    for (uint32_t i = 0; i < 64; i++) {
        *index_at(0) += 1;
        ck_assert_int_eq(ring_take(&ring, entry), 1);
        ring_respond(&ring, i, 0, BLKIF_OKAY);
        *index_at(12) = ring.response_next;
        ck_assert(ring_push(&ring));
    }
    ck_assert_uint_eq(*index_at(8), 0x30);
}
END_TEST

START_TEST(nonsense_at_attach_is_refused)
{
    struct ring ring;

    memset(page, 0, sizeof page);
    *index_at(0) = 33;
    ck_assert_int_eq(ring_attach(&ring, BLKIF_ABI_X86_64, page, 1), REPLICA_E_PROTOCOL);
    *index_at(0) = 5;
    *index_at(8) = 6;
    ck_assert_int_eq(ring_attach(&ring, BLKIF_ABI_X86_64, page, 1), REPLICA_E_PROTOCOL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, takes_in_order_and_answers);
    tcase_add_test(tcase, notifies_only_when_asked);
    tcase_add_test(tcase, final_check_asks_for_the_next_event);
    tcase_add_test(tcase, every_byte_of_a_response_is_written);
    tcase_add_test(tcase, advisory_more_requests_than_the_ring_holds);
    tcase_add_test(tcase, advisory_producer_runs_backwards);
    tcase_add_test(tcase, advisory_producer_passes_unanswered_requests);
    tcase_add_test(tcase, advisory_guest_writes_our_index);
    tcase_add_test(tcase, indices_wrap_round);
    tcase_add_test(tcase, nonsense_at_attach_is_refused);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
