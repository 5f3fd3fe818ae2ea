// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ABI as a C programmer sees it: the source of `include/fctl_ring.h`, which `tools/header.sh` generates from this file alone.
//!
//! The values are literals because the generator does not evaluate expressions. The block at the end compares every one of
//! them, and every offset, with what the rest of the crate uses, so a drift does not compile. Integers in the structs are
//! little-endian in shared memory; byte arrays are architected blocks, which are big-endian (SPEC, "Byte order").

#![allow(dead_code, reason = "this is what C sees; Rust code uses the types it mirrors")]

/// First word of a formatted ring: 0x474E49524C544346, in memory the bytes "FCTLRING".
pub const FCTL_MAGIC: u64 = 0x474E_4952_4C54_4346;
/// Major version: another one is not understood.
pub const FCTL_MAJOR: u32 = 1;
/// Minor version: any is accepted.
pub const FCTL_MINOR: u32 = 0;
/// Required features that this version understands.
pub const FCTL_KNOWN_FEATURES: u64 = 0;
/// Length of the header in bytes.
pub const FCTL_HEADER_BYTES: u32 = 1024;
/// Alignment of the region and of the areas in it, in bytes.
pub const FCTL_ALIGNMENT: u32 = 128;
/// Size of a descriptor and of a completion: the least stride.
pub const FCTL_ENTRY_BYTES: u32 = 64;
/// Size of a completion's extension: the least extension stride.
pub const FCTL_EXTENSION_BYTES: u32 = 64;
/// Greatest stride of any area.
pub const FCTL_MOST_STRIDE: u32 = 4096;
/// Least number of submission entries.
pub const FCTL_LEAST_ENTRIES: u32 = 8;
/// Greatest number of submission entries.
pub const FCTL_MOST_ENTRIES: u32 = 65536;
/// Greatest number of completion entries.
pub const FCTL_MOST_COMPLETION_ENTRIES: u32 = 524_288;
/// Least reserve for HSCH, CSCH and XSCH.
pub const FCTL_LEAST_RESERVE: u32 = 8;

/// Index of a 64-bit header word: magic.
pub const FCTL_WORD_MAGIC: u32 = 0;
/// Major (bits 0-15), minor (16-31), header length in bytes (32-63).
pub const FCTL_WORD_VERSION: u32 = 1;
/// Required features.
pub const FCTL_WORD_REQUIRED: u32 = 2;
/// Optional features.
pub const FCTL_WORD_OPTIONAL: u32 = 3;
/// Submission entries (low half), completion entries (high half).
pub const FCTL_WORD_ENTRIES: u32 = 4;
/// Descriptor stride (low half), completion stride (high half), in bytes.
pub const FCTL_WORD_STRIDES: u32 = 5;
/// Extension stride in bytes (low half), reserve (high half).
pub const FCTL_WORD_EXTENSION: u32 = 6;
/// Offset of the submission ring in bytes.
pub const FCTL_WORD_SQ_OFFSET: u32 = 7;
/// Offset of the completion ring in bytes.
pub const FCTL_WORD_CQ_OFFSET: u32 = 8;
/// Offset of the extension array in bytes.
pub const FCTL_WORD_EXTENSION_OFFSET: u32 = 9;
/// Length of everything in bytes.
pub const FCTL_WORD_LENGTH: u32 = 10;
/// Clock id.
pub const FCTL_WORD_CLOCK: u32 = 11;
/// Epoch.
pub const FCTL_WORD_EPOCH: u32 = 12;
/// Written by the dispatcher: descriptors consumed.
pub const FCTL_WORD_SQ_HEAD: u32 = 16;
/// Written by the dispatcher: completions produced, valid while detached.
pub const FCTL_WORD_CQ_TAIL: u32 = 17;
/// Written by the dispatcher: sleep word, odd while a doorbell is wanted.
pub const FCTL_WORD_SQ_SLEEP: u32 = 32;
/// Written by the dispatcher: fence reason, zero while the ring is served.
pub const FCTL_WORD_FENCE: u32 = 33;
/// Written by the guest: completions consumed.
pub const FCTL_WORD_CQ_HEAD: u32 = 48;
/// Written by the guest: sleep word, odd while a notification is wanted.
pub const FCTL_WORD_CQ_SLEEP: u32 = 64;
/// The guest's own: next position to post, shared by many posters.
pub const FCTL_WORD_SQ_TICKET: u32 = 80;
/// The guest's own: completions charged by posters.
pub const FCTL_WORD_CHARGED: u32 = 81;
/// The guest's own: charged completions that the reader has taken.
pub const FCTL_WORD_RELEASED: u32 = 96;

