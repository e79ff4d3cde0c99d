/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_digest.c - known checksums, and how zeroes are told from the rest. */
#include "libreplica/io/digest.h"

#include <string.h>

#include "unit.h"

/* "abc", as FIPS 180 and RFC 1321 have it; crc32c of "123456789" from RFC 3720. */
START_TEST(test_known_sums)
{
    static const struct {
        enum core_digest algorithm;
        const char *text, *sum;
    } cases[] = {
        {CORE_DIGEST_SHA256, "abc",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {CORE_DIGEST_SHA1, "abc",
         "a9993e364706816aba3e25717850c26c9cd0d89d000000000000000000000000"},
        {CORE_DIGEST_MD5, "abc",
         "900150983cd24fb0d6963f7d28e17f7200000000000000000000000000000000"},
        {CORE_DIGEST_CRC32C, "123456789",
         "839206e300000000000000000000000000000000000000000000000000000000"},
    };
    struct digest *digest;

    ck_assert_int_eq(digest_new(&digest), 0);
    for (unsigned round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            uint8_t sum[WIRE_DIGEST_BYTES], expected[WIRE_DIGEST_BYTES];

            ck_assert_uint_eq(unit_hex(cases[i].sum, expected, sizeof expected), sizeof expected);
            ck_assert(digest_sum(digest, cases[i].algorithm, (const uint8_t *)cases[i].text,
                                 strlen(cases[i].text), sum));
            ck_assert_mem_eq(sum, expected, sizeof sum);
        }
    digest_free(digest);
}
END_TEST

START_TEST(test_unknown)
{
    struct digest *digest;
    uint8_t sum[WIRE_DIGEST_BYTES];

    ck_assert_int_eq(digest_new(&digest), 0);
    ck_assert(!digest_sum(digest, CORE_DIGEST_NONE, sum, 0, sum));
    ck_assert(!digest_sum(digest, CORE_DIGEST_COUNT, sum, 0, sum));
    digest_free(digest);
    digest_free(NULL);
}
END_TEST

START_TEST(test_zero)
{
    static uint8_t data[131072];

    ck_assert(digest_is_zero(data, sizeof data));
    ck_assert(digest_is_zero(data, 512));
    for (size_t i = 0; i < sizeof data; i += 1 + i / 7) {
        data[i] = 0x10;
        ck_assert(!digest_is_zero(data, sizeof data));
        data[i] = 0;
    }
    data[sizeof data - 1] = 1;
    ck_assert(!digest_is_zero(data, sizeof data));
    memset(data, 7, sizeof data);
    ck_assert(!digest_is_zero(data, sizeof data));
}
END_TEST

UNIT_MAIN("digest", test_known_sums, test_unknown, test_zero)
