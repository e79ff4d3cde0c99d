/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config.h - the *.res files: drbd.conf syntax, read with flex and bison (config_lex.l,
 * config_parse.y), checked, and resolved for one host (config.c).
 */
#ifndef IO_CONFIG_H
#define IO_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "libreplica/core/core.h"

enum config_auth { CONFIG_AUTH_PSK, CONFIG_AUTH_X509 };

struct config_host {
    char name[REPLICA_NAME_MAX + 1];
    char disk[512];      /* backing device or file */
    char meta_disk[512]; /* "internal", or a device or file */
    char address[64];    /* numeric IPv4 or IPv6, without brackets */
    uint16_t port;
};

/* One resource as one host sees it. */
struct config_resource {
    char name[REPLICA_NAME_MAX + 1];
    char file[512]; /* where it was read, and the line, for messages */
    int line;
    struct config_host local, peer;
    struct core_config core; /* names, deadlines and policies are filled in */
    uint32_t al_extents;
    enum config_auth auth;
    char key_file[512]; /* [CONFIG_DIR/NAME.key] PSK: 64 hex digits */
    char ca_file[512], certificate_file[512], private_key_file[512], peer_name[256];
    bool ping_interval_set;
    uint64_t rekey_records;           /* TLS records before a key update; tests lower it */
    char handler[HANDLER_COUNT][512]; /* the scripts; empty: none */
};

/* All resources of a directory's *.res files (and global_common.conf's `common` section), in order
 * of file name. `node` is this host's name as in `on NAME`.
 * Errors: REPLICA_E_INVALID ("FILE:LINE: expected ..., found ..."; an option of DRBD that we lack
 * is named as such: REPLICA_E_UNSUPPORTED), REPLICA_E_NOT_FOUND (directory), REPLICA_E_EXISTS (two
 * resources of one name, one backing device or one address used twice), REPLICA_E_MEMORY.
 * A resource without an `on` section for `node` is left out unless asked for by name.
 * Ownership: free with config_free. */
struct config {
    struct config_resource *resources;
    unsigned count;
};
int config_load(const char *directory, const char *node, struct config *config,
                struct replica_error *error);
void config_free(struct config *config);

/* One resource by name; a copy. Errors: as config_load, and REPLICA_E_NOT_FOUND with the names that
 * there are, and with the hosts that the resource knows when it has no section for `node`. */
int config_find(const char *directory, const char *node, const char *resource,
                struct config_resource *found, struct replica_error *error);

/* The configuration as understood, every default spelled out, in the syntax it is read in. */
void config_dump(const struct config_resource *resource, FILE *out);

/* As config_load, with `text` as the directory's file `name`, whether or not there is one: what
 * came from another host and may be about to be written. */
int config_load_with(const char *directory, const char *text, size_t length, const char *name,
                     const char *node, struct config *config, struct replica_error *error);

/* Parses text instead of files: tests, the fuzzer. `name` stands for the file name. */
int config_parse_text(const char *text, size_t length, const char *name, const char *node,
                      struct config *config, struct replica_error *error);

#endif
