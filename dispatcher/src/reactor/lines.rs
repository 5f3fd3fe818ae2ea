// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts that wait for an engine slot: a line for each ring, and the rings take turns.
//!
//! With one line for all, a ring that keeps hundreds of starts waiting takes as many of the slots as it has places in the line, and the one start of
//! another ring waits for all of those (measured on a busy machine with 8 slots, 128 starts of one ring and one each of fifteen others: the p99 of what
//! these wait was ×13 to ×500 of what it is without the one; in turn it is ×1.0 to ×1.4).

use std::collections::VecDeque;

/// Subchannels with a start that waits. Each stands here at most once, and nothing allocates for those there is [room](Self::reserve) for.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By the place of the ring.
    lines: Vec<VecDeque<u32>>,
    /// Rings with somebody in line, each once; the first is the next.
    rings: VecDeque<u32>,
}

impl Lines {
    /// Makes room for so many subchannels of a ring.
    pub(super) fn reserve(&mut self, ring: u32, subchannels: usize) {
        let place = ring as usize;
        if self.lines.len() <= place {
            self.lines.resize_with(place + 1, VecDeque::new);
        }
        let line = &mut self.lines[place];
        line.reserve(subchannels.saturating_sub(line.len()));
        self.rings.reserve(self.lines.len() - self.rings.len());
    }

    /// A subchannel of this ring gets into line.
    pub(super) fn push(&mut self, ring: u32, subchannel: u32) {
        let Some(line) = self.lines.get_mut(ring as usize) else {
            debug_assert!(false, "there is a line for each ring with subchannels");
            return;
        };
        if line.is_empty() {
            self.rings.push_back(ring);
        }
        line.push_back(subchannel);
    }

    /// True if nobody waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rings.is_empty()
    }

    /// Who is next, of the rings whose turn it may be.
    #[inline]
    pub(super) fn pop(&mut self, may: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..self.rings.len() {
            let ring = self.rings.pop_front()?;
            if !may(ring) {
                self.rings.push_back(ring);
                continue;
            }
            let line = self.lines.get_mut(ring as usize)?;
            let next = line.pop_front();
            if !line.is_empty() {
                self.rings.push_back(ring);
            }
            return next;
        }
        None
    }

    /// A subchannel does not wait any more.
    pub(super) fn forget(&mut self, subchannel: u32) {
        for line in &mut self.lines {
            line.retain(|&other| other != subchannel);
        }
        let lines = &self.lines;
        self.rings.retain(|&ring| lines.get(ring as usize).is_some_and(|line| !line.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    fn lines(waiting: &[(u32, u32)]) -> Lines {
        let mut lines = Lines::default();
        for &(ring, subchannel) in waiting {
            lines.reserve(ring, 8);
            lines.push(ring, subchannel);
        }
        lines
    }

    #[test]
    fn rings_take_turns_and_each_ring_keeps_its_order() {
        let mut lines = lines(&[(2, 20), (2, 21), (2, 22), (0, 1), (5, 50), (5, 51)]);
        let order: Vec<_> = std::iter::from_fn(|| lines.pop(|_| true)).collect();
        assert_eq!(order, [20, 1, 50, 21, 51, 22]);
        assert_eq!(lines.pop(|_| true), None);
    }

    #[test]
    fn a_ring_that_may_not_be_next_keeps_its_line() {
        let mut lines = lines(&[(0, 1), (1, 2), (1, 3)]);
        assert_eq!([lines.pop(|ring| ring != 1), lines.pop(|ring| ring != 1)], [Some(1), None]);
        assert_eq!([lines.pop(|_| true), lines.pop(|_| true)], [Some(2), Some(3)]);
    }

    #[test]
    fn who_has_gone_is_not_waited_for() {
        let mut lines = lines(&[(0, 1), (1, 2), (1, 3)]);
        lines.forget(1);
        lines.forget(2);
        lines.push(0, 4);
        let mut pop = || lines.pop(|_| true);
        assert_eq!([pop(), pop(), pop()], [Some(3), Some(4), None]);
    }
}
