// SPDX-License-Identifier: MIT OR Apache-2.0
//! P11: what the data path asks of the allocator and of the kernel in its steady state.
//!
//! Guest and dispatcher share one thread here, so that everything they ask for is seen. A load runs twice, the second time for three times
//! as long; set-up is the same in both, so the difference is the data path's. Locks are looked for from outside, in two threads, where they would be contended.

use super::{Comparison, Setting};
use crate::cli::{Command, What};
use crate::error::Measured;
use crate::load::{self, Account};
use crate::method::Wanted;
use crate::report::Row;
use crate::traced;
use clap::Parser as _;

/// Instructions of the longer run beyond those of the shorter one.
const MORE: u64 = 65_536;

fn run(setting: &Setting<'_>, what: What, instructions: u64) -> Measured<Account> {
    let crate::cli::Cli { command: Command::Load(mut options) } = crate::cli::Cli::parse_from(["fctl-bench", "load"]) else {
        unreachable!("that is what was parsed")
    };
    options.what = what;
    options.one_thread = true;
    options.starts = Some(instructions);
    options.place = setting.options.place.clone();
    load::perform(&options)
}

/// What the longer run asked for beyond the shorter one.
fn difference(setting: &Setting<'_>, what: What) -> Measured<Account> {
    let (few, mut many) = (run(setting, what, MORE / 2)?, run(setting, what, MORE / 2 + MORE)?);
    many.counters.starts -= few.counters.starts;
    many.counters.productive_turns -= few.counters.productive_turns;
    many.engine.enters = many.engine.enters.abs_diff(few.engine.enters);
    many.allocations = many.allocations.zip(few.allocations).map(|(many, few)| many.abs_diff(few));
    Ok(many)
}

/// Measures P11.
///
/// # Errors
/// A side did wrong.
#[allow(clippy::cast_precision_loss, reason = "counts, far below 2^52")]
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let mut allocations = Comparison::absolute("P11", "allocations in 65,536 instructions", "", "0");
    let mut locks = Comparison::absolute("P11", "futex calls of the reactor's thread, FBA", "", "0");
    let mut none = Comparison::absolute("P11", "io_uring_enter in 65,536 null STARTs", "", "0");
    let mut per_turn = Comparison::absolute("P11", "io_uring_enter a productive turn, FBA", "", "≤ 1");
    let mut per_enter = Comparison::absolute("P11", "STARTs an io_uring_enter, FBA, batch 32", "", "≥ 16");
    let null = difference(setting, What::Null)?;
    let clears = difference(setting, What::Clear)?;
    let fba = difference(setting, What::FbaChained)?;
    for account in [&null, &clears, &fba] {
        allocations.figure(account.allocations.map_or(f64::NAN, |count| count as f64), Some(Wanted::AtMost(0.0)));
    }
    allocations.remark("null STARTs, CSCHs, FBA reads; unit checks and notifications: dispatcher/tests/no_allocation.rs".into());
    none.figure(null.engine.enters as f64, Some(Wanted::AtMost(0.0)));
    per_turn.figure(fba.engine.enters as f64 / fba.counters.productive_turns as f64, Some(Wanted::AtMost(1.0)));
    per_enter.figure(fba.counters.starts as f64 / fba.engine.enters as f64, Some(Wanted::AtLeast(16.0)));
    let locks = match traced::fba_load(&setting.options.place.dir) {
        Ok(calls) => {
            locks.figure(calls.futexes as f64, Some(Wanted::AtMost(0.0)));
            locks.remark(format!("among {} enters; all system calls: tools/check-syscalls.sh", calls.enters));
            locks.row()
        }
        Err(error) => locks.not_run(error)?,
    };
    Ok(vec![allocations.row(), locks, none.row(), per_turn.row(), per_enter.row()])
}
