// SPDX-License-Identifier: MIT OR Apache-2.0
//! More starts than a turn issues of one ring: the turn accepts them all the same, so that a clear behind them goes out first of all, and those that are put off wait
//! their turn, where halt and clear still reach them.

mod common;

use common::id;
use common::scripted::{ended, final_of, final_tags, finals, plain, ssch, status, Call, Rig};
use fctl_dispatcher::device::{Capabilities, DeviceEvent};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, SubchannelOptions, MOST_PER_RING_AND_TURN};
use fctl_ringabi::arch::DeviceStatus;
use fctl_ringabi::{Descriptor, Disposition, Operation, RingSizes};
use std::sync::{Arc, Mutex};

const MOST: usize = MOST_PER_RING_AND_TURN as usize;
/// So many starts of a ring are accepted and not issued, as the documentation of [`MOST_PER_RING_AND_TURN`] says.
const AHEAD: usize = 256;

/// Subchannels 0 to `count` with devices that need the engine, and slots for all of them.
fn disks(count: u16) -> Rig {
    disks_with_slots(1024, count)
}

fn disks_with_slots(slots: u16, count: u16) -> Rig {
    let mut rig = Rig::new(Builder::default().engine_slots(slots), RingSizes::new(1024));
    for number in 0..count {
        rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
    }
    rig
}

fn starts(numbers: std::ops::Range<u16>) -> Vec<Descriptor> {
    numbers.map(|number| ssch(number, 0, u64::from(number))).collect()
}

fn started(numbers: std::ops::Range<u16>) -> Vec<(u16, Call)> {
    numbers.map(|number| (number, Call::Start(0))).collect()
}

#[test]
fn a_clear_behind_more_starts_than_a_turn_issues_goes_out_in_the_turn_that_takes_it() {
    let mut rig = disks(201);
    rig.stage.answer_at_once(200, Operation::Clear);
    let mut batch = starts(0..200);
    batch.push(plain(Operation::Clear, 200, 200));
    let seen = rig.batch(&batch);
    assert_eq!(final_tags(&seen), [200]);
    // First of all, and then no more starts than a turn issues; the others follow in the order in which they were posted.
    let mut expected = vec![(200, Call::Clear)];
    expected.extend(started(0..64));
    assert_eq!(rig.stage.take_calls(), expected);
    for range in [64..128, 128..192, 192..200] {
        assert!(rig.reactor.turn(64), "an embedder must not go to sleep over them");
        assert_eq!(rig.stage.take_calls(), started(range));
    }
    for number in 0..200 {
        rig.stage.tell(number, ended(0x1008));
    }
    rig.turns();
    let mut tags = final_tags(&rig.completions());
    tags.sort_unstable();
    assert_eq!(tags, (0..200).collect::<Vec<u64>>());
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.ran), (201, 201, 200), "{counters:?}");
    assert_eq!(rig.reactor.ring_status(rig.ring).unwrap().owed, 0);
}

/// What was accepted and not issued counts for the turns that follow: else a guest that posts without a pause would have ever more accepted.
#[test]
fn no_more_are_accepted_ahead_than_is_said() {
    let mut rig = disks(601);
    rig.stage.answer_at_once(600, Operation::Clear);
    let mut batch = starts(0..600);
    batch.push(plain(Operation::Clear, 600, 1000));
    rig.post(&batch);
    let mut issued = 0;
    // At the end of each turn 192 are left over, until nothing stands in the ring any more.
    for expected in [AHEAD, MOST, MOST, MOST, MOST, MOST, 601 - AHEAD - 5 * MOST, 0, 0, 0] {
        let before = rig.reactor.counters().taken;
        rig.reactor.turn(64);
        let taken = usize::try_from(rig.reactor.counters().taken - before).unwrap();
        let calls = rig.stage.take_calls();
        assert_eq!(taken, expected, "after {issued} were issued");
        let clear = calls.iter().position(|call| *call == (600, Call::Clear));
        assert!(clear.is_none_or(|place| place == 0), "before all starts");
        issued += calls.len() - usize::from(clear.is_some());
    }
    assert_eq!(issued, 600);
}

/// Each needs more of the turn than accepting a start does.
#[test]
fn no_more_instructions_of_other_sorts_are_taken_than_starts_are_issued() {
    let mut rig = disks(1);
    let batch: Vec<_> = (0..200).map(|tag| plain(Operation::Store, 0, tag)).collect();
    rig.post(&batch);
    for expected in [MOST, MOST, MOST, 200 - 3 * MOST, 0] {
        let before = rig.reactor.counters().taken;
        rig.reactor.turn(64);
        assert_eq!(rig.reactor.counters().taken - before, expected as u64);
    }
    assert_eq!(final_tags(&rig.completions()), (0..200).collect::<Vec<u64>>());
}

