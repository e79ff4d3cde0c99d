/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.pml - the link, its handshake, the writes on it; a step. See ownership.pml. */

/* ---- session.c ------------------------------------------------------------------------------- */

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
    CORE.same = 0;
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

/* For good here; there only when it is_final: what only a person can change. */
inline session_close(n, final)
{
    core_send(n, REFUSE, final, 0, 0);
    session_end(n, LINK_IDLE)
}

inline session_go_live(n)
{
    CORE.phase = SESSION_LIVE;
    CORE.mode = MODE_REPLICATE;
    loss_over(n);
    if
    :: CORE.side == SYNC_SOURCE -> CORE.peer_disk = INCONSISTENT; missed[1 - n] = 0
    :: CORE.side == SYNC_TARGET -> CORE.peer_disk = UPTODATE
    :: CORE.side == SYNC_NONE && CORE.same ->
        become_uptodate(n);
        CORE.peer_disk = UPTODATE;
        fenced[n] = 0;
        persist_super(n, x)
    :: else
    fi;
    super_zero(CORE.ours);
    super_zero(CORE.theirs);
    CORE.ready_seen = 0;
    CORE.map_seen = 0;
    CORE.same = 0;
    oracle_roles()
}

/* ---- handshake.c ----------------------------------------------------------------------------- */

#define is_quiet(n) \
    (!core[n].peer_used && (core[n].loss == LOSS_NONE || core[n].loss == LOSS_FROZEN) && \
     core[n].command != COMMAND_PROMOTE_PERSIST && core[n].command != COMMAND_DEMOTE_PERSIST && \
     core[n].command != COMMAND_OUTDATE_PERSIST && \
     !handover_half_durable(n))

inline send_first_state(n)
{
    super_copy(CORE.ours, CORE.super);
    CORE.phase = SESSION_STATE;
    core_send(n, STATE, CORE.super.epoch, CORE.super.current,
              CORE.role | (CORE.super.consistent << 1) | (CORE.super.ahead << 2) |
              (CORE.super.crashed << 3) | (CORE.super.uptodate << 4) | (CORE.super.bits << 5) |
              (CORE.disk << 6))
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
    fence_peer_met(n);
    CORE.phase = SESSION_PREPARE;
    persist_super(n, CORE.session_ticket)
}

inline become_uptodate(n)
{
    CORE.disk = UPTODATE;
    CORE.super.consistent = 1;
    CORE.super.uptodate = 1
}

/* target_adopts: the source's generation, and Inconsistent. */
inline verdict_target(n)
{
    if
    :: CORE.role == PRIMARY -> loser = n; session_close(n, 1)
    :: else ->
        CORE.side = SYNC_TARGET;
        CORE.disk = INCONSISTENT;
        CORE.super.current = CORE.theirs.current;
        CORE.super.ahead = 0;
        CORE.super.consistent = 0;
        CORE.super.uptodate = 0;
        CORE.super.crashed = 0;
        CORE.mode = MODE_UNRECORDED;
        prepare(n)
    fi
}

inline handshake_state(n, under, g, told)
{
    CORE.theirs.epoch = under;
    CORE.theirs.current = g;
    CORE.theirs.primary = told & 1;
    CORE.theirs.consistent = (told >> 1) & 1;
    CORE.theirs.ahead = (told >> 2) & 1;
    CORE.theirs.crashed = (told >> 3) & 1;
    CORE.theirs.uptodate = (told >> 4) & 1;
    CORE.theirs.bits = (told >> 5) & 1;
    CORE.peer_role = told & 1;
    CORE.peer_disk = (told >> 6) & 3;
    if
    :: CORE.role == PRIMARY && CORE.peer_role == PRIMARY -> /* is_acceptable */
        loser = n;
        session_close(n, 1)
    :: else ->
        lineage_compare(n);
        if
        :: verdict == NOTHING ->
            if
            :: CORE.mode == MODE_ALONE -> session_close(n, 1)
            :: else ->
                if
                :: CORE.disk >= CONSISTENT || CORE.peer_disk >= CONSISTENT ->
                    CORE.same = 1;
#if MUTANT_UPTODATE_EARLY
                    become_uptodate(n)
#endif
                :: else
                fi;
                prepare(n)
            fi
        :: verdict == SOURCE ->
            if
            :: CORE.peer_role == PRIMARY -> loser = 1 - n; session_close(n, 1)
            :: else ->
                CORE.side = SYNC_SOURCE;
#if MUTANT_UPTODATE_EARLY
                become_uptodate(n);
#endif
                prepare(n)
            fi
        :: verdict == TARGET -> verdict_target(n)
        :: verdict == SPLIT_BRAIN ->
            assert(PROMISED != STONITH || excused);
            session_close(n, 1)
        fi
    fi
}

inline second_state(n, under, as, peers)
{
    assert(CORE.phase == SESSION_PREPARE || CORE.phase == SESSION_READY);
    assert(CORE.side == SYNC_NONE && !CORE.ready_seen && as == CORE.peer_role &&
           under == CORE.super.epoch);
    CORE.ready_seen = 1;
    CORE.peer_disk = peers;
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
        core_send(n, READY, CORE.super.epoch, CORE.role, CORE.disk);
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
        become_uptodate(n);
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

/* ---- resync.c -------------------------------------------------------------------------------- */

/* The last bit of the target's bitmap is clear. */
inline resync_over(n)
{
    CORE.super.consistent = 1;
    CORE.super.uptodate = 1;
    mark_bits(n, 0);
    oracle_resynced(n);
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
        :: CORE.side == SYNC_TARGET ->
            CORE.disk = UPTODATE;
            fenced[n] = 0; /* unfence-peer */
            CORE.finish = SYNC_ENDS_PEER
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
        mark_bits(n, 0);
        CORE.finish = SYNC_ENDS_SUPER;
        persist_super(n, CORE.resync_ticket)
    :: else ->
        assert(CORE.side == SYNC_TARGET && CORE.finish == SYNC_ENDS_PEER);
        CORE.side = SYNC_NONE;
        CORE.finish = SYNC_RUNS
    fi
}

/* ---- request.c, write.c, peer.c -------------------------------------------------------------- */

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
    :: CORE.role != SECONDARY || CORE.peer_role != PRIMARY || under != CORE.super.epoch ->
        core_send(n, WRITE_ACK, REFUSED, 0, 0)
    :: else ->
        oracle_accept(n, under);
        CORE.peer_used = 1;
        CORE.peer_current = 1
    fi
}

inline peer_disk_done(n)
{
    assert(CORE.role == SECONDARY); /* a stalled write must not land on what a guest wrote here */
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

/* ---- replica.c: a step ----------------------------------------------------------------------- */

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
        fence_pump(n);
        loss_pump(n);
        handshake_pump(n);
        role_pump(n);
        invalidate_pump(n);
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
    :: in[n] ? [READY, _, _, _] -> in[n] ? READY(got_a, got_b, got_c);
        second_state(n, got_a, got_b, got_c)
    :: in[n] ? [BITMAP_DONE, _, _, _] -> in[n] ? BITMAP_DONE(_, _, _); handshake_bitmap_done(n)
    :: in[n] ? [REFUSE, _, _, _] -> in[n] ? REFUSE(got_a, _, _);
        session_end(n, (got_a -> LINK_IDLE : LINK_WAITING))
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
