/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metadata.c - where the metadata stands, and the superblock's bytes. See metadata.h.
 *
 * Places, in blocks of 4096 bytes; N is the number of whole blocks of the device
 *   internal   data 0..  then bitmap, activity log (128 blocks), slot 0 at N - 2, slot 1 at N - 1
 *   external   slot 0 at 0, slot 1 at 1, activity log at 2..129, bitmap from 130
 *
 * Superblock slot, 4096 bytes, integers little-endian
 *      0  u64  magic "TAPDRBD" 0x01
 *      8  u32  version
 *     12  u32  crc32c of the 4096 bytes with this field 0
 *     16  u64  sequence
 *     24  u64  device_uuid
 *     32  u64  offset of slot 0
 *     40  u64  offset of slot 1
 *     48  u64  offset of the activity log
 *     56  u32  its length in blocks
 *     60  u32  al_extents
 *     64  u64  offset of the bitmap
 *     72  u64  its length in bytes
 *     80  u64  data_bytes
 *     88  u32  bytes of data one bit stands for (4096)
 *     92  u32  bytes of data one activity-log extent stands for (4194304)
 *     96  u64  generation: current, bitmap, history 0, history 1
 *    128  u64  epoch
 *    136  u32  flags
 *    140  u32  0
 *    144  u64  peer_bytes
 *    152       zeroes
 *
 * Invariants
 *   1. The two slots are written in turn, so a write that a power cut tears leaves the other one.
 *   2. What metadata_decode accepts, metadata_encode gives back byte for byte.
 *   3. The regions lie inside the device, apart from each other; with internal metadata the data
 *      ends before the first of them.
 */
#include "metadata.h"

#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"
#include "mutant.h"

#define MAGIC ((uint64_t)0x0144425244504154) /* "TAPDRBD" 0x01 */

enum {
    CRC_AT = 12,
    EXTERNAL_AL_BLOCK = METADATA_SLOTS,
    EXTERNAL_BITMAP_BLOCK = EXTERNAL_AL_BLOCK + METADATA_AL_BLOCKS,
    FIXED_BLOCKS = METADATA_SLOTS + METADATA_AL_BLOCKS /* all but the bitmap */
};

/* The facts of a superblock that have one value in this version. */
struct geometry {
    uint32_t al_blocks, block_bytes, extent_bytes;
};

/* ---- places -------------------------------------------------------------------------------- */

static uint64_t bitmap_blocks_for(uint64_t data_blocks)
{
    return (data_blocks + METADATA_BITS_PER_BLOCK - 1) / METADATA_BITS_PER_BLOCK;
}

int metadata_slots(uint64_t device_bytes, bool internal, uint64_t slot[METADATA_SLOTS],
                   struct replica_error *error)
{
    uint64_t blocks = device_bytes / METADATA_BLOCK_BYTES;

    if (blocks < FIXED_BLOCKS + 1)
        return err_set(error, REPLICA_E_NO_SPACE,
                       "%" PRIu64 " bytes are too few for metadata: at least %u are needed",
                       device_bytes, (FIXED_BLOCKS + 1) * METADATA_BLOCK_BYTES);
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        slot[i] = (internal ? blocks - METADATA_SLOTS + i : i) * METADATA_BLOCK_BYTES;
    return 0;
}

/* As much data as fits beside its bitmap: each bitmap block serves METADATA_BITS_PER_BLOCK data
 * blocks and takes the place of one more. */
static void plan_internal(uint64_t blocks, struct metadata_layout *layout)
{
    uint64_t shared = blocks - FIXED_BLOCKS;
    uint64_t data = shared - (shared + METADATA_BITS_PER_BLOCK) / (METADATA_BITS_PER_BLOCK + 1);

    layout->data_bytes = data * REPLICA_BLOCK_BYTES;
    layout->bitmap_bytes = bitmap_blocks_for(data) * METADATA_BLOCK_BYTES;
    layout->al_offset = (blocks - FIXED_BLOCKS) * METADATA_BLOCK_BYTES;
    layout->bitmap_offset = layout->al_offset - layout->bitmap_bytes;
}

static void plan_external(uint64_t data_bytes, struct metadata_layout *layout)
{
    uint64_t data = data_bytes / REPLICA_BLOCK_BYTES;

    layout->data_bytes = data * REPLICA_BLOCK_BYTES;
    layout->bitmap_bytes = bitmap_blocks_for(data) * METADATA_BLOCK_BYTES;
    layout->al_offset = (uint64_t)EXTERNAL_AL_BLOCK * METADATA_BLOCK_BYTES;
    layout->bitmap_offset = (uint64_t)EXTERNAL_BITMAP_BLOCK * METADATA_BLOCK_BYTES;
}

