/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_nbd.c - the NBD server on its socket, over a disk in memory: the test is the client, byte
 * by byte, and turns the loop by hand.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tapdisk-drbd/nbd.h"
#include "tapdisk-drbd/nbd_wire.h"
#include "tests/fake/fake_replica.h"
#include "nbd_help.h"

enum { DISK_BYTES = NBD_HELP_DISK_BYTES };

static void fill(uint8_t *data, size_t length, uint32_t seed)
{
    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- the tests ------------------------------------------------------------------------------ */

/* One request of every size class: below the read-ahead, above it, one buffer, many buffers. */
static const uint32_t lengths[] = {512,          4096,    65536,          262144,
                                   262144 + 512, 5 << 20, NBD_PAYLOAD_MAX};

START_TEST(write_then_read_simple)
{
    uint32_t length = lengths[_i];
    uint8_t *data = malloc(length), *back = calloc(1, length);
    int fd = client_go(false);

    fill(data, length, (uint32_t)_i);
    send_request(fd, NBD_CMD_WRITE, 0, 7, 8192, length);
    client_send(fd, data, length);
    ck_assert_uint_eq(receive_simple(fd, 7), 0);
    ck_assert_mem_eq(fake_replica_data(replica) + 8192, data, length);
    send_request(fd, NBD_CMD_READ, 0, 8, 8192, length);
    ck_assert_uint_eq(receive_simple(fd, 8), 0);
    ck_assert_uint_eq(client_receive(fd, back, length), length);
    ck_assert_mem_eq(back, data, length);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
    (void)close(fd);
    free(data);
    free(back);
}
END_TEST

START_TEST(write_then_read_structured)
{
    uint32_t length = lengths[_i];
    uint8_t *data = malloc(length), *back = calloc(1, length);
    int fd = client_go(true);

    fill(data, length, (uint32_t)_i + 100);
    send_request(fd, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 7, 0, length);
    client_send(fd, data, length);
    ck_assert_uint_eq(receive_simple(fd, 7), 0);
    ck_assert_uint_ge(fake_replica_durable_writes(replica), 1);
    send_request(fd, NBD_CMD_READ, 0, 8, 0, length);
    ck_assert_uint_eq(receive_chunks(fd, 8, 0, back), 0);
    ck_assert_mem_eq(back, data, length);
    (void)close(fd);
    free(data);
    free(back);
}
END_TEST

START_TEST(many_requests_are_pipelined)
{
    enum { COUNT = 400 };
    uint8_t *requests = calloc(COUNT, NBD_REQUEST_BYTES + 4096), *next = requests;
    bool seen[COUNT] = {false};
    int fd = client_go(true);

    for (unsigned i = 0; i < COUNT; i++) {
        put(next, 0x25609513, 4);
        put(next + 6, NBD_CMD_WRITE, 2);
        put(next + 8, i, 8);
        put(next + 16, i * 4096, 8);
        put(next + 24, 4096, 4);
        fill(next + NBD_REQUEST_BYTES, 4096, i);
        next += NBD_REQUEST_BYTES + 4096;
    }
    client_send(fd, requests, (size_t)(next - requests));
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t reply[16];

        ck_assert_uint_eq(client_receive(fd, reply, 16), 16);
        ck_assert_uint_eq(get(reply + 4, 4), 0);
        ck_assert_uint_lt(get(reply + 8, 8), COUNT);
        ck_assert(!seen[get(reply + 8, 8)]);
        seen[get(reply + 8, 8)] = true;
    }
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_mem_eq(fake_replica_data(replica) + i * 4096,
                         requests + i * (NBD_REQUEST_BYTES + 4096) + NBD_REQUEST_BYTES, 4096);
    (void)close(fd);
    free(requests);
}
END_TEST

START_TEST(no_completion_while_the_library_holds)
{
    uint8_t data[4096] = {1};
    int fd = client_go(false);

    fake_replica_hold(replica, true);
    send_request(fd, NBD_CMD_WRITE, 0, 1, 0, sizeof data);
    client_send(fd, data, sizeof data);
    for (unsigned turn = 0; turn < 50; turn++)
        fake_loop_turn(loop, 0);
    ck_assert_int_eq(recv(fd, data, 1, 0), -1);
    ck_assert_int_eq(errno, EAGAIN);
    fake_replica_hold(replica, false);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    (void)close(fd);
}
END_TEST

/* Requests beyond those that a client may have wait in its input. The turn in which there is room
 * for them is the last one for a while, and some of them are refused at once. */
