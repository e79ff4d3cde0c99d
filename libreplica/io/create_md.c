/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create_md.c - see create_md.h.
 *
 * Order: the old slots are wiped, then activity log and bitmap are zeroed, then the new slots are
 * written, each step durable before the next. Whenever it is interrupted there is no metadata, and
 * never half of it.
 */
#include <config.h>

#include "libreplica/io/create_md.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/core/err.h"
#include "libreplica/io/signature.h"

enum { ZERO_BYTES = 65536 };

/* An opened device or file, claimed for this process when it is to be written. */
struct store {
    const char *path;
    int fd;
    uint64_t bytes;
};

static bool is_internal(const char *meta_disk)
{
    return strcmp(meta_disk, "internal") == 0;
}

static int io_fail(const struct store *store, const char *what, struct replica_error *error)
{
    if (errno == ENOSPC || errno == EDQUOT)
        return err_set(error, REPLICA_E_NO_SPACE,
                       "%s: %s: %s: make room in the file system it is in", store->path, what,
                       strerror(errno));
    return err_set(error, REPLICA_E_IO, "%s: %s: %s", store->path, what, strerror(errno));
}

static int open_fail(const char *path, struct replica_error *error)
{
    switch (errno) {
    case ENOENT:
    case ENXIO:
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "%s does not exist: create it, or correct the path in the *.res file", path);
    case EACCES:
    case EPERM:
        return err_set(error, REPLICA_E_PERMISSION, "%s: %s: run this as root", path,
                       strerror(errno));
    case EBUSY:
        return err_set(error, REPLICA_E_BUSY,
                       "%s is in use (mounted, part of a volume group, or held by another "
                       "program): `lsblk %s` and `fuser -v %s` tell by whom",
                       path, path, path);
    default:
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
    }
}

