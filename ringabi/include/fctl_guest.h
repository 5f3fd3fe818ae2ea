/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest's end of a ring pair in C11, for guest drivers: one poster, which batches, and one reader of completions.
 * Header-only, no allocation, nothing blocks; all shared words are atomics; any byte order. Normative text: SPEC.md, whose
 * sections the comments name.
 *
 * Poster and reader belong to one thread each at a time; the two may be different threads. `struct fctl_ring` is read-only
 * after fctl_open and shared by both. The shared mapping must not be accessed otherwise.
 *
 * All integers in structs that callers see are in host byte order; byte arrays are architected blocks, big-endian.
 *
 * Define FCTL_GUEST_EVENTFD before including this to get fctl_ring_doorbell and fctl_wait_notification over eventfds.
 */
#ifndef FCTL_GUEST_H
#define FCTL_GUEST_H

#include "fctl_mapping.h"

/* Descriptors ------------------------------------------------------------------------------------------------------- */

/* The subsystem-identification word of subchannel `number` in set `ssid` (0 to 3). */
static inline uint32_t fctl_subsystem(uint32_t ssid, uint16_t number)
{
    return UINT32_C(0x00010000) | (ssid & 3) << 17 | number;
}

/* An instruction without operand. */
static inline struct fctl_descriptor fctl_instruction(uint8_t operation, uint32_t subsystem, uint64_t tag)
{
    struct fctl_descriptor descriptor;

    memset(&descriptor, 0, sizeof descriptor);
    descriptor.operation = operation;
    descriptor.subsystem = subsystem;
    descriptor.tag = tag;
    return descriptor;
}

/* START SUBCHANNEL with the ORB's three words. */
static inline struct fctl_descriptor fctl_start(uint32_t subsystem, uint32_t intparm, uint32_t control, uint32_t cpa, uint64_t tag)
{
    struct fctl_descriptor descriptor = fctl_instruction(FCTL_OPERATION_START, subsystem, tag);

    fctl_put_be32(descriptor.operand, intparm);
    fctl_put_be32(descriptor.operand + 4, control);
    fctl_put_be32(descriptor.operand + 8, cpa);
    return descriptor;
}

/* START SUBCHANNEL or MODIFY SUBCHANNEL whose operand is at a guest address. */
static inline struct fctl_descriptor fctl_by_address(uint8_t operation, uint32_t subsystem, uint64_t address, uint64_t tag)
{
    struct fctl_descriptor descriptor = fctl_instruction(operation, subsystem, tag);

    descriptor.flags = FCTL_FLAG_OPERAND_BY_ADDRESS;
    for (int byte = 0; byte < 8; byte++)
        descriptor.operand[byte] = (uint8_t)(address >> (8 * byte));
    return descriptor;
}

/* The words of a descriptor in host order, with lap zero. */
static inline void fctl_descriptor_words(const struct fctl_descriptor *descriptor, uint64_t words[8])
{
    words[0] = (uint64_t)descriptor->operation << 32 | (uint64_t)descriptor->flags << 40 | (uint64_t)descriptor->reserved << 48;
    words[1] = descriptor->subsystem | (uint64_t)descriptor->order << 32;
    words[2] = descriptor->tag;
    words[3] = descriptor->posted;
    memcpy(&words[4], descriptor->operand, sizeof descriptor->operand);
    for (int word = 4; word < 8; word++)
        words[word] = fctl_le64(words[word]);
}

/* The poster -------------------------------------------------------------------------------------------------------- */

struct fctl_poster {
    const struct fctl_ring *ring;
    /* Next position; first position that is staged and not published; first word of that slot. */
    uint64_t next, first_staged, held;
    /* The dispatcher's head as last seen, and the sleep it was last woken from. */
    uint64_t head, woken;
    /* Completions charged, and given back as last seen (Room). */
    uint64_t charged, released;
};

