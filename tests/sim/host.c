/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host.c - one host: the process with its core, and the shell that carries out the core's actions.
 *
 * The shell is the simplest that core.h allows: actions of one step may be carried out in any order
 * (messages leave in theirs), completions come back later and out of order, and the process may
 * die between any two actions of a step.
 */
#include <string.h>

#include "sim.h"

enum { SHUFFLE_MAX = 64 };

struct sim_host *host_peer(struct sim_host *host)
{
    return &host->world->host[1 - host->index];
}

/* ---- the core's memory: an arena that is emptied when the core is freed
 * --------------------------- */

static void *arena_allocate(void *context, size_t count, size_t size)
{
    struct sim_host *host = context;
    size_t bytes = (count * size + 63) & ~(size_t)63;
    void *memory = host->arena + host->arena_used;

    if (host->up && !host->makes_room)
        sim_violation(host->world, "core.h", "%c: the core takes memory in a step",
                      'A' + host->index);
    if (bytes > SIM_ARENA_BYTES - host->arena_used) {
        sim_violation(host->world, "bounded memory", "%c: core_new wants more than %d bytes",
                      'A' + host->index, SIM_ARENA_BYTES);
        return NULL;
    }
    host->arena_used += bytes;
    host->arena_blocks++;
    return memset(memory, 0, bytes);
}

static void arena_release(void *context, void *memory)
{
    struct sim_host *host = context;

    if (!memory)
        return;
    if (--host->arena_blocks == 0)
        host->arena_used = 0;
}

static void host_configure(const struct sim_host *host, struct core_config *config)
{
    static const char *const name[SIM_HOSTS] = {"alpha", "beta"};
    const struct sim_profile *profile = &host->world->profile;

    *config = (struct core_config){
        .resource = "vm1",
        .requests_max = profile->requests_max,
        .al_extents = profile->al_extents,
        .timeout = 60 * MS,
        .ping_interval = 100 * MS,
        .ping_timeout = 20 * MS,
        .connect_interval = 30 * MS,
        .ko_count = 7,
        .confirm_interval = 10 * MS,
        .verify_digest = CORE_DIGEST_SHA256,
        .fencing = profile->fencing,
        .disk_timeout = profile->disk_timeout,
        .on_io_error = profile->pass_on ? CORE_IO_ERROR_PASS_ON : CORE_IO_ERROR_DETACH,
        .after_sb = policy_of(host),
        .rr_conflict = profile->rr_conflict,
        .on_peer_loss = profile->freeze ? CORE_PEER_LOSS_FREEZE : CORE_PEER_LOSS_CONTINUE};

    if (profile->csums)
        config->csums_digest = CORE_DIGEST_SHA256;
    if (profile->paced) {
        config->resync_rate_max = profile->rate_max;
        config->resync_rate_min = profile->rate_min;
        config->resync_rate = profile->rate_max / 4;
        config->resync_plan_ahead = 50 * MS;
        config->resync_fill = 256 << 10;
    }
    if (profile->fencing != CORE_FENCING_DONT_CARE)
        config->handlers |= 1u << HANDLER_FENCE_PEER;
    if (profile->after_sb.one == SPLIT_1PRI_CALL_PRI_LOST ||
        profile->after_sb.two == SPLIT_2PRI_CALL_PRI_LOST ||
        profile->rr_conflict == CORE_RR_CONFLICT_CALL_PRI_LOST)
        config->handlers |= 1u << HANDLER_PRI_LOST | 1u << HANDLER_PRI_LOST_AFTER_SB;
    if (profile->handlers)
        config->handlers |= 1u << HANDLER_BEFORE_RESYNC_TARGET | 1u << HANDLER_AFTER_RESYNC_TARGET |
                            1u << HANDLER_UNFENCE_PEER;
    memcpy(config->node, name[host->index], strlen(name[host->index]) + 1);
    memcpy(config->peer_node, name[1 - host->index], strlen(name[1 - host->index]) + 1);
}

/* ---- commands ----------------------------------------------------------------------------------
 */

bool host_commanded(const struct sim_host *host, enum command_kind kind)
{
    for (unsigned i = 0; i < COMMANDS_MAX; i++)
        if (host->command[i].used && host->command[i].kind == kind)
            return true;
    return false;
}

bool host_command_at(struct sim_host *host, enum command_kind kind, uint32_t flags, uint64_t start,
                     uint64_t stop)
{
    struct event event = {.kind = EVENT_COMMAND};

    for (uint32_t i = 0; i < COMMANDS_MAX; i++) {
        if (!host->up || host->command[i].used)
            continue;
        host->command[i] = (struct sim_command){.used = true, .kind = kind, .flags = flags};
        host->commands++;
        TRACE(host->world, "%c: command %d flags %x", 'A' + host->index, (int)kind, flags);
        event.command.kind = kind;
        event.command.flags = flags;
        event.command.start = start;
        event.command.stop = stop;
        event.command.cookie = &host->command[i];
        host_event(host, &event);
        return true;
    }
    return false;
}

bool host_command(struct sim_host *host, enum command_kind kind, uint32_t flags)
{
    return host_command_at(host, kind, flags, 0, 0);
}

