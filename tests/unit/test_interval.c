/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_interval.c - against a naive model: an array in order of arrival. */
#include "libreplica/core/interval.h"

#include <string.h>

#include "unit.h"

enum { MOST = 200 };

/* The model: those present, in order of arrival. One may go when nothing before it overlaps. */
struct model {
    struct interval *present[MOST];
    bool active[MOST];
    unsigned count;
};

static bool model_blocked(const struct model *model, unsigned index)
{
    for (unsigned i = 0; i < index; i++)
        if (range_overlaps(model->present[i]->range, model->present[index]->range))
            return true;
    return false;
}

static bool model_enter(struct model *model, struct interval *interval)
{
    unsigned index = model->count++;

    model->present[index] = interval;
    model->active[index] = !model_blocked(model, index);
    return model->active[index];
}

/* Takes out number `index`; gives those that may go now, in order of arrival. */
static unsigned model_leave(struct model *model, unsigned index, struct interval **free_now)
{
    unsigned found = 0;

    model->count--;
    memmove(&model->present[index], &model->present[index + 1],
            (model->count - index) * sizeof *model->present);
    memmove(&model->active[index], &model->active[index + 1],
            (model->count - index) * sizeof(bool));
    for (unsigned i = 0; i < model->count; i++) {
        if (model->active[i] || model_blocked(model, i))
            continue;
        model->active[i] = true;
        free_now[found++] = model->present[i];
    }
    return found;
}

/* The tree's own invariants; returns the number of nodes. */
static unsigned check_tree(const struct interval *node, const struct interval *parent)
{
    unsigned count;
    uint64_t end;

    if (!node)
        return 0;
    REQUIRE(node->parent == parent);
    REQUIRE(!parent || node->priority <= parent->priority);
    REQUIRE(!node->left || node->left->range.offset <= node->range.offset);
    REQUIRE(!node->right || node->right->range.offset >= node->range.offset);
    count = 1 + check_tree(node->left, node) + check_tree(node->right, node);
    end = range_end(node->range);
    if (node->left && node->left->subtree_end > end)
        end = node->left->subtree_end;
    if (node->right && node->right->subtree_end > end)
        end = node->right->subtree_end;
    REQUIRE(node->subtree_end == end);
    return count;
}

static void compare(const struct interval_set *set, const struct model *model, uint64_t *seed)
{
    struct range probe = {unit_below(seed, 1000), 1 + unit_below(seed, 100)};
    unsigned over = 0, found = 0;
    struct interval *last = NULL;

    REQUIRE(set->count == model->count);
    REQUIRE(check_tree(set->root, NULL) == model->count);
    for (unsigned i = 0; i < model->count; i++) {
        REQUIRE(model->present[i]->present);
        REQUIRE(model->present[i]->active == model->active[i]);
        if (range_overlaps(model->present[i]->range, probe))
            over++;
    }
    REQUIRE(interval_busy(set, probe) == (over > 0));
    while ((last = interval_over(set, probe, last))) {
        REQUIRE(range_overlaps(last->range, probe));
        found++;
    }
    REQUIRE(found == over);
}

/* `space` is how many offsets there are: few of them mean many overlaps. */
static void random_history(uint64_t seed, uint32_t space, uint32_t longest)
{
    static struct interval pool[MOST];
    struct interval *unused[MOST], *expected[MOST], *list;
    struct interval_set set;
    struct model model = {.count = 0};
    unsigned unused_count = MOST;

    interval_init(&set);
    memset(pool, 0, sizeof pool);
    for (unsigned i = 0; i < MOST; i++)
        unused[i] = &pool[i];
    for (unsigned step = 0; step < 4000; step++) {
        bool grow = unit_below(&seed, 100) < (step / 500 % 2 ? 40u : 60u);

        if (unused_count > 0 && (grow || model.count == 0)) {
            struct interval *interval = unused[--unused_count];

            interval->range =
                (struct range){unit_below(&seed, space), 1 + unit_below(&seed, longest)};
            REQUIRE(interval_enter(&set, interval) == model_enter(&model, interval));
        } else {
            unsigned index = unit_below(&seed, model.count);
            struct interval *interval = model.present[index];
            unsigned count = model_leave(&model, index, expected);

            list = interval_leave(&set, interval);
            for (unsigned i = 0; i < count; i++) {
                REQUIRE(list == expected[i]);
                list = list->next_waiting;
            }
            REQUIRE(!list);
            REQUIRE(!interval->present && !interval->active);
            unused[unused_count++] = interval;
        }
        compare(&set, &model, &seed);
    }
}

