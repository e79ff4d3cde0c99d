/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core_pair.h - two cores with disks in memory and a link that is a queue: for tests that assert
 * the exact order of actions. Nothing is random and nothing is lost unless the test says so; that
 * is the simulator's trade.
 *
 * Each action waits in a queue until pair_run carries it out, first come first served. A test
 * holds back kinds of actions of one node (`hold`), and looks at the trace: one line an action and
 * one an event, e.g. "a: disk write 4096+4096", "a: done superblock", "b: send WRITE_ACK",
 * "a: complete 3 OK".
 */
#ifndef TESTS_CORE_PAIR_H
#define TESTS_CORE_PAIR_H

#include "libreplica/core/core.h"

enum {
    PAIR_A = 0, /* sorts first: dials */
    PAIR_B = 1,
    PAIR_REQUESTS = 4096,
    PAIR_TRACE = 65536,
    PAIR_GROWTH = 512 << 20,
    PAIR_SECOND = 1000000000
};

enum pair_hold {
    HOLD_WRITE = 1 << 0, /* data writes, discards, zeroes */
    HOLD_READ = 1 << 1,
    HOLD_FLUSH = 1 << 2,
    HOLD_META = 1 << 3,
    HOLD_SEND = 1 << 4,
    HOLD_MEASURE = 1 << 6,
    HOLD_LINK = 1 << 5 /* LINK_CONNECT is carried out, but the stream does not come up */
};

struct replica_buffer {
    uint8_t *data;
    uint32_t length;
    unsigned holders; /* the core, I/O, messages, the guest */
    bool core;        /* the core holds it */
    struct pair *pair;
    struct replica_buffer *older, *newer; /* of all that exist */
};

struct pair_item;

struct pair_node {
    struct core *core;
    struct pair *pair;
    char letter;
    uint8_t *data, *meta;
    uint64_t data_bytes, meta_bytes;
    bool internal;  /* then `meta` is `data` */
    uint64_t room;  /* as it was made */
    uint64_t known; /* size of the device when its metadata were at the end */
    uint64_t slots[METADATA_SLOTS];
    struct metadata_layout layout;
    struct pair_item *first, *last; /* actions that wait */
    struct actions actions;
    unsigned hold;
    int fail_write, fail_read, fail_flush, fail_meta; /* codes for all from now on */
    int fail_measure;
    int answer_code; /* of the last command */
    bool answered;
    char answer_text[ACTION_TEXT_MAX];
    uint32_t handler_serial; /* of the last ACTION_HANDLER */
    int handover_code;       /* the shell's answer to ACTION_HANDOVER_ASK */
    const char *handover_text;
    bool handover_late;       /* the test answers by pair_handover_answer */
    uint32_t handover_number; /* of the last question */
    bool wants_link;          /* LINK_CONNECT without a stream yet */
};

struct pair_request {
    struct replica_buffer *buffer;
    bool done;
    int code;
    struct pair_node *node;
    unsigned id;
};

struct pair {
    struct pair_node node[2];
    struct core_config policies; /* only what pair_tune copies; of the next attach */
    bool linked;
    uint64_t now, entropy;
    /* c-max-rate, c-min-rate, c-fill-target of the cores that are attached from now on */
    uint64_t resync_rate, resync_rate_min;
    uint32_t resync_fill;
    enum core_digest csums;
    uint64_t events_left; /* a run that never ends is a failure */
    struct pair_request request[PAIR_REQUESTS];
    unsigned requests;
    char *trace[PAIR_TRACE];
    unsigned traced;
    unsigned buffers; /* that exist */
    struct replica_buffer *newest;
    bool crashed; /* a core died with buffers in its hands */
};

/* Two fresh disks (create-md), attached. `data_bytes` each. */
struct pair *pair_new(uint64_t data_bytes);
/* The same with internal metadata on the nodes of the mask; there `data_bytes` is the device. */
struct pair *pair_new_internal(uint64_t data_bytes, unsigned mask);
/* The device gets larger, by pages of noise; at most PAIR_GROWTH in all. */
void pair_grow(struct pair *pair, unsigned index, uint64_t by);
void pair_free(struct pair *pair); /* asserts that no buffer was leaked */

void pair_run(struct pair *pair);                     /* until nothing but held actions is left */
void pair_run_some(struct pair *pair, unsigned most); /* carries out so many actions at most */
/* Carries out what waits, one after the other, until this line is traced. */
void pair_run_to(struct pair *pair, const char *line);
void pair_step(struct pair_node *node, struct event *event);
void pair_advance(struct pair *pair, uint64_t by); /* time goes on, with the timers it meets */
void pair_cut(struct pair *pair, int code); /* both see the stream's end; messages are lost */
void pair_crash(struct pair *pair,
                unsigned index); /* the core and what waits is gone; attach next */
void pair_attach(struct pair *pair, unsigned index);

/* The shell's answer to the last question: 0 is yes. */
void pair_handover_answer(struct pair *pair, unsigned index, int code, const char *text);

/* Gives a command and runs; its code. */
int pair_command(struct pair *pair, unsigned index, enum command_kind kind, uint32_t flags);
/* The same for a verification from byte `start` to `stop`. */
int pair_verify(struct pair *pair, unsigned index, uint64_t start, uint64_t stop);
/* Only gives a resize; `bytes` 0: to all there is. */
void pair_resize(struct pair *pair, unsigned index, uint64_t bytes, uint32_t flags);
/* Only gives it. */
void pair_ask(struct pair *pair, unsigned index, enum command_kind kind, uint32_t flags);

/* Both nodes anew, with the policies (fencing, on_peer_loss, handlers, after_sb) that are set in
 * `pair->policies`. What they hold on disk stays. */
void pair_restart(struct pair *pair);
/* A handler's script ends. */
void pair_handler_done(struct pair *pair, unsigned index, enum core_handler handler, int status);

/* Connects, clears the bitmap of new disks; both UpToDate afterwards. */
void pair_clear(struct pair *pair);

/* A guest's request, not yet carried out; a write's bytes are `fill`. Its number. */
unsigned pair_submit(struct pair *pair, unsigned index, enum replica_op op, uint64_t offset,
                     uint32_t length, uint8_t fill);

/* A message of the other node, as if it came over the link. */
void pair_forge(struct pair *pair, unsigned to, const struct wire_message *message);

struct core_status pair_status(const struct pair *pair, unsigned index);

/* The place of the first line at or after `from` that is `line`, or starts with it when it ends in
 * '*'; -1. */
int pair_find(const struct pair *pair, int from, const char *line);
void pair_print(const struct pair *pair, int from);

/* Asserts that the lines come in this order, from the place `from` on. */
#define PAIR_ORDER(pair, from, ...)                                      \
    do {                                                                 \
        const char *const lines[] = {__VA_ARGS__};                       \
        int at = (from);                                                 \
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {      \
            int found = pair_find(pair, at, lines[i]);                   \
            if (found < 0)                                               \
                pair_print(pair, from);                                  \
            ck_assert_msg(found >= 0, "not in order: \"%s\"", lines[i]); \
            at = found + 1;                                              \
        }                                                                \
    } while (0)

#endif
