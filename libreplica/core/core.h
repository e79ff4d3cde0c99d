/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core.h - the one door of the pure core: replica_step takes an event and gives actions.
 *
 * The core decides everything about one resource on one node and touches nothing: no system call,
 * clock, thread, random source, OpenSSL or Xen. Time and randomness come in with each event; what
 * is to be done goes out as data. The shell (libreplica/io) and the simulator (tests/sim) are the
 * two that drive it.
 *
 * Order. An action is emitted only after everything that must be durable before it has been
 * reported durable by an event. So a shell may carry out the actions of one step, and of several
 * steps, in any order and at the same time - except that messages (ACTION_SEND) leave in the
 * order in which they were emitted. There is no other ordering rule.
 *
 * Memory. Everything is allocated in core_new, through the caller's allocator; replica_step never
 * allocates and never fails. Every queue has a limit; core_room says how many more requests may
 * come in.
 *
 * Buffers. `struct replica_buffer` belongs to the shell; the core only passes the pointer along. A
 * shell holds its own reference for each I/O and each send under way, so ACTION_COMPLETE and
 * ACTION_RELEASE mean only "the core has let go of it".
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "libreplica/words.h"
#include "alloc.h"
#include "metadata.h"
#include "split.h"
#include "wire.h"

struct core;           /* heap object, one resource */
struct replica_buffer; /* the shell's; never dereferenced here */

/* ---- configuration ----------------------------------------------------------------------- */

enum core_fencing {
    CORE_FENCING_DONT_CARE,
    CORE_FENCING_RESOURCE_ONLY,
    CORE_FENCING_RESOURCE_AND_STONITH
};
enum core_peer_loss { CORE_PEER_LOSS_CONTINUE, CORE_PEER_LOSS_FREEZE };
/* A Primary would have to become a resync target: never done; is `pri-lost` called? */
enum core_rr_conflict { CORE_RR_CONFLICT_DISCONNECT, CORE_RR_CONFLICT_CALL_PRI_LOST };

/* What may be run outside of the core, by DRBD's names. Only a handler that `handlers` names is
 * ever asked for; fence-peer and before-resync-target are waited for. */
enum core_handler {
    HANDLER_FENCE_PEER,
    HANDLER_UNFENCE_PEER,
    HANDLER_BEFORE_RESYNC_TARGET,
    HANDLER_AFTER_RESYNC_TARGET,
    HANDLER_INITIAL_SPLIT_BRAIN,
    HANDLER_SPLIT_BRAIN,
    HANDLER_PRI_LOST,
    HANDLER_PRI_LOST_AFTER_SB,
    HANDLER_LOCAL_IO_ERROR,
    HANDLER_COUNT
};
/* How a block's content is summed up to be compared with the peer's; the shell computes it. */
enum core_digest {
    CORE_DIGEST_NONE,
    CORE_DIGEST_SHA256,
    CORE_DIGEST_SHA1,
    CORE_DIGEST_MD5,
    CORE_DIGEST_CRC32C,
    CORE_DIGEST_COUNT
};
enum core_io_error { CORE_IO_ERROR_DETACH, CORE_IO_ERROR_PASS_ON, CORE_IO_ERROR_CALL_HANDLER };

/* Times are nanoseconds. A copy is kept; nothing is borrowed. */
struct core_config {
    char resource[REPLICA_NAME_MAX + 1];
    char node[REPLICA_NAME_MAX + 1];
    char peer_node[REPLICA_NAME_MAX + 1];
    uint32_t requests_max;     /* guest requests in the core at once, e.g. 1024 */
    uint32_t al_extents;       /* disk { al-extents }; 0: METADATA_AL_EXTENTS_DEFAULT */
    uint64_t timeout;          /* net { timeout }: nothing heard while an answer is due */
    uint64_t ping_interval;    /* net { ping-int }: idle time before a ping */
    uint64_t ping_timeout;     /* net { ping-timeout } */
    uint64_t connect_interval; /* net { connect-int }: back-off between connection attempts */
    uint32_t ko_count; /* net { ko-count }: timeouts one write may stay unanswered; 0: never */
    uint64_t
        confirm_interval; /* longest time a write stays unconfirmed on an idle pair, e.g. 2 s */
    /* How fast a resync or a verification asks; pace.c says what follows. Bytes a second. */
    uint64_t resync_rate_max;   /* disk { c-max-rate }; 0: unlimited */
    uint64_t resync_rate_min;   /* disk { c-min-rate }; 0: whatever the guest does */
    uint64_t resync_rate;       /* disk { resync-rate } */
    uint64_t resync_plan_ahead; /* disk { c-plan-ahead } */
    uint32_t resync_fill;       /* disk { c-fill-target }, bytes; 0: the link's window */
    enum core_fencing fencing;
    enum core_peer_loss on_peer_loss;
    enum core_io_error on_io_error;
    uint64_t disk_timeout; /* disk { disk-timeout }: our disk owes an answer; 0: for ever */
    struct split_policies after_sb;
    enum core_rr_conflict rr_conflict;
    uint32_t handlers;              /* 1 << enum core_handler: there is a script for it */
    enum core_digest verify_digest; /* net { verify-alg } */
    enum core_digest csums_digest;  /* net { csums-alg }; never CRC32C */
};

