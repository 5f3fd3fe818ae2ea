// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reset: the subchannel becomes what it was when it was attached, and nobody is notified of it.

use super::*;
use fctl_ringabi::DescriptorFlags;

impl Subchannel {
    /// Begins a reset: what was taken gets its final, absorbed, as soon as the device does not work on it any more; all status is withdrawn. Until
    /// [`end_reset`](Self::end_reset) the subchannel is not operational.
    pub fn begin_reset<R: Answers>(&mut self, answers: &mut R) {
        for owed in [&mut self.start, &mut self.halt, &mut self.clear].into_iter().flatten() {
            owed.flags |= DescriptorFlags::NO_NOTIFICATION;
        }
        self.stop(answers);
        self.resetting = true;
        self.refresh_operational();
    }

    /// Ends a reset when the device has nothing to answer any more. Enabled or not, as it was at attachment.
    pub fn end_reset(&mut self, enabled: bool) {
        let stuck = self.stuck;
        *self = Self::new(self.schib.pmcw.devno(), enabled, self.mode);
        self.set_stuck(stuck);
    }
}