static void host_answer(struct sim_host *host, const struct action *action)
{
    struct sim_command *command = action->answer.cookie;
    enum command_kind kind;

    if (command < host->command || command >= host->command + COMMANDS_MAX || !command->used) {
        sim_violation(host->world, "core.h", "%c: an answer to no command", 'A' + host->index);
        return;
    }
    kind = command->kind;
    TRACE(host->world, "%c: command %d answered %s %s", 'A' + host->index, (int)kind,
          replica_code_name(action->answer.code), action->answer.text);
    command->used = false;
    host->commands--;
    if (kind == COMMAND_ATTACH && !host->attached) {
        host->attached = action->answer.code == 0;
        if (action->answer.code && action->answer.code != REPLICA_E_IO)
            sim_violation(host->world, "P4", "%c: cannot attach: %s", 'A' + host->index,
                          action->answer.text);
    }
    if (action->answer.code == 0)
        oracle_answered(host, kind);
    operator_answered(host, kind, command->flags, action->answer.code, action->answer.text);
}

/* ---- life and death
 * ------------------------------------------------------------------------------ */

void host_find_disk(struct sim_host *host)
{
    uint64_t slots[METADATA_SLOTS];
    struct metadata_superblock found;

    if (grow_find(host, slots, &found))
        core_set_device(host->core, slots, grow_meta_bytes(host),
                        (uint64_t)host->device_sectors * REPLICA_SECTOR_BYTES);
}

void host_boot(struct sim_host *host)
{
    struct core_config config;
    uint64_t slots[METADATA_SLOTS];
    struct core_allocator allocator = {arena_allocate, arena_release, host};
    uint64_t data_bytes = (uint64_t)host->device_sectors * REPLICA_SECTOR_BYTES;
    struct metadata_superblock found;

    host_configure(host, &config);
    if (!grow_find(host, slots, &found) ||
        core_new(&host->core, &config, slots, grow_meta_bytes(host), data_bytes, &allocator,
                 NULL)) {
        sim_violation(host->world, "core.h", "%c: core_new fails", 'A' + host->index);
        return;
    }
    if (core_actions_max(host->core) > SIM_ACTIONS)
        sim_violation(host->world, "bounded memory", "%u actions in a step",
                      core_actions_max(host->core));
    host->up = true;
    host->attached = host->frozen = false;
    host->boot_at = UINT64_MAX;
    host->deadline = core_deadline(host->core);
    core_status(host->core, &host->status);
    TRACE(host->world, "%c: boots", 'A' + host->index);
    host_command(host, COMMAND_ATTACH, 0);
}

/* The buffers that the core had are nobody's now. */
static void host_drop_handed(struct sim_host *host)
{
    struct sim_world *world = host->world;

    for (uint32_t i = 0; i < world->buffers.touched; i++) {
        struct replica_buffer *buffer = &world->buffers.list[i];

        if (buffer->references == 0 || !buffer->handed || buffer->host != host->index)
            continue;
        buffer->handed = false;
        buffer_put(world, buffer);
    }
}

static void host_forget(struct sim_host *host)
{
    guest_stop(host);
    host_drop_handed(host);
    core_free(host->core);
    if (host->arena_blocks)
        sim_violation(host->world, "bounded memory", "%c: core_free leaves %u blocks",
                      'A' + host->index, host->arena_blocks);
    host->core = NULL;
    host->up = host->attached = host->frozen = false;
    host->process++;
    host->deadline = UINT64_MAX;
    host->status = (struct core_status){0};
    memset(host->command, 0, sizeof host->command);
    host->commands = 0;
    host->owes = 0;
    host->discarding = false;
    host->asked = 0;
    policy_forgotten(host);
    if (host->world->promoting == host->index)
        host->world->promoting = -1;
    if (host->world->demoting == host->index)
        host->world->demoting = -1;
}

void host_crash(struct sim_host *host, bool power)
{
    if (!host->up)
        return;
    TRACE(host->world, "%c: %s", 'A' + host->index, power ? "loses power" : "is killed");
    net_vanish(host, power);
    disk_crash(host, power);
    meta_crash(host);
    if (power)
        oracle_power_cut(host); /* while it is known what the host was */
    else
        oracle_ended(host);
    host_forget(host);
}

void host_end(struct sim_host *host)
{
    TRACE(host->world, "%c: leaves", 'A' + host->index);
    if (host->disk.in_flight || host->meta.in_flight)
        sim_violation(host->world, "core.h", "%c: down is answered while I/O is under way",
                      'A' + host->index);
    net_vanish(host, false);
    disk_crash(host, false);
    meta_crash(host);
    oracle_ended(host);
    host_forget(host);
}

/* ---- actions
 * ---------------------------------------------------------------------------------------- */

static void host_release(struct sim_host *host, struct replica_buffer *buffer)
{
    if (!buffer || !buffer->handed || buffer->host != host->index) {
        sim_violation(host->world, "buffers", "%c: ACTION_RELEASE of what it does not have",
                      'A' + host->index);
        return;
    }
    buffer->handed = false;
    buffer_put(host->world, buffer);
}

