/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a caller can do wrong: each an error code and a message, and everything goes on. */
#include "check.h"

static void null_and_misaligned(struct fctl *dispatcher)
{
    struct fctl_options options = { .size = sizeof options, .api_version = FCTL_API_VERSION };
    struct fctl_counters counters = { .size = sizeof counters };
    struct fctl *none;
    struct fctl_volume *volume;
    struct fctl_host *host;
    struct fctl_latencies *latencies;
    uint64_t number;

    FAILS(FCTL_E_ARGUMENT, "dispatcher is null", fctl_spawn(&options, NULL));
    FAILS(FCTL_E_ARGUMENT, "struct fctl_options is null", fctl_spawn(NULL, &none));
    CHECK(none == NULL, "a pointer from nowhere");
    FAILS(FCTL_E_ARGUMENT, "dispatcher is null", fctl_stop(NULL));
    FAILS(FCTL_E_ARGUMENT, "dispatcher is null", fctl_read_counters(NULL, &counters));
    FAILS(FCTL_E_ARGUMENT, "fctl_counters is null", fctl_read_counters(dispatcher, NULL));
    FAILS(FCTL_E_ARGUMENT, "a multiple of 8", fctl_read_counters(dispatcher, (void *)((char *)&counters + 1)));
    FAILS(FCTL_E_ARGUMENT, "a multiple of 8", fctl_stop((void *)((char *)dispatcher + 1)));
    FAILS(FCTL_E_ARGUMENT, "fctl_guest_options is null", fctl_attach_guest(dispatcher, NULL, &number));
    FAILS(FCTL_E_ARGUMENT, "fctl_ring_options is null", fctl_attach_ring(dispatcher, NULL, &number));
    FAILS(FCTL_E_ARGUMENT, "fctl_subchannel_options is null", fctl_attach_subchannel(dispatcher, NULL));
    FAILS(FCTL_E_ARGUMENT, "path is null", fctl_open_volume(NULL, NULL, &volume));
    FAILS(FCTL_E_ARGUMENT, "volume is null", fctl_open_volume("/dev/null", NULL, NULL));
    FAILS(FCTL_E_ARGUMENT, "name is null", fctl_memory_file(NULL, 4096));
    FAILS(FCTL_E_ARGUMENT, "ring is null", fctl_attach_host(dispatcher, 1, NULL, &host, NULL));
    FAILS(FCTL_E_ARGUMENT, "host is null", fctl_host_take(NULL, NULL, NULL));
    FAILS(FCTL_E_ARGUMENT, "descriptor is null", fctl_host_execute(NULL, NULL, NULL, NULL));
    FAILS(FCTL_E_ARGUMENT, "latencies is null", fctl_take_latencies(dispatcher, NULL));
    FAILS(FCTL_E_ARGUMENT, "latencies is null", fctl_latency(NULL, 0, 0, 0.5, &number, NULL));
    MUST(fctl_take_latencies(dispatcher, &latencies));
    FAILS(FCTL_E_ARGUMENT, "quantile is 1.5", fctl_latency(latencies, 0, 0, 1.5, &number, NULL));
    FAILS(FCTL_E_ARGUMENT, "series is 5", fctl_latency(latencies, 5, 0, 0.5, &number, NULL));
    FAILS(FCTL_E_ARGUMENT, "stage is 99", fctl_latency(latencies, 0, 99, 0.5, &number, NULL));
    MUST(fctl_free_latencies(latencies));
    /* Giving nothing up is nothing. */
    MUST(fctl_free(NULL));
    MUST(fctl_close_volume(NULL));
    MUST(fctl_free_host(NULL));
    MUST(fctl_free_latencies(NULL));
}

static void versions(struct fctl *dispatcher)
{
    struct fctl_options options = { .size = sizeof options, .api_version = FCTL_API_VERSION + 1 };
    struct fctl *none;

    FAILS(FCTL_E_VERSION, "API version 0x2", fctl_spawn(&options, &none));
    options.api_version = 0;
    FAILS(FCTL_E_VERSION, "API version 0x0", fctl_spawn(&options, &none));
    options = (struct fctl_options){ .size = 0, .api_version = FCTL_API_VERSION };
    FAILS(FCTL_E_VERSION, "size 0", fctl_spawn(&options, &none));
    options.size = sizeof options - 1;
    FAILS(FCTL_E_VERSION, "set it to sizeof", fctl_spawn(&options, &none));
    options.size = (size_t)-1;
    FAILS(FCTL_E_VERSION, "set it to sizeof", fctl_spawn(&options, &none));

    /* A program of a newer version: what it has in addition may be there, but not be set. */
    struct { struct fctl_counters counters; uint64_t more[2]; } newer = { .counters.size = sizeof newer, .more = { 1, 2 } };
    MUST(fctl_read_counters(dispatcher, &newer.counters));
    CHECK(newer.more[0] == 0 && newer.more[1] == 0 && newer.counters.size == sizeof newer, "what is not known is not zero");
    struct { struct fctl_options options; uint64_t more; } future = {
        .options = { .size = sizeof future, .api_version = FCTL_API_VERSION }, .more = 0x100,
    };
    FAILS(FCTL_E_VERSION, "newer version", fctl_spawn(&future.options, &none));
    future.more = 0;
    MUST(fctl_spawn(&future.options, &none));
    MUST(fctl_free(none));
}