/// Nothing is gained by taking starts that are over at once before the turn that issues them.
#[test]
fn a_ring_without_disks_has_no_more_taken_than_issued() {
    let mut rig = Rig::new(Builder::default(), RingSizes::new(1024));
    for number in 0..200 {
        rig.attach(number, Capabilities::empty(), StatusMode::Delivered);
    }
    rig.post(&starts(0..200));
    for range in [0..64, 64..128, 128..192, 192..200] {
        let before = rig.reactor.counters().taken;
        rig.reactor.turn(64);
        assert_eq!(rig.reactor.counters().taken - before, range.len() as u64);
        assert_eq!(rig.stage.take_calls(), started(range));
    }
}

#[test]
fn a_start_that_was_put_off_is_still_overtaken() {
    for stop in [Operation::Clear, Operation::Halt, Operation::Cancel] {
        let mut rig = disks(200);
        rig.batch(&starts(0..150));
        assert_eq!(rig.stage.take_calls(), started(0..64));
        rig.stage.answer_at_once(100, Operation::Clear);
        rig.stage.answer_at_once(100, Operation::Halt);
        // Its turn would come with the one after next, and that of this one with the next.
        let seen = rig.batch(&[plain(stop, 140, 2000), plain(stop, 100, 2001)]);
        rig.stage.tell(140, DeviceEvent::Cleared);
        rig.turns();
        let told = rig.stage.take_calls();
        assert!(!told.contains(&(100, Call::Start(0))) && !told.contains(&(140, Call::Start(0))), "{stop:?}: {told:?}");
        let by = match stop {
            Operation::Clear => Disposition::AbsorbedByClear,
            Operation::Halt => Disposition::AbsorbedByHalt,
            _ => Disposition::AbsorbedByCancel,
        };
        for tag in [100, 140] {
            assert_eq!(final_of(&seen, tag).disposition(), Some(by), "in the turn that took the {stop:?}");
        }
    }
}

/// A start, put off, that is taken away and followed by another one stands where the first one stood, once.
#[test]
fn a_start_behind_one_that_was_put_off_and_cleared_is_issued_once() {
    let mut rig = disks(200);
    rig.batch(&starts(0..150));
    assert_eq!(rig.stage.take_calls(), started(0..64));
    rig.stage.answer_at_once(100, Operation::Clear);
    let seen = rig.batch(&[plain(Operation::Clear, 100, 2000), ssch(100, 7, 2001)]);
    assert_eq!(final_of(&seen, 100).disposition(), Some(Disposition::AbsorbedByClear));
    rig.turns();
    rig.batch(&[ssch(100, 8, 2002)]);
    rig.turns();
    let calls: Vec<_> = rig.stage.take_calls().into_iter().filter(|call| call.0 == 100).collect();
    assert_eq!(calls[0], (100, Call::Clear));
    assert_eq!(calls.len(), 2, "{calls:?}");
}

#[test]
fn a_ring_with_starts_put_off_holds_up_no_other_ring() {
    let mut rig = disks(200);
    let mut other = common::TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(other.memory.clone());
    let ring = rig.reactor.attach_ring(guest, other.ends()).unwrap();
    let device = rig.stage.device(500, Capabilities::ENGINE);
    rig.stage.answer_at_once(500, Operation::Start);
    rig.reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), device).unwrap();
    rig.post(&starts(0..190));
    for tag in 0..3 {
        other.poster.post(&ssch(1, 0, tag)).unwrap();
        rig.reactor.turn(64);
        assert!(rig.stage.take_calls().contains(&(500, Call::Start(0))));
        assert_eq!(other.reader.take().unwrap().expect("its final").0.tag, tag);
    }
}

#[test]
fn a_ring_with_starts_put_off_is_drained_with_all_of_them_issued() {
    let mut rig = disks(200);
    rig.batch(&starts(0..190));
    let busy = Arc::new(Mutex::new(None));
    let reply = Arc::clone(&busy);
    rig.reactor.drain(rig.ring, None, Box::new(move |list| *reply.lock().unwrap() = Some(list))).unwrap();
    for number in 0..190 {
        rig.stage.tell(number, ended(0x1008));
    }
    rig.turns();
    rig.turns();
    assert_eq!(*busy.lock().unwrap(), Some(Vec::new()));
    assert_eq!(finals(&rig.completions()).len(), 190);
}

#[test]
fn a_ring_with_starts_put_off_is_detached_and_each_has_its_final() {
    let mut rig = disks(200);
    rig.batch(&starts(0..190));
    for number in 0..190 {
        rig.stage.answer_at_once(number, Operation::Clear);
    }
    rig.stage.take_calls();
    rig.reactor.detach_ring(rig.ring, None, Box::new(|busy| assert_eq!(busy, [0; 0]))).unwrap();
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    let calls = rig.stage.take_calls();
    assert!(calls.iter().all(|call| call.1 == Call::Clear), "what was not issued is not issued any more: {calls:?}");
    assert_eq!(calls.len(), MOST, "only who has a start is told to clear");
    assert_eq!(finals(&rig.completions()).len(), 190);
    let counters = rig.reactor.counters();
    assert_eq!((counters.merged_away, counters.stopped_active), (126, 64), "{counters:?}");
}

