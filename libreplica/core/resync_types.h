/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resync_types.h - what resync.c, pace.c, pause.c and verify.c keep in struct core; a part of
 * core_types.h.
 */
#ifndef CORE_RESYNC_TYPES_H
#define CORE_RESYNC_TYPES_H

/* ---- resync (resync.c)
 * ---------------------------------------------------------------------------- */

enum sync_slot_phase {
    SYNC_SLOT_FREE,
    SYNC_SLOT_HOLD,
    SYNC_SLOT_SUM, /* target: its own disk is read for the checksum */
    SYNC_SLOT_ASKED,
    SYNC_SLOT_OVERLAP,
    SYNC_SLOT_FLIGHT
};

struct sync_slot {
    struct owner owner; /* first */
    uint32_t index, generation;
    enum sync_slot_phase phase;
    struct range range;
    bool zero;
    uint64_t tag;                      /* source: the target's tag */
    enum core_digest algorithm;        /* of the checksum that was asked with, or NONE */
    uint8_t theirs[WIRE_DIGEST_BYTES]; /* source: the target's */
    uint64_t session;
    uint64_t asked_at;
    bool held; /* target and Primary: in the interval set since before it asked */
    struct replica_buffer *buffer;
};

enum sync_finish { SYNC_RUNS, SYNC_ENDS_MAP, SYNC_ENDS_SUPER, SYNC_ENDS_PEER };

struct resync {
    struct sync_slot asks[CORE_RESYNC_ASKS];
    struct sync_slot reads[CORE_RESYNC_READS];
    struct range unflushed[CORE_RESYNC_UNFLUSHED];
    uint32_t unflushed_count, flush_covers;
    bool flushing;
    uint32_t flush_generation;
    uint32_t asked_bytes, asked;
    uint64_t cursor;
    bool scanned; /* the cursor has seen the last block */
    enum sync_finish finish;
    uint64_t ticket;
    uint64_t total_blocks, started;
    uint64_t flush_due;   /* target: progress is to be seen, however slow it is */
    uint64_t same_bytes;  /* equal by their checksums */
    uint64_t acked_bytes; /* since the last bitmap pass, source */
};

/* ---- how fast to ask (pace.c)
 * ---------------------------------------------------------------------------- */

struct pace {
    uint64_t next;       /* when the next question may go out */
    uint64_t rises_from; /* since when the rate rises */
    uint64_t guest_at;   /* when a guest's request was last open on this node */
    bool guest_seen, peer_busy;
};

/* ---- pause-sync (pause.c)
 * ---------------------------------------------------------------------------- */

struct pause {
    bool ours, peers;
    uint64_t since, total; /* the present resync stands still since, ns (0: it does not), and did */
};

/* ---- verify (verify.c)
 * ---------------------------------------------------------------------------- */

enum verify_phase {
    VERIFY_FREE,
    VERIFY_HOLD,    /* Primary: waits for its guest's writes of the range */
    VERIFY_ASKED,   /* the peer was asked */
    VERIFY_OVERLAP, /* waits in the interval set before it reads */
    VERIFY_READ     /* on our disk */
};

struct verify_slot {
    struct owner owner; /* first */
    uint32_t index, generation;
    enum verify_phase phase;
    struct range range; /* asker: what is to be compared; */
    struct range piece; /* the part under way */
    struct range bad;   /* blocks that differ, one after the other; not logged yet */
    bool held;          /* asker: in the interval set since before it asked */
    enum core_digest algorithm;
    uint64_t tag; /* serving: the asker's */
    uint64_t session;
    uint64_t asked_at;
    uint8_t theirs[WIRE_DIGEST_BYTES];
};

struct verify {
    struct verify_slot asks[CORE_VERIFY_SLOTS];
    struct verify_slot serves[CORE_VERIFY_SLOTS];
    bool running; /* we ask: VerifyS */
    bool serving; /* the peer does: VerifyT */
    enum verify_end { VERIFY_RUNS, VERIFY_ENDS_MAP, VERIFY_ENDS_PEER } end;
    uint64_t start, cursor, stop, done_bytes, differs_bytes;
    uint64_t ticket, started, ended_at;
    uint64_t served_total, served_done, served_differs; /* of the peer's verification */
    uint64_t served_ticket; /* its marks are being written; 0: it goes on */
    uint32_t lines;
};

#endif
