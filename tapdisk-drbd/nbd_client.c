/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_client.c - one connection: its stream, its requests, their parts. See nbd_private.h.
 *
 * The payload of a write is received straight into the buffer that goes to the disk and to the
 * peer; only the first bytes of it, which came in one piece with the request's head, are copied.
 *
 * A long read without structured replies is one run of bytes that nothing may interrupt. Such a
 * read waits until the client has no other request under way, and holds back those behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "nbd_private.h"

enum { RECEIVES_A_TURN = 4 };

/* ---- pools --------------------------------------------------------------------------------- */

static void pools_fill(struct nbd_client *client)
{
    for (unsigned i = 0; i < NBD_COMMANDS; i++) {
        client->commands[i].next = client->free_commands;
        client->free_commands = &client->commands[i];
    }
    for (unsigned i = 0; i < NBD_PARTS; i++) {
        client->parts[i].client = client;
        client->parts[i].next = client->free_parts;
        client->free_parts = &client->parts[i];
    }
}

void nbd_command_release(struct nbd_client *client, struct nbd_command *command)
{
    command->next = client->free_commands;
    client->free_commands = command;
    client->commands_used--;
}

void nbd_part_release(struct nbd_client *client, struct nbd_part *part)
{
    if (part->buffer) {
        replica_buffer_put(part->buffer);
        part->buffer = NULL;
        client->bytes_held -= part->request.length;
    }
    part->next = client->free_parts;
    client->free_parts = part;
}

/* ---- the end of requests -------------------------------------------------------------------- */

/* Every part of the command came back, and none is to come. */
static void command_finish(struct nbd_client *client, struct nbd_command *command)
{
    if (command->error && command->answered && !client->negotiation.structured)
        nbd_client_break(client); /* half of a simple reply is out: only this says "no" */
    nbd_reply_end(client, command);
}

static void part_done(struct replica_request *request, int code)
{
    struct nbd_part *part = request->owner;
    struct nbd_client *client = part->client;
    struct nbd_command *command = part->command;
    bool last;

    client->in_library--;
    command->outstanding--;
    if (code && !command->error) {
        command->error = nbd_error_of(code);
        command->code = code;
    }
    last = command->outstanding == 0 && command != client->current;
    if (request->op == REPLICA_OP_READ && !command->error && client->state != NBD_CLIENT_GONE) {
        nbd_reply_data(client, part, last);
        return;
    }
    nbd_part_release(client, part);
    if (last)
        command_finish(client, command);
}

/* ---- the making of parts --------------------------------------------------------------------- */

static enum replica_op op_of(uint16_t type)
{
    switch (type) {
    case NBD_CMD_WRITE:
        return REPLICA_OP_WRITE;
    case NBD_CMD_FLUSH:
        return REPLICA_OP_FLUSH;
    case NBD_CMD_TRIM:
        return REPLICA_OP_DISCARD;
    case NBD_CMD_WRITE_ZEROES:
        return REPLICA_OP_WRITE_ZEROES;
    default:
        return REPLICA_OP_READ;
    }
}

/* A buffer for the part, within the client's share. */
static bool part_buffer(struct nbd_client *client, struct nbd_part *part)
{
    uint32_t length = part->request.length;

    if (client->bytes_held + length > NBD_CLIENT_BYTES)
        return false;
    part->buffer = replica_buffer_get(client->nbd->replica, length);
    if (!part->buffer) {
        nbd_want_room(client->nbd);
        return false;
    }
    client->bytes_held += length;
    return true;
}

/* The next part of the current command; NULL: starved, try again later. */
static struct nbd_part *part_make(struct nbd_client *client)
{
    struct nbd_command *command = client->current;
    struct nbd_part *part = client->free_parts;
    enum replica_op op = op_of(command->request.type);
    bool payload = op == REPLICA_OP_READ || op == REPLICA_OP_WRITE;
    uint32_t most = payload ? (uint32_t)REPLICA_REQUEST_BYTES_MAX : (uint32_t)NBD_ZEROES_MAX;

    client->starved = true;
    if (!part)
        return NULL;
    part->command = command;
    part->filled = 0;
    part->request = (struct replica_request){
        .op = op,
        .fua = op != REPLICA_OP_READ && (command->request.flags & NBD_CMD_FLAG_FUA),
        .offset = command->offset,
        .length = command->remaining < most ? command->remaining : most,
        .done = part_done,
        .owner = part};
    if (payload && !part_buffer(client, part))
        return NULL;
    client->starved = false;
    part->request.buffer = part->buffer;
    client->free_parts = part->next;
    command->offset += part->request.length;
    command->remaining -= part->request.length;
    return part;
}

