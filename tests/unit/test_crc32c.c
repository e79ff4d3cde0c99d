/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_crc32c.c - the vectors of RFC 3720, appendix B.4, and the definition bit by bit. The source
 * itself is included, to reach the table that a processor with the instruction never uses.
 */
#include "libreplica/core/crc32c.c"

#include <string.h>

#include "unit.h"

START_TEST(test_rfc_vectors)
{
    uint8_t data[32];

    ck_assert_uint_eq(crc32c_update(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof data);
    ck_assert_uint_eq(crc32c_update(0, data, sizeof data), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    ck_assert_uint_eq(crc32c_update(0, data, sizeof data), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    ck_assert_uint_eq(crc32c_update(0, data, sizeof data), 0x46dd794e);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(31 - i);
    ck_assert_uint_eq(crc32c_update(0, data, sizeof data), 0x113fdb5c);
}
END_TEST

/* One bit at a time, straight from the polynomial. */
static uint32_t slow_crc(const uint8_t *data, size_t length)
{
    uint32_t crc = ~(uint32_t)0;

    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

START_TEST(test_against_the_definition_and_chained)
{
    uint8_t data[300];
    uint64_t seed = 1;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)unit_random(&seed);
    for (size_t length = 0; length <= sizeof data; length++) {
        uint32_t whole = crc32c_update(0, data, length);

        ck_assert_uint_eq(whole, slow_crc(data, length));
        ck_assert_uint_eq(whole, ~crc32c_table(~(uint32_t)0, data, length));
        ck_assert_uint_eq(crc32c_update(crc32c_update(0, data, length / 3), data + length / 3,
                                        length - length / 3),
                          whole);
    }
}
END_TEST

/* Long enough for lanes side by side, of which the seams are anywhere. */
START_TEST(test_long_pieces)
{
    static uint8_t data[9000];
    uint64_t seed = 2;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)unit_random(&seed);
    for (unsigned i = 0; i < 200; i++) {
        size_t start = unit_random(&seed) % 16;
        size_t length = 4060 + unit_random(&seed) % (i % 2 ? 40 : 4900);

        ck_assert_uint_eq(crc32c_update(0, data + start, length), slow_crc(data + start, length));
    }
}
END_TEST

/* Any alignment of the start: the instruction takes eight bytes at once. */
START_TEST(test_unaligned)
{
    uint8_t data[64 + 8];
    uint64_t seed = 10;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)unit_random(&seed);
    for (unsigned start = 0; start < 8; start++)
        for (size_t length = 0; length <= 64; length++)
            ck_assert_uint_eq(crc32c_update(77, data + start, length),
                              ~crc32c_table(~(uint32_t)77, data + start, length));
}
END_TEST

UNIT_MAIN("crc32c", test_unaligned, test_rfc_vectors, test_against_the_definition_and_chained,
          test_long_pieces)
