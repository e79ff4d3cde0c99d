/* SPDX-License-Identifier: GPL-2.0-or-later */
/* claim.c - see claim.h. */
#include "claim.h"

#include <stdlib.h>

enum claim_step { CLAIM_IDLE, CLAIM_PROMOTING, CLAIM_DEMOTING };

struct claim {
    struct replica *replica;
    enum claim_step step;
    bool ours;
    bool had; /* the node was Primary when the promotion was asked for */
    bool stopped;
    unsigned users; /* told that they have it, and did not give it back */
    struct claim_wait *takers, *givers;
};

int claim_new(struct claim **claim, struct replica *replica)
{
    struct claim *made = calloc(1, sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    made->replica = replica;
    *claim = made;
    return 0;
}

void claim_free(struct claim *claim)
{
    free(claim);
}

static void push(struct claim_wait **list, struct claim_wait *wait, replica_done *done,
                 void *argument)
{
    wait->done = done;
    wait->argument = argument;
    wait->next = *list;
    *list = wait;
}

static bool unlink_from(struct claim_wait **list, struct claim_wait *wait)
{
    for (struct claim_wait **place = list; *place; place = &(*place)->next) {
        if (*place == wait) {
            *place = wait->next;
            return true;
        }
    }
    return false;
}

void claim_cancel(struct claim *claim, struct claim_wait *wait)
{
    if (!wait->done)
        return;
    if (!unlink_from(&claim->takers, wait))
        (void)unlink_from(&claim->givers, wait);
    wait->done = NULL;
}

/* Whoever is told may ask again, or cancel others, from inside: the list is read afresh. */
static void tell_all(struct claim_wait **list, int code, const char *text)
{
    while (*list) {
        struct claim_wait *wait = *list;
        replica_done *done = wait->done;

        *list = wait->next;
        wait->done = NULL;
        done(wait->argument, code, text);
    }
}

static void tell_takers(struct claim *claim, int code, const char *text)
{
    if (code == 0)
        for (const struct claim_wait *wait = claim->takers; wait; wait = wait->next)
            claim->users++;
    tell_all(&claim->takers, code, text);
}

static struct replica_status status_of(const struct claim *claim)
{
    struct replica_status status;

    replica_status(claim->replica, &status);
    return status;
}

static bool is_primary(const struct claim *claim)
{
    return status_of(claim).role == REPLICA_ROLE_PRIMARY;
}

/* The role is here, and stays: nobody is giving it back just now. */
static bool keeps_role(const struct claim *claim)
{
    return is_primary(claim) && !status_of(claim).demoting;
}

static void promote(struct claim *claim);

static void demoted(void *argument, int code, const char *text)
{
    struct claim *claim = argument;

    claim->step = CLAIM_IDLE;
    if (code == 0)
        claim->ours = false;
    tell_all(&claim->givers, code, text);
    if (claim->takers && claim->step == CLAIM_IDLE)
        promote(claim);
}

bool claim_is_unused(const struct claim *claim)
{
    return claim->step == CLAIM_IDLE && claim->ours && claim->users == 0 && !claim->takers &&
           !claim->stopped;
}

void claim_settle(struct claim *claim)
{
    if (!claim_is_unused(claim))
        return;
    if (!is_primary(claim)) {
        claim->ours = false;
        return;
    }
    claim->step = CLAIM_DEMOTING;
    replica_demote(claim->replica, demoted, claim);
}

static void promoted(void *argument, int code, const char *text)
{
    struct claim *claim = argument;

    claim->step = CLAIM_IDLE;
    if (code == 0 && !claim->had)
        claim->ours = true;
    tell_takers(claim, code, text);
    /* All who asked may have gone meanwhile. */
    claim_settle(claim);
}

/* The strictest wish of all who wait. */
static unsigned flags_of(const struct claim *claim)
{
    unsigned flags = 0;

    for (const struct claim_wait *wait = claim->takers; wait; wait = wait->next)
        flags |= wait->flags;
    return flags;
}

static void promote(struct claim *claim)
{
    unsigned flags = flags_of(claim);

    if (claim->stopped) {
        tell_takers(claim, REPLICA_E_SHUTDOWN, "tapdisk-drbd is ending");
        return;
    }
    if (keeps_role(claim) && flags == 0) {
        tell_takers(claim, 0, "");
        return;
    }
    claim->had = keeps_role(claim);
    if (!claim->had)
        claim->ours = false;
    claim->step = CLAIM_PROMOTING;
    replica_promote(claim->replica, flags, promoted, claim);
}

void claim_take(struct claim *claim, struct claim_wait *wait, unsigned flags, replica_done *done,
                void *argument)
{
    wait->flags = flags;
    push(&claim->takers, wait, done, argument);
    if (claim->step == CLAIM_IDLE)
        promote(claim);
}

void claim_drop(struct claim *claim)
{
    claim->users--;
    claim_settle(claim);
}

void claim_give_back(struct claim *claim, struct claim_wait *wait, replica_done *done,
                     void *argument)
{
    push(&claim->givers, wait, done, argument);
    claim_drop(claim);
    if (claim->step != CLAIM_DEMOTING)
        tell_all(&claim->givers, 0, "");
}

void claim_gone(struct claim *claim)
{
    claim->users = 0;
    claim->ours = false;
}

void claim_stop(struct claim *claim)
{
    claim->stopped = true;
}
