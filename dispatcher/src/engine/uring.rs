// SPDX-License-Identifier: MIT OR Apache-2.0
//! The io_uring engine: operations, doorbells, notifications and the one sleep point, all in one ring.

mod slot;
mod watches;

use self::slot::{token, Slot, KIND_CANCEL, KIND_NOTIFY, KIND_OPERATION, KIND_WATCH};
use super::uring_setup::{set_up, UringError};
use super::wakeup::Wakeup;
use super::workers::{self, WorkerBounds};
use super::{Engine, Operation, OperationResult, Segments, SlotId};
use io_uring::squeue::Entry;
use io_uring::{cqueue, opcode, types, IoUring};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// How often the kernel is asked to empty a full queue, for one entry.
const MOST_TRIES: u32 = 1000;

/// What came out of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// The operation of a slot has ended; `owner` is who had acquired the slot, unless it was given up meanwhile.
    Operation { slot: SlotId, owner: Option<u32>, result: OperationResult },
    /// A watched descriptor became readable; `again` if the watch goes on by itself.
    Readable { watch: u32, again: bool },
    /// The notification of a ring was written (or failed for good).
    Notified { ring: u32 },
    /// Nothing that anybody waits for.
    Nothing,
}

/// Counters of the engine: statistics, not state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineCounters {
    /// Operations given to the kernel.
    pub operations: u64,
    /// Cancel requests given to the kernel.
    pub cancels: u64,
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Of these, calls that slept.
    pub sleeps: u64,
}

/// Operations by io_uring. One thread at a time; the first to submit is the only one that ever may.
pub struct UringEngine {
    ring: IoUring,
    disabled: bool,
    deferred: bool,
    slots: Box<[Slot]>,
    free: Vec<u16>,
    staged: VecDeque<u16>,
    cancels: VecDeque<(u16, u32)>,
    /// Watches and notifications that the queue has not taken: the ring is not enabled yet, or the kernel takes nothing.
    held: VecDeque<Entry>,
    pushed: u32,
    flying: usize,
    reaped: VecDeque<(u64, i32, u32)>,
    counters: EngineCounters,
    /// That the kernel takes nothing was logged.
    complained: bool,
    wakeup: Wakeup,
}

impl UringEngine {
    /// An engine with `slots` slots: so many operations can be in the kernel at once.
    ///
    /// # Errors
    /// The kernel refuses, with the setting that decides it.
    pub fn new(slots: u16) -> Result<Self, UringError> {
        Self::with_workers(slots, WorkerBounds::default())
    }

    /// The same, with bounds of the kernel's worker threads.
    pub(crate) fn with_workers(slots: u16, bounds: WorkerBounds) -> Result<Self, UringError> {
        if slots == 0 || slots > 4096 {
            return Err(UringError::Slots(u32::from(slots)));
        }
        let (ring, deferred) = set_up(slots)?;
        workers::bound(&ring, bounds)?;
        let entries = ring.params().cq_entries();
        let wakeup = Wakeup::new().map_err(|source| UringError::Setup { entries, source })?;
        Ok(Self {
            ring,
            disabled: deferred,
            deferred,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            free: (0..slots).rev().collect(),
            staged: VecDeque::with_capacity(slots.into()),
            cancels: VecDeque::with_capacity(slots.into()),
            held: VecDeque::new(),
            pushed: 0,
            flying: 0,
            // All that can be outstanding: an operation and its cancel for each slot, and what rings and the mailbox have.
            reaped: VecDeque::with_capacity(usize::from(slots) * 2 + entries as usize),
            counters: EngineCounters::default(),
            complained: false,
            wakeup,
        })
    }

    /// Has the kernel's workers run on these CPUs only. To be called by the thread that has made the engine.
    pub(crate) fn place_workers(&self, cpus: &[usize]) {
        if let Err(error) = workers::place(&self.ring, cpus) {
            tracing::warn!(%error, ?cpus, "the kernel's workers cannot be placed: they run wherever the kernel likes");
        }
    }

    /// True if completions are run only when this thread asks for them (Linux 6.1).
    pub fn is_deferred(&self) -> bool {
        self.deferred
    }

    /// Statistics.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// Slots that no program owns.
    pub(crate) fn free_slots(&self) -> usize {
        self.free.len()
    }

