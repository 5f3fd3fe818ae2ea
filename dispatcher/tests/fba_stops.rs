// SPDX-License-Identifier: MIT OR Apache-2.0
//! Halt, clear and host errors while an operation of an FBA disk is in the kernel.

mod channel_program_support;
use channel_program_support::*;
use fctl_dispatcher::device::emulated::Limits;
use fctl_dispatcher::device::fba::{Fba, FbaConfig, FbaUnit};
use fctl_dispatcher::device::{DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::engine::Operation;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_ringabi::arch::{DeviceStatus, Orb, SubchannelStatus};
use std::sync::Arc;

/// A disk whose pieces are 2 KiB, with a read of 12 blocks begun.
fn reading() -> (Machine<FbaUnit>, tempfile::NamedTempFile) {
    let file = volume_file(64);
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    let limits = Limits::default().with_stop_grain(2048);
    let mut disk = Machine::new(Fba::with_config(volume, FbaConfig::default().with_limits(limits)).unwrap());
    let [define, locate] = disk.locate(6, 0, 12);
    disk.put_program(&[define, locate, ccw(0x42, CD, 4096, DATA), ccw(0, CC, 2048, DATA + 4096), ccw(0x03, 0, 0, 0)]);
    disk.start(Orb::new(0, PROGRAM));
    (disk, file)
}

#[test]
fn data_moves_in_pieces() {
    let (mut disk, _file) = reading();
    assert_status(disk.finish(), ENDED, NONE, 4, 0);
    assert_eq!(disk.engine.log.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [2048; 3]);
    assert_eq!(disk.get(DATA, 6144), (0..12).flat_map(block).collect::<Vec<_>>());
}

#[test]
fn halt_is_answered_when_the_operation_has_ended() {
    // Cancelled, or performed in spite of it.
    for result in [Some(Err(libc::ECANCELED)), None] {
        let (mut disk, _file) = reading();
        disk.step();
        disk.engine.injected.push_back(result);
        disk.halt();
        assert_eq!((disk.events.len(), disk.engine.cancelled), (0, 1), "no answer yet");
        disk.step();
        let halted = DeviceEvent::Halted(Status { ccw_address: PROGRAM + 24, ..Status::default() });
        assert_eq!(disk.events, [halted]);
        assert!(!disk.step());
        assert_eq!(disk.engine.log.len(), 2, "no further piece");
        assert_eq!(disk.get(DATA + 4096, 512), [0; 512]);
    }
}

#[test]
fn clear_overrides_halt_and_forgets_everything() {
    let (mut disk, _file) = reading();
    disk.halt();
    disk.clear();
    disk.halt();
    assert!(disk.events.is_empty());
    disk.step();
    assert_eq!(disk.events, [DeviceEvent::Cleared]);
    disk.events.clear();
    assert_status(disk.run_program(&[ccw(0x03, 0, 0, 0)]), ENDED, NONE, 0, 0);
}

#[test]
fn short_operations_are_continued() {
    for most in [100, 512, 1000] {
        let (mut disk, _file) = reading();
        disk.engine.most = most;
        assert_status(disk.finish(), ENDED, NONE, 4, 0);
        assert_eq!(disk.get(DATA, 6144), (0..12).flat_map(block).collect::<Vec<_>>());
    }
}

#[test]
fn host_errors_are_equipment_checks() {
    for error in [libc::EIO, libc::ENOSPC, libc::ENXIO] {
        let (mut disk, _file) = reading();
        disk.engine.injected.extend([None, Some(Err(error))]);
        // The first piece is counted, the second is not.
        assert_status(disk.finish(), CHECKED, NONE, 2, 2048);
        assert_eq!(disk.device.take_sense().map(|sense| sense.bytes()[0]), Some(0x10));
    }
    let (mut disk, file) = reading();
    file.as_file().set_len(2048).unwrap();
    assert_status(disk.finish(), CHECKED, NONE, 2, 2048);
    assert_eq!(disk.sense(), (0x10, 0), "the file got shorter");
}

#[test]
fn interrupted_operations_are_tried_again_but_not_for_ever() {
    let (mut disk, _file) = reading();
    disk.engine.injected.extend([Some(Err(libc::EINTR)); 10]);
    assert_status(disk.finish(), ENDED, NONE, 4, 0);
    // The kernel had no memory, or no thread to do it with: then it says that it was cancelled, though nobody asked for that.
    for number in [libc::ECANCELED, libc::ENOMEM] {
        let (mut disk, _file) = reading();
        disk.engine.injected.extend([Some(Err(number)); 10]);
        assert_status(disk.finish(), ENDED, NONE, 4, 0);
    }
    for number in [libc::EAGAIN, libc::ECANCELED] {
        let (mut disk, _file) = reading();
        disk.engine.injected.extend([Some(Err(number)); 100]);
        assert_eq!(disk.finish().device, CHECKED);
    }
}

#[test]
fn item_67_pci_of_a_transfer_is_told_while_it_runs() {
    let (mut disk, _file) = fba(16);
    let [define, locate] = disk.locate(6, 0, 1);
    let status = disk.run_program(&[define, locate, ccw(0x42, CC | PCI, 512, DATA), ccw(0x03, 0, 0, 0)]);
    assert_status(status, ENDED, NONE, 3, 0);
    let [DeviceEvent::Intermediate(told), DeviceEvent::Ended(_)] = disk.events[..] else { panic!("{:?}", disk.events) };
    assert_status(told, DeviceStatus::empty(), SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, 2, 0);
}

#[test]
fn a_halt_during_the_sync_waits_for_it() {
    let (mut disk, _file) = fba(16);
    let [define, locate] = disk.locate(5, 0, 4);
    disk.put_program(&[define, locate, ccw(0x41, SLI, 0, 0)]);
    disk.start(Orb::new(0, PROGRAM));
    disk.step();
    assert!(matches!(disk.engine.log[..], [(Operation::Zero { .. }, _), (Operation::Sync { .. }, _)]));
    disk.halt();
    assert!(disk.events.is_empty());
    disk.step();
    assert!(matches!(disk.events[..], [DeviceEvent::Halted(_)]));
}
