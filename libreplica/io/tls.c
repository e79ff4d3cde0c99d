/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls.c - see tls.h. The only file that knows OpenSSL. */
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "libreplica/core/err.h"

enum { KEY_BYTES = 32 };

static const char identity_prefix[] = "tapdrbd:";

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio;
    bool psk;
    uint8_t key[KEY_BYTES];
    char identity[sizeof identity_prefix + REPLICA_NAME_MAX];
    char key_file[512];
    uint64_t rekey_records;
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct tls_output *output;
    const uint8_t *input;
    size_t input_left;
    bool client;
    bool spoke_tls;   /* a handshake message of the peer was understood */
    char foreign[64]; /* the identity a client offered, when it is not ours */
    uint64_t records, key_updates;
};

/* ---- secret files --------------------------------------------------------------------------- */

/* Opens a file that only we (or root) may read. */
static int open_secret(const char *path, const char *what, FILE **file, struct replica_error *error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && errno == ENOENT)
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "%s %s is missing; make one for both hosts with `tapdrbdadm pair`", what,
                       path);
    if (fd < 0)
        return err_set(error, REPLICA_E_PERMISSION, "%s %s: %s", what, path, strerror(errno));
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return err_set(error, REPLICA_E_INVALID, "%s %s is not a file", what, path);
    }
    if (status.st_uid != 0 && status.st_uid != geteuid()) {
        close(fd);
        return err_set(error, REPLICA_E_PERMISSION,
                       "%s %s belongs to another user; type: chown root: %s", what, path, path);
    }
    if (status.st_mode & (S_IRWXG | S_IRWXO)) {
        close(fd);
        return err_set(error, REPLICA_E_PERMISSION,
                       "%s %s is open to others (mode %04o); type: chmod 600 %s", what, path,
                       (unsigned)(status.st_mode & 07777), path);
    }
    *file = fdopen(fd, "r");
    if (*file)
        return 0;
    close(fd);
    return err_set(error, REPLICA_E_MEMORY, "out of memory");
}

static int hex_digit(int character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return -1;
}

