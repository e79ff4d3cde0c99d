/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core_types.h - struct core: everything that the core knows, one struct a module.
 *
 * A module changes its own struct; it asks or tells another through core_private.h, which is the
 * only one that includes this file.
 */
#ifndef CORE_CORE_TYPES_H
#define CORE_CORE_TYPES_H

#include "actlog.h"
#include "bitmap.h"
#include "core.h"
#include "interval.h"
#include "lineage.h"
#include "mutant.h"
#include "resize_types.h"

enum core_limits {
#ifdef METADATA_SMALL /* tests/sim: what is full now and then, and soon made and wiped */
    CORE_PEER_SLOTS = 8,
    CORE_RESYNC_UNFLUSHED = 12,
    CORE_TRANSFER_RECORDS = 64,
    CORE_STAGING_BLOCKS = 2,
    CORE_BITMAP_BURST = 2,
    CORE_PIECE_BYTES = 8 << 10,
#else
    CORE_PEER_SLOTS = WIRE_WINDOW_REQUESTS,
    CORE_RESYNC_UNFLUSHED = 256,  /* written, not yet flushed, on the target */
    CORE_TRANSFER_RECORDS = 8192, /* writes that may wait for a confirm */
    CORE_STAGING_BLOCKS = 16,     /* METADATA_BLOCK_BYTES each */
    CORE_BITMAP_BURST = 16,       /* bitmap blocks sent between two pongs */
    CORE_PIECE_BYTES = 64 << 20,  /* a larger discard runs in pieces: bounded AL references */
#endif
    CORE_STAGING_SLOTS = 4,                   /* metadata transfers at once */
    CORE_DISCARD_BYTES_MAX = 1 << 30,         /* the largest discard or write-zeroes */
    CORE_RESYNC_BYTES = 128 << 10,            /* one resync request */
    CORE_RESYNC_ASKS = 32,                    /* of them under way, target */
    CORE_RESYNC_READS = 2 * CORE_RESYNC_ASKS, /* source */
    CORE_VERIFY_SLOTS = 16,                   /* ranges that are compared at once */
    CORE_VERIFY_LINES = 50,                   /* differences that get a line each in the log */
    CORE_RESYNC_FLUSH_NS = 1000000000         /* and not for longer than this */
};

/* In the flags of a NEW_UUID. */
enum {
    CORE_UUID_CLEAR = 1,    /* both disks are new: no block is out of sync */
    CORE_UUID_DISK_LOST = 2 /* the Primary goes on without its disk: every block is out of sync */
};

/* In the flags of a PROMOTE. */
enum { CORE_PROMOTE_FORCE = 1, CORE_PROMOTE_TAKE_BACK = 2 };

/* In the flags of a VERIFY_READ, beside the algorithm in the lowest byte: the asker holds back
 * its guest's writes of the range; this range was compared before, as a part of a longer one. */
enum { CORE_VERIFY_HELD = 1 << 8, CORE_VERIFY_AGAIN = 1 << 9 };

/* In the flags of a RESYNC_READ: as CORE_VERIFY_HELD. */
enum { CORE_RESYNC_HELD = 1 << 8 };

/* In the flags of RESYNC_DATA, RESYNC_SAME and VERIFY_SUM: a guest reads or writes where the answer
 * comes from.
 */
enum { CORE_ANSWER_BUSY = 1 };

/* In the flags of a VERIFY_DONE: it answers the asker's. */
enum { CORE_VERIFY_ANSWER = 1 };

/* In the flags of a RESIZE and its ACK: the step, and above it CORE_RESIZE_CLEAN. */
enum core_resize_step {
    CORE_RESIZE_ASK, /* of a Secondary that was told to: "you lead" */
    CORE_RESIZE_PREPARE,
    CORE_RESIZE_COPY,
    CORE_RESIZE_COMMIT,
    CORE_RESIZE_ABORT,
    CORE_RESIZE_STEP_MASK = 7
};
enum {
    CORE_RESIZE_FLAG_SHIFT = 8,
    CORE_RESIZE_CLEAN = 1 /* the new blocks are the same on both */
};

/* In the flags of a SYNC_PAUSE: the sender holds the resync back; else no more. */
enum { CORE_PAUSE_SET = 1 };

