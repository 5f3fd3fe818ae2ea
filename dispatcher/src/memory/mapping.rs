// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where guest memory is mapped from: ranges of a memory file, or mappings that somebody else has made.

use super::Memory;
use crate::region::check_range;
use std::any::Any;
use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

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
#[non_exhaustive]
pub struct MapError {
    /// The range.
    pub range: FileRange,
    /// What stands in the way.
    pub source: Box<dyn Error + Send + Sync>,
}

/// A piece of this process's memory that a guest sees as its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRange {
    /// Guest address of the first byte.
    pub address: u64,
    /// That byte in this process; at the beginning of a page.
    pub host: *mut u8,
    /// Length in bytes.
    pub length: usize,
}

/// A range of this process cannot be a guest's memory.
#[derive(Debug, thiserror::Error)]
#[error("{length} bytes at host address {host:#x} cannot be guest memory at {address:#x}: {source}")]
#[non_exhaustive]
pub struct HostRangeError {
    /// Guest address of the first byte.
    pub address: u64,
    /// Its address in this process.
    pub host: usize,
    /// Length in bytes.
    pub length: usize,
    /// What stands in the way.
    pub source: Box<dyn Error + Send + Sync>,
}

type Reason = Box<dyn Error + Send + Sync>;

fn region(address: u64, length: usize, mapping: MmapRegion) -> Result<GuestRegionMmap<()>, Reason> {
    if length == 0 {
        return Err("it is empty: at least one byte is accepted".into());
    }
    GuestRegionMmap::new(mapping, GuestAddress(address)).ok_or_else(|| "it reaches past the end of the address space".into())
}

impl Memory {
    /// Maps ranges of a memory file as a guest's memory. The file must be sealed against shrinking and growing ([`sealed_memory_file`]): a page of it that goes
    /// away would kill this process when it is touched next.
    ///
    /// [`sealed_memory_file`]: crate::region::sealed_memory_file
    ///
    /// # Errors
    /// The file is no memory file or not sealed, a range is empty, overlaps another, reaches past the end of the file, or cannot be mapped. The source is a
    /// [`RegionError`](crate::region::RegionError) where the file is to blame.
    pub fn from_file(file: &File, ranges: &[FileRange]) -> Result<Self, MapError> {
        let map_one = |range: &FileRange| -> Result<_, Reason> {
            check_range(file, range.offset, range.length as u64)?;
            let mapping = MmapRegion::from_file(FileOffset::new(file.try_clone()?, range.offset), range.length)?;
            region(range.address, range.length, mapping)
        };
        let mut regions = Vec::with_capacity(ranges.len());
        for &range in ranges {
            regions.push(map_one(&range).map_err(|source| MapError { range, source })?);
        }
        let first = ranges.first().copied().unwrap_or_default();
        let map = GuestMemoryMmap::from_regions(regions).map_err(|source| MapError { range: first, source: source.into() })?;
        Ok(Self::new(Arc::new(map)))
    }

    /// Takes mappings of this process, which somebody else has made and keeps, as a guest's memory. `owner` is dropped when the dispatcher does
    /// not need them any more: after the guest was detached or its memory replaced, and the last clone of this is gone.
    ///
    /// # Errors
    /// A range is empty, overlaps another, does not begin at a page of this process, or reaches past the end of the address space.
    ///
    /// # Safety
    /// Until `owner` is dropped, all of each range must stay mapped, readable, and (unless [`through_sink`](Self::through_sink) follows) writable; nobody
    /// may be able to make a file behind it shorter; and this process must reach it by raw pointers or atomics alone, never by a reference.
    pub unsafe fn from_host_ranges(ranges: &[HostRange], owner: Arc<dyn Any + Send + Sync>) -> Result<Self, HostRangeError> {
        let error = |range: &HostRange, source: Reason| HostRangeError {
            address: range.address,
            host: range.host.addr(),
            length: range.length,
            source,
        };
        let take_one = |range: &HostRange| -> Result<_, Reason> {
            if range.host.is_null() {
                return Err("there is nothing at address 0".into());
            }
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: the range is mapped and stays so while `owner` lives (contract of this function), which the memory that is made here keeps.
            let mapping = unsafe { MmapRegion::build_raw(range.host, range.length, protection, flags) }?;
            region(range.address, range.length, mapping)
        };
        let mut regions = Vec::with_capacity(ranges.len());
        for range in ranges {
            regions.push(take_one(range).map_err(|source| error(range, source))?);
        }
        let first = ranges.first().copied().unwrap_or(HostRange { address: 0, host: std::ptr::null_mut(), length: 0 });
        let map = GuestMemoryMmap::from_regions(regions).map_err(|source| error(&first, source.into()))?;
        Ok(Self { _owner: Some(owner), ..Self::new(Arc::new(map)) })
    }
}
