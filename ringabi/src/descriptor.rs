// SPDX-License-Identifier: MIT OR Apache-2.0
//! The descriptor: one channel-I/O instruction, 64 bytes (SPEC, "Descriptor").

use crate::arch::{Orb, SubsystemId};
use bitflags::bitflags;
use core::fmt;

/// A channel-I/O instruction (Principles of Operation, chapter 14), by its code in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// START SUBCHANNEL (SSCH).
    Start = 1,
    /// HALT SUBCHANNEL (HSCH).
    Halt = 2,
    /// CLEAR SUBCHANNEL (CSCH).
    Clear = 3,
    /// CANCEL SUBCHANNEL (XSCH).
    Cancel = 4,
    /// RESUME SUBCHANNEL (RSCH).
    Resume = 5,
    /// MODIFY SUBCHANNEL (MSCH).
    Modify = 6,
    /// STORE SUBCHANNEL (STSCH).
    Store = 7,
    /// TEST SUBCHANNEL (TSCH).
    Test = 8,
}

impl Operation {
    /// All operations, in the order of their codes.
    pub const ALL: [Self; 8] =
        [Self::Start, Self::Halt, Self::Clear, Self::Cancel, Self::Resume, Self::Modify, Self::Store, Self::Test];

    /// The operation with this code, if there is one.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Start,
            2 => Self::Halt,
            3 => Self::Clear,
            4 => Self::Cancel,
            5 => Self::Resume,
            6 => Self::Modify,
            7 => Self::Store,
            8 => Self::Test,
            _ => return None,
        })
    }

    /// The instruction's mnemonic.
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::Start => "SSCH",
            Self::Halt => "HSCH",
            Self::Clear => "CSCH",
            Self::Cancel => "XSCH",
            Self::Resume => "RSCH",
            Self::Modify => "MSCH",
            Self::Store => "STSCH",
            Self::Test => "TSCH",
        }
    }

    /// True for the instructions that may use the reserve of the completion ring: they stop work.
    #[inline]
    pub const fn may_use_reserve(self) -> bool {
        matches!(self, Self::Halt | Self::Clear | Self::Cancel)
    }
}

bitflags! {
    /// What a poster wants of a descriptor, besides the instruction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct DescriptorFlags: u8 {
        /// Also post an *accepted* completion with the condition code as soon as the instruction is decided.
        const ACCEPTED = 0x01;
        /// The completions of this descriptor ask for no notification.
        const NO_NOTIFICATION = 0x02;
        /// The operand is not in the descriptor: its first eight bytes are the guest address of it.
        const OPERAND_BY_ADDRESS = 0x04;
    }
}

/// Why a descriptor was not taken as an instruction. The code stands in its final completion (SPEC, "Descriptor errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum DescriptorError {
    /// No operation has this code.
    UnknownOperation = 1,
    /// A reserved flag is set.
    ReservedFlags = 2,
    /// A reserved field (bytes 6 and 7, or the order word) is not zero.
    ReservedField = 3,
    /// The subchannel belongs to another ring.
    WrongRing = 4,
    /// The instruction takes its operand only in the descriptor, or only by address.
    OperandPlace = 5,
}

impl DescriptorError {
    /// The error with this code, if there is one.
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::UnknownOperation,
            2 => Self::ReservedFlags,
            3 => Self::ReservedField,
            4 => Self::WrongRing,
            5 => Self::OperandPlace,
            _ => return None,
        })
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownOperation => "unknown operation: 1 (SSCH) to 8 (TSCH) are accepted",
            Self::ReservedFlags => "reserved flags are set: 0x01, 0x02 and 0x04 are accepted",
            Self::ReservedField => "a reserved field is not zero: bytes 6 and 7 and the order word must be",
            Self::WrongRing => "the subchannel has another home ring",
            Self::OperandPlace => "this instruction does not take its operand there",
        })
    }
}

impl core::error::Error for DescriptorError {}

/// A descriptor as it stands in a slot. Nothing in it can be trusted: [`check`](Self::check) makes the operation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Code of the operation.
    pub operation: u8,
    /// [`DescriptorFlags`].
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// Subsystem-identification word.
    pub subsystem: u32,
    /// Zero for now.
    pub order: u32,
    /// Opaque to the dispatcher: comes back in each completion of this descriptor.
    pub tag: u64,
    /// When the guest posted it, on the ring's clock; 0 if not known. Only ever used for statistics.
    pub posted: u64,
    /// The operand, or its guest address (little-endian) in the first eight bytes.
    pub operand: [u8; 32],
}

/// A descriptor in words, as it stands in a slot; the low half of the first word is the lap.
pub type DescriptorWords = [u64; 8];

impl Descriptor {
    // Inlined always, here and in what posts: built in memory by narrow stores and read back by wide loads, a descriptor makes the guest wait for
    // itself (measured: ×1.05 across two CPUs, ×1.36 in one thread). The compiler alone does not always see that.

    /// An instruction without operand.
    #[inline(always)]
    pub const fn new(operation: Operation, subsystem: SubsystemId, tag: u64) -> Self {
        Self {
            operation: operation as u8,
            flags: 0,
            reserved: 0,
            subsystem: subsystem.word(),
            order: 0,
            tag,
            posted: 0,
            operand: [0; 32],
        }
    }

    /// START SUBCHANNEL with this ORB.
    #[inline(always)]
    pub fn start(subsystem: SubsystemId, orb: &Orb, tag: u64) -> Self {
        let mut descriptor = Self::new(Operation::Start, subsystem, tag);
        descriptor.operand[..Orb::SIZE].copy_from_slice(&orb.to_bytes());
        descriptor
    }

