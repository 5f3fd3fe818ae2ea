/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Executes sequences of instructions and compares what they bring with what the standard input says they must bring. One sequence is
 *
 *     SUBCHANNEL BEFORE INTPARM CONTROL COUNT    and COUNT times    OPERATION A B CC MASK0 WORD0 MASK2 WORD2 INTPARM
 *
 * all hexadecimal. Before it a start with INTPARM and CONTROL (of an ORB whose program is at 0x1000) is brought as far as BEFORE says. A and
 * B are the interruption parameter and the ORB's control word of a start, or the address of MODIFY SUBCHANNEL's operand and nothing. What TEST
 * and STORE SUBCHANNEL store must be WORD0 and WORD2 under the masks, and STORE SUBCHANNEL the interruption parameter INTPARM as well.
 * All instructions of a sequence are posted as one batch, so that nothing comes between them. At the end of the input the number of
 * sequences and of their instructions is printed.
 */
#include "process.h"

enum before { IDLE, START_PENDING, ACTIVE, STATUS_PENDING, SUSPENDED };

#define PROGRAM 0x1000
/* MODIFY SUBCHANNEL with this operand makes a subchannel what it was at first. */
#define SCHIB_AT_FIRST 0x8000

struct instruction {
    uint32_t operation, a, b, cc, mask0, word0, mask2, word2, intparm;
    uint64_t tag;
};

static uint32_t subchannel;

static bool read_words(uint32_t *words, unsigned count)
{
    for (unsigned word = 0; word < count; word++)
        if (scanf("%" SCNx32, &words[word]) != 1)
            return false;
    return true;
}

static uint32_t controls_now(void)
{
    struct fate stored = execute(fctl_instruction(FCTL_OPERATION_STORE, subchannel, 0));

    CHECK(stored.final.cc == 0 && stored.final.flags & FCTL_COMPLETION_SCHIB_EXTENSION, "STSCH stores nothing");
    return be32(stored.extension.schib.schib + 28) & CONTROLS;
}

/* Brings the start before the sequence as far as it is to be. */
static void prepare(enum before before, uint32_t intparm, uint32_t control)
{
    static const uint32_t controls[] = { 0, 0x4400, 0x40C0, 0x4007, 0x4020 };

    if (before != IDLE) {
        uint64_t tag = stage(fctl_start(subchannel, intparm, control, PROGRAM, 0));
        publish();
        if (before == STATUS_PENDING) {
            WAIT_UNTIL(fate(tag)->ended);
        } else if (before == SUSPENDED) {
            WAIT_UNTIL(unasked == 1);
            CHECK(last_unasked.kind == FCTL_KIND_INTERRUPTION_PENDING, "a suspension of kind %u", last_unasked.kind);
            struct fate taken = execute(fctl_instruction(FCTL_OPERATION_TEST, subchannel, 0));
            CHECK(taken.final.cc == 0 && (be32(taken.final.scsw) & CONTROLS) == 0x4029, "SCSW %08x", be32(taken.final.scsw));
        } else {
            WAIT_UNTIL(fate(tag)->accepted);
        }
    }
    uint32_t found = controls_now();
    CHECK(found == controls[before], "%04x before the sequence, not %04x", found, controls[before]);
}

static struct fctl_descriptor descriptor(const struct instruction *instruction)
{
    uint8_t operation = (uint8_t)instruction->operation;

    switch (operation) {
    case FCTL_OPERATION_START:
        return fctl_start(subchannel, instruction->a, instruction->b, PROGRAM, 0);
    case FCTL_OPERATION_MODIFY:
        return fctl_by_address(operation, subchannel, instruction->a, 0);
    default:
        return fctl_instruction(operation, subchannel, 0);
    }
}

static void compare(const struct instruction *instruction)
{
    struct fate *found = fate(instruction->tag);

    CHECK(found->accepted_cc == instruction->cc, "condition code %u, not %u", found->accepted_cc, instruction->cc);
    const uint8_t *scsw = found->final.scsw;
    if (instruction->operation == FCTL_OPERATION_STORE && instruction->cc == 0) {
        CHECK(found->ended && found->final.flags & FCTL_COMPLETION_SCHIB_EXTENSION, "STSCH stores nothing");
        scsw = found->extension.schib.schib + 28;
        uint32_t intparm = be32(found->extension.schib.schib);
        CHECK(intparm == instruction->intparm, "interruption parameter %08x, not %08x", intparm, instruction->intparm);
    } else if (instruction->operation == FCTL_OPERATION_TEST && instruction->cc < 2) {
        CHECK(found->ended && found->final.flags & FCTL_COMPLETION_STATUS, "TSCH stores nothing");
    } else {
        return;
    }
    uint32_t word0 = be32(scsw) & instruction->mask0, word2 = be32(scsw + 8) & instruction->mask2;
    CHECK(word0 == instruction->word0, "SCSW word 0 is %08x, not %08x", word0, instruction->word0);
    CHECK(word2 == instruction->word2, "SCSW word 2 is %08x, not %08x", word2, instruction->word2);
}

/* Whatever is going on comes to its end, and each descriptor has had its final. */
static void clean_up(void)
{
    stage(fctl_by_address(FCTL_OPERATION_MODIFY, subchannel, SCHIB_AT_FIRST, 0));
    struct fate clear = execute(fctl_instruction(FCTL_OPERATION_CLEAR, subchannel, 0));
    CHECK(clear.final.cc == 0, "the last CSCH got condition code %u", clear.final.cc);
    struct fate taken = execute(fctl_instruction(FCTL_OPERATION_TEST, subchannel, 0));
    CHECK(taken.final.cc == 0 && be32(taken.final.scsw) == 0x00001001, "the clear ended with %08x", be32(taken.final.scsw));
    struct fate modified = execute(fctl_by_address(FCTL_OPERATION_MODIFY, subchannel, SCHIB_AT_FIRST, 0));
    CHECK(modified.final.cc == 0, "the last MSCH got condition code %u", modified.final.cc);
    all_end();
    forget();
}

int main(int argc, char **argv)
{
    uint32_t head[5];
    uint64_t sequences = 0, instructions = 0;
    static char about[80];

    open_process(argc, argv);
    while (read_words(head, 5)) {
        struct instruction sequence[8];
        uint32_t count = head[4];

        snprintf(about, sizeof about, "sequence %" PRIu64 ", before %u", sequences, head[1]);
        doing = about;
        subchannel = fctl_subsystem(0, (uint16_t)head[0]);
        CHECK(count <= 8 && head[1] <= SUSPENDED, "no such sequence");
        for (uint32_t index = 0; index < count; index++)
            CHECK(read_words(&sequence[index].operation, 9), "the sequence ends too soon");
        prepare((enum before)head[1], head[2], head[3]);
        for (uint32_t index = 0; index < count; index++)
            sequence[index].tag = stage(descriptor(&sequence[index]));
        publish();
        WAIT_UNTIL(fate(sequence[count - 1].tag)->accepted);
        for (uint32_t index = 0; index < count; index++) {
            snprintf(about, sizeof about, "sequence %" PRIu64 ", before %u, instruction %u", sequences, head[1], index);
            compare(&sequence[index]);
        }
        clean_up();
        sequences++;
        instructions += count;
    }
    CHECK(feof(stdin), "the input is no sequence");
    printf("sequences=%" PRIu64 " instructions=%" PRIu64 "\n", sequences, instructions);
    return 0;
}
