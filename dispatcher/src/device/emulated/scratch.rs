// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is not the guest's: where skipped input goes, and where zeros come from.

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
