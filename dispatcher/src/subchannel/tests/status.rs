// SPDX-License-Identifier: MIT OR Apache-2.0
//! Status: what it says, to whom, and that it waits for room.

use super::*;

/// The suspension crossed the halt: the halt's status is the next thing told.
#[test]
fn a_suspension_under_a_pending_halt_is_not_told() {
    let mut machine = machine(HELD);
    machine.does(Instruction::Start(&orb().with_control(OrbControl::SUSPEND)), 7);
    machine.issues(Function::Start, 500);
    machine.does(Instruction::Halt, 8);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    assert_eq!((machine.told(), machine.control()), (vec![], S | H | HP | SCHA | DEVA));
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::Halted(status(DeviceStatus::empty())));
    assert_eq!((machine.told().len(), machine.control()), (2, S | H | X));
}

/// No device refuses what it has begun; one that does leaves a refusal and nothing of what it told before.
#[test]
fn a_refusal_replaces_what_was_pending() {
    let mut machine = active(HELD);
    machine.event(DeviceEvent::InitialStatus(status(DeviceStatus::empty())));
    machine.event(DeviceEvent::Refused { deferred_cc: 1, status: status(DeviceStatus::BUSY) });
    assert_eq!((machine.control(), machine.subchannel.word0 & DEFERRED_CC), (S | SP | A | X, 0x0100_0000));
}

#[test]
fn addresses_and_counts_of_each_status() {
    let words = |machine: &Machine| {
        let [_, address, word2] = machine.subchannel.scsw().to_words();
        (address, word2)
    };
    let empty = DeviceStatus::empty();
    let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, residual: 0, ..status(empty) };
    for (at_the_end, expected) in
        [(SubchannelStatus::empty(), "what was pending joins"), (pci.subchannel, "and is not undone by its like")]
    {
        let mut machine = active(HELD);
        machine.event(DeviceEvent::Intermediate(pci));
        assert_eq!(words(&machine), (0x1008, 0x0080_0000));
        machine.event(DeviceEvent::Ended(Status { ccw_address: 0x1010, subchannel: at_the_end, ..status(CE | DE) }));
        assert_eq!(words(&machine), (0x1010, 0x0C80_1234), "{expected}");
    }
    // The end's own program-controlled interruption, with nothing wrong, is no alert and leaves device end to come.
    let mut machine = active(HELD);
    machine.event(DeviceEvent::Ended(Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ..status(CE) }));
    assert_eq!((words(&machine), machine.control()), ((0x1008, 0x0880_1234), 0x4045));
    for (event, expected) in [
        (DeviceEvent::InitialStatus(Status { residual: 0, ..status(empty) }), (0x1008, 0)),
        (DeviceEvent::Refused { deferred_cc: 1, status: status(DeviceStatus::BUSY) }, (0x1008, 0x1000_1234)),
        (DeviceEvent::Ended(Status { subchannel: SubchannelStatus::PROGRAM_CHECK, ..status(empty) }), (0x1008, 0x0020_1234)),
    ] {
        let mut machine = active(HELD);
        machine.event(event);
        assert_eq!(words(&machine), expected, "{event:?}");
    }
    let mut machine = active(HELD);
    machine.does(Instruction::Halt, 8);
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::Halted(status(DE)));
    assert_eq!(words(&machine), (0x1008, 0x0400_1234));
}

#[test]
fn status_without_room_waits_and_is_told_once_there_is_room() {
    for (mode, kind, left) in [(DELIVERED, CompletionKind::Unsolicited, 0), (HELD, CompletionKind::InterruptionPending, 0x0011)] {
        let mut machine = machine(mode);
        assert!(!machine.subchannel.has_undelivered());
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!(machine.told(), [], "nothing is pending");
        machine.log.room = false;
        machine.attention();
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!((machine.told(), machine.control()), (vec![], 0x0011));
        assert!(machine.subchannel.has_undelivered());
        machine.log.room = true;
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!((machine.told(), machine.control()), (vec![(kind, 0)], left), "{mode:?}");
        assert!(!machine.subchannel.has_undelivered());
        machine.subchannel.deliver(&mut machine.log);
        assert_eq!(machine.told(), []);
    }
}

#[test]
fn one_interruption_whatever_joins_it_and_another_one_after_the_status_was_taken() {
    use CompletionKind::{Final, InterruptionPending};
    let mut machine = active(HELD);
    let intermediate = DeviceEvent::Intermediate(Status { residual: 0, ..status(DeviceStatus::empty()) });
    machine.log.room = false;
    machine.event(intermediate);
    machine.event(intermediate);
    assert!(machine.subchannel.has_undelivered(), "joining does not tell");
    machine.log.room = true;
    machine.event(intermediate);
    machine.event(intermediate);
    assert_eq!(machine.told(), [(InterruptionPending, 7)]);
    machine.does(Instruction::Test, 1);
    machine.log.room = false;
    machine.event(intermediate);
    assert!(machine.subchannel.has_undelivered(), "a new one");
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    assert!(!machine.subchannel.has_undelivered(), "told by the final");
    assert_eq!(machine.told(), [(Final, 1), (Final, 7)]);
}