/* ---- events -------------------------------------------------------------------------------- */

enum event_kind {
    EVENT_TIMER,        /* the deadline that core_deadline named has come, or any other moment */
    EVENT_REQUEST,      /* a guest's read, write, flush, discard or write-zeroes */
    EVENT_DISK_DONE,    /* an ACTION_DISK is finished */
    EVENT_META_DONE,    /* an ACTION_META_READ or ACTION_META_WRITE is finished */
    EVENT_LINK_UP,      /* an authenticated stream to the peer is there */
    EVENT_LINK_DOWN,    /* it is gone, or could not be made; also the answer to ACTION_LINK_CLOSE */
    EVENT_MESSAGE,      /* a whole message from the peer */
    EVENT_COMMAND,      /* an operator's or the Xen side's wish */
    EVENT_HANDLER_DONE, /* an ACTION_HANDLER is finished */
    EVENT_HANDOVER_ANSWER, /* the answer to an ACTION_HANDOVER_ASK */
    EVENT_MEASURED,        /* an ACTION_MEASURE is finished */
    EVENT_KIND_COUNT
};

enum command_kind {
    COMMAND_ATTACH,     /* read the metadata; everything else waits for it */
    COMMAND_CONNECT,    /* leave StandAlone, go Connecting */
    COMMAND_DISCONNECT, /* go StandAlone; flag FORCE: even if a Primary loses its only good disk */
    COMMAND_PROMOTE,    /* flag FORCE as in `primary --force` */
    COMMAND_DEMOTE,     /* drain, flush both, become Secondary */
    COMMAND_NEW_UUID,   /* `new-current-uuid`; flag CLEAR_BITMAP as in --clear-bitmap */
    COMMAND_INVALIDATE, /* this node's data are given up: a full sync from the peer */
    COMMAND_INVALIDATE_REMOTE, /* the peer's are */
    COMMAND_OUTDATE,           /* the peer has newer data, says whoever fences this node */
    COMMAND_PAUSE_SYNC,        /* holds a resync back, this one and later ones; never waits */
    COMMAND_RESUME_SYNC,       /* no more; never waits */
    COMMAND_RESUME_IO,         /* ends a freeze: go on without the peer; never waits */
    COMMAND_DETACH,            /* let go of the disk; a Primary goes on through its peer */
    COMMAND_VERIFY, /* compare with the peer from `start` to `stop`; answered when it begins */
    COMMAND_RESIZE, /* both devices have grown: to `start` bytes, or to all there is with 0 */
    COMMAND_DOWN,   /* demote, disconnect, flush, leave clean metadata; the last command */
    COMMAND_KIND_COUNT
};

enum command_flags {
    COMMAND_FORCE = 1 << 0,
    COMMAND_CLEAR_BITMAP = 1 << 1,
    COMMAND_DISCARD_MY_DATA = 1 << 2,
    COMMAND_CONNECTED = 1 << 3,   /* promote: over the link or not at all; a migration's wish */
    COMMAND_TAKE_BACK = 1 << 4,   /* promote: our guest runs again; CONNECTED goes without saying */
    COMMAND_ASSUME_CLEAN = 1 << 5 /* resize: the new area is the same on both already */
};