/* In the flags of a STATE: the sender's data may be overwritten to end a split brain. */
enum { CORE_STATE_DISCARD = 1 };
/* its operator has paused the resync */
enum { CORE_STATE_PAUSED = 2 };
/* and from this bit on: its after-sb policies (split_encode) */
enum { CORE_STATE_SPLIT_SHIFT = 8 };

/* ---- tags: kind, slot and generation in one number, so that a late or forged answer finds
 * nobody ----------------------------------------------------------------------------------------
 */

enum tag_kind {
    TAG_NONE,
    TAG_SUPERBLOCK,
    TAG_ACTLOG,
    TAG_STAGING,
    TAG_REQUEST,
    TAG_PEER,
    TAG_CONFIRM,
    TAG_SESSION_FLUSH,
    TAG_RESYNC_ASK,
    TAG_RESYNC_READ,
    TAG_RESYNC_FLUSH,
    TAG_VERIFY_ASK,
    TAG_VERIFY_SERVE,
    TAG_COMMAND,
    TAG_LOSS,
    TAG_RESIZE
};

static inline uint64_t tag_make(enum tag_kind kind, uint32_t index, uint32_t generation)
{
    return (uint64_t)kind << 56 | (uint64_t)generation << 24 | (index & 0xffffff);
}
static inline enum tag_kind tag_kind(uint64_t tag)
{
    return (enum tag_kind)(tag >> 56);
}
static inline uint32_t tag_index(uint64_t tag)
{
    return (uint32_t)(tag & 0xffffff);
}

/* ---- who stands in the interval set -------------------------------------------------------- */

enum owner_kind {
    OWNER_REQUEST,
    OWNER_PEER,
    OWNER_RESYNC_ASK,
    OWNER_RESYNC_READ,
    OWNER_VERIFY_ASK,
    OWNER_VERIFY_SERVE
};

/* First member of each owner, so that what interval_leave lets go finds its way back. */
struct owner {
    struct interval interval; /* first */
    enum owner_kind kind;
};

/* ---- guest requests (write.c) -------------------------------------------------------------- */

enum request_phase {
    REQUEST_FREE,
    REQUEST_PARKED,   /* came while a demotion or a handover drains */
    REQUEST_OVERLAP,  /* waits in the interval set */
    REQUEST_ADMIT,    /* in core->admit: wants transfer-log room and activity-log references */
    REQUEST_COLD,     /* in core->cold: its activity-log transaction is on its way */
    REQUEST_START,    /* in core->start (writes) or core->reads: wants to be sent */
    REQUEST_FLIGHT,   /* on a disk or with the peer */
    REQUEST_FLUSHING, /* a flush, waits for confirm number `ticket` */
    REQUEST_HELD      /* over, but its answer waits for a loss to be recorded */
};

enum leg { LEG_NONE, LEG_PENDING, LEG_DONE, LEG_FAILED, LEG_LOST };

struct request {
    struct owner owner; /* first */
    uint32_t index, generation;
    enum request_phase phase;
    enum replica_op op;
    bool fua;
    struct range range; /* as the guest asked */
    struct range piece; /* the part under way */
    struct replica_buffer *buffer;
    void *cookie;
    enum leg local, peer;
    bool logged;     /* a place in the transfer log is reserved for the piece */
    bool hot;        /* activity-log references on the piece's extents are held */
    bool marked;     /* its out-of-sync bits are set */
    bool unreadable; /* our disk has answered this read with an error, and stays */
    uint64_t ticket;
    uint64_t sent_at;
    int code;
    struct request *next;          /* in the queue of its phase */
    struct request *older, *newer; /* in core->owed, while the peer owes an answer */
};

struct request_queue {
    struct request *first, *last;
};

/* ---- what the peer asks of our disk (peer.c) ------------------------------------------------- */

enum peer_phase { PEER_FREE, PEER_OVERLAP, PEER_FLIGHT };

struct peer_slot {
    struct owner owner; /* first */
    uint32_t index, generation;
    enum peer_phase phase;
    uint8_t type; /* enum wire_type */
    bool fua;
    uint64_t tag; /* the peer's */
    uint64_t session;
    struct range range;
    struct replica_buffer *buffer;
    struct peer_slot *next; /* free list */
};

/* ---- the transfer log and its confirmation (confirm.c) ----------------------------------------
 */

