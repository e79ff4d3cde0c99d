/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * framer.c - the parts of a message in their order. See framer.h.
 *
 *   HEADER -> BODY (when there is one) -> BUFFER -> DATA (when there is data) -> DONE -> TAKEN
 *
 * BUFFER waits for framer_buffer. TAKEN turns into HEADER at the next framer_want, so that a
 * message stays valid until then. BROKEN is the end: the stream sent something impossible.
 */
#include "framer.h"

#include <string.h>

#include "err.h"

enum part { PART_HEADER, PART_BODY, PART_BUFFER, PART_DATA, PART_DONE, PART_TAKEN, PART_BROKEN };

static void start_part(struct framer *framer, enum part part)
{
    framer->part = (uint8_t)part;
    framer->have = 0;
}

void framer_init(struct framer *framer)
{
    memset(&framer->message, 0, sizeof framer->message);
    framer->body_bytes = 0;
    framer->data = NULL;
    start_part(framer, PART_HEADER);
}

/* Where the present part is gathered, and how long it is; 0 for a part that takes no bytes. */
static uint32_t part_bytes(struct framer *framer, uint8_t **start)
{
    switch ((enum part)framer->part) {
    case PART_HEADER:
        *start = framer->header;
        return WIRE_HEADER_BYTES;
    case PART_BODY:
        *start = framer->body;
        return framer->body_bytes;
    case PART_DATA:
        *start = framer->data;
        return framer->message.data_bytes;
    case PART_BUFFER:
    case PART_DONE:
    case PART_TAKEN:
    case PART_BROKEN:
        break;
    }
    *start = NULL;
    return 0;
}

enum framer_want framer_want(struct framer *framer, uint8_t **place, uint32_t *length)
{
    uint8_t *start;
    uint32_t bytes;

    if (framer->part == PART_TAKEN)
        framer_init(framer);
    if (framer->part == PART_BUFFER)
        return FRAMER_BUFFER;
    if (framer->part == PART_DONE)
        return FRAMER_MESSAGE;
    bytes = part_bytes(framer, &start);
    *place = start ? start + framer->have : NULL;
    *length = bytes - framer->have;
    return FRAMER_BYTES;
}

void framer_buffer(struct framer *framer, uint8_t *data)
{
    if (framer->part != PART_BUFFER)
        return;
    framer->data = data;
    start_part(framer, PART_DATA);
}

/* The part after a header or a body that was found good. */
static void go_on(struct framer *framer)
{
    if (framer->part == PART_HEADER && framer->body_bytes > 0)
        start_part(framer, PART_BODY);
    else if (framer->part != PART_DATA && framer->message.data_bytes > 0)
        start_part(framer, PART_BUFFER);
    else
        start_part(framer, PART_DONE);
}

int framer_advance(struct framer *framer, uint32_t length, struct replica_error *error)
{
    uint8_t *start;
    uint32_t bytes = part_bytes(framer, &start);
    int code = 0;

    if (framer->part == PART_BROKEN)
        return err_set(error, REPLICA_E_PROTOCOL, "bytes after a message that was refused");
    if (length > bytes - framer->have)
        return err_set(error, REPLICA_E_INVALID, "more bytes than were asked for");
    framer->have += length;
    if (length == 0 || framer->have < bytes)
        return 0;
    if (framer->part == PART_HEADER)
        code = wire_decode_header(framer->header, &framer->message, &framer->body_bytes, error);
    else if (framer->part == PART_BODY)
        code = wire_decode_body(framer->body, framer->body_bytes, &framer->message, error);
    if (code) {
        start_part(framer, PART_BROKEN);
        return code;
    }
    go_on(framer);
    return 0;
}

const struct wire_message *framer_take(struct framer *framer)
{
    if (framer->part != PART_DONE)
        return NULL;
    framer->part = PART_TAKEN;
    return &framer->message;
}
