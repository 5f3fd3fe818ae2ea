// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that performs its starts where they begin, and one that waits to be started: no guest can tell one from the other, whatever it posts in one batch.

mod common;

use common::scripted::{ended, final_tags, plain, ssch, Call, Rig, Stage};
use common::{id, TestGuest};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::{Capabilities, DeviceContext, PlainEnd, SubchannelDevice};
use fctl_dispatcher::region::RegionWords;
use fctl_dispatcher::subchannel::StatusMode;
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::arch::{Orb, SubsystemId};
use fctl_ringabi::header::word;
use fctl_ringabi::{Completion, Descriptor, DescriptorFlags, Header, Operation, Producer, RingSizes};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// A null device that counts the starts it sees, and performs them at once or waits to be started.
struct Counting {
    at_once: bool,
    starts: Arc<AtomicU32>,
}

impl SubchannelDevice for Counting {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn start_at_once(&mut self, orb: &Orb) -> Option<PlainEnd> {
        let end = self.at_once.then(|| Null.start_at_once(orb))?;
        self.starts.fetch_add(u32::from(end.is_some()), Ordering::Relaxed);
        end
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        self.starts.fetch_add(1, Ordering::Relaxed);
        Null.start(cx, orb);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        Null.halt(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        Null.clear(cx);
    }
}

struct Side {
    rig: Rig,
    starts: Arc<AtomicU32>,
}

impl Side {
    fn new(at_once: bool) -> Self {
        let (mut rig, starts) = (Rig::small(), Arc::new(AtomicU32::new(0)));
        for number in 0..4 {
            // One holds its status, one is not enabled; no number 4 is there.
            let mode = if number == 2 { StatusMode::Held } else { StatusMode::Delivered };
            let options = SubchannelOptions::new(number).with_mode(mode).with_enabled(number != 3);
            let device = Box::new(Counting { at_once, starts: Arc::clone(&starts) });
            rig.reactor.attach_subchannel(rig.ring, id(number), options, device).unwrap();
        }
        Self { rig, starts }
    }

