// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: raw memory that other processors change at any time.
//!
//! It is found through `vm-memory`, and reached by volatile access alone, never as a slice of bytes. What is fetched is copied once and only the copy is looked at; what
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
use main_region::{copy_in, copy_out, MainRegion};
use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _};

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
    main: MainRegion,
    stores: Stores,
    /// Counts the memories that a guest has had.
    generation: u32,
    /// Keeps mappings alive that `map` does not own.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl Memory {
    /// Takes a memory map of `vm-memory`. The mappings live as long as any clone of this. Who maps a file sees to it that nobody can make it shorter (by seals,
    /// for a memory file): a page that goes away would kill this process when it is touched next.
    pub fn new(map: Arc<GuestMemoryMmap<()>>) -> Self {
        let main = MainRegion::of(&map);
        Self { map, main, stores: Stores::Direct, generation: 0, _owner: None }
    }

    /// No memory at all: every address is outside.
    pub fn none() -> Self {
        Self::new(Arc::new(GuestMemoryMmap::new()))
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

    /// `N` bytes as a command's parameters nearly always lie: whole doublewords, at a boundary, in the main region. If they do not, [`fetch_into`](Self::fetch_into)
    /// knows what is to be done.
    #[inline(always)]
    pub(crate) fn doublewords<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.main.doublewords(address)
    }

    /// The doubleword at this address, as it lies there, read once: what a CCW takes. None if it is not in the main region, or not at a doubleword boundary: then
    /// [`any_doubleword`](Self::any_doubleword) knows.
    #[inline(always)]
    pub(crate) fn doubleword(&self, address: u64) -> Option<u64> {
        self.main.doublewords(address).map(u64::from_ne_bytes)
    }

    /// The same anywhere. None if it is not wholly inside the guest's memory, or not at a doubleword boundary.
    pub(crate) fn any_doubleword(&self, address: u64) -> Option<u64> {
        let bytes = if address % 8 == 0 { self.fetch(address).ok() } else { None };
        bytes.map(u64::from_ne_bytes)
    }

    /// Copies bytes out of the guest's memory, each byte read once.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory.
    #[inline]
    pub fn fetch_into(&self, address: u64, copy: &mut [u8]) -> Result<(), OutsideMemory> {
        self.pieces(address, copy.len(), |from, part| {
            // SAFETY: `pieces` found the piece in a mapping that `self.map` keeps alive, and it is as long as its part of the range.
            unsafe { copy_out(from, copy.get_mut(part).unwrap_or_default()) };
        })
    }

    /// Finds a range in this process. `visit` gets where each piece of it lies, in order, and which part of the range it is; nothing if not all of it is inside.
    ///
    /// `vm-memory` itself copies more than eight bytes by plain accesses, which guest memory is not made for.
    #[inline]
    fn pieces(&self, address: u64, length: usize, mut visit: impl FnMut(NonNull<u8>, Range<usize>)) -> Result<(), OutsideMemory> {
        if let Some(start) = self.in_main(address, length) {
            visit(start, 0..length);
            return Ok(());
        }
        self.pieces_elsewhere(address, length, visit)
    }

    /// [`pieces`](Self::pieces) of any range.
    #[inline(never)]
    fn pieces_elsewhere(
        &self,
        address: u64,
        length: usize,
        mut visit: impl FnMut(NonNull<u8>, Range<usize>),
    ) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: length as u64 };
        if !self.map.check_range(GuestAddress(address), length) {
            return Err(outside);
        }
        let mut done = 0;
        for slice in self.map.get_slices(GuestAddress(address), length) {
            let slice = slice.map_err(|_| outside)?;
            let start = NonNull::new(slice.ptr_guard_mut().as_ptr()).ok_or(outside)?;
            visit(start, done..done + slice.len());
            done += slice.len();
        }
        Ok(())
    }

    /// Copies bytes into the guest's memory, or has the sink do it.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory, nothing past its end was written; or the sink says so.
    #[inline]
    pub fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        if let Stores::Sink(sink) = &self.stores {
            let length = bytes.len() as u64;
            if !self.contains(address, length) {
                return Err(OutsideMemory { address, length });
            }
            return if bytes.is_empty() { Ok(()) } else { sink.store(address, bytes) };
        }
        self.pieces(address, bytes.len(), |to, part| {
            // SAFETY: as in `fetch_into`. What others read there meanwhile is theirs to make sense of.
            unsafe { copy_in(bytes.get(part).unwrap_or_default(), to) };
        })?;
        self.mark_dirty(address, bytes.len() as u64);
        Ok(())
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
        self.main.prefetch(address, bytes);
    }

    #[inline(always)]
    fn in_main(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        self.main.find(address, length)
    }

    /// True if the whole range is inside the guest's memory.
    #[inline]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        usize::try_from(length)
            .is_ok_and(|length| self.in_main(address, length).is_some() || self.map.check_range(GuestAddress(address), length))
    }

    /// Adds the range to `segments` if it lies where nearly all do and there is room. If not, [`segments`](Self::segments) knows what is to be done.
    #[inline(always)]
    pub(crate) fn segment(&self, address: u64, length: u32, segments: &mut Segments) -> bool {
        let length = length as usize;
        let Some(start) = self.in_main(address, length) else { return false };
        segments.belong_to(self.generation);
        segments.push(Segment { address: start, length })
    }

    /// Adds the range to `segments`, for the kernel to read, or where this [`is_direct`](Self::is_direct) to write. Returns how many bytes were added: fewer
    /// than `length` only when the list is full. The list must be submitted in the same call of the device: later the guest may have other memory.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory; nothing was added.
    #[inline]
    pub fn segments(&self, address: u64, length: usize, segments: &mut Segments) -> Result<usize, OutsideMemory> {
        segments.belong_to(self.generation);
        match self.in_main(address, length) {
            Some(start) => Ok(if segments.push(Segment { address: start, length }) { length } else { 0 }),
            None => self.segments_elsewhere(address, length, segments),
        }
    }

    /// [`segments`](Self::segments) of any range.
    #[inline(never)]
    fn segments_elsewhere(&self, address: u64, length: usize, segments: &mut Segments) -> Result<usize, OutsideMemory> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::sealed_memory_file;

    /// Whatever the alignment, and over the boundary of two regions: what is stored is what is fetched, and nothing beside it changes.
    #[test]
    fn what_is_stored_is_fetched_and_its_neighbours_stay() {
        let file = sealed_memory_file("fctl-test", 0x3000).unwrap();
        let ranges =
            [FileRange { address: 0, offset: 0x2000, length: 0x1000 }, FileRange { address: 0x1000, offset: 0, length: 0x2000 }];
        let memory = Memory::from_file(&file, &ranges).unwrap();
        let bytes: Vec<u8> = (1..=40).collect();
        for first in (0..16).chain(0xFE0..0x1010) {
            for length in 0..=bytes.len() {
                memory.store(first, &[0xEE; 64]).unwrap();
                memory.store(first + 8, &bytes[..length]).unwrap();
                let mut found = [0; 64];
                memory.fetch_into(first, &mut found).unwrap();
                let mut expected = [0xEE; 64];
                expected[8..8 + length].copy_from_slice(&bytes[..length]);
                assert_eq!(found, expected, "{length} bytes at {:#x}", first + 8);
            }
        }
        assert!(memory.store(0x2FFF, &[1, 2]).is_err());
        assert_eq!(memory.fetch::<1>(0x2FFF).unwrap(), [0], "nothing was stored");
    }
}
