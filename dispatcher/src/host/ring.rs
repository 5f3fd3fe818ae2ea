// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedder's end of a host ring.

use super::error::HostError;
use super::meeting::Meeting;
use super::side::ends_at_acceptance;
use crate::clock;
use crate::region::RegionWords;
use fctl_ringabi::{
    Completion, CompletionKind, CompletionReader, Descriptor, DescriptorFlags, Disposition, Extension, Operation, PostError,
    Poster,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

/// Looks at the ring between two looks at the clock.
const LOOKS: u32 = 64;

/// A completion with its extension.
pub(super) type Taken = (Completion, Option<Extension>);

/// An instruction that was accepted or refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Executed {
    /// The *accepted* completion: condition code, disposition, program-interruption code.
    pub accepted: Completion,
    /// The final completion, if the instruction ended with its condition code: every one but START, HALT and CLEAR with condition code 0, whose
    /// finals come by [`HostRing::take`]. Here are the SCHIB of STORE and the status of TEST.
    pub ended: Option<Taken>,
    /// The reactor slept, and was woken for this instruction.
    pub woken: bool,
}

impl Executed {
    /// The condition code.
    pub fn condition_code(&self) -> u8 {
        self.accepted.cc
    }
}

/// The embedder's end of a ring pair of its own. See the [module](super) for who may use it how.
#[derive(Debug)]
pub struct HostRing {
    pub(super) poster: Poster<RegionWords>,
    pub(super) reader: CompletionReader<RegionWords>,
    pub(super) meeting: Arc<Meeting>,
    pub(super) doorbell: EventFd,
    pub(super) notification: EventFd,
    /// Completions that came while an instruction waited for its own.
    pub(super) kept: VecDeque<Taken>,
    /// *Accepted* completions still to come of instructions that were given up.
    pub(super) late: usize,
    pub(super) most: usize,
    pub(super) limit: Duration,
    pub(super) polling: u64,
}

impl HostRing {
    /// Executes an instruction and gives its condition code. What ended with it is dropped: for STORE and TEST use [`execute`](Self::execute).
    ///
    /// # Errors
    /// As [`execute`](Self::execute); and [`HostError::Refused`].
    pub fn post(&mut self, descriptor: &Descriptor) -> Result<u8, HostError> {
        let accepted = self.execute(descriptor)?.accepted;
        match accepted.disposition() {
            Some(disposition @ (Disposition::ProgramInterruption | Disposition::DescriptorError)) => {
                Err(HostError::Refused { disposition, code: accepted.code })
            }
            _ => Ok(accepted.cc),
        }
    }

    /// Posts an instruction and waits until it is accepted or refused. Polls for a short while if the reactor is awake, then sleeps.
    ///
    /// The flag [`DescriptorFlags::ACCEPTED`] is added, and the time posted if there is none. The tag is the caller's: it comes back in the finals.
    ///
    /// # Errors
    /// The dispatcher has stopped, does not run, or the ring has no room; [`HostError`] tells which, and whether the instruction was posted.
    pub fn execute(&mut self, descriptor: &Descriptor) -> Result<Executed, HostError> {
        if self.kept.len() > self.most {
            return Err(HostError::Untaken(self.kept.len()));
        }
        if self.meeting.is_gone() {
            return Err(HostError::Stopped);
        }
        let began = clock::now();
        let mut descriptor = *descriptor;
        descriptor.flags |= DescriptorFlags::ACCEPTED.bits();
        if descriptor.posted == 0 {
            descriptor.posted = began;
        }
        let woken = match self.poster.post(&descriptor) {
            Err(PostError::CompletionCredit | PostError::SubmissionFull) => {
                // Taking what is there gives room.
                self.keep_all()?;
                self.poster.post(&descriptor)?
            }
            posted => posted?,
        };
        if woken {
            self.doorbell.write(1)?;
        }
        let answer = self.wait(began, !woken)?;
        let operation = Operation::from_code(descriptor.operation);
        let ends = operation.is_none_or(|operation| ends_at_acceptance(operation, answer.cc, answer.disposition));
        if !ends {
            return Ok(Executed { accepted: answer, ended: None, woken });
        }
        // It was published together with the other.
        while let Some(taken) = self.reader.take()? {
            if taken.0.kind() == Some(CompletionKind::Final) && taken.0.tag == descriptor.tag {
                return Ok(Executed { accepted: answer, ended: Some(taken), woken });
            }
            self.keep(taken)?;
        }
        Ok(Executed { accepted: answer, ended: None, woken })
    }

