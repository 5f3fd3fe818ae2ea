// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bad input of every sort gives an error that names the thing, its value and what is accepted; nothing else is disturbed.

mod common;

use common::scripted::{accepted, ended, final_of, final_tags, finals, plain, ssch, told, Call, Rig};
use common::{id, TestGuest};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceEvent};
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionError, RegionWords};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{affinity, AttachError, BuildError, Builder, RingEnds, SubchannelOptions};
use fctl_ringabi::arch::{Orb, OrbControl, Pmcw, PmcwCharacteristics, PmcwFlags, SubsystemId};
use fctl_ringabi::header::word;
use fctl_ringabi::{
    CompletionKind, Descriptor, DescriptorError, DescriptorFlags, Disposition, Header, HeaderError, Operation, PostError,
    Producer, RingSizes, Violation, WordMemory,
};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::sync::atomic::Ordering;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

const NONE: Capabilities = Capabilities::empty();

/// The text of an error, checked to name all of this.
fn names(error: &dyn std::error::Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "“{text}” does not name {part}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Regions and headers

fn memfd(flags: MemfdFlags, bytes: u64) -> File {
    let file = File::from(rustix::fs::memfd_create("fctl-bad-input", flags | MemfdFlags::CLOEXEC).unwrap());
    file.set_len(bytes).unwrap();
    file
}

#[test]
fn a_region_must_be_sealed_against_shrinking_and_growing() {
    let file = memfd(MemfdFlags::ALLOW_SEALING, 1 << 16);
    let error = Region::from_memory_file(&file, 0, 1 << 16).unwrap_err();
    names(&error, &["not sealed", "F_SEAL_SHRINK", "F_SEAL_GROW"]);
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let error = Region::from_memory_file(&file, 0, 1 << 16).unwrap_err();
    assert!(matches!(error, RegionError::Unsealed { found } if found == SealFlags::SHRINK), "{error}");
    names(&error, &["SHRINK", "F_SEAL_GROW"]);
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    Region::from_memory_file(&file, 0, 1 << 16).unwrap();

    let error = Region::from_memory_file(&memfd(MemfdFlags::empty(), 1 << 16), 0, 1 << 16).unwrap_err();
    names(&error, &["seal", "F_SEAL_SHRINK"]);
    let no_memory_file = File::open(std::env::current_exe().unwrap()).unwrap();
    let error = Region::from_memory_file(&no_memory_file, 0, 4096).unwrap_err();
    names(&error, &["memory file", "sealed", "F_SEAL_SHRINK", "F_SEAL_GROW"]);
}

#[test]
fn a_region_must_be_aligned_and_inside_its_file() {
    let file = sealed_memory_file("fctl-bad-input", 1 << 16).unwrap();
    for offset in [1, 8, 64, 127, 129] {
        let error = Region::from_memory_file(&file, offset, 4096).unwrap_err();
        names(&error, &["offset", &format!("{offset:#x}"), "128"]);
    }
    Region::from_memory_file(&file, 128, 4096).unwrap();
    for (offset, bytes) in [(0, (1 << 16) + 1), (1 << 16, 1), (128, u64::MAX), (!127, 256)] {
        let error = Region::from_memory_file(&file, offset, bytes).unwrap_err();
        names(&error, &[&offset.to_string(), &bytes.to_string(), "65536"]);
    }
    // None at all is no region, whoever finds that out.
    if let Ok(region) = Region::from_memory_file(&file, 0, 0) {
        names(&Header::read(region.words()).unwrap_err(), &["too small", "0 bytes", "1024"]);
    }

    let guest = TestGuest::new(RingSizes::new(64));
    let error = Region::from_guest_memory(&guest.memory, 0x1008, 4096).unwrap_err();
    names(&error, &["guest address", "0x1008", "128"]);
    for (address, bytes) in [(common::MEMORY_BYTES - 128, 256), (!127, 4096), (0, u64::MAX)] {
        let error = Region::from_guest_memory(&guest.memory, address, bytes).unwrap_err();
        names(&error, &[&address.to_string(), &bytes.to_string(), &common::MEMORY_BYTES.to_string()]);
    }
    Region::from_guest_memory(&guest.memory, 0x1000, 4096).unwrap();
}

/// A rig, and a second formatted region that the test may spoil before it is attached.
fn attach_spoiled(spoil: impl FnOnce(&RegionWords)) -> AttachError {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.stage.answer_at_once(1, Operation::Start);
    let before = rig.reactor.inventory();
    let victim = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(victim.memory.clone());
    spoil(victim.region.words());
    let error = rig.reactor.attach_ring(guest, victim.ends()).unwrap_err();
    // Nothing is left of the attempt, and the other guest goes on.
    rig.reactor.detach_guest(guest).unwrap();
    assert_eq!(rig.reactor.inventory(), before);
    rig.post(&[ssch(1, 0, 5)]);
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [5]);
    error
}

fn header_word(index: usize, change: impl FnOnce(u64) -> u64) -> impl FnOnce(&RegionWords) {
    move |words| words.store(index, change(words.load(index, Ordering::Relaxed)), Ordering::Relaxed)
}

