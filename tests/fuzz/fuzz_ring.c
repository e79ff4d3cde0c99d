/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_ring.c - a hostile guest against the data path: rings, requests, grants, event channels.
 *
 * The first two bytes set the scene (read-only, pool, how it ends); then come operations, a byte
 * and its operands: what the guest puts into its rings and pages, what the hypervisor and the
 * replica do, connects and disconnects. A second thread rewrites pages meanwhile (hammer.h).
 *
 * What must hold at all times: no more answers than requests; every request is on the free list or
 * unanswered; the replica sees nothing outside the device, and of a read-only vbd nothing but reads
 * and flushes. A guest that keeps to the rules (seat_is_fair) gets for each request one whole
 * answer with its number and operation, and all of them in the end. After a disconnect no page is
 * mapped and no event channel bound; after the replica's last answer no buffer is held.
 */
#include <string.h>

#include "fuzz_input.h"
#include "hammer.h"
#include "tapdisk-drbd/plane_private.h"
#include "tests/fake-xen/fake_front.h"
#include "tests/fake/fake_replica.h"

enum {
    VBDS = 2,
    QUEUES = 2,
    SEAT_PAGES = 4,     /* ring pages set apart for each queue */
    INDIRECT_PAGE = 32, /* four of them */
    DATA_PAGE = 40,     /* sixteen, of which some are granted */
    SECTORS = 2048,
    CONNECTS_MAX = 12,
    OPERATIONS_MAX = 200,
    OUTSTANDING_MAX = 128,
    HAMMER_MAX = 2000,
    SETTLE_TURNS = 400
};

static const uint32_t domain = 7;

/* One queue of a vbd, as the guest sees it. */
struct seat {
    struct front front;
    bool foul; /* the guest broke the rules: nothing is owed to it */
    uint32_t shown;
    unsigned outstanding;
    struct {
        uint64_t id;
        uint8_t operation;
    } owed[OUTSTANDING_MAX];
};

struct disk {
    struct vbd *vbd;
    unsigned queues;
    bool stopped;
    struct seat seats[QUEUES];
};

static struct world {
    struct replica *replica; /* of the process */
    struct replica_loop *loop;
    struct plane *plane;
    struct disk disks[VBDS];
    bool read_only;
    unsigned connects;
} world;

/* ---- what must hold ------------------------------------------------------------------------- */

static void submitted(const struct replica_request *request)
{
    const struct part *part = request->owner;
    const struct vbd *vbd = part->request->queue->vbd;

    fuzz_require(request->offset <= SECTORS * 512 &&
                 request->length <= SECTORS * 512 - request->offset);
    if (vbd->limits.read_only)
        fuzz_require(request->op == REPLICA_OP_READ || request->op == REPLICA_OP_FLUSH);
}

static void queue_check(const struct queue *queue)
{
    const struct ring *ring = &queue->ring;
    uint32_t busy = ring->request_next - ring->response_next, unused = 0;

    fuzz_require(busy <= ring->entries);
    fuzz_require(ring->response_next - ring->response_pushed <= ring->entries);
    for (const struct request *request = queue->free; request; request = request->next)
        fuzz_require(++unused <= ring->entries);
    for (const struct request *request = queue->answered; request; request = request->next)
        fuzz_require(++unused <= ring->entries); /* not free before the guest is shown it */
    if (!ring->broken)
        fuzz_require(unused + busy == ring->entries);
}

static void world_check(void)
{
    struct fake_leaks held = fake_xen_leaks();
    struct plane_usage usage;

    plane_usage(world.plane, &usage);
    fuzz_require(usage.mapped_pages == held.mapped_pages && usage.ports == held.bound_ports);
    for (unsigned i = 0; i < VBDS; i++)
        for (unsigned j = 0; world.disks[i].vbd && j < world.disks[i].queues; j++)
            queue_check(&world.disks[i].vbd->queues[j]);
}

static void turns(unsigned count)
{
    while (count--) {
        fake_loop_turn(world.loop, 0);
        world_check();
    }
}

