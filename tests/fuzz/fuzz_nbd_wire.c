/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_nbd_wire.c - the NBD negotiation and the request decoder, fed by a hostile client.
 *
 * The first byte says how (bit 0: the export is refused; the rest: how many bytes come at once),
 * the others are the client's stream.
 */
#include <stdlib.h>
#include <string.h>

#include "tapdisk-drbd/nbd_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXPORT_BYTES = 1 << 30 };

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void replies_check(const struct nbd_request *request, enum nbd_error error)
{
    uint8_t head[NBD_HEAD_MAX];

    must(nbd_simple_reply(head, request->handle, error) == 16);
    must(nbd_chunk_data(head, request->handle, true, request->offset, request->length) == 28);
    must(nbd_chunk_error(head, request->handle, error, "text") == 30);
}

static void request_check(const uint8_t *bytes, bool structured)
{
    struct nbd_request request;
    enum nbd_error error;

    if (nbd_request_decode(bytes, &request) != 0)
        return;
    error = nbd_request_check(&request, EXPORT_BYTES, structured);
    if (error == NBD_OK && request.type != NBD_CMD_FLUSH) {
        must(request.length > 0 && request.offset < EXPORT_BYTES);
        must(request.length <= EXPORT_BYTES - request.offset);
        must(request.offset % NBD_BLOCK_MIN == 0 && request.length % NBD_BLOCK_MIN == 0);
    }
    replies_check(&request, error);
}

/* Hands in a piece; what is sent back is thrown away as a socket would take it. */
static void piece_negotiate(struct nbd_negotiation *negotiation, const struct nbd_export *export,
                            struct bytes_reader *in)
{
    uint8_t room[2 * NBD_ANSWER_MAX];

    while (in->next < in->end && negotiation->stage < NBD_STAGE_TRANSMISSION) {
        struct bytes_writer out = bytes_writer(room, sizeof room);

        nbd_negotiate(negotiation, export, in, &out);
        must(!out.failed && !in->failed && negotiation->stage < NBD_STAGE_COUNT);
        must(negotiation->have <= sizeof negotiation->input);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbd_export export = {.name = "vm1", .size = EXPORT_BYTES};
    struct nbd_negotiation negotiation;
    uint8_t greeting[32];
    struct bytes_writer out = bytes_writer(greeting, sizeof greeting);
    size_t step, used = 1;

    if (size == 0)
        return 0;
    export.refusal = data[0] & 1 ? "not Primary" : NULL;
    step = data[0] >> 1 ? data[0] >> 1 : SIZE_MAX;
    nbd_negotiation_begin(&negotiation, &out);
    while (used < size && negotiation.stage < NBD_STAGE_TRANSMISSION) {
        size_t now = size - used < step ? size - used : step;
        struct bytes_reader in = bytes_reader(data + used, now);

        piece_negotiate(&negotiation, &export, &in);
        used += (size_t)(in.next - (data + used));
    }
    must(!export.refusal || negotiation.stage != NBD_STAGE_TRANSMISSION);
    for (; size - used >= NBD_REQUEST_BYTES; used += NBD_REQUEST_BYTES)
        request_check(data + used, negotiation.structured);
    return 0;
}
