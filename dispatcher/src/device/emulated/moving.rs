// SPDX-License-Identifier: MIT OR Apache-2.0
//! A [`Transfer`] in pieces: operations on the volume, and what follows a short write.

use super::program::{Program, ProgramCheck};
use super::scratch;
use super::{ControlUnit, Direction, Emulated, Fault, Phase, Transfer, ENDED_WELL, ENDED_WITH_CHECK};
use crate::device::DeviceContext;
use crate::engine::{Operation, OperationResult};
use fctl_ringabi::arch::SubchannelStatus;

/// The most bytes that one operation makes zeros. It changes few bytes on the medium, if any, so it may be longer than a piece of data.
const ZERO_GRAIN: u64 = 16 << 20;

/// How often an operation that was interrupted, or found no memory or thread, is tried again.
const MOST_RETRIES: u8 = 16;

/// What ends the transfer when the bytes gathered before it have been moved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Program(ProgramCheck),
    Unit(Fault),
}

/// What is in the kernel.
#[derive(Clone, Copy, Debug)]
enum Step {
    Piece,
    Zeros { length: u64 },
    Sync,
}

/// A transfer and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    pub transfer: Transfer,
    /// Bytes that are done, zeros after a short write among them.
    pub done: u64,
    /// The program's CCWs are used up.
    pub exhausted: bool,
    /// They were before the transfer was.
    pub short: bool,
    pub trouble: Option<Trouble>,
    step: Step,
    retries: u8,
    /// The file cannot make holes.
    zeros_by_writing: bool,
    /// Zeros were made that are not on stable storage yet.
    unsynced: bool,
    /// The program before the piece in the kernel: what its residual is if that piece fails.
    before: Program,
}

impl Moving {
    pub fn nothing() -> Self {
        Self::begin(Transfer { direction: Direction::Read, offset: 0, length: 0, block: 1, chains_data: true }, &Program::none())
    }

    pub fn begin(transfer: Transfer, program: &Program) -> Self {
        Self {
            transfer,
            done: 0,
            exhausted: false,
            short: false,
            trouble: None,
            step: Step::Piece,
            retries: 0,
            zeros_by_writing: false,
            unsynced: false,
            before: *program,
        }
    }

    fn offset(&self) -> u64 {
        self.transfer.offset.saturating_add(self.done)
    }

    pub fn left(&self) -> u64 {
        self.transfer.length.saturating_sub(self.done)
    }

    /// How many bytes of a block lie before this place of the transfer.
    pub fn in_block(&self, place: u64) -> u64 {
        place.checked_rem(u64::from(self.transfer.block)).unwrap_or(0)
    }

    /// How many bytes it takes from this place to a block boundary; 0 if it is at one.
    pub fn missing_in_block(&self, place: u64) -> u64 {
        match self.in_block(place) {
            0 => 0,
            inside => u64::from(self.transfer.block) - inside,
        }
    }
}

impl<U: ControlUnit> Emulated<U> {
    /// Puts the next operation of the transfer into the kernel, or ends the command.
    pub(super) fn move_piece(&mut self, cx: &mut DeviceContext<'_>) {
        let (Some(slot), true) = (cx.slot, self.unit.volume().is_some()) else {
            // A start of this device has a slot, and a unit that moves data a volume.
            self.fail(cx, Fault::Host(libc::ENXIO));
            return;
        };
        let segments = cx.engine.segments(slot);
        segments.clear();
        let moving = &mut self.moving;
        moving.before = self.program;
        if moving.trouble.is_none() && !moving.exhausted && moving.left() != 0 {
            moving.gather(&mut self.program, cx.memory, &mut self.landing, self.limits.stop_grain, segments);
            if !segments.is_empty() {
                self.submit(cx, Step::Piece);
                return;
            }
        }
        match moving.trouble {
            Some(Trouble::Program(check)) => return self.program_check(cx, check, ENDED_WELL),
            Some(Trouble::Unit(fault)) => return self.fail(cx, fault),
            None => {}
        }
        if moving.transfer.direction == Direction::Write {
            if moving.left() != 0 {
                let missing = moving.missing_in_block(moving.done);
                if missing == 0 && !moving.zeros_by_writing {
                    let length = moving.left().min(ZERO_GRAIN);
                    return self.submit(cx, Step::Zeros { length });
                }
                let most = if missing == 0 { moving.left().min(u64::from(self.limits.stop_grain)) } else { missing };
                scratch::zeros(usize::try_from(most.min(moving.left())).unwrap_or(0), segments);
                return self.submit(cx, Step::Piece);
            }
            if moving.unsynced {
                return self.submit(cx, Step::Sync);
            }
        }
        let short = moving.short;
        self.program.moved();
        self.complete(cx, ENDED_WELL, short);
    }

