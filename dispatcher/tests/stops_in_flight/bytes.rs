// SPDX-License-Identifier: MIT OR Apache-2.0
//! What bytes stand where, so that every byte tells who wrote it.

/// One operation of the kernel: the devices of these tests move no more at once.
pub const PIECE: u64 = 4096;
/// The most pieces of one start.
pub const MOST_PIECES: u64 = 2;
/// A start's buffer, and its place on the volume.
pub const AREA: u64 = PIECE * MOST_PIECES;

const BLOCK: u64 = 512;

fn repeated(word: u64, length: u64) -> Vec<u8> {
    word.to_le_bytes().repeat(usize::try_from(length / 8).unwrap())
}

/// Each block is full of a word of its own.
fn blocks(offset: u64, length: u64, word: impl Fn(u64) -> u64) -> Vec<u8> {
    (offset / BLOCK..(offset + length) / BLOCK).map(|block| repeated(word(block), BLOCK)).collect::<Vec<_>>().concat()
}

fn on_volume(block: u64) -> u64 {
    (block + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What a volume holds where nobody has written.
pub fn pattern(offset: u64, length: u64) -> Vec<u8> {
    blocks(offset, length, on_volume)
}

/// What a start that writes there writes there.
pub fn written(offset: u64, length: u64) -> Vec<u8> {
    blocks(offset, length, |block| !on_volume(block))
}

/// What nobody but the test ever stores: the canary with this number.
pub fn canary(number: u64, length: u64) -> Vec<u8> {
    repeated(0xCA11_A57E << 32 | number, length)
}

/// A small generator of random numbers (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1)
    }

    /// One of 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
