/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_nbd_users.c - who the NBD server's clients are, and what becomes of a guest's device model
 * when the role goes and comes back. The test's own process is the device model of domain 7, when
 * it says so.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tapdisk-drbd/nbd.h"
#include "tapdisk-drbd/nbd_wire.h"
#include "tests/fake/fake_replica.h"
#include "nbd_help.h"

enum { DISK_BYTES = NBD_HELP_DISK_BYTES, POOL_BYTES = 1 << 20, GUEST = 7 };

static struct replica_loop *loop;
static struct replica *replica;
static struct nbd *nbd;
static char directory[64], path[96];
static uint32_t guest; /* whose device model this process is */

static uint32_t guest_of(void *argument, int32_t process)
{
    ck_assert_ptr_eq(argument, &guest);
    ck_assert_int_eq(process, getpid());
    return guest;
}

static void setup(void)
{
    struct fake_settings settings = {"vm1", DISK_BYTES, POOL_BYTES};
    struct replica_error error;

    (void)snprintf(directory, sizeof directory, "/tmp/test_nbd_users.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/vm1.nbd", directory);
    ck_assert_int_eq(replica_loop_new(&loop, &error), 0);
    replica = fake_replica_new(&settings);
    ck_assert_ptr_nonnull(replica);
    fake_replica_attach(replica, loop);
    ck_assert_int_eq(nbd_open(&nbd, loop, replica, path, &error), 0);
    guest = GUEST;
    nbd_set_guests(nbd, guest_of, &guest);
    nbd_help_use(loop, path);
}

static void teardown(void)
{
    nbd_stop(nbd);
    replica_close(replica);
    nbd_close(nbd);
    replica_loop_free(loop);
    ck_assert_int_eq(rmdir(directory), 0);
}

static void turns(unsigned count)
{
    while (count--)
        fake_loop_turn(loop, 0);
}

static void become(enum replica_role role)
{
    fake_replica_role(replica, role);
    nbd_changed(nbd);
    turns(3);
}

static void send_write(int fd, uint64_t handle, uint8_t value)
{
    uint8_t data[4096];

    memset(data, value, sizeof data);
    send_request(fd, NBD_CMD_WRITE, 0, handle, 0, sizeof data);
    client_send(fd, data, sizeof data);
    turns(5);
}

static bool is_silent(int fd)
{
    uint8_t byte;

    turns(5);
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

static void expect_refused(const char *words)
{
    uint8_t text[512] = {0}, option[6] = {0};
    int fd = client_greeted();

    send_option(fd, 7, option, sizeof option); /* NBD_OPT_GO, the default export */
    ck_assert_uint_ne(receive_answer(fd, text, sizeof text - 1) & UINT32_C(0x80000000), 0);
    ck_assert_msg(strstr((char *)text, words) != NULL, "refused with: %s", (char *)text);
    (void)close(fd);
    turns(3);
}

START_TEST(program_is_a_stranger)
{
    char who[64] = "", expected[32];
    int fd;

    guest = NBD_NO_GUEST;
    ck_assert_uint_eq(nbd_strangers(nbd, who, sizeof who), 0);
    fd = client_go(false);
    ck_assert_uint_eq(nbd_strangers(nbd, who, sizeof who), 1);
    (void)snprintf(expected, sizeof expected, ", process %d", (int)getpid());
    ck_assert_msg(strstr(who, expected) != NULL, "it is called: %s", who);
    ck_assert(nbd_hold(nbd, GUEST)); /* not its guest */
    send_write(fd, 1, 3);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    become(REPLICA_ROLE_SECONDARY);
    ck_assert(client_at_end(fd));
    (void)close(fd);
}
END_TEST

START_TEST(device_model_is_not)
{
    char who[64] = "";
    int fd = client_go(false);

    ck_assert_uint_eq(nbd_strangers(nbd, who, sizeof who), 0);
    ck_assert_uint_eq(nbd_writers(nbd, who, sizeof who), 1);
    ck_assert(!nbd_wrote(nbd, GUEST));
    send_write(fd, 1, 3);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    ck_assert(nbd_wrote(nbd, GUEST));
    ck_assert(!nbd_wrote(nbd, GUEST + 1));
    guest = NBD_NO_GUEST; /* its guest has no vbd here any more */
    ck_assert_uint_eq(nbd_strangers(nbd, who, sizeof who), 1);
    (void)close(fd);
}
END_TEST

/* What is under way is waited for; what comes then waits, also while the node is Secondary. */
START_TEST(held_over_a_handover)
{
    int fd = client_go(false);

    fake_replica_hold(replica, true);
    send_request(fd, NBD_CMD_FLUSH, 0, 1, 0, 0);
    turns(5);
    ck_assert(!nbd_hold(nbd, GUEST));
    fake_replica_hold(replica, false);
    turns(5);
    ck_assert(nbd_hold(nbd, GUEST));
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    send_write(fd, 2, 9);
    become(REPLICA_ROLE_SECONDARY);
    ck_assert(is_silent(fd));
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 0);
    ck_assert_uint_eq(fake_replica_data(replica)[0], 0);
    become(REPLICA_ROLE_PRIMARY);
    ck_assert(is_silent(fd)); /* the role alone does not make its guest run */
    nbd_go_on(nbd, GUEST);
    turns(5);
    ck_assert_uint_eq(receive_simple(fd, 2), 0);
    ck_assert_uint_eq(fake_replica_data(replica)[0], 9);
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 1);
    (void)close(fd);
}
END_TEST

/* More than fits the stream's buffer: it is left in the socket, and nothing spins or is lost. */
START_TEST(held_with_much_to_say)
{
    uint8_t data[128 << 10];
    int fd = client_go(false);
    int size = 1 << 20;

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    ck_assert(nbd_hold(nbd, GUEST));
    memset(data, 5, sizeof data);
    send_request(fd, NBD_CMD_WRITE, 0, 1, 0, sizeof data);
    client_send(fd, data, sizeof data);
    become(REPLICA_ROLE_SECONDARY);
    become(REPLICA_ROLE_PRIMARY);
    nbd_go_on(nbd, GUEST);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    ck_assert_mem_eq(fake_replica_data(replica), data, sizeof data);
    (void)close(fd);
}
END_TEST

START_TEST(held_client_that_goes)
{
    int fd = client_go(false);

    ck_assert(nbd_hold(nbd, GUEST));
    send_request(fd, NBD_CMD_FLUSH, 0, 1, 0, 0);
    become(REPLICA_ROLE_SECONDARY);
    if (_i == 0) { /* its guest is gone */
        nbd_drop(nbd, GUEST + 1);
        ck_assert(is_silent(fd));
        nbd_drop(nbd, GUEST);
        ck_assert(client_at_end(fd));
        (void)close(fd);
    } else { /* it ends by itself */
        (void)close(fd);
        turns(5);
        become(REPLICA_ROLE_PRIMARY);
        nbd_go_on(nbd, GUEST);
        turns(5);
    }
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 0);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
}
END_TEST

START_TEST(nobody_new_while_paused)
{
    int fd;

    nbd_pause(nbd, true);
    expect_refused("about to go to the peer");
    nbd_pause(nbd, false);
    fd = client_go(false);
    (void)close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nbd users");
    TCase *tcase = tcase_create("users");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, program_is_a_stranger);
    tcase_add_test(tcase, device_model_is_not);
    tcase_add_test(tcase, held_over_a_handover);
    tcase_add_test(tcase, held_with_much_to_say);
    tcase_add_loop_test(tcase, held_client_that_goes, 0, 2);
    tcase_add_test(tcase, nobody_new_while_paused);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
