// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lane: the slots of one ring within word memory, and how a position becomes a slot and a lap.

/// The slots of one ring: where they are, how far apart, how many.
///
/// A *position* counts entries since the ring was formatted and never wraps in practice (64 bits). Its low bits choose
/// the slot, the rest, plus one, is the *lap* that makes the slot valid. So zeroed memory holds no valid entry, and a
/// slot that was not yet written again still carries the lap before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    first_word: usize,
    stride_words: usize,
    end_word: usize,
    entries_log2: u32,
}

/// A place in a lane that moves on slot by slot: word and lap of the next slot are kept instead of being computed from the position each time (measured
/// with null STARTs, together with the same in [`Producer`](crate::Producer): see `docs/performance.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    position: u64,
    word: usize,
    lap: u32,
}

impl Cursor {
    /// At `position` of `lane`.
    pub const fn new(lane: &Lane, position: u64) -> Self {
        Self { position, word: lane.word(position), lap: lane.lap(position) }
    }

    /// The position.
    #[inline(always)]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The index of the first word of the slot.
    #[inline(always)]
    pub(crate) const fn word(&self) -> usize {
        self.word
    }

    /// The lap that makes the slot valid.
    #[inline(always)]
    pub(crate) const fn lap(&self) -> u32 {
        self.lap
    }

    /// Steps to the next slot of `lane`, which is the one that it was made for.
    #[inline(always)]
    pub fn step(&mut self, lane: &Lane) {
        // Wrapping: an honest position never gets there, but it was read from shared memory once.
        self.position = self.position.wrapping_add(1);
        self.word += lane.stride_words;
        if self.word == lane.end_word {
            (self.word, self.lap) = lane.anew(self.lap);
        }
    }
}

impl Lane {
    /// A lane of `2^entries_log2` slots of `stride_words` words each, from word `first_word` on.
    pub const fn new(first_word: usize, stride_words: usize, entries_log2: u32) -> Self {
        Self { first_word, stride_words, end_word: first_word + (stride_words << entries_log2), entries_log2 }
    }

    /// The number of slots.
    #[inline(always)]
    pub const fn entries(&self) -> u64 {
        1 << self.entries_log2
    }

    /// The slot that `position` uses, counted from zero.
    #[inline(always)]
    pub const fn slot(&self, position: u64) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the masked value is below the number of slots, which was a usize before"
        )]
        let slot = (position & (self.entries() - 1)) as usize;
        slot
    }

    /// The index of the first word of `position`'s slot.
    #[inline(always)]
    pub const fn word(&self, position: u64) -> usize {
        self.first_word + self.slot(position) * self.stride_words
    }

    /// The lap that makes `position`'s slot valid.
    #[inline(always)]
    pub const fn lap(&self, position: u64) -> u32 {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the lap is defined as the low 32 bits; neighbouring laps still differ when it wraps"
        )]
        let lap = (position >> self.entries_log2) as u32;
        lap.wrapping_add(1)
    }

    /// Word and lap of the first slot, behind a lap. Out of line: a step is then a branch that is hardly ever taken, and not a choice made each time.
    #[cold]
    #[inline(never)]
    const fn anew(&self, lap: u32) -> (usize, u32) {
        (self.first_word, lap.wrapping_add(1))
    }

    /// The words that the lane covers, from the region's start: one past its last.
    pub const fn end_word(&self) -> usize {
        self.end_word
    }
}

/// Replaces the low half of an entry's first word, where the lap lives.
#[inline(always)]
pub(crate) const fn with_lap(word: u64, lap: u32) -> u64 {
    (word & !0xFFFF_FFFF) | lap as u64
}

/// The lap in an entry's first word.
#[inline(always)]
pub(crate) const fn lap_of(word: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    let lap = word as u32;
    lap
}
