/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_device_hostile.c - what a guest may write into XenStore, and how often. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_help.h"

START_TEST(advisory_nonsense_in_the_frontends_nodes)
{
    static const char *const nonsense[][2] = {{"ring-ref", "-1"},
                                              {"ring-ref", "99999999999999999999"},
                                              {"ring-ref", "0x1"},
                                              {"ring-ref", "abc"},
                                              {"ring-ref", ""},
                                              {"ring-ref", "4000000"},
                                              {"event-channel", "4444"},
                                              {"event-channel", " 1"},
                                              {"protocol", "%s%n"},
                                              {"ring-page-order", "5"},
                                              {"ring-page-order", "4294967295"},
                                              {"num-ring-pages", "3"},
                                              {"num-ring-pages", "0"},
                                              {"multi-queue-num-queues", "0"},
                                              {"multi-queue-num-queues", "65"},
                                              {"multi-queue-num-queues", "2"}};
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    for (unsigned i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        char before[64] = "";
        bool had = get(FRONT, nonsense[i][0]) != NULL;

        if (i == 0)
            front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
        put(FRONT, "protocol", "x86_64-abi");
        put_number(FRONT, "ring-ref", 0);
        put_number(FRONT, "event-channel", front.port);
        (void)snprintf(before, sizeof before, "%s", had ? get(FRONT, nonsense[i][0]) : "");
        put(FRONT, nonsense[i][0], nonsense[i][1]);
        put(FRONT, "state", "3");
        turns(2);
        pass(4 * SECOND); /* a channel that cannot be bound is tried for a while */
        ck_assert_msg(strcmp(get(BACK, "state"), "5") == 0, "%s = \"%s\" gave state %s",
                      nonsense[i][0], nonsense[i][1], get(BACK, "state"));
        ck_assert_uint_eq(fake_xen_leaks().mapped_pages + fake_xen_leaks().bound_ports, 0);
        put(FRONT, nonsense[i][0], had ? before : NULL);
        put(FRONT, "state", "6");
        turns(2);
        put(FRONT, "state", "1");
        turns(2);
        expect_node(BACK, "state", "2");
    }
    fake_store_write(FRONT "/ring-page-order", NULL);
    fake_store_write(FRONT "/num-ring-pages", NULL);
    fake_store_write(FRONT "/multi-queue-num-queues", NULL);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(advisory_huge_and_binary_values)
{
    char huge[1000];
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    memset(huge, '7', sizeof huge);
    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    put_number(FRONT, "event-channel", front.port);
    fake_store_write_bytes(FRONT "/ring-ref", huge, sizeof huge);
    put(FRONT, "state", "3");
    turns(2);
    expect_node(BACK, "state", "5");
    fake_store_write_bytes(FRONT "/state",
                           "6\0"
                           "6",
                           3); /* no state at all: UNKNOWN */
    turns(2);
    expect_node(BACK, "state", "6");
    fake_store_write_bytes(FRONT "/state", huge, sizeof huge);
    turns(2);
    expect_node(BACK, "state", "6");
}
END_TEST

/* The guest writes its state as fast as it can: we look a bounded number of times. */
START_TEST(advisory_watch_storm)
{
    struct front front;
    unsigned before;

    connect_all(&front);
    pass(SECOND);
    before = fake_store_reads();
    for (unsigned i = 0; i < 200; i++) {
        put(FRONT, "state", "4");
        turns(1);
    }
    /* Twenty looks in each tenth of a second that this took, some nodes each. */
    ck_assert_uint_lt(fake_store_reads() - before, 1000);
    pass(SECOND);
    put(FRONT, "state", "6");
    turns(2);
    pass(SECOND);
    expect_node(BACK, "state", "6");
}
END_TEST

/* Closes with a request under way, and comes again. */
static void closes_and_comes(struct front *front, unsigned id)
{
    struct front_segment segment = {DATA, 0, 7};

    front_put(front, id % 2 ? BLKIF_WRITE : BLKIF_READ, id, 0, &segment, 1);
    front_push(front, true);
    turns(1);
    put(FRONT, "state", "6");
    turns(2);
    pass(3 * SECOND);
    expect_node(BACK, "state", "6");
    put(FRONT, "state", "1");
    turns(1);
    front_open(front, 7, BLKIF_ABI_X86_64, 0, 1);
    put_number(FRONT, "event-channel", front->port);
    put(FRONT, "state", "3");
    turns(2);
    pass(SECOND);
}

START_TEST(advisory_connect_and_disconnect_in_a_loop)
{
    struct front front;

    connect_all(&front);
    fake_grant(DATA, 7, true);
    for (unsigned i = 0; i < 100; i++) {
        fake_replica_hold(replica, i % VBDS_GONE_MAX != 0);
        turns(3);
        closes_and_comes(&front, i);
        expect_node(BACK, "state", "4");
        ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 1);
        ck_assert_uint_eq(fake_xen_leaks().bound_ports, 1);
    }
    fake_replica_hold(replica, false);
    turns(3);
    ck_assert_uint_eq(usage().vbds, 1);
}
END_TEST

/* While nothing that it asks for comes to an end, it cannot fill dom0's memory so. */
START_TEST(advisory_connect_and_disconnect_while_io_is_frozen)
{
    struct front front;

    connect_all(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    for (unsigned i = 0; i < VBDS_GONE_MAX; i++)
        closes_and_comes(&front, i);
    expect_node(BACK, "state", "2");
    pass(60 * SECOND);
    ck_assert_uint_eq(usage().vbds, VBDS_GONE_MAX);
    fake_replica_hold(replica, false);
    pass(SECOND);
    pass(SECOND);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(advisory_frontend_directory_vanishes)
{
    struct front front;

    connect_all(&front);
    fake_store_write(FRONT, NULL);
    turns(3);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(usage().mapped_pages + usage().ports, 0);
}
END_TEST

START_TEST(transactions_that_conflict_are_tried_again)
{
    struct front front;

    fake_store_conflicts(10);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "2");
    fake_store_conflicts(10);
    add_works(BACK);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
}
END_TEST

static void add_rest(Suite *suite)
{
    TCase *tcase = group(suite, "hostile");

    tcase_add_test(tcase, advisory_nonsense_in_the_frontends_nodes);
    tcase_add_test(tcase, advisory_huge_and_binary_values);
    tcase_add_test(tcase, advisory_watch_storm);
    tcase_add_test(tcase, advisory_connect_and_disconnect_in_a_loop);
    tcase_add_test(tcase, advisory_connect_and_disconnect_while_io_is_frozen);
    tcase_add_test(tcase, advisory_frontend_directory_vanishes);
    tcase_add_test(tcase, transactions_that_conflict_are_tried_again);
}

int main(void)
{
    Suite *suite = suite_create("device hostile");
    SRunner *runner;
    int failed;

    add_rest(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
