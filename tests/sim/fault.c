/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fault.c - what goes wrong, and when. Faults come alone, spread over the guest's writes, or right
 * after one another, so that they hit what recovers from the one before.
 */
#include "sim.h"

enum fault {
    FAULT_CUT,        /* both ends notice at once */
    FAULT_HALF_OPEN,  /* one end does */
    FAULT_BLACK_HOLE, /* nothing gets through for a while, both ways or one way */
    FAULT_SLOW,
    FAULT_STALL_DISK,
    FAULT_FREEZE, /* SIGSTOP */
    FAULT_KILL,
    FAULT_POWER,
    FAULT_BOTH,
    FAULT_MID_STEP, /* a kill or a power cut between two actions of one step */
    FAULT_HANDOVER,
    FAULT_MIGRATE,
    FAULT_DISCONNECT,
    FAULT_INTRUDE,  /* promote on the peer of a Primary */
    FAULT_TRESPASS, /* a request that must be refused */
    FAULT_DOWN,
    FAULT_INVALIDATE,
    FAULT_INVALIDATE_REMOTE,
    FAULT_OUTDATE,
    FAULT_RESIZE, /* neither; the schedules in which devices grow have several */
    FAULT_DETACH,
    FAULT_DISK,   /* it answers with errors for a while */
    FAULT_HANG,   /* it does not answer */
    FAULT_VERIFY, /* no fault: but it may come at any time, and must see no difference */
    FAULT_PAUSE,  /* nor is this: a resync that is paused must go on in the end */
    FAULT_TYPE,   /* nor what somebody types who does no harm */
    FAULT_COUNT
};

static const struct {
    const char *name;
    uint32_t weight;
} faults[FAULT_COUNT] = {
    [FAULT_CUT] = {"cut", 14},
    [FAULT_HALF_OPEN] = {"half-open", 6},
    [FAULT_BLACK_HOLE] = {"hole", 10},
    [FAULT_SLOW] = {"slow", 4},
    [FAULT_STALL_DISK] = {"stall", 12},
    [FAULT_FREEZE] = {"freeze", 4},
    [FAULT_KILL] = {"kill", 10},
    [FAULT_POWER] = {"power", 12},
    [FAULT_BOTH] = {"both", 8},
    [FAULT_MID_STEP] = {"mid-step", 14},
    [FAULT_HANDOVER] = {"handover", 8},
    [FAULT_DISCONNECT] = {"disconnect", 5},
    [FAULT_INTRUDE] = {"intrude", 4},
    [FAULT_TRESPASS] = {"trespass", 4},
    [FAULT_DOWN] = {"down", 3},
    [FAULT_MIGRATE] = {"migrate", 24},
    [FAULT_VERIFY] = {"verify", 6},
    [FAULT_RESIZE] = {"resize", 12},
    [FAULT_INVALIDATE] = {"invalidate", 3},
    [FAULT_INVALIDATE_REMOTE] = {"invalidate-remote", 3},
    [FAULT_OUTDATE] = {"outdate", 3},
    [FAULT_PAUSE] = {"pause", 6},
    [FAULT_TYPE] = {"type", 6},
    [FAULT_DETACH] = {"detach", 6},
    [FAULT_DISK] = {"disk", 6},
    [FAULT_HANG] = {"hang", 3},
};

static enum fault fault_draw(struct sim_world *world)
{
    uint32_t total = 0, draw;

    for (unsigned i = 0; i < FAULT_COUNT; i++)
        total += faults[i].weight;
    draw = sim_below(world, total);
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if (draw < faults[i].weight)
            return (enum fault)i;
        draw -= faults[i].weight;
    }
    return FAULT_CUT;
}

static uint64_t fault_time(struct sim_world *world)
{
    switch (sim_below(world, 3)) {
    case 0:
        return sim_below(world, 2000) * US;
    case 1:
        return sim_below(world, 40) * MS;
    default:
        return sim_below(world, 250) * MS;
    }
}

