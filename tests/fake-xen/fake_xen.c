/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_xen.c - grants and event channels; see fake_xen.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#include "fake_private.h"
#include "fake_xen.h"

struct grant {
    bool given, writable, written;
    uint32_t domain;
};

struct port {
    bool made, bound, taken, masked, pending;
    uint32_t domain;
    unsigned notified;
};

/* A local port's number is the guest's port plus this, so that mixing them up shows. */
enum { LOCAL_OFFSET = 1000 };

static struct world {
    int memory; /* memfd */
    uint8_t *view;
    struct grant grants[FAKE_PAGES];
    struct port ports[FAKE_PORTS];
    unsigned next_port;
    struct fake_leaks leaks;
    unsigned fail_after, copy_calls, copy_ops;
    bool refuse;
    int event_fd;
} world = {.memory = -1, .event_fd = -1};

struct xengntdev_handle {
    int unused;
};
struct xenevtchn_handle {
    int unused;
};

static void memory_open(void)
{
    world.memory = memfd_create("guest", MFD_CLOEXEC);
    if (world.memory < 0 || ftruncate(world.memory, (off_t)FAKE_PAGES * FAKE_PAGE_BYTES) != 0)
        abort();
    world.view = mmap(NULL, (size_t)FAKE_PAGES * FAKE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_SHARED, world.memory, 0);
    if (world.view == MAP_FAILED)
        abort();
}

void fake_xen_reset(void)
{
    if (world.view)
        (void)munmap(world.view, (size_t)FAKE_PAGES * FAKE_PAGE_BYTES);
    if (world.memory >= 0)
        (void)close(world.memory);
    world.memory = -1;
    world.view = NULL;
    fake_xen_restart();
}

void fake_xen_restart(void)
{
    int memory = world.memory;
    uint8_t *view = world.view;

    memset(&world, 0, sizeof world);
    world.event_fd = -1;
    world.memory = memory;
    world.view = view;
    if (!view)
        memory_open();
    fake_store_reset();
    fake_domain_reset();
}

struct fake_leaks fake_xen_leaks(void)
{
    struct fake_leaks leaks = world.leaks;

    fake_store_leaks(&leaks);
    return leaks;
}

/* ---- grants
 * -------------------------------------------------------------------------------------- */

uint8_t *fake_page(unsigned page)
{
    return world.view + (size_t)page * FAKE_PAGE_BYTES;
}

void fake_grant(unsigned page, uint32_t domain, bool writable)
{
    world.grants[page] = (struct grant){.given = true, .writable = writable, .domain = domain};
}

void fake_revoke(unsigned page)
{
    world.grants[page].given = false;
}

bool fake_written(unsigned page)
{
    return world.grants[page].written;
}

void fake_copy_fail(unsigned after)
{
    world.fail_after = after;
}

void fake_copy_refuse(bool refuse)
{
    world.refuse = refuse;
}

unsigned fake_copy_calls(void)
{
    return world.copy_calls;
}

unsigned fake_copy_ops(void)
{
    return world.copy_ops;
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger;
    (void)flags;
    world.leaks.handles++;
    return calloc(1, sizeof(struct xengntdev_handle));
}

int xengnttab_close(xengnttab_handle *handle)
{
    free(handle);
    world.leaks.handles--;
    return 0;
}

static bool allowed(uint32_t ref, uint32_t domain, bool write)
{
    return ref < FAKE_PAGES && world.grants[ref].given && world.grants[ref].domain == domain &&
           (!write || world.grants[ref].writable);
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t domain,
                                      uint32_t *refs, int prot)
{
    uint8_t *address;

    (void)handle;
    for (uint32_t i = 0; i < count; i++) {
        if (!allowed(refs[i], domain, (prot & PROT_WRITE) != 0)) {
            errno = EINVAL;
            return NULL;
        }
    }
    address = mmap(NULL, (size_t)count * FAKE_PAGE_BYTES, prot, MAP_SHARED, world.memory,
                   (off_t)refs[0] * FAKE_PAGE_BYTES);
    if (address == MAP_FAILED)
        abort();
    for (uint32_t i = 1; i < count; i++)
        if (refs[i] != refs[0] + i && mmap(address + (size_t)i * FAKE_PAGE_BYTES, FAKE_PAGE_BYTES,
                                           prot, MAP_SHARED | MAP_FIXED, world.memory,
                                           (off_t)refs[i] * FAKE_PAGE_BYTES) == MAP_FAILED)
            abort();
    world.leaks.mapped_pages += count;
    return address;
}

int xengnttab_unmap(xengnttab_handle *handle, void *address, uint32_t count)
{
    (void)handle;
    world.leaks.mapped_pages -= count;
    return munmap(address, (size_t)count * FAKE_PAGE_BYTES);
}

