// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's own poster: condition codes as the processor would give them, completions kept in order, notifications only for what is there.

#[path = "../common/mod.rs"]
mod common;
mod conditions;
mod endings;
mod notifications;

use common::id;
use fctl_dispatcher::device::SubchannelDevice;
use fctl_dispatcher::host::{HostRing, HostRingOptions};
use fctl_dispatcher::memory::{FileRange, Memory};
use fctl_dispatcher::region::sealed_memory_file;
use fctl_dispatcher::{Handle, RingId, SubchannelOptions};
use fctl_ringabi::arch::Orb;
use fctl_ringabi::Descriptor;

/// A mebibyte of guest memory.
pub fn memory() -> Memory {
    let file = sealed_memory_file("fctl-test", 1 << 20).unwrap();
    Memory::from_file(&file, &[FileRange { address: 0, offset: 0, length: 1 << 20 }]).unwrap()
}

/// A host ring with these devices behind subchannels 0, 1, ….
pub fn attach(handle: &Handle, options: HostRingOptions, devices: Vec<Box<dyn SubchannelDevice>>) -> (HostRing, RingId) {
    let guest = handle.attach_guest(memory()).unwrap();
    let (host, ends) = HostRing::new(options).unwrap();
    let ring = handle.attach_host_ring(guest, ends).unwrap();
    for (number, device) in (0..).zip(devices) {
        handle.attach_subchannel(ring, id(number), SubchannelOptions::new(0x120 + number), device).unwrap();
    }
    (host, ring)
}

/// START SUBCHANNEL of subchannel `number`.
pub fn start(number: u16, tag: u64) -> Descriptor {
    Descriptor::start(id(number), &Orb::new(0, 0x1000), tag)
}