/* The victim is mostly the Primary, or its peer; half and half. */
static struct sim_host *fault_victim(struct sim_world *world)
{
    return &world->host[sim_below(world, SIM_HOSTS)];
}

/* Its process, or its host, is to die in the middle of a step. */
static void crash_in_step(struct sim_host *host)
{
    struct sim_world *world = host->world;

    world->crash_host = host->index;
    world->crash_actions = 1 + sim_below(world, 4);
    world->crash_power = sim_chance(world, 2);
    world->crash_back = fault_time(world);
}

/* Crashes one host; sometimes its guest is to run on the other one from then on. */
static void crash(struct sim_host *host, bool power)
{
    struct sim_world *world = host->world;

    if (!host->up)
        return;
    host_crash(host, power);
    host->boot_at = world->now + fault_time(world);
    if (sim_chance(world, 2))
        world->prefer = 1 - host->index;
    if (sim_chance(world, 6)) { /* and again, as soon as it has booted */
        crash_in_step(host);
        world->crash_actions = 1;
    }
}

static void fault_mid_step(struct sim_world *world)
{
    crash_in_step(fault_victim(world));
}

static void fault_both(struct sim_world *world)
{
    bool power = sim_chance(world, 2);

    for (unsigned i = 0; i < SIM_HOSTS; i++)
        crash(&world->host[i], power || sim_chance(world, 4));
}

/* All of a disk, or one thing, while the rest gets on and trusts that it has waited for it. */
static void fault_stall(struct sim_host *host)
{
    uint64_t until = host->world->now + fault_time(host->world);

    switch (sim_below(host->world, 4)) {
    case 0:
        host->disk.stalled_until = until;
        break;
    case 1:
        host->disk.one_until = until;
        break;
    case 2:
        host->meta.map_until = until;
        break;
    default:
        host->meta.super_until = until;
        break;
    }
}

static void fault_freeze(struct sim_world *world)
{
    struct sim_host *host = fault_victim(world);

    if (!host->up)
        return;
    host->frozen = true;
    world_at(world, SIM_THAW, host->index, world->now + fault_time(world), 0, 0);
}

static void fault_disconnect(struct sim_world *world)
{
    struct sim_host *host = fault_victim(world);

    if (!host->up || !host->attached || host->frozen)
        return;
    host->hold = true;
    host->hold_until = world->now + fault_time(world);
    host_command(host, COMMAND_DISCONNECT, sim_chance(world, 2) ? COMMAND_FORCE : 0);
}

/* Somebody types `primary` on the wrong host. Connected, or Inconsistent, it must be refused. */
static void fault_intrude(struct sim_world *world)
{
    struct sim_host *host = fault_victim(world);
    struct sim_host *peer = host_peer(host);

    if (!host->up || !host->attached || host->frozen || world->promoting >= 0 ||
        host->guest.running)
        return;
    if (!world->profile.reckless && host->status.disk >= REPLICA_DISK_CONSISTENT &&
        (peer->status.role == REPLICA_ROLE_PRIMARY || !operator_safe(host)))
        return;
    world->promoting = host->index;
    host_command(host, COMMAND_PROMOTE, 0);
}

static void fault_down(struct sim_world *world)
{
    struct sim_host *host = fault_victim(world);

    if (!host->up || !host->attached || host->frozen || host->guest.running ||
        world->promoting == host->index)
        return;
    host_command(host, COMMAND_DOWN, 0);
}

