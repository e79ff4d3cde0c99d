/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * single.h - exactly one fault, at a point that is counted as it is passed. See single.c.
 */
#ifndef SIM_SINGLE_H
#define SIM_SINGLE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_world;
struct sim_host;
struct sim_flight;

enum sim_single_kind {
    SINGLE_NONE,
    SINGLE_KILL,
    SINGLE_POWER,
    SINGLE_KILL_PEER,
    SINGLE_POWER_PEER,
    SINGLE_POWER_BOTH,
    SINGLE_CUT,
    SINGLE_CUT_INSIDE,
    SINGLE_ERROR,
    SINGLE_COUNT
};

/* Where a fault may strike. */
enum sim_single_point {
    POINT_IO,       /* an I/O of a data disk or of metadata completes */
    POINT_MESSAGE,  /* a message arrives */
    POINT_PAYLOAD,  /* one with data does */
    POINT_MAY_FAIL, /* an I/O completes on a disk of which the other one has everything */
    POINT_COUNT
};

struct sim_single {
    enum sim_single_kind kind;
    uint32_t at;
    bool struck;
    bool counts;                  /* such a run is under way */
    uint32_t passed[POINT_COUNT]; /* so far */
};

/* An I/O of this host is about to complete, a message is about to arrive. True: it does not. */
bool single_io(struct sim_host *host);
bool single_message(struct sim_host *host, const struct sim_flight *flight);
/* An I/O that the world can spare is about to complete. True: it fails. */
bool single_error(struct sim_host *host);
/* All scripts, or `chosen`: NAME, NAME:KIND, NAME:KIND:POINT. */
void single_run(struct sim_world *world, const char *chosen, uint64_t seed,
                uint64_t violations_max);

#endif
