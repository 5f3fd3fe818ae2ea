// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest with memory, one emulated device and an engine that performs operations on demand, in the test's own thread.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of this")]

mod engine;
mod memory;
mod toy;

use fctl_dispatcher::device::emulated::{ControlUnit, Emulated, ENDED_WELL, ENDED_WITH_CHECK};
use fctl_dispatcher::device::fba::{Fba, FbaUnit};
use fctl_dispatcher::device::{DeviceContext, DeviceEvent, Events, Status, SubchannelDevice};
use fctl_dispatcher::engine::SlotId;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, SubchannelStatus};
use std::ops::Range;
use std::sync::Arc;

pub use engine::MockEngine;
pub use memory::{through_sink, GuestMemory, Writer};
pub use toy::{toy, toy_with, Toy};

pub const CD: u8 = 0x80;
pub const CC: u8 = 0x40;
pub const SLI: u8 = 0x20;
pub const SKIP: u8 = 0x10;
pub const PCI: u8 = 0x08;
pub const IDA: u8 = 0x04;
pub const SUSPEND: u8 = 0x02;
pub const MIDA: u8 = 0x01;

/// First region: 32 MiB, so that there is something behind the 16 MiB of format-0 addresses. A second one touches it.
pub const FIRST_END: u64 = 32 << 20;
pub const MEMORY_END: u64 = FIRST_END + (1 << 20);
/// A third one lies apart.
pub const APART: Range<u64> = 0x4000_0000..0x4010_0000;

/// Programs begin here, data here.
pub const PROGRAM: u32 = 0x1000;
pub const DATA: u32 = 0x10_0000;

pub const ENDED: DeviceStatus = ENDED_WELL;
pub const CHECKED: DeviceStatus = ENDED_WITH_CHECK;
pub const NONE: SubchannelStatus = SubchannelStatus::empty();
pub const IL: SubchannelStatus = SubchannelStatus::INCORRECT_LENGTH;
pub const PGM: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;

/// A CCW: command, flags, count, address.
pub fn ccw(command: u8, flags: u8, count: u16, address: u32) -> Ccw {
    Ccw { command, flags: CcwFlags::from_bits_retain(flags), count, address }
}

/// What stands before a device: memory, engine, and the events it gave.
pub struct Machine<U> {
    pub guest: GuestMemory,
    pub engine: MockEngine,
    pub device: Emulated<U>,
    pub events: Vec<DeviceEvent>,
    pub timer: Option<u64>,
    /// Calls of the device so far.
    pub calls: usize,
}

impl<U: ControlUnit> Machine<U> {
    pub fn new(device: Emulated<U>) -> Self {
        Self::with_memory(device, GuestMemory::new(through_sink()))
    }

    pub fn with_memory(device: Emulated<U>, guest: GuestMemory) -> Self {
        let engine = MockEngine::new(guest.host_ranges(), !guest.memory.is_direct());
        Self { guest, engine, device, events: Vec::new(), timer: None, calls: 0 }
    }

