/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_plane_hostile.c - what a guest may put into its ring, its grants and its events. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "plane_help.h"

START_TEST(advisory_read_only_never_writes)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};

    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    (void)connect_as(&front, true);
    fake_grant(DATA, 7, true);
    front_put(&front, BLKIF_WRITE, 1, 0, &out, 1);
    front_put(&front, BLKIF_BARRIER, 2, 0, &out, 1);
    front_put_indirect(&front, BLKIF_WRITE, 3, 0, &out, 1, 20);
    front_put_discard(&front, 4, 0, 8, 0);
    front_put(&front, BLKIF_FLUSH, 5, 0, &out, 1);
    front_push(&front, false);
    turns(2);
    for (uint64_t id = 1; id <= 5; id++)
        expect(&front, id, BLKIF_ERROR);
    ck_assert_uint_eq(fake_replica_requests(replica), 0);
    ck_assert_uint_eq(fake_copy_ops(), 0);
    front_put(&front, BLKIF_READ, 6, 0, &out, 1);
    front_push(&front, false);
    turns(2);
    expect(&front, 6, BLKIF_OKAY);
}
END_TEST

/* The hypervisor refuses one operation of several: that request fails, its neighbours do not. */
START_TEST(advisory_each_copy_status_counts)
{
    struct front front;
    struct front_segment good = {DATA, 0, 7},
                         bad[3] = {{DATA, 0, 7}, {DATA + 1, 0, 7}, {DATA, 0, 7}};

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    fill(DATA, 0x31);
    front_put(&front, BLKIF_WRITE, 1, 0, &good, 1);
    front_put(&front, BLKIF_WRITE, 2, 8, bad, 3); /* DATA + 1 is not granted */
    front_put(&front, BLKIF_WRITE, 3, 64, &good, 1);
    front_put(&front, BLKIF_READ, 4, 0, &bad[1], 1);
    front_put_indirect(&front, BLKIF_READ, 5, 0, bad, 3, 20);
    fake_revoke(20);
    front_push(&front, false);
    turns(4);
    for (unsigned i = 0; i < 5; i++) {
        struct front_response response;

        ck_assert(front_take(&front, &response));
        ck_assert_int_eq(response.status,
                         response.id == 1 || response.id == 3 ? BLKIF_OKAY : BLKIF_ERROR);
    }
    ck_assert(all(fake_replica_data(replica), 4096, 0x31));
    ck_assert(all(fake_replica_data(replica) + 4096, 3 * 4096, 0));
    ck_assert(all(fake_replica_data(replica) + 32768, 4096, 0x31));
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
}
END_TEST

START_TEST(advisory_refused_batch_is_no_success)
{
    struct front front;
    struct front_segment out = {DATA, 0, 7};

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    fake_copy_refuse(true);
    front_put(&front, BLKIF_WRITE, 1, 0, &out, 1);
    front_put(&front, BLKIF_READ, 2, 0, &out, 1);
    front_push(&front, false);
    turns(3);
    expect(&front, 1, BLKIF_ERROR);
    expect(&front, 2, BLKIF_ERROR);
    ck_assert_uint_eq(fake_replica_requests(replica), 1);
}
END_TEST

/* The descriptors are copied once: changing them afterwards changes nothing. */
START_TEST(advisory_indirect_page_changes_after_the_copy)
{
    struct front front;
    struct front_segment in[16];

    (void)connect_one(&front);
    fake_grant(DATA, 7, true);
    fake_grant(DATA + 1, 7, true);
    for (unsigned i = 0; i < 16; i++)
        in[i] = (struct front_segment){DATA, 0, 7};
    memset(fake_replica_data(replica), 0x42, 16 * 4096);
    fill(DATA + 1, 0);
    fake_replica_hold(replica, true);
    front_put_indirect(&front, BLKIF_READ, 1, 0, in, 16, 20);
    front_push(&front, false);
    turns(2);
    for (unsigned i = 0; i < 16; i++) {
        fake_page(20)[i * 8] = (uint8_t)((DATA + 1) & 0xff);
        fake_page(20)[i * 8 + 5] = 200;
    }
    fake_replica_hold(replica, false);
    turns(2);
    expect(&front, 1, BLKIF_OKAY);
    ck_assert(all(fake_page(DATA), 4096, 0x42));
    ck_assert(all(fake_page(DATA + 1), 4096, 0));
}
END_TEST

START_TEST(advisory_ring_overflow_stops_that_ring_only)
{
    struct front good, bad;
    struct front_segment in = {DATA, 0, 7};
    struct vbd *vbd;
    struct vbd_counters counters;
    struct front_response response;

    front_open(&bad, 8, BLKIF_ABI_X86_64, 4, 1);
    vbd = connect_as(&bad, false);
    (void)connect_one(&good);
    fake_grant(DATA, 7, true);
    *front_index(&bad, 0) = 4000;
    fake_event(bad.port);
    turns(2);
    *front_index(&bad, 0) = 1;
    fake_event(bad.port);
    turns(2);
    ck_assert(!front_take(&bad, &response));
    vbd_counters(vbd, &counters);
    ck_assert_uint_eq(counters.broken, 1);
    front_put(&good, BLKIF_READ, 9, 0, &in, 1);
    front_push(&good, false);
    turns(2);
    expect(&good, 9, BLKIF_OKAY);
}
END_TEST