static void host_act(struct sim_host *host, const struct action *action)
{
    struct sim_world *world = host->world;

    switch (action->kind) {
    case ACTION_DISK:
        disk_submit(host, action);
        break;
    case ACTION_META_READ:
    case ACTION_META_WRITE:
        meta_submit(host, action);
        break;
    case ACTION_SEND:
        net_send(host, action);
        break;
    case ACTION_LINK_CONNECT:
        net_connect(host);
        break;
    case ACTION_LINK_CLOSE:
        TRACE(world, "%c: closes the link: %s", 'A' + host->index,
              replica_code_name(action->link_close.code));
        net_close(host);
        break;
    case ACTION_COMPLETE:
        guest_complete(host, action->complete.cookie, action->complete.code);
        break;
    case ACTION_RELEASE:
        host_release(host, action->release.buffer);
        break;
    case ACTION_ANSWER:
        host_answer(host, action);
        break;
    case ACTION_HANDLER:
        policy_handler(host, action->handler.handler);
        world_at(world, SIM_HANDLER, host->index, world->now + sim_below(world, 20) * MS,
                 (uint32_t)action->handler.handler | action->handler.serial << 8, host->process);
        break;
    case ACTION_HANDOVER_ASK:
        migrate_asked(host, action->handover_ask.number, action->handover_ask.take_back);
        break;
    case ACTION_HANDOVER_END:
        migrate_ended(host, action->handover_end.number, action->handover_end.gone);
        break;
    case ACTION_MEASURE:
        world_at(world, SIM_MEASURE, host->index, world->now + sim_below(world, 2000) * US,
                 action->measure.serial, host->process);
        break;
    case ACTION_LOG:
        TRACE(world, "%c: log: %s", 'A' + host->index, action->log.text);
        if (strstr(action->log.text, "which the protocol forbids here"))
            sim_violation(world, "protocol", "%c: %s", 'A' + host->index, action->log.text);
        break;
    case ACTION_STATE_CHANGED:
        break;
    case ACTION_KIND_COUNT:
        sim_violation(world, "core.h", "an action of no kind");
        break;
    }
}

/* A random order in which messages keep theirs: everything else may trade places. */
static void host_shuffle(struct sim_world *world, uint16_t *order, uint32_t count)
{
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = sim_below(world, i + 1);
        uint16_t swap = order[i];

        if (world->actions[order[i]].kind == ACTION_SEND ||
            world->actions[order[j]].kind == ACTION_SEND)
            continue;
        order[i] = order[j];
        order[j] = swap;
    }
}

/* True when the armed crash strikes in this step: some of its actions happen, the others never. */
static bool host_crashes(struct sim_host *host, uint32_t count)
{
    struct sim_world *world = host->world;

    if (world->crash_host != host->index || count < world->crash_actions)
        return false;
    world->crash_host = -1;
    return true;
}

static void host_act_all(struct sim_host *host, uint32_t count)
{
    struct sim_world *world = host->world;
    uint16_t order[SHUFFLE_MAX];
    bool shuffle = world->profile.shuffle && count > 1 && count <= SHUFFLE_MAX;
    bool crash = host_crashes(host, count);
    uint32_t most = crash ? sim_below(world, count + 1) : count;
    uint32_t process = host->process;

    for (uint16_t i = 0; shuffle && i < count; i++)
        order[i] = i;
    if (shuffle)
        host_shuffle(world, order, count);
    for (uint32_t i = 0; i < most && host->process == process; i++)
        host_act(host, &world->actions[shuffle ? order[i] : i]);
    if (crash && host->process == process) {
        TRACE(world, "%c: dies after %u of %u actions", 'A' + host->index, most, count);
        host_crash(host, world->crash_power);
        host->boot_at = world->now + world->crash_back;
    }
}

/* The guest is stopped, and the answers to all of its requests came before or in the same step. */
static void host_drained(struct sim_host *host)
{
    if (!host->drained)
        return;
    host->drained = false;
    if (host->guest.in_flight)
        sim_violation(host->world, "P6", "%c: is demoted with %u requests open", 'A' + host->index,
                      host->guest.in_flight);
    guest_stop(host);
}

/* Never called from within host_act: what an action leads to comes by the queue. */
void host_event(struct sim_host *host, struct event *event)
{
    struct sim_world *world = host->world;
    struct core_status before = host->status;
    struct action *list = world->actions;
    struct actions actions = {.list = list, .capacity = SIM_ACTIONS};

    event->now = world->now;
    event->entropy = sim_random(world);
    replica_step(host->core, event, &actions);
    if (actions.count > core_actions_max(host->core))
        sim_violation(world, "core.h", "%c: %u actions, %u were promised", 'A' + host->index,
                      actions.count, core_actions_max(host->core));
    host->deadline = core_deadline(host->core);
    core_status(host->core, &host->status);
    oracle_stepped(host, &before);
    grow_stepped(host);
    if (actions.count > 0) {
        oracle_paced(host, list, actions.count);
        host_act_all(host, actions.count);
        host_drained(host);
    }
    oracle_acted(host);
}
