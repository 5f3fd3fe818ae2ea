// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings over real memory and with real threads: laps, batches, many posters, credit, sleep words, misbehaviour, re-attaching.

mod region;

use fctl_ringabi::{
    arch::{Ecw, Esw, Schib, SubsystemId},
    header::word,
    ClockId, Completion, CompletionKind, CompletionReader, Consumer, Descriptor, DescriptorFlags, DispatcherPort, Extension,
    GuestPort, Lane, Operation, PostError, Poster, Producer, RingSizes, SharedPoster, SharedProducer, Sleeper, Violation, Waker,
    WordMemory,
};
use region::{formatted, zeroed, Region, LEAST};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

const SUBCHANNEL: SubsystemId = SubsystemId::new(0, 7);

/// Submission ring of 32, completion ring of 64.
const SMALL: RingSizes = RingSizes { submission_entries: 32, completion_entries: 64, reserve: 8, clock: ClockId::None };

fn ends(sizes: RingSizes) -> (Region, DispatcherPort<Region>, Poster<Region>, CompletionReader<Region>) {
    let memory = formatted(sizes);
    let dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let (poster, reader) = GuestPort::open(memory.clone()).unwrap().split();
    (memory, dispatcher, poster, reader)
}

fn shared_ends(sizes: RingSizes) -> (Region, DispatcherPort<Region>, SharedPoster<Region>, CompletionReader<Region>) {
    let memory = formatted(sizes);
    let dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    let (poster, reader) = GuestPort::open(memory.clone()).unwrap().split_shared();
    (memory, dispatcher, poster, reader)
}

fn start(tag: u64) -> Descriptor {
    Descriptor::new(Operation::Start, SUBCHANNEL, tag)
}

fn clear(tag: u64) -> Descriptor {
    Descriptor::new(Operation::Clear, SUBCHANNEL, tag)
}

fn completion(kind: CompletionKind, tag: u64) -> Completion {
    Completion::new(kind, SUBCHANNEL.word(), tag, 0)
}

/// Posts a completion, for which there must be room.
fn complete(dispatcher: &mut DispatcherPort<Region>, kind: CompletionKind, tag: u64) {
    assert!(dispatcher.room(1).unwrap() > 0);
    dispatcher.stage(completion(kind, tag), None).unwrap();
    assert!(dispatcher.publish());
}

/// Head word 0, ticket word 1, then `2^entries_log2` slots of four words.
fn four_word_lane(entries_log2: u32) -> (Region, Lane) {
    let lane = Lane::new(2, 4, entries_log2);
    (zeroed(lane.end_word()), lane)
}

const HEAD: usize = 0;
const TICKET: usize = 1;

const fn four_words(value: u64) -> [u64; 4] {
    [value << 32, value, !value, value.wrapping_mul(0x9E37_79B9_7F4A_7C15)]
}

fn value_of(taken: [u64; 4]) -> u64 {
    let value = taken[1];
    assert_eq!([taken[0] & !0xFFFF_FFFF, taken[2], taken[3]], [value << 32, four_words(value)[2], four_words(value)[3]]);
    value
}

#[test]
fn entries_cross_many_laps_whole_and_in_order() {
    const ENTRIES: u64 = 50_000;
    let (memory, lane) = four_word_lane(3);
    let posted = memory.clone();
    let posting = thread::spawn(move || {
        let mut producer = Producer::<_, 4>::new(posted, lane, HEAD, 0, 0);
        let mut value = 0;
        while value < ENTRIES {
            // Batches of 1 to 5, so that they begin at every slot.
            let batch = (value % 5 + 1).min(ENTRIES - value);
            while producer.room(batch).unwrap() < batch {
                thread::yield_now();
            }
            for _ in 0..batch {
                producer.stage(four_words(value)).unwrap();
                value += 1;
            }
            assert_eq!(producer.publish(), batch);
        }
    });
    let mut consumer = Consumer::<_, 4>::new(memory, lane, HEAD, 0);
    let mut value = 0;
    while value < ENTRIES {
        match consumer.take().unwrap() {
            Some(taken) => {
                assert_eq!(value_of(taken), value);
                value += 1;
            }
            None => thread::yield_now(),
        }
    }
    posting.join().unwrap();
    assert_eq!(consumer.take(), Ok(None));
    assert!(consumer.is_empty());
}

