/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_core_fence.c - a Primary without its peer: fencing, freezing and going on (P1, P7, P9).
 */
#include "core_pair.h"
#include "unit.h"

#define DATA_BYTES ((uint64_t)16 << 20)

static void connect_both(struct pair *pair)
{
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_CONNECT, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_CONNECT, 0), 0);
}

/* In sync and connected, under these policies. */
static struct pair *tuned(enum core_fencing fencing, enum core_peer_loss on_peer_loss)
{
    struct pair *pair = pair_new(DATA_BYTES);

    pair_clear(pair);
    pair->policies.fencing = fencing;
    pair->policies.on_peer_loss = on_peer_loss;
    pair->policies.handlers = (1u << HANDLER_COUNT) - 1;
    pair_restart(pair);
    connect_both(pair);
    return pair;
}

static struct pair *primary(enum core_fencing fencing, enum core_peer_loss on_peer_loss)
{
    struct pair *pair = tuned(fencing, on_peer_loss);

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    return pair;
}

static bool ran(const struct pair *pair, int from, char node, enum core_handler handler)
{
    char line[32];

    snprintf(line, sizeof line, "%c: handler %d", node, (int)handler);
    return pair_find(pair, from, line) >= 0;
}

/* The peer does not answer any more; a write of the guest's is under way. */
static unsigned lose_peer(struct pair *pair)
{
    unsigned id;

    pair->node[PAIR_B].hold = HOLD_WRITE | HOLD_LINK | HOLD_SEND;
    pair->node[PAIR_A].hold = HOLD_LINK;
    id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 0x5a);
    pair_run(pair);
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    return id;
}

/* ---- freezing ------------------------------------------------------------------------------- */

START_TEST(test_stonith_freezes_until_the_answer)
{
    static const int good[] = {3, 4, 5, 7};
    struct pair *pair;
    unsigned id, from;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
        from = pair->traced;
        id = lose_peer(pair);
        ck_assert(ran(pair, (int)from, 'a', HANDLER_FENCE_PEER));
        ck_assert(!pair->request[id].done);
        ck_assert(pair_status(pair, PAIR_A).frozen);
        ck_assert(pair_status(pair, PAIR_A).fencing);
        ck_assert_uint_ne(pair_status(pair, PAIR_A).alone_since, 0);
        from = pair->traced;
        pair->node[PAIR_A].hold |= HOLD_META; /* P7: on disk, and then the answer */
        pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, good[i]);
        ck_assert(!pair->request[id].done);
        pair->node[PAIR_A].hold = HOLD_LINK;
        pair_run(pair);
        ck_assert(pair->request[id].done);
        ck_assert_int_eq(pair->request[id].code, 0);
        ck_assert(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED);
        ck_assert(!pair_status(pair, PAIR_A).frozen);
        pair_free(pair);
    }
}
END_TEST

START_TEST(test_stonith_stays_frozen)
{
    static const int bad[] = {0, 1, 6, 127, -9};
    struct pair *pair;
    unsigned id;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
        id = lose_peer(pair);
        pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, bad[i]);
        ck_assert(!pair->request[id].done);
        ck_assert(pair_status(pair, PAIR_A).frozen);
        ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_IO, 0), 0);
        ck_assert(pair->request[id].done);
        ck_assert(!pair_status(pair, PAIR_A).frozen);
        pair_free(pair);
    }
}
END_TEST

/* A handler that answers for an earlier loss says nothing about this one. */
START_TEST(test_stale_answer)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    unsigned id = lose_peer(pair);

    pair->node[PAIR_A].handler_serial--;
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 7);
    ck_assert(!pair->request[id].done);
    ck_assert(pair_status(pair, PAIR_A).frozen);
    pair_free(pair);
}
END_TEST

