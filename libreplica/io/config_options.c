/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_options.c - the table of options and what follows from it. See config_options.h. */
#include "libreplica/io/config_options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum option_kind {
    OPTION_TIME, /* uint64_t, `scale` ns a unit */
    OPTION_RATE, /* uint64_t, bytes a second; suffixes K, M, G */
    OPTION_COUNT32,
    OPTION_COUNT64,
    OPTION_CHOICE, /* an enum; its value is the index into `words` */
    OPTION_TEXT,
    OPTION_PATH,
    OPTION_HARMLESS,
    OPTION_LACKING /* unless it has one of the values in `words`, which say what we do anyway */
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset, capacity;
    uint64_t minimum, maximum, initial; /* in units */
    uint64_t scale;                     /* of what is stored, a unit */
    const char *unit;                   /* for messages */
    const char *const *words;           /* NULL-terminated */
    const char *advice;                 /* LACKING: what to do about it */
    bool later;      /* the fields are there, what follows them is not: as if lacking */
    unsigned usable; /* CHOICE: how many of `words`, from the first on; 0: all */
};

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
#define HANDLER(n, m)                                                                              \
    {                                                                                              \
        .name = n, .kind = OPTION_TEXT, .offset = FIELD(m), .capacity = CAPACITY(m), .later = true \
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
    CHOICE_OF(1, "on-peer-loss", core.on_peer_loss, CORE_PEER_LOSS_CONTINUE, "continue", "freeze"),
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
    CHOICE_OF(1, "fencing", core.fencing, CORE_FENCING_DONT_CARE, "dont-care", "resource-only",
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
    LACKING("after-sb-0pri", "automatic recovery is not in this version: write 'disconnect'",
            "disconnect"),
    LACKING("after-sb-1pri", "automatic recovery is not in this version: write 'disconnect'",
            "disconnect"),
    LACKING("after-sb-2pri", "automatic recovery is not in this version: write 'disconnect'",
            "disconnect"),
    LACKING("always-asbp", LATER, "no"),
    LACKING("rr-conflict", "automatic recovery is not in this version: write 'disconnect'",
            "disconnect"),
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
    HARMLESS("csums-alg"),
    HARMLESS("csums-after-crash-only"),
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
    CHOICE_OF(1, "on-io-error", core.on_io_error, CORE_IO_ERROR_DETACH, "detach", "pass_on",
              "call-local-io-error"),
    LACKING("size", "the size is what the smaller of the two disks holds: delete the line", NULL),
    LACKING("disk-timeout", "this version has no disk-timeout: delete the line", "0"),
    LACKING("resync-after", LATER, NULL),
    LACKING("al-updates", "the activity log is always kept: delete the line", "yes"),
    LACKING("bitmap", "the bitmap is always kept: delete the line", "yes"),
    LACKING("read-balancing", "an UpToDate disk always reads locally: delete the line",
            "prefer-local"),
    HARMLESS("block-size"),
    HARMLESS("c-delay-target"),
    HARMLESS("c-fill-target"),
    HARMLESS("c-min-rate"),
    HARMLESS("c-plan-ahead"),
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
    HANDLER("split-brain", handler_split_brain),
    HANDLER("fence-peer", handler_fence_peer),
    HANDLER("unfence-peer", handler_unfence_peer),
    HANDLER("before-resync-target", handler_before_resync_target),
    HANDLER("after-resync-target", handler_after_resync_target),
    HANDLER("local-io-error", handler_local_io_error),
    HARMLESS("before-resync-source"),
    HARMLESS("disconnected"),
    HARMLESS("initial-split-brain"),
    HARMLESS("out-of-sync"),
    HARMLESS("pri-lost"),
    HARMLESS("pri-lost-after-sb"),
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

static const struct {
    const char *name;
    const struct option *options;
} sections[CONFIG_SECTION_COUNT] = {
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
    {CONFIG_SECTION_DISK, "resync-rate", CONFIG_SECTION_DISK, "c-max-rate"},
    {CONFIG_SECTION_DISK, "rate", CONFIG_SECTION_DISK, "c-max-rate"},
};

const char *config_section_name(enum config_section section)
{
    return sections[section].name;
}

enum config_section config_section_find(const char *name)
{
    for (unsigned i = 0; i < CONFIG_SECTION_COUNT; i++)
        if (strcmp(sections[i].name, name) == 0)
            return (enum config_section)i;
    return CONFIG_SECTION_COUNT;
}

static const struct option *option_in(enum config_section section, const char *name)
{
    for (const struct option *option = sections[section].options; option->name; option++)
        if (strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

static const struct option *option_find(enum config_section section, const char *name)
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

/* ---- errors ------------------------------------------------------------------------------------
 */

int config_fail(const struct config_statement *statement, int code, struct replica_error *error,
                const char *format, ...)
{
    char text[REPLICA_ERROR_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return err_set(error, code, "%s:%d: %s", statement->file, statement->line, text);
}

int config_value_count(const struct config_statement *statement, unsigned values,
                       struct replica_error *error)
{
    const char *keyword = statement->words->text;
    const struct config_word *surplus = config_statement_word(statement, values + 1);

    if (statement->word_count == values + 1)
        return 0;
    if (!surplus)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "expected %s behind '%s', found none",
                           values == 1 ? "a value" : "more values", keyword);
    return config_fail(statement, REPLICA_E_INVALID, error,
                       "expected ';' behind the value of '%s', found '%s' in line %d: is a ';' "
                       "missing?",
                       keyword, surplus->text, surplus->line);
}

/* Levenshtein's distance, given up beyond `limit`. Both strings are shorter than the rows. */
static unsigned edit_distance(const char *a, const char *b, unsigned limit)
{
    unsigned row[64];
    size_t length = strlen(b);

    if (length >= 64 || strlen(a) >= 64)
        return limit + 1;
    for (unsigned j = 0; j <= length; j++)
        row[j] = j;
    for (unsigned i = 0; a[i]; i++) {
        unsigned diagonal = row[0];

        row[0] = i + 1;
        for (unsigned j = 0; j < length; j++) {
            unsigned change = diagonal + (tolower((unsigned char)a[i]) != b[j]);
            unsigned shift = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;

            diagonal = row[j + 1];
            row[j + 1] = change < shift ? change : shift;
        }
    }
    return row[length];
}

const char *config_nearest(const char *text, const char *const *names, size_t count)
{
    unsigned best = strlen(text) < 5 ? 2 : 3; /* the first distance that is too far */
    const char *nearest = NULL;

    for (size_t i = 0; i < count; i++) {
        unsigned distance = edit_distance(text, names[i], best);

        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

/* An option nobody knows here: it may stand in the wrong section, be mistyped, or a '}' may be
 * missing above it. */
static int fail_unknown(enum config_section section, const struct config_statement *statement,
                        struct replica_error *error)
{
    const char *keyword = statement->words->text, *names[64], *nearest;
    size_t count = 0;

    for (unsigned other = 0; other < CONFIG_SECTION_COUNT; other++)
        if (other != section && option_in((enum config_section)other, keyword))
            return config_fail(statement, REPLICA_E_INVALID, error,
                               "'%s' is an option of the section '%s', found in '%s': move it",
                               keyword, sections[other].name, sections[section].name);
    if (statement->block)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "expected an option of '%s', found the section '%s': is a '}' missing "
                           "above?",
                           sections[section].name, keyword);
    for (const struct option *o = sections[section].options; o->name && count < 64; o++)
        names[count++] = o->name;
    nearest = config_nearest(keyword, names, count);
    if (nearest)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "unknown option '%s' in '%s': did you mean '%s'?", keyword,
                           sections[section].name, nearest);
    return config_fail(statement, REPLICA_E_INVALID, error,
                       "unknown option '%s' in '%s': tapdrbd.conf(5) lists them", keyword,
                       sections[section].name);
}

/* ---- values
 * -------------------------------------------------------------------------------------*/

static bool word_in(const char *text, const char *const *words, unsigned *index)
{
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) {
            *index = i;
            return true;
        }
    return false;
}

static void *option_field(const struct option *option, struct config_resource *resource)
{
    return (char *)resource + option->offset;
}

static void number_store(const struct option *option, uint64_t units,
                         struct config_resource *resource)
{
    if (option->kind == OPTION_COUNT32)
        *(uint32_t *)option_field(option, resource) = (uint32_t)units;
    else
        *(uint64_t *)option_field(option, resource) = units * option->scale;
}

/* A number in the option's unit; a rate may have a suffix. Limits are checked in the unit, so
 * that nothing can wrap. */
static int number_apply(const struct option *option, const struct config_statement *statement,
                        const char *text, struct config_resource *resource,
                        struct replica_error *error)
{
    static const char suffixes[] = "KMG";
    char *end = NULL;
    const char *suffix;
    uint64_t units;

    errno = 0;
    units = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || errno)
        end = NULL;
    if (end && *end && option->kind == OPTION_RATE && !end[1]) {
        suffix = strchr(suffixes, toupper((unsigned char)*end));
        for (; suffix && suffix > suffixes && units <= UINT64_MAX >> 10; suffix--)
            units <<= 10;
        if (suffix == suffixes)
            end++;
    }
    if (!end || *end)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "%s: expected a number in %s, found '%s'", option->name, option->unit,
                           text);
    if (units < option->minimum || units > option->maximum)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "%s: expected %" PRIu64 " to %" PRIu64 " (%s), found '%s'", option->name,
                           option->minimum, option->maximum, option->unit, text);
    number_store(option, units, resource);
    return 0;
}

