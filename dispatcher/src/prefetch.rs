// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing cache lines here before they are needed, so that several misses overlap.

const LINE_BYTES: usize = 64;

/// Asks for the lines of `bytes` bytes from `first` on. A hint: nothing is read, and any address may be given.
#[inline]
pub(crate) fn lines(first: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(LINE_BYTES) {
        use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        // SAFETY: a prefetch is a hint; it faults at no address and nothing that a program can see changes.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, bytes, LINE_BYTES);
}
