// SPDX-License-Identifier: MIT OR Apache-2.0
//! P9: instructions of the dispatcher's side per guest instruction. tools/count-instructions.py counts them under callgrind; here its counts are read.
//!
//! It needs a build of its own, which takes minutes, so it only uses one that is there and not older than the sources.

use super::{Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::method::Wanted;
use crate::report::Row;
use serde::Deserialize;
use std::process::Command;

/// Where this program was built from.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/count-instructions.py");

/// The paths that are counted, for the rows that say why they were not.
const PATHS: [&str; 5] = ["null START", "null START by the pass", "FBA read, 3 CCWs", "FBA read, 10 CCWs", "CSCH"];

/// What is counted, as the script tells it.
#[derive(Debug, Deserialize)]
struct Count {
    what: String,
    count: f64,
    baseline: f64,
    /// The most that is wanted; none if only the baseline is guarded.
    goal: Option<f64>,
}

/// What the script says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    NotRun(String),
    Counts { tolerance: f64, counts: Vec<Count> },
}

fn read(text: &str) -> Measured<Answer> {
    serde_json::from_str(text).doing("read the instruction counts")
}

/// The script's answer, or why there is none.
fn ask() -> Measured<Answer> {
    let not_run = |reason: String| Err(BenchError::NotRun(format!("tools/count-instructions.py: {reason}")));
    // Tests look at what is told, and a test program's target folder is another one.
    if cfg!(test) {
        return not_run("not for tests".into());
    }
    let mut command = Command::new(SCRIPT);
    command.args(["--json", "--built"]);
    if let Some(target) = std::env::current_exe().doing("find this program")?.ancestors().nth(2) {
        command.env("CARGO_TARGET_DIR", target);
    }
    match command.output() {
        Err(error) => not_run(error.to_string()),
        Ok(output) if output.status.success() => read(&String::from_utf8_lossy(&output.stdout)),
        Ok(output) => not_run(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed").into()),
    }
}

fn row(what: &str, wanted: &str) -> Comparison {
    Comparison::new("P9", &format!("{what}, batch 32"), "its baseline", "instr.", wanted)
}

fn rows(answer: Answer) -> Measured<Vec<Row>> {
    let (tolerance, counts) = match answer {
        Answer::NotRun(reason) => return Err(BenchError::NotRun(reason)),
        Answer::Counts { tolerance, counts } => (tolerance, counts),
    };
    let judged = counts.into_iter().map(|Count { what, count, baseline, goal }| {
        let guarded = Wanted::AtMost(1.0 + tolerance);
        let mut row = row(&what, &goal.map_or_else(|| guarded.to_string(), |most| format!("{guarded}, and ≤ {most} instr.")));
        // Where there is a goal, that is what the verdict is about; both are told.
        row.pair(count, baseline, Some(goal.map_or(guarded, |most| Wanted::AtMost(most / baseline))));
        if count > baseline * (1.0 + tolerance) {
            row.remark("more than the baseline allows".into());
        }
        row.row()
    });
    Ok(judged.collect())
}

/// Measures P9.
///
/// # Errors
/// The script's answer cannot be read.
pub fn measure(_setting: &Setting<'_>) -> Measured<Vec<Row>> {
    match ask().and_then(rows) {
        Err(reason @ BenchError::NotRun(_)) => PATHS.iter().map(|what| row(what, "≤ 1.05").not_run(reason.again())).collect(),
        judged => judged,
    }
}

#[cfg(test)]
mod tests {
    use super::{read, rows};
    use crate::error::BenchError;
    use crate::method::Verdict;

    #[test]
    fn counts_are_judged_by_their_goal_or_their_baseline() {
        let text = r#"{"counts": {"tolerance": 0.05, "counts": [
            {"what": "null START", "count": 160.0, "baseline": 160.0, "goal": 150},
            {"what": "FBA read, 3 CCWs", "count": 3000.0, "baseline": 2900.0, "goal": null},
            {"what": "CSCH", "count": 1100.0, "baseline": 1000.0, "goal": null}]}}"#;
        let rows = rows(read(text).unwrap()).unwrap();
        let verdicts: Vec<_> = rows.into_iter().map(|row| row.verdict).collect();
        assert_eq!(verdicts, [Verdict::NotMet, Verdict::Met, Verdict::NotMet]);
    }

    #[test]
    fn what_was_not_counted_says_why() {
        let answer = read(r#"{"not_run": "no valgrind"}"#).unwrap();
        assert!(matches!(rows(answer), Err(BenchError::NotRun(reason)) if reason == "no valgrind"));
    }
}
