// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each status of a device becomes: kind, tag and SCSW of the completion (reference §3.3 and §3.5), and which condition
//! codes are given meanwhile (§2.2).

mod common;

use common::id;
use common::scripted::{accepted, ended, final_of, final_tags, of_kind, plain, program_check, ssch, status, told, Call, Rig};
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, Status, SubchannelDevice};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::SubchannelOptions;
use fctl_ringabi::arch::{
    ActivityControl, DeviceStatus, Ecw, FunctionControl, Orb, PmcwCharacteristics, ScswControl, StatusControl, SubchannelStatus,
};
use fctl_ringabi::{CompletionFlags, CompletionKind, Disposition, Extension, Operation, RingSizes};

const ALL: [Operation; 8] = Operation::ALL;
const NONE: Capabilities = Capabilities::empty();

fn delivered() -> Rig {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig
}

/// A start that runs, tag 1, interruption parameter 0x71.
fn running(mode: StatusMode) -> Rig {
    let mut rig = Rig::small();
    rig.attach(1, NONE, mode);
    assert_eq!(rig.batch(&[ssch(1, 0x71, 1)]), []);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0x71))]);
    rig
}

/// The condition code of one instruction, which is then undone as far as a test needs: nothing but the code is looked at.
fn code(rig: &mut Rig, operation: Operation) -> u8 {
    let descriptor = match operation {
        Operation::Start => ssch(1, 0x99, 50),
        Operation::Modify => {
            let schib = rig.schib(1);
            rig.msch(1, &schib, 50)
        }
        other => plain(other, 1, 50),
    };
    let seen = rig.batch(&[told(descriptor)]);
    let codes = accepted(&seen);
    assert_eq!((codes.len(), codes[0].0), (1, 50), "{seen:?}");
    codes[0].1
}

/// Condition codes by operation, each on a subchannel of its own that `prepare` brings to the state.
fn row(prepare: impl Fn() -> Rig) -> Vec<u8> {
    ALL.iter().map(|&operation| code(&mut prepare(), operation)).collect()
}

#[test]
fn channel_end_and_device_end_together_end_a_start_for_good() {
    let mut rig = running(StatusMode::Delivered);
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 1);
    let end = final_of(&seen, 1);
    assert!(end.flags.contains(CompletionFlags::STATUS));
    assert_eq!((end.scsw.control_word() & 0x7FFF, end.intparm, end.subsystem), (0x4007, 0x71, id(1).word()));
    assert_eq!(end.scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
}

#[test]
fn device_end_after_channel_end_is_a_secondary_completion_with_the_starts_tag() {
    let mut rig = running(StatusMode::Delivered);
    rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    rig.turns();
    let end = final_of(&rig.completions(), 1);
    assert_eq!(end.scsw.control_word() & 0x7FFF, 0x4045, "S, DevA, P+X");
    assert_eq!(end.scsw.device_status(), DeviceStatus::CHANNEL_END);
    let schib = rig.schib(1);
    assert_eq!((schib.scsw.fctl(), schib.scsw.actl()), (FunctionControl::empty(), ActivityControl::DEVICE_ACTIVE));
    rig.stage.tell(1, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)));
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].kind(), seen[0].tag), (Some(CompletionKind::Secondary), 1));
    assert_eq!(seen[0].scsw.stctl(), StatusControl::SECONDARY | StatusControl::PENDING);
    assert_eq!(seen[0].scsw.device_status(), DeviceStatus::DEVICE_END);
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0);
}

/// Matrix row "device active only, primary already taken".
#[test]
fn between_channel_end_and_device_end_the_subchannel_takes_the_next_function() {
    let between = || {
        let mut rig = running(StatusMode::Delivered);
        rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
        rig.turns();
        rig.completions();
        rig.stage.take_calls();
        rig
    };
    assert_eq!(row(between), [0, 0, 0, 2, 2, 0, 0, 1]);

    // A start waits until device end frees the device.
    let mut rig = between();
    assert_eq!(accepted(&rig.batch(&[told(ssch(1, 0x72, 2))])), [(2, 0)]);
    assert_eq!(rig.stage.take_calls(), []);
    rig.stage.tell(1, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)));
    rig.turns();
    assert_eq!(rig.stage.take_calls(), [(1, Call::Start(0x72))]);
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [2]);

    // A clear makes the device end vanish.
    let mut rig = between();
    rig.batch(&[plain(Operation::Clear, 1, 3)]);
    assert_eq!(rig.stage.take_calls(), [(1, Call::Clear)]);
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(final_of(&seen, 3).scsw.to_words(), [0x0000_1001, 0, 0]);
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0);
}

