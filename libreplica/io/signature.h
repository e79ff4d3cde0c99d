/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signature.h - what a device already holds: file systems, volume managers, partition tables and
 * the metadata of DRBD or of ours. Asked before anything is overwritten.
 *
 * What people put under a replicated disk is known by its magic number alone, so that a damaged one
 * counts too. Whatever else there is, libblkid knows.
 */
#ifndef IO_SIGNATURE_H
#define IO_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

enum { SIGNATURE_TEXT_MAX = 96 };

/* What `fd` (of `bytes` bytes) holds, e.g. "an ext2, ext3 or ext4 file system"; "" when nothing is
 * known. Errors: REPLICA_E_IO, errno says why. */
int signature_find(int fd, uint64_t bytes, char what[SIGNATURE_TEXT_MAX]);

#endif
