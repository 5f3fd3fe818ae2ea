/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest: a bare-metal program that drives channel I/O through the project's own C header. Numbers in capitals that
 * are defined nowhere here come from src/vmm/layout.rs.
 */
#ifndef GUEST_H
#define GUEST_H

#include "fctl_guest.h"

/* The machine (boot.c) ------------------------------------------------------------------------------------------------ */

static inline void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint64_t ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* What the kernel does for the driver: sleeps until an interrupt, also one that came before; or, for a job of that kind, makes the exits. */
static inline void kernel_call(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

/* Notifications that came as interrupts. */
extern volatile uint64_t interrupts;

/* What is entered first (boot.c), and the driver, entered from there (guest.c). */
void machine_prepare(void);
void guest_main(void);

/* The job (src/vmm/job.rs) ------------------------------------------------------------------------------------------------ */

enum kind { JOB_READ = 1, JOB_WRITE, JOB_STOPS, JOB_RING, JOB_EXITS, JOB_BARE_EXITS };

struct job {
    /* Asked. */
    uint64_t kind, first, count, batch, seed, sleeps;
    /* Told: how many were done well; wrong bytes; the line of the first check that failed, and what it found; processor ticks; doorbells and
     * interrupts. */
    uint64_t done, wrong, line, found, elapsed, doorbells, interrupts;
};

#define THE_JOB ((struct job *)JOB)

/* Tells where and what, and gives the job up. */
#define REQUIRE(condition, value)           \
    do {                                    \
        if (!(condition)) {                 \
            THE_JOB->line = __LINE__;       \
            THE_JOB->found = (value);       \
            return false;                   \
        }                                   \
    } while (0)

/* The ring's two ends (guest.c) ---------------------------------------------------------------------------------------- */

extern struct fctl_poster poster;

/* Publishes, and rings if the dispatcher sleeps. */
void publish(void);

/* Waits for the next completion: polling, or asleep if the job says so. False: the dispatcher broke the protocol. */
bool next_completion(struct fctl_completion *completion);

/* The jobs (volume.c, jobs.c). False: a check failed. */
bool read_volume(struct job *job);
bool write_volume(struct job *job);
bool stops(struct job *job);
bool starts_by_ring(struct job *job);
bool starts_by_exit(struct job *job);
bool bare_exits(struct job *job);

#endif
