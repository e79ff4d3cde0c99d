/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_config.c - *.res files: what is understood, what is refused, and in which words. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/io/config.h"
#include "libreplica/io/config_tree.h"

#define HOSTS                                                   \
    "on alpha { disk /dev/vg0/vm1; address 10.1.1.31:7789; }\n" \
    "on beta { disk /dev/vg0/vm1; address 10.1.1.32:7789; }\n"
#define RESOURCE(body) "resource vm1 {\n" body "\n" HOSTS "}\n"
#define NET(body) RESOURCE("net { " body " }")
#define DISK(body) RESOURCE("disk { " body " }")

static int parse(const char *text, const char *node, struct config *config,
                 struct replica_error *error)
{
    return config_parse_text(text, strlen(text), "vm1.res", node, config, error);
}

/* The one resource of `text` as alpha sees it. */
static struct config_resource parse_one(const char *text)
{
    struct replica_error error = {0};
    struct config config = {0};
    struct config_resource resource;
    int code = parse(text, "alpha", &config, &error);

    ck_assert_msg(code == 0, "%s", error.text);
    ck_assert_uint_eq(config.count, 1);
    resource = config.resources[0];
    config_free(&config);
    return resource;
}

START_TEST(test_smallest)
{
    struct config_resource r = parse_one(RESOURCE(""));

    ck_assert_str_eq(r.name, "vm1");
    ck_assert_str_eq(r.file, "vm1.res");
    ck_assert_int_eq(r.line, 1);
    ck_assert_str_eq(r.local.name, "alpha");
    ck_assert_str_eq(r.peer.name, "beta");
    ck_assert_str_eq(r.local.disk, "/dev/vg0/vm1");
    ck_assert_str_eq(r.local.meta_disk, "internal");
    ck_assert_str_eq(r.local.address, "10.1.1.31");
    ck_assert_uint_eq(r.peer.port, 7789);
    ck_assert_str_eq(r.key_file, SYSCONFDIR "/tapdrbd.d/vm1.key");
}
END_TEST

/* The defaults that tapdrbd.conf(5) promises; DRBD's where DRBD has the option. */
START_TEST(test_defaults)
{
    struct config_resource r = parse_one(RESOURCE(""));

    ck_assert_uint_eq(r.core.timeout, UINT64_C(6000000000));
    ck_assert_uint_eq(r.core.ping_interval, UINT64_C(10000000000));
    ck_assert_uint_eq(r.core.ping_timeout, UINT64_C(500000000));
    ck_assert_uint_eq(r.core.connect_interval, UINT64_C(10000000000));
    ck_assert_uint_eq(r.core.ko_count, 7);
    ck_assert_uint_eq(r.core.resync_rate_max, UINT64_C(104857600));
    ck_assert_int_eq(r.core.csums_digest, CORE_DIGEST_NONE);
    ck_assert_uint_eq(r.core.resync_rate_min, 4 << 20);
    ck_assert_uint_eq(r.core.resync_rate, 4 << 20);
    ck_assert_uint_eq(r.core.resync_plan_ahead, UINT64_C(2000000000));
    ck_assert_uint_eq(r.core.resync_fill, 1 << 20);
    ck_assert_uint_eq(r.al_extents, 6433);
    ck_assert_int_eq(r.auth, CONFIG_AUTH_PSK);
    ck_assert_int_eq(r.core.fencing, CORE_FENCING_DONT_CARE);
    ck_assert_int_eq(r.core.on_peer_loss, CORE_PEER_LOSS_CONTINUE);
    ck_assert_int_eq(r.core.on_io_error, CORE_IO_ERROR_DETACH);
    ck_assert(!r.ping_interval_set);
    ck_assert_str_eq(r.core.resource, "vm1");
    ck_assert_str_eq(r.core.node, "alpha");
    ck_assert_str_eq(r.core.peer_node, "beta");
    ck_assert_uint_gt(r.core.requests_max, 0);
    ck_assert_uint_gt(r.core.confirm_interval, 0);
}
END_TEST

