/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * range.h - checked arithmetic on byte ranges of a device. Pure; header only.
 */
#ifndef CORE_RANGE_H
#define CORE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes [offset, offset + length) of a device. */
struct range {
    uint64_t offset;
    uint32_t length;
};

/* True when the range neither wraps nor passes `size`, and is not empty. */
static inline bool range_inside(struct range range, uint64_t size)
{
    return range.length != 0 && range.offset < size && range.length <= size - range.offset;
}

static inline bool range_aligned(struct range range, uint32_t unit)
{
    return range.offset % unit == 0 && range.length % unit == 0;
}

/* True when the two have a byte in common. Both must be inside a device (no wrap). */
static inline bool range_overlaps(struct range a, struct range b)
{
    return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

static inline uint64_t range_end(struct range range)
{
    return range.offset + range.length;
}

#endif
