// SPDX-License-Identifier: MIT OR Apache-2.0
//! The completion: what became of a descriptor, 64 bytes, and its extension (SPEC, "Completion").

use crate::arch::{Ecw, Esw, Schib, Scsw, SubsystemId};
use crate::descriptor::DescriptorError;
use bitflags::bitflags;

/// What a completion tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CompletionKind {
    /// The one final completion of a descriptor.
    Final = 1,
    /// The condition code, as soon as it is decided; a final follows.
    Accepted = 2,
    /// Intermediate status of a start that goes on (program-controlled or initial-status interruption, suspension).
    Intermediate = 3,
    /// Device end that came after the final with channel end.
    Secondary = 4,
    /// Status that no start asked for; the tag is zero.
    Unsolicited = 5,
    /// Held mode: an interruption is pending, TSCH will take the status.
    InterruptionPending = 6,
}

impl CompletionKind {
    /// The kind with this code, if there is one.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Final,
            2 => Self::Accepted,
            3 => Self::Intermediate,
            4 => Self::Secondary,
            5 => Self::Unsolicited,
            6 => Self::InterruptionPending,
            _ => return None,
        })
    }
}

/// How a descriptor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Disposition {
    /// It was executed as the condition code says.
    #[default]
    Executed = 0,
    /// Accepted, then overtaken by CANCEL SUBCHANNEL: before it was issued, or while its program was suspended.
    AbsorbedByCancel = 1,
    /// Accepted, then overtaken by HALT SUBCHANNEL; its pages are free.
    AbsorbedByHalt = 2,
    /// Accepted, then overtaken by CLEAR SUBCHANNEL; its pages are free.
    AbsorbedByClear = 3,
    /// The instruction would have ended with a program interruption: the code is in `code`.
    ProgramInterruption = 4,
    /// The descriptor is no instruction: the [`DescriptorError`] is in `code`.
    DescriptorError = 5,
}

impl Disposition {
    /// The disposition with this code, if there is one.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Executed,
            1 => Self::AbsorbedByCancel,
            2 => Self::AbsorbedByHalt,
            3 => Self::AbsorbedByClear,
            4 => Self::ProgramInterruption,
            5 => Self::DescriptorError,
            _ => return None,
        })
    }
}

bitflags! {
    /// What else a completion carries.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct CompletionFlags: u8 {
        /// The extension at the same index holds ESW and ECW.
        const IRB_EXTENSION = 0x01;
        /// The extension at the same index holds a SCHIB.
        const SCHIB_EXTENSION = 0x02;
        /// The SCSW is meaningful.
        const STATUS = 0x04;
        /// An absorbed start had been issued: it may have moved bytes before it was stopped.
        const WAS_ISSUED = 0x08;
    }
}

/// Program-interruption codes that a descriptor can get (Principles of Operation, chapter 6).
pub mod interruption_code {
    /// Protection exception.
    pub const PROTECTION: u16 = 0x0004;
    /// Addressing exception: the operand is not inside the guest's memory.
    pub const ADDRESSING: u16 = 0x0005;
    /// Specification exception: the operand is not aligned.
    pub const SPECIFICATION: u16 = 0x0006;
    /// Operand exception: a field of the operand breaks a rule.
    pub const OPERAND: u16 = 0x0015;
}

/// When a descriptor passed the stages, on the ring's clock. Each difference saturates at about 4.3 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StageTimes {
    /// When the dispatcher took it, in nanoseconds.
    pub taken: u64,
    /// Nanoseconds from taken until the function was issued to the device; zero if it never was.
    pub issued_after: u32,
    /// Nanoseconds from taken until the device ended it.
    pub completed_after: u32,
    /// Nanoseconds from taken until this completion was stored.
    pub delivered_after: u32,
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// [`CompletionKind`].
    pub kind: u8,
    /// Condition code, 0 to 3.
    pub cc: u8,
    /// [`Disposition`].
    pub disposition: u8,
    /// What else is carried.
    pub flags: CompletionFlags,
    /// Subsystem-identification word of the descriptor.
    pub subsystem: u32,
    /// Interruption parameter of the subchannel when the status was stored.
    pub intparm: u32,
    /// The descriptor's tag.
    pub tag: u64,
    /// Subchannel-status word, if [`CompletionFlags::STATUS`] is set.
    pub scsw: Scsw,
    /// Program-interruption code, or [`DescriptorError`].
    pub code: u16,
    /// The dispatcher's turn that stored this completion, counted modulo 2^32.
    pub turn: u32,
    /// When the stages were passed.
    pub times: StageTimes,
}

/// A completion in words, as it stands in a slot; the low half of the first word is the lap.
pub type CompletionWords = [u64; 8];

/// What does not fit into a completion: taken from the extension array only when a flag says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Extended-status word and extended-control word.
    Irb {
        /// Extended-status word.
        esw: Esw,
        /// Extended-control word: concurrent sense.
        ecw: Ecw,
    },
    /// Subchannel-information block.
    Schib(Schib),
}

/// An extension in words.
pub type ExtensionWords = [u64; 8];

