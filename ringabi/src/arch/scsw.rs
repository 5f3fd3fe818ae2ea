// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subchannel-status word.

use bitflags::bitflags;
use zerocopy::byteorder::{BE, U16, U32};

use super::{ActivityControl, DeviceStatus, FunctionControl, Orb, StatusControl, SubchannelStatus};
use crate::wire::wire;

wire! {
    /// Subchannel-status word: what a subchannel is doing and what it has to report. Principles of Operation ch. 16.
    ///
    /// Which fields mean something depends on the control bits; nothing here enforces that.
    pub struct Scsw: 12 {
        0 => control: U32<BE>,
        4 => ccw_address: U32<BE>,
        8 => device_status: u8,
        9 => subchannel_status: u8,
        10 => residual: U16<BE>,
    }
}

bitflags! {
    /// The single bits in the high half of SCSW word 0. The key (bits 0-3) and the deferred condition code (bits 6-7)
    /// share it and are not part of this type. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ScswControl: u32 {
        /// S, bit 4: the ORB's suspend control.
        const SUSPEND = 0x0800_0000;
        /// L, bit 5: the ESW is a format-0 one, with a subchannel logout.
        const LOGOUT = 0x0400_0000;
        /// F, bit 8: the ORB's CCW format.
        const FORMAT_1 = 0x0080_0000;
        /// P, bit 9: the ORB's prefetch control.
        const PREFETCH = 0x0040_0000;
        /// I, bit 10: the ORB's initial-status-interruption control.
        const INITIAL_STATUS = 0x0020_0000;
        /// A, bit 11: the ORB's address-limit-checking control.
        const ADDRESS_LIMIT = 0x0010_0000;
        /// U, bit 12: the ORB's suppress-suspended-interruption control.
        const SUPPRESS_SUSPENDED = 0x0008_0000;
        /// Z, bit 13: the first command was accepted with zero status.
        const ZERO_CONDITION = 0x0004_0000;
        /// E, bit 14: the ECW holds something.
        const EXTENDED = 0x0002_0000;
        /// N, bit 15: a path was not operational.
        const PATH_NOT_OPERATIONAL = 0x0001_0000;
    }
}

impl Scsw {
    const KEY: u32 = 0xF000_0000;
    const CC: u32 = 0x0300_0000;
    /// Key, S, F, P, I, A and U have the same places in ORB word 1 and in SCSW word 0, so one mask copies them all.
    const FROM_ORB: u32 = 0xF8F8_0000;

    /// The status word right after START SUBCHANNEL latched `orb`: the echo of key, S, F, P, I, A and U; all else is
    /// zero, the function and activity bits too.
    #[inline]
    #[must_use]
    pub const fn from_orb(orb: &Orb) -> Self {
        Self::from_words([orb.control_word() & Self::FROM_ORB, 0, 0])
    }

    /// The three words as native integers.
    #[inline]
    #[must_use]
    pub const fn from_words(words: [u32; 3]) -> Self {
        let [control, ccw_address, ending] = words;
        let [device_status, subchannel_status, r0, r1] = ending.to_be_bytes();
        Self {
            control: U32::new(control),
            ccw_address: U32::new(ccw_address),
            device_status,
            subchannel_status,
            residual: U16::from_bytes([r0, r1]),
        }
    }

    /// The three words as native integers.
    #[inline]
    #[must_use]
    pub const fn to_words(self) -> [u32; 3] {
        let [r0, r1] = self.residual.to_bytes();
        [self.control.get(), self.ccw_address.get(), u32::from_be_bytes([self.device_status, self.subchannel_status, r0, r1])]
    }

    /// Word 0 as it stands.
    #[inline]
    #[must_use]
    pub const fn control_word(&self) -> u32 {
        self.control.get()
    }

    /// The single bits in the high half of word 0.
    #[inline]
    #[must_use]
    pub const fn control(&self) -> ScswControl {
        ScswControl::from_bits_truncate(self.control.get())
    }

    /// The storage key of the start function, 0 to 15.
    #[inline]
    #[must_use]
    pub const fn key(&self) -> u8 {
        (self.control.get() >> 28) as u8
    }

