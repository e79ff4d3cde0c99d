/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xenside_private.h - for tests: the Xen side with a directory of theirs in place of sysfs. */
#ifndef TAPDISK_XENSIDE_PRIVATE_H
#define TAPDISK_XENSIDE_PRIVATE_H

#include "xenside.h"

int xenside_open_at(struct xenside **xen, struct replica_loop *loop, struct replica *replica,
                    const char *run_dir, const char *nbd_path, const char *sysfs,
                    struct replica_error *error);

struct plane *xenside_plane(struct xenside *xen);

#endif