/* The peer comes back: the guest goes on, and no generation was made. */
START_TEST(test_frozen_until_the_peer_is_back)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_FREEZE);
    uint64_t current = pair_status(pair, PAIR_A).generation.current;
    unsigned id = lose_peer(pair), read;

    ck_assert(!pair->request[id].done);
    ck_assert(pair_status(pair, PAIR_A).frozen);
    read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 0, 4096, 0);
    pair_run(pair);
    ck_assert(!pair->request[read].done);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_advance(pair, 20ull * PAIR_SECOND);
    pair_handler_done(pair, PAIR_B, HANDLER_BEFORE_RESYNC_TARGET, 0);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    ck_assert_int_eq(pair->request[read].code, 0);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).generation.current & ~(uint64_t)1,
                      current & ~(uint64_t)1);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).alone_since, 0);
    pair_free(pair);
}
END_TEST

/* on-peer-loss freeze: that the peer is fenced is not enough. */
START_TEST(test_freeze_outlasts_fencing)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_FREEZE);
    unsigned id = lose_peer(pair);

    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    ck_assert(!pair->request[id].done);
    ck_assert(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_IO, 0), 0);
    ck_assert(pair->request[id].done);
    pair_free(pair);
}
END_TEST

START_TEST(test_resource_only_goes_on)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_CONTINUE);
    unsigned id = lose_peer(pair);

    ck_assert(pair->request[id].done);
    ck_assert(!(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED));
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    ck_assert(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED);
    ck_assert_int_eq(pair_status(pair, PAIR_A).peer_disk, REPLICA_DISK_OUTDATED);
    pair_free(pair);
}
END_TEST

/* The role is given up: what was never answered fails, and nothing went on alone. */
START_TEST(test_demote_while_frozen)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_FREEZE);
    uint64_t current = pair_status(pair, PAIR_A).generation.current;
    unsigned id = lose_peer(pair), late;

    late = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 0x5b);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair->request[id].code, REPLICA_E_IO);
    ck_assert_int_eq(pair->request[late].code, REPLICA_E_IO);
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_SECONDARY);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).generation.current & ~(uint64_t)1,
                      current & ~(uint64_t)1);
    pair_free(pair);
}
END_TEST

/* The demotion began first, and what `held` names is on its way when the peer is lost. */
static void frozen_while_demoting(unsigned held)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    uint64_t current = pair_status(pair, PAIR_A).generation.current;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 0x11);
    pair_run(pair);
    pair->node[PAIR_A].hold = held | HOLD_LINK;
    pair->node[PAIR_B].hold = HOLD_LINK;
    pair_ask(pair, PAIR_A, COMMAND_DEMOTE, 0);
    pair_run(pair);
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_SECONDARY);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    pair_run(pair);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).generation.current & ~(uint64_t)1,
                      current & ~(uint64_t)1);
    pair_free(pair);
}

/* It ends all the same, */
START_TEST(test_frozen_while_demoting)
{
    frozen_while_demoting(HOLD_FLUSH);
}
END_TEST

/* and what is not Primary any more records no loss. */
START_TEST(test_frozen_when_demoted)
{
    frozen_while_demoting(HOLD_META);
}
END_TEST

/* P2: the peer may never have flushed what it acknowledged. Whoever takes the role again on this
 * node has that loss on disk before a flush is answered. */
START_TEST(test_flush_after_demoting_frozen)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_FREEZE);
    uint64_t current = pair_status(pair, PAIR_A).generation.current;
    unsigned flush;

    pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 0x11);
    pair_run(pair);
    lose_peer(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_DEMOTE, 0), 0);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_PROMOTE, 0), 0);
    flush = pair_submit(pair, PAIR_A, REPLICA_OP_FLUSH, 0, 0, 0);
    pair_run(pair);
    ck_assert(!pair->request[flush].done);
    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_IO, 0), 0);
    ck_assert(pair->request[flush].done);
    ck_assert_uint_ne(pair_status(pair, PAIR_A).generation.current & ~(uint64_t)1,
                      current & ~(uint64_t)1);
    pair_free(pair);
}
END_TEST

/* The host of the guest is dead, and so is what would shoot it. Who forces the role has seen that:
 * the guest runs, and is not frozen at its first write. */
