/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_files.c - verbs that look at files and disks only: dump, dump-md, create-md. See adm.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adm.h"
#include "adm_client.h"
#include "libreplica/core/err.h"
#include "libreplica/core/metadata.h"

/* ---- configuration -----------------------------------------------------------------------------
 */

int adm_dump(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        config_dump(&found, stdout);
    return status;
}

static int print_name(struct adm *adm, const char *resource)
{
    (void)adm;
    puts(resource);
    return ADM_OK;
}

int adm_sh_resources(struct adm *adm)
{
    return adm_for_each(adm, print_name);
}

int adm_sh_ll_dev(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        puts(found.local.disk);
    return status;
}

/* With internal metadata the two are one device. */
int adm_sh_md_dev(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    if (status == ADM_OK)
        puts(strcmp(found.local.meta_disk, "internal") == 0 ? found.local.disk
                                                            : found.local.meta_disk);
    return status;
}

/* ---- dump-md -----------------------------------------------------------------------------------
 */

static int device_bytes(int fd, uint64_t *bytes)
{
    struct stat about;

    if (fstat(fd, &about))
        return -1;
    *bytes = (uint64_t)about.st_size;
    return S_ISBLK(about.st_mode) ? ioctl(fd, BLKGETSIZE64, bytes) : 0;
}

static int slots_read(int fd, const uint64_t offsets[METADATA_SLOTS],
                      uint8_t blocks[METADATA_SLOTS][METADATA_BLOCK_BYTES])
{
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        if (pread(fd, blocks[i], METADATA_BLOCK_BYTES, (off_t)offsets[i]) != METADATA_BLOCK_BYTES)
            return -1;
    return 0;
}

/* `slot` is the index of the superblock that counts. */
static int superblock_read(const char *path, bool internal, struct metadata_superblock *superblock,
                           unsigned *slot, struct replica_error *error)
{
    uint8_t blocks[METADATA_SLOTS][METADATA_BLOCK_BYTES];
    const uint8_t *pointers[METADATA_SLOTS] = {blocks[0], blocks[1]};
    uint64_t bytes = 0, offsets[METADATA_SLOTS];
    int code, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(error, errno == EACCES ? REPLICA_E_PERMISSION : REPLICA_E_NOT_FOUND,
                       "%s: %s", path, strerror(errno));
    if (device_bytes(fd, &bytes)) {
        code = err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    } else {
        code = metadata_slots(bytes, internal, offsets, error);
        if (code == 0 && slots_read(fd, offsets, blocks))
            code = err_set(error, REPLICA_E_IO, "%s: cannot read: %s", path, strerror(errno));
        if (code == 0)
            code = metadata_choose(pointers, bytes, superblock, slot, error);
        if (code)
            err_wrap(error, "%s", path);
    }
    close(fd);
    return code;
}

static void flags_print(uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {METADATA_CONSISTENT, "consistent"},
        {METADATA_WAS_UPTODATE, "was-up-to-date"},
        {METADATA_PRIMARY, "primary"},
        {METADATA_CONNECTED, "connected"},
        {METADATA_FULL_SYNC, "full-sync"},
        {METADATA_PEER_OUTDATED, "peer-outdated"},
        {METADATA_CRASHED_PRIMARY, "crashed-primary"},
        {METADATA_AL_CLEAN, "al-clean"},
    };

    printf("flags          ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (flags & names[i].flag)
            printf(" %s", names[i].name);
    printf(";\n");
}

static void superblock_print(const struct metadata_superblock *s, unsigned slot)
{
    const struct generation *g = &s->generation;

    printf("version         %d;\n", METADATA_VERSION);
    printf("slot            %u; sequence %" PRIu64 ";\n", slot, s->sequence);
    printf("device-uuid     0x%016" PRIX64 ";\n", s->device_uuid);
    printf("current         0x%016" PRIX64 ";\n", g->current);
    printf("bitmap          0x%016" PRIX64 ";\n", g->bitmap);
    printf("history         0x%016" PRIX64 " 0x%016" PRIX64 ";\n", g->history[0], g->history[1]);
    flags_print(s->flags);
    printf("epoch           %" PRIu64 ";\n", s->epoch);
    printf("data-bytes      %" PRIu64 ";\n", s->layout.data_bytes);
    printf("peer-bytes      %" PRIu64 ";\n", s->peer_bytes);
    printf("al-extents      %" PRIu32 "; al-offset %" PRIu64 ";\n", s->al_extents,
           s->layout.al_offset);
    printf("bitmap-offset   %" PRIu64 "; bitmap-bytes %" PRIu64 ";\n", s->layout.bitmap_offset,
           s->layout.bitmap_bytes);
}

int adm_dump_md(struct adm *adm, const char *resource)
{
    struct metadata_superblock superblock;
    struct config_resource found;
    struct replica_error error;
    bool internal;
    unsigned slot;
    int status = adm_find(adm, resource, &found);

    if (status)
        return status;
    internal = strcmp(found.local.meta_disk, "internal") == 0;
    if (superblock_read(internal ? found.local.disk : found.local.meta_disk, internal, &superblock,
                        &slot, &error))
        return adm_fail_error(&error);
    printf("# %s on %s: %s, metadata %s\n", resource, found.local.name, found.local.disk,
           found.local.meta_disk);
    superblock_print(&superblock, slot);
    return ADM_OK;
}

/* ---- create-md ---------------------------------------------------------------------------------
 */

int adm_create_md(struct adm *adm, const char *resource)
{
    struct config_resource found;
    int status = adm_find(adm, resource, &found);

    return status ? status : adm_fail(ADM_FAILED, "%s: create-md is not linked in", resource);
}
