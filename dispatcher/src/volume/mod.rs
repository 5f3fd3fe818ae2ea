// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes: the files and block devices that DASDs stand on.
//!
//! A [`Volume`] is opened once and shared ([`Arc`](std::sync::Arc)) by every subchannel that stands for it. It does no I/O of its own: it
//! names the operations ([`Operation`]) that an engine performs.
//!
//! A lock keeps a second dispatcher away. It belongs to an open file, and there may be two of them:
//! * Buffered operations, in a file system of this host: one carries the lock, another one the operations. The kernel may keep the latter open for a while after it
//!   was closed ([`SubchannelDevice::files`](crate::device::SubchannelDevice::files)), and the lock must not last longer than the volume. Nor does it end sooner: a process that
//!   is killed does not end before its buffered operations have.
//! * Buffered operations, elsewhere: one open file carries both, since a file server may ask for the lock of the one that it is to write.
//! * Direct operations: one open file carries them and the lock, since they outlive a process that is killed, and the lock with them. What is not aligned goes over another one,
//!   which no lock protects where a file server asks for that.

mod error;
mod lock;
mod open;
mod reservation;

use crate::engine::{Operation, Segments};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub use error::VolumeError;
use reservation::Reservation;

/// Bytes in a block. Every volume is a whole number of blocks.
pub const BLOCK_BYTES: u64 = 512;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on stable storage. FBA DASD has no flush command, so nothing less keeps what a guest was told was written.
    #[default]
    Writethrough,
    /// When the host's cache has it: faster, and a crash of the host loses writes that the guest was told were done.
    Writeback,
}

/// Whether the host's page cache stands between guest and medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Cache {
    /// It does.
    #[default]
    Buffered,
    /// It does not (`O_DIRECT`) for each operation whose offset and whose pieces of guest memory are all aligned to what the file demands; an
    /// operation that is not aligned so goes through the page cache. The kernel keeps the two views of the file coherent. On NFS or SMB, what is not aligned goes without the
    /// volume's lock, or is refused by the server.
    Direct,
}

/// How to open a volume. The default is the safest: writethrough, buffered, writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct VolumeOptions {
    /// When a write counts as done.
    pub durability: Durability,
    /// Whether the host's page cache is used.
    pub cache: Cache,
    /// Commands that write get a unit check, and other dispatchers may read the volume too.
    pub read_only: bool,
}

impl VolumeOptions {
    /// With another [`durability`](Self::durability).
    #[must_use]
    pub const fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// With another [`cache`](Self::cache).
    #[must_use]
    pub const fn with_cache(self, cache: Cache) -> Self {
        Self { cache, ..self }
    }

    /// With another [`read_only`](Self::read_only).
    #[must_use]
    pub const fn with_read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }
}

/// An open, locked volume.
#[derive(Debug)]
pub struct Volume {
    name: String,
    bytes: u64,
    options: VolumeOptions,
    /// Carries the operations that go through the page cache, unless the locked one does.
    cached: Option<OwnedFd>,
    /// With direct operations: what their offsets, addresses and lengths must be a multiple of.
    alignment: Option<usize>,
    local: bool,
    waits: bool,
    reservation: Reservation,
    // Last: the lock goes when nothing else is open any more.
    locked: OwnedFd,
}

impl Volume {
    /// The path it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size in bytes, a multiple of [`BLOCK_BYTES`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size in blocks of [`BLOCK_BYTES`].
    pub fn blocks(&self) -> u64 {
        self.bytes / BLOCK_BYTES
    }

    /// How it was opened.
    pub fn options(&self) -> VolumeOptions {
        self.options
    }

    /// The open file that carries the lock: further locks of the same owner go there.
    pub fn lock_file(&self) -> RawFd {
        self.locked.as_raw_fd()
    }

    /// The open files that carry operations and no lock, the same ones as long as the volume is open: for
    /// [`SubchannelDevice::files`](crate::device::SubchannelDevice::files).
    pub fn unlocked_files(&self) -> Vec<RawFd> {
        self.cached.iter().filter(|_| self.local).map(AsRawFd::as_raw_fd).collect()
    }

    /// The open file of the operations that go through the page cache.
    #[inline]
    pub fn cached_file(&self) -> RawFd {
        self.cached.as_ref().unwrap_or(&self.locked).as_raw_fd()
    }

    /// The open file of the direct operations; there is one with [`Cache::Direct`] only.
    pub fn direct_file(&self) -> Option<RawFd> {
        self.alignment.map(|_| self.locked.as_raw_fd())
    }

    /// True if a write must be on stable storage before it counts as done.
    #[inline]
    pub fn is_durable(&self) -> bool {
        self.options.durability == Durability::Writethrough
    }

    /// True if io_uring would let the thread that submits an operation wait for its end, instead of taking it aside. So it is with FUSE: the file
    /// can be polled, which the kernel takes for a promise not to block, and a server that does not answer would hold up everybody.
    #[inline]
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// The operation that reads at byte `offset` into `segments`.
    #[inline]
    pub fn read(&self, offset: u64, segments: &Segments) -> Operation {
        Operation::Read { file: self.file_for(offset, segments), offset }
    }

    /// The operation that writes `segments` at byte `offset`; durable by itself if the volume is.
    #[inline]
    pub fn write(&self, offset: u64, segments: &Segments) -> Operation {
        Operation::Write { file: self.file_for(offset, segments), offset, durable: self.is_durable() }
    }

    /// The operation that makes a range read as zeros. Where [`is_durable`](Self::is_durable), [`sync`](Self::sync) must follow.
    #[inline]
    pub fn zero(&self, offset: u64, length: u64) -> Operation {
        Operation::Zero { file: self.cached_file(), offset, length }
    }

    /// The operation that brings earlier operations to stable storage.
    #[inline]
    pub fn sync(&self) -> Operation {
        Operation::Sync { file: self.cached_file() }
    }

    /// Which of the two open files can perform an operation.
    #[inline]
    fn file_for(&self, offset: u64, segments: &Segments) -> RawFd {
        match self.alignment {
            Some(alignment) if offset % alignment as u64 == 0 && segments.aligned(alignment) => self.locked.as_raw_fd(),
            _ => self.cached_file(),
        }
    }

    /// Reserves the volume for an initiator (not 0). False if another one has it.
    pub fn reserve(&self, initiator: u32) -> bool {
        self.reservation.reserve(initiator)
    }

    /// Reserves the volume for an initiator (not 0), whoever has it.
    pub fn reserve_unconditionally(&self, initiator: u32) {
        self.reservation.take(initiator);
    }

    /// Gives up an initiator's reservation, if it has one.
    pub fn release(&self, initiator: u32) {
        self.reservation.release(initiator);
    }

    /// True if another initiator has reserved the volume.
    #[inline]
    pub fn is_reserved_against(&self, initiator: u32) -> bool {
        self.reservation.is_against(initiator)
    }

    /// A subchannel of an initiator stands for this volume from now on.
    pub(crate) fn join(&self, initiator: u32) {
        self.reservation.join(initiator);
    }

    /// A subchannel of an initiator goes. With its last one goes its reservation.
    pub(crate) fn leave(&self, initiator: u32) {
        self.reservation.leave(initiator);
    }
}

#[cfg(test)]
mod tests;