struct event {
    enum event_kind kind;
    uint64_t now;     /* monotonic, ns; never less than in the event before */
    uint64_t entropy; /* random, fresh in each event; the source of generation identifiers */
    union {
        struct {
            enum replica_op op;
            bool fua;                      /* durable on both nodes before completion */
            struct range range;            /* checked by the core: inside, 512-byte aligned */
            struct replica_buffer *buffer; /* data of a write; room for a read; else NULL */
            void *cookie;                  /* comes back in ACTION_COMPLETE */
        } request;
        struct {
            uint64_t tag;
            int code; /* 0, REPLICA_E_IO, REPLICA_E_NO_SPACE */
            struct replica_buffer
                *buffer;           /* a read that was asked for without a buffer: now the core's */
            bool zero;             /* a read: every byte is 0 (the shell may always say false) */
            const uint8_t *digest; /* WIRE_DIGEST_BYTES, where the action asked for one; valid
                                      during the step */
        } disk_done;
        struct {
            uint64_t tag;
            int code;
        } meta_done;
        struct {
            bool initiator;
        } link_up;
        struct {
            int code; /* REPLICA_E_LINK, _TLS, _TIMEOUT, _PROTOCOL; 0 after ACTION_LINK_CLOSE */
        } link_down;
        struct {
            const struct wire_message *message; /* valid during the step */
            struct replica_buffer *buffer;      /* its data part, if any: now the core's */
        } message;
        struct {
            enum command_kind kind;
            uint32_t flags;
            uint64_t start, stop; /* VERIFY: bytes; a stop of 0 is the end of the device.
                                     RESIZE: start is the size */
            void *cookie;         /* comes back in ACTION_ANSWER */
        } command;
        struct {
            enum core_handler handler;
            uint32_t serial; /* of its ACTION_HANDLER */
            int status;      /* exit status; negative: it did not run, or a signal ended it */
        } handler_done;
        struct {
            uint32_t number; /* of the question */
            /* 0: every user of the disk here has stopped asking, what it asked is over, and it will
             * not ask again before the ACTION_HANDOVER_END. Else why not: REPLICA_E_BUSY. */
            int code;
            const char *text; /* "its guest (domain 5) runs there"; valid during the step */
        } handover_answer;
        struct {
            uint32_t serial; /* of the action */
            int code;        /* 0, or why a larger disk is not possible; `text` says it */
            const char *text;
            uint64_t meta_bytes, data_bytes; /* as in core_new, of the devices as they are now */
        } measured;
    };
};

/* ---- actions ------------------------------------------------------------------------------- */

enum action_kind {
    ACTION_DISK,          /* data I/O; answered by EVENT_DISK_DONE */
    ACTION_META_READ,     /* answered by EVENT_META_DONE */
    ACTION_META_WRITE,    /* durable (as with O_DSYNC) before EVENT_META_DONE */
    ACTION_SEND,          /* message, and the buffer with its data part */
    ACTION_LINK_CONNECT,  /* from now on, accept; and, if we are the one who dials, dial once */
    ACTION_LINK_CLOSE,    /* close the stream and stop accepting; answered by EVENT_LINK_DOWN */
    ACTION_COMPLETE,      /* answer a guest's request */
    ACTION_RELEASE,       /* the core lets go of a buffer that came by message or by disk_done */
    ACTION_ANSWER,        /* answer a command */
    ACTION_HANDLER,       /* run a handler script */
    ACTION_STATE_CHANGED, /* something that core_status tells has changed */
    ACTION_LOG,           /* a line for the log */
    /* The peer wants the Primary role that we have; answered by EVENT_HANDOVER_ANSWER. May it go?
     * Yes, when every user here stands still for as long as the peer's may run: a guest that is
     * shut down for suspend. With `take_back`, when no user here runs: the guest's other copy does,
     * where the role came from. */
    ACTION_HANDOVER_ASK,
    ACTION_HANDOVER_END, /* once for each question, also for one withdrawn: how it ended */
    /* How large are the devices now? Before EVENT_MEASURED the shell gives the core memory for
     * them (core_make_room), and makes sure that internal metadata are found at the new end and, as
     * long as there are none, at the old one. */
    ACTION_MEASURE,
    ACTION_KIND_COUNT
};

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

enum { ACTION_TEXT_MAX = 256 };

struct action {
    enum action_kind kind;
    union {
        struct {
            enum replica_op op;
            bool durable; /* a write: as with O_DSYNC */
            struct range range;
            struct replica_buffer
                *buffer;             /* NULL for a read: the shell takes one and hands it over */
            enum core_digest digest; /* of a read without a buffer; else NONE */
            uint64_t tag;
        } disk;
        struct {
            uint64_t tag;
            uint64_t offset; /* bytes from the start of the metadata device */
            uint8_t *data;   /* the core's; it stays put until EVENT_META_DONE */
            uint32_t length; /* multiple of METADATA_BLOCK_BYTES */
        } meta;
        struct {
            struct wire_message message;   /* bitmap_block, if any, is valid until the step's end */
            struct replica_buffer *buffer; /* message.data_bytes of it follow; else NULL */
        } send;
        struct {
            int code; /* why, for the log and the connection state */
        } link_close;
        struct {
            void *cookie;
            int code;
        } complete;
        struct {
            struct replica_buffer *buffer;
        } release;
        struct {
            void *cookie;
            int code;
            char text[ACTION_TEXT_MAX]; /* what, where, what to do; empty on success */
        } answer;
        struct {
            enum core_handler handler;
            uint32_t serial; /* comes back in EVENT_HANDLER_DONE */
        } handler;
        struct {
            enum log_level level;
            char text[ACTION_TEXT_MAX];
        } log;
        struct {
            uint32_t number;
            bool take_back;
        } handover_ask;
        struct {
            uint32_t number;
            bool gone; /* the role is the peer's; else the users go on */
        } handover_end;
        struct {
            uint32_t serial;
        } measure;
    };
};

