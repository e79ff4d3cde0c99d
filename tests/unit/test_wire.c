/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_wire.c - golden bytes, the round trip of every message, and what the decoder refuses. */
#include "libreplica/core/wire.h"

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "messages.h"

enum { OUT_BYTES = WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX };

static void check_golden(const struct wire_message *message, const char *digits)
{
    uint8_t out[OUT_BYTES], golden[OUT_BYTES];
    size_t size = unit_hex(digits, golden, sizeof golden);

    ck_assert_uint_eq(wire_encode(message, out), size);
    ck_assert_mem_eq(out, golden, size);
}

START_TEST(test_golden_hello)
{
    struct wire_message message = {.type = WIRE_HELLO, .tag = 9};

    message.hello = (struct wire_hello){.version_min = 1,
                                        .version_max = 2,
                                        .resource = "vm1",
                                        .node = "alpha",
                                        .features = 0x0102030405060708,
                                        .nonce = 0x1112131415161718};
    check_golden(&message, "74445731043228ff010000000000000009000000000000000000000000000000"
                           "0000000000000000000000000000000000000000000000009400000000000000"
                           "01000200766d3100000000000000000000000000000000000000000000000000"
                           "0000000000000000000000000000000000000000000000000000000000000000"
                           "00000000616c7068610000000000000000000000000000000000000000000000"
                           "0000000000000000000000000000000000000000000000000000000000000000"
                           "0000000008070605040302011817161514131211");
}
END_TEST

START_TEST(test_golden_state)
{
    struct wire_message message = {.type = WIRE_STATE};

    message.state = (struct wire_state){.data_bytes = (uint64_t)1 << 40,
                                        .epoch = 7,
                                        .role = REPLICA_ROLE_PRIMARY,
                                        .disk = REPLICA_DISK_UPTODATE,
                                        .flags = METADATA_CONSISTENT | METADATA_WAS_UPTODATE |
                                                 METADATA_CRASHED_PRIMARY,
                                        .generation = {0xa1, 0xb2, {0xc3, 0xd4}},
                                        .out_of_sync = 99,
                                        .window_bytes = 4194304,
                                        .window_requests = 1024};
    check_golden(&message, "744457318c052b6c020000000000000000000000000000000000000000000000"
                           "0000000000000000000000000000000000000000000000004800000000000000"
                           "000000000001000007000000000000000208000043000000a100000000000000"
                           "b200000000000000c300000000000000d4000000000000006300000000000000"
                           "0000400000040000");
}
END_TEST

START_TEST(test_golden_headers)
{
    check_golden(&(struct wire_message){.type = WIRE_WRITE,
                                        .fua = true,
                                        .tag = 0x1122334455667788,
                                        .epoch = 3,
                                        .range = {0x123456789000, 4096},
                                        .data_bytes = 4096},
                 "74445731c0208556060100000000000088776655443322110300000000000000"
                 "0090785634120000001000000000000000000000000000000000000000100000");
    check_golden(
        &(struct wire_message){
            .type = WIRE_RESYNC_DATA, .zero = true, .tag = 1, .range = {131072, 131072}},
        "74445731a87dbeb7160200000000000001000000000000000000000000000000"
        "0000020000000000000002000000000000000000000000000000000000000000");
    check_golden(
        &(struct wire_message){.type = WIRE_NEW_UUID, .flags = 1, .value = 0xfeedfacecafebeee},
        "74445731af7a2617110000000100000000000000000000000000000000000000"
        "00000000000000000000000000000000eebefecacefaedfe0000000000000000");
}
END_TEST

/* Decodes what wire_encode gave; 0 or the code of the failing half. */
static int decode(const uint8_t *bytes, struct wire_message *message, struct replica_error *error)
{
    uint32_t body_bytes;
    int code = wire_decode_header(bytes, message, &body_bytes, error);

    return code ? code : wire_decode_body(bytes + WIRE_HEADER_BYTES, body_bytes, message, error);
}

