/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core_private.h - struct core and the doors between the modules of the core's top half.
 *
 * How a step runs: replica_step hands the event to the module that it concerns; that module notes
 * facts and moves its state. Then core_pump asks each module in turn whether something may go on
 * now, until nothing moves. Whoever waits for durability holds a ticket of persist.c and asks in
 * its pump whether the ticket is due; nobody is called back.
 *
 * Only the modules of the core include this file.
 */
#ifndef CORE_CORE_PRIVATE_H
#define CORE_CORE_PRIVATE_H

#include "core_types.h"

/* ---- emit.c: appending actions ----------------------------------------------------------------
 */

struct action *core_emit(struct core *core, enum action_kind kind);
void core_log(struct core *core, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint64_t core_random(struct core *core);
void core_disk(struct core *core, enum replica_op op, struct range range, bool durable,
               struct replica_buffer *buffer, uint64_t tag);
/* A read into a buffer of the shell's, with its checksum. */
void core_disk_sum(struct core *core, struct range range, enum core_digest digest, uint64_t tag);
void core_release(struct core *core, struct replica_buffer *buffer); /* NULL is fine */
/* An empty message to fill in; `type` is set. */
struct wire_message *core_send(struct core *core, enum wire_type type,
                               struct replica_buffer *buffer);

/* ---- replica.c ----------------------------------------------------------------------------------
 */

enum replica_connection core_connection(const struct core *core);
enum replica_replication core_replication(const struct core *core);
bool core_suspended(const struct core *core);
/* The local disk failed: detach, and let everybody draw his conclusion. */
void core_disk_failed(struct core *core, int code, const char *what);
/* It is let go of already: the peer takes over, or is told. */
void core_disk_gone(struct core *core);
static inline bool core_has_disk(const struct core *core)
{
    return core->disk >= REPLICA_DISK_INCONSISTENT && core->disk != REPLICA_DISK_UNKNOWN;
}
/* The local disk has what a guest may read. A Primary without it is Diskless or a target itself. */
static inline bool core_has_data(const struct core *core)
{
    return core->disk >= REPLICA_DISK_CONSISTENT;
}
/* Is there an UpToDate disk that guest I/O can go to, here or through the peer? */
bool core_reachable(const struct core *core);
/* What an owner's interval let go may start. */
void core_resume(struct core *core, struct interval *list);

/* ---- persist.c ----------------------------------------------------------------------------------
 */

/* Tickets: due when everything that stood in core->super (the bitmap) at the time of the call is
 * durable. */
uint64_t persist_super(struct core *core);
bool persist_super_due(const struct core *core, uint64_t ticket);
uint64_t persist_bitmap(struct core *core);
bool persist_bitmap_due(const struct core *core, uint64_t ticket);
bool persist_pump(struct core *core);
/* True when the tag was one of persist's. */
bool persist_done(struct core *core, uint64_t tag, int code);
bool persist_idle(const struct core *core);
/* Nothing more of it is under way or wanted. */
bool persist_super_idle(const struct core *core);
/* Reads or writes `blocks` metadata blocks through the staging buffer of this index, which is free.
 */
void persist_transfer(struct core *core, uint32_t index, enum staging_use use,
                      enum action_kind kind, uint64_t offset, uint32_t blocks);

/* ---- disk_io.c ------------------------------------------------------------------------------ */

uint32_t disk_io_places(const struct core *core);
void disk_io_begin(struct core *core, uint64_t tag);
/* False: the answer comes too late, or to nothing. */
bool disk_io_end(struct core *core, uint64_t tag);
uint64_t disk_io_oldest(const struct core *core); /* UINT64_MAX: nothing is under way */
/* Lets the disk go, and answers in its place. */
void disk_io_give_up(struct core *core);
/* Gives an answer of the disk to its module. */
void core_disk_answered(struct core *core, const struct event *event);

/* ---- detach.c
 * ------------------------------------------------------------------------------------- */

void detach_begin(struct core *core);
bool detach_pump(struct core *core);

/* ---- attach.c
 * ------------------------------------------------------------------------------------- */

void attach_begin(struct core *core);
bool attach_pump(struct core *core);
void attach_read_done(struct core *core, uint32_t index, int code);
/* STATE messages of a live session: a Primary that is Diskless has a disk again. */
void attach_met(struct core *core, const struct wire_message *message);
void attach_link_lost(struct core *core);

/* ---- write.c
 * --------------------------------------------------------------------------------------- */

void request_init(struct core *core);
void request_take(struct core *core, const struct event *event);
bool request_pump(struct core *core);
void request_disk_done(struct core *core, uint64_t tag, int code);
void request_resume(struct core *core, struct request *request);
/* An answer of the peer. False: nobody asked. */
bool request_answered(struct core *core, const struct wire_message *message,
                      struct replica_buffer *buffer);
/* The peer is gone: its legs are lost, writes in flight become out-of-sync bits. Returns how many
 * writes that were. */
uint32_t request_peer_lost(struct core *core);
/* The activity log begins anew: nothing under way has references in it. */
void request_forget_extents(struct core *core);
/* No guest request is under way (parked ones do not count). */
bool request_drained(const struct core *core);
void request_unpark(struct core *core, int code); /* 0: go on; else complete them with it */
/* Completes everything that waits; used when there is no data to be reached any more. */
void request_fail_waiting(struct core *core, int code);
void request_fail_flushes(struct core *core, int code);
struct request *request_by_tag(const struct core *core, uint64_t tag);
void request_flushed(struct core *core); /* a confirm is over */

/* ---- confirm.c
 * -------------------------------------------------------------------------------------- */

bool confirm_reserve(struct core *core);
void confirm_unreserve(struct core *core);
/* A write reached both nodes; takes the reserved place. */
void confirm_add(struct core *core, struct range range);
void confirm_touched(struct core *core); /* a write was put into the activity log's unconfirmed */
/* Number of the first confirm that covers all writes that are over now; starts it if need be. */
uint64_t confirm_ticket(struct core *core);
bool confirm_due(const struct core *core, uint64_t ticket);
/* Nobody is left who wants one: the role is given up with no disk in reach. */
void confirm_forget(struct core *core);
bool confirm_pump(struct core *core);
void confirm_disk_done(struct core *core, uint64_t tag, int code);
bool confirm_answered(struct core *core, const struct wire_message *message);
/* Aborts a running confirm and turns every record into out-of-sync bits; returns their number. */
uint32_t confirm_peer_lost(struct core *core);

/* ---- peer.c
 * ------------------------------------------------------------------------------------------- */

void peer_init(struct core *core);
void peer_take(struct core *core, const struct wire_message *message,
               struct replica_buffer *buffer);
void peer_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer);
void peer_resume(struct core *core, struct peer_slot *slot);

