/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the C tests share: a check that says where it failed, and a guest with memory. */
#ifndef CHECK_H
#define CHECK_H

#define _GNU_SOURCE
#define FCTL_GUEST_EVENTFD
#include "fctl.h"
#include "fctl_guest.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define CHECK(condition, ...)                                              \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                  \
            fprintf(stderr, "\n");                                         \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

/* A call that works. */
#define MUST(call)                                               \
    do {                                                         \
        int result_ = (call);                                    \
        CHECK(result_ >= 0, "%d, %s", result_, fctl_last_error()); \
    } while (0)

/* A call that fails with this code, and a message that contains `text`. */
#define FAILS(expected, text, call)                                                              \
    do {                                                                                         \
        int result_ = (call);                                                                    \
        CHECK(result_ == (expected), #call " gave %d, %s", result_, fctl_last_error());          \
        CHECK(strstr(fctl_last_error(), text) != NULL, #call " says: %s", fctl_last_error());    \
    } while (0)

#define MEMORY_BYTES (4u << 20)
#define SUBCHANNEL fctl_subsystem(0, 1)

static inline struct fctl *spawned(void)
{
    struct fctl_options options = { .size = sizeof options, .api_version = FCTL_API_VERSION };
    struct fctl *dispatcher;

    MUST(fctl_spawn(&options, &dispatcher));
    return dispatcher;
}

static inline void *guest_memory(void)
{
    void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED, "no memory");
    return memory;
}

static inline uint64_t guest_of(struct fctl *dispatcher, void *memory)
{
    struct fctl_memory_range range = { .host_address = memory, .size = MEMORY_BYTES };
    struct fctl_guest_options options = { .size = sizeof options, .ranges = &range, .range_count = 1 };
    uint64_t guest;

    MUST(fctl_attach_guest(dispatcher, &options, &guest));
    return guest;
}

/* A guest's driver: both ends of its ring. */
struct driver {
    struct fctl_ring ring;
    struct fctl_poster poster;
    struct fctl_reader reader;
    int doorbell, notification;
};

static inline void driver_open(struct driver *driver, void *region, uint64_t bytes, int doorbell, int notification)
{
    CHECK(fctl_open(&driver->ring, region, bytes) == FCTL_OK, "the ring does not open");
    fctl_poster_open(&driver->poster, &driver->ring);
    fctl_reader_open(&driver->reader, &driver->ring);
    driver->doorbell = doorbell;
    driver->notification = notification;
}

static inline void post(struct driver *driver, struct fctl_descriptor descriptor)
{
    bool must_ring;

    CHECK(fctl_post(&driver->poster, &descriptor, &must_ring) == FCTL_OK, "cannot post");
    if (must_ring)
        CHECK(fctl_ring_doorbell(driver->doorbell), "cannot ring");
}

static inline struct fctl_completion next(struct driver *driver)
{
    struct fctl_completion completion;
    enum fctl_result result;

    while ((result = fctl_take(&driver->reader, &completion, NULL)) == FCTL_EMPTY) {
        if (fctl_announce_sleep(&driver->reader)) {
            CHECK(fctl_wait_notification(driver->notification), "no notification");
            fctl_awake(&driver->reader);
        }
    }
    CHECK(result == FCTL_OK, "%d", (int)result);
    return completion;
}

/* A format-1 CCW that suppresses wrong lengths. */
static inline void put_ccw(uint8_t *ccw, uint8_t command, uint16_t count, uint32_t address)
{
    ccw[0] = command;
    ccw[1] = 0x20;
    ccw[2] = (uint8_t)(count >> 8);
    ccw[3] = (uint8_t)count;
    fctl_put_be32(ccw + 4, address);
}

#endif
