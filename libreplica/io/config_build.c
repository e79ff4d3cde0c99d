/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_build.c - what the block of a resource means. See config_build.h. */
#include "libreplica/io/config_build.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/io/config_options.h"

enum { REQUESTS_MAX = 1024 };
#define CONFIRM_INTERVAL UINT64_C(2000000000)

enum level { LEVEL_COMMON = 1, LEVEL_RESOURCE = 2, LEVEL_HOST = 4, LEVEL_VOLUME = 8 };

/* Where a statement stands, and what it fills in. */
struct scope {
    struct config_build *build;
    enum level level;
    struct config_resource *resource;
    struct config_host *host; /* disk, meta-disk and address go here */
};

struct keyword {
    const char *name;
    unsigned levels;
    int (*apply)(struct scope *scope, const struct config_statement *statement);
};

static int scope_apply(struct scope *scope, const struct config_statement *block);

#define FAIL(scope, statement, code, ...) \
    config_fail(statement, code, (scope)->build->error, __VA_ARGS__)

static int value_copy(struct scope *scope, const struct config_statement *statement,
                      const char *text, char *place, size_t capacity)
{
    if (*place)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "'%s' is given a second time here: keep one of the two",
                    statement->words->text);
    if (strlen(text) >= capacity)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "%s: expected at most %zu bytes, found %zu", statement->words->text,
                    capacity - 1, strlen(text));
    memcpy(place, text, strlen(text) + 1);
    return 0;
}

static bool name_valid(const char *name)
{
    if (!isalnum((unsigned char)*name) || strlen(name) > REPLICA_NAME_MAX)
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

/* ---- disk, meta-disk, address ------------------------------------------------------------------
 */

static int path_check(struct scope *scope, const struct config_statement *statement,
                      const char *path)
{
    size_t length = strlen(path);

    if (length && path[length - 1] == ']')
        return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                    "'%s' with an index is unknown to tapdisk-drbd though DRBD has it: give each "
                    "resource a metadata device of its own, or write 'meta-disk internal;'",
                    path);
    if (*path != '/')
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "%s: expected a path that begins with '/', found '%s'", statement->words->text,
                    path);
    return 0;
}

static int apply_disk(struct scope *scope, const struct config_statement *statement)
{
    const char *path;
    int code;

    if (statement->block)
        return config_options_apply(CONFIG_SECTION_DISK, statement, scope->build->directory,
                                    scope->resource, scope->build->error);
    if (scope->level == LEVEL_COMMON)
        return FAIL(scope, statement, REPLICA_E_INVALID, "expected 'disk {' in 'common'");
    code = config_value_count(statement, 1, scope->build->error);
    if (code)
        return code;
    path = config_statement_word(statement, 1)->text;
    if (strcmp(path, "none") == 0)
        return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                    "'disk none' is unknown to tapdisk-drbd though DRBD has it: both hosts need a "
                    "disk");
    code = path_check(scope, statement, path);
    return code ? code
                : value_copy(scope, statement, path, scope->host->disk, sizeof scope->host->disk);
}

static int apply_meta_disk(struct scope *scope, const struct config_statement *statement)
{
    int code = config_value_count(statement, 1, scope->build->error);
    const char *path;

    if (code)
        return code;
    path = config_statement_word(statement, 1)->text;
    if (strcmp(path, "internal") != 0)
        code = path_check(scope, statement, path);
    return code ? code
                : value_copy(scope, statement, path, scope->host->meta_disk,
                             sizeof scope->host->meta_disk);
}

static int address_fail(struct scope *scope, const struct config_statement *statement,
                        const char *text)
{
    return FAIL(scope, statement, REPLICA_E_INVALID,
                "address: expected ADDRESS:PORT in numbers, like 10.1.1.31:7789 or "
                "[fd00::31]:7789, found '%s'",
                text);
}

