/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core.pml - what a core of the model holds, its superblock, its lineage. See ownership.pml. */

/* ---- what a core holds (core_types.h, metadata.h) -------------------------------------------- */

#define NODES 2
#define GENERATIONS 8 /* 0 is none, 1 the common one of the start */

#define SECONDARY 0
#define PRIMARY 1
#define ROLE_UNKNOWN 2

#define INCONSISTENT 0
#define OUTDATED 1
#define CONSISTENT 2
#define UPTODATE 3

#define MODE_UNRECORDED 0
#define MODE_REPLICATE 1
#define MODE_ALONE 2

#define LOSS_NONE 0
#define LOSS_GENERATION 1
#define LOSS_FROZEN 2
#define LOSS_FAILING 3

#define DONT_CARE 0 /* FENCING, and PROMISED: what is asserted of it */
#define RESOURCE_ONLY 1
#define STONITH 2

#ifndef FENCING
#define FENCING DONT_CARE
#endif
#ifndef PROMISED
#define PROMISED FENCING
#endif
#ifndef FREEZE
#define FREEZE 0 /* on-peer-loss freeze */
#endif

#define FENCE_NONE 0
#define FENCE_RUNS 1
#define FENCE_ANSWERED 2
#define FENCE_GOOD 3
#define FENCE_FAILED 4

#define LINK_IDLE 0
#define LINK_WAITING 1
#define LINK_UP 2

#define SESSION_NONE 0
#define SESSION_QUIESCE 1
#define SESSION_STATE 2
#define SESSION_PREPARE 3
#define SESSION_READY 4
#define SESSION_MAP_AWAIT 5
#define SESSION_COMMIT 6
#define SESSION_MAP_FINISH 7
#define SESSION_LIVE 8

#define SYNC_NONE 0
#define SYNC_SOURCE 1
#define SYNC_TARGET 2

#define SYNC_RUNS 0
#define SYNC_ENDS_SUPER 1
#define SYNC_ENDS_PEER 2

#define COMMAND_IDLE 0
#define COMMAND_PROMOTE_WAIT 1
#define COMMAND_PROMOTE_ASK 2
#define COMMAND_PROMOTE_HANDOVER 3
#define COMMAND_PROMOTE_PERSIST 4
#define COMMAND_DEMOTE_DRAIN 5
#define COMMAND_DEMOTE_CONFIRM 6
#define COMMAND_DEMOTE_PERSIST 7
#define COMMAND_OUTDATE_PERSIST 8

#define PLAIN 0 /* flags of a promotion */
#define COMMAND_CONNECTED 1
#define COMMAND_TAKE_BACK 2
#define COMMAND_FORCE 3
#define only_over_link(n) (core[n].flags == COMMAND_CONNECTED || core[n].flags == COMMAND_TAKE_BACK)

#define HANDOVER_NONE 0
#define HANDOVER_ASK 1
#define HANDOVER_DRAIN 2
#define HANDOVER_CONFIRM 3
#define HANDOVER_PERSIST 4
#define HANDOVER_REVERT 5

#define REQUEST_FREE 0
#define REQUEST_START 1
#define REQUEST_FLIGHT 2 /* the peer's answer is missing */
#define REQUEST_HELD 3

#define OK 0
#define REFUSED 1 /* any code: what follows is the same */

mtype = { STATE, READY, BITMAP_DONE, RESYNC_DONE, WRITE, WRITE_ACK, PROMOTE, PROMOTE_ACK, HANDOVER,
          DEMOTED, REFUSE };

typedef superblock {
    byte epoch;
    byte current;         /* generation; bit `ahead`: a bitmap generation is set */
    unsigned ahead : 1;
    unsigned primary : 1;
    unsigned consistent : 1;
    unsigned uptodate : 1; /* METADATA_WAS_UPTODATE */
    unsigned crashed : 1;
    unsigned peer_outdated : 1;
    unsigned bits : 1 /* of a loss that froze; else the generation tells as much */
};

