/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_store.c - libxenstore over a sorted list; see fake_xen.h. A transaction is a copy of the
 * whole store that replaces it at the commit, unless the store has changed meanwhile.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <xenstore.h>

#include "fake_private.h"

enum {
    NODES_MAX = 512,
    PATH_MAX_BYTES = 192,
    VALUE_MAX = 1024,
    WATCHES_MAX = 64,
    EVENTS_MAX = 4096
};

struct node {
    char path[PATH_MAX_BYTES];
    char value[VALUE_MAX];
    unsigned length;
};

struct tree {
    unsigned count;
    struct node nodes[NODES_MAX];
};

struct watch {
    char path[PATH_MAX_BYTES], token[64];
};

struct event {
    char path[PATH_MAX_BYTES], token[64];
};

struct xs_handle {
    int fd;
};

static struct store {
    struct tree tree;
    unsigned generation;
    struct tree *copy; /* of the one transaction */
    unsigned copy_generation;
    bool copy_changed;
    char changed[NODES_MAX][PATH_MAX_BYTES];
    unsigned changed_count;
    struct watch watches[WATCHES_MAX];
    unsigned watch_count;
    struct event events[EVENTS_MAX];
    unsigned first, last;
    unsigned conflicts, reads, handles, strayed;
    int fd;
} store = {.fd = -1};

/* Not the big arrays: their counts say what of them is valid. */
void fake_store_reset(void)
{
    store.tree.count = 0;
    store.generation = 0;
    store.copy = NULL;
    store.changed_count = store.watch_count = 0;
    store.first = store.last = 0;
    store.conflicts = store.reads = store.handles = store.strayed = 0;
    store.fd = -1;
}

void fake_store_leaks(struct fake_leaks *leaks)
{
    leaks->handles += store.handles;
    leaks->watches = store.watch_count;
    leaks->transactions = store.copy != NULL;
}

/* ---- the tree
 * ------------------------------------------------------------------------------------- */

