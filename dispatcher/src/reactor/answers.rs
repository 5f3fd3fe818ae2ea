// SPDX-License-Identifier: MIT OR Apache-2.0
//! How what a subchannel says gets into its ring, and into the books.

use super::books::Books;
use super::ring::Ring;
use crate::subchannel::{Answer, Answers, End};
use fctl_ringabi::arch::Scsw;
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, DescriptorFlags, Disposition, Extension, StageTimes};

/// Stores the answers of one subchannel, and writes them down.
pub(super) struct RingAnswers<'a> {
    pub(super) ring: &'a mut Ring,
    pub(super) books: &'a mut Books,
    /// Subsystem-identification word.
    pub(super) subsystem: u32,
}

#[inline]
pub(super) const fn notifies(flags: DescriptorFlags) -> bool {
    !flags.contains(DescriptorFlags::NO_NOTIFICATION)
}

impl RingAnswers<'_> {
    /// Stages a completion; `notifies` says whether it wants its guest to be notified.
    #[inline(always)]
    fn stage(&mut self, completion: Completion, extension: Option<&Extension>, notifies: bool, is_final: bool) {
        if !self.ring.stores() {
            self.books.counters.unstored += u64::from(is_final);
            return;
        }
        self.ring.notify_wanted |= notifies;
        if self.ring.port.stage(completion, extension).is_err() {
            // Room was set aside when the descriptor was taken, so only a guest that moved its head back can bring us here.
            self.books.counters.unstored += u64::from(is_final);
        }
    }
}

/// The final of a start that ran and has nothing to tell beside its SCSW.
#[inline(always)]
pub(super) const fn final_of(subsystem: u32, tag: u64, intparm: u32, scsw: [u32; 3], turn: u32, times: StageTimes) -> Completion {
    Completion {
        kind: CompletionKind::Final as u8,
        cc: 0,
        disposition: Disposition::Executed as u8,
        flags: CompletionFlags::STATUS,
        subsystem,
        intparm,
        tag,
        scsw: Scsw::from_words(scsw),
        code: 0,
        turn,
        times,
    }
}

impl Answers for RingAnswers<'_> {
    fn post(&mut self, answer: &Answer) {
        let is_final = answer.kind == CompletionKind::Final;
        if is_final {
            self.ring.owed -= 1;
            self.books.final_completion(answer, self.ring.has_clock);
        } else {
            self.ring.owed -= u64::from(answer.kind == CompletionKind::Accepted);
            self.books.counters.others += 1;
        }
        let completion = Completion {
            kind: answer.kind as u8,
            cc: answer.cc,
            disposition: answer.disposition as u8,
            flags: answer.flags,
            subsystem: self.subsystem,
            intparm: answer.intparm,
            tag: answer.owed.tag,
            scsw: answer.scsw,
            code: answer.code,
            turn: self.books.turn(),
            times: self.books.times(answer.owed.taken, answer.issued),
        };
        let stores = self.ring.stores();
        let notifies = match &mut self.ring.host {
            Some(host) => stores && host.staged(answer),
            None => notifies(answer.owed.flags),
        };
        self.stage(completion, answer.extension.as_ref(), notifies, is_final);
    }

    #[inline(always)]
    fn post_end(&mut self, end: End) {
        if self.ring.host.is_some() {
            return self.post(&end.into());
        }
        self.ring.owed -= 1;
        let times = self.books.end_of_start(&end.owed, end.issued, self.ring.has_clock);
        let completion = final_of(self.subsystem, end.owed.tag, end.intparm, end.scsw, self.books.turn(), times);
        self.stage(completion, None, notifies(end.owed.flags), true);
    }

    #[inline]
    fn uncharged_room(&mut self) -> bool {
        let want = self.ring.owed + 1;
        self.ring.port.room(want).is_ok_and(|room| room >= want)
    }
}
