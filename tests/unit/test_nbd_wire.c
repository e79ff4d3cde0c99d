/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_nbd_wire.c - the NBD protocol as bytes: negotiation, the validator, golden replies. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/words.h"
#include "tapdisk-drbd/nbd_wire.h"

static const struct nbd_export served = {.name = "vm1", .size = 1 << 30, .discards = true};
static const struct nbd_export refused = {.name = "vm1", .size = 1 << 30, .refusal = "not Primary"};

struct talk {
    struct nbd_negotiation negotiation;
    uint8_t input[16384], output[16384];
    size_t input_bytes, output_bytes;
};

static void say(struct talk *talk, uint64_t value, unsigned width)
{
    while (width--)
        talk->input[talk->input_bytes++] = (uint8_t)(value >> (8 * width));
}

static void say_option(struct talk *talk, uint32_t option, uint32_t length)
{
    say(talk, UINT64_C(0x49484156454f5054), 8);
    say(talk, option, 4);
    say(talk, length, 4);
}

static void say_go(struct talk *talk, uint32_t option, const char *name)
{
    uint32_t length = (uint32_t)strlen(name);

    say_option(talk, option, 4 + length + 2 + 2);
    say(talk, length, 4);
    memcpy(talk->input + talk->input_bytes, name, length);
    talk->input_bytes += length;
    say(talk, 1, 2);
    say(talk, 1, 2); /* NBD_INFO_NAME */
}

/* Greets, with the client's flags said. */
static void begin(struct talk *talk, uint32_t flags)
{
    struct bytes_writer out = bytes_writer(talk->output, sizeof talk->output);

    memset(talk, 0, sizeof *talk);
    nbd_negotiation_begin(&talk->negotiation, &out);
    ck_assert_uint_eq((size_t)(out.next - talk->output), 18);
    ck_assert_mem_eq(talk->output, "NBDMAGICIHAVEOPT\0\3", 18);
    say(talk, flags, 4);
}

/* Hands in all that was said, `step` bytes at a time. Returns the bytes not touched. */
static size_t run(struct talk *talk, const struct nbd_export *export, size_t step)
{
    struct bytes_writer out = bytes_writer(talk->output, sizeof talk->output);
    size_t used = 0;

    while (used < talk->input_bytes && talk->negotiation.stage < NBD_STAGE_TRANSMISSION) {
        size_t now = talk->input_bytes - used < step ? talk->input_bytes - used : step;
        struct bytes_reader in = bytes_reader(talk->input + used, now);

        nbd_negotiate(&talk->negotiation, export, &in, &out);
        used += (size_t)(in.next - (talk->input + used));
    }
    ck_assert(!out.failed);
    talk->output_bytes = (size_t)(out.next - talk->output);
    return talk->input_bytes - used;
}

static uint64_t heard(const struct talk *talk, size_t at, unsigned width)
{
    uint64_t value = 0;

    ck_assert_uint_le(at + width, talk->output_bytes);
    for (unsigned i = 0; i < width; i++)
        value = value << 8 | talk->output[at + i];
    return value;
}

/* Checks the head of an answer; returns where its data begins. */
static size_t answered(const struct talk *talk, size_t at, uint32_t option, uint32_t type)
{
    ck_assert_uint_eq(heard(talk, at, 8), UINT64_C(0x3e889045565a9));
    ck_assert_uint_eq(heard(talk, at + 8, 4), option);
    ck_assert_uint_eq(heard(talk, at + 12, 4), type);
    ck_assert_uint_le(at + 20 + heard(talk, at + 16, 4), talk->output_bytes);
    return at + 20;
}

static size_t after(const struct talk *talk, size_t data)
{
    return data + (size_t)heard(talk, data - 4, 4);
}

START_TEST(go_begins_the_transmission)
{
    struct talk talk;
    size_t at;

    begin(&talk, 3);
    say_option(&talk, 8, 0);
    say_go(&talk, 7, "vm1");
    say(&talk, 0x25609513, 4); /* the first request, in the same packet */
    ck_assert_uint_eq(run(&talk, &served, _i ? 1 : SIZE_MAX), 4);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_TRANSMISSION);
    ck_assert(talk.negotiation.structured);

    at = after(&talk, answered(&talk, 0, 8, 1));
    at = answered(&talk, at, 7, 3);
    ck_assert_uint_eq(heard(&talk, at, 2), 0);
    ck_assert_uint_eq(heard(&talk, at + 2, 8), 1 << 30);
    ck_assert_uint_eq(heard(&talk, at + 10, 2), 0x1ed);
    at = answered(&talk, after(&talk, at), 7, 3);
    ck_assert_uint_eq(heard(&talk, at, 2), 3);
    ck_assert_uint_eq(heard(&talk, at + 2, 4), 512);
    ck_assert_uint_eq(heard(&talk, at + 6, 4), 4096);
    ck_assert_uint_eq(heard(&talk, at + 10, 4), 32 << 20);
    at = answered(&talk, after(&talk, at), 7, 3);
    ck_assert_mem_eq(talk.output + at, "\0\1vm1", 5);
    at = answered(&talk, after(&talk, at), 7, 1);
    ck_assert_uint_eq(at, talk.output_bytes);
}
END_TEST