    /// Gives a slot to `owner`, if one is free.
    #[inline]
    pub(crate) fn acquire(&mut self, owner: u32) -> Option<SlotId> {
        let index = self.free.pop()?;
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.owner = Some(owner);
            slot.segments.clear();
        }
        Some(SlotId(index))
    }

    /// Takes a slot back. If the kernel still holds its buffers it becomes free only when the operation has ended.
    #[inline]
    pub(crate) fn release(&mut self, slot: SlotId) {
        if let Some(entry) = self.slots.get_mut(usize::from(slot.0)) {
            if entry.owner.take().is_some() && !entry.in_flight {
                self.free.push(slot.0);
            }
        }
    }

    /// True if anything is staged, or if the kernel has completions for us that it runs only when asked.
    #[inline]
    pub(crate) fn wants_enter(&mut self) -> bool {
        self.has_staged() || self.kernel_keeps_completions()
    }

    /// True if the kernel has completions that come only when it is entered: it is asked to run them, or there was no room for them.
    #[inline]
    fn kernel_keeps_completions(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// True if a sleep would only hold up what is there already.
    pub(crate) fn wants_enter_or_has_reaped(&mut self) -> bool {
        // What is staged goes to the kernel with the sleep itself.
        !self.reaped.is_empty() || self.kernel_keeps_completions() || !self.ring.completion().is_empty()
    }

    /// Takes what the kernel has already put into the completion queue, without a system call.
    #[inline]
    pub(crate) fn poll(&mut self) {
        if !self.ring.completion().is_empty() {
            self.collect();
        }
    }

    /// Operations in the kernel.
    #[inline]
    pub(crate) fn in_flight_count(&self) -> usize {
        self.flying
    }

    /// Slots whose operation has been in the kernel for longer than `limit` nanoseconds, with their age. An operation's age counts from the first call of this
    /// that has seen it, so that submitting one needs no clock.
    pub(crate) fn overdue(&mut self, now: u64, limit: u64) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.slots.iter_mut().filter(|slot| slot.in_flight).filter_map(move |slot| {
            if slot.seen_at == 0 {
                slot.seen_at = now;
            }
            let age = now.saturating_sub(slot.seen_at);
            (age >= limit).then_some((slot.owner?, age))
        })
    }

    /// Who has operations in the kernel that use guest memory of a generation before this one; none for an owner that has gone.
    pub(crate) fn users_before(&self, generation: u32) -> impl Iterator<Item = Option<u32>> + '_ {
        self.slots.iter().filter(move |slot| slot.in_flight && slot.segments.generation() < generation).map(|slot| slot.owner)
    }

    fn enable(&mut self) -> io::Result<()> {
        if self.disabled {
            self.ring.submitter().register_enable_rings()?;
            self.disabled = false;
        }
        Ok(())
    }

    /// Puts an entry into the kernel's queue.
    ///
    /// # Errors
    /// The queue is full, and the kernel takes nothing out of it.
    fn push(&mut self, entry: &Entry) -> Result<(), UringError> {
        for _ in 0..MOST_TRIES {
            // SAFETY: what the entry points to stays valid until its completion. Lists of segments live in `self.slots`, are not changed while
            // `in_flight` is set, and are leaked rather than freed if the kernel does not give them back. What segments point to is either guest memory,
            // which the reactor keeps (in `guests`, or as `replaced`) until no operation of its generation is in flight; or a buffer of the device (scratch
            // page, landing pages), and a device is dropped only when it has answered, which it must not do while its slot is in flight, or after `quiesce`;
            // or the page of zeros, which is static, as the `ONE` of a notification is.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.pushed += 1;
                return Ok(());
            }
            // The queue is full: let the kernel take what is there. EBUSY resolves itself as completions are taken.
            self.enter(0, None)?;
        }
        Err(UringError::Enter { source: io::Error::other(format!("the queue is still full after {MOST_TRIES} calls")) })
    }

    /// Puts an entry into the queue, or keeps it until the queue takes it. A ring that is not enabled cannot be emptied.
    fn push_or_hold(&mut self, entry: Entry) {
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
        while let Some(index) = self.staged.pop_front() {
            // One that was withdrawn stays out of the kernel; its slot may stand here twice then, if it has another operation already.
            let Some(entry) = self.slots.get_mut(usize::from(index)).and_then(|slot| slot.give(index)) else { continue };
            if let Err(error) = self.push(&entry) {
                if let Some(slot) = self.slots.get_mut(usize::from(index)) {
                    slot.given = false;
                }
                self.staged.push_front(index);
                return Err(error);
            }
            self.counters.operations += 1;
        }
        Ok(())
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
        self.fill()?;
        match wait {
            None => self.enter(0, None),
            Some(timeout) => {
                self.counters.sleeps += 1;
                self.enter(1, timeout)
            }
        }
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> Result<(), UringError> {
        self.counters.enters += 1;
        let result = match timeout {
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                self.ring.submitter().submit_with_args(want, &types::SubmitArgs::new().timespec(&timespec))
            }
            None => {
                let submit = self.ring.submission().len();
                #[allow(clippy::cast_possible_truncation, reason = "the queue has at most 32768 entries, and `want` is 0 or 1")]
                let (submit, want) = (submit as u32, want as u32);
                // SAFETY: no argument is passed; the flag only asks for completions.
                unsafe { self.ring.submitter().enter::<libc::sigset_t>(submit, want, 1, None) }
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

    fn collect(&mut self) {
        for entry in self.ring.completion() {
            self.reaped.push_back((entry.user_data(), entry.result(), entry.flags()));
        }
    }

    /// Takes the next thing that came out of the kernel.
    #[inline]
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        let (data, result, flags) = self.reaped.pop_front()?;
        #[allow(clippy::cast_possible_truncation, reason = "the token's fields are what is asked for")]
        let (kind, generation, index) = (data >> 56, (data >> 32) as u32 & 0xFF_FFFF, data as u32);
        Some(match kind {
            KIND_OPERATION => self.ended(generation, index, result),
            KIND_CANCEL => self.cancel_answered(generation, index),
            KIND_WATCH => Reaped::Readable { watch: index, again: cqueue::more(flags) },
            KIND_NOTIFY => Reaped::Notified { ring: index },
            _ => Reaped::Nothing,
        })
    }

    /// Whatever the kernel says to a cancel, the operation may go on: who wants it stopped may ask again.
    fn cancel_answered(&mut self, generation: u32, index: u32) -> Reaped {
        if let Some(slot) = self.slots.get_mut(index as usize).filter(|slot| slot.generation & 0xFF_FFFF == generation) {
            slot.cancel_asked = false;
        }
        Reaped::Nothing
    }

    fn ended(&mut self, generation: u32, index: u32, result: i32) -> Reaped {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Reaped::Nothing;
        };
        if slot.generation & 0xFF_FFFF != generation || !slot.in_flight {
            return Reaped::Nothing;
        }
        slot.in_flight = false;
        slot.given = false;
        slot.withdrawn = false;
        self.flying -= 1;
        slot.seen_at = 0;
        slot.cancel_asked = false;
        slot.operation = None;
        slot.generation = slot.generation.wrapping_add(1);
        #[allow(clippy::cast_possible_truncation, reason = "an engine has at most 4096 slots")]
        let id = SlotId(index as u16);
        let owner = slot.owner;
        if owner.is_none() {
            self.free.push(id.0);
        }
        Reaped::Operation { slot: id, owner, result: u32::try_from(result).map_err(|_| -result) }
    }

    /// True if something waits to be given to the kernel.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty() || !self.cancels.is_empty() || !self.held.is_empty() || self.pushed > 0
    }
}

