/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle_pace.c - a resync or a verification asks no faster than c-max-rate, and than c-min-rate
 * while the asker's own guest has requests open; and answers tell of a guest that has. Judged when
 * the step is over, before its actions wake the guest again.
 */
#include "sim.h"

enum { CREDIT = 10 * MS };

static void asked(struct sim_host *host, uint32_t bytes)
{
    const struct sim_profile *profile = &host->world->profile;
    struct sim_pace *pace = &host->world->oracle.pace[host->index];
    bool busy = host->status.requests_pending > 0;
    uint64_t now = host->world->now, from = busy || now < CREDIT ? now : now - CREDIT;

    /* A Primary takes its turn first and asks when no guest's write is in the way: in bursts. */
    if (!profile->paced || host->status.role == REPLICA_ROLE_PRIMARY)
        return;
    if (pace->process != host->process)
        *pace = (struct sim_pace){.process = host->process};
    if (now < pace->next)
        sim_violation(host->world, "pace", "%c: asks %llu us too early", 'A' + host->index,
                      (unsigned long long)((pace->next - now) / US));
    if (pace->next < from)
        pace->next = from;
    pace->next += bytes * SECOND / (busy ? profile->rate_min : profile->rate_max);
}

/* A question may have been held back by a write since the asker took its turn; so what counts is
 * all that was asked since the verification began. What is compared again does not count. */
static void asked_sum(struct sim_host *host, struct range range)
{
    struct sim_pace *pace = &host->world->oracle.pace[host->index];
    uint64_t now = host->world->now, started = host->status.resync_started;

    if (!host->world->profile.paced)
        return;
    if (pace->started != started || pace->process != host->process)
        pace->reached = pace->spent = 0;
    pace->started = started;
    pace->process = host->process;
    if (range.offset < pace->reached)
        return;
    if (now + CREDIT < started + pace->spent)
        sim_violation(host->world, "pace", "%c: compares %llu us too early", 'A' + host->index,
                      (unsigned long long)((started + pace->spent - now) / US));
    pace->reached = range_end(range);
    pace->spent += range.length * SECOND / host->world->profile.rate_max;
}

static void told_busy(struct sim_host *host, bool told)
{
    if (host->status.requests_pending > 0 && !told)
        sim_violation(host->world, "pace", "%c: does not tell that its guest is busy",
                      'A' + host->index);
}

void oracle_paced(struct sim_host *host, const struct action *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct wire_message *message = &list[i].send.message;

        if (list[i].kind != ACTION_SEND)
            continue;
        if (message->type == WIRE_RESYNC_READ)
            asked(host, message->range.length);
        else if (message->type == WIRE_VERIFY_READ)
            asked_sum(host, message->range);
        else if (message->type == WIRE_RESYNC_DATA || message->type == WIRE_RESYNC_SAME ||
                 message->type == WIRE_VERIFY_SUM)
            told_busy(host, message->flags & 1);
    }
}
