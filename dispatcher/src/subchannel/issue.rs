// SPDX-License-Identifier: MIT OR Apache-2.0
//! Issue: the one function that the device should be told now. Clear before halt before start before resume.

use super::*;

/// What to tell the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// The clear function.
    Clear,
    /// The halt function.
    Halt,
    /// The halt function for a start that the device never saw: performed here, nothing to tell.
    HaltUnissued,
    /// The start function, with [`Subchannel::orb`].
    Start,
    /// The resume function.
    Resume,
}

impl Subchannel {
    /// The strongest pending function that can be issued now. Pending bits stay until [`issued`](Self::issued).
    #[inline]
    pub fn next_function(&self) -> Option<Function> {
        if self.has(CP) {
            return (self.phase != Phase::Clearing).then_some(Function::Clear);
        }
        if self.has(HP) {
            return match self.phase {
                Phase::Halting | Phase::Clearing => None,
                Phase::Idle | Phase::AwaitingDeviceEnd if self.has(S) && self.start.is_none() => Some(Function::HaltUnissued),
                _ => Some(Function::Halt),
            };
        }
        match self.phase {
            Phase::Idle if self.has(SP) => Some(Function::Start),
            Phase::Suspended if self.has(RP) => Some(Function::Resume),
            // A cancelled program that was suspended still stands in the device.
            Phase::Suspended if !self.has(S) => Some(Function::Clear),
            _ => None,
        }
    }

    /// Says that `function` is being issued at `now`; the device's answer comes as [`event`](Self::event).
    #[inline]
    pub fn issued(&mut self, function: Function, now: u64) {
        self.issued_at = now;
        match function {
            Function::Start => {
                self.word0 = (self.word0 & !SP) | SCHA | DEVA;
                self.start_issued = true;
                self.phase = Phase::Running;
            }
            Function::Resume => {
                self.word0 = (self.word0 & !(RP | SUSP)) | SCHA | DEVA;
                self.phase = Phase::Running;
            }
            Function::Halt | Function::HaltUnissued => self.phase = Phase::Halting,
            Function::Clear => {
                self.schib.pmcw.pnom = 0;
                self.schib.pmcw.pom = 0xFF;
                self.phase = Phase::Clearing;
            }
        }
    }
}
