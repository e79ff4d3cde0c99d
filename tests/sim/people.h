/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * people.h - who acts on the two hosts: the operator, whoever else types something, the toolstack
 * that migrates a guest, and fate. A part of sim.h.
 */
#ifndef SIM_PEOPLE_H
#define SIM_PEOPLE_H

/* ---- operator.c, fault.c ---- */

void operator_look(struct sim_world *world);
void operator_answered(struct sim_host *host, enum command_kind kind, uint32_t flags, int code,
                       const char *text);
/* True when no acknowledged write can be lost by making this host Primary. */
bool operator_safe(struct sim_host *host);

/* ---- admin.c: what is typed at any moment, and what the handlers' scripts do ---- */

void admin_invalidate(struct sim_host *host);
void admin_invalidate_remote(struct sim_host *host);
bool admin_outdate(struct sim_host *host); /* true: it was typed */
void admin_verify(struct sim_host *host);
void admin_replace(struct sim_host *host); /* a new disk, where the other host has everything */
void admin_pause(struct sim_host *host);   /* pause-sync, or resume-sync */
void admin_type(struct sim_host *host);    /* what does no harm */
void admin_handler(struct sim_host *host, uint32_t argument); /* it has come to its end */

void fault_plan(struct sim_world *world); /* when the next one comes */
void fault_next(struct sim_world *world);
void fault_heal(struct sim_world *world); /* no more of them; what is broken is repaired */

/* ---- migrate.c ---- */

/* Suspends the guest that runs and moves it to the other host, if nothing else is going on. */
void migrate_begin(struct sim_world *world);
/* True: a guest is on its way, and nobody else shall decide about the roles. */
bool migrate_look(struct sim_world *world);
/* A promotion was answered. True: a migration is under way, nobody starts a guest for it. */
bool migrate_promoted(struct sim_host *host, int code);
/* The shell: ACTION_HANDOVER_ASK, the answer when it is due, ACTION_HANDOVER_END. */
void migrate_asked(struct sim_host *host, uint32_t number, bool take_back);
void migrate_answer(struct sim_host *host, uint32_t number);
void migrate_ended(struct sim_host *host, uint32_t number, bool gone);

#endif
