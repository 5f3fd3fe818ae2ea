// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands behind a subchannel: the device interface, at the level of the ORB, and the devices.
//!
//! A device is told what to do ([`SubchannelDevice`]) and answers by events ([`DeviceEvent`]), at once or later. It never sees a ring, a
//! condition code or a tag. The rules between the two:
//!
//! * After [`start`](SubchannelDevice::start) exactly one of [`Ended`](DeviceEvent::Ended), [`Refused`](DeviceEvent::Refused),
//!   [`Halted`](DeviceEvent::Halted) (only after a halt) or [`Cleared`](DeviceEvent::Cleared) (only after a clear) ends the start.
//! * After [`halt`](SubchannelDevice::halt) the answer is `Halted`, or `Ended` if the device ended by itself first.
//! * After [`clear`](SubchannelDevice::clear) the answer is `Cleared` and nothing else, also when the device was idle.
//! * **None of these four may be given while an operation of the device is in the kernel**: after it, the guest's pages and the
//!   volume are no longer touched.

use crate::engine::{Engine, OperationResult, SlotId};
use crate::memory::Memory;
use bitflags::bitflags;
use fctl_ringabi::arch::{DeviceStatus, Orb, SubchannelStatus};
use std::os::fd::RawFd;

pub mod delay;
pub mod emulated;
pub mod fba;
pub mod null;

bitflags! {
    /// What a device can do and needs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Capabilities: u8 {
        /// A start needs an engine slot, and waits in its subchannel until there is one.
        const ENGINE = 0x01;
        /// Knows suspend and resume.
        const RESUME = 0x02;
    }
}

/// Sense bytes, as a unit check leaves them: as many as the device has, 32 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    bytes: [u8; 32],
    count: u8,
}

impl Sense {
    /// These bytes; more than 32 do not fit and are left out.
    pub fn new(bytes: &[u8]) -> Self {
        let mut sense = Self { bytes: [0; 32], count: 0 };
        for (to, from) in sense.bytes.iter_mut().zip(bytes) {
            *to = *from;
            sense.count += 1;
        }
        sense
    }

    /// The bytes that there are.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// How many, as the extended-report word counts them.
    pub const fn count(&self) -> u8 {
        self.count
    }
}

/// Status that a device presents: what goes into the SCSW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Device status.
    pub device: DeviceStatus,
    /// Subchannel status.
    pub subchannel: SubchannelStatus,
    /// CCW address: last CCW used + 8 (reference: table "CCW address and residual count").
    pub ccw_address: u32,
    /// Residual count of the last CCW.
    pub residual: u16,
}

impl Default for Status {
    fn default() -> Self {
        Self { device: DeviceStatus::empty(), subchannel: SubchannelStatus::empty(), ccw_address: 0, residual: 0 }
    }
}

/// Channel end and device end, and nothing else: how nearly all starts end. One word, so that it is returned in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainEnd(u64);

impl PlainEnd {
    /// With this CCW address and residual count, which are as in [`Status`].
    #[inline]
    pub const fn new(ccw_address: u32, residual: u16) -> Self {
        Self((ccw_address as u64) << 32 | residual as u64)
    }

    /// The status that it stands for.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "each cast takes what `new` has put there")]
    pub const fn status(self) -> Status {
        let device = DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END);
        Status { device, subchannel: SubchannelStatus::empty(), ccw_address: (self.0 >> 32) as u32, residual: self.0 as u16 }
    }
}

/// What a device tells its subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// The start ended: channel end with device end, or with a check. If device end is missing and nothing went wrong, a
    /// [`Secondary`](Self::Secondary) follows.
    Ended(Status),
    /// The start goes on, with something to tell (program-controlled or initial-status interruption).
    Intermediate(Status),
    /// The first command was accepted with zero status, and the ORB asked to be told (initial-status interruption).
    InitialStatus(Status),
    /// The program is suspended. No operation of the device may be in the kernel: the engine slot is taken away until the resume.
    Suspended(Status),
    /// Device end, after an `Ended` with channel end alone.
    Secondary(Status),
    /// Status that no start asked for: attention, or a change of state.
    Unsolicited(Status),
    /// The start could not be initiated: deferred condition code 1 (with the status that stands in the way) or 3 (no path).
    Refused {
        /// 1 or 3.
        deferred_cc: u8,
        /// Status that blocked the start.
        status: Status,
    },
    /// The halt function was performed; the start, if there was one, is over. The status may be empty.
    Halted(Status),
    /// As [`Halted`](Self::Halted), but device end is still to come as [`Secondary`](Self::Secondary).
    HaltedDeviceActive(Status),
    /// The clear function was performed; everything the device had is gone.
    Cleared,
}

/// The events of one call of a device, in order. Bounded: a device gives at most one event of each sort in a call.
#[derive(Debug, Default)]
pub struct Events {
    queue: [Option<DeviceEvent>; 4],
    first: usize,
    used: usize,
}

