/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_wire.h - the NBD protocol as bytes: negotiation, requests, replies. Pure: no socket, no
 * clock, no allocation, so that a fuzzer and a unit test can drive all of it.
 *
 * The words are those of the protocol document (NetworkBlockDevice/nbd, doc/proto.md): option,
 * export, transmission phase, handle, structured reply, chunk. All integers are big-endian.
 */
#ifndef TAPDISK_NBD_WIRE_H
#define TAPDISK_NBD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libreplica/core/bytes.h"

enum nbd_limits {
    NBD_BLOCK_MIN = 512,
    NBD_BLOCK_PREFERRED = 4096,
    NBD_PAYLOAD_MAX = 32 << 20,       /* the largest read or write a client may ask for */
    NBD_UNFRAGMENTED_MAX = 256 << 10, /* the largest read that fits one chunk */
    NBD_OPTION_DATA_MAX = 4608,       /* longer data is skipped and refused */
    NBD_OPTIONS_MAX = 64,             /* a client that haggles longer is closed */
    NBD_ANSWER_MAX = 512,             /* the most bytes one option is answered with */
    NBD_REQUEST_BYTES = 28,
    NBD_HEAD_MAX = 128 /* the most bytes of a reply in front of its data */
};

/* Errors as the transmission phase spells them (the protocol fixed Linux's numbers). */
enum nbd_error {
    NBD_OK = 0,
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108
};

/* What the client is shown. Strings are the caller's. */
struct nbd_export {
    const char *name;    /* the default export (empty name) is the same one */
    uint64_t size;       /* bytes */
    bool discards;       /* a trim frees room, it is not zeroes that are written */
    const char *refusal; /* NULL: served. Else one line: why not, and what to do */
    bool closing;        /* with a refusal: the server is ending, do not come back */
};

/* ---- negotiation --------------------------------------------------------------------------- */

enum nbd_stage {
    NBD_STAGE_CLIENT_FLAGS,  /* the greeting is out, 4 bytes of client flags are due */
    NBD_STAGE_OPTION_HEADER, /* 16 bytes */
    NBD_STAGE_OPTION_DATA,   /* `want` bytes */
    NBD_STAGE_OPTION_SKIP,   /* `skip` bytes of an option that was refused for its length */
    NBD_STAGE_TRANSMISSION,  /* done: requests follow */
    NBD_STAGE_CLOSED,        /* done: send what is in `out`, then close */
    NBD_STAGE_COUNT
};

struct nbd_negotiation {
    enum nbd_stage stage;
    bool fixed_newstyle, no_zeroes; /* what the client said */
    bool structured;                /* structured replies were agreed on */
    uint32_t option;
    uint32_t have, want; /* bytes of `input` */
    uint32_t skip;
    uint32_t options_seen;
    uint8_t input[NBD_OPTION_DATA_MAX];
};

/* Begins, and puts the greeting into `out`. */
void nbd_negotiation_begin(struct nbd_negotiation *negotiation, struct bytes_writer *out);

/* Takes bytes from `in` and puts answers into `out`, until `in` is used up, `out` has less than
 * NBD_ANSWER_MAX bytes left (call again when it was sent), or the stage is TRANSMISSION or CLOSED;
 * then the rest of `in` is not touched. */
void nbd_negotiate(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                   struct bytes_reader *in, struct bytes_writer *out);

/* ---- requests ------------------------------------------------------------------------------ */

enum nbd_command_type {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7
};

enum nbd_command_flags {
    NBD_CMD_FLAG_FUA = 1 << 0,
    NBD_CMD_FLAG_NO_HOLE = 1 << 1,
    NBD_CMD_FLAG_DF = 1 << 2
};

struct nbd_request {
    uint16_t flags, type;
    uint64_t handle; /* opaque; goes back as it came */
    uint64_t offset;
    uint32_t length;
};

/* Errors: REPLICA_E_PROTOCOL (no request magic: the stream is lost, close it). */
int nbd_request_decode(const uint8_t bytes[NBD_REQUEST_BYTES], struct nbd_request *request);

/* The one validator of a framed request: NBD_OK or the error it is to be refused with. A refused
 * write still has its payload in the stream. NBD_CMD_DISC is the caller's. */
enum nbd_error nbd_request_check(const struct nbd_request *request, uint64_t size, bool structured);

/* ---- replies ------------------------------------------------------------------------------- */

/* Each writes a head of at most NBD_HEAD_MAX bytes and returns its length. */
uint32_t nbd_simple_reply(uint8_t *head, uint64_t handle, enum nbd_error error);
/* `length` bytes of data follow. `done`: the last chunk of this reply. */
uint32_t nbd_chunk_data(uint8_t *head, uint64_t handle, bool done, uint64_t offset,
                        uint32_t length);
/* Ends the reply. Text that does not fit is cut. */
uint32_t nbd_chunk_error(uint8_t *head, uint64_t handle, enum nbd_error error, const char *text);

/* An enum replica_code as NBD says it. */
enum nbd_error nbd_error_of(int code);

#endif
