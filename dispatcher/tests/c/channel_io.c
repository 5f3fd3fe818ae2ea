/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Channel I/O to subchannels of a dispatcher, as a guest sees it: condition codes, statuses, sense and data. What must come is written
 * out as the Principles of Operation (SA22-7832) have it: instructions in ch. 14, SCSW, ESW and ECW in ch. 16, PMCW and ORB in ch. 15. Of
 * word 0 of an SCSW that is key to U of the ORB in the left half, and function, activity and status control in the right one.
 */
#include "process.h"

enum {
    NUL, /* answers at once */
    SILENT, /* never answers a start */
    VOLUME, /* FBA, 64 blocks */
    HELD, /* answers at once; TSCH takes the status */
    DISABLED,
    SLOW, /* FBA, the same volume, answers late */
    MISSING,
};

/* Format-1 CCWs, all paths; the same with prefetch. */
#define FORMAT_1 0x00808000u
#define PREFETCH 0x00C08000u
/* Where things are in guest memory. */
#define PROGRAM 0x1000u
#define EXTENT 0x2000u
#define LOCATE 0x2100u
#define SCHIB 0x3000u
#define OUT 0x10000u
#define IN 0x20000u
#define SENSE 0x4000u

#define CHAIN 0x40
#define SILENT_LENGTH 0x20

static uint32_t id(unsigned number)
{
    return fctl_subsystem(0, (uint16_t)number);
}

static struct fctl_descriptor plain(uint8_t operation, unsigned number)
{
    return fctl_instruction(operation, id(number), 0);
}

static struct fctl_descriptor start(unsigned number, uint32_t intparm)
{
    return fctl_start(id(number), intparm, number == VOLUME || number == SLOW ? PREFETCH : FORMAT_1, PROGRAM, 0);
}

static void cc_is(const struct fate *found, unsigned cc)
{
    CHECK(found->accepted_cc == cc && found->final.cc == cc, "condition code %u, not %u", found->final.cc, cc);
    CHECK(found->final.disposition == FCTL_DISPOSITION_EXECUTED, "disposition %u", found->final.disposition);
}

static void expect_cc(struct fctl_descriptor descriptor, unsigned cc)
{
    struct fate found = execute(descriptor);

    cc_is(&found, cc);
    CHECK(!(found.final.flags & FCTL_COMPLETION_STATUS) || descriptor.operation == FCTL_OPERATION_TEST, "a status nobody asked for");
}

static void status_is(const struct fctl_completion *completion, uint32_t word0, uint32_t word1, uint32_t word2)
{
    CHECK(completion->flags & FCTL_COMPLETION_STATUS, "no status");
    uint32_t found[3] = { be32(completion->scsw), be32(completion->scsw + 4), be32(completion->scsw + 8) };
    CHECK(found[0] == word0 && found[1] == word1 && found[2] == word2, "SCSW %08x %08x %08x, not %08x %08x %08x", found[0], found[1],
          found[2], word0, word1, word2);
}

/* Only word 0 has a meaning. */
static void control_is(const struct fctl_completion *completion, uint32_t word0)
{
    CHECK(completion->flags & FCTL_COMPLETION_STATUS, "no status");
    CHECK(be32(completion->scsw) == word0, "SCSW word 0 is %08x, not %08x", be32(completion->scsw), word0);
}

static uint32_t stored_control(unsigned number)
{
    struct fate stored = execute(plain(FCTL_OPERATION_STORE, number));

    cc_is(&stored, 0);
    CHECK(stored.final.flags & FCTL_COMPLETION_SCHIB_EXTENSION, "STSCH stores no SCHIB");
    memcpy(memory + SCHIB, stored.extension.schib.schib, 52);
    return be32(memory + SCHIB + 28);
}

static void absorbed(uint64_t tag, unsigned by, bool was_issued)
{
    struct fate *found = fate(tag);

    CHECK(found->ended && found->final.cc == 0 && found->final.disposition == by, "disposition %u", found->final.disposition);
    CHECK(!(found->final.flags & FCTL_COMPLETION_STATUS), "what was absorbed has no status of its own");
    CHECK(!(found->final.flags & FCTL_COMPLETION_WAS_ISSUED) == !was_issued, "was issued: %u", !was_issued);
}

static void starts_end(void)
{
    doing = "a start that ends at once";
    struct fate found = execute(start(NUL, 0xCAFE0001));
    cc_is(&found, 0);
    CHECK(found.final.intparm == 0xCAFE0001, "interruption parameter %08x", found.final.intparm);
    /* Start; primary, secondary, status pending. Channel end and device end, nothing left. */
    status_is(&found.final, 0x00804007, PROGRAM + 8, 0x0C000000);
    forget();

    doing = "an ORB with a reserved bit";
    found = execute(fctl_start(id(NUL), 1, FORMAT_1 | 2, PROGRAM, 0));
    CHECK(found.final.disposition == FCTL_DISPOSITION_PROGRAM_INTERRUPTION && found.final.code == 0x15, "code %04x", found.final.code);
    forget();
}

