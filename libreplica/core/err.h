/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * err.h - filling in and wrapping a caller-owned struct replica_error. Pure.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

#include "libreplica/words.h"

/* Fills in *error (which may be NULL) and returns `code`, so that a caller can write
 * `return err_set(error, REPLICA_E_RANGE, "...")`. Text that does not fit is cut. */
int err_set(struct replica_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the text already in *error; returns error->code. */
int err_wrap(struct replica_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
