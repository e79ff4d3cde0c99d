/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_tls.c - two ends back to back in memory: who gets in, who does not, and that keys change. */
#include "io_help.h"
#include "libreplica/io/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "00112233445566778899aabbccddeeff00112233445566778899aabbccddeef0"

enum { WIRE_BYTES = 4 << 20 };

static struct io_help help;

struct end {
    struct config_resource resource;
    struct tls_context *context;
    struct tls *tls;
    struct tls_output output; /* what it has to say */
    size_t taken;             /* of it, by the other */
    bool proved;
    int code;
    struct replica_error error;
};

static struct end client, server;

static void setup(void)
{
    io_help_open(&help);
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
}

static void end_close(struct end *end)
{
    tls_free(end->tls);
    tls_context_free(end->context);
    free(end->output.data);
}

static void teardown(void)
{
    end_close(&client);
    end_close(&server);
    io_help_close(&help);
}

static void configure(struct end *end, const char *name, const char *key)
{
    char file[32];

    (void)snprintf(file, sizeof file, "%s.key", end == &client ? "client" : "server");
    (void)snprintf(end->resource.name, sizeof end->resource.name, "%s", name);
    (void)snprintf(end->resource.key_file, sizeof end->resource.key_file, "%s",
                   io_help_text(&help, file, key, 0600));
}

static void start(struct end *end)
{
    ck_assert_msg(tls_context_new(&end->context, &end->resource, &end->error) == 0, "%s",
                  end->error.text);
    end->output = (struct tls_output){.data = malloc(WIRE_BYTES), .size = WIRE_BYTES};
    ck_assert_int_eq(tls_new(&end->tls, end->context, end == &client, &end->output), 0);
}

/* Lets `to` go on with what `from` has said. */
static void shake(struct end *from, struct end *to)
{
    if (to->code != 0 || to->proved)
        return;
    tls_input(to->tls, from->output.data + from->taken, from->output.used - from->taken);
    to->code = tls_handshake(to->tls, &to->proved, &to->error);
    from->taken = from->output.used - tls_input_left(to->tls);
}

static void shake_hands(void)
{
    start(&client);
    start(&server);
    for (int i = 0; i < 6; i++) {
        shake(&server, &client);
        shake(&client, &server);
    }
}

static void psk_pair(void)
{
    configure(&client, "vm1", KEY_A "\n");
    configure(&server, "vm1", KEY_A);
    shake_hands();
    ck_assert_msg(client.proved && server.proved, "%s %s", client.error.text, server.error.text);
}

/* Reads all that `from` has said; -1: an error, in to->code. */
static long read_all(struct end *from, struct end *to, uint8_t *place, size_t room)
{
    size_t total = 0;
    uint32_t got;

    tls_input(to->tls, from->output.data + from->taken, from->output.used - from->taken);
    from->taken = from->output.used;
    do {
        to->code = tls_read(to->tls, place + total, (uint32_t)(room - total), &got, &to->error);
        if (to->code != 0)
            return -1;
        total += got;
    } while (got > 0);
    return (long)total;
}

START_TEST(test_key)
{
    uint8_t text[64];

    psk_pair();
    ck_assert_str_eq(tls_cipher(client.tls), tls_cipher(server.tls));
    ck_assert_int_eq(tls_write(client.tls, "a guest's block", 15, NULL), 0);
    ck_assert_ptr_null(memmem(client.output.data, client.output.used, "guest", 5)); /* P10 */
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), 15);
    ck_assert_mem_eq(text, "a guest's block", 15);
    ck_assert_int_eq(tls_write(server.tls, "yes", 3, NULL), 0);
    ck_assert_int_eq(read_all(&server, &client, text, sizeof text), 3);
}
END_TEST

START_TEST(test_wrong_key)
{
    configure(&client, "vm1", KEY_A);
    configure(&server, "vm1", KEY_B);
    shake_hands();
    ck_assert(!client.proved && !server.proved);
    ck_assert_int_eq(server.code, REPLICA_E_TLS);
    ck_assert_ptr_nonnull(strstr(server.error.text, "did not prove the key in"));
    ck_assert_ptr_nonnull(strstr(server.error.text, "server.key"));
    ck_assert_ptr_nonnull(strstr(server.error.text, "tapdrbdadm pair"));
    ck_assert_int_eq(client.code, REPLICA_E_TLS);
    ck_assert_ptr_nonnull(strstr(client.error.text, "did not accept the key in"));
}
END_TEST

