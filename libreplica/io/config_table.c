/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_table.c - the table of options. See config_options.h for what an option can be. */
#include "libreplica/io/config_table.h"

#include <stddef.h>
#include <string.h>

#define FIELD(member) offsetof(struct config_resource, member)
#define CAPACITY(member) sizeof(((struct config_resource *)NULL)->member)
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define TIME(n, m, low, high, start, ns, u)                                                  \
    {                                                                                        \
        .name = n, .kind = OPTION_TIME, .offset = FIELD(m), .minimum = low, .maximum = high, \
        .initial = start, .scale = ns, .unit = u                                             \
    }
#define RATE(n, m, high, start)                                                                \
    {                                                                                          \
        .name = n, .kind = OPTION_RATE, .offset = FIELD(m), .maximum = high, .initial = start, \
        .scale = 1024, .unit = "KiB/s, or with K, M or G behind it"                            \
    }
#define SECTORS(n, m, high, start)                                                                \
    {                                                                                             \
        .name = n, .kind = OPTION_SECTORS, .offset = FIELD(m), .maximum = high, .initial = start, \
        .scale = 512, .unit = "sectors of 512 bytes, or with K or M behind it"                    \
    }
#define COUNT32(n, m, low, high, start)                                                         \
    {                                                                                           \
        .name = n, .kind = OPTION_COUNT32, .offset = FIELD(m), .minimum = low, .maximum = high, \
        .initial = start, .scale = 1, .unit = "a plain number"                                  \
    }
#define COUNT64(n, m, low, high, start)                                                         \
    {                                                                                           \
        .name = n, .kind = OPTION_COUNT64, .offset = FIELD(m), .minimum = low, .maximum = high, \
        .initial = start, .scale = 1, .unit = "a plain number"                                  \
    }
#define CHOICE(n, m, start, ...)                                                \
    {                                                                           \
        .name = n, .kind = OPTION_CHOICE, .offset = FIELD(m), .initial = start, \
        .words = WORDS(__VA_ARGS__)                                             \
    }
#define CHOICE_OF(count, n, m, start, ...)                                                       \
    {                                                                                            \
        .name = n, .kind = OPTION_CHOICE, .offset = FIELD(m), .initial = start, .usable = count, \
        .words = WORDS(__VA_ARGS__)                                                              \
    }
#define TEXT(n, m)                                                                  \
    {                                                                               \
        .name = n, .kind = OPTION_TEXT, .offset = FIELD(m), .capacity = CAPACITY(m) \
    }
#define PATH(n, m)                                                                  \
    {                                                                               \
        .name = n, .kind = OPTION_PATH, .offset = FIELD(m), .capacity = CAPACITY(m) \
    }
#define HARMLESS(n)                        \
    {                                      \
        .name = n, .kind = OPTION_HARMLESS \
    }
#define LACKING(n, a, ...)                                                          \
    {                                                                               \
        .name = n, .kind = OPTION_LACKING, .advice = a, .words = WORDS(__VA_ARGS__) \
    }

#define SECOND UINT64_C(1000000000)
#define TENTH (SECOND / 10)
#define LATER "this version cannot do it: delete the line"

static const struct option options_options[] = {
    CHOICE("on-peer-loss", core.on_peer_loss, CORE_PEER_LOSS_CONTINUE, "continue", "freeze"),
    LACKING("auto-promote", "the Xen hotplug script promotes when a guest starts: delete the line",
            "no"),
    LACKING("quorum", "two nodes have no majority: delete the line", "off"),
    LACKING("on-no-quorum", "there is no quorum here: delete the line", "suspend-io", "io-error"),
    LACKING("on-no-data-accessible",
            "without any UpToDate disk a request fails with an I/O error: delete the line",
            "io-error"),
    LACKING("on-suspended-primary-outdated", LATER, "disconnect"),
    HARMLESS("cpu-mask"),
    HARMLESS("max-io-depth"),
    HARMLESS("peer-ack-delay"),
    HARMLESS("peer-ack-window"),
    HARMLESS("quorum-minimum-redundancy"),
    HARMLESS("twopc-retry-timeout"),
    HARMLESS("twopc-timeout"),
    HARMLESS("auto-promote-timeout"),
    HARMLESS("drbd8-compat-mode"),
    {0},
};

