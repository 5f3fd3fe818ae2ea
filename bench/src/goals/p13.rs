// SPDX-License-Identifier: MIT OR Apache-2.0
//! P13: how long it takes from nothing to the first START's completion, and how much memory stays resident with 256 idle subchannels.

use super::{Comparison, Setting};
use crate::cli::Place;
use crate::error::{Doing as _, Measured};
use crate::goals::p1::SUBCHANNELS;
use crate::guest::NoProgram;
use crate::guest_memory::GuestMemory;
use crate::ledger::Ledger;
use crate::method::Wanted;
use crate::placement::Placement;
use crate::pump::Wire as _;
use crate::report::Row;
use crate::subject::Subject;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::Builder;
use std::process::Command;
use std::time::{Duration, Instant};

/// Milliseconds from nothing until the first START has come back: dispatcher, thread, guest, ring, one subchannel.
pub(super) fn first_start(placement: Placement, memory: &GuestMemory) -> Measured<f64> {
    let began = Instant::now();
    let (subject, guest) = Subject::start_with(placement, Builder::default(), memory, 1, || Box::new(Null))?;
    let (mut wire, mut ledger) = (guest.wire(NoProgram, true), Ledger::new(1));
    wire.send(&mut ledger, 1)?;
    while wire.receive(&mut ledger, 1)? == 0 {
        std::thread::yield_now();
    }
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    subject.stop(1)?;
    Ok(milliseconds)
}

/// Prints this process's resident memory in KiB, with a dispatcher and 256 idle subchannels in it.
///
/// # Errors
/// The system refuses something.
pub fn tell_resident() -> Measured<()> {
    let placement = Placement::choose(&Place { cpus: Vec::new(), dir: std::env::temp_dir() })?;
    let memory = GuestMemory::new(4096)?;
    let (subject, _guest) = Subject::start_with(placement, Builder::default(), &memory, SUBCHANNELS.into(), || Box::new(Null))?;
    // Until it sleeps.
    std::thread::sleep(Duration::from_millis(20));
    let status = std::fs::read_to_string("/proc/self/status").doing("read this process's memory")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS").doing("read this process's memory")?;
    println!("{}", line.trim().trim_end_matches("kB").trim());
    subject.stop(0)?;
    Ok(())
}

/// MiB that a process of its own has resident.
fn resident() -> Measured<f64> {
    let path = std::env::current_exe().doing("find this program")?;
    let output = Command::new(path).arg("resident").output().doing("start a process with an idle dispatcher")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().parse::<f64>().doing("read the memory of a process with an idle dispatcher")? / 1024.0)
}

/// Measures P13.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let mut first = Comparison::absolute("P13", "construct + first START", "ms", "≤ 10");
    let mut idle = Comparison::absolute("P13", "resident with 256 idle subchannels", "MiB", "≤ 16");
    let memory = GuestMemory::new(1 << 20)?;
    for _ in setting.pairs() {
        first.figure(first_start(setting.placement, &memory)?, Some(Wanted::AtMost(10.0)));
        idle.figure(resident()?, Some(Wanted::AtMost(16.0)));
    }
    idle.remark("of the whole process, this program's text included".into());
    Ok(vec![first.row(), idle.row()])
}
