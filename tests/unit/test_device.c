/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_device.c - the Xen side as a whole over a Xen in memory: toolstack, guest, xen-blkback and
 * hotplug script are played by the test, in the orders that real ones choose.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tapdisk-drbd/plane.h"
#include "tapdisk-drbd/xenside_private.h"
#include "tests/fake-xen/fake_front.h"
#include "tests/fake-xen/fake_role.h"
#include "tests/fake/fake_replica.h"

#define BACK "/local/domain/0/backend/vbd/7/51712"
#define BACK3 "/local/domain/0/backend/vbd3/7/51712"
#define FRONT "/local/domain/7/device/vbd/51712"
#define SECOND UINT64_C(1000000000)

enum { SECTORS = 8192, DATA = 512 };

static struct replica_loop *loop;
static struct replica *replica;
static struct xenside *xen;
static char sysfs[] = "/tmp/test_device.XXXXXX";

static void turns(unsigned count)
{
    while (count--)
        fake_loop_turn(loop, 0);
}

static void pass(uint64_t nanoseconds)
{
    fake_loop_advance(loop, nanoseconds);
    turns(3);
}

static void open_xen(void)
{
    struct replica_error error = {0};

    ck_assert_msg(xenside_open_at(&xen, loop, replica, "/run/tapdrbd/vm1.nbd", sysfs, &error) == 0,
                  "%s", error.text);
    turns(2);
}

static void close_xen(void)
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

static void setup(void)
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

static void teardown(void)
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

static void put(const char *directory, const char *leaf, const char *value)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    fake_store_write(path, value);
}

static void put_number(const char *directory, const char *leaf, unsigned value)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", value);
    put(directory, leaf, text);
}

static const char *get(const char *directory, const char *leaf)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    return fake_store_read(path);
}

static void expect_node(const char *directory, const char *leaf, const char *value)
{
    const char *is = get(directory, leaf);

    ck_assert_msg(is && strcmp(is, value) == 0, "%s/%s is %s, not %s", directory, leaf,
                  is ? is : "missing", value);
}

/* What xl writes before it waits for state 2. */
static void toolstack_makes(const char *back, const char *front, unsigned domain,
                            const char *params, const char *mode)
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

static struct replica_control_request *ask(const char *verb, const char *path)
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

static void add_works(const char *path)
{
    const struct replica_control_request *request = ask("vbd-add", path);

    ck_assert(request->answered);
    ck_assert_msg(request->code == 0, "%s", request->text);
}

/* A frontend's side of the handshake. */
static void frontend_publishes(const char *path, struct front *front, unsigned domain)
{
    front_open(front, domain, BLKIF_ABI_X86_64, 0, 1);
    put(path, "protocol", "x86_64-abi");
    put_number(path, "ring-ref", 0);
    put_number(path, "event-channel", front->port);
    put(path, "state", "3");
    turns(3);
}

static void connect_all(struct front *front)
{
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    add_works(BACK);
    frontend_publishes(FRONT, front, 7);
    expect_node(BACK, "state", "4");
    put(FRONT, "state", "4");
    turns(2);
}

static void works(struct front *front)
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

static struct plane_usage usage(void)
{
    struct plane_usage now;

    plane_usage(xenside_plane(xen), &now);
    return now;
}

/* ---- coming
 * -------------------------------------------------------------------------------------- */

START_TEST(create_in_the_ordinary_order)
{
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "2");
    expect_node(BACK, "feature-flush-cache", "1");
    expect_node(BACK, "feature-max-indirect-segments", "256");
    expect_node(BACK, "max-ring-page-order", "4");
    expect_node(BACK, "feature-discard", "1");
    ck_assert_uint_eq(fake_role_promotions(), 0);
    add_works(BACK);
    ck_assert_uint_eq(fake_role_promotions(), 1);
    expect_node(BACK, "hotplug-status", "connected");
    expect_node(BACK, "physical-device-path", "nbd+unix:///?socket=/run/tapdrbd/vm1.nbd");
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    expect_node(BACK, "sectors", "8192");
    expect_node(BACK, "sector-size", "512");
    expect_node(BACK, "physical-sector-size", "4096");
    expect_node(BACK, "info", "0");
    works(&front);
}
END_TEST