int metadata_plan(uint64_t device_bytes, bool internal, uint64_t data_bytes_wanted,
                  struct metadata_layout *layout, struct replica_error *error)
{
    struct metadata_layout plan;
    int code = metadata_slots(device_bytes, internal, plan.slot, error);

    if (code)
        return code;
    if (internal)
        plan_internal(device_bytes / METADATA_BLOCK_BYTES, &plan);
    else
        plan_external(data_bytes_wanted, &plan);
    if (plan.data_bytes == 0)
        return err_set(error, REPLICA_E_INVALID, "no room for a single block of data");
    if (plan.data_bytes > METADATA_DATA_BYTES_MAX)
        return err_set(error, REPLICA_E_INVALID,
                       "%" PRIu64 " bytes of data are too many: at most %" PRIu64, plan.data_bytes,
                       METADATA_DATA_BYTES_MAX);
    if (!internal && device_bytes < plan.bitmap_offset + plan.bitmap_bytes)
        return err_set(error, REPLICA_E_NO_SPACE,
                       "metadata for %" PRIu64 " bytes of data needs %" PRIu64
                       " bytes, the device has %" PRIu64,
                       plan.data_bytes, plan.bitmap_offset + plan.bitmap_bytes, device_bytes);
    *layout = plan;
    return 0;
}

/* ---- growing ------------------------------------------------------------------------------- */

bool metadata_is_internal(const struct metadata_layout *layout)
{
    return layout->slot[0] != 0;
}

bool metadata_moves(const struct metadata_layout *from, const struct metadata_layout *to)
{
    return from->slot[0] != to->slot[0] || from->al_offset != to->al_offset ||
           from->bitmap_offset != to->bitmap_offset;
}

static uint64_t layout_end(const struct metadata_layout *layout)
{
    return layout->slot[METADATA_SLOTS - 1] + METADATA_BLOCK_BYTES;
}

/* As if the device were new. The bitmap's place follows from the device alone, so that less data
 * than it could hold can become more without a move. */
static int plan_largest(const struct metadata_layout *layout, uint64_t device_bytes,
                        struct metadata_layout *plan, struct replica_error *error)
{
    int code = metadata_plan(device_bytes, true, 0, plan, error);

    if (code == 0 && metadata_moves(layout, plan) && plan->bitmap_offset < layout_end(layout))
        return err_set(error, REPLICA_E_NO_SPACE,
                       "internal metadata move to the new end only when the old place is clear of "
                       "it: the device must grow by %" PRIu64 " bytes more",
                       layout_end(layout) - plan->bitmap_offset);
    return code;
}

int metadata_most(const struct metadata_layout *layout, uint64_t device_bytes,
                  uint64_t data_device_bytes, uint64_t *data_bytes, struct replica_error *error)
{
    struct metadata_layout plan;
    uint64_t most = data_device_bytes / REPLICA_BLOCK_BYTES * REPLICA_BLOCK_BYTES, room;
    int code;

    if (metadata_is_internal(layout)) {
        code = plan_largest(layout, device_bytes, &plan, error);
        if (code == 0)
            *data_bytes = plan.data_bytes;
        return code;
    }
    room = device_bytes < layout->bitmap_offset ? 0 : device_bytes - layout->bitmap_offset;
    room = room / METADATA_BLOCK_BYTES * METADATA_BITS_PER_BLOCK * REPLICA_BLOCK_BYTES;
    if (room < most)
        most = room;
    *data_bytes = most < METADATA_DATA_BYTES_MAX ? most : METADATA_DATA_BYTES_MAX;
    return 0;
}

int metadata_grow(const struct metadata_layout *layout, uint64_t device_bytes, uint64_t data_bytes,
                  struct metadata_layout *grown, struct replica_error *error)
{
    struct metadata_layout plan;
    int code;

    if (!metadata_is_internal(layout))
        return metadata_plan(device_bytes, false, data_bytes, grown, error);
    code = plan_largest(layout, device_bytes, &plan, error);
    if (code)
        return code;
    if (data_bytes > plan.data_bytes)
        return err_set(error, REPLICA_E_NO_SPACE,
                       "%" PRIu64 " bytes of data do not fit beside the metadata, %" PRIu64 " do",
                       data_bytes, plan.data_bytes);
    plan.data_bytes = data_bytes;
    plan.bitmap_bytes = bitmap_blocks_for(data_bytes / REPLICA_BLOCK_BYTES) * METADATA_BLOCK_BYTES;
    *grown = plan;
    return 0;
}

