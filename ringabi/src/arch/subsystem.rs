// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which subchannel an instruction designates.

use super::OperandException;

/// The subsystem-identification word: general register 1 of every instruction that designates a subchannel, and word 0
/// of the I/O interruption code. Principles of Operation ch. 14.
///
/// | bits | mask | field |
/// |---|---|---|
/// | 0-7 | FF000000 | CSSID, channel-subsystem id |
/// | 8-11 | 00F00000 | reserved, zero |
/// | 12 | 00080000 | m: the CSSID is used |
/// | 13-14 | 00060000 | SSID, subchannel-set id |
/// | 15 | 00010000 | one |
/// | 16-31 | 0000FFFF | subchannel number |
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubsystemId(u32);

impl SubsystemId {
    const CSSID: u32 = 0xFF00_0000;
    const RESERVED: u32 = 0x00F0_0000;
    const M: u32 = 0x0008_0000;
    const ONE: u32 = 0x0001_0000;

    /// Subchannel `number` in subchannel set `ssid` (0 to 3; only the two low bits are used) of the default channel
    /// subsystem.
    #[inline]
    #[must_use]
    pub const fn new(ssid: u8, number: u16) -> Self {
        debug_assert!(ssid <= 3, "a subchannel-set id is 0 to 3");
        Self(Self::ONE | ((ssid & 3) as u32) << 17 | number as u32)
    }

    /// Takes the word as the guest gave it; [`check`](Self::check) says whether it is a valid one.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The subchannel number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// The subchannel-set id, 0 to 3.
    #[inline]
    #[must_use]
    pub const fn ssid(self) -> u8 {
        (self.0 >> 17 & 3) as u8
    }

    /// The channel-subsystem id. It counts only when bit 12 (m) is one, and must be zero otherwise.
    #[inline]
    #[must_use]
    pub const fn cssid(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Whether the word is one that an instruction accepts.
    ///
    /// # Errors
    ///
    /// The operand exception: bit 15 zero, a reserved bit one, or a CSSID without m.
    #[inline]
    pub const fn check(self) -> Result<(), OperandException> {
        // Nearly always: one comparison.
        if self.0 & (Self::ONE | Self::RESERVED | Self::M | Self::CSSID) == Self::ONE {
            Ok(())
        } else if self.0 & Self::ONE == 0 {
            Err(OperandException::SubsystemOne)
        } else if self.0 & Self::RESERVED != 0 {
            Err(OperandException::SubsystemReserved)
        } else if self.0 & Self::M == 0 && self.0 & Self::CSSID != 0 {
            Err(OperandException::SubsystemCssid)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_architecture_puts_them() {
        let id = SubsystemId::from_word(0xFE0D_1234);
        assert_eq!((id.cssid(), id.ssid(), id.number()), (0xFE, 2, 0x1234));
        assert_eq!(SubsystemId::new(0, 0).word(), 0x0001_0000);
        assert_eq!(SubsystemId::new(3, 0xFFFF).word(), 0x0007_FFFF);
    }

    #[test]
    fn valid_words_are_accepted() {
        for word in [0x0001_0000, 0x0001_FFFF, 0x0007_0001, 0xFE09_0001, 0x0009_0000] {
            assert_eq!(SubsystemId::from_word(word).check(), Ok(()), "{word:08X}");
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        assert_eq!(SubsystemId::from_word(0x0000_FFFF).check(), Err(OperandException::SubsystemOne));
        for bit in 8..=11 {
            let word = 0x0001_0000 | 0x8000_0000 >> bit;
            assert_eq!(SubsystemId::from_word(word).check(), Err(OperandException::SubsystemReserved));
        }
        for bit in 0..=7 {
            let word = 0x0001_0000 | 0x8000_0000 >> bit;
            assert_eq!(SubsystemId::from_word(word).check(), Err(OperandException::SubsystemCssid));
        }
    }
}
