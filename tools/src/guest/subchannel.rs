// SPDX-License-Identifier: MIT OR Apache-2.0
//! One subchannel as the guest sees it: what was posted to it, the blocks it owns, and what its completions prove.

use super::model::{MayBe, Model};
use super::program::{Area, Direction, Program};
use crate::content::{block, differing, judge, Judgement};
use crate::shared::{Board, Cell, Fault, Words, AREAS};
use fctl_ringabi::arch::{DeviceStatus, FunctionControl, Orb, SubsystemId};
use fctl_ringabi::{Completion, CompletionFlags, Disposition};
use std::ops::Range;

/// How long the memory of a stopped start is watched, in nanoseconds.
pub const QUARANTINE: u64 = 10_000_000;

/// What was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A start that moves blocks, from or to this area.
    Start {
        /// Its program.
        program: Program,
        /// Index of the area.
        area: usize,
    },
    /// A start that does nothing, posted behind another one.
    Nop,
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL.
    Clear,
    /// CANCEL SUBCHANNEL.
    Cancel,
}

impl What {
    const fn is_start(self) -> bool {
        matches!(self, Self::Start { .. } | Self::Nop)
    }
}

/// A descriptor that waits for its final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its tag.
    pub tag: u64,
    /// What it is.
    pub what: What,
}

/// Memory of a start that was stopped: nobody may write to it any more.
#[derive(Clone, Copy, Debug)]
struct Quarantine {
    since: u64,
    blocks: u32,
    tag: u64,
}

/// What the judgement of a completion needs.
#[derive(Debug)]
pub struct Books<'a> {
    /// Where the tallies stand.
    pub board: &'a Board,
    /// What the volume holds.
    pub model: &'a Model,
    /// The seed of the blocks' content.
    pub seed: u64,
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
}

impl Books<'_> {
    fn count(&self, cell: Cell) {
        self.board.add(cell, 1);
    }
}

/// A subchannel.
#[derive(Debug)]
pub struct Subchannel {
    number: u16,
    owned: Range<u32>,
    areas: Vec<(Area, Option<Quarantine>)>,
    next_area: usize,
    posted: Vec<Posted>,
    generation: u32,
    unresolved: Option<(u32, u32)>,
    /// A start was absorbed by a cancel whose own final is still to come.
    cancelled: bool,
}

impl Subchannel {
    /// A subchannel that owns these blocks.
    pub fn new(number: u16, owned: Range<u32>, memory: &Words) -> Self {
        let areas = (0..AREAS).map(|index| (Area::new(memory.clone(), u32::from(number) * AREAS + index), None)).collect();
        Self {
            number,
            owned,
            areas,
            next_area: 0,
            posted: Vec::with_capacity(4),
            generation: 0,
            unresolved: None,
            cancelled: false,
        }
    }

    /// Its subsystem-identification word.
    pub fn id(&self) -> SubsystemId {
        SubsystemId::new(0, self.number)
    }

    /// The blocks it owns.
    pub fn owned(&self) -> Range<u32> {
        self.owned.clone()
    }

    /// True if nothing waits for its final.
    pub fn is_idle(&self) -> bool {
        self.posted.is_empty()
    }

    /// True if this descriptor waits for its final.
    pub fn waits_for(&self, tag: u64) -> bool {
        self.posted.iter().any(|posted| posted.tag == tag)
    }

    /// First block and number of blocks of a stopped write that was not read back yet.
    pub fn unresolved(&self) -> Option<(u32, u32)> {
        self.unresolved
    }

    /// Writes a program, and for a write its blocks, into a free area.
    pub fn prepare(&mut self, program: Program, books: &Books<'_>) -> (What, Orb) {
        let index = self.free_area(books);
        let area = &self.areas[index].0;
        match program.direction {
            Direction::Read => area.fill_canary(program.count),
            Direction::Write => {
                self.generation += 1;
                for (index, number) in (0..).zip(program.blocks()) {
                    program.put_block(area, index, &block(books.seed, u64::from(number), self.generation));
                }
                books.model.begin_write(program.blocks(), self.generation);
            }
        }
        (What::Start { program, area: index }, program.write(area))
    }

    /// The start was not posted after all.
    pub fn withdraw(&mut self, what: What, books: &Books<'_>) {
        if let What::Start { program: program @ Program { direction: Direction::Write, .. }, .. } = what {
            books.model.not_written(program.blocks());
        }
    }

    /// Writes the program that does nothing beside the one of the start that was prepared last.
    pub fn prepare_nop(&self) -> Orb {
        self.areas[self.next_area].0.write_nop()
    }

    /// Enters a descriptor that was posted.
    pub fn enter(&mut self, posted: Posted) {
        self.posted.push(posted);
    }

