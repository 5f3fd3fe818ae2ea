// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::engine::Segment;
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
            engine.slots[slot.index()].operation = Some(operation);
            let entry = engine.build(slot.0).unwrap();
            assert_eq!(rw_flags(&entry), expected, "{operation:?} in {pieces} pieces");
        }
    }
}
