/* SPDX-License-Identifier: GPL-2.0-or-later */
/* queue_limits.c - see queue_limits.h. */
#include "queue_limits.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* A partition has no queue of its own: it stands beside its disk's. */
static uint64_t read_limit(const char *sysfs, dev_t device, const char *name)
{
    static const char *const places[] = {"queue", "../queue"};
    uint64_t limit = 0;

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        char path[PATH_MAX];
        FILE *file;
        int fields;

        (void)snprintf(path, sizeof path, "%s/%u:%u/%s/%s", sysfs, major(device), minor(device),
                       places[i], name);
        file = fopen(path, "re");
        if (!file)
            continue;
        fields = fscanf(file, "%" SCNu64, &limit);
        (void)fclose(file);
        return fields == 1 ? limit : 0;
    }
    return 0;
}

bool queue_limits_discard(const char *sysfs, dev_t device)
{
    return read_limit(sysfs, device, "discard_max_bytes") > 0 &&
           read_limit(sysfs, device, "write_zeroes_max_bytes") > 0;
}