static void values(void)
{
    struct fctl_options good = { .size = sizeof good, .api_version = FCTL_API_VERSION }, options = good;
    struct fctl *none;
    struct fctl_volume *volume;

    options.flags = 0x80;
    FAILS(FCTL_E_ARGUMENT, "flags or reserved is 0x80", fctl_spawn(&options, &none));
    options = good;
    options.wait = 9;
    FAILS(FCTL_E_ARGUMENT, "wait is 0x9", fctl_spawn(&options, &none));
    options = good;
    options.engine_slots = 1u << 20;
    FAILS(FCTL_E_ARGUMENT, "engine_slots", fctl_spawn(&options, &none));
    options.engine_slots = 5000;
    FAILS(FCTL_E_SYSTEM, "5000", fctl_spawn(&options, &none));
    options = good;
    options.flags = FCTL_OPTION_CPU;
    options.cpu = 100000;
    FAILS(FCTL_E_SYSTEM, "cannot pin to CPU 100000", fctl_spawn(&options, &none));

    FAILS(FCTL_E_VOLUME, "does not exist", fctl_open_volume("/nowhere/at/all", NULL, &volume));
    FAILS(FCTL_E_VOLUME, "is a directory", fctl_open_volume("/", NULL, &volume));
    struct fctl_volume_options bad = { .size = sizeof bad, .cache = 7 };
    FAILS(FCTL_E_ARGUMENT, "cache is 0x7", fctl_open_volume("/nowhere", &bad, &volume));
    bad = (struct fctl_volume_options){ .size = sizeof bad, .durability = 3 };
    FAILS(FCTL_E_ARGUMENT, "durability is 0x3", fctl_open_volume("/nowhere", &bad, &volume));
    CHECK(fctl_ring_bytes(7) == 0 && fctl_ring_bytes(0) == 0 && fctl_ring_bytes(64) > 0, "sizes");
}

static void guests(struct fctl *dispatcher, void *memory)
{
    struct fctl_memory_range ranges[2] = {
        { .host_address = memory, .size = 0x2000 },
        { .guest_address = 0x1000, .host_address = (char *)memory + 0x2000, .size = 0x1000 },
    };
    struct fctl_guest_options good = { .size = sizeof good, .ranges = ranges, .range_count = 1 }, options = good;
    uint64_t guest;

    options.ranges = NULL;
    FAILS(FCTL_E_ARGUMENT, "ranges is null", fctl_attach_guest(dispatcher, &options, &guest));
    options = good;
    options.range_count = (size_t)-1;
    FAILS(FCTL_E_ARGUMENT, "ranges has", fctl_attach_guest(dispatcher, &options, &guest));
    options.range_count = 0;
    FAILS(FCTL_E_MEMORY, "guest memory", fctl_attach_guest(dispatcher, &options, &guest));
    options.range_count = 2;
    FAILS(FCTL_E_MEMORY, "guest memory", fctl_attach_guest(dispatcher, &options, &guest));
    ranges[0].size = 0;
    FAILS(FCTL_E_MEMORY, "it is empty", fctl_attach_guest(dispatcher, &good, &guest));
    ranges[0] = (struct fctl_memory_range){ .host_address = (char *)memory + 1, .size = 0x1000 };
    FAILS(FCTL_E_MEMORY, "host address", fctl_attach_guest(dispatcher, &good, &guest));
    ranges[0] = (struct fctl_memory_range){ .guest_address = UINT64_MAX - 1, .host_address = memory, .size = 0x1000 };
    FAILS(FCTL_E_MEMORY, "past the end", fctl_attach_guest(dispatcher, &good, &guest));
    ranges[0] = (struct fctl_memory_range){ .size = 0x1000 };
    FAILS(FCTL_E_MEMORY, "nothing at address 0", fctl_attach_guest(dispatcher, &good, &guest));
    CHECK(guest == 0, "the number of a guest that is not there");
    FAILS(FCTL_E_NOT_FOUND, "guest 0 is not attached", fctl_detach_guest(dispatcher, 0));
    FAILS(FCTL_E_NOT_FOUND, "guest 77 is not attached", fctl_reset_guest(dispatcher, 77, 0));
}