struct confirm {
    struct range ring[CORE_TRANSFER_RECORDS];
    uint32_t first, count; /* records in the ring */
    uint32_t reserved;     /* places promised to writes in flight */
    uint32_t covered;      /* records that the running confirm will take out */
    bool running;
    bool aborted; /* the peer was lost; ends when the local flush is back */
    bool flush_pending, peer_pending;
    bool logged;                    /* it has our disk, and moves the activity log on */
    uint32_t generation;            /* of the running one */
    uint64_t bitmap_ticket;         /* 0: no bitmap pass in this confirm */
    uint64_t wanted, current, done; /* numbers of confirms; see confirm_ticket */
    uint64_t peer_since;            /* when the peer was asked */
    uint64_t due;                   /* the next one by the clock; UINT64_MAX: none */
};

/* ---- what is on its way to the metadata (persist.c) --------------------------------------------
 */

struct staging {
    uint8_t *data;  /* CORE_STAGING_BLOCKS blocks */
    uint64_t first; /* bitmap or ring block index */
    uint32_t count, generation;
    bool busy;
    enum staging_use { STAGING_BITMAP, STAGING_ATTACH, STAGING_GROW } use; /* whose transfer */
};

struct persist {
    unsigned slot; /* the superblock slot that holds the newest durable one */
    uint64_t super_wanted, super_writing, super_done; /* tickets */
    uint8_t *super_block;
    uint32_t super_generation;
    bool super_busy;
    uint8_t *al_block;
    uint32_t al_generation;
    bool al_busy;
    struct staging staging[CORE_STAGING_SLOTS];
    uint64_t pass_wanted, pass_current, pass_done; /* bitmap passes; tickets */
    uint64_t pass_cursor;
    bool pass_running;
    bool dead; /* the metadata cannot be written any more */
};

/* ---- what the disk owes (disk_io.c) -------------------------------------------------------- */

struct disk_io {
    struct disk_io_entry {
        uint64_t tag; /* 0: none */
        uint64_t at;  /* when it was asked */
    } * list;         /* disk_io_places */
    uint32_t late;    /* given up, and not answered yet */
    uint64_t look_at; /* when a look at the oldest is due; UINT64_MAX: never */
    bool suspected;   /* the last look found one overdue */
};

/* ---- the link and the session over it (session.c, handshake.c) ----------------------------------
 */

enum link_state {
    LINK_IDLE,    /* StandAlone */
    LINK_WAITING, /* until connect_at */
    LINK_OPENING, /* ACTION_LINK_CONNECT is out */
    LINK_UP,
    LINK_CLOSING /* ACTION_LINK_CLOSE is out */
};

enum session_phase {
    SESSION_NONE,
    SESSION_QUIESCE,     /* old disk I/O, or the record of a loss, is being finished */
    SESSION_FLUSH,       /* what an old session wrote is made durable */
    SESSION_HELLO,       /* our HELLO is out */
    SESSION_STATE,       /* our STATE is out */
    SESSION_HANDLER,     /* target: before-resync-target runs */
    SESSION_PREPARE_MAP, /* target of a full sync: the set bitmap is being written */
    SESSION_PREPARE,     /* the verdict's superblock is being written */
    SESSION_READY,       /* no sync: our second STATE is out */
    SESSION_MAP_AWAIT,   /* source: the target's bitmap is coming */
    SESSION_COMMIT,      /* source: superblock before the first replicated write */
    SESSION_MAP_SEND,    /* our bitmap goes out, in bursts */
    SESSION_MAP_FINISH,  /* target: the source's bitmap is coming */
    SESSION_LIVE
};

enum sync_side { SYNC_NONE, SYNC_SOURCE, SYNC_TARGET };

struct session {
    enum link_state link;
    enum session_phase phase;
    uint64_t number; /* of the stream; never reused */
    bool was_live;   /* this stream got as far as LIVE */
    bool closing_for_good;
    bool hurry;   /* dial again at once */
    bool discard; /* an operator gave up what this node has and the peer has not */
    bool peer_discards;
    uint32_t peer_split; /* its policies after a split brain */
    uint64_t connect_at;
    int last_code;
    uint64_t flush_tag;   /* of the flush under way; 0: none */
    uint64_t progress_at; /* when the handshake last went on */
    bool hello_seen, ready_seen, map_seen;
    struct wire_hello hello;
    struct wire_state state; /* the peer's, as of now */
    struct wire_state ours;  /* as we told it in this handshake */
    enum sync_side side;
    bool same; /* the verdict: nothing differs, and what both have is good */
    bool full; /* the verdict: every bit is set on both sides, no bitmap goes over the link */
    uint8_t *map_scratch; /* CORE_BITMAP_BURST blocks */
    uint64_t ticket;
    uint64_t map_cursor, map_blocks;
    uint64_t map_pong; /* value of the pong we wait for, 0: none */
    uint32_t window_bytes, window_requests;
    uint32_t owed_bytes, owed_requests; /* in the peer's window */
};