    fn call(&mut self, act: impl FnOnce(&mut Emulated<U>, &mut DeviceContext<'_>)) {
        let mut events = Events::default();
        let mut cx = DeviceContext {
            now: 7,
            memory: &self.guest.memory,
            events: &mut events,
            engine: &mut self.engine,
            slot: Some(SlotId::new(0)),
            timer: &mut self.timer,
        };
        act(&mut self.device, &mut cx);
        self.calls += 1;
        while let Some(event) = events.pop() {
            if is_end(&event) {
                assert!(self.engine.in_flight.is_none(), "{event:?} while an operation is in the kernel");
            }
            self.events.push(event);
        }
    }

    pub fn put(&self, address: u32, bytes: &[u8]) {
        self.guest.put(u64::from(address), bytes);
    }

    pub fn get(&self, address: u32, length: usize) -> Vec<u8> {
        self.guest.get(u64::from(address), length)
    }

    /// Stores a format-1 program at [`PROGRAM`].
    pub fn put_program(&self, ccws: &[Ccw]) {
        let bytes: Vec<u8> = ccws.iter().flat_map(Ccw::to_format1).collect();
        self.put(PROGRAM, &bytes);
    }

    /// Stores a format-0 program at [`PROGRAM`].
    pub fn put_program_0(&self, ccws: &[Ccw]) {
        let bytes: Vec<u8> = ccws.iter().flat_map(Ccw::to_format0).collect();
        self.put(PROGRAM, &bytes);
    }

    pub fn start(&mut self, orb: Orb) {
        self.call(|device, cx| device.start(cx, &orb));
    }

    pub fn halt(&mut self) {
        self.call(SubchannelDevice::halt);
    }

    pub fn clear(&mut self) {
        self.call(SubchannelDevice::clear);
    }

    pub fn resume(&mut self) {
        self.call(SubchannelDevice::resume);
    }

    /// Performs what is in flight, or lets the timer come. False if there is nothing to do.
    pub fn step(&mut self) -> bool {
        if self.engine.in_flight.is_some() {
            let result = self.engine.perform();
            self.call(|device, cx| device.operation_ended(cx, result));
        } else if self.timer.take().is_some() {
            self.call(SubchannelDevice::timer);
        } else {
            return false;
        }
        true
    }

    /// Starts and goes on to the one end. Gives its status.
    pub fn run(&mut self, orb: Orb) -> Status {
        self.events.clear();
        self.start(orb);
        self.finish()
    }

    /// Goes on to the one end.
    pub fn finish(&mut self) -> Status {
        for _ in 0..100_000 {
            if !self.step() {
                break;
            }
        }
        let ends: Vec<_> = self.events.iter().filter(|event| is_end(event)).collect();
        match ends[..] {
            [DeviceEvent::Ended(status)] => *status,
            _ => panic!("not one end: {:?}", self.events),
        }
    }

    /// Runs a format-1 program.
    pub fn run_program(&mut self, ccws: &[Ccw]) -> Status {
        self.put_program(ccws);
        self.run(Orb::new(0, PROGRAM))
    }

    /// Runs a format-0 program.
    pub fn run_program_0(&mut self, ccws: &[Ccw]) -> Status {
        self.put_program_0(ccws);
        self.run(Orb::new(0, PROGRAM).with_format(fctl_ringabi::arch::CcwFormat::Zero))
    }
}

pub fn is_end(event: &DeviceEvent) -> bool {
    matches!(event, DeviceEvent::Ended(_) | DeviceEvent::Refused { .. } | DeviceEvent::Halted(_) | DeviceEvent::Cleared)
}

/// Asserts status: device, subchannel, CCW index in the program (of which the address is reported), residual.
#[track_caller]
pub fn assert_status(status: Status, device: DeviceStatus, subchannel: SubchannelStatus, index: u32, residual: u16) {
    let expected = Status { device, subchannel, ccw_address: PROGRAM + 8 * index + 8, residual };
    assert_eq!(status, expected, "got ccw {}", (status.ccw_address.wrapping_sub(PROGRAM + 8)) / 8);
}

/// The same for a program check, where the residual means nothing.
#[track_caller]
pub fn assert_program_check(status: Status, index: u32) {
    assert_eq!(status.subchannel, PGM, "{status:?}");
    assert_eq!(status.ccw_address, PROGRAM + 8 * index + 8, "{status:?}");
}

/// A volume of `blocks` blocks; byte *n* of block *b* is `b + n` (mod 251).
pub fn volume_file(blocks: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..blocks).flat_map(block).collect();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// The first contents of a block.
pub fn block(number: usize) -> Vec<u8> {
    (0..512).map(|n| u8::try_from((number + n) % 251).unwrap()).collect()
}

/// An FBA device on a new volume.
pub fn fba(blocks: usize) -> (Machine<FbaUnit>, tempfile::NamedTempFile) {
    fba_with(blocks, VolumeOptions::default())
}

pub fn fba_with(blocks: usize, options: VolumeOptions) -> (Machine<FbaUnit>, tempfile::NamedTempFile) {
    let file = volume_file(blocks);
    let volume = Volume::open(file.path(), options).unwrap();
    (Machine::new(Fba::new(Arc::new(volume)).unwrap()), file)
}

/// Where the parameters of DEFINE EXTENT and LOCATE are put.
pub const EXTENT: u32 = 0x2000;
pub const LOCATE: u32 = 0x2100;

impl Machine<FbaUnit> {
    /// Stores parameters: extent `start..start+count`, numbered from 0, and all of it located. Gives the two CCWs.
    pub fn locate(&self, operation: u8, start: u32, count: u16) -> [Ccw; 2] {
        let mask = if matches!(operation, 2 | 6) { 0x40 } else { 0 };
        self.define(mask, start, 0, u32::from(count).saturating_sub(1));
        self.put(LOCATE, &locate_bytes(operation, 0, count, 0));
        [ccw(0x63, CC, 16, EXTENT), ccw(0x43, CC, 8, LOCATE)]
    }

    pub fn define(&self, mask: u8, start: u32, first: u32, last: u32) {
        let mut bytes = vec![mask, 0, 2, 0];
        for word in [start, first, last] {
            bytes.extend(word.to_be_bytes());
        }
        self.put(EXTENT, &bytes);
    }

    /// Sense byte 0 and 1, by a basic sense command.
    pub fn sense(&mut self) -> (u8, u8) {
        self.put(0x3000, &[0xEE; 24]);
        self.put(0x3100, &ccw(0x04, SLI, 32, 0x3000).to_format1());
        let status = self.run(Orb::new(0, 0x3100));
        assert_eq!((status.device, status.subchannel, status.residual), (ENDED, NONE, 8));
        let sense = self.get(0x3000, 24);
        assert_eq!(sense[2..], [0; 22]);
        (sense[0], sense[1])
    }
}

pub fn locate_bytes(operation: u8, replication: u8, count: u16, block: u32) -> Vec<u8> {
    let mut bytes = vec![operation, replication];
    bytes.extend(count.to_be_bytes());
    bytes.extend(block.to_be_bytes());
    bytes
}
