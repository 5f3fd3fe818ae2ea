/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest in a process of its own: guest RING DOORBELL NOTIFICATION STARTS SUBCHANNELS wait|fill
 *
 * RING, DOORBELL and NOTIFICATION are inherited file descriptors (shared memory; two eventfds). Posts STARTS starts, round robin to the
 * SUBCHANNELS, and then one clear; checks that each tag gets exactly one final (and one accepted where it asked for it). When
 * the credit is used up, `wait` takes completions and goes on, `fill` posts no more starts. Status 0 if all was as specified.
 */
#define _POSIX_C_SOURCE 200809L
#define FCTL_GUEST_EVENTFD
#include "fctl_guest.h"
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TAG 0x1000
#define BATCH 8
#define UNIT_CHECK(index) ((index) % 7 == 3)
#define ASKS_ACCEPTED(index) ((index) % 5 == 0)
#define CPA(index) (0x1000u + 8 * (uint32_t)(index))

static struct fctl_ring ring;
static struct fctl_poster poster;
static struct fctl_reader reader;
static int doorbell, notification;
static unsigned char *finals, *accepted;
static uint64_t posted, ended, unsolicited, doorbells, notifications;

#define CHECK(condition, ...)                                \
    do {                                                     \
        if (!(condition)) {                                  \
            fprintf(stderr, "guest: " __VA_ARGS__);          \
            fprintf(stderr, " (line %d)\n", __LINE__);       \
            exit(1);                                         \
        }                                                    \
    } while (0)

static void publish(void)
{
    if (fctl_publish(&poster)) {
        CHECK(fctl_ring_doorbell(doorbell), "cannot ring the doorbell");
        doorbells++;
    }
}

static void check_status(const struct fctl_completion *completion, const union fctl_extension *extension, uint64_t index, bool is_clear)
{
    uint32_t control = fctl_get_be32(completion->scsw), address = fctl_get_be32(completion->scsw + 4);

    CHECK(completion->flags & FCTL_COMPLETION_STATUS, "the final of %llu has no status", (unsigned long long)index);
    if (is_clear) {
        CHECK(control == 0x00001001, "a clear ended with SCSW word 0 %08x", control);
        return;
    }
    CHECK(completion->intparm == 0xCAFE0000 + (uint32_t)index, "wrong interruption parameter %08x", completion->intparm);
    CHECK(address == CPA(index) + 8, "wrong CCW address %08x", address);
    if (UNIT_CHECK(index)) {
        CHECK(control == 0x00824017, "unit check with SCSW word 0 %08x", control);
        CHECK(completion->scsw[8] == 0x0E, "device status %02x", completion->scsw[8]);
        CHECK(completion->flags & FCTL_COMPLETION_IRB_EXTENSION, "unit check without sense");
        CHECK(fctl_get_be32(extension->irb.esw + 4) == 0x01010000, "wrong extended-report word");
        CHECK(extension->irb.ecw[0] == (uint8_t)index, "sense %02x of another start", extension->irb.ecw[0]);
    } else {
        CHECK(control == 0x00804007, "a start ended with SCSW word 0 %08x", control);
        CHECK(!(completion->flags & FCTL_COMPLETION_IRB_EXTENSION), "an extension nobody needs");
    }
}

/* Takes what is there; returns how many. */
static unsigned drain(uint64_t clear)
{
    struct fctl_completion completion;
    union fctl_extension extension;
    enum fctl_result result;
    unsigned taken = 0;

    while ((result = fctl_take(&reader, &completion, &extension)) == FCTL_OK) {
        taken++;
        if (completion.kind == FCTL_KIND_UNSOLICITED) {
            CHECK(completion.tag == 0, "unsolicited status with a tag");
            unsolicited++;
            continue;
        }
        uint64_t index = completion.tag - TAG;
        CHECK(index <= clear, "a tag that was never posted: %llx", (unsigned long long)completion.tag);
        CHECK(completion.cc == 0 && completion.disposition == FCTL_DISPOSITION_EXECUTED, "not executed");
        if (completion.kind == FCTL_KIND_ACCEPTED) {
            CHECK(!finals[index], "accepted after the final");
            accepted[index]++;
            continue;
        }
        CHECK(completion.kind == FCTL_KIND_FINAL, "kind %u", completion.kind);
        CHECK(finals[index]++ == 0, "two finals for %llu", (unsigned long long)index);
        check_status(&completion, &extension, index, index == clear);
        ended++;
    }
    CHECK(result == FCTL_EMPTY, "the dispatcher broke the protocol");
    CHECK(fctl_fenced(&ring) == 0, "fenced");
    return taken;
}

