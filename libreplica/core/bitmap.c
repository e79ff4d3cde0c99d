/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bitmap.c - out-of-sync bits, word at a time. See bitmap.h.
 *
 * Invariants
 *   1. Bit i stands for bytes [4096 i, 4096 (i + 1)); bits at or past `bits` are 0.
 *   2. `set` is the number of 1 bits; `dirty_count` the number of marks.
 *   3. A block without a mark is on disk as it is here. So every change of a bit marks its block.
 *   4. `counts` has the number of 1 bits of each block. The words of a block without any are
 *      neither read nor written: what was never set needs no memory, and a search is short.
 *
 * On disk and on the link a block is 4096 bytes: bit i of the bitmap is bit i % 8 of byte i / 8.
 */
#include "bitmap.h"

#include <string.h>

#include "bytes.h"
#include "metadata.h"
#include "mutant.h"

enum { WORD_BITS = 64, WORDS_PER_BLOCK = METADATA_BITS_PER_BLOCK / WORD_BITS };

static uint64_t bits_for(uint64_t data_bytes)
{
    return data_bytes / REPLICA_BLOCK_BYTES + (data_bytes % REPLICA_BLOCK_BYTES != 0);
}

static uint64_t blocks_for(uint64_t bits)
{
    return (bits + METADATA_BITS_PER_BLOCK - 1) / METADATA_BITS_PER_BLOCK;
}

static int take_memory(struct bitmap *fresh, uint64_t blocks)
{
    fresh->room = blocks;
    fresh->words =
        alloc_zeroed(&fresh->allocator, (size_t)blocks + 1, WORDS_PER_BLOCK * sizeof *fresh->words);
    if (!fresh->words)
        return REPLICA_E_MEMORY;
    fresh->dirty =
        alloc_zeroed(&fresh->allocator, (size_t)(blocks / WORD_BITS) + 1, sizeof *fresh->dirty);
    fresh->counts = alloc_zeroed(&fresh->allocator, (size_t)blocks + 1, sizeof *fresh->counts);
    if (!fresh->dirty || !fresh->counts) {
        bitmap_close(fresh);
        return REPLICA_E_MEMORY;
    }
    return 0;
}

int bitmap_init(struct bitmap *bitmap, uint64_t data_bytes, const struct core_allocator *allocator)
{
    struct bitmap fresh = {0};

    if (allocator)
        fresh.allocator = *allocator;
    fresh.bits = bits_for(data_bytes);
    fresh.blocks = blocks_for(fresh.bits);
    if (take_memory(&fresh, fresh.blocks))
        return REPLICA_E_MEMORY;
    *bitmap = fresh;
    return 0;
}

int bitmap_reserve(struct bitmap *bitmap, uint64_t data_bytes)
{
    struct bitmap fresh = *bitmap;
    uint64_t blocks = blocks_for(bits_for(data_bytes));

    if (blocks <= bitmap->room)
        return 0;
    fresh.words = fresh.dirty = NULL;
    fresh.counts = NULL;
    if (take_memory(&fresh, blocks))
        return REPLICA_E_MEMORY;
    memcpy(fresh.counts, bitmap->counts, bitmap->blocks * sizeof *fresh.counts);
    memcpy(fresh.dirty, bitmap->dirty, (bitmap->blocks / WORD_BITS + 1) * sizeof *fresh.dirty);
    for (uint64_t block = 0; block < bitmap->blocks; block++)
        if (bitmap->counts[block]) /* invariant 4 */
            memcpy(fresh.words + block * WORDS_PER_BLOCK, bitmap->words + block * WORDS_PER_BLOCK,
                   WORDS_PER_BLOCK * sizeof *fresh.words);
    alloc_release(&bitmap->allocator, bitmap->words);
    alloc_release(&bitmap->allocator, bitmap->dirty);
    alloc_release(&bitmap->allocator, bitmap->counts);
    *bitmap = fresh;
    return 0;
}

void bitmap_resize(struct bitmap *bitmap, uint64_t data_bytes)
{
    bitmap->bits = bits_for(data_bytes);
    bitmap->blocks = blocks_for(bitmap->bits);
}

void bitmap_close(struct bitmap *bitmap)
{
    alloc_release(&bitmap->allocator, bitmap->words);
    alloc_release(&bitmap->allocator, bitmap->dirty);
    alloc_release(&bitmap->allocator, bitmap->counts);
    bitmap->words = bitmap->dirty = NULL;
    bitmap->counts = NULL;
    bitmap->bits = bitmap->blocks = bitmap->set = bitmap->dirty_count = 0;
}