#[test]
fn intermediate_status_is_told_and_the_start_goes_on() {
    let mut rig = running(StatusMode::Delivered);
    let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ccw_address: 0x1008, ..Status::default() };
    rig.stage.tell(1, DeviceEvent::Intermediate(pci));
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].kind(), seen[0].tag, seen[0].intparm), (Some(CompletionKind::Intermediate), 1, 0x71));
    assert_eq!(seen[0].scsw.control_word() & 0x7FFF, 0x40C9, "S, SchA+DevA, I+X");
    assert_eq!(seen[0].scsw.subchannel_status(), SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION);
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0x40C0, "as after TSCH: S, SchA+DevA");
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    assert_eq!(final_of(&rig.completions(), 1).scsw.control_word() & 0x7FFF, 0x4007);
}

/// Matrix row "active + intermediate pending", and item 31 of §8.
#[test]
fn in_held_mode_an_intermediate_status_waits_and_a_halt_withdraws_it() {
    let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ccw_address: 0x1008, ..Status::default() };
    let pending = || {
        let mut rig = running(StatusMode::Held);
        rig.stage.tell(1, DeviceEvent::Intermediate(pci));
        rig.turns();
        let seen = rig.completions();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].kind(), Some(CompletionKind::InterruptionPending));
        rig.stage.take_calls();
        rig
    };
    let codes = row(pending);
    assert_eq!((&codes[..5], &codes[6..]), (&[1, 0, 0, 1, 1][..], &[0, 0][..]));
    assert!(matches!(codes[5], 1 | 2), "MSCH: 1 or 2 (unverified)");

    let mut rig = pending();
    let seen = rig.batch(&[plain(Operation::Test, 1, 2), plain(Operation::Test, 1, 3)]);
    assert_eq!((final_of(&seen, 2).cc, final_of(&seen, 3).cc), (0, 1));
    assert_eq!(final_of(&seen, 2).scsw.control_word() & 0x7FFF, 0x40C9);
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0x40C0);

    let mut rig = pending();
    rig.batch(&[plain(Operation::Halt, 1, 2)]);
    assert_eq!(rig.schib(1).scsw.stctl(), StatusControl::empty(), "withdrawn");
    assert_eq!(rig.stage.take_calls(), [(1, Call::Halt)]);
    rig.stage.tell(1, DeviceEvent::Halted(Status::default()));
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [1, 2]);
    let taken = final_of(&rig.batch(&[plain(Operation::Test, 1, 3)]), 3);
    assert_eq!((taken.cc, taken.scsw.fctl()), (0, FunctionControl::START | FunctionControl::HALT));
    assert_eq!(taken.scsw.stctl(), StatusControl::PENDING);
}

fn pci() -> DeviceEvent {
    let pci = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
    DeviceEvent::Intermediate(Status { subchannel: pci, ccw_address: 0x1008, ..Status::default() })
}

/// A subchannel has one interruption request: what joins pending status makes no second one (§4.3 point 10).
#[test]
fn in_held_mode_status_that_joins_pending_status_is_told_once() {
    let mut rig = running(StatusMode::Held);
    rig.stage.tell(1, pci());
    rig.stage.tell(1, pci());
    rig.turns();
    let seen = rig.completions();
    assert_eq!(of_kind(&seen, CompletionKind::InterruptionPending).count(), 1, "{seen:?}");
    let seen = rig.batch(&[plain(Operation::Test, 1, 2)]);
    assert_eq!(final_of(&seen, 2).scsw.control_word() & 0x7FFF, 0x40C9);
    rig.stage.tell(1, pci());
    rig.turns();
    assert_eq!(of_kind(&rig.completions(), CompletionKind::InterruptionPending).count(), 1, "that is a new one");

    // Device end that joins channel end which nobody has taken.
    let mut rig = running(StatusMode::Held);
    rig.stage.tell(1, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    rig.stage.tell(1, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)));
    rig.turns();
    let seen = rig.completions();
    assert_eq!((final_tags(&seen), seen.len()), (vec![1], 1), "{seen:?}");
    let scsw = final_of(&rig.batch(&[plain(Operation::Test, 1, 2)]), 2).scsw;
    assert_eq!(scsw.control_word() & 0x7FFF, 0x4007);
    assert_eq!(scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
}

