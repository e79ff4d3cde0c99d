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

static int sync_directory(const char *path)
{
    int result, fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    result = fsync(fd);
    close(fd);
    return result;
}

int place_forget(const char *directory, const char *resource, struct replica_error *error)
{
    char path[600];

    (void)snprintf(path, sizeof path, "%s/%s.place", directory, resource);
    if (unlink(path) == 0 ? sync_directory(directory) == 0 : errno == ENOENT)
        return 0;
    return err_set(error, REPLICA_E_SYSTEM,
                   "%s: %s: remove it, for it says where the metadata were before", path,
                   strerror(errno));
}
