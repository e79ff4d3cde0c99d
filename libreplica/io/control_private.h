/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control_private.h - between control.c (clients and lines) and control_commands.c. */
#ifndef IO_CONTROL_PRIVATE_H
#define IO_CONTROL_PRIVATE_H

#include <jansson.h>
#include <sys/types.h>

#include "replica_private.h"

/* One request under way: lives until it is answered, also when its client has left. */
struct replica_control_request {
    struct control *control;       /* NULL: the control socket was closed meanwhile */
    struct control_client *client; /* NULL: it has left */
    struct replica_control_request *next, **link;
    bool (*satisfied)(struct replica *replica, int *code, const char **text); /* a waiter's */
    struct replica_timer *limit;                                              /* a waiter's */
    bool down, demotes;
};

struct control_client {
    struct control *control;
    struct control_client *next;
    int fd;
    struct replica_watch *readable, *writable;
    struct replica_control_request *request; /* under way */
    bool watching;
    bool gone;    /* hung up or thrown out; freed by the next sweep */
    bool ended;   /* nothing more comes from it */
    bool closing; /* once the output is gone */
    char *output;
    size_t output_used, input_used;
    char input[CONTROL_LINE_MAX];
};

struct control {
    struct replica_loop *loop;
    struct replica *replica;
    int fd;
    char path[128];
    dev_t device;
    ino_t inode;
    struct replica_watch *newcomers;
    struct control_client *clients;
    unsigned client_count;
    struct replica_control_request *requests;
    struct replica_timer *tell;  /* the next line to watchers */
    struct replica_timer *again; /* lines that wait in a client's input */
    uint64_t told_at;
};

/* ---- control.c: for the commands. `line` is consumed; a NULL closes the client -------------- */
void control_answer(struct replica_control_request *request, json_t *line);
void control_watch(struct control_client *client);

/* ---- control_commands.c: for the lines ------------------------------------------------------ */
void control_command(struct control_client *client, const json_t *object, const char *text);
json_t *control_error_json(int code, const char *text);
json_t *control_status_line(struct replica *replica);
bool control_request_waits(const struct replica_control_request *request); /* NULL: no */
void control_request_orphaned(struct replica_control_request *request);
void control_request_free(struct replica_control_request *request);
void control_check_waiters(struct control *control);
void control_abandon_requests(struct control *control);

#endif
