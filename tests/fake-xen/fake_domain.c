/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_domain.c - libxenctrl's part of fake_xen.h: which domain is in which state. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xenctrl.h>

#include "fake_xen.h"

static enum fake_domain domains[FAKE_DOMAINS];

void fake_domain(uint32_t domain, enum fake_domain state)
{
    if (domain >= FAKE_DOMAINS)
        abort();
    domains[domain] = state;
}

void fake_domain_reset(void)
{
    memset(domains, 0, sizeof domains);
}

xc_interface *xc_interface_open(struct xentoollog_logger *logger,
                                struct xentoollog_logger *dombuild_logger, unsigned open_flags)
{
    (void)logger;
    (void)dombuild_logger;
    (void)open_flags;
    return (xc_interface *)domains;
}

int xc_interface_close(xc_interface *handle)
{
    return handle == (xc_interface *)domains ? 0 : -1;
}

#ifdef HAVE_XC_DOMAIN_GETINFO_SINGLE
int xc_domain_getinfo_single(xc_interface *handle, uint32_t domain, xc_domaininfo_t *info)
{
    (void)handle;
    memset(info, 0, sizeof *info);
    if (domain >= FAKE_DOMAINS || domains[domain] == FAKE_DOMAIN_GONE) {
        errno = ESRCH;
        return -1;
    }
    info->domain = (domid_t)domain;
    if (domains[domain] == FAKE_DOMAIN_PAUSED)
        info->flags = XEN_DOMINF_paused;
    if (domains[domain] == FAKE_DOMAIN_SUSPENDED)
        info->flags = XEN_DOMINF_shutdown | SHUTDOWN_suspend << XEN_DOMINF_shutdownshift;
    if (domains[domain] == FAKE_DOMAIN_CRASHED)
        info->flags = XEN_DOMINF_shutdown | SHUTDOWN_crash << XEN_DOMINF_shutdownshift;
    return 0;
}
#else
int xc_domain_getinfo(xc_interface *handle, uint32_t first, unsigned most, xc_dominfo_t *info)
{
    (void)handle;
    memset(info, 0, sizeof *info);
    while (first < FAKE_DOMAINS && domains[first] == FAKE_DOMAIN_GONE)
        first++;
    if (most == 0 || first >= FAKE_DOMAINS)
        return 0;
    info->domid = first;
    info->paused = domains[first] == FAKE_DOMAIN_PAUSED;
    info->shutdown =
        domains[first] == FAKE_DOMAIN_SUSPENDED || domains[first] == FAKE_DOMAIN_CRASHED;
    info->shutdown_reason =
        domains[first] == FAKE_DOMAIN_SUSPENDED ? SHUTDOWN_suspend : SHUTDOWN_crash;
    return 1;
}
#endif
