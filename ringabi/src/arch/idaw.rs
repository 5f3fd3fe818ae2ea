// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indirect-data-address words: the entries of the lists that scatter and gather a CCW's data.

use bitflags::bitflags;
use zerocopy::byteorder::{BE, U16, U64};

use crate::wire::wire;

/// The format of a program's IDAWs and the size of the blocks they designate (ORB word 1 bits 14-15).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IdawFormat {
    /// 31-bit addresses of 2 KiB blocks.
    One2K,
    /// 64-bit addresses of 4 KiB blocks.
    Two4K,
    /// 64-bit addresses of 2 KiB blocks.
    Two2K,
}

impl IdawFormat {
    /// Length of an entry in bytes, which is also the alignment of the list.
    #[inline]
    #[must_use]
    pub const fn entry_len(self) -> u8 {
        match self {
            Self::One2K => 4,
            Self::Two4K | Self::Two2K => 8,
        }
    }

    /// Length of a block in bytes.
    #[inline]
    #[must_use]
    pub const fn block_len(self) -> u16 {
        match self {
            Self::One2K | Self::Two2K => 2048,
            Self::Two4K => 4096,
        }
    }

    /// How many bytes lie from `address` upward to the end of its block: what one entry covers, 1 to
    /// [`block_len`](Self::block_len).
    #[inline]
    #[must_use]
    pub const fn forward_len(self, address: u64) -> u16 {
        self.block_len() - self.offset_in_block(address)
    }

    /// The same for read backward, which runs from `address` down to the start of its block.
    #[inline]
    #[must_use]
    pub const fn backward_len(self, address: u64) -> u16 {
        self.offset_in_block(address) + 1
    }

    /// Whether an entry after the first may hold `address`: it must cover a whole block.
    #[inline]
    #[must_use]
    pub const fn may_follow(self, address: u64, backward: bool) -> bool {
        let len = if backward { self.backward_len(address) } else { self.forward_len(address) };
        len == self.block_len()
    }

    #[inline]
    const fn offset_in_block(self, address: u64) -> u16 {
        (address & 0xFFFF) as u16 & (self.block_len() - 1)
    }
}

/// A format-1 IDAW: a 31-bit address. Principles of Operation ch. 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Idaw1(u32);

impl Idaw1 {
    /// Length in bytes.
    pub const SIZE: usize = 4;

    /// Takes the entry from its bytes.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; 4]) -> Self {
        Self(u32::from_be_bytes(*bytes))
    }

    /// The data address, or `None` if bit 0 is one: a program check.
    #[inline]
    #[must_use]
    pub const fn address(self) -> Option<u64> {
        if self.0 & 0x8000_0000 == 0 {
            Some(self.0 as u64)
        } else {
            None
        }
    }
}

/// A format-2 IDAW: a 64-bit address; every value is one. Principles of Operation ch. 15.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Idaw2(u64);

impl Idaw2 {
    /// Length in bytes.
    pub const SIZE: usize = 8;

    /// Takes the entry from its bytes.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; 8]) -> Self {
        Self(u64::from_be_bytes(*bytes))
    }

    /// The data address.
    #[inline]
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0
    }
}

wire! {
    /// Modified indirect-data-address word: an address with a length of its own. Principles of Operation ch. 15.
    pub struct Midaw: 16 {
        0 => reserved_0: [u8; 5],
        5 => flags: u8,
        6 => count: U16<BE>,
        8 => address: U64<BE>,
    }
}

bitflags! {
    /// The flags of a MIDAW. Principles of Operation ch. 15.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct MidawFlags: u8 {
        /// The last entry of the list.
        const LAST = 0x80;
        /// Input is not stored.
        const SKIP = 0x40;
        /// An intermediate interruption is wanted when this entry's transfer begins.
        const DATA_TRANSFER_INTERRUPTION = 0x20;
    }
}

impl Midaw {
    /// An entry of `count` bytes at `address`.
    #[inline]
    #[must_use]
    pub const fn new(flags: MidawFlags, count: u16, address: u64) -> Self {
        Self { reserved_0: [0; 5], flags: flags.bits(), count: U16::new(count), address: U64::new(address) }
    }

