/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_tree.c - arena and entry point of the parser. See config_tree.h. */
#include "libreplica/io/config_tree.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/io/config_scan.h"

#include "libreplica/io/config_parse.h"

enum { CHUNK_BYTES = 16384, CHUNK_ALIGN = 16 };

struct config_arena_chunk {
    struct config_arena_chunk *next;
    size_t used, capacity;
    _Alignas(CHUNK_ALIGN) char bytes[];
};

void *config_tree_allocate(struct config_tree *tree, size_t bytes)
{
    struct config_arena_chunk *chunk = tree->chunks;
    size_t rounded = (bytes + CHUNK_ALIGN - 1) & ~(size_t)(CHUNK_ALIGN - 1);
    void *memory;

    if (!chunk || chunk->capacity - chunk->used < rounded) {
        size_t capacity = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;

        chunk = calloc(1, sizeof *chunk + capacity);
        if (!chunk) {
            tree->code = err_set(tree->error, REPLICA_E_MEMORY, "%s: out of memory", tree->file);
            return NULL;
        }
        chunk->capacity = capacity;
        chunk->next = tree->chunks;
        tree->chunks = chunk;
    }
    memory = chunk->bytes + chunk->used;
    chunk->used += rounded;
    return memory;
}

int config_tree_fail(struct config_tree *tree, int line, const char *format, ...)
{
    char text[REPLICA_ERROR_TEXT_MAX];
    va_list arguments;

    if (tree->code)
        return tree->code;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tree->code = err_set(tree->error, REPLICA_E_INVALID, "%s:%d: %s", tree->file, line, text);
    return tree->code;
}

struct config_word *config_tree_word(struct config_tree *tree, const char *text, size_t length,
                                     int line)
{
    struct config_word *word;
    char *copy;

    if (length >= CONFIG_WORD_BYTES) {
        config_tree_fail(tree, line,
                         "expected a word of at most %d bytes, found one of %zu: is a closing "
                         "quote missing?",
                         CONFIG_WORD_BYTES - 1, length);
        return NULL;
    }
    word = config_tree_allocate(tree, sizeof *word);
    copy = word ? config_tree_allocate(tree, length + 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    *word = (struct config_word){.text = copy, .line = line};
    tree->last_word = copy;
    tree->last_line = line;
    return word;
}

struct config_statement *config_tree_statement(struct config_tree *tree, struct config_word *words)
{
    struct config_statement *statement = config_tree_allocate(tree, sizeof *statement);
    unsigned count = 0;

    if (!statement)
        return NULL;
    for (struct config_word *word = words; word; word = word->next)
        count++;
    if (count > CONFIG_WORDS_MAX) {
        config_tree_fail(tree, words->line,
                         "expected ';' after '%s' and its values, found %u words in a row",
                         words->text, count);
        return NULL;
    }
    *statement = (struct config_statement){
        .words = words, .word_count = count, .line = words->line, .file = tree->file};
    return statement;
}

const struct config_word *config_statement_word(const struct config_statement *statement,
                                                unsigned index)
{
    const struct config_word *word = statement->words;

    while (word && index--)
        word = word->next;
    return word;
}

static int tree_scan(struct config_tree *tree, const char *text, size_t length)
{
    void *scanner = NULL;
    int result = config_scan_open(&scanner, text, length);

    if (result) {
        tree->code = err_set(tree->error, REPLICA_E_MEMORY, "%s: out of memory", tree->file);
        return tree->code;
    }
    result = config_yyparse(scanner, tree);
    config_scan_close(scanner);
    if (result && !tree->code)
        tree->code = err_set(tree->error, REPLICA_E_MEMORY, "%s: out of memory", tree->file);
    return tree->code;
}

int config_tree_parse(struct config_tree *tree, const char *text, size_t length, const char *file,
                      struct replica_error *error)
{
    size_t name_bytes = strlen(file) + 1;
    char *name;
    int code;

    *tree = (struct config_tree){.file = file, .error = error};
    if (length > CONFIG_FILE_BYTES_MAX)
        return err_set(error, REPLICA_E_INVALID,
                       "%s: expected at most %d bytes, found %zu: this is no configuration file",
                       file, CONFIG_FILE_BYTES_MAX, length);
    name = config_tree_allocate(tree, name_bytes);
    if (!name)
        return REPLICA_E_MEMORY;
    memcpy(name, file, name_bytes);
    tree->file = name;
    code = tree_scan(tree, text, length);
    if (code)
        config_tree_free(tree);
    return code;
}

void config_tree_free(struct config_tree *tree)
{
    while (tree->chunks) {
        struct config_arena_chunk *chunk = tree->chunks;

        tree->chunks = chunk->next;
        free(chunk);
    }
    tree->statements = NULL;
}