    /// Waits for the *accepted* completion of what was posted last.
    fn wait(&mut self, began: u64, awake: bool) -> Result<Completion, HostError> {
        let limit = u64::try_from(self.limit.as_nanos()).unwrap_or(u64::MAX);
        let polling = if awake { self.polling } else { 0 };
        let mut passed = 0;
        loop {
            // Before the look, so that what was published before it went is seen.
            let gone = self.meeting.is_gone() || self.poster.fenced().is_some();
            if let Some(answer) = self.look()? {
                return Ok(answer);
            }
            if gone {
                return Err(HostError::Stopped);
            }
            if passed < polling {
                for _ in 0..LOOKS {
                    if !self.reader.is_empty() {
                        break;
                    }
                    std::hint::spin_loop();
                }
            } else {
                let reader = &self.reader;
                self.meeting.sleep(Duration::from_nanos(limit.saturating_sub(passed)), || reader.is_empty());
            }
            passed = clock::now().saturating_sub(began);
            if passed >= limit {
                if let Some(answer) = self.look()? {
                    return Ok(answer);
                }
                self.late += 1;
                return Err(HostError::Late(self.limit));
            }
        }
    }

    /// Takes completions until the awaited one; keeps the others.
    fn look(&mut self) -> Result<Option<Completion>, HostError> {
        while let Some(taken) = self.reader.take()? {
            if taken.0.kind() != Some(CompletionKind::Accepted) {
                self.keep(taken)?;
            } else if self.late > 0 {
                // They come in the order in which they were posted.
                self.late -= 1;
            } else {
                return Ok(Some(taken.0));
            }
        }
        Ok(None)
    }

    fn keep_all(&mut self) -> Result<(), HostError> {
        while let Some(taken) = self.reader.take()? {
            if taken.0.kind() == Some(CompletionKind::Accepted) {
                self.late = self.late.saturating_sub(1);
            } else {
                self.keep(taken)?;
            }
        }
        Ok(())
    }

    /// Keeps a completion for [`take`](Self::take), and tells whoever waits for one: the reactor sees it taken, and would not.
    fn keep(&mut self, taken: Taken) -> Result<(), HostError> {
        self.kept.push_back(taken);
        if self.meeting.claim(|| true) {
            self.notification.write(1)?;
        }
        Ok(())
    }

    /// Takes the next completion: finals of START, HALT and CLEAR, and status that nobody asked for. The order is the order in which they came. Takes
    /// the wish for a notification back if there is something.
    ///
    /// # Errors
    /// [`HostError::Violation`].
    pub fn take(&mut self) -> Result<Option<Taken>, HostError> {
        let mut found = self.kept.pop_front();
        while found.is_none() {
            match self.reader.take()? {
                None => return Ok(None),
                // Of an instruction that was given up.
                Some((completion, _)) if completion.kind() == Some(CompletionKind::Accepted) => {
                    self.late = self.late.saturating_sub(1);
                }
                other => found = other,
            }
        }
        if self.meeting.is_wished() {
            // If the reactor was faster, its notification is on its way.
            self.meeting.claim(|| true);
        }
        Ok(found)
    }

    /// Asks for one notification as soon as there is something to take, or nothing will come any more. False: there is something already, and no notification comes.
    ///
    /// # Errors
    /// [`HostError::Stopped`] if nothing will ever come.
    pub fn arm(&mut self) -> Result<bool, HostError> {
        let gone = self.meeting.is_gone();
        self.reader.give_back();
        if self.kept.is_empty() && self.reader.is_empty() && gone {
            return Err(HostError::Stopped);
        }
        if !self.meeting.is_wished() {
            self.meeting.wish();
        }
        if self.kept.is_empty() && self.reader.is_empty() {
            // Gone since the first look, and perhaps before the wish could be seen. Who takes the wish first acts on it here, too.
            if self.meeting.is_gone() && self.reader.is_empty() && self.meeting.claim(|| true) {
                return Err(HostError::Stopped);
            }
            return Ok(true);
        }
        // Who takes the wish first acts on it: the reactor may be about to write.
        Ok(!self.meeting.claim(|| true))
    }

    /// Takes the wish for a notification back. False: none is wished for, or it is on its way and comes for certain; who does not want it waits for it
    /// and reads it.
    pub fn disarm(&mut self) -> bool {
        self.meeting.claim(|| true)
    }

    /// The notification: to be waited for, and read, by the event loop that calls [`take`](Self::take).
    pub fn notification(&self) -> &EventFd {
        &self.notification
    }
}
