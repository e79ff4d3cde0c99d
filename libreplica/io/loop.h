/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - the library's own view of the loop: io_uring operations, polling, draining. The public
 * part (watches, timers, turn-end hooks) stands in replica.h.
 *
 * One turn: submit what was prepared and wait; deliver the completions that are there; fire the
 * timers that are due; run the turn-end hooks, the library's before the clients'. While idle
 * nothing wakes the process but its timers.
 *
 * A loop belongs to the thread that made it; make it after a fork, not before.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <liburing.h>

#include "libreplica/replica.h"

/* Embedded in its owner; its address is the io_uring user_data. It must stay put until `done`,
 * which is called exactly once for each submission. */
struct loop_op {
    void (*done)(struct loop_op *op, int result);
    bool client; /* leads into a client's callback: held back by loop_drain */
};

/* Adaptive polling: after a wait that ended within `most_ns`, the next waits first spin on the
 * completion queue, longer each time, up to `most_ns`; a longer wait shortens it to nothing. A
 * sleeping processor costs more than the spin (tens of microseconds of wake-up). 0: never spin. */
struct loop_polling {
    uint32_t most_ns;
    uint32_t now_ns; /* what the next wait will spin */
};

enum { LOOP_POLLING_NS = 50000 };

struct loop_counters {
    uint64_t turns;
    uint64_t sleeps; /* waits that gave the processor away */
    uint64_t spins;  /* waits that spinning ended */
};

/* A submission entry, never NULL, already leading to `op` (NULL: nobody is told). The caller
 * prepares it with io_uring_prep_*, which leave user_data alone. It is submitted at the end of the
 * turn. */
struct io_uring_sqe *loop_sqe(struct replica_loop *loop, struct loop_op *op);

/* Submits now what was prepared so far: for work that should start before a long computation. */
void loop_submit(struct replica_loop *loop);

/* Submits, and lets the kernel finish what a cancellation ended: files are let go at once. What
 * completed is delivered in the next turn. */
void loop_settle(struct replica_loop *loop);

/* There is work for the hooks: the coming wait does not sleep. */
void loop_kick(struct replica_loop *loop);

/* A library hook: runs before the clients' at every turn's end. Errors: REPLICA_E_MEMORY. */
int loop_hook(struct replica_loop *loop, void (*turn_end)(void *argument), void *argument);
void loop_unhook(struct replica_loop *loop, void *argument);

/* Waits until `pending` says false, delivering only the library's own completions; what leads to
 * a client waits for the next turn. For replica_close. */
void loop_drain(struct replica_loop *loop, bool (*pending)(void *argument), void *argument);

/* Something happened after which the process must not go on: replica_loop_run returns. */
void loop_fail(struct replica_loop *loop, int reason);

struct loop_polling *loop_polling(struct replica_loop *loop);
const struct loop_counters *loop_counters(const struct replica_loop *loop);

#endif
