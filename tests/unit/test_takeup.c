/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_takeup.c - a process is killed between any two of its instructions, and the next one takes
 * up the ring: every request is answered exactly once, and what the disk holds is what was
 * answered.
 *
 * The process is a forked child that runs some turns and is then stepped, instruction by
 * instruction, to the one at which it dies. Ring, guest pages, journal and disk are shared memory;
 * everything else dies with it. A guest scribbles over the pages of each answered request, so that
 * one that is carried out another time shows on the disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plane_help.h"
#include "tapdisk-drbd/plane_private.h"

enum {
    PLACES = 64,
    PLACE_SECTORS = 8,
    SLOTS = 32,
    INDIRECT = DATA + SLOTS, /* pages of descriptors */
    LIVES = 5,
    SEEDS = 10,
    TURNS = 6,    /* of a life that are not stepped, at most */
    STEPS = 3000, /* a request takes about a thousand */
    STEPS_TAKING_UP = 100000
};

/* What the guest has out. */
struct order {
    bool out;
    uint8_t operation;
    unsigned place;
    uint64_t id, value;
};

static char journal[] = "/tmp/test_takeup.XXXXXX";
static struct front front;
static struct order orders[SLOTS];
static uint64_t held[PLACES]; /* what was answered last, by place */
static bool busy[PLACES];
static uint64_t dice, sequence;
static unsigned answered;

/* Xorshift. */
static unsigned roll(unsigned sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)((dice >> 16) % sides);
}

/* ---- the guest ---------------------------------------------------------------------------------
 */

static void fill_page(unsigned page, uint64_t value)
{
    for (unsigned i = 0; i < FAKE_PAGE_BYTES; i += 8)
        memcpy(fake_page(page) + i, &value, 8);
}

static void put_one(unsigned slot)
{
    static const uint8_t operations[] = {BLKIF_WRITE,    BLKIF_WRITE, BLKIF_WRITE,
                                         BLKIF_INDIRECT, BLKIF_READ,  BLKIF_FLUSH};
    struct order *order = &orders[slot];
    struct front_segment segments[PLACE_SECTORS] = {{DATA + slot, 0, PLACE_SECTORS - 1}};
    unsigned place = roll(PLACES);

    if (busy[place])
        return;
    sequence++;
    *order = (struct order){.out = true,
                            .operation = operations[roll(sizeof operations)],
                            .place = place,
                            .id = sequence << 8 | slot,
                            .value = sequence * 0x9e3779b97f4a7c15};
    busy[place] = true;
    fill_page(DATA + slot, order->operation == BLKIF_READ ? 0 : order->value);
    if (order->operation == BLKIF_INDIRECT) {
        for (uint8_t i = 0; i < PLACE_SECTORS; i++)
            segments[i] = (struct front_segment){DATA + slot, i, i};
        front_put_indirect(&front, BLKIF_WRITE, order->id, (uint64_t)place * PLACE_SECTORS,
                           segments, PLACE_SECTORS, INDIRECT + slot);
    } else {
        front_put(&front, order->operation, order->id, (uint64_t)place * PLACE_SECTORS, segments,
                  order->operation == BLKIF_FLUSH ? 0 : 1);
    }
}

static void guest_puts(unsigned most)
{
    for (unsigned slot = 0; slot < SLOTS && most; slot++) {
        if (orders[slot].out || roll(2))
            continue;
        put_one(slot);
        most--;
    }
    front_push(&front, false);
}

static void guest_takes(void)
{
    struct front_response response;

    while (front_take(&front, &response)) {
        unsigned slot = response.id & 0xff;
        struct order *order = &orders[slot % SLOTS];

        ck_assert_msg(order->out && order->id == response.id, "%llx was answered twice",
                      (unsigned long long)response.id);
        ck_assert_int_eq(response.status, BLKIF_OKAY);
        if (order->operation == BLKIF_READ)
            ck_assert_mem_eq(fake_page(DATA + slot), &held[order->place], 8);
        else if (order->operation != BLKIF_FLUSH)
            held[order->place] = order->value;
        fill_page(DATA + slot, 0xdddddddddddddddd);
        busy[order->place] = false;
        order->out = false;
        answered++;
    }
}

