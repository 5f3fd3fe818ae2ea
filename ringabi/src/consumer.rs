// SPDX-License-Identifier: MIT OR Apache-2.0
//! The consuming side of a lane: take entries one by one, give their slots back lazily.

use crate::lane::{lap_of, Cursor, Lane};
use crate::memory::WordMemory;
use crate::violation::Violation;
use core::sync::atomic::Ordering;

/// Sees everything that was written before the lap word. Pairs with `PUBLISH` in `producer.rs`.
const TAKE: Ordering = Ordering::Acquire;
/// Orders the reads of the slots before they may be written again. Pairs with `SEE_HEAD` in `producer.rs`.
const GIVE_BACK: Ordering = Ordering::Release;

/// Consumes entries of `N` words from one lane; there is exactly one for a lane.
///
/// Each entry is read once, into a copy. Slots are given back when a quarter of the ring was consumed, or by [`give_back`](Self::give_back):
/// the producer reads that word only when the ring may be full, so writing it for each entry would only move a cache line about.
#[derive(Debug)]
pub struct Consumer<M, const N: usize> {
    memory: M,
    lane: Lane,
    head_word: usize,
    head: Cursor,
    given_back: u64,
    lazily: u64,
}

impl<M: WordMemory, const N: usize> Consumer<M, N> {
    /// A consumer that continues at position `head` and publishes what it has consumed in `head_word`.
    pub fn new(memory: M, lane: Lane, head_word: usize, head: u64) -> Self {
        Self { memory, lane, head_word, head: Cursor::new(&lane, head), given_back: head, lazily: (lane.entries() / 4).max(1) }
    }

    /// Takes the next entry if it is there.
    ///
    /// # Errors
    /// The slot carries a lap from nowhere; the position is not advanced.
    #[inline]
    pub fn take(&mut self) -> Result<Option<[u64; N]>, Violation> {
        let entry = self.peek()?;
        if entry.is_some() {
            self.advance();
        }
        Ok(entry)
    }

    /// Reads the next entry into a copy and leaves its slot taken: for a consumer that has more to read beside the slot.
    /// [`advance`](Self::advance) must follow before the next one can be read.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn peek(&self) -> Result<Option<[u64; N]>, Violation> {
        self.peek_at(&self.head)
    }

    /// The same of the entry at `place`, which is at the head or behind it: for a consumer that takes several at once, by [`advance_to`](Self::advance_to).
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline(always)]
    pub fn peek_at(&self, place: &Cursor) -> Result<Option<[u64; N]>, Violation> {
        let (word, expected) = (place.word(), place.lap());
        let first = self.memory.load(word, TAKE);
        if lap_of(first) != expected {
            return Self::nothing(first, place);
        }
        let mut entry = [first; N];
        self.memory.load_body(word, &mut entry);
        Ok(Some(entry))
    }

    /// How many entries are there, looking at `most` at most; and in which bits of their first words any of them differs from `like`: a hint of what will come.
    ///
    /// To look at all lap words before the first entry is taken lets their cache misses overlap (measured at batch 32 across two CPUs: ×1.05 to ×1.21).
    /// A lap from nowhere counts: taking it will tell.
    #[inline]
    pub fn look(&self, most: u64, like: u64) -> (u64, u64) {
        let (mut count, mut unlike, mut at) = (0, 0, self.head);
        while count < most {
            // TAKE: who sees the first of a batch sees all of it. `peek` reads this word again, before anything behind it.
            let first = self.memory.load(at.word(), TAKE);
            if lap_of(first) == at.lap().wrapping_sub(1) {
                break;
            }
            unlike |= first ^ like;
            count += 1;
            at.step(&self.lane);
        }
        (count, unlike)
    }

    /// Where the head stands.
    #[inline]
    pub const fn head(&self) -> Cursor {
        self.head
    }

    /// The position at which a quarter of the ring will have been consumed since slots were given back: [`advance_to`](Self::advance_to) is due there, at the latest.
    #[inline]
    pub const fn due(&self) -> u64 {
        self.given_back.wrapping_add(self.lazily)
    }

    /// The lane that the entries stand in.
    #[inline]
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// A word of the entry that is `ahead` of the next one, as it stands now: a hint of what will come, for [`peek`](Self::peek) decides that.
    #[inline]
    pub fn hint(&self, ahead: u64, word: usize) -> u64 {
        debug_assert!(word < N, "a word of the entry");
        self.memory.load(self.lane.word(self.head.position().wrapping_add(ahead)) + word, Ordering::Relaxed)
    }

    /// Says that the entry at `place` will be looked at soon. Only of entries that are sure to be there: else their producer loses lines
    /// that it is writing.
    #[inline(always)]
    pub fn anticipate(&self, place: &Cursor) {
        self.memory.prefetch_read(place.word());
    }

    /// Steps over the entry that [`peek`](Self::peek) has read. True if slots were given back with it.
    #[inline]
    pub fn advance(&mut self) -> bool {
        let mut next = self.head;
        next.step(&self.lane);
        self.advance_to(next)
    }

    /// Steps over all entries before `place`, which [`peek_at`](Self::peek_at) has read. True if slots were given back with them.
    #[inline]
    pub fn advance_to(&mut self, place: Cursor) -> bool {
        self.head = place;
        self.head.position().wrapping_sub(self.given_back) >= self.lazily && self.give_back()
    }

    #[cold]
    fn nothing(first: u64, place: &Cursor) -> Result<Option<[u64; N]>, Violation> {
        let (found, expected) = (lap_of(first), place.lap());
        if found == expected.wrapping_sub(1) {
            return Ok(None);
        }
        Err(Violation::Lap { position: place.position(), found, expected })
    }

    /// True if no valid entry stands at the head. A lap from nowhere counts as "something is there": taking it will tell.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let first = self.memory.load(self.head.word(), TAKE);
        lap_of(first) == self.head.lap().wrapping_sub(1)
    }

    /// Gives all consumed slots back to the producer now. True if there were any.
    #[inline]
    pub fn give_back(&mut self) -> bool {
        let head = self.head.position();
        if self.given_back == head {
            return false;
        }
        self.memory.store(self.head_word, head, GIVE_BACK);
        self.given_back = head;
        true
    }

    /// The position of the next entry.
    #[inline]
    pub fn position(&self) -> u64 {
        self.head.position()
    }

    /// The slot of the next entry: the index of its extension.
    #[inline]
    pub fn slot(&self) -> usize {
        self.lane.slot(self.head.position())
    }

    /// The memory that the lane lives in.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }
}
