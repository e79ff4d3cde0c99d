/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replica.h - libreplica's public interface: a disk that lives on two hosts.
 *
 * A program opens a resource on a loop, becomes Primary, takes buffers, submits requests, and is
 * called back when both nodes have committed. All calls are made on the thread that runs the loop;
 * callbacks come from replica_loop_run, and from nowhere else. Nothing blocks except
 * replica_open (reads files, opens the disk) and replica_close. See libreplica(3).
 *
 * Return values: 0 or a negative enum replica_code; where there is a `struct replica_error *error`
 * (may be NULL) it then holds one line that says what, where and what to do. Out-parameters are
 * untouched on failure.
 */
#ifndef LIBREPLICA_REPLICA_H
#define LIBREPLICA_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libreplica/words.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- loop: one io_uring, one thread --------------------------------------------------------- */

struct replica_loop;
struct replica_watch;
struct replica_timer;

/* Errors: REPLICA_E_SYSTEM (io_uring not available: Linux 5.19 or newer is needed),
 * REPLICA_E_MEMORY. Ownership: *loop is freed with replica_loop_free, after everything on it was
 * closed. */
int replica_loop_new(struct replica_loop **loop, struct replica_error *error);
void replica_loop_free(struct replica_loop *loop);

/* Runs until replica_loop_stop. Errors: REPLICA_E_SYSTEM. */
int replica_loop_run(struct replica_loop *loop, struct replica_error *error);
void replica_loop_stop(struct replica_loop *loop);

/* The loop's clock, ns, monotonic, taken once a turn. */
uint64_t replica_loop_now(const struct replica_loop *loop);

/* Calls `ready` each time `fd` is readable (level-triggered) or, with `write`, writable, until
 * unwatched. The descriptor stays the caller's and must outlive the watch. `events` are poll(2)'s.
 * Errors: REPLICA_E_MEMORY. */
int replica_loop_watch(struct replica_loop *loop, int fd, bool write,
                       void (*ready)(void *argument, uint32_t events), void *argument,
                       struct replica_watch **watch);
void replica_loop_unwatch(struct replica_watch *watch);

/* A one-shot timer, made disarmed. `at` is on the loop's clock; UINT64_MAX disarms. */
int replica_timer_new(struct replica_loop *loop, void (*expired)(void *argument), void *argument,
                      struct replica_timer **timer);
void replica_timer_set(struct replica_timer *timer, uint64_t at);
void replica_timer_free(struct replica_timer *timer);

/* Called once at the end of each turn, after all completions of the turn were delivered and before
 * the loop sleeps: the place to push a batch of ring responses and send one notification.
 * One function a loop user; several may be registered. */
int replica_loop_at_turn_end(struct replica_loop *loop, void (*turn_end)(void *argument),
                             void *argument);

/* ---- resource ------------------------------------------------------------------------------- */

struct replica;

/* Where things are; all strings are copied. NULL: the default in brackets. */
struct replica_options {
    const char *resource;
    const char *config_dir; /* [/etc/tapdrbd.d] the *.res files and the keys */
    const char *run_dir;    /* [/run/tapdrbd] control socket RESOURCE.ctl */
    const char *node;       /* [uname -n] which `on` section is ours */
};

struct replica_control_request; /* a control client waiting for an answer */

/* Facts pushed to the client. Any may be NULL. */
struct replica_callbacks {
    /* Role, disk, connection or anything else in replica_status changed. */
    void (*changed)(void *argument);
    /* The size seen by a guest changed (bytes). */
    void (*resized)(void *argument, uint64_t size);
    /* A `down` command wants the process to end: close vbds, then replica_close, then leave. */
    void (*shutdown)(void *argument);
    /* Asked before a demotion or a down is carried out: how many users (vbds, NBD clients) hold
     * the device open for writing. Not 0: the command is refused, and `why` says who. */
    unsigned (*in_use)(void *argument, char *why, size_t why_bytes);
    /* The peer wants the Primary role, which this node has. May it go? The client answers now or
     * later, with replica_handover_answer: yes, once every user of the disk here stands still (no
     * request of his is open) and will do so until handover_ended; no, when a user may go on. With
     * `take_back` the guest runs again where the role came from: yes, when no user here runs. NULL:
     * the answer is no. */
    void (*handover_asked)(void *argument, uint32_t number, bool take_back);
    /* How question `number` ended; also one that was not answered yet. `gone`: the role is the
     * peer's. Else it stays here, and the users go on. */
    void (*handover_ended)(void *argument, uint32_t number, bool gone);
    /* A control command that the library does not know, as JSON text; the client answers, now
     * or later, with replica_control_reply. False: not known here either. */
    bool (*control)(void *argument, struct replica_control_request *request, const char *json);
};

/* Reads the configuration, opens the disk and the control socket, attaches, starts to connect.
 * Errors: REPLICA_E_NOT_FOUND (no such resource, or no `on` section for this host),
 * REPLICA_E_INVALID, REPLICA_E_PERMISSION (key file), REPLICA_E_BUSY (device or resource in use),
 * REPLICA_E_NO_METADATA, REPLICA_E_METADATA, REPLICA_E_SYSTEM, REPLICA_E_MEMORY.
 * Ownership: *replica is freed with replica_close. */