/* Where guest writes go. */
enum leg_mode {
    MODE_UNRECORDED, /* no peer; the first write records that (P7) */
    MODE_REPLICATE,
    MODE_ALONE /* no peer, and that is on disk */
};

struct loss {
    enum loss_phase {
        LOSS_NONE,
        LOSS_BITMAP,     /* of the peer: the bits are being written */
        LOSS_GENERATION, /* of the peer: the new generation is being written */
        LOSS_FROZEN,     /* of the peer: marked, but nobody has said that we may go on alone */
        LOSS_FAILING, /* frozen, and the role is given up: what waits is answered with an error */
        LOSS_DISK     /* of our disk: the peer makes a new generation durable */
    } phase;
    bool resumed;   /* the operator has: until the peer is back */
    uint64_t since; /* when a Primary lost its peer, or took the role without it; 0: has it */
    uint64_t ticket;
    uint32_t generation; /* of the question to the peer */
    uint64_t uuid;       /* in it; without a disk, what the peer bears for us. 0: none does */
    bool refused;        /* a detach: the answer was no */
    bool unflushed;      /* the peer went with writes that only it had: the next flush fails */
    bool last_copy;      /* a Primary's disk failed, and none is known to have all that it had */
    uint64_t asked_at;
};

/* ---- the fence-peer handler (fence.c) -------------------------------------------------------- */

struct fence {
    enum fence_phase {
        FENCE_NONE,
        FENCE_RUNS,
        FENCE_ANSWERED, /* `status` is its answer; it waits for a handshake to end */
        FENCE_GOOD,     /* the peer is Outdated, Inconsistent or dead */
        FENCE_FAILED
    } phase;
    bool promoting; /* it was asked for a promotion */
    uint32_t serial;
    int status;
};

struct liveness {
    uint64_t heard;    /* when the peer was last heard */
    uint64_t pinged;   /* when the unanswered ping went out; 0: none */
    uint64_t due_from; /* since when an answer is due; 0: none is */
    uint64_t ping_value;
};

#include "resync_types.h"

/* ---- commands (command.c, role.c)
 * ------------------------------------------------------------------ */

enum command_phase {
    COMMAND_IDLE,
    COMMAND_ATTACH_SLOTS,
    COMMAND_ATTACH_ACTLOG,
    COMMAND_ATTACH_BITMAP,
    COMMAND_ATTACH_SAVE_BITMAP,
    COMMAND_ATTACH_SAVE,
    COMMAND_ATTACH_MEET,    /* Primary: what generation has the peer? */
    COMMAND_ATTACH_DRAIN,   /* Primary: what went to the peer alone is finished there, */
    COMMAND_ATTACH_CONFIRM, /* and durable */
    COMMAND_DETACH_DRAIN,   /* Primary: the peer is to take over */
    COMMAND_DETACH_LOSS,
    COMMAND_DETACH_BITMAP, /* Secondary: clean metadata */
    COMMAND_DETACH_SUPER,
    COMMAND_DETACH_IDLE,      /* until nothing is under way */
    COMMAND_PROMOTE_WAIT,     /* a handshake or stale peer I/O is in the way */
    COMMAND_PROMOTE_ASK,      /* the peer was asked */
    COMMAND_PROMOTE_HANDOVER, /* it is Primary and hands over */
    COMMAND_PROMOTE_PERSIST,  /* epoch and role are being written */
    COMMAND_DEMOTE_DRAIN,
    COMMAND_DEMOTE_CONFIRM,
    COMMAND_DEMOTE_PERSIST,
    COMMAND_UUID_NOTE, /* what is about to be asked for is being written */
    COMMAND_UUID_ASK,
    COMMAND_UUID_PERSIST,
    COMMAND_INVALIDATE_ASK,     /* the peer was asked */
    COMMAND_INVALIDATE_PERSIST, /* our own: Inconsistent is being written */
    COMMAND_OUTDATE_PERSIST,
    COMMAND_RESIZE_RUNS, /* here, or by the Primary to which it was handed on */
    COMMAND_UNLINK,      /* waits for the stream's end */
    COMMAND_DOWN_BITMAP,
    COMMAND_DOWN_SUPER
};

