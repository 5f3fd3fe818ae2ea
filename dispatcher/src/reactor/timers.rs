// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timers: at most one for each subchannel, in a heap that knows where everything is, so that setting one again moves it.

/// Not in the heap.
const ABSENT: u32 = u32::MAX;

/// A binary heap of deadlines, indexed by subchannel.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<(u64, u32)>,
    position: Vec<u32>,
}

impl Timers {
    /// Makes room for subchannels `0..count`, so that setting a timer never allocates.
    pub(super) fn reserve(&mut self, count: usize) {
        if self.position.len() < count {
            self.position.resize(count, ABSENT);
            self.heap.reserve(count - self.heap.len());
        }
    }

    /// The earliest deadline.
    #[inline]
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.first().map(|&(due, _)| due)
    }

    /// The deadline of `index`.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<u64> {
        if self.heap.is_empty() {
            return None;
        }
        let &at = self.position.get(index as usize)?;
        self.heap.get(at as usize).map(|&(due, _)| due)
    }

    /// Sets, moves, or (with none) takes away the timer of `index`.
    pub(super) fn set(&mut self, index: u32, due: Option<u64>) {
        let Some(&at) = self.position.get(index as usize) else {
            return;
        };
        match (at, due) {
            (ABSENT, None) => {}
            (ABSENT, Some(due)) => {
                self.heap.push((due, index));
                self.up(self.heap.len() - 1);
            }
            (at, None) => self.remove(at as usize),
            (at, Some(due)) => {
                if let Some(entry) = self.heap.get_mut(at as usize) {
                    entry.0 = due;
                }
                self.up(at as usize);
                self.down(at as usize);
            }
        }
    }

    /// Takes a timer that is due.
    pub(super) fn pop(&mut self, now: u64) -> Option<u32> {
        let &(due, index) = self.heap.first()?;
        if due > now {
            return None;
        }
        self.remove(0);
        Some(index)
    }

    fn remove(&mut self, at: usize) {
        let last = self.heap.len() - 1;
        self.heap.swap(at, last);
        if let Some((_, index)) = self.heap.pop() {
            self.position[index as usize] = ABSENT;
        }
        if at < self.heap.len() {
            self.place(at);
            self.up(at);
            self.down(at);
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "there are at most as many timers as subchannels, which are numbered in 32 bits"
    )]
    fn place(&mut self, at: usize) {
        let (_, index) = self.heap[at];
        self.position[index as usize] = at as u32;
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= self.heap[at].0 {
                break;
            }
            self.heap.swap(parent, at);
            self.place(at);
            at = parent;
        }
        self.place(at);
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.heap[child].0 < self.heap[least].0 {
                    least = child;
                }
            }
            if least == at {
                break;
            }
            self.heap.swap(least, at);
            self.place(at);
            at = least;
        }
        if at < self.heap.len() {
            self.place(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn timers_come_in_order_and_each_subchannel_has_one(steps in prop::collection::vec((0u32..20, prop::option::of(0u64..100)), 0..200)) {
            let mut timers = Timers::default();
            timers.reserve(20);
            let mut model = BTreeMap::new();
            for (index, due) in steps {
                timers.set(index, due);
                match due {
                    Some(due) => { model.insert(index, due); }
                    None => { model.remove(&index); }
                }
                prop_assert_eq!(timers.next(), model.values().min().copied());
            }
            let mut last = 0;
            while let Some(next) = timers.next() {
                prop_assert!(next >= last);
                prop_assert_eq!(next.checked_sub(1).and_then(|early| timers.pop(early)), None);
                let index = timers.pop(next).unwrap();
                prop_assert_eq!(model.remove(&index), Some(next));
                last = next;
            }
            prop_assert!(model.is_empty());
        }
    }
}
