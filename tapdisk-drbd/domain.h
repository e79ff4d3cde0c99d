/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain.h - whether a domain runs, as the hypervisor says. libxenctrl has no stable ABI; this is
 * the only file that calls it.
 */
#ifndef TAPDISK_DOMAIN_H
#define TAPDISK_DOMAIN_H

#include <stdint.h>

#include <libreplica/replica.h>

enum domain_state {
    DOMAIN_GONE,      /* there is none, or it is dying: it never runs again */
    DOMAIN_SUSPENDED, /* shut down for suspend: saved or migrated; runs again when that fails */
    DOMAIN_SHUTDOWN,  /* shut down for good: it waits to be destroyed */
    DOMAIN_PAUSED,    /* by the toolstack: before its first run, or `xl pause` */
    DOMAIN_RUNNING,
    DOMAIN_UNKNOWN, /* the hypervisor could not be asked: counts as running */
    DOMAIN_STATE_COUNT
};

struct domains;

/* Errors: REPLICA_E_SYSTEM, REPLICA_E_MEMORY. */
int domains_open(struct domains **domains, struct replica_error *error);
void domains_close(struct domains *domains);

/* One hypercall. */
enum domain_state domains_look(struct domains *domains, uint32_t domain);

/* "suspended", "running", ... for status. */
const char *domain_state_name(enum domain_state state);

#endif
