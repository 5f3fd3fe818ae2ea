// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of the engine no guest can bring about at the right moment, and what it tells the kernel.

use super::*;
use crate::engine::Segment;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;

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
    let notification = vmm_sys_util::eventfd::EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap();
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
