/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_device_handover.c - two copies of one guest: which of them the disk serves, on one host and
 * between two. The other node is played by the test.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_help.h"

#define BACK_NEW "/local/domain/0/backend/vbd/8/51712"
#define FRONT_NEW "/local/domain/8/device/vbd/51712"
#define MILLISECOND UINT64_C(1000000)

/* The peer asks for the role. */
static void peer_asks(uint32_t number, bool back)
{
    xenside_handover_asked(xen, number, back);
    pass(0);
}

static void peer_has_it(uint32_t number)
{
    fake_replica_role(replica, REPLICA_ROLE_SECONDARY);
    xenside_handover_ended(xen, number, true);
    turns(3);
}

static void expect_answer(unsigned count, int code, const char *text)
{
    ck_assert_uint_eq(fake_handover_answers(), count);
    ck_assert_int_eq(fake_handover_code(), code);
    ck_assert_str_eq(fake_handover_text(), text);
}

static void guest_writes(struct front *front, uint64_t id)
{
    struct front_segment segment = {DATA, 0, 7};

    fake_grant(DATA, front->domain, true);
    front_put(front, BLKIF_WRITE, id, 0, &segment, 1);
    front_push(front, false);
    turns(3);
}

static bool is_answered(struct front *front)
{
    struct front_response response;

    return front_take(front, &response);
}

/* What `status` says of the only vbd. */
static void expect_problem(const char *text)
{
    json_t *vbds = xenside_status(xen);

    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(vbds, 0), "problem")), text);
    json_decref(vbds);
}

/* As frontend_publishes, with pages of its own. */
static void publish_second(struct front *front)
{
    front_open(front, 8, BLKIF_ABI_X86_64, 64, 1);
    put(FRONT_NEW, "protocol", "x86_64-abi");
    put_number(FRONT_NEW, "ring-ref", 64);
    put_number(FRONT_NEW, "event-channel", front->port);
    put(FRONT_NEW, "state", "3");
    turns(3);
}

START_TEST(running_guest_is_not_taken_from)
{
    struct front front;

    connect_all(&front);
    peer_asks(1, false);
    expect_answer(1, REPLICA_E_PEER_PRIMARY,
                  "its guest (domain 7) runs there; shut that guest down, or move it with xl "
                  "migrate");
    xenside_handover_ended(xen, 1, false);
    works(&front);
    fake_domain(7, FAKE_DOMAIN_PAUSED);
    peer_asks(2, true); /* it has run: it may do so again */
    expect_answer(2, REPLICA_E_PEER_PRIMARY, "its guest (domain 7) is there, paused");
    xenside_handover_ended(xen, 2, false);
    fake_domain(7, FAKE_DOMAIN_CRASHED);
    peer_asks(3, false);
    expect_answer(3, REPLICA_E_PEER_PRIMARY,
                  "its guest (domain 7) is still there, shut down; xl destroy 7 there");
    xenside_handover_ended(xen, 3, false);
    works(&front);
}
END_TEST

START_TEST(no_guest_is_a_person)
{
    fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
    peer_asks(1, false);
    ck_assert_int_eq(fake_handover_code(), REPLICA_E_PEER_PRIMARY);
    ck_assert_ptr_nonnull(strstr(fake_handover_text(), "tapdrbdadm secondary vm1"));
    xenside_handover_ended(xen, 1, false);
    peer_asks(2, true);
    ck_assert_int_eq(fake_handover_code(), 0);
    xenside_handover_ended(xen, 2, true);
}
END_TEST

/* What is under way is waited for; what comes then stays in the ring, and is served when the role
 * is back. */
