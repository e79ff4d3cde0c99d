/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_handlers.c - the scripts of handlers { }: how they end, what they get of this process. */
#include "io_help.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "libreplica/io/driver_private.h"

static struct io_help help;
static struct config_resource resource;
static struct handlers *handlers;
static bool over;
static int ended;

static void done(void *argument, enum core_handler handler, uint32_t serial, int status)
{
    (void)argument;
    ck_assert_int_eq(handler, HANDLER_FENCE_PEER);
    ck_assert_uint_eq(serial, 7);
    ended = status;
    over = true;
}

static void setup(void)
{
    io_help_open(&help);
    memset(&resource, 0, sizeof resource);
    strcpy(resource.name, "vm1");
    strcpy(resource.local.name, "alpha");
    strcpy(resource.peer.name, "beta");
    over = false;
    ck_assert_int_eq(handlers_new(&handlers, help.loop, &help.log, &resource, done, NULL), 0);
}

static void teardown(void)
{
    handlers_free(handlers);
    io_help_close(&help);
}

static int run(const char *script)
{
    strcpy(resource.handler[HANDLER_FENCE_PEER], script);
    handlers_run(handlers, HANDLER_FENCE_PEER, 7, 1);
    io_help_run(&help, io_help_flag, &over);
    over = false;
    return ended;
}

START_TEST(test_status)
{
    ck_assert_int_eq(run("exit 4"), 4);
    ck_assert_int_eq(run("true"), 0);
    ck_assert_int_eq(run("kill -9 $$"), -1);
    ck_assert_int_eq(run("/there/is/no/such/program"), 127);
    ck_assert_int_eq(run("sleep 20 & exit 3"), 3); /* what it leaves behind is not waited for */
}
END_TEST

/* Signals as a shell expects them, nothing of the loop, and DRBD's variables. */
START_TEST(test_surroundings)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    ck_assert_int_eq(run("grep -q '^SigBlk:.0*$' /proc/self/status"), 0);
    ck_assert_int_eq(run("kill -PIPE $$"), -1); /* which this process ignores */
    ck_assert_int_eq(run("ls -l /proc/$$/fd | grep -q anon_inode"), 1); /* the ring, a pidfd */
    ck_assert_int_eq(run("test \"$DRBD_RESOURCE-$DRBD_PEER-$UP_TO_DATE_NODES\" = "
                         "vm1-beta-0x00000001"),
                     0);
}
END_TEST

/* This process is spared; a script that takes all the memory is not. */
START_TEST(test_oom_score)
{
    FILE *file = fopen("/proc/self/oom_score_adj", "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(fprintf(file, "300"), 0); /* less needs a privilege */
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(run("test \"$(cat /proc/self/oom_score_adj)\" = 0"), 0);
}
END_TEST

/* Of two that end in one turn the later one was asked for last, whichever ends first: nobody waits
 * for the other's answer. */
START_TEST(test_two_in_a_turn)
{
    struct driver *driver = calloc(1, sizeof *driver);
    const struct handler_answer *answer = &driver->answers[HANDLER_FENCE_PEER];

    driver->setup.loop = help.loop;
    driver_handler_done(driver, HANDLER_FENCE_PEER, 2, 7);
    driver_handler_done(driver, HANDLER_FENCE_PEER, 1, -1);
    ck_assert(answer->there);
    ck_assert_uint_eq(answer->serial, 2);
    ck_assert_int_eq(answer->status, 7);
    driver_handler_done(driver, HANDLER_FENCE_PEER, 3, 4);
    ck_assert_uint_eq(answer->serial, 3);
    free(driver);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handlers");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 30);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, test_status);
    tcase_add_test(all, test_surroundings);
    tcase_add_test(all, test_oom_score);
    tcase_add_test(all, test_two_in_a_turn);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