/* ---- session.c, handshake.c
 * --------------------------------------------------------------------------- */

void session_connect(struct core *core, bool discard_my_data);
void session_link_up(struct core *core);
void session_link_down(struct core *core, int code);
bool session_pump(struct core *core);
void session_message(struct core *core, const struct wire_message *message,
                     struct replica_buffer *buffer);
/* Hangs up: tells the peer why (code and text, unless text is NULL), closes, records the loss.
 * `for_good`: StandAlone, else Connecting again. */
void session_close(struct core *core, int code, bool for_good, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* As an operator wishes; LINK_IDLE in the end. */
void session_disconnect(struct core *core);
/* A new stream at once, because the verdict of this one no longer holds. */
void session_reconnect(struct core *core);
/* The peer sent nonsense. */
void session_violation(struct core *core, const char *what);
bool session_live(const struct core *core);
bool session_handshaking(const struct core *core);
void session_send_state(struct core *core);
/* What a STATE says of this node's data: super.generation, or what its peer bears for it. */
struct generation session_generation(const struct core *core);
/* Is there room for another request of so many bytes in the peer's window? */
bool session_window(const struct core *core, uint32_t bytes);
void session_owe(struct core *core, uint32_t bytes);
void session_paid(struct core *core, uint32_t bytes);
void session_go_live(struct core *core);

void handshake_hello(struct core *core, const struct wire_message *message);
void handshake_state(struct core *core, const struct wire_message *message);
bool handshake_pump(struct core *core);
void handshake_bitmap(struct core *core, const struct wire_message *message);
void handshake_bitmap_done(struct core *core, const struct wire_message *message);
void handshake_flushed(struct core *core, uint64_t tag, int code);
void handshake_pong(struct core *core, uint64_t value);

/* ---- verdict.c
 * ------------------------------------------------------------------------------------------- */

/* Both STATEs are there: decides, and starts the session's next phase or hangs up. */
void verdict_decide(struct core *core);
/* Epoch and lineage are what the session needs: makes them durable. */
void verdict_prepare(struct core *core);
void verdict_become_uptodate(struct core *core);
/* Both are Primary; the session is about to end. Tells the handlers. */
void verdict_two_primaries(struct core *core);
/* Of the two STATEs: a Primary without a disk meets the node that it lived from, unchanged. */
bool verdict_lives_on(const struct core *core);
void verdict_handler_done(struct core *core, const struct event *event);

/* ---- loss.c
 * -------------------------------------------------------------------------------------------- */

void loss_peer(struct core *core);   /* the session ended */
void loss_record(struct core *core); /* the first write without a peer wants to run */
/* Our disk is gone, the peer's is good: it has to know before anything more is completed. */
void loss_disk(struct core *core);
void loss_disk_answered(struct core *core, const struct wire_message *message);
bool loss_pump(struct core *core);

/* Demoted while frozen: what the guest was never told is told to have failed. */
void loss_give_up(struct core *core);
void loss_resume(struct core *core); /* the operator says so */
void loss_over(struct core *core);   /* the peer is back */

/* ---- fence.c
 * ------------------------------------------------------------------------------------------- */

/* Asks for a handler if there is a script for it; nobody waits for its answer. */
void handler_run(struct core *core, enum core_handler handler);
bool handler_there_is(const struct core *core, enum core_handler handler);
void fence_handler_done(struct core *core, const struct event *event);
void fence_peer_lost(struct core *core); /* by a Primary */
void fence_peer_lost_again(struct core *core);
void fence_peer_met(struct core *core); /* in a handshake: what was known of it is over */
void fence_peer_back(struct core *core);
/* A Primary without its peer must not go on: nobody is sure that the peer stands still. */
bool fence_holds(const struct core *core);
/* May a promotion without the peer go on? False: the handler runs, or the command was answered. */
bool fence_promotes(struct core *core);
/* A promotion is not to be judged by the disk's state before the handler has spoken. */
bool fence_judges(const struct core *core);
bool fence_pump(struct core *core);

/* ---- invalidate.c
 * ------------------------------------------------------------------------------------------- */

void invalidate_begin(struct core *core);
void invalidate_remote_begin(struct core *core);
void outdate_begin(struct core *core);
bool invalidate_pump(struct core *core);
void invalidate_asked(struct core *core, const struct wire_message *message);
void invalidate_answered(struct core *core, const struct wire_message *message);
void invalidate_granted(struct core *core);

/* ---- role.c
 * --------------------------------------------------------------------------------------------- */

void role_promote(struct core *core);
void role_demote(struct core *core);
bool role_pump(struct core *core);
void role_promote_asked(struct core *core, const struct wire_message *message);
void role_promote_answered(struct core *core, const struct wire_message *message);
void role_peer_demoted(struct core *core, const struct wire_message *message);
void role_link_lost(struct core *core);
void role_new_uuid(struct core *core);
void role_new_uuid_asked(struct core *core, const struct wire_message *message);
void role_new_uuid_answered(struct core *core, const struct wire_message *message);

/* ---- handover.c
 * ------------------------------------------------------------------------------------------- */

/* The peer's PROMOTE has found us Primary. */
void handover_asked(struct core *core, const struct wire_message *message);
void handover_answered(struct core *core, uint32_t number, int code, const char *text);
/* What the peer says to our PROMOTE. */
void handover_told(struct core *core, const struct wire_message *message);
bool handover_pump(struct core *core);
void handover_link_lost(struct core *core);
void handover_disk_failed(struct core *core);
bool handover_parks(const struct core *core);        /* guest requests wait */
bool handover_half_durable(const struct core *core); /* the superblock may say either role */
uint64_t handover_deadline(const struct core *core);
enum replica_handover handover_status(const struct core *core, uint64_t *since);

/* ---- command.c
 * ------------------------------------------------------------------------------------------- */

void command_take(struct core *core, const struct event *event);
bool command_pump(struct core *core);
/* Answers the command under way. */
void command_answer(struct core *core, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The role is given back; go on with `down`, or answer. */
void command_demoted(struct core *core);

/* ---- state.c
 * ---------------------------------------------------------------------------------------------- */

/* May this command run now? 0, or the refusal's code and its text. */
int state_allows(const struct core *core, enum command_kind command, uint32_t flags,
                 char text[ACTION_TEXT_MAX]);

/* ---- resync.c
 * ---------------------------------------------------------------------------------------------- */

void resync_init(struct core *core);
void resync_begin(struct core *core);
bool resync_pump(struct core *core);
void resync_message(struct core *core, const struct wire_message *message,
                    struct replica_buffer *buffer);
void resync_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer,
                      bool zero, const uint8_t *digest);
void resync_resume(struct core *core, struct sync_slot *slot);
void resync_link_lost(struct core *core);
/* In a live session: the target's disk is gone. */
void resync_abort(struct core *core);
bool resync_idle(const struct core *core); /* no disk I/O of it under way */
uint64_t resync_deadline(const struct core *core);
uint64_t resync_oldest(const struct core *core); /* when the oldest unanswered ask was sent, or
                                                     UINT64_MAX */

/* ---- csums.c
 * ---------------------------------------------------------------------------------------------- */

/* Target: asks for the slot's range, now or when its checksum is there. */
void csums_ask(struct core *core, struct sync_slot *slot);
void csums_summed(struct core *core, struct sync_slot *slot, int code, const uint8_t *digest);
/* Source: notes the checksum of a RESYNC_SUM. False: an impossible one. */
bool csums_asked(struct sync_slot *slot, const struct wire_message *message);
/* Source: answers that the target has what is here. False: it has not, or nobody knows. */
bool csums_equal(struct core *core, const struct sync_slot *slot, const uint8_t *digest);

/* ---- pace.c
 * -----------------------------------------------------------------------------------------------
 */

void pace_look(struct core *core);  /* at the beginning of each step */
void pace_begin(struct core *core); /* a resync or a verification begins */
/* May so much more be asked for, with `under_way` bytes not answered yet? */
bool pace_allows(const struct core *core, uint32_t under_way, uint32_t bytes);
void pace_took(struct core *core, uint32_t bytes); /* it was asked for */
uint32_t pace_tell(const struct core *core);       /* flags for an answer */
void pace_told(struct core *core, uint32_t flags);
bool pace_busy(const struct core *core);
bool pace_throttled(const struct core *core);
uint64_t pace_rate(const struct core *core); /* bytes a second; 0: no limit */
uint64_t pace_deadline(const struct core *core);

/* ---- pause.c
 * ---------------------------------------------------------------------------------------------- */

bool pause_holds(const struct core *core); /* the target asks for nothing */
void pause_begin(struct core *core);       /* a resync begins */
/* As the operator wishes: 0, or why not. */
int pause_set(struct core *core, bool paused, char text[ACTION_TEXT_MAX]);
void pause_told(struct core *core, const struct wire_message *message);

/* ---- verify.c
 * ---------------------------------------------------------------------------------------------- */

void verify_init(struct core *core);
void verify_begin(struct core *core);
bool verify_pump(struct core *core);
void verify_message(struct core *core, const struct wire_message *message);
void verify_disk_done(struct core *core, uint64_t tag, int code, struct replica_buffer *buffer,
                      const uint8_t *digest);
void verify_resume(struct core *core, struct verify_slot *slot);
void verify_link_lost(struct core *core);
uint64_t verify_deadline(const struct core *core);
bool verify_idle(const struct core *core);       /* no disk I/O of it under way */
uint64_t verify_oldest(const struct core *core); /* as resync_oldest */

/* ---- grow.c
 * -------------------------------------------------------------------------------------------------
 */

/* Errors: those of metadata_grow. Up to grow_switch it can be given up; then the phase tells. */
int grow_begin(struct core *core, const struct grow_wish *wish, struct replica_error *error);
void grow_abandon(struct core *core);
void grow_switch(struct core *core); /* GROW_READY: the superblock may be written */
/* The disk failed before the superblock was durable in its new place (grow.former): the other place
 * is the present one now. */
void grow_look_elsewhere(struct core *core);
bool grow_pump(struct core *core);
bool grow_holds(const struct core *core); /* no other metadata write may begin */
void grow_transferred(struct core *core, int code);

/* ---- resize.c
 * -----------------------------------------------------------------------------------------------
 */

void resize_begin(struct core *core);
void resize_measured(struct core *core, const struct event *event);
void resize_asked(struct core *core, const struct wire_message *message);
void resize_answered(struct core *core, const struct wire_message *message);
/* A STATE has told that the peer has so many bytes of data, and we have not. */
void resize_differs(struct core *core, uint64_t theirs);
void resize_link_lost(struct core *core);
void resize_disk_failed(struct core *core);
bool resize_pump(struct core *core);
bool resize_busy(const struct core *core);
bool resize_refuses(const struct core *core, enum command_kind kind); /* not now */
uint64_t resize_oldest(const struct core *core);                      /* as resync_oldest */

/* ---- liveness.c
 * --------------------------------------------------------------------------------------------- */

void liveness_start(struct core *core);
void liveness_heard(struct core *core);
void liveness_ping_now(struct core *core);
void liveness_pump(struct core *core);
void liveness_disk_asked(struct core *core);
/* Has it been hanging for too long? */
void liveness_look_at_disk(struct core *core);
uint64_t liveness_deadline(const struct core *core);

#endif
