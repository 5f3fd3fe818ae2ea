// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for arbitrary bytes: headers, entries, and a partner that writes anything anywhere at any time.

mod region;

use fctl_ringabi::{
    arch::{Ecw, Esw, Orb, Schib, SubsystemId},
    header::{self, word},
    Completion, CompletionFlags, CompletionKind, CompletionReader, Consumer, Descriptor, DescriptorFlags, DispatcherPort,
    Extension, GuestPort, Header, Lane, Operation, PlainStart, Poster, Producer, SharedPoster, SharedProducer, Sleeper, Waker,
    WordMemory,
};
use proptest::prelude::*;
use region::{formatted, zeroed, Region, LEAST};
use std::sync::atomic::Ordering::Relaxed;

/// Numbers that are wrong in an interesting way, or just numbers.
fn hostile_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..40,
        (0u64..40).prop_map(|below| u64::MAX - below),
        (0u64..40).prop_map(|off| (1 << 32) - 20 + off),
        (0u64..40).prop_map(|off| (1 << 63) - 20 + off),
        (0u64..16).prop_map(|multiple| multiple * 128),
        any::<u64>(),
    ]
}

/// A header's words: each field mostly within its range, so that many are accepted and the others differ in few fields.
fn header_words() -> impl Strategy<Value = Vec<u64>> {
    fn mostly(good: impl Strategy<Value = u64> + 'static) -> BoxedStrategy<u64> {
        prop_oneof![30 => good, 1 => hostile_word()].boxed()
    }
    fn pair(low: impl Strategy<Value = u64> + 'static, high: impl Strategy<Value = u64> + 'static) -> BoxedStrategy<u64> {
        mostly((low, high).prop_map(|(low, high)| low | high << 32))
    }
    let power = |from: u32, to: u32| (from..=to).prop_map(|log2| 1u64 << log2);
    let offset = || (8u64..128).prop_map(|lines| lines * 128);
    vec![
        mostly(Just(header::MAGIC)),
        pair(Just(1u64), Just(1024u64)),
        mostly(Just(0u64)),
        mostly(any::<u64>()),
        pair(power(3, 4), power(4, 5)),
        pair((1u64..3).prop_map(|lines| lines * 64), (1u64..3).prop_map(|lines| lines * 64)),
        pair((1u64..3).prop_map(|lines| lines * 64), Just(8u64)),
        mostly(offset()),
        mostly(offset()),
        mostly(offset()),
        mostly(Just(16384u64)),
        mostly(0u64..2),
        mostly(any::<u64>()),
    ]
}

/// A descriptor's words, as of a plain start but for a few bits, so that many are plain and the others break one rule.
fn nearly_plain_words() -> impl Strategy<Value = [u64; 8]> {
    let flip = || prop_oneof![2 => Just(0u64), 1 => (0u32..64).prop_map(|bit| 1 << bit)];
    let flips = [flip().boxed(), flip().boxed(), flip().boxed(), flip().boxed()];
    let operand = (any::<u32>(), 0u32..0x8000_0000);
    (operand, any::<[u64; 2]>(), any::<u16>(), 0u64..4, flips).prop_map(
        |(operand, [tag, posted], number, flags, [head, second, orb, end])| {
            let start = Orb::new(operand.0, operand.1);
            let mut words = Descriptor::start(SubsystemId::new(0, number), &start, tag).posted_at(posted).to_words();
            words[0] |= flags << 40 | u64::from(operand.0);
            for (word, flip) in [(0, head), (1, second), (4, orb), (5, end)] {
                words[word] ^= flip;
            }
            words
        },
    )
}

/// The words that a lane covers, and those it uses at some positions.
fn check_lane(lane: Lane, words: usize, uses: usize) {
    assert!(lane.word(0) >= 128 && lane.end_word() <= words, "{lane:?} in {words} words");
    for position in [0, 1, lane.entries() - 1, lane.entries(), u64::MAX] {
        assert!(lane.word(position) >= lane.word(0) && lane.word(position) + uses <= lane.end_word());
    }
}

