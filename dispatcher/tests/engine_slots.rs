// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets an engine slot when there are fewer than starts: those who wait, in the order in which they came, and nobody else meanwhile.

mod common;

use common::id;
use common::scripted::{ended, final_tags, plain, ssch, Call, Rig};
use fctl_dispatcher::device::{Capabilities, DeviceEvent, Status};
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::Builder;
use fctl_ringabi::arch::{Orb, OrbControl};
use fctl_ringabi::{Descriptor, Operation, RingSizes};

const X: u16 = 1;
const A: u16 = 2;
const B: u16 = 3;
/// As A.
const A2: u16 = 4;

/// One slot, which X has, and three others.
fn one_slot() -> Rig {
    let mut rig = Rig::new(Builder::default().engine_slots(1), RingSizes::new(64));
    for number in [X, A, A2, B] {
        rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
    }
    rig.batch(&[ssch(X, 0, 1)]);
    assert_eq!(rig.stage.take_calls(), [(X, Call::Start(0))]);
    rig
}

/// Turns until a device is told something, or until a turn does nothing, after which an embedder sleeps.
fn told_before_it_sleeps(rig: &mut Rig) -> Vec<(u16, Call)> {
    while rig.reactor.turn(64) {
        let calls = rig.stage.take_calls();
        if !calls.is_empty() {
            return calls;
        }
    }
    Vec::new()
}

#[test]
fn who_was_stopped_while_it_waited_uses_no_slot_up() {
    for stop in [Operation::Clear, Operation::Halt, Operation::Cancel] {
        let mut rig = one_slot();
        rig.batch(&[ssch(A, 0, 2), ssch(A2, 0, 3), ssch(B, 0, 4)]);
        assert_eq!(rig.stage.take_calls(), [], "there is one slot only");
        // Two of them, so that a turn comes in which nothing else happens.
        for number in [A, A2] {
            rig.stage.tell(number, DeviceEvent::Cleared);
        }
        rig.batch(&[plain(stop, A, 5), plain(stop, A2, 6)]);
        rig.turns();
        rig.stage.take_calls();
        rig.stage.tell(X, ended(0x1008));
        assert_eq!(told_before_it_sleeps(&mut rig), [(B, Call::Start(0))], "{stop:?} of who stood before it");
    }
}

#[test]
fn a_new_start_does_not_overtake_one_that_waits() {
    let mut rig = one_slot();
    rig.batch(&[ssch(A, 0, 2)]);
    rig.stage.tell(X, ended(0x1008));
    // The slot becomes free in the very turn that takes B's start.
    rig.batch(&[ssch(B, 0, 3)]);
    rig.turns();
    assert_eq!(rig.stage.take_calls(), [(A, Call::Start(0))]);
    rig.stage.tell(A, ended(0x1008));
    rig.turns();
    assert_eq!(rig.stage.take_calls(), [(B, Call::Start(0))]);
}

#[test]
fn a_suspended_program_holds_no_slot_and_its_resume_waits_for_one() {
    let mut rig = Rig::new(Builder::default().engine_slots(1), RingSizes::new(64));
    for number in [A, B] {
        rig.attach(number, Capabilities::ENGINE, StatusMode::Delivered);
    }
    let orb = Orb::new(0, 0x1000).with_control(OrbControl::SUSPEND | OrbControl::SUPPRESS_SUSPENDED);
    rig.stage.tell(A, DeviceEvent::Suspended(Status::default()));
    rig.batch(&[Descriptor::start(id(A), &orb, 1)]);
    rig.batch(&[ssch(B, 0, 2)]);
    assert_eq!(rig.stage.take_calls(), [(A, Call::Start(0)), (B, Call::Start(0))]);
    rig.batch(&[plain(Operation::Resume, A, 3)]);
    rig.turns();
    assert_eq!(rig.stage.take_calls(), [], "B has the slot");
    rig.stage.tell(B, ended(0x1008));
    rig.turns();
    assert_eq!(rig.stage.take_calls(), [(A, Call::Resume)]);
    rig.stage.tell(A, ended(0x1008));
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [2, 1]);
}

/// What stands behind a turn's fill may be clears, so the line of such a ring waits; but nothing stands behind any more when the ring is not served.
#[test]
fn a_ring_that_is_drained_after_a_turn_had_its_fill_has_its_starts_issued() {
    let mut rig = one_slot();
    rig.post(&[ssch(A, 0, 2), ssch(B, 0, 3)]);
    rig.reactor.turn(2);
    let drained = std::sync::Arc::new(std::sync::Mutex::new(None));
    let reply = drained.clone();
    rig.reactor.drain(rig.ring, None, Box::new(move |busy| *reply.lock().unwrap() = Some(busy))).unwrap();
    for number in [X, A, B] {
        rig.stage.tell(number, ended(0x1008));
    }
    rig.turns();
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [1, 2, 3]);
    assert_eq!(*drained.lock().unwrap(), Some(Vec::new()));
}

#[test]
fn a_guest_that_posts_without_a_pause_gets_slots_too() {
    let mut rig = one_slot();
    rig.post(&[ssch(A, 0, 2)]);
    rig.reactor.turn(1);
    rig.stage.tell(X, ended(0x1008));
    // Each turn has its fill.
    for tag in 0..32 {
        rig.post(&[plain(Operation::Store, B, 100 + tag)]);
        rig.reactor.turn(1);
        rig.read();
    }
    assert_eq!(rig.stage.take_calls(), [(A, Call::Start(0))]);
}