#[test]
fn nothing_of_a_batch_is_visible_before_publish_and_all_of_it_after() {
    let (memory, lane) = four_word_lane(3);
    let mut producer = Producer::<_, 4>::new(memory.clone(), lane, HEAD, 0, 0);
    let mut consumer = Consumer::<_, 4>::new(memory, lane, HEAD, 0);
    for lap in 0..20 {
        assert!(producer.room(6).unwrap() >= 6);
        for value in 0..6 {
            producer.stage(four_words(6 * lap + value)).unwrap();
            assert_eq!(producer.staged(), value + 1);
            assert_eq!(consumer.take(), Ok(None));
            assert!(consumer.is_empty());
        }
        assert_eq!(producer.publish(), 6);
        assert_eq!((producer.staged(), producer.publish()), (0, 0));
        for value in 0..6 {
            assert_eq!(consumer.take().unwrap().map(value_of), Some(6 * lap + value));
        }
        assert_eq!(consumer.take(), Ok(None));
    }
}

#[test]
fn a_full_ring_gives_the_entry_back_until_slots_are_given_back() {
    let (memory, lane) = four_word_lane(3);
    let mut producer = Producer::<_, 4>::new(memory.clone(), lane, HEAD, 0, 0);
    let mut consumer = Consumer::<_, 4>::new(memory.clone(), lane, HEAD, 0);
    for value in 0..8 {
        producer.stage(four_words(value)).unwrap();
    }
    assert!(producer.known_full());
    assert_eq!(producer.stage(four_words(8)), Err(four_words(8)));
    assert_eq!(producer.room(1), Ok(0));
    producer.publish();
    assert_eq!(consumer.take().unwrap().map(value_of), Some(0));
    assert_eq!(memory.load(HEAD, Relaxed), 0, "slots are given back a quarter of the ring at a time");
    assert_eq!(producer.room(1), Ok(0));
    consumer.give_back();
    assert_eq!(producer.room(1), Ok(1));
    assert_eq!(consumer.take().unwrap().map(value_of), Some(1));
    assert_eq!(consumer.take().unwrap().map(value_of), Some(2));
    assert_eq!(memory.load(HEAD, Relaxed), 3);
    assert_eq!(producer.room(1), Ok(1), "what is known to be enough is not read again");
    assert_eq!(producer.room(2), Ok(3));
}