#[test]
fn a_subchannel_whose_start_was_put_off_can_be_taken_away_and_come_back() {
    let mut rig = disks(200);
    rig.batch(&starts(0..150));
    rig.stage.take_calls();
    rig.reactor.detach_subchannel(rig.guest_id, id(140), None, Box::new(|busy| assert_eq!(busy, [0; 0]))).unwrap();
    rig.reactor.turn(0);
    assert_eq!(rig.stage.gone(), [140]);
    rig.attach(140, Capabilities::ENGINE, StatusMode::Delivered);
    rig.stage.answer_at_once(140, Operation::Start);
    rig.batch(&[ssch(140, 7, 3000)]);
    rig.turns();
    let calls = rig.stage.take_calls();
    assert_eq!(calls.iter().filter(|call| call.0 == 140).collect::<Vec<_>>(), [&(140, Call::Start(7))]);
    let calls: Vec<_> = calls.into_iter().filter(|call| call.0 < 140).collect();
    assert_eq!(calls, started(64..140), "each of the others once");
}

#[test]
fn a_small_budget_takes_no_more_than_it_says() {
    let mut rig = disks(200);
    let mut batch = starts(0..150);
    batch.push(plain(Operation::Clear, 199, 1000));
    rig.post(&batch);
    for budget in [0, 1, 0, 5, 63] {
        let before = rig.reactor.counters().taken;
        rig.reactor.turn(budget);
        assert_eq!(rig.reactor.counters().taken - before, u64::from(budget));
    }
}

/// Also if they waited for engine slots, and many become free at once.
#[test]
fn starts_that_are_given_slots_are_of_the_share_of_a_turn() {
    let mut rig = disks_with_slots(128, 200);
    rig.batch(&starts(0..200));
    rig.turns();
    assert_eq!(rig.stage.take_calls(), started(0..128));
    for number in 0..128 {
        rig.stage.tell(number, ended(0x1008));
    }
    for range in [128..192, 192..200] {
        assert!(rig.reactor.turn(64));
        assert_eq!(rig.stage.take_calls(), started(range));
    }
    let mut tags = final_tags(&rig.completions());
    tags.sort_unstable();
    assert_eq!(tags, (0..128).collect::<Vec<u64>>());
}

/// What stands behind a turn's fill may be clears, but a turn that is to take nothing takes no clears either.
#[test]
fn a_turn_without_a_budget_gives_slots_away() {
    let mut rig = disks_with_slots(1, 300);
    rig.post(&starts(0..300));
    rig.reactor.turn(64);
    assert_eq!(rig.stage.take_calls(), started(0..1));
    rig.stage.tell(0, ended(0x1008));
    for _ in 0..3 {
        rig.reactor.turn(0);
    }
    assert_eq!(rig.stage.take_calls(), started(1..2));
}

/// Starts that waited for the device end of the ones before them can all be issued at once, and were not accepted ahead.
#[test]
fn clears_come_in_whatever_has_put_starts_off() {
    let mut rig = disks(501);
    rig.stage.answer_at_once(500, Operation::Clear);
    for number in 0..500 {
        rig.stage.tell(number, DeviceEvent::Ended(status(DeviceStatus::CHANNEL_END)));
    }
    let mut ends = final_tags(&rig.batch(&starts(0..500)));
    for _ in 0..3 {
        rig.turns();
    }
    ends.extend(final_tags(&rig.completions()));
    assert_eq!(ends.len(), 500);
    rig.batch(&starts(0..500));
    rig.turns();
    rig.stage.take_calls();
    for number in 0..500 {
        rig.stage.tell(number, DeviceEvent::Secondary(status(DeviceStatus::DEVICE_END)));
    }
    // All are put off but the first ones.
    rig.reactor.turn(64);
    assert_eq!(rig.stage.take_calls().len(), MOST);
    rig.batch(&[plain(Operation::Clear, 500, 1000)]);
    assert_eq!(rig.stage.take_calls()[0], (500, Call::Clear));
}

/// Null devices beside disks.
#[test]
fn a_ring_of_both_sorts_has_no_more_issued_than_the_share_of_a_turn() {
    let mut rig = disks(192);
    let place = rig.ring;
    for number in 200..264 {
        let null = Box::new(fctl_dispatcher::device::null::Null);
        rig.reactor.attach_subchannel(place, id(number), SubchannelOptions::new(number), null).unwrap();
    }
    let mut batch = starts(200..264);
    batch.extend(starts(0..192));
    rig.post(&batch);
    for issued in [64, 128, 192, 256] {
        rig.reactor.turn(64);
        assert_eq!(rig.reactor.counters().issued, issued);
    }
}