START_TEST(info_answers_and_goes_on)
{
    struct talk talk;

    begin(&talk, 3);
    say_go(&talk, 6, "");
    say_option(&talk, 2, 0);
    run(&talk, &served, SIZE_MAX);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_CLOSED);
    ck_assert_uint_eq(answered(&talk, talk.output_bytes - 20, 2, 1), talk.output_bytes);
}
END_TEST

START_TEST(refusal_names_the_reason)
{
    struct nbd_export closing = refused;
    struct talk talk;
    size_t at;

    closing.closing = true;
    begin(&talk, 3);
    say_go(&talk, 7, "vm1");
    run(&talk, _i ? &closing : &refused, SIZE_MAX);
    at = answered(&talk, 0, 7, _i ? 0x80000007 : 0x80000002);
    ck_assert_uint_eq(after(&talk, at), talk.output_bytes);
    ck_assert_mem_eq(talk.output + at, "not Primary", 11);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_OPTION_HEADER);
}
END_TEST

START_TEST(unknown_export_and_option)
{
    struct talk talk;
    size_t at;

    begin(&talk, 3);
    say_go(&talk, 7, "vm2");
    say_option(&talk, 5, 0); /* NBD_OPT_STARTTLS: the socket is local */
    say_option(&talk, 10, 3);
    say(&talk, 0, 3);
    run(&talk, &served, SIZE_MAX);
    at = after(&talk, answered(&talk, 0, 7, 0x80000006));
    at = after(&talk, answered(&talk, at, 5, 0x80000001));
    at = after(&talk, answered(&talk, at, 10, 0x80000001));
    ck_assert_uint_eq(at, talk.output_bytes);
}
END_TEST

START_TEST(list_names_the_resource)
{
    struct talk talk;
    size_t at;

    begin(&talk, 3);
    say_option(&talk, 3, 0);
    say_option(&talk, 3, 1);
    say(&talk, 0, 1);
    run(&talk, &served, SIZE_MAX);
    at = answered(&talk, 0, 3, 2);
    ck_assert_mem_eq(talk.output + at, "\0\0\0\3vm1", 7);
    at = after(&talk, answered(&talk, after(&talk, at), 3, 1));
    at = after(&talk, answered(&talk, at, 3, 0x80000003));
    ck_assert_uint_eq(at, talk.output_bytes);
}
END_TEST

/* The old way in: no option but EXPORT_NAME, no way to refuse but to close. */
START_TEST(export_name)
{
    static const uint8_t zeroes[124];
    struct talk talk;

    begin(&talk, (uint32_t)_i);
    say_option(&talk, 1, 3);
    memcpy(talk.input + talk.input_bytes, "vm1", 3);
    talk.input_bytes += 3;
    run(&talk, &served, SIZE_MAX);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_TRANSMISSION);
    ck_assert_uint_eq(heard(&talk, 0, 8), 1 << 30);
    ck_assert_uint_eq(heard(&talk, 8, 2), 0x16d);
    ck_assert_uint_eq(talk.output_bytes, _i & 2 ? 10 : 134);
    if (!(_i & 2))
        ck_assert_mem_eq(talk.output + 10, zeroes, 124);

    begin(&talk, 3);
    say_option(&talk, 1, 0);
    run(&talk, &refused, SIZE_MAX);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_CLOSED);
    ck_assert_uint_eq(talk.output_bytes, 0);
}
END_TEST

START_TEST(long_option_is_skipped_and_refused)
{
    struct talk talk;
    size_t at;

    begin(&talk, 3);
    say_option(&talk, 6, NBD_OPTION_DATA_MAX + 1);
    talk.input_bytes += NBD_OPTION_DATA_MAX + 1;
    say_option(&talk, 8, 0);
    ck_assert_uint_eq(run(&talk, &served, _i ? 7 : SIZE_MAX), 0);
    at = after(&talk, answered(&talk, 0, 6, 0x80000009));
    at = after(&talk, answered(&talk, at, 8, 1));
    ck_assert_uint_eq(at, talk.output_bytes);
}
END_TEST

/* Lengths inside GO that point outside of it. */
START_TEST(lying_lengths_are_invalid)
{
    static const uint32_t names[] = {0xffffffff, 5, 4, 3};
    struct talk talk;

    begin(&talk, 3);
    say_option(&talk, 7, 8);
    say(&talk, names[_i], 4);
    say(&talk, 0, 4);
    run(&talk, &served, SIZE_MAX);
    ck_assert_uint_eq(after(&talk, answered(&talk, 0, 7, 0x80000003)), talk.output_bytes);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_OPTION_HEADER);
}
END_TEST

