/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core.pml - one core of the model: what replica_step does with each event. See ownership.pml. */

/* ---- what a core holds (core_types.h, metadata.h) ---------------------------------------------- */

#define NODES 2
#define GENERATIONS 8 /* 0 is none, 1 the common one of the start */

#define SECONDARY 0
#define PRIMARY 1
#define ROLE_UNKNOWN 2

#define INCONSISTENT 0
#define CONSISTENT 1
#define UPTODATE 2

#define MODE_UNRECORDED 0
#define MODE_REPLICATE 1
#define MODE_ALONE 2

#define LOSS_NONE 0
#define LOSS_FENCE 1 /* I/O is frozen until the fence-peer handler has answered */
#define LOSS_GENERATION 2

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
#define COMMAND_PROMOTE_FENCE 2
#define COMMAND_PROMOTE_ASK 3
#define COMMAND_PROMOTE_HANDOVER 4
#define COMMAND_PROMOTE_PERSIST 5
#define COMMAND_DEMOTE_DRAIN 6
#define COMMAND_DEMOTE_CONFIRM 7
#define COMMAND_DEMOTE_PERSIST 8

#define PLAIN 0 /* flags of a promotion */
#define COMMAND_CONNECTED 1
#define COMMAND_TAKE_BACK 2

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
    unsigned uptodate : 1; /* METADATA_CONSISTENT and METADATA_WAS_UPTODATE */
    unsigned crashed : 1
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
    unsigned held : 1          /* the shell said yes: it takes no request before HANDOVER_END */
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
#define is_leaving(n) (core[n].command >= COMMAND_DEMOTE_DRAIN || handover_parks(n))

hidden byte moved;
hidden byte x, y, verdict;
hidden byte got_a, got_b, got_c;

/* ---- what the oracle remembers (no part of the code) -------------------------------------------- */

byte granted[NODES];               /* the highest epoch that a node has granted to the other */
byte persisted[NODES];             /* the highest that it has held durable */
byte lineage_epoch[GENERATIONS];   /* under which the last write was answered in a generation */
byte lineage_writer[GENERATIONS];

/* A guest's write is answered: the moment in which a lineage goes on. */
inline oracle_complete(n)
{
    assert(CORE.role == PRIMARY && CORE.loss == LOSS_NONE); /* P1, P6 */
    assert(CORE.super.epoch > granted[n]);                  /* no lost epoch */
    assert(CORE.super.epoch >= persisted[n]);
    assert(lineage_epoch[CORE.super.current] <= CORE.super.epoch); /* P6: two writers, one lineage */
    assert(lineage_epoch[CORE.super.current] < CORE.super.epoch ||
           lineage_writer[CORE.super.current] == n);
    lineage_epoch[CORE.super.current] = CORE.super.epoch;
    lineage_writer[CORE.super.current] = n;
#if !RECKLESS || FENCING
    assert(!PEER.up || PEER.role != PRIMARY); /* P6, with careful operators or with fencing */
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
#if !RECKLESS && !FENCING
    assert(!(core[0].role == PRIMARY && core[1].role == PRIMARY))
#endif
}

/* ---- persist.c ----------------------------------------------------------------------------------- */

inline super_copy(to, from)
{
    to.epoch = from.epoch;
    to.current = from.current;
    to.ahead = from.ahead;
    to.primary = from.primary;
    to.uptodate = from.uptodate;
    to.crashed = from.crashed
}

