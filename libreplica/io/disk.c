/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk.c - see disk.h.
 *
 * Alignment. A device with 4 KiB sectors, or a file on one, takes only multiples of its unit; a
 * guest may send 512-byte sectors. Such a request goes through the lane: one at a time, in order,
 * through a private buffer that covers whole units: read, merge, write. Two requests can meet in
 * one unit without overlapping only if both are unaligned, so the lane alone keeps them from
 * undoing each other; mixing in the page cache would not.
 *
 * Zeroes. Discard punches a hole, write-zeroes zeroes the range, by fallocate(2). Where that cannot
 * be, zeroes are written; for a discard only where something else is found by a look, in the lane:
 * a thin volume cannot punch, and where it holds nothing a resync of zeroes must not fill it.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/core/err.h"
#include "queue_limits.h"

enum { ZERO_CHUNK_BYTES = REPLICA_REQUEST_BYTES_MAX, PROBE_BYTES = 4096, UNIT_BYTES_MAX = 65536 };
enum stage {
    STAGE_TRANSFER,   /* plain read or write */
    STAGE_LANE_READ,  /* whole units into the lane's buffer */
    STAGE_LANE_WRITE, /* and merged back */
    STAGE_PUNCH,
    STAGE_LOOK, /* is it zero already? */
    STAGE_ZERO_RANGE,
    STAGE_ZERO_WRITE,
    STAGE_SYNC
};

struct disk {
    struct replica_loop *loop;
    const struct log *log;
    struct log_limit complaints;
    char path[512];
    int fd;
    bool direct, block_device, frees;
    bool no_punch, no_zero_range; /* learnt from a refusal */
    uint32_t unit;
    uint64_t bytes;
    unsigned in_flight;
    uint8_t *zeroes; /* ZERO_CHUNK_BYTES, never written: no resident memory */
    uint8_t *lane;   /* mapped when first needed: a request and a unit at each end */
    struct disk_io *lane_first, **lane_last;
    uint64_t window; /* where the lane's buffer stands on the disk */
    uint32_t window_bytes;
};

/* ---- opening -------------------------------------------------------------------------------- */

static int open_error(const char *path, int reason, struct replica_error *error)
{
    switch (reason) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        return err_set(error, REPLICA_E_NOT_FOUND,
                       "%s does not exist; create it, or correct `disk` in the resource's file",
                       path);
    case EBUSY:
        return err_set(error, REPLICA_E_BUSY,
                       "%s is in use (mounted, part of a volume group, or held by another "
                       "program: see lsblk %s and fuser -v %s)",
                       path, path, path);
    case EACCES:
    case EPERM:
    case EROFS:
        return err_set(error, REPLICA_E_PERMISSION, "%s cannot be opened for writing: %s", path,
                       strerror(reason));
    case EISDIR:
        return err_set(error, REPLICA_E_INVALID,
                       "%s is a directory; a block device or a file is needed", path);
    default:
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(reason));
    }
}

/* O_EXCL without O_CREAT claims a block device; on a file it means nothing. */
static int open_file(const char *path, bool *direct, struct replica_error *error)
{
    int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_DIRECT);

    *direct = true;
    if (fd < 0 && errno == EINVAL) { /* a file system without direct I/O */
        *direct = false;
        fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
    }
    return fd < 0 ? open_error(path, errno, error) : fd;
}