START_TEST(held_handed_over_and_taken_back)
{
    struct front front;

    connect_all(&front);
    fake_replica_hold(replica, true);
    guest_writes(&front, 1);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    peer_asks(1, false);
    pass(10 * MILLISECOND);
    ck_assert_uint_eq(fake_handover_answers(), 0);
    fake_replica_hold(replica, false);
    pass(10 * MILLISECOND);
    pass(10 * MILLISECOND);
    expect_answer(1, 0, "");
    ck_assert(is_answered(&front));
    guest_writes(&front, 2);
    peer_has_it(1);
    pass(SECOND);
    ck_assert(!is_answered(&front));
    ck_assert_uint_eq(fake_role_promotions(), 1);
    fake_role_refuse(REPLICA_E_LINK, "not connected");
    fake_domain(7, FAKE_DOMAIN_RUNNING);
    pass(SECOND);
    ck_assert(!is_answered(&front));
    ck_assert_uint_ge(fake_role_promotions(), 2);
    ck_assert_uint_eq(fake_role_flags(), REPLICA_PROMOTE_TAKE_BACK);
    expect_problem("not connected");
    fake_role_refuse(0, "");
    pass(SECOND);
    pass(10 * MILLISECOND);
    ck_assert(is_answered(&front));
    expect_problem("");
    works(&front);
}
END_TEST

/* What was taken from the ring and has not begun is under way as well: it would begin by itself
 * after the answer, and the guest would have an error when it runs again here. */
START_TEST(barrier_that_waits_is_waited_for)
{
    struct front_segment segment = {DATA, 0, 7};
    struct front front;

    connect_all(&front);
    fake_replica_hold(replica, true);
    guest_writes(&front, 1);
    front_put(&front, BLKIF_BARRIER, 2, 8, &segment, 1);
    front_push(&front, false);
    turns(3);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    ck_assert(fake_replica_end_one(replica, 0, 0)); /* and nothing is under way for a moment */
    peer_asks(1, false);
    ck_assert_uint_eq(fake_handover_answers(), 0);
    fake_replica_hold(replica, false);
    pass(10 * MILLISECOND);
    pass(10 * MILLISECOND);
    expect_answer(1, 0, "");
    ck_assert(is_answered(&front) && is_answered(&front));
    xenside_handover_ended(xen, 1, false);
    turns(3);
    works(&front);
}
END_TEST

/* A process that has just begun takes the ring up when the one before it is gone; the peer asks
 * for the role before that. */
START_TEST(not_taken_up_while_it_is_handed_over)
{
    struct front front;
    struct xenside *old;
    unsigned before;

    connect_all(&front);
    fake_replica_hold(replica, true);
    guest_writes(&front, 1);
    old = process_ends();
    fake_replica_hold(replica, false);
    fake_port_taken(front.port, true);
    open_xen();
    fake_domain(7, FAKE_DOMAIN_PAUSED); /* it has run: nobody may take the disk back from it */
    peer_asks(0, true);
    expect_answer(1, REPLICA_E_PEER_PRIMARY, "its guest (domain 7) is there, paused");
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    peer_asks(1, false);
    expect_answer(2, 0, "");
    before = fake_replica_requests(replica);
    fake_port_taken(front.port, false);
    pass(SECOND);
    ck_assert_uint_eq(fake_replica_requests(replica), before);
    if (_i == 0) {
        xenside_handover_ended(xen, 1, false);
    } else {
        peer_has_it(1);
        pass(SECOND);
        ck_assert_uint_eq(fake_replica_requests(replica), before);
        fake_domain(7, FAKE_DOMAIN_RUNNING);
        pass(SECOND);
    }
    pass(SECOND);
    ck_assert(is_answered(&front));
    works(&front);
    xenside_close(old);
}
END_TEST

START_TEST(kept_goes_on)
{
    struct front front;

    connect_all(&front);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    peer_asks(1, false);
    expect_answer(1, 0, "");
    guest_writes(&front, 1);
    ck_assert(!is_answered(&front));
    xenside_handover_ended(xen, 1, false);
    turns(3);
    ck_assert(is_answered(&front));
}
END_TEST

