// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a dispatcher and of what is attached to it: three ways to run, sleep and doorbells, attach, drain, detach, stop and drop, each
//! with work in flight.

mod common;

use common::scripted::{accepted, ended, final_of, final_tags, plain, ssch, told, Call, Rig, Stage};
use common::{id, TestGuest, PATIENCE};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceContext, DeviceEvent, SubchannelDevice};
use fctl_dispatcher::engine;
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{
    AttachError, Builder, ControlError, Handle, Inventory, Reactor, RingId, StillBusy, SubchannelOptions, WaitPolicy,
};
use fctl_ringabi::arch::Orb;
use fctl_ringabi::header::word;
use fctl_ringabi::{CompletionFlags, CompletionKind, Disposition, GuestPort, Operation, RingSizes, WordMemory};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

const NONE: Capabilities = Capabilities::empty();

fn attach_null(handle: &Handle, ring: RingId, number: u16) {
    handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
}

fn attach_dead(handle: &Handle, ring: RingId, number: u16) {
    let dead = Box::new(Delay::new(Null, FOREVER));
    handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), dead).unwrap();
}

fn post(guest: &mut TestGuest, descriptors: &[fctl_ringabi::Descriptor]) {
    for descriptor in descriptors {
        guest.poster.stage(descriptor).unwrap();
    }
    guest.publish();
}

/// Waits until a notification is there.
fn readable(notification: &EventFd) -> bool {
    // SAFETY: it is borrowed, hence open, as long as this is used.
    let notification = unsafe { BorrowedFd::borrow_raw(notification.as_raw_fd()) };
    let patience = Timespec::try_from(PATIENCE / 4).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(notification, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

/// Waits until the dispatcher has taken so many descriptors.
fn until_taken(handle: &Handle, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while handle.counters().unwrap().taken < count {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

/// A start answered by a null device.
fn ping(guest: &mut TestGuest, number: u16, tag: u64) {
    post(guest, &[ssch(number, 3, tag)]);
    let (end, _) = guest.next();
    assert_eq!((end.kind(), end.tag, end.cc, end.subsystem), (Some(CompletionKind::Final), tag, 0, id(number).word()));
}

// ---------------------------------------------------------------------------------------------------------------------
// Three ways to run

#[test]
fn on_a_thread_of_its_own() {
    for policy in [WaitPolicy::sleeping(), WaitPolicy::busy(), WaitPolicy::polling(Duration::from_micros(50))] {
        let handle = Builder::default().wait(policy).spawn().unwrap();
        let mut guest = TestGuest::new(RingSizes::new(8));
        let (_, ring) = guest.attach(&handle);
        attach_null(&handle, ring, 1);
        for tag in 0..300 {
            ping(&mut guest, 1, tag);
        }
        if policy == WaitPolicy::busy() {
            assert_eq!(handle.counters().unwrap().sleeps, 0);
        }
        handle.stop().unwrap();
        assert!(matches!(handle.counters(), Err(ControlError::Stopped)));
    }
}

#[test]
fn on_a_thread_of_the_callers() {
    let (mut reactor, handle) = Builder::default().wait(WaitPolicy::sleeping()).build().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(8));
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            reactor.run_here();
            assert!(reactor.finished());
            reactor.counters()
        });
        let (_, ring) = guest.attach(&handle);
        attach_null(&handle, ring, 1);
        for tag in 0..300 {
            ping(&mut guest, 1, tag);
        }
        handle.stop().unwrap();
        let counters = thread.join().unwrap();
        assert_eq!((counters.taken, counters.finals), (300, 300));
    });
    let error = handle.inventory().unwrap_err();
    assert_eq!(error.to_string(), "the dispatcher has stopped");
}

