// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: all clears first, then all halts, then the starts; and what the devices answer.

use super::answers::RingAnswers;
use super::books::Books;
use super::ring::Ring;
use super::table::{queued, Entry};
use super::timers::Timers;
use super::Reactor;
use crate::device::{Capabilities, DeviceContext, DeviceEvent, Events, SubchannelDevice};
use crate::engine::{OperationResult, SlotId, UringEngine};
use crate::memory::Memory;
use crate::subchannel::Function;
use fctl_ringabi::arch::DeviceStatus;
use std::collections::VecDeque;

/// Subchannels of one class, in order. What comes in while a pass goes on is the next pass's.
#[derive(Debug, Default)]
struct Queue {
    next: Vec<u32>,
    spare: Vec<u32>,
}

impl Queue {
    /// All that stand here now; to be given back by [`end`](Self::end).
    #[inline]
    fn begin(&mut self) -> Vec<u32> {
        core::mem::replace(&mut self.next, core::mem::take(&mut self.spare))
    }

    #[inline]
    fn end(&mut self, mut pass: Vec<u32>) {
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
    /// Starts that wait for an engine slot, in order.
    waiting: VecDeque<u32>,
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
        for queue in [&mut self.waiting, &mut self.undelivered] {
            queue.reserve(count.saturating_sub(queue.len()));
        }
    }

    /// Takes a subchannel out of all queues: it is going.
    pub(super) fn forget(&mut self, index: u32) {
        for queue in [&mut self.clears, &mut self.halts, &mut self.starts] {
            queue.next.retain(|&other| other != index);
        }
        for queue in [&mut self.waiting, &mut self.undelivered] {
            queue.retain(|&other| other != index);
        }
    }

    /// True if something can be issued now.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.starts.next.is_empty() || !self.halts.next.is_empty() || !self.clears.next.is_empty()
    }

    #[inline(always)]
    fn of(&mut self, mark: u8) -> &mut Queue {
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
}

/// The queue that a function stands in.
#[inline]
const fn class(function: Function) -> u8 {
    match function {
        Function::Clear => queued::CLEAR,
        Function::Halt | Function::HaltUnissued => queued::HALT,
        Function::Start | Function::Resume | Function::RefuseStart | Function::PresentStacked => queued::START,
    }
}

/// A subchannel, and all that it takes to tell its device something and to hear what it answers.
struct Station<'a> {
    index: u32,
    entry: &'a mut Entry,
    ring: &'a mut Ring,
    memory: &'a Memory,
    engine: &'a mut UringEngine,
    events: &'a mut Events,
    timers: &'a mut Timers,
    queues: &'a mut Queues,
    books: &'a mut Books,
}

impl Station<'_> {
    // Inlined always, as what it calls: as functions of their own these steps take their parameters through memory (measured with a null device: a
    // fifth of all instructions).
    #[inline(always)]
    fn perform(&mut self, mark: u8) {
        let entry = &mut *self.entry;
        entry.queued &= !mark;
        let Some(function) = entry.subchannel.next_function() else { return };
        if class(function) != mark {
            // Overtaken since it was queued.
            return self.queues.enqueue(self.index, entry);
        }
        if function == Function::Start && entry.capabilities.contains(Capabilities::ENGINE) && entry.slot.is_none() {
            entry.slot = self.engine.acquire(self.index);
            if entry.slot.is_none() {
                // It stays start-pending in its subchannel: a halt or clear still reaches it.
                if entry.queued & queued::ENGINE == 0 {
                    entry.queued |= queued::ENGINE;
                    self.queues.waiting.push_back(self.index);
                }
                return;
            }
        }
        entry.subchannel.issued(function, self.books.now());
        if function.is_performed_here() {
            let mut answers = RingAnswers { ring: self.ring, books: self.books, subsystem: entry.subsystem.word() };
            entry.subchannel.perform_here(function, &mut answers);
            return self.settle();
        }
        self.books.counters.issued += 1;
        let orb = *entry.subchannel.orb();
        self.call(|device, cx| match function {
            Function::Start => device.start(cx, &orb),
            _ => tell(device, cx, function),
        });
    }

    /// Calls the device, and turns its answers into status.
    #[inline(always)]
    fn call(&mut self, call: impl FnOnce(&mut dyn SubchannelDevice, &mut DeviceContext<'_>)) {
        let before = self.timers.get(self.index);
        let mut timer = before;
        let mut cx = DeviceContext {
            now: self.books.now(),
            memory: self.memory,
            events: self.events,
            engine: self.engine,
            slot: self.entry.slot,
            timer: &mut timer,
        };
        call(&mut *self.entry.device, &mut cx);
        if timer != before {
            // Never in this turn again, so that a turn is bounded.
            self.timers.set(self.index, timer.map(|due| due.max(self.books.now() + 1)));
        }
        let entry = &mut *self.entry;
        let mut answers = RingAnswers { ring: self.ring, books: self.books, subsystem: entry.subsystem.word() };
        let mut next = 0;
        while let Some(event) = self.events.get(next) {
            next += 1;
            let sense = match event {
                DeviceEvent::Ended(status)
                    if status.device.contains(DeviceStatus::UNIT_CHECK) && entry.subchannel.wants_concurrent_sense() =>
                {
                    entry.device.take_sense()
                }
                _ => None,
            };
            entry.subchannel.event(event, sense, &mut answers);
        }
        self.events.clear();
        self.settle();
    }

    /// What is free again becomes work.
    #[inline(always)]
    fn settle(&mut self) {
        let entry = &mut *self.entry;
        if !entry.subchannel.device_busy() {
            if let Some(slot) = entry.slot.take() {
                self.engine.release(slot);
            }
        }
        if entry.subchannel.has_undelivered() && entry.queued & queued::UNDELIVERED == 0 {
            entry.queued |= queued::UNDELIVERED;
            self.queues.undelivered.push_back(self.index);
        }
        self.queues.enqueue(self.index, entry);
    }
}

