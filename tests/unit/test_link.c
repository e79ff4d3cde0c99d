/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_link.c - two links over loopback in one loop: order, data, strangers, replacement. */
#include "io_help.h"
#include "libreplica/io/link.h"
#include "libreplica/io/stream.h"
#include "libreplica/io/tls.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define KEY_B "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"

enum { POOL_BYTES = 2 << 20, KEPT = 64 };

static struct io_help help;

struct node {
    struct config_resource resource;
    struct buffer_pool *pool;
    struct link *link;
    unsigned ups, downs, messages;
    bool initiator;
    int last_down;
    uint64_t next_value; /* expected in the messages' order */
    uint64_t bytes;
    uint8_t last_type;
    struct replica_buffer *target; /* where READ_REPLY goes */
    bool keep;                     /* buffers, for a starved pool */
    struct replica_buffer *kept[KEPT];
    unsigned kept_count;
};

static struct node alpha, beta;

static void node_up(void *argument, bool initiator)
{
    struct node *node = argument;

    node->ups++;
    node->initiator = initiator;
    node->next_value = 0;
}

static void node_down(void *argument, int code)
{
    struct node *node = argument;

    node->downs++;
    node->last_down = code;
}

/* The n-th message carries value n, and its data is filled with n. */
static void node_message(void *argument, const struct wire_message *message,
                         struct replica_buffer *buffer)
{
    struct node *node = argument;

    node->messages++;
    node->last_type = message->type;
    if (message->type == WIRE_REFUSE)
        return;
    ck_assert_uint_eq(message->tag, node->next_value++);
    ck_assert_int_eq(buffer != NULL, message->data_bytes > 0);
    if (!buffer)
        return;
    node->bytes += message->data_bytes;
    for (uint32_t i = 0; i < message->data_bytes; i += 511)
        ck_assert_uint_eq(((uint8_t *)replica_buffer_data(buffer))[i], (uint8_t)message->tag);
    if (buffer == node->target)
        return;
    if (node->keep)
        node->kept[node->kept_count++] = buffer;
    else
        replica_buffer_put(buffer);
}

static struct replica_buffer *node_target(void *argument, const struct wire_message *message)
{
    return message->type == WIRE_READ_REPLY ? ((struct node *)argument)->target : NULL;
}

static const struct link_events node_events = {
    .up = node_up, .down = node_down, .message = node_message, .target = node_target};

static void node_flush(void *argument)
{
    struct node *node = argument;

    link_flush(node->link);
}