static void condition_codes_3(void)
{
    doing = "a subchannel that is not there, and one that is disabled";
    static const uint8_t all[] = { FCTL_OPERATION_HALT, FCTL_OPERATION_CLEAR, FCTL_OPERATION_CANCEL, FCTL_OPERATION_RESUME,
                                   FCTL_OPERATION_TEST };
    for (unsigned number = DISABLED; number <= MISSING; number += MISSING - DISABLED) {
        expect_cc(start(number, 2), 3);
        for (unsigned operation = 0; operation < sizeof all; operation++)
            expect_cc(plain(all[operation], number), 3);
        forget();
    }
    expect_cc(plain(FCTL_OPERATION_STORE, MISSING), 3);
    CHECK(stored_control(DISABLED) == 0, "a disabled subchannel that is not idle");
    forget();
}

static void condition_codes_2(void)
{
    doing = "a start that runs";
    for (unsigned by_clear = 0; by_clear < 2; by_clear++) {
        uint64_t running = stage(start(SILENT, 0xCAFE0002));
        publish();
        WAIT_UNTIL(fate(running)->accepted);
        /* Start; subchannel active, device active. */
        uint32_t control = stored_control(SILENT);
        CHECK(control == 0x008040C0, "SCSW word 0 is %08x", control);
        CHECK(be32(memory + SCHIB) == 0xCAFE0002, "the PMCW has another interruption parameter");
        expect_cc(start(SILENT, 0xBAD), 2);
        expect_cc(plain(FCTL_OPERATION_CANCEL, SILENT), 2);
        expect_cc(plain(FCTL_OPERATION_RESUME, SILENT), 2);
        expect_cc(fctl_by_address(FCTL_OPERATION_MODIFY, id(SILENT), SCHIB, 0), 2);
        struct fate tested = execute(plain(FCTL_OPERATION_TEST, SILENT));
        cc_is(&tested, 1);
        control_is(&tested.final, 0x008040C0);

        CHECK(!fate(running)->ended, "a start that nobody has answered");
        uint8_t operation = by_clear ? FCTL_OPERATION_CLEAR : FCTL_OPERATION_HALT;
        struct fate stop = execute(plain(operation, SILENT));
        cc_is(&stop, 0);
        CHECK(stop.final.intparm == 0xCAFE0002, "interruption parameter %08x", stop.final.intparm);
        /* Clear alone; start and halt. Status pending alone. */
        if (by_clear)
            status_is(&stop.final, 0x00001001, 0, 0);
        else
            control_is(&stop.final, 0x00806001);
        CHECK(be32(stop.final.scsw + 8) >> 16 == 0, "a halt or clear with device status");
        absorbed(running, by_clear ? FCTL_DISPOSITION_ABSORBED_BY_CLEAR : FCTL_DISPOSITION_ABSORBED_BY_HALT, true);
        CHECK(order[ended - 2] == running, "the start's final does not come just before the one that stopped it");
        CHECK(stored_control(SILENT) << 17 == 0, "not idle afterwards");
        forget();
    }
}

static void condition_codes_1(void)
{
    doing = "status that is pending";
    struct fate found = execute(start(HELD, 0xCAFE0003));
    cc_is(&found, 0);
    CHECK(!(found.final.flags & FCTL_COMPLETION_STATUS), "the status waits for TSCH");
    expect_cc(start(HELD, 0xBAD), 1);
    expect_cc(plain(FCTL_OPERATION_HALT, HELD), 1);
    expect_cc(plain(FCTL_OPERATION_CANCEL, HELD), 1);
    expect_cc(plain(FCTL_OPERATION_RESUME, HELD), 1);
    CHECK(stored_control(HELD) == 0x00804007, "STSCH shows another status");
    expect_cc(fctl_by_address(FCTL_OPERATION_MODIFY, id(HELD), SCHIB, 0), 1);
    struct fate tested = execute(plain(FCTL_OPERATION_TEST, HELD));
    cc_is(&tested, 0);
    status_is(&tested.final, 0x00804007, PROGRAM + 8, 0x0C000000);
    CHECK(tested.final.intparm == 0xCAFE0003, "interruption parameter %08x", tested.final.intparm);
    tested = execute(plain(FCTL_OPERATION_TEST, HELD));
    cc_is(&tested, 1);
    CHECK((be32(tested.final.scsw) & CONTROLS) == 0, "status that was taken is there again");
    forget();

    doing = "a clear that withdraws status";
    execute(start(HELD, 0xCAFE0004));
    found = execute(plain(FCTL_OPERATION_CLEAR, HELD));
    cc_is(&found, 0);
    tested = execute(plain(FCTL_OPERATION_TEST, HELD));
    cc_is(&tested, 0);
    status_is(&tested.final, 0x00001001, 0, 0);
    forget();
}

