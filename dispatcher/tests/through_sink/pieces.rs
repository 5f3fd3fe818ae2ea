// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the bytes of a read reach the guest, and which of them.

use crate::channel_program_support::*;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig, FbaUnit};
use fctl_dispatcher::device::DeviceEvent;
use fctl_dispatcher::memory::{HostRange, Memory};
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_ringabi::arch::{Ccw, Orb};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A disk whose pieces are 2 KiB, with a read of 12 blocks begun.
fn reading(data: &[Ccw]) -> (Machine<FbaUnit>, tempfile::NamedTempFile) {
    let file = volume_file(64);
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let limits = Limits::default().with_stop_grain(2048);
    let mut disk = Machine::new(Fba::with_config(volume, FbaConfig::default().with_limits(limits)).unwrap());
    let [define, locate] = disk.locate(6, 0, 12);
    let program: Vec<Ccw> = [define, locate].iter().chain(data).copied().collect();
    disk.put_program(&program);
    disk.put(DATA, &[0xEE; 0x4000]);
    disk.start(Orb::new(0, PROGRAM));
    (disk, file)
}

/// Bytes stored by the sink, and its calls.
fn stored(disk: &Machine<FbaUnit>) -> (usize, usize) {
    (disk.guest.writer.bytes.load(Ordering::Relaxed), disk.guest.writer.calls.load(Ordering::Relaxed))
}

fn blocks(count: usize) -> Vec<u8> {
    (0..count).flat_map(block).collect()
}

#[test]
fn each_piece_is_stored_when_the_kernel_has_ended_it() {
    let (mut disk, _file) = reading(&[ccw(0x42, 0, 6144, DATA)]);
    for piece in 0..3 {
        assert_eq!(stored(&disk), (2048 * piece, piece));
        assert_eq!(disk.get(DATA + 2048 * u32::try_from(piece).unwrap(), 2048), [0xEE; 2048]);
        assert!(disk.step());
    }
    assert_status(disk.finish(), ENDED, NONE, 2, 0);
    assert_eq!((stored(&disk), disk.get(DATA, 6144)), ((6144, 3), blocks(12)));
}

#[test]
fn of_a_short_operation_what_has_come_is_stored() {
    let (mut disk, _file) = reading(&[ccw(0x42, CD, 1024, DATA), ccw(0, 0, 5120, DATA + 0x2000)]);
    disk.engine.most = 700;
    for (bytes, calls) in [(700, 1), (1400, 3), (2048, 4), (2748, 5)] {
        assert!(disk.step());
        assert_eq!(stored(&disk), (bytes, calls));
    }
    assert_status(disk.finish(), ENDED, NONE, 3, 0);
    assert_eq!([disk.get(DATA, 1024), disk.get(DATA + 0x2000, 5120)].concat(), blocks(12));
}

#[test]
fn ranges_that_touch_are_one_store_and_skipped_ones_none() {
    let linux: Vec<Ccw> = (0..12).map(|n| ccw(0x42, if n < 11 { CD } else { 0 }, 512, DATA + 512 * n)).collect();
    let (mut disk, _file) = reading(&linux);
    assert_status(disk.finish(), ENDED, NONE, 13, 0);
    assert_eq!((stored(&disk), disk.get(DATA, 6144)), ((6144, 3), blocks(12)));
    let program = [ccw(0x42, CD, 512, DATA), ccw(0, CD | SKIP, 512, DATA + 512), ccw(0, SLI, 512, DATA + 1024)];
    let (mut disk, _file) = reading(&program);
    assert_eq!(disk.finish().subchannel, NONE);
    assert_eq!((stored(&disk), disk.get(DATA + 512, 512)), ((1024, 2), vec![0xEE; 512]));
    assert_eq!([disk.get(DATA, 512), disk.get(DATA + 1024, 512)], [block(0), block(2)]);
}

