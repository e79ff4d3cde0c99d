/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * place.h - where internal metadata are on a device that may have grown.
 *
 * They stand at the device's end. When the device has grown, and until a resize has moved them,
 * they are where the end was before; nothing on the device says where that is, and a guest could
 * forge whatever a search would find. So the sizes that count are kept in a file of the host's,
 * written and durable before metadata may appear at a new end. The largest size at which there are
 * metadata of this device is the right one: a place is cleared before anything is written there.
 */
#ifndef IO_PLACE_H
#define IO_PLACE_H

#include "disk.h"
#include "place_note.h"
#include "libreplica/core/metadata.h"

enum { PLACE_SIZES = 8 };

struct place {
    char path[PLACE_PATH_MAX];
    uint64_t device_uuid; /* of the metadata; 0: none found */
    uint64_t bytes[PLACE_SIZES];
    unsigned count;
};

/* Finds the superblocks on `disk`; `slot` says where. When there are none at all they are looked
 * for at the end, and the core will say so. Blocks: for the start only.
 * Errors: REPLICA_E_NO_SPACE, REPLICA_E_MEMORY. */
int place_find(struct place *place, const char *directory, const char *resource,
               const struct disk *disk, uint64_t slot[METADATA_SLOTS], struct replica_error *error);

/* The metadata may move to the end of a device of so many bytes. Durable when it returns.
 * Errors: REPLICA_E_SYSTEM. */
int place_add(struct place *place, uint64_t bytes, struct replica_error *error);

/* They are at the end that was added last. */
void place_settle(struct place *place);

#endif
