/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_input.h - a fuzzer's input read as operations and their operands; past its end all is 0. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Freed memory is kept from use for a while, not for as long as by default: fresh pages for each
 * allocation are what most of a short execution would be spent on. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4:allocator_may_return_null=1";
}

struct fuzz_input {
    const uint8_t *next, *end;
};

static inline bool fuzz_more(const struct fuzz_input *input)
{
    return input->next < input->end;
}

static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
    return fuzz_more(input) ? *input->next++ : 0;
}

static inline uint16_t fuzz_word(struct fuzz_input *input)
{
    unsigned low = fuzz_byte(input);

    return (uint16_t)(low | (unsigned)fuzz_byte(input) << 8);
}

static inline uint32_t fuzz_long(struct fuzz_input *input)
{
    uint32_t low = fuzz_word(input);

    return low | (uint32_t)fuzz_word(input) << 16;
}

/* What must hold whatever the input is. */
static inline void fuzz_require(bool fact)
{
    if (!fact)
        abort();
}

#endif
