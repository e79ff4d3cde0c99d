/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create.c - see create.h. Order on disk, so that a crash at any point leaves either what was
 * there or no metadata, never fresh slots over an old activity log: both slots are wiped, flush;
 * the activity-log ring and the bitmap are zeroed, flush; both slots are written, flush.
 */
#include "create.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "disk.h"
#include "libreplica/core/err.h"

enum { CHUNK_BYTES = 1 << 20 };

struct create {
    const struct config_resource *resource;
    bool force, internal;
    struct disk *data, *meta; /* the same one when internal */
    const char *meta_path;
    struct metadata_superblock superblock;
    uint8_t *chunk; /* CHUNK_BYTES, page-aligned */
    struct replica_error *error;
};

/* ---- what is there -------------------------------------------------------------------------- */

static int foreign(struct create *create, const char *path, const char *what)
{
    if (path == create->meta_path)
        return err_set(create->error, REPLICA_E_EXISTS,
                       "%s holds %s, which the metadata would damage; use another device, or "
                       "`wipefs -a %s` or --force if it is not needed any more",
                       path, what, path);
    return err_set(create->error, REPLICA_E_EXISTS,
                   "%s holds %s; its data stays where it is, but only --force says that you "
                   "know",
                   path, what);
}

static void describe(blkid_probe probe, char *text, size_t room)
{
    const char *type = NULL, *usage = NULL, *table = NULL;

    (void)blkid_probe_lookup_value(probe, "TYPE", &type, NULL);
    (void)blkid_probe_lookup_value(probe, "USAGE", &usage, NULL);
    (void)blkid_probe_lookup_value(probe, "PTTYPE", &table, NULL);
    if (type && usage && strcmp(usage, "filesystem") == 0)
        (void)snprintf(text, room, "a file system (%s)", type);
    else if (type && strcmp(type, "drbd") == 0)
        (void)snprintf(text, room, "metadata of the kernel's DRBD");
    else if (type)
        (void)snprintf(text, room, "data of another program (%s)", type);
    else
        (void)snprintf(text, room, "a partition table (%s)", table ? table : "?");
}

static int check_foreign(struct create *create, const char *path)
{
    char what[128];
    blkid_probe probe;
    int result, code = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(create->error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    probe = blkid_new_probe();
    if (!probe || blkid_probe_set_device(probe, fd, 0, 0) != 0 ||
        blkid_probe_enable_superblocks(probe, 1) != 0 ||
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE) != 0 ||
        blkid_probe_enable_partitions(probe, 1) != 0) {
        code = err_set(create->error, REPLICA_E_MEMORY, "%s: libblkid: out of memory", path);
        goto done;
    }
    result = blkid_do_safeprobe(probe);
    if (result == 0) {
        describe(probe, what, sizeof what);
        code = foreign(create, path, what);
    } else if (result == -2) {
        code = foreign(create, path, "several things at once (see `wipefs` on it)");
    } else if (result < 0) {
        code = err_set(create->error, REPLICA_E_IO, "%s: cannot be read", path);
    }
done:
    blkid_free_probe(probe);
    close(fd);
    return code;
}

static int move(struct create *create, bool write, uint64_t offset, uint8_t *memory, size_t length)
{
    int fd = disk_descriptor(create->meta);

    while (length > 0) {
        ssize_t moved = write ? pwrite(fd, memory, length, (off_t)offset)
                              : pread(fd, memory, length, (off_t)offset);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return err_set(
                create->error, moved < 0 && errno == ENOSPC ? REPLICA_E_NO_SPACE : REPLICA_E_IO,
                "%s: %s at byte %llu: %s", create->meta_path, write ? "writing" : "reading",
                (unsigned long long)offset, moved < 0 ? strerror(errno) : "unexpected end");
        memory += moved;
        offset += (uint64_t)moved;
        length -= (size_t)moved;
    }
    return 0;
}

static int check_ours(struct create *create)
{
    const uint8_t *blocks[METADATA_SLOTS];
    struct metadata_superblock found;
    struct replica_error ignored;
    unsigned slot;
    int code = 0;

    for (unsigned i = 0; i < METADATA_SLOTS && code == 0; i++) {
        uint8_t *block = create->chunk + (size_t)i * METADATA_BLOCK_BYTES;
        blocks[i] = block;
        code = move(create, false, create->superblock.layout.slot[i], block, METADATA_BLOCK_BYTES);
    }
    if (code != 0)
        return code;
    code = metadata_choose(blocks, disk_bytes(create->meta), &found, &slot, &ignored);
    if (code == REPLICA_E_NO_METADATA)
        return 0;
    return err_set(create->error, REPLICA_E_EXISTS,
                   "%s holds replication metadata already%s; --force throws it away, and the "
                   "disk then needs a full sync",
                   create->meta_path, code == 0 ? "" : " (damaged, or of another version)");
}

