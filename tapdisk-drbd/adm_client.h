/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_client.h - one connection to a resource's control socket (libreplica/io/control.h). */
#ifndef TAPDISK_ADM_CLIENT_H
#define TAPDISK_ADM_CLIENT_H

#include <jansson.h>
#include <sys/types.h>

#include "libreplica/io/control.h"

struct adm_client {
    int fd;
    pid_t pid; /* of the daemon */
    bool told; /* the person: why there is no answer yet */
    size_t used;
    char line[CONTROL_LINE_MAX + 1];
};

/* Errors: REPLICA_E_NOT_FOUND (nobody serves the resource), REPLICA_E_PERMISSION,
 * REPLICA_E_SYSTEM. */
int adm_client_open(struct adm_client *client, const char *run_dir, const char *resource,
                    struct replica_error *error);
void adm_client_close(struct adm_client *client);

/* Sends one request. Takes the reference to `request`. */
int adm_client_send(struct adm_client *client, json_t *request, struct replica_error *error);

/* Reads one line, an object, waiting at most `timeout_ms` (-1: for ever). *answer is a new
 * reference. Errors: REPLICA_E_TIMEOUT, REPLICA_E_SHUTDOWN (the daemon hung up),
 * REPLICA_E_PROTOCOL, REPLICA_E_SYSTEM. */
int adm_client_receive(struct adm_client *client, int timeout_ms, json_t **answer,
                       struct replica_error *error);

/* The clock of the time-outs. */
int64_t adm_client_now_ms(void);

/* Whether a whole line is here already, without reading. */
bool adm_client_pending(const struct adm_client *client);

/* The code and text of an answer that is not "ok"; 0: it is. */
int adm_client_answer_code(const json_t *answer, struct replica_error *error);

/* Asks one question: open, send, receive, close. *answer (may be NULL) is a new reference. */
int adm_client_ask(const char *run_dir, const char *resource, json_t *request, int timeout_ms,
                   json_t **answer, struct replica_error *error);

#endif
