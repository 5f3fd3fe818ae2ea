// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's allocator, which keeps count: what is asked for on a data path, and how much memory something takes.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Mimalloc, counted.
pub struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// Relaxed everywhere: they are statistics; who compares two readings has ordered them otherwise.
static GIVEN: AtomicU64 = AtomicU64::new(0);
static TAKEN_BACK: AtomicU64 = AtomicU64::new(0);

/// Calls by this thread that gave or took back memory.
pub fn calls() -> u64 {
    CALLS.get()
}

/// Bytes that the whole program has in use.
pub fn in_use() -> u64 {
    // What was taken back first: a moment later more may have been given, never less.
    let back = TAKEN_BACK.load(Ordering::Relaxed);
    GIVEN.load(Ordering::Relaxed).saturating_sub(back)
}

fn count(given: usize, taken_back: usize) {
    // A thread that ends has no such variable any more, and nobody asks for it.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    GIVEN.fetch_add(given as u64, Ordering::Relaxed);
    TAKEN_BACK.fetch_add(taken_back as u64, Ordering::Relaxed);
}

// SAFETY: everything is left to mimalloc, whose contract is the same; counting touches atomics and a thread-local cell without destructor only.
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
    use super::{calls, in_use};

    #[test]
    fn what_is_asked_for_is_counted() {
        const BYTES: usize = 1 << 30;
        let (asked, before) = (calls(), in_use());
        let memory = std::hint::black_box(Vec::<u8>::with_capacity(BYTES));
        assert_eq!(calls(), asked + 1);
        // Other threads ask for memory meanwhile, but not for so much.
        let during = in_use();
        assert!(during > before + BYTES as u64 / 2);
        drop(memory);
        assert_eq!(calls(), asked + 2);
        assert!(in_use() + (BYTES as u64 / 2) < during);
    }
}