static int choice_fail(const struct option *option, const struct config_statement *statement,
                       const char *text, struct replica_error *error)
{
    char list[160] = "";
    size_t used = 0;

    for (unsigned i = 0; option->words[i] && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 option->words[i]);
    return config_fail(statement, REPLICA_E_INVALID, error, "%s: expected one of %s, found '%s'",
                       option->name, list, text);
}

static int text_apply(const struct option *option, const struct config_statement *statement,
                      const char *text, const char *directory, struct config_resource *resource,
                      struct replica_error *error)
{
    char *field = option_field(option, resource);
    bool relative = option->kind == OPTION_PATH && *text != '/' && *text;
    int length;

    length = snprintf(NULL, 0, "%s%s%s", relative ? directory : "", relative ? "/" : "", text);
    if (length < 0 || (size_t)length >= option->capacity)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "%s: expected at most %zu bytes, found %d", option->name,
                           option->capacity - 1, length);
    (void)snprintf(field, option->capacity, "%s%s%s", relative ? directory : "",
                   relative ? "/" : "", text);
    return 0;
}

/* The value is part of the message where one value is fine and another not, and only there: a
 * shared-secret is not for the terminal. */
static int lacking_check(const struct option *option, const struct config_statement *statement,
                         struct replica_error *error)
{
    const struct config_word *value = config_statement_word(statement, 1);
    bool told = value && option->words[0];
    unsigned index;

