/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core_faults.c - disks that fail, a resync that crawls, and peers that send what they must
 * not (P11): two cores over a queue, see core_pair.h.
 */
#include <inttypes.h>
#include <string.h>

#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static struct pair *primary(void)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    return pair;
}

/* The same with disk-timeout and on-io-error; they count from an attach on. */
static struct pair *primary_with(uint64_t disk_timeout, enum core_io_error on_io_error)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    pair->policies.disk_timeout = disk_timeout;
    pair->policies.on_io_error = on_io_error;
    pair_restart(pair);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pair_command(pair, i, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    return pair;
}

/* ---- disks -------------------------------------------------------------------------------------
 */

/* The Primary's disk fails under a write: the guest gets its answer once the peer holds the only
 * copy on record. */
START_TEST(test_primary_disk_fails)
{
    struct pair *pair = primary();
    unsigned write, read, flush;
    int from;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    pair->node[PAIR_B].hold = HOLD_META;
    from = (int)pair->traced;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert(!pair->request[write].done);
    ck_assert(pair_status(pair, PAIR_A).io_suspended);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_int_eq(pair->request[write].code, 0);
    PAIR_ORDER(pair, from, "a: send NEW_UUID", "b: done write", "b: done superblock",
               "b: send NEW_UUID_ACK", "a: complete 1 ok");
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 2);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    ck_assert_int_eq(pair_status(pair, PAIR_B).peer_disk, REPLICA_DISK_DISKLESS);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, DATA_BYTES);

    /* on through the peer */
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 3);
    pair_run(pair);
    flush = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair->request[read].buffer->data[0], 2);
    ck_assert(pair->request[write].done && pair->request[flush].done);
    ck_assert_int_eq(pair->request[write].code, 0);
    ck_assert_int_eq(pair->request[flush].code, 0);
    ck_assert_uint_eq(pair->node[PAIR_B].data[8192], 3);

    /* no UpToDate disk in reach: errors, and never a success */
    pair->node[PAIR_B].hold = HOLD_WRITE;
    pair->node[PAIR_A].hold = HOLD_LINK;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 12288, 4096, 4);
    pair_run(pair);
    pair_cut(pair, REPLICA_E_LINK);
    flush = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    ck_assert(pair->request[write].done && pair->request[flush].done);
    ck_assert_int_eq(pair->request[write].code, REPLICA_E_IO);
    ck_assert_int_eq(pair->request[flush].code, REPLICA_E_IO);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_free(pair);
}
END_TEST

/* The disk comes back with the process: it can only be a target, in full, of one that is good. */
START_TEST(test_failed_disk_returns)
{
    struct pair *pair = primary();

    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 1 << 20, 4096, 3);
    pair_run(pair);
    pair_crash(pair, PAIR_A);
    pair->node[PAIR_A].fail_write = 0;
    pair_attach(pair, PAIR_A);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_OUTDATED);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

/* P5: a read through the peer does not overtake a write that went there before it: on the disk that
 * is lost now the guest may have seen that write already. */
START_TEST(test_peer_reads_in_order)
{
    struct pair *pair = primary();
    unsigned write, read;

    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    pair->node[PAIR_B].hold = HOLD_WRITE;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 3);
    pair_run(pair);
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 0);
    pair_run(pair);
    ck_assert(!pair->request[read].done);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert(pair->request[read].done);
    ck_assert_int_eq(pair->request[read].code, 0);
    pair_free(pair);
}
END_TEST

/* A disk whose metadata cannot be read is not attached; it is the next time, when they can be. */
START_TEST(test_attach_fails_first)
{
    struct pair *pair = primary();

    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = 0;
    pair->node[PAIR_A].fail_meta = REPLICA_E_IO;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_IO);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    pair->node[PAIR_A].fail_meta = 0;
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