/* Goes on where the poster before has left the ring with fctl_poster_finish, or at the start of a fresh one. */
static inline void fctl_poster_open(struct fctl_poster *poster, const struct fctl_ring *ring)
{
    memset(poster, 0, sizeof *poster);
    poster->ring = ring;
    poster->head = fctl_load(ring, FCTL_WORD_SQ_HEAD, memory_order_acquire);
    poster->next = fctl_load(ring, FCTL_WORD_SQ_TICKET, memory_order_relaxed);
    if (poster->next < poster->head)
        poster->next = poster->head;
    poster->first_staged = poster->next;
    poster->charged = fctl_load(ring, FCTL_WORD_CHARGED, memory_order_relaxed);
    poster->released = fctl_load(ring, FCTL_WORD_RELEASED, memory_order_acquire);
}

static inline bool fctl_has_credit(const struct fctl_poster *poster, uint64_t cost, uint64_t limit)
{
    return poster->charged + cost <= poster->released || poster->charged + cost - poster->released <= limit;
}

/* Writes a descriptor to the next slot; fctl_publish makes the batch visible. On any result but FCTL_OK nothing was written.
 * The descriptor's lap is not looked at. */
static inline enum fctl_result fctl_stage(struct fctl_poster *poster, const struct fctl_descriptor *descriptor)
{
    const struct fctl_ring *ring = poster->ring;
    const struct fctl_lane *lane = &ring->submissions;
    bool stops = descriptor->operation == FCTL_OPERATION_HALT || descriptor->operation == FCTL_OPERATION_CLEAR
                 || descriptor->operation == FCTL_OPERATION_CANCEL;
    uint64_t limit = stops ? ring->completions.entries : ring->completions.entries - ring->reserve;
    uint64_t cost = descriptor->flags & FCTL_FLAG_ACCEPTED ? 2 : 1;

    if (!fctl_has_credit(poster, cost, limit)) {
        /* Pairs with the Release in fctl_give_back: the completion head that freed the credit is seen by the dispatcher too. */
        poster->released = fctl_load(ring, FCTL_WORD_RELEASED, memory_order_acquire);
        if (!fctl_has_credit(poster, cost, limit))
            return fctl_fenced(ring) ? FCTL_FENCED : FCTL_COMPLETION_CREDIT;
    }
    if (poster->next - poster->head >= lane->entries) {
        /* Pairs with the dispatcher's Release of its head: it has read the slots it gives back. */
        uint64_t head = fctl_load(ring, FCTL_WORD_SQ_HEAD, memory_order_acquire);
        if (head < poster->head || head > poster->first_staged)
            return FCTL_VIOLATION;
        poster->head = head;
        if (poster->next - head >= lane->entries)
            return fctl_fenced(ring) ? FCTL_FENCED : FCTL_SUBMISSION_FULL;
    }

    uint64_t words[8], slot = fctl_slot(lane, poster->next);
    fctl_descriptor_words(descriptor, words);
    words[0] |= fctl_lap(lane, poster->next);
    for (int word = 1; word < 8; word++)
        fctl_store(ring, slot + (uint64_t)word, words[word], memory_order_relaxed);
    if (poster->next == poster->first_staged)
        poster->held = words[0];
    else
        /* Relaxed: nobody looks here before the first slot of the batch is valid; its Release orders this. */
        fctl_store(ring, slot, words[0], memory_order_relaxed);
    poster->next++;
    poster->charged += cost;
    return FCTL_OK;
}

/* Makes all staged descriptors visible at once. True: the dispatcher sleeps, ring the doorbell now. */
static inline bool fctl_publish(struct fctl_poster *poster)
{
    const struct fctl_ring *ring = poster->ring;

    if (poster->next == poster->first_staged)
        return false;
    /* Pairs with the dispatcher's Acquire of the lap. */
    fctl_store(ring, fctl_slot(&ring->submissions, poster->first_staged), poster->held, memory_order_release);
    poster->first_staged = poster->next;
    /* Pairs with the fence between the dispatcher's announcement of sleep and its last look (Wake-up). */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t sleep = fctl_load(ring, FCTL_WORD_SQ_SLEEP, memory_order_relaxed);
    if (sleep % 2 == 0 || sleep == poster->woken)
        return false;
    poster->woken = sleep;
    return true;
}

