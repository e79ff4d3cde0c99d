/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_wire.c - see nbd_wire.h.
 *
 * Negotiation ("fixed newstyle"), S: server, C: client
 *
 *   S  "NBDMAGIC" "IHAVEOPT" flags:16
 *   C  flags:32
 *   C  "IHAVEOPT" option:32 length:32 data        as often as it likes
 *   S  0x3e889045565a9 option:32 type:32 length:32 data    one or more for each option
 *   ...until NBD_OPT_GO is acknowledged or NBD_OPT_EXPORT_NAME is answered (its answer, size:64
 *   flags:16 and 124 zeroes, has no way to say no: then the connection is closed).
 *
 * Transmission
 *
 *   request   0x25609513 flags:16 type:16 handle:64 offset:64 length:32 [payload of a write]
 *   simple    0x67446698 error:32 handle:64 [data of a read]
 *   chunk     0x668e33ef flags:16 type:16 handle:64 length:32 data
 */
#include "nbd_wire.h"

#include <string.h>

#include "libreplica/words.h"

#define NBD_MAGIC UINT64_C(0x4e42444d41474943)
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054)
#define NBD_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define NBD_SIMPLE_MAGIC UINT32_C(0x67446698)
#define NBD_CHUNK_MAGIC UINT32_C(0x668e33ef)

enum {
    HANDSHAKE_FIXED_NEWSTYLE = 1 << 0, /* the same bits in the server's and the client's flags */
    HANDSHAKE_NO_ZEROES = 1 << 1,
    EXPORT_NAME_ZEROES = 124,

    OPTION_EXPORT_NAME = 1,
    OPTION_ABORT = 2,
    OPTION_LIST = 3,
    OPTION_INFO = 6,
    OPTION_GO = 7,
    OPTION_STRUCTURED_REPLY = 8,

    INFO_EXPORT = 0,
    INFO_NAME = 1,
    INFO_BLOCK_SIZE = 3,

    CHUNK_DONE = 1 << 0,
    CHUNK_OFFSET_DATA = 1,
    CHUNK_ERROR = (1 << 15) + 1
};

/* Answers to an option. */
#define REP_ACK UINT32_C(1)
#define REP_SERVER UINT32_C(2)
#define REP_INFO UINT32_C(3)
#define REP_ERR_UNSUP UINT32_C(0x80000001)
#define REP_ERR_POLICY UINT32_C(0x80000002)
#define REP_ERR_INVALID UINT32_C(0x80000003)
#define REP_ERR_UNKNOWN UINT32_C(0x80000006)
#define REP_ERR_SHUTDOWN UINT32_C(0x80000007)
#define REP_ERR_TOO_BIG UINT32_C(0x80000009)

/* What the export can do. CAN_MULTI_CONN is true: a flush covers every write that was answered,
 * whichever connection it came by, and there is no cache of ours in between. */
enum {
    EXPORT_HAS_FLAGS = 1 << 0,
    EXPORT_SEND_FLUSH = 1 << 2,
    EXPORT_SEND_FUA = 1 << 3,
    EXPORT_SEND_TRIM = 1 << 5,
    EXPORT_SEND_WRITE_ZEROES = 1 << 6,
    EXPORT_SEND_DF = 1 << 7,
    EXPORT_CAN_MULTI_CONN = 1 << 8
};

/* ---- big-endian fields over the little-endian cursors --------------------------------------- */

static uint16_t get16(struct bytes_reader *in)
{
    return __builtin_bswap16(bytes_get16(in));
}
static uint32_t get32(struct bytes_reader *in)
{
    return __builtin_bswap32(bytes_get32(in));
}
static uint64_t get64(struct bytes_reader *in)
{
    return __builtin_bswap64(bytes_get64(in));
}
static void put16(struct bytes_writer *out, unsigned value)
{
    bytes_put16(out, __builtin_bswap16((uint16_t)value));
}
static void put32(struct bytes_writer *out, uint32_t value)
{
    bytes_put32(out, __builtin_bswap32(value));
}
static void put64(struct bytes_writer *out, uint64_t value)
{
    bytes_put64(out, __builtin_bswap64(value));
}

/* ---- negotiation --------------------------------------------------------------------------- */

static void expect(struct nbd_negotiation *negotiation, enum nbd_stage stage, uint32_t want)
{
    negotiation->stage = stage;
    negotiation->have = 0;
    negotiation->want = want;
}

static void answer_head(const struct nbd_negotiation *negotiation, struct bytes_writer *out,
                        uint32_t type, size_t length)
{
    put64(out, NBD_REPLY_MAGIC);
    put32(out, negotiation->option);
    put32(out, type);
    put32(out, (uint32_t)length);
}

