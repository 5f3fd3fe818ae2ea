// SPDX-License-Identifier: MIT OR Apache-2.0
//! P7: what the histograms cost, on against off. A dispatcher has no way to switch them off.

use super::{Comparison, Setting};
use crate::error::{BenchError, Measured};
use crate::report::Row;

/// Says that P7 cannot be measured.
///
/// # Errors
/// None.
pub fn measure(_setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let not_run = |what, wanted| {
        let row = Comparison::new("P7", what, "histograms off", "", wanted);
        row.not_run(BenchError::NotRun("histograms cannot be switched off".into()))
    };
    Ok(vec![not_run("START to null, batch 32", "≥ 0.95")?, not_run("FBA read 4 KiB, 128 deep", "≥ 0.99")?])
}
