/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.h - the deterministic simulator: two hosts with the real core, a link, four disks, guests, an
 * operator and an oracle, in virtual time and out of one seed.
 *
 * Instead of bytes each 512-byte sector of a data disk holds a stamp: the number of the guest
 * write that put it there. Stamps grow in the order of issue, and overlapping writes run in that
 * order (P5), so "newer" is "greater": staleness and tearing are visible in every sector. The
 * metadata device holds the real bytes that the core encoded.
 *
 * One struct sim_world is used again for each schedule; nothing is allocated while one runs. A
 * violation is noted once (sim_violation) and ends the schedule.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "libreplica/core/actlog.h"
#include "libreplica/core/core.h"
#include "libreplica/core/lineage.h"
#include "policy.h"
#include "profile.h"
#include "single.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

enum sim_limits {
    SIM_HOSTS = 2,
    SIM_SECTORS = 4096, /* the largest data disk: 2 MiB */
    SIM_BLOCK_SECTORS = REPLICA_BLOCK_BYTES / REPLICA_SECTOR_BYTES,
    SIM_BUFFER_SECTORS = REPLICA_REQUEST_BYTES_MAX / REPLICA_SECTOR_BYTES,
    SIM_BUFFERS = 1024,
    SIM_WRITES = 2048, /* stamps of one schedule */
    SIM_PIECES = 8 * SIM_WRITES,
    SIM_DISK_OPS = 256,
    SIM_META_OPS = 32,
    SIM_WINDOW_BYTES = 73728, /* of a device with internal metadata that is kept; and all of one
                                 that has external ones */
    SIM_WINDOWS = 3,
    SIM_META_BYTES = SIM_WINDOW_BYTES * SIM_WINDOWS,
    SIM_BITMAP_BLOCKS = /* of the largest data disk */
    SIM_SECTORS / SIM_BLOCK_SECTORS / METADATA_BITS_PER_BLOCK,
    SIM_META_SECTORS = /* internal metadata */
    (METADATA_SLOTS + METADATA_AL_BLOCKS + SIM_BITMAP_BLOCKS) * METADATA_BLOCK_BYTES /
    REPLICA_SECTOR_BYTES,
    SIM_FLIGHTS = 1024, /* messages on the link at once, both ways */
    SIM_BLOCKS = 64,    /* of them with a bitmap block */
    SIM_QUEUE = 2048,
    SIM_GUEST_DEPTH = 16,
    SIM_ARENA_BYTES = 8 << 20,
    SIM_ACTIONS = 16384,
    SIM_STAMP_NONE = 0,
    SIM_STAMP_FIRST = 5 /* 1 and 2: what the disks held before the first guest write; 3 and 4:
                           metadata that have moved */
};

struct sim_world;

/* ---- buffers: the shell's struct replica_buffer ---------------------------------------------- */

struct replica_buffer {
    uint32_t references;
    uint32_t sectors;
    uint16_t index; /* in the pool; names its stamps */
    uint8_t host;
    bool handed; /* the core has it from a message or a read, and owes an ACTION_RELEASE */
    struct replica_buffer *next_free;
};

struct sim_buffers {
    struct replica_buffer list[SIM_BUFFERS];
    uint32_t stamps[SIM_BUFFERS][SIM_BUFFER_SECTORS];
    struct replica_buffer *free;
    uint32_t used, touched; /* in use now; the highest index ever used, plus one */
};

/* ---- the queue of what will happen ----------------------------------------------------------- */

enum sim_kind {
    SIM_DISK,      /* argument: operation; of the host's data disk */
    SIM_META,      /* argument: operation */
    SIM_DELIVER,   /* argument: direction (the sending host) */
    SIM_DIAL,      /* a dial has come to its end; argument: dial number */
    SIM_LINK_DOWN, /* the shell notices; argument: stream */
    SIM_CLOSED,    /* the answer to ACTION_LINK_CLOSE */
    SIM_GUEST,     /* the guest thinks of its next request; argument: incarnation */
    SIM_OPERATOR,  /* the operator looks at the screen */
    SIM_FAULT,     /* the next fault of the schedule */
    SIM_HEAL_LINK, /* argument: direction mask */
    SIM_THAW,      /* SIGCONT */
    SIM_HANDLER,   /* argument: handler */
    SIM_MEASURE,   /* argument: serial */
    SIM_HANDOVER,  /* the shell's answer is due; argument: number of the question */
    SIM_KIND_COUNT
};

