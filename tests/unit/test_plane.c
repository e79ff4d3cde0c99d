/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_plane.c - the data path between a frontend's ring and the replica, over a Xen in memory. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "plane_help.h"

START_TEST(write_then_read)
{
    struct front front;
    struct vbd *vbd = connect_one(&front);
    struct front_segment out[2] = {{DATA, 0, 7}, {DATA + 1, 2, 3}}, in = {DATA + 2, 0, 7};
    struct vbd_counters counters;

    fill(DATA, 0x11);
    fill(DATA + 1, 0x22);
    fake_grant(DATA, 7, false);
    fake_grant(DATA + 1, 7, false);
    fake_grant(DATA + 2, 7, true);
    front_put(&front, BLKIF_WRITE, 1, 100, out, 2);
    front_push(&front, false);
    turns(3);
    expect(&front, 1, BLKIF_OKAY);
    ck_assert(all(fake_replica_data(replica) + 51200, 4096, 0x11));
    ck_assert(all(fake_replica_data(replica) + 51200 + 4096, 1024, 0x22));
    ck_assert(all(fake_replica_data(replica) + 51200 + 5120, 512, 0));
    ck_assert_uint_ge(fake_notified(front.port), 1);
    front_put(&front, BLKIF_READ, 2, 100, &in, 1);
    front_push(&front, false);
    turns(3);
    expect(&front, 2, BLKIF_OKAY);
    ck_assert(all(fake_page(DATA + 2), 4096, 0x11));
    vbd_counters(vbd, &counters);
    ck_assert_uint_eq(counters.reads, 1);
    ck_assert_uint_eq(counters.writes, 1);
    ck_assert_uint_eq(counters.written_sectors, 10);
    ck_assert_uint_eq(counters.active, 0);
}
END_TEST

/* P5: what the replica was given does not change, whatever the guest does to its page. */
START_TEST(p5_guest_rewrites_its_page_in_flight)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, false);
    fake_replica_hold(replica, true);
    for (unsigned round = 0; round < 8; round++) {
        fill(DATA, (uint8_t)(0x40 + round));
        front_put(&front, BLKIF_WRITE, round, (uint64_t)round * 8, &out, 1);
        front_push(&front, false);
        turns(2);
    }
    fill(DATA, 0xff);
    fake_replica_hold(replica, false);
    turns(3);
    for (unsigned round = 0; round < 8; round++) {
        expect(&front, round, BLKIF_OKAY);
        ck_assert(
            all(fake_replica_data(replica) + (size_t)round * 4096, 4096, (uint8_t)(0x40 + round)));
    }
}
END_TEST

/* 256 segments are 1 MiB: four requests to the replica, one answer to the guest. */
static void one_mebibyte(enum blkif_abi abi)
{
    struct front front;
    struct front_segment segments[256];

    front_open(&front, 7, abi, 0, 1);
    (void)connect_as(&front, false);
    for (unsigned i = 0; i < 256; i++) {
        segments[i] = (struct front_segment){DATA + i, 0, 7};
        fill(DATA + i, (uint8_t)i);
        fake_grant(DATA + i, 7, true);
    }
    front_put_indirect(&front, BLKIF_WRITE, 5, 8, segments, 256, 20);
    front_push(&front, false);
    turns(4);
    expect(&front, 5, BLKIF_OKAY);
    ck_assert_uint_eq(fake_replica_requests(replica), 4);
    for (unsigned i = 0; i < 256; i++) {
        ck_assert(all(fake_replica_data(replica) + (size_t)(i + 1) * 4096, 4096, (uint8_t)i));
        fill(DATA + i, 0xff);
    }
    front_put_indirect(&front, BLKIF_READ, 6, 8, segments, 256, 20);
    front_push(&front, false);
    turns(4);
    expect(&front, 6, BLKIF_OKAY);
    for (unsigned i = 0; i < 256; i++)
        ck_assert(all(fake_page(DATA + i), 4096, (uint8_t)i));
}

START_TEST(indirect_of_one_mebibyte)
{
    one_mebibyte((enum blkif_abi)_i);
}
END_TEST

/* Odd pieces do not add up to whole parts: a fifth is needed while four are out. */
START_TEST(indirect_in_more_parts_than_fit)
{
    struct front front;
    struct front_segment segments[256];
    unsigned sectors = 0;

    (void)connect_one(&front);
    for (unsigned i = 0; i < 256; i++) {
        segments[i] = (struct front_segment){DATA + i, 0, i % 63 == 62 ? 0 : 7};
        sectors += segments[i].last + 1u;
        fill(DATA + i, (uint8_t)(i % 200 + 1));
        fake_grant(DATA + i, 7, false);
    }
    front_put_indirect(&front, BLKIF_WRITE, 5, 0, segments, 256, 20);
    front_push(&front, false);
    turns(6);
    expect(&front, 5, BLKIF_OKAY);
    ck_assert(!all(fake_replica_data(replica) + (size_t)(sectors - 1) * 512, 512, 0));
    ck_assert(all(fake_replica_data(replica) + (size_t)sectors * 512, 512, 0));
}
END_TEST