/// The two sides share no clock.
pub const FCTL_CLOCK_NONE: u32 = 0;
/// Nanoseconds of the host's CLOCK_MONOTONIC.
pub const FCTL_CLOCK_MONOTONIC: u32 = 1;

/// START SUBCHANNEL (SSCH).
pub const FCTL_OPERATION_START: u8 = 1;
/// HALT SUBCHANNEL (HSCH).
pub const FCTL_OPERATION_HALT: u8 = 2;
/// CLEAR SUBCHANNEL (CSCH).
pub const FCTL_OPERATION_CLEAR: u8 = 3;
/// CANCEL SUBCHANNEL (XSCH).
pub const FCTL_OPERATION_CANCEL: u8 = 4;
/// RESUME SUBCHANNEL (RSCH).
pub const FCTL_OPERATION_RESUME: u8 = 5;
/// MODIFY SUBCHANNEL (MSCH).
pub const FCTL_OPERATION_MODIFY: u8 = 6;
/// STORE SUBCHANNEL (STSCH).
pub const FCTL_OPERATION_STORE: u8 = 7;
/// TEST SUBCHANNEL (TSCH).
pub const FCTL_OPERATION_TEST: u8 = 8;

/// Descriptor flag: an accepted completion is wanted too.
pub const FCTL_FLAG_ACCEPTED: u8 = 0x01;
/// Descriptor flag: its completions ask for no notification.
pub const FCTL_FLAG_NO_NOTIFICATION: u8 = 0x02;
/// Descriptor flag: the operand's first eight bytes are its guest address.
pub const FCTL_FLAG_OPERAND_BY_ADDRESS: u8 = 0x04;

/// The one final completion of a descriptor.
pub const FCTL_KIND_FINAL: u8 = 1;
/// The condition code as soon as it is decided.
pub const FCTL_KIND_ACCEPTED: u8 = 2;
/// Intermediate status of a start that goes on.
pub const FCTL_KIND_INTERMEDIATE: u8 = 3;
/// Device end after the final.
pub const FCTL_KIND_SECONDARY: u8 = 4;
/// Status that no start asked for.
pub const FCTL_KIND_UNSOLICITED: u8 = 5;
/// Held mode: an interruption is pending, TSCH takes the status.
pub const FCTL_KIND_INTERRUPTION_PENDING: u8 = 6;

/// Executed as the condition code says.
pub const FCTL_DISPOSITION_EXECUTED: u8 = 0;
/// Overtaken by CANCEL SUBCHANNEL.
pub const FCTL_DISPOSITION_ABSORBED_BY_CANCEL: u8 = 1;
/// Overtaken by HALT SUBCHANNEL.
pub const FCTL_DISPOSITION_ABSORBED_BY_HALT: u8 = 2;
/// Overtaken by CLEAR SUBCHANNEL.
pub const FCTL_DISPOSITION_ABSORBED_BY_CLEAR: u8 = 3;
/// Ended with the program interruption in code.
pub const FCTL_DISPOSITION_PROGRAM_INTERRUPTION: u8 = 4;
/// No instruction: the descriptor error is in code.
pub const FCTL_DISPOSITION_DESCRIPTOR_ERROR: u8 = 5;

/// Completion flag: the extension holds ESW and ECW.
pub const FCTL_COMPLETION_IRB_EXTENSION: u8 = 0x01;
/// Completion flag: the extension holds a SCHIB.
pub const FCTL_COMPLETION_SCHIB_EXTENSION: u8 = 0x02;
/// Completion flag: the SCSW is meaningful.
pub const FCTL_COMPLETION_STATUS: u8 = 0x04;
/// Completion flag: the absorbed start had been issued.
pub const FCTL_COMPLETION_WAS_ISSUED: u8 = 0x08;

