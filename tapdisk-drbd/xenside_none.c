/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xenside_none.c - xenside.h for a build without the Xen side: every host is without Xen. */
#include "xenside.h"

#include "libreplica/core/err.h"

int xenside_open(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                 const char *nbd_path, struct replica_error *error)
{
    (void)xen;
    (void)loop;
    (void)replica;
    (void)nbd_path;
    return err_set(error, REPLICA_E_UNSUPPORTED, "built without the Xen side");
}

void xenside_close(struct xenside *xen)
{
    (void)xen;
}

void xenside_changed(struct xenside *xen)
{
    (void)xen;
}

void xenside_resized(struct xenside *xen, uint64_t size)
{
    (void)xen;
    (void)size;
}

unsigned xenside_writers(const struct xenside *xen, char *why, size_t why_bytes)
{
    (void)xen;
    (void)why;
    (void)why_bytes;
    return 0;
}

bool xenside_control(struct xenside *xen, struct replica_control_request *request, const char *json)
{
    (void)xen;
    (void)request;
    (void)json;
    return false;
}

json_t *xenside_status(const struct xenside *xen)
{
    (void)xen;
    return json_array();
}