static void part_submit(struct nbd_client *client, struct nbd_part *part)
{
    part->command->outstanding++;
    client->in_library++;
    client->wrote |= part->request.op != REPLICA_OP_READ && part->request.op != REPLICA_OP_FLUSH;
    replica_submit(client->nbd->replica, &part->request);
}

/* All parts of the current command are made. */
static void current_made(struct nbd_client *client)
{
    struct nbd_command *command = client->current;

    client->current = NULL;
    if (command->outstanding == 0)
        command_finish(client, command);
}

/* A long read without structured replies: alone, one part at a time. */
static bool read_must_wait(struct nbd_client *client, const struct nbd_command *command)
{
    if (client->negotiation.structured || command->request.length <= REPLICA_REQUEST_BYTES_MAX)
        return false;
    return command->outstanding > 0 || client->commands_used > 1;
}

/* False: it has to wait. */
static bool advance_plain(struct nbd_client *client, struct nbd_command *command)
{
    struct nbd_part *part;

    do {
        if (command->error) {
            command->remaining = 0;
            break;
        }
        if (command->request.type == NBD_CMD_READ && read_must_wait(client, command)) {
            client->starved = true;
            return false;
        }
        part = part_make(client);
        if (!part)
            return false;
        part_submit(client, part);
    } while (command->remaining);
    current_made(client);
    return true;
}

static uint32_t input_there(const struct nbd_client *client)
{
    return client->input_end - client->input_begin;
}

/* Takes up to `bytes` of the input; `to` NULL throws them away. */
static uint32_t input_take(struct nbd_client *client, void *to, uint32_t bytes)
{
    uint32_t there = input_there(client);

    if (bytes > there)
        bytes = there;
    if (to)
        memcpy(to, client->input + client->input_begin, bytes);
    client->input_begin += bytes;
    return bytes;
}

