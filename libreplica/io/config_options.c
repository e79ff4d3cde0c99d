/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_options.c - what follows from the table of options. See config_options.h. */
#include "libreplica/io/config_options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/io/config_table.h"

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
                               keyword, option_sections[other].name, option_sections[section].name);
    if (statement->block)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "expected an option of '%s', found the section '%s': is a '}' missing "
                           "above?",
                           option_sections[section].name, keyword);
    for (const struct option *o = option_sections[section].options; o->name && count < 64; o++)
        names[count++] = o->name;
    nearest = config_nearest(keyword, names, count);
    if (nearest)
        return config_fail(statement, REPLICA_E_INVALID, error,
                           "unknown option '%s' in '%s': did you mean '%s'?", keyword,
                           option_sections[section].name, nearest);
    return config_fail(statement, REPLICA_E_INVALID, error,
                       "unknown option '%s' in '%s': tapdrbd.conf(5) lists them", keyword,
                       option_sections[section].name);
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
    if (option->kind == OPTION_COUNT32 || option->kind == OPTION_SECTORS)
        *(uint32_t *)option_field(option, resource) = (uint32_t)(units * option->scale);
    else
        *(uint64_t *)option_field(option, resource) = units * option->scale;
}

/* `text` as a number in the option's unit, a suffix counted in. False: it is none. */
static bool number_read(const struct option *option, const char *text, uint64_t *units)
{
    static const char suffixes[] = "KMG";
    bool sectors = option->kind == OPTION_SECTORS;
    const char *suffix;
    char *end = NULL;

    errno = 0;
    *units = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || errno)
        return false;
    if (!*end)
        return true;
    if (end[1] || (option->kind != OPTION_RATE && !sectors))
        return false;
    if (sectors && *end == 's')
        return true;
    suffix = strchr(suffixes, toupper((unsigned char)*end));
    for (; suffix && suffix > suffixes && *units <= UINT64_MAX >> 10; suffix--)
        *units <<= 10;
    if (sectors && *units <= UINT64_MAX / 2)
        *units *= 2; /* a KiB has two */
    return suffix == suffixes;
}

/* Limits are checked in the option's unit, so that nothing can wrap. */
static int number_apply(const struct option *option, const struct config_statement *statement,
                        const char *text, struct config_resource *resource,
                        struct replica_error *error)
{
    uint64_t units;

    if (!number_read(option, text, &units))
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
    return config_fail(statement, REPLICA_E_UNSUPPORTED, error,
                       "'%s %s' is not in this version: write '%s %s;' or delete the line",
                       option->name, config_statement_word(statement, 1)->text, option->name,
                       option->words[0]);
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
    text = config_statement_word(statement, 1)->text;
    switch (option->kind) {
    case OPTION_TIME:
    case OPTION_RATE:
    case OPTION_SECTORS:
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
        for (const struct option *option = option_sections[i].options; option->name; option++)
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
    else if (option->kind == OPTION_SECTORS)
        fprintf(out, "%" PRIu32 "s", *(const uint32_t *)field / REPLICA_SECTOR_BYTES);
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
        fprintf(out, "\t%s {\n", option_sections[i].name);
        for (const struct option *option = option_sections[i].options; option->name; option++)
            option_dump(option, &copy, out);
        fputs("\t}\n", out);
    }
}