/* Sleeps until there is something, and takes it. */
static void wait_and_drain(uint64_t clear)
{
    while (drain(clear) == 0) {
        if (!fctl_announce_sleep(&reader))
            continue;
        struct pollfd wake = { .fd = notification, .events = POLLIN };
        CHECK(poll(&wake, 1, 20000) == 1, "no notification within 20 s");
        CHECK(fctl_wait_notification(notification), "cannot read the notification");
        notifications++;
        fctl_awake(&reader);
    }
}

/* Posts as told; false if the credit is used up and nobody shall wait for more. */
static bool post(const struct fctl_descriptor *descriptor, bool fill, uint64_t clear)
{
    for (;;) {
        switch (fctl_stage(&poster, descriptor)) {
        case FCTL_OK:
            posted++;
            if (posted % BATCH == 0)
                publish();
            return true;
        case FCTL_COMPLETION_CREDIT:
            publish();
            if (fill)
                return false;
            wait_and_drain(clear);
            break;
        case FCTL_SUBMISSION_FULL:
            publish();
            if (fill)
                sched_yield();
            else
                wait_and_drain(clear);
            break;
        default:
            CHECK(0, "the ring cannot be posted to");
        }
    }
}

int main(int argc, char **argv)
{
    struct stat region;

    CHECK(argc == 7, "usage: guest RING DOORBELL NOTIFICATION STARTS SUBCHANNELS wait|fill");
    int memory = atoi(argv[1]);
    doorbell = atoi(argv[2]);
    notification = atoi(argv[3]);
    uint64_t starts = strtoull(argv[4], NULL, 10), subchannels = strtoull(argv[5], NULL, 10);
    bool fill = strcmp(argv[6], "fill") == 0;

    CHECK(fstat(memory, &region) == 0, "no shared memory");
    void *base = mmap(NULL, (size_t)region.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(base != MAP_FAILED, "cannot map");
    enum fctl_result opened = fctl_open(&ring, base, (uint64_t)region.st_size);
    CHECK(opened == FCTL_OK, "the ring does not open: %d", (int)opened);
    fctl_poster_open(&poster, &ring);
    fctl_reader_open(&reader, &ring);
    finals = calloc(starts + 1, 1);
    accepted = calloc(starts + 1, 1);
    CHECK(finals && accepted, "no memory");

    for (uint64_t index = 0; index < starts; index++) {
        uint32_t subchannel = fctl_subsystem(0, (uint16_t)(index % subchannels));
        struct fctl_descriptor start = fctl_start(subchannel, 0xCAFE0000 + (uint32_t)index, 0x00808000, CPA(index), TAG + index);
        if (!fill && ASKS_ACCEPTED(index))
            start.flags |= FCTL_FLAG_ACCEPTED;
        if (!post(&start, fill, starts))
            break;
    }
    uint64_t started = posted;
    struct fctl_descriptor clear = fctl_instruction(FCTL_OPERATION_CLEAR, fctl_subsystem(0, 0), TAG + starts);
    CHECK(post(&clear, fill, starts), "the reserve does not let a clear pass");
    publish();
    while (ended < posted)
        wait_and_drain(starts);

    for (uint64_t index = 0; index < started; index++)
        CHECK(accepted[index] == (!fill && ASKS_ACCEPTED(index)), "accepted %u times", accepted[index]);
    fctl_give_back(&reader);
    CHECK(!fctl_poster_finish(&poster), "nothing was left to publish");
    printf("starts=%llu unsolicited=%llu doorbells=%llu notifications=%llu\n", (unsigned long long)started,
           (unsigned long long)unsolicited, (unsigned long long)doorbells, (unsigned long long)notifications);
    return 0;
}