/* The same without any write left on the superblock of the failed disk. */
START_TEST(test_dead_disk_returns)
{
    struct pair *pair = primary();

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 1);
    pair_run(pair);
    pair->node[PAIR_A].fail_write = pair->node[PAIR_A].fail_meta = REPLICA_E_IO;
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8 << 20, 4096, 3);
    pair_run(pair);
    pair_crash(pair, PAIR_A);
    pair->node[PAIR_A].fail_write = pair->node[PAIR_A].fail_meta = 0;
    pair_attach(pair, PAIR_A);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    pair_advance(pair, 30ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(memcmp(pair->node[0].data, pair->node[1].data, DATA_BYTES), 0);
    pair_free(pair);
}
END_TEST

/* Local error and remote success, and no UpToDate peer: an error for the guest. */
START_TEST(test_only_disk_fails)
{
    struct pair *pair = primary();
    unsigned write, later;

    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].fail_write = REPLICA_E_NO_SPACE;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, REPLICA_E_IO);
    ck_assert_int_ge(pair_find(pair, 0, "a: log vm1: the disk of alpha failed while writing: no*"),
                     0);
    later = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 4096, 4096, 2);
    pair_run(pair);
    ck_assert_int_eq(pair->request[later].code, REPLICA_E_IO);
    pair_free(pair);
}
END_TEST

/* disk-timeout: what hangs on the Primary's disk is answered through the peer, once that has taken
 * over; nothing is attached, and `down` is not done, before the disk has answered. */
START_TEST(test_disk_hangs)
{
    struct pair *pair = primary_with(2ull * PAIR_SECOND, CORE_IO_ERROR_DETACH);
    unsigned write, read;

    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 7);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_WRITE | HOLD_READ | HOLD_FLUSH | HOLD_META;
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 0, 4096, 0);
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 8);
    pair_run(pair);
    pair_advance(pair, PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert(!pair->request[write].done && !pair->request[read].done);
    pair_advance(pair, 3ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    ck_assert(pair->request[write].done && pair->request[read].done);
    ck_assert_int_eq(pair->request[write].code, 0);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair->request[read].buffer->data[0], 7);
    ck_assert_uint_eq(pair_status(pair, PAIR_B).out_of_sync_bytes, DATA_BYTES);
    ck_assert(!core_disk_idle(pair->node[PAIR_A].core));
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), REPLICA_E_BUSY);
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    ck_assert(core_disk_idle(pair->node[PAIR_A].core));
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_ATTACH, 0), 0);
    pair_advance(pair, 10ull * PAIR_SECOND);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair->node[PAIR_A].data[4096], 8);
    pair_free(pair);
}
END_TEST

/* on-io-error pass_on: a read that fails goes to the peer and the disk stays; a write that fails
 * lets go of it all the same. */
START_TEST(test_pass_on)
{
    struct pair *pair = primary_with(0, CORE_IO_ERROR_PASS_ON);
    unsigned id;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 7);
    pair_run(pair);
    pair->node[PAIR_A].fail_read = REPLICA_E_IO;
    id = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 0, 4096, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->request[id].code, 0);
    ck_assert_uint_eq(pair->request[id].buffer->data[0], 7);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    pair->node[PAIR_A].fail_write = REPLICA_E_IO;
    id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 8);
    pair_run(pair);
    ck_assert_int_eq(pair->request[id].code, 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_DISKLESS);
    pair_free(pair);
}
END_TEST

/* An error on the peer's disk is no success: the leg is lost, on record, and then the answer. */
START_TEST(test_secondary_disk_fails)
{
    struct pair *pair = primary();
    unsigned write;
    int from = (int)pair->traced;

    pair->node[PAIR_B].fail_write = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, 0);
    PAIR_ORDER(pair, from, "b: send WRITE_ACK", "a: write bitmap", "a: done bitmap",
               "a: done superblock", "a: complete 0 ok");
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 4096);
    ck_assert_int_eq(pair_status(pair, PAIR_B).connection, REPLICA_CONNECTION_STANDALONE);
    ck_assert_int_lt(pair_status(pair, PAIR_B).disk, REPLICA_DISK_INCONSISTENT);
    pair_free(pair);
}
END_TEST

