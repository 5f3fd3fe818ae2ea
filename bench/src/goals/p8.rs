// SPDX-License-Identifier: MIT OR Apache-2.0
//! P8: a dispatcher without work sleeps: its CPU time and context switches; and how soon a doorbell wakes it, against half an eventfd round trip
//! between two threads that sleep.

use super::{Comparison, Setting};
use crate::error::{BenchError, Doing as _, Measured};
use crate::goals::p1::SUBCHANNELS;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::peers::eventfd_pingpong;
use crate::pump::Latency;
use crate::report::Row;
use crate::subject::{id, ring, Subject};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::{clock, Builder, SubchannelOptions, WaitPolicy};
use fctl_ringabi::arch::Orb;
use fctl_ringabi::Descriptor;
use std::time::{Duration, Instant};

/// Longer than a dispatcher polls before it sleeps.
const ASLEEP_AFTER: Duration = Duration::from_millis(2);

/// Wake-ups in a run.
const WAKE_UPS: usize = 100;

/// CPU time in milliseconds and context switches of an idle dispatcher.
#[allow(clippy::cast_precision_loss, reason = "a few context switches")]
fn idle(setting: &Setting<'_>, memory: &GuestMemory) -> Measured<(f64, f64)> {
    let (subject, _guest) =
        Subject::start_with(setting.placement, Builder::default(), memory, SUBCHANNELS.into(), || Box::new(Null))?;
    std::thread::sleep(Duration::from_millis(200));
    let clock = subject.clock();
    let (seconds, switches) = (clock.seconds()?, clock.context_switches()?);
    std::thread::sleep(setting.options.idle());
    let used = ((clock.seconds()? - seconds) * 1e3, (clock.context_switches()? - switches) as f64);
    subject.stop(0)?;
    Ok(used)
}

/// From posted until taken by a dispatcher that slept.
fn wake_up(setting: &Setting<'_>, memory: &GuestMemory) -> Measured<Latency> {
    let placement = setting.placement;
    let subject = Subject::spawn(placement, Builder::default().wait(WaitPolicy::sleeping()))?;
    let handle = subject.handle();
    let guest = handle.attach_guest(memory.mapped()?).doing("attach a guest")?;
    let (ends, port) = ring()?;
    let doorbell = ends.doorbell.try_clone().doing("share the doorbell")?;
    let home = handle.attach_ring(guest, ends).doing("attach a ring")?;
    handle.attach_subchannel(home, id(0), SubchannelOptions::new(0), Box::new(Null)).doing("attach a subchannel")?;
    let (mut poster, mut reader) = port.split();
    let mut samples = placement.on_guest(|| {
        let mut samples = Vec::with_capacity(WAKE_UPS);
        for tag in 0..WAKE_UPS as u64 {
            std::thread::sleep(ASLEEP_AFTER);
            let posted = clock::now();
            poster.stage(&Descriptor::start(id(0), &Orb::new(0, 0x1000), tag).posted_at(posted)).doing("post a start")?;
            let asleep = poster.publish();
            if asleep {
                doorbell.write(1).doing("ring the doorbell")?;
            }
            let began = Instant::now();
            let completion = loop {
                if let Some((completion, _)) = reader.take().doing("take a completion")? {
                    break completion;
                }
                if began.elapsed() > Duration::from_secs(10) {
                    return Err(BenchError::Wrong { side: "fctl", fault: "a doorbell woke nobody".into() });
                }
                placement.relax();
            };
            if asleep {
                #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a wake-up")]
                samples.push(completion.times.taken.saturating_sub(posted) as f64);
            }
        }
        Ok(samples)
    })?;
    subject.stop(WAKE_UPS as u64)?;
    if samples.is_empty() {
        return Err(BenchError::NotRun("the dispatcher was never asleep".into()));
    }
    // Both sides sleep, so that shares of the time say nothing.
    Latency::of(&mut samples, 1.0, WAKE_UPS as u64)
}

/// Measures P8.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let seconds = setting.options.idle().as_secs();
    let mut used = Comparison::absolute("P8", &format!("idle {seconds} s, CPU time"), "ms", "< 1");
    let mut switches = Comparison::absolute("P8", &format!("idle {seconds} s, context switches"), "", "≤ 2");
    let mut woken = Comparison::new("P8", "doorbell until taken, asleep", "half an eventfd round trip", "µs", "≤ 1.25");
    let memory = GuestMemory::new(1 << 20)?;
    let (milliseconds, count) = idle(setting, &memory)?;
    used.figure(milliseconds, Some(Wanted::AtMost(1.0)));
    switches.figure(count, Some(Wanted::AtMost(2.0)));
    // What a wake-up costs depends on how deeply the CPU slept, which changes from second to second: so a pair is several runs of each side in turn.
    let rounds = if setting.options.quick { 1 } else { 6 };
    for _ in setting.pairs() {
        let [mut first, mut peer, mut second] = [0.0; 3];
        for _ in 0..rounds {
            first += setting.latency("P8-doorbell", || wake_up(setting, &memory))? / f64::from(rounds);
            peer += setting.latency("P8-eventfd", || eventfd_pingpong::half_round_trip(setting.placement, WAKE_UPS))?
                / f64::from(rounds);
            second += setting.latency("P8-doorbell", || wake_up(setting, &memory))? / f64::from(rounds);
        }
        woken.pair(f64::midpoint(first, second) / 1e3, peer / 1e3, Some(Wanted::AtMost(1.25)));
        woken.control(first, second);
    }
    Ok(vec![used.row(), switches.row(), woken.row()])
}
