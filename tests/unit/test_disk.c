/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_disk.c - files as disks: exclusive, whatever unit the device wants, zeroes that are zero. */
#include "io_help.h"
#include "libreplica/io/disk.h"
#include "libreplica/io/metastore.h"
#include "libreplica/io/queue_limits.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISK_BYTES = 4 << 20, SLOTS = 8, SLOT_BYTES = REPLICA_REQUEST_BYTES_MAX };

static struct io_help help;
static struct disk *disk;
static uint8_t *memory; /* SLOTS pieces, page-aligned */
static uint8_t *model;  /* what the disk must hold */
static struct disk_io ios[SLOTS];
static unsigned pending;
static int last_code;

static void setup(void)
{
    struct replica_error error = {0};

    io_help_open(&help);
    ck_assert_msg(disk_open(&disk, help.loop, &help.log, io_help_file(&help, "disk", DISK_BYTES),
                            &error) == 0,
                  "%s", error.text);
    ck_assert_int_eq(posix_memalign((void **)&memory, 4096, (size_t)SLOTS * SLOT_BYTES), 0);
    model = calloc(1, DISK_BYTES);
    pending = 0;
}

static void teardown(void)
{
    disk_close(disk);
    free(memory);
    free(model);
    io_help_close(&help);
}

static void io_done(struct disk_io *io, int code)
{
    (void)io;
    pending--;
    last_code = code;
}

static bool idle(void *argument)
{
    (void)argument;
    return pending == 0;
}

static void start(unsigned slot, enum replica_op op, uint64_t offset, uint32_t length, bool durable)
{
    ios[slot] = (struct disk_io){.op = op,
                                 .offset = offset,
                                 .length = length,
                                 .durable = durable,
                                 .data = memory + (size_t)slot * SLOT_BYTES,
                                 .done = io_done};
    pending++;
    disk_submit(disk, &ios[slot]);
}

static int run(unsigned slot, enum replica_op op, uint64_t offset, uint32_t length)
{
    start(slot, op, offset, length, false);
    io_help_run(&help, idle, NULL);
    return last_code;
}

static void compare_all(void)
{
    for (uint64_t at = 0; at < DISK_BYTES; at += SLOT_BYTES) {
        ck_assert_int_eq(run(0, REPLICA_OP_READ, at, SLOT_BYTES), 0);
        ck_assert_mem_eq(memory, model + at, SLOT_BYTES);
    }
}

START_TEST(test_size_and_lock)
{
    struct disk *second;
    struct replica_error error = {0};
    char path[128];
    pid_t child;
    int status;

    ck_assert_uint_eq(disk_bytes(disk), DISK_BYTES);
    (void)snprintf(path, sizeof path, "%s/disk", help.directory);
    child = fork();
    if (child == 0)
        _exit(disk_open(&second, help.loop, &help.log, path, &error) == REPLICA_E_BUSY &&
                      strstr(error.text, "in use")
                  ? 0
                  : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(disk_open(&second, help.loop, &help.log, path, &error), REPLICA_E_BUSY);
}
END_TEST

START_TEST(test_refusals)
{
    struct disk *other;
    struct replica_error error = {0};

    ck_assert_int_eq(disk_open(&other, help.loop, &help.log, "./does/not/exist", &error),
                     REPLICA_E_NOT_FOUND);
    ck_assert_int_eq(disk_open(&other, help.loop, &help.log, help.directory, &error),
                     REPLICA_E_INVALID);
    ck_assert_int_eq(disk_open(&other, help.loop, &help.log, "/dev/null", &error),
                     REPLICA_E_INVALID);
    ck_assert_int_eq(
        disk_open(&other, help.loop, &help.log, io_help_file(&help, "empty", 0), &error),
        REPLICA_E_INVALID);
}
END_TEST

static void model_change(const struct disk_io *io)
{
    if (io->op == REPLICA_OP_WRITE)
        memcpy(model + io->offset, io->data, io->length);
    else if (io->op == REPLICA_OP_DISCARD || io->op == REPLICA_OP_WRITE_ZEROES)
        memset(model + io->offset, 0, io->length);
}

/* Random operations, several at a time and never overlapping, in 512-byte steps around block
 * borders, against a plain array. `_i`: which unit the device pretends to want, and whether it can
 * zero ranges by itself. */
START_TEST(test_random)
{
    static const struct {
        uint32_t unit;
        bool no_fallocate;
    } cases[] = {{512, false}, {512, true}, {4096, false}, {4096, true}, {16384, true}};
    static const enum replica_op ops[] = {REPLICA_OP_WRITE, REPLICA_OP_WRITE, REPLICA_OP_READ,
                                          REPLICA_OP_DISCARD, REPLICA_OP_WRITE_ZEROES};
    const uint32_t region = DISK_BYTES / SLOTS;
    unsigned seed = 11;

    if (disk_is_direct(disk) && cases[_i].unit < disk_alignment(disk))
        return;
    disk_pretend(disk, cases[_i].unit, cases[_i].no_fallocate);
    for (int round = 0; round < 150; round++) {
        unsigned order = (unsigned)rand_r(&seed) % SLOTS;
        for (unsigned i = 0; i < SLOTS; i++) {
            /* The regions touch each other inside one unit: only their sectors are disjoint. */
            unsigned slot = (order + i) % SLOTS, part = region / 512;
            uint32_t first = (uint32_t)rand_r(&seed) % (i % 2 ? 24 : part - 1);
            uint32_t most = part - first < 512 ? part - first : 512;
            uint32_t sectors = 1 + (uint32_t)rand_r(&seed) % most;
            enum replica_op op = ops[rand_r(&seed) % 5];
            if (first + sectors > part - 3 && i % 2)
                sectors = part - first;
            if (sectors > 512)
                sectors = 512;
            if (op == REPLICA_OP_WRITE)
                memset(memory + (size_t)slot * SLOT_BYTES, rand_r(&seed), SLOT_BYTES);
            start(slot, op, slot * region + first * 512u, sectors * 512u, rand_r(&seed) % 4 == 0);
        }
        io_help_run(&help, idle, NULL);
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            if (ios[slot].op == REPLICA_OP_READ)
                ck_assert_mem_eq(ios[slot].data, model + ios[slot].offset, ios[slot].length);
            model_change(&ios[slot]);
        }
    }
    compare_all();
}
END_TEST

