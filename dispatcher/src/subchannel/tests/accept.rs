// SPDX-License-Identifier: MIT OR Apache-2.0
//! Acceptance: who is told what, and when.

use super::*;

#[test]
fn only_who_asks_is_told_the_condition_code_beforehand() {
    use CompletionKind::{Accepted, Final};
    let good = Schib::initial(0x120);
    let mut bad = good;
    bad.pmcw.set_flags(PmcwFlags::from_bits_retain(0x8000));
    let orb = orb();
    let alone: [(Instruction<'_>, &[CompletionKind]); 9] = [
        (Instruction::Start(&orb), &[]),
        (Instruction::Halt, &[]),
        (Instruction::Clear, &[]),
        (Instruction::Cancel, &[Final]),
        (Instruction::Resume, &[Final]),
        (Instruction::Modify(&good), &[Final]),
        (Instruction::Modify(&bad), &[Final]),
        (Instruction::Store, &[Final]),
        (Instruction::Test, &[Final]),
    ];
    for (instruction, expected) in alone {
        let mut silent = machine(DELIVERED);
        silent.does(instruction, 3);
        let seen = silent.taken();
        assert_eq!(seen.iter().map(|answer| answer.kind).collect::<Vec<_>>(), expected, "{instruction:?}");
        let mut curious = machine(DELIVERED);
        curious.execute(instruction, 3, DescriptorFlags::ACCEPTED);
        let told = curious.taken();
        assert_eq!(told[0].kind, Accepted, "{instruction:?}");
        assert_eq!(told[1..].iter().map(|answer| answer.kind).collect::<Vec<_>>(), expected, "{instruction:?}");
        // What is told beforehand is what is told in the end.
        for (first, last) in told.iter().zip(&told[1..]) {
            assert_eq!((first.cc, first.disposition, first.code), (last.cc, last.disposition, last.code), "{instruction:?}");
        }
    }
}

#[test]
fn an_operand_against_the_rules_changes_nothing() {
    let mut machine = machine(DELIVERED);
    let before = machine.subchannel.schib();
    let mut bad = before;
    bad.pmcw.set_isc(3);
    bad.pmcw.set_flags(bad.pmcw.flags() | PmcwFlags::from_bits_retain(0x8000));
    machine.does(Instruction::Modify(&bad), 3);
    let seen = machine.taken();
    assert_eq!((seen[0].disposition, seen[0].code), (Disposition::ProgramInterruption, interruption_code::OPERAND));
    assert_eq!(machine.subchannel.schib(), before);
}

/// No subchannel is made without a valid device number and MSCH does not change V, so no guest gets here: condition code 0, no change.
#[test]
fn without_a_valid_device_number_modify_does_nothing_and_the_rest_is_not_operational() {
    let mut machine = machine(HELD);
    machine.attention();
    machine.subchannel.schib.pmcw.set_flags(PmcwFlags::ENABLED);
    machine.subchannel.refresh_operational();
    let before = machine.subchannel.schib();
    let mut changed = before;
    changed.pmcw.set_isc(5);
    machine.taken();
    machine.does(Instruction::Modify(&changed), 1);
    machine.does(Instruction::Clear, 2);
    assert_eq!(machine.taken().iter().map(|answer| answer.cc).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(machine.subchannel.schib(), before);
}

#[test]
fn a_stuck_subchannel_takes_no_start_but_everything_that_stops_one() {
    let mut machine = machine(HELD);
    machine.subchannel.set_stuck(true);
    machine.does(Instruction::Start(&orb()), 1);
    machine.does(Instruction::Halt, 2);
    assert_eq!(machine.taken().iter().map(|answer| (answer.owed.tag, answer.cc)).collect::<Vec<_>>(), [(1, 3)]);
    let mut machine = active(HELD);
    machine.subchannel.set_stuck(true);
    machine.subchannel.set_stuck(false);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    machine.does(Instruction::Test, 2);
    machine.does(Instruction::Start(&orb()), 3);
    assert_eq!(machine.told(), [(CompletionKind::Final, 7), (CompletionKind::Final, 2)]);
    assert_eq!(machine.subchannel.owed(), 1);
}

#[test]
fn how_many_finals_are_owed() {
    let mut machine = active(HELD);
    assert_eq!(machine.subchannel.owed(), 1);
    machine.does(Instruction::Halt, 8);
    assert_eq!(machine.subchannel.owed(), 2);
    machine.does(Instruction::Clear, 9);
    assert_eq!(machine.subchannel.owed(), 2, "the start, whose pages are in use, and the clear");
}

#[test]
fn an_absorbed_start_says_whether_and_when_it_was_issued() {
    let mut machine = machine(HELD);
    machine.does(Instruction::Start(&orb()), 7);
    machine.does(Instruction::Clear, 8);
    let unissued = machine.taken()[0];
    assert_eq!((unissued.owed.tag, unissued.flags, unissued.issued), (7, CompletionFlags::empty(), 0));
    let mut machine = active(HELD);
    machine.does(Instruction::Clear, 8);
    machine.issues(Function::Clear, 600);
    machine.event(DeviceEvent::Cleared);
    let seen = machine.taken();
    assert_eq!((seen[0].owed.tag, seen[0].flags), (7, CompletionFlags::WAS_ISSUED));
    assert_eq!((seen[1].owed.tag, seen[1].issued), (8, 600));
    let mut machine = active(DELIVERED);
    machine.event(DeviceEvent::Ended(status(CE | DE)));
    let end = machine.taken()[0];
    assert_eq!((end.issued, end.owed.posted, end.owed.taken), (500, 1, 2));
    let mut machine = suspended(HELD);
    machine.does(Instruction::Cancel, 8);
    let seen = machine.taken();
    assert_eq!((seen[0].owed.tag, seen[0].flags, seen[0].issued), (7, CompletionFlags::WAS_ISSUED, 500));
    // The next start is not taken for the one before.
    machine.does(Instruction::Start(&orb()), 9);
    machine.does(Instruction::Halt, 10);
    let unissued = machine.taken()[0];
    assert_eq!((unissued.owed.tag, unissued.flags), (9, CompletionFlags::empty()));
}
