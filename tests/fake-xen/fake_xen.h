/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_xen.h - a Xen in memory: libxengnttab, libxenevtchn and libxenstore under their own names,
 * linked instead of the real ones, and the handles by which a test plays the hypervisor, the
 * toolstack and the guest. One world a process; fake_xen_reset starts a new one.
 *
 * Guest memory is a memfd, so a mapped grant is the guest's very page: a second thread may write to
 * it while the backend looks.
 */
#ifndef FAKE_XEN_H
#define FAKE_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAKE_PAGES = 2048, FAKE_PORTS = 256, FAKE_PAGE_BYTES = 4096 };

void fake_xen_reset(void);
/* The same, but the guests' memory keeps its contents: for a fuzzer, which begins often. */
void fake_xen_restart(void);

/* ---- guest memory ------------------------------------------------------------------------------
 */

/* Page `page` of the guests' memory as the guest sees it. */
uint8_t *fake_page(unsigned page);
/* Grants it: the reference is the page's number. `writable` for the backend. */
void fake_grant(unsigned page, uint32_t domain, bool writable);
void fake_revoke(unsigned page);
/* A grant copy went into it since it was granted. */
bool fake_written(unsigned page);
/* The `after`th grant-copy operation from now on fails; 0: none. */
void fake_copy_fail(unsigned after);
/* Whole calls of xengnttab_grant_copy fail. */
void fake_copy_refuse(bool refuse);
unsigned fake_copy_calls(void);
unsigned fake_copy_ops(void);

/* ---- event channels
 * ------------------------------------------------------------------------------ */

/* The guest's unbound port, allowed to be bound once at a time. */
uint32_t fake_port_new(uint32_t domain);
/* The guest sends an event. */
void fake_event(uint32_t port);
/* How many the guest has got since the last call. */
unsigned fake_notified(uint32_t port);
/* Somebody else holds it: binding fails. */
void fake_port_taken(uint32_t port, bool taken);
bool fake_port_masked(uint32_t port);

/* ---- XenStore
 * -------------------------------------------------------------------------------------- */

/* As the toolstack or the guest; watches fire. `value` NULL removes, with children. */
void fake_store_write(const char *path, const char *value);
/* NULL: not there. Valid until the next change. */
const char *fake_store_read(const char *path);
/* A value with bytes that no string has. */
void fake_store_write_bytes(const char *path, const void *bytes, size_t length);
/* The next `count` commits fail with EAGAIN. */
void fake_store_conflicts(unsigned count);
unsigned fake_store_reads(void);
/* How many of our changes were not below backend/. */
unsigned fake_store_strayed(void);

/* ---- domains
 * ---------------------------------------------------------------------------------------- */

enum { FAKE_DOMAINS = 256 };

/* After a reset all run. */
enum fake_domain {
    FAKE_DOMAIN_RUNNING,
    FAKE_DOMAIN_PAUSED,
    FAKE_DOMAIN_SUSPENDED,
    FAKE_DOMAIN_CRASHED,
    FAKE_DOMAIN_GONE
};
void fake_domain(uint32_t domain, enum fake_domain state);
void fake_domain_reset(void); /* fake_xen_reset does it too */

/* ---- what must be zero at the end of a test
 * -------------------------------------------------------- */

struct fake_leaks {
    unsigned mapped_pages, bound_ports, handles, watches, transactions;
};
struct fake_leaks fake_xen_leaks(void);

#endif
