/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_check.c - what two resources must not share. See config_build.h. */
#include <string.h>

#include "libreplica/io/config_build.h"
#include "libreplica/io/config_options.h"

static bool same_device(const struct config_host *a, const struct config_host *b, const char **what)
{
    bool a_internal = strcmp(a->meta_disk, "internal") == 0;
    bool b_internal = strcmp(b->meta_disk, "internal") == 0;

    *what = a->disk;
    if (strcmp(a->disk, b->disk) == 0 || (!b_internal && strcmp(a->disk, b->meta_disk) == 0))
        return true;
    *what = a->meta_disk;
    return !a_internal &&
           (strcmp(a->meta_disk, b->disk) == 0 || strcmp(a->meta_disk, b->meta_disk) == 0);
}

static int hosts_check(struct config_build *build, const struct config_built *earlier,
                       const struct config_built *later, const struct config_host *a,
                       const struct config_host *b)
{
    const char *what;

    if (strcmp(a->name, b->name) == 0 && same_device(a, b, &what))
        return config_fail(later->statement, REPLICA_E_EXISTS, build->error,
                           "resource %s: %s on %s belongs to resource %s already (%s, line %d): "
                           "give each its own",
                           later->resource.name, what, a->name, earlier->resource.name,
                           earlier->resource.file, earlier->resource.line);
    if (strcmp(a->address, b->address) == 0 && a->port == b->port)
        return config_fail(later->statement, REPLICA_E_EXISTS, build->error,
                           "resource %s: address %s port %u is that of resource %s already (%s, "
                           "line %d): give it another port",
                           later->resource.name, a->address, (unsigned)a->port,
                           earlier->resource.name, earlier->resource.file, earlier->resource.line);
    return 0;
}

static int pair_check(struct config_build *build, const struct config_built *earlier,
                      const struct config_built *later)
{
    if (strcmp(earlier->resource.name, later->resource.name) == 0)
        return config_fail(later->statement, REPLICA_E_EXISTS, build->error,
                           "a second resource %s: the first is in %s, line %d",
                           later->resource.name, earlier->resource.file, earlier->resource.line);
    for (unsigned i = 0; i < CONFIG_HOSTS; i++)
        for (unsigned j = 0; j < CONFIG_HOSTS; j++) {
            int code = hosts_check(build, earlier, later, &earlier->hosts[i], &later->hosts[j]);

            if (code)
                return code;
        }
    return 0;
}

int config_build_check(struct config_build *build)
{
    for (unsigned later = 0; later < build->count; later++) {
        const struct config_host *hosts = build->resources[later].hosts;

        if (strcmp(hosts[0].address, hosts[1].address) == 0 && hosts[0].port == hosts[1].port)
            return config_fail(build->resources[later].statement, REPLICA_E_EXISTS, build->error,
                               "resource %s: both hosts have the address %s port %u",
                               build->resources[later].resource.name, hosts[0].address,
                               (unsigned)hosts[0].port);
        for (unsigned earlier = 0; earlier < later; earlier++) {
            int code = pair_check(build, &build->resources[earlier], &build->resources[later]);

            if (code)
                return code;
        }
    }
    return 0;
}