/* ---- the guest ------------------------------------------------------------------------------ */

/* An answer must be whole, and to a request that is not answered yet. */
static void answer_check(struct seat *seat, const uint8_t *slot)
{
    uint8_t whole[BLKIF_RESPONSE_BYTES_MAX];
    size_t bytes = blkif_response_bytes(seat->front.abi);

    for (unsigned i = 0; i < seat->outstanding; i++)
        for (int status = BLKIF_UNSUPPORTED; status <= BLKIF_OKAY; status++) {
            blkif_encode_response(seat->front.abi, seat->owed[i].id, seat->owed[i].operation,
                                  (enum blkif_status)status, whole);
            if (memcmp(whole, slot, bytes) != 0)
                continue;
            seat->owed[i] = seat->owed[--seat->outstanding];
            return;
        }
    abort();
}

static void seat_take(struct seat *seat)
{
    struct front *front = &seat->front;
    uint32_t shown = __atomic_load_n(front_index(front, 8), __ATOMIC_ACQUIRE);

    /* A guest can have its own ring read over. */
    for (unsigned i = 0; i < front->pages; i++)
        seat->foul |= fake_written(front->first_page + i);
    if (seat->foul)
        return;
    fuzz_require(shown - front->consumed <= seat->outstanding);
    while (front->consumed != shown)
        answer_check(seat, front_slot(front, front->consumed++));
    *front_index(front, 12) = front->consumed + 1;
}

/* True: the guest may put one more, by the rules. */
static bool seat_has_room(struct seat *seat)
{
    struct front *front = &seat->front;
    uint32_t most = blkif_ring_entries(front->abi, front->pages);

    if (most > OUTSTANDING_MAX)
        most = OUTSTANDING_MAX;
    return front->produced - seat->shown + seat->outstanding < most &&
           front->produced - front->consumed < most;
}

/* A slot that is about to be filled; too many of them are foul play. */
static void seat_fill(struct seat *seat)
{
    if (!seat_has_room(seat))
        seat->foul = true;
}

static void seat_push(struct seat *seat, bool always)
{
    struct front *front = &seat->front;

    for (; !seat->foul && seat->shown != front->produced; seat->shown++) {
        struct blkif_command command;

        blkif_decode(front->abi, front_slot(front, seat->shown), &command);
        seat->owed[seat->outstanding].id = command.id;
        seat->owed[seat->outstanding++].operation = command.answered_operation;
    }
    front_push(front, always);
}

static unsigned segments_take(struct fuzz_input *input, struct front_segment *segments,
                              unsigned most)
{
    unsigned count = fuzz_byte(input);

    if (most > BLKIF_DIRECT_SEGMENTS_MAX)
        count *= 2;
    for (unsigned i = 0; i < count && i < most; i++) {
        uint8_t where = i < 16 ? fuzz_byte(input) : (uint8_t)i, extent = 0x70;

        if (where & 0x80)
            extent = fuzz_byte(input);
        segments[i] = (struct front_segment){DATA_PAGE + (where & 15u), extent & 15, extent >> 4};
    }
    return count;
}

static uint64_t sector_take(struct fuzz_input *input)
{
    uint16_t word = fuzz_word(input);

    return word < 0xff00 ? word % (SECTORS + 16) : UINT64_MAX - (word & 0xff);
}

static void put_direct(struct fuzz_input *input, struct seat *seat)
{
    struct front_segment segments[BLKIF_DIRECT_SEGMENTS_MAX];
    uint8_t operation = fuzz_byte(input);
    uint64_t sector = sector_take(input);
    unsigned count = segments_take(input, segments, BLKIF_DIRECT_SEGMENTS_MAX);

    seat_fill(seat);
    front_put(&seat->front, operation & 0x80 ? operation : operation % 5, seat->front.produced,
              sector, segments, count);
}

