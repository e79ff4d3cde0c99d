/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_bytes.c - cursors: little-endian, bounded, failing for good at the end. */
#include "libreplica/core/bytes.h"

#include "unit.h"

START_TEST(test_integers_are_little_endian)
{
    const uint8_t golden[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                              0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
    uint8_t out[sizeof golden];
    struct bytes_writer writer = bytes_writer(out, sizeof out);
    struct bytes_reader reader = bytes_reader(golden, sizeof golden);

    bytes_put8(&writer, 0x01);
    bytes_put16(&writer, 0x0203);
    bytes_put32(&writer, 0x04050607);
    bytes_put64(&writer, 0x08090a0b0c0d0e0f);
    ck_assert(!writer.failed);
    ck_assert_ptr_eq(writer.next, writer.end);
    ck_assert_mem_eq(out, golden, sizeof golden);

    ck_assert_uint_eq(bytes_get8(&reader), 0x01);
    ck_assert_uint_eq(bytes_get16(&reader), 0x0203);
    ck_assert_uint_eq(bytes_get32(&reader), 0x04050607);
    ck_assert_uint_eq(bytes_get64(&reader), 0x08090a0b0c0d0e0f);
    ck_assert(!reader.failed);
}
END_TEST

START_TEST(test_reader_fails_for_good)
{
    const uint8_t data[] = {1, 2, 3, 4, 5};
    struct bytes_reader reader = bytes_reader(data, sizeof data);
    uint8_t raw[2] = {9, 9};

    ck_assert_uint_eq(bytes_get32(&reader), 0x04030201);
    ck_assert_uint_eq(bytes_get16(&reader), 0);
    ck_assert(reader.failed);
    ck_assert_uint_eq(bytes_get8(&reader), 0); /* though one byte is left */
    bytes_get_raw(&reader, raw, 1);
    ck_assert_uint_eq(raw[0], 0);
    ck_assert_uint_eq(raw[1], 9);
}
END_TEST

START_TEST(test_writer_never_passes_its_end)
{
    uint8_t out[4] = {0xee, 0xee, 0xee, 0xee};
    struct bytes_writer writer = bytes_writer(out, 3);

    bytes_put16(&writer, 0x0102);
    bytes_put16(&writer, 0x0304);
    ck_assert(writer.failed);
    bytes_put8(&writer, 5); /* though it has room */
    bytes_put_raw(&writer, "x", 1);
    ck_assert_uint_eq(out[2], 0xee);
    ck_assert_uint_eq(out[3], 0xee);
}
END_TEST

START_TEST(test_raw)
{
    uint8_t out[3];
    char in[3];
    struct bytes_writer writer = bytes_writer(out, sizeof out);
    struct bytes_reader reader = bytes_reader(out, sizeof out);

    bytes_put_raw(&writer, "abc", 3);
    ck_assert(!writer.failed);
    bytes_get_raw(&reader, in, 3);
    ck_assert(!reader.failed);
    ck_assert_mem_eq(in, "abc", 3);
    bytes_get_raw(&reader, in, 0);
    ck_assert(!reader.failed);
}
END_TEST

UNIT_MAIN("bytes", test_integers_are_little_endian, test_reader_fails_for_good,
          test_writer_never_passes_its_end, test_raw)
