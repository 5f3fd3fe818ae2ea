// SPDX-License-Identifier: MIT OR Apache-2.0
//! A [`Transfer`] in pieces: gathering storage areas into segments, operations on the volume, and what follows a short write.

use super::area::BadData;
use super::program::{Program, ProgramCheck};
use super::scratch::{self, Scratch};
use super::{ControlUnit, Direction, Emulated, Fault, Phase, Transfer, ENDED_WELL, ENDED_WITH_CHECK};
use crate::device::DeviceContext;
use crate::engine::{Operation, OperationResult, Segments, MOST_SEGMENTS};
use crate::memory::Memory;
use fctl_ringabi::arch::SubchannelStatus;

/// The most bytes that one operation makes zeros. It changes few bytes on the medium, if any, so it may be longer than a piece of data.
const ZERO_GRAIN: u64 = 16 << 20;

/// The most ranges of guest memory that are looked at for one piece; a piece of many small ones that happen to touch ends here.
const MOST_RANGES: usize = 1024;

/// Segments kept free for the last block of a piece, so that pieces end at block boundaries.
const SPARE_SEGMENTS: usize = 8;

/// How often an operation that was interrupted is tried again.
const MOST_RETRIES: u8 = 16;

/// What ends the transfer when the bytes gathered before it have been moved.
#[derive(Clone, Copy, Debug)]
enum Trouble {
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
    transfer: Transfer,
    /// Bytes that are done, zeros after a short write among them.
    done: u64,
    /// The program's CCWs are used up.
    exhausted: bool,
    /// They were before the transfer was.
    short: bool,
    trouble: Option<Trouble>,
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
        Self::begin(Transfer { direction: Direction::Read, offset: 0, length: 0, block: 1 }, &Program::none())
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

    fn left(&self) -> u64 {
        self.transfer.length.saturating_sub(self.done)
    }

    /// How many bytes of a block lie before this place of the transfer.
    fn in_block(&self, place: u64) -> u64 {
        place.checked_rem(u64::from(self.transfer.block)).unwrap_or(0)
    }

    /// How many bytes it takes from this place to a block boundary; 0 if it is at one.
    fn missing_in_block(&self, place: u64) -> u64 {
        match self.in_block(place) {
            0 => 0,
            inside => u64::from(self.transfer.block) - inside,
        }
    }

    /// Gathers the next piece.
    fn gather(&mut self, program: &mut Program, memory: &Memory, scratch: &Scratch, grain: u32, segments: &mut Segments) {
        // Whole blocks, at least one, so that a piece does not end inside a block.
        let grain = u64::from(grain);
        let want = self.left().min((grain - self.in_block(grain)).max(u64::from(self.transfer.block)));
        for _ in 0..MOST_RANGES {
            let got = segments.bytes() as u64;
            let place = self.done + got;
            if got >= want {
                break;
            }
            if program.area.left() == 0 {
                if !program.ccw.chains_data() {
                    self.exhausted = true;
                    break;
                }
                if self.in_block(place) != 0 {
                    self.trouble = Some(Trouble::Unit(Fault::Overrun));
                    break;
                }
                if let Err(check) = program.chain_data(memory) {
                    self.trouble = Some(Trouble::Program(check));
                    break;
                }
            }
            let mut most = want - got;
            if segments.vectors().len() + SPARE_SEGMENTS >= MOST_SEGMENTS {
                match self.missing_in_block(place) {
                    0 if got != 0 => break,
                    rest => most = most.min(if rest == 0 { u64::from(self.transfer.block) } else { rest }),
                }
            }
            match Self::add(program, memory, scratch, most, segments) {
                Ok(0) => break,
                Ok(_) => {}
                Err(BadData) => {
                    self.trouble = Some(Trouble::Program(ProgramCheck { at: program.at }));
                    break;
                }
            }
        }
        self.finish_piece(segments);
    }

    /// Adds the program's next range. Gives how many bytes it got; 0 if the list is full.
    fn add(
        program: &mut Program,
        memory: &Memory,
        scratch: &Scratch,
        most: u64,
        segments: &mut Segments,
    ) -> Result<u32, BadData> {
        let range = program.area.range(memory, u32::try_from(most).unwrap_or(u32::MAX))?;
        let length = range.length as usize;
        let added = match range.address {
            Some(address) => memory.segments(address, length, segments).map_err(|_| BadData)?,
            None => scratch.discard(length, segments),
        };
        let added = u32::try_from(added).unwrap_or(range.length);
        program.area.consume(added);
        if added != 0 {
            program.moved();
        }
        Ok(added)
    }

    /// Sees to it that a write does not leave a block half written.
    fn finish_piece(&mut self, segments: &mut Segments) {
        let end = self.done + segments.bytes() as u64;
        self.short |= self.exhausted && end < self.transfer.length;
        if self.transfer.direction == Direction::Read {
            return;
        }
        if self.trouble.is_some() {
            let whole = (end - self.in_block(end)).saturating_sub(self.done);
            segments.truncate(usize::try_from(whole).unwrap_or(usize::MAX));
        } else if self.exhausted {
            // What does not fit any more is written by itself, next time.
            let rest = self.missing_in_block(end).min(self.transfer.length.saturating_sub(end));
            scratch::zeros(usize::try_from(rest).unwrap_or(0), segments);
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
            moving.gather(&mut self.program, cx.memory, &self.scratch, self.limits.stop_grain, segments);
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
            (_, Err(libc::EINTR | libc::EAGAIN)) if self.moving.retries < MOST_RETRIES => {
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

    fn fail(&mut self, cx: &mut DeviceContext<'_>, fault: Fault) {
        self.unit.failed(fault);
        self.end(cx, ENDED_WITH_CHECK, SubchannelStatus::empty());
    }
}
