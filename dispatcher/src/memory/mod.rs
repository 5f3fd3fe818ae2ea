// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: raw memory that other processors change at any time.
//!
//! It is reached through `vm-memory`, never as a slice of bytes. What is fetched is copied once and only the copy is looked at; what
//! the kernel reads and writes is named by address and length ([`Segment`]).
//!
//! Data comes *from* the guest always directly: the kernel reads guest pages. Data *for* the guest goes one of three ways:
//! * *direct*: the kernel, and for a few bytes the dispatcher, writes guest pages;
//! * *logged* ([`Memory::with_dirty_log`]): the same, and what was changed is told before the completion is visible;
//! * *through a sink* ([`Memory::through_sink`]): the kernel fills a private buffer of the device, and what has arrived there is given to
//!   the embedder's writer, range by range. Nothing but the ring itself is then stored by the dispatcher.

mod main_region;
mod mapping;
mod stores;

pub use mapping::{FileRange, HostRange, HostRangeError, MapError};
pub(crate) use stores::Stores;
pub use stores::{DirtyLog, Sink};

use crate::engine::{Segment, Segments};
use main_region::{copy_out, MainRegion};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _};

/// A guest address range that is not (wholly) inside the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest address {address:#x}, length {length}, is not inside the guest's memory")]
pub struct OutsideMemory {
    /// First guest address of the range.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// The memory of one guest, as the dispatcher sees it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Memory {
    map: Arc<GuestMemoryMmap<()>>,
    /// What lies in it is found by a comparison; the map has to search, about 130 instructions
    /// for each CCW (measured with 4 KiB reads: ×1.11).
    main: Option<MainRegion>,
    stores: Stores,
    /// Counts the memories that a guest has had.
    generation: u32,
    /// Keeps mappings alive that `map` does not own.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl Memory {
    /// Takes a memory map of `vm-memory`. The mappings live as long as any clone of this.
    pub fn new(map: Arc<GuestMemoryMmap<()>>) -> Self {
        let main = MainRegion::of(&map);
        Self { map, main, stores: Stores::Direct, generation: 0, _owner: None }
    }

    /// The same memory, stored into by `sink` alone.
    #[must_use]
    pub fn through_sink(self, sink: Arc<dyn Sink>) -> Self {
        Self { stores: Stores::Sink(sink), ..self }
    }

    /// The same memory, stored into directly; `log` is told what was changed. Takes the place of a sink, which knows by itself. What the dispatcher
    /// stores into a ring in guest memory is not told: treat a ring's pages as changed always.
    #[must_use]
    pub fn with_dirty_log(self, log: Arc<dyn DirtyLog>) -> Self {
        Self { stores: Stores::Logged(log), ..self }
    }

    /// True if the kernel may store into guest pages. If not, a device must have the kernel store into memory of its own, and
    /// [`store`](Self::store) what arrives there.
    #[inline]
    pub fn is_direct(&self) -> bool {
        !matches!(self.stores, Stores::Sink(_))
    }

    /// Says that the kernel may have stored into a range of guest memory. To be called by a device when the operation has ended, before it tells
    /// the end of the start; what goes through [`store`](Self::store) is noted by itself.
    #[inline]
    pub fn mark_dirty(&self, address: u64, length: u64) {
        if let Stores::Logged(log) = &self.stores {
            log.mark(address, length);
        }
    }

