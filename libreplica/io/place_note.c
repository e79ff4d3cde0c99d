/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_note.c - see place_note.h. */
#include <config.h>

#include "libreplica/io/place_note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libreplica/core/err.h"

const char *place_directory(const char *run_dir)
{
    return strcmp(run_dir, RUNSTATEDIR "/tapdrbd") == 0 ? LOCALSTATEDIR "/lib/tapdrbd" : run_dir;
}

void place_path(const char *directory, const char *resource, char path[PLACE_PATH_MAX])
{
    (void)snprintf(path, PLACE_PATH_MAX, "%s/%s.place", directory, resource);
}

int place_sync(const char *path)
{
    char directory[PLACE_PATH_MAX];
    char *slash;
    int fd, result;

    (void)snprintf(directory, sizeof directory, "%s", path);
    slash = strrchr(directory, '/');
    if (slash)
        *slash = '\0';
    fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    result = fsync(fd);
    close(fd);
    return result;
}

int place_forget(const char *directory, const char *resource, struct replica_error *error)
{
    char path[PLACE_PATH_MAX];

    place_path(directory, resource, path);
    if (unlink(path) == 0 ? place_sync(path) == 0 : errno == ENOENT)
        return 0;
    return err_set(error, REPLICA_E_SYSTEM,
                   "%s: %s: remove it, for it says where the metadata were before", path,
                   strerror(errno));
}
