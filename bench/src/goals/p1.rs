// SPDX-License-Identifier: MIT OR Apache-2.0
//! P1: START to a null subchannel and its completion, 256 subchannels, batches of 32, eight batches outstanding.

use super::{Optional, Setting};
use crate::error::Measured;
use crate::guest::NoProgram;
use crate::guest_memory::GuestMemory;
use crate::later::Later;
use crate::method::Wanted;
use crate::peers::uring_nop::Submission;
use crate::peers::{crossbeam_echo, rtrb_echo, uring_nop};
use crate::pump::{throughput, Shape, Throughput, Until};
use crate::report::Row;
use crate::subject::{usual, Subject};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::Builder;

/// Subchannels.
pub const SUBCHANNELS: u16 = 256;

const SHAPE: Shape = Shape { batch: 32, depth: 256 };

/// Our side: starts a second of a dispatcher with these settings.
///
/// # Errors
/// It did wrong.
pub fn starts(setting: &Setting<'_>, settings: Builder, memory: &GuestMemory) -> Measured<Throughput> {
    of(setting, settings, memory, || Box::new(Null))
}

fn of(
    setting: &Setting<'_>,
    settings: Builder,
    memory: &GuestMemory,
    device: fn() -> Box<dyn SubchannelDevice>,
) -> Measured<Throughput> {
    let placement = setting.placement;
    let (subject, guest) = Subject::start_with(placement, settings, memory, SUBCHANNELS.into(), device)?;
    let until = Until::Times(setting.options.times());
    let clock = subject.clock();
    let measured = placement.on_guest(|| throughput(&mut guest.wire(NoProgram, true), SHAPE, until, placement, Some(clock)))?;
    subject.stop(measured.round_trips)?;
    Ok(measured)
}

fn ours(setting: &Setting<'_>, memory: &GuestMemory) -> Measured<Throughput> {
    starts(setting, usual(setting.placement), memory)
}

/// What is wanted against the echo while a ping-pong takes `nanoseconds`.
fn against_echo(nanoseconds: f64) -> Wanted {
    Wanted::AtLeast(if nanoseconds > 300.0 { 0.3 } else { 0.4 })
}

/// What is wanted against no-operations; far CPUs are left out.
fn against_nops(nanoseconds: f64) -> Option<Wanted> {
    (nanoseconds < 200.0).then_some(Wanted::AtLeast(4.0))
}

/// Measures P1 against its peers: two with a goal, two beside them.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let what = "START to null, batch 32";
    let mut rows = [
        Optional::new("P1", what, "rtrb echo", "M/s", "≥ 0.4 (≥ 0.3 above 300 ns)"),
        Optional::new("P1", what, "io_uring no-op, SQPOLL", "M/s", "≥ 4 (below 200 ns)"),
        Optional::new("P1", what, "io_uring no-op, entered", "M/s", "(no goal)"),
        Optional::new("P1", what, "crossbeam-queue echo", "M/s", "(no goal)"),
        Optional::new("P1", "the same, waiting for the pass", "rtrb echo", "M/s", "(no goal)"),
    ];
    let memory = GuestMemory::new(1 << 20)?;
    let times = setting.options.times();
    let (quiet, placement) = (&setting.quiet, setting.placement);
    let million = |measured: Throughput| measured.per_second / 1e6;
    if placement.one_cpu() {
        for row in &mut rows {
            row.pair(0.0, || placement.two_cpus().map(|()| 0.0), None)?;
        }
        return rows.into_iter().map(Optional::row).collect();
    }
    for _ in setting.pairs() {
        let before = setting.ping_pong()?;
        let first = million(quiet.run(|| ours(setting, &memory))?);
        let [echo, polled, entered, crossbeam, passed] = &mut rows;
        let echoes = || quiet.run(|| rtrb_echo::round_trips(placement, SHAPE, times)).map(million);
        let peer = echoes();
        let second = million(quiet.run(|| ours(setting, &memory))?);
        let moment = f64::midpoint(before, setting.ping_pong()?);
        echo.pair(first, || peer, Some(against_echo(moment)))?;
        let nops = |submission| quiet.run(|| uring_nop::round_trips(placement, SHAPE, times, submission)).map(million);
        polled.pair(second, || nops(Submission::Polled), against_nops(moment))?;
        let third = million(quiet.run(|| ours(setting, &memory))?);
        entered.pair(third, || nops(Submission::Entered), None)?;
        crossbeam.pair(third, || quiet.run(|| crossbeam_echo::round_trips(placement, SHAPE, times)).map(million), None)?;
        let later = quiet.run(|| of(setting, usual(placement), &memory, || Box::new(Later)))?;
        passed.pair(million(later), echoes, None)?;
        for row in &mut rows {
            row.comparison().control(first, second);
            row.comparison().ping_pong(moment);
        }
    }
    rows.into_iter().map(Optional::row).collect()
}
