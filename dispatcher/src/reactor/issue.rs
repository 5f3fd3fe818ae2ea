// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: all clears first, then all halts, then the starts; and what the devices answer.

use super::ring::RingAnswers;
use super::table::{queued, Entry};
use super::Reactor;
use crate::clock;
use crate::device::{DeviceContext, DeviceEvent, SubchannelDevice};
use crate::engine::{OperationResult, SlotId};
use crate::subchannel::Function;
use fctl_ringabi::arch::DeviceStatus;
use std::collections::VecDeque;

/// Subchannels with something to do, by precedence. A subchannel stands in each queue at most once, so their capacity is the number of
/// subchannels, and nothing allocates.
#[derive(Debug, Default)]
pub(super) struct Queues {
    clears: VecDeque<u32>,
    halts: VecDeque<u32>,
    starts: VecDeque<u32>,
    /// Starts that wait for an engine slot, in order.
    pub(super) waiting: VecDeque<u32>,
    /// Status that waits for room in its ring.
    pub(super) undelivered: VecDeque<u32>,
}

impl Queues {
    /// Makes room for `count` subchannels.
    pub(super) fn reserve(&mut self, count: usize) {
        for queue in [&mut self.clears, &mut self.halts, &mut self.starts, &mut self.waiting, &mut self.undelivered] {
            queue.reserve(count.saturating_sub(queue.len()));
        }
    }

    /// Takes a subchannel out of all queues: it is going.
    pub(super) fn forget(&mut self, index: u32) {
        for queue in [&mut self.clears, &mut self.halts, &mut self.starts, &mut self.waiting, &mut self.undelivered] {
            queue.retain(|&other| other != index);
        }
    }