static bool under(const char *path, const char *top)
{
    size_t length = strlen(top);

    return strncmp(path, top, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static const char *absolute(const char *path)
{
    static char full[PATH_MAX_BYTES];

    if (path[0] == '/' || path[0] == '@')
        return path;
    (void)snprintf(full, sizeof full, "/local/domain/0/%s", path);
    return full;
}

static struct node *find(struct tree *tree, const char *path)
{
    for (unsigned i = 0; i < tree->count; i++)
        if (strcmp(tree->nodes[i].path, path) == 0)
            return &tree->nodes[i];
    return NULL;
}

static void put(struct tree *tree, const char *path, const void *value, size_t length)
{
    struct node *node = find(tree, path);

    if (!node) {
        if (tree->count == NODES_MAX)
            abort();
        node = &tree->nodes[tree->count++];
        (void)snprintf(node->path, sizeof node->path, "%s", path);
    }
    if (length >= VALUE_MAX)
        length = VALUE_MAX - 1;
    if (length)
        memcpy(node->value, value, length);
    node->value[length] = '\0';
    node->length = (unsigned)length;
}

static bool cut(struct tree *tree, const char *path)
{
    bool found = false;

    for (unsigned i = 0; i < tree->count;) {
        if (under(tree->nodes[i].path, path)) {
            tree->nodes[i] = tree->nodes[--tree->count];
            found = true;
        } else {
            i++;
        }
    }
    return found;
}

/* ---- watches
 * ---------------------------------------------------------------------------------------- */

static void queue_event(const char *path, const char *token)
{
    struct event *event = &store.events[store.last % EVENTS_MAX];
    uint64_t one = 1;

    if (store.last - store.first == EVENTS_MAX)
        return;
    (void)snprintf(event->path, sizeof event->path, "%s", path);
    (void)snprintf(event->token, sizeof event->token, "%s", token);
    store.last++;
    if (store.fd >= 0 && write(store.fd, &one, sizeof one) < 0)
        abort();
}

static void fire(const char *path)
{
    store.generation++;
    for (unsigned i = 0; i < store.watch_count; i++) {
        if (under(path, store.watches[i].path))
            queue_event(path, store.watches[i].token);
        else if (under(store.watches[i].path, path))
            queue_event(store.watches[i].path, store.watches[i].token);
    }
}

/* ---- the test's side
 * ---------------------------------------------------------------------------------- */

void fake_store_write_bytes(const char *path, const void *bytes, size_t length)
{
    put(&store.tree, path, bytes, length);
    fire(path);
}

void fake_store_write(const char *path, const char *value)
{
    if (value)
        put(&store.tree, path, value, strlen(value));
    else if (!cut(&store.tree, path))
        return;
    fire(path);
}

const char *fake_store_read(const char *path)
{
    struct node *node = find(&store.tree, path);

    return node ? node->value : NULL;
}

void fake_store_conflicts(unsigned count)
{
    store.conflicts = count;
}

unsigned fake_store_strayed(void)
{
    return store.strayed;
}

unsigned fake_store_reads(void)
{
    return store.reads;
}

/* ---- libxenstore
 * -------------------------------------------------------------------------------------- */

struct xs_handle *xs_open(unsigned long flags)
{
    struct xs_handle *handle = calloc(1, sizeof *handle);

    (void)flags;
    if (!handle)
        abort();
    store.fd = handle->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    store.handles++;
    return handle;
}

void xs_close(struct xs_handle *handle)
{
    (void)close(handle->fd);
    store.fd = -1;
    store.handles--;
    store.watch_count = 0;
    store.first = store.last;
    store.copy = NULL;
    free(handle);
}

int xs_fileno(struct xs_handle *handle)
{
    return handle->fd;
}

static struct tree *tree_of(xs_transaction_t transaction)
{
    return transaction ? store.copy : &store.tree;
}

void *xs_read(struct xs_handle *handle, xs_transaction_t transaction, const char *path,
              unsigned int *length)
{
    struct node *node = find(tree_of(transaction), absolute(path));
    char *value;

    (void)handle;
    store.reads++;
    if (!node) {
        errno = ENOENT;
        return NULL;
    }
    value = malloc(node->length + 1);
    if (!value)
        abort();
    memcpy(value, node->value, node->length + 1);
    if (length)
        *length = node->length;
    return value;
}

static void changed(xs_transaction_t transaction, const char *path)
{
    store.strayed += !under(path, "/local/domain/0/backend");
    if (!transaction) {
        fire(path);
        return;
    }
    if (store.changed_count < NODES_MAX)
        (void)snprintf(store.changed[store.changed_count++], PATH_MAX_BYTES, "%s", path);
}

bool xs_write(struct xs_handle *handle, xs_transaction_t transaction, const char *path,
              const void *data, unsigned int length)
{
    (void)handle;
    put(tree_of(transaction), absolute(path), data, length);
    changed(transaction, absolute(path));
    return true;
}

bool xs_rm(struct xs_handle *handle, xs_transaction_t transaction, const char *path)
{
    (void)handle;
    if (!cut(tree_of(transaction), absolute(path))) {
        errno = ENOENT;
        return false;
    }
    changed(transaction, absolute(path));
    return true;
}

/* The names right below `path`, each once. */
char **xs_directory(struct xs_handle *handle, xs_transaction_t transaction, const char *path,
                    unsigned int *count)
{
    struct tree *tree = tree_of(transaction);
    const char *top = absolute(path);
    size_t length = strlen(top);
    char **list = calloc(1, NODES_MAX * sizeof *list + NODES_MAX * PATH_MAX_BYTES);
    char *text;
    unsigned found = 0;

    (void)handle;
    if (!list)
        abort();
    text = (char *)list + NODES_MAX * sizeof *list;
    for (unsigned i = 0; i < tree->count; i++) {
        const char *name = tree->nodes[i].path;
        unsigned j = 0;

        if (strncmp(name, top, length) != 0 || name[length] != '/')
            continue;
        (void)snprintf(text, PATH_MAX_BYTES, "%.*s", (int)strcspn(name + length + 1, "/"),
                       name + length + 1);
        while (j < found && strcmp(list[j], text) != 0)
            j++;
        if (j == found) {
            list[found++] = text;
            text += PATH_MAX_BYTES;
        }
    }
    *count = found;
    if (found || find(tree, top))
        return list;
    free(list);
    errno = ENOENT;
    return NULL;
}

static void tree_copy(struct tree *to, const struct tree *from)
{
    to->count = from->count;
    memcpy(to->nodes, from->nodes, from->count * sizeof from->nodes[0]);
}

xs_transaction_t xs_transaction_start(struct xs_handle *handle)
{
    static struct tree copy;

    (void)handle;
    if (store.copy)
        abort(); /* one at a time */
    store.copy = &copy;
    tree_copy(store.copy, &store.tree);
    store.copy_generation = store.generation;
    store.changed_count = 0;
    return 1;
}

bool xs_transaction_end(struct xs_handle *handle, xs_transaction_t transaction, bool abandon)
{
    bool conflict = store.copy_generation != store.generation;

    (void)handle;
    (void)transaction;
    if (!abandon && store.conflicts) {
        store.conflicts--;
        conflict = true;
    }
    if (!abandon && !conflict) {
        tree_copy(&store.tree, store.copy);
        for (unsigned i = 0; i < store.changed_count; i++)
            fire(store.changed[i]);
    }
    store.copy = NULL;
    errno = EAGAIN;
    return abandon || !conflict;
}

bool xs_watch(struct xs_handle *handle, const char *path, const char *token)
{
    struct watch *watch = &store.watches[store.watch_count];

    (void)handle;
    if (store.watch_count == WATCHES_MAX)
        abort();
    store.watch_count++;
    (void)snprintf(watch->path, sizeof watch->path, "%s", absolute(path));
    (void)snprintf(watch->token, sizeof watch->token, "%s", token);
    queue_event(watch->path, watch->token);
    return true;
}

bool xs_unwatch(struct xs_handle *handle, const char *path, const char *token)
{
    (void)handle;
    for (unsigned i = 0; i < store.watch_count; i++) {
        if (strcmp(store.watches[i].path, absolute(path)) == 0 &&
            strcmp(store.watches[i].token, token) == 0) {
            store.watches[i] = store.watches[--store.watch_count];
            return true;
        }
    }
    errno = ENOENT;
    return false;
}

char **xs_check_watch(struct xs_handle *handle)
{
    struct event *event;
    uint64_t count;
    char **result;

    if (store.first == store.last) {
        (void)!read(handle->fd, &count, sizeof count);
        errno = EAGAIN;
        return NULL;
    }
    event = &store.events[store.first++ % EVENTS_MAX];
    result = malloc(2 * sizeof *result + sizeof *event);
    if (!result)
        abort();
    memcpy(result + 2, event, sizeof *event);
    result[0] = ((struct event *)(void *)(result + 2))->path;
    result[1] = ((struct event *)(void *)(result + 2))->token;
    return result;
}
