/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy.h - what the configuration and an operator's words allow, said once more and without the
 * core: fencing, the after-sb policies, invalidate and outdate. See policy.c.
 */
#ifndef SIM_POLICY_H
#define SIM_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "libreplica/core/core.h"

struct sim_world;
struct sim_host;

/* Of one host. */
struct sim_policy {
    bool fenced;    /* since it last met its peer its handler has said that that one stands still */
    bool resumed;   /* since then its operator has said that it may go on alone */
    uint64_t asked; /* the epoch under which it has asked its peer for the role, 0: none */
    uint64_t granted; /* the epoch under which it has been told that it has it */
    bool gives;       /* its process has granted the role */
    bool by_disk;     /* and has a disk to write that on, then or later */
    uint32_t told_on; /* the stream on which it told: */
    bool discards;    /* connect --discard-my-data */
    struct wire_state told;
};

/* Draws what the profile says about split brains. */
void policy_draw(struct sim_world *world);

/* What happens to a host that is to be judged later. */
void policy_fenced(struct sim_host *host, int status); /* the exit status of fence-peer */
void policy_answered(struct sim_host *host, enum command_kind kind, int code);
void policy_sent(struct sim_host *host, const struct wire_message *message);
void policy_received(struct sim_host *host, const struct wire_message *message);
void policy_forgotten(struct sim_host *host); /* its process is gone, and what it was told */
void policy_stepped(struct sim_host *host, const struct core_status *before);

/* What must hold. */
void policy_alone(struct sim_host *host, uint32_t stamp); /* a write completes without the peer */
void policy_promoted(struct sim_host *host);
void policy_target(struct sim_host *host); /* it becomes one in a handshake */
void policy_handler(struct sim_host *host, enum core_handler handler); /* is run */
/* The policy after a split brain says that what this host has changed gives way. */
bool policy_gives_up(struct sim_host *host);

/* The other host's words for the same policies: discard-local here is discard-remote there. */
struct split_policies policy_of(const struct sim_host *host);

#endif