START_TEST(test_forced_past_the_fence)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    struct pair_node *b = &pair->node[PAIR_B];
    unsigned id;

    pair_crash(pair, PAIR_A);
    pair_cut(pair, REPLICA_E_LINK);
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, 0);
    pair_run(pair);
    pair_handler_done(pair, PAIR_B, HANDLER_FENCE_PEER, 1);
    ck_assert_int_eq(b->answer_code, REPLICA_E_NOT_UPTODATE);
    ck_assert_ptr_nonnull(strstr(b->answer_text, "--force"));
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_FORCE);
    pair_run(pair);
    pair_handler_done(pair, PAIR_B, HANDLER_FENCE_PEER, 1);
    ck_assert_int_eq(b->answer_code, 0);
    id = pair_submit(pair, PAIR_B, REPLICA_OP_WRITE, 4096, 4096, 0x5b);
    pair_run(pair);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    ck_assert(!pair_status(pair, PAIR_B).frozen);
    pair_free(pair);
}
END_TEST

/* The fenced peer comes back, and is lost again before both are connected: it is fenced anew, or
 * the guest would be frozen for ever. */
START_TEST(test_fenced_anew)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    unsigned id = lose_peer(pair);
    int from;

    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 7);
    ck_assert(pair->request[id].done);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_advance(pair, 20ull * PAIR_SECOND);
    pair->node[PAIR_A].hold = HOLD_META; /* the source commits, and gets no further */
    pair_handler_done(pair, PAIR_B, HANDLER_BEFORE_RESYNC_TARGET, 0);
    ck_assert(!(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED));
    from = (int)pair->traced;
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert(ran(pair, from, 'a', HANDLER_FENCE_PEER));
    id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 0x5b);
    pair_run(pair);
    ck_assert(!pair->request[id].done);
    ck_assert(pair_status(pair, PAIR_A).frozen);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    pair_free(pair);
}
END_TEST

/* An outdated peer counts as UpToDate again only when this node has forgotten, durably, that it is
 * not: else both could be promoted without asking, after a crash here. */
START_TEST(test_uptodate_when_forgotten)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_CONTINUE);

    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_OUTDATE, 0), 0);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    ck_assert(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED);
    pair->node[PAIR_A].hold = HOLD_META;
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_advance(pair, PAIR_SECOND);
    ck_assert(!(pair_status(pair, PAIR_A).flags & METADATA_PEER_OUTDATED)); /* but not on disk */
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_OUTDATED);
    ck_assert(!(pair_status(pair, PAIR_B).flags & METADATA_WAS_UPTODATE));
    pair->node[PAIR_A].hold = 0;
    pair_run(pair);
    for (unsigned i = PAIR_A; i <= PAIR_B; i++) {
        ck_assert_int_eq(pair_status(pair, i).disk, REPLICA_DISK_UPTODATE);
        ck_assert_int_eq(pair_status(pair, i).peer_disk, REPLICA_DISK_UPTODATE);
        ck_assert(pair_status(pair, i).flags & METADATA_WAS_UPTODATE);
    }
    pair_free(pair);
}
END_TEST

START_TEST(test_resume_is_refused)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_FREEZE);

    ck_assert_int_eq(pair_command(pair, PAIR_A, COMMAND_RESUME_IO, 0), REPLICA_E_STATE);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_RESUME_IO, 0), REPLICA_E_STATE);
    pair_free(pair);
}
END_TEST

/* ---- promotion ------------------------------------------------------------------------------ */

/* Alone after a restart: Consistent, and Primary only when the peer is out. */
START_TEST(test_promote_fences)
{
    struct pair *pair = tuned(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_CONTINUE);

    pair_restart(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_CONSISTENT);
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, 0);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 5);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_NOT_UPTODATE);
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, 0);
    pair_run(pair);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 4);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    pair_restart(pair); /* that the peer is out is on disk */
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_UPTODATE);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_CONSISTENT);
    pair_free(pair);
}
END_TEST

/* "Assumed dead" was said before the peer answered in a handshake: it does not count any more, and
 * is of no use for a disk that is not UpToDate. */
START_TEST(test_dead_before_a_handshake)
{
    struct pair *pair = tuned(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_CONTINUE);

    pair_restart(pair);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    connect_both(pair);
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, 0);
    pair_run(pair);
    pair->node[PAIR_A].hold = HOLD_FLUSH; /* with which a handshake begins */
    pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_CONSISTENT);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 5);
    pair->node[PAIR_A].hold = HOLD_META; /* with which it ends */
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered);
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_A].answered); /* the handler is asked anew */
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 5);
    ck_assert(pair->node[PAIR_A].answered);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_NOT_UPTODATE);
    pair_free(pair);
}
END_TEST

