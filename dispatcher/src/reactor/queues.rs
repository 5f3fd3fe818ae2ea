// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has something to do: queues by precedence, and the lines for engine slots. Nothing here decides; what a subchannel should be told stands in its bits.

use super::lines::Lines;
use super::table::{queued, Entry};
use crate::engine::UringEngine;
use crate::subchannel::Function;
use std::collections::VecDeque;

/// Subchannels of one class, in order. What comes in while a pass goes on is the next pass's.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: Vec<u32>,
    spare: Vec<u32>,
}

impl Queue {
    /// All that stand here now; to be given back by [`end`](Self::end).
    #[inline]
    pub(super) fn begin(&mut self) -> Vec<u32> {
        core::mem::replace(&mut self.next, core::mem::take(&mut self.spare))
    }

    #[inline]
    pub(super) fn end(&mut self, mut pass: Vec<u32>) {
        pass.clear();
        self.spare = pass;
    }
}

/// Subchannels with something to do, by precedence. A subchannel stands in each queue at most once, so their capacity is the number of
/// subchannels, and nothing allocates.
#[derive(Debug, Default)]
pub(super) struct Queues {
    clears: Queue,
    halts: Queue,
    starts: Queue,
    /// Starts and resumes that wait for an engine slot.
    pub(super) waiting: Lines,
    /// Status that waits for room in its ring.
    pub(super) undelivered: VecDeque<u32>,
}

impl Queues {
    /// Makes room for `count` subchannels.
    pub(super) fn reserve(&mut self, count: usize) {
        for queue in [&mut self.clears, &mut self.halts, &mut self.starts] {
            queue.next.reserve(count.saturating_sub(queue.next.len()));
            queue.spare.reserve(count);
        }
        self.undelivered.reserve(count.saturating_sub(self.undelivered.len()));
    }

    /// Takes a subchannel out of all queues: it is going.
    pub(super) fn forget(&mut self, index: u32) {
        for queue in [&mut self.clears, &mut self.halts, &mut self.starts] {
            queue.next.retain(|&other| other != index);
        }
        self.waiting.forget(index);
        self.undelivered.retain(|&other| other != index);
    }

    /// True if something can be issued now.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.starts.next.is_empty() || self.any_stop()
    }

    /// True if a halt or a clear can be issued now.
    #[inline]
    pub(super) fn any_stop(&self) -> bool {
        !self.halts.next.is_empty() || !self.clears.next.is_empty()
    }

    /// How many starts and resumes can be issued now.
    #[inline]
    pub(super) fn starts(&self) -> usize {
        self.starts.next.len()
    }

    #[inline(always)]
    pub(super) fn of(&mut self, mark: u8) -> &mut Queue {
        match mark {
            queued::CLEAR => &mut self.clears,
            queued::HALT => &mut self.halts,
            _ => &mut self.starts,
        }
    }

    /// Puts a subchannel into the queue of the function it should be told next, if there is one.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32, entry: &mut Entry) {
        let Some(function) = entry.subchannel.next_function() else { return };
        let mark = class(function);
        if entry.queued & mark == 0 {
            entry.queued |= mark;
            self.of(mark).next.push(index);
        }
    }

    /// Puts a subchannel whose start has just been accepted where the next pass finds it. If something else must be done first, that pass will see.
    #[inline(always)]
    pub(super) fn enqueue_start(&mut self, index: u32, entry: &mut Entry) {
        if entry.queued & queued::START == 0 {
            entry.queued |= queued::START;
            self.starts.next.push(index);
        }
    }

    /// True if the subchannel has an engine slot now; else it waits for one, behind those who wait already.
    #[inline]
    pub(super) fn take_slot(&mut self, index: u32, entry: &mut Entry, engine: &mut UringEngine) -> bool {
        if entry.slot.is_none() && self.waiting.is_empty() {
            entry.slot = engine.acquire(index);
        }
        if entry.slot.is_none() && entry.queued & queued::ENGINE == 0 {
            entry.queued |= queued::ENGINE;
            self.waiting.push(entry.ring, index);
        }
        entry.slot.is_some()
    }
}

/// The queue that a function stands in.
#[inline]
pub(super) const fn class(function: Function) -> u8 {
    match function {
        Function::Clear => queued::CLEAR,
        Function::Halt | Function::HaltUnissued => queued::HALT,
        Function::Start | Function::Resume | Function::RefuseStart | Function::PresentStacked => queued::START,
    }
}