static void answer_text(const struct nbd_negotiation *negotiation, struct bytes_writer *out,
                        uint32_t type, const char *text)
{
    size_t length = strnlen(text, NBD_ANSWER_MAX / 2);

    answer_head(negotiation, out, type, length);
    bytes_put_raw(out, text, length);
}

static uint16_t export_flags(const struct nbd_negotiation *negotiation,
                             const struct nbd_export *export)
{
    unsigned flags = EXPORT_HAS_FLAGS | EXPORT_SEND_FLUSH | EXPORT_SEND_FUA |
                     EXPORT_SEND_WRITE_ZEROES | EXPORT_CAN_MULTI_CONN;

    if (export->discards)
        flags |= EXPORT_SEND_TRIM;
    if (negotiation->structured)
        flags |= EXPORT_SEND_DF;
    return (uint16_t)flags;
}

static bool export_named(const struct nbd_export *export, const uint8_t *name, size_t length)
{
    return length == 0 ||
           (length == strlen(export->name) && memcmp(name, export->name, length) == 0);
}

static void option_export_name(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                               struct bytes_writer *out)
{
    static const uint8_t zeroes[EXPORT_NAME_ZEROES];

    if (export->refusal || !export_named(export, negotiation->input, negotiation->have)) {
        negotiation->stage = NBD_STAGE_CLOSED;
        return;
    }
    put64(out, export->size);
    put16(out, export_flags(negotiation, export));
    if (!negotiation->no_zeroes)
        bytes_put_raw(out, zeroes, sizeof zeroes);
    negotiation->stage = NBD_STAGE_TRANSMISSION;
}

static void answer_list(const struct nbd_negotiation *negotiation, const struct nbd_export *export,
                        struct bytes_writer *out)
{
    size_t length = strlen(export->name);

    answer_head(negotiation, out, REP_SERVER, 4 + length);
    put32(out, (uint32_t)length);
    bytes_put_raw(out, export->name, length);
    answer_text(negotiation, out, REP_ACK, "");
}

static void answer_infos(const struct nbd_negotiation *negotiation, const struct nbd_export *export,
                         bool name_wanted, struct bytes_writer *out)
{
    size_t length = strlen(export->name);

    answer_head(negotiation, out, REP_INFO, 12);
    put16(out, INFO_EXPORT);
    put64(out, export->size);
    put16(out, export_flags(negotiation, export));
    answer_head(negotiation, out, REP_INFO, 14);
    put16(out, INFO_BLOCK_SIZE);
    put32(out, NBD_BLOCK_MIN);
    put32(out, NBD_BLOCK_PREFERRED);
    put32(out, NBD_PAYLOAD_MAX);
    if (name_wanted) {
        answer_head(negotiation, out, REP_INFO, 2 + length);
        put16(out, INFO_NAME);
        bytes_put_raw(out, export->name, length);
    }
    answer_text(negotiation, out, REP_ACK, "");
}

/* NBD_OPT_INFO and NBD_OPT_GO: the same question, but GO also begins the transmission. */
static void option_info(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                        struct bytes_writer *out)
{
    struct bytes_reader in = bytes_reader(negotiation->input, negotiation->have);
    uint32_t name_bytes = get32(&in);
    const uint8_t *name = in.next;
    bool name_wanted = false;
    unsigned infos;

    if (in.failed || name_bytes > (size_t)(in.end - in.next)) {
        answer_text(negotiation, out, REP_ERR_INVALID, "the option is shorter than its fields");
        return;
    }
    in.next += name_bytes;
    infos = get16(&in);
    for (unsigned i = 0; i < infos && !in.failed; i++)
        name_wanted |= get16(&in) == INFO_NAME;
    if (in.failed || in.next != in.end) {
        answer_text(negotiation, out, REP_ERR_INVALID, "the option's length is wrong");
    } else if (!export_named(export, name, name_bytes)) {
        answer_text(negotiation, out, REP_ERR_UNKNOWN,
                    "no such export; its name is the resource's, or empty");
    } else if (export->refusal) {
        answer_text(negotiation, out, export->closing ? REP_ERR_SHUTDOWN : REP_ERR_POLICY,
                    export->refusal);
    } else {
        answer_infos(negotiation, export, name_wanted, out);
        if (negotiation->option == OPTION_GO)
            negotiation->stage = NBD_STAGE_TRANSMISSION;
    }
}

/* LIST and STRUCTURED_REPLY come without data. */
static void option_empty(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                         struct bytes_writer *out)
{
    if (negotiation->have != 0) {
        answer_text(negotiation, out, REP_ERR_INVALID, "this option has no data");
    } else if (negotiation->option == OPTION_LIST) {
        answer_list(negotiation, export, out);
    } else {
        negotiation->structured = true;
        answer_text(negotiation, out, REP_ACK, "");
    }
}

