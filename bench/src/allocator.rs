// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's allocator, which keeps count: what is asked for on a data path, and how much memory something takes.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

/// Mimalloc, counted.
pub struct Counting;

// Relaxed everywhere: they are statistics; who compares two readings has ordered them otherwise.
static CALLS: AtomicU64 = AtomicU64::new(0);
static GIVEN: AtomicU64 = AtomicU64::new(0);
static TAKEN_BACK: AtomicU64 = AtomicU64::new(0);

/// What the whole program has asked for so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Calls that give or take back memory.
    pub calls: u64,
    /// Bytes that are in use now.
    pub in_use: u64,
}

/// The account so far.
pub fn account() -> Account {
    // What was taken back first: a moment later more may have been given, never less.
    let back = TAKEN_BACK.load(Ordering::Relaxed);
    Account { calls: CALLS.load(Ordering::Relaxed), in_use: GIVEN.load(Ordering::Relaxed).saturating_sub(back) }
}

fn count(given: usize, taken_back: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    GIVEN.fetch_add(given as u64, Ordering::Relaxed);
    TAKEN_BACK.fetch_add(taken_back as u64, Ordering::Relaxed);
}

// SAFETY: everything is left to mimalloc, whose contract is the same; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn what_is_asked_for_is_counted() {
        // Other tests ask for memory meanwhile, but not for so much.
        let before = account();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let during = account();
        assert!(during.calls > before.calls && during.in_use > before.in_use + (48 << 20));
        drop(memory);
        assert!(account().in_use + (48 << 20) < during.in_use);
    }
}