/// Tells a device what is rarer than a start.
#[inline(never)]
fn tell(device: &mut dyn SubchannelDevice, cx: &mut DeviceContext<'_>, function: Function) {
    match function {
        Function::Resume => device.resume(cx),
        Function::Halt => device.halt(cx),
        Function::Clear => device.clear(cx),
        Function::Start | Function::HaltUnissued | Function::RefuseStart | Function::PresentStacked => {}
    }
}

impl Reactor {
    #[inline]
    fn station(&mut self, index: u32) -> Option<Station<'_>> {
        let entry = self.subchannels.get_mut(index)?;
        Some(Station {
            index,
            ring: self.rings.get_mut(entry.ring)?,
            memory: &self.guests.get(entry.guest)?.memory,
            entry,
            engine: &mut self.engine,
            events: &mut self.events,
            timers: &mut self.timers,
            queues: &mut self.queues,
            books: &mut self.books,
        })
    }

    /// Issues what the accepted instructions came to, in a turn that `took` some or did not. True if anything was.
    #[inline]
    pub(super) fn issue(&mut self, took: bool) -> bool {
        let mut room = self.engine.free_slots();
        while room > 0 {
            let Some(index) = self.queues.waiting.pop_front() else { break };
            if let Some(entry) = self.subchannels.get_mut(index) {
                entry.queued &= !queued::ENGINE;
                self.queues.enqueue(index, entry);
            }
            room -= 1;
        }
        if !self.queues.any() {
            return false;
        }
        // In a turn that took descriptors, intake's stamp is this stage's too: a second look at the clock made a null device slower (measured: up to
        // ×1.14 at batch 32, ×1.12 to ×1.25 one at a time), and only told how long intake takes, which the stages that follow now contain.
        if !took {
            self.books.look_at_clock();
        }
        self.pass_of_stops(queued::CLEAR);
        self.pass_of_stops(queued::HALT);
        self.pass(queued::START);
        true
    }

    #[inline(never)]
    fn pass_of_stops(&mut self, mark: u8) {
        self.pass(mark);
    }

    /// Issues all of a class. What a device answers at once may bring its subchannel here again; that is for the next turn, so that a turn is bounded.
    #[inline(always)]
    fn pass(&mut self, mark: u8) {
        let pass = self.queues.of(mark).begin();
        for &index in &pass {
            if let Some(mut station) = self.station(index) {
                station.perform(mark);
            }
        }
        self.queues.of(mark).end(pass);
    }

    /// The operation of a slot has ended.
    #[inline]
    pub(super) fn operation_ended(&mut self, slot: SlotId, owner: u32, result: OperationResult) {
        if let Some(mut station) = self.station(owner).filter(|station| station.entry.slot == Some(slot)) {
            station.call(|device, cx| device.operation_ended(cx, result));
        }
    }

    /// Calls the devices whose time has come. True if there were any.
    #[inline]
    pub(super) fn run_timers(&mut self) -> bool {
        if self.timers.next().is_none() {
            return false;
        }
        self.books.look_at_clock();
        let now = self.books.now();
        let mut any = false;
        while let Some(index) = self.timers.pop(now) {
            any = true;
            if let Some(mut station) = self.station(index) {
                station.call(|device, cx| device.timer(cx));
            }
        }
        any
    }

    /// Offers status again that had found no room. True if the guest was told something.
    pub(super) fn deliver_waiting(&mut self) -> bool {
        let mut told = false;
        for _ in 0..self.queues.undelivered.len() {
            let Some(index) = self.queues.undelivered.pop_front() else { break };
            let Some(Station { entry, ring, queues, books, .. }) = self.station(index) else { continue };
            let mut answers = RingAnswers { ring, books, subsystem: entry.subsystem.word() };
            entry.subchannel.deliver(&mut answers);
            // Status that is taken may have kept other status from being presented.
            queues.enqueue(index, entry);
            if entry.subchannel.has_undelivered() {
                queues.undelivered.push_back(index);
            } else {
                told = true;
                entry.queued &= !queued::UNDELIVERED;
            }
        }
        told
    }
}