impl Engine for UringEngine {
    #[inline]
    fn segments(&mut self, slot: SlotId) -> &mut Segments {
        let slot = &mut self.slots[usize::from(slot.0)];
        debug_assert!(!slot.in_flight, "the kernel holds these segments");
        &mut slot.segments
    }

    #[inline]
    fn submit(&mut self, slot: SlotId, operation: Operation) {
        let entry = &mut self.slots[usize::from(slot.0)];
        if entry.in_flight {
            debug_assert!(false, "a slot has one operation at a time");
            return;
        }
        entry.operation = Some(operation);
        entry.in_flight = true;
        entry.aside = false;
        self.flying += 1;
        self.staged.push_back(slot.0);
    }

    fn submit_aside(&mut self, slot: SlotId, operation: Operation) {
        self.submit(slot, operation);
        self.slots[usize::from(slot.0)].aside = true;
    }

    fn cancel(&mut self, slot: SlotId) {
        let entry = &mut self.slots[usize::from(slot.0)];
        if !entry.in_flight || entry.withdrawn {
            return;
        }
        if !entry.given {
            // A cancel would go to the kernel before the operation and find nothing. It ends here, as if the kernel had said so.
            entry.withdrawn = true;
            self.reaped.push_back((token(KIND_OPERATION, entry.generation, slot.0.into()), -libc::ECANCELED, 0));
        } else if !entry.cancel_asked {
            entry.cancel_asked = true;
            self.cancels.push_back((slot.0, entry.generation));
        }
    }

    #[inline]
    fn in_flight(&self, slot: SlotId) -> bool {
        self.slots[usize::from(slot.0)].in_flight
    }
}

impl UringEngine {
    /// Cancels all and waits until the kernel has given back every buffer. False if it does not talk to this thread: what it holds must not be freed then.
    pub(crate) fn quiesce(&mut self) -> bool {
        loop {
            // Again each time: what did not obey once may obey later.
            for index in 0..self.slots.len() {
                #[allow(clippy::cast_possible_truncation, reason = "an engine has at most 4096 slots")]
                self.cancel(SlotId(index as u16));
            }
            while self.reap().is_some() {}
            if self.in_flight_count() == 0 {
                return true;
            }
            if self.enter_turn(Some(Some(Duration::from_millis(100)))).is_err() {
                return false;
            }
            while self.reap().is_some() {}
        }
    }
}

impl Drop for UringEngine {
    /// Waits for the kernel: what it holds is never freed under it.
    fn drop(&mut self) {
        if !self.quiesce() {
            std::mem::forget(core::mem::take(&mut self.slots));
        }
    }
}

#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod tests;
