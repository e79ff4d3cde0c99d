/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_render.c - see adm_render.h. */
#include "adm_render.h"

#include <string.h>

enum { BAR_CELLS = 24 };

#define DURATION_MAX 359999.0 /* 99:59:59; whatever is longer is no estimate */

/* What a word means to the person: all is well, look here, or trouble. */
enum mood { MOOD_PLAIN, MOOD_GOOD, MOOD_WATCH, MOOD_BAD };

static const struct {
    const char *word;
    enum mood mood;
} moods[] = {
    {"Primary", MOOD_GOOD},       {"UpToDate", MOOD_GOOD},     {"Connected", MOOD_GOOD},
    {"Established", MOOD_GOOD},   {"Consistent", MOOD_WATCH},  {"Connecting", MOOD_WATCH},
    {"Attaching", MOOD_WATCH},    {"SyncSource", MOOD_WATCH},  {"SyncTarget", MOOD_WATCH},
    {"WFBitMapS", MOOD_WATCH},    {"WFBitMapT", MOOD_WATCH},   {"VerifyS", MOOD_WATCH},
    {"VerifyT", MOOD_WATCH},      {"PausedSyncS", MOOD_WATCH}, {"PausedSyncT", MOOD_WATCH},
    {"DUnknown", MOOD_WATCH},     {"Unconnected", MOOD_WATCH}, {"Outdated", MOOD_BAD},
    {"Inconsistent", MOOD_BAD},   {"Failed", MOOD_BAD},        {"Diskless", MOOD_BAD},
    {"StandAlone", MOOD_BAD},     {"Timeout", MOOD_BAD},       {"BrokenPipe", MOOD_BAD},
    {"NetworkFailure", MOOD_BAD}, {"ProtocolError", MOOD_BAD}, {"Disconnecting", MOOD_WATCH},
    {"Detaching", MOOD_WATCH},
};

static const char *color_begin(enum mood mood)
{
    static const char *const codes[] = {[MOOD_PLAIN] = "",
                                        [MOOD_GOOD] = "\033[32m",
                                        [MOOD_WATCH] = "\033[33m",
                                        [MOOD_BAD] = "\033[1;31m"};

    return codes[mood];
}

static void put_colored(const char *text, enum mood mood, bool color, FILE *out)
{
    bool painted = color && mood != MOOD_PLAIN;

    fprintf(out, "%s%s%s", painted ? color_begin(mood) : "", text, painted ? "\033[0m" : "");
}

static void put_word(const char *label, const char *word, bool color, FILE *out)
{
    enum mood mood = MOOD_PLAIN;

    for (size_t i = 0; i < sizeof moods / sizeof *moods; i++)
        if (strcmp(moods[i].word, word) == 0)
            mood = moods[i].mood;
    fputs(label, out);
    put_colored(word, mood, color, out);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static bool number_of(const json_t *object, const char *key, double *value)
{
    const json_t *number = json_object_get(object, key);

    if (!json_is_number(number))
        return false;
    *value = json_number_value(number);
    return true;
}

void adm_render_size(double kib, char *text, size_t capacity)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;

    while (kib >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        kib /= 1024;
        unit++;
    }
    (void)snprintf(text, capacity, "%.*f %s", unit == 0 ? 0 : 1, kib, units[unit]);
}

void adm_render_duration(double seconds, char *text, size_t capacity)
{
    unsigned whole = seconds > DURATION_MAX || !(seconds >= 0) ? 0 : (unsigned)(seconds + 0.5);

    if (seconds > DURATION_MAX || !(seconds >= 0))
        (void)snprintf(text, capacity, "unknown");
    else if (whole >= 3600)
        (void)snprintf(text, capacity, "%u:%02u:%02u", whole / 3600, whole / 60 % 60, whole % 60);
    else
        (void)snprintf(text, capacity, "%u:%02u", whole / 60, whole % 60);
}

/* A verification has looked at so much less than all; what differs it only marks. */
static bool kib_to_go(const json_t *device, double *kib)
{
    if (!number_of(device, "ov-left", kib))
        return number_of(device, "out-of-sync", kib);
    *kib /= 2; /* sectors */
    return true;
}

/* "    [=======>                ] 31.2%  6.8 GiB to go at 101.5 MiB/s, done in 1:09". */
static void put_progress(const json_t *device, double percent, FILE *out)
{
    double value, cells = percent < 0 ? 0 : percent > 100 ? 100 : percent;
    int full = (int)(cells * (double)BAR_CELLS / 100);
    char text[16];

    fputs("    [", out);
    for (int i = 0; i < BAR_CELLS; i++)
        fputc(i < full ? '=' : i == full ? '>' : ' ', out);
    /* rounded down: 100 % is said when nothing is left */
    fprintf(out, "] %.1f%%", (double)(int)(cells * 10) / 10);
    if (kib_to_go(device, &value)) {
        adm_render_size(value, text, sizeof text);
        fprintf(out, "  %s to go", text);
    }
    if (number_of(device, "db/dt [MiB/s]", &value))
        fprintf(out, " at %.1f MiB/s", value);
    if (json_is_true(json_object_get(device, "throttled")))
        fputs(" (held back: the guest is busy)", out);
    if (number_of(device, "estimated-seconds-to-finish", &value)) {
        adm_render_duration(value, text, sizeof text);
        fprintf(out, ", time left %s", text);
    }
    fputc('\n', out);
}