#[test]
fn a_ring_of_other_magic_or_version_or_with_unknown_features_is_not_attached() {
    names(&attach_spoiled(header_word(0, |_| 0)), &["magic", "0x0000000000000000", "FCTLRING"]);
    names(&attach_spoiled(header_word(0, |magic| magic ^ 1)), &["magic", "FCTLRING"]);
    names(&attach_spoiled(header_word(1, |version| version + 1)), &["version", "2.0", "1.x"]);
    names(&attach_spoiled(header_word(1, |version| version & !0xFFFF)), &["version", "0.0", "1.x"]);
    names(&attach_spoiled(header_word(2, |_| 0x8000_0000_0000_0001)), &["features", "0x8000000000000001", "0x0"]);
    names(&attach_spoiled(header_word(1, |version| version & 0xFFFF_FFFF | 64 << 32)), &["header length", "64", "1024"]);
    names(&attach_spoiled(header_word(11, |_| 77)), &["clock", "77", "0", "1"]);
}

#[test]
fn optional_features_and_a_later_minor_version_are_accepted() {
    let mut rig = Rig::small();
    let other = TestGuest::new(RingSizes::new(64));
    let words = other.region.words();
    words.store(1, words.load(1, Ordering::Relaxed) | 9 << 16, Ordering::Relaxed);
    words.store(3, u64::MAX, Ordering::Relaxed);
    rig.reactor.attach_ring(rig.guest_id, other.ends()).unwrap();
}

#[test]
fn ring_sizes_against_the_rules_are_neither_formatted_nor_attached() {
    let sizes = |submission_entries, completion_entries, reserve| RingSizes {
        submission_entries,
        completion_entries,
        reserve,
        ..RingSizes::new(64)
    };
    let cases = [
        (sizes(0, 64, 8), ["submission entries", "0", "power of two"]),
        (sizes(4, 64, 8), ["submission entries", "4", "from 8 to 65536"]),
        (sizes(48, 256, 8), ["submission entries", "48", "power of two"]),
        (sizes(1 << 17, 1 << 19, 8), ["submission entries", "131072", "65536"]),
        (sizes(u32::MAX, 64, 8), ["submission entries", "4294967295", "65536"]),
        (sizes(64, 64, 8), ["completion entries", "64", "twice the submission entries"]),
        (sizes(64, 192, 8), ["completion entries", "192", "power of two"]),
        (sizes(64, 1 << 20, 8), ["completion entries", "1048576", "524288"]),
        (sizes(64, 0, 8), ["completion entries", "0", "power of two"]),
        (sizes(64, 256, 7), ["reserve", "7", "8"]),
        (sizes(64, 256, 129), ["reserve", "129", "half the completion entries"]),
    ];
    for (sizes, parts) in cases {
        names(&Header::layout(sizes).unwrap_err(), &parts);
        let error = attach_spoiled(|words| {
            let RingSizes { submission_entries, completion_entries, reserve, .. } = sizes;
            words.store(4, u64::from(submission_entries) | u64::from(completion_entries) << 32, Ordering::Relaxed);
            words.store(6, 64 | u64::from(reserve) << 32, Ordering::Relaxed);
        });
        names(&error, &parts);
    }
}

#[test]
fn areas_outside_the_region_or_over_one_another_are_refused() {
    let region = common::MEMORY_OFFSET;
    for (index, name) in [(7, "submission ring offset"), (8, "completion ring offset"), (9, "extension offset")] {
        for bad in [0, 512, region, region - 128, !127, u64::MAX] {
            names(&attach_spoiled(header_word(index, |_| bad)), &[name, &bad.to_string()]);
        }
        names(&attach_spoiled(header_word(index, |offset| offset + 8)), &[name, "multiple of 128"]);
    }
    let error = attach_spoiled(|words| words.store(8, words.load(7, Ordering::Relaxed), Ordering::Relaxed));
    names(&error, &["offset", "overlaps"]);
    for (index, shift) in [(5, 0), (5, 32), (6, 0)] {
        for stride in [0u64, 32, 65, 4160, 0xFFFF_FFC0] {
            let error = attach_spoiled(header_word(index, |word| word & !(0xFFFF_FFFF << shift) | stride << shift));
            names(&error, &["stride", &stride.to_string(), "64 to 4096"]);
        }
    }
    names(&attach_spoiled(header_word(10, |_| u64::MAX)), &["too small", &u64::MAX.to_string()]);
}

#[test]
fn a_region_that_is_too_small_for_its_rings_is_refused() {
    let header = Header::layout(RingSizes::new(64)).unwrap();
    let file = sealed_memory_file("fctl-bad-input", 1 << 16).unwrap();
    let small = Region::from_memory_file(&file, 0, header.region_bytes() - 128).unwrap();
    let error = header.format(small.words()).unwrap_err();
    names(&error, &["too small", &(header.region_bytes() - 128).to_string(), &header.region_bytes().to_string()]);

    // Formatted whole, attached in part.
    header.format(Region::from_memory_file(&file, 0, 1 << 16).unwrap().words()).unwrap();
    let mut rig = Rig::small();
    for bytes in [512, 1024, 4096, header.region_bytes() - 128] {
        let ends = RingEnds {
            region: Region::from_memory_file(&file, 0, bytes).unwrap(),
            doorbell: EventFd::new(EFD_CLOEXEC).unwrap(),
            notification: EventFd::new(EFD_CLOEXEC).unwrap(),
        };
        let error = rig.reactor.attach_ring(rig.guest_id, ends).unwrap_err();
        assert!(matches!(error, AttachError::Header(HeaderError::RegionTooSmall { .. })), "{error}");
        names(&error, &["too small", &bytes.to_string()]);
    }
    assert_eq!(rig.reactor.inventory().rings, 1);
}

