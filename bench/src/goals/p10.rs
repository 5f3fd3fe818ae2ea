// SPDX-License-Identifier: MIT OR Apache-2.0
//! P10: starts of a guest under KVM, through the ring against one exit each. The hypervisor of the examples measures it, turn about in one run;
//! here its table is read.

use super::{Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::method::{Interval, Pair, Verdict, Wanted};
use crate::report::Row;
use std::process::Command;

/// Built into the same folder by `cargo build --release --workspace`.
const PROGRAM: &str = "fctl-kvm-example";

/// A line of its table: its name there, what it is here, and what is wanted of it.
type Line = (&'static str, &'static str, &'static str, Option<f64>);

/// The lines that are read.
const LINES: [Line; 2] = [
    ("through the ring, batches of 32", "START from a KVM guest, batch 32", "≥ 20", Some(20.0)),
    ("through the ring, one at a time", "START from a KVM guest, one by one", "(no goal)", None),
];

/// What a line of its table says: nanoseconds a start; and how many times as long the cheaper exit takes: median, least, most.
fn read(text: &str, name: &str) -> Option<(f64, Interval)> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
    let numbers: Vec<f64> = line.split(|other: char| !(other.is_ascii_digit() || other == '.')).flat_map(str::parse).collect();
    let [nanoseconds, median, min, max] = numbers[..] else { return None };
    Some((nanoseconds, Interval { median, min, max }))
}

/// The table, or why there is none.
fn table(setting: &Setting<'_>) -> Measured<String> {
    let path = std::env::current_exe().doing("find this program")?.with_file_name(PROGRAM);
    let mut command = Command::new(&path);
    if setting.options.quick {
        command.arg("--quick");
    }
    let output = command
        .output()
        .map_err(|error| BenchError::NotRun(format!("{PROGRAM}: {error}; it is built by cargo build --release -p {PROGRAM}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(reason) = text.lines().find_map(|line| line.strip_prefix("not run: ")) {
        return Err(BenchError::NotRun(reason.into()));
    }
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::NotRun(format!("{PROGRAM}: {}", complaint.lines().last().unwrap_or("it failed"))));
    }
    Ok(text)
}

/// Measures P10.
///
/// # Errors
/// The program's table cannot be read.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let comparison =
        |what: &'static str, wanted: &'static str| Comparison::new("P10", what, "one exit each, the cheaper sort", "M/s", wanted);
    let text = match table(setting) {
        Ok(text) => text,
        Err(error) => {
            return LINES.iter().map(|(_, what, wanted, _)| comparison(what, wanted).not_run(error.again())).collect();
        }
    };
    let row = |&(name, what, wanted, bound): &Line| {
        let unreadable = || format!("no line “{name}” in the table of {PROGRAM}");
        let (nanoseconds, ratio) = read(&text, name).ok_or_else(unreadable).doing("read a table")?;
        let wanted_of_all = bound.map(Wanted::AtLeast);
        // Its rounds are not told one by one: the ends of the interval stand for them.
        let pairs: Vec<_> = [ratio.min, ratio.max]
            .map(|ratio| Pair { ours: 1e3 / nanoseconds, peer: 1e3 / nanoseconds / ratio, wanted: wanted_of_all })
            .into();
        let ours = Interval::of(&[1e3 / nanoseconds]);
        let theirs = Interval::of(&[1e3 / nanoseconds / ratio.median]);
        let verdict = Verdict::of(&pairs);
        Ok(Row { ours, theirs, ratio: Some(ratio), verdict, ..comparison(what, wanted).row() })
    };
    LINES.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_table_of_the_example_is_read() {
        let text = "starts on null devices, 9 rounds\n  through the ring, batches of 32                        345    24.10 (20.55 … 31.02)\n";
        let (nanoseconds, ratio) = read(text, "through the ring, batches of 32").unwrap();
        assert_eq!((nanoseconds, ratio.median, ratio.min, ratio.max), (345.0, 24.1, 20.55, 31.02));
        assert!(read(text, "one exit each").is_none());
    }
}