fn check_accepted(header: &Header, words: usize) {
    let lanes = [header.submission_lane(), header.completion_lane(), header.extension_lane()];
    for lane in lanes {
        check_lane(lane, words, 8);
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let (one, other) = (lanes[one], lanes[other]);
        assert!(one.end_word() <= other.word(0) || other.end_word() <= one.word(0), "{one:?} and {other:?} overlap");
    }
    assert!(header.region_bytes() <= words as u64 * 8);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_header_lies_inside_the_region(words in header_words(), length in prop_oneof![Just(2048usize), 0usize..2100]) {
        let memory = zeroed(length);
        for (index, &word) in words.iter().enumerate().take(length) {
            memory.store(index, word, Relaxed);
        }
        match Header::read(&memory) {
            Ok(header) => check_accepted(&header, length),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn arbitrary_words_are_no_header(words in prop::collection::vec(any::<u64>(), 13), with_magic in any::<bool>()) {
        let memory = zeroed(512);
        for (index, &word) in words.iter().enumerate() {
            memory.store(index, word, Relaxed);
        }
        if with_magic {
            memory.store(0, header::MAGIC, Relaxed);
        }
        prop_assert!(Header::read(&memory).is_err(), "thirteen random words never keep all rules");
    }

    /// The short way to a start's operand and the rules for descriptors agree.
    #[test]
    fn a_plain_start_is_a_start_that_breaks_no_rule_and_carries_its_orb(words in prop_oneof![9 => nearly_plain_words(), 1 => any::<[u64; 8]>()]) {
        let descriptor = Descriptor::from_words(&words);
        let id = SubsystemId::from_word(descriptor.subsystem);
        let orb = Orb::from_bytes(descriptor.operand.first_chunk().unwrap());
        let by_rules = match descriptor.check() {
            Ok((Operation::Start, flags)) => {
                !flags.contains(DescriptorFlags::OPERAND_BY_ADDRESS) && id.check().is_ok() && orb.check().is_ok()
            }
            _ => false,
        };
        prop_assert_eq!(Descriptor::asks_accepted(&words), descriptor.flags & DescriptorFlags::ACCEPTED.bits() != 0);
        prop_assert_eq!(Descriptor::subsystem_word(&words), descriptor.subsystem);
        match PlainStart::from_words(&words) {
            Some(start) => {
                prop_assert!(by_rules);
                let flags = DescriptorFlags::from_bits_retain(descriptor.flags);
                prop_assert_eq!(start, PlainStart { flags, subsystem: id, tag: descriptor.tag, posted: descriptor.posted, orb });
            }
            None => prop_assert!(!by_rules),
        }
    }

    #[test]
    fn descriptor_words_round_trip(mut words in any::<[u64; 8]>()) {
        let descriptor = Descriptor::from_words(&words);
        // The lap belongs to the slot, not to the descriptor.
        words[0] &= !0xFFFF_FFFF;
        prop_assert_eq!(descriptor.to_words(), words);
        prop_assert_eq!(Descriptor::from_words(&words), descriptor);
        if let Ok((operation, flags)) = descriptor.check() {
            prop_assert_eq!((operation as u8, flags.bits()), (descriptor.operation, descriptor.flags));
            prop_assert_eq!((descriptor.reserved, descriptor.order), (0, 0));
        }
    }

    #[test]
    fn completion_words_round_trip(mut words in any::<[u64; 8]>()) {
        let completion = Completion::from_words(&words);
        // The lap belongs to the slot; bytes 38 and 39 are reserved and not kept.
        words[0] &= !0xFFFF_FFFF;
        words[4] &= 0x0000_FFFF_FFFF_FFFF;
        prop_assert_eq!(completion.to_words(), words);
        prop_assert_eq!(Completion::from_words(&words), completion);
    }

    #[test]
    fn extension_words_round_trip(words in any::<[u64; 8]>()) {
        for (flag, bytes) in [(CompletionFlags::IRB_EXTENSION, Esw::SIZE + 32), (CompletionFlags::SCHIB_EXTENSION, Schib::SIZE)] {
            let extension = Extension::from_words(flag, &words).expect("the flag announces one");
            prop_assert_eq!(extension.flag(), flag);
            let bytes_of = |words: [u64; 8]| words.map(u64::to_le_bytes).concat();
            let mut expected = bytes_of(words);
            expected[bytes..].fill(0);
            prop_assert_eq!(bytes_of(extension.to_words()), expected);
        }
        prop_assert_eq!(Extension::from_words(CompletionFlags::STATUS, &words), None);
    }
}

/// One step of a program in which both ends work and a hostile partner writes.
#[derive(Clone, Debug)]
enum Step {
    /// The hostile write: a word of the region, chosen among those that matter, gets this value.
    Write(usize, u64),
    Stage(u8, u8),
    Publish,
    PostShared(u8, u8),
    PostSharedBatch,
    Take,
    Give,
    Complete(u8, bool),
    ReaderTake,
    ReaderGive,
    ReaderSleep,
    DispatcherSleep,
    Wake,
    Fence(u32),
    Reattach,
    Reopen,
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), hostile_word()).prop_map(|(at, value)| Step::Write(at.index(TARGETS), value)),
        3 => (0u8..10, any::<u8>()).prop_map(|(operation, flags)| Step::Stage(operation, flags)),
        2 => Just(Step::Publish),
        2 => (0u8..10, any::<u8>()).prop_map(|(operation, flags)| Step::PostShared(operation, flags)),
        1 => Just(Step::PostSharedBatch),
        3 => Just(Step::Take),
        1 => Just(Step::Give),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(kind, extension)| Step::Complete(kind, extension)),
        3 => Just(Step::ReaderTake),
        1 => Just(Step::ReaderGive),
        1 => Just(Step::ReaderSleep),
        1 => Just(Step::DispatcherSleep),
        1 => Just(Step::Wake),
        1 => any::<u32>().prop_map(Step::Fence),
        1 => Just(Step::Reattach),
        1 => Just(Step::Reopen),
        1 => Just(Step::Finish),
    ]
}

