/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crc32c.c - Castagnoli CRC, reflected polynomial 0x82f63b78. x86 has an instruction for it
 * (SSE 4.2), eight bytes a step; elsewhere a byte a step through a table that the macros below
 * compute at compile time. See crc32c.h.
 *
 * The instruction takes three cycles, and one can begin in each: so three lanes of a long piece are
 * summed side by side. A lane's sum is then moved over the bytes that follow it, which is a
 * multiplication by x^(8 * bytes) modulo the polynomial.
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
typedef long long lanes __attribute__((vector_size(16)));

/* Three lanes and what is left over make a metadata block. */
enum { LANE_BYTES = 1360, STRIPE_BYTES = 3 * LANE_BYTES };
/* x^(8 * LANE_BYTES - 33) and x^(16 * LANE_BYTES - 33) modulo the polynomial, reflected: the
 * product of two reflected numbers is one bit short, and the instruction that reduces it adds 32.
 */
#define OVER_ONE_LANE 0x3f70cc6f
#define OVER_TWO_LANES 0x5aa1f3cf

__attribute__((target("sse4.2"))) static uint64_t step(uint64_t crc, const uint8_t *byte)
{
    uint64_t word;

    memcpy(&word, byte, sizeof word);
    return __builtin_ia32_crc32di(crc, word);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t move_over(uint64_t crc, uint32_t factor)
{
    lanes product = __builtin_ia32_pclmulqdq128((lanes){(long long)crc, 0}, (lanes){factor, 0}, 0);

    return (uint32_t)__builtin_ia32_crc32di(0, (uint64_t)product[0]);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_stripe(uint32_t crc,
                                                                       const uint8_t *byte)
{
    uint64_t first = crc, second = 0, third = 0;

    for (const uint8_t *end = byte + LANE_BYTES; byte < end; byte += sizeof(uint64_t)) {
        first = step(first, byte);
        second = step(second, byte + LANE_BYTES);
        third = step(third, byte + 2 * LANE_BYTES);
    }
    return move_over(first, OVER_TWO_LANES) ^ move_over(second, OVER_ONE_LANE) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) static uint32_t
crc32c_instruction(uint32_t crc, const uint8_t *byte, size_t length)
{
    uint64_t wide = crc;

    for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t), byte += sizeof(uint64_t))
        wide = step(wide, byte);
    crc = (uint32_t)wide;
    while (length--)
        crc = __builtin_ia32_crc32qi(crc, *byte++);
    return crc;
}
#endif

uint32_t crc32c_update(uint32_t crc, const void *data, size_t length)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        const uint8_t *byte = data;

        for (crc = ~crc; length >= STRIPE_BYTES; length -= STRIPE_BYTES, byte += STRIPE_BYTES)
            crc = crc32c_stripe(crc, byte);
        return ~crc32c_instruction(crc, byte, length);
    }
#endif
    return ~crc32c_table(~crc, data, length);
}
