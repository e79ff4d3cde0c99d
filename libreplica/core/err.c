/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.c - see err.h. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct replica_error *error, int code, const char *format, ...)
{
    va_list arguments;

    if (!error)
        return code;
    error->code = code;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

int err_wrap(struct replica_error *error, const char *format, ...)
{
    char inner[sizeof error->text];
    va_list arguments;
    size_t used;

    if (!error)
        return REPLICA_E_INVALID;
    memcpy(inner, error->text, sizeof inner);
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    used = strlen(error->text);
    (void)snprintf(error->text + used, sizeof error->text - used, ": %s", inner);
    return error->code;
}