/// Rule 1: status waits in its subchannel when there is no room, and is told when there is, in either mode.
#[test]
fn status_that_finds_no_room_is_told_when_there_is_room() {
    for mode in [StatusMode::Delivered, StatusMode::Held] {
        let mut rig = Rig::new(Default::default(), RingSizes { completion_entries: 16, ..RingSizes::new(8) });
        rig.attach(1, NONE, mode);
        rig.attach(2, NONE, StatusMode::Delivered);
        rig.post(&[ssch(1, 0x71, 1)]);
        rig.reactor.turn(64);
        // The guest stays within its credit, and reads late: the completion ring is full.
        let mut posted = 0;
        for operation in [Operation::Store, Operation::Cancel] {
            while rig.guest.poster.post(&plain(operation, 2, 100 + posted)).is_ok() {
                posted += 1;
                rig.reactor.turn(64);
            }
        }
        assert_eq!(posted, 15, "all but the entry that the start is owed");
        rig.stage.tell(1, pci());
        rig.turns();
        let kind = if mode == StatusMode::Held { CompletionKind::InterruptionPending } else { CompletionKind::Intermediate };
        let seen = rig.completions();
        assert_eq!((of_kind(&seen, kind).count(), final_tags(&seen).len()), (0, 15), "{mode:?}");
        rig.guest.reader.give_back();
        rig.turns();
        let seen = rig.completions();
        assert_eq!(of_kind(&seen, kind).count(), 1, "{mode:?}: {seen:?}");
        rig.stage.tell(1, ended(0x1010));
        rig.turns();
        assert_eq!(final_tags(&rig.completions()), [1]);
    }
}

/// Item 68 of §8: PCI in a program that ends at once.
#[test]
fn intermediate_and_final_status_in_one_call_both_arrive_in_order() {
    let pci = Status { subchannel: SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION, ccw_address: 0x1008, ..Status::default() };
    for mode in [StatusMode::Delivered, StatusMode::Held] {
        let mut rig = running(mode);
        rig.stage.tell_all(1, &[DeviceEvent::Intermediate(pci), ended(0x1010)]);
        rig.turns();
        let seen = rig.completions();
        assert_eq!(final_tags(&seen), [1]);
        assert_eq!(seen.last().map(|completion| completion.tag), Some(1));
        if mode == StatusMode::Held {
            let taken = rig.batch(&[plain(Operation::Test, 1, 2)]);
            let scsw = final_of(&taken, 2).scsw;
            assert!(scsw.stctl().contains(StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING));
            assert!(scsw.subchannel_status().contains(SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION), "{scsw:?}");
            assert_eq!(final_of(&rig.batch(&[plain(Operation::Test, 1, 3)]), 3).cc, 1);
        }
    }
}

#[test]
fn a_unit_check_is_alert_status_and_brings_sense_along_if_the_guest_asked_for_it() {
    let check = DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END | DeviceStatus::UNIT_CHECK));
    for concurrent in [false, true] {
        let mut rig = delivered();
        if concurrent {
            let mut schib = rig.schib(1);
            schib.pmcw.set_characteristics(PmcwCharacteristics::CONCURRENT_SENSE);
            let modify = rig.msch(1, &schib, 9);
            assert_eq!(final_of(&rig.batch(&[modify]), 9).cc, 0);
        }
        rig.stage.tell(1, check);
        rig.post(&[ssch(1, 0x71, 1)]);
        rig.turns();
        let found = rig.read();
        assert_eq!(found.len(), 1);
        let (end, extension) = found[0];
        assert_eq!((end.kind(), end.tag, end.cc), (Some(CompletionKind::Final), 1, 0));
        assert_eq!(end.scsw.control_word() & 0x7FFF, 0x4017, "S, A+P+2+X");
        assert!(end.scsw.device_status().contains(DeviceStatus::UNIT_CHECK));
        assert_eq!(end.scsw.control().contains(ScswControl::EXTENDED), concurrent);
        match extension {
            Some(Extension::Irb { esw, ecw }) if concurrent => {
                assert!(esw.erw().has_concurrent_sense());
                assert_eq!((esw.erw().sense_count(), ecw.0), (24, Ecw::from_sense(&[0x5A; 24]).0), "as many as the device has");
            }
            Some(Extension::Irb { esw, .. }) => assert!(!esw.erw().has_concurrent_sense()),
            other => assert!(!concurrent && other.is_none(), "{other:?}"),
        }
        assert_eq!(rig.reactor.counters().ran, 1, "a start that ends with a check has run");
    }
}

