// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shipped ring code under a memory-model checker: every interleaving, every value that a load may legally see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p fctl-ringabi --test loom --release`
//!
//! Control words are loom's atomics. Body words are loom's *checked cells*, although the shipped memory uses relaxed atomics for
//! them: a cell reports any read and write of a slot's body that is not ordered by the slot's lap word or by the head word, even
//! where no execution that loom can build (it does not model load buffering) would return a wrong value.
//!
//! Where three threads run, or two that spin for long, the number of *preemptions* in one execution is bounded; `check` has the
//! numbers. `tools/weaken.py` shows that each ordering in the ring code is really needed: weakened one by one, each makes a test
//! here fail.
#![cfg(loom)]

#[path = "loom/header_words.rs"]
mod header_words;
#[path = "loom/meeting.rs"]
mod meeting;

use fctl_ringabi::{
    announce_then_look,
    arch::{Ecw, Esw, SubsystemId},
    header::word,
    ClockId, Completion, CompletionKind, CompletionReader, Consumer, Descriptor, DispatcherPort, Extension, GuestPort, Header,
    Lane, Operation, Poster, Producer, RingSizes, SharedProducer, Sleeper, Waker, WordMemory,
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU64, Ordering};
use loom::sync::Notify;
use loom::thread;
use std::cell::RefCell;
use std::rc::Rc;

/// Runs `body` in all its executions with at most `preemptions` preemptions in each, or with any number of them.
///
/// Two threads that come to an end by themselves are explored without a bound. The bound is 3 where three threads run, and 4
/// where a full ring and an empty one are waited for by spinning over several laps. Nearly all ordering errors show with two.
fn check(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(body);
}

/// One word of the memory under test.
enum Word {
    /// Orders other accesses: an atomic.
    Control(AtomicU64),
    /// Is ordered by others: a cell that reports races.
    Body(UnsafeCell<u64>),
    /// Written before the threads start, never again (the header).
    Constant(u64),
    /// Written, and what is written does not matter.
    Ignored,
    /// Not reached by this test; an access is an error.
    Unused,
}

/// Word memory whose accesses loom sees. Loom runs all its threads on one thread of the system, so `Rc` will do.
#[derive(Clone)]
struct LoomWords(Rc<[Word]>);

impl LoomWords {
    fn control(&self, index: usize) -> &AtomicU64 {
        match &self.0[index] {
            Word::Control(word) => word,
            Word::Body(_) => panic!("word {index} is part of a slot's body, not a control word"),
            Word::Constant(_) | Word::Ignored | Word::Unused => panic!("word {index} is not a control word"),
        }
    }

    fn body(&self, index: usize) -> &UnsafeCell<u64> {
        match &self.0[index] {
            Word::Body(word) => word,
            _ => panic!("word {index} is not part of a slot's body"),
        }
    }
}

impl WordMemory for LoomWords {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn load(&self, index: usize, order: Ordering) -> u64 {
        match &self.0[index] {
            Word::Constant(value) => *value,
            _ => self.control(index).load(order),
        }
    }

    fn store(&self, index: usize, value: u64, order: Ordering) {
        if !matches!(self.0[index], Word::Ignored) {
            self.control(index).store(value, order);
        }
    }

    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.control(index).compare_exchange(current, new, Ordering::Relaxed, Ordering::Relaxed)
    }

    fn load_body<const N: usize>(&self, index: usize, entry: &mut [u64; N]) {
        for (word, at) in entry.iter_mut().zip(index..).skip(1) {
            // SAFETY: loom fails the test when another thread may write this cell at the same time.
            *word = self.body(at).with(|value| unsafe { *value });
        }
    }

    fn store_body<const N: usize>(&self, index: usize, entry: &[u64; N]) {
        for (word, at) in entry.iter().zip(index..).skip(1) {
            // SAFETY: loom fails the test when another thread may read or write this cell at the same time.
            self.body(at).with_mut(|value| unsafe { *value = *word });
        }
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }
}

const HEAD: usize = 0;
const TICKET: usize = 1;
const SLEEP: usize = 2;
const FIRST_SLOT: usize = 3;

/// A lane of `2^entries_log2` slots of two words (a lap word and one word of body), and the three control words before it.
fn lane(entries_log2: u32) -> (LoomWords, Lane) {
    let lane = Lane::new(FIRST_SLOT, 2, entries_log2);
    let words = (0..lane.end_word())
        .map(|index| match index >= FIRST_SLOT && (index - FIRST_SLOT) % 2 == 1 {
            true => Word::Body(UnsafeCell::new(0)),
            false => Word::Control(AtomicU64::new(0)),
        })
        .collect();
    (LoomWords(words), lane)
}