static void node_room(void *argument)
{
    (void)argument;
    loop_kick(help.loop);
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void node_open(struct node *node, const char *name, uint16_t port, const char *peer,
                      uint16_t peer_port, const char *key)
{
    struct config_resource *resource = &node->resource;
    struct replica_error error = {0};
    char file[16];

    strcpy(resource->name, "vm1");
    strcpy(resource->local.name, name);
    strcpy(resource->peer.name, peer);
    strcpy(resource->local.address, "127.0.0.1");
    strcpy(resource->peer.address, "127.0.0.1");
    resource->local.port = port;
    resource->peer.port = peer_port;
    (void)snprintf(file, sizeof file, "key%u", port);
    (void)snprintf(resource->key_file, sizeof resource->key_file, "%s",
                   io_help_text(&help, file, key, 0600));
    ck_assert_int_eq(buffer_pool_new(&node->pool, POOL_BYTES, node_room, node), 0);
    ck_assert_msg(link_new(&node->link, help.loop, &help.log, resource, node->pool, &node_events,
                           node, &error) == 0,
                  "%s", error.text);
    ck_assert_int_eq(loop_hook(help.loop, node_flush, node), 0);
}

static bool node_busy(void *argument)
{
    return link_busy(((struct node *)argument)->link);
}

static void node_close(struct node *node)
{
    if (!node->link)
        return;
    link_shut(node->link);
    loop_drain(help.loop, node_busy, node);
    loop_unhook(help.loop, node);
    link_free(node->link);
    for (unsigned i = 0; i < node->kept_count; i++)
        replica_buffer_put(node->kept[i]);
    replica_buffer_put(node->target);
    ck_assert_uint_eq(buffer_pool_used(node->pool), 0);
    buffer_pool_free(node->pool);
}

static void setup(void)
{
    io_help_open(&help);
    memset(&alpha, 0, sizeof alpha);
    memset(&beta, 0, sizeof beta);
}

static void teardown(void)
{
    node_close(&alpha);
    node_close(&beta);
    io_help_close(&help);
}

static bool both_up(void *argument)
{
    (void)argument;
    return alpha.ups > 0 && beta.ups > 0;
}

static bool alpha_down(void *argument)
{
    (void)argument;
    return alpha.downs > 0;
}

static bool both_down(void *argument)
{
    (void)argument;
    return alpha.downs > 0 && beta.downs > 0;
}

static void open_pair(const char *key)
{
    uint16_t a = free_port(), b = free_port();

    node_open(&alpha, "alpha", a, "beta", b, KEY_A);
    node_open(&beta, "beta", b, "alpha", a, key);
    link_connect(beta.link);
    link_connect(alpha.link);
}

static void connect_pair(void)
{
    open_pair(KEY_A);
    io_help_run(&help, both_up, NULL);
    ck_assert(alpha.initiator && !beta.initiator); /* the name that sorts first dials */
}

static void send_one(struct node *from, uint64_t value, uint32_t bytes)
{
    struct wire_message message = {.type = bytes ? WIRE_WRITE : WIRE_DISCARD,
                                   .tag = value,
                                   .epoch = 1,
                                   .range = {.offset = 0, .length = bytes ? bytes : 4096},
                                   .data_bytes = bytes};
    struct replica_buffer *buffer = bytes ? buffer_take(from->pool, bytes) : NULL;

    if (buffer)
        memset(replica_buffer_data(buffer), (int)value, bytes);
    link_send(from->link, &message, buffer);
    replica_buffer_put(buffer);
}

static bool beta_has(void *argument)
{
    return beta.messages >= *(unsigned *)argument;
}

/* Small and large, more than the buffers of the stream hold, arrive whole and in order. */
START_TEST(test_order)
{
    static const uint32_t sizes[] = {0, 512, 4096, 0, 16384, 65536, 131072, 0, 512, 262144};
    unsigned sent = 0, expected;
    uint64_t bytes = 0;

    connect_pair();
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            send_one(&alpha, sent++, sizes[i]);
            bytes += sizes[i];
        }
        expected = sent;
        io_help_run(&help, beta_has, &expected);
    }
    ck_assert_uint_eq(beta.bytes, bytes);
    ck_assert_uint_eq(buffer_pool_used(alpha.pool), 0);
}
END_TEST

static bool pool_is_full(void *argument)
{
    (void)argument;
    return beta.kept_count == POOL_BYTES / REPLICA_REQUEST_BYTES_MAX;
}

/* A receiver without memory stops reading, and goes on where it stopped. */
START_TEST(test_starved)
{
    unsigned expected = 16;

    connect_pair();
    beta.keep = true;
    for (unsigned i = 0; i < 8; i++)
        send_one(&alpha, i, REPLICA_REQUEST_BYTES_MAX);
    io_help_run(&help, pool_is_full, NULL);
    for (unsigned i = 8; i < 16; i++)
        send_one(&alpha, i, i % 2 ? 4096 : 0);
    expected = 8 + 1; /* the first one without data still comes */
    io_help_run(&help, beta_has, &expected);
    ck_assert_uint_eq(beta.messages, expected);
    beta.keep = false;
    while (beta.kept_count > 0)
        replica_buffer_put(beta.kept[--beta.kept_count]);
    link_room(beta.link);
    expected = 16;
    io_help_run(&help, beta_has, &expected);
}
END_TEST

/* The data of a read goes straight into the reader's own buffer. */
START_TEST(test_target)
{
    struct wire_message message = {
        .type = WIRE_READ_REPLY, .range = {.offset = 4096, .length = 8192}, .data_bytes = 8192};
    struct replica_buffer *data;
    unsigned expected = 1;
    uint8_t *place;

    connect_pair();
    beta.target = buffer_take(beta.pool, 8192);
    data = buffer_take(alpha.pool, 8192);
    memset(replica_buffer_data(data), 0, 8192);
    ((uint8_t *)replica_buffer_data(data))[8191] = 77;
    link_send(alpha.link, &message, data);
    replica_buffer_put(data);
    io_help_run(&help, beta_has, &expected);
    place = replica_buffer_data(beta.target);
    ck_assert_uint_eq(place[8191], 77);
    ck_assert_uint_eq(buffer_pool_used(beta.pool), 8192);
    replica_buffer_put(beta.target); /* the message's reference: same pool here */
}
END_TEST

START_TEST(test_wrong_key)
{
    struct link_facts facts;

    open_pair(KEY_B);
    io_help_run(&help, alpha_down, NULL);
    ck_assert_uint_eq(alpha.ups + beta.ups, 0);
    ck_assert_int_eq(alpha.last_down, REPLICA_E_TLS);
    link_facts(alpha.link, &facts);
    ck_assert_ptr_nonnull(strstr(facts.trouble, "did not accept the key"));
    ck_assert_ptr_nonnull(strstr(facts.trouble, "127.0.0.1:"));
}
END_TEST

