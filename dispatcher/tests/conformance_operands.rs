// SPDX-License-Identifier: MIT OR Apache-2.0
//! The items of the conformance checklist (reference §8) that concern operands, and the first program a guest runs: through a real ring and
//! reactor. `docs/conformance.md` maps items to tests.

mod common;

use common::id;
use common::scripted::{final_of, plain, Rig};
use fctl_dispatcher::device::emulated::{Action, ControlUnit, Emulated, Fault, UnitBytes};
use fctl_dispatcher::device::fba::Fba;
use fctl_dispatcher::device::{Capabilities, Sense, SubchannelDevice};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::volume::{Volume, VolumeOptions};
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::arch::{Ccw, CcwFlags, DeviceStatus, Orb, OrbControl, PmcwCharacteristics, PmcwFlags, Schib, SubsystemId};
use fctl_ringabi::{Completion, CompletionFlags, CompletionKind, Descriptor, Disposition, Extension, Operation};
use std::sync::Arc;

/// Program-interruption code.
const OPERAND: u16 = 0x15;

fn rig() -> Rig {
    let mut rig = Rig::small();
    rig.attach(0, Capabilities::empty(), StatusMode::Held);
    rig
}

/// Executes one instruction and gives its final with what it stored.
fn execute(rig: &mut Rig, descriptor: Descriptor) -> (Completion, Option<Extension>) {
    rig.post(&[Descriptor { tag: 7, ..descriptor }]);
    rig.reactor.turn(64);
    let found = rig.read();
    let [one] = &found[..] else { panic!("one completion expected: {found:?}") };
    assert_eq!((one.0.kind(), one.0.tag), (Some(CompletionKind::Final), 7));
    *one
}

fn interruption(completion: &Completion) -> Option<u16> {
    (completion.disposition() == Some(Disposition::ProgramInterruption)).then_some(completion.code)
}

/// MSCH of a changed SCHIB: the program-interruption code, or else the condition code 0.
fn modify(rig: &mut Rig, change: impl FnOnce(&mut Schib)) -> Option<u16> {
    let mut schib = rig.schib(0);
    change(&mut schib);
    let descriptor = rig.msch(0, &schib, 7);
    let (end, _) = execute(rig, descriptor);
    if interruption(&end).is_none() {
        assert_eq!((end.disposition(), end.cc), (Some(Disposition::Executed), 0));
    }
    interruption(&end)
}

fn with_flags(bits: u16) -> impl FnOnce(&mut Schib) {
    move |schib| schib.pmcw.set_flags(schib.pmcw.flags() | PmcwFlags::from_bits_retain(bits))
}

#[test]
fn item_02_bit_15_of_the_identification_word_must_be_one() {
    let mut rig = rig();
    for operation in [Operation::Store, Operation::Test] {
        let (end, stored) = execute(&mut rig, Descriptor { subsystem: 0x0000_FFFF, ..plain(operation, 0, 0) });
        assert_eq!((interruption(&end), stored), (Some(OPERAND), None), "{operation:?}");
    }
}

#[test]
fn item_03_a_subchannel_that_is_not_provided_stores_nothing() {
    let mut rig = rig();
    for operation in [Operation::Store, Operation::Test] {
        let (end, stored) = execute(&mut rig, Descriptor { subsystem: 0x0001_FFFF, ..plain(operation, 0, 0) });
        assert_eq!((end.disposition(), end.cc, stored), (Some(Disposition::Executed), 3, None), "{operation:?}");
        assert!(!end.flags.contains(CompletionFlags::STATUS));
    }
}

#[test]
fn item_04_an_orb_of_all_ones_is_an_operand_exception() {
    let mut rig = rig();
    let orb = Orb::from_words([0xFFFF_FFFF; 3]);
    assert_eq!(interruption(&execute(&mut rig, Descriptor::start(id(0), &orb, 0)).0), Some(OPERAND));
    rig.guest.memory.store(0x4000, &orb.to_bytes()).unwrap();
    let by_address = Descriptor::by_address(Operation::Start, id(0), 0x4000, 0);
    assert_eq!(interruption(&execute(&mut rig, by_address).0), Some(OPERAND));
    assert_eq!((rig.schib(0).scsw.to_words(), rig.stage.take_calls()), ([0; 3], vec![]));
}