START_TEST(test_wrong_resource)
{
    configure(&client, "vm2", KEY_A);
    configure(&server, "vm1", KEY_A);
    shake_hands();
    ck_assert(!client.proved && !server.proved);
    ck_assert_ptr_nonnull(strstr(server.error.text, "asked for \"tapdrbd:vm2\""));
}
END_TEST

/* What a stranger calls itself is quoted on terminals and in JSON: as plain text (P11). */
START_TEST(test_strange_name)
{
    configure(&client, "\xff\x1b[2J", KEY_A);
    configure(&server, "vm1", KEY_A);
    shake_hands();
    ck_assert_int_eq(server.code, REPLICA_E_TLS);
    ck_assert_msg(strstr(server.error.text, "asked for \"tapdrbd:??[2J\""), "%s",
                  server.error.text);
}
END_TEST

/* Somebody else's TLS, as a client of ours or as our server would meet it. */
static int foreign_client(int version, const char *suites)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    char *bytes;
    long length;

    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_min_proto_version(context, version);
    if (suites)
        ck_assert_int_eq(SSL_CTX_set_ciphersuites(context, suites), 1);
    ssl = SSL_new(context);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    ck_assert_int_le(SSL_do_handshake(ssl), 0);
    configure(&server, "vm1", KEY_A);
    start(&server);
    length = BIO_get_mem_data(out, &bytes);
    tls_input(server.tls, (const uint8_t *)bytes, (size_t)length);
    server.code = tls_handshake(server.tls, &server.proved, &server.error);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return server.code;
}

START_TEST(test_old_tls)
{
    ck_assert_int_eq(foreign_client(TLS1_2_VERSION, NULL), REPLICA_E_TLS);
    ck_assert_ptr_nonnull(strstr(server.error.text, "TLS 1.3"));
}
END_TEST

/* TLS 1.3 without any key: a web browser, a port scanner. */
START_TEST(test_no_key)
{
    ck_assert_int_eq(foreign_client(TLS1_3_VERSION, NULL), REPLICA_E_TLS);
    ck_assert_ptr_nonnull(strstr(server.error.text, "did not prove the key"));
    ck_assert(!server.proved);
}
END_TEST

START_TEST(test_plain_text)
{
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n",
                                        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                                        "TAPD\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0"};

    configure(&server, "vm1", KEY_A);
    start(&server);
    tls_input(server.tls, (const uint8_t *)texts[_i], 16);
    ck_assert_int_eq(tls_handshake(server.tls, &server.proved, &server.error), REPLICA_E_TLS);
    ck_assert_ptr_nonnull(strstr(server.error.text, "does not speak TLS"));
}
END_TEST

/* Every byte of a record, altered: never a byte of data, always an error. */
START_TEST(test_altered)
{
    uint8_t text[256];
    size_t bytes;

    psk_pair();
    ck_assert_int_eq(tls_write(client.tls, "0123456789", 10, NULL), 0);
    bytes = client.output.used - client.taken;
    ck_assert_int_lt(_i, (int)bytes);
    client.output.data[client.taken + (size_t)_i] ^= 0x20;
    /* What follows may be needed to complete a record whose length was altered. */
    memset(client.output.data + client.output.used, 0, 20000);
    client.output.used += 20000;
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), -1);
    ck_assert_int_eq(server.code, REPLICA_E_TLS);
}
END_TEST

START_TEST(test_truncated)
{
    uint8_t text[64];
    size_t used;

    psk_pair();
    ck_assert_int_eq(tls_write(client.tls, "0123456789", 10, NULL), 0);
    used = client.output.used;
    client.output.used -= 1;
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), 0);
    client.output.used = used;
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), 10);
}
END_TEST

/* A record that is played again is not taken a second time. */
START_TEST(test_replayed)
{
    uint8_t text[64];
    size_t before;

    psk_pair();
    before = client.output.used;
    ck_assert_int_eq(tls_write(client.tls, "0123456789", 10, NULL), 0);
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), 10);
    client.taken = before;
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), -1);
}
END_TEST

