/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.c - byte layout of the link's messages. See wire.h.
 *
 * Every integer is little-endian. A message is a header, then a body or data or neither.
 *
 *   header, 64 bytes
 *      0  u32  magic "tDW1"
 *      4  u32  crc32c of the 64 bytes with this field 0
 *      8  u8   type
 *      9  u8   bits: 1 fua, 2 zero
 *     10  u16  0
 *     12  u32  flags
 *     16  u64  tag
 *     24  u64  epoch
 *     32  u64  range offset, bytes
 *     40  u32  range length, bytes
 *     44  i32  code
 *     48  u64  value
 *     56  u32  length of the body
 *     60  u32  length of the data
 *
 *   HELLO body, 148 bytes                      STATE body, 72 bytes
 *      0  u16  version_min                        0  u64  data_bytes
 *      2  u16  version_max                        8  u64  epoch
 *      4  64   resource, NUL-padded              16  u8   role
 *     68  64   node, NUL-padded                  17  u8   disk
 *    132  u64  features                          18  u16  0
 *    140  u64  nonce                             20  u32  flags
 *                                                24  u64  generation: current, bitmap,
 *   REFUSE and HANDOVER body, 260 bytes                                history 0, history 1
 *      0  i32  code                              56  u64  out_of_sync
 *      4  256  reason, NUL-padded                64  u32  window_bytes
 *                                                68  u32  window_requests
 *   BITMAP body, 4096 bytes: one block as on disk
 *   RESIZE and RESIZE_ACK body, 272 bytes: u64 data_bytes, u64 marked_end, 256 reason, NUL-padded
 *   VERIFY_SUM and RESYNC_SUM body, 32 bytes: the checksum, NUL-padded
 *
 * The decoder is strict: what it accepts, wire_encode gives back byte for byte. A zero where the
 * layout says 0, NUL padding after a string, a known type, known bits, a known code, lengths as
 * the table below has them.
 */
#include "wire.h"

#include <inttypes.h>

#include "bytes.h"
#include "crc32c.h"
#include "err.h"

enum {
    MAGIC = 0x31574474, /* "tDW1" */
    CRC_AT = 4,
    BIT_FUA = 1,
    BIT_ZERO = 2,
    HELLO_BYTES = 148,
    STATE_BYTES = 72,
    REFUSE_BYTES = 260,
    RESIZE_BYTES = 272
};

enum data_rule {
    DATA_NONE,
    DATA_RANGE,   /* exactly range.length bytes */
    DATA_ON_OK,   /* range.length bytes, or none with a code or with the zero bit */
    DATA_IF_FOUND /* some bytes, or none with a code; a range is not needed */
};

struct rule {
    const char *name;
    uint16_t body_bytes;
    uint8_t bits;
    uint32_t range_max; /* longest range; 0: the type needs none */
    enum data_rule data;
};

