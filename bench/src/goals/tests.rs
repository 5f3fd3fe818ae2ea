// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each goal gives its rows. Figures and verdicts depend on the machine, so only what does not is looked at.

use super::{Setting, GOALS};
use crate::cli::{Cli, Command, Goal, Peers};
use crate::disturbance::Quiet;
use crate::latency_log::LatencyLog;
use crate::method::Verdict;
use crate::placement::Placement;
use crate::report::Row;
use crate::time_limit::TimeLimit;
use clap::Parser as _;

fn options() -> Peers {
    let Command::Peers(mut options) = Cli::parse_from(["fctl-bench", "peers", "--quick"]).command else { panic!("not peers") };
    options.pairs = 1;
    options
}

fn rows(goal: Goal) -> Vec<Row> {
    let options = options();
    let placement = Placement::choose(&options.place).unwrap();
    let quiet = Quiet::new(placement.one_cpu(), options.patience());
    let setting = Setting { options: &options, placement, quiet, log: LatencyLog::new(), time: TimeLimit::new(options.limit()) };
    let (_, measure) = GOALS.into_iter().find(|(name, _)| *name == goal).unwrap();
    let rows = measure(&setting).unwrap();
    for row in &rows {
        match &row.verdict {
            Verdict::NotRun(reason) => println!("not run: {} against {} ({reason})", row.what, row.peer),
            _ => assert!(row.ours.is_some() && row.ours.unwrap().median.is_finite() && !row.pairs.is_empty(), "{row:?}"),
        }
    }
    rows
}

#[test]
fn starts_and_reads_have_a_row_for_each_peer() {
    for (goal, count) in [(Goal::P1, 5), (Goal::P2, 2), (Goal::P3, 5), (Goal::P4, 5)] {
        assert_eq!(rows(goal).len(), count, "{goal:?}");
    }
}

#[test]
fn clears_among_busy_subchannels_are_counted_in_turns() {
    let rows = rows(Goal::P5);
    assert_eq!(rows.len(), 4);
    // A clear is not completed in a turn that was over when it was posted.
    for row in rows.iter().take(2).filter_map(|row| row.ours) {
        assert!(row.min >= 1.0, "{row:?}");
    }
}

#[test]
fn as_many_subchannels_as_a_set_has_can_be_walked() {
    assert_eq!(rows(Goal::P6).len(), 3);
}

#[test]
fn histograms_are_compared_with_none() {
    let rows = rows(Goal::P7);
    assert_eq!(rows.len(), 2);
    for row in rows.iter().filter_map(|row| row.ratio) {
        assert!(row.median > 0.0, "{row:?}");
    }
}

#[test]
fn instructions_have_a_row_for_each_path() {
    assert_eq!(rows(Goal::P9).len(), 5);
}

#[test]
fn a_sleeping_dispatcher_is_woken_by_its_doorbell() {
    assert_eq!(rows(Goal::P8).len(), 3);
}

#[test]
fn the_data_path_allocates_nothing_and_null_devices_need_no_kernel() {
    let rows = rows(Goal::P11);
    assert_eq!(rows.len(), 5);
    // The test program cannot trace itself; tools/slow-checks.sh runs it.
    let seen: Vec<_> = rows.iter().filter(|row| !matches!(row.verdict, Verdict::NotRun(_))).collect();
    assert!(seen.len() >= 4 && seen.iter().all(|row| row.verdict == Verdict::Met), "{rows:?}");
}

#[test]
fn merging_avoids_what_the_engine_had_not_taken_yet() {
    let rows = rows(Goal::P12);
    let operations = rows.last().unwrap();
    assert_eq!(operations.theirs.unwrap().median, 256.0);
    // On a machine that stands still for 5 ms between two turns, some starts end before their clears are looked at. On a device that never
    // ends one by itself, what the engine had taken is all that it gets.
    assert!((32.0..=256.0).contains(&operations.ours.unwrap().median), "{operations:?}");
    assert_eq!(super::p12::storm(true, u64::MAX).unwrap().operations, 32);
}

#[test]
fn a_greedy_ring_is_compared_with_none() {
    assert_eq!(rows(Goal::Fairness).len(), 2);
}

#[test]
fn a_fresh_dispatcher_answers() {
    // Its memory is that of a process of its own, which the test program cannot be; tools/slow-checks.sh runs it.
    let options = options();
    let placement = Placement::choose(&options.place).unwrap();
    let memory = crate::guest_memory::GuestMemory::new(1 << 20).unwrap();
    assert!(super::p13::first_start(placement, &memory).unwrap() > 0.0);
}