START_TEST(test_round_trip_of_every_type)
{
    uint8_t out[OUT_BYTES], again[OUT_BYTES], block[METADATA_BLOCK_BYTES];
    uint64_t seed = 2;

    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = (uint8_t)unit_random(&seed);
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned type = WIRE_HELLO; type < WIRE_TYPE_COUNT; type++) {
            struct wire_message message = random_message(&seed, type, block);
            size_t size = wire_encode(&message, out);
            struct wire_message found;
            struct replica_error error = {.text = ""};

            ck_assert_msg(decode(out, &found, &error) == 0, "%s", error.text);
            ck_assert_uint_eq(wire_encode(&found, again), size);
            ck_assert_mem_eq(again, out, size);
            ck_assert_uint_eq(found.type, type);
            ck_assert_uint_eq(found.tag, message.tag);
            ck_assert_uint_eq(found.epoch, message.epoch);
            ck_assert_uint_eq(found.range.offset, message.range.offset);
            ck_assert_uint_eq(found.range.length, message.range.length);
            ck_assert_uint_eq(found.value, message.value);
            ck_assert_uint_eq(found.flags, message.flags);
            ck_assert_int_eq(found.code, message.code);
            ck_assert_uint_eq(found.data_bytes, message.data_bytes);
            ck_assert(found.fua == message.fua && found.zero == message.zero);
        }
    }
}
END_TEST

