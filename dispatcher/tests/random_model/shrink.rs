// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fewer steps that still fail.

use super::follow::Counts;
use super::steps::Step;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// How long to look for fewer steps.
const PATIENCE: Duration = Duration::from_secs(60);

/// A panic is a failure like any other.
pub fn caught(run: impl FnOnce() -> Result<Counts, String>) -> Result<Counts, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Leaves out ever smaller parts for as long as the rest fails too.
pub fn shrink(mut error: String, mut steps: Vec<Step>, run: impl Fn(&[Step]) -> Result<Counts, String>) -> (String, Vec<Step>) {
    let began = Instant::now();
    let mut part = steps.len() / 2;
    while part > 0 && began.elapsed() < PATIENCE {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() && began.elapsed() < PATIENCE {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + part).min(fewer.len()));
            match caught(|| run(&fewer)) {
                Ok(_) => at += part,
                Err(other) => (error, steps, shorter) = (other, fewer, true),
            }
        }
        if !shorter || part > 1 {
            part /= 2;
        }
    }
    (error, steps)
}