    if (value && word_in(value->text, option->words, &index))
        return 0;
    return config_fail(statement, REPLICA_E_UNSUPPORTED, error,
                       "'%s%s%s' is unknown to tapdisk-drbd though DRBD has it: %s", option->name,
                       told ? " " : "", told ? value->text : "", option->advice);
}

/* Whoever writes this counts on it; it must not be taken without a word. */
static int later_fail(const struct option *option, const struct config_statement *statement,
                      struct replica_error *error)
{
    if (option->kind == OPTION_CHOICE)
        return config_fail(statement, REPLICA_E_UNSUPPORTED, error,
                           "'%s %s' is not in this version: write '%s %s;' or delete the line",
                           option->name, config_statement_word(statement, 1)->text, option->name,
                           option->words[0]);
    return config_fail(statement, REPLICA_E_UNSUPPORTED, error,
                       "handlers are not run in this version: delete the line of '%s'",
                       option->name);
}

static int choice_apply(const struct option *option, const struct config_statement *statement,
                        const char *text, struct config_resource *resource,
                        struct replica_error *error)
{
    unsigned index;

    if (!word_in(text, option->words, &index))
        return choice_fail(option, statement, text, error);
    if (option->usable && index >= option->usable)
        return later_fail(option, statement, error);
    *(unsigned *)option_field(option, resource) = index;
    return 0;
}

static int option_apply(const struct option *option, const struct config_statement *statement,
                        const char *directory, struct config_resource *resource,
                        struct replica_error *error)
{
    const char *text;
    int code;