/// The dispatcher works with its copy of the header.
#[test]
fn a_header_that_is_changed_after_attachment_changes_nothing() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.stage.answer_at_once(1, Operation::Start);
    for index in 0..13 {
        rig.guest.region.words().store(index, u64::MAX, Ordering::Relaxed);
    }
    for tag in 0..200 {
        rig.post(&[ssch(1, 0, tag)]);
        rig.turns();
        assert_eq!(final_tags(&rig.completions()), [tag]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Descriptors

/// Two rings of one guest: subchannel 1 at home on the first, 2 on the second, 3 not enabled, on the first.
fn two_rings() -> (Rig, TestGuest) {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    let other = TestGuest::new(RingSizes::new(64));
    let ring = rig.reactor.attach_ring(rig.guest_id, other.ends()).unwrap();
    let device = rig.stage.device(2, NONE);
    rig.reactor.attach_subchannel(ring, id(2), SubchannelOptions::new(2), device).unwrap();
    let device = rig.stage.device(3, NONE);
    let options = SubchannelOptions::new(3).with_enabled(false);
    rig.reactor.attach_subchannel(rig.ring, id(3), options, device).unwrap();
    (rig, other)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Cc(u8),
    Interruption(u16),
    NoInstruction(DescriptorError),
}

fn verdict_of(completion: &fctl_ringabi::Completion) -> Verdict {
    match completion.disposition() {
        Some(Disposition::Executed) => Verdict::Cc(completion.cc),
        Some(Disposition::ProgramInterruption) => Verdict::Interruption(completion.code),
        Some(Disposition::DescriptorError) => Verdict::NoInstruction(DescriptorError::from_code(completion.code).unwrap()),
        other => panic!("{other:?} in {completion:?}"),
    }
}

/// Posts one descriptor, with and without *accepted*; it must be decided in that turn and reach no device.
fn verdict(rig: &mut Rig, descriptor: Descriptor) -> Verdict {
    let mut verdicts = Vec::new();
    for ask in [false, true] {
        let mut descriptor = Descriptor { tag: 0xBAD, ..descriptor };
        if ask {
            descriptor.flags |= DescriptorFlags::ACCEPTED.bits();
        }
        let seen = rig.batch(&[descriptor]);
        let end = final_of(&seen, 0xBAD);
        assert_eq!(end.subsystem, descriptor.subsystem);
        assert!(seen.len() <= 1 + usize::from(ask), "{seen:?}");
        assert_eq!(rig.stage.take_calls(), [], "{descriptor:?}");
        verdicts.push(verdict_of(&end));
    }
    assert_eq!(verdicts[0], verdicts[1]);
    verdicts[0]
}

#[test]
fn what_is_no_instruction_is_answered_and_disturbs_nothing() {
    let (mut rig, _other) = two_rings();
    let good = ssch(1, 0, 0);
    use Verdict::NoInstruction as No;
    for operation in [0u8, 9, 10, 0x7F, 0x80, 0xFF] {
        assert_eq!(verdict(&mut rig, Descriptor { operation, ..good }), No(DescriptorError::UnknownOperation));
    }
    for bit in 3..8 {
        assert_eq!(verdict(&mut rig, Descriptor { flags: 1 << bit, ..good }), No(DescriptorError::ReservedFlags));
    }
    for bit in 0..16 {
        assert_eq!(verdict(&mut rig, Descriptor { reserved: 1 << bit, ..good }), No(DescriptorError::ReservedField));
    }
    for bit in 0..32 {
        assert_eq!(verdict(&mut rig, Descriptor { order: 1 << bit, ..good }), No(DescriptorError::ReservedField));
    }
    for operation in Operation::ALL {
        let elsewhere = match operation {
            Operation::Start => ssch(2, 0, 0),
            Operation::Modify => Descriptor::by_address(Operation::Modify, id(2), 0x8000, 0),
            other => plain(other, 2, 0),
        };
        assert_eq!(verdict(&mut rig, elsewhere), No(DescriptorError::WrongRing), "{operation:?}");
    }
    assert_eq!(verdict(&mut rig, plain(Operation::Modify, 1, 0)), No(DescriptorError::OperandPlace));
    let schib = rig.schib(1);
    assert_eq!((schib.scsw.to_words(), schib.pmcw.intparm()), ([0; 3], 0), "no trace");
    names(&DescriptorError::UnknownOperation, &["operation", "1 (SSCH) to 8 (TSCH)"]);
    names(&DescriptorError::ReservedFlags, &["flags", "0x01, 0x02 and 0x04"]);
    names(&DescriptorError::ReservedField, &["bytes 6 and 7", "order word"]);
    assert_eq!(rig.batch(&[good]), []);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0))], "all is well with it");
}

#[test]
fn a_subchannel_that_does_not_exist_is_condition_code_3() {
    let (mut rig, _other) = two_rings();
    let schib = rig.schib(1);
    for missing in [id(77), id(0xFFFF), SubsystemId::new(1, 1), SubsystemId::new(3, 2)] {
        for operation in Operation::ALL {
            let descriptor = match operation {
                Operation::Start => Descriptor::start(missing, &Orb::new(1, 0x1000), 0),
                Operation::Modify => Descriptor { subsystem: missing.word(), ..rig.msch(1, &schib, 0) },
                other => Descriptor::new(other, missing, 0),
            };
            assert_eq!(verdict(&mut rig, descriptor), Verdict::Cc(3), "{operation:?} {:#010x}", missing.word());
        }
    }
}

