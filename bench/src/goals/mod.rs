// SPDX-License-Identifier: MIT OR Apache-2.0
//! The goals: which sides are compared, and what is wanted of their ratio.

mod fairness;
pub mod p1;
mod p10;
mod p11;
mod p12;
pub mod p13;
mod p2;
pub mod p3;
mod p4;
mod p5;
mod p6;
mod p7;
mod p8;
mod p9;

use crate::cli::{Goal, Peers};
use crate::disturbance::Quiet;
use crate::error::{BenchError, Doing as _, Measured};
use crate::latency_log::LatencyLog;
use crate::machine::Machine;
use crate::method::{Interval, Pair, Verdict, Wanted};
use crate::pingpong;
use crate::placement::Placement;
use crate::pump::Latency;
use crate::report::{Report, Row};
use crate::time_limit::TimeLimit;
use clap::ValueEnum as _;
use std::time::Duration;

/// How long the ping-pong of a moment takes.
const PING_PONG: Duration = Duration::from_millis(15);

/// What every goal needs to know.
pub struct Setting<'a> {
    /// The options.
    pub options: &'a Peers,
    /// Where the threads run.
    pub placement: Placement,
    /// Makes disturbed runs again.
    pub quiet: Quiet,
    /// All latencies.
    pub log: LatencyLog,
    /// How long all may take.
    pub time: TimeLimit,
}

impl Setting<'_> {
    /// The pairs to be measured, for as long as there is time.
    pub fn pairs(&self) -> impl Iterator<Item = u16> + '_ {
        self.time.pairs(self.options.pairs)
    }

    /// The ping-pong of this moment, in nanoseconds.
    ///
    /// # Errors
    /// There is only one CPU.
    pub fn ping_pong(&self) -> Measured<f64> {
        self.latency("ping-pong", || pingpong::round_trip(self.placement, PING_PONG))
    }

    /// The median latency of a run, in nanoseconds; all of them go into the log.
    ///
    /// # Errors
    /// Those of the run.
    pub fn latency(&self, tag: &'static str, run: impl FnMut() -> Measured<Latency>) -> Measured<f64> {
        let measured = self.quiet.run(run)?;
        self.log.add(tag, &measured.histogram);
        Ok(measured.median)
    }
}

/// A comparison while it is measured: pairs, controls and the ping-pongs between them.
pub struct Comparison {
    goal: &'static str,
    what: String,
    peer: &'static str,
    absolute: bool,
    unit: &'static str,
    wanted: String,
    pairs: Vec<Pair>,
    controls: Vec<f64>,
    ping_pongs: Vec<f64>,
    remarks: Vec<String>,
}