    if (option->kind == OPTION_HARMLESS)
        return 0;
    if (option->kind == OPTION_LACKING)
        return lacking_check(option, statement, error);
    code = config_value_count(statement, 1, error);
    if (code)
        return code;
    if (option->later)
        return later_fail(option, statement, error);
    text = config_statement_word(statement, 1)->text;
    switch (option->kind) {
    case OPTION_TIME:
    case OPTION_RATE:
    case OPTION_COUNT32:
    case OPTION_COUNT64:
        return number_apply(option, statement, text, resource, error);
    case OPTION_CHOICE:
        return choice_apply(option, statement, text, resource, error);
    case OPTION_TEXT:
    case OPTION_PATH:
        return text_apply(option, statement, text, directory, resource, error);
    case OPTION_HARMLESS:
    case OPTION_LACKING:
        break;
    }
    return 0;
}

int config_option_apply(enum config_section section, const struct config_statement *statement,
                        const char *directory, struct config_resource *resource,
                        struct replica_error *error)
{
    const struct option *option = option_find(section, statement->words->text);

    if (!option)
        return fail_unknown(section, statement, error);
    if (statement->block)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "expected ';' behind the option '%s', found '{'", option->name);
    if (section == CONFIG_SECTION_NET && strcmp(option->name, "ping-int") == 0)
        resource->ping_interval_set = true;
    return option_apply(option, statement, directory, resource, error);
}

int config_options_apply(enum config_section section, const struct config_statement *block,
                         const char *directory, struct config_resource *resource,
                         struct replica_error *error)
{
    const struct config_statement *statement, *earlier;

    for (statement = block->children; statement; statement = statement->next) {
        int code;

        for (earlier = block->children; earlier != statement; earlier = earlier->next)
            if (strcmp(earlier->words->text, statement->words->text) == 0)
                return config_fail(statement, REPLICA_E_INVALID, error,
                                   "'%s' was given in line %d already: keep one of the two",
                                   statement->words->text, earlier->line);
        code = config_option_apply(section, statement, directory, resource, error);
        if (code)
            return code;
    }
    return 0;
}

void config_options_default(struct config_resource *resource)
{
    for (unsigned i = 0; i < CONFIG_SECTION_COUNT; i++)
        for (const struct option *option = sections[i].options; option->name; option++)
            if (option->kind <= OPTION_COUNT64)
                number_store(option, option->initial, resource);
            else if (option->kind == OPTION_CHOICE)
                *(unsigned *)option_field(option, resource) = (unsigned)option->initial;
}

/* ---- dump --------------------------------------------------------------------------------------
 */

void config_dump_word(const char *text, FILE *out)
{
    if (*text && !strpbrk(text, " \t;{}\"#\\")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void option_dump(const struct option *option, struct config_resource *resource, FILE *out)
{
    const void *field = option_field(option, resource);

    if (option->kind >= OPTION_HARMLESS)
        return;
    if ((option->kind == OPTION_TEXT || option->kind == OPTION_PATH) && !*(const char *)field)
        return;
    fprintf(out, "\t\t%-20s ", option->name);
    if (option->kind == OPTION_COUNT32)
        fprintf(out, "%" PRIu32, *(const uint32_t *)field);
    else if (option->kind == OPTION_CHOICE)
        fputs(option->words[*(const unsigned *)field], out);
    else if (option->kind == OPTION_TEXT || option->kind == OPTION_PATH)
        config_dump_word(field, out);
    else
        fprintf(out, "%" PRIu64 "%s", *(const uint64_t *)field / option->scale,
                option->kind == OPTION_RATE ? "K" : "");
    fputs(";\n", out);
}

void config_options_dump(const struct config_resource *resource, FILE *out)
{
    struct config_resource copy = *resource; /* the table's offsets are for reading and writing */

    for (unsigned i = 0; i <= CONFIG_SECTION_HANDLERS; i++) {
        fprintf(out, "\t%s {\n", sections[i].name);
        for (const struct option *option = sections[i].options; option->name; option++)
            option_dump(option, &copy, out);
        fputs("\t}\n", out);
    }
}