/// An entry whose two halves of content belong together, so that a torn or old one is found.
const fn entry(value: u64) -> [u64; 2] {
    [value << 32, 1000 + value]
}

/// The value of an entry that was taken whole.
fn value_of(taken: [u64; 2]) -> u64 {
    let value = taken[0] >> 32;
    assert_eq!(taken[1], 1000 + value, "the body belongs to the first word");
    value
}

fn producer(memory: &LoomWords, lane: Lane) -> Producer<LoomWords, 2> {
    Producer::new(memory.clone(), lane, HEAD, 0, 0)
}

fn shared_producer(memory: &LoomWords, lane: Lane) -> SharedProducer<LoomWords, 2> {
    SharedProducer::new(memory.clone(), lane, HEAD, 0, TICKET)
}

fn consumer(memory: &LoomWords, lane: Lane) -> Consumer<LoomWords, 2> {
    Consumer::new(memory.clone(), lane, HEAD, 0)
}

/// Takes the next entry, however long it takes.
fn take(consumer: &mut Consumer<LoomWords, 2>) -> u64 {
    loop {
        match consumer.take().expect("the producer is honest") {
            Some(taken) => return value_of(taken),
            None => thread::yield_now(),
        }
    }
}

/// Stages one entry, however long it takes until there is room.
fn stage(producer: &mut Producer<LoomWords, 2>, value: u64) {
    while producer.room(1).expect("the consumer is honest") == 0 {
        assert_eq!(producer.stage(entry(value)), Err(entry(value)), "without room the entry comes back");
        thread::yield_now();
    }
    producer.stage(entry(value)).expect("there is room");
}

#[test]
fn entries_arrive_whole_and_in_order_over_several_laps() {
    check(Some(4), || {
        let (memory, lane) = lane(1);
        let mut consumer = consumer(&memory, lane);
        let posting = thread::spawn(move || {
            let mut producer = producer(&memory, lane);
            for value in 1..=4 {
                stage(&mut producer, value);
                assert_eq!(producer.publish(), 1);
            }
        });
        for value in 1..=4 {
            assert_eq!(take(&mut consumer), value);
        }
        posting.join().unwrap();
        assert_eq!(consumer.take(), Ok(None));
    });
}

#[test]
fn a_batch_is_visible_at_once() {
    check(None, || {
        let (memory, lane) = lane(2);
        let mut consumer = consumer(&memory, lane);
        let posting = thread::spawn(move || {
            let mut producer = producer(&memory, lane);
            // The second batch wraps around the end of the lane and needs slots of the first one.
            for batch in [[1, 2, 3], [4, 5, 6]] {
                while producer.room(3).unwrap() < 3 {
                    thread::yield_now();
                }
                for value in batch {
                    stage(&mut producer, value);
                }
                assert_eq!(producer.publish(), 3);
            }
        });
        for first in [1, 4] {
            assert_eq!(take(&mut consumer), first);
            for value in [first + 1, first + 2] {
                let rest = consumer.take().unwrap().expect("who sees the first of a batch sees all of it");
                assert_eq!(value_of(rest), value);
            }
        }
        posting.join().unwrap();
    });
}

#[test]
fn a_full_ring_makes_the_producer_wait_and_overwrites_nothing() {
    check(None, || {
        let (memory, lane) = lane(1);
        let mut consumer = consumer(&memory, lane);
        let mut producer = producer(&memory, lane);
        for value in 1..=2 {
            stage(&mut producer, value);
        }
        assert!(producer.known_full());
        assert_eq!(producer.publish(), 2);
        let posting = thread::spawn(move || {
            for value in 3..=4 {
                stage(&mut producer, value);
                producer.publish();
            }
        });
        for value in 1..=4 {
            // Reading twice must give the same: nothing may be written into a slot that was not given back.
            let peeked = loop {
                match consumer.peek().unwrap() {
                    Some(peeked) => break peeked,
                    None => thread::yield_now(),
                }
            };
            thread::yield_now();
            assert_eq!(consumer.peek(), Ok(Some(peeked)));
            assert_eq!(value_of(peeked), value);
            consumer.advance();
        }
        posting.join().unwrap();
    });
}