typedef core_type {
    superblock super;   /* as it shall be on disk */
    superblock durable; /* as it is */
    superblock writing; /* on its way; all zero when nothing is */
    superblock ours;    /* as we told it in this handshake */
    superblock theirs;
    unsigned up : 1;    /* the process runs */
    unsigned todo : 1;   /* an event from outside has come, pump has not run yet */
    unsigned ending : 2; /* session_end is due; then the link is this less 1 */
    unsigned busy : 1;  /* `writing` is under way */
    unsigned wanted : 1; /* `super` must be written after it */
    /* Tickets: how many superblock writes must end before the owner goes on. */
    unsigned loss_ticket : 2;
    unsigned session_ticket : 2;
    unsigned resync_ticket : 2;
    unsigned command_ticket : 2;
    unsigned handover_ticket : 2;
    unsigned grant_ticket : 2;
    unsigned role : 2;
    unsigned peer_role : 2;
    unsigned disk : 2;
    unsigned peer_disk : 2;
    unsigned mode : 2;
    unsigned loss : 2;
    unsigned link : 2;
    unsigned phase : 4; /* of the session */
    unsigned side : 2;
    unsigned finish : 2; /* of a resync */
    unsigned ready_seen : 1;
    unsigned map_seen : 1;
    unsigned same : 1;
    unsigned command : 4;
    unsigned flags : 2;
    byte epoch; /* asked for by the command, or by the peer for a handover */
    unsigned handover : 3;
    unsigned take_back : 1; /* the handover's question to the shell */
    unsigned grant : 1;
    unsigned request : 2;
    unsigned peer_used : 1;    /* a write of the peer is on its way to our disk */
    unsigned peer_current : 1; /* and belongs to the present session */
    unsigned failed : 1;       /* how the last command of xl's ended */
    unsigned done : 1;         /* it has ended, and xl has not looked yet */
    unsigned held : 1;         /* the shell said yes: it takes no request before HANDOVER_END */
    unsigned fence : 3;
    unsigned promoting : 1; /* the handler was asked for a promotion */
    unsigned status : 3;    /* its exit status */
    unsigned resumed : 1;   /* by the operator, until the peer is back */
    unsigned handler : 2    /* the script; no part of the core */
};

core_type core[NODES];
chan in[NODES] = [5] of { mtype, byte, byte, byte };
bit broken;              /* the stream is; its ends may not have noticed */
byte parent[GENERATIONS]; /* whence a generation comes: bitmap and history, without their bound */
byte generations = 2;     /* the next fresh one: core_random */

#define CORE core[n]
#define PEER core[1 - n]
#define session_live(n) (core[n].phase == SESSION_LIVE)
#define session_handshaking(n) (core[n].phase != SESSION_NONE && core[n].phase != SESSION_LIVE)
#define handover_parks(n) (core[n].handover >= HANDOVER_DRAIN)
#define handover_half_durable(n) \
    (core[n].handover == HANDOVER_PERSIST || core[n].handover == HANDOVER_REVERT)
#define is_leaving(n) \
    ((core[n].command >= COMMAND_DEMOTE_DRAIN && core[n].command <= COMMAND_DEMOTE_PERSIST) || \
     handover_parks(n))

#if MUTANT_NOT_FROZEN
#define fence_holds(n) 0
#else
#define fence_holds(n) \
    (!core[n].resumed && (FREEZE || (FENCING == STONITH && !core[n].super.peer_outdated)))
#endif

hidden byte moved;
hidden byte x, y, verdict, promotes;
hidden byte got_a, got_b, got_c;

/* ---- what the oracle remembers (no part of the code) ----------------------------------------- */

byte granted[NODES];               /* the highest epoch that a node has granted to the other */
byte persisted[NODES];             /* the highest that it has held durable */
byte lineage_epoch[GENERATIONS];   /* under which the last write was answered in a generation */
byte lineage_writer[GENERATIONS];
bit promoted_alone; /* once: from then on the data can diverge, and a person must decide */
#define NOBODY 2
byte loser = NOBODY; /* whom the last refusal asks to make Secondary */
bit has[NODES];      /* it has every write that a guest was told of; for STONITH only */
bit missed[NODES];   /* the peer has gone on alone since the resync of this node began */
bit excused;         /* an operator has typed --force or resume-io: he vouches for the peer */

/* Never two Primaries: who is careful sees to it, or else fencing does. */
#define one_primary (!RECKLESS || (FENCING && !excused))

/* resource-and-stonith: nobody goes on without what a guest was told. */
inline oracle_promoted(n)
{
#if PROMISED == 2
    assert(excused || has[n])
#else
    skip
#endif
}

inline oracle_resynced(n)
{
#if PROMISED == 2
    has[n] = has[1 - n] & !missed[n]
#else
    skip
#endif
}

/* A guest's write is answered: the moment in which a lineage goes on. */
inline oracle_complete(n)
{
    assert(CORE.role == PRIMARY && CORE.loss == LOSS_NONE); /* P1, P6 */
    assert(CORE.durable.primary);                           /* a crash is known as a Primary's */
    assert(CORE.super.epoch > granted[n]);                  /* no lost epoch */
    assert(CORE.super.epoch >= persisted[n]);
    assert(lineage_epoch[CORE.super.current] <= CORE.super.epoch); /* P6: two writers, one line */
    assert(lineage_epoch[CORE.super.current] < CORE.super.epoch ||
           lineage_writer[CORE.super.current] == n);
    lineage_epoch[CORE.super.current] = CORE.super.epoch;
    lineage_writer[CORE.super.current] = n;
    assert(!one_primary || !PEER.up || PEER.role != PRIMARY);
#if PROMISED == 2
    if /* what was held back, and what went to nobody, only this node has */
    :: CORE.mode == MODE_REPLICATE && CORE.request == REQUEST_FLIGHT
    :: else -> has[1 - n] = 0; missed[1 - n] = (CORE.mode == MODE_ALONE)
    fi
#endif
}

