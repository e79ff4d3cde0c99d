/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core_new.c - the one place where the core takes memory: each allocation of core_new fails in
 * its turn. That no step takes any is held by the simulator (host.c).
 */
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/core.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)
#define META_BYTES ((uint64_t)1 << 20)

/* Fails the call number `fails` (from 1 on; 0: none), and counts what is held. */
struct counted {
    unsigned calls, fails;
    int held;
};

static void *counted_allocate(void *context, size_t count, size_t size)
{
    struct counted *counted = context;

    if (++counted->calls == counted->fails)
        return NULL;
    counted->held++;
    return calloc(count, size);
}

static void counted_release(void *context, void *memory)
{
    ((struct counted *)context)->held--;
    free(memory);
}

static int make(struct core **core, struct counted *counted, struct replica_error *error)
{
    const struct core_config config = {.resource = "vm1",
                                       .node = "alpha",
                                       .peer_node = "beta",
                                       .requests_max = 16,
                                       .al_extents = METADATA_AL_EXTENTS_MIN,
                                       .timeout = 6000000000,
                                       .ping_interval = 10000000000,
                                       .ping_timeout = 500000000,
                                       .connect_interval = 10000000000,
                                       .confirm_interval = 1000000000};
    struct core_allocator allocator = {counted_allocate, counted_release, counted};
    uint64_t slots[METADATA_SLOTS];

    ck_assert_int_eq(metadata_slots(META_BYTES, false, slots, NULL), 0);
    return core_new(core, &config, slots, META_BYTES, DATA_BYTES, &allocator, error);
}

/* Only that one fails: those after it succeed, and are given back as well. */
START_TEST(test_each_allocation_fails)
{
    struct counted counted = {0};
    struct core *core = NULL;
    struct replica_error error = {0};
    unsigned calls;

    ck_assert_int_eq(make(&core, &counted, &error), 0);
    calls = counted.calls;
    ck_assert_uint_gt(calls, 8);
    ck_assert_int_eq((int)calls, counted.held);
    core_free(core);
    ck_assert_int_eq(counted.held, 0);
    for (unsigned i = 1; i <= calls; i++) {
        counted = (struct counted){.fails = i};
        core = NULL;
        error = (struct replica_error){0};
        ck_assert_int_eq(make(&core, &counted, &error), REPLICA_E_MEMORY);
        ck_assert_ptr_null(core); /* untouched */
        ck_assert_int_eq(counted.held, 0);
        ck_assert_uint_ge(counted.calls, i);
        ck_assert_ptr_nonnull(strstr(error.text, "vm1"));
    }
}
END_TEST

UNIT_MAIN("core_new", test_each_allocation_fails)
