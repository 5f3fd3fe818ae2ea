// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach, detach, drain: what changes while the reactor runs. All of it on the reactor's thread, between turns.

use super::answers::RingAnswers;
use super::ring::{Ring, State, Waiter};
use super::table::{Entry, Guest};
use super::{Reactor, MOST_PER_RING_AND_TURN};
use crate::device::{Capabilities, SubchannelDevice};
use crate::host::HostEnds;
use crate::memory::Memory;
use crate::region::Region;
use crate::subchannel::{StatusMode, Subchannel};
use fctl_ringabi::arch::SubsystemId;
use fctl_ringabi::{DispatcherPort, HeaderError, Violation};
use std::os::fd::AsRawFd;
use std::time::Instant;
use vmm_sys_util::eventfd::EventFd;

/// A guest that is attached. Once it is detached, this names nothing any more, also when others are attached after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestId {
    place: u32,
    /// Counts all that were ever attached: places are used again, numbers not.
    number: u32,
}

/// A ring that is attached. Once it is detached, this names nothing any more, also when others are attached after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId {
    place: u32,
    /// As in [`GuestId`].
    number: u32,
}

/// Why something cannot be attached or detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The ring's header breaks a rule.
    #[error("the ring cannot be attached: {0}")]
    Header(#[from] HeaderError),
    /// No such guest.
    #[error("guest {0:?} is not attached")]
    NoGuest(GuestId),
    /// No such ring.
    #[error("ring {0:?} is not attached")]
    NoRing(RingId),
    /// [`Reactor::stop`] was asked for.
    #[error("the dispatcher is stopping: no ring is attached any more, make another dispatcher for it")]
    Stopping,
    /// The ring is being drained or detached, or was fenced.
    #[error("ring {0:?} is being drained or detached, or is fenced: only a served ring takes subchannels")]
    NotServing(RingId),
    /// Somebody waits for this ring already.
    #[error("ring {0:?} is being drained or detached already")]
    Busy(RingId),
    /// The number breaks the rules of the subsystem-identification word.
    #[error("subsystem-identification word {0:#010x} is not valid: 0x0001nnnn to 0x0007nnnn (odd third digit) are accepted")]
    SubsystemId(u32),
    /// The guest has it already.
    #[error("subchannel {0:#010x} is attached already")]
    SubchannelExists(u32),
    /// The guest has no such subchannel.
    #[error("subchannel {0:#010x} is not attached")]
    NoSubchannel(u32),
    /// The guest still has rings.
    #[error("guest {guest:?} still has {rings} rings: detach them first")]
    GuestHasRings {
        /// The guest.
        guest: GuestId,
        /// How many.
        rings: u32,
    },
}

/// The ends of a ring that the embedder gives to the dispatcher.
#[derive(Debug)]
pub struct RingEnds {
    /// The formatted region.
    pub region: Region,
    /// Rung by the guest when the dispatcher sleeps (an ioeventfd, for KVM).
    pub doorbell: EventFd,
    /// Written by the dispatcher when the guest sleeps (an irqfd, for KVM). Make it non-blocking (`EFD_NONBLOCK`): io_uring gives a write that could block to a
    /// worker of the kernel's, and the guest wakes up some 50 to 80 µs later (measured; p99 4 ms instead of 0.3 ms). A blocking one works, too.
    pub notification: EventFd,
}

/// How a subchannel is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubchannelOptions {
    /// Device number.
    pub devno: u16,
    /// Enabled from the beginning (PMCW.E); else the guest enables it by MODIFY SUBCHANNEL.
    pub enabled: bool,
    /// When the guest learns its status.
    pub mode: StatusMode,
}

impl SubchannelOptions {
    /// An enabled subchannel in delivered mode.
    pub const fn new(devno: u16) -> Self {
        Self { devno, enabled: true, mode: StatusMode::Delivered }
    }

    /// With another [`enabled`](Self::enabled).
    #[must_use]
    pub const fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// With another [`mode`](Self::mode).
    #[must_use]
    pub const fn with_mode(self, mode: StatusMode) -> Self {
        Self { mode, ..self }
    }
}

/// How many of each are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Guests.
    pub guests: usize,
    /// Rings.
    pub rings: usize,
    /// Subchannels.
    pub subchannels: usize,
    /// Operations in the kernel.
    pub in_flight: usize,
}

/// Where a ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingStatus {
    /// Descriptors are being taken.
    pub serving: bool,
    /// Why it was fenced, if it was.
    pub fenced: Option<Violation>,
    /// Completions owed to descriptors that were taken.
    pub owed: u64,
}

impl Reactor {
    /// Attaches a guest: its memory, and subchannel numbers of its own.
    pub fn attach_guest(&mut self, memory: Memory) -> GuestId {
        let number = self.next_number();
        GuestId { place: self.guests.insert(Guest::new(memory, number)), number }
    }