static void put_indirect(struct fuzz_input *input, struct seat *seat)
{
    static struct front_segment segments[512];
    uint8_t operation = fuzz_byte(input);
    uint64_t sector = sector_take(input);
    unsigned page = INDIRECT_PAGE + fuzz_byte(input) % 4;
    unsigned count = segments_take(input, segments, 512);

    seat_fill(seat);
    front_put_indirect(&seat->front, operation & 0x80 ? operation : operation & 1,
                       UINT64_C(1) << 40 | seat->front.produced, sector, segments, count, page);
}

static void put_discard(struct fuzz_input *input, struct seat *seat)
{
    uint64_t sector = sector_take(input), sectors = sector_take(input);

    seat_fill(seat);
    front_put_discard(&seat->front, seat->front.produced, sector, sectors, fuzz_byte(input));
}

static void put_raw(struct fuzz_input *input, struct seat *seat)
{
    unsigned length = fuzz_byte(input) % (BLKIF_ENTRY_BYTES_MAX + 1);
    uint8_t *slot = front_slot(&seat->front, seat->front.produced);

    seat_fill(seat);
    seat->front.produced++;
    if (length > blkif_entry_bytes(seat->front.abi))
        length = (unsigned)blkif_entry_bytes(seat->front.abi);
    for (unsigned i = 0; i < length; i++)
        slot[i] = fuzz_byte(input);
}

/* One of the four indices, or some bytes of a ring page. */
static void scribble(struct fuzz_input *input, struct seat *seat)
{
    uint8_t where = fuzz_byte(input);
    uint32_t value = fuzz_long(input);
    uint8_t *page = fake_page(seat->front.first_page);

    if (where < 0x80) {
        unsigned index = where % 4 * 4;

        if (index != 12)
            seat->foul = true;
        __atomic_store_n(front_index(&seat->front, index), value, __ATOMIC_RELAXED);
        fake_event(seat->front.port);
    } else {
        seat->foul = true;
        memcpy(page + (where & 0x7fu) * 32, &value, sizeof value);
    }
}

/* Descriptors and data change after they were shown: allowed, if foolish. */
static void rewrite(struct fuzz_input *input)
{
    unsigned page = INDIRECT_PAGE + fuzz_byte(input) % 24;
    uint32_t value = fuzz_long(input);

    memcpy(fake_page(page) + fuzz_word(input) % 1023 * 4, &value, sizeof value);
}

static void hammer(struct fuzz_input *input, struct seat *seat)
{
    uint8_t where = fuzz_byte(input);
    uint32_t seed = fuzz_word(input);
    unsigned count = fuzz_byte(input) * 8u;
    uint8_t *place = fake_page(seat->front.first_page);
    size_t length = (size_t)seat->front.pages * FAKE_PAGE_BYTES;

    if (where & 1) {
        place = fake_page(INDIRECT_PAGE);
        length = 24u * FAKE_PAGE_BYTES;
    } else {
        seat->foul = true;
        if (where & 2)
            length = BLKIF_RING_HEADER_BYTES * 4;
    }
    hammer_begin(place, length, seed, count > HAMMER_MAX ? HAMMER_MAX : count);
}

/* ---- connect and disconnect ----------------------------------------------------------------- */

static void disconnect(struct disk *disk)
{
    if (!disk->vbd)
        return;
    vbd_disconnect(disk->vbd);
    disk->vbd = NULL;
    world_check();
}

