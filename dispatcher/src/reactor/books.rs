// SPDX-License-Identifier: MIT OR Apache-2.0
//! The books of a reactor: what time it is, what became of the descriptors, and how long they took.

use crate::clock;
use crate::metrics::{Counters, Latencies, Series, Stage};
use crate::subchannel::{Answer, Owed};
use fctl_ringabi::{CompletionFlags, Disposition, Operation, StageTimes};

/// Starts that ran and ended in one look at the clock, one after the other, and have all their other stages in common, too: those of a batch, as a rule. They
/// are counted, and written down together when that ends (measured with FBA reads in batches of 32: 3 % of the dispatcher's instructions).
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// As the guest says; 0 if that is not known.
    posted: u64,
    taken: u64,
    issued: u64,
    times: StageTimes,
    count: u64,
}

/// Clock, counters and histograms, as the reactor's thread keeps them.
#[derive(Debug)]
pub(super) struct Books {
    now: u64,
    turn: u32,
    latencies: Latencies,
    /// Whether latencies are recorded. Asked once for each run of starts that ended at once, once for every other final, and once a turn.
    recorded: bool,
    pub(super) counters: Counters,
    finals_of_turn: [u64; Series::ALL.len()],
    run: Run,
}

/// A turn is never longer than this in nanoseconds, unless its thread is not run.
const LONGEST_TURN: u64 = 100_000_000;

impl Books {
    pub(super) fn new(recorded: bool) -> Self {
        Self {
            now: clock::now(),
            turn: 0,
            latencies: Latencies::default(),
            recorded,
            counters: Counters::default(),
            finals_of_turn: [0; Series::ALL.len()],
            run: Run::default(),
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

    /// The same, so wide that none comes twice; from 1 on.
    #[inline]
    pub(super) const fn turn_number(&self) -> u64 {
        self.counters.productive_turns + 1
    }

    /// Reads the clock: once for each stage of a turn.
    #[inline]
    pub(super) fn look_at_clock(&mut self) {
        self.end_run();
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

    /// Writes down the end of a start that ran, and tells its stages. `has_clock`: its posted time is on our clock.
    #[inline(always)]
    pub(super) fn end_of_start(&mut self, owed: &Owed, issued: u64, has_clock: bool) -> StageTimes {
        let posted = if has_clock { owed.posted } else { 0 };
        if (posted, owed.taken, issued) != (self.run.posted, self.run.taken, self.run.issued) {
            self.begin_run(posted, owed.taken, issued);
        }
        self.run.count += 1;
        self.run.times
    }

    /// The same for a start that was taken, issued and ended in this look at the clock; all that ended in it before was so, too.
    #[inline(always)]
    pub(super) fn ended_at_once(&mut self, posted: u64) {
        if posted != self.run.posted || self.run.count == 0 {
            self.begin_run(posted, self.now, self.now);
            debug_assert_eq!(self.run.times, self.times_at_once());
        }
        self.run.count += 1;
    }

    /// Its stages: as [`times`](Self::times) tells them, but as values that the compiler knows.
    #[inline(always)]
    pub(super) const fn times_at_once(&self) -> StageTimes {
        StageTimes { taken: self.now, issued_after: 1, completed_after: 1, delivered_after: 1 }
    }

    /// Begins to count starts with these stages.
    #[inline(never)]
    fn begin_run(&mut self, posted: u64, taken: u64, issued: u64) {
        self.end_run();
        self.run = Run { posted, taken, issued, times: self.times(taken, issued), count: 0 };
    }

    /// When the stages were passed of what ends now.
    #[inline]
    pub(super) fn times(&self, taken: u64, issued: u64) -> StageTimes {
        let after = |later: u64, earlier: u64| u32::try_from(later.saturating_sub(earlier)).unwrap_or(u32::MAX);
        // Zero says that it never was issued; what was, in the turn that took it, has the same stamp.
        let issued_after = if issued == 0 { 0 } else { after(issued, taken).max(1) };
        let ended_after = after(self.now, taken).max(issued_after);
        StageTimes { taken, issued_after, completed_after: ended_after, delivered_after: ended_after }
    }

    /// Writes down the starts that ran in the same stages.
    #[inline]
    fn end_run(&mut self) {
        if self.run.count != 0 {
            let Run { posted, taken, issued, count, .. } = core::mem::take(&mut self.run);
            self.counters.finals += count;
            self.counters.ran += count;
            self.stages(Series::Start, Self::posted(posted, taken), taken, issued, count);
        }
    }

    /// Writes down any other final completion.
    pub(super) fn final_completion(&mut self, answer: &Answer, has_clock: bool) {
        let owed = &answer.owed;
        self.counters.finals += 1;
        let was_issued = answer.flags.contains(CompletionFlags::WAS_ISSUED);
        self.counters.fate(owed.operation, answer.disposition, answer.cc, was_issued);
        let posted = if has_clock { Self::posted(owed.posted, owed.taken) } else { 0 };
        self.stages(series(answer), posted, owed.taken, answer.issued, 1);
    }

    /// How long the stages took of `count` descriptors that end now.
    fn stages(&mut self, series: Series, posted: u64, taken: u64, issued: u64, count: u64) {
        if !self.recorded {
            return;
        }
        let now = self.now;
        self.finals_of_turn[series as usize] += count;
        if posted != 0 {
            self.latencies.note(series, Stage::Posted, taken.saturating_sub(posted), count);
        }
        if issued != 0 {
            self.latencies.note(series, Stage::Taken, issued.saturating_sub(taken), count);
            self.latencies.note(series, Stage::Issued, now.saturating_sub(issued), count);
        }
        self.latencies.note(series, Stage::Total, now.saturating_sub(if posted != 0 { posted } else { taken }), count);
    }

    /// A productive turn has come to its end, and its finals have just become visible to their guests if it `published`.
    pub(super) fn end_turn(&mut self, published: bool) {
        let took = if published && self.recorded { clock::now().saturating_sub(self.now) } else { 0 };
        self.end_run();
        self.counters.productive_turns += 1;
        self.turn = self.turn.wrapping_add(1);
        if published && self.recorded {
            self.delivered(took);
        }
    }

    /// The finals of the turn became visible that much later than they ended.
    fn delivered(&mut self, took: u64) {
        for (series, count) in Series::ALL.into_iter().zip(&mut self.finals_of_turn) {
            let count = core::mem::take(count);
            if count != 0 {
                self.latencies.note(series, Stage::Completed, took, count);
            }
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
