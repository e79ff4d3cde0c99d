/* SPDX-License-Identifier: GPL-2.0-or-later */
/* role.pml - who may write: promotion, demotion, handover. See ownership.pml. */

/* ---- command.c ------------------------------------------------------------------------------- */

inline command_answer(n, code)
{
    CORE.done = (only_over_link(n) -> 1 : 0); /* by xl */
    CORE.failed = (only_over_link(n) -> code : 0);
    CORE.command = COMMAND_IDLE;
    CORE.flags = PLAIN;
    CORE.epoch = (CORE.handover == HANDOVER_NONE -> 0 : CORE.epoch)
}

/* ---- role.c: what handover.c needs of it ----------------------------------------------------- */

inline take_role(n, under)
{
    CORE.super.epoch = under;
    CORE.super.primary = 1;
    if
    :: CORE.disk != UPTODATE -> /* is_forced: force_uptodate */
        lineage_new_current(n);
        CORE.super.uptodate = 1
    :: else
    fi;
    CORE.command = COMMAND_PROMOTE_PERSIST;
    persist_super(n, CORE.command_ticket)
}

/* ---- handover.c ------------------------------------------------------------------------------ */

/* ACTION_HANDOVER_END */
inline tell_shell(n)
{
    CORE.held = 0;
    CORE.take_back = 0;
    CORE.epoch = 0
}

/* The role stays. */
inline keep(n)
{
    if
    :: CORE.handover == HANDOVER_PERSIST ->
        CORE.super.primary = 1;
        persist_super(n, CORE.handover_ticket)
    :: else -> CORE.handover_ticket = 0
    fi;
    CORE.handover = HANDOVER_REVERT
}

inline handover_refuse(n)
{
    core_send(n, HANDOVER, REFUSED, 0, 0);
    keep(n)
}

inline handover_asked(n, under, back)
{
    if
    :: CORE.handover != HANDOVER_NONE || CORE.command != COMMAND_IDLE || CORE.grant ||
       CORE.loss != LOSS_NONE || under != CORE.super.epoch + 1 || CORE.peer_disk != UPTODATE ->
        core_send(n, HANDOVER, REFUSED, 0, 0)
    :: else ->
        CORE.handover = HANDOVER_ASK;
        CORE.epoch = under;
        CORE.take_back = back;
        core_send(n, HANDOVER, OK, 0, 0)
    fi
}

inline handover_told(n, code)
{
    assert(CORE.command == COMMAND_PROMOTE_ASK || CORE.command == COMMAND_PROMOTE_HANDOVER);
    if
    :: code != OK -> command_answer(n, REFUSED)
    :: else -> CORE.command = COMMAND_PROMOTE_HANDOVER
    fi
}

inline grant_away(n)
{
    oracle_granted(n, CORE.epoch);
    core_send(n, PROMOTE_ACK, CORE.epoch, OK, 0)
}

/* A confirm of both nodes is over. */
inline handover_confirmed(n)
{
    CORE.super.primary = 0;
    CORE.super.epoch = CORE.epoch;
    CORE.handover = HANDOVER_PERSIST;
#if MUTANT_GRANT_FIRST
    grant_away(n); /* and demotes only then */
#endif
    persist_super(n, CORE.handover_ticket)
}

inline handover_pump(n)
{
    if
    :: CORE.handover == HANDOVER_DRAIN && CORE.request == REQUEST_FREE ->
        CORE.handover = HANDOVER_CONFIRM;
        moved = 1
    :: CORE.handover == HANDOVER_PERSIST && CORE.handover_ticket == 0 ->
        CORE.role = SECONDARY;
        CORE.peer_role = PRIMARY;
        CORE.handover = HANDOVER_NONE;
#if !MUTANT_GRANT_FIRST
        grant_away(n);
#endif
        tell_shell(n);
        moved = 1
    :: CORE.handover == HANDOVER_REVERT && CORE.handover_ticket == 0 ->
        CORE.handover = HANDOVER_NONE;
        tell_shell(n);
        moved = 1
    :: else
    fi
}

inline handover_link_lost(n)
{
    if
    :: CORE.handover != HANDOVER_NONE && CORE.handover != HANDOVER_REVERT -> keep(n)
    :: else
    fi;
    if
    :: CORE.command == COMMAND_PROMOTE_HANDOVER ->
#if MUTANT_TAKER_ALONE
        take_role(n, CORE.super.epoch + 1)
#else
        command_answer(n, REFUSED)
#endif
    :: else
    fi
}

/* ---- role.c ---------------------------------------------------------------------------------- */

inline answer_primary(n)
{
    if
    :: CORE.flags == COMMAND_CONNECTED && !session_live(n) -> command_answer(n, REFUSED)
    :: else -> command_answer(n, OK)
    fi
}

inline promote_alone(n)
{
    if
    :: CORE.flags == COMMAND_CONNECTED -> command_answer(n, REFUSED); moved = 1
#if !MUTANT_BACK_ALONE
    :: CORE.flags == COMMAND_TAKE_BACK -> command_answer(n, REFUSED); moved = 1
#endif
    :: else ->
        if
        :: !CORE.peer_used ->
            moved = 1;
            promoted_alone = 1;
            take_role(n, CORE.super.epoch + 1)
        :: else
        fi
    fi
}

