// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disturbance: runs during which others took the CPU away are made again.
//!
//! Both threads of a run are busy all the time, so the CPU time of each tells how much of the run it really had. A run in which one of them
//! had less than [`QUIET`] of the time says nothing about either side. What is looked at is that share alone, never the figure, so making a run
//! again favours nobody.

use crate::error::Measured;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The least share of the time that both threads must have had.
pub const QUIET: f64 = 0.97;

/// How often a run is made before the least disturbed one is taken.
const ATTEMPTS: u32 = 12;

/// What was measured, with the share of the time that its threads had.
pub trait Shared {
    /// The smaller share of the two threads, 0 to 1.
    fn share(&self) -> f64;
}

/// Makes runs again, and counts.
#[derive(Debug, Default)]
pub struct Quiet {
    indifferent: bool,
    until: Option<Instant>,
    runs: Cell<u32>,
    again: Cell<u32>,
    disturbed: Cell<u32>,
}

impl Quiet {
    /// Counts from zero. On one CPU nothing is made again: guest and dispatcher take it from each other.
    /// After `patience` nothing is made again either.
    pub fn new(one_cpu: bool, patience: Duration) -> Self {
        Self { indifferent: one_cpu, until: Some(Instant::now() + patience), ..Self::default() }
    }

    /// Runs until a run was quiet; after some attempts the least disturbed one counts.
    ///
    /// # Errors
    /// Those of the run.
    pub fn run<T: Shared>(&self, mut run: impl FnMut() -> Measured<T>) -> Measured<T> {
        self.runs.set(self.runs.get() + 1);
        let mut best = run()?;
        for _ in 1..ATTEMPTS {
            let late = self.until.is_some_and(|until| Instant::now() >= until);
            if self.indifferent || late || best.share() >= QUIET {
                break;
            }
            self.again.set(self.again.get() + 1);
            let next = run()?;
            if next.share() > best.share() {
                best = next;
            }
        }
        if !self.indifferent && best.share() < QUIET {
            self.disturbed.set(self.disturbed.get() + 1);
        }
        Ok(best)
    }

    /// What a reader must know of the runs so far, and begins anew.
    pub fn remark(&self) -> Option<String> {
        let (runs, again, disturbed) = (self.runs.take(), self.again.take(), self.disturbed.take());
        if again == 0 && disturbed == 0 {
            return None;
        }
        let kept = if disturbed > 0 { format!(", {disturbed} of {runs} runs count although disturbed") } else { String::new() };
        Some(format!("busy machine: {again} disturbed runs made again{kept}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Quiet, Shared};

    struct Run(f64);

    impl Shared for Run {
        fn share(&self) -> f64 {
            self.0
        }
    }

    #[test]
    fn a_disturbed_run_is_made_again_and_said() {
        let quiet = Quiet::default();
        let mut shares = [0.5, 0.9, 0.99, 0.1].into_iter();
        assert_eq!(quiet.run(|| Ok(Run(shares.next().unwrap()))).unwrap().0, 0.99);
        assert_eq!(quiet.remark().unwrap(), "busy machine: 2 disturbed runs made again");
        assert_eq!(quiet.remark(), None);
    }

    #[test]
    fn nothing_is_made_again_when_patience_is_at_its_end() {
        let quiet = Quiet::new(false, std::time::Duration::ZERO);
        let mut shares = [0.5, 0.99].into_iter();
        assert_eq!(quiet.run(|| Ok(Run(shares.next().unwrap()))).unwrap().0, 0.5);
        assert!(quiet.remark().unwrap().ends_with("1 of 1 runs count although disturbed"));
    }

    #[test]
    fn the_least_disturbed_run_counts_when_none_is_quiet() {
        let quiet = Quiet::default();
        let mut count = 0.0;
        let run = quiet.run(|| {
            count += 1.0;
            Ok(Run(if count == 5.0 { 0.6 } else { 0.3 }))
        });
        assert_eq!(run.unwrap().0, 0.6);
        assert!(quiet.remark().unwrap().ends_with("1 of 1 runs count although disturbed"));
    }
}