#[test]
fn two_posters_lose_and_double_nothing() {
    check(Some(3), || {
        let (memory, lane) = lane(1);
        let mut consumer = consumer(&memory, lane);
        // Each tries twice, so that the second lap is reached; nobody spins, so that this can be explored to its end.
        let posting = [10, 20].map(|base| {
            let mut producer = shared_producer(&memory, lane);
            thread::spawn(move || {
                let tries = [base + 1, base + 2];
                tries.map(|value| producer.post(&[entry(value)]).expect("the consumer is honest").then_some(value))
            })
        });
        let mut taken = Vec::new();
        let take_some = |consumer: &mut Consumer<LoomWords, 2>, taken: &mut Vec<u64>| {
            while let Some(entry) = consumer.take().expect("the producers are honest") {
                taken.push(value_of(entry));
            }
        };
        take_some(&mut consumer, &mut taken);
        thread::yield_now();
        take_some(&mut consumer, &mut taken);
        let posted = posting.map(|poster| poster.join().unwrap());
        take_some(&mut consumer, &mut taken);
        for posted in posted {
            let posted: Vec<u64> = posted.into_iter().flatten().collect();
            let arrived: Vec<u64> = taken.iter().copied().filter(|value| posted.contains(value)).collect();
            assert_eq!(arrived, posted, "each poster's entries come once, in its order");
            taken.retain(|value| !posted.contains(value));
        }
        assert_eq!(taken, [], "nothing comes that nobody has posted");
    });
}

#[test]
fn a_batch_of_one_of_two_posters_stays_together() {
    check(Some(3), || {
        let (memory, lane) = lane(2);
        let mut consumer = consumer(&memory, lane);
        let mut batches = shared_producer(&memory, lane);
        let mut singles = shared_producer(&memory, lane);
        let posting = [
            thread::spawn(move || assert_eq!(batches.post(&[entry(1), entry(2)]), Ok(true))),
            thread::spawn(move || assert_eq!(singles.post(&[entry(9)]), Ok(true))),
        ];
        let mut left = 3;
        while left > 0 {
            left -= 1;
            match take(&mut consumer) {
                1 => {
                    let second = consumer.take().unwrap().expect("who sees the first of a batch sees all of it");
                    assert_eq!(value_of(second), 2);
                    left -= 1;
                }
                single => assert_eq!(single, 9),
            }
        }
        for poster in posting {
            poster.join().unwrap();
        }
        assert_eq!(consumer.take(), Ok(None));
    });
}

#[test]
fn an_outdated_ticket_accuses_nobody() {
    check(Some(3), || {
        let (memory, lane) = lane(1);
        let mut consumer = consumer(&memory, lane);
        let mut singles = shared_producer(&memory, lane);
        let mut batches = shared_producer(&memory, lane);
        let posting = [
            thread::spawn(move || {
                (1..=2).filter(|value| singles.post(&[entry(*value)]).expect("the consumer is honest")).count()
            }),
            // Between its look at the ticket and its look at the head, the others may have come further than that ticket.
            thread::spawn(move || if batches.post(&[entry(3), entry(4)]).expect("the consumer is honest") { 2 } else { 0 }),
        ];
        let take_some = |consumer: &mut Consumer<LoomWords, 2>| {
            std::iter::from_fn(|| consumer.take().expect("the producers are honest").map(value_of)).count()
        };
        let mut taken = 0;
        for _ in 0..2 {
            taken += take_some(&mut consumer);
            thread::yield_now();
        }
        let posted: usize = posting.into_iter().map(|poster| poster.join().unwrap()).sum();
        taken += take_some(&mut consumer);
        assert_eq!(taken, posted);
    });
}

/// Takes `entries` entries, asleep whenever there is nothing. Returns how often sleep was announced.
fn take_sleeping(
    consumer: &mut Consumer<LoomWords, 2>,
    sleeper: &mut Sleeper<LoomWords>,
    doorbell: &Notify,
    entries: usize,
) -> usize {
    let mut announced = 0;
    for _ in 0..entries {
        loop {
            if let Some(taken) = consumer.take().unwrap() {
                value_of(taken);
                break;
            }
            sleeper.announce();
            announced += 1;
            if consumer.is_empty() {
                // A wake-up that is lost leaves this thread here for ever; loom then reports the deadlock.
                doorbell.wait();
            }
            sleeper.awake();
        }
    }
    announced
}

