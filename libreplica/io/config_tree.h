/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config_tree.h - a *.res file as a tree of statements, before anyone asks what they mean.
 *
 * drbd.conf has one shape only: words, then ';' or a block of statements. The scanner
 * (config_lex.l) and the grammar (config_parse.y) know that shape and nothing else; config.c and
 * config_options.c know the meaning. So a file with an option that nobody knows still parses, and
 * is answered with a sentence about the option.
 *
 * Memory: everything of a tree comes from its arena and goes with config_tree_free.
 */
#ifndef IO_CONFIG_TREE_H
#define IO_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "libreplica/core/err.h"

enum config_tree_limits {
    CONFIG_FILE_BYTES_MAX = 1 << 20,
    CONFIG_DEPTH_MAX = 8,   /* resource > on > volume > disk is four */
    CONFIG_WORDS_MAX = 64,  /* in one statement */
    CONFIG_WORD_BYTES = 512 /* one word, with its NUL */
};

struct config_word {
    const char *text;
    int line;
    struct config_word *next;
};

/* `timeout 60;` or `on alpha { ... }`: the first word is the keyword. */
struct config_statement {
    struct config_word *words;
    unsigned word_count; /* keyword included, never 0 */
    int line;
    const char *file;
    bool block;
    struct config_statement *children; /* of a block */
    struct config_statement *next;
};

struct config_arena_chunk;

struct config_tree {
    struct config_arena_chunk *chunks;
    const char *file;                    /* name for messages, in the arena */
    struct config_statement *statements; /* top level */
    /* While parsing only: */
    struct replica_error *error;
    int code;
    int depth;
    int block_lines[CONFIG_DEPTH_MAX]; /* where the open blocks began */
    const char *last_word;
    int last_line;
};

/* Parses `length` bytes of `text`. Errors: REPLICA_E_INVALID ("FILE:LINE: expected ..., found
 * ..."), REPLICA_E_MEMORY. On failure nothing is left to free. */
int config_tree_parse(struct config_tree *tree, const char *text, size_t length, const char *file,
                      struct replica_error *error);
void config_tree_free(struct config_tree *tree);

/* The word at `index` (0: the keyword), NULL behind the last one. */
const struct config_word *config_statement_word(const struct config_statement *statement,
                                                unsigned index);

/* ---- for the scanner and the grammar ----------------------------------------------------------
 */

/* NULL when out of memory, which is then recorded in the tree. */
void *config_tree_allocate(struct config_tree *tree, size_t bytes);
struct config_word *config_tree_word(struct config_tree *tree, const char *text, size_t length,
                                     int line);
struct config_statement *config_tree_statement(struct config_tree *tree, struct config_word *words);

/* Records the first error of the tree; returns its code. */
int config_tree_fail(struct config_tree *tree, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
