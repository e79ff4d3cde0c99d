/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.h - checksums of blocks (verify-alg), with OpenSSL. */
#ifndef IO_DIGEST_H
#define IO_DIGEST_H

#include <stdbool.h>

#include "libreplica/core/core.h"

struct digest; /* heap object: one algorithm each is fetched when first needed */

/* Errors: REPLICA_E_MEMORY. Ownership: *digest is freed with digest_free. */
int digest_new(struct digest **digest);
void digest_free(struct digest *digest);

/* The checksum of `length` bytes, padded with zeroes. False: this machine's OpenSSL does not have
 * the algorithm (md5 under a FIPS policy). */
bool digest_sum(struct digest *digest, enum core_digest algorithm, const uint8_t *data,
                size_t length, uint8_t sum[WIRE_DIGEST_BYTES]);

/* Is every byte 0? Looks no further than the first that is not. */
bool digest_is_zero(const uint8_t *data, size_t length);

#endif
