// SPDX-License-Identifier: MIT OR Apache-2.0
//! A [`Transfer`] in pieces: operations on the volume, and what follows a short write.

use super::program::{Place, Program, ProgramCheck};
use super::scratch;
use super::{ControlUnit, Direction, Emulated, Fault, Phase, Transfer, ENDED_WELL, ENDED_WITH_CHECK};
use crate::device::DeviceContext;
use crate::engine::{Operation, OperationResult, Segments, SlotId};
use crate::volume::Volume;
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
    /// Bytes of the piece in the kernel that have not been moved.
    unmoved: usize,
    /// Where the program stood before it: what its status is if that piece fails.
    before: Place,
}

impl Moving {
    pub fn nothing() -> Self {
        let transfer = Transfer { direction: Direction::Read, offset: 0, length: 0, block: 1, chains_data: true };
        Self::begin(transfer, Program::none().place())
    }

    #[inline(always)]
    pub fn begin(transfer: Transfer, before: Place) -> Self {
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
            unmoved: 0,
            before,
        }
    }

    #[inline(always)]
    fn offset(&self) -> u64 {
        self.transfer.offset.saturating_add(self.done)
    }

    #[inline(always)]
    pub fn left(&self) -> u64 {
        self.transfer.length.saturating_sub(self.done)
    }

    /// How many bytes of a block lie before this place of the transfer.
    #[inline(always)]
    pub fn in_block(&self, place: u64) -> u32 {
        // Less than a block has.
        place.checked_rem(u64::from(self.transfer.block)).and_then(|inside| u32::try_from(inside).ok()).unwrap_or(0)
    }

    /// The operation of a piece that is gathered.
    #[inline(always)]
    fn piece(&mut self, volume: &Volume, segments: &Segments) -> Operation {
        self.unmoved = segments.bytes();
        match self.transfer.direction {
            Direction::Read => volume.read(self.offset(), segments),
            Direction::Write => volume.write(self.offset(), segments),
        }
    }

    /// How many bytes it takes from this place to a block boundary; 0 if it is at one.
    pub fn missing_in_block(&self, place: u64) -> u32 {
        match self.in_block(place) {
            0 => 0,
            inside => self.transfer.block - inside,
        }
    }
}

impl<U: ControlUnit> Emulated<U> {
    /// Begins what a unit wants moved.
    #[inline(always)]
    pub(super) fn begin_transfer(&mut self, cx: &mut DeviceContext<'_>, transfer: Transfer) -> Phase {
        if self.program.ccw.chains_data() && !transfer.chains_data {
            return self.fail(cx, Fault::Overrun);
        }
        self.moving = Moving::begin(transfer, self.program.place());
        self.move_piece(cx)
    }

    /// Puts the next operation of the transfer into the kernel, or ends the command.
    #[inline(never)]
    pub(super) fn move_piece(&mut self, cx: &mut DeviceContext<'_>) -> Phase {
        let (Some(slot), Some(volume)) = (cx.slot, self.unit.volume()) else {
            // A start of this device has a slot, and a unit that moves data a volume.
            return self.fail(cx, Fault::Host(libc::ENXIO));
        };
        let moving = &mut self.moving;
        if moving.trouble.is_none() && !moving.exhausted && moving.left() != 0 {
            let segments = cx.engine.segments(slot);
            segments.clear();
            moving.before = self.program.place();
            moving.gather(&mut self.program, cx.memory, &mut self.landing, self.limits.stop_grain, segments);
            if !segments.is_empty() {
                let operation = moving.piece(volume, segments);
                return self.submit(cx, slot, Step::Piece, operation);
            }
        }
        match moving.trouble {
            None if moving.transfer.direction == Direction::Write && (moving.left() != 0 || moving.unsynced) => {
                return self.finish_write(cx);
            }
            None => {}
            Some(Trouble::Program(check)) => return self.program_check(cx, check, ENDED_WELL),
            Some(Trouble::Unit(fault)) => return self.fail(cx, fault),
        }
        let short = moving.short;
        self.program.moved();
        self.complete(cx, ENDED_WELL, short)
    }

    /// What the program had no data for becomes zeros; then they are brought to stable storage.
    #[inline(never)]
    fn finish_write(&mut self, cx: &mut DeviceContext<'_>) -> Phase {
        let moving = &mut self.moving;
        moving.before = self.program.place();
        if moving.left() == 0 {
            return self.submit_again(cx, Step::Sync);
        }
        let missing = u64::from(moving.missing_in_block(moving.done));
        if missing == 0 && !moving.zeros_by_writing {
            let length = moving.left().min(ZERO_GRAIN);
            return self.submit_again(cx, Step::Zeros { length });
        }
        let most = if missing == 0 { moving.left().min(u64::from(self.limits.stop_grain)) } else { missing };
        if let Some(slot) = cx.slot {
            let segments = cx.engine.segments(slot);
            segments.clear();
            scratch::zeros(usize::try_from(most.min(moving.left())).unwrap_or(0), segments);
        }
        self.submit_again(cx, Step::Piece)
    }

