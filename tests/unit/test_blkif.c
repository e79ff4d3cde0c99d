/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_blkif.c - the block protocol as bytes, against xen/io/blkif.h and by hand. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <xen/grant_table.h>
#include <xen/event_channel.h>
#include <xen/io/ring.h>

/* The specification uses names of ours; keep them apart. */
#define blkif_request spec_request
#define blkif_response spec_response
#include <xen/io/blkif.h>
#undef blkif_request
#undef blkif_response

#include "tapdisk-drbd/blkif.h"

static const struct blkif_limits writable = {.sectors = 1000, .discard = true};
static const struct blkif_limits read_only = {.sectors = 1000, .read_only = true, .discard = true};

START_TEST(native_layout_is_the_specifications)
{
    struct spec_request request;
    struct blkif_command command;

    memset(&request, 0xee, sizeof request);
    request.operation = BLKIF_OP_WRITE;
    request.nr_segments = 2;
    request.id = 0x1122334455667788;
    request.sector_number = 77;
    request.seg[1].gref = 4242;
    request.seg[1].first_sect = 3;
    request.seg[1].last_sect = 5;
    ck_assert_uint_eq(blkif_entry_bytes(BLKIF_ABI_NATIVE), sizeof request);
    ck_assert_uint_eq(blkif_response_bytes(BLKIF_ABI_NATIVE), sizeof(struct spec_response));
    blkif_decode(BLKIF_ABI_NATIVE, (const uint8_t *)&request, &command);
    ck_assert_uint_eq(command.operation, BLKIF_WRITE);
    ck_assert_uint_eq(command.segments, 2);
    ck_assert_uint_eq(command.id, request.id);
    ck_assert_uint_eq(command.sector, 77);
    ck_assert_uint_eq(blkif_segment(command.descriptors, 1).gref, 4242);
    ck_assert_uint_eq(blkif_segment(command.descriptors, 1).first_sector, 3);
    ck_assert_uint_eq(blkif_segment(command.descriptors, 1).last_sector, 5);
    ck_assert_uint_eq(blkif_segment_bytes(blkif_segment(command.descriptors, 1)), 1536);
}
END_TEST

START_TEST(native_indirect_and_discard_are_the_specifications)
{
    union {
        struct blkif_request_indirect indirect;
        struct blkif_request_discard discard;
        uint8_t bytes[BLKIF_ENTRY_BYTES_MAX];
    } entry;
    struct blkif_command command;

    memset(&entry, 0, sizeof entry);
    entry.indirect.operation = BLKIF_OP_INDIRECT;
    entry.indirect.indirect_op = BLKIF_OP_READ;
    entry.indirect.nr_segments = 256;
    entry.indirect.id = 9;
    entry.indirect.sector_number = 8;
    entry.indirect.indirect_grefs[0] = 70;
    entry.indirect.indirect_grefs[7] = 77;
    blkif_decode(BLKIF_ABI_NATIVE, entry.bytes, &command);
    ck_assert(command.indirect);
    ck_assert_uint_eq(command.answered_operation, BLKIF_READ);
    ck_assert_uint_eq(command.operation, BLKIF_READ);
    ck_assert_uint_eq(command.segments, 256);
    ck_assert_uint_eq(command.indirect_grefs[0], 70);
    ck_assert_uint_eq(command.indirect_grefs[7], 77);
    memset(&entry, 0, sizeof entry);
    entry.discard.operation = BLKIF_OP_DISCARD;
    entry.discard.flag = BLKIF_DISCARD_SECURE;
    entry.discard.id = 5;
    entry.discard.sector_number = 6;
    entry.discard.nr_sectors = 0x100000000;
    blkif_decode(BLKIF_ABI_NATIVE, entry.bytes, &command);
    ck_assert(command.secure);
    ck_assert_uint_eq(command.discard_count, 0x100000000);
    ck_assert_uint_eq(command.sector, 6);
}
END_TEST