#[test]
fn a_subsystem_identification_word_against_the_rules_is_an_operand_exception() {
    let (mut rig, _other) = two_rings();
    for word in [0x0000_0001, 0x0011_0001, 0x0101_0001, 0x00F1_0001, 0, !0x0001_0000] {
        for operation in
            [Operation::Start, Operation::Halt, Operation::Clear, Operation::Cancel, Operation::Store, Operation::Test]
        {
            let descriptor = Descriptor { subsystem: word, operation: operation as u8, ..ssch(1, 0, 0) };
            assert_eq!(verdict(&mut rig, descriptor), Verdict::Interruption(0x15), "{operation:?} {word:#010x}");
        }
    }
}

#[test]
fn an_orb_against_the_rules_is_an_operand_exception() {
    let (mut rig, _other) = two_rings();
    let good = Orb::new(0x1234, 0x1000);
    let [intparm, control, cpa] = good.to_words();
    let mut bad: Vec<Orb> = (26..=30).map(|bit| Orb::from_words([intparm, control | 0x8000_0000 >> bit, cpa])).collect();
    bad.push(good.with_control(OrbControl::TRANSPORT));
    bad.push(Orb::from_words([intparm, control, cpa | 0x8000_0000]));
    bad.push(Orb::from_words([u32::MAX; 3]));
    for orb in bad {
        // §2.1: the operand is looked at before condition code 3 is given.
        for number in [1, 3, 77] {
            let inline = Descriptor::start(id(number), &orb, 0);
            assert_eq!(verdict(&mut rig, inline), Verdict::Interruption(0x15), "{orb:?} subchannel {number}");
            rig.guest.memory.store(0x4000, &orb.to_bytes()).unwrap();
            let by_address = Descriptor::by_address(Operation::Start, id(number), 0x4000, 0);
            assert_eq!(verdict(&mut rig, by_address), Verdict::Interruption(0x15), "{orb:?} by address");
        }
    }
    assert_eq!(rig.schib(1).pmcw.intparm(), 0, "no trace");
    assert_eq!(verdict(&mut rig, ssch(3, 0, 0)), Verdict::Cc(3), "not enabled");
    // The same by address, when it is good.
    rig.guest.memory.store(0x4000, &good.to_bytes()).unwrap();
    rig.post(&[Descriptor::by_address(Operation::Start, id(1), 0x4000, 9)]);
    rig.reactor.turn(64);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0x1234))]);
}

#[test]
fn an_operands_address_must_be_aligned_and_inside_guest_memory() {
    let (mut rig, _other) = two_rings();
    let orb = Orb::new(1, 0x1000);
    for operation in [Operation::Start, Operation::Modify] {
        for address in [0x4001, 0x4002, 0x4003, u64::MAX] {
            let _ = rig.guest.memory.store(address, &orb.to_bytes());
            let descriptor = Descriptor::by_address(operation, id(1), address, 0);
            assert_eq!(verdict(&mut rig, descriptor), Verdict::Interruption(6), "{operation:?} at {address:#x}");
        }
        for address in [common::MEMORY_BYTES, common::MEMORY_BYTES - 8, u64::MAX - 3, 1 << 63] {
            let descriptor = Descriptor::by_address(operation, id(1), address, 0);
            assert_eq!(verdict(&mut rig, descriptor), Verdict::Interruption(5), "{operation:?} at {address:#x}");
        }
    }
}

#[test]
fn a_schib_against_the_rules_is_an_operand_exception() {
    let (mut rig, _other) = two_rings();
    let good = rig.schib(1);
    let flags = |pmcw: &mut Pmcw, bits: u16| pmcw.set_flags(pmcw.flags() | PmcwFlags::from_bits_retain(bits));
    let mut bad = Vec::new();
    for bits in [0x8000, 0x4000, 0x0200, 0x0100, 0x0060] {
        let mut schib = good;
        flags(&mut schib.pmcw, bits);
        bad.push(schib);
    }
    for bit in (0..8).chain(11..=28).chain([30]) {
        let mut schib = good;
        schib.pmcw.set_characteristics(PmcwCharacteristics::from_bits_retain(0x8000_0000 >> bit));
        bad.push(schib);
    }
    let mut schib = good;
    schib.pmcw.set_characteristics(PmcwCharacteristics::MEASUREMENT_FORMAT_1);
    schib.set_mba(0x1020);
    bad.push(schib);
    for mut schib in bad {
        schib.pmcw.set_intparm(0xFFFF_FFFF);
        for number in [1, 3] {
            let descriptor = rig.msch(number, &schib, 0);
            assert_eq!(verdict(&mut rig, descriptor), Verdict::Interruption(0x15), "{schib:?}");
        }
    }
    assert_eq!(rig.schib(1), good, "no trace");
    // Item 6 of §8: bit 5 is ignored, and stored as zero.
    let mut schib = good;
    flags(&mut schib.pmcw, 0x0400);
    let modify = rig.msch(1, &schib, 0);
    assert_eq!(verdict(&mut rig, modify), Verdict::Cc(0));
    assert_eq!(rig.schib(1), good);
}

