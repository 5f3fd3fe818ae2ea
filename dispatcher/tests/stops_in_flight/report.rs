// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run came to, in numbers.

use std::fmt;

/// How many starts met each fate.
#[derive(Clone, Copy, Default)]
pub struct Fates {
    pub cancelled: u64,
    pub completed_late: u64,
    pub never_issued: u64,
    pub ended: u64,
}

impl Fates {
    /// Starts that were stopped.
    pub fn stopped(&self) -> u64 {
        self.cancelled + self.completed_late + self.never_issued
    }
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cancelled, completed_late, never_issued, ended } = self;
        write!(
            f,
            "{} stopped: {cancelled} cancelled, {completed_late} completed late, {never_issued} never issued; {ended} ended before",
            self.stopped()
        )
    }
}

/// What a run came to.
#[derive(Clone, Copy, Default)]
pub struct Report {
    pub reads: Fates,
    pub writes: Fates,
    pub load: u64,
    pub looks: u64,
}