static unsigned outstanding(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        count += orders[i].out;
    return count;
}

/* ---- the process -------------------------------------------------------------------------------
 */

static int connect_ring(bool resume, struct vbd **vbd, struct replica_error *error)
{
    static struct vbd_parameters parameters;

    memset(&parameters, 0, sizeof parameters);
    parameters.name = "7/51712";
    parameters.instance = "/vm/test";
    parameters.journal = journal;
    parameters.resume = resume;
    parameters.queues = 1;
    parameters.limits = (struct blkif_limits){.sectors = SECTORS, .discard = true};
    front_describe(&front, &parameters, 0);
    return vbd_connect(plane, &parameters, vbd, error);
}

/* Serves until it is killed. */
static void live(bool resume, bool stop_early, unsigned turns_first)
{
    struct replica_error error = {0};
    struct vbd *vbd;

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(3);
    if (stop_early)
        (void)raise(SIGSTOP);
    if (connect_ring(resume, &vbd, &error) != 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        _exit(4);
    }
    for (unsigned turn = 0;; turn++) {
        if (turn == turns_first && !stop_early)
            (void)raise(SIGSTOP);
        fake_event(front.port);
        fake_loop_turn(loop, 0);
    }
}

/* The linker puts this in place of queue_push (--wrap): a child that is armed stops before answers
 * are shown, and after. */
static bool armed;
void __real_queue_push(struct queue *queue);
void __wrap_queue_push(struct queue *queue);

void __wrap_queue_push(struct queue *queue)
{
    bool stop = armed && ring_has_news(&queue->ring);

    if (stop)
        (void)raise(SIGSTOP);
    __real_queue_push(queue);
    if (stop)
        (void)raise(SIGSTOP);
}

static void expect_stopped(pid_t child, int number)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSTOPPED(status) && WSTOPSIG(status) == number, "the process ended: %x",
                  (unsigned)status);
}

static void step(pid_t child, unsigned count)
{
    while (count--) {
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        expect_stopped(child, SIGTRAP);
    }
}

/* One life, to a random instruction; the guest acts in between. */
static void live_and_die(bool resume)
{
    bool early = resume && roll(12) == 0;
    unsigned turns_first = roll(TURNS);
    pid_t child;
    int status;

    fake_replica_shuffle(replica, dice | 1);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        live(resume, early, turns_first);
    expect_stopped(child, SIGSTOP);
    if (early)
        step(child, roll(STEPS_TAKING_UP));
    for (unsigned i = 0; i < 3; i++) {
        step(child, roll(STEPS));
        guest_takes();
        guest_puts(roll(8));
    }
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    guest_takes();
}

static void begin(void)
{
    int file;

    setup();
    (void)strcpy(journal, "/tmp/test_takeup.XXXXXX");
    file = mkstemp(journal);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(close(file), 0);
    front_open(&front, 7, BLKIF_ABI_X86_64, 0, 1);
    for (unsigned i = 0; i < SLOTS; i++)
        fake_grant(DATA + i, 7, true);
    for (unsigned i = 0; i < SLOTS; i++) /* a process that was forked before sees no later grant */
        fake_grant(INDIRECT + i, 7, false);
}

static void end(void)
{
    teardown();
    (void)unlink(journal);
}

static void check_disk(void)
{
    for (unsigned i = 0; i < PLACES; i++)
        for (unsigned j = 0; j < PLACE_SECTORS; j++)
            ck_assert_msg(memcmp(fake_replica_data(replica) + (i * PLACE_SECTORS + j) * 512,
                                 &held[i], 8) == 0,
                          "place %u holds what was not answered last", i);
}

