/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signature.c - see signature.h. Magic numbers at fixed places; those from the end are counted
 * from the last whole 4 KiB block, where DRBD's and our own metadata stand. Internal metadata would
 * overwrite what is there.
 */
#include "libreplica/io/signature.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libreplica/words.h"

enum {
    MAGIC_MAX = 16,
    BLOCK = 4096,
    MD_BLOCK = 65536,
    FOUND_SEVERAL = -2 /* what blkid_do_safeprobe says then */
};

struct signature {
    const char *what;
    int64_t end; /* not 0: `offset` counts from the start of the last whole block of this size,
                  * backwards for negative ones */
    int64_t offset;
    size_t length;
    const char *magic;
};

#define MAGIC(text) sizeof(text) - 1, text

static const struct signature signatures[] = {
    {"an ext2, ext3 or ext4 file system", 0, 0x438, MAGIC("\x53\xef")},
    {"an XFS file system", 0, 0, MAGIC("XFSB")},
    {"a Btrfs file system", 0, 0x10040, MAGIC("_BHRfS_M")},
    {"an NTFS file system", 0, 3, MAGIC("NTFS    ")},
    {"a FAT file system", 0, 54, MAGIC("FAT1")},
    {"a FAT file system", 0, 82, MAGIC("FAT32")},
    {"an ISO 9660 file system", 0, 0x8001, MAGIC("CD001")},
    {"a SquashFS file system", 0, 0, MAGIC("hsqs")},
    {"an F2FS file system", 0, 0x400, MAGIC("\x10\x20\xf5\xf2")},
    {"swap space", 0, BLOCK - 10, MAGIC("SWAPSPACE2")},
    {"an LVM physical volume", 0, 0, MAGIC("LABELONE")},
    {"an LVM physical volume", 0, 512, MAGIC("LABELONE")},
    {"an LVM physical volume", 0, 1024, MAGIC("LABELONE")},
    {"an LVM physical volume", 0, 1536, MAGIC("LABELONE")},
    {"an encrypted (LUKS) volume", 0, 0, MAGIC("LUKS\xba\xbe")},
    {"a member of an md RAID", 0, 0, MAGIC("\xfc\x4e\x2b\xa9")},
    {"a member of an md RAID", 0, BLOCK, MAGIC("\xfc\x4e\x2b\xa9")},
    {"a member of an md RAID", BLOCK, -BLOCK, MAGIC("\xfc\x4e\x2b\xa9")}, /* version 1.0 */
    {"a member of an md RAID", MD_BLOCK, 0, MAGIC("\xfc\x4e\x2b\xa9")},   /* version 0.90 */
    {"a bcache device", 0, BLOCK + 24, MAGIC("\xc6\x85\x73\xf6\x4e\x1a\x45\xca")},
    {"a GPT partition table", 0, 512, MAGIC("EFI PART")},
    {"a partition table or boot sector", 0, 510, MAGIC("\x55\xaa")},
    {"metadata of DRBD", BLOCK, 60, MAGIC("\x83\x74\x02")},
    {"metadata of DRBD (external)", 0, 60, MAGIC("\x83\x74\x02")},
    {"metadata of tapdisk-drbd", BLOCK, 0, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", BLOCK, -BLOCK, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", 0, 0, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", 0, BLOCK, MAGIC("TAPDRBD\x01")},
};

/* The rest. A file system that is found by two of its marks at once is there all the same. */
static int ask_libblkid(int fd, char what[SIGNATURE_TEXT_MAX])
{
    const char *type = NULL;
    blkid_probe probe = blkid_new_probe();
    int found = -1;

    if (!probe) {
        errno = ENOMEM;
        return REPLICA_E_IO;
    }
    if (blkid_probe_set_device(probe, fd, 0, 0) == 0 &&
        blkid_probe_enable_superblocks(probe, 1) == 0 &&
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE) == 0 &&
        blkid_probe_enable_partitions(probe, 1) == 0)
        found = blkid_do_safeprobe(probe);
    if (found == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) != 0)
        (void)blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL);
    if (found == 0)
        (void)snprintf(what, SIGNATURE_TEXT_MAX, "something of the type %s", type ? type : "?");
    else if (found == FOUND_SEVERAL)
        (void)snprintf(what, SIGNATURE_TEXT_MAX, "several things (`wipefs` lists them)");
    blkid_free_probe(probe);
    return found < 0 && found != FOUND_SEVERAL ? REPLICA_E_IO : 0;
}

int signature_find(int fd, uint64_t bytes, char what[SIGNATURE_TEXT_MAX])
{
    what[0] = '\0';
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const struct signature *s = &signatures[i];
        int64_t last = s->end ? (int64_t)bytes / s->end * s->end - s->end : 0;
        int64_t offset = last + s->offset;
        char found[MAGIC_MAX];

        if (offset < 0 || (uint64_t)offset + s->length > bytes)
            continue;
        if (pread(fd, found, s->length, offset) != (ssize_t)s->length)
            return REPLICA_E_IO;
        if (memcmp(found, s->magic, s->length) == 0) {
            (void)snprintf(what, SIGNATURE_TEXT_MAX, "%s", s->what);
            return 0;
        }
    }
    return ask_libblkid(fd, what);
}
