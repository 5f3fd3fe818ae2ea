// SPDX-License-Identifier: MIT OR Apache-2.0
//! Word memory: what the rings need of the memory they live in, and nothing more.
//!
//! The producer, consumer and wake-up code is generic over [`WordMemory`], so that the very code which ships is also the code
//! that the memory-model checker runs. A *control word* (lap word, head, sleep word) orders other accesses; a *body word*
//! is ordered by the control word of its slot and never orders anything.

use core::sync::atomic::Ordering;

/// Memory made of 64-bit words that two parties, who do not trust each other, access at the same time.
///
/// Indices are in words from the start of the region. All values are in the host's byte order; the implementation
/// converts to the little-endian order of the ABI. An index past the end panics: every index the ring code uses is derived
/// from a geometry that was checked against the region's length before, never from a value read later.
pub trait WordMemory {
    /// The number of words.
    fn len(&self) -> usize;

    /// True for a region of no words at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a control word.
    fn load(&self, index: usize, order: Ordering) -> u64;

    /// Writes a control word.
    fn store(&self, index: usize, value: u64, order: Ordering);

    /// Replaces a control word if it still holds `current`; the error is the value found.
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64>;

    /// Reads the body of a slot: the words `index + 1 .. index + N` into `entry[1..]`. `entry[0]` is left alone.
    fn load_body<const N: usize>(&self, index: usize, entry: &mut [u64; N]);

    /// Writes the body of a slot: `entry[1..]` to the words `index + 1 .. index + N`. Word `index` is left alone.
    fn store_body<const N: usize>(&self, index: usize, entry: &[u64; N]);

    /// Writes a whole slot whose first word orders nothing: its batch is published by another one.
    #[inline(always)]
    fn store_slot<const N: usize>(&self, index: usize, entry: &[u64; N]) {
        self.store_body(index, entry);
        self.store(index, entry[0], Ordering::Relaxed);
    }

    /// Says that a word will be written soon, so that its cache line can be brought here meanwhile. Changes nothing; an index past the end is ignored.
    #[inline(always)]
    fn prefetch_write(&self, _index: usize) {}

    /// The same for a word that will be read soon.
    #[inline(always)]
    fn prefetch_read(&self, _index: usize) {}

    /// A full fence: no later load may be satisfied before earlier stores are visible. Used between "publish" and "is the
    /// other side asleep?", and between "I am asleep" and "is there anything left?".
    fn full_fence(&self);
}

#[cfg(target_has_atomic = "64")]
mod mapped {
    use super::WordMemory;
    use core::ptr::NonNull;
    use core::sync::atomic::{fence, AtomicU64, Ordering};

    /// Word memory over a shared mapping.
    ///
    /// `K` keeps the mapping alive; it is dropped with the last clone.
    #[derive(Debug)]
    pub struct MappedWords<K> {
        base: NonNull<AtomicU64>,
        words: usize,
        keep: K,
    }

    impl<K: Clone> Clone for MappedWords<K> {
        fn clone(&self) -> Self {
            Self { base: self.base, words: self.words, keep: self.keep.clone() }
        }
    }

    // SAFETY: all access to the memory goes through `AtomicU64`, which is `Sync`; the pointer itself is never changed, and the
    // memory lives as long as `keep` does (contract of `new`), which moves between threads only if it is `Send`.
    unsafe impl<K: Send> Send for MappedWords<K> {}
    // SAFETY: as above; `&MappedWords` gives nothing but atomic accesses and `&K`.
    unsafe impl<K: Sync> Sync for MappedWords<K> {}

    impl<K> MappedWords<K> {
        /// Takes `bytes` bytes at `base` as word memory; a rest of less than one word is not used.
        ///
        /// # Errors
        /// Gives `keep` back when `base` is not aligned to 8 bytes.
        ///
        /// # Safety
        /// `base` must be valid for reads and writes of `bytes` bytes for as long as `keep` (or a clone of it) lives,
        /// and this process must access that memory only atomically or by volatile access of raw pointers meanwhile. Other processes may do anything to its
        /// content, but must not be able to take the pages away (the memory is sealed against shrinking, or anonymous).
        pub unsafe fn new(base: NonNull<u8>, bytes: usize, keep: K) -> Result<Self, K> {
            let base = base.cast::<AtomicU64>();
            if !base.is_aligned() {
                return Err(keep);
            }
            Ok(Self { base, words: bytes / 8, keep })
        }

