// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that starts channel programs and writes into them, their lists and their parameters while the dispatcher, on a thread of its own, executes
//! them. Whatever it gets to see of that, each start ends in a legal way, and nothing outside the guest's memory is touched.

mod common;

use common::{id, TestGuest, MEMORY_BYTES, MEMORY_OFFSET};
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig};
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::volume::{Durability, Volume, VolumeOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, FunctionControl, Orb, StatusControl, SubchannelStatus};
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, Descriptor, Disposition, Operation, RingSizes};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// The guest's memory: two ranges, around and between them what is not its own.
const RANGES: [(u64, u64); 2] = [(0, 1 << 20), (2 << 20, 1 << 20)];
const SHIFT: u64 = 64 << 10;
const CANARY: u8 = 0xC5;

const PROGRAM: u32 = 0x1000;
const CCWS: u32 = 24;
const LIST: u32 = 0x2000;
const EXTENT: u32 = 0x3000;
const LOCATE: u32 = 0x3010;
const DATA: u32 = 0x1_0000;

const BLOCKS: u32 = 2048;
const STARTS: u32 = 4000;
/// How often the guest looks for the end before it stops a program: one that loops and moves data never ends by itself.
const LOOKS: u32 = 300;

/// A small generator (SplitMix64): the guest is to be quick at changing things.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(u32::try_from(of.len()).unwrap())).unwrap()]
    }
}

/// An address where data could be: inside, at the edges of the ranges, or anywhere.
fn an_address(rng: &mut Rng) -> u32 {
    match rng.below(8) {
        0 => (1 << 20) - 8 * rng.below(256),
        1 => (2 << 20) - 8 * rng.below(256),
        2 => (3 << 20) - 8 * rng.below(256),
        3 => u32::try_from(rng.next() & 0xFFFF_FFFF).unwrap(),
        _ => DATA + 512 * rng.below(256),
    }
}

fn a_ccw(rng: &mut Rng) -> [u8; 8] {
    let command = rng.one_of(&[0x41, 0x42, 0x42, 0x42, 0x43, 0x63, 0x03, 0x04, 0x08, 0x02, 0xE4]);
    let flags = rng.one_of(&[0x80, 0x80, 0x40, 0x40, 0x60, 0x20, 0x84, 0x44, 0x81, 0x48, 0x90]);
    let count = rng.one_of(&[512, 512, 1024, 4096, 16, 8, 0, 513]);
    let address = match (command, flags & 0x05) {
        (0x08, _) => PROGRAM + 8 * rng.below(CCWS),
        (0x43, _) => LOCATE,
        (0x63, _) => EXTENT,
        (_, 0) => an_address(rng),
        _ => LIST + 8 * rng.below(64),
    };
    Ccw { command, flags: CcwFlags::from_bits_retain(flags), count, address }.to_format1()
}

fn parameters(rng: &mut Rng) -> [[u8; 8]; 3] {
    let count = 1 + rng.below(64);
    let start = rng.below(BLOCKS);
    let mut extent = [[0; 8]; 2];
    extent[0][4..].copy_from_slice(&start.to_be_bytes());
    extent[1][4..].copy_from_slice(&(count - 1).to_be_bytes());
    let mut locate = [rng.one_of(&[6, 6, 5]), 0, 0, 0, 0, 0, 0, 0];
    locate[2..4].copy_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
    [extent[0], extent[1], locate]
}

/// One change of the guest's memory.
fn change(memory: &Memory, rng: &mut Rng) {
    let put = |address: u32, bytes: &[u8]| memory.store(u64::from(address), bytes).unwrap();
    match rng.below(10) {
        0..=5 => put(PROGRAM + 8 * (2 + rng.below(CCWS - 2)), &a_ccw(rng)),
        6..=7 => {
            let address = u64::from(an_address(rng) & !0xFFF);
            let entry = rng.one_of(&[address, address << 32 | address, u64::MAX]);
            put(LIST + 8 * rng.below(64), &entry.to_be_bytes());
        }
        8 => {
            let [first, second, locate] = parameters(rng);
            put(EXTENT, &first);
            put(EXTENT + 8, &second);
            put(LOCATE, &locate);
        }
        _ => put(PROGRAM + rng.below(8 * CCWS), &rng.next().to_be_bytes()),
    }
}

/// The program as it is when it is started: blocks moved by data chaining.
fn store_program(memory: &Memory, rng: &mut Rng) {
    let [first, second, locate] = parameters(rng);
    let define = Ccw { command: 0x63, flags: CcwFlags::CHAIN_COMMAND, count: 16, address: EXTENT };
    let prepare = Ccw { command: 0x43, flags: CcwFlags::CHAIN_COMMAND, count: 8, address: LOCATE };
    let data = if locate[0] == 5 { 0x41 } else { 0x42 };
    let data = (2..CCWS).map(|n| {
        let flags = if n + 1 < CCWS { CcwFlags::CHAIN_DATA } else { CcwFlags::SUPPRESS_LENGTH };
        Ccw { command: data, flags, count: 512, address: DATA + 512 * n }
    });
    let bytes: Vec<u8> = [define, prepare].into_iter().chain(data).flat_map(|ccw| ccw.to_format1()).collect();
    for (address, bytes) in [(EXTENT, &first[..]), (EXTENT + 8, &second), (LOCATE, &locate), (PROGRAM, &bytes)] {
        memory.store(u64::from(address), bytes).unwrap();
    }
}

