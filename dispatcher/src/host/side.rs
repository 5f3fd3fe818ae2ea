// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reactor's side of a host ring.

use super::meeting::Meeting;
use crate::subchannel::Answer;
use fctl_ringabi::header::word;
use fctl_ringabi::{CompletionKind, DescriptorFlags, Disposition, Operation, WordMemory};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// True for a final whose descriptor ended when it was decided: a poster that waits for *accepted* takes it along.
pub(super) fn ends_at_acceptance(operation: Operation, cc: u8, disposition: u8) -> bool {
    let function = matches!(operation, Operation::Start | Operation::Halt | Operation::Clear);
    let refused = disposition == Disposition::ProgramInterruption as u8 || disposition == Disposition::DescriptorError as u8;
    !function || cc != 0 || refused
}

/// What the reactor keeps for a host ring. Dropping it tells the poster that nobody serves the ring.
#[derive(Debug)]
pub(crate) struct HostSide {
    meeting: Arc<Meeting>,
    notification: EventFd,
    /// Completions staged.
    staged: u64,
    /// What `staged` was when the last one was staged that somebody else than a waiting poster takes.
    to_tell: u64,
    /// *Accepted* completions are staged.
    accepted: bool,
}

impl HostSide {
    pub(super) fn new(meeting: Arc<Meeting>, notification: EventFd) -> Self {
        Self { meeting, notification, staged: 0, to_tell: 0, accepted: false }
    }

    /// An answer was staged. True if it asks for a notification.
    pub(crate) fn staged(&mut self, answer: &Answer) -> bool {
        self.staged += 1;
        let owed = &answer.owed;
        let awaited = match answer.kind {
            CompletionKind::Accepted => true,
            CompletionKind::Final if owed.flags.contains(DescriptorFlags::ACCEPTED) => {
                ends_at_acceptance(owed.operation, answer.cc, answer.disposition as u8)
            }
            _ => false,
        };
        self.accepted |= awaited;
        let tell = !awaited && !owed.flags.contains(DescriptorFlags::NO_NOTIFICATION);
        if tell {
            self.to_tell = self.staged;
        }
        tell
    }

    /// A poster waits for what is staged.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.accepted
    }

    /// What was staged is visible.
    pub(crate) fn published(&mut self) {
        if core::mem::take(&mut self.accepted) {
            self.meeting.wake_poster();
        }
    }

    /// True if the notification that was wished for must be sent now: something is there that nobody has taken.
    pub(crate) fn claim(&self, ring: &impl WordMemory) -> bool {
        // Relaxed: only the number counts, nothing in the slots is touched. That it is not older than the wish, the wish sees to.
        self.meeting.claim_published(|| ring.load(word::CQ_HEAD, Ordering::Relaxed) < self.to_tell)
    }

    /// The ring was fenced or goes: nothing will be accepted any more. Who waits for a notification alone learns it by one.
    pub(crate) fn leave(&self) {
        self.meeting.leave();
        if self.meeting.claim(|| true) {
            // Not by the engine, which may be going too. Blocks only if the embedder has filled its own eventfd; fails only if it is full, and then it is
            // readable.
            let _ = self.notification.write(1);
        }
    }
}

impl Drop for HostSide {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    #[test]
    fn who_leaves_notifies_once_who_has_asked_for_it_and_nobody_else() {
        let notification = EventFd::new(EFD_NONBLOCK).unwrap();
        for (asked, expected) in [(false, None), (true, Some(1))] {
            let meeting = Arc::new(Meeting::default());
            let side = HostSide::new(Arc::clone(&meeting), notification.try_clone().unwrap());
            if asked {
                meeting.wish();
            }
            // A fence first, then the ring is taken away.
            side.leave();
            drop(side);
            assert_eq!(notification.read().ok(), expected);
        }
    }
}