/* Bits [from, to) of one word, 0 <= from < to <= 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
    uint64_t below = to == WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << to) - 1;

    return below & ~(((uint64_t)1 << from) - 1);
}

/* The bits of word `index` that are in use (invariant 1). */
static uint64_t used_mask(const struct bitmap *bitmap, uint64_t index)
{
    uint64_t first = index * WORD_BITS;

    if (first >= bitmap->bits)
        return 0;
    return word_mask(0, bitmap->bits - first < WORD_BITS ? (unsigned)(bitmap->bits - first)
                                                         : WORD_BITS);
}

void bitmap_mark_dirty(struct bitmap *bitmap, uint64_t index)
{
    uint64_t bit = (uint64_t)1 << (index % WORD_BITS);
    uint64_t *word = &bitmap->dirty[index / WORD_BITS];

    if (*word & bit)
        return;
    *word |= bit;
    bitmap->dirty_count++;
}

static void unmark_dirty(struct bitmap *bitmap, uint64_t index)
{
    uint64_t bit = (uint64_t)1 << (index % WORD_BITS);
    uint64_t *word = &bitmap->dirty[index / WORD_BITS];

    if (!(*word & bit))
        return;
    *word &= ~bit;
    bitmap->dirty_count--;
}

static uint64_t word_at(const struct bitmap *bitmap, uint64_t index)
{
    return bitmap->counts[index / WORDS_PER_BLOCK] ? bitmap->words[index] : 0;
}

/* Gives word `index` a new value; returns the number of bits that changed. */
static unsigned change_word(struct bitmap *bitmap, uint64_t index, uint64_t value)
{
    uint64_t old = word_at(bitmap, index);
    unsigned more = (unsigned)__builtin_popcountll(value);
    unsigned less = (unsigned)__builtin_popcountll(old);

    if (old == value)
        return 0;
    bitmap->words[index] = value;
    bitmap->set = bitmap->set + more - less;
    bitmap->counts[index / WORDS_PER_BLOCK] += more - less;
    return (unsigned)__builtin_popcountll(old ^ value);
}

/* Sets or clears bits [first, end); returns how many changed. */
static uint64_t change_bits(struct bitmap *bitmap, uint64_t first, uint64_t end, bool to)
{
    uint64_t changed = 0;

    if (end > bitmap->bits)
        end = bitmap->bits;
    while (first < end) {
        uint64_t index = first / WORD_BITS;
        uint64_t stop = (index + 1) * WORD_BITS < end ? (index + 1) * WORD_BITS : end;
        uint64_t mask =
            word_mask((unsigned)(first % WORD_BITS), (unsigned)(stop - index * WORD_BITS));
        uint64_t word = word_at(bitmap, index);
        unsigned here = change_word(bitmap, index, to ? word | mask : word & ~mask);

        if (MUTANT(border_not_dirty) && first > 0 && first % METADATA_BITS_PER_BLOCK == 0)
            bitmap_mark_dirty(bitmap, index / WORDS_PER_BLOCK - 1);
        else if (here && !MUTANT(bits_not_dirty))
            bitmap_mark_dirty(bitmap, MUTANT(first_block_dirty) ? 0 : index / WORDS_PER_BLOCK);
        changed += here;
        first = stop;
    }
    return changed;
}

uint64_t bitmap_set(struct bitmap *bitmap, struct range range)
{
    if (range.length == 0)
        return 0;
    return change_bits(bitmap, range.offset / REPLICA_BLOCK_BYTES,
                       MUTANT(last_block_unmarked) ? range_end(range) / REPLICA_BLOCK_BYTES
                                                   : bits_for(range_end(range)),
                       true);
}

uint64_t bitmap_clear(struct bitmap *bitmap, struct range range)
{
    return change_bits(bitmap, bits_for(range.offset),
                       range_end(range) / REPLICA_BLOCK_BYTES + MUTANT(clears_next_block), false);
}

void bitmap_set_all(struct bitmap *bitmap)
{
    (void)change_bits(bitmap, 0, bitmap->bits, true);
}

void bitmap_clear_all(struct bitmap *bitmap)
{
    for (uint64_t block = 0; block < bitmap->blocks; block++)
        if (bitmap->counts[block])
            (void)change_bits(bitmap, block * METADATA_BITS_PER_BLOCK,
                              (block + 1) * METADATA_BITS_PER_BLOCK, false);
}

