/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_resize.c - a disk gets larger on both nodes: every kind of metadata, every refusal, and the
 * death of either node, or the cut of the link, after every single action of it. Two cores over a
 * queue, see core_pair.h.
 */
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DEVICE_BYTES ((uint64_t)8 << 20)
#define GROWTH ((uint64_t)1 << 20)

enum { NEITHER, ONLY_A, ONLY_B, BOTH, KINDS }; /* internal metadata */

static struct pair *primary_on(unsigned internal, uint64_t device_bytes)
{
    struct pair *pair = pair_new_internal(device_bytes, internal);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    for (unsigned i = 0; i < 16; i++)
        pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, i * 65536, 8192, (uint8_t)(i + 1));
    pair_run(pair);
    return pair;
}

static struct pair *primary(unsigned internal)
{
    return primary_on(internal, DEVICE_BYTES);
}

static struct pair *grown_devices(unsigned internal)
{
    struct pair *pair = primary(internal);

    for (unsigned i = 0; i < 2; i++)
        pair_grow(pair, i, GROWTH);
    return pair;
}

/* And the new areas are the same. */
static struct pair *grown_clean(unsigned internal)
{
    struct pair *pair = grown_devices(internal);

    for (unsigned i = 0; i < 2; i++)
        memset(pair->node[i].data + DEVICE_BYTES, 0, GROWTH);
    return pair;
}

static void settle(struct pair *pair)
{
    pair_advance(pair, 60ull * PAIR_SECOND);
    for (unsigned i = 0; i < 2; i++) {
        struct core_status status = pair_status(pair, i);

        ck_assert_int_eq(status.replication, REPLICA_REPLICATION_ESTABLISHED);
        ck_assert_int_eq(status.disk, REPLICA_DISK_UPTODATE);
        ck_assert_uint_eq(status.out_of_sync_bytes, 0);
    }
    ck_assert_uint_eq(pair_status(pair, 0).data_bytes, pair_status(pair, 1).data_bytes);
    ck_assert_int_eq(
        memcmp(pair->node[0].data, pair->node[1].data, pair_status(pair, 0).data_bytes), 0);
}

/* What a guest may do with the new area, and what is on disk. */
static void use_new_area(struct pair *pair, unsigned on, uint64_t old)
{
    uint64_t size = pair_status(pair, on).data_bytes;
    unsigned last = pair_submit(pair, on, REPLICA_OP_WRITE, size - 8192, 8192, 77);
    unsigned across = pair_submit(pair, on, REPLICA_OP_WRITE, old - 4096, 8192, 78);
    unsigned past = pair_submit(pair, on, REPLICA_OP_READ, size, 4096, 0);

    pair_run(pair);
    ck_assert_int_eq(pair->request[last].code, 0);
    ck_assert_int_eq(pair->request[across].code, 0);
    ck_assert_int_eq(pair->request[past].code, REPLICA_E_RANGE);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(pair->node[i].data[size - 1], 77);
        ck_assert_uint_eq(pair->node[i].data[old], 78);
    }
}

START_TEST(test_grow)
{
    unsigned kind = (unsigned)_i % KINDS, typed = (unsigned)_i / KINDS;
    struct pair *pair;
    uint64_t old;

    pair = grown_devices(kind);
    old = pair_status(pair, 0).data_bytes;
    pair_resize(pair, typed, 0, 0);
    pair_run(pair);
    ck_assert_msg(pair->node[typed].answered, "no answer");
    ck_assert_msg(pair->node[typed].answer_code == 0, "%s", pair->node[typed].answer_text);
    settle(pair);
    ck_assert_uint_eq(pair_status(pair, 0).data_bytes, old + GROWTH);
    use_new_area(pair, PAIR_A, old);
    for (unsigned i = 0; i < 2; i++) /* what is on disk says the same */
        pair_crash(pair, i);
    for (unsigned i = 0; i < 2; i++) {
        pair_attach(pair, i);
        ck_assert_uint_eq(pair_status(pair, i).data_bytes, old + GROWTH);
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    }
    settle(pair);
    pair_free(pair);
}
END_TEST

/* Nothing is copied, but the places where the old metadata were. */
START_TEST(test_assume_clean)
{
    struct pair *pair = grown_clean(_i ? BOTH : NEITHER);
    uint64_t old = pair_status(pair, 0).data_bytes;
    int from = (int)pair->traced;

    pair_resize(pair, PAIR_A, 0, COMMAND_ASSUME_CLEAN);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, 0);
    if (_i == 0)
        ck_assert_int_lt(pair_find(pair, from, "b: send RESYNC_READ"), 0);
    settle(pair);
    ck_assert_uint_eq(pair_status(pair, 0).data_bytes, old + GROWTH);
    use_new_area(pair, PAIR_A, old);
    pair_free(pair);
}
END_TEST

