// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is not the guest's: where skipped input goes, where zeros come from, and where input waits for a sink.

use crate::engine::{Segment, Segments};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

const PAGE: usize = 4096;

/// A page, aligned so that it does not stand in the way of direct I/O.
#[repr(align(4096))]
struct Page<T>([T; PAGE]);

/// Memory that the kernel writes.
type Written = Page<AtomicU8>;

impl Written {
    fn new() -> Self {
        Page([const { AtomicU8::new(0) }; PAGE])
    }
}

/// Only ever read, by the kernel.
static ZEROS: Page<u8> = Page([0; PAGE]);

/// Where input goes that the program skips. The kernel writes it, several times in one operation if need be; nobody reads it.
pub(super) struct Scratch(Box<Written>);

impl Scratch {
    pub fn new() -> Self {
        Self(Box::new(Written::new()))
    }

    /// Adds `length` bytes to discard. Returns how many were added: fewer only when the list is full.
    pub fn discard(&self, length: usize, segments: &mut Segments) -> usize {
        fill(NonNull::from(&self.0 .0).cast(), length, segments)
    }
}

/// Pages of a device that the kernel fills in one operation, from the first on.
pub(super) struct Pages(Box<[Written]>);

impl Pages {
    /// No pages at all.
    pub fn none() -> Self {
        Self(Box::default())
    }

    /// Sees to it that there are at least `bytes` bytes. What they hold is lost if there were not; nothing may be in the kernel.
    pub fn grow(&mut self, bytes: usize) {
        let pages = bytes.div_ceil(PAGE);
        if self.0.len() < pages {
            self.0 = (0..pages).map(|_| Written::new()).collect();
        }
    }

    /// Adds the next `length` bytes, behind those that are in `segments` already. Returns how many were added: fewer only when there are no more.
    pub fn add(&self, length: usize, segments: &mut Segments) -> usize {
        let used = segments.bytes();
        let length = length.min((self.0.len() * PAGE).saturating_sub(used));
        // SAFETY: `used` is at most the length of the pages, which lie in one allocation.
        let address = unsafe { NonNull::from(&*self.0).cast::<u8>().add(used.min(self.0.len() * PAGE)) };
        // Each touches the one before it, so there is one segment.
        if length != 0 && segments.push(Segment { address, length }) {
            length
        } else {
            0
        }
    }

    /// The bytes; only to be asked for while nothing is in the kernel.
    pub fn bytes(&mut self) -> &[u8] {
        // SAFETY: the pages are in one allocation of this length and initialised. Only the kernel writes them, for an operation of the device that owns
        // them; that device asks when the operation has ended, and `&mut self` lives in it, so none begins while the slice is in use.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * PAGE) }
    }
}

/// Adds `length` zeros to be written. Returns how many were added: fewer only when the list is full.
pub(super) fn zeros(length: usize, segments: &mut Segments) -> usize {
    fill(NonNull::from(&ZEROS.0).cast(), length, segments)
}

fn fill(page: NonNull<u8>, length: usize, segments: &mut Segments) -> usize {
    let mut added = 0;
    while added < length {
        let part = (length - added).min(PAGE);
        if !segments.push(Segment { address: page, length: part }) {
            break;
        }
        added += part;
    }
    added
}