/// Descriptor error: no operation has this code.
pub const FCTL_ERROR_UNKNOWN_OPERATION: u16 = 1;
/// Descriptor error: a reserved flag is set.
pub const FCTL_ERROR_RESERVED_FLAGS: u16 = 2;
/// Descriptor error: a reserved field is not zero.
pub const FCTL_ERROR_RESERVED_FIELD: u16 = 3;
/// Descriptor error: the subchannel belongs to another ring.
pub const FCTL_ERROR_WRONG_RING: u16 = 4;
/// Descriptor error: this instruction does not take its operand there.
pub const FCTL_ERROR_OPERAND_PLACE: u16 = 5;
/// Descriptor error: the operand's address is not inside the guest's memory.
pub const FCTL_ERROR_OPERAND_ADDRESS: u16 = 6;
/// Descriptor error: the ring is being detached.
pub const FCTL_ERROR_DETACHING: u16 = 7;

/// Program interruption: protection exception.
pub const FCTL_INTERRUPTION_PROTECTION: u16 = 0x0004;
/// Program interruption: addressing exception.
pub const FCTL_INTERRUPTION_ADDRESSING: u16 = 0x0005;
/// Program interruption: specification exception.
pub const FCTL_INTERRUPTION_SPECIFICATION: u16 = 0x0006;
/// Program interruption: operand exception.
pub const FCTL_INTERRUPTION_OPERAND: u16 = 0x0015;

/// Fence reason: a slot carried a lap from nowhere.
pub const FCTL_FENCE_LAP: u32 = 1;
/// Fence reason: a head word was from nowhere.
pub const FCTL_FENCE_HEAD: u32 = 2;

/// A descriptor as it lies in a slot (SPEC, "Descriptor").
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name in C")]
pub struct fctl_descriptor {
    /// Makes the slot valid; stored last.
    pub lap: u32,
    /// FCTL_OPERATION_*.
    pub operation: u8,
    /// FCTL_FLAG_*.
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// Subsystem-identification word.
    pub subsystem: u32,
    /// Zero.
    pub order: u32,
    /// Comes back in each completion.
    pub tag: u64,
    /// Time of posting on the ring's clock; 0 if not known.
    pub posted: u64,
    /// An ORB as in storage, or the operand's address in eight little-endian bytes.
    pub operand: [u8; 32],
}

/// A completion as it lies in a slot (SPEC, "Completion").
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name in C")]
pub struct fctl_completion {
    /// Makes the slot valid; stored last.
    pub lap: u32,
    /// FCTL_KIND_*.
    pub kind: u8,
    /// Condition code.
    pub cc: u8,
    /// FCTL_DISPOSITION_*.
    pub disposition: u8,
    /// FCTL_COMPLETION_*.
    pub flags: u8,
    /// Subsystem-identification word.
    pub subsystem: u32,
    /// Interruption parameter.
    pub intparm: u32,
    /// The descriptor's tag.
    pub tag: u64,
    /// Subchannel-status word as in storage.
    pub scsw: [u8; 12],
    /// FCTL_INTERRUPTION_* or FCTL_ERROR_*, as the disposition says.
    pub code: u16,
    /// Not looked at.
    pub reserved: u16,
    /// When the descriptor was taken, in nanoseconds.
    pub taken: u64,
    /// Nanoseconds from taken to issued.
    pub issued_after: u32,
    /// Nanoseconds from taken to the device's end.
    pub completed_after: u32,
    /// Nanoseconds from taken to the store of this completion.
    pub delivered_after: u32,
    /// The dispatcher's turn, modulo 2^32.
    pub turn: u32,
}

/// An extension as it lies beside a completion: which blocks it holds, the completion's flags say (SPEC, "Extension").
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name in C")]
pub struct fctl_irb_extension {
    /// Extended-status word as in storage.
    pub esw: [u8; 20],
    /// Extended-control word as in storage.
    pub ecw: [u8; 32],
    /// Not looked at.
    pub reserved: [u8; 12],
}

/// A SCHIB beside a completion.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name in C")]
pub struct fctl_schib_extension {
    /// Subchannel-information block as in storage.
    pub schib: [u8; 52],
    /// Not looked at.
    pub reserved: [u8; 12],
}

/// The extension of a completion.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name in C")]
pub union fctl_extension {
    /// With FCTL_COMPLETION_IRB_EXTENSION.
    pub irb: fctl_irb_extension,
    /// With FCTL_COMPLETION_SCHIB_EXTENSION.
    pub schib: fctl_schib_extension,
}