#[test]
fn item_05_reserved_pmcw_flags_are_an_operand_exception() {
    let mut rig = rig();
    let before = rig.schib(0);
    for bit in [0, 1, 6, 7] {
        assert_eq!(modify(&mut rig, with_flags(0x8000 >> bit)), Some(OPERAND), "bit {bit}");
        assert_eq!(rig.schib(0), before, "bit {bit} is 0");
    }
}

#[test]
fn item_06_pmcw_flag_bit_5_is_ignored() {
    let mut rig = rig();
    assert_eq!(modify(&mut rig, with_flags(0x0400)), None);
    assert_eq!(rig.schib(0).pmcw.flags().bits() & 0x0400, 0);
}

#[test]
fn item_07_a_format_1_measurement_block_is_aligned_to_64() {
    let mut rig = rig();
    let format_1 = |mba| {
        move |schib: &mut Schib| {
            let flags = schib.pmcw.characteristics() | PmcwCharacteristics::MEASUREMENT_FORMAT_1;
            schib.pmcw.set_characteristics(flags);
            schib.set_mba(mba);
        }
    };
    for mba in [1, 4, 32, 0x1_0000_0020] {
        assert_eq!(modify(&mut rig, format_1(mba)), Some(OPERAND), "{mba:#x}");
    }
    assert_eq!(modify(&mut rig, format_1(0x1_0000_0040)), None);
    assert_eq!(rig.schib(0).mba(), 0x1_0000_0040);
}

#[test]
fn item_09_a_channel_subsystem_without_m_is_an_operand_exception() {
    let mut rig = rig();
    let all = [
        Operation::Start,
        Operation::Halt,
        Operation::Clear,
        Operation::Cancel,
        Operation::Resume,
        Operation::Store,
        Operation::Test,
    ];
    for operation in all {
        let descriptor = match operation {
            Operation::Start => Descriptor::start(id(0), &Orb::new(1, 0x1000), 0),
            other => plain(other, 0, 0),
        };
        let (end, stored) = execute(&mut rig, Descriptor { subsystem: 0x0101_0000, ..descriptor });
        assert_eq!((interruption(&end), stored), (Some(OPERAND), None), "{operation:?}");
    }
    assert_eq!((rig.schib(0).scsw.to_words(), rig.stage.take_calls()), ([0; 3], vec![]));
}

/// A unit that knows SENSE ID only, with a command-information word, as a device that has configuration data.
struct WithConfigurationData;

const SENSE_ID: [u8; 12] = [0xFF, 0x39, 0x90, 0xE9, 0x33, 0x90, 0x0C, 0x00, 0x40, 0xFA, 0x01, 0x00];

impl ControlUnit for WithConfigurationData {
    fn begin(&mut self) {}

    fn command(&mut self, command: u8, bytes: &mut UnitBytes) -> Action {
        assert_eq!(command, 0xE4);
        bytes[..SENSE_ID.len()].copy_from_slice(&SENSE_ID);
        Action::Send { length: SENSE_ID.len() }
    }

    fn received(&mut self, _command: u8, _bytes: &[u8]) -> DeviceStatus {
        unreachable!("it asks for nothing")
    }

    fn failed(&mut self, fault: Fault) {
        unreachable!("it moves nothing: {fault:?}")
    }

    fn take_sense(&mut self) -> Option<Sense> {
        None
    }

    fn reset(&mut self) {}
}

/// A rig with this device at subchannel 0, status held.
fn with_device(device: Box<dyn SubchannelDevice>) -> Rig {
    let mut rig = Rig::small();
    let options = SubchannelOptions::new(0x120).with_mode(StatusMode::Held);
    rig.reactor.attach_subchannel(rig.ring, id(0), options, device).unwrap();
    rig
}

fn volume() -> (Box<dyn SubchannelDevice>, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 * 512).unwrap();
    let volume = Arc::new(Volume::open(file.path(), VolumeOptions::default()).unwrap());
    (Box::new(Fba::new(volume).unwrap()), file)
}

