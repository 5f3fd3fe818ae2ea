// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operation-request block: what START SUBCHANNEL starts.

use bitflags::bitflags;
use zerocopy::byteorder::{BE, U32};

use super::{CcwFormat, IdawFormat, OperandException};
use crate::wire::wire;

wire! {
    /// Operation-request block, words 0-2. Principles of Operation ch. 15.
    ///
    /// When [`OrbControl::EXTENSION`] is one, an [`OrbExtension`] follows in storage.
    pub struct Orb: 12 {
        0 => intparm: U32<BE>,
        4 => control: U32<BE>,
        8 => cpa: U32<BE>,
    }
}

wire! {
    /// Words 3-7 of an extended operation-request block. Principles of Operation ch. 15. Both priorities are hints.
    pub struct OrbExtension: 20 {
        /// Channel-subsystem priority.
        0 => pub css_priority: u8,
        1 => reserved_1: [u8; 1],
        /// Control-unit priority.
        2 => pub cu_priority: u8,
        3 => reserved_3: [u8; 17],
    }
}

bitflags! {
    /// The single bits of ORB word 1. The key (bits 0-3) and the path mask (bits 16-23) share the word and are not
    /// part of this type. Principles of Operation ch. 15.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct OrbControl: u32 {
        /// S, bit 4: the program may suspend, and RESUME SUBCHANNEL is allowed.
        const SUSPEND = 0x0800_0000;
        /// C, bit 5: streaming mode.
        const STREAMING = 0x0400_0000;
        /// M, bit 6: modification control.
        const MODIFICATION = 0x0200_0000;
        /// Y, bit 7: synchronization control.
        const SYNCHRONIZATION = 0x0100_0000;
        /// F, bit 8: CCWs are of format 1.
        const FORMAT_1 = 0x0080_0000;
        /// P, bit 9: CCWs, IDAWs and output data may be fetched ahead.
        const PREFETCH = 0x0040_0000;
        /// I, bit 10: an intermediate interruption is wanted when the first command is accepted.
        const INITIAL_STATUS = 0x0020_0000;
        /// A, bit 11: data addresses are checked against the address limit.
        const ADDRESS_LIMIT = 0x0010_0000;
        /// U, bit 12: suspension does not interrupt.
        const SUPPRESS_SUSPENDED = 0x0008_0000;
        /// B, bit 13: transport mode. Not provided.
        const TRANSPORT = 0x0004_0000;
        /// H, bit 14: IDAWs are of format 2 (64 bits).
        const FORMAT_2_IDAW = 0x0002_0000;
        /// T, bit 15: format-2 IDAWs designate blocks of 2 KiB instead of 4 KiB.
        const IDAW_2K = 0x0001_0000;
        /// L, bit 24: incorrect length is suppressed for immediate operations (format 1).
        const SUPPRESS_INCORRECT_LENGTH = 0x0000_0080;
        /// D, bit 25: CCWs may use MIDAWs.
        const MIDAW = 0x0000_0040;
        /// X, bit 31: words 3-7 are present.
        const EXTENSION = 0x0000_0001;
    }
}

impl Orb {
    const RESERVED: u32 = 0x0000_003E;
    const ADDRESS_BIT_0: u32 = 0x8000_0000;

    /// A start of the format-1 program at `cpa` over path 0, with key 0.
    #[inline]
    #[must_use]
    pub const fn new(intparm: u32, cpa: u32) -> Self {
        Self { intparm: U32::new(intparm), control: U32::new(OrbControl::FORMAT_1.bits() | 0x8000), cpa: U32::new(cpa) }
    }

    /// The three words, as an instruction's operand holds them.
    #[inline]
    #[must_use]
    pub const fn from_words(words: [u32; 3]) -> Self {
        let [intparm, control, cpa] = words;
        Self { intparm: U32::new(intparm), control: U32::new(control), cpa: U32::new(cpa) }
    }

    /// The three words.
    #[inline]
    #[must_use]
    pub const fn to_words(self) -> [u32; 3] {
        [self.intparm.get(), self.control.get(), self.cpa.get()]
    }

    /// Turns these bits on; the others stay. Format 0 is [`with_format`](Self::with_format)'s affair.
    #[inline]
    #[must_use]
    pub const fn with_control(self, control: OrbControl) -> Self {
        self.replace(0, control.bits())
    }

    /// Sets the CCW format.
    #[inline]
    #[must_use]
    pub const fn with_format(self, format: CcwFormat) -> Self {
        let bit = OrbControl::FORMAT_1.bits();
        match format {
            CcwFormat::Zero => self.replace(bit, 0),
            CcwFormat::One => self.replace(bit, bit),
        }
    }

    /// Sets the logical-path mask; the most significant bit is path 0.
    #[inline]
    #[must_use]
    pub const fn with_lpm(self, lpm: u8) -> Self {
        self.replace(0x0000_FF00, (lpm as u32) << 8)
    }

    /// Sets the storage key, 0 to 15 (only the four low bits are used).
    #[inline]
    #[must_use]
    pub const fn with_key(self, key: u8) -> Self {
        self.replace(0xF000_0000, ((key & 0xF) as u32) << 28)
    }

    #[inline]
    const fn replace(mut self, clear: u32, set: u32) -> Self {
        self.control = U32::new(self.control.get() & !clear | set);
        self
    }

    /// The interruption parameter.
    #[inline]
    #[must_use]
    pub const fn intparm(&self) -> u32 {
        self.intparm.get()
    }

    /// Word 1 as it stands, with key and path mask.
    #[inline]
    #[must_use]
    pub const fn control_word(&self) -> u32 {
        self.control.get()
    }

