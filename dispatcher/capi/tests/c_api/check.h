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

#endif
