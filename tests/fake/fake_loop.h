/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_loop.h - the loop of replica.h over poll(2): a test turns it by hand, and moves its clock.
 */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H

#include <libreplica/replica.h>

/* One turn: waits at most `milliseconds` for something to happen. */
void fake_loop_turn(struct replica_loop *loop, int milliseconds);
/* Moves the loop's clock forward. */
void fake_loop_advance(struct replica_loop *loop, uint64_t nanoseconds);

/* What is done in each turn after watches and timers; a turn does not wait while `waiting` says
 * that there is some. */
struct fake_loop_work {
    bool (*waiting)(void *argument);
    void (*run)(void *argument);
    void *argument;
};
void fake_loop_work(struct replica_loop *loop, const struct fake_loop_work *work);

#endif
