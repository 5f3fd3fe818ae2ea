// SPDX-License-Identifier: MIT OR Apache-2.0
//! Latencies as rows of a table: percentiles, and the distribution as a small picture in the line.

use fctl_dispatcher::metrics::{Latencies, Series, Stage};
use hdrhistogram::Histogram;
use serde::Serialize;

/// The picture's columns: powers of two from this many nanoseconds on.
const FIRST: u32 = 8;
/// How many columns.
const COLUMNS: usize = 18;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One function and stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The function.
    pub function: &'static str,
    /// The stage.
    pub stage: &'static str,
    /// How many.
    pub count: u64,
    /// Half were no slower than this many nanoseconds.
    pub p50_ns: u64,
    /// 99 of a hundred.
    pub p99_ns: u64,
    /// 999 of a thousand.
    pub p999_ns: u64,
    /// All.
    pub max_ns: u64,
    /// How many lie in each power of two of nanoseconds, the first below 512.
    #[serde(rename = "by_power_of_two")]
    pub columns: [u64; COLUMNS],
}

/// The rows of all functions and stages that have anything.
pub fn rows(latencies: &Latencies) -> Vec<Row> {
    let pairs = Series::ALL.into_iter().flat_map(|series| Stage::ALL.map(|stage| (series, stage)));
    let row = |(series, stage)| row(series, stage, latencies.get(series, stage).filter(|histogram| !histogram.is_empty())?);
    pairs.filter_map(row).collect()
}

#[allow(clippy::unnecessary_wraps, reason = "fits the filter that it is used in")]
fn row(series: Series, stage: Stage, histogram: &Histogram<u64>) -> Option<Row> {
    let mut columns = [0; COLUMNS];
    for step in histogram.iter_recorded() {
        columns[column(step.value_iterated_to())] += step.count_since_last_iteration();
    }
    Some(Row {
        function: series.name(),
        stage: stage.name(),
        count: histogram.len(),
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
        p999_ns: histogram.value_at_quantile(0.999),
        max_ns: histogram.max(),
        columns,
    })
}

/// The column of a value: both ends take what lies beyond.
fn column(nanoseconds: u64) -> usize {
    let power = nanoseconds.max(1).ilog2().saturating_sub(FIRST);
    usize::try_from(power).unwrap_or(0).min(COLUMNS - 1)
}

impl Row {
    /// The distribution: one character for each power of two; a dot where there is nothing. Heights grow with the logarithm, so that a
    /// few slow ones can be seen beside a million fast ones.
    pub fn picture(&self) -> String {
        let height = |count: u64| usize::try_from(count.max(1).ilog2()).unwrap_or(0);
        let highest = height(self.columns.iter().copied().max().unwrap_or(0)).max(1);
        let bar = |&count: &u64| match count {
            0 => '·',
            _ => BARS[(height(count) * (BARS.len() - 1) / highest).min(BARS.len() - 1)],
        };
        self.columns.iter().map(bar).collect()
    }
}

/// What stands above the pictures.
pub fn scale() -> String {
    let (low, high) = (time(1 << (FIRST + 1)), time(1 << (FIRST as usize + COLUMNS - 1)));
    format!("{:<width$}{high}", format!("<{low}"), width = COLUMNS - high.chars().count())
}

/// A time in three digits.
pub fn time(nanoseconds: u64) -> String {
    let units = [("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let (unit, size) = units.into_iter().rev().find(|&(_, size)| nanoseconds >= size).unwrap_or(units[0]);
    let (whole, tenths) = (nanoseconds / size, nanoseconds % size * 10 / size);
    if size == 1 || whole >= 100 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_unit() {
        for (nanoseconds, text) in
            [(0, "0 ns"), (999, "999 ns"), (1_000, "1.0 µs"), (12_345, "12.3 µs"), (123_456, "123 µs"), (5_000_000_000, "5.0 s")]
        {
            assert_eq!(time(nanoseconds), text);
        }
    }

    #[test]
    fn the_picture_shows_few_beside_many() {
        let mut columns = [0; COLUMNS];
        (columns[0], columns[3], columns[17]) = (1, 1 << 20, 1 << 10);
        let row = Row { function: "start", stage: "total", count: 0, p50_ns: 0, p99_ns: 0, p999_ns: 0, max_ns: 0, columns };
        assert_eq!(row.picture(), "▁··█·············▄");
        assert_eq!(scale().chars().count(), COLUMNS);
    }

    #[test]
    fn columns_are_powers_of_two() {
        assert_eq!([0, 1, 511, 512, 1023, 1024].map(column), [0, 0, 0, 1, 1, 2]);
        assert_eq!(column(u64::MAX), COLUMNS - 1);
    }
}
