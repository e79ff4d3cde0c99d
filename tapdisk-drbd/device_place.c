/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device_place.c - which backend nodes are vbds of this resource; see device.h. */
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "nodes.h"

static bool take_number(const char **text, uint32_t *value)
{
    uint64_t number = 0;
    unsigned digits = 0;

    for (; **text >= '0' && **text <= '9' && digits < 10; (*text)++, digits++)
        number = number * 10 + (uint64_t)(**text - '0');
    if (digits == 0 || number > UINT32_MAX || (**text != '/' && **text != '\0'))
        return false;
    *value = (uint32_t)number;
    return true;
}

int device_place_parse(const char *base, const char *path, struct device_place *place,
                       const char **leaf)
{
    size_t length = strlen(base);
    int written;

    if (strncmp(path, base, length) == 0 && path[length] == '/')
        path += length + 1;
    if (strncmp(path, "backend/", 8) != 0)
        return REPLICA_E_INVALID;
    path += 8;
    length = strcspn(path, "/");
    if (strncmp(path, "vbd/", 4) != 0 && strncmp(path, "vbd3/", 5) != 0)
        return REPLICA_E_INVALID;
    memcpy(place->kind, path, length);
    place->kind[length] = '\0';
    path += length + 1;
    if (!take_number(&path, &place->domain) || *path++ != '/' ||
        !take_number(&path, &place->device))
        return REPLICA_E_INVALID;
    *leaf = *path == '/' ? path + 1 : path;
    written = snprintf(place->path, sizeof place->path, "%s/backend/%s/%u/%u", base, place->kind,
                       place->domain, place->device);
    return written > 0 && (size_t)written < sizeof place->path ? 0 : REPLICA_E_INVALID;
}

/* "vm1" from "tap:drbd:vm1", "drbd:vm1", "aio:vm1" or "vm1". */
static const char *resource_of(const char *params)
{
    static const char *const prefixes[] = {"tap:", "drbd:", "aio:", "raw:"};

    for (unsigned i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(params, prefixes[i], strlen(prefixes[i])) == 0)
            params += strlen(prefixes[i]);
    return params;
}

/* One that is being removed is still somebody's to close: the toolstack waits for that. */
static bool is_over(struct xenbus *xenbus, const struct device_place *place)
{
    char online[4];

    return xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "online", online,
                       sizeof online) == 0 &&
           strcmp(online, "0") == 0 && nodes_read_state(xenbus, place->path) != XENBUS_CLOSING;
}

bool device_matches(struct xenbus *xenbus, const struct device_place *place, const char *resource)
{
    char params[XENBUS_PATH_MAX], script[XENBUS_PATH_MAX];
    const char *name;

    if (xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "params", params, sizeof params))
        return false;
    if (strcmp(resource_of(params), resource) != 0)
        return false;
    /* The same name may mean something else to another script. */
    if (xenbus_read(xenbus, XENBUS_NO_TRANSACTION, place->path, "script", script, sizeof script))
        return false;
    name = strrchr(script, '/');
    if (strcmp(name ? name + 1 : script, "block-drbd") != 0)
        return false;
    return !is_over(xenbus, place);
}
