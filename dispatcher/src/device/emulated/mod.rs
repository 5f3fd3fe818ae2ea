// SPDX-License-Identifier: MIT OR Apache-2.0
//! Emulated devices: the interpreter of channel programs (Principles of Operation ch. 15), over a [`ControlUnit`].
//!
//! [`Emulated`] fetches CCWs, checks them, chains, finds the data and keeps count; the control unit judges commands. It is a resumable
//! state machine: a program that waits for I/O holds no thread, and one that is long without I/O gives way after
//! [`Limits::ccws_per_call`] CCWs (through the timer) and goes on in the next turn.
//!
//! Data goes straight between the volume and guest memory: the storage areas of a command's data-chained CCWs are gathered into the engine
//! slot's segments, one operation per *piece* of at most [`Limits::stop_grain`] bytes. Where the guest's memory has a
//! [`Sink`](crate::memory::Sink), a read fills a buffer of the device instead, which is as large as one piece and made by the first read; what the
//! operation has moved goes to the sink when the kernel has ended it, and what was stopped does not go there at all. Halt and clear act between pieces; with a piece in the
//! kernel they ask for its cancellation and are answered when it has really ended.
//!
//! # What differs from a channel
//! * Storage keys and the address limit are not enforced; a hypervisor's guest has no keys here.
//! * The initial-status interruption (ORB.I) is given when the program goes on in the kernel or in a later turn. A program that ends or suspends before
//!   that says nothing of it.
//! * A data address outside the memory is found when its piece is gathered; nothing of that CCW's (or IDAW's) range is moved then, the ranges
//!   before are.
//! * Command retry, device end apart from channel end, and read backward are not there; no unit has them yet.

mod area;
mod control_unit;
mod exchange;
mod gather;
mod landing;
mod limits;
mod moving;
mod program;
mod scratch;
mod word;

pub use control_unit::{
    Action, ControlUnit, Direction, Fault, Transfer, UnitBytes, ENDED_WELL, ENDED_WITH_CHECK, MOST_UNIT_BYTES,
};
pub use limits::Limits;

use super::{Backing, Capabilities, DeviceContext, DeviceEvent, Sense, Status, SubchannelDevice};
use crate::engine::OperationResult;
use crate::volume::Volume;
use fctl_ringabi::arch::{DeviceStatus, Orb, OrbControl, SubchannelStatus};
use landing::Landing;
use moving::Moving;
use program::{Fetched, Program, ProgramCheck};
use std::os::fd::RawFd;

/// Where a start stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Idle,
    /// The first command is to be fetched. Never between calls.
    First,
    /// The next command is to be fetched. Between calls: the program gave way and waits for the timer.
    Next,
    /// The next piece of a [`Transfer`] is to be gathered, or there is none any more. Never between calls.
    Move,
    /// An operation is in the kernel.
    InFlight,
    /// Waits for RESUME SUBCHANNEL.
    Suspended,
}

/// The initial-status interruption of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitialStatus {
    /// Not asked for, or told, or too late to be told.
    Nothing,
    /// The ORB asks for it; no command with data was accepted yet.
    Awaited,
    /// The first one was, and it is to be told. The CCW address to report.
    Accepted(u32),
}

/// What was asked for while an operation was in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Halt,
    Clear,
}

/// An emulated device: a control unit behind the interpreter of channel programs.
///
/// It owns memory that the kernel may be writing (for skipped input, and for what a sink is to store), so, like every device, it is dropped only when no operation of its
/// slot is in the kernel.
pub struct Emulated<U> {
    unit: U,
    limits: Limits,
    phase: Phase,
    initial: InitialStatus,
    stop: Option<Stop>,
    program: Program,
    moving: Moving,
    bytes: UnitBytes,
    landing: Landing,
}

impl<U: ControlUnit> Emulated<U> {
    /// A device with the default limits.
    pub fn new(unit: U) -> Self {
        Self::with_limits(unit, Limits::default())
    }

    /// A device with limits of its own. A limit of 0 counts as 1.
    pub fn with_limits(unit: U, limits: Limits) -> Self {
        let limits = Limits {
            stop_grain: limits.stop_grain.max(1),
            ccws_per_call: limits.ccws_per_call.max(1),
            ccws_without_data: limits.ccws_without_data.max(1),
        };
        Self {
            unit,
            limits,
            phase: Phase::Idle,
            initial: InitialStatus::Nothing,
            stop: None,
            program: Program::none(),
            moving: Moving::nothing(),
            bytes: [0; MOST_UNIT_BYTES],
            landing: Landing::new(),
        }
    }

    /// The control unit.
    pub fn unit(&self) -> &U {
        &self.unit
    }

