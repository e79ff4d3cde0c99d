/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device_help.c - see device_help.h. */
#include "device_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct replica_loop *loop;
struct replica *replica;
struct xenside *xen;
char sysfs[] = "/tmp/test_device.XXXXXX";

void turns(unsigned count)
{
    while (count--)
        fake_loop_turn(loop, 0);
}

void pass(uint64_t nanoseconds)
{
    fake_loop_advance(loop, nanoseconds);
    turns(3);
}

void open_xen(void)
{
    struct replica_error error = {0};

    ck_assert_msg(
        xenside_open_at(&xen, loop, replica, sysfs, "/run/tapdrbd/vm1.nbd", sysfs, &error) == 0,
        "%s", error.text);
    turns(2);
}

void close_xen(void)
{
    struct fake_leaks leaks;

    xenside_stop(xen);
    leaks = fake_xen_leaks();
    ck_assert_uint_eq(leaks.mapped_pages, 0);
    ck_assert_uint_eq(leaks.bound_ports, 0);
    ck_assert_uint_eq(leaks.handles, 0);
    ck_assert_uint_eq(leaks.watches, 0);
    ck_assert_uint_eq(leaks.transactions, 0);
}

void setup(void)
{
    static const struct fake_settings settings = {"vm1", (uint64_t)SECTORS * 512, 4 << 20};

    (void)strcpy(sysfs, "/tmp/test_device.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(sysfs));
    fake_xen_reset();
    ck_assert_int_eq(replica_loop_new(&loop, NULL), 0);
    replica = fake_replica_new(&settings);
    fake_replica_attach(replica, loop);
    fake_role_reset(replica);
    open_xen();
}

void teardown(void)
{
    char command[128];

    close_xen();
    replica_close(replica);
    xenside_close(xen);
    replica_loop_free(loop);
    (void)snprintf(command, sizeof command, "rm -rf %s", sysfs);
    ck_assert_int_eq(system(command), 0);
}

/* ---- the others
 * ------------------------------------------------------------------------------------ */

void put(const char *directory, const char *leaf, const char *value)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    fake_store_write(path, value);
}

void put_number(const char *directory, const char *leaf, unsigned value)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", value);
    put(directory, leaf, text);
}

const char *get(const char *directory, const char *leaf)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    return fake_store_read(path);
}

void expect_node(const char *directory, const char *leaf, const char *value)
{
    const char *is = get(directory, leaf);

    ck_assert_msg(is && strcmp(is, value) == 0, "%s/%s is %s, not %s", directory, leaf,
                  is ? is : "missing", value);
}

/* What xl writes before it waits for state 2. */
void toolstack_makes(const char *back, const char *front, unsigned domain, const char *params,
                     const char *mode)
{
    put(front, "state", "1");
    put(front, "backend", back);
    put(back, "frontend", front);
    put_number(back, "frontend-id", domain);
    put(back, "script", "/etc/xen/scripts/block-drbd");
    put(back, "mode", mode);
    put(back, "online", "1");
    put(back, "state", "1");
    put(back, "params", params);
}

struct replica_control_request *ask(const char *verb, const char *path)
{
    static struct replica_control_request requests[16];
    static unsigned next;
    struct replica_control_request *request = &requests[next++ % 16];
    char json[512];

    memset(request, 0, sizeof *request);
    (void)snprintf(json, sizeof json, "{\"command\":\"%s\",\"path\":\"%s\"}", verb, path);
    ck_assert(xenside_control(xen, request, json));
    turns(3);
    return request;
}

void add_works(const char *path)
{
    const struct replica_control_request *request = ask("vbd-add", path);

    ck_assert(request->answered);
    ck_assert_msg(request->code == 0, "%s", request->text);
}

/* A frontend's side of the handshake. */
void frontend_publishes(const char *path, struct front *front, unsigned domain)
{
    front_open(front, domain, BLKIF_ABI_X86_64, 0, 1);
    put(path, "protocol", "x86_64-abi");
    put_number(path, "ring-ref", 0);
    put_number(path, "event-channel", front->port);
    put(path, "state", "3");
    turns(3);
}

void connect_all(struct front *front)
{
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    add_works(BACK);
    frontend_publishes(FRONT, front, 7);
    expect_node(BACK, "state", "4");
    put(FRONT, "state", "4");
    turns(2);
}

void works(struct front *front)
{
    struct front_segment segment = {DATA, 0, 7};
    struct front_response response;

    fake_grant(DATA, front->domain, true);
    front_put(front, BLKIF_WRITE, 77, 0, &segment, 1);
    front_push(front, false);
    turns(3);
    ck_assert(front_take(front, &response));
    ck_assert_uint_eq(response.id, 77);
    ck_assert_int_eq(response.status, 0);
}

void frontend_closes(void)
{
    put(FRONT, "state", "6");
    turns(2);
    pass(SECOND / 10);
    expect_node(BACK, "state", "6");
}

void toolstack_removes(bool force)
{
    if (force)
        fake_store_write(FRONT, NULL);
    put(BACK, "online", "0");
    put(BACK, "state", "5");
    turns(3);
}

void frontend_comes_again(struct front *front)
{
    put(FRONT, "state", "1");
    turns(2);
    expect_node(BACK, "state", "2");
    frontend_publishes(FRONT, front, 7);
    expect_node(BACK, "state", "4");
    works(front);
}

struct xenside *process_ends(void)
{
    struct xenside *old = xen;

    close_xen();
    fake_role_reset(replica);
    return old;
}

struct plane_usage usage(void)
{
    struct plane_usage now;

    plane_usage(xenside_plane(xen), &now);
    return now;
}

TCase *group(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}