inline promote_wait(n)
{
    if
    :: session_handshaking(n) || CORE.grant || CORE.handover != HANDOVER_NONE
    :: else ->
    if
    :: CORE.role == PRIMARY -> answer_primary(n); moved = 1
    :: else ->
    promotes = 1;
    if
    :: !only_over_link(n) -> fence_promotes(n)
    :: else
    fi;
    if
    :: !promotes
    :: else ->
    if
    :: CORE.disk == INCONSISTENT || (CORE.disk < UPTODATE && CORE.flags != COMMAND_FORCE) ||
       (CORE.disk < UPTODATE && session_live(n)) -> /* state_allows */
        command_answer(n, REFUSED);
        moved = 1
    :: else ->
    if
    :: !session_live(n) -> promote_alone(n)
    :: else ->
        moved = 1;
#if MUTANT_NO_ASK
        take_role(n, CORE.super.epoch + 1)
#else
        CORE.command = COMMAND_PROMOTE_ASK;
        CORE.epoch = CORE.super.epoch + 1;
        core_send(n, PROMOTE, CORE.epoch, (CORE.flags == COMMAND_TAKE_BACK), 0)
#endif
    fi fi fi fi fi
}

inline role_promote_answered(n, under, code)
{
    assert(CORE.command == COMMAND_PROMOTE_ASK || CORE.command == COMMAND_PROMOTE_HANDOVER);
    if
    :: code == OK ->
        CORE.peer_role = SECONDARY;
        x = CORE.epoch;
        assert(under == x);
        CORE.epoch = 0;
        take_role(n, x)
    :: else -> command_answer(n, REFUSED)
    fi
}

inline role_promote_asked(n, under, back)
{
    if
    :: CORE.role == PRIMARY -> handover_asked(n, under, back)
    :: else ->
    if /* may_grant; node 0 is the first */
    :: CORE.command == COMMAND_PROMOTE_PERSIST ||
       (CORE.command == COMMAND_PROMOTE_ASK && n == 0) || CORE.grant ||
       under != CORE.super.epoch + 1 || CORE.peer_disk != UPTODATE ->
        core_send(n, PROMOTE_ACK, CORE.super.epoch, REFUSED, 0)
    :: else ->
#if MUTANT_GRANT_UNSAVED
        CORE.super.epoch = under;
        CORE.peer_role = PRIMARY;
        oracle_granted(n, under);
        core_send(n, PROMOTE_ACK, under, OK, 0)
#else
        CORE.super.epoch = under;
        CORE.grant = 1;
        persist_super(n, CORE.grant_ticket)
#endif
    fi fi
}

inline pump_grant(n)
{
    if
    :: CORE.grant && CORE.grant_ticket == 0 ->
        CORE.grant = 0;
        CORE.peer_role = PRIMARY;
        oracle_granted(n, CORE.super.epoch);
        core_send(n, PROMOTE_ACK, CORE.super.epoch, OK, 0);
        moved = 1
    :: else
    fi
}

/* The peer is lost already. When it went after it had granted the role, nobody has fenced it. */
inline begin_alone(n)
{
    CORE.mode = (CORE.disk != UPTODATE -> MODE_ALONE : CORE.mode); /* forced */
    if
    :: CORE.fence == FENCE_NONE -> fence_peer_lost(n)
    :: else
    fi
}

inline role_pump(n)
{
    pump_grant(n);
    if
    :: CORE.command == COMMAND_DEMOTE_DRAIN || CORE.command == COMMAND_DEMOTE_CONFIRM ||
       CORE.command == COMMAND_DEMOTE_PERSIST -> loss_give_up(n)
    :: else
    fi;
    if
    :: CORE.command == COMMAND_PROMOTE_WAIT -> promote_wait(n)
#if MUTANT_ROLE_UNSAVED
    :: CORE.command == COMMAND_PROMOTE_PERSIST ->
#else
    :: CORE.command == COMMAND_PROMOTE_PERSIST && CORE.command_ticket == 0 ->
#endif
        oracle_promoted(n);
        CORE.role = PRIMARY;
        if
        :: !session_live(n) -> begin_alone(n)
        :: else -> assert(CORE.disk == UPTODATE)
        fi;
        CORE.disk = UPTODATE;
        command_answer(n, OK);
        moved = 1
    :: CORE.command == COMMAND_DEMOTE_DRAIN && CORE.request == REQUEST_FREE ->
        CORE.command = COMMAND_DEMOTE_CONFIRM;
        moved = 1
    :: CORE.command == COMMAND_DEMOTE_PERSIST && CORE.command_ticket == 0 &&
       CORE.loss == LOSS_NONE ->
        CORE.role = SECONDARY;
        if
        :: session_live(n) -> core_send(n, DEMOTED, CORE.super.epoch, 0, 0)
        :: else
        fi;
        command_answer(n, OK);
        moved = 1
    :: else
    fi
}

inline role_peer_demoted(n, under)
{
    assert(CORE.peer_role == PRIMARY && under == CORE.super.epoch);
    CORE.peer_role = SECONDARY
}

/* A confirm of both nodes is over. */
inline demote_confirmed(n)
{
    CORE.super.primary = 0;
    CORE.command = COMMAND_DEMOTE_PERSIST;
    persist_super(n, CORE.command_ticket)
}

inline role_link_lost(n)
{
    handover_link_lost(n);
    if
    :: CORE.command == COMMAND_PROMOTE_ASK -> CORE.command = COMMAND_PROMOTE_WAIT; CORE.epoch = 0
    :: else
    fi
}
