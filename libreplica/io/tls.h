/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tls.h - TLS 1.3 over memory: bytes from the network go in, bytes for the network come out, no
 * socket is touched. Both sides prove themselves: by a pre-shared key (a resource's own), or by
 * X.509 certificates under a pinned authority and with a fixed name (P10).
 *
 * No resumption, no tickets, no early data, no renegotiation. Each side changes its own sending key
 * every rekey_records records, long before the limit of its cipher (RFC 8446, section 5.5).
 */
#ifndef IO_TLS_H
#define IO_TLS_H

#include "config.h"

enum tls_limits {
    TLS_RECORD_BYTES = 16384,           /* plain text in one record */
    TLS_RECORD_ROOM = 16384 + 1024,     /* what must be free in the output before tls_write */
    TLS_REKEY_RECORDS_DEFAULT = 1 << 23 /* RFC 8446: 2^24.5 full records for AES-GCM */
};

struct tls_context; /* keys and rules of one resource */
struct tls;         /* one stream */

/* Where encrypted bytes are put. The stream's owner lends it and empties it. */
struct tls_output {
    uint8_t *data;
    size_t used, size;
};

/* Reads the key or certificate files.
 * Errors: REPLICA_E_NOT_FOUND, REPLICA_E_PERMISSION (owner or mode of a secret file, with the
 * command that corrects it), REPLICA_E_INVALID (contents), REPLICA_E_TLS, REPLICA_E_MEMORY.
 * Ownership: *context is freed with tls_context_free, after its streams. */
int tls_context_new(struct tls_context **context, const struct config_resource *resource,
                    struct replica_error *error);
void tls_context_free(struct tls_context *context);

/* `output` is borrowed. Errors: REPLICA_E_MEMORY. Ownership: *tls is freed with tls_free. */
int tls_new(struct tls **tls, struct tls_context *context, bool client, struct tls_output *output);
void tls_free(struct tls *tls);
void tls_set_output(struct tls *tls, struct tls_output *output);

/* Lends encrypted bytes; tls_handshake and tls_read take from them. tls_input_left says how many
 * are not taken yet; only at 0 may more be lent. */
void tls_input(struct tls *tls, const uint8_t *data, size_t length);
size_t tls_input_left(const struct tls *tls);

/* Goes as far as the input allows. *done turns true when both sides have proved themselves.
 * Errors: REPLICA_E_TLS; `error` continues a sentence that begins with the peer's address. */
int tls_handshake(struct tls *tls, bool *done, struct replica_error *error);

/* Decrypts at most `length` bytes straight to `place`; *got is 0 when more input is needed.
 * Errors: REPLICA_E_TLS (altered record, alert), REPLICA_E_LINK (the peer said goodbye). */
int tls_read(struct tls *tls, void *place, uint32_t length, uint32_t *got,
             struct replica_error *error);

/* Encrypts `length` (at most TLS_RECORD_BYTES) bytes as one record into the output, which has
 * TLS_RECORD_ROOM free. Errors: REPLICA_E_TLS. */
int tls_write(struct tls *tls, const void *data, uint32_t length, struct replica_error *error);

/* A goodbye, if there is room. */
void tls_goodbye(struct tls *tls);

uint64_t tls_key_updates(const struct tls *tls); /* of our sending key */
const char *tls_cipher(const struct tls *tls);

#endif
