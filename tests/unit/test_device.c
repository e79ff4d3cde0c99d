/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_device.c - a vbd comes: create, hotplug add, and xen-blkback that has to let go.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device_help.h"

START_TEST(create_in_the_ordinary_order)
{
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "2");
    expect_node(BACK, "feature-flush-cache", "1");
    expect_node(BACK, "feature-max-indirect-segments", "256");
    expect_node(BACK, "max-ring-page-order", "4");
    expect_node(BACK, "feature-discard", "1");
    ck_assert_uint_eq(fake_role_promotions(), 0);
    add_works(BACK);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    expect_node(BACK, "hotplug-status", "connected");
    expect_node(BACK, "physical-device-path", "nbd+unix:///?socket=/run/tapdrbd/vm1.nbd");
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    expect_node(BACK, "sectors", "8192");
    expect_node(BACK, "sector-size", "512");
    expect_node(BACK, "physical-sector-size", "4096");
    expect_node(BACK, "info", "0");
    works(&front);
}
END_TEST

/* vbd3: nobody but us writes state 2, and the path is a socket's. */
START_TEST(vbd3_with_its_prefix)
{
    toolstack_makes(BACK3, FRONT, 7, "aio:vm1", "w");
    turns(2);
    expect_node(BACK3, "state", "2");
    add_works("backend/vbd3/7/51712");
    expect_node(BACK3, "physical-device-path", "/run/tapdrbd/vm1.nbd");
}
END_TEST

START_TEST(only_our_nodes)
{
    toolstack_makes(BACK, FRONT, 7, "vm2", "w");
    toolstack_makes("/local/domain/0/backend/vbd/8/51712", "/local/domain/8/device/vbd/51712", 8,
                    "vm1", "w");
    put("/local/domain/0/backend/vbd/8/51712", "script", "/etc/xen/scripts/block-iscsi");
    put("/local/domain/0/backend/vbd/8/51712", "params", "vm1");
    turns(3);
    expect_node(BACK, "state", "1");
    ck_assert_int_eq(ask("vbd-add", BACK)->code, REPLICA_E_NOT_FOUND);
    ck_assert_int_eq(ask("vbd-add", "/local/domain/0/backend/vif/7/0")->code, REPLICA_E_INVALID);
    ck_assert_int_eq(ask("vbd-add", "backend/vbd/7/51712/../..")->code, REPLICA_E_INVALID);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
}
END_TEST

/* The frontend is Initialised, or even Connected, before we are at InitWait. */
START_TEST(frontend_ahead_of_us)
{
    struct front front;

    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    put(FRONT, "protocol", "x86_64-abi");
    put_number(FRONT, "ring-ref", 0);
    put_number(FRONT, "event-channel", front.port);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    put(FRONT, "state", _i ? "4" : "3");
    turns(3);
    expect_node(BACK, "state", "2");
    add_works(BACK);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(read_only_says_so_and_discard_can_be_forbidden)
{
    toolstack_makes(BACK, FRONT, 7, "vm1", "r");
    put(BACK, "discard-enable", "0");
    turns(2);
    add_works(BACK);
    {
        struct front front;

        frontend_publishes(FRONT, &front, 7);
    }
    expect_node(BACK, "info", "4");
    expect_node(BACK, "feature-discard", "0");
}
END_TEST

/* Its mkfs would write the whole disk full of zeroes, on both hosts. */
START_TEST(discard_that_frees_nothing_is_not_offered)
{
    struct front_response response;
    struct front front;

    fake_replica_no_discard(replica);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "feature-discard", "0");
    add_works(BACK);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    expect_node(BACK, "feature-discard", "0");
    front_put_discard(&front, 1, 0, SECTORS, 0);
    front_push(&front, true);
    turns(4);
    ck_assert(front_take(&front, &response));
    ck_assert_int_eq(response.status, BLKIF_UNSUPPORTED);
}
END_TEST

