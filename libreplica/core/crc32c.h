/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crc32c.h - the Castagnoli CRC (RFC 3720, appendix B.4), for metadata and wire headers. Pure. */
#ifndef CORE_CRC32C_H
#define CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c_update(0, "123456789", 9) == 0xe3069283. Start with 0; chain by passing the last value. */
uint32_t crc32c_update(uint32_t crc, const void *data, size_t length);

#endif
