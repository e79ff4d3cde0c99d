/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * script.h - canonical courses of events, as lists of steps: what single.c breaks at every point.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "scenario.h"

enum script_do {
    DO_END,
    DO_WRITE,   /* `amount` writes of the guest that runs, and their answers */
    DO_FUA,     /* the same, forced */
    DO_START,   /* the same, not waited for */
    DO_DISCARD, /* and write-zeroes, by turns */
    DO_READ,
    DO_FLUSH,
    DO_WAIT,       /* for `until` */
    DO_RUN,        /* `amount` ms */
    DO_BLOCK,      /* the link is a black hole for `amount` ms */
    DO_CUT,        /* the link */
    DO_POWER,      /* the host `host` loses power, and is back after `amount` ms */
    DO_PREFER,     /* the operator moves the guest to `host` */
    DO_PROMOTE,    /* somebody types `primary` on `host` */
    DO_DEMOTE,     /* and `secondary` */
    DO_MIGRATE,    /* the guest moves to the other host; with an `amount`, and fails */
    DO_COMMAND,    /* the command `amount` on `host` */
    DO_INVALIDATE, /* on `host`, if nothing is lost by it; likewise: */
    DO_INVALIDATE_REMOTE,
    DO_OUTDATE,
    DO_HOLD,   /* `host` is disconnected for `amount` ms */
    DO_GROW,   /* the device of `host` grows by `amount` windows (grow.c) */
    DO_RESIZE, /* `resize` is typed on `host`; with an `amount`, --assume-clean */
};

struct script_step {
    enum script_do what;
    uint32_t amount;
    uint8_t host;
    predicate *until;
};

struct script {
    const char *name, *what;
    struct sim_profile profile; /* what differs from a quiet pair's */
    struct script_step step[16];
};

const struct script *script_at(unsigned index); /* NULL past the last one */
/* Up to the end of its steps. A violation, unless a fault has struck, if what is waited for never
 * comes. */
void script_run(struct sim_world *world, const struct script *script);

#endif
