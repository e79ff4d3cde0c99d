/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_xenstore.c - whatever guests, toolstack and hotplug script do in XenStore, in any order, to
 * the Xen side as a whole: three vbds, one of them vbd3.
 *
 * The input is operations, a byte and its operands. What must hold: the Xen side changes nodes
 * below backend/ only; what it says it has mapped and bound is what the hypervisor says; a turn
 * reads a bounded number of nodes, however watches fire; nothing is held after xenside_stop; every
 * hotplug command is answered once.
 */
#include <stdio.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz_input.h"
#include "tapdisk-drbd/plane.h"
#include "tapdisk-drbd/xenside_private.h"
#include "tests/fake-xen/fake_front.h"
#include "tests/fake-xen/fake_role.h"
#include "tests/fake/fake_replica.h"

enum {
    PLACES = 3,
    SECTORS = 2048,
    DATA_PAGE = 40,
    SEAT_PAGES = 4,
    ASKS_MAX = 48,
    OPENS_MAX = 24,
    OPERATIONS_MAX = 150,
    READS_A_TURN_MAX = 20000,
    RAW_MAX = 40,
    HUGE_BYTES = 1000
};

static const struct place {
    uint32_t domain;
    const char *back, *front;
} places[PLACES] = {
    {7, "/local/domain/0/backend/vbd/7/51712", "/local/domain/7/device/vbd/51712"},
    {8, "/local/domain/0/backend/vbd/8/51728", "/local/domain/8/device/vbd/51728"},
    {9, "/local/domain/0/backend/vbd3/9/51744", "/local/domain/9/device/vbd/51744"},
};

static const char *const front_leaves[] = {"state",
                                           "protocol",
                                           "ring-ref",
                                           "event-channel",
                                           "ring-page-order",
                                           "num-ring-pages",
                                           "ring-ref0",
                                           "ring-ref1",
                                           "ring-ref2",
                                           "ring-ref3",
                                           "multi-queue-num-queues",
                                           "queue-0/ring-ref",
                                           "queue-0/event-channel",
                                           "queue-1/ring-ref",
                                           "queue-1/event-channel",
                                           "queue-0/ring-ref0",
                                           "queue-0/ring-ref1",
                                           "queue-1/ring-ref0",
                                           "queue-1/ring-ref1",
                                           "feature-persistent",
                                           "backend"};
static const char *const back_leaves[] = {"state",      "params",         "mode",
                                          "online",     "frontend",       "frontend-id",
                                          "script",     "hotplug-status", "hotplug-error",
                                          "sectors",    "discard-enable", "physical-device-path",
                                          "device-type"};
static const char *const values[] = {"0",
                                     "1",
                                     "2",
                                     "3",
                                     "4",
                                     "5",
                                     "6",
                                     "7",
                                     "8",
                                     "64",
                                     "65",
                                     "2047",
                                     "4294967295",
                                     "4294967296",
                                     "99999999999999999999",
                                     "-1",
                                     "0x1",
                                     " 1",
                                     "1 ",
                                     "",
                                     "x86_64-abi",
                                     "x86_32-abi",
                                     "arm-abi",
                                     "w",
                                     "r",
                                     "w!",
                                     "vm1",
                                     "aio:vm1",
                                     "drbd:vm1",
                                     "vm2",
                                     "block-drbd",
                                     "/etc/xen/scripts/block-drbd",
                                     "/local/domain/7/device/vbd/51712",
                                     "/local/domain/8/device/vbd/51728",
                                     "/local/domain/0/backend/vbd/7/51712",
                                     "../../../x",
                                     "%s%n"};

static struct world {
    struct replica *replica; /* of the process */
    struct replica_loop *loop;
    struct xenside *xen;
    struct front fronts[PLACES];
    bool opened[PLACES];
    struct replica_control_request asks[ASKS_MAX];
    unsigned ask_count, opens;
} world;

#define CHOOSE(table, choice) ((table)[(choice) % (sizeof(table) / sizeof *(table))])

/* ---- what must hold ------------------------------------------------------------------------- */

static void world_check(void)
{
    struct fake_leaks held = fake_xen_leaks();
    struct plane_usage usage;

    plane_usage(xenside_plane(world.xen), &usage);
    fuzz_require(usage.mapped_pages == held.mapped_pages && usage.ports == held.bound_ports);
    fuzz_require(held.transactions == 0);
    fuzz_require(fake_store_strayed() == 0);
}

static void turns(unsigned count)
{
    while (count--) {
        unsigned before = fake_store_reads();

        fake_loop_turn(world.loop, 0);
        fuzz_require(fake_store_reads() - before < READS_A_TURN_MAX);
        world_check();
    }
}

/* ---- the others ----------------------------------------------------------------------------- */

static void put(const char *directory, const char *leaf, const char *value)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    fake_store_write(path, value);
}

static void put_number(const char *directory, const char *leaf, unsigned value)
{
    char text[16];

    (void)snprintf(text, sizeof text, "%u", value);
    put(directory, leaf, text);
}