START_TEST(killed_at_any_instruction)
{
    struct replica_error error = {0};
    struct vbd *vbd;

    dice = 0x2545f4914f6cdd1d * (uint64_t)(_i + 1);
    for (unsigned life = 0; life < LIVES; life++) {
        guest_puts(roll(16));
        live_and_die(life > 0);
    }
    fake_replica_shuffle(replica, 0);
    ck_assert_msg(connect_ring(true, &vbd, &error) == 0, "seed %d: %s", _i, error.text);
    for (unsigned i = 0; i < 50; i++) {
        turns(1);
        guest_takes();
    }
    ck_assert_msg(outstanding() == 0, "seed %d: %u requests were forgotten", _i, outstanding());
    ck_assert_uint_eq(answered, sequence);
    check_disk();
    ck_assert_uint_gt(answered, 0);
}
END_TEST

/* ---- one thing at a time ------------------------------------------------------------------------
 */

/* The process ends; what the replica had of it ends too, unanswered. */
static void die(struct vbd *vbd)
{
    vbd_disconnect(vbd);
    fake_replica_hold(replica, false);
    turns(2);
}

static struct vbd *take_up(void)
{
    struct replica_error error = {0};
    struct vbd *vbd;

    ck_assert_msg(connect_ring(true, &vbd, &error) == 0, "%s", error.text);
    return vbd;
}

static struct vbd *first_process(void)
{
    struct vbd *vbd;

    ck_assert_int_eq(connect_ring(false, &vbd, NULL), 0);
    fake_replica_hold(replica, true);
    return vbd;
}

/* Overlapping writes that no one answered land in the order in which the guest put them, before
 * anything that came later. */
START_TEST(old_order)
{
    struct vbd *vbd = first_process();

    for (unsigned i = 0; i < 20; i++) {
        struct front_segment out = {DATA + i, 0, 7};

        fill_page(DATA + i, i);
        front_put(&front, BLKIF_WRITE, i, i % 2, &out, 1);
        if (i == 9) {
            front_push(&front, true);
            turns(2);
        }
    }
    die(vbd);
    front_push(&front, true);
    (void)take_up();
    turns(4);
    for (unsigned i = 0; i < 20; i++)
        expect(&front, i, BLKIF_OKAY);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(fake_replica_data(replica)[(1 + i) * 512], 19);
    ck_assert_uint_eq(fake_replica_data(replica)[0], 18);
}
END_TEST

/* What was read of an indirect request is what counts, not what the guest's page says by now. */
START_TEST(descriptors_were_read_once)
{
    struct vbd *vbd = first_process();
    struct front_segment out[2] = {{DATA, 0, 7}, {DATA + 1, 0, 7}};

    fill_page(DATA, 1);
    fill_page(DATA + 1, 2);
    front_put_indirect(&front, BLKIF_WRITE, 1, 0, out, 2, INDIRECT);
    front_push(&front, true);
    turns(2);
    die(vbd);
    memset(fake_page(INDIRECT), 0xff, 16);
    (void)take_up();
    turns(3);
    expect(&front, 1, BLKIF_OKAY);
    ck_assert_uint_eq(fake_replica_data(replica)[4096], 2);
}
END_TEST

/* A child that has answers which it has not shown, at the first instruction of showing them. */
static pid_t child_before_push(bool resume)
{
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        armed = true;
        live(resume, false, UINT32_MAX);
    }
    expect_stopped(child, SIGSTOP);
    return child;
}

static void end_child(pid_t child)
{
    int status;

    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
}

/* Steps; true: the push is over. */
static bool step_in_push(pid_t child, unsigned count)
{
    int status;

    while (count--) {
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            return true;
    }
    return false;
}

