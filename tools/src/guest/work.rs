// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's work: keep every subchannel busy, stop some of what runs, judge every completion.

use super::ledger::{Ledger, Settled};
use super::model::Model;
use super::program::{Direction, Program, Shape};
use super::subchannel::{Books, Posted, Subchannel, What};
use crate::content::Random;
use crate::shared::{is_delayed, Board, Cell, Fault, Phase, Words, MOST_BLOCKS};
use fctl_ringabi::arch::SubsystemId;
use fctl_ringabi::{CompletionKind, CompletionReader, Descriptor, Operation, PostError, Poster};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::time::{clock_gettime, ClockId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::OwnedFd;

/// Polling before sleep, in nanoseconds.
const POLLING: u64 = 30_000;
/// The longest sleep: the guest looks at its clock this often, in nanoseconds.
const LONGEST_SLEEP: u64 = 20_000_000;
/// How long nothing may come, when the dispatcher says that all is answered, before what is missing counts as lost.
const QUIET: u64 = 200_000_000;
/// How long the guest waits for what is outstanding in any case.
const PATIENCE: u64 = 30_000_000_000;

/// Now, in nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The two eventfds.
#[derive(Debug)]
pub struct Bells {
    /// Rung for the dispatcher.
    pub doorbell: OwnedFd,
    /// Rung by the dispatcher.
    pub notification: OwnedFd,
}

/// The guest at work.
pub struct Work {
    board: Board,
    model: Model,
    seed: u64,
    poster: Poster<Words>,
    reader: CompletionReader<Words>,
    bells: Bells,
    ledger: Ledger,
    subchannels: Vec<Subchannel>,
    idle: VecDeque<usize>,
    /// What is to be stopped later: when, the subchannel, the start's tag, and how.
    later: BinaryHeap<Reverse<(u64, usize, u64, u8)>>,
    random: Random,
    /// The dispatcher has no other CPU than ours: polling only keeps it from working.
    alone: bool,
    now: u64,
    broken: bool,
}

impl Work {
    /// A guest that has done nothing yet.
    pub fn new(
        board: Board,
        model: Model,
        ring: (Poster<Words>, CompletionReader<Words>),
        bells: Bells,
        subchannels: Vec<Subchannel>,
        alone: bool,
    ) -> Self {
        let seed = board.get(Cell::Seed);
        let (poster, reader) = ring;
        let idle = (0..subchannels.len()).collect();
        let random = Random::new(seed);
        let (ledger, later) = (Ledger::default(), BinaryHeap::new());
        Self {
            board,
            model,
            seed,
            poster,
            reader,
            bells,
            ledger,
            subchannels,
            idle,
            later,
            random,
            alone,
            now: now(),
            broken: false,
        }
    }

    /// Works for the time that the board says, waits for what is outstanding, and closes the ledger.
    pub fn run(&mut self) {
        let began = now();
        let deadline = began + self.board.get(Cell::Milliseconds) * 1_000_000;
        self.board.set(Cell::Phase, Phase::Working as u64);
        while !self.broken {
            self.now = now();
            if self.now >= deadline {
                break;
            }
            let taken = self.take_all();
            self.stop_later();
            self.post_idle();
            self.publish();
            if !taken {
                self.wait();
            }
        }
        self.board.set(Cell::Worked, now() - began);
        self.board.set(Cell::Phase, Phase::Draining as u64);
        self.drain();
        self.resolve();
        while !self.broken && !self.release_all() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // Whatever came unasked meanwhile is judged too.
        self.take_all();
        self.close();
    }

    fn publish(&mut self) {
        if self.poster.publish() {
            self.board.add(Cell::Doorbells, 1);
            // A counter that is full rings as well as one that was added to.
            let _ = rustix::io::write(&self.bells.doorbell, &1u64.to_ne_bytes());
        }
        self.board.set(Cell::Posted, self.ledger.posted());
        self.board.set(Cell::Finals, self.ledger.finals());
    }

    /// Takes all completions that are there. True if there were any.
    fn take_all(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.reader.take() {
                Ok(Some((completion, _))) => {
                    any = true;
                    self.judge(&completion);
                }
                Ok(None) => return any,
                Err(violation) => {
                    self.board.fault(Fault::RingBroken, || format!("the dispatcher broke the protocol: {violation}"));
                    self.broken = true;
                    return any;
                }
            }
        }
    }

    fn judge(&mut self, completion: &fctl_ringabi::Completion) {
        let tag = completion.tag;
        if completion.kind() != Some(CompletionKind::Final) {
            let kind = completion.kind;
            return self
                .board
                .fault(Fault::StrayCompletion, || format!("a completion of kind {kind} for tag {tag}: none was asked for"));
        }
        match self.ledger.settle(tag) {
            Settled::Once => {}
            Settled::Twice => {
                return self.board.fault(Fault::DoubleCompletion, || {
                    format!("tag {tag} got a second final completion (subchannel {:#06x})", completion.subsystem().number())
                });
            }
            Settled::Stray => {
                return self
                    .board
                    .fault(Fault::StrayCompletion, || format!("a final completion came for tag {tag}, which was never posted"));
            }
        }
        let number = usize::from(SubsystemId::from_word(completion.subsystem).number());
        let books = Books { board: &self.board, model: &self.model, seed: self.seed, now: self.now };
        if self.subchannels.get_mut(number).is_some_and(|subchannel| subchannel.settle(completion, &books)) {
            self.idle.push_back(number);
        }
    }

    /// Posts one descriptor; false if there is no room.
    fn post(&mut self, number: usize, what: What, descriptor: Descriptor) -> bool {
        let descriptor = Descriptor { tag: self.ledger.next_tag(), ..descriptor }.posted_at(self.now);
        match self.poster.stage(&descriptor) {
            Ok(()) => {}
            Err(PostError::SubmissionFull | PostError::CompletionCredit) => return false,
            Err(error) => {
                self.board.fault(Fault::RingBroken, || error.to_string());
                self.broken = true;
                return false;
            }
        }
        let tag = self.ledger.post();
        self.subchannels[number].enter(Posted { tag, what });
        self.board.add(
            match what {
                What::Start { .. } | What::Nop => Cell::Starts,
                What::Halt => Cell::Halts,
                What::Clear => Cell::Clears,
                What::Cancel => Cell::Cancels,
            },
            1,
        );
        true
    }

    fn post_stop(&mut self, number: usize, what: What) -> bool {
        let operation = match what {
            What::Halt => Operation::Halt,
            What::Clear => Operation::Clear,
            _ => Operation::Cancel,
        };
        self.post(number, what, Descriptor::new(operation, self.subchannels[number].id(), 0))
    }

    fn post_program(&mut self, number: usize, program: Program) -> bool {
        let books = Books { board: &self.board, model: &self.model, seed: self.seed, now: self.now };
        let subchannel = &mut self.subchannels[number];
        let (what, orb) = subchannel.prepare(program, &books);
        let descriptor = Descriptor::start(subchannel.id(), &orb, 0);
        if self.post(number, what, descriptor) {
            return true;
        }
        let books = Books { board: &self.board, model: &self.model, seed: self.seed, now: self.now };
        self.subchannels[number].withdraw(what, &books);
        false
    }

    /// Gives every idle subchannel something to do.
    fn post_idle(&mut self) {
        while let Some(number) = self.idle.pop_front() {
            if !self.begin(number) {
                self.idle.push_front(number);
                return;
            }
        }
    }

    /// Begins one of the scenes on an idle subchannel. False if there is no room.
    fn begin(&mut self, number: usize) -> bool {
        if let Some((first, count)) = self.subchannels[number].unresolved() {
            // A write was stopped: what its blocks hold is read before anything else is done with them.
            return self.post_program(number, Program { direction: Direction::Read, shape: Shape::Single, first, count });
        }
        let delayed = u32::try_from(number).is_ok_and(is_delayed);
        // Of a thousand scenes: cancel at once, halt at once, clear at once, halt and clear at once, a second start, stop later.
        let shares: [u32; 6] = if delayed { [80, 80, 80, 30, 40, 400] } else { [10, 10, 10, 5, 20, 40] };
        let mut draw = self.random.below(1000);
        let scene = shares.iter().position(|&share| {
            let hit = draw < share;
            draw = draw.saturating_sub(share);
            hit
        });
        let program = self.draw_program(number);
        let tag = self.ledger.next_tag();
        if !self.post_program(number, program) {
            return false;
        }
        // What follows may find no room; the start then runs undisturbed.
        match scene {
            Some(0) => _ = self.post_stop(number, What::Cancel),
            Some(1) => _ = self.post_stop(number, What::Halt),
            Some(2) => _ = self.post_stop(number, What::Clear),
            Some(3) => _ = self.post_stop(number, What::Halt) && self.post_stop(number, What::Clear),
            Some(4) => {
                let subchannel = &self.subchannels[number];
                let descriptor = Descriptor::start(subchannel.id(), &subchannel.prepare_nop(), 0);
                _ = self.post(number, What::Nop, descriptor);
            }
            Some(5) => {
                let wait = if delayed {
                    100_000 + u64::from(self.random.below(2_000_000))
                } else {
                    u64::from(self.random.below(100_000))
                };
                let how = u8::try_from(self.random.below(10)).unwrap_or(0);
                self.later.push(Reverse((self.now + wait, number, tag, how)));
            }
            _ => {}
        }
        true
    }

    fn draw_program(&mut self, number: usize) -> Program {
        let owned = self.subchannels[number].owned();
        let random = &mut self.random;
        let direction = if random.below(10) < 6 { Direction::Read } else { Direction::Write };
        let most = MOST_BLOCKS.min(owned.end - owned.start);
        let (shape, count) = match random.below(16) {
            0 => (Shape::Pairs, 1 + random.below(4)),
            1 | 2 => (Shape::Indirect, 8 * (1 + random.below(most / 8))),
            3 | 4 => (Shape::Single, most),
            5 | 6 => (Shape::Single, 1 + random.below(8)),
            7 => (Shape::Chained, 1 + random.below(most)),
            _ => (Shape::Chained, 8),
        };
        Program { direction, shape, first: owned.start + random.below(owned.end - owned.start - count + 1), count }
    }

    /// Stops what was to be stopped by now, if it still runs.
    fn stop_later(&mut self) {
        while let Some(&Reverse((due, number, tag, how))) = self.later.peek() {
            if due > self.now {
                return;
            }
            let what = match how {
                0 => What::Cancel,
                1..=4 => What::Halt,
                _ => What::Clear,
            };
            if self.subchannels[number].waits_for(tag) && !self.post_stop(number, what) {
                return;
            }
            self.later.pop();
        }
    }

    /// Waits until something may have come: polls for a moment, then sleeps until it is notified.
    fn wait(&mut self) {
        let due = self.later.peek().map_or(u64::MAX, |&Reverse((due, ..))| due);
        if !self.alone {
            let until = (self.now + POLLING).min(due);
            loop {
                for _ in 0..64 {
                    if !self.reader.is_empty() {
                        return;
                    }
                    std::hint::spin_loop();
                }
                if now() >= until {
                    break;
                }
            }
        }
        let rest = due.saturating_sub(now()).min(LONGEST_SLEEP);
        if rest == 0 || !self.reader.announce_sleep() {
            return;
        }
        self.board.add(Cell::Sleeps, 1);
        let mut fds = [PollFd::new(&self.bells.notification, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(rest).unwrap_or(0) };
        if matches!(poll(&mut fds, Some(&timeout)), Ok(1..)) {
            // It was readable, and nobody else reads it.
            let _ = rustix::io::read(&self.bells.notification, &mut [0u8; 8]);
        }
        self.reader.awake();
    }

    /// Waits for what is outstanding; what never comes is lost.
    fn drain(&mut self) {
        let began = now();
        let mut quiet_since = began;
        while !self.broken && self.ledger.open() > 0 {
            self.now = now();
            if self.take_all() {
                quiet_since = self.now;
            }
            self.publish();
            let answered = self.board.get(Cell::Answered) == self.ledger.posted();
            if !answered {
                quiet_since = self.now;
            }
            if self.now - quiet_since > QUIET {
                return;
            }
            if self.now - began > PATIENCE {
                let open = self.ledger.open();
                return self.board.fault(Fault::LostCompletion, || {
                    format!("the dispatcher has not answered {open} descriptors for 30 seconds")
                });
            }
            if self.ledger.open() > 0 {
                self.now = now();
                self.later.clear();
                self.wait();
            }
        }
        self.publish();
    }

    /// Reads back what stopped writes have left, so that the model is certain.
    fn resolve(&mut self) {
        for number in 0..self.subchannels.len() {
            let subchannel = &self.subchannels[number];
            if let Some((first, count)) = subchannel.unresolved().filter(|_| subchannel.is_idle()) {
                self.now = now();
                // The ring is empty, and holds more than there are subchannels or the rest stays uncertain, which the model can say.
                self.post_program(number, Program { direction: Direction::Read, shape: Shape::Single, first, count });
            }
        }
        self.publish();
        self.drain();
    }

    fn release_all(&mut self) -> bool {
        self.now = now();
        let books = Books { board: &self.board, model: &self.model, seed: self.seed, now: self.now };
        let lasting =
            self.subchannels.iter_mut().filter_map(|subchannel| (!subchannel.release_all(&books)).then_some(())).count();
        lasting == 0
    }

    /// Writes the ledger's sums to the board.
    fn close(&mut self) {
        let ledger = &self.ledger;
        for (cell, value) in [
            (Cell::Posted, ledger.posted()),
            (Cell::Finals, ledger.finals()),
            (Cell::Lost, ledger.open()),
            (Cell::Twice, ledger.twice()),
        ] {
            self.board.set(cell, value);
        }
        if let Some(tag) = ledger.first_open() {
            let (open, posted) = (ledger.open(), ledger.posted());
            self.board.fault(Fault::LostCompletion, || {
                format!("{open} of {posted} descriptors never got their final completion, tag {tag} first")
            });
        }
    }
}