/// A bad descriptor that asks for *accepted* uses as many completions as it was charged: else the guest's credit would leak away.
#[test]
fn bad_descriptors_do_not_use_up_the_guests_credit() {
    let (mut rig, _other) = two_rings();
    let bad = [
        Descriptor { operation: 0, ..ssch(1, 0, 0) },
        Descriptor { flags: 0x80, ..ssch(1, 0, 0) },
        Descriptor { order: 1, ..ssch(1, 0, 0) },
        Descriptor { subsystem: 0, ..ssch(1, 0, 0) },
        ssch(2, 0, 0),
        ssch(77, 0, 0),
        plain(Operation::Modify, 1, 0),
        plain(Operation::Cancel, 1, 0),
        Descriptor::by_address(Operation::Start, id(1), u64::MAX - 3, 0),
        Descriptor::start(id(1), &Orb::from_words([u32::MAX; 3]), 0),
    ];
    for one in bad {
        // Four times the completion ring.
        for round in 0..1024 {
            let descriptor = told(one);
            if let Err(error) = rig.guest.poster.stage(&descriptor) {
                panic!("{error} in round {round} of {descriptor:?}");
            }
            rig.guest.publish();
            rig.reactor.turn(64);
            assert_eq!(finals(&rig.completions()).len(), 1);
        }
    }
}

#[test]
fn guest_memory_must_be_a_sealed_memory_file_that_has_all_of_it() {
    let range = |offset, length| [FileRange { address: 0x10_0000, offset, length }];
    let unsealed = memfd(MemfdFlags::ALLOW_SEALING, 1 << 20);
    let error = Memory::from_file(&unsealed, &range(0, 4096)).unwrap_err();
    names(&error, &["0x100000", "not sealed", "F_SEAL_SHRINK and F_SEAL_GROW"]);
    rustix::fs::fcntl_add_seals(&unsealed, SealFlags::SHRINK).unwrap();
    let error = Memory::from_file(&unsealed, &range(0, 4096)).unwrap_err();
    names(&error, &["not sealed", "SHRINK", "F_SEAL_GROW"]);
    let plain_file = tempfile::tempfile().unwrap();
    plain_file.set_len(1 << 20).unwrap();
    let error = Memory::from_file(&plain_file, &range(0, 4096)).unwrap_err();
    names(&error, &["no memory file", "memfd"]);
    let sealed = sealed_memory_file("fctl-bad-input", 1 << 20).unwrap();
    assert!(Memory::from_file(&sealed, &range(4096, (1 << 20) - 4096)).is_ok());
    for (offset, length) in [(4096, 1 << 20), (1 << 20, 4096), (u64::MAX - 4095, 4096), (0, (1 << 20) + 1)] {
        let error = Memory::from_file(&sealed, &range(offset, length)).unwrap_err();
        names(&error, &[&offset.to_string(), &length.to_string(), "1048576"]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Rings that break the protocol

/// A poster that respects nothing: no credit, no reserve.
fn hostile(guest: &TestGuest) -> Producer<RegionWords, 8> {
    let words = guest.region.words().clone();
    let header = Header::read(&words).unwrap();
    Producer::new(words, header.submission_lane(), word::SQ_HEAD, 0, 0)
}

#[test]
fn a_lap_from_nowhere_fences_its_ring_and_no_other() {
    let (mut rig, mut other) = two_rings();
    let mut third = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(third.memory.clone());
    let ring = rig.reactor.attach_ring(guest, third.ends()).unwrap();
    rig.reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    rig.post(&[ssch(1, 0, 1)]);
    rig.reactor.turn(64);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0))]);

    let header = Header::read(rig.guest.region.words()).unwrap();
    rig.guest.region.words().store(header.submission_lane().word(1), 0x0000_0001_0000_0007, Ordering::Release);
    rig.reactor.turn(64);
    let expected = Violation::Lap { position: 1, found: 7, expected: 1 };
    assert_eq!(rig.stage.take_calls(), [(1, Call::Clear)], "its I/O is stopped");
    let status = rig.reactor.ring_status(rig.ring).unwrap();
    assert_eq!((status.serving, status.fenced, status.owed), (false, Some(expected), 1));
    names(&expected, &["position 1", "lap 7", "1"]);
    let reason = Some(expected.fence_reason());
    assert_eq!((rig.guest.reader.fenced(), rig.guest.poster.fenced()), (reason, reason));
    let mut refused = None;
    for _ in 0..65 {
        refused = rig.guest.poster.post(&ssch(1, 0, 9)).err().or(refused);
    }
    assert_eq!(refused, Some(PostError::Fenced(expected.fence_reason())));
    assert_eq!(rig.reactor.counters().fenced, 1);

    // What it had taken is accounted for, though nothing is written to the ring any more.
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    assert_eq!(rig.completions(), []);
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.unstored, counters.stopped_active), (1, 1, 1, 1));
    assert_eq!(rig.reactor.ring_status(rig.ring).unwrap().owed, 0);

    // The same guest's other ring, and another guest's.
    rig.stage.answer_at_once(2, Operation::Start);
    for tag in 0..100 {
        other.poster.post(&ssch(2, 0, tag)).unwrap();
        third.poster.post(&ssch(1, 0, tag)).unwrap();
        rig.turns();
        for guest in [&mut other, &mut third] {
            assert_eq!(guest.reader.take().unwrap().map(|found| (found.0.tag, found.0.cc)), Some((tag, 0)));
        }
    }
    let device = rig.stage.device(8, NONE);
    let error = rig.reactor.attach_subchannel(rig.ring, id(8), SubchannelOptions::new(8), device).unwrap_err();
    names(&error, &["fenced"]);
    // A fenced ring can be taken away, and the guest can have its subchannels back on a fresh one.
    rig.reactor.detach_ring(rig.ring, None, Box::new(|busy| assert_eq!(busy, [0; 0]))).unwrap();
    assert!(rig.reactor.settle(100));
    rig.turns();
    assert_eq!((rig.reactor.inventory().rings, rig.reactor.ring_status(rig.ring)), (2, None));
    assert_eq!(rig.stage.gone(), [1, 3, 8]);
}

