/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handshake.c - a new stream from HELLO to a live session.
 *
 *   both    QUIESCE  what an old session left on the disk is finished
 *           FLUSH    and durable: a source may hand out what it never flushed as a Secondary, and
 *                    nothing on this node marks that once the target has it (P3)
 *           HELLO    who we are, which resource, which version
 *           STATE    size, role, disk, epoch, lineage; then both compute the same verdict
 *   no sync PREPARE  epoch and disk state durable; second STATE = "ready"
 *           READY    until the peer says the same
 *   target  HANDLER  before-resync-target, if there is one, has ended with 0
 *           PREPARE_MAP, PREPARE
 *                    the bitmap, then Inconsistent under the source's generation, durable: from
 *                    here on any crash leads back to a sync by bitmap
 *           MAP_SEND our bits, then BITMAP_DONE = "you may send me writes"
 *           MAP_FINISH until the source's bits are here
 *   source  MAP_AWAIT until the target's bits are here; guest writes go on alone meanwhile
 *           COMMIT   the target holds our generation: forget its old one, durable
 *           MAP_SEND our bits and BITMAP_DONE; from here on guest writes go to both
 *
 * The source stops starting writes from COMMIT on, so every write is either in the bits that it
 * sends or is replicated.
 */
#include "core_private.h"

#include <string.h>

/* Above this an epoch is no number of promotions but an attack on the counter. */
#define EPOCH_MAX ((uint64_t)1 << 62)

/* ---- HELLO ----------------------------------------------------------------------------------- */

static void send_hello(struct core *core)
{
    struct wire_message *message = core_send(core, WIRE_HELLO, NULL);

    message->hello.version_min = WIRE_VERSION_MIN;
    message->hello.version_max = WIRE_VERSION_MAX;
    memcpy(message->hello.resource, core->config.resource, sizeof message->hello.resource);
    memcpy(message->hello.node, core->config.node, sizeof message->hello.node);
    message->hello.nonce = core_random(core);
}

static void send_first_state(struct core *core)
{
    struct session *session = &core->session;

    session_send_state(core);
    session->ours = (struct wire_state){.epoch = core->super.epoch,
                                        .flags = core->super.flags,
                                        .generation = session_generation(core),
                                        .out_of_sync = core->bitmap.set};
    session->phase = SESSION_STATE;
}