#[test]
fn what_is_stopped_is_not_stored() {
    // Performed by the kernel in spite of the cancel.
    let (mut disk, _file) = reading(&[ccw(0x42, 0, 6144, DATA)]);
    disk.step();
    disk.halt();
    disk.step();
    assert!(matches!(disk.events[..], [DeviceEvent::Halted(_)]), "{:?}", disk.events);
    assert_eq!(stored(&disk), (2048, 1));
    assert_eq!(disk.get(DATA, 6144), [&blocks(4)[..], &[0xEE; 4096][..]].concat());
}

#[test]
fn before_a_program_check_the_ranges_that_are_memory_are_stored() {
    let outside = u32::try_from(MEMORY_END).unwrap();
    let (mut disk, _file) = reading(&[ccw(0x42, CD, 512, DATA), ccw(0, CD, 512, outside - 256), ccw(0, 0, 512, DATA)]);
    assert_program_check(disk.finish(), 3);
    assert_eq!((stored(&disk), disk.get(DATA, 512)), ((512, 1), block(0)));
    assert_eq!(disk.get(outside - 256, 256), [0; 256], "nothing of a range that is not all memory");
}

#[test]
fn a_sink_that_refuses_makes_a_program_check_at_the_ccw() {
    let (mut disk, _file) = reading(&[ccw(0x42, CD, 2048, DATA), ccw(0, 0, 4096, DATA + 0x2000)]);
    disk.step();
    disk.guest.writer.refuses.store(true, Ordering::Relaxed);
    let status = disk.finish();
    assert_program_check(status, 3);
    assert_eq!(status.device, ENDED);
    assert_eq!((stored(&disk), disk.get(DATA, 2048)), ((2048, 1), blocks(4)));
    // Sense and identification go the same way.
    disk.put(0x3100, &ccw(0xE4, SLI, 16, 0x3000).to_format1());
    assert_eq!(disk.run(Orb::new(0, 0x3100)).subchannel, PGM);
    disk.guest.writer.refuses.store(false, Ordering::Relaxed);
    assert_eq!(disk.run(Orb::new(0, 0x3100)).subchannel, NONE);
    assert_eq!(disk.get(0x3000, 3), [0xFF, 0x63, 0x10]);
}

#[test]
fn mappings_that_cannot_be_guest_memory_are_refused_by_name() {
    let pages = memmap2::MmapOptions::new().len(0x4000).map_anon().unwrap();
    let host = pages.as_ptr().cast_mut();
    let range = |address, host, length| HostRange { address, host, length };
    for (ranges, says) in [
        (vec![range(0, host, 0)], "empty"),
        (vec![range(0, std::ptr::null_mut(), 0x1000)], "0x0 cannot"),
        (vec![range(0x7000, host.wrapping_add(8), 0x1000)], "guest memory at 0x7000"),
        (vec![range(u64::MAX - 0xFFF, host, 0x2000)], "past the end"),
        (vec![range(0, host, 0x2000), range(0x1000, host, 0x1000)], "intersect"),
    ] {
        // SAFETY: no byte of it is ever reached; the pages live as long as this test.
        let error = unsafe { Memory::from_host_ranges(&ranges, Arc::new(())) }.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn the_owner_of_mappings_goes_with_the_last_clone() {
    let mut pages = memmap2::MmapOptions::new().len(0x1000).map_anon().unwrap();
    let owner = Arc::new(());
    let range = HostRange { address: 0x1000, host: pages.as_mut_ptr(), length: 0x1000 };
    // SAFETY: the pages live as long as this test, which does not touch them.
    let memory = unsafe { Memory::from_host_ranges(&[range], owner.clone()) }.unwrap();
    let clone = memory.clone();
    drop(memory);
    assert_eq!(Arc::strong_count(&owner), 2);
    assert!(clone.contains(0x1000, 0x1000) && !clone.contains(0x1000, 0x1001) && !clone.contains(0xFFF, 2));
    drop(clone);
    assert_eq!(Arc::strong_count(&owner), 1);
}
