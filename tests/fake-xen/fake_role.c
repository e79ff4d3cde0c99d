/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_role.c - see fake_role.h. */
#include "fake_role.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/fake/fake_replica.h"

static struct roles {
    struct replica *replica;
    int code;
    const char *text;
    bool hold;
    enum replica_role wanted;
    replica_done *done;
    void *argument;
    unsigned promotions, demotions, flags;
    unsigned answers;
    uint32_t number;
    int answer_code;
    char answer_text[REPLICA_ERROR_TEXT_MAX];
} roles;

void fake_role_reset(struct replica *replica)
{
    roles = (struct roles){.replica = replica, .text = ""};
    fake_replica_role(replica, REPLICA_ROLE_SECONDARY);
}

void fake_role_refuse(int code, const char *text)
{
    roles.code = code;
    roles.text = text;
}

void fake_role_hold(bool hold)
{
    roles.hold = hold;
}

unsigned fake_role_promotions(void)
{
    return roles.promotions;
}

unsigned fake_role_demotions(void)
{
    return roles.demotions;
}

unsigned fake_role_flags(void)
{
    return roles.flags;
}

unsigned fake_handover_answers(void)
{
    return roles.answers;
}

int fake_handover_code(void)
{
    return roles.answer_code;
}

const char *fake_handover_text(void)
{
    return roles.answer_text;
}

void fake_role_answer(void)
{
    replica_done *done = roles.done;

    if (!done)
        return;
    roles.done = NULL;
    if (roles.code == 0)
        fake_replica_role(roles.replica, roles.wanted);
    done(roles.argument, roles.code, roles.text);
}

static void want(enum replica_role role, replica_done *done, void *argument)
{
    if (roles.done)
        abort(); /* one at a time */
    roles.wanted = role;
    roles.done = done;
    roles.argument = argument;
    if (!roles.hold)
        fake_role_answer();
}

void replica_promote(struct replica *replica, unsigned flags, replica_done *done, void *argument)
{
    (void)replica;
    roles.flags = flags;
    roles.promotions++;
    want(REPLICA_ROLE_PRIMARY, done, argument);
}

void replica_handover_answer(struct replica *replica, uint32_t number, int code, const char *text)
{
    (void)replica;
    roles.answers++;
    roles.number = number;
    roles.answer_code = code;
    (void)snprintf(roles.answer_text, sizeof roles.answer_text, "%s", text);
}

void replica_demote(struct replica *replica, replica_done *done, void *argument)
{
    (void)replica;
    roles.demotions++;
    want(REPLICA_ROLE_SECONDARY, done, argument);
}

void replica_control_reply(struct replica_control_request *request, int code, const char *text,
                           const char *json)
{
    (void)json;
    if (request->answered)
        abort();
    request->answered = true;
    request->code = code;
    (void)snprintf(request->text, sizeof request->text, "%s", text ? text : "");
}