struct sim_entry {
    uint64_t at;
    uint32_t order; /* first come, first served among equals */
    uint32_t argument;
    uint32_t serial; /* the process or object that it was meant for */
    uint8_t kind, host;
};

struct sim_queue {
    struct sim_entry heap[SIM_QUEUE];
    uint32_t count, order;
};

/* ---- disks ---- */

struct sim_disk_op {
    uint64_t at; /* when it was asked */
    bool used;
    bool durable;
    bool sampled; /* a read that has its data already */
    uint8_t op;   /* enum replica_op */
    uint32_t serial;
    uint32_t first, count; /* sectors */
    uint32_t stamp;        /* of a discard or write-zeroes */
    uint32_t flush_sequence;
    struct replica_buffer *buffer;
    bool handed; /* a read that was asked for without a buffer */
    bool summed; /* its checksum was asked for */
    uint64_t tag;
};

/* `visible` is what a read returns, `durable` what a power cut leaves at the least; where they
 * differ, the dirty bit is set and `sequence_of` tells since when. */
struct sim_disk {
    uint32_t visible[SIM_SECTORS], durable[SIM_SECTORS], sequence_of[SIM_SECTORS];
    uint64_t dirty[SIM_SECTORS / 64];
    uint32_t sequence, flush_covers; /* the highest sequence that a flush under way covers */
    uint32_t in_flight;
    uint64_t stalled_until;
    uint64_t one_until;   /* the next request, and that alone, ends no sooner; 0: none */
    uint64_t fails_until; /* requests end with an error: an attach helps after that */
    bool not_spared;      /* a failure hits the only good copy too */
    uint64_t hangs_until; /* requests do not end */
    struct sim_disk_op ops[SIM_DISK_OPS];
};

struct sim_meta_op {
    bool used, write;
    uint32_t serial;
    uint32_t offset, length;
    uint8_t *data; /* the core's */
    uint64_t tag;
    uint8_t copy[SIM_WINDOW_BYTES]; /* of a write, as it was when submitted */
};

struct sim_meta {
    uint8_t bytes[SIM_META_BYTES];
    uint32_t ends[SIM_WINDOWS], windows; /* grow.c: what `bytes` hold */
    uint64_t map_until, super_until;     /* writes of the bitmap, or of a superblock, that are asked
                                            for now end no sooner */
    uint32_t in_flight;
    bool truth_stale, log_stale; /* what was decoded for the oracle is older than the bytes */
    bool truth_valid;
    struct metadata_superblock truth;
    struct actlog *log; /* scanned from `bytes`, for the oracle */
    struct sim_meta_op ops[SIM_META_OPS];
};

/* ---- link ---- */

enum sim_flight_kind {
    FLIGHT_OPEN, /* the end of the handshake, on its way to the acceptor; stamp: its process */
    FLIGHT_MESSAGE,
    FLIGHT_END,
    FLIGHT_RESET
};

struct sim_flight {
    uint8_t kind;
    uint32_t stream;
    uint32_t stamp;      /* which guest write a WRITE or its ACK is about; */
    uint32_t first, end; /* ACK: of which of its sectors */
    uint64_t at;
    struct wire_message message;
    uint8_t *block; /* copy of a bitmap block */
    struct replica_buffer *buffer;
    struct sim_flight *next;
};

struct sim_lane {
    struct sim_flight *first, *last;
    uint64_t last_at;
    bool blocked, scheduled;
    uint32_t cut;        /* the stream of which nothing more gets through */
    uint64_t slow_until; /* messages sent before then take long */
};

struct sim_net {
    struct sim_lane lane[SIM_HOSTS]; /* by sender */
    struct sim_flight flights[SIM_FLIGHTS];
    struct sim_flight *free;
    uint8_t blocks[SIM_BLOCKS][METADATA_BLOCK_BYTES];
    uint8_t *free_block[SIM_BLOCKS];
    uint32_t free_blocks;
    uint32_t streams;                                      /* number of the newest */
    uint8_t wire[WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX]; /* scratch */
    bool half_open_next; /* the next handshake ends on one side only */
};

/* ---- a host: process, shell, core ---- */

enum { COMMANDS_MAX = 16 };