/* vbd3: nobody but us writes state 2, and the path is a socket's. */
START_TEST(vbd3_with_its_prefix)
{
    toolstack_makes(BACK3, FRONT, 7, "aio:vm1", "w");
    turns(2);
    expect_node(BACK3, "state", "2");
    add_works("backend/vbd3/7/51712");
    expect_node(BACK3, "physical-device-path", "/run/tapdrbd/vm1.nbd");
}
END_TEST

START_TEST(only_our_nodes)
{
    toolstack_makes(BACK, FRONT, 7, "vm2", "w");
    toolstack_makes("/local/domain/0/backend/vbd/8/51712", "/local/domain/8/device/vbd/51712", 8,
                    "vm1", "w");
    put("/local/domain/0/backend/vbd/8/51712", "script", "/etc/xen/scripts/block-iscsi");
    put("/local/domain/0/backend/vbd/8/51712", "params", "vm1");
    turns(3);
    expect_node(BACK, "state", "1");
    ck_assert_int_eq(ask("vbd-add", BACK)->code, REPLICA_E_NOT_FOUND);
    ck_assert_int_eq(ask("vbd-add", "/local/domain/0/backend/vif/7/0")->code, REPLICA_E_INVALID);
    ck_assert_int_eq(ask("vbd-add", "backend/vbd/7/51712/../..")->code, REPLICA_E_INVALID);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
}
END_TEST

/* The frontend is Initialised, or even Connected, before we are at InitWait. */
START_TEST(frontend_ahead_of_us)
{
    struct front front;

    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    put(FRONT, "protocol", "x86_64-abi");
    put_number(FRONT, "ring-ref", 0);
    put_number(FRONT, "event-channel", front.port);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    put(FRONT, "state", _i ? "4" : "3");
    turns(3);
    expect_node(BACK, "state", "2");
    add_works(BACK);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(read_only_says_so_and_discard_can_be_forbidden)
{
    toolstack_makes(BACK, FRONT, 7, "vm1", "r");
    put(BACK, "discard-enable", "0");
    turns(2);
    add_works(BACK);
    {
        struct front front;

        frontend_publishes(FRONT, &front, 7);
    }
    expect_node(BACK, "info", "4");
    expect_node(BACK, "feature-discard", "0");
}
END_TEST

START_TEST(promotion_refused_is_the_answer)
{
    const struct replica_control_request *request;

    fake_role_refuse(REPLICA_E_PEER_PRIMARY, "vm1 is Primary on beta");
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert_int_eq(request->code, REPLICA_E_PEER_PRIMARY);
    ck_assert_str_eq(request->text, "vm1 is Primary on beta");
    ck_assert_ptr_null(get(BACK, "hotplug-status"));
    put(BACK, "online", "0");
    put(BACK, "state", "5");
    turns(3);
    expect_node(BACK, "state", "6");
}
END_TEST

START_TEST(second_writer_is_refused_reader_is_not)
{
    static const char other[] = "/local/domain/0/backend/vbd/8/51712";
    static const char pygrub[] = "/local/domain/0/backend/vbd/0/51728";
    const struct replica_control_request *request;
    struct front front;

    connect_all(&front);
    toolstack_makes(other, "/local/domain/8/device/vbd/51712", 8, "vm1", "w");
    turns(2);
    request = ask("vbd-add", other);
    ck_assert_int_eq(request->code, REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(request->text, "xl block-detach 7 51712"));
    toolstack_makes(pygrub, "/local/domain/0/device/vbd/51728", 0, "vm1", "r");
    turns(2);
    add_works(pygrub);
    works(&front);
}
END_TEST

/* While the peer is asked the loop runs on; the answer comes when it comes. */
START_TEST(slow_promotion)
{
    const struct replica_control_request *request;
    struct front front;

    fake_role_hold(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert(!request->answered);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "2");
    fake_role_answer();
    turns(3);
    ck_assert(request->answered);
    expect_node(BACK, "state", "4");
}
END_TEST

START_TEST(vanishes_while_the_promotion_is_asked)
{
    const struct replica_control_request *request;

    fake_role_hold(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    request = ask("vbd-add", BACK);
    fake_store_write(BACK, NULL);
    turns(3);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, REPLICA_E_STATE);
    fake_role_answer(); /* and is given back at once: nobody uses it */
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_role_answer();
}
END_TEST

/* ---- xen-blkback
 * ---------------------------------------------------------------------------------- */

static void sysfs_path(char path[256], const char *rest)
{
    (void)snprintf(path, 256, "%s/%s", sysfs, rest);
}

static void blkback_loads(void)
{
    char path[256];

    sysfs_path(path, "drivers");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "drivers/vbd");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "drivers/vbd/unbind");
    fclose(fopen(path, "w"));
    sysfs_path(path, "devices");
    ck_assert_int_eq(mkdir(path, 0755), 0);
    sysfs_path(path, "devices/vbd-7-51712");
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void blkback_binds(bool bound)
{
    char path[256];

    sysfs_path(path, "devices/vbd-7-51712/driver");
    if (bound)
        ck_assert_int_eq(symlink("../../drivers/vbd", path), 0);
    else
        ck_assert_int_eq(unlink(path), 0);
}

