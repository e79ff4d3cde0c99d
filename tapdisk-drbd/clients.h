/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clients.h - the NBD clients of a guest as its vbd sees them: the device model of an HVM guest
 * (QEMU), which serves the emulated disk from dom0. A guest that stands still asks nothing by
 * either way, so both are held together. main.c puts the NBD server behind it.
 */
#ifndef TAPDISK_CLIENTS_H
#define TAPDISK_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct clients {
    void *argument;
    /* Takes no requests of this domain's clients from now on; false: some are still under way. */
    bool (*hold)(void *argument, uint32_t domain);
    /* Takes them again. */
    void (*go_on)(void *argument, uint32_t domain);
    /* The domain is gone: its held clients are closed. */
    void (*drop)(void *argument, uint32_t domain);
    /* One of them has changed the disk: the guest has run. */
    bool (*wrote)(void *argument, uint32_t domain);
};

#endif
