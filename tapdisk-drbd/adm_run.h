/* SPDX-License-Identifier: GPL-2.0-or-later */
/* adm_run.h - other programs that tapdrbdadm runs: systemctl, tapdisk-drbd, ssh. */
#ifndef TAPDISK_ADM_RUN_H
#define TAPDISK_ADM_RUN_H

#include <stddef.h>

/* Runs argv[0] (found in PATH), with `input` (NULL: our own) as its standard input, and waits.
 * Returns its exit status, 128 plus the signal that killed it, or -1 when it could not be run; the
 * reason has then been printed. */
int adm_run(char *const argv[], const char *input, size_t length);

#endif
