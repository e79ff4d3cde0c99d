/* SPDX-License-Identifier: GPL-2.0-or-later */
/* queue_limits.h - what the kernel says in sysfs of a block device's queue. */
#ifndef IO_QUEUE_LIMITS_H
#define IO_QUEUE_LIMITS_H

#include <stdbool.h>
#include <sys/types.h>

#define QUEUE_LIMITS_SYSFS "/sys/dev/block"

/* Does the device free blocks and leave zeroes there, with nothing written? It needs both: to
 * discard (a disk with WRITE SAME alone still writes) and to zero (a mirrored RAID or a thin volume
 * discards, and promises nothing about what is read then). `sysfs` is QUEUE_LIMITS_SYSFS, or a
 * test's directory of the same shape. What cannot be read counts as no. */
bool queue_limits_discard(const char *sysfs, dev_t device);

#endif
