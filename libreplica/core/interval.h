/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * interval.h - holds back a request while an overlapping one is in flight (P5). Requests that
 * overlap run one after the other in order of arrival; others are not delayed. Pure, intrusive,
 * no allocation. Entering and leaving cost O(log n + k), k being the number of intervals present
 * that overlap.
 */
#ifndef CORE_INTERVAL_H
#define CORE_INTERVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "range.h"

/* Embedded in its owner. Owner sets `range`; the rest belongs to the set. */
struct interval {
    struct range range;
    uint64_t ticket;                        /* order of arrival */
    struct interval *parent, *left, *right; /* balanced tree by offset */
    uint64_t subtree_end;
    uint32_t priority;
    uint32_t blockers;             /* earlier overlapping ones that are still present */
    struct interval *next_waiting; /* links the list that interval_leave gives */
    bool active;                   /* in flight; false: held back */
    bool present;
};

struct interval_set {
    struct interval *root;
    uint64_t next_ticket;
    uint32_t count;
};

void interval_init(struct interval_set *set);

/* Enters `interval`, whose range is not empty and does not wrap. True: nothing earlier overlaps, it
 * may go now. False: held back; it will come out of interval_leave of another one. */
bool interval_enter(struct interval_set *set, struct interval *interval);

/* Takes out `interval` (active or held back) and gives the list, linked through next_waiting, of
 * those that may go now, in order of arrival; NULL when none. */
struct interval *interval_leave(struct interval_set *set, struct interval *interval);

/* Anything present (active or waiting) that overlaps? */
bool interval_busy(const struct interval_set *set, struct range range);

/* All that are present and overlap, by offset: the first, or the next after `last`; NULL: no more.
 */
struct interval *interval_over(const struct interval_set *set, struct range range,
                               struct interval *last);

#endif
