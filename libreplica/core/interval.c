/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * interval.c - a treap ordered by (offset, ticket), each node with the furthest end in its
 * subtree. See interval.h.
 *
 * Invariants
 *   1. Order: left < node < right by (offset, ticket); a child's priority is at most its parent's.
 *   2. subtree_end is the largest range end in the subtree, itself included.
 *   3. blockers is the number of present intervals that overlap and have a smaller ticket; active
 *      means blockers == 0. So two active ones never overlap, and of those that overlap the
 *      earliest is active.
 *
 * The priority is a hash of the ticket: no random source, and the same history gives the same
 * tree. A guest that picks its offsets by that hash makes the tree as deep as it has requests in
 * flight, which is bounded, and slows down nobody but itself.
 */
#include "interval.h"

#include <stddef.h>
#include <string.h>

#include "mutant.h"

void interval_init(struct interval_set *set)
{
    memset(set, 0, sizeof *set);
}

/* The finalizer of splitmix64, upper half. */
static uint32_t hash(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((value ^ (value >> 31)) >> 32);
}

static bool before(const struct interval *a, const struct interval *b)
{
    if (a->range.offset != b->range.offset)
        return a->range.offset < b->range.offset;
    return a->ticket < b->ticket;
}

/* Restores invariant 2 at one node whose children have it. */
static void renew_end(struct interval *node)
{
    uint64_t end = range_end(node->range);

    if (node->left && node->left->subtree_end > end)
        end = node->left->subtree_end;
    if (node->right && node->right->subtree_end > end)
        end = node->right->subtree_end;
    node->subtree_end = end;
}

static void replace_child(struct interval_set *set, struct interval *parent, struct interval *old,
                          struct interval *new)
{
    if (!parent)
        set->root = new;
    else if (parent->left == old)
        parent->left = new;
    else
        parent->right = new;
    if (new)
        new->parent = parent;
}

/* Lifts `node` over its parent. */
static void rotate_up(struct interval_set *set, struct interval *node)
{
    struct interval *parent = node->parent;
    struct interval *moved;

    replace_child(set, parent->parent, parent, node);
    if (parent->left == node) {
        moved = node->right;
        node->right = parent;
        parent->left = moved;
    } else {
        moved = node->left;
        node->left = parent;
        parent->right = moved;
    }
    if (moved)
        moved->parent = parent;
    parent->parent = node;
    renew_end(parent);
    renew_end(node);
}

static void insert(struct interval_set *set, struct interval *node)
{
    struct interval **place = &set->root;
    struct interval *parent = NULL;

    while (*place) {
        parent = *place;
        if (parent->subtree_end < node->subtree_end)
            parent->subtree_end = node->subtree_end;
        place = before(node, parent) ? &parent->left : &parent->right;
    }
    node->parent = parent;
    *place = node;
    while (node->parent && node->parent->priority < node->priority)
        rotate_up(set, node);
}

static void take_out(struct interval_set *set, struct interval *node)
{
    struct interval *parent;

    while (node->left && node->right)
        rotate_up(set, node->left->priority > node->right->priority ? node->left : node->right);
    parent = node->parent;
    replace_child(set, parent, node, node->left ? node->left : node->right);
    for (; parent; parent = parent->parent)
        renew_end(parent);
    node->parent = node->left = node->right = NULL;
}

/* In the subtree, the first in order that overlaps; NULL when none. */
static struct interval *first_overlap(struct interval *node, struct range range)
{
    while (node && node->subtree_end > range.offset) {
        if (node->left && node->left->subtree_end > range.offset)
            node = node->left;
        else if (range_overlaps(node->range, range))
            return node;
        else if (node->range.offset >= range_end(range))
            return NULL;
        else
            node = node->right;
    }
    return NULL;
}

/* The next in order after `node` that overlaps; NULL when none. */
static struct interval *next_overlap(struct interval *node, struct range range)
{
    for (;;) {
        struct interval *found = first_overlap(node->right, range);

        if (found)
            return found;
        while (node->parent && node->parent->right == node)
            node = node->parent;
        node = node->parent;
        if (!node || node->range.offset >= range_end(range))
            return NULL;
        if (range_overlaps(node->range, range))
            return node;
    }
}

bool interval_enter(struct interval_set *set, struct interval *interval)
{
    struct interval *other;

    interval->ticket = set->next_ticket++;
    interval->priority = hash(interval->ticket);
    interval->parent = interval->left = interval->right = NULL;
    interval->next_waiting = NULL;
    interval->subtree_end = range_end(interval->range);
    interval->blockers = 0;
    other = first_overlap(set->root, interval->range);
    for (; other && !MUTANT(overlap_runs); other = next_overlap(other, interval->range))
        interval->blockers++;
    interval->active = interval->blockers == 0;
    interval->present = true;
    insert(set, interval);
    set->count++;
    return interval->active;
}

/* Puts `interval` into the list at its place by ticket. */
static void list_by_ticket(struct interval **list, struct interval *interval)
{
    while (*list && (*list)->ticket < interval->ticket)
        list = &(*list)->next_waiting;
    interval->next_waiting = *list;
    *list = interval;
}

struct interval *interval_leave(struct interval_set *set, struct interval *interval)
{
    struct interval *free_now = NULL;
    struct interval *other;

    if (!interval->present)
        return NULL;
    take_out(set, interval);
    set->count--;
    interval->present = interval->active = false;
    other = first_overlap(set->root, interval->range);
    for (; other; other = next_overlap(other, interval->range)) {
        if (other->ticket < interval->ticket || (--other->blockers > 0 && !MUTANT(last_waiter)))
            continue;
        other->active = true;
        list_by_ticket(&free_now, other);
    }
    return free_now;
}

bool interval_busy(const struct interval_set *set, struct range range)
{
    return first_overlap(set->root, range) != NULL;
}

struct interval *interval_over(const struct interval_set *set, struct range range,
                               struct interval *last)
{
    return last ? next_overlap(last, range) : first_overlap(set->root, range);
}