/// An event loop of the embedder's own, as the documentation of `prepare_sleep` describes it.
fn embedders_loop(mut reactor: Reactor, slept: &AtomicU64) -> Reactor {
    while !reactor.finished() {
        if reactor.turn(64) || !reactor.prepare_sleep() {
            continue;
        }
        let timer = reactor.next_timer();
        let timeout = Timespec::try_from(timer.unwrap_or(PATIENCE)).unwrap();
        let ready = poll(&mut [PollFd::new(&reactor.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        slept.fetch_add(1, Ordering::Relaxed);
        reactor.wake();
        // A timeout of seconds is there for what nobody expects to happen.
        let expected = timer.is_some_and(|timer| timer < Duration::from_secs(1));
        assert!(ready > 0 || expected || !reactor.turn(64), "a wake-up was lost");
    }
    reactor
}

#[test]
fn in_a_loop_of_the_embedders_own_that_polls_a_descriptor() {
    let (reactor, handle) = Builder::default().build().unwrap();
    let slept = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&slept);
    // The first turn binds the reactor to its thread, so it moves before it.
    let thread = std::thread::spawn(move || embedders_loop(reactor, &counted).counters());
    let mut guest = TestGuest::new(RingSizes::new(8));
    let (_, ring) = guest.attach(&handle);
    attach_null(&handle, ring, 1);
    let late = Delay::new(Null, Duration::from_millis(1));
    handle.attach_subchannel(ring, id(2), SubchannelOptions::new(2), Box::new(late)).unwrap();
    for tag in 0..300 {
        // Wait until it sleeps, so that each post needs the doorbell; then the guest sleeps for its notification.
        let deadline = Instant::now() + PATIENCE;
        while guest.region.words().load(word::SQ_SLEEP, Ordering::Acquire) % 2 == 0 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        post(&mut guest, &[ssch(1 + u16::from(tag % 10 == 0), 0, tag)]);
        while guest.reader.is_empty() {
            if guest.reader.announce_sleep() {
                guest.notification.read().unwrap();
                guest.reader.awake();
            }
        }
        assert_eq!(guest.next().0.tag, tag);
        if tag % 50 == 0 {
            assert_eq!(handle.inventory().unwrap().rings, 1, "the mailbox wakes it too");
        }
    }
    handle.stop().unwrap();
    assert_eq!(thread.join().unwrap().finals, 300);
    assert!(slept.load(Ordering::Relaxed) >= 300);
}

/// A device whose start is one operation that another thread of the kernel's performs.
struct Syncs(std::fs::File);

impl SubchannelDevice for Syncs {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ENGINE
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, _orb: &Orb) {
        let slot = cx.slot.expect("it asked for one");
        cx.engine.submit(slot, engine::Operation::Sync { file: self.0.as_raw_fd() });
    }

    fn halt(&mut self, _cx: &mut DeviceContext<'_>) {}

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        assert!(!cx.slot.is_some_and(|slot| cx.engine.in_flight(slot)), "this test stops nothing");
        cx.events.push(DeviceEvent::Cleared);
    }

    fn operation_ended(&mut self, cx: &mut DeviceContext<'_>, result: engine::OperationResult) {
        result.unwrap();
        cx.events.push(ended(0x1008));
    }
}

#[test]
fn the_end_of_an_operation_wakes_a_loop_of_the_embedders_own() {
    let (reactor, handle) = Builder::default().engine_slots(2).build().unwrap();
    let thread = std::thread::spawn(move || embedders_loop(reactor, &AtomicU64::new(0)).counters());
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    for number in 0..4 {
        // In memory, so that no other load of a disk is waited for.
        let device = Box::new(Syncs(sealed_memory_file("fctl-test", 4096).unwrap()));
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    for round in 0..50 {
        post(&mut guest, &[0, 1, 2, 3].map(|number| ssch(number, 0, round * 4 + u64::from(number))));
        let tags: BTreeSet<u64> = (0..4).map(|_| guest.next().0.tag / 4).collect();
        assert_eq!(tags, BTreeSet::from([round]));
    }
    handle.stop().unwrap();
    assert_eq!(thread.join().unwrap().ran, 200);
}

/// Nobody rings for a deadline: the loop is told how long it may wait.
#[test]
fn a_deadline_comes_in_a_loop_of_the_embedders_own() {
    let (reactor, handle) = Builder::default().build().unwrap();
    let thread = std::thread::spawn(move || embedders_loop(reactor, &AtomicU64::new(0)).counters());
    let mut guest = TestGuest::new(RingSizes::new(8));
    let (_, ring) = guest.attach(&handle);
    attach_dead(&handle, ring, 1);
    post(&mut guest, &[ssch(1, 0, 1)]);
    until_taken(&handle, 1);
    let error = handle.drain(ring, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, ControlError::Deadline(StillBusy(busy)) if busy == [0x0001_0001]));
    handle.stop().unwrap();
    assert_eq!(thread.join().unwrap().finals, 1);
}

/// `turn` takes at most the budget, and never more than 64, from each ring.
#[test]
fn a_turn_is_bounded_by_its_budget_for_each_ring() {
    let mut rig = Rig::new(Builder::default(), RingSizes::new(256));
    rig.attach(1, NONE, StatusMode::Delivered);
    let mut other = TestGuest::new(RingSizes::new(256));
    let ring = rig.reactor.attach_ring(rig.guest_id, other.ends()).unwrap();
    rig.reactor.attach_subchannel(ring, id(2), SubchannelOptions::new(2), Box::new(Null)).unwrap();
    let many: Vec<_> = (0..200).map(|tag| plain(Operation::Store, 1, tag)).collect();
    rig.post(&many);
    post(&mut other, &[plain(Operation::Store, 2, 0), plain(Operation::Store, 2, 1), plain(Operation::Store, 2, 2)]);
    let mut taken = 0;
    for (budget, most) in [(1, 2), (10, 12), (64, 64), (1000, 64), (u32::MAX, 61), (64, 0)] {
        let did = rig.reactor.turn(budget);
        let now = rig.reactor.counters().taken;
        assert_eq!((now - taken, did), (most, most > 0), "budget {budget}");
        taken = now;
    }
    assert_eq!(final_tags(&rig.completions()), (0..200).collect::<Vec<_>>(), "in posted order");
}

#[test]
fn a_dispatcher_that_sleeps_is_woken_by_timers_doorbells_and_the_mailbox_without_losing_any() {
    let handle = Builder::default().wait(WaitPolicy::sleeping()).spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    attach_null(&handle, ring, 1);
    let late = Delay::new(Null, Duration::from_micros(300));
    handle.attach_subchannel(ring, id(2), SubchannelOptions::new(2), Box::new(late)).unwrap();
    for tag in 0..400u64 {
        ping(&mut guest, if tag % 4 == 0 { 2 } else { 1 }, tag);
        if tag % 16 == 0 {
            handle.inventory().unwrap();
        }
    }
    assert!(handle.counters().unwrap().sleeps > 0);
}

/// Both sides sleep whenever they can, so that each completion needs its notification, also one that is published while the last
/// notification has woken the guest but is not yet known to have been written.
#[test]
fn a_guest_that_sleeps_for_each_completion_is_woken_for_each() {
    const ROUNDS: u64 = 20_000;
    let handle = Builder::default().wait(WaitPolicy::sleeping()).spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(8));
    let (_, ring) = guest.attach(&handle);
    attach_null(&handle, ring, 1);
    for tag in 0..ROUNDS {
        post(&mut guest, &[ssch(1, 0, tag)]);
        while guest.reader.is_empty() {
            if guest.reader.announce_sleep() {
                let woken = readable(&guest.notification);
                assert!(woken, "nobody woke the guest in round {tag}; is its completion there? {}", !guest.reader.is_empty());
                guest.notification.read().unwrap();
                guest.reader.awake();
            }
        }
        assert_eq!(guest.next().0.tag, tag);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Attach

#[test]
fn subchannels_rings_and_guests_are_attached_while_others_are_served() {
    let handle = Builder::default().spawn().unwrap();
    let mut first = TestGuest::new(RingSizes::new(64));
    let (_, ring) = first.attach(&handle);
    let mut others = Vec::new();
    for number in 0..40u16 {
        attach_null(&handle, ring, number);
        // Work is under way while the next guest comes.
        let starts: Vec<_> = (0..=number).map(|number| ssch(number, 0, u64::from(number))).collect();
        post(&mut first, &starts);
        let mut guest = TestGuest::new(RingSizes::new(8));
        let (_, its) = guest.attach(&handle);
        attach_null(&handle, its, number);
        ping(&mut guest, number, 7);
        others.push(guest);
        let tags: BTreeSet<u64> = starts.iter().map(|_| first.next().0.tag).collect();
        assert_eq!(tags.len(), starts.len());
    }
    assert_eq!(handle.inventory().unwrap(), Inventory { guests: 41, rings: 41, subchannels: 80, in_flight: 0 });
    for (number, guest) in others.iter_mut().enumerate() {
        ping(guest, u16::try_from(number).unwrap(), 8);
    }
}

#[test]
fn two_guests_with_equal_subchannel_numbers_have_two_subchannels() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    let mut other = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(other.memory.clone());
    let ring = rig.reactor.attach_ring(guest, other.ends()).unwrap();
    let device = rig.stage.device(101, NONE);
    rig.reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), device).unwrap();
    rig.post(&[ssch(1, 0xA, 1)]);
    post(&mut other, &[told(ssch(1, 0xB, 1)), told(plain(Operation::Clear, 1, 2))]);
    rig.reactor.turn(64);
    let calls = rig.stage.take_calls();
    assert_eq!(calls, [(101, Call::Clear), (1, Call::Start(0xA))]);
    rig.stage.tell(101, DeviceEvent::Cleared);
    rig.turns();
    assert_eq!(rig.completions(), [], "the other guest's clear is not ours");
    rig.stage.tell(1, ended(0x1010));
    rig.turns();
    assert_eq!(final_tags(&rig.completions()), [1]);
    let seen: Vec<_> = std::iter::from_fn(|| other.reader.take().unwrap()).map(|found| found.0).collect();
    assert_eq!((accepted(&seen), final_tags(&seen)), (vec![(1, 0), (2, 0)], vec![1, 2]));
    assert_eq!(final_of(&seen, 2).intparm, 0xB);
}