static void connect_disk(struct fuzz_input *input, unsigned index)
{
    static struct vbd_parameters parameters;
    struct disk *disk = &world.disks[index];
    uint8_t how = fuzz_byte(input), where = fuzz_byte(input);
    struct replica_error error = {0};

    if (disk->vbd || world.connects == CONNECTS_MAX)
        return;
    world.connects++;
    hammer_wait();
    memset(disk, 0, sizeof *disk);
    disk->queues = 1 + (how >> 2) % QUEUES;
    memset(&parameters, 0, sizeof parameters);
    parameters.name = "7/51712";
    parameters.queues = disk->queues;
    parameters.limits = (struct blkif_limits){SECTORS, world.read_only && index == 0, true};
    for (unsigned i = 0; i < disk->queues; i++) {
        struct front *front = &disk->seats[i].front;

        front_open(front, domain, (enum blkif_abi)(how % BLKIF_ABI_COUNT),
                   (index * QUEUES + i) * SEAT_PAGES, 1u << (how >> 4) % 3);
        /* Rings that somebody served before begin anywhere, and near the end of the numbers. */
        front->produced = front->consumed = disk->seats[i].shown =
            where & 0x80 ? UINT32_MAX - (where & 0x1f) : where;
        *front_index(front, 0) = *front_index(front, 8) = front->produced;
        *front_index(front, 4) = *front_index(front, 12) = front->produced + 1;
        front_describe(front, &parameters, i);
    }
    if (how & 0x80) /* a page that is not granted, or a port that is none */
        fake_revoke(parameters.queue[disk->queues - 1].grefs[0]);
    if (vbd_connect(world.plane, &parameters, &disk->vbd, &error) != 0) {
        disk->vbd = NULL;
        fuzz_require(how & 0x80 && error.text[0]);
    }
    world_check();
}

static void stop(struct disk *disk)
{
    if (!disk->vbd)
        return;
    vbd_stop(disk->vbd);
    disk->stopped = true;
}

/* ---- operations ----------------------------------------------------------------------------- */

static struct seat *seat_take_one(uint8_t choice)
{
    struct disk *disk = &world.disks[choice & 1];

    return disk->vbd ? &disk->seats[(choice >> 1) % disk->queues] : NULL;
}

static void guest_operation(struct fuzz_input *input, unsigned kind, struct seat *seat)
{
    switch (kind) {
    case 0:
    case 1:
        put_direct(input, seat);
        break;
    case 2:
        put_indirect(input, seat);
        break;
    case 3:
        put_discard(input, seat);
        break;
    case 4:
        put_raw(input, seat);
        break;
    case 5:
        seat_push(seat, false);
        break;
    case 6:
        seat_take(seat);
        break;
    case 7:
        scribble(input, seat);
        break;
    case 8:
        hammer(input, seat);
        break;
    case 9:
        fake_event(seat->front.port);
        break;
    }
}

static void end_one(struct fuzz_input *input)
{
    uint8_t choice = fuzz_byte(input);

    (void)fake_replica_end_one(world.replica, choice & 15, choice & 0x80 ? REPLICA_E_IO : 0);
}

static void other_operation(struct fuzz_input *input, unsigned kind)
{
    uint8_t operand = fuzz_byte(input);

    switch (kind) {
    case 10:
        rewrite(input);
        break;
    case 11:
        turns(1 + operand % 3);
        break;
    case 12:
        fake_copy_fail(operand);
        break;
    case 13:
        fake_copy_refuse(operand & 1);
        break;
    case 14:
        fake_replica_hold(world.replica, operand & 1);
        break;
    case 15:
        end_one(input);
        break;
    case 16:
        disconnect(&world.disks[operand & 1]);
        break;
    case 17:
        connect_disk(input, operand & 1);
        break;
    case 18:
        if (operand & 0x80)
            fake_revoke(DATA_PAGE + (operand & 15));
        else
            fake_grant(DATA_PAGE + (operand & 15), domain, operand & 0x40);
        break;
    case 19:
        if (world.disks[operand & 1].vbd)
            vbd_resize(world.disks[operand & 1].vbd, fuzz_word(input) % (SECTORS + 1));
        break;
    case 20:
        stop(&world.disks[operand & 1]);
        break;
    case 21:
        fake_loop_advance(world.loop, operand * UINT64_C(1000000));
        break;
    case 22:
        fake_replica_fail(world.replica, operand & 15, operand & 0x80 ? REPLICA_E_IO : 0);
        break;
    }
}

