/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plane_help.c - see plane_help.h. */
#include "plane_help.h"

#include <string.h>

struct replica_loop *loop;
struct replica *replica;
struct plane *plane;

void setup_pool(uint32_t pool)
{
    static struct fake_settings settings;

    settings = (struct fake_settings){"vm1", (uint64_t)SECTORS * 512, pool};
    fake_xen_reset();
    ck_assert_int_eq(replica_loop_new(&loop, NULL), 0);
    replica = fake_replica_new(&settings);
    fake_replica_attach(replica, loop);
    ck_assert_int_eq(plane_open(&plane, loop, replica, NULL), 0);
}

void setup(void)
{
    setup_pool(POOL);
}

/* Whatever a test did: nothing of the guest's is held at the end. */
void teardown(void)
{
    struct fake_leaks leaks;

    plane_stop(plane);
    replica_close(replica);
    plane_free(plane);
    replica_loop_free(loop);
    leaks = fake_xen_leaks();
    ck_assert_uint_eq(leaks.mapped_pages, 0);
    ck_assert_uint_eq(leaks.bound_ports, 0);
    ck_assert_uint_eq(leaks.handles, 0);
}

void turns(unsigned count)
{
    while (count--)
        fake_loop_turn(loop, 0);
}

struct vbd *connect_as(struct front *front, bool read_only)
{
    static struct vbd_parameters parameters;
    struct vbd *vbd = NULL;
    struct replica_error error = {0};

    memset(&parameters, 0, sizeof parameters);
    parameters.name = "7/51712";
    parameters.queues = 1;
    parameters.limits =
        (struct blkif_limits){.sectors = SECTORS, .read_only = read_only, .discard = true};
    front_describe(front, &parameters, 0);
    ck_assert_msg(vbd_connect(plane, &parameters, &vbd, &error) == 0, "%s", error.text);
    return vbd;
}

struct vbd *connect_one(struct front *front)
{
    front_open(front, 7, BLKIF_ABI_X86_64, 0, 1);
    return connect_as(front, false);
}

void expect(struct front *front, uint64_t id, int status)
{
    struct front_response response;

    ck_assert_msg(front_take(front, &response), "no response for %u", (unsigned)id);
    ck_assert_uint_eq(response.id, id);
    ck_assert_int_eq(response.status, status);
    ck_assert_uint_ne(response.operation, BLKIF_INDIRECT);
}

void fill(unsigned page, uint8_t value)
{
    memset(fake_page(page), value, FAKE_PAGE_BYTES);
}

bool all(const uint8_t *bytes, size_t length, uint8_t value)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != value)
            return false;
    return true;
}
