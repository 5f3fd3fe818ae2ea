// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of the header that order something: the magic, the heads at an attachment, the credit, the fence.

use super::{
    check, ends, ring_pair, Completion, CompletionKind, Descriptor, DispatcherPort, GuestPort, Header, LoomWords, Operation,
    Poster, Rc, RingSizes, Word, SUBCHANNEL,
};
use fctl_ringabi::{ClockId, HeaderError};
use loom::sync::atomic::AtomicU64;
use loom::sync::Notify;
use loom::thread;

fn clear(tag: u64) -> Descriptor {
    Descriptor::new(Operation::Clear, SUBCHANNEL, tag)
}

fn complete(dispatcher: &mut DispatcherPort<LoomWords>, tag: u64) {
    assert!(dispatcher.room(1).unwrap() > 0);
    dispatcher.stage(Completion::new(CompletionKind::Final, SUBCHANNEL.word(), tag, 0), None).unwrap();
    assert!(dispatcher.publish());
}

#[test]
fn who_sees_the_magic_sees_the_header() {
    check(Some(2), || {
        let sizes = RingSizes { submission_entries: 8, completion_entries: 16, reserve: 8, clock: ClockId::None };
        let header = Header::layout(sizes).unwrap();
        let words = usize::try_from(header.region_bytes() / 8).unwrap();
        let word = |index| if index < 13 { Word::Control(AtomicU64::new(0)) } else { Word::Ignored };
        let memory = LoomWords((0..words).map(word).collect());
        let formatted = memory.clone();
        let formatting = thread::spawn(move || header.format(&formatted).unwrap());
        // The formatter looks at the magic before it writes it, and of two looks at a word loom remembers the last: it must be led here.
        thread::yield_now();
        let read = Header::read(&memory);
        let header = formatting.join().unwrap();
        // Either there was no header yet, or it was whole.
        match read {
            Ok(read) => assert_eq!(read, header),
            Err(error) => assert!(matches!(error, HeaderError::Magic { .. }), "{error}"),
        }
    });
}

/// The completion ring is full, and so is the credit. The reader gives both back with its fourth entry, and `post` posts meanwhile. Who takes the
/// descriptor has room for its final.
fn a_full_completion_ring(post: impl Fn(Poster<LoomWords>, LoomWords) + Copy + Send + Sync + 'static) {
    check(Some(3), move || {
        let memory = ring_pair(16);
        let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
        let (mut poster, mut reader) = GuestPort::open(memory.clone()).unwrap().split();
        for tag in 0..16 {
            assert!(!poster.post(&clear(tag)).unwrap());
            assert!(dispatcher.take().unwrap().is_some());
            complete(&mut dispatcher, tag);
        }
        let reading = thread::spawn(move || {
            for tag in 0..4 {
                assert_eq!(reader.take().unwrap().unwrap().0.tag, tag);
            }
        });
        let posting = thread::spawn(move || post(poster, memory));
        for _ in 0..2 {
            if dispatcher.take().unwrap().is_some() {
                assert!(dispatcher.room(1).unwrap() > 0, "a descriptor is there, and the room for its final is not");
            }
            thread::yield_now();
        }
        reading.join().unwrap();
        posting.join().unwrap();
    });
}

#[test]
fn who_posts_on_credit_finds_the_dispatcher_with_room() {
    a_full_completion_ring(|mut poster, _| {
        let _ = poster.post(&clear(16));
    });
}

#[test]
fn who_opens_with_credit_finds_the_dispatcher_with_room() {
    a_full_completion_ring(|poster, memory| {
        assert!(!poster.finish());
        let _ = GuestPort::open(memory).unwrap().split().0.post(&clear(16));
    });
}

#[test]
fn who_sees_the_fence_sees_the_last_completion() {
    check(None, || {
        let (mut dispatcher, _, mut reader) = ends(2);
        let serving = thread::spawn(move || {
            complete(&mut dispatcher, 1);
            dispatcher.fence(1);
        });
        for _ in 0..2 {
            if reader.fenced().is_some() {
                assert!(reader.take().unwrap().is_some(), "what was published before the fence is there");
                break;
            }
            thread::yield_now();
        }
        serving.join().unwrap();
    });
}

#[test]
fn a_sleeping_guest_is_notified_of_the_fence() {
    check(None, || {
        let (mut dispatcher, _, mut reader) = ends(1);
        let notification = Rc::new(Notify::new());
        let notify = Rc::clone(&notification);
        let serving = thread::spawn(move || {
            dispatcher.fence(1);
            if dispatcher.must_notify() {
                notify.notify();
            }
        });
        while reader.fenced().is_none() {
            if reader.announce_sleep() {
                notification.wait();
                reader.awake();
            }
        }
        serving.join().unwrap();
    });
}

#[test]
fn a_dispatcher_that_attaches_overwrites_nothing_that_is_being_read() {
    check(None, || {
        let memory = ring_pair(16);
        let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
        let (_, mut reader) = GuestPort::open(memory.clone()).unwrap().split();
        for tag in 0..16 {
            complete(&mut dispatcher, tag);
        }
        dispatcher.detach();
        let reading = thread::spawn(move || {
            for tag in 0..4 {
                assert_eq!(reader.take().unwrap().unwrap().0.tag, tag);
            }
        });
        let mut dispatcher = DispatcherPort::attach(memory).unwrap();
        if dispatcher.room(1).unwrap() > 0 {
            complete(&mut dispatcher, 16);
        }
        reading.join().unwrap();
    });
}

/// A submission ring that is full of what an earlier poster has posted; the dispatcher takes two and gives them back. Another poster opens it meanwhile.
fn a_full_submission_ring(post: impl Fn(LoomWords) + Copy + Send + Sync + 'static) {
    check(None, move || {
        let memory = ring_pair(8);
        let mut dispatcher = DispatcherPort::attach(memory.clone()).unwrap();
        let (mut poster, _) = GuestPort::open(memory.clone()).unwrap().split();
        for tag in 0..8 {
            assert!(!poster.post(&clear(tag)).unwrap());
        }
        assert!(!poster.finish());
        let taking = thread::spawn(move || {
            for tag in 0..2 {
                assert_eq!(dispatcher.take().unwrap().unwrap().tag, tag);
            }
        });
        post(memory);
        taking.join().unwrap();
    });
}

#[test]
fn a_poster_that_opens_overwrites_nothing_that_is_being_taken() {
    a_full_submission_ring(|memory| {
        let _ = GuestPort::open(memory).unwrap().split().0.post(&clear(8));
    });
}

#[test]
fn one_of_many_posters_that_opens_overwrites_nothing_that_is_being_taken() {
    a_full_submission_ring(|memory| {
        let _ = GuestPort::open(memory).unwrap().split_shared().0.post(&[clear(8)]);
    });
}
