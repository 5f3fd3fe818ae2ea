// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a meeting is made of: words, a fence, and sleep on a word.

use rustix::thread::futex::{self, Timespec};
pub(super) use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Sleeps if `word` is still `value`, until somebody wakes, and never longer than `most` or an hour. May wake up for no reason.
pub(super) fn sleep_on(word: &AtomicU32, value: u32, most: Duration) {
    let seconds = most.as_secs().min(3600);
    let most = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: most.subsec_nanos().into() };
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, Some(&most));
}

/// Wakes so many of those who sleep on `word`.
pub(super) fn wake(word: &AtomicU32, sleepers: u32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, sleepers);
}
