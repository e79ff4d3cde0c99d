/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_device_process.c - a vbd that another process has served is taken up, or held.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device_help.h"

/* ---- another process
 * ------------------------------------------------------------------------------ */

/* The file in which a process keeps the requests of the guest's ring. */
static const char *journal(void)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s/vm1.ring-vbd-7-51712", sysfs);
    return path;
}

static void write_some(struct front *front, unsigned from, unsigned count)
{
    struct front_segment segment = {DATA, 0, 7};

    fake_grant(DATA, front->domain, true);
    for (unsigned i = from; i < from + count; i++)
        front_put(front, BLKIF_WRITE, i, (uint64_t)i * 8, &segment, 1);
    front_push(front, false);
    turns(3);
}

static void answers(struct front *front, unsigned from, unsigned count)
{
    struct front_response response;

    for (unsigned i = from; i < from + count; i++) {
        ck_assert_msg(front_take(front, &response), "no answer for %u", i);
        ck_assert_uint_eq(response.id, i);
        ck_assert_int_eq(response.status, 0);
    }
    ck_assert(!front_take(front, &response));
}

START_TEST(next_process_takes_a_live_ring_up)
{
    struct front front;
    struct xenside *old;

    connect_all(&front);
    write_some(&front, 0, 3);
    answers(&front, 0, 3);
    fake_replica_hold(replica, true);
    write_some(&front, 3, 5);
    old = process_ends();
    ck_assert_int_eq(access(journal(), F_OK), 0);
    fake_replica_hold(replica, false);
    turns(3);
    open_xen();
    turns(3);
    expect_node(BACK, "state", "4");
    ck_assert_uint_eq(fake_role_promotions(), 1);
    answers(&front, 3, 5);
    write_some(&front, 8, 2);
    answers(&front, 8, 2);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 1);
    toolstack_removes(false);
    expect_node(BACK, "state", "5");
    frontend_closes();
    ck_assert_int_ne(access(journal(), F_OK), 0);
    xenside_close(old);
}
END_TEST

/* A file that cannot be opened for the moment is no reason to give the guest's ring up. */
START_TEST(next_process_tries_again)
{
    struct front front;
    struct front_response response;
    struct xenside *old;
    char aside[160];

    connect_all(&front);
    fake_replica_hold(replica, true);
    write_some(&front, 0, 2);
    old = process_ends();
    fake_replica_hold(replica, false);
    turns(3);
    fake_role_refuse(REPLICA_E_STATE, "not yet");
    open_xen();
    (void)snprintf(aside, sizeof aside, "%s.aside", journal());
    ck_assert_int_eq(rename(journal(), aside), 0);
    ck_assert_int_eq(symlink(journal(), journal()), 0); /* ELOOP, for root too */
    fake_role_refuse(0, "");
    pass(6 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 2);
    ck_assert(!front_take(&front, &response));
    ck_assert_int_eq(rename(aside, journal()), 0);
    pass(SECOND);
    answers(&front, 0, 2);
    xenside_close(old);
}
END_TEST

/* The peer has the guest now, or nobody knows: nothing is served, nothing is answered. */
START_TEST(next_process_waits_for_the_peers_word)
{
    struct front front;
    struct xenside *old;
    struct front_response response;

    connect_all(&front);
    fake_replica_hold(replica, true);
    write_some(&front, 0, 2);
    old = process_ends();
    fake_replica_hold(replica, false);
    turns(3);
    fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTING);
    fake_role_refuse(REPLICA_E_PEER_PRIMARY, "the peer is Primary");
    open_xen();
    pass(5 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTED);
    xenside_changed(xen);
    turns(3);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    ck_assert_uint_eq(usage().mapped_pages, 0);
    ck_assert(!front_take(&front, &response));
    fake_role_refuse(0, "");
    pass(6 * SECOND);
    answers(&front, 0, 2);
    xenside_close(old);
}
END_TEST

/* A peer that is not there is not waited for longer than that; a link that was given up is. */
START_TEST(next_process_without_a_peer)
{
    struct front front;
    struct xenside *old;
    bool given_up = _i == 1;

    connect_all(&front);
    old = process_ends();
    fake_replica_connection(replica, given_up ? REPLICA_CONNECTION_STANDALONE
                                              : REPLICA_CONNECTION_CONNECTING);
    open_xen();
    pass(9 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    pass(2 * SECOND);
    pass(20 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), given_up ? 0 : 1);
    fake_replica_role(replica, REPLICA_ROLE_PRIMARY); /* by hand */
    xenside_changed(xen);
    turns(3);
    works(&front);
    xenside_close(old);
}
END_TEST

