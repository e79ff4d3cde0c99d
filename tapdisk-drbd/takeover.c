/* SPDX-License-Identifier: GPL-2.0-or-later */
/* takeover.c - see takeover.h. */
#include <config.h>

#include "takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool driver_loaded(const char *sysfs)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/drivers/vbd", sysfs);
    return access(path, F_OK) == 0;
}

static bool driver_has(const char *sysfs, const char *name)
{
    char path[PATH_MAX], target[PATH_MAX];
    ssize_t length;

    (void)snprintf(path, sizeof path, "%s/devices/%s/driver", sysfs, name);
    length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    return strlen(target) >= 4 && strcmp(target + strlen(target) - 4, "/vbd") == 0;
}

enum takeover takeover_vbd(const char *sysfs, uint32_t domain, uint32_t device)
{
    char name[48], path[PATH_MAX];
    int file;
    bool written;

    (void)snprintf(name, sizeof name, "vbd-%u-%u", domain, device);
    if (!driver_loaded(sysfs))
        return TAKEOVER_NO_DRIVER;
    if (!driver_has(sysfs, name))
        return TAKEOVER_UNBOUND;
    (void)snprintf(path, sizeof path, "%s/drivers/vbd/unbind", sysfs);
    file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return TAKEOVER_HELD;
    written = write(file, name, strlen(name)) == (ssize_t)strlen(name);
    (void)close(file);
    /* The driver may have let go by itself meanwhile; the link tells. */
    return driver_has(sysfs, name) || (!written && errno != ENODEV) ? TAKEOVER_HELD
                                                                    : TAKEOVER_RELEASED;
}

void takeover_load_driver(const char *sysfs)
{
    char *const arguments[] = {"modprobe", "--quiet", "xen-blkback", NULL};
    char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    pid_t child;
    int status;

    if (driver_loaded(sysfs) || access(sysfs, F_OK) != 0)
        return;
    if (posix_spawnp(&child, "modprobe", NULL, NULL, arguments, environment) != 0)
        return;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
}
