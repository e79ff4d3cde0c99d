/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grow.c - devices that get larger, and an operator who types resize then.
 *
 * Data disks have all their sectors from the beginning; how many of them a host's device has is a
 * number. What stands in new sectors differs between the hosts, unless the profile says that they
 * are clean. Where the metadata were is not clean in any case.
 *
 * Internal metadata. The last SIM_WINDOW_BYTES of the device are in `bytes`; a device that has
 * grown has a new end, and so a further window behind the others. A device grows by a window at
 * least, so they do not overlap.
 */
#include <string.h>

#include "sim.h"

static bool is_internal(const struct sim_host *host)
{
    return host->world->profile.internal >> host->index & 1;
}

/* ---- where metadata are -------------------------------------------------------------------- */

void grow_reset(struct sim_host *host)
{
    const struct sim_profile *profile = &host->world->profile;

    host->device_sectors = profile->first_sectors;
    host->meta.windows = 1;
    if (is_internal(host))
        host->device_sectors += SIM_META_SECTORS;
    host->meta.ends[0] =
        is_internal(host) ? host->device_sectors * REPLICA_SECTOR_BYTES : SIM_WINDOW_BYTES;
    host->shown_bytes = 0;
}

/* New metadata on a device that has grown already: at its end, with room for `data_bytes`. */
int grow_plan(struct sim_host *host, uint64_t data_bytes, struct metadata_layout *layout)
{
    uint32_t device_bytes = host->device_sectors * REPLICA_SECTOR_BYTES;
    int code;

    if (!is_internal(host))
        return metadata_plan(SIM_WINDOW_BYTES, false, data_bytes, layout, NULL);
    host->meta.windows = 1;
    host->meta.ends[0] = device_bytes;
    code = metadata_plan(device_bytes, true, 0, layout, NULL);
    layout->data_bytes = data_bytes;
    layout->bitmap_bytes = (data_bytes / REPLICA_BLOCK_BYTES + METADATA_BITS_PER_BLOCK - 1) /
                           METADATA_BITS_PER_BLOCK * METADATA_BLOCK_BYTES;
    return code;
}

uint32_t meta_at(const struct sim_host *host, uint64_t offset)
{
    const struct sim_meta *meta = &host->meta;

    for (uint32_t i = 0; i < meta->windows; i++)
        if (offset < meta->ends[i] && offset + SIM_WINDOW_BYTES >= meta->ends[i])
            return i * SIM_WINDOW_BYTES + (uint32_t)(offset + SIM_WINDOW_BYTES - meta->ends[i]);
    return UINT32_MAX;
}

static bool has_superblock(const struct sim_host *host, const uint64_t slot[METADATA_SLOTS],
                           struct metadata_superblock *superblock)
{
    const uint8_t *block[METADATA_SLOTS];
    unsigned chosen;

    for (unsigned i = 0; i < METADATA_SLOTS; i++)
        block[i] = host->meta.bytes + meta_at(host, slot[i]);
    return metadata_choose(block, host->meta.ends[host->meta.windows - 1], superblock, &chosen,
                           NULL) == 0;
}

/* As the shell looks for them: at the device's end, else where that was before. */
bool grow_find(const struct sim_host *host, uint64_t slot[METADATA_SLOTS],
               struct metadata_superblock *superblock)
{
    for (uint32_t i = host->meta.windows; i-- > 0;)
        if (metadata_slots(host->meta.ends[i], is_internal(host), slot, NULL) == 0 &&
            has_superblock(host, slot, superblock))
            return true;
    return false;
}

bool meta_has_sums(const struct sim_host *host, uint32_t at)
{
    uint32_t bitmap_at = (METADATA_SLOTS + METADATA_AL_BLOCKS) * METADATA_BLOCK_BYTES;

    if (!is_internal(host))
        return at < bitmap_at;
    return at % SIM_WINDOW_BYTES >= SIM_WINDOW_BYTES - bitmap_at;
}

uint64_t grow_meta_bytes(const struct sim_host *host)
{
    return host->meta.ends[host->meta.windows - 1];
}

/* ---- growing ------------------------------------------------------------------------------- */

/* What a guest would read where the metadata are now. */
static void leave_metadata(struct sim_host *host)
{
    struct metadata_superblock found;
    uint64_t slot[METADATA_SLOTS];

    if (!is_internal(host) || !grow_find(host, slot, &found))
        return;
    for (uint64_t i = found.layout.bitmap_offset / REPLICA_SECTOR_BYTES;
         i < (slot[METADATA_SLOTS - 1] + METADATA_BLOCK_BYTES) / REPLICA_SECTOR_BYTES; i++)
        host->disk.visible[i] = host->disk.durable[i] = 3 + host->index;
}

static void device_grows(struct sim_host *host, uint32_t sectors)
{
    struct sim_meta *meta = &host->meta;

    leave_metadata(host);
    host->device_sectors += sectors;
    TRACE(host->world, "%c: the device has %u sectors now", 'A' + host->index,
          host->device_sectors);
    if (!is_internal(host))
        return;
    memset(meta->bytes + meta->windows * SIM_WINDOW_BYTES, sim_chance(host->world, 2) ? 0 : 0xa5,
           SIM_WINDOW_BYTES);
    meta->ends[meta->windows++] = host->device_sectors * REPLICA_SECTOR_BYTES;
}

