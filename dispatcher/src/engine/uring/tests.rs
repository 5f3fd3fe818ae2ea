// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of the engine no guest can bring about at the right moment, and what it tells the kernel.

use super::*;
use crate::engine::Segment;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// The field `rw_flags` of what the kernel is given (Linux `include/uapi/linux/io_uring.h`, `struct io_uring_sqe`: 64 bytes, this at 28).
fn rw_flags(entry: &Entry) -> u32 {
    assert_eq!(size_of::<Entry>(), 64);
    // SAFETY: an entry is the kernel's structure, 64 initialised bytes that are aligned to 8.
    unsafe { (&raw const *entry).cast::<u32>().add(7).read() }
}

#[test]
fn a_durable_write_asks_the_kernel_for_stable_storage_and_nothing_else_does() {
    let mut engine = UringEngine::new(1).unwrap();
    let slot = engine.acquire(0).unwrap();
    let mut bytes = [0_u8; 4096];
    let base = NonNull::from(&mut bytes).cast::<u8>();
    let dsync = u32::try_from(libc::RWF_DSYNC).unwrap();
    for pieces in 1..=2 {
        engine.segments(slot).clear();
        for piece in 0..pieces {
            // SAFETY: 1024 and the piece's length after it are inside of `bytes`.
            let address = unsafe { base.add(1024 * piece) };
            assert!(engine.segments(slot).push(Segment { address, length: 512 }));
        }
        let cases = [
            (Operation::Write { file: 0, offset: 0, durable: true }, dsync),
            (Operation::Write { file: 0, offset: 0, durable: false }, 0),
            (Operation::Read { file: 0, offset: 0 }, 0),
        ];
        for (operation, expected) in cases {
            // Built and looked at only: it is not given to the kernel.
            let entry = &mut engine.slots[slot.index()];
            (entry.operation, entry.in_flight, entry.given) = (Some(operation), true, false);
            let entry = engine.slots[slot.index()].entry(slot.0, &engine.files);
            assert_eq!(rw_flags(&entry), expected, "{operation:?} in {pieces} pieces");
            engine.slots[slot.index()].in_flight = false;
        }
    }
}

/// An engine of one slot with a read of a socket in the kernel, its buffer, and the socket's other end.
fn reading() -> (UringEngine, SlotId, Box<[u8; 16]>, [UnixStream; 2]) {
    let mut engine = UringEngine::new(1).unwrap();
    let mut buffer = Box::new([0; 16]);
    let (reads, writes) = UnixStream::pair().unwrap();
    let slot = engine.acquire(5).unwrap();
    let segment = Segment { address: NonNull::from(&mut *buffer).cast(), length: 16 };
    assert!(engine.segments(slot).push(segment));
    engine.submit(slot, Operation::Read { file: reads.as_raw_fd(), offset: u64::MAX });
    engine.enter_turn(None).unwrap();
    assert!(engine.in_flight(slot));
    (engine, slot, buffer, [reads, writes])
}

#[test]
fn a_cancel_that_did_not_help_can_be_asked_for_again() {
    let (mut engine, slot, _buffer, _sockets) = reading();
    // The kernel has answered one that was asked for earlier: it could not be stopped just then.
    engine.slots[0].cancel_asked = true;
    engine.cancel(slot);
    assert!(engine.cancels.is_empty(), "one at a time");
    engine.reaped.push((token(KIND_CANCEL, engine.slots[0].generation, 0), -libc::EALREADY, 0));
    assert_eq!(engine.reap(), Some(Reaped::Nothing));
    engine.cancel(slot);
    engine.enter_turn(None).unwrap();
    assert_eq!(engine.counters().cancels, 1);
    let ended = std::iter::from_fn(|| engine.reap()).find(|reaped| matches!(reaped, Reaped::Operation { .. }));
    assert_eq!(ended, Some(Reaped::Operation { slot, owner: Some(5), result: Err(libc::ECANCELED) }));
}

/// Completions for which there was no room come out without anything else to be done.
#[test]
fn completions_that_did_not_fit_are_fetched() {
    let mut engine = UringEngine::new(1).unwrap();
    engine.enter_turn(None).unwrap();
    let notification = EventFd::new(EFD_NONBLOCK).unwrap();
    let most = engine.ring.params().cq_entries();
    for ring in 0..2 * most {
        engine.notify(ring, notification.as_raw_fd());
        // A kernel that has more to say at once than there is room for: nothing is taken meanwhile.
        engine.ring.submit().unwrap();
        engine.pushed = 0;
    }
    let mut told = 0;
    for _ in 0..100 {
        // As a turn does.
        if engine.wants_enter() {
            engine.enter_turn(None).unwrap();
        } else {
            engine.poll();
        }
        told += std::iter::from_fn(|| engine.reap()).filter(|reaped| matches!(reaped, Reaped::Notified { .. })).count();
    }
    assert_eq!(told, 2 * most as usize);
}

/// The files that the kernel has in the engine's table (`/proc/self/fdinfo`, Linux 5.10 and later), by their inode numbers' names.
fn registered(engine: &UringEngine) -> Vec<String> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", engine.ring.as_raw_fd())).unwrap();
    let lines = told.lines().skip_while(|line| !line.starts_with("UserFiles:")).skip(1);
    let names = lines.take_while(|line| !line.starts_with("UserBufs:")).filter_map(|line| line.split_once(": "));
    names.map(|(_, name)| name.trim().to_owned()).collect()
}

