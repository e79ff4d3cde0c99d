/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wounds.c - what is known to have hurt others, and what the two-node tests of DRBD 9 are about, by
 * the scenario that holds it here. `sim --list` prints it; a scenario that is named and does not
 * exist ends every run at its start.
 */
#include <string.h>

#include "scenario.h"

static const struct {
    const char *wound, *scenario;
} wounds[] = {
    {"a stalled write, resent after a reconnect, lands over newer data", "stale-write"},
    {"both lose power with different unflushed writes outside the activity log", "power-of-both"},
    {"local error but remote success", "local-error"},
    {"a rejected write followed by a good one", "rejected-then-good"},
    {"a resync that ends while a write is in flight", "write-at-resync-end"},
    {"promote during connect", "promote-during-connect"},
    {"a node that was force-promoted while Inconsistent", "forced-inconsistent"},
    {"a Primary is lost after no writes", "lost-primary-after-no-writes"},
    {"an old Primary comes back with what the guest was never told", "rejoin"},
    {"a stale host comes back and wins", "stale-peer"},
    {"initial resync", "first-sync-crash"},
    {"resync: writes meanwhile", "resync-and-writes"},
    {"resync: the link is cut", "resync-cut"},
    {"resync: the source is lost", "resync-source-lost"},
    {"resync: the target is left alone", "target-left-alone"},
    {"resync: paused", "resync-pause"},
    {"resync: turned round", "resync-turned"},
    {"resync: of a node that never was connected", "resync-never-connected"},
    {"resync: of a disk that was replaced", "disk-replaced"},
    {"split brain, by hand", "split-brain"},
    {"split brain, by policy", "after-sb"},
    {"split brain, each policy without a Primary", "after-sb-0pri"},
    {"fencing resource-only", "fencing"},
    {"fencing resource-and-stonith", "fencing-stonith"},
    {"fencing before a promotion", "fencing-promote"},
    {"fencing after the role was granted without a disk", "fencing-grant"},
    {"suspend-io, resume-io", "suspend-io"},
    {"invalidate, invalidate-remote", "invalidate"},
    {"invalidate of what is in use", "invalidate-refused"},
    {"verify finds a flipped bit", "verify-flip"},
    {"verify under load finds nothing else", "verify-busy"},
    {"I/O errors", "io-errors"},
    {"an activity log under stress", "stress-al"},
};

static const struct scenario *find(const char *name)
{
    const struct scenario *scenario;

    for (unsigned i = 0; (scenario = scenario_at(i)); i++)
        if (strcmp(scenario->name, name) == 0)
            return scenario;
    return NULL;
}

bool wounds_check(void)
{
    for (unsigned i = 0; i < sizeof wounds / sizeof wounds[0]; i++) {
        if (find(wounds[i].scenario))
            continue;
        fprintf(stderr, "sim: there is no scenario %s\n", wounds[i].scenario);
        return false;
    }
    return true;
}

void wounds_list(void)
{
    printf("\nknown wounds, and their scenarios:\n");
    for (unsigned i = 0; i < sizeof wounds / sizeof wounds[0]; i++)
        printf("%-24s %s\n", wounds[i].scenario, wounds[i].wound);
}