#[test]
fn kinds_and_tags_of_status_that_no_final_brings() {
    use CompletionKind::{Final, Intermediate, InterruptionPending, Secondary, Unsolicited};
    for (mode, intermediate, secondary, unsolicited) in
        [(DELIVERED, Intermediate, Secondary, Unsolicited), (HELD, InterruptionPending, InterruptionPending, InterruptionPending)]
    {
        let mut machine = active(mode);
        machine.event(DeviceEvent::Intermediate(status(DeviceStatus::empty())));
        assert_eq!(machine.told(), [(intermediate, 7)]);
        machine.does(Instruction::Test, 1);
        machine.event(DeviceEvent::Ended(status(CE)));
        machine.does(Instruction::Test, 2);
        assert_eq!(machine.told(), [(Final, 1), (Final, 7), (Final, 2)]);
        machine.event(DeviceEvent::Secondary(status(DE)));
        assert_eq!(machine.told(), [(secondary, 7)]);
        machine.does(Instruction::Test, 3);
        machine.taken();
        machine.attention();
        let told = machine.taken();
        assert_eq!((told[0].kind, told[0].owed.tag, told[0].intparm), (unsolicited, 0, 0xCAFE));
        assert_eq!((told[0].owed.posted, told[0].owed.taken, told[0].issued), (0, 0, 0), "no stages of a descriptor");
        assert_eq!(told[0].flags.contains(CompletionFlags::STATUS), mode == DELIVERED);
    }
}

#[test]
fn the_device_end_after_a_halt_has_the_tag_of_the_start() {
    let mut machine = active(DELIVERED);
    machine.subchannel.secondary_tag = 99;
    machine.does(Instruction::Halt, 8);
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::HaltedDeviceActive(status(DeviceStatus::empty())));
    assert_eq!(machine.told(), [(CompletionKind::Final, 7), (CompletionKind::Final, 8)]);
    machine.event(DeviceEvent::Secondary(status(DE)));
    assert_eq!(machine.told(), [(CompletionKind::Secondary, 7)]);
}

/// The program ended by itself, as far as the channel goes, before the halt reached it.
#[test]
fn the_device_end_after_a_channel_end_that_answers_a_halt_is_not_lost() {
    let mut machine = active(DELIVERED);
    machine.does(Instruction::Halt, 8);
    machine.issues(Function::Halt, 600);
    machine.event(DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    let told = machine.taken();
    assert_eq!(told.iter().map(|answer| answer.owed.tag).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(told[1].scsw.control_word() & ACTL, DEVA);
    machine.event(DeviceEvent::Secondary(status(DE)));
    assert_eq!(machine.told(), [(CompletionKind::Secondary, 7)]);
    assert!(!machine.subchannel.device_busy());
}

#[test]
fn concurrent_sense_is_in_the_status_it_belongs_to_and_in_no_other() {
    let mut machine = active(HELD);
    assert!(!machine.subchannel.wants_concurrent_sense());
    let mut schib = machine.subchannel.schib;
    schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
    machine.subchannel.schib = schib;
    assert!(machine.subchannel.wants_concurrent_sense());
    let bytes: [u8; 24] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let sense = Sense::new(&bytes);
    let plain = Extension::Irb { esw: Esw::format1(0x80), ecw: Ecw::default() };
    let filled = Extension::Irb { esw: Esw::format1(0x80).with_erw(Erw::concurrent_sense(24)), ecw: Ecw::from_sense(&bytes) };
    for (mode, given, expected) in
        [(HELD, None, plain), (HELD, Some(sense), filled), (DELIVERED, None, plain), (DELIVERED, Some(sense), filled)]
    {
        let mut machine = active(mode);
        machine.unit_check(given);
        if mode == HELD {
            assert_eq!(machine.subchannel.word0 & EXTENDED != 0, given.is_some());
            machine.does(Instruction::Test, 8);
        }
        let last = *machine.taken().last().unwrap();
        assert_eq!((last.extension, last.scsw.control_word() & EXTENDED != 0), (Some(expected), given.is_some()));
        // The next unit check comes without.
        machine.does(Instruction::Start(&orb()), 9);
        machine.issues(Function::Start, 700);
        machine.unit_check(None);
        machine.does(Instruction::Test, 10);
        let seen = machine.taken();
        assert_eq!(seen[if mode == HELD { 1 } else { 0 }].extension, Some(plain));
    }
    // No alert, no extension.
    let mut machine = active(DELIVERED);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    let end = machine.taken()[0];
    assert_eq!((end.extension, end.flags, end.scsw.control_word() & 0x7FFF), (None, CompletionFlags::STATUS, 0x4007));
    // A clear withdraws it with its status.
    let mut machine = active(HELD);
    machine.unit_check(Some(sense));
    machine.does(Instruction::Clear, 8);
    assert_eq!(machine.subchannel.sense, None);
    // What is presented after a stop is not taken for its status either.
    let mut machine = active(HELD);
    machine.unit_check(Some(sense));
    machine.subchannel.stop(&mut machine.log);
    machine.attention();
    machine.does(Instruction::Test, 8);
    assert_eq!(machine.taken().last().unwrap().extension, Some(plain));
}