/* Events for nothing: the channel stays masked for longer and longer, and a request that comes
 * meanwhile is found all the same. */
START_TEST(advisory_event_storm)
{
    struct front front;
    struct front_segment in = {DATA, 0, 7};
    struct vbd *vbd = connect_one(&front);
    struct vbd_counters counters;

    fake_grant(DATA, 7, true);
    for (unsigned i = 0; i < 200; i++) {
        fake_event(front.port);
        turns(1);
    }
    vbd_counters(vbd, &counters);
    ck_assert_uint_le(counters.spurious, 40);
    ck_assert(fake_port_masked(front.port));
    front_put(&front, BLKIF_READ, 1, 0, &in, 1);
    front_push(&front, false);
    fake_loop_advance(loop, 200000000);
    turns(3);
    expect(&front, 1, BLKIF_OKAY);
    turns(1);
    ck_assert(!fake_port_masked(front.port));
}
END_TEST

START_TEST(advisory_partial_map_is_undone)
{
    static struct vbd_parameters parameters;
    struct front fronts[4];
    struct vbd *vbd = NULL;

    memset(&parameters, 0, sizeof parameters);
    parameters.name = "7/51712";
    parameters.queues = 4;
    for (unsigned i = 0; i < 4; i++) {
        front_open(&fronts[i], 7, BLKIF_ABI_X86_64, i * 4, 4);
        front_describe(&fronts[i], &parameters, i);
    }
    fake_revoke(10);
    ck_assert_int_eq(vbd_connect(plane, &parameters, &vbd, NULL), REPLICA_E_IO);
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    ck_assert_uint_eq(fake_xen_leaks().bound_ports, 0);
    fake_grant(10, 7, true);
    fake_port_taken(fronts[3].port, true);
    ck_assert_int_eq(vbd_connect(plane, &parameters, &vbd, NULL), REPLICA_E_BUSY);
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    ck_assert_uint_eq(fake_xen_leaks().bound_ports, 0);
    ck_assert_ptr_null(vbd);
    fake_port_taken(fronts[3].port, false);
    *front_index(&fronts[1], 0) = 0x1000;
    ck_assert_int_eq(vbd_connect(plane, &parameters, &vbd, NULL), REPLICA_E_PROTOCOL);
    ck_assert_uint_eq(fake_xen_leaks().bound_ports, 0);
}
END_TEST

/* Disconnecting while the replica works: everything of the guest's goes at once, the memory later;
 * what comes back is not copied into a page that is no longer ours. */
START_TEST(advisory_disconnect_in_flight)
{
    struct front front;
    struct front_segment segments[256];
    struct vbd *vbd = connect_one(&front);
    struct plane_usage usage;

    for (unsigned i = 0; i < 256; i++) {
        segments[i] = (struct front_segment){DATA + i, 0, 7};
        fake_grant(DATA + i, 7, true);
        fill(DATA + i, 0x0f);
    }
    fake_replica_hold(replica, true);
    front_put(&front, BLKIF_READ, 1, 0, segments, 1);
    front_put_indirect(&front, BLKIF_READ, 2, 0, segments, 256, 20);
    front_put_indirect(&front, BLKIF_WRITE, 3, 0, segments, 256, 21);
    front_put(&front, BLKIF_BARRIER, 4, 0, segments, 1);
    front_put(&front, BLKIF_FLUSH, 5, 0, NULL, 0);
    front_push(&front, false);
    turns(2);
    ck_assert(!vbd_idle(vbd));
    vbd_stop(vbd);
    vbd_disconnect(vbd);
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    ck_assert_uint_eq(fake_xen_leaks().bound_ports, 0);
    plane_usage(plane, &usage);
    ck_assert_uint_eq(usage.vbds, 1);
    fake_replica_hold(replica, false);
    turns(3);
    plane_usage(plane, &usage);
    ck_assert_uint_eq(usage.vbds, 0);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
    ck_assert(all(fake_page(DATA), 4096, 0x0f));
}
END_TEST

static void add_hostile(Suite *suite)
{
    TCase *tcase = tcase_create("hostile");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, advisory_read_only_never_writes);
    tcase_add_test(tcase, advisory_each_copy_status_counts);
    tcase_add_test(tcase, advisory_refused_batch_is_no_success);
    tcase_add_test(tcase, advisory_indirect_page_changes_after_the_copy);
    tcase_add_test(tcase, advisory_ring_overflow_stops_that_ring_only);
    tcase_add_test(tcase, advisory_event_storm);
    tcase_add_test(tcase, advisory_partial_map_is_undone);
    tcase_add_test(tcase, advisory_disconnect_in_flight);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    Suite *suite = suite_create("plane hostile");
    SRunner *runner;
    int failed;

    add_hostile(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
