/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signature.h - what a device already holds: file systems, volume managers, partition tables and
 * the metadata of DRBD or of ours. Asked before anything is overwritten.
 */
#ifndef IO_SIGNATURE_H
#define IO_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

/* What `fd` (of `bytes` bytes) holds, e.g. "an ext2, ext3 or ext4 file system"; *what is NULL when
 * nothing is known. Static storage. Errors: REPLICA_E_IO, errno says why. */
int signature_find(int fd, uint64_t bytes, const char **what);

#endif
