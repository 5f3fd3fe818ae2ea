/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A mapped ring pair in C11: byte order, atomic words, and the header's check. Included by fctl_guest.h.
 * Normative text: SPEC.md, whose sections the comments name.
 */
#ifndef FCTL_MAPPING_H
#define FCTL_MAPPING_H

#include "fctl_ring.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#if !defined(__BYTE_ORDER__)
#error "the compiler must say its byte order in __BYTE_ORDER__"
#endif
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "the ring needs lock-free 64-bit atomics");

typedef _Atomic uint64_t fctl_word;
_Static_assert(sizeof(fctl_word) == 8, "a shared word is eight bytes");

enum fctl_result {
    FCTL_OK = 0,
    /* fctl_take: nothing is there. */
    FCTL_EMPTY,
    /* fctl_stage: no submission slot is free until the dispatcher takes something. */
    FCTL_SUBMISSION_FULL,
    /* fctl_stage: take completions first; HSCH, CSCH and XSCH may still pass (Room). */
    FCTL_COMPLETION_CREDIT,
    /* The dispatcher no longer serves the ring: fctl_fenced has the reason (Fence reasons). */
    FCTL_FENCED,
    /* The dispatcher wrote what no correct one writes (Misbehaviour). */
    FCTL_VIOLATION,
    /* fctl_open: the header breaks a rule (Header). */
    FCTL_BAD_REGION,
    FCTL_BAD_MAGIC,
    FCTL_BAD_VERSION,
    FCTL_BAD_FEATURES,
    FCTL_BAD_FIELD,
};

/* Byte order -------------------------------------------------------------------------------------------------------- */

/* Host order to little-endian and back. */
static inline uint64_t fctl_le64(uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return value;
#else
    return __builtin_bswap64(value);
#endif
}

static inline void fctl_put_be32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

static inline uint32_t fctl_get_be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The ring ---------------------------------------------------------------------------------------------------------- */

/* One area of slots; offsets and strides in words. */
struct fctl_lane {
    uint64_t first;
    uint32_t stride;
    uint32_t entries;
    uint32_t log2;
};

struct fctl_ring {
    fctl_word *words;
    struct fctl_lane submissions;
    struct fctl_lane completions;
    struct fctl_lane extensions;
    uint32_t reserve;
    uint32_t clock;
    uint64_t optional_features;
    uint64_t epoch;
};

static inline uint64_t fctl_load(const struct fctl_ring *ring, uint64_t index, memory_order order)
{
    return fctl_le64(atomic_load_explicit(&ring->words[index], order));
}

static inline void fctl_store(const struct fctl_ring *ring, uint64_t index, uint64_t value, memory_order order)
{
    atomic_store_explicit(&ring->words[index], fctl_le64(value), order);
}

static inline uint64_t fctl_slot(const struct fctl_lane *lane, uint64_t position)
{
    return lane->first + (position & (lane->entries - 1)) * lane->stride;
}

static inline uint32_t fctl_lap(const struct fctl_lane *lane, uint64_t position)
{
    return (uint32_t)(position >> lane->log2) + 1;
}

static inline bool fctl_is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline bool fctl_lane_is_inside(struct fctl_lane *lane, uint64_t offset, uint32_t stride, uint32_t entries,
                                       uint64_t header_bytes, uint64_t length)
{
    if (stride < FCTL_ENTRY_BYTES || stride > FCTL_MOST_STRIDE || stride % FCTL_ENTRY_BYTES != 0)
        return false;
    if (offset % FCTL_ALIGNMENT != 0 || offset < header_bytes || offset > length
        || length - offset < (uint64_t)entries * stride)
        return false;
    lane->first = offset / 8;
    lane->stride = stride / 8;
    lane->entries = entries;
    lane->log2 = 0;
    while ((UINT32_C(1) << lane->log2) < entries)
        lane->log2++;
    return true;
}

static inline bool fctl_lanes_overlap(const struct fctl_lane *a, const struct fctl_lane *b)
{
    return a->first < b->first + (uint64_t)b->entries * b->stride && b->first < a->first + (uint64_t)a->entries * a->stride;
}

