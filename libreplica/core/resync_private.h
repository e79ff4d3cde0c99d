/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resync_private.h - what the two halves of a resync share: resync.c and resync_source.c.
 */
#ifndef CORE_RESYNC_PRIVATE_H
#define CORE_RESYNC_PRIVATE_H

#include "core_private.h"

/* The log's last word on a resync; `target` is the node that is UpToDate now. */
void resync_log_done(struct core *core, const char *target);

/* A free slot of `count`; NULL when all are taken. Freed, it gives its buffer back. */
struct sync_slot *resync_slot_find(struct sync_slot *slots, uint32_t count);
void resync_slot_free(struct core *core, struct sync_slot *slot);

/* Of the source: its range is in the interval set, and the disk is asked. */
void resync_source_read(struct core *core, struct sync_slot *slot);
/* The disk has answered; takes the buffer. `digest` is NULL where none was asked for. */
void resync_source_done(struct core *core, struct sync_slot *slot, int code,
                        struct replica_buffer *buffer, bool zero, const uint8_t *digest);
void resync_source_message(struct core *core, const struct wire_message *message);
bool resync_source_pump(struct core *core); /* true when something has changed */

#endif
