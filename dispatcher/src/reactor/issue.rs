// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: all clears first, then all halts, then the starts; and what the devices answer.

use super::answers::RingAnswers;
use super::books::Books;
use super::queues::{class, Queues};
use super::ring::Ring;
use super::table::{queued, Entry};
use super::timers::Timers;
use super::{Reactor, MOST_PER_RING_AND_TURN};
use crate::device::{Capabilities, DeviceContext, DeviceEvent, Events, SubchannelDevice};
use crate::engine::{OperationResult, SlotId, UringEngine};
use crate::memory::Memory;
use crate::subchannel::Function;
use fctl_ringabi::arch::{DeviceStatus, Orb};

/// For so many turns running a ring from which as much is taken as a turn may take keeps its starts waiting for engine slots. Enough for clears of 1,024
/// subchannels; and a guest that posts without a pause makes its own starts wait no longer than that.
const TURNS_TO_WAIT_FOR_CLEARS: u8 = 16;

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

impl Entry {
    /// True if what is next for it needs an engine slot that it does not have.
    #[inline]
    fn wants_slot(&self) -> bool {
        self.capabilities.contains(Capabilities::ENGINE)
            && self.slot.is_none()
            && matches!(self.subchannel.next_function(), Some(Function::Start | Function::Resume))
    }
}

