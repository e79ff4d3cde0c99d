/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit.h - what every Check program shares: a main, and a random source with a seed. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* One suite with one case of the tests in the list: main() of a unit test is UNIT_MAIN("name",
 * test_a, test_b). CK_FORK=no in the environment runs them in one process, for a debugger. */
#define UNIT_MAIN(name, ...)                                      \
    int main(void)                                                \
    {                                                             \
        const TTest *const tests[] = {__VA_ARGS__};               \
        Suite *suite = suite_create(name);                        \
        TCase *cases = tcase_create(name);                        \
        SRunner *runner = srunner_create(suite);                  \
        int failed;                                               \
                                                                  \
        tcase_set_timeout(cases, 120);                            \
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) \
            tcase_add_test(cases, tests[i]);                      \
        suite_add_tcase(suite, cases);                            \
        srunner_run_all(runner, CK_ENV);                          \
        failed = srunner_ntests_failed(runner);                   \
        srunner_free(runner);                                     \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;              \
    }

/* For the inside of long loops: ck_assert tells the parent process of each success. */
#define REQUIRE(fact)                  \
    do {                               \
        if (!(fact))                   \
            ck_abort_msg("%s", #fact); \
    } while (0)

/* splitmix64: the same numbers everywhere from the same seed. */
static inline uint64_t unit_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15u;

    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

/* 0 to limit - 1. */
static inline uint32_t unit_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(unit_random(state) >> 32) % limit;
}

/* Golden bytes: the hexadecimal digits as bytes. Returns how many. */
static inline size_t unit_hex(const char *digits, uint8_t *out, size_t room)
{
    size_t count = 0;
    unsigned byte;

    for (; *digits; digits += 2) {
        ck_assert_uint_lt(count, room);
        ck_assert_int_eq(sscanf(digits, "%2x", &byte), 1);
        out[count++] = (uint8_t)byte;
    }
    return count;
}

#endif
