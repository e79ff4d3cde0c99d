/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * takeover.h - taking a vbd away from the kernel's xen-blkback, which binds every node of
 * backend/vbd as soon as it appears. The node stays; only the driver lets go.
 */
#ifndef TAPDISK_TAKEOVER_H
#define TAPDISK_TAKEOVER_H

#include <stdint.h>

#define TAKEOVER_SYSFS "/sys/bus/xen-backend"

enum takeover {
    TAKEOVER_NO_DRIVER, /* xen-blkback is not there: the vbd is ours */
    TAKEOVER_UNBOUND,   /* it is there and does not have this device (not yet, or no more) */
    TAKEOVER_RELEASED,  /* it had the device and has let go */
    TAKEOVER_HELD       /* it has the device and did not let go: ask again soon */
};

/* `sysfs` is TAKEOVER_SYSFS, or a test's directory of the same shape. Unbinding waits for the
 * driver's own teardown, some milliseconds. */
enum takeover takeover_vbd(const char *sysfs, uint32_t domain, uint32_t device);

/* xen-blkback that is loaded later grabs every vbd without a driver, ours included: loads it now
 * where the kernel has it. What modprobe says is of no consequence. */
void takeover_load_driver(const char *sysfs);

#endif