impl Events {
    /// Adds an event. One too many is dropped if it is intermediate, which may coalesce; a device that gives too many others is broken, and
    /// the debug build says so.
    #[inline]
    pub fn push(&mut self, event: DeviceEvent) {
        match self.queue.get_mut(self.used) {
            Some(place) => {
                *place = Some(event);
                self.used += 1;
            }
            None => debug_assert!(matches!(event, DeviceEvent::Intermediate(_)), "device gave too many events: {event:?}"),
        }
    }

    /// Takes the oldest event.
    #[inline]
    pub fn pop(&mut self) -> Option<DeviceEvent> {
        if self.first == self.used {
            self.first = 0;
            self.used = 0;
            return None;
        }
        let event = self.queue.get_mut(self.first).and_then(Option::take);
        self.first += 1;
        event
    }

    /// The event that is `index` places behind the oldest, where it lies: to [`pop`](Self::pop) it copies it widely right behind the narrow stores
    /// that made it, and that copy has to wait for them (measured with a null device: ×1.05 to ×1.31).
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&DeviceEvent> {
        self.queue.get(self.first..self.used)?.get(index)?.as_ref()
    }

    /// The status of an end, if that is the only event.
    #[inline(always)]
    pub(crate) fn only_end(&self) -> Option<&Status> {
        match &self.queue[0] {
            Some(DeviceEvent::Ended(status)) if self.used == 1 && self.first == 0 => Some(status),
            _ => None,
        }
    }

    /// Forgets all events.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.first = 0;
        self.used = 0;
    }

    /// True if there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first == self.used
    }
}

/// What a device may use while it is called.
pub struct DeviceContext<'a> {
    /// Nanoseconds of the monotonic clock at the beginning of this turn.
    pub now: u64,
    /// The guest's memory.
    pub memory: &'a Memory,
    /// Where events go.
    pub events: &'a mut Events,
    /// The engine.
    pub engine: &'a mut dyn Engine,
    /// The engine slot of the running start; none for a device without [`Capabilities::ENGINE`], or while no start runs.
    pub slot: Option<SlotId>,
    /// When [`SubchannelDevice::timer`] is to be called (nanoseconds, as `now`): in a later turn, however soon. Holds the current setting, to be changed or
    /// taken away; one timer per subchannel, gone when it was called. An idle device may have one too, to present unsolicited status.
    pub timer: &'a mut Option<u64>,
}

/// What a device stores its data on. Several devices may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing<'a> {
    /// The same for all devices that share it, and for no others.
    pub id: usize,
    /// Its name, for people.
    pub name: &'a str,
}

/// A device behind a subchannel. Only the reactor's thread calls it, and never while another call is under way.
pub trait SubchannelDevice: Send {
    /// What it can do and needs.
    fn capabilities(&self) -> Capabilities;

    /// Performs a start that ends where it begins, with nothing but channel end and device end: it needs no engine slot, no time and no memory of the guest, and
    /// has nothing else to tell. With nothing it is not begun, and [`start`](Self::start) follows. A dispatcher may ask, or go straight to `start`, so that
    /// must come to the same. A ring that comes later in the turn may hold a clear, which goes out after it: such a device shares nothing with subchannels of other rings.
    fn start_at_once(&mut self, _orb: &Orb) -> Option<PlainEnd> {
        None
    }

    /// Starts a channel program. The ORB has been checked by the rules of START SUBCHANNEL, no more.
    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb);

    /// Resumes a suspended program: the suspended CCW is fetched again. Called only with [`Capabilities::RESUME`].
    fn resume(&mut self, _cx: &mut DeviceContext<'_>) {}

    /// Stops the running start as soon as possible, or an idle device for the sake of the signal.
    fn halt(&mut self, cx: &mut DeviceContext<'_>);

    /// Stops everything and forgets all status.
    fn clear(&mut self, cx: &mut DeviceContext<'_>);

    /// Becomes what it was when it was attached: status, sense and reservations are forgotten. Called only when nothing of it is in the kernel and no
    /// start, halt or clear is unanswered. Its timer is gone. A device that wraps another one passes this on.
    fn reset(&mut self) {}

    /// The operation of this device's slot has ended.
    fn operation_ended(&mut self, _cx: &mut DeviceContext<'_>, _result: OperationResult) {}

    /// The time set in [`DeviceContext::timer`] has come.
    fn timer(&mut self, _cx: &mut DeviceContext<'_>) {}

    /// What it stores its data on, if operations on that can take long: when one never ends, all devices on it are declared stuck.
    fn backing(&self) -> Option<Backing<'_>> {
        None
    }

    /// The open files that it names in its operations, if these stay the same and open as long as it is attached. They are registered with the io_uring, which spares
    /// the kernel a look at the process's descriptors for each operation, and lets it keep them open for a while after that (Linux before 6.13: at least until all operations
    /// have ended that were begun before), so no lock should hang on them. A device that wraps another one passes this on. Not on the data path.
    fn files(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// Sense bytes of the last unit check, taken away from the device: concurrent sense (PMCW.S = 1).
    fn take_sense(&mut self) -> Option<Sense> {
        None
    }
}
