// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is stored for the program to look at: SCSW, PMCW, SCHIB, each reduced to what a state machine can change.

use crate::bits::{Actl, Fctl, Stctl};

/// The bits of an ORB that a start function latches and that the SCSW shows while the start bit is on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct OrbEcho {
    /// Storage key, 0 to 15.
    pub key: u8,
    /// S: suspend control; the program may be suspended and resumed.
    pub suspend: bool,
    /// F: CCWs of format 1.
    pub format: bool,
    /// P: prefetch allowed.
    pub prefetch: bool,
    /// I: initial-status interruption asked for.
    pub initial_status: bool,
    /// A: address-limit checking.
    pub address_limit: bool,
    /// U: no interruption when the program is suspended.
    pub suppress_suspended: bool,
}

impl OrbEcho {
    /// All bits zero.
    pub const ZERO: Self = Self {
        key: 0,
        suspend: false,
        format: false,
        prefetch: false,
        initial_status: false,
        address_limit: false,
        suppress_suspended: false,
    };

    /// The bits where SCSW word 0 has them.
    #[must_use]
    pub const fn word0(self) -> u32 {
        ((self.key as u32 & 0xF) << 28)
            | ((self.suspend as u32) << 27)
            | ((self.format as u32) << 23)
            | ((self.prefetch as u32) << 22)
            | ((self.initial_status as u32) << 21)
            | ((self.address_limit as u32) << 20)
            | ((self.suppress_suspended as u32) << 19)
    }
}

/// The modifiable fields of the PMCW that MODIFY SUBCHANNEL brings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Fields {
    /// Interruption parameter.
    pub intparm: u32,
    /// Interruption subclass, 0 to 7.
    pub isc: u8,
    /// E: enabled.
    pub enabled: bool,
    /// Logical-path mask.
    pub lpm: u8,
    /// Path-operational mask.
    pub pom: u8,
    /// Every other modifiable field (LM, MM, D, MBI, F, X, S, MBA) as one opaque value.
    pub other: u32,
}

/// PAM: the paths that are available (§1.6: one). No instruction changes it.
pub const AVAILABLE_PATHS: u8 = 0x80;

/// The PMCW: the modifiable fields and the two masks that functions change on their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Pmcw {
    /// What MODIFY SUBCHANNEL may change; START SUBCHANNEL changes the interruption parameter as well.
    pub fields: Fields,
    /// Path-not-operational mask.
    pub pnom: u8,
    /// Last-path-used mask.
    pub lpum: u8,
}

/// The SCSW without CCW address and residual count, which belong to the channel program and not to the state machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Scsw {
    /// key, S, F, P, I, A, U of the ORB.
    pub orb: OrbEcho,
    /// Deferred condition code.
    pub deferred_cc: u8,
    /// Z: zero condition code, the initial-status interruption.
    pub z: bool,
    /// N: path not operational.
    pub n: bool,
    /// Function control.
    pub fctl: Fctl,
    /// Activity control.
    pub actl: Actl,
    /// Status control.
    pub stctl: Stctl,
    /// Device status byte.
    pub device_status: u8,
    /// Subchannel status byte.
    pub subchannel_status: u8,
}

impl Scsw {
    /// The same with every field zeroed that a program may not look at (table of field validity, reference §1.5). Compare
    /// images in this form.
    #[must_use]
    pub fn meaningful(mut self) -> Self {
        let start = self.fctl.has(Fctl::START);
        let pending = self.stctl.has(Stctl::PENDING);
        let intermediate = self.stctl.has(Stctl::INTERMEDIATE);
        if !start {
            self.orb = OrbEcho::ZERO;
        }
        if !(start && pending) {
            self.deferred_cc = 0;
        }
        if !(start && intermediate) {
            self.z = false;
        }
        let n_valid = !self.fctl.is_empty() && pending && (!intermediate || self.actl.has(Actl::SUSPENDED));
        if !n_valid {
            self.n = false;
        }
        if !pending || self.deferred_cc == 3 {
            self.device_status = 0;
            self.subchannel_status = 0;
        }
        self
    }

    /// Word 0 as stored. L and E, which tell of the extended status, are zero.
    #[must_use]
    pub fn word0(&self) -> u32 {
        self.orb.word0()
            | (u32::from(self.deferred_cc & 3) << 24)
            | (u32::from(self.z) << 18)
            | (u32::from(self.n) << 16)
            | u32::from(self.fctl.bits() | self.actl.bits() | self.stctl.bits())
    }
}

/// What STORE SUBCHANNEL stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Schib {
    /// V: device number valid.
    pub valid: bool,
    /// The path-management-control word.
    pub pmcw: Pmcw,
    /// The status word.
    pub scsw: Scsw,
}
