/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * status.c - a resource as JSON. The fields are those of `drbdsetup status --json` (drbd-utils 9),
 * units too: KiB for amounts, so that tools made for DRBD read it. What only we have stands under
 * "tapdrbd".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica_private.h"

enum { KIB = 1024 };

static const double mib = 1024.0 * 1024.0;
static const uint64_t ns_a_second = 1000000000, ns_a_ms = 1000000;
static const uint64_t mark_age = 3000000000u; /* of the samples behind the present speed */

static json_int_t kib(uint64_t bytes)
{
    return (json_int_t)(bytes / KIB);
}

static json_t *percent(uint64_t part, uint64_t whole)
{
    double value = whole == 0 ? 100.0 : 100.0 * (double)part / (double)whole;

    return json_real((double)(int64_t)(value * 100.0) / 100.0);
}

/* For a list of members: `what` is a new reference, and NULL makes the whole NULL. */
static void put(json_t **object, const char *name, json_t *what)
{
    if (*object && json_object_set_new(*object, name, what) != 0) {
        json_decref(*object);
        *object = NULL;
    } else if (!*object) {
        json_decref(what);
    }
}

/* A text may quote what the peer sent, which need not be UTF-8: then its ASCII is shown. */
static json_t *text_json(const char *text)
{
    json_t *object = json_string(text);
    char plain[REPLICA_ERROR_TEXT_MAX];

    if (object)
        return object;
    (void)snprintf(plain, sizeof plain, "%s", text);
    for (char *at = plain; *at; at++)
        if ((unsigned char)*at > 126)
            *at = '?';
    return json_string(plain);
}

static json_t *device_json(struct replica *replica, const struct core_status *status)
{
    char why[256] = "";
    bool used = replica->callbacks.in_use &&
                replica->callbacks.in_use(replica->argument, why, sizeof why) > 0;

    return json_pack("{s:i s:i s:s s:b s:b s:b s:I s:I s:I s:I s:I s:i s:i}", "volume", 0, "minor",
                     0, "disk-state", replica_disk_name(status->disk), "client", 0, "open", used,
                     "quorum", 1, "size", kib(status->data_bytes), "read", kib(status->read_bytes),
                     "written", kib(status->written_bytes), "al-writes",
                     (json_int_t)status->al_writes, "bm-writes", (json_int_t)status->bitmap_writes,
                     "upper-pending", (int)status->requests_pending, "lower-pending",
                     (int)status->local_pending);
}

/* ---- resync --------------------------------------------------------------------------------- */

static bool verifying(const struct core_status *status)
{
    return status->replication == REPLICA_REPLICATION_VERIFY_S ||
           status->replication == REPLICA_REPLICATION_VERIFY_T;
}

/* A resync or a verification has a beginning, a speed and an end. */
static bool has_progress(const struct core_status *status)
{
    switch (status->replication) {
    case REPLICA_REPLICATION_SYNC_SOURCE:
    case REPLICA_REPLICATION_SYNC_TARGET:
    case REPLICA_REPLICATION_PAUSED_SYNC_S:
    case REPLICA_REPLICATION_PAUSED_SYNC_T:
    case REPLICA_REPLICATION_VERIFY_S:
    case REPLICA_REPLICATION_VERIFY_T:
        return true;
    case REPLICA_REPLICATION_OFF:
    case REPLICA_REPLICATION_ESTABLISHED:
    case REPLICA_REPLICATION_WF_BITMAP_S:
    case REPLICA_REPLICATION_WF_BITMAP_T:
    case REPLICA_REPLICATION_COUNT:
        break;
    }
    return false;
}

/* Samples the progress, so that the next status can tell the present speed. */
static void take_marks(struct replica *replica, const struct core_status *status, uint64_t now)
{
    struct resync_mark *marks = replica->marks;

    if (marks[0].at < status->resync_started || marks[0].done > status->resync_done_bytes)
        marks[0] = marks[1] = (struct resync_mark){.at = status->resync_started};
    if (now - marks[1].at > mark_age) {
        marks[0] = marks[1];
        marks[1] = (struct resync_mark){.at = now, .done = status->resync_done_bytes};
    }
}

struct speed {
    uint64_t ms, sectors;
};

static struct speed speed_since(const struct resync_mark *mark, uint64_t done, uint64_t now)
{
    uint64_t ms = (now - mark->at) / ns_a_ms;

    return (struct speed){.ms = ms ? ms : 1, .sectors = (done - mark->done) / REPLICA_SECTOR_BYTES};
}

static double mib_a_second(struct speed speed)
{
    return (double)speed.sectors * 1000.0 / (double)speed.ms / (mib / (double)REPLICA_SECTOR_BYTES);
}