static const struct option options_net[] = {
    TIME("timeout", core.timeout, 1, 600, 60, TENTH, "tenths of a second (60 is 6 s)"),
    TIME("ping-int", core.ping_interval, 1, 120, 10, SECOND, "seconds"),
    TIME("ping-timeout", core.ping_timeout, 1, 300, 5, TENTH, "tenths of a second (5 is 0.5 s)"),
    TIME("connect-int", core.connect_interval, 1, 120, 10, SECOND, "seconds"),
    COUNT32("ko-count", core.ko_count, 0, 200, 7),
    CHOICE("fencing", core.fencing, CORE_FENCING_DONT_CARE, "dont-care", "resource-only",
           "resource-and-stonith"),
    CHOICE("auth", auth, CONFIG_AUTH_PSK, "psk", "x509"),
    PATH("key-file", key_file),
    PATH("ca-file", ca_file),
    PATH("certificate-file", certificate_file),
    PATH("private-key-file", private_key_file),
    TEXT("peer-name", peer_name),
    COUNT64("rekey-records", rekey_records, 16, 1 << 24, 1 << 22),
    LACKING("protocol",
            "A and B answer the guest before the peer has the write on its disk, and a crash then "
            "loses it; tapdisk-drbd has protocol C only: write 'protocol C;' or delete the line",
            "C", "c"),
    LACKING("allow-two-primaries",
            "live migration hands the Primary role over and never needs two: delete the line",
            "no"),
    CHOICE("after-sb-0pri", core.after_sb.none, SPLIT_0PRI_DISCONNECT, "disconnect",
           "discard-younger-primary", "discard-older-primary", "discard-zero-changes",
           "discard-least-changes", "discard-local", "discard-remote"),
    CHOICE_OF(SPLIT_1PRI_COUNT, "after-sb-1pri", core.after_sb.one, SPLIT_1PRI_DISCONNECT,
              "disconnect", "consensus", "discard-secondary", "call-pri-lost-after-sb",
              "violently-as0p"),
    CHOICE_OF(SPLIT_2PRI_COUNT, "after-sb-2pri", core.after_sb.two, SPLIT_2PRI_DISCONNECT,
              "disconnect", "call-pri-lost-after-sb", "violently-as0p"),
    LACKING("always-asbp", LATER, "no"),
    CHOICE_OF(2, "rr-conflict", core.rr_conflict, CORE_RR_CONFLICT_DISCONNECT, "disconnect",
              "call-pri-lost", "violently", "retry-connect", "auto-discard"),
    LACKING("shared-secret",
            "the secret of tapdisk-drbd is not in this file but in a key file of its own: delete "
            "the line, then run 'tapdrbdadm pair PEER-HOST' to make and install it",
            NULL),
    LACKING("on-congestion", "writes always wait for the peer: delete the line", "block"),
    LACKING("transport", "the link is TLS over TCP: delete the line", "tcp"),
    LACKING("tls", "the link is always TLS 1.3: delete the line", "yes"),
    LACKING("tls-keyring", "write 'key-file FILE;' instead", NULL),
    LACKING("tls-privkey", "write 'auth x509; private-key-file FILE;' instead", NULL),
    LACKING("tls-certificate", "write 'auth x509; certificate-file FILE;' instead", NULL),
    LACKING("allow-remote-read", LATER, "yes"),
    HARMLESS("cram-hmac-alg"),
    CHOICE("verify-alg", core.verify_digest, CORE_DIGEST_SHA256, "none", "sha256", "sha1", "md5",
           "crc32c"),
    CHOICE_OF(CORE_DIGEST_CRC32C, "csums-alg", core.csums_digest, CORE_DIGEST_NONE, "none",
              "sha256", "sha1", "md5", "crc32c"),
    LACKING("csums-after-crash-only", "csums-alg is for every resync: delete the line", "no"),
    HARMLESS("data-integrity-alg"),
    HARMLESS("congestion-extents"),
    HARMLESS("congestion-fill"),
    HARMLESS("load-balance-paths"),
    HARMLESS("max-buffers"),
    HARMLESS("max-epoch-size"),
    HARMLESS("rcvbuf-size"),
    HARMLESS("rdma-ctrl-rcvbuf-size"),
    HARMLESS("rdma-ctrl-sndbuf-size"),
    HARMLESS("sndbuf-size"),
    HARMLESS("socket-check-timeout"),
    HARMLESS("tcp-cork"),
    HARMLESS("unplug-watermark"),
    HARMLESS("use-rle"),
    HARMLESS("_name"),
    {0},
};

