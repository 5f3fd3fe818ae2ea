// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a host ring and its reactor meet outside the ring: the poster that sleeps until its instruction is accepted, and the one notification
//! that was asked for.
//!
//! `ringabi/tests/loom/meeting.rs` runs this file under a memory-model checker, with words, fence and sleep of its own in the place of `super::sync`.

use super::sync::{fence, sleep_on, wake, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
/// The reactor does not serve the ring any more.
const GONE: u32 = 2;

/// The shared words.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    poster: AtomicU32,
    /// Odd while a notification is wanted; each wish has a number of its own. Who makes it even sends the notification, or takes the wish back.
    wish: AtomicU64,
}

impl Meeting {
    /// Sleeps until the reactor has accepted something, the ring is gone, or the time is over; not at all if there is something already.
    pub(super) fn sleep(&self, most: Duration, nothing: impl FnOnce() -> bool) {
        if self.poster.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        // Pairs with the fence in `wake_poster`: either it sees that we sleep, or we see what it has published.
        fence(Ordering::SeqCst);
        if nothing() {
            // Any way of waking up is good: the caller looks at the ring and at the clock.
            sleep_on(&self.poster, ASLEEP, most);
        }
        let _ = self.poster.compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The reactor has published something that a poster waits for.
    pub(super) fn wake_poster(&self) {
        // Pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        if self.poster.compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            wake(&self.poster, 1);
        }
    }

    /// The reactor serves the ring no more. What it had published stays in the ring.
    pub(super) fn leave(&self) {
        // Pairs with the Acquire in `is_gone`: who sees it sees also the last completions.
        // A swap, where a store would do, for the checker: it takes a store that races with the announcement of sleep for one that may come before it.
        self.poster.swap(GONE, Ordering::Release);
        // Pairs with the fence in `wish`: either `arm` sees that it has gone, or we see the wish.
        fence(Ordering::SeqCst);
        wake(&self.poster, u32::MAX);
    }

    pub(super) fn is_gone(&self) -> bool {
        // Pairs with the Release in `leave`.
        self.poster.load(Ordering::Acquire) == GONE
    }

    /// Wishes for one notification. The caller has given back what it has consumed, and looks at the ring once more after this.
    pub(super) fn wish(&self) {
        let number = self.wish.load(Ordering::Relaxed);
        // Release: who sees the wish sees the head that was given back before. Pairs with the Acquire in `claim`.
        self.wish.store(number.wrapping_add(1) | 1, Ordering::Release);
        // Pairs with the fence in `claim_published`: either it sees the wish, or we see what it has published.
        fence(Ordering::SeqCst);
    }

    pub(super) fn is_wished(&self) -> bool {
        self.wish.load(Ordering::Relaxed) & 1 == 1
    }

    /// Takes the wish, if there is one and `untaken` says that there is something to tell. True: the caller is the one to act on it.
    pub(super) fn claim(&self, mut untaken: impl FnMut() -> bool) -> bool {
        loop {
            // Pairs with the Release in `wish`.
            let number = self.wish.load(Ordering::Acquire);
            if number & 1 == 0 || !untaken() {
                return false;
            }
            // Fails if it is another wish meanwhile: what was untaken then may be taken now. Relaxed: it only has to be one who takes a wish; what
            // belongs to it was seen by the load above, and nothing is handed on.
            if self.wish.compare_exchange(number, number.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// The same after the reactor has published something.
    pub(super) fn claim_published(&self, untaken: impl FnMut() -> bool) -> bool {
        // Pairs with the fence in `wish`.
        fence(Ordering::SeqCst);
        self.claim(untaken)
    }
}
