// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dispatcher that stops, is dropped, or does not run while somebody waits for it.

use crate::common::{id, PATIENCE};
use crate::{attach, memory, start};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::host::{HostError, HostRing, HostRingOptions};
use fctl_dispatcher::{Builder, SubchannelOptions};
use fctl_ringabi::{Descriptor, Operation};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn a_dispatcher_that_is_dropped_wakes_who_waits() {
    for turned in [false, true] {
        let (mut reactor, _handle) = Builder::default().build().unwrap();
        let guest = reactor.attach_guest(memory());
        let (mut host, ends) = HostRing::new(HostRingOptions::default()).unwrap();
        let ring = reactor.attach_host_ring(guest, ends).unwrap();
        reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(1), Box::new(Null)).unwrap();
        if turned {
            reactor.settle(10);
            assert!(reactor.prepare_sleep(), "its poster will ring and sleep");
        }
        let (posting, begins) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            posting.send(()).unwrap();
            let error = host.post(&start(0, 1)).unwrap_err();
            (error, host)
        });
        begins.recv().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        drop(reactor);
        let (error, mut host) = thread.join().unwrap();
        assert!(matches!(error, HostError::Stopped), "{error}");
        assert!(matches!(host.post(&start(0, 2)), Err(HostError::Stopped)));
        assert!(matches!(host.arm(), Err(HostError::Stopped)));
    }
}

#[test]
fn a_handle_that_is_dropped_under_load_ends_in_stopped_and_leaves_the_finals() {
    for _ in 0..20 {
        let handle = Builder::default().spawn().unwrap();
        let (mut host, _) = attach(&handle, HostRingOptions::default(), vec![Box::new(Null)]);
        let (going, goes) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut accepted, mut ended) = (0_u64, 0);
            let error = loop {
                match host.post(&start(0, 0)) {
                    Ok(0) => accepted += 1,
                    Ok(cc) => panic!("condition code {cc}"),
                    Err(error) => break error,
                }
                if accepted == 100 {
                    going.send(()).unwrap();
                }
                while host.take().unwrap().is_some() {
                    ended += 1;
                }
            };
            while host.take().unwrap().is_some() {
                ended += 1;
            }
            (error, accepted, ended)
        });
        goes.recv().unwrap();
        drop(handle);
        let (error, accepted, ended) = thread.join().unwrap();
        assert!(matches!(error, HostError::Stopped), "{error}");
        // One that was accepted as the dispatcher went may have its final without the poster having seen the other.
        assert!(ended == accepted || ended == accepted + 1, "{accepted} accepted, {ended} finals");
    }
}

/// Whether a notification is there, or comes within a moment that is long for one that comes at all.
fn is_notified(host: &HostRing) -> bool {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    // SAFETY: the ring keeps it open.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(host.notification())) };
    let patience = Timespec::try_from(PATIENCE / 4).unwrap();
    poll(&mut [PollFd::from_borrowed_fd(file, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

/// A loop that waits for the notification alone learns that nothing will come any more.
#[test]
fn who_has_asked_for_a_notification_is_told_that_the_ring_has_gone() {
    for how in ["detached", "stopped", "dropped"] {
        let (mut reactor, _handle) = Builder::default().build().unwrap();
        let guest = reactor.attach_guest(memory());
        let (mut host, ends) = HostRing::new(HostRingOptions::default()).unwrap();
        let ring = reactor.attach_host_ring(guest, ends).unwrap();
        reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(1), Box::new(Null)).unwrap();
        reactor.settle(10);
        assert!(host.arm().unwrap());
        match how {
            "detached" => reactor.detach_ring(ring, None, Box::new(|_| {})).unwrap(),
            "stopped" => reactor.stop(),
            _ => {}
        }
        if how == "dropped" {
            drop(reactor);
        } else {
            for _ in 0..100 {
                reactor.turn(64);
            }
        }
        assert!(is_notified(&host), "{how}");
        assert_eq!(host.notification().read().unwrap(), 1, "{how}: once");
        assert!(matches!(host.take(), Ok(None)), "{how}");
        assert!(matches!(host.arm(), Err(HostError::Stopped)), "{how}");
    }
}

/// How often the calling thread has gone to sleep. One that spins may be interrupted, but does not sleep.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_dispatcher_that_does_not_run_costs_no_time_and_is_told_of_in_the_end() {
    let (mut reactor, _handle) = Builder::default().build().unwrap();
    let guest = reactor.attach_guest(memory());
    let mut options = HostRingOptions::default();
    options.limit = Duration::from_secs(2);
    let (mut host, ends) = HostRing::new(options).unwrap();
    let ring = reactor.attach_host_ring(guest, ends).unwrap();
    reactor.attach_subchannel(ring, id(0), SubchannelOptions::new(1), Box::new(Null)).unwrap();
    let (began, slept) = (Instant::now(), sleeps());
    let error = host.post(&Descriptor::new(Operation::Store, id(0), 1)).unwrap_err();
    assert!(matches!(error, HostError::Late(limit) if limit == Duration::from_secs(2)), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(2), "not before its time");
    // Once, and a few times more where it was woken for nothing; not again and again.
    let slept = sleeps() - slept;
    assert!((1..=20).contains(&slept), "it slept {slept} times");
    assert!(matches!(host.post(&start(0, 2)), Err(HostError::Late(_))));
    // It runs again: what was posted is executed, and the next instruction gets its own condition code, not theirs.
    let thread = std::thread::spawn(move || {
        // Where the other thread stands still for 2 s, once more.
        loop {
            match host.post(&Descriptor::new(Operation::Test, id(0), 3)) {
                Err(HostError::Late(_)) => {}
                cc => break (cc.unwrap(), host),
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline);
        reactor.turn(64);
    }
    let (cc, mut host) = thread.join().unwrap();
    assert_eq!(cc, 1, "the start's status was delivered with its final");
    let tags: Vec<u64> = std::iter::from_fn(|| host.take().unwrap()).map(|(end, _)| end.tag).collect();
    assert_eq!(tags[..2], [1, 2]);
    assert!(tags[2..].iter().all(|&tag| tag == 3), "only those that were given up: {tags:?}");
}
