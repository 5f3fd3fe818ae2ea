// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock-free, ring-based, high-throughput dispatcher for channel I/O, to be embedded in hypervisors.

pub mod affinity;
pub mod clock;
mod control;
pub mod device;
pub mod engine;
pub mod memory;
pub mod metrics;
mod reactor;
pub mod region;
pub mod subchannel;
// pub mod volume;

pub use control::{BuildError, Builder, ControlError, Handle, StillBusy};
pub use reactor::{
    AttachError, GuestId, Inventory, Reactor, RingEnds, RingId, RingStatus, SubchannelOptions, WaitPolicy, MOST_PER_RING_AND_TURN,
};