struct sim_command {
    bool used;
    enum command_kind kind;
    uint32_t flags;
};

/* What a Secondary has been sent and has not answered: which tag is which write. */
struct sim_owed {
    uint64_t tag;
    uint32_t stamp;
    uint32_t first, count; /* which of the write's sectors */
    uint8_t type;          /* enum wire_type: WRITE and its kin, or FLUSH */
    bool stale;            /* of a stream that is gone; it may still reach the disk */
    bool on_disk;          /* a discard or write-zeroes that was passed on already */
    uint32_t acked;        /* FLUSH: how many acknowledged writes it must cover */
};

enum { OWED_MAX = 256 };

struct sim_request {
    bool used;
    uint8_t op, host;
    bool fua;
    uint32_t serial;
    uint32_t first, count;
    uint32_t stamp;
    uint32_t disk_next, link_next; /* of a discard or write-zeroes: how far it was passed on */
    uint32_t acked; /* FLUSH: length of the world's list of acknowledged writes when issued */
    struct replica_buffer *buffer;
    uint32_t floor[SIM_BUFFER_SECTORS]; /* READ: the oldest stamp that may be returned */
};

struct sim_guest {
    bool running, paused;
    bool suspended; /* shut down for suspend: it may run again, here or over there */
    bool held;      /* the shell takes nothing from its ring: the role is on its way, or gone */
    uint32_t incarnation;
    uint32_t in_flight, depth;
    uint32_t failed; /* answers with an error */
    bool thinking;   /* a SIM_GUEST entry is in the queue */
    struct sim_request request[SIM_GUEST_DEPTH];
    struct sim_request trespass; /* what must be refused; see guest_trespass */
};

struct sim_host {
    struct sim_world *world;
    uint8_t index;
    bool up;          /* the process runs */
    bool frozen;      /* SIGSTOP: it takes no event */
    uint32_t process; /* counts processes; stale events are recognised by it */
    uint64_t boot_at; /* when down: when it comes back; UINT64_MAX: when the operator says so */
    struct core *core;
    uint64_t deadline;
    struct core_status status; /* as of the last step */
    bool attached;
    bool hold; /* the operator wants it StandAlone for now */
    uint64_t hold_until;
    bool outgrown;   /* its disk has another size than the resource: a new process takes it */
    bool discarding; /* its operator gives up what it has and the peer has not, at the next sync */
    uint32_t paused_at; /* pause-sync was typed when there had been so many streams */
    bool drained;       /* a demotion is answered in this step: no request may be open after it */
    bool ending;        /* `down` was answered: the process leaves */
    uint32_t asked;     /* number of the handover that the shell was asked about; 0: none */
    bool asked_back;
    bool accepting, dialing;
    uint32_t dial, stream; /* number of the present dial; present stream, 0 for none */
    struct sim_command command[COMMANDS_MAX];
    uint32_t commands;
    struct sim_owed owed[OWED_MAX];
    uint32_t owes;
    uint32_t device_sectors; /* of the data device, as it is now */
    uint64_t shown_bytes;    /* the largest size that the core has told */
    struct sim_disk disk;
    struct sim_meta meta;
    struct sim_guest guest;
    uint8_t *arena;
    size_t arena_used;
    uint32_t arena_blocks;
    bool makes_room; /* core_make_room runs: it takes memory */
};

/* ---- oracle ---- */

struct sim_write {
    uint32_t first, count;
    uint8_t op, host;
    bool fua, acked, failed;
    /* The sectors of which the peer's acknowledgement has reached the Primary: all in the end, or
     * those of the last pieces. A discard goes in pieces, and each may find the peer there or not;
     * `peer_gap`: some did not, before these. */
    uint32_t peer_from, peer_next;
    bool peer_gap;
    bool on[SIM_HOSTS]; /* who answers for it */
};

/* What a Secondary has acknowledged: sectors [first, end) of a write. */
struct sim_piece {
    uint32_t stamp, first, end;
};

