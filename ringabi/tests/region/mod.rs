// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared region for tests: zeroed words that live as long as anything refers to them.

use fctl_ringabi::{ClockId, Header, MappedWords, RingSizes};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

/// Word memory that keeps its own words.
pub type Region = MappedWords<Arc<[AtomicU64]>>;

/// `words` zeroed words.
pub fn zeroed(words: usize) -> Region {
    let kept: Arc<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let base = NonNull::new(kept.as_ptr().cast_mut().cast()).expect("an Arc is never null");
    // SAFETY: the words are kept by the `Arc` in the region and are reached atomically alone.
    unsafe { MappedWords::new(base, words * 8, kept) }.expect("AtomicU64 is aligned")
}

/// The least sizes that are accepted.
#[allow(dead_code, reason = "not every test wants them")]
pub const LEAST: RingSizes = RingSizes { submission_entries: 8, completion_entries: 16, reserve: 8, clock: ClockId::None };

/// A formatted region with rings of these sizes.
#[allow(dead_code, reason = "not every test wants a formatted one")]
pub fn formatted(sizes: RingSizes) -> Region {
    let header = Header::layout(sizes).expect("the sizes are legal");
    let memory = zeroed(usize::try_from(header.region_bytes() / 8).unwrap());
    header.format(&memory).expect("the region is large enough");
    memory
}
