// SPDX-License-Identifier: MIT OR Apache-2.0
//! FBA DASD: fixed-block disks, as 9336 behind a 6310 control unit, of any size up to 2³² − 1 blocks of 512 bytes.
//!
//! Commands (reference: §6.2, after the 3370/9336 command set): basic sense, sense ID, no-operation, read device characteristics, define
//! extent, locate, read, write, read IPL, reserve, unconditional reserve, release, read and reset buffered log. Every other command gets a unit
//! check with command reject.
//!
//! # Choices
//! * A write with count 0 (format-1 CCWs) makes the whole located range zeros: this is how Linux discards.
//! * A write shorter than the located range makes the rest zeros, as the architecture of the device demands.
//! * A read-only volume answers WRITE with command reject and *write inhibited* (sense 80 02), as Hercules does; Linux fails the request.
//! * A host that fails (EIO, ENOSPC, a file that got shorter, …) shows as equipment check (sense 10). There is no sense for "the host is
//!   full", and with equipment check Linux retries and then fails the request, which is what an administrator can act upon.
//! * Several subchannels may stand for one volume: extent and position belong to the program, sense to the subchannel, reservation to the
//!   *initiator* ([`FbaConfig::initiator`]).

mod extent;
mod identity;
mod unit;

use crate::device::emulated::{Emulated, Limits};
use crate::volume::Volume;
use std::sync::Arc;

pub use unit::FbaUnit;

/// How an FBA device is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FbaConfig {
    /// Who reserves: subchannels of one initiator (one guest) share reservations. 0 counts as 1.
    pub initiator: u32,
    /// How much is done at once.
    pub limits: Limits,
}

impl FbaConfig {
    /// With another [`initiator`](Self::initiator).
    #[must_use]
    pub const fn with_initiator(self, initiator: u32) -> Self {
        Self { initiator, ..self }
    }

    /// With other [`limits`](Self::limits).
    #[must_use]
    pub const fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl Default for FbaConfig {
    /// Initiator 1, default limits.
    fn default() -> Self {
        Self { initiator: 1, limits: Limits::default() }
    }
}

/// A volume that cannot be an FBA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("volume {name:?} has {blocks} blocks of 512 bytes; an FBA device has at most {}", u32::MAX)]
#[non_exhaustive]
pub struct TooManyBlocks {
    /// The volume's name.
    pub name: String,
    /// Its blocks.
    pub blocks: u64,
}

/// FBA devices: the constructors.
#[derive(Debug)]
pub struct Fba;

impl Fba {
    /// A device for one subchannel of a volume, with the default configuration.
    ///
    /// # Errors
    /// The volume has more blocks than 32 bits can number.
    #[allow(clippy::new_ret_no_self, reason = "the device is the emulated one; this type only names its kind")]
    pub fn new(volume: Arc<Volume>) -> Result<Emulated<FbaUnit>, TooManyBlocks> {
        Self::with_config(volume, FbaConfig::default())
    }

    /// A device for one subchannel of a volume.
    ///
    /// # Errors
    /// The volume has more blocks than 32 bits can number.
    pub fn with_config(volume: Arc<Volume>, config: FbaConfig) -> Result<Emulated<FbaUnit>, TooManyBlocks> {
        Ok(Emulated::with_limits(FbaUnit::new(volume, config.initiator.max(1))?, config.limits))
    }
}