START_TEST(blkback_has_to_let_go_first)
{
    char path[256], asked[32] = "";
    FILE *file;

    blkback_loads();
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "1"); /* it may be about to bind */
    blkback_binds(true);
    put(BACK, "feature-persistent", "1");
    put(BACK, "multi-queue-max-queues", "32");
    put(BACK, "state", "2");
    turns(2);
    expect_node(BACK, "feature-persistent", "1"); /* asked to let go, and did not yet */
    sysfs_path(path, "drivers/vbd/unbind");
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(fgets(asked, sizeof asked, file));
    fclose(file);
    ck_assert_str_eq(asked, "vbd-7-51712");
    blkback_binds(false);
    pass(SECOND / 10);
    ck_assert_ptr_null(get(BACK, "feature-persistent"));
    expect_node(BACK, "multi-queue-max-queues", "4");
    expect_node(BACK, "state", "2");
    add_works(BACK);
}
END_TEST

START_TEST(blkback_that_never_binds_is_not_waited_for)
{
    blkback_loads();
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "1");
    pass(3 * SECOND);
    expect_node(BACK, "state", "2");
}
END_TEST

START_TEST(blkback_that_does_not_let_go_ends_the_add)
{
    const struct replica_control_request *request;

    blkback_loads();
    blkback_binds(true);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    put(BACK, "state", "2");
    turns(2);
    request = ask("vbd-add", BACK);
    ck_assert(!request->answered);
    for (unsigned i = 0; i < 25; i++)
        pass(SECOND);
    ck_assert(request->answered);
    ck_assert_int_eq(request->code, REPLICA_E_TIMEOUT);
}
END_TEST

