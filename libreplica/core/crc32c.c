/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crc32c.c - Castagnoli CRC, reflected polynomial 0x82f63b78. x86 has an instruction for it
 * (SSE 4.2), eight bytes a step; elsewhere a byte a step through a table that the macros below
 * compute at compile time. See crc32c.h.
 */
#include <string.h>

#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u

/* The remainder after one, four and eight bits. */
#define BIT1(c) (((c) >> 1) ^ (((c)&1u) ? POLYNOMIAL : 0u))
#define BIT4(c) BIT1(BIT1(BIT1(BIT1(c))))
#define BIT8(c) BIT4(BIT4((uint32_t)(c)))
#define ROW4(c) BIT8(c), BIT8((c) + 1), BIT8((c) + 2), BIT8((c) + 3)
#define ROW16(c) ROW4(c), ROW4((c) + 4), ROW4((c) + 8), ROW4((c) + 12)
#define ROW64(c) ROW16(c), ROW16((c) + 16), ROW16((c) + 32), ROW16((c) + 48)

static const uint32_t remainder_of[256] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};

static uint32_t crc32c_table(uint32_t crc, const uint8_t *byte, size_t length)
{
    while (length--)
        crc = (crc >> 8) ^ remainder_of[(crc ^ *byte++) & 0xff];
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc32c_instruction(uint32_t crc, const uint8_t *byte, size_t length)
{
    uint64_t wide = crc;

    for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), byte += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, byte, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    while (length--)
        crc = __builtin_ia32_crc32qi(crc, *byte++);
    return crc;
}
#endif

uint32_t crc32c_update(uint32_t crc, const void *data, size_t length)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_instruction(~crc, data, length);
#endif
    return ~crc32c_table(~crc, data, length);
}
