/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A ring in the guest's own memory; stores through the embedder; deadlines; what is called back, and when. */
#include "check.h"

#define RING 0x100000u
#define RING_BYTES 0x100000u
#define PROGRAM 0x1000u
#define BUFFER 0x8000u
#define SILENT fctl_subsystem(0, 2)

static struct fctl *dispatcher;
static uint8_t *memory;
static unsigned stores, marks, releases;
static uint64_t marked;
static int inside;

/* On the dispatcher's thread: whoever calls back in from here would wait for itself. */
static int store(void *context, uint64_t address, const void *bytes, size_t length)
{
    struct fctl_counters counters = { .size = sizeof counters };

    CHECK(context == &stores, "another context");
    inside = fctl_read_counters(dispatcher, &counters);
    CHECK(fctl_free(dispatcher) == FCTL_E_THREAD, "freed from a callback");
    CHECK(address + length <= MEMORY_BYTES, "outside memory");
    memcpy(memory + address, bytes, length);
    stores++;
    return 0;
}

static void dirty(void *context, uint64_t address, uint64_t length)
{
    CHECK(context == &stores, "another context");
    if (address <= BUFFER && BUFFER < address + length)
        marked = length;
    marks++;
}

static void release(void *context)
{
    CHECK(context == &stores, "another context");
    releases++;
}

/* One life of a guest, with these callbacks. */
static void live(const struct fctl_guest_options *callbacks, struct fctl_volume *volume)
{
    struct fctl_memory_range range = { .host_address = memory, .size = MEMORY_BYTES };
    struct fctl_guest_options options = *callbacks;
    uint64_t guest, ring;
    int doorbell = eventfd(0, 0), notification = eventfd(0, 0);

    memset(memory, 0, MEMORY_BYTES);
    options.size = sizeof options;
    options.ranges = &range;
    options.range_count = 1;
    options.context = &stores;
    options.release = release;
    MUST(fctl_attach_guest(dispatcher, &options, &guest));
    struct fctl_ring_options ring_options = {
        .size = sizeof ring_options, .guest = guest, .flags = FCTL_RING_IN_GUEST, .entries = 16, .bytes = RING_BYTES,
        .guest_address = RING, .doorbell = doorbell, .notification = notification,
    };
    MUST(fctl_attach_ring(dispatcher, &ring_options, &ring));
    struct fctl_subchannel_options disk = {
        .size = sizeof disk, .ring = ring, .subsystem = SUBCHANNEL, .device = FCTL_DEVICE_FBA, .device_number = 0x120, .volume = volume,
    }, silent = { .size = sizeof silent, .ring = ring, .subsystem = SILENT, .device_number = 0x121, .delay = FCTL_DELAY_FOREVER };
    MUST(fctl_attach_subchannel(dispatcher, &disk));
    MUST(fctl_attach_subchannel(dispatcher, &silent));

    struct driver driver;
    driver_open(&driver, memory + RING, RING_BYTES, doorbell, notification);
    /* READ IPL: the first block. */
    put_ccw(memory + PROGRAM, 0x02, 512, BUFFER);
    post(&driver, fctl_start(SUBCHANNEL, 7, 0x00C0FF00, PROGRAM, 1));
    struct fctl_completion completion = next(&driver);
    CHECK(completion.tag == 1 && completion.cc == 0 && fctl_get_be32(completion.scsw + 8) == 0x0C000000, "status %08x",
          fctl_get_be32(completion.scsw + 8));
    for (unsigned byte = 0; byte < 512; byte++)
        CHECK(memory[BUFFER + byte] == (uint8_t)(byte * 7 + 1), "byte %u is %02x", byte, memory[BUFFER + byte]);

    /* A start that never ends: a drain gives up at its deadline and names it; a reset ends it. */
    post(&driver, fctl_start(SILENT, 8, 0x00C0FF00, PROGRAM, 2));
    struct fctl_ring_status status = { .size = sizeof status };
    do
        MUST(fctl_read_ring_status(dispatcher, ring, &status));
    while (status.owed == 0);
    CHECK(status.serving && !status.fenced && status.owed == 1, "owed %llu", (unsigned long long)status.owed);
    FAILS(FCTL_E_DEADLINE, "0x00010002", fctl_drain_ring(dispatcher, ring, 20));
    MUST(fctl_read_ring_status(dispatcher, ring, &status));
    CHECK(!status.serving, "still serving");
    struct fctl_subchannel_options late = silent;
    late.subsystem = fctl_subsystem(0, 3);
    FAILS(FCTL_E_BUSY, "only a served ring", fctl_attach_subchannel(dispatcher, &late));
    MUST(fctl_reset_guest(dispatcher, guest, 10000));
    MUST(fctl_drain_ring(dispatcher, ring, 10000));

    unsigned before = releases;
    MUST(fctl_detach_ring(dispatcher, ring, 10000));
    CHECK(releases == before, "released while the guest is there");
    MUST(fctl_detach_guest(dispatcher, guest));
    CHECK(releases == before + 1, "released %u times", releases - before);
    close(doorbell);
    close(notification);
}