void handshake_hello(struct core *core, const struct wire_message *message)
{
    struct session *session = &core->session;
    const struct wire_hello *hello = &message->hello;

    if (session->hello_seen || session->phase > SESSION_HELLO) {
        session_violation(core, "a second HELLO");
        return;
    }
    if (hello->version_min > WIRE_VERSION_MAX || hello->version_max < WIRE_VERSION_MIN) {
        session_close(core, REPLICA_E_VERSION, false,
                      "%s: %s speaks protocol versions %u to %u, %s speaks %d to %d; "
                      "upgrade the older one",
                      core->config.resource, core->config.peer_node, hello->version_min,
                      hello->version_max, core->config.node, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
        return;
    }
    if (strcmp(hello->resource, core->config.resource) != 0 ||
        strcmp(hello->node, core->config.peer_node) != 0) {
        session_close(core, REPLICA_E_MISMATCH, false,
                      "%s: expected %s, but %s with resource %s called; compare the addresses and "
                      "host names in the configuration of both",
                      core->config.resource, core->config.peer_node, hello->node, hello->resource);
        return;
    }
    session->hello_seen = true;
    session->hello = *hello;
    if (session->phase == SESSION_HELLO)
        send_first_state(core);
}

/* Nothing of an older session can reach the disk any more, and no command or loss is half
 * durable. */
static bool is_quiet(const struct core *core)
{
    enum command_phase phase = core->command.phase;

    return (core->peer_used == 0 || MUTANT(old_writes_outlive)) &&
           (resync_idle(core) || MUTANT(old_resync_outlives)) && verify_idle(core) &&
           !core->session.flush_tag &&
           (core->loss.phase == LOSS_NONE || core->loss.phase == LOSS_FROZEN) && core->size > 0 &&
           phase != COMMAND_PROMOTE_PERSIST && phase != COMMAND_DEMOTE_PERSIST &&
           phase != COMMAND_UUID_PERSIST && phase != COMMAND_INVALIDATE_PERSIST &&
           phase != COMMAND_OUTDATE_PERSIST && !handover_half_durable(core) && !resize_busy(core);
}

static void say_hello(struct core *core)
{
    send_hello(core);
    core->session.phase = SESSION_HELLO;
    if (core->session.hello_seen)
        send_first_state(core);
}

static void flush_old(struct core *core)
{
    struct session *session = &core->session;

    if (!core_has_disk(core) || MUTANT(no_hello_flush)) {
        say_hello(core);
        return;
    }
    session->phase = SESSION_FLUSH;
    session->flush_tag = tag_make(TAG_SESSION_FLUSH, 0, (uint32_t)session->number);
    core_disk(core, REPLICA_OP_FLUSH, (struct range){0}, false, NULL, session->flush_tag);
}

void handshake_flushed(struct core *core, uint64_t tag, int code)
{
    struct session *session = &core->session;

    if (tag != session->flush_tag)
        return;
    session->flush_tag = 0;
    if (code) {
        core_disk_failed(core, code, "flushing");
        return;
    }
    if (session->phase == SESSION_FLUSH) /* else the stream it was for is gone */
        say_hello(core);
}

/* Things that make a verdict pointless. */
static bool is_acceptable(struct core *core, const struct wire_state *state)
{
    if (state->role == REPLICA_ROLE_UNKNOWN || state->epoch > EPOCH_MAX ||
        state->data_bytes % REPLICA_BLOCK_BYTES ||
        state->window_bytes < REPLICA_REQUEST_BYTES_MAX || state->window_requests < 2) {
        session_violation(core, "an impossible STATE");
        return false;
    }
    if (!verdict_lives_on(core) &&
        (!core_has_disk(core) || state->disk < REPLICA_DISK_INCONSISTENT ||
         state->disk == REPLICA_DISK_UNKNOWN)) {
        session_close(core, REPLICA_E_NOT_UPTODATE, core->disk == REPLICA_DISK_DISKLESS,
                      "%s: %s has no disk; replace it, then attach and connect",
                      core->config.resource,
                      core_has_disk(core) ? core->config.peer_node : core->config.node);
        return false;
    }
    if (state->data_bytes != core->size && !MUTANT(sizes_may_differ)) {
        resize_differs(core, state->data_bytes);
        return false;
    }
    if (core->role == REPLICA_ROLE_PRIMARY && state->role == REPLICA_ROLE_PRIMARY) {
        verdict_two_primaries(core);
        session_close(core, REPLICA_E_SPLIT_BRAIN, true,
                      "%s: %s and %s are both Primary; stop the guest on one, make it Secondary "
                      "(tapdrbdadm secondary %s), then connect both",
                      core->config.resource, core->config.node, core->config.peer_node,
                      core->config.resource);
        return false;
    }
    return true;
}

static void first_state(struct core *core, const struct wire_state *state)
{
    struct session *session = &core->session;

    session->state = *state;
    if (!is_acceptable(core, state))
        return;
    core->peer_role = (enum replica_role)state->role;
    core->peer_disk = (enum replica_disk)state->disk;
    session->window_bytes = state->window_bytes;
    session->window_requests = state->window_requests;
    verdict_decide(core);
}

/* "Ready": the peer has made its part of a verdict without a sync durable. */
static void second_state(struct core *core, const struct wire_state *state)
{
    struct session *session = &core->session;

    if (session->side != SYNC_NONE || session->ready_seen || state->role != core->peer_role ||
        state->epoch != core->super.epoch) {
        session_violation(core, "a STATE that contradicts the first one");
        return;
    }
    session->ready_seen = true;
    session->state = *state;
    core->peer_disk = (enum replica_disk)state->disk;
    if (session->phase == SESSION_READY)
        session_go_live(core);
}

void handshake_state(struct core *core, const struct wire_message *message)
{
    switch (core->session.phase) {
    case SESSION_STATE:
        core->session.peer_discards = message->flags & CORE_STATE_DISCARD;
        core->pause.peers = message->flags & CORE_STATE_PAUSED;
        core->session.peer_split = message->flags >> CORE_STATE_SPLIT_SHIFT;
        first_state(core, &message->state);
        break;
    case SESSION_PREPARE:
    case SESSION_READY:
        second_state(core, &message->state);
        break;
    case SESSION_LIVE:
        attach_met(core, message);
        break;
    case SESSION_NONE:
    case SESSION_QUIESCE:
    case SESSION_FLUSH:
    case SESSION_HELLO:
    case SESSION_HANDLER:
    case SESSION_PREPARE_MAP:
    case SESSION_MAP_AWAIT:
    case SESSION_COMMIT:
    case SESSION_MAP_SEND:
    case SESSION_MAP_FINISH:
        session_violation(core, "a STATE out of turn");
        break;
    }
}

/* ---- the exchange of bitmaps ------------------------------------------------------------------
 */

void handshake_bitmap(struct core *core, const struct wire_message *message)
{
    struct session *session = &core->session;
    bool from_target = session->side == SYNC_SOURCE &&
                       (session->phase == SESSION_PREPARE || session->phase == SESSION_MAP_AWAIT);
    bool from_source = session->side == SYNC_TARGET && session->phase == SESSION_MAP_FINISH;

    if (!(from_target || from_source) || session->map_seen ||
        message->value >= core->bitmap.blocks || !message->bitmap_block) {
        session_violation(core, "a bitmap block out of turn");
        return;
    }
    bitmap_merge(&core->bitmap, message->value, message->bitmap_block);
    session->map_blocks++;
}

void handshake_bitmap_done(struct core *core, const struct wire_message *message)
{
    struct session *session = &core->session;
    bool from_target = session->side == SYNC_SOURCE &&
                       (session->phase == SESSION_PREPARE || session->phase == SESSION_MAP_AWAIT);
    bool from_source = session->side == SYNC_TARGET && session->phase == SESSION_MAP_FINISH;

    if (!(from_target || from_source) || session->map_seen ||
        message->value != session->map_blocks) {
        session_violation(core, "an end of its bitmap out of turn");
        return;
    }
    session->map_seen = true;
    if (from_source)
        session_go_live(core);
}

void handshake_pong(struct core *core, uint64_t value)
{
    if (core->session.map_pong == value)
        core->session.map_pong = 0;
}

/* Sends the next burst; the pong after it says that the peer has digested it. */
static void send_burst(struct core *core)
{
    struct session *session = &core->session;
    uint32_t count = 0;

    while (count < CORE_BITMAP_BURST && session->map_cursor < core->bitmap.blocks) {
        uint64_t index = session->map_cursor++;
        uint8_t *block = session->map_scratch + (size_t)count * METADATA_BLOCK_BYTES;
        struct wire_message *message;

        if (bitmap_block_empty(&core->bitmap, index))
            continue;
        bitmap_copy(&core->bitmap, index, block);
        message = core_send(core, WIRE_BITMAP, NULL);
        message->value = index;
        message->bitmap_block = block;
        count++;
        session->map_blocks++;
    }
    session->map_cursor += MUTANT(burst_skips);
    session->map_pong = ++core->liveness.ping_value;
    core_send(core, WIRE_PING, NULL)->value = session->map_pong;
}

static void start_map(struct core *core)
{
    struct session *session = &core->session;

    session->phase = SESSION_MAP_SEND;
    session->map_blocks = 0;
    session->map_pong = 0;
    session->map_cursor = session->full || MUTANT(bits_not_sent) ? core->bitmap.blocks : 0;
}

static bool pump_map(struct core *core)
{
    struct session *session = &core->session;

    if (session->map_pong)
        return false;
    if (session->map_cursor < core->bitmap.blocks) {
        send_burst(core);
        return true;
    }
    core_send(core, WIRE_BITMAP_DONE, NULL)->value = session->map_blocks;
    session->map_blocks = 0;
    if (session->side == SYNC_TARGET)
        session->phase = SESSION_MAP_FINISH;
    else
        session_go_live(core);
    return true;
}

/* ---- going on when something has become durable ---------------------------------------------- */

/* The target's bitmap holds at least what it must; now it may call itself Inconsistent under the
 * source's generation. */
static void target_adopts(struct core *core)
{
    lineage_adopt(&core->super.generation, &core->session.state.generation);
    if (!MUTANT(target_stays_consistent))
        core->super.flags &= ~(uint32_t)(METADATA_CONSISTENT | METADATA_WAS_UPTODATE |
                                         METADATA_CRASHED_PRIMARY | METADATA_FULL_SYNC);
    core->mode = MODE_UNRECORDED;
    core->session.discard = false;
    verdict_prepare(core);
}

/* The target holds our generation from now on; a later loss must start from there. */
static void source_commits(struct core *core)
{
    lineage_synced(&core->super.generation);
    core->super.flags &= ~(uint32_t)METADATA_FULL_SYNC; /* its whole bitmap is set on its disk */
    core->mode = MODE_UNRECORDED;
    verdict_become_uptodate(core);
    core->session.ticket = persist_super(core);
    core->session.phase = SESSION_COMMIT;
}

static void prepared(struct core *core)
{
    struct session *session = &core->session;

    switch (session->side) {
    case SYNC_NONE:
        session_send_state(core);
        session->phase = SESSION_READY;
        if (session->ready_seen)
            session_go_live(core);
        break;
    case SYNC_SOURCE:
        session->phase = SESSION_MAP_AWAIT;
        break;
    case SYNC_TARGET:
        start_map(core);
        break;
    }
}

bool handshake_pump(struct core *core)
{
    struct session *session = &core->session;

    switch (session->phase) {
    case SESSION_QUIESCE:
        if (!is_quiet(core))
            return false;
        flush_old(core);
        return true;
    case SESSION_PREPARE_MAP:
        if (!persist_bitmap_due(core, session->ticket) && !MUTANT(target_map_not_durable))
            return false;
        target_adopts(core);
        return true;
    case SESSION_PREPARE:
        if (!persist_super_due(core, session->ticket) && !MUTANT(prepare_not_durable))
            return false;
        prepared(core);
        return true;
    case SESSION_MAP_AWAIT:
        if (!session->map_seen)
            return false;
        source_commits(core);
        return true;
    case SESSION_COMMIT:
        if (!persist_super_due(core, session->ticket))
            return false;
        start_map(core);
        return true;
    case SESSION_MAP_SEND:
        return pump_map(core);
    case SESSION_NONE:
    case SESSION_FLUSH:
    case SESSION_HELLO:
    case SESSION_STATE:
    case SESSION_HANDLER:
    case SESSION_READY:
    case SESSION_MAP_FINISH:
    case SESSION_LIVE:
        break;
    }
    return false;
}

void session_go_live(struct core *core)
{
    struct session *session = &core->session;

    session->phase = SESSION_LIVE;
    session->was_live = true;
    session->discard &= MUTANT(discard_outlives); /* a later divergence is another one */
    core->mode = MODE_REPLICATE;
    loss_over(core);
    /* A node may have forgotten that it is UpToDate, and its peer has not; one may have no disk. */
    if (session->side == SYNC_NONE && session->same) {
        if (core_has_disk(core)) {
            verdict_become_uptodate(core);
            persist_super(core);
        }
        if (core->peer_disk != REPLICA_DISK_DISKLESS)
            core->peer_disk = REPLICA_DISK_UPTODATE;
    }
    if (session->side == SYNC_SOURCE)
        core->peer_disk = REPLICA_DISK_INCONSISTENT;
    if (session->side == SYNC_TARGET)
        core->peer_disk = REPLICA_DISK_UPTODATE;
    core_log(core, LOG_LEVEL_NOTICE, "connected to %s: %s/%s, %s/%s", core->config.peer_node,
             replica_role_name(core->role), replica_role_name(core->peer_role),
             replica_disk_name(core->disk), replica_disk_name(core->peer_disk));
    if (session->side != SYNC_NONE)
        resync_begin(core);
}