        /// The first byte of the region.
        pub fn base(&self) -> NonNull<u8> {
            self.base.cast()
        }

        /// What keeps the mapping alive.
        pub fn keep(&self) -> &K {
            &self.keep
        }

        #[inline(always)]
        fn words(&self) -> &[AtomicU64] {
            // SAFETY: `new` demanded that base and length are valid while `keep` lives, and `keep` lives in `self`. `AtomicU64` allows that
            // the content changes under a shared reference. Alignment was checked by `new`.
            unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.words) }
        }
    }

    impl<K> MappedWords<K> {
        /// The words of a slot; of a length that the compiler knows, so that copying them is no loop.
        #[inline(always)]
        fn slot<const N: usize>(&self, index: usize) -> &[AtomicU64; N] {
            match self.words()[index..].first_chunk() {
                Some(slot) => slot,
                None => past_the_end(index),
            }
        }
    }

    #[cold]
    fn past_the_end(index: usize) -> ! {
        panic!("the slot at word {index} reaches past the end of the region")
    }

    impl<K> WordMemory for MappedWords<K> {
        #[inline]
        fn len(&self) -> usize {
            self.words
        }

        #[inline(always)]
        fn load(&self, index: usize, order: Ordering) -> u64 {
            u64::from_le(self.words()[index].load(order))
        }

        #[inline(always)]
        fn store(&self, index: usize, value: u64, order: Ordering) {
            self.words()[index].store(value.to_le(), order);
        }

        #[inline]
        fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
            // Relaxed: a ticket only has to be unique. What the slot's body needs is ordered by the head and the lap word.
            self.words()[index]
                .compare_exchange_weak(current.to_le(), new.to_le(), Ordering::Relaxed, Ordering::Relaxed)
                .map(u64::from_le)
                .map_err(u64::from_le)
        }

        #[inline(always)]
        fn load_body<const N: usize>(&self, index: usize, entry: &mut [u64; N]) {
            let slot = self.slot::<N>(index);
            for word in 1..N {
                entry[word] = u64::from_le(slot[word].load(Ordering::Relaxed));
            }
        }

        #[inline(always)]
        fn store_body<const N: usize>(&self, index: usize, entry: &[u64; N]) {
            let slot = self.slot::<N>(index);
            for word in 1..N {
                slot[word].store(entry[word].to_le(), Ordering::Relaxed);
            }
        }

        #[inline(always)]
        fn store_slot<const N: usize>(&self, index: usize, entry: &[u64; N]) {
            for (word, value) in self.slot::<N>(index).iter().zip(entry) {
                word.store(value.to_le(), Ordering::Relaxed);
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn prefetch_write(&self, index: usize) {
            // The intrinsic becomes `prefetchw` only where that is asked of all processors; without it the line would come here shared.
            if let Some(word) = self.words().get(index) {
                // SAFETY: a prefetch is a hint. It reads and writes nothing that a program could see and faults at no address, and a processor that
                // does not know `prefetchw` takes it for a no-operation. So it is no access in the sense of `new` either.
                unsafe { core::arch::asm!("prefetchw [{}]", in(reg) word.as_ptr(), options(nostack, preserves_flags, readonly)) };
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn prefetch_read(&self, index: usize) {
            if let Some(word) = self.words().get(index) {
                // SAFETY: as above.
                unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(word.as_ptr().cast()) };
            }
        }

        #[inline(always)]
        fn full_fence(&self) {
            fence(Ordering::SeqCst);
        }
    }
}

#[cfg(target_has_atomic = "64")]
pub use mapped::MappedWords;