impl Station<'_> {
    /// Issues what is next, if it belongs to this class.
    // Out of line, as all that is rarer than a start: the start's own way then needs no station in memory.
    #[inline(never)]
    fn perform(self, mark: u8) {
        let Some(function) = self.entry.subchannel.next_function() else {
            // It was cancelled: a slot that it was given goes back.
            return self.settle();
        };
        if class(function) != mark {
            // Overtaken since it was queued.
            return self.queues.enqueue(self.index, self.entry);
        }
        if self.entry.wants_slot() && !self.queues.take_slot(self.index, self.entry, self.engine) {
            return;
        }
        self.entry.subchannel.issued(function, self.books.now());
        if function.is_performed_here() {
            let entry = &mut *self.entry;
            let mut answers = RingAnswers { ring: self.ring, books: self.books, subsystem: entry.subsystem.word() };
            entry.subchannel.perform_here(function, &mut answers);
            return self.settle();
        }
        self.books.counters.issued += 1;
        self.call(|device, cx| match function {
            Function::Resume => device.resume(cx),
            Function::Halt => device.halt(cx),
            Function::Clear => device.clear(cx),
            // A start that is next does not come here.
            Function::Start | Function::HaltUnissued | Function::RefuseStart | Function::PresentStacked => {}
        });
    }

    /// Issues a start, or a resume, that has its slot.
    fn begin(self) {
        let Self { index, entry, ring, memory, engine, events, timers, queues, books } = self;
        if !entry.subchannel.start_is_next() {
            Self { index, entry, ring, memory, engine, events, timers, queues, books }.perform(queued::START);
        } else if !start(index, entry, memory, engine, events, timers, books) {
            Self { index, entry, ring, memory, engine, events, timers, queues, books }.hear();
        }
    }

    /// Calls the device, and turns its answers into status.
    #[inline(always)]
    fn call(self, call: impl FnOnce(&mut dyn SubchannelDevice, &mut DeviceContext<'_>)) {
        let Self { index, entry, memory, engine, events, timers, books, .. } = self;
        tell(index, entry, memory, engine, events, timers, books, |device, _, cx| call(device, cx));
        Self { index, entry, memory, engine, events, timers, books, ..self }.hear();
    }

    /// Turns the device's answers into status.
    #[inline(never)]
    fn hear(self) {
        let entry = &mut *self.entry;
        let mut answers = RingAnswers { ring: self.ring, books: self.books, subsystem: entry.subsystem.word() };
        if let Some(status) = self.events.only_end() {
            if entry.subchannel.ran(status, &mut answers) {
                self.events.clear();
                if let Some(slot) = entry.slot.take() {
                    self.engine.release(slot);
                }
                return;
            }
        }
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
    fn settle(self) {
        let entry = &mut *self.entry;
        // A program that is suspended has nothing in the kernel, for as long as its guest pleases.
        if !entry.subchannel.device_busy() || entry.subchannel.device_suspended() {
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

/// Calls a device.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "apart they stay in registers: behind one reference all of them would lie in memory"
)]
fn tell(
    index: u32,
    entry: &mut Entry,
    memory: &Memory,
    engine: &mut UringEngine,
    events: &mut Events,
    timers: &mut Timers,
    books: &Books,
    call: impl FnOnce(&mut dyn SubchannelDevice, &Orb, &mut DeviceContext<'_>),
) {
    let before = timers.get(index);
    let mut timer = before;
    let mut cx = DeviceContext { now: books.now(), memory, events, engine, slot: entry.slot, timer: &mut timer };
    call(&mut *entry.device, entry.subchannel.orb(), &mut cx);
    if timer != before {
        // Never in this turn again, so that a turn is bounded.
        timers.set(index, timer.map(|due| due.max(books.now() + 1)));
    }
}

/// Issues a start. False if what the device has answered is still to be [heard](Station::hear).
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "as for `tell`")]
fn start(
    index: u32,
    entry: &mut Entry,
    memory: &Memory,
    engine: &mut UringEngine,
    events: &mut Events,
    timers: &mut Timers,
    books: &mut Books,
) -> bool {
    books.counters.issued += 1;
    entry.subchannel.issued(Function::Start, books.now());
    tell(index, entry, memory, engine, events, timers, books, |device, orb, cx| device.start(cx, orb));
    // Nothing said: the device is at it.
    events.is_empty()
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
        let slots_are_waited_for = !self.queues.waiting.is_empty() && self.engine.free_slots() > 0;
        if !self.queues.any() && !slots_are_waited_for {
            return false;
        }
        // In a turn that took descriptors, intake's stamp is this stage's too: a second look at the clock made a null device slower (measured: up to
        // ×1.14 at batch 32, ×1.12 to ×1.25 one at a time), and only told how long intake takes, which the stages that follow now contain.
        if !took {
            self.books.look_at_clock();
        }
        if self.queues.any_stop() {
            self.pass_out_of_line::<false>(queued::CLEAR);
            self.pass_out_of_line::<false>(queued::HALT);
        }
        // No ring can have more than its share of a turn where there are no more in all.
        if self.queues.starts() <= MOST_PER_RING_AND_TURN as usize {
            self.pass::<false>(queued::START);
        } else {
            self.pass_out_of_line::<true>(queued::START);
        }
        if !self.queues.waiting.is_empty() {
            self.give_slots();
        }
        true
    }

    /// Issues what waited for an engine slot. All of this turn have got into line by now: if slots were given before, what is left when each ring had one would go
    /// to the ring that always has somebody in line. Who does not want a slot any more uses none up. Behind what a turn may take of a ring there may be clears
    /// of those that wait, so a ring that had its fill waits with its line for a while: a storm of clears then finds starts that were never issued.
    #[inline(never)]
    fn give_slots(&mut self) {
        while self.engine.free_slots() > 0 {
            let rings = &self.rings;
            let may_have_clears = |ring: &Ring| ring.serving() && (1..=TURNS_TO_WAIT_FOR_CLEARS).contains(&ring.had_its_fill);
            let may = |ring| rings.get(ring).is_none_or(|ring| ring.may_issue > 0 && !may_have_clears(ring));
            let Some(index) = self.queues.waiting.pop(may) else { break };
            let Some(station) = self.station(index) else { continue };
            station.entry.queued &= !queued::ENGINE;
            if !station.entry.wants_slot() {
                station.queues.enqueue(index, station.entry);
                continue;
            }
            station.entry.slot = station.engine.acquire(index);
            station.ring.may_issue = station.ring.may_issue.saturating_sub(1);
            // What stands in the queue of the next turn is issued then.
            if station.entry.queued & queued::START == 0 {
                station.begin();
            }
        }
    }

    #[inline(never)]
    fn pass_out_of_line<const SHARED: bool>(&mut self, mark: u8) {
        self.pass::<SHARED>(mark);
    }

    /// Issues all of a class; if they are `SHARED`, no more starts of a ring than its share of a turn. What a device answers at once may bring its subchannel here again; that is for the next turn, so that a turn is bounded.
    #[inline(always)]
    fn pass<const SHARED: bool>(&mut self, mark: u8) {
        let pass = self.queues.of(mark).begin();
        let Self { rings, guests, subchannels, engine, events, timers, queues, books, .. } = self;
        // Neighbours in a pass mostly have the same home.
        let mut home: Option<(u32, &mut Ring, &Memory)> = None;
        for &index in &pass {
            let Some(entry) = subchannels.get_mut(index) else { continue };
            if home.as_ref().is_none_or(|(place, ..)| *place != entry.ring) {
                let found = rings.get_mut(entry.ring).zip(guests.get(entry.guest));
                home = found.map(|(ring, guest)| (entry.ring, ring, &guest.memory));
            }
            let Some((_, ring, memory)) = &mut home else { continue };
            entry.queued &= !mark;
            if mark != queued::START || !entry.subchannel.start_is_next() {
                Station { index, entry, ring, memory, engine, events, timers, queues, books }.perform(mark);
            } else if SHARED && ring.may_issue == 0 {
                ring.put_off += 1;
                // Where the next pass finds it, before what comes in meanwhile.
                queues.enqueue_start(index, entry);
            } else if entry.capabilities.contains(Capabilities::ENGINE) && !queues.take_slot(index, entry, engine) {
                // It stays start-pending in its subchannel: a halt or clear still reaches it.
            } else {
                // Where slots are needed they count in any case: others of their ring may be given one behind this pass.
                if SHARED || ring.uses_engine {
                    ring.may_issue = ring.may_issue.saturating_sub(1);
                }
                if !start(index, entry, memory, engine, events, timers, books) {
                    Station { index, entry, ring, memory, engine, events, timers, queues, books }.hear();
                }
            }
        }
        self.queues.of(mark).end(pass);
    }

    /// The operation of a slot has ended.
    #[inline]
    pub(super) fn operation_ended(&mut self, slot: SlotId, owner: u32, result: OperationResult) {
        if let Some(station) = self.station(owner).filter(|station| station.entry.slot == Some(slot)) {
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
            if let Some(station) = self.station(index) {
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