/* The event channel is blkback's for a moment longer than the device. */
START_TEST(event_channel_comes_free_late)
{
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    fake_port_taken(front.port, true);
    put(FRONT, "protocol", "x86_64-abi");
    put_number(FRONT, "ring-ref", 0);
    put_number(FRONT, "event-channel", front.port);
    put(FRONT, "state", "3");
    turns(3);
    expect_node(BACK, "state", "2");
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    fake_port_taken(front.port, false);
    pass(SECOND / 10);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

/* ---- going
 * ---------------------------------------------------------------------------------------- */

/* Frontend closes, comes again on the same nodes (kexec, driver reload). */
START_TEST(frontend_reconnects)
{
    struct front front;

    connect_all(&front);
    for (unsigned i = 0; i < 5; i++) {
        pass(SECOND); /* real frontends are not so fast that it counts as a storm */
        put(FRONT, "state", "5");
        turns(2);
        expect_node(BACK, "state", "5");
        put(FRONT, "state", "6");
        turns(2);
        expect_node(BACK, "state", "6");
        ck_assert_uint_eq(usage().mapped_pages, 0);
        put(FRONT, "state", "1");
        turns(2);
        expect_node(BACK, "state", "2");
        frontend_publishes(FRONT, &front, 7);
        expect_node(BACK, "state", "4");
        works(&front);
    }
    ck_assert_uint_eq(fake_role_promotions(), 1);
}
END_TEST

/* The watch events of 6, 1 and 3 are seen as one. */
START_TEST(frontend_skips_states)
{
    struct front front;

    connect_all(&front);
    put(FRONT, "state", "6");
    turns(2);
    expect_node(BACK, "state", "6");
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

static void toolstack_removes(bool force)
{
    if (force)
        fake_store_write(FRONT, NULL);
    put(BACK, "online", "0");
    put(BACK, "state", "5");
    turns(3);
}

START_TEST(destroy_and_remove_gives_the_role_back)
{
    const struct replica_control_request *request;
    struct front front;

    connect_all(&front);
    toolstack_removes(true);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(usage().mapped_pages + usage().ports, 0);
    ck_assert_uint_eq(fake_role_demotions(), 0);
    request = ask("vbd-remove", BACK);
    ck_assert_int_eq(request->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_store_write(BACK, NULL);
    turns(2);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 0);
    connect_all(&front); /* the next guest at the same place */
    works(&front);
}
END_TEST

START_TEST(role_that_a_person_took_stays)
{
    struct front front;

    fake_replica_role(replica, REPLICA_ROLE_PRIMARY);
    connect_all(&front);
    toolstack_removes(true);
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(fake_role_promotions() + fake_role_demotions(), 0);
}
END_TEST

/* A demotion that is refused (an NBD client is still there) is tried again. */
START_TEST(demotion_is_tried_again)
{
    struct front front;

    connect_all(&front);
    toolstack_removes(true);
    fake_role_refuse(REPLICA_E_BUSY, "NBD clients");
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    fake_role_refuse(0, "");
    pass(2 * SECOND);
    ck_assert_uint_eq(fake_role_demotions(), 2);
    pass(2 * SECOND);
    ck_assert_uint_eq(fake_role_demotions(), 2);
}
END_TEST

/* No script, no word: the nodes are gone. */
START_TEST(backend_node_vanishes)
{
    struct front front;

    connect_all(&front);
    fake_store_write(BACK, NULL);
    turns(3);
    ck_assert_uint_eq(usage().vbds, 0);
    ck_assert_uint_eq(fake_role_demotions(), 1);
    ck_assert_ptr_null(get(BACK, "state")); /* and we did not write it again */
}
END_TEST

/* Made anew before we looked: the old ring is not the new one's. */
START_TEST(made_anew_between_two_looks)
{
    struct front front;

    connect_all(&front);
    fake_store_write(BACK, NULL);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(3);
    expect_node(BACK, "state", "2");
    ck_assert_uint_eq(usage().vbds, 0);
    add_works(BACK);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
}
END_TEST

/* A guest that does not answer, a peer that is dead: state 6 comes all the same. */
START_TEST(close_with_frozen_io_takes_less_than_ten_seconds)
{
    struct front front;
    struct front_segment segment = {DATA, 0, 7};

    connect_all(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    front_put(&front, BLKIF_WRITE, 1, 0, &segment, 1);
    front_put(&front, BLKIF_READ, 2, 0, &segment, 1);
    front_push(&front, false);
    turns(2);
    toolstack_removes(_i == 1);
    expect_node(BACK, "state", "5");
    for (unsigned i = 0; i < 90 && strcmp(get(BACK, "state"), "6") != 0; i++)
        pass(SECOND / 10);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 0);
    ck_assert_uint_eq(usage().vbds, 1); /* only memory */
    fake_replica_hold(replica, false);
    turns(2);
    ck_assert_uint_eq(usage().vbds, 0);
}
END_TEST

/* A frontend that closes by itself is served until it is closed. */
START_TEST(served_while_closing)
{
    struct front front;

    connect_all(&front);
    toolstack_removes(false);
    expect_node(BACK, "state", "5");
    works(&front);
    put(FRONT, "state", "6");
    turns(3);
    expect_node(BACK, "state", "6");
}
END_TEST

START_TEST(toolstack_closes_what_is_closed)
{
    struct front front;

    connect_all(&front);
    put(FRONT, "state", "6");
    turns(2);
    expect_node(BACK, "state", "6");
    toolstack_removes(false);
    expect_node(BACK, "state", "6");
}
END_TEST

/* ---- hostile
 * -------------------------------------------------------------------------------------- */

START_TEST(advisory_nonsense_in_the_frontends_nodes)
{
    static const char *const nonsense[][2] = {{"ring-ref", "-1"},
                                              {"ring-ref", "99999999999999999999"},
                                              {"ring-ref", "0x1"},
                                              {"ring-ref", "abc"},
                                              {"ring-ref", ""},
                                              {"ring-ref", "4000000"},
                                              {"event-channel", "4444"},
                                              {"event-channel", " 1"},
                                              {"protocol", "%s%n"},
                                              {"ring-page-order", "5"},
                                              {"ring-page-order", "4294967295"},
                                              {"num-ring-pages", "3"},
                                              {"num-ring-pages", "0"},
                                              {"multi-queue-num-queues", "0"},
                                              {"multi-queue-num-queues", "65"},
                                              {"multi-queue-num-queues", "2"}};
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    for (unsigned i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        char before[64] = "";
        bool had = get(FRONT, nonsense[i][0]) != NULL;

        if (i == 0)
            front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
        put(FRONT, "protocol", "x86_64-abi");
        put_number(FRONT, "ring-ref", 0);
        put_number(FRONT, "event-channel", front.port);
        (void)snprintf(before, sizeof before, "%s", had ? get(FRONT, nonsense[i][0]) : "");
        put(FRONT, nonsense[i][0], nonsense[i][1]);
        put(FRONT, "state", "3");
        turns(2);
        pass(4 * SECOND); /* a channel that cannot be bound is tried for a while */
        ck_assert_msg(strcmp(get(BACK, "state"), "5") == 0, "%s = \"%s\" gave state %s",
                      nonsense[i][0], nonsense[i][1], get(BACK, "state"));
        ck_assert_uint_eq(fake_xen_leaks().mapped_pages + fake_xen_leaks().bound_ports, 0);
        put(FRONT, nonsense[i][0], had ? before : NULL);
        put(FRONT, "state", "6");
        turns(2);
        put(FRONT, "state", "1");
        turns(2);
        expect_node(BACK, "state", "2");
    }
    fake_store_write(FRONT "/ring-page-order", NULL);
    fake_store_write(FRONT "/num-ring-pages", NULL);
    fake_store_write(FRONT "/multi-queue-num-queues", NULL);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
    works(&front);
}
END_TEST

START_TEST(advisory_huge_and_binary_values)
{
    char huge[1000];
    struct front front;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    memset(huge, '7', sizeof huge);
    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    put_number(FRONT, "event-channel", front.port);
    fake_store_write_bytes(FRONT "/ring-ref", huge, sizeof huge);
    put(FRONT, "state", "3");
    turns(2);
    expect_node(BACK, "state", "5");
    fake_store_write_bytes(FRONT "/state",
                           "6\0"
                           "6",
                           3); /* no state at all: UNKNOWN */
    turns(2);
    expect_node(BACK, "state", "6");
    fake_store_write_bytes(FRONT "/state", huge, sizeof huge);
    turns(2);
    expect_node(BACK, "state", "6");
}
END_TEST

/* The guest writes its state as fast as it can: we look a bounded number of times. */
START_TEST(advisory_watch_storm)
{
    struct front front;
    unsigned before;

    connect_all(&front);
    pass(SECOND);
    before = fake_store_reads();
    for (unsigned i = 0; i < 200; i++) {
        put(FRONT, "state", "4");
        turns(1);
    }
    /* Twenty looks in each tenth of a second that this took, some nodes each. */
    ck_assert_uint_lt(fake_store_reads() - before, 1000);
    pass(SECOND);
    put(FRONT, "state", "6");
    turns(2);
    pass(SECOND);
    expect_node(BACK, "state", "6");
}
END_TEST

START_TEST(advisory_connect_and_disconnect_in_a_loop)
{
    struct front front;
    struct front_segment segment = {DATA, 0, 7};

    connect_all(&front);
    fake_grant(DATA, 7, true);
    fake_replica_hold(replica, true);
    for (unsigned i = 0; i < 100; i++) {
        front_put(&front, i % 2 ? BLKIF_WRITE : BLKIF_READ, i, 0, &segment, 1);
        front_push(&front, true);
        turns(1);
        put(FRONT, "state", "6");
        turns(2);
        pass(3 * SECOND);
        expect_node(BACK, "state", "6");
        put(FRONT, "state", "1");
        turns(1);
        front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
        put_number(FRONT, "event-channel", front.port);
        put(FRONT, "state", "3");
        turns(2);
        pass(SECOND);
        expect_node(BACK, "state", "4");
        ck_assert_uint_eq(fake_xen_leaks().mapped_pages, 1);
        ck_assert_uint_eq(fake_xen_leaks().bound_ports, 1);
    }
    fake_replica_hold(replica, false);
    turns(3);
    ck_assert_uint_eq(usage().vbds, 1);
}
END_TEST

START_TEST(advisory_frontend_directory_vanishes)
{
    struct front front;

    connect_all(&front);
    fake_store_write(FRONT, NULL);
    turns(3);
    expect_node(BACK, "state", "6");
    ck_assert_uint_eq(usage().mapped_pages + usage().ports, 0);
}
END_TEST

START_TEST(transactions_that_conflict_are_tried_again)
{
    struct front front;

    fake_store_conflicts(10);
    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    expect_node(BACK, "state", "2");
    fake_store_conflicts(10);
    add_works(BACK);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "4");
}
END_TEST

/* ---- others
 * --------------------------------------------------------------------------------------- */

START_TEST(resize_of_a_live_disk)
{
    struct front front;

    connect_all(&front);
    put(BACK, "sectors", "1");
    xenside_resized(xen, UINT64_C(16384) * 512);
    expect_node(BACK, "sectors", "16384");
    expect_node(BACK, "state", "4");
    turns(2);
    works(&front);
}
END_TEST

/* The process ends with a guest on its ring: the next one leaves the ring alone, and can close. */
START_TEST(next_process_holds_a_live_ring)
{
    struct front front;
    struct xenside *old;

    connect_all(&front);
    close_xen();
    old = xen;
    fake_role_reset(replica);
    open_xen();
    expect_node(BACK, "state", "4");
    ck_assert_uint_eq(usage().mapped_pages, 0);
    ck_assert_uint_eq(fake_role_promotions(), 0);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 1);
    toolstack_removes(true);
    expect_node(BACK, "state", "6");
    ck_assert_int_eq(ask("vbd-remove", BACK)->code, 0);
    ck_assert_uint_eq(xenside_writers(xen, NULL, 0), 0);
    xenside_close(old);
}
END_TEST