struct command {
    enum command_kind kind;
    enum command_phase phase;
    uint32_t flags;
    uint32_t generation;
    void *cookie;
    uint64_t ticket;
    uint64_t epoch; /* asked for */
    uint64_t since; /* PROMOTE_HANDOVER */
    uint64_t uuid;
    uint64_t start, stop; /* verify; resize: the wanted size, 0 for all there is */
    uint64_t cursor;      /* attach: next block to read */
    uint32_t reads;       /* attach: under way */
    bool elsewhere;       /* attach: metadata were looked for in both places */
    int slot_code[METADATA_SLOTS];
};

/* The giver's side of a handover; the states' table is in handover.c. */
struct handover {
    enum handover_phase {
        HANDOVER_NONE,
        HANDOVER_ASK,
        HANDOVER_DRAIN, /* from here on guest requests are parked */
        HANDOVER_CONFIRM,
        HANDOVER_PERSIST,
        HANDOVER_REVERT
    } phase;
    uint32_t number; /* of the question to the shell */
    uint64_t tag;    /* the peer's */
    uint64_t epoch;  /* under which the peer will be Primary */
    uint64_t ticket;
    uint64_t since;
};

/* What the peer asked to have persisted before it is answered. */
struct grant {
    uint8_t type; /* WIRE_PROMOTE, WIRE_NEW_UUID, WIRE_INVALIDATE; 0: none */
    uint64_t tag, ticket, epoch, bitmap_ticket;
};

struct counters {
    uint64_t read_bytes, written_bytes, sent_bytes, received_bytes, al_writes, bitmap_writes;
};

struct core {
    struct core_config config;
    struct core_allocator allocator;
    uint64_t slots[METADATA_SLOTS];
    uint64_t meta_bytes, device_bytes;

    /* of the present step */
    uint64_t now, entropy;
    struct actions *out;
    struct action spare; /* takes what does not fit; core_actions_max keeps it unused */

    struct metadata_superblock super; /* as it shall be on disk */
    struct bitmap bitmap;
    struct actlog *actlog;
    struct interval_set intervals;
    uint64_t size; /* bytes; 0: never attached */
    bool reading;  /* an attach reads the metadata: nothing is written to it */
    bool detached; /* the session ended for want of a disk: an attach connects again */

    enum replica_role role, peer_role;
    enum replica_disk disk, peer_disk;
    enum leg_mode mode;
    bool inherited; /* MODE_UNRECORDED, and what the last Primary left unflushed is not known */
    bool down;      /* COMMAND_DOWN is done */

    struct request *requests; /* config.requests_max */
    struct request_queue free, parked, admit, cold, start, reads, flushes, held;
    struct request *owed_first, *owed_last; /* by age */
    uint32_t requests_used, local_pending;
    uint32_t parked_count;
    bool al_moved;         /* a transaction was written: look at `cold` */
    uint64_t admit_ticket; /* the confirm that the head of `admit` waits for; 0: none */

    struct peer_slot *peer_slots; /* CORE_PEER_SLOTS */
    struct peer_slot *peer_free;
    uint32_t peer_used;

    struct confirm confirm;
    struct persist persist;
    struct disk_io disk_io;
    struct session session;
    struct loss loss;
    struct fence fence;
    struct liveness liveness;
    struct resync resync;
    struct pace pace;
    struct pause pause;
    struct verify verify;
    struct grow grow;
    struct resize resize;
    struct command command;
    struct grant grant;
    struct handover handover;
    struct counters counters;

    struct seen {
        enum replica_role role, peer_role;
        enum replica_disk disk, peer_disk;
        enum replica_connection connection;
        enum replica_replication replication;
        enum replica_handover handover;
        bool suspended, fencing, paused_here, paused_peer;
        uint64_t epoch, current, size;
    } seen; /* what the last ACTION_STATE_CHANGED told */
};

#endif
