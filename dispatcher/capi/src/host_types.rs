// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors and completions in host byte order, as `fctl_guest.h` has them. C gets these structs from `fctl_ring.h`.

use fctl_ringabi::{Completion, Descriptor, Extension};

/// `struct fctl_descriptor`.
#[derive(Clone, Copy)]
#[repr(C)]
#[allow(missing_docs, reason = "documented in fctl_ring.h")]
pub struct fctl_descriptor {
    pub lap: u32,
    pub operation: u8,
    pub flags: u8,
    pub reserved: u16,
    pub subsystem: u32,
    pub order: u32,
    pub tag: u64,
    pub posted: u64,
    pub operand: [u8; 32],
}

/// `struct fctl_completion`.
#[derive(Clone, Copy)]
#[repr(C)]
#[allow(missing_docs, reason = "documented in fctl_ring.h")]
pub struct fctl_completion {
    pub lap: u32,
    pub kind: u8,
    pub cc: u8,
    pub disposition: u8,
    pub flags: u8,
    pub subsystem: u32,
    pub intparm: u32,
    pub tag: u64,
    pub scsw: [u8; 12],
    pub code: u16,
    pub reserved: u16,
    pub taken: u64,
    pub issued_after: u32,
    pub completed_after: u32,
    pub delivered_after: u32,
    pub turn: u32,
}

/// `union fctl_extension`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fctl_extension {
    /// The architected blocks, as in storage.
    pub bytes: [u8; 64],
}

const _: () = {
    assert!(size_of::<fctl_descriptor>() == 64 && size_of::<fctl_completion>() == 64 && size_of::<fctl_extension>() == 64);
    assert!(std::mem::offset_of!(fctl_descriptor, operand) == 32);
    assert!(std::mem::offset_of!(fctl_completion, code) == 36 && std::mem::offset_of!(fctl_completion, turn) == 60);
};

impl fctl_descriptor {
    pub(crate) fn to_descriptor(self) -> Descriptor {
        let Self { lap: _, operation, flags, reserved, subsystem, order, tag, posted, operand } = self;
        Descriptor { operation, flags, reserved, subsystem, order, tag, posted, operand }
    }
}

impl fctl_completion {
    /// All zero: there is none (no kind is 0).
    pub(crate) const NONE: Self = Self {
        lap: 0,
        kind: 0,
        cc: 0,
        disposition: 0,
        flags: 0,
        subsystem: 0,
        intparm: 0,
        tag: 0,
        scsw: [0; 12],
        code: 0,
        reserved: 0,
        taken: 0,
        issued_after: 0,
        completed_after: 0,
        delivered_after: 0,
        turn: 0,
    };

    pub(crate) fn of(completion: &Completion) -> Self {
        Self {
            kind: completion.kind,
            cc: completion.cc,
            disposition: completion.disposition,
            flags: completion.flags.bits(),
            subsystem: completion.subsystem,
            intparm: completion.intparm,
            tag: completion.tag,
            scsw: completion.scsw.to_bytes(),
            code: completion.code,
            taken: completion.times.taken,
            issued_after: completion.times.issued_after,
            completed_after: completion.times.completed_after,
            delivered_after: completion.times.delivered_after,
            turn: completion.turn,
            ..Self::NONE
        }
    }
}

impl fctl_extension {
    pub(crate) fn of(extension: Option<&Extension>) -> Self {
        let mut bytes = [0; 64];
        if let Some(extension) = extension {
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(extension.to_words()) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
        }
        Self { bytes }
    }
}
