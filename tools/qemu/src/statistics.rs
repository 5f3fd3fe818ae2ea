// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long QEMU is kept inside a region write, when somebody wants to know.

use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::time::Duration;

/// Time inside region writes, apart by whether the reactor was awake.
#[derive(Debug)]
pub struct Statistics {
    awake: Histogram<u64>,
    woken: Histogram<u64>,
}

impl Statistics {
    /// Three digits, up to a minute.
    pub fn new() -> Option<Self> {
        let empty = Histogram::new_with_bounds(1, 60_000_000_000, 3).ok()?;
        Some(Self { awake: empty.clone(), woken: empty })
    }

    /// Notes one write.
    pub fn note(&mut self, took: Duration, woken: bool) {
        let histogram = if woken { &mut self.woken } else { &mut self.awake };
        histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another one has seen.
    pub fn add(&mut self, other: &Self) {
        // Of the same bounds.
        let _ = self.awake.add(&other.awake);
        let _ = self.woken.add(&other.woken);
    }

    /// As one JSON object, in nanoseconds.
    pub fn to_json(&self) -> String {
        let mut text = String::from("{");
        for (name, histogram) in [("awake", &self.awake), ("woken", &self.woken)] {
            let comma = if text.len() > 1 { ", " } else { "" };
            let (p50, p99) = (histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99));
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{comma}\"{name}\": {{\"count\": {}, \"p50\": {p50}, \"p99\": {p99}, \"max\": {}}}",
                histogram.len(),
                histogram.max()
            );
        }
        text.push_str("}\n");
        text
    }
}