#[test]
fn many_rings_of_one_guest_are_all_served() {
    const RINGS: u16 = 100;
    let (mut reactor, _handle) = Builder::default().build().unwrap();
    let mut ends: Vec<TestGuest> = (0..RINGS).map(|_| TestGuest::new(RingSizes::new(8))).collect();
    let guest = reactor.attach_guest(ends[0].memory.clone());
    let mut rings = Vec::new();
    for (number, end) in (0..).zip(&ends) {
        let ring = reactor.attach_ring(guest, end.ends()).unwrap();
        reactor.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(Null)).unwrap();
        rings.push(ring);
    }
    for round in 0..20 {
        for (number, end) in (0..).zip(&mut ends) {
            end.poster.post(&ssch(number, 0, round)).unwrap();
        }
        reactor.turn(64);
        reactor.turn(64);
        for (number, end) in (0..).zip(&mut ends) {
            let (found, _) = end.reader.take().unwrap().expect("its final");
            assert_eq!((found.tag, found.subsystem), (round, id(number).word()));
            assert_eq!(end.reader.take().unwrap(), None);
        }
    }
    // Every second one goes, in any order; the rest goes on.
    for &ring in rings.iter().step_by(2).rev() {
        reactor.detach_ring(ring, None, Box::new(drop)).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while reactor.inventory().rings > usize::from(RINGS) / 2 {
        assert!(Instant::now() < deadline);
        reactor.turn(64);
        std::thread::yield_now();
    }
    for (number, end) in (0..).zip(&mut ends) {
        end.poster.post(&ssch(number, 0, 77)).unwrap();
        reactor.turn(64);
        reactor.turn(64);
        let found = end.reader.take().unwrap().map(|found| found.0.tag);
        assert_eq!(found, (number % 2 == 1).then_some(77));
    }
}

