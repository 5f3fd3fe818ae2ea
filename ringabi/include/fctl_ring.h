/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The fctl ring ABI: constants and memory layouts. Normative text: SPEC.md.
 * generated: do not edit (source: ringabi/src/c_abi.rs; made by tools/header.sh).
 *
 * In shared memory all integers are little-endian; byte arrays are architected blocks, big-endian.
 */

#ifndef FCTL_RING_H
#define FCTL_RING_H

#include <stddef.h>
#include <stdint.h>

// First word of a formatted ring: 0x474E49524C544346, in memory the bytes "FCTLRING".
#define FCTL_MAGIC 5138124842693051206

// Major version: another one is not understood.
#define FCTL_MAJOR 1

// Minor version: any is accepted.
#define FCTL_MINOR 0

// Required features that this version understands.
#define FCTL_KNOWN_FEATURES 0

// Length of the header in bytes.
#define FCTL_HEADER_BYTES 1024

// Alignment of the region and of the areas in it, in bytes.
#define FCTL_ALIGNMENT 128

// Size of a descriptor and of a completion: the least stride.
#define FCTL_ENTRY_BYTES 64

// Size of a completion's extension: the least extension stride.
#define FCTL_EXTENSION_BYTES 64

// Greatest stride of any area.
#define FCTL_MOST_STRIDE 4096

// Least number of submission entries.
#define FCTL_LEAST_ENTRIES 8

// Greatest number of submission entries.
#define FCTL_MOST_ENTRIES 65536

// Greatest number of completion entries.
#define FCTL_MOST_COMPLETION_ENTRIES 524288

// Least reserve for HSCH, CSCH and XSCH.
#define FCTL_LEAST_RESERVE 8

// Index of a 64-bit header word: magic.
#define FCTL_WORD_MAGIC 0

// Major (bits 0-15), minor (16-31), header length in bytes (32-63).
#define FCTL_WORD_VERSION 1

// Required features.
#define FCTL_WORD_REQUIRED 2

// Optional features.
#define FCTL_WORD_OPTIONAL 3

// Submission entries (low half), completion entries (high half).
#define FCTL_WORD_ENTRIES 4

// Descriptor stride (low half), completion stride (high half), in bytes.
#define FCTL_WORD_STRIDES 5

// Extension stride in bytes (low half), reserve (high half).
#define FCTL_WORD_EXTENSION 6

// Offset of the submission ring in bytes.
#define FCTL_WORD_SQ_OFFSET 7

// Offset of the completion ring in bytes.
#define FCTL_WORD_CQ_OFFSET 8

// Offset of the extension array in bytes.
#define FCTL_WORD_EXTENSION_OFFSET 9

// Length of everything in bytes.
#define FCTL_WORD_LENGTH 10

// Clock id.
#define FCTL_WORD_CLOCK 11

// Epoch.
#define FCTL_WORD_EPOCH 12

// Written by the dispatcher: descriptors consumed.
#define FCTL_WORD_SQ_HEAD 16

// Written by the dispatcher: completions produced, valid while detached.
#define FCTL_WORD_CQ_TAIL 17

// Written by the dispatcher: sleep word, odd while a doorbell is wanted.
#define FCTL_WORD_SQ_SLEEP 32

// Written by the dispatcher: fence reason, zero while the ring is served.
#define FCTL_WORD_FENCE 33

// Written by the guest: completions consumed.
#define FCTL_WORD_CQ_HEAD 48

// Written by the guest: sleep word, odd while a notification is wanted.
#define FCTL_WORD_CQ_SLEEP 64

// The guest's own: next position to post, shared by many posters.
#define FCTL_WORD_SQ_TICKET 80

// The guest's own: completions charged by posters.
#define FCTL_WORD_CHARGED 81

// The guest's own: charged completions that the reader has taken.
#define FCTL_WORD_RELEASED 96

// The two sides share no clock.
#define FCTL_CLOCK_NONE 0

// Nanoseconds of the host's CLOCK_MONOTONIC.
#define FCTL_CLOCK_MONOTONIC 1

// START SUBCHANNEL (SSCH).
#define FCTL_OPERATION_START 1

// HALT SUBCHANNEL (HSCH).
#define FCTL_OPERATION_HALT 2

// CLEAR SUBCHANNEL (CSCH).
#define FCTL_OPERATION_CLEAR 3

// CANCEL SUBCHANNEL (XSCH).
#define FCTL_OPERATION_CANCEL 4

