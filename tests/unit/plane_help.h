/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plane_help.h - for the tests of the data path: a plane over a Xen in memory and a fake replica.
 */
#ifndef UNIT_PLANE_HELP_H
#define UNIT_PLANE_HELP_H

#include <check.h>

#include "tests/fake-xen/fake_front.h"
#include "tests/fake/fake_replica.h"

enum { SECTORS = 32768, DATA = 512, POOL = 4 << 20 };

/* Of the running test; made by setup. */
extern struct replica_loop *loop;
extern struct replica *replica;
extern struct plane *plane;

void setup_pool(uint32_t pool);
void setup(void);
void teardown(void);
void turns(unsigned count);
struct vbd *connect_as(struct front *front, bool read_only);
struct vbd *connect_one(struct front *front);
void expect(struct front *front, uint64_t id, int status);
void fill(unsigned page, uint8_t value);
bool all(const uint8_t *bytes, size_t length, uint8_t value);

#endif
