// SPDX-License-Identifier: MIT OR Apache-2.0
//! P4: one 4 KiB read at a time from the page cache: median latency against what it must cost, which is the read itself, made by a plain loop in one
//! thread, and one round trip of a ring.

use super::{Optional, Setting};
use crate::error::Measured;
use crate::fba::{self, FbaReads, Reading};
use crate::goals::p3;
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::peers::storage_daemon::Polling;
use crate::peers::uring_file::Tuning;
use crate::peers::{libblkio, rtrb_echo, uring_plain, uring_reads};
use crate::pump::{latency, Latency};
use crate::report::Row;
use crate::subject::Subject;
use crate::volume_file::VolumeFile;

const SUBCHANNELS: u16 = p3::SUBCHANNELS;

fn ours(setting: &Setting<'_>, memory: &GuestMemory, volume: &VolumeFile) -> Measured<Latency> {
    let placement = setting.placement;
    placement.two_cpus()?;
    let (subject, guest) = Subject::start(placement, memory, SUBCHANNELS.into(), p3::devices(volume)?)?;
    let (times, clock) = (setting.options.times(), subject.clock());
    let measured = placement.on_guest(|| {
        let program = FbaReads::new(memory, SUBCHANNELS, volume.pieces(), Reading::Whole);
        latency(&mut guest.wire(program, false), SUBCHANNELS, times, clock)
    })?;
    subject.stop(measured.round_trips)?;
    Ok(measured)
}

/// Measures P4.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let what = "FBA read 4 KiB, one at a time";
    let mut rows = [
        Optional::new("P4", what, "plain io_uring + rtrb round trip", "µs", "≤ 1.2"),
        Optional::new("P4", what, "the same, tuned as ours", "µs", "(no goal)"),
        Optional::new("P4", what, "ring-fed bare io_uring loop", "µs", "(no goal)"),
        Optional::new("P4", what, "vhost-user-blk, both sides polling", "µs", "(no goal)"),
        Optional::new("P4", what, "vhost-user-blk, neither side polling", "µs", "(no goal)"),
    ];
    let volume = VolumeFile::new(&setting.options.place.dir, setting.options.volume_bytes())?;
    let memory = fba::memory(SUBCHANNELS)?;
    let (times, placement) = (setting.options.times(), setting.placement);
    let blkio = libblkio::What { volume: &volume, memory: &memory, places: SUBCHANNELS };
    if placement.one_cpu() {
        for row in &mut rows {
            row.pair(0.0, || placement.two_cpus().map(|()| 0.0), None)?;
        }
        return rows.into_iter().map(Optional::row).collect();
    }
    for _ in setting.pairs() {
        let moment = setting.ping_pong()?;
        let own = || setting.latency("P4-fctl", || ours(setting, &memory, &volume)).map(|nanoseconds| nanoseconds / 1e3);
        let first = own()?;
        let plainly = |tuning| uring_plain::one_at_a_time(placement, &volume, &memory, tuning, SUBCHANNELS, times);
        let plain = setting.latency("P4-plain", || plainly(Tuning::Bare))?;
        let ring = setting.latency("P4-rtrb", || rtrb_echo::one_at_a_time(placement, SUBCHANNELS, times))?;
        let second = own()?;
        let [bare, tuned, fed, polling, asleep] = &mut rows;
        bare.pair(first, || Ok((plain + ring) / 1e3), Some(Wanted::AtMost(1.2)))?;
        let next = || setting.latency("P4-plain-tuned", || plainly(Tuning::AsOurs)).map(|plain| (plain + ring) / 1e3);
        tuned.pair(second, next, None)?;
        let micro = |nanoseconds: f64| nanoseconds / 1e3;
        let loop_latency = || uring_reads::one_at_a_time(placement, &volume, &memory, Tuning::Bare, SUBCHANNELS, times);
        fed.pair(second, || setting.latency("P4-ring-fed", loop_latency).map(micro), None)?;
        for (row, how, tag) in [(polling, Polling::Yes, "P4-daemon-polling"), (asleep, Polling::No, "P4-daemon-asleep")] {
            let run = || libblkio::daemon_one_at_a_time(placement, blkio, how, times);
            row.pair(second, || setting.latency(tag, run).map(micro), None)?;
        }
        for row in &mut rows {
            row.comparison().control(first, second);
            row.comparison().ping_pong(moment);
        }
    }
    let [_, tuned, .., asleep] = &mut rows;
    tuned.comparison().remark("plain loop with file and ring registered, and no times of access".into());
    asleep.comparison().remark("our side polls".into());
    rows.into_iter().map(Optional::row).collect()
}
