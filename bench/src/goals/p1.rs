// SPDX-License-Identifier: MIT OR Apache-2.0
//! P1: START to a null subchannel and its completion, 256 subchannels, batches of 32, eight batches outstanding.

use super::{Comparison, Setting};
use crate::error::Measured;
use crate::guest::NoProgram;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::peers::{rtrb_echo, uring_nop};
use crate::pump::{throughput, Shape, Throughput, Until};
use crate::report::Row;
use crate::subject::Subject;
use fctl_dispatcher::device::null::Null;

/// Subchannels.
pub const SUBCHANNELS: u16 = 256;

const SHAPE: Shape = Shape { batch: 32, depth: 256 };

/// Our side: starts a second.
fn ours(setting: &Setting<'_>, memory: &GuestMemory) -> Measured<Throughput> {
    let placement = setting.placement;
    let (subject, guest) = Subject::start(placement, memory, SUBCHANNELS, || Box::new(Null))?;
    let until = Until::Times(setting.options.times());
    let clock = subject.clock();
    let measured = placement.on_guest(|| throughput(&mut guest.wire(NoProgram, true), SHAPE, until, placement, Some(clock)))?;
    subject.stop(measured.round_trips)?;
    Ok(measured)
}

/// What is wanted against the echo while a ping-pong takes `nanoseconds`.
fn against_echo(nanoseconds: f64) -> Wanted {
    Wanted::AtLeast(if nanoseconds > 300.0 { 0.3 } else { 0.4 })
}

/// What is wanted against no-operations; far CPUs are left out.
fn against_nops(nanoseconds: f64) -> Option<Wanted> {
    (nanoseconds < 200.0).then_some(Wanted::AtLeast(4.0))
}

/// Measures P1 against both peers.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let what = "START to null, batch 32";
    let mut echo = Comparison::new("P1", what, "rtrb echo", "M/s", "≥ 0.4 (≥ 0.3 above 300 ns)");
    let mut nops = Comparison::new("P1", what, "io_uring no-op, SQPOLL", "M/s", "≥ 4 (below 200 ns)");
    if let Err(error) = setting.placement.two_cpus() {
        let again = error.again();
        return Ok(vec![echo.not_run(error)?, nops.not_run(again)?]);
    }
    let memory = GuestMemory::new(1 << 20)?;
    let times = setting.options.times();
    let quiet = &setting.quiet;
    let mut refused = None;
    let million = |measured: Throughput| measured.per_second / 1e6;
    for _ in 0..setting.options.pairs {
        let before = setting.ping_pong()?;
        let first = million(quiet.run(|| ours(setting, &memory))?);
        let peer = million(quiet.run(|| rtrb_echo::round_trips(setting.placement, SHAPE, times))?);
        let second = million(quiet.run(|| ours(setting, &memory))?);
        let after = setting.ping_pong()?;
        let moment = f64::midpoint(before, after);
        echo.pair(first, peer, Some(against_echo(moment)));
        for comparison in [&mut echo, &mut nops] {
            comparison.control(first, second);
            comparison.ping_pong(moment);
        }
        if refused.is_none() {
            match quiet.run(|| uring_nop::round_trips(setting.placement, SHAPE, times)) {
                Ok(peer) => nops.pair(second, million(peer), against_nops(moment)),
                Err(error) => refused = Some(error),
            }
        }
    }
    let nops = match refused {
        Some(error) => nops.not_run(error)?,
        None => nops.row(),
    };
    Ok(vec![echo.row(), nops])
}