    fn next_number(&mut self) -> u32 {
        self.attached = self.attached.wrapping_add(1);
        self.attached
    }

    /// The place of a guest, if it is attached.
    pub(super) fn place_of_guest(&self, guest: GuestId) -> Result<u32, AttachError> {
        let found = self.guests.get(guest.place).filter(|entry| entry.number == guest.number);
        found.map(|_| guest.place).ok_or(AttachError::NoGuest(guest))
    }

    fn place_of_ring(&self, ring: RingId) -> Result<u32, AttachError> {
        let found = self.rings.get(ring.place).filter(|entry| entry.number == ring.number);
        found.map(|_| ring.place).ok_or(AttachError::NoRing(ring))
    }

    /// Attaches a formatted ring pair of a guest.
    ///
    /// # Errors
    /// The header breaks a rule, there is no such guest, or the reactor is stopping.
    pub fn attach_ring(&mut self, guest: GuestId, ends: RingEnds) -> Result<RingId, AttachError> {
        if self.stopping {
            return Err(AttachError::Stopping);
        }
        let home = self.place_of_guest(guest)?;
        let port = DispatcherPort::attach(ends.region.words().clone())?;
        if let Some(entry) = self.guests.get_mut(home) {
            entry.rings += 1;
        }
        let (number, doorbell) = (self.next_number(), ends.doorbell.as_raw_fd());
        let place = self.rings.insert(Ring::new(port, number, home, ends.doorbell, ends.notification));
        self.engine.watch(place, doorbell);
        Ok(RingId { place, number })
    }

    /// Attaches the ring of a [`HostRing`](crate::host::HostRing).
    ///
    /// # Errors
    /// There is no such guest, or the reactor is stopping.
    pub fn attach_host_ring(&mut self, guest: GuestId, ends: HostEnds) -> Result<RingId, AttachError> {
        let ring = self.attach_ring(guest, ends.ends)?;
        if let Some(entry) = self.rings.get_mut(ring.place) {
            entry.host = Some(ends.side);
        }
        Ok(ring)
    }

    /// Attaches a subchannel with its device to its home ring.
    ///
    /// # Errors
    /// No such ring, a number against the rules, or one that the guest has already.
    pub fn attach_subchannel(
        &mut self,
        home: RingId,
        id: SubsystemId,
        options: SubchannelOptions,
        device: Box<dyn SubchannelDevice>,
    ) -> Result<(), AttachError> {
        let home_place = self.place_of_ring(home)?;
        let ring = self.rings.get_mut(home_place).ok_or(AttachError::NoRing(home))?;
        if !ring.serving() {
            return Err(AttachError::NotServing(home));
        }
        id.check().map_err(|_| AttachError::SubsystemId(id.word()))?;
        let guest = self.guests.get_mut(ring.guest).ok_or(AttachError::NoRing(home))?;
        if guest.find(id).is_some() {
            return Err(AttachError::SubchannelExists(id.word()));
        }
        ring.subchannels += 1;
        let capabilities = device.capabilities();
        ring.uses_engine |= capabilities.contains(Capabilities::ENGINE);
        ring.may_run_through |= ring.host.is_none() && !capabilities.contains(Capabilities::ENGINE);
        self.queues.waiting.reserve(home.place, ring.subchannels as usize);
        let files = device.files();
        let place = self.subchannels.insert(Entry {
            subchannel: Subchannel::new(options.devno, options.enabled, options.mode),
            capabilities,
            device,
            slot: None,
            ran_through: 0,
            queued: 0,
            ring: home_place,
            guest: ring.guest,
            subsystem: id,
            enabled: options.enabled,
        });
        guest.insert(id, place);
        self.engine.register_files(place, files);
        // From here on nothing on the data path allocates for it.
        let count = self.subchannels.places() as usize;
        self.queues.reserve(count);
        self.timers.reserve(count);
        Ok(())
    }

    /// Stops taking descriptors from a ring and waits for what runs to end by itself. At the deadline `reply` gets the subsystem-identification words
    /// of the subchannels that are still busy; an empty list means the ring is quiet. The ring stays attached and takes nothing more.
    ///
    /// # Errors
    /// No such ring, or somebody waits for it already.
    pub fn drain(
        &mut self,
        ring: RingId,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let place = self.place_of_ring(ring)?;
        let entry = self.rings.get_mut(place).ok_or(AttachError::NoRing(ring))?;
        if entry.waiter.is_some() || matches!(entry.state, State::Detaching) {
            return Err(AttachError::Busy(ring));
        }
        if entry.serving() {
            entry.state = State::Draining;
        }
        entry.waiter = Some(Waiter { deadline, reply });
        self.wait_for(place);
        Ok(())
    }

