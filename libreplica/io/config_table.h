/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_table.h - between config_table.c (which options there are) and config_options.c (reading
 * and printing them). */
#ifndef IO_CONFIG_TABLE_H
#define IO_CONFIG_TABLE_H

#include "libreplica/io/config_options.h"

enum option_kind {
    OPTION_TIME,    /* uint64_t, `scale` ns a unit */
    OPTION_RATE,    /* uint64_t, bytes a second; suffixes K, M, G */
    OPTION_SECTORS, /* uint32_t, bytes; given in sectors, or with a suffix s, K, M, G */
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
    unsigned usable;                    /* CHOICE: how many of `words`, from the first on; 0: all */
};

/* `options` ends with an entry without a name. */
struct option_section {
    const char *name;
    const struct option *options;
};

extern const struct option_section option_sections[CONFIG_SECTION_COUNT];

/* The option of that name; NULL: none. option_find knows the old names too. */
const struct option *option_in(enum config_section section, const char *name);
const struct option *option_find(enum config_section section, const char *name);

#endif