static const struct rule rules[WIRE_TYPE_COUNT] = {
    [WIRE_HELLO] = {"HELLO", HELLO_BYTES, 0, 0, DATA_NONE},
    [WIRE_STATE] = {"STATE", STATE_BYTES, 0, 0, DATA_NONE},
    [WIRE_REFUSE] = {"REFUSE", REFUSE_BYTES, 0, 0, DATA_NONE},
    [WIRE_PING] = {"PING", 0, 0, 0, DATA_NONE},
    [WIRE_PONG] = {"PONG", 0, 0, 0, DATA_NONE},
    [WIRE_WRITE] = {"WRITE", 0, BIT_FUA, WIRE_DATA_BYTES_MAX, DATA_RANGE},
    [WIRE_DISCARD] = {"DISCARD", 0, BIT_FUA, UINT32_MAX, DATA_NONE},
    [WIRE_WRITE_ZEROES] = {"WRITE_ZEROES", 0, BIT_FUA, UINT32_MAX, DATA_NONE},
    [WIRE_WRITE_ACK] = {"WRITE_ACK", 0, BIT_FUA, 0, DATA_NONE},
    [WIRE_FLUSH] = {"FLUSH", 0, 0, 0, DATA_NONE},
    [WIRE_FLUSH_ACK] = {"FLUSH_ACK", 0, 0, 0, DATA_NONE},
    [WIRE_READ] = {"READ", 0, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_READ_REPLY] = {"READ_REPLY", 0, 0, 0, DATA_IF_FOUND},
    [WIRE_PROMOTE] = {"PROMOTE", 0, 0, 0, DATA_NONE},
    [WIRE_PROMOTE_ACK] = {"PROMOTE_ACK", 0, 0, 0, DATA_NONE},
    [WIRE_DEMOTED] = {"DEMOTED", 0, 0, 0, DATA_NONE},
    [WIRE_NEW_UUID] = {"NEW_UUID", 0, 0, 0, DATA_NONE},
    [WIRE_NEW_UUID_ACK] = {"NEW_UUID_ACK", 0, 0, 0, DATA_NONE},
    [WIRE_BITMAP] = {"BITMAP", METADATA_BLOCK_BYTES, 0, 0, DATA_NONE},
    [WIRE_BITMAP_DONE] = {"BITMAP_DONE", 0, 0, 0, DATA_NONE},
    [WIRE_RESYNC_READ] = {"RESYNC_READ", 0, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_RESYNC_DATA] = {"RESYNC_DATA", 0, BIT_ZERO, WIRE_DATA_BYTES_MAX, DATA_ON_OK},
    [WIRE_RESYNC_ACK] = {"RESYNC_ACK", 0, 0, 0, DATA_NONE},
    [WIRE_RESYNC_DONE] = {"RESYNC_DONE", 0, 0, 0, DATA_NONE},
    [WIRE_INVALIDATE] = {"INVALIDATE", 0, 0, 0, DATA_NONE},
    [WIRE_INVALIDATE_ACK] = {"INVALIDATE_ACK", 0, 0, 0, DATA_NONE},
    [WIRE_RESIZE] = {"RESIZE", RESIZE_BYTES, 0, 0, DATA_NONE},
    [WIRE_RESIZE_ACK] = {"RESIZE_ACK", RESIZE_BYTES, 0, 0, DATA_NONE},
    [WIRE_HANDOVER] = {"HANDOVER", REFUSE_BYTES, 0, 0, DATA_NONE},
    [WIRE_VERIFY_READ] = {"VERIFY_READ", 0, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_VERIFY_SUM] = {"VERIFY_SUM", WIRE_DIGEST_BYTES, 0, 0, DATA_NONE},
    [WIRE_VERIFY_MARK] = {"VERIFY_MARK", 0, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_VERIFY_DONE] = {"VERIFY_DONE", 0, 0, 0, DATA_NONE},
    [WIRE_RESYNC_SUM] = {"RESYNC_SUM", WIRE_DIGEST_BYTES, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_RESYNC_SAME] = {"RESYNC_SAME", 0, 0, WIRE_DATA_BYTES_MAX, DATA_NONE},
    [WIRE_SYNC_PAUSE] = {"SYNC_PAUSE", 0, 0, 0, DATA_NONE},
};

_Static_assert((int)METADATA_BLOCK_BYTES <= (int)WIRE_BODY_BYTES_MAX, "a bitmap block is a body");

const char *wire_type_name(unsigned type)
{
    return type < WIRE_TYPE_COUNT && rules[type].name ? rules[type].name : "?";
}

/* ---- encoding ------------------------------------------------------------------------------ */

/* `text` in a field of `width` bytes, NUL-padded; its last byte is always NUL. */
static void put_text(struct bytes_writer *writer, const char *text, size_t width)
{
    size_t length = strnlen(text, width - 1);

    bytes_put_raw(writer, text, length);
    for (; length < width; length++)
        bytes_put8(writer, 0);
}

static void put_hello(struct bytes_writer *writer, const struct wire_hello *hello)
{
    bytes_put16(writer, hello->version_min);
    bytes_put16(writer, hello->version_max);
    put_text(writer, hello->resource, sizeof hello->resource);
    put_text(writer, hello->node, sizeof hello->node);
    bytes_put64(writer, hello->features);
    bytes_put64(writer, hello->nonce);
}