/* Splits "10.1.1.31:7789" or "[fd00::31]:7789". */
static int address_parse(const char *text, struct config_host *host)
{
    const char *colon = strrchr(text, ':');
    bool ipv6 = *text == '[';
    struct in6_addr binary;
    char *end, address[sizeof host->address];
    unsigned long port;
    size_t length;

    if (!colon || !isdigit((unsigned char)colon[1]))
        return -1;
    port = strtoul(colon + 1, &end, 10);
    if (*end || port == 0 || port > 65535)
        return -1;
    text += ipv6;
    length = (size_t)(colon - text);
    if (ipv6 && (length == 0 || text[--length] != ']'))
        return -1;
    if (length >= sizeof address)
        return -1;
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(ipv6 ? AF_INET6 : AF_INET, address, &binary) != 1)
        return -1;
    memcpy(host->address, address, length + 1);
    host->port = (uint16_t)port;
    return 0;
}

/* Binding to one fails without the interface's number, for which the syntax has no place. */
static bool is_link_local(const struct config_host *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET6, host->address, &address) == 1 && IN6_IS_ADDR_LINKLOCAL(&address);
}

static int apply_address(struct scope *scope, const struct config_statement *statement)
{
    const struct config_word *value = config_statement_word(statement, 1);
    const char *family = "";
    int code;

    if (value && value->next) {
        family = value->text;
        value = value->next;
    }
    if (*family && strcmp(family, "ipv4") != 0 && strcmp(family, "ipv6") != 0)
        return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                    "the address family '%s' is unknown to tapdisk-drbd: it has ipv4 and ipv6",
                    family);
    code = config_value_count(statement, *family ? 2 : 1, scope->build->error);
    if (code)
        return code;
    if (*scope->host->address)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "'address' is given a second time here: keep one of the two");
    if (address_parse(value->text, scope->host) ||
        (*family && (*value->text == '[') != (strcmp(family, "ipv6") == 0)))
        return address_fail(scope, statement, value->text);
    if (is_link_local(scope->host))
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "address: %s is a link-local address, which says nothing without an "
                    "interface: give the hosts others, like [fd00::31]:7789",
                    value->text);
    return 0;
}

/* ---- the other words of a resource
 * --------------------------------------------------------------*/

static int apply_nothing(struct scope *scope, const struct config_statement *statement)
{
    (void)scope;
    (void)statement;
    return 0;
}

static int apply_section(struct scope *scope, const struct config_statement *statement)
{
    enum config_section section = config_section_find(statement->words->text);

    if (!statement->block)
        return FAIL(scope, statement, REPLICA_E_INVALID, "expected '{' behind '%s', found ';'",
                    statement->words->text);
    return config_options_apply(section, statement, scope->build->directory, scope->resource,
                                scope->build->error);
}

static int apply_protocol(struct scope *scope, const struct config_statement *statement)
{
    return config_option_apply(CONFIG_SECTION_NET, statement, scope->build->directory,
                               scope->resource, scope->build->error);
}

static int apply_volume(struct scope *scope, const struct config_statement *statement)
{
    const struct config_word *number = config_statement_word(statement, 1);
    struct scope inner = *scope;

    inner.level = LEVEL_VOLUME;
    if (!statement->block || statement->word_count != 2)
        return FAIL(scope, statement, REPLICA_E_INVALID, "expected 'volume 0 {'");
    if (strcmp(number->text, "0") != 0)
        return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                    "'volume %s' is unknown to tapdisk-drbd though DRBD has it: a resource has "
                    "the one volume 0: make a second resource",
                    number->text);
    return scope_apply(&inner, statement);
}

static int apply_lacking(struct scope *scope, const struct config_statement *statement)
{
    return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                "'%s' is unknown to tapdisk-drbd though DRBD has it: a resource has two 'on "
                "HOST { ... }' sections, each with its address",
                statement->words->text);
}

