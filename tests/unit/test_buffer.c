/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_buffer.c - the pool hands out disjoint, aligned memory, never too much, and forgets none. */
#include "io_help.h"
#include "libreplica/io/buffer.h"

#include <string.h>

enum { POOL_BYTES = 1 << 20, HELD = 300 };

static unsigned rooms;

static void room(void *argument)
{
    (void)argument;
    rooms++;
}

static struct buffer_pool *new_pool(void)
{
    struct buffer_pool *pool;

    rooms = 0;
    ck_assert_int_eq(buffer_pool_new(&pool, POOL_BYTES, room, NULL), 0);
    return pool;
}

START_TEST(test_limits)
{
    struct buffer_pool *pool = new_pool();
    struct replica_buffer *all[4];

    ck_assert_ptr_null(buffer_take(pool, REPLICA_REQUEST_BYTES_MAX + 1));
    for (int i = 0; i < 4; i++) {
        all[i] = buffer_take(pool, REPLICA_REQUEST_BYTES_MAX);
        ck_assert_ptr_nonnull(all[i]);
        ck_assert_uint_eq((uintptr_t)replica_buffer_data(all[i]) % 4096, 0);
        memset(replica_buffer_data(all[i]), i, REPLICA_REQUEST_BYTES_MAX);
    }
    ck_assert_ptr_null(buffer_take(pool, 1));
    ck_assert_uint_eq(rooms, 0);
    replica_buffer_put(all[2]);
    ck_assert_uint_eq(rooms, 1);
    replica_buffer_put(all[1]);
    ck_assert_uint_eq(rooms, 1); /* nobody was waiting any more */
    replica_buffer_put(all[0]);
    replica_buffer_put(all[3]);
    ck_assert_uint_eq(buffer_pool_used(pool), 0);
    buffer_pool_free(pool);
}
END_TEST

START_TEST(test_references)
{
    struct buffer_pool *pool = new_pool();
    struct replica_buffer *buffer = buffer_take(pool, 4096);

    buffer_hold(buffer);
    replica_buffer_put(buffer);
    ck_assert_uint_eq(buffer_pool_used(pool), 4096);
    buffer_pool_free(pool); /* lives on until the last buffer is back */
    memset(replica_buffer_data(buffer), 1, 4096);
    replica_buffer_put(buffer);
    replica_buffer_put(NULL);
}
END_TEST

/* Random sizes come and go; every buffer keeps its pattern, and at the end the memory is whole. */
START_TEST(test_churn)
{
    struct buffer_pool *pool = new_pool();
    struct {
        struct replica_buffer *buffer;
        uint32_t length;
    } held[HELD] = {0};
    unsigned seed = 7;

    for (int step = 0; step < 20000; step++) {
        int i = rand_r(&seed) % HELD;
        if (held[i].buffer) {
            uint8_t *data = replica_buffer_data(held[i].buffer);
            ck_assert_uint_eq(data[0], (uint8_t)i);
            ck_assert_uint_eq(data[held[i].length - 1], (uint8_t)i);
            replica_buffer_put(held[i].buffer);
            held[i].buffer = NULL;
        } else {
            held[i].length = 1u << (rand_r(&seed) % 19);
            held[i].buffer = buffer_take(pool, held[i].length);
            if (held[i].buffer)
                memset(replica_buffer_data(held[i].buffer), i, held[i].length);
        }
    }
    for (int i = 0; i < HELD; i++)
        replica_buffer_put(held[i].buffer);
    ck_assert_uint_eq(buffer_pool_used(pool), 0);
    for (int i = 0; i < POOL_BYTES / REPLICA_REQUEST_BYTES_MAX; i++)
        ck_assert_ptr_nonnull(held[i].buffer = buffer_take(pool, REPLICA_REQUEST_BYTES_MAX));
    for (int i = 0; i < POOL_BYTES / REPLICA_REQUEST_BYTES_MAX; i++)
        replica_buffer_put(held[i].buffer);
    buffer_pool_free(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buffer");
    TCase *all = tcase_create("all");

    tcase_add_test(all, test_limits);
    tcase_add_test(all, test_references);
    tcase_add_test(all, test_churn);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
