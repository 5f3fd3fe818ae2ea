// SPDX-License-Identifier: MIT OR Apache-2.0
//! The largest region of a map, where nearly all addresses lie: what lies in it is found by a comparison.

use std::ptr::NonNull;
use vm_memory::{GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _};

/// `first` is its first guest address, `base` that byte in this process. These and `length` are multiples of eight: a doubleword that begins inside ends inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct MainRegion {
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
    /// The largest region of the map; an empty one if it has none that begins at doublewords, in the guest and here.
    pub(super) fn of(map: &GuestMemoryMmap<()>) -> Self {
        let regions = map.iter().filter_map(|region| {
            let (first, base) = (region.start_addr().0, NonNull::new(region.as_ptr())?);
            (first % 8 == 0 && base.cast::<u64>().is_aligned()).then_some(Self { first, length: region.len() & !7, base })
        });
        regions.max_by_key(|region| region.length).unwrap_or(Self { first: 0, length: 0, base: NonNull::dangling() })
    }

    /// Where a range lies in this process, if it is wholly inside.
    #[inline(always)]
    pub(super) fn find(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        // Of an address before the first one this is more than any length: no region reaches past the end of the address space.
        let offset = address.wrapping_sub(self.first);
        if offset >= self.length || length as u64 > self.length - offset {
            return None;
        }
        // SAFETY: the offset is less than the length of the mapping that `base` begins.
        Some(unsafe { self.base.add(usize::try_from(offset).ok()?) })
    }

    /// `N` bytes from a doubleword boundary on, each doubleword read once; none if they are not all inside, or do not begin at one, or are no doublewords.
    #[inline(always)]
    pub(super) fn doublewords<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let offset = address.wrapping_sub(self.first);
        // Doublewords: the last of them is inside if its offset is less than the length, the first is where it begins.
        let behind = self.length.saturating_sub((N as u64).saturating_sub(8));
        if offset >= behind || offset % 8 != 0 || N % 8 != 0 {
            return None;
        }
        // SAFETY: the offset is less than the length of the mapping that `base` begins.
        let from = unsafe { self.base.add(usize::try_from(offset).ok()?) }.cast::<u64>();
        let mut copy = [0; N];
        for (index, eight) in copy.chunks_exact_mut(8).enumerate() {
            // SAFETY: aligned as `base` and the offset are, and as many doublewords are in the mapping as `copy` has.
            eight.copy_from_slice(&unsafe { from.add(index).read_volatile() }.to_ne_bytes());
        }
        Some(copy)
    }

    /// Brings the lines of a range here, if it is wholly inside.
    #[inline]
    pub(super) fn prefetch(&self, address: u64, bytes: usize) {
        if let Some(first) = self.find(address, bytes) {
            crate::prefetch::lines(first.as_ptr(), bytes);
        }
    }
}

/// Copies bytes to where others may look and store meanwhile: the counterpart of [`copy_out`].
///
/// # Safety
/// `to` must be valid for writes of as many bytes as `from` has.
#[inline]
pub(super) unsafe fn copy_in(from: &[u8], to: NonNull<u8>) {
    let mut done = 0;
    while let Some(rest) = from.get(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: what is done lies within the bytes that are valid (contract of this function).
        let at = unsafe { to.add(done) };
        done += if let (true, Some(eight)) = (at.cast::<u64>().is_aligned(), rest.first_chunk()) {
            // SAFETY: aligned, and as many bytes as are left to copy are valid: eight at least.
            unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(*eight)) };
            eight.len()
        } else if let (true, Some(four)) = (at.cast::<u32>().is_aligned(), rest.first_chunk()) {
            // SAFETY: as above, with four.
            unsafe { at.cast::<u32>().write_volatile(u32::from_ne_bytes(*four)) };
            four.len()
        } else {
            // SAFETY: as above, with one.
            unsafe { at.write_volatile(rest[0]) };
            1
        };
    }
}

/// Copies bytes that others may change meanwhile, each read once; aligned words and half-words in one access.
///
/// # Safety
/// `from` must be valid for reads of as many bytes as `to` has.
#[inline(always)]
pub(super) unsafe fn copy_out(from: NonNull<u8>, to: &mut [u8]) {
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