static const struct keyword keywords[] = {
    {"address", LEVEL_HOST, apply_address},
    {"connection", LEVEL_COMMON | LEVEL_RESOURCE, apply_lacking},
    {"connection-mesh", LEVEL_RESOURCE, apply_lacking},
    {"device", LEVEL_RESOURCE | LEVEL_HOST | LEVEL_VOLUME, apply_nothing},
    {"disk", LEVEL_COMMON | LEVEL_RESOURCE | LEVEL_HOST | LEVEL_VOLUME, apply_disk},
    {"flexible-meta-disk", LEVEL_RESOURCE | LEVEL_HOST | LEVEL_VOLUME, apply_meta_disk},
    {"floating", LEVEL_RESOURCE, apply_lacking},
    {"handlers", LEVEL_COMMON | LEVEL_RESOURCE, apply_section},
    {"meta-disk", LEVEL_RESOURCE | LEVEL_HOST | LEVEL_VOLUME, apply_meta_disk},
    {"net", LEVEL_COMMON | LEVEL_RESOURCE, apply_section},
    {"node-id", LEVEL_HOST, apply_nothing},
    {"on", LEVEL_RESOURCE, apply_nothing}, /* hosts_apply */
    {"options", LEVEL_COMMON | LEVEL_RESOURCE, apply_section},
    {"protocol", LEVEL_COMMON | LEVEL_RESOURCE, apply_protocol},
    {"proxy", LEVEL_COMMON | LEVEL_RESOURCE | LEVEL_HOST, apply_lacking},
    {"stacked-on-top-of", LEVEL_RESOURCE, apply_lacking},
    {"startup", LEVEL_COMMON | LEVEL_RESOURCE, apply_section},
    {"template-file", LEVEL_RESOURCE, apply_lacking},
    {"volume", LEVEL_RESOURCE | LEVEL_HOST, apply_volume},
};

static const char *level_name(enum level level)
{
    switch (level) {
    case LEVEL_COMMON:
        return "common";
    case LEVEL_RESOURCE:
        return "resource";
    case LEVEL_HOST:
        return "on";
    case LEVEL_VOLUME:
        return "volume";
    }
    return "?";
}

static int fail_keyword(const struct scope *scope, const struct config_statement *statement,
                        bool known_elsewhere)
{
    const char *keyword = statement->words->text, *names[sizeof keywords / sizeof *keywords];
    const char *nearest;
    size_t count = 0;

    if (known_elsewhere)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "'%s' does not belong into '%s': is a '}' missing above?", keyword,
                    level_name(scope->level));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (keywords[i].levels & scope->level)
            names[count++] = keywords[i].name;
    nearest = config_nearest(keyword, names, count);
    for (unsigned section = 0; !nearest && section < CONFIG_SECTION_COUNT; section++)
        if (config_section_has((enum config_section)section, keyword))
            return FAIL(scope, statement, REPLICA_E_INVALID,
                        "'%s' is an option of the section '%s', found in '%s': move it", keyword,
                        config_section_name((enum config_section)section),
                        level_name(scope->level));
    return FAIL(scope, statement, REPLICA_E_INVALID, "unknown option '%s' in '%s'%s%s%s", keyword,
                level_name(scope->level), nearest ? ": did you mean '" : ": tapdrbd.conf(5) lists",
                nearest ? nearest : " them", nearest ? "'?" : "");
}

static int statement_apply(struct scope *scope, const struct config_statement *statement)
{
    bool known_elsewhere = false;

    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, statement->words->text) == 0) {
            if (keywords[i].levels & scope->level)
                return keywords[i].apply(scope, statement);
            known_elsewhere = true;
        }
    known_elsewhere |= strcmp(statement->words->text, "resource") == 0;
    return fail_keyword(scope, statement, known_elsewhere);
}

static int scope_apply(struct scope *scope, const struct config_statement *block)
{
    for (const struct config_statement *s = block->children; s; s = s->next) {
        int code = statement_apply(scope, s);

        if (code)
            return code;
    }
    return 0;
}

/* ---- hosts -------------------------------------------------------------------------------------
 */

static bool is_on(const struct config_statement *statement)
{
    return strcmp(statement->words->text, "on") == 0;
}

/* The host's own name, or that name up to its first dot. */
static bool node_is(const char *node, const char *name, bool exact)
{
    size_t length = exact ? strlen(node) : strcspn(node, ".");

    return strlen(name) == length && strncmp(node, name, length) == 0;
}