/* What a DRBD admin tunes a resync with; sectors as DRBD takes them. */
START_TEST(test_resync_rates)
{
    static const struct {
        const char *fill;
        uint32_t bytes;
    } fills[] = {{"100", 51200}, {"100s", 51200}, {"50k", 51200}, {"1M", 1 << 20}, {"0", 0}};
    char text[1024];

    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        snprintf(text, sizeof text,
                 RESOURCE("disk { c-min-rate 0; resync-rate 10M; c-plan-ahead 5; c-fill-target %s; "
                          "}"),
                 fills[i].fill);
        struct config_resource r = parse_one(text);
        ck_assert_uint_eq(r.core.resync_rate_min, 0);
        ck_assert_uint_eq(r.core.resync_rate, 10 << 20);
        ck_assert_uint_eq(r.core.resync_plan_ahead, 500000000);
        ck_assert_uint_eq(r.core.resync_fill, fills[i].bytes);
    }
}
END_TEST

/* In tenths of a second, as DRBD has it; 0, the default, waits for ever. */
START_TEST(test_disk_timeout)
{
    ck_assert_uint_eq(parse_one(RESOURCE("")).core.disk_timeout, 0);
    ck_assert_uint_eq(parse_one(DISK("disk-timeout 0;")).core.disk_timeout, 0);
    ck_assert_uint_eq(parse_one(DISK("disk-timeout 1;")).core.disk_timeout, 100000000);
    ck_assert_uint_eq(parse_one(DISK("disk-timeout 6000;")).core.disk_timeout,
                      UINT64_C(600000000000));
}
END_TEST

/* A file as a DRBD admin has it: devices, node ids, volumes, comments, handlers, both styles. */
static const char drbd_file[] =
    "# two hosts\n"
    "global { usage-count yes; }\n"
    "common {\n"
    "  protocol C;\n"
    "  net { ping-int 3; timeout 40; sndbuf-size 512k; max-buffers 8000; verify-alg sha1; }\n"
    "  startup { wfc-timeout 0; degr-wfc-timeout 120; }\n"
    "  handlers { out-of-sync \"/usr/lib/drbd/notify.sh \\\"root x\\\" # no comment\"; }\n"
    "}\n"
    "skip resource old { nonsense here; }\n"
    "resource \"vm1\" {\n"
    "  device /dev/drbd1 minor 1; meta-disk internal; options { on-peer-loss continue; }\n"
    "  net { protocol C; timeout 30; ko-count 0; allow-two-primaries no; }\n"
    "  disk { c-max-rate 10M; al-extents 1237; on-io-error detach; }\n"
    "  on alpha { node-id 0; volume 0 { device minor 1; disk /dev/vg0/vm1; }\n"
    "             address ipv4 10.1.1.31:7789; }\n"
    "  on beta { node-id 1; disk \"/dev/vg 0/vm1\"; flexible-meta-disk /dev/vg0/meta;\n"
    "            address ipv6 [fd00::32]:7790; }\n"
    "}\n";

START_TEST(test_drbd_file)
{
    struct config_resource r = parse_one(drbd_file);

    ck_assert_uint_eq(r.core.ping_interval, UINT64_C(3000000000));
    ck_assert(r.ping_interval_set);
    ck_assert_uint_eq(r.core.timeout, UINT64_C(3000000000));
    ck_assert_uint_eq(r.core.ko_count, 0);
    ck_assert_uint_eq(r.core.resync_rate_max, UINT64_C(10) << 20);
    ck_assert_uint_eq(r.al_extents, 1237);
    ck_assert_uint_eq(r.core.al_extents, 1237);
    ck_assert_int_eq(r.core.on_io_error, CORE_IO_ERROR_DETACH);
    ck_assert_int_eq(r.core.on_peer_loss, CORE_PEER_LOSS_CONTINUE);
    ck_assert_str_eq(r.local.disk, "/dev/vg0/vm1");
    ck_assert_str_eq(r.local.meta_disk, "internal");
    ck_assert_str_eq(r.peer.disk, "/dev/vg 0/vm1");
    ck_assert_str_eq(r.peer.meta_disk, "/dev/vg0/meta");
    ck_assert_str_eq(r.peer.address, "fd00::32");
    ck_assert_uint_eq(r.peer.port, 7790);
}
END_TEST