START_TEST(test_secondary_flush_fails)
{
    struct pair *pair = primary();
    unsigned flush;
    int from;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    pair->node[PAIR_B].fail_flush = REPLICA_E_IO;
    from = (int)pair->traced;
    flush = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    ck_assert_int_eq(pair->request[flush].code, 0);
    PAIR_ORDER(pair, from, "b: send FLUSH_ACK", "a: done bitmap", "a: done superblock",
               "a: disk flush*", "a: done flush", "a: complete 1 ok");
    pair_free(pair);
}
END_TEST

START_TEST(test_metadata_fails)
{
    struct pair *pair = primary();
    unsigned write;

    pair->node[PAIR_A].fail_meta = REPLICA_E_IO;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    ck_assert(pair->request[write].done);
    ck_assert_int_eq(pair->request[write].code, 0); /* through the peer */
    ck_assert_uint_eq(pair->node[PAIR_B].data[4096], 2);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, 0), 0);
    pair_free(pair);
}
END_TEST

/* A slow resync shows how far it is: what was written does not wait for a large batch. */
START_TEST(test_slow_sync_is_seen)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair->resync_rate = 1 << 20;
    pair_crash(pair, PAIR_B);
    pair_attach(pair, PAIR_B);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, COMMAND_FORCE), 0);
    for (unsigned i = 0; i < 12; i++)
        pair_advance(pair, PAIR_SECOND / 4);
    ck_assert_int_eq(pair_status(pair, PAIR_A).replication, REPLICA_REPLICATION_SYNC_SOURCE);
    ck_assert_uint_ge(pair_status(pair, PAIR_A).resync_done_bytes, 2 << 20);
    ck_assert_uint_le(pair_status(pair, PAIR_A).resync_done_bytes, 4 << 20);
    pair_free(pair);
}
END_TEST

/* ---- peers -------------------------------------------------------------------------------------
 */

/* P6: a write under another epoch, or from a Secondary, never reaches the disk. */
START_TEST(test_old_epoch)
{
    struct pair *pair = primary();
    struct wire_message write = {
        .type = WIRE_WRITE, .tag = 77, .range = {4096, 4096}, .data_bytes = 4096};
    int from = (int)pair->traced;

    write.epoch = pair_status(pair, PAIR_B).epoch - 1;
    pair_forge(pair, PAIR_B, &write);
    write.epoch += 2;
    pair_forge(pair, PAIR_B, &write);
    write.epoch -= 1;
    pair_forge(pair, PAIR_A, &write); /* the Primary takes none at all */
    ck_assert_int_eq(pair_find(pair, from, "b: disk write*"), -1);
    ck_assert_int_eq(pair_find(pair, from, "a: disk write*"), -1);
    ck_assert_int_ge(pair_find(pair, from, "b: send WRITE_ACK"), 0);
    pair_free(pair);
}
END_TEST

/* Answers that nobody asked for, and events with tags that are not ours. */
START_TEST(test_forged_tags)
{
    struct pair *pair = primary();
    struct wire_message ack = {.type = WIRE_WRITE_ACK};
    uint64_t seed = 7;
    unsigned write;

    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_WRITE;
    write = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 2);
    pair_run(pair);
    for (unsigned i = 0; i < 100000; i++) {
        struct event event = {.kind = i & 1 ? EVENT_DISK_DONE : EVENT_META_DONE};
        uint64_t tag = (uint64_t)(unit_below(&seed, 12)) << 56 |
                       (uint64_t)unit_below(&seed, 4) << 24 | unit_below(&seed, 300);

        if (tag == ((uint64_t)4 << 56 | (uint64_t)1 << 24)) /* the true one */
            continue;
        if (i & 1)
            event.disk_done.tag = tag;
        else
            event.meta_done.tag = tag;
        pair_step(&pair->node[PAIR_A], &event);
    }
    ck_assert(!pair->request[write].done);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).local_pending, 1);
    ack.tag = (uint64_t)4 << 56 | (uint64_t)9 << 24;
    pair_forge(pair, PAIR_A, &ack);
    ck_assert_int_eq(pair_status(pair, PAIR_A).last_link_code, REPLICA_E_PROTOCOL);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair->request[write].code, 0);
    pair_free(pair);
}
END_TEST