static int host_index_of(const struct config_built *built, const char *node)
{
    for (int exact = 1; exact >= 0; exact--)
        for (int i = 0; i < CONFIG_HOSTS; i++)
            if (node_is(node, built->hosts[i].name, exact))
                return i;
    return -1;
}

static int host_name_apply(struct scope *scope, const struct config_statement *statement,
                           const struct config_built *built, unsigned index)
{
    const struct config_word *name = config_statement_word(statement, 1);

    if (!statement->block || statement->word_count != 2)
        return FAIL(scope, statement, REPLICA_E_INVALID, "expected 'on HOST {'");
    if (index == CONFIG_HOSTS)
        return FAIL(scope, statement, REPLICA_E_UNSUPPORTED,
                    "a third 'on' section ('%s'): tapdisk-drbd has two hosts a resource",
                    name->text);
    if (!name_valid(name->text))
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "expected a host name as 'uname -n' prints it, found '%s'", name->text);
    if (index == 1 && strcmp(built->hosts[0].name, name->text) == 0)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "a second 'on %s': the other host's name is expected here", name->text);
    return 0;
}

/* The names first: they tell which section is ours. */
static int host_names(struct scope *scope, struct config_built *built)
{
    unsigned count = 0;

    for (const struct config_statement *s = built->statement->children; s; s = s->next) {
        int code;

        if (!is_on(s))
            continue;
        code = host_name_apply(scope, s, built, count);
        if (code)
            return code;
        (void)snprintf(built->hosts[count++].name, sizeof built->hosts[0].name, "%s",
                       config_statement_word(s, 1)->text);
    }
    if (count < CONFIG_HOSTS)
        return FAIL(scope, built->statement, REPLICA_E_INVALID,
                    "resource %s: expected two 'on HOST { ... }' sections, found %s",
                    built->resource.name, count ? "one" : "none");
    return 0;
}

static int host_finish(struct scope *scope, const struct config_statement *statement,
                       const struct config_host *shared, struct config_host *host)
{
    if (!*host->disk)
        memcpy(host->disk, shared->disk, sizeof host->disk);
    if (!*host->meta_disk)
        memcpy(host->meta_disk, shared->meta_disk, sizeof host->meta_disk);
    if (!*host->meta_disk)
        (void)snprintf(host->meta_disk, sizeof host->meta_disk, "internal");
    if (!*host->disk)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "on %s: expected a disk, found none: write 'disk /dev/...;'", host->name);
    if (!*host->address)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "on %s: expected an address, found none: write 'address 10.1.1.31:7789;' with "
                    "the address the other host reaches it by",
                    host->name);
    if (strcmp(host->disk, host->meta_disk) == 0)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "on %s: %s is disk and meta-disk at once: write 'meta-disk internal;'",
                    host->name, host->disk);
    return 0;
}

static int hosts_apply(struct scope *scope, struct config_built *built,
                       const struct config_host *shared)
{
    int ours = host_index_of(built, scope->build->node);
    struct config_resource scratch; /* the peer's own disk section is checked, not used */
    unsigned index = 0;

    for (const struct config_statement *s = built->statement->children; s; s = s->next) {
        struct scope inner = *scope;
        int code;

        if (!is_on(s))
            continue;
        scratch = built->resource;
        inner.level = LEVEL_HOST;
        inner.host = &built->hosts[index];
        inner.resource = (int)index == ours ? &built->resource : &scratch;
        code = scope_apply(&inner, s);
        if (code == 0)
            code = host_finish(&inner, s, shared, &built->hosts[index]);
        if (code)
            return code;
        index++;
    }
    built->ours = ours >= 0;
    if (built->ours) {
        built->resource.local = built->hosts[ours];
        built->resource.peer = built->hosts[!ours];
    }
    return 0;
}

/* ---- the whole resource ------------------------------------------------------------------------
 */

