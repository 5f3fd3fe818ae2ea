// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several reactors: each owns its rings with their home subchannels; they share volumes and guests' memory, and nothing else.

mod common;

use common::scripted::{ended, ssch, Stage};
use common::{id, TestGuest, MEMORY_OFFSET};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::Capabilities;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::{Builder, Handle, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, Orb};
use fctl_ringabi::{Descriptor, RingSizes};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// A guest that writes and reads a part of the volume through one subchannel: blocks of 512 bytes, one at a time.
struct Writer {
    guest: TestGuest,
    subchannel: u16,
    tag: u64,
}

impl Writer {
    const PROGRAM: u32 = 0x1000;
    const EXTENT: u32 = 0x2000;
    const LOCATE: u32 = 0x2100;
    const DATA: u32 = 0x3000;

    fn put(&self, address: u32, bytes: &[u8]) {
        self.guest.file.write_all_at(bytes, MEMORY_OFFSET + u64::from(address)).unwrap();
    }

    fn block_read(&self) -> [u8; 512] {
        let mut bytes = [0; 512];
        self.guest.file.read_exact_at(&mut bytes, MEMORY_OFFSET + u64::from(Self::DATA)).unwrap();
        bytes
    }

    fn transfer(&mut self, write: bool, block: u32) {
        let mut extent = [0; 16];
        extent[0] = if write { 0 } else { 0x40 };
        extent[4..8].copy_from_slice(&block.to_be_bytes());
        self.put(Self::EXTENT, &extent);
        self.put(Self::LOCATE, &[if write { 5 } else { 6 }, 0, 0, 1, 0, 0, 0, 0]);
        let ccw = |command, flags, count, address| Ccw { command, flags, count, address };
        let program = [
            ccw(0x63, CcwFlags::CHAIN_COMMAND, 16, Self::EXTENT),
            ccw(0x43, CcwFlags::CHAIN_COMMAND, 8, Self::LOCATE),
            ccw(if write { 0x41 } else { 0x42 }, CcwFlags::empty(), 512, Self::DATA),
        ];
        self.put(Self::PROGRAM, &program.iter().flat_map(Ccw::to_format1).collect::<Vec<u8>>());
        self.tag += 1;
        let start = Descriptor::start(id(self.subchannel), &Orb::new(0, Self::PROGRAM), self.tag);
        self.guest.poster.stage(&start).unwrap();
        self.guest.publish();
        let (end, _) = self.guest.next();
        assert_eq!((end.tag, end.cc, end.scsw.device_status().bits()), (self.tag, 0, 0x0C), "{end:?}");
    }
}

/// Each on a CPU of its own, where there are two.
fn two_reactors() -> [Handle; 2] {
    let cpus = fctl_dispatcher::affinity::allowed_cpus();
    [0, 1].map(|number| Builder::default().cpu(cpus[number % cpus.len()]).spawn().unwrap())
}

fn attach_null(handle: &Handle, guest: &TestGuest, number: u16) -> fctl_dispatcher::RingId {
    let (_, ring) = guest.attach(handle);
    handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
    ring
}

#[test]
fn more_reactors_than_cpus_share_a_volume() {
    const BLOCKS: u32 = 64;
    let cpus = &fctl_dispatcher::affinity::allowed_cpus();
    let reactors = u16::try_from(cpus.len()).unwrap().min(8) * 2 + 1;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(u64::from(reactors) * u64::from(BLOCKS) * 512).unwrap();
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let content = |owner: u16, block: u32| [u8::try_from((u32::from(owner) * 37 + block) % 251).unwrap(); 512];
    std::thread::scope(|scope| {
        for owner in 0..reactors {
            let volume = Arc::clone(&volume);
            scope.spawn(move || {
                // Two or three on each CPU.
                let cpu = cpus[usize::from(owner) % cpus.len()];
                let handle = Builder::default().cpu(cpu).spawn().unwrap();
                let guest = TestGuest::new(RingSizes::new(16));
                let (_, ring) = guest.attach(&handle);
                let device = Box::new(Fba::new(volume).unwrap());
                handle.attach_subchannel(ring, id(owner), SubchannelOptions::new(owner), device).unwrap();
                let mut writer = Writer { guest, subchannel: owner, tag: 0 };
                for block in 0..BLOCKS {
                    writer.put(Writer::DATA, &content(owner, block));
                    writer.transfer(true, u32::from(owner) * BLOCKS + block);
                }
                for block in (0..BLOCKS).rev() {
                    writer.put(Writer::DATA, &[0xEE; 512]);
                    writer.transfer(false, u32::from(owner) * BLOCKS + block);
                    assert_eq!(writer.block_read(), content(owner, block));
                }
                let counters = handle.counters().unwrap();
                assert_eq!((counters.taken, counters.finals, counters.ran), (writer.tag, writer.tag, writer.tag));
            });
        }
    });
    for owner in 0..reactors {
        for block in 0..BLOCKS {
            let mut found = [0; 512];
            file.as_file().read_exact_at(&mut found, u64::from(u32::from(owner) * BLOCKS + block) * 512).unwrap();
            assert_eq!(found, content(owner, block));
        }
    }
}

/// A reactor knows its own subchannels; another's are not there, whatever the guest's own view of them is.
#[test]
fn a_subchannel_is_operational_only_where_its_home_ring_is_served() {
    let mut guests = [TestGuest::new(RingSizes::new(8)), TestGuest::new(RingSizes::new(8))];
    let handles = two_reactors();
    for (number, (handle, guest)) in (0..).zip(handles.iter().zip(&guests)) {
        attach_null(handle, guest, number);
    }
    for (number, guest) in (0..).zip(&mut guests) {
        for (asked, expected) in [(number, 0), (1 - number, 3)] {
            guest.poster.stage(&ssch(asked, 0, u64::from(asked))).unwrap();
            guest.publish();
            let (end, _) = guest.next();
            assert_eq!((end.tag, end.cc), (u64::from(asked), expected));
        }
    }
}

