// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest for tests: memory, a ring pair, and its two ends, in the test's own process.
#![allow(dead_code, missing_docs)]

pub mod scripted;

use fctl_dispatcher::device::DeviceContext;
use fctl_dispatcher::engine::SlotId;
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::region::{sealed_memory_file, Region, RegionWords};
use fctl_dispatcher::{GuestId, Handle, RingEnds, RingId};
use fctl_ringabi::arch::SubsystemId;
use fctl_ringabi::{Completion, CompletionReader, Extension, GuestPort, Header, Poster, RingSizes};
use std::fs::File;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

/// Guest memory behind the ring pair.
pub const MEMORY_BYTES: u64 = 16 << 20;
/// Where it begins in the file.
pub const MEMORY_OFFSET: u64 = 4 << 20;

/// How long a test waits before it gives up: far beyond anything that is not a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct TestGuest {
    pub file: File,
    pub region: Region,
    pub memory: Memory,
    pub doorbell: EventFd,
    pub notification: EventFd,
    pub poster: Poster<RegionWords>,
    pub reader: CompletionReader<RegionWords>,
}

impl TestGuest {
    pub fn new(sizes: RingSizes) -> Self {
        let header = Header::layout(sizes).unwrap();
        assert!(header.region_bytes() <= MEMORY_OFFSET);
        let file = sealed_memory_file("fctl-test", MEMORY_OFFSET + MEMORY_BYTES).unwrap();
        let region = Region::from_memory_file(&file, 0, MEMORY_OFFSET).unwrap();
        header.format(region.words()).unwrap();
        let length = usize::try_from(MEMORY_BYTES).unwrap();
        let memory = Memory::from_file(&file, &[FileRange { address: 0, offset: MEMORY_OFFSET, length }]).unwrap();
        // The guest has a mapping of its own, as another process would.
        let own = Region::from_memory_file(&file, 0, MEMORY_OFFSET).unwrap();
        let (poster, reader) = GuestPort::open(own.words().clone()).unwrap().split();
        Self {
            file,
            region,
            memory,
            doorbell: EventFd::new(EFD_CLOEXEC).unwrap(),
            notification: EventFd::new(EFD_CLOEXEC).unwrap(),
            poster,
            reader,
        }
    }

    pub fn ends(&self) -> RingEnds {
        RingEnds {
            region: self.region.clone(),
            doorbell: self.doorbell.try_clone().unwrap(),
            notification: self.notification.try_clone().unwrap(),
        }
    }

    pub fn attach(&self, handle: &Handle) -> (GuestId, RingId) {
        let guest = handle.attach_guest(self.memory.clone()).unwrap();
        (guest, handle.attach_ring(guest, self.ends()).unwrap())
    }

    pub fn publish(&mut self) {
        if self.poster.publish() {
            self.doorbell.write(1).unwrap();
        }
    }

    /// The next completion; sleeps for it as a guest would.
    pub fn next(&mut self) -> (Completion, Option<Extension>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.reader.take().unwrap() {
                return found;
            }
            assert!(Instant::now() < deadline, "no completion within {PATIENCE:?}");
            std::thread::yield_now();
        }
    }
}

/// The slot of a device's start, with the first `length` bytes of guest memory as its segments: for an operation of the device's own.
pub fn gather(cx: &mut DeviceContext<'_>, length: usize) -> SlotId {
    let slot = cx.slot.unwrap();
    let segments = cx.engine.segments(slot);
    segments.clear();
    assert_eq!(cx.memory.segments(0, length, segments).unwrap(), length);
    slot
}

pub fn id(number: u16) -> SubsystemId {
    SubsystemId::new(0, number)
}