/* Metadata that moved past the data of a size by hand: what they left is no data of the guest's
 * when the disk grows over it, a restart later. */
START_TEST(test_assume_clean_later)
{
    struct pair *pair = grown_clean(ONLY_B);
    uint64_t old = pair_status(pair, 0).data_bytes;

    pair_resize(pair, PAIR_A, old + 4096, COMMAND_ASSUME_CLEAN);
    settle(pair);
    ck_assert_uint_eq(pair_status(pair, 0).data_bytes, old + 4096);
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    pair_resize(pair, PAIR_A, 0, COMMAND_ASSUME_CLEAN);
    settle(pair);
    use_new_area(pair, PAIR_A, old);
    pair_free(pair);
}
END_TEST

static void refused(struct pair *pair, unsigned on, uint64_t bytes, int code, const char *text)
{
    uint64_t old = pair_status(pair, on).data_bytes;

    pair_resize(pair, on, bytes, 0);
    pair_run(pair);
    ck_assert(pair->node[on].answered);
    ck_assert_int_eq(pair->node[on].answer_code, code);
    ck_assert_str_eq(pair->node[on].answer_text, text);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(pair_status(pair, i).data_bytes, old);
    /* and nothing is left behind */
    ck_assert_int_eq(pair_verify(pair, on, 0, 4096), 0);
    pair_run(pair);
}

START_TEST(test_refusals)
{
    struct pair *pair = primary(NEITHER);

    refused(pair, PAIR_A, 0, REPLICA_E_NO_SPACE,
            "vm1: it has 8388608 bytes; the device of alpha holds 8388608, that of beta "
            "8388608: grow both devices first");
    pair_grow(pair, PAIR_A, GROWTH);
    refused(pair, PAIR_B, 0, REPLICA_E_NO_SPACE,
            "vm1: it has 8388608 bytes; the device of alpha holds 9437184, that of beta "
            "8388608: grow both devices first");
    pair_grow(pair, PAIR_B, GROWTH);
    refused(pair, PAIR_A, 4u << 20, REPLICA_E_INVALID,
            "vm1: it has 8388608 bytes, and would lose what is past 4194304: a disk is never "
            "made smaller; make a new one and copy");
    refused(pair, PAIR_A, 10u << 20, REPLICA_E_NO_SPACE,
            "vm1: 10485760 bytes are wanted, the device of alpha holds 9437184, that of beta "
            "9437184; grow the devices first");
    refused(pair, PAIR_A, DEVICE_BYTES, 0, "");
    pair->node[1].fail_measure = REPLICA_E_MEMORY;
    refused(pair, PAIR_A, 0, REPLICA_E_MEMORY, "vm1: on beta: no memory");
    pair->node[1].fail_measure = 0;
    pair->node[0].fail_measure = REPLICA_E_MEMORY;
    refused(pair, PAIR_B, 0, REPLICA_E_MEMORY, "vm1: on alpha: no memory");
    pair->node[0].fail_measure = 0;

    pair->node[0].hold = HOLD_SEND; /* one at a time */
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    pair_ask(pair, PAIR_A, COMMAND_DEMOTE, 0);
    ck_assert_int_eq(pair->node[0].answer_code, REPLICA_E_BUSY);
    pair->node[0].hold = 0;
    pair_cut(pair, REPLICA_E_LINK);
    ck_assert_int_eq(pair->node[0].answer_code, REPLICA_E_LINK);
    pair_run(pair);
    pair_free(pair);

    pair = pair_new(DEVICE_BYTES);
    pair_resize(pair, PAIR_A, 0, 0);
    ck_assert_int_eq(pair->node[0].answer_code, REPLICA_E_STATE);
    pair_free(pair);
}
END_TEST

/* Internal metadata find no place that is clear of the old one. */
START_TEST(test_too_little)
{
    struct pair *pair = primary(BOTH);

    for (unsigned i = 0; i < 2; i++)
        pair_grow(pair, i, 65536);
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, REPLICA_E_NO_SPACE);
    ck_assert_str_eq(pair->node[0].answer_text,
                     "vm1: on alpha: internal metadata move to the new end only when the old place "
                     "is clear of it: the device must grow by 471040 bytes more");
    pair_free(pair);
}
END_TEST

