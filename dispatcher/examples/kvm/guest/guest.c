/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opens the ring and does one job after the other. */
#include "guest.h"

static struct fctl_ring ring;
static struct fctl_reader reader;
struct fctl_poster poster;

void publish(void)
{
    if (fctl_publish(&poster)) {
        out32(DOORBELL_PORT, 1);
        THE_JOB->doorbells++;
    }
}

bool next_completion(struct fctl_completion *completion)
{
    for (;;) {
        enum fctl_result result = fctl_take(&reader, completion, NULL);

        if (result == FCTL_OK)
            return true;
        REQUIRE(result == FCTL_EMPTY, result);
        if (!THE_JOB->sleeps) {
            __asm__ volatile("pause");
        } else if (fctl_announce_sleep(&reader)) {
            kernel_call();
            fctl_awake(&reader);
        }
        REQUIRE(fctl_fenced(&ring) == 0, fctl_fenced(&ring));
    }
}

static bool open_ring(void)
{
    enum fctl_result opened = fctl_open(&ring, (void *)RING, RING_BYTES);

    REQUIRE(opened == FCTL_OK, opened);
    fctl_poster_open(&poster, &ring);
    fctl_reader_open(&reader, &ring);
    return true;
}

static bool perform(struct job *job)
{
    switch (job->kind) {
    case JOB_READ:
        return read_volume(job);
    case JOB_WRITE:
        return write_volume(job);
    case JOB_STOPS:
        return stops(job);
    case JOB_RING:
        return starts_by_ring(job);
    case JOB_EXITS:
        return starts_by_exit(job);
    case JOB_BARE_EXITS:
        return bare_exits(job);
    }
    REQUIRE(false, job->kind);
}

__attribute__((used)) void guest_main(void)
{
    bool good = open_ring();

    for (;;) {
        /* The hypervisor reads what was told, and writes what is asked, while this waits. */
        in32(JOB_PORT);
        struct job *job = THE_JOB;
        uint64_t before = interrupts, began = ticks();
        /* A ring that is out of step stays so: the line told stands for all jobs that follow. */
        good = good && perform(job);
        job->elapsed = ticks() - began;
        job->interrupts = interrupts - before;
    }
}
