/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_loop.c - watches, timers, hooks, polling, and that an idle loop stays asleep. */
#include "io_help.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct io_help help;
static const uint64_t ms = 1000000;

static void setup(void)
{
    io_help_open(&help);
}

static void teardown(void)
{
    io_help_close(&help);
}

struct reader {
    int fd;
    unsigned calls, bytes;
    struct replica_watch *watch;
    unsigned stop_after;
};

static void read_one(void *argument, uint32_t events)
{
    struct reader *reader = argument;
    char byte;

    (void)events;
    reader->calls++;
    if (recv(reader->fd, &byte, 1, MSG_DONTWAIT) == 1)
        reader->bytes++;
    if (reader->stop_after && reader->calls == reader->stop_after)
        replica_loop_unwatch(reader->watch);
}

static bool read_five(void *argument)
{
    return ((struct reader *)argument)->bytes == 5;
}

/* One byte is read a call: a level-triggered watch calls until none is left, and not again. */
START_TEST(test_watch_is_level_triggered)
{
    int pair[2];
    struct reader reader = {0};

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    reader.fd = pair[0];
    ck_assert_int_eq(write(pair[1], "12345", 5), 5);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, pair[0], false, read_one, &reader, &reader.watch), 0);
    io_help_run(&help, read_five, &reader);
    ck_assert_uint_eq(reader.calls, 5);
    replica_loop_unwatch(reader.watch);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

static bool has_read_two(void *argument)
{
    return ((struct reader *)argument)->calls >= 2;
}

static void set_flag(void *argument)
{
    *(bool *)argument = true;
}

/* A watch that is taken down inside its own call is not called again, though bytes are left. */
START_TEST(test_unwatch_inside)
{
    int pair[2];
    struct reader reader = {.stop_after = 2};
    struct replica_timer *timer;
    bool late = false;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    reader.fd = pair[0];
    ck_assert_int_eq(write(pair[1], "12345", 5), 5);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, pair[0], false, read_one, &reader, &reader.watch), 0);
    io_help_run(&help, has_read_two, &reader);
    ck_assert_int_eq(replica_timer_new(help.loop, set_flag, &late, &timer), 0);
    replica_timer_set(timer, replica_loop_now(help.loop) + 20 * ms);
    io_help_run(&help, io_help_flag, &late);
    ck_assert_uint_eq(reader.calls, 2);
    replica_timer_free(timer);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* The file behind a descriptor is closed with the descriptor, not when the poll notices. */
START_TEST(test_unwatch_lets_go)
{
    int pair[2];
    struct reader reader = {0};
    char byte;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    reader.fd = pair[0];
    ck_assert_int_eq(
        replica_loop_watch(help.loop, pair[0], false, read_one, &reader, &reader.watch), 0);
    loop_submit(help.loop);
    replica_loop_unwatch(reader.watch);
    close(pair[0]);
    ck_assert_int_eq(recv(pair[1], &byte, 1, 0), 0); /* end of file: nobody holds the other end */
    close(pair[1]);
}
END_TEST

struct order {
    unsigned count;
    unsigned seen[8];
};
struct expiry {
    struct order *order;
    unsigned name;
    struct replica_timer *timer;
};

static void note_expiry(void *argument)
{
    struct expiry *expiry = argument;

    expiry->order->seen[expiry->order->count++] = expiry->name;
}

static bool six_seen(void *argument)
{
    return ((struct order *)argument)->count == 6;
}

START_TEST(test_timers_in_order)
{
    static const unsigned delays[] = {30, 5, 20, 1, 25, 10, 15, 2};
    static const unsigned expected[] = {1, 2, 10, 15, 20, 30};
    struct order order = {0};
    struct expiry expiries[8];
    uint64_t now = replica_loop_now(help.loop);

    for (unsigned i = 0; i < 8; i++) {
        expiries[i] = (struct expiry){.order = &order, .name = delays[i]};
        ck_assert_int_eq(
            replica_timer_new(help.loop, note_expiry, &expiries[i], &expiries[i].timer), 0);
        replica_timer_set(expiries[i].timer, now + delays[i] * ms);
    }
    replica_timer_set(expiries[1].timer, UINT64_MAX); /* 5: disarmed */
    replica_timer_free(expiries[4].timer);            /* 25: gone */
    io_help_run(&help, six_seen, &order);
    ck_assert_mem_eq(order.seen, expected, sizeof expected);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4)
            replica_timer_free(expiries[i].timer);
}
END_TEST