/// The ring's positions live in the ring: whoever attaches the region next goes on where the last one stopped.
#[test]
fn a_region_that_is_attached_again_goes_on_where_it_was() {
    let mut guest = TestGuest::new(RingSizes::new(8));
    let mut tag = 0;
    for round in 0..7 {
        // Each time another dispatcher, and not always a whole number of laps.
        let handle = Builder::default().spawn().unwrap();
        let (_, ring) = guest.attach(&handle);
        attach_null(&handle, ring, 1);
        if round > 0 {
            // Posted while nobody was there, and a completion that nobody has read yet.
            for _ in 0..4 {
                assert_eq!(guest.next().0.tag, tag);
                tag += 1;
            }
        }
        for _ in 0..5 + round * 3 {
            ping(&mut guest, 1, tag);
            tag += 1;
        }
        post(&mut guest, &[ssch(1, 0, tag)]);
        while guest.reader.is_empty() {
            std::thread::yield_now();
        }
        handle.detach_ring(ring, PATIENCE).unwrap();
        post(&mut guest, &[1, 2, 3].map(|more| plain(Operation::Store, 1, tag + more)));
        handle.stop().unwrap();
    }
    // Ends that say where they stopped can be followed by others.
    let TestGuest { poster, mut reader, region, .. } = guest;
    assert!(!poster.finish());
    reader.give_back();
    let (mut poster, mut reader) = GuestPort::open(region.words().clone()).unwrap().split();
    assert_eq!(reader.take().unwrap().map(|found| found.0.tag), Some(tag));
    let _ = poster.post(&ssch(1, 0, 1)).unwrap();
}

// ---------------------------------------------------------------------------------------------------------------------
// Drain, detach, stop, drop

#[test]
fn drain_waits_for_what_ends_by_itself_and_takes_nothing_more() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    for number in 0..8 {
        let late = Delay::new(Null, Duration::from_millis(5 * u64::from(number)));
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), Box::new(late)).unwrap();
    }
    let starts: Vec<_> = (0..8).map(|number| ssch(number, 0, u64::from(number))).collect();
    post(&mut guest, &starts);
    until_taken(&handle, 8);
    handle.drain(ring, PATIENCE).unwrap();
    let seen: Vec<_> = std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0).collect();
    assert_eq!(final_tags(&seen).len(), 8, "all had ended when drain returned");
    assert!(seen.iter().all(|one| one.disposition() == Some(Disposition::Executed)));
    let status = handle.ring_status(ring).unwrap().unwrap();
    assert_eq!((status.serving, status.owed, status.fenced), (false, 0, None));
    post(&mut guest, &[ssch(0, 0, 9)]);
    handle.drain(ring, PATIENCE).unwrap();
    assert_eq!(handle.counters().unwrap().taken, 8);
    handle.detach_ring(ring, PATIENCE).unwrap();
    assert_eq!(guest.reader.take().unwrap(), None);
}

#[test]
fn drain_returns_what_is_still_in_flight_when_the_deadline_comes() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    attach_null(&handle, ring, 1);
    attach_dead(&handle, ring, 2);
    attach_dead(&handle, ring, 3);
    attach_dead(&handle, ring, 4);
    post(&mut guest, &[ssch(1, 0, 1), ssch(2, 0, 2), ssch(4, 0, 4)]);
    until_taken(&handle, 3);
    for _ in 0..2 {
        let error = handle.drain(ring, Duration::from_millis(5)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("deadline") && text.contains("0x00010002") && text.contains("0x00010004"), "{text}");
        let ControlError::Deadline(StillBusy(mut busy)) = error else { panic!("{error:?}") };
        busy.sort_unstable();
        assert_eq!(busy, [0x0001_0002, 0x0001_0004]);
    }
    // Detaching stops them.
    handle.detach_ring(ring, PATIENCE).unwrap();
    let seen: Vec<_> = std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0).collect();
    assert_eq!(final_tags(&seen).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 4]));
    assert_eq!(final_of(&seen, 4).disposition(), Some(Disposition::AbsorbedByClear));
}