/* The first set bit at or after `from`, or `bits`. */
static uint64_t find_set(const struct bitmap *bitmap, uint64_t from)
{
    while (from < bitmap->bits) {
        uint64_t index = from / WORD_BITS, block = index / WORDS_PER_BLOCK;
        uint64_t word;

        if (!bitmap->counts[block]) {
            from = (block + 1) * METADATA_BITS_PER_BLOCK;
            continue;
        }
        word = bitmap->words[index] & word_mask((unsigned)(from % WORD_BITS), WORD_BITS);
        if (word)
            return index * WORD_BITS + (unsigned)__builtin_ctzll(word);
        from = (index + 1) * WORD_BITS;
    }
    return bitmap->bits;
}

bool bitmap_any(const struct bitmap *bitmap, struct range range)
{
    uint64_t found;

    if (range.length == 0)
        return false;
    found = find_set(bitmap, range.offset / REPLICA_BLOCK_BYTES);
    return found < bitmap->bits && found < bits_for(range_end(range));
}

bool bitmap_next(const struct bitmap *bitmap, uint64_t from, uint32_t most, struct range *run)
{
    uint64_t step = most / REPLICA_BLOCK_BYTES;
    uint64_t first, end, limit;

    if (step == 0)
        return false;
    first = find_set(bitmap, bits_for(from));
    if (first >= bitmap->bits)
        return false;
    limit = (first / step + 1) * step;
    end = first + 1;
    while (end < limit && end < bitmap->bits &&
           (word_at(bitmap, end / WORD_BITS) >> (end % WORD_BITS) & 1))
        end++;
    run->offset = first * REPLICA_BLOCK_BYTES;
    run->length = (uint32_t)((end - first) * REPLICA_BLOCK_BYTES);
    return true;
}

/* ---- on-disk blocks ------------------------------------------------------------------------ */

bool bitmap_next_dirty(const struct bitmap *bitmap, uint64_t from, uint64_t *index)
{
    while (from < bitmap->blocks) {
        uint64_t word = bitmap->dirty[from / WORD_BITS];

        word &= word_mask((unsigned)(from % WORD_BITS), WORD_BITS);
        if (word) {
            *index = from / WORD_BITS * WORD_BITS + (unsigned)__builtin_ctzll(word);
            return true;
        }
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return false;
}

void bitmap_copy(const struct bitmap *bitmap, uint64_t index, uint8_t *block)
{
    struct bytes_writer writer = bytes_writer(block, METADATA_BLOCK_BYTES);
    uint64_t first = index * WORDS_PER_BLOCK;

    if (!bitmap->counts[index]) {
        memset(block, 0, METADATA_BLOCK_BYTES);
        return;
    }
    for (uint64_t i = first; i < first + WORDS_PER_BLOCK; i++)
        bytes_put64(&writer, bitmap->words[i]);
    memset(writer.next, 0, (size_t)(writer.end - writer.next)); /* METADATA_SMALL */
}

void bitmap_encode(struct bitmap *bitmap, uint64_t index, uint8_t *block)
{
    bitmap_copy(bitmap, index, block);
    unmark_dirty(bitmap, index);
}

void bitmap_decode(struct bitmap *bitmap, uint64_t index, const uint8_t *block)
{
    struct bytes_reader reader = bytes_reader(block, METADATA_BLOCK_BYTES);
    uint64_t first = index * WORDS_PER_BLOCK;
    bool nothing = bitmap->counts[index] == 0 && bytes_zero(block, METADATA_BLOCK_BYTES);

    for (uint64_t i = first; !nothing && i < first + WORDS_PER_BLOCK; i++)
        (void)change_word(bitmap, i, bytes_get64(&reader) & used_mask(bitmap, i));
    unmark_dirty(bitmap, index);
}

uint64_t bitmap_merge(struct bitmap *bitmap, uint64_t index, const uint8_t *block)
{
    struct bytes_reader reader = bytes_reader(block, METADATA_BLOCK_BYTES);
    uint64_t first = index * WORDS_PER_BLOCK;
    uint64_t changed = 0;

    if (bytes_zero(block, METADATA_BLOCK_BYTES))
        return 0;
    for (uint64_t i = first; i < first + WORDS_PER_BLOCK; i++) {
        uint64_t more = bytes_get64(&reader) & used_mask(bitmap, i);

        changed += change_word(bitmap, i, word_at(bitmap, i) | more);
    }
    if (changed)
        bitmap_mark_dirty(bitmap, index);
    return changed;
}

bool bitmap_block_empty(const struct bitmap *bitmap, uint64_t index)
{
    return bitmap->counts[index] == 0;
}