START_TEST(test_round_trip_of_bodies)
{
    uint8_t out[OUT_BYTES], block[METADATA_BLOCK_BYTES] = {1, 2, 3};
    struct wire_message message, found;
    uint64_t seed = 3;

    message = random_message(&seed, WIRE_HELLO, NULL);
    (void)wire_encode(&message, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    ck_assert_str_eq(found.hello.resource, message.hello.resource);
    ck_assert_str_eq(found.hello.node, message.hello.node);
    ck_assert_uint_eq(found.hello.version_max, message.hello.version_max);
    ck_assert_uint_eq(found.hello.nonce, message.hello.nonce);

    message = random_message(&seed, WIRE_STATE, NULL);
    (void)wire_encode(&message, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    ck_assert_mem_eq(&found.state.generation, &message.state.generation, sizeof(struct generation));
    ck_assert_uint_eq(found.state.data_bytes, message.state.data_bytes);
    ck_assert_uint_eq(found.state.flags, message.state.flags);
    ck_assert_uint_eq(found.state.out_of_sync, message.state.out_of_sync);
    ck_assert_uint_eq(found.state.window_requests, message.state.window_requests);

    message = random_message(&seed, WIRE_REFUSE, NULL);
    (void)wire_encode(&message, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    ck_assert_int_eq(found.refuse.code, message.refuse.code);
    ck_assert_str_eq(found.refuse.reason, message.refuse.reason);

    message = random_message(&seed, WIRE_BITMAP, block);
    (void)wire_encode(&message, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    ck_assert_ptr_eq(found.bitmap_block, out + WIRE_HEADER_BYTES);
    ck_assert_mem_eq(found.bitmap_block, block, sizeof block);
}
END_TEST

/* A text that fills its field has no NUL on the wire: the encoder cuts it. */
START_TEST(test_long_text_is_cut)
{
    struct wire_message message = {.type = WIRE_REFUSE}, found;
    uint8_t out[OUT_BYTES];

    memset(message.refuse.reason, 'x', sizeof message.refuse.reason);
    (void)wire_encode(&message, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    ck_assert_uint_eq(strlen(found.refuse.reason), sizeof found.refuse.reason - 1);
}
END_TEST

/* No single flipped bit of a header gets through: the checksum sees each. */
START_TEST(test_every_flipped_header_bit_is_refused)
{
    struct wire_message message = {.type = WIRE_PING, .value = 1}, found;
    uint8_t out[OUT_BYTES];
    uint32_t body_bytes;

    (void)wire_encode(&message, out);
    for (unsigned bit = 0; bit < WIRE_HEADER_BYTES * 8; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(wire_decode_header(out, &found, &body_bytes, NULL), REPLICA_E_PROTOCOL);
        out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    ck_assert_int_eq(wire_decode_header(out, &found, &body_bytes, NULL), 0);
}
END_TEST

/* The header of `message` with `width` bytes at `at` overwritten and the checksum made right. */
static int decode_patched(const struct wire_message *message, unsigned at, uint64_t value,
                          unsigned width)
{
    uint8_t out[OUT_BYTES];
    struct bytes_writer writer;
    struct wire_message found = {.type = 0xee};
    uint32_t body_bytes = 77;
    int code;

    (void)wire_encode(message, out);
    writer = bytes_writer(out + at, width);
    bytes_put(&writer, value, width);
    writer = bytes_writer(out + 4, 4);
    bytes_put32(&writer, 0);
    writer = bytes_writer(out + 4, 4);
    bytes_put32(&writer, crc32c_update(0, out, WIRE_HEADER_BYTES));
    code = wire_decode_header(out, &found, &body_bytes, NULL);
    if (code) { /* out-parameters are untouched on failure */
        ck_assert_uint_eq(found.type, 0xee);
        ck_assert_uint_eq(body_bytes, 77);
    }
    return code;
}

START_TEST(test_impossible_headers)
{
    enum { TYPE = 8, BITS = 9, RESERVED = 10, OFFSET = 32, LENGTH = 40, CODE = 44, BODY = 56 };
    enum { DATA = 60 };
    const struct wire_message ping = {.type = WIRE_PING};
    const struct wire_message write = {
        .type = WIRE_WRITE, .range = {4096, 4096}, .data_bytes = 4096};
    const struct wire_message reply = {.type = WIRE_READ_REPLY, .data_bytes = 512};
    const struct wire_message sync = {
        .type = WIRE_RESYNC_DATA, .range = {4096, 4096}, .data_bytes = 4096};

    ck_assert_int_eq(decode_patched(&ping, TYPE, WIRE_PING, 1), 0);
    ck_assert_int_eq(decode_patched(&ping, TYPE, 0, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, TYPE, WIRE_TYPE_COUNT, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, TYPE, 255, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, BITS, 1, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, BITS, 1, 1), 0);
    ck_assert_int_eq(decode_patched(&write, BITS, 2, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, BITS, 4, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, RESERVED, 1, 2), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, CODE, 1, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, CODE, (uint32_t)(REPLICA_E_SYSTEM - 1), 4),
                     REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, BODY, 1, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, BODY, UINT32_MAX, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, DATA, 1, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&ping, OFFSET, 4096, 8), REPLICA_E_PROTOCOL);

    ck_assert_int_eq(decode_patched(&write, LENGTH, 0, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, LENGTH, 4097, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, LENGTH, 8192, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, OFFSET, 4097, 8), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, OFFSET, METADATA_DATA_BYTES_MAX, 8),
                     REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, OFFSET, UINT64_MAX - 4095, 8), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, OFFSET, METADATA_DATA_BYTES_MAX - 4096, 8), 0);
    ck_assert_int_eq(decode_patched(&write, DATA, 0, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&write, DATA, 512, 4), REPLICA_E_PROTOCOL);

    ck_assert_int_eq(decode_patched(&reply, DATA, WIRE_DATA_BYTES_MAX, 4), 0);
    ck_assert_int_eq(decode_patched(&reply, DATA, WIRE_DATA_BYTES_MAX + 1, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&reply, DATA, 0, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&reply, CODE, (uint32_t)REPLICA_E_IO, 4), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&sync, BITS, 2, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_patched(&sync, CODE, (uint32_t)REPLICA_E_IO, 4), REPLICA_E_PROTOCOL);
}
END_TEST

START_TEST(test_longest_ranges)
{
    struct wire_message read = {.type = WIRE_READ, .range = {0, WIRE_DATA_BYTES_MAX}};
    struct wire_message discard = {.type = WIRE_DISCARD, .range = {0, 0xfffffe00}};
    uint8_t out[OUT_BYTES];
    struct wire_message found;

    (void)wire_encode(&discard, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    (void)wire_encode(&read, out);
    ck_assert_int_eq(decode(out, &found, NULL), 0);
    read.range.length += 512;
    (void)wire_encode(&read, out);
    ck_assert_int_eq(decode(out, &found, NULL), REPLICA_E_PROTOCOL);
}
END_TEST

/* The body of `message` with one byte overwritten. */
static int decode_body_patched(const struct wire_message *message, unsigned at, uint8_t value)
{
    uint8_t out[OUT_BYTES];
    struct wire_message found;

    (void)wire_encode(message, out);
    out[WIRE_HEADER_BYTES + at] = value;
    return decode(out, &found, NULL);
}

START_TEST(test_impossible_bodies)
{
    struct wire_message hello = {.type = WIRE_HELLO};
    struct wire_message state = {.type = WIRE_STATE};
    struct wire_message refuse = {.type = WIRE_REFUSE};

    hello.hello = (struct wire_hello){1, 1, "vm1", "alpha", 0, 0};
    (void)strcpy(refuse.refuse.reason, "no");
    ck_assert_int_eq(decode_body_patched(&hello, 2, 1), 0);
    ck_assert_int_eq(decode_body_patched(&hello, 2, 0), REPLICA_E_PROTOCOL); /* max < min */
    ck_assert_int_eq(decode_body_patched(&hello, 4, 0), REPLICA_E_PROTOCOL); /* "" and then m */
    ck_assert_int_eq(decode_body_patched(&hello, 5, '\n'), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&hello, 5, 0x7f), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&hello, 20, 'x'), REPLICA_E_PROTOCOL); /* after the NUL */
    ck_assert_int_eq(decode_body_patched(&state, 16, REPLICA_ROLE_COUNT - 1), 0);
    ck_assert_int_eq(decode_body_patched(&state, 16, REPLICA_ROLE_COUNT), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&state, 17, REPLICA_DISK_COUNT), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&state, 18, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&state, 21, 1), REPLICA_E_PROTOCOL); /* flag 1 << 8 */
    ck_assert_int_eq(decode_body_patched(&state, 7, 1), REPLICA_E_PROTOCOL);  /* 2^56 bytes */
    ck_assert_int_eq(decode_body_patched(&refuse, 0, 1), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(decode_body_patched(&refuse, 5, 0x1b), REPLICA_E_PROTOCOL);
}
END_TEST

