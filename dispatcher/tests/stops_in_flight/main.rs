// SPDX-License-Identifier: MIT OR Apache-2.0
//! Halts and clears of starts whose operations are in the kernel, by the thousand: after the final completion neither guest memory nor the
//! volume is changed.
//!
//! `FCTL_TEST_STOPS` says how many reads each test stops, ten thousand if it is not set. `tools/check-stops.sh` prints what became of them, and shows
//! that a dispatcher which tells the status before the kernel has given the buffers back fails here.

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod file_server;
mod guest;
mod log;
mod report;
mod volume;

use common::{id, TestGuest};
use fctl_dispatcher::device::delay::Delay;
use fctl_dispatcher::device::emulated::{Emulated, Limits};
use fctl_dispatcher::device::fba::{Fba, FbaConfig, FbaUnit};
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::volume::{Durability, Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::RingSizes;
use file_server::FileServer;
use guest::{Guest, LANES, LOAD, LOAD_BYTES};
use report::Report;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use volume::Stopped;

/// Reads that each test stops if nobody says otherwise. A tenth as many must be performed in spite of it.
const STOPS: u64 = 10_000;

fn stops() -> u64 {
    std::env::var("FCTL_TEST_STOPS").map_or(STOPS, |number| number.parse().expect("FCTL_TEST_STOPS is a number"))
}

/// A device that moves at most a piece at once.
fn device(volume: &Arc<Volume>) -> Emulated<FbaUnit> {
    let limits = Limits::default().with_stop_grain(u32::try_from(bytes::PIECE).unwrap());
    Fba::with_config(volume.clone(), FbaConfig::default().with_limits(limits)).unwrap()
}

fn open(path: &Path) -> Arc<Volume> {
    // What is on stable storage is not the question here, and syncs would only make the writes wait for one another.
    Arc::new(Volume::open(path, VolumeOptions::default().with_durability(Durability::Writeback)).unwrap())
}

/// Stops starts on `volume`, each within `longest`, with a load on a plain file in `place` beside them.
fn stop(volume: &Stopped, place: &Path, delay: Option<Duration>, longest: Duration) -> Report {
    let plain = place.join("load");
    std::fs::write(&plain, bytes::pattern(0, LOAD_BYTES)).unwrap();
    let (slow, load) = (open(&volume.path()), open(&plain));
    assert_eq!((slow.waits(), load.waits()), (matches!(volume, Stopped::Held(_)), false));
    let guest = TestGuest::new(RingSizes::new(256));
    // Waits for the kernel when it is dropped, so it must be before the volume's server is.
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    for number in 0..LANES + LOAD {
        let device: Box<dyn SubchannelDevice> = match delay {
            _ if number >= LANES => Box::new(device(&load)),
            Some(delay) => Box::new(Delay::new(device(&slow), delay)),
            None => Box::new(device(&slow)),
        };
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    let report = Guest::new(guest, volume, longest).run(stops()).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(handle.inventory().unwrap().in_flight, 0);
    handle.stop().unwrap();
    report
}

fn print(what: &str, report: &Report, served: Option<String>) {
    println!("{what}: reads: {}", report.reads);
    println!("{what}: writes: {}", report.writes);
    println!("{what}: {} reads of the load beside them, {} looks at canaries", report.load, report.looks);
    if let Some(served) = served {
        println!("{what}: {served}");
    }
}

/// The process of the file server; run as a test it does nothing.
#[test]
fn the_file_server() {
    if let Some(place) = std::env::var_os(file_server::PLACE) {
        file_server::serve(Path::new(&place));
    }
}

#[test]
fn nothing_changes_after_the_final_on_a_file_whose_server_waits() {
    let place = tempfile::tempdir().unwrap();
    let server = match FileServer::start(place.path()) {
        Ok(server) => server,
        Err(why) => {
            println!("nothing_changes_after_the_final_on_a_file_whose_server_waits: not run, {why}");
            return;
        }
    };
    let volume = Stopped::Held(server);
    let report = stop(&volume, place.path(), None, Duration::from_millis(6));
    print("a file whose server waits", &report, volume.served());
    for fates in [report.reads, report.writes] {
        // Without any that was cancelled, the reactor itself waits for the server, and a stop overtakes nothing.
        assert!(fates.cancelled > 0 && fates.completed_late > 0 && fates.never_issued > 0, "{fates}");
    }
}

/// Here the operation has usually ended before the stop, and what is stopped is the device's answer: its bytes count as completed late.
#[test]
fn nothing_changes_after_the_final_of_a_device_that_delays() {
    let place = tempfile::tempdir().unwrap();
    let volume = Stopped::plain(place.path().join("volume"));
    let report = stop(&volume, place.path(), Some(Duration::from_micros(1000)), Duration::from_micros(1500));
    print("a device that delays", &report, None);
}