/// SPEC 10.1: a fenced ring is never written again, whatever becomes of it.
#[test]
fn a_fenced_ring_that_is_detached_gets_no_completion_any_more() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.batch(&[ssch(1, 0, 1)]);
    let header = Header::read(rig.guest.region.words()).unwrap();
    rig.guest.region.words().store(header.submission_lane().word(1), 7, Ordering::Release);
    rig.reactor.turn(64);
    assert!(rig.guest.reader.fenced().is_some());
    rig.reactor.detach_ring(rig.ring, None, Box::new(|_| {})).unwrap();
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    assert_eq!(rig.completions(), []);
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.unstored), (1, 1, 1));
}

/// Looks at a ring when it is started: how many completions a guest that sees the fence finds there.
struct Onlooker {
    words: RegionWords,
    seen: std::sync::Arc<std::sync::Mutex<Vec<(bool, usize)>>>,
}

fn completions_in(words: &RegionWords) -> usize {
    let header = Header::read(words).unwrap();
    let lane = header.completion_lane();
    (0..64).take_while(|&position| words.load(lane.word(position), Ordering::Acquire) & 0xFFFF_FFFF == 1).count()
}

impl fctl_dispatcher::device::SubchannelDevice for Onlooker {
    fn capabilities(&self) -> Capabilities {
        NONE
    }

    fn start(&mut self, cx: &mut fctl_dispatcher::device::DeviceContext<'_>, _orb: &Orb) {
        let fenced = self.words.load(word::FENCE, Ordering::Acquire) != 0;
        self.seen.lock().unwrap().push((fenced, completions_in(&self.words)));
        cx.events.push(ended(0x1008));
    }

    fn halt(&mut self, _cx: &mut fctl_dispatcher::device::DeviceContext<'_>) {}

    fn clear(&mut self, cx: &mut fctl_dispatcher::device::DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }
}

#[test]
fn nothing_is_published_after_the_fence() {
    let (mut rig, mut other) = two_rings();
    let seen = std::sync::Arc::default();
    let onlooker = Onlooker { words: rig.guest.region.words().clone(), seen: std::sync::Arc::clone(&seen) };
    let third = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(third.memory.clone());
    let ring = rig.reactor.attach_ring(guest, third.ends()).unwrap();
    rig.reactor.attach_subchannel(ring, id(9), SubchannelOptions::new(9), Box::new(onlooker)).unwrap();
    let mut third = third;
    third.poster.post(&ssch(9, 0, 1)).unwrap();
    other.poster.post(&plain(Operation::Store, 2, 1)).unwrap();
    rig.post(&[plain(Operation::Store, 1, 1), plain(Operation::Store, 1, 2)]);
    let header = Header::read(rig.guest.region.words()).unwrap();
    rig.guest.region.words().store(header.submission_lane().word(2), 0x7777, Ordering::Release);
    // The onlooker is started after the intake that fences, and before the turn's end.
    rig.turns();
    let (fenced, then) = seen.lock().unwrap()[0];
    assert!(fenced);
    assert_eq!(completions_in(rig.guest.region.words()), then, "what is there when the fence is seen is all there will be");
    assert_eq!(final_tags(&rig.completions()), [1, 2], "what was decided before is told");
}

/// The reason is in the handle's answer as well, from a running dispatcher.
#[test]
fn the_handle_tells_why_a_ring_is_fenced() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(8));
    let (_, ring) = guest.attach(&handle);
    handle.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    let header = Header::read(guest.region.words()).unwrap();
    guest.region.words().store(header.submission_lane().word(0), 0xFFFF_FFFF, Ordering::Release);
    guest.doorbell.write(1).unwrap();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while guest.reader.fenced().is_none() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let status = handle.ring_status(ring).unwrap().unwrap();
    assert_eq!(status.fenced, Some(Violation::Lap { position: 0, found: u32::MAX, expected: 1 }));
    assert!(!status.serving);
    assert_eq!(guest.poster.fenced(), Some(1));
    assert_eq!(guest.reader.take().unwrap(), None);
}

#[test]
fn a_completion_head_from_nowhere_fences_the_ring() {
    for head in [u64::MAX, 1 << 40, 100_000] {
        let mut rig = Rig::new(Builder::default(), RingSizes::new(8));
        rig.attach(1, NONE, StatusMode::Delivered);
        let mut poster = hostile(&rig.guest);
        rig.guest.region.words().store(word::CQ_HEAD, head, Ordering::Release);
        // The dispatcher looks at the head when the completion ring may be full, so it has to be filled.
        for tag in 0..64 {
            if poster.room(1).unwrap() == 0 || poster.stage(plain(Operation::Store, 1, tag).to_words()).is_err() {
                break;
            }
            poster.publish();
            rig.reactor.turn(64);
        }
        rig.turns();
        let fenced = rig.reactor.ring_status(rig.ring).unwrap().fenced;
        let Some(violation @ Violation::Head { found, .. }) = fenced else { panic!("{fenced:?}") };
        assert_eq!((found, violation.fence_reason()), (head, 2));
        names(&violation, &["head", &head.to_string()]);
        assert_eq!(rig.guest.reader.fenced(), Some(2));
        let counters = rig.reactor.counters();
        assert_eq!(counters.taken, counters.finals);
    }
}