/* The process ended between hotplug add and the guest's start. */
START_TEST(next_process_goes_on_with_an_added_vbd)
{
    struct front front;
    struct xenside *old;

    toolstack_makes(BACK, FRONT, 7, "vm1", "w");
    turns(2);
    add_works(BACK);
    close_xen();
    old = xen;
    fake_role_reset(replica);
    fake_role_refuse(REPLICA_E_STATE, "not yet");
    open_xen();
    ck_assert_uint_eq(fake_role_promotions(), 1);
    frontend_publishes(FRONT, &front, 7);
    expect_node(BACK, "state", "2");
    fake_role_refuse(0, "");
    pass(6 * SECOND);
    expect_node(BACK, "state", "4");
    works(&front);
    xenside_close(old);
}
END_TEST

START_TEST(status_and_writers_name_the_vbd)
{
    struct front front;
    char why[100];
    json_t *status;

    ck_assert_uint_eq(xenside_writers(xen, why, sizeof why), 0);
    connect_all(&front);
    works(&front);
    ck_assert_uint_eq(xenside_writers(xen, why, sizeof why), 1);
    ck_assert_str_eq(why, "domain 7 (vbd 51712)");
    status = xenside_status(xen);
    ck_assert_uint_eq(json_array_size(status), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(status, 0), "state")),
                     "Connected");
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(status, 0), "writes")), 1);
    json_decref(status);
}
END_TEST