static void put_state(struct bytes_writer *writer, const struct wire_state *state)
{
    bytes_put64(writer, state->data_bytes);
    bytes_put64(writer, state->epoch);
    bytes_put8(writer, state->role);
    bytes_put8(writer, state->disk);
    bytes_put16(writer, 0);
    bytes_put32(writer, state->flags);
    bytes_put64(writer, state->generation.current);
    bytes_put64(writer, state->generation.bitmap);
    bytes_put64(writer, state->generation.history[0]);
    bytes_put64(writer, state->generation.history[1]);
    bytes_put64(writer, state->out_of_sync);
    bytes_put32(writer, state->window_bytes);
    bytes_put32(writer, state->window_requests);
}

static void put_refuse(struct bytes_writer *writer, const struct wire_refuse *refuse)
{
    bytes_put32(writer, (uint32_t)refuse->code);
    put_text(writer, refuse->reason, sizeof refuse->reason);
}

static void put_resize(struct bytes_writer *writer, const struct wire_resize *resize)
{
    bytes_put64(writer, resize->data_bytes);
    bytes_put64(writer, resize->marked_end);
    put_text(writer, resize->reason, sizeof resize->reason);
}

static void put_body(struct bytes_writer *writer, const struct wire_message *message)
{
    switch (message->type) {
    case WIRE_HELLO:
        put_hello(writer, &message->hello);
        break;
    case WIRE_STATE:
        put_state(writer, &message->state);
        break;
    case WIRE_REFUSE:
    case WIRE_HANDOVER:
        put_refuse(writer, &message->refuse);
        break;
    case WIRE_RESIZE:
    case WIRE_RESIZE_ACK:
        put_resize(writer, &message->resize);
        break;
    case WIRE_BITMAP:
        bytes_put_raw(writer, message->bitmap_block, METADATA_BLOCK_BYTES);
        break;
    case WIRE_VERIFY_SUM:
    case WIRE_RESYNC_SUM:
        bytes_put_raw(writer, message->digest, WIRE_DIGEST_BYTES);
        break;
    default: /* every other type is a header alone */
        break;
    }
}

static uint32_t header_crc(const uint8_t *header)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_update(0, header, CRC_AT);

    crc = crc32c_update(crc, zero, sizeof zero);
    return crc32c_update(crc, header + CRC_AT + 4, WIRE_HEADER_BYTES - CRC_AT - 4);
}