    /// True if something can be issued now.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.starts.is_empty() || !self.halts.is_empty() || !self.clears.is_empty()
    }

    /// Puts a subchannel into the queue of the function it should be told next, if there is one.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32, entry: &mut Entry) {
        let (queue, mark) = match entry.subchannel.next_function() {
            None => return,
            Some(function) => match class(function) {
                queued::CLEAR => (&mut self.clears, queued::CLEAR),
                queued::HALT => (&mut self.halts, queued::HALT),
                mark => (&mut self.starts, mark),
            },
        };
        if entry.queued & mark == 0 {
            entry.queued |= mark;
            queue.push_back(index);
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

impl Reactor {
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
            self.moment.now = clock::now();
        }
        // What a device answers at once may bring its subchannel here again; that is for the next turn, so that a turn is bounded.
        for _ in 0..self.queues.clears.len() {
            let Some(index) = self.queues.clears.pop_front() else { break };
            self.perform(index, queued::CLEAR);
        }
        for _ in 0..self.queues.halts.len() {
            let Some(index) = self.queues.halts.pop_front() else { break };
            self.perform(index, queued::HALT);
        }
        for _ in 0..self.queues.starts.len() {
            let Some(index) = self.queues.starts.pop_front() else { break };
            self.perform(index, queued::START);
        }
        true
    }

    #[inline]
    fn perform(&mut self, index: u32, mark: u8) {
        let Some(entry) = self.subchannels.get_mut(index) else { return };
        entry.queued &= !mark;
        let Some(function) = entry.subchannel.next_function() else { return };
        if class(function) != mark {
            // Overtaken since it was queued.
            return self.queues.enqueue(index, entry);
        }
        if function == Function::Start && entry.capabilities.contains(crate::device::Capabilities::ENGINE) && entry.slot.is_none()
        {
            entry.slot = self.engine.acquire(index);
            if entry.slot.is_none() {
                // It stays start-pending in its subchannel: a halt or clear still reaches it.
                if entry.queued & queued::ENGINE == 0 {
                    entry.queued |= queued::ENGINE;
                    self.queues.waiting.push_back(index);
                }
                return;
            }
        }
        entry.subchannel.issued(function, self.moment.now);
        if function.is_performed_here() {
            let Some(ring) = self.rings.get_mut(entry.ring) else { return };
            let mut answers = RingAnswers {
                ring,
                subsystem: entry.subsystem.word(),
                moment: self.moment,
                latencies: &mut self.latencies,
                counters: &mut self.counters,
                finals_of_turn: &mut self.finals_of_turn,
            };
            entry.subchannel.perform_here(function, &mut answers);
            return self.answer(index);
        }
        self.counters.issued += 1;
        let orb = *entry.subchannel.orb();
        self.call(index, |device, cx| match function {
            Function::Start => device.start(cx, &orb),
            Function::Resume => device.resume(cx),
            Function::Halt => device.halt(cx),
            Function::Clear => device.clear(cx),
            Function::HaltUnissued | Function::RefuseStart | Function::PresentStacked => {}
        });
    }

    /// Calls a device, and takes what it answers.
    #[inline]
    pub(super) fn call(&mut self, index: u32, call: impl FnOnce(&mut dyn SubchannelDevice, &mut DeviceContext<'_>)) {
        let Some(entry) = self.subchannels.get_mut(index) else { return };
        let Some(guest) = self.guests.get(entry.guest) else { return };
        let before = self.timers.get(index);
        let mut timer = before;
        let mut cx = DeviceContext {
            now: self.moment.now,
            memory: &guest.memory,
            events: &mut self.events,
            engine: &mut self.engine,
            slot: entry.slot,
            timer: &mut timer,
        };
        call(&mut *entry.device, &mut cx);
        if timer != before {
            self.timers.set(index, timer);
        }
        self.answer(index);
    }

    /// Turns the events of one device call into status, and what is free again into work.
    #[inline]
    fn answer(&mut self, index: u32) {
        let Some(entry) = self.subchannels.get_mut(index) else { return };
        let Some(ring) = self.rings.get_mut(entry.ring) else { return };
        let mut answers = RingAnswers {
            ring,
            subsystem: entry.subsystem.word(),
            moment: self.moment,
            latencies: &mut self.latencies,
            counters: &mut self.counters,
            finals_of_turn: &mut self.finals_of_turn,
        };
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
        if !entry.subchannel.device_busy() {
            if let Some(slot) = entry.slot.take() {
                self.engine.release(slot);
            }
            if self.timers.get(index).is_some() {
                self.timers.set(index, None);
            }
        }
        if entry.subchannel.has_undelivered() && entry.queued & queued::UNDELIVERED == 0 {
            entry.queued |= queued::UNDELIVERED;
            self.queues.undelivered.push_back(index);
        }
        self.queues.enqueue(index, entry);
    }

    /// The operation of a slot has ended.
    #[inline]
    pub(super) fn operation_ended(&mut self, slot: SlotId, owner: u32, result: OperationResult) {
        if self.subchannels.get(owner).is_some_and(|entry| entry.slot == Some(slot)) {
            self.call(owner, |device, cx| device.operation_ended(cx, result));
        }
    }

    /// Calls the devices whose time has come. True if there were any.
    #[inline]
    pub(super) fn run_timers(&mut self) -> bool {
        if self.timers.next().is_none() {
            return false;
        }
        let now = clock::now();
        self.moment.now = now;
        let mut any = false;
        // A timer that is set to "now" again waits for the next turn.
        for _ in 0..self.subchannels.len() {
            let Some(index) = self.timers.pop(now) else { break };
            any = true;
            self.call(index, |device, cx| device.timer(cx));
        }
        any
    }

    /// Offers status again that had found no room. True if the guest was told something.
    pub(super) fn deliver_waiting(&mut self) -> bool {
        let mut told = false;
        for _ in 0..self.queues.undelivered.len() {
            let Some(index) = self.queues.undelivered.pop_front() else { break };
            let Some(entry) = self.subchannels.get_mut(index) else { continue };
            let Some(ring) = self.rings.get_mut(entry.ring) else { continue };
            let mut answers = RingAnswers {
                ring,
                subsystem: entry.subsystem.word(),
                moment: self.moment,
                latencies: &mut self.latencies,
                counters: &mut self.counters,
                finals_of_turn: &mut self.finals_of_turn,
            };
            entry.subchannel.deliver(&mut answers);
            // Status that is taken may have kept other status from being presented.
            self.queues.enqueue(index, entry);
            if entry.subchannel.has_undelivered() {
                self.queues.undelivered.push_back(index);
            } else {
                told = true;
                entry.queued &= !queued::UNDELIVERED;
            }
        }
        told
    }
}