static int store_measure(struct store *store, struct replica_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int writable = (fcntl(store->fd, F_GETFL) & O_ACCMODE) == O_RDWR;
    struct stat about;

    if (fstat(store->fd, &about))
        return io_fail(store, "cannot look at it", error);
    store->bytes = (uint64_t)about.st_size;
    if (S_ISBLK(about.st_mode))
        return ioctl(store->fd, BLKGETSIZE64, &store->bytes)
                   ? io_fail(store, "cannot read its size", error)
                   : 0;
    if (!S_ISREG(about.st_mode))
        return err_set(error, REPLICA_E_INVALID, "%s is neither a block device nor a file",
                       store->path);
    if (!writable || fcntl(store->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    errno = EBUSY; /* what the running resource holds a file by */
    return open_fail(store->path, error);
}

/* With O_EXCL a block device is ours alone; nobody can mount it meanwhile. */
static int store_open(struct store *store, const char *path, int mode, struct replica_error *error)
{
    int code;

    *store = (struct store){.path = path, .fd = open(path, mode | O_CLOEXEC)};
    if (store->fd < 0)
        return open_fail(path, error);
    code = store_measure(store, error);
    if (code)
        close(store->fd);
    return code;
}

static int store_zero(const struct store *store, uint64_t offset, uint64_t length,
                      struct replica_error *error)
{
    static const uint8_t zeroes[ZERO_BYTES];

    while (length) {
        size_t piece = length < ZERO_BYTES ? (size_t)length : ZERO_BYTES;
        ssize_t written = pwrite(store->fd, zeroes, piece, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return io_fail(store, "cannot write", error);
        offset += (uint64_t)written;
        length -= (uint64_t)written;
    }
    return 0;
}

static int store_sync(const struct store *store, struct replica_error *error)
{
    return fsync(store->fd) ? io_fail(store, "cannot write", error) : 0;
}

/* Our own metadata counts as something to lose, too. */
static int foreign_check(const struct store *store, const char *role, struct replica_error *error)
{
    char what[SIGNATURE_TEXT_MAX];

    if (signature_find(store->fd, store->bytes, what))
        return io_fail(store, "cannot read", error);
    if (!what[0])
        return 0;
    return err_set(error, REPLICA_E_EXISTS,
                   "%s (%s) already holds %s: if nobody needs that any more, repeat this with "
                   "--force",
                   store->path, role, what);
}

static int slots_write(const struct store *store, const struct metadata_layout *layout,
                       uint32_t al_extents, struct metadata_superblock *created,
                       struct replica_error *error)
{
    uint8_t block[METADATA_BLOCK_BYTES];
    uint64_t uuid;

    if (getrandom(&uuid, sizeof uuid, 0) != (ssize_t)sizeof uuid)
        return err_set(error, REPLICA_E_SYSTEM, "no random bytes from the kernel: %s",
                       strerror(errno));
    metadata_fresh(layout, uuid, al_extents, created);
    for (unsigned i = 0; i < METADATA_SLOTS; i++) {
        created->sequence = i + 1;
        metadata_encode(created, block);
        if (pwrite(store->fd, block, sizeof block, (off_t)layout->slot[i]) != sizeof block)
            return io_fail(store, "cannot write", error);
    }
    return store_sync(store, error);
}

static int metadata_write(const struct store *store, const struct metadata_layout *layout,
                          uint32_t al_extents, struct metadata_superblock *created,
                          struct replica_error *error)
{
    int code = 0;

    for (unsigned i = 0; code == 0 && i < METADATA_SLOTS; i++)
        code = store_zero(store, layout->slot[i], METADATA_BLOCK_BYTES, error);
    if (code == 0)
        code = store_sync(store, error);
    if (code == 0)
        code = store_zero(store, layout->al_offset,
                          (uint64_t)METADATA_AL_BLOCKS * METADATA_BLOCK_BYTES, error);
    if (code == 0)
        code = store_zero(store, layout->bitmap_offset, layout->bitmap_bytes, error);
    if (code == 0)
        code = store_sync(store, error);
    return code ? code : slots_write(store, layout, al_extents, created, error);
}

static int plan_and_write(const struct store *data, const struct store *meta, bool internal,
                          uint32_t al_extents, struct metadata_superblock *created,
                          struct replica_error *error)
{
    struct metadata_layout layout;
    int code = metadata_plan(meta->bytes, internal, data->bytes, &layout, error);

    if (code)
        return err_wrap(error, "%s is too small", meta->path);
    return metadata_write(meta, &layout, al_extents, created, error);
}

int create_md(const char *disk, const char *meta_disk, uint32_t al_extents, bool force,
              struct metadata_superblock *created, struct replica_error *error)
{
    bool internal = is_internal(meta_disk);
    struct store data, external, *meta = internal ? &data : &external;
    int code = store_open(&data, disk, O_RDWR | O_EXCL, error);

    if (code)
        return code;
    if (!internal) {
        code = store_open(&external, meta_disk, O_RDWR | O_EXCL, error);
        if (code)
            goto close_data;
    }
    if (!force) {
        code = foreign_check(&data, "disk", error);
        if (code == 0 && !internal)
            code = foreign_check(&external, "meta-disk", error);
    }
    if (code == 0)
        code = plan_and_write(&data, meta, internal, al_extents, created, error);
    if (!internal && close(external.fd) && code == 0)
        code = io_fail(&external, "cannot write", error);
close_data:
    if (close(data.fd) && code == 0)
        code = io_fail(&data, "cannot write", error);
    return code;
}

static int slots_read(const struct store *store, const uint64_t offsets[METADATA_SLOTS],
                      uint8_t blocks[METADATA_SLOTS][METADATA_BLOCK_BYTES],
                      struct replica_error *error)
{
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        if (pread(store->fd, blocks[i], METADATA_BLOCK_BYTES, (off_t)offsets[i]) !=
            METADATA_BLOCK_BYTES)
            return io_fail(store, "cannot read", error);
    return 0;
}

int create_md_read(const char *disk, const char *meta_disk, struct metadata_superblock *superblock,
                   unsigned *slot, struct replica_error *error)
{
    uint8_t blocks[METADATA_SLOTS][METADATA_BLOCK_BYTES];
    const uint8_t *pointers[METADATA_SLOTS] = {blocks[0], blocks[1]};
    bool internal = is_internal(meta_disk);
    uint64_t offsets[METADATA_SLOTS];
    struct store store;
    int code = store_open(&store, internal ? disk : meta_disk, O_RDONLY, error);

    if (code)
        return code;
    code = metadata_slots(store.bytes, internal, offsets, error);
    if (code)
        code = err_wrap(error, "%s", store.path);
    if (code == 0)
        code = slots_read(&store, offsets, blocks, error);
    if (code == 0 && metadata_choose(pointers, store.bytes, superblock, slot, error))
        code = err_wrap(error, "%s", store.path);
    close(store.fd);
    return code;
}