static uint64_t paused_ns(const struct core_status *status, uint64_t now)
{
    uint64_t since = status->resync_paused_since;

    return status->resync_paused + (since && now > since ? now - since : 0);
}

static void put_progress(struct replica *replica, const struct core_status *status, json_t **object)
{
    uint64_t now = replica_loop_now(replica->loop), done = status->resync_done_bytes;
    struct resync_mark start = {.at = status->resync_started};
    struct speed whole, older, newer;
    uint64_t rest = status->resync_total_bytes > done ? status->resync_total_bytes - done : 0;
    double left = (double)rest / mib, rate;

    take_marks(replica, status, now);
    whole = speed_since(&start, done, now);
    older = speed_since(&replica->marks[0], done, now);
    newer = now - replica->marks[1].at < ns_a_second ? older
                                                     : speed_since(&replica->marks[1], done, now);
    rate = mib_a_second(older.sectors ? older : whole);
    put(object, "rs-total", json_integer((json_int_t)(status->resync_total_bytes / 512)));
    put(object, "rs-dt-start-ms", json_integer((json_int_t)whole.ms));
    put(object, "rs-paused-ms", json_integer((json_int_t)(paused_ns(status, now) / ns_a_ms)));
    put(object, "rs-dt0-ms", json_integer((json_int_t)newer.ms));
    put(object, "rs-db0-sectors", json_integer((json_int_t)newer.sectors));
    put(object, "rs-dt1-ms", json_integer((json_int_t)older.ms));
    put(object, "rs-db1-sectors", json_integer((json_int_t)older.sectors));
    put(object, "rs-failed", json_integer(0));
    put(object, "rs-same-csum",
        json_integer((json_int_t)(status->resync_same_bytes / REPLICA_BLOCK_BYTES)));
    put(object, "want", json_real((double)status->resync_rate / mib));
    put(object, "throttled", json_boolean(status->resync_throttled)); /* ours */
    put(object, "db0/dt0 [MiB/s]", json_real(mib_a_second(newer)));
    put(object, "db1/dt1 [MiB/s]", json_real(mib_a_second(older)));
    put(object, "estimated-seconds-to-finish",
        json_integer(rate > 0 ? (json_int_t)(left / rate) : 987654321));
    put(object, "db/dt [MiB/s]", json_real(mib_a_second(whole)));
    put(object, "percent-resync-done", percent(done, status->resync_total_bytes));
}

/* Whose pause-sync holds the resync back, this one or the next, in DRBD's words. */
static const char *suspended_by(const struct core_status *status)
{
    if (status->paused_here)
        return status->paused_peer ? "user,peer" : "user";
    return status->paused_peer ? "peer" : "no";
}

/* ---- the peer ------------------------------------------------------------------------------- */

static json_t *peer_device_json(struct replica *replica, const struct core_status *status)
{
    bool details = has_progress(status);
    uint64_t out = status->out_of_sync_bytes;
    uint64_t in = out < status->data_bytes ? status->data_bytes - out : 0;
    json_t *object = json_pack(
        "{s:i s:s s:s s:b s:s s:I s:I s:I s:i s:i s:b s:b}", "volume", 0, "replication-state",
        replica_replication_name(status->replication), "peer-disk-state",
        replica_disk_name(status->peer_disk), "peer-client", 0, "resync-suspended",
        suspended_by(status), "received", kib(status->received_bytes), "sent",
        kib(status->sent_bytes), "out-of-sync", kib(out), "pending", (int)status->peer_pending,
        "unacked", 0, "has-sync-details", details, "has-online-verify-details", verifying(status));

    put(&object, "percent-in-sync", percent(in, status->data_bytes));
    if (details)
        put_progress(replica, status, &object);
    if (verifying(status)) { /* sectors, as `tapdrbdadm verify --start` wants them */
        uint64_t rest = status->resync_total_bytes - status->resync_done_bytes;

        put(&object, "ov-left", json_integer((json_int_t)(rest / REPLICA_SECTOR_BYTES)));
        put(&object, "ov-differs", json_integer((json_int_t)kib(status->verify_differs_bytes)));
    }
    return object;
}

static int node_number(const char *name, const char *other)
{
    return strcmp(name, other) < 0 ? 0 : 1;
}

/* Why there is no connection: what the two told each other when they parted, or what the last
 * attempt ran into. */
