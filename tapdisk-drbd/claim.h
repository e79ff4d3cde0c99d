/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * claim.h - the Primary role, held for the sake of vbds.
 *
 * The first vbd takes the role, the last one that goes gives it back, as DRBD's block script does -
 * unless a person had made the resource Primary before the first vbd came: then it stays Primary
 * until a person says otherwise. One promotion or demotion at a time; whoever asks meanwhile waits.
 */
#ifndef TAPDISK_CLAIM_H
#define TAPDISK_CLAIM_H

#include <libreplica/replica.h>

struct claim;

/* Embedded in whoever waits. `done` gets 0 or a code, and a line of text. */
struct claim_wait {
    replica_done *done; /* NULL: not waiting */
    unsigned flags;     /* enum replica_promote_flags */
    void *argument;
    struct claim_wait *next;
};

/* Errors: REPLICA_E_MEMORY. */
int claim_new(struct claim **claim, struct replica *replica);
/* After replica_close: no answer of the replica is on its way any more. Nobody waits. */
void claim_free(struct claim *claim);

/* Once `done` has got 0 the caller is a user and calls claim_give_back once. `done` may be called
 * from inside. */
void claim_take(struct claim *claim, struct claim_wait *wait, unsigned flags, replica_done *done,
                void *argument);
/* The last user gives the role back, if it was taken here. `done` may be called from inside. */
void claim_give_back(struct claim *claim, struct claim_wait *wait, replica_done *done,
                     void *argument);
/* Does not want an answer any more. */
void claim_cancel(struct claim *claim, struct claim_wait *wait);

/* The role was handed over to the peer: nobody is a user any more. */
void claim_gone(struct claim *claim);

/* The same as giving back, without an answer. */
void claim_drop(struct claim *claim);

/* The role was taken here and nobody uses it any more: giving it back has failed. */
bool claim_is_unused(const struct claim *claim);
/* Tries that again: a demotion can fail while an NBD client is there. */
void claim_settle(struct claim *claim);
/* The process ends: the role stays what it is. */
void claim_stop(struct claim *claim);

#endif
