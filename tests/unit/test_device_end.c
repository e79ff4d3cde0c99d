/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_device_end.c - a vbd goes, comes again, is resized.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device_help.h"

/* ---- going
 * ---------------------------------------------------------------------------------------- */

/* Frontend closes, comes again on the same nodes (kexec, driver reload). */
START_TEST(frontend_reconnects)
{
    struct front front;

    connect_all(&front);
    for (unsigned i = 0; i < 5; i++) {
        pass(SECOND); /* real frontends are not so fast that it counts as a storm */
        put(FRONT, "state", "5");
        turns(2);
        expect_node(BACK, "state", "5");
        frontend_closes();
        ck_assert_uint_eq(usage().mapped_pages, 0);
        frontend_comes_again(&front);
    }
    ck_assert_uint_eq(fake_role_promotions(), 1);
}
END_TEST

/* The watch events of 6, 1 and 3 are seen as one. */
START_TEST(frontend_skips_states)
{
    struct front front;

    connect_all(&front);
    frontend_closes();
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(destroy_and_remove_gives_the_role_back)
{
    const struct replica_control_request *request;
    struct front front;

    connect_all(&front);
    toolstack_removes(true);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(usage().mapped_pages + usage().ports, 0);
    ck_assert_uint_eq(fake_role_demotions(), 0);
    request = ask("vbd-remove", BACK);
    ck_assert_int_eq(request->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_store_write(BACK, NULL);
    turns(2);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 0);
    connect_all(&front); /* the next guest at the same place */
    works(&front);
}
END_TEST

START_TEST(role_that_a_person_took_stays)
{
    struct front front;

    fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
    connect_all(&front);
    toolstack_removes(true);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(fake_role_promotions() + fake_role_demotions(), 0);
}
END_TEST

/* A demotion that is refused (an NBD client is still there) is tried again. */
START_TEST(demotion_is_tried_again)
{
    struct front front;

    connect_all(&front);
    toolstack_removes(true);
    fake_role_refuse(REPLICA_E_BUSY, "NBD clients");
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_role_refuse(0, "");
    pass(2 * SECOND);
    ck_assert_uint_eq(fake_role_demotions(), 2);
    pass(2 * SECOND);
    ck_assert_uint_eq(fake_role_demotions(), 2);
}
END_TEST

/* No script, no word: the nodes are gone. */
START_TEST(backend_node_vanishes)
{
    struct front front;

    connect_all(&front);
    fake_store_write(BACK, NULL);
    turns(3);
    ck_assert_uint_eq(usage().vbds, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    ck_assert_ptr_null(get(BACK, "state")); /* and we did not write it again */
}
END_TEST

/* Made anew before we looked: the old ring is not the new one's. */
START_TEST(made_anew_between_two_looks)
{
    struct front front;

    connect_all(&front);
    fake_store_write(BACK, NULL);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    expect_node(BACK, "state", "2");
    ck_assert_uint_eq(usage().vbds, 0);
    add_works(BACK);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
}
END_TEST

/* A guest that does not answer, a peer that is dead: state 6 comes all the same. */
START_TEST(close_with_frozen_io_takes_less_than_ten_seconds)
{
    struct front front;
    struct front_segment segment = {DATA, 0, 7};

    connect_all(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    front_put(&front, BLKIF_WRITE, 1, 0, &segment, 1);
    front_put(&front, BLKIF_READ, 2, 0, &segment, 1);
    front_push(&front, false);
    turns(2);
    toolstack_removes(_i == 1);
    expect_node(BACK, "state", "5");
    for (unsigned i = 0; i < 90 && strcmp(get(BACK, "state"), "6") != 0; i++)
        pass(SECOND / 10);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    ck_assert_uint_eq(usage().vbds, 1); /* only memory */
    fake_replica_hold(replica, false);
    turns(2);
    ck_assert_uint_eq(usage().vbds, 0);
}
END_TEST

/* A frontend that closes by itself is served until it is closed. */
START_TEST(served_while_closing)
{
    struct front front;

    connect_all(&front);
    toolstack_removes(false);
    expect_node(BACK, "state", "5");
    works(&front);
    frontend_closes();
}
END_TEST

/* Linux says Closed with requests under way, sends those that it had queued once these are
 * answered, and waits for all of them before it lets the disk go. */
START_TEST(closed_with_requests_under_way)
{
    struct front front;
    struct front_segment segment = {DATA, 0, 7};
    struct front_response response;

    connect_all(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    front_put(&front, BLKIF_WRITE, 1, 0, &segment, 1);
    front_push(&front, false);
    turns(2);
    toolstack_removes(false);
    put(FRONT, "state", "6");
    turns(2);
    expect_node(BACK, "state", "5");
    fake_replica_hold(replica, false);
    turns(2);
    ck_assert(front_take(&front, &response));
    ck_assert_uint_eq(response.id, 1);
    front_put(&front, BLKIF_WRITE, 2, 0, &segment, 1);
    front_push(&front, false);
    turns(3);
    ck_assert(front_take(&front, &response));
    ck_assert_uint_eq(response.id, 2);
    ck_assert_int_eq(response.status, 0);
    pass(SECOND / 10);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(usage().mapped_pages, 0);
}
END_TEST

START_TEST(toolstack_closes_what_is_closed)
{
    struct front front;

    connect_all(&front);
    frontend_closes();
    toolstack_removes(false);
    expect_node(BACK, "state", "6");
}
END_TEST

/* ---- others
 * --------------------------------------------------------------------------------------- */

START_TEST(resize_of_a_live_disk)
{
    struct front front;

    connect_all(&front);
    put(BACK, "sectors", "1");
    xenside_resized(xen, UINT64_C(16384) * 512);
    expect_node(BACK, "sectors", "16384");
    expect_node(BACK, "state", "4");
    turns(2);
    works(&front);
}
END_TEST

START_TEST(status_and_writers_name_the_vbd)
{
    struct front front;
    char why[100];
    json_t *status;

    ck_assert_uint_eq(xenside_writers(xen, why, sizeof why), 0);
    connect_all(&front);
    works(&front);
    ck_assert_uint_eq(xenside_writers(xen, why, sizeof why), 1);
    ck_assert_str_eq(why, "domain 7 (vbd 51712)");
    status = xenside_status(xen);
    ck_assert_uint_eq(json_array_size(status), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(status, 0), "state")),
                     "Connected");
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(status, 0), "writes")), 1);
    json_decref(status);
}
END_TEST