/* Between two timers nothing runs: the number of turns is the number of reasons to wake. */
START_TEST(test_idle_sleeps)
{
    struct replica_timer *timer;
    bool over = false;
    uint64_t turns;

    ck_assert_int_eq(replica_timer_new(help.loop, set_flag, &over, &timer), 0);
    replica_timer_set(timer, replica_loop_now(help.loop) + 200 * ms);
    turns = loop_counters(help.loop)->turns;
    io_help_run(&help, io_help_flag, &over);
    ck_assert_uint_le(loop_counters(help.loop)->turns - turns, 2);
    ck_assert_uint_eq(loop_polling(help.loop)->now_ns, 0);
    replica_timer_free(timer);
}
END_TEST

struct nops {
    struct loop_op op; /* first */
    unsigned left;
};

static void nop_done(struct loop_op *op, int result)
{
    struct nops *nops = (struct nops *)op;

    ck_assert_int_eq(result, 0);
    if (--nops->left > 0)
        io_uring_prep_nop(loop_sqe(help.loop, op));
}

static bool nops_over(void *argument)
{
    return ((struct nops *)argument)->left == 0;
}

/* More submissions in one turn than the ring has places. */
START_TEST(test_many_submissions)
{
    static struct nops all[3000];

    for (unsigned i = 0; i < 3000; i++) {
        all[i] = (struct nops){.op = {.done = nop_done}, .left = 2};
        io_uring_prep_nop(loop_sqe(help.loop, &all[i].op));
    }
    for (unsigned i = 0; i < 3000; i++)
        io_help_run(&help, nops_over, &all[i]);
}
END_TEST

struct hook_log {
    unsigned rounds;
    bool kicked;
    char order[16];
};

static void library_hook(void *argument)
{
    struct hook_log *log = argument;

    strcat(log->order, "L");
}

static void client_hook(void *argument)
{
    struct hook_log *log = argument;

    strcat(log->order, "c");
    if (!log->kicked) {
        log->kicked = true;
        loop_kick(help.loop);
    } else {
        replica_loop_stop(help.loop);
    }
}

/* The library's hooks come first, and work made by a client's hook is seen before any sleep. */
START_TEST(test_hooks)
{
    struct hook_log log = {0};
    struct replica_error error;

    ck_assert_int_eq(replica_loop_at_turn_end(help.loop, client_hook, &log), 0);
    ck_assert_int_eq(loop_hook(help.loop, library_hook, &log), 0);
    ck_assert_int_eq(replica_loop_run(help.loop, &error), 0);
    ck_assert_str_eq(log.order, "LcLc");
}
END_TEST

struct drained {
    struct loop_op op; /* first */
    bool over;
};

static void drained_done(struct loop_op *op, int result)
{
    (void)result;
    ((struct drained *)op)->over = true;
}

static bool drain_pending(void *argument)
{
    return !((struct drained *)argument)->over;
}

/* While the library waits for its own operations no client is called; the client's call comes
 * with the next turn. */
START_TEST(test_drain_holds_clients_back)
{
    int pair[2];
    struct reader reader = {0};
    struct drained drained = {.op = {.done = drained_done}};
    struct __kernel_timespec later = {.tv_nsec = 20 * 1000000};

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    reader.fd = pair[0];
    ck_assert_int_eq(write(pair[1], "12345", 5), 5);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, pair[0], false, read_one, &reader, &reader.watch), 0);
    io_uring_prep_timeout(loop_sqe(help.loop, &drained.op), &later, 0, 0);
    loop_drain(help.loop, drain_pending, &drained);
    ck_assert_uint_eq(reader.calls, 0);
    io_help_run(&help, read_five, &reader);
    replica_loop_unwatch(reader.watch);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *all = tcase_create("all");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, test_watch_is_level_triggered);
    tcase_add_test(all, test_unwatch_inside);
    tcase_add_test(all, test_unwatch_lets_go);
    tcase_add_test(all, test_timers_in_order);
    tcase_add_test(all, test_idle_sleeps);
    tcase_add_test(all, test_many_submissions);
    tcase_add_test(all, test_hooks);
    tcase_add_test(all, test_drain_holds_clients_back);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