/* A value of the table, bytes of the input, or far too many. */
static void put_any(struct fuzz_input *input, const char *directory, const char *leaf)
{
    uint8_t choice = fuzz_byte(input), bytes[HUGE_BYTES];
    size_t length = choice == 0xff ? sizeof bytes : choice % RAW_MAX;
    char path[128];

    if (choice < 0xc0) {
        put(directory, leaf, CHOOSE(values, choice));
        return;
    }
    if (choice == 0xff)
        memset(bytes, fuzz_byte(input), sizeof bytes);
    else
        for (size_t i = 0; i < length; i++)
            bytes[i] = fuzz_byte(input);
    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    fake_store_write_bytes(path, bytes, length);
}

/* What xl writes before it waits for state 2. */
static void toolstack_makes(const struct place *place, uint8_t how)
{
    put(place->front, "state", "1");
    put(place->front, "backend", place->back);
    put(place->back, "frontend", place->front);
    put_number(place->back, "frontend-id", place->domain);
    put(place->back, "script", "/etc/xen/scripts/block-drbd");
    put(place->back, "mode", how & 1 ? "r" : "w");
    put(place->back, "online", "1");
    put(place->back, "state", "1");
    put(place->back, "params", how & 2 ? "aio:vm1" : "vm1");
}

static void ask(const struct place *place, const char *verb)
{
    char json[256];

    if (world.ask_count == ASKS_MAX)
        return;
    (void)snprintf(json, sizeof json, "{\"command\":\"%s\",\"path\":\"%s\"}", verb, place->back);
    fuzz_require(xenside_control(world.xen, &world.asks[world.ask_count++], json));
}

static void publish_ring(const char *directory, const struct front *front)
{
    if (front->pages == 1)
        put_number(directory, "ring-ref", front->first_page);
    for (unsigned i = 0; front->pages > 1 && i < front->pages; i++) {
        char leaf[16];

        (void)snprintf(leaf, sizeof leaf, "ring-ref%u", i);
        put_number(directory, leaf, front->first_page + i);
    }
    put_number(directory, "event-channel", front->port);
}

/* A frontend that does its part as it should. */
static void frontend_publishes(unsigned index, uint8_t how)
{
    const struct place *place = &places[index];
    struct front *front = &world.fronts[index];
    char queue[128];

    if (world.opens == OPENS_MAX)
        return;
    world.opens++;
    world.opened[index] = true;
    front_open(front, place->domain, how & 1 ? BLKIF_ABI_X86_32 : BLKIF_ABI_X86_64,
               index * SEAT_PAGES, 1u << (how >> 1) % 3);
    put(place->front, "protocol", how & 1 ? "x86_32-abi" : "x86_64-abi");
    put(place->front, "ring-page-order", NULL);
    if (front->pages > 1)
        put_number(place->front, "ring-page-order", (how >> 1) % 3);
    if (how & 0x10) {
        put(place->front, "multi-queue-num-queues", "1");
        (void)snprintf(queue, sizeof queue, "%s/queue-0", place->front);
        publish_ring(queue, front);
    } else {
        put(place->front, "multi-queue-num-queues", NULL);
        publish_ring(place->front, front);
    }
    put(place->front, "state", "3");
}

static void guest_writes(unsigned index)
{
    struct front_segment segment = {DATA_PAGE, 0, 7};
    struct front *front = &world.fronts[index];

    if (!world.opened[index])
        return;
    fake_grant(DATA_PAGE, front->domain, true);
    front_put(front, BLKIF_WRITE, front->produced, 0, &segment, 1);
    front_push(front, true);
}

static void storm(const struct place *place, uint8_t count, bool look)
{
    for (unsigned i = 0; i < count % 32u; i++) {
        put(place->front, "state", i & 1 ? "4" : "3");
        if (look)
            turns(1);
    }
}

/* ---- our process ---------------------------------------------------------------------------- */

/* Where the vbds' journals are: one directory for all inputs. */
static char run_dir[] = "/tmp/tapdrbd-fuzz-XXXXXX";

static void run_dir_remove(void)
{
    DIR *directory = opendir(run_dir);
    const struct dirent *entry;

    while (directory && (entry = readdir(directory)) != NULL)
        (void)unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        (void)closedir(directory);
    (void)rmdir(run_dir);
}

static void run_dir_make(void)
{
    static bool made;

    if (made)
        return;
    fuzz_require(mkdtemp(run_dir) != NULL && atexit(run_dir_remove) == 0);
    made = true;
}

static void open_xen(void)
{
    struct replica_error error = {0};

    run_dir_make();
    fuzz_require(xenside_open_at(&world.xen, world.loop, world.replica, run_dir,
                                 "/run/tapdrbd/vm1.nbd", "/nowhere", &error) == 0);
}

