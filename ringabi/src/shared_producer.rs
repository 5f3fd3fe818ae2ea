// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many producers on one lane, without a lock: a ticket for the slots, the lap for their validity.

use crate::lane::{with_lap, Lane};
use crate::memory::WordMemory;
use crate::producer::{HeadCache, PUBLISH};
use crate::violation::Violation;
use core::sync::atomic::Ordering;

/// One of several producers into the same lane, one for each thread or virtual CPU.
///
/// Slots are claimed by compare-and-swap on a ticket word that belongs to the producing side. Because validity travels in
/// the slot, a producer that is held up delays what comes after its slots but breaks nothing.
#[derive(Clone, Debug)]
pub struct SharedProducer<M, const N: usize> {
    memory: M,
    lane: Lane,
    head: HeadCache,
    ticket_word: usize,
}

impl<M: WordMemory, const N: usize> SharedProducer<M, N> {
    /// A producer that claims slots from `ticket_word`. `head` is a position that is known to be consumed (zero will do).
    pub fn new(memory: M, lane: Lane, head_word: usize, head: u64, ticket_word: usize) -> Self {
        Self { memory, lane, head: HeadCache::new(head_word, head), ticket_word }
    }

    /// Posts all of `batch` to neighbouring slots, visible at once. Returns false, and writes nothing, when there is not room for all.
    ///
    /// # Errors
    /// The consumer's head is from nowhere.
    pub fn post(&mut self, batch: &[[u64; N]]) -> Result<bool, Violation> {
        let want = batch.len() as u64;
        if want == 0 {
            return Ok(true);
        }
        let mut ticket = self.memory.load(self.ticket_word, Ordering::Relaxed);
        loop {
            // The head is read by this producer itself, so that what the consumer read of these slots happened before they are
            // written here, whoever else saw that head before.
            let free = match self.head.room(&self.memory, &self.lane, ticket, ticket, want) {
                Ok(free) => free,
                // The ticket may be older than the head that was read; only a fresh one can accuse the consumer.
                Err(violation) => {
                    let fresh = self.memory.load(self.ticket_word, Ordering::Relaxed);
                    if fresh == ticket {
                        return Err(violation);
                    }
                    ticket = fresh;
                    continue;
                }
            };
            if free < want {
                return Ok(false);
            }
            // Wrapping, here and below: an honest ticket never gets there, but anybody can write that word.
            match self.memory.compare_exchange(self.ticket_word, ticket, ticket.wrapping_add(want)) {
                Ok(_) => break,
                Err(found) => ticket = found,
            }
        }
        for (index, entry) in (0..).zip(batch) {
            let position = ticket.wrapping_add(index);
            let word = self.lane.word(position);
            self.memory.store_body(word, entry);
            if position != ticket {
                // Relaxed: as in `Producer::stage`.
                self.memory.store(word, with_lap(entry[0], self.lane.lap(position)), Ordering::Relaxed);
            }
        }
        self.memory.store(self.lane.word(ticket), with_lap(batch[0][0], self.lane.lap(ticket)), PUBLISH);
        Ok(true)
    }

    /// The memory that the lane lives in.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }
}