    /// Takes a ring and its subchannels away. What runs is stopped as by a clear, the descriptors taken get their finals, and when the kernel has given back
    /// every buffer, ring, subchannels and devices are gone and `reply` gets an empty list. At the deadline it gets the subsystem-identification
    /// words that are still busy; the ring then goes by itself as soon as it can.
    ///
    /// # Errors
    /// No such ring, or it is going already.
    pub fn detach_ring(
        &mut self,
        ring: RingId,
        deadline: Option<Instant>,
        reply: Box<dyn FnOnce(Vec<u32>) + Send>,
    ) -> Result<(), AttachError> {
        let place = self.place_of_ring(ring)?;
        let entry = self.rings.get_mut(place).ok_or(AttachError::NoRing(ring))?;
        if entry.waiter.is_some() || matches!(entry.state, State::Detaching) {
            return Err(AttachError::Busy(ring));
        }
        entry.waiter = Some(Waiter { deadline, reply });
        self.begin_detach(place);
        Ok(())
    }

    /// What runs on a ring is stopped, and the ring goes when all is quiet.
    fn begin_detach(&mut self, place: u32) {
        let Some(ring) = self.rings.get(place) else { return };
        let fenced = matches!(ring.state, State::Fenced);
        self.engine.unwatch(place, ring.doorbell.as_raw_fd());
        if !fenced {
            self.stop_all(place);
        }
        if let Some(ring) = self.rings.get_mut(place) {
            ring.state = State::Detaching;
        }
        self.wait_for(place);
    }

    /// Takes a guest away that has no rings any more.
    ///
    /// # Errors
    /// No such guest, or it still has rings.
    pub fn detach_guest(&mut self, guest: GuestId) -> Result<(), AttachError> {
        let place = self.place_of_guest(guest)?;
        let rings = self.guests.get(place).map_or(0, |entry| entry.rings);
        if rings > 0 {
            return Err(AttachError::GuestHasRings { guest, rings });
        }
        // Without rings it has nothing in the kernel; and its place may be another guest's soon.
        self.settle_memory();
        self.guests.remove(place);
        Ok(())
    }

    /// Stops for good: every ring is detached, and none is attached any more; [`finished`](Self::finished) tells when all is quiet. Who waits for a ring to be
    /// drained gets the answer when it has gone, or at the deadline.
    pub fn stop(&mut self) {
        self.stopping = true;
        for place in 0..self.rings.places() {
            let Some(ring) = self.rings.get(place) else { continue };
            // One that is going already needs no second word.
            if !matches!(ring.state, State::Detaching) {
                self.begin_detach(place);
            }
        }
    }

    /// What is attached.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            guests: self.guests.len(),
            rings: self.rings.len(),
            subchannels: self.subchannels.len(),
            in_flight: self.engine.in_flight_count(),
        }
    }

    /// Where a ring stands; none if it is not attached.
    pub fn ring_status(&self, ring: RingId) -> Option<RingStatus> {
        let ring = self.rings.get(self.place_of_ring(ring).ok()?)?;
        Some(RingStatus { serving: ring.serving(), fenced: ring.violation, owed: ring.owed })
    }

    /// The guest broke the protocol: its ring alone stops.
    #[cold]
    pub(super) fn fence(&mut self, place: u32, violation: Violation) {
        let Some(ring) = self.rings.get_mut(place) else { return };
        // What was decided before the violation was found is told; a guest that sees the fence finds all that there will ever be.
        ring.port.publish();
        if let Some(host) = &mut ring.host {
            host.published();
        }
        ring.state = State::Fenced;
        ring.violation = Some(violation);
        ring.port.fence(violation.fence_reason());
        if let Some(host) = &ring.host {
            host.leave();
        }
        self.books.counters.fenced += 1;
        // A guest that sleeps would never learn of it.
        self.notify(place);
        tracing::warn!(ring = place, %violation, "ring fenced");
        self.stop_all(place);
    }

    /// Clears every subchannel of a ring, as if by CLEAR SUBCHANNEL that nobody waits for.
    fn stop_all(&mut self, place: u32) {
        for index in 0..self.subchannels.places() {
            let Some(entry) = self.subchannels.get_mut(index).filter(|entry| entry.ring == place) else { continue };
            let Some(ring) = self.rings.get_mut(place) else { return };
            let mut answers = RingAnswers { ring, books: &mut self.books, subsystem: entry.subsystem.word() };
            entry.subchannel.stop(&mut answers);
            self.queues.enqueue(index, entry);
        }
    }

    /// Turns until nothing is left to do, for tests and for embedders that shut down. Gives up after `turns`.
    pub fn settle(&mut self, turns: u32) -> bool {
        for _ in 0..turns {
            if !self.turn(MOST_PER_RING_AND_TURN) && self.engine.in_flight_count() == 0 && !self.queues.any() {
                return true;
            }
        }
        false
    }
}
