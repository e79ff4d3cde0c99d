/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xenbus.c - see xenbus.h. */
#include <config.h>

#include "xenbus.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libreplica/core/err.h"

enum { EVENTS_A_TURN = 1024, TRANSACTION_TRIES = 64 };

struct xenbus {
    struct xs_handle *store;
    struct replica_watch *watch;
    void (*fired)(void *argument, const char *path, const char *token);
    void (*drained)(void *argument);
    void *argument;
};

/* ---- watches ------------------------------------------------------------------------------------
 */

static void events_ready(void *argument, uint32_t events)
{
    struct xenbus *xenbus = argument;

    (void)events;
    for (unsigned i = 0; i < EVENTS_A_TURN; i++) {
        char **event = xs_check_watch(xenbus->store);

        if (!event)
            break;
        xenbus->fired(xenbus->argument, event[XS_WATCH_PATH], event[XS_WATCH_TOKEN]);
        free(event);
    }
    xenbus->drained(xenbus->argument);
}

int xenbus_watch(struct xenbus *xenbus, const char *path, const char *token)
{
    return xs_watch(xenbus->store, path, token) ? 0 : REPLICA_E_SYSTEM;
}

void xenbus_unwatch(struct xenbus *xenbus, const char *path, const char *token)
{
    /* It fails when there is no such watch, which is what is wanted. */
    (void)xs_unwatch(xenbus->store, path, token);
}

/* ---- beginning and end
 * ---------------------------------------------------------------------------- */

int xenbus_open(struct xenbus **xenbus, struct replica_loop *loop,
                void (*fired)(void *argument, const char *path, const char *token),
                void (*drained)(void *argument), void *argument, struct replica_error *error)
{
    struct xenbus *made = calloc(1, sizeof *made);
    int code;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "no memory for XenStore");
    made->fired = fired;
    made->drained = drained;
    made->argument = argument;
    /* Without the flag a late event of a removed watch could name a device of the same number. */
    made->store = xs_open(XS_UNWATCH_FILTER);
    if (!made->store) {
        free(made);
        return err_set(error, REPLICA_E_SYSTEM, "cannot reach xenstored: %s", strerror(errno));
    }
    code =
        replica_loop_watch(loop, xs_fileno(made->store), false, events_ready, made, &made->watch);
    if (code) {
        xenbus_close(made);
        return err_set(error, code, "no memory to watch XenStore");
    }
    *xenbus = made;
    return 0;
}

void xenbus_close(struct xenbus *xenbus)
{
    if (xenbus->watch)
        replica_loop_unwatch(xenbus->watch);
    xs_close(xenbus->store);
    free(xenbus);
}

/* ---- nodes
 * ---------------------------------------------------------------------------------------- */

static int join(char path[XENBUS_PATH_MAX], const char *directory, const char *leaf)
{
    int length = snprintf(path, XENBUS_PATH_MAX, "%s%s%s", directory, *leaf ? "/" : "", leaf);

    return length > 0 && length < XENBUS_PATH_MAX ? 0 : REPLICA_E_INVALID;
}

static bool is_text(const char *value, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] > 0x7e)
            return false;
    return true;
}

int xenbus_read(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                const char *leaf, char *text, size_t size)
{
    char path[XENBUS_PATH_MAX];
    unsigned length;
    char *value;
    int code = join(path, directory, leaf);

    if (code)
        return code;
    value = xs_read(xenbus->store, transaction, path, &length);
    if (!value)
        return errno == ENOENT ? REPLICA_E_NOT_FOUND : REPLICA_E_SYSTEM;
    if (length < size && is_text(value, length)) {
        memcpy(text, value, length);
        text[length] = '\0';
    } else {
        code = REPLICA_E_INVALID;
    }
    free(value);
    return code;
}

int xenbus_read_number(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                       const char *leaf, uint64_t most, uint64_t *value)
{
    char text[24];
    uint64_t number = 0;
    int code = xenbus_read(xenbus, transaction, directory, leaf, text, sizeof text);

    if (code)
        return code;
    if (!*text || strlen(text) > 19)
        return REPLICA_E_INVALID;
    for (const char *digit = text; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return REPLICA_E_INVALID;
        number = number * 10 + (uint64_t)(*digit - '0');
    }
    if (number > most)
        return REPLICA_E_INVALID;
    *value = number;
    return 0;
}

int xenbus_write(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                 const char *leaf, const char *format, ...)
{
    char path[XENBUS_PATH_MAX], value[XENBUS_VALUE_MAX];
    va_list arguments;
    int length;

    if (join(path, directory, leaf))
        return REPLICA_E_SYSTEM;
    va_start(arguments, format);
    length = vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof value)
        return REPLICA_E_SYSTEM;
    return xs_write(xenbus->store, transaction, path, value, (unsigned)length) ? 0
                                                                               : REPLICA_E_SYSTEM;
}

int xenbus_remove(struct xenbus *xenbus, xs_transaction_t transaction, const char *directory,
                  const char *leaf)
{
    char path[XENBUS_PATH_MAX];

    if (join(path, directory, leaf))
        return REPLICA_E_SYSTEM;
    if (xs_rm(xenbus->store, transaction, path) || errno == ENOENT)
        return 0;
    return REPLICA_E_SYSTEM;
}

int xenbus_transaction(struct xenbus *xenbus,
                       int (*body)(struct xenbus *xenbus, xs_transaction_t transaction,
                                   void *argument),
                       void *argument)
{
    for (unsigned i = 0; i < TRANSACTION_TRIES; i++) {
        xs_transaction_t transaction = xs_transaction_start(xenbus->store);
        int code;

        if (transaction == XENBUS_NO_TRANSACTION)
            return REPLICA_E_SYSTEM;
        code = body(xenbus, transaction, argument);
        if (xs_transaction_end(xenbus->store, transaction, code != 0))
            return code;
        if (code)
            return code;
        if (errno != EAGAIN)
            return REPLICA_E_SYSTEM;
    }
    return REPLICA_E_BUSY;
}

void xenbus_each(struct xenbus *xenbus, const char *directory, unsigned most,
                 void (*found)(void *argument, const char *name), void *argument)
{
    unsigned count = 0;
    char **names = xs_directory(xenbus->store, XENBUS_NO_TRANSACTION, directory, &count);

    for (unsigned i = 0; names && i < count && i < most; i++)
        found(argument, names[i]);
    free(names);
}
