// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interruption-response block: what TEST SUBCHANNEL stores.

use bitflags::bitflags;
use zerocopy::byteorder::{BE, U32};

use super::{Scsw, ScswControl};
use crate::wire::{wire, Field};

wire! {
    /// Interruption-response block. Principles of Operation ch. 16.
    pub struct Irb: 96 {
        /// Subchannel-status word.
        0 => pub scsw: Scsw,
        /// Extended-status word.
        12 => pub esw: Esw,
        /// Extended-control word.
        32 => pub ecw: Ecw,
        /// Extended-measurement word. Stored only in extended-measurement mode, which is not provided.
        64 => pub emw: [u8; 32],
    }
}

wire! {
    /// Extended-status word. Principles of Operation ch. 16.
    ///
    /// Word 0 is a subchannel logout when [`ScswControl::LOGOUT`] is one (format 0), and otherwise the last-used path
    /// mask in byte 1 (formats 1 to 3).
    pub struct Esw: 20 {
        0 => word0: U32<BE>,
        4 => erw: U32<BE>,
        8 => failing_storage: [u8; 8],
        16 => secondary_ccw: U32<BE>,
    }
}

bitflags! {
    /// The single bits of the extended-report word. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ErwFlags: u32 {
        /// L, bit 1: for logging only.
        const LOGGING_ONLY = 0x4000_0000;
        /// E, bit 2: an extended subchannel logout is pending.
        const EXTENDED_LOGOUT = 0x2000_0000;
        /// A, bit 3: authorization check.
        const AUTHORIZATION = 0x1000_0000;
        /// P, bit 4: path verification is required.
        const PATH_VERIFICATION = 0x0800_0000;
        /// T, bit 5: channel-path timeout.
        const PATH_TIMEOUT = 0x0400_0000;
        /// F, bit 6: the failing-storage address is valid.
        const FAILING_STORAGE = 0x0200_0000;
        /// S, bit 7: the ECW holds sense bytes.
        const CONCURRENT_SENSE = 0x0100_0000;
        /// C, bit 8: the secondary CCW address is valid.
        const SECONDARY_CCW = 0x0080_0000;
        /// R, bit 9: the failing-storage address has 64 bits.
        const FAILING_STORAGE_64 = 0x0040_0000;
    }
}

/// Extended-report word, word 1 of the [`Esw`]. Principles of Operation ch. 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Erw(u32);

impl Erw {
    /// Takes the word.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The report that the ECW holds `count` sense bytes, 0 to 32 (more is taken as 32, which is all that fits).
    #[inline]
    #[must_use]
    pub const fn concurrent_sense(count: u8) -> Self {
        let count = if count > 32 { 32 } else { count };
        Self(ErwFlags::CONCURRENT_SENSE.bits() | (count as u32) << 16)
    }

    /// The word.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The single bits.
    #[inline]
    #[must_use]
    pub const fn flags(self) -> ErwFlags {
        ErwFlags::from_bits_truncate(self.0)
    }

    /// Whether the ECW holds sense bytes.
    #[inline]
    #[must_use]
    pub const fn has_concurrent_sense(self) -> bool {
        self.flags().contains(ErwFlags::CONCURRENT_SENSE)
    }

    /// The number of sense bytes, bits 10-15: 0 to 63, of which 1 to 32 are meaningful.
    #[inline]
    #[must_use]
    pub const fn sense_count(self) -> u8 {
        (self.0 >> 16 & 0x3F) as u8
    }
}

impl Esw {
    /// Format 1, for normal ending and suspension: the last-used path mask, nothing else.
    #[inline]
    #[must_use]
    pub const fn format1(lpum: u8) -> Self {
        Self { word0: U32::new((lpum as u32) << 16), erw: U32::new(0), failing_storage: [0; 8], secondary_ccw: U32::new(0) }
    }

    /// Word 0: subchannel logout (format 0) or path mask and device-connect time.
    #[inline]
    #[must_use]
    pub const fn word0(&self) -> u32 {
        self.word0.get()
    }

    /// The last-used path mask, which all formats have in byte 1.
    #[inline]
    #[must_use]
    pub const fn lpum(&self) -> u8 {
        (self.word0.get() >> 16 & 0xFF) as u8
    }

    /// The extended-report word.
    #[inline]
    #[must_use]
    pub const fn erw(&self) -> Erw {
        Erw(self.erw.get())
    }

    /// Replaces the extended-report word.
    #[inline]
    #[must_use]
    pub const fn with_erw(mut self, erw: Erw) -> Self {
        self.erw = U32::new(erw.0);
        self
    }
}

/// Extended-control word: 32 bytes, sense when [`Erw::has_concurrent_sense`]. Principles of Operation ch. 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ecw(pub [u8; 32]);

