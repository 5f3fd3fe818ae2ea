// SPDX-License-Identifier: MIT OR Apache-2.0
//! The books of a reactor: what time it is, what became of the descriptors, and how long they took.

use crate::clock;
use crate::metrics::{Counters, Latencies, Series, Stage};
use crate::subchannel::{Answer, Owed};
use fctl_ringabi::{CompletionFlags, Disposition, Operation};

/// Starts that ran from taken to ended within one look at the clock, as most do on a device that answers at once. All their stages but the first took no
/// time, so they are counted, and written down together when the next look is taken.
#[derive(Debug, Default)]
struct AtOnce {
    /// When those of the present run were posted; 0 if that is not known.
    posted: u64,
    run: u64,
    /// Those of earlier runs, whose time since posting is written down already.
    before: u64,
}

/// Clock, counters and histograms, as the reactor's thread keeps them.
#[derive(Debug)]
pub(super) struct Books {
    now: u64,
    turn: u32,
    latencies: Latencies,
    pub(super) counters: Counters,
    finals_of_turn: [u64; Series::ALL.len()],
    at_once: AtOnce,
}

/// A turn is never longer than this in nanoseconds, unless its thread is not run.
const LONGEST_TURN: u64 = 100_000_000;

impl Books {
    pub(super) fn new() -> Self {
        Self {
            now: clock::now(),
            turn: 0,
            latencies: Latencies::default(),
            counters: Counters::default(),
            finals_of_turn: [0; Series::ALL.len()],
            at_once: AtOnce::default(),
        }
    }

    /// The clock as it was last read.
    #[inline]
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// The turn's number, counted modulo 2^32.
    #[inline]
    pub(super) const fn turn(&self) -> u32 {
        self.turn
    }

    /// Reads the clock: once for each stage of a turn.
    #[inline]
    pub(super) fn look_at_clock(&mut self) {
        self.settle_at_once();
        self.now = clock::now();
    }

    /// The time of a descriptor's posting, or 0. It is the guest's word: a time that cannot be is not used. One a little later than "taken" can: a turn has
    /// one stamp, and takes what arrives while it is at it.
    #[inline]
    const fn posted(posted: u64, taken: u64) -> u64 {
        if posted <= taken.saturating_add(LONGEST_TURN) {
            posted
        } else {
            0
        }
    }

    /// Writes down the end of a start that ran. True if all of it fell into one look at the clock. `has_clock`: its posted time is on our clock.
    #[inline(always)]
    pub(super) fn end_of_start(&mut self, owed: &Owed, issued: u64, has_clock: bool) -> bool {
        let posted = if has_clock { Self::posted(owed.posted, owed.taken) } else { 0 };
        let at_once = issued == self.now && owed.taken == issued;
        if at_once {
            if posted != self.at_once.posted {
                self.end_run(posted);
            }
            self.at_once.run += 1;
        } else {
            self.counters.finals += 1;
            self.counters.ran += 1;
            self.stages(Series::Start, posted, owed.taken, issued);
        }
        at_once
    }

    /// Writes down any other final completion.
    pub(super) fn final_completion(&mut self, answer: &Answer, has_clock: bool) {
        let owed = &answer.owed;
        self.counters.finals += 1;
        let was_issued = answer.flags.contains(CompletionFlags::WAS_ISSUED);
        self.counters.fate(owed.operation, answer.disposition, answer.cc, was_issued);
        let posted = if has_clock { Self::posted(owed.posted, owed.taken) } else { 0 };
        self.stages(series(answer), posted, owed.taken, answer.issued);
    }

    /// How long the stages took of a descriptor that ends now.
    fn stages(&mut self, series: Series, posted: u64, taken: u64, issued: u64) {
        let now = self.now;
        self.finals_of_turn[series as usize] += 1;
        if posted != 0 {
            self.latencies.note(series, Stage::Posted, taken.saturating_sub(posted));
        }
        if issued != 0 {
            self.latencies.note(series, Stage::Taken, issued.saturating_sub(taken));
            self.latencies.note(series, Stage::Issued, now.saturating_sub(issued));
        }
        self.latencies.note(series, Stage::Total, now.saturating_sub(if posted != 0 { posted } else { taken }));
    }

    /// The next start that ended at once was posted at another time than those before it.
    fn end_run(&mut self, posted: u64) {
        let AtOnce { posted: theirs, run, before } = self.at_once;
        if run > 0 {
            let waited = if theirs == 0 { 0 } else { self.now.saturating_sub(theirs) };
            if theirs != 0 {
                self.latencies.note_n(Series::Start, Stage::Posted, waited, run);
            }
            self.latencies.note_n(Series::Start, Stage::Total, waited, run);
        }
        self.at_once = AtOnce { posted, run: 0, before: before + run };
    }

    /// Writes down the starts that ended at once.
    #[inline]
    fn settle_at_once(&mut self) {
        if self.at_once.run == 0 {
            return;
        }
        self.end_run(0);
        let count = core::mem::take(&mut self.at_once.before);
        self.counters.finals += count;
        self.counters.ran += count;
        self.finals_of_turn[Series::Start as usize] += count;
        self.latencies.note_n(Series::Start, Stage::Taken, 0, count);
        self.latencies.note_n(Series::Start, Stage::Issued, 0, count);
    }

    /// A productive turn has come to its end.
    pub(super) fn end_turn(&mut self) {
        self.settle_at_once();
        self.counters.productive_turns += 1;
        self.turn = self.turn.wrapping_add(1);
    }

    /// The finals of the turn have just become visible to their guests.
    pub(super) fn delivered(&mut self) {
        let took = clock::now().saturating_sub(self.now);
        for (series, count) in Series::ALL.into_iter().zip(&mut self.finals_of_turn) {
            self.latencies.note_n(series, Stage::Completed, took, core::mem::take(count));
        }
    }

    /// The latencies since the last call; `spare` is filled from now on.
    pub(super) fn exchange_latencies(&mut self, spare: Latencies) -> Latencies {
        self.latencies.settle();
        core::mem::replace(&mut self.latencies, spare)
    }
}

#[inline]
fn series(answer: &Answer) -> Series {
    match (answer.owed.operation, answer.disposition) {
        (_, Disposition::AbsorbedByCancel | Disposition::AbsorbedByHalt | Disposition::AbsorbedByClear) => Series::Overtaken,
        (_, Disposition::ProgramInterruption | Disposition::DescriptorError) => Series::Immediate,
        _ if answer.cc != 0 => Series::Immediate,
        (Operation::Start, _) => Series::Start,
        (Operation::Halt, _) => Series::Halt,
        (Operation::Clear, _) => Series::Clear,
        _ => Series::Immediate,
    }
}