static bool advance_write(struct nbd_client *client, struct nbd_command *command)
{
    while (command->remaining || client->filling) {
        struct nbd_part *part = client->filling;

        if (!part && command->error)
            break;
        if (!part)
            part = client->filling = part_make(client);
        if (!part)
            return false;
        part->filled +=
            input_take(client, (uint8_t *)replica_buffer_data(part->buffer) + part->filled,
                       part->request.length - part->filled);
        if (part->filled < part->request.length)
            return false;
        client->filling = NULL;
        part_submit(client, part);
    }
    command->discard += command->remaining;
    command->remaining = 0;
    command->discard -= input_take(client, NULL, command->discard);
    if (command->discard)
        return false;
    current_made(client);
    return true;
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* Takes the next request off the input as the current one. False: it is not there yet, or not
 * now. */
static bool request_take(struct nbd_client *client)
{
    struct nbd_command *command = client->free_commands;
    uint8_t bytes[NBD_REQUEST_BYTES];

    if (input_there(client) < NBD_REQUEST_BYTES)
        return false;
    client->starved = !command;
    if (!command)
        return false;
    (void)input_take(client, bytes, sizeof bytes);
    *command = (struct nbd_command){.next = command->next};
    if (nbd_request_decode(bytes, &command->request) != 0) {
        replica_log(client->nbd->replica, LOG_WARNING,
                    "nbd: a client sent something that is no request; closed it");
        nbd_client_break(client);
        return false;
    }
    if (command->request.type == NBD_CMD_DISC) {
        nbd_client_drain(client);
        return false;
    }
    client->free_commands = command->next;
    client->commands_used++;
    client->current = command;
    command->offset = command->request.offset;
    command->remaining = command->request.length;
    command->error =
        nbd_request_check(&command->request, client->size, client->negotiation.structured);
    return true;
}

static void requests_run(struct nbd_client *client)
{
    bool going = true;

    client->starved = false;
    while (going && client->state == NBD_CLIENT_SERVING && !client->held) {
        if (!client->current && !request_take(client))
            break;
        if (client->current->request.type == NBD_CMD_WRITE)
            going = advance_write(client, client->current);
        else
            going = advance_plain(client, client->current);
    }
}

static void negotiation_run(struct nbd_client *client)
{
    struct bytes_reader in = bytes_reader(client->input + client->input_begin, input_there(client));
    struct bytes_writer out = bytes_writer(client->answers + client->answer_bytes,
                                           NBD_ANSWER_BYTES - client->answer_bytes);
    struct nbd_export export;

    nbd_export_describe(client->nbd, &export);
    nbd_negotiate(&client->negotiation, &export, &in, &out);
    client->input_begin = (uint32_t)(in.next - client->input);
    client->answer_bytes = (uint32_t)(out.next - client->answers);
    client->starved = input_there(client) > 0; /* answers have to go first */
    if (client->negotiation.stage == NBD_STAGE_TRANSMISSION) {
        client->state = NBD_CLIENT_SERVING;
        client->size = export.size;
        nbd_client_deadline(client, 0);
    } else if (client->negotiation.stage == NBD_STAGE_CLOSED) {
        client->state = NBD_CLIENT_DRAINING;
    }
}

static void readable(void *argument, uint32_t events);

/* A held client's stream is read on, as far as there is room for it: that shows when it goes. */
static bool has_room(const struct nbd_client *client)
{
    return !client->held || input_there(client) < NBD_INPUT_BYTES;
}

/* Watches the socket just while something more can be taken from it. */
static void reading_update(struct nbd_client *client)
{
    bool wanted = client->state <= NBD_CLIENT_SERVING && !client->starved && has_room(client);

    if (wanted && !client->reading) {
        if (replica_loop_watch(client->nbd->loop, client->fd, false, readable, client,
                               &client->reading) != 0)
            nbd_client_break(client);
    } else if (!wanted && client->reading) {
        replica_loop_unwatch(client->reading);
        client->reading = NULL;
    }
}

void nbd_client_resume(struct nbd_client *client)
{
    if (client->state == NBD_CLIENT_NEGOTIATING)
        negotiation_run(client);
    if (client->state == NBD_CLIENT_SERVING)
        requests_run(client);
    reading_update(client);
}

/* True: there may be more in the socket. */
static bool receive(struct nbd_client *client)
{
    struct nbd_part *filling = client->filling;
    uint32_t direct = filling ? filling->request.length - filling->filled : 0, kept;
    struct iovec vectors[2];
    size_t count = 0, room;
    ssize_t got;

    kept = input_there(client);
    memmove(client->input, client->input + client->input_begin, kept);
    client->input_begin = 0;
    client->input_end = kept;
    if (filling)
        vectors[count++] = (struct iovec){
            .iov_base = (uint8_t *)replica_buffer_data(filling->buffer) + filling->filled,
            .iov_len = direct};
    vectors[count++] =
        (struct iovec){.iov_base = client->input + kept, .iov_len = NBD_INPUT_BYTES - kept};
    room = (size_t)direct + NBD_INPUT_BYTES - kept;
    got = recvmsg(client->fd, &(struct msghdr){.msg_iov = vectors, .msg_iovlen = count},
                  MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        nbd_client_drain(client);
        return false;
    }
    if ((size_t)got < direct)
        direct = (uint32_t)got;
    if (filling)
        filling->filled += direct;
    client->input_end += (uint32_t)((size_t)got - direct);
    return (size_t)got == room;
}

static void readable(void *argument, uint32_t events)
{
    struct nbd_client *client = argument;
    bool more = true;

    (void)events;
    for (unsigned i = 0; i < RECEIVES_A_TURN && more; i++) {
        more = receive(client);
        nbd_client_resume(client);
        more = more && client->reading;
    }
}

/* ---- beginning and end ------------------------------------------------------------------------
 */

struct nbd_client *nbd_client_new(struct nbd *nbd, int fd)
{
    struct nbd_client *client = calloc(1, sizeof *client);
    struct bytes_writer out;

    if (!client) {
        (void)close(fd);
        return NULL;
    }
    client->nbd = nbd;
    client->fd = fd;
    client->process = nbd_process_of(fd);
    client->reply_tail = &client->reply_head;
    pools_fill(client);
    out = bytes_writer(client->answers, NBD_ANSWER_BYTES);
    nbd_negotiation_begin(&client->negotiation, &out);
    client->answer_bytes = (uint32_t)(out.next - client->answers);
    client->deadline = UINT64_MAX;
    reading_update(client);
    return client;
}

/* Gives up the request that is being made; what the library has of it comes back later. */
static void current_abandon(struct nbd_client *client)
{
    struct nbd_command *command = client->current;

    if (client->filling)
        nbd_part_release(client, client->filling);
    client->filling = NULL;
    if (!command)
        return;
    if (!command->error)
        command->error = NBD_ESHUTDOWN;
    command->remaining = 0;
    current_made(client);
}

void nbd_client_drain(struct nbd_client *client)
{
    if (client->state == NBD_CLIENT_GONE)
        return;
    client->state = NBD_CLIENT_DRAINING;
    current_abandon(client);
    reading_update(client);
}

void nbd_client_break(struct nbd_client *client)
{
    if (client->state == NBD_CLIENT_GONE)
        return;
    client->state = NBD_CLIENT_GONE;
    nbd_client_deadline(client, 0);
    reading_update(client);
    if (client->writing)
        replica_loop_unwatch(client->writing);
    client->writing = NULL;
    (void)close(client->fd);
    client->fd = -1;
    nbd_reply_drop(client);
    current_abandon(client);
}

bool nbd_client_over(const struct nbd_client *client)
{
    return client->state == NBD_CLIENT_GONE && client->in_library == 0;
}

void nbd_client_free(struct nbd_client *client)
{
    free(client);
}