/* 64 hex digits and at most a final newline. */
static int parse_key(const char *text, size_t length, uint8_t key[KEY_BYTES])
{
    if (length > 0 && text[length - 1] == '\n')
        length--;
    if (length != 2 * KEY_BYTES)
        return REPLICA_E_INVALID;
    for (size_t i = 0; i < KEY_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return REPLICA_E_INVALID;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int read_key(struct tls_context *context, struct replica_error *error)
{
    char text[2 * KEY_BYTES + 3];
    FILE *file;
    size_t length;
    int code = open_secret(context->key_file, "key file", &file, error);

    if (code != 0)
        return code;
    setvbuf(file, NULL, _IONBF, 0); /* no copy of the key in a stdio buffer */
    length = fread(text, 1, sizeof text, file);
    fclose(file);
    code = parse_key(text, length, context->key);
    OPENSSL_cleanse(text, sizeof text);
    if (code != 0)
        return err_set(error, code,
                       "key file %s does not hold 64 hex digits; make a new one for both hosts "
                       "with `tapdrbdadm pair`",
                       context->key_file);
    return 0;
}

/* ---- pre-shared key ------------------------------------------------------------------------- */

static SSL_SESSION *key_session(struct tls *tls)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01}; /* RFC 8446, appendix B.4 */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(tls->ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();

    if (session && cipher &&
        SSL_SESSION_set1_master_key(session, tls->context->key, KEY_BYTES) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1 &&
        SSL_SESSION_set1_id_context(session, (const unsigned char *)identity_prefix,
                                    sizeof identity_prefix - 1) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static int offer_key(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                     size_t *identity_bytes, SSL_SESSION **session)
{
    struct tls *tls = SSL_get_app_data(ssl);

    *session = NULL;
    if (digest && !EVP_MD_is_a(digest, "SHA2-256")) /* after a retry: a suite we did not offer */
        return 1;
    *session = key_session(tls);
    *identity = (const unsigned char *)tls->context->identity;
    *identity_bytes = strlen(tls->context->identity);
    return *session != NULL;
}

/* Anybody can send this, and it is shown on terminals and in JSON: as plain text only. */
static void note_foreign(struct tls *tls, const unsigned char *identity, size_t bytes)
{
    size_t length = bytes < sizeof tls->foreign - 1 ? bytes : sizeof tls->foreign - 1;

    for (size_t i = 0; i < length; i++)
        tls->foreign[i] = identity[i] >= ' ' && identity[i] < 127 ? (char)identity[i] : '?';
    tls->foreign[length] = '\0';
}

static int find_key(SSL *ssl, const unsigned char *identity, size_t identity_bytes,
                    SSL_SESSION **session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    const char *ours = tls->context->identity;

    *session = NULL;
    if (identity_bytes == strlen(ours) && memcmp(identity, ours, identity_bytes) == 0) {
        *session = key_session(tls);
        return *session != NULL;
    }
    note_foreign(tls, identity, identity_bytes);
    return 1; /* goes on without a key, and fails for want of a certificate */
}

/* ---- memory as a network -------------------------------------------------------------------- */

static int bio_write(BIO *bio, const char *data, int length)
{
    struct tls *tls = BIO_get_data(bio);
    struct tls_output *output = tls->output;

    BIO_clear_retry_flags(bio);
    if (length < 0 || (size_t)length > output->size - output->used) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(output->data + output->used, data, (size_t)length);
    output->used += (size_t)length;
    return length;
}

static int bio_read(BIO *bio, char *place, int length)
{
    struct tls *tls = BIO_get_data(bio);
    size_t taken = length < 0 ? 0 : (size_t)length;

    BIO_clear_retry_flags(bio);
    if (taken > tls->input_left)
        taken = tls->input_left;
    if (taken == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(place, tls->input, taken);
    tls->input += taken;
    tls->input_left -= taken;
    return (int)taken;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

    if (method && BIO_meth_set_write(method, bio_write) && BIO_meth_set_read(method, bio_read) &&
        BIO_meth_set_ctrl(method, bio_control) && BIO_meth_set_create(method, bio_create))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* ---- context -------------------------------------------------------------------------------- */

/* AES where the processor has it, ChaCha20 elsewhere; both go with a SHA-256 key. */
static const char *cipher_suites(void)
{
#if defined __x86_64__ || defined __i386__
    if (!__builtin_cpu_supports("aes"))
        return "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
#endif
    return "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
}

static int openssl_error(struct replica_error *error, const char *what)
{
    char text[160];

    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    ERR_clear_error();
    return err_set(error, REPLICA_E_TLS, "%s: %s", what, text);
}

static int common_rules(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)identity_prefix,
                                   sizeof identity_prefix - 1); /* a key counts as a session */
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_ciphersuites(ssl, cipher_suites()) && SSL_CTX_set_num_tickets(ssl, 0) &&
           SSL_CTX_set_max_early_data(ssl, 0) && SSL_CTX_set_recv_max_early_data(ssl, 0);
}

static int load_certificates(SSL_CTX *ssl, const struct config_resource *resource,
                             struct replica_error *error)
{
    X509_VERIFY_PARAM *rules = SSL_CTX_get0_param(ssl);
    FILE *secret;
    int code = open_secret(resource->private_key_file, "private key", &secret, error);

    if (code != 0)
        return code;
    fclose(secret);
    if (SSL_CTX_load_verify_file(ssl, resource->ca_file) != 1)
        return openssl_error(error, resource->ca_file);
    if (SSL_CTX_use_certificate_chain_file(ssl, resource->certificate_file) != 1)
        return openssl_error(error, resource->certificate_file);
    if (SSL_CTX_use_PrivateKey_file(ssl, resource->private_key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1)
        return openssl_error(error, resource->private_key_file);
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_host(rules, resource->peer_name, 0) != 1)
        return openssl_error(error, "peer name");
    return 0;
}

static int load_key(struct tls_context *context, struct replica_error *error)
{
    int code = read_key(context, error);

    if (code != 0)
        return code;
    SSL_CTX_set_psk_use_session_callback(context->ssl, offer_key);
    SSL_CTX_set_psk_find_session_callback(context->ssl, find_key);
    return 0;
}

int tls_context_new(struct tls_context **context, const struct config_resource *resource,
                    struct replica_error *error)
{
    struct tls_context *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->psk = resource->auth == CONFIG_AUTH_PSK;
    made->rekey_records =
        resource->rekey_records ? resource->rekey_records : TLS_REKEY_RECORDS_DEFAULT;
    (void)snprintf(made->identity, sizeof made->identity, "%s%s", identity_prefix, resource->name);
    (void)snprintf(made->key_file, sizeof made->key_file, "%s",
                   made->psk ? resource->key_file : resource->private_key_file);
    made->bio = bio_method();
    made->ssl = SSL_CTX_new(TLS_method());
    if (!made->bio || !made->ssl || !common_rules(made->ssl))
        code = openssl_error(error, "TLS");
    else
        code = made->psk ? load_key(made, error) : load_certificates(made->ssl, resource, error);
    if (code != 0) {
        tls_context_free(made);
        return code;
    }
    *context = made;
    return 0;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    OPENSSL_cleanse(context->key, sizeof context->key);
    free(context);
}

/* ---- one stream ----------------------------------------------------------------------------- */

static void note_message(int is_write, int version, int type, const void *data, size_t length,
                         SSL *ssl, void *argument)
{
    struct tls *tls = argument;

    (void)version, (void)data, (void)length, (void)ssl;
    if (!is_write && (type == SSL3_RT_HANDSHAKE || type == SSL3_RT_ALERT))
        tls->spoke_tls = true;
}

int tls_new(struct tls **tls, struct tls_context *context, bool client, struct tls_output *output)
{
    struct tls *made = calloc(1, sizeof *made);
    BIO *bio;

    if (!made)
        return REPLICA_E_MEMORY;
    made->context = context;
    made->client = client;
    made->output = output;
    made->ssl = SSL_new(context->ssl);
    bio = BIO_new(context->bio);
    if (!made->ssl || !bio) {
        BIO_free(bio);
        tls_free(made);
        return REPLICA_E_MEMORY;
    }
    BIO_set_data(bio, made);
    SSL_set_bio(made->ssl, bio, bio);
    SSL_set_app_data(made->ssl, made);
    SSL_set_msg_callback(made->ssl, note_message);
    SSL_set_msg_callback_arg(made->ssl, made);
    if (client)
        SSL_set_connect_state(made->ssl);
    else
        SSL_set_accept_state(made->ssl);
    *tls = made;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

void tls_set_output(struct tls *tls, struct tls_output *output)
{
    tls->output = output;
}

void tls_input(struct tls *tls, const uint8_t *data, size_t length)
{
    tls->input = data;
    tls->input_left = length;
}

size_t tls_input_left(const struct tls *tls)
{
    return tls->input_left;
}

/* ---- failures, as a person reads them ------------------------------------------------------- */

static int key_failure(const struct tls *tls, struct replica_error *error)
{
    if (!tls->context->psk)
        return err_set(error, REPLICA_E_TLS,
                       "offered no certificate; write the same `auth` in the resource's file on "
                       "both hosts");
    if (tls->foreign[0])
        return err_set(error, REPLICA_E_TLS,
                       "asked for \"%s\", this is \"%s\"; correct the address or port in the "
                       "resource's file",
                       tls->foreign, tls->context->identity);
    return err_set(error, REPLICA_E_TLS,
                   "%s the key in %s; give both hosts the same key with `tapdrbdadm pair`",
                   tls->client ? "did not accept" : "did not prove", tls->context->key_file);
}

static int certificate_failure(const struct tls *tls, struct replica_error *error)
{
    long result = SSL_get_verify_result(tls->ssl);

    if (result != X509_V_OK)
        return err_set(error, REPLICA_E_TLS,
                       "showed a certificate that is not accepted: %s; see `ca-file` and "
                       "`peer-name` in the resource's file",
                       X509_verify_cert_error_string(result));
    return err_set(error, REPLICA_E_TLS,
                   "did not accept our certificate; see `ca-file` and `peer-name` in its "
                   "resource's file");
}

/* What TLS said, or else whatever comes first; empties the queue. */
static unsigned long first_tls_error(void)
{
    unsigned long first = 0, next;

    while ((next = ERR_get_error()) != 0)
        if (first == 0 || (ERR_GET_LIB(first) != ERR_LIB_SSL && ERR_GET_LIB(next) == ERR_LIB_SSL))
            first = next;
    return first;
}

/* OpenSSL's reasons, sorted into what an admin can do about them. */
static int explain(struct tls *tls, struct replica_error *error)
{
    unsigned long failure = first_tls_error();
    const char *reason = ERR_reason_error_string(failure);

    switch (ERR_GET_LIB(failure) == ERR_LIB_SSL ? ERR_GET_REASON(failure) : 0) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CERTIFICATE_SET:
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return key_failure(tls, error);
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return certificate_failure(tls, error);
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return err_set(error, REPLICA_E_TLS, "does not speak TLS 1.3, and nothing older is taken");
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_SSLV3_ALERT_BAD_RECORD_MAC:
        if (SSL_is_init_finished(tls->ssl) || tls->spoke_tls)
            return err_set(error, REPLICA_E_TLS,
                           "sent a TLS record that was altered on the way; look for a faulty "
                           "network device between the hosts");
        break;
    default:
        break;
    }
    if (!tls->spoke_tls)
        return err_set(error, REPLICA_E_TLS,
                       "does not speak TLS (is another program using that port?)");
    return err_set(error, REPLICA_E_TLS, "broke the TLS protocol: %s", reason ? reason : "?");
}

/* ---- moving bytes --------------------------------------------------------------------------- */

/* With a key, finishing without it would mean that nobody proved anything. */
static int check_proof(struct tls *tls, struct replica_error *error)
{
    if (SSL_version(tls->ssl) != TLS1_3_VERSION)
        return err_set(error, REPLICA_E_TLS, "does not speak TLS 1.3, and nothing older is taken");
    if (tls->context->psk && SSL_session_reused(tls->ssl) != 1)
        return key_failure(tls, error);
    if (!tls->context->psk && SSL_get_verify_result(tls->ssl) != X509_V_OK)
        return certificate_failure(tls, error);
    return 0;
}

int tls_handshake(struct tls *tls, bool *done, struct replica_error *error)
{
    int result, code;

    ERR_clear_error();
    result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        code = check_proof(tls, error);
        if (code == 0)
            *done = true;
        return code;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ) {
        *done = false;
        return 0;
    }
    return explain(tls, error);
}

int tls_read(struct tls *tls, void *place, uint32_t length, uint32_t *got,
             struct replica_error *error)
{
    size_t count = 0;
    int result;

    ERR_clear_error();
    result = SSL_read_ex(tls->ssl, place, length, &count);
    if (result == 1) {
        *got = (uint32_t)count;
        return 0;
    }
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *got = 0;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return err_set(error, REPLICA_E_LINK, "closed the connection");
    default:
        return explain(tls, error);
    }
}

int tls_write(struct tls *tls, const void *data, uint32_t length, struct replica_error *error)
{
    size_t count = 0;

    ERR_clear_error();
    if (tls->records >= tls->context->rekey_records) {
        if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
            return explain(tls, error);
        tls->records = 0;
        tls->key_updates++;
    }
    if (SSL_write_ex(tls->ssl, data, length, &count) != 1 || count != length)
        return explain(tls, error);
    tls->records++;
    return 0;
}

void tls_goodbye(struct tls *tls)
{
    if (SSL_is_init_finished(tls->ssl))
        (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

uint64_t tls_key_updates(const struct tls *tls)
{
    return tls->key_updates;
}

const char *tls_cipher(const struct tls *tls)
{
    return SSL_get_cipher_name(tls->ssl);
}
