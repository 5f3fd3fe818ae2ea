// SPDX-License-Identifier: MIT OR Apache-2.0
//! The latencies of all runs as an HDR interval log (V2, compressed): one line for each run, tagged with goal and side. Every HdrHistogram tool
//! reads it.

use crate::error::{Doing as _, Measured};
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The longest latency that is told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// A histogram of nanoseconds, three digits of each.
///
/// # Errors
/// There is no memory for it.
pub fn histogram() -> Measured<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST, 3).doing("make a histogram")
}

struct Run {
    tag: &'static str,
    ended: SystemTime,
    histogram: Histogram<u64>,
}

/// Runs so far.
pub struct LatencyLog {
    began: SystemTime,
    runs: RefCell<Vec<Run>>,
}

impl LatencyLog {
    /// An empty log that begins now.
    pub fn new() -> Self {
        Self { began: SystemTime::now(), runs: RefCell::default() }
    }

    /// Adds a run that has just ended. `tag` has neither commas nor blanks.
    pub fn add(&self, tag: &'static str, histogram: &Histogram<u64>) {
        self.runs.borrow_mut().push(Run { tag, ended: SystemTime::now(), histogram: histogram.clone() });
    }

    /// Writes all runs.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Measured<()> {
        let mut out = BufWriter::new(File::create(path).doing("write the latency log")?);
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment("fctl-bench: nanoseconds; a value is the mean of 32 round trips where the goal is one of polling");
        let mut log =
            builder.with_base_time(self.began).begin_log_with(&mut out, &mut serializer).doing("write the latency log")?;
        for Run { tag, ended, histogram } in self.runs.borrow().iter() {
            let at = ended.duration_since(self.began).unwrap_or_default();
            log.write_histogram(histogram, at, Duration::ZERO, Tag::new(tag))
                .map_err(|error| format!("{error:?}"))
                .doing("write the latency log")?;
        }
        out.flush().doing("write the latency log")
    }
}

#[cfg(test)]
mod tests {
    use super::{histogram, LatencyLog};
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::Histogram;

    #[test]
    fn a_log_can_be_read_again() {
        let log = LatencyLog::new();
        let mut values = histogram().unwrap();
        values.record_n(1_234, 7).unwrap();
        log.add("P2-fctl", &values);
        let file = tempfile::NamedTempFile::new().unwrap();
        log.write(file.path()).unwrap();
        let text = std::fs::read(file.path()).unwrap();
        let found: Vec<_> = IntervalLogIterator::new(&text)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some((interval.tag().unwrap().as_str(), interval.encoded_histogram())),
                _ => None,
            })
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "P2-fctl");
        use base64_of_the_log::decode;
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut &decode(found[0].1)[..]).unwrap();
        assert_eq!((read.len(), read.value_at_quantile(0.5)), (7, values.value_at_quantile(0.5)));
    }

    /// Six bits a letter, as the log writes them.
    mod base64_of_the_log {
        pub fn decode(text: &str) -> Vec<u8> {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
            for letter in text.bytes().filter(|&letter| letter != b'=') {
                let value = alphabet.iter().position(|&other| other == letter).unwrap();
                bits = bits << 6 | u32::try_from(value).unwrap();
                count += 6;
                if count >= 8 {
                    count -= 8;
                    bytes.push((bits >> count & 0xFF) as u8);
                }
            }
            bytes
        }
    }
}