/// Runs a start until its interruption is there, and takes its status: SCSW words and interruption parameter.
fn run(rig: &mut Rig, orb: &Orb) -> ([u32; 3], u32) {
    rig.post(&[Descriptor::start(id(0), orb, 1)]);
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while seen.is_empty() {
        assert!(std::time::Instant::now() < deadline, "no end of the start");
        rig.reactor.turn(64);
        seen = rig.completions();
    }
    assert_eq!(seen.len(), 1, "one interruption: {seen:?}");
    let end = final_of(&seen, 1);
    assert_eq!((end.disposition(), end.cc, end.subsystem), (Some(Disposition::Executed), 0, id(0).word()));
    let (taken, _) = execute(rig, plain(Operation::Test, 0, 0));
    assert_eq!(taken.cc, 0);
    let (again, _) = execute(rig, plain(Operation::Test, 0, 0));
    assert_eq!(again.cc, 1);
    (taken.scsw.to_words(), end.intparm)
}

#[test]
fn item_10_bit_0_and_alignment_of_the_program_address() {
    let mut plain_rig = rig();
    let bit_0 = Orb::from_words([1, Orb::new(1, 0).control_word(), 0x8000_1000]);
    assert_eq!(interruption(&execute(&mut plain_rig, Descriptor::start(id(0), &bit_0, 0)).0), Some(OPERAND));
    assert_eq!(plain_rig.stage.take_calls(), []);
    let (device, _file) = volume();
    let mut rig = with_device(device);
    for cpa in [0x1004, 0x1001, 0x1002] {
        let (words, intparm) = run(&mut rig, &Orb::new(0x77, cpa));
        assert_eq!(intparm, 0x77);
        assert_eq!((words[0] & 0x7FFF, words[1]), (0x4017, cpa + 8), "A+P+2+X, address + 8");
        assert_eq!(words[2] >> 16, 0x0020, "program check, no device status");
    }
}

#[test]
fn item_11_the_first_hole_ends_the_enumeration() {
    let mut rig = rig();
    for number in 1..5 {
        rig.attach(number, Capabilities::empty(), StatusMode::Held);
    }
    let mut found = Vec::new();
    for number in 0..=u16::MAX {
        let (end, stored) = execute(&mut rig, plain(Operation::Store, number, 0));
        assert_eq!(SubsystemId::from_word(end.subsystem), SubsystemId::from_word(0x0001_0000 | u32::from(number)));
        match (end.cc, stored) {
            (0, Some(Extension::Schib(schib))) => found.push(schib.pmcw),
            (3, None) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found.iter().map(|pmcw| pmcw.devno()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!((found[0].subchannel_type(), found[0].is_valid()), (0, true));
}

/// SENSE ID into a buffer of 256: how many bytes came, and which.
fn sense_id(mut rig: Rig) -> Vec<u8> {
    const PROGRAM: u32 = 0x1000;
    const DATA: u32 = 0x2000;
    let ccw = Ccw { command: 0xE4, flags: CcwFlags::SUPPRESS_LENGTH, count: 256, address: DATA };
    rig.guest.memory.store(u64::from(PROGRAM), &ccw.to_format1()).unwrap();
    rig.guest.memory.store(u64::from(DATA), &[0x5A; 256]).unwrap();
    let orb = Orb::new(0xDEAD_BEEF, PROGRAM).with_lpm(0x80).with_control(OrbControl::INITIAL_STATUS);
    let (words, intparm) = run(&mut rig, &orb);
    assert_eq!(intparm, 0xDEAD_BEEF);
    assert_eq!(words[0] & 0x7FFF, 0x4007, "start; primary, secondary and status pending");
    assert_eq!(words[1], PROGRAM + 8);
    let [device, subchannel, ..] = words[2].to_be_bytes();
    assert_eq!((device, subchannel & !0x40), (0x0C, 0));
    let mut bytes = rig.guest.memory.fetch::<256>(u64::from(DATA)).unwrap().to_vec();
    let rest = bytes.split_off(usize::try_from(256 - (words[2] & 0xFFFF)).unwrap());
    assert!(rest.iter().all(|&byte| byte == 0x5A), "nothing is stored beyond what the residual says");
    bytes
}

/// The item asks for 8 bytes at least, of a device that has byte 7. An FBA device has 7 bytes and no more (reference §6.3).
#[test]
fn item_17_sense_id_with_one_interruption() {
    let bytes = sense_id(with_device(Box::new(Emulated::new(WithConfigurationData))));
    assert!(bytes.len() >= 8);
    assert_eq!(bytes, SENSE_ID);
    let (device, _file) = volume();
    assert_eq!(sense_id(with_device(device)), [0xFF, 0x63, 0x10, 0x01, 0x93, 0x36, 0x10]);
}
