/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * adm_render.h - a resource's status as people read it: the lines of `drbdadm status`, and a
 * progress bar while syncing. Pure: JSON in, text out.
 */
#ifndef TAPDISK_ADM_RENDER_H
#define TAPDISK_ADM_RENDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* `status`: one object as `status --json` prints it. Fields that are missing are left out. */
void adm_render_status(const json_t *status, bool color, FILE *out);

/* A resource of the configuration that nobody serves. */
void adm_render_down(const char *resource, bool color, FILE *out);

/* One whose process does not answer. */
void adm_render_silent(const char *resource, bool color, FILE *out);

/* "1.5 GiB" and "1:02:03"; `capacity` 16 is enough. */
void adm_render_size(double kib, char *text, size_t capacity);
void adm_render_duration(double seconds, char *text, size_t capacity);

#endif