    /// An instruction whose operand (an ORB, or a SCHIB for MSCH) is at a guest address.
    pub fn by_address(operation: Operation, subsystem: SubsystemId, address: u64, tag: u64) -> Self {
        let mut descriptor = Self::new(operation, subsystem, tag).with_flags(DescriptorFlags::OPERAND_BY_ADDRESS);
        descriptor.operand[..8].copy_from_slice(&address.to_le_bytes());
        descriptor
    }

    /// The same with these flags added.
    #[must_use]
    pub const fn with_flags(mut self, flags: DescriptorFlags) -> Self {
        self.flags |= flags.bits();
        self
    }

    /// The same with a posted time.
    #[must_use]
    #[inline(always)]
    pub const fn posted_at(mut self, nanoseconds: u64) -> Self {
        self.posted = nanoseconds;
        self
    }

    /// The operand's guest address, for [`DescriptorFlags::OPERAND_BY_ADDRESS`].
    pub fn operand_address(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.operand;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Decides whether this is an instruction at all.
    ///
    /// # Errors
    /// The first rule it breaks.
    #[inline]
    pub const fn check(&self) -> Result<(Operation, DescriptorFlags), DescriptorError> {
        let Some(operation) = Operation::from_code(self.operation) else {
            return Err(DescriptorError::UnknownOperation);
        };
        let Some(flags) = DescriptorFlags::from_bits(self.flags) else {
            return Err(DescriptorError::ReservedFlags);
        };
        if self.reserved != 0 || self.order != 0 {
            return Err(DescriptorError::ReservedField);
        }
        Ok((operation, flags))
    }

    /// As words of a slot, with lap zero.
    #[inline]
    pub fn to_words(&self) -> DescriptorWords {
        let [a, b, c, d] = words_of(&self.operand);
        [
            u64::from(self.operation) << 32 | u64::from(self.flags) << 40 | u64::from(self.reserved) << 48,
            u64::from(self.subsystem) | u64::from(self.order) << 32,
            self.tag,
            self.posted,
            a,
            b,
            c,
            d,
        ]
    }

    /// Of the words of a slot: whether it asks for an *accepted* completion beside its final one.
    #[inline(always)]
    pub const fn asks_accepted(words: &DescriptorWords) -> bool {
        words[0] >> 40 & DescriptorFlags::ACCEPTED.bits() as u64 != 0
    }

    /// Of the words of a slot: the subsystem-identification word.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    pub const fn subsystem_word(words: &DescriptorWords) -> u32 {
        words[1] as u32
    }

    /// From the words of a slot.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "each cast takes the field that the shift has put lowest")]
    pub fn from_words(words: &DescriptorWords) -> Self {
        let &[first, second, tag, posted, a, b, c, d] = words;
        Self {
            operation: (first >> 32) as u8,
            flags: (first >> 40) as u8,
            reserved: (first >> 48) as u16,
            subsystem: second as u32,
            order: (second >> 32) as u32,
            tag,
            posted,
            operand: bytes_of([a, b, c, d]),
        }
    }
}

/// A start that carries its ORB, and has nothing about it that [`Descriptor::check`], [`SubsystemId::check`] or [`Orb::check`] would refuse: what nearly all
/// descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainStart {
    /// Whether *accepted* is wanted, and no notification.
    pub flags: DescriptorFlags,
    /// The subchannel.
    pub subsystem: SubsystemId,
    /// The descriptor's tag.
    pub tag: u64,
    /// When the guest says that it posted it.
    pub posted: u64,
    /// The operand.
    pub orb: Orb,
}

impl PlainStart {
    /// Code, flags and reserved bytes, without the flags that a plain start may have.
    const HEAD: u32 = !((DescriptorFlags::ACCEPTED.bits() as u32 | DescriptorFlags::NO_NOTIFICATION.bits() as u32) << 8);

    /// What the first word of a plain start without *accepted* is, in the bits of the mask that follows.
    pub(crate) const FIRST: u64 = (Operation::Start as u64) << 32;
    pub(crate) const FIRST_MASK: u64 = (Self::HEAD as u64 | (DescriptorFlags::ACCEPTED.bits() as u64) << 8) << 32;

    /// The plain start in a slot, if that is what stands there. By words: taking the descriptor apart first and putting the tests to its fields took three
    /// times the instructions.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "each cast takes the field that the shift has put lowest")]
    pub const fn from_words(words: &DescriptorWords) -> Option<Self> {
        let &[first, second, tag, posted, orb, orb_end, ..] = words;
        let (head, order) = ((first >> 32) as u32, second >> 32);
        // The ORB keeps its big-endian bytes.
        let orb = Orb::from_words([(orb as u32).swap_bytes(), ((orb >> 32) as u32).swap_bytes(), (orb_end as u32).swap_bytes()]);
        let subsystem = SubsystemId::from_word(second as u32);
        if head & Self::HEAD != Operation::Start as u32 || order != 0 || subsystem.check().is_err() || orb.check().is_err() {
            return None;
        }
        Some(Self { flags: DescriptorFlags::from_bits_truncate((head >> 8) as u8), subsystem, tag, posted, orb })
    }
}

#[inline(always)]
fn words_of(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        *word = u64::from_le_bytes(eight);
    }
    words
}

#[inline(always)]
fn bytes_of(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
