/* SPDX-License-Identifier: GPL-2.0-or-later */
/* actlog_help.h - what the two tests of the activity log share. */
#ifndef UNIT_ACTLOG_HELP_H
#define UNIT_ACTLOG_HELP_H

#include "libreplica/core/actlog.h"
#include "libreplica/core/metadata.h"
#include "unit.h"

enum { BLOCK = METADATA_BLOCK_BYTES, RING = METADATA_AL_BLOCKS, MIN = METADATA_AL_EXTENTS_MIN };

static inline struct actlog *new_log(uint32_t extents)
{
    struct actlog *log;

    ck_assert_int_eq(actlog_new(&log, extents, NULL), 0);
    return log;
}

static inline void use(struct actlog *log, uint32_t extent)
{
    REQUIRE(actlog_get(log, extent) != ACTLOG_FULL);
    actlog_put(log, extent);
}

static inline void confirm(struct actlog *log)
{
    actlog_confirm_begin(log);
    actlog_confirm_end(log);
}

static inline int scan(struct actlog *log, uint8_t (*ring)[BLOCK], struct replica_error *error)
{
    actlog_scan_begin(log);
    for (unsigned i = 0; i < RING; i++)
        actlog_scan_block(log, ring[i]);
    return actlog_scan_finish(log, error);
}

#endif
