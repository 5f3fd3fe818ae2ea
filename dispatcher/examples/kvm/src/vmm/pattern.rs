// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in the blocks, made up again on each side: here and in `guest/volume.c`.

use fctl_dispatcher::volume::BLOCK_BYTES;

fn word(seed: u64, block: u64, word: u64) -> u64 {
    let of_block = (seed + block + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    of_block ^ (word + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// The bytes of `count` blocks from `first` on.
pub fn blocks(seed: u64, first: u64, count: u64) -> Vec<u8> {
    let words = (first..first + count).flat_map(|block| (0..BLOCK_BYTES / 8).map(move |index| word(seed, block, index)));
    words.flat_map(u64::to_le_bytes).collect()
}
