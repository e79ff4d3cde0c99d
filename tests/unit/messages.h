/* SPDX-License-Identifier: GPL-2.0-or-later */
/* messages.h - random messages that the link's protocol allows, for test_wire and test_framer. */
#ifndef TESTS_MESSAGES_H
#define TESTS_MESSAGES_H

#include <string.h>

#include "libreplica/core/wire.h"
#include "unit.h"

static inline void random_text(uint64_t *seed, char *text, uint32_t room)
{
    uint32_t length = 1 + unit_below(seed, room - 1);

    memset(text, 0, room);
    for (uint32_t i = 0; i < length; i++)
        text[i] = (char)(0x20 + unit_below(seed, 0x5f));
}

static inline struct range random_range(uint64_t *seed, uint32_t most)
{
    uint32_t sectors = 1 + unit_below(seed, most / REPLICA_SECTOR_BYTES);

    return (struct range){unit_random(seed) % METADATA_DATA_BYTES_MAX / 1024 * 512,
                          sectors * REPLICA_SECTOR_BYTES};
}

static inline void random_state(uint64_t *seed, struct wire_state *state)
{
    state->data_bytes = unit_random(seed) % METADATA_DATA_BYTES_MAX;
    state->epoch = unit_random(seed);
    state->role = (uint8_t)unit_below(seed, REPLICA_ROLE_COUNT);
    state->disk = (uint8_t)unit_below(seed, REPLICA_DISK_COUNT);
    state->flags = (uint32_t)unit_random(seed) & METADATA_FLAGS_ALL;
    state->generation.current = unit_random(seed);
    state->generation.bitmap = unit_random(seed);
    state->generation.history[0] = unit_random(seed);
    state->generation.history[1] = unit_random(seed);
    state->out_of_sync = unit_random(seed) % (METADATA_DATA_BYTES_MAX / REPLICA_BLOCK_BYTES);
    state->window_bytes = (uint32_t)unit_random(seed);
    state->window_requests = (uint32_t)unit_random(seed);
}

/* Any message of the type; `block` is METADATA_BLOCK_BYTES for BITMAP's body. */
static inline struct wire_message random_message(uint64_t *seed, unsigned type,
                                                 const uint8_t *block)
{
    struct wire_message message;
    bool coin = unit_random(seed) & 1;

    memset(&message, 0, sizeof message);
    message.type = (uint8_t)type;
    message.tag = unit_random(seed);
    message.epoch = unit_random(seed);
    message.value = unit_random(seed);
    message.flags = (uint32_t)unit_random(seed);
    switch ((enum wire_type)type) {
    case WIRE_HELLO:
        message.hello.version_min = 1;
        message.hello.version_max = (uint16_t)(1 + unit_below(seed, 0xffff));
        random_text(seed, message.hello.resource, sizeof message.hello.resource);
        random_text(seed, message.hello.node, sizeof message.hello.node);
        message.hello.features = unit_random(seed);
        message.hello.nonce = unit_random(seed);
        break;
    case WIRE_STATE:
        random_state(seed, &message.state);
        break;
    case WIRE_REFUSE:
    case WIRE_HANDOVER:
        message.refuse.code = -(int32_t)unit_below(seed, 1 - REPLICA_E_SYSTEM);
        random_text(seed, message.refuse.reason, sizeof message.refuse.reason);
        break;
    case WIRE_RESIZE:
    case WIRE_RESIZE_ACK:
        message.resize.data_bytes = unit_random(seed) >> 14;
        message.resize.marked_end = unit_random(seed) >> 14;
        random_text(seed, message.resize.reason, sizeof message.resize.reason);
        message.code = coin ? REPLICA_E_NO_SPACE : 0;
        break;
    case WIRE_WRITE:
        message.range = random_range(seed, WIRE_DATA_BYTES_MAX);
        message.data_bytes = message.range.length;
        message.fua = coin;
        break;
    case WIRE_DISCARD:
    case WIRE_WRITE_ZEROES:
        message.range = random_range(seed, UINT32_MAX);
        message.fua = coin;
        break;
    case WIRE_READ:
    case WIRE_RESYNC_READ:
    case WIRE_VERIFY_READ:
    case WIRE_VERIFY_MARK:
    case WIRE_RESYNC_SAME:
        message.range = random_range(seed, WIRE_DATA_BYTES_MAX);
        break;
    case WIRE_RESYNC_DATA:
        message.range = random_range(seed, WIRE_DATA_BYTES_MAX);
        message.zero = coin;
        message.data_bytes = coin ? 0 : message.range.length;
        break;
    case WIRE_READ_REPLY:
        message.code = coin ? REPLICA_E_IO : 0;
        message.data_bytes = coin ? 0 : 1 + unit_below(seed, WIRE_DATA_BYTES_MAX);
        break;
    case WIRE_WRITE_ACK:
    case WIRE_FLUSH_ACK:
    case WIRE_PROMOTE_ACK:
    case WIRE_NEW_UUID_ACK:
    case WIRE_RESYNC_ACK:
    case WIRE_INVALIDATE_ACK:
        message.code = coin ? REPLICA_E_IO : 0;
        break;
    case WIRE_RESYNC_SUM:
        message.range = random_range(seed, WIRE_DATA_BYTES_MAX);
        for (unsigned i = 0; i < WIRE_DIGEST_BYTES; i++)
            message.digest[i] = (uint8_t)unit_random(seed);
        break;
    case WIRE_VERIFY_SUM:
        for (unsigned i = 0; i < WIRE_DIGEST_BYTES; i++)
            message.digest[i] = (uint8_t)unit_random(seed);
        break;
    case WIRE_BITMAP:
        message.bitmap_block = block;
        break;
    case WIRE_PING:
    case WIRE_PONG:
    case WIRE_FLUSH:
    case WIRE_PROMOTE:
    case WIRE_DEMOTED:
    case WIRE_NEW_UUID:
    case WIRE_BITMAP_DONE:
    case WIRE_RESYNC_DONE:
    case WIRE_INVALIDATE:
    case WIRE_VERIFY_DONE:
    case WIRE_SYNC_PAUSE:
    case WIRE_TYPE_COUNT:
        break;
    }
    return message;
}

#endif
