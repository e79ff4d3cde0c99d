/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signature.c - see signature.h. Magic numbers at fixed places; those from the end are counted
 * from the last whole 4 KiB block, where DRBD's and our own metadata stand.
 */
#include "libreplica/io/signature.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "libreplica/words.h"

enum { MAGIC_MAX = 16, BLOCK = 4096 };

struct signature {
    const char *what;
    bool from_end; /* `offset` counts from the start of the last whole block, backwards for
                    * negative ones */
    int64_t offset;
    size_t length;
    const char *magic;
};

#define MAGIC(text) sizeof(text) - 1, text

static const struct signature signatures[] = {
    {"an ext2, ext3 or ext4 file system", false, 0x438, MAGIC("\x53\xef")},
    {"an XFS file system", false, 0, MAGIC("XFSB")},
    {"a Btrfs file system", false, 0x10040, MAGIC("_BHRfS_M")},
    {"an NTFS file system", false, 3, MAGIC("NTFS    ")},
    {"a FAT file system", false, 54, MAGIC("FAT1")},
    {"a FAT file system", false, 82, MAGIC("FAT32")},
    {"an ISO 9660 file system", false, 0x8001, MAGIC("CD001")},
    {"a SquashFS file system", false, 0, MAGIC("hsqs")},
    {"an F2FS file system", false, 0x400, MAGIC("\x10\x20\xf5\xf2")},
    {"swap space", false, BLOCK - 10, MAGIC("SWAPSPACE2")},
    {"an LVM physical volume", false, 0, MAGIC("LABELONE")},
    {"an LVM physical volume", false, 512, MAGIC("LABELONE")},
    {"an LVM physical volume", false, 1024, MAGIC("LABELONE")},
    {"an LVM physical volume", false, 1536, MAGIC("LABELONE")},
    {"an encrypted (LUKS) volume", false, 0, MAGIC("LUKS\xba\xbe")},
    {"a member of an md RAID", false, 0, MAGIC("\xfc\x4e\x2b\xa9")},
    {"a member of an md RAID", false, BLOCK, MAGIC("\xfc\x4e\x2b\xa9")},
    {"a bcache device", false, BLOCK + 24, MAGIC("\xc6\x85\x73\xf6\x4e\x1a\x45\xca")},
    {"a GPT partition table", false, 512, MAGIC("EFI PART")},
    {"a partition table or boot sector", false, 510, MAGIC("\x55\xaa")},
    {"metadata of DRBD", true, 60, MAGIC("\x83\x74\x02")},
    {"metadata of DRBD (external)", false, 60, MAGIC("\x83\x74\x02")},
    {"metadata of tapdisk-drbd", true, 0, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", true, -BLOCK, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", false, 0, MAGIC("TAPDRBD\x01")},
    {"metadata of tapdisk-drbd", false, BLOCK, MAGIC("TAPDRBD\x01")},
};

int signature_find(int fd, uint64_t bytes, const char **what)
{
    int64_t end = (int64_t)(bytes / BLOCK * BLOCK) - BLOCK;

    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const struct signature *s = &signatures[i];
        int64_t offset = s->from_end ? end + s->offset : s->offset;
        char found[MAGIC_MAX];

        if (offset < 0 || (uint64_t)offset + s->length > bytes)
            continue;
        if (pread(fd, found, s->length, offset) != (ssize_t)s->length)
            return REPLICA_E_IO;
        if (memcmp(found, s->magic, s->length) == 0) {
            *what = s->what;
            return 0;
        }
    }
    *what = NULL;
    return 0;
}