/// The shared words of the header, then the words of all slots and extensions: how many a hostile write chooses from.
const TARGETS: usize = 9 * 40 + (8 + 16 + 16) * 8;

/// The word that a hostile write with this number hits; the shared words are hit more often.
fn target(number: usize) -> usize {
    const SHARED: [usize; 9] = [
        word::SQ_HEAD,
        word::CQ_TAIL,
        word::SQ_SLEEP,
        word::FENCE,
        word::CQ_HEAD,
        word::CQ_SLEEP,
        word::SQ_TICKET,
        word::CHARGED,
        word::RELEASED,
    ];
    match number.checked_sub(9 * 40) {
        None => SHARED[number % 9],
        Some(slot_word) => 1024 / 8 + slot_word,
    }
}

struct Ends {
    memory: Region,
    dispatcher: Option<DispatcherPort<Region>>,
    poster: Poster<Region>,
    shared: SharedPoster<Region>,
    reader: CompletionReader<Region>,
}

impl Ends {
    fn new() -> Self {
        let memory = formatted(LEAST);
        let dispatcher = DispatcherPort::attach(memory.clone()).ok();
        let (poster, reader) = GuestPort::open(memory.clone()).unwrap().split();
        let (shared, _) = GuestPort::open(memory.clone()).unwrap().split_shared();
        Self { memory, dispatcher, poster, shared, reader }
    }

    fn attached(&mut self) -> Option<&mut DispatcherPort<Region>> {
        if self.dispatcher.is_none() {
            self.dispatcher = DispatcherPort::attach(self.memory.clone()).ok();
        }
        self.dispatcher.as_mut()
    }

    fn run(&mut self, step: Step) {
        let descriptor = |operation, flags| {
            let mut descriptor = Descriptor::new(Operation::Start, SubsystemId::new(0, 7), 1);
            (descriptor.operation, descriptor.flags) = (operation, flags);
            descriptor
        };
        match step {
            Step::Write(number, value) => self.memory.store(target(number), value, Relaxed),
            Step::Stage(operation, flags) => drop(self.poster.stage(&descriptor(operation, flags))),
            Step::Publish => drop(self.poster.publish()),
            Step::PostShared(operation, flags) => drop(self.shared.post(&[descriptor(operation, flags)])),
            Step::PostSharedBatch => drop(self.shared.post(&[descriptor(3, 1), descriptor(1, 0), descriptor(3, 0)])),
            Step::Wake => {
                self.reader.awake();
                self.attached().map(DispatcherPort::awake);
            }
            Step::ReaderTake => drop(self.reader.take()),
            Step::ReaderGive => self.reader.give_back(),
            Step::ReaderSleep => {
                let empty = self.reader.announce_sleep();
                assert!(!empty || self.reader.is_empty(), "nobody writes meanwhile");
            }
            Step::Reopen => {
                if let Ok(port) = GuestPort::open(self.memory.clone()) {
                    (self.poster, self.reader) = port.split();
                }
                if let Ok(port) = GuestPort::open(self.memory.clone()) {
                    self.shared = port.split_shared().0;
                }
            }
            Step::Finish => {
                if let Ok(port) = GuestPort::open(self.memory.clone()) {
                    std::mem::replace(&mut self.poster, port.split().0).finish();
                }
            }
            Step::Reattach => {
                if let Some(dispatcher) = self.dispatcher.take() {
                    dispatcher.detach();
                    // A fenced ring is not attached again.
                    self.memory.store(word::FENCE, 0, Relaxed);
                }
            }
            Step::Take => drop(self.attached().map(DispatcherPort::take)),
            Step::Give => drop(self.attached().map(DispatcherPort::give_back)),
            Step::DispatcherSleep => drop(self.attached().map(DispatcherPort::announce_sleep)),
            Step::Fence(reason) => drop(self.attached().map(|dispatcher| dispatcher.fence(reason))),
            Step::Complete(kind, with_extension) => {
                let Some(dispatcher) = self.attached() else { return };
                let mut completion = Completion::new(CompletionKind::Final, 7, 1, 0);
                completion.kind = kind % 8;
                let extension = Extension::Irb { esw: Esw::default(), ecw: Ecw([1; 32]) };
                if let Ok(room) = dispatcher.room(1) {
                    assert!(room <= 16, "room for {room} in a ring of 16");
                    let staged = dispatcher.stage(completion, with_extension.then_some(&extension));
                    assert!(room > 0 || staged.is_err());
                }
                dispatcher.publish();
                dispatcher.must_notify();
            }
        }
    }
}

