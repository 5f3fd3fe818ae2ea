// SPDX-License-Identifier: MIT OR Apache-2.0
//! The poster that sleeps until its instruction is accepted, and the one notification that was wished for: the dispatcher's own file,
//! with the checker's words, fence and sleep.

use super::{check, Rc};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::Notify;
use loom::thread;
use shipped::Meeting;
use std::time::Duration;

#[path = "../../../dispatcher/src/host/meeting.rs"]
#[allow(unreachable_pub, reason = "it is a private module of the dispatcher")]
mod shipped;

/// In the place of the dispatcher's `sync`: the kernel compares and goes to sleep under a lock that who wakes takes too.
mod sync {
    pub(super) use loom::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::time::Duration;

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(super) fn sleep_on(word: &AtomicU32, value: u32, _: Duration) {
        let guard = SLEEPERS.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == value {
            // A wake-up that is lost leaves this thread here for ever; loom then reports the deadlock.
            drop(SLEEPERS.1.wait(guard).unwrap());
        }
    }

    pub(super) fn wake(_: &AtomicU32, _: u32) {
        let guard = SLEEPERS.0.lock().unwrap();
        SLEEPERS.1.notify_all();
        drop(guard);
    }
}

/// A meeting, the position up to which the reactor has published, and the one up to which the embedder has given back.
#[derive(Clone)]
struct Host {
    meeting: Rc<Meeting>,
    published: Rc<AtomicU64>,
    given_back: Rc<AtomicU64>,
}

impl Host {
    fn new() -> Self {
        let word = || Rc::new(AtomicU64::new(0));
        Self { meeting: Rc::new(Meeting::default()), published: word(), given_back: word() }
    }

    /// As the ring does it: pairs with the Acquire in `there`.
    fn publish(&self, position: u64) {
        self.published.store(position, Ordering::Release);
    }

    fn there(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// As `HostSide::claim`, after `position` was published.
    fn claim(&self, position: u64) -> bool {
        self.meeting.claim_published(|| self.given_back.load(Ordering::Relaxed) < position)
    }
}

#[test]
fn a_poster_that_sleeps_is_woken_for_what_is_published() {
    check(Some(4), || {
        let host = Host::new();
        let reactor = host.clone();
        let serving = thread::spawn(move || {
            for position in 1..=2 {
                reactor.publish(position);
                reactor.meeting.wake_poster();
            }
        });
        for position in 1..=2 {
            while host.there() < position {
                host.meeting.sleep(Duration::MAX, || host.there() < position);
            }
        }
        serving.join().unwrap();
    });
}

/// A host whose reactor publishes one completion and goes.
fn left_after_one() -> (Host, thread::JoinHandle<()>) {
    let host = Host::new();
    let reactor = host.clone();
    let serving = thread::spawn(move || {
        reactor.publish(1);
        reactor.meeting.leave();
    });
    (host, serving)
}

#[test]
fn a_poster_that_sleeps_learns_that_the_reactor_has_gone_and_sees_its_last_completion() {
    check(None, || {
        let (host, serving) = left_after_one();
        while !host.meeting.is_gone() {
            host.meeting.sleep(Duration::MAX, || true);
        }
        assert_eq!(host.there(), 1);
        serving.join().unwrap();
    });
}

#[test]
fn who_finds_the_reactor_gone_sees_its_last_completion() {
    check(None, || {
        let (host, serving) = left_after_one();
        if host.meeting.is_gone() {
            assert_eq!(host.there(), 1);
        }
        serving.join().unwrap();
    });
}

#[test]
fn a_notification_that_was_wished_for_comes_once() {
    check(Some(4), || {
        let host = Host::new();
        let notification = Rc::new(Notify::new());
        let (reactor, notify) = (host.clone(), Rc::clone(&notification));
        let serving = thread::spawn(move || {
            let mut notified = 0;
            for position in 1..=2 {
                reactor.publish(position);
                if reactor.claim(position) {
                    notify.notify();
                    notified += 1;
                }
            }
            notified
        });
        let (mut taken, mut wishes, mut taken_back) = (0, 0, 0);
        while taken < 2 {
            let there = host.there();
            if there > taken {
                // As `HostRing::take`.
                taken = there;
                if host.meeting.is_wished() && host.meeting.claim(|| true) {
                    taken_back += 1;
                }
                continue;
            }
            // As `HostRing::arm`.
            host.given_back.store(taken, Ordering::Release);
            if !host.meeting.is_wished() {
                host.meeting.wish();
                wishes += 1;
            }
            if host.there() > taken && host.meeting.claim(|| true) {
                taken_back += 1;
                continue;
            }
            notification.wait();
        }
        let notified = serving.join().unwrap();
        assert!(notified + taken_back <= wishes, "{wishes} wishes, {notified} notified, {taken_back} taken back");
    });
}

#[test]
fn nothing_is_notified_that_was_taken_before_the_wish() {
    check(None, || {
        let host = Host::new();
        let reactor = host.clone();
        let serving = thread::spawn(move || {
            reactor.publish(1);
            thread::yield_now();
            // Without the fence of `claim_published`, which does it too if it comes late enough.
            reactor.meeting.claim(|| reactor.given_back.load(Ordering::Relaxed) < 1)
        });
        let taken = host.there();
        host.given_back.store(taken, Ordering::Release);
        host.meeting.wish();
        let notified = serving.join().unwrap();
        assert!(taken == 0 || !notified, "it is taken already");
    });
}