#[test]
fn no_wake_up_is_lost_and_none_is_sent_twice() {
    check(None, || {
        let (memory, lane) = lane(1);
        let doorbell = Rc::new(Notify::new());
        let mut consumer = consumer(&memory, lane);
        let mut sleeper = Sleeper::new(memory.clone(), SLEEP);
        let bell = Rc::clone(&doorbell);
        let posting = thread::spawn(move || {
            let mut producer = producer(&memory, lane);
            let mut waker = Waker::new(memory, SLEEP);
            let mut rung = 0;
            for value in 1..=2 {
                stage(&mut producer, value);
                producer.publish();
                if waker.must_wake() {
                    bell.notify();
                    rung += 1;
                }
            }
            rung
        });
        let announced = take_sleeping(&mut consumer, &mut sleeper, &doorbell, 2);
        let rung = posting.join().unwrap();
        assert!(rung <= announced, "{rung} doorbells for {announced} sleeps");
    });
}

#[test]
fn a_sleeper_is_woken_by_whichever_poster_comes_last() {
    check(Some(3), || {
        let (memory, lane) = lane(1);
        let doorbell = Rc::new(Notify::new());
        let mut consumer = consumer(&memory, lane);
        let mut sleeper = Sleeper::new(memory.clone(), SLEEP);
        let posting = [1, 2].map(|value| {
            let mut producer = shared_producer(&memory, lane);
            let mut waker = Waker::new(memory.clone(), SLEEP);
            let bell = Rc::clone(&doorbell);
            thread::spawn(move || {
                assert_eq!(producer.post(&[entry(value)]), Ok(true));
                if waker.must_wake() {
                    bell.notify();
                }
            })
        });
        take_sleeping(&mut consumer, &mut sleeper, &doorbell, 2);
        for poster in posting {
            poster.join().unwrap();
        }
    });
}

/// The header's words, as `Header::format` writes them.
struct Formatted(RefCell<Vec<u64>>);

impl WordMemory for Formatted {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn load(&self, index: usize, _: Ordering) -> u64 {
        self.0.borrow()[index]
    }

    fn store(&self, index: usize, value: u64, _: Ordering) {
        self.0.borrow_mut()[index] = value;
    }

    fn compare_exchange(&self, _: usize, _: u64, _: u64) -> Result<u64, u64> {
        unreachable!("formatting needs no compare-and-swap")
    }

    fn load_body<const N: usize>(&self, _: usize, _: &mut [u64; N]) {
        unreachable!("formatting reads no slot")
    }

    fn store_body<const N: usize>(&self, _: usize, _: &[u64; N]) {
        unreachable!("formatting stores words one by one")
    }

    fn full_fence(&self) {
        unreachable!("formatting needs no fence")
    }
}

/// A whole ring pair, formatted, of which the first `used` slots of each ring are there.
fn ring_pair(used: u64) -> LoomWords {
    let sizes = RingSizes { submission_entries: 8, completion_entries: 16, reserve: 8, clock: ClockId::None };
    let header = Header::layout(sizes).unwrap();
    let formatted = Formatted(RefCell::new(vec![0; usize::try_from(header.region_bytes() / 8).unwrap()]));
    header.format(&formatted).unwrap();
    let mut words: Vec<Word> = formatted.0.into_inner().into_iter().map(Word::Constant).collect();
    for unused in words.iter_mut().skip(13) {
        *unused = Word::Unused;
    }
    for index in [
        word::SQ_HEAD,
        word::CQ_TAIL,
        word::SQ_SLEEP,
        word::FENCE,
        word::CQ_HEAD,
        word::CQ_SLEEP,
        word::SQ_TICKET,
        word::CHARGED,
        word::RELEASED,
    ] {
        words[index] = Word::Control(AtomicU64::new(0));
    }
    for lane in [header.submission_lane(), header.completion_lane(), header.extension_lane()] {
        for position in 0..used {
            let first = lane.word(position);
            words[first] = Word::Control(AtomicU64::new(0));
            for body in &mut words[first + 1..first + 8] {
                *body = Word::Body(UnsafeCell::new(0));
            }
        }
    }
    LoomWords(words.into())
}

/// The two ends of a ring pair in use.
fn ends(used: u64) -> (DispatcherPort<LoomWords>, Poster<LoomWords>, CompletionReader<LoomWords>) {
    let memory = ring_pair(used);
    let dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let (poster, reader) = GuestPort::open(memory).unwrap().split();
    (dispatcher, poster, reader)
}