static void fault_do(struct sim_world *world, enum fault fault)
{
    struct sim_host *victim = fault_victim(world);

    switch (fault) {
    case FAULT_CUT:
        net_cut(world);
        break;
    case FAULT_HALF_OPEN:
        world->net.half_open_next = sim_chance(world, 2);
        net_half_open(victim);
        break;
    case FAULT_BLACK_HOLE:
        net_block(world, 1 + sim_below(world, 3), fault_time(world));
        break;
    case FAULT_SLOW:
        net_slow(world, sim_below(world, SIM_HOSTS), fault_time(world));
        break;
    case FAULT_STALL_DISK:
        fault_stall(victim);
        break;
    case FAULT_FREEZE:
        fault_freeze(world);
        break;
    case FAULT_KILL:
    case FAULT_POWER:
        crash(victim, fault == FAULT_POWER);
        break;
    case FAULT_BOTH:
        fault_both(world);
        break;
    case FAULT_MID_STEP:
        fault_mid_step(world);
        break;
    case FAULT_HANDOVER:
        world->prefer = 1 - world->prefer;
        break;
    case FAULT_MIGRATE:
        migrate_begin(world);
        break;
    case FAULT_DISCONNECT:
        fault_disconnect(world);
        break;
    case FAULT_INTRUDE:
        fault_intrude(world);
        break;
    case FAULT_TRESPASS:
        for (unsigned i = 0; i < 4 && !world->failed; i++)
            guest_trespass(&world->host[sim_below(world, SIM_HOSTS)]);
        break;
    case FAULT_DOWN:
        fault_down(world);
        break;
    case FAULT_INVALIDATE:
        admin_invalidate(victim);
        break;
    case FAULT_INVALIDATE_REMOTE:
        admin_invalidate_remote(victim);
        break;
    case FAULT_OUTDATE:
        admin_outdate(victim);
        break;
    case FAULT_RESIZE:
        if (world->profile.sectors > world->profile.first_sectors)
            grow_now(world);
        break;
    case FAULT_DETACH:
        if (victim->up && victim->attached && !victim->frozen)
            host_command(victim, COMMAND_DETACH, 0);
        break;
    case FAULT_DISK:
        victim->disk.fails_until = world->now + fault_time(world) / 4;
        break;
    case FAULT_HANG:
        victim->disk.hangs_until = world->now + SECOND + fault_time(world);
        break;
    case FAULT_VERIFY:
        admin_verify(victim);
        break;
    case FAULT_PAUSE:
        admin_pause(victim);
        break;
    case FAULT_TYPE:
        admin_type(victim);
        break;
    case FAULT_COUNT:
        break;
    }
}

void fault_plan(struct sim_world *world)
{
    const struct sim_profile *profile = &world->profile;
    uint64_t delay = sim_chance(world, 2) ? sim_below(world, 1500) * US : sim_below(world, 12) * MS;

    if (world->faults_done >= profile->faults_wanted)
        return;
    if (sim_chance(world, 3)) {
        world->fault_at_write = 0; /* on the heels of the one before */
    } else {
        world->fault_at_write =
            profile->writes_wanted * (world->faults_done + 1) / (profile->faults_wanted + 1);
        world->fault_at = world->now + SECOND; /* but do not wait for ever for the guest */
    }
    world_at(world, SIM_FAULT, 0, world->now + delay, 0, 0);
}

void fault_next(struct sim_world *world)
{
    enum fault fault;

    if (world->healing)
        return;
    if (world->writes_issued < world->fault_at_write && world->now < world->fault_at) {
        world_at(world, SIM_FAULT, 0, world->now + MS / 2, 0, 0);
        return;
    }
    fault = fault_draw(world);
    TRACE(world, "fault: %s", faults[fault].name);
    fault_do(world, fault);
    world->faults_done++;
    world->counts.faults++;
    fault_plan(world);
}

void fault_heal(struct sim_world *world)
{
    TRACE(world, "no more faults");
    world->healing = true;
    world->healed_at = world->now;
    world->crash_host = -1;
    world->net.half_open_next = false;
    for (unsigned i = 0; i < SIM_HOSTS; i++) {
        struct sim_host *host = &world->host[i];

        host->disk.stalled_until = host->disk.one_until = 0;
        host->disk.fails_until = host->disk.hangs_until = 0;
        host->meta.map_until = host->meta.super_until = 0;
        host->frozen = false;
        host->hold = false;
        world->net.lane[i].slow_until = 0;
        if (!host->up)
            host->boot_at = world->now;
    }
    net_unblock(world, 3);
}
