/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_note.h - the file in which place.h keeps where internal metadata are: where it is, and its
 * end. Blocking calls, for the admin command too. */
#ifndef IO_PLACE_NOTE_H
#define IO_PLACE_NOTE_H

#include "libreplica/replica.h"

enum { PLACE_PATH_MAX = 600 };

/* The directory of the notes: what must outlive a reboot of the host. Whoever has a run directory
 * of his own keeps everything there. */
const char *place_directory(const char *run_dir);

void place_path(const char *directory, const char *resource, char path[PLACE_PATH_MAX]);

/* The name of the note is durable, or that there is none. -1 with errno: it is not known. */
int place_sync(const char *path);

/* From now on metadata are at the device's end and nowhere else: fresh ones have been written
 * there. Durable when it returns; no note is no error.
 * Errors: REPLICA_E_SYSTEM. */
int place_forget(const char *directory, const char *resource, struct replica_error *error);

#endif