impl Comparison {
    /// A comparison without pairs yet. `wanted` is the goal in words, as the table shows it.
    pub fn new(goal: &'static str, what: &str, peer: &'static str, unit: &'static str, wanted: &str) -> Self {
        Self {
            goal,
            what: what.into(),
            peer,
            absolute: false,
            unit,
            wanted: wanted.into(),
            pairs: Vec::new(),
            controls: Vec::new(),
            ping_pongs: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Figures of our own that have no peer.
    pub fn absolute(goal: &'static str, what: &str, unit: &'static str, wanted: &str) -> Self {
        Self { absolute: true, ..Self::new(goal, what, "-", unit, wanted) }
    }

    /// Adds a figure that has no peer: it is judged itself.
    pub fn figure(&mut self, ours: f64, wanted: Option<Wanted>) {
        self.pairs.push(Pair { ours, peer: 1.0, wanted });
    }

    /// Adds an interleaved pair, and what the goal wants at its moment.
    pub fn pair(&mut self, ours: f64, peer: f64, wanted: Option<Wanted>) {
        self.pairs.push(Pair { ours, peer, wanted });
    }

    /// Adds a control: the ratio of two runs of one and the same side, with another run between them.
    pub fn control(&mut self, first: f64, second: f64) {
        self.controls.push(second / first);
    }

    /// Adds a ping-pong.
    pub fn ping_pong(&mut self, nanoseconds: f64) {
        self.ping_pongs.push(nanoseconds);
    }

    /// Adds a remark.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// The row of the table.
    pub fn row(self) -> Row {
        let verdict = Verdict::of(&self.pairs);
        self.row_with(verdict)
    }

    fn row_with(self, verdict: Verdict) -> Row {
        let side = |of: fn(&Pair) -> f64| Interval::of(&self.pairs.iter().map(of).collect::<Vec<_>>());
        Row {
            ours: side(|pair| pair.ours),
            theirs: if self.absolute { None } else { side(|pair| pair.peer) },
            ratio: if self.absolute { None } else { side(Pair::ratio) },
            absolute: self.absolute,
            control: Interval::of(&self.controls),
            ping_pong_ns: Interval::of(&self.ping_pongs),
            goal: self.goal,
            what: self.what,
            peer: self.peer,
            unit: self.unit,
            wanted: self.wanted,
            pairs: self.pairs,
            verdict,
            remarks: self.remarks,
        }
    }

    /// The row of a comparison that did not come about.
    ///
    /// # Errors
    /// The reason is not that it cannot be run.
    pub fn not_run(self, error: BenchError) -> Measured<Row> {
        match error {
            BenchError::NotRun(reason) => Ok(self.row_with(Verdict::NotRun(reason))),
            other => Err(other),
        }
    }
}

/// A comparison whose peer may turn out not to be there: then its row says so, and the others go on.
pub struct Optional {
    comparison: Comparison,
    refused: Option<BenchError>,
}

impl Optional {
    /// As [`Comparison::new`].
    pub fn new(goal: &'static str, what: &str, peer: &'static str, unit: &'static str, wanted: &str) -> Self {
        Self { comparison: Comparison::new(goal, what, peer, unit, wanted), refused: None }
    }

    /// The comparison, for controls and remarks.
    pub fn comparison(&mut self) -> &mut Comparison {
        &mut self.comparison
    }

    /// Adds a pair, unless the peer has been refused before.
    ///
    /// # Errors
    /// The peer did wrong.
    pub fn pair(&mut self, ours: f64, peer: impl FnOnce() -> Measured<f64>, wanted: Option<Wanted>) -> Measured<()> {
        if self.refused.is_some() {
            return Ok(());
        }
        match peer() {
            Ok(peer) => self.comparison.pair(ours, peer, wanted),
            Err(BenchError::NotRun(reason)) => self.refused = Some(BenchError::NotRun(reason)),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// The row of the table.
    ///
    /// # Errors
    /// None that [`pair`](Self::pair) has not told.
    pub fn row(self) -> Measured<Row> {
        match self.refused {
            Some(error) => self.comparison.not_run(error),
            None => Ok(self.comparison.row()),
        }
    }
}

/// Median of some figures.
pub fn median_of(values: &[f64]) -> f64 {
    crate::method::median(&mut values.to_vec())
}

/// Measures one goal: a row for each peer or form.
type Measure = fn(&Setting<'_>) -> Measured<Vec<Row>>;

/// All goals, in order.
const GOALS: [(Goal, Measure); 14] = [
    (Goal::P1, p1::measure),
    (Goal::P2, p2::measure),
    (Goal::P3, p3::measure),
    (Goal::P4, p4::measure),
    (Goal::P5, p5::measure),
    (Goal::P6, p6::measure),
    (Goal::P7, p7::measure),
    (Goal::P8, p8::measure),
    (Goal::P9, p9::measure),
    (Goal::P10, p10::measure),
    (Goal::P11, p11::measure),
    (Goal::P12, p12::measure),
    (Goal::P13, p13::measure),
    (Goal::Fairness, fairness::measure),
];

/// Measures the goals that were asked for, prints the table, and writes the JSON.
///
/// # Errors
/// A side did wrong, or the system refused what every run needs.
pub fn run(options: &Peers) -> Measured<()> {
    let placement = Placement::choose(&options.place)?;
    let quiet = Quiet::new(placement.one_cpu(), options.patience());
    let setting = Setting { options, placement, quiet, log: LatencyLog::new(), time: TimeLimit::new(options.limit()) };
    let mut report = Report::new(Machine::look(), setting.placement, options);
    let tell = |text: String| {
        if !options.markdown {
            print!("{text}");
        }
    };
    tell(report.head());
    for (goal, measure) in GOALS {
        if options.wants(goal) && setting.time.is_over() {
            let name = goal.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            let row = Comparison::new("", &format!("{name}, all of it"), "-", "", "-");
            tell(report.add(vec![row.not_run(BenchError::NotRun(setting.time.reason()))?]));
        } else if options.wants(goal) {
            let mut rows = measure(&setting)?;
            setting.time.judge(&mut rows);
            if let Some(remark) = setting.quiet.remark() {
                rows.iter_mut().for_each(|row| row.remarks.push(remark.clone()));
            }
            tell(report.add(rows));
        }
    }
    report.took = setting.time.took();
    tell(report.foot());
    if options.markdown {
        print!("{}", report.markdown());
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).doing("write the report as JSON")?;
        std::fs::write(path, text + "\n").doing("write the JSON file")?;
        setting.log.write(&path.with_extension("hlog"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