/// Every literal and every offset above, compared at compile time with what the crate uses.
mod proof {
    use super::*;
    use crate::arch::{Ecw, Esw, Orb, OrbExtension, Schib, Scsw};
    use crate::header::{self, word};
    use crate::{
        interruption_code, ClockId, CompletionFlags, CompletionKind, DescriptorError, DescriptorFlags, Disposition, Operation,
    };
    use core::mem::{align_of, offset_of, size_of};

    macro_rules! same {
        ($($seen:expr, $used:expr;)+) => {
            const _: () = { $(assert!($seen as u64 == $used as u64, concat!(stringify!($seen), " has drifted"));)+ };
        };
    }

    same! {
        FCTL_MAGIC, header::MAGIC;
        FCTL_MAJOR, header::MAJOR;
        FCTL_MINOR, header::MINOR;
        FCTL_KNOWN_FEATURES, header::KNOWN_FEATURES;
        FCTL_HEADER_BYTES, header::HEADER_BYTES;
        FCTL_ALIGNMENT, header::ALIGNMENT;
        FCTL_ENTRY_BYTES, header::ENTRY_BYTES;
        FCTL_EXTENSION_BYTES, header::EXTENSION_BYTES;
        FCTL_LEAST_ENTRIES, header::LEAST_ENTRIES;
        FCTL_MOST_ENTRIES, header::MOST_ENTRIES;
        FCTL_MOST_COMPLETION_ENTRIES, 8 * header::MOST_ENTRIES;
        FCTL_LEAST_RESERVE, header::LEAST_RESERVE;
        FCTL_WORD_SQ_HEAD, word::SQ_HEAD;
        FCTL_WORD_CQ_TAIL, word::CQ_TAIL;
        FCTL_WORD_SQ_SLEEP, word::SQ_SLEEP;
        FCTL_WORD_FENCE, word::FENCE;
        FCTL_WORD_CQ_HEAD, word::CQ_HEAD;
        FCTL_WORD_CQ_SLEEP, word::CQ_SLEEP;
        FCTL_WORD_SQ_TICKET, word::SQ_TICKET;
        FCTL_WORD_CHARGED, word::CHARGED;
        FCTL_WORD_RELEASED, word::RELEASED;
        FCTL_CLOCK_NONE, ClockId::None;
        FCTL_CLOCK_MONOTONIC, ClockId::Monotonic;
    }

    same! {
        FCTL_OPERATION_START, Operation::Start;
        FCTL_OPERATION_HALT, Operation::Halt;
        FCTL_OPERATION_CLEAR, Operation::Clear;
        FCTL_OPERATION_CANCEL, Operation::Cancel;
        FCTL_OPERATION_RESUME, Operation::Resume;
        FCTL_OPERATION_MODIFY, Operation::Modify;
        FCTL_OPERATION_STORE, Operation::Store;
        FCTL_OPERATION_TEST, Operation::Test;
        Operation::ALL.len(), FCTL_OPERATION_TEST;
        FCTL_FLAG_ACCEPTED, DescriptorFlags::ACCEPTED.bits();
        FCTL_FLAG_NO_NOTIFICATION, DescriptorFlags::NO_NOTIFICATION.bits();
        FCTL_FLAG_OPERAND_BY_ADDRESS, DescriptorFlags::OPERAND_BY_ADDRESS.bits();
        DescriptorFlags::all().bits(), FCTL_FLAG_ACCEPTED | FCTL_FLAG_NO_NOTIFICATION | FCTL_FLAG_OPERAND_BY_ADDRESS;
        FCTL_ERROR_UNKNOWN_OPERATION, DescriptorError::UnknownOperation;
        FCTL_ERROR_RESERVED_FLAGS, DescriptorError::ReservedFlags;
        FCTL_ERROR_RESERVED_FIELD, DescriptorError::ReservedField;
        FCTL_ERROR_WRONG_RING, DescriptorError::WrongRing;
        FCTL_ERROR_OPERAND_PLACE, DescriptorError::OperandPlace;
    }