/* Two instructions, and what is told at once. */
static void pair(struct fctl_descriptor a, struct fctl_descriptor b, unsigned cc_a, unsigned cc_b, uint64_t tags[2])
{
    tags[0] = stage(a);
    tags[1] = stage(b);
    publish();
    all_end();
    CHECK(fate(tags[0])->accepted_cc == cc_a && fate(tags[1])->accepted_cc == cc_b, "condition codes %u and %u",
          fate(tags[0])->accepted_cc, fate(tags[1])->accepted_cc);
}

static void batches(void)
{
    uint64_t tags[2];

    doing = "start, cancel";
    pair(start(SILENT, 5), plain(FCTL_OPERATION_CANCEL, SILENT), 0, 0, tags);
    absorbed(tags[0], FCTL_DISPOSITION_ABSORBED_BY_CANCEL, false);
    cc_is(fate(tags[1]), 0);
    forget();
    doing = "start, halt";
    pair(start(SILENT, 6), plain(FCTL_OPERATION_HALT, SILENT), 0, 0, tags);
    absorbed(tags[0], FCTL_DISPOSITION_ABSORBED_BY_HALT, false);
    control_is(&fate(tags[1])->final, 0x00806001);
    forget();
    doing = "start, clear";
    pair(start(SILENT, 7), plain(FCTL_OPERATION_CLEAR, SILENT), 0, 0, tags);
    absorbed(tags[0], FCTL_DISPOSITION_ABSORBED_BY_CLEAR, false);
    status_is(&fate(tags[1])->final, 0x00001001, 0, 0);
    CHECK(fate(tags[1])->final.intparm == 7, "an absorbed start leaves its interruption parameter");
    forget();
    doing = "clear, start";
    pair(plain(FCTL_OPERATION_CLEAR, SILENT), start(SILENT, 8), 0, 2, tags);
    status_is(&fate(tags[0])->final, 0x00001001, 0, 0);
    CHECK(fate(tags[0])->final.intparm == 7, "a start that was refused leaves no trace");
    forget();
    doing = "halt, halt";
    pair(plain(FCTL_OPERATION_HALT, SILENT), plain(FCTL_OPERATION_HALT, SILENT), 0, 2, tags);
    /* Halt alone, no start: nothing of an ORB. */
    control_is(&fate(tags[0])->final, 0x00002001);
    forget();
    doing = "cancel, resume of an idle subchannel";
    pair(plain(FCTL_OPERATION_CANCEL, SILENT), plain(FCTL_OPERATION_RESUME, SILENT), 2, 2, tags);
    forget();
}

static void ccw(unsigned index, uint8_t command, uint8_t flags, uint16_t count, uint32_t address)
{
    put_be32(memory + PROGRAM + 8 * index, (uint32_t)command << 24 | (uint32_t)flags << 16 | count);
    put_be32(memory + PROGRAM + 8 * index + 4, address);
}

/* DEFINE EXTENT, LOCATE, and READ or WRITE of `count` blocks from `first` on. */
static void transfer(bool write, uint32_t first, uint16_t count, uint32_t address)
{
    put_be32(memory + EXTENT, write ? 0 : 0x40000000);
    put_be32(memory + EXTENT + 4, first);
    put_be32(memory + EXTENT + 8, 0);
    put_be32(memory + EXTENT + 12, count - 1u);
    put_be32(memory + LOCATE, (write ? 0x05000000u : 0x06000000u) | count);
    put_be32(memory + LOCATE + 4, 0);
    ccw(0, 0x63, CHAIN, 16, EXTENT);
    ccw(1, 0x43, CHAIN, 8, LOCATE);
    ccw(2, write ? 0x41 : 0x42, 0, (uint16_t)(count * 512), address);
}

