/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Jobs without a volume: functions that overtake a start, and starts that only show what a start costs. */
#include "guest.h"

#define ORB_CONTROL 0x00C0FF00u
#define CPA 0x1000u

/* SCSW word 0: function control. */
#define FCTL_START 0x4000u
#define FCTL_HALT 0x2000u
#define FCTL_CLEAR 0x1000u
/* SCSW word 2: subchannel status. */
#define PROGRAM_CHECK 0x00200000u

static struct fctl_descriptor a_start(uint16_t subchannel, uint64_t tag, uint32_t cpa)
{
    return fctl_start(fctl_subsystem(0, subchannel), (uint32_t)tag, ORB_CONTROL, cpa, tag);
}

static bool stage(const struct fctl_descriptor *descriptor)
{
    enum fctl_result staged = fctl_stage(&poster, descriptor);

    REQUIRE(staged == FCTL_OK, staged);
    return true;
}

static bool take(struct fctl_completion *completion, uint64_t tag, uint8_t kind, uint8_t disposition)
{
    if (!next_completion(completion))
        return false;
    REQUIRE(completion->tag == tag, completion->tag);
    REQUIRE(completion->kind == kind, completion->kind);
    REQUIRE(completion->cc == 0, completion->cc);
    REQUIRE(completion->disposition == disposition, completion->disposition);
    return true;
}

/* A start on a device that never answers, and `operation` behind it: in one batch, or when the device has the start. */
static bool overtake(uint8_t operation, uint8_t disposition, uint32_t function, bool together)
{
    struct fctl_descriptor begin = a_start(SILENT, 1, CPA);
    struct fctl_descriptor end = fctl_instruction(operation, fctl_subsystem(0, SILENT), 2);
    struct fctl_completion completion;

    if (!together)
        begin.flags |= FCTL_FLAG_ACCEPTED;
    if (!stage(&begin))
        return false;
    if (!together) {
        publish();
        if (!take(&completion, 1, FCTL_KIND_ACCEPTED, FCTL_DISPOSITION_EXECUTED))
            return false;
    }
    if (!stage(&end))
        return false;
    publish();
    if (!take(&completion, 1, FCTL_KIND_FINAL, disposition))
        return false;
    bool issued = (completion.flags & FCTL_COMPLETION_WAS_ISSUED) != 0;
    REQUIRE(issued == !together, completion.flags);
    if (!take(&completion, 2, FCTL_KIND_FINAL, FCTL_DISPOSITION_EXECUTED))
        return false;
    uint32_t control = fctl_get_be32(completion.scsw);
    REQUIRE((control & (FCTL_START | FCTL_HALT | FCTL_CLEAR)) == function, control);
    return true;
}

/* A channel program that is not in the guest's memory. */
static bool program_check(void)
{
    struct fctl_descriptor outside = a_start(VOLUME, 3, MEMORY_BYTES);
    struct fctl_completion completion;

    if (!stage(&outside))
        return false;
    publish();
    if (!take(&completion, 3, FCTL_KIND_FINAL, FCTL_DISPOSITION_EXECUTED))
        return false;
    REQUIRE(fctl_get_be32(completion.scsw + 8) == PROGRAM_CHECK, fctl_get_be32(completion.scsw + 8));
    return true;
}

bool stops(struct job *job)
{
    for (; job->done < job->count; job->done++) {
        bool together = job->done % 2 == 0;

        if (!overtake(FCTL_OPERATION_HALT, FCTL_DISPOSITION_ABSORBED_BY_HALT, FCTL_START | FCTL_HALT, together)
            || !overtake(FCTL_OPERATION_CLEAR, FCTL_DISPOSITION_ABSORBED_BY_CLEAR, FCTL_CLEAR, together) || !program_check())
            return false;
    }
    return true;
}

/* Starts on null devices through the ring: a batch, all its ends in whatever order, the next batch. */
bool starts_by_ring(struct job *job)
{
    REQUIRE(job->batch >= 1 && job->batch <= NULL_COUNT, job->batch);
    for (; job->done < job->count; job->done += job->batch) {
        uint64_t open = (UINT64_C(1) << job->batch) - 1;

        for (uint64_t index = 0; index < job->batch; index++) {
            struct fctl_descriptor descriptor = a_start((uint16_t)(NULLS + index), job->done + index, CPA);
            if (!stage(&descriptor))
                return false;
        }
        publish();
        while (open != 0) {
            struct fctl_completion completion;

            if (!next_completion(&completion))
                return false;
            uint64_t index = completion.tag - job->done;
            REQUIRE(index < job->batch && (open >> index & 1) == 1, completion.tag);
            REQUIRE(completion.kind == FCTL_KIND_FINAL && completion.cc == 0, completion.kind);
            open &= ~(UINT64_C(1) << index);
        }
    }
    return true;
}

static volatile struct {
    struct fctl_descriptor descriptor;
    struct fctl_completion completion;
} *const exit_slot = (void *)EXIT_SLOT;

static bool exit_went_well(uint64_t tag)
{
    REQUIRE(exit_slot->completion.tag == tag, exit_slot->completion.tag);
    REQUIRE(exit_slot->completion.kind == FCTL_KIND_FINAL && exit_slot->completion.cc == 0, exit_slot->completion.cc);
    return true;
}

/* The same starts, each by an exit to the hypervisor, which has it performed and comes back with the completion. */
bool starts_by_exit(struct job *job)
{
    for (; job->done < job->count; job->done++) {
        exit_slot->descriptor = a_start((uint16_t)(NULLS + job->done % NULL_COUNT), job->done, CPA);
        out32(EXIT_PORT, 1);
        if (!exit_went_well(job->done))
            return false;
    }
    return true;
}

/* One start again and again, by exits from the kernel with nothing around them: the least that an exit can cost. */
bool bare_exits(struct job *job)
{
    exit_slot->descriptor = a_start(NULLS, job->count, CPA);
    kernel_call();
    job->done = job->count;
    return exit_went_well(job->count);
}