/* Keys change every few records, in both directions at once, and no byte is lost. */
START_TEST(test_rekey)
{
    static uint8_t from[TLS_RECORD_BYTES], to[TLS_RECORD_BYTES + 1];

    client.resource.rekey_records = 4;
    server.resource.rekey_records = 7;
    psk_pair();
    for (int round = 0; round < 100; round++) {
        struct end *speaker = round % 2 ? &client : &server;
        struct end *listener = round % 2 ? &server : &client;
        speaker->output.used = speaker->taken = 0;
        memset(from, round, sizeof from);
        ck_assert_int_eq(tls_write(speaker->tls, from, sizeof from, NULL), 0);
        ck_assert_int_eq(read_all(speaker, listener, to, sizeof to), sizeof from);
        ck_assert_mem_eq(from, to, sizeof from);
    }
    ck_assert_uint_eq(tls_key_updates(client.tls), 12);
    ck_assert_uint_eq(tls_key_updates(server.tls), 7);
}
END_TEST

START_TEST(test_goodbye)
{
    uint8_t text[64];

    psk_pair();
    tls_goodbye(client.tls);
    ck_assert_int_eq(read_all(&client, &server, text, sizeof text), -1);
    ck_assert_int_eq(server.code, REPLICA_E_LINK);
}
END_TEST

static int context_code(const char *text, unsigned mode, struct replica_error *error)
{
    struct tls_context *context;

    configure(&client, "vm1", "");
    (void)snprintf(client.resource.key_file, sizeof client.resource.key_file, "%s",
                   io_help_text(&help, "key", text, mode));
    return tls_context_new(&context, &client.resource, error);
}

START_TEST(test_key_file)
{
    struct replica_error error = {0};
    struct tls_context *context;

    ck_assert_int_eq(context_code(KEY_A, 0640, &error), REPLICA_E_PERMISSION);
    ck_assert_ptr_nonnull(strstr(error.text, "chmod 600 "));
    ck_assert_int_eq(context_code(KEY_A, 0604, &error), REPLICA_E_PERMISSION);
    ck_assert_int_eq(context_code("", 0600, &error), REPLICA_E_INVALID);
    ck_assert_int_eq(context_code(KEY_A "00", 0600, &error), REPLICA_E_INVALID);
    ck_assert_int_eq(context_code(KEY_A "\n\n", 0600, &error), REPLICA_E_INVALID);
    ck_assert_int_eq(context_code("x" KEY_A, 0600, &error), REPLICA_E_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "64 hex digits"));
    ck_assert_ptr_null(strstr(error.text, "0011")); /* never the key itself */
    (void)snprintf(client.resource.key_file, sizeof client.resource.key_file, "./no/such.key");
    ck_assert_int_eq(tls_context_new(&context, &client.resource, &error), REPLICA_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.text, "tapdrbdadm pair"));
    if (geteuid() == 0) {
        const char *path = io_help_text(&help, "other", KEY_A, 0600);
        ck_assert_int_eq(chown(path, 1, 1), 0);
        (void)snprintf(client.resource.key_file, sizeof client.resource.key_file, "%s", path);
        ck_assert_int_eq(tls_context_new(&context, &client.resource, &error), REPLICA_E_PERMISSION);
        ck_assert_ptr_nonnull(strstr(error.text, "chown root"));
    }
}
END_TEST

/* ---- certificates --------------------------------------------------------------------------- */

struct authority {
    EVP_PKEY *key;
    X509 *certificate;
};

static void extend(X509 *certificate, X509 *issuer, int which, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, which, value);
    ck_assert_ptr_nonnull(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *certify(EVP_PKEY *key, const char *name, const struct authority *by)
{
    X509 *certificate = X509_new();
    char alternative[80];

    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), rand());
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(by ? by->certificate : certificate));
    if (by) {
        (void)snprintf(alternative, sizeof alternative, "DNS:%s", name);
        extend(certificate, by->certificate, NID_subject_alt_name, alternative);
    } else {
        extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
    }
    ck_assert_int_gt(X509_sign(certificate, by ? by->key : key, EVP_sha256()), 0);
    return certificate;
}

static struct authority new_authority(void)
{
    struct authority made = {.key = EVP_EC_gen("P-256")};

    made.certificate = certify(made.key, "an authority", NULL);
    return made;
}

static void free_authority(struct authority *authority)
{
    X509_free(authority->certificate);
    EVP_PKEY_free(authority->key);
}

