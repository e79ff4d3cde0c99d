/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_range.c - checked arithmetic on ranges, at the edges of 64 bits. */
#include "libreplica/core/range.h"

#include "unit.h"

START_TEST(test_inside)
{
    ck_assert(range_inside((struct range){0, 1}, 1));
    ck_assert(range_inside((struct range){4096, 4096}, 8192));
    ck_assert(!range_inside((struct range){0, 0}, 1));
    ck_assert(!range_inside((struct range){0, 1}, 0));
    ck_assert(!range_inside((struct range){4096, 4097}, 8192));
    ck_assert(!range_inside((struct range){8192, 1}, 8192));
    ck_assert(!range_inside((struct range){UINT64_MAX, 1}, UINT64_MAX));
    ck_assert(!range_inside((struct range){UINT64_MAX - 1, UINT32_MAX}, UINT64_MAX));
    ck_assert(range_inside((struct range){UINT64_MAX - 1, 1}, UINT64_MAX));
}
END_TEST

START_TEST(test_aligned)
{
    ck_assert(range_aligned((struct range){512, 1024}, 512));
    ck_assert(!range_aligned((struct range){511, 1024}, 512));
    ck_assert(!range_aligned((struct range){512, 1023}, 512));
}
END_TEST

/* Against the definition: a byte in common. */
START_TEST(test_overlaps)
{
    for (uint32_t a = 0; a < 8; a++)
        for (uint32_t b = 0; b < 8; b++)
            for (uint32_t m = 1; m < 5; m++)
                for (uint32_t n = 1; n < 5; n++) {
                    struct range x = {a, m}, y = {b, n};
                    bool common = false;

                    for (uint32_t byte = a; byte < a + m; byte++)
                        common |= byte >= b && byte < b + n;
                    ck_assert(range_overlaps(x, y) == common);
                    ck_assert(range_overlaps(y, x) == common);
                }
}
END_TEST

START_TEST(test_end)
{
    ck_assert_uint_eq(range_end((struct range){(uint64_t)1 << 40, UINT32_MAX}),
                      ((uint64_t)1 << 40) + UINT32_MAX);
}
END_TEST

UNIT_MAIN("range", test_inside, test_aligned, test_overlaps, test_end)
