/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * request_private.h - what request.c and write.c have of each other: both halves of the life of a
 * guest's request. Nobody else includes it.
 */
#ifndef CORE_REQUEST_PRIVATE_H
#define CORE_REQUEST_PRIVATE_H

#include "core_private.h"

/* ---- request.c --------------------------------------------------------------------------------
 */

void request_queue_push(struct request_queue *queue, struct request *request,
                        enum request_phase phase);
struct request *request_queue_pop(struct request_queue *queue);
uint64_t request_tag(const struct request *request);
bool request_is_write(const struct request *request);
/* Payload that its message carries. */
uint32_t request_wire_bytes(const struct request *request);
/* Sends the piece, and notes that the peer owes an answer. */
void request_send(struct core *core, struct request *request);
/* The peer has answered, or never will. */
void request_owed_remove(struct core *core, struct request *request);
/* Answers the guest; the slot is free. */
void request_complete(struct core *core, struct request *request, int code);

bool request_pump_reads(struct core *core);
/* One way has answered a read. With a code it tries the other way, or fails. */
void request_unreadable(struct core *core, struct request *request, int code);
void request_read_over(struct core *core, struct request *request, int code);
/* False: the peer's answer does not fit the question. */
bool request_read_answered(struct core *core, struct request *request,
                           const struct wire_message *message, struct replica_buffer *buffer);

/* ---- write.c ----------------------------------------------------------------------------------
 */

/* The first piece, or the next, begins at this byte. */
void request_set_piece(struct request *request, uint64_t offset);

#endif
