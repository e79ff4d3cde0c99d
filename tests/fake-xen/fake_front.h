/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fake_front.h - a block frontend for tests: fills a ring in fake guest memory, by the rules or
 * not. */
#ifndef FAKE_FRONT_H
#define FAKE_FRONT_H

#include "fake_xen.h"
#include "tapdisk-drbd/plane.h"

struct front {
    uint32_t domain;
    enum blkif_abi abi;
    unsigned first_page, pages;
    uint32_t port;
    uint32_t produced, consumed;
};

struct front_segment {
    uint32_t page;
    uint8_t first, last;
};

/* Grants `pages` ring pages from `first_page` on, and makes an event channel. */
void front_open(struct front *front, uint32_t domain, enum blkif_abi abi, unsigned first_page,
                unsigned pages);
/* The numbers that XenStore would carry, as queue `index`. */
void front_describe(const struct front *front, struct vbd_parameters *parameters, unsigned index);

uint32_t *front_index(const struct front *front, unsigned offset); /* 0, 4, 8, 12 */
uint8_t *front_slot(struct front *front, uint32_t index);

void front_put(struct front *front, uint8_t operation, uint64_t id, uint64_t sector,
               const struct front_segment *segments, unsigned count);
/* Descriptors go to `page`, which is granted. */
void front_put_indirect(struct front *front, uint8_t operation, uint64_t id, uint64_t sector,
                        const struct front_segment *segments, unsigned count, unsigned page);
void front_put_discard(struct front *front, uint64_t id, uint64_t sector, uint64_t sectors,
                       uint8_t flag);
/* Shows what was put; an event only if the backend asked for one, unless `always`. */
void front_push(struct front *front, bool always);

struct front_response {
    uint64_t id;
    uint8_t operation;
    int16_t status;
};
/* False: none there. */
bool front_take(struct front *front, struct front_response *response);

#endif