/* Neighbouring sectors of one unit written at the same time: none undoes another. */
START_TEST(test_neighbours)
{
    disk_pretend(disk, 4096, false);
    for (int round = 0; round < 50; round++) {
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            memset(memory + (size_t)slot * SLOT_BYTES, (int)(round + (int)slot + 1), 512);
            start(slot, REPLICA_OP_WRITE, 8192 + 512 * slot, 512, slot == 3);
            model_change(&ios[slot]);
        }
        io_help_run(&help, idle, NULL);
        ck_assert_int_eq(run(0, REPLICA_OP_READ, 8192, 4096), 0);
        ck_assert_mem_eq(memory, model + 8192, 4096);
    }
}
END_TEST

/* A discard gives space back and leaves zeroes; a large one is one request. */
START_TEST(test_discard)
{
    struct stat before, after;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/disk", help.directory);
    memset(memory, 0x5a, SLOT_BYTES);
    for (uint64_t at = 0; at < DISK_BYTES; at += SLOT_BYTES)
        ck_assert_int_eq(run(0, REPLICA_OP_WRITE, at, SLOT_BYTES), 0);
    ck_assert_int_eq(run(0, REPLICA_OP_FLUSH, 0, 0), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    start(0, REPLICA_OP_DISCARD, 0, DISK_BYTES, true);
    io_help_run(&help, idle, NULL);
    ck_assert_int_eq(last_code, 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_lt(after.st_blocks, before.st_blocks);
    compare_all(); /* the model is still all zeroes */
}
END_TEST

/* Without holes to punch what is zero already stays as it is: unallocated; the rest is zeroed. */
START_TEST(test_discard_looks_first)
{
    struct stat before, after;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/disk", help.directory);
    disk_pretend(disk, 512, true);
    memset(memory, 0x5a, 8192);
    ck_assert_int_eq(run(0, REPLICA_OP_WRITE, DISK_BYTES / 2, 8192), 0);
    ck_assert_int_eq(run(0, REPLICA_OP_FLUSH, 0, 0), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    for (unsigned slot = 0; slot < SLOTS; slot++) /* several at once, one of them off the units */
        start(slot, REPLICA_OP_DISCARD, slot * (DISK_BYTES / 2 / SLOTS),
              DISK_BYTES / 2 / SLOTS - 512 * (slot == 1), slot == 2);
    io_help_run(&help, idle, NULL);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(after.st_blocks, before.st_blocks);
    ck_assert_int_eq(run(0, REPLICA_OP_DISCARD, DISK_BYTES / 2 + 4096, DISK_BYTES / 2 - 4096), 0);
    memset(model + DISK_BYTES / 2, 0x5a, 4096);
    compare_all();
}
END_TEST

static void queue_says(const char *queue, const char *name, const char *value)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", queue, name);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(fprintf(file, "%s\n", value), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void queue_forgets(const char *queue, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", queue, name);
    ck_assert_int_eq(unlink(path), 0);
}

/* sysfs has a directory for each device, and a partition's stands in that of its disk. */
START_TEST(test_discard_frees)
{
    char disk_at[128], queue[160], part[160], link_to_disk[160], link_to_part[160];
    const struct {
        const char *discard, *zeroes;
        bool frees;
    } cases[] = {{"0", "0", false},
                 {"0", "4194304", false},
                 {"2147450880", "0", false},
                 {"2147450880", "2147450880", true}};

    ck_assert(disk_frees(disk)); /* a file */
    disk_pretend(disk, 512, true);
    ck_assert(!disk_frees(disk));
    (void)snprintf(disk_at, sizeof disk_at, "%s/sda", help.directory);
    (void)snprintf(queue, sizeof queue, "%s/queue", disk_at);
    (void)snprintf(part, sizeof part, "%s/sda1", disk_at);
    (void)snprintf(link_to_disk, sizeof link_to_disk, "%s/8:0", help.directory);
    (void)snprintf(link_to_part, sizeof link_to_part, "%s/8:1", help.directory);
    ck_assert(!queue_limits_discard(help.directory, makedev(8, 0)));
    ck_assert(mkdir(disk_at, 0700) == 0 && mkdir(queue, 0700) == 0 && mkdir(part, 0700) == 0);
    ck_assert(symlink("sda", link_to_disk) == 0 && symlink("sda/sda1", link_to_part) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        queue_says(queue, "discard_max_bytes", cases[i].discard);
        queue_says(queue, "write_zeroes_max_bytes", cases[i].zeroes);
        ck_assert_int_eq(queue_limits_discard(help.directory, makedev(8, 0)), cases[i].frees);
        ck_assert_int_eq(queue_limits_discard(help.directory, makedev(8, 1)), cases[i].frees);
    }
    queue_forgets(queue, "discard_max_bytes");
    queue_forgets(queue, "write_zeroes_max_bytes");
    ck_assert(rmdir(queue) == 0 && rmdir(part) == 0 && rmdir(disk_at) == 0);
}
END_TEST

/* Beyond the end: the error of a device that shrank, from the loop. */
START_TEST(test_past_the_end)
{
    ck_assert_int_eq(run(0, REPLICA_OP_READ, DISK_BYTES, 4096), REPLICA_E_IO);
    ck_assert_uint_eq(disk_in_flight(disk), 0);
}
END_TEST

struct meta {
    struct metastore_io io; /* first */
    bool over;
    int code;
};

static void meta_done(struct metastore_io *io, int code)
{
    struct meta *meta = (struct meta *)io;

    meta->over = true;
    meta->code = code;
}

/* Long and unaligned in memory, several at once, inside the data device and beside it. */
START_TEST(test_metastore)
{
    enum { BYTES = 1 << 20, COUNT = 3 };
    struct metastore *store;
    struct replica_error error = {0};
    struct meta metas[COUNT] = {0};
    uint8_t *from = malloc(BYTES + 3), *to = malloc(COUNT * (BYTES + 1));
    const char *path = _i == 0 ? "internal" : io_help_file(&help, "meta", DISK_BYTES);

    ck_assert_msg(metastore_open(&store, help.loop, &help.log, path, disk, &error) == 0, "%s",
                  error.text);
    ck_assert_int_eq(metastore_internal(store), _i == 0);
    ck_assert_uint_eq(metastore_bytes(store), DISK_BYTES);
    for (int i = 0; i < BYTES + 3; i++)
        from[i] = (uint8_t)(i * 7 / 3);
    for (int i = 0; i < COUNT; i++) {
        metas[i].io = (struct metastore_io){.write = true,
                                            .offset = (uint64_t)i * BYTES,
                                            .length = BYTES,
                                            .data = from + i,
                                            .done = meta_done};
        metastore_submit(store, &metas[i].io);
    }
    for (int i = 0; i < COUNT; i++)
        io_help_run(&help, io_help_flag, &metas[i].over);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(metas[i].code, 0);
        metas[i].over = false;
        metas[i].io.write = false;
        metas[i].io.data = to + i * (BYTES + 1);
        metastore_submit(store, &metas[i].io);
    }
    for (int i = 0; i < COUNT; i++)
        io_help_run(&help, io_help_flag, &metas[i].over);
    for (int i = 0; i < COUNT; i++)
        ck_assert_mem_eq(to + i * (BYTES + 1), from + i, BYTES);
    ck_assert_uint_eq(metastore_in_flight(store), 0);
    metastore_close(store);
    free(from);
    free(to);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, test_size_and_lock);
    tcase_add_test(all, test_refusals);
    tcase_add_loop_test(all, test_random, 0, 5);
    tcase_add_test(all, test_neighbours);
    tcase_add_test(all, test_discard);
    tcase_add_test(all, test_discard_looks_first);
    tcase_add_test(all, test_discard_frees);
    tcase_add_test(all, test_past_the_end);
    tcase_add_loop_test(all, test_metastore, 0, 2);
    suite_add_tcase(suite, all);
    return io_help_main(suite);
}
