// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path-management-control word: how a subchannel is set up.

use bitflags::bitflags;
use zerocopy::byteorder::{BE, U16, U32};

use super::OperandException;
use crate::wire::wire;

wire! {
    /// Path-management-control word. Principles of Operation ch. 15.
    ///
    /// Path masks have path 0 in their most significant bit.
    pub struct Pmcw: 28 {
        0 => intparm: U32<BE>,
        4 => flags: U16<BE>,
        6 => devno: U16<BE>,
        /// Logical-path mask: paths that the program wants used.
        8 => pub lpm: u8,
        /// Path-not-operational mask.
        9 => pub pnom: u8,
        /// Last-path-used mask.
        10 => pub lpum: u8,
        /// Path-installed mask.
        11 => pub pim: u8,
        12 => mbi: U16<BE>,
        /// Path-operational mask.
        14 => pub pom: u8,
        /// Path-available mask.
        15 => pub pam: u8,
        /// Channel-path ids of paths 0 to 7.
        16 => pub chpid: [u8; 8],
        24 => characteristics: U32<BE>,
    }
}

bitflags! {
    /// The single bits of PMCW word 1, high half. The ISC (bits 2-4) and the limit mode (bits 9-10) share it; they are
    /// kept by the type and have accessors of their own. Principles of Operation ch. 15.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PmcwFlags: u16 {
        /// Bit 0: the QDIO facility.
        const QDIO = 0x8000;
        /// E, bit 8: the subchannel is enabled.
        const ENABLED = 0x0080;
        /// Bit 11: measurement blocks are updated.
        const MEASUREMENT_BLOCK = 0x0010;
        /// Bit 12: device-connect time is measured.
        const CONNECT_TIME = 0x0008;
        /// D, bit 13: multipath mode.
        const MULTIPATH = 0x0004;
        /// T, bit 14: the timing facility is there.
        const TIMING = 0x0002;
        /// V, bit 15: the device number is valid.
        const VALID = 0x0001;
    }
}

bitflags! {
    /// The single bits of PMCW word 6. The subchannel type (bits 8-10) shares it. Principles of Operation ch. 15.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PmcwCharacteristics: u32 {
        /// F, bit 29: measurement blocks are of format 1.
        const MEASUREMENT_FORMAT_1 = 0x0000_0004;
        /// X, bit 30: the extended measurement word is stored. Not provided.
        const EXTENDED_MEASUREMENT = 0x0000_0002;
        /// S, bit 31: concurrent sense is wanted.
        const CONCURRENT_SENSE = 0x0000_0001;
    }
}

impl Pmcw {
    const ISC: u16 = 0x3800;
    const LIMIT_MODE: u16 = 0x0060;
    const FLAGS_REFUSED: u16 = 0xC300;
    /// Bit 5 is ignored by MODIFY SUBCHANNEL and always stored as zero.
    const FLAGS_ZERO: u16 = 0x0400;
    /// ISC, E, limit mode, measurement modes and D.
    const FLAGS_MODIFIABLE: u16 = 0x38FC;
    const CHARACTERISTICS_REFUSED: u32 = 0xFF1F_FFF8;
    const CHARACTERISTICS_MODIFIABLE: u32 = PmcwCharacteristics::all().bits();

    /// An emulated subchannel after reset: device `devno` on path 0 through channel path 00, not enabled.
    #[must_use]
    pub fn initial(devno: u16) -> Self {
        Self {
            flags: U16::new(PmcwFlags::VALID.bits()),
            devno: U16::new(devno),
            lpm: 0x80,
            pim: 0x80,
            pom: 0xFF,
            pam: 0x80,
            ..Self::default()
        }
    }

    /// The interruption parameter.
    #[inline]
    #[must_use]
    pub const fn intparm(&self) -> u32 {
        self.intparm.get()
    }

    /// Replaces the interruption parameter, as START SUBCHANNEL does.
    #[inline]
    pub const fn set_intparm(&mut self, intparm: u32) {
        self.intparm = U32::new(intparm);
    }