START_TEST(test_promote_finds_a_primary)
{
    struct pair *pair = tuned(CORE_FENCING_RESOURCE_ONLY, CORE_PEER_LOSS_CONTINUE);

    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, 0);
    pair_run(pair);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 6);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, REPLICA_E_NOT_UPTODATE);
    ck_assert_int_eq(pair_status(pair, PAIR_A).disk, REPLICA_DISK_OUTDATED);
    pair_free(pair);
}
END_TEST

/* The peer grants the role and is lost before that is on disk: it is fenced all the same. */
START_TEST(test_lost_after_the_grant)
{
    struct pair *pair = tuned(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    unsigned id;
    int from;

    pair->node[PAIR_A].hold = HOLD_META | HOLD_LINK;
    pair_ask(pair, PAIR_A, COMMAND_PROMOTE, 0);
    pair_run(pair);
    from = (int)pair->traced;
    pair_cut(pair, REPLICA_E_LINK);
    pair->node[PAIR_A].hold = HOLD_LINK;
    pair_run(pair);
    ck_assert_int_eq(pair->node[PAIR_A].answer_code, 0);
    ck_assert(ran(pair, from, 'a', HANDLER_FENCE_PEER));
    id = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 0, 4096, 0x21);
    pair_run(pair);
    ck_assert(!pair->request[id].done);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 7);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    pair_free(pair);
}
END_TEST

/* A migration's target, and its source that wants the role back, go by the link only: the other
 * host runs the guest and is not shot for that. */
START_TEST(test_migration_never_fences)
{
    struct pair *pair = tuned(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    int from = (int)pair->traced;

    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = HOLD_LINK;
    pair_cut(pair, REPLICA_E_LINK);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED),
                     REPLICA_E_LINK);
    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_TAKE_BACK),
                     REPLICA_E_LINK);
    ck_assert(!ran(pair, from, 'b', HANDLER_FENCE_PEER));
    pair_free(pair);
}
END_TEST

/* The peer is lost while it is being asked whether it gets the role: the giver keeps it, and its
 * guest's I/O is frozen as ever. */
START_TEST(test_lost_during_a_handover)
{
    struct pair *pair = primary(CORE_FENCING_RESOURCE_AND_STONITH, CORE_PEER_LOSS_CONTINUE);
    int from = (int)pair->traced;
    unsigned id;

    pair->node[PAIR_A].handover_late = true;
    pair_ask(pair, PAIR_B, COMMAND_PROMOTE, COMMAND_CONNECTED);
    pair_run(pair);
    ck_assert(!pair->node[PAIR_B].answered);
    id = lose_peer(pair);
    ck_assert_int_eq(pair->node[PAIR_B].answer_code, REPLICA_E_LINK);
    ck_assert(ran(pair, from, 'a', HANDLER_FENCE_PEER));
    ck_assert(!ran(pair, from, 'b', HANDLER_FENCE_PEER));
    ck_assert_int_ge(pair_find(pair, from, "a: handover kept"), 0);
    ck_assert_int_eq(pair_status(pair, PAIR_A).role, REPLICA_ROLE_PRIMARY);
    ck_assert(pair_status(pair, PAIR_A).frozen);
    ck_assert(!pair->request[id].done);
    pair_handler_done(pair, PAIR_A, HANDLER_FENCE_PEER, 7);
    ck_assert(pair->request[id].done);
    ck_assert_int_eq(pair->request[id].code, 0);
    pair_free(pair);
}
END_TEST

/* ---- resync handlers ------------------------------------------------------------------------- */