START_TEST(test_body_without_a_nul)
{
    struct wire_message hello = {.type = WIRE_HELLO}, found;
    uint8_t out[OUT_BYTES];

    hello.hello = (struct wire_hello){1, 1, "vm1", "alpha", 0, 0};
    (void)wire_encode(&hello, out);
    memset(out + WIRE_HEADER_BYTES + 4, 'x', 64);
    ck_assert_int_eq(decode(out, &found, NULL), REPLICA_E_PROTOCOL);
}
END_TEST

/* A body that is shorter or longer than its type says, and never a read past its end. */
START_TEST(test_body_of_another_length)
{
    uint8_t block[METADATA_BLOCK_BYTES] = {0}, out[OUT_BYTES];
    uint64_t seed = 4;

    for (unsigned type = WIRE_HELLO; type < WIRE_TYPE_COUNT; type++) {
        struct wire_message message = random_message(&seed, type, block), found;
        uint32_t body_bytes = (uint32_t)wire_encode(&message, out) - WIRE_HEADER_BYTES;

        for (uint32_t wrong = 0; wrong < body_bytes + 2; wrong += wrong < 300 ? 1 : 97) {
            uint8_t *exact = malloc(wrong + 1);

            if (wrong != body_bytes) {
                memset(exact, 0, wrong + 1);
                memcpy(exact, out + WIRE_HEADER_BYTES, wrong < body_bytes ? wrong : body_bytes);
                found = message;
                ck_assert_int_eq(wire_decode_body(exact, wrong, &found, NULL), REPLICA_E_PROTOCOL);
            }
            free(exact);
        }
    }
}
END_TEST

START_TEST(test_names)
{
    for (unsigned type = WIRE_HELLO; type < WIRE_TYPE_COUNT; type++)
        ck_assert_str_ne(wire_type_name(type), "?");
    ck_assert_str_eq(wire_type_name(0), "?");
    ck_assert_str_eq(wire_type_name(WIRE_TYPE_COUNT), "?");
    ck_assert_str_eq(wire_type_name(WIRE_RESYNC_ACK), "RESYNC_ACK");
}
END_TEST

UNIT_MAIN("wire", test_golden_hello, test_golden_state, test_golden_headers,
          test_round_trip_of_every_type, test_round_trip_of_bodies, test_long_text_is_cut,
          test_every_flipped_header_bit_is_refused, test_impossible_headers, test_longest_ranges,
          test_impossible_bodies, test_body_without_a_nul, test_body_of_another_length, test_names)
