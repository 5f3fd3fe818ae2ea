// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose completion it is: a slot's operation ends by its own completion alone, and until then the slot belongs to nobody else.

use super::*;
use crate::engine::Segment;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;

const OWNER: u32 = 7;

/// An engine with one slot, and reads from a socket that do not end before something is written to it.
struct Rig {
    engine: UringEngine,
    from: UnixStream,
    to: UnixStream,
    // After the engine, which waits for the kernel when it is dropped.
    buffer: Box<[u8; 64]>,
}

impl Rig {
    fn new() -> Self {
        let (from, to) = UnixStream::pair().unwrap();
        Self { engine: UringEngine::new(1).unwrap(), from, to, buffer: Box::new([0; 64]) }
    }

    /// Has a read of `length` bytes in the kernel.
    fn read(&mut self, slot: SlotId, length: usize) {
        let address = NonNull::from(&mut self.buffer[..]).cast();
        self.engine.segments(slot).clear();
        assert!(self.engine.segments(slot).push(Segment { address, length }));
        self.engine.submit(slot, Operation::Read { file: self.from.as_raw_fd(), offset: 0 });
        self.engine.enter_turn(None).unwrap();
        assert_eq!(self.reap(), None, "nothing was written");
    }

    /// Has so many bytes in the socket, and gives what comes out of the kernel then.
    fn write(&mut self, length: usize) -> Reaped {
        self.to.write_all(&[0x5A; 64][..length]).unwrap();
        loop {
            self.engine.enter_turn(Some(Some(Duration::from_secs(10)))).unwrap();
            if let Some(reaped) = self.reap() {
                return reaped;
            }
        }
    }

    fn reap(&mut self) -> Option<Reaped> {
        self.engine.reap()
    }

    /// A completion for the slot's operation of this generation, as if the kernel gave it now.
    fn completion(&mut self, slot: SlotId, generation: u32) -> Reaped {
        self.engine.reaped.push((token(KIND_OPERATION, generation, slot.0.into()), 64, 0));
        self.reap().unwrap()
    }

    fn generation(&self, slot: SlotId) -> u32 {
        self.engine.slots[slot.index()].generation
    }
}

const fn ended(slot: SlotId, owner: Option<u32>, bytes: u32) -> Reaped {
    Reaped::Operation { slot, owner, result: Ok(bytes) }
}

#[test]
fn a_late_completion_is_not_taken_for_the_slots_next_operation() {
    let mut rig = Rig::new();
    let slot = rig.engine.acquire(OWNER).unwrap();
    let first = rig.generation(slot);
    rig.read(slot, 16);
    assert_eq!(rig.write(16), ended(slot, Some(OWNER), 16));

    rig.read(slot, 32);
    assert_eq!(rig.completion(slot, first), Reaped::Nothing, "that operation has ended long ago");
    assert!(rig.engine.in_flight(slot), "the kernel still holds the buffers of the second one");
    assert_eq!(rig.engine.in_flight_count(), 1);
    assert_eq!(rig.write(32), ended(slot, Some(OWNER), 32), "the second one ends by its own completion");
    assert_eq!(rig.engine.in_flight_count(), 0);
}

#[test]
fn a_completion_for_a_slot_without_an_operation_is_nobodys() {
    let mut rig = Rig::new();
    let slot = rig.engine.acquire(OWNER).unwrap();
    let generation = rig.generation(slot);
    assert_eq!(rig.completion(slot, generation), Reaped::Nothing);
    assert_eq!((rig.engine.in_flight_count(), rig.generation(slot)), (0, generation));
    assert_eq!(rig.completion(SlotId(1), generation), Reaped::Nothing, "there is no such slot");
}

#[test]
fn a_slot_that_is_released_in_flight_is_free_when_its_operation_has_ended() {
    let mut rig = Rig::new();
    let slot = rig.engine.acquire(OWNER).unwrap();
    rig.read(slot, 16);
    rig.engine.release(slot);
    assert_eq!((rig.engine.free_slots(), rig.engine.acquire(8)), (0, None), "the kernel still holds its buffers");
    assert_eq!(rig.write(16), ended(slot, None, 16), "its owner has given it up");
    assert_eq!(rig.engine.free_slots(), 1);

    let next = rig.engine.acquire(8).unwrap();
    assert!(!rig.engine.in_flight(next));
    rig.engine.release(next);
    rig.engine.release(next);
    assert_eq!(rig.engine.free_slots(), 1, "what is free is not released once more");
}

#[test]
fn a_cancelled_operation_ends_by_its_own_completion() {
    let mut rig = Rig::new();
    let slot = rig.engine.acquire(OWNER).unwrap();
    rig.read(slot, 16);
    rig.engine.cancel(slot);
    assert!(rig.engine.in_flight(slot), "a cancel is a hint");
    let mut ends = Vec::new();
    while rig.engine.in_flight_count() > 0 {
        rig.engine.enter_turn(Some(Some(Duration::from_secs(10)))).unwrap();
        ends.extend(std::iter::from_fn(|| rig.engine.reap()).filter(|end| *end != Reaped::Nothing));
    }
    assert_eq!(ends, [Reaped::Operation { slot, owner: Some(OWNER), result: Err(libc::ECANCELED) }]);
}
