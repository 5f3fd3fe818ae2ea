// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report: a table for people, and the same as JSON.

use crate::cli::Peers;
use crate::machine::Machine;
use crate::method::{Interval, Pair, Verdict};
use crate::placement::Placement;
use serde::Serialize;
use std::fmt::Write as _;

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The goal's number.
    pub goal: &'static str,
    /// What was measured.
    pub what: String,
    /// Against what.
    pub peer: &'static str,
    /// The goal is of our figure alone: there is no peer and no ratio.
    pub absolute: bool,
    /// Unit of the figures.
    pub unit: &'static str,
    /// Our figures.
    pub ours: Option<Interval>,
    /// The peer's.
    pub theirs: Option<Interval>,
    /// The pairs' ratios, ours to the peer's.
    pub ratio: Option<Interval>,
    /// Ratios of one side to itself, measured the same way: what the machine alone does to a ratio.
    pub control: Option<Interval>,
    /// Ping-pongs between the pairs.
    pub ping_pong_ns: Option<Interval>,
    /// What is wanted, in words.
    pub wanted: String,
    /// What these pairs say of the goal.
    pub verdict: Verdict,
    /// What else is to be known.
    pub remarks: Vec<String>,
    /// The pairs themselves, in order.
    pub pairs: Vec<Pair>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Pairs of each comparison.
    pub pairs: u16,
    /// Warm-up of each run, in milliseconds.
    pub warm_up_ms: u128,
    /// Each run, in milliseconds.
    pub run_ms: u128,
    /// CPU of the guest's thread.
    pub guest_cpu: usize,
    /// CPU of the dispatcher and its peers.
    pub dispatcher_cpu: usize,
    /// Bytes of the volume of P3, P4 and P5.
    pub volume_bytes: u64,
    /// How the peers are set.
    pub peers: &'static str,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The settings.
    pub settings: Settings,
    /// The comparisons.
    pub rows: Vec<Row>,
    /// How long all took, in words.
    pub took: String,
}

/// How the peers are set.
const PEERS: &str = "bare io_uring: single issuer, deferred task run; storage daemon: aio=io_uring, cache.direct=off, one iothread that polls 50 µs, \
                     one polled queue; libblkio: io_uring driver as it comes";

/// Widths of the table's columns.
const WIDTHS: [usize; 7] = [8, 40, 24, 42, 20, 20, 26];

impl Report {
    /// A report without rows yet.
    pub fn new(machine: Machine, placement: Placement, options: &Peers) -> Self {
        let times = options.times();
        let settings = Settings {
            pairs: options.pairs,
            warm_up_ms: times.warm_up.as_millis(),
            run_ms: times.run.as_millis(),
            guest_cpu: placement.guest,
            dispatcher_cpu: placement.dispatcher,
            volume_bytes: options.volume_bytes(),
            peers: PEERS,
        };
        Self { machine, settings, rows: Vec::new(), took: String::new() }
    }

    /// The head: machine, kernel, placement, settings, and the table's first line.
    pub fn head(&self) -> String {
        let Self { machine, settings, .. } = self;
        let peers: Vec<_> = machine.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let virtual_machine = if machine.virtual_machine { ", virtual" } else { "" };
        let mut text = format!(
            "fctl {} against its peers ({})\n  machine    {} CPUs{virtual_machine}, {}; Linux {}; load {}\n",
            machine.fctl,
            peers.join(", "),
            machine.online,
            machine.cpu,
            machine.kernel,
            machine.load,
        );
        let _ = writeln!(
            text,
            "  placement  guest on CPU {}, dispatcher and peers on CPU {}; histograms on; volume of {} MiB in the page cache",
            settings.guest_cpu,
            settings.dispatcher_cpu,
            settings.volume_bytes >> 20
        );
        let _ = writeln!(text, "  peers      {}", settings.peers);
        let _ = writeln!(
            text,
            "  method     {} interleaved pairs, each run {} ms after {} ms of warm-up; ratio is the median of the pairs' ratios (min … max)\n",
            settings.pairs, settings.run_ms, settings.warm_up_ms
        );
        text += &line(["goal", "what", "ours", "peer", "ratio", "same side twice", "wanted"].map(String::from));
        text
    }

    /// Adds rows, and gives their lines.
    pub fn add(&mut self, rows: Vec<Row>) -> String {
        let text = rows.iter().map(Row::lines).collect();
        self.rows.extend(rows);
        text
    }