static void expect_violation(const struct wire_message *message)
{
    struct pair *pair = primary();
    struct core_status before = pair_status(pair, PAIR_B), after;
    int from = (int)pair->traced;

    pair_forge(pair, PAIR_B, message);
    ck_assert_msg(pair_find(pair, from, "b: close") >= 0, "%s was taken",
                  wire_type_name(message->type));
    after = pair_status(pair, PAIR_B);
    ck_assert_int_eq(after.last_link_code, REPLICA_E_PROTOCOL);
    ck_assert_uint_eq(after.epoch, before.epoch);
    ck_assert_uint_eq(after.generation.current, before.generation.current);
    ck_assert_int_eq(after.disk, before.disk);
    ck_assert_uint_eq(after.out_of_sync_bytes, 0);
    ck_assert_int_eq(pair_find(pair, from, "b: write*"), -1);
    ck_assert_int_eq(pair_find(pair, from, "b: disk*"), -1);
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_PRIMARY);
    pair_free(pair);
}

START_TEST(test_out_of_turn)
{
    static const uint8_t block[METADATA_BLOCK_BYTES];
    const struct wire_message messages[] = {
        {.type = WIRE_HELLO, .hello = {1, 1, "vm1", "alpha", 0, 0}},
        {.type = WIRE_STATE, .state = {.role = REPLICA_ROLE_PRIMARY}},
        {.type = WIRE_BITMAP, .bitmap_block = block},
        {.type = WIRE_BITMAP_DONE},
        {.type = WIRE_WRITE_ACK},
        {.type = WIRE_FLUSH_ACK},
        {.type = WIRE_READ_REPLY, .range = {0, 4096}, .data_bytes = 4096},
        {.type = WIRE_PROMOTE_ACK},
        {.type = WIRE_DEMOTED, .epoch = 99},
        {.type = WIRE_NEW_UUID_ACK},
        {.type = WIRE_RESYNC_READ, .range = {0, 4096}},
        {.type = WIRE_RESYNC_DATA, .range = {0, 4096}, .data_bytes = 4096},
        {.type = WIRE_RESYNC_ACK, .range = {0, 4096}},
        {.type = WIRE_RESYNC_DONE},
        {.type = WIRE_WRITE, .epoch = 1, .range = {DATA_BYTES, 4096}, .data_bytes = 4096},
        {.type = WIRE_WRITE, .epoch = 1, .range = {DATA_BYTES - 512, 1024}, .data_bytes = 1024},
        {.type = WIRE_WRITE, .epoch = 1, .range = {100, 512}, .data_bytes = 512},
        {.type = WIRE_WRITE, .epoch = 1, .range = {0, 512}},
        {.type = WIRE_DISCARD, .epoch = 1, .range = {UINT64_MAX - 511, 512}},
        {.type = WIRE_READ, .range = {0, 0}},
        {.type = 200},
    };

    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        expect_violation(&messages[i]);
}
END_TEST

/* More requests than the window: the link goes, nothing else. */
START_TEST(test_window)
{
    struct pair *pair = primary();
    struct wire_message write = {
        .type = WIRE_WRITE, .epoch = 1, .range = {0, 512}, .data_bytes = 512};
    unsigned i;

    pair->node[PAIR_B].hold = HOLD_WRITE;
    for (i = 0; i <= WIRE_WINDOW_REQUESTS; i++) {
        write.tag = i;
        write.range.offset = (uint64_t)i * 512;
        pair_forge(pair, PAIR_B, &write);
        if (pair_status(pair, PAIR_B).last_link_code)
            break;
    }
    ck_assert_uint_eq(i, WIRE_WINDOW_REQUESTS);
    ck_assert_int_eq(pair_status(pair, PAIR_B).last_link_code, REPLICA_E_PROTOCOL);
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_free(pair);
}
END_TEST

static struct wire_message random_message(uint64_t *seed, uint8_t *block)
{
    struct wire_message message = {
        .type = (uint8_t)(1 + unit_below(seed, WIRE_TYPE_COUNT - 1)),
        .tag = (uint64_t)unit_below(seed, 12) << 56 | (uint64_t)unit_below(seed, 3) << 24 |
               unit_below(seed, 4),
        .epoch = unit_below(seed, 4),
        .range = {(uint64_t)unit_below(seed, 64) * 4096, (1 + unit_below(seed, 4)) * 4096},
        .value = unit_below(seed, 3),
        .flags = unit_below(seed, 4),
        .code = -(int32_t)unit_below(seed, 8),
        .zero = unit_below(seed, 2),
    };

