// SPDX-License-Identifier: MIT OR Apache-2.0
//! The producing side of a lane: stage entries, publish them all at once.

use crate::lane::{with_lap, Cursor, Lane};
use crate::memory::WordMemory;
use crate::violation::Violation;
use core::sync::atomic::Ordering;

/// Orders the whole batch before its first lap word. Pairs with `TAKE` in `consumer.rs`.
pub(crate) const PUBLISH: Ordering = Ordering::Release;
/// Sees that the consumer has finished reading the slots it gives back. Pairs with `GIVE_BACK` in `consumer.rs`.
pub(crate) const SEE_HEAD: Ordering = Ordering::Acquire;

/// What a poster knows of the consumer's head: read again only when the ring may be full, because that line belongs to the other side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadCache {
    word: usize,
    seen: u64,
}

impl HeadCache {
    pub(crate) const fn new(word: usize, seen: u64) -> Self {
        Self { word, seen }
    }

    /// How many slots from `next` on are free; reads the shared head only when fewer than `want` are known to be. Of what is not
    /// `published` nothing can have been consumed.
    #[inline]
    pub(crate) fn room<M: WordMemory>(
        &mut self,
        memory: &M,
        lane: &Lane,
        published: u64,
        next: u64,
        want: u64,
    ) -> Result<u64, Violation> {
        let free = lane.entries().saturating_sub(next.saturating_sub(self.seen));
        if free >= want {
            return Ok(free);
        }
        let head = memory.load(self.word, SEE_HEAD);
        if head < self.seen || head > published {
            return Err(Violation::Head { found: head, least: self.seen, most: published });
        }
        self.seen = head;
        // Saturating: other posters may have claimed `next` after seeing a newer head than this one, which no ordering forbids; the
        // room behind an outdated head is unknown, hence none.
        Ok(lane.entries().saturating_sub(next.wrapping_sub(head)))
    }
}

/// Produces entries of `N` words into one lane; there is exactly one for a lane.
///
/// Staged entries are invisible until [`publish`](Self::publish), which makes the batch visible at once: all slots are written, the
/// first one's lap word last. Wait-free; nothing allocates.
#[derive(Debug)]
pub struct Producer<M, const N: usize> {
    memory: M,
    lane: Lane,
    head: HeadCache,
    /// The position before which entries may be staged without another look at the consumer's head.
    limit: u64,
    /// First word of the first staged entry: it is what publishes the batch.
    held: u64,
    first_staged: u64,
    next: Cursor,
}

impl<M: WordMemory, const N: usize> Producer<M, N> {
    /// A producer that continues at position `next`; `head_word` is where the consumer publishes what it has consumed, `head` what
    /// it is known to have consumed.
    pub fn new(memory: M, lane: Lane, head_word: usize, head: u64, next: u64) -> Self {
        // Wrapping, here and below: an honest position never gets there, but it was read from shared memory once.
        let limit = next.wrapping_add(lane.entries().saturating_sub(next.wrapping_sub(head)));
        Self {
            memory,
            lane,
            head: HeadCache::new(head_word, head),
            limit,
            held: 0,
            first_staged: next,
            next: Cursor::new(&lane, next),
        }
    }

    /// How many entries may be staged now. Reads the consumer's head only when fewer than `want` slots are known to be free.
    ///
    /// # Errors
    /// The consumer's head is from nowhere.
    #[inline]
    pub fn room(&mut self, want: u64) -> Result<u64, Violation> {
        let next = self.next.position();
        let free = self.limit.wrapping_sub(next);
        if free >= want {
            return Ok(free);
        }
        let free = self.head.room(&self.memory, &self.lane, self.first_staged, next, want)?;
        self.limit = next.wrapping_add(free);
        Ok(free)
    }

    /// Writes an entry to the next slot without making it visible. The low half of `entry[0]` is overwritten by the lap.
    ///
    /// The caller has asked [`room`](Self::room) before; without room nothing is written and the entry is not lost: it comes back.
    ///
    /// # Errors
    /// The entry, when no slot is known to be free.
    #[inline(always)]
    pub fn stage(&mut self, mut entry: [u64; N]) -> Result<(), [u64; N]> {
        if self.known_full() {
            return Err(entry);
        }
        let word = self.next.word();
        let first = with_lap(entry[0], self.next.lap());
        if self.next.position() == self.first_staged {
            self.memory.store_body(word, &entry);
            self.held = first;
        } else {
            entry[0] = first;
            // Relaxed: nobody looks at this slot before the first one of the batch is valid, and PUBLISH orders that.
            self.memory.store_slot(word, &entry);
        }
        self.next.step(&self.lane);
        Ok(())
    }

    /// Says that the entry at `place` will be staged soon, so that its line comes here meanwhile. All of a batch but its first, that is: with it
    /// the lines come at once, instead of one miss after the other (measured at batch 32 across two CPUs: ×1.19 to ×1.50), and the first is left where it is,
    /// since its consumer is looking at it.
    #[inline(always)]
    pub fn anticipate(&self, place: &Cursor) {
        self.memory.prefetch_write(place.word());
    }

    /// Makes all staged entries visible at once and returns how many there were.
    #[inline]
    pub fn publish(&mut self) -> u64 {
        let batch = self.staged();
        if batch > 0 {
            self.memory.store(self.lane.word(self.first_staged), self.held, PUBLISH);
            self.first_staged = self.next.position();
        }
        batch
    }

    /// True if no slot is known to be free; [`room`](Self::room) may find one.
    #[inline]
    pub fn known_full(&self) -> bool {
        self.next.position() == self.limit
    }

    /// Entries staged and not yet published.
    #[inline]
    pub fn staged(&self) -> u64 {
        self.next.position().wrapping_sub(self.first_staged)
    }

    /// The lane that the entries stand in.
    #[inline]
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The position that the next entry gets.
    #[inline]
    pub fn position(&self) -> u64 {
        self.next.position()
    }

    /// The slot that the next entry gets: the index of its extension.
    #[inline]
    pub fn slot(&self) -> usize {
        self.lane.slot(self.next.position())
    }

    /// The memory that the lane lives in.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }
}