START_TEST(promotion_refused_is_the_answer)
{
    const struct replica_control_request *request;

    fake_role_refuse(REPLICA_E_PEER_PRIMARY, "vm1 is Primary on beta");
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert_int_eq(request->code, REPLICA_E_PEER_PRIMARY);
    ck_assert_str_eq(request->text, "vm1 is Primary on beta");
    ck_assert_ptr_null(get(BACK, "hotplug-status"));
    put(BACK, "online", "0");
    put(BACK, "state", "5");
    turns(3);
    expect_node(BACK, "state", "6");
}
END_TEST

START_TEST(second_writer_is_refused_reader_is_not)
{
    static const char other[] = "/local/domain/0/backend/vbd/8/51712";
    static const char pygrub[] = "/local/domain/0/backend/vbd/0/51728";
    const struct replica_control_request *request;
    struct front front;

    connect_all(&front);
    toolstack_makes(other, "/local/domain/8/device/vbd/51712", 8, "vm1", "w");
    turns(2);
    request = ask("vbd-add", other);
    ck_assert_int_eq(request->code, REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(request->text, "xl block-detach 7 51712"));
    toolstack_makes(pygrub, "/local/domain/0/device/vbd/51728", 0, "vm1", "r");
    turns(2);
    add_works(pygrub);
    works(&front);
}
END_TEST

/* While the peer is asked the loop runs on; the answer comes when it comes. */
START_TEST(slow_promotion)
{
    const struct replica_control_request *request;
    struct front front;

    fake_role_hold(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert(!request->answered);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "2");
    fake_role_answer();
    turns(3);
    ck_assert(request->answered);
    expect_node(BACK, "state", "4");
}
END_TEST

/* The host may have been away, and the guest may run on the peer: that has a while to say so. One
 * that is not called, or has had that while, is not waited for; nor is it where the disk decides.
 */
START_TEST(young_process_waits_for_the_peers_word)
{
    const struct replica_control_request *request;
    static const enum replica_connection connections[] = {
        REPLICA_CONNECTION_CONNECTING, REPLICA_CONNECTION_CONNECTING, REPLICA_CONNECTION_CONNECTING,
        REPLICA_CONNECTION_STANDALONE, REPLICA_CONNECTION_CONNECTING};

    fake_replica_connection(replica, connections[_i]);
    if (_i == 2)
        pass(13 * SECOND);
    if (_i == 4)
        fake_replica_disk(replica, REPLICA_DISK_OUTDATED);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert_int_eq(request->answered, _i >= 2);
    if (_i < 2) {
        pass(9 * SECOND);
        ck_assert_uint_eq(fake_role_promotions(), 0);
    }
    if (_i == 0) { /* it calls */
        fake_role_refuse(REPLICA_E_PEER_PRIMARY, "the peer is Primary");
        fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTED);
        xenside_changed(xen);
        turns(3);
    }
    if (_i == 1)
        pass(4 * SECOND);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, _i == 0 ? REPLICA_E_PEER_PRIMARY : 0);
    ck_assert_uint_eq(fake_role_promotions(), 1);
}
END_TEST

/* A person has typed `secondary`: the role is still here, and will not be in a moment. */
START_TEST(added_while_a_person_demotes)
{
    const struct replica_control_request *request;

    fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
    fake_replica_demoting(replica, true);
    fake_role_hold(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert(!request->answered);
    fake_replica_role(replica, REPLICA_ROLE_SECONDARY);
    fake_replica_demoting(replica, false);
    fake_role_answer();
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, 0);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    toolstack_removes(true); /* and it is the last guest's to give back */
    ask("vbd-remove", BACK);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_role_answer();
}
END_TEST

START_TEST(vanishes_while_the_promotion_is_asked)
{
    const struct replica_control_request *request;

    fake_role_hold(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    fake_store_write(BACK, NULL);
    turns(3);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, REPLICA_E_STATE);
    fake_role_answer(); /* and is given back at once: nobody uses it */
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_role_answer();
}
END_TEST

/* ---- xen-blkback
 * ---------------------------------------------------------------------------------- */

static void sysfs_path(char path[256], const char *rest)
{
    (void)snprintf(path, 256, "%s/%s", sysfs, rest);
}