/// Moving a ring is drain, detach, attach: its positions live in the ring, so the guest notices nothing.
#[test]
fn a_ring_moves_from_reactor_to_reactor_and_loses_nothing() {
    let handles = two_reactors();
    let mut guest = TestGuest::new(RingSizes::new(8));
    let mut tag = 0;
    for handle in handles.iter().cycle().take(6) {
        // Posted while nobody serves the ring: the next one will take it.
        tag += 1;
        guest.poster.stage(&ssch(1, 0, tag)).unwrap();
        guest.publish();
        let ring = attach_null(handle, &guest, 1);
        // The subchannel was not there yet when that one was taken, or was: either way it has its one final.
        assert_eq!(guest.next().0.tag, tag);
        for _ in 0..20 {
            tag += 1;
            guest.poster.stage(&ssch(1, 0, tag)).unwrap();
            guest.publish();
            let (end, _) = guest.next();
            assert_eq!((end.tag, end.cc), (tag, 0));
        }
        handle.drain(ring, Duration::from_secs(60)).unwrap();
        handle.detach_ring(ring, Duration::from_secs(60)).unwrap();
        assert_eq!(guest.reader.take().unwrap(), None);
    }
}

/// One ring that is always full delays fifteen others by no turn at all.
#[test]
fn a_greedy_ring_costs_the_modest_ones_no_turn() {
    const MODEST: u16 = 15;
    let (mut reactor, _handle) = Builder::default().build().unwrap();
    let mut greedy = TestGuest::new(RingSizes::new(1024));
    let mut modest: Vec<TestGuest> = (0..MODEST).map(|_| TestGuest::new(RingSizes::new(8))).collect();
    for (number, guest) in (0..).zip(std::iter::once(&greedy).chain(&modest)) {
        let owner = reactor.attach_guest(guest.memory.clone());
        let ring = reactor.attach_ring(owner, guest.ends()).unwrap();
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
    }
    let (mut posted, mut ended) = (0u64, 0u64);
    for round in 0..200 {
        while greedy.poster.post(&ssch(0, 0, posted)).is_ok() {
            posted += 1;
        }
        for (number, guest) in (1..).zip(&mut modest) {
            guest.poster.post(&ssch(number, 0, round)).unwrap();
        }
        let before = reactor.counters().taken;
        reactor.turn(u32::MAX);
        assert_eq!(reactor.counters().taken - before, 64 + u64::from(MODEST), "of one ring no more than 64");
        for guest in &mut modest {
            let (end, _) = guest.reader.take().unwrap().expect("ended in the turn that could take it");
            assert_eq!((end.tag, end.cc), (round, 0));
        }
        while greedy.reader.take().unwrap().is_some() {
            ended += 1;
        }
    }
    assert_eq!(ended, 200 * 64);
}

/// One engine slot, for which a ring keeps eight starts waiting: another ring's start does not wait for all of them, and starts that come later do
/// not get in before it.
#[test]
fn a_greedy_ring_does_not_keep_the_engine_slots_for_itself() {
    const GREEDY: u16 = 8;
    let stage = Stage::default();
    let (mut reactor, _handle) = Builder::default().engine_slots(1).build().unwrap();
    let mut guests = [TestGuest::new(RingSizes::new(64)), TestGuest::new(RingSizes::new(64))];
    for (guest, numbers) in guests.iter().zip([0..GREEDY, GREEDY..GREEDY + 1]) {
        let owner = reactor.attach_guest(guest.memory.clone());
        let ring = reactor.attach_ring(owner, guest.ends()).unwrap();
        for number in numbers {
            let device = stage.device(number, Capabilities::ENGINE);
            reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
        }
    }
    let mut tag = 0;
    let mut post = |guest: &mut TestGuest, number: u16| {
        tag += 1;
        guest.poster.post(&ssch(number, 0, tag)).unwrap();
    };
    for number in 0..GREEDY {
        post(&mut guests[0], number);
    }
    reactor.turn(64);
    let mut order = Vec::new();
    let mut running: Vec<u16> = stage.take_calls().into_iter().map(|(number, _)| number).collect();
    assert_eq!(running, [0]);
    post(&mut guests[1], GREEDY);
    reactor.turn(64);
    // The greedy one starts each subchannel again as soon as it has ended.
    for _ in 0..40 {
        assert_eq!(running.len(), 1, "one slot, one start with its device");
        let number = running.remove(0);
        order.push(number);
        stage.tell(number, ended(0x1008));
        while running.is_empty() {
            reactor.turn(64);
            for (at, guest) in guests.iter_mut().enumerate() {
                while let Some((completion, _)) = guest.reader.take().unwrap() {
                    assert_eq!(completion.cc, 0);
                    let number = if at == 0 { number } else { GREEDY };
                    post(guest, number);
                }
            }
            running.extend(stage.take_calls().into_iter().map(|(number, _)| number));
        }
    }
    // One has the slot when its start is taken, one gets it in that turn, one may stand before it.
    for four in order.windows(4) {
        assert!(four.contains(&GREEDY), "three starts of the greedy ring at most go before one of the modest: {order:?}");
    }
    for number in 0..GREEDY {
        assert!(order.contains(&number), "and each start of the greedy one has its turn: {order:?}");
    }
}