/// The ledger has every descriptor that was taken, also those of the turn in which the ring was fenced.
#[test]
fn descriptors_taken_in_the_turn_that_fences_are_accounted_for() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.attach(2, NONE, StatusMode::Delivered);
    rig.post(&[ssch(1, 0, 1), plain(Operation::Store, 1, 2), ssch(1, 0, 3), plain(Operation::Halt, 2, 4)]);
    let header = Header::read(rig.guest.region.words()).unwrap();
    rig.guest.region.words().store(header.submission_lane().word(4), 0x7777, Ordering::Release);
    rig.reactor.turn(64);
    assert!(rig.reactor.ring_status(rig.ring).unwrap().fenced.is_some());
    rig.turns();
    let calls = rig.stage.take_calls();
    assert!(calls.iter().all(|call| call.1 == Call::Clear), "what the fence overtook reaches no device: {calls:?}");
    for number in [1, 2] {
        rig.stage.tell(number, DeviceEvent::Cleared);
    }
    rig.turns();
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.starts), (4, 4, 2), "{counters:?}");
    assert_eq!(rig.reactor.ring_status(rig.ring).unwrap().owed, 0);
    assert_eq!((counters.merged_away, counters.refused), (1, 1), "{counters:?}");
}

/// Rule 1: who takes more than he has room for stalls only himself, and goes on when he makes room.
#[test]
fn a_guest_that_overdraws_its_completion_ring_stalls_only_itself() {
    let sizes = RingSizes { completion_entries: 32, ..RingSizes::new(16) };
    let mut rig = Rig::new(Builder::default(), sizes);
    for number in 0..8 {
        rig.attach(number, NONE, StatusMode::Delivered);
        rig.stage.answer_at_once(number, Operation::Start);
    }
    let mut other = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(other.memory.clone());
    let ring = rig.reactor.attach_ring(guest, other.ends()).unwrap();
    rig.reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(0), Box::new(Null)).unwrap();

    let mut poster = hostile(&rig.guest);
    let mut posted = 0u64;
    let mut seen = Vec::new();
    let mut starts_alone = 0;
    for round in 0..60u64 {
        while poster.room(1).unwrap() > 0 {
            let number = u16::try_from(posted % 8).unwrap();
            let descriptor =
                if posted % 3 == 0 { told(ssch(number, 0, posted)) } else { plain(Operation::Store, number, posted) };
            poster.stage(descriptor.to_words()).unwrap();
            posted += 1;
        }
        poster.publish();
        // Meanwhile the other guest is served as ever.
        other.poster.post(&ssch(0, 0, round)).unwrap();
        rig.turns();
        let (end, _) = other.reader.take().unwrap().expect("its final");
        assert_eq!((end.kind(), end.tag), (Some(CompletionKind::Final), round));
        starts_alone = round;
        // The guest reads nothing for the first rounds, then now and then.
        if round > 10 && round % 2 == 0 {
            seen.extend(rig.completions());
        }
    }
    assert!(starts_alone == 59 && posted > 200, "it went on: {posted}");
    let counters = rig.reactor.counters();
    assert!(counters.stalls > 0);
    assert_eq!((counters.fenced, counters.unstored), (0, 0));
    for _ in 0..50 {
        rig.turns();
        seen.extend(rig.completions());
        rig.guest.reader.give_back();
    }
    let mut tags = final_tags(&seen);
    tags.sort_unstable();
    assert_eq!(tags, (0..posted).collect::<Vec<_>>(), "each has its one final");
    let told_tags: Vec<u64> = accepted(&seen).iter().map(|one| one.0).collect();
    assert_eq!(told_tags, (0..posted).filter(|tag| tag % 3 == 0).collect::<Vec<_>>());
    assert_eq!(rig.reactor.ring_status(rig.ring).unwrap().owed, 0);
}

