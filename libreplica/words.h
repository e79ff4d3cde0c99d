/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * words.h - the words every layer shares: states, operations, error codes.
 *
 * The names are DRBD's, spelled as `drbdadm status` spells them, so that code, status, JSON and
 * man pages say the same thing. Pure: no system header but <stdint.h> and friends, because the
 * core includes it. Installed beside replica.h.
 */
#ifndef LIBREPLICA_WORDS_H
#define LIBREPLICA_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* Limits that a person can meet. Protocol and format limits stand in core/wire.h and
 * core/metadata.h. */
enum replica_limits {
    REPLICA_NAME_MAX = 63,              /* bytes in a resource or host name, without the NUL */
    REPLICA_SECTOR_BYTES = 512,         /* the unit of Xen's sector numbers and our smallest I/O */
    REPLICA_BLOCK_BYTES = 4096,         /* what one bitmap bit stands for */
    REPLICA_REQUEST_BYTES_MAX = 262144, /* the largest request one replica_submit takes */
    REPLICA_ERROR_TEXT_MAX = 512        /* bytes of a diagnostic, with the NUL */
};

enum replica_role {
    REPLICA_ROLE_UNKNOWN,
    REPLICA_ROLE_SECONDARY,
    REPLICA_ROLE_PRIMARY,
    REPLICA_ROLE_COUNT
};

/* Ordered from worst to best, as DRBD orders them: `>= CONSISTENT` is meaningful. */
enum replica_disk {
    REPLICA_DISK_DISKLESS,
    REPLICA_DISK_ATTACHING,
    REPLICA_DISK_DETACHING,
    REPLICA_DISK_FAILED,
    REPLICA_DISK_INCONSISTENT,
    REPLICA_DISK_OUTDATED,
    REPLICA_DISK_UNKNOWN, /* only ever said of the peer: "DUnknown" */
    REPLICA_DISK_CONSISTENT,
    REPLICA_DISK_UPTODATE,
    REPLICA_DISK_COUNT
};

enum replica_connection {
    REPLICA_CONNECTION_STANDALONE,
    REPLICA_CONNECTION_DISCONNECTING,
    REPLICA_CONNECTION_UNCONNECTED,
    REPLICA_CONNECTION_TIMEOUT,
    REPLICA_CONNECTION_BROKEN_PIPE,
    REPLICA_CONNECTION_NETWORK_FAILURE,
    REPLICA_CONNECTION_PROTOCOL_ERROR,
    REPLICA_CONNECTION_CONNECTING,
    REPLICA_CONNECTION_CONNECTED,
    REPLICA_CONNECTION_COUNT
};

enum replica_replication {
    REPLICA_REPLICATION_OFF,
    REPLICA_REPLICATION_ESTABLISHED,
    REPLICA_REPLICATION_WF_BITMAP_S, /* bitmaps are being exchanged, we will be the source */
    REPLICA_REPLICATION_WF_BITMAP_T,
    REPLICA_REPLICATION_SYNC_SOURCE,
    REPLICA_REPLICATION_SYNC_TARGET,
    REPLICA_REPLICATION_VERIFY_S,
    REPLICA_REPLICATION_VERIFY_T,
    REPLICA_REPLICATION_PAUSED_SYNC_S,
    REPLICA_REPLICATION_PAUSED_SYNC_T,
    REPLICA_REPLICATION_COUNT
};

/* What a handover of the Primary role waits for. */
enum replica_handover {
    REPLICA_HANDOVER_NONE,       /* none is under way */
    REPLICA_HANDOVER_ASKING,     /* giver: whether the users of the disk stand still */
    REPLICA_HANDOVER_DRAINING,   /* giver: requests under way, and a flush of both nodes */
    REPLICA_HANDOVER_PERSISTING, /* giver: its metadata */
    REPLICA_HANDOVER_WAITING,    /* taker: the giver */
    REPLICA_HANDOVER_COUNT
};

enum replica_op {
    REPLICA_OP_READ,
    REPLICA_OP_WRITE,
    REPLICA_OP_FLUSH,   /* offset and length are 0 */
    REPLICA_OP_DISCARD, /* contents become undefined-but-equal: both sides read the same */
    REPLICA_OP_WRITE_ZEROES,
    REPLICA_OP_COUNT
};

/* Errors. 0 is success; every fallible function returns 0 or one of these. */
enum replica_code {
    REPLICA_OK = 0,
    REPLICA_E_INVALID = -1, /* the caller's argument or file is wrong; text says where */
    REPLICA_E_MEMORY = -2,
    REPLICA_E_IO = -3,           /* a disk said no */
    REPLICA_E_NO_SPACE = -4,     /* file-backed storage is full */
    REPLICA_E_RANGE = -5,        /* outside the device, or not aligned */
    REPLICA_E_STATE = -6,        /* not possible in the present role/disk/connection state */
    REPLICA_E_READ_ONLY = -7,    /* a write while not Primary, or under an old epoch */
    REPLICA_E_NOT_UPTODATE = -8, /* needs access to UpToDate data */
    REPLICA_E_PEER_PRIMARY = -9, /* the peer holds the Primary role */
    REPLICA_E_BUSY = -10,        /* another command is under way, or the device is in use */
    REPLICA_E_NO_METADATA = -11,
    REPLICA_E_METADATA = -12, /* metadata is there but damaged, foreign or of another version */
    REPLICA_E_PROTOCOL = -13, /* the peer sent what the protocol forbids */
    REPLICA_E_VERSION = -14,
    REPLICA_E_MISMATCH = -15,  /* resource name, size or configuration differs from the peer's */
    REPLICA_E_UNRELATED = -16, /* the two data sets have no common ancestor */
    REPLICA_E_SPLIT_BRAIN = -17,
    REPLICA_E_LINK = -18, /* link lost, or could not be made */
    REPLICA_E_TIMEOUT = -19,
    REPLICA_E_TLS = -20,        /* wrong key or certificate, or a broken record */
    REPLICA_E_PERMISSION = -21, /* a file's owner or mode is not what it must be */
    REPLICA_E_NOT_FOUND = -22,
    REPLICA_E_EXISTS = -23,
    REPLICA_E_UNSUPPORTED = -24, /* known to DRBD, not to us */
    REPLICA_E_SHUTDOWN = -25,    /* the replica is being closed */
    REPLICA_E_SYSTEM = -26       /* an operating-system call failed; text names it */
};

/* A diagnostic, owned by the caller. Written only on failure; `text` is one line without a final
 * newline that says what, where and what to do. */
struct replica_error {
    int code;
    char text[REPLICA_ERROR_TEXT_MAX];
};

/* The words as people read them, e.g. "Primary", "UpToDate", "SyncTarget", "write-zeroes".
 * Never NULL; a value outside the enum gives "?". Static storage. */
const char *replica_role_name(enum replica_role role);
const char *replica_disk_name(enum replica_disk disk);
const char *replica_connection_name(enum replica_connection connection);
const char *replica_replication_name(enum replica_replication replication);
const char *replica_handover_name(enum replica_handover handover);
const char *replica_op_name(enum replica_op op);
const char *replica_code_name(int code);

#endif
