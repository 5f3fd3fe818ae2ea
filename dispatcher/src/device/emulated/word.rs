// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CCW as one word: most of what is asked of it is answered by a mask.

use fctl_ringabi::arch::{Ccw, CcwFlags, CcwFormat};

/// A CCW in one register, laid out as format 1 has it: command, flags, count, address. (A [`Ccw`] takes four, and was put together and taken apart on its way: measured as
/// 13 instructions for the CCW of a command, 19 for a data-chained one.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CcwWord(u64);

impl CcwWord {
    /// Before the first one.
    pub const NONE: Self = Self(0);

    /// Command 07: of the classes' low bits those that neither an invalid command nor a transfer in channel has.
    const COMMAND: u64 = 0x07 << 56;
    /// All flags but those that say what comes after the CCW, and bit 0 of the address, which format 1 reserves.
    const SPECIAL: u64 =
        (!(CcwFlags::CHAIN_DATA.bits() | CcwFlags::CHAIN_COMMAND.bits() | CcwFlags::SUPPRESS_LENGTH.bits()) as u64) << 48
            | Self::ADDRESS_BIT_0 as u64;
    const COUNT: u64 = 0xFFFF << 32;
    pub const ADDRESS_BIT_0: u32 = 0x8000_0000;

    /// Takes a doubleword of guest memory, as it lies there, for a CCW.
    #[inline(always)]
    pub fn fetched(format: CcwFormat, doubleword: u64) -> Self {
        match format {
            CcwFormat::One => Self(u64::from_be(doubleword)),
            CcwFormat::Zero => Self::of(Ccw::from_format0(&doubleword.to_ne_bytes())),
        }
    }

    #[cold]
    pub fn of(ccw: Ccw) -> Self {
        Self(u64::from_be_bytes(ccw.to_format1()))
    }

    /// The same with its fields apart.
    #[inline(always)]
    pub fn ccw(self) -> Ccw {
        Ccw { command: self.command(), flags: self.flags(), count: self.count(), address: self.address() }
    }

    /// Whether nothing can be wrong with the CCW, however the program has come to it: its command is one (and no TIC), there are bytes, and of the flags only those are
    /// on that say what comes after it. So are nearly all; the others are judged one by one, which takes about 105 instructions more for each.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.0 & Self::COMMAND != 0 && self.0 & Self::SPECIAL == 0 && self.0 & Self::COUNT != 0
    }

    #[inline(always)]
    pub fn command(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    #[inline(always)]
    pub fn flags(self) -> CcwFlags {
        CcwFlags::from_bits_retain(self.0.to_be_bytes()[1])
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "it is cut out")]
    pub fn count(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "it is cut out")]
    pub fn address(self) -> u32 {
        self.0 as u32
    }

    /// Whether the next CCW continues this one's data.
    #[inline(always)]
    pub fn chains_data(self) -> bool {
        self.ccw().chains_data()
    }

    /// Whether the next CCW is a further command.
    #[inline(always)]
    pub fn chains_command(self) -> bool {
        self.ccw().chains_command()
    }

    /// Whether incorrect length is suppressed.
    #[inline(always)]
    pub fn suppresses_length(self) -> bool {
        self.ccw().suppresses_length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_fields_of_the_ccw_in_either_format() {
        let bytes = [0x42, 0xE4, 0x02, 0x00, 0x01, 0x34, 0x56, 0x78];
        let ccw = CcwWord::fetched(CcwFormat::One, u64::from_ne_bytes(bytes));
        assert_eq!(ccw.ccw(), Ccw::from_format1(&bytes));
        assert_eq!(CcwWord::of(ccw.ccw()), ccw);
        let bytes = [0x42, 0x34, 0x56, 0x78, 0xE4, 0xFF, 0x02, 0x00];
        assert_eq!(CcwWord::fetched(CcwFormat::Zero, u64::from_ne_bytes(bytes)).ccw(), Ccw::from_format0(&bytes));
    }
}