    /// The next area whose quarantine is over; if all are watched, the one watched longest.
    fn free_area(&mut self, books: &Books<'_>) -> usize {
        let order = (1..=self.areas.len()).map(|step| (self.next_area + step) % self.areas.len());
        let over = |index: &usize| self.areas[*index].1.is_none_or(|quarantine| books.now >= quarantine.since + QUARANTINE);
        let free = order.clone().find(over).or_else(|| order.min_by_key(|&index| self.areas[index].1.map(|since| since.since)));
        let index = free.unwrap_or(0);
        self.next_area = index;
        self.release(index, books);
        index
    }

    /// Ends an area's quarantine: it must be as it was left.
    fn release(&mut self, index: usize, books: &Books<'_>) {
        let (area, quarantine) = &mut self.areas[index];
        let Some(quarantine) = quarantine.take() else { return };
        books.count(Cell::Watched);
        if let Some(slot) = area.disturbed(quarantine.blocks) {
            books.board.fault(Fault::LateChange, || {
                format!(
                    "subchannel {:#06x}: memory of a stopped start was written after its final completion (tag {}, block {slot} of {})",
                    self.number, quarantine.tag, quarantine.blocks
                )
            });
        }
    }

    /// Ends all quarantines; true if the last one has lasted long enough, else nothing is done.
    pub fn release_all(&mut self, books: &Books<'_>) -> bool {
        let lasting = |(_, quarantine): &(Area, Option<Quarantine>)| quarantine.is_some_and(|q| books.now < q.since + QUARANTINE);
        if self.areas.iter().any(lasting) {
            return false;
        }
        (0..self.areas.len()).for_each(|index| self.release(index, books));
        true
    }

    /// Takes a final completion whose tag the ledger has settled. True if the subchannel is idle now.
    pub fn settle(&mut self, completion: &Completion, books: &Books<'_>) -> bool {
        let Some(index) = self.posted.iter().position(|posted| posted.tag == completion.tag) else {
            books.board.fault(Fault::StrayCompletion, || {
                format!("the final of tag {} came for subchannel {:#06x}, where it was not posted", completion.tag, self.number)
            });
            return false;
        };
        let posted = self.posted.remove(index);
        let disposition = completion.disposition();
        let plausible = match posted.what {
            What::Start { program, area } => self.start_ended(posted, Some((program, area)), completion, books),
            What::Nop => self.start_ended(posted, None, completion, books),
            What::Halt | What::Clear => match (disposition, completion.cc) {
                (Some(Disposition::Executed), 0) => {
                    let own = if posted.what == What::Halt { FunctionControl::HALT } else { FunctionControl::CLEAR };
                    let after_its_start = !self.posted.iter().any(|other| other.what.is_start() && other.tag < posted.tag);
                    after_its_start && completion.scsw.fctl().contains(own)
                }
                (Some(Disposition::Executed), 1) => posted.what == What::Halt,
                (Some(Disposition::AbsorbedByClear), 0) => posted.what == What::Halt && self.has(What::Clear),
                _ => false,
            },
            What::Cancel => match (disposition, completion.cc) {
                // A false condition code 0 would let a guest believe that the device is idle.
                (Some(Disposition::Executed), 0) => std::mem::take(&mut self.cancelled),
                (Some(Disposition::Executed), 1 | 2) => true,
                _ => false,
            },
        };
        if !plausible {
            books.board.fault(Fault::WrongCondition, || {
                format!(
                    "subchannel {:#06x}: {:?} (tag {}) ended with condition code {} and disposition {}, with {} others outstanding",
                    self.number,
                    posted.what,
                    posted.tag,
                    completion.cc,
                    completion.disposition,
                    self.posted.len()
                )
            });
        }
        self.posted.is_empty()
    }

    fn has(&self, what: What) -> bool {
        self.posted.iter().any(|posted| posted.what == what)
    }