    /// The deferred condition code, 0 to 3.
    #[inline]
    #[must_use]
    pub const fn deferred_cc(&self) -> u8 {
        (self.control.get() >> 24 & 3) as u8
    }

    /// Function control.
    #[inline]
    #[must_use]
    pub const fn fctl(&self) -> FunctionControl {
        FunctionControl::from_bits_truncate(self.low_half())
    }

    /// Activity control.
    #[inline]
    #[must_use]
    pub const fn actl(&self) -> ActivityControl {
        ActivityControl::from_bits_truncate(self.low_half())
    }

    /// Status control.
    #[inline]
    #[must_use]
    pub const fn stctl(&self) -> StatusControl {
        StatusControl::from_bits_truncate(self.low_half())
    }

    /// The CCW address: 8 beyond the last CCW that was used, where it means something at all.
    #[inline]
    #[must_use]
    pub const fn ccw_address(&self) -> u32 {
        self.ccw_address.get()
    }

    /// Device status.
    #[inline]
    #[must_use]
    pub const fn device_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.device_status)
    }

    /// Subchannel status.
    #[inline]
    #[must_use]
    pub const fn subchannel_status(&self) -> SubchannelStatus {
        SubchannelStatus::from_bits_retain(self.subchannel_status)
    }

    /// The residual count of the last CCW.
    #[inline]
    #[must_use]
    pub const fn residual(&self) -> u16 {
        self.residual.get()
    }

    /// Replaces the single bits in the high half of word 0; key and deferred condition code stay.
    #[inline]
    #[must_use]
    pub const fn with_control(self, control: ScswControl) -> Self {
        self.replace(ScswControl::all().bits(), control.bits() & ScswControl::all().bits())
    }

    /// Replaces the key, 0 to 15 (only the four low bits are used).
    #[inline]
    #[must_use]
    pub const fn with_key(self, key: u8) -> Self {
        self.replace(Self::KEY, ((key & 0xF) as u32) << 28)
    }

    /// Replaces the deferred condition code, 0 to 3 (only the two low bits are used).
    #[inline]
    #[must_use]
    pub const fn with_deferred_cc(self, cc: u8) -> Self {
        self.replace(Self::CC, ((cc & 3) as u32) << 24)
    }

    /// Replaces function control.
    #[inline]
    #[must_use]
    pub const fn with_fctl(self, fctl: FunctionControl) -> Self {
        self.replace_half(FunctionControl::all().bits(), fctl.bits())
    }

    /// Replaces activity control.
    #[inline]
    #[must_use]
    pub const fn with_actl(self, actl: ActivityControl) -> Self {
        self.replace_half(ActivityControl::all().bits(), actl.bits())
    }

    /// Replaces status control.
    #[inline]
    #[must_use]
    pub const fn with_stctl(self, stctl: StatusControl) -> Self {
        self.replace_half(StatusControl::all().bits(), stctl.bits())
    }

    /// Replaces the CCW address.
    #[inline]
    #[must_use]
    pub const fn with_ccw_address(mut self, address: u32) -> Self {
        self.ccw_address = U32::new(address);
        self
    }

    /// Replaces the device status.
    #[inline]
    #[must_use]
    pub const fn with_device_status(mut self, status: DeviceStatus) -> Self {
        self.device_status = status.bits();
        self
    }

    /// Replaces the subchannel status.
    #[inline]
    #[must_use]
    pub const fn with_subchannel_status(mut self, status: SubchannelStatus) -> Self {
        self.subchannel_status = status.bits();
        self
    }

    /// Replaces the residual count.
    #[inline]
    #[must_use]
    pub const fn with_residual(mut self, residual: u16) -> Self {
        self.residual = U16::new(residual);
        self
    }

    #[inline]
    const fn low_half(&self) -> u16 {
        (self.control.get() & 0xFFFF) as u16
    }

    // Masked: a bit that is not the field's own must not spill into its neighbour.
    #[inline]
    const fn replace_half(self, mask: u16, bits: u16) -> Self {
        self.replace(mask as u32, (bits & mask) as u32)
    }

    #[inline]
    const fn replace(mut self, clear: u32, set: u32) -> Self {
        self.control = U32::new(self.control.get() & !clear | set);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normal_end_decodes() {
        // Start, channel end and device end, primary + secondary + pending; last CCW at 00001008; nothing left over.
        let scsw = Scsw::from_bytes(&[0x90, 0x80, 0x40, 0x07, 0, 0, 0x10, 0x10, 0x0C, 0x40, 0x01, 0xF8]);
        assert_eq!((scsw.key(), scsw.deferred_cc()), (9, 0));
        assert_eq!(scsw.control(), ScswControl::FORMAT_1);
        assert_eq!((scsw.fctl(), scsw.actl()), (FunctionControl::START, ActivityControl::empty()));
        assert_eq!(scsw.stctl(), StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING);
        assert_eq!((scsw.ccw_address(), scsw.residual()), (0x1010, 0x01F8));
        assert_eq!(scsw.device_status(), DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END);
        assert_eq!(scsw.subchannel_status(), SubchannelStatus::INCORRECT_LENGTH);
        assert_eq!(scsw.to_words(), [0x9080_4007, 0x0000_1010, 0x0C40_01F8]);
        assert_eq!(Scsw::from_words(scsw.to_words()), scsw);
    }

    #[test]
    fn the_clear_interruption_is_00001001() {
        let scsw = Scsw::default().with_fctl(FunctionControl::CLEAR).with_stctl(StatusControl::PENDING);
        assert_eq!(scsw.to_words(), [0x0000_1001, 0, 0]);
    }

    #[test]
    fn setters_build_the_literal_bytes() {
        let scsw = Scsw::default()
            .with_key(0xF)
            .with_deferred_cc(3)
            .with_control(ScswControl::PATH_NOT_OPERATIONAL | ScswControl::EXTENDED)
            .with_fctl(FunctionControl::START | FunctionControl::HALT)
            .with_actl(ActivityControl::START_PENDING | ActivityControl::SUSPENDED)
            .with_stctl(StatusControl::ALERT | StatusControl::PENDING)
            .with_ccw_address(0x0123_4568)
            .with_device_status(DeviceStatus::UNIT_CHECK)
            .with_subchannel_status(SubchannelStatus::PROGRAM_CHECK)
            .with_residual(0xABCD);
        assert_eq!(scsw.to_bytes(), [0xF3, 0x03, 0x64, 0x31, 0x01, 0x23, 0x45, 0x68, 0x02, 0x20, 0xAB, 0xCD]);
    }

    #[test]
    fn a_setter_touches_its_own_field_only() {
        let ones = Scsw::from_bytes(&[0xFF; 12]);
        assert_eq!(ones.with_key(0).control_word(), 0x0FFF_FFFF);
        assert_eq!(ones.with_deferred_cc(0).control_word(), 0xFCFF_FFFF);
        assert_eq!(ones.with_control(ScswControl::empty()).control_word(), 0xF300_FFFF);
        assert_eq!(ones.with_fctl(FunctionControl::empty()).control_word(), 0xFFFF_8FFF);
        assert_eq!(ones.with_actl(ActivityControl::empty()).control_word(), 0xFFFF_F01F);
        assert_eq!(ones.with_stctl(StatusControl::empty()).control_word(), 0xFFFF_FFE0);
        let zeros = Scsw::default();
        assert_eq!(zeros.with_fctl(FunctionControl::from_bits_retain(0xFFFF)).control_word(), 0x7000);
        assert_eq!(zeros.with_actl(ActivityControl::from_bits_retain(0xFFFF)).control_word(), 0x0FE0);
        assert_eq!(zeros.with_stctl(StatusControl::from_bits_retain(0xFFFF)).control_word(), 0x001F);
        assert_eq!(zeros.with_control(ScswControl::from_bits_retain(!0)).control_word(), 0x0CFF_0000);
    }

    #[test]
    fn the_echo_of_an_orb_is_key_s_f_p_i_a_u() {
        let scsw = Scsw::from_orb(&Orb::from_words([1, 0xFFFF_FFFF, 0x1000]));
        assert_eq!(scsw.to_words(), [0xF8F8_0000, 0, 0]);
        let scsw = Scsw::from_orb(&Orb::new(1, 0x1000).with_key(5));
        assert_eq!((scsw.key(), scsw.control()), (5, ScswControl::FORMAT_1));
    }
}
