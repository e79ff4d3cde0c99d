/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resize_private.h - between resize.c and resize_follow.c. */
#ifndef CORE_RESIZE_PRIVATE_H
#define CORE_RESIZE_PRIVATE_H

#include "core_private.h"

/* ---- resize.c */

void resize_answer(struct core *core, uint64_t tag, enum core_resize_step step, int code,
                   const char *text);
/* Asks the shell how large the devices are; goes on in resize_measured. */
void resize_measure(struct core *core, enum resize_phase phase);
/* Nothing else goes on that a resize would meet: 0 or a code. */
int resize_may_begin(const struct core *core);
/* What this node could hold, and where its old metadata would lie inside the data. */
int resize_weigh(struct core *core, const struct event *event, struct replica_error *error);
int resize_start_growing(struct core *core, struct replica_error *error);

/* ---- resize_follow.c */

void follow_prepare(struct core *core, const struct wire_message *message);
void follow_measured(struct core *core, const struct event *event);
void follow_copy(struct core *core, const struct wire_message *message);
void follow_commit(struct core *core);
void follow_abort(struct core *core);
void catch_up_measured(struct core *core, const struct event *event);
void catch_up_fails(struct core *core, const char *text);

#endif
