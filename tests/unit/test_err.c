/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_err.c - filling in and wrapping a diagnostic. */
#include "libreplica/core/err.h"

#include <string.h>

#include "unit.h"

START_TEST(test_set)
{
    struct replica_error error;

    ck_assert_int_eq(err_set(&error, REPLICA_E_RANGE, "block %d", 7), REPLICA_E_RANGE);
    ck_assert_int_eq(error.code, REPLICA_E_RANGE);
    ck_assert_str_eq(error.text, "block 7");
    ck_assert_int_eq(err_set(NULL, REPLICA_E_IO, "nobody listens"), REPLICA_E_IO);
}
END_TEST

START_TEST(test_wrap)
{
    struct replica_error error;

    (void)err_set(&error, REPLICA_E_IO, "cannot read");
    ck_assert_int_eq(err_wrap(&error, "slot %u", 1u), REPLICA_E_IO);
    ck_assert_str_eq(error.text, "slot 1: cannot read");
    ck_assert_int_eq(err_wrap(&error, "%s", "vm1"), REPLICA_E_IO);
    ck_assert_str_eq(error.text, "vm1: slot 1: cannot read");
}
END_TEST

START_TEST(test_long_text_is_cut)
{
    char text[2 * REPLICA_ERROR_TEXT_MAX];
    struct replica_error error;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)err_set(&error, REPLICA_E_IO, "%s", text);
    ck_assert_uint_eq(strlen(error.text), REPLICA_ERROR_TEXT_MAX - 1);
    (void)err_wrap(&error, "%s", text);
    ck_assert_uint_eq(strlen(error.text), REPLICA_ERROR_TEXT_MAX - 1);
    ck_assert_int_eq(error.code, REPLICA_E_IO);
}
END_TEST

/* Every word of every enum is there, and what is outside is "?". */
START_TEST(test_words)
{
    for (int i = 0; i < REPLICA_ROLE_COUNT; i++)
        ck_assert_str_ne(replica_role_name((enum replica_role)i), "?");
    for (int i = 0; i < REPLICA_DISK_COUNT; i++)
        ck_assert_str_ne(replica_disk_name((enum replica_disk)i), "?");
    for (int i = 0; i < REPLICA_CONNECTION_COUNT; i++)
        ck_assert_str_ne(replica_connection_name((enum replica_connection)i), "?");
    for (int i = 0; i < REPLICA_REPLICATION_COUNT; i++)
        ck_assert_str_ne(replica_replication_name((enum replica_replication)i), "?");
    for (int i = 0; i < REPLICA_OP_COUNT; i++)
        ck_assert_str_ne(replica_op_name((enum replica_op)i), "?");
    for (int i = 0; i >= REPLICA_E_SYSTEM; i--)
        ck_assert_str_ne(replica_code_name(i), "?");
    ck_assert_str_eq(replica_role_name(REPLICA_ROLE_COUNT), "?");
    ck_assert_str_eq(replica_disk_name((enum replica_disk) - 1), "?");
    ck_assert_str_eq(replica_code_name(1), "?");
    ck_assert_str_eq(replica_code_name(REPLICA_E_SYSTEM - 1), "?");
    ck_assert_str_eq(replica_code_name(INT32_MIN), "?");
}
END_TEST

UNIT_MAIN("err", test_set, test_wrap, test_long_text_is_cut, test_words)