#[test]
fn detach_stops_what_runs_and_each_descriptor_gets_its_final() {
    let mut rig = Rig::new(Builder::default().engine_slots(1), RingSizes::new(64));
    for number in 1..=5 {
        rig.attach(number, if number < 4 { Capabilities::ENGINE } else { NONE }, StatusMode::Delivered);
    }
    // Running, waiting for the slot, halted while waiting; running, halted while running.
    rig.batch(&[ssch(1, 0, 1), ssch(2, 0, 2), ssch(4, 0, 4), ssch(5, 0, 5)]);
    rig.batch(&[plain(Operation::Halt, 5, 6)]);
    rig.post(&[ssch(3, 0, 3)]);
    rig.stage.take_calls();
    let (reply, answer) = mpsc::channel();
    let send = Box::new(move |busy| reply.send(busy).unwrap());
    rig.reactor.detach_ring(rig.ring, None, send).unwrap();
    rig.turns();
    let mut calls = rig.stage.take_calls();
    calls.sort_by_key(|call| call.0);
    assert_eq!(calls, [(1, Call::Clear), (4, Call::Clear), (5, Call::Clear)], "what was never started is never told");
    let seen = rig.completions();
    assert_eq!(final_of(&seen, 2).disposition(), Some(Disposition::AbsorbedByClear));
    assert!(answer.try_recv().is_err(), "the devices have not answered yet");
    assert_eq!(rig.reactor.inventory().subchannels, 5);
    for number in [1, 4, 5] {
        rig.stage.tell(number, DeviceEvent::Cleared);
    }
    rig.until("the ring is gone", |reactor| reactor.inventory() == Inventory { guests: 1, ..Inventory::default() });
    assert_eq!(answer.recv().unwrap(), [0; 0]);
    assert_eq!(rig.stage.gone(), [1, 2, 3, 4, 5]);
    let seen = [seen, rig.completions()].concat();
    let mut tags = final_tags(&seen);
    tags.sort_unstable();
    assert_eq!(tags, [1, 2, 4, 5, 6], "the one that was not taken has none");
    for tag in [1, 4, 5] {
        let stopped = final_of(&seen, tag);
        assert_eq!((stopped.cc, stopped.disposition()), (0, Some(Disposition::AbsorbedByClear)));
        assert!(stopped.flags.contains(CompletionFlags::WAS_ISSUED));
    }
    let counters = rig.reactor.counters();
    assert_eq!((counters.taken, counters.finals, counters.unstored), (5, 5, 0));
    assert_eq!((counters.starts, counters.merged_away, counters.stopped_active), (4, 1, 3));
}

/// A device that does not answer a clear keeps its ring; the deadline says so, and the ring goes by itself later.
#[test]
fn detach_names_who_is_still_busy_at_the_deadline_and_goes_on_by_itself() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.attach(2, NONE, StatusMode::Delivered);
    rig.batch(&[ssch(1, 0, 1)]);
    let (reply, answer) = mpsc::channel();
    let send = Box::new(move |busy| reply.send(busy).unwrap());
    rig.reactor.detach_ring(rig.ring, Some(Instant::now()), send).unwrap();
    rig.turns();
    assert_eq!(answer.recv().unwrap(), [0x0001_0001]);
    assert_eq!(rig.reactor.inventory().rings, 1, "what the device may still use stays owned");
    assert_eq!(rig.completions(), []);
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    assert_eq!(final_tags(&rig.completions()), [1]);
    rig.reactor.detach_guest(rig.guest_id).unwrap();
}

#[test]
fn detach_while_the_guest_keeps_posting() {
    let handle = Builder::default().spawn().unwrap();
    for _ in 0..20 {
        let mut guest = TestGuest::new(RingSizes::new(64));
        let (guest_id, ring) = guest.attach(&handle);
        for number in 0..8 {
            attach_null(&handle, ring, number);
        }
        let before = handle.counters().unwrap();
        let (posted, finals) = std::thread::scope(|scope| {
            let (handle, stop) = (&handle, Arc::new(AtomicU64::new(0)));
            let stopped = Arc::clone(&stop);
            let guest = &mut guest;
            let work = scope.spawn(move || {
                let (mut posted, mut finals) = (BTreeSet::new(), Vec::new());
                while stopped.load(Ordering::Acquire) == 0 {
                    let tag = posted.len() as u64;
                    if guest.poster.stage(&ssch(u16::try_from(tag % 8).unwrap(), 0, tag)).is_ok() {
                        posted.insert(tag);
                    }
                    guest.publish();
                    finals.extend(std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0.tag));
                }
                finals.extend(std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0.tag));
                (posted, finals)
            });
            until_taken(handle, before.taken + 100);
            handle.detach_ring(ring, PATIENCE).unwrap();
            stop.store(1, Ordering::Release);
            work.join().unwrap()
        });
        let counters = handle.counters().unwrap();
        let unique: BTreeSet<u64> = finals.iter().copied().collect();
        assert_eq!(unique.len(), finals.len(), "none twice");
        assert!(unique.is_subset(&posted));
        assert_eq!((counters.taken - before.taken, counters.taken), (finals.len() as u64, counters.finals), "none lost");
        handle.detach_guest(guest_id).unwrap();
    }
    assert_eq!(handle.inventory().unwrap(), Inventory::default());
}

