/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create_md.h - `tapdrbdadm create-md`: fresh metadata on a disk, and reading it back. Blocking
 * calls for an admin command; a running resource's metadata is metastore.h's.
 */
#ifndef IO_CREATE_MD_H
#define IO_CREATE_MD_H

#include <stdbool.h>

#include "libreplica/core/metadata.h"

/* Writes fresh metadata for the data device `disk` to `meta_disk` ("internal" or a device or
 * file). Nothing else is touched. What was written is durable on return.
 * Errors: REPLICA_E_NOT_FOUND, REPLICA_E_PERMISSION, REPLICA_E_BUSY (mounted, up, or held by
 * another program), REPLICA_E_EXISTS (it holds something already, and not `force`),
 * REPLICA_E_NO_SPACE (too small, or the file system below is full), REPLICA_E_INVALID,
 * REPLICA_E_IO, REPLICA_E_SYSTEM. */
int create_md(const char *disk, const char *meta_disk, uint32_t al_extents, bool force,
              struct metadata_superblock *created, struct replica_error *error);

/* Reads the superblock that counts, and which slot it is in. Errors: REPLICA_E_NOT_FOUND,
 * REPLICA_E_PERMISSION, REPLICA_E_NO_METADATA, REPLICA_E_METADATA, REPLICA_E_NO_SPACE,
 * REPLICA_E_IO. */
int create_md_read(const char *disk, const char *meta_disk, struct metadata_superblock *superblock,
                   unsigned *slot, struct replica_error *error);

#endif
