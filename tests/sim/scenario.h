/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scenario.h - what the hand-written scenarios share: setting up a pair, waiting for a state,
 * issuing requests and saying what is expected.
 */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "sim.h"

/* A pair with the guest on A, Established; no random guest, no faults. False: it failed. */
bool pair_start(struct sim_world *world, enum sim_start start);
bool pair_start_reckless(struct sim_world *world);
/* The same, as world->profile says, and not waited for. */
bool pair_boot(struct sim_world *world);
extern const struct sim_profile quiet_profile;

typedef bool predicate(const struct sim_world *world);
predicate guests_idle, established, syncing, a_alone, a_down_b_primary, one_standalone, b_primary,
    a_primary, both_secondary, both_live;

/* Waits; a violation "what" when `most` goes by. */
bool expect(struct sim_world *world, predicate *done, uint64_t most, const char *what);

/* The operator, who was off, looks after the pair again from now on. */
void operator_is_back(struct sim_world *world);

/* `count` writes of random ranges within [first, first + span), waited for in groups. */
void write_some(struct sim_world *world, unsigned host, uint32_t count, uint32_t first,
                uint32_t span);
/* The same, not waited for. */
void write_more(struct sim_world *world, unsigned host, uint32_t count, uint32_t first,
                uint32_t span);
void flush(struct sim_world *world, unsigned host);

/* A's guest goes on through B, and the operator looks away. False: it failed. */
bool start_and_detach(struct sim_world *world);

extern const struct scenario scenarios_crash[];
extern const unsigned scenario_crash_count;
extern const struct scenario scenarios_disk[];
extern const unsigned scenario_disk_count;
extern const struct scenario scenarios_late[];
extern const unsigned scenario_late_count;
extern const struct scenario scenarios_lineage[];
extern const unsigned scenario_lineage_count;
extern const struct scenario scenarios_role[];
extern const unsigned scenario_role_count;
extern const struct scenario scenarios_wound[];
extern const unsigned scenario_wound_count;

/* wounds.c: prints which wound is whose; false, with a word on stderr: one has no scenario. */
void wounds_list(void);
bool wounds_check(void);

#endif
