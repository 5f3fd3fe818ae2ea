// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that never answer: intake goes on all the same, and a clear reaches each of them.

mod common;

use common::scripted::{accepted, final_of, final_tags, finals, plain, ssch, told, Call, Rig};
use common::{id, TestGuest};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::Capabilities;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{ActivityControl, FunctionControl};
use fctl_ringabi::{CompletionFlags, CompletionKind, Disposition, Operation, PostError, RingSizes};

/// The least completion ring that the rules allow.
fn tight(entries: u32) -> RingSizes {
    RingSizes { completion_entries: 2 * entries, ..RingSizes::new(entries) }
}

fn fill_with_starts(rig: &mut Rig, subchannels: u16, entries: u64) {
    for tag in 0..entries {
        let number = u16::try_from(tag % u64::from(subchannels)).unwrap();
        rig.guest.poster.stage(&ssch(number, 0, tag)).unwrap();
    }
    let full = rig.guest.poster.stage(&plain(Operation::Clear, 0, 0)).unwrap_err();
    assert_eq!(full, PostError::SubmissionFull);
    rig.guest.publish();
}

#[test]
fn a_full_ring_of_starts_to_dead_devices_is_taken_and_each_can_be_cleared() {
    const ENTRIES: u16 = 1024;
    let count = u64::from(ENTRIES);
    let mut rig = Rig::new(Builder::default(), tight(u32::from(ENTRIES)));
    for number in 0..ENTRIES {
        let dead = Box::new(Delay::new(Null, FOREVER));
        rig.reactor.attach_subchannel(rig.ring, id(number), SubchannelOptions::new(number), dead).unwrap();
    }
    fill_with_starts(&mut rig, ENTRIES, count);
    assert!(rig.reactor.settle(100));
    assert_eq!((rig.reactor.counters().taken, rig.reactor.counters().finals), (count, 0));
    assert_eq!(rig.completions(), []);
    assert_eq!(rig.reactor.ring_status(rig.ring).unwrap().owed, count);

    for number in 0..ENTRIES {
        rig.guest.poster.stage(&plain(Operation::Clear, number, count + u64::from(number))).unwrap();
    }
    rig.guest.publish();
    assert!(rig.reactor.settle(100));
    let seen = rig.completions();
    assert_eq!(seen.len(), 2 * usize::from(ENTRIES));
    for number in 0..count {
        let start = final_of(&seen, number);
        assert_eq!((start.cc, start.disposition()), (0, Some(Disposition::AbsorbedByClear)));
        assert!(start.flags.contains(CompletionFlags::WAS_ISSUED));
        let clear = final_of(&seen, count + number);
        assert_eq!((clear.cc, clear.scsw.to_words()[0]), (0, 0x0000_1001));
    }
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.stopped_active), (2 * count, 2 * count, count));
}

#[test]
fn a_full_ring_of_starts_to_one_dead_device_is_answered_but_for_the_first() {
    let mut rig = Rig::new(Builder::default(), tight(64));
    let dead = Box::new(Delay::new(Null, FOREVER));
    rig.reactor.attach_subchannel(rig.ring, id(0), SubchannelOptions::new(0), dead).unwrap();
    fill_with_starts(&mut rig, 1, 64);
    assert!(rig.reactor.settle(100));
    let seen = rig.completions();
    assert_eq!(final_tags(&seen), (1..64).collect::<Vec<_>>());
    assert!(seen.iter().all(|completion| completion.cc == 2));
    rig.post(&[plain(Operation::Clear, 0, 100)]);
    assert!(rig.reactor.settle(100));
    assert_eq!(final_tags(&rig.completions()), [0, 100]);
}

