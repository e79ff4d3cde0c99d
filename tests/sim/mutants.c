/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mutants.c - which planted bug (core/mutant.h) is switched on. Only sim-mutants has any.
 */
#include <string.h>

#include "libreplica/core/mutant.h"
#include "sim.h"

#ifdef CORE_MUTANTS

enum core_mutant core_mutant = CORE_MUTANT_NONE;

static const struct {
    const char *name, *what;
} mutants[CORE_MUTANT_COUNT] = {
#define MUTANT_ROW(mutant, does) [CORE_MUTANT_##mutant] = {#mutant, does},
    CORE_MUTANT_LIST(MUTANT_ROW)
#undef MUTANT_ROW
};

void mutants_list(void)
{
    for (unsigned i = CORE_MUTANT_NONE + 1; i < CORE_MUTANT_COUNT; i++)
        printf("%-24s %s\n", mutants[i].name, mutants[i].what);
}

bool mutants_select(const char *name)
{
    for (unsigned i = CORE_MUTANT_NONE + 1; i < CORE_MUTANT_COUNT; i++) {
        if (strcmp(mutants[i].name, name) != 0)
            continue;
        core_mutant = (enum core_mutant)i;
        return true;
    }
    return false;
}

#else

void mutants_list(void) {}

bool mutants_select(const char *name)
{
    (void)name;
    return false;
}

#endif