/* In two steps: the second one finds the first one's place. */
START_TEST(test_twice)
{
    struct pair *pair = grown_devices(_i ? BOTH : NEITHER);
    uint64_t old = pair_status(pair, 0).data_bytes;

    pair_resize(pair, PAIR_A, old + GROWTH / 2, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, 0);
    settle(pair);
    ck_assert_uint_eq(pair_status(pair, 1).data_bytes, old + GROWTH / 2);
    pair_resize(pair, PAIR_B, 0, 0); /* the rest of the device */
    pair_run(pair);
    ck_assert_int_eq(pair->node[1].answer_code, 0);
    settle(pair);
    for (unsigned i = 0; i < 2; i++)
        pair_grow(pair, i, (uint64_t)200 << 20); /* a second block of the bitmap, too */
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, 0);
    settle(pair);
    ck_assert_uint_ge(pair_status(pair, 0).data_bytes, old + GROWTH + ((uint64_t)199 << 20));
    use_new_area(pair, PAIR_A, old + GROWTH);
    pair_free(pair);
}
END_TEST

/* The guest goes on: writes that need no metadata are not held up, the others only for the copy. */
START_TEST(test_guest_goes_on)
{
    struct pair *pair = grown_devices(BOTH);
    unsigned hot, cold;

    pair->node[0].hold = HOLD_META;
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    hot = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 65536, 4096, 9);
    cold = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 6u << 20, 4096, 9);
    pair_run(pair);
    ck_assert(pair->request[hot].done);
    ck_assert(!pair->request[cold].done);
    pair->node[0].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[cold].done);
    ck_assert_int_eq(pair->request[cold].code, 0);
    settle(pair);
    pair_free(pair);
}
END_TEST

enum harm { CRASH_A, CRASH_B, CRASH_BOTH, CUT, HARMS };

static void strike(struct pair *pair, enum harm harm)
{
    for (unsigned i = 0; i < 2; i++)
        if (harm == CRASH_BOTH || (unsigned)harm == i)
            pair_crash(pair, i);
    if (harm == CUT)
        pair_cut(pair, REPLICA_E_LINK);
    for (unsigned i = 0; i < 2; i++) {
        if (pair->node[i].core)
            continue;
        pair_attach(pair, i);
        (void)pair_command(pair, i, COMMAND_CONNECT, 0);
    }
}

/* After the n-th action, for every n: both have the old size or both the new one in the end, and
 * every byte that was written before. */
static bool struck_at(unsigned kind, unsigned typed, enum harm harm, unsigned n)
{
    struct pair *pair = primary_on(kind, (uint64_t)2 << 20);
    uint64_t old = pair_status(pair, 0).data_bytes, size;
    bool over;

    for (unsigned i = 0; i < 2; i++)
        pair_grow(pair, i, GROWTH);
    pair_resize(pair, typed, 0, 0);
    pair_run_some(pair, n);
    over = pair->node[typed].answered;
    strike(pair, harm);
    settle(pair);
    size = pair_status(pair, 0).data_bytes;
    ck_assert(size == old || size == old + GROWTH);
    ck_assert(!over || size == old + GROWTH);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(pair->node[1].data[i * 65536 + 8191], i + 1);
    if (size == old) { /* and again */
        pair_resize(pair, typed, 0, 0);
        pair_run(pair);
        ck_assert_msg(pair->node[typed].answer_code == 0, "%s", pair->node[typed].answer_text);
        settle(pair);
    }
    pair_free(pair);
    return over;
}

START_TEST(test_struck)
{
    unsigned kind = _i & 1 ? BOTH : NEITHER, typed = (unsigned)_i >> 1 & 1;
    enum harm harm = (enum harm)(_i >> 2);
    unsigned n = typed; /* who types it makes little difference: every other action each */

    while (!struck_at(kind, typed, harm, n))
        n += 2;
    ck_assert_uint_gt(n, 10);
}
END_TEST

/* What cannot be written at the new place leaves the old one alone. */
START_TEST(test_copy_fails)
{
    struct pair *pair = grown_devices(BOTH);

    pair->node[_i].fail_meta = REPLICA_E_IO;
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, REPLICA_E_IO);
    pair->node[_i].fail_meta = 0;
    ck_assert_int_eq(pair_status(pair, (unsigned)_i).disk, REPLICA_DISK_UPTODATE);
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->node[0].answer_code, 0);
    settle(pair);
    pair_free(pair);
}
END_TEST

