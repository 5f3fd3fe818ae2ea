// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments: the pieces of guest memory that one operation reads or writes.

use std::ptr::NonNull;

/// The most segments that one operation can have.
pub const MOST_SEGMENTS: usize = 128;

/// A piece of guest memory, as the kernel will use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte, in this process.
    pub address: NonNull<u8>,
    /// Length in bytes.
    pub length: usize,
}

/// A list of segments of fixed capacity, in the shape that the kernel takes.
///
/// Neighbouring pieces are joined, so a long data chain into one buffer is one segment.
#[derive(Debug)]
pub struct Segments {
    vectors: Box<[libc::iovec; MOST_SEGMENTS]>,
    used: usize,
    bytes: usize,
    /// The oldest generation of guest memory that is in use; [`u32::MAX`] if none is.
    generation: u32,
}

// SAFETY: the vectors hold addresses of guest memory, which any thread may reach; nothing is dereferenced here.
unsafe impl Send for Segments {}

impl Default for Segments {
    fn default() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { vectors: Box::new([empty; MOST_SEGMENTS]), used: 0, bytes: 0, generation: u32::MAX }
    }
}

impl Segments {
    /// Forgets all segments.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
        self.bytes = 0;
        self.generation = u32::MAX;
    }

    /// Says that guest memory of this generation is in use.
    #[inline]
    pub(crate) fn belong_to(&mut self, generation: u32) {
        self.generation = self.generation.min(generation);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Adds a segment, joining it to the one before where the two touch. False, and nothing added, when the list is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, segment: Segment) -> bool {
        let address = segment.address.as_ptr();
        if let Some(last) = self.used.checked_sub(1).and_then(|last| self.vectors.get_mut(last)) {
            if last.iov_base.cast::<u8>().wrapping_add(last.iov_len) == address {
                last.iov_len += segment.length;
                self.bytes += segment.length;
                return true;
            }
        }
        let Some(next) = self.vectors.get_mut(self.used) else {
            return false;
        };
        *next = libc::iovec { iov_base: address.cast(), iov_len: segment.length };
        self.used += 1;
        self.bytes += segment.length;
        true
    }

    /// The bytes in all segments.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many segments there are.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.used
    }

    /// The segment, if there is only one.
    #[inline(always)]
    pub(crate) fn only(&self) -> Option<&libc::iovec> {
        if self.used == 1 {
            self.vectors.first()
        } else {
            None
        }
    }

    /// True if there is no segment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Drops the first `bytes` bytes: they have been moved, the rest has not.
    pub fn advance(&mut self, bytes: usize) {
        let mut rest = bytes.min(self.bytes);
        self.bytes -= rest;
        let mut skipped = 0;
        for vector in &mut self.vectors[..self.used] {
            if rest < vector.iov_len {
                vector.iov_base = vector.iov_base.cast::<u8>().wrapping_add(rest).cast();
                vector.iov_len -= rest;
                break;
            }
            rest -= vector.iov_len;
            skipped += 1;
        }
        self.vectors.copy_within(skipped..self.used, 0);
        self.used -= skipped;
    }

    /// Drops everything after the first `bytes` bytes.
    pub fn truncate(&mut self, bytes: usize) {
        let mut room = bytes.min(self.bytes);
        self.bytes = room;
        let mut kept = 0;
        for vector in &mut self.vectors[..self.used] {
            if room == 0 {
                break;
            }
            vector.iov_len = vector.iov_len.min(room);
            room -= vector.iov_len;
            kept += 1;
        }
        self.used = kept;
    }

    /// The segments in the kernel's shape.
    #[inline]
    pub fn vectors(&self) -> &[libc::iovec] {
        &self.vectors[..self.used]
    }

    /// True if every address and length is a multiple of `alignment`, as direct I/O demands.
    pub fn aligned(&self, alignment: usize) -> bool {
        self.vectors().iter().all(|vector| vector.iov_base.addr() % alignment == 0 && vector.iov_len % alignment == 0)
    }
}
