/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkif.c - see blkif.h.
 *
 * The three layouts, from xen/io/blkif.h. x86_32 aligns 64-bit members to 4 bytes, x86_64 and the
 * ABI of 64-bit Arm to 8; nothing else differs. Offsets in bytes:
 *
 *                      x86_32   x86_64
 *   operation               0        0
 *   segments | flag         1        1     read, write, barrier, flush | discard
 *   id                      4        8
 *   sector                 12       16
 *   descriptors            20       24     11 x 8 bytes
 *   discard count          20       24
 *   indirect operation      1        1     indirect only
 *   indirect segments       2        2
 *   indirect grefs         24       28     8 x 4 bytes
 *   ring entry            108      112     bytes in all
 *   response               12       16     id 0, operation 8, status 10
 *
 * A descriptor: gref 0, first sector 4, last sector 5, two bytes of padding.
 */
#include "blkif.h"

#include <string.h>

#include "libreplica/core/bytes.h"

/* xen/io/protocols.h names the ABIs so. */
static const char *const protocol_names[BLKIF_ABI_COUNT] = {
#if defined(__aarch64__) || defined(__arm__)
    [BLKIF_ABI_NATIVE] = "arm-abi",
#endif
    [BLKIF_ABI_X86_32] = "x86_32-abi",
    [BLKIF_ABI_X86_64] = "x86_64-abi",
};

struct layout {
    uint8_t id, sector, descriptors, grefs, entry_bytes, response_bytes;
};

static const struct layout layout_narrow = {.id = 4,
                                            .sector = 12,
                                            .descriptors = 20,
                                            .grefs = 24,
                                            .entry_bytes = 108,
                                            .response_bytes = 12};
static const struct layout layout_wide = {.id = 8,
                                          .sector = 16,
                                          .descriptors = 24,
                                          .grefs = 28,
                                          .entry_bytes = 112,
                                          .response_bytes = 16};

static const struct layout *layout_of(enum blkif_abi abi)
{
#if defined(__i386__)
    return abi == BLKIF_ABI_X86_64 ? &layout_wide : &layout_narrow;
#else
    return abi == BLKIF_ABI_X86_32 ? &layout_narrow : &layout_wide;
#endif
}

size_t blkif_entry_bytes(enum blkif_abi abi)
{
    return layout_of(abi)->entry_bytes;
}

size_t blkif_response_bytes(enum blkif_abi abi)
{
    return layout_of(abi)->response_bytes;
}

uint32_t blkif_ring_entries(enum blkif_abi abi, unsigned pages)
{
    size_t fit = ((size_t)pages * 4096 - BLKIF_RING_HEADER_BYTES) / blkif_entry_bytes(abi);
    uint32_t entries = 1;

    while ((size_t)entries * 2 <= fit)
        entries *= 2;
    return entries;
}

int blkif_abi_from_protocol(const char *protocol, enum blkif_abi *abi)
{
    if (!protocol) {
#if defined(__x86_64__) || defined(__i386__)
        *abi = BLKIF_ABI_X86_32;
#else
        *abi = BLKIF_ABI_NATIVE;
#endif
        return 0;
    }
    for (unsigned i = 0; i < BLKIF_ABI_COUNT; i++) {
        if (protocol_names[i] && strcmp(protocol, protocol_names[i]) == 0) {
            *abi = (enum blkif_abi)i;
            return 0;
        }
    }
    return -1;
}

static struct bytes_reader field(const uint8_t *entry, const struct layout *layout, unsigned offset)
{
    return bytes_reader(entry + offset, layout->entry_bytes - offset);
}

static void decode_indirect(const struct layout *layout, const uint8_t *entry,
                            struct blkif_command *command)
{
    struct bytes_reader head = field(entry, layout, 1);
    struct bytes_reader grefs = field(entry, layout, layout->grefs);

    command->indirect = true;
    command->operation = bytes_get8(&head);
    /* Linux's frontend takes the disk away from its guest when the response names INDIRECT. */
    command->answered_operation = command->operation;
    command->segments = bytes_get16(&head);
    for (unsigned i = 0; i < BLKIF_INDIRECT_GREFS; i++)
        command->indirect_grefs[i] = bytes_get32(&grefs);
}