    /// Submits a step; for [`Step::Piece`] the segments are ready.
    fn submit(&mut self, cx: &mut DeviceContext<'_>, step: Step) {
        let (Some(slot), Some(volume)) = (cx.slot, self.unit.volume()) else {
            self.fail(cx, Fault::Host(libc::ENXIO));
            return;
        };
        let offset = self.moving.offset();
        let operation: Operation = match (step, self.moving.transfer.direction) {
            (Step::Piece, Direction::Read) => volume.read(offset, cx.engine.segments(slot)),
            (Step::Piece, Direction::Write) => volume.write(offset, cx.engine.segments(slot)),
            (Step::Zeros { length }, _) => volume.zero(offset, length),
            (Step::Sync, _) => volume.sync(),
        };
        self.moving.step = step;
        self.phase = Phase::InFlight;
        if volume.waits() {
            cx.engine.submit_aside(slot, operation);
        } else {
            cx.engine.submit(slot, operation);
        }
    }

    /// The operation in the kernel has ended; nobody wants to stop.
    pub(super) fn piece_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) {
        let step = self.moving.step;
        match (step, result) {
            (Step::Piece, Ok(0)) => self.fail_piece(cx, Fault::EndOfFile),
            (Step::Piece, Ok(moved)) => {
                let Some(slot) = cx.slot else { return };
                let segments = cx.engine.segments(slot);
                let moved = segments.bytes().min(moved as usize);
                segments.advance(moved);
                let rest = !segments.is_empty();
                if let Err(check) = self.landing.pass_on(cx.memory, moved) {
                    return self.program_check(cx, check, ENDED_WELL);
                }
                self.moving.done += moved as u64;
                self.moving.retries = 0;
                if rest {
                    self.submit(cx, step);
                }
            }
            (Step::Zeros { length }, Ok(_)) => {
                self.moving.done += length;
                self.moving.unsynced = self.unit.volume().is_some_and(crate::volume::Volume::is_durable);
            }
            (Step::Sync, Ok(_)) => self.moving.unsynced = false,
            // No memory just now, or none for a thread of the kernel's to do it: then an operation ends as cancelled that nobody has cancelled.
            (_, Err(libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::ECANCELED)) if self.moving.retries < MOST_RETRIES => {
                self.moving.retries += 1;
                self.submit(cx, step);
            }
            // Not every file system makes holes, nor every block device at every boundary.
            (Step::Zeros { .. }, Err(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ENODEV)) => {
                self.moving.zeros_by_writing = true;
            }
            (_, Err(error)) => self.fail_piece(cx, Fault::Host(error)),
        }
    }

    /// A piece failed: the program stands where it stood before it, as far as residual and CCW address tell.
    fn fail_piece(&mut self, cx: &mut DeviceContext<'_>, fault: Fault) {
        let pci = self.program.pci;
        self.program = self.moving.before;
        self.program.pci = pci;
        self.fail(cx, fault);
    }

    pub(super) fn fail(&mut self, cx: &mut DeviceContext<'_>, fault: Fault) {
        self.unit.failed(fault);
        self.end(cx, ENDED_WITH_CHECK, SubchannelStatus::empty());
    }
}
