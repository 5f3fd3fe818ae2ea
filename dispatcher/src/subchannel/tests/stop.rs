// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a subchannel.

use super::*;

fn idle(machine: &Machine) {
    assert_eq!((machine.subchannel.word0, machine.subchannel.owed()), (0, 0));
    assert_eq!((machine.subchannel.next_function(), machine.subchannel.device_busy()), (None, false));
}

/// The subchannel is being taken away: everybody gets a final, nobody a status.
#[test]
fn stop_in_every_phase() {
    use Disposition::AbsorbedByClear;
    // Nothing at the device: over at once, whatever was pending.
    let mut pending = machine(HELD);
    pending.attention();
    pending.attention();
    let mut start_pending = machine(HELD);
    start_pending.does(Instruction::Start(&orb()), 7);
    let mut clear_pending = machine(HELD);
    clear_pending.does(Instruction::Clear, 7);
    let mut halt_pending = machine(HELD);
    halt_pending.does(Instruction::Halt, 7);
    for (mut machine, expected) in [
        (machine(HELD), vec![]),
        (pending, vec![]),
        (start_pending, vec![(7, AbsorbedByClear)]),
        (clear_pending, vec![(7, AbsorbedByClear)]),
        (halt_pending, vec![(7, AbsorbedByClear)]),
    ] {
        machine.taken();
        machine.subchannel.stop(&mut machine.log);
        assert_eq!(machine.ends(), expected);
        idle(&machine);
    }
    // The device has something: it is told to clear, and a running start ends when it has answered.
    let mut halting = active(HELD);
    halting.does(Instruction::Halt, 8);
    halting.issues(Function::Halt, 600);
    let mut awaiting = active(HELD);
    awaiting.event(DeviceEvent::Ended(status(CE)));
    for (mut machine, at_once, later) in [
        (active(HELD), vec![], vec![(7, AbsorbedByClear)]),
        (suspended(HELD), vec![], vec![(7, AbsorbedByClear)]),
        (halting, vec![(8, AbsorbedByClear)], vec![(7, AbsorbedByClear)]),
        (awaiting, vec![], vec![]),
    ] {
        machine.taken();
        machine.subchannel.stop(&mut machine.log);
        assert_eq!(machine.ends(), at_once);
        machine.issues(Function::Clear, 700);
        machine.event(DeviceEvent::Cleared);
        assert_eq!(machine.ends(), later);
        idle(&machine);
    }
    // A clear that was issued is not issued again.
    let mut machine = active(HELD);
    machine.does(Instruction::Clear, 8);
    machine.issues(Function::Clear, 600);
    machine.subchannel.stop(&mut machine.log);
    assert_eq!(machine.ends(), [(8, AbsorbedByClear)]);
    assert_eq!(machine.subchannel.next_function(), None);
    machine.event(DeviceEvent::Cleared);
    assert_eq!(machine.ends(), [(7, AbsorbedByClear)]);
    idle(&machine);
}

#[test]
fn a_reset_leaves_a_new_subchannel_and_notifies_nobody() {
    for enabled in [true, false] {
        let mut machine = active(HELD);
        machine.subchannel.set_stuck(true);
        machine.does(Instruction::Halt, 8);
        machine.subchannel.begin_reset(&mut machine.log);
        machine.does(Instruction::Clear, 9);
        machine.issues(Function::Clear, 600);
        machine.event(DeviceEvent::Cleared);
        let quiet = DescriptorFlags::NO_NOTIFICATION;
        let seen: Vec<_> = machine.taken().iter().map(|answer| (answer.owed.tag, answer.cc, answer.owed.flags)).collect();
        assert_eq!(seen, [(8, 0, quiet), (9, 3, DescriptorFlags::empty()), (7, 0, quiet)]);
        machine.subchannel.end_reset(enabled);
        let new = Subchannel::new(0x120, enabled, HELD);
        assert_eq!((machine.subchannel.schib(), *machine.subchannel.orb()), (new.schib(), Orb::default()));
        idle(&machine);
        // What it stores on answers no better than before.
        machine.does(Instruction::Start(&orb()), 10);
        machine.subchannel.set_stuck(false);
        machine.does(Instruction::Start(&orb()), 11);
        let refused = machine.taken().iter().map(|answer| (answer.owed.tag, answer.cc)).collect::<Vec<_>>();
        assert_eq!(refused, if enabled { vec![(10, 3)] } else { vec![(10, 3), (11, 3)] });
    }
}
