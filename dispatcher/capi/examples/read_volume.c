/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A hypervisor and its guest in one small program: read_volume VOLUME
 *
 * Gives a guest a megabyte of memory, a ring and a disk; then plays the guest, which reads the whole disk by channel programs; and compares
 * every byte with the file. Built by: cc read_volume.c $(pkg-config --cflags --libs fctl)
 */
#define _POSIX_C_SOURCE 200809L
#define FCTL_GUEST_EVENTFD
#include "fctl.h"
#include "fctl_guest.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ENTRIES 64
#define MEMORY_BYTES (1u << 20)
#define BLOCK 512
#define MOST_BLOCKS 64

/* Where the guest has its channel program, the operands of that, and the blocks. */
#define PROGRAM 0x1000
#define EXTENT 0x1100
#define LOCATE 0x1200
#define BLOCKS 0x10000

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s (code %d)\n", what, fctl_last_error(), result);
        exit(1);
    }
}

#define REQUIRE(condition, what)                                     \
    do {                                                             \
        if (!(condition)) {                                          \
            fprintf(stderr, "%s (line %d)\n", what, __LINE__);       \
            exit(1);                                                 \
        }                                                            \
    } while (0)

/* The hypervisor's side: memory, ring and disk ------------------------------------------------------------------------- */

struct machine {
    struct fctl *dispatcher;
    uint64_t guest, ring;
    uint8_t *memory;
    void *region;
    uint64_t region_bytes;
    int doorbell, notification;
};

static void release(void *context)
{
    munmap(context, MEMORY_BYTES);
}

