// SPDX-License-Identifier: MIT OR Apache-2.0
//! The io_uring engine: operations, doorbells, notifications and the one sleep point, all in one ring.

mod entrance;
mod fifo;
mod files;
mod slot;
mod turn;
mod watches;

use self::entrance::Entrance;
use self::fifo::Fifo;
use self::files::Files;
use self::slot::{token, Slot, KIND_CANCEL, KIND_NOTIFY, KIND_OPERATION, KIND_WATCH};
use super::uring_setup::{set_up, UringError};
use super::wakeup::Wakeup;
use super::workers::{self, WorkerBounds};
use super::{Engine, Operation, OperationResult, Segments, SlotId};
use io_uring::squeue::Entry;
use io_uring::{cqueue, IoUring};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Duration;

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
    entrance: Entrance,
    deferred: bool,
    slots: Box<[Slot]>,
    files: Files,
    free: Vec<u16>,
    staged: Fifo<u16>,
    cancels: VecDeque<(u16, u32)>,
    /// Watches and notifications that the queue has not taken: the ring is not enabled yet, or the kernel takes nothing.
    held: VecDeque<Entry>,
    pushed: u32,
    flying: usize,
    reaped: Fifo<(u64, i32, u32)>,
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
        let failed = |source| UringError::Setup { entries, source };
        let mut wakeup = Wakeup::new().map_err(failed)?;
        if !deferred {
            // Before anything is watched: Linux before 5.18 would wait for the end of that, which never comes.
            wakeup.register(&ring.submitter()).map_err(failed)?;
        }
        Ok(Self {
            ring,
            disabled: deferred,
            entrance: Entrance::default(),
            deferred,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            files: Files::default(),
            free: (0..slots).rev().collect(),
            staged: Fifo::with_capacity(slots.into()),
            cancels: VecDeque::with_capacity(slots.into()),
            held: VecDeque::new(),
            pushed: 0,
            flying: 0,
            // All that can be outstanding: an operation and its cancel for each slot, and what rings and the mailbox have.
            reaped: Fifo::with_capacity(usize::from(slots) * 2 + entries as usize),
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

    /// Who acquires slots as `owner` names these files in its operations, and keeps them open and as they are until they are unregistered.
    pub(crate) fn register_files(&mut self, owner: u32, files: Vec<RawFd>) {
        self.files.add(&self.ring, owner, files, |file| is_in_flight(&self.slots, file));
    }

    /// `owner` names its files no more.
    pub(crate) fn unregister_files(&mut self, owner: u32) {
        self.files.remove(&self.ring, owner, |file| is_in_flight(&self.slots, file));
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

    /// Takes the next thing that came out of the kernel.
    #[inline]
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        let (data, result, flags) = self.reaped.pop()?;
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

/// Whether an operation of this file is in the kernel, or waits to be given to it.
fn is_in_flight(slots: &[Slot], file: RawFd) -> bool {
    slots.iter().any(|slot| slot.in_flight && slot.operation.is_some_and(|operation| operation.file() == file))
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
        self.staged.push(slot.0);
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
            self.reaped.push((token(KIND_OPERATION, entry.generation, slot.0.into()), -libc::ECANCELED, 0));
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
        if self.quiesce() {
            // With the ring alone they would go some time later. There may be none.
            let _ = self.ring.submitter().unregister_files();
        } else {
            std::mem::forget(core::mem::take(&mut self.slots));
        }
        self.entrance.close(&self.ring);
    }
}

#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod tests;