/* A whole option is in `input`. */
static void option_handle(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                          struct bytes_writer *out)
{
    negotiation->stage = NBD_STAGE_OPTION_HEADER; /* unless the option ends the negotiation */
    switch (negotiation->option) {
    case OPTION_EXPORT_NAME:
        option_export_name(negotiation, export, out);
        break;
    case OPTION_ABORT:
        answer_text(negotiation, out, REP_ACK, "");
        negotiation->stage = NBD_STAGE_CLOSED;
        break;
    case OPTION_LIST:
    case OPTION_STRUCTURED_REPLY:
        option_empty(negotiation, export, out);
        break;
    case OPTION_INFO:
    case OPTION_GO:
        option_info(negotiation, export, out);
        break;
    default:
        answer_text(negotiation, out, REP_ERR_UNSUP, "not known here");
        break;
    }
    expect(negotiation, negotiation->stage, 16);
}

static void option_header(struct nbd_negotiation *negotiation, struct bytes_writer *out)
{
    struct bytes_reader in = bytes_reader(negotiation->input, 16);
    uint64_t magic = get64(&in);
    uint32_t option = get32(&in), length = get32(&in);

    negotiation->option = option;
    negotiation->skip = length;
    if (magic != NBD_OPTION_MAGIC || ++negotiation->options_seen > NBD_OPTIONS_MAX ||
        (!negotiation->fixed_newstyle && option != OPTION_EXPORT_NAME)) {
        negotiation->stage = NBD_STAGE_CLOSED;
    } else if (length <= NBD_OPTION_DATA_MAX) {
        expect(negotiation, NBD_STAGE_OPTION_DATA, length);
    } else if (option == OPTION_EXPORT_NAME) {
        negotiation->stage = NBD_STAGE_CLOSED;
    } else {
        answer_text(negotiation, out, REP_ERR_TOO_BIG, "too much option data");
        expect(negotiation, NBD_STAGE_OPTION_SKIP, 0);
    }
}

static void client_flags(struct nbd_negotiation *negotiation)
{
    struct bytes_reader in = bytes_reader(negotiation->input, 4);
    uint32_t flags = get32(&in);

    negotiation->fixed_newstyle = flags & HANDSHAKE_FIXED_NEWSTYLE;
    negotiation->no_zeroes = flags & HANDSHAKE_NO_ZEROES;
    if (flags & ~(uint32_t)(HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES))
        negotiation->stage = NBD_STAGE_CLOSED; /* the protocol: drop who knows more than us */
    else
        expect(negotiation, NBD_STAGE_OPTION_HEADER, 16);
}

/* Moves input on. True when what the stage waits for is complete. */
static bool stage_complete(struct nbd_negotiation *negotiation, struct bytes_reader *in)
{
    size_t there = (size_t)(in->end - in->next);
    uint32_t need = negotiation->want - negotiation->have;

    if (negotiation->stage == NBD_STAGE_OPTION_SKIP) {
        uint32_t gone = there < negotiation->skip ? (uint32_t)there : negotiation->skip;

        in->next += gone;
        negotiation->skip -= gone;
        return negotiation->skip == 0;
    }
    if (need > there)
        need = (uint32_t)there;
    bytes_get_raw(in, negotiation->input + negotiation->have, need);
    negotiation->have += need;
    return negotiation->have == negotiation->want;
}

void nbd_negotiate(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                   struct bytes_reader *in, struct bytes_writer *out)
{
    while (out->end - out->next >= NBD_ANSWER_MAX) {
        if (negotiation->stage >= NBD_STAGE_TRANSMISSION || !stage_complete(negotiation, in))
            return;
        switch (negotiation->stage) {
        case NBD_STAGE_CLIENT_FLAGS:
            client_flags(negotiation);
            break;
        case NBD_STAGE_OPTION_HEADER:
            option_header(negotiation, out);
            break;
        case NBD_STAGE_OPTION_DATA:
            option_handle(negotiation, export, out);
            break;
        case NBD_STAGE_OPTION_SKIP:
            expect(negotiation, NBD_STAGE_OPTION_HEADER, 16);
            break;
        case NBD_STAGE_TRANSMISSION:
        case NBD_STAGE_CLOSED:
        case NBD_STAGE_COUNT:
            return;
        }
    }
}

void nbd_negotiation_begin(struct nbd_negotiation *negotiation, struct bytes_writer *out)
{
    memset(negotiation, 0, sizeof *negotiation);
    expect(negotiation, NBD_STAGE_CLIENT_FLAGS, 4);
    put64(out, NBD_MAGIC);
    put64(out, NBD_OPTION_MAGIC);
    put16(out, HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES);
}