/* The metadata device fails from the n-th action on, for every n, and can be attached again: also
 * where the superblock should have been written in its new place. */
static bool failed_at(unsigned n)
{
    struct pair *pair = primary_on(BOTH, (uint64_t)2 << 20);
    struct pair_node *failing = &pair->node[PAIR_A];
    bool over;

    for (unsigned i = 0; i < 2; i++)
        pair_grow(pair, i, GROWTH);
    pair_resize(pair, PAIR_B, 0, 0);
    pair_run_some(pair, n);
    over = pair->node[PAIR_B].answered;
    failing->fail_meta = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, (uint64_t)1 << 20, 4096, 50);
    pair_run(pair);
    failing->fail_meta = 0;
    if (pair_status(pair, PAIR_A).disk == REPLICA_DISK_DISKLESS) {
        ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
        ck_assert_msg(failing->answer_code == 0, "%s", failing->answer_text);
        (void)pair_command(pair, PAIR_A, COMMAND_CONNECT, 0);
    }
    settle(pair);
    pair_free(pair);
    return over;
}

START_TEST(test_device_fails)
{
    unsigned n = 0;

    while (!failed_at(n))
        n++;
    ck_assert_uint_gt(n, 10);
}
END_TEST

/* The leader's disk fails in the middle of its commit: it has the new size, the follower is about
 * to take it. */
static struct pair *leader_fails(unsigned typed, uint32_t flags)
{
    struct pair *pair =
        flags & COMMAND_ASSUME_CLEAN ? grown_clean(NEITHER) : grown_devices(NEITHER);
    unsigned write;

    pair_resize(pair, typed, 0, flags);
    for (unsigned i = 0; i < 3; i++) /* PREPARE, COPY, COMMIT */
        pair_run_to(pair, "a: send RESIZE");
    pair->node[PAIR_B].hold = HOLD_META;
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 50);
    pair_run(pair);
    ck_assert_int_lt(pair_status(pair, PAIR_A).disk, REPLICA_DISK_INCONSISTENT);
    pair->node[PAIR_B].hold = 0;
    pair->node[PAIR_A].fail_write = 0;
    pair_run(pair);
    ck_assert(pair->node[typed].answered);
    ck_assert(pair->request[write].done);
    ck_assert_int_eq(pair->request[write].code, flags ? 0 : REPLICA_E_IO);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(pair_status(pair, i).data_bytes, DEVICE_BYTES + GROWTH);
    return pair;
}

/* With --assume-clean the follower has what the leader had: the guest goes on through it. */
START_TEST(test_leader_fails_clean)
{
    struct pair *pair = leader_fails((unsigned)_i, COMMAND_ASSUME_CLEAN);
    unsigned write;

    ck_assert_int_eq(pair->node[_i].answer_code, _i == PAIR_A ? REPLICA_E_IO : 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).connection, REPLICA_CONNECTION_CONNECTED);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, DEVICE_BYTES + 4096, 4096, 51);
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    settle(pair);
    ck_assert_uint_eq(pair->node[PAIR_A].data[DEVICE_BYTES + 4096], 51);
    use_new_area(pair, PAIR_A, DEVICE_BYTES);
    pair_free(pair);
}
END_TEST

/* Without it the follower lacks the new area: the leader's disk is the last good copy. */
START_TEST(test_leader_fails)
{
    struct pair *pair = leader_fails((unsigned)_i, 0);

    ck_assert_int_eq(pair->node[_i].answer_code, _i == PAIR_A ? REPLICA_E_IO : REPLICA_E_LINK);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_STATE);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        (void)pair_command(pair, i, COMMAND_CONNECT, 0);
    settle(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    use_new_area(pair, PAIR_A, DEVICE_BYTES);
    pair_free(pair);
}
END_TEST

/* As a person does after it has failed. */
static void bring_back(struct pair *pair, unsigned index)
{
    int code = pair_command(pair, index, COMMAND_ATTACH, 0);

    if (code == REPLICA_E_STATE) { /* the last good copy */
        ck_assert_int_eq(pair_command(pair, index, COMMAND_DEMOTE, 0), 0);
        code = pair_command(pair, index, COMMAND_ATTACH, 0);
    }
    if (code == REPLICA_E_MISMATCH) { /* its superblock with the new size was under way */
        pair_crash(pair, index);
        pair_attach(pair, index);
        code = 0;
    }
    ck_assert_msg(code == 0, "%s", pair->node[index].answer_text);
    for (unsigned i = 0; i < 2; i++)
        (void)pair_command(pair, i, COMMAND_CONNECT, 0);
}