const SUBCHANNEL: SubsystemId = SubsystemId::new(0, 7);

#[test]
fn a_sleeping_guest_is_notified_of_every_completion() {
    check(None, || {
        let (mut dispatcher, _, mut reader) = ends(3);
        let notification = Rc::new(Notify::new());
        let notify = Rc::clone(&notification);
        let serving = thread::spawn(move || {
            let mut notified = 0;
            for tag in 0..2 {
                assert!(dispatcher.room(1).unwrap() > 0);
                let completion = Completion::new(CompletionKind::Final, SUBCHANNEL.word(), tag, 0);
                dispatcher.stage(completion, None).unwrap();
                assert!(dispatcher.publish());
                if dispatcher.must_notify() {
                    notify.notify();
                    notified += 1;
                }
            }
            notified
        });
        let (mut tag, mut announced) = (0, 0);
        while tag < 2 {
            if let Some((completion, _)) = reader.take().unwrap() {
                assert_eq!(completion.tag, tag);
                tag += 1;
                continue;
            }
            announced += 1;
            if reader.announce_sleep() {
                notification.wait();
                reader.awake();
            }
        }
        let notified = serving.join().unwrap();
        assert!(notified <= announced, "{notified} notifications for {announced} sleeps");
    });
}

#[test]
fn a_sleeping_dispatcher_is_rung_for_every_descriptor() {
    check(None, || {
        let (mut dispatcher, mut poster, _) = ends(3);
        let doorbell = Rc::new(Notify::new());
        let bell = Rc::clone(&doorbell);
        let posting = thread::spawn(move || {
            let mut rung = 0;
            for tag in 0..2 {
                if poster.post(&Descriptor::new(Operation::Clear, SUBCHANNEL, tag)).unwrap() {
                    bell.notify();
                    rung += 1;
                }
            }
            rung
        });
        let (mut tag, mut announced) = (0, 0);
        while tag < 2 {
            if let Some(descriptor) = dispatcher.take().unwrap() {
                assert_eq!(descriptor.tag, tag);
                tag += 1;
                continue;
            }
            announced += 1;
            // As the reactor does, for all its rings at once.
            let announce = DispatcherPort::announce_sleep;
            if announce_then_look(&mut dispatcher, announce, || fence(Ordering::SeqCst), |port| port.is_empty()) {
                doorbell.wait();
            }
            dispatcher.awake();
        }
        let rung = posting.join().unwrap();
        assert!(rung <= announced, "{rung} doorbells for {announced} sleeps");
    });
}

#[test]
fn an_extension_comes_with_its_completion() {
    check(None, || {
        let (mut dispatcher, _, mut reader) = ends(2);
        let serving = thread::spawn(move || {
            for tag in 0..2u8 {
                assert!(dispatcher.room(1).unwrap() > 0);
                let completion = Completion::new(CompletionKind::Final, SUBCHANNEL.word(), u64::from(tag), 0);
                let extension = Extension::Irb { esw: Esw::from_bytes(&[tag + 1; Esw::SIZE]), ecw: Ecw([tag + 1; 32]) };
                dispatcher.stage(completion, Some(&extension)).unwrap();
            }
            dispatcher.publish();
        });
        for tag in 0..2u8 {
            let (completion, extension) = loop {
                match reader.take().unwrap() {
                    Some(taken) => break taken,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(completion.tag, u64::from(tag));
            let expected = Extension::Irb { esw: Esw::from_bytes(&[tag + 1; Esw::SIZE]), ecw: Ecw([tag + 1; 32]) };
            assert_eq!(extension, Some(expected));
        }
        serving.join().unwrap();
    });
}

/// SPEC 3.2: the whole batch becomes visible at once. Who looks ahead before it takes sees all of it, or nothing.
#[test]
fn a_look_ahead_sees_a_batch_whole() {
    check(None, || {
        let (memory, lane) = lane(2);
        let consumer = consumer(&memory, lane);
        let posting = thread::spawn(move || {
            let mut producer = producer(&memory, lane);
            assert_eq!(producer.room(3), Ok(4));
            for value in 1..=3 {
                stage(&mut producer, value);
            }
            assert_eq!(producer.publish(), 3);
        });
        let (seen, _) = consumer.look(4, 0);
        assert!(matches!(seen, 0 | 3), "{seen} of a batch of three");
        posting.join().unwrap();
    });
}