static int16_t copy_one(const xengnttab_grant_copy_segment_t *op)
{
    bool from_guest = (op->flags & GNTCOPY_source_gref) != 0;
    const union xengnttab_copy_ptr *foreign = from_guest ? &op->source : &op->dest;
    uint8_t *page;

    world.copy_ops++;
    if (world.fail_after && --world.fail_after == 0)
        return GNTST_general_error;
    if (!allowed(foreign->foreign.ref, foreign->foreign.domid, !from_guest))
        return GNTST_bad_gntref;
    if (foreign->foreign.offset + op->len > FAKE_PAGE_BYTES)
        return GNTST_bad_copy_arg;
    page = fake_page(foreign->foreign.ref) + foreign->foreign.offset;
    if (from_guest)
        memcpy(op->dest.virt, page, op->len);
    else
        memcpy(page, op->source.virt, op->len);
    world.grants[foreign->foreign.ref].written |= !from_guest;
    return GNTST_okay;
}

int xengnttab_grant_copy(xengnttab_handle *handle, uint32_t count,
                         xengnttab_grant_copy_segment_t *ops)
{
    (void)handle;
    world.copy_calls++;
    if (world.refuse) {
        errno = EFAULT;
        return -1;
    }
    for (uint32_t i = 0; i < count; i++)
        ops[i].status = copy_one(&ops[i]);
    return 0;
}

/* ---- event channels
 * ------------------------------------------------------------------------------ */

uint32_t fake_port_new(uint32_t domain)
{
    uint32_t port = ++world.next_port;

    if (port >= FAKE_PORTS)
        abort();
    world.ports[port] = (struct port){.made = true, .domain = domain};
    return port;
}

void fake_port_taken(uint32_t port, bool taken)
{
    world.ports[port].taken = taken;
}

bool fake_port_masked(uint32_t port)
{
    return world.ports[port].masked;
}

unsigned fake_notified(uint32_t port)
{
    unsigned count = world.ports[port].notified;

    world.ports[port].notified = 0;
    return count;
}

static void deliver(struct port *port)
{
    uint64_t one = 1;

    if (!port->bound || !port->pending || port->masked || world.event_fd < 0)
        return;
    if (write(world.event_fd, &one, sizeof one) != (ssize_t)sizeof one)
        abort();
}

void fake_event(uint32_t port)
{
    if (world.ports[port].pending)
        return;
    world.ports[port].pending = true;
    deliver(&world.ports[port]);
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned flags)
{
    (void)logger;
    (void)flags;
    world.leaks.handles++;
    world.event_fd = eventfd(0, EFD_CLOEXEC);
    return calloc(1, sizeof(struct xenevtchn_handle));
}

int xenevtchn_close(xenevtchn_handle *handle)
{
    free(handle);
    world.leaks.handles--;
    (void)close(world.event_fd);
    world.event_fd = -1;
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *handle)
{
    (void)handle;
    return world.event_fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domain,
                                                     evtchn_port_t remote)
{
    struct port *port = &world.ports[remote < FAKE_PORTS ? remote : 0];

    (void)handle;
    if (!port->made || port->bound || port->taken || port->domain != domain) {
        errno = EINVAL;
        return -1;
    }
    port->bound = true;
    port->masked = false;
    world.leaks.bound_ports++;
    /* As the hypervisor does: a fresh binding is pending once. */
    port->pending = true;
    deliver(port);
    return (int)remote + LOCAL_OFFSET;
}

static struct port *local(evtchn_port_t port)
{
    struct port *found = &world.ports[port - LOCAL_OFFSET < FAKE_PORTS ? port - LOCAL_OFFSET : 0];

    return found->bound ? found : NULL;
}

int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port)
{
    struct port *found = local(port);

    (void)handle;
    if (!found)
        return -1;
    found->bound = false;
    found->pending = false;
    world.leaks.bound_ports--;
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port)
{
    struct port *found = local(port);

    (void)handle;
    if (!found)
        return -1;
    found->notified++;
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle)
{
    uint64_t count;

    (void)handle;
    for (unsigned i = 1; i < FAKE_PORTS; i++) {
        struct port *port = &world.ports[i];

        if (port->bound && port->pending && !port->masked) {
            port->pending = false;
            port->masked = true;
            return (int)i + LOCAL_OFFSET;
        }
    }
    (void)!read(world.event_fd, &count, sizeof count);
    errno = EAGAIN;
    return -1;
}

int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port)
{
    struct port *found = local(port);

    (void)handle;
    if (!found)
        return -1;
    found->masked = false;
    deliver(found);
    return 0;
}