START_TEST(test_nobody_there)
{
    struct link_facts facts;

    node_open(&alpha, "alpha", free_port(), "beta", free_port(), KEY_A);
    link_connect(alpha.link);
    io_help_run(&help, alpha_down, NULL);
    ck_assert_int_eq(alpha.last_down, REPLICA_E_LINK);
    link_facts(alpha.link, &facts);
    ck_assert_ptr_nonnull(strstr(facts.trouble, "refuses connections"));
}
END_TEST

/* ---- strangers ------------------------------------------------------------------------------ */

static int stranger(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

struct hang_up {
    int fd;
    bool over;
};

static void stranger_readable(void *argument, uint32_t events)
{
    struct hang_up *hang_up = argument;
    char bytes[256];

    (void)events;
    if (recv(hang_up->fd, bytes, sizeof bytes, MSG_DONTWAIT) == 0)
        hang_up->over = true;
}

/* Plain text, and a stranger that says nothing, while the good pair goes on. */
START_TEST(test_strangers)
{
    struct hang_up talker = {0};
    struct replica_watch *watch;
    int silent[2 * LINK_HALF_OPEN];
    unsigned expected = 100;

    connect_pair();
    for (int i = 0; i < 2 * LINK_HALF_OPEN; i++)
        silent[i] = stranger(beta.resource.local.port);
    talker.fd = stranger(beta.resource.local.port);
    ck_assert_int_eq(write(talker.fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, talker.fd, false, stranger_readable, &talker, &watch), 0);
    for (unsigned i = 0; i < expected; i++)
        send_one(&alpha, i, 4096);
    io_help_run(&help, io_help_flag, &talker.over);
    io_help_run(&help, beta_has, &expected);
    ck_assert_uint_eq(alpha.downs + beta.downs, 0);
    replica_loop_unwatch(watch);
    close(talker.fd);
    for (int i = 0; i < 2 * LINK_HALF_OPEN; i++)
        close(silent[i]);
}
END_TEST

/* A stranger that says nothing is thrown out when its time is over. */
START_TEST(test_silent_stranger)
{
    struct hang_up silent = {0};
    struct replica_watch *watch;

    connect_pair();
    silent.fd = stranger(beta.resource.local.port);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, silent.fd, false, stranger_readable, &silent, &watch), 0);
    io_help_run(&help, io_help_flag, &silent.over);
    ck_assert_uint_eq(alpha.downs + beta.downs, 0);
    replica_loop_unwatch(watch);
    close(silent.fd);
}
END_TEST

static unsigned descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void any_readable(void *argument, uint32_t events)
{
    (void)events;
    ((struct hang_up *)argument)->over = true;
}

