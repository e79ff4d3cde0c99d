/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place.c - see place.h. The file, RESOURCE.place:
 *
 *   device-uuid 0123456789abcdef
 *   bytes 10737418240
 *   bytes 5368709120
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libreplica/core/err.h"

/* ---- the file ------------------------------------------------------------------------------ */

/* What cannot be read says nothing: then only the end counts. */
static void read_file(struct place *place)
{
    FILE *file = fopen(place->path, "re");
    uint64_t bytes;

    place->count = 0;
    if (!file)
        return;
    if (fscanf(file, "device-uuid %" SCNx64, &place->device_uuid) == 1)
        while (place->count < PLACE_SIZES && fscanf(file, " bytes %" SCNu64, &bytes) == 1)
            place->bytes[place->count++] = bytes;
    fclose(file);
}

static int print_file(const struct place *place, int fd)
{
    FILE *file = fdopen(fd, "w");
    bool good;

    if (!file) {
        close(fd);
        return -1;
    }
    good = fprintf(file, "device-uuid %016" PRIx64 "\n", place->device_uuid) > 0;
    for (unsigned i = 0; i < place->count && good; i++)
        good = fprintf(file, "bytes %" PRIu64 "\n", place->bytes[i]) > 0;
    good = good && fflush(file) == 0 && fsync(fd) == 0;
    return fclose(file) == 0 && good ? 0 : -1;
}

static int write_file(const struct place *place, struct replica_error *error)
{
    char fresh[sizeof place->path + 8];
    int fd;

    (void)snprintf(fresh, sizeof fresh, "%s.new", place->path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || print_file(place, fd) != 0 || rename(fresh, place->path) != 0 ||
        place_sync(place->path) != 0)
        return err_set(error, REPLICA_E_SYSTEM, "%s: %s", place->path, strerror(errno));
    return 0;
}

/* ---- the device ---------------------------------------------------------------------------- */

/* The device's uuid, or 0: no metadata at the end of a device of so many bytes. */
static uint64_t look_at(const struct disk *disk, uint64_t bytes, uint8_t *memory,
                        uint64_t slot[METADATA_SLOTS])
{
    const uint8_t *block[METADATA_SLOTS] = {memory, memory + METADATA_BLOCK_BYTES};
    struct metadata_superblock found;
    uint64_t at[METADATA_SLOTS];
    unsigned chosen;

    if (bytes > disk_bytes(disk) || metadata_slots(bytes, true, at, NULL) != 0)
        return 0;
    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        if (pread(disk_descriptor(disk), memory + (size_t)i * METADATA_BLOCK_BYTES,
                  METADATA_BLOCK_BYTES, (off_t)at[i]) != METADATA_BLOCK_BYTES)
            memset(memory + (size_t)i * METADATA_BLOCK_BYTES, 0, METADATA_BLOCK_BYTES);
    if (metadata_choose(block, disk_bytes(disk), &found, &chosen, NULL) != 0)
        return 0;
    memcpy(slot, at, sizeof at);
    return found.device_uuid;
}

/* The largest of the sizes in the file that has metadata of the device that it names. */
static uint64_t look_where_they_were(const struct place *place, const struct disk *disk,
                                     uint8_t *memory, uint64_t slot[METADATA_SLOTS])
{
    uint64_t at[METADATA_SLOTS], best = 0;

    for (unsigned i = 0; i < place->count; i++) {
        if (place->bytes[i] <= best || place->device_uuid == 0 ||
            look_at(disk, place->bytes[i], memory, at) != place->device_uuid)
            continue;
        best = place->bytes[i];
        memcpy(slot, at, sizeof at);
    }
    return best;
}

int place_find(struct place *place, const char *directory, const char *resource,
               const struct disk *disk, uint64_t slot[METADATA_SLOTS], struct replica_error *error)
{
    uint64_t uuid, known;
    uint8_t *memory;
    int code = metadata_slots(disk_bytes(disk), true, slot, error);

    if (code != 0)
        return code;
    if (posix_memalign((void **)&memory, METADATA_BLOCK_BYTES,
                       (size_t)METADATA_SLOTS * METADATA_BLOCK_BYTES) != 0)
        return err_set(error, REPLICA_E_MEMORY, "out of memory");
    *place = (struct place){0};
    (void)mkdir(directory, 0755);
    place_path(directory, resource, place->path);
    read_file(place);
    uuid = look_at(disk, disk_bytes(disk), memory, slot);
    known =
        uuid && uuid == place->device_uuid ? 0 : look_where_they_were(place, disk, memory, slot);
    if (known == 0)
        place->device_uuid = uuid;
    place->bytes[0] = known ? known : disk_bytes(disk);
    place->count = 1;
    free(memory);
    if (place->device_uuid) /* should it not work, a resize will say so */
        (void)write_file(place, NULL);
    return 0;
}

int place_add(struct place *place, uint64_t bytes, struct replica_error *error)
{
    if (place->bytes[0] == bytes)
        return 0;
    if (place->count == PLACE_SIZES)
        return err_set(error, REPLICA_E_BUSY,
                       "the device has grown too often without a resize that went well; restart "
                       "the resource (down, up), then resize");
    memmove(place->bytes + 1, place->bytes, place->count * sizeof *place->bytes);
    place->bytes[0] = bytes;
    place->count++;
    return write_file(place, error);
}

void place_settle(struct place *place)
{
    place->count = 1;
}
