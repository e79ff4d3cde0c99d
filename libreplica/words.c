/* SPDX-License-Identifier: GPL-2.0-or-later */
/* words.c - the words as people read them. See words.h. */
#include "libreplica/words.h"

#define WORD(table, value) \
    ((size_t)(value) < sizeof(table) / sizeof *(table) && (table)[value] ? (table)[value] : "?")

const char *replica_role_name(enum replica_role role)
{
    static const char *const names[REPLICA_ROLE_COUNT] = {
        [REPLICA_ROLE_UNKNOWN] = "Unknown",
        [REPLICA_ROLE_SECONDARY] = "Secondary",
        [REPLICA_ROLE_PRIMARY] = "Primary",
    };
    return WORD(names, role);
}

const char *replica_disk_name(enum replica_disk disk)
{
    static const char *const names[REPLICA_DISK_COUNT] = {
        [REPLICA_DISK_DISKLESS] = "Diskless",         [REPLICA_DISK_ATTACHING] = "Attaching",
        [REPLICA_DISK_DETACHING] = "Detaching",       [REPLICA_DISK_FAILED] = "Failed",
        [REPLICA_DISK_INCONSISTENT] = "Inconsistent", [REPLICA_DISK_OUTDATED] = "Outdated",
        [REPLICA_DISK_UNKNOWN] = "DUnknown",          [REPLICA_DISK_CONSISTENT] = "Consistent",
        [REPLICA_DISK_UPTODATE] = "UpToDate",
    };
    return WORD(names, disk);
}

const char *replica_connection_name(enum replica_connection connection)
{
    static const char *const names[REPLICA_CONNECTION_COUNT] = {
        [REPLICA_CONNECTION_STANDALONE] = "StandAlone",
        [REPLICA_CONNECTION_DISCONNECTING] = "Disconnecting",
        [REPLICA_CONNECTION_UNCONNECTED] = "Unconnected",
        [REPLICA_CONNECTION_TIMEOUT] = "Timeout",
        [REPLICA_CONNECTION_BROKEN_PIPE] = "BrokenPipe",
        [REPLICA_CONNECTION_NETWORK_FAILURE] = "NetworkFailure",
        [REPLICA_CONNECTION_PROTOCOL_ERROR] = "ProtocolError",
        [REPLICA_CONNECTION_CONNECTING] = "Connecting",
        [REPLICA_CONNECTION_CONNECTED] = "Connected",
    };
    return WORD(names, connection);
}

const char *replica_replication_name(enum replica_replication replication)
{
    static const char *const names[REPLICA_REPLICATION_COUNT] = {
        [REPLICA_REPLICATION_OFF] = "Off",
        [REPLICA_REPLICATION_ESTABLISHED] = "Established",
        [REPLICA_REPLICATION_WF_BITMAP_S] = "WFBitMapS",
        [REPLICA_REPLICATION_WF_BITMAP_T] = "WFBitMapT",
        [REPLICA_REPLICATION_SYNC_SOURCE] = "SyncSource",
        [REPLICA_REPLICATION_SYNC_TARGET] = "SyncTarget",
        [REPLICA_REPLICATION_VERIFY_S] = "VerifyS",
        [REPLICA_REPLICATION_VERIFY_T] = "VerifyT",
        [REPLICA_REPLICATION_PAUSED_SYNC_S] = "PausedSyncS",
        [REPLICA_REPLICATION_PAUSED_SYNC_T] = "PausedSyncT",
    };
    return WORD(names, replication);
}

const char *replica_handover_name(enum replica_handover handover)
{
    static const char *const names[REPLICA_HANDOVER_COUNT] = {
        [REPLICA_HANDOVER_NONE] = "None",         [REPLICA_HANDOVER_ASKING] = "Asking",
        [REPLICA_HANDOVER_DRAINING] = "Draining", [REPLICA_HANDOVER_PERSISTING] = "Persisting",
        [REPLICA_HANDOVER_WAITING] = "Waiting",
    };
    return WORD(names, handover);
}

const char *replica_op_name(enum replica_op op)
{
    static const char *const names[REPLICA_OP_COUNT] = {
        [REPLICA_OP_READ] = "read",
        [REPLICA_OP_WRITE] = "write",
        [REPLICA_OP_FLUSH] = "flush",
        [REPLICA_OP_DISCARD] = "discard",
        [REPLICA_OP_WRITE_ZEROES] = "write-zeroes",
    };
    return WORD(names, op);
}

const char *replica_code_name(int code)
{
    static const char *const names[] = {
        [-REPLICA_OK] = "ok",
        [-REPLICA_E_INVALID] = "invalid",
        [-REPLICA_E_MEMORY] = "out-of-memory",
        [-REPLICA_E_IO] = "io-error",
        [-REPLICA_E_NO_SPACE] = "no-space",
        [-REPLICA_E_RANGE] = "out-of-range",
        [-REPLICA_E_STATE] = "wrong-state",
        [-REPLICA_E_READ_ONLY] = "read-only",
        [-REPLICA_E_NOT_UPTODATE] = "not-uptodate",
        [-REPLICA_E_PEER_PRIMARY] = "peer-primary",
        [-REPLICA_E_BUSY] = "busy",
        [-REPLICA_E_NO_METADATA] = "no-metadata",
        [-REPLICA_E_METADATA] = "bad-metadata",
        [-REPLICA_E_PROTOCOL] = "protocol-error",
        [-REPLICA_E_VERSION] = "version-mismatch",
        [-REPLICA_E_MISMATCH] = "mismatch",
        [-REPLICA_E_UNRELATED] = "unrelated-data",
        [-REPLICA_E_SPLIT_BRAIN] = "split-brain",
        [-REPLICA_E_LINK] = "link-lost",
        [-REPLICA_E_TIMEOUT] = "timeout",
        [-REPLICA_E_TLS] = "tls-error",
        [-REPLICA_E_PERMISSION] = "permission",
        [-REPLICA_E_NOT_FOUND] = "not-found",
        [-REPLICA_E_EXISTS] = "exists",
        [-REPLICA_E_UNSUPPORTED] = "unsupported",
        [-REPLICA_E_SHUTDOWN] = "shutting-down",
        [-REPLICA_E_SYSTEM] = "system-error",
    };
    return code <= 0 ? WORD(names, -(long)code) : "?";
}
