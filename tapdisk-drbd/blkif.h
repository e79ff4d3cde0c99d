/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkif.h - the Xen block protocol as bytes: decoding and validation, nothing else.
 *
 * Everything here works on a private copy of a ring entry or of an indirect descriptor page; the
 * guest cannot change it any more (hostile-guest rule: copy once, then look). No Xen call, no
 * system call. The protocol's specification is xen/io/blkif.h; sector numbers are always in units
 * of 512 bytes, whatever sector-size says.
 */
#ifndef TAPDISK_BLKIF_H
#define TAPDISK_BLKIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum blkif_limits_fixed {
    BLKIF_DIRECT_SEGMENTS_MAX = 11,    /* in the ring entry itself */
    BLKIF_INDIRECT_SEGMENTS_MAX = 256, /* what we publish: 1 MiB, as xen-blkback */
    BLKIF_INDIRECT_GREFS = 8,          /* grant references in an indirect entry */
    BLKIF_DESCRIPTOR_BYTES = 8,        /* one segment descriptor, in all three ABIs */
    BLKIF_DESCRIPTORS_PER_PAGE = 512,
    BLKIF_SECTORS_PER_PAGE = 8,
    BLKIF_ENTRY_BYTES_MAX = 112,   /* a ring entry in the widest ABI */
    BLKIF_RESPONSE_BYTES_MAX = 16, /* a response in the widest ABI */
    BLKIF_RING_HEADER_BYTES = 64
};

/* What the frontend's node `protocol` names. NATIVE is this machine's own. */
enum blkif_abi { BLKIF_ABI_NATIVE, BLKIF_ABI_X86_32, BLKIF_ABI_X86_64, BLKIF_ABI_COUNT };

/* BLKIF_OP_* of the specification. */
enum blkif_operation {
    BLKIF_READ = 0,
    BLKIF_WRITE = 1,
    BLKIF_BARRIER = 2,
    BLKIF_FLUSH = 3,
    BLKIF_RESERVED = 4,
    BLKIF_DISCARD = 5,
    BLKIF_INDIRECT = 6
};

/* BLKIF_RSP_* of the specification. */
enum blkif_status { BLKIF_OKAY = 0, BLKIF_ERROR = -1, BLKIF_UNSUPPORTED = -2 };

/* One ring entry, decoded. `answered_operation` and `id` are what the response must carry, and are
 * filled in for every entry, however wrong the rest of it is. An indirect entry is answered with
 * the operation inside it: the specification is silent, frontends insist. */
struct blkif_command {
    uint64_t id;
    uint64_t sector;        /* first sector on the device */
    uint64_t discard_count; /* sectors, DISCARD only */
    uint32_t indirect_grefs[BLKIF_INDIRECT_GREFS];
    uint16_t segments; /* how many, as the guest says; 0 for DISCARD */
    uint8_t answered_operation;
    uint8_t operation; /* what is to be done: enum blkif_operation, never INDIRECT */
    bool indirect;     /* descriptors are in granted pages */
    bool secure;       /* DISCARD with the secure flag */
    uint8_t descriptors[BLKIF_DIRECT_SEGMENTS_MAX * BLKIF_DESCRIPTOR_BYTES]; /* direct only */
};

/* Bytes [first_sector, last_sector] of a granted page, both inclusive. */
struct blkif_segment {
    uint32_t gref;
    uint8_t first_sector, last_sector;
};

/* What this vbd lets its frontend do. */
struct blkif_limits {
    uint64_t sectors;
    bool read_only;
    bool discard; /* feature-discard was published */
};

/* Sizes in the ring's memory. */
size_t blkif_entry_bytes(enum blkif_abi abi);
size_t blkif_response_bytes(enum blkif_abi abi);

/* Entries of a ring of `pages` pages: the greatest power of two that fits. */
uint32_t blkif_ring_entries(enum blkif_abi abi, unsigned pages);

/* The ABI that a frontend's `protocol` asks for; NULL (no such node) means x86_32 on x86 and
 * native elsewhere, as xen-blkback takes it. Errors: -1 for a name that is none. */
int blkif_abi_from_protocol(const char *protocol, enum blkif_abi *abi);

/* Decodes a copied ring entry of blkif_entry_bytes(abi) bytes. Total: every pattern of bytes gives
 * a command, and blkif_check judges it. */
void blkif_decode(enum blkif_abi abi, const uint8_t *entry, struct blkif_command *command);

/* Judges what the entry itself says. For an indirect command the descriptors are judged later.
 * BLKIF_OKAY, or the status to answer with. */
enum blkif_status blkif_check(const struct blkif_command *command,
                              const struct blkif_limits *limits);

/* Descriptor `index` of a private copy of descriptors. */
struct blkif_segment blkif_segment(const uint8_t *descriptors, unsigned index);

static inline uint32_t blkif_segment_bytes(struct blkif_segment segment)
{
    return (uint32_t)(segment.last_sector - segment.first_sector + 1) * 512;
}

/* Judges `count` descriptors against the device from `sector` on. BLKIF_OKAY: every segment is
 * inside its page, the sum is inside the device, and *bytes is the sum. */
enum blkif_status blkif_check_segments(const uint8_t *descriptors, unsigned count, uint64_t sector,
                                       const struct blkif_limits *limits, uint32_t *bytes);

/* Writes every byte of a response: blkif_response_bytes(abi) bytes. */
void blkif_encode_response(enum blkif_abi abi, uint64_t id, uint8_t operation,
                           enum blkif_status status, uint8_t *response);

#endif