int replica_open(struct replica_loop *loop, const struct replica_options *options,
                 const struct replica_callbacks *callbacks, void *argument,
                 struct replica **replica, struct replica_error *error);

/* Drops the link and lets local I/O finish. Requests that are still open are completed with
 * REPLICA_E_SHUTDOWN. */
void replica_close(struct replica *replica);

const char *replica_resource(const struct replica *replica);
const char *replica_run_dir(const struct replica *replica);
uint64_t replica_size(const struct replica *replica); /* bytes, multiple of REPLICA_BLOCK_BYTES */
/* A discard frees room on this node's disk. Else it is carried out all the same, as zeroes that are
 * written: a client should not offer it, for who discards a whole disk expects it to be cheap. */
bool replica_discards(const struct replica *replica);

/* ---- guest I/O ------------------------------------------------------------------------------ */

/* A private, page-aligned piece of memory. The data of a request is copied into it once; the same
 * memory feeds the disk and the link, which is why it must not change until the request is
 * complete. Reference counted inside: the owner calls replica_buffer_put once. */
struct replica_buffer;

/* NULL when the pool is empty for now (bounded memory): call again from the `room` callback of
 * replica_on_room. `length` is at most REPLICA_REQUEST_BYTES_MAX. */
struct replica_buffer *replica_buffer_get(struct replica *replica, uint32_t length);
void replica_buffer_put(struct replica_buffer *buffer);
void *replica_buffer_data(struct replica_buffer *buffer);

/* Embedded in the caller's own request. Filled in by the caller; not touched until `done`. */
struct replica_request {
    enum replica_op op;
    bool fua;
    uint64_t offset; /* bytes, multiple of REPLICA_SECTOR_BYTES */
    uint32_t length; /* bytes, multiple of REPLICA_SECTOR_BYTES; 0 for a flush. DISCARD and
                      * WRITE_ZEROES may be up to 1 GiB, READ and WRITE one buffer */
    struct replica_buffer *buffer; /* READ, WRITE: stays the caller's reference */
    /* The request is over: `code` is 0 or REPLICA_E_*. A write: both nodes have it. */
    void (*done)(struct replica_request *request, int code);
    void *owner;                  /* the caller's */
    struct replica_request *next; /* the library's, until done */
};

/* Errors: none. A bad request (range, state) is completed with a code, like any other, from the
 * loop and not from inside this call. The library queues as much as it is given; a client limits
 * itself by its buffers and by its own ring. */
void replica_submit(struct replica *replica, struct replica_request *request);

/* `room` is called, once per registration, when buffers are free again after a failed get. */
void replica_on_room(struct replica *replica, void (*room)(void *argument), void *argument);

/* ---- role ----------------------------------------------------------------------------------- */

/* Asks for the Primary role, or gives it back. `done` gets 0 or a code, and one line of text.
 * Errors in `done`: REPLICA_E_PEER_PRIMARY, REPLICA_E_NOT_UPTODATE, REPLICA_E_STATE,
 * REPLICA_E_BUSY, REPLICA_E_TIMEOUT. */
typedef void replica_done(void *argument, int code, const char *text);
enum replica_promote_flags {
    REPLICA_PROMOTE_FORCE = 1,     /* a disk that is not UpToDate counts as such from now on */
    REPLICA_PROMOTE_CONNECTED = 2, /* only with the peer's agreement, never without the link */
    REPLICA_PROMOTE_TAKE_BACK = 4  /* CONNECTED, and: it was handed over, and the guest runs here */
};
/* `flags` out of enum replica_promote_flags. A peer that is Primary hands the role over when no
 * guest runs there; see handover_asked. */
void replica_promote(struct replica *replica, unsigned flags, replica_done *done, void *argument);
/* `code` 0: yes. Else why not: REPLICA_E_PEER_PRIMARY, and a text that goes on from "the peer NODE
 * is Primary and". */
void replica_handover_answer(struct replica *replica, uint32_t number, int code, const char *text);
void replica_demote(struct replica *replica, replica_done *done, void *argument);

/* ---- what a person sees ---------------------------------------------------------------------- */

struct replica_status {
    enum replica_role role, peer_role;
    enum replica_disk disk, peer_disk;
    enum replica_connection connection;
    enum replica_replication replication;
    enum replica_handover handover;
    bool demoting; /* a person's `secondary` or `down` is under way: a promotion waits for it */
    bool io_suspended;
    uint64_t size;
    uint64_t epoch;
    uint64_t current_uuid;
    uint64_t out_of_sync;               /* bytes */
    uint64_t resync_done, resync_total; /* bytes */
};

void replica_status(const struct replica *replica, struct replica_status *status);

/* Control commands of the client's own: answer with a JSON object; `json` NULL means plain
 * success. With `code` != 0, `text` is the error. The request is gone after it. */
void replica_control_reply(struct replica_control_request *request, int code, const char *text,
                           const char *json);

/* A line to the log that the library writes to (stderr or the journal). */
void replica_log(const struct replica *replica, int syslog_priority, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Extra members for `status --json`, pulled at each status: a JSON object (malloc'ed, the library
 * frees it) with e.g. "vbds" and "nbd"; NULL for none. */
void replica_set_status_extra(struct replica *replica, char *(*extra)(void *argument),
                              void *argument);

/* "libreplica 0.1". */
const char *replica_version(void);

#ifdef __cplusplus
}
#endif
#endif
