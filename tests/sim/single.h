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
    SINGLE_COUNT
};

struct sim_single {
    enum sim_single_kind kind;
    uint32_t at;
    bool struck;
    uint32_t ios, messages, payloads; /* passed so far */
};

/* An I/O of this host is about to complete, a message is about to arrive. True: it does not. */
bool single_io(struct sim_host *host);
bool single_message(struct sim_host *host, const struct sim_flight *flight);
/* All scripts, or `chosen`: NAME, NAME:KIND, NAME:KIND:POINT. */
void single_run(struct sim_world *world, const char *chosen, uint64_t seed,
                uint64_t violations_max);

#endif