    same! {
        FCTL_KIND_FINAL, CompletionKind::Final;
        FCTL_KIND_ACCEPTED, CompletionKind::Accepted;
        FCTL_KIND_INTERMEDIATE, CompletionKind::Intermediate;
        FCTL_KIND_SECONDARY, CompletionKind::Secondary;
        FCTL_KIND_UNSOLICITED, CompletionKind::Unsolicited;
        FCTL_KIND_INTERRUPTION_PENDING, CompletionKind::InterruptionPending;
        FCTL_DISPOSITION_EXECUTED, Disposition::Executed;
        FCTL_DISPOSITION_ABSORBED_BY_CANCEL, Disposition::AbsorbedByCancel;
        FCTL_DISPOSITION_ABSORBED_BY_HALT, Disposition::AbsorbedByHalt;
        FCTL_DISPOSITION_ABSORBED_BY_CLEAR, Disposition::AbsorbedByClear;
        FCTL_DISPOSITION_PROGRAM_INTERRUPTION, Disposition::ProgramInterruption;
        FCTL_DISPOSITION_DESCRIPTOR_ERROR, Disposition::DescriptorError;
        FCTL_COMPLETION_IRB_EXTENSION, CompletionFlags::IRB_EXTENSION.bits();
        FCTL_COMPLETION_SCHIB_EXTENSION, CompletionFlags::SCHIB_EXTENSION.bits();
        FCTL_COMPLETION_STATUS, CompletionFlags::STATUS.bits();
        FCTL_COMPLETION_WAS_ISSUED, CompletionFlags::WAS_ISSUED.bits();
        FCTL_INTERRUPTION_PROTECTION, interruption_code::PROTECTION;
        FCTL_INTERRUPTION_ADDRESSING, interruption_code::ADDRESSING;
        FCTL_INTERRUPTION_SPECIFICATION, interruption_code::SPECIFICATION;
        FCTL_INTERRUPTION_OPERAND, interruption_code::OPERAND;
        FCTL_FENCE_LAP, crate::Violation::Lap { position: 0, found: 0, expected: 0 }.fence_reason();
        FCTL_FENCE_HEAD, crate::Violation::Head { found: 0, least: 0, most: 0 }.fence_reason();
    }

    same! {
        size_of::<fctl_descriptor>(), FCTL_ENTRY_BYTES;
        align_of::<fctl_descriptor>(), 8;
        offset_of!(fctl_descriptor, lap), 0;
        offset_of!(fctl_descriptor, operation), 4;
        offset_of!(fctl_descriptor, flags), 5;
        offset_of!(fctl_descriptor, reserved), 6;
        offset_of!(fctl_descriptor, subsystem), 8;
        offset_of!(fctl_descriptor, order), 12;
        offset_of!(fctl_descriptor, tag), 16;
        offset_of!(fctl_descriptor, posted), 24;
        offset_of!(fctl_descriptor, operand), 32;
        Orb::SIZE + OrbExtension::SIZE, 32;
        size_of::<fctl_completion>(), FCTL_ENTRY_BYTES;
        align_of::<fctl_completion>(), 8;
        offset_of!(fctl_completion, lap), 0;
        offset_of!(fctl_completion, kind), 4;
        offset_of!(fctl_completion, cc), 5;
        offset_of!(fctl_completion, disposition), 6;
        offset_of!(fctl_completion, flags), 7;
        offset_of!(fctl_completion, subsystem), 8;
        offset_of!(fctl_completion, intparm), 12;
        offset_of!(fctl_completion, tag), 16;
        offset_of!(fctl_completion, scsw), 24;
        offset_of!(fctl_completion, code), 24 + Scsw::SIZE;
        offset_of!(fctl_completion, reserved), 38;
        offset_of!(fctl_completion, taken), 40;
        offset_of!(fctl_completion, issued_after), 48;
        offset_of!(fctl_completion, completed_after), 52;
        offset_of!(fctl_completion, delivered_after), 56;
        offset_of!(fctl_completion, turn), 60;
        size_of::<fctl_extension>(), FCTL_EXTENSION_BYTES;
        size_of::<fctl_irb_extension>(), FCTL_EXTENSION_BYTES;
        offset_of!(fctl_irb_extension, ecw), Esw::SIZE;
        offset_of!(fctl_irb_extension, reserved), Esw::SIZE + size_of::<Ecw>();
        size_of::<fctl_schib_extension>(), FCTL_EXTENSION_BYTES;
        offset_of!(fctl_schib_extension, reserved), Schib::SIZE;
    }
}
