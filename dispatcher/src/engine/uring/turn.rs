// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one system call of a turn: what is staged goes to the kernel, and what it has comes out.

use super::slot::{token, KIND_CANCEL, KIND_OPERATION};
use super::UringEngine;
use crate::engine::uring_setup::UringError;
use io_uring::squeue::Entry;
use io_uring::{opcode, types, SubmissionQueue};
use std::io;
use std::time::Duration;

/// How often the kernel is asked to empty a full queue, for one entry.
const MOST_TRIES: u32 = 1000;

/// Puts an entry into the kernel's queue. False if that is full.
#[inline(always)]
fn push(queue: &mut SubmissionQueue<'_>, entry: &Entry) -> bool {
    // SAFETY: what the entry points to stays valid until its completion. Lists of segments live in the engine's slots, are not changed while
    // `in_flight` is set, and are leaked rather than freed if the kernel does not give them back. What segments point to is either guest memory,
    // which the reactor keeps (in `guests`, or as `replaced`) until no operation of its generation is in flight; or a buffer of the device (scratch
    // page, landing pages), and a device is dropped only when it has answered, which it must not do while its slot is in flight, or after `quiesce`;
    // or the page of zeros, which is static, as the `ONE` of a notification is.
    unsafe { queue.push(entry) }.is_ok()
}

impl UringEngine {
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if self.disabled {
            self.ring.submitter().register_enable_rings()?;
            self.disabled = false;
            // From here on the kernel accepts no other thread.
            self.entrance.open(&self.ring);
        }
        Ok(())
    }

    /// Puts an entry into the kernel's queue, which is emptied if it is full.
    ///
    /// # Errors
    /// The queue is full, and the kernel takes nothing out of it.
    fn push(&mut self, entry: &Entry) -> Result<(), UringError> {
        for _ in 0..MOST_TRIES {
            if push(&mut self.ring.submission(), entry) {
                self.pushed += 1;
                return Ok(());
            }
            // Let the kernel take what is there. EBUSY resolves itself as completions are taken.
            self.enter(0, None, false)?;
        }
        Err(UringError::Enter { source: io::Error::other(format!("the queue is still full after {MOST_TRIES} calls")) })
    }

    /// Puts an entry into the queue, or keeps it until the queue takes it. A ring that is not enabled cannot be emptied.
    pub(super) fn push_or_hold(&mut self, entry: Entry) {
        // Behind what is held already, so that the order stays.
        if self.disabled || !self.held.is_empty() || self.push(&entry).is_err() {
            self.held.push_back(entry);
        }
    }

    /// Moves what is staged into the kernel's queue. Cancels first: what they are for is there already.
    fn fill(&mut self) -> Result<(), UringError> {
        while let Some(entry) = self.held.pop_front() {
            if let Err(error) = self.push(&entry) {
                self.held.push_front(entry);
                return Err(error);
            }
        }
        while let Some(&(index, generation)) = self.cancels.front() {
            let target = token(KIND_OPERATION, generation, index.into());
            self.push(&opcode::AsyncCancel::new(target).build().user_data(token(KIND_CANCEL, generation, index.into())))?;
            self.cancels.pop_front();
            self.counters.cancels += 1;
        }
        while let Some(entry) = self.give_staged() {
            // The queue is full: this one by itself makes room for others.
            self.push(&entry)?;
            self.given();
        }
        Ok(())
    }

    /// Gives the kernel's queue the operations that wait, as many as it takes, and tells it once. The first one that it does not take comes back and still waits.
    fn give_staged(&mut self) -> Option<Entry> {
        let mut queue = self.ring.submission();
        let mut given = 0;
        let mut refused = None;
        while let Some(index) = self.staged.front() {
            // One that was withdrawn stays out of the kernel; its slot may stand here twice then, if it has another operation already.
            if let Some(slot) = self.slots.get_mut(usize::from(index)).filter(|slot| slot.waits()) {
                let entry = slot.entry(index, &self.files);
                if !push(&mut queue, &entry) {
                    refused = Some(entry);
                    break;
                }
                slot.given = true;
                given += 1;
            }
            self.staged.pop();
        }
        self.pushed += given;
        self.counters.operations += u64::from(given);
        refused
    }

    /// The first operation that waited has gone into the queue.
    fn given(&mut self) {
        if let Some(slot) = self.staged.pop().and_then(|index| self.slots.get_mut(usize::from(index))) {
            slot.given = true;
            self.counters.operations += 1;
        }
    }

    /// The one system call of a turn: gives the kernel what is staged, takes what it has. With `wait` it sleeps until
    /// something happens or the time is over.
    ///
    /// # Errors
    /// The kernel takes nothing, for a reason that does not go away by itself. That is logged, once; nothing is lost, and the next call tries again.
    pub(crate) fn enter_turn(&mut self, wait: Option<Option<Duration>>) -> Result<(), UringError> {
        let entered = self.try_turn(wait);
        if let Err(error) = &entered {
            if !core::mem::replace(&mut self.complained, true) {
                tracing::error!(%error, "operations cannot be given to the kernel; said only once");
            }
        }
        entered
    }

    fn try_turn(&mut self, wait: Option<Option<Duration>>) -> Result<(), UringError> {
        self.enable().map_err(|source| UringError::Enter { source })?;
        // What they stop has ended by then, and the kernel may keep that until it is asked.
        let stops = !self.cancels.is_empty();
        self.fill()?;
        match wait {
            None => self.enter(0, None, stops),
            Some(timeout) => {
                self.counters.sleeps += 1;
                self.enter(1, timeout, stops)
            }
        }
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>, ask: bool) -> Result<(), UringError> {
        self.counters.enters += 1;
        let result = match timeout {
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&timespec)).map(drop)
            }
            None => {
                let submit = self.ring.submission().len();
                #[allow(clippy::cast_possible_truncation, reason = "the queue has at most 32768 entries, and `want` is 0 or 1")]
                let (submit, want) = (submit as u32, want as u32);
                // What ends where it begins is in the queue without being asked for (measured with one 4 KiB read at a time: ×1.06).
                let ask = ask || want > 0 || self.kernel_keeps_completions();
                self.entrance.enter(&self.ring, submit, want, ask)
            }
        };
        #[allow(clippy::cast_possible_truncation, reason = "the queue has at most 32768 entries")]
        let left = self.ring.submission().len() as u32;
        self.pushed = left;
        self.collect();
        // Nothing of the queue is lost by an error: its length tells what is left, and the next turn tries again. Some are in the nature of
        // the thing: a signal, the time is over, completions must be taken first, no memory just now.
        let expected = [libc::EINTR, libc::ETIME, libc::EBUSY, libc::EAGAIN, libc::ENOMEM];
        match result {
            Err(source) if !source.raw_os_error().is_some_and(|number| expected.contains(&number)) => {
                Err(UringError::Enter { source })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn collect(&mut self) {
        for entry in self.ring.completion() {
            self.reaped.push((entry.user_data(), entry.result(), entry.flags()));
        }
    }
}
