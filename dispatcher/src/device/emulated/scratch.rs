// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is not the guest's: where skipped input goes, where zeros come from, and where input waits for a sink.

use crate::engine::{Segment, Segments};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

const PAGE: usize = 4096;

/// A page, aligned so that it does not stand in the way of direct I/O.
#[repr(align(4096))]
struct Page<T>([T; PAGE]);

/// Only ever read, by the kernel.
static ZEROS: Page<u8> = Page([0; PAGE]);

/// Where input goes that the program skips. The kernel writes it, several times in one operation if need be; nobody reads it.
pub(super) struct Scratch(Box<Page<AtomicU8>>);

impl Scratch {
    pub fn new() -> Self {
        Self(Box::new(Page([const { AtomicU8::new(0) }; PAGE])))
    }

    /// Adds `length` bytes to discard. Returns how many were added: fewer only when the list is full.
    pub fn discard(&self, length: usize, segments: &mut Segments) -> usize {
        fill(NonNull::from(&self.0 .0).cast(), length, segments)
    }
}

/// Pages of a device that the kernel fills in one operation, from the first on.
pub(super) struct Pages {
    /// One page longer than what is used, so that this can begin at a page boundary. Comes zeroed from the system, and untouched.
    memory: Vec<u8>,
    first: usize,
}

impl Pages {
    /// No pages at all.
    pub const fn none() -> Self {
        Self { memory: Vec::new(), first: 0 }
    }

    /// Sees to it that there are at least `bytes` bytes. What they hold is lost if there were not; nothing may be in the kernel.
    pub fn grow(&mut self, bytes: usize) {
        let wanted = bytes.saturating_add(PAGE);
        if self.memory.len() < wanted {
            self.memory = vec![0; wanted];
            self.first = self.memory.as_ptr().addr().wrapping_neg() % PAGE;
        }
    }

    /// Adds the next `length` bytes, behind those that are in `segments` already. Returns how many were added: fewer only when there are no more.
    pub fn add(&mut self, length: usize, segments: &mut Segments) -> usize {
        let unused = self.memory.get_mut(self.first + segments.bytes()..).unwrap_or_default();
        let length = length.min(unused.len());
        // Each touches the one before it, so there is one segment.
        if length != 0 && segments.push(Segment { address: NonNull::from(unused).cast(), length }) {
            length
        } else {
            0
        }
    }

    /// The bytes; only to be asked for while nothing is in the kernel.
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.first..).unwrap_or_default()
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