START_TEST(test_against_the_model)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        random_history(seed, 1000, 10);  /* few overlaps */
        random_history(seed, 1000, 100); /* some */
        random_history(seed, 20, 10);    /* nearly all */
        random_history(seed, 1, 1);      /* one block that everybody wants */
    }
}
END_TEST

START_TEST(test_order_of_arrival)
{
    struct interval a = {.range = {0, 10}}, b = {.range = {5, 10}}, c = {.range = {12, 10}};
    struct interval d = {.range = {0, 3}};
    struct interval_set set;

    interval_init(&set);
    ck_assert(interval_enter(&set, &a));
    ck_assert(!interval_enter(&set, &b)); /* waits for a */
    ck_assert(!interval_enter(&set, &c)); /* waits for b, though b itself waits */
    ck_assert(!interval_enter(&set, &d)); /* waits for a */
    ck_assert_ptr_eq(interval_leave(&set, &a), &b);
    ck_assert_ptr_eq(b.next_waiting, &d);
    ck_assert_ptr_null(d.next_waiting);
    ck_assert_ptr_eq(interval_leave(&set, &b), &c);
    ck_assert_ptr_null(interval_leave(&set, &c));
    ck_assert_ptr_null(interval_leave(&set, &d));
    ck_assert_ptr_null(set.root);
}
END_TEST

/* One that is held back may be withdrawn; then those behind it wait for the rest only. */
START_TEST(test_leaving_while_held_back)
{
    struct interval a = {.range = {0, 10}}, b = {.range = {5, 10}}, c = {.range = {12, 10}};
    struct interval_set set;

    interval_init(&set);
    ck_assert(interval_enter(&set, &a));
    ck_assert(!interval_enter(&set, &b));
    ck_assert(!interval_enter(&set, &c));
    ck_assert_ptr_eq(interval_leave(&set, &b), &c);
    ck_assert_ptr_null(interval_leave(&set, &b)); /* twice changes nothing */
    ck_assert_uint_eq(set.count, 2);
    ck_assert(interval_busy(&set, (struct range){0, 1}));
    ck_assert_ptr_null(interval_leave(&set, &a));
    ck_assert(!interval_busy(&set, (struct range){0, 12}));
    ck_assert_ptr_null(interval_leave(&set, &c));
}
END_TEST

/* Neighbours do not overlap, and neither do ranges near the end of 64 bits. */
START_TEST(test_edges)
{
    const uint64_t high = ((uint64_t)1 << 63) - 4096;
    struct interval a = {.range = {0, 4096}}, b = {.range = {4096, 4096}};
    struct interval c = {.range = {high, 4096}};
    struct interval_set set;

    interval_init(&set);
    ck_assert(interval_enter(&set, &a));
    ck_assert(interval_enter(&set, &b));
    ck_assert(interval_enter(&set, &c));
    ck_assert(!interval_busy(&set, (struct range){8192, 4096}));
    ck_assert(interval_busy(&set, (struct range){high + 4095, 1}));
}
END_TEST

/* A tree of many stays shallow, whatever the order of the offsets. */
static unsigned depth(const struct interval *node)
{
    unsigned left = node ? depth(node->left) : 0, right = node ? depth(node->right) : 0;

    return node ? 1 + (left > right ? left : right) : 0;
}

START_TEST(test_depth)
{
    enum { MANY = 4096 };
    struct interval *many = calloc(MANY, sizeof *many);
    struct interval_set set;

    interval_init(&set);
    for (unsigned i = 0; i < MANY; i++) {
        many[i].range = (struct range){(uint64_t)i * 4096, 4096};
        ck_assert(interval_enter(&set, &many[i]));
    }
    ck_assert_uint_le(depth(set.root), 48);
    free(many);
}
END_TEST

UNIT_MAIN("interval", test_against_the_model, test_order_of_arrival, test_leaving_while_held_back,
          test_edges, test_depth)