/* A pool smaller than one request: the ring waits and goes on, nothing is lost. */
START_TEST(scarce_buffers)
{
    struct front front;
    struct front_segment segments[256];
    unsigned got = 0;
    struct front_response response;

    teardown();
    setup_pool(REPLICA_REQUEST_BYTES_MAX);
    (void)connect_one(&front);
    for (unsigned i = 0; i < 256; i++) {
        segments[i] = (struct front_segment){DATA + i, 0, 7};
        fill(DATA + i, (uint8_t)(i + 3));
        fake_grant(DATA + i, 7, true);
    }
    for (unsigned i = 0; i < 10; i++)
        front_put_indirect(&front, i % 2 ? BLKIF_READ : BLKIF_WRITE, i, 0, segments, 256, 20 + i);
    front_push(&front, false);
    for (unsigned i = 0; i < 100 && got < 10; i++) {
        turns(1);
        while (front_take(&front, &response)) {
            ck_assert_int_eq(response.status, BLKIF_OKAY);
            got++;
        }
    }
    ck_assert_uint_eq(got, 10);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
    for (unsigned i = 0; i < 256; i++)
        ck_assert(all(fake_replica_data(replica) + (size_t)i * 4096, 4096, (uint8_t)(i + 3)));
}
END_TEST

START_TEST(flush_and_flush_with_data)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, false);
    fill(DATA, 0x77);
    front_put(&front, BLKIF_FLUSH, 1, 0, NULL, 0);
    front_push(&front, false);
    turns(2);
    expect(&front, 1, BLKIF_OKAY);
    ck_assert_uint_eq(fake_replica_flushes(replica), 1);
    front_put(&front, BLKIF_FLUSH, 2, 0, &out, 1);
    front_push(&front, false);
    turns(4);
    expect(&front, 2, BLKIF_OKAY);
    ck_assert_uint_eq(fake_replica_flushes(replica), 2);
    ck_assert(all(fake_replica_data(replica), 4096, 0x77));
}
END_TEST

/* Nothing that came after a barrier begins before it is over; nothing before it is left over. */
START_TEST(barrier_drains_flushes_writes)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};
    struct front_response response;

    (void)connect_one(&front);
    fake_grant(DATA, 7, false);
    fill(DATA, 0x55);
    fake_replica_hold(replica, true);
    front_put(&front, BLKIF_WRITE, 1, 0, &out, 1);
    front_put(&front, BLKIF_BARRIER, 2, 8, &out, 1);
    front_put(&front, BLKIF_WRITE, 3, 16, &out, 1);
    front_push(&front, false);
    turns(3);
    fake_replica_hold(replica, false);
    turns(1);
    ck_assert_uint_eq(fake_replica_requests(replica), 1); /* only the first write */
    expect(&front, 1, BLKIF_OKAY);
    ck_assert(!front_take(&front, &response));
    turns(1);
    ck_assert_uint_eq(fake_replica_requests(replica), 2); /* the flush */
    turns(1);
    ck_assert_uint_eq(fake_replica_requests(replica), 3); /* the barrier's data, durable */
    ck_assert_uint_eq(fake_replica_durable_writes(replica), 1);
    expect(&front, 2, BLKIF_OKAY);
    turns(2);
    expect(&front, 3, BLKIF_OKAY);
    front_put(&front, BLKIF_BARRIER, 4, 0, NULL, 0);
    front_push(&front, false);
    turns(3);
    expect(&front, 4, BLKIF_OKAY);
    ck_assert_uint_eq(fake_replica_flushes(replica), 2);
}
END_TEST

START_TEST(discard_in_parts)
{
    struct front front;

    (void)connect_one(&front);
    memset(fake_replica_data(replica), 0x99, (size_t)SECTORS * 512);
    front_put_discard(&front, 1, 8, SECTORS - 8, 0);
    front_put_discard(&front, 2, 0, 8, 1);
    front_push(&front, false);
    turns(3);
    expect(&front, 2, BLKIF_UNSUPPORTED); /* secure: answered at once */
    expect(&front, 1, BLKIF_OKAY);
    ck_assert(all(fake_replica_data(replica), 4096, 0x99));
    ck_assert(all(fake_replica_data(replica) + 4096, (size_t)SECTORS * 512 - 4096, 0));
}
END_TEST

START_TEST(the_event_channel_is_drained_before_it_is_unmasked)
{
    struct front front;
    struct front_segment in = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    turns(2);
    fake_replica_hold(replica, true);
    for (unsigned i = 0; i < 32; i++)
        front_put(&front, BLKIF_READ, i, 0, &in, 1);
    front_push(&front, true);
    turns(1);
    ck_assert(!fake_port_masked(front.port));
    ck_assert_uint_eq(*front_index(&front, 4), 33);
    fake_replica_hold(replica, false);
    turns(2);
    for (unsigned i = 0; i < 32; i++)
        expect(&front, i, BLKIF_OKAY);
    ck_assert_uint_eq(fake_notified(front.port), 1); /* one for the whole batch */
}
END_TEST

