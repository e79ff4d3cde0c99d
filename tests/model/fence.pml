/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fence.pml - is it sure that the lost peer stands still? The handler's script. See ownership.pml. */

/* ---- fence.c --------------------------------------------------------------------------------- */

#define HANDLER_IDLE 0
#define HANDLER_RUNS 1
#define HANDLER_OUTDATES 2 /* has typed `outdate` at the peer */
#define HANDLER_TELLS 3    /* has come to `status`; its end is on its way */

inline ask(n, why)
{
    CORE.promoting = why;
    if
    :: CORE.fence == FENCE_RUNS || CORE.fence == FENCE_ANSWERED
    :: else ->
        CORE.fence = FENCE_RUNS;
        CORE.status = 0;
        CORE.handler = HANDLER_RUNS /* what an older one says counts no more: its serial */
    fi
}

inline fence_peer_back(n)
{
    CORE.fence = FENCE_NONE;
    CORE.promoting = 0;
    CORE.status = 0;
    CORE.handler = HANDLER_IDLE
}

inline fence_peer_lost(n)
{
    fence_peer_back(n);
    if
    :: FENCING && !CORE.super.peer_outdated -> ask(n, 0)
    :: else
    fi
}

inline fence_peer_lost_again(n)
{
    if
    :: CORE.role == PRIMARY && CORE.fence == FENCE_NONE -> fence_peer_lost(n)
    :: else
    fi
}

inline fence_peer_met(n)
{
    CORE.super.peer_outdated = 0;
#if !MUTANT_FENCE_OUTLIVES
    fence_peer_back(n)
#endif
}

inline outdate_self(n)
{
    if
    :: CORE.role != PRIMARY && CORE.disk > OUTDATED ->
        CORE.disk = OUTDATED;
        CORE.super.uptodate = 0;
        persist_super(n, x) /* nobody waits for it */
    :: else
    fi
}

/* peer_disk_by: is this enough to go on? */
#define is_good(n) \
    (core[n].status == 3 || core[n].status == 4 || core[n].status == 7 || \
     (core[n].status == 5 && core[n].disk == UPTODATE))

inline fence_pump(n)
{
    if
    :: CORE.fence == FENCE_ANSWERED && CORE.phase == SESSION_NONE ->
        moved = 1;
        if
        :: is_good(n) ->
            CORE.fence = FENCE_GOOD;
            CORE.super.peer_outdated = 1;
            persist_super(n, x)
        :: else ->
            CORE.fence = FENCE_FAILED;
            if
            :: CORE.status == 6 -> outdate_self(n)
            :: else
            fi
        fi;
        CORE.status = 0
    :: else
    fi
}

/* May a promotion without the peer go on? Into `promotes`. */
inline fence_promotes(n)
{
    promotes = 1;
#if !MUTANT_PROMOTE_UNFENCED
    if
    :: FENCING && !session_live(n) && CORE.disk >= CONSISTENT ->
        if
        :: !CORE.super.peer_outdated && (CORE.fence == FENCE_NONE || !CORE.promoting) -> ask(n, 1)
        :: else
        fi;
        if
        :: CORE.super.peer_outdated -> CORE.disk = UPTODATE; fence_peer_back(n)
        :: else ->
        if
        :: CORE.fence != FENCE_FAILED -> promotes = 0
        :: else ->
            CORE.promoting = 0;
            if
            :: CORE.flags == COMMAND_FORCE
            :: else ->
                CORE.fence = FENCE_NONE;
                command_answer(n, REFUSED);
                promotes = 0;
                moved = 1
            fi
        fi fi
    :: else
    fi
#endif
}

/* ---- invalidate.c ---------------------------------------------------------------------------- */

#define may_outdate(n) \
    (may_command(n) && core[n].role == SECONDARY && core[n].phase == SESSION_NONE && \
     core[n].disk != INCONSISTENT)

inline outdate_begin(n)
{
    CORE.super.uptodate = 0;
    CORE.command = COMMAND_OUTDATE_PERSIST;
    persist_super(n, CORE.command_ticket)
}

inline invalidate_pump(n)
{
    if
    :: CORE.command == COMMAND_OUTDATE_PERSIST && CORE.command_ticket == 0 ->
        CORE.disk = OUTDATED;
        if
        :: PEER.handler == HANDLER_OUTDATES -> handler_finds(1 - n, 4)
        :: else
        fi;
        command_answer(n, OK);
        moved = 1
    :: else
    fi
}

/* ---- the script of fence-peer ---------------------------------------------------------------- */

/* The scripts have one memory between them (Pacemaker's constraint): whoever was fenced is told
 * nothing good before it is in sync again, when it cannot tell by itself (Consistent). */
bit fenced[NODES];

#define handler_may(n) (!(core[n].disk == CONSISTENT && fenced[n]))

inline handler_finds(asker, with)
{
    core[asker].status = with;
    core[asker].handler = HANDLER_TELLS;
    if
    :: with == 1 || with == 6
    :: else -> y = asker; fenced[1 - y] = 1
    fi
}

/* EVENT_HANDLER_DONE */
inline fence_handler_done(n)
{
    CORE.handler = HANDLER_IDLE;
    CORE.fence = FENCE_ANSWERED
}
