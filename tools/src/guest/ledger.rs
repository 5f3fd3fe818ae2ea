// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's ledger: a bitmap of tags. Every tag that was posted must come back in exactly one final completion.

use std::collections::VecDeque;

/// What a final completion's tag turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Posted, and this is its final.
    Once,
    /// It had its final before.
    Twice,
    /// Nobody posted it.
    Stray,
}

/// A bitmap of tags. Tags are given in order from 1; words of which every tag is settled are dropped at the old end.
#[derive(Debug, Default)]
pub struct Ledger {
    settled: VecDeque<u64>,
    /// Words dropped.
    dropped: u64,
    posted: u64,
    finals: u64,
    twice: u64,
}

impl Ledger {
    /// The tag that [`post`](Self::post) will give out next.
    pub fn next_tag(&self) -> u64 {
        self.posted + 1
    }

    /// Enters a tag: it was posted.
    pub fn post(&mut self) -> u64 {
        let index = self.posted;
        self.posted += 1;
        if index / 64 >= self.dropped + self.settled.len() as u64 {
            self.settled.push_back(0);
        }
        self.posted
    }

    /// Settles a tag: its final completion was taken.
    pub fn settle(&mut self, tag: u64) -> Settled {
        let Some(index) = tag.checked_sub(1).filter(|_| tag <= self.posted) else {
            return Settled::Stray;
        };
        let mask = 1 << (index % 64);
        let word = (index / 64).checked_sub(self.dropped).and_then(|word| self.settled.get_mut(usize::try_from(word).ok()?));
        match word {
            Some(word) if *word & mask == 0 => *word |= mask,
            // A word that was dropped was full.
            _ => {
                self.twice += 1;
                return Settled::Twice;
            }
        }
        self.finals += 1;
        while self.settled.front() == Some(&u64::MAX) {
            self.settled.pop_front();
            self.dropped += 1;
        }
        Settled::Once
    }

    /// Tags posted.
    pub fn posted(&self) -> u64 {
        self.posted
    }

    /// Tags settled.
    pub fn finals(&self) -> u64 {
        self.finals
    }

    /// Finals of tags that were settled already.
    pub fn twice(&self) -> u64 {
        self.twice
    }

    /// Tags that wait for their final.
    pub fn open(&self) -> u64 {
        self.posted - self.finals
    }

    /// The oldest tag that waits for its final.
    pub fn first_open(&self) -> Option<u64> {
        let (word, bits) = self.settled.iter().enumerate().find(|(_, &bits)| bits != u64::MAX)?;
        let tag = (self.dropped + word as u64) * 64 + u64::from(bits.trailing_ones()) + 1;
        (tag <= self.posted).then_some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_is_settled_once_in_any_order() {
        let mut ledger = Ledger::default();
        let tags: Vec<u64> = (0..1000).map(|_| ledger.post()).collect();
        assert_eq!((tags[0], tags[999], ledger.next_tag()), (1, 1000, 1001));
        for &tag in tags.iter().rev() {
            assert_eq!(ledger.settle(tag), Settled::Once);
        }
        assert_eq!((ledger.posted(), ledger.finals(), ledger.open(), ledger.first_open()), (1000, 1000, 0, None));
        assert_eq!(ledger.settle(5), Settled::Twice, "although its word was dropped");
        assert_eq!(ledger.twice(), 1);
    }

    #[test]
    fn a_lost_tag_is_named_and_what_is_dropped_keeps_it() {
        let mut ledger = Ledger::default();
        for _ in 0..10_000 {
            let tag = ledger.post();
            if tag != 4321 {
                assert_eq!(ledger.settle(tag), Settled::Once);
            }
        }
        assert_eq!((ledger.open(), ledger.first_open()), (1, Some(4321)));
        assert_eq!(ledger.dropped, 67);
    }

    #[test]
    fn a_tag_that_nobody_posted_is_stray() {
        let mut ledger = Ledger::default();
        ledger.post();
        assert_eq!(ledger.settle(0), Settled::Stray);
        assert_eq!(ledger.settle(2), Settled::Stray);
        assert_eq!(ledger.settle(u64::MAX), Settled::Stray);
        assert_eq!((ledger.open(), ledger.twice()), (1, 0));
    }
}
