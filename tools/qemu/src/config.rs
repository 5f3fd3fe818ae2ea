// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `fctl qemu` tells the preloaded library, through one environment variable. This file is compiled into both.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The variable that holds the [`Configuration`] as JSON.
pub const VARIABLE: &str = "FCTL_QEMU";

/// The variable that, if set, makes the library check the configuration and end the process instead of going on as QEMU.
pub const CHECK: &str = "FCTL_QEMU_CHECK";

/// How the line begins that the library prints when a check has found nothing wrong.
pub const READY: &str = "fctl-qemu ready";

/// The most volumes of one QEMU.
pub const MOST_VOLUMES: usize = 64;

/// Everything the library has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// The volumes, in the order of the command line.
    pub volumes: Vec<VolumeConfiguration>,
    /// The CPU that the reactor's thread is pinned to.
    pub cpu: Option<usize>,
    /// How long the reactor polls before it sleeps, in microseconds; the dispatcher's default if not said.
    pub polling: Option<u64>,
    /// Where the time inside the region-write hook is written to when QEMU ends.
    pub statistics: Option<PathBuf>,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

/// One volume: a DASD of the guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeConfiguration {
    /// A plain file or a block device.
    pub path: PathBuf,
    /// Writes wait for the host's cache only.
    pub writeback: bool,
    /// The host's page cache is not used where alignment allows.
    pub direct: bool,
    /// The guest may not write.
    pub read_only: bool,
}

/// Faults for tests of a guest's recovery; zero is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Every such start ends in unit check (equipment check).
    pub unit_check_every: u32,
    /// Every such start is never answered.
    pub swallow_every: u32,
}

/// The name of a volume's subchannel on a host that does not exist: a subchannel set that real hosts hardly use.
pub fn host_subchannel(index: usize) -> String {
    format!("0.3.{:04x}", 0xf000 + index)
}

/// The VFIO group of a volume, far from those that a host counts up from zero.
pub const fn group(index: usize) -> usize {
    990_000 + index
}