/* Requests that never end: the library gives up, and the vbd goes on. */
START_TEST(withdrawn_before_the_answer)
{
    struct front front;

    connect_all(&front);
    fake_replica_hold(replica, true);
    guest_writes(&front, 1);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    peer_asks(1, false);
    xenside_handover_ended(xen, 1, false);
    fake_replica_hold(replica, false);
    pass(SECOND);
    ck_assert_uint_eq(fake_handover_answers(), 0);
    ck_assert(is_answered(&front));
    works(&front);
}
END_TEST

/* After a migration that went well the source's toolstack destroys the old copy. */
START_TEST(old_copy_goes_without_a_word)
{
    struct front front;
    const struct replica_control_request *request;

    connect_all(&front);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    peer_asks(1, false);
    peer_has_it(1);
    fake_domain(7, FAKE_DOMAIN_GONE);
    put(BACK, "online", "0");
    put(BACK, "state", "5");
    fake_store_write(FRONT, NULL);
    pass(SECOND);
    expect_node(BACK, "state", "6");
    request = ask("vbd-remove", BACK);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 0);
}
END_TEST

/* A migration's disk comes over the link or not at all. */
START_TEST(incoming_only_over_the_link)
{
    static struct replica_control_request request;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    ck_assert(xenside_control(xen, &request,
                              "{\"command\":\"vbd-add\",\"path\":\"" BACK "\",\"incoming\":true}"));
    turns(3);
    ck_assert(request.answered);
    ck_assert_int_eq(request.code, 0);
    ck_assert_uint_eq(fake_role_flags(), REPLICA_PROMOTE_CONNECTED);
}
END_TEST

/* xl migrate localhost: the second copy gets the disk while the first stands still, and the first
 * has it back when the second is gone. */
START_TEST(within_one_host)
{
    struct front old, new;
    static struct replica_control_request request;

    connect_all(&old);
    toolstack_makes(BACK_NEW, FRONT_NEW, 8, "vm1", "w");
    turns(3);
    ck_assert_int_eq(ask("vbd-add", BACK_NEW)->code, REPLICA_E_BUSY);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    fake_domain(8, FAKE_DOMAIN_PAUSED);
    ck_assert(xenside_control(
        xen, &request, "{\"command\":\"vbd-add\",\"path\":\"" BACK_NEW "\",\"incoming\":true}"));
    turns(3);
    ck_assert_msg(request.answered && request.code == 0, "%s", request.text);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    fake_domain(8, FAKE_DOMAIN_RUNNING);
    publish_second(&new);
    put(FRONT_NEW, "state", "4");
    turns(2);
    works(&new);
    guest_writes(&old, 5);
    ck_assert(!is_answered(&old));
    if (_i == 0) { /* it went well */
        fake_domain(7, FAKE_DOMAIN_GONE);
        fake_store_write(BACK, NULL);
        pass(SECOND);
        works(&new);
    } else {
        fake_domain(8, FAKE_DOMAIN_GONE);
        fake_store_write(BACK_NEW, NULL);
        fake_domain(7, FAKE_DOMAIN_RUNNING);
        pass(SECOND);
        pass(SECOND);
        ck_assert(is_answered(&old));
        works(&old);
    }
    ck_assert_uint_eq(fake_role_demotions(), 0);
}
END_TEST