impl Extension {
    /// The flag that announces this extension.
    pub const fn flag(&self) -> CompletionFlags {
        match self {
            Self::Irb { .. } => CompletionFlags::IRB_EXTENSION,
            Self::Schib(_) => CompletionFlags::SCHIB_EXTENSION,
        }
    }

    /// As words of the extension array.
    pub fn to_words(&self) -> ExtensionWords {
        let mut bytes = [0; 64];
        match self {
            Self::Irb { esw, ecw } => {
                bytes[..Esw::SIZE].copy_from_slice(&esw.to_bytes());
                bytes[Esw::SIZE..Esw::SIZE + 32].copy_from_slice(&ecw.0);
            }
            Self::Schib(schib) => bytes[..Schib::SIZE].copy_from_slice(&schib.to_bytes()),
        }
        let mut words = [0; 8];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            *word = u64::from_le_bytes(eight);
        }
        words
    }

    /// The extension that `flags` announce, from the words of the extension array.
    pub fn from_words(flags: CompletionFlags, words: &ExtensionWords) -> Option<Self> {
        let mut bytes = [0; 64];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        if flags.contains(CompletionFlags::SCHIB_EXTENSION) {
            return bytes.first_chunk().map(|block| Self::Schib(Schib::from_bytes(block)));
        }
        if flags.contains(CompletionFlags::IRB_EXTENSION) {
            let esw = Esw::from_bytes(bytes.first_chunk()?);
            let ecw = Ecw(*bytes[Esw::SIZE..].first_chunk()?);
            return Some(Self::Irb { esw, ecw });
        }
        None
    }
}

impl Completion {
    /// A final completion with a condition code.
    #[inline]
    pub fn new(kind: CompletionKind, subsystem: u32, tag: u64, cc: u8) -> Self {
        Self {
            kind: kind as u8,
            cc,
            disposition: Disposition::Executed as u8,
            flags: CompletionFlags::empty(),
            subsystem,
            intparm: 0,
            tag,
            scsw: Scsw::default(),
            code: 0,
            turn: 0,
            times: StageTimes::default(),
        }
    }

    /// The final completion of a descriptor that is no instruction.
    pub fn descriptor_error(subsystem: u32, tag: u64, error: DescriptorError) -> Self {
        let mut completion = Self::new(CompletionKind::Final, subsystem, tag, 0);
        completion.disposition = Disposition::DescriptorError as u8;
        completion.code = error as u16;
        completion
    }

    /// The final completion of an instruction that would have ended with a program interruption.
    pub fn program_interruption(subsystem: u32, tag: u64, code: u16) -> Self {
        let mut completion = Self::new(CompletionKind::Final, subsystem, tag, 0);
        completion.disposition = Disposition::ProgramInterruption as u8;
        completion.code = code;
        completion
    }

    /// What this completion tells; nothing if the code is not known.
    #[inline]
    pub const fn kind(&self) -> Option<CompletionKind> {
        CompletionKind::from_code(self.kind)
    }

    /// How the descriptor ended; nothing if the code is not known.
    #[inline]
    pub const fn disposition(&self) -> Option<Disposition> {
        Disposition::from_code(self.disposition)
    }

    /// The subchannel.
    #[inline]
    pub const fn subsystem(&self) -> SubsystemId {
        SubsystemId::from_word(self.subsystem)
    }

    /// As words of a slot, with lap zero.
    #[inline(always)]
    pub fn to_words(&self) -> CompletionWords {
        // The SCSW keeps its big-endian bytes: word for word, not byte by byte through memory.
        let [control, ccw_address, status] = self.scsw.to_words().map(|word| u64::from(word.swap_bytes()));
        [
            u64::from(self.kind) << 32
                | u64::from(self.cc) << 40
                | u64::from(self.disposition) << 48
                | u64::from(self.flags.bits()) << 56,
            u64::from(self.subsystem) | u64::from(self.intparm) << 32,
            self.tag,
            control | ccw_address << 32,
            status | u64::from(self.code) << 32,
            self.times.taken,
            u64::from(self.times.issued_after) | u64::from(self.times.completed_after) << 32,
            u64::from(self.times.delivered_after) | u64::from(self.turn) << 32,
        ]
    }

    /// From the words of a slot.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "each cast takes the field that the shift has put lowest")]
    pub fn from_words(words: &CompletionWords) -> Self {
        let &[first, second, tag, status_low, status_high, taken, stages, last] = words;
        let mut scsw = [0; Scsw::SIZE];
        scsw[..8].copy_from_slice(&status_low.to_le_bytes());
        scsw[8..].copy_from_slice(&(status_high as u32).to_le_bytes());
        Self {
            kind: (first >> 32) as u8,
            cc: (first >> 40) as u8,
            disposition: (first >> 48) as u8,
            flags: CompletionFlags::from_bits_retain((first >> 56) as u8),
            subsystem: second as u32,
            intparm: (second >> 32) as u32,
            tag,
            scsw: Scsw::from_bytes(&scsw),
            code: (status_high >> 32) as u16,
            turn: (last >> 32) as u32,
            times: StageTimes {
                taken,
                issued_after: stages as u32,
                completed_after: (stages >> 32) as u32,
                delivered_after: last as u32,
            },
        }
    }
}