static void rings(struct fctl *dispatcher, void *memory)
{
    uint64_t guest = guest_of(dispatcher, memory), ring;
    int doorbell = eventfd(0, 0), notification = eventfd(0, 0), file = fctl_memory_file("ring", 1 << 20);
    struct fctl_ring_options good = {
        .size = sizeof good, .guest = guest, .entries = 64, .bytes = 1 << 20, .memory_file = file, .doorbell = doorbell,
        .notification = notification,
    }, options = good;
    struct fctl_ring_status status = { .size = sizeof status };

    MUST(file);
    options.guest = 99;
    FAILS(FCTL_E_NOT_FOUND, "guest 99", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.doorbell = -1;
    FAILS(FCTL_E_ARGUMENT, "doorbell is -1", fctl_attach_ring(dispatcher, &options, &ring));
    options.doorbell = 1000000;
    FAILS(FCTL_E_ARGUMENT, "doorbell is 1000000", fctl_attach_ring(dispatcher, &options, &ring));
    options.doorbell = file;
    FAILS(FCTL_E_ARGUMENT, "an eventfd is accepted", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.memory_file = notification;
    FAILS(FCTL_E_MEMORY, "memory file", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.entries = 7;
    FAILS(FCTL_E_ARGUMENT, "7", fctl_attach_ring(dispatcher, &options, &ring));
    options.entries = 65536;
    FAILS(FCTL_E_MEMORY, "too small", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.entries = 0;
    FAILS(FCTL_E_MEMORY, "magic", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.bytes = 1ull << 40;
    FAILS(FCTL_E_MEMORY, "does not fit", fctl_attach_ring(dispatcher, &options, &ring));
    options = good;
    options.flags = FCTL_RING_IN_GUEST;
    options.guest_address = MEMORY_BYTES;
    FAILS(FCTL_E_MEMORY, "does not fit", fctl_attach_ring(dispatcher, &options, &ring));
    options.guest_address = 8;
    FAILS(FCTL_E_MEMORY, "multiple of 128", fctl_attach_ring(dispatcher, &options, &ring));
    options.flags = 0xF0;
    FAILS(FCTL_E_ARGUMENT, "flags", fctl_attach_ring(dispatcher, &options, &ring));
    CHECK(ring == 0, "the number of a ring that is not there");

    MUST(fctl_attach_ring(dispatcher, &good, &ring));
    FAILS(FCTL_E_BUSY, "still has 1 rings", fctl_detach_guest(dispatcher, guest));
    struct fctl_subchannel_options null = { .size = sizeof null, .ring = ring, .subsystem = SUBCHANNEL }, subchannel = null;
    subchannel.ring = ring + 1;
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_attach_subchannel(dispatcher, &subchannel));
    subchannel = null;
    subchannel.subsystem = 0;
    FAILS(FCTL_E_ARGUMENT, "0x00000000", fctl_attach_subchannel(dispatcher, &subchannel));
    subchannel = null;
    subchannel.device = FCTL_DEVICE_FBA;
    FAILS(FCTL_E_ARGUMENT, "volume is null", fctl_attach_subchannel(dispatcher, &subchannel));
    subchannel.device = 12;
    FAILS(FCTL_E_ARGUMENT, "device is 12", fctl_attach_subchannel(dispatcher, &subchannel));
    subchannel = null;
    subchannel.flags = 0x40;
    FAILS(FCTL_E_ARGUMENT, "flags", fctl_attach_subchannel(dispatcher, &subchannel));
    MUST(fctl_attach_subchannel(dispatcher, &null));
    FAILS(FCTL_E_BUSY, "is attached already", fctl_attach_subchannel(dispatcher, &null));
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_reset_subchannel(dispatcher, guest, fctl_subsystem(0, 9), 1000));
    MUST(fctl_detach_subchannel(dispatcher, guest, SUBCHANNEL, 10000));
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_detach_subchannel(dispatcher, guest, SUBCHANNEL, 1000));

    /* What is gone stays gone, also when there is something in its place. */
    MUST(fctl_detach_ring(dispatcher, ring, 10000));
    uint64_t gone = ring;
    MUST(fctl_attach_ring(dispatcher, &good, &ring));
    CHECK(ring != gone, "the number was used twice");
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_detach_ring(dispatcher, gone, 1000));
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_read_ring_status(dispatcher, gone, &status));
    MUST(fctl_detach_ring(dispatcher, ring, 10000));
    MUST(fctl_detach_guest(dispatcher, guest));
    FAILS(FCTL_E_NOT_FOUND, "is not attached", fctl_attach_ring(dispatcher, &good, &ring));
}

int main(void)
{
    void *memory = guest_memory();
    struct fctl *dispatcher;
    uint64_t guest;

    CHECK(fctl_last_error()[0] == 0, "an error before anything was done");
    dispatcher = spawned();
    null_and_misaligned(dispatcher);
    versions(dispatcher);
    values();
    guests(dispatcher, memory);
    rings(dispatcher, memory);

    /* A dispatcher that has stopped. */
    guest = guest_of(dispatcher, memory);
    MUST(fctl_stop(dispatcher));
    FAILS(FCTL_E_STOPPED, "has stopped", fctl_stop(dispatcher));
    FAILS(FCTL_E_STOPPED, "has stopped", fctl_detach_guest(dispatcher, guest));
    FAILS(FCTL_E_STOPPED, "has stopped", fctl_reset_all(dispatcher, 1000));
    MUST(fctl_free(dispatcher));
    puts("PASS");
    return 0;
}