    /// Goes on from this phase as far as possible: until the program ends, waits, suspends, or has had its share of this turn.
    #[inline]
    fn run(&mut self, cx: &mut DeviceContext<'_>, from: Phase) {
        let mut phase = from;
        let mut share = self.limits.ccws_per_call;
        loop {
            phase = match phase {
                Phase::First | Phase::Next => {
                    if share == 0 {
                        *cx.timer = Some(cx.now);
                        break;
                    }
                    share -= 1;
                    self.next_command(cx, phase == Phase::First)
                }
                Phase::Move => self.move_piece(cx),
                Phase::Idle | Phase::InFlight | Phase::Suspended => break,
            };
        }
        self.phase = phase;
        if phase != Phase::Idle {
            self.tell_what_is_intermediate(cx);
        }
    }

    #[inline(always)]
    fn next_command(&mut self, cx: &mut DeviceContext<'_>, first: bool) -> Phase {
        match self.program.fetch(cx.memory, first) {
            Ok(Fetched::InControl) => self.execute(cx),
            Ok(Fetched::Suspend) => {
                self.tell_what_is_intermediate(cx);
                self.initial = InitialStatus::Nothing;
                cx.events.push(DeviceEvent::Suspended(Status { ccw_address: self.program.reported(), ..Status::default() }));
                Phase::Suspended
            }
            // The device has no part in it: its status is empty.
            Err(check) => self.program_check(cx, check, DeviceStatus::empty()),
        }
    }

    #[inline(always)]
    fn execute(&mut self, cx: &mut DeviceContext<'_>) -> Phase {
        let command = self.program.command;
        let action = self.unit.command(command, &mut self.bytes);
        match action {
            Action::Immediate(status) => self.immediate(cx, status),
            Action::Check => self.end(cx, ENDED_WITH_CHECK, SubchannelStatus::empty()),
            Action::Busy => self.end(cx, DeviceStatus::BUSY, SubchannelStatus::empty()),
            Action::Send { length } => {
                self.accepted();
                self.send(cx, length)
            }
            Action::Receive { length } => {
                self.accepted();
                // What the commands of a disk's common programs have.
                let whole = match length {
                    8 => self.receive_whole::<8>(cx, command),
                    16 => self.receive_whole::<16>(cx, command),
                    _ => None,
                };
                whole.unwrap_or_else(|| self.receive(cx, command, length))
            }
            Action::Move(transfer) => {
                self.accepted();
                self.begin_transfer(cx, transfer)
            }
        }
    }

    /// A command with data has been accepted.
    #[inline(always)]
    fn accepted(&mut self) {
        if self.initial == InitialStatus::Awaited {
            self.initial = InitialStatus::Accepted(self.program.reported());
        }
    }

    /// An immediate command has ended: no data, so only some programs mind a count.
    fn immediate(&mut self, cx: &mut DeviceContext<'_>, status: DeviceStatus) -> Phase {
        let ccw = self.program.ccw;
        let incorrect = self.program.minds_immediate_length() && ccw.count() != 0 && !ccw.suppresses_length();
        self.chain_or_end(cx, status, incorrect)
    }

    /// A command with data has ended. `more`: the unit had more data, or wanted more, than the CCWs took.
    #[inline(always)]
    fn complete(&mut self, cx: &mut DeviceContext<'_>, status: DeviceStatus, more: bool) -> Phase {
        let ccw = self.program.ccw;
        // With CD still on, the CCWs chained after this one were not used up.
        let differs = more || self.program.area.left() != 0 || ccw.chains_data();
        let incorrect_length = differs && !ccw.suppresses_length();
        self.chain_or_end(cx, status, incorrect_length)
    }

    #[inline(always)]
    fn chain_or_end(&mut self, cx: &mut DeviceContext<'_>, status: DeviceStatus, incorrect_length: bool) -> Phase {
        let unusual = status - DeviceStatus::STATUS_MODIFIER != ENDED_WELL;
        if unusual || !(incorrect_length || self.program.ccw.chains_command()) {
            self.end(cx, status, SubchannelStatus::empty())
        } else if incorrect_length {
            self.end(cx, status, SubchannelStatus::INCORRECT_LENGTH)
        } else {
            if status.contains(DeviceStatus::STATUS_MODIFIER) {
                self.program.skip_command();
            }
            Phase::Next
        }
    }

    #[inline(never)]
    fn program_check(&mut self, cx: &mut DeviceContext<'_>, check: ProgramCheck, device: DeviceStatus) -> Phase {
        self.end_at(cx, device, SubchannelStatus::PROGRAM_CHECK, program::report(check.at))
    }

