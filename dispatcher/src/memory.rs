// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest memory: raw memory that other processors change at any time.
//!
//! It is reached through `vm-memory`, never as a slice of bytes. What is fetched is copied once and only the copy is looked at; what
//! the kernel reads and writes is named by address and length ([`Segment`]).

use crate::engine::{Segment, Segments};
use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _, GuestRegionMmap,
    MmapRegion,
};

/// The largest region of a map, where nearly all addresses lie: `first` is its first guest address, `base` that byte in this process.
#[derive(Clone, Copy, Debug)]
struct MainRegion {
    first: u64,
    length: u64,
    base: NonNull<u8>,
}

// SAFETY: the pointer is only a place in a mapping, which `Memory::map` keeps alive and which no thread owns; what lies there is read and written
// by volatile access alone.
unsafe impl Send for MainRegion {}
// SAFETY: as above; nothing in it is ever changed.
unsafe impl Sync for MainRegion {}

impl MainRegion {
    fn of(map: &GuestMemoryMmap<()>) -> Option<Self> {
        let region = map.iter().max_by_key(|region| region.len())?;
        Some(Self { first: region.start_addr().0, length: region.len(), base: NonNull::new(region.as_ptr())? })
    }

    /// Where a range lies in this process, if it is wholly inside.
    #[inline]
    fn find(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = address.checked_sub(self.first)?;
        if offset >= self.length || length as u64 > self.length - offset {
            return None;
        }
        // SAFETY: the offset is at most the length of the mapping that `base` begins.
        Some(unsafe { self.base.add(usize::try_from(offset).ok()?) })
    }
}

/// Copies bytes that others may change meanwhile, each read once; aligned words and half-words in one access.
///
/// # Safety
/// `from` must be valid for reads of as many bytes as `to` has.
#[inline]
unsafe fn copy_out(from: NonNull<u8>, to: &mut [u8]) {
    let mut done = 0;
    while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: what is done lies within the bytes that are valid (contract of this function).
        let at = unsafe { from.add(done) };
        done += if let (true, Some(eight)) = (at.cast::<u64>().is_aligned(), rest.first_chunk_mut()) {
            // SAFETY: aligned, and as many bytes as are left to copy are valid: eight at least.
            *eight = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
            eight.len()
        } else if let (true, Some(four)) = (at.cast::<u32>().is_aligned(), rest.first_chunk_mut()) {
            // SAFETY: as above, with four.
            *four = unsafe { at.cast::<u32>().read_volatile() }.to_ne_bytes();
            four.len()
        } else {
            // SAFETY: as above, with one.
            rest[0] = unsafe { at.read_volatile() };
            1
        };
    }
}

/// A guest address range that is not (wholly) inside the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest address {address:#x}, length {length}, is not inside the guest's memory")]
pub struct OutsideMemory {
    /// First guest address of the range.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// A piece of a memory file that a guest sees as its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRange {
    /// Guest address of the first byte.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: usize,
}

/// A range cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {} bytes from offset {} as guest memory at {:#x}: {source}", range.length, range.offset, range.address)]
pub struct MapError {
    /// The range.
    pub range: FileRange,
    /// What stands in the way.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The memory of one guest, as the dispatcher sees it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Memory {
    map: Arc<GuestMemoryMmap<()>>,
    /// What lies in it is found by a comparison; the map has to search, about 130 instructions
    /// for each CCW (measured with 4 KiB reads: ×1.11).
    main: Option<MainRegion>,
}

impl Memory {
    /// Takes a memory map of `vm-memory`. The mappings live as long as any clone of this.
    pub fn new(map: Arc<GuestMemoryMmap<()>>) -> Self {
        let main = MainRegion::of(&map);
        Self { map, main }
    }

    /// Maps ranges of a memory file as a guest's memory.
    ///
    /// # Errors
    /// A range is empty, overlaps another, or cannot be mapped.
    pub fn from_file(file: &File, ranges: &[FileRange]) -> Result<Self, MapError> {
        let mut regions = Vec::with_capacity(ranges.len());
        for &range in ranges {
            let error = |source: Box<dyn std::error::Error + Send + Sync>| MapError { range, source };
            let file = file.try_clone().map_err(|source| error(source.into()))?;
            let mapping = MmapRegion::from_file(FileOffset::new(file, range.offset), range.length);
            let mapping = mapping.map_err(|source| error(source.into()))?;
            let region = GuestRegionMmap::new(mapping, GuestAddress(range.address));
            regions.push(region.ok_or_else(|| error("it reaches past the end of the address space".into()))?);
        }
        let first = ranges.first().copied().unwrap_or_default();
        let map = GuestMemoryMmap::from_regions(regions).map_err(|source| MapError { range: first, source: source.into() })?;
        Ok(Self::new(Arc::new(map)))
    }

    /// Copies `N` bytes out of the guest's memory, each byte read once.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory.
    #[inline]
    pub fn fetch<const N: usize>(&self, address: u64) -> Result<[u8; N], OutsideMemory> {
        let mut copy = [0; N];
        self.fetch_into(address, &mut copy)?;
        Ok(copy)
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

    /// Copies bytes into the guest's memory.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory; nothing past its end was written.
    #[inline]
    pub fn store(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() as u64 };
        if !self.contains(address, outside.length) {
            return Err(outside);
        }
        self.map.write_slice(bytes, GuestAddress(address)).map_err(|_| outside)
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

    #[inline]
    fn in_main(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        self.main.as_ref()?.find(address, length)
    }

    /// True if the whole range is inside the guest's memory.
    #[inline]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| self.map.check_range(GuestAddress(address), length))
    }

    /// Adds the range to `segments`. Returns how many bytes were added: fewer than `length` only when the list is full.
    ///
    /// # Errors
    /// The range is not wholly inside the guest's memory; nothing was added.
    #[inline]
    pub fn segments(&self, address: u64, length: usize, segments: &mut Segments) -> Result<usize, OutsideMemory> {
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