#[test]
fn a_clear_reaches_starts_that_wait_for_an_engine_slot_and_the_device_never_sees_them() {
    for slots in 1..=4u16 {
        let mut rig = Rig::new(Builder::default().engine_slots(slots), tight(64));
        for number in 0..64 {
            rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
            rig.stage.answer_at_once(number, Operation::Clear);
        }
        fill_with_starts(&mut rig, 64, 64);
        rig.turns();
        let counters = rig.reactor.counters();
        assert_eq!((counters.taken, counters.finals), (64, 0), "intake does not wait for slots");
        let started = rig.stage.take_calls();
        assert_eq!(started.len(), usize::from(slots), "{started:?}");
        assert!(started.iter().all(|call| matches!(call.1, Call::Start(_))));
        let running: Vec<u16> = started.iter().map(|call| call.0).collect();
        let waiting = (0..64).find(|number| !running.contains(number)).unwrap();
        let scsw = rig.schib(waiting).scsw;
        assert_eq!((scsw.fctl(), scsw.actl()), (FunctionControl::START, ActivityControl::START_PENDING));
        rig.turns();
        assert_eq!(rig.stage.take_calls(), [], "nobody gives a slot back");

        let clears: Vec<_> = (0..64).map(|number| told(plain(Operation::Clear, number, 100 + u64::from(number)))).collect();
        // The tight ring has room for the finals only: half of the clears at a time.
        let mut seen = rig.batch(&clears[..32]);
        seen.extend(rig.batch(&clears[32..]));
        rig.turns();
        seen.extend(rig.completions());
        assert!(accepted(&seen).iter().all(|&(_, cc)| cc == 0));
        assert_eq!(finals(&seen).len(), 128);
        let mut restarted = Vec::new();
        for (name, call) in rig.stage.take_calls() {
            match call {
                Call::Start(_) => restarted.push(name),
                Call::Clear => {}
                other => panic!("{other:?} was not asked for"),
            }
        }
        // Slots that the first half's clears gave back may have been used by starts of the second half, never by cleared ones.
        assert!(restarted.iter().all(|&number| number >= 32), "a start that was cleared got to its device: {restarted:?}");
        for number in 0..64u16 {
            let start = final_of(&seen, u64::from(number));
            assert_eq!(start.disposition(), Some(Disposition::AbsorbedByClear));
            let was_issued = running.contains(&number) || restarted.contains(&number);
            assert_eq!(start.flags.contains(CompletionFlags::WAS_ISSUED), was_issued, "subchannel {number}");
            assert_eq!(final_of(&seen, 100 + u64::from(number)).cc, 0);
        }
        let counters = rig.reactor.counters();
        assert_eq!(counters.starts, counters.merged_away + counters.stopped_active, "{counters:?}");
    }
}

/// All clears of one turn go out before a slot that they free is used again.
#[test]
fn clears_of_one_batch_leave_no_start_behind_that_gets_a_freed_slot() {
    let mut rig = Rig::new(Builder::default().engine_slots(2), RingSizes::new(64));
    for number in 0..32 {
        rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
        rig.stage.answer_at_once(number, Operation::Clear);
    }
    let starts: Vec<_> = (0..32).map(|number| ssch(number, 0, u64::from(number))).collect();
    let clears: Vec<_> = (0..32).map(|number| plain(Operation::Clear, number, 100 + u64::from(number))).collect();
    assert_eq!(rig.batch(&starts), []);
    assert_eq!(rig.stage.take_calls().len(), 2);
    let seen = rig.batch(&clears);
    rig.turns();
    assert!(rig.stage.take_calls().iter().all(|call| call.1 == Call::Clear));
    assert_eq!(finals(&seen).len() + finals(&rig.completions()).len(), 64);
    assert_eq!((rig.reactor.counters().merged_away, rig.reactor.counters().stopped_active), (30, 2));
    // The slots are there again.
    rig.batch(&starts);
    assert_eq!(rig.stage.take_calls().len(), 2);
}

/// Rule 4: nobody else notices.
#[test]
fn dead_devices_of_one_guest_leave_another_guest_alone() {
    let mut rig = Rig::new(Builder::default().engine_slots(1), RingSizes::new(64));
    for number in 0..64 {
        rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
    }
    let mut other = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(other.memory.clone());
    let ring = rig.reactor.attach_ring(guest, other.ends()).unwrap();
    rig.reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(0), Box::new(Null)).unwrap();
    fill_with_starts(&mut rig, 64, 64);
    for tag in 0..300 {
        other.poster.post(&ssch(0, 9, tag)).unwrap();
        for _ in 0..3 {
            rig.reactor.turn(64);
        }
        let (end, _) = other.reader.take().unwrap().expect("its final");
        assert_eq!((end.kind(), end.tag, end.cc), (Some(CompletionKind::Final), tag, 0));
    }
    assert_eq!(rig.completions(), []);
}
