// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two threads that execute instructions, and an event loop that sleeps until it is told: under one lock, as virtual processors would.

use crate::common::id;
use crate::{attach, start};
use fctl_dispatcher::device::delay::{Delay, FOREVER};
use fctl_dispatcher::device::null::Null;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::host::{HostError, HostRing, HostRingOptions};
use fctl_dispatcher::Builder;
use fctl_ringabi::{CompletionKind, Descriptor, Operation};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::Duration;
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

const SUBCHANNELS: u16 = 6;

/// Ends at once, ends a little later, never ends.
fn devices() -> Vec<Box<dyn SubchannelDevice>> {
    (0..SUBCHANNELS)
        .map(|number| -> Box<dyn SubchannelDevice> {
            match number % 3 {
                0 => Box::new(Null),
                1 => Box::new(Delay::new(Null, Duration::from_micros(40))),
                _ => Box::new(Delay::new(Null, FOREVER)),
            }
        })
        .collect()
}

/// Executes pseudo-random instructions. Gives the tags of those that will have a final of their own.
fn processor(host: &Mutex<HostRing>, seed: u64, count: u64) -> BTreeSet<u64> {
    let mut promised = BTreeSet::new();
    let mut random = seed;
    for n in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = u16::try_from((random >> 33) % u64::from(SUBCHANNELS)).unwrap();
        let tag = seed << 32 | n;
        let descriptor = match (random >> 48) % 8 {
            0 => Descriptor::new(Operation::Halt, id(number), tag),
            1 => Descriptor::new(Operation::Clear, id(number), tag),
            2 => Descriptor::new(Operation::Cancel, id(number), tag),
            _ => start(number, tag),
        };
        let executed = loop {
            let executed = host.lock().unwrap().execute(&descriptor);
            match executed {
                // The lock is not fair: the event loop has to get its turn.
                Err(HostError::Untaken(_)) => std::thread::yield_now(),
                executed => break executed.unwrap(),
            }
        };
        match executed.ended {
            Some((end, _)) => assert_eq!((end.tag, end.cc), (tag, executed.condition_code())),
            None => assert!(promised.insert(tag)),
        }
    }
    promised
}

/// What the event loop has seen.
#[derive(Default)]
struct Seen {
    finals: BTreeSet<u64>,
    others: u64,
    notifications: u64,
    counted: u64,
    spurious: u64,
}

fn event_loop(host: &Mutex<HostRing>, notification: &EventFd, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    loop {
        if host.lock().unwrap().arm().unwrap() {
            seen.counted += notification.read().unwrap();
            seen.notifications += 1;
            if stop.load(Ordering::Acquire) {
                break;
            }
            seen.spurious += u64::from(take_all(host, &mut seen) == 0);
        }
        take_all(host, &mut seen);
    }
    take_all(host, &mut seen);
    seen
}

fn take_all(host: &Mutex<HostRing>, seen: &mut Seen) -> usize {
    let mut count = 0;
    while let Some((completion, _)) = host.lock().unwrap().take().unwrap() {
        count += 1;
        if completion.kind() == Some(CompletionKind::Final) {
            assert!(seen.finals.insert(completion.tag), "final twice: {completion:?}");
        } else {
            seen.others += 1;
        }
    }
    count
}

#[test]
fn no_notification_comes_for_nothing_and_none_is_missed() {
    const OPERATIONS: u64 = 50_000;
    let handle = Builder::default().spawn().unwrap();
    let notification = EventFd::new(EFD_CLOEXEC).unwrap();
    let mut options = HostRingOptions::default();
    options.notification = Some(notification.try_clone().unwrap());
    let (host, ring) = attach(&handle, options, devices());
    let host = Mutex::new(host);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| event_loop(&host, &notification, &stop));
        let processors = [1, 2].map(|seed| {
            scope.spawn({
                let host = &host;
                move || processor(host, seed, OPERATIONS)
            })
        });
        let mut promised: BTreeSet<u64> = processors.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        // The last clears end what never ends by itself. The event loop is told by a last notification of our own.
        for number in 0..SUBCHANNELS {
            let tag = u64::MAX - u64::from(number);
            assert_eq!(host.lock().unwrap().post(&Descriptor::new(Operation::Clear, id(number), tag)).unwrap(), 0);
            promised.insert(tag);
        }
        handle.drain(ring, Duration::from_secs(60)).unwrap();
        stop.store(true, Ordering::Release);
        notification.write(1).unwrap();
        let mut seen = watcher.join().unwrap();
        take_all(&host, &mut seen);
        println!(
            "{} operations, {} finals and {} others taken after {} notifications, {} of them for nothing",
            2 * OPERATIONS,
            seen.finals.len(),
            seen.others,
            seen.notifications,
            seen.spurious
        );
        assert_eq!(seen.spurious, 0);
        // The last one may join the one of ours: then a read has counted two.
        assert!(seen.counted - seen.notifications <= 1, "{} writes for {} reads", seen.counted, seen.notifications);
        assert!(seen.finals == promised, "each accepted function has its one final");
        assert!(seen.notifications > 0, "the event loop never slept");
    });
}

#[test]
fn a_wish_that_was_taken_back_is_not_answered_and_one_that_was_too_late_is_answered_once() {
    let handle = Builder::default().spawn().unwrap();
    let (mut host, _) = attach(&handle, HostRingOptions::default(), vec![Box::new(Delay::new(Null, Duration::from_micros(30)))]);
    let (mut back, mut late) = (0, 0);
    for tag in 0..2_000 {
        assert_eq!(host.post(&start(0, tag)).unwrap(), 0);
        if host.arm().unwrap() {
            // From long before the end to long after it.
            for _ in 0..tag % 100 * 40 {
                std::hint::spin_loop();
            }
            if host.disarm() {
                back += 1;
            } else {
                // Blocks until it comes.
                assert_eq!(host.notification().read().unwrap(), 1);
                late += 1;
            }
        }
        while host.take().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
    // Were there one too many, it would be counted with this one.
    host.notification().write(1).unwrap();
    assert_eq!(host.notification().read().unwrap(), 1);
    println!("{back} wishes taken back, {late} answered before");
}
