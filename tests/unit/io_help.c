/* SPDX-License-Identifier: GPL-2.0-or-later */
/* io_help.c - see io_help.h. */
#include "io_help.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GUARD_SECONDS = 10 };

static void too_long(void *argument)
{
    (void)argument;
    ck_abort_msg("nothing happened for %d seconds", GUARD_SECONDS);
}

static void turn_end(void *argument)
{
    struct io_help *help = argument;

    if (help->over && help->over(help->argument))
        replica_loop_stop(help->loop);
}

void io_help_open(struct io_help *help)
{
    struct replica_error error = {0};

    memset(help, 0, sizeof *help);
    signal(SIGPIPE, SIG_IGN);
    ck_assert_msg(replica_loop_new(&help->loop, &error) == 0, "%s", error.text);
    ck_assert_int_eq(replica_timer_new(help->loop, too_long, NULL, &help->guard), 0);
    ck_assert_int_eq(replica_loop_at_turn_end(help->loop, turn_end, help), 0);
    log_open(&help->log, "vm1");
    help->log.level = getenv("TEST_LOG") ? LOG_DEBUG : -1;
    (void)snprintf(help->directory, sizeof help->directory, "./io-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(help->directory));
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void io_help_close(struct io_help *help)
{
    enum { DESCRIPTORS = 8 };

    replica_timer_free(help->guard);
    replica_loop_free(help->loop);
    ck_assert_int_eq(nftw(help->directory, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS), 0);
}

void io_help_run(struct io_help *help, bool (*over)(void *argument), void *argument)
{
    struct replica_error error = {0};

    help->over = over;
    help->argument = argument;
    replica_timer_set(help->guard,
                      replica_loop_now(help->loop) + GUARD_SECONDS * (uint64_t)1000000000);
    ck_assert_msg(replica_loop_run(help->loop, &error) == 0, "%s", error.text);
    replica_timer_set(help->guard, UINT64_MAX);
    help->over = NULL;
}

bool io_help_flag(void *flag)
{
    return *(bool *)flag;
}

static char *file_name(struct io_help *help, const char *name)
{
    static char names[4][128];
    static unsigned next;
    char *text = names[next++ % 4];

    (void)snprintf(text, sizeof names[0], "%s/%s", help->directory, name);
    return text;
}

const char *io_help_file(struct io_help *help, const char *name, uint64_t bytes)
{
    const char *path = file_name(help, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
    return path;
}

const char *io_help_text(struct io_help *help, const char *name, const char *text, unsigned mode)
{
    const char *path = file_name(help, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

int io_help_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
