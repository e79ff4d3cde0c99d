/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create.h - `create-md`: fresh metadata on a backing device. For the admin command; it waits for
 * the disk and needs no loop.
 */
#ifndef IO_CREATE_H
#define IO_CREATE_H

#include "config.h"

/* Checks, then writes, everything durable on return. Refused unless forced: a device that holds
 * metadata of ours already (REPLICA_E_EXISTS), or anything that libblkid knows - a file system,
 * LVM, kernel DRBD's metadata, a partition table (REPLICA_E_EXISTS, the text names it).
 * Refused always: a device in use (REPLICA_E_BUSY) or too small (REPLICA_E_NO_SPACE).
 * Further errors: those of disk_open, REPLICA_E_IO. `made` (may be NULL) receives what was
 * written. */
int create_metadata(const struct config_resource *resource, bool force,
                    struct metadata_superblock *made, struct replica_error *error);

#endif
