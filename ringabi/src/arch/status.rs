// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bits that a subchannel-status word is made of, as types of their own: a subchannel's state is made of them too.

use bitflags::bitflags;

bitflags! {
    /// Function control (fctl), at its place in the low half of SCSW word 0. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FunctionControl: u16 {
        /// A start function was accepted.
        const START = 0x4000;
        /// A halt function was accepted.
        const HALT = 0x2000;
        /// A clear function was accepted.
        const CLEAR = 0x1000;
    }
}

bitflags! {
    /// Activity control (actl), at its place in the low half of SCSW word 0. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ActivityControl: u16 {
        /// RESUME SUBCHANNEL was accepted and is not yet performed.
        const RESUME_PENDING = 0x0800;
        /// The start function is not yet performed.
        const START_PENDING = 0x0400;
        /// The halt function is not yet performed.
        const HALT_PENDING = 0x0200;
        /// The clear function is not yet performed.
        const CLEAR_PENDING = 0x0100;
        /// The subchannel executes a channel program.
        const SUBCHANNEL_ACTIVE = 0x0080;
        /// The device works.
        const DEVICE_ACTIVE = 0x0040;
        /// The channel program is suspended.
        const SUSPENDED = 0x0020;
    }
}

bitflags! {
    /// Status control (stctl), at its place in the low half of SCSW word 0. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct StatusControl: u16 {
        /// Something unusual is reported.
        const ALERT = 0x0010;
        /// Status in the middle of a program is reported.
        const INTERMEDIATE = 0x0008;
        /// The end of the program at the subchannel is reported.
        const PRIMARY = 0x0004;
        /// The end at the device is reported.
        const SECONDARY = 0x0002;
        /// There is status that TEST SUBCHANNEL can take.
        const PENDING = 0x0001;
    }
}

bitflags! {
    /// Device status (unit status), SCSW word 2 bits 0-7. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct DeviceStatus: u8 {
        /// Attention.
        const ATTENTION = 0x80;
        /// Status modifier.
        const STATUS_MODIFIER = 0x40;
        /// Control-unit end.
        const CONTROL_UNIT_END = 0x20;
        /// Busy.
        const BUSY = 0x10;
        /// Channel end.
        const CHANNEL_END = 0x08;
        /// Device end.
        const DEVICE_END = 0x04;
        /// Unit check: there is sense to read.
        const UNIT_CHECK = 0x02;
        /// Unit exception.
        const UNIT_EXCEPTION = 0x01;
    }
}

bitflags! {
    /// Subchannel status, SCSW word 2 bits 8-15. Principles of Operation ch. 16.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct SubchannelStatus: u8 {
        /// Program-controlled interruption.
        const PROGRAM_CONTROLLED_INTERRUPTION = 0x80;
        /// Incorrect length.
        const INCORRECT_LENGTH = 0x40;
        /// Program check.
        const PROGRAM_CHECK = 0x20;
        /// Protection check.
        const PROTECTION_CHECK = 0x10;
        /// Channel-data check.
        const CHANNEL_DATA_CHECK = 0x08;
        /// Channel-control check.
        const CHANNEL_CONTROL_CHECK = 0x04;
        /// Interface-control check.
        const INTERFACE_CONTROL_CHECK = 0x02;
        /// Chaining check.
        const CHAINING_CHECK = 0x01;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_control_fields_have_their_masks_and_do_not_overlap() {
        assert_eq!(FunctionControl::all().bits(), 0x7000);
        assert_eq!(ActivityControl::all().bits(), 0x0FE0);
        assert_eq!(StatusControl::all().bits(), 0x001F);
        assert_eq!(DeviceStatus::all().bits(), 0xFF);
        assert_eq!(SubchannelStatus::all().bits(), 0xFF);
    }
}