/// One step on a lane of eight slots of two words with two kinds of producers, a consumer and a sleep word.
#[derive(Clone, Debug)]
enum LaneStep {
    Write(usize, u64),
    Room(u64),
    Stage,
    Publish,
    Post(usize),
    Take,
    GiveBack,
    Announce,
    Awake,
    MustWake,
}

fn lane_step() -> impl Strategy<Value = LaneStep> {
    prop_oneof![
        5 => (0usize..3 + 16, hostile_word()).prop_map(|(at, value)| LaneStep::Write(at, value)),
        2 => (0u64..20).prop_map(LaneStep::Room),
        3 => Just(LaneStep::Stage),
        2 => Just(LaneStep::Publish),
        2 => (0usize..10).prop_map(LaneStep::Post),
        3 => Just(LaneStep::Take),
        1 => Just(LaneStep::GiveBack),
        1 => Just(LaneStep::Announce),
        1 => Just(LaneStep::Awake),
        1 => Just(LaneStep::MustWake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_write_of_a_hostile_partner_makes_a_port_panic(steps in prop::collection::vec(step(), 1..120)) {
        let mut ends = Ends::new();
        for step in steps {
            ends.run(step);
        }
    }

    #[test]
    fn no_write_of_a_hostile_partner_makes_a_lane_panic(steps in prop::collection::vec(lane_step(), 1..120)) {
        const HEAD: usize = 0;
        const TICKET: usize = 1;
        const SLEEP: usize = 2;
        let lane = Lane::new(3, 2, 3);
        let memory = zeroed(lane.end_word());
        let mut producer = Producer::<_, 2>::new(memory.clone(), lane, HEAD, 0, 0);
        let mut shared = SharedProducer::<_, 2>::new(memory.clone(), lane, HEAD, 0, TICKET);
        let mut consumer = Consumer::<_, 2>::new(memory.clone(), lane, HEAD, 0);
        let mut sleeper = Sleeper::new(memory.clone(), SLEEP);
        let mut waker = Waker::new(memory.clone(), SLEEP);
        for step in steps {
            match step {
                LaneStep::Write(at, value) => memory.store(at, value, Relaxed),
                LaneStep::Room(want) => {
                    if let Ok(room) = producer.room(want) {
                        prop_assert!(room <= lane.entries());
                    }
                }
                LaneStep::Stage => {
                    let full = producer.known_full();
                    prop_assert_eq!(producer.stage([0, 1]).is_err(), full);
                }
                LaneStep::Publish => {
                    let staged = producer.staged();
                    prop_assert!(staged <= lane.entries());
                    prop_assert_eq!(producer.publish(), staged);
                }
                LaneStep::Post(batch) => {
                    if shared.post(&[[0, 2]; 10][..batch]) == Ok(true) {
                        prop_assert!(batch <= 8, "a batch greater than the ring");
                    }
                }
                LaneStep::Take => {
                    let position = consumer.position();
                    let taken = matches!(consumer.take(), Ok(Some(_)));
                    prop_assert_eq!(consumer.position(), position + u64::from(taken));
                }
                LaneStep::GiveBack => {
                    consumer.give_back();
                }
                LaneStep::Announce => sleeper.announce(),
                LaneStep::Awake => sleeper.awake(),
                LaneStep::MustWake => {
                    if waker.must_wake() {
                        prop_assert!(!waker.must_wake(), "once for a sleep");
                    }
                }
            }
        }
    }
}