// RESUME SUBCHANNEL (RSCH).
#define FCTL_OPERATION_RESUME 5

// MODIFY SUBCHANNEL (MSCH).
#define FCTL_OPERATION_MODIFY 6

// STORE SUBCHANNEL (STSCH).
#define FCTL_OPERATION_STORE 7

// TEST SUBCHANNEL (TSCH).
#define FCTL_OPERATION_TEST 8

// Descriptor flag: an accepted completion is wanted too.
#define FCTL_FLAG_ACCEPTED 1

// Descriptor flag: its completions ask for no notification.
#define FCTL_FLAG_NO_NOTIFICATION 2

// Descriptor flag: the operand's first eight bytes are its guest address.
#define FCTL_FLAG_OPERAND_BY_ADDRESS 4

// The one final completion of a descriptor.
#define FCTL_KIND_FINAL 1

// The condition code as soon as it is decided.
#define FCTL_KIND_ACCEPTED 2

// Intermediate status of a start that goes on.
#define FCTL_KIND_INTERMEDIATE 3

// Device end after the final.
#define FCTL_KIND_SECONDARY 4

// Status that no start asked for.
#define FCTL_KIND_UNSOLICITED 5

// Held mode: an interruption is pending, TSCH takes the status.
#define FCTL_KIND_INTERRUPTION_PENDING 6

// Executed as the condition code says.
#define FCTL_DISPOSITION_EXECUTED 0

// Overtaken by CANCEL SUBCHANNEL.
#define FCTL_DISPOSITION_ABSORBED_BY_CANCEL 1

// Overtaken by HALT SUBCHANNEL.
#define FCTL_DISPOSITION_ABSORBED_BY_HALT 2

// Overtaken by CLEAR SUBCHANNEL.
#define FCTL_DISPOSITION_ABSORBED_BY_CLEAR 3

// Ended with the program interruption in code.
#define FCTL_DISPOSITION_PROGRAM_INTERRUPTION 4

// No instruction: the descriptor error is in code.
#define FCTL_DISPOSITION_DESCRIPTOR_ERROR 5

// Completion flag: the extension holds ESW and ECW.
#define FCTL_COMPLETION_IRB_EXTENSION 1

// Completion flag: the extension holds a SCHIB.
#define FCTL_COMPLETION_SCHIB_EXTENSION 2

// Completion flag: the SCSW is meaningful.
#define FCTL_COMPLETION_STATUS 4

// Completion flag: the absorbed start had been issued.
#define FCTL_COMPLETION_WAS_ISSUED 8

// Descriptor error: no operation has this code.
#define FCTL_ERROR_UNKNOWN_OPERATION 1

// Descriptor error: a reserved flag is set.
#define FCTL_ERROR_RESERVED_FLAGS 2

// Descriptor error: a reserved field is not zero.
#define FCTL_ERROR_RESERVED_FIELD 3

// Descriptor error: the subchannel belongs to another ring.
#define FCTL_ERROR_WRONG_RING 4

// Descriptor error: this instruction does not take its operand there.
#define FCTL_ERROR_OPERAND_PLACE 5

// Descriptor error: the operand's address is not inside the guest's memory.
#define FCTL_ERROR_OPERAND_ADDRESS 6

// Descriptor error: the ring is being detached.
#define FCTL_ERROR_DETACHING 7

// Program interruption: protection exception.
#define FCTL_INTERRUPTION_PROTECTION 4

// Program interruption: addressing exception.
#define FCTL_INTERRUPTION_ADDRESSING 5

// Program interruption: specification exception.
#define FCTL_INTERRUPTION_SPECIFICATION 6

// Program interruption: operand exception.
#define FCTL_INTERRUPTION_OPERAND 21

// Fence reason: a slot carried a lap from nowhere.
#define FCTL_FENCE_LAP 1

// Fence reason: a head word was from nowhere.
#define FCTL_FENCE_HEAD 2

// A descriptor as it lies in a slot (SPEC, "Descriptor").
struct fctl_descriptor {
    // Makes the slot valid; stored last.
    uint32_t lap;
    // FCTL_OPERATION_*.
    uint8_t operation;
    // FCTL_FLAG_*.
    uint8_t flags;
    // Zero.
    uint16_t reserved;
    // Subsystem-identification word.
    uint32_t subsystem;
    // Zero.
    uint32_t order;
    // Comes back in each completion.
    uint64_t tag;
    // Time of posting on the ring's clock; 0 if not known.
    uint64_t posted;
    // An ORB as in storage, or the operand's address in eight little-endian bytes.
    uint8_t operand[32];
};