/* A hundred guests, one after the other: nothing is left of any. */
START_TEST(hundred_guests)
{
    for (unsigned domain = 1; domain <= 100; domain++) {
        char back[128], front_path[128];
        struct front front;

        (void)snprintf(back, sizeof back, "/local/domain/0/backend/vbd/%u/51712", domain);
        (void)snprintf(front_path, sizeof front_path, "/local/domain/%u/device/vbd/51712", domain);
        toolstack_makes(back, front_path, domain, "vm1", "w");
        turns(3);
        add_works(back);
        frontend_publishes(front_path, &front, domain);
        expect_node(back, "state", "4");
        works(&front);
        fake_store_write(front_path, NULL);
        put(back, "online", "0");
        put(back, "state", "5");
        turns(3);
        expect_node(back, "state", "6");
        ck_assert_int_eq(ask("vbd-remove", back)->code, 0);
        fake_store_write(back, NULL);
        turns(2);
        ck_assert_uint_eq(usage().vbds, 0);
        ck_assert_uint_eq(fake_xen_leaks().watches, 2);
    }
    ck_assert_uint_eq(fake_role_promotions(), 100);
    ck_assert_uint_eq(fake_role_demotions(), 100);
}
END_TEST

static TCase *group(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}

static void add_coming(Suite *suite)
{
    TCase *tcase = group(suite, "coming");

    tcase_add_test(tcase, create_in_the_ordinary_order);
    tcase_add_test(tcase, vbd3_with_its_prefix);
    tcase_add_test(tcase, only_our_nodes);
    tcase_add_loop_test(tcase, frontend_ahead_of_us, 0, 2);
    tcase_add_test(tcase, read_only_says_so_and_discard_can_be_forbidden);
    tcase_add_test(tcase, promotion_refused_is_the_answer);
    tcase_add_test(tcase, second_writer_is_refused_reader_is_not);
    tcase_add_test(tcase, slow_promotion);
    tcase_add_test(tcase, vanishes_while_the_promotion_is_asked);
    tcase_add_test(tcase, blkback_has_to_let_go_first);
    tcase_add_test(tcase, blkback_that_never_binds_is_not_waited_for);
    tcase_add_test(tcase, blkback_that_does_not_let_go_ends_the_add);
    tcase_add_test(tcase, event_channel_comes_free_late);
}