struct sim_oracle {
    struct sim_write write[SIM_WRITES];
    uint32_t writes; /* next stamp */
    uint32_t acked[SIM_WRITES], acked_count;
    uint32_t verified[SIM_HOSTS]; /* that many of `acked` are known durable on the host */
    /* The stamp that the host's data must at least show; what it was before a power cut took
     * acknowledged, unflushed writes away. */
    uint32_t floor[SIM_HOSTS][SIM_SECTORS], lost[SIM_HOSTS][SIM_SECTORS];
    uint32_t seen[SIM_HOSTS][SIM_SECTORS]; /* returned to the guest that runs there */
    struct sim_piece node_acked[SIM_HOSTS][SIM_PIECES];
    uint32_t node_acked_count[SIM_HOSTS];
    uint32_t node_verified[SIM_HOSTS];
    bool acked_in_tenure[SIM_HOSTS];
    uint64_t tenure_generation[SIM_HOSTS];
    bool forced[SIM_HOSTS];    /* the promotion under way is forced */
    bool robbed[SIM_HOSTS];    /* its guest lost the only copy, and no flush has failed since */
    uint64_t epoch[SIM_HOSTS]; /* of the last promotion of the host */
    struct sim_policy policy[SIM_HOSTS];
    bool established; /* as of the last look */
    struct sim_pace {
        uint32_t process;
        uint64_t next;                    /* no question before */
        uint64_t started, reached, spent; /* of the verification */
    } pace[SIM_HOSTS];
    uint64_t steps_at_now; /* steps since virtual time last moved */
};

/* ---- world ---- */

struct sim_world {
    uint64_t now, random, seed;
    bool verbose, failed, healing;
    char failure[512];
    struct sim_profile profile;
    struct sim_queue queue;
    struct sim_host host[SIM_HOSTS];
    struct sim_net net;
    struct sim_buffers buffers;
    struct sim_oracle oracle;
    struct action *actions;
    /* the schedule */
    uint32_t writes_issued, faults_done, fault_at_write;
    uint64_t fault_at;
    int32_t crash_host;     /* armed: this host crashes in mid-step; -1: none */
    uint32_t crash_actions; /* when a step has at least that many actions */
    bool crash_power;
    uint64_t crash_back; /* how long it then stays down */
    /* the operator */
    bool pinned;                 /* the scenario says where the guest runs; no other host will do */
    int32_t prefer;              /* the host that is to be Primary */
    int32_t promoting, demoting; /* -1: none */
    bool prepared;               /* the first data set exists */
    bool reconnect;              /* a split brain: try once more before data is given up */
    bool operator_off;           /* the operator has gone home */
    bool fence_fails;            /* fence-peer cannot do anything */
    uint64_t fence_ends_after; /* the next fence-peer ends so long after it has done it; 0: none */
    uint64_t stalled_since;    /* no guest gets on, and none could be started; ns */
    bool flipped;              /* a disk returns what was never written to it */
    uint64_t healed_at;
    bool crossed; /* a host took over the data of one that has them still */
    struct sim_migration migration;
    struct sim_single single;
    struct sim_counts counts;
    uint64_t steps_at_start; /* of this schedule, in counts.steps */
};

/* ---- world.c ---- */

/* Errors: REPLICA_E_MEMORY. Ownership: freed with world_free. */
int world_new(struct sim_world **world);
void world_free(struct sim_world *world);
/* Back to the beginning, for a schedule of its own; draws the profile. */
void world_reset(struct sim_world *world, uint64_t seed);
/* Makes both metadata devices and data disks as the profile's start wants them. */
void world_create(struct sim_world *world);
/* New metadata for one host, as `create-md` writes it; with a generation: in sync already. */
void world_create_metadata(struct sim_host *host, uint64_t generation);
/* Takes the next thing that happens. False: nothing is left to happen. */
bool world_step(struct sim_world *world);
void world_at(struct sim_world *world, enum sim_kind kind, unsigned host, uint64_t at,
              uint32_t argument, uint32_t serial);
/* Steps until `done` says so; false when `most` virtual time has gone by or a violation came. */
bool world_until(struct sim_world *world, bool (*done)(const struct sim_world *world),
                 uint64_t most);
void world_run(struct sim_world *world, uint64_t time);