impl Ecw {
    /// Sense bytes, filled up with zeros. More than 32 do not fit and are left out.
    #[inline]
    #[must_use]
    pub fn from_sense(sense: &[u8]) -> Self {
        let mut ecw = [0; 32];
        for (to, from) in ecw.iter_mut().zip(sense) {
            *to = *from;
        }
        Self(ecw)
    }
}

impl Field for Ecw {
    const LEN: usize = 32;

    #[inline]
    fn load(bytes: &[u8]) -> Self {
        Self(Field::load(bytes))
    }

    #[inline]
    fn store(&self, bytes: &mut [u8]) {
        self.0.store(bytes);
    }
}

impl Irb {
    /// What TEST SUBCHANNEL stores outside extended-measurement mode, in bytes.
    pub const BASIC_SIZE: usize = 64;

    /// A block with this status word and a format-1 ESW.
    #[inline]
    #[must_use]
    pub fn new(scsw: Scsw, lpum: u8) -> Self {
        Self { scsw, esw: Esw::format1(lpum), ecw: Ecw::default(), emw: [0; 32] }
    }

    /// Adds concurrent sense: the bytes (at most 32), their count, and the E bit of the status word. The Principles of
    /// Operation let E count only with alert status; that is the caller's affair.
    #[inline]
    #[must_use]
    pub fn with_concurrent_sense(mut self, sense: &[u8]) -> Self {
        let count = u8::try_from(sense.len()).unwrap_or(u8::MAX);
        self.scsw = self.scsw.with_control(self.scsw.control() | ScswControl::EXTENDED);
        self.esw = self.esw.with_erw(Erw::concurrent_sense(count));
        self.ecw = Ecw::from_sense(sense);
        self
    }

    /// The bytes that TEST SUBCHANNEL stores outside extended-measurement mode.
    #[inline]
    #[must_use]
    pub fn to_basic_bytes(&self) -> [u8; Self::BASIC_SIZE] {
        let mut bytes = [0; Self::BASIC_SIZE];
        self.scsw.store(&mut bytes[..12]);
        self.esw.store(&mut bytes[12..32]);
        self.ecw.store(&mut bytes[32..]);
        bytes
    }

    /// The concurrent sense bytes; empty when there are none. A count beyond the ECW is cut to it.
    #[inline]
    #[must_use]
    pub fn sense(&self) -> &[u8] {
        let erw = self.esw.erw();
        if erw.has_concurrent_sense() && self.scsw.control().contains(ScswControl::EXTENDED) {
            let ecw = &self.ecw.0;
            ecw.get(..usize::from(erw.sense_count())).unwrap_or(ecw)
        } else {
            &[]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{FunctionControl, StatusControl};

    fn clear_ended() -> Scsw {
        Scsw::default().with_fctl(FunctionControl::CLEAR).with_stctl(StatusControl::PENDING)
    }

    #[test]
    fn format_1_holds_the_path_mask_in_byte_1() {
        let mut expected = [0; 96];
        (expected[2], expected[3], expected[13]) = (0x10, 0x01, 0x80);
        let irb = Irb::new(clear_ended(), 0x80);
        assert_eq!(irb.to_bytes(), expected);
        assert_eq!(irb.to_basic_bytes()[..], expected[..64]);
        assert_eq!((irb.esw.lpum(), irb.esw.word0()), (0x80, 0x0080_0000));
        assert!(irb.sense().is_empty());
    }

    #[test]
    fn concurrent_sense_is_counted_in_bits_10_to_15() {
        assert_eq!(Erw::concurrent_sense(24).word(), 0x0118_0000);
        assert_eq!(Erw::concurrent_sense(200).word(), 0x0120_0000);
        let erw = Erw::from_word(0xFFFF_FFFF);
        assert_eq!((erw.sense_count(), erw.flags()), (63, ErwFlags::all()));
        assert_eq!(ErwFlags::all().bits(), 0x7FC0_0000);
        let irb = Irb::new(clear_ended(), 0x80).with_concurrent_sense(&[0x80, 0x00, 0x10]);
        let bytes = irb.to_bytes();
        assert_eq!(bytes[..4], [0x00, 0x02, 0x10, 0x01]);
        assert_eq!(bytes[16..20], [0x01, 0x03, 0x00, 0x00]);
        assert_eq!(bytes[32..36], [0x80, 0x00, 0x10, 0x00]);
        assert_eq!(Irb::from_bytes(&bytes).sense(), [0x80, 0x00, 0x10]);
    }

    #[test]
    fn a_sense_count_beyond_the_block_is_cut() {
        let irb = Irb::new(clear_ended(), 0).with_concurrent_sense(&[7; 300]);
        assert_eq!(irb.sense(), [7; 32]);
        let mut bytes = irb.to_bytes();
        bytes[17] = 0x3F;
        assert_eq!(Irb::from_bytes(&bytes).sense(), [7; 32]);
    }
}