START_TEST(refused_in_the_same_turn)
{
    enum { UNDER_WAY = 128, COUNT = UNDER_WAY + 12 };
    uint8_t requests[COUNT][NBD_REQUEST_BYTES] = {0}, reply[16];
    int fd = client_go(false);

    fake_replica_hold(replica, true);
    for (unsigned i = 0; i < COUNT; i++) {
        put(requests[i], 0x25609513, 4);
        put(requests[i] + 6, i < UNDER_WAY ? NBD_CMD_FLUSH : NBD_CMD_CACHE, 2);
        put(requests[i] + 8, i, 8);
    }
    client_send(fd, requests, sizeof requests);
    for (unsigned turn = 0; turn < 10; turn++)
        fake_loop_turn(loop, 0);
    fake_replica_hold(replica, false);
    fake_loop_turn(loop, 0);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_msg(recv(fd, reply, sizeof reply, MSG_DONTWAIT) == sizeof reply, "%u answers", i);
    (void)close(fd);
}
END_TEST

/* A client that asks and never takes an answer holds its share of the pool and no more; another
 * client goes on. */
START_TEST(memory_is_bounded_and_shared)
{
    static uint8_t data[65536], back[65536];
    int greedy = client_go(true), other;
    uint8_t requests[60][NBD_REQUEST_BYTES];

    memset(requests, 0, sizeof requests);
    for (unsigned i = 0; i < 60; i++) {
        put(requests[i], 0x25609513, 4);
        put(requests[i] + 16, i * 65536, 8);
        put(requests[i] + 24, 65536, 4);
    }
    client_send(greedy, requests, sizeof requests);
    for (unsigned turn = 0; turn < 200; turn++)
        fake_loop_turn(loop, 0);
    ck_assert_uint_le(fake_replica_pool_used(replica), NBD_HELP_POOL_BYTES);
    fake_loop_advance(loop, UINT64_C(61000000000));
    for (unsigned turn = 0; turn < 4; turn++)
        fake_loop_turn(loop, 0);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);

    other = client_go(true);
    fill(data, sizeof data, 1);
    send_request(other, NBD_CMD_WRITE, 0, 1, 0, sizeof data);
    client_send(other, data, sizeof data);
    ck_assert_uint_eq(receive_simple(other, 1), 0);
    send_request(other, NBD_CMD_READ, 0, 2, 0, sizeof data);
    ck_assert_uint_eq(receive_chunks(other, 2, 0, back), 0);
    ck_assert_mem_eq(data, back, sizeof data);
    (void)close(greedy);
    (void)close(other);
}
END_TEST

/* A refused write leaves its payload in the stream; the next request is understood. */
START_TEST(refused_write_keeps_the_stream_framed)
{
    uint8_t *data = calloc(1, 1 << 20), error[256];
    int fd = client_go(_i);
    struct chunk chunk;

    send_request(fd, NBD_CMD_WRITE, 0, 1, DISK_BYTES - 512, 1 << 20);
    client_send(fd, data, 1 << 20);
    if (_i) {
        chunk = receive_chunk(fd);
        ck_assert_uint_eq(chunk.type, 0x8001);
        ck_assert_uint_eq(chunk.flags, 1);
        ck_assert_uint_eq(client_receive(fd, error, chunk.length), chunk.length);
        ck_assert_uint_eq(get(error, 4), NBD_ENOSPC);
    } else {
        ck_assert_uint_eq(receive_simple(fd, 1), NBD_ENOSPC);
    }
    ck_assert_uint_eq(fake_replica_requests(replica), 0);
    send_request(fd, NBD_CMD_FLUSH, 0, 2, 0, 0);
    ck_assert_uint_eq(receive_simple(fd, 2), 0);
    ck_assert_uint_eq(fake_replica_flushes(replica), 1);
    (void)close(fd);
    free(data);
}
END_TEST

/* The third of many parts fails: one error, at the end, and the stream goes on. */
START_TEST(part_of_a_long_write_fails)
{
    uint8_t *data = calloc(1, 8 << 20);
    int fd = client_go(false);

    fake_replica_fail(replica, 2, REPLICA_E_IO);
    send_request(fd, NBD_CMD_WRITE, 0, 1, 0, 8 << 20);
    client_send(fd, data, 8 << 20);
    ck_assert_uint_eq(receive_simple(fd, 1), NBD_EIO);
    fake_replica_fail(replica, 0, 0);
    send_request(fd, NBD_CMD_FLUSH, 0, 2, 0, 0);
    ck_assert_uint_eq(receive_simple(fd, 2), 0);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
    (void)close(fd);
    free(data);
}
END_TEST

