/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hammer.h - the guest's other processor: a thread that rewrites pages of the guest's memory while
 * the backend works on them. One a process, started at the first use; each order is bounded.
 */
#ifndef FUZZ_HAMMER_H
#define FUZZ_HAMMER_H

#include <stddef.h>
#include <stdint.h>

/* Begins to make `count` writes, drawn from `seed`, into `length` bytes from `place` on. Waits for
 * the order before. The memory must stay until hammer_wait. */
void hammer_begin(uint8_t *place, size_t length, uint32_t seed, unsigned count);
/* Returns when the thread writes no more. */
void hammer_wait(void);

#endif