/* The 32-bit layout packs 64-bit members at multiples of four. */
START_TEST(narrow_layout_golden_bytes)
{
    uint8_t entry[108] = {0};
    uint8_t response[BLKIF_RESPONSE_BYTES_MAX];
    static const uint8_t golden[12] = {8, 7, 6, 5, 4, 3, 2, 1, 1, 0, 0xff, 0xff};
    struct blkif_command command;

    entry[0] = 1;
    entry[1] = 1;
    memcpy(entry + 4, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    entry[12] = 0x10;
    memcpy(entry + 20, "\x2a\x00\x00\x00\x00\x07\x00\x00", 8);
    blkif_decode(BLKIF_ABI_X86_32, entry, &command);
    ck_assert_uint_eq(command.id, 0x0102030405060708);
    ck_assert_uint_eq(command.sector, 16);
    ck_assert_uint_eq(blkif_segment(command.descriptors, 0).gref, 42);
    ck_assert_uint_eq(blkif_segment(command.descriptors, 0).last_sector, 7);
    memset(response, 0xee, sizeof response);
    blkif_encode_response(BLKIF_ABI_X86_32, command.id, command.answered_operation, BLKIF_ERROR,
                          response);
    ck_assert_int_eq(memcmp(response, golden, sizeof golden), 0);
    ck_assert_uint_eq(response[12], 0xee);
    memset(entry, 0, sizeof entry);
    entry[0] = 6;
    entry[2] = 12;
    entry[24] = 99;
    blkif_decode(BLKIF_ABI_X86_32, entry, &command);
    ck_assert_uint_eq(command.segments, 12);
    ck_assert_uint_eq(command.indirect_grefs[0], 99);
}
END_TEST

START_TEST(ring_sizes)
{
    ck_assert_uint_eq(blkif_ring_entries(BLKIF_ABI_X86_64, 1), 32);
    ck_assert_uint_eq(blkif_ring_entries(BLKIF_ABI_X86_32, 1), 32);
    ck_assert_uint_eq(blkif_ring_entries(BLKIF_ABI_X86_64, 2), 64);
    ck_assert_uint_eq(blkif_ring_entries(BLKIF_ABI_X86_64, 16), 512);
}
END_TEST

START_TEST(protocols)
{
    enum blkif_abi abi;

    ck_assert_int_eq(blkif_abi_from_protocol("x86_64-abi", &abi), 0);
    ck_assert_int_eq(abi, BLKIF_ABI_X86_64);
    ck_assert_int_eq(blkif_abi_from_protocol("x86_32-abi", &abi), 0);
    ck_assert_int_eq(abi, BLKIF_ABI_X86_32);
    ck_assert_int_eq(blkif_abi_from_protocol(NULL, &abi), 0);
#if defined(__x86_64__)
    ck_assert_int_eq(abi, BLKIF_ABI_X86_32);
#endif
    ck_assert_int_lt(blkif_abi_from_protocol("x86_64-abi ", &abi), 0);
    ck_assert_int_lt(blkif_abi_from_protocol("", &abi), 0);
}
END_TEST

static struct blkif_command one_page(uint8_t operation, uint64_t sector)
{
    struct blkif_command command = {
        .operation = operation, .answered_operation = operation, .segments = 1, .sector = sector};

    command.descriptors[5] = 7;
    return command;
}

START_TEST(advisory_segment_count)
{
    struct blkif_command command = one_page(BLKIF_READ, 0);

    command.segments = 0;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.segments = 11;
    for (unsigned i = 0; i < 11; i++)
        command.descriptors[i * 8 + 5] = 7;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
    command.segments = 12;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.segments = 255;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.indirect = true;
    command.segments = 256;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
    command.segments = 257;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.segments = 0;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
}
END_TEST

START_TEST(advisory_segment_outside_its_page)
{
    struct blkif_command command = one_page(BLKIF_WRITE, 0);

    command.descriptors[5] = 8;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.descriptors[5] = 255;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.descriptors[4] = 5;
    command.descriptors[5] = 4;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.descriptors[5] = 5;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
}
END_TEST

START_TEST(advisory_sector_wraps_or_passes_the_end)
{
    struct blkif_command command = one_page(BLKIF_WRITE, 992);

    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
    command.sector = 993;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.sector = UINT64_MAX - 3;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.sector = UINT64_MAX;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command = (struct blkif_command){
        .operation = BLKIF_DISCARD, .sector = 2, .discard_count = UINT64_MAX};
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.discard_count = 999;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
    command.discard_count = 998;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
    command.discard_count = 0;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_ERROR);
}
END_TEST

