// SPDX-License-Identifier: MIT OR Apache-2.0
//! The method: ratios of interleaved pairs, their interval, and what may be concluded from it.

use serde::Serialize;

/// The median; sorts the values. Not a number if there are none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (1, Some(&value)) => value,
        (0, Some(&value)) => (values[middle - 1] + value) / 2.0,
        _ => f64::NAN,
    }
}

/// Median, least and greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Interval {
    /// The interval of some values; none if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        let median = median(&mut values);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Wanted {
    /// Whether a ratio is as wanted.
    pub fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// One interleaved pair: both sides, seconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Our figure.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// What the goal wants at this moment; none if it says nothing about a moment like this.
    pub wanted: Option<Wanted>,
}

impl Pair {
    /// Ours against the peer's.
    pub fn ratio(&self) -> f64 {
        self.ours / self.peer
    }
}

/// What may be concluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// Every pair is as wanted.
    Met,
    /// No pair is.
    NotMet,
    /// Some are and some are not: the interval straddles the goal.
    Undecided,
    /// The goal says nothing about a moment, or a peer, like this.
    NoGoal,
    /// There is nothing to conclude from, and why.
    NotRun(String),
}

impl Verdict {
    /// The verdict of some pairs, each against what is wanted at its own moment.
    pub fn of(pairs: &[Pair]) -> Self {
        let judged: Vec<bool> = pairs.iter().filter_map(|pair| Some(pair.wanted?.holds(pair.ratio()))).collect();
        if pairs.is_empty() {
            return Self::NotRun("no pairs".into());
        }
        match (judged.contains(&true), judged.contains(&false)) {
            (true, false) => Self::Met,
            (false, true) => Self::NotMet,
            (false, false) => Self::NoGoal,
            (true, true) => Self::Undecided,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::NotMet => f.write_str("not met"),
            Self::Undecided => f.write_str("undecided"),
            Self::NoGoal => f.write_str("no goal for this"),
            Self::NotRun(reason) => write!(f, "not run: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{median, Interval, Pair, Verdict, Wanted};

    fn pairs(wanted: Wanted, ratios: &[f64]) -> Vec<Pair> {
        ratios.iter().map(|&ratio| Pair { ours: ratio * 50.0, peer: 50.0, wanted: Some(wanted) }).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn an_interval_is_median_least_and_greatest() {
        let interval = Interval::of(&[0.5, 0.3, 0.4, 0.9, 0.1]).unwrap();
        assert_eq!((interval.median, interval.min, interval.max), (0.4, 0.1, 0.9));
        assert_eq!(Interval::of(&[]), None);
    }

    #[test]
    fn the_ratio_of_pairs_is_not_the_ratio_of_medians() {
        // The machine was three times as slow for a while: each pair still says one half.
        let pairs: Vec<_> =
            [(10.0, 20.0), (30.0, 60.0), (10.0, 20.0)].map(|(ours, peer)| Pair { ours, peer, wanted: None }).into();
        assert!(pairs.iter().all(|pair| pair.ratio() == 0.5));
    }

    #[test]
    fn a_goal_is_met_only_if_every_pair_says_so() {
        let wanted = Wanted::AtLeast(0.5);
        assert_eq!(Verdict::of(&pairs(wanted, &[0.5, 0.6, 0.75])), Verdict::Met);
        assert_eq!(Verdict::of(&pairs(wanted, &[0.375, 0.6, 0.75])), Verdict::Undecided);
        assert_eq!(Verdict::of(&pairs(wanted, &[0.375, 0.25])), Verdict::NotMet);
        let wanted = Wanted::AtMost(1.5);
        assert_eq!(Verdict::of(&pairs(wanted, &[1.5, 1.25])), Verdict::Met);
        assert_eq!(Verdict::of(&pairs(wanted, &[1.5, 1.75])), Verdict::Undecided);
        assert_eq!(Verdict::of(&pairs(wanted, &[1.75])), Verdict::NotMet);
    }

    #[test]
    fn each_pair_is_judged_by_what_is_wanted_at_its_moment() {
        let mut mixed = pairs(Wanted::AtLeast(0.4), &[0.45, 0.35]);
        assert_eq!(Verdict::of(&mixed), Verdict::Undecided);
        mixed[1].wanted = Some(Wanted::AtLeast(0.3));
        assert_eq!(Verdict::of(&mixed), Verdict::Met);
        mixed[1].wanted = None;
        assert_eq!(Verdict::of(&mixed), Verdict::Met);
        mixed[0].wanted = None;
        assert_eq!(Verdict::of(&mixed), Verdict::NoGoal);
        assert!(matches!(Verdict::of(&[]), Verdict::NotRun(_)));
    }
}