/// Rule 5: a notification that its eventfd blocks delays nobody, and does not keep its ring.
#[test]
fn a_guest_that_blocks_its_notification_can_be_detached() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    attach_null(&handle, ring, 1);
    let mut other = TestGuest::new(RingSizes::new(64));
    let (_, others) = other.attach(&handle);
    attach_null(&handle, others, 1);
    // One more write would overflow the counter, so it blocks.
    guest.notification.write(u64::MAX - 1).unwrap();
    guest.region.words().store(word::CQ_SLEEP, 1, Ordering::Release);
    for tag in 0..50 {
        ping(&mut guest, 1, tag);
        ping(&mut other, 1, tag);
    }
    assert!(handle.counters().unwrap().notifications > 0);
    handle.detach_ring(ring, PATIENCE).unwrap();
    ping(&mut other, 1, 99);
    handle.stop().unwrap();
}

/// The same when the notification that blocks is that of the finals which detaching itself has caused.
#[test]
fn a_guest_that_blocks_the_notification_of_its_last_finals_can_be_detached() {
    let handle = Builder::default().spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (guest_id, ring) = guest.attach(&handle);
    attach_dead(&handle, ring, 1);
    post(&mut guest, &[ssch(1, 0, 1)]);
    until_taken(&handle, 1);
    guest.notification.write(u64::MAX - 1).unwrap();
    assert!(guest.reader.announce_sleep());
    // Short of a hang the deadline is far away.
    handle.detach_ring(ring, PATIENCE / 4).unwrap();
    handle.detach_guest(guest_id).unwrap();
    assert_eq!(guest.next().0.tag, 1);
    assert_eq!(handle.inventory().unwrap(), Inventory::default());
}

/// A guest that sleeps learns of the finals that detaching has caused.
#[test]
fn a_sleeping_guest_is_woken_by_the_finals_of_a_detach() {
    for _ in 0..100 {
        let handle = Builder::default().wait(WaitPolicy::sleeping()).spawn().unwrap();
        let mut guest = TestGuest::new(RingSizes::new(64));
        let (_, ring) = guest.attach(&handle);
        attach_dead(&handle, ring, 1);
        attach_null(&handle, ring, 2);
        assert!(guest.reader.announce_sleep());
        // The notification of the second's end may be under way while the first is stopped.
        post(&mut guest, &[ssch(1, 0, 1), ssch(2, 0, 2)]);
        until_taken(&handle, 2);
        handle.detach_ring(ring, PATIENCE).unwrap();
        assert!(readable(&guest.notification), "asleep for ever");
        assert_eq!((guest.next().0.tag, guest.next().0.tag), (2, 1));
    }
}

#[test]
fn stop_with_work_in_flight_ends_everything() {
    let stage = Stage::default();
    let handle = Builder::default().engine_slots(2).spawn().unwrap();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let (_, ring) = guest.attach(&handle);
    for number in 0..10 {
        stage.answer_at_once(number, Operation::Clear);
        let device = stage.device(number, Capabilities::ENGINE);
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(number), device).unwrap();
    }
    let starts: Vec<_> = (0..10).map(|number| ssch(number, 0, u64::from(number))).collect();
    post(&mut guest, &starts);
    until_taken(&handle, 10);
    handle.stop().unwrap();
    assert_eq!(stage.gone(), (0..10).collect::<Vec<_>>(), "the devices are gone when stop returns");
    let seen: Vec<_> = std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0).collect();
    assert_eq!(final_tags(&seen).len(), 10);
    assert!(seen.iter().all(|one| one.disposition() == Some(Disposition::AbsorbedByClear)));
    for error in [
        handle.stop().unwrap_err(),
        handle.attach_guest(guest.memory.clone()).unwrap_err(),
        handle.detach_ring(ring, PATIENCE).unwrap_err(),
        handle.drain(ring, PATIENCE).unwrap_err(),
    ] {
        assert!(matches!(error, ControlError::Stopped), "{error:?}");
    }
}