static int auth_check(struct scope *scope, const struct config_built *built)
{
    const struct config_resource *r = &built->resource;
    const struct {
        const char *name, *value;
    } files[] = {{"ca-file", r->ca_file},
                 {"certificate-file", r->certificate_file},
                 {"private-key-file", r->private_key_file}};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (r->auth == CONFIG_AUTH_X509 && !*files[i].value)
            return FAIL(scope, built->statement, REPLICA_E_INVALID,
                        "resource %s: 'auth x509' needs '%s FILE;' in net", r->name, files[i].name);
        if (r->auth == CONFIG_AUTH_PSK && *files[i].value)
            return FAIL(scope, built->statement, REPLICA_E_INVALID,
                        "resource %s: '%s' is for certificates, but 'auth' is psk: write 'auth "
                        "x509;' in net, or delete the line",
                        r->name, files[i].name);
    }
    return 0;
}

static int name_apply(struct scope *scope, const struct config_statement *statement,
                      struct config_resource *resource)
{
    const struct config_word *name = config_statement_word(statement, 1);

    if (statement->word_count != 2)
        return FAIL(scope, statement, REPLICA_E_INVALID, "expected 'resource NAME {'");
    if (!name_valid(name->text) || strcmp(name->text, "all") == 0)
        return FAIL(scope, statement, REPLICA_E_INVALID,
                    "expected a resource name of letters, digits, '.', '_' and '-' (at most %d, "
                    "and not 'all'), found '%s'",
                    REPLICA_NAME_MAX, name->text);
    (void)snprintf(resource->name, sizeof resource->name, "%s", name->text);
    (void)snprintf(resource->file, sizeof resource->file, "%s", statement->file);
    resource->line = statement->line;
    return 0;
}

static int resource_finish(struct scope *scope, struct config_built *built)
{
    struct config_resource *r = &built->resource;

    r->core.requests_max = REQUESTS_MAX;
    r->core.confirm_interval = CONFIRM_INTERVAL;
    r->core.al_extents = r->al_extents;
    for (unsigned i = 0; i < HANDLER_COUNT; i++)
        r->core.handlers |= *r->handler[i] ? 1u << i : 0;
    if (r->core.fencing != CORE_FENCING_DONT_CARE && !*r->handler[HANDLER_FENCE_PEER])
        return FAIL(scope, built->statement, REPLICA_E_INVALID,
                    "resource %s: fencing needs the script that does it: write 'handlers { "
                    "fence-peer \"COMMAND\"; }', or 'fencing dont-care;'",
                    r->name);
    memcpy(r->core.resource, r->name, sizeof r->core.resource);
    memcpy(r->core.node, r->local.name, sizeof r->core.node);
    memcpy(r->core.peer_node, r->peer.name, sizeof r->core.peer_node);
    if (!*r->key_file && snprintf(r->key_file, sizeof r->key_file, "%s/%s.key",
                                  scope->build->directory, r->name) >= (int)sizeof r->key_file)
        return FAIL(scope, built->statement, REPLICA_E_INVALID, "the key's path is too long");
    if (r->auth == CONFIG_AUTH_X509 && !*r->peer_name)
        (void)snprintf(r->peer_name, sizeof r->peer_name, "%s", r->peer.name);
    return auth_check(scope, built);
}

int config_build_resource(struct config_build *build, struct config_built *built)
{
    struct config_host shared = {0}, unused = {0};
    struct scope scope = {.build = build, .resource = &built->resource};
    int code;

    config_options_default(&built->resource);
    code = name_apply(&scope, built->statement, &built->resource);
    if (code == 0 && build->common) {
        scope.level = LEVEL_COMMON;
        scope.host = &unused;
        code = scope_apply(&scope, build->common);
    }
    scope.level = LEVEL_RESOURCE;
    scope.host = &shared;
    if (code == 0)
        code = scope_apply(&scope, built->statement);
    if (code == 0)
        code = host_names(&scope, built);
    if (code == 0)
        code = hosts_apply(&scope, built, &shared);
    return code ? code : resource_finish(&scope, built);
}
