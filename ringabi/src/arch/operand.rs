// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an instruction's operand is refused before the subchannel is looked at.

use core::fmt;

/// An operand exception, named by the rule that was broken. The guest sees program-interruption code
/// [`CODE`](Self::CODE) whichever it is; the name is for people. Principles of Operation ch. 14.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OperandException {
    /// Subsystem-identification word: bits 8-11 (00F00000) are not zero.
    SubsystemReserved,
    /// Subsystem-identification word: bit 15 (00010000) is not one.
    SubsystemOne,
    /// Subsystem-identification word: the channel-subsystem id (bits 0-7) is not zero although bit 12 (m) is.
    SubsystemCssid,
    /// ORB word 1: bits 26-30 (0000003E) are not zero.
    OrbReserved,
    /// ORB word 1: bit 13 (00040000) asks for transport mode, which is not provided.
    OrbTransportMode,
    /// ORB word 2: bit 0 of the channel-program address is one.
    OrbAddress,
    /// PMCW word 1: bit 0, 1, 6 or 7 (mask C300 of the flags) is one.
    PmcwReserved,
    /// PMCW word 1: the limit mode (bits 9-10) is 11.
    PmcwLimitMode,
    /// PMCW word 6: a reserved bit (FF1FFFF8) is one.
    PmcwCharacteristics,
    /// PMCW word 6: bit 30 asks for the extended measurement word, which is not provided.
    PmcwExtendedMeasurement,
    /// SCHIB: the measurement-block address is not a multiple of 64 although PMCW word 6 bit 29 selects format 1.
    MeasurementBlockAddress,
}

impl OperandException {
    /// The program-interruption code that the guest sees.
    pub const CODE: u16 = 0x0015;
}

impl fmt::Display for OperandException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SubsystemReserved => "subsystem-identification word: bits 8-11 must be zero",
            Self::SubsystemOne => "subsystem-identification word: bit 15 must be one",
            Self::SubsystemCssid => "subsystem-identification word: CSSID must be zero when m is zero",
            Self::OrbReserved => "ORB word 1: bits 26-30 must be zero",
            Self::OrbTransportMode => "ORB word 1: transport mode (bit 13) is not provided, it must be zero",
            Self::OrbAddress => "ORB word 2: bit 0 of the channel-program address must be zero",
            Self::PmcwReserved => "PMCW word 1: bits 0, 1, 6 and 7 must be zero",
            Self::PmcwLimitMode => "PMCW word 1: limit mode must be 00, 01 or 10",
            Self::PmcwCharacteristics => "PMCW word 6: bits 0-7 and 11-28 must be zero",
            Self::PmcwExtendedMeasurement => {
                "PMCW word 6: the extended measurement word (bit 30) is not provided, it must be zero"
            }
            Self::MeasurementBlockAddress => {
                "SCHIB: the measurement-block address must be a multiple of 64 when format 1 is selected"
            }
        })
    }
}

impl core::error::Error for OperandException {}
