/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device_help.h - for the tests of the Xen side as a whole, over a Xen in memory: toolstack, guest
 * and hotplug script are played by the test, in the orders that real ones choose.
 */
#ifndef UNIT_DEVICE_HELP_H
#define UNIT_DEVICE_HELP_H

#include <check.h>

#include "tapdisk-drbd/plane.h"
#include "tapdisk-drbd/xenside_private.h"
#include "tests/fake-xen/fake_front.h"
#include "tests/fake-xen/fake_role.h"
#include "tests/fake/fake_replica.h"

#define BACK "/local/domain/0/backend/vbd/7/51712"
#define BACK3 "/local/domain/0/backend/vbd3/7/51712"
#define FRONT "/local/domain/7/device/vbd/51712"
#define SECOND UINT64_C(1000000000)

enum { SECTORS = 8192, DATA = 512 };

/* Of the running test; made by setup. */
extern struct replica_loop *loop;
extern struct replica *replica;
extern struct xenside *xen;
extern char sysfs[];

void turns(unsigned count);
void pass(uint64_t nanoseconds);
void open_xen(void);
void close_xen(void);
void setup(void);
void teardown(void);
void put(const char *directory, const char *leaf, const char *value);
void put_number(const char *directory, const char *leaf, unsigned value);
const char *get(const char *directory, const char *leaf);
void expect_node(const char *directory, const char *leaf, const char *value);
void toolstack_makes(const char *back, const char *front, unsigned domain, const char *params,
                     const char *mode);
struct replica_control_request *ask(const char *verb, const char *path);
void add_works(const char *path);
void frontend_publishes(const char *path, struct front *front, unsigned domain);
void connect_all(struct front *front);
void works(struct front *front);
/* Our end follows once its rings have been quiet for a moment. */
void frontend_closes(void);
void toolstack_removes(bool force);
/* After it has closed: the guest's next kernel, or a driver that is loaded again. */
void frontend_comes_again(struct front *front);
/* As after a kill: it has done nothing but end. The caller closes it in the test's end. */
struct xenside *process_ends(void);
struct plane_usage usage(void);
/* A group of tests with setup and teardown. */
TCase *group(Suite *suite, const char *name);

#endif
