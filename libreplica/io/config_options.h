/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config_options.h - every option a section may hold: DRBD's and ours, with unit, limits and
 * default, in one table. Reading, defaults and config_dump all follow the table, so what dump
 * prints is what was understood.
 *
 * An option of DRBD is one of three things here: used; harmless (accepted, without effect: it
 * tunes what we do not have, or says what we do anyway); or lacking, which is an error that names
 * it, because an admin who wrote it counts on it.
 */
#ifndef IO_CONFIG_OPTIONS_H
#define IO_CONFIG_OPTIONS_H

#include "libreplica/io/config.h"
#include "libreplica/io/config_tree.h"

enum config_section {
    CONFIG_SECTION_OPTIONS,
    CONFIG_SECTION_NET,
    CONFIG_SECTION_DISK,
    CONFIG_SECTION_HANDLERS,
    CONFIG_SECTION_STARTUP,
    CONFIG_SECTION_GLOBAL,
    CONFIG_SECTION_COUNT
};

const char *config_section_name(enum config_section section);

/* The section of that name, CONFIG_SECTION_COUNT: none. */
enum config_section config_section_find(const char *name);

bool config_section_has(enum config_section section, const char *option);

/* Every option at its default. */
void config_options_default(struct config_resource *resource);

/* Applies the statements of `block`, a `net { ... }` or the like. Relative file names are taken
 * from `directory`. Errors: REPLICA_E_INVALID, REPLICA_E_UNSUPPORTED, text with file and line. */
int config_options_apply(enum config_section section, const struct config_statement *block,
                         const char *directory, struct config_resource *resource,
                         struct replica_error *error);

/* One statement that stands outside its section in old files (`protocol C;`). */
int config_option_apply(enum config_section section, const struct config_statement *statement,
                        const char *directory, struct config_resource *resource,
                        struct replica_error *error);

/* `net { ... }` and so on with every value, each line behind `indent`. */
void config_options_dump(const struct config_resource *resource, FILE *out);

/* Writes `text` as one word, in quotes where it needs them. */
void config_dump_word(const char *text, FILE *out);

/* The name nearest to `text`, or NULL when none is near. `names[count]`. */
const char *config_nearest(const char *text, const char *const *names, size_t count);

/* "FILE:LINE: ..." into *error; returns `code`. */
int config_fail(const struct config_statement *statement, int code, struct replica_error *error,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Checks that the statement has exactly `values` words behind its keyword. */
int config_value_count(const struct config_statement *statement, unsigned values,
                       struct replica_error *error);

#endif
