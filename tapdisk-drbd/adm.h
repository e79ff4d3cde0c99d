/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adm.h - tapdrbdadm, the admin command: drbdadm's verbs for tapdisk-drbd. adm.c reads the command
 * line and knows the verbs; the other adm_*.c files carry them out. What concerns a running
 * resource goes through its control socket; files and daemons are handled here.
 */
#ifndef TAPDISK_ADM_H
#define TAPDISK_ADM_H

#include <stdbool.h>

#include "libreplica/io/config.h"

/* What scripts see; drbdadm's and drbdsetup's where they have one for it. */
enum adm_exit {
    ADM_OK = 0,
    ADM_FAILED = 1,        /* a disk, the network or the system said no */
    ADM_USAGE = 3,         /* the command line is wrong */
    ADM_TIMEOUT = 5,       /* wait-connect, wait-sync: the time is over */
    ADM_CONFIG = 10,       /* the configuration is wrong, or no such resource, or it is not up */
    ADM_REFUSED = 11,      /* not in this state: peer is Primary, device in use, busy, ... */
    ADM_NOT_UPTODATE = 17, /* needs access to UpToDate data */
    ADM_EXEC = 20          /* a program could not be run */
};

enum adm_option {
    ADM_OPTION_FORCE = 1 << 0,
    ADM_OPTION_CLEAR_BITMAP = 1 << 1,
    ADM_OPTION_DISCARD_MY_DATA = 1 << 2,
    ADM_OPTION_TIMEOUT = 1 << 3,
    ADM_OPTION_JSON = 1 << 4,
    ADM_OPTION_WATCH = 1 << 5,
    ADM_OPTION_COLOR = 1 << 6,
    ADM_OPTION_SSH = 1 << 7,
    ADM_OPTION_RECEIVE = 1 << 8,
    ADM_OPTION_START = 1 << 9,
    ADM_OPTION_STOP = 1 << 10,
    ADM_OPTION_DRY_RUN = 1 << 11,
    ADM_OPTION_TO = 1 << 12,
    ADM_OPTION_SIZE = 1 << 13,
    ADM_OPTION_ASSUME_CLEAN = 1 << 14
};

enum adm_operands {
    ADM_OPERANDS_NONE,
    ADM_OPERANDS_RESOURCES, /* one or more, or "all" */
    ADM_OPERANDS_OPTIONAL,  /* none means all */
    ADM_OPERANDS_PAIR       /* HOST [RESOURCE...] */
};

/* The command line, borrowed from argv. */
struct adm {
    const char *config_dir, *run_dir, *node;
    char node_buffer[256];
    bool own_places; /* one of the three was given: systemd's units do not know it */
    unsigned options;
    uint32_t timeout;     /* seconds, for all resources together; 0: no limit */
    int64_t deadline;     /* in ms, where it ends; 0: it has not begun */
    uint64_t start, stop; /* sectors */
    uint64_t size;        /* bytes */
    const char *color, *ssh, *ssh_host, *to;
    char **operands;
    unsigned operand_count;
};

struct adm_verb {
    const char *name, *summary, *help;
    unsigned options;
    enum adm_operands operands;
    /* One of the two: called once, or for each resource named. */
    int (*run)(struct adm *adm);
    int (*each)(struct adm *adm, const char *resource);
};

/* Prints the line on stderr; returns `status`. */
int adm_fail(enum adm_exit status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit status for an error code of the library. */
enum adm_exit adm_exit_of(int code);

/* Prints *error; returns its exit status. */
int adm_fail_error(const struct replica_error *error);

/* One resource of the configuration; prints what is wrong. Returns an exit status. */
int adm_find(struct adm *adm, const char *resource, struct config_resource *found);

/* Calls `each` for every resource named, or for all of this host's. The worst exit status. */
int adm_for_each(struct adm *adm, int (*each)(struct adm *adm, const char *resource));

/* adm_commands.c: verbs that are one question to the daemon */
int adm_primary(struct adm *adm, const char *resource);
int adm_secondary(struct adm *adm, const char *resource);
int adm_connect(struct adm *adm, const char *resource);
int adm_disconnect(struct adm *adm, const char *resource);
int adm_new_current_uuid(struct adm *adm, const char *resource);
int adm_invalidate(struct adm *adm, const char *resource);
int adm_invalidate_remote(struct adm *adm, const char *resource);
int adm_outdate(struct adm *adm, const char *resource);
int adm_resume_io(struct adm *adm, const char *resource);
int adm_pause_sync(struct adm *adm, const char *resource);
int adm_resume_sync(struct adm *adm, const char *resource);
/* Of a resource that is up; true too when that cannot be found out. */
bool adm_has_disk(struct adm *adm, const char *resource);
int adm_attach(struct adm *adm, const char *resource);
int adm_detach(struct adm *adm, const char *resource);
int adm_verify(struct adm *adm, const char *resource);
int adm_resize(struct adm *adm, const char *resource);
int adm_wait_connect(struct adm *adm, const char *resource);
int adm_wait_sync(struct adm *adm, const char *resource);
int adm_role(struct adm *adm, const char *resource);
int adm_cstate(struct adm *adm, const char *resource);
int adm_dstate(struct adm *adm, const char *resource);
int adm_show_gi(struct adm *adm, const char *resource);
int adm_get_gi(struct adm *adm, const char *resource);

/* adm_daemon.c */
int adm_up(struct adm *adm, const char *resource);
int adm_down(struct adm *adm, const char *resource);
bool adm_is_up(const struct adm *adm, const char *resource);

/* adm_status.c */
int adm_status(struct adm *adm);

/* adm_files.c: configuration and metadata */
int adm_dump(struct adm *adm, const char *resource);
int adm_sh_resources(struct adm *adm);
int adm_sh_ll_dev(struct adm *adm, const char *resource);
int adm_sh_md_dev(struct adm *adm, const char *resource);
int adm_create_md(struct adm *adm, const char *resource);
int adm_dump_md(struct adm *adm, const char *resource);

/* adm_evacuate.c */
int adm_evacuate(struct adm *adm);

/* adm_pair.c */
int adm_pair(struct adm *adm);

#endif
