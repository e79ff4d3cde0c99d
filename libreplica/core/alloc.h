/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alloc.h - the caller's allocator, so that a test can fail every allocation one at a time. Pure;
 * header only.
 *
 * Memory comes zeroed. The default, calloc, leaves large untouched parts without resident pages;
 * the bitmap and the activity log count on that.
 */
#ifndef CORE_ALLOC_H
#define CORE_ALLOC_H

#include <stdlib.h>

/* Both functions NULL, or no allocator at all: calloc and free. */
struct core_allocator {
    void *(*allocate)(void *context, size_t count, size_t size); /* zeroed, NULL on failure */
    void (*release)(void *context, void *memory);
    void *context;
};

/* NULL when there is no memory; also when count * size does not fit. */
static inline void *alloc_zeroed(const struct core_allocator *allocator, size_t count, size_t size)
{
    if (allocator && allocator->allocate)
        return allocator->allocate(allocator->context, count, size);
    return calloc(count, size);
}

/* `memory` may be NULL. */
static inline void alloc_release(const struct core_allocator *allocator, void *memory)
{
    if (!memory)
        return;
    if (allocator && allocator->release)
        allocator->release(allocator->context, memory);
    else
        free(memory);
}

#endif