int main(int argc, char **argv)
{
    struct fctl_volume *volume, *again;

    CHECK(argc == 2, "usage: lifecycle VOLUME");
    dispatcher = spawned();
    memory = guest_memory();
    MUST(fctl_open_volume(argv[1], NULL, &volume));
    FAILS(FCTL_E_VOLUME, "in use", fctl_open_volume(argv[1], NULL, &again));

    live(&(struct fctl_guest_options){ .size = 0 }, volume);
    CHECK(stores == 0 && marks == 0, "called back unasked");
    live(&(struct fctl_guest_options){ .store = store }, volume);
    CHECK(stores > 0 && marks == 0, "nothing was stored through the embedder");
    CHECK(inside == FCTL_E_THREAD, "a call from a callback gave %d", inside);
    live(&(struct fctl_guest_options){ .dirty = dirty }, volume);
    CHECK(marked == 512, "%llu bytes of the buffer were marked", (unsigned long long)marked);

    /* A guest that is not attached is not released. */
    unsigned before = releases;
    struct fctl_memory_range range = { .host_address = memory, .size = MEMORY_BYTES };
    struct fctl_guest_options both = {
        .size = sizeof both, .ranges = &range, .range_count = 1, .context = &stores, .release = release, .store = store, .dirty = dirty,
    };
    uint64_t guest;
    FAILS(FCTL_E_ARGUMENT, "both set", fctl_attach_guest(dispatcher, &both, &guest));
    CHECK(releases == before, "released without having been attached");
    /* One that is there when the dispatcher is freed is released then. */
    both.store = NULL;
    MUST(fctl_attach_guest(dispatcher, &both, &guest));
    MUST(fctl_close_volume(volume));
    /* Closed by its last subchannel's going. */
    MUST(fctl_open_volume(argv[1], NULL, &volume));
    MUST(fctl_close_volume(volume));
    struct fctl_counters counters = { .size = sizeof counters };
    MUST(fctl_read_counters(dispatcher, &counters));
    CHECK(counters.starts == 6 && counters.ran == 3 && counters.taken == counters.finals, "%llu starts, %llu ran",
          (unsigned long long)counters.starts, (unsigned long long)counters.ran);
    struct fctl_latencies *latencies;
    uint64_t longest, count;
    MUST(fctl_take_latencies(dispatcher, &latencies));
    MUST(fctl_latency(latencies, FCTL_SERIES_START, FCTL_STAGE_ISSUED, 1.0, &longest, &count));
    CHECK(count == 3 && longest > 0, "%llu latencies", (unsigned long long)count);
    MUST(fctl_free_latencies(latencies));
    MUST(fctl_free(dispatcher));
    CHECK(releases == before + 1, "not released by the end of the dispatcher");
    puts("PASS");
    return 0;
}
