/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * framer.h - cuts the link's byte stream into messages. Pure and incremental: the caller asks where
 * the next bytes go, puts them there, says how many came.
 *
 * Guest data never passes through the framer's own memory: while a data part is due, framer_want
 * says FRAMER_BUFFER and the caller then reads straight into the buffer that it chose.
 */
#ifndef CORE_FRAMER_H
#define CORE_FRAMER_H

#include "wire.h"

enum framer_want {
    FRAMER_BYTES,  /* read up to *length bytes to *place */
    FRAMER_BUFFER, /* header done, message->data_bytes > 0: call framer_buffer first */
    FRAMER_MESSAGE /* a whole message is there: take it with framer_take */
};

struct framer {
    uint8_t header[WIRE_HEADER_BYTES];
    uint8_t body[WIRE_BODY_BYTES_MAX];
    struct wire_message message;
    uint32_t body_bytes;
    uint32_t have; /* bytes of the present part that are there */
    uint8_t *data; /* the caller's, lent until framer_take */
    uint8_t part;  /* private to framer.c */
};

void framer_init(struct framer *framer);
enum framer_want framer_want(struct framer *framer, uint8_t **place, uint32_t *length);
void framer_buffer(struct framer *framer, uint8_t *data);

/* `length` bytes were put at the place that framer_want named. Errors: REPLICA_E_PROTOCOL; the
 * stream cannot go on after it (framer_want asks for 0 bytes from then on). REPLICA_E_INVALID: more
 * than was asked for; nothing has changed. */
int framer_advance(struct framer *framer, uint32_t length, struct replica_error *error);

/* The whole message, valid until the next framer_want; NULL when none is complete. */
const struct wire_message *framer_take(struct framer *framer);

#endif
