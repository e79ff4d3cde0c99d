/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_role.h - the part of replica.h that fake_replica.c leaves out: the role, and answers to
 * control commands, which the test reads back.
 */
#ifndef FAKE_ROLE_H
#define FAKE_ROLE_H

#include <libreplica/replica.h>

void fake_role_reset(struct replica *replica);
/* The next promotions fail so; 0: they succeed. */
void fake_role_refuse(int code, const char *text);
/* Promotions and demotions wait for fake_role_answer. */
void fake_role_hold(bool hold);
void fake_role_answer(void);
unsigned fake_role_promotions(void);
unsigned fake_role_demotions(void);

/* Of the last promotion. */
unsigned fake_role_flags(void);

/* What replica_handover_answer was last given, and how often it was called. */
unsigned fake_handover_answers(void);
int fake_handover_code(void);
const char *fake_handover_text(void);

/* A control client. */
struct replica_control_request {
    int code;
    char text[REPLICA_ERROR_TEXT_MAX];
    bool answered;
};

#endif
