/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pause.c - pause-sync and resume-sync: an operator holds a resync back.
 *
 * Each node has a flag of its own, which its operator sets and clears and which lives as long as
 * the process. The peer hears of it in each STATE, and by SYNC_PAUSE when it changes. The target
 * asks for nothing while either flag is set; what was asked for already is still written, flushed
 * and acknowledged. So a pause costs nothing, and the resync goes on where it was.
 */
#include "core_private.h"

#include <stdio.h>

bool pause_holds(const struct core *core)
{
    return core->pause.ours || core->pause.peers;
}

/* Counts the time for which the present resync stood still. */
static void clock_it(struct core *core)
{
    struct pause *pause = &core->pause;

    if (pause_holds(core) && !pause->since) {
        pause->since = core->now ? core->now : 1;
    } else if (!pause_holds(core) && pause->since) {
        pause->total += core->now - pause->since;
        pause->since = 0;
    }
}

void pause_begin(struct core *core)
{
    core->pause.total = core->pause.since = 0;
    clock_it(core);
}

static void log_change(struct core *core, bool paused, const char *node)
{
    clock_it(core);
    core_log(core, LOG_LEVEL_NOTICE, "%s: %s has %s the resync%s", core->config.resource, node,
             paused ? "paused" : "resumed",
             !paused && pause_holds(core) ? ", which the other node still holds back" : "");
}

int pause_set(struct core *core, bool paused, char text[ACTION_TEXT_MAX])
{
    struct wire_message *message;

    if (core->pause.ours == paused) {
        snprintf(text, ACTION_TEXT_MAX,
                 paused ? "%s: %s has paused the resync already"
                        : "%s: %s has not paused the resync; see resync-suspended in `tapdrbdadm "
                          "status`",
                 core->config.resource, core->config.node);
        return REPLICA_E_STATE;
    }
    core->pause.ours = paused;
    if (core->session.link == LINK_UP && core->session.phase >= SESSION_STATE) {
        message = core_send(core, WIRE_SYNC_PAUSE, NULL);
        message->flags = paused ? CORE_PAUSE_SET : 0;
    }
    log_change(core, paused, core->config.node);
    return 0;
}

void pause_told(struct core *core, const struct wire_message *message)
{
    bool paused = message->flags & CORE_PAUSE_SET;

    if (core->session.phase <= SESSION_STATE) {
        session_violation(core, "SYNC_PAUSE before its STATE");
        return;
    }
    if (core->pause.peers == paused || (!paused && MUTANT(resume_unheard)))
        return;
    core->pause.peers = paused;
    log_change(core, paused, core->config.peer_node);
}