START_TEST(many_queues_and_pages)
{
    static struct vbd_parameters parameters;
    struct front fronts[4];
    struct front_segment in = {DATA, 0, 7};
    struct vbd *vbd;
    struct plane_usage usage;

    memset(&parameters, 0, sizeof parameters);
    parameters.name = "7/51712";
    parameters.queues = 4;
    parameters.limits = (struct blkif_limits){.sectors = SECTORS};
    fake_grant(DATA, 7, true);
    for (unsigned i = 0; i < 4; i++) {
        front_open(&fronts[i], 7, BLKIF_ABI_X86_32, i * 16, 16);
        front_describe(&fronts[i], &parameters, i);
    }
    ck_assert_int_eq(vbd_connect(plane, &parameters, &vbd, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < 512; j++)
            front_put(&fronts[i], BLKIF_READ, i * 1000 + j, j, &in, 1);
        front_push(&fronts[i], false);
    }
    plane_usage(plane, &usage);
    ck_assert_uint_eq(usage.mapped_pages, 64);
    ck_assert_uint_eq(usage.ports, 4);
    turns(20);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 512; j++)
            expect(&fronts[i], i * 1000 + j, BLKIF_OKAY);
    vbd_disconnect(vbd);
    plane_usage(plane, &usage);
    ck_assert_uint_eq(usage.mapped_pages + usage.ports + usage.vbds, 0);
}
END_TEST

/* The third of four queues cannot be mapped, or bound: the first two are let go again. */
/* The same, but the replica answers only when it is closed. */
START_TEST(close_in_flight)
{
    struct front front;
    struct front_segment in = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    for (unsigned i = 0; i < 16; i++)
        front_put(&front, i % 2 ? BLKIF_READ : BLKIF_WRITE, i, 0, &in, 1);
    front_push(&front, false);
    turns(2);
}
END_TEST

START_TEST(a_disk_error_reaches_the_guest)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    fake_replica_fail(replica, 0, REPLICA_E_IO);
    front_put(&front, BLKIF_WRITE, 1, 0, &out, 1);
    front_put(&front, BLKIF_READ, 2, 0, &out, 1);
    front_put(&front, BLKIF_FLUSH, 3, 0, NULL, 0);
    front_push(&front, false);
    turns(3);
    for (unsigned i = 0; i < 3; i++) {
        struct front_response response;

        ck_assert(front_take(&front, &response));
        ck_assert_int_eq(response.status, BLKIF_ERROR);
    }
    fake_replica_fail(replica, 0, REPLICA_E_UNSUPPORTED);
    front_put_discard(&front, 4, 0, 8, 0);
    front_push(&front, false);
    turns(3);
    expect(&front, 4, BLKIF_UNSUPPORTED);
    fake_replica_fail(replica, 0, 0);
}
END_TEST

/* One batch for all writes that come at once. */
START_TEST(copies_are_batched)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};
    unsigned before;

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    turns(1);
    before = fake_copy_calls();
    for (unsigned i = 0; i < 32; i++)
        front_put(&front, BLKIF_WRITE, i, (uint64_t)i * 8, &out, 1);
    front_push(&front, false);
    turns(3);
    ck_assert_uint_eq(fake_copy_calls() - before, 1);
    before = fake_copy_calls();
    for (unsigned i = 0; i < 32; i++)
        expect(&front, i, BLKIF_OKAY);
    for (unsigned i = 0; i < 32; i++)
        front_put(&front, BLKIF_READ, i, (uint64_t)i * 8, &out, 1);
    front_push(&front, false);
    turns(3);
    ck_assert_uint_eq(fake_copy_calls() - before, 1);
}
END_TEST

static void add_serving(Suite *suite)
{
    TCase *tcase = tcase_create("serving");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, write_then_read);
    tcase_add_test(tcase, p5_guest_rewrites_its_page_in_flight);
    tcase_add_loop_test(tcase, indirect_of_one_mebibyte, 0, BLKIF_ABI_COUNT);
    tcase_add_test(tcase, indirect_in_more_parts_than_fit);
    tcase_add_test(tcase, scarce_buffers);
    tcase_add_test(tcase, flush_and_flush_with_data);
    tcase_add_test(tcase, barrier_drains_flushes_writes);
    tcase_add_test(tcase, discard_in_parts);
    tcase_add_test(tcase, the_event_channel_is_drained_before_it_is_unmasked);
    tcase_add_test(tcase, many_queues_and_pages);
    tcase_add_test(tcase, close_in_flight);
    tcase_add_test(tcase, a_disk_error_reaches_the_guest);
    tcase_add_test(tcase, copies_are_batched);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    Suite *suite = suite_create("plane");
    SRunner *runner;
    int failed;

    add_serving(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