START_TEST(nonsense_closes)
{
    struct talk talk;

    begin(&talk, _i == 0 ? 4 : _i == 1 ? 0 : 3);
    if (_i == 1)
        say_option(&talk, 7, 0); /* not fixed newstyle: only EXPORT_NAME is possible */
    else
        say(&talk, 0, 8), say(&talk, 0, 8);
    run(&talk, &served, SIZE_MAX);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_CLOSED);
}
END_TEST

START_TEST(haggling_has_an_end)
{
    struct talk talk;

    begin(&talk, 3);
    for (unsigned i = 0; i <= NBD_OPTIONS_MAX; i++)
        say_option(&talk, 5, 0);
    run(&talk, &served, SIZE_MAX);
    ck_assert_int_eq(talk.negotiation.stage, NBD_STAGE_CLOSED);
}
END_TEST

START_TEST(answers_wait_for_room)
{
    struct talk talk;
    struct bytes_writer out;
    struct bytes_reader in;

    begin(&talk, 3);
    say_option(&talk, 5, 0);
    in = bytes_reader(talk.input, talk.input_bytes);
    out = bytes_writer(talk.output, NBD_ANSWER_MAX - 1);
    nbd_negotiate(&talk.negotiation, &served, &in, &out);
    ck_assert_ptr_eq(in.next, talk.input);
    out = bytes_writer(talk.output, NBD_ANSWER_MAX);
    nbd_negotiate(&talk.negotiation, &served, &in, &out);
    ck_assert_ptr_eq(in.next, in.end);
    ck_assert(!out.failed);
}
END_TEST

/* ---- requests ------------------------------------------------------------------------------ */

START_TEST(request_golden_bytes)
{
    uint8_t bytes[NBD_REQUEST_BYTES] = {0x25, 0x60, 0x95, 0x13, 0, 1, 0, 6,  1,  2,  3, 4, 5, 6,
                                        7,    8,    0,    0,    0, 0, 0, 16, 32, 48, 0, 1, 2, 0};
    struct nbd_request request;

    ck_assert_int_eq(nbd_request_decode(bytes, &request), 0);
    ck_assert_uint_eq(request.flags, 1);
    ck_assert_uint_eq(request.type, 6);
    ck_assert_uint_eq(request.handle, UINT64_C(0x0102030405060708));
    ck_assert_uint_eq(request.offset, 0x102030);
    ck_assert_uint_eq(request.length, 0x10200);
    bytes[0] ^= 1;
    ck_assert_int_eq(nbd_request_decode(bytes, &request), REPLICA_E_PROTOCOL);
}
END_TEST

static const struct check_row {
    uint16_t type, flags;
    uint64_t offset;
    uint32_t length;
    bool structured;
    enum nbd_error expected;
} check_rows[] = {
    {NBD_CMD_READ, 0, 0, 512, false, NBD_OK},
    {NBD_CMD_READ, 0, (1 << 20) - 512, 512, false, NBD_OK},
    {NBD_CMD_READ, 0, (1 << 20) - 512, 1024, false, NBD_EINVAL},
    {NBD_CMD_READ, 0, UINT64_MAX - 511, 512, false, NBD_EINVAL},
    {NBD_CMD_READ, 0, 1 << 20, 512, false, NBD_EINVAL},
    {NBD_CMD_READ, 0, 0, 0, false, NBD_EINVAL},
    {NBD_CMD_READ, 0, 1, 512, false, NBD_EINVAL},
    {NBD_CMD_READ, 0, 0, 511, false, NBD_EINVAL},
    {NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, false, NBD_EINVAL},
    {NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 256 << 10, true, NBD_OK},
    {NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, (256 << 10) + 512, true, NBD_EOVERFLOW},
    {NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, true, NBD_EINVAL},
    {NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 4096, false, NBD_OK},
    {NBD_CMD_WRITE, 0, (1 << 20) - 512, 1024, false, NBD_ENOSPC},
    {NBD_CMD_WRITE, 1 << 7, 0, 512, false, NBD_EINVAL},
    {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 0, 1 << 20, false, NBD_OK},
    {NBD_CMD_WRITE_ZEROES, 0, 512, 1 << 20, false, NBD_ENOSPC},
    {NBD_CMD_WRITE_ZEROES, 1 << 4, 0, 512, false, NBD_EINVAL}, /* fast zero: not offered */
    {NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, 1 << 20, false, NBD_OK},
    {NBD_CMD_TRIM, 0, 0, 0xfffffe00, false, NBD_EINVAL},
    {NBD_CMD_FLUSH, 0, 0, 0, false, NBD_OK},
    {NBD_CMD_FLUSH, 0, 0, 512, false, NBD_EINVAL},
    {NBD_CMD_CACHE, 0, 0, 512, false, NBD_EINVAL},
    {NBD_CMD_BLOCK_STATUS, 0, 0, 512, true, NBD_EINVAL},
    {99, 0, 0, 512, true, NBD_EINVAL},
};

