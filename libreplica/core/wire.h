/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.h - the messages of the replication link: one struct a message, one encoder, one decoder,
 * every protocol limit. Pure.
 *
 * A message is a fixed header of WIRE_HEADER_BYTES and then `body_bytes` (small, kept by the core's
 * framer, decoded here) or `data_bytes` (guest data, which the core never looks at). A header names
 * both lengths and carries its own crc32c, so a rejected message still leaves the stream framed.
 * The byte layout of each message stands on top of wire.c.
 */
#ifndef CORE_WIRE_H
#define CORE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "metadata.h"
#include "range.h"

enum wire_limits {
    WIRE_VERSION_MIN = 1, /* oldest and newest version this program speaks */
    WIRE_VERSION_MAX = 1,
    WIRE_HEADER_BYTES = 64,
    WIRE_BODY_BYTES_MAX = 4160, /* one bitmap block and its position, the largest body */
    WIRE_DATA_BYTES_MAX = REPLICA_REQUEST_BYTES_MAX,
    WIRE_WINDOW_BYTES = 4194304,       /* data the peer has room for before it answers */
    WIRE_WINDOW_REQUESTS = 1024,       /* writes, flushes and reads without an answer */
    WIRE_DIGEST_BYTES = 32,            /* a shorter checksum is padded with zeroes */
    WIRE_RESYNC_WINDOW_BYTES = 2097152 /* resync requests without their data */
};

enum wire_type {
    WIRE_HELLO = 1, /* first message of each side: who, which version, which resource */
    WIRE_STATE,     /* second: size, role, disk, epoch, lineage, window; later: what changed */
    WIRE_REFUSE,    /* why the sender hangs up; the last message */
    WIRE_PING,
    WIRE_PONG,
    WIRE_WRITE, /* data_bytes of payload */
    WIRE_DISCARD,
    WIRE_WRITE_ZEROES,
    WIRE_WRITE_ACK, /* answers the three above */
    WIRE_FLUSH,
    WIRE_FLUSH_ACK,
    WIRE_READ,
    WIRE_READ_REPLY,  /* data_bytes of payload, or none and a code */
    WIRE_PROMOTE,     /* "may I be Primary under this epoch?" */
    WIRE_PROMOTE_ACK, /* granted and persisted, or a code */
    WIRE_DEMOTED,     /* the sender is Secondary, drained and flushed */
    WIRE_NEW_UUID,    /* new current generation, both sides persist it */
    WIRE_NEW_UUID_ACK,
    WIRE_BITMAP, /* one bitmap block; blocks that are not sent are empty */
    WIRE_BITMAP_DONE,
    WIRE_RESYNC_READ, /* target asks the source for a range */
    WIRE_RESYNC_DATA, /* payload, or the `zero` flag instead of it */
    WIRE_RESYNC_ACK,  /* target has written it */
    WIRE_RESYNC_DONE, /* target: every bit is clear and flushed; source persists and answers the
                         same */
    WIRE_HANDOVER, /* a Primary answers PROMOTE: it will hand over (code 0), or why it does not */
    WIRE_VERIFY_READ, /* "what is your checksum of this range?" */
    WIRE_VERIFY_SUM,
    WIRE_VERIFY_MARK,    /* these blocks differ: they are out of sync */
    WIRE_VERIFY_DONE,    /* the asker asks no more; the other: its marks are durable */
    WIRE_INVALIDATE,     /* "give your data up, and sync from me in full" */
    WIRE_INVALIDATE_ACK, /* it is Inconsistent, durably, or a code */
    WIRE_SYNC_PAUSE,     /* the sender's operator has paused the resync, or lets it go on */
    WIRE_RESYNC_SUM,     /* as RESYNC_READ, with the target's checksum of the range */
    WIRE_RESYNC_SAME,    /* answers it in place of RESYNC_DATA: nothing to send */
    WIRE_RESIZE,         /* a step of a resize (resize.c), and the answer to it */
    WIRE_RESIZE_ACK,
    WIRE_TYPE_COUNT
};

struct wire_hello {
    uint16_t version_min, version_max;
    char resource[REPLICA_NAME_MAX + 1];
    char node[REPLICA_NAME_MAX + 1];
    uint64_t features; /* none yet; unknown bits are ignored */
    uint64_t nonce;    /* random: breaks ties */
};

struct wire_state {
    uint64_t data_bytes;
    uint64_t epoch;
    uint8_t role;   /* enum replica_role */
    uint8_t disk;   /* enum replica_disk */
    uint32_t flags; /* enum metadata_flags */
    struct generation generation;
    uint64_t out_of_sync; /* set bits */
    uint32_t window_bytes, window_requests;
};

struct wire_refuse {
    int32_t code; /* enum replica_code */
    char reason[256];
};

struct wire_resize {
    uint64_t data_bytes; /* the new size; ASK: wanted, 0 for all there is; PREPARE's answer: the
                            most that the sender's devices hold */
    uint64_t marked_end; /* new blocks before this byte are out of sync; PREPARE's answer: where
                            the sender's old metadata end in the new area */
    char reason[256];    /* of an answer with a code */
};

struct wire_bitmap {
    uint64_t index;
    uint8_t block[METADATA_BLOCK_BYTES];
};

/* A decoded message. `tag` is chosen by the asker and comes back in the answer. */
struct wire_message {
    uint8_t type; /* enum wire_type */
    bool fua;     /* WRITE and its kin: durable before the ack */
    bool zero;    /* RESYNC_DATA: the range reads as zeroes */
    uint64_t tag;
    uint64_t epoch; /* WRITE and its kin, PROMOTE, PROMOTE_ACK, DEMOTED */
    struct range range;
    uint64_t value; /* PING/PONG: echo; NEW_UUID: the uuid; BITMAP_DONE: number of blocks sent;
                       VERIFY_READ: bytes of the whole verification; VERIFY_DONE: that differ */
    uint32_t flags; /* NEW_UUID: bit 0 clears the bitmap and makes both UpToDate; PROMOTE: bit 0
                       force, 1 take back; VERIFY_READ: the algorithm, and CORE_VERIFY_*;
                       SYNC_PAUSE: CORE_PAUSE_*; RESYNC_SUM: the algorithm */
    int32_t code;   /* answers: enum replica_code */
    uint32_t data_bytes;
    union { /* decoded body, by type */
        struct wire_hello hello;
        struct wire_state state;
        struct wire_refuse refuse; /* REFUSE, HANDOVER */
        struct wire_resize resize;
        const uint8_t *bitmap_block;       /* BITMAP: points into the body; index is in `value` */
        uint8_t digest[WIRE_DIGEST_BYTES]; /* VERIFY_SUM, RESYNC_SUM */
    };
};

/* Writes header and body (not the data) into `out`, which must have room for WIRE_HEADER_BYTES +
 * WIRE_BODY_BYTES_MAX; returns the number of bytes. */
size_t wire_encode(const struct wire_message *message, uint8_t *out);

/* Checks a header of WIRE_HEADER_BYTES: magic, crc32c, known type, lengths within the limits of
 * the type. Gives what must be read next. Errors: REPLICA_E_PROTOCOL. */
int wire_decode_header(const uint8_t *header, struct wire_message *message, uint32_t *body_bytes,
                       struct replica_error *error);

/* Decodes the body of a message whose header was decoded. Strings are checked for their NUL,
 * enums for their range. Errors: REPLICA_E_PROTOCOL. */
int wire_decode_body(const uint8_t *body, uint32_t body_bytes, struct wire_message *message,
                     struct replica_error *error);

const char *wire_type_name(unsigned type);

#endif