/// Places are used again, names are not.
#[test]
fn the_name_of_what_has_gone_does_not_name_what_came_after_it() {
    let mut rig = Rig::small();
    let (old_guest, old_ring) = (rig.guest_id, rig.ring);
    rig.reactor.detach_ring(old_ring, None, Box::new(|_| {})).unwrap();
    rig.until("the ring is gone", |reactor| reactor.inventory().rings == 0);
    rig.reactor.detach_guest(old_guest).unwrap();
    let newcomer = TestGuest::new(RingSizes::new(64));
    let guest = rig.reactor.attach_guest(newcomer.memory.clone());
    let ring = rig.reactor.attach_ring(guest, newcomer.ends()).unwrap();
    assert!(guest != old_guest && ring != old_ring);
    let no_ring = |result| assert!(matches!(result, Err(AttachError::NoRing(ring)) if ring == old_ring), "{result:?}");
    let no_guest = |result| assert!(matches!(result, Err(AttachError::NoGuest(guest)) if guest == old_guest), "{result:?}");
    let reply = || Box::new(|_| panic!("nobody waits for this"));
    no_ring(rig.reactor.attach_subchannel(old_ring, id(1), SubchannelOptions::new(1), Box::new(Null)));
    no_ring(rig.reactor.drain(old_ring, None, reply()));
    no_ring(rig.reactor.detach_ring(old_ring, None, reply()));
    assert_eq!(rig.reactor.ring_status(old_ring), None);
    let other = TestGuest::new(RingSizes::new(64));
    no_guest(rig.reactor.attach_ring(old_guest, other.ends()).map(|_| ()));
    no_guest(rig.reactor.detach_guest(old_guest));
    no_guest(rig.reactor.reset_guest(old_guest, None, reply()));
    no_guest(rig.reactor.reset_subchannel(old_guest, id(1), None, reply()));
    no_guest(rig.reactor.detach_subchannel(old_guest, id(1), None, reply()));
    no_guest(rig.reactor.replace_memory(old_guest, other.memory.clone(), None, reply()));
    assert!(rig.reactor.ring_status(ring).unwrap().serving, "the newcomer is undisturbed");
}

#[test]
fn stop_during_a_drain_ends_both() {
    let Rig { mut reactor, handle: _handle, mut guest, guest_id, ring, .. } = Rig::small();
    reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Delay::new(Null, FOREVER))).unwrap();
    post(&mut guest, &[ssch(1, 0, 1)]);
    reactor.turn(64);
    let (reply, drained) = mpsc::channel();
    reactor.drain(ring, None, Box::new(move |busy| reply.send(busy).unwrap())).unwrap();
    reactor.turn(64);
    assert!(drained.try_recv().is_err(), "it runs for ever");
    reactor.stop();
    let deadline = Instant::now() + PATIENCE / 4;
    while !reactor.finished() && Instant::now() < deadline {
        reactor.turn(64);
    }
    assert!(reactor.finished(), "stop takes the ring away that was being drained");
    assert_eq!(drained.try_recv(), Ok(vec![]), "who waited is told that nothing runs any more");
    assert_eq!(guest.reader.take().unwrap().unwrap().0.disposition(), Some(Disposition::AbsorbedByClear));
    // And nothing comes after it.
    let other = TestGuest::new(RingSizes::new(64));
    let error = reactor.attach_ring(guest_id, other.ends()).unwrap_err();
    assert!(matches!(error, AttachError::Stopping), "{error}");
    assert!(reactor.finished());
}

/// The deadline of the drain still counts, and the ring goes in any case.
#[test]
fn stop_during_a_drain_keeps_the_deadline_of_the_drain() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.batch(&[ssch(1, 0, 1)]);
    let (reply, drained) = mpsc::channel();
    let soon = Instant::now() + Duration::from_millis(20);
    rig.reactor.drain(rig.ring, Some(soon), Box::new(move |busy| reply.send(busy).unwrap())).unwrap();
    rig.reactor.stop();
    let mut told = None;
    rig.until("the deadline", |_| {
        told = drained.try_recv().ok();
        told.is_some()
    });
    assert_eq!(told, Some(vec![id(1).word()]));
    rig.stage.tell(1, DeviceEvent::Cleared);
    rig.until("finished", |reactor| reactor.finished());
}

/// More rings than the engine's queue has room for, before a turn has been made.
#[test]
fn many_rings_can_be_attached_before_the_first_turn() {
    const RINGS: usize = 100;
    let (report, done) = mpsc::channel();
    // On a thread of its own, so that the test can give up on it.
    std::thread::spawn(move || {
        let (mut reactor, _handle) = Builder::default().engine_slots(1).build().unwrap();
        let mut guests: Vec<_> = (0..RINGS).map(|_| TestGuest::new(RingSizes::new(8))).collect();
        for guest in &guests {
            let guest_id = reactor.attach_guest(guest.memory.clone());
            let ring = reactor.attach_ring(guest_id, guest.ends()).unwrap();
            reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
        }
        // Each doorbell is watched: the reactor sleeps, and wakes up for each of them.
        for (guest, tag) in guests.iter_mut().zip(0..) {
            reactor.settle(10);
            while !reactor.prepare_sleep() {
                reactor.turn(64);
            }
            assert!(guest.poster.post(&ssch(1, 0, tag)).unwrap(), "asleep");
            guest.doorbell.write(1).unwrap();
            let fd = reactor.as_fd();
            let patience = Timespec::try_from(PATIENCE / 4).unwrap();
            assert_eq!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap(), 1);
            reactor.wake();
            reactor.turn(64);
            assert_eq!(guest.reader.take().unwrap().map(|found| found.0.tag), Some(tag));
        }
        report.send(()).unwrap();
    });
    done.recv_timeout(PATIENCE / 2).expect("all rings are attached and served");
}