START_TEST(request_validator)
{
    const struct check_row *row = &check_rows[_i];
    struct nbd_request request = {
        .type = row->type, .flags = row->flags, .offset = row->offset, .length = row->length};

    ck_assert_int_eq(nbd_request_check(&request, 1 << 20, row->structured), row->expected);
}
END_TEST

START_TEST(payload_has_a_limit)
{
    struct nbd_request request = {.type = NBD_CMD_WRITE, .length = NBD_PAYLOAD_MAX};

    ck_assert_int_eq(nbd_request_check(&request, UINT64_C(1) << 40, false), NBD_OK);
    request.length += 512;
    ck_assert_int_eq(nbd_request_check(&request, UINT64_C(1) << 40, false), NBD_EINVAL);
    request.type = NBD_CMD_WRITE_ZEROES;
    ck_assert_int_eq(nbd_request_check(&request, UINT64_C(1) << 40, false), NBD_OK);
}
END_TEST

START_TEST(reply_golden_bytes)
{
    static const uint8_t simple[] = {0x67, 0x44, 0x66, 0x98, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t data[] = {0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1, 1, 2, 3, 4, 5,  6,
                                   7,    8,    0,    0,    2, 8, 0, 0, 0, 0, 0, 0, 16, 0};
    static const uint8_t error[] = {0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 1,   1,  2,
                                    3,    4,    5,    6,    7, 8, 0,    0,   0,  9,
                                    0,    0,    0,    28,   0, 3, 'n',  'o', '!'};
    char text[2 * NBD_HEAD_MAX];
    uint8_t head[NBD_HEAD_MAX];
    const uint64_t handle = UINT64_C(0x0102030405060708);

    ck_assert_uint_eq(nbd_simple_reply(head, handle, NBD_EIO), sizeof simple);
    ck_assert_mem_eq(head, simple, sizeof simple);
    ck_assert_uint_eq(nbd_chunk_data(head, handle, true, 4096, 512), sizeof data);
    ck_assert_mem_eq(head, data, sizeof data);
    ck_assert_uint_eq(nbd_chunk_error(head, handle, NBD_ENOSPC, "no!"), sizeof error);
    ck_assert_mem_eq(head, error, sizeof error);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    ck_assert_uint_eq(nbd_chunk_error(head, handle, NBD_EIO, text), NBD_HEAD_MAX);
    ck_assert_uint_eq(head[25], NBD_HEAD_MAX - 26);
}
END_TEST

START_TEST(codes_become_errors)
{
    ck_assert_int_eq(nbd_error_of(0), NBD_OK);
    ck_assert_int_eq(nbd_error_of(REPLICA_E_READ_ONLY), NBD_EPERM);
    ck_assert_int_eq(nbd_error_of(REPLICA_E_NO_SPACE), NBD_ENOSPC);
    ck_assert_int_eq(nbd_error_of(REPLICA_E_SHUTDOWN), NBD_ESHUTDOWN);
    for (int code = -1; code > -40; code--)
        ck_assert_int_ne(nbd_error_of(code), NBD_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nbd_wire");
    TCase *negotiation = tcase_create("negotiation"), *requests = tcase_create("requests");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(negotiation, go_begins_the_transmission, 0, 2);
    tcase_add_test(negotiation, info_answers_and_goes_on);
    tcase_add_loop_test(negotiation, refusal_names_the_reason, 0, 2);
    tcase_add_test(negotiation, unknown_export_and_option);
    tcase_add_test(negotiation, list_names_the_resource);
    tcase_add_loop_test(negotiation, export_name, 0, 4);
    tcase_add_loop_test(negotiation, long_option_is_skipped_and_refused, 0, 2);
    tcase_add_loop_test(negotiation, lying_lengths_are_invalid, 0, 4);
    tcase_add_loop_test(negotiation, nonsense_closes, 0, 3);
    tcase_add_test(negotiation, haggling_has_an_end);
    tcase_add_test(negotiation, answers_wait_for_room);
    suite_add_tcase(suite, negotiation);
    tcase_add_test(requests, request_golden_bytes);
    tcase_add_loop_test(requests, request_validator, 0,
                        (int)(sizeof check_rows / sizeof check_rows[0]));
    tcase_add_test(requests, payload_has_a_limit);
    tcase_add_test(requests, reply_golden_bytes);
    tcase_add_test(requests, codes_become_errors);
    suite_add_tcase(suite, requests);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