inline oracle_granted(n, under)
{
    granted[n] = (granted[n] > under -> granted[n] : under)
}

/* A Primary's write is carried out on the Secondary. */
inline oracle_accept(n, under)
{
    assert(under >= granted[n] && under >= persisted[n]);
    assert(CORE.role == SECONDARY)
}

inline oracle_roles()
{
    assert(!(core[0].role == PRIMARY && core[1].role == PRIMARY && session_live(0) &&
             session_live(1) && !broken));
    assert(!one_primary || !(core[0].role == PRIMARY && core[1].role == PRIMARY));
    /* Whom a node takes to be out does not count as current: it would be promoted beside it. */
    assert(!FENCING || excused || !(core[0].durable.peer_outdated && core[1].disk == UPTODATE));
    assert(!FENCING || excused || !(core[1].durable.peer_outdated && core[0].disk == UPTODATE))
}

/* ---- persist.c ------------------------------------------------------------------------------- */

inline super_copy(to, from)
{
    to.epoch = from.epoch;
    to.current = from.current;
    to.ahead = from.ahead;
    to.primary = from.primary;
    to.consistent = from.consistent;
    to.uptodate = from.uptodate;
    to.crashed = from.crashed;
    to.peer_outdated = from.peer_outdated;
    to.bits = from.bits
}

inline super_zero(to)
{
    to.epoch = 0;
    to.current = 0;
    to.ahead = 0;
    to.primary = 0;
    to.consistent = 0;
    to.uptodate = 0;
    to.crashed = 0;
    to.peer_outdated = 0;
    to.bits = 0
}

inline persist_super(n, ticket)
{
    CORE.wanted = 1;
    ticket = (CORE.busy -> 2 : 1)
}

inline persist_pump(n)
{
    if
    :: CORE.wanted && !CORE.busy ->
        super_copy(CORE.writing, CORE.super);
        CORE.busy = 1;
        CORE.wanted = 0
    :: else
    fi
}

/* The bitmap is a write of its own, and durable before anything follows from it. */
inline mark_bits(n, value)
{
    CORE.super.bits = value;
    CORE.durable.bits = value;
    CORE.writing.bits = CORE.busy & value
}

#define LESS(ticket) ticket = (ticket -> ticket - 1 : 0)

/* EVENT_META_DONE */
inline super_done(n)
{
    super_copy(CORE.durable, CORE.writing);
    super_zero(CORE.writing);
    persisted[n] = (persisted[n] > CORE.durable.epoch -> persisted[n] : CORE.durable.epoch);
    CORE.busy = 0;
    LESS(CORE.loss_ticket);
    LESS(CORE.session_ticket);
    LESS(CORE.resync_ticket);
    LESS(CORE.command_ticket);
    LESS(CORE.handover_ticket);
    LESS(CORE.grant_ticket)
}

/* ---- emit.c: core_send ----------------------------------------------------------------------- */

inline core_send(n, type, one, two, three)
{
    if
    :: PEER.link == LINK_UP ->
        assert(nfull(in[1 - n]));
        in[1 - n] ! type(one, two, three)
    :: else /* nobody is there to hear it */
    fi
}

/* ---- lineage.c ------------------------------------------------------------------------------- */

inline lineage_new_current(n)
{
    assert(generations < GENERATIONS);
    parent[generations] = CORE.super.current;
    CORE.super.current = generations;
    CORE.super.ahead = 1;
    generations++
}

#define up_1(g) parent[g]
#define descends(g, h) \
    (up_1(g) == h || up_1(up_1(g)) == h || up_1(up_1(up_1(g))) == h || \
     up_1(up_1(up_1(up_1(g)))) == h)

#define NOTHING 0
#define SOURCE 1
#define TARGET 2
#define SPLIT_BRAIN 3

