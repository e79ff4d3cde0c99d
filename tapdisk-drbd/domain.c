/* SPDX-License-Identifier: GPL-2.0-or-later */
/* domain.c - see domain.h. Xen 4.18 replaced xc_domain_getinfo by xc_domain_getinfo_single. */
#include <config.h>

#include "domain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xenctrl.h>

#include "libreplica/core/err.h"

struct domains {
    xc_interface *handle;
};

int domains_open(struct domains **domains, struct replica_error *error)
{
    struct domains *made = calloc(1, sizeof *made);

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "no memory for the Xen side");
    made->handle = xc_interface_open(NULL, NULL, 0);
    if (!made->handle) {
        free(made);
        return err_set(error, REPLICA_E_SYSTEM,
                       "cannot open /dev/xen/privcmd: %s; modprobe xen-privcmd", strerror(errno));
    }
    *domains = made;
    return 0;
}

void domains_close(struct domains *domains)
{
    (void)xc_interface_close(domains->handle);
    free(domains);
}

struct facts {
    bool dying, shutdown, paused;
    unsigned reason;
};

#ifdef HAVE_XC_DOMAIN_GETINFO_SINGLE
/* 0, or errno. */
static int ask(struct domains *domains, uint32_t domain, struct facts *facts)
{
    xc_domaininfo_t info;

    if (xc_domain_getinfo_single(domains->handle, domain, &info) != 0)
        return errno;
    facts->dying = info.flags & XEN_DOMINF_dying;
    facts->shutdown = info.flags & XEN_DOMINF_shutdown;
    facts->paused = info.flags & XEN_DOMINF_paused;
    facts->reason = (info.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
    return 0;
}
#else
/* It answers with the first domain from `domain` on. */
static int ask(struct domains *domains, uint32_t domain, struct facts *facts)
{
    xc_dominfo_t info;
    int found = xc_domain_getinfo(domains->handle, domain, 1, &info);

    if (found < 0)
        return errno;
    if (found == 0 || info.domid != domain)
        return ESRCH;
    facts->dying = info.dying;
    facts->shutdown = info.shutdown;
    facts->paused = info.paused;
    facts->reason = info.shutdown_reason;
    return 0;
}
#endif

enum domain_state domains_look(struct domains *domains, uint32_t domain)
{
    struct facts facts = {0};
    int code = ask(domains, domain, &facts);

    if (code)
        return code == ESRCH ? DOMAIN_GONE : DOMAIN_UNKNOWN;
    if (facts.dying)
        return DOMAIN_GONE;
    if (facts.shutdown)
        return facts.reason == SHUTDOWN_suspend ? DOMAIN_SUSPENDED : DOMAIN_SHUTDOWN;
    return facts.paused ? DOMAIN_PAUSED : DOMAIN_RUNNING;
}

const char *domain_state_name(enum domain_state state)
{
    static const char *const names[DOMAIN_STATE_COUNT] = {
        [DOMAIN_GONE] = "gone",          [DOMAIN_SUSPENDED] = "suspended",
        [DOMAIN_SHUTDOWN] = "shut down", [DOMAIN_PAUSED] = "paused",
        [DOMAIN_RUNNING] = "running",    [DOMAIN_UNKNOWN] = "unknown"};

    return (unsigned)state < DOMAIN_STATE_COUNT ? names[state] : "?";
}