uint64_t sim_random(struct sim_world *world);
uint32_t sim_below(struct sim_world *world, uint32_t bound); /* 0 for a bound of 0 */
bool sim_chance(struct sim_world *world, uint32_t one_in);
void sim_violation(struct sim_world *world, const char *promise, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_trace(const struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* So that nothing is formatted when nobody reads it. */
#define TRACE(world, ...)                  \
    do {                                   \
        if ((world)->verbose)              \
            sim_trace(world, __VA_ARGS__); \
    } while (0)

struct replica_buffer *buffer_get(struct sim_world *world, unsigned host, uint32_t sectors);
void buffer_hold(struct replica_buffer *buffer);
void buffer_put(struct sim_world *world, struct replica_buffer *buffer);
uint32_t *buffer_stamps(struct sim_world *world, const struct replica_buffer *buffer);

/* ---- host.c: the shell ---- */

void host_boot(struct sim_host *host);
/* The process dies; with `power` the disks lose their caches and the peer is not told. */
void host_crash(struct sim_host *host, bool power);
/* After `down` was answered. */
void host_end(struct sim_host *host);
void host_find_disk(struct sim_host *host); /* while Diskless: what the next attach finds */
void host_event(struct sim_host *host, struct event *event);
bool host_command(struct sim_host *host, enum command_kind kind, uint32_t flags);
bool host_command_at(struct sim_host *host, enum command_kind kind, uint32_t flags, uint64_t start,
                     uint64_t stop);
bool host_commanded(const struct sim_host *host, enum command_kind kind);
struct sim_host *host_peer(struct sim_host *host);

/* ---- disk.c, meta.c ---- */

void disk_reset(struct sim_host *host, uint32_t content);
void disk_submit(struct sim_host *host, const struct action *action);
bool disk_fails(struct sim_host *host); /* this request, by chance */
bool disk_hangs(const struct sim_host *host);
void disk_done(struct sim_host *host, uint32_t operation, uint32_t serial);
void disk_crash(struct sim_host *host, bool power);
bool disk_busy(const struct sim_disk *disk, uint32_t sector); /* a write of it is under way */

void meta_reset(struct sim_host *host, const struct metadata_superblock *superblock);
void meta_submit(struct sim_host *host, const struct action *action);
void meta_done(struct sim_host *host, uint32_t operation, uint32_t serial);
void meta_crash(struct sim_host *host);
/* What is durable, decoded. NULL: no valid superblock. */
const struct metadata_superblock *meta_truth(struct sim_host *host);
/* Does a durable mark (bitmap, activity log, full-sync flag) cover this sector? */
bool meta_marked(struct sim_host *host, uint32_t sector);

/* ---- grow.c: devices that get larger ---- */

void grow_reset(struct sim_host *host);
int grow_plan(struct sim_host *host, uint64_t data_bytes, struct metadata_layout *layout);
bool grow_find(const struct sim_host *host, uint64_t slot[METADATA_SLOTS],
               struct metadata_superblock *superblock);
/* Where this byte of the metadata device is in `bytes`; UINT32_MAX: nowhere. */
uint32_t meta_at(const struct sim_host *host, uint64_t offset);
/* Does what stands at this place of `bytes` carry a checksum? */
bool meta_has_sums(const struct sim_host *host, uint32_t at);
uint64_t grow_meta_bytes(const struct sim_host *host); /* size of the metadata device */
/* The host's device grows by so many windows, if its profile has room. */
void grow_device(struct sim_host *host, uint32_t windows);
void grow_now(struct sim_world *world); /* a fault, of a kind */
void grow_look(struct sim_host *host);  /* the operator's */
void grow_measure(struct sim_host *host, uint32_t serial);
void grow_stepped(struct sim_host *host);
uint32_t grow_sectors(const struct sim_host *host); /* what a guest sees */
uint32_t grow_common(const struct sim_world *world);
void grow_finish(struct sim_world *world);

/* ---- net.c ---- */

void net_reset(struct sim_world *world);
void net_send(struct sim_host *host, const struct action *action);
void net_connect(struct sim_host *host); /* ACTION_LINK_CONNECT */
void net_close(struct sim_host *host);   /* ACTION_LINK_CLOSE */
void net_deliver(struct sim_world *world, unsigned sender);
void net_dialed(struct sim_host *host, uint32_t dial);
void net_noticed(struct sim_host *host, uint32_t stream);
void net_closed(struct sim_host *host);
/* The host's sockets are gone: the peer hears of it (a killed process) or not (no power). */
void net_vanish(struct sim_host *host, bool silent);
/* The host's stream is gone: what it owed on it need not be answered. */
void net_forget_owed(struct sim_host *host);
/* The host's peer gets this as if the host's core had sent it. */
void net_forge(struct sim_host *host, const struct wire_message *message);
void net_drain(struct sim_world *world); /* what is under way is lost */
/* Of a message whose data are being read when the stream ends, some are in their place. */
void net_arrive_in_part(struct sim_host *host, const struct sim_flight *flight);
/* Faults. */
void net_cut(struct sim_world *world);     /* both ends notice */
void net_cut_after(struct sim_host *host); /* the same; nothing more arrives at the host */
void net_half_open(struct sim_host *host); /* only this end loses it */
void net_block(struct sim_world *world, unsigned mask, uint64_t time); /* black hole for a while */
void net_unblock(struct sim_world *world, unsigned mask);
void net_slow(struct sim_world *world, unsigned sender, uint64_t time);

/* ---- guest.c ---- */

void guest_start(struct sim_host *host);
void guest_stop(struct sim_host *host); /* it dies; what it asked for is in the stars */
void guest_think(struct sim_host *host, uint32_t incarnation);
void guest_wake(struct sim_host *host); /* let it go on asking */
void guest_complete(struct sim_host *host, void *cookie, int code);
/* One request of a scenario; false when there is no room. */
bool guest_issue(struct sim_host *host, enum replica_op op, bool fua, uint32_t first,
                 uint32_t count);
/* Somebody asks for what nobody may have: the disk of a node that is not Primary, or what lies
 * outside of a disk. */
void guest_trespass(struct sim_host *host);
/* The stamp of the request that a discard or write-zeroes of this range, given to the disk or to
 * the link, is about. */
uint32_t guest_stamp_of(struct sim_host *host, enum replica_op op, uint32_t first, uint32_t count,
                        bool link);

/* ---- oracle.c, oracle_pair.c ---- */

void oracle_reset(struct sim_world *world);
uint32_t oracle_write(struct sim_host *host, enum replica_op op, bool fua, uint32_t first,
                      uint32_t count);
void oracle_read_issued(struct sim_host *host, struct sim_request *request);
void oracle_completed(struct sim_host *host, const struct sim_request *request);
void oracle_failed(struct sim_host *host, const struct sim_request *request);
void oracle_landed(struct sim_host *host, uint32_t sector, uint32_t stamp);
void oracle_sent(struct sim_host *host, const struct wire_message *message,
                 struct sim_flight *flight);
void oracle_received(struct sim_host *host, const struct sim_flight *flight);
void oracle_power_cut(struct sim_host *host);
void oracle_ended(struct sim_host *host); /* its process, by a kill or by itself */
void oracle_abandoned(struct sim_host *host);
void oracle_guest_started(struct sim_host *host);
void oracle_guest_moved(const struct sim_host *from, struct sim_host *to);
/* What a step asks the peer for, and what it tells it of the guest. */
void oracle_paced(struct sim_host *host, const struct action *list, uint32_t count);
/* A command was answered with success: is that so? */
void oracle_answered(struct sim_host *host, enum command_kind kind);
/* After each step: roles, directions, limits. `before` is the status before it. */
void oracle_stepped(struct sim_host *host, const struct core_status *before);
void oracle_acted(const struct sim_host *host); /* what the step asked for is under way */
/* Equal where they have to be; `strict`: nothing is under way, so everywhere. */
void oracle_compare(struct sim_world *world, bool strict);
void oracle_finish(struct sim_world *world);
/* Whatever the peer does on its own now, it cannot pass for what we have. */
bool oracle_loss_recorded(struct sim_host *host);
void oracle_floor_raise(struct sim_oracle *oracle, unsigned host, uint32_t sector, uint32_t stamp);

/* ---- mutants.c ---- */

void mutants_list(void);
bool mutants_select(const char *name); /* false: there is none of this name */

/* ---- schedule.c, scenario.c ---- */

/* One random schedule. 0, or REPLICA_E_STATE with the violation in world->failure. */
int schedule_run(struct sim_world *world, uint64_t seed);
/* Repairs everything and waits for Connected, UpToDate, identical; then reads all of it. */
void schedule_converge(struct sim_world *world);
bool schedule_settled(const struct sim_world *world);

struct scenario {
    const char *name, *what;
    void (*run)(struct sim_world *world);
};
const struct scenario *scenario_at(unsigned index); /* NULL past the last one */
int scenario_run(struct sim_world *world, const struct scenario *scenario, uint64_t seed);

#include "people.h"

#endif
