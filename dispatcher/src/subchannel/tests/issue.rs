// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: nothing twice, nothing unasked.

use super::*;
use crate::device::PlainEnd;

#[test]
fn which_functions_need_no_device() {
    let here = [Function::HaltUnissued, Function::RefuseStart, Function::PresentStacked];
    let device = [Function::Clear, Function::Halt, Function::Start, Function::Resume];
    assert!(here.into_iter().all(Function::is_performed_here) && !device.into_iter().any(Function::is_performed_here));
    let mut machine = active(HELD);
    for function in device {
        machine.subchannel.perform_here(function, &mut machine.log);
    }
    assert_eq!((machine.told(), machine.subchannel.device_busy()), (vec![], true));
}

#[test]
fn nothing_is_issued_twice_or_unasked() {
    let mut halting = active(HELD);
    halting.does(Instruction::Halt, 8);
    halting.issues(Function::Halt, 600);
    assert_eq!(halting.subchannel.next_function(), None);
    // The device is forgetting a cancelled program when the next function is accepted: first things first.
    let mut forgetting = suspended(HELD);
    assert_eq!(forgetting.subchannel.next_function(), None, "nobody resumed it");
    forgetting.does(Instruction::Cancel, 8);
    forgetting.issues(Function::Clear, 600);
    forgetting.does(Instruction::Halt, 9);
    assert_eq!(forgetting.subchannel.next_function(), None);
    forgetting.event(DeviceEvent::Cleared);
    forgetting.issues(Function::Halt, 700);
    // Stacked status waits until what is pending is taken, and until nothing is in progress.
    let mut stacked = machine(HELD);
    stacked.attention();
    stacked.attention();
    assert_eq!((stacked.told().len(), stacked.subchannel.next_function()), (1, None));
    stacked.does(Instruction::Test, 1);
    stacked.issues(Function::PresentStacked, 800);
    assert_eq!((stacked.told().len(), stacked.control()), (2, 0x0011));
}

#[test]
fn activity_that_is_said_twice_stays() {
    let mut machine = active(HELD);
    machine.subchannel.issued(Function::Start, 501);
    assert_eq!(machine.control(), S | SCHA | DEVA);
    let mut machine = suspended(HELD);
    assert_eq!(machine.control(), S | SUSP);
    machine.event(DeviceEvent::Suspended(status(DeviceStatus::empty())));
    assert_eq!(machine.control(), S | SUSP);
}

#[test]
fn a_device_that_keeps_a_suspended_program_is_busy_and_suspended() {
    let of = |machine: &Machine| (machine.subchannel.device_busy(), machine.subchannel.device_suspended());
    assert_eq!(of(&machine(HELD)), (false, false));
    assert_eq!(of(&active(HELD)), (true, false));
    let mut machine = suspended(HELD);
    assert_eq!(of(&machine), (true, true));
    machine.does(Instruction::Cancel, 8);
    assert_eq!(of(&machine), (true, true), "the device has not forgotten it yet");
    machine.issues(Function::Clear, 600);
    assert_eq!(of(&machine), (true, false));
}

/// The comparison with the model shows that the short ways go where the long ones do; here, that they are taken, and only if the end is all there is.
#[test]
fn a_plain_end_takes_the_short_way_and_nothing_else_does() {
    let plain = status(CE | DE);
    let mut running = active(DELIVERED);
    assert!(running.subchannel.ran(&plain, &mut running.log));
    let answer = running.taken()[0];
    assert_eq!((answer.owed.tag, answer.issued, answer.scsw.device_status()), (7, 500, CE | DE));
    assert_eq!((running.control(), running.subchannel.device_busy()), (0, false));
    // A halt or a clear is accepted, or status found no room.
    let mut others = [active(DELIVERED), active(DELIVERED), active(DELIVERED), active(HELD)];
    others[0].does(Instruction::Halt, 8);
    others[1].does(Instruction::Clear, 8);
    others[2].log.room = false;
    others[2].event(DeviceEvent::Intermediate(status(DeviceStatus::empty())));
    for other in &mut others {
        other.taken();
        assert!(!other.subchannel.ran(&plain, &mut other.log));
        assert_eq!(other.told(), []);
    }
    let mut odd = active(DELIVERED);
    for status in
        [status(CE), status(CE | DE | DeviceStatus::UNIT_CHECK), Status { subchannel: SubchannelStatus::PROGRAM_CHECK, ..plain }]
    {
        assert!(!odd.subchannel.ran(&status, &mut odd.log));
    }
}

#[test]
fn a_start_runs_through_an_idle_subchannel_that_delivers_its_status_and_through_no_other() {
    let end = |_: &_| Some(PlainEnd::new(0x1008, 2));
    let mut idle = machine(DELIVERED);
    let scsw = Scsw::from_words(idle.subchannel.run_through(&orb(), 500, end).unwrap());
    assert_eq!((scsw.device_status(), scsw.ccw_address(), scsw.residual()), (CE | DE, 0x1008, 2));
    assert_eq!((idle.control(), idle.subchannel.owed()), (0, 0));
    assert!(idle.subchannel.run_through(&orb(), 501, |_| None).is_none(), "the device does not perform it at once");
    let mut pending = machine(DELIVERED);
    pending.does(Instruction::Start(&orb()), 7);
    for mut other in [machine(HELD), pending, active(DELIVERED), suspended(DELIVERED)] {
        let before = format!("{:?}", other.subchannel);
        assert!(other.subchannel.run_through(&orb(), 500, end).is_none());
        assert_eq!(format!("{:?}", other.subchannel), before);
    }
    assert!(machine(DELIVERED).subchannel.run_through(&orb().with_lpm(0), 500, end).is_none(), "no path");
}