/// "When there is no room the status stays pending and condition code 1 is visible."
#[test]
fn status_without_room_is_kept_until_there_is_room() {
    let sizes = RingSizes { completion_entries: 16, ..RingSizes::new(8) };
    let mut rig = Rig::new(Builder::default(), sizes);
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.attach(2, NONE, StatusMode::Delivered);
    let mut poster = hostile(&rig.guest);
    let mut post = |rig: &mut Rig, descriptor: Descriptor| {
        if poster.room(1).unwrap() > 0 && poster.stage(descriptor.to_words()).is_ok() {
            poster.publish();
        }
        rig.reactor.turn(64);
    };
    post(&mut rig, ssch(1, 0x42, 1000));
    for tag in 0..40 {
        post(&mut rig, plain(Operation::Store, 2, tag));
    }
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(rig.completions());
        rig.guest.reader.give_back();
        rig.turns();
    }
    let end = final_of(&seen, 1000);
    assert_eq!((end.cc, end.intparm, end.scsw.control_word() & 0x7FFF), (0, 0x42, 0x4007));
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.unstored), (counters.finals, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Rule 4: whatever a guest writes into its region, nothing panics, nothing loops, and the others are served.
    #[test]
    fn random_words_in_a_region_harm_their_author_only(
        writes in prop::collection::vec((0usize..600, prop_oneof![any::<u64>(), 0u64..4, Just(u64::MAX), Just(1u64 << 32 | 1)]), 1..120)
    ) {
        let mut rig = Rig::new(Builder::default(), RingSizes::new(8));
        for number in 0..4 {
            rig.attach(number, if number % 2 == 0 { Capabilities::ENGINE } else { NONE }, StatusMode::Delivered);
        }
        let mut other = TestGuest::new(RingSizes::new(64));
        let guest = rig.reactor.attach_guest(other.memory.clone());
        let ring = rig.reactor.attach_ring(guest, other.ends()).unwrap();
        rig.reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(0), Box::new(Null)).unwrap();
        rig.post(&[ssch(0, 0, 1), ssch(1, 0, 2)]);
        for (round, (index, value)) in writes.into_iter().enumerate() {
            rig.guest.region.words().store(index, value, Ordering::Release);
            let tag = round as u64;
            other.poster.post(&ssch(0, 0, tag)).unwrap();
            rig.turns();
            let (end, _) = other.reader.take().unwrap().expect("its final");
            prop_assert_eq!((end.tag, end.cc), (tag, 0));
        }
        // The ring can be taken away whatever its state.
        for number in 0..4 {
            rig.stage.answer_at_once(number, Operation::Clear);
        }
        rig.reactor.detach_ring(rig.ring, None, Box::new(drop)).unwrap();
        for number in 0..4 {
            rig.stage.tell(number, DeviceEvent::Cleared);
        }
        rig.until("the ring is gone", |reactor| reactor.inventory().rings == 1);
        let counters = rig.reactor.counters();
        prop_assert_eq!(counters.taken, counters.finals);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Builder and attachment

#[test]
fn a_cpu_that_does_not_exist_is_an_error_that_names_those_that_do() {
    let allowed = affinity::allowed_cpus();
    let error = Builder::default().cpu(99_999).spawn().err().expect("there is no such CPU");
    assert!(matches!(error, BuildError::Pin(_)));
    names(&error, &["99999", &affinity::ranges(&allowed)]);
    let last = *allowed.last().unwrap();
    Builder::default().cpu(last).spawn().unwrap().stop().unwrap();
    assert_eq!(affinity::allowed_cpus(), allowed, "only the reactor's own thread is pinned");
}

#[test]
fn engine_slots_out_of_range_are_an_error() {
    for slots in [0, 4097, u16::MAX] {
        names(&Builder::default().engine_slots(slots).build().err().unwrap(), &["engine_slots", &slots.to_string(), "1 to 4096"]);
        names(&Builder::default().engine_slots(slots).spawn().err().unwrap(), &["engine_slots", &slots.to_string(), "1 to 4096"]);
    }
}

#[test]
fn attaching_what_is_there_or_to_what_is_not_there_is_an_error() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    let options = SubchannelOptions::new(1);
    let attach = |rig: &mut Rig, ring, subchannel| rig.reactor.attach_subchannel(ring, subchannel, options, Box::new(Null));
    let ring = rig.ring;
    names(&attach(&mut rig, ring, id(1)).unwrap_err(), &["0x00010001", "already"]);
    names(&attach(&mut rig, ring, SubsystemId::from_word(5)).unwrap_err(), &["0x00000005", "0x0001nnnn"]);
    names(&rig.reactor.detach_guest(rig.guest_id).unwrap_err(), &["1 rings", "detach them first"]);
    rig.reactor.detach_ring(ring, None, Box::new(drop)).unwrap();
    names(&rig.reactor.detach_ring(ring, None, Box::new(drop)).unwrap_err(), &["already"]);
    names(&rig.reactor.drain(ring, None, Box::new(drop)).unwrap_err(), &["already"]);
    rig.turns();
    assert_eq!(rig.reactor.inventory().rings, 0);
    for error in [
        attach(&mut rig, ring, id(2)).unwrap_err(),
        rig.reactor.detach_ring(ring, None, Box::new(drop)).unwrap_err(),
        rig.reactor.drain(ring, None, Box::new(drop)).unwrap_err(),
    ] {
        names(&error, &["is not attached"]);
    }
    rig.reactor.detach_guest(rig.guest_id).unwrap();
    names(&rig.reactor.detach_guest(rig.guest_id).unwrap_err(), &["guest", "is not attached"]);
    names(&rig.reactor.attach_ring(rig.guest_id, rig.guest.ends()).unwrap_err(), &["guest", "is not attached"]);
}

#[test]
fn what_ran_through_before_a_violation_is_in_the_counters() {
    let mut rig = Rig::small();
    for number in 0..3 {
        rig.reactor.attach_subchannel(rig.ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
    }
    rig.post(&[ssch(0, 0, 1), ssch(1, 0, 2), ssch(2, 0, 3)]);
    let header = Header::read(rig.guest.region.words()).unwrap();
    rig.guest.region.words().store(header.submission_lane().word(3), 0x0000_0001_0000_0007, Ordering::Release);
    rig.reactor.turn(64);
    assert_eq!(final_tags(&rig.completions()), [1, 2, 3]);
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals), (3, 3), "{counters:?}");
}
