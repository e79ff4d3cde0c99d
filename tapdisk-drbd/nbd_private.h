/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd_private.h - what nbd.c (the server), nbd_client.c (requests), nbd_reply.c (replies)
 * and nbd_users.c (who the clients are) share.
 *
 * One client is one connection. It takes requests one after the other off its stream (`current`),
 * cuts each into parts of at most one replica buffer, submits the parts, and goes on with the next
 * request while they are under way. When the pool, the parts or its share of memory are used up
 * it stops reading the socket until something comes back. All memory is taken at accept, except
 * the buffers, which are the pool's.
 */
#ifndef TAPDISK_NBD_PRIVATE_H
#define TAPDISK_NBD_PRIVATE_H

#include "nbd.h"
#include "nbd_wire.h"

enum nbd_private_limits {
    NBD_CLIENTS_MAX = 16,
    NBD_COMMANDS = 128,         /* requests of one client under way */
    NBD_PARTS = 160,            /* their parts */
    NBD_CLIENT_BYTES = 2 << 20, /* of the pool, held by one client */
    NBD_INPUT_BYTES = 16 << 10, /* stream read ahead of its use */
    NBD_ANSWER_BYTES = 2048,    /* negotiation answers not yet sent */
    NBD_ZEROES_MAX = 1 << 30,   /* a part of a trim or write-zeroes */
    NBD_NEGOTIATION_SECONDS = 30,
    NBD_STALL_SECONDS = 60 /* a client that takes no reply for so long is closed */
};

/* Bytes on their way to the client; stands in a part or a command and keeps it until sent. */
struct nbd_reply {
    struct nbd_reply *next;
    uint8_t head[NBD_HEAD_MAX];
    uint32_t head_bytes;
    uint32_t data_bytes;   /* of the part's buffer */
    struct nbd_part *part; /* one of these two is given back when it was sent */
    struct nbd_command *command;
};

struct nbd_command {
    struct nbd_command *next; /* free list */
    struct nbd_request request;
    uint64_t offset;      /* of what is not yet in parts */
    uint32_t remaining;   /* bytes not yet in parts */
    uint32_t discard;     /* payload of a refused write, still in the stream */
    unsigned outstanding; /* parts in the library */
    bool answered;        /* some of its data is already queued (a long simple reply) */
    enum nbd_error error;
    int code; /* where `error` came from, for the text */
    struct nbd_reply reply;
};

struct nbd_part {
    struct nbd_part *next; /* free list */
    struct nbd_client *client;
    struct nbd_command *command;
    struct replica_request request;
    struct replica_buffer *buffer;
    uint32_t filled; /* bytes of the payload that have come */
    struct nbd_reply reply;
};

enum nbd_client_state {
    NBD_CLIENT_NEGOTIATING,
    NBD_CLIENT_SERVING,
    NBD_CLIENT_DRAINING, /* takes no more requests; replies still go out; then GONE */
    NBD_CLIENT_GONE      /* the socket is closed; freed when no part is in the library */
};

struct nbd_client {
    struct nbd *nbd;
    int fd;
    enum nbd_client_state state;
    struct replica_watch *reading, *writing; /* NULL: not watched */
    uint64_t deadline;                       /* UINT64_MAX: none */
    struct nbd_negotiation negotiation;
    uint64_t size; /* bytes, as the client was told; it keeps them when the disk gets larger */
    uint8_t answers[NBD_ANSWER_BYTES];
    uint32_t answer_bytes, answer_sent;
    uint8_t input[NBD_INPUT_BYTES];
    uint32_t input_begin, input_end;
    struct nbd_command *current; /* the request whose parts are being made */
    struct nbd_part *filling;    /* the part of a write whose payload is coming */
    bool starved;                /* waits for a part, a command or a buffer */
    int32_t process;             /* at the other end */
    bool held;                   /* nothing is taken from it: its guest stands still */
    uint32_t guest;              /* whose device model it is; valid while held */
    bool wrote;                  /* changed the disk */
    unsigned in_library;         /* parts submitted and not done */
    unsigned commands_used;
    uint32_t bytes_held; /* of the pool */
    struct nbd_reply *reply_head, **reply_tail;
    uint32_t reply_sent; /* bytes of reply_head that are out */
    struct nbd_command *free_commands, commands[NBD_COMMANDS];
    struct nbd_part *free_parts, parts[NBD_PARTS];
};

struct nbd {
    struct replica_loop *loop;
    struct replica *replica;
    char *path;
    int fd;
    struct replica_watch *accepting;
    struct replica_timer *timer;
    bool serving; /* Primary */
    bool stopped; /* nbd_stop: the socket is gone */
    bool room_wanted;
    bool paused;            /* nobody new is let in */
    nbd_guest_of *guest_of; /* may be NULL */
    void *guest_argument;
    struct nbd_client *clients[NBD_CLIENTS_MAX];
};

/* nbd.c */
void nbd_export_describe(const struct nbd *nbd, struct nbd_export *export);
void nbd_want_room(struct nbd *nbd);
/* The client is closed in so many seconds, unless told otherwise by then; 0: no deadline. */
void nbd_client_deadline(struct nbd_client *client, unsigned seconds);

/* nbd_client.c */
/* Ownership: takes `fd`, also on failure. NULL: no memory. */
struct nbd_client *nbd_client_new(struct nbd *nbd, int fd);
/* Takes no more requests; ends when its replies are out. */
void nbd_client_drain(struct nbd_client *client);
/* Closes the socket at once. What is in the library comes back later. */
void nbd_client_break(struct nbd_client *client);
/* Something it may have waited for is there again. */
void nbd_client_resume(struct nbd_client *client);
/* True when nothing refers to it any more: GONE, and no part in the library. */
bool nbd_client_over(const struct nbd_client *client);
void nbd_client_free(struct nbd_client *client);
void nbd_part_release(struct nbd_client *client, struct nbd_part *part);
void nbd_command_release(struct nbd_client *client, struct nbd_command *command);

/* nbd_users.c: the process that has connected; 0: nobody knows. */
int32_t nbd_process_of(int fd);

/* nbd_reply.c */
/* Queues the end of a command: its error or its success without data. Takes the command. */
void nbd_reply_end(struct nbd_client *client, struct nbd_command *command);
/* Queues the data of a read's part. `last`: the command's last. Takes the part. */
void nbd_reply_data(struct nbd_client *client, struct nbd_part *part, bool last);
/* Sends what is queued, as far as the socket takes it. */
void nbd_reply_send(struct nbd_client *client);
bool nbd_reply_pending(const struct nbd_client *client);
/* Forgets what is queued. */
void nbd_reply_drop(struct nbd_client *client);

#endif
