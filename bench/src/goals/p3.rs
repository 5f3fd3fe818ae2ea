// SPDX-License-Identifier: MIT OR Apache-2.0
//! P3: 4 KiB random FBA reads by 128 subchannels from the page cache, as one Read CCW and as Linux sends it.

use super::{median_of, Comparison, Optional, Setting};
use crate::error::{Doing as _, Measured};
use crate::fba::{self, FbaReads, Reading};
use crate::guest_memory::GuestMemory;
use crate::method::Wanted;
use crate::peers::uring_file::Tuning;
use crate::peers::{libblkio, uring_reads};
use crate::pump::{throughput, Shape, Throughput, Until};
use crate::report::Row;
use crate::subject::{usual, Subject};
use crate::volume_file::VolumeFile;
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::Builder;
use std::sync::Arc;

/// Subchannels, each with one read outstanding.
pub const SUBCHANNELS: u16 = 128;

const SHAPE: Shape = Shape { batch: 32, depth: SUBCHANNELS };

/// What makes the FBA devices of a volume.
///
/// # Errors
/// The volume cannot be opened, or cannot be an FBA device.
pub fn devices(volume: &VolumeFile) -> Measured<impl FnMut() -> Box<dyn SubchannelDevice> + Send> {
    let opened = Arc::new(Volume::open(volume.path(), VolumeOptions::default()).doing("open the volume")?);
    // Tells an error once, before the first device is made.
    Fba::new(Arc::clone(&opened)).doing("make an FBA device")?;
    Ok(move || -> Box<dyn SubchannelDevice> {
        match Fba::new(Arc::clone(&opened)) {
            Ok(device) => Box::new(device),
            Err(error) => unreachable!("it was made before: {error}"),
        }
    })
}

/// Our side: reads a second of a dispatcher with these settings.
///
/// # Errors
/// It did wrong.
pub fn reads(
    setting: &Setting<'_>,
    settings: Builder,
    memory: &GuestMemory,
    volume: &VolumeFile,
    reading: Reading,
) -> Measured<Throughput> {
    let placement = setting.placement;
    let (subject, guest) = Subject::start_with(placement, settings, memory, SUBCHANNELS.into(), devices(volume)?)?;
    let until = Until::Times(setting.options.times());
    let clock = subject.clock();
    let measured = placement.on_guest(|| {
        let program = FbaReads::new(memory, SUBCHANNELS, volume.pieces(), reading);
        throughput(&mut guest.wire(program, true), SHAPE, until, placement, Some(clock))
    })?;
    subject.stop(measured.round_trips)?;
    Ok(measured)
}

/// Measures P3: both forms against the ring-fed bare loop, the first against the same loop with all of our engine's settings, libblkio and the storage daemon, too.
///
/// # Errors
/// A side did wrong.
pub fn measure(setting: &Setting<'_>) -> Measured<Vec<Row>> {
    let peer = "ring-fed bare io_uring loop";
    let (whole, chained) = ("FBA read 4 KiB, 128 deep, 1 × 4096", "FBA read 4 KiB, 128 deep, 8 × 512");
    let mut rows = [Comparison::new("P3", whole, peer, "K/s", "≥ 0.9"), Comparison::new("P3", chained, peer, "K/s", "≥ 0.9")];
    let mut tuned = Optional::new("P3", whole, "the same, tuned as ours", "K/s", "(no goal)");
    let mut daemon = Optional::new("P3", whole, "vhost-user-blk, storage daemon", "K/s", "≥ 2");
    let mut library = Optional::new("P3", whole, "libblkio, io_uring", "K/s", "(no goal)");
    let volume = VolumeFile::new(&setting.options.place.dir, setting.options.volume_bytes())?;
    let memory = fba::memory(SUBCHANNELS)?;
    let (times, placement, quiet) = (setting.options.times(), setting.placement, &setting.quiet);
    let what = libblkio::What { volume: &volume, memory: &memory, places: SUBCHANNELS };
    let mut per_cpu: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    let thousand = |measured: Throughput| measured.per_second / 1e3;
    for _ in setting.pairs() {
        let moment = if placement.one_cpu() { None } else { Some(setting.ping_pong()?) };
        let (mut mine, mut controls) = (Vec::new(), Vec::new());
        for ((row, reading), cpu) in rows.iter_mut().zip([Reading::Whole, Reading::Chained]).zip(&mut per_cpu) {
            let our = quiet.run(|| reads(setting, usual(placement), &memory, &volume, reading))?;
            let peer = quiet.run(|| uring_reads::reads(placement, &volume, &memory, Tuning::Bare, SHAPE, times))?;
            row.pair(thousand(our), thousand(peer), Some(Wanted::AtLeast(0.9)));
            cpu.0.push(our.per_cpu_second / 1e3);
            cpu.1.push(peer.per_cpu_second / 1e3);
            mine.push(thousand(our));
            controls.push(peer.per_second);
        }
        let next = || quiet.run(|| uring_reads::reads(placement, &volume, &memory, Tuning::AsOurs, SHAPE, times)).map(thousand);
        tuned.pair(mine[0], next, None)?;
        let next = || quiet.run(|| libblkio::daemon_reads(placement, what, SHAPE, times)).map(thousand);
        daemon.pair(mine[0], next, Some(Wanted::AtLeast(2.0)))?;
        library.pair(mine[0], || quiet.run(|| libblkio::file_reads(placement, what, SHAPE, times)).map(thousand), None)?;
        for row in rows.iter_mut().chain([tuned.comparison(), daemon.comparison(), library.comparison()]) {
            // Here the control is the bare loop's: it ran twice, with our side between.
            row.control(controls[0], controls[1]);
            if let Some(moment) = moment {
                row.ping_pong(moment);
            }
        }
    }
    for (row, (ours, theirs)) in rows.iter_mut().zip(&per_cpu) {
        let (ours, theirs) = (median_of(ours), median_of(theirs));
        row.remark(format!("per CPU-second of the serving thread: {ours:.0} K, peer {theirs:.0} K"));
        if placement.one_cpu() {
            row.remark("guest and dispatcher share one CPU".into());
        }
    }
    tuned.comparison().remark("ring-fed loop with file and ring registered, and no times of access".into());
    library.comparison().remark("the peer reads in the guest's own thread".into());
    let bare = rows.into_iter().map(|row| Ok(row.row()));
    bare.chain([tuned.row(), daemon.row(), library.row()]).collect()
}
