// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model: for every block, the generation it has, or the two that it may have after a write that was stopped.
//!
//! It lies in the shared memory file, so that the volume's final image can be compared with it when the guest has gone.

use crate::shared::Words;
use fctl_ringabi::WordMemory as _;
use std::sync::atomic::Ordering;

/// What a block may hold: the generation `old`, or `new` if that is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MayBe {
    /// What was there before the last write that may not have happened.
    pub old: u32,
    /// What that write would have left there.
    pub new: u32,
}

impl MayBe {
    /// It is known which.
    pub fn is_certain(self) -> bool {
        self.old == self.new
    }

    const fn to_word(self) -> u64 {
        self.old as u64 | (self.new as u64) << 32
    }

    #[allow(clippy::cast_possible_truncation, reason = "the halves are what is asked for")]
    const fn from_word(word: u64) -> Self {
        Self { old: word as u32, new: (word >> 32) as u32 }
    }
}

/// What the volume holds, as its only writer knows it.
#[derive(Clone, Debug)]
pub struct Model {
    words: Words,
}

impl Model {
    /// The model in this part of the memory file. All zero: nothing was ever written.
    pub fn new(words: Words) -> Self {
        Self { words }
    }

    /// What a block may hold.
    pub fn block(&self, block: u32) -> MayBe {
        // Relaxed: the guest is the only writer, and whoever else reads has seen `Phase::Done` (or the guest's death) before.
        MayBe::from_word(self.words.load(block as usize, Ordering::Relaxed))
    }

    fn set(&self, block: u32, may_be: MayBe) {
        self.words.store(block as usize, may_be.to_word(), Ordering::Relaxed);
    }

    /// A write of these blocks is about to be posted: each keeps what it holds, or gets `generation`.
    pub fn begin_write(&self, blocks: std::ops::Range<u32>, generation: u32) {
        blocks.for_each(|block| self.set(block, MayBe { new: generation, ..self.block(block) }));
    }

    /// The write was done.
    pub fn written(&self, blocks: std::ops::Range<u32>) {
        blocks.for_each(|block| {
            let new = self.block(block).new;
            self.set(block, MayBe { old: new, new });
        });
    }

    /// The write never began.
    pub fn not_written(&self, blocks: std::ops::Range<u32>) {
        blocks.for_each(|block| {
            let old = self.block(block).old;
            self.set(block, MayBe { old, new: old });
        });
    }

    /// A block was read, and this is what it holds.
    pub fn found(&self, block: u32, generation: u32) {
        self.set(block, MayBe { old: generation, new: generation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{map, Layout};
    use fctl_dispatcher::region::sealed_memory_file;

    fn model() -> Model {
        let file = sealed_memory_file("fctl-model", 8192).unwrap();
        Model::new(map(&file, Layout::BOARD).unwrap())
    }

    #[test]
    fn a_write_is_uncertain_until_its_end_is_known() {
        let model = model();
        model.begin_write(3..5, 7);
        assert_eq!(model.block(3), MayBe { old: 0, new: 7 });
        assert!(!model.block(4).is_certain() && model.block(5).is_certain());
        model.written(3..5);
        assert_eq!(model.block(4), MayBe { old: 7, new: 7 });
        model.begin_write(4..6, 8);
        model.not_written(4..6);
        assert_eq!((model.block(4).new, model.block(5).new), (7, 0));
    }

    #[test]
    fn a_stopped_write_stays_uncertain_block_by_block_until_it_is_read() {
        let model = model();
        model.begin_write(0..2, 1);
        model.found(0, 1);
        assert_eq!((model.block(0), model.block(1)), (MayBe { old: 1, new: 1 }, MayBe { old: 0, new: 1 }));
        model.found(1, 0);
        assert!(model.block(1).is_certain());
    }
}
