/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nodes.c - see nodes.h. */
#include "nodes.h"

#include <stdio.h>
#include <string.h>

#include "libreplica/core/err.h"

enum { INFO_CDROM = 1, INFO_REMOVABLE = 2, INFO_READ_ONLY = 4 };

/* ---- what the toolstack says
 * ---------------------------------------------------------------------- */

enum xenbus_state nodes_read_state(struct xenbus *xenbus, const char *directory)
{
    uint64_t state;

    if (xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, directory, "state",
                           XENBUS_STATE_COUNT - 1, &state))
        return XENBUS_UNKNOWN;
    return (enum xenbus_state)state;
}

static bool text_is(struct xenbus *xenbus, const char *backend, const char *leaf, const char *value)
{
    char text[64];

    return xenbus_read(xenbus, XENBUS_NO_TRANSACTION, backend, leaf, text, sizeof text) == 0 &&
           strcmp(text, value) == 0;
}

int nodes_read_backend(struct xenbus *xenbus, const char *backend, struct nodes_backend *nodes)
{
    struct nodes_backend read = {0};
    char mode[16];
    uint64_t domain;
    int code = xenbus_read(xenbus, XENBUS_NO_TRANSACTION, backend, "frontend", read.frontend,
                           sizeof read.frontend);

    if (code)
        return code;
    code =
        xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, backend, "frontend-id", 0x7fef, &domain);
    if (code)
        return REPLICA_E_INVALID;
    read.frontend_domain = (uint32_t)domain;
    /* Without a mode that allows writing, none is. */
    read.read_only =
        xenbus_read(xenbus, XENBUS_NO_TRANSACTION, backend, "mode", mode, sizeof mode) != 0 ||
        !strchr(mode, 'w');
    read.cdrom = text_is(xenbus, backend, "device-type", "cdrom");
    read.removable = text_is(xenbus, backend, "removable", "1");
    read.discard = !read.read_only && !text_is(xenbus, backend, "discard-enable", "0");
    read.online = !text_is(xenbus, backend, "online", "0");
    read.added = text_is(xenbus, backend, "hotplug-status", "connected");
    read.state = nodes_read_state(xenbus, backend);
    *nodes = read;
    return 0;
}

/* ---- what we publish
 * ------------------------------------------------------------------------------ */

struct publication {
    const char *backend;
    const struct nodes_backend *nodes;
    uint64_t sectors;
};

struct number_node {
    const char *leaf;
    uint64_t value;
};

static int write_numbers(struct xenbus *xenbus, xs_transaction_t transaction, const char *backend,
                         const struct number_node *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int code = xenbus_write(xenbus, transaction, backend, list[i].leaf, "%llu",
                                (unsigned long long)list[i].value);
        if (code)
            return code;
    }
    return 0;
}

/* A frontend that negotiated with xen-blkback keeps what it chose there; what stands here must
 * be true for the next one. */
static int remove_foreign(struct xenbus *xenbus, xs_transaction_t transaction, const char *backend)
{
    static const char *const foreign[] = {"feature-persistent", "discard-secure",
                                          "physical-device"};

    for (unsigned i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        int code = xenbus_remove(xenbus, transaction, backend, foreign[i]);
        if (code)
            return code;
    }
    return 0;
}

static int write_features(struct xenbus *xenbus, xs_transaction_t transaction,
                          const struct publication *publication)
{
    const struct number_node list[] = {
        {"feature-flush-cache", 1},
        {"feature-barrier", 1},
        {"feature-discard", publication->nodes->discard},
        {"discard-granularity", REPLICA_BLOCK_BYTES},
        {"discard-alignment", 0},
        {"feature-max-indirect-segments", BLKIF_INDIRECT_SEGMENTS_MAX},
        {"max-ring-page-order", VBD_RING_ORDER_MAX},
        {"multi-queue-max-queues", VBD_QUEUES_PUBLISHED},
    };
    int code = remove_foreign(xenbus, transaction, publication->backend);

    if (code)
        return code;
    return write_numbers(xenbus, transaction, publication->backend, list,
                         sizeof list / sizeof *list);
}

static int offer_body(struct xenbus *xenbus, xs_transaction_t transaction, void *argument)
{
    const struct publication *publication = argument;
    const struct number_node state = {"state", XENBUS_INIT_WAIT};
    int code = write_features(xenbus, transaction, publication);

    return code ? code : write_numbers(xenbus, transaction, publication->backend, &state, 1);
}

int nodes_offer(struct xenbus *xenbus, const char *backend, const struct nodes_backend *nodes)
{
    struct publication publication = {.backend = backend, .nodes = nodes};

    return xenbus_transaction(xenbus, offer_body, &publication);
}

static int connect_body(struct xenbus *xenbus, xs_transaction_t transaction, void *argument)
{
    const struct publication *publication = argument;
    const struct nodes_backend *nodes = publication->nodes;
    const struct number_node list[] = {
        {"sectors", publication->sectors},
        {"sector-size", REPLICA_SECTOR_BYTES},
        {"physical-sector-size", REPLICA_BLOCK_BYTES},
        {"info", (nodes->cdrom ? INFO_CDROM : 0u) | (nodes->removable ? INFO_REMOVABLE : 0u) |
                     (nodes->read_only ? INFO_READ_ONLY : 0u)},
        {"state", XENBUS_CONNECTED},
    };
    int code = write_features(xenbus, transaction, publication);

    return code ? code
                : write_numbers(xenbus, transaction, publication->backend, list,
                                sizeof list / sizeof *list);
}