    /// The fate of a start. False if it cannot be.
    fn start_ended(
        &mut self,
        posted: Posted,
        moved: Option<(Program, usize)>,
        completion: &Completion,
        books: &Books<'_>,
    ) -> bool {
        let was_issued = completion.flags.contains(CompletionFlags::WAS_ISSUED);
        let (cell, plausible) = match completion.disposition() {
            Some(Disposition::Executed) if completion.cc == 0 => (Cell::Ran, true),
            // Only a start behind another one may find the subchannel busy.
            Some(Disposition::Executed) => (Cell::Refused, completion.cc <= 2 && moved.is_none()),
            Some(Disposition::AbsorbedByCancel) => {
                self.cancelled = true;
                (Cell::Cancelled, self.has(What::Cancel))
            }
            Some(by @ (Disposition::AbsorbedByHalt | Disposition::AbsorbedByClear)) => {
                let absorber = if by == Disposition::AbsorbedByHalt { What::Halt } else { What::Clear };
                (if was_issued { Cell::StoppedActive } else { Cell::MergedAway }, self.has(absorber))
            }
            _ => (Cell::Refused, false),
        };
        books.count(cell);
        let ended_well = cell != Cell::Ran || self.check_status(posted, completion, books);
        let Some((program, area)) = moved else { return plausible };
        let done = cell == Cell::Ran && ended_well;
        match program.direction {
            Direction::Read if done => self.verify(program, area, posted.tag, books),
            Direction::Write if done => {
                books.model.written(program.blocks());
                books.board.add(Cell::BytesWritten, u64::from(program.count) * 512);
            }
            Direction::Read => {}
            // What never reached the device has changed nothing; else each block must be read to learn what it holds.
            Direction::Write if cell != Cell::Ran && !was_issued => books.model.not_written(program.blocks()),
            Direction::Write => self.unresolved = Some((program.first, program.count)),
        }
        if matches!(cell, Cell::MergedAway | Cell::StoppedActive | Cell::Cancelled) {
            self.watch(program, area, posted.tag, was_issued, books);
        }
        plausible
    }

    /// A start that ran must have ended with channel end and device end, and nothing left over.
    fn check_status(&self, posted: Posted, completion: &Completion, books: &Books<'_>) -> bool {
        let scsw = &completion.scsw;
        let good = completion.flags.contains(CompletionFlags::STATUS)
            && scsw.fctl().contains(FunctionControl::START)
            && scsw.device_status() == DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
            && scsw.subchannel_status().is_empty()
            && scsw.deferred_cc() == 0
            && (posted.what == What::Nop || scsw.residual() == 0);
        if !good {
            books.board.fault(Fault::WrongStatus, || {
                format!(
                    "subchannel {:#06x}: {:?} (tag {}) ended with SCSW {:08x?}",
                    self.number,
                    posted.what,
                    posted.tag,
                    scsw.to_words()
                )
            });
        }
        good
    }

    /// From now on nobody may touch this memory.
    fn watch(&mut self, program: Program, index: usize, tag: u64, was_issued: bool, books: &Books<'_>) {
        let (area, quarantine) = &mut self.areas[index];
        if program.direction == Direction::Read && !was_issued {
            if let Some(slot) = area.disturbed(program.count) {
                books.board.fault(Fault::LateChange, || {
                    format!(
                        "subchannel {:#06x}: a read that was never issued (tag {tag}) has changed block {slot} of its memory",
                        self.number
                    )
                });
            }
        }
        area.fill_canary(program.count);
        *quarantine = Some(Quarantine { since: books.now, blocks: program.count, tag });
    }

    /// Compares what was read with the model, byte for byte.
    fn verify(&mut self, program: Program, area: usize, tag: u64, books: &Books<'_>) {
        let area = &self.areas[area].0;
        let mut all_right = true;
        for (index, number) in (0..).zip(program.blocks()) {
            let words = program.block(area, index);
            let may_be = books.model.block(number);
            let expected = || expectation(may_be);
            match judge(&words, books.seed, u64::from(number), may_be.old, may_be.new) {
                Judgement::Right(generation) if !may_be.is_certain() => books.model.found(number, generation),
                Judgement::Right(_) => {}
                Judgement::Other(found) => {
                    all_right = false;
                    let wrong = differing(&words, &block(books.seed, u64::from(number), may_be.new));
                    books.board.add(Cell::WrongBytes, u64::from(wrong));
                    books.board.fault(Fault::WriteMissing, || {
                        format!("block {number} holds generation {found} instead of {}: a write was answered and not done (read by tag {tag})", expected())
                    });
                }
                Judgement::Wrong(bytes) => {
                    all_right = false;
                    books.board.add(Cell::WrongBytes, u64::from(bytes));
                    books.board.fault(Fault::WrongBytes, || {
                        format!(
                            "block {number} as read by tag {tag} differs in {bytes} of 512 bytes from generation {}",
                            expected()
                        )
                    });
                }
            }
        }
        let bytes = u64::from(program.count) * 512;
        books.board.add(Cell::BytesRead, bytes);
        books.board.add(Cell::BytesVerified, bytes);
        // What was read wrong has resolved nothing.
        if all_right && self.unresolved == Some((program.first, program.count)) {
            self.unresolved = None;
        }
    }
}

/// The generations that a block may have, in words.
fn expectation(may_be: MayBe) -> String {
    if may_be.is_certain() {
        may_be.old.to_string()
    } else {
        format!("{} or {}", may_be.old, may_be.new)
    }
}
