// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a run may take: when that is over no further pair is begun, and what is missing is said.

use crate::method::Verdict;
use crate::report::Row;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A verdict rests on so many pairs at least.
const FEWEST_PAIRS: usize = 5;

/// The time that a run has, and has taken.
#[derive(Debug)]
pub struct TimeLimit {
    began: Instant,
    limit: Duration,
    cut_short: Cell<bool>,
}

impl TimeLimit {
    /// Begins now.
    pub fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), limit, cut_short: Cell::new(false) }
    }

    /// True if nothing new may be begun.
    pub fn is_over(&self) -> bool {
        self.began.elapsed() >= self.limit
    }

    /// The numbers of at most `count` pairs: fewer if the time is over before, but always one.
    pub fn pairs(&self, count: u16) -> impl Iterator<Item = u16> + '_ {
        (0..count).take_while(|&number| {
            let goes_on = number == 0 || !self.is_over();
            self.cut_short.set(self.cut_short.get() || !goes_on);
            goes_on
        })
    }

    /// Why nothing is begun any more.
    pub fn reason(&self) -> String {
        format!("the {} minutes of this run were over", self.limit.as_secs() / 60)
    }

    /// Says in a goal's rows if pairs are missing. Too few of them say nothing.
    pub fn judge(&self, rows: &mut [Row]) {
        if !self.cut_short.take() {
            return;
        }
        for row in rows {
            match row.pairs.len() {
                pairs if pairs < FEWEST_PAIRS && !matches!(row.verdict, Verdict::NotRun(_)) => {
                    row.verdict = Verdict::NotRun(format!("{} after {pairs} pairs", self.reason()));
                }
                pairs => row.remarks.push(format!("{} after {pairs} pairs", self.reason())),
            }
        }
    }

    /// What the run took, for its last line.
    pub fn took(&self) -> String {
        let (took, limit) = (self.began.elapsed().as_secs(), self.limit.as_secs());
        let beyond = if took > limit { ": LONGER THAN IT MAY TAKE" } else { "" };
        format!("It took {}:{:02} of {}:00 minutes{beyond}.", took / 60, took % 60, limit / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::TimeLimit;
    use crate::goals::Comparison;
    use crate::method::{Verdict, Wanted};
    use std::time::Duration;

    #[test]
    fn without_time_there_is_one_pair_and_no_verdict() {
        let time = TimeLimit::new(Duration::ZERO);
        let mut row = Comparison::new("P1", "this", "that", "", "≥ 1");
        time.pairs(7).for_each(|_| row.pair(1.0, 1.0, Some(Wanted::AtLeast(1.0))));
        let mut rows = [row.row()];
        time.judge(&mut rows);
        assert!(matches!(&rows[0].verdict, Verdict::NotRun(reason) if reason.ends_with("after 1 pairs")), "{rows:?}");
    }

    #[test]
    fn with_time_all_pairs_are_made_and_nothing_is_said() {
        let time = TimeLimit::new(Duration::from_secs(180));
        let mut row = Comparison::new("P1", "this", "that", "", "≥ 1");
        time.pairs(7).for_each(|_| row.pair(1.0, 1.0, Some(Wanted::AtLeast(1.0))));
        let mut rows = [row.row()];
        time.judge(&mut rows);
        assert_eq!((&rows[0].verdict, rows[0].pairs.len(), rows[0].remarks.len()), (&Verdict::Met, 7, 0));
        assert!(time.took().starts_with("It took 0:0") && time.took().ends_with("of 3:00 minutes."), "{}", time.took());
    }
}