    /// The same memory as the next one of a guest that has had `other`.
    pub(crate) fn succeeding(self, other: &Self) -> Self {
        Self { generation: other.generation.saturating_add(1), ..self }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Copies `N` bytes out of the guest's memory, each byte read once.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory.
    #[inline]
    pub fn fetch<const N: usize>(&self, address: u64) -> Result<[u8; N], OutsideMemory> {
        let mut copy = [0; N];
        if let Some(from) = self.in_main(address, N) {
            // SAFETY: `in_main` found the whole range in a mapping that `self.map` keeps alive.
            unsafe { copy_out(from, &mut copy) };
        } else {
            self.fetch_into(address, &mut copy)?;
        }
        Ok(copy)
    }

    /// Copies eight bytes out of the guest's memory, in one access if they are aligned; none if they are not wholly inside it.
    #[inline(always)]
    pub(crate) fn doubleword(&self, address: u64) -> Option<[u8; 8]> {
        match self.in_main(address, 8) {
            // SAFETY: `in_main` found the whole range in a mapping that `self.map` keeps alive.
            Some(from) if from.cast::<u64>().is_aligned() => Some(unsafe { from.cast::<u64>().read_volatile() }.to_ne_bytes()),
            _ => self.any_doubleword(address),
        }
    }

    #[inline(never)]
    fn any_doubleword(&self, address: u64) -> Option<[u8; 8]> {
        self.fetch(address).ok()
    }

    /// Copies bytes out of the guest's memory, each byte read once.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory.
    #[inline]
    pub fn fetch_into(&self, address: u64, copy: &mut [u8]) -> Result<(), OutsideMemory> {
        if let Some(from) = self.in_main(address, copy.len()) {
            // SAFETY: `in_main` found the whole range in a mapping that `self.map` keeps alive.
            unsafe { copy_out(from, copy) };
            return Ok(());
        }
        let outside = OutsideMemory { address, length: copy.len() as u64 };
        self.map.read_slice(copy, GuestAddress(address)).map_err(|_| outside)
    }

    /// Copies bytes into the guest's memory, or has the sink do it.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory, nothing past its end was written; or the sink says so.
    #[inline]
    pub fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() as u64 };
        if !self.contains(address, outside.length) {
            return Err(outside);
        }
        match &self.stores {
            Stores::Sink(_) if bytes.is_empty() => return Ok(()),
            Stores::Sink(sink) => return sink.store(address, bytes),
            Stores::Direct | Stores::Logged(_) => {}
        }
        let stored = self.map.write_slice(bytes, GuestAddress(address)).map_err(|_| outside);
        self.mark_dirty(address, outside.length);
        stored
    }

    /// How many bytes of memory the guest has.
    pub fn bytes(&self) -> u64 {
        self.map.iter().map(|region| region.len()).sum()
    }

    /// Where a range lies in this process, if it lies in one piece.
    pub(crate) fn host_address(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        let slice = self.map.get_slice(GuestAddress(address), length).ok()?;
        NonNull::new(slice.ptr_guard_mut().as_ptr())
    }

    /// Says that `bytes` bytes from this address on will be fetched soon. Changes nothing; a range outside is ignored.
    #[inline]
    pub(crate) fn anticipate(&self, address: u64, bytes: usize) {
        if let Some(main) = &self.main {
            main.prefetch(address, bytes);
        }
    }

    #[inline]
    fn in_main(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        self.main.as_ref()?.find(address, length)
    }

    /// True if the whole range is inside the guest's memory.
    #[inline]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        usize::try_from(length)
            .is_ok_and(|length| self.in_main(address, length).is_some() || self.map.check_range(GuestAddress(address), length))
    }

    /// Adds the range to `segments`, for the kernel to read, or where this [`is_direct`](Self::is_direct) to write. Returns how many bytes were added: fewer
    /// than `length` only when the list is full. The list must be submitted in the same call of the device: later the guest may have other memory.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory; nothing was added.
    #[inline]
    pub fn segments(&self, address: u64, length: usize, segments: &mut Segments) -> Result<usize, OutsideMemory> {
        segments.belong_to(self.generation);
        if let Some(start) = self.in_main(address, length) {
            return Ok(if segments.push(Segment { address: start, length }) { length } else { 0 });
        }
        let outside = OutsideMemory { address, length: length as u64 };
        // The common case, one region, needs one look-up.
        if let Ok(slice) = self.map.get_slice(GuestAddress(address), length) {
            let start = NonNull::new(slice.ptr_guard_mut().as_ptr()).ok_or(outside)?;
            return Ok(if segments.push(Segment { address: start, length }) { length } else { 0 });
        }
        if !self.contains(address, outside.length) {
            return Err(outside);
        }
        let mut added = 0;
        for slice in self.map.get_slices(GuestAddress(address), length) {
            let slice = slice.map_err(|_| outside)?;
            let start = NonNull::new(slice.ptr_guard_mut().as_ptr()).ok_or(outside)?;
            if !segments.push(Segment { address: start, length: slice.len() }) {
                break;
            }
            added += slice.len();
        }
        Ok(added)
    }
}