int nodes_connect(struct xenbus *xenbus, const char *backend, const struct nodes_backend *nodes,
                  uint64_t sectors)
{
    struct publication publication = {.backend = backend, .nodes = nodes, .sectors = sectors};

    return xenbus_transaction(xenbus, connect_body, &publication);
}

int nodes_write_state(struct xenbus *xenbus, const char *backend, enum xenbus_state state)
{
    return xenbus_write(xenbus, XENBUS_NO_TRANSACTION, backend, "state", "%d", (int)state);
}

/* ---- what the frontend says
 * ----------------------------------------------------------------------- */

static int bad_node(struct replica_error *error, int code, const char *directory, const char *leaf)
{
    return err_set(error, code, "%s/%s: %s", directory, leaf,
                   code == REPLICA_E_NOT_FOUND ? "missing" : "makes no sense");
}

static int read_number(struct xenbus *xenbus, const char *directory, const char *leaf,
                       uint64_t most, uint32_t *value, struct replica_error *error)
{
    uint64_t number;
    int code = xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, directory, leaf, most, &number);

    if (code)
        return bad_node(error, code, directory, leaf);
    *value = (uint32_t)number;
    return 0;
}

/* The same for a node that may be missing. */
static int read_optional(struct xenbus *xenbus, const char *directory, const char *leaf,
                         uint64_t most, unsigned missing, unsigned *value,
                         struct replica_error *error)
{
    uint64_t number = missing;
    int code = xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, directory, leaf, most, &number);

    if (code && code != REPLICA_E_NOT_FOUND)
        return bad_node(error, code, directory, leaf);
    *value = (unsigned)number;
    return 0;
}

static int read_protocol(struct xenbus *xenbus, const char *frontend, enum blkif_abi *abi,
                         struct replica_error *error)
{
    char protocol[32];
    int code =
        xenbus_read(xenbus, XENBUS_NO_TRANSACTION, frontend, "protocol", protocol, sizeof protocol);

    if (code && code != REPLICA_E_NOT_FOUND)
        return bad_node(error, code, frontend, "protocol");
    if (blkif_abi_from_protocol(code ? NULL : protocol, abi))
        return err_set(error, REPLICA_E_INVALID, "%s/protocol: \"%s\" is not known", frontend,
                       protocol);
    return 0;
}

/* Two generations of frontends name the ring's size in two ways. */
static int read_ring_pages(struct xenbus *xenbus, const char *frontend, unsigned *pages,
                           struct replica_error *error)
{
    unsigned order;
    uint64_t ignored;
    int code;

    if (xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, frontend, "ring-page-order", UINT32_MAX,
                           &ignored) == REPLICA_E_NOT_FOUND)
        return read_optional(xenbus, frontend, "num-ring-pages", RING_PAGES_MAX, 1, pages, error);
    code = read_optional(xenbus, frontend, "ring-page-order", VBD_RING_ORDER_MAX, 0, &order, error);
    if (code == 0)
        *pages = 1u << order;
    return code;
}

static int read_ring_refs(struct xenbus *xenbus, const char *directory, unsigned pages,
                          uint32_t *grefs, struct replica_error *error)
{
    uint64_t ignored;

    /* A ring of one page has `ring-ref`, or from some frontends `ring-ref0`. */
    if (pages == 1 && xenbus_read_number(xenbus, XENBUS_NO_TRANSACTION, directory, "ring-ref0",
                                         UINT32_MAX, &ignored) == REPLICA_E_NOT_FOUND)
        return read_number(xenbus, directory, "ring-ref", UINT32_MAX, grefs, error);
    for (unsigned i = 0; i < pages; i++) {
        char leaf[24];
        int code;

        (void)snprintf(leaf, sizeof leaf, "ring-ref%u", i);
        code = read_number(xenbus, directory, leaf, UINT32_MAX, &grefs[i], error);
        if (code)
            return code;
    }
    return 0;
}

static int read_queue(struct xenbus *xenbus, const char *directory,
                      struct vbd_parameters *parameters, unsigned index,
                      struct replica_error *error)
{
    int code = read_number(xenbus, directory, "event-channel", UINT32_MAX,
                           &parameters->queue[index].port, error);

    if (code)
        return code;
    return read_ring_refs(xenbus, directory, parameters->ring_pages, parameters->queue[index].grefs,
                          error);
}

int nodes_read_frontend(struct xenbus *xenbus, const char *frontend,
                        struct vbd_parameters *parameters, struct replica_error *error)
{
    char directory[XENBUS_PATH_MAX];
    int code = read_protocol(xenbus, frontend, &parameters->abi, error);

    if (code == 0)
        code = read_ring_pages(xenbus, frontend, &parameters->ring_pages, error);
    if (code == 0)
        code = read_optional(xenbus, frontend, "multi-queue-num-queues", VBD_QUEUES_MAX, 1,
                             &parameters->queues, error);
    if (code == 0 && parameters->queues == 0)
        code = bad_node(error, REPLICA_E_INVALID, frontend, "multi-queue-num-queues");
    if (code == 0 && parameters->queues == 1)
        return read_queue(xenbus, frontend, parameters, 0, error);
    for (unsigned i = 0; code == 0 && i < parameters->queues; i++) {
        int length = snprintf(directory, sizeof directory, "%s/queue-%u", frontend, i);

        if (length < 0 || (size_t)length >= sizeof directory)
            return bad_node(error, REPLICA_E_INVALID, frontend, "queue");
        code = read_queue(xenbus, directory, parameters, i, error);
    }
    return code;
}