/* A hundred guests, one after the other: nothing is left of any. */
START_TEST(hundred_guests)
{
    for (unsigned domain = 1; domain <= 100; domain++) {
        char back[128], front_path[128];
        struct front front;

        (void)snprintf(back, sizeof back, "/local/domain/0/backend/vbd/%u/51712", domain);
        (void)snprintf(front_path, sizeof front_path, "/local/domain/%u/device/vbd/51712", domain);
        toolstack_makes(back, front_path, domain, "vm1", "w");
        turns(3);
        add_works(back);
        frontend_publishes(front_path, &front, domain);
        expect_node(back, "state", "4");
        works(&front);
        fake_store_write(front_path, NULL);
        put(back, "online", "0");
        put(back, "state", "5");
        turns(3);
        expect_node(back, "state", "6");
        ck_assert_int_eq(ask("vbd-remove", back)->code, 0);
        fake_store_write(back, NULL);
        turns(2);
        ck_assert_uint_eq(usage().vbds, 0);
        ck_assert_uint_eq(fake_xen_leaks().watches, 2);
    }
    ck_assert_uint_eq(fake_role_promotions(), 100);
    ck_assert_uint_eq(fake_role_demotions(), 100);
}
END_TEST

static void add_going(Suite *suite)
{
    TCase *tcase = group(suite, "going");

    tcase_add_test(tcase, frontend_reconnects);
    tcase_add_test(tcase, frontend_skips_states);
    tcase_add_test(tcase, destroy_and_remove_gives_the_role_back);
    tcase_add_test(tcase, role_that_a_person_took_stays);
    tcase_add_test(tcase, demotion_is_tried_again);
    tcase_add_test(tcase, backend_node_vanishes);
    tcase_add_test(tcase, made_anew_between_two_looks);
    tcase_add_loop_test(tcase, close_with_frozen_io_takes_less_than_ten_seconds, 0, 2);
    tcase_add_test(tcase, served_while_closing);
    tcase_add_test(tcase, closed_with_requests_under_way);
    tcase_add_test(tcase, toolstack_closes_what_is_closed);
}

static void add_others(Suite *suite)
{
    TCase *tcase = group(suite, "others");

    tcase_add_test(tcase, resize_of_a_live_disk);
    tcase_add_test(tcase, status_and_writers_name_the_vbd);
    tcase_add_test(tcase, hundred_guests);
}

int main(void)
{
    Suite *suite = suite_create("device end");
    SRunner *runner;
    int failed;

    add_going(suite);
    add_others(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