START_TEST(part_of_a_long_read_fails)
{
    uint8_t *data = calloc(1, 2 << 20);
    int fd = client_go(_i);

    fake_replica_fail(replica, 2, REPLICA_E_IO);
    send_request(fd, NBD_CMD_READ, 0, 1, 0, 2 << 20);
    if (_i) {
        ck_assert_uint_eq(receive_chunks(fd, 1, 0, data), NBD_EIO);
        fake_replica_fail(replica, 0, 0);
        send_request(fd, NBD_CMD_READ, 0, 2, 0, 2 << 20);
        ck_assert_uint_eq(receive_chunks(fd, 2, 0, data), 0);
    } else {
        ck_assert_uint_eq(receive_simple(fd, 1), 0);
        ck_assert_uint_lt(client_receive(fd, data, 2 << 20), 2 << 20);
        ck_assert(client_at_end(fd)); /* the only way to say it */
    }
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
    (void)close(fd);
    free(data);
}
END_TEST

START_TEST(zeroes_and_trim)
{
    int fd = client_go(true);

    memset(fake_replica_data(replica), 0xff, DISK_BYTES);
    send_request(fd, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA, 1, 512, 512);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    ck_assert_uint_eq(fake_replica_data(replica)[511], 0xff);
    ck_assert_uint_eq(fake_replica_data(replica)[512], 0);
    ck_assert_uint_eq(fake_replica_data(replica)[1023], 0);
    ck_assert_uint_eq(fake_replica_data(replica)[1024], 0xff);
    ck_assert_uint_eq(fake_replica_durable_writes(replica), 1);
    send_request(fd, NBD_CMD_TRIM, 0, 2, 0, DISK_BYTES);
    ck_assert_uint_eq(receive_simple(fd, 2), 0);
    ck_assert_uint_eq(fake_replica_data(replica)[DISK_BYTES - 1], 0);
    (void)close(fd);
}
END_TEST

/* It works, for who asks all the same. */
START_TEST(trim_that_frees_nothing_is_not_offered)
{
    enum { SEND_TRIM = 1 << 5 };
    uint8_t data[64];
    int fd = client_greeted();

    if (_i)
        fake_replica_no_discard(replica);
    send_option(fd, 7, "\0\0\0\3vm1\0\0", 9);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 3);
    ck_assert_uint_eq(get(data + 10, 2) & SEND_TRIM, _i ? 0 : SEND_TRIM);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 3);
    ck_assert_uint_eq(receive_answer(fd, data, sizeof data), 1);
    send_request(fd, NBD_CMD_TRIM, 0, 1, 0, DISK_BYTES);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    (void)close(fd);
}
END_TEST

START_TEST(disconnect_lets_requests_finish)
{
    uint8_t data[4096];
    int fd = client_go(false);

    fill(data, sizeof data, 3);
    fake_replica_hold(replica, true);
    send_request(fd, NBD_CMD_WRITE, 0, 1, 0, sizeof data);
    client_send(fd, data, sizeof data);
    send_request(fd, NBD_CMD_DISC, 0, 2, 0, 0);
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 1);
    fake_replica_hold(replica, false);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    ck_assert(client_at_end(fd));
    ck_assert_mem_eq(fake_replica_data(replica), data, sizeof data);
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 0);
    (void)close(fd);
}
END_TEST

START_TEST(vanished_client_leaves_nothing)
{
    uint8_t data[70000] = {0};
    int fd = client_go(_i);

    fake_replica_hold(replica, true);
    send_request(fd, NBD_CMD_READ, 0, 1, 0, 65536);
    send_request(fd, NBD_CMD_WRITE, 0, 2, 0, 262144);
    client_send(fd, data, sizeof data); /* not all of it */
    (void)close(fd);
    for (unsigned turn = 0; turn < 20; turn++)
        fake_loop_turn(loop, 0);
    fake_replica_hold(replica, false);
    for (unsigned turn = 0; turn < 20; turn++)
        fake_loop_turn(loop, 0);
    ck_assert_uint_eq(nbd_writers(nbd, NULL, 0), 0);
    ck_assert_uint_eq(fake_replica_pool_used(replica), 0);
}
END_TEST