    /// Submits a step; for [`Step::Piece`] the segments are ready.
    #[inline(never)]
    fn submit_again(&mut self, cx: &mut DeviceContext<'_>, step: Step) -> Phase {
        let (Some(slot), Some(volume)) = (cx.slot, self.unit.volume()) else {
            return self.fail(cx, Fault::Host(libc::ENXIO));
        };
        let operation = match step {
            Step::Piece => self.moving.piece(volume, cx.engine.segments(slot)),
            Step::Zeros { length } => volume.zero(self.moving.offset(), length),
            Step::Sync => volume.sync(),
        };
        self.submit(cx, slot, step, operation)
    }

    #[inline(always)]
    fn submit(&mut self, cx: &mut DeviceContext<'_>, slot: SlotId, step: Step, operation: Operation) -> Phase {
        self.moving.step = step;
        if self.unit.volume().is_some_and(Volume::waits) {
            cx.engine.submit_aside(slot, operation);
        } else {
            cx.engine.submit(slot, operation);
        }
        Phase::InFlight
    }

    /// The operation in the kernel has ended; nobody wants to stop.
    #[inline(always)]
    pub(super) fn piece_ended(&mut self, cx: &mut DeviceContext<'_>, result: OperationResult) -> Phase {
        match (self.moving.step, result) {
            (Step::Piece, Ok(moved)) if moved as usize >= self.moving.unmoved && moved != 0 => {
                match self.piece_moved(cx, self.moving.unmoved) {
                    Phase::Move => self.move_piece(cx),
                    phase => phase,
                }
            }
            (step, result) => self.ended_otherwise(cx, step, result),
        }
    }

    /// So many bytes of the piece are where they belong, but for what the landing keeps for a sink.
    #[inline(always)]
    fn piece_moved(&mut self, cx: &mut DeviceContext<'_>, moved: usize) -> Phase {
        if let Err(check) = self.landing.pass_on(cx.memory, moved) {
            return self.program_check(cx, check, ENDED_WELL);
        }
        self.moving.done += moved as u64;
        self.moving.unmoved -= moved;
        self.moving.retries = 0;
        Phase::Move
    }

    /// Any end of an operation but that of a piece with all its bytes moved.
    #[inline(never)]
    fn ended_otherwise(&mut self, cx: &mut DeviceContext<'_>, step: Step, result: OperationResult) -> Phase {
        match (step, result) {
            (Step::Piece, Ok(0)) => return self.fail_piece(cx, Fault::EndOfFile),
            (Step::Piece, Ok(moved)) => {
                let phase = self.piece_moved(cx, self.moving.unmoved.min(moved as usize));
                if let (Some(slot), Phase::Move, false) = (cx.slot, phase, self.moving.unmoved == 0) {
                    cx.engine.segments(slot).advance(moved as usize);
                    return self.submit_again(cx, step);
                }
                return phase;
            }
            (Step::Zeros { length }, Ok(_)) => {
                self.moving.done += length;
                self.moving.unsynced = self.unit.volume().is_some_and(Volume::is_durable);
            }
            (Step::Sync, Ok(_)) => self.moving.unsynced = false,
            // No memory just now, or none for a thread of the kernel's to do it: then an operation ends as cancelled that nobody has cancelled.
            (_, Err(libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::ECANCELED)) if self.moving.retries < MOST_RETRIES => {
                self.moving.retries += 1;
                return self.submit_again(cx, step);
            }
            // Not every file system makes holes, nor every block device at every boundary.
            (Step::Zeros { .. }, Err(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ENODEV)) => {
                self.moving.zeros_by_writing = true;
            }
            (_, Err(error)) => return self.fail_piece(cx, Fault::Host(error)),
        }
        Phase::Move
    }

    /// A piece failed: the program stands where it stood before it, as far as residual and CCW address tell.
    fn fail_piece(&mut self, cx: &mut DeviceContext<'_>, fault: Fault) -> Phase {
        self.program.back_to(self.moving.before);
        self.fail(cx, fault)
    }

    #[inline(never)]
    pub(super) fn fail(&mut self, cx: &mut DeviceContext<'_>, fault: Fault) -> Phase {
        self.unit.failed(fault);
        self.end(cx, ENDED_WITH_CHECK, SubchannelStatus::empty())
    }
}
