/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* FBA channel programs: blocks of a volume read and compared, or made up and written; on several subchannels at once. */
#include "guest.h"

#define BLOCK 512
#define MOST_BLOCKS ((AREA_BYTES - 0x1000) / BLOCK)

#define DEFINE_EXTENT 0x63
#define LOCATE 0x43
#define READ 0x42
#define WRITE 0x41
#define LOCATE_READ 6
#define LOCATE_WRITE 5
#define EXTENT_READ_ONLY 0x40
#define CHAIN_COMMAND 0x40

/* ORB: format-1 CCWs, prefetch allowed, all paths. */
#define ORB_CONTROL 0x00C0FF00u
#define CHANNEL_END_AND_DEVICE_END 0x0C

/* One subchannel's channel program and its operands. */
struct area {
    uint8_t ccws[3][8];
    uint8_t extent[16];
    uint8_t locate[8];
    uint8_t unused[0x1000 - 48];
    uint64_t blocks[MOST_BLOCKS][BLOCK / 8];
};

static struct area *area(uint64_t index)
{
    return (struct area *)(AREAS + index * AREA_BYTES);
}

/* What stands in a word of a block; src/vmm/pattern.rs is the same. */
static uint64_t pattern(uint64_t seed, uint64_t block, uint64_t word)
{
    return (seed + block + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ (word + 1) * UINT64_C(0xBF58476D1CE4E5B9);
}

static void put_be16(uint8_t *bytes, uint64_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void put_ccw(uint8_t *ccw, uint8_t command, uint8_t flags, uint64_t count, const void *address)
{
    ccw[0] = command;
    ccw[1] = flags;
    put_be16(ccw + 2, count);
    fctl_put_be32(ccw + 4, (uint32_t)(uintptr_t)address);
}

/* Makes DEFINE EXTENT, LOCATE and the transfer of `count` blocks, and stages its start. */
static bool start(uint64_t index, bool writes, uint64_t first, uint64_t count)
{
    struct area *a = area(index);
    struct fctl_descriptor descriptor;

    memset(a->extent, 0, sizeof a->extent);
    a->extent[0] = writes ? 0 : EXTENT_READ_ONLY;
    fctl_put_be32(a->extent + 4, (uint32_t)first);
    fctl_put_be32(a->extent + 12, (uint32_t)(count - 1));
    memset(a->locate, 0, sizeof a->locate);
    a->locate[0] = writes ? LOCATE_WRITE : LOCATE_READ;
    put_be16(a->locate + 2, count);
    put_ccw(a->ccws[0], DEFINE_EXTENT, CHAIN_COMMAND, sizeof a->extent, a->extent);
    put_ccw(a->ccws[1], LOCATE, CHAIN_COMMAND, sizeof a->locate, a->locate);
    put_ccw(a->ccws[2], writes ? WRITE : READ, 0, count * BLOCK, a->blocks);
    descriptor = fctl_start(fctl_subsystem(0, (uint16_t)(VOLUME + index)), (uint32_t)first, ORB_CONTROL, (uint32_t)(uintptr_t)a->ccws,
                            index);
    enum fctl_result staged = fctl_stage(&poster, &descriptor);
    REQUIRE(staged == FCTL_OK, staged);
    return true;
}

/* One start's end: everything moved, nothing left over. */
static bool ended_well(const struct fctl_completion *completion)
{
    uint32_t status = fctl_get_be32(completion->scsw + 8);

    REQUIRE(completion->kind == FCTL_KIND_FINAL, completion->kind);
    REQUIRE(completion->cc == 0 && completion->disposition == FCTL_DISPOSITION_EXECUTED, completion->disposition);
    REQUIRE(completion->tag < VOLUMES, completion->tag);
    REQUIRE(status == (uint32_t)CHANNEL_END_AND_DEVICE_END << 24, status);
    REQUIRE(fctl_get_be32(completion->scsw + 4) == (uint32_t)(uintptr_t)area(completion->tag)->extent, completion->tag);
    return true;
}

static void fill(struct area *a, uint64_t seed, uint64_t first, uint64_t count)
{
    for (uint64_t block = 0; block < count; block++)
        for (uint64_t word = 0; word < BLOCK / 8; word++)
            a->blocks[block][word] = pattern(seed, first + block, word);
}

static uint64_t wrong_bytes(const struct area *a, uint64_t seed, uint64_t first, uint64_t count)
{
    uint64_t wrong = 0;

    for (uint64_t block = 0; block < count; block++)
        for (uint64_t word = 0; word < BLOCK / 8; word++) {
            uint64_t difference = a->blocks[block][word] ^ pattern(seed, first + block, word);
            for (; difference != 0; difference >>= 8)
                wrong += (difference & 0xFF) != 0;
        }
    return wrong;
}

/* All blocks of the job, `batch` of them a program, one program on each subchannel at a time. */
static bool transfer(struct job *job, bool writes)
{
    uint64_t next = job->first, end = job->first + job->count;

    REQUIRE(job->batch >= 1 && job->batch <= MOST_BLOCKS, job->batch);
    while (next < end) {
        uint64_t first[VOLUMES], count[VOLUMES], posted = 0;

        for (; posted < VOLUMES && next < end; posted++, next += job->batch) {
            first[posted] = next;
            count[posted] = end - next < job->batch ? end - next : job->batch;
            if (writes)
                fill(area(posted), job->seed, next, count[posted]);
            else
                memset(area(posted)->blocks, 0xEE, count[posted] * BLOCK);
            if (!start(posted, writes, next, count[posted]))
                return false;
        }
        publish();
        for (uint64_t ended = 0; ended < posted; ended++) {
            struct fctl_completion completion;

            if (!next_completion(&completion) || !ended_well(&completion))
                return false;
            REQUIRE(completion.intparm == (uint32_t)first[completion.tag], completion.intparm);
            if (!writes)
                job->wrong += wrong_bytes(area(completion.tag), job->seed, first[completion.tag], count[completion.tag]);
            job->done += count[completion.tag];
        }
    }
    return true;
}

bool read_volume(struct job *job)
{
    return transfer(job, false);
}

bool write_volume(struct job *job)
{
    return transfer(job, true);
}