#[test]
fn dropping_the_handle_stops_a_dispatcher_that_sleeps_with_work_in_flight() {
    let stage = Stage::default();
    let mut guest = TestGuest::new(RingSizes::new(64));
    let handle = Builder::default().wait(WaitPolicy::sleeping()).spawn().unwrap();
    let (_, ring) = guest.attach(&handle);
    stage.answer_at_once(1, Operation::Clear);
    handle.attach_subchannel(ring, id(1), SubchannelOptions::new(1), stage.device(1, NONE)).unwrap();
    attach_dead(&handle, ring, 2);
    post(&mut guest, &[ssch(1, 0, 1), ssch(2, 0, 2)]);
    until_taken(&handle, 2);
    drop(handle);
    assert_eq!(stage.gone(), [1]);
    let seen: Vec<_> = std::iter::from_fn(|| guest.reader.take().unwrap()).map(|found| found.0).collect();
    assert_eq!(final_tags(&seen).len(), 2);
}

#[test]
fn dropping_the_handle_of_a_reactor_that_the_caller_runs_changes_nothing() {
    let Rig { mut reactor, handle, mut guest, ring, .. } = Rig::small();
    reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    drop(handle);
    post(&mut guest, &[ssch(1, 0, 1)]);
    reactor.turn(64);
    reactor.turn(64);
    assert_eq!(guest.reader.take().unwrap().map(|found| found.0.tag), Some(1));
    assert!(!reactor.finished());
    reactor.stop();
    let deadline = Instant::now() + PATIENCE;
    while !reactor.finished() {
        assert!(Instant::now() < deadline);
        reactor.turn(64);
    }
}

/// Nobody waits for ever for a reactor that is gone, whenever it went.
#[test]
fn who_asks_a_reactor_that_is_dropped_is_told_that_it_has_stopped() {
    for _ in 0..50 {
        let (reactor, handle) = Builder::default().engine_slots(1).build().unwrap();
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| handle.counters())).collect();
            drop(reactor);
            for thread in asking {
                assert!(matches!(thread.join().unwrap(), Err(ControlError::Stopped)));
            }
        });
    }
}

#[test]
fn dropping_a_reactor_with_work_in_flight_drops_its_devices() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    rig.attach(2, Capabilities::ENGINE, StatusMode::Delivered);
    rig.batch(&[ssch(1, 0, 1), ssch(2, 0, 2)]);
    let Rig { reactor, stage, .. } = rig;
    drop(reactor);
    assert_eq!(stage.gone(), [1, 2]);
}

#[test]
fn a_handle_may_be_used_from_many_threads() {
    let handle = Builder::default().spawn().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let handle = &handle;
            scope.spawn(move || {
                for round in 0..20u64 {
                    let mut guest = TestGuest::new(RingSizes::new(8));
                    let (guest_id, ring) = guest.attach(handle);
                    attach_null(handle, ring, thread);
                    ping(&mut guest, thread, round);
                    handle.detach_ring(ring, PATIENCE).unwrap();
                    handle.detach_guest(guest_id).unwrap();
                }
            });
        }
    });
    assert_eq!(handle.inventory().unwrap(), Inventory::default());
    assert_eq!(handle.counters().unwrap().ran, 160);
}

// ---------------------------------------------------------------------------------------------------------------------
// What completions say about time

#[test]
fn turns_and_stage_times_are_in_order() {
    let mut rig = Rig::small();
    rig.attach(1, NONE, StatusMode::Delivered);
    let began = fctl_dispatcher::clock::now();
    let mut turn = 0;
    for tag in 0..20 {
        let posted = fctl_dispatcher::clock::now();
        rig.post(&[told(ssch(1, 0, tag).posted_at(posted)), plain(Operation::Store, 1, 100 + tag)]);
        rig.reactor.turn(64);
        rig.stage.tell(1, ended(0x1010));
        rig.turns();
        let seen = rig.completions();
        let ended_at = fctl_dispatcher::clock::now();
        assert!(seen.windows(2).all(|two| two[0].turn <= two[1].turn), "{seen:?}");
        let (first, end) = (seen[0], final_of(&seen, tag));
        assert!(first.turn > turn || tag == 0, "a later turn has a higher number");
        assert!(end.turn > first.turn, "told in one turn, ended in another");
        turn = end.turn;
        for one in &seen {
            assert!(one.times.taken >= posted && one.times.taken <= ended_at, "{one:?}");
            assert!(one.times.completed_after <= one.times.delivered_after);
            assert!(u64::from(one.times.delivered_after) <= ended_at - one.times.taken);
        }
        assert!(end.times.issued_after <= end.times.completed_after);
        assert!(end.times.completed_after > 0 && end.times.taken >= began);
        assert_eq!(final_of(&seen, 100 + tag).times.issued_after, 0, "it was never issued");
    }
}