    /// Posts a batch, makes a turn, and tells all that came of it, apart from times.
    fn turn(&mut self, batch: &[Descriptor]) -> (Vec<String>, u32, String) {
        self.rig.post(batch);
        self.rig.reactor.turn(64);
        let seen = |completion: Completion, extension| {
            let mut timeless = completion;
            timeless.times = Default::default();
            format!("{} {timeless:?} {extension:?}", completion.tag)
        };
        let mut all: Vec<_> = self.rig.read().into_iter().map(|(completion, extension)| seen(completion, extension)).collect();
        // Who is told first, the one who is refused or the one whose end was waited for, is not said.
        all.sort();
        (all, self.starts.load(Ordering::Relaxed), format!("{:?}", self.rig.reactor.counters()))
    }
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let flags = prop_oneof![
        8 => Just(DescriptorFlags::empty()),
        2 => Just(DescriptorFlags::NO_NOTIFICATION),
        1 => Just(DescriptorFlags::ACCEPTED),
    ];
    let orb = prop_oneof![8 => Just(0x80), 1 => Just(0x00), 1 => Just(0xFF)].prop_map(|lpm| Orb::new(7, 0x1000).with_lpm(lpm));
    let start = (0u16..5, orb, flags).prop_map(|(number, orb, flags)| Descriptor::start(id(number), &orb, 0).with_flags(flags));
    let other = prop_oneof![Just(Operation::Halt), Just(Operation::Clear), Just(Operation::Cancel), Just(Operation::Test)];
    prop_oneof![
        30 => start,
        1 => (0u16..5, other).prop_map(|(number, operation)| plain(operation, number, 0)),
        1 => Just(Descriptor::by_address(Operation::Start, id(0), 0x40, 0)),
        1 => Just(Descriptor::start(SubsystemId::from_word(0x0002_0000), &Orb::new(7, 0x1000), 0)),
    ]
}

proptest! {
    #[test]
    fn no_guest_can_tell_at_once_from_later(batches in prop::collection::vec(prop::collection::vec(descriptor(), 1..12), 1..6)) {
        let (mut at_once, mut later) = (Side::new(true), Side::new(false));
        let mut tag = 0;
        for mut batch in batches {
            for descriptor in &mut batch {
                tag += 1;
                descriptor.tag = tag;
            }
            prop_assert_eq!(at_once.turn(&batch), later.turn(&batch), "{:?}", batch);
        }
    }
}

#[test]
fn what_a_batch_overtakes_no_device_sees() {
    for at_once in [true, false] {
        let mut side = Side::new(at_once);
        side.turn(&[ssch(0, 1, 1), ssch(1, 1, 2), plain(Operation::Clear, 0, 3)]);
        assert_eq!(side.starts.load(Ordering::Relaxed), 1, "that of subchannel 1");
    }
}

/// A poster that respects nothing: no credit, no reserve.
fn hostile(rig: &Rig) -> Producer<RegionWords, 8> {
    let words = rig.guest.region.words().clone();
    let header = Header::read(&words).unwrap();
    Producer::new(words, header.submission_lane(), word::SQ_HEAD, 0, 0)
}

/// What ran through has used up room, and who comes behind it waits for some as it would without it.
#[test]
fn a_start_behind_one_that_ran_through_waits_for_room() {
    // The second is refused, or runs as the first does: it needs room either way.
    for (at_once, last) in [(true, [0, 0]), (true, [0, 1]), (false, [0, 0]), (false, [0, 1])] {
        let mut rig = Rig::new(Builder::default(), RingSizes { completion_entries: 16, ..RingSizes::new(8) });
        for number in 0..8 {
            let device = Box::new(Counting { at_once, starts: Arc::default() });
            rig.reactor.attach_subchannel(rig.ring, id(number), SubchannelOptions::new(number), device).unwrap();
        }
        let mut poster = hostile(&rig);
        let mut post = |rig: &mut Rig, numbers: &[u16]| {
            assert!(poster.room(numbers.len() as u64).unwrap() >= numbers.len() as u64);
            for &number in numbers {
                poster.stage(ssch(number, 0, u64::from(number)).to_words()).unwrap();
            }
            poster.publish();
            rig.reactor.turn(64);
        };
        post(&mut rig, &[0, 1, 2, 3, 4, 5, 6, 7]);
        post(&mut rig, &[0, 1, 2, 3, 4, 5, 6]);
        // There is room for one more.
        post(&mut rig, &last);
        let counters = rig.reactor.counters();
        assert_eq!(
            (counters.taken, counters.finals, counters.unstored, counters.stalls),
            (16, 16, 0, 1),
            "{at_once}: {counters:?}"
        );
        assert_eq!(rig.completions().len(), 16);
        rig.reactor.turn(64);
        assert_eq!((rig.completions().len(), rig.reactor.counters().unstored), (1, 0), "{at_once}");
    }
}

/// Clears go out first, those of other rings too.
#[test]
fn no_start_runs_through_while_a_clear_is_to_be_issued() {
    for at_once in [true, false] {
        let mut side = Side::new(at_once);
        // Its clear comes first in the turn, since its ring does.
        side.rig.attach(9, Capabilities::empty(), StatusMode::Delivered);
        let log = side.rig.stage.clone();
        let mut other = TestGuest::new(RingSizes::new(64));
        let guest = side.rig.reactor.attach_guest(other.memory.clone());
        let ring = side.rig.reactor.attach_ring(guest, other.ends()).unwrap();
        let device = Box::new(AfterClears { at_once, log });
        side.rig.reactor.attach_subchannel(ring, id(1), SubchannelOptions::new(1), device).unwrap();
        other.poster.post(&ssch(1, 0, 1)).unwrap();
        side.rig.batch(&[plain(Operation::Clear, 9, 2)]);
        assert_eq!(other.reader.take().unwrap().expect("its final, in this turn").0.tag, 1);
    }
}

/// A null device that is not started before the others were cleared.
struct AfterClears {
    at_once: bool,
    log: Stage,
}

impl SubchannelDevice for AfterClears {
    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn start_at_once(&mut self, orb: &Orb) -> Option<PlainEnd> {
        let end = self.at_once.then(|| Null.start_at_once(orb))?;
        assert_eq!(self.log.take_calls(), [(9, Call::Clear)]);
        end
    }

    fn start(&mut self, cx: &mut DeviceContext<'_>, orb: &Orb) {
        assert_eq!(self.log.take_calls(), [(9, Call::Clear)]);
        Null.start(cx, orb);
    }

    fn halt(&mut self, cx: &mut DeviceContext<'_>) {
        Null.halt(cx);
    }

    fn clear(&mut self, cx: &mut DeviceContext<'_>) {
        Null.clear(cx);
    }
}

/// A start that wants no notification takes none away from who ended before it in the same turn.
#[test]
fn silent_starts_take_no_notification_away() {
    for at_once in [true, false] {
        let mut side = Side::new(at_once);
        let rig = &mut side.rig;
        rig.attach(9, Capabilities::empty(), StatusMode::Delivered);
        rig.post(&[ssch(9, 0, 1)]);
        rig.reactor.turn(64);
        assert!(rig.guest.reader.announce_sleep(), "nothing is there yet");
        rig.stage.tell(9, ended(0x1008));
        rig.post(&[ssch(0, 0, 2).with_flags(DescriptorFlags::NO_NOTIFICATION)]);
        rig.reactor.turn(64);
        assert_eq!(final_tags(&rig.completions()), [1, 2]);
        assert_eq!(rig.reactor.counters().notifications, 1);
    }
}