static void close_xen(void)
{
    struct fake_leaks leaks;

    fake_role_hold(false);
    fake_role_answer();
    xenside_stop(world.xen);
    leaks = fake_xen_leaks();
    fuzz_require(leaks.mapped_pages == 0 && leaks.bound_ports == 0 && leaks.handles == 0 &&
                 leaks.watches == 0 && leaks.transactions == 0);
    fake_role_answer();
    while (fake_replica_end_one(world.replica, 0, REPLICA_E_SHUTDOWN))
        ;
    replica_on_room(world.replica, NULL, NULL);
    fuzz_require(fake_replica_pool_used(world.replica) == 0);
    xenside_close(world.xen);
}

/* Killed and started again; the loop is a new one too. */
static void restart(void)
{
    close_xen();
    replica_loop_free(world.loop);
    fuzz_require(replica_loop_new(&world.loop, NULL) == 0);
    fake_replica_attach(world.replica, world.loop);
    open_xen();
}

static void tell(uint8_t what, uint16_t sectors)
{
    if (what % 4 == 0)
        fake_replica_role(world.replica, REPLICA_ROLE_SECONDARY);
    if (what % 4 == 1)
        xenside_resized(world.xen, sectors % (SECTORS + 1) * UINT64_C(512));
    else if (what % 4 == 2)
        json_decref(xenside_status(world.xen));
    else
        xenside_changed(world.xen);
}

/* ---- operations ----------------------------------------------------------------------------- */

static void store_operation(struct fuzz_input *input, unsigned kind, const struct place *place)
{
    uint8_t operand = fuzz_byte(input);

    switch (kind) {
    case 0:
        put_any(input, place->front, CHOOSE(front_leaves, operand));
        break;
    case 1:
        put_any(input, place->back, CHOOSE(back_leaves, operand));
        break;
    case 2:
        put(place->front, CHOOSE(front_leaves, operand), NULL);
        break;
    case 3:
        put(place->back, CHOOSE(back_leaves, operand), NULL);
        break;
    case 4:
        fake_store_write(operand & 1 ? place->back : place->front, NULL);
        break;
    case 5:
        toolstack_makes(place, operand);
        break;
    case 6:
        put_number(place->front, "state", operand & 7);
        break;
    case 7:
        storm(place, operand, operand & 0x80);
        break;
    case 8:
        fake_store_conflicts(operand & 15);
        break;
    case 9:
        frontend_publishes((unsigned)(place - places), operand);
        break;
    }
}

static void process_operation(struct fuzz_input *input, unsigned kind, const struct place *place)
{
    uint8_t operand = fuzz_byte(input);

    switch (kind) {
    case 10:
    case 11:
        ask(place, "vbd-add");
        break;
    case 12:
        ask(place, "vbd-remove");
        break;
    case 13:
        turns(1 + operand % 4);
        break;
    case 14:
        fake_loop_advance(world.loop, operand * UINT64_C(100000000));
        turns(1);
        break;
    case 15:
        fake_role_hold(operand & 1);
        if (operand & 2)
            fake_role_answer();
        break;
    case 16:
        fake_role_refuse(operand & 1 ? REPLICA_E_PEER_PRIMARY : 0, operand & 1 ? "refused" : "");
        break;
    case 17:
        if (world.opened[place - places])
            fake_port_taken(world.fronts[place - places].port, operand & 1);
        break;
    case 18:
        restart();
        break;
    case 19:
        guest_writes((unsigned)(place - places));
        break;
    case 20:
        tell(operand, fuzz_word(input));
        break;
    case 21:
        fake_replica_hold(world.replica, operand & 1);
        break;
    }
}

static void operation(struct fuzz_input *input)
{
    uint8_t code = fuzz_byte(input);
    const struct place *place = &places[code / 22 % PLACES];

    if (code % 22 < 10)
        store_operation(input, code % 22, place);
    else
        process_operation(input, code % 22, place);
    world_check();
}

/* ---- a life --------------------------------------------------------------------------------- */

static void begin(void)
{
    static const struct fake_settings settings = {"vm1", SECTORS * 512, 1u << 20};

    if (!world.replica) {
        world.replica = fake_replica_new(&settings);
        fuzz_require(world.replica != NULL);
    }
    fake_xen_restart();
    fake_role_reset(world.replica);
    fake_replica_hold(world.replica, false);
    fuzz_require(replica_loop_new(&world.loop, NULL) == 0);
    fake_replica_attach(world.replica, world.loop);
    memset(world.opened, 0, sizeof world.opened);
    memset(world.asks, 0, sizeof world.asks);
    world.ask_count = world.opens = 0;
    open_xen();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};

    if (size < 2)
        return 0;
    begin();
    for (unsigned i = 0; i < OPERATIONS_MAX && fuzz_more(&input); i++)
        operation(&input);
    turns(2);
    close_xen();
    for (unsigned i = 0; i < world.ask_count; i++)
        fuzz_require(world.asks[i].answered);
    replica_loop_free(world.loop);
    return 0;
}