static bool is_syncing(const char *replication)
{
    return strstr(replication, "Sync") || strncmp(replication, "Verify", 6) == 0;
}

/* Who has to let the resync go on. */
static void put_suspended(const char *suspended, FILE *out)
{
    if (strstr(suspended, "user"))
        fputs("    paused on this host: tapdrbdadm resume-sync\n", out);
    if (strstr(suspended, "peer"))
        fputs("    paused on the peer: tapdrbdadm resume-sync there\n", out);
}

/* Marked in a pair that is in sync otherwise: that was `verify`, and nothing copies it yet. */
static void put_differing(const json_t *device, FILE *out)
{
    char text[16];
    double kib;

    if (!number_of(device, "out-of-sync", &kib) || kib <= 0)
        return;
    adm_render_size(kib, text, sizeof text);
    fprintf(out,
            "    out-of-sync: %s, found by verify: when the Primary's data are the good ones, "
            "disconnect and connect\n",
            text);
}

static void put_peer_device(const json_t *device, bool color, FILE *out)
{
    const char *replication = text_of(device, "replication-state");
    const char *disk = text_of(device, "peer-disk-state");
    const char *suspended = text_of(device, "resync-suspended");
    double done = 0;
    bool syncing = is_syncing(replication);

    if (!number_of(device, "percent-resync-done", &done))
        number_of(device, "percent-in-sync", &done);
    fputs("   ", out);
    if (*replication && strcmp(replication, "Established") != 0 && strcmp(replication, "Off") != 0)
        put_word(" replication:", replication, color, out);
    put_word(" peer-disk:", disk, color, out);
    if (syncing)
        fprintf(out, " done:%.2f", done);
    if (*suspended && strcmp(suspended, "no") != 0)
        fprintf(out, " resync-suspended:%s", suspended);
    fputc('\n', out);
    if (syncing)
        put_progress(device, done, out);
    else if (strcmp(replication, "Established") == 0 && strcmp(disk, "UpToDate") == 0)
        put_differing(device, out);
    put_suspended(suspended, out);
}

/* How much the peer misses: what is at risk while it is away. */
static void put_missing(const json_t *device, FILE *out)
{
    char text[16];
    double kib;

    if (!number_of(device, "out-of-sync", &kib) || kib <= 0)
        return;
    adm_render_size(kib, text, sizeof text);
    fprintf(out, "    out-of-sync: %s, to be resynced when the peer is back\n", text);
}

static void put_connection(const json_t *connection, bool color, FILE *out)
{
    const char *state = text_of(connection, "connection-state");
    const char *reason = text_of(connection, "reason");
    const json_t *devices = json_object_get(connection, "peer_devices"), *device;
    bool connected = strcmp(state, "Connected") == 0;
    size_t i;

    fprintf(out, "  %s", text_of(connection, "name"));
    if (!connected)
        put_word(" connection:", state, color, out);
    else
        put_word(" role:", text_of(connection, "peer-role"), color, out);
    fputc('\n', out);
    if (*reason)
        fprintf(out, "    %s\n", reason);
    json_array_foreach(devices, i, device)
    {
        if (connected)
            put_peer_device(device, color, out);
        else
            put_missing(device, out);
    }
}

/* Xen's number of a virtual disk as the guest names it (xen-vbd-interface(7)): xvda, xvdb2, ... */
static void put_vdev(unsigned number, FILE *out)
{
    unsigned disk, part;

    if (number >> 28 == 1) {
        disk = number >> 8 & 0xfffff;
        part = number & 0xff;
    } else if (number >> 8 == 202) {
        disk = number >> 4 & 0xf;
        part = number & 0xf;
    } else {
        fprintf(out, "%u", number);
        return;
    }
    if (disk >= 26)
        fprintf(out, "xvd%c%c", 'a' + (int)(disk / 26 - 1) % 26, 'a' + (int)(disk % 26));
    else
        fprintf(out, "xvd%c", 'a' + (int)disk);
    if (part)
        fprintf(out, "%u", part);
}