#[test]
fn many_posters_lose_and_double_nothing() {
    const POSTERS: usize = 4;
    const BATCHES: u64 = 2_000;
    let (memory, lane) = four_word_lane(4);
    let posting: Vec<_> = (0..POSTERS)
        .map(|poster| {
            let mut producer = SharedProducer::<_, 4>::new(memory.clone(), lane, HEAD, 0, TICKET);
            thread::spawn(move || {
                for batch in 0..BATCHES {
                    let first = ((poster as u64) << 32) + batch * 3;
                    let entries = [first, first + 1, first + 2].map(four_words);
                    while !producer.post(&entries).expect("the consumer is honest") {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut consumer = Consumer::<_, 4>::new(memory.clone(), lane, HEAD, 0);
    let mut next = [0u64; POSTERS];
    for _ in 0..POSTERS as u64 * BATCHES {
        let first = loop {
            match consumer.take().unwrap() {
                Some(taken) => break value_of(taken),
                None => thread::yield_now(),
            }
        };
        let next = &mut next[usize::try_from(first >> 32).unwrap()];
        assert_eq!(first & 0xFFFF_FFFF, *next, "a poster's batches come once, in its order");
        for value in [first + 1, first + 2] {
            assert_eq!(consumer.take().unwrap().map(value_of), Some(value), "a batch stays together");
        }
        *next += 3;
    }
    for poster in posting {
        poster.join().unwrap();
    }
    assert_eq!(next, [BATCHES * 3; POSTERS]);
    assert_eq!(consumer.take(), Ok(None));
    assert_eq!(memory.load(TICKET, Relaxed), POSTERS as u64 * BATCHES * 3);
}

#[test]
fn a_shared_batch_is_posted_whole_or_not_at_all() {
    let (memory, lane) = four_word_lane(3);
    let mut producer = SharedProducer::<_, 4>::new(memory.clone(), lane, HEAD, 0, TICKET);
    let mut consumer = Consumer::<_, 4>::new(memory.clone(), lane, HEAD, 0);
    assert_eq!(producer.post(&[]), Ok(true));
    assert_eq!(producer.post(&[four_words(0); 6]), Ok(true));
    assert_eq!(producer.post(&[four_words(1); 3]), Ok(false));
    assert_eq!(memory.load(TICKET, Relaxed), 6);
    assert_eq!(producer.post(&[four_words(1); 2]), Ok(true));
    let taken: Vec<u64> = std::iter::from_fn(|| consumer.take().unwrap()).map(value_of).collect();
    assert_eq!(taken, [0, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn guest_and_dispatcher_exchange_everything_with_all_threads_running() {
    const POSTERS: u64 = 3;
    const EACH: u64 = 3_000;
    let (_, mut dispatcher, poster, mut reader) = shared_ends(SMALL);
    let serving = thread::spawn(move || {
        let mut served = 0;
        while served < POSTERS * EACH {
            // Room first: a descriptor that was taken must be answered.
            if dispatcher.room(1).unwrap() == 0 {
                thread::yield_now();
                continue;
            }
            let Some(descriptor) = dispatcher.take().unwrap() else {
                thread::yield_now();
                continue;
            };
            dispatcher.stage(completion(CompletionKind::Final, descriptor.tag), None).unwrap();
            dispatcher.publish();
            served += 1;
        }
    });
    let posting: Vec<_> = (0..POSTERS)
        .map(|number| {
            let mut poster = poster.clone();
            thread::spawn(move || {
                for tag in (number * EACH..(number + 1) * EACH).step_by(2) {
                    loop {
                        match poster.post(&[start(tag), start(tag + 1)]) {
                            Ok(_) => break,
                            Err(PostError::SubmissionFull | PostError::CompletionCredit) => thread::yield_now(),
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();
    let mut seen = vec![false; usize::try_from(POSTERS * EACH).unwrap()];
    let mut left = seen.len();
    while left > 0 {
        match reader.take().unwrap() {
            Some((completion, None)) => {
                let seen = &mut seen[usize::try_from(completion.tag).unwrap()];
                assert!(!std::mem::replace(seen, true), "tag {} came twice", completion.tag);
                left -= 1;
            }
            Some((_, extension)) => panic!("nobody posted {extension:?}"),
            None => thread::yield_now(),
        }
    }
    for poster in posting {
        poster.join().unwrap();
    }
    serving.join().unwrap();
    assert!(reader.is_empty());
}

#[test]
fn starts_are_refused_when_only_the_reserve_is_left_and_clears_pass() {
    let (_, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    // Credit of 16, of which 8 are reserved: starts may owe 8, everything together 16.
    for tag in 0..8 {
        poster.post(&start(tag)).unwrap();
        assert_eq!(dispatcher.take().unwrap().map(|descriptor| descriptor.tag), Some(tag));
    }
    for operation in [Operation::Start, Operation::Resume, Operation::Modify, Operation::Store, Operation::Test] {
        let refused = poster.post(&Descriptor::new(operation, SUBCHANNEL, 99));
        assert_eq!(refused, Err(PostError::CompletionCredit), "{}", operation.mnemonic());
    }
    for tag in 8..16 {
        let operation = [Operation::Clear, Operation::Halt, Operation::Cancel][usize::try_from(tag % 3).unwrap()];
        poster.post(&Descriptor::new(operation, SUBCHANNEL, tag)).unwrap();
        assert_eq!(dispatcher.take().unwrap().map(|descriptor| descriptor.tag), Some(tag));
    }
    assert_eq!(poster.post(&clear(99)), Err(PostError::CompletionCredit));
    // One final pays for one clear, and not for a start.
    complete(&mut dispatcher, CompletionKind::Final, 0);
    assert_eq!(poster.post(&clear(16)), Err(PostError::CompletionCredit), "the completion is posted but not read");
    assert_eq!(reader.take().unwrap().map(|(completion, _)| completion.tag), Some(0));
    reader.give_back();
    assert_eq!(poster.post(&start(99)), Err(PostError::CompletionCredit));
    assert_eq!(poster.post(&clear(16)), Ok(false));
    assert_eq!(poster.post(&clear(99)), Err(PostError::CompletionCredit));
}

#[test]
fn accepted_costs_two_and_only_owed_completions_pay_back() {
    let (_, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    for tag in 0..4 {
        poster.post(&start(tag).with_flags(DescriptorFlags::ACCEPTED)).unwrap();
        dispatcher.take().unwrap().expect("it was posted");
    }
    assert_eq!(poster.post(&start(4)), Err(PostError::CompletionCredit));
    for kind in [
        CompletionKind::Intermediate,
        CompletionKind::Secondary,
        CompletionKind::Unsolicited,
        CompletionKind::InterruptionPending,
    ] {
        complete(&mut dispatcher, kind, 0);
        reader.take().unwrap().expect("it was posted");
        reader.give_back();
        assert_eq!(poster.post(&start(4)), Err(PostError::CompletionCredit), "nobody was charged for {kind:?}");
    }
    for (kind, tag) in [(CompletionKind::Accepted, 4), (CompletionKind::Final, 5)] {
        complete(&mut dispatcher, kind, 0);
        reader.take().unwrap().expect("it was posted");
        reader.give_back();
        let two = start(99).with_flags(DescriptorFlags::ACCEPTED);
        assert_eq!(poster.post(&two), Err(PostError::CompletionCredit), "one entry is free, two are asked for");
        assert_eq!(poster.post(&start(tag)), Ok(false));
    }
    assert_eq!(poster.post(&start(99)), Err(PostError::CompletionCredit));
}

#[test]
fn shared_posters_share_one_credit_and_keep_the_reserve() {
    let (memory, mut dispatcher, mut one, mut reader) = shared_ends(LEAST);
    let mut other = one.clone();
    one.post(&[0, 1, 2].map(start)).unwrap();
    other.post(&[3, 4].map(|tag| start(tag).with_flags(DescriptorFlags::ACCEPTED))).unwrap();
    assert_eq!(memory.load(word::CHARGED, Relaxed), 7);
    for _ in 0..5 {
        dispatcher.take().unwrap().expect("five were posted");
    }
    dispatcher.give_back();
    assert_eq!(one.post(&[start(5), start(6)]), Err(PostError::CompletionCredit));
    assert_eq!(one.post(&[start(5), clear(6)]), Err(PostError::CompletionCredit), "a start in the batch may not use the reserve");
    assert_eq!(other.post(&[start(5)]), Ok(false));
    assert_eq!(one.post(&[start(6)]), Err(PostError::CompletionCredit));
    assert_eq!(one.post(&[6, 7, 8, 9, 10, 11, 12].map(clear)), Ok(false));
    assert_eq!(memory.load(word::CHARGED, Relaxed), 15);
    assert_eq!(other.post(&[13, 14].map(clear)), Err(PostError::CompletionCredit));
    // Here the submission ring is full first: what was charged for the attempt is given back.
    assert_eq!(other.post(&[clear(13)]), Err(PostError::SubmissionFull));
    assert_eq!(memory.load(word::CHARGED, Relaxed), 15);
    while dispatcher.take().unwrap().is_some() {}
    dispatcher.give_back();
    assert_eq!(other.post(&[clear(13)]), Ok(false));
    assert_eq!(one.post(&[clear(14)]), Err(PostError::CompletionCredit));
    complete(&mut dispatcher, CompletionKind::Final, 0);
    reader.take().unwrap().expect("it was posted");
    reader.give_back();
    assert_eq!(one.post(&[clear(14)]), Ok(false));
}

#[test]
fn a_full_submission_ring_is_told_from_missing_credit() {
    let (_, mut dispatcher, mut poster, _reader) = ends(SMALL);
    for tag in 0..32 {
        poster.stage(&start(tag)).unwrap();
    }
    assert_eq!(poster.stage(&start(32)), Err(PostError::SubmissionFull));
    assert!(!poster.publish());
    for tag in 0..32 {
        assert_eq!(dispatcher.take().unwrap().map(|descriptor| descriptor.tag), Some(tag));
    }
    assert_eq!(poster.post(&start(32)), Ok(false), "the refused one is posted later");
}

#[test]
fn a_batch_as_large_as_the_ring_is_posted_to_a_sleeping_dispatcher() {
    let (_, mut dispatcher, mut poster, _reader) = shared_ends(LEAST);
    assert_eq!(poster.post(&[clear(0)]), Ok(false));
    dispatcher.take().unwrap().expect("it was posted");
    dispatcher.announce_sleep();
    assert!(dispatcher.is_empty());
    assert_eq!(poster.post(&[1, 2, 3, 4, 5, 6, 7, 8].map(clear)), Ok(true), "there is room, and the doorbell is wanted");
}

#[test]
fn whoever_has_credit_has_room_in_the_completion_ring() {
    let (_, mut dispatcher, mut poster, mut reader) = ends(SMALL);
    // Read, but one less than makes the reader give the slots back.
    for tag in 0..15 {
        poster.post(&start(tag)).unwrap();
        dispatcher.take().unwrap().expect("it was posted");
        complete(&mut dispatcher, CompletionKind::Final, tag);
        reader.take().unwrap().expect("it was posted");
    }
    let mut owed = 0;
    while poster.post(&start(owed)).is_ok() {
        dispatcher.take().unwrap().expect("it was posted");
        owed += 1;
    }
    assert!(owed > 30);
    assert!(dispatcher.room(owed).unwrap() >= owed, "there is always room for a final");
}

#[test]
fn another_reader_goes_on_where_one_was_dropped() {
    let (memory, mut dispatcher, _poster, mut reader) = ends(LEAST);
    for tag in 0..40 {
        complete(&mut dispatcher, CompletionKind::Unsolicited, tag);
        assert_eq!(reader.take().unwrap().map(|(completion, _)| completion.tag), Some(tag));
        drop(reader);
        reader = GuestPort::open(memory.clone()).unwrap().split().1;
    }
}

#[test]
fn descriptors_and_extensions_arrive_as_they_were_posted() {
    let (_, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    let mut schib = [0; Schib::SIZE];
    for (byte, value) in schib.iter_mut().zip(1..) {
        *byte = value;
    }
    let extensions = [
        None,
        Some(Extension::Irb { esw: Esw::from_bytes(&[0xE5; Esw::SIZE]), ecw: Ecw([0xEC; 32]) }),
        Some(Extension::Schib(Schib::from_bytes(&schib))),
    ];
    // Several laps, so that an extension is never found beside another slot, nor an old one beside a completion without one.
    for tag in 0..60 {
        let descriptor = Descriptor::by_address(Operation::Modify, SUBCHANNEL, 0xA000 + tag, tag).posted_at(77 + tag);
        poster.post(&descriptor).unwrap();
        assert_eq!(dispatcher.take(), Ok(Some(descriptor)));
        let extension = extensions[usize::try_from(tag % 3).unwrap()];
        assert!(dispatcher.room(1).unwrap() > 0);
        let posted = completion(CompletionKind::Final, tag);
        dispatcher.stage(posted, extension.as_ref()).unwrap();
        dispatcher.publish();
        let (taken, with) = reader.take().unwrap().expect("it was posted");
        assert_eq!((taken.tag, with), (tag, extension));
        assert_eq!(taken.flags, extension.map_or(posted.flags, |extension| extension.flag()));
    }
}

#[test]
fn a_completion_without_room_comes_back_and_spoils_no_extension() {
    let (_, mut dispatcher, _, mut reader) = ends(LEAST);
    let extension = |tag: u8| Extension::Irb { esw: Esw::from_bytes(&[tag; Esw::SIZE]), ecw: Ecw([tag; 32]) };
    for tag in 0..16 {
        dispatcher.stage(completion(CompletionKind::Unsolicited, u64::from(tag)), Some(&extension(tag))).unwrap();
    }
    let refused = completion(CompletionKind::Unsolicited, 16);
    assert_eq!(dispatcher.stage(refused, Some(&extension(16))), Err(refused));
    assert_eq!(dispatcher.room(1), Ok(0));
    assert!(dispatcher.publish());
    for tag in 0..16 {
        let (completion, with) = reader.take().unwrap().expect("sixteen were posted");
        assert_eq!((completion.tag, with), (u64::from(tag), Some(extension(tag))));
    }
}

#[test]
fn a_sleep_is_rung_for_once() {
    let memory = zeroed(1);
    let mut sleeper = Sleeper::new(memory.clone(), 0);
    let mut waker = Waker::new(memory.clone(), 0);
    assert!(!waker.must_wake(), "nobody sleeps");
    for sleep in 0..3 {
        sleeper.announce();
        assert_eq!(memory.load(0, Relaxed), 2 * sleep + 1);
        assert!(waker.must_wake());
        assert!(!waker.must_wake(), "this sleep was rung for");
        sleeper.awake();
        assert_eq!(memory.load(0, Relaxed), 2 * sleep + 2);
        assert!(!waker.must_wake());
    }
    sleeper.awake();
    assert_eq!(memory.load(0, Relaxed), 6, "awake is said once");
    // Whoever takes over from a side that went away asleep is awake, and its next sleep is a new one.
    sleeper.announce();
    assert!(waker.must_wake());
    let mut next = Sleeper::new(memory.clone(), 0);
    assert_eq!(memory.load(0, Relaxed), 8);
    next.announce();
    assert!(waker.must_wake());
}

#[test]
fn both_ends_ask_for_a_wake_up_only_when_the_other_sleeps() {
    let (_, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    assert_eq!(poster.post(&start(0)), Ok(false));
    dispatcher.take().unwrap().expect("it was posted");
    dispatcher.announce_sleep();
    assert!(dispatcher.is_empty());
    poster.stage(&start(1)).unwrap();
    poster.stage(&start(2)).unwrap();
    assert!(poster.publish());
    assert!(!poster.publish(), "nothing was staged");
    assert_eq!(poster.post(&start(3)), Ok(false), "the bell has rung for this sleep");
    dispatcher.awake();
    assert_eq!(poster.post(&start(4)), Ok(false));

    complete(&mut dispatcher, CompletionKind::Final, 0);
    assert!(!dispatcher.must_notify());
    assert!(!reader.announce_sleep(), "a completion is waiting");
    assert!(!dispatcher.must_notify(), "so the reader is awake");
    reader.take().unwrap().expect("it was posted");
    assert!(reader.announce_sleep());
    complete(&mut dispatcher, CompletionKind::Final, 1);
    assert!(dispatcher.must_notify());
    assert!(!dispatcher.must_notify());
    reader.awake();
    complete(&mut dispatcher, CompletionKind::Final, 2);
    assert!(!dispatcher.must_notify());
}

#[test]
fn a_fence_and_its_reason_reach_every_part_of_the_guest() {
    let (_, mut dispatcher, mut poster, reader) = ends(LEAST);
    assert_eq!((poster.fenced(), reader.fenced()), (None, None));
    let violation = Violation::Head { found: 9, least: 0, most: 0 };
    dispatcher.fence(violation.fence_reason());
    assert_eq!((poster.fenced(), reader.fenced()), (Some(2), Some(2)));
    for tag in 0..8 {
        // A fence is found where posting has to look anyway: when there is no room.
        assert_eq!(poster.post(&start(tag)), Ok(false));
    }
    let refused = poster.post(&start(8)).unwrap_err();
    assert_eq!(refused, PostError::Fenced(2));
    assert_eq!(refused.to_string(), "the dispatcher has fenced the ring, reason 2");

    let (_, mut dispatcher, mut poster, _) = shared_ends(LEAST);
    dispatcher.fence(1);
    assert_eq!(poster.post(&[0, 1, 2, 3, 4, 5, 6, 7].map(start)), Ok(false));
    assert_eq!(poster.post(&[start(8)]), Err(PostError::Fenced(1)), "no credit");
    assert_eq!(poster.post(&[clear(8)]), Err(PostError::Fenced(1)), "no slot");
}

#[test]
fn a_lap_from_nowhere_is_a_violation_on_both_sides() {
    let (memory, mut dispatcher, _, mut reader) = ends(LEAST);
    let header = *dispatcher.header();
    for found in [2u32, 7, u32::MAX] {
        let expected = Violation::Lap { position: 0, found, expected: 1 };
        memory.store(header.submission_lane().word(0), u64::from(found), Relaxed);
        assert!(!dispatcher.is_empty(), "taking it will tell");
        assert_eq!(dispatcher.take(), Err(expected));
        assert_eq!(dispatcher.take(), Err(expected), "the position is not advanced");
        memory.store(header.completion_lane().word(0), u64::from(found), Relaxed);
        assert_eq!(reader.take(), Err(expected));
        assert_eq!(
            expected.to_string(),
            format!("slot at position 0 carries lap {found}: only 1 (posted) or 0 (not yet posted) may stand there")
        );
    }
    memory.store(header.submission_lane().word(0), 0, Relaxed);
    assert_eq!(dispatcher.take(), Ok(None));
}

#[test]
fn a_head_from_nowhere_is_a_violation_on_both_sides() {
    let (memory, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    for tag in 0..16 {
        complete(&mut dispatcher, CompletionKind::Unsolicited, tag);
    }
    for _ in 0..8 {
        reader.take().unwrap().expect("sixteen were posted");
    }
    assert_eq!(dispatcher.room(1), Ok(8));
    for found in [17, u64::MAX, 7, 0] {
        memory.store(word::CQ_HEAD, found, Relaxed);
        let expected = Violation::Head { found, least: 8, most: 16 };
        assert_eq!(dispatcher.room(9), Err(expected));
        assert_eq!(expected.to_string(), format!("head word is {found}: only 8 to 16 may stand there"));
    }
    memory.store(word::CQ_HEAD, 16, Relaxed);
    assert_eq!(dispatcher.room(9), Ok(16));
    for tag in 0..16 {
        dispatcher.stage(completion(CompletionKind::Unsolicited, tag), None).unwrap();
    }
    memory.store(word::CQ_HEAD, 17, Relaxed);
    let expected = Violation::Head { found: 17, least: 16, most: 16 };
    assert_eq!(dispatcher.room(1), Err(expected), "what was not published was not consumed");
    dispatcher.publish();
    assert_eq!(dispatcher.room(1), Ok(1));

    for tag in 0..8 {
        poster.post(&start(tag)).unwrap();
    }
    memory.store(word::SQ_HEAD, 9, Relaxed);
    let expected = Violation::Head { found: 9, least: 0, most: 8 };
    assert_eq!(poster.post(&clear(8)), Err(PostError::Violation(expected)));

    let (memory, _, mut poster, _) = shared_ends(LEAST);
    poster.post(&[0, 1, 2, 3, 4, 5, 6, 7].map(start)).unwrap();
    memory.store(word::SQ_HEAD, 9, Relaxed);
    assert_eq!(poster.post(&[clear(8)]), Err(PostError::Violation(expected)));
    assert_eq!(memory.load(word::CHARGED, Relaxed), 8, "what was not posted is not charged");
}

#[test]
fn detached_and_attached_again_the_ring_goes_on_where_it_stood() {
    let (memory, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    let mut posted = 0;
    for tag in 0..50 {
        // Every attachment leaves something behind in both rings.
        while posted < tag + 3 {
            poster.post(&start(posted)).unwrap();
            posted += 1;
        }
        let descriptor = dispatcher.take().unwrap().expect("three are waiting");
        assert_eq!(descriptor.tag, tag);
        complete(&mut dispatcher, CompletionKind::Final, tag);
        if tag > 0 {
            assert_eq!(reader.take().unwrap().map(|(completion, _)| completion.tag), Some(tag - 1));
        }
        dispatcher.detach();
        assert_eq!(memory.load(word::SQ_HEAD, Relaxed), tag + 1);
        assert_eq!(memory.load(word::CQ_TAIL, Relaxed), tag + 1);
        dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
    }
}

#[test]
fn what_was_staged_is_published_before_the_ring_is_detached() {
    let (memory, mut dispatcher, _, mut reader) = ends(LEAST);
    dispatcher.stage(completion(CompletionKind::Unsolicited, 1), None).unwrap();
    dispatcher.detach();
    let mut dispatcher = DispatcherPort::attach(memory).unwrap();
    complete(&mut dispatcher, CompletionKind::Unsolicited, 2);
    let tags = [1, 2].map(|_| reader.take().unwrap().map(|(completion, _)| completion.tag));
    assert_eq!(tags, [Some(1), Some(2)]);
}

#[test]
fn an_attachment_with_impossible_heads_is_refused() {
    let (memory, mut dispatcher, _, _) = ends(LEAST);
    complete(&mut dispatcher, CompletionKind::Unsolicited, 0);
    dispatcher.detach();
    for (produced, consumed) in [(1, 2), (17, 0), (0, u64::MAX)] {
        memory.store(word::CQ_TAIL, produced, Relaxed);
        memory.store(word::CQ_HEAD, consumed, Relaxed);
        let error = DispatcherPort::attach(memory.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("completion head is {consumed}: at most the completions produced, and at most a ring behind is accepted")
        );
    }
}

#[test]
fn another_poster_goes_on_where_one_has_finished() {
    let (memory, mut dispatcher, mut poster, mut reader) = ends(LEAST);
    let mut tag = 0;
    for _ in 0..10 {
        poster.stage(&start(tag)).unwrap();
        poster.stage(&start(tag + 1)).unwrap();
        assert!(!poster.finish(), "finish publishes; the dispatcher does not sleep");
        let (mut shared, _) = GuestPort::open(memory.clone()).unwrap().split_shared();
        shared.post(&[start(tag + 2)]).unwrap();
        for expected in tag..tag + 3 {
            assert_eq!(dispatcher.take().unwrap().map(|descriptor| descriptor.tag), Some(expected));
            complete(&mut dispatcher, CompletionKind::Final, expected);
            assert_eq!(reader.take().unwrap().map(|(completion, _)| completion.tag), Some(expected));
        }
        reader.give_back();
        tag += 3;
        assert_eq!(memory.load(word::SQ_TICKET, Relaxed), tag);
        assert_eq!(memory.load(word::CHARGED, Relaxed), memory.load(word::RELEASED, Relaxed));
        poster = GuestPort::open(memory.clone()).unwrap().split().0;
    }
}

/// A lane whose positions stand three laps before the 32-bit lap wraps, with the slots as the laps before have left them.
fn before_the_wrap() -> (Region, Lane, u64) {
    let (memory, lane) = four_word_lane(3);
    let begin = (1u64 << 32) * lane.entries() - 3 * lane.entries();
    for position in begin - lane.entries()..begin {
        memory.store(lane.word(position), u64::from(lane.lap(position)), Relaxed);
    }
    memory.store(HEAD, begin, Relaxed);
    memory.store(TICKET, begin, Relaxed);
    (memory, lane, begin)
}

#[test]
fn the_lap_wraps_unnoticed() {
    let (memory, lane, begin) = before_the_wrap();
    let laps: Vec<u32> = (0..5).map(|lap| lane.lap(begin + lap * lane.entries())).collect();
    assert_eq!(laps, [u32::MAX - 1, u32::MAX, 0, 1, 2]);
    let mut producer = Producer::<_, 4>::new(memory.clone(), lane, HEAD, begin, begin);
    let mut consumer = Consumer::<_, 4>::new(memory, lane, HEAD, begin);
    for value in 0..6 * lane.entries() {
        assert_eq!(consumer.take(), Ok(None));
        assert!(producer.room(1).unwrap() > 0);
        producer.stage(four_words(value)).unwrap();
        producer.publish();
        assert_eq!(consumer.take().unwrap().map(value_of), Some(value));
    }
    assert_eq!(producer.position(), begin + 6 * lane.entries());
}

#[test]
fn the_lap_wraps_unnoticed_with_shared_producers() {
    let (memory, lane, begin) = before_the_wrap();
    let mut producer = SharedProducer::<_, 4>::new(memory.clone(), lane, HEAD, 0, TICKET);
    let mut consumer = Consumer::<_, 4>::new(memory, lane, HEAD, begin);
    for value in 0..6 * lane.entries() {
        assert_eq!(consumer.take(), Ok(None));
        assert_eq!(producer.post(&[four_words(2 * value), four_words(2 * value + 1)]), Ok(true));
        assert_eq!(consumer.take().unwrap().map(value_of), Some(2 * value));
        assert_eq!(consumer.take().unwrap().map(value_of), Some(2 * value + 1));
    }
}

#[test]
fn a_descriptor_that_came_between_the_look_and_the_peek_is_counted_once() {
    let (_, mut dispatcher, mut poster, _) = ends(SMALL);
    let mut batch = dispatcher.batch(1);
    assert_eq!(batch.count(), 0);
    poster.post(&clear(1)).unwrap();
    assert!(dispatcher.peek(&batch).unwrap().is_some());
    dispatcher.step(&mut batch);
    dispatcher.take_batch(batch);
    assert_eq!((dispatcher.batch(8).count(), dispatcher.is_empty()), (0, true));
}

#[test]
fn a_quarter_of_the_ring_is_given_back_within_a_batch() {
    let (memory, mut dispatcher, mut poster, _) = ends(SMALL);
    for tag in 0..SMALL.submission_entries {
        poster.post(&clear(tag.into())).unwrap();
    }
    let (all, quarter) = (u64::from(SMALL.submission_entries), u64::from(SMALL.submission_entries / 4));
    let mut batch = dispatcher.batch(all);
    for stepped in 1..all {
        assert!(dispatcher.peek(&batch).unwrap().is_some());
        dispatcher.step(&mut batch);
        assert_eq!((batch.read(), memory.load(word::SQ_HEAD, Relaxed)), (stepped, stepped / quarter * quarter));
    }
    dispatcher.take_batch(batch);
    assert_eq!(dispatcher.batch(all).count(), 1);
}