static void build(struct machine *machine, const char *path)
{
    struct fctl_options options = { .size = sizeof options, .api_version = FCTL_API_VERSION };
    must(fctl_spawn(&options, &machine->dispatcher), "start the dispatcher");

    int file = fctl_memory_file("guest", MEMORY_BYTES);
    must(file, "make the guest's memory");
    machine->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(machine->memory != MAP_FAILED, "cannot map the guest's memory");
    close(file);
    struct fctl_memory_range range = { .guest_address = 0, .host_address = machine->memory, .size = MEMORY_BYTES };
    struct fctl_guest_options guest = {
        .size = sizeof guest, .ranges = &range, .range_count = 1, .context = machine->memory, .release = release,
    };
    must(fctl_attach_guest(machine->dispatcher, &guest, &machine->guest), "attach the guest");

    machine->region_bytes = fctl_ring_bytes(ENTRIES);
    file = fctl_memory_file("ring", machine->region_bytes);
    must(file, "make the ring's memory");
    machine->region = mmap(NULL, machine->region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(machine->region != MAP_FAILED, "cannot map the ring");
    machine->doorbell = eventfd(0, EFD_CLOEXEC);
    machine->notification = eventfd(0, EFD_CLOEXEC);
    struct fctl_ring_options ring = {
        .size = sizeof ring, .guest = machine->guest, .entries = ENTRIES, .bytes = machine->region_bytes,
        .memory_file = file, .doorbell = machine->doorbell, .notification = machine->notification,
    };
    must(fctl_attach_ring(machine->dispatcher, &ring, &machine->ring), "attach the ring");
    close(file);

    struct fctl_volume_options read_only = { .size = sizeof read_only, .flags = FCTL_VOLUME_READ_ONLY };
    struct fctl_volume *volume;
    must(fctl_open_volume(path, &read_only, &volume), "open the volume");
    struct fctl_subchannel_options disk = {
        .size = sizeof disk, .ring = machine->ring, .subsystem = fctl_subsystem(0, 1),
        .device = FCTL_DEVICE_FBA, .device_number = 0x0120, .volume = volume,
    };
    must(fctl_attach_subchannel(machine->dispatcher, &disk), "attach the disk");
    /* The subchannel keeps it open. */
    must(fctl_close_volume(volume), "give the volume up");
}

/* The guest's side: a driver -------------------------------------------------------------------------------------------- */

struct driver {
    struct fctl_ring ring;
    struct fctl_poster poster;
    struct fctl_reader reader;
    uint8_t *memory;
    int doorbell, notification;
};

static void put_ccw(uint8_t *ccw, uint8_t command, uint8_t flags, uint16_t count, uint32_t address)
{
    ccw[0] = command;
    ccw[1] = flags;
    ccw[2] = (uint8_t)(count >> 8);
    ccw[3] = (uint8_t)count;
    fctl_put_be32(ccw + 4, address);
}

/* DEFINE EXTENT, LOCATE, READ; the guest sleeps until they have ended. */
static void read_blocks(struct driver *driver, uint32_t first, uint16_t count)
{
    uint8_t *memory = driver->memory;
    memset(memory + EXTENT, 0, 16);
    memory[EXTENT] = 0x40;
    fctl_put_be32(memory + EXTENT + 4, first);
    fctl_put_be32(memory + EXTENT + 12, count - 1u);
    memset(memory + LOCATE, 0, 8);
    memory[LOCATE] = 6;
    memory[LOCATE + 2] = (uint8_t)(count >> 8);
    memory[LOCATE + 3] = (uint8_t)count;
    put_ccw(memory + PROGRAM, 0x63, 0x40, 16, EXTENT);
    put_ccw(memory + PROGRAM + 8, 0x43, 0x40, 8, LOCATE);
    put_ccw(memory + PROGRAM + 16, 0x42, 0, (uint16_t)(count * BLOCK), BLOCKS);

    /* ORB: format-1 CCWs, prefetch allowed, all paths. */
    struct fctl_descriptor start = fctl_start(fctl_subsystem(0, 1), 0, 0x00C0FF00, PROGRAM, first);
    bool must_ring;
    REQUIRE(fctl_post(&driver->poster, &start, &must_ring) == FCTL_OK, "the start cannot be posted");
    if (must_ring)
        REQUIRE(fctl_ring_doorbell(driver->doorbell), "the doorbell does not ring");

    struct fctl_completion completion;
    enum fctl_result result;
    while ((result = fctl_take(&driver->reader, &completion, NULL)) == FCTL_EMPTY) {
        if (fctl_announce_sleep(&driver->reader)) {
            REQUIRE(fctl_wait_notification(driver->notification), "no notification");
            fctl_awake(&driver->reader);
        }
    }
    REQUIRE(result == FCTL_OK, "the ring is broken");
    REQUIRE(completion.kind == FCTL_KIND_FINAL && completion.tag == first && completion.cc == 0, "not the start's final");
    REQUIRE(fctl_get_be32(completion.scsw + 8) == 0x0C000000, "the read did not end well");
}

int main(int argc, char **argv)
{
    struct machine machine;
    struct driver driver;
    struct stat facts;

    REQUIRE(argc == 2, "usage: read_volume VOLUME");
    REQUIRE(fctl_api_version() == FCTL_API_VERSION, "libfctl is of another version than fctl.h");
    build(&machine, argv[1]);
    driver.memory = machine.memory;
    driver.doorbell = machine.doorbell;
    driver.notification = machine.notification;
    REQUIRE(fctl_open(&driver.ring, machine.region, machine.region_bytes) == FCTL_OK, "the ring does not open");
    fctl_poster_open(&driver.poster, &driver.ring);
    fctl_reader_open(&driver.reader, &driver.ring);

    int file = open(argv[1], O_RDONLY);
    REQUIRE(file >= 0 && fstat(file, &facts) == 0, "the volume cannot be read");
    uint32_t blocks = (uint32_t)(facts.st_size / BLOCK);
    uint64_t wrong = 0;
    for (uint32_t first = 0; first < blocks; first += MOST_BLOCKS) {
        uint16_t count = blocks - first < MOST_BLOCKS ? (uint16_t)(blocks - first) : MOST_BLOCKS;
        uint8_t expected[MOST_BLOCKS * BLOCK];

        read_blocks(&driver, first, count);
        REQUIRE(pread(file, expected, (size_t)count * BLOCK, (off_t)first * BLOCK) == (ssize_t)count * BLOCK, "a short read");
        for (uint32_t byte = 0; byte < count * BLOCK; byte++)
            wrong += machine.memory[BLOCKS + byte] != expected[byte];
    }
    close(file);

    struct fctl_counters counters = { .size = sizeof counters };
    must(fctl_read_counters(machine.dispatcher, &counters), "read the counters");
    struct fctl_latencies *latencies;
    uint64_t median;
    must(fctl_take_latencies(machine.dispatcher, &latencies), "take the latencies");
    must(fctl_latency(latencies, FCTL_SERIES_START, FCTL_STAGE_TOTAL, 0.5, &median, NULL), "look at the latencies");
    must(fctl_free_latencies(latencies), "give the latencies up");
    must(fctl_detach_ring(machine.dispatcher, machine.ring, 10000), "detach the ring");
    must(fctl_detach_guest(machine.dispatcher, machine.guest), "detach the guest");
    must(fctl_free(machine.dispatcher), "stop the dispatcher");
    munmap(machine.region, machine.region_bytes);

    printf("%u blocks read by %llu starts, median %llu ns, %llu wrong bytes\n", blocks, (unsigned long long)counters.ran,
           (unsigned long long)median, (unsigned long long)wrong);
    return wrong != 0;
}
