/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ownership.pml - who may write: promotion, handover, fencing and epochs of two nodes, in every order in
 * which their events can come (issues of order that a seeded simulator may never draw).
 *
 * Two processes `replica` are the cores. `world` is the hosts, the link, an operator and xl create;
 * `xl_migrate` is xl. run.py searches the whole state space within the bounds of each of its
 * configurations and prints how large it was, and then plants bugs that an assertion must catch.
 *
 * What is checked, where a guest's write is answered (oracle_complete), where a peer carries one
 * out (oracle_accept) and after every event (oracle_roles), in core.pml:
 *
 *   no two writers    never two Primaries over one live link; never two in one generation under
 *                     one epoch; with a careful operator and with xl never two at all
 *   no lost epoch     what a node has granted it holds after a crash; it never answers or carries
 *                     out a write under less than what it has granted or had durable
 *   no deadlock       faults over and links wanted again, all comes to a standstill with both in
 *                     sync, or, only where a node was promoted without its peer, with the link
 *                     closed for good. Where the refusal names a Primary that must go, its demotion
 *                     is possible. No command hangs, no handover is half done. Then whoever has
 *                     good data (and the guest, if one is left) can become Primary unless somebody
 *                     is, and a write of the Primary's is answered
 *   fencing           with handlers that tell the truth (below), and unless an operator has typed
 *                     --force or resume-io:
 *                     either policy         never two Primaries, whoever types promote; and no node
 *                                           is UpToDate while the other has it on disk that it is
 *                                           out (PEER_OUTDATED): it could be promoted beside it
 *                     resource-and-stonith  also: whoever becomes Primary has every write that a
 *                                           guest was told of, and there is no split brain
 *                     resource-only         not that: a Primary goes on before the peer is out, may
 *                                           die, and the peer take over without what it wrote
 *                                           (planted, POLICY)
 *   no endless freeze faults over, link still away (PARTS): a guest's write is answered when the
 *                     handlers have answered, or the handler has said no, or on-peer-loss freeze;
 *                     then resume-io ends it
 *   the protocol      every assert() in a handler stands where the code calls session_violation
 *
 * The operator is careful (no RECKLESS): makes a node Primary only when the other is down, or
 * Secondary and idle, and, with XL, no guest is anywhere. Then nothing protects from a promotion of
 * stale data but its refusal later on, see above. RECKLESS promotes whenever the core lets him.
 *
 * The model and the code (libreplica/core; an inline has its function's name unless it is here):
 *
 *   core_type                       struct core; super, what persist.c writes; durable, the disk
 *   a d_step of `replica`           an event, by replica_step; pump is replica.c's
 *   core.pml
 *     persist_super, *_ticket       persist.c; super_done is EVENT_META_DONE
 *     lineage_compare, descends     lineage.c; parent[] is bitmap generation and history in one
 *     loss_peer, loss_record, loss_pump    loss.c, LOSS_BITMAP within loss_record
 *   role.pml
 *     promote_wait, promote_alone   role.c: pump_wait, refuse_alone
 *     role_promote_asked            the same, may_grant, answer_promote
 *     role_pump                     pump_wait, pump_persisted, pump_drain, pump_demoted
 *     demote_confirmed              pump_confirmed
 *     handover_asked, keep          handover.c: handover_asked and may_ask, keep
 *     handover_refuse               refuse
 *     handover_confirmed            pump_confirm
 *     handover_pump                 pump_drain, pump_persist (and grant_away), pump_revert
 *     handover_link_lost            the same
 *   core.pml
 *     loss_record, start_generation fence_holds is fence.c's; LOSS_BITMAP is over at once
 *     pump_held                     write.c; and what fails when frozen I/O is given up
 *   fence.pml                       fence.c, with peer_disk_by as is_good, refuse in fence_promotes
 *     outdate_begin, invalidate_pump    invalidate.c
 *     handler, fenced               the script of fence-peer: no part of the code
 *   session.pml
 *     `same`                        session.same, of verdict.c
 *     session_ended                 session.c: session_end; due when the event is over (`ending`)
 *     session_close, its `final`    session_close, refused, is_final
 *     handshake_state               handshake.c: first_state, is_acceptable, decide, follow and
 *                                   what follows; prepare with common_epoch
 *     verdict_target                verdict_target and target_adopts
 *     handshake_pump                the same, source_commits
 *     resync_over, resync_*         resync.c, as one step: all blocks at once
 *     pump_start, request_answered  write.c; peer_take, peer_disk_done: peer.c
 *   here
 *     start, link_up                attach.c and COMMAND_CONNECT; session_link_up of both
 *     HANDOVER_ASK, `held`          the shell: handover_answered, ACTION_HANDOVER_END
 *     `lates`                       handover.c: pump_late, pump_wait
 *
 * Abstractions: one request of a guest at a time, a write; its leg to the local disk is instant,
 * the superblock and the peer's leg are not. Bits, activity log and flushes are left out (the
 * bitmap is always what it must be), so are HELLO, pings and every size: the simulator has them.
 * Disks do not fail and are never Consistent, Diskless or new. The link loses all that is under way
 * when it breaks, never a part out of the middle; it comes up at both ends at once; its ends notice
 * its end one after the other, any time later. A crash forgets all but `durable`; a superblock
 * under way is lost, or was written just before. No --force on an Inconsistent disk, no
 * --discard-my-data, down, new-current-uuid, verify.
 *
 * A handler tells the truth when it answers 3 only of a peer that has hung up, 4 after `outdate`
 * has succeeded there, 5 of a peer that does not run, 6 of a Primary, 7 after it shot it; and when,
 * as with a constraint of Pacemaker's, it says nothing good to a node that is only Consistent and
 * was fenced itself since the two last met. Its answer may come any time after what it has found.
 * A script of an earlier loss does nothing more.
 *
 * Bounds, for each configuration: CRASHES, CUTS of the link, COMMANDS of the operator (primary,
 * secondary, disconnect; connect is free while one is left), MIGRATIONS, LATES (time-outs of a
 * handover), XL (guests come and go by xl; without it each host has something that writes whenever
 * it is Primary), FENCING (the policy), FREEZE, SHOTS and FAILS of the handlers, FORCES (the
 * operator's commands may be --force and resume-io), PARTS. After the stage FAULTS no more come. Not covered: two crashes in a run with a
 * migration; a crash, a cut and a command in a run with a migration; a reckless operator together
 * with a migration. Progress is checked by bounds on how often a link comes up and a role is asked
 * back, not by a search for cycles.
 */

#include "core.pml"
#include "fence.pml"
#include "role.pml"
#include "session.pml"

#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef COMMANDS
#define COMMANDS 2
#endif
#ifndef MIGRATIONS
#define MIGRATIONS 1
#endif
#ifndef LATES
#define LATES 1
#endif

#ifndef SHOTS
#define SHOTS 0
#endif
#ifndef FAILS
#define FAILS 0
#endif
#ifndef FORCES
#define FORCES 0
#endif
#ifndef PARTS
#define PARTS 0
#endif

#ifndef XL
#define XL 0
#endif

byte crashes = CRASHES, cuts = CUTS, commands = COMMANDS, migrations = MIGRATIONS, lates = LATES;
byte shots = SHOTS, fails = FAILS;
bit parted = PARTS; /* the link stays away after the faults, until the handlers have answered */

#define GUEST_NONE 0
#define GUEST_RUNNING 1
#define GUEST_SUSPENDED 2
byte guest[NODES];

#define XL_IDLE 0
#define XL_ASKED 1
#define XL_BACK 2
byte xl;
byte from; /* where the migrating guest comes from */

#define FAULTS 0
#define HEALED 1
#define CONNECTED 2
#define ADVISED 3
#define ASKED 4
#define PROBED 5
#define PARTED 6
#define RESUMED 7
byte stage;
byte tries;

/* ---- host and link --------------------------------------------------------------------------- */

inline crash(n)
{
    if
    :: CORE.link == LINK_UP -> broken = 1
    :: else
    fi;
    do
    :: nempty(in[n]) -> in[n] ? _, _, _, _
    :: empty(in[n]) -> break
    od;
    super_zero(CORE.super);
    super_zero(CORE.writing);
    super_zero(CORE.ours);
    super_zero(CORE.theirs);
    CORE.up = 0;
    CORE.todo = 0;
    CORE.ending = 0;
    CORE.busy = 0;
    CORE.wanted = 0;
    CORE.loss_ticket = 0;
    CORE.session_ticket = 0;
    CORE.resync_ticket = 0;
    CORE.command_ticket = 0;
    CORE.handover_ticket = 0;
    CORE.grant_ticket = 0;
    CORE.role = SECONDARY;
    CORE.peer_role = ROLE_UNKNOWN;
    CORE.disk = INCONSISTENT;
    CORE.peer_disk = INCONSISTENT;
    CORE.mode = MODE_UNRECORDED;
    CORE.loss = LOSS_NONE;
    CORE.link = LINK_IDLE;
    CORE.phase = SESSION_NONE;
    CORE.side = SYNC_NONE;
    CORE.finish = SYNC_RUNS;
    CORE.ready_seen = 0;
    CORE.map_seen = 0;
    CORE.same = 0;
    if
    :: CORE.command != COMMAND_IDLE -> command_answer(n, REFUSED)
    :: else
    fi;
    CORE.epoch = 0;
    CORE.handover = HANDOVER_NONE;
    CORE.take_back = 0;
    CORE.grant = 0;
    CORE.request = REQUEST_FREE;
    CORE.peer_used = 0;
    CORE.peer_current = 0;
    CORE.held = 0;
    CORE.resumed = 0;
    fence_peer_back(n)
}

/* attach.c, as one durable step, then connect. */
inline start(n)
{
    assert(CORE.durable.epoch >= granted[n]); /* no lost epoch */
    CORE.durable.crashed = CORE.durable.crashed | CORE.durable.primary;
    CORE.durable.primary = 0;
    super_copy(CORE.super, CORE.durable);
    CORE.up = 1;
    CORE.link = LINK_WAITING;
    if /* disk_by_flags */
    :: !CORE.super.consistent -> CORE.disk = INCONSISTENT
    :: CORE.super.consistent && !CORE.super.uptodate -> CORE.disk = OUTDATED
    :: else ->
        CORE.disk = (FENCING == DONT_CARE || CORE.super.peer_outdated -> UPTODATE : CONSISTENT)
    fi
}

inline link_up()
{
    do
    :: nempty(in[0]) -> in[0] ? _, _, _, _
    :: nempty(in[1]) -> in[1] ? _, _, _, _
    :: empty(in[0]) && empty(in[1]) -> break
    od;
    broken = 0;
    loser = NOBODY;
    core[0].link = LINK_UP;
    core[1].link = LINK_UP;
    core[0].phase = SESSION_QUIESCE;
    core[1].phase = SESSION_QUIESCE;
    core[0].todo = 1;
    core[1].todo = 1;
    assert(stage == FAULTS || tries < 4);
    tries = (stage == FAULTS -> 0 : tries + 1)
}

/* ---- commands -------------------------------------------------------------------------------- */

inline command_promote(n, how)
{
    CORE.command = COMMAND_PROMOTE_WAIT;
    CORE.flags = how;
    CORE.done = 0;
    CORE.failed = 0;
    CORE.todo = 1
}

#define may_command(n) (core[n].up && core[n].command == COMMAND_IDLE)
#define may_role(n) (may_command(n) && core[n].handover == HANDOVER_NONE)

#if RECKLESS
#define may_promote(n) (may_command(n) && core[n].role == SECONDARY)
#else
/* Over the link the peer is asked; without it the operator has looked. */
#define may_promote(n) \
    (may_command(n) && core[n].role == SECONDARY && \
     (!XL || (guest[0] == GUEST_NONE && guest[1] == GUEST_NONE)) && \
     (!core[1 - n].up || (core[1 - n].role == SECONDARY && core[1 - n].command == COMMAND_IDLE)))
#endif

/* ---- one node: every event that may come ----------------------------------------------------- */

proctype replica(byte n; byte m)
{
end:
    do
    :: atomic { if
    :: d_step { CORE.up && nempty(in[n]) &&
                !(CORE.phase == SESSION_QUIESCE && in[n] ? [STATE, _, _, _]) ->
                session_message(n) }
    :: d_step { CORE.todo -> CORE.todo = 0 }
    :: d_step { CORE.up && CORE.busy -> super_done(n) }
    :: d_step { CORE.link == LINK_UP && broken -> session_end(n, LINK_WAITING) }
    :: d_step { CORE.peer_used -> peer_disk_done(n) }
    :: d_step { CORE.handover == HANDOVER_CONFIRM && CORE.loss == LOSS_NONE ->
                handover_confirmed(n) }
    :: d_step { CORE.command == COMMAND_DEMOTE_CONFIRM && !session_handshaking(n) &&
                CORE.loss == LOSS_NONE -> demote_confirmed(n) }
    :: d_step { session_live(n) && CORE.side == SYNC_TARGET && CORE.finish == SYNC_RUNS ->
                resync_over(n) }
#if FENCING
    :: d_step { CORE.handler == HANDLER_TELLS -> fence_handler_done(n) }
    :: d_step { CORE.handler == HANDLER_RUNS && PEER.up && PEER.role == PRIMARY ->
                handler_finds(n, 6) }
    :: d_step { CORE.handler == HANDLER_RUNS && PEER.up && PEER.disk == INCONSISTENT &&
                PEER.phase == SESSION_NONE && handler_may(n) -> handler_finds(n, 3) }
#if MUTANT_FENCE_LIES
    :: d_step { CORE.handler == HANDLER_RUNS -> handler_finds(n, 5) }
#endif
    :: d_step { CORE.handler == HANDLER_RUNS && !PEER.up -> handler_finds(n, 5) }
    :: d_step { CORE.handler == HANDLER_RUNS && may_outdate(m) && handler_may(n) ->
                CORE.handler = HANDLER_OUTDATES;
                outdate_begin(m);
                core[m].todo = 1 }
    :: d_step { CORE.handler == HANDLER_RUNS && shots > 0 && handler_may(n) ->
                shots--;
                if
                :: core[m].up -> guest[m] = GUEST_NONE; crash(m)
                :: else
                fi;
                handler_finds(n, 7) }
    :: d_step { CORE.handler == HANDLER_RUNS && fails > 0 && stage == FAULTS ->
                fails--;
                handler_finds(n, 1) }
    /* no for an answer: the peer is about to be promoted, or this node may be the outdated one */
    :: d_step { CORE.handler == HANDLER_RUNS && PEER.up && PEER.role != PRIMARY &&
                (PEER.command != COMMAND_IDLE || !handler_may(n)) -> handler_finds(n, 1) }
    /* what it typed has come to nothing: the peer is dead */
    :: d_step { CORE.handler == HANDLER_OUTDATES && PEER.command != COMMAND_OUTDATE_PERSIST ->
                CORE.handler = HANDLER_RUNS }
#endif
    /* a guest's write */
    :: d_step { stage == FAULTS && CORE.up && CORE.role == PRIMARY && guest[n] == GUEST_RUNNING &&
                !CORE.held && !is_leaving(n) && CORE.request == REQUEST_FREE ->
                CORE.request = REQUEST_START }
    /* the shell's answer to ACTION_HANDOVER_ASK: who stands still? */
    :: d_step { CORE.handover == HANDOVER_ASK && CORE.request == REQUEST_FREE ->
                if
                :: (CORE.take_back && guest[n] != GUEST_RUNNING) || guest[n] == GUEST_SUSPENDED ->
                    CORE.held = 1;
                    CORE.handover = HANDOVER_DRAIN
                :: else -> handover_refuse(n)
                fi }
    :: d_step { CORE.handover == HANDOVER_ASK && CORE.request != REQUEST_FREE &&
                guest[n] == GUEST_RUNNING -> handover_refuse(n) }
    /* pump_late, the giver's clock; pump_wait, the taker's */
    :: d_step { lates > 0 && stage == FAULTS && CORE.handover >= HANDOVER_ASK &&
                CORE.handover < HANDOVER_PERSIST -> lates--; handover_refuse(n) }
    :: d_step { lates > 0 && stage == FAULTS && CORE.command == COMMAND_PROMOTE_HANDOVER ->
                lates--; command_answer(n, REFUSED); session_end(n, LINK_WAITING) }
    fi; d_step { pump(n) } }
    od
}

/* ---- the operator, and whatever breaks ------------------------------------------------------- */

inline choose(n)
{
    if
    :: n = 0
    :: n = 1
    fi
}

#define in_sync(n) (session_live(n) && core[n].side == SYNC_NONE && core[n].disk == UPTODATE)

/* Whom an operator makes Primary: one with good data, and the host of a guest that is left. */
#define is_choice(n, m) \
    (core[n].role != PRIMARY && core[m].role != PRIMARY && core[n].disk == UPTODATE && \
     (!XL || guest[m] == GUEST_NONE))

proctype world()
{
    byte n;
end:
    do
    :: d_step { core[0].link == LINK_WAITING && core[1].link == LINK_WAITING &&
                (stage == FAULTS || !parted) -> link_up() }
    :: d_step { cuts > 0 && stage == FAULTS && !broken &&
                (core[0].link == LINK_UP || core[1].link == LINK_UP) -> cuts--; broken = 1 }
    :: atomic { crashes > 0 && stage == FAULTS -> choose(n);
                if
                :: guest[n] = GUEST_NONE
                :: skip /* the process alone: its guest waits */
                fi;
                if
                :: d_step { CORE.up -> crashes--; crash(n) }
                :: else
                fi; n = 0 }
    :: atomic { stage == FAULTS -> choose(n);
                if
                :: d_step { !CORE.up -> start(n); CORE.todo = 1 }
                :: CORE.up
                fi; n = 0 }
    :: atomic { commands > 0 && stage == FAULTS -> choose(n);
                if
                :: d_step { may_promote(n) -> commands--; command_promote(n, PLAIN) }
#if FORCES
                :: d_step { may_promote(n) && CORE.phase == SESSION_NONE &&
                            CORE.disk != INCONSISTENT ->
                            commands--; excused = 1; command_promote(n, COMMAND_FORCE) }
                :: d_step { CORE.up && CORE.role == PRIMARY && !session_live(n) &&
                            CORE.loss == LOSS_FROZEN ->
                            commands--; loss_resume(n); CORE.todo = 1 }
#endif
                :: d_step { may_role(n) && CORE.role == PRIMARY ->
                            commands--; CORE.command = COMMAND_DEMOTE_DRAIN; CORE.todo = 1 }
                :: d_step { may_command(n) && CORE.link == LINK_UP ->
                            commands--; session_close(n, 0); CORE.todo = 1 } /* disconnect */
                :: d_step { may_command(n) && CORE.link == LINK_WAITING ->
                            commands--; CORE.link = LINK_IDLE }
                :: d_step { may_command(n) && CORE.link == LINK_IDLE -> CORE.link = LINK_WAITING }
                :: !CORE.up || CORE.command != COMMAND_IDLE
                fi; n = 0 }
#if XL
    /* xl create, on the Primary */
    :: d_step { guest[0] == GUEST_NONE && guest[1] == GUEST_NONE && stage == FAULTS &&
                xl == XL_IDLE && (core[0].role == PRIMARY || core[1].role == PRIMARY) ->
                guest[(core[0].role == PRIMARY -> 0 : 1)] = GUEST_RUNNING }
#endif
    /* The faults are over: every host runs. */
    :: d_step { stage == FAULTS ->
                stage = HEALED;
                tries = 0;
                if :: !core[0].up -> start(0); core[0].todo = 1 :: else fi;
                if :: !core[1].up -> start(1); core[1].todo = 1 :: else fi }
#if SHOTS
    :: d_step { stage != FAULTS && !core[0].up -> start(0); core[0].todo = 1 }
    :: d_step { stage != FAULTS && !core[1].up -> start(1); core[1].todo = 1 }
#endif
#if PARTS
    /* No link, but the handlers have answered: who is Primary writes, or has been refused. */
    :: d_step { stage == HEALED && parted && timeout ->
                assert(may_command(0) && may_command(1));
                stage = PARTED;
                for (n : 0 .. 1) {
                    if
                    :: CORE.role == PRIMARY && CORE.request == REQUEST_FREE && guest[n] ->
                        CORE.request = REQUEST_START; CORE.todo = 1
                    :: else
                    fi
                };
                n = 0 }
    /* Nobody is frozen for ever: not without a no, and not when an operator has said yes. */
    :: d_step { stage == PARTED && timeout ->
                stage = RESUMED;
                for (n : 0 .. 1) {
                    if
                    :: CORE.loss == LOSS_FROZEN ->
                        assert(FREEZE || CORE.fence == FENCE_FAILED);
                        loss_resume(n); CORE.todo = 1
                    :: else -> assert(CORE.loss == LOSS_NONE && CORE.request == REQUEST_FREE)
                    fi
                };
                n = 0 }
    :: d_step { stage == RESUMED && timeout ->
                assert(core[0].loss == LOSS_NONE && core[0].request == REQUEST_FREE);
                assert(core[1].loss == LOSS_NONE && core[1].request == REQUEST_FREE);
                stage = HEALED;
                parted = 0 }
#endif
    /* Nothing moves any more, and an operator wants both ends of the link. */
    :: d_step { stage == HEALED && !parted && timeout ->
                stage = CONNECTED;
                tries = 0;
                core[0].link = (core[0].link == LINK_IDLE -> LINK_WAITING : core[0].link);
                core[1].link = (core[1].link == LINK_IDLE -> LINK_WAITING : core[1].link) }
    /* What the refusal says: stop its guest, make it Secondary, connect. */
    :: atomic { stage == CONNECTED && timeout ->
                stage = ADVISED;
                tries = 0;
                if
                :: loser != NOBODY && core[0].link != LINK_UP && core[1].link != LINK_UP ->
                    d_step { n = loser;
                             assert(may_role(n) && CORE.role == PRIMARY && promoted_alone);
                             guest[n] = GUEST_NONE;
                             CORE.command = COMMAND_DEMOTE_DRAIN;
                             CORE.todo = 1;
                             core[0].link = LINK_WAITING;
                             core[1].link = LINK_WAITING;
                             n = 0 }
                :: else
                fi }
    /* Somebody must be able to become Primary, and to write. */
    :: atomic { stage == ADVISED && timeout ->
                d_step {
                    assert((in_sync(0) && in_sync(1)) ||
                           (promoted_alone && (PROMISED != STONITH || excused) &&
                            core[0].link != LINK_UP && core[1].link != LINK_UP));
                    assert(may_command(0) && may_command(1));
                    assert(!is_leaving(0) && !is_leaving(1));
                    stage = ASKED };
                if
                :: core[0].role == PRIMARY || core[1].role == PRIMARY
                :: FENCING && core[0].role != PRIMARY && core[1].role != PRIMARY &&
                   core[0].link != LINK_UP -> stage = PROBED /* a person must decide first */
                :: is_choice(0, 1) -> d_step { n = 0; command_promote(n, PLAIN) }
                :: is_choice(1, 0) -> d_step { n = 1; command_promote(n, PLAIN) }
                :: else -> assert(false)
                fi;
                n = 0 }
    :: atomic { stage == ASKED && timeout ->
                assert(core[0].role == PRIMARY || core[1].role == PRIMARY);
                n = (core[0].role == PRIMARY -> 0 : 1);
                assert(!CORE.held && CORE.request == REQUEST_FREE);
                d_step { CORE.request = REQUEST_START; CORE.todo = 1 };
                stage = PROBED; n = 0 }
    :: d_step { stage == PROBED && timeout ->
                assert(core[0].request == REQUEST_FREE && core[1].request == REQUEST_FREE) } ->
        break
    od
}

/* ---- xl migrate ------------------------------------------------------------------------------ */

#define TO (1 - from)

proctype xl_migrate()
{
end:
    do
    :: d_step { xl == XL_IDLE && migrations > 0 && stage == FAULTS &&
                (guest[0] == GUEST_RUNNING || guest[1] == GUEST_RUNNING) ->
                from = (guest[0] == GUEST_RUNNING -> 0 : 1);
                migrations--;
                guest[from] = GUEST_SUSPENDED;
                if
                :: may_command(TO) -> xl = XL_ASKED; command_promote(TO, COMMAND_CONNECTED)
                :: else -> xl = XL_BACK; guest[from] = GUEST_RUNNING
                fi }
    :: d_step { xl == XL_ASKED && core[TO].done && !core[TO].failed && guest[from] != GUEST_NONE ->
                core[TO].done = 0;
                guest[TO] = GUEST_RUNNING;
                guest[from] = GUEST_NONE;
                xl = XL_IDLE; from = 0 }
    :: d_step { xl == XL_ASKED && guest[from] != GUEST_NONE &&
                (stage == FAULTS || core[TO].failed) -> /* also: xl is killed, a time-out */
                guest[from] = GUEST_RUNNING;
                xl = XL_BACK }
    :: d_step { xl != XL_IDLE && guest[from] == GUEST_NONE -> xl = XL_IDLE; from = 0 }
    /* The guest runs again: its shell wants the role back. */
    :: d_step { xl == XL_BACK && core[from].role == PRIMARY &&
                core[from].handover == HANDOVER_NONE -> xl = XL_IDLE; from = 0 }
    :: d_step { xl == XL_BACK && may_command(from) && core[from].role == SECONDARY &&
                (stage == FAULTS || (session_live(from) && timeout)) ->
                assert(stage == FAULTS || tries < 4);
                tries = (stage == FAULTS -> 0 : tries + 1);
                command_promote(from, COMMAND_TAKE_BACK) }
    od
}

init {
    d_step {
        core[0].super.epoch = 1;
        core[0].super.current = 1;
        core[0].super.consistent = 1;
        core[0].super.uptodate = 1;
        super_copy(core[1].super, core[0].super);
        core[0].super.primary = 1;
        super_copy(core[0].durable, core[0].super);
        super_copy(core[1].durable, core[1].super);
        core[0].up = 1;
        core[1].up = 1;
        core[0].role = PRIMARY;
        core[0].peer_role = SECONDARY;
        core[1].peer_role = PRIMARY;
        core[0].disk = UPTODATE;
        core[1].disk = UPTODATE;
        core[0].peer_disk = UPTODATE;
        core[1].peer_disk = UPTODATE;
        core[0].mode = MODE_REPLICATE;
        core[1].mode = MODE_REPLICATE;
        core[0].link = LINK_UP;
        core[1].link = LINK_UP;
        core[0].phase = SESSION_LIVE;
        core[1].phase = SESSION_LIVE;
        guest[0] = GUEST_RUNNING;
#if PROMISED == 2
        has[0] = 1;
        has[1] = 1;
#endif
#if !XL
        guest[1] = GUEST_RUNNING; /* whoever is Primary has something to write */
#endif
    }
    run replica(0, 1);
    run replica(1, 0);
    run world();
#if XL
    run xl_migrate()
#endif
}