/* A disk section inside `on` counts on that host only. */
START_TEST(test_host_options)
{
    struct config_resource r = parse_one(
        "resource vm1 { disk /dev/x; on alpha { disk { al-extents 100; } address 10.0.0.1:1; }\n"
        "on beta { disk { al-extents 200; } address 10.0.0.2:1; } }");

    ck_assert_uint_eq(r.al_extents, 100);
}
END_TEST

START_TEST(test_x509)
{
    struct config_resource r = parse_one(NET("auth x509; ca-file ca.pem; certificate-file /c.pem; "
                                             "private-key-file \"a; {#} \\\"\\\\\";"));

    ck_assert_int_eq(r.auth, CONFIG_AUTH_X509);
    ck_assert_str_eq(r.ca_file, SYSCONFDIR "/tapdrbd.d/ca.pem");
    ck_assert_str_eq(r.certificate_file, "/c.pem");
    ck_assert_str_eq(r.private_key_file, SYSCONFDIR "/tapdrbd.d/a; {#} \"\\");
    ck_assert_str_eq(r.peer_name, "beta");
}
END_TEST

/* `on` names what uname -n prints, or its first part; the exact name goes first. */
START_TEST(test_node_names)
{
    static const struct {
        const char *node, *first, *local;
    } cases[] = {
        {"alpha", "alpha", "alpha"},    {"alpha.example.org", "alpha", "alpha"},
        {"beta", "alpha", "beta"},      {"gamma", "alpha", NULL},
        {"alph", "alpha", NULL},        {"alpha", "alpha.example.org", NULL},
        {"beta.x", "beta.x", "beta.x"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replica_error error = {0};
        struct config config = {0};
        char text[256];

        (void)snprintf(text, sizeof text,
                       "resource r { disk /d; on %s { address 10.0.0.1:1; }\n"
                       "on beta { address 10.0.0.2:1; } }",
                       cases[i].first);
        ck_assert_msg(parse(text, cases[i].node, &config, &error) == 0, "%s", error.text);
        ck_assert_uint_eq(config.count, cases[i].local ? 1 : 0);
        if (cases[i].local)
            ck_assert_str_eq(config.resources[0].local.name, cases[i].local);
        config_free(&config);
    }
}
END_TEST

static const struct {
    const char *text;
    int code;
    const char *expected; /* the whole message */
} bad[] = {
    /* the shape */
    {NET("timeout 60"), REPLICA_E_INVALID, "vm1.res:2: expected ';' after '60', found '}'"},
    {"resource vm1 {\n", REPLICA_E_INVALID,
     "vm1.res:2: expected '}', found the end of the file: the block that begins in line 1 is still "
     "open"},
    {"resource vm1", REPLICA_E_INVALID,
     "vm1.res:1: expected ';' after 'vm1', found the end of the file"},
    {"}\n", REPLICA_E_INVALID, "vm1.res:1: expected a section, found '}': one '}' too many"},
    {";", REPLICA_E_INVALID, "vm1.res:1: expected a keyword, found ';'"},
    {"a { {", REPLICA_E_INVALID, "vm1.res:1: expected a keyword, found '{'"},
    {"resource \"vm1 {\n", REPLICA_E_INVALID,
     "vm1.res:1: expected a closing '\"' on the same line"},
    {"resource \x01;", REPLICA_E_INVALID, "vm1.res:1: expected text, found the byte 0x01"},
    {"resource \"a\x02\";", REPLICA_E_INVALID,
     "vm1.res:1: expected text between the quotes, found the byte 0x02"},
    {"a{b{c{d{e{f{g{h{i{j;}}}}}}}}}", REPLICA_E_INVALID,
     "vm1.res:1: expected at most 8 blocks inside each other"},
    {NET("timeout 60\n ping-int 10;"), REPLICA_E_INVALID,
     "vm1.res:2: expected ';' behind the value of 'timeout', found 'ping-int' in line 3: is a ';' "
     "missing?"},
    /* names */
    {"resorce vm1 { }", REPLICA_E_INVALID,
     "vm1.res:1: expected 'resource NAME {', 'common {' or 'global {', found 'resorce': did you "
     "mean 'resource'?"},
    {"resource { }", REPLICA_E_INVALID, "vm1.res:1: expected 'resource NAME {'"},
    {"resource ../x { }", REPLICA_E_INVALID,
     "vm1.res:1: expected a resource name of letters, digits, '.', '_' and '-' (at most 63, and "
     "not 'all'), found '../x'"},
    {RESOURCE("nett { timeout 5; }"), REPLICA_E_INVALID,
     "vm1.res:2: unknown option 'nett' in 'resource': did you mean 'net'?"},
    {NET("timout 5;"), REPLICA_E_INVALID,
     "vm1.res:2: unknown option 'timout' in 'net': did you mean 'timeout'?"},
    {NET("frobnicate 5;"), REPLICA_E_INVALID,
     "vm1.res:2: unknown option 'frobnicate' in 'net': tapdrbd.conf(5) lists them"},
    {DISK("ping-int 5;"), REPLICA_E_INVALID,
     "vm1.res:2: 'ping-int' is an option of the section 'net', found in 'disk': move it"},
    {RESOURCE("ping-int 5;"), REPLICA_E_INVALID,
     "vm1.res:2: 'ping-int' is an option of the section 'net', found in 'resource': move it"},
    {"resource vm1 { on alpha {\non beta { } }", REPLICA_E_INVALID,
     "vm1.res:2: expected '}', found the end of the file: the block that begins in line 1 is still "
     "open"},
    {"resource r { disk /d; on a { address 1.2.3.4:1; \n net { } } on b { address 1.2.3.5:1; } }",
     REPLICA_E_INVALID, "vm1.res:2: 'net' does not belong into 'on': is a '}' missing above?"},
    {NET("\n on alpha { }"), REPLICA_E_INVALID,
     "vm1.res:3: expected an option of 'net', found the section 'on': is a '}' missing above?"},
    /* values */
    {NET("timeout;"), REPLICA_E_INVALID,
     "vm1.res:2: expected a value behind 'timeout', found none"},
    {NET("timeout 6s;"), REPLICA_E_INVALID,
     "vm1.res:2: timeout: expected a number in tenths of a second (60 is 6 s), found '6s'"},
    {NET("timeout -1;"), REPLICA_E_INVALID,
     "vm1.res:2: timeout: expected a number in tenths of a second (60 is 6 s), found '-1'"},
    {NET("timeout 601;"), REPLICA_E_INVALID,
     "vm1.res:2: timeout: expected 1 to 600 (tenths of a second (60 is 6 s)), found '601'"},
    {NET("timeout 99999999999999999999;"), REPLICA_E_INVALID,
     "vm1.res:2: timeout: expected a number in tenths of a second (60 is 6 s), found "
     "'99999999999999999999'"},
    {DISK("c-max-rate 99999999999999G;"), REPLICA_E_INVALID,
     "vm1.res:2: c-max-rate: expected a number in KiB/s, or with K, M or G behind it, found "
     "'99999999999999G'"},
    {DISK("c-fill-target 10x;"), REPLICA_E_INVALID,
     "vm1.res:2: c-fill-target: expected a number in sectors of 512 bytes, or with K or M behind "
     "it, found '10x'"},
    {DISK("disk-timeout 6001;"), REPLICA_E_INVALID,
     "vm1.res:2: disk-timeout: expected 0 to 6000 (tenths of a second (300 is 30 s; 0: never)), "
     "found '6001'"},
    {DISK("disk-timeout 30s;"), REPLICA_E_INVALID,
     "vm1.res:2: disk-timeout: expected a number in tenths of a second (300 is 30 s; 0: never), "
     "found '30s'"},
    {NET("csums-alg crc32c;"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'csums-alg crc32c' is not in this version: write 'csums-alg none;' or delete the "
     "line"},
    {DISK("c-delay-target 10;"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'c-delay-target' is unknown to tapdisk-drbd though DRBD has it: what is under way "
     "is bounded by c-fill-target: delete the line"},
    {DISK("on-io-error explode;"), REPLICA_E_INVALID,
     "vm1.res:2: on-io-error: expected one of detach, pass_on, call-local-io-error, found "
     "'explode'"},
    {NET("timeout 5; ping-int 5;\n timeout 6;"), REPLICA_E_INVALID,
     "vm1.res:3: 'timeout' was given in line 2 already: keep one of the two"},
    {NET("timeout { }"), REPLICA_E_INVALID,
     "vm1.res:2: expected ';' behind the option 'timeout', found '{'"},
    {RESOURCE("net;"), REPLICA_E_INVALID, "vm1.res:2: expected '{' behind 'net', found ';'"},
    /* what DRBD has and we lack */
    {NET("protocol A;"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'protocol A' is unknown to tapdisk-drbd though DRBD has it: A and B answer the "
     "guest before the peer has the write on its disk, and a crash then loses it; tapdisk-drbd has "
     "protocol C only: write 'protocol C;' or delete the line"},
    {NET("allow-two-primaries;"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'allow-two-primaries' is unknown to tapdisk-drbd though DRBD has it: live "
     "migration hands the Primary role over and never needs two: delete the line"},
    {NET("shared-secret FooFunFactory;"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'shared-secret' is unknown to tapdisk-drbd though DRBD has it: the secret of "
     "tapdisk-drbd is not in this file but in a key file of its own: delete the line, then run "
     "'tapdrbdadm pair PEER-HOST' to make and install it"},
    {NET("fencing resource-only;"), REPLICA_E_INVALID,
     "vm1.res:1: resource vm1: fencing needs the script that does it: write 'handlers { fence-peer "
     "\"COMMAND\"; }', or 'fencing dont-care;'"},
    {RESOURCE("volume 1 { disk /dev/y; }"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'volume 1' is unknown to tapdisk-drbd though DRBD has it: a resource has the one "
     "volume 0: make a second resource"},
    {RESOURCE("meta-disk /dev/sdb1[0];"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: '/dev/sdb1[0]' with an index is unknown to tapdisk-drbd though DRBD has it: give "
     "each resource a metadata device of its own, or write 'meta-disk internal;'"},
    {RESOURCE("connection { host a; }"), REPLICA_E_UNSUPPORTED,
     "vm1.res:2: 'connection' is unknown to tapdisk-drbd though DRBD has it: a resource has two "
     "'on HOST { ... }' sections, each with its address"},
    {"include \"drbd.d/*.res\";", REPLICA_E_UNSUPPORTED,
     "vm1.res:1: 'include' is unknown to tapdisk-drbd though DRBD has it: every *.res file of "
     "" SYSCONFDIR "/tapdrbd.d is read anyway: delete the line"},
    /* hosts */
    {"resource r { disk /d; }", REPLICA_E_INVALID,
     "vm1.res:1: resource r: expected two 'on HOST { ... }' sections, found none"},
    {"resource r { disk /d; on a { address 10.0.0.1:1; } }", REPLICA_E_INVALID,
     "vm1.res:1: resource r: expected two 'on HOST { ... }' sections, found one"},
    {RESOURCE("on gamma { }"), REPLICA_E_UNSUPPORTED,
     "vm1.res:4: a third 'on' section ('beta'): tapdisk-drbd has two hosts a resource"},
    {"resource r { disk /d; on a { address 10.0.0.1:1; } on a { } }", REPLICA_E_INVALID,
     "vm1.res:1: a second 'on a': the other host's name is expected here"},
    {"resource r { on a { address 10.0.0.1:1; } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: on a: expected a disk, found none: write 'disk /dev/...;'"},
    {"resource r { disk /d; on a { } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: on a: expected an address, found none: write 'address 10.1.1.31:7789;' with the "
     "address the other host reaches it by"},
    {"resource r { disk d; on a { } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: disk: expected a path that begins with '/', found 'd'"},
    {"resource r { disk /d; on a { address alpha:7789; } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: address: expected ADDRESS:PORT in numbers, like 10.1.1.31:7789 or "
     "[fd00::31]:7789, found 'alpha:7789'"},
    {"resource r { disk /d; on a { address [fe80::1]:7789; } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: address: [fe80::1]:7789 is a link-local address, which says nothing without an "
     "interface: give the hosts others, like [fd00::31]:7789"},
    {"resource r { disk /d; on a { address 10.0.0.1; } on b { } }", REPLICA_E_INVALID,
     "vm1.res:1: address: expected ADDRESS:PORT in numbers, like 10.1.1.31:7789 or "
     "[fd00::31]:7789, found '10.0.0.1'"},
    {"resource r { disk /d; on a { address sdp 10.0.0.1:1; } on b { } }", REPLICA_E_UNSUPPORTED,
     "vm1.res:1: the address family 'sdp' is unknown to tapdisk-drbd: it has ipv4 and ipv6"},
    {"resource r { disk /d; meta-disk /d; on a { address 10.0.0.1:1; } on b { } }",
     REPLICA_E_INVALID,
     "vm1.res:1: on a: /d is disk and meta-disk at once: write 'meta-disk internal;'"},
    {NET("auth x509;"), REPLICA_E_INVALID,
     "vm1.res:1: resource vm1: 'auth x509' needs 'ca-file FILE;' in net"},
    {NET("ca-file ca.pem;"), REPLICA_E_INVALID,
     "vm1.res:1: resource vm1: 'ca-file' is for certificates, but 'auth' is psk: write 'auth "
     "x509;' in net, or delete the line"},
    /* between resources */
    {RESOURCE("") RESOURCE(""), REPLICA_E_EXISTS,
     "vm1.res:6: a second resource vm1: the first is in vm1.res, line 1"},
    {RESOURCE("") "resource vm2 { disk /dev/vg0/vm1; on alpha { address 10.1.1.31:7790; } on beta "
                  "{ address 10.1.1.32:7790; } }",
     REPLICA_E_EXISTS,
     "vm1.res:6: resource vm2: /dev/vg0/vm1 on alpha belongs to resource vm1 already (vm1.res, "
     "line 1): give each its own"},
    {RESOURCE("") "resource vm2 { disk /dev/vg0/vm2; on alpha { address 10.1.1.31:7789; } on beta "
                  "{ address 10.1.1.32:7790; } }",
     REPLICA_E_EXISTS,
     "vm1.res:6: resource vm2: address 10.1.1.31 port 7789 is that of resource vm1 already "
     "(vm1.res, line 1): give it another port"},
    {"resource r { disk /d; on a { address 10.0.0.1:1; } on b { address 10.0.0.1:1; } }",
     REPLICA_E_EXISTS, "vm1.res:1: resource r: both hosts have the address 10.0.0.1 port 1"},
};

START_TEST(test_bad)
{
    struct replica_error error = {0};
    struct config config = {.count = 77};

    ck_assert_int_eq(parse(bad[_i].text, "alpha", &config, &error), bad[_i].code);
    ck_assert_str_eq(error.text, bad[_i].expected);
    ck_assert_int_eq(error.code, bad[_i].code);
    ck_assert_uint_eq(config.count, 77); /* untouched on failure */
}
END_TEST

START_TEST(test_bounds)
{
    size_t length = CONFIG_FILE_BYTES_MAX + 1;
    char *text = malloc(length);
    struct replica_error error = {0};
    struct config config;

    ck_assert_ptr_nonnull(text);
    memset(text, ' ', length);
    ck_assert_int_eq(config_parse_text(text, length, "x", "a", &config, &error), REPLICA_E_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "expected at most 1048576 bytes, found 1048577"));
    memset(text, 'w', length);
    ck_assert_int_eq(config_parse_text(text, length - 1, "x", "a", &config, &error),
                     REPLICA_E_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "expected a word of at most 511 bytes"));
    for (size_t i = 0; i < length; i++)
        text[i] = i % 2 ? ' ' : 'w';
    text[length - 2] = ';';
    ck_assert_int_eq(config_parse_text(text, length - 1, "x", "a", &config, &error),
                     REPLICA_E_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "words in a row"));
    free(text);
}
END_TEST

/* What dump prints is read back as the same, and dumps as the same. */
static void dump_twice(const char *text, char *first, char *second, size_t capacity)
{
    struct config_resource r = parse_one(text);
    FILE *out = fmemopen(first, capacity, "w");

    config_dump(&r, out);
    fclose(out);
    r = parse_one(first);
    out = fmemopen(second, capacity, "w");
    config_dump(&r, out);
    fclose(out);
}

START_TEST(test_dump)
{
    static const char *const texts[] = {
        drbd_file,
        RESOURCE(""),
        NET("auth x509; peer-name \"b; {#}\"; ca-file \"my ca\"; certificate-file \"c\\\"\\\\d\"; "
            "private-key-file k;"),
    };
    char first[8192], second[8192];

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *a = first, *b = second;

        dump_twice(texts[i], first, second, sizeof first);
        a = strchr(a, '\n'); /* the first line tells file and line */
        b = strchr(b, '\n');
        ck_assert_str_eq(a, b);
    }
}
END_TEST

/* ---- directories ------------------------------------------------------------------------------
 */

static char directory[64];

static void directory_make(void)
{
    (void)snprintf(directory, sizeof directory, "/tmp/test_config.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void file_write(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void directory_remove(void)
{
    static const char *const names[] = {"global_common.conf", "a.res", "b.res", ".c.res", "d.txt"};
    char path[256];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        ck_assert(unlink(path) == 0 || errno == ENOENT);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

#define SIMPLE(name, port, net)                                 \
    "resource " name " { disk /dev/" name "; net { " net " }\n" \
    "on alpha { address 10.0.0.1:" port "; } on beta { address 10.0.0.2:" port "; } }\n"

START_TEST(test_directory)
{
    struct config_resource found;
    struct replica_error error = {0};
    struct config config = {0};
    char expected[256];

    file_write("global_common.conf", "common { net { timeout 33; ping-int 4; } }\n");
    file_write("a.res", SIMPLE("two", "2", "timeout 22;"));
    file_write("b.res", SIMPLE("one", "1", ""));
    file_write(".c.res", "garbage");
    file_write("d.txt", "garbage");
    ck_assert_msg(config_load(directory, "beta", &config, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(config.count, 2);
    ck_assert_str_eq(config.resources[0].name, "two"); /* in order of file name */
    ck_assert_uint_eq(config.resources[0].core.timeout, UINT64_C(2200000000));
    ck_assert_uint_eq(config.resources[0].core.ping_interval, UINT64_C(4000000000));
    ck_assert_uint_eq(config.resources[1].core.timeout, UINT64_C(3300000000));
    config_free(&config);
    ck_assert_int_eq(config_find(directory, "alpha", "one", &found, &error), 0);
    ck_assert_str_eq(found.peer.address, "10.0.0.2");
    (void)snprintf(expected, sizeof expected, "%s/one.key", directory);
    ck_assert_str_eq(found.key_file, expected);
    ck_assert_int_eq(config_find(directory, "alpha", "three", &found, &error), REPLICA_E_NOT_FOUND);
    (void)snprintf(expected, sizeof expected, "three: no such resource in %s: there is two, one",
                   directory);
    ck_assert_str_eq(error.text, expected);
}
END_TEST

/* A new user's first mistake: the host name in the file is not this host's. */
START_TEST(test_wrong_host)
{
    struct config_resource found;
    struct replica_error error = {0};
    struct config config = {0};

    file_write("a.res", SIMPLE("one", "1", ""));
    ck_assert_int_eq(config_load(directory, "gamma", &config, &error), 0);
    ck_assert_uint_eq(config.count, 0);
    ck_assert_int_eq(config_find(directory, "gamma", "one", &found, &error), REPLICA_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.text,
                                 "a.res:1: resource one is for the hosts alpha and beta, and this "
                                 "host is 'gamma': the name behind 'on' must be what 'uname -n' "
                                 "prints there (or give --node NAME)"));
}
END_TEST

START_TEST(test_no_directory)
{
    struct replica_error error = {0};
    struct config config = {0};

    ck_assert_int_eq(config_load("/nonexistent/x", "alpha", &config, &error), REPLICA_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.text, "/nonexistent/x: there is no such directory: make "));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *text = tcase_create("text"), *files = tcase_create("files");
    SRunner *runner;
    int failed;

    tcase_add_test(text, test_smallest);
    tcase_add_test(text, test_defaults);
    tcase_add_test(text, test_resync_rates);
    tcase_add_test(text, test_disk_timeout);
    tcase_add_test(text, test_drbd_file);
    tcase_add_test(text, test_host_options);
    tcase_add_test(text, test_x509);
    tcase_add_test(text, test_node_names);
    tcase_add_loop_test(text, test_bad, 0, sizeof bad / sizeof *bad);
    tcase_add_test(text, test_bounds);
    tcase_add_test(text, test_dump);
    suite_add_tcase(suite, text);
    tcase_add_checked_fixture(files, directory_make, directory_remove);
    tcase_add_test(files, test_directory);
    tcase_add_test(files, test_wrong_host);
    tcase_add_test(files, test_no_directory);
    suite_add_tcase(suite, files);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
