/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seeds_core.c - writes the first inputs for fuzz_wire and fuzz_metadata: one of each thing, as
 * the encoders make it.
 *
 *   seeds_core CORPUS_DIRECTORY      (which has the directories wire and metadata)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/actlog.h"
#include "libreplica/core/bitmap.h"
#include "libreplica/core/bytes.h"
#include "libreplica/core/metadata.h"
#include "libreplica/core/wire.h"

static void save(const char *corpus, const char *name, const uint8_t *data, size_t size)
{
    char path[4096];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", corpus, name);
    file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

/* A message of the type with every field of it in use. */
static struct wire_message message_of(unsigned type, const uint8_t *block)
{
    struct wire_message message = {.type = (uint8_t)type, .tag = 7, .epoch = 3, .value = 5};

    switch (type) {
    case WIRE_HELLO:
        message.hello = (struct wire_hello){1, 1, "vm1", "alpha", 0, 0x1122334455667788};
        break;
    case WIRE_STATE:
        message.state = (struct wire_state){.data_bytes = 1 << 30,
                                            .epoch = 3,
                                            .role = REPLICA_ROLE_PRIMARY,
                                            .disk = REPLICA_DISK_UPTODATE,
                                            .flags = METADATA_CONSISTENT,
                                            .generation = {0x10, 0x20, {0x30, 0x40}},
                                            .window_bytes = WIRE_WINDOW_BYTES,
                                            .window_requests = WIRE_WINDOW_REQUESTS};
        break;
    case WIRE_REFUSE:
        message.refuse = (struct wire_refuse){REPLICA_E_SPLIT_BRAIN, "split brain"};
        break;
    case WIRE_RESIZE:
    case WIRE_RESIZE_ACK:
        message.resize = (struct wire_resize){1 << 30, 1 << 30, "the disk of beta is full"};
        break;
    case WIRE_BITMAP:
        message.bitmap_block = block;
        break;
    case WIRE_WRITE:
    case WIRE_RESYNC_DATA:
    case WIRE_READ_REPLY:
        message.data_bytes = 512;
        /* fall through */
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
    case WIRE_READ:
    case WIRE_RESYNC_READ:
        message.range = (struct range){4096, 512};
        break;
    default:
        break;
    }
    return message;
}

/* The message types that are a header alone look alike: they come in the stream of all. */
static void wire_seeds(const char *corpus)
{
    enum { INPUT_MAX = 1 + WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX + 512, PIECE = 13 };
    static uint8_t all[INPUT_MAX * WIRE_TYPE_COUNT] = {PIECE};
    const uint8_t block[METADATA_BLOCK_BYTES] = {0xff};
    size_t all_size = 1;

    for (unsigned type = WIRE_HELLO; type < WIRE_TYPE_COUNT; type++) {
        struct wire_message message = message_of(type, block);
        uint8_t input[INPUT_MAX] = {0}; /* in one piece */
        size_t size = 1 + wire_encode(&message, input + 1);
        bool alone = size == 1 + WIRE_HEADER_BYTES && message.data_bytes == 0;
        char name[64];

        memset(input + size, 0xda, message.data_bytes);
        size += message.data_bytes;
        (void)snprintf(name, sizeof name, "wire/%s", wire_type_name(type));
        if (!alone)
            save(corpus, name, input, size);
        if (type != WIRE_BITMAP) {
            memcpy(all + all_size, input + 1, size - 1);
            all_size += size - 1;
        }
    }
    save(corpus, "wire/all", all, all_size);
}

static void superblock_seed(const char *corpus, const char *name, bool internal)
{
    enum { DEVICE_BYTES = 64 << 20 };
    uint8_t input[1 + 8 + 2 * METADATA_BLOCK_BYTES] = {0};
    struct bytes_writer size = bytes_writer(input + 1, 8);
    struct metadata_superblock superblock;
    struct metadata_layout layout;

    if (metadata_plan(DEVICE_BYTES, internal, (uint64_t)1 << 34, &layout, NULL))
        exit(EXIT_FAILURE);
    bytes_put64(&size, DEVICE_BYTES);
    metadata_fresh(&layout, 0x0123456789abcdef, METADATA_AL_EXTENTS_DEFAULT, &superblock);
    metadata_encode(&superblock, input + 9);
    superblock.sequence = 2;
    superblock.flags = METADATA_CONSISTENT | METADATA_WAS_UPTODATE;
    metadata_encode(&superblock, input + 9 + METADATA_BLOCK_BYTES);
    save(corpus, name, input, sizeof input);
}

static void actlog_seed(const char *corpus)
{
    uint8_t input[1 + 3 * METADATA_BLOCK_BYTES] = {1};
    struct actlog *log;
    uint32_t index;

    if (actlog_new(&log, METADATA_AL_EXTENTS_MIN, NULL))
        exit(EXIT_FAILURE);
    for (uint32_t i = 0; i < 3; i++) {
        (void)actlog_get(log, i * 1000);
        actlog_encode(log, input + 1 + i * METADATA_BLOCK_BYTES, &index);
        actlog_written(log);
    }
    actlog_free(log);
    save(corpus, "metadata/actlog", input, sizeof input);
}

int main(int argc, char **argv)
{
    const uint8_t bitmap[] = {2, 0x40, 0x01, 0xff, 0x00, 0x80, 0x01};

    if (argc != 2) {
        fprintf(stderr, "usage: seeds_core CORPUS_DIRECTORY\n");
        return EXIT_FAILURE;
    }
    wire_seeds(argv[1]);
    superblock_seed(argv[1], "metadata/internal", true);
    superblock_seed(argv[1], "metadata/external", false);
    actlog_seed(argv[1]);
    save(argv[1], "metadata/bitmap", bitmap, sizeof bitmap);
    return EXIT_SUCCESS;
}
