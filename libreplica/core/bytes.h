/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bytes.h - bounded little-endian cursors. Every wire and disk format goes through these.
 *
 * A cursor that meets its end turns `failed` on, stays there, and reads zeroes; the caller checks
 * once, after the last field. Pure; header only.
 */
#ifndef CORE_BYTES_H
#define CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes_reader {
    const uint8_t *next, *end;
    bool failed;
};

struct bytes_writer {
    uint8_t *next, *end;
    bool failed;
};

static inline struct bytes_reader bytes_reader(const void *data, size_t length)
{
    const uint8_t *start = data;
    return (struct bytes_reader){.next = start, .end = start + length};
}

static inline struct bytes_writer bytes_writer(void *data, size_t length)
{
    uint8_t *start = data;
    return (struct bytes_writer){.next = start, .end = start + length};
}

static inline uint64_t bytes_get(struct bytes_reader *reader, unsigned width)
{
    uint64_t value = 0;

    if (reader->failed || (size_t)(reader->end - reader->next) < width) {
        reader->failed = true;
        return 0;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&value, reader->next, width);
#else
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)reader->next[i] << (8 * i);
#endif
    reader->next += width;
    return value;
}

static inline uint8_t bytes_get8(struct bytes_reader *r)
{
    return (uint8_t)bytes_get(r, 1);
}
static inline uint16_t bytes_get16(struct bytes_reader *r)
{
    return (uint16_t)bytes_get(r, 2);
}
static inline uint32_t bytes_get32(struct bytes_reader *r)
{
    return (uint32_t)bytes_get(r, 4);
}
static inline uint64_t bytes_get64(struct bytes_reader *r)
{
    return bytes_get(r, 8);
}

static inline void bytes_get_raw(struct bytes_reader *reader, void *out, size_t length)
{
    if (reader->failed || (size_t)(reader->end - reader->next) < length) {
        reader->failed = true;
        memset(out, 0, length);
        return;
    }
    memcpy(out, reader->next, length);
    reader->next += length;
}

static inline void bytes_put(struct bytes_writer *writer, uint64_t value, unsigned width)
{
    if (writer->failed || (size_t)(writer->end - writer->next) < width) {
        writer->failed = true;
        return;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(writer->next, &value, width);
#else
    for (unsigned i = 0; i < width; i++)
        writer->next[i] = (uint8_t)(value >> (8 * i));
#endif
    writer->next += width;
}

static inline void bytes_put8(struct bytes_writer *w, uint8_t v)
{
    bytes_put(w, v, 1);
}
static inline void bytes_put16(struct bytes_writer *w, uint16_t v)
{
    bytes_put(w, v, 2);
}
static inline void bytes_put32(struct bytes_writer *w, uint32_t v)
{
    bytes_put(w, v, 4);
}
static inline void bytes_put64(struct bytes_writer *w, uint64_t v)
{
    bytes_put(w, v, 8);
}

static inline void bytes_put_raw(struct bytes_writer *writer, const void *data, size_t length)
{
    if (writer->failed || (size_t)(writer->end - writer->next) < length) {
        writer->failed = true;
        return;
    }
    memcpy(writer->next, data, length);
    writer->next += length;
}

/* Are all of these bytes 0? */
static inline bool bytes_zero(const void *data, size_t length)
{
    const uint8_t *byte = data;

    return length == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, length - 1) == 0);
}

#endif