static void put_reason(struct replica *replica, const struct core_status *status,
                       const struct link_facts *facts, json_t **object)
{
    const char *reason = driver_farewell(replica->driver);
    const struct config_resource *resource = &replica->resource;
    char waits[REPLICA_ERROR_TEXT_MAX];

    if (status->connection == REPLICA_CONNECTION_CONNECTED)
        return;
    if (status->connection != REPLICA_CONNECTION_STANDALONE && facts->trouble[0])
        reason = facts->trouble;
    if (!reason[0] && facts->awaits_call) {
        (void)snprintf(waits, sizeof waits,
                       "waits for %s to call: is the resource up there, and not StandAlone, and "
                       "does the firewall here let it reach port %u?",
                       resource->peer.name, resource->local.port);
        reason = waits;
    }
    if (reason[0])
        put(object, "reason", text_json(reason));
}

static json_t *address_json(const struct config_host *host)
{
    return json_pack("{s:s s:i s:s}", "address", host->address, "port", (int)host->port, "family",
                     strchr(host->address, ':') ? "ipv6" : "ipv4");
}

static json_t *connection_json(struct replica *replica, const struct core_status *status,
                               const struct link_facts *facts)
{
    const struct config_resource *resource = &replica->resource;
    json_t *object = json_pack("{s:i s:s s:s s:b s:s s:b s:I s:i}", "peer-node-id",
                               node_number(resource->peer.name, resource->local.name), "name",
                               resource->peer.name, "connection-state",
                               replica_connection_name(status->connection), "congested",
                               facts->congested, "peer-role", replica_role_name(status->peer_role),
                               "tls", 1, "ap-in-flight", (json_int_t)0, "rs-in-flight", 0);

    put_reason(replica, status, facts, &object);
    put(&object, "paths",
        json_pack("[{s:o s:o s:b}]", "this_host", address_json(&resource->local), "remote_host",
                  address_json(&resource->peer), "established", facts->peer[0] != '\0'));
    put(&object, "peer_devices", json_pack("[o]", peer_device_json(replica, status)));
    return object;
}

/* ---- ours ----------------------------------------------------------------------------------- */

static json_t *link_json(const struct link_facts *facts)
{
    return json_pack("{s:s s:s s:I s:i s:o}", "address", facts->peer, "cipher", facts->cipher,
                     "key-updates", (json_int_t)facts->key_updates, "queued", (int)facts->queued,
                     "trouble", text_json(facts->trouble));
}

static json_t *buffers_json(const struct replica *replica)
{
    return json_pack(
        "{s:I s:i s:I s:i s:I s:i}", "guest-used",
        (json_int_t)buffer_pool_used(replica->guest_pool), "guest-size", (int)BUFFER_GUEST_BYTES,
        "link-used", (json_int_t)buffer_pool_used(replica->link_pool), "link-size",
        (int)BUFFER_LINK_BYTES, "read-used", (json_int_t)buffer_pool_used(replica->read_pool),
        "read-size", (int)BUFFER_READ_BYTES);
}

static json_t *extra_json(struct replica *replica)
{
    char *text = replica->extra ? replica->extra(replica->extra_argument) : NULL;
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;

    free(text);
    if (object && !json_is_object(object)) {
        json_decref(object);
        object = NULL;
    }
    return object ? object : json_object();
}

/* What a Primary is doing without its peer: since when, and how much of it only this host has. */
static json_t *peer_loss_json(const struct replica *replica, const struct core_status *status)
{
    const struct core_config *core = &replica->resource.core;
    bool alone = status->alone_since > 0 && status->connection != REPLICA_CONNECTION_CONNECTED;
    uint64_t now = replica_loop_now(replica->loop);

    return json_pack("{s:s s:s s:b s:b s:b s:I s:I}", "policy",
                     core->on_peer_loss == CORE_PEER_LOSS_FREEZE ? "freeze" : "continue", "fencing",
                     core->fencing == CORE_FENCING_DONT_CARE       ? "dont-care"
                     : core->fencing == CORE_FENCING_RESOURCE_ONLY ? "resource-only"
                                                                   : "resource-and-stonith",
                     "alone", alone, "frozen", status->frozen, "fence-peer-runs", status->fencing,
                     "seconds", (json_int_t)(alone ? (now - status->alone_since) / ns_a_second : 0),
                     "blocks-at-risk",
                     (json_int_t)(alone ? status->out_of_sync_bytes / REPLICA_BLOCK_BYTES : 0));
}

/* What is waited for, and for how long. */
static json_t *handover_json(const struct replica *replica, const struct core_status *status)
{
    uint64_t now = replica_loop_now(replica->loop);
    uint64_t passed = now > status->handover_since ? now - status->handover_since : 0;

    return json_pack("{s:s s:f}", "phase", replica_handover_name(status->handover), "seconds",
                     (double)passed / 1e9);
}