void grow_device(struct sim_host *host, uint32_t windows)
{
    uint32_t sectors = windows * ((uint32_t)SIM_WINDOW_BYTES / REPLICA_SECTOR_BYTES);

    if (host->meta.windows < SIM_WINDOWS &&
        host->device_sectors + sectors <= host->world->profile.sectors)
        device_grows(host, sectors);
}

/* To all that there is, or to a little more than now: metadata that move then leave their old place
 * behind the data. */
static void type_resize(struct sim_host *host)
{
    struct sim_world *world = host->world;
    uint32_t flags = world->profile.clean && sim_chance(world, 2) ? COMMAND_ASSUME_CLEAN : 0;
    uint64_t bytes = 0;

    if (sim_chance(world, 3))
        bytes =
            host->status.data_bytes + (1 + sim_below(world, 12)) * (uint64_t)REPLICA_BLOCK_BYTES;
    host_command_at(host, COMMAND_RESIZE, flags, bytes, 0);
}

/* Mostly both hosts' devices grow and then somebody types resize, somewhere; or it is forgotten, or
 * typed too early. */
void grow_now(struct sim_world *world)
{
    struct sim_host *typed = &world->host[sim_below(world, SIM_HOSTS)];
    uint32_t windows = 1 + sim_below(world, 3);
    bool all = !sim_chance(world, 8);

    for (unsigned i = 0; i < SIM_HOSTS; i++)
        if (all || i == typed->index)
            grow_device(&world->host[i], windows);
    if (typed->up && typed->attached && !typed->frozen)
        type_resize(typed);
}

/* Whoever has grown the devices types it again until it works. */
void grow_look(struct sim_host *host)
{
    struct sim_world *world = host->world;
    uint32_t needs = grow_sectors(host) + (is_internal(host) ? SIM_META_SECTORS : 0);

    if (host->device_sectors > needs && host->commands == 0 && sim_chance(world, 12) &&
        host->status.replication == REPLICA_REPLICATION_ESTABLISHED)
        type_resize(host);
}

void grow_measure(struct sim_host *host, uint32_t serial)
{
    struct event event = {
        .kind = EVENT_MEASURED,
        .measured = {.serial = serial,
                     .meta_bytes = grow_meta_bytes(host),
                     .data_bytes = (uint64_t)host->device_sectors * REPLICA_SECTOR_BYTES,
                     .text = ""}};

    host->makes_room = true;
    if (sim_chance(host->world, 20)) {
        event.measured.code = REPLICA_E_MEMORY;
        event.measured.text = "no memory";
    } else if (core_make_room(host->core, event.measured.data_bytes)) {
        sim_violation(host->world, "core.h", "%c: no room", 'A' + host->index);
    }
    host->makes_room = false;
    host_event(host, &event);
}

/* ---- the oracle's part --------------------------------------------------------------------- */

/* Two that are connected have it on disk both, before a guest is shown it. */
static void look_at_both(const struct sim_host *host)
{
    struct sim_world *world = host->world;

    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct metadata_superblock found;
        uint64_t slot[METADATA_SLOTS];

        if (world->host[i].status.disk >=
                REPLICA_DISK_INCONSISTENT && /* else it may be a new one */
            grow_find(&world->host[i], slot, &found) &&
            found.layout.data_bytes < host->status.data_bytes)
            sim_violation(world, "resize", "%c: has %llu bytes, the disk of %c %llu",
                          'A' + host->index, (unsigned long long)host->status.data_bytes, 'A' + i,
                          (unsigned long long)found.layout.data_bytes);
    }
}

/* A disk that a guest was shown never gets smaller on this host, and never passes its device. */
void grow_stepped(struct sim_host *host)
{
    uint64_t bytes = host->status.data_bytes;

    if (!host->attached)
        return;
    if (bytes < host->shown_bytes)
        sim_violation(host->world, "resize", "%c: has %llu bytes, it had %llu", 'A' + host->index,
                      (unsigned long long)bytes, (unsigned long long)host->shown_bytes);
    if (bytes > host->shown_bytes && host->shown_bytes)
        host->world->counts.resizes++;
    if (bytes > host->shown_bytes && host->shown_bytes &&
        host->status.connection == REPLICA_CONNECTION_CONNECTED)
        look_at_both(host);
    host->shown_bytes = bytes;
}

uint32_t grow_sectors(const struct sim_host *host)
{
    return (uint32_t)(host->status.data_bytes / REPLICA_SECTOR_BYTES);
}

/* How far the two are comparable now. */
uint32_t grow_common(const struct sim_world *world)
{
    uint32_t a = grow_sectors(&world->host[0]), b = grow_sectors(&world->host[1]);

    return a < b ? a : b;
}

/* What was acknowledged lies inside. */
void grow_finish(struct sim_world *world)
{
    uint32_t size = grow_common(world);

    if (grow_sectors(&world->host[0]) != grow_sectors(&world->host[1]))
        sim_violation(world, "resize", "A has %u sectors, B %u", grow_sectors(&world->host[0]),
                      grow_sectors(&world->host[1]));
    for (unsigned i = 0; i < SIM_HOSTS; i++)
        for (uint32_t k = size; k < world->profile.sectors; k++)
            if (world->oracle.floor[i][k] >= SIM_STAMP_FIRST)
                sim_violation(world, "P1", "sector %u was written, and %u are left", k, size);
}