static void add_going(Suite *suite)
{
    TCase *tcase = group(suite, "going");

    tcase_add_test(tcase, frontend_reconnects);
    tcase_add_test(tcase, frontend_skips_states);
    tcase_add_test(tcase, destroy_and_remove_gives_the_role_back);
    tcase_add_test(tcase, role_that_a_person_took_stays);
    tcase_add_test(tcase, demotion_is_tried_again);
    tcase_add_test(tcase, backend_node_vanishes);
    tcase_add_test(tcase, made_anew_between_two_looks);
    tcase_add_loop_test(tcase, close_with_frozen_io_takes_less_than_ten_seconds, 0, 2);
    tcase_add_test(tcase, served_while_closing);
    tcase_add_test(tcase, toolstack_closes_what_is_closed);
}

static void add_rest(Suite *suite)
{
    TCase *tcase = group(suite, "hostile");

    tcase_add_test(tcase, advisory_nonsense_in_the_frontends_nodes);
    tcase_add_test(tcase, advisory_huge_and_binary_values);
    tcase_add_test(tcase, advisory_watch_storm);
    tcase_add_test(tcase, advisory_connect_and_disconnect_in_a_loop);
    tcase_add_test(tcase, advisory_frontend_directory_vanishes);
    tcase_add_test(tcase, transactions_that_conflict_are_tried_again);
    tcase = group(suite, "others");
    tcase_add_test(tcase, resize_of_a_live_disk);
    tcase_add_test(tcase, next_process_holds_a_live_ring);
    tcase_add_test(tcase, next_process_goes_on_with_an_added_vbd);
    tcase_add_test(tcase, status_and_writers_name_the_vbd);
    tcase_add_test(tcase, hundred_guests);
}

int main(void)
{
    Suite *suite = suite_create("device");
    SRunner *runner;
    int failed;

    add_coming(suite);
    add_going(suite);
    add_rest(suite);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
