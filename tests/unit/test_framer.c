/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_framer.c - the stream in pieces of every kind, and its end after nonsense. */
#include "libreplica/core/framer.h"

#include "messages.h"

enum { MESSAGES = 300, STREAM_BYTES = 40 << 20 };

struct stream {
    uint8_t *bytes;
    size_t size;
    struct wire_message sent[MESSAGES];
};

/* Random messages, each with its data; the data of message i is filled with i. */
static void stream_make(struct stream *stream, uint64_t *seed)
{
    static uint8_t block[METADATA_BLOCK_BYTES];

    stream->bytes = malloc(STREAM_BYTES);
    ck_assert_ptr_nonnull(stream->bytes);
    stream->size = 0;
    memset(block, 0x5a, sizeof block);
    for (unsigned i = 0; i < MESSAGES; i++) {
        unsigned type = WIRE_HELLO + i % (WIRE_TYPE_COUNT - WIRE_HELLO);

        stream->sent[i] = random_message(seed, type, block);
        if (unit_below(seed, 2) && stream->sent[i].data_bytes > 512 && type != WIRE_READ_REPLY) {
            stream->sent[i].data_bytes = stream->sent[i].range.length = 512;
        }
        ck_assert_uint_lt(stream->size + WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX +
                              stream->sent[i].data_bytes,
                          STREAM_BYTES);
        stream->size += wire_encode(&stream->sent[i], stream->bytes + stream->size);
        memset(stream->bytes + stream->size, (int)(i & 0xff), stream->sent[i].data_bytes);
        stream->size += stream->sent[i].data_bytes;
    }
}

static void check_message(const struct stream *stream, unsigned index,
                          const struct wire_message *message, const uint8_t *data)
{
    const struct wire_message *sent = &stream->sent[index];
    uint8_t a[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX], b[sizeof a];
    size_t size = wire_encode(sent, a);

    ck_assert_uint_eq(wire_encode(message, b), size);
    ck_assert_mem_eq(a, b, size);
    for (uint32_t i = 0; i < sent->data_bytes; i++)
        REQUIRE(data[i] == (index & 0xff));
}

/* Feeds the stream in pieces of at most `most` bytes, of random length when `seed`. */
static void run_stream(const struct stream *stream, uint32_t most, uint64_t *seed)
{
    static uint8_t data[WIRE_DATA_BYTES_MAX];
    struct framer framer;
    unsigned count = 0;
    size_t at = 0;

    framer_init(&framer);
    for (;;) {
        uint8_t *place;
        uint32_t length;
        enum framer_want want = framer_want(&framer, &place, &length);

        if (want == FRAMER_BUFFER) {
            ck_assert_uint_eq(framer.message.data_bytes, stream->sent[count].data_bytes);
            ck_assert_ptr_null(framer_take(&framer));
            framer_buffer(&framer, data);
            continue;
        }
        if (want == FRAMER_MESSAGE) {
            check_message(stream, count++, framer_take(&framer), data);
            continue;
        }
        REQUIRE(length > 0);
        if (length > most)
            length = seed ? 1 + unit_below(seed, most) : most;
        if (length > stream->size - at)
            length = (uint32_t)(stream->size - at);
        if (length == 0)
            break;
        memcpy(place, stream->bytes + at, length);
        at += length;
        REQUIRE(framer_advance(&framer, length, NULL) == 0);
    }
    ck_assert_uint_eq(count, MESSAGES);
}

START_TEST(test_pieces)
{
    static struct stream stream;
    uint64_t seed = 5;

    stream_make(&stream, &seed);
    run_stream(&stream, UINT32_MAX, NULL);
    run_stream(&stream, 1, NULL);
    run_stream(&stream, 63, NULL);
    run_stream(&stream, 64, NULL);
    run_stream(&stream, 65, NULL);
    run_stream(&stream, 5000, &seed);
    run_stream(&stream, 100, &seed);
    free(stream.bytes);
}
END_TEST

/* Puts `size` bytes wherever the framer wants them; the first code that is not 0. */
static int feed(struct framer *framer, const uint8_t *bytes, size_t size,
                struct replica_error *error)
{
    while (size > 0) {
        uint8_t *place;
        uint32_t length;
        int code;

        ck_assert_int_eq(framer_want(framer, &place, &length), FRAMER_BYTES);
        if (length == 0)
            return REPLICA_E_SHUTDOWN; /* it wants no more */
        if (length > size)
            length = (uint32_t)size;
        memcpy(place, bytes, length);
        code = framer_advance(framer, length, error);
        if (code)
            return code;
        bytes += length;
        size -= length;
    }
    return 0;
}

START_TEST(test_nonsense_ends_the_stream)
{
    uint8_t out[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX];
    struct wire_message ping = {.type = WIRE_PING};
    struct replica_error error;
    struct framer framer;
    size_t size = wire_encode(&ping, out);

    framer_init(&framer);
    out[20] ^= 1;
    ck_assert_int_eq(feed(&framer, out, size, &error), REPLICA_E_PROTOCOL);
    ck_assert_str_eq(error.text, "message header with a wrong checksum");
    out[20] ^= 1;
    ck_assert_int_eq(feed(&framer, out, size, &error), REPLICA_E_SHUTDOWN);
    ck_assert_int_eq(framer_advance(&framer, 1, NULL), REPLICA_E_PROTOCOL);
    ck_assert_ptr_null(framer_take(&framer));
}
END_TEST

START_TEST(test_bad_body_ends_the_stream)
{
    uint8_t out[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX];
    struct wire_message state = {.type = WIRE_STATE};
    struct framer framer;
    size_t size = wire_encode(&state, out);

    framer_init(&framer);
    out[WIRE_HEADER_BYTES + 16] = 0xff; /* role */
    ck_assert_int_eq(feed(&framer, out, size, NULL), REPLICA_E_PROTOCOL);
    ck_assert_int_eq(feed(&framer, out, size, NULL), REPLICA_E_SHUTDOWN);
}
END_TEST

START_TEST(test_misuse_changes_nothing)
{
    uint8_t out[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX], spare[8];
    struct wire_message ping = {.type = WIRE_PING, .value = 42};
    struct framer framer;
    uint8_t *place;
    uint32_t length;

    framer_init(&framer);
    (void)wire_encode(&ping, out);
    ck_assert_int_eq(feed(&framer, out, 10, NULL), 0);
    ck_assert_int_eq(framer_advance(&framer, WIRE_HEADER_BYTES, NULL), REPLICA_E_INVALID);
    ck_assert_int_eq(framer_advance(&framer, 0, NULL), 0);
    framer_buffer(&framer, spare); /* nobody asked */
    ck_assert_int_eq(feed(&framer, out + 10, WIRE_HEADER_BYTES - 10, NULL), 0);
    ck_assert_int_eq(framer_want(&framer, &place, &length), FRAMER_MESSAGE);
    ck_assert_int_eq(framer_want(&framer, &place, &length), FRAMER_MESSAGE);
    ck_assert_uint_eq(framer_take(&framer)->value, 42);
    ck_assert_int_eq(framer_want(&framer, &place, &length), FRAMER_BYTES);
    ck_assert_ptr_eq(place, framer.header);
    ck_assert_uint_eq(length, WIRE_HEADER_BYTES);
}
END_TEST

UNIT_MAIN("framer", test_pieces, test_nonsense_ends_the_stream, test_bad_body_ends_the_stream,
          test_misuse_changes_nothing)
