/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the guests beside this file have in common: a process with four inherited descriptors, its ring, its memory, and descriptors that
 * it waits for. Architected blocks are read and written as this machine has them, so on a big-endian one without any swapping.
 */
#ifndef PROCESS_H
#define PROCESS_H

#define _POSIX_C_SOURCE 200809L
#define FCTL_GUEST_EVENTFD
#include "fctl_guest.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MOST_TAGS 32
/* Function, activity and status control. */
#define CONTROLS 0x7FFFu

/* What has come of one descriptor. */
struct fate {
    bool accepted, ended;
    uint8_t accepted_cc;
    struct fctl_completion final;
    union fctl_extension extension;
};

static struct fctl_ring ring;
static struct fctl_poster poster;
static struct fctl_reader reader;
static int doorbell, notification;
/* What an eventfd is told: one, in the byte order of the kernel that reads it. */
static uint64_t one;
static uint8_t *memory;
static uint64_t next_tag = 1, first_tag = 1;
static struct fate fates[MOST_TAGS];
/* Of the kinds that are no descriptor's final: how many came, and the last. */
static unsigned unasked;
static struct fctl_completion last_unasked;
/* Finals, and the order in which they came: since the last forget(). */
static unsigned ended;
static uint64_t order[MOST_TAGS];

static const char *doing = "opening";

#define CHECK(condition, ...)                                          \
    do {                                                               \
        if (!(condition)) {                                            \
            fprintf(stderr, "guest, %s, line %d: ", doing, __LINE__);  \
            fprintf(stderr, __VA_ARGS__);                              \
            fputc('\n', stderr);                                       \
            exit(1);                                                   \
        }                                                              \
    } while (0)

/* A word of an architected block, as this machine reads it: a plain load where its order is that of the architecture. */
static inline uint32_t be32(const void *block)
{
    uint32_t word;

    memcpy(&word, block, sizeof word);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

static inline void put_be32(void *block, uint32_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    memcpy(block, &word, sizeof word);
}

static inline uint64_t be64(uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* Opens what the descriptors RING DOORBELL NOTIFICATION stand for; guest memory begins at MEMORY in the first. KERNEL is `little` or `big`:
 * an emulator hands what is written to an inherited eventfd through as it is, and another order makes 2^56 of a one, which after 255
 * doorbells blocks for ever. */
static inline void open_process(int argc, char **argv)
{
    struct stat region;

    CHECK(argc == 6, "usage: RING DOORBELL NOTIFICATION MEMORY KERNEL");
    int file = atoi(argv[1]);
    doorbell = atoi(argv[2]);
    notification = atoi(argv[3]);
    size_t offset = strtoull(argv[4], NULL, 10);
    one = strcmp(argv[5], "little") == 0 ? fctl_le64(1) : be64(1);
    CHECK(fstat(file, &region) == 0 && offset < (size_t)region.st_size, "no shared memory");
    uint8_t *base = mmap(NULL, (size_t)region.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(base != MAP_FAILED, "cannot map");
    memory = base + offset;
    enum fctl_result opened = fctl_open(&ring, base, offset);
    CHECK(opened == FCTL_OK, "the ring does not open: %d", (int)opened);
    fctl_poster_open(&poster, &ring);
    fctl_reader_open(&reader, &ring);
}

/* Stages a descriptor whose accepted completion is wanted too. Its fate is looked for with the tag. */
static inline uint64_t stage(struct fctl_descriptor descriptor)
{
    descriptor.tag = next_tag;
    descriptor.flags |= FCTL_FLAG_ACCEPTED;
    CHECK(next_tag - first_tag < MOST_TAGS, "too many descriptors at once");
    CHECK(fctl_stage(&poster, &descriptor) == FCTL_OK, "the ring takes no descriptor");
    return next_tag++;
}

static inline void publish(void)
{
    if (fctl_publish(&poster))
        CHECK(write(doorbell, &one, sizeof one) == sizeof one, "cannot ring the doorbell");
}

static inline struct fate *fate(uint64_t tag)
{
    CHECK(tag >= first_tag && tag < next_tag, "tag %" PRIu64 " was not posted, or has ended before", tag);
    return &fates[tag - first_tag];
}

static inline void take(void)
{
    struct fctl_completion completion;
    union fctl_extension extension;
    enum fctl_result result;

    while ((result = fctl_take(&reader, &completion, &extension)) == FCTL_OK) {
        if (completion.kind == FCTL_KIND_ACCEPTED) {
            struct fate *found = fate(completion.tag);
            CHECK(!found->accepted && !found->ended, "accepted of %" PRIu64 " comes twice or too late", completion.tag);
            found->accepted = true;
            found->accepted_cc = completion.cc;
        } else if (completion.kind == FCTL_KIND_FINAL) {
            struct fate *found = fate(completion.tag);
            CHECK(found->accepted && !found->ended, "the final of %" PRIu64 " comes twice or too soon", completion.tag);
            CHECK(completion.cc == found->accepted_cc, "another condition code than was accepted");
            found->ended = true;
            found->final = completion;
            found->extension = extension;
            order[ended++] = completion.tag;
        } else {
            unasked++;
            last_unasked = completion;
        }
    }
    CHECK(result == FCTL_EMPTY, "the dispatcher broke the protocol");
    CHECK(fctl_fenced(&ring) == 0, "fenced");
}

/* Takes what is there; sleeps first if that was nothing. */
static inline void wait_for_more(void)
{
    if (fctl_announce_sleep(&reader)) {
        struct pollfd wake = { .fd = notification, .events = POLLIN };
        CHECK(poll(&wake, 1, 30000) == 1, "no notification within 30 s");
        CHECK(fctl_wait_notification(notification), "cannot read the notification");
        fctl_awake(&reader);
    }
    take();
}

#define WAIT_UNTIL(condition)       \
    do {                            \
        take();                     \
        while (!(condition))        \
            wait_for_more();        \
    } while (0)

/* All descriptors have ended. The next ones are counted anew. */
static inline void forget(void)
{
    CHECK(ended == next_tag - first_tag, "%u finals for %" PRIu64 " descriptors", ended, next_tag - first_tag);
    memset(fates, 0, sizeof fates);
    first_tag = next_tag;
    ended = unasked = 0;
}

static inline void all_end(void)
{
    WAIT_UNTIL(ended == next_tag - first_tag);
}

/* Posts one descriptor and waits for its final. */
static inline struct fate execute(struct fctl_descriptor descriptor)
{
    uint64_t tag = stage(descriptor);

    publish();
    WAIT_UNTIL(fate(tag)->ended);
    return *fate(tag);
}

#endif