/// The end of a start is one that the architecture has: by itself, or by the clear.
fn check_start(found: &Completion, cleared: bool) -> bool {
    assert_eq!((found.kind(), found.cc), (Some(CompletionKind::Final), 0), "{found:?}");
    if found.disposition() == Some(Disposition::AbsorbedByClear) {
        assert!(cleared, "{found:?}");
        return false;
    }
    assert_eq!(found.disposition(), Some(Disposition::Executed), "{found:?}");
    assert!(found.flags.contains(CompletionFlags::STATUS));
    let scsw = &found.scsw;
    let well = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    let (device, subchannel) = (scsw.device_status(), scsw.subchannel_status());
    let pci = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    let checks = subchannel - pci;
    let legal = match (device, checks) {
        (device, SubchannelStatus::PROGRAM_CHECK) => device.is_empty() || device == well,
        (device, SubchannelStatus::INCORRECT_LENGTH) => device == well,
        (device, checks) => checks.is_empty() && (device == well || device == well | DeviceStatus::UNIT_CHECK),
    };
    assert!(legal, "{scsw:?}");
    let stctl = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
    let abnormal = device != well || !checks.is_empty();
    assert_eq!(scsw.stctl(), if abnormal { stctl | StatusControl::ALERT } else { stctl }, "{scsw:?}");
    assert_eq!((scsw.fctl(), scsw.ccw_address() & 0x8000_0007), (FunctionControl::START, 0), "{scsw:?}");
    !abnormal
}

#[test]
fn a_guest_changes_the_programs_that_run() {
    let mut guest = TestGuest::new(RingSizes::new(64));
    guest.file.write_all_at(&vec![CANARY; usize::try_from(MEMORY_BYTES).unwrap()], MEMORY_OFFSET).unwrap();
    let ranges = RANGES.map(|(address, length)| FileRange {
        address,
        offset: MEMORY_OFFSET + SHIFT + address,
        length: usize::try_from(length).unwrap(),
    });
    guest.memory = Memory::from_file(&guest.file, &ranges).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(u64::from(BLOCKS) * 512).unwrap();
    let options = VolumeOptions::default().with_durability(Durability::Writeback);
    let volume = Arc::new(Volume::open(file.path(), options).unwrap());
    let limits = Limits::default().with_stop_grain(1024).with_ccws_per_call(4);
    let device = Fba::with_config(volume, FbaConfig::default().with_limits(limits)).unwrap();
    let handle = Builder::default().spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    handle.attach_subchannel(ring, id(0), SubchannelOptions::new(0x120), Box::new(device)).unwrap();

    let memory = guest.memory.clone();
    let mut rng = Rng(1);
    let (mut well, mut checked, mut stopped, mut intermediate, mut changes) = (0, 0, 0, 0_u32, 0_u32);
    for number in 0..STARTS {
        store_program(&memory, &mut rng);
        let (start, clear) = (u64::from(2 * number), u64::from(2 * number + 1));
        let post = |guest: &mut TestGuest, descriptor: Descriptor| {
            guest.poster.stage(&descriptor).unwrap();
            guest.publish();
        };
        post(&mut guest, Descriptor::start(id(0), &Orb::new(number, PROGRAM), start));
        let (mut ended, mut cleared, mut looks) = (false, None, 0);
        while !ended || cleared == Some(false) {
            let found = if cleared.is_some() { Some(guest.next()) } else { guest.reader.take().unwrap() };
            let Some((found, _)) = found else {
                looks += 1;
                if looks == LOOKS {
                    cleared = Some(false);
                    post(&mut guest, Descriptor::new(Operation::Clear, id(0), clear));
                } else if looks % 4 == 0 {
                    // Also where there is but one processor the dispatcher has its turn.
                    std::thread::yield_now();
                } else {
                    change(&memory, &mut rng);
                    changes += 1;
                }
                continue;
            };
            if found.kind() == Some(CompletionKind::Intermediate) {
                intermediate += 1;
            } else if found.tag == start {
                assert!(!ended, "two ends: {found:?}");
                ended = true;
                match (check_start(&found, cleared.is_some()), found.disposition()) {
                    (true, _) => well += 1,
                    (false, Some(Disposition::Executed)) => checked += 1,
                    _ => stopped += 1,
                }
            } else {
                assert_eq!((found.tag, found.cc, cleared, ended), (clear, 0, Some(false), true), "{found:?}");
                cleared = Some(true);
            }
        }
    }
    println!("{STARTS} starts, {changes} changes: {well} ended well, {checked} with a check, {stopped} were stopped; {intermediate} intermediate");
    assert_eq!(well + checked + stopped, STARTS);
    // Nothing but the guest's two ranges was written, and the volume is as long as it was.
    let mut bytes = vec![0; usize::try_from(MEMORY_BYTES).unwrap()];
    guest.file.read_exact_at(&mut bytes, MEMORY_OFFSET).unwrap();
    for (at, &byte) in (0..).zip(&bytes) {
        let own = RANGES.iter().any(|(address, length)| (SHIFT + address..SHIFT + address + length).contains(&at));
        assert!(own || byte == CANARY, "byte {at:#x} of the file is not the guest's");
    }
    assert_eq!(file.as_file().metadata().unwrap().len(), u64::from(BLOCKS) * 512);
    // It has harmed itself at most: a proper program does what it says.
    let written: Vec<u8> = (0..512_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    file.as_file().write_all_at(&written, 0).unwrap();
    let ipl = Ccw { command: 0x02, flags: CcwFlags::empty(), count: 512, address: DATA };
    memory.store(u64::from(PROGRAM), &ipl.to_format1()).unwrap();
    guest.poster.stage(&Descriptor::start(id(0), &Orb::new(0, PROGRAM), u64::MAX)).unwrap();
    guest.publish();
    assert!(check_start(&guest.next().0, false));
    let mut read = vec![0; 512];
    memory.fetch_into(u64::from(DATA), &mut read).unwrap();
    assert_eq!(read, written);
    handle.stop().unwrap();
}