static void write_pem(const char *name, X509 *certificate, EVP_PKEY *key, char *path, size_t room)
{
    FILE *file;

    (void)snprintf(path, room, "%s", io_help_text(&help, name, "", 0600));
    file = fopen(path, "w");
    if (certificate)
        PEM_write_X509(file, certificate);
    if (key)
        PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

/* `by` signs this end; it trusts `trusted` and expects `peer`. */
static void configure_x509(struct end *end, const char *name, const struct authority *by,
                           const struct authority *trusted, const char *peer)
{
    struct config_resource *resource = &end->resource;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = certify(key, name, by);
    char file[32];

    resource->auth = CONFIG_AUTH_X509;
    (void)snprintf(resource->name, sizeof resource->name, "vm1");
    (void)snprintf(resource->peer_name, sizeof resource->peer_name, "%s", peer);
    (void)snprintf(file, sizeof file, "%s.pem", name);
    write_pem(file, certificate, NULL, resource->certificate_file,
              sizeof resource->certificate_file);
    (void)snprintf(file, sizeof file, "%s.secret", name);
    write_pem(file, NULL, key, resource->private_key_file, sizeof resource->private_key_file);
    (void)snprintf(file, sizeof file, "%s.ca", name);
    write_pem(file, trusted->certificate, NULL, resource->ca_file, sizeof resource->ca_file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* What a client learns only from the server's alert comes after its own handshake is done. */
static void drain_alert(void)
{
    uint8_t text[16];

    if (client.proved && client.code == 0)
        (void)read_all(&server, &client, text, sizeof text);
}

START_TEST(test_certificates)
{
    struct authority authority = new_authority(), other = new_authority();
    uint8_t text[16];
    bool good = _i == 0;

    configure_x509(&client, "alpha", _i == 1 ? &other : &authority, _i == 2 ? &other : &authority,
                   _i == 3 ? "gamma" : "beta");
    configure_x509(&server, "beta", &authority, &authority, _i == 4 ? "gamma" : "alpha");
    shake_hands();
    drain_alert();
    if (good) {
        ck_assert_msg(client.proved && server.proved, "%s / %s", client.error.text,
                      server.error.text);
        ck_assert_int_eq(tls_write(client.tls, "data", 4, NULL), 0);
        ck_assert_int_eq(read_all(&client, &server, text, sizeof text), 4);
    } else {
        ck_assert(!server.proved);
        ck_assert_int_eq(client.code, REPLICA_E_TLS);
        ck_assert_msg(strstr(client.error.text, "certificate"), "%s", client.error.text);
        ck_assert_int_eq(server.code, REPLICA_E_TLS);
        ck_assert_msg(strstr(server.error.text, "certificate"), "%s", server.error.text);
    }
    free_authority(&authority);
    free_authority(&other);
}
END_TEST

/* One side by key, the other by certificate: neither gets in. */
START_TEST(test_mixed)
{
    struct authority authority = new_authority();

    configure(&client, "vm1", KEY_A);
    configure_x509(&server, "beta", &authority, &authority, "alpha");
    shake_hands();
    ck_assert(!client.proved && !server.proved);
    ck_assert_int_eq(client.code, REPLICA_E_TLS);
    free_authority(&authority);
}
END_TEST

START_TEST(test_open_private_key)
{
    struct authority authority = new_authority();
    struct replica_error error;

    configure_x509(&server, "beta", &authority, &authority, "alpha");
    ck_assert_int_eq(chmod(server.resource.private_key_file, 0644), 0);
    ck_assert_int_eq(tls_context_new(&server.context, &server.resource, &error),
                     REPLICA_E_PERMISSION);
    free_authority(&authority);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *all = tcase_create("all");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, test_key);
    tcase_add_test(all, test_wrong_key);
    tcase_add_test(all, test_wrong_resource);
    tcase_add_test(all, test_strange_name);
    tcase_add_test(all, test_old_tls);
    tcase_add_test(all, test_no_key);
    tcase_add_loop_test(all, test_plain_text, 0, 4);
    tcase_add_loop_test(all, test_altered, 0, 32);
    tcase_add_test(all, test_truncated);
    tcase_add_test(all, test_replayed);
    tcase_add_test(all, test_rekey);
    tcase_add_test(all, test_goodbye);
    tcase_add_test(all, test_key_file);
    tcase_add_loop_test(all, test_certificates, 0, 5);
    tcase_add_test(all, test_mixed);
    tcase_add_test(all, test_open_private_key);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
