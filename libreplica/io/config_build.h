/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_build.h - between config.c (files) and config_build.c (what a resource's block means). */
#ifndef IO_CONFIG_BUILD_H
#define IO_CONFIG_BUILD_H

#include "libreplica/io/config.h"
#include "libreplica/io/config_tree.h"

enum { CONFIG_RESOURCES_MAX = 1024, CONFIG_HOSTS = 2 };

struct config_built {
    const struct config_statement *statement; /* in a tree of the build */
    struct config_resource resource;
    struct config_host hosts[CONFIG_HOSTS]; /* as in the file */
    bool ours;                              /* one of the hosts is this node */
};

/* Everything between reading the first file and handing out the result. */
struct config_build {
    const char *directory, *node; /* borrowed */
    const char *replaced;         /* this file of the directory is not read; NULL: all are */
    struct replica_error *error;
    struct config_tree *trees;
    unsigned tree_count;
    const struct config_statement *common; /* NULL: none */
    struct config_built *resources;
    unsigned count;
};

/* Fills in one resource from its block. Errors: REPLICA_E_INVALID, REPLICA_E_UNSUPPORTED. */
int config_build_resource(struct config_build *build, struct config_built *built);

/* Two resources of one name, or one device or address used twice: REPLICA_E_EXISTS. */
int config_build_check(struct config_build *build);

#endif
