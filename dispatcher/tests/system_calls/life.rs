// SPDX-License-Identifier: MIT OR Apache-2.0
//! One life: prepared, built, run, controlled, posted to, stopped.

use crate::common::{id, TestGuest, PATIENCE};
use crate::sandbox::{begin, on_thread, Confinement};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::host::{HostRing, HostRingOptions};
use fctl_dispatcher::volume::{Cache, Volume, VolumeError, VolumeOptions};
use fctl_dispatcher::{affinity, Builder, Handle, Reactor, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb};
use fctl_ringabi::{Descriptor, Operation, RingSizes};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Duration;

/// The embedder's preparations: shared memory, volumes, a ring of its own.
struct Prepared {
    guest: TestGuest,
    volumes: Vec<Arc<Volume>>,
    host: HostRing,
    ends: fctl_dispatcher::host::HostEnds,
}

fn prepare(path: PathBuf) -> Prepared {
    let buffered = Volume::open(&path, VolumeOptions::default()).unwrap();
    let direct = match Volume::open(path.with_extension("direct"), VolumeOptions::default().with_cache(Cache::Direct)) {
        Ok(direct) => Some(direct),
        Err(VolumeError::NoDirect { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    let (host, ends) = HostRing::new(HostRingOptions::default()).unwrap();
    let volumes = [Some(buffered), direct].into_iter().flatten().map(Arc::new).collect();
    Prepared { guest: TestGuest::new(RingSizes::new(64)), volumes, host, ends }
}

fn build() -> (Reactor, Handle) {
    affinity::pin(affinity::allowed_cpus()[0]).unwrap();
    Builder::default().build().unwrap()
}

/// The reactor on a thread of its own. The second end tells when it has gone.
fn reactor() -> (Handle, Receiver<()>) {
    let (give, given) = channel();
    let run = Confinement::new("run", None);
    let gone = begin(Confinement::new("build", Some("run")), move || {
        let (mut reactor, handle) = build();
        give.send(handle).unwrap();
        run.enter();
        reactor.run_here();
        drop(reactor);
    });
    (given.recv_timeout(PATIENCE).unwrap(), gone)
}

/// A reactor in an event loop of the embedder's own, until it has finished.
fn own_loop() -> (Handle, Receiver<()>) {
    let (give, given) = channel();
    let turn = Confinement::new("turn", None);
    let gone = begin(Confinement::new("build", Some("turn")), move || {
        let (mut reactor, handle) = build();
        give.send(handle).unwrap();
        turn.enter();
        while !reactor.finished() {
            if !reactor.turn(64) && reactor.prepare_sleep() {
                let next = reactor.next_timer().unwrap_or(PATIENCE);
                let most = Timespec { tv_sec: 0, tv_nsec: next.as_nanos().min(100_000_000).try_into().unwrap() };
                poll(&mut [PollFd::new(&reactor, PollFlags::IN)], Some(&most)).unwrap();
                reactor.wake();
            }
        }
        drop(reactor);
    });
    (given.recv_timeout(PATIENCE).unwrap(), gone)
}

/// The same guest on it.
fn in_an_own_loop(volume: Arc<Volume>) {
    let (handle, gone) = own_loop();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    handle.attach_subchannel(ring, id(0), SubchannelOptions::new(0), Box::new(Fba::new(volume).unwrap())).unwrap();
    for round in 0..20 {
        start_and_wait(&mut guest, 0, round % 2 == 0);
        std::thread::sleep(Duration::from_millis(1));
    }
    handle.detach_ring(ring, PATIENCE).unwrap();
    handle.stop().unwrap();
    gone.recv_timeout(PATIENCE).unwrap();
}

const DATA: u32 = 0x1_0000;

/// Writes `blocks` blocks, or reads them.
fn put_program(guest: &TestGuest, write: bool, blocks: u16) -> Orb {
    let mut extent = [0; 16];
    extent[0] = if write { 0 } else { 0x40 };
    extent[12..].copy_from_slice(&(u32::from(blocks) - 1).to_be_bytes());
    let mut locate = [0; 8];
    locate[0] = if write { 5 } else { 6 };
    locate[2..4].copy_from_slice(&blocks.to_be_bytes());
    guest.memory.store(0x2000, &extent).unwrap();
    guest.memory.store(0x2100, &locate).unwrap();
    let (chain, none) = (CcwFlags::CHAIN_COMMAND, CcwFlags::SUPPRESS_LENGTH);
    let (code, count) = if write { (0x41, blocks / 2 * 512) } else { (0x42, blocks * 512) };
    let ccws = [(0x63, chain, 16, 0x2000), (0x43, chain, 8, 0x2100), (code, none, count, DATA)];
    for (at, (command, flags, count, address)) in (0x1000..).step_by(8).zip(ccws) {
        guest.memory.store(at, &Ccw { command, flags, count, address }.to_format1()).unwrap();
    }
    Orb::new(0, 0x1000)
}

fn start_and_wait(guest: &mut TestGuest, number: u16, write: bool) {
    let orb = put_program(guest, write, 64);
    guest.poster.stage(&Descriptor::start(id(number), &orb, 1)).unwrap();
    guest.publish();
    let (end, _) = guest.next();
    assert_eq!(end.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END, "{end:?}");
}

pub fn live() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    for path in [path.clone(), path.with_extension("direct")] {
        std::fs::File::create(path).unwrap().set_len(1 << 20).unwrap();
    }
    let Prepared { mut guest, volumes, host, ends } = on_thread("prepare", move || prepare(path));
    // One that only is: so that what running takes is not let through.
    on_thread("build", || std::mem::forget(build()));
    in_an_own_loop(volumes[0].clone());
    let (handle, gone) = reactor();
    let handle = Arc::new(handle);
    let (own, spare, guest_ends) = (handle.clone(), guest.memory.clone(), guest.ends());
    let memory = guest.memory.clone();
    let disks = u16::try_from(volumes.len()).unwrap();
    let (guest_id, ring, host_ring) = on_thread("control", move || {
        let guest_id = own.attach_guest(memory).unwrap();
        let ring = own.attach_ring(guest_id, guest_ends).unwrap();
        let host_ring = own.attach_host_ring(guest_id, ends).unwrap();
        for (number, volume) in (0..).zip(volumes) {
            let device = Box::new(Fba::new(volume).unwrap());
            own.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
        }
        let slow = Box::new(Delay::new(Null, FOREVER));
        own.attach_subchannel(host_ring, id(9), SubchannelOptions::new(9), slow).unwrap();
        (guest_id, ring, host_ring)
    });
    for round in 0..50 {
        for number in 0..disks {
            start_and_wait(&mut guest, number, round % 2 == 0);
            // Let it fall asleep now and then.
            if round % 10 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    on_thread("post", move || {
        let mut host = host;
        for tag in 0..200 {
            assert_eq!(host.post(&Descriptor::start(id(9), &Orb::new(0, 0x1000), tag)).unwrap(), 0);
            assert_eq!(host.post(&Descriptor::new(Operation::Halt, id(9), tag)).unwrap(), 0);
            for _ in 0..2 {
                while host.take().unwrap().is_none() {
                    if host.arm().unwrap() {
                        host.notification().read().unwrap();
                    }
                }
            }
            if tag % 50 == 0 {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        // Somebody waits while the ring goes.
        assert!(host.arm().unwrap());
        // Kept: dropping it gives its memory back, which is no part of posting.
        std::mem::forget(host);
    });
    let own = handle.clone();
    on_thread("control", move || {
        own.counters().unwrap();
        own.latencies().unwrap();
        own.reset_guest(guest_id, PATIENCE).unwrap();
        own.replace_memory(guest_id, spare, PATIENCE).unwrap();
        own.detach_subchannel(guest_id, id(0), PATIENCE).unwrap();
        own.drain(ring, PATIENCE).unwrap();
        own.detach_ring(ring, PATIENCE).unwrap();
        own.detach_ring(host_ring, PATIENCE).unwrap();
        own.detach_guest(guest_id).unwrap();
        own.stop().unwrap();
    });
    gone.recv_timeout(PATIENCE).unwrap();
}
