// SPDX-License-Identifier: MIT OR Apache-2.0
//! The largest region of a map, where nearly all addresses lie: what lies in it is found by a comparison.

use std::ptr::NonNull;
use vm_memory::{GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _};

/// `first` is its first guest address, `base` that byte in this process.
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
    pub(super) fn of(map: &GuestMemoryMmap<()>) -> Option<Self> {
        let region = map.iter().max_by_key(|region| region.len())?;
        Some(Self { first: region.start_addr().0, length: region.len(), base: NonNull::new(region.as_ptr())? })
    }

    /// Where a range lies in this process, if it is wholly inside.
    #[inline]
    pub(super) fn find(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = address.checked_sub(self.first)?;
        if offset >= self.length || length as u64 > self.length - offset {
            return None;
        }
        // SAFETY: the offset is at most the length of the mapping that `base` begins.
        Some(unsafe { self.base.add(usize::try_from(offset).ok()?) })
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
    // A CCW, and what else has eight bytes: no loop where the compiler knows that.
    if let (true, Ok(eight)) = (from.cast::<u64>().is_aligned(), <&mut [u8; 8]>::try_from(&mut *to)) {
        // SAFETY: aligned, and eight bytes are valid (contract of this function).
        *eight = unsafe { from.cast::<u64>().read_volatile() }.to_ne_bytes();
        return;
    }
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
