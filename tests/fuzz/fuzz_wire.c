/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_wire.c - what a hostile peer may send, after TLS: headers, bodies, a stream in pieces.
 *
 * Input: the first byte gives the sizes of the pieces in which the rest comes as a stream. So that
 * the fuzzer gets past the checksum, each header is tried as it is and with the right checksum.
 * What is accepted must encode to the very same bytes, and the framer must find in the stream what
 * the decoder finds in its parts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "libreplica/core/framer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int fact)
{
    if (!fact)
        abort();
}

static void repair_crc(uint8_t *header)
{
    struct bytes_writer crc = bytes_writer(header + 4, 4);

    bytes_put32(&crc, 0);
    crc = bytes_writer(header + 4, 4);
    bytes_put32(&crc, crc32c_update(0, header, WIRE_HEADER_BYTES));
}

/* A message that was accepted, encoded again. */
static void check_same(const struct wire_message *message, const uint8_t *header,
                       const uint8_t *body, uint32_t body_bytes)
{
    uint8_t out[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX];

    require(wire_encode(message, out) == WIRE_HEADER_BYTES + body_bytes);
    require(memcmp(out, header, WIRE_HEADER_BYTES) == 0);
    require(body_bytes == 0 || memcmp(out + WIRE_HEADER_BYTES, body, body_bytes) == 0);
}

/* Decodes the parts one after the other, without the framer. Returns the number of messages; the
 * stream's headers get their checksums repaired when `repair`. */
static unsigned run_decoder(uint8_t *stream, size_t size, int repair)
{
    unsigned count = 0;

    while (size >= WIRE_HEADER_BYTES) {
        struct wire_message message;
        uint32_t body_bytes;
        size_t whole;

        if (repair)
            repair_crc(stream);
        if (wire_decode_header(stream, &message, &body_bytes, NULL))
            return count;
        require(body_bytes <= WIRE_BODY_BYTES_MAX && message.data_bytes <= WIRE_DATA_BYTES_MAX);
        whole = WIRE_HEADER_BYTES + (size_t)body_bytes + message.data_bytes;
        if (whole > size)
            return count;
        if (wire_decode_body(stream + WIRE_HEADER_BYTES, body_bytes, &message, NULL))
            return count;
        check_same(&message, stream, stream + WIRE_HEADER_BYTES, body_bytes);
        count++;
        stream += whole;
        size -= whole;
    }
    return count;
}

/* The same stream through the framer, `piece` bytes at a time at most. */
static unsigned run_framer(const uint8_t *stream, size_t size, size_t piece)
{
    static uint8_t buffer[WIRE_DATA_BYTES_MAX];
    struct framer framer;
    unsigned count = 0;

    framer_init(&framer);
    for (;;) {
        uint8_t *place;
        uint32_t length;

        switch (framer_want(&framer, &place, &length)) {
        case FRAMER_BUFFER:
            require(framer.message.data_bytes <= sizeof buffer);
            framer_buffer(&framer, buffer);
            continue;
        case FRAMER_MESSAGE:
            require(framer_take(&framer) != NULL);
            count++;
            continue;
        case FRAMER_BYTES:
            break;
        }
        require(length > 0);
        if (length > piece)
            length = (uint32_t)piece;
        if (length > size)
            length = (uint32_t)size;
        if (length == 0)
            return count;
        memcpy(place, stream, length);
        stream += length;
        size -= length;
        if (framer_advance(&framer, length, NULL)) {
            require(framer_want(&framer, &place, &length) == FRAMER_BYTES && length == 0);
            return count;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *stream;
    size_t piece;

    if (size < 1)
        return 0;
    piece = data[0] ? data[0] : SIZE_MAX;
    stream = malloc(size);
    if (!stream)
        return 0;
    memcpy(stream, data + 1, size - 1);
    require(run_framer(stream, size - 1, piece) == run_decoder(stream, size - 1, 0));
    (void)run_decoder(stream, size - 1, 1);
    require(run_framer(stream, size - 1, piece) == run_decoder(stream, size - 1, 0));
    free(stream);
    return 0;
}