static void volume(void)
{
    doing = "SENSE ID";
    ccw(0, 0xE4, SILENT_LENGTH, 7, IN);
    struct fate found = execute(start(VOLUME, 9));
    status_is(&found.final, 0x00C04007, PROGRAM + 8, 0x0C000000);
    CHECK(be32(memory + IN) >> 8 == 0xFF6310, "control unit %08x", be32(memory + IN));
    CHECK(be32(memory + IN + 2) == 0x10019336, "device %08x", be32(memory + IN + 2));
    forget();

    doing = "WRITE and READ";
    /* A pattern of words in this machine's own order: four blocks from block 17 on. The test looks for its bytes in the volume's file. */
    for (uint32_t word = 0; word < 512; word++)
        put_be32(memory + OUT + 4 * word, 0x01020304u * (word + 1));
    memset(memory + IN, 0xEE, 2048);
    transfer(true, 17, 4, OUT);
    found = execute(start(VOLUME, 10));
    status_is(&found.final, 0x00C04007, PROGRAM + 24, 0x0C000000);
    transfer(false, 17, 4, IN);
    found = execute(start(VOLUME, 11));
    status_is(&found.final, 0x00C04007, PROGRAM + 24, 0x0C000000);
    CHECK(memcmp(memory + IN, memory + OUT, 2048) == 0, "what is read is not what was written");
    CHECK(be32(memory + IN + 4) == 0x02040608, "word 1 is %08x", be32(memory + IN + 4));
    forget();

    doing = "the delayed subchannel of the same volume";
    memset(memory + IN, 0xEE, 2048);
    uint64_t late = stage(start(SLOW, 12));
    publish();
    WAIT_UNTIL(fate(late)->accepted);
    expect_cc(start(SLOW, 0xBAD), 2);
    WAIT_UNTIL(fate(late)->ended);
    status_is(&fate(late)->final, 0x00C04007, PROGRAM + 24, 0x0C000000);
    CHECK(memcmp(memory + IN, memory + OUT, 2048) == 0, "what is read is not what was written");
    forget();

    doing = "a count that is too large, without SLI";
    transfer(false, 17, 1, IN);
    ccw(2, 0x42, 0, 1024, IN);
    found = execute(start(VOLUME, 13));
    /* Alert too; incorrect length, 512 bytes left. */
    status_is(&found.final, 0x00C04017, PROGRAM + 24, 0x0C400200);
    forget();
}

static void checks(void)
{
    doing = "a unit check, sense by BASIC SENSE";
    transfer(false, 1000, 1, IN);
    struct fate found = execute(start(VOLUME, 14));
    cc_is(&found, 0);
    /* Alert too; channel end, device end, unit check. */
    CHECK(be32(found.final.scsw) == 0x00C04017 && found.final.scsw[8] == 0x0E, "SCSW %08x .. %08x", be32(found.final.scsw),
          be32(found.final.scsw + 8));
    ccw(0, 0x04, SILENT_LENGTH, 32, SENSE);
    found = execute(start(VOLUME, 15));
    CHECK(be32(found.final.scsw) == 0x00C04007, "BASIC SENSE ended with %08x", be32(found.final.scsw));
    CHECK(memory[SENSE] == 0x80, "sense byte 0 is %02x, not command reject", memory[SENSE]);
    forget();

    doing = "a unit check with concurrent sense";
    stored_control(VOLUME);
    /* S, bit 31 of PMCW word 6. */
    put_be32(memory + SCHIB + 24, be32(memory + SCHIB + 24) | 1);
    expect_cc(fctl_by_address(FCTL_OPERATION_MODIFY, id(VOLUME), SCHIB, 0), 0);
    stored_control(VOLUME);
    CHECK(be32(memory + SCHIB + 24) & 1, "MSCH has not set concurrent sense");
    transfer(false, 1000, 1, IN);
    found = execute(start(VOLUME, 16));
    /* E, bit 14: the ECW has something. */
    CHECK(be32(found.final.scsw) == 0x00C24017 && found.final.scsw[8] == 0x0E, "SCSW %08x", be32(found.final.scsw));
    CHECK(found.final.flags & FCTL_COMPLETION_IRB_EXTENSION, "a unit check without sense");
    /* ERW: concurrent sense, bit 7, and the count in bits 10 to 15. */
    CHECK((be32(found.extension.irb.esw + 4) & 0x01000000) && (found.extension.irb.esw[5] & 0x3F) != 0, "ERW %08x",
          be32(found.extension.irb.esw + 4));
    CHECK(found.extension.irb.ecw[0] == 0x80, "sense byte 0 is %02x, not command reject", found.extension.irb.ecw[0]);
    forget();

    doing = "a data address outside memory";
    transfer(false, 17, 1, 0x70000000);
    found = execute(start(VOLUME, 17));
    cc_is(&found, 0);
    CHECK((be32(found.final.scsw) & ~0x00020000u) == 0x00C04017, "SCSW word 0 is %08x", be32(found.final.scsw));
    CHECK(be32(found.final.scsw + 4) == PROGRAM + 24 && found.final.scsw[9] == 0x20, "SCSW %08x %08x: not a program check behind it",
          be32(found.final.scsw + 4), be32(found.final.scsw + 8));
    forget();
}

int main(int argc, char **argv)
{
    open_process(argc, argv);
    starts_end();
    condition_codes_3();
    condition_codes_2();
    condition_codes_1();
    batches();
    volume();
    checks();
    CHECK(unasked == 0, "status that nobody asked for");
    printf("finals=%" PRIu64 "\n", next_tag - 1);
    return 0;
}