START_TEST(advisory_write_to_a_read_only_vbd)
{
    static const uint8_t writing[] = {BLKIF_WRITE, BLKIF_BARRIER, BLKIF_FLUSH};
    struct blkif_command command;

    for (unsigned i = 0; i < sizeof writing; i++) {
        command = one_page(writing[i], 0);
        ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_OKAY);
        ck_assert_int_eq(blkif_check(&command, &read_only), BLKIF_ERROR);
    }
    command = (struct blkif_command){.operation = BLKIF_DISCARD, .discard_count = 8};
    ck_assert_int_eq(blkif_check(&command, &read_only), BLKIF_ERROR);
    command = one_page(BLKIF_READ, 0);
    ck_assert_int_eq(blkif_check(&command, &read_only), BLKIF_OKAY);
    command = (struct blkif_command){.operation = BLKIF_FLUSH};
    ck_assert_int_eq(blkif_check(&command, &read_only), BLKIF_OKAY);
}
END_TEST

START_TEST(unknown_operations_are_unsupported)
{
    struct blkif_command command = one_page(BLKIF_READ, 0);

    for (unsigned operation = 7; operation < 256; operation++) {
        command.operation = (uint8_t)operation;
        ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_UNSUPPORTED);
    }
    command.operation = BLKIF_RESERVED;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_UNSUPPORTED);
    command.indirect = true;
    for (unsigned operation = 2; operation < 256; operation++) {
        command.operation = (uint8_t)operation;
        ck_assert_int_ne(blkif_check(&command, &writable), BLKIF_OKAY);
    }
}
END_TEST

START_TEST(discard_only_where_it_was_offered)
{
    struct blkif_limits without = writable;
    struct blkif_command command = {.operation = BLKIF_DISCARD, .discard_count = 8};

    without.discard = false;
    ck_assert_int_eq(blkif_check(&command, &without), BLKIF_UNSUPPORTED);
    command.secure = true;
    ck_assert_int_eq(blkif_check(&command, &writable), BLKIF_UNSUPPORTED);
}
END_TEST

/* Whatever bytes: what passes the check stays inside. */
START_TEST(random_entries_stay_inside)
{
    uint8_t entry[BLKIF_ENTRY_BYTES_MAX];
    struct blkif_command command;
    unsigned passed = 0;

    srand(1);
    for (unsigned round = 0; round < 200000; round++) {
        for (unsigned i = 0; i < sizeof entry; i++)
            entry[i] = (uint8_t)(rand() % 3 ? 0 : rand() % 12);
        entry[0] = (uint8_t)(rand() % 8);
        blkif_decode((enum blkif_abi)(round % 3), entry, &command);
        command.sector %= 2000;
        if (blkif_check(&command, &writable) != BLKIF_OKAY || command.indirect)
            continue;
        passed++;
        ck_assert_uint_le(command.segments, 11);
        if (command.segments || command.operation == BLKIF_DISCARD)
            ck_assert_uint_lt(command.sector, 1000);
    }
    ck_assert_uint_gt(passed, 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blkif");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, native_layout_is_the_specifications);
    tcase_add_test(tcase, native_indirect_and_discard_are_the_specifications);
    tcase_add_test(tcase, narrow_layout_golden_bytes);
    tcase_add_test(tcase, ring_sizes);
    tcase_add_test(tcase, protocols);
    tcase_add_test(tcase, advisory_segment_count);
    tcase_add_test(tcase, advisory_segment_outside_its_page);
    tcase_add_test(tcase, advisory_sector_wraps_or_passes_the_end);
    tcase_add_test(tcase, advisory_write_to_a_read_only_vbd);
    tcase_add_test(tcase, unknown_operations_are_unsupported);
    tcase_add_test(tcase, discard_only_where_it_was_offered);
    tcase_add_test(tcase, random_entries_stay_inside);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
