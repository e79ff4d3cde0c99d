/* SPDX-License-Identifier: GPL-2.0-or-later */
/* io_help.h - what the tests of libreplica/io share: a loop that runs until something is true. */
#ifndef TESTS_IO_HELP_H
#define TESTS_IO_HELP_H

#include <check.h>
#include <stdlib.h>

#include "libreplica/io/log.h"
#include "libreplica/io/loop.h"

struct io_help {
    struct replica_loop *loop;
    struct replica_timer *guard; /* a test that waits for ever fails instead */
    bool (*over)(void *argument);
    void *argument;
    struct log log;
    char directory[64];
};

void io_help_open(struct io_help *help);
void io_help_close(struct io_help *help); /* removes the directory's files too */

/* Runs turns until over(argument); fails the test after ten seconds. */
void io_help_run(struct io_help *help, bool (*over)(void *argument), void *argument);
bool io_help_flag(void *flag); /* for io_help_run: *(bool *)flag */

/* DIRECTORY/name with `bytes` zero bytes, or with `text`; a static string a call, four at most. */
const char *io_help_file(struct io_help *help, const char *name, uint64_t bytes);
const char *io_help_text(struct io_help *help, const char *name, const char *text, unsigned mode);

/* main() of a test program. */
int io_help_main(Suite *suite);

#endif