/* Without a record, or with one that is not of this ring, nothing is guessed. */
START_TEST(next_process_holds_a_live_ring)
{
    struct front front;
    struct xenside *old;
    FILE *file;

    connect_all(&front);
    if (_i == 1)
        *front_index(&front, 8) += 1; /* the guest has played with our index */
    old = process_ends();
    if (_i == 0)
        ck_assert_int_eq(unlink(journal()), 0);
    if (_i == 2) {
        file = fopen(journal(), "r+e");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fseek(file, 20, SEEK_SET), 0);
        ck_assert_int_eq(fputc(0x55, file), 0x55);
        ck_assert_int_eq(fclose(file), 0);
    }
    if (_i == 3)
        put("/local/domain/7", "vm", "/vm/another");
    open_xen();
    turns(3);
    expect_node(BACK, "state", "4");
    ck_assert_uint_eq(usage().mapped_pages, 0);
    ck_assert_uint_eq(fake_role_promotions(), _i == 0 ? 0 : 1);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 1);
    toolstack_removes(true);
    expect_node(BACK, "state", "6");
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 0);
    xenside_close(old);
}
END_TEST

/* The process ended between hotplug add and the guest's start. */
START_TEST(next_process_goes_on_with_an_added_vbd)
{
    struct front front;
    struct xenside *old;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    old = process_ends();
    fake_role_refuse(REPLICA_E_STATE, "not yet");
    open_xen();
    ck_assert_uint_eq(fake_role_promotions(), 1);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "2");
    fake_role_refuse(0, "");
    pass(6 * SECOND);
    expect_node(BACK, "state", "4");
    works(&front);
    xenside_close(old);
}
END_TEST

/* Its guest may use it through the device model, and may have been started on the peer. */
START_TEST(next_process_waits_with_a_vbd_that_has_no_ring)
{
    struct xenside *old;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    old = process_ends();
    fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTING);
    open_xen();
    pass(9 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTED);
    xenside_changed(xen);
    turns(3);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    xenside_close(old);
}
END_TEST

/* The process ends while the toolstack waits for the vbd to close. */
START_TEST(next_process_finishes_a_removal)
{
    struct front front;
    struct xenside *old;
    json_t *vbds;

    connect_all(&front);
    toolstack_removes(false);
    expect_node(BACK, "state", "5");
    old = process_ends();
    open_xen();
    expect_node(BACK, "state", "6");
    pass(SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    ck_assert_int_ne(access(journal(), F_OK), 0);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 0);
    fake_store_write(BACK, NULL);
    turns(2);
    vbds = xenside_status(xen);
    ck_assert_uint_eq(json_array_size(vbds), 0);
    json_decref(vbds);
    xenside_close(old);
}
END_TEST

/* It was the guest that closed, for its next kernel: the vbd stays, for that one to connect to. */
START_TEST(next_process_finds_a_frontend_that_closes)
{
    struct front front;
    struct xenside *old;

    connect_all(&front);
    put(FRONT, "state", "5");
    turns(2);
    expect_node(BACK, "state", "5");
    old = process_ends();
    if (_i)
        put(FRONT, "state", "6");
    open_xen();
    turns(3);
    if (!_i)
        frontend_closes();
    expect_node(BACK, "state", "6");
    frontend_comes_again(&front);
    toolstack_removes(true);
    expect_node(BACK, "state", "6");
    xenside_close(old);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device process");
    TCase *tcase = group(suite, "all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, next_process_takes_a_live_ring_up);
    tcase_add_test(tcase, next_process_tries_again);
    tcase_add_test(tcase, next_process_waits_for_the_peers_word);
    tcase_add_loop_test(tcase, next_process_without_a_peer, 0, 2);
    tcase_add_loop_test(tcase, next_process_holds_a_live_ring, 0, 4);
    tcase_add_test(tcase, next_process_goes_on_with_an_added_vbd);
    tcase_add_test(tcase, next_process_waits_with_a_vbd_that_has_no_ring);
    tcase_add_loop_test(tcase, next_process_finds_a_frontend_that_closes, 0, 2);
    tcase_add_test(tcase, next_process_finishes_a_removal);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
