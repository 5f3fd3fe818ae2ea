// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a subchannel says back: answers to descriptors, in the order they must appear.

use fctl_ringabi::arch::Scsw;
use fctl_ringabi::{CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, Operation};

/// A descriptor that was taken and waits for its final completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The guest's tag.
    pub tag: u64,
    /// When the guest posted it (0 = not known), on the ring's clock.
    pub posted: u64,
    /// When it was taken.
    pub taken: u64,
    /// What it asked for.
    pub flags: DescriptorFlags,
    /// Its operation.
    pub operation: Operation,
}

/// One completion to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What it tells.
    pub kind: CompletionKind,
    /// The descriptor it belongs to; for unsolicited and secondary status one that only carries the tag.
    pub owed: Owed,
    /// Condition code.
    pub cc: u8,
    /// How the descriptor ended.
    pub disposition: Disposition,
    /// What else it carries.
    pub flags: CompletionFlags,
    /// The status, if `flags` say so.
    pub scsw: Scsw,
    /// Interruption parameter.
    pub intparm: u32,
    /// Program-interruption code.
    pub code: u16,
    /// When the function was issued to the device; 0 if it never was.
    pub issued: u64,
    /// ESW and ECW, or the SCHIB.
    pub extension: Option<Extension>,
}

impl Answer {
    /// An answer with a condition code and nothing else.
    #[inline]
    pub(super) fn cc(kind: CompletionKind, owed: Owed, cc: u8, intparm: u32) -> Self {
        Self {
            kind,
            owed,
            cc,
            disposition: Disposition::Executed,
            flags: CompletionFlags::empty(),
            scsw: Scsw::from_words([0; 3]),
            intparm,
            code: 0,
            issued: 0,
            extension: None,
        }
    }
}

/// The answer that most descriptors get: a start ran, and its SCSW tells all. In values of its own, because an [`Answer`] is built in memory by narrow stores
/// and read back by wide loads.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The start.
    pub owed: Owed,
    /// Interruption parameter.
    pub intparm: u32,
    /// The status: the words of the SCSW.
    pub scsw: [u32; 3],
    /// When it was issued to the device.
    pub issued: u64,
}

impl From<End> for Answer {
    fn from(end: End) -> Self {
        Self {
            flags: CompletionFlags::STATUS,
            scsw: Scsw::from_words(end.scsw),
            issued: end.issued,
            ..Self::cc(CompletionKind::Final, end.owed, 0, end.intparm)
        }
    }
}

/// Where answers go. Room for every final (and every *accepted*) was set aside when the descriptor was taken.
pub trait Answers {
    /// Stores an answer.
    fn post(&mut self, answer: &Answer);

    /// Stores the end of a start that has nothing to tell beside its SCSW.
    #[inline(always)]
    fn post_end(&mut self, end: End) {
        self.post(&end.into());
    }

    /// True if there is room for one more completion that no descriptor has paid for: intermediate, secondary or
    /// unsolicited status. Without room that status stays pending in its subchannel.
    fn uncharged_room(&mut self) -> bool;
}