START_TEST(demotion_drains_and_closes)
{
    uint8_t data[4096] = {5}, text[128];
    int fd = client_go(false), late;

    fake_replica_hold(replica, true);
    send_request(fd, NBD_CMD_WRITE, 0, 1, 4096, sizeof data);
    client_send(fd, data, sizeof data);
    fake_replica_hold(replica, false);
    fake_loop_turn(loop, 0);
    fake_replica_role(replica, REPLICA_ROLE_SECONDARY);
    nbd_changed(nbd);
    ck_assert_uint_eq(receive_simple(fd, 1), 0);
    ck_assert(client_at_end(fd));
    (void)close(fd);

    late = client_greeted();
    send_option(late, 7, "\0\0\0\3vm1\0\0", 9);
    ck_assert_uint_eq(receive_answer(late, text, sizeof text), 0x80000002);
    ck_assert_ptr_nonnull(strstr((char *)text, "not Primary"));
    fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
    nbd_changed(nbd);
    send_option(late, 7, "\0\0\0\3vm1\0\0", 9);
    ck_assert_uint_eq(receive_answer(late, text, sizeof text), 3);
    (void)close(late);
}
END_TEST

START_TEST(garbage_closes_only_its_sender)
{
    uint8_t garbage[64] = {9};
    int good = client_go(true), bad = client_go(true);

    client_send(bad, garbage, sizeof garbage);
    ck_assert(client_at_end(bad));
    send_request(good, NBD_CMD_FLUSH, 0, 1, 0, 0);
    ck_assert_uint_eq(receive_simple(good, 1), 0);
    (void)close(good);
    (void)close(bad);
}
END_TEST

START_TEST(clients_are_counted_and_timed)
{
    int idle[16], late;
    json_t *status;

    for (unsigned i = 0; i < 16; i++)
        idle[i] = client_greeted();
    late = client_connect();
    ck_assert(client_at_end(late));
    (void)close(late);
    fake_loop_advance(loop, UINT64_C(31000000000));
    for (unsigned i = 0; i < 16; i++) {
        ck_assert(client_at_end(idle[i]));
        (void)close(idle[i]);
    }
    late = client_go(true);
    fake_loop_advance(loop, UINT64_C(3600000000000)); /* an idle client is welcome to stay */
    send_request(late, NBD_CMD_FLUSH, 0, 1, 0, 0);
    ck_assert_uint_eq(receive_simple(late, 1), 0);
    status = nbd_status(nbd);
    ck_assert_int_eq(json_integer_value(json_object_get(status, "clients")), 1);
    json_decref(status);
    (void)close(late);
}
END_TEST

START_TEST(socket_is_private_and_replaced_when_stale)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct replica_error error;
    struct nbd *second;
    struct stat stat_buffer;
    char stale[128];
    int fd;

    ck_assert_int_eq(stat(path, &stat_buffer), 0);
    ck_assert_uint_eq(stat_buffer.st_mode & 0777, 0600);
    ck_assert_int_eq(nbd_open(&second, loop, replica, path, &error), REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, path));

    (void)snprintf(stale, sizeof stale, "%s/stale", directory);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, stale, strlen(stale) + 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
    ck_assert_int_eq(nbd_open(&second, loop, replica, stale, &error), 0);
    nbd_close(second);
    ck_assert_int_ne(access(stale, F_OK), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nbd");
    TCase *io = tcase_create("io"), *life = tcase_create("life");
    SRunner *runner = srunner_create(suite);
    int count = (int)(sizeof lengths / sizeof lengths[0]), failed;

    tcase_add_checked_fixture(io, nbd_help_start, nbd_help_stop);
    tcase_add_checked_fixture(life, nbd_help_start, nbd_help_stop);
    tcase_set_timeout(io, 60);
    tcase_set_timeout(life, 60);
    tcase_add_loop_test(io, write_then_read_simple, 0, count);
    tcase_add_loop_test(io, write_then_read_structured, 0, count);
    tcase_add_test(io, many_requests_are_pipelined);
    tcase_add_test(io, no_completion_while_the_library_holds);
    tcase_add_test(io, refused_in_the_same_turn);
    tcase_add_test(io, memory_is_bounded_and_shared);
    tcase_add_loop_test(io, refused_write_keeps_the_stream_framed, 0, 2);
    tcase_add_test(io, part_of_a_long_write_fails);
    tcase_add_loop_test(io, part_of_a_long_read_fails, 0, 2);
    tcase_add_test(io, zeroes_and_trim);
    tcase_add_loop_test(io, trim_that_frees_nothing_is_not_offered, 0, 2);
    suite_add_tcase(suite, io);
    tcase_add_test(life, disconnect_lets_requests_finish);
    tcase_add_loop_test(life, vanished_client_leaves_nothing, 0, 2);
    tcase_add_test(life, demotion_drains_and_closes);
    tcase_add_test(life, garbage_closes_only_its_sender);
    tcase_add_test(life, clients_are_counted_and_timed);
    tcase_add_test(life, socket_is_private_and_replaced_when_stale);
    suite_add_tcase(suite, life);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