    if (message.type == WIRE_WRITE || (message.type == WIRE_READ_REPLY && message.code == 0) ||
        (message.type == WIRE_RESYNC_DATA && message.code == 0 && !message.zero))
        message.data_bytes = message.range.length;
    if (message.type == WIRE_HELLO)
        message.hello = (struct wire_hello){1, 1, "vm1", "alpha", 0, unit_random(seed)};
    if (message.type == WIRE_STATE)
        message.state = (struct wire_state){
            .data_bytes = DATA_BYTES,
            .epoch = unit_below(seed, 4),
            .role = (uint8_t)unit_below(seed, REPLICA_ROLE_COUNT),
            .disk = (uint8_t)unit_below(seed, REPLICA_DISK_COUNT),
            .flags = unit_below(seed, METADATA_FLAGS_ALL + 1),
            .generation = {unit_below(seed, 3) * 4, unit_below(seed, 3) * 4, {0, 0}},
            .out_of_sync = unit_below(seed, 2),
            .window_bytes = WIRE_WINDOW_BYTES,
            .window_requests = WIRE_WINDOW_REQUESTS,
        };
    if (message.type == WIRE_BITMAP) {
        memset(block, (int)unit_below(seed, 256), METADATA_BLOCK_BYTES);
        message.bitmap_block = block;
    }
    if (message.type == WIRE_REFUSE)
        memset(&message.refuse, 0, sizeof message.refuse);
    return message;
}

/* A peer that passed TLS and then says anything at all: node B keeps its promises to itself. All
 * buffers are accounted for (pair_free), nothing crashes, and it can still be used. */
START_TEST(test_mad_peer)
{
    static uint8_t block[METADATA_BLOCK_BYTES];
    uint64_t seed = 20;

    for (unsigned round = 0; round < 60; round++) {
        struct pair *pair = pair_new(DATA_BYTES);
        struct event up = {.kind = EVENT_LINK_UP};
        struct event down = {.kind = EVENT_LINK_DOWN, .link_down.code = REPLICA_E_LINK};

        if (round & 1) {
            pair_clear(pair);
            pair_cut(pair, REPLICA_E_LINK);
        }
        pair->node[PAIR_A].hold = HOLD_LINK;
        pair_command(pair, PAIR_B, COMMAND_CONNECT, 0);
        if (round & 2)
            pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_FORCE);
        for (unsigned i = 0; i < 400; i++) {
            struct wire_message message = random_message(&seed, block);

            if (unit_below(&seed, 20) == 0)
                pair_step(&pair->node[PAIR_B], &up);
            if (unit_below(&seed, 30) == 0)
                pair_step(&pair->node[PAIR_B], &down);
            if (round & 2 && unit_below(&seed, 10) == 0)
                pair_submit(pair, PAIR_B, REPLICA_OP_WRITE, unit_below(&seed, 64) * 4096, 4096, 1);
            pair_forge(pair, PAIR_B, &message);
            if (unit_below(&seed, 3))
                pair_run(pair);
        }
        pair_step(&pair->node[PAIR_B], &down);
        pair_advance(pair, 60ull * PAIR_SECOND);
        ck_assert_uint_eq(pair_status(pair, PAIR_B).requests_pending, 0);
        ck_assert_uint_eq(pair_status(pair, PAIR_B).local_pending, 0);
        pair_free(pair);
    }
}
END_TEST

UNIT_MAIN("core faults", test_primary_disk_fails, test_disk_hangs, test_pass_on,
          test_failed_disk_returns, test_peer_reads_in_order, test_attach_fails_first,
          test_dead_disk_returns, test_only_disk_fails, test_slow_sync_is_seen,
          test_secondary_disk_fails, test_secondary_flush_fails, test_metadata_fails,
          test_old_epoch, test_forged_tags, test_out_of_turn, test_window, test_mad_peer)
