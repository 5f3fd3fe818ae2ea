// SPDX-License-Identifier: MIT OR Apache-2.0
//! P2: the same unloaded, one start at a time, both sides polling: median latency.
//!
//! Descriptors are not stamped here: the guest's look at the clock is not part of the way to the dispatcher and back.

use super::{Comparison, Setting};
use crate::error::Measured;
use crate::goals::p1::SUBCHANNELS;
use crate::guest::NoProgram;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::peers::rtrb_echo;
use crate::pump::{latency, Latency};
use crate::report::Row;
use crate::subject::Subject;
use fctl_dispatcher::device::null::Null;

/// Our side: median latency in nanoseconds.
fn ours(setting: &Setting<'_>, memory: &GuestMemory) -> Measured<Latency> {
    let placement = setting.placement;
    let (subject, guest) = Subject::start(placement, memory, SUBCHANNELS.into(), || Box::new(Null))?;
    let (times, clock) = (setting.options.times(), subject.clock());
    let measured = placement.on_guest(|| latency(&mut guest.wire(NoProgram, false), SUBCHANNELS, times, clock))?;
    subject.stop(measured.round_trips)?;
    Ok(measured)
}

/// Measures P2 against the ping-pong, and beside it against the echo.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let what = "START to null, one at a time";
    let mut bare = Comparison::new("P2", what, "cross-core ping-pong", "ns", "≤ 1.5");
    let mut echo = Comparison::new("P2", what, "rtrb echo, one at a time", "ns", "(no goal)");
    if let Err(error) = setting.placement.two_cpus() {
        let again = error.again();
        return Ok(vec![bare.not_run(error)?, echo.not_run(again)?]);
    }
    let memory = GuestMemory::new(1 << 20)?;
    let times = setting.options.times();
    for _ in setting.pairs() {
        let before = setting.ping_pong()?;
        let first = setting.latency("P2-fctl", || ours(setting, &memory))?;
        let after = setting.ping_pong()?;
        let peer = setting.latency("P2-rtrb", || rtrb_echo::one_at_a_time(setting.placement, SUBCHANNELS, times))?;
        let second = setting.latency("P2-fctl", || ours(setting, &memory))?;
        let moment = f64::midpoint(before, after);
        bare.pair(first, moment, Some(Wanted::AtMost(1.5)));
        echo.pair(second, peer, None);
        for comparison in [&mut bare, &mut echo] {
            comparison.control(first, second);
            comparison.ping_pong(moment);
        }
    }
    Ok(vec![bare.row(), echo.row()])
}