/* A disk fails after the n-th action, for every n; with `cut`, the link as well. */
static bool disk_failed_at(unsigned failing, uint32_t flags, bool cut, unsigned n)
{
    struct pair *pair = primary_on(NEITHER, (uint64_t)2 << 20);
    unsigned write;
    bool over;

    for (unsigned i = 0; i < 2; i++) {
        pair_grow(pair, i, GROWTH);
        memset(pair->node[i].data + ((uint64_t)2 << 20), 0, GROWTH);
    }
    pair_resize(pair, PAIR_B, 0, flags);
    pair_run_some(pair, n);
    over = pair->node[PAIR_B].answered;
    pair->node[failing].fail_write = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 65536, 8192, 50);
    if (cut)
        pair_run_some(pair, 4);
    if (cut)
        pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    pair->node[failing].fail_write = 0;
    ck_assert(pair->request[write].done);
    if (!cut && (failing == PAIR_B || flags)) /* somebody has all that the guest may use */
        ck_assert_int_eq(pair->request[write].code, 0);
    if (pair_status(pair, failing).disk < REPLICA_DISK_INCONSISTENT)
        bring_back(pair, failing);
    settle(pair);
    if (pair->request[write].code == 0)
        ck_assert_uint_eq(pair->node[PAIR_B].data[65536], 50);
    pair_free(pair);
    return over;
}

START_TEST(test_disk_fails)
{
    unsigned n = 0;

    while (!disk_failed_at(_i & 1 ? PAIR_B : PAIR_A, _i & 2 ? COMMAND_ASSUME_CLEAN : 0, _i & 4, n))
        n++;
    ck_assert_uint_gt(n, 10);
}
END_TEST

/* A step that comes out of turn is the end of the session and of nothing else. */
START_TEST(test_forged)
{
    struct pair *pair = grown_devices(NEITHER);
    struct wire_message message = {.type = (uint8_t)(_i & 8 ? WIRE_RESIZE_ACK : WIRE_RESIZE)};

    message.flags = (uint32_t)_i & 7;
    message.resize.data_bytes = (uint64_t)1 << 40;
    pair_forge(pair, PAIR_A, &message);
    pair_run(pair);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).data_bytes, DEVICE_BYTES);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    pair_free(pair);
}
END_TEST

/* Nor does the follower lead the leader to a size that no disk can have. */
START_TEST(test_forged_offer)
{
    struct pair *pair = grown_devices(BOTH);
    uint64_t size = pair_status(pair, PAIR_A).data_bytes;
    struct wire_message answer = {.type = WIRE_RESIZE_ACK, .tag = (uint64_t)15 << 56 | 1 << 24};

    pair->node[PAIR_A].hold = HOLD_SEND;
    pair_resize(pair, PAIR_A, 0, 0);
    pair_run(pair);
    answer.resize.data_bytes = size + REPLICA_BLOCK_BYTES + REPLICA_SECTOR_BYTES;
    for (answer.flags = 1; answer.flags <= 3; answer.flags++) { /* PREPARE, COPY, COMMIT */
        pair_forge(pair, PAIR_A, &answer);
        pair_run(pair);
    }
    ck_assert_uint_eq(pair_status(pair, PAIR_A).data_bytes, size);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_LINK);
    pair_free(pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resize");
    TCase *tests = tcase_create("resize");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_grow, 0, 2 * KINDS);
    tcase_add_loop_test(tests, test_assume_clean, 0, 2);
    tcase_add_test(tests, test_assume_clean_later);
    tcase_add_test(tests, test_refusals);
    tcase_add_test(tests, test_too_little);
    tcase_add_loop_test(tests, test_twice, 0, 2);
    tcase_add_test(tests, test_guest_goes_on);
    tcase_add_loop_test(tests, test_struck, 0, 4 * HARMS);
    tcase_add_loop_test(tests, test_copy_fails, 0, 2);
    tcase_add_test(tests, test_device_fails);
    tcase_add_loop_test(tests, test_leader_fails_clean, 0, 2);
    tcase_add_loop_test(tests, test_leader_fails, 0, 2);
    tcase_add_loop_test(tests, test_disk_fails, 0, 8);
    tcase_add_loop_test(tests, test_forged, 0, 16);
    tcase_add_test(tests, test_forged_offer);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