/* The process is killed while its guest moves away, and the migration fails. */
START_TEST(next_process_finds_a_suspended_guest)
{
    struct front front;
    struct xenside *dead;

    connect_all(&front);
    fake_replica_hold(replica, true);
    guest_writes(&front, 5);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    dead = process_ends();
    fake_replica_hold(replica, false);
    open_xen();
    pass(SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    ck_assert(!is_answered(&front));
    if (_i == 2) { /* a person took the role, and the peer gets it */
        fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
        peer_asks(1, false);
        peer_has_it(1);
    }
    fake_domain(7, FAKE_DOMAIN_RUNNING);
    if (_i == 1)
        fake_replica_connection(replica, REPLICA_CONNECTION_CONNECTING);
    pass(12 * SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    ck_assert_uint_eq(fake_role_flags(), _i == 1 ? 0 : REPLICA_PROMOTE_TAKE_BACK);
    ck_assert(is_answered(&front));
    works(&front);
    xenside_close(dead);
}
END_TEST

/* The process is killed while both copies are there. What the first one still has in its ring the
 * second one has asked for again, and has written over since. */
START_TEST(next_process_finds_two_copies)
{
    struct front_segment segment = {DATA + 1, 0, 7};
    struct front old, new;
    struct xenside *dead;

    connect_all(&old);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    toolstack_makes(BACK_NEW, FRONT_NEW, 8, "vm1", "w");
    turns(3);
    add_works(BACK_NEW);
    publish_second(&new);
    put(FRONT_NEW, "state", "4");
    turns(2);
    guest_writes(&old, 5);
    memset(fake_page(DATA), 0x01, FAKE_PAGE_BYTES);
    memset(fake_page(DATA + 1), 0x02, FAKE_PAGE_BYTES);
    fake_grant(DATA + 1, 8, true);
    front_put(&new, BLKIF_WRITE, 6, 0, &segment, 1);
    front_push(&new, false);
    turns(3);
    ck_assert(is_answered(&new));
    dead = process_ends();
    open_xen();
    pass(SECOND);
    ck_assert(!is_answered(&old));
    ck_assert_uint_eq(fake_replica_data(replica)[0], 0x02);
    works(&new);
    if (_i == 0) {
        fake_domain(7, FAKE_DOMAIN_GONE);
        pass(SECOND);
        ck_assert(!is_answered(&old));
    } else {
        fake_domain(8, FAKE_DOMAIN_GONE);
        fake_store_write(BACK_NEW, NULL);
        fake_domain(7, FAKE_DOMAIN_RUNNING);
        pass(SECOND);
        ck_assert(is_answered(&old));
        works(&old);
    }
    xenside_close(dead);
}
END_TEST

/* The other side of a failed migration: the copy here has never run. */
START_TEST(copy_that_never_ran_gives_it_back)
{
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    add_works(BACK);
    fake_domain(7, FAKE_DOMAIN_PAUSED);
    peer_asks(1, false); /* somebody else than the old copy */
    ck_assert_int_eq(fake_handover_code(), REPLICA_E_PEER_PRIMARY);
    xenside_handover_ended(xen, 1, false);
    peer_asks(2, true);
    ck_assert_int_eq(fake_handover_code(), 0);
    peer_has_it(2);
    pass(SECOND);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    fake_domain(7, FAKE_DOMAIN_GONE);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 0);
}
END_TEST

/* ---- a guest with a device model ------------------------------------------------------------- */

/* The NBD server's part: one client, of domain 7. */
static struct {
    bool held, busy, dropped, wrote;
} model;

static bool model_hold(void *argument, uint32_t domain)
{
    ck_assert_ptr_eq(argument, &model);
    if (domain == 7)
        model.held = true;
    return domain != 7 || !model.busy;
}

static void model_go_on(void *argument, uint32_t domain)
{
    (void)argument;
    if (domain == 7)
        model.held = false;
}

static void model_drop(void *argument, uint32_t domain)
{
    (void)argument;
    model.dropped |= domain == 7;
}

static bool model_wrote(void *argument, uint32_t domain)
{
    (void)argument;
    return domain == 7 && model.wrote;
}

static void make_hvm_guest(void)
{
    static const struct clients clients = {&model, model_hold, model_go_on, model_drop,
                                           model_wrote};

    memset(&model, 0, sizeof model);
    xenside_set_clients(xen, &clients);
    put("/local/domain/7/image", "device-model-pid", "4711");
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    add_works(BACK);
}

START_TEST(device_model_is_known_by_its_process)
{
    make_hvm_guest();
    ck_assert_uint_eq(xenside_guest_of(xen, 4711, 99), 7);
    ck_assert_uint_eq(xenside_guest_of(xen, 4712, 99), 99);
    ck_assert_uint_eq(xenside_guest_of(xen, 0, 99), 99);
    fake_store_write(BACK, NULL);
    turns(3);
    ck_assert_uint_eq(xenside_guest_of(xen, 4711, 99), 99);
}
END_TEST

/* Its requests are waited for, it is held, and goes on when its guest does; or it is let go when
 * the guest has moved. */
START_TEST(device_model_stands_still_with_its_guest)
{
    make_hvm_guest();
    peer_asks(1, false);
    ck_assert_int_eq(fake_handover_code(), REPLICA_E_PEER_PRIMARY);
    ck_assert(!model.held);
    xenside_handover_ended(xen, 1, false);
    fake_domain(7, FAKE_DOMAIN_SUSPENDED);
    model.busy = true;
    peer_asks(2, false);
    ck_assert_uint_eq(fake_handover_answers(), 1);
    ck_assert(model.held);
    model.busy = false;
    pass(10 * MILLISECOND);
    expect_answer(2, 0, "");
    peer_has_it(2);
    ck_assert(model.held);
    if (_i == 0) {
        fake_domain(7, FAKE_DOMAIN_RUNNING);
        pass(SECOND);
        ck_assert_uint_eq(fake_role_flags(), REPLICA_PROMOTE_TAKE_BACK);
        ck_assert(!model.held);
        ck_assert(!model.dropped);
    } else {
        fake_domain(7, FAKE_DOMAIN_GONE);
        fake_store_write(BACK, NULL);
        pass(SECOND);
        ck_assert(model.dropped);
    }
}
END_TEST

/* It has no ring, but it has run: paused, it may run again. */
START_TEST(device_model_that_wrote_keeps_the_role)
{
    make_hvm_guest();
    fake_domain(7, FAKE_DOMAIN_PAUSED);
    model.wrote = true;
    peer_asks(1, true);
    expect_answer(1, REPLICA_E_PEER_PRIMARY, "its guest (domain 7) is there, paused");
    xenside_handover_ended(xen, 1, false);
    model.wrote = false;
    peer_asks(2, true);
    ck_assert_int_eq(fake_handover_code(), 0);
    xenside_handover_ended(xen, 2, false);
}
END_TEST

/* The last guest is gone, and giving the role back has failed so far: nobody keeps it. */
START_TEST(role_that_nobody_uses_goes)
{
    make_hvm_guest();
    fake_role_refuse(REPLICA_E_BUSY, "1 NBD client");
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    fake_store_write(BACK, NULL);
    turns(3);
    peer_asks(1, false);
    expect_answer(1, 0, "");
    xenside_handover_ended(xen, 1, false);
    fake_role_refuse(0, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device handover");
    TCase *tcase = group(suite, "handover");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, running_guest_is_not_taken_from);
    tcase_add_test(tcase, no_guest_is_a_person);
    tcase_add_test(tcase, held_handed_over_and_taken_back);
    tcase_add_test(tcase, barrier_that_waits_is_waited_for);
    tcase_add_loop_test(tcase, not_taken_up_while_it_is_handed_over, 0, 2);
    tcase_add_test(tcase, kept_goes_on);
    tcase_add_test(tcase, withdrawn_before_the_answer);
    tcase_add_test(tcase, old_copy_goes_without_a_word);
    tcase_add_test(tcase, incoming_only_over_the_link);
    tcase_add_loop_test(tcase, within_one_host, 0, 2);
    tcase_add_loop_test(tcase, next_process_finds_a_suspended_guest, 0, 3);
    tcase_add_loop_test(tcase, next_process_finds_two_copies, 0, 2);
    tcase_add_test(tcase, copy_that_never_ran_gives_it_back);
    tcase_add_test(tcase, device_model_is_known_by_its_process);
    tcase_add_loop_test(tcase, device_model_stands_still_with_its_guest, 0, 2);
    tcase_add_test(tcase, device_model_that_wrote_keeps_the_role);
    tcase_add_test(tcase, role_that_nobody_uses_goes);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