    #[inline(always)]
    fn end(&mut self, cx: &mut DeviceContext<'_>, device: DeviceStatus, subchannel: SubchannelStatus) -> Phase {
        self.end_at(cx, device, subchannel, self.program.reported())
    }

    /// The one place where a start ends by itself. A PCI that nobody was told yet goes with the ending status.
    #[inline(always)]
    fn end_at(
        &mut self,
        cx: &mut DeviceContext<'_>,
        device: DeviceStatus,
        mut subchannel: SubchannelStatus,
        ccw_address: u32,
    ) -> Phase {
        subchannel.set(SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, self.program.pci);
        self.program.pci = false;
        self.initial = InitialStatus::Nothing;
        #[allow(clippy::cast_possible_truncation, reason = "an area never has more left than the CCW's count")]
        let residual = self.program.area.left() as u16;
        cx.events.push(DeviceEvent::Ended(Status { device, subchannel, ccw_address, residual }));
        Phase::Idle
    }

    /// The program goes on and has something to tell.
    fn tell_what_is_intermediate(&mut self, cx: &mut DeviceContext<'_>) {
        if let InitialStatus::Accepted(ccw_address) = self.initial {
            self.initial = InitialStatus::Nothing;
            cx.events.push(DeviceEvent::InitialStatus(Status { ccw_address, ..Status::default() }));
        }
        if self.program.pci {
            self.program.pci = false;
            cx.events.push(DeviceEvent::Intermediate(Status {
                subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION,
                ccw_address: self.program.reported(),
                ..Status::default()
            }));
        }
    }

    /// Performs a halt or a clear; nothing is in the kernel.
    fn stopped(&mut self, cx: &mut DeviceContext<'_>, stop: Stop) {
        let active = self.phase != Phase::Idle;
        self.phase = Phase::Idle;
        self.program.pci = false;
        self.initial = InitialStatus::Nothing;
        match stop {
            Stop::Halt => {
                let ccw_address = if active { self.program.reported() } else { 0 };
                cx.events.push(DeviceEvent::Halted(Status { ccw_address, ..Status::default() }));
            }
            Stop::Clear => {
                self.unit.reset();
                cx.events.push(DeviceEvent::Cleared);
            }
        }
    }

    fn stop(&mut self, cx: &mut DeviceContext<'_>, stop: Stop) {
        if self.phase != Phase::InFlight {
            self.stopped(cx, stop);
            return;
        }
        if self.stop != Some(Stop::Clear) {
            self.stop = Some(stop);
        }
        if let Some(slot) = cx.slot {
            cx.engine.cancel(slot);
        }
    }
}

impl<U: ControlUnit> SubchannelDevice for Emulated<U> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE | Capabilities::RESUME
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        debug_assert_eq!(self.phase, Phase::Idle, "a subchannel has one start at a time");
        self.program = Program::new(orb, self.limits.ccws_without_data);
        self.initial =
            if orb.control().contains(OrbControl::INITIAL_STATUS) { InitialStatus::Awaited } else { InitialStatus::Nothing };
        self.stop = None;
        self.unit.begin();
        self.run(cx, Phase::First);
    }

    fn resume(&mut self, cx: &mut DeviceContext<'_>) {
        if self.phase == Phase::Suspended {
            self.program.resume();
            self.unit.begin();
            self.run(cx, Phase::Next);
        }
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, Stop::Halt);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        self.stop(cx, Stop::Clear);
    }

    fn reset(&mut self) {
        debug_assert!(self.phase != Phase::InFlight, "a device is reset when the kernel has ended its operation");
        self.phase = Phase::Idle;
        self.stop = None;
        self.program.pci = false;
        self.unit.system_reset();
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        if self.phase != Phase::InFlight {
            return;
        }
        self.landing.ended();
        // A stop that was asked for is performed even if the operation moved all its bytes.
        if let Some(stop) = self.stop.take() {
            self.stopped(cx, stop);
            return;
        }
        match self.piece_ended(cx, result) {
            Phase::Idle => self.phase = Phase::Idle,
            phase => self.run(cx, phase),
        }
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        // A timer of an earlier start may come late; only a program that gave way waits for one.
        if self.phase == Phase::Next {
            self.run(cx, self.phase);
        }
    }

    fn backing(&self) -> Option<Backing<'_>> {
        let volume = self.unit.volume()?;
        Some(Backing { id: core::ptr::from_ref(volume).addr(), name: volume.name() })
    }

    fn files(&self) -> Vec<RawFd> {
        self.unit.volume().map_or_else(Vec::new, Volume::unlocked_files)
    }

    fn take_sense(&mut self) -> Option<Sense> {
        self.unit.take_sense()
    }
}

#[cfg(test)]
mod tests;
