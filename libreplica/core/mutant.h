/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mutant.h - planted bugs, to prove that the simulator can fail.
 *
 * MUTANT(name) stands in the condition that the bug breaks: `if (MUTANT(ack_early) || both_done)`.
 * It is 0 in everything that is installed. Only the simulator is built with CORE_MUTANTS; it then
 * switches on one bug at a time.
 */
#ifndef CORE_MUTANT_H
#define CORE_MUTANT_H

#ifdef CORE_MUTANTS

/* name, what the bug does */
#define CORE_MUTANT_LIST(X) X(ack_before_peer, "a write completes without waiting for the peer")

enum core_mutant {
    CORE_MUTANT_NONE,
#define CORE_MUTANT_ENUM(name, what) CORE_MUTANT_##name,
    CORE_MUTANT_LIST(CORE_MUTANT_ENUM)
#undef CORE_MUTANT_ENUM
        CORE_MUTANT_COUNT
};

extern enum core_mutant core_mutant; /* the one that is switched on; the simulator's */

#define MUTANT(name) (core_mutant == CORE_MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