    /// The flags, with undefined ones.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> MidawFlags {
        MidawFlags::from_bits_retain(self.flags)
    }

    /// The number of bytes.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count.get()
    }

    /// The data address.
    #[inline]
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address.get()
    }

    /// Whether the entry is well formed in itself; if not, it is a program check. Reserved bits must be zero, the count
    /// 1 to 4096, and without skip the bytes must lie within one 4 KiB page. (The counts' sum is the list's affair.)
    #[inline]
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let count = self.count();
        let offset = (self.address() & 0xFFF) as u16;
        self.reserved_0 == [0; 5]
            && MidawFlags::from_bits(self.flags).is_some()
            && (1..=4096).contains(&count)
            && (self.flags().contains(MidawFlags::SKIP) || offset + count <= 4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_1_has_31_bits_and_format_2_has_64() {
        assert_eq!(Idaw1::from_bytes(&[0x7F, 0xFF, 0xF8, 0x00]).address(), Some(0x7FFF_F800));
        assert_eq!(Idaw1::from_bytes(&[0x80, 0, 0, 0]).address(), None);
        assert_eq!(Idaw2::from_bytes(&[0x81, 2, 3, 4, 5, 6, 7, 8]).address(), 0x8102_0304_0506_0708);
    }

    #[test]
    fn entries_after_the_first_cover_whole_blocks() {
        assert_eq!((IdawFormat::One2K.entry_len(), IdawFormat::Two4K.entry_len()), (4, 8));
        for (format, block) in [(IdawFormat::One2K, 2048), (IdawFormat::Two2K, 2048), (IdawFormat::Two4K, 4096)] {
            assert_eq!(format.forward_len(0x10_0000), block);
            assert_eq!(format.forward_len(0x10_0001), block - 1);
            assert_eq!(format.backward_len(0x10_0FFF), block);
            assert_eq!(format.backward_len(0x10_0000), 1);
            assert!(format.may_follow(0x10_0000, false) && !format.may_follow(0x10_0001, false));
            assert!(format.may_follow(0x10_0FFF, true) && !format.may_follow(0x10_0000, true));
        }
        assert!(IdawFormat::Two2K.may_follow(0x800, false) && !IdawFormat::Two4K.may_follow(0x800, false));
    }

    #[test]
    fn a_literal_midaw_decodes() {
        let midaw = Midaw::from_bytes(&[0, 0, 0, 0, 0, 0x80, 0x02, 0x00, 0, 0, 0, 1, 0, 0, 0x0E, 0x00]);
        assert_eq!((midaw.flags(), midaw.count(), midaw.address()), (MidawFlags::LAST, 512, 0x1_0000_0E00));
        assert!(midaw.is_valid());
        assert_eq!(midaw, Midaw::new(MidawFlags::LAST, 512, 0x1_0000_0E00));
    }

    #[test]
    fn a_midaw_stays_in_its_page_unless_it_skips() {
        let none = MidawFlags::empty();
        assert!(Midaw::new(none, 4096, 0x1000).is_valid());
        assert!(!Midaw::new(none, 4096, 0x1001).is_valid());
        assert!(Midaw::new(MidawFlags::SKIP, 4096, 0x1001).is_valid());
        assert!(!Midaw::new(MidawFlags::SKIP, 4097, 0x1000).is_valid());
        assert!(!Midaw::new(none, 0, 0x1000).is_valid());
        assert!(!Midaw::new(none, u16::MAX, u64::MAX).is_valid());
    }

    #[test]
    fn reserved_bits_of_a_midaw_are_refused() {
        let good = Midaw::new(MidawFlags::all(), 1, 0).to_bytes();
        assert!(Midaw::from_bytes(&good).is_valid());
        for bit in (0..40).chain(43..48) {
            let mut bytes = good;
            bytes[bit / 8] |= 0x80 >> (bit % 8);
            assert!(!Midaw::from_bytes(&bytes).is_valid(), "bit {bit}");
        }
    }
}
