// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subchannel-information block: the operand of MODIFY and STORE SUBCHANNEL.

use zerocopy::byteorder::{BE, U64};

use super::{OperandException, Pmcw, PmcwCharacteristics, Scsw};
use crate::wire::wire;

wire! {
    /// Subchannel-information block. Principles of Operation ch. 15.
    pub struct Schib: 52 {
        /// Path-management-control word.
        0 => pub pmcw: Pmcw,
        /// Subchannel-status word; MODIFY SUBCHANNEL ignores it.
        28 => pub scsw: Scsw,
        40 => mba: U64<BE>,
        /// Model-dependent area; MODIFY SUBCHANNEL ignores it.
        48 => pub model_dependent: [u8; 4],
    }
}

impl Schib {
    /// An emulated subchannel after reset, see [`Pmcw::initial`].
    #[must_use]
    pub fn initial(devno: u16) -> Self {
        Self { pmcw: Pmcw::initial(devno), ..Self::default() }
    }

    /// The measurement-block address.
    #[inline]
    #[must_use]
    pub const fn mba(&self) -> u64 {
        self.mba.get()
    }

    /// Replaces the measurement-block address.
    #[inline]
    pub const fn set_mba(&mut self, mba: u64) {
        self.mba = U64::new(mba);
    }

    /// Whether MODIFY SUBCHANNEL accepts this operand.
    ///
    /// # Errors
    ///
    /// The operand exception: those of [`Pmcw::check_modify`], and with format-1 measurement blocks an address that is
    /// not a multiple of 64.
    pub const fn check_modify(&self) -> Result<(), OperandException> {
        let format_1 = self.pmcw.characteristics().contains(PmcwCharacteristics::MEASUREMENT_FORMAT_1);
        match self.pmcw.check_modify() {
            Ok(()) if format_1 && self.mba() % 64 != 0 => Err(OperandException::MeasurementBlockAddress),
            checked => checked,
        }
    }

    /// What MODIFY SUBCHANNEL does with an operand it accepted: the modifiable PMCW fields and the measurement-block
    /// address. See [`Pmcw::apply_modify`].
    pub const fn apply_modify(&mut self, from: &Self) {
        self.pmcw.apply_modify(&from.pmcw);
        self.mba = from.mba;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_lie_at_28_40_and_48() {
        let mut bytes = [0; Schib::SIZE];
        (bytes[5], bytes[31], bytes[47], bytes[51]) = (0x81, 0x01, 0x40, 0x99);
        let schib = Schib::from_bytes(&bytes);
        assert!(schib.pmcw.is_enabled() && schib.pmcw.is_valid());
        assert_eq!(schib.scsw.to_words(), [1, 0, 0]);
        assert_eq!((schib.mba(), schib.model_dependent), (0x40, [0, 0, 0, 0x99]));
        assert_eq!(schib.to_bytes(), bytes);
    }

    #[test]
    fn the_measurement_block_address_is_checked_for_format_1_only() {
        let mut schib = Schib::initial(0x3100);
        schib.set_mba(0x1001);
        assert_eq!(schib.check_modify(), Ok(()));
        schib.pmcw.set_characteristics(PmcwCharacteristics::MEASUREMENT_FORMAT_1);
        for bit in 0..6 {
            schib.set_mba(0x1000 | 1 << bit);
            assert_eq!(schib.check_modify(), Err(OperandException::MeasurementBlockAddress));
        }
        schib.set_mba(0xFFFF_FFFF_FFFF_FFC0);
        assert_eq!(schib.check_modify(), Ok(()));
    }

    #[test]
    fn a_broken_pmcw_is_refused() {
        assert_eq!(Schib::from_bytes(&[0xFF; 52]).check_modify(), Err(OperandException::PmcwReserved));
    }

    #[test]
    fn modify_ignores_status_and_model_dependent_area() {
        let mut to = Schib::initial(0x3100);
        to.apply_modify(&Schib::from_bytes(&[0xFF; 52]));
        assert_eq!((to.scsw, to.model_dependent), (Scsw::default(), [0; 4]));
        assert_eq!((to.mba(), to.pmcw.devno(), to.pmcw.lpm), (u64::MAX, 0x3100, 0xFF));
    }
}