/* Stages and publishes one descriptor; *must_ring is set as by fctl_publish. */
static inline enum fctl_result fctl_post(struct fctl_poster *poster, const struct fctl_descriptor *descriptor, bool *must_ring)
{
    enum fctl_result result = fctl_stage(poster, descriptor);

    *must_ring = result == FCTL_OK && fctl_publish(poster);
    return result;
}

/* Publishes and leaves the positions in the header for another poster. True: ring the doorbell. */
static inline bool fctl_poster_finish(struct fctl_poster *poster)
{
    bool must_ring = fctl_publish(poster);

    fctl_store(poster->ring, FCTL_WORD_SQ_TICKET, poster->next, memory_order_relaxed);
    fctl_store(poster->ring, FCTL_WORD_CHARGED, poster->charged, memory_order_relaxed);
    return must_ring;
}

/* The reader of completions ------------------------------------------------------------------------------------------ */

struct fctl_reader {
    const struct fctl_ring *ring;
    /* Next position; position up to which slots were given back. */
    uint64_t head, given_back;
    /* Charged completions taken (Room); the sleep word. */
    uint64_t released, sleep;
};

/* Says that the reader is awake: no notification is wanted. To be called after every sleep. */
static inline void fctl_awake(struct fctl_reader *reader)
{
    if (reader->sleep % 2 == 1)
        fctl_store(reader->ring, FCTL_WORD_CQ_SLEEP, ++reader->sleep, memory_order_relaxed);
}

static inline void fctl_reader_open(struct fctl_reader *reader, const struct fctl_ring *ring)
{
    memset(reader, 0, sizeof *reader);
    reader->ring = ring;
    reader->head = fctl_load(ring, FCTL_WORD_CQ_HEAD, memory_order_relaxed);
    reader->given_back = reader->head;
    reader->released = fctl_load(ring, FCTL_WORD_RELEASED, memory_order_relaxed);
    reader->sleep = fctl_load(ring, FCTL_WORD_CQ_SLEEP, memory_order_relaxed);
    fctl_awake(reader);
}

/* Gives all taken slots back now, and the poster its credit. fctl_take does so for each quarter of the ring. To be called before
 * the reader is handed to somebody else. */
static inline void fctl_give_back(struct fctl_reader *reader)
{
    if (reader->given_back == reader->head)
        return;
    /* Pairs with the dispatcher's Acquire of this head: the slots and their extensions were read. */
    fctl_store(reader->ring, FCTL_WORD_CQ_HEAD, reader->head, memory_order_release);
    /* After the head, so that a poster who spends this credit finds the dispatcher with room for it. */
    fctl_store(reader->ring, FCTL_WORD_RELEASED, reader->released, memory_order_release);
    reader->given_back = reader->head;
}

/* True if no completion waits; a lap from nowhere counts as one: fctl_take will tell. */
static inline bool fctl_is_empty(const struct fctl_reader *reader)
{
    const struct fctl_lane *lane = &reader->ring->completions;
    uint64_t first = fctl_load(reader->ring, fctl_slot(lane, reader->head), memory_order_acquire);

    return (uint32_t)first == fctl_lap(lane, reader->head) - 1;
}

/* Takes the next completion: FCTL_OK, FCTL_EMPTY or FCTL_VIOLATION. The extension (may be NULL: it is not wanted) is all zero
 * unless a flag of the completion announces one. Kinds, dispositions and flags that are not known must be ignored (Versions). */