/* ---- superblock ---------------------------------------------------------------------------- */

void metadata_fresh(const struct metadata_layout *layout, uint64_t device_uuid, uint32_t al_extents,
                    struct metadata_superblock *superblock)
{
    *superblock = (struct metadata_superblock){
        .sequence = 1,
        .device_uuid = device_uuid,
        .layout = *layout,
        .generation.current = GENERATION_JUST_CREATED,
        .al_extents = al_extents,
    };
}

static uint32_t block_crc(const uint8_t *block)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_update(0, block, CRC_AT);

    crc = crc32c_update(crc, zero, sizeof zero);
    return crc32c_update(crc, block + CRC_AT + 4, METADATA_BLOCK_BYTES - CRC_AT - 4);
}

void metadata_encode(const struct metadata_superblock *superblock, uint8_t *block)
{
    struct bytes_writer writer = bytes_writer(block, METADATA_BLOCK_BYTES);
    struct bytes_writer crc = bytes_writer(block + CRC_AT, 4);
    const struct metadata_layout *layout = &superblock->layout;

    memset(block, 0, METADATA_BLOCK_BYTES);
    bytes_put64(&writer, MAGIC);
    bytes_put32(&writer, METADATA_VERSION);
    bytes_put32(&writer, 0);
    bytes_put64(&writer, superblock->sequence);
    bytes_put64(&writer, superblock->device_uuid);
    bytes_put64(&writer, layout->slot[0]);
    bytes_put64(&writer, layout->slot[1]);
    bytes_put64(&writer, layout->al_offset);
    bytes_put32(&writer, METADATA_AL_BLOCKS);
    bytes_put32(&writer, superblock->al_extents);
    bytes_put64(&writer, layout->bitmap_offset);
    bytes_put64(&writer, layout->bitmap_bytes);
    bytes_put64(&writer, layout->data_bytes);
    bytes_put32(&writer, REPLICA_BLOCK_BYTES);
    bytes_put32(&writer, METADATA_AL_EXTENT_BYTES);
    bytes_put64(&writer, superblock->generation.current);
    bytes_put64(&writer, superblock->generation.bitmap);
    bytes_put64(&writer, superblock->generation.history[0]);
    bytes_put64(&writer, superblock->generation.history[1]);
    bytes_put64(&writer, superblock->epoch);
    bytes_put32(&writer, superblock->flags);
    bytes_put32(&writer, 0);
    bytes_put64(&writer, superblock->peer_bytes);
    bytes_put64(&writer, superblock->stale_end);
    bytes_put64(&writer, superblock->asked_uuid);
    bytes_put32(&crc, block_crc(block));
}

/* Everything after the checksum. True when the bytes that must be 0 are. */
static bool read_fields(struct bytes_reader *reader, struct metadata_superblock *superblock,
                        struct geometry *geometry)
{
    struct metadata_layout *layout = &superblock->layout;
    uint32_t reserved;

    superblock->sequence = bytes_get64(reader);
    superblock->device_uuid = bytes_get64(reader);
    layout->slot[0] = bytes_get64(reader);
    layout->slot[1] = bytes_get64(reader);
    layout->al_offset = bytes_get64(reader);
    geometry->al_blocks = bytes_get32(reader);
    superblock->al_extents = bytes_get32(reader);
    layout->bitmap_offset = bytes_get64(reader);
    layout->bitmap_bytes = bytes_get64(reader);
    layout->data_bytes = bytes_get64(reader);
    geometry->block_bytes = bytes_get32(reader);
    geometry->extent_bytes = bytes_get32(reader);
    superblock->generation.current = bytes_get64(reader);
    superblock->generation.bitmap = bytes_get64(reader);
    superblock->generation.history[0] = bytes_get64(reader);
    superblock->generation.history[1] = bytes_get64(reader);
    superblock->epoch = bytes_get64(reader);
    superblock->flags = bytes_get32(reader);
    reserved = bytes_get32(reader);
    superblock->peer_bytes = bytes_get64(reader);
    superblock->stale_end = bytes_get64(reader);
    superblock->asked_uuid = bytes_get64(reader);
    return reserved == 0 && bytes_zero(reader->next, (size_t)(reader->end - reader->next));
}

/* A piece of the metadata device. */
struct region {
    uint64_t offset, bytes;
};

static bool region_sound(struct region region, uint64_t device_bytes)
{
    return region.offset % METADATA_BLOCK_BYTES == 0 && region.bytes <= device_bytes &&
           region.offset <= device_bytes - region.bytes;
}

static bool regions_apart(struct region a, struct region b)
{
    return a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
}

