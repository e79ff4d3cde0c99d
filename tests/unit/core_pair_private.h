/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core_pair_private.h - between core_pair.c (stepping) and core_pair_use.c (what a test calls). */
#ifndef TESTS_CORE_PAIR_PRIVATE_H
#define TESTS_CORE_PAIR_PRIVATE_H

#include "core_pair.h"

struct replica_buffer *pair_buffer_new(struct pair *pair, uint32_t length);
void pair_buffer_put(struct replica_buffer *buffer); /* NULL is fine */
void pair_core_gets(struct replica_buffer *buffer);
void pair_drop_all(struct pair_node *node); /* actions that wait */

#endif