/* ---- writing -------------------------------------------------------------------------------- */

static int flush(struct create *create)
{
    if (fdatasync(disk_descriptor(create->meta)) == 0)
        return 0;
    return err_set(create->error, REPLICA_E_IO, "%s: flushing: %s", create->meta_path,
                   strerror(errno));
}

static int zero(struct create *create, uint64_t offset, uint64_t length)
{
    int code = 0;

    memset(create->chunk, 0, CHUNK_BYTES);
    while (length > 0 && code == 0) {
        size_t piece = length < CHUNK_BYTES ? (size_t)length : CHUNK_BYTES;
        code = move(create, true, offset, create->chunk, piece);
        offset += piece;
        length -= piece;
    }
    return code;
}

static int write_all(struct create *create)
{
    const struct metadata_layout *layout = &create->superblock.layout;
    int code = 0;

    for (unsigned i = 0; i < METADATA_SLOTS && code == 0; i++)
        code = zero(create, layout->slot[i], METADATA_BLOCK_BYTES);
    if (code == 0)
        code = flush(create);
    if (code == 0)
        code = zero(create, layout->al_offset, (uint64_t)METADATA_AL_BLOCKS * METADATA_BLOCK_BYTES);
    if (code == 0)
        code = zero(create, layout->bitmap_offset, layout->bitmap_bytes);
    if (code == 0)
        code = flush(create);
    metadata_encode(&create->superblock, create->chunk);
    for (unsigned i = 0; i < METADATA_SLOTS && code == 0; i++)
        code = move(create, true, layout->slot[i], create->chunk, METADATA_BLOCK_BYTES);
    return code == 0 ? flush(create) : code;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int plan(struct create *create)
{
    struct metadata_layout layout;
    uint64_t uuid;
    int code = metadata_plan(disk_bytes(create->meta), create->internal, disk_bytes(create->data),
                             &layout, create->error);

    if (code != 0)
        return err_wrap(create->error, "%s", create->meta_path);
    if (disk_alignment(create->meta) > METADATA_BLOCK_BYTES)
        return err_set(create->error, REPLICA_E_UNSUPPORTED,
                       "%s has sectors of %u bytes; at most %u are supported", create->meta_path,
                       disk_alignment(create->meta), (unsigned)METADATA_BLOCK_BYTES);
    if (getrandom(&uuid, sizeof uuid, 0) != (ssize_t)sizeof uuid)
        return err_set(create->error, REPLICA_E_SYSTEM, "getrandom: %s", strerror(errno));
    metadata_fresh(&layout, uuid,
                   create->resource->al_extents ? create->resource->al_extents
                                                : METADATA_AL_EXTENTS_DEFAULT,
                   &create->superblock);
    return 0;
}

static int check(struct create *create)
{
    int code = 0;

    if (create->force)
        return 0;
    code = check_ours(create);
    if (code == 0)
        code = check_foreign(create, create->meta_path);
    if (code == 0 && !create->internal)
        code = check_foreign(create, create->resource->local.disk);
    return code;
}

static int create_on_open_disks(struct create *create)
{
    int code = plan(create);

    if (code == 0)
        code = check(create);
    return code == 0 ? write_all(create) : code;
}

int create_metadata(const struct config_resource *resource, bool force,
                    struct metadata_superblock *made, struct replica_error *error)
{
    const struct config_host *local = &resource->local;
    struct create create = {.resource = resource, .force = force, .error = error};
    struct log log;
    int code;

    log_open(&log, resource->name);
    create.internal = strcmp(local->meta_disk, "internal") == 0;
    create.meta_path = create.internal ? local->disk : local->meta_disk;
    if (posix_memalign((void **)&create.chunk, METADATA_BLOCK_BYTES, CHUNK_BYTES) != 0)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    code = disk_open(&create.data, NULL, &log, local->disk, error);
    if (code != 0)
        goto done;
    create.meta = create.data;
    if (!create.internal) {
        code = disk_open(&create.meta, NULL, &log, local->meta_disk, error);
        if (code != 0)
            goto done_data;
    }
    code = create_on_open_disks(&create);
    if (code == 0 && made)
        *made = create.superblock;
    if (!create.internal)
        disk_close(create.meta);
done_data:
    disk_close(create.data);
done:
    free(create.chunk);
    return code;
}
