/* SPDX-License-Identifier: GPL-2.0-or-later */
/* journal.c - see journal.h. */
#include <config.h>

#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/core/bytes.h"
#include "libreplica/core/crc32c.h"
#include "libreplica/core/err.h"
#include "plane.h"

enum { HEADER_BYTES = 8192, SUM_FROM = 16, PAGE = 4096, INSTANCE_BYTES = 512, BOOT_BYTES = 40 };

static const char magic[8] = "TDRBDRNG";

_Static_assert(sizeof(struct journal_mark) == 64, "layout of the file");
_Static_assert(sizeof(struct journal_record) == 144, "layout of the file");
_Static_assert(16 + 32 + BOOT_BYTES + INSTANCE_BYTES +
                       VBD_QUEUES_MAX * (RING_PAGES_MAX + 1) * sizeof(uint32_t) <=
                   HEADER_BYTES,
               "the head of the file holds all queues");

/* ---- the head ---------------------------------------------------------------------------------
 */

static size_t queue_bytes(uint32_t entries)
{
    size_t bytes = sizeof(struct journal_mark) + entries * sizeof(struct journal_record) +
                   (size_t)JOURNAL_BLOCKS * JOURNAL_BLOCK_BYTES;

    return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* A host that was booted again has other guests under the same numbers. */
static void read_boot(char *boot)
{
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(boot, 0, BOOT_BYTES);
    if (file < 0)
        return;
    if (read(file, boot, BOOT_BYTES - 1) < 0)
        memset(boot, 0, BOOT_BYTES);
    (void)close(file);
}

static void put_text(struct bytes_writer *writer, const char *text, size_t bytes)
{
    size_t length = strnlen(text, bytes - 1);

    for (size_t i = 0; i < bytes; i++)
        bytes_put8(writer, i < length ? (uint8_t)text[i] : 0);
}

static void encode_head(uint8_t *head, size_t bytes, uint32_t entries,
                        const struct vbd_parameters *parameters)
{
    struct bytes_writer writer = bytes_writer(head + SUM_FROM, HEADER_BYTES - SUM_FROM);
    char boot[BOOT_BYTES];

    memset(head, 0, HEADER_BYTES);
    read_boot(boot);
    bytes_put64(&writer, bytes);
    bytes_put32(&writer, parameters->domain);
    bytes_put32(&writer, (uint32_t)parameters->abi);
    bytes_put32(&writer, parameters->queues);
    bytes_put32(&writer, parameters->ring_pages);
    bytes_put32(&writer, entries);
    bytes_put32(&writer, 0);
    put_text(&writer, boot, BOOT_BYTES);
    put_text(&writer, parameters->instance ? parameters->instance : "", INSTANCE_BYTES);
    for (unsigned i = 0; i < parameters->queues; i++) {
        bytes_put32(&writer, parameters->queue[i].port);
        for (unsigned j = 0; j < parameters->ring_pages; j++)
            bytes_put32(&writer, parameters->queue[i].grefs[j]);
    }
    writer = bytes_writer(head, SUM_FROM);
    put_text(&writer, "", 8);
    memcpy(head, magic, sizeof magic);
    bytes_put32(&writer, JOURNAL_VERSION);
    bytes_put32(&writer, crc32c_update(0, head + SUM_FROM, HEADER_BYTES - SUM_FROM));
}

static int judge_head(const uint8_t *head, const uint8_t *wanted, const char *path,
                      struct replica_error *error)
{
    struct bytes_reader reader = bytes_reader(head + sizeof magic, 8);
    uint32_t version = bytes_get32(&reader), sum = bytes_get32(&reader);

    if (memcmp(head, magic, sizeof magic) != 0)
        return err_set(error, REPLICA_E_INVALID, "%s is no record of a guest's requests", path);
    if (version != JOURNAL_VERSION)
        return err_set(error, REPLICA_E_INVALID, "%s has version %u; this program reads version %u",
                       path, version, (unsigned)JOURNAL_VERSION);
    if (sum != crc32c_update(0, head + SUM_FROM, HEADER_BYTES - SUM_FROM))
        return err_set(error, REPLICA_E_INVALID, "%s is damaged: its sum is wrong", path);
    if (memcmp(head, wanted, HEADER_BYTES) != 0)
        return err_set(error, REPLICA_E_INVALID, "%s is of another guest, or of another ring",
                       path);
    return 0;
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static int system_error(struct replica_error *error, const char *path)
{
    return err_set(error, REPLICA_E_SYSTEM, "%s: %s", path, strerror(errno));
}

static int map(struct journal *journal, int file, size_t bytes, uint32_t entries)
{
    int flags = file < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);

    if (memory == MAP_FAILED)
        return REPLICA_E_SYSTEM;
    *journal = (struct journal){.memory = memory, .bytes = bytes, .entries = entries};
    return 0;
}

/* All of its memory now: a store that finds no room would kill the process. */
static int make_file(const char *path, size_t bytes)
{
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), code;

    if (file < 0)
        return -1;
    code = posix_fallocate(file, 0, (off_t)bytes);
    if (code) {
        (void)close(file);
        (void)unlink(path);
        errno = code;
        return -1;
    }
    return file;
}