    /// The single bits of word 1, without key, path mask and reserved bits.
    #[inline]
    #[must_use]
    pub const fn control(&self) -> OrbControl {
        OrbControl::from_bits_truncate(self.control.get())
    }

    /// The address of the first CCW.
    #[inline]
    #[must_use]
    pub const fn cpa(&self) -> u32 {
        self.cpa.get()
    }

    /// The storage key for all accesses of the program, 0 to 15.
    #[inline]
    #[must_use]
    pub const fn key(&self) -> u8 {
        (self.control.get() >> 28) as u8
    }

    /// The logical-path mask; the most significant bit is path 0.
    #[inline]
    #[must_use]
    pub const fn lpm(&self) -> u8 {
        (self.control.get() >> 8 & 0xFF) as u8
    }

    /// The format of the program's CCWs.
    #[inline]
    #[must_use]
    pub const fn format(&self) -> CcwFormat {
        if self.control().contains(OrbControl::FORMAT_1) {
            CcwFormat::One
        } else {
            CcwFormat::Zero
        }
    }

    /// The format of the program's IDAWs.
    #[inline]
    #[must_use]
    pub const fn idaw_format(&self) -> IdawFormat {
        let control = self.control();
        if !control.contains(OrbControl::FORMAT_2_IDAW) {
            IdawFormat::One2K
        } else if control.contains(OrbControl::IDAW_2K) {
            IdawFormat::Two2K
        } else {
            IdawFormat::Two4K
        }
    }

    /// Whether START SUBCHANNEL accepts this block. An unaligned program address is not refused here: it is a program
    /// check of the started program.
    ///
    /// # Errors
    ///
    /// The operand exception: bits 26-30 of word 1, transport mode, or bit 0 of word 2.
    #[inline]
    pub const fn check(&self) -> Result<(), OperandException> {
        if self.control.get() & Self::RESERVED != 0 {
            Err(OperandException::OrbReserved)
        } else if self.control().contains(OrbControl::TRANSPORT) {
            Err(OperandException::OrbTransportMode)
        } else if self.cpa.get() & Self::ADDRESS_BIT_0 != 0 {
            Err(OperandException::OrbAddress)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_block_decodes() {
        let orb = Orb::from_bytes(&[0xCA, 0xFE, 0, 1, 0x98, 0xC2, 0x40, 0xC1, 0x00, 0x12, 0x34, 0x58]);
        assert_eq!(orb.intparm(), 0xCAFE_0001);
        assert_eq!((orb.key(), orb.lpm(), orb.cpa()), (9, 0x40, 0x0012_3458));
        assert_eq!((orb.format(), orb.idaw_format()), (CcwFormat::One, IdawFormat::Two4K));
        assert_eq!(
            orb.control(),
            OrbControl::SUSPEND
                | OrbControl::FORMAT_1
                | OrbControl::PREFETCH
                | OrbControl::FORMAT_2_IDAW
                | OrbControl::SUPPRESS_INCORRECT_LENGTH
                | OrbControl::MIDAW
                | OrbControl::EXTENSION
        );
        assert_eq!(orb.check(), Ok(()), "an extended block is accepted");
    }

    #[test]
    fn the_default_start_is_format_1_over_path_0() {
        let orb = Orb::new(0x0102_0304, 0x1000);
        assert_eq!(orb.to_bytes(), [1, 2, 3, 4, 0x00, 0x80, 0x80, 0x00, 0, 0, 0x10, 0]);
        let orb = orb.with_key(0xF).with_lpm(0x01).with_format(CcwFormat::Zero).with_control(OrbControl::SUSPEND);
        assert_eq!(orb.to_words(), [0x0102_0304, 0xF800_0100, 0x1000]);
        assert_eq!(orb.with_format(CcwFormat::One).control_word(), 0xF880_0100);
        assert_eq!(Orb::from_words(orb.to_words()), orb);
    }

    #[test]
    fn idaw_format_follows_h_and_t() {
        let orb = Orb::new(0, 0);
        assert_eq!(orb.idaw_format(), IdawFormat::One2K);
        assert_eq!(orb.with_control(OrbControl::IDAW_2K).idaw_format(), IdawFormat::One2K);
        let orb = orb.with_control(OrbControl::FORMAT_2_IDAW);
        assert_eq!(orb.idaw_format(), IdawFormat::Two4K);
        assert_eq!(orb.with_control(OrbControl::IDAW_2K).idaw_format(), IdawFormat::Two2K);
    }

    #[test]
    fn only_the_reserved_bits_of_word_1_and_transport_mode_are_refused() {
        for bit in 0..32 {
            let expected = match bit {
                26..=30 => Err(OperandException::OrbReserved),
                13 => Err(OperandException::OrbTransportMode),
                _ => Ok(()),
            };
            assert_eq!(Orb::from_words([0, 0x8000_0000 >> bit, 0]).check(), expected, "bit {bit}");
        }
    }

    #[test]
    fn only_bit_0_of_the_address_is_refused() {
        assert_eq!(Orb::new(0, 0x8000_0000).check(), Err(OperandException::OrbAddress));
        assert_eq!(Orb::new(0, 0x7FFF_FFFF).check(), Ok(()));
        assert!(Orb::from_bytes(&[0xFF; 12]).check().is_err(), "an all-ones ORB must fail");
    }

    #[test]
    fn the_extension_holds_two_priorities() {
        let mut bytes = [0; OrbExtension::SIZE];
        (bytes[0], bytes[2]) = (0x11, 0x22);
        let extension = OrbExtension::from_bytes(&bytes);
        assert_eq!((extension.css_priority, extension.cu_priority), (0x11, 0x22));
    }
}