/* Invariant 3. External metadata is known by its first slot at 0, where internal has data. */
static bool layout_sound(const struct metadata_layout *layout, uint64_t device_bytes)
{
    const struct region regions[] = {
        {layout->slot[0], METADATA_BLOCK_BYTES},
        {layout->slot[1], METADATA_BLOCK_BYTES},
        {layout->al_offset, (uint64_t)METADATA_AL_BLOCKS * METADATA_BLOCK_BYTES},
        {layout->bitmap_offset, layout->bitmap_bytes},
        {0, layout->slot[0] ? layout->data_bytes : 0},
    };
    const unsigned count = sizeof regions / sizeof *regions;

    if (layout->data_bytes == 0 || layout->data_bytes > METADATA_DATA_BYTES_MAX ||
        layout->data_bytes % REPLICA_BLOCK_BYTES)
        return false;
    if (layout->bitmap_bytes !=
        bitmap_blocks_for(layout->data_bytes / REPLICA_BLOCK_BYTES) * METADATA_BLOCK_BYTES)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!region_sound(regions[i], device_bytes))
            return false;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i + 1; j < count; j++)
            if (!regions_apart(regions[i], regions[j]))
                return false;
    return true;
}

static int check_fields(const struct metadata_superblock *superblock,
                        const struct geometry *geometry, uint64_t device_bytes,
                        struct replica_error *error)
{
    if (geometry->al_blocks != METADATA_AL_BLOCKS || geometry->block_bytes != REPLICA_BLOCK_BYTES ||
        geometry->extent_bytes != METADATA_AL_EXTENT_BYTES)
        return err_set(error, REPLICA_E_METADATA, "metadata of a geometry that is not known");
    if (superblock->al_extents < METADATA_AL_EXTENTS_MIN ||
        superblock->al_extents > METADATA_AL_EXTENTS_MAX)
        return err_set(error, REPLICA_E_METADATA,
                       "metadata with %" PRIu32 " activity-log extents, not %u to %u",
                       superblock->al_extents, METADATA_AL_EXTENTS_MIN, METADATA_AL_EXTENTS_MAX);
    if (superblock->flags & ~(uint32_t)METADATA_FLAGS_ALL)
        return err_set(error, REPLICA_E_METADATA, "metadata with unknown flags 0x%" PRIx32,
                       superblock->flags);
    if (!layout_sound(&superblock->layout, device_bytes) ||
        superblock->stale_end % METADATA_BLOCK_BYTES || superblock->stale_end > device_bytes)
        return err_set(error, REPLICA_E_METADATA,
                       "metadata whose layout does not fit a device of %" PRIu64 " bytes",
                       device_bytes);
    return 0;
}

int metadata_decode(const uint8_t *block, uint64_t device_bytes,
                    struct metadata_superblock *superblock, struct replica_error *error)
{
    struct bytes_reader reader = bytes_reader(block, METADATA_BLOCK_BYTES);
    struct metadata_superblock found;
    struct geometry geometry;
    uint32_t version;
    int code;

    if (bytes_get64(&reader) != MAGIC)
        return err_set(error, REPLICA_E_NO_METADATA, "no metadata found");
    version = bytes_get32(&reader);
    if (bytes_get32(&reader) != block_crc(block))
        return err_set(error, REPLICA_E_METADATA, "metadata is damaged: wrong checksum");
    if (version != METADATA_VERSION)
        return err_set(error, REPLICA_E_METADATA,
                       "metadata of version %" PRIu32 ", this program knows %u", version,
                       METADATA_VERSION);
    if (!read_fields(&reader, &found, &geometry))
        return err_set(error, REPLICA_E_METADATA, "metadata with reserved bytes in use");
    code = check_fields(&found, &geometry, device_bytes, error);
    if (code)
        return code;
    *superblock = found;
    return 0;
}

int metadata_choose(const uint8_t *block[METADATA_SLOTS], uint64_t device_bytes,
                    struct metadata_superblock *superblock, unsigned *slot,
                    struct replica_error *error)
{
    struct metadata_superblock found[METADATA_SLOTS];
    struct replica_error errors[METADATA_SLOTS];
    int code[METADATA_SLOTS];
    unsigned best = 0;

    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        code[i] = metadata_decode(block[i], device_bytes, &found[i], &errors[i]);
    if (code[0] == 0 && code[1] == 0)
        best = (found[1].sequence > found[0].sequence) != MUTANT(older_superblock);
    else if (code[0])
        best = code[1] == 0 || code[0] == REPLICA_E_NO_METADATA;
    if (code[best])
        return err_set(error, code[best], "%s", errors[best].text);
    *superblock = found[best];
    *slot = best;
    return 0;
}