/* ---- requests ------------------------------------------------------------------------------ */

int nbd_request_decode(const uint8_t bytes[NBD_REQUEST_BYTES], struct nbd_request *request)
{
    struct bytes_reader in = bytes_reader(bytes, NBD_REQUEST_BYTES);

    if (get32(&in) != NBD_REQUEST_MAGIC)
        return REPLICA_E_PROTOCOL;
    request->flags = get16(&in);
    request->type = get16(&in);
    request->handle = get64(&in);
    request->offset = get64(&in);
    request->length = get32(&in);
    return 0;
}

static unsigned flags_allowed(uint16_t type, bool structured)
{
    switch (type) {
    case NBD_CMD_READ: /* FUA means nothing here, and the protocol has us bear it */
        return NBD_CMD_FLAG_FUA | (structured ? NBD_CMD_FLAG_DF : 0u);
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE;
    default:
        return NBD_CMD_FLAG_FUA;
    }
}

enum nbd_error nbd_request_check(const struct nbd_request *request, uint64_t size, bool structured)
{
    bool writes = request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES;
    bool payload = request->type == NBD_CMD_WRITE || request->type == NBD_CMD_READ;

    if (request->flags & ~flags_allowed(request->type, structured))
        return NBD_EINVAL;
    if (request->type == NBD_CMD_FLUSH)
        return request->offset || request->length ? NBD_EINVAL : NBD_OK;
    if (!payload && request->type != NBD_CMD_TRIM && request->type != NBD_CMD_WRITE_ZEROES)
        return NBD_EINVAL;
    if (request->length == 0 || request->length % NBD_BLOCK_MIN || request->offset % NBD_BLOCK_MIN)
        return NBD_EINVAL;
    if (request->offset > size || request->length > size - request->offset)
        return writes ? NBD_ENOSPC : NBD_EINVAL;
    if (payload && request->length > NBD_PAYLOAD_MAX)
        return NBD_EINVAL;
    if ((request->flags & NBD_CMD_FLAG_DF) && request->length > NBD_UNFRAGMENTED_MAX)
        return NBD_EOVERFLOW;
    return NBD_OK;
}

/* ---- replies ------------------------------------------------------------------------------- */

uint32_t nbd_simple_reply(uint8_t *head, uint64_t handle, enum nbd_error error)
{
    struct bytes_writer out = bytes_writer(head, NBD_HEAD_MAX);

    put32(&out, NBD_SIMPLE_MAGIC);
    put32(&out, error);
    put64(&out, handle);
    return (uint32_t)(out.next - head);
}

static struct bytes_writer chunk_head(uint8_t *head, uint64_t handle, unsigned flags, unsigned type,
                                      uint32_t length)
{
    struct bytes_writer out = bytes_writer(head, NBD_HEAD_MAX);

    put32(&out, NBD_CHUNK_MAGIC);
    put16(&out, flags);
    put16(&out, type);
    put64(&out, handle);
    put32(&out, length);
    return out;
}

uint32_t nbd_chunk_data(uint8_t *head, uint64_t handle, bool done, uint64_t offset, uint32_t length)
{
    struct bytes_writer out =
        chunk_head(head, handle, done ? CHUNK_DONE : 0, CHUNK_OFFSET_DATA, 8 + length);

    put64(&out, offset);
    return (uint32_t)(out.next - head);
}

uint32_t nbd_chunk_error(uint8_t *head, uint64_t handle, enum nbd_error error, const char *text)
{
    size_t length = strnlen(text, NBD_HEAD_MAX - 26);
    struct bytes_writer out =
        chunk_head(head, handle, CHUNK_DONE, CHUNK_ERROR, (uint32_t)(6 + length));

    put32(&out, error);
    put16(&out, (unsigned)length);
    bytes_put_raw(&out, text, length);
    return (uint32_t)(out.next - head);
}

enum nbd_error nbd_error_of(int code)
{
    switch (code) {
    case REPLICA_OK:
        return NBD_OK;
    case REPLICA_E_READ_ONLY:
    case REPLICA_E_STATE:
    case REPLICA_E_PERMISSION:
        return NBD_EPERM;
    case REPLICA_E_MEMORY:
        return NBD_ENOMEM;
    case REPLICA_E_INVALID:
    case REPLICA_E_RANGE:
        return NBD_EINVAL;
    case REPLICA_E_NO_SPACE:
        return NBD_ENOSPC;
    case REPLICA_E_UNSUPPORTED:
        return NBD_ENOTSUP;
    case REPLICA_E_SHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}
