// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel-report word: what STORE CHANNEL REPORT WORD tells about changes in the machine.

use bitflags::bitflags;

use super::SubsystemId;

bitflags! {
    /// The single bits of a channel-report word. Principles of Operation ch. 17.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CrwFlags: u32 {
        /// S, bit 1: the report was asked for.
        const SOLICITED = 0x4000_0000;
        /// R, bit 2: reports were lost before this one.
        const OVERFLOW = 0x2000_0000;
        /// C, bit 3: the next report belongs to this one.
        const CHAINED = 0x1000_0000;
        /// A, bit 8: ancillary report.
        const ANCILLARY = 0x0080_0000;
    }
}

/// What a channel-report word is about: its reporting-source code, 0 to 15. Principles of Operation ch. 17.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReportingSource(pub u8);

impl ReportingSource {
    /// Monitoring facility.
    pub const MONITORING: Self = Self(0x2);
    /// Subchannel.
    pub const SUBCHANNEL: Self = Self(0x3);
    /// Channel path.
    pub const CHANNEL_PATH: Self = Self(0x4);
    /// Configuration-alert facility.
    pub const CONFIGURATION_ALERT: Self = Self(0x9);
    /// Channel subsystem.
    pub const CHANNEL_SUBSYSTEM: Self = Self(0xB);
}

/// What became of it: the error-recovery code, 0 to 63. Principles of Operation ch. 17.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ErrorRecovery(pub u8);

impl ErrorRecovery {
    /// Event information is pending.
    pub const EVENT_INFORMATION_PENDING: Self = Self(0x0);
    /// Available.
    pub const AVAILABLE: Self = Self(0x1);
    /// Initialized.
    pub const INITIALIZED: Self = Self(0x2);
    /// Temporary error.
    pub const TEMPORARY: Self = Self(0x3);
    /// Installed parameters initialized: the subchannel came, went or changed.
    pub const PARAMETERS_INITIALIZED: Self = Self(0x4);
    /// Terminal error.
    pub const TERMINAL: Self = Self(0x5);
    /// Permanent error, facility not initialized.
    pub const PERMANENT: Self = Self(0x6);
    /// Permanent error, facility initialized.
    pub const PERMANENT_INITIALIZED: Self = Self(0x7);
    /// Installed parameters modified.
    pub const PARAMETERS_MODIFIED: Self = Self(0x8);
    /// Installed parameters restored.
    pub const PARAMETERS_RESTORED: Self = Self(0xA);
}

/// Channel-report word. Principles of Operation ch. 17.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Crw(u32);

impl Crw {
    /// A report; of the codes only the four and six low bits are used.
    #[must_use]
    pub const fn new(flags: CrwFlags, source: ReportingSource, recovery: ErrorRecovery, rsid: u16) -> Self {
        Self(
            flags.bits() & CrwFlags::all().bits()
                | ((source.0 & 0x0F) as u32) << 24
                | ((recovery.0 & 0x3F) as u32) << 16
                | rsid as u32,
        )
    }

    /// The chained pair that reports on a subchannel where more than one subchannel set can exist: the number first, then
    /// channel subsystem and subchannel set.
    #[must_use]
    pub const fn subchannel_pair(id: SubsystemId, recovery: ErrorRecovery) -> [Self; 2] {
        let sets = (id.cssid() as u16) << 8 | (id.ssid() as u16) << 4;
        [
            Self::new(CrwFlags::CHAINED, ReportingSource::SUBCHANNEL, recovery, id.number()),
            Self::new(CrwFlags::empty(), ReportingSource::SUBCHANNEL, recovery, sets),
        ]
    }

    /// Takes the word.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// The word; stored big-endian.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The single bits.
    #[must_use]
    pub const fn flags(self) -> CrwFlags {
        CrwFlags::from_bits_truncate(self.0)
    }

    /// What the report is about.
    #[must_use]
    pub const fn source(self) -> ReportingSource {
        ReportingSource((self.0 >> 24 & 0x0F) as u8)
    }

    /// What became of it.
    #[must_use]
    pub const fn recovery(self) -> ErrorRecovery {
        ErrorRecovery((self.0 >> 16 & 0x3F) as u8)
    }

    /// The reporting-source id: which one it is about.
    #[must_use]
    pub const fn rsid(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_word_decodes() {
        let crw = Crw::from_word(0x5484_0012);
        assert_eq!(crw.flags(), CrwFlags::SOLICITED | CrwFlags::CHAINED | CrwFlags::ANCILLARY);
        assert_eq!((crw.source(), crw.recovery()), (ReportingSource::CHANNEL_PATH, ErrorRecovery(4)));
        assert_eq!(crw.rsid(), 0x12);
        assert_eq!(Crw::new(crw.flags(), crw.source(), crw.recovery(), crw.rsid()), crw);
    }

    #[test]
    fn a_subchannel_is_reported_by_a_chained_pair() {
        let pair = Crw::subchannel_pair(SubsystemId::from_word(0xFE0D_0007), ErrorRecovery::PARAMETERS_INITIALIZED);
        assert_eq!(pair.map(Crw::word), [0x1304_0007, 0x0304_FE20]);
    }

    #[test]
    fn a_code_never_spills_into_its_neighbours() {
        let crw = Crw::new(CrwFlags::from_bits_retain(!0), ReportingSource(0xFF), ErrorRecovery(0xFF), 0);
        assert_eq!(crw.word(), 0x7FBF_0000);
    }
}
