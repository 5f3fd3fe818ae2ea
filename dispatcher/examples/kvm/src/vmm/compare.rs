// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts through the ring against one exit each: the same guest, the same null devices, turn about in one run.

use super::error::Failed;
use super::job::{Job, Kind};
use super::machine::Machine;

/// The goal for a batch of 32: so many times the starts of one exit each.
const WANTED: f64 = 20.0;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, in each of which every way has its turn.
    pub rounds: usize,
    /// Starts by exit in a turn; through the ring it is ten times as many.
    pub starts: u64,
}

/// Nanoseconds a start in one round.
struct Round {
    driver: f64,
    bare: f64,
    again: f64,
    one: f64,
    batch: f64,
}

impl Round {
    /// What an exit costs at least. Without hardware underneath, KVM has two prices: it interprets privileged code, and leaves that more cheaply.
    fn exit(&self) -> f64 {
        self.driver.min(self.bare)
    }
}

fn nanoseconds_a_start(machine: &mut Machine, kind: Kind, batch: u64, starts: u64) -> Result<f64, Failed> {
    let starts = starts - starts % batch;
    let told = machine.ask(&Job { batch, ..Job::new(kind, starts) })?;
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(machine.tick()? * told.elapsed as f64 / told.done as f64)
}

/// Median, least, greatest.
fn interval(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// Measures, and prints the table.
pub fn compare(machine: &mut Machine, effort: Effort) -> Result<(), Failed> {
    let mut rounds = Vec::with_capacity(effort.rounds);
    // The first round warms up.
    for round in 0..=effort.rounds {
        let mut turn = |kind, batch, starts| nanoseconds_a_start(machine, kind, batch, starts);
        let measured = Round {
            bare: turn(Kind::BareExits, 1, effort.starts)?,
            batch: turn(Kind::Ring, 32, effort.starts * 10)?,
            again: turn(Kind::BareExits, 1, effort.starts)?,
            one: turn(Kind::Ring, 1, effort.starts * 10)?,
            driver: turn(Kind::Exits, 1, effort.starts)?,
        };
        if round > 0 {
            rounds.push(measured);
        }
    }
    println!("starts on null devices, {} rounds turn about      ns a start   cheaper exit ÷ this (least … most)", effort.rounds);
    let line = |name: &str, time: fn(&Round) -> f64, ratio: fn(&Round) -> f64| {
        let (time, ..) = interval(rounds.iter().map(time));
        let (median, least, most) = interval(rounds.iter().map(ratio));
        println!("  {name:<44} {time:>13.0}   {median:>6.2} ({least:.2} … {most:.2})");
        (least, most)
    };
    line("one exit each, by the driver", |round| round.driver, |round| round.exit() / round.driver);
    line("one exit each, from privileged code, bare", |round| round.bare, |round| round.exit() / round.bare);
    line("the same again, as a control", |round| round.again, |round| round.bare / round.again);
    line("through the ring, one at a time", |round| round.one, |round| round.exit() / round.one);
    let (least, most) = line("through the ring, batches of 32", |round| round.batch, |round| round.exit() / round.batch);
    let verdict = match (least >= WANTED, most < WANTED) {
        (true, _) => "met",
        (_, true) => "not met",
        _ => "undecided",
    };
    println!("  wanted for batches of 32: at least {WANTED}: {verdict}");
    Ok(())
}
