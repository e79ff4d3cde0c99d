/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lineage_help.h - flags and generations that both tests of lineage.c speak of. */
#ifndef TESTS_LINEAGE_HELP_H
#define TESTS_LINEAGE_HELP_H

#include "libreplica/core/lineage.h"

enum {
    GOOD = METADATA_CONSISTENT | METADATA_WAS_UPTODATE,
    OUTDATED = METADATA_CONSISTENT,
    CRASHED = METADATA_CRASHED_PRIMARY,
    FULL = METADATA_FULL_SYNC,
    NEW = GENERATION_JUST_CREATED
};

/* Generations for the tests; even, as the lowest bit is the role's. */
enum { A = 0xa0, B = 0xb0, C = 0xc0, D = 0xd0 };

#endif
