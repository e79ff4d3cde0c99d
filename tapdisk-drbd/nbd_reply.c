/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_reply.c - the way out: replies are queued as their requests end and sent together, once a
 * turn of the loop, straight out of the replica buffers.
 *
 * Where structured replies were agreed on, a read is answered in chunks, in the order in which
 * its parts end, and an error has a text. A success without data is a simple reply in any case:
 * the protocol allows it, and it is the shorter one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "nbd_private.h"

enum { SEND_VECTORS = 64 };

static void reply_queue(struct nbd_client *client, struct nbd_reply *reply)
{
    reply->next = NULL;
    *client->reply_tail = reply;
    client->reply_tail = &reply->next;
}

static void error_text(const struct nbd_command *command, char *text, size_t bytes)
{
    if (command->code)
        (void)snprintf(text, bytes, "%s", replica_code_name(command->code));
    else if (command->error == NBD_EOVERFLOW)
        (void)snprintf(text, bytes, "an unfragmented read has at most %d bytes",
                       NBD_UNFRAGMENTED_MAX);
    else
        (void)snprintf(text, bytes, "out of range, not aligned to %d bytes, or not known",
                       NBD_BLOCK_MIN);
}

void nbd_reply_end(struct nbd_client *client, struct nbd_command *command)
{
    struct nbd_reply *reply = &command->reply;
    char text[NBD_HEAD_MAX];

    if (client->state == NBD_CLIENT_GONE) {
        nbd_command_release(client, command);
        return;
    }
    if (command->error && client->negotiation.structured) {
        error_text(command, text, sizeof text);
        reply->head_bytes =
            nbd_chunk_error(reply->head, command->request.handle, command->error, text);
    } else {
        reply->head_bytes = nbd_simple_reply(reply->head, command->request.handle, command->error);
    }
    reply->data_bytes = 0;
    reply->part = NULL;
    reply->command = command;
    reply_queue(client, reply);
}

void nbd_reply_data(struct nbd_client *client, struct nbd_part *part, bool last)
{
    struct nbd_reply *reply = &part->reply;
    struct nbd_command *command = part->command;

    reply->head_bytes = 0;
    if (client->negotiation.structured)
        reply->head_bytes = nbd_chunk_data(reply->head, command->request.handle, last,
                                           part->request.offset, part->request.length);
    else if (!command->answered)
        reply->head_bytes = nbd_simple_reply(reply->head, command->request.handle, NBD_OK);
    command->answered = true;
    reply->data_bytes = part->request.length;
    reply->part = part;
    reply->command = last ? command : NULL;
    reply_queue(client, reply);
}

static void reply_sent(struct nbd_client *client)
{
    struct nbd_reply *reply = client->reply_head;
    struct nbd_command *command = reply->command;
    struct nbd_part *part = reply->part;

    client->reply_head = reply->next;
    if (!client->reply_head)
        client->reply_tail = &client->reply_head;
    client->reply_sent = 0;
    if (part)
        nbd_part_release(client, part);
    if (command)
        nbd_command_release(client, command);
}

void nbd_reply_drop(struct nbd_client *client)
{
    while (client->reply_head)
        reply_sent(client);
    client->answer_sent = client->answer_bytes = 0;
}

bool nbd_reply_pending(const struct nbd_client *client)
{
    return client->reply_head || client->answer_sent < client->answer_bytes;
}

/* Adds [data, data + bytes) without its first *skip bytes. */
static void vector_add(struct iovec *vectors, unsigned *count, void *data, uint32_t bytes,
                       uint32_t *skip)
{
    uint32_t gone = *skip < bytes ? *skip : bytes;

    *skip -= gone;
    if (bytes > gone)
        vectors[(*count)++] =
            (struct iovec){.iov_base = (uint8_t *)data + gone, .iov_len = bytes - gone};
}

static unsigned replies_gather(struct nbd_client *client, struct iovec *vectors)
{
    uint32_t skip = client->answer_sent;
    unsigned count = 0;

    vector_add(vectors, &count, client->answers, client->answer_bytes, &skip);
    skip = client->reply_sent;
    for (struct nbd_reply *reply = client->reply_head; reply && count + 2 <= SEND_VECTORS;
         reply = reply->next) {
        vector_add(vectors, &count, reply->head, reply->head_bytes, &skip);
        if (reply->data_bytes)
            vector_add(vectors, &count, replica_buffer_data(reply->part->buffer), reply->data_bytes,
                       &skip);
    }
    return count;
}

/* `bytes` of what was gathered are out. */
static void replies_advance(struct nbd_client *client, size_t bytes)
{
    size_t answers = client->answer_bytes - client->answer_sent;

    if (answers > bytes)
        answers = bytes;
    client->answer_sent += (uint32_t)answers;
    bytes -= answers;
    if (client->answer_sent == client->answer_bytes)
        client->answer_sent = client->answer_bytes = 0;
    while (client->reply_head) {
        struct nbd_reply *reply = client->reply_head;
        size_t left = (size_t)reply->head_bytes + reply->data_bytes - client->reply_sent;

        if (left > bytes) {
            client->reply_sent += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        reply_sent(client);
    }
}

static void writable(void *argument, uint32_t events)
{
    (void)events;
    nbd_reply_send(argument);
}

/* The socket is full: go on when it has room, but not for ever. */
static void wait_writable(struct nbd_client *client)
{
    struct nbd *nbd = client->nbd;

    if (client->state != NBD_CLIENT_NEGOTIATING)
        nbd_client_deadline(client, NBD_STALL_SECONDS);
    if (!client->writing &&
        replica_loop_watch(nbd->loop, client->fd, true, writable, client, &client->writing) != 0)
        nbd_client_break(client);
}

static void all_sent(struct nbd_client *client)
{
    if (client->writing) {
        replica_loop_unwatch(client->writing);
        client->writing = NULL;
        if (client->state != NBD_CLIENT_NEGOTIATING)
            nbd_client_deadline(client, 0);
    }
    nbd_client_resume(client);
}

void nbd_reply_send(struct nbd_client *client)
{
    struct iovec vectors[SEND_VECTORS];
    struct msghdr message = {.msg_iov = vectors};
    ssize_t sent;

    while (client->state != NBD_CLIENT_GONE && nbd_reply_pending(client)) {
        message.msg_iovlen = replies_gather(client, vectors);
        sent = sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            replies_advance(client, (size_t)sent);
        } else if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            wait_writable(client);
            return;
        } else if (sent == 0 || errno != EINTR) {
            nbd_client_break(client);
        }
    }
    if (client->state != NBD_CLIENT_GONE)
        all_sent(client);
}