// A completion as it lies in a slot (SPEC, "Completion").
struct fctl_completion {
    // Makes the slot valid; stored last.
    uint32_t lap;
    // FCTL_KIND_*.
    uint8_t kind;
    // Condition code.
    uint8_t cc;
    // FCTL_DISPOSITION_*.
    uint8_t disposition;
    // FCTL_COMPLETION_*.
    uint8_t flags;
    // Subsystem-identification word.
    uint32_t subsystem;
    // Interruption parameter.
    uint32_t intparm;
    // The descriptor's tag.
    uint64_t tag;
    // Subchannel-status word as in storage.
    uint8_t scsw[12];
    // FCTL_INTERRUPTION_* or FCTL_ERROR_*, as the disposition says.
    uint16_t code;
    // Not looked at.
    uint16_t reserved;
    // When the descriptor was taken, in nanoseconds.
    uint64_t taken;
    // Nanoseconds from taken to issued.
    uint32_t issued_after;
    // Nanoseconds from taken to the device's end.
    uint32_t completed_after;
    // Nanoseconds from taken to the store of this completion.
    uint32_t delivered_after;
    // The dispatcher's turn, modulo 2^32.
    uint32_t turn;
};

// An extension as it lies beside a completion: which blocks it holds, the completion's flags say (SPEC, "Extension").
struct fctl_irb_extension {
    // Extended-status word as in storage.
    uint8_t esw[20];
    // Extended-control word as in storage.
    uint8_t ecw[32];
    // Not looked at.
    uint8_t reserved[12];
};

// A SCHIB beside a completion.
struct fctl_schib_extension {
    // Subchannel-information block as in storage.
    uint8_t schib[52];
    // Not looked at.
    uint8_t reserved[12];
};

// The extension of a completion.
union fctl_extension {
    // With FCTL_COMPLETION_IRB_EXTENSION.
    struct fctl_irb_extension irb;
    // With FCTL_COMPLETION_SCHIB_EXTENSION.
    struct fctl_schib_extension schib;
};

#endif  /* FCTL_RING_H */

#ifdef __cplusplus
#define FCTL_ASSERT(condition, text) static_assert(condition, text)
#else
#define FCTL_ASSERT(condition, text) _Static_assert(condition, text)
#endif
FCTL_ASSERT(sizeof(struct fctl_descriptor) == FCTL_ENTRY_BYTES, "a descriptor is 64 bytes");
FCTL_ASSERT(offsetof(struct fctl_descriptor, operation) == 4, "descriptor: operation");
FCTL_ASSERT(offsetof(struct fctl_descriptor, subsystem) == 8, "descriptor: subsystem");
FCTL_ASSERT(offsetof(struct fctl_descriptor, tag) == 16, "descriptor: tag");
FCTL_ASSERT(offsetof(struct fctl_descriptor, operand) == 32, "descriptor: operand");
FCTL_ASSERT(sizeof(struct fctl_completion) == FCTL_ENTRY_BYTES, "a completion is 64 bytes");
FCTL_ASSERT(offsetof(struct fctl_completion, kind) == 4, "completion: kind");
FCTL_ASSERT(offsetof(struct fctl_completion, subsystem) == 8, "completion: subsystem");
FCTL_ASSERT(offsetof(struct fctl_completion, tag) == 16, "completion: tag");
FCTL_ASSERT(offsetof(struct fctl_completion, scsw) == 24, "completion: scsw");
FCTL_ASSERT(offsetof(struct fctl_completion, code) == 36, "completion: code");
FCTL_ASSERT(offsetof(struct fctl_completion, taken) == 40, "completion: taken");
FCTL_ASSERT(offsetof(struct fctl_completion, turn) == 60, "completion: turn");
FCTL_ASSERT(sizeof(struct fctl_irb_extension) == FCTL_EXTENSION_BYTES, "an extension is 64 bytes");
FCTL_ASSERT(sizeof(struct fctl_schib_extension) == FCTL_EXTENSION_BYTES, "an extension is 64 bytes");
FCTL_ASSERT(sizeof(union fctl_extension) == FCTL_EXTENSION_BYTES, "an extension is 64 bytes");
#undef FCTL_ASSERT