/* Each life dies one instruction later in the middle of showing its answers. */
START_TEST(every_instruction_of_a_push)
{
    struct vbd *vbd = NULL;
    unsigned count = 0;
    bool over = false;

    dice = 99;
    for (; !over && count < 4000; count++) {
        pid_t child;

        while (outstanding() < 2)
            guest_puts(2);
        child = child_before_push(count > 0);
        over = step_in_push(child, count);
        end_child(child);
        guest_takes();
        vbd = take_up();
        turns(4);
        guest_takes();
        ck_assert_msg(outstanding() == 0, "killed after %u instructions: %u forgotten", count,
                      outstanding());
        vbd_disconnect(vbd);
    }
    ck_assert(over);
    ck_assert_uint_gt(count, 50);
    ck_assert_uint_eq(answered, sequence);
    check_disk();
}
END_TEST

/* A response that was put and not shown does not count, even when its number is used by another. */
START_TEST(an_answer_that_was_not_shown_is_none)
{
    struct vbd *vbd;
    struct front_segment out = {DATA, 0, 7};

    front_put(&front, BLKIF_WRITE, 1, 0, &out, 1);
    front_put(&front, BLKIF_WRITE, 2, 8, &out, 1);
    front_push(&front, true);
    end_child(child_before_push(false));
    fake_replica_hold(replica, true);
    vbd = take_up();
    for (unsigned i = 3; i < 5; i++) /* beyond the end: answered at once */
        front_put(&front, BLKIF_WRITE, i, SECTORS, &out, 1);
    front_push(&front, true);
    turns(3);
    expect(&front, 3, BLKIF_ERROR);
    expect(&front, 4, BLKIF_ERROR);
    die(vbd);
    (void)take_up();
    turns(3);
    expect(&front, 1, BLKIF_OKAY);
    expect(&front, 2, BLKIF_OKAY);
}
END_TEST

/* Records that contradict each other, or the ring: refused, and nothing of the guest's is held. */
START_TEST(contradictions_are_refused)
{
    struct vbd *vbd = first_process(), *next;
    struct replica_error error = {0};
    struct front_segment out = {DATA, 0, 7};
    struct plane_usage usage;
    uint64_t value;
    FILE *file = fopen(journal, "r+e");
    static const struct {
        long at;
        uint64_t value;
    } damage[] = {{8192, 3},            /* more taken than there are records */
                  {8192 + 8, 1},        /* more answered than taken */
                  {8192 + 64, 2},       /* two records of one request */
                  {8192 + 64 + 16, 99}, /* a block that does not exist */
                  {0, 0}};

    ck_assert_ptr_nonnull(file);
    for (unsigned i = 0; i < 2; i++)
        front_put(&front, BLKIF_WRITE, i, 0, &out, 1);
    front_push(&front, true);
    turns(2);
    die(vbd);
    for (uint32_t i = 0; i < 32 && _i == 2; i++) /* wherever they are: all the same */
        ck_assert(fseek(file, 8192 + 64 + (long)i * 144, SEEK_SET) == 0 &&
                  fwrite(&damage[2].value, 8, 1, file) == 1);
    for (uint32_t i = 0; i < 32 && _i == 3; i++)
        ck_assert(fseek(file, 8192 + 64 + 16 + (long)i * 144, SEEK_SET) == 0 &&
                  fwrite("\x63\0\0\0\1\0\0\0", 8, 1, file) == 1);
    value = damage[_i].value;
    if (_i != 2 && _i != 3)
        ck_assert(fseek(file, damage[_i].at, SEEK_SET) == 0 && fwrite(&value, 8, 1, file) == 1);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(connect_ring(true, &next, &error), REPLICA_E_INVALID);
    ck_assert_uint_gt(strlen(error.text), 10);
    plane_usage(plane, &usage);
    ck_assert_uint_eq(usage.mapped_pages + usage.ports + usage.vbds, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("takeup");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, killed_at_any_instruction, 0, SEEDS);
    tcase_add_test(tcase, every_instruction_of_a_push);
    tcase_add_test(tcase, an_answer_that_was_not_shown_is_none);
    tcase_add_test(tcase, old_order);
    tcase_add_test(tcase, descriptors_were_read_once);
    tcase_add_loop_test(tcase, contradictions_are_refused, 0, 5);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