static inline enum fctl_result fctl_take(struct fctl_reader *reader, struct fctl_completion *completion, union fctl_extension *extension)
{
    const struct fctl_ring *ring = reader->ring;
    const struct fctl_lane *lane = &ring->completions;
    uint32_t expected = fctl_lap(lane, reader->head);
    uint64_t words[8], slot = fctl_slot(lane, reader->head);

    /* Pairs with the dispatcher's Release of the lap. */
    words[0] = fctl_load(ring, slot, memory_order_acquire);
    if ((uint32_t)words[0] != expected)
        return (uint32_t)words[0] == expected - 1 ? FCTL_EMPTY : FCTL_VIOLATION;
    for (int word = 1; word < 8; word++)
        words[word] = fctl_load(ring, slot + (uint64_t)word, memory_order_relaxed);
    completion->lap = expected;
    completion->kind = (uint8_t)(words[0] >> 32);
    completion->cc = (uint8_t)(words[0] >> 40);
    completion->disposition = (uint8_t)(words[0] >> 48);
    completion->flags = (uint8_t)(words[0] >> 56);
    completion->subsystem = (uint32_t)words[1];
    completion->intparm = (uint32_t)(words[1] >> 32);
    completion->tag = words[2];
    uint64_t status[2] = { fctl_le64(words[3]), fctl_le64(words[4]) };
    memcpy(completion->scsw, status, sizeof completion->scsw);
    completion->code = (uint16_t)(words[4] >> 32);
    completion->reserved = (uint16_t)(words[4] >> 48);
    completion->taken = words[5];
    completion->issued_after = (uint32_t)words[6];
    completion->completed_after = (uint32_t)(words[6] >> 32);
    completion->delivered_after = (uint32_t)words[7];
    completion->turn = (uint32_t)(words[7] >> 32);
    if (extension != NULL) {
        memset(words, 0, sizeof words);
        if (completion->flags & (FCTL_COMPLETION_IRB_EXTENSION | FCTL_COMPLETION_SCHIB_EXTENSION)) {
            uint64_t index = fctl_slot(&ring->extensions, reader->head);
            for (int word = 0; word < 8; word++)
                words[word] = fctl_le64(fctl_load(ring, index + (uint64_t)word, memory_order_relaxed));
        }
        memcpy(extension, words, sizeof *extension);
    }
    if (completion->kind == FCTL_KIND_FINAL || completion->kind == FCTL_KIND_ACCEPTED)
        reader->released++;
    reader->head++;
    if (reader->head - reader->given_back >= lane->entries / 4)
        fctl_give_back(reader);
    return FCTL_OK;
}

/* Announces sleep. True: sleep now until notified, then call fctl_awake. False: a completion has arrived, or the ring is fenced. */
static inline bool fctl_announce_sleep(struct fctl_reader *reader)
{
    fctl_give_back(reader);
    /* Each sleep has a number of its own, also when fctl_awake was forgotten. */
    reader->sleep += reader->sleep % 2 == 0 ? 1 : 2;
    fctl_store(reader->ring, FCTL_WORD_CQ_SLEEP, reader->sleep, memory_order_relaxed);
    /* Pairs with the fence between the dispatcher's publication and its look at this word (Wake-up). */
    atomic_thread_fence(memory_order_seq_cst);
    if (fctl_is_empty(reader) && fctl_fenced(reader->ring) == 0)
        return true;
    fctl_awake(reader);
    return false;
}

#if defined(FCTL_GUEST_EVENTFD)
#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Rings a doorbell that is an eventfd; false with errno if that failed. */
static inline bool fctl_ring_doorbell(int doorbell)
{
    uint64_t one = 1;
    ssize_t done;

    do
        done = write(doorbell, &one, sizeof one);
    while (done < 0 && errno == EINTR);
    return done == (ssize_t)sizeof one;
}

/* Waits for a notification through an eventfd; false with errno if that failed. */
static inline bool fctl_wait_notification(int notification)
{
    struct pollfd readable = {.fd = notification, .events = POLLIN};
    uint64_t count;
    ssize_t done;

    /* A non-blocking one is waited for first, and may have been read by somebody else meanwhile. */
    do
        done = poll(&readable, 1, -1) < 0 ? -1 : read(notification, &count, sizeof count);
    while (done < 0 && (errno == EINTR || errno == EAGAIN));
    return done == (ssize_t)sizeof count;
}
#endif

#endif /* FCTL_GUEST_H */
