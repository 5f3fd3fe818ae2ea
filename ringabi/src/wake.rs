// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wake-up suppression: a doorbell or a notification only for a partner who sleeps, and from each producer only one for each sleep.
//!
//! The consumer owns a *sleep word*, a count that is odd while it sleeps. It announces its sleep, fences, and looks once more
//! at what it waits for; the producer publishes, fences, and looks at the sleep word. One of the two sees the other (Dekker), so
//! no wake-up is lost; and because the count tells one sleep from the next, no producer sends it twice.

use crate::memory::WordMemory;
use core::sync::atomic::Ordering;

/// The order by which a sleeper that waits for several things loses no wake-up: announces sleep in all of them
/// ([`announce_unfenced`](Sleeper::announce_unfenced)), fences once, and looks at all of them once more. Gives what that look says: true, sleep
/// now; false, something is there, and whoever announced says that it is awake.
#[inline]
pub fn announce_then_look<S: ?Sized>(
    sleeper: &mut S,
    announce: impl FnOnce(&mut S),
    full_fence: impl FnOnce(),
    nothing: impl FnOnce(&mut S) -> bool,
) -> bool {
    announce(sleeper);
    // Pairs with the fence in `Waker::must_wake` of each of those who wake: either it sees the announcement, or we see what it has published.
    full_fence();
    nothing(sleeper)
}

/// The consumer's side of a sleep word.
#[derive(Debug)]
pub struct Sleeper<M> {
    memory: M,
    word: usize,
    count: u64,
}

impl<M: WordMemory> Sleeper<M> {
    /// Takes over the sleep word at `word`, awake.
    pub fn new(memory: M, word: usize) -> Self {
        let found = memory.load(word, Ordering::Relaxed);
        let mut sleeper = Self { memory, word, count: found };
        sleeper.awake();
        sleeper
    }

    /// Announces sleep. The caller must now look once more at everything it waits for, and only then sleep; the fence
    /// between the two is here. For several words at once there is [`announce_then_look`].
    #[inline]
    pub fn announce(&mut self) {
        self.announce_unfenced();
        // Pairs with the fence in `Waker::must_wake`.
        self.memory.full_fence();
    }

    /// Announces sleep without the fence that must follow before the last look. Each announcement is a new sleep, also one right after
    /// another: a doorbell that was rung for the last one says nothing about this one.
    #[inline]
    pub fn announce_unfenced(&mut self) {
        self.count = self.count.wrapping_add(1) | 1;
        self.memory.store(self.word, self.count, Ordering::Relaxed);
    }

    /// Says that the consumer is awake: no doorbell is needed.
    #[inline]
    pub fn awake(&mut self) {
        if self.count & 1 == 1 {
            self.count = self.count.wrapping_add(1);
            self.memory.store(self.word, self.count, Ordering::Relaxed);
        }
    }
}

/// The producer's side of a sleep word.
#[derive(Clone, Debug)]
pub struct Waker<M> {
    memory: M,
    word: usize,
    woken: u64,
}

impl<M: WordMemory> Waker<M> {
    /// Watches the sleep word at `word`.
    pub fn new(memory: M, word: usize) -> Self {
        // An even value is never a sleep, so the first odd one is always new.
        Self { memory, word, woken: 0 }
    }

    /// To be called after publishing: true if the consumer sleeps and was not yet woken from this sleep, so that the caller must
    /// ring the doorbell now. Contains the full fence.
    #[inline]
    pub fn must_wake(&mut self) -> bool {
        // Pairs with the fence in `Sleeper::announce`.
        self.memory.full_fence();
        let count = self.memory.load(self.word, Ordering::Relaxed);
        if count & 1 == 1 && count != self.woken {
            self.woken = count;
            return true;
        }
        false
    }
}