static const struct option options_disk[] = {
    COUNT32("al-extents", al_extents, METADATA_AL_EXTENTS_MIN, METADATA_AL_EXTENTS_MAX,
            METADATA_AL_EXTENTS_DEFAULT),
    RATE("c-max-rate", core.resync_rate_max, 4194304, 102400),
    RATE("c-min-rate", core.resync_rate_min, 4194304, 4096),
    RATE("resync-rate", core.resync_rate, 4194304, 4096),
    TIME("c-plan-ahead", core.resync_plan_ahead, 0, 300, 20, TENTH,
         "tenths of a second (20 is 2 s)"),
    SECTORS("c-fill-target", core.resync_fill, 2097152, 2048),
    LACKING("c-delay-target", "what is under way is bounded by c-fill-target: delete the line",
            NULL),
    CHOICE_OF(1, "on-io-error", core.on_io_error, CORE_IO_ERROR_DETACH, "detach", "pass_on",
              "call-local-io-error"),
    LACKING("size", "the size is in the metadata, see `resize --size`: delete the line", NULL),
    TIME("disk-timeout", core.disk_timeout, 0, 6000, 0, TENTH,
         "tenths of a second (300 is 30 s; 0: never)"),
    LACKING("resync-after", LATER, NULL),
    LACKING("al-updates", "the activity log is always kept: delete the line", "yes"),
    LACKING("bitmap", "the bitmap is always kept: delete the line", "yes"),
    LACKING("read-balancing", "an UpToDate disk always reads locally: delete the line",
            "prefer-local"),
    HARMLESS("block-size"),
    HARMLESS("disable-write-same"),
    HARMLESS("discard-granularity"),
    HARMLESS("discard-zeroes-if-aligned"),
    HARMLESS("disk-barrier"),
    HARMLESS("disk-drain"),
    HARMLESS("disk-flushes"),
    HARMLESS("max-bio-bvecs"),
    HARMLESS("max-bio-size"),
    HARMLESS("md-flushes"),
    HARMLESS("rs-discard-granularity"),
    {0},
};

static const struct option options_handlers[] = {
    TEXT("split-brain", handler[HANDLER_SPLIT_BRAIN]),
    TEXT("fence-peer", handler[HANDLER_FENCE_PEER]),
    TEXT("unfence-peer", handler[HANDLER_UNFENCE_PEER]),
    TEXT("before-resync-target", handler[HANDLER_BEFORE_RESYNC_TARGET]),
    TEXT("after-resync-target", handler[HANDLER_AFTER_RESYNC_TARGET]),
    TEXT("local-io-error", handler[HANDLER_LOCAL_IO_ERROR]),
    HARMLESS("before-resync-source"),
    HARMLESS("disconnected"),
    TEXT("initial-split-brain", handler[HANDLER_INITIAL_SPLIT_BRAIN]),
    HARMLESS("out-of-sync"),
    TEXT("pri-lost", handler[HANDLER_PRI_LOST]),
    TEXT("pri-lost-after-sb", handler[HANDLER_PRI_LOST_AFTER_SB]),
    HARMLESS("pri-on-incon-degr"),
    HARMLESS("quorum-lost"),
    {0},
};

static const struct option options_startup[] = {
    HARMLESS("become-primary-on"),
    HARMLESS("degr-wfc-timeout"),
    HARMLESS("outdated-wfc-timeout"),
    HARMLESS("stacked-timeouts"),
    HARMLESS("wait-after-sb"),
    HARMLESS("wfc-timeout"),
    {0},
};

static const struct option options_global[] = {
    HARMLESS("cmd-timeout-long"),
    HARMLESS("cmd-timeout-medium"),
    HARMLESS("cmd-timeout-short"),
    HARMLESS("dialog-refresh"),
    HARMLESS("disable-ip-verification"),
    HARMLESS("minor-count"),
    HARMLESS("udev-always-use-vnr"),
    HARMLESS("usage-count"),
    {0},
};

const struct option_section option_sections[CONFIG_SECTION_COUNT] = {
    [CONFIG_SECTION_OPTIONS] = {"options", options_options},
    [CONFIG_SECTION_NET] = {"net", options_net},
    [CONFIG_SECTION_DISK] = {"disk", options_disk},
    [CONFIG_SECTION_HANDLERS] = {"handlers", options_handlers},
    [CONFIG_SECTION_STARTUP] = {"startup", options_startup},
    [CONFIG_SECTION_GLOBAL] = {"global", options_global},
};

/* Options that moved between DRBD 8.4 and 9, or have two names: all are understood. */
static const struct {
    enum config_section section;
    const char *name;
    enum config_section section_now;
    const char *name_now;
} aliases[] = {
    {CONFIG_SECTION_DISK, "fencing", CONFIG_SECTION_NET, "fencing"},
    {CONFIG_SECTION_DISK, "rate", CONFIG_SECTION_DISK, "resync-rate"},
};

const char *config_section_name(enum config_section section)
{
    return option_sections[section].name;
}

enum config_section config_section_find(const char *name)
{
    for (unsigned i = 0; i < CONFIG_SECTION_COUNT; i++)
        if (strcmp(option_sections[i].name, name) == 0)
            return (enum config_section)i;
    return CONFIG_SECTION_COUNT;
}

const struct option *option_in(enum config_section section, const char *name)
{
    for (const struct option *option = option_sections[section].options; option->name; option++)
        if (strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

const struct option *option_find(enum config_section section, const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (aliases[i].section == section && strcmp(aliases[i].name, name) == 0)
            return option_in(aliases[i].section_now, aliases[i].name_now);
    return option_in(section, name);
}

bool config_section_has(enum config_section section, const char *option)
{
    return option_find(section, option);
}
