/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * profile.h - what a schedule is drawn to be like, and what is counted; a part of sim.h.
 */
#ifndef SIM_PROFILE_H
#define SIM_PROFILE_H

#include "libreplica/core/core.h"

enum sim_start { START_IN_SYNC, START_NEW_UUID, START_FIRST_SYNC, START_COUNT };

/* What is drawn once for each schedule. */
struct sim_profile {
    enum sim_start start;
    bool reckless; /* the operator may cause split brain */
    bool wire;     /* messages are encoded and decoded on their way */
    bool shuffle;  /* actions of one step in random order */
    enum core_fencing fencing;
    struct split_policies after_sb; /* as A has them */
    bool after_sb_differs;          /* B has others */
    enum core_rr_conflict rr_conflict;
    bool freeze; /* on-peer-loss freeze */
    bool paced;  /* with the rates below; else as fast as it goes */
    uint64_t rate_max, rate_min;
    bool csums; /* a resync asks with checksums */
    uint64_t disk_timeout;
    bool pass_on;           /* on-io-error */
    bool handlers;          /* the resync handlers have scripts */
    uint32_t sectors;       /* the most that the data disks ever have */
    uint32_t first_sectors; /* what they have in the beginning */
    uint32_t internal;      /* 1 << host: its metadata are */
    bool clean;             /* new sectors are the same on both */
    uint32_t al_extents, requests_max, depth;
    uint32_t spots, spot_sectors; /* where guests write */
    uint32_t writes_wanted, faults_wanted;
    uint64_t disk_base, disk_spread, link_base, link_spread, think;
};

/* A guest on its way; see migrate.c. */
struct sim_migration {
    enum { MIGRATE_NONE, MIGRATE_SUSPENDED, MIGRATE_ASKED, MIGRATE_BACK } phase;
    uint8_t from;
    bool fails; /* for a reason that is not the disk's */
    uint64_t due;
};

struct sim_counts {
    uint64_t schedules, singles, writes, reads, flushes, faults, violations, steps, resyncs,
        promotions;
    uint64_t migrations; /* that went well */
    uint64_t resizes;    /* a host has more data than before */
    uint64_t digest;     /* of where each schedule came to: two that differ anywhere differ here */
};

#endif