/// A file with a name of its own, and that name.
fn named_file(name: &str) -> (std::fs::File, String) {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    (file.into(), format!("memfd:{name}"))
}

fn is_registered(engine: &UringEngine, name: &str) -> bool {
    registered(engine).iter().any(|other| other.contains(name))
}

#[test]
fn a_file_is_registered_as_long_as_somebody_has_it() {
    let mut engine = UringEngine::new(1).unwrap();
    let ((one, one_name), (two, two_name)) = (named_file("one-of-two"), named_file("two-of-two"));
    let (one, two) = (one.as_raw_fd(), two.as_raw_fd());
    engine.register_files(1, vec![one]);
    // Whoever names one twice has it twice.
    engine.register_files(2, vec![one, two, one]);
    let have = |engine: &UringEngine| [is_registered(engine, &one_name), is_registered(engine, &two_name)];
    assert_eq!(have(&engine), [true, true]);
    assert!([one, two].map(|file| engine.files.named(file)).iter().all(|(_, flags)| !flags.is_empty()));
    engine.unregister_files(2);
    assert_eq!(have(&engine), [true, false]);
    assert_eq!(engine.files.named(two), (two, io_uring::squeue::Flags::empty()));
    engine.unregister_files(1);
    assert_eq!(have(&engine), [false, false]);
    engine.unregister_files(1);
}

/// The one that gave it up is gone, but another one that never registered it has an operation waiting.
#[test]
fn a_place_is_not_given_away_while_an_operation_may_mean_it() {
    let mut engine = UringEngine::new(1).unwrap();
    let ((kept, kept_name), (next, next_name)) = (named_file("kept-in-place"), named_file("next-in-place"));
    engine.register_files(1, vec![kept.as_raw_fd()]);
    let slot = engine.acquire(2).unwrap();
    let mut buffer = Box::new([0; 16]);
    let segment = Segment { address: NonNull::from(&mut *buffer).cast(), length: 16 };
    assert!(engine.segments(slot).push(segment));
    engine.submit(slot, Operation::Read { file: kept.as_raw_fd(), offset: 0 });
    let (place, _) = engine.files.named(kept.as_raw_fd());
    engine.unregister_files(1);
    engine.register_files(3, vec![next.as_raw_fd()]);
    assert_ne!(engine.files.named(next.as_raw_fd()).0, place);
    assert!(is_registered(&engine, &kept_name) && is_registered(&engine, &next_name));
    // From now on it is named by its descriptor, and when the operation has ended the place is free.
    assert_eq!(engine.files.named(kept.as_raw_fd()).0, kept.as_raw_fd());
    assert!(engine.quiesce());
    engine.unregister_files(3);
    assert!(!is_registered(&engine, &kept_name) && !is_registered(&engine, &next_name));
}

/// A descriptor's number is used again as soon as it is closed.
#[test]
fn another_file_by_the_same_number_is_another_file() {
    let mut engine = UringEngine::new(1).unwrap();
    let (first, first_name) = named_file("first-by-number");
    let number = first.as_raw_fd();
    engine.register_files(1, vec![number]);
    engine.unregister_files(1);
    let (second, second_name) = named_file("second-by-number");
    // Closes the first one, and gives its number to the second.
    let mut first = std::os::fd::OwnedFd::from(first);
    rustix::io::dup2(&second, &mut first).unwrap();
    assert_eq!(first.as_raw_fd(), number);
    engine.register_files(2, vec![number]);
    assert!(!is_registered(&engine, &first_name) && is_registered(&engine, &second_name));
}

#[test]
fn what_is_no_file_is_not_registered() {
    let mut engine = UringEngine::new(1).unwrap();
    for number in [-1, i32::MIN, 999_999, i32::MAX] {
        engine.register_files(1, vec![number]);
        assert_eq!(engine.files.named(number), (number, io_uring::squeue::Flags::empty()));
        engine.unregister_files(1);
    }
}

/// A registered ring is a number that another thread may have given to another ring.
#[test]
fn a_ring_is_entered_by_its_number_on_its_own_thread_only() {
    let mut engine = UringEngine::new(1).unwrap();
    if !engine.is_deferred() {
        println!("a_ring_is_entered_by_its_number_on_its_own_thread_only: not run, before Linux 6.1 a ring may be entered by any thread");
        return;
    }
    engine.enter_turn(None).unwrap();
    let [notification, own] = [0, 1].map(|_| EventFd::new(EFD_NONBLOCK).unwrap());
    std::thread::scope(|scope| {
        let (engine, own) = (&mut engine, &own);
        scope.spawn(move || {
            let mut others = UringEngine::new(1).unwrap();
            others.enter_turn(None).unwrap();
            others.notify(0, notification.as_raw_fd());
            engine.notify(0, own.as_raw_fd());
            let error = engine.enter_turn(None).unwrap_err().to_string();
            assert!(error.contains("another thread has made the first turn"), "{error}");
            assert!(notification.read().is_err(), "it was not given to the kernel by way of the other ring");
            others.enter_turn(None).unwrap();
            assert_eq!(notification.read().unwrap(), 1);
        });
    });
    assert!(own.read().is_err());
    engine.enter_turn(None).unwrap();
    assert_eq!(own.read().unwrap(), 1, "nothing was lost");
}