/* Checks the header of a mapped region (Header) and remembers where everything is. Reads each word once. */
static inline enum fctl_result fctl_open(struct fctl_ring *ring, void *base, uint64_t bytes)
{
    uint64_t header[FCTL_WORD_EPOCH + 1];

    memset(ring, 0, sizeof *ring);
    if (bytes < FCTL_HEADER_BYTES || (uintptr_t)base % FCTL_ALIGNMENT != 0)
        return FCTL_BAD_REGION;
    ring->words = (fctl_word *)base;
    /* Pairs with the formatter's Release: who sees the magic sees the header. */
    header[FCTL_WORD_MAGIC] = fctl_load(ring, FCTL_WORD_MAGIC, memory_order_acquire);
    if (header[FCTL_WORD_MAGIC] != FCTL_MAGIC)
        return FCTL_BAD_MAGIC;
    for (uint32_t word = FCTL_WORD_VERSION; word <= FCTL_WORD_EPOCH; word++)
        header[word] = fctl_load(ring, word, memory_order_relaxed);
    if ((header[FCTL_WORD_VERSION] & 0xFFFF) != FCTL_MAJOR)
        return FCTL_BAD_VERSION;
    if ((header[FCTL_WORD_REQUIRED] & ~(uint64_t)FCTL_KNOWN_FEATURES) != 0)
        return FCTL_BAD_FEATURES;

    uint64_t header_bytes = header[FCTL_WORD_VERSION] >> 32;
    uint64_t length = header[FCTL_WORD_LENGTH];
    uint32_t sq = (uint32_t)header[FCTL_WORD_ENTRIES], cq = (uint32_t)(header[FCTL_WORD_ENTRIES] >> 32);
    ring->reserve = (uint32_t)(header[FCTL_WORD_EXTENSION] >> 32);
    ring->clock = (uint32_t)header[FCTL_WORD_CLOCK];
    ring->optional_features = header[FCTL_WORD_OPTIONAL];
    ring->epoch = header[FCTL_WORD_EPOCH];
    if (length > bytes)
        return FCTL_BAD_REGION;
    if (header_bytes < FCTL_HEADER_BYTES || header_bytes > bytes || header[FCTL_WORD_CLOCK] > FCTL_CLOCK_MONOTONIC
        || !fctl_is_power_of_two(sq) || sq < FCTL_LEAST_ENTRIES || sq > FCTL_MOST_ENTRIES
        || !fctl_is_power_of_two(cq) || cq < 2 * sq || cq > FCTL_MOST_COMPLETION_ENTRIES
        || ring->reserve < FCTL_LEAST_RESERVE || ring->reserve > cq / 2)
        return FCTL_BAD_FIELD;
    if (!fctl_lane_is_inside(&ring->submissions, header[FCTL_WORD_SQ_OFFSET], (uint32_t)header[FCTL_WORD_STRIDES], sq,
                             header_bytes, length)
        || !fctl_lane_is_inside(&ring->completions, header[FCTL_WORD_CQ_OFFSET], (uint32_t)(header[FCTL_WORD_STRIDES] >> 32),
                                cq, header_bytes, length)
        || !fctl_lane_is_inside(&ring->extensions, header[FCTL_WORD_EXTENSION_OFFSET], (uint32_t)header[FCTL_WORD_EXTENSION],
                                cq, header_bytes, length)
        || fctl_lanes_overlap(&ring->submissions, &ring->completions)
        || fctl_lanes_overlap(&ring->submissions, &ring->extensions)
        || fctl_lanes_overlap(&ring->completions, &ring->extensions))
        return FCTL_BAD_FIELD;
    return FCTL_OK;
}

/* The reason why the dispatcher no longer serves this ring; 0 while it does. Pairs with its Release (Fence reasons). */
static inline uint32_t fctl_fenced(const struct fctl_ring *ring)
{
    return (uint32_t)fctl_load(ring, FCTL_WORD_FENCE, memory_order_acquire);
}

#endif /* FCTL_MAPPING_H */
