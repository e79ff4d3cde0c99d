/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay.c - runs a fuzzer's inputs without a fuzzer: main for tests/fuzz/fuzz_NAME.c in any build.
 *
 *   replay_NAME [FILE|DIRECTORY...]      without arguments: the corpus of the source tree
 *
 * Every file named, and every file in a directory named (not below it), is one input. Prints
 * how many ran. A crash is a failure; so is finding no input at all.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 16 << 20 };

/* Runs one file. The input gets memory of exactly its size, so that AddressSanitizer sees a read
 * past its end. */
static int run_file(const char *path, const struct stat *status)
{
    size_t size = (size_t)status->st_size;
    FILE *file = fopen(path, "rb");
    uint8_t *data;

    if (!file || size > INPUT_BYTES_MAX) {
        fprintf(stderr, "%s: %s\n", path, file ? "too large for an input" : strerror(errno));
        if (file)
            fclose(file);
        return -1;
    }
    data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        fclose(file);
        return -1;
    }
    fclose(file);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int run_path(const char *path, unsigned long *count);

static int run_directory(const char *path, unsigned long *count)
{
    struct dirent **entries;
    int found = scandir(path, &entries, NULL, alphasort);
    int result = 0;

    if (found < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    for (int i = 0; i < found; i++) {
        char inner[4096];
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);

        if (entries[i]->d_name[0] != '.' && length > 0 && (size_t)length < sizeof inner &&
            run_path(inner, count))
            result = -1;
        free(entries[i]);
    }
    free(entries);
    return result;
}

static int run_path(const char *path, unsigned long *count)
{
    struct stat status;

    if (stat(path, &status)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    if (S_ISDIR(status.st_mode))
        return run_directory(path, count);
    if (run_file(path, &status))
        return -1;
    ++*count;
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long count = 0;
    int result = 0;

    if (argc < 2)
        result = run_path(FUZZ_CORPUS, &count);
    for (int i = 1; i < argc; i++)
        if (run_path(argv[i], &count))
            result = -1;
    printf("%lu inputs replayed\n", count);
    return result || count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