/* The lock belongs to the open file, so it ends with the process, however that ends. */
static int lock_file(const struct disk *disk, struct replica_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(disk->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return open_error(disk->path, EBUSY, error);
    return err_set(error, REPLICA_E_SYSTEM, "%s: locking: %s", disk->path, strerror(errno));
}

static int claim_and_measure(struct disk *disk, struct replica_error *error)
{
    struct stat status;
    unsigned long long bytes = 0;
    int sector = 0;

    if (fstat(disk->fd, &status) != 0)
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", disk->path, strerror(errno));
    if (S_ISBLK(status.st_mode)) {
        disk->block_device = true;
        if (ioctl(disk->fd, BLKGETSIZE64, &bytes) != 0 || ioctl(disk->fd, BLKSSZGET, &sector) != 0)
            return err_set(error, REPLICA_E_SYSTEM, "%s: reading its size: %s", disk->path,
                           strerror(errno));
        disk->bytes = bytes;
        disk->unit = (uint32_t)sector;
        disk->frees = queue_limits_discard(QUEUE_LIMITS_SYSFS, status.st_rdev);
    } else if (S_ISREG(status.st_mode)) {
        int code = lock_file(disk, error);
        if (code != 0)
            return code;
        disk->bytes = (uint64_t)status.st_size;
        disk->unit = REPLICA_SECTOR_BYTES;
        disk->frees = true;
    } else {
        return err_set(error, REPLICA_E_INVALID, "%s is neither a block device nor a file",
                       disk->path);
    }
    if (disk->bytes < PROBE_BYTES)
        return err_set(error, REPLICA_E_INVALID, "%s is empty", disk->path);
    return 0;
}

static bool probe(const struct disk *disk, uint8_t *memory, uint32_t unit)
{
    return pread(disk->fd, memory, unit, 0) >= 0 || errno != EINVAL;
}

/* What direct I/O on this file takes: asked where the kernel tells (6.1), and tried. */
static int find_unit(struct disk *disk, struct replica_error *error)
{
    uint8_t *memory;
#ifdef STATX_DIOALIGN
    struct statx extended;

    if (disk->direct && statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
        (extended.stx_mask & STATX_DIOALIGN) && extended.stx_dio_offset_align > disk->unit)
        disk->unit = extended.stx_dio_offset_align;
#endif
    if (!disk->direct) {
        disk->unit = REPLICA_SECTOR_BYTES;
        return 0;
    }
    if (posix_memalign((void **)&memory, PROBE_BYTES, PROBE_BYTES) != 0)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    if (disk->unit < PROBE_BYTES && !probe(disk, memory, disk->unit))
        disk->unit = PROBE_BYTES;
    if (disk->unit <= PROBE_BYTES && !probe(disk, memory, disk->unit)) {
        disk->direct = false;
        disk->unit = REPLICA_SECTOR_BYTES;
        if (fcntl(disk->fd, F_SETFL, 0) != 0)
            disk->unit = 0;
    }
    free(memory);
    if (disk->unit == 0 || disk->unit > UNIT_BYTES_MAX)
        return err_set(error, REPLICA_E_UNSUPPORTED, "%s: unknown rules for direct I/O",
                       disk->path);
    return 0;
}

int disk_open(struct disk **disk, struct replica_loop *loop, const struct log *log,
              const char *path, struct replica_error *error)
{
    struct disk *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    made->loop = loop;
    made->log = log;
    made->lane_last = &made->lane_first;
    strncpy(made->path, path, sizeof made->path - 1);
    code = made->fd = open_file(path, &made->direct, error);
    if (code < 0)
        goto fail_memory;
    code = claim_and_measure(made, error);
    if (code == 0)
        code = find_unit(made, error);
    if (code != 0)
        goto fail_fd;
    made->zeroes = mmap(NULL, ZERO_CHUNK_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made->zeroes == MAP_FAILED) {
        code = err_set(error, REPLICA_E_MEMORY, "out of memory");
        goto fail_fd;
    }
    *disk = made;
    return 0;
fail_fd:
    close(made->fd);
fail_memory:
    free(made);
    return code;
}

static size_t lane_bytes(const struct disk *disk)
{
    return REPLICA_REQUEST_BYTES_MAX + 2 * (size_t)disk->unit;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    if (disk->lane)
        munmap(disk->lane, lane_bytes(disk));
    munmap(disk->zeroes, ZERO_CHUNK_BYTES);
    close(disk->fd);
    free(disk);
}

int disk_measure(struct disk *disk, struct replica_error *error)
{
    unsigned long long bytes = 0;
    struct stat status;

    if (disk->block_device ? ioctl(disk->fd, BLKGETSIZE64, &bytes) : fstat(disk->fd, &status))
        return err_set(error, REPLICA_E_SYSTEM, "%s: reading its size: %s", disk->path,
                       strerror(errno));
    disk->bytes = disk->block_device ? bytes : (uint64_t)status.st_size;
    return 0;
}

uint64_t disk_bytes(const struct disk *disk)
{
    return disk->bytes;
}

uint32_t disk_alignment(const struct disk *disk)
{
    return disk->unit;
}

bool disk_frees(const struct disk *disk)
{
    return disk->frees && !disk->no_punch;
}

bool disk_is_direct(const struct disk *disk)
{
    return disk->direct;
}

int disk_descriptor(const struct disk *disk)
{
    return disk->fd;
}

unsigned disk_in_flight(const struct disk *disk)
{
    return disk->in_flight;
}

void disk_pretend(struct disk *disk, uint32_t bytes, bool no_fallocate)
{
    disk->unit = bytes;
    disk->no_punch = disk->no_zero_range = no_fallocate;
}

/* ---- one operation -------------------------------------------------------------------------- */

static void lane_start(struct disk_io *io);
static void lane_leave(struct disk *disk);
static void lane_enter(struct disk_io *io);
static void zero_next(struct disk_io *io);
static void zero_write(struct disk_io *io, uint64_t offset, uint32_t length);
static void zero_advance(struct disk_io *io);

static bool aligned(const struct disk_io *io)
{
    return io->offset % io->disk->unit == 0 && io->length % io->disk->unit == 0;
}

static bool zeroing(const struct disk_io *io)
{
    return io->op == REPLICA_OP_DISCARD || io->op == REPLICA_OP_WRITE_ZEROES;
}

static void complain(struct disk_io *io, int reason)
{
    struct disk *disk = io->disk;
    uint32_t dropped;

    if (!log_may(&disk->complaints, replica_loop_now(disk->loop), &dropped))
        return;
    log_line(disk->log, LOG_ERR, "%s of %u bytes at byte %llu of %s failed: %s%s",
             replica_op_name(io->op), io->length, (unsigned long long)io->offset, disk->path,
             strerror(reason), dropped > 0 ? " (and more like it before)" : "");
}

static int code_of(int reason)
{
    if (reason == 0)
        return 0;
    return reason == ENOSPC || reason == EDQUOT ? REPLICA_E_NO_SPACE : REPLICA_E_IO;
}

static void finish(struct disk_io *io, int reason)
{
    struct disk *disk = io->disk;

    if (reason != 0)
        complain(io, reason);
    disk->in_flight--;
    if (disk->lane_first == io)
        lane_leave(disk);
    io->done(io, code_of(reason));
}

static void sync_start(struct disk_io *io)
{
    struct io_uring_sqe *sqe = loop_sqe(io->disk->loop, &io->ring);

    io->stage = STAGE_SYNC;
    io_uring_prep_fsync(sqe, io->disk->fd, IORING_FSYNC_DATASYNC);
}

static void transfer_go_on(struct disk_io *io)
{
    struct io_uring_sqe *sqe = loop_sqe(io->disk->loop, &io->ring);

    if (io->writing) {
        io_uring_prep_write(sqe, io->disk->fd, io->at, io->rest, io->place);
        sqe->rw_flags = io->durable ? RWF_DSYNC : 0;
    } else {
        io_uring_prep_read(sqe, io->disk->fd, io->at, io->rest, io->place);
    }
    if (io->patient)
        sqe->flags |= IOSQE_ASYNC;
}

static void transfer_start(struct disk_io *io, enum stage stage, bool writing, uint8_t *memory,
                           uint64_t place, uint32_t length)
{
    io->stage = (uint8_t)stage;
    io->writing = writing;
    io->at = memory;
    io->place = place;
    io->rest = length;
    transfer_go_on(io);
}

/* The lane's buffer holds what the disk has; puts the request's part into it. */
static void lane_merge(struct disk_io *io)
{
    struct disk *disk = io->disk;
    uint32_t inside = (uint32_t)(io->offset + io->finished - disk->window);
    uint32_t left = io->length - io->finished, room = disk->unit - inside;

    if (io->op == REPLICA_OP_WRITE)
        memcpy(disk->lane + inside, io->data, io->length);
    else
        memset(disk->lane + inside, 0, left < room ? left : room);
}

static void transfer_over(struct disk_io *io)
{
    struct disk *disk = io->disk;

    switch ((enum stage)io->stage) {
    case STAGE_TRANSFER:
        finish(io, 0);
        return;
    case STAGE_LANE_READ:
        if (io->op == REPLICA_OP_READ) {
            memcpy(io->data, disk->lane + (io->offset - disk->window), io->length);
            finish(io, 0);
            return;
        }
        lane_merge(io);
        transfer_start(io, STAGE_LANE_WRITE, true, disk->lane, disk->window, disk->window_bytes);
        return;
    case STAGE_LOOK:
        if (memcmp(disk->lane, disk->zeroes, disk->window_bytes) == 0)
            zero_advance(io);
        else
            zero_write(io, disk->window, disk->window_bytes);
        return;
    case STAGE_LANE_WRITE:
    case STAGE_ZERO_WRITE:
        if (io->op == REPLICA_OP_WRITE)
            finish(io, 0);
        else
            zero_advance(io);
        return;
    case STAGE_PUNCH:
    case STAGE_ZERO_RANGE:
    case STAGE_SYNC:
        break;
    }
}

/* `moved` bytes of the transfer are over; a direct transfer goes on at a whole unit. */
static void transfer_moved(struct disk_io *io, uint32_t moved)
{
    if (moved < io->rest)
        moved -= moved % io->disk->unit;
    if (moved == 0) { /* the end of a device that shrank, or no progress at all */
        finish(io, EIO);
        return;
    }
    io->at += moved;
    io->place += moved;
    io->rest -= moved;
    if (io->rest > 0)
        transfer_go_on(io);
    else
        transfer_over(io);
}

static void io_done(struct loop_op *op, int result)
{
    struct disk_io *io = (struct disk_io *)op;

    if (result == -EINTR || result == -EAGAIN) {
        io->patient = true;
        if (io->stage == STAGE_SYNC)
            sync_start(io);
        else if (io->stage == STAGE_PUNCH || io->stage == STAGE_ZERO_RANGE)
            zero_next(io);
        else
            transfer_go_on(io);
        return;
    }
    if (io->stage == STAGE_PUNCH || io->stage == STAGE_ZERO_RANGE) {
        bool unable = result == -EOPNOTSUPP || result == -EINVAL || result == -ENOSYS;
        if (unable && io->stage == STAGE_PUNCH)
            io->disk->no_punch = true;
        else if (unable)
            io->disk->no_zero_range = true;
        else if (result == 0)
            io->finished += io->rest;
        if (result == 0 || unable) {
            zero_next(io);
            return;
        }
    }
    if (result < 0)
        finish(io, -result);
    else if (io->stage == STAGE_SYNC)
        finish(io, 0);
    else
        transfer_moved(io, (uint32_t)result);
}

/* ---- zeroes --------------------------------------------------------------------------------- */

static void fallocate_start(struct disk_io *io, enum stage stage, int mode, uint64_t offset,
                            uint32_t length)
{
    struct io_uring_sqe *entry = loop_sqe(io->disk->loop, &io->ring);

    io->stage = (uint8_t)stage;
    io->rest = length;
    /* io_uring_prep_fallocate has signed numbers in one liburing, unsigned ones in another. */
    io_uring_prep_rw(IORING_OP_FALLOCATE, entry, io->disk->fd, NULL,
                     (unsigned)mode | FALLOC_FL_KEEP_SIZE, offset);
    entry->addr = length;
}

/* The next piece that is not zero yet: the part of a unit at either end, or the whole units
 * between them by the best means that is left. */
static void zero_next(struct disk_io *io)
{
    struct disk *disk = io->disk;
    uint64_t offset = io->offset + io->finished;
    uint32_t left = io->length - io->finished, whole = left - left % disk->unit;

    if (left == 0 && io->durable) {
        sync_start(io);
    } else if (left == 0) {
        finish(io, 0);
    } else if (offset % disk->unit != 0 || whole == 0) {
        disk->window = offset - offset % disk->unit;
        disk->window_bytes = disk->unit;
        transfer_start(io, STAGE_LANE_READ, false, disk->lane, disk->window, disk->unit);
    } else if (io->op == REPLICA_OP_DISCARD && !disk->no_punch) {
        fallocate_start(io, STAGE_PUNCH, FALLOC_FL_PUNCH_HOLE, offset, whole);
    } else if (io->op == REPLICA_OP_DISCARD && disk->lane_first != io) {
        lane_enter(io); /* comes back here in its turn */
    } else if (io->op == REPLICA_OP_DISCARD) {
        disk->window = offset;
        disk->window_bytes = whole < ZERO_CHUNK_BYTES ? whole : ZERO_CHUNK_BYTES;
        transfer_start(io, STAGE_LOOK, false, disk->lane, offset, disk->window_bytes);
    } else {
        zero_write(io, offset, whole);
    }
}

static void zero_write(struct disk_io *io, uint64_t offset, uint32_t length)
{
    if (!io->disk->no_zero_range)
        fallocate_start(io, STAGE_ZERO_RANGE, FALLOC_FL_ZERO_RANGE, offset, length);
    else
        transfer_start(io, STAGE_ZERO_WRITE, true, io->disk->zeroes, offset,
                       length < ZERO_CHUNK_BYTES ? length : ZERO_CHUNK_BYTES);
}

/* A piece was written as zeroes, up to io->place; a unit at the end may reach past the request. */
static void zero_advance(struct disk_io *io)
{
    uint64_t done = io->place - io->offset;

    io->finished = done < io->length ? (uint32_t)done : io->length;
    zero_next(io);
}

/* ---- the lane of unaligned requests --------------------------------------------------------- */

static bool lane_ready(struct disk *disk)
{
    if (!disk->lane) {
        void *memory = mmap(NULL, lane_bytes(disk), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED)
            disk->lane = memory;
    }
    return disk->lane != NULL;
}

static void lane_start(struct disk_io *io)
{
    struct disk *disk = io->disk;
    uint64_t end = io->offset + io->length + disk->unit - 1;

    if (!lane_ready(disk)) {
        /* An operation that fails by itself: `done` must come from the loop. */
        io->rest = 0;
        io_uring_prep_read(loop_sqe(disk->loop, &io->ring), -1, NULL, 0, 0);
        return;
    }
    if (zeroing(io)) {
        zero_next(io);
        return;
    }
    disk->window = io->offset - io->offset % disk->unit;
    disk->window_bytes = (uint32_t)(end - end % disk->unit - disk->window);
    transfer_start(io, STAGE_LANE_READ, false, disk->lane, disk->window, disk->window_bytes);
}

static void lane_enter(struct disk_io *io)
{
    struct disk *disk = io->disk;

    *disk->lane_last = io;
    disk->lane_last = &io->next;
    if (disk->lane_first == io)
        lane_start(io);
}

static void lane_leave(struct disk *disk)
{
    disk->lane_first = disk->lane_first->next;
    if (disk->lane_first)
        lane_start(disk->lane_first);
    else
        disk->lane_last = &disk->lane_first;
}

void disk_submit(struct disk *disk, struct disk_io *io)
{
    io->ring = (struct loop_op){.done = io_done};
    io->disk = disk;
    io->next = NULL;
    io->finished = 0;
    io->patient = false;
    io->stage = STAGE_TRANSFER;
    disk->in_flight++;
    if (io->op == REPLICA_OP_FLUSH)
        sync_start(io);
    else if (!aligned(io))
        lane_enter(io);
    else if (zeroing(io))
        zero_next(io);
    else
        transfer_start(io, STAGE_TRANSFER, io->op == REPLICA_OP_WRITE, io->data, io->offset,
                       io->length);
}
