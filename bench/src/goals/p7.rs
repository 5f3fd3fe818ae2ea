// SPDX-License-Identifier: MIT OR Apache-2.0
//! P7: what the histograms cost: a dispatcher that records latencies against one that does not, with the loads of P1 and P3.
//!
//! The costs looked for are smaller than what a machine does to a single run. So a pair is several runs of each side, on, off, off, on: what grows
//! or falls steadily meanwhile is the same in both.

use super::{Comparison, Setting};
use crate::error::Measured;
use crate::fba::{self, Reading};
use crate::goals::{p1, p3};
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::pump::Throughput;
use crate::report::Row;
use crate::subject::usual;
use crate::volume_file::VolumeFile;

/// What a run gives with the histograms on or off.
type Run<'a> = &'a dyn Fn(bool) -> Measured<Throughput>;

/// The pairs of one load.
fn compare(setting: &Setting<'_>, mut row: Comparison, wanted: f64, unit: f64, run: Run<'_>) -> Measured<Row> {
    if let Err(error) = setting.placement.two_cpus() {
        return row.not_run(error);
    }
    let rounds = if setting.options.quick { 1 } else { 8 };
    for _ in setting.pairs() {
        let mut figures = [0.0; 4];
        let before = setting.ping_pong()?;
        for _ in 0..rounds {
            for (figure, on) in figures.iter_mut().zip([true, false, false, true]) {
                *figure += setting.quiet.run(|| run(on))?.per_second / unit / f64::from(rounds);
            }
        }
        let [on, off, off_again, on_again] = figures;
        row.pair(f64::midpoint(on, on_again), f64::midpoint(off, off_again), Some(Wanted::AtLeast(wanted)));
        row.control(on, on_again);
        row.ping_pong(f64::midpoint(before, setting.ping_pong()?));
    }
    Ok(row.row())
}

/// Measures P7.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let settings = |on| usual(setting.placement).latencies(on);
    let starts = Comparison::new("P7", "START to null, batch 32", "histograms off", "M/s", "≥ 0.95");
    let memory = GuestMemory::new(1 << 20)?;
    let starts = compare(setting, starts, 0.95, 1e6, &|on| p1::starts(setting, settings(on), &memory))?;
    let reads = Comparison::new("P7", "FBA read 4 KiB, 128 deep", "histograms off", "K/s", "≥ 0.99");
    let volume = VolumeFile::new(&setting.options.place.dir, setting.options.volume_bytes())?;
    let memory = fba::memory(p3::SUBCHANNELS)?;
    let reads = compare(setting, reads, 0.99, 1e3, &|on| p3::reads(setting, settings(on), &memory, &volume, Reading::Whole))?;
    Ok(vec![starts, reads])
}