static void blkback_loads(void)
{
    char path[256];

    sysfs_path(path, "drivers");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "drivers/vbd");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "drivers/vbd/unbind");
    fclose(fopen(path, "w"));
    sysfs_path(path, "devices");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "devices/vbd-7-51712");
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void blkback_binds(bool bound)
{
    char path[256];

    sysfs_path(path, "devices/vbd-7-51712/driver");
    if (bound)
        ck_assert_int_eq(symlink("../../drivers/vbd", path), 0);
    else
        ck_assert_int_eq(unlink(path), 0);
}

START_TEST(blkback_has_to_let_go_first)
{
    char path[256], asked[32] = "";
    FILE *file;

    blkback_loads();
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "1"); /* it may be about to bind */
    blkback_binds(true);
    put(BACK, "feature-persistent", "1");
    put(BACK, "multi-queue-max-queues", "32");
    put(BACK, "state", "2");
    turns(2);
    expect_node(BACK, "feature-persistent", "1"); /* asked to let go, and did not yet */
    sysfs_path(path, "drivers/vbd/unbind");
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(asked, sizeof asked, file));
    fclose(file);
    ck_assert_str_eq(asked, "vbd-7-51712");
    blkback_binds(false);
    pass(SECOND / 10);
    ck_assert_ptr_null(get(BACK, "feature-persistent"));
    expect_node(BACK, "multi-queue-max-queues", "4");
    expect_node(BACK, "state", "2");
    add_works(BACK);
}
END_TEST

START_TEST(blkback_that_never_binds_is_not_waited_for)
{
    blkback_loads();
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "1");
    pass(3 * SECOND);
    expect_node(BACK, "state", "2");
}
END_TEST

START_TEST(blkback_that_does_not_let_go_ends_the_add)
{
    const struct replica_control_request *request;

    blkback_loads();
    blkback_binds(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    put(BACK, "state", "2");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert(!request->answered);
    for (unsigned i = 0; i < 25; i++)
        pass(SECOND);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, REPLICA_E_TIMEOUT);
}
END_TEST

/* The event channel is blkback's for a moment longer than the device. */
START_TEST(event_channel_comes_free_late)
{
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    fake_port_taken(front.port, true);
    put(FRONT, "protocol", "x86_64-abi");
    put_number(FRONT, "ring-ref", 0);
    put_number(FRONT, "event-channel", front.port);
    put(FRONT, "state", "3");
    turns(3);
    expect_node(BACK, "state", "2");
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    fake_port_taken(front.port, false);
    pass(SECOND / 10);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

static void add_coming(Suite *suite)
{
    TCase *tcase = group(suite, "coming");

    tcase_add_test(tcase, create_in_the_ordinary_order);
    tcase_add_test(tcase, vbd3_with_its_prefix);
    tcase_add_test(tcase, only_our_nodes);
    tcase_add_loop_test(tcase, frontend_ahead_of_us, 0, 2);
    tcase_add_test(tcase, read_only_says_so_and_discard_can_be_forbidden);
    tcase_add_test(tcase, discard_that_frees_nothing_is_not_offered);
    tcase_add_test(tcase, promotion_refused_is_the_answer);
    tcase_add_test(tcase, second_writer_is_refused_reader_is_not);
    tcase_add_test(tcase, slow_promotion);
    tcase_add_loop_test(tcase, young_process_waits_for_the_peers_word, 0, 5);
    tcase_add_test(tcase, added_while_a_person_demotes);
    tcase_add_test(tcase, vanishes_while_the_promotion_is_asked);
    tcase_add_test(tcase, blkback_has_to_let_go_first);
    tcase_add_test(tcase, blkback_that_never_binds_is_not_waited_for);
    tcase_add_test(tcase, blkback_that_does_not_let_go_ends_the_add);
    tcase_add_test(tcase, event_channel_comes_free_late);
}

int main(void)
{
    Suite *suite = suite_create("device");
    SRunner *runner;
    int failed;

    add_coming(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