/* The caller's array; replica_step appends. A step needs at most core_actions_max(core) places. */
struct actions {
    struct action *list;
    uint32_t count, capacity;
};

/* ---- the door ------------------------------------------------------------------------------ */

/* `layout_slots` and `meta_bytes` say where the superblock is looked for (metadata_slots);
 * `data_bytes` is the data device's size as it is now.
 * `allocator` may be NULL; what it points to is copied.
 * Errors: REPLICA_E_MEMORY, REPLICA_E_INVALID. Ownership: *core is freed with core_free. */
int core_new(struct core **core, const struct core_config *config,
             const uint64_t layout_slots[METADATA_SLOTS], uint64_t meta_bytes, uint64_t data_bytes,
             const struct core_allocator *allocator, struct replica_error *error);
void core_free(struct core *core);

/* While Diskless: the device that the next COMMAND_ATTACH finds, as in core_new. A `data_bytes`
 * other than that in core_new is refused by the attach itself. */
void core_set_device(struct core *core, const uint64_t layout_slots[METADATA_SLOTS],
                     uint64_t meta_bytes, uint64_t data_bytes);

/* Nothing of the core's is under way on data or metadata device: the shell may close them. */
bool core_disk_idle(const struct core *core);

/* Takes one event, appends actions. Never fails, never allocates. Whatever an event holds that
 * makes no sense (an unknown tag, a message out of turn) is a REPLICA_E_PROTOCOL of its sender or
 * is refused with a code; nothing asserts on what came from outside. */
void replica_step(struct core *core, const struct event *event, struct actions *actions);

/* Memory for a data device of so many bytes: the one place beside core_new that allocates, so not
 * from within a step and not while guests wait. What there is stays. Errors: REPLICA_E_MEMORY. */
int core_make_room(struct core *core, uint64_t data_bytes);

uint32_t core_actions_max(const struct core *core);

/* When replica_step wants an EVENT_TIMER, ns; UINT64_MAX: not at all. */
uint64_t core_deadline(const struct core *core);

/* How many more EVENT_REQUESTs it takes now. The shell keeps the rest waiting at the source. */
uint32_t core_room(const struct core *core);

/* Where the data part of this message is to be read: the buffer of the guest's own read that it
 * answers, or NULL: the shell takes one from its pool. Pure query. */
struct replica_buffer *core_data_target(const struct core *core,
                                        const struct wire_message *message);

/* ---- what a person sees -------------------------------------------------------------------- */

struct core_status {
    enum replica_role role, peer_role;
    enum replica_disk disk, peer_disk;
    enum replica_connection connection;
    enum replica_replication replication;
    enum replica_handover handover;
    uint64_t handover_since; /* ns, the clock of the events */
    bool io_suspended;       /* guest requests wait (a loss is being recorded, or frozen) */
    bool frozen;             /* until the peer is back, fenced, or the operator says resume-io */
    bool fencing;            /* the fence-peer handler runs */
    uint64_t alone_since;    /* ns: a Primary without its peer since then; 0: it has it */
    uint64_t data_bytes;
    uint64_t epoch;
    struct generation generation;
    uint32_t flags;
    uint64_t out_of_sync_bytes;
    uint64_t resync_total_bytes, resync_done_bytes; /* or of a verification */
    uint64_t resync_started;                        /* ns, the clock of the events; 0: none */
    uint64_t resync_same_bytes;          /* of the resync, equal by their checksums: not sent */
    uint64_t resync_rate;                /* bytes a second that may be asked for now; 0: no limit */
    bool resync_throttled;               /* because a guest reads or writes */
    bool paused_here, paused_peer;       /* by pause-sync on this node, on the peer */
    uint64_t resync_paused;              /* ns for which the present resync stood still */
    uint64_t resync_paused_since;        /* and does, since; ns, 0: it does not */
    uint64_t verify_differs_bytes;       /* found by the verification under way, or the last one */
    uint32_t requests_pending;           /* guest requests in the core */
    uint32_t peer_pending;               /* answers the peer owes */
    uint32_t local_pending;              /* local disk I/O under way */
    uint64_t read_bytes, written_bytes;  /* by the guest, on this node */
    uint64_t sent_bytes, received_bytes; /* data over the link */
    uint64_t al_writes, bitmap_writes;
    int last_link_code; /* why the last link ended */
};

void core_status(const struct core *core, struct core_status *status);

#endif
