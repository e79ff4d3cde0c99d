/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_create_md.c - fresh metadata on files: what is written, what is refused, what is kept. */
#include <config.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/io/create_md.h"

#define MIB ((off_t)1048576)

static char directory[64], disk[128], meta[128];
static struct replica_error error;
static struct metadata_superblock created, found;
static unsigned slot;

static void file_make(const char *path, off_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, bytes), 0);
    close(fd);
}

static void file_put(const char *path, off_t offset, const void *bytes, size_t length)
{
    int fd = open(path, O_RDWR);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, length, offset), (ssize_t)length);
    close(fd);
}

static void setup(void)
{
    (void)snprintf(directory, sizeof directory, "/tmp/test_create_md.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(disk, sizeof disk, "%s/disk", directory);
    (void)snprintf(meta, sizeof meta, "%s/meta", directory);
    file_make(disk, 64 * MIB + 1000);
    file_make(meta, 4 * MIB);
    error = (struct replica_error){0};
}

static void teardown(void)
{
    unlink(disk);
    unlink(meta);
    ck_assert_int_eq(rmdir(directory), 0);
}

static int create(const char *place, bool force)
{
    return create_md(disk, place, 1237, force, &created, &error);
}

START_TEST(test_internal)
{
    ck_assert_msg(create("internal", false) == 0, "%s", error.text);
    ck_assert_int_eq(create_md_read(disk, "internal", &found, &slot, &error), 0);
    ck_assert_uint_eq(found.generation.current, GENERATION_JUST_CREATED);
    ck_assert_uint_eq(found.al_extents, 1237);
    ck_assert_uint_eq(found.device_uuid, created.device_uuid);
    ck_assert_uint_ne(found.device_uuid, 0);
    ck_assert_uint_lt(found.layout.data_bytes, 64 * MIB);
    ck_assert_uint_gt(found.layout.data_bytes, 62 * MIB);
    ck_assert_uint_eq(found.layout.data_bytes % REPLICA_BLOCK_BYTES, 0);
}
END_TEST

/* The data keeps its size when the metadata is elsewhere, and not a byte of it changes. */
START_TEST(test_external)
{
    char byte = 0;
    int fd;

    file_put(disk, 64 * MIB - 1, "x", 1);
    ck_assert_msg(create(meta, false) == 0, "%s", error.text);
    ck_assert_int_eq(create_md_read(disk, meta, &found, &slot, &error), 0);
    ck_assert_uint_eq(found.layout.data_bytes, 64 * MIB);
    fd = open(disk, O_RDONLY);
    ck_assert_int_eq(pread(fd, &byte, 1, 64 * MIB - 1), 1);
    ck_assert_int_eq(byte, 'x');
    close(fd);
}
END_TEST

/* With internal metadata everything in front of it stays, too: --force on a smaller file system. */
START_TEST(test_data_kept)
{
    uint8_t block[4096], again[4096];
    off_t last;
    int fd;

    memset(block, 0xa5, sizeof block);
    ck_assert_int_eq(create("internal", false), 0);
    last = (off_t)created.layout.data_bytes - (off_t)sizeof block;
    file_put(disk, last, block, sizeof block);
    ck_assert_int_eq(create("internal", true), 0);
    fd = open(disk, O_RDONLY);
    ck_assert_int_eq(pread(fd, again, sizeof again, last), (ssize_t)sizeof again);
    ck_assert_mem_eq(block, again, sizeof block);
    close(fd);
}
END_TEST

/* Bitmap and activity log of the last life must not speak for the new one. */
START_TEST(test_old_metadata_wiped)
{
    uint8_t ones[4096], block[4096];
    int fd;

    memset(ones, 0xff, sizeof ones);
    ck_assert_int_eq(create("internal", false), 0);
    file_put(disk, (off_t)created.layout.bitmap_offset, ones, sizeof ones);
    file_put(disk, (off_t)created.layout.al_offset + 4096, ones, sizeof ones);
    ck_assert_int_eq(create("internal", true), 0);
    fd = open(disk, O_RDONLY);
    ck_assert_int_eq(pread(fd, block, sizeof block, (off_t)created.layout.bitmap_offset), 4096);
    ck_assert_uint_eq(block[0] | block[4095], 0);
    ck_assert_int_eq(pread(fd, block, sizeof block, (off_t)created.layout.al_offset + 4096), 4096);
    ck_assert_uint_eq(block[0] | block[4095], 0);
    close(fd);
}
END_TEST

static const struct {
    off_t offset; /* negative: from the start of the last whole block */
    const char *magic;
    size_t length;
    const char *what;
} foreign[] = {
    {0x438, "\x53\xef", 2, "an ext2, ext3 or ext4 file system"},
    {0, "XFSB", 4, "an XFS file system"},
    {0x10040, "_BHRfS_M", 8, "a Btrfs file system"},
    {512, "LABELONE", 8, "an LVM physical volume"},
    {0, "LUKS\xba\xbe", 6, "an encrypted (LUKS) volume"},
    {510, "\x55\xaa", 2, "a partition table or boot sector"},
    {64 * MIB - 8192, "\xfc\x4e\x2b\xa9", 4, "a member of an md RAID"},
    {64 * MIB - 65536, "\xfc\x4e\x2b\xa9", 4, "a member of an md RAID"},
    {0, "-rom1fs-", 8, "something of the type romfs"},
    {64 * MIB - 4096 + 60, "\x83\x74\x02\x6d", 4, "metadata of DRBD"},
};

START_TEST(test_foreign)
{
    char expected[256];

    file_put(disk, foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
    ck_assert_int_eq(create("internal", false), REPLICA_E_EXISTS);
    (void)snprintf(expected, sizeof expected,
                   "%s (disk) already holds %s: if nobody needs that any more, repeat this with "
                   "--force",
                   disk, foreign[_i].what);
    ck_assert_str_eq(error.text, expected);
    ck_assert_int_eq(create_md_read(disk, "internal", &found, &slot, &error),
                     REPLICA_E_NO_METADATA);
    ck_assert_int_eq(create("internal", true), 0);
    ck_assert_int_eq(create_md_read(disk, "internal", &found, &slot, &error), 0);
}
END_TEST

START_TEST(test_twice)
{
    ck_assert_int_eq(create("internal", false), 0);
    ck_assert_int_eq(create("internal", false), REPLICA_E_EXISTS);
    ck_assert_ptr_nonnull(strstr(error.text, "already holds metadata of tapdisk-drbd"));
    ck_assert_int_eq(create(meta, true), 0);
    ck_assert_int_eq(create(meta, false), REPLICA_E_EXISTS);
}
END_TEST

START_TEST(test_too_small)
{
    file_make(disk, 100000);
    ck_assert_int_eq(create("internal", false), REPLICA_E_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(error.text, "/disk is too small: "));
    file_make(disk, 64 * MIB);
    file_make(meta, 8192);
    ck_assert_int_eq(create(meta, false), REPLICA_E_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(error.text, "/meta is too small: "));
}
END_TEST

START_TEST(test_missing)
{
    unlink(disk);
    ck_assert_int_eq(create("internal", false), REPLICA_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.text, "does not exist: create it, or correct the path"));
    ck_assert_int_eq(create_md(directory, "internal", 1237, false, &created, &error),
                     REPLICA_E_SYSTEM);
}
END_TEST

/* A running resource holds its file by a lock. */
START_TEST(test_in_use)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(disk, O_RDWR);

    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    ck_assert_int_eq(create("internal", false), REPLICA_E_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "is in use"));
    close(fd);
    ck_assert_int_eq(create("internal", false), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("create_md");
    TCase *tcase = tcase_create("files");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_internal);
    tcase_add_test(tcase, test_external);
    tcase_add_test(tcase, test_data_kept);
    tcase_add_test(tcase, test_old_metadata_wiped);
    tcase_add_loop_test(tcase, test_foreign, 0, sizeof foreign / sizeof *foreign);
    tcase_add_test(tcase, test_twice);
    tcase_add_test(tcase, test_too_small);
    tcase_add_test(tcase, test_missing);
    tcase_add_test(tcase, test_in_use);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