/* The rows that can hold between two disks which were once in sync, in their order. */
inline lineage_compare(n)
{
    if
    :: !CORE.ours.consistent && !CORE.theirs.consistent -> assert(false) /* both-inconsistent */
    :: else
    fi;
    if
    :: !CORE.theirs.consistent -> verdict = SOURCE /* inconsistent-peer */
    :: else ->
    if
    :: !CORE.ours.consistent -> verdict = TARGET
    :: else ->
    if
    :: CORE.ours.current == CORE.theirs.current ->
        if
        :: !CORE.ours.crashed && !CORE.theirs.crashed && !CORE.ours.ahead && !CORE.theirs.ahead &&
           !CORE.ours.bits && !CORE.theirs.bits ->
            verdict = NOTHING /* no-sync */
        :: else ->
        if
        :: CORE.role == PRIMARY -> verdict = SOURCE /* primary-self */
        :: else ->
        if
        :: CORE.theirs.primary -> verdict = TARGET
        :: else ->
        if
        :: CORE.ours.epoch != CORE.theirs.epoch -> /* promoted-later-self */
            verdict = (CORE.ours.epoch > CORE.theirs.epoch -> SOURCE : TARGET)
        :: else ->
        if
        :: CORE.ours.uptodate != CORE.theirs.uptodate -> /* outdated-peer */
            verdict = (CORE.ours.uptodate -> SOURCE : TARGET)
        :: else ->
        if
        :: CORE.ours.crashed != CORE.theirs.crashed -> /* crashed-primary-self */
            verdict = (CORE.ours.crashed -> SOURCE : TARGET)
        :: CORE.ours.crashed && CORE.theirs.crashed -> verdict = (n == 0 -> SOURCE : TARGET)
        :: else ->
        if
        :: CORE.ours.ahead != CORE.theirs.ahead -> /* source-missed-finish-self */
            verdict = (CORE.ours.ahead -> SOURCE : TARGET)
        :: else ->
        if
        :: CORE.ours.bits != CORE.theirs.bits -> /* out-of-sync-self */
            verdict = (CORE.ours.bits -> SOURCE : TARGET)
        :: else -> verdict = (n == 0 -> SOURCE : TARGET)
        fi fi fi fi fi fi fi fi
    :: else ->
    if
    :: descends(CORE.ours.current, CORE.theirs.current) -> verdict = SOURCE   /* bitmap-self */
    :: descends(CORE.theirs.current, CORE.ours.current) -> verdict = TARGET   /* bitmap-peer */
    :: else -> verdict = SPLIT_BRAIN
    fi fi fi fi
}

/* ---- loss.c ---------------------------------------------------------------------------------- */

/* The bits are durable; then the new generation, or nothing before it is sure. */
inline loss_record(n)
{
    if
    :: fence_holds(n) ->
        mark_bits(n, 1);
        CORE.loss = LOSS_FROZEN
    :: else -> start_generation(n)
    fi
}

inline start_generation(n)
{
    if
#if !MUTANT_NO_GENERATION
    :: !CORE.super.ahead -> lineage_new_current(n)
#endif
    :: else
    fi;
    CORE.loss = LOSS_GENERATION;
    persist_super(n, CORE.loss_ticket)
}

inline loss_peer(n)
{
    if
    :: CORE.mode == MODE_REPLICATE ->
        CORE.mode = MODE_UNRECORDED;
        if
        :: CORE.role == PRIMARY ->
            fence_peer_lost(n);
            if
            :: CORE.request == REQUEST_FLIGHT ->
                CORE.request = REQUEST_HELD;
                loss_record(n)
            :: CORE.request != REQUEST_FLIGHT && fence_holds(n) -> loss_record(n)
            :: else
            fi
        :: else
        fi
    :: else -> fence_peer_lost_again(n)
    fi
}

inline loss_over(n)
{
    CORE.loss = (CORE.loss == LOSS_FROZEN -> LOSS_NONE : CORE.loss);
    CORE.resumed = 0;
    fence_peer_back(n)
}

/* Demoted while frozen: what the guest waits for fails. */
inline loss_give_up(n)
{
    if
    :: CORE.loss == LOSS_FROZEN && !session_handshaking(n) -> CORE.loss = LOSS_FAILING; moved = 1
    :: else
    fi
}

inline loss_resume(n)
{
    CORE.resumed = 1;
    excused = 1
}

inline complete(n)
{
    oracle_complete(n);
    CORE.request = REQUEST_FREE
}

inline pump_held(n)
{
    if
    :: CORE.request == REQUEST_HELD && CORE.loss == LOSS_NONE -> complete(n); moved = 1
    :: CORE.request >= REQUEST_START && CORE.request != REQUEST_FLIGHT &&
       CORE.loss == LOSS_FAILING -> CORE.request = REQUEST_FREE; moved = 1
    :: else
    fi
}

inline loss_pump(n)
{
    if
    :: CORE.loss == LOSS_GENERATION && CORE.loss_ticket == 0 ->
        CORE.loss = LOSS_NONE;
        CORE.mode = MODE_ALONE;
        moved = 1
    :: CORE.loss == LOSS_FROZEN && !fence_holds(n) && !session_handshaking(n) ->
        start_generation(n);
        moved = 1
    :: CORE.loss == LOSS_FAILING && CORE.request == REQUEST_FREE ->
        CORE.loss = LOSS_NONE;
        moved = 1
    :: else
    fi;
    pump_held(n)
}