/* Nonsense, and then no end of the connection: many at once do not eat up the descriptors (P11). */
START_TEST(test_many_strangers)
{
    enum { COUNT = 100 };
    struct replica_watch *watch;
    struct hang_up talker;
    unsigned before;
    int fds[COUNT];

    connect_pair();
    before = descriptors();
    for (int i = 0; i < COUNT; i++) {
        talker = (struct hang_up){.fd = fds[i] = stranger(beta.resource.local.port)};
        ck_assert_int_eq(write(talker.fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
        ck_assert_int_eq(
            replica_loop_watch(help.loop, talker.fd, false, any_readable, &talker, &watch), 0);
        io_help_run(&help, io_help_flag, &talker.over);
        replica_loop_unwatch(watch);
    }
    ck_assert_uint_le(descriptors(), before + COUNT + STREAM_LINGERING_MAX + LINK_HALF_OPEN);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    ck_assert_uint_eq(alpha.downs + beta.downs, 0);
}
END_TEST

static bool beta_twice_up(void *argument)
{
    (void)argument;
    return beta.ups == 2;
}

/* The peer comes again (it was restarted, and nobody has told us): the new stream is the link. */
START_TEST(test_replacement)
{
    struct node again = {0};
    unsigned expected = 1;

    connect_pair();
    send_one(&beta, 0, 262144); /* something is under way on the old one */
    node_open(&again, "alpha", free_port(), "beta", beta.resource.local.port, KEY_A);
    link_connect(again.link);
    io_help_run(&help, beta_twice_up, NULL);
    ck_assert_uint_eq(beta.downs, 1);
    ck_assert_int_eq(beta.last_down, REPLICA_E_LINK);
    send_one(&again, 0, 4096);
    io_help_run(&help, beta_has, &expected);
    ck_assert_uint_eq(beta.bytes, 4096);
    node_close(&again);
}
END_TEST

/* What was sent before hanging up arrives before the end does. */
START_TEST(test_last_words)
{
    struct wire_message refuse = {.type = WIRE_REFUSE,
                                  .refuse = {.code = REPLICA_E_MISMATCH, .reason = "no"}};
    unsigned messages;

    connect_pair();
    for (unsigned i = 0; i < 4; i++)
        send_one(&alpha, i, 32768);
    link_send(alpha.link, &refuse, NULL);
    link_hang_up(alpha.link, 0);
    ck_assert_uint_eq(alpha.downs, 0); /* told later, not from inside the call */
    io_help_run(&help, both_down, NULL);
    ck_assert_int_eq(alpha.last_down, 0);
    ck_assert_int_eq(beta.last_down, REPLICA_E_LINK);
    messages = beta.messages;
    ck_assert_uint_eq(messages, 5);
    ck_assert_uint_eq(beta.last_type, WIRE_REFUSE);
}
END_TEST

/* Hung up and wanted again at once, as after a refusal that may pass. */
START_TEST(test_reconnect)
{
    connect_pair();
    for (int i = 0; i < 5; i++) {
        alpha.ups = beta.ups = alpha.downs = beta.downs = 0;
        link_hang_up(_i ? beta.link : alpha.link, 0);
        io_help_run(&help, both_down, NULL);
        link_connect(beta.link);
        link_connect(alpha.link);
        io_help_run(&help, both_up, NULL);
    }
}
END_TEST

static bool beta_down(void *argument)
{
    (void)argument;
    return beta.downs > 0;
}

struct foreign {
    int fd;
    struct tls *tls;
    bool proved;
};

static void foreign_readable(void *argument, uint32_t events)
{
    struct foreign *foreign = argument;
    struct replica_error error;
    uint8_t in[4096];
    ssize_t got = recv(foreign->fd, in, sizeof in, MSG_DONTWAIT);

    (void)events;
    if (got <= 0 || foreign->proved)
        return;
    tls_input(foreign->tls, in, (size_t)got);
    ck_assert_int_eq(tls_handshake(foreign->tls, &foreign->proved, &error), 0);
}

static void foreign_say(struct foreign *foreign, struct tls_output *output)
{
    ck_assert_int_eq(write(foreign->fd, output->data, output->used), (ssize_t)output->used);
    output->used = 0;
}

/* Bytes that are no message, from a peer that has the key. */
START_TEST(test_garbage_from_peer)
{
    struct foreign foreign = {0};
    struct tls_context *context;
    struct replica_watch *watch;
    struct replica_error error;
    uint8_t bytes[65536], garbage[4096];
    struct tls_output output = {.data = bytes, .size = sizeof bytes};

    node_open(&beta, "beta", free_port(), "alpha", free_port(), KEY_A);
    link_connect(beta.link);
    ck_assert_int_eq(tls_context_new(&context, &beta.resource, &error), 0);
    ck_assert_int_eq(tls_new(&foreign.tls, context, true, &output), 0);
    foreign.fd = stranger(beta.resource.local.port);
    ck_assert_int_eq(
        replica_loop_watch(help.loop, foreign.fd, false, foreign_readable, &foreign, &watch), 0);
    ck_assert_int_eq(tls_handshake(foreign.tls, &foreign.proved, &error), 0);
    foreign_say(&foreign, &output);
    io_help_run(&help, io_help_flag, &foreign.proved);
    memset(garbage, 0x41, sizeof garbage);
    ck_assert_int_eq(tls_write(foreign.tls, garbage, sizeof garbage, &error), 0);
    foreign_say(&foreign, &output);
    io_help_run(&help, beta_down, NULL);
    ck_assert_uint_eq(beta.ups, 1);
    ck_assert_int_eq(beta.last_down, REPLICA_E_PROTOCOL);
    replica_loop_unwatch(watch);
    tls_free(foreign.tls);
    tls_context_free(context);
    close(foreign.fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("link");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 30);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, test_order);
    tcase_add_test(all, test_starved);
    tcase_add_test(all, test_target);
    tcase_add_test(all, test_wrong_key);
    tcase_add_test(all, test_nobody_there);
    tcase_add_test(all, test_strangers);
    tcase_add_test(all, test_silent_stranger);
    tcase_add_test(all, test_many_strangers);
    tcase_add_test(all, test_replacement);
    tcase_add_test(all, test_last_words);
    tcase_add_loop_test(all, test_reconnect, 0, 2);
    tcase_add_test(all, test_garbage_from_peer);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
