// SPDX-License-Identifier: MIT OR Apache-2.0
//! The load seen from outside, by strace: whether the reactor's thread waits for, or wakes, anybody by a lock.

use crate::error::{BenchError, Doing as _, Measured};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Set-up and the end talk to other threads; so many enters from either end on are the steady state.
const EDGE: usize = 256;

/// What a thread did in its steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Calls of `io_uring_enter`.
    pub enters: usize,
    /// Calls of `futex`.
    pub futexes: usize,
}

/// Runs FBA reads in a process of its own under strace.
///
/// # Errors
/// There is no strace, or it may not trace here: [`BenchError::NotRun`].
pub fn fba_load(directory: &Path) -> Measured<Calls> {
    let trace = tempfile::NamedTempFile::new().doing("make a file for a trace")?;
    let program = std::env::current_exe().doing("find this program")?;
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-e", "trace=futex,io_uring_enter", "-o"])
        .arg(trace.path())
        .arg(program)
        .args(["load", "--what", "fba-chained", "--starts", "65536", "--dir"])
        .arg(directory)
        .output()
        .map_err(|error| BenchError::NotRun(format!("strace: {error}")))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::NotRun(format!("strace: {}", complaint.lines().next().unwrap_or("it failed"))));
    }
    let text = std::fs::read(trace.path()).doing("read a trace")?;
    steady(&String::from_utf8_lossy(&text)).ok_or_else(|| BenchError::NotRun("the trace has no steady state".into()))
}

/// The steady state of the thread that entered io_uring most often.
fn steady(trace: &str) -> Option<Calls> {
    let mut threads: HashMap<&str, Vec<bool>> = HashMap::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ')?;
        // A call that was interrupted by another thread's line is told twice; its second half begins with "<...".
        let enter = match call.trim_start().split_once('(') {
            Some(("io_uring_enter", _)) => true,
            Some(("futex", _)) => false,
            _ => continue,
        };
        threads.entry(thread).or_default().push(enter);
    }
    let calls = threads.into_values().max_by_key(|calls| calls.iter().filter(|&&enter| enter).count())?;
    let enters: Vec<_> = calls.iter().enumerate().filter_map(|(at, &enter)| enter.then_some(at)).collect();
    let (first, last) = (*enters.get(EDGE)?, *enters.get(enters.len().checked_sub(EDGE)?)?);
    let between = calls.get(first..last)?;
    let enters = between.iter().filter(|&&enter| enter).count();
    Some(Calls { enters, futexes: between.len() - enters })
}

#[cfg(test)]
mod tests {
    use super::{steady, Calls, EDGE};

    #[test]
    fn only_the_steady_state_of_the_busiest_thread_counts() {
        let enter = "7   io_uring_enter(5, 1, 0, 0x1, NULL, 0) = 1\n".repeat(EDGE);
        let futex = "7   futex(0x1, FUTEX_WAKE, 1) = 1\n";
        let others = "8   futex(0x1, FUTEX_WAIT, 1, NULL <unfinished ...>\n7   <... io_uring_enter resumed>) = 1\n";
        let calm = format!("{futex}{enter}{others}{enter}{enter}{futex}");
        assert_eq!(steady(&calm), Some(Calls { enters: EDGE, futexes: 0 }));
        let locked = format!("{enter}{enter}{}{futex}{enter}{enter}", &others);
        assert_eq!(steady(&locked), Some(Calls { enters: 2 * EDGE, futexes: 1 }));
        assert_eq!(steady(&enter), None);
        assert_eq!(steady(""), None);
    }
}
