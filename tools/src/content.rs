// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in a block: a function of seed, block number and generation, so that any reader can tell whether it is right.
//!
//! 64 little-endian words: `FCTLBLOK`, seed, block number, generation, and 60 words of a SplitMix64 stream that starts from the
//! three. Generation 0 is a block of zeros: never written. `tools/check_image.py` knows the same rule.

/// Words in a block of 512 bytes.
pub const BLOCK_WORDS: usize = 64;
/// Bytes in a block.
pub const BLOCK_BYTES: usize = BLOCK_WORDS * 8;
/// The first word of every written block.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FCTLBLOK");

/// A block as words.
pub type Block = [u64; BLOCK_WORDS];

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
const GENERATION: u64 = 0xD1B5_4A32_D192_ED03;

/// The finishing step of SplitMix64.
#[inline]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// A block's content.
#[inline]
pub fn block(seed: u64, number: u64, generation: u32) -> Block {
    let mut words = [0; BLOCK_WORDS];
    if generation == 0 {
        return words;
    }
    let generation = u64::from(generation);
    let start = seed.wrapping_add(number.wrapping_mul(GAMMA)).wrapping_add(generation.wrapping_mul(GENERATION));
    let mut state = mix(start);
    for word in &mut words[4..] {
        state = state.wrapping_add(GAMMA);
        *word = mix(state);
    }
    words[..4].copy_from_slice(&[MAGIC, seed, number, generation]);
    words
}

/// The generation that a block's content claims; 0 if it claims none.
#[inline]
pub fn claimed_generation(words: &Block) -> u32 {
    if words[0] == MAGIC {
        u32::try_from(words[3]).unwrap_or(0)
    } else {
        0
    }
}

/// Whether a block is what it ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is, with this generation.
    Right(u32),
    /// It is whole, but of another generation than it ought to be: a write is missing, or one that was never done is there.
    Other(u32),
    /// It is not what anybody wrote: this many bytes differ.
    Wrong(u32),
}

/// Judges a block that ought to have generation `old` or `new`.
#[inline]
pub fn judge(words: &Block, seed: u64, number: u64, old: u32, new: u32) -> Judgement {
    let claimed = claimed_generation(words);
    let nearest = if claimed == old { old } else { new };
    if *words == block(seed, number, nearest) {
        return Judgement::Right(nearest);
    }
    if nearest != old && *words == block(seed, number, old) {
        return Judgement::Right(old);
    }
    if *words == block(seed, number, claimed) {
        return Judgement::Other(claimed);
    }
    Judgement::Wrong(differing(words, &block(seed, number, nearest)))
}

/// How many bytes differ.
pub fn differing(one: &Block, other: &Block) -> u32 {
    let differ =
        |(a, b): (&u64, &u64)| a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| u32::from(a != b)).sum::<u32>();
    one.iter().zip(other).map(differ).sum()
}

/// Pseudo-random numbers for the order of events: not for anything that must be hard to guess.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that depends on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit`, which is not 0.
    #[inline]
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(GAMMA);
        let product = u128::from(mix(self.0)) * u128::from(limit);
        // The high half is below `limit`.
        u32::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_says_whose_it_is_and_never_changes() {
        let words = block(7, 42, 3);
        assert_eq!(words[..4], [MAGIC, 7, 42, 3]);
        // Frozen: images of former runs, and the script beside this crate, depend on it.
        assert_eq!(words[4], 0xA7C6_B64B_80F9_4DA7, "{:#x}", words[4]);
        assert_eq!(block(7, 42, 0), [0; BLOCK_WORDS]);
    }

    #[test]
    fn a_block_is_judged_by_what_it_may_be() {
        assert_eq!(judge(&block(1, 2, 5), 1, 2, 5, 5), Judgement::Right(5));
        assert_eq!(judge(&block(1, 2, 0), 1, 2, 0, 5), Judgement::Right(0));
        assert_eq!(judge(&block(1, 2, 5), 1, 2, 0, 5), Judgement::Right(5));
        assert_eq!(judge(&block(1, 2, 4), 1, 2, 5, 6), Judgement::Other(4));
        assert_eq!(judge(&block(1, 2, 0), 1, 2, 5, 5), Judgement::Other(0));
        assert_eq!(judge(&block(1, 3, 5), 1, 2, 5, 5), Judgement::Wrong(differing(&block(1, 3, 5), &block(1, 2, 5))));
    }

    #[test]
    fn one_bit_is_one_wrong_byte_wherever_it_is() {
        for bit in (0..BLOCK_BYTES * 8).step_by(37) {
            let mut words = block(1, 2, 5);
            words[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(judge(&words, 1, 2, 5, 5), Judgement::Wrong(1), "bit {bit}");
        }
    }

    #[test]
    fn random_numbers_stay_below_their_limit() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 10];
        (0..1000).for_each(|_| seen[random.below(10) as usize] += 1);
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }
}
