/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_private.h - between fake_xen.c and fake_store.c. */
#ifndef FAKE_PRIVATE_H
#define FAKE_PRIVATE_H

#include "fake_xen.h"

void fake_store_reset(void);
void fake_store_leaks(struct fake_leaks *leaks);

#endif