#[test]
fn a_program_check_is_alert_status() {
    let mut rig = running(StatusMode::Delivered);
    rig.stage.tell(1, DeviceEvent::Ended(program_check()));
    rig.turns();
    let scsw = final_of(&rig.completions(), 1).scsw;
    assert_eq!(scsw.control_word() & 0x7FFF, 0x4017);
    assert_eq!((scsw.device_status(), scsw.subchannel_status()), (DeviceStatus::empty(), SubchannelStatus::PROGRAM_CHECK));
    assert_eq!(scsw.ccw_address(), 0x1008);
}

/// Rule 2: what an accepted instruction was told never changes; a refusal that shows up later is deferred.
#[test]
fn a_start_that_cannot_be_initiated_ends_with_a_deferred_condition_code() {
    for deferred_cc in [1, 3] {
        let mut rig = running(StatusMode::Delivered);
        let blocked = status(if deferred_cc == 1 { DeviceStatus::ATTENTION } else { DeviceStatus::empty() });
        rig.stage.tell(1, DeviceEvent::Refused { deferred_cc, status: blocked });
        rig.turns();
        let seen = rig.completions();
        assert_eq!(seen.len(), 1);
        let end = final_of(&seen, 1);
        assert_eq!((end.cc, end.disposition()), (0, Some(Disposition::Executed)));
        assert_eq!((end.scsw.deferred_cc(), end.scsw.fctl()), (deferred_cc, FunctionControl::START));
        assert!(end.scsw.stctl().contains(StatusControl::ALERT | StatusControl::PENDING), "{:?}", end.scsw.stctl());
        if deferred_cc == 1 {
            assert_eq!(end.scsw.device_status(), DeviceStatus::ATTENTION);
        }
        assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0, "the function is over");
    }
}

#[test]
fn unsolicited_status_has_no_tag_and_no_function() {
    let mut rig = running(StatusMode::Delivered);
    rig.stage.tell_all(1, &[ended(0x1010), DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION))]);
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((seen[0].kind(), seen[0].tag), (Some(CompletionKind::Final), 1));
    let alert = seen[1];
    assert_eq!((alert.kind(), alert.tag, alert.intparm), (Some(CompletionKind::Unsolicited), 0, 0x71));
    assert_eq!((alert.scsw.control_word() & 0x7FFF, alert.scsw.deferred_cc()), (0x0011, 0), "A+X");
    assert_eq!(alert.scsw.device_status(), DeviceStatus::ATTENTION);
    assert_eq!(rig.schib(1).scsw.control_word() & 0x7FFF, 0);
}

/// Gets ready some time after each start, as a device whose door was closed by hand.
struct Door;

impl SubchannelDevice for Door {
    fn capabilities(&self) -> Capabilities {
        NONE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        cx.events.push(ended(orb.cpa() + 8));
        *cx.timer = Some(cx.now);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Halted(Status::default()));
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Cleared);
    }

    fn timer(&mut self, cx: &mut DeviceContext<'_>) {
        cx.events.push(DeviceEvent::Unsolicited(Status { device: DeviceStatus::DEVICE_END, ..Status::default() }));
    }
}

#[test]
fn a_device_that_is_idle_presents_status_at_its_time_and_in_a_later_turn() {
    let mut rig = Rig::small();
    rig.reactor.attach_subchannel(rig.ring, id(1), SubchannelOptions::new(1), Box::new(Door)).unwrap();
    assert_eq!(final_tags(&rig.batch(&[ssch(1, 0, 5)])), [5]);
    rig.reactor.turn(64);
    let seen = rig.completions();
    assert_eq!(
        seen.iter().map(|seen| (seen.kind(), seen.scsw.device_status())).collect::<Vec<_>>(),
        [(Some(CompletionKind::Unsolicited), DeviceStatus::DEVICE_END)]
    );
    rig.turns();
    assert_eq!(rig.completions(), []);
}