    /// The high half of word 1, with everything in it.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> PmcwFlags {
        PmcwFlags::from_bits_retain(self.flags.get())
    }

    /// Replaces the high half of word 1, with everything in it.
    #[inline]
    pub const fn set_flags(&mut self, flags: PmcwFlags) {
        self.flags = U16::new(flags.bits());
    }

    /// Whether the device number is valid (V).
    #[inline]
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.flags().contains(PmcwFlags::VALID)
    }

    /// Whether the subchannel is enabled (E).
    #[inline]
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.flags().contains(PmcwFlags::ENABLED)
    }

    /// The interruption subclass, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn isc(&self) -> u8 {
        (self.flags.get() >> 11 & 7) as u8
    }

    /// Replaces the interruption subclass, 0 to 7 (only the three low bits are used).
    #[inline]
    pub const fn set_isc(&mut self, isc: u8) {
        self.flags = U16::new(self.flags.get() & !Self::ISC | ((isc & 7) as u16) << 11);
    }

    /// The limit mode, 0 to 3: 0 none, 1 addresses at or above the limit, 2 below it, 3 reserved.
    #[inline]
    #[must_use]
    pub const fn limit_mode(&self) -> u8 {
        (self.flags.get() >> 5 & 3) as u8
    }

    /// The device number; it counts only when [`is_valid`](Self::is_valid).
    #[inline]
    #[must_use]
    pub const fn devno(&self) -> u16 {
        self.devno.get()
    }

    /// The measurement-block index.
    #[inline]
    #[must_use]
    pub const fn mbi(&self) -> u16 {
        self.mbi.get()
    }

    /// Replaces the measurement-block index.
    #[inline]
    pub const fn set_mbi(&mut self, mbi: u16) {
        self.mbi = U16::new(mbi);
    }

    /// Word 6, with everything in it.
    #[inline]
    #[must_use]
    pub const fn characteristics(&self) -> PmcwCharacteristics {
        PmcwCharacteristics::from_bits_retain(self.characteristics.get())
    }

    /// Replaces word 6, with everything in it.
    #[inline]
    pub const fn set_characteristics(&mut self, characteristics: PmcwCharacteristics) {
        self.characteristics = U32::new(characteristics.bits());
    }

    /// The subchannel type, 0 to 7: 0 I/O, 1 CHSC, 2 message, 3 ADM.
    #[inline]
    #[must_use]
    pub const fn subchannel_type(&self) -> u8 {
        (self.characteristics.get() >> 21 & 7) as u8
    }

    /// Whether MODIFY SUBCHANNEL accepts this as its operand's PMCW. [`Schib::check_modify`](super::Schib::check_modify)
    /// adds the rule that needs the rest of the operand.
    ///
    /// # Errors
    ///
    /// The operand exception: a reserved bit of the flags, limit mode 11, a reserved bit of word 6, or the extended
    /// measurement word.
    pub const fn check_modify(&self) -> Result<(), OperandException> {
        let word6 = self.characteristics();
        if self.flags.get() & Self::FLAGS_REFUSED != 0 {
            Err(OperandException::PmcwReserved)
        } else if self.flags.get() & Self::LIMIT_MODE == Self::LIMIT_MODE {
            Err(OperandException::PmcwLimitMode)
        } else if word6.bits() & Self::CHARACTERISTICS_REFUSED != 0 {
            Err(OperandException::PmcwCharacteristics)
        } else if word6.contains(PmcwCharacteristics::EXTENDED_MEASUREMENT) {
            Err(OperandException::PmcwExtendedMeasurement)
        } else {
            Ok(())
        }
    }

    /// What MODIFY SUBCHANNEL does with an operand it accepted: takes the modifiable fields and nothing else. That a
    /// subchannel without a valid device number ignores even those is for the caller to decide.
    pub const fn apply_modify(&mut self, from: &Self) {
        let kept = self.flags.get() & !(Self::FLAGS_MODIFIABLE | Self::FLAGS_ZERO);
        let kept6 = self.characteristics.get() & !Self::CHARACTERISTICS_MODIFIABLE;
        self.intparm = from.intparm;
        self.flags = U16::new(kept | from.flags.get() & Self::FLAGS_MODIFIABLE);
        self.lpm = from.lpm;
        self.mbi = from.mbi;
        self.pom = from.pom;
        self.characteristics = U32::new(kept6 | from.characteristics.get() & Self::CHARACTERISTICS_MODIFIABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_flags(bits: u16) -> Pmcw {
        let mut pmcw = Pmcw::default();
        pmcw.set_flags(PmcwFlags::from_bits_retain(bits));
        pmcw
    }

    fn with_word6(bits: u32) -> Pmcw {
        let mut pmcw = Pmcw::default();
        pmcw.set_characteristics(PmcwCharacteristics::from_bits_retain(bits));
        pmcw
    }

    #[test]
    fn a_literal_block_decodes() {
        let pmcw = Pmcw::from_bytes(&[
            0xDE, 0xAD, 0xBE, 0xEF, 0x18, 0xA5, 0x31, 0x00, 0xC0, 0x01, 0x80, 0xF0, 0x12, 0x34, 0xFE, 0xE0, 0x10, 0x11, 0x12,
            0x13, 0x14, 0x15, 0x16, 0x17, 0x00, 0x60, 0x00, 0x05,
        ]);
        assert_eq!((pmcw.intparm(), pmcw.isc(), pmcw.devno(), pmcw.mbi()), (0xDEAD_BEEF, 3, 0x3100, 0x1234));
        assert!(pmcw.is_valid() && pmcw.is_enabled() && pmcw.flags().contains(PmcwFlags::MULTIPATH));
        assert_eq!((pmcw.limit_mode(), pmcw.subchannel_type()), (1, 3));
        assert_eq!((pmcw.lpm, pmcw.pnom, pmcw.lpum, pmcw.pim, pmcw.pom, pmcw.pam), (0xC0, 1, 0x80, 0xF0, 0xFE, 0xE0));
        assert_eq!(pmcw.chpid, [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]);
        assert!(pmcw.characteristics().contains(PmcwCharacteristics::CONCURRENT_SENSE));
        assert!(!pmcw.characteristics().contains(PmcwCharacteristics::EXTENDED_MEASUREMENT));
    }

    #[test]
    fn the_initial_block_has_one_path_and_is_not_enabled() {
        let mut expected = [0; 28];
        (expected[5], expected[6], expected[7]) = (0x01, 0x12, 0x34);
        (expected[8], expected[11], expected[14], expected[15]) = (0x80, 0x80, 0xFF, 0x80);
        assert_eq!(Pmcw::initial(0x1234).to_bytes(), expected);
    }

    #[test]
    fn only_bits_0_1_6_7_of_the_flags_are_refused() {
        for bit in 0..16 {
            let expected = if matches!(bit, 0 | 1 | 6 | 7) { Err(OperandException::PmcwReserved) } else { Ok(()) };
            assert_eq!(with_flags(0x8000 >> bit).check_modify(), expected, "bit {bit}");
        }
        assert_eq!(with_flags(0x0060).check_modify(), Err(OperandException::PmcwLimitMode));
    }

    #[test]
    fn only_type_format_and_sense_of_word_6_are_accepted() {
        for bit in 0..32 {
            let expected = match bit {
                8..=10 | 29 | 31 => Ok(()),
                30 => Err(OperandException::PmcwExtendedMeasurement),
                _ => Err(OperandException::PmcwCharacteristics),
            };
            assert_eq!(with_word6(0x8000_0000 >> bit).check_modify(), expected, "bit {bit}");
        }
    }

    #[test]
    fn modify_takes_the_modifiable_fields_and_nothing_else() {
        let mut to = Pmcw::default();
        to.apply_modify(&Pmcw::from_bytes(&[0xFF; 28]));
        let mut expected = [0; 28];
        expected[..4].fill(0xFF);
        (expected[4], expected[5]) = (0x38, 0xFC);
        (expected[8], expected[12], expected[13], expected[14], expected[27]) = (0xFF, 0xFF, 0xFF, 0xFF, 0x07);
        assert_eq!(to.to_bytes(), expected);

        let mut to = Pmcw::from_bytes(&[0xFF; 28]);
        to.apply_modify(&Pmcw::default());
        let mut kept = expected.map(|byte| !byte);
        kept[4] &= !0x04; // bit 5 is stored as zero whatever it was
        assert_eq!(to.to_bytes(), kept);
    }

    #[test]
    fn the_interruption_subclass_is_set_alone() {
        let mut pmcw = with_flags(0xFFFF);
        pmcw.set_isc(5);
        assert_eq!((pmcw.isc(), pmcw.flags().bits()), (5, 0xEFFF));
    }
}
