// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short ways and the general ones beside them come to the same, whatever the guest has put there.

use super::*;
use crate::device::Events;
use crate::engine::{Engine, Operation, Segments, SlotId};
use crate::memory::{DirtyLog, FileRange, Memory};
use crate::region::sealed_memory_file;
use crate::volume::Volume;
use fctl_ringabi::arch::{Ccw, CcwFlags, CcwFormat};
use std::sync::Arc;

/// Takes so many bytes at each command, and keeps the last ones.
struct Taker {
    length: usize,
    got: Vec<u8>,
}

impl ControlUnit for Taker {
    fn begin(&mut self) {}
    fn command(&mut self, _command: u8, _bytes: &mut UnitBytes) -> Action {
        Action::Receive { length: self.length }
    }
    fn received(&mut self, _command: u8, bytes: &[u8]) -> DeviceStatus {
        self.got = bytes.to_vec();
        ENDED_WELL
    }
    fn failed(&mut self, _fault: Fault) {}
    fn take_sense(&mut self) -> Option<Sense> {
        None
    }
    fn volume(&self) -> Option<&Volume> {
        None
    }
    fn reset(&mut self) {}
}

struct NoEngine;

impl Engine for NoEngine {
    fn segments(&mut self, _slot: SlotId) -> &mut Segments {
        unreachable!("nothing moves")
    }
    fn submit(&mut self, _slot: SlotId, _operation: Operation) {}
    fn cancel(&mut self, _slot: SlotId) {}
    fn in_flight(&self, _slot: SlotId) -> bool {
        false
    }
}

struct NoLog;

impl DirtyLog for NoLog {
    fn mark(&self, _address: u64, _length: u64) {}
}

/// Two pieces of memory that are apart in this process and touch in the guest, and one behind a hole.
fn memory() -> Memory {
    let file = sealed_memory_file("fctl-test", 0x6000).unwrap();
    let ranges = [
        FileRange { address: 0, offset: 0x2000, length: 0x3000 },
        FileRange { address: 0x3000, offset: 0, length: 0x1000 },
        FileRange { address: 0x5000, offset: 0x1000, length: 0x1000 },
    ];
    let memory = Memory::from_file(&file, &ranges).unwrap();
    for address in (0..0x4000).chain(0x5000..0x6000) {
        memory.store(address, &[u8::try_from(address * 7 % 251).unwrap()]).unwrap();
    }
    memory
}

/// Memory for a program, and a larger piece around the address where data must end in one of the formats.
fn memory_around(limit: u64) -> Memory {
    let file = sealed_memory_file("fctl-test", 0x6000).unwrap();
    let ranges = [
        FileRange { address: 0, offset: 0, length: 0x2000 },
        FileRange { address: limit - 0x2000, offset: 0x2000, length: 0x4000 },
    ];
    Memory::from_file(&file, &ranges).unwrap()
}

fn memories() -> [Memory; 3] {
    [memory(), memory_around(1 << 24), memory_around(1 << 31)]
}

/// Addresses at which something changes, and those around them.
fn addresses() -> impl Iterator<Item = u32> {
    [0x100, 0x3000, 0x4000, 0x5000, 0x6000, 1 << 24, 0x7FFF_FFEC].into_iter().flat_map(|edge: u32| edge - 20..edge + 20)
}

fn ccw(flags: u8, count: u16, address: u32) -> Ccw {
    Ccw { command: 0x42, flags: CcwFlags::from_bits_retain(flags), count, address }
}

const FLAGS: [u8; 10] = [0x00, 0x40, 0x60, 0x20, 0x80, 0xE0, 0x10, 0x44, 0x48, 0x84];

/// Calls a device with this memory, and gives its events with what it says.
fn call<T>(memory: &Memory, call: impl FnOnce(&mut DeviceContext<'_>) -> T) -> (T, Vec<DeviceEvent>) {
    let (mut events, mut engine, mut timer) = (Events::default(), NoEngine, None);
    let told =
        call(&mut DeviceContext { now: 0, memory, events: &mut events, engine: &mut engine, slot: None, timer: &mut timer });
    (told, std::iter::from_fn(|| events.pop()).collect())
}

#[test]
fn parameters_come_the_short_way_as_they_come_the_general_one() {
    fn compare<const N: usize>(memory: &Memory, program: Program) -> bool {
        let device = || {
            let mut device = Emulated::new(Taker { length: N, got: Vec::new() });
            device.program = program;
            device
        };
        let (mut short, mut general) = (device(), device());
        let (Some(phase), events) = call(memory, |cx| short.receive_whole::<N>(cx, 0x42)) else {
            assert_eq!(short.program, program, "nothing is done");
            return false;
        };
        assert_eq!(call(memory, |cx| general.receive(cx, 0x42, N)), (phase, events));
        assert_eq!((short.program, short.unit.got), (general.program, general.unit.got), "{program:?}");
        true
    }
    let mut short = 0;
    for (memory, format) in memories().iter().flat_map(|memory| [(memory, CcwFormat::Zero), (memory, CcwFormat::One)]) {
        for (flags, address) in FLAGS.into_iter().flat_map(|flags| addresses().map(move |address| (flags, address))) {
            for count in [1, 7, 8, 9, 15, 16, 17, 4096] {
                let program = Program::at(ccw(flags, count, address), format);
                short += u32::from(compare::<8>(memory, program)) + u32::from(compare::<16>(memory, program));
            }
        }
    }
    assert!(short > 100, "{short}");
}

/// The pieces of a program of three data-chained CCWs: with a log that is told, each range goes the general way, and the segments are the same.
#[test]
fn a_piece_is_gathered_the_short_way_as_the_general_one() {
    let mut gathered = 0;
    for direct in memories() {
        let logged = direct.clone().with_dirty_log(Arc::new(NoLog));
        for (flags, address) in FLAGS.into_iter().flat_map(|flags| addresses().map(move |address| (flags, address))) {
            for (count, length) in [(512, 1024), (1, 512), (1024, 512), (300, 1024), (512, 4096)] {
                let chain = [ccw(flags, 512, address), ccw(0, count, address.wrapping_add(512) & 0x7FFF_FFFF)];
                for (index, ccw) in chain.iter().enumerate() {
                    direct.store(0x1008 + 8 * index as u64, &ccw.to_format1()).unwrap();
                }
                for direction in [Direction::Read, Direction::Write] {
                    let gather = |memory: &Memory| {
                        let mut program = Program::at(ccw(0x80, 512, 0x200), CcwFormat::One);
                        let transfer = Transfer { direction, offset: 0, length, block: 512, chains_data: true };
                        let mut moving = Moving::begin(transfer, program.place());
                        let mut segments = Segments::default();
                        moving.gather(&mut program, memory, &mut Landing::new(), 2048, &mut segments);
                        let vectors: Vec<_> = segments.vectors().iter().map(|vector| (vector.iov_base, vector.iov_len)).collect();
                        (vectors, segments.bytes(), program, moving.exhausted, moving.short, format!("{:?}", moving.trouble))
                    };
                    let short = gather(&direct);
                    // What is skipped goes to a page of the device, of which each has its own.
                    let same_place = flags & 0x10 == 0;
                    let general = gather(&logged);
                    if same_place {
                        assert_eq!(short.0, general.0, "{chain:?}");
                    }
                    assert_eq!(
                        (short.1, short.2, short.3, short.4, &short.5),
                        (general.1, general.2, general.3, general.4, &general.5)
                    );
                    gathered += short.1;
                }
            }
        }
    }
    assert!(gathered > 100_000, "{gathered}");
}
