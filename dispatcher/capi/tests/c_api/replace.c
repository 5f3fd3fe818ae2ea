/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A guest's memory is replaced while it runs: programs are found in the new one, the old one is released. */
#include "check.h"

#define PROGRAM 0x1000u
#define BUFFER 0x200000u
#define ENDED_WELL 0x0C000000u
#define SUBCHANNEL_STATUS 0x00FF0000u
#define PROGRAM_CHECK 0x00200000u

static void release(void *context)
{
    ++*(unsigned *)context;
}

/* A READ IPL of the disk's first block; the status it ended with. */
static uint32_t read_first_block(struct driver *driver, uint8_t *memory)
{
    put_ccw(memory + PROGRAM, 0x02, 512, BUFFER);
    post(driver, fctl_start(SUBCHANNEL, 0, 0x00C0FF00, PROGRAM, 5));
    struct fctl_completion completion = next(driver);
    CHECK(completion.tag == 5 && completion.cc == 0, "cc %u", completion.cc);
    return fctl_get_be32(completion.scsw + 8);
}

int main(int argc, char **argv)
{
    struct fctl *dispatcher = spawned();
    uint8_t *memories[3] = { guest_memory(), guest_memory(), guest_memory() };
    unsigned released[3] = { 0, 0, 0 };
    struct fctl_memory_range range = { .size = MEMORY_BYTES };
    struct fctl_guest_options options = { .size = sizeof options, .ranges = &range, .range_count = 1, .release = release };
    uint64_t guest, ring;

    CHECK(argc == 2, "usage: replace VOLUME");
    range.host_address = memories[0];
    options.context = &released[0];
    MUST(fctl_attach_guest(dispatcher, &options, &guest));
    uint64_t bytes = fctl_ring_bytes(16);
    int file = fctl_memory_file("ring", bytes), doorbell = eventfd(0, 0), notification = eventfd(0, 0);
    MUST(file);
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(region != MAP_FAILED, "cannot map");
    struct fctl_ring_options ring_options = {
        .size = sizeof ring_options, .guest = guest, .entries = 16, .bytes = bytes, .memory_file = file, .doorbell = doorbell,
        .notification = notification,
    };
    MUST(fctl_attach_ring(dispatcher, &ring_options, &ring));
    struct fctl_volume *volume;
    MUST(fctl_open_volume(argv[1], NULL, &volume));
    struct fctl_subchannel_options disk = {
        .size = sizeof disk, .ring = ring, .subsystem = SUBCHANNEL, .device = FCTL_DEVICE_FBA, .device_number = 0x120, .volume = volume,
    };
    MUST(fctl_attach_subchannel(dispatcher, &disk));
    MUST(fctl_close_volume(volume));
    struct driver driver;
    driver_open(&driver, region, bytes, doorbell, notification);
    uint32_t status = read_first_block(&driver, memories[0]);
    CHECK(status == ENDED_WELL && memories[0][BUFFER] == 1, "status %08x", status);

    /* Another memory in its place. */
    range.host_address = memories[1];
    options.context = &released[1];
    MUST(fctl_replace_memory(dispatcher, guest, &options, 10000));
    CHECK(released[0] == 1 && released[1] == 0, "released %u and %u times", released[0], released[1]);
    CHECK(munmap(memories[0], MEMORY_BYTES) == 0, "cannot unmap");
    status = read_first_block(&driver, memories[1]);
    CHECK(status == ENDED_WELL && memories[1][BUFFER] == 1, "status %08x", status);

    /* A smaller one: the buffer is not there any more. */
    range.host_address = memories[2];
    range.size = BUFFER;
    options.context = &released[2];
    MUST(fctl_replace_memory(dispatcher, guest, &options, 10000));
    CHECK(released[1] == 1, "released %u times", released[1]);
    status = read_first_block(&driver, memories[2]);
    CHECK((status & SUBCHANNEL_STATUS) == PROGRAM_CHECK, "status %08x", status);
    CHECK(memories[2][BUFFER] == 0, "written outside the guest's memory");

    /* What is refused changes nothing and releases nothing. */
    range.size = 0;
    FAILS(FCTL_E_MEMORY, "it is empty", fctl_replace_memory(dispatcher, guest, &options, 10000));
    FAILS(FCTL_E_NOT_FOUND, "guest 9", fctl_replace_memory(dispatcher, 9, &options, 10000));
    FAILS(FCTL_E_ARGUMENT, "is null", fctl_replace_memory(dispatcher, guest, NULL, 10000));
    CHECK(released[2] == 0, "released by what was refused");

    MUST(fctl_detach_ring(dispatcher, ring, 10000));
    MUST(fctl_detach_guest(dispatcher, guest));
    CHECK(released[0] == 1 && released[1] == 1 && released[2] == 1, "released %u times at last", released[2]);
    MUST(fctl_free(dispatcher));
    puts("PASS");
    return 0;
}
