// SPDX-License-Identifier: MIT OR Apache-2.0
//! That `writethrough` is what reaches the storage, seen from there: the server of a FUSE file is told with each write whether it must be on stable
//! storage before it counts as done (`O_DSYNC`, which the kernel makes of `RWF_DSYNC`).

#[path = "common/mod.rs"]
mod common;

#[allow(dead_code)]
#[path = "stops_in_flight/bytes.rs"]
mod bytes;
#[allow(dead_code)]
#[path = "stops_in_flight/file_server.rs"]
mod file_server;
#[allow(dead_code)]
#[path = "stops_in_flight/log.rs"]
mod log;

use common::{id, TestGuest};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::volume::{Durability, Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, RingSizes};
use file_server::FileServer;
use log::Count;
use std::path::Path;
use std::sync::Arc;

/// The process of the file server; run as a test it does nothing.
#[test]
fn the_file_server() {
    if let Some(place) = std::env::var_os(file_server::PLACE) {
        file_server::serve(Path::new(&place));
    }
}

/// A program that writes 8 blocks, from one piece of memory or from two.
fn program(guest: &TestGuest, pieces: u16) -> Orb {
    guest.memory.store(0x2000, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]).unwrap();
    guest.memory.store(0x2100, &[5, 0, 0, 8, 0, 0, 0, 0]).unwrap();
    let chain = CcwFlags::CHAIN_COMMAND;
    guest.memory.store(0x1000, &Ccw { command: 0x63, flags: chain, count: 16, address: 0x2000 }.to_format1()).unwrap();
    guest.memory.store(0x1008, &Ccw { command: 0x43, flags: chain, count: 8, address: 0x2100 }.to_format1()).unwrap();
    for piece in 0..pieces {
        let flags = if piece + 1 < pieces { CcwFlags::CHAIN_DATA } else { CcwFlags::empty() };
        let ccw = Ccw { command: 0x41, flags, count: 4096 / pieces, address: 0x1_0000 + 0x2000 * u32::from(piece) };
        guest.memory.store(0x1010 + 8 * u64::from(piece), &ccw.to_format1()).unwrap();
    }
    Orb::new(0, 0x1000)
}

#[test]
fn the_storage_is_told_that_a_write_must_be_stable_unless_writeback_was_chosen() {
    let place = tempfile::tempdir().unwrap();
    let server = match FileServer::start(place.path()) {
        Ok(server) => server,
        Err(why) => {
            println!("the_storage_is_told_that_a_write_must_be_stable_unless_writeback_was_chosen: not run, {why}");
            return;
        }
    };
    for (durability, pieces) in [Durability::Writethrough, Durability::Writeback].into_iter().flat_map(|one| [(one, 1), (one, 2)])
    {
        let before = [Count::Arrived, Count::Durable].map(|count| server.log.get(count));
        let volume = Volume::open(server.path(), VolumeOptions::default().with_durability(durability)).unwrap();
        let mut guest = TestGuest::new(RingSizes::new(16));
        let handle = Builder::default().spawn().unwrap();
        let (_, ring) = guest.attach(&handle);
        let device = Box::new(Fba::new(Arc::new(volume)).unwrap());
        handle.attach_subchannel(ring, id(0), SubchannelOptions::new(0), device).unwrap();
        let orb = program(&guest, pieces);
        guest.poster.stage(&Descriptor::start(id(0), &orb, 1)).unwrap();
        guest.publish();
        let (end, _) = guest.next();
        assert_eq!(end.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{end:?}");
        handle.stop().unwrap();
        let writes = server.log.get(Count::Arrived) - before[0];
        let durable = server.log.get(Count::Durable) - before[1];
        assert!(writes > 0, "the server has seen no write");
        assert_eq!(
            durable,
            if durability == Durability::Writethrough { writes } else { 0 },
            "of {writes} writes, {durability:?}"
        );
    }
}