/* Who has the disk: guests, and clients of the NBD socket. */
static void put_users(const json_t *ours, FILE *out)
{
    const json_t *vbds = json_object_get(ours, "vbds"), *vbd;
    const json_t *nbd = json_object_get(ours, "nbd");
    double clients = 0, number = 0;
    size_t i;

    json_array_foreach(vbds, i, vbd)
    {
        number_of(vbd, "domain", &number);
        fprintf(out, "  domain:%.0f vdev:", number);
        number_of(vbd, "device", &number);
        put_vdev((unsigned)number, out);
        fprintf(out, " state:%s%s%s\n", text_of(vbd, "state"),
                json_is_false(json_object_get(vbd, "writable")) ? " read-only" : "",
                json_is_true(json_object_get(vbd, "handed-over"))
                    ? " handed-over: its I/O waits until it runs here again"
                : json_is_true(json_object_get(vbd, "held")) ? " held: its I/O waits"
                                                             : "");
        if (*text_of(vbd, "problem"))
            fprintf(out, "    %s\n", text_of(vbd, "problem"));
    }
    if (number_of(nbd, "clients", &clients) && clients > 0)
        fprintf(out, "  nbd-clients:%.0f\n", clients);
}

/* A Primary without its peer: since when, and what is lost if this host is lost too. `disk` is its
 * own disk's state. Anybody else: only that a promotion may wait for the handler. */
static void put_peer_loss(const json_t *ours, const char *disk, bool color, FILE *out)
{
    const json_t *loss = json_object_get(ours, "peer-loss");
    bool fencing = json_is_true(json_object_get(loss, "fence-peer-runs"));
    double seconds = 0, blocks = 0;

    if (!json_is_true(json_object_get(loss, "alone"))) {
        if (fencing)
            fputs("  fence-peer:running, becoming Primary waits for it\n", out);
        return;
    }
    number_of(loss, "seconds", &seconds);
    number_of(loss, "blocks-at-risk", &blocks);
    if (json_is_true(json_object_get(loss, "frozen")))
        put_colored("  frozen: the guest's I/O waits for the peer, or for tapdrbdadm resume-io",
                    MOOD_BAD, color, out);
    else if (strcmp(disk, "UpToDate") != 0)
        put_colored("  no data: no good disk here, and no peer; the guest's I/O fails", MOOD_BAD,
                    color, out);
    else
        put_colored("  alone: this host has the only copy of what is new", MOOD_BAD, color, out);
    fprintf(out, "\n    since:%.0fs blocks-at-risk:%.0f on-peer-loss:%s fencing:%s%s\n", seconds,
            blocks, text_of(loss, "policy"), text_of(loss, "fencing"),
            fencing ? " fence-peer:running" : "");
}

/* Who has the role while it is handed over, what is waited for, and how long already. */
static void put_handover(const json_t *ours, const char *peer, bool color, FILE *out)
{
    static const struct {
        const char *phase, *text;
    } phases[] = {
        {"Asking", "this host has the role, %s asks for it: waiting until the guest stands still"},
        {"Draining", "this host has the role, %s gets it: waiting for the last writes on both "
                     "disks"},
        {"Persisting", "this host gives the role to %s: waiting for its own metadata"},
        {"Waiting", "%s has the role: waiting for it to hand it over"},
    };
    const json_t *handover = json_object_get(ours, "handover");
    double seconds = 0;
    char text[256];

    number_of(handover, "seconds", &seconds);
    for (size_t i = 0; handover && i < sizeof phases / sizeof *phases; i++) {
        if (strcmp(phases[i].phase, text_of(handover, "phase")) != 0)
            continue;
        fputs("  ", out);
        (void)snprintf(text, sizeof text, phases[i].text, peer);
        put_colored("handover:", MOOD_WATCH, color, out);
        fprintf(out, " %s, for %.1fs\n", text, seconds);
    }
}

void adm_render_status(const json_t *status, bool color, FILE *out)
{
    const json_t *devices = json_object_get(status, "devices"), *device;
    const json_t *connections = json_object_get(status, "connections"), *connection;
    size_t i;

    fputs(text_of(status, "name"), out);
    put_word(" role:", text_of(status, "role"), color, out);
    if (json_is_true(json_object_get(status, "suspended")))
        put_colored(" suspended:yes", MOOD_BAD, color, out);
    fputc('\n', out);
    json_array_foreach(devices, i, device)
    {
        put_word("  disk:", text_of(device, "disk-state"), color, out);
        fputc('\n', out);
    }
    put_handover(json_object_get(status, "tapdrbd"),
                 text_of(json_array_get(connections, 0), "name"), color, out);
    put_peer_loss(json_object_get(status, "tapdrbd"),
                  text_of(json_array_get(devices, 0), "disk-state"), color, out);
    put_users(json_object_get(status, "tapdrbd"), out);
    json_array_foreach(connections, i, connection) put_connection(connection, color, out);
}

void adm_render_down(const char *resource, bool color, FILE *out)
{
    fprintf(out, "%s ", resource);
    put_colored("down", MOOD_BAD, color, out);
    fprintf(out, "\n  not up on this host: tapdrbdadm up %s\n", resource);
}

void adm_render_silent(const char *resource, bool color, FILE *out)
{
    fprintf(out, "%s ", resource);
    put_colored("not answering", MOOD_BAD, color, out);
    fprintf(out, "\n  its process is stopped, or its disk hangs: see the log\n");
}