inline super_zero(to)
{
    to.epoch = 0;
    to.current = 0;
    to.ahead = 0;
    to.primary = 0;
    to.uptodate = 0;
    to.crashed = 0
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

/* ---- emit.c: core_send ---------------------------------------------------------------------------- */

inline core_send(n, type, one, two, three)
{
    if
    :: PEER.link == LINK_UP ->
        assert(nfull(in[1 - n]));
        in[1 - n] ! type(one, two, three)
    :: else /* nobody is there to hear it */
    fi
}

/* ---- lineage.c ------------------------------------------------------------------------------------ */

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
    (up_1(g) == h || up_1(up_1(g)) == h || up_1(up_1(up_1(g))) == h || up_1(up_1(up_1(up_1(g)))) == h)

#define NOTHING 0
#define SOURCE 1
#define TARGET 2
#define SPLIT_BRAIN 3

/* The rows that can hold between two disks which were once in sync, in their order. */
inline lineage_compare(n)
{
    if
    :: !CORE.ours.uptodate && !CORE.theirs.uptodate -> assert(false) /* both-inconsistent */
    :: else
    fi;
    if
    :: !CORE.theirs.uptodate -> verdict = SOURCE /* inconsistent-peer */
    :: else ->
    if
    :: !CORE.ours.uptodate -> verdict = TARGET
    :: else ->
    if
    :: CORE.ours.current == CORE.theirs.current ->
        if
        :: !CORE.ours.crashed && !CORE.theirs.crashed && !CORE.ours.ahead && !CORE.theirs.ahead ->
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
        :: CORE.ours.crashed != CORE.theirs.crashed -> /* crashed-primary-self */
            verdict = (CORE.ours.crashed -> SOURCE : TARGET)
        :: CORE.ours.crashed && CORE.theirs.crashed -> verdict = (n == 0 -> SOURCE : TARGET)
        :: else ->
        if
        :: CORE.ours.ahead != CORE.theirs.ahead -> /* source-missed-finish-self */
            verdict = (CORE.ours.ahead -> SOURCE : TARGET)
        :: else -> verdict = (n == 0 -> SOURCE : TARGET)
        fi fi fi fi fi fi
    :: else ->
    if
    :: descends(CORE.ours.current, CORE.theirs.current) -> verdict = SOURCE   /* bitmap-self */
    :: descends(CORE.theirs.current, CORE.ours.current) -> verdict = TARGET   /* bitmap-peer */
    :: else -> verdict = SPLIT_BRAIN
    fi fi fi fi
}

/* ---- loss.c ---------------------------------------------------------------------------------------- */

inline record(n)
{
    if
    :: !CORE.super.ahead -> lineage_new_current(n)
    :: else
    fi;
    CORE.loss = LOSS_GENERATION;
    persist_super(n, CORE.loss_ticket)
}

inline loss_record(n)
{
#if FENCING && !MUTANT_NO_FREEZE
    CORE.loss = LOSS_FENCE
#else
    record(n)
#endif
}

inline loss_peer(n)
{
    if
    :: CORE.mode == MODE_REPLICATE ->
        CORE.mode = MODE_UNRECORDED;
        if
        :: CORE.role == PRIMARY ->
            if
            :: CORE.request == REQUEST_FLIGHT ->
                CORE.request = REQUEST_HELD;
                loss_record(n)
            :: else ->
#if FENCING && !MUTANT_NO_FREEZE
                CORE.loss = LOSS_FENCE
#else
                skip
#endif
            fi
        :: else
        fi
    :: else
    fi
}

inline complete(n)
{
    oracle_complete(n);
    CORE.request = REQUEST_FREE
}

inline loss_pump(n)
{
    if
    :: CORE.loss == LOSS_GENERATION && CORE.loss_ticket == 0 ->
        CORE.loss = LOSS_NONE;
        CORE.mode = MODE_ALONE;
        moved = 1;
        if
        :: CORE.request == REQUEST_HELD -> complete(n)
        :: else
        fi
    :: else
    fi
}

/* ---- command.c --------------------------------------------------------------------------------------- */

inline command_answer(n, code)
{
    CORE.done = (CORE.flags != PLAIN -> 1 : 0);
    CORE.failed = (CORE.flags != PLAIN -> code : 0);
    CORE.command = COMMAND_IDLE;
    CORE.flags = PLAIN;
    CORE.epoch = (CORE.handover == HANDOVER_NONE -> 0 : CORE.epoch)
}

/* ---- role.c: what handover.c needs of it ---- */

inline take_role(n, under)
{
    CORE.super.epoch = under;
    CORE.super.primary = 1;
    CORE.command = COMMAND_PROMOTE_PERSIST;
    persist_super(n, CORE.command_ticket)
}

/* ---- handover.c ---------------------------------------------------------------------------------------- */

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

/* ---- role.c ---------------------------------------------------------------------------------------------- */

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
#if FENCING
            CORE.command = COMMAND_PROMOTE_FENCE
#else
            take_role(n, CORE.super.epoch + 1)
#endif
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
    if
    :: CORE.disk == INCONSISTENT || (session_live(n) && CORE.disk != UPTODATE) -> /* state_allows */
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
    fi fi fi fi
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

inline role_pump(n)
{
    pump_grant(n);
    if
    :: CORE.command == COMMAND_PROMOTE_WAIT -> promote_wait(n)
    :: CORE.command == COMMAND_PROMOTE_PERSIST && CORE.command_ticket == 0 ->
        CORE.role = PRIMARY;
        CORE.disk = UPTODATE;
        command_answer(n, OK);
        moved = 1
    :: CORE.command == COMMAND_DEMOTE_DRAIN && CORE.request == REQUEST_FREE ->
        CORE.command = COMMAND_DEMOTE_CONFIRM;
        moved = 1
    :: CORE.command == COMMAND_DEMOTE_PERSIST && CORE.command_ticket == 0 ->
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

/* ---- session.c --------------------------------------------------------------------------------------- */

/* The stream is over for this end: nothing that was said on it counts any more. */
#define session_end(n, next) core[n].ending = next + 1

inline session_ended(n)
{
    do
    :: nempty(in[n]) -> in[n] ? _, _, _, _
    :: empty(in[n]) -> break
    od;
    broken = 1;
    CORE.link = CORE.ending - 1;
    CORE.ending = 0;
    CORE.phase = SESSION_NONE;
    CORE.side = SYNC_NONE;
    CORE.finish = SYNC_RUNS;
    CORE.ready_seen = 0;
    CORE.map_seen = 0;
    CORE.session_ticket = 0;
    CORE.resync_ticket = 0;
    CORE.peer_role = ROLE_UNKNOWN;
    CORE.peer_disk = INCONSISTENT;
    CORE.peer_current = 0;
    CORE.grant = 0;
    CORE.grant_ticket = 0;
    super_zero(CORE.ours);
    super_zero(CORE.theirs);
    role_link_lost(n);
    loss_peer(n)
}

/* For good: what only a person can change. */
inline session_close(n)
{
    core_send(n, REFUSE, 0, 0, 0);
    session_end(n, LINK_IDLE)
}

inline session_go_live(n)
{
    CORE.phase = SESSION_LIVE;
    CORE.mode = MODE_REPLICATE;
    CORE.loss = LOSS_NONE; /* LOSS_FENCE: the peer is back before the handler's answer */
    CORE.peer_disk = (CORE.side == SYNC_SOURCE -> INCONSISTENT : UPTODATE);
    super_zero(CORE.ours);
    super_zero(CORE.theirs);
    CORE.ready_seen = 0;
    CORE.map_seen = 0;
    if
    :: CORE.request == REQUEST_HELD -> CORE.request = REQUEST_START /* frozen: it is sent again */
    :: else
    fi;
    oracle_roles()
}

/* ---- handshake.c --------------------------------------------------------------------------------------- */

#define is_quiet(n) \
    (!core[n].peer_used && (core[n].loss == LOSS_NONE || core[n].loss == LOSS_FENCE) && \
     core[n].command != COMMAND_PROMOTE_PERSIST && core[n].command != COMMAND_DEMOTE_PERSIST && \
     core[n].command != COMMAND_PROMOTE_FENCE && !handover_half_durable(n))

inline send_first_state(n)
{
    super_copy(CORE.ours, CORE.super);
    CORE.phase = SESSION_STATE;
    core_send(n, STATE, CORE.super.epoch, CORE.super.current,
              CORE.role | (CORE.super.uptodate << 1) | (CORE.super.ahead << 2) |
              (CORE.super.crashed << 3))
}

inline prepare(n)
{
    x = CORE.ours.epoch;
    y = CORE.theirs.epoch;
    if /* common_epoch */
    :: CORE.role == PRIMARY -> CORE.super.epoch = (y > x -> y + 1 : x)
    :: else ->
    if
    :: CORE.peer_role == PRIMARY -> CORE.super.epoch = (x > y -> x + 1 : y)
    :: else -> CORE.super.epoch = (x > y -> x : y)
    fi fi;
    CORE.phase = SESSION_PREPARE;
    persist_super(n, CORE.session_ticket)
}

inline become_uptodate(n)
{
    CORE.disk = UPTODATE;
    CORE.super.uptodate = 1
}

/* target_adopts: the source's generation, and Inconsistent. */
inline verdict_target(n)
{
    if
    :: CORE.role == PRIMARY -> session_close(n)
    :: else ->
        CORE.side = SYNC_TARGET;
        CORE.disk = INCONSISTENT;
        CORE.super.current = CORE.theirs.current;
        CORE.super.ahead = 0;
        CORE.super.uptodate = 0;
        CORE.super.crashed = 0;
        CORE.mode = MODE_UNRECORDED;
        prepare(n)
    fi
}

inline handshake_state(n, under, g, bits)
{
    CORE.theirs.epoch = under;
    CORE.theirs.current = g;
    CORE.theirs.primary = bits & 1;
    CORE.theirs.uptodate = (bits >> 1) & 1;
    CORE.theirs.ahead = (bits >> 2) & 1;
    CORE.theirs.crashed = (bits >> 3) & 1;
    CORE.peer_role = bits & 1;
    if
    :: CORE.role == PRIMARY && CORE.peer_role == PRIMARY -> session_close(n) /* is_acceptable */
    :: else ->
        lineage_compare(n);
        if
        :: verdict == NOTHING ->
            if
            :: CORE.mode == MODE_ALONE -> session_close(n)
            :: else -> become_uptodate(n); prepare(n)
            fi
        :: verdict == SOURCE ->
            if
            :: CORE.peer_role == PRIMARY -> session_close(n)
            :: else -> CORE.side = SYNC_SOURCE; become_uptodate(n); prepare(n)
            fi
        :: verdict == TARGET -> verdict_target(n)
        :: verdict == SPLIT_BRAIN ->
#if FENCING
            assert(false); /* no fencing is worth its name under which this comes */
#endif
            session_close(n)
        fi
    fi
}

inline second_state(n, under, as)
{
    assert(CORE.phase == SESSION_PREPARE || CORE.phase == SESSION_READY);
    assert(CORE.side == SYNC_NONE && !CORE.ready_seen && as == CORE.peer_role &&
           under == CORE.super.epoch);
    CORE.ready_seen = 1;
    if
    :: CORE.phase == SESSION_READY -> session_go_live(n)
    :: else
    fi
}

inline handshake_bitmap_done(n)
{
    assert(!CORE.map_seen);
    assert((CORE.side == SYNC_SOURCE &&
            (CORE.phase == SESSION_PREPARE || CORE.phase == SESSION_MAP_AWAIT)) ||
           (CORE.side == SYNC_TARGET && CORE.phase == SESSION_MAP_FINISH));
    CORE.map_seen = 1;
    if
    :: CORE.side == SYNC_TARGET -> session_go_live(n)
    :: else
    fi
}

inline prepared(n)
{
    if
    :: CORE.side == SYNC_NONE ->
        core_send(n, READY, CORE.super.epoch, CORE.role, 0);
        CORE.phase = SESSION_READY;
        if
        :: CORE.ready_seen -> session_go_live(n)
        :: else
        fi
    :: CORE.side == SYNC_SOURCE -> CORE.phase = SESSION_MAP_AWAIT
    :: CORE.side == SYNC_TARGET ->
        core_send(n, BITMAP_DONE, 0, 0, 0);
        CORE.phase = SESSION_MAP_FINISH
    fi
}

inline handshake_pump(n)
{
    if
    :: CORE.phase == SESSION_QUIESCE && is_quiet(n) -> send_first_state(n); moved = 1
    :: CORE.phase == SESSION_PREPARE && CORE.session_ticket == 0 -> prepared(n); moved = 1
    :: CORE.phase == SESSION_MAP_AWAIT && CORE.map_seen -> /* source_commits */
        CORE.super.ahead = 0;
        CORE.mode = MODE_UNRECORDED;
        CORE.phase = SESSION_COMMIT;
        persist_super(n, CORE.session_ticket);
        moved = 1
    :: CORE.phase == SESSION_COMMIT && CORE.session_ticket == 0 ->
        core_send(n, BITMAP_DONE, 0, 0, 0);
        session_go_live(n);
        moved = 1
    :: else
    fi
}

/* ---- resync.c ------------------------------------------------------------------------------------------ */

/* The last bit of the target's bitmap is clear. */
inline resync_over(n)
{
    CORE.super.uptodate = 1;
    CORE.finish = SYNC_ENDS_SUPER;
    persist_super(n, CORE.resync_ticket)
}

inline resync_pump(n)
{
    if
    :: CORE.finish == SYNC_ENDS_SUPER && CORE.resync_ticket == 0 ->
        core_send(n, RESYNC_DONE, 0, 0, 0);
        moved = 1;
        if
        :: CORE.side == SYNC_TARGET -> CORE.disk = UPTODATE; CORE.finish = SYNC_ENDS_PEER
        :: else -> CORE.side = SYNC_NONE; CORE.finish = SYNC_RUNS
        fi
    :: else
    fi
}

inline resync_message(n)
{
    if
    :: CORE.side == SYNC_SOURCE ->
        CORE.peer_disk = UPTODATE;
        CORE.super.crashed = 0;
        CORE.finish = SYNC_ENDS_SUPER;
        persist_super(n, CORE.resync_ticket)
    :: else ->
        assert(CORE.side == SYNC_TARGET && CORE.finish == SYNC_ENDS_PEER);
        CORE.side = SYNC_NONE;
        CORE.finish = SYNC_RUNS
    fi
}

/* ---- request.c, write.c, peer.c ---------------------------------------------------------------------------- */

inline pump_start(n)
{
    if
    :: CORE.request == REQUEST_START && CORE.loss == LOSS_NONE && CORE.phase != SESSION_COMMIT ->
        if
        :: CORE.mode == MODE_ALONE -> complete(n); moved = 1
        :: CORE.mode == MODE_REPLICATE ->
            core_send(n, WRITE, CORE.super.epoch, 0, 0);
            CORE.request = REQUEST_FLIGHT;
            moved = 1
        :: CORE.mode == MODE_UNRECORDED ->
            if
            :: !session_handshaking(n) -> loss_record(n); moved = 1
            :: else
            fi
        fi
    :: else
    fi
}

inline peer_take(n, under)
{
    if
#if MUTANT_OLD_EPOCH
    :: CORE.role != SECONDARY ->
#else
    :: CORE.role != SECONDARY || CORE.peer_role != PRIMARY || under != CORE.super.epoch ->
#endif
        core_send(n, WRITE_ACK, REFUSED, 0, 0)
    :: else ->
        oracle_accept(n, under);
        CORE.peer_used = 1;
        CORE.peer_current = 1
    fi
}

inline peer_disk_done(n)
{
    assert(CORE.role == SECONDARY); /* a stalled write must not land on what a guest has written here */
    if
    :: CORE.peer_current -> core_send(n, WRITE_ACK, OK, 0, 0)
    :: else
    fi;
    CORE.peer_used = 0;
    CORE.peer_current = 0
}

inline request_answered(n, code)
{
    assert(CORE.request == REQUEST_FLIGHT);
    if
    :: code == OK -> complete(n)
    :: else -> session_end(n, LINK_WAITING)
    fi
}

/* ---- replica.c: a step ------------------------------------------------------------------------------------- */

inline pump(n)
{
    moved = 1;
    do
    :: moved ->
        moved = 0;
        if
        :: CORE.ending -> session_ended(n)
        :: else
        fi;
        loss_pump(n);
        handshake_pump(n);
        role_pump(n);
        handover_pump(n);
        pump_start(n);
        resync_pump(n)
    :: !moved -> break
    od;
    persist_pump(n);
    oracle_roles()
}

/* EVENT_MESSAGE */
inline session_message(n)
{
    if
    :: in[n] ? [STATE, _, _, _] -> in[n] ? STATE(got_a, got_b, got_c);
        assert(CORE.phase == SESSION_STATE);
        handshake_state(n, got_a, got_b, got_c)
    :: in[n] ? [READY, _, _, _] -> in[n] ? READY(got_a, got_b, _); second_state(n, got_a, got_b)
    :: in[n] ? [BITMAP_DONE, _, _, _] -> in[n] ? BITMAP_DONE(_, _, _); handshake_bitmap_done(n)
    :: in[n] ? [REFUSE, _, _, _] -> in[n] ? REFUSE(_, _, _); session_end(n, LINK_IDLE)
    :: else ->
        assert(session_live(n));
        if
        :: in[n] ? [RESYNC_DONE, _, _, _] -> in[n] ? RESYNC_DONE(_, _, _); resync_message(n)
        :: in[n] ? [WRITE, _, _, _] -> in[n] ? WRITE(got_a, _, _); peer_take(n, got_a)
        :: in[n] ? [WRITE_ACK, _, _, _] -> in[n] ? WRITE_ACK(got_a, _, _);
            request_answered(n, got_a)
        :: in[n] ? [PROMOTE, _, _, _] -> in[n] ? PROMOTE(got_a, got_b, _);
            role_promote_asked(n, got_a, got_b)
        :: in[n] ? [PROMOTE_ACK, _, _, _] -> in[n] ? PROMOTE_ACK(got_a, got_b, _);
            role_promote_answered(n, got_a, got_b)
        :: in[n] ? [HANDOVER, _, _, _] -> in[n] ? HANDOVER(got_a, _, _); handover_told(n, got_a)
        :: in[n] ? [DEMOTED, _, _, _] -> in[n] ? DEMOTED(got_a, _, _); role_peer_demoted(n, got_a)
        fi
    fi;
    got_a = 0;
    got_b = 0;
    got_c = 0
}