static void operation(struct fuzz_input *input)
{
    uint8_t code = fuzz_byte(input);
    unsigned kind = code % 23;
    struct seat *seat;

    if (kind >= 10) {
        other_operation(input, kind);
        return;
    }
    seat = seat_take_one(code / 23);
    if (seat)
        guest_operation(input, kind, seat);
}

/* ---- a life --------------------------------------------------------------------------------- */

static void begin(uint8_t how)
{
    static const struct fake_settings settings = {"vm1", SECTORS * 512, 1u << 20};

    if (!world.replica) {
        world.replica = fake_replica_new(&settings);
        fuzz_require(world.replica != NULL);
        fake_replica_observe(world.replica, submitted);
    }
    fake_xen_restart();
    memset(fake_page(INDIRECT_PAGE), 0, 4u * FAKE_PAGE_BYTES);
    fuzz_require(replica_loop_new(&world.loop, NULL) == 0);
    fake_replica_attach(world.replica, world.loop);
    fake_replica_hold(world.replica, false);
    fake_replica_fail(world.replica, 0, 0);
    /* At least one buffer of the greatest size; else a request would wait for ever. */
    fake_replica_pool(world.replica, how & 2 ? REPLICA_REQUEST_BYTES_MAX : 2u << 20);
    fuzz_require(plane_open(&world.plane, world.loop, world.replica, NULL) == 0);
    memset(world.disks, 0, sizeof world.disks);
    world.read_only = how & 1;
    world.connects = 0;
    for (unsigned i = 0; i < 12; i++)
        fake_grant(DATA_PAGE + i, domain, i < 8);
}

static bool seat_is_fair(const struct disk *disk, unsigned index)
{
    return disk->vbd && index < disk->queues && !disk->stopped && !disk->seats[index].foul;
}

/* Whoever kept to the rules gets every answer, without another event. */
static void settle(void)
{
    bool open = true;

    fake_replica_hold(world.replica, false);
    fake_copy_refuse(false);
    fake_copy_fail(0);
    for (unsigned i = 0; open && i < SETTLE_TURNS; i++) {
        open = false;
        fake_loop_advance(world.loop, UINT64_C(200000000));
        turns(1);
        for (unsigned j = 0; j < VBDS * QUEUES; j++) {
            struct disk *disk = &world.disks[j / QUEUES];

            if (!seat_is_fair(disk, j % QUEUES))
                continue;
            seat_take(&disk->seats[j % QUEUES]);
            open |= seat_is_fair(disk, j % QUEUES) && disk->seats[j % QUEUES].outstanding != 0;
        }
    }
    fuzz_require(!open);
}

static void end(uint8_t how)
{
    struct fake_leaks leaks;
    struct plane_usage usage;

    hammer_wait();
    if (how & 4)
        settle();
    if (how & 8) {
        for (unsigned i = 0; i < VBDS; i++)
            disconnect(&world.disks[i]);
        fuzz_require(fake_xen_leaks().mapped_pages == 0 && fake_xen_leaks().bound_ports == 0);
        fake_replica_hold(world.replica, false);
        turns(4);
        plane_usage(world.plane, &usage);
        fuzz_require(usage.vbds == 0 && fake_replica_pool_used(world.replica) == 0);
    }
    plane_stop(world.plane);
    while (fake_replica_end_one(world.replica, 0, how & 16 ? REPLICA_E_SHUTDOWN : 0))
        ;
    replica_on_room(world.replica, NULL, NULL);
    leaks = fake_xen_leaks();
    fuzz_require(leaks.mapped_pages == 0 && leaks.bound_ports == 0 && leaks.handles == 0);
    fuzz_require(fake_replica_pool_used(world.replica) == 0);
    plane_free(world.plane);
    replica_loop_free(world.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, data + size};
    uint8_t how = fuzz_byte(&input);

    if (size < 4)
        return 0;
    begin(how);
    connect_disk(&input, 0);
    for (unsigned i = 0; i < OPERATIONS_MAX && fuzz_more(&input); i++)
        operation(&input);
    end(how);
    return 0;
}
