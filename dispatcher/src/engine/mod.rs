// SPDX-License-Identifier: MIT OR Apache-2.0
//! Engines: who performs the operations on files, and what they promise.
//!
//! A started channel program owns one *slot* from its start to its end. A slot holds at most one operation in the kernel, and the
//! segments (pieces of guest memory) which that operation uses. So the number of operations in flight is bounded by
//! construction, and it is always clear whose buffers the kernel holds: a slot's segments belong to the kernel until the operation's own
//! completion comes back, whatever was cancelled meanwhile.

use std::os::fd::RawFd;

mod segments;
mod uring;
mod uring_setup;
mod wakeup;
mod workers;

pub use segments::{Segment, Segments, MOST_SEGMENTS};
pub(crate) use uring::Reaped;
pub use uring::{EngineCounters, UringEngine};
pub use uring_setup::UringError;
pub(crate) use workers::WorkerBounds;

/// A slot of an engine, as handed to one channel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(pub(crate) u16);

impl SlotId {
    /// The slot with this index; for who implements an [`Engine`].
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The index, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an engine can be asked to do. Offsets and lengths are in bytes; memory comes from the slot's [`Segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Reads from `file` at `offset` into the segments.
    Read {
        /// The open file; its owner keeps it open until the operation has ended.
        file: RawFd,
        /// Where to begin.
        offset: u64,
    },
    /// Writes the segments to `file` at `offset`.
    Write {
        /// The open file; its owner keeps it open until the operation has ended.
        file: RawFd,
        /// Where to begin.
        offset: u64,
        /// The write is on stable storage before it ends (`RWF_DSYNC`).
        durable: bool,
    },
    /// Makes a range read as zeros, and gives its blocks back where the file system can.
    Zero {
        /// The open file; its owner keeps it open until the operation has ended.
        file: RawFd,
        /// Where to begin.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Brings earlier writes to stable storage (`fdatasync`).
    Sync {
        /// The open file; its owner keeps it open until the operation has ended.
        file: RawFd,
    },
}

impl Operation {
    /// The open file that it is performed on.
    pub const fn file(&self) -> RawFd {
        match *self {
            Self::Read { file, .. } | Self::Write { file, .. } | Self::Zero { file, .. } | Self::Sync { file } => file,
        }
    }
}

/// How an operation ended: bytes moved (which may be fewer than asked for), or the error number.
pub type OperationResult = Result<u32, i32>;

/// Performs operations. Only the reactor's thread calls it.
pub trait Engine {
    /// The slot's segments, to be filled before [`submit`](Self::submit). They may be changed only while nothing of the slot is in flight.
    fn segments(&mut self, slot: SlotId) -> &mut Segments;

    /// Begins an operation. It goes to the kernel with the rest of the turn; its end comes back as
    /// [`SubchannelDevice::operation_ended`](crate::device::SubchannelDevice::operation_ended).
    ///
    /// A slot has at most one operation in flight; a second one is refused with `EBUSY` as its result.
    fn submit(&mut self, slot: SlotId, operation: Operation);

    /// As [`submit`](Self::submit), for an operation on a file that makes whoever submits it wait for its end
    /// ([`Volume::waits`](crate::volume::Volume::waits)): somebody else does the waiting.
    fn submit_aside(&mut self, slot: SlotId, operation: Operation) {
        self.submit(slot, operation);
    }

    /// Asks for the slot's operation to be cancelled. That is a hint: the operation ends by itself in any case, perhaps with all its
    /// bytes moved, and only then are the segments free. May be asked again, if the first time did not help.
    fn cancel(&mut self, slot: SlotId);

    /// True while an operation of this slot is in the kernel.
    fn in_flight(&self, slot: SlotId) -> bool;
}