int journal_create(struct journal *journal, const char *path,
                   const struct vbd_parameters *parameters, struct replica_error *error)
{
    uint32_t entries = blkif_ring_entries(parameters->abi, parameters->ring_pages);
    size_t bytes = HEADER_BYTES + parameters->queues * queue_bytes(entries);
    int file = -1, code;

    if (path) {
        file = make_file(path, bytes);
        if (file < 0)
            return system_error(error, path);
    }
    code = map(journal, file, bytes, entries);
    if (code)
        (void)system_error(error, path ? path : "memory");
    else
        encode_head(journal->memory, bytes, entries, parameters);
    if (file >= 0)
        (void)close(file);
    return code;
}

int journal_open(struct journal *journal, const char *path, const struct vbd_parameters *parameters,
                 struct replica_error *error)
{
    uint32_t entries = blkif_ring_entries(parameters->abi, parameters->ring_pages);
    size_t bytes = HEADER_BYTES + parameters->queues * queue_bytes(entries);
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), code = 0;
    uint8_t wanted[HEADER_BYTES];
    struct stat about;

    if (file < 0 && errno == ENOENT)
        return err_set(error, REPLICA_E_NOT_FOUND, "%s is not there", path);
    if (file < 0 || fstat(file, &about) != 0)
        code = system_error(error, path);
    else if (!S_ISREG(about.st_mode) || about.st_size != (off_t)bytes)
        code = err_set(error, REPLICA_E_INVALID, "%s has not the size that this guest's rings need",
                       path);
    else if (map(journal, file, bytes, entries) != 0)
        code = system_error(error, path);
    if (file >= 0)
        (void)close(file);
    if (code)
        return code;
    encode_head(wanted, bytes, entries, parameters);
    code = judge_head(journal->memory, wanted, path, error);
    if (code)
        journal_close(journal);
    return code;
}

void journal_close(struct journal *journal)
{
    if (journal->memory)
        (void)munmap(journal->memory, journal->bytes);
    journal->memory = NULL;
}

struct journal_ring journal_ring(const struct journal *journal, unsigned queue)
{
    uint8_t *part = journal->memory + HEADER_BYTES + queue * queue_bytes(journal->entries);
    struct journal_ring ring = {.entries = journal->entries};

    ring.mark = (struct journal_mark *)(void *)part;
    ring.records = (struct journal_record *)(void *)(part + sizeof *ring.mark);
    ring.blocks = part + sizeof *ring.mark + ring.entries * sizeof *ring.records;
    ring.responses = ring.mark->answered;
    return ring;
}

/* ---- the requests ------------------------------------------------------------------------------
 *
 * The compiler may not move other stores over these; the processor does not matter, because a
 * process that is killed has carried out all instructions up to one, and none after it.
 */

static void store64(uint64_t *place, uint64_t value)
{
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void store32(uint32_t *place, uint32_t value)
{
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void journal_take(struct journal_ring *ring, struct journal_record *record, const uint8_t *entry,
                  size_t bytes)
{
    uint64_t order = ring->mark->taken + 1;

    record->response = 0;
    record->block = 0;
    record->judged = 0;
    memcpy(record->entry, entry, bytes);
    store64(&record->order, order);
    store64(&ring->mark->taken, order);
}

void journal_set_block(struct journal_record *record, uint32_t block)
{
    store32(&record->block, block + 1);
}

void journal_judged(struct journal_record *record)
{
    store32(&record->judged, 1);
}

void journal_answer(struct journal_ring *ring, struct journal_record *record)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    store64(&record->response, ++ring->responses);
}

void journal_commit(struct journal_ring *ring)
{
    store64(&ring->mark->answered, ring->responses);
}

void journal_shown(struct journal_ring *ring)
{
    store64(&ring->mark->shown, ring->mark->answered);
}

void journal_clear(struct journal_record *record)
{
    store64(&record->order, 0);
}

/* ---- after a kill
 * --------------------------------------------------------------------------------
 */

/* Clears what is over or was not taken yet. True: it waits for an answer. */
static bool settle_record(const struct journal_mark *mark, struct journal_record *record)
{
    if (record->order == 0)
        return false;
    if (record->order > mark->taken ||
        (record->response != 0 && record->response <= mark->answered)) {
        journal_clear(record);
        return false;
    }
    /* Its response was put into the ring and did not come to count: the number will be used by
     * another one. */
    store64(&record->response, 0);
    if (!record->judged)
        store32(&record->block, 0);
    return true;
}

/* Two records may not be the same request, nor share a block. */
static bool contradicts(const struct journal_ring *ring, const struct journal_record *record)
{
    if (record->block > JOURNAL_BLOCKS || record->judged > 1 || (record->judged && !record->block))
        return true;
    for (const struct journal_record *other = ring->records; other < record; other++) {
        if (other->order == 0)
            continue;
        if (other->order == record->order || (record->block && other->block == record->block))
            return true;
    }
    return false;
}

int journal_settle(struct journal_ring *ring)
{
    const struct journal_mark *mark = ring->mark;
    uint64_t waiting = 0;

    if (mark->taken < mark->answered || mark->taken - mark->answered > ring->entries ||
        mark->shown > mark->answered || mark->answered - mark->shown > ring->entries)
        return REPLICA_E_INVALID;
    for (uint32_t i = 0; i < ring->entries; i++) {
        if (!settle_record(mark, &ring->records[i]))
            continue;
        if (contradicts(ring, &ring->records[i]))
            return REPLICA_E_INVALID;
        waiting++;
    }
    ring->responses = mark->answered;
    return waiting == mark->taken - mark->answered ? 0 : REPLICA_E_INVALID;
}