void blkif_decode(enum blkif_abi abi, const uint8_t *entry, struct blkif_command *command)
{
    const struct layout *layout = layout_of(abi);
    struct bytes_reader id = field(entry, layout, layout->id);
    struct bytes_reader sector = field(entry, layout, layout->sector);
    struct bytes_reader tail = field(entry, layout, layout->descriptors);

    memset(command, 0, sizeof *command);
    command->answered_operation = entry[0];
    command->operation = entry[0];
    command->id = bytes_get64(&id);
    command->sector = bytes_get64(&sector);
    switch (entry[0]) {
    case BLKIF_INDIRECT:
        decode_indirect(layout, entry, command);
        break;
    case BLKIF_DISCARD:
        command->secure = (entry[1] & 1) != 0;
        command->discard_count = bytes_get64(&tail);
        break;
    default: /* a byte of the guest's, not an enum of ours */
        command->segments = entry[1];
        bytes_get_raw(&tail, command->descriptors, sizeof command->descriptors);
        break;
    }
}

static enum blkif_status check_extent(uint64_t sector, uint64_t count,
                                      const struct blkif_limits *limits)
{
    if (count > limits->sectors || sector > limits->sectors - count)
        return BLKIF_ERROR;
    return BLKIF_OKAY;
}

static enum blkif_status check_discard(const struct blkif_command *command,
                                       const struct blkif_limits *limits)
{
    /* A secure discard promises that every copy is gone, the peer's and the log's included; we
     * do not publish discard-secure. */
    if (!limits->discard || command->secure)
        return BLKIF_UNSUPPORTED;
    if (limits->read_only || command->discard_count == 0)
        return BLKIF_ERROR;
    return check_extent(command->sector, command->discard_count, limits);
}

static enum blkif_status check_data(const struct blkif_command *command,
                                    const struct blkif_limits *limits, bool empty_allowed)
{
    unsigned most = command->indirect ? BLKIF_INDIRECT_SEGMENTS_MAX : BLKIF_DIRECT_SEGMENTS_MAX;
    uint32_t bytes;

    if (command->segments > most)
        return BLKIF_ERROR;
    if (command->segments == 0)
        return empty_allowed ? BLKIF_OKAY : BLKIF_ERROR;
    if (command->indirect)
        return BLKIF_OKAY;
    return blkif_check_segments(command->descriptors, command->segments, command->sector, limits,
                                &bytes);
}

enum blkif_status blkif_check(const struct blkif_command *command,
                              const struct blkif_limits *limits)
{
    bool writes = command->operation != BLKIF_READ;

    if (command->indirect && command->operation != BLKIF_READ && command->operation != BLKIF_WRITE)
        return BLKIF_ERROR;
    switch (command->operation) {
    case BLKIF_READ:
    case BLKIF_WRITE:
        if (writes && limits->read_only)
            return BLKIF_ERROR;
        return check_data(command, limits, false);
    case BLKIF_BARRIER:
        if (limits->read_only)
            return BLKIF_ERROR;
        return check_data(command, limits, true);
    case BLKIF_FLUSH:
        if (limits->read_only && command->segments != 0)
            return BLKIF_ERROR;
        return check_data(command, limits, true);
    case BLKIF_DISCARD:
        return check_discard(command, limits);
    default: /* a byte of the guest's, not an enum of ours */
        return BLKIF_UNSUPPORTED;
    }
}

struct blkif_segment blkif_segment(const uint8_t *descriptors, unsigned index)
{
    struct bytes_reader reader =
        bytes_reader(descriptors + (size_t)index * BLKIF_DESCRIPTOR_BYTES, BLKIF_DESCRIPTOR_BYTES);
    struct blkif_segment segment;

    segment.gref = bytes_get32(&reader);
    segment.first_sector = bytes_get8(&reader);
    segment.last_sector = bytes_get8(&reader);
    return segment;
}

enum blkif_status blkif_check_segments(const uint8_t *descriptors, unsigned count, uint64_t sector,
                                       const struct blkif_limits *limits, uint32_t *bytes)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        struct blkif_segment segment = blkif_segment(descriptors, i);

        if (segment.first_sector > segment.last_sector ||
            segment.last_sector >= BLKIF_SECTORS_PER_PAGE)
            return BLKIF_ERROR;
        sum += blkif_segment_bytes(segment);
    }
    if (check_extent(sector, sum / 512, limits) != BLKIF_OKAY)
        return BLKIF_ERROR;
    *bytes = sum;
    return BLKIF_OKAY;
}

void blkif_encode_response(enum blkif_abi abi, uint64_t id, uint8_t operation,
                           enum blkif_status status, uint8_t *response)
{
    struct bytes_writer writer = bytes_writer(response, blkif_response_bytes(abi));

    memset(response, 0, blkif_response_bytes(abi));
    bytes_put64(&writer, id);
    bytes_put8(&writer, operation);
    bytes_put8(&writer, 0);
    bytes_put16(&writer, (uint16_t)status);
}