    /// The sum of the verdicts, and what a reader must know of them.
    pub fn foot(&self) -> String {
        let count = |is: fn(&Verdict) -> bool| self.rows.iter().filter(|row| is(&row.verdict)).count();
        let met = count(|verdict| *verdict == Verdict::Met);
        let not_met = count(|verdict| *verdict == Verdict::NotMet);
        let undecided = count(|verdict| *verdict == Verdict::Undecided);
        let not_run = count(|verdict| matches!(verdict, Verdict::NotRun(_)));
        format!(
            "\n{met} met, {not_met} not met, {undecided} undecided, {not_run} not run; only *met* counts as met. {}\n\
             An absolute figure proves nothing on a shared machine; only ratios of one run count.\n",
            self.took
        )
    }

    /// The whole as Markdown, to be pasted into docs/performance.md.
    pub fn markdown(&self) -> String {
        let head = self.head();
        // Without the table's first line.
        let head: Vec<_> = head.lines().take_while(|line| !line.is_empty()).collect();
        let mut text = format!("```\n{}\n```\n\n", head.join("\n"));
        text += "| goal | what | ours | peer | ratio (min … max) | same side twice | wanted | verdict |\n|---|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let remarks = row.remarks.iter().fold(String::new(), |text, remark| text + "; " + remark);
            let [goal, what, ours, peer, ratio, control, wanted] = row.cells();
            let _ = writeln!(
                text,
                "| {goal} | {what} | {ours} | {peer} | {ratio} | {control} | {wanted} | {}{} |",
                row.verdict,
                remarks.replace('|', "/")
            );
        }
        text + &self.foot()
    }
}

fn line(cells: [String; 7]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        let _ = write!(text, "{cell:width$} ");
    }
    text.trim_end().to_owned() + "\n"
}

/// A figure with three digits that count.
fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".into(),
        |Interval { median, min, max }| format!("{} ({} … {})", figure(median), figure(min), figure(max)),
    )
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let side = |figures: Option<Interval>| match figures {
            Some(Interval { median, .. }) => format!("{} {}", figure(median), self.unit).trim_end().into(),
            None => "-".into(),
        };
        let spread = |figures: Option<Interval>| match figures {
            Some(_) => format!("{} {}", interval(figures), self.unit).trim_end().into(),
            None => "-".into(),
        };
        [
            self.goal.into(),
            self.what.clone(),
            if self.absolute { spread(self.ours) } else { side(self.ours) },
            if self.absolute { self.peer.into() } else { format!("{} {}", self.peer, side(self.theirs)) },
            if self.absolute { "-".into() } else { interval(self.ratio) },
            interval(self.control),
            self.wanted.clone(),
        ]
    }

    fn lines(&self) -> String {
        let mut text = line(self.cells());
        let _ = write!(text, "     {}", self.verdict);
        if self.ping_pong_ns.is_some() {
            let _ = write!(text, "; ping-pong {} ns", interval(self.ping_pong_ns));
        }
        for remark in &self.remarks {
            let _ = write!(text, "; {remark}");
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{figure, interval, Row};
    use crate::method::{Interval, Verdict};

    fn row() -> Row {
        Row {
            goal: "P1",
            what: "this".into(),
            peer: "that",
            absolute: false,
            unit: "M/s",
            ours: Interval::of(&[40.0]),
            theirs: Interval::of(&[100.0]),
            ratio: Interval::of(&[0.4]),
            control: None,
            ping_pong_ns: Interval::of(&[98.0]),
            wanted: "≥ 0.4".into(),
            verdict: Verdict::Met,
            remarks: vec!["remark".into()],
            pairs: Vec::new(),
        }
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([0.123, 4.567, 45.67, 456.7].map(figure), ["0.12", "4.57", "45.7", "457"]);
        assert_eq!(interval(Interval::of(&[1.0, 3.0, 2.0])), "2.00 (1.00 … 3.00)");
        assert_eq!(interval(None), "-");
    }

    #[test]
    fn a_row_says_both_figures_the_ratio_and_the_verdict() {
        let text = row().lines();
        for part in ["P1", "this", "40.0 M/s", "that", "100 M/s", "0.40", "≥ 0.4", "met", "ping-pong 98.0", "remark"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn an_absolute_figure_has_an_interval_and_no_ratio() {
        let ours = Interval::of(&[3.0, 5.0, 4.0]);
        let text = Row { absolute: true, peer: "-", ours, ..row() }.lines();
        assert!(text.contains("4.00 (3.00 … 5.00) M/s") && !text.contains("0.40 (0.40"), "{text}");
    }

    #[test]
    fn a_row_becomes_json() {
        let json = serde_json::to_value(row()).unwrap();
        assert_eq!(json["verdict"]["verdict"], "met");
        assert_eq!(json["ratio"]["median"], 0.4);
        let mut row = row();
        row.verdict = Verdict::NotRun("no KVM".into());
        assert_eq!(serde_json::to_value(row).unwrap()["verdict"]["reason"], "no KVM");
    }
}