size_t wire_encode(const struct wire_message *message, uint8_t *out)
{
    struct bytes_writer header = bytes_writer(out, WIRE_HEADER_BYTES);
    struct bytes_writer body = bytes_writer(out + WIRE_HEADER_BYTES, WIRE_BODY_BYTES_MAX);
    struct bytes_writer crc = bytes_writer(out + CRC_AT, 4);
    uint32_t body_bytes;

    put_body(&body, message);
    body_bytes = (uint32_t)(body.next - (out + WIRE_HEADER_BYTES));
    bytes_put32(&header, MAGIC);
    bytes_put32(&header, 0);
    bytes_put8(&header, message->type);
    bytes_put8(&header, (uint8_t)((message->fua ? BIT_FUA : 0) | (message->zero ? BIT_ZERO : 0)));
    bytes_put16(&header, 0);
    bytes_put32(&header, message->flags);
    bytes_put64(&header, message->tag);
    bytes_put64(&header, message->epoch);
    bytes_put64(&header, message->range.offset);
    bytes_put32(&header, message->range.length);
    bytes_put32(&header, (uint32_t)message->code);
    bytes_put64(&header, message->value);
    bytes_put32(&header, body_bytes);
    bytes_put32(&header, message->data_bytes);
    bytes_put32(&crc, header_crc(out));
    return WIRE_HEADER_BYTES + body_bytes;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static bool code_known(int32_t code)
{
    return code <= 0 && code >= REPLICA_E_SYSTEM;
}

/* Where a type needs no range, none or a sound one may stand. */
static bool range_sound(const struct rule *rule, struct range range)
{
    if (range.length == 0)
        return rule->range_max == 0 && range.offset == 0;
    return (rule->range_max == 0 || range.length <= rule->range_max) &&
           range_inside(range, METADATA_DATA_BYTES_MAX) &&
           range_aligned(range, REPLICA_SECTOR_BYTES);
}

static bool data_sound(const struct rule *rule, const struct wire_message *message)
{
    bool empty = message->data_bytes == 0;
    bool whole = message->data_bytes == message->range.length;

    if (message->data_bytes > WIRE_DATA_BYTES_MAX)
        return false;
    switch (rule->data) {
    case DATA_NONE:
        return empty;
    case DATA_RANGE:
        return whole;
    case DATA_ON_OK:
        return message->code != 0 || message->zero ? empty : whole;
    case DATA_IF_FOUND:
        if (message->code != 0)
            return empty;
        return !empty && (whole || message->range.length == 0);
    }
    return false;
}

static int check_header(const struct wire_message *message, unsigned bits, uint32_t body_bytes,
                        struct replica_error *error)
{
    const struct rule *rule;

    if (message->type >= WIRE_TYPE_COUNT || !rules[message->type].name)
        return err_set(error, REPLICA_E_PROTOCOL, "message of unknown type %u", message->type);
    rule = &rules[message->type];
    if (bits & ~(unsigned)rule->bits)
        return err_set(error, REPLICA_E_PROTOCOL, "%s with unknown bits 0x%x", rule->name, bits);
    if (!code_known(message->code))
        return err_set(error, REPLICA_E_PROTOCOL, "%s with unknown code %" PRId32, rule->name,
                       message->code);
    if (!range_sound(rule, message->range))
        return err_set(error, REPLICA_E_PROTOCOL,
                       "%s of %" PRIu32 " bytes at %" PRIu64 ": no possible range", rule->name,
                       message->range.length, message->range.offset);
    if (body_bytes != rule->body_bytes)
        return err_set(error, REPLICA_E_PROTOCOL, "%s with a body of %" PRIu32 " bytes, not %u",
                       rule->name, body_bytes, rule->body_bytes);
    if (!data_sound(rule, message))
        return err_set(error, REPLICA_E_PROTOCOL, "%s with %" PRIu32 " bytes of data", rule->name,
                       message->data_bytes);
    return 0;
}

int wire_decode_header(const uint8_t *header, struct wire_message *message, uint32_t *body_bytes,
                       struct replica_error *error)
{
    struct bytes_reader reader = bytes_reader(header, WIRE_HEADER_BYTES);
    struct wire_message found;
    uint32_t body_length;
    unsigned bits, reserved;
    int code;

    if (bytes_get32(&reader) != MAGIC)
        return err_set(error, REPLICA_E_PROTOCOL, "not a message of this protocol");
    if (bytes_get32(&reader) != header_crc(header))
        return err_set(error, REPLICA_E_PROTOCOL, "message header with a wrong checksum");
    memset(&found, 0, sizeof found);
    found.type = bytes_get8(&reader);
    bits = bytes_get8(&reader);
    found.fua = bits & BIT_FUA;
    found.zero = bits & BIT_ZERO;
    reserved = bytes_get16(&reader);
    found.flags = bytes_get32(&reader);
    found.tag = bytes_get64(&reader);
    found.epoch = bytes_get64(&reader);
    found.range.offset = bytes_get64(&reader);
    found.range.length = bytes_get32(&reader);
    found.code = (int32_t)bytes_get32(&reader);
    found.value = bytes_get64(&reader);
    body_length = bytes_get32(&reader);
    found.data_bytes = bytes_get32(&reader);
    if (reserved != 0)
        return err_set(error, REPLICA_E_PROTOCOL, "message header with reserved bytes in use");
    code = check_header(&found, bits, body_length, error);
    if (code)
        return code;
    *message = found;
    *body_bytes = body_length;
    return 0;
}

/* A NUL inside the field, only NULs after it, no control byte before it: the text goes to logs and
 * terminals. */
static bool get_text(struct bytes_reader *reader, char *text, size_t width)
{
    size_t length;

    bytes_get_raw(reader, text, width);
    length = strnlen(text, width);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    for (size_t i = length; i < width; i++)
        if (text[i] != 0)
            return false;
    return length < width;
}

static bool get_hello(struct bytes_reader *reader, struct wire_hello *hello)
{
    bool good;

    hello->version_min = bytes_get16(reader);
    hello->version_max = bytes_get16(reader);
    good = get_text(reader, hello->resource, sizeof hello->resource);
    good &= get_text(reader, hello->node, sizeof hello->node);
    hello->features = bytes_get64(reader);
    hello->nonce = bytes_get64(reader);
    return good && hello->version_min <= hello->version_max && hello->resource[0] && hello->node[0];
}

static bool get_state(struct bytes_reader *reader, struct wire_state *state)
{
    unsigned reserved;

    state->data_bytes = bytes_get64(reader);
    state->epoch = bytes_get64(reader);
    state->role = bytes_get8(reader);
    state->disk = bytes_get8(reader);
    reserved = bytes_get16(reader);
    state->flags = bytes_get32(reader);
    state->generation.current = bytes_get64(reader);
    state->generation.bitmap = bytes_get64(reader);
    state->generation.history[0] = bytes_get64(reader);
    state->generation.history[1] = bytes_get64(reader);
    state->out_of_sync = bytes_get64(reader);
    state->window_bytes = bytes_get32(reader);
    state->window_requests = bytes_get32(reader);
    return reserved == 0 && state->role < REPLICA_ROLE_COUNT && state->disk < REPLICA_DISK_COUNT &&
           !(state->flags & ~(uint32_t)METADATA_FLAGS_ALL) &&
           state->data_bytes <= METADATA_DATA_BYTES_MAX &&
           state->out_of_sync <= METADATA_DATA_BYTES_MAX / REPLICA_BLOCK_BYTES;
}

static bool get_refuse(struct bytes_reader *reader, struct wire_refuse *refuse)
{
    refuse->code = (int32_t)bytes_get32(reader);
    return get_text(reader, refuse->reason, sizeof refuse->reason) && code_known(refuse->code);
}

static bool get_resize(struct bytes_reader *reader, struct wire_resize *resize)
{
    resize->data_bytes = bytes_get64(reader);
    resize->marked_end = bytes_get64(reader);
    return get_text(reader, resize->reason, sizeof resize->reason) &&
           resize->data_bytes <= METADATA_DATA_BYTES_MAX &&
           resize->marked_end <= METADATA_DATA_BYTES_MAX;
}

/* The body is decoded into a copy, so that a failure leaves *message as it was. */
int wire_decode_body(const uint8_t *body, uint32_t body_bytes, struct wire_message *message,
                     struct replica_error *error)
{
    struct bytes_reader reader = bytes_reader(body, body_bytes);
    struct wire_message found = *message;
    bool good = true;

    switch (found.type) {
    case WIRE_HELLO:
        good = get_hello(&reader, &found.hello);
        break;
    case WIRE_STATE:
        good = get_state(&reader, &found.state);
        break;
    case WIRE_REFUSE:
    case WIRE_HANDOVER:
        good = get_refuse(&reader, &found.refuse);
        break;
    case WIRE_RESIZE:
    case WIRE_RESIZE_ACK:
        good = get_resize(&reader, &found.resize);
        break;
    case WIRE_BITMAP:
        found.bitmap_block = body;
        reader.failed = body_bytes != METADATA_BLOCK_BYTES;
        reader.next = reader.end;
        break;
    case WIRE_VERIFY_SUM:
    case WIRE_RESYNC_SUM:
        bytes_get_raw(&reader, found.digest, WIRE_DIGEST_BYTES);
        break;
    default: /* every other type is a header alone */
        break;
    }
    if (!good || reader.failed || reader.next != reader.end)
        return err_set(error, REPLICA_E_PROTOCOL, "%s with an impossible body",
                       wire_type_name(found.type));
    *message = found;
    return 0;
}