START_TEST(test_before_resync_target)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_CONTINUE);
    unsigned from;

    lose_peer(pair);
    from = pair->traced;
    pair->node[PAIR_A].hold = pair->node[PAIR_B].hold = 0;
    pair_run(pair);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert(ran(pair, (int)from, 'b', HANDLER_BEFORE_RESYNC_TARGET));
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE); /* as before */
    from = pair->traced;
    pair_handler_done(pair, PAIR_B, HANDLER_BEFORE_RESYNC_TARGET, 1);
    ck_assert(pair_find(pair, (int)from, "b: close") >= 0);
    pair_advance(pair, 20ull * PAIR_SECOND); /* tried again */
    from = pair->traced;
    pair_handler_done(pair, PAIR_B, HANDLER_BEFORE_RESYNC_TARGET, 0);
    ck_assert(ran(pair, (int)from, 'b', HANDLER_AFTER_RESYNC_TARGET));
    ck_assert(ran(pair, (int)from, 'b', HANDLER_UNFENCE_PEER));
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    pair_free(pair);
}
END_TEST

/* B gives its data up and is to be filled from A, a Primary; its handler runs for ten minutes. */
static struct pair *long_before_resync(void)
{
    struct pair *pair = primary(CORE_FENCING_DONT_CARE, CORE_PEER_LOSS_CONTINUE);
    unsigned from = pair->traced;

    ck_assert_int_eq(pair_command(pair, PAIR_B, COMMAND_INVALIDATE, 0), 0);
    pair_advance(pair, 20ull * PAIR_SECOND);
    ck_assert(ran(pair, (int)from, 'b', HANDLER_BEFORE_RESYNC_TARGET));
    from = pair->traced;
    pair_advance(pair, 600ull * PAIR_SECOND);
    ck_assert_int_lt(pair_find(pair, (int)from, "a: close"), 0);
    return pair;
}

static void end_before_resync(struct pair *pair)
{
    pair_handler_done(pair, PAIR_B, HANDLER_BEFORE_RESYNC_TARGET, 0);
    ck_assert_int_eq(pair_status(pair, PAIR_B).disk, REPLICA_DISK_UPTODATE);
    ck_assert_uint_eq(pair_status(pair, PAIR_A).out_of_sync_bytes, 0);
    pair_free(pair);
}

/* ko-count is no limit for it: it would only be run again, and again. */
START_TEST(test_long_before_resync_target)
{
    struct pair *pair = long_before_resync();
    unsigned from = pair->traced;
    unsigned read = pair_submit(pair, PAIR_A, REPLICA_OP_READ, 0, 4096, 0);
    pair_advance(pair, 60ull * PAIR_SECOND);
    ck_assert(pair->request[read].done);
    ck_assert_int_lt(pair_find(pair, (int)from, "a: close"), 0);
    end_before_resync(pair);
}
END_TEST

/* But nobody waits for it: a first write goes on alone, and then the others do. */
START_TEST(test_write_before_resync_target)
{
    struct pair *pair = long_before_resync();
    unsigned from, write[2];

    write[0] = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 4096, 4096, 0x5a);
    pair_advance(pair, 60ull * PAIR_SECOND);
    from = pair->traced;
    write[1] = pair_submit(pair, PAIR_A, REPLICA_OP_WRITE, 8192, 4096, 0x5b);
    pair_advance(pair, 600ull * PAIR_SECOND);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(pair->request[write[i]].done);
        ck_assert_int_eq(pair->request[write[i]].code, 0);
    }
    ck_assert_int_lt(pair_find(pair, (int)from, "a: close"), 0);
    end_before_resync(pair);
}
END_TEST

UNIT_MAIN("core fence", test_stonith_freezes_until_the_answer, test_stonith_stays_frozen,
          test_stale_answer, test_frozen_until_the_peer_is_back, test_freeze_outlasts_fencing,
          test_resource_only_goes_on, test_demote_while_frozen, test_frozen_while_demoting,
          test_frozen_when_demoted, test_flush_after_demoting_frozen, test_fenced_anew,
          test_forced_past_the_fence, test_uptodate_when_forgotten, test_resume_is_refused,
          test_promote_fences, test_dead_before_a_handshake, test_promote_finds_a_primary,
          test_lost_after_the_grant, test_migration_never_fences, test_lost_during_a_handover,
          test_before_resync_target, test_long_before_resync_target,
          test_write_before_resync_target)
