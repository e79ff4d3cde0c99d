/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_config_man.c - the man page tapdrbd.conf(5) against the table of options: each has its
 * entry, with unit, range and default, or its words; whatever has no effect, or is refused, is
 * named.
 */
#include <inttypes.h>
#include <string.h>

#include "libreplica/io/config_table.h"
#include "unit.h"

static char page[256 << 10];

static void read_page(void)
{
    FILE *file = fopen(MAN_PAGE, "r");
    size_t length;

    ck_assert_msg(file, "cannot open %s", MAN_PAGE);
    length = fread(page, 1, sizeof page - 1, file);
    ck_assert(length > 0 && length < sizeof page - 1);
    page[length] = 0;
    fclose(file);
}

static bool is_word_end(char c)
{
    return c == ' ' || c == '\n' || c == 0;
}

/* The first place from `text` on where `word` stands as a word of its own. */
static const char *find_word(const char *text, const char *word)
{
    for (const char *at = text; (at = strstr(at, word)); at++)
        if (at > text && is_word_end(at[-1]) && is_word_end(at[strlen(word)]))
            return at;
    return NULL;
}

/* The entry of an option, from its .It to the next one, macros taken for words. Several options
 * may share one. */
static bool find_entry(const char *name, char *entry, size_t room)
{
    for (const char *line = page; (line = strstr(line, "\n.It ")); line++) {
        const char *line_end = strchr(line + 1, '\n'), *end = strstr(line + 1, "\n.It ");
        char head[512];

        snprintf(head, sizeof head, "%.*s", (int)(line_end - line), line);
        if (!find_word(head, name))
            continue;
        snprintf(entry, room, "%.*s", (int)((end ? end : line + strlen(line)) - line), line);
        for (char *at = entry; *at; at++)
            if (*at == '\n')
                *at = ' ';
        return true;
    }
    return false;
}

static const char *unit_of(const struct option *option)
{
    switch (option->kind) {
    case OPTION_TIME:
        return option->scale == UINT64_C(1000000000) ? "seconds" : "tenths of a second";
    case OPTION_RATE:
        return "KiB/s";
    case OPTION_SECTORS:
        return "sectors of 512 bytes";
    case OPTION_COUNT32:
    case OPTION_COUNT64:
    case OPTION_CHOICE:
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_HARMLESS:
    case OPTION_LACKING:
        break;
    }
    return "";
}

static void check_number(const struct option *option, const char *entry)
{
    char range[64], lower[64], upper[64];

    snprintf(range, sizeof range, "%" PRIu64 " to %" PRIu64, option->minimum, option->maximum);
    snprintf(lower, sizeof lower, "default %" PRIu64, option->initial);
    snprintf(upper, sizeof upper, "Default %" PRIu64, option->initial);
    ck_assert_msg(strstr(entry, range), "%s: no range '%s' in:%s", option->name, range, entry);
    ck_assert_msg(strstr(entry, lower) || strstr(entry, upper), "%s: no '%s' in:%s", option->name,
                  lower, entry);
    ck_assert_msg(strstr(entry, unit_of(option)) || strstr(entry, "Ar seconds"),
                  "%s: no unit '%s' in:%s", option->name, unit_of(option), entry);
}

static void check_choice(const struct option *option, const char *entry)
{
    for (unsigned i = 0; option->words[i] && (option->usable == 0 || i < option->usable); i++)
        ck_assert_msg(find_word(entry, option->words[i]), "%s: no word '%s' in:%s", option->name,
                      option->words[i], entry);
    ck_assert_msg(strstr(entry, "default") || strstr(entry, "Default") || !option->words[1] ||
                      option->usable == 1,
                  "%s: no default in:%s", option->name, entry);
}

static void check_used(const struct option *option)
{
    static char entry[64 << 10];

    ck_assert_msg(find_entry(option->name, entry, sizeof entry), "%s: no entry", option->name);
    switch (option->kind) {
    case OPTION_TIME:
    case OPTION_RATE:
    case OPTION_SECTORS:
    case OPTION_COUNT32:
    case OPTION_COUNT64:
        check_number(option, entry);
        break;
    case OPTION_CHOICE:
        check_choice(option, entry);
        break;
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_HARMLESS:
    case OPTION_LACKING:
        break;
    }
}

static bool is_used(const struct option *option)
{
    return option->kind != OPTION_HARMLESS && option->kind != OPTION_LACKING;
}

START_TEST(test_used)
{
    unsigned count = 0;

    read_page();
    for (unsigned i = 0; i < CONFIG_SECTION_COUNT; i++)
        for (const struct option *option = option_sections[i].options; option->name; option++)
            if (is_used(option)) {
                check_used(option);
                count++;
            }
    ck_assert_uint_gt(count, 30);
}
END_TEST

/* "everything in startup and global" are named as such; _name is what drbdadm dump writes. */
START_TEST(test_named)
{
    const char *from;

    read_page();
    from = strstr(page, "\n.Ss Options of DRBD\n");
    ck_assert_ptr_nonnull(from);
    for (unsigned i = 0; i < CONFIG_SECTION_STARTUP; i++)
        for (const struct option *option = option_sections[i].options; option->name; option++)
            ck_assert_msg(is_used(option) || option->name[0] == '_' ||
                              find_word(from, option->name) || find_word(page, option->name),
                          "%s { %s }: not named", option_sections[i].name, option->name);
}
END_TEST

UNIT_MAIN("config_man", test_used, test_named)
