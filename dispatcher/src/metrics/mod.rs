// SPDX-License-Identifier: MIT OR Apache-2.0
//! Latency histograms by function and stage, and counters. Always on, unless somebody wants to know [what they cost](crate::Builder::latencies).
//!
//! Recorders belong to a reactor. A reader asks for them by the control mailbox and gets the filled recorder, while the reactor goes
//! on with the spare: no lock, and the data path never waits.
//!
//! Quantisation: the reactor reads the clock once per stage and *turn*, so all instructions of a turn share their stamps; and what is issued in the turn
//! that took it has one stamp for both, so *taken-issued* tells how long a start waited in its subchannel, in whole turns. Histograms keep two
//! significant digits (1 %).

use fctl_ringabi::Operation;
use hdrhistogram::Histogram;

/// The functions that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Series {
    /// START SUBCHANNEL that ran.
    Start,
    /// START SUBCHANNEL that was overtaken.
    Overtaken,
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL.
    Clear,
    /// All that end at acceptance: refused, CANCEL, MODIFY, STORE, TEST, RESUME.
    Immediate,
}

impl Series {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Start, Self::Overtaken, Self::Halt, Self::Clear, Self::Immediate];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Overtaken => "overtaken",
            Self::Halt => "halt",
            Self::Clear => "clear",
            Self::Immediate => "immediate",
        }
    }
}

/// The stages of a descriptor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Stage {
    /// From posted by the guest until taken by the dispatcher.
    Posted,
    /// From taken until issued to the device.
    Taken,
    /// From issued until the device had ended it.
    Issued,
    /// From ended until the completion was stored.
    Completed,
    /// From posted (or, if that is not known, taken) until the completion was stored.
    Total,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Posted, Self::Taken, Self::Issued, Self::Completed, Self::Total];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted-taken",
            Self::Taken => "taken-issued",
            Self::Issued => "issued-completed",
            Self::Completed => "completed-delivered",
            Self::Total => "total",
        }
    }
}

/// The longest latency that is told apart: ten minutes. Longer ones count as this.
const LONGEST: u64 = 600_000_000_000;

const SERIES: usize = Series::ALL.len();
const STAGES: usize = Stage::ALL.len();

/// A value that was seen several times in a row: recorded together.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    value: u64,
    count: u64,
}

/// The latencies of one reactor since the last swap.
#[derive(Clone, Debug)]
pub struct Latencies {
    histograms: Vec<Histogram<u64>>,
    runs: [Run; SERIES * STAGES],
}

impl Default for Latencies {
    fn default() -> Self {
        let empty = Histogram::new_with_bounds(1, LONGEST, 2);
        let histograms = empty.map(|histogram| vec![histogram; SERIES * STAGES]).unwrap_or_default();
        Self { histograms, runs: [Run::default(); SERIES * STAGES] }
    }
}

impl Latencies {
    /// Notes a value `count` times.
    #[inline]
    pub(crate) fn note(&mut self, series: Series, stage: Stage, value: u64, count: u64) {
        let index = series as usize * STAGES + stage as usize;
        let run = &mut self.runs[index];
        if run.value == value {
            run.count += count;
            return;
        }
        let ended = core::mem::replace(run, Run { value, count });
        Self::record(&mut self.histograms, index, ended);
    }

    #[inline]
    fn record(histograms: &mut [Histogram<u64>], index: usize, run: Run) {
        if run.count > 0 {
            if let Some(histogram) = histograms.get_mut(index) {
                histogram.saturating_record_n(run.value.min(LONGEST), run.count);
            }
        }
    }

    /// Records the runs that are still open.
    pub(crate) fn settle(&mut self) {
        for (index, run) in self.runs.iter_mut().enumerate() {
            Self::record(&mut self.histograms, index, core::mem::take(run));
        }
    }

    /// The histogram of a series and stage, in nanoseconds.
    pub fn get(&self, series: Series, stage: Stage) -> Option<&Histogram<u64>> {
        self.histograms.get(series as usize * STAGES + stage as usize)
    }

    /// Adds another reactor's, or another interval's, latencies.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in self.histograms.iter_mut().zip(&other.histograms) {
            // Both have the same bounds, so nothing is out of range.
            let _ = sum.add(part);
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.runs = [Run::default(); SERIES * STAGES];
        for histogram in &mut self.histograms {
            histogram.reset();
        }
    }
}

/// What became of the descriptors: a ledger that adds up.
///
/// `taken == finals + owed`, and over all operations `finals` is the sum of the fates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Descriptors taken.
    pub taken: u64,
    /// Descriptors that came to their end: final completions, stored or not.
    pub finals: u64,
    /// Of these, finals that could not be stored because their ring was fenced or gone; the ledger still has them.
    pub unstored: u64,
    /// Starts taken.
    pub starts: u64,
    /// Starts that ran: their status was presented.
    pub ran: u64,
    /// Starts merged away before issue by a halt or clear.
    pub merged_away: u64,
    /// Starts stopped by a halt or clear after they were issued.
    pub stopped_active: u64,
    /// Starts cancelled.
    pub cancelled: u64,
    /// Starts refused: condition code 1, 2 or 3, a program interruption, or no instruction at all.
    pub refused: u64,
    /// Functions issued to devices.
    pub issued: u64,
    /// Other completions stored: accepted, intermediate, secondary, unsolicited.
    pub others: u64,
    /// Times a ring had to wait because its guest owed itself more completions than fit.
    pub stalls: u64,
    /// Rings fenced.
    pub fenced: u64,
    /// Notifications sent.
    pub notifications: u64,
    /// Turns of the loop that did something.
    pub productive_turns: u64,
    /// Times the reactor slept.
    pub sleeps: u64,
}

impl Counters {
    /// Adds another reactor's counters.
    pub fn add(&mut self, other: &Self) {
        let Self {
            taken,
            finals,
            unstored,
            starts,
            ran,
            merged_away,
            stopped_active,
            cancelled,
            refused,
            issued,
            others,
            stalls,
            fenced,
            notifications,
            productive_turns,
            sleeps,
        } = other;
        self.taken += taken;
        self.finals += finals;
        self.unstored += unstored;
        self.starts += starts;
        self.ran += ran;
        self.merged_away += merged_away;
        self.stopped_active += stopped_active;
        self.cancelled += cancelled;
        self.refused += refused;
        self.issued += issued;
        self.others += others;
        self.stalls += stalls;
        self.fenced += fenced;
        self.notifications += notifications;
        self.productive_turns += productive_turns;
        self.sleeps += sleeps;
    }

    /// Counts the final completion of a descriptor.
    #[inline]
    pub(crate) fn fate(&mut self, operation: Operation, disposition: fctl_ringabi::Disposition, cc: u8, was_issued: bool) {
        use fctl_ringabi::Disposition as D;
        if operation != Operation::Start {
            return;
        }
        match disposition {
            D::Executed if cc == 0 => self.ran += 1,
            D::AbsorbedByCancel => self.cancelled += 1,
            D::AbsorbedByHalt | D::AbsorbedByClear if was_issued => self.stopped_active += 1,
            D::AbsorbedByHalt | D::AbsorbedByClear => self.merged_away += 1,
            _ => self.refused += 1,
        }
    }
}
