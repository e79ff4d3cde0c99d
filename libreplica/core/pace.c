/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pace.c - how fast a resync or a verification may ask, so that the guest's latency does not
 * collapse under it. The options are DRBD's:
 *
 *   c-max-rate     the rate while the guest is quiet; 0: no limit
 *   c-min-rate     the rate while the guest reads or writes; 0: the guest is not minded
 *   resync-rate    where it begins, and begins again after it had to mind the guest
 *   c-plan-ahead   how long the way from there up to c-max-rate takes; 0: it stays at resync-rate
 *   c-fill-target  how much may be under way at once; 0: what the link's window holds
 *
 * Who asks decides: the target, or whoever verifies. It sees the guest's requests that pass through
 * this node; of those that do not (the peer's guest reads locally) it learns from the answers,
 * which tell whether the peer minds a guest (CORE_ANSWER_BUSY). A guest counts as busy while a
 * request of it is open and for QUIET_NS after, so that the pauses between its requests do not.
 */
#include "core_private.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

#define QUIET_NS (100 * MS)
/* What was not used of the rate for so long is made up for: timers and answers come late. */
#define CREDIT_NS (10 * MS)

static bool guest_here(const struct core *core)
{
    return core->requests_used > 0 || core->peer_used > 0;
}

void pace_look(struct core *core)
{
    if (guest_here(core)) {
        core->pace.guest_at = core->now;
        core->pace.guest_seen = true;
    }
}

bool pace_busy(const struct core *core)
{
    const struct pace *pace = &core->pace;

    if (MUTANT(guest_unseen))
        return false;
    return guest_here(core) || (pace->guest_seen && core->now - pace->guest_at < QUIET_NS);
}

void pace_told(struct core *core, uint32_t flags)
{
    core->pace.peer_busy = flags & CORE_ANSWER_BUSY;
}

uint32_t pace_tell(const struct core *core)
{
    return pace_busy(core) && !MUTANT(guest_untold) ? CORE_ANSWER_BUSY : 0;
}

bool pace_throttled(const struct core *core)
{
    return core->config.resync_rate_min && (pace_busy(core) || core->pace.peer_busy);
}

/* On the way from resync-rate to c-max-rate. Milliseconds, so that nothing can wrap. */
static uint64_t risen(const struct core *core)
{
    uint64_t low = core->config.resync_rate, high = core->config.resync_rate_max;
    uint64_t whole = core->config.resync_plan_ahead / MS;
    uint64_t passed = (core->now - core->pace.rises_from) / MS;

    if (core->config.resync_plan_ahead == 0)
        return low;
    if (high == 0 || low == 0 || low >= high || passed >= whole)
        return high;
    return low + (high - low) / whole * passed;
}

uint64_t pace_rate(const struct core *core)
{
    uint64_t rate = risen(core), least = core->config.resync_rate_min;

    return pace_throttled(core) && (rate == 0 || rate > least) ? least : rate;
}

void pace_begin(struct core *core)
{
    struct pace *pace = &core->pace;

    pace->rises_from = core->now;
    pace->peer_busy = false;
    if (pace->next < core->now)
        pace->next = core->now;
}

bool pace_allows(const struct core *core, uint32_t under_way, uint32_t bytes)
{
    uint32_t most = core->config.resync_fill;

    if (most == 0 || most > WIRE_RESYNC_WINDOW_BYTES)
        most = WIRE_RESYNC_WINDOW_BYTES;
    return core->now >= core->pace.next && (under_way == 0 || under_way + bytes <= most);
}

void pace_took(struct core *core, uint32_t bytes)
{
    struct pace *pace = &core->pace;
    uint64_t rate = pace_rate(core), from = core->now;

    if (pace_throttled(core))
        pace->rises_from = core->now;
    else if (from > CREDIT_NS)
        from -= CREDIT_NS;
    if (rate == 0 || MUTANT(pace_ignored))
        return;
    if (pace->next < from)
        pace->next = from;
    pace->next += bytes * SECOND / rate;
}

uint64_t pace_deadline(const struct core *core)
{
    return core->now < core->pace.next ? core->pace.next : UINT64_MAX;
}