static json_t *ours_json(struct replica *replica, const struct core_status *status,
                         const struct link_facts *facts)
{
    const struct loop_counters *counters = loop_counters(replica->loop);
    char uuid[20];
    json_t *object = extra_json(replica);

    (void)snprintf(uuid, sizeof uuid, "%016llX", (unsigned long long)status->generation.current);
    put(&object, "version", json_string(replica_version()));
    put(&object, "node", json_string(replica->resource.local.name));
    if (status->handover != REPLICA_HANDOVER_NONE)
        put(&object, "handover", handover_json(replica, status));
    put(&object, "io-suspended", json_boolean(status->io_suspended));
    put(&object, "peer-loss", peer_loss_json(replica, status));
    put(&object, "epoch", json_integer((json_int_t)status->epoch));
    put(&object, "current-uuid", json_string(uuid));
    put(&object, "direct-io", json_boolean(replica->disk && disk_is_direct(replica->disk)));
    put(&object, "link", link_json(facts));
    put(&object, "buffers", buffers_json(replica));
    put(&object, "loop",
        json_pack("{s:I s:I s:I}", "turns", (json_int_t)counters->turns, "sleeps",
                  (json_int_t)counters->sleeps, "spins", (json_int_t)counters->spins));
    return object;
}

/* Why I/O stands still, in DRBD's words. A loss that is being recorded has none of them, and is
 * over in a moment; on-peer-loss freeze is a person's choice. */
static void put_suspended(const struct replica *replica, const struct core_status *status,
                          json_t **object)
{
    bool no_data = status->frozen && status->disk != REPLICA_DISK_UPTODATE;
    bool fencing = status->frozen && !no_data &&
                   replica->resource.core.fencing == CORE_FENCING_RESOURCE_AND_STONITH &&
                   replica->resource.core.on_peer_loss != CORE_PEER_LOSS_FREEZE;

    put(object, "suspended", json_boolean(status->io_suspended));
    put(object, "suspended-user", json_boolean(status->frozen && !no_data && !fencing));
    put(object, "suspended-no-data", json_boolean(no_data));
    put(object, "suspended-fencing", json_boolean(fencing));
    put(object, "suspended-quorum", json_false());
    put(object, "force-io-failures", json_false());
}

json_t *status_json(struct replica *replica)
{
    const struct config_resource *resource = &replica->resource;
    struct core_status status;
    struct link_facts facts;
    json_t *object;

    core_status(driver_core(replica->driver), &status);
    link_facts(driver_link(replica->driver), &facts);
    object = json_pack("{s:s s:i s:s}", "name", resource->name, "node-id",
                       node_number(resource->local.name, resource->peer.name), "role",
                       replica_role_name(status.role));
    put_suspended(replica, &status, &object);
    put(&object, "write-ordering", json_string("flush"));
    put(&object, "devices", json_pack("[o]", device_json(replica, &status)));
    put(&object, "connections", json_pack("[o]", connection_json(replica, &status, &facts)));
    put(&object, "tapdrbd", ours_json(replica, &status, &facts));
    return object;
}

void status_generations(const struct replica *replica, char *text, size_t room)
{
    static const struct {
        unsigned flag;
        const char *words;
    } flags[] = {
        {METADATA_CONSISTENT, "data is consistent"},
        {METADATA_WAS_UPTODATE, "data was or is up to date"},
        {METADATA_PRIMARY, "node was or is Primary"},
        {METADATA_CONNECTED, "node was or is connected"},
        {METADATA_FULL_SYNC, "the whole bitmap counts as set"},
        {METADATA_PEER_OUTDATED, "peer is outdated"},
        {METADATA_CRASHED_PRIMARY, "node was a crashed Primary"},
        {METADATA_AL_CLEAN, "activity log is clean"},
    };
    struct core_status status;
    const struct generation *generation = &status.generation;
    int used;

    core_status(driver_core(replica->driver), &status);
    used = snprintf(text, room,
                    "current data generation UUID        %016llX\n"
                    "bitmap's base data generation UUID  %016llX\n"
                    "younger history UUID                %016llX\n"
                    "older history UUID                  %016llX\n"
                    "ownership epoch                     %llu\n",
                    (unsigned long long)generation->current, (unsigned long long)generation->bitmap,
                    (unsigned long long)generation->history[0],
                    (unsigned long long)generation->history[1], (unsigned long long)status.epoch);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if ((status.flags & flags[i].flag) && used > 0 && (size_t)used < room)
            used += snprintf(text + used, room - (size_t)used, "%s\n", flags[i].words);
}