#[test]
fn in_held_mode_unsolicited_status_waits_for_test_subchannel() {
    let mut rig = running(StatusMode::Held);
    rig.stage.tell_all(1, &[ended(0x1010), DeviceEvent::Unsolicited(status(DeviceStatus::ATTENTION))]);
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [1]);
    let mut seen = rig.batch(&[plain(Operation::Test, 1, 2)]);
    assert_eq!(final_of(&seen, 2).scsw.control_word() & 0x7FFF, 0x4007);
    rig.turns();
    seen.extend(rig.completions());
    assert_eq!(of_kind(&seen, CompletionKind::InterruptionPending).count(), 1, "now it has come to the front: {seen:?}");
    assert_eq!(row_codes(&mut rig, &[Operation::Start, Operation::Halt, Operation::Cancel]), [1, 1, 1]);
    let taken = final_of(&rig.batch(&[plain(Operation::Test, 1, 3)]), 3);
    assert_eq!((taken.cc, taken.scsw.control_word() & 0x7FFF), (0, 0x0011));
    assert_eq!(row_codes(&mut rig, &[Operation::Test]), [1]);
}

fn row_codes(rig: &mut Rig, operations: &[Operation]) -> Vec<u8> {
    operations.iter().map(|&operation| code(rig, operation)).collect()
}

/// Matrix rows: idle, active, halt and clear in progress, status pending, not enabled, not provided.
#[test]
fn condition_codes_by_state() {
    assert_eq!(row(delivered), [0, 0, 0, 2, 2, 0, 0, 1]);
    assert_eq!(row(|| running(StatusMode::Delivered)), [2, 0, 0, 2, 2, 2, 0, 1]);
    for (function, expected) in [(Operation::Halt, [2, 2, 0, 2, 2, 2, 0, 1]), (Operation::Clear, [2, 2, 0, 2, 2, 2, 0, 1])] {
        for start in [false, true] {
            let codes = row(|| {
                let mut rig = if start { running(StatusMode::Delivered) } else { delivered() };
                rig.batch(&[plain(function, 1, 2)]);
                rig
            });
            assert_eq!(codes, expected, "{function:?} in progress, start {start}");
        }
    }
    let pending = |events: &[DeviceEvent]| {
        let mut rig = running(StatusMode::Held);
        rig.stage.tell_all(1, events);
        rig.turns();
        rig.completions();
        rig
    };
    assert_eq!(row(|| pending(&[ended(0x1010)])), [1, 1, 0, 1, 1, 1, 0, 0]);
    assert_eq!(row(|| pending(&[DeviceEvent::Ended(program_check())])), [1, 1, 0, 1, 1, 1, 0, 0]);
    let after = |function: Operation, answer: DeviceEvent| {
        let mut rig = Rig::small();
        rig.attach(1, NONE, StatusMode::Held);
        rig.batch(&[plain(function, 1, 2)]);
        rig.stage.tell(1, answer);
        rig.turns();
        assert_eq!(final_tags(&rig.completions()), [2]);
        rig
    };
    assert_eq!(row(|| after(Operation::Clear, DeviceEvent::Cleared)), [1, 1, 0, 1, 1, 1, 0, 0]);
    assert_eq!(row(|| after(Operation::Halt, DeviceEvent::Halted(Status::default()))), [1, 1, 0, 1, 1, 1, 0, 0]);
    let not_enabled = || {
        let mut rig = Rig::small();
        let options = SubchannelOptions::new(1).with_enabled(false);
        let device = rig.stage.device(1, NONE);
        rig.reactor.attach_subchannel(rig.ring, id(1), options, device).unwrap();
        rig
    };
    assert_eq!(row(not_enabled), [3, 3, 3, 3, 3, 0, 0, 3]);
}

/// Descriptors that did not ask get one completion, and those that ask for no notification still get their final.
#[test]
fn accepted_is_told_only_to_who_asked() {
    let mut rig = delivered();
    rig.stage.answer_at_once(1, Operation::Start);
    let quiet = ssch(1, 0, 1).with_flags(fctl_ringabi::DescriptorFlags::NO_NOTIFICATION);
    rig.post(&[quiet]);
    rig.turns();
    let seen = rig.completions();
    assert_eq!(seen.len(), 1);
    rig.post(&[told(ssch(1, 0, 2))]);
    rig.turns();
    let seen = rig.completions();
    assert_eq!(
        seen.iter().map(|completion| completion.kind()).collect::<Vec<_>>(),
        [Some(CompletionKind::Accepted), Some(CompletionKind::Final)]
    );
    assert!(seen.iter().all(|completion| (completion.tag, completion.cc, completion.subsystem) == (2, 0, id(1).word())));
}
