/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xenside_private.h - the registry of vbds, shared by xenside.c and xenside_handover.c; and for
 * tests: the Xen side with a directory of theirs in place of sysfs.
 */
#ifndef TAPDISK_XENSIDE_PRIVATE_H
#define TAPDISK_XENSIDE_PRIVATE_H

#include "device.h"
#include "xenside.h"

enum { CANDIDATES_MAX = 64 };

struct entry {
    struct device *device;
    struct entry *next;
    bool dirty;
    uint64_t window; /* when the present one began */
    unsigned looks;  /* in it */
};

struct xenside {
    struct device_host host;
    char *run_dir, *nbd_path, *sysfs;
    char base[64]; /* "/local/domain/0" */
    struct replica_timer *timer;
    struct entry *entries;
    unsigned entry_count;
    struct device_place candidates[CANDIDATES_MAX];
    unsigned candidate_count;
    bool rescan; /* more than the candidates can tell */
    bool stopped;
    struct {
        bool asked;
        uint32_t number;
        bool take_back;
        bool answered;
    } handover; /* the library's question */
};

int xenside_open_at(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                    const char *run_dir, const char *nbd_path, const char *sysfs,
                    struct replica_error *error);

/* ---- xenside_handover.c ---- */

/* When it wants to be called again, UINT64_MAX: not at all. */
uint64_t xenside_handover_pump(struct xenside *xen);
/* Makes room for a new writer on this host. False: one is in the way, `why` says which. */
bool xenside_make_room(struct xenside *xen, struct device *newcomer, char *why, size_t why_bytes,
                       bool *local);
bool xenside_in_the_way(void *argument, const struct device *device);

struct plane *xenside_plane(struct xenside *xen);

#endif
